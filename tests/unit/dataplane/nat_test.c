/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes behind a NAT: what each datagram to our UDP port 4500 is taken for, which packets move a
 * node's port and which must not, and what leaves for such a node.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/now.h"
#include "lib/ipv4.h"
#include "lib/wire.h"

#define OUTSIDE "192.0.2.1"
#define NAT "203.0.113.50"  /* in front of nodes 1 and 2 */
#define LABEL "192.168.1.5" /* what both call themselves behind it */
#define PORT 61001
#define HOA "10.1.0.10" /* of node 1 */
#define HOA_2 "10.1.0.11"
#define HA "10.1.0.1"
#define CORR "10.2.0.5"
#define MS UINT64_C(1000000)

static struct rig rig;
static struct node *node, *other;
static uint64_t now_ns;

/* --- packets ------------------------------------------------------------------------------------
 */

static void put_udp_checksum(uint8_t *ip)
{
	uint8_t *udp = ip + IPV4_HDR_BYTES;
	uint32_t len = wire_load_u16(udp + 4);

	wire_store_u16(udp + 6, 0);
	wire_store_u16(udp + 6, inet_fold(inet_sum(udp, len, inet_sum(ip + 12, 8, 17 + len))));
}

/* An UDP datagram from NAT:port to our port 4500 with that payload, without checksum. */
static size_t datagram(uint8_t *ip, uint16_t port, const void *payload, size_t len)
{
	size_t total = IPV4_HDR_BYTES + UDP_HDR_BYTES + len;
	const struct ip_addr src = rig_addr(NAT), dst = rig_addr(OUTSIDE);

	memmove(ip + IPV4_HDR_BYTES + UDP_HDR_BYTES, payload, len);
	ipv4_build(ip, &src, &dst, IPPROTO_UDP, 64, 0, 7, 0, (uint16_t)total);
	wire_store_u16(ip + IPV4_HDR_BYTES, port);
	wire_store_u16(ip + IPV4_HDR_BYTES + 2, PATH_NAT_PORT);
	wire_store_u16(ip + IPV4_HDR_BYTES + 4, (uint16_t)(UDP_HDR_BYTES + len));
	wire_store_u16(ip + IPV4_HDR_BYTES + 6, 0);
	return total;
}

/* Number seq of node 1 from NAT:port, sealed; inner NULL: a dummy packet. */
static size_t esp_seq(
	uint8_t *ip, uint16_t port, uint64_t seq, const uint8_t *inner, size_t inner_len)
{
	static const uint8_t nothing[64];
	uint8_t plain[RIG_FRAME_MAX];
	size_t len = inner != NULL ? rig_seal_seq(plain, 1, NAT, seq, inner, inner_len, 4)
				   : rig_seal_seq(plain, 1, NAT, seq, nothing, sizeof nothing, 59);

	return datagram(ip, port, plain + IPV4_HDR_BYTES, len - IPV4_HDR_BYTES);
}

static size_t esp_from(uint8_t *ip, uint16_t port, uint64_t seq)
{
	uint8_t inner[RIG_FRAME_MAX];

	return esp_seq(ip, port, seq, inner, rig_udp(inner, HOA, 1000, CORR, 2000, 64));
}

static size_t good(uint8_t *ip)
{
	return esp_from(ip, PORT, ++rig.seq_in[1]);
}

static uint8_t *udp_of(uint8_t *ip)
{
	return ip + IPV4_HDR_BYTES;
}

static size_t right_checksum(uint8_t *ip)
{
	size_t len = good(ip);

	put_udp_checksum(ip);
	return len;
}

static size_t wrong_checksum(uint8_t *ip)
{
	size_t len = right_checksum(ip);

	udp_of(ip)[7] ^= 1;
	return len;
}

/* Which is what a checksum is for. */
static size_t damaged_under_checksum(uint8_t *ip)
{
	size_t len = right_checksum(ip);

	ip[len - 1] ^= 1;
	return len;
}

