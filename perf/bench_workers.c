/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * workers/raw_gain/DIR, workers/path_gain/DIR, workers/gain/DIR, workers/one_sa/DIR: what a second
 * worker brings, and what it costs that two workers use one SA.
 *
 * How this works: two lanes, each with an lcore, a worker, its queues and its yardstick. In a round
 * each lane fills its own queue (so that its packets are near its CPU), then waits for the other
 * and works; the time of a round is that of the slower lane. A round is short, so that the lanes
 * stay within a replay window of each other when they share an SA. gain is what the path gains from
 * the second CPU over what intel-ipsec-mb gains, both measured in the same round: what the machine
 * itself does not double is no fault of either.
 *
 * Every packet must be forwarded. Encapsulating by one SA, no sequence number may come twice.
 */
#include "lib/ipv4.h"
#include "lib/wire.h"
#include "perf/bench.h"
#include "perf/raw.h"
#include "perf/rig.h"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES RIG_WORKERS_MAX
#define LANE_PACKETS 256 /* a round; all lanes together fit into RIG_REPLAY_WINDOW */
#define ROUNDS 400
#define INNER_BYTES 64
#define ALG CRYPTO_AES128GCM16

static_assert(LANES * LANE_PACKETS <= RIG_REPLAY_WINDOW, "nothing falls out of the window");

enum job { JOB_RAW, JOB_OWN_SA, JOB_ONE_SA, JOB_STOP };

struct lane {
	unsigned index;
	struct raw *raw;
	struct crypto_thread *crypto;
	struct rte_mbuf *mbufs[LANE_PACKETS];
	double cycles; /* a packet, of the last round; read by main behind the round */
};

struct bench {
	struct rig rig;
	struct lane lanes[LANES];
	bool encap;
	enum job job;
	unsigned at_work; /* lanes that take part in the round */
	/* atomic: rounds begun by main; lanes that are ready, that are done */
	_Atomic(unsigned) round, ready, done;
};

static struct bench bench;

static void fill(struct lane *lane, uint32_t node)
{
	const struct ip_addr coa = rig_coa(node);

	for (unsigned i = 0; i < LANE_PACKETS; i++) {
		struct rte_mbuf *mbuf = lane->mbufs[i];

		if (bench.encap) {
			rig_packet(true, node, &coa, INNER_BYTES,
				rig_frame(&bench.rig, DP_INSIDE, mbuf));
			rig_frame_len(mbuf, INNER_BYTES);
		} else {
			(void)rig_seal(&bench.rig, lane->crypto, node, INNER_BYTES, mbuf);
		}
	}
	if (rte_ring_enqueue_bulk(bench.rig.rx[bench.encap ? DP_INSIDE : DP_OUTSIDE][lane->index],
		    (void **)lane->mbufs, LANE_PACKETS, NULL) == 0)
		rig_fail("receive ring is full");
}

static void wait_for_others(void)
{
	atomic_fetch_add(&bench.ready, 1);
	while (atomic_load_explicit(&bench.ready, memory_order_acquire) != bench.at_work)
		;
}

static double work(struct lane *lane)
{
	struct worker *worker = bench.rig.dp->workers[lane->index];
	struct rte_ring *tx = bench.rig.tx[bench.encap ? DP_OUTSIDE : DP_INSIDE][lane->index];
	uint64_t from = bench_cycles(), cycles;

	for (unsigned n = 0; n < LANE_PACKETS; n += PKT_BURST_MAX)
		(void)worker_run_once(worker);
	cycles = bench_cycles() - from;
	if (rte_ring_dequeue_bulk(tx, (void **)lane->mbufs, LANE_PACKETS, NULL) == 0)
		rig_fail("not every packet came out");
	return (double)cycles / LANE_PACKETS;
}

static void run_lane(struct lane *lane)
{
	if (bench.job == JOB_RAW) {
		wait_for_others();
		lane->cycles = raw_cycles(lane->raw, bench.encap);
	} else {
		fill(lane, bench.job == JOB_ONE_SA ? 0 : lane->index);
		wait_for_others();
		lane->cycles = work(lane);
	}
	atomic_fetch_add(&bench.done, 1);
}

