/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: rte_lpm maps a prefix to the index of a hop. Hops are shared by routes with the
 * same gateway, never changed while reachable, and used again only after a grace period.
 */
#include "dataplane/route.h"

#include <rte_common.h>
#include <rte_malloc.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define TBL8_MIN 64
#define TBL8_MAX 65536      /* groups of 1 KB; one for each /24 that has longer prefixes */
#define HOPS_SPARE 64       /* hops that wait for their grace period beside a full table */
#define HOPS_MAX (1u << 23) /* rte_lpm's next hop has 24 bits */

int route_table_new(
	struct route_table *table, uint32_t max_routes, struct neigh_table *neighs, struct rcu *rcu)
{
	static unsigned instance; /* control thread only; rte_lpm finds tables by name */
	struct rte_lpm_config config = {
		.max_rules = max_routes,
		.number_tbl8s = RTE_MIN(
			RTE_MAX(max_routes, (uint32_t)TBL8_MIN), (uint32_t)TBL8_MAX),
	};
	struct rte_lpm_rcu_config rcu_config = {.v = rcu->qsbr, .mode = RTE_LPM_QSBR_MODE_DQ};
	char name[RTE_LPM_NAMESIZE];

	*table = (struct route_table){.rcu = rcu, .neighs = neighs, .default_hop = HOP_NONE};
	table->n_hops = RTE_MIN(max_routes + HOPS_SPARE, HOPS_MAX);
	table->hops = rte_zmalloc("hops", table->n_hops * sizeof *table->hops, 0);
	snprintf(name, sizeof name, "routes%u", instance++);
	table->lpm = rte_lpm_create(name, SOCKET_ID_ANY, &config);
	if (table->hops == NULL || table->lpm == NULL ||
		rte_lpm_rcu_qsbr_add(table->lpm, &rcu_config) != 0) {
		route_table_free(table);
		return -ENOMEM;
	}
	return 0;
}

void route_table_free(struct route_table *table)
{
	rte_lpm_free(table->lpm);
	rte_free(table->hops);
	*table = (struct route_table){.default_hop = HOP_NONE};
}

static void free_hop(void *owner, void *object, bool flag)
{
	struct hop *hop = object;

	(void)flag;
	if (hop->via != NULL) {
		hop->via->routes--;
		neigh_put(owner, hop->via);
	}
	*hop = (struct hop){0};
}

/* A hop for which the retire list has no room stays parked: filled, without routes. It may serve
 * the next route by the same gateway, or go when places run out. */
static void hop_retire(struct route_table *table, struct hop *hop)
{
	if (rcu_room(table->rcu, 1) == 0)
		return;
	rcu_retire(table->rcu, free_hop, table->neighs, hop, false);
	hop->dying = true;
}

static void hop_put(struct route_table *table, struct hop *hop)
{
	if (--hop->routes == 0)
		hop_retire(table, hop);
}

static struct hop *hop_place(struct route_table *table)
{
	for (uint32_t i = 0; i < table->hops_high; i++)
		if (!table->hops[i].filled)
			return &table->hops[i];
	if (table->hops_high < table->n_hops)
		return &table->hops[table->hops_high++];
	for (uint32_t i = 0; i < table->n_hops; i++)
		if (table->hops[i].routes == 0 && !table->hops[i].dying)
			hop_retire(table, &table->hops[i]);
	return NULL; /* what was parked is free after a grace period */
}

static int hop_get(
	struct route_table *table, enum dp_port port, const struct ip_addr *via, struct hop **out)
{
	be32_t via_addr = via == NULL ? 0 : ip_addr_to_v4(via);
	struct neigh *neigh = NULL;
	struct hop *hop;
	int ret;

	for (uint32_t i = 0; i < table->hops_high; i++) {
		hop = &table->hops[i];
		if (hop->filled && !hop->dying && hop->port == port && hop->via_addr == via_addr) {
			hop->routes++;
			*out = hop;
			return 0;
		}
	}
	hop = hop_place(table);
	if (hop == NULL)
		return -ENOSPC;
	if (via_addr != 0) {
		ret = neigh_get(table->neighs, port, via, &neigh);
		if (ret != 0)
			return ret;
		neigh->routes++;
	}
	*hop = (struct hop){.via = neigh,
		.via_addr = via_addr,
		.port = (uint8_t)port,
		.filled = true,
		.routes = 1};
	*out = hop;
	return 0;
}

/* The hop of an existing route to exactly this prefix, or NULL. */
static struct hop *hop_of(const struct route_table *table, const struct ip_prefix *dst)
{
	uint32_t index;

	if (dst->len == 0) {
		index = atomic_load_explicit(&table->default_hop, memory_order_relaxed);
		return index == HOP_NONE ? NULL : &table->hops[index];
	}
	if (rte_lpm_is_rule_present(
		    table->lpm, be32toh(ip_addr_to_v4(&dst->addr)), dst->len, &index) != 1)
		return NULL;
	return &table->hops[index];
}

static int publish(struct route_table *table, const struct ip_prefix *dst, uint32_t index)
{
	if (dst->len == 0) {
		/* Release pairs with the acquire in route_lookup(). */
		atomic_store_explicit(&table->default_hop, index, memory_order_release);
		return 0;
	}
	return rte_lpm_add(table->lpm, be32toh(ip_addr_to_v4(&dst->addr)), dst->len, index);
}

int route_set(struct route_table *table, const struct ip_prefix *dst, enum dp_port port,
	const struct ip_addr *via)
{
	struct hop *old = hop_of(table, dst);
	struct hop *hop;
	int ret;

	if (dst->addr.family != AF_INET || (via != NULL && via->family == AF_INET6))
		return -EINVAL;
	ret = hop_get(table, port, via, &hop);
	if (ret != 0)
		return ret;
	ret = publish(table, dst, (uint32_t)(hop - table->hops));
	if (ret != 0) {
		hop_put(table, hop);
		return ret;
	}
	if (old != NULL)
		hop_put(table, old);
	return 0;
}

int route_del(struct route_table *table, const struct ip_prefix *dst)
{
	struct hop *hop;

	if (dst->addr.family != AF_INET)
		return -EINVAL;
	hop = hop_of(table, dst);
	if (hop == NULL)
		return -ENOENT;
	if (dst->len == 0)
		atomic_store_explicit(&table->default_hop, HOP_NONE, memory_order_relaxed);
	else
		rte_lpm_delete(table->lpm, be32toh(ip_addr_to_v4(&dst->addr)), dst->len);
	hop_put(table, hop);
	return 0;
}
