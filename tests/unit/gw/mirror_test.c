/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes by metric, neighbours by state, and packets that wait for a neighbour. */
#include "control/gw/mirror_neigh.h"
#include "control/gw/mirror_routes.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

static struct mirror_routes *routes;
static struct mirror_neighs *neighs;
static unsigned asked;
static struct ip_addr asked_for;

/* --- routes -------------------------------------------------------------------------------------
 */

static void route(bool added, const char *dst, const char *via, uint32_t metric, int mirror)
{
	struct nl_route_event event = {
		.added = added, .metric = metric, .table = RT_TABLE_MAIN, .via = addr_of(via)};

	if (!ip_prefix_parse(dst, &event.dst))
		abort();
	mirror_routes_event(
		routes, &event, mirror >= 0, mirror < 0 ? DP_OUTSIDE : (enum dp_port)mirror);
}

/* The newest call to the packet path was this one. */
static bool last_is(enum double_kind kind, const char *via)
{
	const struct double_call *call = dp_double.n == 0 ? NULL
							  : &dp_double.calls[dp_double.n - 1];
	const struct ip_addr want = addr_of(via == NULL ? "0.0.0.0" : via);

	return call != NULL && call->kind == kind &&
	       (via == NULL || ip_addr_equal(&call->addr, &want));
}

static void begin_routes(uint32_t max)
{
	memset(&dp_double, 0, sizeof dp_double);
	routes = mirror_routes_new(DOUBLE_DP, max);
	CU_ASSERT_PTR_NOT_NULL_FATAL(routes);
}

static void test_metrics(void)
{
	begin_routes(10);
	route(true, "10.0.0.0/8", "10.2.0.1", 100, DP_INSIDE);
	CU_ASSERT(last_is(DOUBLE_ROUTE_SET, "10.2.0.1"));
	route(true, "10.0.0.0/8", "10.2.0.2", 200, DP_INSIDE);
	CU_ASSERT_EQUAL(dp_double.n, 1); /* worse: kept in reserve */
	route(true, "10.0.0.0/8", "192.0.2.9", 50, DP_OUTSIDE);
	CU_ASSERT(last_is(DOUBLE_ROUTE_SET, "192.0.2.9"));
	CU_ASSERT_EQUAL(dp_double.calls[1].port, DP_OUTSIDE);
	route(false, "10.0.0.0/8", "192.0.2.9", 50, DP_OUTSIDE);
	CU_ASSERT(last_is(DOUBLE_ROUTE_SET, "10.2.0.1"));
	route(false, "10.0.0.0/8", "10.2.0.2", 200, DP_INSIDE);
	CU_ASSERT_EQUAL(dp_double.n, 3);
	route(false, "10.0.0.0/8", "10.2.0.1", 100, DP_INSIDE);
	CU_ASSERT(last_is(DOUBLE_ROUTE_DEL, NULL));
	mirror_routes_free(routes);
}

static void test_replaced(void)
{
	begin_routes(10);
	route(true, "0.0.0.0/0", "192.0.2.254", 0, DP_OUTSIDE);
	route(true, "0.0.0.0/0", "192.0.2.253", 0, DP_OUTSIDE); /* "ip route replace": no delete */
	CU_ASSERT(last_is(DOUBLE_ROUTE_SET, "192.0.2.253"));
	route(true, "0.0.0.0/0", "172.16.0.1", 0, -1); /* by an interface that is not ours */
	CU_ASSERT(last_is(DOUBLE_ROUTE_DEL, NULL));
	route(false, "0.0.0.0/0", "172.16.0.1", 0, -1);
	CU_ASSERT_EQUAL(double_count(DOUBLE_ROUTE_DEL), 1);
	mirror_routes_free(routes);
}

static void test_other_interfaces_route_goes(void)
{
	begin_routes(10);
	route(true, "10.0.0.0/8", "10.2.0.1", 0, DP_INSIDE);
	route(false, "10.0.0.0/8", "172.16.0.1", 0, -1); /* none of ours */
	CU_ASSERT_EQUAL(double_count(DOUBLE_ROUTE_DEL), 0);
	mirror_routes_free(routes);
}

