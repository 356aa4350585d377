/* SPDX-License-Identifier: BSD-3-Clause */
/* What may become an SA, and that no (key, IV) can come twice by way of the verbs. */
#include "control/gw/key_verbs.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/esp/life_conf.h"
#include "lib/clock.h"

#include <arpa/inet.h>
#include <errno.h>

#define MANY_NODES 50000 /* with two SAs each */

static struct fixture fx;

static struct sa_params params(uint32_t spi, uint8_t key)
{
	struct sa_params sa = {
		.spi = spi, .alg = CRYPTO_AES128GCM16, .esn = true, .replay_window = 64};

	memset(sa.key, key, 20);
	return sa;
}

/* An end in seconds, none if 0. */
static struct sa_params params_until(uint32_t spi, uint8_t key, uint64_t life_s)
{
	struct sa_params sa = params(spi, key);

	sa.life.seconds.hard = life_s;
	return sa;
}

static int add(const char *node, bool inbound, uint32_t spi, uint8_t key)
{
	const struct sa_params sa = params(spi, key);
	const char *why = NULL;
	int rc = key_add(fx.keys, fixture_node(&fx, node), inbound, &sa, &why);

	if (rc != 0)
		CU_ASSERT_PTR_NOT_NULL(why);
	return rc;
}

static int del(const char *node, bool inbound, uint32_t spi)
{
	const char *why = NULL;

	return key_del(fx.keys, fixture_node(&fx, node), inbound, spi, &why);
}

static void begin(void)
{
	fixture_open(&fx, false);
	fixture_add_nodes(&fx);
}

static void test_add(void)
{
	begin();
	CU_ASSERT_EQUAL(add("node1", true, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(add("node1", true, 255, 1), -EINVAL);
	CU_ASSERT_EQUAL(add("node1", true, 256, 1), 0);
	CU_ASSERT_EQUAL(add("node2", true, 256, 2), -EEXIST);        /* SPI in use */
	CU_ASSERT_EQUAL(add("node2", true, 257, 1), -EKEYREJECTED);  /* key in another SA */
	CU_ASSERT_EQUAL(add("node1", false, 300, 1), -EKEYREJECTED); /* in the other direction */
	CU_ASSERT_EQUAL(add("node1", false, 256, 2), 0); /* an outbound SPI is the node's number */
	CU_ASSERT_EQUAL(double_count(DOUBLE_SA_ADD), 2);
	fixture_close(&fx);
}

/* aes256-sha256: its keys filled with these. */
static struct sa_params params_of_two(uint32_t spi, uint8_t cipher_key, uint8_t hmac_key)
{
	struct sa_params sa = params(spi, 0);

	sa.alg = CRYPTO_AES256_SHA256;
	memset(sa.key, cipher_key, 32);
	memset(sa.key + 32, hmac_key, 32);
	return sa;
}

static void test_hmac_keys(void)
{
	static const struct {
		const char *name;
		bool inbound;
		uint8_t cipher_key, hmac_key;
		int rc;
		const char *why;
	} rows[] = {
		{"first", true, 1, 2, 0, NULL},
		{"one for both", false, 3, 3, -EINVAL, "key: is the same for cipher and HMAC"},
		{"HMAC's, the other way", false, 3, 2, -EKEYREJECTED, "key: stands in another SA"},
		{"cipher's, the other way", false, 1, 3, -EKEYREJECTED,
			"key: stands in another SA"},
		{"cipher's for HMAC", false, 3, 1, -EKEYREJECTED, "key: stands in another SA"},
		{"HMAC's for a cipher", false, 2, 3, -EKEYREJECTED, "key: stands in another SA"},
		{"its own", false, 3, 4, 0, NULL},
	};
	struct sa_params sa;
	const char *why;

	begin();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		sa = params_of_two(256, rows[i].cipher_key, rows[i].hmac_key);
		if (!rows[i].inbound)
			sa.replay_window = 0;
		why = NULL;
		CHECK_ROW(rows[i].name, key_add(fx.keys, fixture_node(&fx, "node1"),
						rows[i].inbound, &sa, &why) == rows[i].rc);
		CHECK_ROW(rows[i].name,
			rows[i].why == NULL || strncmp(why, rows[i].why, strlen(rows[i].why)) == 0);
	}
	/* Neither comes back. */
	CU_ASSERT_EQUAL(del("node1", true, 256), 0);
	sa = params_of_two(257, 5, 2);
	CU_ASSERT_EQUAL(
		key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, &why), -EKEYREJECTED);
	sa = params_of_two(257, 1, 5);
	CU_ASSERT_EQUAL(
		key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, &why), -EKEYREJECTED);
	sa = params_of_two(257, 5, 6);
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, &why), 0);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node1"), true), 0);
	sa = params_of_two(258, 7, 6);
	CU_ASSERT_EQUAL(
		key_add(fx.keys, fixture_node(&fx, "node2"), true, &sa, &why), -EKEYREJECTED);
	fixture_close(&fx);
}

