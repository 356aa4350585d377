/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_PROVISION_H
#define CONTROL_GW_PROVISION_H
/*
 * From the configuration's list of nodes to tunnels, at start and at a reload. A node starts where
 * it was when the gateway last ran, if that still holds, so that traffic flows at once.
 *
 * Threads: control. Errors: 0 or -errno with a line for the operator.
 */
#include "control/gw/gw.h"
#include "control/gw/gw_conf.h"

#include <stddef.h>

struct provision_counts {
	uint32_t added, changed, removed, kept;
};

/* Every node of conf; logs "static keys: lab only" once if conf brings keys. */
int provision_start(struct gw *gw, const struct gw_conf *conf, char *why, size_t why_size)
	__attribute__((warn_unused_result));
/* Makes the configured nodes equal to fresh's. Everything is checked first; when a check fails,
 * nothing changed; what fails later keeps no other node out. Nodes that came by the control socket
 * are left alone. A changed node keeps its position. Waits for a few grace periods. */
int provision_reload(struct gw *gw, const struct gw_conf *fresh, struct provision_counts *counts,
	char *why, size_t why_size) __attribute__((warn_unused_result));
/* One node that came by the control socket, without SAs. */
int provision_add(struct gw *gw, const struct gw_node_conf *node, char *why, size_t why_size)
	__attribute__((warn_unused_result));
#endif
