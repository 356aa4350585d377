/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: node 1 is at HERE. Wrong tags come from where the row says, with numbers that are
 * near its newest or not; then one good packet from somewhere. Time is the test's and stands still
 * during a flood. A second node has nothing to do with it.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/now.h"
#include "dataplane/shed.h"

#include <stdio.h>

#define HERE "198.51.100.7"
#define FLOODER "203.0.113.7"
#define ELSEWHERE "203.0.113.99"
#define HOA "10.1.0.10"
#define CORR "10.2.0.5"
#define NOBODY NULL /* another source with each packet */
#define FAR (SHED_NEAR + 1000u)
#define FARTHER (SHED_NEAR_HERE + 1000u)
#define ETHER_BYTES 14

static struct rig rig;
static uint64_t now;

static void at(uint64_t ns)
{
	now = ns;
	clock_set_test(now, now);
}

static uint64_t in(enum verdict verdict)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums.in[verdict];
}

static unsigned turn(void)
{
	uint8_t frame[RIG_FRAME_MAX];
	unsigned n = 0;

	rig_turn(&rig);
	while (rig_pop(&rig, DP_INSIDE, frame) != 0)
		n++;
	return n;
}

static size_t sealed(uint8_t *ip, uint32_t handle, const char *source, uint64_t seq)
{
	uint8_t inner[RIG_FRAME_MAX];
	char home[32];
	size_t len;

	snprintf(home, sizeof home, "10.1.0.%u", 9 + handle);
	len = rig_udp(inner, home, 1, CORR, 2, 64);
	return rig_seal_seq(ip, handle, source, seq, inner, len, 4);
}

/* n wrong tags, a burst a turn. Returns how many were checked; the others were shed. */
static unsigned flood(const char *source, uint64_t ahead, unsigned n)
{
	const uint64_t checked = in(VERDICT_BAD_ICV), shed = in(VERDICT_SHED);
	uint8_t ip[RIG_FRAME_MAX];
	static uint32_t invented;
	char other[32];
	size_t len;

	for (unsigned i = 0; i < n; i++) {
		invented++;
		snprintf(other, sizeof other, "203.%u.%u.%u", invented >> 16 & 255,
			invented >> 8 & 255, 1 + (invented & 127));
		len = sealed(ip, 1, source == NOBODY ? other : source, rig.seq_in[1] + ahead);
		ip[len - 1] ^= 1;
		rig_push(&rig, DP_OUTSIDE, ip, len);
		if (i % PKT_BURST_MAX == PKT_BURST_MAX - 1 || i == n - 1)
			CU_ASSERT(turn() == 0);
	}
	CU_ASSERT(in(VERDICT_BAD_ICV)-checked + in(VERDICT_SHED)-shed == n);
	return (unsigned)(in(VERDICT_BAD_ICV)-checked);
}

/* A good packet; true: it was let in. */
static bool passes(uint32_t handle, const char *source, uint64_t ahead)
{
	const uint64_t shed = in(VERDICT_SHED);
	uint8_t ip[RIG_FRAME_MAX];
	size_t len = sealed(ip, handle, source, rig.seq_in[handle] + ahead);
	unsigned got;

	rig_push(&rig, DP_OUTSIDE, ip, len);
	got = turn();
	CU_ASSERT(got + (in(VERDICT_SHED)-shed) == 1);
	if (got != 0)
		rig.seq_in[handle] += ahead;
	return got != 0;
}

struct row {
	const char *name;
	const char *source; /* of the flood */
	uint64_t ahead;     /* numbers of the flood */
	unsigned n;
	unsigned least, most; /* how many tags are checked */
	struct {
		bool far_from_flooder, near_from_flooder, far_from_elsewhere, near_from_elsewhere;
	} passes;
};

