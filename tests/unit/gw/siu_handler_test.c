/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From an UPDATE to a path: a real association of a home agent speaks to the handler, the packet
 * path is a double. What is checked is what the source document claims: the order of swap and
 * reply, and that nothing is acknowledged early.
 */
#include "control/gw/siu_handler.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/mip4.h"

#include <errno.h>

#define COA_A "198.51.100.7"
#define COA_B "203.0.113.7"
#define ACKS_MAX 64

static struct fixture fx;
static struct siu_handler *handler;
static struct siu *agents[2]; /* the home agents */
static uint8_t ttl = SIU_TTL; /* of what they send */
static struct siu_ack_entry acks[ACKS_MAX];
static unsigned n_acks;
static struct siu_rrq_seen last_seen;
static unsigned n_seen;
static struct siu_event last_event;
static unsigned n_events;
static uint64_t now_ns;
static unsigned taken; /* calls of the double whose datagrams the home agents have had */

/* --- the home agents' side ----------------------------------------------------------------------
 */

static void agent_send(void *arg, const uint8_t *datagram, size_t len)
{
	const struct ip_addr source = addr_of(arg == &agents[0] ? "10.2.0.1" : "10.2.0.2");

	siu_handler_input(handler, &source, ttl, datagram, len, now_ns);
}

static void agent_ack(void *arg, const struct siu_ack_entry *entry)
{
	(void)arg;
	if (n_acks < ACKS_MAX)
		acks[n_acks++] = *entry;
}

static void agent_rrq_seen(void *arg, const struct siu_rrq_seen *seen)
{
	(void)arg;
	last_seen = *seen;
	n_seen++;
}

static void agent_event(void *arg, const struct siu_event *event)
{
	(void)arg;
	last_event = *event;
	n_events++;
}

static struct siu_update bindings[4]; /* what the home agents have, for a SYNC */
static unsigned n_bindings;

static uint64_t agent_next_binding(void *arg, uint64_t cursor, struct siu_update *update)
{
	if (arg != &agents[0] || cursor >= n_bindings)
		return 0;
	*update = bindings[cursor];
	return cursor + 1;
}

static struct siu *agent_new(unsigned i, uint32_t boot_epoch)
{
	static const uint8_t secret[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	const struct siu_callbacks callbacks = {
		.send = agent_send,
		.ack = agent_ack,
		.rrq_seen = agent_rrq_seen,
		.event = agent_event,
		.next_binding = agent_next_binding,
	};
	struct siu_config config = {

		.role = SIU_HOME_AGENT,
		.local_id = 1 + i,
		.boot_epoch = boot_epoch,
		.max_pending = 16,
	};

	siu_derive_keys(secret, sizeof secret, 1, &config.keys_out[0], &config.keys_in[0]);
	return siu_new(&config, &callbacks, &agents[i]);
}

/* Datagrams that the gateway put into the workers' queue reach the home agents. */
static void deliver(void)
{
	for (; taken < dp_double.n; taken++) {
		const struct double_call *call = &dp_double.calls[taken];
		struct ipv4_view ip;
		struct udp_view udp;

		if (call->kind != DOUBLE_SEND_INSIDE ||
			!ipv4_udp_parse(call->data, call->len, &ip, &udp) ||
			udp.dst_port != SIU_PORT_DEFAULT)
			continue;
		siu_input(
			agents[ip.dst.bytes[3] == 1 ? 0 : 1], udp.payload, udp.payload_len, now_ns);
	}
}

/* Both sides work for some ms of the protocol's time. */
static void run_ms(unsigned ms)
{
	for (unsigned i = 0; i < ms; i++) {
		now_ns += NS_PER_MS;
		clock_set_test(now_ns, 1800000000 * NS_PER_S + now_ns);
		for (unsigned k = 0; k < 2; k++)
			(void)siu_tick(agents[k], now_ns);
		siu_handler_flush(handler, now_ns);
		deliver();
	}
}

static void forget_calls(void)
{
	double_reset_calls();
	taken = 0;
}

static void begin_with(bool disk)
{
	const struct siu_handler_config config = {.device = "none"};
	struct siu_handler_config open = config;
	char why[256];

	clock_set_test(0, 0);
	now_ns = clock_mono_ns();
	clock_set_test(now_ns, 1800000000 * NS_PER_S + now_ns);
	fixture_open(&fx, disk);
	fixture_add_nodes(&fx);
	open.conf = fx.conf;
	open.dp = DOUBLE_DP;
	open.tunnels = fx.tunnels;
	open.handovers = fx.handovers;
	open.state = fx.state;
	n_acks = n_seen = n_events = taken = n_bindings = 0;
	if (siu_handler_open(&open, &handler, why, sizeof why) != 0)
		abort();
	dp_double.stamp_replies = true;
	for (unsigned i = 0; i < 2; i++)
		agents[i] = agent_new(i, 7);
	run_ms(120); /* HELLOs: up */
	forget_calls();
	n_acks = 0;
}

static void begin(void)
{
	begin_with(true);
}

static void end(void)
{
	for (unsigned i = 0; i < 2; i++)
		siu_free(agents[i]);
	siu_handler_close(handler);
	fixture_close(&fx);
	clock_set_test(0, 0);
}

/* The commit takes real time; the protocol's time stands still meanwhile. */
static void wait_for_disk(uint64_t number)
{
	for (unsigned i = 0; i < 5000 && state_durable(fx.state) < number; i++)
		usleep(1000);
}

/* --- updates ------------------------------------------------------------------------------------
 */

static uint8_t rrp_bytes[SIU_RRP_MAX];

static size_t make_rrp(const char *home_address, const char *coa, const char *from)
{
	const struct mip4_rrp rrp = {
		.lifetime_s = 600, .hoa = addr_of(home_address), .ha = addr_of(from)};
	const struct mip4_key key = {.spi = 0x101, .alg = HMAC_SHA256, .key_len = 16};
	const struct ip_endpoint src = {.addr = addr_of(from), .port = MIP4_PORT};
	const struct ip_endpoint dst = {.addr = addr_of(coa), .port = MIP4_PORT};
	uint8_t payload[128];
	size_t len = mip4_rrp_encode(payload, sizeof payload, &rrp, &key);

	return ipv4_udp_build(rrp_bytes, sizeof rrp_bytes, &src, &dst, payload, len);
}

static struct ip_addr addr_or_unset(const char *text)
{
	const struct ip_addr unset = {.family = 0};

	return text == NULL ? unset : addr_of(text);
}

static struct siu_update update_to(uint64_t generation, const char *former, const char *coa)
{
	return (struct siu_update){
		.lifetime_s = 600,
		.generation = generation,
		.identification = generation << 32,
		.home_address = addr_of("10.1.0.10"),
		.former_coa = addr_or_unset(former),
		.new_coa = addr_or_unset(coa),
	};
}

/* A deregistration from COA_A, with its reply or without. */
static struct siu_update goodbye(bool with_reply)
{
	struct siu_update update = update_to(2, COA_A, NULL);

