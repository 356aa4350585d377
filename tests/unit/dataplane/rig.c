/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: net_ring ports stand in for devices, so that all of the worker's code runs, port
 * calls included. Keys are made from the node's handle and the direction.
 */
#include "tests/unit/dataplane/rig.h"

#include "dataplane/now.h"
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "lib/wire.h"

#include <openssl/evp.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_BYTES 16
#define SALT_BYTES 4
#define IV_BYTES 8
#define TAG_BYTES 16
#define MBUFS 4096 /* a port */
#define REQUIRE(condition)                                                              \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

const uint8_t rig_mac_outside_router[6] = {2, 0, 0, 0, 0, 0x11};
const uint8_t rig_mac_inside_router[6] = {2, 0, 0, 0, 0, 0x22};
const uint8_t rig_mac_corr[6] = {2, 0, 0, 0, 0, 0x33};

struct ip_addr rig_addr(const char *text)
{
	struct ip_addr addr;

	REQUIRE(ip_addr_parse(text, &addr));
	return addr;
}

struct ip_prefix rig_prefix(const char *text)
{
	struct ip_prefix prefix;

	REQUIRE(ip_prefix_parse(text, &prefix));
	return prefix;
}

static void start_eal(uint32_t workers)
{
	char lcores[64], prefix[64];
	char *argv[] = {(char[]){"rig"}, (char[]){"--no-huge"}, (char[]){"-m"}, (char[]){"256"},
		(char[]){"--no-pci"}, (char[]){"--no-telemetry"}, (char[]){"--log-level=warning"},
		lcores, prefix, NULL};

	snprintf(lcores, sizeof lcores, "--lcores=(0-%u)@(0-%ld)", workers,
		sysconf(_SC_NPROCESSORS_ONLN) - 1);
	snprintf(prefix, sizeof prefix, "--file-prefix=rig%d", (int)getpid());
	REQUIRE(rte_eal_init(9, argv) >= 0);
}

static uint16_t make_port(struct rig *rig, enum dp_port port, uint32_t workers, unsigned places)
{
	const char *name = port == DP_OUTSIDE ? "outside" : "inside";
	int id;

	for (uint32_t i = 0; i < workers; i++) {
		char text[RTE_RING_NAMESIZE];

		snprintf(text, sizeof text, "%s_rx%u", name, i);
		rig->rx_all[port][i] = rte_ring_create(text, places, SOCKET_ID_ANY, 0);
		snprintf(text, sizeof text, "%s_tx%u", name, i);
		rig->tx_all[port][i] = rte_ring_create(text, places, SOCKET_ID_ANY, 0);
		REQUIRE(rig->rx_all[port][i] != NULL && rig->tx_all[port][i] != NULL);
	}
	rig->rx[port] = rig->rx_all[port][0];
	rig->tx[port] = rig->tx_all[port][0];
	id = rte_eth_from_rings(name, rig->rx_all[port], workers, rig->tx_all[port], workers, 0);
	REQUIRE(id >= 0);
	return (uint16_t)id;
}

static void set_forwarding(struct dataplane *dp)
{
	struct ip_prefix all = rig_prefix("0.0.0.0/0"), homes = rig_prefix("10.1.0.0/16");
	struct ip_prefix lan = rig_prefix("10.2.0.0/24"), wan = rig_prefix("192.0.2.0/24");
	struct ip_addr out = rig_addr("192.0.2.254"), ha = rig_addr("10.2.0.1");
	struct ip_addr corr = rig_addr("10.2.0.5");

	REQUIRE(dataplane_route_set(dp, &all, DP_OUTSIDE, &out) == 0);
	REQUIRE(dataplane_route_set(dp, &wan, DP_OUTSIDE, NULL) == 0);
	REQUIRE(dataplane_route_set(dp, &homes, DP_INSIDE, &ha) == 0);
	REQUIRE(dataplane_route_set(dp, &lan, DP_INSIDE, NULL) == 0);
	REQUIRE(dataplane_neigh_set(dp, DP_OUTSIDE, &out, rig_mac_outside_router) == 0);
	REQUIRE(dataplane_neigh_set(dp, DP_INSIDE, &ha, rig_mac_inside_router) == 0);
	REQUIRE(dataplane_neigh_set(dp, DP_INSIDE, &corr, rig_mac_corr) == 0);
}

