/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration machine on a virtual clock. Each case is a script of steps; a step is an event
 * at a time, and what the machine must then do and be.
 */
#include "control/mn/registration.h"
#include "lib/clock.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#define REAL_NS (UINT64_C(1790000000) * NS_PER_S + 123456789) /* virtual time 0 in real time */
#define MS NS_PER_MS
#define S NS_PER_S

static const struct mip4_key key = {
	.spi = 0x101, .alg = HMAC_SHA256, .key = {1, 2, 3}, .key_len = 32};
static const struct mip4_key other_key = {
	.spi = 0x101, .alg = HMAC_SHA256, .key = {9, 9, 9}, .key_len = 32};
static struct registration_conf conf;
static struct ip_addr coa_a, coa_b;
static struct registration_memory memory;
static struct registration reg;

/* What registration_run() gave since the last look. */
static struct {
	unsigned sent, fallbacks, expiries;
	struct mip4_rrq rrq; /* the last one sent */
	uint8_t bytes[REGISTRATION_RRQ_MAX];
	size_t len;
	bool all_same;
} seen;

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_TRUE_FATAL(ip_addr_parse(text, &out));
	return out;
}

static void start(void)
{
	coa_a = addr("198.51.100.7");
	coa_b = addr("203.0.113.7");
	conf = (struct registration_conf){
		.home_address = addr("10.1.0.10"),
		.home_agent = addr("10.1.0.1"),
		.lifetime_s = 600,
		.max_attempts = 3,
		.key = key,
	};
	memory = (struct registration_memory){0};
	registration_init(&reg, &conf, &memory);
	memset(&seen, 0, sizeof seen);
}

static void note_request(const struct registration_action *action)
{
	struct mip4_auth auth;

	CU_ASSERT_EQUAL_FATAL(
		mip4_rrq_decode(action->rrq, action->rrq_len, &seen.rrq, &auth), MIP4_OK);
	CU_ASSERT_TRUE(mip4_auth_verify(&key, action->rrq, &auth));
	seen.all_same = seen.sent == 0 || (seen.all_same && seen.len == action->rrq_len &&
						  memcmp(seen.bytes, action->rrq, seen.len) == 0);
	seen.len = action->rrq_len;
	memcpy(seen.bytes, action->rrq, seen.len);
	seen.sent++;
}

/* Runs what is due at now. */
static void run(uint64_t now_ns, bool link_works)
{
	struct registration_action action;

	while (registration_run(&reg, now_ns, REAL_NS + now_ns, &action)) {
		if (action.kind == REGISTRATION_SEND) {
			note_request(&action);
			registration_sent(&reg, link_works);
		} else if (action.kind == REGISTRATION_FALLBACK) {
			seen.fallbacks++;
		} else {
			seen.expiries++;
		}
	}
}

/* Lets time pass, timer by timer, up to and including until. */
static void pass(uint64_t until_ns)
{
	memset(&seen, 0, sizeof seen);
	for (uint64_t next; (next = registration_next_ns(&reg)) <= until_ns;)
		run(next, true);
}

struct answer {
	uint8_t code;
	uint16_t lifetime_s;
	const char *ha, *hoa; /* NULL: right ones */
	uint64_t id_xor;      /* changes the Identification */
	uint64_t id_high;     /* not 0: these high 32 bits instead */
	const struct mip4_key *key;
	size_t cut; /* bytes missing at the end */
};

static enum registration_result answer(const struct answer *a, uint64_t now_ns)
{
	struct mip4_rrp rrp = {
		.code = a->code,
		.lifetime_s = a->lifetime_s,
		.ha = addr(a->ha != NULL ? a->ha : "10.1.0.1"),
		.hoa = addr(a->hoa != NULL ? a->hoa : "10.1.0.10"),
		.identification = reg.identification ^ a->id_xor,
	};
	uint8_t data[128], code;
	size_t len;

	if (a->id_high != 0)
		rrp.identification = a->id_high << 32 | (uint32_t)rrp.identification;
	len = mip4_rrp_encode(data, sizeof data, &rrp, a->key != NULL ? a->key : &key);
	return registration_reply(&reg, data, len - a->cut, now_ns, REAL_NS + now_ns, &code);
}

