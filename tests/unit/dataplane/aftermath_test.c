/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: packets around the largest size that fits go in on both sides, with and without
 * DF; what comes out is opened with OpenSSL, put together, and compared with what went in.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"

#define COA "198.51.100.7"
#define HOA "10.1.0.10"
#define HA "10.1.0.1"
#define CORR "10.2.0.5"
#define INSIDE "10.2.0.254"
#define SMALL_MTU 600
/* ESP over IPv4 with aes128gcm16 in SMALL_MTU: 600 - 20 - 8 - 8 - 16 = 548, which is 137 words, and
 * two bytes of the last are the trailer. */
#define ROOM 546

static struct rig rig;

static struct dp_verdicts verdicts(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums;
}

/* UDP of total_len bytes with a pattern in it. */
static size_t udp(
	uint8_t *ip, const char *src, const char *dst, size_t total_len, bool dont_fragment)
{
	size_t len = rig_udp(ip, src, 1, dst, 2, total_len - IPV4_HDR_BYTES - UDP_HDR_BYTES);

	for (size_t i = IPV4_HDR_BYTES + UDP_HDR_BYTES; i < len; i++)
		ip[i] = (uint8_t)(i * 7 + i / 256);
	wire_store_u16(ip + 6, dont_fragment ? IPV4_FLAG_DF : 0);
	rig_checksum(ip);
	return len;
}

/* Puts a fragment into place. False: not one of the datagram that whole is. */
static bool put_fragment(uint8_t *whole, const uint8_t *piece, size_t len, bool *last)
{
	uint32_t offset = ip4_fragment_offset(piece), hdr = ip4_hdr_bytes(piece);

	*last = (wire_load_u16(piece + 6) & IPV4_FLAG_MF) == 0;
	if (ip4_check(piece, (uint32_t)len) != VERDICT_OK || len != ip4_total_len(piece) ||
		IPV4_HDR_BYTES + offset + len - hdr > RIG_FRAME_MAX)
		return false;
	memcpy(whole + IPV4_HDR_BYTES + offset, piece + hdr, len - hdr);
	return true;
}

/* Everything on port, put together, is ip but for the header. tunnel: each piece came in IP-in-IP.
 * Returns the number of pieces. */
static unsigned put_together(enum dp_port port, const uint8_t *ip, size_t len, bool tunnel)
{
	uint8_t whole[RIG_FRAME_MAX] = {0}, frame[RIG_FRAME_MAX];
	bool last = false;
	unsigned n = 0;
	size_t got;

	while ((got = rig_pop(&rig, port, frame)) != 0) {
		const uint8_t *piece = frame + 14;
		struct rig_opened opened;

		got -= 14;
		CU_ASSERT(got <= rig.dp->ports[port].mtu);
		if (port == DP_OUTSIDE) {
			CU_ASSERT(got <= SMALL_MTU);
			CU_ASSERT_FATAL(rig_unseal(1, piece, got, &opened));
			piece = opened.inner;
			got = opened.len;
		}
		if (tunnel) {
			CU_ASSERT(ip4_check(piece, (uint32_t)got) == VERDICT_OK);
			CU_ASSERT(piece[8] == 63 && !ip4_is_fragment(piece));
			CU_ASSERT(ip4_protocol(piece) == IP4_PROTO_IPIP);
			piece += IPV4_HDR_BYTES;
			got -= IPV4_HDR_BYTES;
		}
		CU_ASSERT(put_fragment(whole, piece, got, &last));
		n++;
	}
	CU_ASSERT(last);
	CU_ASSERT(memcmp(whole + IPV4_HDR_BYTES, ip + IPV4_HDR_BYTES, len - IPV4_HDR_BYTES) == 0);
	return n;
}

static void set_small_path(struct node *node)
{
	struct path_params path = rig_path(COA, NULL, 0);

	path.mtu = SMALL_MTU;
	CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
}