static int lane_main(void *arg)
{
	struct lane *lane = arg;
	unsigned seen = 0;

	rcu_online(&bench.rig.dp->rcu, lane->index);
	for (;;) {
		unsigned round;

		while ((round = atomic_load_explicit(&bench.round, memory_order_acquire)) == seen) {
			rcu_quiescent(&bench.rig.dp->rcu, lane->index);
			rte_pause();
		}
		seen = round; /* rounds of one lane may have gone by meanwhile */
		if (bench.job == JOB_STOP)
			break;
		if (lane->index < bench.at_work)
			run_lane(lane);
	}
	rcu_offline(&bench.rig.dp->rcu, lane->index);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void check_numbers(void)
{
	uint32_t numbers[LANES * LANE_PACKETS];

	for (unsigned i = 0; i < LANES * LANE_PACKETS; i++)
		numbers[i] = wire_load_u32(rte_pktmbuf_mtod_offset(
			bench.lanes[i / LANE_PACKETS].mbufs[i % LANE_PACKETS], const uint8_t *,
			RTE_ETHER_HDR_LEN + IPV4_HDR_BYTES + 4));
	qsort(numbers, LANES * LANE_PACKETS, sizeof numbers[0], by_number);
	for (unsigned i = 1; i < LANES * LANE_PACKETS; i++)
		if (numbers[i] == numbers[i - 1])
			rig_fail("a sequence number was given out twice");
}

/* Cycles from the start to the end of the slower lane, per packet of one lane. */
static double run_round(enum job job, unsigned lanes)
{
	double slowest = 0;

	bench.job = job;
	bench.at_work = lanes;
	atomic_store(&bench.ready, 0);
	atomic_store(&bench.done, 0);
	atomic_fetch_add_explicit(&bench.round, 1, memory_order_release);
	run_lane(&bench.lanes[0]);
	while (atomic_load_explicit(&bench.done, memory_order_acquire) != lanes)
		rte_pause();
	for (unsigned i = 0; i < lanes; i++)
		slowest = RTE_MAX(slowest, bench.lanes[i].cycles);
	if (job == JOB_ONE_SA && bench.encap)
		check_numbers();
	return slowest;
}

static void report(const char *what, struct bench_samples *samples)
{
	char name[64];

	snprintf(name, sizeof name, "workers/%s/%s", what, bench.encap ? "encap" : "decap");
	bench_report(name, "x", samples);
	bench_samples_free(samples);
}

static void measure(bool encap)
{
	struct bench_samples raw_gain, path_gain, gain, one_sa;

	bench.encap = encap;
	bench_samples_init(&raw_gain);
	bench_samples_init(&path_gain);
	bench_samples_init(&gain);
	bench_samples_init(&one_sa);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const double raw = LANES * run_round(JOB_RAW, 1) / run_round(JOB_RAW, LANES);
		const double alone = run_round(JOB_OWN_SA, 1);
		const double own = run_round(JOB_OWN_SA, LANES);
		const double shared = run_round(JOB_ONE_SA, LANES);

		bench_add(&raw_gain, raw);
		bench_add(&path_gain, LANES * alone / own);
		bench_add(&gain, LANES * alone / own / raw);
		bench_add(&one_sa, shared / own);
	}
	report("raw_gain", &raw_gain);
	report("path_gain", &path_gain);
	report("gain", &gain);
	report("one_sa", &one_sa);
}

static void set_up(const char *folder)
{
	rig_open(&bench.rig, ALG, LANES, 4 * LANES * LANE_PACKETS,
		rig_counters(folder, 2 * LANES + 16), folder, LANES);
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *lane = &bench.lanes[i];

		(void)rig_add_node(&bench.rig, i);
		bench.rig.peers[i].sa->shared = true; /* both lanes seal with it */
		lane->index = i;
		lane->crypto = bench.rig.dp->engine->thread_new();
		lane->raw = raw_new(ALG, INNER_BYTES);
		if (lane->crypto == NULL || lane->raw == NULL ||
			rte_pktmbuf_alloc_bulk(bench.rig.dp->ports[DP_INSIDE].pool, lane->mbufs,
				LANE_PACKETS) != 0)
			rig_fail("out of memory");
	}
}

int main(int argc, char **argv)
{
	int used = rig_eal_init(argc, argv);
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);

	if (used < 0 || argc - used != 2 || lcore == RTE_MAX_LCORE) {
		fprintf(stderr, "usage: bench_workers EAL-OPTIONS with two lcores -- FOLDER\n");
		return 2;
	}
	set_up(argv[used + 1]);
	rcu_online(&bench.rig.dp->rcu, 0);
	if (rte_eal_remote_launch(lane_main, &bench.lanes[1], lcore) != 0)
		rig_fail("no second lane");
	measure(true);
	measure(false);
	bench.job = JOB_STOP;
	atomic_fetch_add_explicit(&bench.round, 1, memory_order_release);
	rte_eal_wait_lcore(lcore);
	return 0;
}
