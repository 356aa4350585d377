/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binding changes and the gateway's answers, with a double in the place of siu/: it keeps what it
 * is given, and looks at the disk at that very moment.
 */
#include "control/ha/notify.h"

#include "lib/ipv4.h"
#include "tests/unit/ha/fixture.h"
#include "tests/unit/lib/unit.h"

#include <errno.h>
#include <sys/stat.h>

#define CALLS_MAX 16

static struct ha_conf conf;
static struct store *store;
static struct loop *loop;
static struct ha_bindings *bindings;
static struct ha_counters counters;
static struct ha_notify *notify;
static struct ha_binding *binding; /* of node 0 */
static unsigned moved;

/* --- the double --- */

struct siu {
	struct siu_callbacks callbacks;
	void *arg;
};

static struct call {
	struct siu *siu;
	struct siu_update update;
	uint8_t rrp[SIU_RRP_MAX];
	bool durable; /* the disk said the same, and pending */
} calls[CALLS_MAX];
static unsigned n_calls;
static struct siu *gateways[2];
static unsigned n_gateways;
static int update_error;

void siu_derive_keys(const uint8_t *secret, size_t len, uint16_t id, struct siu_key *ha_to_gw,
	struct siu_key *gw_to_ha)
{
	(void)secret;
	(void)len;
	ha_to_gw->id = gw_to_ha->id = id;
}

uint64_t siu_draw_start(void)
{
	return 0;
}

struct siu *siu_new(
	const struct siu_config *config, const struct siu_callbacks *callbacks, void *arg)
{
	struct siu *siu = calloc(1, sizeof *siu);

	CU_ASSERT_EQUAL(config->role, SIU_HOME_AGENT);
	*siu = (struct siu){.callbacks = *callbacks, .arg = arg};
	gateways[n_gateways++] = siu;
	return siu;
}

static struct siu_key set_out[2], set_in[2];
static unsigned n_set;

bool siu_set_keys(
	struct siu *siu, const struct siu_key keys_out[2], const struct siu_key keys_in[2])
{
	(void)siu;
	memcpy(set_out, keys_out, sizeof set_out);
	memcpy(set_in, keys_in, sizeof set_in);
	return n_set++ == 0; /* the first is another one */
}

void siu_free(struct siu *siu)
{
	free(siu);
}

void siu_input(struct siu *siu, const uint8_t *datagram, size_t len, uint64_t now_ns)
{
	(void)siu;
	(void)datagram;
	(void)len;
	(void)now_ns;
}

static unsigned ticked_after; /* calls, at the last tick of gateway 0 */
static uint64_t ticked_ns;

uint64_t siu_tick(struct siu *siu, uint64_t now_ns)
{
	if (siu == gateways[0]) {
		ticked_after = n_calls;
		ticked_ns = now_ns;
	}
	return now_ns + NS_PER_S;
}

void siu_get_stats(const struct siu *siu, struct siu_stats *out)
{
	(void)siu;
	*out = (struct siu_stats){0};
}

const char *siu_result_name(enum siu_result result)
{
	(void)result;
	return "refused";
}

static bool disk_says(const struct siu_update *update)
{
	struct ha_bindings *stored = NULL;
	struct ha_binding *found;
	bool same;

	CU_ASSERT_EQUAL_FATAL(ha_bindings_open(store, &conf, &stored), 0);
	found = ha_binding_find(stored, &update->home_address);
	same = found != NULL && found->generation == update->generation && found->pending &&
	       ip_addr_equal(&found->registered.coa, &update->new_coa) && found->reply.len != 0;
	ha_bindings_close(stored);
	return same;
}

int siu_update(struct siu *siu, const struct siu_update *update, uint64_t now_ns)
{
	struct call *call = &calls[n_calls];

	(void)now_ns;
	if (update_error != 0)
		return update_error;
	CU_ASSERT_FATAL(n_calls < CALLS_MAX);
	n_calls++;
	*call = (struct call){.siu = siu, .update = *update, .durable = disk_says(update)};
	if (update->rrp != NULL)
		memcpy(call->rrp, update->rrp, update->rrp_len);
	return 0;
}

/* --- a run of the home agent --- */

static void on_moved(void *arg, struct ha_binding *which)
{
	(void)arg;
	CU_ASSERT_PTR_EQUAL(which, binding);
	moved++;
}

