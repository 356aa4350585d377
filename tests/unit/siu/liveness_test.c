/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO through two associations: the start and its schedule, losses, down and up, restarts, and
 * what recorded or foreign datagrams can do (nothing). siu/README.md section 3.
 */
#include "siu/auth.h"
#include "tests/unit/lib/unit.h"
#include "tests/unit/siu/sim.h"

#define ROUND_TRIP_NS (400 * NS_PER_US)

static struct sim *pair(uint64_t seed)
{
	struct sim *sim = sim_new(seed);

	sim_start_ha(sim, 1);
	sim_start_gw(sim, 100);
	return sim;
}

static void test_start(void)
{
	struct sim *sim = pair(1);

	sim_run(sim, 11 * NS_PER_MS + 2 * ROUND_TRIP_NS); /* the first answer may wait 10 ms */
	CU_ASSERT_TRUE(sim_stats(sim->ha).up && sim_stats(sim->gw).up);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).peer_epoch, 100);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).peer_epoch, 1);
	CU_ASSERT_TRUE(sim->ha_ups == 1 && sim->gw_ups == 1);
	CU_ASSERT_TRUE(sim->ha_restarted == 0 && sim->gw_restarted == 0);
	sim_run(sim, 10 * NS_PER_S);
	CU_ASSERT_TRUE(sim->ha_downs == 0 && sim->gw_downs == 0);
	sim_free(sim);
}

/* One HELLO a second when all is well: no ping-pong. */
static void test_quiet(void)
{
	struct sim *sim = pair(2);
	unsigned to_gw, to_ha;

	sim_run(sim, 3 * NS_PER_S);
	to_gw = sim->n_to_gw[SIU_HELLO];
	to_ha = sim->n_to_ha[SIU_HELLO];
	sim_run(sim, 10 * NS_PER_S);
	CU_ASSERT_EQUAL(sim->n_to_gw[SIU_HELLO] - to_gw, 10);
	CU_ASSERT_EQUAL(sim->n_to_ha[SIU_HELLO] - to_ha, 10);
	sim_free(sim);
}

static void test_schedule(void)
{
	static const uint64_t at_ms[] = {0, 50, 100, 200, 400, 800, 1800, 2800};
	struct sim *sim = sim_new(3);

	sim_start_ha(sim, 1);
	for (unsigned i = 0; i < sizeof at_ms / sizeof *at_ms; i++) {
		sim_run(sim, SIM_START_NS + at_ms[i] * NS_PER_MS - sim->now_ns);
		CU_ASSERT_EQUAL(sim->n_to_gw[SIU_HELLO], i);
		sim_run(sim, 1);
		CU_ASSERT_EQUAL(sim->n_to_gw[SIU_HELLO], i + 1);
		sim->now_ns = SIM_START_NS + at_ms[i] * NS_PER_MS;
	}
	sim_free(sim);
}

/* Whichever datagram of the start is lost, both are up within 500 ms. */
static void test_start_with_a_loss(void)
{
	for (unsigned nth = 1; nth <= 6; nth++) {
		struct sim *sim = pair(4);

		sim->drop_nth = nth;
		sim_run(sim, 500 * NS_PER_MS);
		CU_ASSERT_TRUE(sim_stats(sim->ha).up && sim_stats(sim->gw).up);
		sim_free(sim);
	}
}

static void test_down_and_up(void)
{
	struct sim *sim = pair(5);

	CU_ASSERT_TRUE(sim_settle(sim));
	sim_run(sim, NS_PER_S);
	sim->cut = true;
	sim_run(sim, 2400 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_stats(sim->ha).up && sim_stats(sim->gw).up);
	sim_run(sim, 1300 * NS_PER_MS);
	CU_ASSERT_FALSE(sim_stats(sim->ha).up || sim_stats(sim->gw).up);
	CU_ASSERT_TRUE(sim->ha_downs == 1 && sim->gw_downs == 1);
	sim->cut = false;
	sim_run(sim, 1100 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_stats(sim->ha).up && sim_stats(sim->gw).up);
	CU_ASSERT_TRUE(sim->ha_ups == 2 && sim->ha_restarted == 0 && sim->gw_restarted == 0);
	sim_free(sim);
}

static bool only_to_ha(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	(void)sim;
	(void)datagram;
	(void)len;
	return !to_gw;
}

