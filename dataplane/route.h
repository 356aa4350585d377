/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ROUTE_H
#define DATAPLANE_ROUTE_H
/*
 * Routes as Linux has them: longest match gives a next hop on one of the two ports.
 *
 * Owner:    struct dataplane. Threads: route_lookup() is any worker's, the rest is control's.
 * Lifetime: a hop is valid until the worker's next quiescent state.
 * IPv6:     prefixes lie in a lookup.h table and the lengths that occur in a set of bits; a lookup
 *           asks for each of these lengths, longest first. 22.11's rte_lpm6 and rte_fib6 know no
 *           RCU, so a worker could be led astray while a route is set. Gateways have few lengths,
 *           and a burst's packets mostly go the same way.
 * Sources:  DPDK 22.11 programmer's guide, "LPM Library".
 */
#include "dataplane/lookup.h"
#include "dataplane/neigh.h"

#include <rte_lpm.h>

struct hop {
	/* const while linked */
	struct neigh *via; /* NULL: on link, the destination is the neighbour */
	uint8_t port;      /* enum dp_port */
	/* control only */
	bool filled; /* else the place is free */
	bool dying;  /* waits for its grace period */
	uint32_t routes;
};

#define HOP_NONE UINT32_MAX

#define ROUTE_V6_LENGTHS 129 /* 0..128 */
#define ROUTE_V6_WORDS 3

struct route_v6 {
	struct rcu_link link; /* first */
	/* const while linked */
	uint8_t prefix[16];
	uint8_t len;
	_Atomic(uint32_t) hop; /* RCU: index, HOP_NONE: none (any more) */
};

struct route_table {
	/* const after route_table_new() */
	struct rte_lpm *lpm;
	struct hop *hops;
	uint32_t n_hops;
	struct rcu *rcu;
	struct neigh_table *neighs;
	/* control only */
	uint32_t hops_high; /* places from here on were never used */
	/* RCU: index of the default route's hop, which rte_lpm cannot hold; HOP_NONE */
	_Atomic(uint32_t) default_hop;
	/* IPv6. const after route_table_new() */
	struct lookup prefixes_v6; /* struct route_v6 */
	uint32_t max_v6;
	/* control only */
	struct slab routes_v6;
	uint32_t n_v6, n_of_len[ROUTE_V6_LENGTHS];
	/* atomic: bit len % 64 of word len / 64: there is a prefix of that length */
	_Atomic(uint64_t) lens_v6[ROUTE_V6_WORDS];
};

int route_table_new(struct route_table *table, uint32_t max_routes, struct neigh_table *neighs,
	struct rcu *rcu) __attribute__((warn_unused_result));
void route_table_free(struct route_table *table);

/* via NULL or unset: on link; else of either family. -ENOSPC, -ENOMEM, -EINVAL (family). On error
 * the old route stays. */
int route_set(struct route_table *table, const struct ip_prefix *dst, enum dp_port port,
	const struct ip_addr *via) __attribute__((warn_unused_result));
/* -ENOENT. */
int route_del(struct route_table *table, const struct ip_prefix *dst);

/* NULL: no route. */
static inline const struct hop *route_lookup(const struct route_table *table, be32_t dst)
{
	uint32_t index;

	/* The hop was filled before rte_lpm published its index with a release store. */
	if (rte_lpm_lookup(table->lpm, __builtin_bswap32(dst), &index) == 0)
		return &table->hops[index];
	/* Acquire pairs with the release in set_default(). */
	index = atomic_load_explicit(&table->default_hop, memory_order_acquire);
	return index == HOP_NONE ? NULL : &table->hops[index];
}
/* dst: 16 bytes. */
const struct hop *route_lookup_v6(const struct route_table *table, const uint8_t *dst);
#endif