static void on_rrq_seen(void *arg, int gateway, const struct siu_rrq_seen *seen)
{
	(void)arg;
	(void)gateway;
	(void)seen;
}

static void stop(void)
{
	ha_notify_close(notify);
	ha_bindings_close(bindings);
	store_close(store);
	loop_free(loop);
	notify = NULL;
	n_gateways = 0;
}

static void start(void)
{
	static const struct ha_notify_events events = {.moved = on_moved, .rrq_seen = on_rrq_seen};
	static const char *const names[] = {HA_BINDING_DB, NULL};
	char path[160], why[256];

	snprintf(path, sizeof path, "%s/state", unit_folder());
	CU_ASSERT_EQUAL_FATAL(store_open(path, names, 1u << 20, &store, why, sizeof why), 0);
	CU_ASSERT_EQUAL_FATAL(ha_bindings_open(store, &conf, &bindings), 0);
	loop = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
	CU_ASSERT_EQUAL_FATAL(
		ha_notify_open(loop, &conf, bindings, &counters, 1, &notify, why, sizeof why), 0);
	binding = ha_binding_at(bindings, 0);
	n_calls = 0;
	moved = 0;
	counters = (struct ha_counters){0};
	ha_notify_start(notify, &events, NULL);
}

static void begin(void)
{
	unit_remove_folder();
	if (mkdir(unit_folder(), 0700) != 0)
		abort();
	conf = fixture_conf();
	set_clock(0);
	update_error = 0;
	start();
}

/* A request that was judged good, with the reply that a real one would get. */
static int submit(const char *coa, uint16_t lifetime_s, uint64_t identification, int gateway)
{
	static struct ha_registration reg;
	struct ha_reply reply = {.port = 40000};

	reg = (struct ha_registration){.kind = HA_REGISTER,
		.lifetime_s = lifetime_s,
		.identification = identification,
		.key = &conf.nodes[0].keys[1],
		.own_ha = &conf.address,
		.rrq = {.flags = MIP4_FLAG_D,
			.lifetime_s = lifetime_s,
			.hoa = addr_of(HOME),
			.ha = addr_of(AGENT),
			.coa = addr_of(coa),
			.identification = identification}};
	if (lifetime_s == 0)
		reg.kind = strcmp(coa, HOME) == 0 ? HA_DEREGISTER_ALL : HA_DEREGISTER_COA;
	reply.len = (uint16_t)ha_registration_reply(
		&reg, MIP4_CODE_ACCEPTED, reply.bytes, sizeof reply.bytes);
	return ha_notify_register(notify, binding, &reg, &reply, gateway);
}

static void answer(
	int gateway, const struct siu_update *update, enum siu_result result, uint64_t in_force)
{
	struct siu_ack_entry entry = {.result = result,
		.generation = update->generation,
		.in_force = in_force,
		.home_address = update->home_address,
		.update_flags = update->flags};

	if (siu_result_is_good(result) && (update->flags & SIU_DEREGISTER) == 0)
		entry.coa = update->new_coa;
	gateways[gateway]->callbacks.ack(gateways[gateway]->arg, &entry);
}

static void move_confirmed(const char *coa, uint64_t identification, int gateway)
{
	CU_ASSERT_EQUAL(submit(coa, 300, identification, gateway), 0);
	answer(gateway, &calls[n_calls - 1].update, SIU_RESULT_OK, binding->generation);
	n_calls = 0;
	moved = 0;
}

static bool is_at(const struct ha_care *care, const char *coa)
{
	struct ip_addr addr = addr_of(coa);

	return care != NULL && ip_addr_equal(&care->coa, &addr);
}

static bool is_addr(const struct ip_addr *addr, const char *text)
{
	struct ip_addr other = addr_of(text);

	return ip_addr_equal(addr, &other);
}

/* The code in the reply of a call; -1: none, or not the datagram that it must be. */
static int code_in(const struct call *call, const char *to)
{
	struct ipv4_view ip;
	struct udp_view udp;
	struct mip4_rrp rrp;
	struct mip4_auth auth;

	if (call->update.rrp == NULL ||
		!ipv4_udp_parse(call->rrp, call->update.rrp_len, &ip, &udp) ||
		!is_addr(&ip.src, AGENT) || !is_addr(&ip.dst, to) || udp.src_port != MIP4_PORT ||
		udp.dst_port != 40000 ||
		mip4_rrp_decode(udp.payload, udp.payload_len, &rrp, &auth) != MIP4_OK ||
		!mip4_auth_verify(&conf.nodes[0].keys[1], udp.payload, &auth))
		return -1;
	return rrp.code;
}