static enum registration_result accept_for(uint16_t lifetime_s, uint64_t now_ns)
{
	return answer(&(struct answer){.lifetime_s = lifetime_s}, now_ns);
}

/* ---- requests ---- */

static void test_three_copies(void)
{
	uint64_t id;

	start();
	CU_ASSERT_EQUAL(registration_next_ns(&reg), REGISTRATION_NEVER);
	registration_move(&reg, &coa_a, 5 * S);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 5 * S);
	pass(5 * S);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(seen.rrq.flags, MIP4_FLAG_D);
	CU_ASSERT_EQUAL(seen.rrq.lifetime_s, 600);
	CU_ASSERT_TRUE(ip_addr_equal(&seen.rrq.coa, &coa_a));
	CU_ASSERT_TRUE(ip_addr_equal(&seen.rrq.hoa, &conf.home_address));
	CU_ASSERT_TRUE(ip_addr_equal(&seen.rrq.ha, &conf.home_agent));
	CU_ASSERT_EQUAL(seen.rrq.identification, ntp_from_real_ns(REAL_NS + 5 * S));
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REQUESTING);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 5 * S + 10 * MS);
	id = seen.rrq.identification;
	pass(5 * S + 10 * MS);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(seen.rrq.identification, id);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 5 * S + 30 * MS);
	pass(5 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.rrq.identification, id);
	/* then nothing for a second */
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 6 * S + 30 * MS);

	start();
	registration_move(&reg, &coa_a, 5 * S);
	pass(5 * S + 999 * MS);
	CU_ASSERT_EQUAL(seen.sent, REGISTRATION_COPIES);
	CU_ASSERT_TRUE(seen.all_same);
}

static void test_retransmission(void)
{
	static const struct {
		uint64_t at_ns; /* after the last step nothing before this */
		unsigned fallbacks;
	} steps[] = {
		/* 1 s after the last copy, then 2 s, then given up: a minute, again and again */
		{1 * S + 30 * MS, 0}, {3 * S + 30 * MS, 0},
		{67 * S + 30 * MS, 1}, /* 4 s after the third it has failed; 60 s after the third */
	};
	uint64_t id;

	start();
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	id = seen.rrq.identification;
	for (size_t i = 0; i < 2; i++) {
		pass(steps[i].at_ns - 1);
		CU_ASSERT_EQUAL(seen.sent, 0);
		pass(steps[i].at_ns);
		CU_ASSERT_EQUAL(seen.sent, 1);
		CU_ASSERT_TRUE(ntp_after(seen.rrq.identification, id));
		CU_ASSERT_EQUAL(reg.attempts, i + 1);
		id = seen.rrq.identification;
	}
	pass(7 * S + 30 * MS - 1);
	CU_ASSERT_EQUAL(seen.fallbacks, 0);
	pass(7 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.fallbacks, 1);
	CU_ASSERT_EQUAL(seen.sent, 0);
	pass(63 * S + 30 * MS - 1);
	CU_ASSERT_EQUAL(seen.sent, 0);
	pass(63 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(seen.fallbacks, 0);
	pass(600 * S);
	CU_ASSERT_EQUAL(seen.fallbacks, 0);
	CU_ASSERT_TRUE(seen.sent >= 8 && seen.sent <= 9);
	/* the network came back */
	CU_ASSERT_EQUAL(accept_for(600, 600 * S), REPLY_ACCEPTED);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REGISTERED);
	CU_ASSERT_FALSE(reg.gave_up);
}

static void test_move_resets(void)
{
	start();
	registration_move(&reg, &coa_a, 0);
	pass(100 * S);
	CU_ASSERT_EQUAL(seen.fallbacks, 1);
	registration_move(&reg, &coa_b, 100 * S);
	pass(100 * S + 500 * MS);
	CU_ASSERT_EQUAL(seen.sent, REGISTRATION_COPIES);
	CU_ASSERT_TRUE(ip_addr_equal(&seen.rrq.coa, &coa_b));
	CU_ASSERT_EQUAL(reg.attempts, 0);
	/* and it may fail for good here, too */
	pass(120 * S);
	CU_ASSERT_EQUAL(seen.fallbacks, 1);
}

