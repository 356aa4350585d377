/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each row makes one frame, or one injected packet, and names the one cell in which
 * it must end, and the port on which something must come out, if any. At the end every verdict that
 * the packet machine can give has been seen.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/policy.h"
#include "dataplane/reassembly.h"
#include "dataplane/now.h"
#include "dataplane/shed.h"
#include "lib/ipv4.h"
#include "lib/wire.h"

#include <errno.h>

#define COA "198.51.100.7"
#define OTHER_COA "203.0.113.7"
#define HOA "10.1.0.10" /* of node 1 */
#define CORR "10.2.0.5"
#define HA "10.1.0.1"
#define OUTSIDE "192.0.2.1"
#define INSIDE "10.2.0.254"

enum { FROM_OUTSIDE, FROM_INSIDE };

static struct rig rig;
static struct node *node;
static bool seen[VERDICT_COUNT];

/* A frame maker fills the IP packet and returns its length. */
typedef size_t maker_fn(uint8_t *ip);

struct row {
	const char *name;
	int side;
	maker_fn *make;
	enum verdict verdict;
};

static size_t inner_udp(uint8_t *out, const char *src, const char *dst)
{
	return rig_udp(out, src, 1000, dst, 2000, 64);
}

/* What node 1 would send from COA with this inner packet. */
static size_t sealed(uint8_t *ip, const uint8_t *inner, size_t len)
{
	return rig_seal(&rig, ip, 1, COA, inner, len);
}

/* --- from outside
 * --------------------------------------------------------------------------------- */

static size_t in_good(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, inner_udp(inner, HOA, CORR));
}

static size_t in_from_anywhere(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_seal(&rig, ip, 1, "203.0.113.99", inner, inner_udp(inner, HOA, CORR));
}

static size_t in_runt(uint8_t *ip)
{
	memset(ip, 0x45, 12);
	return 12;
}

static size_t in_total_len_beyond(uint8_t *ip)
{
	size_t len = in_good(ip);

	return len - 1;
}

static size_t in_bad_checksum(uint8_t *ip)
{
	size_t len = in_good(ip);

	ip[10] ^= 1;
	return len;
}

static size_t in_source_route(uint8_t *ip)
{
	static const uint8_t option[4] = {IP4_OPTION_SSRR, 3, 4, IP4_OPTION_END};
	size_t len = in_good(ip);

	memmove(ip + 24, ip + 20, len - 20);
	memcpy(ip + 20, option, sizeof option);
	ip[0]++;
	wire_store_u16(ip + 2, (uint16_t)(len + sizeof option));
	wire_store_u16(ip + 10, 0);
	wire_store_u16(ip + 10, inet_fold(inet_sum(ip, 24, 0)));
	return len + sizeof option;
}

static size_t in_version_7(uint8_t *ip)
{
	size_t len = in_good(ip);

	ip[0] = 0x75;
	rig_checksum(ip);
	return len;
}

static size_t in_martian_source(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_seal(&rig, ip, 1, "127.0.0.1", inner, inner_udp(inner, HOA, CORR));
}

static size_t in_own_source(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_seal(&rig, ip, 1, OUTSIDE, inner, inner_udp(inner, HOA, CORR));
}

static size_t in_fragment(uint8_t *ip)
{
	size_t len = in_good(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}

static size_t in_last_fragment(uint8_t *ip)
{
	size_t len = in_good(ip);

	wire_store_u16(ip + 6, 10);
	rig_checksum(ip);
	return len;
}

static size_t in_not_for_us(uint8_t *ip)
{
	return inner_udp(ip, COA, "192.0.2.77");
}

static size_t in_clear_to_inside(uint8_t *ip)
{
	return inner_udp(ip, COA, CORR);
}

static size_t in_clear_registration(uint8_t *ip)
{
	return rig_rrq(ip, COA, OUTSIDE, HOA, COA);
}

static size_t in_ike(uint8_t *ip)
{
	return rig_udp(ip, COA, 500, OUTSIDE, 500, 100);
}

static size_t in_nat_t(uint8_t *ip)
{
	size_t len = rig_udp(ip, COA, 4500, OUTSIDE, 4500, 100);

	memset(ip + IPV4_HDR_BYTES + UDP_HDR_BYTES, 0, 4); /* non-ESP marker; see nat_test.c */
	return len;
}

static size_t in_keepalive(uint8_t *ip)
{
	size_t len = rig_udp(ip, COA, 4500, OUTSIDE, 4500, 1);

	ip[len - 1] = 0xff;
	return len;
}

static size_t in_no_sa(uint8_t *ip)
{
	size_t len = in_good(ip);

	ip[IPV4_HDR_BYTES] ^= 0x80;
	return len;
}

static size_t in_short_esp(uint8_t *ip)
{
	size_t len = IPV4_HDR_BYTES + ESP_MIN_BYTES - 4;

	in_good(ip);
	wire_store_u16(ip + 2, (uint16_t)len);
	rig_checksum(ip);
	return len;
}

static size_t in_bad_icv(uint8_t *ip)
{
	size_t len = in_good(ip);

	ip[len - 1] ^= 1;
	return len;
}

static size_t in_replay(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];
	size_t len = inner_udp(inner, HOA, CORR);

	return rig_seal_seq(ip, 1, COA, rig.seq_in[1], inner, len, 4);
}