/* 30 % lost, some late: hardly ever taken for an end in ten minutes. */
static void test_losses(void)
{
	unsigned downs = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim *sim = pair(seed);

		CU_ASSERT_TRUE(sim_settle(sim));
		sim->loss_percent = 30;
		sim->delay_max_ns = 200 * NS_PER_MS;
		sim_run(sim, 600 * NS_PER_S);
		downs += sim->ha_downs + sim->gw_downs;
		/* 1 a second when all is well, 4 while one is missed, and the answers. */
		CU_ASSERT_TRUE(sim->n_to_gw[SIU_HELLO] < 2 * 600);
		sim_free(sim);
	}
	CU_ASSERT_TRUE(downs < 20); /* of 40 sides; without the urgent ones it was 123 */
}

/* Hearing the peer is not enough: it must hear us. */
static void test_one_way(void)
{
	struct sim *sim = pair(6);

	CU_ASSERT_TRUE(sim_settle(sim));
	sim->filter = only_to_ha;
	sim_run(sim, 9 * NS_PER_S);
	CU_ASSERT_FALSE(sim_stats(sim->ha).up || sim_stats(sim->gw).up);
	sim_free(sim);
}

static void test_restart(void)
{
	struct sim *sim = pair(7);

	CU_ASSERT_TRUE(sim_settle(sim));
	sim_start_gw(sim, 101);
	sim_run(sim, 50 * NS_PER_MS);
	CU_ASSERT_TRUE(sim_stats(sim->ha).up && sim_stats(sim->gw).up);
	CU_ASSERT_EQUAL(sim_stats(sim->ha).peer_epoch, 101);
	CU_ASSERT_TRUE(sim->ha_restarted == 1 && sim->ha_downs == 0);
	sim_start_ha(sim, 2);
	sim_run(sim, 50 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).peer_epoch, 2);
	CU_ASSERT_TRUE(sim->gw_restarted == 1 && sim_stats(sim->ha).up);
	sim_free(sim);
}

#define RECORDED 64
struct record {
	struct sim_packet packets[RECORDED];
	size_t n;
};

static bool record(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	struct record *log = sim->filter_arg;

	if (to_gw && log->n < RECORDED) {
		log->packets[log->n].len = len;
		memcpy(log->packets[log->n++].bytes, datagram, len);
	}
	return true;
}

static void replay_all(struct sim *sim, const struct record *log)
{
	for (size_t i = 0; i < log->n; i++)
		sim_inject(sim, true, log->packets[i].bytes, log->packets[i].len);
}

/* All that a home agent ever said, said again to a gateway in each state it can be in. */
static void test_recorded_runs(void)
{
	static struct record first, second;
	struct sim *sim = pair(8);
	uint64_t acted;

	first.n = second.n = 0;
	sim->filter = record;
	sim->filter_arg = &first;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	CU_ASSERT_TRUE(sim_settle(sim));
	sim_run(sim, 3 * NS_PER_S);
	sim->filter_arg = &second;
	sim_start_ha(sim, 2);
	sim->bindings[0].generation = 1;
	CU_ASSERT_EQUAL(sim_move(sim, 0, "rrp"), 0);
	sim_run(sim, 3 * NS_PER_S);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).peer_epoch, 2);
	CU_ASSERT_TRUE(first.n > 5 && second.n > 5);
	acted = sim_stats(sim->gw).updates;

	/* Both up: the present run is seen already, the former one is refused. */
	sim->filter = NULL;
	sim_run(sim, NS_PER_MS); /* nothing is under way any more */
	replay_all(sim, &first);
	replay_all(sim, &second);
	sim_run(sim, 100 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, acted);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).peer_epoch, 2);
	CU_ASSERT_TRUE(sim_stats(sim->gw).up && sim_stats(sim->ha).up);
	CU_ASSERT_TRUE(sim_stats(sim->gw).replayed >= second.n && sim_stats(sim->gw).not_up > 0);

	/* The gateway restarts and hears records of the present run and of an old one: not up. */
	sim->cut = true;
	sim_start_gw(sim, 101);
	for (unsigned i = 0; i < 5; i++) {
		replay_all(sim, &second);
		replay_all(sim, &first);
		sim_run(sim, 100 * NS_PER_MS);
	}
	CU_ASSERT_FALSE(sim_stats(sim->gw).up);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, 0);

	/* And when the true one is up again, records for the former gateway stay out. */
	sim->cut = false;
	CU_ASSERT_TRUE(sim_settle(sim));
	sim_run(sim, NS_PER_S);
	acted = sim_stats(sim->gw).updates;
	for (unsigned i = 0; i < 30; i++) {
		replay_all(sim, &second);
		replay_all(sim, &first);
		sim_run(sim, 200 * NS_PER_MS);
	}
	CU_ASSERT_EQUAL(sim_stats(sim->gw).updates, acted);
	CU_ASSERT_TRUE(sim_stats(sim->gw).up && sim_stats(sim->ha).up);
	CU_ASSERT_TRUE(sim->faults == 0 && sim->gw_downs == 0);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).peer_epoch, 2);
	sim_free(sim);
}

