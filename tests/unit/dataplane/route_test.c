/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: routes and neighbours come and go as netlink would say, lookups tell what is in
 * force. Expected answers are worked out by hand in the rows.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include <errno.h>

static struct rig rig;

static be32_t v4(const char *text)
{
	struct ip_addr addr = rig_addr(text);

	return ip_addr_to_v4(&addr);
}

static int set(const char *dst, enum dp_port port, const char *via)
{
	struct ip_prefix prefix = rig_prefix(dst);
	struct ip_addr gateway = {.family = 0};

	if (via != NULL)
		gateway = rig_addr(via);
	return dataplane_route_set(rig.dp, &prefix, port, &gateway);
}

static int del(const char *dst)
{
	struct ip_prefix prefix = rig_prefix(dst);

	return dataplane_route_del(rig.dp, &prefix);
}

/* via NULL: on link; port DP_PORTS: no route. */
static bool goes(const char *dst, enum dp_port port, const char *via)
{
	const struct hop *hop = route_lookup(&rig.dp->routes, v4(dst));

	if (hop == NULL || port == DP_PORTS)
		return hop == NULL && port == DP_PORTS;
	return hop->port == port &&
	       (hop->via == NULL ? via == NULL
				 : via != NULL && ip_addr_to_v4(&hop->via->addr) == v4(via)) &&
	       (hop->via == NULL) == (via == NULL);
}

static bool goes_v6(const char *dst, enum dp_port port, const char *via)
{
	struct ip_addr addr = rig_addr(dst), gateway;
	const struct hop *hop = route_lookup_v6(&rig.dp->routes, addr.bytes);

	if (hop == NULL || port == DP_PORTS)
		return hop == NULL && port == DP_PORTS;
	if (hop->port != port || via == NULL || hop->via == NULL)
		return hop->port == port && via == NULL && hop->via == NULL;
	gateway = rig_addr(via);
	return ip_addr_equal(&hop->via->addr, &gateway);
}

static void settle(void)
{
	for (unsigned i = 0; i < 4; i++)
		rig_turn(&rig);
}

static void test_longest_match(void)
{
	CU_ASSERT(goes("8.8.8.8", DP_OUTSIDE, "192.0.2.254"));
	CU_ASSERT(goes("192.0.2.9", DP_OUTSIDE, NULL));
	CU_ASSERT(goes("10.1.3.4", DP_INSIDE, "10.2.0.1"));
	CU_ASSERT(set("10.1.3.0/24", DP_INSIDE, "10.2.0.7") == 0);
	CU_ASSERT(set("10.1.3.4/32", DP_INSIDE, NULL) == 0);
	CU_ASSERT(goes("10.1.3.4", DP_INSIDE, NULL));
	CU_ASSERT(goes("10.1.3.5", DP_INSIDE, "10.2.0.7"));
	CU_ASSERT(goes("10.1.4.4", DP_INSIDE, "10.2.0.1"));
	CU_ASSERT(del("10.1.3.4/32") == 0);
	CU_ASSERT(goes("10.1.3.4", DP_INSIDE, "10.2.0.7"));
	CU_ASSERT(del("10.1.3.0/24") == 0);
	CU_ASSERT(goes("10.1.3.4", DP_INSIDE, "10.2.0.1"));
	CU_ASSERT(del("10.1.3.0/24") == -ENOENT);
}

static void test_default_route(void)
{
	CU_ASSERT(del("0.0.0.0/0") == 0);
	CU_ASSERT(goes("8.8.8.8", DP_PORTS, NULL));
	CU_ASSERT(del("0.0.0.0/0") == -ENOENT);
	CU_ASSERT(goes("10.1.3.4", DP_INSIDE, "10.2.0.1"));
	CU_ASSERT(set("0.0.0.0/0", DP_OUTSIDE, "192.0.2.253") == 0);
	CU_ASSERT(goes("8.8.8.8", DP_OUTSIDE, "192.0.2.253"));
	CU_ASSERT(set("0.0.0.0/0", DP_OUTSIDE, "192.0.2.254") == 0);
	CU_ASSERT(goes("8.8.8.8", DP_OUTSIDE, "192.0.2.254"));
}

static void test_replace_and_refuse(void)
{
	struct ip_prefix unset = {.len = 0};

	CU_ASSERT(set("172.16.0.0/12", DP_INSIDE, "10.2.0.1") == 0);
	CU_ASSERT(set("172.16.0.0/12", DP_OUTSIDE, NULL) == 0);
	CU_ASSERT(goes("172.16.1.1", DP_OUTSIDE, NULL));
	CU_ASSERT(del("172.16.0.0/12") == 0);
	CU_ASSERT(goes("172.16.1.1", DP_OUTSIDE, "192.0.2.254"));
	CU_ASSERT(dataplane_route_set(rig.dp, &unset, DP_INSIDE, NULL) == -EINVAL);
	CU_ASSERT(dataplane_route_del(rig.dp, &unset) == -EINVAL);
}

