/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an entry lists who claims the address and holds the answer ready in one atomic
 * pointer, so a take-over is one store. An entry without claims is unlinked and freed after a grace
 * period.
 */
#include "dataplane/coa_index.h"

#include <rte_prefetch.h>

#include <assert.h>
#include <errno.h>

struct coa_entry {
	struct rcu_link link;
	_Atomic(struct node *) answer; /* RCU: control stores, workers load */
	/* control only */
	struct coa_claim *claims;
	struct ip_addr coa;
};

struct node coa_ambiguous;

int coa_index_new(struct coa_index *index, uint32_t max_nodes, struct rcu *rcu)
{
	*index = (struct coa_index){.rcu = rcu};
	slab_init(&index->entries, sizeof(struct coa_entry));
	return lookup_new(&index->table, max_nodes);
}

void coa_index_free(struct coa_index *index)
{
	lookup_free(&index->table);
	slab_fini(&index->entries);
	*index = (struct coa_index){0};
}

int coa_index_reserve(struct coa_index *index, const struct ip_addr *coa, struct coa_entry **out)
{
	const uint64_t number = lookup_number(&index->table, coa);
	struct rcu_link *link = lookup_next(lookup_head(&index->table, number));

	for (; link != NULL; link = lookup_next(&link->next)) {
		*out = LOOKUP_OBJECT(link, struct coa_entry, link);
		if (ip_addr_equal(&(*out)->coa, coa))
			return 0;
	}
	*out = slab_alloc(&index->entries);
	if (*out == NULL)
		return -ENOMEM;
	(*out)->coa = *coa;
	lookup_add_first(&index->table, number, &(*out)->link);
	return 0;
}

static void free_entry(void *owner, void *object, bool flag)
{
	(void)flag;
	slab_free(owner, object);
}

void coa_index_unreserve(struct coa_index *index, struct coa_entry *entry)
{
	if (entry->claims != NULL)
		return;
	lookup_del(&index->table, lookup_number(&index->table, &entry->coa), &entry->link);
	rcu_retire(index->rcu, free_entry, &index->entries, entry, false);
}

static bool is_former(const struct coa_claim *claim)
{
	return (claim->owner & 1) != 0;
}

static struct node *node_of(const struct coa_claim *claim)
{
	return (struct node *)(claim->owner & ~(uintptr_t)1);
}

/* A node may claim an address twice for a moment, while its claims are replaced: no rival. */
static void answer_again(struct coa_entry *entry)
{
	const struct coa_claim *chosen = NULL;
	unsigned rivals = 0;

	for (const struct coa_claim *claim = entry->claims; claim != NULL; claim = claim->next) {
		if (chosen == NULL || (is_former(chosen) && !is_former(claim))) {
			chosen = claim;
			rivals = 0;
		} else if (is_former(chosen) == is_former(claim) &&
			   node_of(chosen) != node_of(claim)) {
			rivals++;
		}
	}
	/* Release: a worker that finds the node by this answer finds it whole. Pairs with the
	 * acquire in coa_lookup_burst(). */
	atomic_store_explicit(&entry->answer,
		chosen == NULL ? NULL : (rivals != 0 ? COA_AMBIGUOUS : node_of(chosen)),
		memory_order_release);
}

void coa_claim_set(struct coa_claim *claim, struct node *node, struct coa_entry *entry, bool former)
{
	*claim = (struct coa_claim){
		.entry = entry, .next = entry->claims, .owner = (uintptr_t)node | former};
	entry->claims = claim;
	answer_again(entry);
}

/* What points to the claim in the list of its entry. */
static struct coa_claim **link_of(struct coa_claim *claim)
{
	struct coa_claim **link = &claim->entry->claims;

	while (*link != claim)
		link = &(*link)->next;
	return link;
}

void coa_claim_release(struct coa_index *index, struct coa_claim *claim)
{
	struct coa_entry *entry = claim->entry;

	if (entry == NULL)
		return;
	*link_of(claim) = claim->next;
	*claim = (struct coa_claim){0};
	answer_again(entry);
	coa_index_unreserve(index, entry);
}

void coa_claim_move(struct coa_claim *to, struct coa_claim *from)
{
	if (from->entry != NULL)
		*link_of(from) = to;
	*to = *from;
	*from = (struct coa_claim){0};
}

static inline struct node *answer_for(struct rcu_link *link, const struct lookup_addr *coa)
{
	for (; link != NULL; link = lookup_next(&link->next)) {
		const struct coa_entry *entry = LOOKUP_OBJECT(link, struct coa_entry, link);

		if (lookup_addr_is(coa, &entry->coa))
			return atomic_load_explicit(&entry->answer, memory_order_acquire);
	}
	return NULL;
}

void coa_lookup_burst(const struct coa_index *index, const struct lookup_addr *coas,
	struct node **out, unsigned n)
{
	_Atomic(struct rcu_link *) *heads[LOOKUP_BURST_MAX];
	struct rcu_link *first[LOOKUP_BURST_MAX];

	assert(n <= LOOKUP_BURST_MAX);
	for (unsigned i = 0; i < n; i++) {
		heads[i] = lookup_head(&index->table, coas[i].number);
		rte_prefetch0((const void *)(uintptr_t)heads[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		first[i] = lookup_next(heads[i]);
		rte_prefetch0(first[i]); /* begins its entry */
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = answer_for(first[i], &coas[i]);
}