static void test_windows_and_room(void)
{
	struct sa_params sa = params(1000, 1);
	const char *why;

	begin();
	sa.replay_window = 63;
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, &why), -EINVAL);
	sa.replay_window = 4097;
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, &why), -EINVAL);
	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++)
		CU_ASSERT_EQUAL(add("node1", true, 1000 + i, (uint8_t)(1 + i)), 0);
	CU_ASSERT_EQUAL(add("node1", true, 1100, 50), -ENOSPC);
	CU_ASSERT_EQUAL(add("node1", false, 2000, 60), 0);
	CU_ASSERT_EQUAL(add("node1", false, 2001, 61), 0);
	CU_ASSERT_EQUAL(add("node1", false, 2002, 62), -ENOSPC);
	/* What was refused left nothing behind. */
	CU_ASSERT_EQUAL(add("node2", true, 1100, 50), 0);
	fixture_close(&fx);
}

static void test_refused_by_packet_path(void)
{
	begin();
	dp_double.sa_add_fails = -ENOMEM;
	CU_ASSERT_EQUAL(add("node1", true, 1000, 1), -ENOMEM);
	dp_double.sa_add_fails = 0;
	CU_ASSERT_EQUAL(add("node2", true, 1000, 1), 0);
	fixture_close(&fx);
}

static void test_deleted_key_stays_away(void)
{
	begin();
	CU_ASSERT_EQUAL(add("node1", true, 1000, 1), 0);
	CU_ASSERT_EQUAL(add("node1", false, 2000, 2), 0);
	CU_ASSERT_EQUAL(del("node1", true, 1001), -ENOENT);
	CU_ASSERT_EQUAL(del("node1", true, 1000), 0);
	CU_ASSERT_EQUAL(del("node1", false, 2000), 0);
	CU_ASSERT(
		double_call(DOUBLE_SA_DEL, 0) != NULL && double_call(DOUBLE_SA_DEL, 0)->drop_slot);
	CU_ASSERT_EQUAL(add("node1", true, 1000, 1), -EKEYREJECTED);
	CU_ASSERT_EQUAL(add("node1", false, 2000, 2), -EKEYREJECTED);
	CU_ASSERT_EQUAL(add("node1", true, 1000, 3), 0); /* the SPI may come back */
	fixture_close(&fx);
}

static uint32_t epoch_of_last_add(void)
{
	const struct double_call *call = double_call(
		DOUBLE_SA_ADD, double_count(DOUBLE_SA_ADD) - 1);

	return call == NULL ? 0 : call->iv_epoch;
}

/* A node that is removed keeps its counter slots; its key in the same epoch would repeat IVs. */
static void test_fresh_epoch_after_removal(void)
{
	const struct sa_params from_file = params(2001, 4);
	const char *why;
	uint32_t boot;
	int rc;

	begin();
	boot = state_boot_epoch(fx.state);
	CU_ASSERT_EQUAL(add("node1", false, 2000, 2), 0);
	CU_ASSERT_EQUAL(epoch_of_last_add(), boot);
	CU_ASSERT_EQUAL(add("other1", false, 2000, 3), 0);
	CU_ASSERT_EQUAL(epoch_of_last_add(), boot);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node1"), false), 0);
	/* The disk has not had its turn: nothing is added, and nobody waits. */
	double_reset_calls();
	CU_ASSERT_EQUAL(add("node2", false, 2000, 2), -EAGAIN);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SA_ADD), 0);
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "node2")->sas);
	CU_ASSERT_EQUAL(add("node2", true, 1000, 5), 0); /* it needs no IV */
	CU_ASSERT_EQUAL(state_start(fx.state), 0);
	for (unsigned i = 0; i < 5000 && (rc = add("node2", false, 2000, 2)) == -EAGAIN; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT(epoch_of_last_add() > boot);
	/* What comes from the file waits for the disk, as reading the file does. */
	boot = epoch_of_last_add();
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node2"), false), 0);
	CU_ASSERT_EQUAL(
		key_add_static(fx.keys, fixture_node(&fx, "other1"), false, &from_file, &why), 0);
	CU_ASSERT(epoch_of_last_add() > boot);
	fixture_close(&fx);
}

