/* SPDX-License-Identifier: BSD-3-Clause */
/* Which rule a packet matches, by table: both families, order, protocol, ports, fragments. */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/policy.h"

#include <errno.h>

#define COA "198.51.100.7"

static struct rig rig;
static struct node *node; /* 1 */

/* --- rules and packets by text ------------------------------------------------------------------
 */

/* "10.1.0.0/16 2001:db8::/32 :80 :1024-2047" */
static struct policy_end end_of(const char *text)
{
	struct policy_end end = {0};
	char word[64];
	int used;

	for (; sscanf(text, " %63s%n", word, &used) == 1; text += used) {
		unsigned first, last;

		if (strcmp(word, ":opaque") == 0) {
			end.opaque = true;
			continue;
		}
		if (word[0] != ':' || sscanf(word, ":%u", &first) != 1) {
			end.prefixes[end.n_prefixes++] = rig_prefix(word);
			continue;
		}
		if (sscanf(word, ":%*u-%u", &last) != 1)
			last = first;
		end.ports[end.n_ports++] = (struct policy_ports){(uint16_t)first, (uint16_t)last};
	}
	return end;
}

static struct policy_rule rule_of(
	enum policy_action action, bool inbound, const char *from, int protocol, const char *to)
{
	return (struct policy_rule){.action = (uint8_t)action,
		.inbound = inbound,
		.protocol = (uint16_t)(protocol < 0 ? POLICY_ANY_PROTOCOL : protocol),
		.source = end_of(from),
		.destination = end_of(to)};
}

static size_t v6_packet(uint8_t *ip, const char *src, const char *dst, uint8_t next_header,
	const uint8_t *payload, size_t len)
{
	struct ip_addr from = rig_addr(src), to = rig_addr(dst);

	memset(ip, 0, 40);
	ip[0] = 0x60;
	wire_store_u16(ip + 4, (uint16_t)len);
	ip[6] = next_header;
	ip[7] = 64;
	memcpy(ip + 8, from.bytes, 16);
	memcpy(ip + 24, to.bytes, 16);
	memcpy(ip + 40, payload, len);
	return 40 + len;
}

/* Of 8 bytes behind the header, more flag or not; offset in bytes. */
static size_t packet_of(uint8_t *ip, const char *src, unsigned src_port, uint8_t protocol,
	const char *dst, unsigned dst_port, unsigned offset, bool more)
{
	const bool v6 = strchr(src, ':') != NULL;
	uint8_t payload[16] = {0};
	size_t at = v6 && (offset != 0 || more) ? 8 : 0, len;

	wire_store_u16(payload + at, (uint16_t)src_port);
	wire_store_u16(payload + at + 2, (uint16_t)dst_port);
	if (at != 0) {
		payload[0] = protocol;
		wire_store_u16(payload + 2, (uint16_t)(offset | more));
	}
	if (v6)
		return v6_packet(ip, src, dst, at != 0 ? 44 : protocol, payload, at + 8);
	len = rig_udp(ip, src, 1, dst, 2, 0);
	memcpy(ip + 20, payload, 8);
	ip[9] = protocol;
	wire_store_u16(ip + 6, (uint16_t)(offset / 8 | (more ? IPV4_FLAG_MF : 0)));
	rig_checksum(ip);
	return len;
}

/* --- the first that matches ---------------------------------------------------------------------
 */

