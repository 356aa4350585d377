/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an NTP time stamp is kept as the 64 bits of the wire. Differences are taken
 * modulo 2^64 and read as signed, so the wrap of the seconds in 2036 (RFC 5905 section 6) is no
 * special case.
 */
#include "lib/clock.h"

#include <stdatomic.h>
#include <time.h>

#define NTP_UNIX_OFFSET_S UINT64_C(2208988800) /* 1900-01-01 to 1970-01-01, RFC 5905 figure 4 */

static _Atomic uint64_t test_mono_ns, test_real_ns; /* 0: the system's clock */
static _Atomic uint64_t test_asleep_ns;

static uint64_t system_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	uint64_t fixed = atomic_load_explicit(&test_mono_ns, memory_order_relaxed);

	return fixed != 0 ? fixed : system_ns(CLOCK_MONOTONIC);
}

uint64_t clock_boot_ns(void)
{
	uint64_t fixed = atomic_load_explicit(&test_mono_ns, memory_order_relaxed);

	if (fixed != 0)
		return fixed + atomic_load_explicit(&test_asleep_ns, memory_order_relaxed);
	return system_ns(CLOCK_BOOTTIME);
}

uint64_t clock_real_ns(void)
{
	uint64_t fixed = atomic_load_explicit(&test_real_ns, memory_order_relaxed);

	return fixed != 0 ? fixed : system_ns(CLOCK_REALTIME);
}

void clock_set_test(uint64_t mono_ns, uint64_t real_ns)
{
	atomic_store_explicit(&test_mono_ns, mono_ns, memory_order_relaxed);
	atomic_store_explicit(&test_real_ns, real_ns, memory_order_relaxed);
}

void clock_set_test_asleep(uint64_t ns)
{
	atomic_store_explicit(&test_asleep_ns, ns, memory_order_relaxed);
}

uint64_t ntp_from_real_ns(uint64_t real_ns)
{
	uint64_t seconds = real_ns / NS_PER_S + NTP_UNIX_OFFSET_S; /* the shift drops the era */
	uint64_t fraction = (real_ns % NS_PER_S << 32) / NS_PER_S;

	return seconds << 32 | fraction;
}

int64_t ntp_diff_s(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) / (INT64_C(1) << 32);
}

bool ntp_after(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) > 0;
}
