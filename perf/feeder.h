/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PERF_FEEDER_H
#define PERF_FEEDER_H
/*
 * A saturated worker: a thread that runs worker_run_once() on receive rings that never run dry, and
 * proves of every packet that it came out, and where.
 *
 * Time is cut into slices. In the first part of a slice the thread is offline for RCU and fills
 * both receive rings with FEEDER_PACKETS packets of 64 bytes each, of nodes in random order; in the
 * second part it runs the worker and nothing else until the rings are empty. What is measured is
 * measured in second parts alone, so that no work of the benchmark delays a packet or a quiescent
 * state; feeder_phase() tells others which part it is.
 *
 * Each move of a node takes it to an address that no node ever had: feeder_coa(). So an outer
 * destination names its node and generation. A packet goes in for the generation that the home
 * agent knows to be acknowledged, and must leave for that generation or a later one of the same
 * node: the home agent's side may move a node once while a packet waits, not twice.
 *
 * Threads:  the feeder's own, on the lcore that it is given; the calls are main's.
 */
#include "perf/bench.h"
#include "perf/rig.h"

#include <stdatomic.h>
#include <stdbool.h>

#define FEEDER_PACKETS 8192 /* each way and slice: more than any cache near a core holds */
#define FEEDER_INNER_BYTES 64

struct feeder {
	/* const after feeder_start() */
	struct rig *rig;
	struct rte_ring *to_home_agent; /* frames that the gateway sends to it, in order */
	/* atomic: by node, written by main */
	_Atomic(uint32_t) *acknowledged; /* generation */
	/* atomic: written by main, read by the feeder */
	_Atomic(bool) stop, record;
	/* atomic: written by the feeder */
	_Alignas(RTE_CACHE_LINE_SIZE) _Atomic(uint64_t) phase;
	_Atomic(uint64_t) packets, cycles; /* of second parts, together */
	/* the feeder's, main's once it has ended */
	struct bench_samples loops; /* length of turns while record is set, cycles */
	uint64_t random;
	struct rte_mbuf *plain[FEEDER_PACKETS], *sealed[FEEDER_PACKETS];
	uint32_t plain_node[FEEDER_PACKETS], sealed_node[FEEDER_PACKETS];
	uint32_t generation[FEEDER_PACKETS]; /* that plain packets were addressed to */
	unsigned n_plain, n_sealed;          /* that came out */
	uint64_t injected;                   /* packets of the gateway's own, when last looked at */
	struct crypto_thread *crypto;
};

struct ip_addr feeder_coa(uint32_t nodes, uint32_t node, uint32_t generation);
/* Handle i + 1 is node i. acknowledged: lent. */
struct feeder *feeder_start(struct rig *rig, _Atomic(uint32_t) *acknowledged, unsigned lcore);
void feeder_stop(struct feeder *feeder, unsigned lcore); /* *feeder stays readable */

/* Odd in the second part of a slice; two more for each slice. */
static inline uint64_t feeder_phase(const struct feeder *feeder)
{
	/* Acquire pairs with the release in the feeder's thread. */
	return atomic_load_explicit(&feeder->phase, memory_order_acquire);
}
#endif