static void test_match(void)
{
	const struct policy_rule rules[] = {
		/* 0 */ rule_of(POLICY_PROTECT, false, "", IPPROTO_TCP, "10.1.0.10/32 :443"),
		/* 1 */ rule_of(POLICY_DISCARD, false, "10.2.0.0/24", -1, "10.1.0.0/24"),
		/* 2 */ rule_of(POLICY_DISCARD, true, "", IPPROTO_UDP, ":53 :1000-1999"),
		/* 3 */ rule_of(POLICY_DISCARD, true, ":80", IPPROTO_TCP, "10.0.0.0/8"),
		/* 4 */ rule_of(POLICY_DISCARD, true, "10.1.0.10/32 2001:db8:1::/48", -1, ""),
		/* 5 */ rule_of(POLICY_PROTECT, true, "::/0", IPPROTO_ICMPV6, ""),
		/* 6 */ rule_of(POLICY_DISCARD, true, "0.0.0.0/0", IPPROTO_ICMP, ""),
		/* 7 */ rule_of(POLICY_DISCARD, true, "2001:db8:2::7/128", -1, "2001:db8::/33"),
		/* 8 */ rule_of(POLICY_DISCARD, true, "", 132, ":0-65535"),
		/* 9 */ rule_of(POLICY_DISCARD, true, "", 33, ":opaque"),
	};
	enum { NONE = RTE_DIM(rules), IN = 1, OUT = 0, TCP = IPPROTO_TCP, UDP = IPPROTO_UDP };
	static const struct {
		const char *name;
		bool inbound;
		const char *src;
		unsigned src_port;
		uint8_t protocol;
		const char *dst;
		unsigned dst_port, offset;
		bool more;
		uint32_t rule;
	} rows[] = {
		{"first of two", OUT, "10.2.0.5", 9, TCP, "10.1.0.10", 443, 0, false, 0},
		{"other port", OUT, "10.2.0.5", 443, TCP, "10.1.0.10", 442, 0, false, 1},
		{"other protocol", OUT, "10.2.0.5", 9, UDP, "10.1.0.10", 443, 0, false, 1},
		{"first by port from elsewhere", OUT, "10.9.0.5", 9, TCP, "10.1.0.10", 443, 0,
			false, 0},
		{"no prefix of the source", OUT, "10.2.1.5", 9, TCP, "10.1.0.11", 443, 0, false,
			NONE},
		{"last address of a prefix", OUT, "10.2.0.255", 9, TCP, "10.1.0.255", 1, 0, false,
			1},
		{"address behind it", OUT, "10.2.0.255", 9, TCP, "10.1.1.0", 1, 0, false, NONE},
		{"other direction", IN, "10.2.0.5", 9, TCP, "10.1.0.10", 443, 0, false, NONE},
		{"port alone", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 53, 0, false, 2},
		{"port alone, IPv6", IN, "2001:db8:9::1", 9, UDP, "2001:db8::1", 53, 0, false, 2},
		{"below a range", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 999, 0, false, NONE},
		{"begin of a range", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 1000, 0, false, 2},
		{"end of a range", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 1999, 0, false, 2},
		{"above a range", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 2000, 0, false, NONE},
		{"source port", IN, "192.0.2.9", 80, TCP, "10.2.0.5", 7, 0, false, 3},
		{"it is no destination port", IN, "192.0.2.9", 7, TCP, "10.2.0.5", 80, 0, false,
			NONE},
		{"first fragment", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 53, 0, true, 2},
		{"later fragment", IN, "192.0.2.9", 9, UDP, "10.2.0.5", 53, 8, false, NONE},
		{"later fragment, any port", IN, "10.1.0.10", 9, UDP, "10.2.0.5", 53, 8, true, 4},
		{"first fragment, IPv6", IN, "2001:db8:9::1", 9, UDP, "2001:db8::1", 53, 0, true,
			2},
		{"later fragment, IPv6", IN, "2001:db8:9::1", 9, UDP, "2001:db8::1", 53, 8, false,
			NONE},
		{"later fragment, any port, IPv6", IN, "2001:db8:1::1", 9, UDP, "2001:db8::1", 53,
			8, false, 4},
		{"a range of all is not any", IN, "192.0.2.9", 9, 132, "10.2.0.5", 7, 8, false,
			NONE},
		{"a range of all", IN, "192.0.2.9", 0, 132, "10.2.0.5", 65535, 0, false, 8},
		{"opaque, a fragment", IN, "192.0.2.9", 9, 33, "10.2.0.5", 7, 8, false, 9},
		{"opaque, the first", IN, "192.0.2.9", 9, 33, "10.2.0.5", 7, 0, true, NONE},
		{"opaque, IPv6", IN, "2001:db8:9::1", 9, 33, "2001:db8::1", 7, 8, true, 9},
		{"opaque, IPv6, the first", IN, "2001:db8:9::1", 9, 33, "2001:db8::1", 7, 0, true,
			NONE},
		{"second prefix", IN, "2001:db8:1:ffff::1", 9, TCP, "2001:db8::1", 7, 0, false, 4},
		{"::/0 is IPv6 alone", IN, "192.0.2.9", 9, IPPROTO_ICMPV6, "10.2.0.5", 0, 0, false,
			NONE},
		{"::/0", IN, "2001:db8:9::1", 9, IPPROTO_ICMPV6, "2001:db8::1", 0, 0, false, 5},
		{"0.0.0.0/0 is IPv4 alone", IN, "2001:db8:9::1", 9, IPPROTO_ICMP, "2001:db8::1", 0,
			0, false, NONE},
		{"0.0.0.0/0", IN, "192.0.2.9", 9, IPPROTO_ICMP, "10.2.0.5", 0, 0, false, 6},
		{"bits below 64", IN, "2001:db8:2::7", 9, TCP, "2001:db8:7fff::1", 0, 0, false, 7},
		{"bit 33", IN, "2001:db8:2::7", 9, TCP, "2001:db8:8000::1", 0, 0, false, NONE},
		{"bit 128", IN, "2001:db8:2::6", 9, TCP, "2001:db8:7fff::1", 0, 0, false, NONE},
	};
	struct policy *policy = policy_new(rules, RTE_DIM(rules), 3);
	uint64_t sum = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(policy);
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct policy_packet packet;
		uint8_t ip[RIG_FRAME_MAX];
		size_t len = packet_of(ip, rows[i].src, rows[i].src_port, rows[i].protocol,
			rows[i].dst, rows[i].dst_port, rows[i].offset, rows[i].more);
		uint32_t rule;

		CHECK_ROW(rows[i].name, policy_read(ip, (uint32_t)len, &packet) == VERDICT_OK);
		rule = policy_match(policy, rows[i].inbound, &packet);
		CHECK_ROW(rows[i].name, rule == rows[i].rule);
		CHECK_ROW(
			rows[i].name, policy_action(policy, rule) ==
					      (rule == NONE ? POLICY_PROTECT : rules[rule].action));
		policy_hit(policy, (uint32_t)i % 3, rows[i].inbound, rule);
	}
	for (uint32_t i = 0; i < RTE_DIM(rules); i++) {
		uint64_t wanted = 0;

		for (size_t k = 0; k < RTE_DIM(rows); k++)
			wanted += rows[k].rule == i;
		CU_ASSERT_EQUAL(policy_hits(policy, i), wanted);
		CU_ASSERT(wanted != 0); /* each rule has a row */
		sum += wanted;
	}
	CU_ASSERT_EQUAL(policy_rest(policy, false), 2);
	CU_ASSERT_EQUAL(sum + 2 + policy_rest(policy, true), RTE_DIM(rows));
	policy_free(policy);
}