/* Hops are shared, and used again only after a grace period. */
static void test_hops_come_back(void)
{
	const struct hop *first, *again;
	char dst[32], via[32];

	CU_ASSERT(set("172.16.1.0/24", DP_INSIDE, "10.2.0.77") == 0);
	CU_ASSERT(set("172.16.2.0/24", DP_INSIDE, "10.2.0.77") == 0);
	first = route_lookup(&rig.dp->routes, v4("172.16.1.1"));
	CU_ASSERT(route_lookup(&rig.dp->routes, v4("172.16.2.1")) == first);
	CU_ASSERT(del("172.16.1.0/24") == 0 && del("172.16.2.0/24") == 0);
	CU_ASSERT(ip_addr_to_v4(&first->via->addr) ==
		  v4("10.2.0.77")); /* a worker may still hold it */
	CU_ASSERT(set("172.16.3.0/24", DP_INSIDE, "10.2.0.78") == 0);
	again = route_lookup(&rig.dp->routes, v4("172.16.3.1"));
	CU_ASSERT(again != first);
	settle();
	CU_ASSERT(!first->filled);
	CU_ASSERT(del("172.16.3.0/24") == 0);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(dst, sizeof dst, "172.17.%u.0/24", i % 200);
		snprintf(via, sizeof via, "10.2.0.%u", 100 + i % 100);
		CU_ASSERT(set(dst, DP_INSIDE, via) == 0);
		CU_ASSERT(del(dst) == 0);
		settle();
	}
	CU_ASSERT(rig.dp->neighs.n == 3); /* the rig's own */
}

static void test_table_full(void)
{
	char dst[32];
	unsigned added = 0;
	int ret = 0;

	for (; added < 1000 && ret == 0; added += ret == 0) {
		snprintf(dst, sizeof dst, "172.18.%u.0/24", added);
		ret = set(dst, DP_INSIDE, "10.2.0.1");
	}
	CU_ASSERT(ret == -ENOSPC);
	CU_ASSERT(added == 64 - 3); /* the default route is beside the table */
	snprintf(dst, sizeof dst, "172.18.%u.1", added);
	CU_ASSERT(goes(dst, DP_OUTSIDE, "192.0.2.254"));
	while (added-- > 0) {
		snprintf(dst, sizeof dst, "172.18.%u.0/24", added);
		CU_ASSERT(del(dst) == 0);
	}
	settle();
}

static void test_neighbours(void)
{
	static const uint8_t one[6] = {2, 0, 0, 0, 0, 1}, two[6] = {2, 0, 0, 0, 0, 2};
	struct ip_addr addr = rig_addr("10.2.0.50");
	struct neigh *neigh;
	uint8_t mac[6];
	unsigned added = 0;
	int ret = 0;

	CU_ASSERT(neigh_lookup(&rig.dp->neighs, DP_INSIDE, v4("10.2.0.50")) == NULL);
	CU_ASSERT(dataplane_neigh_set(rig.dp, DP_INSIDE, &addr, one) == 0);
	neigh = neigh_lookup(&rig.dp->neighs, DP_INSIDE, v4("10.2.0.50"));
	CU_ASSERT_FATAL(neigh != NULL);
	CU_ASSERT(neigh_mac(neigh, mac) && memcmp(mac, one, 6) == 0);
	CU_ASSERT(neigh_lookup(&rig.dp->neighs, DP_OUTSIDE, v4("10.2.0.50")) == NULL);
	CU_ASSERT(dataplane_neigh_set(rig.dp, DP_INSIDE, &addr, two) == 0);
	CU_ASSERT(neigh_mac(neigh, mac) && memcmp(mac, two, 6) == 0);
	CU_ASSERT(dataplane_neigh_del(rig.dp, DP_INSIDE, &addr) == 0);
	CU_ASSERT(!neigh_mac(neigh, mac)); /* at once, for whoever still holds it */
	settle();
	CU_ASSERT(neigh_lookup(&rig.dp->neighs, DP_INSIDE, v4("10.2.0.50")) == NULL);

	for (; added < 1000 && ret == 0; added += ret == 0) {
		char text[32];

		snprintf(text, sizeof text, "10.2.1.%u", added);
		addr = rig_addr(text);
		ret = dataplane_neigh_set(rig.dp, DP_INSIDE, &addr, one);
	}
	CU_ASSERT(ret == -ENOSPC);
	CU_ASSERT(added == 64 - 3);
	while (added-- > 0) {
		char text[32];

		snprintf(text, sizeof text, "10.2.1.%u", added);
		addr = rig_addr(text);
		CU_ASSERT(dataplane_neigh_del(rig.dp, DP_INSIDE, &addr) == 0);
	}
	settle();
	CU_ASSERT(rig.dp->neighs.n == 3);
}