static size_t in_dummy(uint8_t *ip)
{
	uint8_t inner[64] = {0};

	return rig_seal_seq(ip, 1, COA, ++rig.seq_in[1], inner, sizeof inner, 59);
}

static size_t in_bad_next_header(uint8_t *ip)
{
	uint8_t inner[64] = {0};

	return rig_seal_seq(ip, 1, COA, ++rig.seq_in[1], inner, sizeof inner, 17);
}

static size_t in_congestion(uint8_t *ip)
{
	size_t len = in_good(ip);

	ip[1] = 3; /* CE outside, Not-ECT inside: RFC 6040 section 4.2 */
	rig_checksum(ip);
	return len;
}

static size_t in_inner_checksum(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];
	size_t len = inner_udp(inner, HOA, CORR);

	inner[10] ^= 1;
	return sealed(ip, inner, len);
}

static size_t in_inner_martian(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, inner_udp(inner, HOA, "224.0.0.5"));
}

static size_t in_to_our_outside(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, inner_udp(inner, HOA, OUTSIDE));
}

static size_t in_to_our_siu_port(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, rig_udp(inner, HOA, 4340, INSIDE, 4340, 64));
}

static size_t in_inner_source(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, inner_udp(inner, "10.1.0.99", CORR));
}

static size_t in_back_outside(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, inner_udp(inner, HOA, "8.8.8.8"));
}

static size_t in_ttl(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];
	size_t len = inner_udp(inner, HOA, CORR);

	inner[8] = 1;
	rig_checksum(inner);
	return sealed(ip, inner, len);
}

static size_t in_unresolved(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, inner_udp(inner, HOA, "10.2.0.99"));
}

static size_t in_registration(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, rig_rrq(inner, OTHER_COA, HA, HOA, OTHER_COA));
}

static size_t in_foreign_registration(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return sealed(ip, inner, rig_rrq(inner, OTHER_COA, HA, "10.1.0.11", OTHER_COA));
}

/* --- from inside
 * ---------------------------------------------------------------------------------- */

static size_t tunnelled(uint8_t *ip, const char *src, const char *dst, const char *inner_dst)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_ipip(ip, src, dst, inner, inner_udp(inner, CORR, inner_dst));
}

static size_t out_good(uint8_t *ip)
{
	return tunnelled(ip, HA, COA, HOA);
}

static size_t out_plain_to_coa(uint8_t *ip)
{
	return inner_udp(ip, CORR, COA);
}

static size_t out_plain_to_home(uint8_t *ip)
{
	return inner_udp(ip, CORR, HOA);
}

static size_t out_nowhere(uint8_t *ip)
{
	return inner_udp(ip, CORR, "8.8.8.8");
}

static size_t out_unknown_node(uint8_t *ip)
{
	return tunnelled(ip, HA, COA, "10.1.0.200");
}

static size_t out_not_a_home_agent(uint8_t *ip)
{
	return tunnelled(ip, CORR, COA, HOA);
}

static size_t out_other_home_agent(uint8_t *ip)
{
	return tunnelled(ip, "10.1.0.2", COA, HOA);
}

static size_t out_selector(uint8_t *ip)
{
	return tunnelled(ip, HA, OTHER_COA, HOA);
}

