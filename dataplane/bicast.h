/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_BICAST_H
#define DATAPLANE_BICAST_H
/*
 * Bicast: in the grace time after a move, what went to the new end of a path goes to the former
 * one, too: the same ciphertext under the same number and IV, behind another outer header. The
 * node's replay window removes whichever comes second.
 *
 * Owner:   struct worker (its burst of copies). Threads: worker. Bounds: BICAST_COPIES_PER_S, and
 *          the buffers of the inside port's pool; a copy that cannot be made is counted and missed
 *          by nobody. Copies count as local packets.
 * Sources: field.md F.6; RFC 4303 section 3.4.3 (a copy is a replay).
 */
#include "dataplane/state.h"

#define BICAST_COPIES_PER_S 200000 /* of a worker */
#define BICAST_AT_ONCE 2000

void bicast_burst(struct worker *worker, const struct burst *b);

/* After protect_burst(), before what it made leaves. */
static inline void bicast(struct worker *worker, const struct burst *b)
{
	/* Relaxed: the acquire of the path comes before it. */
	if (__builtin_expect(b->now_ns < atomic_load_explicit(&worker->dp->bicast_until_ns,
						 memory_order_relaxed),
		    0))
		bicast_burst(worker, b);
}
#endif
