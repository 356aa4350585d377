/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_FALLBACK_H
#define CONTROL_MN_FALLBACK_H
/*
 * The operator's command for when registration has failed for good: it sets up a new tunnel (claim
 * 1 of the source document). Run without a shell, at most one at a time, with the care-of address
 * as its argument and a clean signal mask.
 *
 * Owner: mobile.c. Thread: the loop's.
 */
#include "lib/inet.h"
#include "lib/loop.h"

#include <sys/types.h>

struct fallback {
	const char *command; /* "": none */
	pid_t pid;           /* 0: not running */
};

/* Takes SIGCHLD of the process. 0 or -errno. */
int fallback_init(struct fallback *f, struct loop *loop, const char *command)
	__attribute__((warn_unused_result));
/* 0; -EALREADY: still running; or -errno. Without a command: 0, nothing is done. */
int fallback_run(struct fallback *f, const struct ip_addr *coa);
#endif