	update.flags = SIU_DEREGISTER;
	update.lifetime_s = 0;
	if (with_reply) {
		update.rrp = rrp_bytes;
		update.rrp_len = make_rrp("10.1.0.10", COA_A, "10.1.0.1");
	}
	return update;
}

/* Hands the update over and lets it be answered; returns the answer's result, or -1: none. */
static int send_from(unsigned agent, const struct siu_update *update)
{
	const unsigned before = n_acks;

	if (siu_update(agents[agent], update, now_ns) != 0)
		return -2;
	run_ms(1);
	for (struct tunnel *t = tunnel_next(fx.tunnels, 0); t != NULL;
		t = tunnel_next(fx.tunnels, t->handle))
		wait_for_disk(t->written);
	run_ms(1);
	if (n_acks == before)
		return -1;
	siu_forget(agents[agent], &update->home_address); /* it would repeat what was put off */
	return (int)acks[n_acks - 1].result;
}

static int send_update(const struct siu_update *update)
{
	return send_from(0, update);
}

static int move_to(uint64_t generation, const char *former, const char *coa)
{
	const struct siu_update update = update_to(generation, former, coa);

	return send_update(&update);
}

static const struct path *path_of(const char *name)
{
	return atomic_load(&fixture_node(&fx, name)->node->path);
}

static bool path_is_at(const char *name, const char *coa)
{
	const struct ip_addr want = addr_of(coa);
	const struct path *path = path_of(name);

	return (path->flags & PATH_CLOSED) == 0 && ip_addr_equal(&path->coa, &want) &&
	       ip_addr_equal(&path->remote.addr, &want);
}

/* --- tests --------------------------------------------------------------------------------------
 */

static void test_swap_then_reply_then_ack(void)
{
	struct siu_update update = update_to(1, NULL, COA_A);

	begin();
	update.rrp = rrp_bytes;
	update.rrp_len = make_rrp("10.1.0.10", COA_A, "10.1.0.1");
	dp_double.grace_open = true;
	CU_ASSERT_EQUAL(send_update(&update), -1);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 1);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_TO_NODE), 1);
	CU_ASSERT(double_order(DOUBLE_SET_PATH, 0) < double_order(DOUBLE_SEND_TO_NODE, 0));
	CU_ASSERT(path_is_at("node1", COA_A));
	if (double_count(DOUBLE_SEND_TO_NODE) == 1) {
		const struct double_call *call = double_call(DOUBLE_SEND_TO_NODE, 0);

		CU_ASSERT_EQUAL(call->len, update.rrp_len);
		CU_ASSERT_EQUAL(memcmp(call->data, rrp_bytes, update.rrp_len), 0);
	}
	run_ms(5);
	CU_ASSERT_EQUAL(n_acks, 0); /* a worker is still on the old path */
	dp_double.grace_open = false;
	run_ms(1);
	CU_ASSERT_EQUAL(n_acks, 1);
	CU_ASSERT_EQUAL(acks[0].result, SIU_RESULT_OK);
	CU_ASSERT_EQUAL(acks[0].in_force, 1);
	CU_ASSERT_EQUAL(acks[0].node, fixture_node(&fx, "node1")->handle);
	end();
}

static void test_no_ack_before_disk(void)
{
	begin_with(false);
	CU_ASSERT_EQUAL(siu_update(agents[0],
				&(struct siu_update){.lifetime_s = 600,
					.generation = 1,
					.home_address = addr_of("10.1.0.10"),
					.new_coa = addr_of(COA_A)},
				now_ns),
		0);
	run_ms(20);
	CU_ASSERT(path_is_at("node1", COA_A)); /* traffic does not wait */
	CU_ASSERT_EQUAL(n_acks, 0);            /* the acknowledgement does */
	CU_ASSERT_EQUAL(state_start(fx.state), 0);
	wait_for_disk(fixture_node(&fx, "node1")->written);
	run_ms(1);
	CU_ASSERT_EQUAL(n_acks, 1);
	end();
}

static void test_order(void)
{
	struct siu_update update;

	begin();
	CU_ASSERT_EQUAL(move_to(5, NULL, COA_A), SIU_RESULT_OK);
	forget_calls();
	CU_ASSERT_EQUAL(move_to(4, NULL, COA_B), SIU_RESULT_STALE);
	CU_ASSERT_EQUAL(acks[n_acks - 1].in_force, 5);
	CU_ASSERT(ip_addr_equal(&acks[n_acks - 1].coa,
		&(struct ip_addr){.bytes = {198, 51, 100, 7}, .family = AF_INET}));
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 0);
	update = update_to(5, NULL, COA_A);
	update.rrp = rrp_bytes;
	update.rrp_len = make_rrp("10.1.0.10", COA_A, "10.1.0.1");
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_DUPLICATE);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 0);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_TO_NODE), 1); /* the reply is said again */
	CU_ASSERT(path_is_at("node1", COA_A));
	end();
}

/* 0 says "none"; the last of all locks the node, but that of nobody else. */
static void test_generation_edges(void)
{
	struct siu_update second = update_to(1, NULL, COA_B);

	begin();
	CU_ASSERT_EQUAL(move_to(0, NULL, COA_A), SIU_RESULT_MALFORMED);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 0);
	CU_ASSERT_EQUAL(move_to(UINT64_MAX, NULL, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(1, COA_A, COA_B), SIU_RESULT_STALE);
	CU_ASSERT_EQUAL(acks[n_acks - 1].in_force, UINT64_MAX);
	second.home_address = addr_of("10.1.0.11");
	CU_ASSERT_EQUAL(send_update(&second), SIU_RESULT_OK);
	second.home_address = addr_of("10.1.1.10");
	CU_ASSERT_EQUAL(send_from(1, &second), SIU_RESULT_OK);
	end();
}

static void test_former_coa(void)
{
	const struct ip_addr a = addr_of(COA_A);
	uint64_t until_ns;

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_OK);
	CU_ASSERT(path_is_at("node1", COA_B));
	CU_ASSERT(ip_addr_equal(&path_of("node1")->former_coa, &a));
	until_ns = path_of("node1")->grace_until_ns;
	CU_ASSERT(until_ns > now_ns && until_ns <= now_ns + 2000 * NS_PER_MS);
	/* A refresh neither prolongs the grace time nor forgets the former address. */
	CU_ASSERT_EQUAL(move_to(3, COA_B, COA_B), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(path_of("node1")->grace_until_ns, until_ns);
	CU_ASSERT(ip_addr_equal(&path_of("node1")->former_coa, &a));
	/* The home agent thinks the node was elsewhere: ours counts, and it is told. */
	run_ms(1000);
	CU_ASSERT_EQUAL(move_to(4, "198.51.100.99", COA_A), SIU_RESULT_OK_STATE_DIFFERED);
	CU_ASSERT(ip_addr_equal(&path_of("node1")->former_coa,
		&(struct ip_addr){.bytes = {203, 0, 113, 7}, .family = AF_INET}));
	end();
}

