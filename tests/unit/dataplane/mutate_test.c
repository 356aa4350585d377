/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: valid frames of every kind are damaged at random, from a fixed seed, in both
 * directions: bytes, lengths, and header checksums that are mended afterwards, so that damage gets
 * past the first check; from outside also within what a node seals, which is what a hostile node
 * can do. Whatever comes of it: each frame ends in one cell, nothing leaves the outside in clear,
 * and nothing reaches the inside, Linux or the home agent that must not.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/reassembly.h"
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "lib/wire.h"

#define COA "198.51.100.7"
#define HOA "10.1.0.10" /* of node 1 */
#define CORR "10.2.0.5"
#define HA "10.1.0.1"
#define OUTSIDE "192.0.2.1"
#define INSIDE "10.2.0.254"

#define FRAMES 20000    /* a direction */
#define MUTATIONS_MAX 4 /* a frame */
#define HEADER_BYTES 64 /* where half of the damage goes */
#define VERDICTS_MIN 8  /* a direction: the damage gets past the first checks */

static struct rig rig;
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15); /* the seed */

/* xorshift64, below limit. */
static uint32_t below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % limit;
}

static void mend(uint8_t *ip, size_t len)
{
	if (len >= IPV4_HDR_BYTES && (ip[0] & 15u) >= 5 && ip4_hdr_bytes(ip) <= len)
		rig_checksum(ip);
}

/* Returns the new length. */
static size_t mutate(uint8_t *ip, size_t len)
{
	for (uint32_t left = below(MUTATIONS_MAX + 1); left > 0; left--) {
		uint32_t room = below(2) ? HEADER_BYTES : (uint32_t)len;
		uint32_t at = below(room < len ? room : (uint32_t)len);

		ip[at] = (uint8_t)(below(2) ? below(256) : ip[at] ^ (1u << below(8)));
	}
	if (below(8) == 0)
		len = 1 + below((uint32_t)len);
	if (below(8) == 0 && len >= IPV4_HDR_BYTES)
		wire_store_u16(ip + 2, (uint16_t)len);
	if (below(4) != 0)
		mend(ip, len);
	return len;
}

static size_t make_inner(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	switch (below(6)) {
	case 0:
		return rig_rrq(ip, COA, HA, HOA, COA);
	case 1:
		return rig_ipip(ip, COA, HA, inner, rig_udp(inner, HOA, 1, CORR, 2, below(100)));
	case 2:
		return rig_udp(ip, HOA, 1, INSIDE, 434, below(100));
	case 3:
		return rig_udp(ip, HOA, 1, "10.2.0.99", 2, below(100));
	default:
		return rig_udp(ip, HOA, 1, CORR, 2, below(1400));
	}
}

static size_t make_from_outside(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	switch (below(8)) {
	case 0:
		return mutate(ip, rig_udp(ip, COA, 500, OUTSIDE, 500, below(100)));
	case 1:
		return mutate(ip, rig_rrq(ip, COA, OUTSIDE, HOA, COA));
	case 2:
	case 3:
		return mutate(ip, rig_seal(&rig, ip, 1, COA, inner, make_inner(inner)));
	default:
		return rig_seal(&rig, ip, 1, COA, inner, mutate(inner, make_inner(inner)));
	}
}

static size_t make_from_inside(uint8_t *ip)
{
	uint8_t inner[RIG_FRAME_MAX];

	switch (below(4)) {
	case 0:
		return mutate(ip, rig_udp(ip, CORR, 1, INSIDE, 434, below(100)));
	case 1:
		return mutate(ip, rig_udp(ip, CORR, 1, COA, 2, below(1400)));
	default:
		return mutate(ip,
			rig_ipip(ip, HA, COA, inner, rig_udp(inner, CORR, 1, HOA, 2, below(1400))));
	}
}

static bool is(be32_t addr, const char *text)
{
	struct ip_addr want = rig_addr(text);

	return addr == ip4_of(&want);
}

/* What a worker lets through to the inside: whole, and from the node's own addresses. */
static bool is_fit_for_inside(const uint8_t *ip, size_t len)
{
	return ip4_check(ip, (uint32_t)len) == VERDICT_OK && ip4_total_len(ip) == len &&
	       (is(ip4_src(ip), HOA) || is(ip4_src(ip), COA)) && ip4_is_forwardable(ip4_dst(ip)) &&
	       !is_own_address(rig.dp, ip4_dst(ip));
}

static bool is_sealed(const uint8_t *ip, size_t len)
{
	struct rig_opened opened;

	return rig_unseal(1, ip, len, &opened) && is(ip_addr_to_v4(&opened.dst), COA);
}

