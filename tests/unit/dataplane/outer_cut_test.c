/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: IPv6 of up to 1280 bytes goes to a node whose path has no room for it; what
 * comes out are fragments of ESP, which are put together by the test's own rules, opened with
 * OpenSSL and compared.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/ip6.h"

#define COA "198.51.100.7"
#define HA "10.1.0.1"
#define PIECES_MAX 8

static struct rig rig;

static struct dp_verdicts verdicts(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums;
}

struct whole { /* what pieces are put together to */
	uint8_t ip[RIG_FRAME_MAX];
	size_t len;
	unsigned pieces; /* 0: nothing came */
	uint32_t id;
};

/* What RFC 791 and RFC 8200 4.5 say of a piece; the first one's header is the whole's. */
static bool put_piece(struct whole *whole, const uint8_t *ip, size_t len)
{
	const bool v6 = ip[0] >> 4 == 6;
	const size_t hdr = v6 ? 48 : 20, first = v6 ? 40 : 20;
	const uint16_t field = wire_load_u16(v6 ? ip + 42 : ip + 6);
	const uint32_t id = v6 ? wire_load_u32(ip + 44) : wire_load_u16(ip + 4);
	const size_t offset = v6 ? (field & 0xfff8u) : (field & 0x1fffu) * 8;
	const bool more = v6 ? (field & 1) != 0 : (field & 0x2000) != 0;

	if (whole->pieces == 0) {
		memcpy(whole->ip, ip, first);
		whole->len = first;
		whole->id = id;
	}
	if (id != whole->id || offset != whole->len - first || ip_total_len(ip) != len ||
		(more && (len - hdr) % 8 != 0) || (v6 && (ip[6] != 44 || (ip[43] & 6) != 0)) ||
		(!v6 && (field & 0xc000) != 0))
		return false;
	memcpy(whole->ip + whole->len, ip + hdr, len - hdr);
	whole->len += len - hdr;
	whole->pieces++;
	if (more)
		return true;
	if (v6) {
		whole->ip[6] = ip[40];
		wire_store_u16(whole->ip + 4, (uint16_t)(whole->len - 40));
	} else {
		wire_store_u16(whole->ip + 2, (uint16_t)whole->len);
		wire_store_u16(whole->ip + 6, 0);
		rig_checksum(whole->ip);
	}
	return true;
}

/* The next packet on the outside, of so many pieces that fit mtu. */
static void pop_whole(struct whole *whole, unsigned pieces, uint32_t mtu)
{
	uint8_t frame[RIG_FRAME_MAX];

	*whole = (struct whole){.len = 0};
	while (whole->pieces < pieces) {
		size_t len = rig_pop(&rig, DP_OUTSIDE, frame);

		CU_ASSERT_FATAL(len > 14 && len <= mtu + 14);
		CU_ASSERT_FATAL(put_piece(whole, frame + 14, len - 14));
	}
}

static struct path_params small_path(const char *coa, uint16_t mtu)
{
	struct path_params path = rig_path(coa, NULL, 0);

	path.mtu = mtu;
	return path;
}

static struct node *add_node(const char *coa, uint16_t mtu)
{
	struct node *node = rig_node_add_v6(&rig, coa);
	struct path_params path = small_path(coa, mtu);

	CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
	return node;
}

/* IPv6 of total_len bytes from the correspondent to the node, tunnelled to coa, with so many behind
 * it in the tunnel. */
static size_t push_with(const char *coa, size_t total_len, size_t behind, uint8_t *inner)
{
	uint8_t sent[RIG_FRAME_MAX];
	const bool v6 = strchr(coa, ':') != NULL;
	size_t len = rig_udp(inner, RIG_V6_CORR, 1, RIG_V6_HOA, 2, total_len - 48);

	rig_push(&rig, DP_INSIDE, sent,
		rig_ipip(sent, v6 ? RIG_V6_HA : HA, coa, inner, len + behind));
	return len;
}

static size_t push(const char *coa, size_t total_len, uint8_t *inner)
{
	return push_with(coa, total_len, 0, inner);
}

/* Where outer headers have DF, pieces have not. */
static void test_df(void)
{
	struct node *node = add_node(COA, 600);
	uint8_t inner[RIG_FRAME_MAX];
	struct rig_opened opened;
	struct whole whole;

	rig.dp->rules.df = RULES_DF_SET;
	push(COA, 1280, inner);
	rig_turn(&rig);
	pop_whole(&whole, 3, 600);
	CU_ASSERT(rig_unseal(1, whole.ip, whole.len, &opened));
	rig.dp->rules.df = RULES_DF_COPY;
	rig_node_del(&rig, node);
}

