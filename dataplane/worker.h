/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_WORKER_H
#define DATAPLANE_WORKER_H
/*
 * A poll-mode worker: receives, walks the packets through the paths, says when it holds no pointer
 * any more. It never blocks, allocates, logs or makes a system call.
 *
 * Owner:    struct dataplane. Threads: the functions are the worker's own, or of the one thread
 * that stands in for it in tests and benchmarks: worker_run_once() is a turn of the very loop.
 *           Counters are written by the worker and read by any thread.
 */
#include "dataplane/audit.h"
#include "dataplane/pkt.h"
#include "dataplane/punt.h"

#include <stdatomic.h>

/* Busy loops by length: buckets of 1/8 of a power of two, in TSC cycles. */
#define LOOP_BUCKETS (62 * 8)

struct reassembly;
struct policy;
struct shed;

struct verdict_cells {
	_Atomic(uint64_t) n[VERDICT_COUNT]; /* one writer, relaxed */
};

struct worker {
	/* const after worker_new() */
	uint32_t id;
	struct dataplane *dp;
	struct crypto_thread *crypto;
	struct reassembly *reassembly;
	struct shed *shed;
	struct received nothing; /* empty: injected packets come alone */
	/* each end has its thread */
	struct punt_rings rings;
	struct audit audit;
	/* worker-private: received and not worked on yet; what is worked on is in the other half */
	struct received received[DP_PORTS][2];
	uint8_t ahead[DP_PORTS]; /* which half holds what comes next */
	uint64_t shed_until_ns;  /* some budget of wrong tags is over until then */
	/* worker-private: RCU, loaded for each burst; NULL: there are no rules */
	const struct policy *policy;
	/* worker-private scratch */
	struct burst burst;     /* paths in and out */
	struct burst inside;    /* injected, towards the inside */
	struct burst outside;   /* injected, towards the outside in plain: Linux's own frames */
	struct burst to_node;   /* injected, through a node's SA */
	struct burst pieces;    /* fragments made of packets that did not fit: aftermath.c */
	struct burst copies;    /* the second of each packet: bicast.c */
	struct burst fragments; /* of ESP: outer_cut.c */
	/* guard.h; the last: of all other sources */
	uint64_t guard_spent_ns[DP_GUARD_PEERS_MAX + 1];
	uint64_t copies_at_ns;           /* limit of copies: time up to which tokens are spent */
	struct path once[PKT_BURST_MAX]; /* paths of INJECT_ONCE, valid for one burst */
	/* atomic, written by the worker only */
	_Atomic(int) started; /* 0: not yet; 1: it runs; -errno: it could not */
	struct verdict_cells in, out, local;
	_Atomic(uint64_t) ecn_unusual; /* packets from nodes: dp_verdicts */
	_Atomic(uint64_t) loops, busy_loops;
	_Atomic(uint64_t) loop_buckets[LOOP_BUCKETS];
};

/* One writer: no locked instruction is needed. */
static inline void worker_count(_Atomic(uint64_t) *cell, uint64_t n)
{
	atomic_store_explicit(
		cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}

struct worker *worker_new(struct dataplane *dp, uint32_t id); /* NULL: out of memory */
void worker_free(struct worker *worker);

/* One turn: injected packets, a burst from each port, quiescent state. Returns packets handled.
 * While the device gives full bursts, one more than is worked on has been taken from it. */
unsigned worker_run_once(struct worker *worker);
/* rte_lcore main function; arg: struct worker. Runs until dp->stop. */
int worker_main(void *arg);
void worker_add_verdicts(const struct worker *worker, struct dp_verdicts *sums);
void worker_stats(const struct worker *worker, struct dp_worker_stats *out);

/* The three paths; each owns the mbufs from here on. */
void path_in(struct worker *worker, const struct received *now, const struct received *ahead);
void path_out(struct worker *worker, const struct received *now, const struct received *ahead);
void path_local(struct worker *worker, struct rte_mbuf **mbufs, unsigned n);
#endif
