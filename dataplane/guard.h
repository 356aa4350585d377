/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_GUARD_H
#define DATAPLANE_GUARD_H
/*
 * Datagrams that come in by the inside for one UDP endpoint of ours (struct dp_guard: SIU). They
 * have a ring to the control thread to themselves; what a peer would send now passes, and of
 * everything else in its name a ration. So neither a flood in a peer's name nor one of other
 * packets keeps out what the peer says.
 *
 * Owner:    struct worker has the rations. Threads: worker; nothing is locked.
 * Bounds:   a bucket for each peer and one for all other sources. What comes in fragments, and what
 *           Linux has to decrypt first, is not recognised: an ordinary frame for Linux.
 */
#include "dataplane/worker.h"

#define GUARD_RATE 1000 /* a second ... */
#define GUARD_BURST 256 /* ... and at once */

/* Place i of b is an IPv4 packet for an address of the inside port. Punts or drops it if it is for
 * the guarded endpoint; false: it is not. */
bool guard_take(struct worker *worker, struct burst *b, unsigned i);
#endif