static void test_sizes(void)
{
	static const struct {
		const char *name, *coa;
		uint16_t mtu;
		size_t len;      /* without the tunnel */
		unsigned pieces; /* 0: the sender is told */
	} rows[] = {
		{"over IPv6, fits", RIG_V6_COA, 1280, 1206 - 40, 1},
		{"over IPv6, one byte more", RIG_V6_COA, 1280, 1207 - 40, 2},
		{"over IPv6, most", RIG_V6_COA, 1280, 1280, 2},
		{"over IPv6, more than most", RIG_V6_COA, 1280, 1281, 0},
		{"over IPv4, fits", COA, 600, 546 - 20, 1},
		{"over IPv4, one byte more", COA, 600, 547 - 20, 2},
		{"over IPv4, most", COA, 600, 1280, 3},
		{"over IPv4, more than most", COA, 600, 1281, 0},
		{"over IPv4, least MTU", COA, 576, 1280, 3},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct node *node = add_node(rows[i].coa, rows[i].mtu);
		const size_t hdr = strchr(rows[i].coa, ':') != NULL ? 40 : 20;
		struct dp_verdicts before = verdicts(), after;
		uint8_t inner[RIG_FRAME_MAX];
		size_t len = push(rows[i].coa, rows[i].len, inner);
		struct rig_opened opened;
		struct whole whole;
		struct punt punt;

		rig_turn(&rig);
		after = verdicts();
		if (rows[i].pieces == 0) {
			CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
			CHECK_ROW(rows[i].name, punt.error == PUNT_TOO_BIG && punt.mtu == 1280);
			dataplane_punt_done(rig.dp, &punt);
		} else if (rows[i].pieces == 1) {
			uint8_t frame[RIG_FRAME_MAX];
			size_t got = rig_pop(&rig, DP_OUTSIDE, frame);

			CHECK_ROW(rows[i].name, rig_unseal(1, frame + 14, got - 14, &opened));
		} else {
			pop_whole(&whole, rows[i].pieces, rows[i].mtu);
			CU_ASSERT_FATAL(rig_unseal(1, whole.ip, whole.len, &opened));
			CHECK_ROW(rows[i].name, opened.len == len + hdr);
			CHECK_ROW(rows[i].name, memcmp(opened.inner + hdr, inner, len) == 0);
			CHECK_ROW(rows[i].name,
				after.out[VERDICT_FRAGMENTED] - before.out[VERDICT_FRAGMENTED] ==
					1);
			CHECK_ROW(
				rows[i].name, after.local[VERDICT_OK] - before.local[VERDICT_OK] ==
						      rows[i].pieces);
		}
		CHECK_ROW(rows[i].name, rig_pop(&rig, DP_OUTSIDE, inner) == 0);
		rig_node_del(&rig, node);
	}
}

/* A burst of all sizes: numbers leave in their order, and no two packets have one identification.
 */
static void test_order(void)
{
	struct node *node = add_node(RIG_V6_COA, 1280);
	uint8_t inner[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct rig_opened opened;
	struct whole whole;
	uint32_t ids[24];
	unsigned free_before = rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool);

	for (unsigned i = 0; i < 32; i++)
		push(RIG_V6_COA, i % 4 == 3 ? 200 : 1280, inner);
	rig_turn(&rig);
	for (unsigned i = 0; i < 8; i++) {
		size_t len = rig_pop(&rig, DP_OUTSIDE, frame);

		CU_ASSERT_FATAL(rig_unseal(1, frame + 14, len - 14, &opened));
		CU_ASSERT(opened.seq == i + 1);
	}
	for (unsigned i = 0; i < 24; i++) {
		pop_whole(&whole, 2, 1280);
		CU_ASSERT_FATAL(rig_unseal(1, whole.ip, whole.len, &opened));
		CU_ASSERT(opened.seq == 8 + i + 1);
		ids[i] = whole.id;
		for (unsigned j = 0; j < i; j++)
			CU_ASSERT(ids[j] != ids[i]);
	}
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);
	CU_ASSERT(rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool) == free_before);
	rig_node_del(&rig, node);
}

/* The copy to the former end is cut, too. */
static void test_bicast(void)
{
	struct node *node = add_node(RIG_V6_COA, 1280);
	struct path_params path = rig_path(RIG_V6_COA, "2001:db8:0:8::8", UINT64_MAX);
	uint8_t inner[RIG_FRAME_MAX];
	struct whole first, second;

	path.mtu = 1280;
	path.flags = PATH_BICAST;
	path.second = (struct ip_endpoint){.addr = rig_addr("2001:db8:0:8::8")};
	CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
	push(RIG_V6_COA, 1280, inner);
	rig_turn(&rig);
	pop_whole(&second, 2, 1280);
	pop_whole(&first, 2, 1280);
	CU_ASSERT(ip6_is(ip6_dst(first.ip), &path.remote.addr));
	CU_ASSERT(ip6_is(ip6_dst(second.ip), &path.second.addr));
	CU_ASSERT(first.len == second.len &&
		  memcmp(first.ip + 40, second.ip + 40, first.len - 40) == 0);
	rig_node_del(&rig, node);
}

