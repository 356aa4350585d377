/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UPDATE and ACK through two associations: batches, losses, repetition, superseding, results that
 * are not final, bounds. siu/README.md sections 3, 5 and 6.
 */
#include "siu/auth.h"
#include "siu/receiver.h"
#include "siu/sender.h"
#include "tests/unit/lib/unit.h"
#include "tests/unit/siu/sim.h"

#include <errno.h>

/* Both up, the first SYNC done, counters of the network at 0. */
static struct sim *settled(uint64_t seed)
{
	struct sim *sim = sim_new(seed);

	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	CU_ASSERT_TRUE_FATAL(sim_settle(sim));
	sim_run(sim, 20 * NS_PER_MS);
	memset(sim->n_to_gw, 0, sizeof sim->n_to_gw);
	memset(sim->n_to_ha, 0, sizeof sim->n_to_ha);
	return sim;
}

static void test_lone_update_leaves_at_once(void)
{
	struct sim *sim = settled(1);
	uint64_t before_ns = sim->now_ns;

	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 0);
	siu_tick(sim->ha, sim->now_ns);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 1);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->nodes[0].replies == 1);
	CU_ASSERT_TRUE(sim->n_acks == 1 && sim->last_ack.result == SIU_RESULT_OK);
	CU_ASSERT_TRUE(sim->last_ack.generation == 1 && sim->last_ack.in_force == 1);
	CU_ASSERT_TRUE(ip_addr_equal(&sim->last_ack.coa, &sim->bindings[0].coa));
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).rtt_us, 400);
	CU_ASSERT_TRUE(sim->now_ns - before_ns <= NS_PER_MS);
	CU_ASSERT_TRUE(sim_agrees(sim));
	sim_free(sim);
}

static bool drop_all_acks(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	(void)sim;
	(void)to_gw;
	(void)len;
	return datagram[1] != SIU_ACK;
}

static void others_in_the_air(struct sim *sim, size_t n)
{
	sim->cut = true;
	for (size_t i = 1; i <= n; i++) {
		CU_ASSERT_EQUAL(sim_move(sim, i, NULL), 0);
		siu_tick(sim->ha, sim->now_ns);
	}
}

static void one_in_the_air(struct sim *sim)
{
	others_in_the_air(sim, 1);
}

static void all_but_one_in_the_air(struct sim *sim)
{
	others_in_the_air(sim, SIU_FLIGHTS - 1);
}

static void others_refused(struct sim *sim)
{
	sim->refuse_with = SIU_RESULT_RATE_LIMITED;
	sim->refuse_times = 1000;
	for (size_t i = 1; i <= 100; i++)
		CU_ASSERT_EQUAL(sim_move(sim, i, NULL), 0);
	sim_run(sim, 20 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 100);
}

static void others_not_answered(struct sim *sim)
{
	sim->filter = drop_all_acks;
	for (size_t i = 1; i <= 100; i++)
		CU_ASSERT_EQUAL(sim_move(sim, i, NULL), 0);
	sim_run(sim, 3 * NS_PER_S);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 100);
}

static void open_sync(struct sim *sim)
{
	for (size_t i = 1; i < SIM_NODES; i++)
		CU_ASSERT_EQUAL(sim_move(sim, i, NULL), 0);
	sim_run(sim, 100 * NS_PER_MS);
	sim_start_gw(sim, 101);
	for (unsigned i = 0; !sim->in_sync && i < 100000; i++)
		sim_run(sim, 10 * NS_PER_US);
	CU_ASSERT_TRUE(sim->in_sync);
	siu_tick(sim->ha, sim->now_ns);
}

/* Whatever else is under way, a lone update leaves with no time between, in a datagram of its own:
 * nothing is held back so as to fill datagrams. */
static void test_lone_update_never_waits(void)
{
	static const struct {
		const char *name;
		void (*before)(struct sim *sim);
	} rows[] = {
		{"one in the air", one_in_the_air},
		{"the last place", all_but_one_in_the_air},
		{"others were refused for now", others_refused},
		{"others are never answered", others_not_answered},
		{"a SYNC is open", open_sync},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sim *sim = settled(40 + i);
		unsigned sent;

		rows[i].before(sim);
		sent = sim->n_to_gw[SIU_UPDATE];
		CHECK_ROW(rows[i].name, sim_move(sim, 0, "rrp") == 0);
		siu_tick(sim->ha, sim->now_ns);
		CHECK_ROW(rows[i].name, sim->n_to_gw[SIU_UPDATE] == sent + 1);
		CHECK_ROW(rows[i].name, sim->last_to_gw[SIU_UPDATE].len < 48 + 2 * 54);
		sim_free(sim);
	}
}