static void test_gates(void)
{
	static const struct {
		const char *name, *home_address, *coa;
		unsigned agent;
		uint16_t lifetime_s;
		enum siu_result result;
	} rows[] = {
		{"unknown node", "10.1.0.99", COA_A, 0, 600, SIU_RESULT_NO_SA},
		{"another's node", "10.1.1.10", COA_A, 0, 600, SIU_RESULT_NOT_AUTHORISED},
		{"the other way round", "10.1.0.10", COA_A, 1, 600, SIU_RESULT_NOT_AUTHORISED},
		{"lifetime 0", "10.1.0.10", COA_A, 0, 0, SIU_RESULT_MALFORMED},
		{"multicast", "10.1.0.10", "224.0.0.5", 0, 600, SIU_RESULT_BAD_COA},
		{"broadcast", "10.1.0.10", "255.255.255.255", 0, 600, SIU_RESULT_BAD_COA},
		{"loopback", "10.1.0.10", "127.0.0.1", 0, 600, SIU_RESULT_BAD_COA},
		{"link-local", "10.1.0.10", "169.254.1.1", 0, 600, SIU_RESULT_BAD_COA},
		{"unspecified", "10.1.0.10", "0.0.0.0", 0, 600, SIU_RESULT_BAD_COA},
		{"our own outside", "10.1.0.10", "192.0.2.1", 0, 600, SIU_RESULT_BAD_COA},
		{"subnet broadcast", "10.1.0.10", "192.0.2.255", 0, 600, SIU_RESULT_BAD_COA},
		{"inside", "10.1.0.10", "10.1.0.77", 0, 600, SIU_RESULT_BAD_COA},
		{"inside port", "10.1.0.10", "10.2.0.254", 0, 600, SIU_RESULT_BAD_COA},
		{"forbidden", "10.1.0.10", "198.18.3.4", 0, 600, SIU_RESULT_BAD_COA},
		{"IPv6", "10.1.0.10", "2001:db8::7", 0, 600, SIU_RESULT_FAMILY_UNSUPPORTED},
	};

	begin();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct siu_update update = update_to(10, NULL, rows[i].coa);
		int result;

		update.home_address = addr_of(rows[i].home_address);
		update.lifetime_s = rows[i].lifetime_s;
		result = send_from(rows[i].agent, &update);
		/* A lifetime of 0 may already be refused on the way, without an answer. */
		CHECK_ROW(rows[i].name,
			result == (int)rows[i].result || (rows[i].lifetime_s == 0 && result < 0));
		CHECK_ROW(rows[i].name, double_count(DOUBLE_SET_PATH) == 0);
		CHECK_ROW(rows[i].name, fixture_node(&fx, "node1")->position.generation == 0);
		if (result == SIU_RESULT_NOT_AUTHORISED)
			CHECK_ROW(rows[i].name,
				acks[n_acks - 1].node == 0 && acks[n_acks - 1].in_force == 0);
		forget_calls();
	}
	end();
}

static void test_bad_rrp(void)
{
	static const struct {
		const char *name, *home_address, *coa, *from;
	} rows[] = {
		{"another home agent", "10.1.0.10", COA_A, "10.1.1.1"},
		{"another destination", "10.1.0.10", COA_B, "10.1.0.1"},
		{"another home address", "10.1.0.11", COA_A, "10.1.0.1"},
	};

	begin();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct siu_update update = update_to(10, NULL, COA_A);

		update.rrp = rrp_bytes;
		update.rrp_len = make_rrp(rows[i].home_address, rows[i].coa, rows[i].from);
		CHECK_ROW(rows[i].name, send_update(&update) == SIU_RESULT_BAD_RRP);
		CHECK_ROW(rows[i].name, double_count(DOUBLE_SET_PATH) == 0);
		CHECK_ROW(rows[i].name, double_count(DOUBLE_SEND_TO_NODE) == 0);
		forget_calls();
	}
	end();
}

static void test_refused_by_packet_path(void)
{
	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	dp_double.set_path_fails = -EAGAIN;
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_NO_RESOURCES);
	CU_ASSERT(path_is_at("node1", COA_A));
	CU_ASSERT_EQUAL(fixture_node(&fx, "node1")->position.generation, 1);
	dp_double.set_path_fails = 0;
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_OK); /* the retry is accepted */
	CU_ASSERT(path_is_at("node1", COA_B));
	end();
}

static void test_move_rate(void)
{
	begin(); /* 3 at once, 5 a second */
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(3, COA_B, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(4, COA_A, COA_B), SIU_RESULT_RATE_LIMITED);
	CU_ASSERT(path_is_at("node1", COA_A));
	run_ms(200);
	CU_ASSERT_EQUAL(move_to(4, COA_A, COA_B), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(5, COA_B, COA_A), SIU_RESULT_RATE_LIMITED);
	end();
}

static void punt_rrq_from(
	uint64_t identification, const char *coa, const char *observed, uint16_t port)
{
	const struct mip4_rrq rrq = {
		.flags = MIP4_FLAG_D,
		.lifetime_s = 600,
		.hoa = addr_of("10.1.0.10"),
		.ha = addr_of("10.1.0.1"),
		.coa = addr_of(coa),
		.identification = identification,
	};
	const struct mip4_key key = {.spi = 0x101, .alg = HMAC_SHA256, .key_len = 16};
	const struct ip_endpoint src = {.addr = rrq.coa, .port = 4000};
	const struct ip_endpoint dst = {.addr = rrq.ha, .port = MIP4_PORT};
	uint8_t payload[128], datagram[256];
	size_t len = mip4_rrq_encode(payload, sizeof payload, &rrq, &key);

	len = ipv4_udp_build(datagram, sizeof datagram, &src, &dst, payload, len);
	siu_handler_registration(
		handler, &(struct punt){
				 .reason = PUNT_REGISTRATION,
				 .data = datagram,
				 .len = (uint32_t)len,
				 .node = fixture_node(&fx, "node1")->handle,
				 .observed = {.addr = addr_of(observed), .port = port},
				 .rx_ns = now_ns,
			 });
}

static void punt_rrq(uint64_t identification, const char *coa, const char *observed)
{
	punt_rrq_from(identification, coa, observed, 0);
}

static void test_rrq_seen_goes_first(void)
{
	const struct double_call *first, *second;
	struct ipv4_view ip;
	struct udp_view udp;

	begin();
	punt_rrq(77, COA_B, COA_B);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_INSIDE), 2);
	first = double_call(DOUBLE_SEND_INSIDE, 0);
	second = double_call(DOUBLE_SEND_INSIDE, 1);
	if (first != NULL && second != NULL) {
		CU_ASSERT(ipv4_udp_parse(first->data, first->len, &ip, &udp));
		CU_ASSERT_EQUAL(udp.dst_port, SIU_PORT_DEFAULT);
		CU_ASSERT(ipv4_udp_parse(second->data, second->len, &ip, &udp));
		CU_ASSERT_EQUAL(udp.dst_port, MIP4_PORT);
	}
	deliver();
	CU_ASSERT_EQUAL(n_seen, 1);
	CU_ASSERT_EQUAL(last_seen.identification, 77);
	CU_ASSERT(ip_addr_equal(&last_seen.observed.addr, &last_seen.coa));
	end();
}

