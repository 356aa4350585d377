/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocation that fails at each step in turn: siu_new() gives up cleanly, siu_update() changes
 * nothing; and nothing a peer says allocates. Linked with malloc and calloc wrapped.
 */
#include "tests/unit/lib/unit.h"
#include "tests/unit/siu/sim.h"

#include <errno.h>
#include <limits.h>

static int good_left = INT_MAX; /* allocations before one fails */
static unsigned n_allocated;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
	n_allocated++;
	return good_left-- > 0 ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	n_allocated++;
	return good_left-- > 0 ? __real_calloc(n, size) : NULL;
}

static void test_new(void)
{
	static const struct siu_callbacks none;

	for (unsigned role = SIU_HOME_AGENT; role <= SIU_GATEWAY; role++) {
		struct siu_config config = {.role = (enum siu_role)role, .max_pending = 10};
		struct siu *siu = NULL;
		int step = 0;

		for (; siu == NULL && step < 100; step++) {
			good_left = step;
			siu = siu_new(&config, &none, NULL);
		}
		good_left = INT_MAX;
		CU_ASSERT_EQUAL(step, role == SIU_HOME_AGENT ? 5 : 3);
		siu_free(siu);
	}
	siu_free(NULL);
}

static void test_update(void)
{
	struct sim *sim = sim_new(1);

	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	good_left = 0;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), -ENOMEM);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
	good_left = INT_MAX;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "first"), 0);
	good_left = 0;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "second"), -ENOMEM);
	good_left = INT_MAX;
	sim->bindings[0].generation = 2; /* as queued: 1 and 3 were refused */
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 1);
	CU_ASSERT_TRUE(sim_settle(sim));
	sim_run(sim, 20 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim->nodes[0].generation, 2);
	sim_free(sim);
}

/* Both sides through SYNC, moves, losses and repetitions: only siu_update() with an RRP asks for
 * memory. (libcrypto allocates by its own function; the simulation by realloc.) */
static void test_peer_costs_nothing(void)
{
	struct sim *sim = sim_new(2);
	unsigned before;

	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	sim->loss_percent = 10;
	before = n_allocated;
	for (size_t i = 0; i < 50; i++)
		CU_ASSERT_EQUAL(sim_move(sim, i % 20, i % 2 == 0 ? "rrp" : NULL), 0);
	sim_run(sim, 3 * NS_PER_S);
	CU_ASSERT_TRUE(sim_agrees(sim));
	CU_ASSERT_EQUAL(n_allocated - before, 25);
	sim_free(sim);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"siu_new", test_new},
		{"siu_update", test_update},
		{"a peer costs no memory", test_peer_costs_nothing},
		{NULL, NULL},
	};

	return unit_run("siu/memory", cases);
}