/* With all places taken it waits for one, and not for time. */
static void test_update_behind_a_full_window(void)
{
	struct sim *sim = settled(50);

	others_in_the_air(sim, SIU_FLIGHTS);
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	siu_tick(sim->ha, sim->now_ns);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], SIU_FLIGHTS);
	sim->cut = false;
	sim_run(sim, 15 * NS_PER_MS); /* the repetitions after 10 ms arrive */
	CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim_agrees(sim));
	sim_free(sim);
}

static bool drop_update(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	(void)to_gw;
	(void)len;
	return datagram[1] != SIU_UPDATE || sim->n_to_gw[SIU_UPDATE] > *(unsigned *)sim->filter_arg;
}

static bool drop_ack(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	(void)to_gw;
	(void)len;
	return datagram[1] != SIU_ACK || sim->n_to_ha[SIU_ACK] > *(unsigned *)sim->filter_arg;
}

/* n copies lost: the same bytes come again after 10, 20, 40 and 80 ms, then others. */
static void test_lost_update(void)
{
	static const uint64_t done_ms[] = {0, 10, 30, 70, 150, 310, 630, 1270};

	for (unsigned lost = 0; lost < 8; lost++) {
		struct sim *sim = settled(2);
		struct sim_packet first;

		sim->filter = drop_update;
		sim->filter_arg = &lost;
		CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
		sim_run(sim, 1);
		first = sim->last_to_gw[SIU_UPDATE];
		sim_run(sim, done_ms[lost] * NS_PER_MS);
		CU_ASSERT_EQUAL(sim->nodes[0].acted, 0);
		sim_run(sim, NS_PER_MS);
		CU_ASSERT_EQUAL(sim->nodes[0].acted, 1);
		CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], lost + 1);
		CU_ASSERT_EQUAL(
			memcmp(first.bytes, sim->last_to_gw[SIU_UPDATE].bytes, first.len) == 0,
			lost <= SIU_SAME_BYTES_MAX);
		CU_ASSERT_EQUAL(sim_stats(sim->ha).retransmitted, lost);
		CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
		sim_free(sim);
	}
}

/* The gateway acts once; its answer comes again, first from the cache, then as a duplicate. */
static void test_lost_ack(void)
{
	for (unsigned lost = 0; lost < 8; lost++) {
		struct sim *sim = settled(3);

		sim->filter = drop_ack;
		sim->filter_arg = &lost;
		CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
		sim_run(sim, 2 * NS_PER_S);
		CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->nodes[0].replies == 1);
		CU_ASSERT_EQUAL(sim->n_to_ha[SIU_ACK], lost + 1);
		CU_ASSERT_EQUAL(sim_stats(sim->gw).updates,
			lost <= SIU_SAME_BYTES_MAX ? 1 : lost + 1 - SIU_SAME_BYTES_MAX);
		CU_ASSERT_EQUAL(sim->last_ack.result,
			lost <= SIU_SAME_BYTES_MAX ? SIU_RESULT_OK : SIU_RESULT_DUPLICATE);
		CU_ASSERT_TRUE(sim->n_acks == 1 && sim_stats(sim->ha).pending == 0);
		CU_ASSERT_TRUE(sim->faults == 0 && sim_agrees(sim));
		sim_free(sim);
	}
}

static void test_never_answered(void)
{
	unsigned all = UINT32_MAX;
	struct sim *sim = settled(4);
	unsigned before;

	sim->filter = drop_ack;
	sim->filter_arg = &all;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, 20 * NS_PER_S);
	before = sim->n_to_gw[SIU_UPDATE];
	sim_run(sim, 20 * NS_PER_S);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE] - before, 4); /* every 5 s */
	CU_ASSERT_TRUE(sim_stats(sim->ha).pending == 1 && sim->nodes[0].acted == 1);
	all = 0;
	sim_run(sim, 6 * NS_PER_S);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
	sim_free(sim);
}

