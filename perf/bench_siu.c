/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siu/publish/p50, siu/publish/p99, siu/loop/p99, siu/updates, siu/updates_with_rrp,
 * siu/worker_loss.
 *
 * How this works: the gateway's own modules (SIU handler, tunnel table, state on disk) run on the
 * main thread; a worker on another CPU is kept saturated with 64-byte packets both ways: at each
 * turn it refills its receive rings itself, runs a turn of the packet path and empties the transmit
 * rings. A home agent's end of the SIU association lives on the main thread too; what the gateway
 * sends to it leaves as frames on the inside port, as on a wire, and comes back by a ring.
 *
 * publish: from the moment at which recvmmsg() would have returned with one UPDATE to the moment at
 * which the worker has left the old path. loop: the length of the worker's turns in the same time.
 * updates: UPDATE entries acknowledged a second, as many in flight as there are nodes; worker_loss:
 * packets a second that the worker forwards in that time against the time just before.
 * Every packet must be forwarded and each entry acknowledged as applied; otherwise exit 1.
 */
#include "control/gw/key_verbs.h"
#include "control/gw/siu_handler.h"
#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "perf/bench.h"
#include "perf/rig.h"
#include "siu/association.h"

#include <rte_launch.h>
#include <rte_lcore.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 1000
#define INNER_BYTES 64
#define PUBLISHES 20000
#define IN_FLIGHT 32 /* updates, so that the next one leaves at once: the sender has a window */
#define WINDOW_NS (1500 * NS_PER_MS) /* of a throughput measurement */
#define UP_WITHIN_NS (UINT64_C(5) * NS_PER_S)
#define LIFETIME_S 600
#define SECRET_BYTES 32
#define KEY_ID 1
#define NO_LIMIT 1000000 /* moves a second: the limit is not what is measured */
#define HA_SIU "10.2.0.1:4340"
#define GW_SIU "10.2.0.254:4340"

struct bench {
	struct rig rig;
	struct gw_conf *conf;
	struct state *state;
	struct handovers *handovers;
	struct tunnels *tunnels;
	struct siu_handler *handler;
	struct ip_addr ha_addr;
	/* the home agent's end */
	struct siu *ha;
	struct rte_ring *to_ha; /* frames that the gateway sent on the inside, by the worker */
	bool up;
	uint64_t arrived; /* TSC when the gateway was given the last datagram */
	uint64_t acked, refused;
	uint64_t generation[NODES];
	uint32_t coa[NODES]; /* which of two care-of addresses */
	bool busy[NODES];
	/* the worker's */
	_Atomic(bool) stop;
	_Atomic(uint64_t) forwarded;
	struct crypto_thread *crypto;
	struct bench_samples *loops; /* written by the worker while not NULL and armed */
	_Atomic(bool) record;
};

static struct bench bench;

/* --- the worker's side --------------------------------------------------------------------------
 */

static void refill(struct rte_mbuf **plain, struct rte_mbuf **sealed, uint32_t *node)
{
	for (unsigned i = 0; i < PKT_BURST_MAX; i++) {
		const struct node *at = node_by_handle(bench.rig.dp, *node + 1);
		const struct path *path = atomic_load_explicit(&at->path, memory_order_acquire);

		rig_packet(true, *node, &path->coa, INNER_BYTES,
			rig_frame(&bench.rig, DP_INSIDE, plain[i]));
		rig_frame_len(plain[i], INNER_BYTES);
		(void)rig_seal(&bench.rig, bench.crypto, *node, INNER_BYTES, sealed[i]);
		*node = (*node + 1) % NODES;
	}
	if (rte_ring_enqueue_bulk(bench.rig.rx[DP_INSIDE], (void **)plain, PKT_BURST_MAX, NULL) ==
			0 ||
		rte_ring_enqueue_bulk(
			bench.rig.rx[DP_OUTSIDE], (void **)sealed, PKT_BURST_MAX, NULL) == 0)
		rig_fail("receive ring is full");
}

static void say_verdicts(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(bench.rig.dp, &sums);
	for (int i = 0; i < VERDICT_COUNT; i++)
		if (sums.in[i] + sums.out[i] + sums.local[i] != 0)
			fprintf(stderr, "%s in=%lu out=%lu local=%lu\n",
				verdict_name((enum verdict)i), sums.in[i], sums.out[i],
				sums.local[i]);
}

/* Sends what the gateway said to the home agent there, counts the rest; gives back n mbufs to be
 * filled again. */
