/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the ports are net_ring devices over rings of our own, one for each direction, so
 * that what a port sends does not come back to it. Routes and neighbours are fixed.
 */
#include "perf/rig.h"

#include "dataplane/policy.h"
#include "dataplane/esp/crypto_engines.h"
#include "lib/hmac.h"
#include "lib/ipv4.h"
#include "perf/bench.h"

#include <rte_eal.h>
#include <rte_eth_ring.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOME_BASE 0x0a400000u /* 10.64.0.0 */
#define COA_BASE 0xc6120000u  /* 198.18.0.0 */
#define SPI_OUT 0x02000000u
#define PROTO_IPIP 4
#define PROTO_UDP 17
#define BENCH_EPOCH 1

const char *const rig_outside = "192.0.2.1", *const rig_inside = "10.2.0.254";
const char *const rig_home_agent = "10.1.0.1", *const rig_corr = "10.2.0.5";
static const char *const outside_hop = "192.0.2.254", *const inside_hop = "10.2.0.1";

void rig_fail(const char *what)
{
	fprintf(stderr, "benchmark: %s\n", what);
	exit(1);
}

int rig_eal_init(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--no-pci") == 0)
			return rte_eal_init(argc, argv);
	rig_fail("give --no-pci: these ports are in memory");
}

struct ip_addr rig_addr(const char *text)
{
	struct ip_addr addr;

	if (!ip_addr_parse(text, &addr))
		rig_fail(text);
	return addr;
}

struct ip_addr rig_home(uint32_t node)
{
	return ip_addr_from_v4(htonl(HOME_BASE + node));
}

struct ip_addr rig_coa(uint32_t node)
{
	return ip_addr_from_v4(htonl(COA_BASE + node));
}

struct counters *rig_counters(const char *folder, uint32_t sas)
{
	static unsigned instance;
	struct counters *counters;
	char path[256], why[256];

	snprintf(path, sizeof path, "%s/bench-counters-%d-%u", folder, (int)getpid(), instance++);
	if (counters_open(path, sas, AFTER_POWER_LOSS_STRICT, &counters, why, sizeof why) != 0)
		rig_fail(why);
	unlink(path);
	return counters;
}

static struct rte_ring *ring_new(const char *kind, enum dp_port port, unsigned queue)
{
	struct rte_ring *ring;
	char name[32];

	snprintf(name, sizeof name, "%s%d.%u", kind, port, queue);
	ring = rte_ring_create(name, RIG_RING, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (ring == NULL)
		rig_fail("no memory for a ring");
	return ring;
}

static void set_forwarding(struct rig *rig)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
	struct ip_addr out = rig_addr(outside_hop), in = rig_addr(inside_hop);
	struct ip_prefix any = {.addr = rig_addr("0.0.0.0")};
	struct ip_prefix inside = {.addr = rig_addr("10.0.0.0"), .len = 8};

	if (dataplane_route_set(rig->dp, &any, DP_OUTSIDE, &out) != 0 ||
		dataplane_route_set(rig->dp, &inside, DP_INSIDE, &in) != 0 ||
		dataplane_neigh_set(rig->dp, DP_OUTSIDE, &out, mac) != 0 ||
		dataplane_neigh_set(rig->dp, DP_INSIDE, &in, mac) != 0)
		rig_fail("no routes");
}

/* As many rules for each direction as BENCH_RULES says: the usual kind, none of which matches. */
static void set_rules(struct rig *rig)
{
	const char *text = getenv("BENCH_RULES");
	const uint32_t n = text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10);
	struct policy_rule *rules;
	struct policy *policy;

	if (n == 0)
		return;
	rules = calloc(2 * (size_t)n, sizeof *rules);
	if (rules == NULL || n > POLICY_RULES_MAX / 2)
		rig_fail("BENCH_RULES: too many");
	for (uint32_t i = 0; i < 2 * n; i++) {
		rules[i].action = POLICY_DISCARD;
		rules[i].inbound = i & 1;
		rules[i].protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		rules[i].destination.n_prefixes = rules[i].destination.n_ports = 1;
		rules[i].destination.prefixes[0] = (struct ip_prefix){
			.addr = ip_addr_from_v4(htonl(0x0b000000 + (i << 8))), .len = 24};
		rules[i].destination.ports[0] = (struct policy_ports){443, 443};
	}
	policy = policy_new(rules, 2 * n, dataplane_workers(rig->dp));
	if (policy == NULL || dataplane_policy_use(rig->dp, policy) != 0)
		rig_fail("no memory for the rules");
	free(rules);
}

void rig_open_gateway(struct rig *rig, enum crypto_alg alg, uint32_t nodes, uint32_t mbufs,
	struct counters *counters, unsigned workers)
{
	const char *const names[DP_PORTS] = {"net_ring_out", "net_ring_in"};
	const char *engine = getenv("BENCH_ENGINE");
	struct dp_config config = {
		.max_nodes = nodes,
		.max_routes = 16,
		.max_neighbours = 16,
		.mbufs = mbufs,
		.rx_descriptors = 1024,
		.tx_descriptors = 1024,
		.crypto_engine = engine != NULL ? engine : "auto",
		.n_home_agents = 1,
		.registration_rate = 10,
		.counters = counters,
	};
	char why[256];

