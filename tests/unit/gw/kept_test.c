/* SPDX-License-Identifier: BSD-3-Clause */
/* What came by the control socket is back after a restart: the same, once, and nothing else. */
#include "control/gw/kept.h"

#include "control/gw/provision.h"
#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"

#include <errno.h>

static struct fixture fx;
static struct gw gw;
static struct provision_kept counts;

static void begin(void)
{
	fixture_open(&fx, false);
	fixture_restart(&fx); /* with a counters file */
	gw = fixture_gw(&fx);
}

/* The configuration's node1 (with SAs) and node2 (without) first, as in main.c. */
static void restart(bool configuration)
{
	char why[256] = "";

	fixture_restart(&fx);
	gw = fixture_gw(&fx);
	if (configuration && provision_start(&gw, fx.conf, why, sizeof why) != 0)
		CU_FAIL("the configuration's nodes");
	CU_ASSERT_EQUAL(provision_kept(&gw, &counts, why, sizeof why), 0);
	CU_ASSERT_STRING_EQUAL(why, "");
}

static void add_node(const char *name, const char *home_address)
{
	struct gw_node_conf node = {.home_address = addr_of(home_address),
		.care_of = addr_of("203.0.113.9"),
		.flags = NODE_STRICT_INNER_SOURCE,
		.tfc = {.pad = 256, .dummies = 7}};
	char why[256];

	snprintf(node.name, sizeof node.name, "%s", name);
	CU_ASSERT_EQUAL(provision_add(&gw, &node, why, sizeof why), 0);
}

static struct sa_params params(bool inbound, uint32_t spi, uint8_t key)
{
	struct sa_params sa = {.spi = spi,
		.alg = inbound ? CRYPTO_AES256GCM16 : CRYPTO_AES256CTR_SHA512, /* the most */
		.esn = true,
		.replay_window = inbound ? 128 : 0};

	memset(sa.key, key, sizeof sa.key);
	return sa;
}

static void add_sa(const char *node, bool inbound, uint32_t spi, uint8_t key, uint64_t life_s)
{
	struct sa_params sa = params(inbound, spi, key);
	const char *why = "";

	sa.life.seconds.hard = life_s;
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, node), inbound, &sa, &why), 0);
	CU_ASSERT_STRING_EQUAL(why, "");
}

static const struct tunnel_sa *sa_of(const char *node, bool inbound, uint32_t spi)
{
	struct tunnel *tunnel = fixture_node(&fx, node);

	return tunnel == NULL ? NULL : key_query(tunnel, inbound, spi);
}

static struct counter_slot *slot_of(const char *node, uint32_t spi)
{
	const struct node *at = fixture_node(&fx, node)->node;

	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++)
		if (at->sa_in[i] != NULL && at->sa_in[i]->spi == spi)
			return at->sa_in[i]->slot;
	return NULL;
}

