/* SPDX-License-Identifier: BSD-3-Clause */
/* Nothing that was raised is lost, and what nobody raised is not heard. */
#include "dataplane/esp/notices.h"

#include "tests/unit/lib/unit.h"

#include <pthread.h>

#define MAX 300000u
#define RAISERS 3
#define ROUNDS 200000u

static void test_single(void)
{
	static const uint32_t numbers[] = {0, 1, 63, 64, 65, 4095, 4096, 4097, 299999, MAX};
	struct notices notices;
	uint32_t got;

	CU_ASSERT(notices_init(&notices, MAX));
	CU_ASSERT(!notices_take(&notices, &got));
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		notices_raise(&notices, numbers[i]);
		notices_raise(&notices, numbers[i]);
		CU_ASSERT(notices_take(&notices, &got) && got == numbers[i]);
		CU_ASSERT(!notices_take(&notices, &got));
	}
	notices_fini(&notices);
}

static void test_many(void)
{
	struct notices notices;
	uint32_t got, n = 0;

	CU_ASSERT(notices_init(&notices, MAX));
	for (uint32_t i = 7; i <= MAX; i += 7)
		notices_raise(&notices, i);
	for (; notices_take(&notices, &got); n++)
		if (got % 7 != 0 || got == 0)
			CU_FAIL("nobody raised this");
	CU_ASSERT_EQUAL(n, MAX / 7);
	notices_fini(&notices);
}

/* Each raiser says before it raises how often it will have; the taker must see that much. */
struct race {
	struct notices notices;
	_Atomic(uint32_t) said[RAISERS];
};

struct raiser {
	struct race *race;
	uint32_t number;
};

static const uint32_t places[RAISERS] = {10, 11, 5000}; /* two in one word */

static void *raise_again(void *arg)
{
	const struct raiser *raiser = arg;

	for (uint32_t i = 1; i <= ROUNDS; i++) {
		atomic_store_explicit(&raiser->race->said[raiser->number], i, memory_order_relaxed);
		notices_raise(&raiser->race->notices, places[raiser->number]);
	}
	return NULL;
}

static void test_threads(void)
{
	struct race race = {0};
	struct raiser raisers[RAISERS];
	pthread_t threads[RAISERS];
	uint32_t seen[RAISERS] = {0}, done = 0, number;

	CU_ASSERT(notices_init(&race.notices, MAX));
	for (uint32_t i = 0; i < RAISERS; i++) {
		raisers[i] = (struct raiser){&race, i};
		CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, raise_again, &raisers[i]), 0);
	}
	while (done != RAISERS) { /* a lost notice: it never ends */
		if (!notices_take(&race.notices, &number))
			continue;
		for (uint32_t i = 0; i < RAISERS; i++) {
			if (places[i] != number || seen[i] == ROUNDS)
				continue;
			seen[i] = atomic_load_explicit(&race.said[i], memory_order_relaxed);
			done += seen[i] == ROUNDS;
		}
	}
	for (uint32_t i = 0; i < RAISERS; i++)
		pthread_join(threads[i], NULL);
	notices_fini(&race.notices);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"one at a time", test_single},
		{"many", test_many},
		{"by threads", test_threads},
		{NULL, NULL},
	};

	return unit_run("esp/notices", cases);
}
