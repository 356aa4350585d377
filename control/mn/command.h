/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_COMMAND_H
#define CONTROL_MN_COMMAND_H
/*
 * A command of the operator's: run without a shell, at most one run of it at a time, with a clean
 * signal mask.
 *
 * Owner: mobile.c, which takes SIGCHLD for all of them. Thread: the loop's.
 */
#include <stdbool.h>
#include <sys/types.h>

#define COMMAND_ARGS_MAX 4

struct command {
	const char *path; /* "": none */
	pid_t pid;        /* 0: not running */
};

/* args: ends with NULL. 0; -EALREADY: still running; or -errno. Without a command: 0, nothing is
 * done. */
int command_run(struct command *command, const char *const args[]);
/* After a SIGCHLD. True: it has just ended. */
bool command_reap(struct command *command);
#endif