static void test_identification_rises(void)
{
	uint64_t id = ntp_from_real_ns(REAL_NS) + (UINT64_C(50) << 32);

	start();
	memory = (struct registration_memory){.any = true, .identification = id};
	/* the clock was set back by 50 s since the last run */
	registration_init(&reg, &conf, &memory);
	registration_move(&reg, &coa_a, 0);
	pass(0);
	CU_ASSERT_EQUAL(seen.rrq.identification, id + 1);
	CU_ASSERT_EQUAL(memory.identification, id + 1);
	id = seen.rrq.identification;
	registration_move(&reg, &coa_b, 0);
	pass(0);
	CU_ASSERT_EQUAL(seen.rrq.identification, id + 1);
	/* the offset of the home agent's clock survives a restart */
	memory.clock_offset_s = 3600;
	memory.identification = ntp_from_real_ns(REAL_NS - S);
	registration_init(&reg, &conf, &memory);
	registration_move(&reg, &coa_a, 0);
	pass(0);
	CU_ASSERT_EQUAL(
		seen.rrq.identification, ntp_from_real_ns(REAL_NS) + (UINT64_C(3600) << 32));
}

static void test_no_route(void)
{
	uint64_t id;

	start();
	registration_move(&reg, &coa_a, 0);
	run(0, false);
	run(10 * MS, false);
	id = seen.rrq.identification;
	CU_ASSERT_EQUAL(seen.sent, 2);
	/* the route comes: three copies from now, still the same request */
	registration_route_ready(&reg, 12 * MS);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 12 * MS);
	pass(500 * MS);
	CU_ASSERT_EQUAL(seen.sent, REGISTRATION_COPIES);
	CU_ASSERT_TRUE(seen.all_same);
	CU_ASSERT_EQUAL(seen.rrq.identification, id);
	/* another route changes nothing once a copy has left */
	registration_route_ready(&reg, 600 * MS);
	pass(900 * MS);
	CU_ASSERT_EQUAL(seen.sent, 0);
	/* nor when nothing is pending */
	CU_ASSERT_EQUAL(accept_for(600, 900 * MS), REPLY_ACCEPTED);
	registration_route_ready(&reg, 950 * MS);
	pass(2 * S);
	CU_ASSERT_EQUAL(seen.sent, 0);
}

static void test_reverse_tunnel_flag(void)
{
	start();
	conf.reverse_tunnel = true;
	registration_move(&reg, &coa_a, 0);
	pass(0);
	CU_ASSERT_EQUAL(seen.rrq.flags, MIP4_FLAG_D | MIP4_FLAG_T);
	registration_go_home(&reg, 1 * S);
	pass(1 * S);
	CU_ASSERT_EQUAL(seen.rrq.flags, 0);
}

/* ---- replies ---- */

