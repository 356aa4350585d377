/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_DUMMIES_H
#define CONTROL_GW_DUMMIES_H
/*
 * Dummy packets against traffic analysis: to each node with tfc.dummies so many a second on
 * average, at random times and of random length, through its outbound SA as any other packet.
 *
 * Owner: main.c. Threads: control; workers find them in the ring of what control injects.
 * Bounds: DUMMIES_A_TURN. What comes too late or finds no room in the ring is left out.
 * Sources: RFC 4303 section 2.6.
 */
#include "control/gw/tunnel.h"

#define DUMMIES_A_TURN 32

struct dummies;

struct dummies *dummies_new(struct dataplane *dp, struct tunnels *tunnels); /* NULL: no memory */
void dummies_free(struct dummies *dummies);
/* At every turn; returns how many it sent. */
unsigned dummies_turn(struct dummies *dummies, uint64_t now_ns);
#endif