/* The network repeats and delays datagrams: each is acted upon once. */
static void test_duplicates_of_the_network(void)
{
	struct sim *sim = settled(5);
	struct sim_packet old;

	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, NS_PER_MS);
	old = sim->last_to_gw[SIU_UPDATE];
	for (unsigned i = 0; i < 3; i++)
		sim_inject(sim, true, old.bytes, old.len);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->n_acks == 1);
	CU_ASSERT_EQUAL(sim->n_to_ha[SIU_ACK], 2); /* three copies in one go: one more ACK */
	CU_ASSERT_EQUAL(sim_stats(sim->gw).replayed, 3);

	/* Behind a newer one it is still seen; its answer tells nobody anything new. */
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
	sim_run(sim, NS_PER_MS);
	sim_inject(sim, true, old.bytes, old.len);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 2 && sim->n_acks == 2 && sim_agrees(sim));

	/* A repeated ACK as well. */
	old = sim->last_to_ha[SIU_ACK];
	sim_inject(sim, false, old.bytes, old.len);
	CU_ASSERT_TRUE(sim->n_acks == 2 && sim_stats(sim->ha).replayed == 1);
	sim_free(sim);
}

/* An open ticket: repetitions are not handed up, and the answer goes out when it is there. */
static void test_slow_gateway(void)
{
	struct sim *sim = settled(6);

	sim->ack_delay_ns = 100 * NS_PER_MS;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, 99 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->n_to_gw[SIU_UPDATE] == 4 && sim->n_to_ha[SIU_ACK] == 0);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, 1);
	sim_run(sim, 3 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->n_to_ha[SIU_ACK] == 1 && sim_stats(sim->ha).pending == 0);
	CU_ASSERT_EQUAL(sim->faults, 0);
	sim_free(sim);
}

static void test_superseded(void)
{
	unsigned one = 1;
	struct sim *sim = settled(7);

	/* Unsent: only the newest goes out. */
	CU_ASSERT_EQUAL(sim_move(sim, 0, "old"), 0);
	CU_ASSERT_EQUAL(sim_move(sim, 0, "new"), 0);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 1);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->nodes[0].generation == 2);

	/* In the air: the newer at once, the older never again. Two nodes shared its datagram. */
	sim->filter = drop_update;
	sim->filter_arg = &one;
	memset(sim->n_to_gw, 0, sizeof sim->n_to_gw);
	CU_ASSERT_EQUAL(sim_move(sim, 0, "old"), 0);
	CU_ASSERT_EQUAL(sim_move(sim, 1, "beside"), 0);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_EQUAL(sim_move(sim, 0, "new"), 0);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[0].generation == 4 && sim->nodes[0].acted == 2);
	CU_ASSERT_EQUAL(sim->nodes[1].acted, 0);
	sim_run(sim, 10 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[1].acted == 1 && sim->nodes[0].acted == 2);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 3);
	CU_ASSERT_TRUE(sim_stats(sim->ha).pending == 0 && sim_agrees(sim));
	sim_free(sim);
}

/* A late ACK of the older generation does not settle the newer. */
static void test_late_ack_of_superseded(void)
{
	struct sim *sim = settled(8);

	sim->ack_delay_ns = 5 * NS_PER_MS;
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
	sim_run(sim, 5 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->n_to_ha[SIU_ACK] == 1 && sim->n_acks == 0);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 1);
	sim_run(sim, 2 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->n_acks == 1 && sim->last_ack.generation == 2);
	sim_free(sim);
}

static void test_forget(void)
{
	unsigned one = 1;
	struct sim *sim = settled(9);
	struct ip_addr first = sim_home_address(0);

	sim->filter = drop_update;
	sim->filter_arg = &one;
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
	CU_ASSERT_EQUAL(sim_move(sim, 1, NULL), 0);
	CU_ASSERT_EQUAL(sim_reply_only(sim, 0, "reply"), 0);
	sim_run(sim, NS_PER_MS);
	siu_forget(sim->ha, &first);
	siu_forget(sim->ha, &first);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 2);
	sim_run(sim, 20 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 0 && sim->nodes[0].replies == 1);
	CU_ASSERT_TRUE(sim->nodes[1].acted == 1 && sim_stats(sim->ha).pending == 0);
	sim_free(sim);
}