static void test_reply_checks(void)
{
	static const struct {
		const char *name;
		struct answer answer;
		enum registration_result result;
		enum registration_state state;
	} rows[] = {
		{"good", {.lifetime_s = 600}, REPLY_ACCEPTED, REGISTRATION_REGISTERED},
		{"code 1", {.code = 1, .lifetime_s = 600}, REPLY_ACCEPTED, REGISTRATION_REGISTERED},
		{"high half differs", {.lifetime_s = 600, .id_xor = UINT64_C(1) << 32},
			REPLY_ACCEPTED, REGISTRATION_REGISTERED},
		{"low half differs", {.lifetime_s = 600, .id_xor = 1}, REPLY_IDENTIFICATION,
			REGISTRATION_REQUESTING},
		{"bit 31 differs", {.lifetime_s = 600, .id_xor = UINT64_C(1) << 31},
			REPLY_IDENTIFICATION, REGISTRATION_REQUESTING},
		{"other home agent", {.lifetime_s = 600, .ha = "10.1.0.2"}, REPLY_WRONG_AGENT,
			REGISTRATION_REQUESTING},
		{"other home address", {.lifetime_s = 600, .hoa = "10.1.0.11"}, REPLY_WRONG_AGENT,
			REGISTRATION_REQUESTING},
		{"wrong key", {.lifetime_s = 600, .key = &other_key}, REPLY_AUTHENTICATOR,
			REGISTRATION_REQUESTING},
		{"forged 133", {.code = 133, .id_high = 99, .key = &other_key}, REPLY_AUTHENTICATOR,
			REGISTRATION_REQUESTING},
		{"no authenticator", {.lifetime_s = 600, .cut = 38}, REPLY_AUTHENTICATOR,
			REGISTRATION_REQUESTING},
		{"tag cut", {.lifetime_s = 600, .cut = 1}, REPLY_MALFORMED,
			REGISTRATION_REQUESTING},
		{"fixed part cut", {.lifetime_s = 600, .cut = 39}, REPLY_MALFORMED,
			REGISTRATION_REQUESTING},
		{"accepted for 0 s", {.lifetime_s = 0}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"unspecified", {.code = 128}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"prohibited", {.code = 129}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"no resources", {.code = 130}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"auth failed", {.code = 131}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"poorly formed", {.code = 134}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"too many", {.code = 135}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"unknown agent", {.code = 136}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"reverse tunnel", {.code = 138}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"unknown code", {.code = 255}, REPLY_DENIED, REGISTRATION_REQUESTING},
		{"clock", {.code = 133, .id_high = 99}, REPLY_CLOCK_ADOPTED,
			REGISTRATION_REQUESTING},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		enum registration_result result;

		start();
		registration_move(&reg, &coa_a, 0);
		pass(30 * MS);
		result = answer(&rows[i].answer, 40 * MS);
		if (result != rows[i].result || reg.state != rows[i].state)
			printf("row \"%s\": %s, %s\n", rows[i].name,
				registration_result_name(result),
				registration_state_name(reg.state));
		CU_ASSERT_EQUAL(result, rows[i].result);
		CU_ASSERT_EQUAL(reg.state, rows[i].state);
		/* what is not believed changes nothing: the next request comes as if unanswered */
		if (result >= REPLY_MALFORMED)
			CU_ASSERT_EQUAL(registration_next_ns(&reg), 1 * S + 30 * MS);
	}
}

static void test_reply_before_request(void)
{
	uint8_t code;

	start();
	CU_ASSERT_EQUAL(accept_for(600, 0), REPLY_DUPLICATE);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_NONE);
	CU_ASSERT_EQUAL(
		registration_reply(&reg, (const uint8_t *)"", 0, 0, 0, &code), REPLY_MALFORMED);
}

static void test_copies_are_answered(void)
{
	start();
	registration_move(&reg, &coa_a, 0);
	pass(10 * MS); /* the third copy is still to come */
	CU_ASSERT_EQUAL(accept_for(600, 20 * MS), REPLY_ACCEPTED);
	CU_ASSERT_EQUAL(accept_for(600, 25 * MS), REPLY_DUPLICATE);
	pass(100 * S);
	CU_ASSERT_EQUAL(seen.sent, 0);
}

static void test_reply_of_former_place(void)
{
	uint64_t old;

	start();
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	old = reg.identification;
	registration_move(&reg, &coa_b, 500 * MS);
	pass(530 * MS);
	CU_ASSERT_EQUAL(
		answer(&(struct answer){.lifetime_s = 600, .id_xor = old ^ reg.identification},
			540 * MS),
		REPLY_IDENTIFICATION);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REQUESTING);
	CU_ASSERT_EQUAL(accept_for(600, 550 * MS), REPLY_ACCEPTED);
}

