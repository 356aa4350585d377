/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_MIRROR_ROUTES_H
#define CONTROL_GW_MIRROR_ROUTES_H
/*
 * Linux's routes over the mirrors, handed on to the packet path: of several routes to one prefix
 * the one with the lowest metric.
 *
 * Owner:    mirror.c. Threads: control. A route is named by prefix and metric, as in Linux.
 * Bounds:   max_routes of the configuration; more are counted and left out.
 */
#include "dataplane/dataplane.h"
#include "lib/netlink.h"

struct mirror_routes;

struct mirror_routes *mirror_routes_new(struct dataplane *dp, uint32_t max); /* NULL: no memory */
void mirror_routes_free(struct mirror_routes *routes);
/* on_mirror: the route leaves by that port; else by an interface that is not ours. */
void mirror_routes_event(struct mirror_routes *routes, const struct nl_route_event *event,
	bool on_mirror, enum dp_port port);
/* Between resync and resynced everything that is there comes again; what did not is removed. */
void mirror_routes_resync(struct mirror_routes *routes);
void mirror_routes_resynced(struct mirror_routes *routes);
uint64_t mirror_routes_left_out(const struct mirror_routes *routes);
#endif