/* Replayed HELLOs of an old run draw at most a HELLO in 10 ms, bad tags nothing at all. */
static void test_floods(void)
{
	static struct record first;
	struct sim *sim = pair(9);
	unsigned answers;

	first.n = 0;
	sim->filter = record;
	sim->filter_arg = &first;
	CU_ASSERT_TRUE(sim_settle(sim));
	sim->filter = NULL;
	sim_start_ha(sim, 2);
	CU_ASSERT_TRUE(sim_settle(sim));
	answers = sim->n_to_ha[SIU_HELLO];
	for (unsigned i = 0; i < 1000; i++) {
		sim_inject(sim, true, first.packets[0].bytes, first.packets[0].len);
		sim_run(sim, NS_PER_MS);
	}
	CU_ASSERT_TRUE(sim->n_to_ha[SIU_HELLO] - answers <= 102);
	CU_ASSERT_TRUE(sim_stats(sim->gw).up && sim_stats(sim->gw).peer_epoch == 2);

	sim_run(sim, 20 * NS_PER_MS);
	sim->n_to_ha[SIU_HELLO] = 0;
	first.packets[0].bytes[first.packets[0].len - 1] ^= 1;
	for (unsigned i = 0; i < 1000; i++)
		sim_inject(sim, true, first.packets[0].bytes, first.packets[0].len);
	sim_run(sim, 100 * NS_PER_MS);
	CU_ASSERT_EQUAL(sim_stats(sim->gw).bad_tag + sim_stats(sim->gw).shed, 1000);
	CU_ASSERT_TRUE(sim->n_to_ha[SIU_HELLO] <= 1);
	sim_free(sim);
}

/* 10,000 wrong tags a second in the peer's name, of every kind, for 4 s. */
static void flood(struct sim *sim)
{
	struct sim_packet forged[2] = {sim->last_to_gw[SIU_HELLO], sim->last_to_gw[SIU_UPDATE]};

	for (size_t i = 0; i < 2; i++) {
		forged[i].bytes[12] ^= 1;          /* an epoch that is not the peer's */
		forged[i].bytes[24] ^= 1;          /* nor ours */
		forged[i].bytes[32 + 4 + 16] ^= 1; /* HELLO: nor is the echo */
		forged[i].bytes[forged[i].len - 1] ^= 1;
	}
	for (unsigned ms = 0; ms < 4000; ms++) {
		for (unsigned i = 0; i < 10; i++)
			sim_inject(sim, true, forged[i % 2].bytes, forged[i % 2].len);
		if (ms % 100 == 50)
			CU_ASSERT_EQUAL(sim_move(sim, ms / 100 % 4, NULL), 0);
		sim_run(sim, NS_PER_MS);
	}
}

/* Most of a flood costs no HMAC; the home agent works on, and comes back after a restart. */
static void test_flood_in_the_peers_name(void)
{
	struct sim *sim = pair(10);
	struct siu_stats before, after;

	CU_ASSERT_TRUE(sim_settle(sim));
	CU_ASSERT_EQUAL(sim_move(sim, 1, NULL), 0);
	sim_run(sim, 100 * NS_PER_MS);
	before = sim_stats(sim->gw);
	flood(sim);
	after = sim_stats(sim->gw);
	CU_ASSERT_EQUAL(after.bad_tag + after.shed, 40000);
	CU_ASSERT_TRUE(after.bad_tag >= 4000 && after.bad_tag <= 4000 + 256 + 1);
	CU_ASSERT_TRUE(after.updates >= before.updates + 39);
	CU_ASSERT_EQUAL(sim->gw_downs, 0);
	CU_ASSERT_TRUE(sim_agrees(sim));
	sim_start_ha(sim, 2);
	flood(sim);
	CU_ASSERT_TRUE(sim_stats(sim->gw).up && sim_stats(sim->gw).peer_epoch == 2);
	CU_ASSERT_TRUE(sim_agrees(sim));
	sim_free(sim);
}

