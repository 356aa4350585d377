/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_READY_H
#define LIB_READY_H
/*
 * Process-wide start-up steps that the daemons share. Main thread.
 * Sources: sd_notify(3) (the datagram protocol).
 */

enum exit_code { EXIT_OK = 0, EXIT_CONFIGURATION = 1, EXIT_ENVIRONMENT = 2 };

/* "PROGRAM: ready" plus detail on stderr, and READY=1 to $NOTIFY_SOCKET if that is set. */
void ready_announce(const char *program, const char *detail);
#endif
