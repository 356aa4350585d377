/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siu/publish/p50 p99 p999 max, siu/wire/p50 p99, siu/loop/p50 p99, siu/updates,
 * siu/updates_with_rrp, siu/worker_loss and the rate that belongs to it, siu/worker_loss/updates;
 * with "sweep" also siu/sweep/RATE/loss and siu/sweep/RATE/updates.
 *
 * How this works: the gateway's own modules and a home agent's end of the association run on the
 * main thread (siu_rig.h), the worker on another CPU is kept saturated with 64-byte packets both
 * ways, of nodes in random order (feeder.h).
 *
 * publish: from the moment at which recvmmsg() would have returned with one UPDATE (with an RRP; at
 * most 32 wait for their acknowledgement) to the moment at which the worker has left the old path.
 * wire: the same from the home agent's send() on a UDP socket of the kernel. loop: the length of
 * the worker's turns in the time of publish. updates: UPDATE entries acknowledged a second, as many
 * offered as are taken. worker_loss: what the worker forwards less while 200,000 updates a second
 * are offered and acknowledged, than in the windows of time before and behind.
 *
 * Control thread, disk and home agent run all the time. The worker runs in the second parts of
 * slices (feeder.h), about half of it: what it forwards is counted per cycle of these, updates per
 * second of all time. While it stands, a grace period is over at once.
 *
 * 10,000 nodes by default: each of them meets 20 moves a second at 200,000 updates/s, and neither
 * the nodes' paths nor their SAs fit into the worker's own caches, as in a gateway that has so many
 * movements. Which share of the packets meets a path that is new to the worker does not depend on
 * the number of nodes but on updates per packet.
 *
 * Every packet must be forwarded to where its node was or is (feeder.h) and each entry acknowledged
 * as applied; otherwise exit 1.
 */
#include "dataplane/now.h"
#include "lib/log.h"
#include "perf/siu_rig.h"
#include "siu/association.h"

#include <rte_lcore.h>
#include <rte_pause.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 10000
#define PUBLISHES 20000
#define WIRES 10000
#define IN_FLIGHT 32 /* updates, so that the next one leaves at once: the sender has a window */
#define QUEUE_MAX \
	2048 /* updates that wait at the home agent when as many as possible are offered */
#define SATURATE UINT32_MAX
#define LOSS_RATE 200000
#define WINDOW_SLICES 4 /* short, and many of them: machines drift */
#define SETTLE_SLICES 2 /* before a window: what it counts belongs to it alone */
#define UPDATES_ROUNDS 9
#define LOSS_ROUNDS 31

static struct siu_rig bench;

static uint32_t next_node(void)
{
	static uint32_t node;

	return node = (node + 1) % bench.rig.nodes;
}

/* --- latency ------------------------------------------------------------------------------------
 */

/* Leaves when one update may be sent and the worker is at work. */
static uint64_t wait_for_turn(uint32_t node)
{
	uint64_t phase;

	do {
		siu_rig_turn(&bench);
		phase = feeder_phase(bench.feeder);
	} while ((phase & 1) == 0 || !siu_rig_may_move(&bench, node) ||
		 siu_rig_pending(&bench) >= IN_FLIGHT);
	return phase;
}

static void wait_for_workers(void)
{
	uint64_t token = dataplane_grace_token(bench.rig.dp);

	while (!dataplane_grace_done(bench.rig.dp, token))
		rte_pause();
}

/* One update, from when the datagram left the home agent; false: the worker's slice ended. */
static bool publish(double *cycles)
{
	uint32_t node = next_node();
	uint64_t phase = wait_for_turn(node);

	siu_rig_move(&bench, node, true);
	bench.left = 0;
	(void)siu_tick(bench.ha, clock_mono_ns()); /* hands the datagram to the gateway */
	if (bench.left == 0)
		rig_fail("an update did not leave at once");
	wait_for_workers();
	*cycles = (double)(bench_cycles() - bench.left);
	return feeder_phase(bench.feeder) == phase;
}

