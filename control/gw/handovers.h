/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_HANDOVERS_H
#define CONTROL_GW_HANDOVERS_H
/*
 * The last handovers, each with the time of its steps, for show-handovers and for the figures.
 *
 * Owner:    main.c. Threads: control. A ring of fixed size: the oldest is forgotten. Entries are
 *           named by a number that never repeats; a number that was forgotten is ignored.
 * The last two steps are stamped by workers in the path object itself; whoever is about to replace
 * or show that path hands the stamps over first (handovers_stamp()).
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDOVERS_KEPT 4096

struct handover { /* times: monotonic ns, 0: has not happened or is not known */
	uint64_t number;
	uint64_t real_ns; /* wall clock at siu_in_ns */
	uint32_t node;    /* handle */
	struct ip_addr home_address, from, to;
	uint64_t generation;
	uint64_t rrq_in_ns;    /* a worker saw the registration */
	uint64_t siu_in_ns;    /* recvmmsg() returned with the update */
	uint64_t stored_ns;    /* the new path is published */
	uint64_t grace_ns;     /* every worker has left the old path */
	uint64_t first_out_ns; /* first packet on the new path */
	uint64_t rrp_out_ns;   /* the reply left */
	uint64_t acked_ns;     /* acknowledged to the home agent (also durable) */
};

struct handovers;

struct handovers *handovers_new(void); /* NULL: out of memory */
void handovers_free(struct handovers *handovers);
/* Keeps a copy; returns its number (from 1). */
uint64_t handovers_add(struct handovers *handovers, const struct handover *handover);
/* The entry to fill in, or NULL if it is forgotten. Valid until the next handovers_add(). */
struct handover *handovers_at(struct handovers *handovers, uint64_t number);
/* Stamps of the path that the handover led to; 0 leaves what is there. */
void handovers_stamp(
	struct handovers *handovers, uint64_t number, uint64_t first_out_ns, uint64_t rrp_out_ns);
/* Numbers of the oldest and of the newest that are kept; false: none. */
bool handovers_range(const struct handovers *handovers, uint64_t *oldest, uint64_t *newest);
#endif