static void test_to_the_node(void)
{
	static const struct {
		const char *name;
		size_t len; /* of the datagram, tunnel apart */
		bool tunnel, dont_fragment;
		unsigned pieces; /* 0: dropped, and its sender is to be told */
	} rows[] = {
		{"tunnel, just fits", ROOM - 20, true, true, 1},
		{"tunnel, one byte more", ROOM - 19, true, false, 2},
		{"tunnel, one byte more, DF", ROOM - 19, true, true, 0},
		{"tunnel, many", 1400, true, false, 3},
		{"plain, just fits", ROOM, false, true, 1},
		{"plain, one byte more", ROOM + 1, false, false, 2},
		{"plain, one byte more, DF", ROOM + 1, false, true, 0},
		{"plain, many", 1500, false, false, 3},
	};
	struct node *node = rig_node_add(&rig, 1, COA);

	set_small_path(node);
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		uint8_t ip[RIG_FRAME_MAX], sent[RIG_FRAME_MAX];
		size_t len = udp(
			ip, CORR, rows[i].tunnel ? HOA : COA, rows[i].len, rows[i].dont_fragment);
		struct dp_verdicts before = verdicts(), after;
		enum verdict verdict = rows[i].pieces == 0   ? VERDICT_TOO_BIG
				       : rows[i].pieces == 1 ? VERDICT_OK
							     : VERDICT_FRAGMENTED;
		struct punt punt;

		if (rows[i].tunnel)
			rig_push(&rig, DP_INSIDE, sent, rig_ipip(sent, HA, COA, ip, len));
		else
			rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
		after = verdicts();
		CHECK_ROW(rows[i].name, after.out[verdict] == before.out[verdict] + 1);
		CHECK_ROW(rows[i].name, after.local[VERDICT_OK] - before.local[VERDICT_OK] ==
						(rows[i].pieces > 1 ? rows[i].pieces : 0));
		if (rows[i].pieces != 0) {
			CHECK_ROW(rows[i].name, put_together(DP_OUTSIDE, ip, len, rows[i].tunnel) ==
							rows[i].pieces);
			CHECK_ROW(rows[i].name, dataplane_punt_burst(rig.dp, &punt, 1) == 0);
			continue;
		}
		CHECK_ROW(rows[i].name, rig_pop(&rig, DP_OUTSIDE, sent) == 0);
		CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
		CHECK_ROW(rows[i].name, punt.reason == PUNT_ERROR && punt.error == PUNT_TOO_BIG);
		CHECK_ROW(rows[i].name, punt.mtu == rows[i].len - 1);
		CHECK_ROW(rows[i].name, punt.node == 0 && punt.port == DP_INSIDE);
		CHECK_ROW(rows[i].name, punt.len == len);
		/* The datagram itself, not its tunnel. */
		CHECK_ROW(rows[i].name, memcmp(punt.data + 12, ip + 12, len - 12) == 0);
		dataplane_punt_done(rig.dp, &punt);
	}
	rig_node_del(&rig, node);
}

static void test_to_the_inside(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);
	struct port *inside = &rig.dp->ports[DP_INSIDE];
	uint8_t ip[RIG_FRAME_MAX], esp[RIG_FRAME_MAX];
	uint16_t mtu = inside->mtu;
	uint32_t frame_max = inside->frame_max;
	struct dp_verdicts before, after;
	struct punt punt;
	size_t len;

	inside->mtu = SMALL_MTU;
	inside->frame_max = SMALL_MTU + 14;
	before = verdicts();
	len = udp(ip, HOA, CORR, 1300, false);
	rig_push(&rig, DP_OUTSIDE, esp, rig_seal(&rig, esp, 1, COA, ip, len));
	rig_turn(&rig);
	CU_ASSERT(put_together(DP_INSIDE, ip, len, false) == 3);
	len = udp(ip, HOA, CORR, SMALL_MTU + 1, true);
	rig_push(&rig, DP_OUTSIDE, esp, rig_seal(&rig, esp, 1, COA, ip, len));
	rig_turn(&rig);
	CU_ASSERT(rig_pop(&rig, DP_INSIDE, esp) == 0);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	CU_ASSERT(punt.reason == PUNT_ERROR && punt.error == PUNT_TOO_BIG);
	CU_ASSERT(punt.mtu == SMALL_MTU && punt.node == 1 && punt.len == len);
	CU_ASSERT(memcmp(punt.data + 12, ip + 12, len - 12) == 0);
	dataplane_punt_done(rig.dp, &punt);
	after = verdicts();
	CU_ASSERT(after.in[VERDICT_FRAGMENTED] == before.in[VERDICT_FRAGMENTED] + 1);
	CU_ASSERT(after.in[VERDICT_TOO_BIG] == before.in[VERDICT_TOO_BIG] + 1);
	inside->mtu = mtu;
	inside->frame_max = frame_max;
	rig_node_del(&rig, node);
}

