/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a store of one pointer adds an object or takes it out; readers see the chain with
 * it or without it. The array is made for as many objects as there may be and never grows.
 */
#include "dataplane/lookup.h"

#include "lib/hmac.h"

#include <rte_common.h>
#include <rte_malloc.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define CHAINS_MIN 64
#define CHAINS_MAX (UINT64_C(1) << 32) /* a hash has no more bits */

int lookup_new(struct lookup *lookup, uint64_t chains)
{
	const uint64_t n = RTE_MIN(
		rte_align64pow2(RTE_MAX(chains, (uint64_t)CHAINS_MIN)), CHAINS_MAX);

	*lookup = (struct lookup){.mask = n - 1};
	random_fill(&lookup->seed, sizeof lookup->seed);
	random_fill(&lookup->seed_v6, sizeof lookup->seed_v6);
	lookup->heads = rte_zmalloc("lookup", n * sizeof *lookup->heads, RTE_CACHE_LINE_SIZE);
	return lookup->heads == NULL ? -ENOMEM : 0;
}

void lookup_free(struct lookup *lookup)
{
	rte_free((void *)(uintptr_t)lookup->heads);
	*lookup = (struct lookup){0};
}

uint64_t lookup_number(const struct lookup *lookup, const struct ip_addr *addr)
{
	return addr->family == AF_INET6 ? lookup_number_v6(lookup, addr->bytes)
					: ip_addr_to_v4(addr);
}

static void insert(_Atomic(struct rcu_link *) *place, struct rcu_link *link)
{
	atomic_store_explicit(&link->next, atomic_load_explicit(place, memory_order_relaxed),
		memory_order_relaxed);
	/* Release pairs with the acquire in lookup_next(). */
	atomic_store_explicit(place, link, memory_order_release);
}

/* Where `link` hangs, or the end of the chain. */
static _Atomic(struct rcu_link *) *place_of(
	const struct lookup *lookup, uint64_t number, const struct rcu_link *link)
{
	_Atomic(struct rcu_link *) *place = lookup_head(lookup, number);
	struct rcu_link *at;

	while ((at = atomic_load_explicit(place, memory_order_relaxed)) != link && at != NULL)
		place = &at->next;
	return place;
}

void lookup_add_first(const struct lookup *lookup, uint64_t number, struct rcu_link *link)
{
	insert(lookup_head(lookup, number), link);
}

void lookup_add_last(const struct lookup *lookup, uint64_t number, struct rcu_link *link)
{
	insert(place_of(lookup, number, NULL), link);
}

void lookup_del(const struct lookup *lookup, uint64_t number, struct rcu_link *link)
{
	/* Release: what follows in the chain was published long ago, but not to every reader of
	 * this place. */
	atomic_store_explicit(place_of(lookup, number, link),
		atomic_load_explicit(&link->next, memory_order_relaxed), memory_order_release);
}
