/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_STATE_H
#define CONTROL_MN_STATE_H
/*
 * What the node remembers over a restart: boot epoch, last Identification, offset of the home
 * agent's clock. Per-packet counters are in a file of their own (dataplane/esp/counters.h).
 *
 * Owner: main.c. Thread: the loop's.
 */
#include "control/mn/registration.h"
#include "lib/store.h"

#include <stddef.h>
#include <stdint.h>

struct state {
	struct store *store;
	struct registration_memory saved; /* what is on disk */
};

/* 0 or -errno with a sentence for the operator. *epoch: this run's, durable. */
int state_open(struct state *state, const char *dir, uint32_t *epoch, char *why, size_t why_size)
	__attribute__((warn_unused_result));
void state_close(struct state *state);

/* False: nothing was remembered. */
bool state_load_registration(struct state *state, struct registration_memory *memory);
/* Durable on return, which may take some ms: not in the middle of a move. Does nothing if it is on
 * disk already. */
int state_save_registration(struct state *state, const struct registration_memory *memory);
/* A new epoch for a running SA whose IVs are used up. */
int state_next_epoch(struct state *state, uint32_t *epoch) __attribute__((warn_unused_result));
#endif