static void test_denial_backs_off(void)
{
	start();
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	/* at once answered: still not sooner than a second after the last copy */
	CU_ASSERT_EQUAL(answer(&(struct answer){.code = 130}, 40 * MS), REPLY_DENIED);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 1 * S + 30 * MS);
	pass(1 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(answer(&(struct answer){.code = 130}, 1 * S + 50 * MS), REPLY_DENIED);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 3 * S + 30 * MS);
	pass(3 * S + 30 * MS);
	/* the third denial is the last */
	CU_ASSERT_EQUAL(answer(&(struct answer){.code = 130}, 3 * S + 50 * MS), REPLY_DENIED);
	pass(4 * S);
	CU_ASSERT_EQUAL(seen.fallbacks, 1);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 63 * S + 30 * MS);
}

static void test_clock(void)
{
	uint64_t ha_clock = (ntp_from_real_ns(REAL_NS) >> 32) - 5000;
	uint64_t id;

	start();
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	id = seen.rrq.identification;
	CU_ASSERT_EQUAL(answer(&(struct answer){.code = 133, .id_high = ha_clock}, 40 * MS),
		REPLY_CLOCK_ADOPTED);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), 40 * MS);
	pass(40 * MS);
	CU_ASSERT_EQUAL(seen.sent, 1);
	/* by the home agent's clock, to within its second, though that is earlier than before */
	CU_ASSERT_TRUE(ntp_after(id, seen.rrq.identification));
	CU_ASSERT_TRUE(ntp_diff_s(seen.rrq.identification, ha_clock << 32) >= 0);
	CU_ASSERT_TRUE(ntp_diff_s(seen.rrq.identification, ha_clock << 32) <= 1);
	CU_ASSERT_NOT_EQUAL((uint32_t)seen.rrq.identification, (uint32_t)id);
	/* a second one in a row is a denial: no storm between clocks that never agree */
	pass(100 * MS);
	CU_ASSERT_EQUAL(
		answer(&(struct answer){.code = 133, .id_high = ha_clock}, 100 * MS), REPLY_DENIED);
	CU_ASSERT_TRUE(registration_next_ns(&reg) >= 1 * S);
	pass(2 * S);
	CU_ASSERT_EQUAL(accept_for(600, 2 * S), REPLY_ACCEPTED);
	/* and the clock stays adopted for the next place */
	registration_move(&reg, &coa_b, 3 * S);
	pass(3 * S);
	CU_ASSERT_TRUE(ntp_diff_s(seen.rrq.identification, ha_clock << 32) <= 4);
}

/* ---- lifetimes ---- */

static void test_lifetimes(void)
{
	static const struct {
		uint16_t granted_s;
		uint64_t refresh_ns, expiry_ns; /* counted from the first copy */
	} rows[] = {
		{600, 450 * S, 600 * S},
		{300, 225 * S, 300 * S},
		{10, 7 * S + 500 * MS, 10 * S},
		{1, 1 * S + 30 * MS, 1 * S}, /* never two requests in one second */
		{700, 450 * S, 600 * S},     /* longer than asked for */
		{0xffff, 450 * S, 600 * S},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		start();
		registration_move(&reg, &coa_a, 0);
		pass(30 * MS);
		CU_ASSERT_EQUAL(accept_for(rows[i].granted_s, 50 * MS), REPLY_ACCEPTED);
		CU_ASSERT_EQUAL(reg.next_ns, rows[i].refresh_ns);
		CU_ASSERT_EQUAL(reg.expires_ns, rows[i].expiry_ns);
	}
}

static void test_refresh(void)
{
	start();
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	CU_ASSERT_EQUAL(accept_for(100, 50 * MS), REPLY_ACCEPTED);
	pass(75 * S - 1);
	CU_ASSERT_EQUAL(seen.sent, 0);
	pass(75 * S);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(seen.rrq.lifetime_s, 600);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REFRESHING);
	/* lost, repeated, answered */
	pass(76 * S);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REFRESHING);
	CU_ASSERT_EQUAL(accept_for(100, 76 * S + MS), REPLY_ACCEPTED);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REGISTERED);
	CU_ASSERT_EQUAL(reg.expires_ns, 176 * S);
	/* never answered again: it expires, and requests go on */
	pass(176 * S);
	CU_ASSERT_EQUAL(seen.expiries, 1);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REQUESTING);
	CU_ASSERT_EQUAL(reg.expires_ns, REGISTRATION_NEVER);
}

