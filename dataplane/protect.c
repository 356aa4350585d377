/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: what protect_load() found is used, whatever control publishes in the meantime.
 */
#include "dataplane/protect.h"

#include "dataplane/outer_cut.h"
#include "dataplane/rules.h"
#include "dataplane/state.h"
#include "dataplane/tfc.h"

static void check_sas(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->verdicts[i] == VERDICT_OK && b->sas.out[i] == NULL)
			burst_drop(b, i, VERDICT_NO_SA_OUT);
}

static void stamp_first(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		/* Time stamps are the one part of a path that workers write. */
		_Atomic(uint64_t) *first;
		uint64_t never = 0;

		if (b->verdicts[i] != VERDICT_OK)
			continue;
		first = &((struct path *)(uintptr_t)b->paths[i])->first_tx_ns;
		if (atomic_load_explicit(first, memory_order_relaxed) == 0)
			atomic_compare_exchange_strong_explicit(first, &never, b->now_ns,
				memory_order_relaxed, memory_order_relaxed);
	}
}

static bool take_credit(struct path *path, uint32_t bytes)
{
	uint32_t left = atomic_load_explicit(&path->credit, memory_order_relaxed);

	do {
		if (left < bytes)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&path->credit, &left, left - bytes, memory_order_relaxed, memory_order_relaxed));
	return true;
}

bool protect_is_free(const struct worker *worker, const struct burst *b, unsigned i)
{
	const uint8_t flags = b->paths[i]->flags;

	return (flags & PATH_ONCE) != 0 ||
	       ((flags & PATH_ON_CREDIT) != 0 && b == &worker->to_node &&
		       pkt_meta(b->mbufs[i])->stamp);
}

static uint32_t price_of(const struct burst *b, unsigned i)
{
	const struct esp_pkt *pkt = &b->pkts[i];

	return pkt->beyond_mtu ? outer_cut_bytes(pkt, b->paths[i]->mtu) : pkt->len;
}

/* Exact, with any number of workers: not one byte of outer packets beyond the credit, but for what
 * is free of it. */
static void spend_credits(const struct worker *worker, struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		/* The credit is, as the time stamps are, a part that workers write. */
		struct path *path = (struct path *)(uintptr_t)b->paths[i];

		if (b->verdicts[i] == VERDICT_OK && (path->flags & PATH_ON_CREDIT) != 0 &&
			!protect_is_free(worker, b, i) && !take_credit(path, price_of(b, i)))
			burst_drop(b, i, VERDICT_NO_CREDIT);
	}
}

void protect_burst(struct worker *worker, struct burst *b)
{
	check_sas(b);
	tfc_pad(worker, b);
	esp_encap_burst(worker->crypto, worker->dp->engine, b->sas.out, b->paths, b->pkts,
		b->verdicts, b->n);
	stamp_first(b);
	/* Relaxed: the acquire of the path comes before it. */
	if (__builtin_expect(
		    atomic_load_explicit(&worker->dp->paths_on_credit, memory_order_relaxed) != 0,
		    0))
		spend_credits(worker, b);
	if (__builtin_expect(rules_change_outer(&worker->dp->rules), 0))
		rules_outer(&worker->dp->rules, b);
}