static size_t out_fragment(uint8_t *ip)
{
	size_t len = out_good(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}

static size_t out_tunnel_runt(uint8_t *ip)
{
	uint8_t inner[8] = {0x45};

	return rig_ipip(ip, HA, COA, inner, sizeof inner);
}

static size_t out_tunnel_version(uint8_t *ip)
{
	uint8_t inner[40] = {0x60};
	size_t len = rig_ipip(ip, HA, COA, inner, sizeof inner);

	ip[9] = IP4_PROTO_IPIP;
	rig_checksum(ip);
	return len;
}

static size_t out_ttl(uint8_t *ip)
{
	size_t len = out_good(ip);

	ip[8] = 1;
	rig_checksum(ip);
	return len;
}

static size_t out_too_big(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_ipip(ip, HA, COA, inner, rig_udp(inner, CORR, 1, HOA, 2, RIG_MTU - 48));
}

static size_t out_to_us(uint8_t *ip)
{
	return rig_udp(ip, "10.2.0.1", 4340, INSIDE, 4340, 64);
}

static size_t out_multicast(uint8_t *ip)
{
	return inner_udp(ip, CORR, "224.0.0.251");
}

static size_t out_closed(uint8_t *ip)
{
	return tunnelled(ip, HA, OTHER_COA, "10.1.0.11"); /* node 2 has no path */
}

static size_t out_no_sa(uint8_t *ip)
{
	return tunnelled(ip, HA, "198.51.100.9", "10.1.0.12"); /* node 3 has no SA */
}

static size_t out_ambiguous(uint8_t *ip)
{
	return inner_udp(ip, CORR, "198.51.100.50"); /* nodes 4 and 5 */
}

/* --- table
 * ----------------------------------------------------------------------------------------- */

static const struct row rows[] = {
	{"ESP from the node", FROM_OUTSIDE, in_good, VERDICT_OK},
	{"ESP from any source", FROM_OUTSIDE, in_from_anywhere, VERDICT_OK},
	{"sequence number again", FROM_OUTSIDE, in_replay, VERDICT_REPLAY},
	{"too short for IP", FROM_OUTSIDE, in_runt, VERDICT_RUNT},
	{"shorter than its total length", FROM_OUTSIDE, in_total_len_beyond, VERDICT_RUNT},
	{"header checksum", FROM_OUTSIDE, in_bad_checksum, VERDICT_BAD_HEADER},
	{"source route", FROM_OUTSIDE, in_source_route, VERDICT_SOURCE_ROUTE},
	{"version 7", FROM_OUTSIDE, in_version_7, VERDICT_BAD_HEADER},
	{"loopback source", FROM_OUTSIDE, in_martian_source, VERDICT_BAD_ADDRESS},
	{"our own source", FROM_OUTSIDE, in_own_source, VERDICT_BAD_ADDRESS},
	{"first fragment of ESP", FROM_OUTSIDE, in_fragment, VERDICT_HELD},
	{"last fragment of ESP", FROM_OUTSIDE, in_last_fragment, VERDICT_HELD},
	{"neighbour's address", FROM_OUTSIDE, in_not_for_us, VERDICT_NOT_FOR_US},
	{"in clear to the inside", FROM_OUTSIDE, in_clear_to_inside, VERDICT_NOT_FOR_US},
	{"registration in clear", FROM_OUTSIDE, in_clear_registration, VERDICT_REGISTRATION},
	{"IKE", FROM_OUTSIDE, in_ike, VERDICT_PUNTED},
	{"UDP 4500", FROM_OUTSIDE, in_nat_t, VERDICT_PUNTED},
	{"keepalive", FROM_OUTSIDE, in_keepalive, VERDICT_KEEPALIVE},
	{"unknown SPI", FROM_OUTSIDE, in_no_sa, VERDICT_NO_SA_IN},
	{"ESP without room for itself", FROM_OUTSIDE, in_short_esp, VERDICT_BAD_ESP},
	{"tag", FROM_OUTSIDE, in_bad_icv, VERDICT_BAD_ICV},
	{"dummy packet", FROM_OUTSIDE, in_dummy, VERDICT_DUMMY},
	{"next header UDP", FROM_OUTSIDE, in_bad_next_header, VERDICT_BAD_PADDING},
	{"congestion mark", FROM_OUTSIDE, in_congestion, VERDICT_ECN},
	{"inner checksum", FROM_OUTSIDE, in_inner_checksum, VERDICT_BAD_HEADER},
	{"inner multicast", FROM_OUTSIDE, in_inner_martian, VERDICT_BAD_ADDRESS},
	{"to our outside address", FROM_OUTSIDE, in_to_our_outside, VERDICT_BAD_ADDRESS},
	{"to our SIU port", FROM_OUTSIDE, in_to_our_siu_port, VERDICT_BAD_ADDRESS},
	{"inner source", FROM_OUTSIDE, in_inner_source, VERDICT_INNER_SOURCE},
	{"back to the outside", FROM_OUTSIDE, in_back_outside, VERDICT_NO_ROUTE},
	{"inner TTL 1", FROM_OUTSIDE, in_ttl, VERDICT_TTL},
	{"unresolved neighbour", FROM_OUTSIDE, in_unresolved, VERDICT_PUNTED},
	{"registration", FROM_OUTSIDE, in_registration, VERDICT_PUNTED},
	{"registration of another", FROM_OUTSIDE, in_foreign_registration, VERDICT_REGISTRATION},

	{"home agent's tunnel", FROM_INSIDE, out_good, VERDICT_OK},
	{"plain to the CoA", FROM_INSIDE, out_plain_to_coa, VERDICT_OK},
	{"plain to the home address", FROM_INSIDE, out_plain_to_home, VERDICT_NO_SA_OUT},
	{"plain to anywhere", FROM_INSIDE, out_nowhere, VERDICT_NO_SA_OUT},
	{"tunnel for no node", FROM_INSIDE, out_unknown_node, VERDICT_NO_SA_OUT},
	{"tunnel from a host", FROM_INSIDE, out_not_a_home_agent, VERDICT_NO_SA_OUT},
	{"tunnel from another home agent", FROM_INSIDE, out_other_home_agent, VERDICT_SELECTOR},
	{"tunnel to another CoA", FROM_INSIDE, out_selector, VERDICT_SELECTOR},
	{"fragment of a tunnel packet", FROM_INSIDE, out_fragment, VERDICT_FRAGMENT},
	{"tunnel with nothing inside", FROM_INSIDE, out_tunnel_runt, VERDICT_RUNT},
	{"tunnel with version 6 inside", FROM_INSIDE, out_tunnel_version, VERDICT_BAD_HEADER},
	{"TTL 1", FROM_INSIDE, out_ttl, VERDICT_TTL},
	{"beyond the path's MTU", FROM_INSIDE, out_too_big, VERDICT_TOO_BIG},
	{"SIU to us", FROM_INSIDE, out_to_us, VERDICT_PUNTED},
	{"multicast", FROM_INSIDE, out_multicast, VERDICT_BAD_ADDRESS},
	{"closed path", FROM_INSIDE, out_closed, VERDICT_NO_PATH},
	{"no outbound SA", FROM_INSIDE, out_no_sa, VERDICT_NO_SA_OUT},
	{"CoA of two nodes", FROM_INSIDE, out_ambiguous, VERDICT_AMBIGUOUS_COA},
};

static uint64_t sum(const uint64_t cells[VERDICT_COUNT])
{
	uint64_t total = 0;

	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		total += cells[i];
	return total;
}

static unsigned drain_punts(void)
{
	struct punt punts[32];
	unsigned n = dataplane_punt_burst(rig.dp, punts, 32);

	for (unsigned i = 0; i < n; i++)
		dataplane_punt_done(rig.dp, &punts[i]);
	return n;
}

/* One more in `verdict` on that side, and nowhere else. */
static void expect_cell(
	const char *name, const struct dp_verdicts *before, int side, enum verdict verdict)
{
	struct dp_verdicts after;
	const uint64_t *was = side == FROM_OUTSIDE ? before->in : before->out;
	const uint64_t *is;

	dataplane_verdicts(rig.dp, &after);
	is = side == FROM_OUTSIDE ? after.in : after.out;
	CHECK_ROW(name, is[verdict] == was[verdict] + 1);
	CHECK_ROW(name, sum(after.in) + sum(after.out) + sum(after.local) ==
				sum(before->in) + sum(before->out) + sum(before->local) + 1);
	if (is[verdict] != was[verdict] + 1)
		for (unsigned i = 0; i < VERDICT_COUNT; i++)
			if (is[i] != was[i])
				fprintf(stderr, "[%s] ended as %s\n", name, verdict_name(i));
	seen[verdict] = true;
}

/* Dropped or not. */
static bool goes_to_control(enum verdict verdict)
{
	return verdict == VERDICT_PUNTED || verdict == VERDICT_TTL || verdict == VERDICT_TOO_BIG;
}

/* Told, or not, with what stands in the packet. */
static void expect_audit(const struct row *row, const uint8_t *ip)
{
	const bool inbound = row->side == FROM_OUTSIDE;
	const uint32_t esp_at = ip[9] == IPPROTO_UDP ? 28 : 20;
	struct dp_audit audit[2];
	unsigned n = dataplane_audit_burst(rig.dp, audit, 2);

	CHECK_ROW(row->name, n == (verdict_is_audited(row->verdict) ? 1 : 0));
	if (n == 0)
		return;
	CHECK_ROW(row->name, audit[0].verdict == row->verdict);
	CHECK_ROW(row->name, audit[0].inbound == inbound);
	CHECK_ROW(row->name, memcmp(audit[0].source.bytes, ip + 12, 4) == 0);
	CHECK_ROW(row->name, memcmp(audit[0].destination.bytes, ip + 16, 4) == 0);
	CHECK_ROW(row->name, audit[0].source.family == AF_INET);
	CHECK_ROW(row->name, audit[0].rx_ns != 0);
	if (inbound && audit[0].spi != 0) {
		CHECK_ROW(row->name, audit[0].spi == wire_load_u32(ip + esp_at));
		CHECK_ROW(row->name, audit[0].sequence == wire_load_u32(ip + esp_at + 4));
	}
	CHECK_ROW(row->name, (audit[0].spi != 0) == inbound || row->verdict == VERDICT_BAD_ESP);
	CHECK_ROW(row->name, ip_addr_is_set(&audit[0].inner_source) ==
				     (row->verdict == VERDICT_INNER_SOURCE ||
					     (row->verdict == VERDICT_POLICY && inbound)));
}

static void test_rows(void)
{
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct row *row = &rows[i];
		enum dp_port in = row->side == FROM_OUTSIDE ? DP_OUTSIDE : DP_INSIDE;
		enum dp_port out = row->side == FROM_OUTSIDE ? DP_INSIDE : DP_OUTSIDE;
		uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct dp_verdicts before;

		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, in, ip, row->make(ip));
		rig_turn(&rig);
		expect_cell(row->name, &before, row->side, row->verdict);
		CHECK_ROW(row->name,
			(rig_pop(&rig, out, frame) != 0) == (row->verdict == VERDICT_OK));
		CHECK_ROW(row->name, rig_pop(&rig, in, frame) == 0);
		CHECK_ROW(row->name, (drain_punts() == 1) == goes_to_control(row->verdict));
		expect_audit(row, ip);
	}
}