static void report_percentile(const char *name, double percent, struct bench_samples *samples)
{
	bench_report_one(
		name, "us", bench_percentile(samples, percent) / bench_cycles_per_us(), samples->n);
}

static void measure_publish(void)
{
	struct bench_samples publishes, *loops = &bench.feeder->loops;
	double cycles;

	bench_samples_init(&publishes);
	atomic_store(&bench.feeder->record, true);
	while (publishes.n < PUBLISHES)
		if (publish(&cycles))
			bench_add(&publishes, cycles);
	atomic_store(&bench.feeder->record, false);
	siu_rig_wait_for_all(&bench);
	while ((feeder_phase(bench.feeder) & 1) != 0)
		; /* the last turns are still being recorded */
	report_percentile("siu/publish/p50", 50, &publishes);
	report_percentile("siu/publish/p99", 99, &publishes);
	report_percentile("siu/publish/p999", 99.9, &publishes);
	report_percentile("siu/publish/max", 100, &publishes);
	report_percentile("siu/loop/p50", 50, loops);
	report_percentile("siu/loop/p99", 99, loops);
	bench_samples_free(&publishes);
}

struct link {
	struct bench_samples samples;
	uint64_t phase;
	uint64_t applied; /* updates that the gateway took before */
	uint64_t left;    /* TSC; 0: none under way */
};

static uint64_t gateway_updates(void)
{
	struct siu_stats stats;

	siu_handler_get_peer_stats(bench.handler, 0, &stats);
	return stats.updates;
}

static void wire_send(struct link *wire)
{
	uint32_t node = next_node();

	wire->phase = wait_for_turn(node);
	wire->applied = gateway_updates();
	siu_rig_move(&bench, node, true);
	wire->left = bench_cycles();
	(void)siu_tick(bench.ha, clock_mono_ns());
}

/* At each turn of the gateway's loop, whose next step is to look at the socket. */
static uint64_t wire_turn(void *arg)
{
	struct link *wire = arg;

	if (wire->left != 0 && gateway_updates() == wire->applied)
		return 0;
	if (wire->left != 0) {
		wait_for_workers();
		if (feeder_phase(bench.feeder) == wire->phase)
			bench_add(&wire->samples, (double)(bench_cycles() - wire->left));
	}
	if (wire->samples.n == WIRES)
		loop_stop(bench.loop);
	else
		wire_send(wire);
	return 0;
}

static void measure_wire(void)
{
	struct link wire = {.left = 0};
	int ret;

	bench_samples_init(&wire.samples);
	bench.wire = true;
	loop_poll_set(bench.loop, wire_turn, &wire);
	ret = loop_run(bench.loop);
	if (ret != 0)
		rig_fail("event loop");
	bench.wire = false;
	siu_rig_wait_for_all(&bench);
	report_percentile("siu/wire/p50", 50, &wire.samples);
	report_percentile("siu/wire/p99", 99, &wire.samples);
	bench_samples_free(&wire.samples);
}

/* --- throughput ---------------------------------------------------------------------------------
 */

struct window {
	double packets; /* per cycle of the worker */
	double updates; /* acknowledged per second */
};

struct load {
	uint32_t rate; /* updates a second; SATURATE: as many as are taken */
	bool with_rrp;
	int rounds; /* windows with it */
};

struct offer {
	const struct load *load;
	uint64_t from, offered;
};

static double seconds(uint64_t cycles)
{
	return (double)cycles / bench_cycles_per_us() / 1e6;
}

static void offer(struct offer *offer)
{
	double due = seconds(bench_cycles() - offer->from) * offer->load->rate;

	while ((offer->load->rate == SATURATE || (double)offer->offered < due) &&
		siu_rig_pending(&bench) < QUEUE_MAX) {
		uint32_t node = next_node();

		if (!siu_rig_may_move(&bench, node))
			return;
		siu_rig_move(&bench, node, offer->load->with_rrp);
		offer->offered++;
	}
}

