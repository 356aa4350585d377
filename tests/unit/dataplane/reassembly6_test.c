/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: ESP over IPv6 is cut by the test's own rules into pieces that a row chooses; what
 * is inside must come out as it went in, or nothing at all, with the right counters.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip6.h"
#include "dataplane/reassembly.h"

#include <unistd.h>

#define PAYLOAD 1400
#define PIECES_MAX 10

static struct rig rig;

struct cut { /* bytes of the ESP packet behind its IPv6 header; to 0: up to its end, and no more */
	uint16_t from, to;
};

static struct dp_verdicts verdicts(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums;
}

struct sealed {
	uint8_t inner[RIG_FRAME_MAX], esp[RIG_FRAME_MAX];
	size_t inner_len, len;
	uint32_t id;
};

static void seal(struct sealed *s, const char *src)
{
	static uint32_t id;

	s->inner_len = rig_udp(s->inner, RIG_V6_HOA, 1, RIG_V6_CORR, 2, PAYLOAD);
	s->len = rig_seal(&rig, s->esp, 1, src, s->inner, s->inner_len);
	s->id = ++id;
}

static void push(const struct sealed *s, struct cut cut)
{
	uint8_t piece[RIG_FRAME_MAX];
	const bool last = cut.to == 0;
	const size_t bytes = (last ? s->len - 40 : cut.to) - cut.from;

	memcpy(piece, s->esp, 40);
	memset(piece + 40, 0, 8);
	piece[40] = piece[6];
	piece[6] = 44;
	wire_store_u16(piece + 4, (uint16_t)(8 + bytes));
	wire_store_u16(piece + 42, (uint16_t)(cut.from | (last ? 0 : 1)));
	wire_store_u32(piece + 44, s->id);
	memcpy(piece + 48, s->esp + 40 + cut.from, bytes);
	rig_push(&rig, DP_OUTSIDE, piece, 48 + bytes);
	rig_turn(&rig);
}

/* Exactly the inner packet came out, its hop limit one less. */
static bool came_out(const struct sealed *s)
{
	uint8_t frame[RIG_FRAME_MAX];
	size_t len = rig_pop(&rig, DP_INSIDE, frame);

	return len == s->inner_len + 14 && memcmp(frame + 14, s->inner, 7) == 0 &&
	       memcmp(frame + 14 + 8, s->inner + 8, s->inner_len - 8) == 0 &&
	       rig_pop(&rig, DP_INSIDE, frame) == 0;
}

static bool nothing_came(void)
{
	uint8_t frame[RIG_FRAME_MAX];

	return rig_pop(&rig, DP_INSIDE, frame) == 0;
}

static void test_sets(void)
{
	static const struct {
		const char *name;
		struct cut cuts[PIECES_MAX];
		unsigned n, bad; /* bad: of wrong lengths */
		bool good;
	} rows[] = {
		{"two", {{0, 800}, {800, 0}}, 2, 0, true},
		{"turned round", {{800, 0}, {0, 800}}, 2, 0, true},
		{"four, mixed", {{800, 1200}, {0, 400}, {1200, 0}, {400, 800}}, 4, 0, true},
		{"small first", {{0, 8}, {8, 0}}, 2, 0, true},
		{"whole in one", {{0, 0}}, 1, 0, true},
		{"a hole", {{0, 400}, {800, 0}}, 2, 0, false},
		{"no end", {{0, 800}, {800, 1200}}, 2, 0, false},
		{"overlap at the end", {{0, 800}, {792, 0}}, 2, 0, false},
		{"overlap, then the right one", {{0, 800}, {400, 1200}, {800, 0}}, 3, 0, false},
		{"overlap as long as a hole", {{0, 400}, {0, 400}, {800, 0}}, 3, 0, false},
		{"one within another", {{0, 1200}, {400, 800}, {1200, 0}}, 3, 0, false},
		{"two ends", {{800, 0}, {1200, 0}, {0, 800}}, 3, 0, false},
		{"not of whole units", {{0, 801}, {800, 0}}, 2, 1, false},
		{"empty", {{0, 800}, {800, 800}, {800, 0}}, 3, 1, true},
		{"nine",
			{{0, 8}, {8, 16}, {16, 24}, {24, 32}, {32, 40}, {40, 48}, {48, 56},
				{56, 64}, {64, 0}},
			9, 0, false},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct dp_verdicts before = verdicts(), after;
		struct sealed s;

		seal(&s, RIG_V6_COA);
		for (unsigned k = 0; k < rows[i].n; k++)
			push(&s, rows[i].cuts[k]);
		CHECK_ROW(rows[i].name, rows[i].good ? came_out(&s) : nothing_came());
		after = verdicts();
		CHECK_ROW(
			rows[i].name, after.in[VERDICT_OK] - before.in[VERDICT_OK] == rows[i].good);
		CHECK_ROW(rows[i].name,
			after.in[VERDICT_BAD_HEADER] - before.in[VERDICT_BAD_HEADER] ==
				rows[i].bad);
		CHECK_ROW(rows[i].name, after.in[VERDICT_HELD] - before.in[VERDICT_HELD] ==
						rows[i].n - rows[i].bad - rows[i].good);
	}
}