#define ONE_SOURCE SHED_SOURCE_BURST, SHED_SOURCE_BURST + PKT_BURST_MAX
/* clang-format off */
static const struct row rows[] = {
	{"within the budget", FLOODER, FAR, SHED_SOURCE_BURST, SHED_SOURCE_BURST, SHED_SOURCE_BURST,
		{true, true, true, true}},
	{"one source", FLOODER, FAR, 1000, ONE_SOURCE,
		{false, true, true, true}},
	{"one source that knows the numbers", FLOODER, 1, 2000,
		SHED_SOURCE_BURST + SHED_NEAR_BURST, SHED_SOURCE_BURST + SHED_NEAR_BURST + 2 * PKT_BURST_MAX,
		{false, false, true, true}},
	{"a source for each", NOBODY, FAR, 4000, SHED_SA_BURST, SHED_SA_BURST + PKT_BURST_MAX,
		{false, true, false, true}},
	{"a source for each, and the numbers are known", NOBODY, 1, 4000,
		SHED_SA_BURST + SHED_NEAR_BURST, SHED_SA_BURST + SHED_NEAR_BURST + 2 * PKT_BURST_MAX,
		{false, false, false, false}},
	{"the node's own source is forged", HERE, FARTHER, 2000, SHED_SA_BURST,
		SHED_SA_BURST + PKT_BURST_MAX, {true, true, true, true}},
	{"the node's own source is forged, and its numbers are known", HERE, FAR, 2000, 2000, 2000,
		{true, true, true, true}},
};
/* clang-format on */

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct row *row = &rows[i];
		const char *flooder = row->source == NOBODY ? FLOODER : row->source;
		unsigned checked;

		at(now + 2 * NS_PER_S); /* all budgets are full again */
		CHECK_ROW(row->name, passes(1, HERE, 1));
		checked = flood(row->source, row->ahead, row->n);
		CHECK_ROW(row->name, checked >= row->least && checked <= row->most);
		CHECK_ROW(row->name, passes(1, flooder, FAR) == row->passes.far_from_flooder);
		CHECK_ROW(row->name, passes(1, flooder, 1) == row->passes.near_from_flooder);
		CHECK_ROW(row->name, passes(1, ELSEWHERE, FAR) == row->passes.far_from_elsewhere);
		CHECK_ROW(row->name, passes(1, ELSEWHERE, 1) == row->passes.near_from_elsewhere);
		/* Where the node is it is never shed, nor is another one anywhere else. */
		CHECK_ROW(row->name, passes(1, HERE, 1));
		CHECK_ROW(row->name, passes(1, HERE, FAR));
		CHECK_ROW(row->name, passes(2, ELSEWHERE, FAR));
	}
}

/* Its address is forged, and what it sends is far ahead of what came: it takes part in the budget
 * until one of its packets is let in. */
static void test_lost_many(void)
{
	unsigned tries = 0;

	at(now + 2 * NS_PER_S);
	CU_ASSERT(passes(1, HERE, 1));
	CU_ASSERT(flood(HERE, FARTHER, 2000) < 2000);
	CU_ASSERT(!passes(1, HERE, FARTHER));
	CU_ASSERT(passes(1, HERE, COUNTERS_HEADROOM)); /* it comes back from a loss of power */
	CU_ASSERT(passes(1, HERE, SHED_NEAR_HERE));
	CU_ASSERT(flood(HERE, FARTHER, 2000) < 100);
	/* 100,000 a second are forged, it sends 1000. */
	do {
		for (unsigned i = 0; i < 20; i++) {
			at(now + 50 * NS_PER_US);
			(void)flood(HERE, FARTHER, 5);
		}
		at(now + tries % 50 * NS_PER_US);
	} while (!passes(1, HERE, FARTHER) && ++tries < 1000);
	CU_ASSERT(tries < 1000);
	CU_ASSERT(passes(1, HERE, 1));
}

