/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each row is an inner packet that a node sends through its SA; it passes, is
 * punted for control, or breaks the rule that its verdict names. The node is at CoA A, came
 * from B less than the grace time ago.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/inner.h"
#include "dataplane/now.h"
#include "lib/challenge.h"
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "lib/wire.h"

#define A "198.51.100.7"
#define B "203.0.113.7"
#define NEW "203.0.113.77"
#define HOA "10.1.0.10"
#define OTHER_HOA "10.1.0.11"
#define HA "10.1.0.1"
#define OTHER_HA "10.1.0.2"
#define CORR "10.2.0.5"
#define RRQ_AT (IPV4_HDR_BYTES + UDP_HDR_BYTES)

static struct rig rig;
static struct node *node;
static uint64_t now;

enum { FOR_CONTROL = VERDICT_COUNT }; /* as an outcome: OK, and to be punted */

typedef size_t maker_fn(uint8_t *ip);

/* --- ordinary packets
 * ------------------------------------------------------------------------------ */

static size_t from(uint8_t *ip, const char *src)
{
	return rig_udp(ip, src, 1000, CORR, 2000, 32);
}
static size_t from_home(uint8_t *ip)
{
	return from(ip, HOA);
}
static size_t from_coa(uint8_t *ip)
{
	return from(ip, A);
}
static size_t from_former(uint8_t *ip)
{
	return from(ip, B);
}
static size_t from_new(uint8_t *ip)
{
	return from(ip, NEW);
}
static size_t from_other_home(uint8_t *ip)
{
	return from(ip, OTHER_HOA);
}
static size_t from_home_fragment(uint8_t *ip)
{
	size_t len = from(ip, HOA);

	wire_store_u16(ip + 6, IPV4_FLAG_MF | 5);
	rig_checksum(ip);
	return len;
}
static size_t from_us(uint8_t *ip)
{
	return from(ip, "10.2.0.254");
}
static size_t with_options(uint8_t *ip)
{
	size_t len = rig_udp(ip, HOA, 0x9404, CORR, 2000, 32);

	ip[0] = 0x46; /* the UDP header's first word stands in for an option: router alert */
	rig_checksum(ip);
	return len;
}
static size_t options_beyond_the_end(uint8_t *ip)
{
	size_t len = rig_udp(ip, HOA, 1000, CORR, 2000, 4);

	ip[0] = 0x4f;
	return len;
}

/* --- reverse tunnel
 * --------------------------------------------------------------------------------- */

