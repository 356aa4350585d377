/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_AGENT_H
#define CONTROL_HA_AGENT_H
/*
 * The home agent proper: takes registration requests on UDP 434, answers them directly or through
 * the gateway, and lets the home link follow the bindings.
 *
 * Owner: main.c. Threads: control thread only; everything it is given must outlive it.
 * Sources: figure 4 of the source document, RFC 5944 section 3.8.
 */
#include "control/ha/binding.h"
#include "control/ha/counters.h"
#include "control/ha/home_link.h"
#include "control/ha/notify.h"
#include "control/ha/tunnel.h"
#include "lib/loop.h"

#include <stddef.h>

struct ha_agent;

struct ha_parts { /* what main.c made */
	struct loop *loop;
	const struct ha_conf *conf;
	struct ha_bindings *bindings;
	struct ha_counters *counters;
	struct ha_notify *notify;
	struct ha_tunnel *tunnel;
	struct ha_home_link *home_link;
};

/* Takes the restored bindings up again (interception, lifetimes, pending updates), then listens.
 * why: a sentence for the operator. Returns 0 or -errno. */
int ha_agent_open(const struct ha_parts *parts, struct ha_agent **out, char *why, size_t why_size)
	__attribute__((warn_unused_result));
void ha_agent_close(struct ha_agent *agent); /* NULL is allowed */

/* An interface came up or got an address: what lay on it is set again within a second. NULL is
 * allowed. */
void ha_agent_link_changed(struct ha_agent *agent, int ifindex);
#endif
