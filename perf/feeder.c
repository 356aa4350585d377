/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the transmit rings hold what a slice gave until it is over, so that a turn of the
 * worker follows the next at once. Only a turn in which the gateway sent something of its own is
 * followed by a look at what came out on the inside: the home agent waits for that.
 */
#include "perf/feeder.h"

#include "lib/ipv4.h"

#include <rte_launch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COA_BASE 0x0b000000u /* 11.0.0.0, and as far as it takes: nothing leaves this program */
#define COA_END 0x64000000u
#define OUTER_DST 16
#define INNER_SRC 12

struct ip_addr feeder_coa(uint32_t nodes, uint32_t node, uint32_t generation)
{
	uint64_t coa = COA_BASE + (uint64_t)generation * nodes + node;

	if (coa >= COA_END)
		rig_fail("out of care-of addresses");
	return ip_addr_from_v4(htonl((uint32_t)coa));
}

static uint32_t random_node(struct feeder *feeder)
{
	feeder->random ^= feeder->random << 13;
	feeder->random ^= feeder->random >> 7;
	feeder->random ^= feeder->random << 17;
	return (uint32_t)((feeder->random >> 32) * feeder->rig->nodes >> 32);
}

/* --- first part of a slice -----------------------------------------------------------------------
 */

static void refill(struct feeder *feeder)
{
	struct rig *rig = feeder->rig;

	for (unsigned i = 0; i < FEEDER_PACKETS; i++) {
		uint32_t node = feeder->plain_node[i] = random_node(feeder);
		struct ip_addr coa;

		feeder->generation[i] = atomic_load_explicit(
			&feeder->acknowledged[node], memory_order_relaxed);
		coa = feeder_coa(rig->nodes, node, feeder->generation[i]);
		rig_packet(true, node, &coa, FEEDER_INNER_BYTES,
			rig_frame(rig, DP_INSIDE, feeder->plain[i]));
		rig_frame_len(feeder->plain[i], FEEDER_INNER_BYTES);
		feeder->sealed_node[i] = random_node(feeder);
	}
	for (unsigned i = 0; i < FEEDER_PACKETS; i += PKT_BURST_MAX)
		rig_seal_burst(rig, feeder->crypto, &feeder->sealed_node[i], FEEDER_INNER_BYTES,
			&feeder->sealed[i]);
	if (rte_ring_enqueue_bulk(
		    rig->rx[DP_INSIDE][0], (void **)feeder->plain, FEEDER_PACKETS, NULL) == 0 ||
		rte_ring_enqueue_bulk(
			rig->rx[DP_OUTSIDE][0], (void **)feeder->sealed, FEEDER_PACKETS, NULL) == 0)
		rig_fail("receive ring is full");
	feeder->n_plain = feeder->n_sealed = 0;
}

/* --- second part ---------------------------------------------------------------------------------
 */

/* What is in the transmit ring of the inside; to the home agent what the gateway says to it. */
static void empty_inside(struct feeder *feeder)
{
	struct rte_mbuf *sent[PKT_BURST_MAX];
	unsigned n;

	do {
		n = rte_ring_dequeue_burst(
			feeder->rig->tx[DP_INSIDE][0], (void **)sent, PKT_BURST_MAX, NULL);
		for (unsigned i = 0; i < n; i++) {
			if (sent[i]->pool != feeder->rig->dp->inject_pool)
				feeder->sealed[feeder->n_sealed++] = sent[i];
			else if (rte_ring_enqueue(feeder->to_home_agent, sent[i]) != 0)
				rte_pktmbuf_free(sent[i]);
		}
	} while (n == PKT_BURST_MAX);
}

static void run(struct feeder *feeder)
{
	struct worker *worker = feeder->rig->dp->workers[0];
	const bool record = atomic_load_explicit(&feeder->record, memory_order_relaxed);
	const uint64_t started = bench_cycles();
	uint64_t from = started;
	unsigned handled;

	/* Until a turn finds nothing: the worker takes packets a turn ahead. */
	do {
		uint64_t injected, now;

		handled = worker_run_once(worker);
		now = bench_cycles();
		if (record && handled != 0)
			bench_add(&feeder->loops, (double)(now - from));
		from = now;
		injected = atomic_load_explicit(&worker->local.n[VERDICT_OK], memory_order_relaxed);
		if (injected != feeder->injected)
			empty_inside(feeder);
		feeder->injected = injected;
	} while (handled != 0);
	atomic_fetch_add_explicit(&feeder->cycles, bench_cycles() - started, memory_order_relaxed);
	atomic_fetch_add_explicit(&feeder->packets, 2 * FEEDER_PACKETS, memory_order_relaxed);
}

/* --- what came out -------------------------------------------------------------------------------
 */

