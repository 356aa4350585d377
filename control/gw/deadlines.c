/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a heap in which each entry has up to four children, none of them earlier. Four
 * instead of two: half as many levels, and the children lie in one or two cache lines. places[]
 * follows every entry that moves, so that a deadline is found, changed and removed by its id.
 */
#include "control/gw/deadlines.h"

#include <assert.h>
#include <stdlib.h>

#define CHILDREN 4

struct deadline { /* there may be millions */
	uint64_t at_ns;
	uint32_t id;
} __attribute__((packed));
static_assert(sizeof(struct deadline) == 12, "see the header");

bool deadlines_init(struct deadlines *deadlines, uint32_t max)
{
	*deadlines = (struct deadlines){
		.heap = calloc(max, sizeof *deadlines->heap),
		.places = calloc((size_t)max + 1, sizeof *deadlines->places),
	};
	return deadlines->heap != NULL && deadlines->places != NULL;
}

void deadlines_fini(struct deadlines *deadlines)
{
	free(deadlines->heap);
	free(deadlines->places);
	*deadlines = (struct deadlines){0};
}

static void put(struct deadlines *deadlines, uint32_t place, struct deadline deadline)
{
	deadlines->heap[place] = deadline;
	deadlines->places[deadline.id] = place + 1;
}

/* Puts it at that place or above it; what is later comes down. */
static void rise(struct deadlines *deadlines, uint32_t place, struct deadline deadline)
{
	while (place > 0) {
		const uint32_t parent = (place - 1) / CHILDREN;

		if (deadlines->heap[parent].at_ns <= deadline.at_ns)
			break;
		put(deadlines, place, deadlines->heap[parent]);
		place = parent;
	}
	put(deadlines, place, deadline);
}

/* The child with the earliest deadline; n: there is none. */
static uint32_t first_child(const struct deadlines *deadlines, uint32_t place)
{
	const uint64_t from = (uint64_t)place * CHILDREN + 1;
	uint32_t first = deadlines->n;

	for (uint64_t i = from; i < from + CHILDREN && i < deadlines->n; i++) {
		if (first == deadlines->n ||
			deadlines->heap[i].at_ns < deadlines->heap[first].at_ns)
			first = (uint32_t)i;
	}
	return first;
}

/* Puts it at that place or below it; what is earlier comes up. */
static void sink(struct deadlines *deadlines, uint32_t place, struct deadline deadline)
{
	uint32_t child;

	while ((child = first_child(deadlines, place)) != deadlines->n &&
		deadlines->heap[child].at_ns < deadline.at_ns) {
		put(deadlines, place, deadlines->heap[child]);
		place = child;
	}
	put(deadlines, place, deadline);
}

/* place is free or holds what is to be replaced. */
static void settle(struct deadlines *deadlines, uint32_t place, struct deadline deadline)
{
	if (place > 0 && deadline.at_ns < deadlines->heap[(place - 1) / CHILDREN].at_ns)
		rise(deadlines, place, deadline);
	else
		sink(deadlines, place, deadline);
}

void deadline_set(struct deadlines *deadlines, uint32_t id, uint64_t at_ns)
{
	const struct deadline fresh = {.at_ns = at_ns, .id = id};
	const uint32_t place = deadlines->places[id] - 1;

	if (at_ns != DEADLINE_NEVER) {
		if (deadlines->places[id] == 0)
			rise(deadlines, deadlines->n++, fresh);
		else
			settle(deadlines, place, fresh);
	} else if (deadlines->places[id] != 0) {
		deadlines->places[id] = 0;
		deadlines->n--;
		/* The last one fills the gap, unless it is the one that goes. */
		if (place != deadlines->n)
			settle(deadlines, place, deadlines->heap[deadlines->n]);
	}
}

uint64_t deadline_of(const struct deadlines *deadlines, uint32_t id)
{
	const uint32_t place = deadlines->places[id];

	return place == 0 ? DEADLINE_NEVER : deadlines->heap[place - 1].at_ns;
}

uint32_t deadline_due(const struct deadlines *deadlines, uint64_t now_ns)
{
	return deadlines->n != 0 && deadlines->heap[0].at_ns <= now_ns ? deadlines->heap[0].id : 0;
}