	if (bench_isa_avx2())
		crypto_ipsec_mb_hold_avx2_test();
	*rig = (struct rig){.alg = alg, .nodes = nodes};
	config.ports[DP_OUTSIDE] = (struct dp_port_config){
		.addrs = {rig_addr(rig_outside)}, .n_addrs = 1, .mtu = RIG_MTU};
	config.ports[DP_INSIDE] = (struct dp_port_config){
		.addrs = {rig_addr(rig_inside)}, .n_addrs = 1, .mtu = RIG_MTU};
	config.home_agents[0] = (struct ip_prefix){.addr = rig_addr(rig_home_agent), .len = 32};
	for (int port = 0; port < DP_PORTS; port++) {
		for (unsigned w = 0; w < workers; w++) {
			rig->rx[port][w] = ring_new("rx", (enum dp_port)port, w);
			rig->tx[port][w] = ring_new("tx", (enum dp_port)port, w);
		}
		if (rte_eth_from_rings(names[port] + strlen("net_ring_"), rig->rx[port], workers,
			    rig->tx[port], workers, 0) < 0)
			rig_fail("no ring port");
	}
	if (dataplane_open(&config, names, workers, &rig->dp, why, sizeof why) != 0)
		rig_fail(why);
	set_forwarding(rig);
	set_rules(rig);
}

void rig_open(struct rig *rig, enum crypto_alg alg, uint32_t nodes, uint32_t mbufs,
	struct counters *counters, const char *folder, unsigned workers)
{
	rig_open_gateway(rig, alg, nodes, mbufs, counters, workers);
	rig->peer_counters = rig_counters(folder, nodes + 16);
	rig->peers = aligned_alloc(RTE_CACHE_LINE_SIZE, nodes * sizeof *rig->peers);
	if (rig->peers == NULL)
		rig_fail("no memory for the peers");
	memset(rig->peers, 0, nodes * sizeof *rig->peers);
}

struct path_params rig_path(uint32_t node)
{
	return (struct path_params){.local.addr = rig_addr(rig_outside),
		.remote.addr = rig_coa(node),
		.coa = rig_coa(node),
		.generation = 1,
		.mtu = RIG_MTU};
}

void rig_make_sas(struct rig *rig, uint32_t node, struct sa_params *in, struct sa_params *out)
{
	const size_t key_bytes = crypto_material_bytes(rig->alg);
	struct rig_peer *peer = &rig->peers[node];
	struct sa_params peer_out = {.spi = RIG_SPI_IN + node, .alg = rig->alg, .esn = true};
	struct path_params back = {
		.local.addr = rig_coa(node), .remote.addr = rig_addr(rig_outside), .mtu = RIG_MTU};

	*in = (struct sa_params){.spi = RIG_SPI_IN + node,
		.alg = rig->alg,
		.esn = true,
		.replay_window = RIG_REPLAY_WINDOW};
	*out = (struct sa_params){.spi = SPI_OUT + node, .alg = rig->alg, .esn = true};
	random_fill(peer->key_in, key_bytes);
	random_fill(peer->key_out, key_bytes);
	memcpy(in->key, peer->key_in, key_bytes);
	memcpy(peer_out.key, peer->key_in, key_bytes);
	memcpy(out->key, peer->key_out, key_bytes);
	back.coa = back.remote.addr;
	if (sa_out_new(&sa_memory_heap, rig->dp->engine, rig->peer_counters, &peer_out, NULL, false,
		    BENCH_EPOCH, &peer->sa) != 0 ||
		!path_init(&peer->path, &back))
		rig_fail("no memory for a peer");
}

struct node *rig_add_node(struct rig *rig, uint32_t i)
{
	struct dp_node_params params = {
		.home_address = rig_home(i),
		.home_agent = rig_addr(rig_home_agent),
		.handle = i + 1,
		.flags = NODE_STRICT_INNER_SOURCE,
		.path = rig_path(i),
	};
	struct sa_params in, out;
	struct node *node;

	rig_make_sas(rig, i, &in, &out);
	if (dataplane_node_add(rig->dp, &params, &node) != 0 ||
		dataplane_sa_in_add(rig->dp, node, &in) != 0 ||
		dataplane_sa_out_add(rig->dp, node, &out, BENCH_EPOCH) != 0)
		rig_fail("cannot add a node");
	return node;
}

void rig_order(const struct rig *rig, uint64_t *state, uint32_t *order, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		/* Knuth's MMIX generator; its low bits are poor. */
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		order[i] = (uint32_t)((*state >> 33) % rig->nodes);
	}
}

