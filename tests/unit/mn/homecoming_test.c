/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When is the node at home? Each row is a script of what happens at one interface with the home
 * address, and of what answers the deregistration; then where the node is.
 */
#include "control/mn/homecoming.h"
#include "lib/clock.h"

#include "tests/unit/lib/unit.h"

#define REAL_NS (UINT64_C(1790000000) * NS_PER_S)
#define HOME0 2
#define VA0 3

static const struct mip4_key KEY = {.spi = 0x101, .alg = HMAC_SHA256, .key = {1, 2}, .key_len = 32};
static const struct mip4_key OTHER = {.spi = 0x101, .alg = HMAC_SHA256, .key = {9}, .key_len = 32};
static struct movement_conf movement_conf;
static struct registration_conf conf;
static struct movement movement;
static struct registration_memory memory;
static struct homecoming h;
static uint64_t now_ns;
static unsigned sent, doubts;
static enum registration_result result;

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_TRUE_FATAL(ip_addr_parse(text, &out));
	return out;
}

static void start(void)
{
	conf = (struct registration_conf){.home_address = addr("10.1.0.10"),
		.home_agent = addr("10.1.0.1"),
		.lifetime_s = 600,
		.max_attempts = 3,
		.key = KEY};
	movement_conf = (struct movement_conf){.home_address = conf.home_address,
		.home_agent = conf.home_agent,
		.gateway = addr("192.0.2.1"),
		.tunnel_interface = "rg-mn"};
	CU_ASSERT_TRUE_FATAL(ip_prefix_parse("10.1.0.0/24", &movement_conf.home_prefix));
	movement_init(&movement, &movement_conf);
	memory = (struct registration_memory){0};
	homecoming_init(&h, &conf, &memory);
	now_ns = NS_PER_S;
	sent = doubts = 0;
	result = REPLY_RESULT_COUNT;
}

static void link_event(int ifindex, bool up)
{
	struct nl_link_event event = {.ifindex = ifindex, .mtu = 1500, .present = true, .up = up};

	snprintf(event.name, sizeof event.name, "if%d", ifindex);
	movement_on_link(&movement, &event);
}

static void addr_event(int ifindex, const char *text, bool added)
{
	struct nl_addr_event event = {
		.ifindex = ifindex, .addr = addr(text), .prefix_len = 24, .added = added};

	movement_on_addr(&movement, &event);
}

static void run_machine(void)
{
	struct registration_action action;

	while (registration_run(&h.registration, now_ns, REAL_NS + now_ns, &action)) {
		if (action.kind == REGISTRATION_SEND) {
			struct mip4_auth auth;
			struct mip4_rrq rrq;

			sent++;
			registration_sent(&h.registration, true);
			CU_ASSERT_EQUAL(
				mip4_rrq_decode(action.rrq, action.rrq_len, &rrq, &auth), MIP4_OK);
			CU_ASSERT_EQUAL(rrq.lifetime_s, 0);
			CU_ASSERT_TRUE(ip_addr_equal(&rrq.coa, &conf.home_address));
		} else {
			doubts++;
		}
	}
}

static void reply(uint8_t code, uint64_t id_xor, const struct mip4_key *key, size_t cut)
{
	struct mip4_rrp rrp = {.code = code,
		.hoa = conf.home_address,
		.ha = conf.home_agent,
		.identification = h.registration.identification ^ id_xor};
	uint8_t data[128], got;
	size_t len = mip4_rrp_encode(data, sizeof data, &rrp, key);

	result = homecoming_reply(&h, data, len - cut, now_ns, REAL_NS + now_ns, &got);
}

/* "U2" up, "D2" down, "+2" the home address, "-2", "A3" a care-of address, "a3" none; "t" time
 * passes; replies: "0" "1" accepted, "8" denied, "k" another key, "x" no authenticator, "i" another
 * Identification. */
static void play(const char *step)
{
	int ifindex = step[1] - '0';

	now_ns += NS_PER_MS;
	switch (step[0]) {
	case 'U':
	case 'D':
		link_event(ifindex, step[0] == 'U');
		break;
	case '+':
	case '-':
		addr_event(ifindex, "10.1.0.10", step[0] == '+');
		break;
	case 'A':
	case 'a':
		addr_event(ifindex, "198.51.100.7", step[0] == 'A');
		break;
	case 't':
		for (int i = 0; i < 100; i++) {
			now_ns += NS_PER_S;
			run_machine();
		}
		break;
	case '0':
	case '1':
		reply((uint8_t)(step[0] - '0'), 0, &KEY, 0);
		break;
	case '8':
		reply(MIP4_CODE_PROHIBITED, 0, &KEY, 0);
		break;
	case 'k':
		reply(0, 0, &OTHER, 0);
		break;
	case 'x':
		reply(0, 0, &KEY, 38); /* type, length, SPI and 32 bytes of HMAC-SHA-256 */
		break;
	default:
		reply(0, 1, &KEY, 0);
		break;
	}
	(void)homecoming_look(&h, &movement, now_ns);
	run_machine();
}

