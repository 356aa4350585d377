/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one writer adds, deletes and adds again objects in few chains, with the real
 * retire list and slab, and says in a model at which point of its life each key is; readers look
 * keys up as workers do and keep what they found until they say that they are quiescent. A key
 * whose point in the model is the same before and after a look must have been found if it was
 * present, and not if it was absent. A freed object is poisoned (AddressSanitizer), written to
 * (ThreadSanitizer sees a race) and no longer fits its key. Two keys share each number.
 */
#include "dataplane/lookup.h"
#include "dataplane/rcu.h"
#include "dataplane/slab.h"
#include "lib/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define READERS 3
#define RETIRE_CAPACITY 256
#define KEYS 1024 /* in 64 chains: eight present objects in each, half of the time */
#define CHAINS 64
#define RUN_NS (2 * NS_PER_S)
#define OFFLINE_EVERY 251  /* bursts */
#define CHANGES_MIN 10000u /* or the test has shown nothing */
#define SURE_MIN 10000u    /* looks at a key that stayed present, and at one that stayed absent */
#define SEAL UINT64_C(0x6b65792073746179)

/* A key's point counts up through these; it never comes back to the same count. */
enum point { ABSENT, COMING, PRESENT, GOING, POINTS };

struct object {
	struct rcu_link link;
	uint64_t key, sealed; /* sealed: key ^ SEAL while it may be read */
};

static struct rcu rcu;
static struct slab slab;
static struct lookup lookup;
static _Atomic(uint64_t) model[KEYS];
static _Atomic(bool) stop;

struct reader {
	pthread_t thread;
	uint32_t id, bursts, failures;
	uint64_t random, present, absent; /* looks that the model was sure of */
};

static uint64_t number_of(uint64_t key)
{
	return key / 2;
}

/* xorshift64 (Marsaglia). */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool fits(const struct object *object, uint64_t key)
{
	return object->key == key && object->sealed == (key ^ SEAL);
}

static struct object *find(uint64_t key)
{
	struct rcu_link *link = lookup_next(lookup_head(&lookup, number_of(key)));

	for (; link != NULL; link = lookup_next(&link->next)) {
		struct object *object = LOOKUP_OBJECT(link, struct object, link);

		if (object->key == key)
			return object;
	}
	return NULL;
}

/* --- readers ------------------------------------------------------------------------------------
 */

static struct object *look(struct reader *reader, uint64_t key)
{
	/* Acquire pairs with the release in set_point(): what came before that point is seen. */
	const uint64_t before = atomic_load_explicit(&model[key], memory_order_acquire);
	struct object *object = find(key);
	/* Not older than what find() saw: that acquired it from the writer. */
	const uint64_t after = atomic_load_explicit(&model[key], memory_order_acquire);

	if (before == after && before % POINTS == PRESENT) {
		reader->present++;
		reader->failures += object == NULL;
	} else if (before == after && before % POINTS == ABSENT) {
		reader->absent++;
		reader->failures += object != NULL;
	}
	return object;
}

static void *read_keys(void *arg)
{
	struct reader *reader = arg;

	rcu_online(&rcu, reader->id);
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); reader->bursts++) {
		struct object *found[LOOKUP_BURST_MAX];
		uint64_t keys[LOOKUP_BURST_MAX];

		for (unsigned i = 0; i < LOOKUP_BURST_MAX; i++) {
			keys[i] = random_next(&reader->random) % KEYS;
			found[i] = look(reader, keys[i]);
		}
		for (unsigned i = 0; i < LOOKUP_BURST_MAX; i++)
			reader->failures += found[i] != NULL && !fits(found[i], keys[i]);
		rcu_quiescent(&rcu, reader->id);
		if (reader->bursts % OFFLINE_EVERY == 0) {
			rcu_offline(&rcu, reader->id);
			rcu_online(&rcu, reader->id);
		}
	}
	rcu_offline(&rcu, reader->id);
	return NULL;
}

