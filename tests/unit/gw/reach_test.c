/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Return routability on the control side: when a node is asked and where, which answer counts, and
 * that no order of moves, tries, answers and restarts lets more bytes go to addresses that it has
 * not been shown to be at than its budget has. The packet path is a double; the test spends.
 */
#include "control/gw/reach.h"

#include "control/gw/nat.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"
#include "lib/mip4.h"

#include <errno.h>

#define COA_A "198.51.100.7"
#define COA_B "203.0.113.7"
#define COA_C "203.0.113.8"
#define HOA "10.1.0.10"
#define SIZE 100000 /* of a budget: gw_fixture.c */

static struct fixture fx;
static struct mover mover;
static struct tunnel *node;
static uint64_t now_ns, generation;
static unsigned silent;

static void wait_ms(unsigned ms)
{
	now_ns += ms * NS_PER_MS;
	clock_set_test(now_ns, 1800000000 * NS_PER_S + now_ns);
}

static void lend_parts(void)
{
	mover.conf = fx.conf;
	mover.dp = DOUBLE_DP;
	mover.tunnels = fx.tunnels;
	mover.handovers = fx.handovers;
	mover.state = fx.state;
}

static void begin(uint32_t flags)
{
	clock_set_test(0, 0);
	now_ns = clock_mono_ns();
	wait_ms(0);
	fixture_open(&fx, false);
	fixture_add_nodes(&fx);
	mover = (struct mover){.conf = NULL};
	lend_parts();
	node = fixture_node(&fx, "node1");
	node->flags |= flags;
	generation = 0;
	silent = 0;
}

static void end(void)
{
	fixture_close(&fx);
	clock_set_test(0, 0);
}

static const struct path *path_of(void)
{
	return atomic_load(&node->node->path);
}

static uint32_t credit(void)
{
	return atomic_load(&path_of()->credit);
}

/* Bytes go out, as far as they may; returns how many. */
static uint32_t spend(uint32_t bytes)
{
	struct path *path = atomic_load(&node->node->path);

	if ((path->flags & PATH_ON_CREDIT) == 0)
		return 0; /* these are none of anybody's business */
	if (bytes > atomic_load(&path->credit))
		bytes = atomic_load(&path->credit);
	atomic_fetch_sub(&path->credit, bytes);
	return bytes;
}

static enum siu_result move_to(const char *coa)
{
	const struct siu_update update = {
		.lifetime_s = 600,
		.generation = ++generation,
		.home_address = addr_of(HOA),
		.new_coa = addr_of(coa),
	};
	struct move move;

	wait_ms(200); /* the limit of moves */
	double_reset_calls();
	move_apply(&mover, 0, &update, now_ns, &move);
	return move.result;
}

/* As the SIU handler's turn. Returns how many challenges left. */
static unsigned ask(void)
{
	const uint64_t before = mover.reach.asked;

	for (struct tunnel *t; (t = tunnel_to_ask(fx.tunnels, now_ns)) != NULL;)
		silent += reach_ask(&mover, t, now_ns);
	return (unsigned)(mover.reach.asked - before);
}

/* The newest challenge: the datagram, and where it went. */
static const struct double_call *challenge(void)
{
	const unsigned n = double_count(DOUBLE_SEND_ONCE);

	return n == 0 ? NULL : double_call(DOUBLE_SEND_ONCE, n - 1);
}

static bool went_to(const char *coa, uint16_t port)
{
	const struct ip_addr want = addr_of(coa);
	const struct double_call *call = challenge();

	return call != NULL && call->node == node->handle && call->len == CHALLENGE_BYTES &&
	       call->remote.port == port && ip_addr_equal(&call->remote.addr, &want);
}

/* What the node makes of the newest challenge. */
static void make_answer(uint8_t out[CHALLENGE_BYTES])
{
	const struct ip_addr home = addr_of(HOA);

	CU_ASSERT_PTR_NOT_NULL_FATAL(challenge());
	memcpy(out, challenge()->data, CHALLENGE_BYTES);
	CU_ASSERT_FATAL(challenge_answer(out, CHALLENGE_BYTES, &home));
}

static void hand_up(const uint8_t answer[CHALLENGE_BYTES])
{
	reach_answer(&mover, node, answer, CHALLENGE_BYTES);
}

static void answer_it(void)
{
	uint8_t answer[CHALLENGE_BYTES];

	make_answer(answer);
	hand_up(answer);
}

