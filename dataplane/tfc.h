/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_TFC_H
#define DATAPLANE_TFC_H
/*
 * Padding against traffic analysis: packets to a node with tfc.pad are filled up to a multiple of
 * so many bytes, or as far as its path takes them, before they are encrypted. The inner header is
 * left as it is: by its length the receiver finds the end. What leaves beside a credit is not made
 * longer: it may go to somebody who never asked for it.
 *
 * Threads: worker. With no such node it costs one load.
 * Sources: RFC 4303 section 2.7.
 */
#include "dataplane/state.h"

void tfc_pad_burst(const struct worker *worker, struct burst *b);

/* Before esp_encap_burst(), for packets with node, SA and path. */
static inline void tfc_pad(struct worker *worker, struct burst *b)
{
	/* Relaxed: the acquire by which the node was found comes before it. */
	if (__builtin_expect(
		    atomic_load_explicit(&worker->dp->tfc_nodes, memory_order_relaxed) != 0, 0))
		tfc_pad_burst(worker, b);
}
#endif
