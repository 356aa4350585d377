/* SPDX-License-Identifier: BSD-3-Clause */
/* What may be inside ESP, both ways, by table; the ECN mark; the reverse tunnel's header. */
#include "control/mn/inner.h"
#include "lib/challenge.h"
#include "lib/mip4.h"

#include "tests/unit/lib/unit.h"

#define HOA "10.1.0.10"
#define HA "10.1.0.1"
#define CORR "10.2.0.5"
#define COA "198.51.100.7"
#define FORMER "203.0.113.7"
#define PAYLOAD 40
#define PROTOCOL_IPIP 4
#define PROTOCOL_TCP 6

static struct inner_conf conf;
static struct care_of care_of;

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_TRUE_FATAL(ip_addr_parse(text, &out));
	return out;
}

static void start(void)
{
	struct ip_addr former = addr(FORMER), coa = addr(COA);

	conf = (struct inner_conf){.home_address = addr(HOA), .home_agent = addr(HA)};
	care_of = (struct care_of){0};
	care_of_move(&care_of, &former, 0, 100);
	care_of_confirm(&care_of, 0, 100);
	care_of_move(&care_of, &coa, 1000, 100);
}

struct shape {
	const char *outer_src, *outer_dst;
	uint8_t protocol, outer_tos;
	uint16_t outer_flags;              /* fragment field */
	const char *inner_src, *inner_dst; /* NULL: UDP instead */
	uint8_t inner_tos;
	uint16_t sport, dport;
	size_t cut; /* bytes missing at the end, the lengths in the headers stay */
	int spoil;  /* this byte is changed; -1: none */
};

static size_t make(uint8_t *out, const struct shape *shape)
{
	struct ip_addr src = addr(shape->outer_src), dst = addr(shape->outer_dst);
	size_t len = IPV4_HDR_BYTES + PAYLOAD;

	memset(out, 0x5a, 256);
	if (shape->protocol == IPPROTO_UDP) {
		struct ip_endpoint from = {.addr = src, .port = shape->sport};
		struct ip_endpoint to = {.addr = dst, .port = shape->dport};

		len = ipv4_udp_build(out, 256, &from, &to, "registration reply", 18);
	} else {
		if (shape->inner_src != NULL) {
			struct ip_addr from = addr(shape->inner_src), to = addr(shape->inner_dst);

			ipv4_build(out + IPV4_HDR_BYTES, &from, &to, 17, 63, shape->inner_tos, 1, 0,
				IPV4_HDR_BYTES + PAYLOAD);
			len += IPV4_HDR_BYTES;
		}
		ipv4_build(out, &src, &dst, shape->protocol, 64, shape->outer_tos, 2,
			shape->outer_flags, (uint16_t)len);
	}
	if (shape->spoil >= 0)
		out[shape->spoil] ^= 0x40;
	return len - shape->cut;
}