static void test_time_exceeded(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);
	uint8_t ip[RIG_FRAME_MAX], esp[RIG_FRAME_MAX];
	struct punt punt;
	size_t len;

	for (int from_node = 0; from_node < 2; from_node++) {
		len = from_node ? udp(ip, HOA, CORR, 100, false) : udp(ip, CORR, COA, 100, false);
		ip[8] = 1;
		rig_checksum(ip);
		if (from_node)
			rig_push(&rig, DP_OUTSIDE, esp, rig_seal(&rig, esp, 1, COA, ip, len));
		else
			rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
		CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
		CU_ASSERT(punt.reason == PUNT_ERROR && punt.error == PUNT_TIME_EXCEEDED);
		CU_ASSERT(punt.node == (from_node ? 1u : 0u) && punt.len == len);
		CU_ASSERT(memcmp(punt.data, ip, len) == 0);
		dataplane_punt_done(rig.dp, &punt);
	}
	rig_node_del(&rig, node);
}

/* Node 1 with home address and care-of address of these families. */
static struct node *add_mix(bool home_v6, bool coa_v6)
{
	return home_v6 ? rig_node_add_v6(&rig, coa_v6 ? RIG_V6_COA : COA)
		       : rig_node_add(&rig, 1, coa_v6 ? RIG_V6_COA : COA);
}

/* UDP of total_len bytes from the correspondent to the node, of its home address's family. */
static size_t udp_home(uint8_t *ip, bool v6, size_t total_len)
{
	return v6 ? rig_udp(ip, RIG_V6_CORR, 1, RIG_V6_HOA, 2,
			    total_len - IPV6_HDR_BYTES - UDP_HDR_BYTES)
		  : udp(ip, CORR, HOA, total_len, false);
}