static size_t damaged(uint8_t *ip)
{
	size_t len = good(ip);

	ip[len - 1] ^= 1;
	return len;
}

static size_t again(uint8_t *ip)
{
	return esp_from(ip, PORT, rig.seq_in[1]);
}

static size_t dummy(uint8_t *ip)
{
	return esp_seq(ip, PORT, ++rig.seq_in[1], NULL, 0);
}

static size_t keepalive(uint8_t *ip)
{
	return datagram(ip, PORT, "\xff", 1);
}

static size_t keepalive_wrong_checksum(uint8_t *ip)
{
	size_t len = keepalive(ip);

	udp_of(ip)[7] = 1;
	return len;
}

static size_t one_other_byte(uint8_t *ip)
{
	return datagram(ip, PORT, "\xfe", 1);
}

static size_t two_bytes(uint8_t *ip)
{
	return datagram(ip, PORT, "\xff\xff", 2);
}

static size_t three_bytes(uint8_t *ip)
{
	return datagram(ip, PORT, "\0\0\0", 3);
}

static size_t no_payload(uint8_t *ip)
{
	return datagram(ip, PORT, "", 0);
}

static size_t marker_alone(uint8_t *ip)
{
	return datagram(ip, PORT, "\0\0\0\0", 4);
}

static size_t ike(uint8_t *ip)
{
	uint8_t message[200] = {0, 0, 0, 0, 9, 9};

	return datagram(ip, PORT, message, sizeof message);
}

