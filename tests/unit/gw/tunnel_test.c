/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of nodes: what finds a node, and in which order handles are given out. */
#include "control/gw/tunnel.h"

#include "dataplane_double.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"

#include <errno.h>
#include <netinet/in.h>

#define MAX_NODES 130 /* more than two words of the map of used handles */
#define MANY_NODES 100000

static struct tunnels *tunnels;

static void begin_with(uint32_t max_nodes)
{
	memset(&dp_double, 0, sizeof dp_double);
	tunnels = tunnels_new(&(struct tunnel_config){.dp = DOUBLE_DP, .max_nodes = max_nodes});
	CU_ASSERT_PTR_NOT_NULL_FATAL(tunnels);
}

static void begin(void)
{
	begin_with(MAX_NODES);
}

static void end(void)
{
	for (struct tunnel *t; (t = tunnel_next(tunnels, 0)) != NULL; double_reset_calls())
		CU_ASSERT_EQUAL(tunnel_del(tunnels, t, false), 0);
	tunnels_free(tunnels);
	double_free_nodes();
}

static struct ip_addr home_of(uint32_t i)
{
	return ip_addr_from_v4(htonl(0x0a010000 + i));
}

/* The handle, or -errno. */
static int add_at(uint32_t i, const struct position *position)
{
	char name[16];
	const struct tunnel_params params = {
		.name = name, .home_address = home_of(i), .position = *position};
	struct tunnel *tunnel;
	int rc;

	snprintf(name, sizeof name, "node%u", i);
	rc = tunnel_add(tunnels, &params, &tunnel);
	return rc == 0 ? (int)tunnel->handle : rc;
}

static int add(uint32_t i)
{
	return add_at(i, &(struct position){.closed = true});
}

static int del(uint32_t handle)
{
	return tunnel_del(tunnels, tunnel_by_handle(tunnels, handle), true);
}

static void test_find(void)
{
	const struct ip_addr home = home_of(7), none = home_of(1000);

	begin();
	for (uint32_t i = 0; i < MAX_NODES; i++)
		CU_ASSERT_EQUAL(add(i), (int)i + 1);
	CU_ASSERT_EQUAL(add(MAX_NODES), -ENOSPC);
	CU_ASSERT_EQUAL(tunnels_count(tunnels), MAX_NODES);
	CU_ASSERT_EQUAL(tunnel_by_name(tunnels, "node7")->handle, 8);
	CU_ASSERT_PTR_EQUAL(
		tunnel_by_home_address(tunnels, &home), tunnel_by_name(tunnels, "node7"));
	CU_ASSERT_PTR_NULL(tunnel_by_name(tunnels, "node"));
	CU_ASSERT_PTR_NULL(tunnel_by_home_address(tunnels, &none));
	CU_ASSERT_PTR_NULL(tunnel_by_handle(tunnels, 0));
	CU_ASSERT_PTR_NULL(tunnel_by_handle(tunnels, MAX_NODES + 1));
	CU_ASSERT_PTR_NULL(tunnel_by_handle(tunnels, UINT32_MAX));
	CU_ASSERT_EQUAL(del(8), 0);
	CU_ASSERT_PTR_NULL(tunnel_by_name(tunnels, "node7"));
	CU_ASSERT_PTR_NULL(tunnel_by_home_address(tunnels, &home));
	CU_ASSERT_PTR_NULL(tunnel_by_handle(tunnels, 8));
	CU_ASSERT_EQUAL(add(6), -EEXIST);
	end();
}

/* A handle means another node as late as possible. */
static void test_order(void)
{
	begin();
	CU_ASSERT_EQUAL(add(0), 1);
	CU_ASSERT_EQUAL(add(1), 2);
	CU_ASSERT_EQUAL(del(1), 0);
	CU_ASSERT_EQUAL(add(0), 3); /* not 1 */
	for (uint32_t i = 3; i < MAX_NODES; i++)
		CU_ASSERT_EQUAL(add(i), (int)i + 1);
	CU_ASSERT_EQUAL(del(50), 0);
	CU_ASSERT_EQUAL(del(20), 0);
	CU_ASSERT_EQUAL(add(201), 1);
	CU_ASSERT_EQUAL(add(202), 50);
	CU_ASSERT_EQUAL(add(203), 20);
	CU_ASSERT_EQUAL(add(204), -ENOSPC);
	CU_ASSERT_EQUAL(del(20), 0);
	CU_ASSERT_EQUAL(add(204), 20);
	end();
}