/* What the home agent tunnels, of all families: IPv6 inside is told about, IPv4 inside is cut. */
static void test_families(void)
{
	for (unsigned mix = 0; mix < 4; mix++) {
		const bool home_v6 = (mix & 1) != 0, coa_v6 = (mix & 2) != 0;
		const char *name = home_v6 ? (coa_v6 ? "6 in 6" : "6 in 4")
					   : (coa_v6 ? "4 in 6" : "4 in 4");
		const uint32_t hdr = coa_v6 ? IPV6_HDR_BYTES : IPV4_HDR_BYTES;
		const uint32_t fits = esp_inner_max(CRYPTO_AES128GCM16, hdr, RIG_MTU) - hdr;
		struct node *node = add_mix(home_v6, coa_v6);

		for (uint32_t more = 0; more < 2; more++) {
			uint8_t ip[RIG_FRAME_MAX], sent[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
			size_t len = udp_home(ip, home_v6, fits + more), n = 0, got;
			struct dp_verdicts before = verdicts(), after;
			struct rig_opened opened;
			struct punt punt;

			rig_push(&rig, DP_INSIDE, sent,
				rig_ipip(sent, coa_v6 ? RIG_V6_HA : HA, coa_v6 ? RIG_V6_COA : COA,
					ip, len));
			rig_turn(&rig);
			while ((got = rig_pop(&rig, DP_OUTSIDE, frame)) != 0) {
				CHECK_ROW(name, got <= RIG_MTU + 14);
				CU_ASSERT_FATAL(rig_unseal(1, frame + 14, got - 14, &opened));
				/* The tunnel's header says how long each piece is. */
				CHECK_ROW(name, ip_total_len(opened.inner) == opened.len);
				CHECK_ROW(
					name, ip_total_len(opened.inner + hdr) == opened.len - hdr);
				n++;
			}
			after = verdicts();
			CHECK_ROW(name, n == (more == 0 ? 1u : home_v6 ? 0u : 2u));
			CHECK_ROW(name, after.out[VERDICT_TOO_BIG] - before.out[VERDICT_TOO_BIG] ==
						(more != 0 && home_v6));
			CHECK_ROW(name,
				after.out[VERDICT_FRAGMENTED] - before.out[VERDICT_FRAGMENTED] ==
					(more != 0 && !home_v6));
			if (more == 0 || !home_v6) {
				CHECK_ROW(name, dataplane_punt_burst(rig.dp, &punt, 1) == 0);
				continue;
			}
			CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
			CHECK_ROW(name, punt.reason == PUNT_ERROR && punt.error == PUNT_TOO_BIG);
			CHECK_ROW(name, punt.mtu == fits && punt.node == 0 && punt.len == len);
			CHECK_ROW(name, memcmp(punt.data, ip, len) == 0);
			dataplane_punt_done(rig.dp, &punt);
		}
		rig_node_del(&rig, node);
	}
}

/* Plain IPv6 to the care-of address, and from the node to a small network inside. */
static void test_plain_v6(void)
{
	struct node *node = rig_node_add_v6(&rig, RIG_V6_COA);
	struct port *inside = &rig.dp->ports[DP_INSIDE];
	const uint32_t room = esp_inner_max(CRYPTO_AES128GCM16, IPV6_HDR_BYTES, RIG_MTU);
	const uint16_t mtu = inside->mtu;
	const uint32_t frame_max = inside->frame_max;
	uint8_t ip[RIG_FRAME_MAX], esp[RIG_FRAME_MAX];
	struct punt punt;
	size_t len = rig_udp(ip, RIG_V6_CORR, 1, RIG_V6_COA, 2, room + 1 - 48);

	rig_push(&rig, DP_INSIDE, ip, len);
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	CU_ASSERT(punt.reason == PUNT_ERROR && punt.error == PUNT_TOO_BIG && punt.mtu == room);
	CU_ASSERT(punt.len == len && memcmp(punt.data + 8, ip + 8, len - 8) == 0);
	dataplane_punt_done(rig.dp, &punt);

	inside->mtu = IPV6_MTU_MIN;
	inside->frame_max = IPV6_MTU_MIN + 14;
	len = rig_udp(ip, RIG_V6_HOA, 1, RIG_V6_CORR, 2, IPV6_MTU_MIN + 1 - 48);
	rig_push(&rig, DP_OUTSIDE, esp, rig_seal(&rig, esp, 1, RIG_V6_COA, ip, len));
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	CU_ASSERT(punt.error == PUNT_TOO_BIG && punt.mtu == IPV6_MTU_MIN && punt.node == 1);
	CU_ASSERT(punt.len == len && memcmp(punt.data + 8, ip + 8, len - 8) == 0);
	dataplane_punt_done(rig.dp, &punt);
	inside->mtu = mtu;
	inside->frame_max = frame_max;
	rig_node_del(&rig, node);
}

static void test_hop_limit(void)
{
	struct node *node = rig_node_add_v6(&rig, RIG_V6_COA);
	uint8_t ip[RIG_FRAME_MAX], sent[RIG_FRAME_MAX];
	struct punt punt;
	size_t len;

	for (int way = 0; way < 3; way++) { /* the node's, in plain, the home agent's */
		len = way == 0 ? rig_udp(ip, RIG_V6_HOA, 1, RIG_V6_CORR, 2, 52)
			       : rig_udp(ip, RIG_V6_CORR, 1, way == 1 ? RIG_V6_COA : RIG_V6_HOA, 2,
					 52);
		if (way == 2) {
			len = rig_ipip(sent, RIG_V6_HA, RIG_V6_COA, ip, len);
			memcpy(ip, sent, len);
		}
		ip[7] = 1;
		if (way == 0)
			rig_push(&rig, DP_OUTSIDE, sent,
				rig_seal(&rig, sent, 1, RIG_V6_COA, ip, len));
		else
			rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
		CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
		CU_ASSERT(punt.reason == PUNT_ERROR && punt.error == PUNT_TIME_EXCEEDED);
		CU_ASSERT(punt.node == (way == 0 ? 1u : 0u) && punt.len == len);
		CU_ASSERT(memcmp(punt.data, ip, len) == 0);
		dataplane_punt_done(rig.dp, &punt);
	}
	rig_node_del(&rig, node);
}

/* A flood of errors: the ring fills, nothing leaks, every packet has its cell. */
static void test_flood(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);
	struct dp_verdicts before = verdicts(), after;
	uint8_t ip[RIG_FRAME_MAX];
	size_t len = udp(ip, CORR, COA, 1500, true);
	unsigned free_before, told = 0;
	struct punt punts[32];
	unsigned n;

	set_small_path(node);
	free_before = rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool);
	for (unsigned i = 0; i < 1000; i++) {
		rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
	}
	after = verdicts();
	CU_ASSERT(after.out[VERDICT_TOO_BIG] == before.out[VERDICT_TOO_BIG] + 1000);
	while ((n = dataplane_punt_burst(rig.dp, punts, 32)) != 0) {
		told += n;
		for (unsigned i = 0; i < n; i++)
			dataplane_punt_done(rig.dp, &punts[i]);
	}
	CU_ASSERT(told > 0 && told < 256);
	CU_ASSERT(rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool) == free_before);
	rig_node_del(&rig, node);
}