/* --- cases --- */

static void durable_before_update(void)
{
	begin();
	CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_TRUE(calls[0].durable);
	CU_ASSERT_PTR_EQUAL(calls[0].siu, gateways[0]);
	CU_ASSERT_EQUAL(calls[0].update.flags, 0);
	CU_ASSERT_EQUAL(calls[0].update.generation, 1);
	CU_ASSERT_EQUAL(calls[0].update.identification, 7);
	CU_ASSERT_EQUAL(calls[0].update.lifetime_s, 300);
	CU_ASSERT_FALSE(ip_addr_is_set(&calls[0].update.former_coa));
	CU_ASSERT_TRUE(is_addr(&calls[0].update.new_coa, COA_A));
	CU_ASSERT_EQUAL(code_in(&calls[0], COA_A), 0);
	stop();
}

/* What siu_tick() sends leaves before the registration is done with, by the same clock reading as
 * the binding became durable: no timer, and no wait for others. */
static void update_leaves_at_once(void)
{
	begin();
	for (uint64_t i = 1; i <= 3; i++) {
		ticked_after = 0;
		CU_ASSERT_EQUAL(submit((i & 1) != 0 ? COA_A : COA_B, 300, 6 + i, 0), 0);
		CU_ASSERT_EQUAL(n_calls, i);
		CU_ASSERT_EQUAL(ticked_after, i);
		CU_ASSERT_EQUAL(ticked_ns, clock_mono_ns());
		CU_ASSERT_EQUAL(binding->update_ns, binding->durable_ns);
	}
	stop();
}

static void tunnel_moves_with_the_ack(void)
{
	struct ip_addr former = addr_of(COA_A);

	begin();
	move_confirmed(COA_A, 7, 0);
	binding->in_force.reverse_tunnel = true;
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	CU_ASSERT_TRUE(is_addr(&calls[0].update.former_coa, COA_A));
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_A));
	CU_ASSERT_EQUAL(moved, 0);
	binding->registered.reverse_tunnel = true;
	answer(0, &calls[0].update, SIU_RESULT_OK, 2);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_B));
	CU_ASSERT_EQUAL(moved, 1);
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(
		ha_binding_accepts_outer(binding, &former, clock_mono_ns() + 2000 * NS_PER_MS - 1));
	CU_ASSERT_FALSE(
		ha_binding_accepts_outer(binding, &former, clock_mono_ns() + 2000 * NS_PER_MS));
	answer(0, &calls[0].update, SIU_RESULT_DUPLICATE, 2); /* once more: nothing */
	CU_ASSERT_EQUAL(moved, 1);
	CU_ASSERT_EQUAL(n_calls, 1);
	stop();
}

static void good_answers(void)
{
	static const enum siu_result results[] = {SIU_RESULT_OK, SIU_RESULT_OK_PROVISIONAL,
		SIU_RESULT_OK_STATE_DIFFERED, SIU_RESULT_DUPLICATE};

	for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
		begin();
		CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
		answer(0, &calls[0].update, results[i], 1);
		CU_ASSERT_FALSE(binding->pending);
		CU_ASSERT_TRUE(is_at(&binding->in_force, COA_A));
		stop();
	}
}