static void test_renew(void)
{
	start();
	registration_renew(&reg, 0);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), REGISTRATION_NEVER);
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	CU_ASSERT_EQUAL(accept_for(600, 50 * MS), REPLY_ACCEPTED);
	registration_renew(&reg, 1 * S); /* within a second of the last copy */
	pass(1 * S);
	CU_ASSERT_EQUAL(seen.sent, 0);
	registration_renew(&reg, 2 * S);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REFRESHING);
	pass(2 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.sent, REGISTRATION_COPIES);
	CU_ASSERT_EQUAL(reg.expires_ns, 600 * S);
	CU_ASSERT_EQUAL(accept_for(600, 3 * S), REPLY_ACCEPTED);
	CU_ASSERT_EQUAL(reg.expires_ns, 602 * S);
}

/* ---- home and nowhere ---- */

static void test_home(void)
{
	start();
	registration_move(&reg, &coa_a, 0);
	pass(30 * MS);
	CU_ASSERT_EQUAL(accept_for(600, 50 * MS), REPLY_ACCEPTED);
	registration_go_home(&reg, 10 * S);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REQUESTING);
	pass(10 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.sent, REGISTRATION_COPIES);
	CU_ASSERT_EQUAL(seen.rrq.lifetime_s, 0);
	CU_ASSERT_EQUAL(seen.rrq.flags, 0);
	CU_ASSERT_TRUE(ip_addr_equal(&seen.rrq.coa, &conf.home_address));
	/* lost: repeated */
	pass(11 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.sent, 1);
	CU_ASSERT_EQUAL(accept_for(0, 12 * S), REPLY_ACCEPTED);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_AT_HOME);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), REGISTRATION_NEVER);
	registration_renew(&reg, 20 * S); /* nothing to renew at home */
	CU_ASSERT_EQUAL(registration_next_ns(&reg), REGISTRATION_NEVER);
}

/* Nothing works at home before the answer: asks on at the longest interval, and says so once. */
static void test_home_asks_on(void)
{
	start();
	registration_go_home(&reg, 0);
	pass(1000 * S);
	CU_ASSERT_EQUAL(seen.fallbacks, 1);
	CU_ASSERT_TRUE(seen.sent > 60 && seen.sent < 75);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_REQUESTING);
}

static void test_nowhere(void)
{
	start();
	registration_move(&reg, &coa_a, 0);
	pass(0);
	registration_stop(&reg);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_NONE);
	CU_ASSERT_EQUAL(registration_next_ns(&reg), REGISTRATION_NEVER);
	CU_ASSERT_EQUAL(accept_for(600, 10 * MS), REPLY_DUPLICATE);
	CU_ASSERT_EQUAL(reg.state, REGISTRATION_NONE);
	/* the same address again: a new registration */
	registration_move(&reg, &coa_a, 1 * S);
	pass(1 * S + 30 * MS);
	CU_ASSERT_EQUAL(seen.sent, REGISTRATION_COPIES);
}

int main(void)
{
	static const struct {
		const char *name;
		CU_TestFunc fn;
	} tests[] = {
		{"first request three times", test_three_copies},
		{"retransmission and fallback", test_retransmission},
		{"a move starts afresh", test_move_resets},
		{"identification rises", test_identification_rises},
		{"no route yet", test_no_route},
		{"T bit", test_reverse_tunnel_flag},
		{"reply checks", test_reply_checks},
		{"reply before any request", test_reply_before_request},
		{"answers to copies", test_copies_are_answered},
		{"reply of the former place", test_reply_of_former_place},
		{"denials", test_denial_backs_off},
		{"clock (133)", test_clock},
		{"lifetimes", test_lifetimes},
		{"refresh and expiry", test_refresh},
		{"renew on the same link", test_renew},
		{"home", test_home},
		{"home asks on", test_home_asks_on},
		{"nowhere", test_nowhere},
	};
	unsigned failed;
	CU_pSuite suite;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite("mn registration", NULL, NULL);
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		CU_add_test(suite, tests[i].name, tests[i].fn);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed == 0 ? 0 : 1;
}
