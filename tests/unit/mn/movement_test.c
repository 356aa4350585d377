/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the node is, from scripts of kernel events; care-of addresses and their former ones. */
#include "control/mn/care_of.h"
#include "control/mn/movement.h"
#include "lib/clock.h"

#include "tests/unit/lib/unit.h"

#define S NS_PER_S
#define HOME0 2
#define VA0 3
#define VB0 4
#define TUN 9

static const char PREFERRED[][IF_NAMESIZE] = {"va0", "vb0"};
static struct movement_conf conf;
static struct movement m;

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	if (text[0] != '\0')
		CU_ASSERT_TRUE_FATAL(ip_addr_parse(text, &out));
	return out;
}

static void start(size_t n_interfaces)
{
	conf = (struct movement_conf){
		.home_address = addr("10.1.0.10"),
		.home_agent = addr("10.1.0.1"),
		.gateway = addr("192.0.2.1"),
		.tunnel_interface = "rg-mn",
		.interfaces = PREFERRED,
		.n_interfaces = n_interfaces,
	};
	CU_ASSERT_TRUE_FATAL(ip_prefix_parse("10.1.0.0/24", &conf.home_prefix));
	movement_init(&m, &conf);
}

static void link_event(int ifindex, bool present, bool up)
{
	static const char *const names[] = {
		[HOME0] = "home0", [VA0] = "va0", [VB0] = "vb0", [TUN] = "rg-mn"};
	struct nl_link_event event = {
		.ifindex = ifindex, .mtu = 1500, .present = present, .up = up};

	snprintf(event.name, sizeof event.name, "%s", names[ifindex]);
	movement_on_link(&m, &event);
}

static void addr_event(int ifindex, const char *text, bool added, bool tentative)
{
	struct nl_addr_event event = {.ifindex = ifindex,
		.addr = addr(text),
		.prefix_len = 24,
		.added = added,
		.tentative = tentative};

	movement_on_addr(&m, &event);
}

static void route_event(int ifindex, const char *dst, uint32_t table, uint32_t metric, bool added)
{
	struct nl_route_event event = {
		.ifindex = ifindex, .table = table, .metric = metric, .added = added};

	CU_ASSERT_TRUE_FATAL(ip_prefix_parse(dst, &event.dst));
	movement_on_route(&m, &event);
}

/* A script: "U3" link 3 up, "D3" down, "X3" gone, "+3 address", "-3 address", "~3 address"
 * (tentative), "R" resync, "r" resynced. */
struct step {
	const char *what;
	const char *address;
};

static void play(const struct step *step)
{
	int ifindex = step->what[0] == 'R' || step->what[0] == 'r' ? 0 : step->what[1] - '0';

	switch (step->what[0]) {
	case 'U':
		link_event(ifindex, true, true);
		break;
	case 'D':
		link_event(ifindex, true, false);
		break;
	case 'X':
		link_event(ifindex, false, false);
		break;
	case '+':
		addr_event(ifindex, step->address, true, false);
		break;
	case '~':
		addr_event(ifindex, step->address, true, true);
		break;
	case '-':
		addr_event(ifindex, step->address, false, false);
		break;
	case 'R':
		movement_resync(&m);
		break;
	default:
		movement_resynced(&m);
		break;
	}
}

#define A "198.51.100.7"
#define A2 "198.51.100.8"
#define B "203.0.113.7"
#define HOA "10.1.0.10"