static void refusals(void)
{
	static const struct {
		enum siu_result result;
		int code;
	} rows[] = {
		{SIU_RESULT_MALFORMED, MIP4_CODE_UNSPECIFIED},
		{SIU_RESULT_BAD_RRP, MIP4_CODE_UNSPECIFIED},
		{(enum siu_result)999, MIP4_CODE_UNSPECIFIED},
		{SIU_RESULT_NO_SA, MIP4_CODE_NO_RESOURCES},
		{SIU_RESULT_SA_EXPIRED, MIP4_CODE_NO_RESOURCES},
		{SIU_RESULT_NO_ROUTE, MIP4_CODE_NO_RESOURCES},
		{SIU_RESULT_NOT_AUTHORISED, MIP4_CODE_PROHIBITED},
		{SIU_RESULT_BAD_COA, MIP4_CODE_PROHIBITED},
		{SIU_RESULT_COA_NOT_OBSERVED, MIP4_CODE_PROHIBITED},
		{SIU_RESULT_FAMILY_UNSUPPORTED, MIP4_CODE_PROHIBITED},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char name[16];

		snprintf(name, sizeof name, "result %d", rows[i].result);
		begin();
		move_confirmed(COA_A, 7, 0);
		CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
		answer(0, &calls[0].update, rows[i].result, 1);
		CHECK_ROW(name, is_at(ha_binding_target(binding), COA_A));
		CHECK_ROW(name, is_at(&binding->registered, COA_A));
		CHECK_ROW(name, !binding->pending && moved == 1);
		CU_ASSERT_EQUAL_FATAL(n_calls, 3);
		CHECK_ROW(name, calls[1].update.flags == SIU_REPLY_ONLY);
		CHECK_ROW(name, calls[1].update.identification == 8);
		CHECK_ROW(name, is_addr(&calls[1].update.new_coa, COA_B));
		CHECK_ROW(name, code_in(&calls[1], COA_B) == rows[i].code);
		CHECK_ROW(name, is_addr(&calls[2].update.new_coa, COA_A)); /* said again */
		CHECK_ROW(name, calls[2].update.generation == 3);
		answer(0, &calls[1].update, rows[i].result, 1); /* even that: no circle */
		answer(0, &calls[2].update, rows[i].result, 1);
		CHECK_ROW(name, n_calls == 3);
		stop();
	}
}

static void not_final(void)
{
	static const enum siu_result results[] = {
		SIU_RESULT_NO_RESOURCES, SIU_RESULT_RATE_LIMITED, SIU_RESULT_RESYNC_NEEDED};

	for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
		begin();
		CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
		answer(0, &calls[0].update, results[i], 0);
		CU_ASSERT_TRUE(binding->pending);
		CU_ASSERT_EQUAL(n_calls, 1);
		stop();
	}
}

static void superseded(void)
{
	struct siu_update old;

	begin();
	CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
	old = calls[0].update;
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	CU_ASSERT_EQUAL(calls[1].update.generation, 2);
	answer(0, &old, SIU_RESULT_OK, 1);
	CU_ASSERT_TRUE(binding->pending);
	answer(0, &old, SIU_RESULT_NO_SA, 1);
	CU_ASSERT_TRUE(binding->pending);
	CU_ASSERT_EQUAL(counters.n[HA_SIU_SUPERSEDED], 2);
	answer(0, &calls[1].update, SIU_RESULT_OK, 2);
	CU_ASSERT_TRUE(is_at(&binding->in_force, COA_B));
	stop();
}

static void gateway_remembers_more(void)
{
	begin();
	CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
	answer(0, &calls[0].update, SIU_RESULT_STALE, 41);
	CU_ASSERT_EQUAL_FATAL(n_calls, 2);
	CU_ASSERT_EQUAL(calls[1].update.generation, 42);
	CU_ASSERT_TRUE(calls[1].durable);
	CU_ASSERT_EQUAL(code_in(&calls[1], COA_A), 0);
	answer(0, &calls[1].update, SIU_RESULT_OK, 42);
	CU_ASSERT_FALSE(binding->pending);
	stop();
}

/* After the loss of our store: the same number, for another care-of address. */
static void generation_counted_twice(void)
{
	struct siu_ack_entry entry = {.result = SIU_RESULT_DUPLICATE,
		.generation = 1,
		.in_force = 1,
		.home_address = addr_of(HOME),
		.coa = addr_of(COA_B)};

	begin();
	CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
	gateways[0]->callbacks.ack(gateways[0]->arg, &entry);
	CU_ASSERT_TRUE(binding->pending);
	CU_ASSERT_EQUAL_FATAL(n_calls, 2);
	CU_ASSERT_EQUAL(calls[1].update.generation, 2);
	CU_ASSERT_TRUE(calls[1].durable);
	CU_ASSERT_EQUAL(code_in(&calls[1], COA_A), 0);
	stop();
}

/* COA_B was never acknowledged, yet the gateway may have moved the path there. */
static void refused_is_put_back(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	CU_ASSERT_EQUAL(submit("203.0.113.9", 300, 9, 0), 0);
	answer(0, &calls[1].update, SIU_RESULT_BAD_COA, 2);
	CU_ASSERT_EQUAL_FATAL(n_calls, 4);
	CU_ASSERT_EQUAL(calls[2].update.flags, SIU_REPLY_ONLY);
	CU_ASSERT_EQUAL(calls[3].update.flags, 0);
	CU_ASSERT_EQUAL(calls[3].update.generation, 4);
	CU_ASSERT_TRUE(is_addr(&calls[3].update.new_coa, COA_A));
	CU_ASSERT_FALSE(binding->pending);
	stop();
}