static bool is_verified(void)
{
	return (path_of()->flags & PATH_ON_CREDIT) == 0 && node->position.verified &&
	       strcmp(reach_state_name(node), "verified") == 0 && ask() == 0;
}

/* Moves there and shows that it is there. */
static void settle_at(const char *coa)
{
	CU_ASSERT(siu_result_is_good(move_to(coa)));
	CU_ASSERT(ask() == 1);
	answer_it();
	CU_ASSERT(is_verified());
}

static void test_asked_at_once(void)
{
	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(reach_state_name(node) == NULL);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT((path_of()->flags & PATH_UNVERIFIED) != 0 && credit() == SIZE);
	CU_ASSERT_STRING_EQUAL(reach_state_name(node), "unverified");
	CU_ASSERT(ask() == 1 && went_to(COA_A, 0));
	CU_ASSERT(ask() == 0);
	answer_it();
	CU_ASSERT(is_verified());
	CU_ASSERT(mover.reach.verified == 1 && mover.reach.refused == 0 && silent == 0);
	/* It stays verified while it stays there. */
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(is_verified());
	/* Not elsewhere, nor when it comes back. */
	settle_at(COA_B);
	settle_at(COA_A);
	end();
}

static void test_not_in_the_profile(void)
{
	begin(0);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 0 && (path_of()->flags & PATH_ON_CREDIT) == 0);
	CU_ASSERT(node->reach == NULL);
	CU_ASSERT_STRING_EQUAL(reach_state_name(node), "off");
	end();
}

/* An answer with good checksums whose nonce is wrong in one byte. */
static void make_guess(const uint8_t *nonce, unsigned byte, uint8_t out[CHALLENGE_BYTES])
{
	const struct ip_addr home = addr_of(HOA), us = addr_of("10.2.0.254");
	uint8_t guess[CHALLENGE_NONCE_BYTES];

	memcpy(guess, nonce, sizeof guess);
	guess[byte] ^= 1;
	challenge_build(out, &us, &home, guess, 0);
	CU_ASSERT_FATAL(challenge_answer(out, CHALLENGE_BYTES, &home));
	CU_ASSERT(challenge_nonce(out, CHALLENGE_BYTES) != NULL);
}

static void test_what_is_no_answer(void)
{
	uint8_t old[CHALLENGE_BYTES], answer[CHALLENGE_BYTES], wrong[CHALLENGE_BYTES];

	begin(NODE_RETURN_ROUTABILITY);
	hand_up((const uint8_t[CHALLENGE_BYTES]){0x45}); /* to no question */
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1);
	make_answer(old);
	/* A refreshed registration asks anew: the nonce is one path's. */
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1 && went_to(COA_A, 0));
	hand_up(old);
	make_answer(answer);
	for (unsigned i = 0; i < CHALLENGE_NONCE_BYTES; i++) {
		make_guess(challenge_nonce(answer, sizeof answer), i, wrong);
		hand_up(wrong);
	}
	hand_up(challenge()->data); /* the question itself */
	CU_ASSERT_STRING_EQUAL(reach_state_name(node), "unverified");
	/* To the former address, when it is at another one. */
	CU_ASSERT(siu_result_is_good(move_to(COA_B)));
	CU_ASSERT(ask() == 1);
	hand_up(answer);
	CU_ASSERT_STRING_EQUAL(reach_state_name(node), "unverified");
	CU_ASSERT(mover.reach.refused == 1 + 1 + CHALLENGE_NONCE_BYTES + 1 + 1);
	CU_ASSERT(mover.reach.verified == 0);
	/* The right one counts once. */
	make_answer(answer);
	hand_up(answer);
	CU_ASSERT(is_verified() && mover.reach.verified == 1);
	hand_up(answer);
	CU_ASSERT(is_verified() && mover.reach.verified == 1);
	end();
}

