/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_LOOKUP_H
#define DATAPLANE_LOOKUP_H
/*
 * Finds objects by a number, without locks: an array of chains whose links lie in the objects. A
 * burst asks for all heads, then for all objects, then compares: two waits for memory, the second
 * of which the object would cost anyway. With rte_hash there were three, for 60 to 300 bytes an
 * object instead of 8 to 24.
 *
 * Owner:    the module that made it; objects are the caller's. Threads: one writer (control), any
 *           number of readers. What a reader finds is valid until its next quiescent state.
 * Lifetime: lookup_del() unlinks; the caller frees after a grace period.
 * Numbers need not be unique: the caller compares keys along the chain. The hash is seeded at
 * random, so that nobody outside can aim at one chain.
 */
#include "dataplane/esp/link.h"
#include "lib/inet.h"

#include <stddef.h>
#include <stdint.h>

#define LOOKUP_BURST_MAX 32 /* keys */

struct lookup {
	/* const after lookup_new() */
	_Atomic(struct rcu_link *) *heads; /* RCU */
	uint64_t mask, seed;
};

/* At least `chains` of them. 0 or -ENOMEM. */
int lookup_new(struct lookup *lookup, uint64_t chains) __attribute__((warn_unused_result));
void lookup_free(struct lookup *lookup); /* also of zeros */

/* An address as a number; that of an IPv4 address is the address in network order. */
uint64_t lookup_number(const struct ip_addr *addr);

static inline _Atomic(struct rcu_link *) *lookup_head(const struct lookup *lookup, uint64_t number)
{
	/* Multiply and fold twice (odd constants of splitmix64), so that every bit counts. */
	uint64_t hash = (number ^ lookup->seed) * UINT64_C(0xbf58476d1ce4e5b9);

	hash = (hash ^ hash >> 32) * UINT64_C(0x94d049bb133111eb);
	return &lookup->heads[hash >> 32 & lookup->mask];
}

static inline struct rcu_link *lookup_next(const _Atomic(struct rcu_link *) *place)
{
	/* Acquire pairs with the release in lookup_add_*(): the object is whole. */
	return atomic_load_explicit(place, memory_order_acquire);
}

/* first: found before those that stand in the chain by now; last: after them. */
void lookup_add_first(const struct lookup *lookup, uint64_t number, struct rcu_link *link);
void lookup_add_last(const struct lookup *lookup, uint64_t number, struct rcu_link *link);
void lookup_del(const struct lookup *lookup, uint64_t number, struct rcu_link *link);

#define LOOKUP_OBJECT(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))
#endif
