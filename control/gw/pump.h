/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_PUMP_H
#define CONTROL_GW_PUMP_H
/*
 * The control thread's turn: empties the workers' rings, lets the packet path free what has passed
 * its grace period, and drives what waits for time.
 *
 * Owner: main.c. Threads: control. The workers' rings have no descriptor to wait on, so the thread
 * looks: without pause while there is work and PUMP_SPIN_NS longer, then every PUMP_NAP_NS, and
 * once nothing came for PUMP_CALM_NS every PUMP_IDLE_NS. That is what a registration or an SIU
 * datagram may wait for it at most. If a worker has the same CPU, which every look takes from it,
 * it is every PUMP_SHARED_NS, whatever there is to do.
 */
#include "control/gw/audit.h"
#include "control/gw/dummies.h"
#include "control/gw/icmp_errors.h"
#include "control/gw/key_verbs.h"
#include "control/gw/mirror.h"
#include "control/gw/pmtu.h"
#include "control/gw/siu_handler.h"
#include "lib/admin.h"

#define PUMP_SPIN_NS (50 * UINT64_C(1000))
#define PUMP_NAP_NS (50 * UINT64_C(1000))
#define PUMP_IDLE_NS (150 * UINT64_C(1000))
#define PUMP_SHARED_NS (1 * UINT64_C(1000000))
#define PUMP_CALM_NS (10 * UINT64_C(1000000))

struct pump { /* all lent */
	struct dataplane *dp;
	struct mirror *mirror;
	struct icmp_errors *errors;
	struct audit_log *audit;
	struct dummies *dummies;
	struct pmtu *pmtu;
	struct siu_handler *siu;
	struct key_verbs *keys;
	struct state *state;
	struct admin *admin;
	bool shares_cpu; /* with a worker */
	/* the pump's own */
	uint64_t spin_until_ns, tick_at_ns;
};

uint64_t pump_turn(void *pump); /* a loop_poll_fn */
#endif