static size_t ike_first_piece(uint8_t *ip)
{
	size_t len = ike(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}

static size_t last_piece(uint8_t *ip)
{
	size_t len = good(ip);

	wire_store_u16(ip + 6, 10);
	rig_checksum(ip);
	return len;
}

static size_t esp_first_piece(uint8_t *ip)
{
	size_t len = good(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}

static size_t with_length(uint8_t *ip, int more)
{
	size_t len = good(ip);

	wire_store_u16(udp_of(ip) + 4, (uint16_t)(wire_load_u16(udp_of(ip) + 4) + more));
	return len;
}

static size_t length_beyond(uint8_t *ip)
{
	return with_length(ip, 1);
}

static size_t length_cuts_tag(uint8_t *ip)
{
	return with_length(ip, -4);
}

static size_t length_8(uint8_t *ip)
{
	size_t len = good(ip);

	wire_store_u16(udp_of(ip) + 4, 8);
	return len;
}

static size_t length_7(uint8_t *ip)
{
	size_t len = good(ip);

	wire_store_u16(udp_of(ip) + 4, 7);
	return len;
}

/* What is behind the datagram belongs to nobody. */
static size_t surplus(uint8_t *ip)
{
	size_t len = good(ip);

	memset(ip + len, 0xee, 12);
	wire_store_u16(ip + 2, (uint16_t)(len + 12));
	rig_checksum(ip);
	return len + 12;
}

static size_t port_0(uint8_t *ip)
{
	return esp_from(ip, 0, ++rig.seq_in[1]);
}

static size_t with_spi(uint8_t *ip, uint32_t spi)
{
	size_t len = good(ip);

	wire_store_u32(udp_of(ip) + UDP_HDR_BYTES, spi);
	return len;
}

static size_t spi_1(uint8_t *ip)
{
	return with_spi(ip, 1);
}

static size_t spi_255(uint8_t *ip)
{
	return with_spi(ip, 255);
}

static size_t spi_0(uint8_t *ip)
{
	return with_spi(ip, 0);
}

static size_t short_esp(uint8_t *ip)
{
	uint8_t esp[ESP_MIN_BYTES - 4] = {1};

	return datagram(ip, PORT, esp, sizeof esp);
}

static size_t shortest_esp(uint8_t *ip)
{
	uint8_t esp[ESP_MIN_BYTES] = {1};

	return datagram(ip, PORT, esp, sizeof esp);
}

static size_t header_cut(uint8_t *ip)
{
	good(ip);
	wire_store_u16(ip + 2, IPV4_HDR_BYTES + 7);
	rig_checksum(ip);
	return IPV4_HDR_BYTES + 7;
}

static size_t options(uint8_t *ip)
{
	size_t len = good(ip);

	memmove(ip + 24, ip + 20, len - 20);
	memset(ip + 20, 1, 4); /* no operation */
	ip[0] = 0x46;
	wire_store_u16(ip + 2, (uint16_t)(len + 4));
	rig_checksum(ip);
	return len + 4;
}

static size_t next_port(uint8_t *ip)
{
	size_t len = good(ip);

	wire_store_u16(udp_of(ip) + 2, PATH_NAT_PORT + 1);
	return len;
}

static size_t clear_registration(uint8_t *ip)
{
	size_t len = good(ip);

	wire_store_u16(udp_of(ip) + 2, 434);
	return len;
}

static size_t to_neighbour(uint8_t *ip)
{
	size_t len = good(ip);

	ip[19] = 77;
	rig_checksum(ip);
	return len;
}

/* By both ways at once, as around a move. */
static size_t plain_esp(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_seal(&rig, ip, 1, NAT, inner, rig_udp(inner, HOA, 1000, CORR, 2000, 64));
}

static const struct row {
	const char *name;
	size_t (*make)(uint8_t *ip);
	enum verdict verdict;
} rows[] = {
	{"without checksum", good, VERDICT_OK},
	{"right checksum", right_checksum, VERDICT_OK},
	{"wrong checksum", wrong_checksum, VERDICT_BAD_HEADER},
	{"damaged under its checksum", damaged_under_checksum, VERDICT_BAD_HEADER},
	{"damaged", damaged, VERDICT_BAD_ICV},
	{"the same number, undamaged", again, VERDICT_OK},
	{"replayed", again, VERDICT_REPLAY},
	{"dummy packet", dummy, VERDICT_DUMMY},
	{"keepalive", keepalive, VERDICT_KEEPALIVE},
	{"keepalive, wrong checksum", keepalive_wrong_checksum, VERDICT_KEEPALIVE},
	{"one other byte", one_other_byte, VERDICT_RUNT},
	{"two bytes", two_bytes, VERDICT_RUNT},
	{"part of a marker", three_bytes, VERDICT_RUNT},
	{"no payload", no_payload, VERDICT_RUNT},
	{"marker alone", marker_alone, VERDICT_PUNTED},
	{"IKE", ike, VERDICT_PUNTED},
	{"first piece of IKE", ike_first_piece, VERDICT_HELD},
	{"last piece of anything", last_piece, VERDICT_HELD},
	{"first piece of ESP", esp_first_piece, VERDICT_HELD},
	{"length beyond the packet", length_beyond, VERDICT_RUNT},
	{"length cuts into the tag", length_cuts_tag, VERDICT_BAD_ICV},
	{"length says empty", length_8, VERDICT_RUNT},
	{"length below the header's", length_7, VERDICT_BAD_HEADER},
	{"surplus behind the datagram", surplus, VERDICT_OK},
	{"from port 0", port_0, VERDICT_BAD_HEADER},
	{"SPI 0", spi_0, VERDICT_PUNTED},
	{"SPI 1", spi_1, VERDICT_NO_SA_IN},
	{"SPI 255", spi_255, VERDICT_NO_SA_IN},
	{"too short for ESP", short_esp, VERDICT_BAD_ESP},
	{"just long enough", shortest_esp, VERDICT_NO_SA_IN},
	{"UDP header is cut off", header_cut, VERDICT_PUNTED},
	{"IP options", options, VERDICT_OK},
	{"port 4501", next_port, VERDICT_PUNTED},
	{"port 434", clear_registration, VERDICT_REGISTRATION},
	{"neighbour's address", to_neighbour, VERDICT_NOT_FOR_US},
	{"plain ESP meanwhile", plain_esp, VERDICT_OK},
};

static unsigned drain_punts(void)
{
	struct punt punts[32];
	unsigned n = dataplane_punt_burst(rig.dp, punts, 32);

	for (unsigned i = 0; i < n; i++)
		dataplane_punt_done(rig.dp, &punts[i]);
	return n;
}

static void test_rows(void)
{
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct row *row = &rows[i];
		uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct dp_verdicts before, after;

		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, DP_OUTSIDE, ip, row->make(ip));
		rig_turn(&rig);
		dataplane_verdicts(rig.dp, &after);
		CHECK_ROW(row->name, after.in[row->verdict] == before.in[row->verdict] + 1);
		for (unsigned v = 0; v < VERDICT_COUNT; v++)
			if (after.in[v] != before.in[v] && v != row->verdict)
				fprintf(stderr, "[%s] ended as %s\n", row->name, verdict_name(v));
		CHECK_ROW(row->name,
			(rig_pop(&rig, DP_INSIDE, frame) != 0) == (row->verdict == VERDICT_OK));
		CHECK_ROW(row->name, (drain_punts() == 1) == (row->verdict == VERDICT_PUNTED));
	}
}