static void test_restart(void)
{
	const struct tunnel *tunnel;
	const struct tunnel_sa *sa;
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	struct sa_params in = params(true, 1000, 1);
	const char *why = "";
	const struct ip_addr care_of = addr_of("203.0.113.9");
	uint32_t epoch;

	begin();
	epoch = state_boot_epoch(fx.state);
	add_node("roamer", "10.1.0.20");
	CU_ASSERT_PTR_NULL(sa_source_parse(
		"203.0.113.9,198.51.100.0/24,192.0.2.0/25,2001:db8::/33", &in.source));
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "roamer"), true, &in, &why), 0);
	add_sa("roamer", false, 2000, 2, 0);
	atomic_store(&slot_of("roamer", 1000)->seq, 77);
	restart(false);

	CU_ASSERT(counts.nodes == 1 && counts.sas == 2 && counts.left_out == 0);
	tunnel = fixture_node(&fx, "roamer");
	CU_ASSERT_PTR_NOT_NULL_FATAL(tunnel);
	CU_ASSERT(!tunnel->configured && tunnel->flags == NODE_STRICT_INNER_SOURCE);
	CU_ASSERT(tunnel->tfc.pad == 256 && tunnel->tfc.dummies == 7);
	CU_ASSERT(!tunnel->position.closed && tunnel->position.generation == 0);
	CU_ASSERT(ip_addr_equal(&tunnel->position.coa, &care_of));
	sa = sa_of("roamer", true, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(sa);
	CU_ASSERT_EQUAL(sa_key_ids(&in, ids), sa_n_keys(in.alg));
	CU_ASSERT(memcmp(sa->keys[0].id, ids[0], sizeof ids[0]) == 0);
	CU_ASSERT(sa->alg == CRYPTO_AES256GCM16 && sa->esn && sa->replay_window == 128);
	CU_ASSERT(sa_source_equal(tunnel_sa_source(sa), &in.source));
	CU_ASSERT(sa->life == NULL && !sa->from_file);
	CU_ASSERT_EQUAL(atomic_load(&slot_of("roamer", 1000)->seq), 77); /* the same window */
	CU_ASSERT_PTR_NOT_NULL(sa_of("roamer", false, 2000));
	/* What is sent now is of another epoch: no (key, IV) comes twice. */
	for (unsigned i = 0; i < double_count(DOUBLE_SA_ADD); i++)
		if (double_call(DOUBLE_SA_ADD, i)->spi == 2000)
			CU_ASSERT(double_call(DOUBLE_SA_ADD, i)->iv_epoch > epoch);
	restart(false); /* and again */
	CU_ASSERT(counts.nodes == 1 && counts.sas == 2);
	fixture_close(&fx);
}

static void test_rekeyed(void)
{
	const char *why;

	begin();
	add_node("roamer", "10.1.0.20");
	add_sa("roamer", false, 2000, 2, 0);
	add_sa("roamer", false, 2001, 3, 0);
	restart(false);
	CU_ASSERT_EQUAL(atomic_load(&fixture_node(&fx, "roamer")->node->sa_out)->spi, 2000);
	CU_ASSERT_EQUAL(key_switch(fx.keys, fixture_node(&fx, "roamer"), 2001, &why), 0);
	restart(false);
	CU_ASSERT_EQUAL(atomic_load(&fixture_node(&fx, "roamer")->node->sa_out)->spi, 2001);
	CU_ASSERT_EQUAL(key_del(fx.keys, fixture_node(&fx, "roamer"), false, 2000, &why), 0);
	restart(false);
	CU_ASSERT_EQUAL(counts.sas, 1);
	CU_ASSERT_EQUAL(atomic_load(&fixture_node(&fx, "roamer")->node->sa_out)->spi, 2001);
	fixture_close(&fx);
}

static size_t records(enum state_table table)
{
	size_t n = 0;

	CU_ASSERT_EQUAL(state_flush(fx.state), 0);
	CU_ASSERT_EQUAL(state_count(fx.state, table, &n), 0);
	return n;
}

static void test_deleted(void)
{
	const char *why;

	begin();
	add_node("roamer", "10.1.0.20");
	add_node("other", "10.1.0.21");
	add_sa("roamer", true, 1000, 1, 0);
	add_sa("roamer", false, 2000, 2, 0);
	add_sa("other", true, 1001, 3, 0);
	add_sa("other", true, 1002, 4, 0);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "roamer"), true), 0);
	CU_ASSERT_EQUAL(key_del(fx.keys, fixture_node(&fx, "other"), true, 1001, &why), 0);
	CU_ASSERT_EQUAL(records(STATE_NODES), 1);
	CU_ASSERT_EQUAL(records(STATE_SAS), 1); /* no key stays behind */
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 1 && counts.left_out == 0);
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "roamer"));
	CU_ASSERT_PTR_NULL(sa_of("other", true, 1001));
	CU_ASSERT_PTR_NOT_NULL(sa_of("other", true, 1002));
	/* A new node at that address has none of the old one's. */
	add_node("successor", "10.1.0.20");
	restart(false);
	CU_ASSERT(counts.nodes == 2 && counts.sas == 1);
	fixture_close(&fx);
}

