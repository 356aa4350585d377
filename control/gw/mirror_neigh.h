/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_MIRROR_NEIGH_H
#define CONTROL_GW_MIRROR_NEIGH_H
/*
 * Linux's neighbours on the mirrors, handed on to the packet path, and the packets that wait for
 * one that is not resolved yet.
 *
 * Owner:    mirror.c. Threads: control.
 * Bounds:   at most MIRROR_HOLDS neighbours are waited for, MIRROR_HOLD_PACKETS packets each, for
 *           MIRROR_HOLD_NS; more are dropped and counted. Linux is asked once a second each.
 */
#include "dataplane/dataplane.h"
#include "lib/netlink.h"

#define MIRROR_HOLDS 32
#define MIRROR_HOLD_PACKETS 64
#define MIRROR_HOLD_NS (3 * UINT64_C(1000000000)) /* Linux gives up after three probes */
#define MIRROR_ASK_EVERY_NS UINT64_C(1000000000)
#define MIRROR_USED_EVERY_NS (15 * UINT64_C(1000000000)) /* Linux does not see our traffic */

struct mirror_neighs;

/* ask: make Linux resolve, or know of the use of, addr on port. */
typedef void mirror_ask_fn(void *arg, enum dp_port port, const struct ip_addr *addr);

struct mirror_neighs *mirror_neighs_new(
	struct dataplane *dp, uint32_t max, mirror_ask_fn *ask, void *arg); /* NULL: no memory */
void mirror_neighs_free(struct mirror_neighs *neighs); /* gives waiting packets back */

void mirror_neighs_event(
	struct mirror_neighs *neighs, enum dp_port port, const struct nl_neigh_event *event);
void mirror_neighs_resync(struct mirror_neighs *neighs);
void mirror_neighs_resynced(struct mirror_neighs *neighs);
/* Takes the punt over. */
void mirror_neighs_hold(struct mirror_neighs *neighs, struct punt *punt, uint64_t now_ns);
/* Expiry, asking again, telling of use in small portions. */
void mirror_neighs_tick(struct mirror_neighs *neighs, uint64_t now_ns);

struct mirror_neigh_stats {
	uint32_t known, waited_for;
	uint64_t held, sent, dropped;
};
void mirror_neighs_get_stats(const struct mirror_neighs *neighs, struct mirror_neigh_stats *out);
#endif
