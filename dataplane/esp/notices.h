/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_NOTICES_H
#define DATAPLANE_ESP_NOTICES_H
/*
 * Which of many numbered things want to be looked at: workers say so, the control thread hears it
 * soon, however many there are. A bit for each, so that nothing is lost and memory is bounded;
 * what is raised twice before it is taken is heard once.
 *
 * Owner:   struct dataplane.
 * Threads: notices_raise() any worker, never waits; notices_take() control alone.
 * Order:   what a thread wrote before notices_raise() is seen after the notices_take() that gives
 *          the number.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct notices {
	/* const after notices_init() */
	uint32_t n_groups;
	/* atomic: a bit for each number; and one for each word of them that has any */
	_Atomic(uint64_t) *words, *groups; /* owned */
	_Atomic(bool) any;                 /* perhaps */
	/* control only: a word that was taken and is not empty yet, and its place */
	uint64_t taken;
	uint32_t taken_at;
};

/* Numbers are 0..max. False: out of memory. */
bool notices_init(struct notices *notices, uint32_t max) __attribute__((warn_unused_result));
void notices_fini(struct notices *notices); /* also of zeros */

void notices_raise(struct notices *notices, uint32_t number);
/* False: nothing is raised. Cheap then. */
bool notices_take(struct notices *notices, uint32_t *number) __attribute__((warn_unused_result));
#endif