static void test_full(void)
{
	begin_routes(2);
	route(true, "10.1.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	route(true, "10.2.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	route(true, "10.3.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	CU_ASSERT_EQUAL(double_count(DOUBLE_ROUTE_SET), 2);
	CU_ASSERT_EQUAL(mirror_routes_left_out(routes), 1);
	route(false, "10.1.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	route(true, "10.3.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	CU_ASSERT_EQUAL(double_count(DOUBLE_ROUTE_SET), 3);
	mirror_routes_free(routes);
}

static void test_route_resync(void)
{
	begin_routes(10);
	route(true, "10.1.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	route(true, "10.3.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	mirror_routes_resync(routes);
	route(true, "10.3.0.0/16", "10.2.0.1", 0, DP_INSIDE);
	mirror_routes_resynced(routes);
	CU_ASSERT_EQUAL(double_count(DOUBLE_ROUTE_DEL), 1);
	CU_ASSERT_EQUAL(double_call(DOUBLE_ROUTE_DEL, 0)->prefix.addr.bytes[1], 1);
	mirror_routes_free(routes);
}

/* --- neighbours ---------------------------------------------------------------------------------
 */

static void on_ask(void *arg, enum dp_port port, const struct ip_addr *addr)
{
	(void)arg;
	(void)port;
	asked++;
	asked_for = *addr;
}

static void begin_neighs(uint32_t max)
{
	memset(&dp_double, 0, sizeof dp_double);
	asked = 0;
	neighs = mirror_neighs_new(DOUBLE_DP, max, on_ask, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(neighs);
}

static void neigh(const char *addr, uint16_t state, bool added)
{
	const struct nl_neigh_event event = {
		.addr = addr_of(addr), .mac = {2, 0, 0, 0, 0, 1}, .state = state, .added = added};

	mirror_neighs_event(neighs, DP_OUTSIDE, &event);
}

static void hold(const char *next_hop, uint64_t now_ns)
{
	struct punt punt = {
		.reason = PUNT_UNRESOLVED, .port = DP_OUTSIDE, .next_hop = addr_of(next_hop)};

	mirror_neighs_hold(neighs, &punt, now_ns);
}

static void test_states(void)
{
	static const struct {
		const char *name;
		uint16_t state;
		bool usable;
	} rows[] = {
		{"reachable", NUD_REACHABLE, true},
		{"stale", NUD_STALE, true},
		{"delay", NUD_DELAY, true},
		{"probe", NUD_PROBE, true},
		{"permanent", NUD_PERMANENT, true},
		{"incomplete", NUD_INCOMPLETE, false},
		{"failed", NUD_FAILED, false},
		{"none", NUD_NONE, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		begin_neighs(4);
		neigh("192.0.2.9", rows[i].state, true);
		CHECK_ROW(rows[i].name, double_count(DOUBLE_NEIGH_SET) == rows[i].usable);
		neigh("192.0.2.9", NUD_REACHABLE, true);
		neigh("192.0.2.9", rows[i].state, true);
		CHECK_ROW(rows[i].name, double_count(DOUBLE_NEIGH_DEL) == !rows[i].usable);
		mirror_neighs_free(neighs);
	}
}

static void test_group_mac(void)
{
	const struct nl_neigh_event event = {.addr = addr_of("192.0.2.255"),
		.mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		.state = NUD_NOARP,
		.added = true};

	begin_neighs(4);
	mirror_neighs_event(neighs, DP_OUTSIDE, &event);
	CU_ASSERT_EQUAL(double_count(DOUBLE_NEIGH_SET), 0);
	mirror_neighs_free(neighs);
}

static void test_wait(void)
{
	struct mirror_neigh_stats stats;

	begin_neighs(4);
	hold("192.0.2.9", NS_PER_S);
	hold("192.0.2.9", NS_PER_S);
	CU_ASSERT_EQUAL(asked, 1); /* one question for both */
	CU_ASSERT_EQUAL(dp_double.n, 0);
	neigh("192.0.2.9", NUD_REACHABLE, true);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_KEPT), 2);
	CU_ASSERT(double_order(DOUBLE_NEIGH_SET, 0) < double_order(DOUBLE_SEND_KEPT, 0));
	/* One that was on its way here meanwhile. */
	hold("192.0.2.9", NS_PER_S);
	CU_ASSERT_EQUAL(double_count(DOUBLE_SEND_KEPT), 3);
	mirror_neighs_get_stats(neighs, &stats);
	CU_ASSERT_EQUAL(stats.held, 3);
	CU_ASSERT_EQUAL(stats.sent, 3);
	CU_ASSERT_EQUAL(stats.waited_for, 0);
	mirror_neighs_free(neighs);
}

static void test_bounds(void)
{
	begin_neighs(4);
	for (unsigned i = 0; i < MIRROR_HOLD_PACKETS + 5; i++)
		hold("192.0.2.9", NS_PER_S);
	CU_ASSERT_EQUAL(double_count(DOUBLE_PUNT_DONE), 5);
	for (unsigned i = 0; i < MIRROR_HOLDS + 3; i++) {
		char text[IP_TEXT_MAX];

		snprintf(text, sizeof text, "192.0.2.%u", 100 + i);
		hold(text, NS_PER_S);
	}
	CU_ASSERT_EQUAL(double_count(DOUBLE_PUNT_DONE), 5 + 4); /* one place was taken before */
	mirror_neighs_free(neighs);
	/* What still waits is given back at the end. */
	CU_ASSERT_EQUAL(
		double_count(DOUBLE_PUNT_DONE), 5 + 4 + MIRROR_HOLD_PACKETS + MIRROR_HOLDS - 1);
}

static void test_failed_and_expired(void)
{
	begin_neighs(4);
	hold("192.0.2.9", NS_PER_S);
	neigh("192.0.2.9", NUD_INCOMPLETE, true);
	CU_ASSERT_EQUAL(double_count(DOUBLE_PUNT_DONE), 0);
	neigh("192.0.2.9", NUD_FAILED, true);
	CU_ASSERT_EQUAL(double_count(DOUBLE_PUNT_DONE), 1);
	hold("192.0.2.9", NS_PER_S);
	mirror_neighs_tick(neighs, NS_PER_S + MIRROR_HOLD_NS - 1);
	CU_ASSERT_EQUAL(double_count(DOUBLE_PUNT_DONE), 1);
	mirror_neighs_tick(neighs, NS_PER_S + MIRROR_HOLD_NS);
	CU_ASSERT_EQUAL(double_count(DOUBLE_PUNT_DONE), 2);
	mirror_neighs_free(neighs);
}

static void test_used(void)
{
	begin_neighs(4);
	mirror_neighs_tick(neighs, NS_PER_S);
	CU_ASSERT_EQUAL(asked, 1); /* the double says that one is in use */
	CU_ASSERT_EQUAL(asked_for.bytes[3], 254);
	mirror_neighs_tick(neighs, NS_PER_S + MIRROR_USED_EVERY_NS - 1);
	CU_ASSERT_EQUAL(asked, 1);
	mirror_neighs_tick(neighs, NS_PER_S + MIRROR_USED_EVERY_NS);
	CU_ASSERT_EQUAL(asked, 2);
	/* What the operator fixed must not be asked for: Linux would forget it. */
	neigh("192.0.2.254", NUD_PERMANENT, true);
	mirror_neighs_tick(neighs, NS_PER_S + 2 * MIRROR_USED_EVERY_NS);
	CU_ASSERT_EQUAL(asked, 2);
	neigh("192.0.2.254", NUD_STALE, true);
	mirror_neighs_tick(neighs, NS_PER_S + 3 * MIRROR_USED_EVERY_NS);
	CU_ASSERT_EQUAL(asked, 3);
	mirror_neighs_free(neighs);
}

static void test_neigh_resync(void)
{
	begin_neighs(4);
	neigh("192.0.2.9", NUD_REACHABLE, true);
	neigh("192.0.2.10", NUD_REACHABLE, true);
	mirror_neighs_resync(neighs);
	neigh("192.0.2.10", NUD_REACHABLE, true);
	mirror_neighs_resynced(neighs);
	CU_ASSERT_EQUAL(double_count(DOUBLE_NEIGH_DEL), 1);
	CU_ASSERT_EQUAL(double_call(DOUBLE_NEIGH_DEL, 0)->addr.bytes[3], 9);
	mirror_neighs_free(neighs);
}

static void test_neigh_full(void)
{
	struct mirror_neigh_stats stats;

	begin_neighs(2);
	neigh("192.0.2.9", NUD_REACHABLE, true);
	neigh("192.0.2.10", NUD_REACHABLE, true);
	neigh("192.0.2.11", NUD_REACHABLE, true);
	mirror_neighs_get_stats(neighs, &stats);
	CU_ASSERT_EQUAL(stats.known, 2);
	neigh("192.0.2.9", NUD_FAILED, true);
	neigh("192.0.2.11", NUD_REACHABLE, true);
	CU_ASSERT_EQUAL(double_count(DOUBLE_NEIGH_SET), 3);
	mirror_neighs_free(neighs);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"metrics", test_metrics},
		{"replaced", test_replaced},
		{"another interface's route goes", test_other_interfaces_route_goes},
		{"no room for routes", test_full},
		{"routes after a resync", test_route_resync},
		{"states", test_states},
		{"a group address is no neighbour", test_group_mac},
		{"packets wait", test_wait},
		{"bounds", test_bounds},
		{"failed and expired", test_failed_and_expired},
		{"used neighbours", test_used},
		{"neighbours after a resync", test_neigh_resync},
		{"no room for neighbours", test_neigh_full},
		{NULL, NULL},
	};

	return unit_run("gw/mirror", cases);
}