/* As when very many nodes are rekeyed for long: epochs are few, and one is enough for all keys that
 * were forgotten before it; of those it is a later one. */
static void test_epochs_last(void)
{
	const uint32_t kept = KEY_SPENT_KEPT;
	struct key_verbs *keys;
	struct tunnel *node;
	uint32_t epochs = 0, epoch;
	const char *why;

	begin();
	keys = key_verbs_new(fx.tunnels, fx.state, NULL, NULL, NULL);
	CU_ASSERT_EQUAL(state_start(fx.state), 0);
	node = fixture_node(&fx, "node1");
	epoch = key_iv_epoch(keys);
	for (uint32_t i = 0; i < 2 * kept + 100; i++) {
		const uint32_t number = i == 2 * kept ? 0 : i; /* long forgotten */
		struct sa_params sa = params(2000, 9);
		int rc;

		memcpy(sa.key, &number, sizeof number);
		while ((rc = key_add(keys, node, false, &sa, &why)) == -EAGAIN)
			usleep(100);
		if (rc != 0)
			CU_FAIL_FATAL("add");
		if (key_iv_epoch(keys) != epoch) {
			CU_ASSERT(key_iv_epoch(keys) >= epoch + 2);
			epoch = key_iv_epoch(keys);
			epochs++;
		}
		CU_ASSERT(number != 0 || (epochs != 0) == (i != 0));
		if (key_del(keys, node, false, 2000, &why) != 0)
			CU_FAIL_FATAL("del");
		double_reset_calls();
	}
	CU_ASSERT(epochs == 2);
	key_verbs_free(keys);
	fixture_close(&fx);
}

static void test_node_deleted_for_good(void)
{
	begin();
	CU_ASSERT_EQUAL(add("node1", true, 1000, 1), 0);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node1"), true), 0);
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "node1"));
	CU_ASSERT_EQUAL(add("node2", true, 1000, 1), -EKEYREJECTED);
	CU_ASSERT_EQUAL(add("node2", true, 1000, 2), 0);
	fixture_close(&fx);
}

static void test_alloc_spi(void)
{
	uint32_t first, spi = 1;

	begin();
	first = key_alloc_spi(fx.keys);
	CU_ASSERT(first >= SA_SPI_MIN);
	for (unsigned i = 1; i < KEY_SPI_RESERVED_MAX; i++) {
		spi = key_alloc_spi(fx.keys);
		if (spi < SA_SPI_MIN || spi == first)
			CU_FAIL("reserved or given out twice");
	}
	CU_ASSERT_EQUAL(key_alloc_spi(fx.keys), 0); /* all are reserved */
	CU_ASSERT_EQUAL(add("node1", true, first, 1), 0);
	CU_ASSERT(key_alloc_spi(fx.keys) != 0); /* that one is used, its place is free */
	fixture_close(&fx);
}