/* A home agent's HELLO as a stranger with the key would make it. */
static void inject_hello(struct sim *sim, const struct siu_hello *hello, uint16_t count,
	uint8_t version, uint8_t type)
{
	struct siu_key ha_to_gw, gw_to_ha;
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out w = wire_into(datagram, sizeof datagram);
	struct siu_header header = {.version = version,
		.type = type,
		.key_id = 1,
		.epoch = 9,
		.sequence = 1,
		.count = count};

	wire_put_room(&w, SIU_HEADER_BYTES);
	for (uint16_t i = 0; i < count; i++)
		CU_ASSERT_TRUE(siu_hello_encode(&w, hello));
	header.length = (uint16_t)(wire_written(&w) + SIU_TAG_BYTES);
	siu_header_encode(datagram, &header);
	sim_keys(&ha_to_gw, &gw_to_ha);
	CU_ASSERT_EQUAL(siu_auth_seal(&ha_to_gw, datagram, header.length), 0);
	sim_inject(sim, true, datagram, header.length);
}

static void test_versions_and_roles(void)
{
	static const struct {
		const char *name;
		struct siu_hello hello;
		uint16_t count;
		uint8_t version, type;
		uint64_t malformed, bad_version, answers;
	} rows[] = {
		{"as it should be", {1, 1, 1, 0, 5, 0}, 1, 1, SIU_HELLO, 0, 0, 1},
		{"wider range", {0, 9, 1, 0, 5, 0}, 1, 1, SIU_HELLO, 0, 0, 1},
		{"only later versions", {2, 9, 1, 0, 5, 0}, 1, 1, SIU_HELLO, 0, 1, 0},
		{"only earlier versions", {0, 0, 1, 0, 5, 0}, 1, 1, SIU_HELLO, 0, 1, 0},
		{"header of version 2", {1, 1, 1, 0, 5, 0}, 1, 2, SIU_HELLO, 0, 1, 0},
		{"own role", {1, 1, 2, 0, 5, 0}, 1, 1, SIU_HELLO, 1, 0, 0},
		{"two in one", {1, 1, 1, 0, 5, 0}, 2, 1, SIU_HELLO, 1, 0, 0},
		{"none", {1, 1, 1, 0, 5, 0}, 0, 1, SIU_HELLO, 1, 0, 0},
		{"unknown type", {1, 1, 1, 0, 5, 0}, 1, 1, 7, 1, 0, 0},
		{"a gateway's type", {1, 1, 1, 0, 5, 0}, 1, 1, SIU_ACK, 1, 0, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sim *sim = sim_new(10);

		sim_start_gw(sim, 100);
		sim_run(sim, 20 * NS_PER_MS);
		CU_ASSERT_EQUAL(sim->n_to_ha[SIU_HELLO], 1);
		inject_hello(sim, &rows[i].hello, rows[i].count, rows[i].version, rows[i].type);
		sim_run(sim, 20 * NS_PER_MS);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).malformed == rows[i].malformed);
		CHECK_ROW(rows[i].name, sim_stats(sim->gw).bad_version == rows[i].bad_version);
		CHECK_ROW(rows[i].name, sim->n_to_ha[SIU_HELLO] == 1 + rows[i].answers);
		CHECK_ROW(rows[i].name, !sim_stats(sim->gw).up);
		sim_free(sim);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"up after the start", test_start},
		{"one HELLO a second", test_quiet},
		{"schedule of the start", test_schedule},
		{"start with any one datagram lost", test_start_with_a_loss},
		{"down and up", test_down_and_up},
		{"up in spite of losses", test_losses},
		{"one way is down", test_one_way},
		{"restart of either", test_restart},
		{"recorded runs", test_recorded_runs},
		{"floods", test_floods},
		{"a flood in the peer's name", test_flood_in_the_peers_name},
		{"versions, roles, types", test_versions_and_roles},
		{NULL, NULL},
	};

	return unit_run("siu/liveness", cases);
}