static void test_reply_only(void)
{
	struct siu_update update = update_to(3, NULL, COA_B);
	const struct double_call *call;
	const struct ip_addr observed = addr_of("203.0.113.50");

	begin();
	CU_ASSERT_EQUAL(move_to(5, NULL, COA_A), SIU_RESULT_OK);
	forget_calls();
	update.flags = SIU_REPLY_ONLY;
	update.identification = 77;
	update.rrp = rrp_bytes;
	update.rrp_len = make_rrp("10.1.0.10", COA_B, "10.1.0.1");
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_COA_NOT_OBSERVED);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_ONCE), 0);
	punt_rrq(77, COA_B, "203.0.113.50");
	update.generation = 4;
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_ONCE), 1);
	call = double_call(DOUBLE_SEND_ONCE, 0);
	if (call != NULL)
		CU_ASSERT(ip_addr_equal(&call->remote.addr, &observed));
	/* The SA is not touched. */
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 0);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_TO_NODE), 0);
	CU_ASSERT(path_is_at("node1", COA_A));
	CU_ASSERT_EQUAL(fixture_node(&fx, "node1")->position.generation, 5);
	/* What is no reply does not go anywhere. */
	update.generation = 6;
	update.rrp_len = make_rrp("10.1.0.10", COA_B, "10.1.1.1");
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_BAD_RRP);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_ONCE), 1);
	/* The node lied about its source: no ESP goes to the inside, or to ourselves. */
	punt_rrq(78, COA_B, "10.1.0.77");
	update.generation = 7;
	update.identification = 78;
	update.rrp_len = make_rrp("10.1.0.10", COA_B, "10.1.0.1");
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_BAD_COA);
	punt_rrq(79, COA_B, "192.0.2.1");
	update.generation = 8;
	update.identification = 79;
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_BAD_COA);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_ONCE), 1);
	end();
}

static void test_deregister(void)
{
	struct siu_update update = goodbye(false);

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_OK);
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	CU_ASSERT(!ip_addr_is_set(&path_of("node1")->remote.addr));
	CU_ASSERT_EQUAL(acks[n_acks - 1].in_force, 2);
	CU_ASSERT(!ip_addr_is_set(&acks[n_acks - 1].coa));
	/* A late old move does not open it again, a new one does. */
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_STALE);
	CU_ASSERT_EQUAL(move_to(3, NULL, COA_B), SIU_RESULT_OK);
	CU_ASSERT(path_is_at("node1", COA_B));
	end();
}

static void test_deregister_with_reply(void)
{
	struct siu_update update = goodbye(true);

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	forget_calls();
	dp_double.stamp_replies = false; /* the reply is still in the worker's queue */
	CU_ASSERT_EQUAL(send_update(&update), -1);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_TO_NODE), 1);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 0);
	CU_ASSERT(path_is_at("node1", COA_A));
	atomic_store(&atomic_load(&fixture_node(&fx, "node1")->node->path)->rrp_tx_ns, 4711);
	run_ms(1); /* it left: close */
	CU_ASSERT_EQUAL(double_count(DOUBLE_SET_PATH), 1);
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	wait_for_disk(fixture_node(&fx, "node1")->written);
	run_ms(1);
	CU_ASSERT_EQUAL(acks[n_acks - 1].result, SIU_RESULT_OK);
	CU_ASSERT_EQUAL(acks[n_acks - 1].generation, 2);
	end();
}

/* The node goes and another one gets its handle while the reply is waited for. */
static void test_deregister_of_deleted_node(void)
{
	struct siu_update update = goodbye(true);
	struct tunnel_params params = {.name = "next", .home_address = addr_of("10.1.0.12")};
	uint32_t handle;
	struct tunnel *tunnel;

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	dp_double.stamp_replies = false;
	CU_ASSERT_EQUAL(send_update(&update), -1);
	handle = fixture_node(&fx, "node1")->handle;
	CU_ASSERT_EQUAL(tunnel_del(fx.tunnels, fixture_node(&fx, "node1"), true), 0);
	params.position.coa = params.position.remote.addr = addr_of(COA_B);
	params.position.ends_real_ns = POSITION_NEVER_ENDS;
	while (tunnel_add(fx.tunnels, &params, &tunnel) == 0 && tunnel->handle != handle) {
		CU_ASSERT_EQUAL(tunnel_del(fx.tunnels, tunnel, true), 0);
		forget_calls();
	}
	run_ms(25);
	CU_ASSERT(path_is_at("next", COA_B));
	CU_ASSERT_EQUAL(fixture_node(&fx, "next")->position.generation, 0);
	CU_ASSERT_EQUAL(acks[n_acks - 1].generation, 2);
	CU_ASSERT_EQUAL(acks[n_acks - 1].node, 0); /* nor is anything said of it */
	CU_ASSERT_EQUAL(acks[n_acks - 1].in_force, 0);
	end();
}

/* One home agent keeps saying the same while the disk stands still. */
static void test_share_of_pending(void)
{
	enum { NODES = 9, ROUNDS = 240 };
	struct siu_update other = update_to(1, NULL, COA_B);
	struct siu_handler_stats stats;
	struct tunnel *tunnel;

	begin_with(false);
	for (unsigned i = 0; i < NODES; i++) {
		char name[16], home_address[16];
		struct tunnel_params params = {.name = name, .position = {.closed = true}};

		snprintf(name, sizeof name, "f%u", i);
		snprintf(home_address, sizeof home_address, "10.1.0.%u", 100 + i);
		params.home_address = addr_of(home_address);
		CU_ASSERT_EQUAL(tunnel_add(fx.tunnels, &params, &tunnel), 0);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < NODES; i++) {
			struct siu_update update = update_to(1, NULL, COA_A);

			update.home_address.bytes[3] = (uint8_t)(100 + i);
			CU_ASSERT_EQUAL(siu_update(agents[0], &update, now_ns), 0);
		}
		run_ms(1);
		forget_calls();
	}
	siu_handler_get_stats(handler, &stats);
	CU_ASSERT_EQUAL(stats.pending, SIU_HANDLER_PENDING_MAX / 2);
	CU_ASSERT(stats.results[SIU_RESULT_NO_RESOURCES] > 0);
	other.home_address = addr_of("10.1.1.10");
	CU_ASSERT_EQUAL(siu_update(agents[1], &other, now_ns), 0);
	run_ms(2);
	CU_ASSERT(path_is_at("other1", COA_B)); /* the other one still gets through */
	CU_ASSERT_EQUAL(state_start(fx.state), 0);
	wait_for_disk(fixture_node(&fx, "other1")->written);
	run_ms(2);
	siu_handler_get_stats(handler, &stats);
	CU_ASSERT_EQUAL(stats.pending, 0);
	end();
}

static void test_deregister_reply_lost(void)
{
	struct siu_update update = goodbye(true);

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	dp_double.stamp_replies = false;
	CU_ASSERT_EQUAL(send_update(&update), -1);
	run_ms(25); /* longer than MOVE_CLOSE_WAIT_NS */
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	end();
}

static void test_coa_taken_over(void)
{
	struct siu_update second = update_to(1, NULL, COA_A);

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_OK);
	second.home_address = addr_of("10.1.0.11");
	CU_ASSERT_EQUAL(send_update(&second), SIU_RESULT_OK); /* during node1's grace time */
	CU_ASSERT(path_is_at("node1", COA_B));
	CU_ASSERT(path_is_at("node2", COA_A));
	end();
}

