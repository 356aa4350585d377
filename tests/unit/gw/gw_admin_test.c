/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket's verbs: what is refused, what is shown, paging, and that no key comes out. */
#include "control/gw/gw_admin.h"

#include "control/gw/audit.h"
#include "control/gw/provision.h"
#include "control/gw/siu_handler.h"
#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include <errno.h>

#define KEY_A "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3"
#define KEY_B "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3"

static struct fixture fx;
static struct gw gw;

static void begin(void)
{
	const struct siu_handler_config config = {.device = "none"};
	struct siu_handler_config open = config;
	char why[256];

	fixture_open(&fx, false);
	gw = fixture_gw(&fx);
	open.conf = fx.conf;
	open.dp = DOUBLE_DP;
	open.tunnels = fx.tunnels;
	open.handovers = fx.handovers;
	open.state = fx.state;
	if (siu_handler_open(&open, &gw.siu, why, sizeof why) != 0 ||
		provision_start(&gw, fx.conf, why, sizeof why) != 0)
		abort();
	double_reset_calls();
}

static void end(void)
{
	policy_free(dp_double.policy);
	dp_double.policy = NULL;
	siu_handler_close(gw.siu);
	fixture_close(&fx);
}

/* Runs a verb; returns the reply's text, or the error's after "error: ". */
static const char *call(const char *request_text)
{
	static char text[262144];
	json_t *request = json_loads(request_text, 0, NULL);
	const char *verb = json_string_value(json_object_get(request, "verb"));
	const struct admin_verb *at = gw_admin_verbs;
	const char *error = "none";
	json_t *reply;
	size_t n;

	if (verb == NULL)
		abort();
	while (at->name != NULL && strcmp(at->name, verb) != 0)
		at++;
	if (at->name == NULL)
		abort();
	reply = at->fn(&gw, request, &error);
	if (reply == NULL) {
		snprintf(text, sizeof text, "error: %s", error);
	} else {
		n = json_dumpb(reply, text, sizeof text - 1, JSON_COMPACT);
		if (n >= sizeof text)
			abort();
		text[n] = '\0';
	}
	json_decref(reply);
	json_decref(request);
	return text;
}

#define SA_ADD(rest) "{\"verb\":\"sa-add\",\"node\":\"node2\"," rest "}"
#define GOOD "\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes128gcm16\",\"key\":\"" KEY_A "\""

