/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_NEIGH_H
#define DATAPLANE_NEIGH_H
/*
 * Neighbours: the MAC for an address on a port, as Linux resolved it.
 *
 * Owner:    struct dataplane. Threads: neigh_lookup(), neigh_mac() and neigh_touch() are any
 *           worker's; the rest is control's. A changed MAC is one store.
 * Lifetime: an entry lives as long as it has a MAC or a route goes by it, then a grace period.
 */
#include "dataplane/dataplane.h"
#include "dataplane/rcu.h"
#include "dataplane/slab.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NEIGH_KNOWN (UINT64_C(1) << 63)

struct neigh {
	_Atomic(uint64_t) mac; /* NEIGH_KNOWN | 48 bits, first byte lowest; 0: not resolved */
	_Atomic(bool) used;    /* workers set, control clears */
	/* const after it is linked */
	uint8_t port; /* enum dp_port */
	struct ip_addr addr;
	/* control only */
	uint32_t routes;
	struct neigh *prev, *next;
};

struct neigh_table {
	/* const after neigh_table_new() */
	struct rte_hash *table;
	struct rcu *rcu;
	uint32_t capacity;
	/* control only */
	struct slab entries;
	struct neigh *all;
	uint32_t n;
};

int neigh_table_new(struct neigh_table *table, uint32_t capacity, struct rcu *rcu)
	__attribute__((warn_unused_result));
void neigh_table_free(struct neigh_table *table);

/* The entry, made without a MAC if there is none. -ENOSPC, -ENOMEM. */
int neigh_get(struct neigh_table *table, enum dp_port port, const struct ip_addr *addr,
	struct neigh **out) __attribute__((warn_unused_result));
/* For an entry that may have become useless: without MAC and without routes. */
void neigh_put(struct neigh_table *table, struct neigh *neigh);
int neigh_set(struct neigh_table *table, enum dp_port port, const struct ip_addr *addr,
	const uint8_t mac[6]) __attribute__((warn_unused_result));
/* -ENOENT. */
int neigh_del(struct neigh_table *table, enum dp_port port, const struct ip_addr *addr);
void neigh_each_used(struct neigh_table *table, dp_neigh_used_fn *fn, void *arg);

/* NULL: never heard of. */
struct neigh *neigh_lookup(const struct neigh_table *table, enum dp_port port, be32_t addr);
struct neigh *neigh_lookup_v6(
	const struct neigh_table *table, enum dp_port port, const uint8_t *addr);
struct neigh *neigh_lookup_addr(
	const struct neigh_table *table, enum dp_port port, const struct ip_addr *addr);

/* False: not resolved. */
static inline bool neigh_mac(const struct neigh *neigh, uint8_t mac[6])
{
	/* Relaxed: the value is all there is. */
	uint64_t value = atomic_load_explicit(&neigh->mac, memory_order_relaxed);

	memcpy(mac, &value, 6);
	return (value & NEIGH_KNOWN) != 0;
}

/* Written only when it changes, so that the line stays shared among workers. */
static inline void neigh_touch(struct neigh *neigh)
{
	if (!atomic_load_explicit(&neigh->used, memory_order_relaxed))
		atomic_store_explicit(&neigh->used, true, memory_order_relaxed);
}
#endif
