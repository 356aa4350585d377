/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_LIVENESS_H
#define SIU_LIVENESS_H
/*
 * HELLO: whether the peer is alive, hears us, and in which run it is.
 *
 * Owner:    the association; control thread. Times are CLOCK_MONOTONIC ns.
 * Sources:  siu/README.md section 3.
 */
#include "siu/auth.h"
#include "siu/codec.h"
#include "siu/outbox.h"

#define SIU_NONCES 4 /* own nonces whose echo is taken as fresh */

struct siu_liveness {
	uint8_t role; /* enum siu_hello_role; const after init */
	bool up;
	/* The peer's proven run, its last nonce there and its replay window. */
	bool has_peer;
	uint32_t peer_epoch;
	uint64_t peer_nonce;
	uint64_t hello_sequence; /* of the newest HELLO of that run */
	struct siu_replay replay;
	/* Who sent the last HELLO, proven or not: it gets an answer, no more. */
	bool has_caller, answer_due;
	uint32_t caller_epoch;
	uint64_t caller_nonce;
	/* Own nonces, newest first; 0: none. */
	uint64_t nonces[SIU_NONCES];
	uint64_t heard_ns;  /* last proof of life */
	uint64_t sent_ns;   /* last HELLO */
	uint64_t answer_ns; /* with answer_due: not before that */
	uint64_t due_ns;    /* next HELLO of the schedule */
	unsigned step;      /* in the schedule of the start */
};

enum siu_liveness_news {
	SIU_LIVENESS_SAME,
	SIU_LIVENESS_UP,        /* same run of the peer as before, or the first */
	SIU_LIVENESS_RESTARTED, /* up, in another run than before */
	SIU_LIVENESS_DOWN,
	SIU_LIVENESS_REPLAYED, /* refused */
};

void siu_liveness_init(struct siu_liveness *live, uint8_t role);
enum siu_liveness_news siu_liveness_hear(struct siu_liveness *live, const struct siu_header *header,
	const struct siu_hello *hello, uint64_t now_ns);
/* Is the peer overdue? */
enum siu_liveness_news siu_liveness_judge(struct siu_liveness *live, uint64_t now_ns);
/* Sends what is due; returns when to call again. */
uint64_t siu_liveness_tick(struct siu_liveness *live, struct siu_outbox *out, uint64_t now_ns);
#endif