static unsigned empty(enum dp_port port, struct rte_mbuf **again, unsigned want)
{
	struct rte_mbuf *sent[4 * PKT_BURST_MAX];
	unsigned n = rte_ring_dequeue_burst(
		bench.rig.tx[port], (void **)sent, 4 * PKT_BURST_MAX, NULL);
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (sent[i]->pool == bench.rig.dp->inject_pool) {
			if (port != DP_INSIDE || rte_ring_enqueue(bench.to_ha, sent[i]) != 0)
				rte_pktmbuf_free(sent[i]);
		} else if (kept == want) {
			rig_fail("more packets came out than went in");
		} else {
			again[kept++] = sent[i];
		}
	}
	return kept;
}

static int worker_loop(void *arg)
{
	struct rte_mbuf *plain[PKT_BURST_MAX], *sealed[PKT_BURST_MAX];
	struct worker *worker = bench.rig.dp->workers[0];
	uint32_t node = 0;

	(void)arg;
	if (rte_pktmbuf_alloc_bulk(bench.rig.dp->ports[DP_INSIDE].pool, plain, PKT_BURST_MAX) !=
			0 ||
		rte_pktmbuf_alloc_bulk(
			bench.rig.dp->ports[DP_OUTSIDE].pool, sealed, PKT_BURST_MAX) != 0)
		rig_fail("too few mbufs");
	rcu_online(&bench.rig.dp->rcu, 0);
	while (!atomic_load_explicit(&bench.stop, memory_order_relaxed)) {
		uint64_t from = bench_cycles();
		unsigned n;

		refill(plain, sealed, &node);
		do {
			(void)worker_run_once(worker);
		} while (rte_ring_count(bench.rig.rx[DP_INSIDE]) != 0);
		n = empty(DP_OUTSIDE, plain, PKT_BURST_MAX);
		n += empty(DP_INSIDE, sealed, PKT_BURST_MAX);
		if (n != 2 * PKT_BURST_MAX) {
			say_verdicts();
			rig_fail("a packet was lost or misdirected");
		}
		atomic_fetch_add_explicit(&bench.forwarded, n, memory_order_relaxed);
		if (atomic_load_explicit(&bench.record, memory_order_relaxed))
			bench_add(bench.loops, (double)(bench_cycles() - from));
	}
	rcu_offline(&bench.rig.dp->rcu, 0);
	return 0;
}

/* --- the home agent's side ----------------------------------------------------------------------
 */

static void ha_send(void *arg, const uint8_t *datagram, size_t len)
{
	(void)arg;
	bench.arrived = bench_cycles();
	siu_handler_input(bench.handler, &bench.ha_addr, datagram, len, clock_mono_ns());
}

static void ha_ack(void *arg, const struct siu_ack_entry *entry)
{
	uint32_t node = ntohl(ip_addr_to_v4(&entry->home_address)) -
			ntohl(ip_addr_to_v4(
				&(struct ip_addr){.bytes = {10, 64, 0, 0}, .family = AF_INET}));

	(void)arg;
	if (node >= NODES)
		return;
	bench.acked++;
	if (!siu_result_is_good(entry->result))
		bench.refused++;
	bench.busy[node] = false;
}

static void ha_peer(void *arg, bool up, bool restarted)
{
	(void)arg;
	(void)restarted;
	bench.up = up;
}

/* One turn of the control thread, both ends. */
static void turn(void)
{
	struct rte_mbuf *frames[PKT_BURST_MAX];
	uint64_t now = clock_mono_ns();
	unsigned n = rte_ring_dequeue_burst(bench.to_ha, (void **)frames, PKT_BURST_MAX, NULL);

	for (unsigned i = 0; i < n; i++) {
		struct ipv4_view ip;
		struct udp_view udp;

		if (ipv4_udp_parse(rte_pktmbuf_mtod_offset(frames[i], uint8_t *, RTE_ETHER_HDR_LEN),
			    frames[i]->data_len - (size_t)RTE_ETHER_HDR_LEN, &ip, &udp) &&
			udp.src_port == bench.conf->siu_listen.port)
			siu_input(bench.ha, udp.payload, udp.payload_len, now);
		rte_pktmbuf_free(frames[i]);
	}
	(void)siu_tick(bench.ha, now);
	siu_handler_flush(bench.handler, now);
	dataplane_poll(bench.rig.dp, now, NULL, NULL);
}

static size_t make_rrp(uint32_t node, const struct ip_addr *coa, uint8_t out[SIU_RRP_MAX])
{
	const struct mip4_key key = {.spi = 0x101, .alg = HMAC_SHA256, .key_len = 32};
	const struct mip4_rrp rrp = {.lifetime_s = LIFETIME_S,
		.hoa = rig_home(node),
		.ha = rig_addr(rig_home_agent),
		.identification = 1};
	const struct ip_endpoint from = {rig_addr(rig_home_agent), MIP4_PORT};
	const struct ip_endpoint to = {*coa, MIP4_PORT};
	uint8_t message[SIU_RRP_MAX];
	size_t len = mip4_rrp_encode(message, sizeof message, &rrp, &key);

	return ipv4_udp_build(out, SIU_RRP_MAX, &from, &to, message, len);
}

