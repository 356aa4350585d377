/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SYNC by mark and sweep, on a network that loses any one datagram, or many at random and in any
 * order, with restarts in the middle: in the end both sides hold the same. siu/README.md section 6.
 */
#include "siu/sync.h"

#include "siu/auth.h"
#include "tests/unit/lib/unit.h"
#include "tests/unit/siu/sim.h"

#define BINDINGS 60

/* The home agent has bindings 0..59; the gateway an old view of 30..89. */
static struct sim *unlike(uint64_t seed)
{
	struct sim *sim = sim_new(seed);

	sim->n_bindings = BINDINGS;
	for (size_t i = 0; i < BINDINGS; i++)
		sim->bindings[i] = (struct sim_node){
			.present = true, .generation = 5 + i % 3, .coa = sim_coa(i)};
	for (size_t i = BINDINGS; i < SIM_NODES; i++)
		sim->bindings[i].generation = 4; /* durable, of a binding that expired */
	for (size_t i = 30; i < 90; i++)
		sim->nodes[i] = (struct sim_node){
			.present = true, .generation = 4, .coa = sim_coa(1000 + i)};
	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	return sim;
}

static void test_first_sync(void)
{
	struct sim *sim = unlike(1);

	CU_ASSERT_TRUE(sim_settle(sim));
	CU_ASSERT_TRUE(sim_agrees(sim));
	CU_ASSERT_TRUE(sim->sync_begins == 1 && sim->sync_ends == 1 && sim->swept == 30);
	CU_ASSERT_TRUE(sim_stats(sim->ha).syncs == 1 && sim_stats(sim->gw).syncs == 1);
	CU_ASSERT_TRUE(sim->now_ns - SIM_START_NS < 100 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->faults == 0 && sim_stats(sim->ha).pending == 0);
	/* No binding was sent twice. */
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, BINDINGS);
	sim_free(sim);
}

/* More bindings than the SYNC may have in the air. */
static void test_window(void)
{
	struct sim *sim = sim_new(2);

	sim->ack_delay_ns = NS_PER_MS;
	sim->n_bindings = SIM_NODES;
	for (size_t i = 0; i < SIM_NODES; i++)
		sim->bindings[i] = (struct sim_node){
			.present = true, .generation = 1, .coa = sim_coa(i)};
	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	while (sim->now_ns < SIM_START_NS + NS_PER_S) {
		sim_run(sim, 100 * NS_PER_US);
		CU_ASSERT_TRUE(sim_stats(sim->ha).pending <= SIU_SYNC_WINDOW);
	}
	CU_ASSERT_TRUE(sim_agrees(sim) && sim->sync_ends == 1);
	sim_free(sim);
}

/* Each datagram of the start and the SYNC lost in turn. */
static void test_any_one_lost(void)
{
	unsigned total;
	struct sim *sim = unlike(3);

	CU_ASSERT_TRUE(sim_settle(sim));
	total = sim->n_sent;
	CU_ASSERT_TRUE(total >= 10);
	sim_free(sim);
	for (unsigned nth = 1; nth <= total + 2; nth++) {
		sim = unlike(3);
		sim->drop_nth = nth;
		CU_ASSERT_TRUE(sim_settle(sim));
		sim_run(sim, 200 * NS_PER_MS);
		CU_ASSERT_TRUE(sim_agrees(sim) && sim->faults == 0);
		CU_ASSERT_TRUE(sim->sync_begins == 1 && sim->sync_ends == 1);
		CU_ASSERT_TRUE(sim->now_ns - SIM_START_NS < NS_PER_S);
		sim_free(sim);
	}
}

static bool is_sync_step(const uint8_t *datagram, uint8_t wanted)
{
	return datagram[1] == SIU_SYNC && datagram[SIU_HEADER_BYTES + SIU_TLV_BYTES + 4] == wanted;
}