static void test_sa_add_refuses(void)
{
	static const struct {
		const char *name, *request, *error;
	} rows[] = {
		{"no node", "{\"verb\":\"sa-add\"," GOOD "}", "node: a string is needed"},
		{"unknown node", "{\"verb\":\"sa-add\",\"node\":\"x\"," GOOD "}",
			"there is no \"x\""},
		{"direction", SA_ADD("\"direction\":\"up\",\"spi\":4096"), "direction"},
		{"no spi", SA_ADD("\"direction\":\"in\""), "spi: a number from 256"},
		{"low spi", SA_ADD("\"direction\":\"in\",\"spi\":255"), "spi: a number from 256"},
		{"high spi", SA_ADD("\"direction\":\"in\",\"spi\":4294967296"), "spi"},
		{"spi text", SA_ADD("\"direction\":\"in\",\"spi\":\"0x10zz\""), "spi"},
		{"algorithm", SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"des\""),
			"algorithm: \"des\" is too weak: RFC 8221 says MUST NOT"},
		{"no integrity",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes256ctr\""),
			"algorithm: \"aes256ctr\" has no integrity protection"},
		{"unknown algorithm",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"rot13\""),
			"algorithm: \"rot13\" is not known"},
		{"no HMAC key",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes128-sha1\","
			       "\"key\":\"" KEY_A "\""),
			"key: 36 bytes as hex are needed (16 key, 0 salt, 20 HMAC key)"},
		{"key in use with another algorithm",
			SA_ADD("\"direction\":\"in\",\"spi\":5000,\"algorithm\":"
			       "\"aes128ctr-sha1\",\"key\":\"101112131415161718191a1b1c1d1e1f2021"
			       "2223000102030405060708090a0b0c0d0e0f10111213\""),
			"key: stands in another SA"},
		{"no key",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes128gcm16\""),
			"key: a string is needed"},
		{"short key",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes128gcm16\","
			       "\"key\":\"a0a1\""),
			"key: 20 bytes as hex"},
		{"long key",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes128gcm16\","
			       "\"key\":\"" KEY_A "00\""),
			"key: 20 bytes as hex"},
		{"key is none",
			SA_ADD("\"direction\":\"in\",\"spi\":4096,\"algorithm\":\"aes128gcm16\","
			       "\"key\":\"g0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3\""),
			"key: 20 bytes as hex"},
		{"window", SA_ADD(GOOD ",\"replay_window\":63"), "replay_window: a number from 64"},
		{"source", SA_ADD(GOOD ",\"source\":\"here\""), "source"},
		{"esn", SA_ADD(GOOD ",\"esn\":1"), "esn: true or false"},
		{"misspelt", SA_ADD(GOOD ",\"window\":64"),
			"window: this verb has no such argument"},
		{"SPI in use",
			SA_ADD("\"direction\":\"in\",\"spi\":4097,\"algorithm\":\"aes128gcm16\","
			       "\"key\":\"" KEY_A "\""),
			"spi: is in use"},
		{"key in use",
			SA_ADD("\"direction\":\"in\",\"spi\":5000,\"algorithm\":\"aes128gcm16\","
			       "\"key\":\"101112131415161718191a1b1c1d1e1f20212223\""),
			"key: stands in another SA"},
	};

	begin(); /* node1 has 0x1001 = 4097 and that key from the configuration */
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *reply = call(rows[i].request);

		CHECK_ROW(rows[i].name, strncmp(reply, "error: ", 7) == 0);
		CHECK_ROW(rows[i].name, strstr(reply, rows[i].error) != NULL);
		CHECK_ROW(rows[i].name, strstr(reply, "a0a1a2") == NULL);
		CHECK_ROW(rows[i].name, double_count(DOUBLE_SA_ADD) == 0);
	}
	end();
}

static void test_sa_life(void)
{
	const char *reply;

	begin();
	CU_ASSERT_STRING_EQUAL(call(SA_ADD(GOOD)), "{}");
	CU_ASSERT_STRING_EQUAL(call(SA_ADD("\"direction\":\"out\",\"spi\":\"0x2000\",\"algorithm\":"
					   "\"aes128gcm16\",\"key\":\"" KEY_B "\"")),
		"{}");
	reply = call(
		"{\"verb\":\"sa-query\",\"node\":\"node2\",\"direction\":\"in\",\"spi\":4096}");
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"spi\":\"0x1000\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"source\":\"any\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"replay_window\":1024"));
	reply = call("{\"verb\":\"show-sa\"}");
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"0x1000\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"0x2000\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"0x1001\""));
	CU_ASSERT_PTR_NULL(strstr(reply, "a0a1a2")); /* no key ever */
	CU_ASSERT_PTR_NULL(strstr(reply, "101112"));
	CU_ASSERT_PTR_NULL(strstr(reply, "\"key"));
	CU_ASSERT_STRING_EQUAL(
		call("{\"verb\":\"sa-update\",\"node\":\"node2\",\"direction\":\"in\",\"spi\":4096,"
		     "\"life_time\":60}"),
		"{}");
	reply = call(
		"{\"verb\":\"sa-query\",\"node\":\"node2\",\"direction\":\"in\",\"spi\":4096}");
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"expires_s\":"));
	CU_ASSERT_STRING_EQUAL(
		call("{\"verb\":\"sa-del\",\"node\":\"node2\",\"direction\":\"in\",\"spi\":4096}"),
		"{}");
	CU_ASSERT_STRING_EQUAL(
		call("{\"verb\":\"sa-del\",\"node\":\"node2\",\"direction\":\"in\",\"spi\":4096}"),
		"error: spi: this node has no such SA");
	CU_ASSERT_PTR_NOT_NULL(strstr(call(SA_ADD(GOOD)), "a key does not come back"));
	end();
}