static void test_expiry(void)
{
	struct siu_update update = update_to(1, NULL, COA_A);
	uint64_t end_ns;

	begin();
	update.lifetime_s = 10;
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_OK);
	end_ns = tunnel_end(fx.tunnels, fixture_node(&fx, "node1"));
	CU_ASSERT(end_ns <= now_ns + 10 * NS_PER_S && end_ns > now_ns + 9 * NS_PER_S);
	while (now_ns + NS_PER_MS < end_ns) {
		run_ms(1);
		forget_calls();
	}
	CU_ASSERT(path_is_at("node1", COA_A));
	dp_double.set_path_fails = -EAGAIN;
	run_ms(1);
	CU_ASSERT(path_is_at("node1", COA_A)); /* no room at this moment */
	dp_double.set_path_fails = 0;
	run_ms(1);
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	CU_ASSERT_EQUAL(tunnel_end(fx.tunnels, fixture_node(&fx, "node1")), POSITION_NEVER_ENDS);
	CU_ASSERT_EQUAL(fixture_node(&fx, "node1")->position.generation, 1);
	/* The home agent's clock says otherwise: it is believed. But not its repeated goodbye. */
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_OK);
	CU_ASSERT(path_is_at("node1", COA_A));
	update = goodbye(false);
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_DUPLICATE);
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	end();
}

/* A home agent that starts again says what it has; what it does not have is closed. */
static void test_sync_sweeps(void)
{
	struct siu_update second = update_to(4, NULL, COA_B);
	struct siu_update other = update_to(9, NULL, COA_A);
	struct siu_handler_stats stats;

	begin();
	second.home_address = addr_of("10.1.0.11");
	other.home_address = addr_of("10.1.1.10");
	CU_ASSERT_EQUAL(move_to(3, NULL, COA_A), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(send_update(&second), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(send_from(1, &other), SIU_RESULT_OK);
	bindings[0] = second; /* node1 is gone; node2 as it was */
	n_bindings = 1;
	siu_free(agents[0]);
	agents[0] = agent_new(0, 8);
	for (unsigned i = 0; i < 20; i++) {
		run_ms(100);
		forget_calls();
		wait_for_disk(fixture_node(&fx, "node2")->written);
	}
	siu_handler_get_stats(handler, &stats);
	CU_ASSERT_EQUAL(stats.swept, 1);
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	CU_ASSERT(path_is_at("node2", COA_B));
	CU_ASSERT(path_is_at("other1", COA_A)); /* another home agent's is not touched */
	end();
}

static void test_unknown_source(void)
{
	const struct ip_addr stranger = addr_of("10.2.0.3");
	struct siu_handler_stats stats;

	begin();
	siu_handler_input(handler, &stranger, SIU_TTL, rrp_bytes, sizeof rrp_bytes, now_ns);
	siu_handler_get_stats(handler, &stats);
	CU_ASSERT_EQUAL(stats.unknown_source, 1);
	end();
}

/* RFC 5082: from another network no TTL of 255 comes. */
static void test_directly_attached(void)
{
	struct siu_handler_stats stats;

	begin();
	fx.conf->home_agents[0].directly_attached = true;
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	ttl = SIU_TTL - 1;
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), -1);
	siu_handler_get_stats(handler, &stats);
	CU_ASSERT(stats.not_attached >= 1 && path_is_at("node1", COA_A));
	ttl = SIU_TTL;
	CU_ASSERT_EQUAL(move_to(3, COA_A, COA_B), SIU_RESULT_OK);
	ttl = 1; /* where it is not asked for any TTL will do */
	fx.conf->home_agents[0].directly_attached = false;
	CU_ASSERT_EQUAL(move_to(4, COA_B, COA_A), SIU_RESULT_OK);
	ttl = SIU_TTL;
	end();
}

/* The other side's key changes with ours, one after the other; a home agent not named stays. */
static void test_set_keys(void)
{
	struct gw_conf fresh;
	struct siu_key to_gw[2] = {0}, to_ha[2] = {0};
	const struct gw_siu_secret second = {2, {.bytes = {9}, .len = 16}};
	struct gw_siu_secret first;

	begin();
	fresh = *fx.conf;
	first = fresh.home_agents[0].secrets[0];
	CU_ASSERT_EQUAL(siu_handler_set_keys(handler, &fresh), 0); /* as they are */
	fresh.home_agents[0].secrets[1] = second;
	CU_ASSERT_EQUAL(siu_handler_set_keys(handler, &fresh), 1);
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	siu_derive_keys(second.secret.bytes, 16, 2, &to_gw[0], &to_ha[0]);
	siu_derive_keys(first.secret.bytes, 16, 1, &to_gw[1], &to_ha[1]);
	CU_ASSERT_TRUE(siu_set_keys(agents[0], to_gw, to_ha));
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_OK);
	fresh.home_agents[0].secrets[0] = second;
	fresh.home_agents[0].secrets[1] = (struct gw_siu_secret){0};
	fresh.n_home_agents = 1; /* the other one is not in the file any more */
	CU_ASSERT_EQUAL(siu_handler_set_keys(handler, &fresh), 1);
	to_gw[1].len = to_ha[1].len = 0;
	CU_ASSERT_TRUE(siu_set_keys(agents[0], to_gw, to_ha));
	CU_ASSERT_FALSE(siu_set_keys(agents[0], to_gw, to_ha));
	CU_ASSERT_EQUAL(move_to(3, COA_B, COA_A), SIU_RESULT_OK);
	end();
}

static void test_handover_times(void)
{
	const struct handover *handover;
	uint64_t oldest, newest;

	begin();
	CU_ASSERT_EQUAL(move_to(1, NULL, COA_A), SIU_RESULT_OK);
	punt_rrq((uint64_t)2 << 32, COA_B, COA_B);
	CU_ASSERT_EQUAL(move_to(2, COA_A, COA_B), SIU_RESULT_OK);
	CU_ASSERT(handovers_range(fx.handovers, &oldest, &newest));
	CU_ASSERT_EQUAL(newest, 2);
	handover = handovers_at(fx.handovers, 2);
	CU_ASSERT_PTR_NOT_NULL(handover);
	if (handover != NULL) {
		CU_ASSERT(handover->rrq_in_ns != 0);
		CU_ASSERT(handover->rrq_in_ns <= handover->siu_in_ns);
		CU_ASSERT(handover->siu_in_ns <= handover->stored_ns);
		CU_ASSERT(handover->stored_ns <= handover->grace_ns);
		CU_ASSERT(handover->grace_ns <= handover->acked_ns);
	}
	/* Stamps of workers are taken over before the path is replaced. */
	atomic_store(&atomic_load(&fixture_node(&fx, "node1")->node->path)->first_tx_ns, 99);
	CU_ASSERT_EQUAL(move_to(3, COA_B, COA_A), SIU_RESULT_OK);
	handover = handovers_at(fx.handovers, 2);
	CU_ASSERT(handover != NULL && handover->first_out_ns == 99);
	end();
}

/* --- behind a NAT -------------------------------------------------------------------------------
 */

#define PRIVATE "192.168.1.5"
#define OUTSIDE_NAT "203.0.113.50"