#define GOOD HA, COA, PROTOCOL_IPIP
#define DATA CORR, HOA
static const struct {
	const char *name;
	struct shape shape;
	enum verdict verdict;
	enum inner_kind kind;
	size_t offset, len; /* of what is inside */
} ROWS[] = {
	{"traffic", {GOOD, 0, 0, DATA, 0, 0, 0, 0, -1}, VERDICT_OK, INNER_TRAFFIC, 20, 60},
	{"traffic for the former label", {HA, FORMER, PROTOCOL_IPIP, 0, 0, DATA, 0, 0, 0, 0, -1},
		VERDICT_OK, INNER_TRAFFIC, 20, 60},
	{"reply", {HA, COA, IPPROTO_UDP, 0, 0, NULL, NULL, 0, 434, 434, 0, -1}, VERDICT_OK,
		INNER_REPLY, 28, 18},
	{"not the home agent", {CORR, COA, PROTOCOL_IPIP, 0, 0, DATA, 0, 0, 0, 0, -1},
		VERDICT_BAD_ADDRESS, 0, 0, 0},
	{"reply of another", {CORR, COA, IPPROTO_UDP, 0, 0, NULL, NULL, 0, 434, 434, 0, -1},
		VERDICT_BAD_ADDRESS, 0, 0, 0},
	{"another label", {HA, "198.51.100.8", PROTOCOL_IPIP, 0, 0, DATA, 0, 0, 0, 0, -1},
		VERDICT_BAD_ADDRESS, 0, 0, 0},
	{"not in IP-in-IP", {CORR, HOA, PROTOCOL_TCP, 0, 0, NULL, NULL, 0, 0, 0, 0, -1},
		VERDICT_BAD_ADDRESS, 0, 0, 0},
	{"for another home address", {GOOD, 0, 0, CORR, "10.1.0.11", 0, 0, 0, 0, -1},
		VERDICT_BAD_ADDRESS, 0, 0, 0},
	{"for the label itself", {GOOD, 0, 0, CORR, COA, 0, 0, 0, 0, -1}, VERDICT_BAD_ADDRESS, 0, 0,
		0},
	{"TCP to the label", {HA, COA, PROTOCOL_TCP, 0, 0, NULL, NULL, 0, 0, 0, 0, -1},
		VERDICT_REGISTRATION, 0, 0, 0},
	{"other source port", {HA, COA, IPPROTO_UDP, 0, 0, NULL, NULL, 0, 435, 434, 0, -1},
		VERDICT_REGISTRATION, 0, 0, 0},
	{"other destination port", {HA, COA, IPPROTO_UDP, 0, 0, NULL, NULL, 0, 434, 435, 0, -1},
		VERDICT_REGISTRATION, 0, 0, 0},
	{"UDP checksum", {HA, COA, IPPROTO_UDP, 0, 0, NULL, NULL, 0, 434, 434, 0, 30},
		VERDICT_REGISTRATION, 0, 0, 0},
	{"outer fragment", {GOOD, 0, IPV4_FLAG_MF, DATA, 0, 0, 0, 0, -1}, VERDICT_FRAGMENT, 0, 0,
		0},
	{"outer checksum", {GOOD, 0, 0, DATA, 0, 0, 0, 0, 4}, VERDICT_BAD_HEADER, 0, 0, 0},
	{"inner checksum", {GOOD, 0, 0, DATA, 0, 0, 0, 0, 24}, VERDICT_BAD_HEADER, 0, 0, 0},
	{"inner version", {GOOD, 0, 0, DATA, 0, 0, 0, 0, 20}, VERDICT_BAD_HEADER, 0, 0, 0},
	{"one byte cut", {GOOD, 0, 0, DATA, 0, 0, 0, 1, -1}, VERDICT_BAD_HEADER, 0, 0, 0},
	{"header alone", {GOOD, 0, 0, DATA, 0, 0, 0, 60, -1}, VERDICT_BAD_HEADER, 0, 0, 0},
	{"nothing", {GOOD, 0, 0, DATA, 0, 0, 0, 80, -1}, VERDICT_BAD_HEADER, 0, 0, 0},
	/* RFC 6040 figure 4 */
	{"CE on ECT(0)", {GOOD, 3, 0, DATA, 2, 0, 0, 0, -1}, VERDICT_OK, INNER_TRAFFIC, 20, 60},
	{"CE on ECT(1)", {GOOD, 3, 0, DATA, 1, 0, 0, 0, -1}, VERDICT_OK, INNER_TRAFFIC, 20, 60},
	{"CE on CE", {GOOD, 3, 0, DATA, 3, 0, 0, 0, -1}, VERDICT_OK, INNER_TRAFFIC, 20, 60},
	{"CE on Not-ECT", {GOOD, 3, 0, DATA, 0, 0, 0, 0, -1}, VERDICT_ECN, 0, 0, 0},
	{"ECT(0) on ECT(0)", {GOOD, 2, 0, DATA, 2, 0, 0, 0, -1}, VERDICT_OK, INNER_TRAFFIC, 20, 60},
};