/* No END leaves before every binding is acknowledged, no binding before the BEGIN is. */
static bool watch_order(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	(void)len;
	if (to_gw && datagram[1] == SIU_UPDATE)
		sim->faults += !sim->in_sync;
	if (to_gw && is_sync_step(datagram, SIU_SYNC_END))
		sim->faults += !sim_agrees(sim) && sim->swept == 0 &&
			       sim_stats(sim->gw).updates < BINDINGS;
	return true;
}

static void test_order_under_reordering(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *sim = unlike(seed);

		sim->delay_min_ns = 100 * NS_PER_US;
		sim->delay_max_ns = 30 * NS_PER_MS;
		sim->filter = watch_order;
		CU_ASSERT_TRUE(sim_settle(sim));
		CU_ASSERT_TRUE(sim->sync_begins == 1 && sim->sync_ends == 1 && sim->swept == 30);
		sim_run(sim, 100 * NS_PER_MS); /* stragglers */
		CU_ASSERT_TRUE(sim_agrees(sim) && sim->faults == 0);
		CU_ASSERT_TRUE(sim->sync_begins == 1 && sim->sync_ends == 1);
		sim_free(sim);
	}
}

/* Moves go on during the SYNC; the node is marked by its move, whose RRP goes out once. */
static void test_moves_during_sync(void)
{
	struct sim *sim = unlike(4);

	sim->ack_delay_ns = 3 * NS_PER_MS;
	CU_ASSERT_EQUAL(sim_move(sim, 7, "rrp"), 0); /* before the association is up */
	while (!sim->in_sync)
		sim_run(sim, 100 * NS_PER_US);
	CU_ASSERT_EQUAL(sim_move(sim, 8, "rrp"), 0); /* its SYNC entry is not sent yet */
	sim_run(sim, NS_PER_MS);
	CU_ASSERT_EQUAL(sim_move(sim, 9, "rrp"), 0);   /* its SYNC entry is in the air */
	CU_ASSERT_EQUAL(sim_move(sim, 100, "rrp"), 0); /* a new binding */
	CU_ASSERT_TRUE(sim_settle(sim));
	sim_run(sim, 20 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_agrees(sim) && sim->sync_ends == 1 && sim->swept == 30);
	for (size_t i = 7; i <= 9; i++)
		CU_ASSERT_EQUAL(sim->nodes[i].replies, 1);
	CU_ASSERT_EQUAL(sim->nodes[100].replies, 1);
	CU_ASSERT_TRUE(sim_stats(sim->ha).pending == 0 && sim->faults == 0);
	sim_free(sim);
}

static void test_gateway_restarts(void)
{
	struct sim *sim = unlike(5);

	CU_ASSERT_TRUE(sim_settle(sim));
	memset(sim->nodes, 0, sizeof sim->nodes);
	sim_start_gw(sim, 101);
	sim_run(sim, 100 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->sync_begins == 2 && sim->sync_ends == 2 && sim_agrees(sim));
	CU_ASSERT_EQUAL(sim->ha_restarted, 1);
	sim_free(sim);
}

static void test_home_agent_restarts(void)
{
	struct sim *sim = unlike(6);

	CU_ASSERT_TRUE(sim_settle(sim));
	sim->bindings[3].present = false; /* expired while it was away */
	sim_start_ha(sim, 2);
	sim_run(sim, 100 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->sync_begins == 2 && sim->sync_ends == 2 && sim_agrees(sim));
	CU_ASSERT_EQUAL(sim->swept, 31);
	sim_free(sim);
}

/* The gateway took an update before the BEGIN and answers it after: that leaves no mark. */
static void test_answer_to_before_the_begin(void)
{
	struct sim *sim = unlike(10);

	CU_ASSERT_TRUE(sim_settle(sim));
	sim_run(sim, 20 * NS_PER_MS);
	sim->ack_delay_ns = 5 * NS_PER_MS;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, NS_PER_MS);
	sim->ack_delay_ns = 0;
	sim->refuse_with = SIU_RESULT_RESYNC_NEEDED;
	sim->refuse_times = 1;
	CU_ASSERT_EQUAL(sim_move(sim, 1, "rrp"), 0);
	sim_run(sim, 50 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->sync_ends == 2 && sim->swept == 30);
	CU_ASSERT_TRUE(sim_agrees(sim) && sim->faults == 0 && sim->nodes[0].replies == 1);
	sim_free(sim);
}