/* --- the port that moves ------------------------------------------------------------------------
 */

/* At most one change is told; its port, 0: none. */
static uint16_t told(void)
{
	const struct ip_addr nat = rig_addr(NAT);
	struct dp_port_change changes[4];
	unsigned n = dataplane_port_changes(rig.dp, changes, 4);
	uint8_t frame[RIG_FRAME_MAX];

	while (rig_pop(&rig, DP_INSIDE, frame) != 0)
		;
	CU_ASSERT(n <= 1);
	if (n == 0)
		return 0;
	CU_ASSERT(changes[0].node == 1 && ip_addr_equal(&changes[0].from.addr, &nat));
	return changes[0].from.port;
}

static void pass_ms(uint64_t ms)
{
	now_ns += ms * MS;
	clock_set_test(now_ns, now_ns);
}

static void push(const uint8_t *ip, size_t len)
{
	rig_push(&rig, DP_OUTSIDE, ip, len);
}

static uint16_t push_and_turn(const uint8_t *ip, size_t len)
{
	push(ip, len);
	rig_turn(&rig);
	return told();
}

static uint16_t send_from(uint16_t port)
{
	uint8_t ip[RIG_FRAME_MAX];

	pass_ms(DP_PORT_CHANGE_EVERY_MS);
	return push_and_turn(ip, esp_from(ip, port, ++rig.seq_in[1]));
}

static struct path_params nat_path(void)
{
	struct path_params params = rig_path(LABEL, NULL, 0);

	params.remote = (struct ip_endpoint){rig_addr(NAT), PORT};
	params.local.port = PATH_NAT_PORT;
	params.flags = PATH_LABEL;
	return params;
}