/* What cannot be read is said, and no byte behind the end counts. */
static void test_read(void)
{
	struct policy_packet packet;
	uint8_t ip[RIG_FRAME_MAX];
	size_t len = packet_of(ip, "192.0.2.9", 7, IPPROTO_TCP, "10.2.0.5", 8, 0, false);

	CU_ASSERT(policy_read(ip, 0, &packet) == VERDICT_RUNT);
	CU_ASSERT(policy_read(ip, 19, &packet) == VERDICT_RUNT);
	CU_ASSERT(policy_read(ip, (uint32_t)len - 1, &packet) == VERDICT_RUNT);
	CU_ASSERT(policy_read(ip, (uint32_t)len, &packet) == VERDICT_OK);
	CU_ASSERT(packet.has_ports && packet.source_port == 7 && packet.destination_port == 8);
	for (uint16_t left = 0; left <= 4; left++) { /* ports cut off */
		wire_store_u16(ip + 2, (uint16_t)(20 + left));
		rig_checksum(ip);
		CU_ASSERT(policy_read(ip, (uint32_t)len, &packet) == VERDICT_OK);
		CU_ASSERT(packet.has_ports == (left == 4));
	}
	ip[0] = 0x46;
	CU_ASSERT(policy_read(ip, (uint32_t)len, &packet) == VERDICT_BAD_HEADER);
	len = packet_of(ip, "2001:db8::1", 7, IPPROTO_TCP, "2001:db8::2", 8, 0, true);
	CU_ASSERT(policy_read(ip, 39, &packet) == VERDICT_RUNT);
	CU_ASSERT(policy_read(ip, (uint32_t)len - 1, &packet) == VERDICT_RUNT);
	CU_ASSERT(policy_read(ip, (uint32_t)len, &packet) == VERDICT_OK);
	CU_ASSERT(packet.has_ports && packet.upper_at == 48);
	wire_store_u16(ip + 4, 8 + 3); /* ports cut off */
	CU_ASSERT(policy_read(ip, (uint32_t)len, &packet) == VERDICT_OK && !packet.has_ports);
	wire_store_u16(ip + 4, 7); /* the fragment header, too */
	CU_ASSERT(policy_read(ip, (uint32_t)len, &packet) == VERDICT_RUNT);
}