/* Either side restarts after every few datagrams of the SYNC: it begins again, and ends. */
static void test_restarts_in_the_middle(void)
{
	for (unsigned after = 1; after < 40; after++) {
		for (unsigned who = 0; who < 2; who++) {
			struct sim *sim = unlike(7);

			sim->ack_delay_ns = 500 * NS_PER_US;
			CU_ASSERT_EQUAL(sim_move(sim, 5, NULL), 0);
			while (sim->n_sent < after && sim->now_ns < SIM_START_NS + NS_PER_S)
				sim_run(sim, 50 * NS_PER_US);
			if (who == 0)
				sim_start_gw(sim, 101);
			else
				sim_start_ha(sim, 2);
			sim_run(sim, 500 * NS_PER_MS);
			CU_ASSERT_TRUE(sim_agrees(sim) && !sim->in_sync && sim->faults == 0);
			CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
			CU_ASSERT_TRUE(sim_stats(sim->ha).syncs >= 1);
			sim_free(sim);
		}
	}
}

/* A loss of the association in the middle: again from the BEGIN, with another id. */
static void test_interrupted(void)
{
	struct sim *sim = unlike(8);

	sim->ack_delay_ns = 10 * NS_PER_MS;
	while (!sim->in_sync)
		sim_run(sim, 100 * NS_PER_US);
	sim_run(sim, NS_PER_MS);
	sim->cut = true;
	sim_run(sim, 5 * NS_PER_S);
	CU_ASSERT_TRUE(sim->ha_downs == 1 && sim->sync_ends == 0);
	sim->cut = false;
	sim_run(sim, 1200 * NS_PER_MS);
	CU_ASSERT_TRUE(sim->sync_begins == 2 && sim->sync_ends == 1 && sim_agrees(sim));
	sim_run(sim, 5 * NS_PER_S);
	CU_ASSERT_EQUAL(sim->sync_begins, 2);
	sim_free(sim);
}

/* NO_RESOURCES holds the END back; a final refusal does not. */
static void test_refusals(void)
{
	struct sim *sim = unlike(9);

	sim->refuse_with = SIU_RESULT_NO_RESOURCES;
	sim->refuse_times = BINDINGS;
	CU_ASSERT_TRUE(sim_settle(sim));
	CU_ASSERT_TRUE(sim_agrees(sim) && sim->sync_ends == 1);
	sim_free(sim);

	sim = unlike(9);
	sim->refuse_with = SIU_RESULT_NOT_AUTHORISED;
	sim->refuse_times = 1;
	CU_ASSERT_TRUE(sim_settle(sim));
	CU_ASSERT_EQUAL(sim->sync_ends, 1);
	CU_ASSERT_EQUAL(sim->bindings[0].last_result, SIU_RESULT_NOT_AUTHORISED);
	sim_free(sim);
}

static void inject_step(
	struct sim *sim, bool to_gw, uint64_t sequence, const struct siu_sync_message *message)
{
	struct siu_key ha_to_gw, gw_to_ha;
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out w = wire_into(datagram, sizeof datagram);
	struct siu_header header = {.version = 1,
		.type = SIU_SYNC,
		.key_id = 1,
		.epoch = to_gw ? 1 : 100,
		.sequence = sequence,
		.peer_epoch = to_gw ? 100 : 1,
		.count = 1};

	wire_put_room(&w, SIU_HEADER_BYTES);
	CU_ASSERT_TRUE(siu_sync_encode(&w, message));
	header.length = (uint16_t)(wire_written(&w) + SIU_TAG_BYTES);
	siu_header_encode(datagram, &header);
	sim_keys(&ha_to_gw, &gw_to_ha);
	CU_ASSERT_EQUAL(siu_auth_seal(to_gw ? &ha_to_gw : &gw_to_ha, datagram, header.length), 0);
	sim_inject(sim, to_gw, datagram, header.length);
}

