/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: entry number n lies at n modulo HANDOVERS_KEPT until n + HANDOVERS_KEPT comes. */
#include "control/gw/handovers.h"

#include <stdlib.h>

struct handovers {
	uint64_t newest; /* 0: none yet */
	struct handover ring[HANDOVERS_KEPT];
};

struct handovers *handovers_new(void)
{
	return calloc(1, sizeof(struct handovers));
}

void handovers_free(struct handovers *handovers)
{
	free(handovers);
}

uint64_t handovers_add(struct handovers *handovers, const struct handover *handover)
{
	const uint64_t number = ++handovers->newest;
	struct handover *entry = &handovers->ring[number % HANDOVERS_KEPT];

	*entry = *handover;
	entry->number = number;
	return number;
}

struct handover *handovers_at(struct handovers *handovers, uint64_t number)
{
	struct handover *entry = &handovers->ring[number % HANDOVERS_KEPT];

	return number != 0 && entry->number == number ? entry : NULL;
}

void handovers_stamp(
	struct handovers *handovers, uint64_t number, uint64_t first_out_ns, uint64_t rrp_out_ns)
{
	struct handover *entry = handovers_at(handovers, number);

	if (entry == NULL)
		return;
	if (first_out_ns != 0)
		entry->first_out_ns = first_out_ns;
	if (rrp_out_ns != 0)
		entry->rrp_out_ns = rrp_out_ns;
}

bool handovers_range(const struct handovers *handovers, uint64_t *oldest, uint64_t *newest)
{
	if (handovers->newest == 0)
		return false;
	*newest = handovers->newest;
	*oldest = handovers->newest < HANDOVERS_KEPT ? 1 : handovers->newest - HANDOVERS_KEPT + 1;
	return true;
}
