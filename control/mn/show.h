/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_SHOW_H
#define CONTROL_MN_SHOW_H
/*
 * What the operator may see of the node: verbs of the control socket. Reads only; never a key.
 * Verbs: show-status, show-sa, show-drops. Thread: the loop's. arg of each: struct mobile.
 */
#include "lib/admin.h"

extern const struct admin_verb show_verbs[];
#endif