/* --- frames that are no IP ----------------------------------------------------------------------
 */

static void frame_case(const char *name, const uint8_t *frame, size_t len, enum verdict verdict)
{
	struct dp_verdicts before;

	for (int side = FROM_OUTSIDE; side <= FROM_INSIDE; side++) {
		uint8_t copy[RIG_FRAME_MAX];
		enum dp_port port = side == FROM_OUTSIDE ? DP_OUTSIDE : DP_INSIDE;

		memcpy(copy, frame, len);
		if (len >= 6 && copy[0] == 0 && copy[5] == 0) /* filled in here: to us */
			memcpy(copy, rig.dp->ports[port].mac, 6);
		dataplane_verdicts(rig.dp, &before);
		rig_push_frame(&rig, port, copy, len);
		rig_turn(&rig);
		expect_cell(name, &before, side, verdict);
		drain_punts();
	}
}

static void test_frames(void)
{
	uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6};
	uint8_t v6[60] = {0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0x86, 0xdd};
	uint8_t v6_as_v4[60] = {0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, 8, 0, 0x60};
	uint8_t ppp[60] = {0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0x88, 0x63};
	uint8_t tag[60] = {0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0x81, 0, 0, 7, 8, 0};
	uint8_t other[60] = {2, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 9, 8, 0};
	uint8_t group[200] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 0};

	rig_udp(group + 14, "192.0.2.9", 1, OUTSIDE, 2, 10);
	frame_case("ARP", arp, sizeof arp, VERDICT_PUNTED);
	frame_case("IPv6 of zeros", v6, sizeof v6, VERDICT_BAD_HEADER);
	frame_case("IPv6 in an IPv4 frame", v6_as_v4, sizeof v6_as_v4, VERDICT_BAD_HEADER);
	frame_case("neither IPv4 nor IPv6", ppp, sizeof ppp, VERDICT_NOT_IP);
	frame_case("a tag that nobody asked for", tag, sizeof tag, VERDICT_VLAN);
	frame_case("another's MAC", other, sizeof other, VERDICT_NOT_FOR_US);
	frame_case("IP by broadcast", group, sizeof group, VERDICT_NOT_FOR_US);
	frame_case("no Ethernet header", v6, 13, VERDICT_RUNT);
}