static struct tunnel *allow_nat(void)
{
	struct tunnel *tunnel = fixture_node(&fx, "node1");

	tunnel->flags |= NODE_ALLOW_NAT;
	return tunnel;
}

/* The second end of the path that the last move led to, or "none". */
static const char *second_end(char text[IP_TEXT_MAX])
{
	const struct double_call *call = double_call(DOUBLE_SET_PATH, 0);

	return call == NULL || !ip_addr_is_set(&call->path.second.addr)
		       ? "none"
		       : ip_addr_format(&call->path.second.addr, text);
}

static void test_bicast(void)
{
	struct siu_update closing = update_to(5, COA_A, COA_A);
	struct tunnel *tunnel;
	char text[IP_TEXT_MAX];

	begin();
	tunnel = fixture_node(&fx, "node1");
	CU_ASSERT(move_to(1, NULL, COA_A) == SIU_RESULT_OK);
	forget_calls();
	CU_ASSERT(move_to(2, COA_A, COA_B) == SIU_RESULT_OK);
	CU_ASSERT_STRING_EQUAL(second_end(text), "none"); /* not in its profile */
	tunnel->flags |= NODE_BICAST;
	forget_calls();
	CU_ASSERT(move_to(3, COA_B, COA_A) == SIU_RESULT_OK);
	CU_ASSERT_STRING_EQUAL(second_end(text), COA_B);
	run_ms(1500); /* the limit of moves */
	/* A refresh in the grace time goes on with it. */
	forget_calls();
	CU_ASSERT(move_to(4, COA_A, COA_A) == SIU_RESULT_OK);
	CU_ASSERT_STRING_EQUAL(second_end(text), COA_B);
	/* Closed: nothing goes anywhere, and what was before is not a former end of what comes. */
	forget_calls();
	closing.flags = SIU_DEREGISTER;
	closing.lifetime_s = 0;
	closing.new_coa = (struct ip_addr){0};
	CU_ASSERT(send_update(&closing) == SIU_RESULT_OK);
	CU_ASSERT_STRING_EQUAL(second_end(text), "none");
	forget_calls();
	CU_ASSERT(siu_result_is_good((enum siu_result)move_to(6, COA_A, COA_B)));
	CU_ASSERT_STRING_EQUAL(second_end(text), "none");
	end();
}

/* Where the packet path leads to, and provisionally? */
static bool leads_to(const char *remote, bool provisional)
{
	const struct ip_addr want = addr_of(remote);
	const struct path *path = path_of("node1");

	return ip_addr_equal(&path->remote.addr, &want) &&
	       ((path->flags & PATH_PROVISIONAL) != 0) == provisional;
}

static void begin_provisional(uint32_t flags)
{
	begin();
	fixture_node(&fx, "node1")->flags |= flags;
	CU_ASSERT(move_to(1, NULL, COA_A) == SIU_RESULT_OK);
	forget_calls();
}

static void test_provisional(void)
{
	const struct ip_addr coa_a = addr_of(COA_A);

	begin_provisional(NODE_PROVISIONAL);
	punt_rrq(UINT64_C(2) << 32, COA_B, COA_B);
	CU_ASSERT(leads_to(COA_B, true));
	/* The selector is still the one that the home agent knows. */
	CU_ASSERT(ip_addr_equal(&path_of("node1")->coa, &coa_a));
	CU_ASSERT(ip_addr_equal(&fixture_node(&fx, "node1")->position.coa, &coa_a));
	run_ms(400);
	CU_ASSERT(leads_to(COA_B, true));
	run_ms(100); /* no update */
	CU_ASSERT(leads_to(COA_A, false));
	/* Neither a copy of the same nor another one soon after. */
	punt_rrq(UINT64_C(2) << 32, COA_B, COA_B);
	punt_rrq(UINT64_C(3) << 32, COA_B, COA_B);
	CU_ASSERT(leads_to(COA_A, false));
	run_ms(1000);
	punt_rrq(UINT64_C(2) << 32, COA_B, COA_B);
	CU_ASSERT(leads_to(COA_A, false));
	punt_rrq(UINT64_C(4) << 32, COA_B, COA_B);
	CU_ASSERT(leads_to(COA_B, true));
	CU_ASSERT(move_to(2, COA_A, COA_B) == SIU_RESULT_OK);
	CU_ASSERT(leads_to(COA_B, false));
	run_ms(1000);
	CU_ASSERT(leads_to(COA_B, false));
	end();
}

/* A path's MTU that is learned while the way is tried neither ends the try nor renews its credit.
 */
static void test_mtu_while_trying(void)
{
	struct tunnel *tunnel;
	struct path *path;
	uint32_t credit;

	begin_provisional(NODE_PROVISIONAL);
	tunnel = fixture_node(&fx, "node1");
	punt_rrq(UINT64_C(2) << 32, COA_B, COA_B);
	path = atomic_load(&tunnel->node->path);
	credit = atomic_fetch_sub(&path->credit, 1000) - 1000;
	/* The path that stays in force keeps its credit. */
	dp_double.set_path_fails = -EAGAIN;
	CU_ASSERT(tunnel_set_mtu(fx.tunnels, tunnel, 1280) == -EAGAIN);
	dp_double.set_path_fails = 0;
	CU_ASSERT(leads_to(COA_B, true) && atomic_load(&path->credit) == credit);

	CU_ASSERT(tunnel_set_mtu(fx.tunnels, tunnel, 1280) == 0);
	CU_ASSERT(leads_to(COA_B, true));
	path = atomic_load(&tunnel->node->path);
	CU_ASSERT(path->mtu == 1280 && atomic_load(&path->credit) == credit);
	run_ms(400);
	CU_ASSERT(leads_to(COA_B, true));
	run_ms(100);
	CU_ASSERT(leads_to(COA_A, false) && path_of("node1")->mtu != 1280);
	end();
}

