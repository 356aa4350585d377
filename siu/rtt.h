/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_RTT_H
#define SIU_RTT_H
/*
 * How long an answer takes, and how long to wait for one before the first repetition.
 *
 * Owner:    the sender; control thread. A value; all 0 at the start.
 * Sources:  RFC 6298 sections 2 (estimate), 3 (Karn: no sample of what was repeated) and 5.5 to 5.7
 *           (what was repeated makes the wait longer until there is a sample); siu/README.md 6.
 */
#include "lib/clock.h"

#include <stdint.h>

#define SIU_RTT_FIRST_MIN_NS (10 * NS_PER_MS)
#define SIU_RTT_FIRST_MAX_NS NS_PER_S

struct siu_rtt {
	uint64_t smoothed_ns, variation_ns; /* 0: no sample yet */
	uint64_t backed_off_ns;             /* at least so long; 0: the last answer was a sample */
};

/* An answer to what was sent once. */
void siu_rtt_sample(struct siu_rtt *rtt, uint64_t took_ns);
/* An answer to what was sent several times, so long after the first: which copy is answered? */
void siu_rtt_ambiguous(struct siu_rtt *rtt, uint64_t took_ns);
/* Delay before the first repetition: SIU_RTT_FIRST_MIN_NS to SIU_RTT_FIRST_MAX_NS. */
uint64_t siu_rtt_first_ns(const struct siu_rtt *rtt);
#endif