/* An IPv4 packet of size bytes: a fixed pattern behind a good header. */
static void plain_packet(uint8_t *at, uint32_t size, const struct ip_addr *src,
	const struct ip_addr *dst, uint8_t protocol)
{
	ipv4_build(at, src, dst, protocol, IPV4_TTL_DEFAULT, 0, 1, 0, (uint16_t)size);
	for (uint32_t i = IPV4_HDR_BYTES; i < size; i++)
		at[i] = (uint8_t)(i * 7);
}

void rig_packet(bool encap, uint32_t node, const struct ip_addr *coa, uint32_t size, uint8_t *at)
{
	static struct ip_addr corr, agent; /* read once: benchmarks make packets all the time */
	struct ip_addr home = rig_home(node);

	if (!ip_addr_is_set(&corr)) {
		corr = rig_addr(rig_corr);
		agent = rig_addr(rig_home_agent);
	}
	if (!encap) {
		plain_packet(at, size, &home, &corr, PROTO_UDP);
		return;
	}
	plain_packet(at, size, &agent, coa, PROTO_IPIP);
	plain_packet(at + IPV4_HDR_BYTES, size - IPV4_HDR_BYTES, &corr, &home, PROTO_UDP);
}

uint8_t *rig_frame(struct rig *rig, enum dp_port port, struct rte_mbuf *mbuf)
{
	struct rte_ether_hdr *ether;

	rte_pktmbuf_reset(mbuf);
	ether = rte_pktmbuf_mtod(mbuf, struct rte_ether_hdr *);
	memset(ether, 2, sizeof *ether);
	memcpy(&ether->dst_addr, rig->dp->ports[port].mac, sizeof ether->dst_addr);
	ether->ether_type = htons(RTE_ETHER_TYPE_IPV4);
	return (uint8_t *)(ether + 1);
}

void rig_frame_len(struct rte_mbuf *mbuf, uint32_t ip_bytes)
{
	mbuf->data_len = (uint16_t)(ip_bytes + RTE_ETHER_HDR_LEN);
	mbuf->pkt_len = mbuf->data_len;
}

uint32_t rig_seal_bytes(
	struct rig *rig, struct crypto_thread *crypto, uint32_t node, uint32_t size, uint8_t *at)
{
	uint8_t buffer[RIG_FRAME_MAX];
	struct rig_peer *peer = &rig->peers[node];
	const struct path *path = &peer->path;
	enum verdict verdict = VERDICT_OK;
	struct esp_pkt pkt = {.data = buffer + ESP_HEADROOM_MAX,
		.len = size,
		.headroom = ESP_HEADROOM_MAX,
		.tailroom = ESP_TAILROOM_MAX};

	rig_packet(false, node, NULL, size, pkt.data);
	esp_encap_burst(crypto, rig->dp->engine, &peer->sa, &path, &pkt, &verdict, 1);
	if (verdict != VERDICT_OK)
		rig_fail("cannot encrypt ahead");
	memcpy(at, pkt.data, pkt.len);
	return pkt.len;
}

void rig_seal_burst(struct rig *rig, struct crypto_thread *crypto, const uint32_t *nodes,
	uint32_t size, struct rte_mbuf **mbufs)
{
	struct sa_out *sas[PKT_BURST_MAX];
	const struct path *paths[PKT_BURST_MAX];
	struct esp_pkt pkts[PKT_BURST_MAX];
	enum verdict verdicts[PKT_BURST_MAX];

	for (unsigned i = 0; i < PKT_BURST_MAX; i++) {
		struct rig_peer *peer = &rig->peers[nodes[i]];
		uint8_t *inner = rig_frame(rig, DP_OUTSIDE, mbufs[i]) + ESP_HEADROOM_MAX;

		rig_packet(false, nodes[i], NULL, size, inner);
		pkts[i] = (struct esp_pkt){.data = inner,
			.len = size,
			.headroom = ESP_HEADROOM_MAX,
			.tailroom = ESP_TAILROOM_MAX};
		sas[i] = peer->sa;
		paths[i] = &peer->path;
		verdicts[i] = VERDICT_OK;
		esp_prefetch_out(rig->dp->engine, sas[i], size);
	}
	esp_encap_burst(crypto, rig->dp->engine, sas, paths, pkts, verdicts, PKT_BURST_MAX);
	for (unsigned i = 0; i < PKT_BURST_MAX; i++) {
		if (verdicts[i] != VERDICT_OK)
			rig_fail("cannot encrypt ahead");
		/* To behind the Ethernet header. */
		memmove(rte_pktmbuf_mtod_offset(mbufs[i], uint8_t *, RTE_ETHER_HDR_LEN),
			pkts[i].data, pkts[i].len);
		rig_frame_len(mbufs[i], pkts[i].len);
	}
}

uint32_t rig_seal(struct rig *rig, struct crypto_thread *crypto, uint32_t node, uint32_t size,
	struct rte_mbuf *mbuf)
{
	uint32_t len = rig_seal_bytes(rig, crypto, node, size, rig_frame(rig, DP_OUTSIDE, mbuf));

	rig_frame_len(mbuf, len);
	return len;
}
