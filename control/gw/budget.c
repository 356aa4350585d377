/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: a token bucket in one word, the time at which it will be full again. */
#include "control/gw/budget.h"

/* At most 2^24 bytes (gw_conf.c) times 10^10 ns: no overflow. */
static uint64_t refill_ns(uint32_t bytes, uint32_t size)
{
	return bytes * BUDGET_REFILL_NS / size;
}

uint32_t budget_take(struct budget *budget, uint32_t size, uint32_t max, uint64_t now_ns)
{
	const uint64_t from_ns = budget->full_at_ns > now_ns ? budget->full_at_ns : now_ns;
	const uint64_t missing_ns = from_ns - now_ns;
	uint32_t bytes = 0;

	if (missing_ns < BUDGET_REFILL_NS)
		bytes = (uint32_t)((BUDGET_REFILL_NS - missing_ns) * size / BUDGET_REFILL_NS);
	if (bytes > max)
		bytes = max;
	budget->full_at_ns = from_ns + refill_ns(bytes, size);
	return bytes;
}

void budget_give_back(struct budget *budget, uint32_t size, uint32_t bytes)
{
	const uint64_t back_ns = refill_ns(bytes, size);

	budget->full_at_ns -= back_ns < budget->full_at_ns ? back_ns : budget->full_at_ns;
}