void rig_open(struct rig *rig, uint32_t workers, unsigned ring_places)
{
	char names[DP_PORTS][RTE_ETH_NAME_MAX_LEN], why[256] = "";
	const char *pointers[DP_PORTS] = {names[0], names[1]};
	struct dp_config config = {
		.max_nodes = 64,
		.max_routes = 64,
		.max_neighbours = 64,
		.mbufs = MBUFS,
		.rx_descriptors = 256,
		.tx_descriptors = 256,
		.crypto_engine = "auto",
		.home_agents = {rig_prefix("10.1.0.1"), rig_prefix("10.1.0.2")},
		.home_agents_v6 = {rig_addr(RIG_V6_HA), rig_addr("fd01::2")},
		.n_home_agents = 2,
		.registration_rate = RIG_REGISTRATION_RATE,
	};

	*rig = (struct rig){0};
	start_eal(workers);
	for (unsigned i = 0; i < DP_PORTS; i++) {
		uint16_t id = make_port(rig, (enum dp_port)i, workers, ring_places);

		REQUIRE(rte_eth_dev_get_name_by_port(id, names[i]) == 0);
		config.ports[i].mtu = RIG_MTU;
		config.ports[i].n_addrs = 2;
		config.ports[i].addrs[0] = rig_addr(i == DP_OUTSIDE ? "192.0.2.1" : "10.2.0.254");
		config.ports[i].addrs[1] = rig_addr(i == DP_OUTSIDE ? RIG_V6_US : RIG_V6_INSIDE);
	}
	snprintf(rig->counters_path, sizeof rig->counters_path, "/tmp/roamgate-rig-%d.counters",
		(int)getpid());
	unlink(rig->counters_path);
	if (counters_open(rig->counters_path, 256, AFTER_POWER_LOSS_STRICT, &rig->counters, why,
		    sizeof why) != 0 ||
		(config.counters = rig->counters, dataplane_open(&config, pointers, workers,
							  &rig->dp, why, sizeof why)) != 0) {
		fprintf(stderr, "rig: %s\n", why);
		abort();
	}
	set_forwarding(rig->dp);
}

void rig_speak_v6(struct rig *rig)
{
	struct dataplane *dp = rig->dp;
	struct ip_prefix all = rig_prefix("::/0"), homes = rig_prefix("2001:db8:0:1::/64");
	struct ip_prefix agents = rig_prefix("fd01::/64"), lan = rig_prefix("fd02::/64");
	struct ip_addr out = rig_addr(RIG_V6_ROUTER), corr = rig_addr(RIG_V6_CORR);
	struct ip_addr ha = rig_addr(RIG_V6_HA_INSIDE);

	REQUIRE(dataplane_route_set(dp, &all, DP_OUTSIDE, &out) == 0);
	REQUIRE(dataplane_route_set(dp, &homes, DP_INSIDE, &ha) == 0);
	REQUIRE(dataplane_route_set(dp, &agents, DP_INSIDE, &ha) == 0);
	REQUIRE(dataplane_route_set(dp, &lan, DP_INSIDE, NULL) == 0);
	REQUIRE(dataplane_neigh_set(dp, DP_OUTSIDE, &out, rig_mac_outside_router) == 0);
	REQUIRE(dataplane_neigh_set(dp, DP_INSIDE, &ha, rig_mac_inside_router) == 0);
	REQUIRE(dataplane_neigh_set(dp, DP_INSIDE, &corr, rig_mac_corr) == 0);
}

void rig_close(struct rig *rig)
{
	dataplane_close(rig->dp);
	counters_close(rig->counters);
	unlink(rig->counters_path);
	rte_eal_cleanup();
}

/* --- nodes ---------------------------------------------------------------------------------------
 */

static void key_of(uint32_t handle, bool inbound, uint8_t key[KEY_BYTES + SALT_BYTES])
{
	for (unsigned i = 0; i < KEY_BYTES + SALT_BYTES; i++)
		key[i] = (uint8_t)(handle * 32 + (inbound ? 128 : 0) + i);
}

struct sa_params rig_sa(uint32_t handle, bool inbound)
{
	struct sa_params params = {
		.spi = (inbound ? RIG_SPI_IN : RIG_SPI_OUT) + (handle << 16),
		.alg = CRYPTO_AES128GCM16,
		.replay_window = inbound ? 1024 : 0,
	};

	key_of(handle, inbound, params.key);
	return params;
}

struct path_params rig_path(const char *coa, const char *former, uint64_t grace_until_ns)
{
	struct path_params params = {.local.addr = rig_addr("192.0.2.1"), .mtu = RIG_MTU};

