/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_SYNC_H
#define SIU_SYNC_H
/*
 * The home agent's side of a SYNC: BEGIN, every binding, END, each step only when the one before is
 * acknowledged.
 *
 * Owner:    the sender; control thread.
 * Sources:  siu/README.md section 6.
 */
#include "siu/codec.h"

#include <stdbool.h>
#include <stdint.h>

#define SIU_SYNC_WINDOW 256 /* entries of a SYNC in the air */

enum siu_sync_state {
	SIU_SYNC_IDLE,
	SIU_SYNC_WANTED,
	SIU_SYNC_BEGINNING, /* BEGIN sent */
	SIU_SYNC_RUNNING,   /* updates under way */
	SIU_SYNC_ENDING,    /* END sent */
};

struct siu_sync {
	enum siu_sync_state state;
	uint32_t id;     /* of the last SYNC begun */
	uint64_t cursor; /* of the binding fed last */
	bool fed;        /* no binding is left */
	uint64_t due_ns; /* BEGIN, END: next repetition */
	unsigned tries;
};

struct siu_sender;

/* A SYNC from the start, in place of one under way. */
void siu_sync_want(struct siu_sender *sender);
void siu_sync_answered(struct siu_sender *sender, const struct siu_sync_message *answer);
/* Queues the next bindings, sends BEGIN and END. The peer is up. Returns when to call again,
 * UINT64_MAX: after the next ACK. */
uint64_t siu_sync_tick(struct siu_sender *sender, uint64_t now_ns);
#endif