static void test_lifetime(void)
{
	const uint64_t start_ns = 1000 * NS_PER_S, real_ns = UINT64_C(2000000000) * NS_PER_S;
	const struct sa_lifetimes longer = {.seconds = {.hard = 500}};
	const char *why;

	begin();
	clock_set_test(start_ns, real_ns);
	add_node("roamer", "10.1.0.20");
	add_sa("roamer", true, 1000, 1, 100);
	add_sa("roamer", true, 1001, 2, 100);
	/* Whatever is written later, the other's end stays where it is. */
	clock_set_test(start_ns + 10 * NS_PER_S, real_ns + 10 * NS_PER_S);
	CU_ASSERT_EQUAL(
		key_update(fx.keys, fixture_node(&fx, "roamer"), true, 1001, &longer, &why), 0);
	clock_set_test(50 * NS_PER_S, real_ns + 60 * NS_PER_S); /* another boot */
	restart(false);
	CU_ASSERT_EQUAL(counts.sas, 2);
	CU_ASSERT_EQUAL(sa_of("roamer", true, 1000)->life->hard_ns, 90 * NS_PER_S);
	clock_set_test(60 * NS_PER_S, real_ns + 101 * NS_PER_S);
	restart(false);
	CU_ASSERT(counts.sas == 1 && counts.expired == 1 && counts.left_out == 0);
	CU_ASSERT_PTR_NULL(sa_of("roamer", true, 1000));
	CU_ASSERT_EQUAL(sa_of("roamer", true, 1001)->life->hard_ns, (60 + 409) * NS_PER_S);
	CU_ASSERT_EQUAL(records(STATE_SAS), 1);
	restart(false);
	CU_ASSERT(counts.sas == 1 && counts.expired == 0);
	/* One that expires while the gateway runs does not come back either. */
	clock_set_test(700 * NS_PER_S, real_ns + 741 * NS_PER_S);
	key_verbs_poll(fx.keys, clock_mono_ns());
	CU_ASSERT_EQUAL(records(STATE_SAS), 0);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

static void test_configuration_wins(void)
{
	begin();
	add_node("node2", "10.1.0.30");  /* the name is node2's of the file */
	add_node("roamer", "10.1.0.11"); /* the address is */
	add_node("third", "10.1.0.31");
	add_sa("roamer", true, 1000, 1, 0);
	add_sa("third", true, 0x1001, 2, 0); /* node1's SPI */
	add_sa("third", true, 1002, 3, 0);
	restart(true);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 1 && counts.left_out == 3);
	CU_ASSERT(fixture_node(&fx, "node2")->configured);
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "roamer"));
	CU_ASSERT_PTR_EQUAL(tunnel_by_spi_in(fx.tunnels, 0x1001, NULL), fixture_node(&fx, "node1"));
	CU_ASSERT_PTR_NOT_NULL(sa_of("third", true, 1002));
	restart(false); /* without them in the file they are back */
	CU_ASSERT(counts.nodes == 3 && counts.sas == 3 && counts.left_out == 0);
	fixture_close(&fx);
}

