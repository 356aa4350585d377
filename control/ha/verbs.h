/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_VERBS_H
#define CONTROL_HA_VERBS_H
/*
 * What the control socket answers: show-bindings, show-siu, show-drops, reload. Keys never come
 * out. Thread: control thread, from the loop.
 */
#include "control/ha/agent.h"
#include "lib/admin.h"

/* Reads the configuration again: the SIU secrets of its gateways are in force at once, all else at
 * the next start. changed: gateways with other keys than before. False: the file has errors, which
 * were printed; nothing changed. Also for SIGHUP. */
bool ha_reload(const struct ha_parts *parts, size_t *changed) __attribute__((warn_unused_result));

extern const struct admin_verb HA_VERBS[]; /* their argument: struct ha_parts */
#endif