/* What would pass, in a frame for somebody else. */
static void test_others_frames(void)
{
	static const uint8_t macs[][6] = {{2, 9, 9, 9, 9, 9}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

	for (size_t i = 0; i < RTE_DIM(macs); i++) {
		for (int side = FROM_OUTSIDE; side <= FROM_INSIDE; side++) {
			uint8_t frame[RIG_FRAME_MAX] = {0};
			const size_t len = side == FROM_OUTSIDE ? in_good(frame + 14)
								: out_good(frame + 14);
			struct dp_verdicts before;

			memcpy(frame, macs[i], sizeof macs[i]);
			wire_store_u16(frame + 12, 0x0800);
			dataplane_verdicts(rig.dp, &before);
			rig_push_frame(&rig, side == FROM_OUTSIDE ? DP_OUTSIDE : DP_INSIDE, frame,
				len + 14);
			rig_turn(&rig);
			expect_cell("another's frame", &before, side, VERDICT_NOT_FOR_US);
		}
	}
}

static void test_segments(void)
{
	struct rte_mbuf *head = rte_pktmbuf_alloc(rig.dp->ports[DP_OUTSIDE].pool);
	struct rte_mbuf *tail = rte_pktmbuf_alloc(rig.dp->ports[DP_OUTSIDE].pool);
	struct dp_verdicts before;

	rte_pktmbuf_append(head, rte_pktmbuf_tailroom(head)); /* no room for the tail */
	rte_pktmbuf_append(tail, 100);
	rte_pktmbuf_chain(head, tail);
	dataplane_verdicts(rig.dp, &before);
	rte_ring_enqueue(rig.rx[DP_OUTSIDE], head);
	rig_turn(&rig);
	expect_cell("two segments", &before, FROM_OUTSIDE, VERDICT_MULTI_SEGMENT);
}

/* aftermath_test.c looks at the pieces. */
static void test_fragmented(void)
{
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct dp_verdicts before, after;
	size_t len;

	dataplane_verdicts(rig.dp, &before);
	len = rig_udp(ip, CORR, 1, COA, 2, RIG_MTU - 28);
	ip[6] = 0; /* no DF */
	rig_checksum(ip);
	rig_push(&rig, DP_INSIDE, ip, len);
	rig_turn(&rig);
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT(after.out[VERDICT_FRAGMENTED] == before.out[VERDICT_FRAGMENTED] + 1);
	CU_ASSERT(sum(after.out) == sum(before.out) + 1);
	CU_ASSERT(sum(after.local) == sum(before.local) + 2);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) != 0 && rig_pop(&rig, DP_OUTSIDE, frame) != 0);
	seen[VERDICT_FRAGMENTED] = true;
}

/* What is limited by time must not get more of it on a slow machine. */
static void hold_clock(void)
{
	const uint64_t now = clock_mono_ns();

	clock_set_test(now, clock_real_ns());
}

static void test_fragment_limit(void)
{
	struct dp_verdicts before;
	uint8_t ip[RIG_FRAME_MAX];

	hold_clock();
	for (unsigned i = 0; i < 2 * REASSEMBLY_BURST; i++) {
		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, DP_OUTSIDE, ip, in_fragment(ip));
		rig_turn(&rig);
	}
	expect_cell("too many fragments", &before, FROM_OUTSIDE, VERDICT_FRAGMENT_LIMIT);
	clock_set_test(0, 0);
}

/* Ethernet pads short frames; what is behind the IP packet must not reach the node. */
static void test_padding_is_cut(void)
{
	uint8_t ip[RIG_FRAME_MAX] = {0}, frame[RIG_FRAME_MAX];
	struct rig_opened opened;
	size_t len = rig_udp(ip, CORR, 1, COA, 2, 4);

	memset(ip + len, 0xee, 46 - len);
	rig_push(&rig, DP_INSIDE, ip, 46);
	rig_turn(&rig);
	len = rig_pop(&rig, DP_OUTSIDE, frame);
	CU_ASSERT_FATAL(len > 14);
	CU_ASSERT(rig_unseal(1, frame + 14, len - 14, &opened));
	CU_ASSERT(opened.len == 32);
}

/* --- what full queues and used-up limits give
 * ----------------------------------------------------- */