static void test_lifetime(void)
{
	const struct sa_params sa = params_until(1000, 1, 10);
	const struct sa_lifetimes longer = {.seconds = {.hard = 30}};
	const struct key_event *event;
	const char *why;
	uint64_t now_ns = 100 * NS_PER_S;

	begin();
	clock_set_test(now_ns, NS_PER_S);
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, &why), 0);
	key_verbs_poll(fx.keys, now_ns + 9 * NS_PER_S);
	CU_ASSERT_PTR_NOT_NULL(key_query(fixture_node(&fx, "node1"), true, 1000));
	CU_ASSERT_EQUAL(
		key_update(fx.keys, fixture_node(&fx, "node1"), true, 1000, &longer, &why), 0);
	key_verbs_poll(fx.keys, now_ns + 30 * NS_PER_S - 1);
	CU_ASSERT_PTR_NOT_NULL(key_query(fixture_node(&fx, "node1"), true, 1000));
	CU_ASSERT_EQUAL(fx.key_events, 0);
	clock_set_test(now_ns, 9000 * NS_PER_S); /* a step of the wall clock ends nothing */
	key_verbs_poll(fx.keys, now_ns + 30 * NS_PER_S - 1);
	CU_ASSERT_PTR_NOT_NULL(key_query(fixture_node(&fx, "node1"), true, 1000));
	key_verbs_poll(fx.keys, now_ns + 30 * NS_PER_S);
	CU_ASSERT_PTR_NULL(key_query(fixture_node(&fx, "node1"), true, 1000));
	CU_ASSERT_EQUAL(fx.key_events, 1);
	event = key_event_at(fx.keys, 1);
	CU_ASSERT(event != NULL && event->kind == KEY_EVENT_HARD && event->spi == 1000);
	CU_ASSERT_PTR_NULL(key_event_at(fx.keys, 2));
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* The end of a node is that of its SA that ends first, whatever comes and goes beside it. */
static void test_several_lifetimes(void)
{
	static const uint64_t lifetimes_s[] = {30, 10, 20, 0};
	struct tunnel *node;
	const char *why;

	begin();
	node = fixture_node(&fx, "node1");
	clock_set_test(NS_PER_S, NS_PER_S);
	for (uint32_t i = 0; i < NODE_INBOUND_MAX; i++) {
		const struct sa_params sa = params_until(
			1000 + i, (uint8_t)(1 + i), lifetimes_s[i]);

		CU_ASSERT_EQUAL(key_add(fx.keys, node, true, &sa, &why), 0);
	}
	key_verbs_poll(fx.keys, 11 * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 1);
	CU_ASSERT_PTR_NULL(key_query(node, true, 1001));
	CU_ASSERT_EQUAL(del("node1", true, 1002), 0); /* the next one to end */
	key_verbs_poll(fx.keys, 31 * NS_PER_S - 1);
	CU_ASSERT_EQUAL(fx.key_events, 1);
	key_verbs_poll(fx.keys, 31 * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 2);
	CU_ASSERT_PTR_NULL(key_query(node, true, 1000));
	key_verbs_poll(fx.keys, UINT64_MAX - 1);
	CU_ASSERT_PTR_NOT_NULL(key_query(node, true, 1003));
	/* What is gone with its node does not end later. */
	CU_ASSERT_EQUAL(key_update(fx.keys, node, true, 1003,
				&(struct sa_lifetimes){.seconds = {.hard = 30}}, &why),
		0);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, node, true), 0);
	key_verbs_poll(fx.keys, UINT64_MAX - 1);
	CU_ASSERT_EQUAL(fx.key_events, 2);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* --- many nodes ---------------------------------------------------------------------------------
 */

struct many { /* a table of its own; nothing is kept, so the disk sets no pace */
	struct tunnels *tunnels;
	struct key_verbs *keys;
};

static void many_add(const struct many *many, uint32_t i, bool inbound, uint64_t life_s)
{
	char name[16];
	struct tunnel_params node = {.name = name,
		.home_address = ip_addr_from_v4(htonl(0x0a010000 + i)),
		.position = {.closed = true}};
	struct sa_params sa = params_until(SA_SPI_MIN + i, inbound, life_s);
	struct tunnel *tunnel;
	const char *why;

	double_reset_calls();
	memcpy(sa.key, &i, sizeof i);
	snprintf(name, sizeof name, "n%u", i);
	tunnel = tunnel_by_name(many->tunnels, name);
	if (tunnel == NULL && tunnel_add(many->tunnels, &node, &tunnel) != 0)
		abort();
	if (key_add(many->keys, tunnel, inbound, &sa, &why) != 0)
		CU_FAIL("not added");
}

static bool many_has(const struct many *many, uint32_t i, bool inbound)
{
	char name[16];

	snprintf(name, sizeof name, "n%u", i);
	return key_query(tunnel_by_name(many->tunnels, name), inbound, SA_SPI_MIN + i) != NULL;
}

static struct many many_begin(void)
{
	struct many many;

	fixture_open(&fx, false);
	clock_set_test(NS_PER_S, NS_PER_S);
	many.tunnels = tunnels_new(&(struct tunnel_config){
		.dp = DOUBLE_DP, .handovers = fx.handovers, .max_nodes = MANY_NODES});
	many.keys = key_verbs_new(many.tunnels, fx.state, NULL, NULL, NULL);
	return many;
}

