/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: SAs of one SPI and destination stand in one chain, those with given sources
 * before the one with the wildcard: at the wildcard, all that could match longer were looked at.
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

static inline uint64_t in_number(uint32_t spi, uint64_t destination)
{
	return (uint64_t)spi << 32 ^ destination;
}

static const struct sa_source any_source = {.n = 0};

static bool is_in_taken(const struct sad *sad, uint32_t spi, const struct ip_addr *destination,
	const struct sa_source *source)
{
	struct rcu_link *link = lookup_next(
		lookup_head(&sad->in, in_number(spi, lookup_number(destination))));

	for (; link != NULL; link = lookup_next(&link->next)) {
		const struct sa_in *sa = LOOKUP_OBJECT(link, struct sa_in, link);

		if (sa->spi == spi && ip_addr_equal(&sa->destination, destination) &&
			sa_source_clash(sa->wildcard_source ? &any_source : sa->source, source))
			return true;
	}
	return false;
}

bool sad_in_taken(const struct sad *sad, const struct sa_params *params)
{
	return is_in_taken(sad, params->spi, &params->destination, &params->source);
}

int sad_in_add(struct sad *sad, struct sa_in *sa)
{
	const uint64_t number = in_number(sa->spi, lookup_number(&sa->destination));

	if (is_in_taken(
		    sad, sa->spi, &sa->destination, sa->wildcard_source ? &any_source : sa->source))
		return -EEXIST;
	sa->dst_be = ip_addr_to_v4(&sa->destination);
	if (sa->wildcard_source)
		lookup_add_last(&sad->in, number, &sa->link);
	else
		lookup_add_first(&sad->in, number, &sa->link);
	return 0;
}

void sad_in_del(struct sad *sad, struct sa_in *sa)
{
	lookup_del(&sad->in, in_number(sa->spi, lookup_number(&sa->destination)), &sa->link);
}

/* Bits of the source that sa asks for and query has, -1: another source. */
static __attribute__((noinline)) int match_source(
	const struct sa_in *sa, const struct sad_query *query)
{
	const struct ip_addr src = ip_addr_from_v4(query->src);

	return sa_source_match(sa->source, &src);
}

static inline struct sa_in *find_in(struct rcu_link *link, const struct sad_query *query)
{
	struct sa_in *best = NULL;
	int longest = -1;

	for (; link != NULL; link = lookup_next(&link->next)) {
		struct sa_in *sa = LOOKUP_OBJECT(link, struct sa_in, link);
		int bits;

		if (sa->spi != query->spi || sa->dst_be != query->dst)
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

static inline bool is_same(const struct sad_query *a, const struct sad_query *b)
{
	return a->spi == b->spi && a->dst == b->dst && a->src == b->src;
}

void sad_lookup_in_burst(
	const struct sad *sad, const struct sad_query *queries, struct sa_in **out, unsigned n)
{
	_Atomic(struct rcu_link *) *heads[LOOKUP_BURST_MAX];
	struct rcu_link *first[LOOKUP_BURST_MAX];
	uint8_t run[LOOKUP_BURST_MAX]; /* asks for the same as the place before */

	assert(n <= LOOKUP_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		run[i] = (uint8_t)(i != 0 && is_same(&queries[i], &queries[i - 1]));
		if (run[i])
			continue;
		heads[i] = lookup_head(&sad->in, in_number(queries[i].spi, queries[i].dst));
		rte_prefetch0((const void *)(uintptr_t)heads[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		if (run[i])
			continue;
		first[i] = lookup_next(heads[i]);
		rte_prefetch0(first[i]); /* lies in the SA's first line */
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = run[i] ? out[i - 1] : find_in(first[i], &queries[i]);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

static inline struct node *find_home(struct rcu_link *link, be32_t home)
{
	for (; link != NULL; link = lookup_next(&link->next)) {
		struct node *node = LOOKUP_OBJECT(link, struct node, link);

		if (ip_addr_to_v4(&node->home_address) == home)
			return node;
	}
	return NULL;
}

int sad_home_add(struct sad *sad, struct node *node)
{
	const be32_t home = ip_addr_to_v4(&node->home_address);

	if (find_home(lookup_next(lookup_head(&sad->homes, home)), home) != NULL)
		return -EEXIST;
	lookup_add_first(&sad->homes, home, &node->link);
	return 0;
}

void sad_home_del(struct sad *sad, struct node *node)
{
	lookup_del(&sad->homes, ip_addr_to_v4(&node->home_address), &node->link);
}

void sad_lookup_home_burst(
	const struct sad *sad, const be32_t *homes, struct node **out, unsigned n)
{
	_Atomic(struct rcu_link *) *heads[LOOKUP_BURST_MAX];
	struct rcu_link *first[LOOKUP_BURST_MAX];

	assert(n <= LOOKUP_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		if (i != 0 && homes[i] == homes[i - 1])
			continue;
		heads[i] = lookup_head(&sad->homes, homes[i]);
		rte_prefetch0((const void *)(uintptr_t)heads[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		if (i != 0 && homes[i] == homes[i - 1])
			continue;
		first[i] = lookup_next(heads[i]);
		if (first[i] != NULL)
			rte_prefetch0(LOOKUP_OBJECT(first[i], struct node, link));
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = i != 0 && homes[i] == homes[i - 1] ? out[i - 1]
							    : find_home(first[i], homes[i]);
}