static void test_nodes(void)
{
	begin();
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.1.3\","
			    "\"home_agent\":\"ha1\"}"),
			"outside of the prefixes"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.0.3\","
			    "\"home_agent\":\"ha9\"}"),
			"there is no \"ha9\""));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n 3\",\"home_address\":\"10.1.0.3\","
			    "\"home_agent\":\"ha1\"}"),
			"error: node"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.0.3\","
			    "\"home_agent\":\"ha1\",\"care_of\":\"10.2.0.9\"}"),
			"error: care_of"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.0.10\","
			    "\"home_agent\":\"ha1\"}"),
			"in use"));
	fx.conf->home_agents[0].prefixes.list[0].len = 8; /* wider than inside_prefixes */
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.9.0.3\","
			    "\"home_agent\":\"ha1\"}"),
			"outside of inside_prefixes"));
	CU_ASSERT_EQUAL(tunnels_count(fx.tunnels), 2);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.0.3\","
			    "\"home_agent\":\"ha1\",\"care_of\":\"198.51.100.3\"}"),
			"\"handle\":3"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"show-nodes\"}"), "\"coa\":\"198.51.100.3\""));
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"node-del\",\"node\":\"n3\"}"), "{}");
	CU_ASSERT_EQUAL(tunnels_count(fx.tunnels), 2);
	end();
}

static void test_node_that_must_show(void)
{
	begin();
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.0.3\","
			    "\"home_agent\":\"ha1\",\"care_of\":\"198.51.100.3\","
			    "\"return_routability\":true}"),
			"\"handle\":3"));
	/* Where it is at first is the operator's word. */
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"show-nodes\"}"), "\"routability\":\"verified\""));
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"node-del\",\"node\":\"n3\"}"), "{}");
	CU_ASSERT(ip_prefix_parse("2001:db8::/32", &fx.conf->inside.list[0]));
	fx.conf->home_agents[0].prefixes.list[0] = fx.conf->inside.list[0];
	CU_ASSERT_PTR_NOT_NULL(strstr(
		call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"2001:db8::3\","
		     "\"home_agent\":\"ha1\",\"return_routability\":true}"),
		"return_routability: needs an IPv4 home address"));
	CU_ASSERT_PTR_NOT_NULL(strstr(
		call("{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"2001:db8::3\","
		     "\"home_agent\":\"ha1\",\"return_routability\":1}"),
		"return_routability"));
	end();
}

/* A home agent that said the last of all generations has locked its node; taking the node away and
 * adding it again is the way out. */
static void test_node_del_forgets_generation(void)
{
	static const char add[] =
		"{\"verb\":\"node-add\",\"node\":\"n3\",\"home_address\":\"10.1.0.3\","
		"\"home_agent\":\"ha1\"}";
	const struct ip_addr home = addr_of("10.1.0.3");
	const struct position last = {.generation = UINT64_MAX, .closed = true};

	begin();
	CU_ASSERT(state_write(fx.state, &home, &last) != 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(call(add), "handle"));
	CU_ASSERT_EQUAL(fixture_node(&fx, "n3")->position.generation, UINT64_MAX);
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"node-del\",\"node\":\"n3\"}"), "{}");
	CU_ASSERT_PTR_NOT_NULL(strstr(call(add), "handle"));
	CU_ASSERT_EQUAL(fixture_node(&fx, "n3")->position.generation, 0);
	while (state_room(fx.state) != 0)
		CU_ASSERT_FATAL(state_write(fx.state, &home, &last) != 0);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(call("{\"verb\":\"node-del\",\"node\":\"n3\"}"), "does not keep up"));
	CU_ASSERT_PTR_NOT_NULL(fixture_node(&fx, "n3"));
	end();
}

/* The next start brings an SA of the file back: with the window and the number that it had, or what
 * was recorded from it could be played again. */