static const struct row {
	const char *name;
	const char *steps[10];
	enum place_kind kind;
	int ifindex;
	bool pending;
	enum registration_result last;
} ROWS[] = {
	{"address alone", {"U2", "+2"}, PLACE_NOWHERE, 0, true, REPLY_RESULT_COUNT},
	{"accepted", {"U2", "+2", "0"}, PLACE_HOME, HOME0, false, REPLY_ACCEPTED},
	{"accepted with code 1", {"U2", "+2", "1"}, PLACE_HOME, HOME0, false, REPLY_ACCEPTED},
	{"denied", {"U2", "+2", "8"}, PLACE_NOWHERE, 0, true, REPLY_DENIED},
	{"another key", {"U2", "+2", "k"}, PLACE_NOWHERE, 0, true, REPLY_AUTHENTICATOR},
	{"no authenticator", {"U2", "+2", "x"}, PLACE_NOWHERE, 0, true, REPLY_AUTHENTICATOR},
	{"another Identification", {"U2", "+2", "i"}, PLACE_NOWHERE, 0, true, REPLY_IDENTIFICATION},
	{"never answered", {"U2", "+2", "t", "t"}, PLACE_NOWHERE, 0, true, REPLY_RESULT_COUNT},
	{"answered late", {"U2", "+2", "t", "0"}, PLACE_HOME, HOME0, false, REPLY_ACCEPTED},
	{"a visited network claims it", {"U3", "A3", "+3", "t"}, PLACE_AWAY, VA0, true,
		REPLY_RESULT_COUNT},
	{"instead of its own address", {"U3", "A3", "a3", "+3", "t"}, PLACE_NOWHERE, 0, true,
		REPLY_RESULT_COUNT},
	{"home beside a care-of address", {"U3", "A3", "U2", "+2", "0"}, PLACE_HOME, HOME0, false,
		REPLY_ACCEPTED},
	{"another claims what is trusted", {"U2", "+2", "0", "U3", "+3", "t"}, PLACE_HOME, HOME0,
		false, REPLY_ACCEPTED},
	{"renewed lease", {"U2", "+2", "0", "+2", "U2"}, PLACE_HOME, HOME0, false, REPLY_ACCEPTED},
	{"link was down", {"U2", "+2", "0", "D2", "U2"}, PLACE_NOWHERE, 0, true, REPLY_ACCEPTED},
	{"old answer after the link was down", {"U2", "+2", "0", "D2", "U2", "i"}, PLACE_NOWHERE, 0,
		true, REPLY_IDENTIFICATION},
	{"back and answered", {"U2", "+2", "0", "D2", "U2", "0"}, PLACE_HOME, HOME0, false,
		REPLY_ACCEPTED},
	{"address came again", {"U2", "+2", "0", "-2", "+2"}, PLACE_NOWHERE, 0, true,
		REPLY_ACCEPTED},
	{"away from home", {"U2", "+2", "0", "-2", "U3", "A3"}, PLACE_AWAY, VA0, false,
		REPLY_ACCEPTED},
	{"answer after it went", {"U2", "+2", "-2", "0"}, PLACE_NOWHERE, 0, false, REPLY_DUPLICATE},
};

static void places(void)
{
	for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
		const struct row *row = &ROWS[i];
		struct place place;

		start();
		for (const char *const *step = row->steps; *step != NULL; step++)
			play(*step);
		place = homecoming_place(&h, &movement);
		CHECK_ROW(row->name, place.kind == row->kind);
		CHECK_ROW(row->name, place.ifindex == row->ifindex);
		CHECK_ROW(row->name, homecoming_is_pending(&h) == row->pending);
		CHECK_ROW(row->name, result == row->last);
		CHECK_ROW(row->name, sent > 0);
	}
}

/* Each claim is asked about, and it is said once that nobody answers. */
static void asking(void)
{
	start();
	play("U2");
	CU_ASSERT_EQUAL(sent, 0);
	play("+2");
	CU_ASSERT_EQUAL(sent, 1); /* at once */
	play("t");
	play("t");
	CU_ASSERT_EQUAL(doubts, 1);
	play("0");
	sent = 0;
	play("t");
	CU_ASSERT_EQUAL(sent, 0); /* at home there is nothing to ask */
	play("D2");
	play("U2");
	CU_ASSERT_EQUAL(sent, 1);
}

/* A registration by the tunnel that left after the deregistration may have undone it. */
static void overtaken(void)
{
	uint64_t id;

	start();
	play("U2");
	play("+2");
	id = ++memory.identification; /* of the other machine */
	sent = 0;
	play("0");
	CU_ASSERT_EQUAL(homecoming_place(&h, &movement).kind, PLACE_HOME);
	CU_ASSERT_EQUAL(sent, 1);
	CU_ASSERT_TRUE(ntp_after(h.registration.identification, id));
	sent = 0;
	play("0");
	CU_ASSERT_EQUAL(sent, 0);
	CU_ASSERT_EQUAL(h.registration.state, REGISTRATION_AT_HOME);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"places", places},
		{"asking", asking},
		{"overtaken", overtaken},
		{0},
	};

	return unit_run("mn homecoming", cases);
}