/* One of another source, identification or content is not of the set. */
static void test_strangers(void)
{
	struct sealed s, other;

	seal(&s, RIG_V6_COA);
	seal(&other, "2001:db8:0:7::8");
	push(&s, (struct cut){0, 800});
	other.id = s.id;
	push(&other, (struct cut){800, 0});
	CU_ASSERT(nothing_came());
	push(&s, (struct cut){800, 0});
	CU_ASSERT(came_out(&s));
	push(&other, (struct cut){0, 800});
	CU_ASSERT(came_out(&other));

	seal(&s, RIG_V6_COA);
	push(&s, (struct cut){0, 800});
	s.id += 1000000;
	push(&s, (struct cut){800, 0});
	CU_ASSERT(nothing_came());

	seal(&s, RIG_V6_COA);
	s.esp[900] ^= 1;
	push(&s, (struct cut){0, 800});
	push(&s, (struct cut){800, 0});
	CU_ASSERT(nothing_came());
}

/* Behind options, or beyond 64 KiB. */
static void test_shapes(void)
{
	struct dp_verdicts before = verdicts(), after;
	uint8_t piece[RIG_FRAME_MAX];
	struct sealed s;

	seal(&s, RIG_V6_COA);
	memcpy(piece, s.esp, 40);
	piece[6] = 60;
	wire_store_u16(piece + 4, 16 + 80);
	memcpy(piece + 40, (const uint8_t[]){44, 0, 1, 4, 0, 0, 0, 0}, 8);
	memcpy(piece + 48, (const uint8_t[]){50, 0, 0, 1, 0, 0, 0, 9}, 8);
	rig_push(&rig, DP_OUTSIDE, piece, 56 + 80);
	memcpy(piece + 40, (const uint8_t[]){50, 0, 0xff, 0xf8, 0, 0, 0, 9}, 8);
	piece[6] = 44;
	rig_push(&rig, DP_OUTSIDE, piece, 56 + 80);
	rig_turn(&rig);
	after = verdicts();
	CU_ASSERT(after.in[VERDICT_FRAGMENT] == before.in[VERDICT_FRAGMENT] + 1);
	CU_ASSERT(after.in[VERDICT_BAD_HEADER] == before.in[VERDICT_BAD_HEADER] + 1);
}

/* First pieces without end, of one prefix and of many: buffers are bounded, one prefix is held
 * back, and when all have timed out, packets come through again. */
static void test_flood(void)
{
	const unsigned free_before = rte_mempool_avail_count(rig.dp->ports[DP_OUTSIDE].pool);
	struct dp_verdicts before = verdicts(), after;
	struct sealed s;

	for (unsigned i = 0; i < 4000; i++) {
		char src[IP_TEXT_MAX];

		snprintf(src, sizeof src, "2001:db8:bad:%x::%x", i < 2000 ? 0 : i, i + 1);
		seal(&s, src);
		push(&s, (struct cut){0, 800});
		CU_ASSERT(free_before - rte_mempool_avail_count(rig.dp->ports[DP_OUTSIDE].pool) <=
			  REASSEMBLY_DATAGRAMS);
	}
	after = verdicts();
	CU_ASSERT(after.in[VERDICT_FRAGMENT_LIMIT] > before.in[VERDICT_FRAGMENT_LIMIT] + 1000);
	CU_ASSERT(after.in[VERDICT_FRAGMENT_LIMIT] < before.in[VERDICT_FRAGMENT_LIMIT] + 2000);
	usleep((REASSEMBLY_MS + 50) * 1000);
	seal(&s, RIG_V6_COA);
	push(&s, (struct cut){0, 800});
	push(&s, (struct cut){800, 0});
	CU_ASSERT(came_out(&s));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"sets", test_sets},
		{"strangers", test_strangers},
		{"shapes", test_shapes},
		{"flood", test_flood},
		{NULL, NULL},
	};
	struct node *node;
	int ret;

	rig_open(&rig, 1, 256);
	rig_speak_v6(&rig);
	node = rig_node_add_v6(&rig, RIG_V6_COA);
	ret = unit_run("dataplane: reassembly of IPv6", cases);
	rig_node_del(&rig, node);
	rig_close(&rig);
	return ret;
}
