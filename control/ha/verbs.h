/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_VERBS_H
#define CONTROL_HA_VERBS_H
/*
 * What the control socket answers: show-bindings, show-siu, show-drops. Reads alone, no keys.
 * Thread: control thread, from the loop.
 */
#include "control/ha/agent.h"
#include "lib/admin.h"

extern const struct admin_verb HA_VERBS[]; /* their argument: struct ha_parts */
#endif