static void test_next(void)
{
	static const uint32_t left[] = {2, 63, 64, 65, 128, 130};
	const struct tunnel *tunnel = NULL;
	uint32_t at = 0;

	begin();
	CU_ASSERT_PTR_NULL(tunnel_next(tunnels, 0));
	for (uint32_t i = 0; i < MAX_NODES; i++)
		CU_ASSERT_EQUAL(add(i), (int)i + 1);
	for (uint32_t handle = 1; handle <= MAX_NODES; handle++) {
		bool stays = false;

		for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
			stays |= left[i] == handle;
		if (!stays)
			CU_ASSERT_EQUAL(del(handle), 0);
	}
	for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
		tunnel = tunnel_next(tunnels, at);
		CU_ASSERT_PTR_NOT_NULL_FATAL(tunnel);
		CU_ASSERT_EQUAL(tunnel->handle, left[i]);
		at = tunnel->handle;
	}
	CU_ASSERT_PTR_NULL(tunnel_next(tunnels, at));
	CU_ASSERT_PTR_NULL(tunnel_next(tunnels, UINT32_MAX));
	end();
}

static struct position until(uint64_t ends_real_ns)
{
	return (struct position){.coa = home_of(1), .ends_real_ns = ends_real_ns};
}

/* Is handle the one that is over at that time, and none a moment before? 0: none is. */
static bool over_at(uint32_t handle, uint64_t now_ns)
{
	const struct tunnel *early = tunnel_over(tunnels, now_ns - 1);
	const struct tunnel *over = tunnel_over(tunnels, now_ns);

	return early == NULL && (over == NULL ? 0 : over->handle) == handle;
}

static void test_ends(void)
{
	const uint64_t real_ns = 1800000000 * NS_PER_S;
	struct position position = until(real_ns + 50 * NS_PER_S);
	struct tunnel *tunnel;

	begin();
	clock_set_test(100 * NS_PER_S, real_ns);
	CU_ASSERT_EQUAL(add_at(1, &position), 1);
	tunnel = tunnel_by_handle(tunnels, 1);
	clock_set_test(100 * NS_PER_S, real_ns + 1000 * NS_PER_S); /* a step of the wall clock */
	CU_ASSERT_EQUAL(tunnel_end(tunnels, tunnel), 150 * NS_PER_S);
	CU_ASSERT(over_at(1, 150 * NS_PER_S));
	clock_set_test(140 * NS_PER_S, real_ns);
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &position), 0); /* prolonged */
	CU_ASSERT(over_at(1, 190 * NS_PER_S));
	position.ends_real_ns = real_ns - 1;
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &position), 0); /* over already */
	CU_ASSERT(over_at(1, 140 * NS_PER_S));
	position.closed = true;
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &position), 0);
	CU_ASSERT(over_at(0, UINT64_MAX));
	position = until(POSITION_NEVER_ENDS);
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &position), 0);
	CU_ASSERT(over_at(0, UINT64_MAX));
	position = until(real_ns + NS_PER_S);
	dp_double.set_path_fails = -EAGAIN;
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &position), -EAGAIN);
	CU_ASSERT(over_at(0, UINT64_MAX)); /* nothing changed */
	dp_double.set_path_fails = 0;
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &position), 0);
	CU_ASSERT(over_at(1, 141 * NS_PER_S));
	CU_ASSERT_EQUAL(del(1), 0);
	CU_ASSERT(over_at(0, UINT64_MAX));
	clock_set_test(0, 0);
	end();
}

/* The one in the middle of many is found when it is over, not when its turn comes. */
static void test_ends_among_many(void)
{
	const uint64_t now_ns = NS_PER_S;

	begin_with(MANY_NODES);
	clock_set_test(now_ns, now_ns);
	for (uint32_t i = 0; i < MANY_NODES; i++, double_reset_calls()) {
		const struct position position = until(
			now_ns + (i == MANY_NODES / 2 ? 1 : 600 - i % 500) * NS_PER_S);

		CU_ASSERT_EQUAL(add_at(i, &position), (int)i + 1);
	}
	CU_ASSERT(over_at(MANY_NODES / 2 + 1, now_ns + NS_PER_S));
	clock_set_test(0, 0);
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"find", test_find},
		{"order of handles", test_order},
		{"next", test_next},
		{"ends", test_ends},
		{"ends among 100,000", test_ends_among_many},
		{NULL, NULL},
	};

	return unit_run("gw/tunnel", cases);
}
