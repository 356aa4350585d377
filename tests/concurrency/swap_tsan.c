/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the writer replaces a path as dataplane_node_set_path() does, with the real
 * retire list and slab; readers load it once per "burst" and look at all of it several times before
 * they say that they are quiescent. dataplane/rcu.c runs on a double without fences, so that
 * ThreadSanitizer can follow it; any reuse of a path that a reader may still hold is a data race,
 * or shows as a path that changes or does not fit together.
 */
#include "dataplane/esp/path.h"
#include "dataplane/rcu.h"
#include "dataplane/slab.h"
#include "lib/clock.h"
#include "lib/wire.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READERS 3
#define RETIRE_CAPACITY 64
#define RUN_NS (2 * NS_PER_S)
#define LOOKS 4           /* at one path, before the quiescent state */
#define OFFLINE_EVERY 251 /* bursts */
#define SWAPS_MIN 1000    /* or the test has shown nothing */
#define BURSTS_MIN 1000

static struct rcu rcu;
static struct slab paths;
static _Atomic(struct path *) current;
static _Atomic(bool) stop;

struct reader {
	pthread_t thread;
	uint32_t id, bursts, failures;
};

static struct path *path_number(uint32_t n)
{
	struct path_params params = {.mtu = 1500, .generation = n};
	struct path *path = slab_alloc(&paths);

	if (path == NULL)
		abort();
	params.local.addr = ip_addr_from_v4(htonl(0xc0000201)); /* 192.0.2.1 */
	params.coa = params.remote.addr = ip_addr_from_v4(htonl(0xc6120001 + n % 60000));
	if (!path_init(path, &params))
		abort();
	return path;
}

/* Selector, outer header and number of one and the same move. */
static bool fits_together(const struct path *path)
{
	uint32_t n = wire_load_u32(path->coa.bytes) - 0xc6120001;

	return path_selects(path, &path->coa, 0) && path->generation % 60000 == n &&
	       memcmp(path->outer.bytes + 16, path->coa.bytes, 4) == 0;
}

static void *read_paths(void *arg)
{
	struct reader *reader = arg;
	uint64_t last = 0;

	rcu_online(&rcu, reader->id);
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); reader->bursts++) {
		/* Acquire pairs with the release in the writer's exchange. */
		struct path *path = atomic_load_explicit(&current, memory_order_acquire);
		uint64_t generation = path->generation;

		for (unsigned i = 0; i < LOOKS; i++)
			reader->failures += !fits_together(path) || path->generation != generation;
		reader->failures += generation < last; /* never back */
		last = generation;
		atomic_store_explicit(&path->first_tx_ns, generation, memory_order_relaxed);
		rcu_quiescent(&rcu, reader->id);
		if (reader->bursts % OFFLINE_EVERY == 0) {
			rcu_offline(&rcu, reader->id);
			rcu_online(&rcu, reader->id);
		}
	}
	rcu_offline(&rcu, reader->id);
	return NULL;
}

static void free_path(void *owner, void *object, bool flag)
{
	(void)flag;
	slab_free(owner, object);
}

static uint32_t write_paths(void)
{
	uint64_t end = clock_mono_ns() + RUN_NS;
	uint32_t swaps = 0, refused = 0;

	while (clock_mono_ns() < end) {
		if (rcu_room(&rcu, 1) == 0) {
			refused++;
			continue;
		}
		rcu_retire(&rcu, free_path, &paths,
			atomic_exchange_explicit(
				&current, path_number(++swaps), memory_order_acq_rel),
			false);
		if (swaps % 8 == 0)
			rcu_reap(&rcu);
	}
	printf("%u swaps, %u refused for a full list; ", swaps, refused);
	return swaps;
}

int main(void)
{
	struct reader readers[READERS] = {0};
	uint32_t swaps, bursts = 0, failures = 0;

	slab_init(&paths, sizeof(struct path));
	if (rcu_new(&rcu, READERS, RETIRE_CAPACITY) != 0)
		return EXIT_FAILURE;
	atomic_store(&current, path_number(0));
	for (uint32_t i = 0; i < READERS; i++) {
		readers[i].id = i;
		if (pthread_create(&readers[i].thread, NULL, read_paths, &readers[i]) != 0)
			return EXIT_FAILURE;
	}
	swaps = write_paths();
	atomic_store(&stop, true);
	for (uint32_t i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		bursts += readers[i].bursts;
		failures += readers[i].failures;
	}
	printf("%u bursts, %u failures\n", bursts, failures);
	rcu_drain(&rcu);
	failures += rcu_waiting(&rcu) != 0;
	rcu_free(&rcu);
	slab_fini(&paths);
	if (swaps < SWAPS_MIN || bursts < BURSTS_MIN) {
		fprintf(stderr, "too little happened to show anything\n");
		return EXIT_FAILURE;
	}
	return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