static void test_file_sas_keep_their_counters(void)
{
	static const struct {
		const char *name, *request;
		enum double_kind kind;
		bool drop;
	} rows[] = {
		{"SA of the file",
			"{\"verb\":\"sa-del\",\"node\":\"node1\",\"direction\":\"in\",\"spi\":"
			"4097}",
			DOUBLE_SA_DEL, false},
		{"node of the file", "{\"verb\":\"node-del\",\"node\":\"node1\"}", DOUBLE_NODE_DEL,
			false},
		{"SA of the socket",
			"{\"verb\":\"sa-del\",\"node\":\"node2\",\"direction\":\"in\",\"spi\":"
			"4096}",
			DOUBLE_SA_DEL, true},
		{"node without SAs of the file", "{\"verb\":\"node-del\",\"node\":\"node2\"}",
			DOUBLE_NODE_DEL, true},
	};

	begin();
	CU_ASSERT_STRING_EQUAL(call(SA_ADD(GOOD)), "{}");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		double_reset_calls();
		CHECK_ROW(rows[i].name, strcmp(call(rows[i].request), "{}") == 0);
		CHECK_ROW(rows[i].name,
			double_call(rows[i].kind, 0) != NULL &&
				double_call(rows[i].kind, 0)->drop_slot == rows[i].drop);
	}
	end();
}

static void test_paging(void)
{
	unsigned pages = 0, rows = 0;
	json_int_t from = 0;

	begin();
	for (unsigned i = 0; i < 600; i++) {
		char name[16], address[32];
		struct gw_node_conf node = {.home_agent = 1};
		char why[256];

		snprintf(name, sizeof name, "p%u", i);
		snprintf(address, sizeof address, "10.1.%u.%u", i / 250, 1 + i % 250);
		snprintf(node.name, sizeof node.name, "%s", name);
		node.home_address = addr_of(address);
		if (provision_add(&gw, &node, why, sizeof why) != 0)
			rows++; /* an address of the configured nodes: counted below */
		double_reset_calls();
	}
	CU_ASSERT_EQUAL(rows, 2);
	rows = 0;
	do {
		char request[64];
		json_t *reply;

		snprintf(request, sizeof request, "{\"verb\":\"show-nodes\",\"from\":%lld}",
			(long long)from);
		reply = json_loads(call(request), 0, NULL);
		from = json_integer_value(json_object_get(reply, "next"));
		CU_ASSERT(json_array_size(json_object_get(reply, "rows")) <= ADMIN_PAGE_ROWS);
		rows += (unsigned)json_array_size(json_object_get(reply, "rows"));
		json_decref(reply);
		pages++;
	} while (from != 0 && pages < 10);
	CU_ASSERT_EQUAL(rows, 600);
	CU_ASSERT_EQUAL(pages, 3);
	end();
}

/* Behind the number that is asked for, and nothing but that can be asked. */
static void test_from(void)
{
	static const char *const paged[] = {"show-sa", "show-nodes", "show-audit", "show-handovers",
		"show-events", "sa-events"};
	static const char *const whole[] = {
		"show-drops", "show-ports", "show-siu", "alloc-spi", "reload"};
	char request[64];
	const char *reply;

	begin();
	gw.audit = audit_log_new(DOUBLE_DP);
	dp_double.audit = (struct dp_audit){.verdict = VERDICT_BAD_ICV};
	dp_double.n_audits = 3;
	audit_log_turn(gw.audit, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(call("{\"verb\":\"show-audit\"}"), "\"number\":1,"));
	reply = call("{\"verb\":\"show-audit\",\"from\":2}");
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"number\":3,"));
	CU_ASSERT_PTR_NULL(strstr(reply, "\"number\":2,"));
	for (size_t i = 0; i < sizeof paged / sizeof paged[0]; i++) {
		snprintf(
			request, sizeof request, "{\"verb\":\"%s\",\"from\":4294967296}", paged[i]);
		CHECK_ROW(paged[i], strcmp(call(request), "{\"rows\":[]}") == 0);
		snprintf(request, sizeof request, "{\"verb\":\"%s\",\"from\":\"1\"}", paged[i]);
		CHECK_ROW(paged[i], strncmp(call(request), "error: from: a number", 21) == 0);
	}
	for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
		snprintf(request, sizeof request, "{\"verb\":\"%s\",\"from\":1}", whole[i]);
		CHECK_ROW(whole[i],
			strcmp(call(request), "error: from: this verb has no such argument") == 0);
	}
	audit_log_free(gw.audit);
	end();
}