/* An SA that waits for its place outlives one of its node that has expired. */
static void test_left_out_stays(void)
{
	const uint64_t start_ns = 1000 * NS_PER_S, real_ns = UINT64_C(2000000000) * NS_PER_S;

	begin();
	clock_set_test(start_ns, real_ns);
	add_node("third", "10.1.0.31");
	add_sa("third", true, 0x1001, 2, 0); /* node1's SPI */
	add_sa("third", true, 1002, 3, 100);
	clock_set_test(start_ns, real_ns + 101 * NS_PER_S);
	restart(true);
	CU_ASSERT(counts.sas == 0 && counts.expired == 1 && counts.left_out == 1);
	restart(false);
	CU_ASSERT(counts.sas == 1 && counts.expired == 1 && counts.left_out == 0);
	CU_ASSERT_PTR_NOT_NULL(sa_of("third", true, 0x1001));
	restart(false);
	CU_ASSERT(counts.sas == 1 && counts.expired == 0);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

/* But no longer than its node, be that in the file or not. */
static void test_left_out_goes_with_its_node(void)
{
	begin();
	add_node("third", "10.1.0.31");
	add_node("fourth", "10.1.0.32");
	add_sa("third", true, 0x1001, 2, 0); /* node1's SPI */
	add_sa("third", true, 1002, 3, 0);
	add_sa("fourth", true, 1003, 4, 0);
	restart(true);
	CU_ASSERT_EQUAL(counts.left_out, 1);
	CU_ASSERT_EQUAL(records(STATE_SAS), 3);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "third"), true), 0);
	add_node("third", "10.1.0.31"); /* anew, before the disk has heard of the end */
	add_sa("third", true, 1005, 6, 0);
	CU_ASSERT_EQUAL(records(STATE_SAS), 2);
	restart(true);
	CU_ASSERT(counts.nodes == 2 && counts.sas == 2 && counts.left_out == 0);
	CU_ASSERT_PTR_NOT_NULL(sa_of("third", true, 1005));
	/* One of a node of the file, whose SPI another node of the file takes at the next start. */
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node1"), false), 0);
	add_sa("node2", true, 0x1001, 5, 0);
	restart(true);
	CU_ASSERT_EQUAL(counts.left_out, 1);
	CU_ASSERT_EQUAL(records(STATE_SAS), 3);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node2"), true), 0);
	CU_ASSERT_EQUAL(records(STATE_SAS), 2);
	fixture_close(&fx);
}

/* An SA that was added to a node of the configuration, and a key that the configuration has. */
static void test_configured_node(void)
{
	const struct sa_params *of_file;
	const char *why;
	struct sa_params same;

	begin();
	restart(true);
	add_sa("node1", false, 2002, 7, 0);
	CU_ASSERT_EQUAL(key_switch(fx.keys, fixture_node(&fx, "node1"), 2002, &why), 0);
	add_node("thief", "10.1.0.40");
	restart(true);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 1 && counts.left_out == 0);
	CU_ASSERT_EQUAL(atomic_load(&fixture_node(&fx, "node1")->node->sa_out)->spi, 2002);
	CU_ASSERT(sa_of("node1", false, 0x2001)->from_file);
	restart(false); /* node1 is not in the file any more: who would answer for its SAs? */
	CU_ASSERT(counts.nodes == 1 && counts.sas == 0 && counts.left_out == 1);
	of_file = &fx.conf->nodes[0].in;
	same = *of_file;
	same.spi = 3000;
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "thief"), true, &same, &why), 0);
	restart(true);
	CU_ASSERT_PTR_NULL(sa_of("thief", true, 3000)); /* one key, one SA */
	CU_ASSERT_EQUAL(counts.left_out, 1);
	fixture_close(&fx);
}

static void spoil(enum state_table table, const char *what)
{
	struct store_value value;
	uint8_t data[STATE_DATA_MAX], key[STATE_KEY_MAX] = {AF_INET, 10, 1, 0, 20};
	size_t key_len = 5, len;

	if (table == STATE_SAS) {
		static const uint8_t rest[] = {1, 0, 0, 0x03, 0xe8}; /* inbound, 1000 */

		memcpy(key + key_len, rest, sizeof rest);
		key_len += sizeof rest;
	}
	CU_ASSERT_EQUAL(state_flush(fx.state), 0);
	CU_ASSERT_EQUAL_FATAL(state_get(fx.state, table, key, key_len, &value), 0);
	len = value.len;
	memcpy(data, value.data, len);
	if (strcmp(what, "bit") == 0)
		data[len / 2] ^= 1;
	else if (strcmp(what, "version") == 0)
		data[0]++;
	else
		len = strcmp(what, "empty") == 0 ? 0 : len - 3;
	CU_ASSERT(state_put(fx.state, table, key, key_len, data, len) != 0);
}