/* What the gateway makes of each step, one after the other; id 1 was begun and ended before. */
static void test_steps_at_the_gateway(void)
{
	static const struct {
		const char *name;
		struct siu_sync_message message;
		unsigned begins, ends; /* so far */
		int answer, result;    /* step of the answer, -1: none */
	} rows[] = {
		{"repeated END", {1, SIU_SYNC_END, 0}, 1, 1, SIU_SYNC_END_ACK, 0},
		{"repeated BEGIN", {1, SIU_SYNC_BEGIN, 0}, 1, 1, SIU_SYNC_BEGIN_ACK, 0},
		{"END without BEGIN", {2, SIU_SYNC_END, 0}, 1, 1, SIU_SYNC_END_ACK, 138},
		{"BEGIN", {3, SIU_SYNC_BEGIN, 0}, 2, 1, SIU_SYNC_BEGIN_ACK, 0},
		{"BEGIN again", {3, SIU_SYNC_BEGIN, 0}, 2, 1, SIU_SYNC_BEGIN_ACK, 0},
		{"older BEGIN", {2, SIU_SYNC_BEGIN, 0}, 2, 1, -1, 0},
		{"older END", {1, SIU_SYNC_END, 0}, 2, 1, SIU_SYNC_END_ACK, 138},
		{"newer BEGIN instead", {4, SIU_SYNC_BEGIN, 0}, 3, 1, SIU_SYNC_BEGIN_ACK, 0},
		{"END of the one before", {3, SIU_SYNC_END, 0}, 3, 1, SIU_SYNC_END_ACK, 138},
		{"END", {4, SIU_SYNC_END, 0}, 3, 2, SIU_SYNC_END_ACK, 0},
		{"END again", {4, SIU_SYNC_END, 0}, 3, 2, SIU_SYNC_END_ACK, 0},
		{"an answer", {5, SIU_SYNC_BEGIN_ACK, 0}, 3, 2, -1, 0},
		{"an unknown step", {5, 9, 0}, 3, 2, -1, 0},
		{"id 0", {0, SIU_SYNC_BEGIN, 0}, 3, 2, -1, 0},
		{"END of id 0", {0, SIU_SYNC_END, 0}, 3, 2, SIU_SYNC_END_ACK, 138},
	};
	struct sim *sim = unlike(11);

	CU_ASSERT_TRUE(sim_settle(sim));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		unsigned before = sim->n_to_ha[SIU_SYNC];
		const uint8_t *body = sim->last_to_ha[SIU_SYNC].bytes + SIU_HEADER_BYTES;

		inject_step(sim, true, 500 + i, &rows[i].message);
		siu_tick(sim->gw, sim->now_ns);
		CHECK_ROW(rows[i].name, sim->sync_begins == rows[i].begins);
		CHECK_ROW(rows[i].name, sim->sync_ends == rows[i].ends);
		CHECK_ROW(rows[i].name,
			sim->n_to_ha[SIU_SYNC] == before + (rows[i].answer >= 0 ? 1 : 0));
		if (rows[i].answer < 0)
			continue;
		CHECK_ROW(rows[i].name, wire_load_u32(body + 4) == rows[i].message.id);
		CHECK_ROW(rows[i].name, body[8] == rows[i].answer);
		CHECK_ROW(rows[i].name, wire_load_u16(body + 10) == rows[i].result);
	}
	sim_free(sim);
}