/* The same, if it is another gateway that refuses: the one that has the traffic must hear of it. */
static void refused_elsewhere_is_put_back(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	CU_ASSERT_EQUAL(submit("203.0.113.9", 300, 9, 1), 0);
	CU_ASSERT_EQUAL_FATAL(n_calls, 2);
	answer(1, &calls[1].update, SIU_RESULT_BAD_COA, 0);
	CU_ASSERT_EQUAL_FATAL(n_calls, 5);
	CU_ASSERT_EQUAL(calls[2].update.flags, SIU_REPLY_ONLY);
	CU_ASSERT_PTR_EQUAL(calls[3].siu, gateways[1]);
	CU_ASSERT_EQUAL(calls[3].update.flags, SIU_DEREGISTER);
	CU_ASSERT_PTR_EQUAL(calls[4].siu, gateways[0]);
	CU_ASSERT_EQUAL(calls[4].update.flags, 0);
	CU_ASSERT_EQUAL(calls[4].update.generation, 4);
	CU_ASSERT_TRUE(is_addr(&calls[4].update.new_coa, COA_A));
	stop();
}

static void into_the_private_network(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit("10.2.0.77", 300, 8, HA_DIRECT), 0);
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), "10.2.0.77"));
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_EQUAL(calls[0].update.flags, SIU_DEREGISTER);
	CU_ASSERT_EQUAL(calls[0].update.generation, 2);
	CU_ASSERT_EQUAL(calls[0].update.lifetime_s, 0);
	CU_ASSERT_PTR_NULL(calls[0].update.rrp);
	answer(0, &calls[0].update, SIU_RESULT_NO_SA, 0); /* nothing waits for it */
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), "10.2.0.77"));
	stop();
}

static void returned_home(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(HOME, 0, 8, HA_DIRECT), 0);
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_EQUAL(calls[0].update.flags, SIU_DEREGISTER);
	/* and at home for the first time: nobody to tell */
	CU_ASSERT_EQUAL(submit(HOME, 0, 9, HA_DIRECT), 0);
	CU_ASSERT_EQUAL(n_calls, 1);
	stop();
}

static void deregistered_while_away(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_A, 0, 8, 0), 0);
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_EQUAL(calls[0].update.flags, SIU_DEREGISTER);
	CU_ASSERT_TRUE(is_addr(&calls[0].update.former_coa, COA_A));
	CU_ASSERT_FALSE(ip_addr_is_set(&calls[0].update.new_coa));
	CU_ASSERT_EQUAL(code_in(&calls[0], COA_A), 0);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_A));
	answer(0, &calls[0].update, SIU_RESULT_OK, 2);
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_EQUAL(moved, 1);
	CU_ASSERT_EQUAL(n_calls, 1);
	stop();
}

static void deregistration_refused(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_A, 0, 8, 0), 0);
	answer(0, &calls[0].update, SIU_RESULT_NO_SA, 0);
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_FALSE(binding->pending);
	stop();
}

static void other_gateway(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 1), 0);
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_PTR_EQUAL(calls[0].siu, gateways[1]);
	CU_ASSERT_FALSE(ip_addr_is_set(&calls[0].update.former_coa)); /* not there */
	answer(1, &calls[0].update, SIU_RESULT_OK, 2);
	CU_ASSERT_EQUAL_FATAL(n_calls, 2);
	CU_ASSERT_PTR_EQUAL(calls[1].siu, gateways[0]);
	CU_ASSERT_EQUAL(calls[1].update.flags, SIU_DEREGISTER);
	CU_ASSERT_EQUAL(calls[1].update.generation, 2);
	stop();
}

/* Asked gateway 1, then back at gateway 0 before its answer. */
static void other_gateway_and_back(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 1), 0);
	CU_ASSERT_EQUAL(submit(COA_A, 300, 9, 0), 0);
	CU_ASSERT_EQUAL_FATAL(n_calls, 3);
	CU_ASSERT_PTR_EQUAL(calls[1].siu, gateways[0]);
	CU_ASSERT_EQUAL(calls[1].update.flags, 0);
	CU_ASSERT_PTR_EQUAL(calls[2].siu, gateways[1]);
	CU_ASSERT_EQUAL(calls[2].update.flags, SIU_DEREGISTER);
	answer(1, &calls[2].update, SIU_RESULT_OK, 3);
	CU_ASSERT_TRUE(binding->pending); /* that was not the one it waits for */
	answer(0, &calls[1].update, SIU_RESULT_OK, 3);
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_EQUAL(n_calls, 3);
	stop();
}