static void complain(const struct feeder *feeder, const char *what)
{
	struct dp_verdicts sums;

	dataplane_verdicts(feeder->rig->dp, &sums);
	for (int i = 0; i < VERDICT_COUNT; i++)
		if (sums.in[i] + sums.out[i] + sums.local[i] != 0)
			fprintf(stderr, "%s in=%lu out=%lu local=%lu\n",
				verdict_name((enum verdict)i), sums.in[i], sums.out[i],
				sums.local[i]);
	rig_fail(what);
}

static uint32_t load_be32(const struct rte_mbuf *mbuf, unsigned at)
{
	uint32_t be;

	memcpy(&be, rte_pktmbuf_mtod(mbuf, const uint8_t *) + RTE_ETHER_HDR_LEN + at, sizeof be);
	return ntohl(be);
}

static void check_outside(struct feeder *feeder, unsigned at, const struct rte_mbuf *mbuf)
{
	const struct node *node = node_by_handle(feeder->rig->dp, feeder->plain_node[at] + 1);
	uint32_t place = load_be32(mbuf, OUTER_DST) - COA_BASE;

	if (load_be32(mbuf, IPV4_HDR_BYTES) !=
			atomic_load_explicit(&node->sa_out, memory_order_relaxed)->spi ||
		place % feeder->rig->nodes != feeder->plain_node[at] ||
		place / feeder->rig->nodes < feeder->generation[at])
		complain(feeder, "a packet was misdirected");
}

static void check_inside(struct feeder *feeder, unsigned at)
{
	struct ip_addr home = rig_home(feeder->sealed_node[at]);

	if (load_be32(feeder->sealed[at], INNER_SRC) != ntohl(ip_addr_to_v4(&home)))
		complain(feeder, "a packet was misdirected");
}

/* Takes everything out of the transmit rings; the mbufs are those that went in, in order. */
static void check(struct feeder *feeder)
{
	struct rte_mbuf *sent[PKT_BURST_MAX];
	unsigned n;

	empty_inside(feeder);
	do {
		n = rte_ring_dequeue_burst(
			feeder->rig->tx[DP_OUTSIDE][0], (void **)sent, PKT_BURST_MAX, NULL);
		for (unsigned i = 0; i < n; i++) {
			if (sent[i]->pool == feeder->rig->dp->inject_pool) {
				rte_pktmbuf_free(sent[i]); /* a reply */
			} else {
				check_outside(feeder, feeder->n_plain, sent[i]);
				feeder->plain[feeder->n_plain++] = sent[i];
			}
		}
	} while (n != 0);
	if (feeder->n_plain != FEEDER_PACKETS || feeder->n_sealed != FEEDER_PACKETS)
		complain(feeder, "a packet was lost");
	for (unsigned i = 0; i < FEEDER_PACKETS; i++)
		check_inside(feeder, i);
}

/* --- the thread ----------------------------------------------------------------------------------
 */

static void next_phase(struct feeder *feeder)
{
	atomic_fetch_add_explicit(&feeder->phase, 1, memory_order_release);
}

static int feed(void *arg)
{
	struct feeder *feeder = arg;
	const struct rcu *rcu = &feeder->rig->dp->rcu;

	while (!atomic_load_explicit(&feeder->stop, memory_order_relaxed)) {
		refill(feeder);
		rcu_online(rcu, 0);
		next_phase(feeder);
		run(feeder);
		next_phase(feeder);
		rcu_offline(rcu, 0);
		check(feeder);
	}
	return 0;
}

struct feeder *feeder_start(struct rig *rig, _Atomic(uint32_t) *acknowledged, unsigned lcore)
{
	struct feeder *feeder = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof *feeder);

	if (feeder == NULL)
		rig_fail("out of memory");
	memset(feeder, 0, sizeof *feeder);
	feeder->rig = rig;
	feeder->acknowledged = acknowledged;
	feeder->random = 88172645463325252u;
	feeder->crypto = rig->dp->engine->thread_new();
	feeder->to_home_agent = rte_ring_create(
		"to-ha", RIG_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	bench_samples_init(&feeder->loops);
	/* No turn is to pay for the page that its sample falls on. */
	memset(feeder->loops.value, 0xff, BENCH_SAMPLES_MAX * sizeof *feeder->loops.value);
	if (feeder->crypto == NULL || feeder->to_home_agent == NULL ||
		rte_pktmbuf_alloc_bulk(
			rig->dp->ports[DP_INSIDE].pool, feeder->plain, FEEDER_PACKETS) != 0 ||
		rte_pktmbuf_alloc_bulk(
			rig->dp->ports[DP_OUTSIDE].pool, feeder->sealed, FEEDER_PACKETS) != 0)
		rig_fail("too little memory for the packets");
	if (rte_eal_remote_launch(feed, feeder, lcore) != 0)
		rig_fail("no worker");
	return feeder;
}

void feeder_stop(struct feeder *feeder, unsigned lcore)
{
	atomic_store_explicit(&feeder->stop, true, memory_order_relaxed);
	rte_eal_wait_lcore(lcore);
}