	if (coa == NULL) {
		params.flags = PATH_CLOSED;
		return params;
	}
	params.coa = params.remote.addr = rig_addr(coa);
	if (params.coa.family == AF_INET6)
		params.local.addr = rig_addr(RIG_V6_US);
	if (former != NULL) {
		params.former_coa = rig_addr(former);
		params.grace_until_ns = grace_until_ns;
	}
	return params;
}

struct dp_node_params rig_node_params(uint32_t handle, const char *coa)
{
	struct dp_node_params params = {
		.home_agent = rig_addr("10.1.0.1"),
		.handle = handle,
		.flags = NODE_STRICT_INNER_SOURCE,
		.path = rig_path(coa, NULL, 0),
	};
	char home[16];

	snprintf(home, sizeof home, "10.1.0.%u", 9 + handle);
	params.home_address = rig_addr(home);
	return params;
}

struct node *rig_node_add_params(struct rig *rig, const struct dp_node_params *params)
{
	struct sa_params in = rig_sa(params->handle, true), out = rig_sa(params->handle, false);
	struct node *node;

	REQUIRE(dataplane_node_add(rig->dp, params, &node) == 0);
	REQUIRE(dataplane_sa_in_add(rig->dp, node, &in) == 0);
	REQUIRE(dataplane_sa_out_add(rig->dp, node, &out, 1) == 0);
	rig->seq_in[params->handle] = 0;
	return node;
}

struct node *rig_node_add(struct rig *rig, uint32_t handle, const char *coa)
{
	const struct dp_node_params params = rig_node_params(handle, coa);

	return rig_node_add_params(rig, &params);
}

struct node *rig_node_add_v6(struct rig *rig, const char *coa)
{
	struct dp_node_params params = rig_node_params(1, coa);

	params.home_address = rig_addr(RIG_V6_HOA);
	return rig_node_add_params(rig, &params);
}

void rig_turn(struct rig *rig)
{
	worker_run_once(rig->dp->workers[0]);
	dataplane_poll(rig->dp, clock_mono_ns(), NULL, NULL);
}

void rig_node_del(struct rig *rig, struct node *node)
{
	REQUIRE(dataplane_node_del(rig->dp, node, true) == 0);
	for (unsigned i = 0; i < 3; i++) /* token, quiescent, free */
		rig_turn(rig);
	REQUIRE(rcu_waiting(&rig->dp->rcu) == 0);
}

/* --- packets -------------------------------------------------------------------------------------
 */

void rig_checksum(uint8_t *ip)
{
	wire_store_u16(ip + 10, 0);
	wire_store_u16(ip + 10, inet_fold(inet_sum(ip, (ip[0] & 15u) * 4, 0)));
}

/* An IP header of from's family for len bytes behind it. Returns its own length. */
static size_t header(uint8_t *out, const struct ip_addr *from, const struct ip_addr *to,
	uint8_t protocol, size_t len)
{
	if (from->family == AF_INET) {
		ipv4_build(out, from, to, protocol, 64, 0, 7, 0, (uint16_t)(IPV4_HDR_BYTES + len));
		return IPV4_HDR_BYTES;
	}
	memset(out, 0, IPV6_HDR_BYTES);
	out[0] = 6 << 4;
	wire_store_u16(out + 4, (uint16_t)len);
	out[6] = protocol;
	out[7] = 64;
	memcpy(out + IPV6_SRC_AT, from->bytes, IPV6_ADDR_BYTES);
	memcpy(out + IPV6_DST_AT, to->bytes, IPV6_ADDR_BYTES);
	return IPV6_HDR_BYTES;
}

static size_t udp_v6(uint8_t *out, const struct ip_endpoint *from, const struct ip_endpoint *to,
	const uint8_t *payload, size_t payload_len)
{
	const size_t len = UDP_HDR_BYTES + payload_len;
	uint8_t *udp = out + header(out, &from->addr, &to->addr, IPPROTO_UDP, len);

	wire_store_u16(udp, from->port);
	wire_store_u16(udp + 2, to->port);
	wire_store_u16(udp + 4, (uint16_t)len);
	wire_store_u16(udp + 6, 0);
	memcpy(udp + UDP_HDR_BYTES, payload, payload_len);
	wire_store_u16(udp + 6,
		inet_fold(inet_sum(udp, len,
			inet_pseudo_sum(&from->addr, &to->addr, IPPROTO_UDP, (uint32_t)len))));
	return IPV6_HDR_BYTES + len;
}

