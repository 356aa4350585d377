/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the ring of RFC 6479. Bit seq % 64 of word seq / 64 (modulo the ring) says
 * "seen". The ring is longer than the window, so that moving the right edge clears whole words and
 * never shifts.
 *
 * Every store to the slot is a release: a kill -9 finds them in the file in the order written here.
 * At each point between two stores the window refuses what was accepted before. Near moves clear
 * spare words first. Far moves (more than the spare words at once) set the edge first; a number in
 * the gap that another worker tests at that very moment may then be refused for an old mark.
 */
#include "dataplane/esp/replay.h"

#include <immintrin.h>

void replay_prefetch(const struct sa_in *sa, uint32_t seq_low)
{
	__builtin_prefetch(sa->slot, 1);
	__builtin_prefetch(replay_word(sa, seq_low), 1);
}

/* Words that no number of the window can lie in, wherever its right edge is. */
static inline uint32_t spare_words(const struct counter_slot *slot)
{
	return slot->n_words - (slot->window + REPLAY_WORD_BITS - 2) / REPLAY_WORD_BITS - 1;
}

static inline void clear_words(struct counter_slot *slot, uint64_t after, uint64_t last)
{
	while (after < last) {
		after++;
		atomic_store_explicit(
			&slot->bits[after & (slot->n_words - 1)], 0, memory_order_release);
	}
}

/* Moves the right edge to seq and clears the words that come into use: beforehand if they are spare
 * now, so that nobody who reads without the lock takes an old mark for a new one. */
static inline void advance(struct counter_slot *slot, uint64_t top, uint64_t seq)
{
	uint64_t word = top / REPLAY_WORD_BITS, last = seq / REPLAY_WORD_BITS;

	if (last - word <= spare_words(slot)) {
		clear_words(slot, word, last);
		atomic_store_explicit(&slot->seq, seq, memory_order_release);
		return;
	}
	/* A far jump: some of the words are still part of the window. */
	atomic_store_explicit(&slot->seq, seq, memory_order_release);
	if (last - word > slot->n_words)
		word = last - slot->n_words;
	clear_words(slot, word, last);
}

static inline bool commit(const struct sa_in *sa, uint64_t seq)
{
	struct counter_slot *slot = sa->slot;
	uint64_t top = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	_Atomic(uint64_t) *word = replay_word(sa, seq);
	uint64_t seen;

	if (seq > top)
		advance(slot, top, seq);
	else if (seq == 0 || top - seq >= sa->window)
		return false;
	seen = atomic_load_explicit(word, memory_order_relaxed);
	if ((seen & replay_bit(seq)) != 0)
		return false;
	atomic_store_explicit(word, seen | replay_bit(seq), memory_order_release);
	return true;
}

static inline void lock_sa(struct sa_in *sa)
{
	/* Acquire pairs with the release in unlock_sa() of the worker that had it before. */
	while (atomic_flag_test_and_set_explicit(&sa->lock, memory_order_acquire))
		_mm_pause();
}

static inline void unlock_sa(struct sa_in *sa)
{
	atomic_flag_clear_explicit(&sa->lock, memory_order_release);
}

void replay_commit_run(struct sa_in *sa, const uint64_t seqs[], bool fresh[], unsigned n)
{
	if (sa->shared)
		lock_sa(sa);
	for (unsigned i = 0; i < n; i++)
		fresh[i] = fresh[i] && commit(sa, seqs[i]);
	if (sa->shared)
		unlock_sa(sa);
}

bool replay_commit(struct sa_in *sa, uint64_t seq)
{
	bool fresh = true;

	replay_commit_run(sa, &seq, &fresh, 1);
	return fresh;
}