static void many_end(struct many *many)
{
	double_reset_calls();
	key_verbs_free(many->keys);
	for (struct tunnel *t; (t = tunnel_next(many->tunnels, 0)) != NULL; double_reset_calls())
		CU_ASSERT_EQUAL(tunnel_del(many->tunnels, t, true), 0);
	tunnels_free(many->tunnels);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

static void test_on_time_among_many(void)
{
	const uint32_t last = MANY_NODES - 1;
	struct many many = many_begin();
	uint64_t now_ns = NS_PER_S;

	for (uint32_t i = 0; i < MANY_NODES; i++) {
		many_add(&many, i, true, i == last ? 1 : 3600 - i % 1000);
		many_add(&many, i, false, 3600);
	}
	for (; now_ns < 2 * NS_PER_S; now_ns += 100 * NS_PER_MS)
		key_verbs_poll(many.keys, now_ns);
	CU_ASSERT(many_has(&many, last, true));
	key_verbs_poll(many.keys, now_ns);
	CU_ASSERT(!many_has(&many, last, true));
	CU_ASSERT(many_has(&many, last, false));
	CU_ASSERT_EQUAL(key_event_at(many.keys, 1)->spi, SA_SPI_MIN + last);
	CU_ASSERT_PTR_NULL(key_event_at(many.keys, 2));
	many_end(&many);
}

/* All at once: no call takes longer than for a few, and none is forgotten. */
static void test_many_at_once(void)
{
	enum { AT_ONCE = 80, A_CALL = 32 };
	struct many many = many_begin();

	for (uint32_t i = 0; i < AT_ONCE; i++)
		many_add(&many, i, true, 1);
	for (unsigned left = AT_ONCE; left != 0;) {
		const unsigned due = left < A_CALL ? left : A_CALL;

		double_reset_calls();
		key_verbs_poll(many.keys, 2 * NS_PER_S);
		CU_ASSERT_EQUAL(double_count(DOUBLE_SA_DEL), due);
		left -= due;
	}
	for (uint32_t i = 0; i < AT_ONCE; i++)
		CU_ASSERT(!many_has(&many, i, true));
	many_end(&many);
}

static void test_switch(void)
{
	struct tunnel *node;
	const char *why;

	begin();
	node = fixture_node(&fx, "node1");
	CU_ASSERT_EQUAL(add("node1", false, 2000, 1), 0);
	CU_ASSERT_EQUAL(key_switch(fx.keys, node, 2001, &why), -ENOENT);
	CU_ASSERT_EQUAL(key_switch(fx.keys, node, 2000, &why), 0); /* is current */
	CU_ASSERT_EQUAL(add("node1", false, 2001, 2), 0);
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2000);
	CU_ASSERT_EQUAL(key_switch(fx.keys, node, 2001, &why), 0);
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2001);
	CU_ASSERT_EQUAL(key_switch(fx.keys, node, 2001, &why), 0); /* said twice */
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2001);
	CU_ASSERT_EQUAL(key_switch(fx.keys, node, 2000, &why), 0); /* and back */
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2000);
	/* Whoever deletes the current one says that the other takes over. */
	CU_ASSERT_EQUAL(del("node1", false, 2000), 0);
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2001);
	fixture_close(&fx);
}

static void test_wrong_lifetimes(void)
{
	static const struct {
		const char *name;
		struct sa_lifetimes life;
		bool good;
	} rows[] = {
		{"none", {.seconds = {0, 0}}, true},
		{"all", {{1, 2}, {1, 2}, {1, 2}}, true},
		{"soft alone", {{5, 0}, {5, 0}, {5, 0}}, true},
		{"the longest", {.seconds = {0, SA_LIFETIME_MAX_S}}, true},
		{"too long", {.seconds = {0, SA_LIFETIME_MAX_S + 1}}, false},
		{"soft too long", {.seconds = {SA_LIFETIME_MAX_S + 1, 0}}, false},
		{"seconds", {.seconds = {2, 2}}, false},
		{"packets", {.packets = {2, 2}}, false},
		{"bytes", {.bytes = {3, 2}}, false},
	};
	struct sa_params sa = params(1000, 1);
	const char *why;

	begin();
	CU_ASSERT_EQUAL(add("node1", true, 999, 2), 0);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const int want = rows[i].good ? 0 : -EINVAL;

		sa.spi = 1000 + (uint32_t)i;
		sa.key[0] = (uint8_t)(10 + i);
		sa.life = rows[i].life;
		why = "";
		CHECK_ROW(rows[i].name,
			key_add(fx.keys, fixture_node(&fx, "node2"), true, &sa, &why) == want);
		CHECK_ROW(rows[i].name, rows[i].good || strstr(why, "_time") != NULL);
		CHECK_ROW(rows[i].name, key_update(fx.keys, fixture_node(&fx, "node1"), true, 999,
						&rows[i].life, &why) == want);
		if (rows[i].good)
			CHECK_ROW(rows[i].name, del("node2", true, sa.spi) == 0);
	}
	fixture_close(&fx);
}

static void expect_event(const char *name, uint64_t number, enum key_event_kind kind,
	enum key_event_cause cause, unsigned percent, uint32_t spi)
{
	const struct key_event *event = key_event_at(fx.keys, number);

