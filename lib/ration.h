/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_RATION_H
#define LIB_RATION_H
/*
 * A token bucket in one word: the time up to which its tokens are spent; 0: none is. Each token
 * moves it on by interval_ns, and it may run ahead of now by burst tokens.
 *
 * Values only; whoever has the word has its threads. Times are CLOCK_MONOTONIC.
 */
#include <stdbool.h>
#include <stdint.h>

static inline uint64_t ration_spent_after(uint64_t spent_ns, uint64_t interval_ns, uint64_t now_ns)
{
	return (spent_ns > now_ns ? spent_ns : now_ns) + interval_ns;
}

static inline bool ration_has(
	uint64_t spent_ns, uint64_t interval_ns, uint64_t burst, uint64_t now_ns)
{
	return ration_spent_after(spent_ns, interval_ns, now_ns) <= now_ns + burst * interval_ns;
}

/* False: there was none, and nothing changed. */
static inline bool ration_take(
	uint64_t *spent_ns, uint64_t interval_ns, uint64_t burst, uint64_t now_ns)
{
	if (!ration_has(*spent_ns, interval_ns, burst, now_ns))
		return false;
	*spent_ns = ration_spent_after(*spent_ns, interval_ns, now_ns);
	return true;
}
#endif
