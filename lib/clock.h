/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H
/*
 * Time: monotonic for intervals, since boot for what must not outlast a machine's sleep, real for
 * what people and Mobile IP read, NTP for Identifications.
 *
 * Any thread. Tests replace all clocks with clock_set_test(); production code never calls it.
 * Sources: RFC 5944 section 5.7.1 (Identification), RFC 5905 section 6 (NTP eras).
 */
#include <stdbool.h>
#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC: stands still while the machine sleeps */
uint64_t clock_boot_ns(void); /* CLOCK_BOOTTIME: goes on */
uint64_t clock_real_ns(void); /* since 1970 UTC */

/* Fixed values until called again; clock_set_test(0, 0) goes back to the system's clocks. */
void clock_set_test(uint64_t mono_ns, uint64_t real_ns);
/* With fixed values: how long the machine has slept. */
void clock_set_test_asleep(uint64_t ns);

/* 64-bit NTP time stamp: seconds since 1900 modulo 2^32, and a 32-bit fraction. */
uint64_t ntp_from_real_ns(uint64_t real_ns);

/* a - b in seconds, exact over the wrap of February 2036 as long as they lie within 68 years. */
int64_t ntp_diff_s(uint64_t a, uint64_t b);
/* a later than b, in the same sense (serial number arithmetic over all 64 bits). */
bool ntp_after(uint64_t a, uint64_t b);
#endif