/* Bytes of outer packets that left. */
static size_t left_bytes(unsigned *pieces)
{
	uint8_t frame[RIG_FRAME_MAX];
	size_t sum = 0;

	*pieces = 0;
	for (size_t len; (len = rig_pop(&rig, DP_OUTSIDE, frame)) != 0; ++*pieces)
		sum += len - 14;
	return sum;
}

/* Every piece's header is of the credit, too: of any size, all or nothing goes. */
static void test_unverified(void)
{
	static const struct {
		const char *name, *coa;
		uint16_t mtu, shortest, behind;
		unsigned most;
	} rows[] = {
		{"over IPv6", RIG_V6_COA, 1280, 1160, 0, 2},
		{"fits without what follows it", RIG_V6_COA, 1280, 1160, 100, 2},
		{"over IPv4", COA, 576, 500, 0, 3},
		{"over IPv4, no multiple of 8", COA, 601, 500, 0, 3},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct node *node = add_node(rows[i].coa, rows[i].mtu);
		struct path_params path = small_path(rows[i].coa, rows[i].mtu);
		uint8_t inner[RIG_FRAME_MAX] = {0};
		unsigned pieces, most = 0;

		path.flags = PATH_UNVERIFIED;
		for (size_t len = rows[i].shortest; len <= 1280; len++) {
			size_t bytes;

			path.credit = 10000;
			CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
			push_with(rows[i].coa, len, rows[i].behind, inner);
			rig_turn(&rig);
			bytes = left_bytes(&pieces);
			CU_ASSERT_FATAL(bytes != 0);
			CHECK_ROW(rows[i].name,
				atomic_load(&atomic_load(&node->path)->credit) == 10000 - bytes);
			most = RTE_MAX(most, pieces);
			path.credit = (uint32_t)bytes - 1;
			CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
			push_with(rows[i].coa, len, rows[i].behind, inner);
			rig_turn(&rig);
			CHECK_ROW(rows[i].name, left_bytes(&pieces) == 0);
		}
		CHECK_ROW(rows[i].name, most == rows[i].most);
		rig_node_del(&rig, node);
	}
}

/* Nothing of the small credit of a path that is tried is for headers of pieces. */
static void test_provisional(void)
{
	struct node *node = add_node(RIG_V6_COA, 1280);
	struct path_params path = small_path(RIG_V6_COA, 1280);
	struct dp_verdicts before = verdicts(), after;
	uint8_t inner[RIG_FRAME_MAX];

	path.flags = PATH_PROVISIONAL;
	path.credit = 100000;
	CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
	push(RIG_V6_COA, 1280, inner);
	rig_turn(&rig);
	after = verdicts();
	CU_ASSERT(after.out[VERDICT_TOO_BIG] == before.out[VERDICT_TOO_BIG] + 1);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, inner) == 0);
	rig_node_del(&rig, node);
}

/* With buffers for all but the last fragment: what is lost has its counter, and nothing leaks. */
static void test_no_buffers(void)
{
	struct node *node = add_node(COA, 576);
	struct rte_mempool *pool = rig.dp->ports[DP_INSIDE].pool;
	static struct rte_mbuf *taken[8192];
	uint8_t inner[RIG_FRAME_MAX];

	/* One for the packet and three for its fragments, of which the received one is the last. */
	for (unsigned left = 0; left < 3; left++) {
		struct dp_verdicts before, after;
		unsigned n = 0, all;

		push(COA, 1280, inner);
		while (n < RTE_DIM(taken) && (taken[n] = rte_pktmbuf_alloc(pool)) != NULL)
			n++;
		CU_ASSERT_FATAL(n < RTE_DIM(taken));
		all = n;
		for (unsigned i = 0; i < left; i++)
			rte_pktmbuf_free(taken[--n]);
		before = verdicts();
		rig_turn(&rig);
		after = verdicts();
		CU_ASSERT(after.out[VERDICT_NO_ROOM] - before.out[VERDICT_NO_ROOM] == (left == 0));
		CU_ASSERT(after.local[VERDICT_NO_ROOM] - before.local[VERDICT_NO_ROOM] ==
			  (left != 0));
		while (rig_pop(&rig, DP_OUTSIDE, inner) != 0)
			;
		rte_pktmbuf_free_bulk(taken, n);
		n = 0;
		while (n < RTE_DIM(taken) && (taken[n] = rte_pktmbuf_alloc(pool)) != NULL)
			n++;
		CU_ASSERT(n == all + 1); /* and that of the packet itself */
		rte_pktmbuf_free_bulk(taken, n);
	}
	rig_node_del(&rig, node);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"sizes", test_sizes},
		{"DF", test_df},
		{"order", test_order},
		{"bicast", test_bicast},
		{"unverified", test_unverified},
		{"provisional", test_provisional},
		{"no buffers", test_no_buffers},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 256);
	rig_speak_v6(&rig);
	ret = unit_run("dataplane: outer_cut", cases);
	rig_close(&rig);
	return ret;
}
