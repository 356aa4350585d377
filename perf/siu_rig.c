/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the gateway's SIU socket and the home agent's are both on the loopback device.
 * The gateway's answers do not take a socket: they are routed to the inside like anything else, and
 * the feeder hands them over.
 */
#include "perf/siu_rig.h"

#include "control/gw/pump.h"
#include "dataplane/now.h"
#include "lib/hmac.h"
#include "lib/ipv4.h"
#include "lib/log.h"
#include "lib/mip4.h"

#include <rte_pause.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UP_WITHIN_NS (UINT64_C(5) * NS_PER_S)
#define LIFETIME_S 600
#define SECRET_BYTES 32
#define KEY_ID 1
#define NO_LIMIT 1000000 /* moves a second: the limit is not what is measured */
#define HA_SIU "127.0.0.1:4340"
#define GW_SIU "127.0.0.2:4340"
#define MBUFS 16383 /* a port's */

/* --- the home agent's end ------------------------------------------------------------------------
 */

static uint64_t slice(const struct siu_rig *rig)
{
	return feeder_phase(rig->feeder) / 2;
}

static void ha_send(void *arg, const uint8_t *datagram, size_t len)
{
	struct siu_rig *rig = arg;

	rig->left = bench_cycles();
	if (!rig->wire) {
		siu_handler_input(rig->handler, &rig->conf->home_agents[0].address.addr, SIU_TTL,
			datagram, len, clock_mono_ns());
		rig->fed = true;
	} else if (send(rig->fd, datagram, len, 0) != (ssize_t)len) {
		rig_fail("the home agent cannot send");
	}
}

static void ha_ack(void *arg, const struct siu_ack_entry *entry)
{
	struct siu_rig *rig = arg;
	struct ip_addr first = rig_home(0);
	uint32_t node = ntohl(ip_addr_to_v4(&entry->home_address)) - ntohl(ip_addr_to_v4(&first));

	rig->acked++;
	if (!siu_result_is_good(entry->result))
		rig->refused++;
	rig->busy[node] = false;
	/* Before the slice is read: what is filled in the next one is addressed by this. */
	atomic_store(&rig->acknowledged[node], (uint32_t)entry->generation);
	rig->acked_in[node] = slice(rig);
}

static void ha_peer(void *arg, bool up, bool restarted)
{
	struct siu_rig *rig = arg;

	(void)restarted;
	rig->up = up;
}

static void ha_receive(struct siu_rig *rig, const struct rte_mbuf *frame, uint64_t now_ns)
{
	const uint8_t *at = rte_pktmbuf_mtod(frame, const uint8_t *);
	struct ipv4_view ip;
	struct udp_view udp;

	if (ipv4_udp_parse(at + RTE_ETHER_HDR_LEN, frame->data_len - (size_t)RTE_ETHER_HDR_LEN, &ip,
		    &udp) &&
		udp.src_port == rig->conf->siu_listen.port)
		siu_input(rig->ha, udp.payload, udp.payload_len, now_ns);
}

/* As the gateway's loop does where nothing but the disk is waited for: that one's thread may need
 * this CPU. */
static void rest(uint64_t ns)
{
	const struct timespec nap = {.tv_nsec = (long)RTE_MIN(ns, PUMP_NAP_NS)};

	nanosleep(&nap, NULL);
}

void siu_rig_turn(struct siu_rig *rig)
{
	struct rte_mbuf *frames[PKT_BURST_MAX];
	uint64_t now_ns, again_ns;
	unsigned n;

	now_ns = clock_mono_ns();
	n = rte_ring_dequeue_burst(
		rig->feeder->to_home_agent, (void **)frames, PKT_BURST_MAX, NULL);
	for (unsigned i = 0; i < n; i++) {
		ha_receive(rig, frames[i], now_ns);
		rte_pktmbuf_free(frames[i]);
	}
	(void)siu_tick(rig->ha, now_ns);
	if (rig->fed)
		siu_handler_flush(rig->handler, now_ns);
	rig->fed = false;
	dataplane_poll(rig->rig.dp, now_ns, NULL, NULL);
	again_ns = siu_handler_poll(rig->handler, now_ns);
	if (n == 0 && again_ns != 0)
		rest(again_ns);
}