static void test_results_that_are_not_final(void)
{
	static const struct {
		enum siu_result result;
		uint64_t done_ms; /* after three refusals */
	} rows[] = {
		{SIU_RESULT_NO_RESOURCES, 10 + 20 + 40},
		{SIU_RESULT_RATE_LIMITED, 80 + 160 + 320},
	};

	for (size_t i = 0; i < 2; i++) {
		struct sim *sim = settled(10);

		sim->refuse_with = rows[i].result;
		sim->refuse_times = 3;
		CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
		sim_run(sim, rows[i].done_ms * NS_PER_MS);
		CU_ASSERT_EQUAL(sim->nodes[0].acted, 0);
		CU_ASSERT_TRUE(sim->n_acks == 3 && sim->last_ack.result == rows[i].result);
		CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 1);
		sim_run(sim, 5 * NS_PER_MS);
		CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->n_acks == 4);
		CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
		sim_free(sim);
	}
}

static void test_final_refusals(void)
{
	static const enum siu_result results[] = {SIU_RESULT_STALE, SIU_RESULT_NO_SA,
		SIU_RESULT_NOT_AUTHORISED, SIU_RESULT_BAD_COA, SIU_RESULT_BAD_RRP,
		(enum siu_result)500};

	for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
		struct sim *sim = settled(11);

		sim->refuse_with = results[i];
		sim->refuse_times = 1;
		CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
		sim_run(sim, 200 * NS_PER_MS);
		CU_ASSERT_TRUE(sim->n_acks == 1 && sim->last_ack.result == results[i]);
		CU_ASSERT_TRUE(sim_stats(sim->ha).pending == 0 && sim->nodes[0].acted == 0);
		CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 1);
		sim_free(sim);
	}
}

/* RESYNC_NEEDED in an ACK starts a SYNC, which brings the binding. */
static void test_resync_needed(void)
{
	struct sim *sim = settled(12);

	sim->refuse_with = SIU_RESULT_RESYNC_NEEDED;
	sim->refuse_times = 1;
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
	sim_run(sim, 10 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim->sync_ends, 2);
	CU_ASSERT_TRUE(sim_agrees(sim));
	sim_free(sim);
}

static void test_reply_only_beside_an_update(void)
{
	struct sim *sim = settled(13);

	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	CU_ASSERT_EQUAL(sim_reply_only(sim, 0, "denied"), 0);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 2);
	CU_ASSERT_EQUAL(sim_reply_only(sim, 0, "denied again"), 0); /* takes the other's place */
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 2);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 1);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->nodes[0].replies == 2);
	CU_ASSERT_TRUE(sim->n_acks == 2 && sim_stats(sim->ha).pending == 0);
	CU_ASSERT_EQUAL(sim->last_ack.update_flags, SIU_REPLY_ONLY);
	sim_free(sim);
}

static void test_batches(void)
{
	struct sim *sim = settled(14);
	const size_t n = 1000;

	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(sim_move(sim, i, NULL), 0);
	sim_run(sim, 20 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
	/* 54 bytes an entry: 25 in 1352. */
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], n / 25);
	CU_ASSERT_TRUE(sim->n_to_ha[SIU_ACK] <= n / 25);
	CU_ASSERT_TRUE(sim->last_to_gw[SIU_UPDATE].len == 48 + 25 * 54 && sim_agrees(sim));
	CU_ASSERT_EQUAL(sim->faults, 0);
	sim_free(sim);
}

/* With RRPs that fill datagrams differently; none is longer than 1400 bytes. */
static bool is_short_enough(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	(void)to_gw;
	(void)datagram;
	sim->faults += len > SIU_DATAGRAM_MAX;
	return true;
}

static void test_batches_with_rrp(void)
{
	struct sim *sim = settled(15);
	char rrp[SIU_RRP_MAX + 1];

	sim->filter = is_short_enough;
	for (size_t i = 0; i < 500; i++) {
		size_t len = 1 + i * 37 % SIU_RRP_MAX;

		memset(rrp, 'r', len);
		rrp[len] = '\0';
		CU_ASSERT_EQUAL(sim_move(sim, i, rrp), 0);
	}
	sim_run(sim, 100 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_stats(sim->ha).pending == 0 && sim_agrees(sim) && sim->faults == 0);
	sim_free(sim);
}

