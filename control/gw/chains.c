/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: see the header. At least as many chains as objects: a chain has one or two. */
#include "control/gw/chains.h"

#include "lib/hmac.h"

#include <stdlib.h>

#define CHAINS_MIN 64
#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

bool chains_init(struct chains *chains, uint64_t expected)
{
	uint64_t n = CHAINS_MIN;

	while (n < expected)
		n *= 2;
	*chains = (struct chains){.heads = calloc(n, sizeof *chains->heads), .mask = n - 1};
	random_fill(&chains->seed, sizeof chains->seed);
	return chains->heads != NULL;
}

void chains_fini(struct chains *chains)
{
	free(chains->heads);
	*chains = (struct chains){0};
}

struct chain_link **chains_at(const struct chains *chains, const void *key, size_t len)
{
	const uint8_t *at = key;
	uint64_t hash = FNV_OFFSET ^ chains->seed;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * FNV_PRIME;
	hash ^= hash >> 32; /* FNV's low bits alone are weak */
	return &chains->heads[hash & chains->mask];
}

void chain_add(struct chain_link **place, struct chain_link *link)
{
	link->next = *place;
	*place = link;
}

void chain_del(struct chain_link **place, struct chain_link *link)
{
	while (*place != link)
		place = &(*place)->next;
	*place = link->next;
}
