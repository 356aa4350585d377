/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: rte_lpm maps an IPv4 prefix to the index of a hop, a chain of a lookup table an
 * IPv6 one. Hops are shared by routes with the
 * same gateway, never changed while reachable, and used again only after a grace period.
 */
#include "dataplane/route.h"

#include "lib/wire.h"

#include <rte_common.h>
#include <rte_malloc.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
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
	table->max_v6 = max_routes;
	slab_init(&table->routes_v6, sizeof(struct route_v6));
	if (table->hops == NULL || table->lpm == NULL ||
		lookup_new(&table->prefixes_v6, max_routes) != 0 ||
		rte_lpm_rcu_qsbr_add(table->lpm, &rcu_config) != 0) {
		route_table_free(table);
		return -ENOMEM;
	}
	return 0;
}

void route_table_free(struct route_table *table)
{
	rte_lpm_free(table->lpm);
	lookup_free(&table->prefixes_v6);
	slab_fini(&table->routes_v6);
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
	const bool on_link = via == NULL || !ip_addr_is_set(via);
	struct neigh *neigh = NULL;
	struct hop *hop;
	int ret;

	for (uint32_t i = 0; i < table->hops_high; i++) {
		hop = &table->hops[i];
		if (hop->filled && !hop->dying && hop->port == port &&
			(on_link ? hop->via == NULL
				 : hop->via != NULL && ip_addr_equal(&hop->via->addr, via))) {
			hop->routes++;
			*out = hop;
			return 0;
		}
	}
	hop = hop_place(table);
	if (hop == NULL)
		return -ENOSPC;
	if (!on_link) {
		ret = neigh_get(table->neighs, port, via, &neigh);
		if (ret != 0)
			return ret;
		neigh->routes++;
	}
	*hop = (struct hop){.via = neigh, .port = (uint8_t)port, .filled = true, .routes = 1};
	*out = hop;
	return 0;
}

/* --- IPv6 ---------------------------------------------------------------------------------------
 */

static uint64_t number_v6(const struct lookup *prefixes, const uint8_t *prefix, unsigned len)
{
	return lookup_number_v6(prefixes, prefix) + len;
}

static struct route_v6 *find_v6(
	const struct route_table *table, const uint8_t *prefix, unsigned len)
{
	struct rcu_link *link = lookup_next(
		lookup_head(&table->prefixes_v6, number_v6(&table->prefixes_v6, prefix, len)));

	for (; link != NULL; link = lookup_next(&link->next)) {
		struct route_v6 *route = LOOKUP_OBJECT(link, struct route_v6, link);

		if (route->len == len && memcmp(route->prefix, prefix, sizeof route->prefix) == 0)
			return route;
	}
	return NULL;
}

/* The first len bits of dst, the others 0. */
static void mask_v6(uint8_t out[16], const uint8_t *dst, unsigned len)
{
	const uint64_t high = len >= 64 ? ~UINT64_C(0) : ~(~UINT64_C(0) >> len);
	const uint64_t low = len <= 64    ? 0
			     : len == 128 ? ~UINT64_C(0)
					  : ~(~UINT64_C(0) >> (len - 64));

	wire_store_u64(out, wire_load_u64(dst) & high);
	wire_store_u64(out + 8, wire_load_u64(dst + 8) & low);
}

const struct hop *route_lookup_v6(const struct route_table *table, const uint8_t *dst)
{
	for (unsigned word = ROUTE_V6_WORDS; word-- != 0;) {
		uint64_t lens = atomic_load_explicit(&table->lens_v6[word], memory_order_relaxed);

		while (lens != 0) {
			const unsigned bit = 63u - (unsigned)__builtin_clzll(lens);
			const struct route_v6 *route;
			uint8_t prefix[16];
			uint32_t index;

			mask_v6(prefix, dst, word * 64 + bit);
			route = find_v6(table, prefix, word * 64 + bit);
			/* Acquire pairs with the release in publish_v6(). */
			index = route == NULL
					? HOP_NONE
					: atomic_load_explicit(&route->hop, memory_order_acquire);
			if (index != HOP_NONE)
				return &table->hops[index];
			lens &= ~(UINT64_C(1) << bit);
		}
	}
	return NULL;
}