static void test_shows(void)
{
	const char *reply;

	begin();
	reply = call("{\"verb\":\"show-drops\"}");
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"reason\":\"bad_icv\",\"count\":3"));
	CU_ASSERT_PTR_NULL(strstr(reply, "replay")); /* what never happened is left out */
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"ecn_unusual\":5"));
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"show-handovers\"}"), "{\"rows\":[]}");
	reply = call("{\"verb\":\"show-siu\"}");
	CU_ASSERT_PTR_NOT_NULL(
		strstr(reply, "\"home_agent\":\"ha1\",\"address\":\"10.2.0.1:4340\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"up\":false"));
	CU_ASSERT_PTR_NULL(strstr(reply, "000102")); /* no secret */
	reply = call("{\"verb\":\"alloc-spi\"}");
	CU_ASSERT_PTR_NOT_NULL(strstr(reply, "\"spi\":"));
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"sa-events\"}"), "{\"rows\":[]}");
	end();
}

/* --- reload -------------------------------------------------------------------------------------
 */

static char good[8192];

static const char *reload_with(const char *old, const char *fresh)
{
	char text[8192];
	const char *at;

	fixture_conf_text(fx.dir, good, sizeof good);
	at = strstr(good, old);
	if (at == NULL)
		abort();
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, fresh, at + strlen(old));
	fixture_write(fx.dir, "gw.conf", text, 0600);
	double_reset_calls();
	return call("{\"verb\":\"reload\"}");
}

#define COUNTS(a, c, r, k) "{\"added\":" a ",\"changed\":" c ",\"removed\":" r ",\"kept\":" k

static bool says(const char *reply, const char *begin_text)
{
	return strncmp(reply, begin_text, strlen(begin_text)) == 0;
}

static void test_reload(void)
{
	uint32_t epoch;

	begin();
	epoch = key_iv_epoch(fx.keys);
	CU_ASSERT(
		says(reload_with("move_rate = 5;", "move_rate = 6;"), COUNTS("0", "0", "0", "2")));
	CU_ASSERT_EQUAL(dp_double.n, 0);
	CU_ASSERT(says(reload_with("\"node2\"", "\"node3\""), COUNTS("1", "0", "1", "1")));
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "node2"));
	CU_ASSERT_PTR_NOT_NULL(fixture_node(&fx, "node3"));
	CU_ASSERT_EQUAL(key_iv_epoch(fx.keys), epoch); /* no key was taken away */
	/* Another outbound SPI: the key comes again, so it must be in another epoch. */
	CU_ASSERT(says(reload_with("0x2001", "0x2002"), COUNTS("1", "1", "1", "0")));
	CU_ASSERT(key_iv_epoch(fx.keys) > epoch);
	CU_ASSERT_PTR_NOT_NULL(tunnel_sa_find(fixture_node(&fx, "node1"), false, 0x2002));
	CU_ASSERT_PTR_NULL(tunnel_sa_find(fixture_node(&fx, "node1"), false, 0x2001));
	CU_ASSERT(double_call(DOUBLE_NODE_DEL, 0) != NULL &&
		  !double_call(DOUBLE_NODE_DEL, 0)->drop_slot); /* numbers go on */
	end();
}

/* An IKE daemon keyed a node that the file has without SAs: a reload does not cut it off. */
static void test_reload_keeps_sas(void)
{
	begin();
	CU_ASSERT_STRING_EQUAL(call(SA_ADD(GOOD)), "{}");
	CU_ASSERT(
		says(reload_with("move_rate = 5;", "move_rate = 6;"), COUNTS("0", "0", "0", "2")));
	CU_ASSERT_PTR_NOT_NULL(tunnel_sa_find(fixture_node(&fx, "node2"), true, 4096));
	end();
}

