/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_PUNT_H
#define DATAPLANE_PUNT_H
/*
 * Rings between one worker and the control thread, single producer and single consumer each, so
 * that a preempted thread stalls nobody else.
 *
 * Towards control there is a ring for each kind of packet: a flood of pings from outside must crowd
 * out neither registrations nor the home agent's messages, nor a flood from inside these.
 *
 * Owner:    struct worker. Threads: punt_push(), punt_port_change() and inject_pop() are
 *           the worker's, the others
 *           control's. A mbuf in a ring belongs to the ring.
 */
#include "dataplane/pkt.h"

#include <rte_ring.h>

enum punt_ring { /* in the order in which control empties them, but for a share of errors */
	PUNT_RING_REGISTRATION,
	PUNT_RING_GUARDED,
	PUNT_RING_INSIDE,
	PUNT_RING_UNRESOLVED,
	PUNT_RING_OUTSIDE,
	PUNT_RING_ERROR,
	PUNT_RINGS
};

struct punt_rings {
	struct rte_ring *to_control[PUNT_RINGS];
	struct rte_ring *to_worker;
	struct rte_ring *port_changes; /* to control: struct dp_port_change */
};

int punt_rings_new(struct punt_rings *rings) __attribute__((warn_unused_result));
void punt_rings_free(struct punt_rings *rings); /* and the packets in them */

/* The mbuf's meta is filled. False: the ring is full, the mbuf stays the caller's. */
bool punt_push(struct punt_rings *rings, struct rte_mbuf *mbuf);
unsigned punt_pop(struct punt_rings *rings, enum punt_ring ring, struct punt *out, unsigned max);

/* False: the ring is full. */
bool punt_port_change(struct punt_rings *rings, const struct dp_port_change *change);
unsigned punt_port_changes(struct punt_rings *rings, struct dp_port_change *out, unsigned max);

bool inject_push(struct punt_rings *rings, struct rte_mbuf *mbuf);
unsigned inject_pop(struct punt_rings *rings, struct rte_mbuf **mbufs, unsigned max);
#endif
