/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_DEADLINES_H
#define CONTROL_GW_DEADLINES_H
/*
 * At most one point in time for each of many numbered things, and which of them comes first. The
 * room is made for as many as there may be and never grows, so that no single step takes longer
 * than the others; it takes memory only as far as it is used, 16 bytes for each deadline.
 *
 * Owner: whoever made it. Threads: one at a time. Times are of one clock that does not jump:
 * CLOCK_MONOTONIC. Which one of equal deadlines comes first is not said.
 */
#include <stdbool.h>
#include <stdint.h>

#define DEADLINE_NEVER UINT64_MAX

struct deadline;

struct deadlines {
	struct deadline *heap; /* owned; [0..n) */
	uint32_t *places;      /* owned; by id: place in heap + 1; 0: it has no deadline */
	uint32_t n;
};

/* Ids are 1..max. False: out of memory. */
bool deadlines_init(struct deadlines *deadlines, uint32_t max) __attribute__((warn_unused_result));
void deadlines_fini(struct deadlines *deadlines); /* also of zeros */

/* In place of what it had; DEADLINE_NEVER: it has none. */
void deadline_set(struct deadlines *deadlines, uint32_t id, uint64_t at_ns);
uint64_t deadline_of(const struct deadlines *deadlines, uint32_t id); /* or DEADLINE_NEVER */
/* The id with the earliest deadline if that is not after now_ns, else 0. It keeps its deadline. */
uint32_t deadline_due(const struct deadlines *deadlines, uint64_t now_ns);
#endif
