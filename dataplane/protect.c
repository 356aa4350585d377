/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the SA is loaded beside the path, since rekeying and moving are independent.
 */
#include "dataplane/protect.h"

#include "dataplane/ip4.h"
#include "dataplane/state.h"

static void choose_sas(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct sa_out *sa;

		if (b->verdicts[i] != VERDICT_OK)
			continue;
		/* Acquire pairs with the release in dataplane_sa_out_add() and _switch(). */
		sa = atomic_load_explicit(&b->nodes[i]->sa_out, memory_order_acquire);
		b->sas.out[i] = sa;
		if (sa == NULL)
			burst_drop(b, i, VERDICT_NO_SA_OUT);
	}
}

static void stamp_first(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		/* Time stamps are the one part of a path that workers write. */
		_Atomic(uint64_t) *first;
		uint64_t never = 0;

		if (b->verdicts[i] != VERDICT_OK)
			continue;
		b->next_hops[i] = ip4_dst(b->pkts[i].data);
		first = &((struct path *)(uintptr_t)b->paths[i])->first_tx_ns;
		if (atomic_load_explicit(first, memory_order_relaxed) == 0)
			atomic_compare_exchange_strong_explicit(first, &never, b->now_ns,
				memory_order_relaxed, memory_order_relaxed);
	}
}

void protect_burst(struct worker *worker, struct burst *b)
{
	choose_sas(b);
	esp_encap_burst(worker->crypto, worker->dp->engine, b->sas.out, b->paths, b->pkts,
		b->verdicts, b->n);
	stamp_first(b);
}