static void test_registration_rate(void)
{
	struct dp_verdicts before, after;
	uint8_t ip[RIG_FRAME_MAX];
	uint64_t passed, refused, later = clock_mono_ns() + 10 * NS_PER_S;

	clock_set_test(later, later);
	dataplane_verdicts(rig.dp, &before);
	for (unsigned i = 0; i < 3 * RIG_REGISTRATION_RATE; i++) {
		rig_push(&rig, DP_OUTSIDE, ip, in_registration(ip));
		rig_turn(&rig);
		drain_punts();
	}
	dataplane_verdicts(rig.dp, &after);
	passed = after.in[VERDICT_PUNTED] - before.in[VERDICT_PUNTED];
	refused = after.in[VERDICT_RATE_LIMITED] - before.in[VERDICT_RATE_LIMITED];
	CU_ASSERT(passed == RIG_REGISTRATION_RATE);
	CU_ASSERT(refused == 2 * RIG_REGISTRATION_RATE);
	seen[VERDICT_RATE_LIMITED] = refused != 0;

	/* Half a second later half the rate passes again. */
	clock_set_test(later + NS_PER_S / 2, later);
	for (unsigned i = 0; i < 3 * RIG_REGISTRATION_RATE; i++) {
		rig_push(&rig, DP_OUTSIDE, ip, in_registration(ip));
		rig_turn(&rig);
		drain_punts();
	}
	dataplane_verdicts(rig.dp, &before);
	CU_ASSERT(
		before.in[VERDICT_PUNTED] - after.in[VERDICT_PUNTED] == RIG_REGISTRATION_RATE / 2);
	clock_set_test(0, 0);
}

/* Pings from outside fill their own ring and no other. */
static void test_punt_full(void)
{
	struct dp_verdicts before, after;
	uint8_t ip[RIG_FRAME_MAX];

	dataplane_verdicts(rig.dp, &before);
	for (unsigned i = 0; i < 512; i++) {
		rig_push(&rig, DP_OUTSIDE, ip, in_ike(ip));
		rig_turn(&rig);
	}
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT(after.in[VERDICT_PUNT_FULL] > before.in[VERDICT_PUNT_FULL]);
	seen[VERDICT_PUNT_FULL] = after.in[VERDICT_PUNT_FULL] > before.in[VERDICT_PUNT_FULL];
	rig_push(&rig, DP_INSIDE, ip, out_to_us(ip));
	rig_turn(&rig);
	dataplane_verdicts(rig.dp, &before);
	CU_ASSERT(before.out[VERDICT_PUNTED] == after.out[VERDICT_PUNTED] + 1);
	while (drain_punts() != 0)
		;
}

/* Full bursts: one more than is worked on has been taken from each port. */
static void push_both(unsigned n)
{
	uint8_t ip[RIG_FRAME_MAX];

	for (unsigned i = 0; i < n; i++) {
		rig_push(&rig, DP_OUTSIDE, ip, in_good(ip));
		rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	}
}

static unsigned pop_all(enum dp_port port)
{
	uint8_t frame[RIG_FRAME_MAX];
	unsigned n = 0;

	while (rig_pop(&rig, port, frame) != 0)
		n++;
	return n;
}

static void test_taken_ahead(void)
{
	const unsigned n = 2 * PKT_BURST_MAX + 5;
	struct dp_verdicts before, after;

	dataplane_verdicts(rig.dp, &before);
	push_both(n);
	CU_ASSERT_EQUAL(worker_run_once(rig.dp->workers[0]), 2 * PKT_BURST_MAX);
	CU_ASSERT_EQUAL(rte_ring_count(rig.rx[DP_OUTSIDE]), 5);
	CU_ASSERT_EQUAL(rte_ring_count(rig.rx[DP_INSIDE]), 5);
	/* A stop loses nothing of what was taken, and takes nothing more. */
	atomic_store(&rig.dp->stop, true);
	CU_ASSERT_EQUAL(worker_main(rig.dp->workers[0]), 0);
	atomic_store(&rig.dp->stop, false);
	CU_ASSERT_EQUAL(pop_all(DP_OUTSIDE), 2 * PKT_BURST_MAX);
	CU_ASSERT_EQUAL(pop_all(DP_INSIDE), 2 * PKT_BURST_MAX);
	CU_ASSERT_EQUAL(worker_run_once(rig.dp->workers[0]), 2 * 5);
	CU_ASSERT_EQUAL(worker_run_once(rig.dp->workers[0]), 0);
	CU_ASSERT_EQUAL(pop_all(DP_OUTSIDE) + pop_all(DP_INSIDE), 2 * 5);
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT_EQUAL(after.in[VERDICT_OK] - before.in[VERDICT_OK], n);
	CU_ASSERT_EQUAL(after.out[VERDICT_OK] - before.out[VERDICT_OK], n);
}

/* The node goes, and its memory with it, while packets of it wait in the worker. */
static void test_deleted_under_burst(void)
{
	const unsigned n = 2 * PKT_BURST_MAX;
	struct dp_verdicts before, after;

	dataplane_verdicts(rig.dp, &before);
	push_both(n);
	CU_ASSERT_EQUAL(worker_run_once(rig.dp->workers[0]), n);
	CU_ASSERT_EQUAL(dataplane_node_del(rig.dp, node, true), 0);
	rcu_offline(&rig.dp->rcu, 0); /* as if it were between two turns for long */
	dataplane_poll(rig.dp, clock_mono_ns(), NULL, NULL);
	CU_ASSERT_EQUAL(rcu_waiting(&rig.dp->rcu), 0);
	CU_ASSERT_EQUAL(worker_run_once(rig.dp->workers[0]), n);
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT_EQUAL(after.in[VERDICT_NO_SA_IN] - before.in[VERDICT_NO_SA_IN], PKT_BURST_MAX);
	CU_ASSERT_EQUAL(
		after.out[VERDICT_NO_SA_OUT] - before.out[VERDICT_NO_SA_OUT], PKT_BURST_MAX);
	CU_ASSERT_EQUAL(pop_all(DP_OUTSIDE), PKT_BURST_MAX);
	CU_ASSERT_EQUAL(pop_all(DP_INSIDE), PKT_BURST_MAX);
	node = rig_node_add(&rig, 1, COA);
}

