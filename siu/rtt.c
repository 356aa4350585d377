/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: on a way longer than the first wait every answer is one to a repeated datagram,
 * so that samples alone would never come. Therefore such an answer makes the next wait longer: up
 * to twice as long as it took, counted from the first copy, until one gets through without a
 * repetition and is a sample. Where there is an estimate already it is more likely that a copy was
 * lost: then no more than twice as long as the wait before.
 */
#include "siu/rtt.h"

static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

void siu_rtt_sample(struct siu_rtt *rtt, uint64_t took_ns)
{
	rtt->backed_off_ns = 0;
	if (rtt->smoothed_ns == 0) {
		rtt->smoothed_ns = took_ns;
		rtt->variation_ns = took_ns / 2;
		return;
	}
	rtt->variation_ns = (3 * rtt->variation_ns + difference(rtt->smoothed_ns, took_ns)) / 4;
	rtt->smoothed_ns = (7 * rtt->smoothed_ns + took_ns) / 8;
}

void siu_rtt_ambiguous(struct siu_rtt *rtt, uint64_t took_ns)
{
	uint64_t most = rtt->smoothed_ns == 0 ? took_ns : siu_rtt_first_ns(rtt);

	rtt->backed_off_ns = 2 * (took_ns < most ? took_ns : most);
}

uint64_t siu_rtt_first_ns(const struct siu_rtt *rtt)
{
	uint64_t first = rtt->smoothed_ns + 4 * rtt->variation_ns;

	if (first < rtt->backed_off_ns)
		first = rtt->backed_off_ns;
	if (first < SIU_RTT_FIRST_MIN_NS)
		first = SIU_RTT_FIRST_MIN_NS;
	return first < SIU_RTT_FIRST_MAX_NS ? first : SIU_RTT_FIRST_MAX_NS;
}