static size_t make_rrp(uint32_t node, const struct ip_addr *coa, uint8_t out[SIU_RRP_MAX])
{
	const struct mip4_key key = {.spi = 0x101, .alg = HMAC_SHA256, .key_len = 32};
	const struct ip_addr agent = rig_addr(rig_home_agent);
	const struct mip4_rrp rrp = {
		.lifetime_s = LIFETIME_S, .hoa = rig_home(node), .ha = agent, .identification = 1};
	const struct ip_endpoint from = {agent, MIP4_PORT};
	const struct ip_endpoint to = {*coa, MIP4_PORT};
	uint8_t message[SIU_RRP_MAX];
	size_t len = mip4_rrp_encode(message, sizeof message, &rrp, &key);

	return ipv4_udp_build(out, SIU_RRP_MAX, &from, &to, message, len);
}

bool siu_rig_may_move(const struct siu_rig *rig, uint32_t node)
{
	return !rig->busy[node] && rig->acked_in[node] < slice(rig);
}

void siu_rig_move(struct siu_rig *rig, uint32_t node, bool with_rrp)
{
	const uint32_t was = atomic_load_explicit(&rig->acknowledged[node], memory_order_relaxed);
	uint8_t rrp[SIU_RRP_MAX];
	struct siu_update update = {.lifetime_s = LIFETIME_S,
		.generation = was + 1,
		.home_address = rig_home(node),
		.former_coa = feeder_coa(rig->rig.nodes, node, was),
		.new_coa = feeder_coa(rig->rig.nodes, node, was + 1)};

	if (with_rrp) {
		update.rrp_len = make_rrp(node, &update.new_coa, rrp);
		update.rrp = rrp;
	}
	rig->busy[node] = true;
	if (siu_update(rig->ha, &update, clock_mono_ns()) != 0)
		rig_fail("the home agent's end takes no update");
}

uint32_t siu_rig_pending(const struct siu_rig *rig)
{
	struct siu_stats stats;

	siu_get_stats(rig->ha, &stats);
	return stats.pending;
}

void siu_rig_wait_for_all(struct siu_rig *rig)
{
	uint64_t until_ns = clock_mono_ns() + UP_WITHIN_NS;

	do {
		siu_rig_turn(rig);
		if (clock_mono_ns() > until_ns)
			rig_fail("updates are not acknowledged");
	} while (siu_rig_pending(rig) != 0);
	if (rig->refused != 0)
		rig_fail("the gateway refused an update");
}