static void test_tx_full(void)
{
	struct dp_verdicts before, after;
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	unsigned places = rte_ring_get_capacity(rig.tx[DP_OUTSIDE]), sent = 0;

	dataplane_verdicts(rig.dp, &before);
	for (unsigned i = 0; i < places + 5; i++) {
		rig_push(&rig, DP_INSIDE, ip, out_good(ip));
		rig_turn(&rig);
	}
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT(after.out[VERDICT_OK] - before.out[VERDICT_OK] == places);
	CU_ASSERT(after.out[VERDICT_TX_FULL] - before.out[VERDICT_TX_FULL] == 5);
	seen[VERDICT_TX_FULL] = true;
	while (rig_pop(&rig, DP_OUTSIDE, frame) != 0)
		sent++;
	CU_ASSERT(sent == places);
}

static void test_numbers_used_up(void)
{
	struct sa_out *sa = atomic_load(&node->sa_out);
	uint64_t seq = atomic_load(&sa->slot->seq);
	struct dp_verdicts before;
	uint8_t ip[RIG_FRAME_MAX];

	atomic_store(&sa->slot->seq, UINT32_MAX); /* without ESN there is none left */
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	rig_turn(&rig);
	expect_cell("sequence numbers", &before, FROM_INSIDE, VERDICT_SEQ_EXHAUSTED);
	atomic_store(&sa->slot->seq, seq);

	atomic_store(&sa->iv, (uint64_t)2 << SA_IV_COUNTER_BITS);
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	rig_turn(&rig);
	expect_cell("IVs", &before, FROM_INSIDE, VERDICT_IV_EXHAUSTED);
}

static void test_expired(void)
{
	const struct sa_lifetimes used_up = {.packets = {.hard = 1}}, endless = {.packets = {0}};
	const uint32_t in = node->sa_in[0]->spi, out = atomic_load(&node->sa_out)->spi;
	struct dp_verdicts before;
	uint8_t ip[RIG_FRAME_MAX];

	rig_push(&rig, DP_OUTSIDE, ip, in_good(ip));
	rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	rig_turn(&rig);
	CU_ASSERT_EQUAL(dataplane_sa_set_life(rig.dp, node, true, 1, &used_up), -ENOENT);
	CU_ASSERT_EQUAL(dataplane_sa_set_life(rig.dp, node, true, in, &used_up), 0);
	CU_ASSERT_EQUAL(dataplane_sa_set_life(rig.dp, node, false, out, &used_up), 0);
	CU_ASSERT_EQUAL(dataplane_sa_noticed(rig.dp), node->handle);
	CU_ASSERT_EQUAL(dataplane_sa_take_marks(rig.dp, node, true, in) & SA_MARKS_HARD,
		SA_MARK_HARD_PACKETS);
	CU_ASSERT_EQUAL(dataplane_sa_take_marks(rig.dp, node, false, out) & SA_MARKS_HARD,
		SA_MARK_HARD_PACKETS);
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	rig_turn(&rig);
	expect_cell("outbound", &before, FROM_INSIDE, VERDICT_EXPIRED);
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_OUTSIDE, ip, in_good(ip));
	rig_turn(&rig);
	expect_cell("inbound", &before, FROM_OUTSIDE, VERDICT_EXPIRED);
	CU_ASSERT_EQUAL(dataplane_sa_set_life(rig.dp, node, true, in, &endless), 0);
	CU_ASSERT_EQUAL(dataplane_sa_set_life(rig.dp, node, false, out, &endless), 0);
	CU_ASSERT_EQUAL(dataplane_sa_noticed(rig.dp), 0);
}

static int next_epoch(void *arg, uint32_t *epoch)
{
	unsigned *asked = arg;

	++*asked;
	*epoch = 4;
	return 0;
}

static void test_epoch_is_renewed(void)
{
	struct dp_verdicts before;
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	unsigned asked = 0;

	dataplane_poll(rig.dp, clock_mono_ns(), next_epoch, &asked);
	CU_ASSERT(asked == 1);
	dataplane_poll(rig.dp, clock_mono_ns(), next_epoch, &asked);
	CU_ASSERT(asked == 1);
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	rig_turn(&rig);
	expect_cell("new epoch", &before, FROM_INSIDE, VERDICT_OK);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) != 0);
}

static void test_no_room(void)
{
	uint8_t ip[RIG_FRAME_MAX];
	size_t len = out_good(ip);
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(rig.dp->ports[DP_INSIDE].pool);
	struct dp_verdicts before;
	uint8_t *frame;

	rte_pktmbuf_prepend(mbuf, RTE_PKTMBUF_HEADROOM); /* a device that leaves no headroom */
	rte_pktmbuf_trim(mbuf, RTE_PKTMBUF_HEADROOM);
	frame = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(len + 14));
	memset(frame, 0, 12);
	memcpy(frame, rig.dp->ports[DP_INSIDE].mac, 6);
	wire_store_u16(frame + 12, 0x0800);
	memcpy(frame + 14, ip, len);
	dataplane_verdicts(rig.dp, &before);
	rte_ring_enqueue(rig.rx[DP_INSIDE], mbuf);
	rig_turn(&rig);
	expect_cell("no headroom", &before, FROM_INSIDE, VERDICT_NO_ROOM);
}