static const struct row {
	const char *name;
	size_t n_interfaces; /* of va0, vb0 in the operator's list */
	struct step steps[8];
	enum place_kind kind;
	int ifindex;
	const char *coa;
	int home; /* the interface that claims to be on the home link */
} ROWS[] = {
	{"nothing", 0, {{0}}, PLACE_NOWHERE, 0, "", 0},
	{"link alone", 0, {{"U3", ""}}, PLACE_NOWHERE, 0, "", 0},
	{"address", 0, {{"U3", ""}, {"+3", A}}, PLACE_AWAY, VA0, A, 0},
	{"address before its link is up", 0, {{"D3", ""}, {"+3", A}, {"U3", ""}}, PLACE_AWAY, VA0,
		A, 0},
	{"link down", 0, {{"U3", ""}, {"+3", A}, {"D3", ""}}, PLACE_NOWHERE, 0, "", 0},
	{"link gone", 0, {{"U3", ""}, {"+3", A}, {"X3", ""}}, PLACE_NOWHERE, 0, "", 0},
	{"address of an unknown link", 0, {{"+3", A}}, PLACE_NOWHERE, 0, "", 0},
	{"address deleted", 0, {{"U3", ""}, {"+3", A}, {"-3", A}}, PLACE_NOWHERE, 0, "", 0},
	{"tentative", 0, {{"U3", ""}, {"~3", A}}, PLACE_NOWHERE, 0, "", 0},
	{"no longer tentative", 0, {{"U3", ""}, {"~3", A}, {"+3", A}}, PLACE_AWAY, VA0, A, 0},
	{"loopback", 0, {{"U3", ""}, {"+3", "127.0.0.1"}}, PLACE_NOWHERE, 0, "", 0},
	{"link-local", 0, {{"U3", ""}, {"+3", "169.254.1.1"}}, PLACE_NOWHERE, 0, "", 0},
	{"IPv6", 0, {{"U3", ""}, {"+3", "2001:db8::7"}}, PLACE_NOWHERE, 0, "", 0},
	{"another address of the home network", 0, {{"U3", ""}, {"+3", "10.1.0.77"}}, PLACE_NOWHERE,
		0, "", 0},
	{"the gateway's own address", 0, {{"U3", ""}, {"+3", "192.0.2.1"}}, PLACE_NOWHERE, 0, "",
		0},
	{"newest wins", 0, {{"U3", ""}, {"U4", ""}, {"+3", A}, {"+4", B}}, PLACE_AWAY, VB0, B, 0},
	{"announced again is not new", 0, {{"U3", ""}, {"U4", ""}, {"+3", A}, {"+4", B}, {"+3", A}},
		PLACE_AWAY, VB0, B, 0},
	{"newest goes, older stays", 0, {{"U3", ""}, {"U4", ""}, {"+3", A}, {"+4", B}, {"-4", B}},
		PLACE_AWAY, VA0, A, 0},
	{"a link that comes back is new", 0,
		{{"U3", ""}, {"U4", ""}, {"+3", A}, {"+4", B}, {"D3", ""}, {"U3", ""}}, PLACE_AWAY,
		VA0, A, 0},
	{"two on one link", 0, {{"U3", ""}, {"+3", A}, {"+3", A2}}, PLACE_AWAY, VA0, A2, 0},
	{"operator's order", 2, {{"U3", ""}, {"U4", ""}, {"+3", A}, {"+4", B}}, PLACE_AWAY, VA0, A,
		0},
	{"second choice", 2, {{"U3", ""}, {"U4", ""}, {"+3", A}, {"+4", B}, {"D3", ""}}, PLACE_AWAY,
		VB0, B, 0},
	{"not in the list", 1, {{"U4", ""}, {"+4", B}}, PLACE_NOWHERE, 0, "", 0},
	{"home", 0, {{"U2", ""}, {"+2", HOA}}, PLACE_NOWHERE, 0, "", HOME0},
	{"home though not in the list", 1, {{"U2", ""}, {"+2", HOA}}, PLACE_NOWHERE, 0, "", HOME0},
	{"home beside away", 0, {{"U2", ""}, {"U3", ""}, {"+2", HOA}, {"+3", A}}, PLACE_AWAY, VA0,
		A, HOME0},
	{"home on a visited link", 0, {{"U3", ""}, {"+3", A}, {"+3", HOA}}, PLACE_AWAY, VA0, A,
		VA0},
	{"home on two links", 0, {{"U2", ""}, {"U3", ""}, {"+3", HOA}, {"+2", HOA}}, PLACE_NOWHERE,
		0, "", HOME0},
	{"home address tentative", 0, {{"U2", ""}, {"~2", HOA}}, PLACE_NOWHERE, 0, "", 0},
	{"home link down", 0, {{"U2", ""}, {"U3", ""}, {"+2", HOA}, {"+3", A}, {"D2", ""}},
		PLACE_AWAY, VA0, A, 0},
	{"home address on the tunnel", 0, {{"U9", ""}, {"U3", ""}, {"+9", HOA}, {"+3", A}},
		PLACE_AWAY, VA0, A, 0},
	{"only the tunnel", 0, {{"U9", ""}, {"+9", HOA}}, PLACE_NOWHERE, 0, "", 0},
	{"all confirmed by a new dump", 0,
		{{"U3", ""}, {"+3", A}, {"R", ""}, {"U3", ""}, {"+3", A}, {"r", ""}}, PLACE_AWAY,
		VA0, A, 0},
	{"swept by a new dump", 0, {{"U3", ""}, {"+3", A}, {"R", ""}, {"U3", ""}, {"r", ""}},
		PLACE_NOWHERE, 0, "", 0},
	{"link swept", 0, {{"U3", ""}, {"+3", A}, {"R", ""}, {"+3", A}, {"r", ""}}, PLACE_NOWHERE,
		0, "", 0},
};

