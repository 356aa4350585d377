/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: SAs of one SPI stand in one chain, those with given sources before the one with
 * the wildcard: at the wildcard, all that could match longer were looked at.
 * Runs of packets of one SA, the normal case, are compared once.
 */
#include "dataplane/sad.h"

#include <rte_prefetch.h>

#include <assert.h>
#include <errno.h>

#define CHAINS_PER_NODE 2 /* so few objects share a chain that the second is seldom looked at */

int sad_new(struct sad *sad, uint32_t max_nodes)
{
	int ret;

	*sad = (struct sad){0};
	ret = lookup_new(&sad->in, (uint64_t)max_nodes * CHAINS_PER_NODE);
	if (ret == 0)
		ret = lookup_new(&sad->homes, (uint64_t)max_nodes * CHAINS_PER_NODE);
	if (ret != 0)
		sad_free(sad);
	return ret;
}

void sad_free(struct sad *sad)
{
	lookup_free(&sad->in);
	lookup_free(&sad->homes);
}

/* --- inbound SAs --------------------------------------------------------------------------------
 */

static const struct sa_source any_source = {.n = 0};

static bool is_in_taken(const struct sad *sad, uint32_t spi, const struct sa_source *source)
{
	struct rcu_link *link = lookup_next(lookup_head(&sad->in, spi));

	for (; link != NULL; link = lookup_next(&link->next)) {
		const struct sa_in *sa = LOOKUP_OBJECT(link, struct sa_in, link);

		if (sa->spi == spi &&
			sa_source_clash(sa->wildcard_source ? &any_source : sa->source, source))
			return true;
	}
	return false;
}

bool sad_in_taken(const struct sad *sad, const struct sa_params *params)
{
	return is_in_taken(sad, params->spi, &params->source);
}

int sad_in_add(struct sad *sad, struct sa_in *sa)
{
	if (is_in_taken(sad, sa->spi, sa->wildcard_source ? &any_source : sa->source))
		return -EEXIST;
	if (sa->wildcard_source)
		lookup_add_last(&sad->in, sa->spi, &sa->link);
	else
		lookup_add_first(&sad->in, sa->spi, &sa->link);
	return 0;
}

void sad_in_del(struct sad *sad, struct sa_in *sa)
{
	lookup_del(&sad->in, sa->spi, &sa->link);
}

/* Bits of the source that sa asks for and query has, -1: another source. */
static __attribute__((noinline)) int match_source(
	const struct sa_in *sa, const struct sad_query *query)
{
	struct ip_addr src = {.family = AF_INET6};

	if (query->src.v6 != NULL)
		memcpy(src.bytes, query->src.v6, sizeof src.bytes);
	else
		src = ip_addr_from_v4((be32_t)query->src.number);

	return sa_source_match(sa->source, &src);
}

static inline struct sa_in *find_in(struct rcu_link *link, const struct sad_query *query)
{
	struct sa_in *best = NULL;
	int longest = -1;

	for (; link != NULL; link = lookup_next(&link->next)) {
		struct sa_in *sa = LOOKUP_OBJECT(link, struct sa_in, link);
		int bits;

		if (sa->spi != query->spi)
			continue;
		if (sa->wildcard_source)
			return best != NULL ? best : sa;
		bits = match_source(sa, query);
		if (bits > longest) {
			longest = bits;
			best = sa;
		}
	}
	return best;
}

void sad_lookup_in_burst(
	const struct sad *sad, const struct sad_query *queries, struct sa_in **out, unsigned n)
{
	_Atomic(struct rcu_link *) *heads[LOOKUP_BURST_MAX];
	struct rcu_link *first[LOOKUP_BURST_MAX];

	assert(n <= LOOKUP_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		heads[i] = lookup_head(&sad->in, queries[i].spi);
		rte_prefetch0((const void *)(uintptr_t)heads[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		first[i] = lookup_next(heads[i]);
		rte_prefetch0(first[i]); /* lies in the SA's first line */
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = find_in(first[i], &queries[i]);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

static inline struct node *find_home(struct rcu_link *link, const struct lookup_addr *home)
{
	for (; link != NULL; link = lookup_next(&link->next)) {
		struct node *node = LOOKUP_OBJECT(link, struct node, link);

		if (lookup_addr_is(home, &node->home_address))
			return node;
	}
	return NULL;
}

int sad_home_add(struct sad *sad, struct node *node)
{
	const struct ip_addr *addr = &node->home_address;
	const struct lookup_addr home = {.number = lookup_number(&sad->homes, addr),
		.v6 = addr->family == AF_INET6 ? addr->bytes : NULL};

	if (find_home(lookup_next(lookup_head(&sad->homes, home.number)), &home) != NULL)
		return -EEXIST;
	lookup_add_first(&sad->homes, home.number, &node->link);
	return 0;
}

void sad_home_del(struct sad *sad, struct node *node)
{
	lookup_del(&sad->homes, lookup_number(&sad->homes, &node->home_address), &node->link);
}

void sad_lookup_home_burst(
	const struct sad *sad, const struct lookup_addr *homes, struct node **out, unsigned n)
{
	_Atomic(struct rcu_link *) *heads[LOOKUP_BURST_MAX];
	struct rcu_link *first[LOOKUP_BURST_MAX];
	uint8_t run[LOOKUP_BURST_MAX]; /* asks for the same as the place before */

	assert(n <= LOOKUP_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		run[i] = (uint8_t)(i != 0 && lookup_addr_same(&homes[i], &homes[i - 1]));
		if (run[i])
			continue;
		heads[i] = lookup_head(&sad->homes, homes[i].number);
		rte_prefetch0((const void *)(uintptr_t)heads[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		if (run[i])
			continue;
		first[i] = lookup_next(heads[i]);
		if (first[i] != NULL)
			rte_prefetch0(LOOKUP_OBJECT(first[i], struct node, link));
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = run[i] ? out[i - 1] : find_home(first[i], &homes[i]);
}