static uint64_t slice(void)
{
	return feeder_phase(bench.feeder) / 2;
}

/* Until so many slices more have begun. */
static void offer_for(struct offer *o, unsigned slices)
{
	uint64_t until = slice() + slices;

	while (slice() < until) {
		offer(o);
		siu_rig_turn(&bench);
	}
}

static struct window measure_window(const struct load *load)
{
	struct offer o = {.load = load, .from = bench_cycles()};
	uint64_t packets, cycles, from, acked;

	offer_for(&o, SETTLE_SLICES);
	packets = atomic_load(&bench.feeder->packets);
	cycles = atomic_load(&bench.feeder->cycles);
	from = bench_cycles();
	acked = bench.acked;
	offer_for(&o, WINDOW_SLICES);
	return (struct window){
		.packets = (double)(atomic_load(&bench.feeder->packets) - packets) /
			   (double)(atomic_load(&bench.feeder->cycles) - cycles),
		.updates = (double)(bench.acked - acked) / seconds(bench_cycles() - from),
	};
}

/* Windows with and without updates in turn; loss in percent. */
static void measure_load(
	const struct load *load, struct bench_samples *updates, struct bench_samples *loss)
{
	static const struct load none = {.rate = 0};
	double before = measure_window(&none).packets;

	for (int round = 0; round < load->rounds; round++) {
		struct window during = measure_window(load);
		double after;

		siu_rig_wait_for_all(&bench);
		after = measure_window(&none).packets;
		bench_add(updates, during.updates);
		bench_add(loss, 100 * (1 - during.packets / ((before + after) / 2)));
		before = after;
	}
}

/* loss_name may be NULL. */
static void report_load(const struct load *load, const char *updates_name, const char *loss_name)
{
	struct bench_samples updates, loss;

	bench_samples_init(&updates);
	bench_samples_init(&loss);
	measure_load(load, &updates, &loss);
	bench_report(updates_name, "1/s", &updates);
	if (loss_name != NULL)
		bench_report(loss_name, "%", &loss);
	bench_samples_free(&updates);
	bench_samples_free(&loss);
}

static void sweep(void)
{
	static const uint32_t rates[] = {
		25000, 50000, 100000, 150000, 200000, 250000, 300000, SATURATE};

	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		char rate[16] = "max", updates[64], loss[64];

		if (rates[i] != SATURATE)
			snprintf(rate, sizeof rate, "%u", rates[i]);
		snprintf(updates, sizeof updates, "siu/sweep/%s/updates", rate);
		snprintf(loss, sizeof loss, "siu/sweep/%s/loss", rate);
		report_load(&(struct load){rates[i], false, LOSS_ROUNDS}, updates, loss);
	}
}

int main(int argc, char **argv)
{
	int used = rig_eal_init(argc, argv);
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);
	int words = argc - used - 1;
	long nodes = used >= 0 && words > 1 ? atol(argv[used + 2]) : NODES;

	if (used < 0 || words < 1 || words > 3 || nodes < NODES || lcore == RTE_MAX_LCORE) {
		fprintf(stderr,
			"usage: bench_siu EAL-OPTIONS with two lcores -- FOLDER [NODES [sweep]]; "
			"%d nodes or more\n",
			NODES);
		return 2;
	}
	log_init("bench_siu", LOG_ERROR);
	siu_rig_open(&bench, (uint32_t)nodes, argv[used + 1], lcore);
	measure_publish();
	measure_wire();
	report_load(&(struct load){SATURATE, false, UPDATES_ROUNDS}, "siu/updates", NULL);
	report_load(&(struct load){SATURATE, true, UPDATES_ROUNDS}, "siu/updates_with_rrp", NULL);
	report_load(&(struct load){LOSS_RATE, false, LOSS_ROUNDS}, "siu/worker_loss/updates",
		"siu/worker_loss");
	if (words == 3)
		sweep();
	siu_rig_close(&bench, lcore);
	return 0;
}