static void expired(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	ha_notify_expire(notify, binding);
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_EQUAL(moved, 1);
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_EQUAL(calls[0].update.flags, SIU_DEREGISTER);
	CU_ASSERT_EQUAL(calls[0].update.generation, 2);
	stop();
	start();
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_EQUAL(binding->generation, 2);
	stop();
}

/* Expired before the gateway ever answered: told all the same. */
static void expired_while_pending(void)
{
	begin();
	CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 1), 0);
	ha_notify_expire(notify, binding);
	CU_ASSERT_EQUAL_FATAL(n_calls, 2);
	CU_ASSERT_PTR_EQUAL(calls[1].siu, gateways[1]);
	CU_ASSERT_EQUAL(calls[1].update.flags, SIU_DEREGISTER);
	stop();
}

static void restarted_while_pending(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	stop();
	set_clock(10);
	start();
	CU_ASSERT_EQUAL_FATAL(n_calls, 1);
	CU_ASSERT_EQUAL(calls[0].update.generation, 2);
	CU_ASSERT_EQUAL(calls[0].update.lifetime_s, 290);
	CU_ASSERT_TRUE(is_addr(&calls[0].update.former_coa, COA_A));
	CU_ASSERT_EQUAL(code_in(&calls[0], COA_B), 0);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_A));
	answer(0, &calls[0].update, SIU_RESULT_OK, 2);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_B));
	stop();
}

static void sync_lists_bindings(void)
{
	struct siu_update update;
	struct siu *siu;
	uint64_t next;

	begin();
	siu = gateways[0];
	CU_ASSERT_EQUAL(siu->callbacks.next_binding(siu->arg, 0, &update), 0);
	move_confirmed(COA_A, 7, 0);
	set_clock(100);
	next = siu->callbacks.next_binding(siu->arg, 0, &update);
	CU_ASSERT_NOT_EQUAL(next, 0);
	CU_ASSERT_EQUAL(update.generation, 1);
	CU_ASSERT_EQUAL(update.lifetime_s, 200);
	CU_ASSERT_TRUE(is_addr(&update.home_address, HOME));
	CU_ASSERT_TRUE(is_addr(&update.new_coa, COA_A));
	CU_ASSERT_EQUAL(siu->callbacks.next_binding(siu->arg, next, &update), 0);
	/* While it is asked for at the other gateway, both have it. */
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 1), 0);
	CU_ASSERT_NOT_EQUAL(siu->callbacks.next_binding(siu->arg, 0, &update), 0);
	CU_ASSERT_EQUAL(update.generation, 1);
	CU_ASSERT_TRUE(is_addr(&update.new_coa, COA_A));
	siu = gateways[1];
	CU_ASSERT_NOT_EQUAL(siu->callbacks.next_binding(siu->arg, 0, &update), 0);
	CU_ASSERT_EQUAL(update.generation, 2);
	CU_ASSERT_TRUE(is_addr(&update.new_coa, COA_B));
	/* In the private network no gateway has it. */
	CU_ASSERT_EQUAL(submit("10.2.0.77", 300, 9, HA_DIRECT), 0);
	CU_ASSERT_EQUAL(siu->callbacks.next_binding(siu->arg, 0, &update), 0);
	stop();
}

static void disk_is_full(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	disk_full = true;
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), -ENOSPC);
	CU_ASSERT_EQUAL(n_calls, 0);
	CU_ASSERT_TRUE(is_at(&binding->registered, COA_A));
	/* The gateway answers all the same: the tunnel moves, and a restart would ask again. */
	disk_full = false;
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	disk_full = true;
	answer(0, &calls[0].update, SIU_RESULT_OK, 2);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_B));
	disk_full = false;
	stop();
	start();
	CU_ASSERT_TRUE(binding->pending);
	stop();
}