static void test_bounds(void)
{
	struct sim *sim = settled(16);
	struct siu_update bad = {.home_address = sim_home_address(0)};

	sim->cut = true;
	for (size_t i = 0; i < SIM_NODES; i++)
		CU_ASSERT_EQUAL(sim_move(sim, i, NULL), 0);
	CU_ASSERT_EQUAL(sim_reply_only(sim, 0, "no room"), -ENOBUFS);
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0); /* a node counts once */
	CU_ASSERT_EQUAL(siu_update(sim->ha, &bad, 0), -EINVAL);
	/* Not more than the window is in the air, whatever is queued. */
	sim_run(sim, 5 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], SIU_FLIGHTS);
	sim_run(sim, 10 * NS_PER_S);
	sim->cut = false;
	sim_run(sim, 2 * NS_PER_S);
	CU_ASSERT_TRUE(sim_agrees(sim) && sim_stats(sim->ha).pending == 0);
	sim_free(sim);
}

/* While the peer is down updates wait, then all go at once. */
/* 200 ms each way: from the third update on nothing is repeated, and the wait is an estimate. */
static void test_long_way(void)
{
	struct sim *sim = sim_new(20);
	unsigned before = 0;

	sim->delay_min_ns = sim->delay_max_ns = 200 * NS_PER_MS;
	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	CU_ASSERT_TRUE_FATAL(sim_settle(sim));
	CU_ASSERT_EQUAL(sim_stats(sim->ha).first_us, 10000);
	for (unsigned i = 0; i < 6; i++) {
		before = sim->n_to_gw[SIU_UPDATE];
		CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
		sim_run(sim, NS_PER_S);
		CU_ASSERT_TRUE(sim_stats(sim->ha).pending == 0);
	}
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], before + 1);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).rtt_us, 400000);
	CU_ASSERT_TRUE(sim_stats(sim->ha).first_us > 400000);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 6 && sim->faults == 0 && sim_agrees(sim));
	sim_free(sim);
}

/* The procedure of siu/README.md section 2, under updates all the time, on a bad network. */
static void test_rotation(void)
{
	static const struct {
		bool ha;
		uint16_t id, next_id;
	} steps[] = {
		{false, 1, 2}, /* the gateway accepts the new one */
		{true, 2, 1},  /* the home agent sends with it, and accepts it */
		{false, 2, 0}, /* the gateway sends with it */
		{true, 2, 0},
	};
	const size_t n_steps = sizeof steps / sizeof *steps;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *sim = settled(seed);
		unsigned moves = 0;

		sim->loss_percent = seed % 2 == 0 ? 0 : 30;
		sim->delay_max_ns = 5 * NS_PER_MS;
		for (size_t i = 0; i <= n_steps; i++) {
			for (unsigned k = 0; k < 50; k++, moves++) {
				CU_ASSERT_EQUAL(sim_move(sim, k, "rrp"), 0);
				sim_run(sim, 3 * NS_PER_MS);
			}
			/* What the gateway sent under the former key has arrived or is lost. */
			if (i == n_steps - 1)
				sim_run(sim, sim->delay_max_ns);
			if (i < n_steps)
				sim_set_keys(sim, steps[i].ha, steps[i].id, steps[i].next_id);
		}
		sim_run(sim, 20 * NS_PER_S);
		CU_ASSERT_TRUE(sim_agrees(sim) && sim_stats(sim->ha).pending == 0);
		CU_ASSERT_TRUE(sim->faults == 0 && moves == 50 * (n_steps + 1));
		if (sim->loss_percent == 0) /* else silence may be taken for an end */
			CU_ASSERT_TRUE(sim->ha_downs + sim->gw_downs == 0 && sim->sync_begins == 1);
		CU_ASSERT_EQUAL(sim_stats(sim->gw).bad_tag + sim_stats(sim->ha).bad_tag, 0);
		CU_ASSERT_EQUAL(sim_stats(sim->ha).unknown_key, 0);
		/* Nothing of id 1 is taken any more. */
		sim_set_keys(sim, true, 1, 0);
		CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
		sim->loss_percent = 0;
		sim_run(sim, 100 * NS_PER_MS);
		CU_ASSERT_TRUE(sim_stats(sim->gw).unknown_key > 0 && !sim_agrees(sim));
		sim_free(sim);
	}
}

