/* SPDX-License-Identifier: BSD-3-Clause */
/* Which deadline comes first: small tables, and a long random run against a plain array. */
#include "control/gw/deadlines.h"

#include "tests/unit/lib/unit.h"

#define IDS 700 /* six levels */
#define STEPS 100000
#define TIMES 400      /* fewer than ids: many are equal */
#define CHECK_ALL 1000 /* steps between looks at every id */

static struct deadlines deadlines;

static void begin(uint32_t max)
{
	CU_ASSERT_FATAL(deadlines_init(&deadlines, max));
}

static void end(void)
{
	deadlines_fini(&deadlines);
}

/* Takes the first one off; 0: none is left. */
static uint32_t take(void)
{
	const uint32_t id = deadline_due(&deadlines, DEADLINE_NEVER);

	if (id != 0)
		deadline_set(&deadlines, id, DEADLINE_NEVER);
	return id;
}

static void test_order(void)
{
	static const struct {
		const char *name;
		uint64_t at_ns[8]; /* of ids 1, 2, ...; 0 ends the row */
		uint32_t order[8];
	} rows[] = {
		{"none", {0}, {0}},
		{"one", {5}, {1}},
		{"rising", {1, 2, 3, 4, 5, 6, 7}, {1, 2, 3, 4, 5, 6, 7}},
		{"falling", {7, 6, 5, 4, 3, 2, 1}, {7, 6, 5, 4, 3, 2, 1}},
		{"mixed", {4, 1, 6, 2, 7, 3, 5}, {2, 4, 6, 1, 7, 3, 5}},
		{"far apart", {UINT64_MAX - 1, 1, UINT64_C(1) << 63, UINT32_MAX}, {2, 4, 3, 1}},
		{"one of them never", {3, DEADLINE_NEVER, 1}, {3, 1}},
	};

	for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
		begin(8);
		for (uint32_t i = 0; rows[r].at_ns[i] != 0; i++)
			deadline_set(&deadlines, i + 1, rows[r].at_ns[i]);
		for (uint32_t i = 0; i < 8; i++) {
			uint32_t id = take();

			if (id != rows[r].order[i]) {
				CU_FAIL("order");
				printf("%s: place %u has %u\n", rows[r].name, i, id);
			}
			if (id == 0)
				break;
		}
		end();
	}
}

static void test_due(void)
{
	begin(2);
	CU_ASSERT_EQUAL(deadline_due(&deadlines, DEADLINE_NEVER), 0);
	CU_ASSERT_EQUAL(deadline_of(&deadlines, 1), DEADLINE_NEVER);
	deadline_set(&deadlines, 1, 1000);
	CU_ASSERT_EQUAL(deadline_of(&deadlines, 1), 1000);
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 0), 0);
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 999), 0);
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 1000), 1);
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 1001), 1); /* until it is taken off */
	deadline_set(&deadlines, 2, 0);
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 0), 2);
	end();
}

static void test_equal(void)
{
	bool seen[IDS + 1] = {false};

	begin(IDS);
	for (uint32_t id = 1; id <= IDS; id++)
		deadline_set(&deadlines, id, 77);
	for (unsigned n = 0; n < IDS; n++) {
		uint32_t id = take();

		if (id == 0 || seen[id])
			CU_FAIL("missing or twice");
		seen[id] = true;
	}
	CU_ASSERT_EQUAL(take(), 0);
	end();
}

static void test_remove_and_again(void)
{
	begin(5);
	for (uint32_t id = 1; id <= 5; id++)
		deadline_set(&deadlines, id, 10 * id);
	deadline_set(&deadlines, 1, DEADLINE_NEVER); /* the first */
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 100), 2);
	deadline_set(&deadlines, 5, DEADLINE_NEVER); /* the last */
	deadline_set(&deadlines, 5, DEADLINE_NEVER); /* has none already */
	deadline_set(&deadlines, 2, 45);             /* later */
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 100), 3);
	deadline_set(&deadlines, 4, 5); /* earlier */
	CU_ASSERT_EQUAL(deadline_due(&deadlines, 100), 4);
	deadline_set(&deadlines, 4, 5); /* the same */
	deadline_set(&deadlines, 1, 6); /* anew */
	CU_ASSERT_EQUAL(take(), 4);
	CU_ASSERT_EQUAL(take(), 1);
	CU_ASSERT_EQUAL(take(), 3);
	CU_ASSERT_EQUAL(take(), 2);
	CU_ASSERT_EQUAL(take(), 0);
	end();
}

/* Armed anew from its own deadline, one comes at each multiple of its period and at no other time,
 * however late the one who looks and whatever the others do. */
static void test_no_drift(void)
{
	enum { PERIOD = 7, ROUNDS = 1000 };
	unsigned came = 0;

	begin(3);
	deadline_set(&deadlines, 1, PERIOD);
	deadline_set(&deadlines, 2, 3);
	deadline_set(&deadlines, 3, 4);
	for (uint64_t now = 0; now < (uint64_t)PERIOD * ROUNDS; now += 1 + now % 3) {
		uint32_t id;

		while ((id = deadline_due(&deadlines, now)) != 0) {
			const uint64_t at = deadline_of(&deadlines, id);

			if (id == 1 && at != (uint64_t)PERIOD * ++came)
				CU_FAIL("drifts");
			deadline_set(&deadlines, id, at + (id == 1 ? PERIOD : id));
		}
	}
	CU_ASSERT_EQUAL(came, ROUNDS - 1);
	end();
}

static uint32_t next_random(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223; /* any full-period sequence will do */
	return *x >> 8;
}

static uint64_t earliest(const uint64_t *model)
{
	uint64_t first = DEADLINE_NEVER;

	for (uint32_t id = 1; id <= IDS; id++)
		if (model[id] < first)
			first = model[id];
	return first;
}

static void check_all(const uint64_t *model)
{
	for (uint32_t id = 1; id <= IDS; id++)
		if (deadline_of(&deadlines, id) != model[id])
			CU_FAIL("a deadline differs from the model");
}

static void test_against_array(void)
{
	static uint64_t model[IDS + 1];
	uint64_t first, before = 0;
	uint32_t x = 1, id;

	begin(IDS);
	for (id = 1; id <= IDS; id++)
		model[id] = DEADLINE_NEVER;
	for (unsigned step = 0; step < STEPS; step++) {
		const bool removes = next_random(&x) % 4 == 0;

		id = 1 + next_random(&x) % IDS;
		model[id] = removes ? DEADLINE_NEVER : next_random(&x) % TIMES;
		deadline_set(&deadlines, id, model[id]);
		first = earliest(model);
		id = deadline_due(&deadlines, DEADLINE_NEVER);
		if (first == DEADLINE_NEVER ? id != 0 : id == 0 || model[id] != first)
			CU_FAIL("another one is first");
		if (first != DEADLINE_NEVER && first != 0 &&
			deadline_due(&deadlines, first - 1) != 0)
			CU_FAIL("due too early");
		if (step % CHECK_ALL == 0)
			check_all(model);
	}
	for (uint32_t left = deadlines.n; left != 0; left--, before = first) {
		first = earliest(model);
		id = take();
		if (id == 0 || model[id] != first || first < before)
			CU_FAIL("order");
		model[id] = DEADLINE_NEVER;
	}
	CU_ASSERT_EQUAL(take(), 0);
	check_all(model);
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"order", test_order},
		{"due", test_due},
		{"equal", test_equal},
		{"remove and again", test_remove_and_again},
		{"no drift", test_no_drift},
		{"against an array", test_against_array},
		{NULL, NULL},
	};

	return unit_run("gw/deadlines", cases);
}
