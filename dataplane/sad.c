/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an SA with a given source stands only in `given`, one with the wildcard only in
 * `wildcard`. A burst is looked up in both and the given source wins; as long as no SA gives a
 * source, which is the normal case, `given` is not touched at all.
 */
#include "dataplane/sad.h"

#include "dataplane/table.h"

#include <errno.h>

struct in_key { /* sizes for which rte_hash has its own compare functions */
	uint8_t dst[TABLE_ADDR_BYTES];
	uint64_t spi; /* wider than it must be: see table_key_v4() */
	uint64_t pad;
};
struct given_key {
	struct in_key in;
	uint8_t src[TABLE_ADDR_BYTES];
};
static_assert(sizeof(struct in_key) == 32 && sizeof(struct given_key) == 48, "no holes in keys");

int sad_new(struct sad *sad, uint32_t max_nodes, const struct rcu *rcu)
{
	/* Two inbound SAs a node is what make-before-break rekeying holds at a time. */
	uint32_t max_in = max_nodes * 2;

	*sad = (struct sad){0};
	sad->wildcard = table_new("sad_any", max_in, sizeof(struct in_key), rcu);
	sad->given = table_new("sad_src", max_in, sizeof(struct given_key), rcu);
	sad->homes = table_new("homes", max_nodes, TABLE_ADDR_BYTES, rcu);
	if (sad->wildcard == NULL || sad->given == NULL || sad->homes == NULL) {
		sad_free(sad);
		return -ENOMEM;
	}
	return 0;
}

void sad_free(struct sad *sad)
{
	rte_hash_free(sad->wildcard);
	rte_hash_free(sad->given);
	rte_hash_free(sad->homes);
	*sad = (struct sad){0};
}

/* source unset: the wildcard, which has no part in its key. */
static struct given_key key_of(
	uint32_t spi, const struct ip_addr *destination, const struct ip_addr *source)
{
	struct given_key key = {.in.spi = spi};

	table_key_addr(key.in.dst, destination);
	if (ip_addr_is_set(source))
		table_key_addr(key.src, source);
	return key;
}

bool sad_in_taken(const struct sad *sad, const struct sa_params *params)
{
	struct given_key key = key_of(params->spi, &params->destination, &params->source);

	return ip_addr_is_set(&params->source) ? table_get(sad->given, &key) != NULL
					       : table_get(sad->wildcard, &key.in) != NULL;
}

int sad_in_add(struct sad *sad, struct sa_in *sa)
{
	struct given_key key = key_of(sa->spi, &sa->destination, &sa->source);
	int ret;

	if (sa->wildcard_source)
		return table_add(sad->wildcard, &key.in, sa);
	ret = table_add(sad->given, &key, sa);
	if (ret == 0)
		atomic_fetch_add_explicit(&sad->n_given, 1, memory_order_relaxed);
	return ret;
}

void sad_in_del(struct sad *sad, const struct sa_in *sa)
{
	struct given_key key = key_of(sa->spi, &sa->destination, &sa->source);

	if (sa->wildcard_source) {
		table_del(sad->wildcard, &key.in);
	} else {
		table_del(sad->given, &key);
		atomic_fetch_sub_explicit(&sad->n_given, 1, memory_order_relaxed);
	}
}

int sad_home_add(struct sad *sad, struct node *node)
{
	uint8_t key[TABLE_ADDR_BYTES];

	table_key_addr(key, &node->home_address);
	return table_add(sad->homes, key, node);
}

void sad_home_del(struct sad *sad, const struct node *node)
{
	uint8_t key[TABLE_ADDR_BYTES];

	table_key_addr(key, &node->home_address);
	table_del(sad->homes, key);
}

/* As in table_get_v4_burst(), run[i] says which lookup is for place i. */
void sad_lookup_in_burst(
	const struct sad *sad, const struct sad_query *queries, struct sa_in **out, unsigned n)
{
	bool given = atomic_load_explicit(&sad->n_given, memory_order_relaxed) != 0;
	struct given_key keys[TABLE_BULK_MAX];
	const void *pointers[TABLE_BULK_MAX];
	void *found[TABLE_BULK_MAX], *better[TABLE_BULK_MAX];
	uint8_t run[TABLE_BULK_MAX];
	unsigned runs = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct sad_query *q = &queries[i];

		if (i == 0 || q->spi != q[-1].spi || q->dst != q[-1].dst ||
			(given && q->src != q[-1].src)) {
			keys[runs].in = (struct in_key){.spi = q->spi};
			table_key_v4(keys[runs].in.dst, q->dst);
			table_key_v4(keys[runs].src, q->src);
			pointers[runs] = &keys[runs];
			runs++;
		}
		run[i] = (uint8_t)(runs - 1);
	}
	table_get_burst(sad->wildcard, pointers, found, runs);
	if (given) {
		table_get_burst(sad->given, pointers, better, runs);
		for (unsigned j = 0; j < runs; j++)
			if (better[j] != NULL)
				found[j] = better[j];
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = found[run[i]];
}

void sad_lookup_home_burst(
	const struct sad *sad, const be32_t *homes, struct node **out, unsigned n)
{
	void *found[TABLE_BULK_MAX];
	uint8_t run[TABLE_BULK_MAX];

	table_get_v4_burst(sad->homes, homes, found, run, n);
	for (unsigned i = 0; i < n; i++)
		out[i] = found[run[i]];
}
