/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_COA_INDEX_H
#define DATAPLANE_COA_INDEX_H
/*
 * Which node does a packet for a care-of address belong to, when it is not IP-in-IP and so does not
 * name the home address? A CoA is a label, not a key: several nodes may claim one.
 *
 * Rule:     the only current owner wins, at once, over all former ones; without a current owner the
 *           only former one (in its grace time) wins; else the label is ambiguous.
 * Owner:    struct dataplane. Threads: coa_lookup_burst() is any worker's, the rest is control's.
 * Lifetime: an answer is valid until the worker's next quiescent state. It is a hint: the worker
 *           still asks the node's path whether it selects the address.
 */
#include "dataplane/lookup.h"
#include "dataplane/rcu.h"
#include "dataplane/slab.h"
#include "dataplane/node.h"

#include <stdbool.h>

struct coa_claim {               /* lies in its node; control only */
	struct coa_entry *entry; /* NULL: no claim */
	struct coa_claim *next;
	uintptr_t owner; /* the node, and 1 if the claim is to a former address */
};

struct coa_index {
	/* const after coa_index_new() */
	struct lookup table; /* by address: struct coa_entry */
	struct rcu *rcu;
	/* control only */
	struct slab entries;
};

int coa_index_new(struct coa_index *index, uint32_t max_nodes, struct rcu *rcu)
	__attribute__((warn_unused_result));
void coa_index_free(struct coa_index *index);

/* The part that can fail: an entry for coa, new or there already. -ENOMEM. */
int coa_index_reserve(struct coa_index *index, const struct ip_addr *coa, struct coa_entry **out)
	__attribute__((warn_unused_result));
/* Gives an entry back if nobody claims it. Takes one place in the retire list then; the caller has
 * asked for it with rcu_room(). */
void coa_index_unreserve(struct coa_index *index, struct coa_entry *entry);

/* The parts that cannot fail. release: as unreserve; claims that are not set are left alone. */
void coa_claim_set(
	struct coa_claim *claim, struct node *node, struct coa_entry *entry, bool former);
void coa_claim_release(struct coa_index *index, struct coa_claim *claim);
/* The claim from now on lies at *to; *from is unset. */
void coa_claim_move(struct coa_claim *to, struct coa_claim *from);

/* out[i]: the node, NULL, or COA_AMBIGUOUS, which is no node to look into. */
#define COA_AMBIGUOUS (&coa_ambiguous)
extern struct node coa_ambiguous;
void coa_lookup_burst(const struct coa_index *index, const struct lookup_addr *coas,
	struct node **out, unsigned n);
#endif
