/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_LIFE_H
#define DATAPLANE_ESP_LIFE_H
/*
 * Lifetimes of an SA in packets and bytes, and the end of its sequence numbers: what workers need
 * of them beside the marks in the SA's first line (sa.h). Time is the control thread's.
 *
 * Outbound a run of packets is compared with one number, the next at which something has to be said
 * or done; whether bytes matter at all, and inbound whether anything does, is one bool. Behind
 * these is the slow way of life.c: it stops what must be stopped, notes what was reached and raises
 * a notice; the control thread tells of it and sets the next mark.
 *
 * Exactness: outbound a packet is a sequence number, which is reserved: never one too many. Else
 *           the last packet is exact with one worker; with several, each of the others may have one
 *           run (ESP_BURST_MAX packets) under way when the limit is reached.
 * Counted:  bytes are those of inner packets. Inbound what was accepted, outbound what was sent and
 *           what was given a number for nothing. Both are the slot's, so they outlive the process;
 *           after a loss of power the number is the durable ceiling, bytes are what was written
 *           last.
 * Sources:  RFC 4301 section 4.4.2.1 (lifetime), RFC 4303 section 3.3.3 (numbers end).
 */
#include "dataplane/esp/notices.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* No more numbers beyond this: RFC 4303 section 3.3.3. The ESN limit leaves room for reservations
 * of many threads at once, so that the 64-bit counter itself never wraps. */
#define SEQ_LAST_32 UINT64_C(0xffffffff)
#define SEQ_LAST_ESN (UINT64_MAX - (UINT64_C(1) << 32))
#define SEQ_PERCENT_FIRST 75 /* of the numbers: time to rekey */
#define SEQ_PERCENT_SECOND 90

static inline uint64_t seq_last(bool esn)
{
	return esn ? SEQ_LAST_ESN : SEQ_LAST_32;
}

static inline uint64_t seq_percent(bool esn, unsigned percent)
{
	return seq_last(esn) / 100 * percent;
}

struct sa_limit {      /* 0: none */
	uint64_t soft; /* an event is raised */
	uint64_t hard; /* the SA is over */
};

struct sa_lifetimes { /* values only */
	struct sa_limit seconds, packets, bytes;
};

enum sa_mark { /* that was reached */
	SA_MARK_SOFT_PACKETS = 1 << 0,
	SA_MARK_SOFT_BYTES = 1 << 1,
	SA_MARK_SEQ_FIRST = 1 << 2,
	SA_MARK_SEQ_SECOND = 1 << 3,
	SA_MARK_HARD_PACKETS = 1 << 4,
	SA_MARK_HARD_BYTES = 1 << 5,
	SA_MARK_SEQ_LAST = 1 << 6, /* outbound: no number is left */
	SA_MARK_ENDED = 1 << 7,    /* by the control thread */
};
#define SA_MARKS_HARD (SA_MARK_HARD_PACKETS | SA_MARK_HARD_BYTES | SA_MARK_SEQ_LAST)

/* Most SAs have no limits, and all of these share one object; an SA that has ever had limits has
 * one of its own, until the SA is freed. */
struct sa_limits {
	/* atomic: control writes, workers read behind a mark; UINT64_MAX: none */
	_Atomic(uint64_t) soft_packets, hard_packets, soft_bytes, hard_bytes;
	/* const: who hears of marks; lent; may be NULL */
	struct notices *notices;
	bool shared; /* const: nobody's own */
};

/* No limits, for every SA that is given it: sa_in_set_hearer(), sa_out_set_hearer(). */
void sa_limits_init_shared(struct sa_limits *limits, struct notices *notices);
#endif
