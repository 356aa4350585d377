/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_MOVE_H
#define CONTROL_GW_MOVE_H
/*
 * From one verified entry of an UPDATE to a node's new path: the gates, the swap, the reply behind
 * it. No socket and no timer: siu_handler.c brings entries in and acknowledges them.
 *
 * Owner:    siu_handler.c. Threads: control.
 * Sources:  the source document, steps 24 to 27 and claims 1, 4 and 8; design.md section 2.
 */
#include "control/gw/gw_conf.h"
#include "control/gw/handovers.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"
#include "siu/siu.h"

#include <stdbool.h>
#include <stdint.h>

/* How long the reply to a deregistration may take to leave before the path is closed anyway. */
#define MOVE_CLOSE_WAIT_NS (20 * UINT64_C(1000000))

struct mover { /* all lent */
	const struct gw_conf *conf;
	struct dataplane *dp;
	struct tunnels *tunnels;
	struct handovers *handovers;
	struct state *state;
	uint64_t replies_lost; /* RRPs for which there was no room towards the workers */
	struct reach_stats {   /* reach.h */
		uint64_t asked, verified, unanswered;
		uint64_t refused; /* answers that were none */
	} reach;
};

struct move { /* what came of an entry */
	enum siu_result result;
	uint32_t node;               /* handle; 0: no such node, or none of this home agent */
	struct ip_addr home_address; /* of the node: its handle may mean another one by and by */
	bool after_grace;  /* acknowledge only when every worker has left the old path ... */
	uint64_t durable;  /* ... and this record is on disk; 0: none */
	uint64_t handover; /* number; 0: not a handover */
	/* A deregistration whose reply must leave first: move_close() once it has. */
	bool closing;
	uint64_t close_generation;
	uint64_t reply_before_ns; /* stamp of the path before our reply */
	uint64_t close_at_ns;     /* deadline */
};

/* Applies update, which came from home agent number ha at siu_in_ns. */
void move_apply(struct mover *mover, uint32_t ha, const struct siu_update *update,
	uint64_t siu_in_ns, struct move *out);
/* The node that move was for, if it still is there. */
struct tunnel *move_tunnel(const struct mover *mover, const struct move *move);
/* True: nothing is to be waited for any more; the path is closed, or was moved on meanwhile. */
bool move_close(struct mover *mover, struct move *move, uint64_t now_ns);
/* Closes a path without an update (expiry, sweep). 0, or -EAGAIN: try again. */
int move_shut(struct mover *mover, struct tunnel *tunnel, const char *reason)
	__attribute__((warn_unused_result));

/* Remembers a registration that passed: where a REPLY_ONLY goes. */
void move_note_rrq(struct tunnel *tunnel, const struct tunnel_rrq *rrq);
const struct tunnel_rrq *move_find_rrq(const struct tunnel *tunnel, uint64_t identification);
#endif