static void places(void)
{
	for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
		const struct row *row = &ROWS[i];
		static const struct home_claim none;
		struct ip_addr coa = addr(row->coa);
		struct place place;

		start(row->n_interfaces);
		for (const struct step *step = row->steps; step->what != NULL; step++)
			play(step);
		place = movement_place(&m);
		CHECK_ROW(row->name, place.kind == row->kind);
		CHECK_ROW(row->name, place.ifindex == row->ifindex);
		CHECK_ROW(row->name, ip_addr_equal(&place.coa, &coa));
		CHECK_ROW(row->name, movement_home(&m, &none).ifindex == row->home);
	}
}

static struct home_claim claim(const struct home_claim *preferred)
{
	return movement_home(&m, preferred);
}

/* Every interruption makes another claim; nothing else does. */
static void claims(void)
{
	static const struct home_claim none;
	struct home_claim first, second;

	start(0);
	link_event(HOME0, true, true);
	addr_event(HOME0, HOA, true, false);
	first = claim(&none);
	CU_ASSERT_NOT_EQUAL(first.since, 0);
	addr_event(HOME0, HOA, true, false); /* a lease was renewed */
	link_event(HOME0, true, true);
	CU_ASSERT_EQUAL(claim(&none).since, first.since);
	link_event(VA0, true, true);
	addr_event(VA0, HOA, true, false);
	CU_ASSERT_EQUAL(claim(&none).ifindex, VA0);    /* the newest, */
	CU_ASSERT_EQUAL(claim(&first).ifindex, HOME0); /* but no other than what is trusted */
	link_event(HOME0, true, false);
	CU_ASSERT_EQUAL(claim(&first).ifindex, VA0);
	link_event(HOME0, true, true);
	second = claim(&first);
	CU_ASSERT_EQUAL(second.ifindex, HOME0);
	CU_ASSERT_NOT_EQUAL(second.since, first.since);
	addr_event(HOME0, HOA, false, false);
	addr_event(HOME0, HOA, true, false);
	CU_ASSERT_NOT_EQUAL(claim(&second).since, second.since);
	link_event(HOME0, false, false);
	link_event(VA0, true, false);
	CU_ASSERT_EQUAL(claim(&none).ifindex, 0);
}

