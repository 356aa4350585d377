/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_PROVISION_H
#define CONTROL_GW_PROVISION_H
/*
 * From the configuration's list of nodes, and from what is kept in state_dir, to tunnels, at start
 * and at a reload. A node starts where it was when the gateway last ran, if that still holds, so
 * that traffic flows at once.
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
/* After provision_start(): nodes and SAs that came by the control socket in an earlier run
 * (kept.h). The configuration wins: a node whose name or home address it has, an SA whose SPI or
 * key it has is left out, with a line in the log, and stays on disk until its node is changed, so
 * that it is back once the file does not have it any more. What has expired goes. An error only if
 * nothing that follows could be loaded. */
struct provision_kept {
	uint32_t nodes, sas; /* loaded */
	uint32_t expired, left_out;
};
int provision_kept(struct gw *gw, struct provision_kept *counts, char *why, size_t why_size)
	__attribute__((warn_unused_result));
/* Makes the configured nodes equal to fresh's. Everything is checked first; when a check fails,
 * nothing changed; what fails later keeps no other node out. Nodes that came by the control socket
 * are left alone, and so are SAs that came by it on a node that is as before. A changed node keeps
 * its position. Waits for a few grace periods. */
int provision_reload(struct gw *gw, const struct gw_conf *fresh, struct provision_counts *counts,
	char *why, size_t why_size) __attribute__((warn_unused_result));
/* One node that came by the control socket, without SAs. */
int provision_add(struct gw *gw, const struct gw_node_conf *node, char *why, size_t why_size)
	__attribute__((warn_unused_result));
#endif