static void queue_update(uint32_t node, bool with_rrp)
{
	uint8_t rrp[SIU_RRP_MAX];
	struct siu_update update = {.lifetime_s = LIFETIME_S,
		.generation = ++bench.generation[node],
		.home_address = rig_home(node),
		.former_coa = rig_coa(node + bench.coa[node] * NODES)};

	bench.coa[node] ^= 1;
	update.new_coa = rig_coa(node + bench.coa[node] * NODES);
	if (with_rrp) {
		update.rrp_len = make_rrp(node, &update.new_coa, rrp);
		update.rrp = rrp;
	}
	bench.busy[node] = true;
	if (siu_update(bench.ha, &update, clock_mono_ns()) != 0)
		rig_fail("the home agent's end takes no update");
}

static void wait_for_all(void)
{
	uint64_t until = clock_mono_ns() + UP_WITHIN_NS;
	struct siu_stats stats;

	do {
		turn();
		siu_get_stats(bench.ha, &stats);
		if (clock_mono_ns() > until)
			rig_fail("updates are not acknowledged");
	} while (stats.pending != 0);
	if (bench.refused != 0)
		rig_fail("the gateway refused an update");
}

/* --- measuring ----------------------------------------------------------------------------------
 */

static void measure_publish(void)
{
	struct bench_samples publish, loops;
	double per_us = bench_cycles_per_us();
	struct siu_stats stats;

	bench_samples_init(&publish);
	bench_samples_init(&loops);
	bench.loops = &loops;
	atomic_store(&bench.record, true);
	for (uint32_t i = 0; i < PUBLISHES; i++) {
		uint32_t node = i % NODES;
		uint64_t token;

		do {
			turn();
			siu_get_stats(bench.ha, &stats);
		} while (bench.busy[node] || stats.pending >= IN_FLIGHT);
		queue_update(node, true);
		bench.arrived = 0;
		(void)siu_tick(bench.ha, clock_mono_ns()); /* hands the datagram to the gateway */
		if (bench.arrived == 0)
			rig_fail("an update did not leave at once");
		token = dataplane_grace_token(bench.rig.dp);
		while (!dataplane_grace_done(bench.rig.dp, token))
			;
		bench_add(&publish, (double)(bench_cycles() - bench.arrived) / per_us);
	}
	atomic_store(&bench.record, false);
	wait_for_all();
	bench_report_one("siu/publish/p50", "us", bench_percentile(&publish, 50), publish.n);
	bench_report_one("siu/publish/p99", "us", bench_percentile(&publish, 99), publish.n);
	bench_report_one("siu/loop/p99", "us", bench_percentile(&loops, 99) / per_us, loops.n);
	bench_samples_free(&publish);
}

static double forwarded_per_s(bool with_updates, bool with_rrp, double *updates_per_s)
{
	uint64_t from_ns = clock_mono_ns(), now, packets = atomic_load(&bench.forwarded);
	uint64_t acked = bench.acked;
	uint32_t node = 0;
	double s;

	do {
		for (uint32_t n = 0; with_updates && n < NODES; n++) {
			if (!bench.busy[node])
				queue_update(node, with_rrp);
			node = (node + 1) % NODES;
		}
		turn();
		now = clock_mono_ns();
	} while (now - from_ns < WINDOW_NS);
	s = (double)(now - from_ns) / (double)NS_PER_S;
	if (updates_per_s != NULL)
		*updates_per_s = (double)(bench.acked - acked) / s;
	return (double)(atomic_load(&bench.forwarded) - packets) / s;
}

static void measure_updates(void)
{
	double updates, with_rrp;
	double before = forwarded_per_s(false, false, NULL);
	double during = forwarded_per_s(true, false, &updates);
	double after;

	wait_for_all();
	after = forwarded_per_s(false, false, NULL);
	(void)forwarded_per_s(true, true, &with_rrp);
	wait_for_all();
	bench_report_one("siu/updates", "1/s", updates, (size_t)bench.acked);
	bench_report_one("siu/updates_with_rrp", "1/s", with_rrp, (size_t)bench.acked);
	bench_report_one("siu/worker_loss", "%", 100 * (1 - during / ((before + after) / 2)), 1);
}

/* --- setting up ---------------------------------------------------------------------------------
 */

static struct gw_conf *make_conf(const uint8_t secret[SECRET_BYTES])
{
	struct gw_conf *conf = calloc(1, sizeof *conf);
	struct gw_home_agent_conf *ha;