static size_t tunnel(uint8_t *ip, const char *src, const char *dst, const char *inner_src)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_ipip(ip, src, dst, inner, from(inner, inner_src));
}
static size_t tunnel_good(uint8_t *ip)
{
	return tunnel(ip, A, HA, HOA);
}
static size_t tunnel_to_us(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	return rig_ipip(ip, A, HA, inner, rig_udp(inner, HOA, 1000, "10.2.0.254", 2000, 32));
}
static size_t tunnel_former(uint8_t *ip)
{
	return tunnel(ip, B, HA, HOA);
}
static size_t tunnel_new(uint8_t *ip)
{
	return tunnel(ip, NEW, HA, HOA);
}
static size_t tunnel_elsewhere(uint8_t *ip)
{
	return tunnel(ip, A, CORR, HOA);
}
static size_t tunnel_other_agent(uint8_t *ip)
{
	return tunnel(ip, A, OTHER_HA, HOA);
}
static size_t tunnel_of_another(uint8_t *ip)
{
	return tunnel(ip, A, HA, OTHER_HOA);
}
static size_t tunnel_of_the_coa(uint8_t *ip)
{
	return tunnel(ip, A, HA, A);
}
static size_t tunnel_from_home(uint8_t *ip)
{
	return tunnel(ip, HOA, HA, OTHER_HOA);
}
static size_t tunnel_users_own(uint8_t *ip)
{
	return tunnel(ip, HOA, CORR, "172.16.0.1");
}
static size_t tunnel_fragment(uint8_t *ip)
{
	size_t len = tunnel_good(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}
static size_t tunnel_empty(uint8_t *ip)
{
	uint8_t inner[19] = {0x45};

	return rig_ipip(ip, A, HA, inner, sizeof inner);
}

/* --- registrations
 * ---------------------------------------------------------------------------------- */

static size_t rrq_from_new(uint8_t *ip)
{
	return rig_rrq(ip, NEW, HA, HOA, NEW);
}
static size_t rrq_from_coa(uint8_t *ip)
{
	return rig_rrq(ip, A, HA, HOA, A);
}
static size_t rrq_from_home(uint8_t *ip)
{
	return rig_rrq(ip, HOA, HA, HOA, HOA);
}
static size_t rrq_source_not_coa(uint8_t *ip)
{
	return rig_rrq(ip, HOA, HA, HOA, NEW);
}
static size_t rrq_other_source(uint8_t *ip)
{
	return rig_rrq(ip, A, HA, HOA, NEW);
}
static size_t rrq_for_another(uint8_t *ip)
{
	return rig_rrq(ip, NEW, HA, OTHER_HOA, NEW);
}
static size_t rrq_to_other_agent(uint8_t *ip)
{
	return rig_rrq(ip, NEW, OTHER_HA, HOA, NEW);
}
static size_t rrq_to_a_host(uint8_t *ip)
{
	return rig_rrq(ip, HOA, CORR, HOA, HOA);
}
static size_t rrq_typed(uint8_t *ip, uint8_t type)
{
	size_t len = rrq_from_new(ip);

	ip[RRQ_AT] = type;
	return len;
}
static size_t rrq_is_reply(uint8_t *ip)
{
	return rrq_typed(ip, MIP4_TYPE_RRP);
}
static size_t rrq_is_tunnel_data(uint8_t *ip)
{
	return rrq_typed(ip, 4); /* RFC 3519 */
}
static size_t rrq_cut(uint8_t *ip, size_t rrq_bytes)
{
	rrq_from_new(ip);
	wire_store_u16(ip + 2, (uint16_t)(RRQ_AT + rrq_bytes));
	wire_store_u16(ip + 24, (uint16_t)(UDP_HDR_BYTES + rrq_bytes));
	rig_checksum(ip);
	return RRQ_AT + rrq_bytes;
}
static size_t rrq_short(uint8_t *ip)
{
	return rrq_cut(ip, 23);
}
static size_t rrq_bare(uint8_t *ip)
{
	return rrq_cut(ip, 24);
}
static size_t rrq_udp_len_beyond(uint8_t *ip)
{
	size_t len = rrq_cut(ip, 24);

	wire_store_u16(ip + 24, UDP_HDR_BYTES + 25);
	return len;
}
static size_t rrq_first_fragment(uint8_t *ip)
{
	size_t len = rrq_from_coa(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}
static size_t udp_434_rubbish(uint8_t *ip)
{
	return rig_udp(ip, HOA, 434, HA, 434, 64);
}
static size_t tcp_434(uint8_t *ip)
{
	size_t len = rig_udp(ip, HOA, 434, HA, 434, 64);

	ip[9] = 6;
	rig_checksum(ip);
	return len;
}

static const struct {
	const char *name;
	maker_fn *make;
	int strict, lax; /* outcome with and without NODE_STRICT_INNER_SOURCE */
} rows[] = {
	{"home address", from_home, VERDICT_OK, VERDICT_OK},
	{"care-of address", from_coa, VERDICT_OK, VERDICT_OK},
	{"former one in grace", from_former, VERDICT_OK, VERDICT_OK},
	{"a new address", from_new, VERDICT_INNER_SOURCE, VERDICT_OK},
	{"another node's home address", from_other_home, VERDICT_INNER_SOURCE, VERDICT_OK},
	{"a later fragment", from_home_fragment, VERDICT_OK, VERDICT_OK},
	{"our own address", from_us, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
	{"options", with_options, VERDICT_OK, VERDICT_OK},
	{"options beyond the end", options_beyond_the_end, VERDICT_BAD_HEADER, VERDICT_BAD_HEADER},

	{"reverse tunnel", tunnel_good, VERDICT_OK, VERDICT_OK},
	{"reverse tunnel from the former CoA", tunnel_former, VERDICT_OK, VERDICT_OK},
	{"reverse tunnel from a new address", tunnel_new, VERDICT_INNER_SOURCE,
		VERDICT_INNER_SOURCE},
	{"reverse tunnel to the gateway", tunnel_to_us, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
	{"tunnel to a host", tunnel_elsewhere, VERDICT_INNER_SOURCE, VERDICT_INNER_SOURCE},
	{"tunnel to another agent", tunnel_other_agent, VERDICT_INNER_SOURCE, VERDICT_INNER_SOURCE},
	{"tunnelled source of another", tunnel_of_another, VERDICT_INNER_SOURCE,
		VERDICT_INNER_SOURCE},
	{"tunnelled source is the CoA", tunnel_of_the_coa, VERDICT_INNER_SOURCE,
		VERDICT_INNER_SOURCE},
	{"tunnel from home address to agent", tunnel_from_home, VERDICT_INNER_SOURCE,
		VERDICT_INNER_SOURCE},
	{"the user's own tunnel", tunnel_users_own, VERDICT_OK, VERDICT_OK},
	{"fragment of the reverse tunnel", tunnel_fragment, VERDICT_FRAGMENT, VERDICT_FRAGMENT},
	{"reverse tunnel with 19 bytes", tunnel_empty, VERDICT_BAD_HEADER, VERDICT_BAD_HEADER},

	{"request from a new address", rrq_from_new, FOR_CONTROL, FOR_CONTROL},
	{"request from the CoA", rrq_from_coa, FOR_CONTROL, FOR_CONTROL},
	{"request from the home address", rrq_from_home, FOR_CONTROL, FOR_CONTROL},
	{"source is not the CoA asked for", rrq_source_not_coa, VERDICT_REGISTRATION,
		VERDICT_REGISTRATION},
	{"source is the old CoA", rrq_other_source, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"request for another", rrq_for_another, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"request to another agent", rrq_to_other_agent, VERDICT_REGISTRATION,
		VERDICT_REGISTRATION},
	{"request to a host", rrq_to_a_host, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"a reply", rrq_is_reply, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"tunnel data", rrq_is_tunnel_data, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"23 bytes", rrq_short, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"24 bytes", rrq_bare, FOR_CONTROL, FOR_CONTROL},
	{"UDP length beyond the packet", rrq_udp_len_beyond, VERDICT_REGISTRATION,
		VERDICT_REGISTRATION},
	{"first fragment", rrq_first_fragment, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"rubbish on 434", udp_434_rubbish, VERDICT_REGISTRATION, VERDICT_REGISTRATION},
	{"TCP 434", tcp_434, VERDICT_OK, VERDICT_OK},
};

static int outcome(maker_fn *make)
{
	uint8_t ip[RIG_FRAME_MAX];
	struct esp_pkt pkt = {.data = ip, .len = (uint32_t)make(ip)};
	bool for_control;
	enum verdict verdict;

	atomic_store(&node->registration_at_ns, 0);
	verdict = inner_check(rig.dp, node->sa_in[0], &pkt, now, &for_control);
	return verdict == VERDICT_OK && for_control ? (int)FOR_CONTROL : (int)verdict;
}

static void test_rows(void)
{
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		node->flags = NODE_STRICT_INNER_SOURCE;
		CHECK_ROW(rows[i].name, outcome(rows[i].make) == rows[i].strict);
		node->flags = 0;
		CHECK_ROW(rows[i].name, outcome(rows[i].make) == rows[i].lax);
	}
	node->flags = NODE_STRICT_INNER_SOURCE;
}

/* --- answers to the gateway --------------------------------------------------------------------
 */

static size_t answer(uint8_t *ip, const char *from_text, const char *to_text)
{
	const struct ip_addr from_addr = rig_addr(from_text), to = rig_addr(to_text);
	const uint8_t nonce[CHALLENGE_NONCE_BYTES] = {1, 2, 3};

	challenge_build(ip, &to, &from_addr, nonce, 0);
	if (!challenge_answer(ip, CHALLENGE_BYTES, &from_addr))
		abort();
	return CHALLENGE_BYTES;
}
static size_t answer_good(uint8_t *ip)
{
	return answer(ip, HOA, "10.2.0.254");
}
static size_t answer_from_coa(uint8_t *ip)
{
	return answer(ip, A, "10.2.0.254");
}
static size_t answer_of_another(uint8_t *ip)
{
	return answer(ip, OTHER_HOA, "10.2.0.254");
}
static size_t answer_to_a_host(uint8_t *ip)
{
	return answer(ip, HOA, CORR);
}
static size_t question_to_us(uint8_t *ip)
{
	size_t len = answer_good(ip);

	ip[IPV4_HDR_BYTES] = 8;
	return len;
}
static size_t answer_not_icmp(uint8_t *ip)
{
	size_t len = answer_good(ip);

	ip[9] = 17;
	rig_checksum(ip);
	return len;
}
static size_t answer_fragment(uint8_t *ip)
{
	size_t len = answer_good(ip);

	wire_store_u16(ip + 6, IPV4_FLAG_MF);
	rig_checksum(ip);
	return len;
}
static size_t answer_longer(uint8_t *ip)
{
	size_t len = answer_good(ip);

	wire_store_u16(ip + 2, (uint16_t)(len + 1));
	rig_checksum(ip);
	return len + 1;
}
static size_t answer_shorter(uint8_t *ip)
{
	size_t len = answer_good(ip);

	wire_store_u16(ip + 2, (uint16_t)(len - 1));
	rig_checksum(ip);
	return len - 1;
}
static size_t siu_to_us(uint8_t *ip)
{
	return rig_udp(ip, HOA, 4340, "10.2.0.254", 4340, 32 - UDP_HDR_BYTES);
}

/* Nothing else that a node says to the gateway itself passes, and of nodes whose profile does not
 * want answers not even those. */
static void test_answers(void)
{
	static const struct {
		const char *name;
		maker_fn *make;
		int wanted, unwanted;
	} answers[] = {
		{"answer", answer_good, FOR_CONTROL, VERDICT_BAD_ADDRESS},
		{"from the CoA", answer_from_coa, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"of another", answer_of_another, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"to a host", answer_to_a_host, VERDICT_OK, VERDICT_OK},
		{"question", question_to_us, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"not ICMP", answer_not_icmp, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"fragment", answer_fragment, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"longer", answer_longer, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"shorter", answer_shorter, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
		{"SIU", siu_to_us, VERDICT_BAD_ADDRESS, VERDICT_BAD_ADDRESS},
	};

	for (size_t i = 0; i < RTE_DIM(answers); i++) {
		node->flags = NODE_STRICT_INNER_SOURCE | NODE_RETURN_ROUTABILITY;
		CHECK_ROW(answers[i].name, outcome(answers[i].make) == answers[i].wanted);
		node->flags = NODE_STRICT_INNER_SOURCE;
		CHECK_ROW(answers[i].name, outcome(answers[i].make) == answers[i].unwanted);
	}
}

/* Answers are rationed with registrations. */
static void test_answers_are_rationed(void)
{
	unsigned passed = 0;

	node->flags |= NODE_RETURN_ROUTABILITY;
	atomic_store(&node->registration_at_ns, 0);
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t ip[RIG_FRAME_MAX];
		struct esp_pkt pkt = {.data = ip, .len = (uint32_t)answer_good(ip)};
		bool for_control;
		enum verdict verdict = inner_check(rig.dp, node->sa_in[0], &pkt, now, &for_control);

		passed += verdict == VERDICT_OK;
		CU_ASSERT(verdict == VERDICT_OK || verdict == VERDICT_RATE_LIMITED);
	}
	CU_ASSERT(passed == rig.dp->registration_burst_ns / rig.dp->registration_interval_ns);
	node->flags = NODE_STRICT_INNER_SOURCE;
}

static void test_after_grace(void)
{
	now += 2 * NS_PER_S;
	CU_ASSERT(outcome(from_former) == VERDICT_INNER_SOURCE);
	CU_ASSERT(outcome(tunnel_former) == VERDICT_INNER_SOURCE);
	CU_ASSERT(outcome(from_coa) == VERDICT_OK);
	now -= 2 * NS_PER_S;
}

/* Nothing is written outside the packet, and the TTL goes with its checksum. */
static void test_ttl(void)
{
	static const struct {
		uint8_t ttl;
		int want;
	} ttls[] = {{0, VERDICT_TTL}, {1, VERDICT_TTL}, {2, VERDICT_OK}, {255, VERDICT_OK}};

	for (size_t i = 0; i < RTE_DIM(ttls); i++) {
		for (uint32_t id = 0; id < 65536; id += 251) { /* many checksums */
			uint8_t ip[RIG_FRAME_MAX];
			struct esp_pkt pkt = {.data = ip, .len = (uint32_t)from_home(ip)};
			struct ipv4_view view;
			bool for_control;
			int got;

			wire_store_u16(ip + 4, (uint16_t)id);
			ip[8] = ttls[i].ttl;
			rig_checksum(ip);
			got = (int)inner_check(rig.dp, node->sa_in[0], &pkt, now, &for_control);
			CU_ASSERT(got == ttls[i].want);
			CU_ASSERT(got != VERDICT_OK ||
				  (ipv4_parse(ip, pkt.len, &view) && view.ttl == ttls[i].ttl - 1));
		}
	}
}

/* The punted packet is the datagram as sent, with who and from where. */
static void test_punted_registration(void)
{
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX];
	size_t len = rrq_from_new(inner);
	struct punt punt;
	struct ip_addr from_addr = rig_addr("192.0.2.200");

	atomic_store(&node->registration_at_ns, 0);
	rig_push(&rig, DP_OUTSIDE, ip, rig_seal(&rig, ip, 1, "192.0.2.200", inner, len));
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	CU_ASSERT(punt.reason == PUNT_REGISTRATION);
	CU_ASSERT(punt.port == DP_OUTSIDE);
	CU_ASSERT(punt.node == 1);
	CU_ASSERT(ip_addr_equal(&punt.observed.addr, &from_addr) && punt.observed.port == 0);
	CU_ASSERT(punt.rx_ns != 0);
	CU_ASSERT(punt.len == len);
	inner[8]--; /* it was forwarded: TTL */
	rig_checksum(inner);
	CU_ASSERT(memcmp(punt.data, inner, len) == 0);
	dataplane_punt_done(rig.dp, &punt);
}

/* A node whose home address is IPv6 has no IPv4 one: 0.0.0.0 is not it. */
static void test_home_in_ipv6(void)
{
	struct dp_node_params params = rig_node_params(2, "198.51.100.8");
	struct sa_params sa = rig_sa(2, true);
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX];
	struct esp_pkt pkt = {.data = ip};
	struct node *six;
	bool for_control;

	params.home_address = rig_addr("2001:db8::10");
	CU_ASSERT_FATAL(dataplane_node_add(rig.dp, &params, &six) == 0);
	CU_ASSERT_FATAL(dataplane_sa_in_add(rig.dp, six, &sa) == 0);
	pkt.len = (uint32_t)rig_ipip(
		ip, "198.51.100.8", HA, inner, rig_udp(inner, "0.0.0.0", 1000, CORR, 2000, 32));
	CU_ASSERT(inner_check(rig.dp, six->sa_in[0], &pkt, now, &for_control) ==
		  VERDICT_INNER_SOURCE);
	pkt.len = (uint32_t)rig_rrq(ip, "198.51.100.8", HA, "10.1.0.11", "198.51.100.8");
	memset(ip + RRQ_AT + 4, 0, 4); /* home address */
	CU_ASSERT(inner_check(rig.dp, six->sa_in[0], &pkt, now, &for_control) ==
		  VERDICT_REGISTRATION);
	rig_node_del(&rig, six);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"rules", test_rows},
		{"answers", test_answers},
		{"answers are rationed", test_answers_are_rationed},
		{"after the grace time", test_after_grace},
		{"TTL", test_ttl},
		{"punted registration", test_punted_registration},
		{"home address in IPv6", test_home_in_ipv6},
		{NULL, NULL},
	};
	struct path_params moved;
	int ret;

	rig_open(&rig, 1, 512);
	now = clock_mono_ns();
	node = rig_node_add(&rig, 1, B);
	moved = rig_path(A, B, now + 2 * NS_PER_S);
	if (dataplane_node_set_path(rig.dp, node, &moved) != 0)
		abort();
	ret = unit_run("dataplane: inner", cases);
	rig_close(&rig);
	return ret;
}