/* --- in force -----------------------------------------------------------------------------------
 */

static void use(const struct policy_rule *rules, uint32_t n)
{
	struct policy *policy = policy_new(rules, n, 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(policy);
	CU_ASSERT_EQUAL_FATAL(dataplane_policy_use(rig.dp, policy), 0);
}

static void turns(void)
{
	for (int i = 0; i < 3; i++)
		rig_turn(&rig);
}

static void forget(void *owner, void *object, bool flag)
{
	(void)owner;
	(void)object;
	(void)flag;
}

static void test_use(void)
{
	struct policy_rule rules[2] = {
		rule_of(POLICY_DISCARD, false, "", IPPROTO_TCP, ""),
		rule_of(POLICY_DISCARD, true, "", IPPROTO_TCP, ""),
	};
	const struct policy *first;
	struct policy *refused;

	use(rules, 0);
	CU_ASSERT_PTR_NULL(dataplane_policy(rig.dp));
	use(rules, 2);
	first = dataplane_policy(rig.dp);
	policy_hit(first, 0, true, 1);
	use(rules, 2); /* the same: hits go on */
	CU_ASSERT_PTR_EQUAL(dataplane_policy(rig.dp), first);
	CU_ASSERT_EQUAL(policy_hits(dataplane_policy(rig.dp), 1), 1);
	rules[1].destination = end_of(":1");
	use(rules, 2);
	CU_ASSERT_EQUAL(policy_hits(dataplane_policy(rig.dp), 1), 0);
	CU_ASSERT_EQUAL(rcu_waiting(&rig.dp->rcu), 1);
	turns();
	CU_ASSERT_EQUAL(rcu_waiting(&rig.dp->rcu), 0);
	/* No room for what would be retired. */
	first = dataplane_policy(rig.dp);
	refused = policy_new(rules, 1, 1);
	for (uint32_t i = 0; i < rig.dp->rcu.capacity; i++)
		rcu_retire(&rig.dp->rcu, forget, NULL, NULL, false);
	CU_ASSERT_EQUAL(dataplane_policy_use(rig.dp, refused), -EAGAIN);
	CU_ASSERT_PTR_EQUAL(dataplane_policy(rig.dp), first);
	turns();
	CU_ASSERT_EQUAL(dataplane_policy_use(rig.dp, refused), 0);
	use(NULL, 0);
	CU_ASSERT_PTR_NULL(dataplane_policy(rig.dp));
	turns();
}

/* --- on the way ---------------------------------------------------------------------------------
 */

enum way { PLAIN, TUNNEL, REGISTRATION };

/* A packet of node 1, or for it, through the worker: as it is, or in the home agent's tunnel. */
static void test_protected(void)
{
	const struct policy_rule rules[] = {
		rule_of(POLICY_PROTECT, true, "10.1.0.10/32", IPPROTO_UDP, "10.2.0.5/32 :8"),
		rule_of(POLICY_DISCARD, true, "", IPPROTO_UDP, "10.2.0.5/32"),
		rule_of(POLICY_DISCARD, true, "", IPPROTO_UDP, ":434"),
		rule_of(POLICY_DISCARD, false, "10.2.0.5/32 :1", IPPROTO_UDP, "10.1.0.10/32"),
		rule_of(POLICY_DISCARD, false, "10.2.0.6/32", -1, "198.51.100.7/32"),
		/* Of a tunnel it is what is inside that counts. */
		rule_of(POLICY_DISCARD, false, "", 4, ""),
		rule_of(POLICY_DISCARD, true, "", 4, ""),
	};
	static const struct {
		const char *name;
		bool inbound;
		enum way way;
		const char *src;
		uint16_t src_port;
		const char *dst;
		uint16_t dst_port;
		enum verdict verdict;
		int rule; /* hit; -1: none, -2: not looked at */
	} rows[] = {
		{"in, before the rule that discards", true, PLAIN, "10.1.0.10", 7, "10.2.0.5", 8,
			VERDICT_OK, 0},
		{"in, discarded", true, PLAIN, "10.1.0.10", 7, "10.2.0.5", 9, VERDICT_POLICY, 1},
		{"in, no rule", true, PLAIN, "10.1.0.10", 7, "10.2.0.1", 9, VERDICT_OK, -1},
		{"in, tunnel", true, TUNNEL, "10.1.0.10", 7, "10.2.0.5", 9, VERDICT_POLICY, 1},
		{"in, tunnel, let through", true, TUNNEL, "10.1.0.10", 7, "10.2.0.5", 8, VERDICT_OK,
			0},
		{"in, tunnel, no rule", true, TUNNEL, "10.1.0.10", 7, "10.2.0.6", 9, VERDICT_OK,
			-1},
		{"in, another's source first", true, PLAIN, "10.1.0.11", 7, "10.2.0.5", 9,
			VERDICT_INNER_SOURCE, -2},
		{"a registration is not the rules'", true, REGISTRATION, NULL, 0, NULL, 0,
			VERDICT_PUNTED, -2},
		{"out, tunnel, discarded", false, TUNNEL, "10.2.0.5", 1, "10.1.0.10", 9,
			VERDICT_POLICY, 3},
		{"out, tunnel, no rule", false, TUNNEL, "10.2.0.5", 2, "10.1.0.10", 9, VERDICT_OK,
			-1},
		{"out, to the care-of address", false, PLAIN, "10.2.0.6", 2, COA, 9, VERDICT_POLICY,
			4},
		{"out, to it, no rule", false, PLAIN, "10.2.0.5", 1, COA, 9, VERDICT_OK, -1},
		{"out, no SA", false, PLAIN, "10.2.0.6", 2, "198.51.100.8", 9, VERDICT_NO_SA_OUT,
			-2},
	};
	uint64_t hits[RTE_DIM(rules)] = {0}, rest[2] = {0};
	const struct policy *policy;

	use(rules, RTE_DIM(rules));
	policy = dataplane_policy(rig.dp);
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const enum dp_port in = rows[i].inbound ? DP_OUTSIDE : DP_INSIDE;
		uint8_t ip[RIG_FRAME_MAX], inner[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct dp_verdicts before, after;
		struct punt punt;
		size_t len;

		if (rows[i].way == REGISTRATION) {
			len = rig_rrq(inner, COA, "10.1.0.1", "10.1.0.10", COA);
		} else {
			len = rig_udp(inner, rows[i].src, rows[i].src_port, rows[i].dst,
				rows[i].dst_port, 10);
		}
		if (rows[i].way == TUNNEL) {
			memcpy(frame, inner, len);
			len = rows[i].inbound ? rig_ipip(inner, COA, "10.1.0.1", frame, len)
					      : rig_ipip(inner, "10.1.0.1", COA, frame, len);
		}
		if (rows[i].inbound)
			len = rig_seal(&rig, ip, 1, COA, inner, len);
		else
			memcpy(ip, inner, len);
		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, in, ip, len);
		rig_turn(&rig);
		dataplane_verdicts(rig.dp, &after);
		if (rows[i].inbound)
			CHECK_ROW(rows[i].name,
				after.in[rows[i].verdict] == before.in[rows[i].verdict] + 1);
		else
			CHECK_ROW(rows[i].name,
				after.out[rows[i].verdict] == before.out[rows[i].verdict] + 1);
		CHECK_ROW(rows[i].name, (rig_pop(&rig, in == DP_INSIDE ? DP_OUTSIDE : DP_INSIDE,
						 frame) != 0) == (rows[i].verdict == VERDICT_OK));
		if (dataplane_punt_burst(rig.dp, &punt, 1) != 0)
			dataplane_punt_done(rig.dp, &punt);
		if (rows[i].rule >= 0)
			hits[rows[i].rule]++;
		rest[rows[i].inbound] += rows[i].rule == -1;
		for (uint32_t k = 0; k < RTE_DIM(rules); k++)
			CHECK_ROW(rows[i].name, policy_hits(policy, k) == hits[k]);
		CHECK_ROW(rows[i].name, policy_rest(policy, false) == rest[false]);
		CHECK_ROW(rows[i].name, policy_rest(policy, true) == rest[true]);
	}
	use(NULL, 0);
	turns();
}