static void test_longest_match_v6(void)
{
	static const struct {
		const char *dst;
		enum dp_port port;
		const char *via;
	} routes[] = {
		{"::/0", DP_OUTSIDE, "2001:db8:1::fe"},
		{"2000::/3", DP_OUTSIDE, "fe80::1"},
		{"2001:db8::/32", DP_INSIDE, "2001:db8:2::1"},
		{"2001:db8:0:1::/64", DP_INSIDE, NULL},
		{"2001:db8:0:1:8000::/65", DP_OUTSIDE, NULL},
		{"2001:db8:0:1::7/128", DP_INSIDE, "10.2.0.1"},
	};
	static const struct {
		const char *dst;
		int routes[3]; /* that it matches, longest first, as indices; -1: no more */
	} rows[] = {
		{"4000::1", {0, -1}},
		{"fc00::1", {0, -1}},
		{"2001:db9::1", {1, 0, -1}},
		{"3fff:ffff::", {1, 0, -1}},
		{"2001:db8:ffff::1", {2, 1, 0}},
		{"2001:db8:0:2::7", {2, 1, 0}},
		{"2001:db8:0:1:7fff:ffff:ffff:ffff", {3, 2, 1}},
		{"2001:db8:0:1::8", {3, 2, 1}},
		{"2001:db8:0:1:8000::", {4, 3, 2}},
		{"2001:db8:0:1::7", {5, 3, 2}},
	};

	for (unsigned i = 0; i < RTE_DIM(routes); i++)
		CU_ASSERT(set(routes[i].dst, routes[i].port, routes[i].via) == 0);
	/* Each row's routes go, one after the other, and come back. */
	for (unsigned i = 0; i < RTE_DIM(rows); i++) {
		for (unsigned k = 0; k < 3 && rows[i].routes[k] >= 0; k++) {
			const unsigned at = (unsigned)rows[i].routes[k];

			CHECK_ROW(
				rows[i].dst, goes_v6(rows[i].dst, routes[at].port, routes[at].via));
			CHECK_ROW(rows[i].dst, del(routes[at].dst) == 0);
			CHECK_ROW(rows[i].dst, del(routes[at].dst) == -ENOENT);
		}
		for (unsigned k = 0; k < 3 && rows[i].routes[k] >= 0; k++) {
			const unsigned at = (unsigned)rows[i].routes[k];

			CU_ASSERT(set(routes[at].dst, routes[at].port, routes[at].via) == 0);
		}
		settle();
	}
	/* Replaced in place. */
	CU_ASSERT(set("2001:db8:0:1::7/128", DP_OUTSIDE, NULL) == 0);
	CU_ASSERT(goes_v6("2001:db8:0:1::7", DP_OUTSIDE, NULL));
	for (unsigned i = 0; i < RTE_DIM(routes); i++)
		CU_ASSERT(del(routes[i].dst) == 0);
	settle();
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		CHECK_ROW(rows[i].dst, goes_v6(rows[i].dst, DP_PORTS, NULL));
	CU_ASSERT(rig.dp->routes.n_v6 == 0);
}

static void test_table_full_v6(void)
{
	char text[64];
	unsigned added = 0;

	for (;; added++) {
		snprintf(text, sizeof text, "2001:db8:%x::/48", added);
		if (set(text, DP_INSIDE, NULL) != 0)
			break;
	}
	CU_ASSERT(added == 64);
	while (added-- > 0) {
		snprintf(text, sizeof text, "2001:db8:%x::/48", added);
		CU_ASSERT(goes_v6("2001:db8::1", DP_INSIDE, NULL));
		CU_ASSERT(del(text) == 0);
	}
	settle();
	CU_ASSERT(goes_v6("2001:db8::1", DP_PORTS, NULL));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"longest match", test_longest_match},
		{"default route", test_default_route},
		{"replace and refuse", test_replace_and_refuse},
		{"hops come back", test_hops_come_back},
		{"table full", test_table_full},
		{"neighbours", test_neighbours},
		{"longest match, IPv6", test_longest_match_v6},
		{"table full, IPv6", test_table_full_v6},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	rcu_online(&rig.dp->rcu, 0);
	ret = unit_run("dataplane: route", cases);
	rig_close(&rig);
	return ret;
}