static void test_newest_moves(void)
{
	uint8_t ip[RIG_FRAME_MAX], late[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len, late_len;
	uint64_t *seq = &rig.seq_in[1];

	CU_ASSERT(send_from(PORT) == 0);
	CU_ASSERT(send_from(PORT + 1) == PORT + 1);
	/* Within the same 20 ms not again, then again. */
	CU_ASSERT(push_and_turn(ip, esp_from(ip, PORT + 1, ++*seq)) == 0);
	pass_ms(DP_PORT_CHANGE_EVERY_MS - 1);
	CU_ASSERT(push_and_turn(ip, esp_from(ip, PORT + 1, ++*seq)) == 0);
	pass_ms(1);
	CU_ASSERT(push_and_turn(ip, esp_from(ip, PORT + 1, ++*seq)) == PORT + 1);

	/* Replayed from another port. */
	len = esp_from(ip, PORT, ++*seq);
	pass_ms(DP_PORT_CHANGE_EVERY_MS);
	CU_ASSERT(push_and_turn(ip, len) == 0);
	wire_store_u16(udp_of(ip), PORT + 2);
	CU_ASSERT(push_and_turn(ip, len) == 0);
	/* Never seen, but older than what came before it: an attacker held it back. */
	late_len = esp_from(late, PORT + 2, ++*seq);
	CU_ASSERT(send_from(PORT) == 0);
	CU_ASSERT(push_and_turn(late, late_len) == 0);
	/* Not authenticated, newest number. */
	len = esp_from(ip, PORT + 2, *seq + 1);
	ip[len - 1] ^= 1;
	CU_ASSERT(push_and_turn(ip, len) == 0);
	/* From another address: only an SIU moves that. */
	len = esp_from(ip, PORT + 2, ++*seq);
	ip[15]++;
	rig_checksum(ip);
	CU_ASSERT(push_and_turn(ip, len) == 0);
	CU_ASSERT(push_and_turn(ip, plain_esp(ip)) == 0);
	CU_ASSERT(push_and_turn(ip, keepalive(ip)) == 0);
	CU_ASSERT(push_and_turn(ip, ike(ip)) == 0);
	CU_ASSERT(drain_punts() == 1);

	/* Authenticated though nothing is inside, or what is inside goes nowhere. */
	CU_ASSERT(push_and_turn(ip, esp_seq(ip, PORT + 3, ++*seq, NULL, 0)) == PORT + 3);
	pass_ms(DP_PORT_CHANGE_EVERY_MS);
	len = rig_udp(frame, "10.1.0.99", 1, CORR, 2, 64);
	CU_ASSERT(push_and_turn(ip, esp_seq(ip, PORT + 3, ++*seq, frame, len)) == PORT + 3);
}

/* The newest of a burst, wherever it stands in it. */
static void test_newest_of_a_burst(void)
{
	uint8_t ip[RIG_FRAME_MAX];
	uint64_t *seq = &rig.seq_in[1];

	pass_ms(DP_PORT_CHANGE_EVERY_MS);
	push(ip, esp_from(ip, PORT, *seq + 1));
	push(ip, esp_from(ip, PORT + 1, *seq + 2));
	push(ip, esp_from(ip, PORT + 2, *seq + 3));
	rig_turn(&rig);
	*seq += 3;
	CU_ASSERT(told() == PORT + 2);

	pass_ms(DP_PORT_CHANGE_EVERY_MS);
	push(ip, esp_from(ip, PORT + 1, *seq + 2));
	push(ip, esp_from(ip, PORT + 2, *seq + 1));
	rig_turn(&rig);
	*seq += 2;
	CU_ASSERT(told() == PORT + 1);

	pass_ms(DP_PORT_CHANGE_EVERY_MS);
	push(ip, esp_from(ip, PORT, *seq + 2)); /* where the path leads to */
	push(ip, esp_from(ip, PORT + 2, *seq + 1));
	rig_turn(&rig);
	*seq += 2;
	CU_ASSERT(told() == 0);
}

static void test_who_is_not_watched(void)
{
	struct path_params params = nat_path();

	node->flags &= ~(uint32_t)NODE_ALLOW_NAT;
	CU_ASSERT(send_from(PORT + 1) == 0);
	node->flags |= NODE_ALLOW_NAT;
	CU_ASSERT(send_from(PORT + 1) == PORT + 1);
	/* Its path is plain ESP to the same address: no registration came in UDP. */
	params.remote.port = params.local.port = 0;
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	CU_ASSERT(send_from(PORT + 1) == 0);
	params.flags = PATH_CLOSED;
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	CU_ASSERT(send_from(PORT + 1) == 0);
	params = nat_path();
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	CU_ASSERT(send_from(PORT) == 0);
}

/* What finds no room is told by the next packet, not 20 ms later. */
static void test_ring_full(void)
{
	struct dp_port_change change;
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < 300; i++) {
		pass_ms(DP_PORT_CHANGE_EVERY_MS);
		push(ip, esp_from(ip, PORT + 1, ++rig.seq_in[1]));
		rig_turn(&rig);
		(void)rig_pop(&rig, DP_INSIDE, frame);
	}
	while (dataplane_port_changes(rig.dp, &change, 1) != 0)
		n++;
	CU_ASSERT(n == 255);
	CU_ASSERT(push_and_turn(ip, esp_from(ip, PORT + 1, ++rig.seq_in[1])) == PORT + 1);
}

