/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_FORWARD_H
#define DATAPLANE_FORWARD_H
/*
 * The last steps that all paths share: next hop, Ethernet header, transmission, and the one place
 * where packets are counted and dropped ones are freed.
 *
 * Threads: worker.
 */
#include "dataplane/worker.h"

/* Only routes on port count: what would leave by the
 * other port has no route. An unresolved neighbour punts the packet. */
void forward_route(struct worker *worker, struct burst *b, enum dp_port port);
void forward_route_one(struct worker *worker, struct burst *b, unsigned i, enum dp_port port);
/* For one packet whose next hop is known: the frame, or false if its MAC is not. */
bool forward_frame(
	struct worker *worker, struct burst *b, unsigned i, struct neigh *neigh, enum dp_port port);
/* A frame that Linux sends gets the port's VLAN tag, if there is one. */
void forward_tag(struct worker *worker, struct burst *b, unsigned i, enum dp_port port);
/* came_in: where punted frames came from. Every packet of b ends here, in one cell, and
 * b->verdicts[i] says in which; its mbuf is gone. */
void forward_finish(struct worker *worker, struct burst *b, enum dp_port came_in, enum dp_port port,
	struct verdict_cells *cells);
#endif
