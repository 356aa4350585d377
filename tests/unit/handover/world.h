/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_HANDOVER_WORLD_H
#define TESTS_UNIT_HANDOVER_WORLD_H
/*
 * A home agent and a gateway in one process, each with its own control code from registration to
 * path, and a script that is their whole world: it registers nodes, delivers, drops, repeats,
 * reorders and forges datagrams between them, lets time pass, fills the disk, crashes either of
 * them. After each step they are compared with a model: for each node which generation means which
 * care-of address, and what was acknowledged. At the end the network is healed, and they must come
 * to agree. Wrong: a line on stderr, and abort().
 *
 * One world a process; single thread.
 */
#include <stddef.h>
#include <stdint.h>

void world_play(const uint8_t *script, size_t len);
#endif
