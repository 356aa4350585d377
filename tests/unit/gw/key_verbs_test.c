/* SPDX-License-Identifier: BSD-3-Clause */
/* What may become an SA, and that no (key, IV) can come twice by way of the verbs. */
#include "control/gw/key_verbs.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

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

static int add(const char *node, bool inbound, uint32_t spi, uint8_t key)
{
	const struct sa_params sa = params(spi, key);
	const char *why = NULL;
	int rc = key_add(fx.keys, fixture_node(&fx, node), inbound, &sa, 0, &why);

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

static void test_windows_and_room(void)
{
	struct sa_params sa = params(1000, 1);
	const char *why;

	begin();
	sa.replay_window = 63;
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, 0, &why), -EINVAL);
	sa.replay_window = 4097;
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, 0, &why), -EINVAL);
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
	uint32_t boot;

	begin();
	boot = state_boot_epoch(fx.state);
	CU_ASSERT_EQUAL(add("node1", false, 2000, 2), 0);
	CU_ASSERT_EQUAL(epoch_of_last_add(), boot);
	CU_ASSERT_EQUAL(add("other1", false, 2000, 3), 0);
	CU_ASSERT_EQUAL(epoch_of_last_add(), boot);
	CU_ASSERT_EQUAL(key_del_node(fx.keys, fixture_node(&fx, "node1"), false), 0);
	CU_ASSERT_EQUAL(add("node2", false, 2000, 2), 0);
	CU_ASSERT(epoch_of_last_add() > boot);
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
	const struct sa_params sa = params(1000, 1);
	const struct key_event *event;
	const char *why;
	uint64_t now_ns = 100 * NS_PER_S, lifetime_s = 30;

	begin();
	clock_set_test(now_ns, NS_PER_S);
	CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, "node1"), true, &sa, 10, &why), 0);
	key_verbs_poll(fx.keys, now_ns + 9 * NS_PER_S);
	CU_ASSERT_PTR_NOT_NULL(key_query(fixture_node(&fx, "node1"), true, 1000));
	CU_ASSERT_EQUAL(key_update(fx.keys, fixture_node(&fx, "node1"), true, 1000, &lifetime_s,
				false, &why),
		0);
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
		const struct sa_params sa = params(1000 + i, (uint8_t)(1 + i));

		CU_ASSERT_EQUAL(key_add(fx.keys, node, true, &sa, lifetimes_s[i], &why), 0);
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
	CU_ASSERT_EQUAL(key_update(fx.keys, node, true, 1003, &lifetimes_s[0], false, &why), 0);
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

static void many_add(const struct many *many, uint32_t i, bool inbound, uint64_t lifetime_s)
{
	char name[16];
	struct tunnel_params node = {.name = name,
		.home_address = ip_addr_from_v4(htonl(0x0a010000 + i)),
		.position = {.closed = true}};
	struct sa_params sa = params(SA_SPI_MIN + i, inbound);
	struct tunnel *tunnel;
	const char *why;

	double_reset_calls();
	memcpy(sa.key, &i, sizeof i);
	snprintf(name, sizeof name, "n%u", i);
	tunnel = tunnel_by_name(many->tunnels, name);
	if (tunnel == NULL && tunnel_add(many->tunnels, &node, &tunnel) != 0)
		abort();
	if (key_add(many->keys, tunnel, inbound, &sa, lifetime_s, &why) != 0)
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

static void test_make_current(void)
{
	struct tunnel *node;
	const char *why;

	begin();
	node = fixture_node(&fx, "node1");
	CU_ASSERT_EQUAL(add("node1", false, 2000, 1), 0);
	CU_ASSERT_EQUAL(key_update(fx.keys, node, false, 2000, NULL, true, &why), -EINVAL);
	CU_ASSERT_EQUAL(add("node1", false, 2001, 2), 0);
	CU_ASSERT_EQUAL(key_update(fx.keys, node, false, 2001, NULL, true, &why), 0);
	CU_ASSERT_EQUAL(atomic_load(&node->node->sa_out)->spi, 2001);
	fixture_close(&fx);
}

static void test_numbers_run_low(void)
{
	struct sa_params sa = params(2000, 1);
	const char *why;
	struct tunnel *node;

	begin();
	node = fixture_node(&fx, "node1");
	sa.esn = false;
	CU_ASSERT_EQUAL(key_add(fx.keys, node, false, &sa, 0, &why), 0);
	atomic_store(&atomic_load(&node->node->sa_out)->slot->seq, UINT32_MAX / 100 * 89);
	for (unsigned i = 0; i < 4; i++) /* the walk over the nodes begins anew */
		key_verbs_poll(fx.keys, (1 + i) * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 0);
	atomic_store(&atomic_load(&node->node->sa_out)->slot->seq, UINT32_MAX / 100 * 91);
	for (unsigned i = 0; i < 4; i++)
		key_verbs_poll(fx.keys, (5 + i) * NS_PER_S);
	CU_ASSERT_EQUAL(fx.key_events, 1); /* once */
	CU_ASSERT_EQUAL(key_event_at(fx.keys, 1)->kind, KEY_EVENT_SOFT);
	CU_ASSERT_PTR_NOT_NULL(key_query(node, false, 2000));
	fixture_close(&fx);
}

/* Many ends are one line a second, which counts them all and names one. */
static void test_lines_of_events(void)
{
	const struct sa_params sas[] = {params(1000, 1), params(1001, 2), params(1002, 3)};
	int saved = dup(STDERR_FILENO), ends[2];
	char said[1024] = "";
	const char *why;

	fixture_open(&fx, false);
	fixture_add_nodes(&fx);
	clock_set_test(10 * NS_PER_S, NS_PER_S);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(key_add(fx.keys, fixture_node(&fx, i == 2 ? "node2" : "node1"),
					true, &sas[i], i == 2 ? 2 : 1, &why),
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
		"roamgate: warn keys: SA expired and is deleted node=node1 direction=in spi=0x3e8 "
		"others=1\n"
		"roamgate: warn keys: SA expired and is deleted node=node2 direction=in spi=0x3ea "
		"others=0\n");
	CU_ASSERT_EQUAL(fx.key_events, 3);
	clock_set_test(0, 0);
	fixture_close(&fx);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"add", test_add},
		{"windows and room", test_windows_and_room},
		{"refused by the packet path", test_refused_by_packet_path},
		{"a deleted key stays away", test_deleted_key_stays_away},
		{"fresh epoch after a removal", test_fresh_epoch_after_removal},
		{"node deleted for good", test_node_deleted_for_good},
		{"alloc-spi", test_alloc_spi},
		{"lifetime", test_lifetime},
		{"several lifetimes", test_several_lifetimes},
		{"on time among 100,000", test_on_time_among_many},
		{"many at once", test_many_at_once},
		{"make current", test_make_current},
		{"sequence numbers run low", test_numbers_run_low},
		{"lines of events", test_lines_of_events},
		{NULL, NULL},
	};

	return unit_run("gw/key_verbs", cases);
}
