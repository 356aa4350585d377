/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_MIRROR_H
#define CONTROL_GW_MIRROR_H
/*
 * How Linux sees the two ports: a TAP each, with the port's MAC and addresses. Linux answers ARP,
 * neighbour solicitations and pings there, has sockets there, and keeps routes and neighbours,
 * which are mirrored to the packet path.
 *
 * Owner:    main.c. Threads: control. Lifetime: opened when the ports exist, before the workers
 *           run; closing takes the interfaces away.
 * Never:    private traffic by way of Linux. The mirrors do not forward, and a frame that Linux
 *           hands us must be ARP or IP from one of our own addresses, or IPv6 of the link itself.
 * VLAN:     Linux sees frames without the port's tag.
 * Errors:   0 or -errno with a line for the operator.
 */
#include "control/gw/gw_conf.h"
#include "control/gw/mirror_neigh.h"
#include "dataplane/dataplane.h"
#include "lib/loop.h"

struct mirror;

/* Interfaces, addresses and routes as configured; what Linux has is in the packet path on return.
 */
int mirror_open(struct loop *loop, const struct gw_conf *conf, struct dataplane *dp,
	struct mirror **out, char *why, size_t why_size) __attribute__((warn_unused_result));
void mirror_close(struct mirror *mirror); /* NULL is allowed */

/* A PUNT_FRAME for Linux; the punt stays the caller's. */
void mirror_frame(struct mirror *mirror, const struct punt *punt);
/* A PUNT_UNRESOLVED; takes the punt over. */
void mirror_unresolved(struct mirror *mirror, struct punt *punt, uint64_t now_ns);
/* Every few ms. */
void mirror_tick(struct mirror *mirror, uint64_t now_ns);

struct mirror_stats {
	uint64_t to_linux[DP_PORTS], from_linux[DP_PORTS];
	uint64_t to_linux_lost[DP_PORTS], from_linux_lost[DP_PORTS];
	uint64_t refused[DP_PORTS]; /* frames from Linux that Linux did not originate */
	uint64_t routes_left_out;
	struct mirror_neigh_stats neighs;
};
void mirror_get_stats(const struct mirror *mirror, struct mirror_stats *out);
#endif