static void test_damaged(void)
{
	static const char *const ways[] = {"bit", "version", "torn", "empty"};

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		begin();
		add_node("roamer", "10.1.0.20");
		add_node("other", "10.1.0.21");
		add_sa("roamer", true, 1000, 1, 0);
		add_sa("roamer", true, 1001, 2, 0);
		add_sa("other", true, 1002, 3, 0);
		spoil(STATE_SAS, ways[i]);
		restart(false);
		CHECK_ROW(ways[i], counts.nodes == 2 && counts.sas == 2 && counts.left_out == 1);
		CHECK_ROW(ways[i], sa_of("roamer", true, 1000) == NULL);
		spoil(STATE_NODES, ways[i]);
		restart(false);
		CHECK_ROW(ways[i], counts.nodes == 1 && counts.sas == 1);
		CHECK_ROW(ways[i], fixture_node(&fx, "roamer") == NULL);
		CHECK_ROW(ways[i], sa_of("other", true, 1002) != NULL);
		add_node("roamer", "10.1.0.20"); /* and can be added anew */
		fixture_close(&fx);
	}
}

/* The process ended between the record of an SA and that of its node: no answer was given. */
static void test_cut_short(void)
{
	const struct sa_params sa = params(true, 1000, 1);

	begin();
	add_node("roamer", "10.1.0.20");
	kept_put_sa(fx.kept, fixture_node(&fx, "roamer"), true, &sa);
	CU_ASSERT_EQUAL(records(STATE_SAS), 1);
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 0 && counts.left_out == 0);
	CU_ASSERT_EQUAL(records(STATE_SAS), 0);
	/* And the other way round: it is told once. */
	add_sa("roamer", true, 1000, 1, 0);
	kept_drop_sa(fx.kept, &fixture_node(&fx, "roamer")->home_address, true, 1000);
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 0 && counts.left_out == 1);
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 0 && counts.left_out == 0);
	fixture_close(&fx);
}

/* Much more than the queue takes: it is written again and again while the walk goes on. */
#define MANY (6 * STATE_QUEUE_MAX)

static void test_many_unlisted(void)
{
	begin();
	add_node("roamer", "10.1.0.20");
	add_sa("roamer", true, 999, 1, 0);
	for (uint32_t i = 0; i < MANY; i++) {
		const struct sa_params sa = params(true, 1000 + i, 1);

		CU_ASSERT_FATAL(kept_make_room(fx.kept));
		kept_put_sa(fx.kept, fixture_node(&fx, "roamer"), true, &sa);
	}
	CU_ASSERT_EQUAL(records(STATE_SAS), MANY + 1);
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 1 && counts.left_out == 0);
	CU_ASSERT_EQUAL(records(STATE_SAS), 1);
	fixture_close(&fx);
}

/* Without its window an inbound SA would take what it took before. */
static void test_counters_lost(void)
{
	char path[300];

	begin();
	add_node("roamer", "10.1.0.20");
	add_sa("roamer", true, 1000, 1, 0);
	CU_ASSERT_EQUAL(state_flush(fx.state), 0);
	snprintf(path, sizeof path, "%s/counters", fx.conf->state_dir);
	CU_ASSERT_EQUAL(unlink(path), 0);
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 0 && counts.left_out == 1);
	CU_ASSERT_PTR_NULL(sa_of("roamer", true, 1000));
	/* Not even for a moment: after a kill the next start would take the slot for its window. */
	CU_ASSERT_EQUAL(double_count(DOUBLE_SA_ADD), 0);
	CU_ASSERT_EQUAL(records(STATE_SAS), 0);
	restart(false);
	CU_ASSERT(counts.sas == 0 && counts.left_out == 0);
	fixture_close(&fx);
}

