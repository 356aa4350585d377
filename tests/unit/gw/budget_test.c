/* SPDX-License-Identifier: BSD-3-Clause */
/* What may be taken, by table, and over a long random run never more than size and the refill. */
#include "control/gw/budget.h"

#include "tests/unit/lib/unit.h"

#define S UINT64_C(1000000000)
#define SIZE 100000

static void test_take(void)
{
	static const struct {
		const char *name;
		uint64_t wait_ns; /* after SIZE bytes were taken at once */
		uint32_t max, got;
	} rows[] = {
		{"at once", 0, UINT32_MAX, 0},
		{"after a tenth", S, UINT32_MAX, SIZE / 10},
		{"after a tenth, but less is wanted", S, 777, 777},
		{"after all", BUDGET_REFILL_NS, UINT32_MAX, SIZE},
		{"after long", 100 * BUDGET_REFILL_NS, UINT32_MAX, SIZE},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct budget budget = {0};

		CHECK_ROW(rows[i].name, budget_take(&budget, SIZE, UINT32_MAX, 5 * S) == SIZE);
		CHECK_ROW(rows[i].name, budget_take(&budget, SIZE, rows[i].max,
						5 * S + rows[i].wait_ns) == rows[i].got);
	}
}

static void test_give_back(void)
{
	struct budget budget = {0};

	CU_ASSERT(budget_take(&budget, SIZE, 60000, S) == 60000);
	budget_give_back(&budget, SIZE, 50000);
	CU_ASSERT(budget_take(&budget, SIZE, UINT32_MAX, S) == SIZE - 10000);
	/* Never more than it holds. */
	budget_give_back(&budget, SIZE, UINT32_MAX);
	CU_ASSERT(budget_take(&budget, SIZE, UINT32_MAX, 2 * S) == SIZE);
}

static void test_never_more(void)
{
	static const uint32_t sizes[] = {1500, 65536, SIZE, 16777216};

	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
		struct budget budget = {0};
		uint64_t now_ns = 0, spent = 0;
		uint32_t seed = 1;

		for (unsigned i = 0; i < 100000; i++) {
			uint32_t got, back;

			seed = seed * 1664525 + 1013904223;
			now_ns += seed >> 8;
			got = budget_take(&budget, sizes[k], seed % 3000, now_ns);
			back = got == 0 ? 0 : (seed >> 16) % (got + 1);
			budget_give_back(&budget, sizes[k], back);
			spent += got - back;
		}
		/* A byte of rounding in a take at most. */
		CU_ASSERT(spent <= sizes[k] + now_ns / BUDGET_REFILL_NS * sizes[k] + sizes[k]);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"take", test_take},
		{"give back", test_give_back},
		{"never more", test_never_more},
		{NULL, NULL},
	};

	return unit_run("gw/budget", cases);
}
