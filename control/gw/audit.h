/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_AUDIT_H
#define CONTROL_GW_AUDIT_H
/*
 * The audit log: packets that were dropped for a reason that RFC 4301 and RFC 4303 want told, with
 * time, SPI, addresses and sequence number. The last AUDIT_EVENTS are kept for "show audit"; of
 * each reason AUDIT_LINES in every AUDIT_PERIOD_NS go into the log, then a line that says how many
 * there were beside them.
 *
 * Owner: main.c. Threads: control.
 */
#include "dataplane/dataplane.h"

#define AUDIT_EVENTS 256
#define AUDIT_LINES 10
#define AUDIT_PERIOD_NS (10 * UINT64_C(1000000000))

struct audit_event {
	uint64_t number; /* 1 and up */
	uint64_t real_ns;
	struct dp_audit record;
};

struct audit_log {
	struct dataplane *dp; /* lent */
	uint64_t last_number;
	struct audit_event events[AUDIT_EVENTS]; /* by number */
	uint64_t period_ends_ns;
	unsigned lines[VERDICT_COUNT]; /* of this period */
	uint64_t told[VERDICT_COUNT];  /* of the counter: by a line each, or as a number */
};

struct audit_log *audit_log_new(struct dataplane *dp); /* NULL: out of memory */
void audit_log_free(struct audit_log *log);
/* At every turn; returns how many were there. */
unsigned audit_log_turn(struct audit_log *log, uint64_t now_ns);
/* The first event with that number or a later one; NULL: none. */
const struct audit_event *audit_log_at(const struct audit_log *log, uint64_t number);
#endif