static void routes(void)
{
	start(0);
	CU_ASSERT_FALSE(movement_has_route(&m, VA0));
	CU_ASSERT_FALSE(movement_has_route(&m, 0));
	route_event(VA0, "0.0.0.0/0", 254, 0, true);
	CU_ASSERT_TRUE(movement_has_route(&m, VA0));
	CU_ASSERT_FALSE(movement_has_route(&m, VB0));
	/* another metric beside it, then the same metric in place of it */
	route_event(VB0, "0.0.0.0/0", 254, 50, true);
	CU_ASSERT_TRUE(movement_has_route(&m, VA0) && movement_has_route(&m, VB0));
	route_event(VB0, "0.0.0.0/0", 254, 0, true);
	CU_ASSERT_FALSE(movement_has_route(&m, VA0));
	route_event(VA0, "0.0.0.0/0", 254, 0, false); /* not the one that is there */
	route_event(VB0, "0.0.0.0/0", 254, 50, false);
	CU_ASSERT_TRUE(movement_has_route(&m, VB0));
	route_event(VB0, "0.0.0.0/0", 254, 0, false);
	CU_ASSERT_FALSE(movement_has_route(&m, VB0));
	/* other tables, and prefixes without the gateway */
	route_event(VA0, "0.0.0.0/0", 100, 0, true);
	route_event(VA0, "198.51.100.0/24", 254, 0, true);
	CU_ASSERT_FALSE(movement_has_route(&m, VA0));
	route_event(VA0, "192.0.2.0/24", 254, 0, true);
	CU_ASSERT_TRUE(movement_has_route(&m, VA0));
	movement_resync(&m);
	movement_resynced(&m);
	CU_ASSERT_FALSE(movement_has_route(&m, VA0));
}

static bool advert(int ifindex, const char *from, uint16_t sequence)
{
	struct ip_addr source = addr(from);
	struct mip4_advert message = {.router_lifetime_s = 9,
		.sequence = sequence,
		.foreign_agent = true,
		.registration_required = sequence != 256};

	return movement_on_advert(&m, ifindex, &source, &message);
}

static void foreign_agents(void)
{
	start(0);
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.1", 5)); /* unknown link */
	link_event(VA0, true, true);
	addr_event(VA0, A, true, false);
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.1", 300)); /* the first one heard */
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.1", 301));
	CU_ASSERT_TRUE(advert(VA0, "198.51.100.2", 7)); /* another agent */
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.2", 8));
	CU_ASSERT_TRUE(advert(VA0, "198.51.100.2", 0)); /* it was restarted */
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.2", 0xffff));
	CU_ASSERT_TRUE(movement_link(&m, VA0)->agent_demands); /* R */
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.2", 256));     /* RFC 5944 2.3.2: wrapped */
	CU_ASSERT_FALSE(movement_link(&m, VA0)->agent_demands);
	/* and the place is still our own address */
	CU_ASSERT_EQUAL(movement_place(&m).kind, PLACE_AWAY);
	/* after the link was down the first one is no change */
	link_event(VA0, true, false);
	link_event(VA0, true, true);
	CU_ASSERT_FALSE(advert(VA0, "198.51.100.9", 5));
}

/* More of everything than the tables hold. */
static void full_tables(void)
{
	struct ip_addr first = addr("198.51.100.1");

	start(0);
	for (int i = 1; i <= 2 * MOVEMENT_LINKS_MAX; i++) {
		struct nl_link_event event = {.ifindex = i, .present = true, .up = true};

		movement_on_link(&m, &event);
	}
	for (int i = 0; i < 2 * MOVEMENT_ADDRS_MAX; i++) {
		struct nl_addr_event event = {.ifindex = 1, .addr = first, .added = true};

		event.addr.bytes[3] = (uint8_t)(i % 250);
		event.addr.bytes[2] = (uint8_t)(i / 250);
		movement_on_addr(&m, &event);
	}
	for (uint32_t i = 0; i < 2 * MOVEMENT_ROUTES_MAX; i++)
		route_event(1, "0.0.0.0/0", 254, i, true);
	CU_ASSERT_EQUAL(movement_place(&m).kind, PLACE_AWAY);
	CU_ASSERT_TRUE(movement_has_route(&m, 1));
}