/* What the home agent makes of answers: only the present one of the present step counts. */
static void test_answers_at_the_home_agent(void)
{
	static const struct {
		const char *name;
		struct siu_sync_message answer;
		bool moves_on;
	} rows[] = {
		{"as it should be", {1, SIU_SYNC_BEGIN_ACK, 0}, true},
		{"other id", {2, SIU_SYNC_BEGIN_ACK, 0}, false},
		{"other step", {1, SIU_SYNC_END_ACK, 0}, false},
		{"a step of its own", {1, SIU_SYNC_BEGIN, 0}, false},
		{"refused", {1, SIU_SYNC_BEGIN_ACK, SIU_RESULT_RESYNC_NEEDED}, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sim *sim = unlike(12);

		while (sim->n_to_gw[SIU_SYNC] == 0)
			sim_run(sim, 10 * NS_PER_US);
		sim->cut = true;
		inject_step(sim, false, 500, &rows[i].answer);
		siu_tick(sim->ha, sim->now_ns);
		CHECK_ROW(rows[i].name, (sim->n_to_gw[SIU_UPDATE] > 0) == rows[i].moves_on);
		sim->cut = false;
		CHECK_ROW(rows[i].name, sim_settle(sim));
		CHECK_ROW(rows[i].name, sim_agrees(sim));
		sim_free(sim);
	}
}

/* The gateway does not know the SYNC any more that is ended: another one. */
static void test_end_refused(void)
{
	const struct siu_sync_message newer = {2, SIU_SYNC_BEGIN, 0};
	struct sim *sim = unlike(13);

	sim->ack_delay_ns = 5 * NS_PER_MS;
	while (!sim->in_sync)
		sim_run(sim, 10 * NS_PER_US);
	inject_step(sim, true, 500, &newer);
	CU_ASSERT_TRUE(sim_settle(sim));
	CU_ASSERT_TRUE(sim->sync_begins == 2 && sim->sync_ends == 1 && sim_agrees(sim));
	/* BEGIN 1, END 1, BEGIN 2, END 2 at least. */
	CU_ASSERT_TRUE(sim_stats(sim->ha).syncs == 1 && sim->n_to_gw[SIU_SYNC] >= 4);
	sim_free(sim);
}

/* A fifth of all datagrams lost, the rest in any order, restarts and moves on top. */
static void test_storm(void)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct sim *sim = unlike(seed);
		uint32_t ha_epoch = 1, gw_epoch = 100;

		sim->loss_percent = 20;
		sim->delay_min_ns = 100 * NS_PER_US;
		sim->delay_max_ns = 20 * NS_PER_MS;
		sim->ack_delay_ns = 2 * NS_PER_MS;
		for (unsigned round = 0; round < 60; round++) {
			CU_ASSERT_EQUAL(sim_move(sim, (seed * 31 + round * 17) % 120, "rrp"), 0);
			sim_run(sim, 37 * NS_PER_MS);
			if (round == 20 && seed % 2 == 0)
				sim_start_gw(sim, ++gw_epoch);
			if (round == 40 && seed % 3 == 0)
				sim_start_ha(sim, ++ha_epoch);
		}
		sim_run(sim, 8 * NS_PER_S);
		CU_ASSERT_TRUE(sim_agrees(sim));
		CU_ASSERT_EQUAL(sim->faults, 0);
		CU_ASSERT_EQUAL(sim_stats(sim->ha).pending, 0);
		CU_ASSERT_TRUE(sim->sync_ends >= 1 && !sim->in_sync);

		sim_free(sim);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"first SYNC", test_first_sync},
		{"window", test_window},
		{"any one datagram lost", test_any_one_lost},
		{"order under reordering", test_order_under_reordering},
		{"moves during a SYNC", test_moves_during_sync},
		{"gateway restarts", test_gateway_restarts},
		{"home agent restarts", test_home_agent_restarts},
		{"answer to what was sent before the BEGIN", test_answer_to_before_the_begin},
		{"restarts in the middle", test_restarts_in_the_middle},
		{"interrupted", test_interrupted},
		{"refusals", test_refusals},
		{"steps at the gateway", test_steps_at_the_gateway},
		{"answers at the home agent", test_answers_at_the_home_agent},
		{"END refused", test_end_refused},
		{"20 % loss, reordering, restarts", test_storm},
		{NULL, NULL},
	};

	return unit_run("siu/sync", cases);
}
