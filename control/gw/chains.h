/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_CHAINS_H
#define CONTROL_GW_CHAINS_H
/*
 * Finds objects by a key that lies in them: an array of chains, the links in the objects. The
 * array is made for as many objects as there may be and never grows, so that no single step takes
 * longer than the others, and an object costs one pointer and its share of the array.
 *
 * Owner:    whoever made it; objects are the caller's. Threads: one at a time.
 * The hash is seeded at random, so that nobody outside can aim at one chain. Keys are compared by
 * the caller: every object of a chain is a candidate.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chain_link {
	struct chain_link *next;
};

struct chains {
	struct chain_link **heads; /* owned */
	uint64_t mask, seed;
};

/* False: out of memory. expected: objects; more of them only make the chains longer. */
bool chains_init(struct chains *chains, uint64_t expected) __attribute__((warn_unused_result));
void chains_fini(struct chains *chains); /* also of zeros */

/* The place where the chain of that key begins; *place is its first link, or NULL. */
struct chain_link **chains_at(const struct chains *chains, const void *key, size_t len);
void chain_add(struct chain_link **place, struct chain_link *link);
void chain_del(struct chain_link **place, struct chain_link *link); /* it must stand there */

#define CHAIN_OBJECT(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))
#endif