/* --- setting up ----------------------------------------------------------------------------------
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
		!ip_prefix_parse("10.64.0.0/12", &ha->prefixes.list[0]) ||
		!ip_prefix_parse("10.0.0.0/8", &conf->inside.list[0]))
		rig_fail("addresses");
	ha->secrets[0].id = KEY_ID;
	ha->secrets[0].secret.len = SECRET_BYTES;
	memcpy(ha->secrets[0].secret.bytes, secret, SECRET_BYTES);
	return conf;
}

static void add_node(struct siu_rig *rig, uint32_t i)
{
	const struct ip_addr coa = feeder_coa(rig->rig.nodes, i, 1);
	char name[16];
	const struct tunnel_params params = {
		.name = name,
		.home_address = rig_home(i),
		.home_agent_source = rig_addr(rig_home_agent),
		.flags = NODE_STRICT_INNER_SOURCE,
		.position = {.generation = 1,
			.coa = coa,
			.remote.addr = coa,
			.ends_real_ns = POSITION_NEVER_ENDS},
	};
	struct sa_params in, out;
	struct tunnel *tunnel;

	snprintf(name, sizeof name, "node%u", i);
	rig_make_sas(&rig->rig, i, &in, &out);
	atomic_init(&rig->acknowledged[i], 1);
	if (tunnel_add(rig->tunnels, &params, &tunnel) != 0 ||
		tunnel_sa_add(rig->tunnels, tunnel, true, &in, 0) != 0 ||
		tunnel_sa_add(rig->tunnels, tunnel, false, &out, 1) != 0)
		rig_fail("cannot add a node");
}

static int ha_socket(const struct gw_conf *conf)
{
	const struct ip_endpoint *from = &conf->home_agents[0].address, *to = &conf->siu_listen;
	const struct sockaddr_in local = {.sin_family = AF_INET,
		.sin_port = htons(from->port),
		.sin_addr.s_addr = ip_addr_to_v4(&from->addr)};
	const struct sockaddr_in remote = {.sin_family = AF_INET,
		.sin_port = htons(to->port),
		.sin_addr.s_addr = ip_addr_to_v4(&to->addr)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&local, sizeof local) != 0 ||
		connect(fd, (const struct sockaddr *)&remote, sizeof remote) != 0)
		rig_fail("no socket for the home agent: is " HA_SIU " taken?");
	return fd;
}

static void open_gateway(struct siu_rig *rig, uint32_t nodes, const char *folder)
{
	const struct ip_prefix loopback = {.addr = rig_addr("127.0.0.0"), .len = 8};
	const struct ip_addr inside_hop = rig_addr("10.2.0.1");
	char why[256];

	if (state_open(folder, 2 * nodes + 16, AFTER_POWER_LOSS_STRICT, &rig->state, why,
		    sizeof why) != 0)
		rig_fail(why);
	rig_open(
		&rig->rig, CRYPTO_AES128GCM16, nodes, MBUFS, state_counters(rig->state), folder, 1);
	rig->loop = loop_new();
	rig->handovers = handovers_new();
	rig->tunnels = tunnels_new(&(struct tunnel_config){.dp = rig->rig.dp,
		.handovers = rig->handovers,
		.local = rig_addr(rig_outside),
		.mtu = RIG_MTU,
		.max_nodes = nodes});
	if (rig->loop == NULL || rig->handovers == NULL || rig->tunnels == NULL ||
		state_start(rig->state) != 0 ||
		dataplane_route_set(rig->rig.dp, &loopback, DP_INSIDE, &inside_hop) != 0)
		rig_fail("out of memory");
	for (uint32_t i = 0; i < nodes; i++)
		add_node(rig, i);
	if (siu_handler_open(&(struct siu_handler_config){.conf = rig->conf,
				     .dp = rig->rig.dp,
				     .tunnels = rig->tunnels,
				     .handovers = rig->handovers,
				     .state = rig->state,
				     .loop = rig->loop,
				     .device = "lo"},
		    &rig->handler, why, sizeof why) != 0)
		rig_fail(why);
}

void siu_rig_open(struct siu_rig *rig, uint32_t nodes, const char *folder, unsigned lcore)
{
	const struct siu_callbacks callbacks = {.send = ha_send, .ack = ha_ack, .peer = ha_peer};
	struct siu_config ha = {.role = SIU_HOME_AGENT, .boot_epoch = 1, .max_pending = nodes};
	uint8_t secret[SECRET_BYTES];
	uint64_t until_ns;

	*rig = (struct siu_rig){0};
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* as in loop_run() */
	random_fill(secret, sizeof secret);
	rig->conf = make_conf(secret);
	siu_derive_keys(secret, sizeof secret, KEY_ID, &ha.keys_out[0], &ha.keys_in[0]);
	rig->acknowledged = calloc(nodes, sizeof *rig->acknowledged);
	rig->busy = calloc(nodes, sizeof *rig->busy);
	rig->acked_in = calloc(nodes, sizeof *rig->acked_in);
	rig->ha = siu_new(&ha, &callbacks, rig);
	if (rig->acknowledged == NULL || rig->busy == NULL || rig->acked_in == NULL ||
		rig->ha == NULL)
		rig_fail("out of memory");
	open_gateway(rig, nodes, folder);
	rig->fd = ha_socket(rig->conf);
	rig->feeder = feeder_start(&rig->rig, rig->acknowledged, lcore);
	until_ns = clock_mono_ns() + UP_WITHIN_NS;
	while (!rig->up && clock_mono_ns() < until_ns)
		siu_rig_turn(rig);
	if (!rig->up)
		rig_fail("the association does not come up");
}

void siu_rig_close(struct siu_rig *rig, unsigned lcore)
{
	feeder_stop(rig->feeder, lcore);
	siu_handler_close(rig->handler);
	state_close(rig->state);
	close(rig->fd);
}