static void test_no_credit(void)
{
	struct path_params params = rig_path("198.51.100.7", NULL, 0);
	struct dp_verdicts before;
	uint8_t ip[RIG_FRAME_MAX];

	params.flags = PATH_PROVISIONAL;
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_INSIDE, ip, out_good(ip));
	rig_turn(&rig);
	expect_cell("no credit", &before, FROM_INSIDE, VERDICT_NO_CREDIT);
	params.flags = 0;
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
}

/* shed_test.c has the rest. */
static void test_shed(void)
{
	struct dp_verdicts before;
	uint8_t ip[RIG_FRAME_MAX];
	size_t len;

	hold_clock();
	for (unsigned i = 0; i <= 2 * SHED_SOURCE_BURST; i++) {
		len = in_bad_icv(ip);
		wire_store_u32(ip + 12, 0xcb007109); /* 203.0.113.9: not where the node is */
		wire_store_u32(ip + IPV4_HDR_BYTES + 4, 1 << 20); /* and no number of its */
		rig_checksum(ip);
		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, DP_OUTSIDE, ip, len);
		rig_turn(&rig);
	}
	expect_cell("too many wrong tags", &before, FROM_OUTSIDE, VERDICT_SHED);
	clock_set_test(0, 0);
}

/* policy_test.c looks at what rules match. */
static void test_policy(void)
{
	const struct policy_rule rules[] = {
		{.action = POLICY_DISCARD, .protocol = POLICY_ANY_PROTOCOL, .inbound = true},
		{.action = POLICY_DISCARD, .protocol = POLICY_ANY_PROTOCOL},
	};
	const struct row both[] = {
		{"discarded by a rule, in", FROM_OUTSIDE, in_good, VERDICT_POLICY},
		{"discarded by a rule, out", FROM_INSIDE, out_good, VERDICT_POLICY},
	};

	struct dp_audit audits[32];

	for (size_t i = 0; i < RTE_DIM(both); i++) {
		struct policy *policy = policy_new(&rules[i], 1, 1);
		uint8_t ip[RIG_FRAME_MAX];
		struct dp_verdicts before;

		CU_ASSERT_FATAL(policy != NULL && dataplane_policy_use(rig.dp, policy) == 0);
		while (dataplane_audit_burst(rig.dp, audits, RTE_DIM(audits)) != 0)
			;
		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, both[i].side == FROM_OUTSIDE ? DP_OUTSIDE : DP_INSIDE, ip,
			both[i].make(ip));
		rig_turn(&rig);
		expect_cell(both[i].name, &before, both[i].side, VERDICT_POLICY);
		expect_audit(&both[i], ip);
	}
	CU_ASSERT(dataplane_policy_use(rig.dp, NULL) == 0);
}

static void test_no_neighbour(void)
{
	struct dp_verdicts before, after;
	struct punt punt;
	uint8_t ip[RIG_FRAME_MAX];

	rig_push(&rig, DP_OUTSIDE, ip, in_unresolved(ip));
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	dataplane_verdicts(rig.dp, &before);
	CU_ASSERT(dataplane_send_kept(rig.dp, &punt) == 0); /* still unresolved */
	rig_turn(&rig);
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT(after.local[VERDICT_NO_NEIGHBOUR] == before.local[VERDICT_NO_NEIGHBOUR] + 1);
	seen[VERDICT_NO_NEIGHBOUR] = true;
}

static void test_all_verdicts_seen(void)
{
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		CHECK_ROW(verdict_name(i), seen[i]);
}

static void set_up(void)
{
	struct dp_node_params params = rig_node_params(3, "198.51.100.9");
	struct node *bare;

	rig_open(&rig, 1, 512);
	node = rig_node_add(&rig, 1, COA);
	rig_node_add(&rig, 2, NULL);
	if (dataplane_node_add(rig.dp, &params, &bare) != 0)
		abort();
	rig_node_add(&rig, 4, "198.51.100.50");
	rig_node_add(&rig, 5, "198.51.100.50");
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"one frame, one cell", test_rows},
		{"frames that are no IPv4", test_frames},
		{"frames of others", test_others_frames},
		{"segments", test_segments},
		{"fragmented", test_fragmented},
		{"fragment limit", test_fragment_limit},
		{"Ethernet padding is cut", test_padding_is_cut},
		{"registration rate", test_registration_rate},
		{"punt ring full", test_punt_full},
		{"taken one burst ahead", test_taken_ahead},
		{"deleted under a burst", test_deleted_under_burst},
		{"transmit ring full", test_tx_full},
		{"lifetime over", test_expired},
		{"numbers used up", test_numbers_used_up},
		{"policy", test_policy},
		{"IV epoch renewed", test_epoch_is_renewed},
		{"no headroom", test_no_room},
		{"credit of a provisional path spent", test_no_credit},
		{"too many wrong tags", test_shed},
		{"neighbour still unresolved", test_no_neighbour},
		{"every verdict seen", test_all_verdicts_seen},
		{NULL, NULL},
	};
	int ret;

	set_up();
	ret = unit_run("dataplane: verdicts", cases);
	rig_close(&rig);
	return ret;
}
