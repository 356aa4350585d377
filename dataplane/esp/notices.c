/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: whoever raises sets the bit, then that of its word, then "any"; whoever takes
 * clears in the other order before it looks. So a bit that is set while the taker looks is found by
 * it now, or "any" is set once more.
 */
#include "dataplane/esp/notices.h"

#include <stdlib.h>

#define BITS 64u

bool notices_init(struct notices *notices, uint32_t max)
{
	const uint32_t n_words = max / BITS + 1;

	*notices = (struct notices){.n_groups = (n_words - 1) / BITS + 1};
	notices->words = calloc((size_t)notices->n_groups * BITS, sizeof *notices->words);
	notices->groups = calloc(notices->n_groups, sizeof *notices->groups);
	return notices->words != NULL && notices->groups != NULL;
}

void notices_fini(struct notices *notices)
{
	free((void *)(uintptr_t)notices->words);
	free((void *)(uintptr_t)notices->groups);
	*notices = (struct notices){0};
}

void notices_raise(struct notices *notices, uint32_t number)
{
	const uint32_t word = number / BITS;
	const uint64_t bit = UINT64_C(1) << number % BITS;

	/* Release pairs with the exchange in take_word(), also if the bit was set before. */
	if ((atomic_fetch_or_explicit(&notices->words[word], bit, memory_order_acq_rel) & bit) != 0)
		return;
	atomic_fetch_or_explicit(
		&notices->groups[word / BITS], UINT64_C(1) << word % BITS, memory_order_release);
	/* Release pairs with the exchange in notices_take(). */
	atomic_store_explicit(&notices->any, true, memory_order_release);
}

/* The next word with something in it, into taken. */
static bool take_word(struct notices *notices)
{
	for (uint32_t group = 0; group < notices->n_groups; group++) {
		uint64_t bits = atomic_exchange_explicit(
			&notices->groups[group], 0, memory_order_acq_rel);

		while (bits != 0 && notices->taken == 0) {
			notices->taken_at = group * BITS + (uint32_t)__builtin_ctzll(bits);
			bits &= bits - 1;
			notices->taken = atomic_exchange_explicit(
				&notices->words[notices->taken_at], 0, memory_order_acq_rel);
		}
		if (bits != 0)
			atomic_fetch_or_explicit(
				&notices->groups[group], bits, memory_order_relaxed);
		if (notices->taken != 0)
			return true;
	}
	return false;
}

bool notices_take(struct notices *notices, uint32_t *number)
{
	if (notices->taken == 0) {
		if (!atomic_load_explicit(&notices->any, memory_order_relaxed))
			return false;
		(void)atomic_exchange_explicit(&notices->any, false, memory_order_acq_rel);
		if (!take_word(notices))
			return false;
		/* There may be more. */
		atomic_store_explicit(&notices->any, true, memory_order_relaxed);
	}
	*number = notices->taken_at * BITS + (uint32_t)__builtin_ctzll(notices->taken);
	notices->taken &= notices->taken - 1;
	return true;
}