	CHECK_ROW(name, event != NULL && event->number == number);
	CHECK_ROW(name, event != NULL && event->kind == kind && event->cause == cause &&
				event->percent == percent && event->spi == spi);
}

static void test_soft_time(void)
{
	struct sa_params sa = params(1000, 1);
	const struct sa_lifetimes again = {.seconds = {5, 20}};
	struct tunnel *node;
	const char *why;

	begin();
	node = fixture_node(&fx, "node1");
	clock_set_test(NS_PER_S, NS_PER_S);
	sa.life.seconds = (struct sa_limit){6, 10};
	CU_ASSERT_EQUAL(key_add(fx.keys, node, true, &sa, &why), 0);
	key_verbs_poll(fx.keys, 7 * NS_PER_S - 1);
	CU_ASSERT_EQUAL(fx.key_events, 0);
	key_verbs_poll(fx.keys, 7 * NS_PER_S);
	key_verbs_poll(fx.keys, 8 * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 1); /* once */
	expect_event("soft", 1, KEY_EVENT_SOFT, KEY_CAUSE_TIME, 0, 1000);
	/* Another lifetime has events of its own, and counts from now. */
	clock_set_test(8 * NS_PER_S, 8 * NS_PER_S);
	CU_ASSERT_EQUAL(key_update(fx.keys, node, true, 1000, &again, &why), 0);
	key_verbs_poll(fx.keys, 13 * NS_PER_S - 1);
	CU_ASSERT_EQUAL(fx.key_events, 1);
	key_verbs_poll(fx.keys, 13 * NS_PER_S);
	expect_event("soft again", 2, KEY_EVENT_SOFT, KEY_CAUSE_TIME, 0, 1000);
	key_verbs_poll(fx.keys, 28 * NS_PER_S - 1);
	CU_ASSERT_EQUAL(fx.key_events, 2);
	key_verbs_poll(fx.keys, 28 * NS_PER_S);
	expect_event("hard", 3, KEY_EVENT_HARD, KEY_CAUSE_TIME, 0, 1000);
	CU_ASSERT(key_event_at(fx.keys, 3)->last);
	CU_ASSERT_PTR_NULL(key_query(node, true, 1000));
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* What workers note is told at the next turn, however many nodes there are. */
static void test_marks(void)
{
	static const struct {
		const char *name;
		bool inbound;
		struct sa_lifetimes life;
		uint64_t seq, packets, bytes; /* that workers have counted */
		struct {
			enum key_event_kind kind;
			enum key_event_cause cause;
			unsigned percent;
		} want[3];
	} rows[] = {
		{"nothing", true, {.packets = {5, 10}}, 4, 4, 400, {{0, 0, 0}}},
		{"soft packets in", true, {.packets = {5, 10}}, 5, 5, 500,
			{{KEY_EVENT_SOFT, KEY_CAUSE_PACKETS, 0}}},
		{"soft packets out", false, {.packets = {5, 10}}, 5, 5, 500,
			{{KEY_EVENT_SOFT, KEY_CAUSE_PACKETS, 0}}},
		{"soft bytes", false, {.bytes = {500, 1000}}, 5, 5, 500,
			{{KEY_EVENT_SOFT, KEY_CAUSE_BYTES, 0}}},
		{"hard packets", true, {.packets = {5, 10}}, 10, 10, 500,
			{{KEY_EVENT_SOFT, KEY_CAUSE_PACKETS, 0},
				{KEY_EVENT_HARD, KEY_CAUSE_PACKETS, 0}}},
		{"hard bytes", false, {.bytes = {0, 1000}}, 10, 10, 1000,
			{{KEY_EVENT_HARD, KEY_CAUSE_BYTES, 0}}},
		{"numbers at 74 %", false, {.seconds = {0}}, UINT32_MAX / 100 * 74, 0, 0,
			{{0, 0, 0}}},
		{"numbers at 76 %", false, {.seconds = {0}}, UINT32_MAX / 100 * 76, 0, 0,
			{{KEY_EVENT_SOFT, KEY_CAUSE_SEQUENCE, 75}}},
		{"inbound numbers at 91 %", true, {.seconds = {0}}, UINT32_MAX / 100 * 91, 0, 0,
			{{KEY_EVENT_SOFT, KEY_CAUSE_SEQUENCE, 75},
				{KEY_EVENT_SOFT, KEY_CAUSE_SEQUENCE, 90}}},
		{"the last number", false, {.seconds = {0}}, UINT32_MAX, 0, 0,
			{{KEY_EVENT_SOFT, KEY_CAUSE_SEQUENCE, 75},
				{KEY_EVENT_SOFT, KEY_CAUSE_SEQUENCE, 90},
				{KEY_EVENT_HARD, KEY_CAUSE_SEQUENCE, 0}}},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sa_params sa = params(2000, 1);
		struct tunnel *node;
		struct counter_slot *slot;
		unsigned n = 0;
		const char *why;

		begin();
		node = fixture_node(&fx, "node1");
		sa.esn = false;
		CHECK_ROW(rows[i].name, key_add(fx.keys, node, rows[i].inbound, &sa, &why) == 0);
		slot = rows[i].inbound ? node_sa_in(node->node, 2000)->slot
				       : node_sa_out(node->node, 2000)->slot;
		key_verbs_poll(fx.keys, NS_PER_S);
		CHECK_ROW(rows[i].name, fx.key_events == 0);
		atomic_store(&slot->seq, rows[i].seq);
		atomic_store(&slot->packets, rows[i].packets);
		atomic_store(&slot->bytes, rows[i].bytes);
		CHECK_ROW(rows[i].name,
			key_update(fx.keys, node, rows[i].inbound, 2000, &rows[i].life, &why) == 0);
		for (unsigned turn = 1; turn < 4; turn++)
			key_verbs_poll(fx.keys, turn * NS_PER_S);
		for (; n < 3 && rows[i].want[n].kind != 0; n++)
			expect_event(rows[i].name, n + 1, rows[i].want[n].kind,
				rows[i].want[n].cause, rows[i].want[n].percent, 2000);
		CHECK_ROW(rows[i].name, fx.key_events == n); /* each once */
		CHECK_ROW(rows[i].name,
			(key_query(node, rows[i].inbound, 2000) == NULL) ==
				(n != 0 && rows[i].want[n - 1].kind == KEY_EVENT_HARD));
		fixture_close(&fx);
	}
}

/* The end of the current outbound SA hands over to the next; only the last one's leaves nothing. */
static void test_next_takes_over(void)
{
	struct sa_params sa = params_until(2000, 1, 10);
	struct tunnel *node;
	const char *why;

	begin();
	node = fixture_node(&fx, "node1");
	clock_set_test(NS_PER_S, NS_PER_S);
	CU_ASSERT_EQUAL(key_add(fx.keys, node, false, &sa, &why), 0);
	sa = params_until(2001, 2, 20);
	CU_ASSERT_EQUAL(key_add(fx.keys, node, false, &sa, &why), 0);
	key_verbs_poll(fx.keys, 11 * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 1);
	CU_ASSERT(!key_event_at(fx.keys, 1)->last);
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2001);
	key_verbs_poll(fx.keys, 21 * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 2);
	CU_ASSERT(key_event_at(fx.keys, 2)->last);
	CU_ASSERT_PTR_NULL(atomic_load(&node->node->sa_out));
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* One from the file stays, ended, since it would be back at the next start: there it is over at
 * once, in seconds from its first start on. */
static void test_static_life(void)
{
	const uint64_t real_ns = UINT64_C(2000000000) * NS_PER_S;
	const struct sa_params sa = params_until(2000, 1, 100);
	struct sa_params fresh = params(2001, 2);
	struct tunnel *node;
	const char *why;

	begin();
	clock_set_test(NS_PER_S, real_ns);
	fixture_restart(&fx); /* slots of the file */
	fixture_add_nodes(&fx);
	node = fixture_node(&fx, "node1");
	CU_ASSERT_EQUAL(key_add_static(fx.keys, node, false, &sa, &why), 0);
	clock_set_test(5 * NS_PER_S, real_ns + 60 * NS_PER_S); /* another boot */
	fixture_restart(&fx);
	fixture_add_nodes(&fx);
	node = fixture_node(&fx, "node1");
	CU_ASSERT_EQUAL(key_add_static(fx.keys, node, false, &sa, &why), 0);
	CU_ASSERT_EQUAL(key_query(node, false, 2000)->life->hard_ns, 45 * NS_PER_S);
	CU_ASSERT_EQUAL(key_add(fx.keys, node, false, &fresh, &why), 0);
	key_verbs_poll(fx.keys, 45 * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(key_query(node, false, 2000));
	CU_ASSERT(key_query(node, false, 2000)->ended);
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2001); /* the next takes over */
	CU_ASSERT_EQUAL(key_switch(fx.keys, node, 2000, &why), -EKEYEXPIRED);
	CU_ASSERT_EQUAL(key_update(fx.keys, node, false, 2000, &fresh.life, &why), -EKEYEXPIRED);
	key_verbs_poll(fx.keys, UINT64_MAX - 1);
	CU_ASSERT_EQUAL(fx.key_events, 1); /* once */
	clock_set_test(5 * NS_PER_S, real_ns + 101 * NS_PER_S);
	fixture_restart(&fx);
	fixture_add_nodes(&fx);
	node = fixture_node(&fx, "node1");
	CU_ASSERT_EQUAL(key_add_static(fx.keys, node, false, &sa, &why), 0);
	CU_ASSERT(key_query(node, false, 2000)->ended);
	CU_ASSERT((atomic_load(&node_sa_out(node->node, 2000)->marks) & SA_MARK_ENDED) != 0);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* What has ended does not wait for the disk; it is deleted once there is room. */
static void test_ended_without_disk(void)
{
	const struct sa_params sa = params_until(1000, 1, 10);
	const struct ip_addr home = addr_of("10.1.0.99");
	const struct position nowhere = {.closed = true};
	struct tunnel *node;
	const char *why;

	begin();
	node = fixture_node(&fx, "node1");
	clock_set_test(NS_PER_S, NS_PER_S);
	CU_ASSERT_EQUAL(key_add(fx.keys, node, true, &sa, &why), 0);
	while (state_room(fx.state) != 0)
		CU_ASSERT_FATAL(state_write(fx.state, &home, &nowhere) != 0);
	for (unsigned s = 11; s < 14; s++)
		key_verbs_poll(fx.keys, s * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(key_query(node, true, 1000));
	CU_ASSERT((atomic_load(&node_sa_in(node->node, 1000)->marks) & SA_MARK_ENDED) != 0);
	CU_ASSERT_EQUAL(state_flush(fx.state), 0);
	key_verbs_poll(fx.keys, 14 * NS_PER_S);
	CU_ASSERT_PTR_NULL(key_query(node, true, 1000));
	CU_ASSERT_EQUAL(fx.key_events, 1);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* Many ends are one line a second, which counts them all and names one. */
static void test_lines_of_events(void)
{
	const struct sa_params sas[] = {
		params_until(1000, 1, 1), params_until(1001, 2, 1), params_until(1002, 3, 2)};
	int saved = dup(STDERR_FILENO), ends[2];
	char said[1024] = "";
	const char *why;

	fixture_open(&fx, false);
	fixture_add_nodes(&fx);
	clock_set_test(10 * NS_PER_S, NS_PER_S);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, i == 2 ? "node2" : "node1"),
					true, &sas[i], &why),
			0);
	CU_ASSERT_EQUAL(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	for (unsigned ms = 900; ms < 4000; ms += 50)
		key_verbs_poll(fx.keys, 10 * NS_PER_S + ms * NS_PER_MS);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	CU_ASSERT(read(ends[0], said, sizeof said - 1) > 0);
	close(ends[0]);
	CU_ASSERT_STRING_EQUAL(said,
		"roamgate: warn keys: SA expired node=node1 direction=in spi=0x3e8 cause=time "
		"others=1\n"
		"roamgate: warn keys: SA expired node=node2 direction=in spi=0x3ea cause=time "
		"others=0\n");
	CU_ASSERT_EQUAL(fx.key_events, 3);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"add", test_add},
		{"keys of HMAC", test_hmac_keys},
		{"windows and room", test_windows_and_room},
		{"refused by the packet path", test_refused_by_packet_path},
		{"a deleted key stays away", test_deleted_key_stays_away},
		{"fresh epoch after a removal", test_fresh_epoch_after_removal},
		{"epochs last", test_epochs_last},
		{"node deleted for good", test_node_deleted_for_good},
		{"alloc-spi", test_alloc_spi},
		{"lifetime", test_lifetime},
		{"several lifetimes", test_several_lifetimes},
		{"on time among 100,000", test_on_time_among_many},
		{"many at once", test_many_at_once},
		{"switch", test_switch},
		{"wrong lifetimes", test_wrong_lifetimes},
		{"soft end in seconds", test_soft_time},
		{"marks", test_marks},
		{"the next takes over", test_next_takes_over},
		{"lifetime of one from the file", test_static_life},
		{"ended without a disk", test_ended_without_disk},
		{"lines of events", test_lines_of_events},
		{NULL, NULL},
	};

	return unit_run("gw/key_verbs", cases);
}