static void test_asked_again(void)
{
	static const unsigned at_ms[] = {0, 100, 300, 700, 1500, 3100, 8100, 13100};
	uint8_t first[CHALLENGE_BYTES];
	unsigned next = 0;

	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	for (unsigned ms = 0; ms <= 14000; ms += 50) {
		const bool due = next < 8 && at_ms[next] == ms;

		CU_ASSERT(ask() == due);
		if (ms == 0)
			make_answer(first);
		next += due;
		CU_ASSERT(silent == (ms >= 3100));
		CU_ASSERT_STRING_EQUAL(
			reach_state_name(node), ms < 3100 ? "unverified" : "unanswered");
		wait_ms(50);
	}
	CU_ASSERT(next == 8 && mover.reach.unanswered == 1);
	hand_up(first); /* late, but it shows it */
	CU_ASSERT(is_verified());
	wait_ms(60000);
	CU_ASSERT(ask() == 0);
	end();
}

/* Towards a node that does not answer goes what comes into its budget. */
static void test_topped_up(void)
{
	uint64_t sent = 0;

	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	for (unsigned s = 0; s < 100; s++) {
		(void)ask();
		sent += spend(UINT32_MAX);
		wait_ms(1000);
	}
	CU_ASSERT(sent > 10 * SIZE && sent <= 11 * SIZE);
	end();
}

static void test_no_room_to_ask(void)
{
	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	dp_double.send_fails = -ENOBUFS;
	CU_ASSERT(ask() == 0);
	dp_double.send_fails = 0;
	CU_ASSERT(ask() == 0); /* not in the same turn: it ends */
	wait_ms(10);
	CU_ASSERT(ask() == 1);
	answer_it();
	CU_ASSERT(is_verified());
	end();
}

/* Any two addresses, whether the node is at one of them or not: the other one gets no more than
 * there was, and what comes back in the time. */
static void test_one_budget(void)
{
	static const struct {
		const char *name;
		bool is_at_a; /* it answers there */
	} rows[] = {{"at neither", false}, {"at one of them", true}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t began_ns, sent = 0;

		begin(NODE_RETURN_ROUTABILITY);
		began_ns = now_ns;
		for (unsigned n = 0; n < 100; n++) {
			const bool at_a = n % 2 == 0;
			uint32_t spent;

			CU_ASSERT(siu_result_is_good(move_to(at_a ? COA_A : COA_B)));
			(void)ask();
			spent = spend(30000);
			if (at_a && rows[i].is_at_a)
				answer_it();
			else
				sent += spent;
		}
		CHECK_ROW(rows[i].name, sent > SIZE);
		CHECK_ROW(
			rows[i].name, sent <= SIZE + SIZE * (now_ns - began_ns) / BUDGET_REFILL_NS);
		end();
	}
}

/* A node that is where it says has its whole budget at the next move. */
static void test_nothing_spent_where_it_is(void)
{
	begin(NODE_RETURN_ROUTABILITY);
	for (unsigned n = 0; n < 20; n++) {
		CU_ASSERT(siu_result_is_good(move_to(n % 2 == 0 ? COA_A : COA_B)));
		CU_ASSERT(credit() == SIZE && spend(SIZE - 1000) == SIZE - 1000);
		CU_ASSERT(ask() == 1);
		/* Over a refresh, too. */
		CU_ASSERT(siu_result_is_good(move_to(n % 2 == 0 ? COA_A : COA_B)));
		CU_ASSERT(credit() < 5000);
		(void)spend(1000);
		CU_ASSERT(ask() == 1);
		answer_it();
		CU_ASSERT(is_verified());
	}
	end();
}

static void test_refused_by_the_packet_path(void)
{
	uint8_t answer[CHALLENGE_BYTES];
	struct budget before;

	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1);
	(void)spend(40000);
	before = node->reach->budget;
	make_answer(answer);
	dp_double.set_path_fails = -EAGAIN;
	CU_ASSERT(move_to(COA_B) == SIU_RESULT_NO_RESOURCES);
	CU_ASSERT(credit() == 60000 && node->reach->budget.full_at_ns == before.full_at_ns);
	hand_up(answer);
	CU_ASSERT((path_of()->flags & PATH_UNVERIFIED) != 0 && mover.reach.verified == 0);
	dp_double.set_path_fails = 0;
	wait_ms(100);
	CU_ASSERT(ask() == 1); /* so it is asked again */
	answer_it();
	CU_ASSERT(is_verified());
	end();
}

static void test_learned_mtu(void)
{
	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1);
	(void)spend(40000);
	CU_ASSERT(tunnel_set_mtu(fx.tunnels, node, 1280) == 0);
	CU_ASSERT(path_of()->mtu == 1280 && credit() == 60000);
	answer_it(); /* the same way: the question stands */
	CU_ASSERT(is_verified());
	CU_ASSERT(path_of()->mtu == 1280);
	end();
}