static void test_forgotten(void)
{
	begin();
	add_node("roamer", "10.1.0.20");
	add_sa("roamer", true, 1000, 1, 0);
	CU_ASSERT_EQUAL(state_flush(fx.state), 0);
	CU_ASSERT_EQUAL(kept_forget(fx.state), 2);
	CU_ASSERT_EQUAL(kept_forget(fx.state), 0);
	restart(false);
	CU_ASSERT(counts.nodes == 0 && counts.sas == 0);
	fixture_close(&fx);
}

/* The disk does not keep up: refused, and nothing changed. */
static void test_no_room(void)
{
	const struct ip_addr home = addr_of("10.1.0.99");
	const struct position position = {.closed = true};
	const struct sa_params sa = params(true, 1001, 2);
	struct gw_node_conf node = {.name = "late", .home_address = addr_of("10.1.0.22")};
	struct tunnel *tunnel;
	const char *why;
	char text[256];

	begin();
	add_node("roamer", "10.1.0.20");
	add_sa("roamer", true, 1000, 1, 0);
	tunnel = fixture_node(&fx, "roamer");
	while (state_room(fx.state) > 1)
		CU_ASSERT_FATAL(state_write(fx.state, &home, &position) != 0);
	CU_ASSERT_EQUAL(key_add(fx.keys, tunnel, true, &sa, &why), -EAGAIN);
	CU_ASSERT_EQUAL(key_del(fx.keys, tunnel, true, 1000, &why), -EAGAIN);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, tunnel, true), -EAGAIN);
	CU_ASSERT_EQUAL(provision_add(&gw, &node, text, sizeof text), -EAGAIN);
	CU_ASSERT_PTR_NOT_NULL(sa_of("roamer", true, 1000));
	CU_ASSERT_PTR_NULL(sa_of("roamer", true, 1001));
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "late"));
	restart(false);
	CU_ASSERT(counts.nodes == 1 && counts.sas == 1);
	fixture_close(&fx);
}

/* A reload may remove more nodes of the file than records fit the queue. */
static void test_of_the_file(void)
{
	size_t room;

	begin();
	restart(true);
	room = state_room(fx.state);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node1"), false), 0);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node2"), false), 0);
	CU_ASSERT_EQUAL(state_room(fx.state), room); /* nothing of them is kept */
	fixture_close(&fx);
}

static void test_reload_waits_for_disk(void)
{
	const struct ip_addr home = addr_of("10.1.0.99");
	const struct position position = {.closed = true};
	struct provision_counts changes;
	struct gw_conf empty;
	char why[256] = "";

	fixture_open(&fx, true);
	gw = fixture_gw(&fx);
	CU_ASSERT_EQUAL(provision_start(&gw, fx.conf, why, sizeof why), 0);
	empty = *fx.conf;
	empty.n_nodes = 0;
	while (state_room(fx.state) != 0)
		CU_ASSERT_FATAL(state_write(fx.state, &home, &position) != 0);
	CU_ASSERT_EQUAL(provision_reload(&gw, &empty, &changes, why, sizeof why), 0);
	CU_ASSERT_STRING_EQUAL(why, "");
	CU_ASSERT_EQUAL(changes.removed, 2);
	fixture_close(&fx);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"restart", test_restart},
		{"rekeyed", test_rekeyed},
		{"deleted", test_deleted},
		{"lifetime", test_lifetime},
		{"the configuration wins", test_configuration_wins},
		{"what is left out stays", test_left_out_stays},
		{"what is left out goes with its node", test_left_out_goes_with_its_node},
		{"SA of a configured node", test_configured_node},
		{"damaged", test_damaged},
		{"cut short", test_cut_short},
		{"many that no node lists", test_many_unlisted},
		{"counters lost", test_counters_lost},
		{"forgotten", test_forgotten},
		{"no room", test_no_room},
		{"nothing of the file is kept", test_of_the_file},
		{"a reload waits for the disk", test_reload_waits_for_disk},
		{NULL, NULL},
	};

	return unit_run("gw/kept", cases);
}