	if (conf == NULL)
		rig_fail("out of memory");
	ha = &conf->home_agents[0];
	conf->n_home_agents = 1;
	conf->grace_ms = 2000;
	conf->move_rate = conf->move_burst = NO_LIMIT;
	conf->ports[DP_INSIDE].mtu = conf->ports[DP_OUTSIDE].mtu = RIG_MTU;
	ha->tunnel_source = rig_addr(rig_home_agent);
	ha->prefixes.n = conf->inside.n = 1;
	if (!ip_endpoint_parse(GW_SIU, &conf->siu_listen) ||
		!ip_endpoint_parse(HA_SIU, &ha->address) ||
		!ip_prefix_parse("10.64.0.0/16", &ha->prefixes.list[0]) ||
		!ip_prefix_parse("10.0.0.0/8", &conf->inside.list[0]))
		rig_fail("addresses");
	ha->secrets[0].id = KEY_ID;
	ha->secrets[0].secret.len = SECRET_BYTES;
	memcpy(ha->secrets[0].secret.bytes, secret, SECRET_BYTES);
	bench.ha_addr = ha->address.addr;
	return conf;
}

static void add_node(uint32_t i)
{
	char name[16];
	const struct tunnel_params params = {
		.name = name,
		.home_address = rig_home(i),
		.home_agent_source = rig_addr(rig_home_agent),
		.flags = NODE_STRICT_INNER_SOURCE,
		.position = {.generation = 1,
			.coa = rig_coa(i),
			.remote.addr = rig_coa(i),
			.ends_real_ns = POSITION_NEVER_ENDS},
	};
	struct sa_params in, out;
	struct tunnel *tunnel;

	snprintf(name, sizeof name, "node%u", i);
	rig_make_sas(&bench.rig, i, &in, &out);
	bench.generation[i] = 1;
	if (tunnel_add(bench.tunnels, &params, &tunnel) != 0 ||
		tunnel_sa_add(bench.tunnels, tunnel, true, &in, 0, 0) != 0 ||
		tunnel_sa_add(bench.tunnels, tunnel, false, &out, 1, 0) != 0)
		rig_fail("cannot add a node");
}

static void set_up(const char *folder)
{
	const struct siu_callbacks callbacks = {.send = ha_send, .ack = ha_ack, .peer = ha_peer};
	struct siu_config ha = {.role = SIU_HOME_AGENT, .boot_epoch = 1, .max_pending = 2 * NODES};
	uint8_t secret[SECRET_BYTES];
	char why[256];

	random_fill(secret, sizeof secret);
	bench.conf = make_conf(secret);
	siu_derive_keys(secret, sizeof secret, KEY_ID, &ha.keys_out[0], &ha.keys_in[0]);
	if (state_open(folder, 2 * NODES + 16, AFTER_POWER_LOSS_STRICT, &bench.state, why,
		    sizeof why) != 0)
		rig_fail(why);
	rig_open(&bench.rig, CRYPTO_AES128GCM16, NODES, 4095, state_counters(bench.state), folder);
	bench.handovers = handovers_new();
	bench.tunnels = tunnels_new(&(struct tunnel_config){.dp = bench.rig.dp,
		.handovers = bench.handovers,
		.local = rig_addr(rig_outside),
		.mtu = RIG_MTU,
		.max_nodes = NODES});
	bench.to_ha = rte_ring_create(
		"to-ha", RIG_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	bench.crypto = bench.rig.dp->engine->thread_new();
	bench.ha = siu_new(&ha, &callbacks, NULL);
	if (bench.handovers == NULL || bench.tunnels == NULL || bench.to_ha == NULL ||
		bench.crypto == NULL || bench.ha == NULL || state_start(bench.state) != 0)
		rig_fail("out of memory");
	for (uint32_t i = 0; i < NODES; i++)
		add_node(i);
	if (siu_handler_open(&(struct siu_handler_config){.conf = bench.conf,
				     .dp = bench.rig.dp,
				     .tunnels = bench.tunnels,
				     .handovers = bench.handovers,
				     .state = bench.state},
		    &bench.handler, why, sizeof why) != 0)
		rig_fail(why);
}

int main(int argc, char **argv)
{
	int used = rig_eal_init(argc, argv);
	unsigned lcore = rte_get_next_lcore(-1, 1, 0);
	uint64_t until;

	if (used < 0 || argc - used != 2 || lcore == RTE_MAX_LCORE) {
		fprintf(stderr, "usage: bench_siu EAL-OPTIONS with two lcores -- FOLDER\n");
		return 2;
	}
	log_init("bench_siu", LOG_ERROR);
	set_up(argv[used + 1]);
	if (rte_eal_remote_launch(worker_loop, NULL, lcore) != 0)
		rig_fail("no worker");
	until = clock_mono_ns() + UP_WITHIN_NS;
	while (!bench.up && clock_mono_ns() < until)
		turn();
	if (!bench.up)
		rig_fail("the association does not come up");
	measure_publish();
	measure_updates();
	atomic_store(&bench.stop, true);
	rte_eal_wait_lcore(lcore);
	state_close(bench.state);
	return 0;
}