static void errors_about_our_packets(void)
{
	static const struct {
		const char *name, *about_src, *about_dst;
		uint8_t type;
		enum verdict verdict;
	} rows[] = {
		{"too big", HOA, CORR, 3, VERDICT_OK},
		{"time exceeded", HOA, CORR, 11, VERDICT_OK},
		{"redirect", HOA, CORR, 5, VERDICT_BAD_ADDRESS},
		{"about another's packet", CORR, COA, 3, VERDICT_BAD_ADDRESS},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr about_src = addr(rows[i].about_src), gateway = addr("10.2.0.254");
		struct ip_addr about_dst = addr(rows[i].about_dst);
		uint8_t about[256], data[256];
		struct inner inner = {0};
		size_t len;

		start();
		memset(about, 0x5a, sizeof about);
		ipv4_build(about, &about_src, &about_dst, IPPROTO_UDP, 64, 0, 1, 0, 100);
		len = icmp_error_build(
			data, sizeof data, rows[i].type, 4, 1000, &gateway, about, 100);
		CHECK_ROW(rows[i].name, len == 128);
		CHECK_ROW(rows[i].name,
			inner_check(&conf, &care_of, 1000, data, len, &inner) == rows[i].verdict);
		if (rows[i].verdict == VERDICT_OK)
			CHECK_ROW(rows[i].name, inner.kind == INNER_TRAFFIC && inner.data == data &&
							inner.len == len);
		CHECK_ROW(rows[i].name, inner_check(&conf, &care_of, 1000, data, 40, &inner) !=
						VERDICT_OK); /* cut */
	}
}

/* The gateway asks whether we are here. Another ping, or one for another address, is not for us. */
static void challenges(void)
{
	static const struct {
		const char *name, *to;
		int spoil; /* this byte of the ping, with its checksum as it was; -1: none */
		enum verdict verdict;
	} rows[] = {
		{"challenge", HOA, -1, VERDICT_OK},
		{"for the care-of address", COA, -1, VERDICT_BAD_ADDRESS},
		{"for another", "10.1.0.11", -1, VERDICT_BAD_ADDRESS},
		{"another type", HOA, 0, VERDICT_BAD_ADDRESS},
		{"without the word in it", HOA, 8, VERDICT_BAD_ADDRESS},
		{"checksum", HOA, 3, VERDICT_BAD_ADDRESS},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct ip_addr gateway = addr("10.2.0.254"), to = addr(rows[i].to);
		const uint8_t nonce[CHALLENGE_NONCE_BYTES] = {7, 6, 5};
		uint8_t data[CHALLENGE_BYTES + 20] = {0}; /* padding behind it */
		struct inner inner = {0};
		const uint8_t *got;

		start();
		challenge_build(data, &gateway, &to, nonce, 2);
		if (rows[i].spoil >= 0)
			data[IPV4_HDR_BYTES + rows[i].spoil] ^= 1;
		CHECK_ROW(rows[i].name, inner_check(&conf, &care_of, 1000, data, sizeof data,
						&inner) == rows[i].verdict);
		if (rows[i].verdict != VERDICT_OK)
			continue;
		CHECK_ROW(rows[i].name, inner.kind == INNER_ANSWER && inner.data == data &&
						inner.len == CHALLENGE_BYTES);
		got = challenge_nonce(inner.data, inner.len);
		CHECK_ROW(rows[i].name, got != NULL && memcmp(got, nonce, sizeof nonce) == 0);
	}
}

static void from_the_gateway(void)
{
	for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
		const struct shape *shape = &ROWS[i].shape;
		const char *name = ROWS[i].name;
		uint8_t data[256];
		size_t len = make(data, shape);
		struct inner inner = {0};
		struct ipv4_view view;
		enum verdict verdict;

		start();
		verdict = inner_check(&conf, &care_of, 1000, data, len, &inner);
		CHECK_ROW(name, verdict == ROWS[i].verdict);
		if (verdict != VERDICT_OK || ROWS[i].verdict != VERDICT_OK)
			continue;
		CHECK_ROW(name, inner.kind == ROWS[i].kind);
		CHECK_ROW(name, inner.data == data + ROWS[i].offset);
		CHECK_ROW(name, inner.len == ROWS[i].len);
		if (inner.kind != INNER_TRAFFIC)
			continue;
		CHECK_ROW(name, ipv4_parse(inner.data, inner.len, &view)); /* its checksum too */
		CHECK_ROW(name, view.tos == (shape->outer_tos == 3 ? 3 : shape->inner_tos));
	}
}