/* Where the node is may not be on disk yet: the changed node must not fall back behind it. */
static void test_reload_keeps_position(void)
{
	const struct ip_addr coa = addr_of("198.51.100.7");
	const struct position position = {.generation = 9,
		.coa = coa,
		.remote = {.addr = coa},
		.ends_real_ns = POSITION_NEVER_ENDS};
	struct tunnel *node;

	begin(); /* no state thread: nothing gets to the disk */
	node = fixture_node(&fx, "node1");
	CU_ASSERT_EQUAL(tunnel_move(fx.tunnels, node, &position), 0);
	node->written = state_write(fx.state, &node->home_address, &node->position);
	CU_ASSERT(says(reload_with("0x2001", "0x2002"), COUNTS("0", "1", "0", "1")));
	node = fixture_node(&fx, "node1");
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	CU_ASSERT_EQUAL(node->position.generation, 9);
	CU_ASSERT_FALSE(node->position.closed);
	CU_ASSERT(ip_addr_equal(&node->position.coa, &coa));
	end();
}

static void test_reload_goes_on(void)
{
	begin();
	/* So many nodes went that the packet path has to free some first. */
	dp_double.node_dels_refused = 1;
	CU_ASSERT(says(reload_with("0x2001", "0x2002"), COUNTS("0", "1", "0", "1")));
	CU_ASSERT_PTR_NOT_NULL(tunnel_sa_find(fixture_node(&fx, "node1"), false, 0x2002));
	/* It refuses for good: that node stays, and the others are seen to. */
	dp_double.node_dels_refused = 2;
	CU_ASSERT_PTR_NOT_NULL(strstr(reload_with("},\n  { name = \"node2\"; home_address = "
						  "\"10.1.0.11\"; home_agent = \"ha1\"; }",
					      "}"),
		"error: cannot remove a node"));
	CU_ASSERT_PTR_NOT_NULL(fixture_node(&fx, "node2"));
	CU_ASSERT_PTR_NOT_NULL(tunnel_sa_find(fixture_node(&fx, "node1"), false, 0x2001));
	/* One node's SA cannot be added: the node behind it can. */
	dp_double.sa_add_fails = -ENOSPC;
	CU_ASSERT_PTR_NOT_NULL(
		strstr(reload_with("0x2001", "0x2002"), "error: node \"node1\": inb"));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(reload_with("\"node2\"", "\"node4\""), "error: node \"node1\": inbound SA"));
	CU_ASSERT_PTR_NOT_NULL(fixture_node(&fx, "node4"));
	dp_double.sa_add_fails = 0;
	/* A worker that may still use the counters: nothing is added on top of it. */
	dp_double.grace_open = true;
	CU_ASSERT_PTR_NOT_NULL(
		strstr(reload_with("\"node2\"", "\"node5\""), "a worker does not answer"));
	CU_ASSERT_PTR_NULL(fixture_node(&fx, "node5"));
	dp_double.grace_open = false;
	CU_ASSERT(says(reload_with("\"node2\"", "\"node5\""), "{\"added\":"));
	CU_ASSERT_PTR_NOT_NULL(fixture_node(&fx, "node5"));
	end();
}

static void test_reload_changes_nothing_on_error(void)
{
	static const struct {
		const char *name, *old, *fresh, *error;
	} rows[] = {
		{"error in the file", "move_rate = 5;", "move_rate = 0;",
			"has errors, nothing changed"},
		{"new home agent", "name = \"ha1\"", "name = \"ha7\"", "has errors"},
		{"key by the socket", "2.key", "a.key", "came in by it"},
		{"name by the socket", "\"node2\"", "\"extra\"", "came by the control socket"},
		{"deleted key", "2.key", "b.key", "was deleted by the control socket"},
	};

	begin();
	fixture_write(fx.dir, "a.key", KEY_A, 0600);
	fixture_write(fx.dir, "b.key", KEY_B, 0600);
	CU_ASSERT_PTR_NOT_NULL(strstr(
		call("{\"verb\":\"node-add\",\"node\":\"extra\",\"home_address\":\"10.1.0.77\","
		     "\"home_agent\":\"ha1\"}"),
		"handle"));
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"sa-add\",\"node\":\"extra\"," GOOD "}"), "{}");
	CU_ASSERT_STRING_EQUAL(
		call("{\"verb\":\"sa-add\",\"node\":\"extra\",\"direction\":\"out\",\"spi\":777,"
		     "\"algorithm\":\"aes128gcm16\",\"key\":\"" KEY_B "\"}"),
		"{}");
	CU_ASSERT_STRING_EQUAL(
		call("{\"verb\":\"sa-del\",\"node\":\"extra\",\"direction\":\"out\",\"spi\":777}"),
		"{}");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *reply = reload_with(rows[i].old, rows[i].fresh);

		CHECK_ROW(rows[i].name, says(reply, "error: "));
		CHECK_ROW(rows[i].name, strstr(reply, rows[i].error) != NULL);
		if (strstr(reply, rows[i].error) == NULL)
			printf("[%s] said: %s\n", rows[i].name, reply);
		CHECK_ROW(rows[i].name, dp_double.n == 0);
		CHECK_ROW(rows[i].name, tunnels_count(fx.tunnels) == 3);
	}
	end();
}