size_t rig_udp(uint8_t *out, const char *src, uint16_t src_port, const char *dst, uint16_t dst_port,
	size_t payload_len)
{
	struct ip_endpoint from = {rig_addr(src), src_port}, to = {rig_addr(dst), dst_port};
	uint8_t payload[RIG_FRAME_MAX];
	size_t len;

	for (size_t i = 0; i < payload_len; i++)
		payload[i] = (uint8_t)i;
	if (from.addr.family == AF_INET6)
		return udp_v6(out, &from, &to, payload, payload_len);
	len = ipv4_udp_build(out, RIG_FRAME_MAX, &from, &to, payload, payload_len);
	REQUIRE(len != 0);
	return len;
}

size_t rig_ipip(uint8_t *out, const char *src, const char *dst, const uint8_t *inner, size_t len)
{
	struct ip_addr from = rig_addr(src), to = rig_addr(dst);

	size_t hdr = header(out, &from, &to, ip_is_v6(inner) ? 41 : 4, len);

	memcpy(out + hdr, inner, len);
	return hdr + len;
}

size_t rig_rrq(uint8_t *out, const char *src, const char *ha, const char *hoa, const char *coa)
{
	struct ip_endpoint from = {rig_addr(src), MIP4_PORT}, to = {rig_addr(ha), MIP4_PORT};
	struct mip4_rrq rrq = {.flags = MIP4_FLAG_D,
		.lifetime_s = 600,
		.hoa = rig_addr(hoa),
		.ha = rig_addr(ha),
		.coa = rig_addr(coa),
		.identification = 1};
	struct mip4_key key = {.spi = 256, .alg = HMAC_SHA256, .key = {1}, .key_len = 16};
	uint8_t payload[256];
	size_t len = mip4_rrq_encode(payload, sizeof payload, &rrq, &key);

	REQUIRE(len != 0);
	len = ipv4_udp_build(out, RIG_FRAME_MAX, &from, &to, payload, len);
	REQUIRE(len != 0);
	return len;
}

/* AES-128-GCM with an 8-byte AAD (no ESN). tag: written, or compared. */
static bool gcm(bool encrypt, uint32_t handle, bool inbound, const uint8_t *esp,
	const uint8_t *text, size_t len, uint8_t *out, uint8_t tag[TAG_BYTES])
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	uint8_t key[KEY_BYTES + SALT_BYTES], nonce[SALT_BYTES + IV_BYTES];
	bool ok;
	int n;

	key_of(handle, inbound, key);
	memcpy(nonce, key + KEY_BYTES, SALT_BYTES);
	memcpy(nonce + SALT_BYTES, esp + ESP_HDR_BYTES, IV_BYTES);
	ok = EVP_CipherInit_ex(context, EVP_aes_128_gcm(), NULL, key, nonce, encrypt) == 1 &&
	     EVP_CipherUpdate(context, NULL, &n, esp, ESP_HDR_BYTES) == 1 &&
	     EVP_CipherUpdate(context, out, &n, text, (int)len) == 1 &&
	     (encrypt || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1) &&
	     EVP_CipherFinal_ex(context, out + len, &n) == 1 &&
	     (!encrypt || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1);
	EVP_CIPHER_CTX_free(context);
	return ok;
}

size_t rig_seal_seq(uint8_t *out, uint32_t handle, const char *src, uint64_t seq,
	const uint8_t *inner, size_t len, uint8_t next_header)
{
	struct ip_addr from = rig_addr(src);
	struct ip_addr to = rig_addr(from.family == AF_INET6 ? RIG_V6_US : "192.0.2.1");
	uint8_t clear[RIG_FRAME_MAX], *esp, *text;
	size_t pad = -(len + ESP_TRAILER_BYTES) & 3, bytes;

	memcpy(clear, inner, len);
	for (size_t i = 0; i < pad; i++)
		clear[len + i] = (uint8_t)(i + 1);
	clear[len + pad] = (uint8_t)pad;
	clear[len + pad + 1] = next_header;
	len += pad + ESP_TRAILER_BYTES;
	bytes = ESP_HDR_BYTES + IV_BYTES + len + TAG_BYTES;
	esp = out + header(out, &from, &to, IPPROTO_ESP, bytes);
	text = esp + ESP_HDR_BYTES + IV_BYTES;
	wire_store_u32(esp, RIG_SPI_IN + (handle << 16));
	wire_store_u32(esp + 4, (uint32_t)seq);
	wire_store_u64(esp + ESP_HDR_BYTES, seq);
	REQUIRE(gcm(true, handle, true, esp, clear, len, text, text + len));
	return (size_t)(esp - out) + bytes;
}

