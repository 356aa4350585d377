/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_BUDGET_H
#define CONTROL_GW_BUDGET_H
/*
 * Bytes that may go to addresses of one node that nobody has verified: size bytes at once, and as
 * many again in each BUDGET_REFILL_NS. It is one for all such addresses of the node, so moving from
 * one to the next gains nothing.
 *
 * Values only. Zeros: full. Times are CLOCK_MONOTONIC; size is the same in every call, and not 0.
 */
#include <stdint.h>

#define BUDGET_REFILL_NS (10 * UINT64_C(1000000000))

struct budget {
	uint64_t full_at_ns;
};

/* Takes all that is there, and at most max bytes. */
uint32_t budget_take(struct budget *budget, uint32_t size, uint32_t max, uint64_t now_ns);
/* Gives back what was taken and not spent. */
void budget_give_back(struct budget *budget, uint32_t size, uint32_t bytes);
#endif