static void on_enough(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* What is due at that time. */
static void run_timers_at(uint64_t after_s)
{
	struct loop_timer *enough = loop_timer_new(loop, on_enough, NULL);

	set_clock(after_s);
	loop_timer_arm(enough, clock_mono_ns());
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	loop_timer_free(enough);
}

/* An answer that cannot be written down is asked for again. */
static void refused_while_disk_is_full(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	disk_full = true;
	for (uint64_t i = 1; i <= 3; i++) {
		CU_ASSERT_EQUAL(n_calls, i);
		answer(0, &calls[i - 1].update, SIU_RESULT_BAD_COA, 1);
		CU_ASSERT_TRUE(binding->pending && binding->generation == 2);
		CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_A));
		CU_ASSERT_EQUAL(n_calls, i);
		run_timers_at(2 * i);
		CU_ASSERT_EQUAL(calls[i].update.generation, 2);
	}
	disk_full = false;
	answer(0, &calls[3].update, SIU_RESULT_BAD_COA, 1);
	CU_ASSERT_TRUE(!binding->pending && is_at(&binding->registered, COA_A));
	CU_ASSERT_EQUAL(n_calls, 6); /* the denial, and what stays */
	run_timers_at(10);
	CU_ASSERT_EQUAL(n_calls, 6);
	stop();
}

/* Nor is a later generation lost that could not be written down. */
static void outrun_while_disk_is_full(void)
{
	begin();
	CU_ASSERT_EQUAL(submit(COA_A, 300, 7, 0), 0);
	disk_full = true;
	answer(0, &calls[0].update, SIU_RESULT_STALE, 41);
	disk_full = false;
	CU_ASSERT_EQUAL(n_calls, 1);
	run_timers_at(2);
	CU_ASSERT_EQUAL(n_calls, 2);
	answer(0, &calls[1].update, SIU_RESULT_STALE, 41);
	CU_ASSERT_EQUAL(n_calls, 3);
	CU_ASSERT_EQUAL(calls[2].update.generation, 42);
	stop();
}

static void queue_is_full(void)
{
	begin();
	move_confirmed(COA_A, 7, 0);
	update_error = -ENOBUFS;
	CU_ASSERT_EQUAL(submit(COA_B, 300, 8, 0), 0);
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(is_at(&binding->registered, COA_A));
	CU_ASSERT_EQUAL(counters.n[HA_SIU_SEND_FAILED], 3); /* nor was there room for a denial */
	stop();
}

static void other_keys(void)
{
	struct ha_conf fresh;
	struct ha_conf_gateway others[2];

	begin();
	fresh = conf;
	others[0] = conf.gateways[1]; /* in another order than before */
	others[0].keys[1] = (struct ha_conf_siu_key){.id = 7, .secret.len = 16};
	others[1].name = "gw3"; /* new: at the next start */
	fresh.gateways = others;
	n_set = 0;
	CU_ASSERT_EQUAL(ha_notify_set_keys(notify, &fresh), 1);
	CU_ASSERT_EQUAL(n_set, 1);
	CU_ASSERT_TRUE(set_out[1].id == 7 && set_in[1].id == 7);
	CU_ASSERT_EQUAL(ha_notify_set_keys(notify, &fresh), 0);
	stop();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"durable before update", durable_before_update},
		{"the update leaves at once", update_leaves_at_once},
		{"tunnel moves with the ACK", tunnel_moves_with_the_ack},
		{"good answers", good_answers},
		{"refusals", refusals},
		{"not final", not_final},
		{"superseded", superseded},
		{"gateway remembers more", gateway_remembers_more},
		{"into the private network", into_the_private_network},
		{"returned home", returned_home},
		{"deregistered while away", deregistered_while_away},
		{"deregistration refused", deregistration_refused},
		{"generation counted twice", generation_counted_twice},
		{"what was refused is put back", refused_is_put_back},
		{"what another gateway refused", refused_elsewhere_is_put_back},
		{"other gateway", other_gateway},
		{"other gateway and back", other_gateway_and_back},
		{"expired", expired},
		{"expired while pending", expired_while_pending},
		{"restarted while pending", restarted_while_pending},
		{"sync lists bindings", sync_lists_bindings},
		{"disk is full", disk_is_full},
		{"queue is full", queue_is_full},
		{"refused while the disk is full", refused_while_disk_is_full},
		{"outrun while the disk is full", outrun_while_disk_is_full},
		{"other keys", other_keys},
		{NULL, NULL},
	};
	int code = unit_run("notify", cases);

	unit_remove_folder();
	return code;
}
