/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_REPLAY_H
#define DATAPLANE_ESP_REPLAY_H
/*
 * Anti-replay window on a counter slot: infer the full sequence number and test it before
 * decryption, commit it after the tag was good.
 *
 * Owner: one struct sa_in. Threads: any worker. With sa->shared a commit takes the SA's spin lock,
 * once for the packets that a burst has of an SA: a lock for each would send its line from worker
 * to worker for each. The test before decryption takes none, since the commit tests again. Crash:
 * a commit clears words outside the old window, writes the right edge, clears the rest, sets the
 * bit. A kill between these steps may refuse packets that are new; it never takes one twice.
 * Sources: RFC 4303 section 3.4.3 and appendix A2, RFC 6479.
 */
#include "dataplane/esp/sa.h"

#include <stdbool.h>
#include <stdint.h>

/* Full 64-bit number for the 32 bits in the packet; without ESN the high half is 0. RFC 4303
 * appendix A2.2: the high half that puts the packet in or right of the window. */
static inline uint64_t replay_infer(const struct sa_in *sa, uint32_t seq_low)
{
	const struct counter_slot *slot = sa->slot;
	uint64_t top, high;
	uint32_t top_low, bottom_low;

	if (!sa->esn)
		return seq_low;
	top = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	top_low = (uint32_t)top;
	high = top >> 32;
	bottom_low = top_low - sa->window + 1; /* modulo 2^32 */
	if (top_low >= sa->window - 1u) {
		/* Case A: the window lies in one subspace. Past the last of all numbers the sum
		 * wraps to a small one, which is left of the window. */
		if (seq_low < bottom_low)
			high++;
	} else if (seq_low >= bottom_low) {
		/* Case B: the window spans two. There is nothing before subspace 0; number 0 is
		 * never valid. */
		if (high == 0)
			return 0;
		high--;
	}
	return high << 32 | seq_low;
}

/* The ring has at most 2^32 bits, so the low half of seq names the word. */
static inline _Atomic(uint64_t) *replay_word(const struct sa_in *sa, uint64_t seq)
{
	return &sa->slot->bits[(seq / REPLAY_WORD_BITS) & sa->word_mask];
}

static inline uint64_t replay_bit(uint64_t seq)
{
	return UINT64_C(1) << (seq % REPLAY_WORD_BITS);
}

/* Asks for the lines of the window that a packet with these 32 bits needs. */
void replay_prefetch(const struct sa_in *sa, uint32_t seq_low);
/* False: 0, seen, or left of the window. */
static inline bool replay_test(const struct sa_in *sa, uint64_t seq)
{
	const struct counter_slot *slot = sa->slot;
	uint64_t top = atomic_load_explicit(&slot->seq, memory_order_relaxed);

	if (seq > top)
		return true;
	if (seq == 0 || top - seq >= sa->window)
		return false;
	return (atomic_load_explicit(replay_word(sa, seq), memory_order_relaxed) &
		       replay_bit(seq)) == 0;
}

/* As replay_test, then marks it. Exact among workers. */
bool replay_commit(struct sa_in *sa, uint64_t seq) __attribute__((warn_unused_result));
/* For each i with fresh[i]: fresh[i] = replay_commit(sa, seqs[i]). */
void replay_commit_run(struct sa_in *sa, const uint64_t seqs[], bool fresh[], unsigned n);
#endif
