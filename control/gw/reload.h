/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_RELOAD_H
#define CONTROL_GW_RELOAD_H
/*
 * The configuration read again by a running gateway: nodes (provision.h), the rules of its policy
 * and the SIU secrets of its home agents. Everything else takes effect at the next start.
 *
 * Threads: control. Called for "reload" on the control socket and for SIGHUP.
 */
#include "control/gw/gw.h"
#include "control/gw/provision.h"

#include <stddef.h>
#include <stdint.h>

struct reload_counts {
	struct provision_counts nodes;
	uint32_t siu_keys; /* home agents with other keys than before */
	uint32_t rules;    /* of the policy, now in force */
};

/* 0 or -errno with a line for the operator; an error leaves rules and SIU secrets as they were. For
 * nodes see provision_reload(). */
int gw_reload(struct gw *gw, struct reload_counts *counts, char *why, size_t why_size)
	__attribute__((warn_unused_result));
#endif
