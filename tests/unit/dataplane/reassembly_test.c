/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an ESP packet is cut with our own ipv4_fragment(), its pieces arrive in every
 * order and shape, and what is inside must come out as it went in, or nothing at all.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/now.h"
#include "dataplane/reassembly.h"

#include <unistd.h>

#define COA "198.51.100.7"
#define HOA "10.1.0.10"
#define CORR "10.2.0.5"
#define PIECES_MAX 16

static struct rig rig;
static struct node *node;

struct pieces {
	uint8_t data[PIECES_MAX][RIG_FRAME_MAX];
	size_t len[PIECES_MAX];
	unsigned n;
};

static void take(void *arg, const uint8_t *datagram, size_t len)
{
	struct pieces *pieces = arg;

	CU_ASSERT_FATAL(pieces->n < PIECES_MAX);
	memcpy(pieces->data[pieces->n], datagram, len);
	pieces->len[pieces->n++] = len;
}

/* A fresh ESP packet of the node in pieces of at most mtu bytes; inner: what it holds. */
static struct pieces cut(const char *src, size_t payload, size_t mtu, uint8_t *inner, size_t *len)
{
	static uint16_t id;
	uint8_t esp[RIG_FRAME_MAX];
	struct pieces pieces = {.n = 0};
	size_t esp_len;

	*len = rig_udp(inner, HOA, 1, CORR, 2, payload);
	for (size_t i = 28; i < *len; i++)
		inner[i] = (uint8_t)(i * 5);
	wire_store_u16(inner + 26, 0); /* no UDP checksum */
	esp_len = rig_seal(&rig, esp, 1, src, inner, *len);
	wire_store_u16(esp + 4, ++id);
	wire_store_u16(esp + 6, 0);
	rig_checksum(esp);
	CU_ASSERT_FATAL(ipv4_fragment(esp, esp_len, mtu, take, &pieces) > 1);
	return pieces;
}

static void push(const struct pieces *pieces, unsigned i)
{
	rig_push(&rig, DP_OUTSIDE, pieces->data[i], pieces->len[i]);
	rig_turn(&rig);
}

/* Exactly inner came out (its TTL one less), or with inner NULL nothing. */
static bool came_out(const uint8_t *inner, size_t len)
{
	uint8_t frame[RIG_FRAME_MAX];
	size_t got = rig_pop(&rig, DP_INSIDE, frame);

	if (inner == NULL)
		return got == 0;
	return got == len + 14 && ip4_check(frame + 14, (uint32_t)len) == VERDICT_OK &&
	       memcmp(frame + 14 + 12, inner + 12, len - 12) == 0 &&
	       rig_pop(&rig, DP_INSIDE, frame) == 0;
}

static struct dp_verdicts verdicts(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums;
}

static void test_orders(void)
{
	static const struct {
		const char *name;
		size_t mtu;
		unsigned n; /* pieces */
		uint8_t order[10];
	} rows[] = {
		{"two", 800, 2, {0, 1}},
		{"two, turned round", 800, 2, {1, 0}},
		{"four", 416, 4, {0, 1, 2, 3}},
		{"four, mixed", 416, 4, {2, 0, 3, 1}},
		{"four, last first", 416, 4, {3, 2, 1, 0}},
		{"as many as are kept", 216, 8, {7, 0, 6, 1, 5, 2, 4, 3}},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		uint8_t inner[RIG_FRAME_MAX];
		struct dp_verdicts before = verdicts(), after;
		size_t len;
		struct pieces pieces = cut(COA, 1400, rows[i].mtu, inner, &len);

		CHECK_ROW(rows[i].name, pieces.n == rows[i].n);
		for (unsigned k = 0; k < rows[i].n; k++) {
			CHECK_ROW(rows[i].name, came_out(NULL, 0));
			push(&pieces, rows[i].order[k]);
		}
		CHECK_ROW(rows[i].name, came_out(inner, len));
		after = verdicts();
		CHECK_ROW(rows[i].name,
			after.in[VERDICT_HELD] == before.in[VERDICT_HELD] + rows[i].n - 1);
		CHECK_ROW(rows[i].name, after.in[VERDICT_OK] == before.in[VERDICT_OK] + 1);
	}
}