/* In the air under a key that the gateway takes away: sent again under the new one. */
static void test_rotation_in_the_air(void)
{
	struct sim *sim = settled(21);

	sim_set_keys(sim, false, 1, 2);
	sim->cut = true;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, NS_PER_MS);
	sim_set_keys(sim, true, 2, 1);
	sim_set_keys(sim, false, 2, 0);
	sim->cut = false;
	sim_run(sim, 20 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_agrees(sim) && sim_stats(sim->ha).pending == 0);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).unknown_key, 0);
	sim_free(sim);
}

static void test_down_then_up(void)
{
	struct sim *sim = settled(17);

	sim->cut = true;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, 5 * NS_PER_S);
	CU_ASSERT_FALSE(sim_stats(sim->ha).up);
	memset(sim->n_to_gw, 0, sizeof sim->n_to_gw);
	CU_ASSERT_EQUAL(sim_move(sim, 1, "rrp"), 0);
	sim_run(sim, 5 * NS_PER_S);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 0);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 2);
	sim->cut = false;
	sim_run(sim, 1100 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_agrees(sim) && sim_stats(sim->ha).pending == 0);
	CU_ASSERT_TRUE(sim->nodes[0].acted == 1 && sim->nodes[1].acted == 1);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_UPDATE], 1);
	CU_ASSERT_EQUAL(sim->sync_ends, 1); /* same run: nothing to restore */
	sim_free(sim);
}

static void inject_update(struct sim *sim, uint64_t sequence, uint32_t epoch, uint32_t peer_epoch,
	const char *entries_hex, uint16_t count)
{
	struct siu_key ha_to_gw, gw_to_ha;
	uint8_t datagram[SIU_DATAGRAM_MAX];
	size_t len = SIU_HEADER_BYTES;
	struct siu_header header = {.version = 1,
		.type = SIU_UPDATE,
		.key_id = 1,
		.epoch = epoch,
		.sequence = sequence,
		.peer_epoch = peer_epoch,
		.count = count};

	len += unit_hex(entries_hex, datagram + len, 1000) + SIU_TAG_BYTES;
	header.length = (uint16_t)len;
	siu_header_encode(datagram, &header);
	sim_keys(&ha_to_gw, &gw_to_ha);
	CU_ASSERT_EQUAL(siu_auth_seal(&ha_to_gw, datagram, len), 0);
	sim_inject(sim, true, datagram, len);
}

#define FIXED "0000000000000063 0000000000000001 0000000000000000 00000000 0258 0000"
#define ENTRY "8002 0032" FIXED "8101 0005 04 0a010001 8103 0005 04 cb000001"

static uint64_t answers_with(const struct sim *sim, enum siu_result result, uint64_t reference)
{
	struct siu_ack_entry ack;
	uint64_t got, n = 0;
	const struct sim_packet *packet = &sim->last_to_ha[SIU_ACK];
	struct wire entry, body;

	if (packet->len == 0)
		return 0;
	body = wire_over(packet->bytes + SIU_HEADER_BYTES, packet->len - SIU_DATAGRAM_MIN);
	while (siu_body_next(&body, SIU_ACK, &entry))
		n += siu_ack_decode(entry, &ack, &got) == SIU_RESULT_OK && got == reference &&
		     ack.result == result;
	return n;
}

