/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_PROTECT_H
#define DATAPLANE_PROTECT_H
/*
 * The middle of every way to a node: its outbound SA, the size, ESP, and where the result goes.
 *
 * Threads: worker.
 */
#include "dataplane/node.h"
#include "dataplane/worker.h"

/* Place i belongs to node: loads its path and outbound SA and asks for what they point to. */
static inline void protect_load(
	const struct crypto_engine *engine, struct burst *b, unsigned i, struct node *node)
{
	/* Acquire pairs with the release in dataplane_node_set_path(), in dataplane_sa_out_add()
	 * and _switch(): rekeying and moving are independent. */
	const struct path *path = atomic_load_explicit(&node->path, memory_order_acquire);
	struct sa_out *sa = atomic_load_explicit(&node->sa_out, memory_order_acquire);

	b->nodes[i] = node;
	b->paths[i] = path;
	b->sas.out[i] = sa; /* NULL: none */
	if (i != 0 && b->nodes[i - 1] == node)
		return;
	__builtin_prefetch(&path->outer);
	__builtin_prefetch(&path->coa);
	if (sa != NULL)
		esp_prefetch_out(engine, sa, b->pkts[i].len);
}

/* Does place i leave beside its node's credit? Replies to registrations must not wait for one, and
 * have limits of their own, as has what is sent to one endpoint once (path_local.c). */
bool protect_is_free(const struct worker *worker, const struct burst *b, unsigned i);
/* protect_load() was called where the verdict is OK. */
void protect_burst(struct worker *worker, struct burst *b);
#endif