static void test_no_provisional(void)
{
	static const struct {
		const char *name, *coa, *observed;
		uint32_t flags;
	} rows[] = {
		{"not in the profile", COA_B, COA_B, 0},
		{"from elsewhere", COA_B, "203.0.113.99", NODE_PROVISIONAL},
		{"where it is already", COA_A, COA_A, NODE_PROVISIONAL},
		{"inside", "10.1.0.77", "10.1.0.77", NODE_PROVISIONAL},
		{"forbidden", "198.18.0.7", "198.18.0.7", NODE_PROVISIONAL},
		{"ours", "192.0.2.1", "192.0.2.1", NODE_PROVISIONAL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		begin_provisional(rows[i].flags);
		punt_rrq(UINT64_C(2) << 32, rows[i].coa, rows[i].observed);
		CHECK_ROW(rows[i].name, leads_to(COA_A, false));
		end();
	}
	begin(); /* closed: there is nothing to be switched */
	fixture_node(&fx, "node1")->flags |= NODE_PROVISIONAL;
	punt_rrq(UINT64_C(2) << 32, COA_B, COA_B);
	CU_ASSERT((path_of("node1")->flags & PATH_PROVISIONAL) == 0);
	end();
}

static void test_outer_source(void)
{
	static const struct {
		const char *name, *observed;
		uint16_t port;
		uint32_t flags;
		bool passes;
	} rows[] = {
		{"from where it says", COA_B, 0, NODE_STRICT_OUTER_SOURCE, true},
		{"from elsewhere", COA_A, 0, NODE_STRICT_OUTER_SOURCE, false},
		{"from elsewhere, not in the profile", COA_A, 0, 0, true},
		{"from where it says, in UDP", COA_B, 4500, NODE_STRICT_OUTER_SOURCE, true},
		{"in UDP from elsewhere", COA_A, 4500, NODE_STRICT_OUTER_SOURCE, false},
		/* There the tunnel ends where the request came from. */
		{"behind a NAT", COA_A, 4500, NODE_STRICT_OUTER_SOURCE | NODE_ALLOW_NAT, true},
		{"may be behind a NAT, is not", COA_A, 0, NODE_STRICT_OUTER_SOURCE | NODE_ALLOW_NAT,
			false},
	};
	struct siu_handler_stats stats;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		begin();
		fixture_node(&fx, "node1")->flags = rows[i].flags;
		forget_calls();
		punt_rrq_from(77, COA_B, rows[i].observed, rows[i].port);
		siu_handler_get_stats(handler, &stats);
		/* Announced and passed on, or neither and nothing kept of it. */
		CHECK_ROW(rows[i].name,
			double_count(DOUBLE_SEND_INSIDE) == (rows[i].passes ? 2 : 0) &&
				stats.registrations_refused == !rows[i].passes &&
				(fixture_node(&fx, "node1")->rrqs != NULL) == rows[i].passes);
		end();
	}
}