/* Entries are judged one by one; what spoils the whole datagram is not answered. */
static void test_entries_that_cannot_be_read(void)
{
	static const struct {
		const char *name, *hex;
		uint16_t count;
		unsigned handed_up;
		enum siu_result result; /* of reference 0x63, when answered */
		unsigned answered;
		uint64_t malformed, unknown_tlv;
	} rows[] = {
		{"good", ENTRY, 1, 1, SIU_RESULT_OK, 1, 0, 0},
		{"skippable beside", ENTRY "0009 0001 00", 1, 1, SIU_RESULT_OK, 1, 0, 0},
		{"must understand beside", ENTRY "8009 0001 00", 1, 0, SIU_RESULT_UNKNOWN_TLV, 1, 0,
			1},
		{"must understand inside",
			"8002 0037" FIXED
			"8101 0005 04 0a010001 8103 0005 04 cb000001 8177 0001 00",
			1, 0, SIU_RESULT_UNKNOWN_TLV, 1, 0, 1},
		{"skippable inside",
			"8002 0037" FIXED
			"8101 0005 04 0a010001 8103 0005 04 cb000001 0177 0001 00",
			1, 1, SIU_RESULT_OK, 1, 0, 0},
		{"entry without home address", "8002 0020" FIXED, 1, 0, SIU_RESULT_MALFORMED, 1, 1,
			0},
		{"good beside bad", "8002 0020" FIXED ENTRY, 2, 1, SIU_RESULT_MALFORMED, 1, 1, 0},
		{"count wrong", ENTRY, 2, 0, SIU_RESULT_OK, 0, 1, 0},
		{"framing wrong", ENTRY "00", 1, 0, SIU_RESULT_OK, 0, 1, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sim *sim = settled(18);

		sim->last_to_ha[SIU_ACK].len = 0;
		inject_update(sim, 500, 1, 100, rows[i].hex, rows[i].count);
		siu_tick(sim->gw, sim->now_ns);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).updates == rows[i].handed_up);
		CHECK_ROW(
			rows[i].name, answers_with(sim, rows[i].result, 0x63) == rows[i].answered);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).malformed == rows[i].malformed);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).unknown_tlv == rows[i].unknown_tlv);
		sim_free(sim);
	}
}

static void test_runs_and_window(void)
{
	static const struct {
		const char *name;
		uint64_t sequence;
		uint32_t epoch, peer_epoch;
		unsigned handed_up;
		uint64_t not_up, replayed;
	} rows[] = {
		{"good", 500, 1, 100, 1, 0, 0},
		{"former run of the sender", 500, 0, 100, 0, 1, 0},
		{"later run, not proven", 500, 2, 100, 0, 1, 0},
		{"former run of the receiver", 500, 1, 99, 0, 1, 0},
		{"receiver's run unknown", 500, 1, 0, 0, 1, 0},
		{"sequence 0", 0, 1, 100, 0, 0, 1},
		{"sequence seen", 400, 1, 100, 0, 0, 1},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sim *sim = settled(19);

		inject_update(sim, 400, 1, 100, ENTRY, 1);
		inject_update(sim, rows[i].sequence, rows[i].epoch, rows[i].peer_epoch, ENTRY, 1);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).updates == 1 + rows[i].handed_up);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).not_up == rows[i].not_up);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).replayed == rows[i].replayed);
		sim_free(sim);
	}
}

/* Reordered inside the window: taken. Older than it: refused. */
static void test_reordered(void)
{
	struct sim *sim = settled(20);

	inject_update(sim, 5000, 1, 100, ENTRY, 1);
	inject_update(sim, 5000 - SIU_REPLAY_WINDOW + 1, 1, 100, ENTRY, 1);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, 2);
	inject_update(sim, 5000 - SIU_REPLAY_WINDOW, 1, 100, ENTRY, 1);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, 2);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).replayed, 1);
	CU_ASSERT_EQUAL(sim->nodes[0].acted, 1); /* same generation */
	sim_free(sim);
}

/* The cache is full of open datagrams: a new one is refused, but not as seen. */
static void test_full_cache(void)
{
	struct sim *sim = settled(21);

	sim->ack_delay_ns = NS_PER_S;
	for (uint64_t i = 0; i < SIU_CACHE; i++)
		inject_update(sim, 500 + i, 1, 100, ENTRY, 1);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).busy, 0);
	inject_update(sim, 500 + SIU_CACHE, 1, 100, ENTRY, 1);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).busy, 1);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, SIU_CACHE);
	sim_run(sim, 1100 * NS_PER_MS);
	inject_update(sim, 500 + SIU_CACHE, 1, 100, ENTRY, 1);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, SIU_CACHE + 1);
	CU_ASSERT_EQUAL(sim->faults, 0);
	sim_free(sim);
}

