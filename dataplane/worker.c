/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a turn takes what control injected first, so that a reply leaves before traffic
 * that came later, then a burst from each port, and ends in a quiescent state: nothing that a
 * lookup gave outlives the turn. Turns without packets are not timed.
 */
#include "dataplane/worker.h"

#include "dataplane/reassembly.h"
#include "dataplane/shed.h"
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
	worker->inside.ahead = worker->outside.ahead = worker->to_node.ahead = &worker->nothing;
	worker->pieces.ahead = worker->copies.ahead = &worker->nothing;
	worker->fragments.ahead = &worker->nothing;
	worker->crypto = dp->engine->thread_new();
	worker->reassembly = reassembly_new();
	worker->shed = shed_new();
	if (worker->crypto == NULL || worker->reassembly == NULL || worker->shed == NULL ||
		punt_rings_new(&worker->rings) != 0 || audit_new(&worker->audit) != 0) {
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
	audit_free(&worker->audit);
	reassembly_free(worker->reassembly);
	shed_free(worker->shed);
	if (worker->crypto != NULL)
		worker->dp->engine->thread_free(worker->crypto);
	rte_free(worker);
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

/* The burst to work on, and in *ahead the one behind it: after a full burst there is more, and its
 * packets can be asked for while this one is worked on. */
static const struct received *receive(
	struct worker *worker, enum dp_port which, const struct received **ahead)
{
	const struct port *port = &worker->dp->ports[which];
	struct received *halves = worker->received[which];
	struct received *now = &halves[worker->ahead[which]];
	struct received *next = &halves[worker->ahead[which] ^= 1];

	if (now->n == 0)
		now->n = port_rx(port, worker->id, now->mbufs);
	next->n = now->n < PKT_BURST_MAX ? 0 : port_rx(port, worker->id, next->mbufs);
	*ahead = next;
	return now;
}

static unsigned walk(struct worker *worker, enum dp_port which, const struct received *now,
	const struct received *ahead)
{
	if (now->n == 0)
		return 0;
	/* Acquire pairs with the release in dataplane_policy_use(). */
	worker->policy = atomic_load_explicit(&worker->dp->policy, memory_order_acquire);
	worker->burst.now_ns = clock_mono_ns();
	if (which == DP_OUTSIDE)
		path_in(worker, now, ahead);
	else
		path_out(worker, now, ahead);
	return now->n;
}

static unsigned run_port(struct worker *worker, enum dp_port which)
{
	const struct received *ahead, *now = receive(worker, which, &ahead);

	return walk(worker, which, now, ahead);
}

/* At the end: what was taken ahead is not lost. */
static void walk_rest(struct worker *worker, enum dp_port which)
{
	struct received *rest = &worker->received[which][worker->ahead[which]];

	(void)walk(worker, which, rest, &worker->nothing);
	rest->n = 0;
}

unsigned worker_run_once(struct worker *worker)
{
	struct dataplane *dp = worker->dp;
	struct rte_mbuf *injected[PKT_BURST_MAX];
	uint64_t start = rte_rdtsc();
	unsigned total = inject_pop(&worker->rings, injected, PKT_BURST_MAX);

	if (total != 0)
		path_local(worker, injected, total);
	total += run_port(worker, DP_OUTSIDE);
	total += run_port(worker, DP_INSIDE);
	rcu_quiescent(&dp->rcu, worker->id);

	worker_count(&worker->loops, 1);
	if (total != 0) {
		worker_count(&worker->busy_loops, 1);
		worker_count(&worker->loop_buckets[bucket_of(rte_rdtsc() - start)], 1);
	}
	return total;
}

int worker_main(void *arg)
{
	struct worker *worker = arg;
	const struct dataplane *dp = worker->dp;
	const int ret = dp->confine == NULL ? 0 : dp->confine();

	/* Release pairs with the acquire in wait_started(). */
	atomic_store_explicit(&worker->started, ret != 0 ? ret : 1, memory_order_release);
	if (ret != 0)
		return ret;
	rcu_online(&dp->rcu, worker->id);
	while (!atomic_load_explicit(&dp->stop, memory_order_relaxed))
		if (worker_run_once(worker) == 0)
			rte_pause();
	walk_rest(worker, DP_OUTSIDE);
	walk_rest(worker, DP_INSIDE);
	rcu_offline(&dp->rcu, worker->id);
	return 0;
}

static void add_cells(uint64_t sums[VERDICT_COUNT], const struct verdict_cells *cells)
{
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		sums[i] += atomic_load_explicit(&cells->n[i], memory_order_relaxed);
}

void worker_add_verdicts(const struct worker *worker, struct dp_verdicts *sums)
{
	add_cells(sums->in, &worker->in);
	add_cells(sums->out, &worker->out);
	add_cells(sums->local, &worker->local);
	sums->ecn_unusual += atomic_load_explicit(&worker->ecn_unusual, memory_order_relaxed);
}

void worker_stats(const struct worker *worker, struct dp_worker_stats *out)
{
	uint64_t counts[LOOP_BUCKETS], total = 0, below = 0;
	unsigned bucket = 0;

	*out = (struct dp_worker_stats){
		.loops = atomic_load_explicit(&worker->loops, memory_order_relaxed),
		.busy_loops = atomic_load_explicit(&worker->busy_loops, memory_order_relaxed),
	};
	worker_add_verdicts(worker, &out->verdicts);
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