static void test_nat_end(void)
{
	static const struct {
		const char *name;
		bool allowed;
		const char *asked, *coa, *observed; /* asked NULL: the request is not known */
		uint16_t port;
		int result;
		const char *end; /* want */
		uint16_t end_port;
		bool label;
	} rows[] = {
		{"not allowed", false, COA_A, COA_A, OUTSIDE_NAT, 61001, SIU_RESULT_OK, COA_A, 0,
			0},
		{"not in UDP", true, COA_A, COA_A, OUTSIDE_NAT, 0, SIU_RESULT_OK, COA_A, 0, 0},
		{"NAT", true, PRIVATE, PRIVATE, OUTSIDE_NAT, 61001, SIU_RESULT_OK, OUTSIDE_NAT,
			61001, 1},
		{"UDP without NAT", true, COA_A, COA_A, COA_A, 4500, SIU_RESULT_OK, COA_A, 4500, 0},
		{"our host's address is only a label", true, "10.1.0.77", "10.1.0.77", OUTSIDE_NAT,
			61001, SIU_RESULT_OK, OUTSIDE_NAT, 61001, 1},
		{"forbidden as an end, good as a label", true, "198.18.0.7", "198.18.0.7",
			OUTSIDE_NAT, 61001, SIU_RESULT_OK, OUTSIDE_NAT, 61001, 1},
		{"our own address", true, "192.0.2.1", "192.0.2.1", OUTSIDE_NAT, 61001,
			SIU_RESULT_BAD_COA, NULL, 0, 0},
		{"our own address inside", true, "10.2.0.254", "10.2.0.254", OUTSIDE_NAT, 61001,
			SIU_RESULT_BAD_COA, NULL, 0, 0},
		{"multicast", true, "224.0.0.9", "224.0.0.9", OUTSIDE_NAT, 61001,
			SIU_RESULT_BAD_COA, NULL, 0, 0},
		{"end inside", true, PRIVATE, PRIVATE, "10.1.0.77", 61001, SIU_RESULT_BAD_COA, NULL,
			0, 0},
		{"end forbidden", true, PRIVATE, PRIVATE, "198.18.0.7", 61001, SIU_RESULT_BAD_COA,
			NULL, 0, 0},
		{"end is ours", true, PRIVATE, PRIVATE, "192.0.2.1", 61001, SIU_RESULT_BAD_COA,
			NULL, 0, 0},
		{"request unknown", true, NULL, COA_B, OUTSIDE_NAT, 61001, SIU_RESULT_OK, COA_B, 0,
			0},
		{"request for another address", true, PRIVATE, COA_B, OUTSIDE_NAT, 61001,
			SIU_RESULT_OK, COA_B, 0, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct double_call *call;
		struct ip_addr end_addr;

		begin();
		if (rows[i].allowed)
			allow_nat();
		if (rows[i].asked != NULL)
			punt_rrq_from(
				UINT64_C(1) << 32, rows[i].asked, rows[i].observed, rows[i].port);
		CHECK_ROW(rows[i].name, move_to(1, NULL, rows[i].coa) == rows[i].result);
		call = double_call(DOUBLE_SET_PATH, 0);
		CHECK_ROW(rows[i].name, (call != NULL) == (rows[i].end != NULL));
		if (call != NULL && rows[i].end != NULL) {
			end_addr = addr_of(rows[i].end);
			CHECK_ROW(rows[i].name, ip_addr_equal(&call->path.remote.addr, &end_addr) &&
							call->path.remote.port == rows[i].end_port);
			CHECK_ROW(rows[i].name,
				call->path.local.port == (rows[i].end_port != 0 ? 4500 : 0));
			CHECK_ROW(rows[i].name,
				((call->path.flags & PATH_LABEL) != 0) == rows[i].label);
		}
		end();
	}
}

/* Refreshed by a request that passed before our restart: the end stays what it was. */
static void test_nat_end_is_kept(void)
{
	const struct ip_addr outside = addr_of(OUTSIDE_NAT);
	struct tunnel *tunnel;

	begin();
	tunnel = allow_nat();
	punt_rrq_from(UINT64_C(1) << 32, PRIVATE, OUTSIDE_NAT, 61001);
	CU_ASSERT_EQUAL(move_to(1, NULL, PRIVATE), SIU_RESULT_OK);
	free(tunnel->rrqs);
	tunnel->rrqs = NULL;
	CU_ASSERT_EQUAL(move_to(2, PRIVATE, PRIVATE), SIU_RESULT_OK);
	CU_ASSERT(ip_addr_equal(&tunnel->position.remote.addr, &outside));
	CU_ASSERT_EQUAL(tunnel->position.remote.port, 61001);
	/* Another NAT, the same address in there: no move for the home agent, but one for us. */
	punt_rrq_from(UINT64_C(3) << 32, PRIVATE, "203.0.113.51", 4500);
	CU_ASSERT_EQUAL(move_to(3, PRIVATE, PRIVATE), SIU_RESULT_OK);
	CU_ASSERT_EQUAL(tunnel->position.remote.addr.bytes[3], 51);
	CU_ASSERT_EQUAL(tunnel->position.remote.port, 4500);
	/* In plain ESP again. */
	punt_rrq_from(UINT64_C(4) << 32, COA_A, COA_A, 0);
	run_ms(1000);
	CU_ASSERT_EQUAL(move_to(4, PRIVATE, COA_A), SIU_RESULT_OK);
	CU_ASSERT(path_is_at("node1", COA_A));
	CU_ASSERT_EQUAL(tunnel->position.remote.port, 0);
	end();
}

static void port_seen(uint32_t node, const char *addr, uint16_t port)
{
	const struct dp_port_change change = {node, {.addr = addr_of(addr), .port = port}};

	siu_handler_port_changed(handler, &change);
	run_ms(1);
}

static void test_port_follows(void)
{
	struct siu_handler_stats stats;
	struct position stored;
	struct tunnel *tunnel;

	begin();
	tunnel = allow_nat();
	punt_rrq_from(UINT64_C(1) << 32, PRIVATE, OUTSIDE_NAT, 61001);
	CU_ASSERT_EQUAL(move_to(1, NULL, PRIVATE), SIU_RESULT_OK);
	atomic_store(&atomic_load(&tunnel->node->path)->first_tx_ns, 98);
	atomic_store(&atomic_load(&tunnel->node->path)->rrp_tx_ns, 99);
	forget_calls();
	port_seen(tunnel->handle, OUTSIDE_NAT, 61002);
	CU_ASSERT_EQUAL(path_of("node1")->remote.port, 61002);
	CU_ASSERT_EQUAL(tunnel->position.remote.port, 61002);
	CU_ASSERT_EQUAL(tunnel->position.generation, 1);
	/* It goes on with the handover that led here. */
	CU_ASSERT_EQUAL(path_of("node1")->first_tx_ns, 98);
	CU_ASSERT_EQUAL(path_of("node1")->rrp_tx_ns, 99);
	CU_ASSERT_EQUAL(tunnel->handover, 1);
	CU_ASSERT_EQUAL(n_events, 1);
	CU_ASSERT_EQUAL(last_event.kind, SIU_EVENT_ENDPOINT_CHANGED);
	CU_ASSERT_EQUAL(last_event.node, tunnel->handle);
	CU_ASSERT_EQUAL(last_event.observed.port, 61002);
	CU_ASSERT(ip_addr_equal(&last_event.home_address, &tunnel->home_address));
	wait_for_disk(tunnel->written);
	CU_ASSERT_EQUAL(state_load(fx.state, &tunnel->home_address, &stored), 0);
	CU_ASSERT_EQUAL(stored.remote.port, 61002);

	/* What must change nothing. */
	forget_calls();
	port_seen(tunnel->handle, OUTSIDE_NAT, 61002);    /* there already */
	port_seen(tunnel->handle, "203.0.113.51", 61003); /* another address: only by SIU */
	port_seen(tunnel->handle, PRIVATE, 61003);
	port_seen(77, OUTSIDE_NAT, 61003); /* no such node any more */
	dp_double.set_path_fails = -EAGAIN;
	port_seen(tunnel->handle, OUTSIDE_NAT, 61003);
	dp_double.set_path_fails = 0;
	CU_ASSERT_EQUAL(tunnel->position.remote.port, 61002);
	tunnel->flags &= ~(uint32_t)NODE_ALLOW_NAT;
	port_seen(tunnel->handle, OUTSIDE_NAT, 61003);
	allow_nat();
	CU_ASSERT_EQUAL(path_of("node1")->remote.port, 61002);
	CU_ASSERT_EQUAL(n_events, 1);
	CU_ASSERT_EQUAL(move_to(2, PRIVATE, COA_A), SIU_RESULT_OK);
	port_seen(tunnel->handle, COA_A, 61003); /* in plain ESP */
	CU_ASSERT_EQUAL(tunnel->position.remote.port, 0);
	siu_handler_get_stats(handler, &stats);
	CU_ASSERT_EQUAL(stats.port_moves, 1);
	end();
}

static void test_port_of_closed_path(void)
{
	struct siu_update update = update_to(2, PRIVATE, NULL);
	struct tunnel *tunnel;

	begin();
	tunnel = allow_nat();
	punt_rrq_from(UINT64_C(1) << 32, PRIVATE, OUTSIDE_NAT, 61001);
	CU_ASSERT_EQUAL(move_to(1, NULL, PRIVATE), SIU_RESULT_OK);
	update.flags = SIU_DEREGISTER;
	update.lifetime_s = 0;
	CU_ASSERT_EQUAL(send_update(&update), SIU_RESULT_OK);
	port_seen(tunnel->handle, OUTSIDE_NAT, 61002);
	CU_ASSERT(path_of("node1")->flags & PATH_CLOSED);
	CU_ASSERT_EQUAL(n_events, 0);
	end();
}

/* Every port is followed, but not every one is told. */
static void test_port_events_limited(void)
{
	const struct ip_addr outside = addr_of(OUTSIDE_NAT);
	struct tunnel *tunnel;

	begin();
	tunnel = allow_nat();
	punt_rrq_from(UINT64_C(1) << 32, PRIVATE, OUTSIDE_NAT, 61001);
	CU_ASSERT_EQUAL(move_to(1, NULL, PRIVATE), SIU_RESULT_OK);
	forget_calls();
	for (uint16_t i = 1; i <= SIU_HANDLER_EVENTS_PER_S + 50; i++) {
		const struct dp_port_change change = {tunnel->handle, {outside, i}};

		siu_handler_port_changed(handler, &change);
		CU_ASSERT_EQUAL(path_of("node1")->remote.port, i);
	}
	deliver();
	CU_ASSERT_EQUAL(n_events, SIU_HANDLER_EVENTS_PER_S);
	run_ms(100);
	port_seen(tunnel->handle, OUTSIDE_NAT, 61002);
	CU_ASSERT_EQUAL(n_events, SIU_HANDLER_EVENTS_PER_S + 1);
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"swap, then reply, then acknowledgement", test_swap_then_reply_then_ack},
		{"no acknowledgement before the disk", test_no_ack_before_disk},
		{"stale and duplicate", test_order},
		{"edges of the generation", test_generation_edges},
		{"former care-of address", test_former_coa},
		{"gates", test_gates},
		{"a reply that is none", test_bad_rrp},
		{"refused by the packet path", test_refused_by_packet_path},
		{"move rate", test_move_rate},
		{"RRQ_SEEN goes first", test_rrq_seen_goes_first},
		{"REPLY_ONLY", test_reply_only},
		{"deregistration", test_deregister},
		{"deregistration with reply", test_deregister_with_reply},
		{"deregistration, node deleted", test_deregister_of_deleted_node},
		{"share of pending entries", test_share_of_pending},
		{"deregistration, reply lost", test_deregister_reply_lost},
		{"care-of address taken over", test_coa_taken_over},
		{"lifetime", test_expiry},
		{"SYNC sweeps", test_sync_sweeps},
		{"unknown source", test_unknown_source},
		{"directly attached", test_directly_attached},
		{"other keys", test_set_keys},
		{"times of a handover", test_handover_times},
		{"a second end in the grace time", test_bicast},
		{"a provisional switch", test_provisional},
		{"a learned MTU while a switch is tried", test_mtu_while_trying},
		{"no provisional switch", test_no_provisional},
		{"outer source of a registration", test_outer_source},
		{"end of the tunnel behind a NAT", test_nat_end},
		{"end of the tunnel is kept", test_nat_end_is_kept},
		{"port follows", test_port_follows},
		{"port of a closed path", test_port_of_closed_path},
		{"events of ports are limited", test_port_events_limited},
		{NULL, NULL},
	};

	return unit_run("gw/siu_handler", cases);
}