/* --- registrations ------------------------------------------------------------------------------
 */

static void test_observed(void)
{
	const struct ip_addr nat = rig_addr(NAT);
	uint8_t ip[RIG_FRAME_MAX], inner[RIG_FRAME_MAX];
	size_t len = rig_rrq(inner, "192.168.77.9", HA, HOA, "192.168.77.9");
	struct punt punt;

	pass_ms(1000);
	push(ip, esp_seq(ip, PORT + 5, ++rig.seq_in[1], inner, len));
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	CU_ASSERT(punt.reason == PUNT_REGISTRATION);
	CU_ASSERT(ip_addr_equal(&punt.observed.addr, &nat) && punt.observed.port == PORT + 5);
	dataplane_punt_done(rig.dp, &punt);
	(void)told();
}

/* --- to the node --------------------------------------------------------------------------------
 */

/* What left for NAT:port in UDP, opened as node handle. */
static bool next_to(uint32_t handle, uint16_t port, struct rig_opened *opened)
{
	const struct ip_addr nat = rig_addr(NAT);
	uint8_t frame[RIG_FRAME_MAX], *ip = frame + RTE_ETHER_HDR_LEN, *udp = udp_of(ip);
	size_t len = rig_pop(&rig, DP_OUTSIDE, frame);
	struct ipv4_view view;

	if (len == 0)
		return false;
	len -= RTE_ETHER_HDR_LEN;
	if (!ipv4_parse(ip, len, &view) || view.protocol != IPPROTO_UDP ||
		wire_load_u16(udp) != PATH_NAT_PORT || wire_load_u16(udp + 2) != port ||
		wire_load_u16(udp + 4) != len - IPV4_HDR_BYTES || wire_load_u16(udp + 6) != 0)
		return false;
	/* Without its UDP header it is what rig_unseal() knows. */
	len -= UDP_HDR_BYTES;
	memmove(udp, udp + UDP_HDR_BYTES, len - IPV4_HDR_BYTES);
	ip[9] = IPPROTO_ESP;
	wire_store_u16(ip + 2, (uint16_t)len);
	rig_checksum(ip);
	return rig_unseal(handle, ip, len, opened) && ip_addr_equal(&opened->dst, &nat);
}

static size_t tunnelled(uint8_t *ip, const char *coa, const char *hoa)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_ipip(ip, HA, coa, inner, rig_udp(inner, CORR, 1, hoa, 2, 100));
}

/* One address outside, one care-of address inside, two nodes. */
static void test_two_behind_one(void)
{
	struct path_params params = nat_path();
	struct rig_opened opened;
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct dp_verdicts before, after;

	params.remote.port = PORT + 10;
	CU_ASSERT(dataplane_node_set_path(rig.dp, other, &params) == 0);
	for (unsigned i = 0; i < 3; i++) {
		rig_push(&rig, DP_INSIDE, ip, tunnelled(ip, LABEL, HOA));
		rig_push(&rig, DP_INSIDE, ip, tunnelled(ip, LABEL, HOA_2));
	}
	rig_turn(&rig);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(next_to(1, PORT, &opened));
		CU_ASSERT(next_to(2, PORT + 10, &opened));
	}
	/* What does not say whom it is for belongs to none of them, nor to the only one. */
	for (unsigned i = 0; i < 2; i++) {
		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, DP_INSIDE, ip, rig_udp(ip, CORR, 1, LABEL, 2, 100));
		rig_turn(&rig);
		dataplane_verdicts(rig.dp, &after);
		CU_ASSERT(after.out[VERDICT_NO_SA_OUT] == before.out[VERDICT_NO_SA_OUT] + 1);
		CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);
		params.flags = PATH_CLOSED;
		CU_ASSERT(dataplane_node_set_path(rig.dp, other, &params) == 0);
	}
}