/* --- in clear -----------------------------------------------------------------------------------
 */

#define HOST "203.0.113.99" /* outside, and no node's */
#define HOST_V6 "2001:db8:0:9::9"
#define ROUTE_FIRST "\x83\x07\x04\xcb\x00\x71\x09\x00"

static size_t clear_packet(uint8_t *ip, const char *src, uint16_t src_port, uint8_t protocol,
	const char *dst, uint16_t dst_port)
{
	return packet_of(ip, src, src_port, protocol, dst, dst_port, 0, false);
}

static const struct policy_rule clear_rules[] = {
	/* Wider than control allows: what is left must be the worker's own doing. */
	{.action = POLICY_DISCARD, .inbound = true, .protocol = 6},
	{.action = POLICY_BYPASS, .inbound = true, .protocol = POLICY_ANY_PROTOCOL},
	{.action = POLICY_DISCARD, .inbound = false, .protocol = 6},
	{.action = POLICY_BYPASS, .inbound = false, .protocol = POLICY_ANY_PROTOCOL},
};

static void test_clear(void)
{
	static const struct {
		const char *name;
		bool inbound;
		const char *src;
		uint16_t src_port;
		uint8_t protocol;
		const char *dst;
		uint16_t dst_port;
		enum verdict verdict;
	} rows[] = {
		{"out", false, "10.2.0.5", 7, 17, HOST, 53, VERDICT_OK},
		{"in", true, HOST, 53, 17, "10.2.0.5", 7, VERDICT_OK},
		{"out, discarded first", false, "10.2.0.5", 7, 6, HOST, 53, VERDICT_NO_SA_OUT},
		{"in, discarded first", true, HOST, 53, 6, "10.2.0.5", 7, VERDICT_NOT_FOR_US},
		{"out, IP-in-IP", false, "10.2.0.5", 7, 4, HOST, 53, VERDICT_NO_SA_OUT},
		{"out, IPv6 in IP", false, "10.2.0.5", 7, 41, HOST, 53, VERDICT_NO_SA_OUT},
		{"in, IP-in-IP", true, HOST, 7, 4, "10.2.0.5", 53, VERDICT_NOT_FOR_US},
		{"in, IPv6 in IP", true, HOST, 7, 41, "10.2.0.5", 53, VERDICT_NOT_FOR_US},
		{"out, registration", false, "10.2.0.5", 7, 17, HOST, 434, VERDICT_NO_SA_OUT},
		{"out, its reply", false, "10.2.0.5", 434, 17, HOST, 7, VERDICT_NO_SA_OUT},
		{"in, registration", true, HOST, 7, 17, "10.1.0.1", 434, VERDICT_NOT_FOR_US},
		{"in, its reply", true, HOST, 434, 17, "10.2.0.5", 7, VERDICT_NOT_FOR_US},
		{"out, to a home address", false, "10.2.0.5", 7, 17, "10.1.0.10", 53,
			VERDICT_NO_SA_OUT},
		{"out, from a home address", false, "10.1.0.10", 7, 17, HOST, 53,
			VERDICT_NO_SA_OUT},
		{"out, from a care-of address", false, COA, 7, 17, HOST, 53, VERDICT_NO_SA_OUT},
		{"in, to a home address", true, HOST, 7, 17, "10.1.0.10", 53, VERDICT_NOT_FOR_US},
		{"in, from a home address", true, "10.1.0.10", 7, 17, "10.2.0.5", 53,
			VERDICT_NOT_FOR_US},
		{"in, from a care-of address", true, COA, 7, 17, "10.2.0.5", 53,
			VERDICT_NOT_FOR_US},
		{"in, to a care-of address", true, HOST, 7, 17, COA, 53, VERDICT_NOT_FOR_US},
		{"out, to the gateway's outside", false, "10.2.0.5", 7, 17, "192.0.2.1", 53,
			VERDICT_NO_SA_OUT},
		{"in, to the gateway's inside", true, HOST, 7, 17, "10.2.0.254", 53,
			VERDICT_NOT_FOR_US},
		{"in, from the gateway's inside", true, "10.2.0.254", 7, 17, "10.2.0.5", 53,
			VERDICT_NOT_FOR_US},
		{"in, from nowhere", true, "127.0.0.1", 7, 17, "10.2.0.5", 53, VERDICT_NOT_FOR_US},
		{"in, to a group", true, HOST, 7, 17, "224.0.0.5", 53, VERDICT_NOT_FOR_US},
		{"in, IPv6, a tunnel", true, "2001:db8:9::9", 7, 4, "2001:db8:9::5", 53,
			VERDICT_NOT_FOR_US},
		{"in, IPv6, of the link", true, "fe80::9", 7, 17, "2001:db8:9::5", 53,
			VERDICT_NOT_FOR_US},
		{"in, IPv6", true, "2001:db8:9::9", 7, 17, "2001:db8:9::5", 53, VERDICT_NO_ROUTE},
		{"out, IPv6", false, "2001:db8:9::5", 7, 17, "2001:db8:9::9", 53, VERDICT_NO_ROUTE},
		{"out, to it by an SA", false, "10.2.0.5", 7, 17, COA, 53, VERDICT_POLICY},
	};

	use(clear_rules, RTE_DIM(clear_rules));
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const enum dp_port in = rows[i].inbound ? DP_OUTSIDE : DP_INSIDE;
		uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct dp_verdicts before, after;
		size_t got, len = clear_packet(ip, rows[i].src, rows[i].src_port, rows[i].protocol,
				    rows[i].dst, rows[i].dst_port);

		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, in, ip, len);
		rig_turn(&rig);
		dataplane_verdicts(rig.dp, &after);
		CHECK_ROW(rows[i].name,
			(rows[i].inbound ? after.in[rows[i].verdict] - before.in[rows[i].verdict]
					 : after.out[rows[i].verdict] -
						   before.out[rows[i].verdict]) == 1);
		got = rig_pop(&rig, in == DP_INSIDE ? DP_OUTSIDE : DP_INSIDE, frame);
		CHECK_ROW(rows[i].name, (got != 0) == (rows[i].verdict == VERDICT_OK));
		if (got == 0)
			continue;
		ip[8]--; /* as a router passes it on, and nothing else */
		rig_checksum(ip);
		CHECK_ROW(rows[i].name, got == len + RTE_ETHER_HDR_LEN &&
						memcmp(frame + RTE_ETHER_HDR_LEN, ip, len) == 0);
	}
	CU_ASSERT_EQUAL(policy_hits(dataplane_policy(rig.dp), 1), 2);
	CU_ASSERT_EQUAL(policy_hits(dataplane_policy(rig.dp), 3), 3);
	use(NULL, 0);
	turns();
}

