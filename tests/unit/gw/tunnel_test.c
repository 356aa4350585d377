/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of nodes: what finds a node, and in which order handles are given out. */
#include "control/gw/tunnel.h"

#include "dataplane_double.h"
#include "tests/unit/lib/unit.h"

#include <errno.h>
#include <netinet/in.h>

#define MAX_NODES 130 /* more than two words of the map of used handles */

static struct tunnels *tunnels;

static void begin(void)
{
	memset(&dp_double, 0, sizeof dp_double);
	tunnels = tunnels_new(&(struct tunnel_config){.dp = DOUBLE_DP, .max_nodes = MAX_NODES});
	CU_ASSERT_PTR_NOT_NULL_FATAL(tunnels);
}

static void end(void)
{
	double_reset_calls();
	tunnels_free(tunnels);
	double_free_nodes();
}

static struct ip_addr home_of(uint32_t i)
{
	return ip_addr_from_v4(htonl(0x0a010000 + i));
}

/* The handle, or -errno. */
static int add(uint32_t i)
{
	char name[16];
	const struct tunnel_params params = {
		.name = name, .home_address = home_of(i), .position = {.closed = true}};
	struct tunnel *tunnel;
	int rc;

	snprintf(name, sizeof name, "node%u", i);
	rc = tunnel_add(tunnels, &params, &tunnel);
	return rc == 0 ? (int)tunnel->handle : rc;
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

int main(void)
{
	static const struct unit_case cases[] = {
		{"find", test_find},
		{"order of handles", test_order},
		{"next", test_next},
		{NULL, NULL},
	};

	return unit_run("gw/tunnel", cases);
}