/* It costs nothing while nobody is over a budget, and comes to an end. */
static void test_decay(void)
{
	const struct worker *worker = rig.dp->workers[0];

	at(now + 2 * NS_PER_S);
	CU_ASSERT(worker->shed_until_ns <= now);
	(void)flood(FLOODER, FAR, SHED_SOURCE_BURST);
	CU_ASSERT(worker->shed_until_ns <= now);
	(void)flood(FLOODER, FAR, 1000);
	CU_ASSERT(worker->shed_until_ns > now);
	CU_ASSERT(flood(FLOODER, FAR, 1) == 0);
	/* A flood that goes on has as many tags checked as the rate says. */
	for (unsigned ms = 0; ms < 1000; ms++) {
		at(now + NS_PER_MS);
		(void)flood(FLOODER, FAR, 2);
	}
	CU_ASSERT(flood(FLOODER, FAR, 1) == 0);
	at(now + NS_PER_S);
	CU_ASSERT(worker->shed_until_ns <= now);
	CU_ASSERT(flood(FLOODER, FAR, SHED_SOURCE_BURST) == SHED_SOURCE_BURST);
}

static void test_rate(void)
{
	unsigned checked = 0;

	at(now + 2 * NS_PER_S);
	(void)flood(FLOODER, FAR, 1000);
	for (unsigned ms = 0; ms < 1000; ms++) {
		at(now + NS_PER_MS);
		checked += flood(FLOODER, FAR, 2);
	}
	/* What the first burst was too many is waited for. */
	CU_ASSERT(checked <= SHED_SOURCE_RATE + 1);
	CU_ASSERT(checked >= SHED_SOURCE_RATE - PKT_BURST_MAX - 1);
}

/* The node moves: its new place is then the one that is never shed, its former one a stranger's. */
static void test_move(void)
{
	struct path_params params = rig_path(ELSEWHERE, HERE, now + NS_PER_S);
	struct node *node = node_by_handle(rig.dp, 1);

	at(now + 2 * NS_PER_S);
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	CU_ASSERT(flood(HERE, FAR, 1000) < 1000);
	CU_ASSERT(!passes(1, HERE, FAR));
	CU_ASSERT(passes(1, ELSEWHERE, FAR));
	CU_ASSERT(flood(ELSEWHERE, FAR, 1000) == 1000);
	CU_ASSERT(flood(ELSEWHERE, FARTHER, 2000) < 2000);
	CU_ASSERT(passes(1, ELSEWHERE, FAR));
	params = rig_path(HERE, NULL, 0);
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
}

/* Number that is left of the window: known to be old without any look at a budget. */
static void test_old_numbers(void)
{
	uint8_t ip[RIG_FRAME_MAX];
	const uint64_t replayed = in(VERDICT_REPLAY);
	size_t len;

	at(now + 2 * NS_PER_S);
	CU_ASSERT(passes(1, HERE, FAR));
	(void)flood(NOBODY, FAR, 4000);
	len = sealed(ip, 1, ELSEWHERE, rig.seq_in[1]);
	rig_push(&rig, DP_OUTSIDE, ip, len);
	CU_ASSERT(turn() == 0);
	CU_ASSERT(in(VERDICT_REPLAY) == replayed + 1);
}

/* Do the few that the rows are about share a place by chance? Once in some hundred draws. */
static bool share_places(void)
{
	bool alone;

	at(now + 2 * NS_PER_S);
	(void)flood(FLOODER, FAR, 1000);
	alone = passes(1, ELSEWHERE, FAR) && passes(2, ELSEWHERE, FAR);
	at(now + 2 * NS_PER_S);
	(void)flood(NOBODY, FAR, 4000);
	return !alone || !passes(2, ELSEWHERE, FAR);
}

static void test_draw(void)
{
	struct worker *worker = rig.dp->workers[0];
	unsigned draws = 1;

	while (share_places() && ++draws < 10) {
		shed_free(worker->shed);
		worker->shed = shed_new();
		CU_ASSERT_FATAL(worker->shed != NULL);
	}
	CU_ASSERT(draws < 10);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"places", test_draw},
		{"who floods, who passes", test_rows},
		{"a node that lost many packets", test_lost_many},
		{"it ends", test_decay},
		{"rate", test_rate},
		{"a move", test_move},
		{"old numbers", test_old_numbers},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	at(clock_mono_ns());
	rig_node_add(&rig, 1, HERE);
	rig_node_add(&rig, 2, "198.51.100.8");
	ret = unit_run("dataplane: shed", cases);
	rig_close(&rig);
	return ret;
}
