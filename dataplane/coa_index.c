/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an entry lists who claims the address and holds the answer ready in one atomic
 * pointer, so a take-over is one store. An entry without claims is unlinked and freed after a grace
 * period.
 */
#include "dataplane/coa_index.h"

#include "dataplane/table.h"

#include <errno.h>

struct coa_entry {
	_Atomic(struct node *) answer; /* RCU: control stores, workers load */
	/* control only */
	struct coa_claim *claims;
	struct ip_addr coa;
};

struct node coa_ambiguous;

int coa_index_new(struct coa_index *index, uint32_t max_nodes, struct rcu *rcu)
{
	/* Current and former address of each node, and those whose entries wait in the retire list.
	 */
	uint32_t places = max_nodes * 2 + rcu->capacity;

	*index = (struct coa_index){.rcu = rcu};
	slab_init(&index->entries, sizeof(struct coa_entry));
	index->table = table_new("coas", places, TABLE_ADDR_BYTES, rcu);
	return index->table == NULL ? -ENOMEM : 0;
}

void coa_index_free(struct coa_index *index)
{
	rte_hash_free(index->table);
	slab_fini(&index->entries);
	*index = (struct coa_index){0};
}

int coa_index_reserve(struct coa_index *index, const struct ip_addr *coa, struct coa_entry **out)
{
	uint8_t key[TABLE_ADDR_BYTES];
	struct coa_entry *entry;
	int ret;

	table_key_addr(key, coa);
	*out = table_get(index->table, key);
	if (*out != NULL)
		return 0;
	entry = slab_alloc(&index->entries);
	if (entry == NULL)
		return -ENOMEM;
	entry->coa = *coa;
	ret = table_add(index->table, key, entry);
	if (ret != 0) {
		slab_free(&index->entries, entry);
		return ret;
	}
	*out = entry;
	return 0;
}

static void free_entry(void *owner, void *object, bool flag)
{
	(void)flag;
	slab_free(owner, object);
}

void coa_index_unreserve(struct coa_index *index, struct coa_entry *entry)
{
	uint8_t key[TABLE_ADDR_BYTES];

	if (entry->claims != NULL)
		return;
	table_key_addr(key, &entry->coa);
	table_del(index->table, key);
	rcu_retire(index->rcu, free_entry, &index->entries, entry, false);
}

/* A node may claim an address twice for a moment, while its claims are replaced: no rival. */
static void answer_again(struct coa_entry *entry)
{
	const struct coa_claim *chosen = NULL;
	unsigned rivals = 0;

	for (const struct coa_claim *claim = entry->claims; claim != NULL; claim = claim->next) {
		if (chosen == NULL || (chosen->former && !claim->former)) {
			chosen = claim;
			rivals = 0;
		} else if (chosen->former == claim->former && chosen->node != claim->node) {
			rivals++;
		}
	}
	/* Release: a worker that finds the node by this answer finds it whole. Pairs with the
	 * acquire in coa_lookup_burst(). */
	atomic_store_explicit(&entry->answer,
		chosen == NULL ? NULL : (rivals != 0 ? COA_AMBIGUOUS : chosen->node),
		memory_order_release);
}

void coa_claim_set(struct coa_claim *claim, struct node *node, struct coa_entry *entry, bool former)
{
	*claim = (struct coa_claim){
		.entry = entry, .next = entry->claims, .node = node, .former = former};
	entry->claims = claim;
	answer_again(entry);
}

void coa_claim_release(struct coa_index *index, struct coa_claim *claim)
{
	struct coa_entry *entry = claim->entry;
	struct coa_claim **link;

	if (entry == NULL)
		return;
	for (link = &entry->claims; *link != claim; link = &(*link)->next)
		;
	*link = claim->next;
	*claim = (struct coa_claim){0};
	answer_again(entry);
	coa_index_unreserve(index, entry);
}

void coa_lookup_burst(
	const struct coa_index *index, const be32_t *coas, struct node **out, unsigned n)
{
	void *found[TABLE_BULK_MAX];
	uint8_t run[TABLE_BULK_MAX];

	table_get_v4_burst(index->table, coas, found, run, n);
	for (unsigned i = 0; i < n; i++) {
		const struct coa_entry *entry = found[run[i]];

		out[i] = entry == NULL ? NULL
				       : atomic_load_explicit(&entry->answer, memory_order_acquire);
	}
}