static void former_label_ends(void)
{
	const struct shape shape = {HA, FORMER, PROTOCOL_IPIP, 0, 0, DATA, 0, 0, 0, 0, -1};
	uint8_t data[256];
	size_t len = make(data, &shape);
	struct inner inner;

	start();
	care_of_confirm(&care_of, 2000, 100);
	CU_ASSERT_EQUAL(inner_check(&conf, &care_of, 2099, data, len, &inner), VERDICT_OK);
	CU_ASSERT_EQUAL(inner_check(&conf, &care_of, 2100, data, len, &inner), VERDICT_BAD_ADDRESS);
}

static void to_the_gateway(void)
{
	static const struct {
		const char *name, *src, *dst;
		int spoil;
		size_t cut;
		enum verdict verdict;
	} rows[] = {
		{"good", HOA, CORR, -1, 0, VERDICT_OK},
		{"source is the care-of address", COA, CORR, -1, 0, VERDICT_INNER_SOURCE},
		{"source is a neighbour", "10.1.0.11", CORR, -1, 0, VERDICT_INNER_SOURCE},
		{"multicast", HOA, "224.0.0.251", -1, 0, VERDICT_BAD_ADDRESS},
		{"broadcast", HOA, "255.255.255.255", -1, 0, VERDICT_BAD_ADDRESS},
		{"IPv6", HOA, CORR, 0, 0, VERDICT_BAD_HEADER},
		{"checksum", HOA, CORR, 10, 0, VERDICT_BAD_HEADER},
		{"cut", HOA, CORR, -1, 1, VERDICT_BAD_HEADER},
		{"runt", HOA, CORR, -1, 41, VERDICT_RUNT},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr src = addr(rows[i].src), dst = addr(rows[i].dst);
		uint8_t data[IPV4_HDR_BYTES + PAYLOAD] = {0};
		enum verdict verdict;

		start();
		ipv4_build(data, &src, &dst, 17, 64, 0, 1, IPV4_FLAG_DF, sizeof data);
		if (rows[i].spoil == 0)
			data[0] = 0x46; /* longer header than the checksum covers */
		else if (rows[i].spoil > 0)
			data[rows[i].spoil] ^= 1;
		verdict = inner_check_outgoing(&conf, data, sizeof data - rows[i].cut);
		CHECK_ROW(rows[i].name, verdict == rows[i].verdict);
	}
	CU_ASSERT_EQUAL(inner_check_outgoing(&conf, (const uint8_t[40]){0x60}, 40), VERDICT_NOT_IP);
}

static void reverse_tunnel(void)
{
	struct ip_addr coa = addr(COA), ha = addr(HA), hoa = addr(HOA), corr = addr(CORR);
	uint8_t data[2 * IPV4_HDR_BYTES + PAYLOAD] = {0};
	uint8_t *inner = data + IPV4_HDR_BYTES;
	struct ipv4_view view;

	for (int df = 0; df < 2; df++) {
		ipv4_build(inner, &hoa, &corr, 17, 64, 0xb8, 1, df != 0 ? IPV4_FLAG_DF : 0,
			IPV4_HDR_BYTES + PAYLOAD);
		inner_prepend_ipip(data, &coa, &ha, 77, inner, IPV4_HDR_BYTES + PAYLOAD);
		CU_ASSERT_TRUE_FATAL(ipv4_parse(data, sizeof data, &view));
		CU_ASSERT_TRUE(ip_addr_equal(&view.src, &coa) && ip_addr_equal(&view.dst, &ha));
		CU_ASSERT_EQUAL(view.protocol, PROTOCOL_IPIP);
		CU_ASSERT_EQUAL(view.tos, 0xb8);
		CU_ASSERT_EQUAL(view.id, 77);
		CU_ASSERT_EQUAL(view.total_len, sizeof data);
		CU_ASSERT_EQUAL(view.dont_fragment, df != 0);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"from the gateway", from_the_gateway},
		{"challenges", challenges},
		{"errors about our packets", errors_about_our_packets},
		{"the former label ends", former_label_ends},
		{"to the gateway", to_the_gateway},
		{"reverse tunnel", reverse_tunnel},
		{0},
	};

	return unit_run("mn inner", cases);
}