/* A burst of packets that all have to be cut, more pieces than one burst holds. */
static void test_burst(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);
	struct dp_verdicts before = verdicts(), after;
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len = udp(ip, CORR, COA, 1500, false);
	unsigned n = 0, free_before;

	set_small_path(node);
	free_before = rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool);
	for (unsigned i = 0; i < 32; i++)
		rig_push(&rig, DP_INSIDE, ip, len);
	rig_turn(&rig);
	while (rig_pop(&rig, DP_OUTSIDE, frame) != 0)
		n++;
	after = verdicts();
	CU_ASSERT(after.out[VERDICT_FRAGMENTED] == before.out[VERDICT_FRAGMENTED] + 32);
	CU_ASSERT(after.local[VERDICT_OK] == before.local[VERDICT_OK] + 96 && n == 96);
	CU_ASSERT(rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool) == free_before);
	rig_node_del(&rig, node);
}

/* No buffer is left for pieces. */
static void test_no_buffers(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);
	struct rte_mempool *pool = rig.dp->ports[DP_INSIDE].pool;
	static struct rte_mbuf *taken[8192];
	struct dp_verdicts before, after;
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	unsigned n = 0;

	set_small_path(node);
	before = verdicts();
	rig_push(&rig, DP_INSIDE, ip, udp(ip, CORR, COA, 1500, false));
	while (n < RTE_DIM(taken) && (taken[n] = rte_pktmbuf_alloc(pool)) != NULL)
		n++;
	CU_ASSERT(n < RTE_DIM(taken));
	rig_turn(&rig);
	rte_pktmbuf_free_bulk(taken, n);
	after = verdicts();
	CU_ASSERT(after.out[VERDICT_NO_ROOM] == before.out[VERDICT_NO_ROOM] + 1);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);
	rig_node_del(&rig, node);
}

/* More pieces than a burst holds: they still leave behind what was numbered before them. */
static void test_order(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct rig_opened opened;
	unsigned n = 0;
	uint32_t last = 0;
	size_t len;

	set_small_path(node);
	for (unsigned i = 0; i < 20; i++)
		rig_push(&rig, DP_INSIDE, ip, udp(ip, CORR, COA, 1500, false));
	rig_push(&rig, DP_INSIDE, ip, udp(ip, CORR, COA, 100, false));
	rig_turn(&rig);
	for (; (len = rig_pop(&rig, DP_OUTSIDE, frame)) != 0; n++) {
		CU_ASSERT_FATAL(rig_unseal(1, frame + 14, len - 14, &opened));
		CU_ASSERT(opened.seq > last);
		last = opened.seq;
		CU_ASSERT(n != 0 || opened.len == 100);
	}
	CU_ASSERT(n == 20 * 3 + 1);
	rig_node_del(&rig, node);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"to the node", test_to_the_node},
		{"to the inside", test_to_the_inside},
		{"time exceeded", test_time_exceeded},
		{"families", test_families},
		{"plain IPv6", test_plain_v6},
		{"hop limit", test_hop_limit},
		{"flood", test_flood},
		{"burst", test_burst},
		{"no buffers", test_no_buffers},
		{"order", test_order},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 256);
	rig_speak_v6(&rig);
	ret = unit_run("dataplane: aftermath", cases);
	rig_close(&rig);
	return ret;
}