static struct ip_endpoint endpoint(const char *addr, uint16_t port)
{
	return (struct ip_endpoint){.addr = addr_of(addr), .port = port};
}

/* A try is on credit for both reasons; an answer to it makes the update that follows verified. */
static void test_tried(void)
{
	const struct ip_endpoint b = endpoint(COA_B, 0), c = endpoint(COA_C, 0);

	begin(NODE_RETURN_ROUTABILITY | NODE_PROVISIONAL);
	settle_at(COA_A);
	CU_ASSERT(tunnel_try(fx.tunnels, node, &b, 30000) == 0);
	CU_ASSERT(credit() == 30000);
	CU_ASSERT(ask() == 1 && went_to(COA_B, 0));
	(void)spend(20000);
	answer_it();
	CU_ASSERT(tunnel_is_tried(node) && credit() == 10000 && ask() == 0);
	CU_ASSERT(siu_result_is_good(move_to(COA_B)));
	CU_ASSERT(is_verified());
	/* Taken back: where it was is still good, and what answered is forgotten. */
	CU_ASSERT(tunnel_try(fx.tunnels, node, &c, 30000) == 0);
	CU_ASSERT(ask() == 1 && went_to(COA_C, 0));
	answer_it();
	CU_ASSERT(tunnel_try_end(fx.tunnels, node) == 0);
	CU_ASSERT(is_verified());
	/* Confirmed before the answer: the credit of the unverified takes over. */
	CU_ASSERT(tunnel_try(fx.tunnels, node, &c, 30000) == 0);
	CU_ASSERT(ask() == 1);
	CU_ASSERT(spend(30000) == 30000);
	CU_ASSERT(siu_result_is_good(move_to(COA_C)));
	CU_ASSERT(credit() > SIZE - 31000 && credit() < SIZE - 20000);
	CU_ASSERT(ask() == 1 && went_to(COA_C, 0));
	answer_it();
	CU_ASSERT(is_verified());
	end();
}

/* With its budget spent a node is not sent to where it only says it is. */
static void test_tried_without_budget(void)
{
	const struct ip_endpoint b = endpoint(COA_B, 0);

	begin(NODE_RETURN_ROUTABILITY | NODE_PROVISIONAL);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1);
	/* What the path has in hand is its node's. */
	CU_ASSERT(tunnel_try(fx.tunnels, node, &b, 30000) == 0 && credit() == 30000);
	CU_ASSERT(tunnel_try_end(fx.tunnels, node) == 0);
	CU_ASSERT(credit() == SIZE && ask() == 1 && went_to(COA_A, 0));
	(void)spend(SIZE - 1000);
	CU_ASSERT(tunnel_try(fx.tunnels, node, &b, 30000) == -EAGAIN);
	CU_ASSERT(!tunnel_is_tried(node) && credit() == 1000);
	end();
}

static void test_other_port(void)
{
	begin(NODE_RETURN_ROUTABILITY | NODE_ALLOW_NAT);
	move_note_rrq(node, &(struct tunnel_rrq){.identification = 0,
				    .first_rx_ns = 1,
				    .coa = addr_of(COA_A),
				    .observed = endpoint(COA_B, 4501)});
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1 && went_to(COA_B, 4501));
	CU_ASSERT(tunnel_move_port(fx.tunnels, node, 4502) == 0);
	answer_it(); /* it came from the former port's question */
	CU_ASSERT_STRING_EQUAL(reach_state_name(node), "unverified");
	CU_ASSERT(ask() == 1 && went_to(COA_B, 4502));
	answer_it();
	CU_ASSERT(is_verified());
	/* The address has been shown: its port may follow the NAT. */
	CU_ASSERT(tunnel_move_port(fx.tunnels, node, 4503) == 0);
	CU_ASSERT(is_verified());
	end();
}

/* No copies to where nobody has shown it to be. */
static void test_bicast(void)
{
	begin(NODE_RETURN_ROUTABILITY | NODE_BICAST);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(siu_result_is_good(move_to(COA_B)));
	CU_ASSERT(!ip_addr_is_set(&node->position.former_remote.addr));
	CU_ASSERT(ask() == 1);
	answer_it();
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ip_addr_is_set(&node->position.former_remote.addr));
	end();
}