/* In UDP too, two at a time, with Ethernet's padding behind a short last piece. */
static void test_interleaved(void)
{
	uint8_t inner_a[RIG_FRAME_MAX], inner_b[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len_a, len_b;
	struct pieces a = cut(COA, 700, 768, inner_a, &len_a);
	struct pieces b = cut("198.51.100.8", 700, 768, inner_b, &len_b);

	CU_ASSERT(a.n == 2 && a.len[1] < 46);
	memset(a.data[1] + a.len[1], 0xee, 46 - a.len[1]);
	a.len[1] = 46;
	push(&a, 0);
	push(&b, 0);
	push(&a, 1);
	CU_ASSERT(came_out(inner_a, len_a));
	push(&b, 1);
	CU_ASSERT(came_out(inner_b, len_b));
	CU_ASSERT(rig_pop(&rig, DP_INSIDE, frame) == 0);
}

static void test_bad_sets(void)
{
	uint8_t inner[RIG_FRAME_MAX];
	size_t len;
	struct pieces pieces;

	/* a piece twice, another one missing */
	pieces = cut(COA, 1400, 600, inner, &len);
	push(&pieces, 0);
	push(&pieces, 0);
	push(&pieces, 2);
	CU_ASSERT(came_out(NULL, 0));
	/* overlapping: the second begins 8 bytes early */
	pieces = cut(COA, 1400, 800, inner, &len);
	wire_store_u16(pieces.data[1] + 6, (uint16_t)(wire_load_u16(pieces.data[1] + 6) - 1));
	rig_checksum(pieces.data[1]);
	push(&pieces, 0);
	push(&pieces, 1);
	CU_ASSERT(came_out(NULL, 0));
	/* more pieces than are kept */
	pieces = cut(COA, 1400, 168, inner, &len);
	CU_ASSERT(pieces.n > RTE_LIBRTE_IP_FRAG_MAX_FRAG);
	for (unsigned i = 0; i < pieces.n; i++)
		push(&pieces, i);
	CU_ASSERT(came_out(NULL, 0));
	/* ends beyond 64 KiB */
	pieces = cut(COA, 1400, 800, inner, &len);
	wire_store_u16(pieces.data[1] + 6, 0x1fff);
	rig_checksum(pieces.data[1]);
	push(&pieces, 1);
	push(&pieces, 0);
	CU_ASSERT(came_out(NULL, 0));
	/* tampered with */
	pieces = cut(COA, 1400, 800, inner, &len);
	pieces.data[1][40] ^= 1;
	push(&pieces, 0);
	push(&pieces, 1);
	CU_ASSERT(came_out(NULL, 0));
	/* and all is well afterwards */
	pieces = cut(COA, 1400, 800, inner, &len);
	push(&pieces, 0);
	push(&pieces, 1);
	CU_ASSERT(came_out(inner, len));
}

/* One source sends first pieces for two seconds: it alone is held back, and buffers come back. */
static void test_flood(void)
{
	uint8_t inner[RIG_FRAME_MAX];
	size_t len;
	struct pieces pieces = cut("203.0.113.200", 1400, 800, inner, &len);
	struct dp_verdicts before = verdicts(), after;
	unsigned free_before = rte_mempool_avail_count(rig.dp->ports[DP_OUTSIDE].pool);
	const uint64_t begin = clock_mono_ns();

	for (unsigned i = 0; i < 4000; i++) {
		clock_set_test(begin + i * 500 * NS_PER_US, begin);
		wire_store_u16(pieces.data[0] + 4, (uint16_t)i);
		rig_checksum(pieces.data[0]);
		push(&pieces, 0);
	}
	after = verdicts();
	CU_ASSERT(after.in[VERDICT_FRAGMENT_LIMIT] > before.in[VERDICT_FRAGMENT_LIMIT] + 3000);
	CU_ASSERT(rte_mempool_avail_count(rig.dp->ports[DP_OUTSIDE].pool) + REASSEMBLY_DATAGRAMS >=
		  free_before);
	pieces = cut(COA, 1400, 800, inner, &len);
	push(&pieces, 0);
	push(&pieces, 1);
	CU_ASSERT(came_out(inner, len));
	clock_set_test(0, 0);
}

/* One whose pieces come together may go on at the full rate. */
static void test_rate(void)
{
	const uint64_t begin = clock_mono_ns() + 10 * NS_PER_S;

	for (unsigned i = 0; i < 1000; i++) {
		uint8_t inner[RIG_FRAME_MAX];
		size_t len;
		struct pieces pieces = cut(COA, 1400, 800, inner, &len);

		clock_set_test(begin + i * NS_PER_MS, begin);
		push(&pieces, 0);
		push(&pieces, 1);
		CU_ASSERT(came_out(inner, len));
	}
	clock_set_test(0, 0);
}

/* What never becomes whole makes room after its time. */
static void test_timeout(void)
{
	uint8_t inner[RIG_FRAME_MAX];
	size_t len;
	struct pieces pieces;

	for (unsigned i = 0; i < 4 * REASSEMBLY_DATAGRAMS; i++) { /* each from its own source */
		char src[IP_TEXT_MAX];

		snprintf(src, sizeof src, "203.%u.113.%u", i / 100, i % 100 + 1);
		pieces = cut(src, 1400, 800, inner, &len);
		push(&pieces, 0);
	}
	usleep((REASSEMBLY_MS + 50) * 1000);
	pieces = cut(COA, 1400, 800, inner, &len);
	push(&pieces, 0);
	push(&pieces, 1);
	CU_ASSERT(came_out(inner, len));
}

/* A frame in several segments becomes one. */
static void test_segments(void)
{
	struct rte_mempool *pool = rig.dp->ports[DP_OUTSIDE].pool;
	uint8_t inner[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len = rig_udp(inner, HOA, 1, CORR, 2, 1000);
	size_t esp_len = rig_seal(&rig, frame + 14, 1, COA, inner, len), at = 0;
	struct rte_mbuf *head = NULL;

	memcpy(frame, rig.dp->ports[DP_OUTSIDE].mac, 6);
	memset(frame + 6, 2, 6);
	wire_store_u16(frame + 12, 0x0800);
	for (size_t part = 10; at < esp_len + 14; at += part, part = 300) { /* in the MACs too */
		struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);

		if (part > esp_len + 14 - at)
			part = esp_len + 14 - at;
		memcpy(rte_pktmbuf_append(mbuf, (uint16_t)part), frame + at, part);
		if (head == NULL)
			head = mbuf;
		else
			CU_ASSERT(rte_pktmbuf_chain(head, mbuf) == 0);
	}
	rte_ring_enqueue(rig.rx[DP_OUTSIDE], head);
	rig_turn(&rig);
	CU_ASSERT(came_out(inner, len));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"orders", test_orders},
		{"interleaved", test_interleaved},
		{"sets that make no packet", test_bad_sets},
		{"timeout", test_timeout},
		{"segments", test_segments},
		/* these hold the clock, ahead of its time */
		{"flood", test_flood},
		{"rate", test_rate},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 256);
	node = rig_node_add(&rig, 1, COA);
	ret = unit_run("dataplane: reassembly", cases);
	rig_node_del(&rig, node);
	rig_close(&rig);
	return ret;
}
