/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a turn takes what control injected first, so that a reply leaves before traffic
 * that came later, then a burst from each port, and ends in a quiescent state: nothing that a
 * lookup gave outlives the turn. Turns without packets are not timed.
 */
#include "dataplane/worker.h"

#include "dataplane/state.h"
#include "dataplane/now.h"

#include <rte_malloc.h>
#include <rte_pause.h>

#define LOOP_SUB_BITS 3 /* 8 buckets for each power of two */
#define LOOP_P99 99     /* percent */

struct worker *worker_new(struct dataplane *dp, uint32_t id)
{
	struct worker *worker = rte_zmalloc("worker", sizeof *worker, RTE_CACHE_LINE_SIZE);

	if (worker == NULL)
		return NULL;
	worker->id = id;
	worker->dp = dp;
	worker->crypto = dp->engine->thread_new();
	if (worker->crypto == NULL || punt_rings_new(&worker->rings) != 0) {
		worker_free(worker);
		return NULL;
	}
	return worker;
}

void worker_free(struct worker *worker)
{
	if (worker == NULL)
		return;
	punt_rings_free(&worker->rings);
	if (worker->crypto != NULL)
		worker->dp->engine->thread_free(worker->crypto);
	rte_free(worker);
}

static void add_one(_Atomic(uint64_t) *counter)
{
	/* One writer: no locked instruction is needed. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

static unsigned bucket_of(uint64_t cycles)
{
	unsigned top;

	if (cycles < 1u << LOOP_SUB_BITS)
		return (unsigned)cycles;
	top = 63u - (unsigned)__builtin_clzll(cycles);
	return ((top - LOOP_SUB_BITS) << LOOP_SUB_BITS) +
	       (unsigned)(cycles >> (top - LOOP_SUB_BITS));
}

/* First value above bucket. */
static uint64_t bucket_end(unsigned bucket)
{
	unsigned shift = bucket >> LOOP_SUB_BITS;

	if (shift <= 1)
		return bucket + 1u;
	shift--;
	return (uint64_t)((bucket & ((1u << LOOP_SUB_BITS) - 1)) + (1u << LOOP_SUB_BITS) + 1)
	       << shift;
}

unsigned worker_run_once(struct worker *worker)
{
	struct dataplane *dp = worker->dp;
	struct rte_mbuf *mbufs[PKT_BURST_MAX];
	uint64_t start = rte_rdtsc();
	unsigned n, total;

	total = inject_pop(&worker->rings, mbufs, PKT_BURST_MAX);
	if (total != 0)
		path_local(worker, mbufs, total);

	n = port_rx(&dp->ports[DP_OUTSIDE], worker->id, mbufs);
	if (n != 0) {
		worker->burst.now_ns = clock_mono_ns();
		path_in(worker, mbufs, n);
		total += n;
	}
	n = port_rx(&dp->ports[DP_INSIDE], worker->id, mbufs);
	if (n != 0) {
		worker->burst.now_ns = clock_mono_ns();
		path_out(worker, mbufs, n);
		total += n;
	}
	rcu_quiescent(&dp->rcu, worker->id);

	add_one(&worker->loops);
	if (total != 0) {
		add_one(&worker->busy_loops);
		add_one(&worker->loop_buckets[bucket_of(rte_rdtsc() - start)]);
	}
	return total;
}

int worker_main(void *arg)
{
	struct worker *worker = arg;
	const struct dataplane *dp = worker->dp;

	rcu_online(&dp->rcu, worker->id);
	while (!atomic_load_explicit(&dp->stop, memory_order_relaxed))
		if (worker_run_once(worker) == 0)
			rte_pause();
	rcu_offline(&dp->rcu, worker->id);
	return 0;
}

void worker_stats(const struct worker *worker, struct dp_worker_stats *out)
{
	uint64_t counts[LOOP_BUCKETS], total = 0, below = 0;
	unsigned bucket = 0;

	*out = (struct dp_worker_stats){
		.loops = atomic_load_explicit(&worker->loops, memory_order_relaxed),
		.busy_loops = atomic_load_explicit(&worker->busy_loops, memory_order_relaxed),
	};
	for (unsigned i = 0; i < LOOP_BUCKETS; i++) {
		counts[i] = atomic_load_explicit(&worker->loop_buckets[i], memory_order_relaxed);
		total += counts[i];
	}
	if (total == 0)
		return;
	for (; bucket < LOOP_BUCKETS - 1; bucket++) {
		below += counts[bucket];
		if (below * 100 >= total * LOOP_P99)
			break;
	}
	out->loop_p99_ns = (uint64_t)((double)bucket_end(bucket) * (double)NS_PER_S /
				      (double)rte_get_tsc_hz());
}