/* Tickets of a home agent's former run do not answer datagrams of its present one. */
static void test_ticket_of_a_former_run(void)
{
	struct sim *sim = settled(22);

	sim->ack_delay_ns = 200 * NS_PER_MS;
	CU_ASSERT_EQUAL(sim_move(sim, 0, NULL), 0);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_EQUAL(sim->n_open, 1);
	sim_start_ha(sim, 2);
	sim->refuse_with = SIU_RESULT_NO_SA;
	sim->refuse_times = 1; /* the SYNC's entry: another answer than the open ticket's */
	sim_run(sim, 180 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim->n_open, 2);
	sim_run(sim, 100 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim->last_ack.result, SIU_RESULT_NO_SA);
	CU_ASSERT_EQUAL(sim->n_acks, 1);
	sim_free(sim);
}

static void test_notices(void)
{
	struct sim *sim = settled(23);
	struct siu_rrq_seen seen = {.node = 1,
		.identification = 77,
		.home_address = sim_home_address(0),
		.coa = sim_coa(1),
		.observed = {sim_coa(2), 4500}};
	struct siu_event event = {
		.kind = SIU_EVENT_SA_EXPIRED, .node = 1, .home_address = sim_home_address(0)};

	CU_ASSERT_EQUAL(siu_send_rrq_seen(sim->gw, &seen, sim->now_ns), 0);
	CU_ASSERT_EQUAL(sim->n_to_ha[SIU_RRQ_SEEN], 1); /* before any tick */
	CU_ASSERT_EQUAL(siu_send_event(sim->gw, &event, sim->now_ns), 0);
	event.kind = (enum siu_event_kind)9;
	CU_ASSERT_EQUAL(siu_send_event(sim->gw, &event, sim->now_ns), 0);
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_TRUE(sim->seen == 1 && sim->events == 1);
	CU_ASSERT_TRUE(sim_stats(sim->ha).rrq_seen == 1 && sim_stats(sim->ha).events == 1);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).malformed, 0);
	/* Again the same bytes: once. */
	sim_inject(
		sim, false, sim->last_to_ha[SIU_RRQ_SEEN].bytes, sim->last_to_ha[SIU_RRQ_SEEN].len);
	CU_ASSERT_TRUE(sim->seen == 1 && sim_stats(sim->ha).replayed == 1);
	seen.observed.addr.family = 0;
	CU_ASSERT_EQUAL(siu_send_rrq_seen(sim->gw, &seen, sim->now_ns), -EINVAL);
	sim->cut = true;
	sim_run(sim, 5 * NS_PER_S);
	CU_ASSERT_EQUAL(siu_send_event(sim->gw, &event, sim->now_ns), -ENOTCONN);
	sim_free(sim);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"a lone update leaves at once", test_lone_update_leaves_at_once},
		{"a lone update never waits", test_lone_update_never_waits},
		{"an update behind a full window", test_update_behind_a_full_window},
		{"lost UPDATEs", test_lost_update},
		{"lost ACKs", test_lost_ack},
		{"never answered", test_never_answered},
		{"duplicates of the network", test_duplicates_of_the_network},
		{"slow gateway", test_slow_gateway},
		{"superseded", test_superseded},
		{"late ACK of a superseded update", test_late_ack_of_superseded},
		{"forget", test_forget},
		{"results that are not final", test_results_that_are_not_final},
		{"final refusals", test_final_refusals},
		{"RESYNC_NEEDED", test_resync_needed},
		{"REPLY_ONLY beside an update", test_reply_only_beside_an_update},
		{"batches", test_batches},
		{"batches with RRPs", test_batches_with_rrp},
		{"bounds", test_bounds},
		{"a long way", test_long_way},
		{"keys rotated under updates", test_rotation},
		{"keys rotated, an update in the air", test_rotation_in_the_air},
		{"down, then up", test_down_then_up},
		{"entries that cannot be read", test_entries_that_cannot_be_read},
		{"runs and window", test_runs_and_window},
		{"reordered", test_reordered},
		{"full cache", test_full_cache},
		{"ticket of a former run", test_ticket_of_a_former_run},
		{"RRQ_SEEN and EVENT", test_notices},
		{NULL, NULL},
	};

	return unit_run("siu/update", cases);
}