/* A node that calls itself as one of our hosts does not speak as that host. */
static void test_label_is_no_source(void)
{
	static const struct {
		const char *name;
		bool tunnel;
		const char *inner_src; /* of what is tunnelled */
		enum verdict want;
	} cases[] = {
		{"plain", false, NULL, VERDICT_INNER_SOURCE},
		{"reverse tunnel", true, HOA, VERDICT_OK},
		{"reverse tunnel of another", true, HOA_2, VERDICT_INNER_SOURCE},
	};
	struct path_params params = nat_path();

	params.coa = rig_addr("10.2.0.77");
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	for (size_t i = 0; i < RTE_DIM(cases); i++) {
		uint8_t ip[RIG_FRAME_MAX], inner[RIG_FRAME_MAX], tunnelled_packet[RIG_FRAME_MAX];
		struct dp_verdicts before, after;
		size_t len;

		if (cases[i].tunnel) {
			len = rig_udp(tunnelled_packet, cases[i].inner_src, 1, CORR, 2, 64);
			len = rig_ipip(inner, "10.2.0.77", HA, tunnelled_packet, len);
		} else {
			len = rig_udp(inner, "10.2.0.77", 1, CORR, 2, 64);
		}
		dataplane_verdicts(rig.dp, &before);
		(void)push_and_turn(ip, esp_seq(ip, PORT, ++rig.seq_in[1], inner, len));
		dataplane_verdicts(rig.dp, &after);
		(void)drain_punts();
		CHECK_ROW(cases[i].name, after.in[cases[i].want] == before.in[cases[i].want] + 1);
	}
	params = nat_path();
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
}

static void test_reply_once(void)
{
	const struct ip_endpoint there = {rig_addr(NAT), PORT + 20};
	struct rig_opened opened;
	uint8_t rrp[RIG_FRAME_MAX];
	size_t len = rig_udp(rrp, HA, 434, LABEL, 434, 40);

	CU_ASSERT(dataplane_send_once(rig.dp, 1, &there, rrp, len) == 0);
	CU_ASSERT(dataplane_send_to_node(rig.dp, 1, rrp, len, true) == 0);
	rig_turn(&rig);
	CU_ASSERT(next_to(1, PORT + 20, &opened));
	CU_ASSERT(opened.len == len && memcmp(opened.inner, rrp, len) == 0);
	CU_ASSERT(next_to(1, PORT, &opened));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"datagrams to port 4500", test_rows},
		{"the newest packet moves the port", test_newest_moves},
		{"the newest of a burst", test_newest_of_a_burst},
		{"who is not watched", test_who_is_not_watched},
		{"ring is full", test_ring_full},
		{"endpoint of a registration", test_observed},
		{"two behind one address", test_two_behind_one},
		{"a label is no source", test_label_is_no_source},
		{"a reply once", test_reply_once},
		{NULL, NULL},
	};
	struct path_params params;
	int ret;

	rig_open(&rig, 1, 512);
	now_ns = clock_mono_ns();
	pass_ms(0);
	node = rig_node_add(&rig, 1, NULL);
	other = rig_node_add(&rig, 2, NULL);
	node->flags |= NODE_ALLOW_NAT;
	params = nat_path();
	if (dataplane_node_set_path(rig.dp, node, &params) != 0)
		abort();
	ret = unit_run("dataplane/nat", cases);
	clock_set_test(0, 0);
	rig_close(&rig);
	return ret;
}