static void restart_at(const struct position *want)
{
	struct tunnel_params params = {
		.name = "node1", .home_address = addr_of(HOA), .flags = NODE_RETURN_ROUTABILITY};

	fixture_restart(&fx);
	lend_parts();
	CU_ASSERT_FATAL(state_load(fx.state, &params.home_address, &params.position) == 0);
	CU_ASSERT(params.position.verified == want->verified);
	CU_ASSERT(params.position.generation == want->generation);
	CU_ASSERT_FATAL(tunnel_add(fx.tunnels, &params, &node) == 0);
}

static void test_restart(void)
{
	struct position was;

	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 1);
	was = node->position;
	CU_ASSERT(!was.verified);
	restart_at(&was);
	CU_ASSERT((path_of()->flags & PATH_UNVERIFIED) != 0 && credit() == SIZE);
	CU_ASSERT(ask() == 1 && went_to(COA_A, 0));
	answer_it();
	CU_ASSERT(is_verified());
	was = node->position;
	restart_at(&was);
	CU_ASSERT(is_verified());
	end();
}

/* Nobody asked while the profile had it off, so nothing is known when it has it. */
static void test_put_into_the_profile(void)
{
	struct position was;

	begin(0);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(ask() == 0 && (path_of()->flags & PATH_ON_CREDIT) == 0);
	was = node->position;
	restart_at(&was);
	CU_ASSERT((path_of()->flags & PATH_UNVERIFIED) != 0 && credit() == SIZE);
	CU_ASSERT_STRING_EQUAL(reach_state_name(node), "unverified");
	CU_ASSERT(siu_result_is_good(move_to(COA_A))); /* staying there shows nothing */
	CU_ASSERT(ask() == 1 && went_to(COA_A, 0));
	answer_it();
	CU_ASSERT(is_verified());
	end();
}

/* What was shown behind a NAT says nothing of the address that the node has in there. */
static void test_nat_out_of_the_profile(void)
{
	static const struct {
		const char *name;
		uint32_t flags;
		uint16_t port;
		bool verified;
	} rows[] = {
		{"as before", NODE_RETURN_ROUTABILITY | NODE_ALLOW_NAT, 4501, true},
		{"no NAT any more", NODE_RETURN_ROUTABILITY, 4501, false},
		{"never was any", NODE_RETURN_ROUTABILITY, 0, true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct position position = {.coa = addr_of(COA_A),
			.remote = endpoint(COA_A, rows[i].port),
			.verified = true};

		nat_fit_position(&position, rows[i].flags);
		CHECK_ROW(rows[i].name, position.verified == rows[i].verified);
		CHECK_ROW(rows[i].name,
			tunnel_is_open(rows[i].flags, &position) == !rows[i].verified);
		CHECK_ROW(rows[i].name, !tunnel_is_open(0, &position));
	}
}

static void test_closed(void)
{
	begin(NODE_RETURN_ROUTABILITY);
	CU_ASSERT(siu_result_is_good(move_to(COA_A)));
	CU_ASSERT(move_shut(&mover, node, "test") == 0);
	CU_ASSERT(ask() == 0 && reach_state_name(node) == NULL);
	settle_at(COA_A);
	/* Gone: nobody is asked. */
	CU_ASSERT(siu_result_is_good(move_to(COA_B)));
	CU_ASSERT(tunnel_del(fx.tunnels, node, false) == 0);
	CU_ASSERT(ask() == 0);
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"asked at once", test_asked_at_once},
		{"not in the profile", test_not_in_the_profile},
		{"what is no answer", test_what_is_no_answer},
		{"asked again", test_asked_again},
		{"topped up", test_topped_up},
		{"no room to ask", test_no_room_to_ask},
		{"one budget", test_one_budget},
		{"nothing is spent where it is", test_nothing_spent_where_it_is},
		{"refused by the packet path", test_refused_by_the_packet_path},
		{"a learned MTU", test_learned_mtu},
		{"tried", test_tried},
		{"tried without budget", test_tried_without_budget},
		{"another port", test_other_port},
		{"bicast", test_bicast},
		{"restart", test_restart},
		{"put into the profile", test_put_into_the_profile},
		{"NAT out of the profile", test_nat_out_of_the_profile},
		{"closed and deleted", test_closed},
		{NULL, NULL},
	};

	return unit_run("gw/reach", cases);
}