/* ---- care-of addresses ---- */

static void care_of_one_move(void)
{
	struct ip_addr a = addr(A), b = addr(B), none = {0};
	struct care_of c = {0};

	CU_ASSERT_FALSE(care_of_receives(&c, &a, 0));
	CU_ASSERT_FALSE(care_of_receives(&c, &none, 0));
	CU_ASSERT_FALSE(care_of_labels(&c, &none, 0));
	care_of_move(&c, &a, 0, 2 * S);
	CU_ASSERT_TRUE(care_of_receives(&c, &a, 100 * S));
	CU_ASSERT_FALSE(ip_addr_is_set(&c.confirmed));
	care_of_confirm(&c, 1 * S, 2 * S);
	CU_ASSERT_TRUE(ip_addr_equal(&c.confirmed, &a));
	care_of_move(&c, &b, 100 * S, 2 * S);
	CU_ASSERT_TRUE(ip_addr_equal(&c.confirmed, &a));
	CU_ASSERT_TRUE(care_of_receives(&c, &b, 100 * S));
	CU_ASSERT_TRUE(care_of_receives(&c, &a, 102 * S - 1));
	CU_ASSERT_FALSE(care_of_receives(&c, &a, 102 * S));
	/* as label until the registration is confirmed and the grace time over */
	CU_ASSERT_TRUE(care_of_labels(&c, &a, 150 * S));
	care_of_confirm(&c, 150 * S, 2 * S);
	CU_ASSERT_TRUE(care_of_labels(&c, &a, 152 * S - 1));
	CU_ASSERT_FALSE(care_of_labels(&c, &a, 152 * S));
	CU_ASSERT_TRUE(care_of_labels(&c, &b, 152 * S));
	care_of_forget(&c);
	CU_ASSERT_FALSE(care_of_receives(&c, &b, 152 * S));
}

static void care_of_many_moves(void)
{
	struct ip_addr none = {0};
	struct ip_addr at[8];
	struct care_of c = {0};

	for (unsigned i = 0; i < 8; i++) {
		at[i] = addr("198.51.100.1");
		at[i].bytes[3] = (uint8_t)(i + 1);
	}
	for (unsigned i = 0; i < 6; i++)
		care_of_move(&c, &at[i], i, 2 * S);
	for (unsigned i = 0; i < 6; i++) { /* the first of five former ones is forgotten */
		CU_ASSERT_EQUAL(care_of_receives(&c, &at[i], 10), i >= 1);
		CU_ASSERT_EQUAL(care_of_labels(&c, &at[i], 10), i >= 1);
	}
	/* lost and found again: nothing but grace */
	care_of_move(&c, &none, 10, 2 * S);
	CU_ASSERT_TRUE(care_of_receives(&c, &at[5], 11));
	CU_ASSERT_FALSE(care_of_receives(&c, &at[5], 3 * S));
	care_of_move(&c, &at[5], 4 * S, 2 * S);
	CU_ASSERT_TRUE(care_of_receives(&c, &at[5], 100 * S));
	/* the same again is no move */
	care_of_move(&c, &at[5], 5 * S, 2 * S);
	care_of_confirm(&c, 6 * S, 0);
	CU_ASSERT_TRUE(care_of_labels(&c, &at[5], 7 * S));
	CU_ASSERT_FALSE(care_of_labels(&c, &at[4], 7 * S));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"places", places},
		{"routes to the gateway", routes},
		{"foreign agents", foreign_agents},
		{"claims of home", claims},
		{"full tables", full_tables},
		{"care-of: one move", care_of_one_move},
		{"care-of: many moves", care_of_many_moves},
		{0},
	};

	return unit_run("mn movement", cases);
}
