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
	return hop->port == port && hop->via_addr == (via == NULL ? 0 : v4(via)) &&
	       (hop->via == NULL) == (via == NULL);
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
	struct ip_prefix six = rig_prefix("2001:db8::/32");

	CU_ASSERT(set("172.16.0.0/12", DP_INSIDE, "10.2.0.1") == 0);
	CU_ASSERT(set("172.16.0.0/12", DP_OUTSIDE, NULL) == 0);
	CU_ASSERT(goes("172.16.1.1", DP_OUTSIDE, NULL));
	CU_ASSERT(del("172.16.0.0/12") == 0);
	CU_ASSERT(goes("172.16.1.1", DP_OUTSIDE, "192.0.2.254"));
	CU_ASSERT(dataplane_route_set(rig.dp, &six, DP_INSIDE, NULL) == -EINVAL);
	CU_ASSERT(dataplane_route_del(rig.dp, &six) == -EINVAL);
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
	CU_ASSERT(first->via_addr == v4("10.2.0.77")); /* a worker may still hold it */
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

int main(void)
{
	static const struct unit_case cases[] = {
		{"longest match", test_longest_match},
		{"default route", test_default_route},
		{"replace and refuse", test_replace_and_refuse},
		{"hops come back", test_hops_come_back},
		{"table full", test_table_full},
		{"neighbours", test_neighbours},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	rcu_online(&rig.dp->rcu, 0);
	ret = unit_run("dataplane: route", cases);
	rig_close(&rig);
	return ret;
}
