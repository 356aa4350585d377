/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_HANDOVER_WORLD_H
#define TESTS_UNIT_HANDOVER_WORLD_H
/*
 * A home agent and two gateways in one process, each with its own control code from registration to
 * path, and a script that is their whole world: it registers nodes by either gateway, delivers,
 * drops, repeats, reorders, misleads and forges datagrams between them, lets time pass, fills the
 * disk, crashes any of them, and another home agent beside them. After each step they are compared
 * with a model: for each node and gateway which generation means which care-of address, what was
 * acknowledged, whether workers had left the former path by then, and that who carries the traffic
 * is not closed. At the end the network is healed, and they must come to agree. Wrong: a line on
 * stderr, and abort().
 *
 * One world a process; single thread.
 */
#include <stddef.h>
#include <stdint.h>

void world_play(const uint8_t *script, size_t len);
#endif
