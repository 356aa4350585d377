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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOOKUP_BURST_MAX 32 /* keys */

struct lookup {
	/* const after lookup_new() */
	_Atomic(struct rcu_link *) *heads; /* RCU */
	uint64_t mask, seed, seed_v6;
};

/* At least `chains` of them. 0 or -ENOMEM. */
int lookup_new(struct lookup *lookup, uint64_t chains) __attribute__((warn_unused_result));
void lookup_free(struct lookup *lookup); /* also of zeros */

/* An address as a number; that of an IPv4 address is the address in network order. */
uint64_t lookup_number(const struct lookup *lookup, const struct ip_addr *addr);

/* Both halves count, under seeds of their own: who may choose addresses cannot choose numbers. */
static inline uint64_t lookup_number_v6(const struct lookup *lookup, const uint8_t *addr)
{
	__extension__ typedef unsigned __int128 wide;
	uint64_t halves[2];
	wide product;

	memcpy(halves, addr, sizeof halves);
	product = (wide)(halves[0] ^ lookup->seed) * (halves[1] ^ lookup->seed_v6);
	return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/* An address as workers ask for it. */
struct lookup_addr {
	uint64_t number;
	const uint8_t *v6; /* its 16 bytes; NULL: IPv4, and the number is the address */
};

static inline bool lookup_addr_is(const struct lookup_addr *asked, const struct ip_addr *addr)
{
	be32_t v4;

	if (__builtin_expect(asked->v6 != NULL, 0))
		return addr->family == AF_INET6 &&
		       memcmp(asked->v6, addr->bytes, sizeof addr->bytes) == 0;
	memcpy(&v4, addr->bytes, sizeof v4);
	return addr->family == AF_INET && v4 == asked->number;
}

/* The same question as before? */
static inline bool lookup_addr_same(const struct lookup_addr *a, const struct lookup_addr *b)
{
	return a->number == b->number && a->v6 == NULL && b->v6 == NULL;
}

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