/* --- writer -------------------------------------------------------------------------------------
 */

static void set_point(uint64_t key)
{
	/* Release pairs with the acquire in look(). */
	atomic_fetch_add_explicit(&model[key], 1, memory_order_release);
}

static void add(uint64_t key, bool first)
{
	struct object *object = slab_alloc(&slab);

	if (object == NULL)
		abort();
	object->key = key;
	object->sealed = key ^ SEAL;
	set_point(key); /* coming */
	(first ? lookup_add_first : lookup_add_last)(&lookup, number_of(key), &object->link);
	set_point(key);
}

static void free_object(void *owner, void *memory, bool flag)
{
	struct object *object = memory;

	(void)flag;
	object->key = object->sealed = 0;
	slab_free(owner, object);
}

static void del(uint64_t key)
{
	struct object *object = find(key);

	if (object == NULL)
		abort();
	set_point(key); /* going */
	lookup_del(&lookup, number_of(key), &object->link);
	set_point(key);
	rcu_retire(&rcu, free_object, &slab, object, false);
}

static uint32_t write_keys(void)
{
	const uint64_t end = clock_mono_ns() + RUN_NS;
	uint32_t changes = 0, refused = 0;
	uint64_t random = 1;

	while (clock_mono_ns() < end) {
		const uint64_t dice = random_next(&random), key = dice % KEYS;

		if (rcu_room(&rcu, 1) == 0) {
			refused++;
			continue;
		}
		if (atomic_load_explicit(&model[key], memory_order_relaxed) % POINTS == PRESENT) {
			del(key);
			if (dice >> 62 == 0)
				add(key, true); /* at once: a reader may see both or neither */
		} else {
			add(key, dice >> 63 != 0);
		}
		if (++changes % 8 == 0)
			rcu_reap(&rcu);
	}
	printf("%u changes, %u refused for a full list; ", changes, refused);
	return changes;
}

/* The table is what the model says; leaves it empty. */
static uint32_t compare(void)
{
	uint32_t failures = 0;

	for (uint64_t key = 0; key < KEYS; key++) {
		const bool present = atomic_load(&model[key]) % POINTS == PRESENT;
		struct object *object = find(key);

		failures += (object != NULL) != present;
		if (object == NULL)
			continue;
		lookup_del(&lookup, number_of(key), &object->link);
		failures += !fits(object, key) || find(key) != NULL; /* once only */
		free_object(&slab, object, false);
	}
	for (uint64_t i = 0; i <= lookup.mask; i++)
		failures += lookup_next(&lookup.heads[i]) != NULL;
	return failures;
}

int main(void)
{
	struct reader readers[READERS] = {0};
	uint64_t present = 0, absent = 0;
	uint32_t changes, failures = 0;

	slab_init(&slab, sizeof(struct object));
	if (rcu_new(&rcu, READERS, RETIRE_CAPACITY) != 0 || lookup_new(&lookup, CHAINS) != 0)
		return EXIT_FAILURE;
	for (uint32_t i = 0; i < READERS; i++) {
		readers[i].id = i;
		readers[i].random = i + 1;
		if (pthread_create(&readers[i].thread, NULL, read_keys, &readers[i]) != 0)
			return EXIT_FAILURE;
	}
	changes = write_keys();
	atomic_store(&stop, true);
	for (uint32_t i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		present += readers[i].present;
		absent += readers[i].absent;
		failures += readers[i].failures;
	}
	rcu_drain(&rcu);
	failures += rcu_waiting(&rcu) != 0;
	failures += compare();
	printf("%llu looks at present keys, %llu at absent ones, %u failures\n",
		(unsigned long long)present, (unsigned long long)absent, failures);
	lookup_free(&lookup);
	rcu_free(&rcu);
	slab_fini(&slab);
	if (changes < CHANGES_MIN || present < SURE_MIN || absent < SURE_MIN) {
		fprintf(stderr, "too little happened to show anything\n");
		return EXIT_FAILURE;
	}
	return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