size_t rig_seal(struct rig *rig, uint8_t *out, uint32_t handle, const char *src,
	const uint8_t *inner, size_t len)
{
	return rig_seal_seq(
		out, handle, src, ++rig->seq_in[handle], inner, len, ip_is_v6(inner) ? 41 : 4);
}

/* Bytes of the outer header, 0: it is wrong. */
static size_t read_outer(const uint8_t *outer, size_t len, struct rig_opened *out)
{
	struct ipv4_view view;

	if (len >= IPV6_HDR_BYTES && ip_is_v6(outer)) {
		out->src = ipv6_addr(ip6_src(outer));
		out->dst = ipv6_addr(ip6_dst(outer));
		return outer[6] == IPPROTO_ESP && ip_total_len(outer) == len ? IPV6_HDR_BYTES : 0;
	}
	if (!ipv4_parse(outer, len, &view) || view.total_len != len ||
		view.hdr_bytes != IPV4_HDR_BYTES || view.protocol != IPPROTO_ESP)
		return 0;
	out->src = view.src;
	out->dst = view.dst;
	return IPV4_HDR_BYTES;
}

bool rig_unseal(uint32_t handle, const uint8_t *outer, size_t len, struct rig_opened *out)
{
	size_t hdr = read_outer(outer, len, out), text_len;
	const uint8_t *esp = outer + hdr, *text = esp + ESP_HDR_BYTES + IV_BYTES;
	uint8_t tag[TAG_BYTES];

	if (hdr == 0 || len < hdr + ESP_MIN_BYTES)
		return false;
	text_len = len - hdr - ESP_HDR_BYTES - IV_BYTES - TAG_BYTES;
	memcpy(tag, text + text_len, TAG_BYTES);
	out->spi = wire_load_u32(esp);
	out->seq = wire_load_u32(esp + 4);
	out->iv = wire_load_u64(esp + ESP_HDR_BYTES);
	if (!gcm(false, handle, false, esp, text, text_len, out->inner, tag))
		return false;
	out->len = text_len - ESP_TRAILER_BYTES - out->inner[text_len - 2];
	out->next_header = out->inner[text_len - 1];
	return out->next_header == (ip_is_v6(out->inner) ? 41 : 4) || out->next_header == 59;
}

/* --- frames --------------------------------------------------------------------------------------
 */

void rig_push_frame(struct rig *rig, enum dp_port port, const uint8_t *frame, size_t len)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(rig->dp->ports[port].pool);

	REQUIRE(mbuf != NULL);
	memcpy(rte_pktmbuf_append(mbuf, (uint16_t)len), frame, len);
	REQUIRE(rte_ring_enqueue(rig->rx[port], mbuf) == 0);
}

void rig_push(struct rig *rig, enum dp_port port, const uint8_t *ip, size_t len)
{
	uint8_t frame[RIG_FRAME_MAX + RTE_ETHER_HDR_LEN] = {0};

	memcpy(frame, rig->dp->ports[port].mac, 6);
	memcpy(frame + 6, port == DP_OUTSIDE ? rig_mac_outside_router : rig_mac_inside_router, 6);
	wire_store_u16(frame + 12, ip_is_v6(ip) ? 0x86dd : 0x0800);
	memcpy(frame + RTE_ETHER_HDR_LEN, ip, len);
	rig_push_frame(rig, port, frame, len + RTE_ETHER_HDR_LEN);
}

size_t rig_pop(struct rig *rig, enum dp_port port, uint8_t *out)
{
	void *pointer;
	struct rte_mbuf *mbuf;
	size_t len;

	if (rte_ring_dequeue(rig->tx[port], &pointer) != 0)
		return 0;
	mbuf = pointer;
	REQUIRE(mbuf->nb_segs == 1 && mbuf->pkt_len == mbuf->data_len);
	len = mbuf->data_len;
	REQUIRE(len <= RIG_FRAME_MAX);
	memcpy(out, rte_pktmbuf_mtod(mbuf, uint8_t *), len);
	rte_pktmbuf_free(mbuf);
	return len;
}
