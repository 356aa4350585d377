/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_HANDOVER_DOUBLES_H
#define TESTS_UNIT_HANDOVER_DOUBLES_H
/*
 * In the places of lib/store.c and lib/loop.c, whose functions are defined here: disks in memory,
 * one for each path, which a crash leaves as they were committed; and a loop that calls nothing
 * until it is told to. Single thread.
 */
#include <stdbool.h>
#include <stdint.h>

void store_double_wipe(void);     /* all disks are empty; none is open */
extern bool store_double_is_full; /* writes of the store with a transaction of their own fail */

/* The descriptor that was added last can be read. */
void loop_double_readable(void);
/* Calls what is due. */
void loop_double_timers(uint64_t now_ns);
#endif