/* Odd packets, and what an SA has. */
static void test_clear_odd(void)
{
	uint8_t ip[RIG_FRAME_MAX], inner[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct dp_verdicts before, after;
	size_t len;

	use(clear_rules, RTE_DIM(clear_rules));
	dataplane_verdicts(rig.dp, &before);
	/* TTL used up, a source route, an address of somebody else's MAC; then by an SA. */
	len = clear_packet(ip, HOST, 53, 17, "10.2.0.5", 7);
	ip[8] = 1;
	rig_checksum(ip);
	rig_push(&rig, DP_OUTSIDE, ip, len);
	rig_turn(&rig);
	len = clear_packet(ip, HOST, 53, 17, "10.2.0.5", 7);
	memmove(ip + 28, ip + 20, len - 20);
	memcpy(ip + 20, ROUTE_FIRST, 8);
	ip[0] = 0x47;
	wire_store_u16(ip + 2, (uint16_t)(len + 8));
	wire_store_u16(ip + 10, 0);
	wire_store_u16(ip + 10, inet_fold(inet_sum(ip, 28, 0)));
	rig_push(&rig, DP_OUTSIDE, ip, len + 8);
	rig_turn(&rig);
	len = clear_packet(ip, HOST, 53, 17, "10.2.0.5", 7);
	memset(frame, 2, 12);
	wire_store_u16(frame + 12, 0x0800);
	memcpy(frame + 14, ip, len);
	rig_push_frame(&rig, DP_OUTSIDE, frame, len + 14);
	rig_turn(&rig);
	len = rig_udp(inner, "10.1.0.10", 7, "10.2.0.5", 53, 10);
	len = rig_seal(&rig, ip, 1, COA, inner, len);
	rig_push(&rig, DP_OUTSIDE, ip, len);
	rig_turn(&rig);
	dataplane_verdicts(rig.dp, &after);
	CU_ASSERT_EQUAL(after.in[VERDICT_TTL], before.in[VERDICT_TTL] + 1);
	CU_ASSERT_EQUAL(after.in[VERDICT_SOURCE_ROUTE], before.in[VERDICT_SOURCE_ROUTE] + 1);
	CU_ASSERT_EQUAL(after.in[VERDICT_NOT_FOR_US], before.in[VERDICT_NOT_FOR_US] + 1);
	CU_ASSERT_EQUAL(after.in[VERDICT_POLICY], before.in[VERDICT_POLICY] + 1);
	CU_ASSERT_EQUAL(rig_pop(&rig, DP_INSIDE, frame), 0);
	use(NULL, 0);
	turns();
}

/* A whole burst: what goes by an SA and what goes in clear do not get into each other's way. */
static void test_clear_among_others(void)
{
	uint8_t ip[RIG_FRAME_MAX], inner[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct rig_opened opened;
	const struct policy_rule rule = rule_of(
		POLICY_BYPASS, false, "10.2.0.5/32", IPPROTO_UDP, HOST "/32");
	unsigned sealed = 0, clear = 0;
	size_t len;

	use(&rule, 1);
	for (unsigned i = 0; i < 24; i++) {
		len = rig_udp(inner, "10.2.0.5", 1, "10.1.0.10", 2, 10 + i);
		if (i % 3 == 0)
			len = rig_ipip(ip, "10.1.0.1", COA, inner, len);
		else
			len = rig_udp(ip, "10.2.0.5", 1, i % 3 == 1 ? HOST : "203.0.113.98", 2, i);
		rig_push(&rig, DP_INSIDE, ip, len);
	}
	rig_turn(&rig);
	while ((len = rig_pop(&rig, DP_OUTSIDE, frame)) != 0) {
		const uint8_t *packet = frame + RTE_ETHER_HDR_LEN;

		if (packet[9] == 50)
			sealed += rig_unseal(1, packet, len - RTE_ETHER_HDR_LEN, &opened);
		else
			clear += packet[9] == 17 && packet[19] == 99;
	}
	CU_ASSERT_EQUAL(sealed, 8);
	CU_ASSERT_EQUAL(clear, 8);
	use(NULL, 0);
	turns();
}

/* A host that no node is passes, and nothing of a node's or ours. */
static void test_clear_v6(void)
{
	static const struct {
		const char *name;
		bool inbound;
		const char *src, *dst;
		enum verdict verdict;
	} rows[] = {
		{"out", false, RIG_V6_CORR, HOST_V6, VERDICT_OK},
		{"in", true, HOST_V6, RIG_V6_CORR, VERDICT_OK},
		{"out, to a home address", false, RIG_V6_CORR, RIG_V6_HOA, VERDICT_NO_SA_OUT},
		{"out, from a home address", false, RIG_V6_HOA, HOST_V6, VERDICT_NO_SA_OUT},
		{"out, from a care-of address", false, RIG_V6_COA, HOST_V6, VERDICT_NO_SA_OUT},
		{"in, to a home address", true, HOST_V6, RIG_V6_HOA, VERDICT_NOT_FOR_US},
		{"in, from a home address", true, RIG_V6_HOA, RIG_V6_CORR, VERDICT_NOT_FOR_US},
		{"in, from a care-of address", true, RIG_V6_COA, RIG_V6_CORR, VERDICT_NOT_FOR_US},
		{"in, to a care-of address", true, HOST_V6, RIG_V6_COA, VERDICT_NOT_FOR_US},
		{"in, to the gateway's inside", true, HOST_V6, RIG_V6_INSIDE, VERDICT_NOT_FOR_US},
		{"out, to the gateway's outside", false, RIG_V6_CORR, RIG_V6_US, VERDICT_NO_SA_OUT},
	};

	rig_node_del(&rig, node);
	rig_speak_v6(&rig);
	node = rig_node_add_v6(&rig, RIG_V6_COA);
	use(clear_rules, RTE_DIM(clear_rules));
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const enum dp_port in = rows[i].inbound ? DP_OUTSIDE : DP_INSIDE;
		uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct dp_verdicts before, after;
		size_t len = clear_packet(ip, rows[i].src, 7, 17, rows[i].dst, 53);

		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, in, ip, len);
		rig_turn(&rig);
		dataplane_verdicts(rig.dp, &after);
		CHECK_ROW(rows[i].name,
			(rows[i].inbound ? after.in[rows[i].verdict] - before.in[rows[i].verdict]
					 : after.out[rows[i].verdict] -
						   before.out[rows[i].verdict]) == 1);
		CHECK_ROW(rows[i].name, (rig_pop(&rig, in == DP_INSIDE ? DP_OUTSIDE : DP_INSIDE,
						 frame) != 0) == (rows[i].verdict == VERDICT_OK));
	}
	use(NULL, 0);
	turns();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"the first that matches", test_match},
		{"what is read", test_read},
		{"in force", test_use},
		{"packets with an SA", test_protected},
		{"packets in clear", test_clear},
		{"odd packets in clear", test_clear_odd},
		{"packets in clear among others", test_clear_among_others},
		{"IPv6 in clear", test_clear_v6},
		{NULL, NULL},
	};
	int code;

	rig_open(&rig, 1, 64);
	node = rig_node_add(&rig, 1, COA);
	code = unit_run("dataplane/policy", cases);
	rig_close(&rig);
	return code;
}