static bool is_for_linux(enum dp_port port, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + RTE_ETHER_HDR_LEN;

	return len >= RTE_ETHER_HDR_LEN + IPV4_HDR_BYTES && wire_load_u16(frame + 12) == 0x0800 &&
	       port_is_own(&rig.dp->ports[port], ip4_dst(ip)) &&
	       (port == DP_INSIDE || ip4_protocol(ip) != IP4_PROTO_ESP);
}

static void check_punts(enum dp_port in)
{
	struct punt punts[PKT_BURST_MAX];
	unsigned n = dataplane_punt_burst(rig.dp, punts, PKT_BURST_MAX);

	for (unsigned i = 0; i < n; i++) {
		const struct punt *punt = &punts[i];

		switch (punt->reason) {
		case PUNT_GUARDED:
			CU_FAIL("nothing is guarded here");
			break;
		case PUNT_FRAME:
			CU_ASSERT(punt->port == in && is_for_linux(in, punt->data, punt->len));
			break;
		case PUNT_REGISTRATION:
			CU_ASSERT(in == DP_OUTSIDE && punt->node == 1);
			CU_ASSERT(ip4_check(punt->data, punt->len) == VERDICT_OK);
			CU_ASSERT(is(ip4_dst(punt->data), HA));
			break;
		case PUNT_UNRESOLVED:
			CU_ASSERT(punt->port != in);
			CU_ASSERT(punt->port == DP_INSIDE ? is_fit_for_inside(punt->data, punt->len)
							  : is_sealed(punt->data, punt->len));
			break;
		case PUNT_ERROR: /* of what was good enough to be forwarded */
			CU_ASSERT(punt->port == in && punt->node == (in == DP_OUTSIDE ? 1u : 0u));
			CU_ASSERT(ip4_check(punt->data, punt->len) == VERDICT_OK);
			break;
		}
		dataplane_punt_done(rig.dp, &punts[i]);
	}
}

/* Sum of all cells. */
static uint64_t count(const struct dp_verdicts *verdicts)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		total += verdicts->in[i] + verdicts->out[i] + verdicts->local[i];
	return total;
}

static void run(enum dp_port in, size_t (*make)(uint8_t *ip))
{
	enum dp_port out = in == DP_OUTSIDE ? DP_INSIDE : DP_OUTSIDE;
	struct dp_verdicts before, after;
	unsigned kinds = 0;

	for (unsigned i = 0; i < FRAMES; i++) {
		uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		const uint8_t *sent = frame + RTE_ETHER_HDR_LEN;
		size_t len;

		dataplane_verdicts(rig.dp, &before);
		rig_push(&rig, in, ip, make(ip));
		rig_turn(&rig);
		dataplane_verdicts(rig.dp, &after);
		CU_ASSERT_FATAL(count(&after) == count(&before) + 1);
		len = rig_pop(&rig, out, frame);
		CU_ASSERT((len != 0) == (after.in[VERDICT_OK] + after.out[VERDICT_OK] !=
						before.in[VERDICT_OK] + before.out[VERDICT_OK]));
		if (len != 0 && out == DP_OUTSIDE)
			CU_ASSERT(is_sealed(sent, len - RTE_ETHER_HDR_LEN));
		if (len != 0 && out == DP_INSIDE)
			CU_ASSERT(is_fit_for_inside(sent, len - RTE_ETHER_HDR_LEN));
		CU_ASSERT(rig_pop(&rig, in, frame) == 0);
		check_punts(in);
	}
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		kinds += (in == DP_OUTSIDE ? after.in[i] : after.out[i]) != 0;
	CU_ASSERT(kinds >= VERDICTS_MIN);
}

static void test_from_outside(void)
{
	run(DP_OUTSIDE, make_from_outside);
}

static void test_from_inside(void)
{
	run(DP_INSIDE, make_from_inside);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"from outside", test_from_outside},
		{"from inside", test_from_inside},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 64);
	rig_node_add(&rig, 1, COA);
	ret = unit_run("dataplane: damaged frames", cases);
	/* No mbuf is lost; fragments that still wait for others go with their table. */
	reassembly_free(rig.dp->workers[0]->reassembly);
	rig.dp->workers[0]->reassembly = NULL;
	for (unsigned i = 0; i < DP_PORTS; i++)
		if (rte_mempool_in_use_count(rig.dp->ports[i].pool) != 0)
			ret = EXIT_FAILURE;
	rig_close(&rig);
	return ret;
}