#define POLICY(ports)                                                                       \
	"policy = ( { action = \"protect\"; direction = \"out\"; source = [ \"10.2.0.5\", " \
	"\"2001:db8::/32\" ]; protocol = \"tcp\"; destination_ports = \"" ports "\"; }, "   \
	"{ action = \"discard\"; direction = \"in\"; protocol = \"99\"; destination = "     \
	"\"10.2.0.0/24\"; } );"

static void test_policy(void)
{
	static const char shown[] =
		"{\"rows\":[{\"rule\":1,\"action\":\"protect\",\"direction\":\"out\",\"hits\":100,"
		"\"source\":[\"10.2.0.5/32\",\"2001:db8::/32\"],\"destination\":\"any\","
		"\"protocol\":\"tcp\",\"source_ports\":\"any\",\"destination_ports\":\"80-90\"},"
		"{\"rule\":2,\"action\":\"discard\",\"direction\":\"in\",\"hits\":101,\"source\":"
		"\"any\",\"destination\":\"10.2.0.0/24\",\"protocol\":\"99\",\"source_ports\":"
		"\"any\",\"destination_ports\":\"any\"},"
		"{\"rule\":null,\"action\":\"no rule\",\"direction\":\"out\",\"hits\":7},"
		"{\"rule\":null,\"action\":\"no rule\",\"direction\":\"in\",\"hits\":8}]}";
	const struct policy *before;

	begin();
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"show-policy\"}"), "{\"rows\":[]}");
	CU_ASSERT_PTR_NOT_NULL(
		strstr(reload_with("move_rate = 5;", POLICY("80-90")), "\"rules\":2"));
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"show-policy\"}"), shown);
	/* Errors leave the rules as they were: of the file, of its nodes, of the rules. */
	before = dp_double.policy;
	CU_ASSERT(says(reload_with("move_rate = 5;", POLICY("90-80")), "error: "));
	dp_double.sa_add_fails = -ENOSPC;
	CU_ASSERT(says(reload_with("0x2001", "0x2002"), "error: "));
	dp_double.sa_add_fails = 0;
	dp_double.policy_use_fails = -EAGAIN;
	CU_ASSERT(says(reload_with("move_rate = 5;", POLICY("1")), "error: a worker"));
	dp_double.policy_use_fails = 0;
	CU_ASSERT_PTR_EQUAL(dp_double.policy, before);
	CU_ASSERT_STRING_EQUAL(call("{\"verb\":\"show-policy\"}"), shown);
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"sa-add refuses", test_sa_add_refuses},
		{"life of an SA", test_sa_life},
		{"nodes", test_nodes},
		{"a node that must show where it is", test_node_that_must_show},
		{"a deleted node's generation is forgotten", test_node_del_forgets_generation},
		{"SAs of the file keep their counters", test_file_sas_keep_their_counters},
		{"paging", test_paging},
		{"from", test_from},
		{"shows", test_shows},
		{"reload", test_reload},
		{"reload keeps SAs", test_reload_keeps_sas},
		{"reload keeps the position", test_reload_keeps_position},
		{"reload goes on", test_reload_goes_on},
		{"policy", test_policy},
		{"reload changes nothing on error", test_reload_changes_nothing_on_error},
		{NULL, NULL},
	};

	return unit_run("gw/gw_admin", cases);
}