static void count_len(struct route_table *table, unsigned len, int step)
{
	const uint64_t bit = UINT64_C(1) << len % 64;

	table->n_v6 += (uint32_t)step;
	table->n_of_len[len] += (uint32_t)step;
	/* Relaxed: with the bit and without its route, or the other way round, a worker finds what
	 * it would have found a moment ago. */
	if (table->n_of_len[len] != 0)
		atomic_fetch_or_explicit(&table->lens_v6[len / 64], bit, memory_order_relaxed);
	else
		atomic_fetch_and_explicit(&table->lens_v6[len / 64], ~bit, memory_order_relaxed);
}

static int publish_v6(struct route_table *table, const struct ip_prefix *dst, uint32_t index)
{
	struct route_v6 *route = find_v6(table, dst->addr.bytes, dst->len);

	if (route != NULL) {
		/* Release pairs with the acquire in route_lookup_v6(). */
		atomic_store_explicit(&route->hop, index, memory_order_release);
		return 0;
	}
	if (table->n_v6 == table->max_v6)
		return -ENOSPC;
	route = slab_alloc(&table->routes_v6);
	if (route == NULL)
		return -ENOMEM;
	memcpy(route->prefix, dst->addr.bytes, sizeof route->prefix);
	route->len = dst->len;
	atomic_store_explicit(&route->hop, index, memory_order_relaxed);
	lookup_add_first(&table->prefixes_v6,
		number_v6(&table->prefixes_v6, route->prefix, route->len), &route->link);
	count_len(table, dst->len, 1);
	return 0;
}

static void free_route_v6(void *owner, void *object, bool flag)
{
	(void)flag;
	slab_free(owner, object);
}

/* A route for which the retire list has no room stays parked, without a hop, until its prefix comes
 * again. */
static void unlink_v6(struct route_table *table, const struct ip_prefix *dst)
{
	struct route_v6 *route = find_v6(table, dst->addr.bytes, dst->len);

	atomic_store_explicit(&route->hop, HOP_NONE, memory_order_relaxed);
	if (rcu_room(table->rcu, 1) == 0)
		return;
	lookup_del(&table->prefixes_v6, number_v6(&table->prefixes_v6, route->prefix, route->len),
		&route->link);
	count_len(table, dst->len, -1);
	rcu_retire(table->rcu, free_route_v6, &table->routes_v6, route, false);
}

/* --- both families ------------------------------------------------------------------------------
 */

/* The hop of an existing route to exactly this prefix, or NULL. */
static struct hop *hop_of(const struct route_table *table, const struct ip_prefix *dst)
{
	uint32_t index;

	if (dst->addr.family == AF_INET6) {
		const struct route_v6 *route = find_v6(table, dst->addr.bytes, dst->len);

		index = route == NULL ? HOP_NONE
				      : atomic_load_explicit(&route->hop, memory_order_relaxed);
		return index == HOP_NONE ? NULL : &table->hops[index];
	}
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
	if (dst->addr.family == AF_INET6)
		return publish_v6(table, dst, index);
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
	struct hop *old, *hop;
	int ret;

	if (!ip_addr_is_set(&dst->addr))
		return -EINVAL;
	old = hop_of(table, dst);
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

	if (!ip_addr_is_set(&dst->addr))
		return -EINVAL;
	hop = hop_of(table, dst);
	if (hop == NULL)
		return -ENOENT;
	if (dst->addr.family == AF_INET6)
		unlink_v6(table, dst);
	else if (dst->len == 0)
		atomic_store_explicit(&table->default_hop, HOP_NONE, memory_order_relaxed);
	else
		rte_lpm_delete(table->lpm, be32toh(ip_addr_to_v4(&dst->addr)), dst->len);
	hop_put(table, hop);
	return 0;
}
