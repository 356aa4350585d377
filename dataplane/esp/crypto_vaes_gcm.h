/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_VAES_GCM_H
#define DATAPLANE_ESP_CRYPTO_VAES_GCM_H
/*
 * AES-GCM in vectors, what does not depend on their width: how a key lies in memory, AES over a
 * chunk of four vectors, the text that is asked for ahead, the tag. Who includes this with
 * GCM_VECTOR of 64 works in vectors of four blocks, else it is two; crypto_vaes256.h and
 * crypto_vaes512.c have the GHASH for each.
 *
 * Nothing here, or there, branches on, or looks up by, a key, text or tag.
 *
 * GHASH blocks are byte-swapped, so that bit 127 is the coefficient of x^0; powers of H are stored
 * times x, which makes up for the bit that a carry-less product of swapped operands is short of.
 *
 * Threads: any; no state. Needs VAES and VPCLMULQDQ with AVX2, or with AVX-512 (F, DQ, BW, VL).
 * Sources: NIST SP 800-38D sections 6.3 and 6.4; FIPS 197; Gueron, Kounavis, "Intel Carry-Less
 *          Multiplication Instruction and its Usage for Computing the GCM Mode", 2014 (one
 *          reduction for several products, Karatsuba, folding by 64 bits).
 */
#include "dataplane/esp/crypto.h"

#include <immintrin.h>

#ifndef GCM_VECTOR
#define GCM_VECTOR 32 /* bytes: two blocks */
#endif

#define GCM_INLINE static inline __attribute__((always_inline))
#define GCM_BLOCK 16
#define GCM_CHUNK_VECTORS 4
#define GCM_POWERS 8      /* H^8..H^1 */
#define GCM_ROUNDS_128 10 /* FIPS 197 section 5 */
#define GCM_ROUNDS_192 12
#define GCM_ROUNDS_256 14
#define GCM_SWAP_HALVES 0x4e                            /* of each block, for shuffle_epi32 */
#define GCM_POLYNOMIAL ((long long)0xc200000000000000u) /* x^127 + x^126 + x^121, bits swapped */
#define GCM_COUNTER_BYTE 0xffu                          /* last byte of a counter block */
#define GCM_LINE 64                                     /* of a cache */
#define GCM_LINES_AHEAD 8                               /* of text */

/* As it lies in memory: with AES-128 it ends after eleven round keys. 304 to 368 bytes, so that the
 * keys of many SAs need few cache lines; what else a burst needs is made anew for each key. */
struct gcm_key {
	uint8_t powers[GCM_POWERS][GCM_BLOCK]; /* H^8, H^7, ... H^1, each times x */
	uint8_t round_keys[GCM_ROUNDS_256 + 1][GCM_BLOCK];
};

struct gcm_cipher {
	const struct gcm_key *key;
	unsigned rounds;
};

GCM_INLINE __m128i gcm_load_block(const void *block)
{
	return _mm_loadu_si128((const __m128i_u *)block);
}

GCM_INLINE void gcm_store_block(void *block, __m128i value)
{
	_mm_storeu_si128((__m128i_u *)block, value);
}

GCM_INLINE __m128i gcm_swap_block(__m128i block)
{
	return _mm_shuffle_epi8(
		block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/* --- vectors ------------------------------------------------------------------------------------
 */

#if GCM_VECTOR == 64
typedef __m512i gcm_vector;

GCM_INLINE gcm_vector gcm_xor(gcm_vector x, gcm_vector y)
{
	return _mm512_xor_si512(x, y);
}

GCM_INLINE gcm_vector gcm_broadcast(__m128i block)
{
	return _mm512_broadcast_i32x4(block);
}

GCM_INLINE gcm_vector gcm_load(const void *vector)
{
	return _mm512_loadu_si512(vector);
}

GCM_INLINE void gcm_store(void *vector, gcm_vector value)
{
	_mm512_storeu_si512(vector, value);
}

GCM_INLINE gcm_vector gcm_swap_bytes(gcm_vector blocks)
{
	return _mm512_shuffle_epi8(blocks,
		gcm_broadcast(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

GCM_INLINE gcm_vector gcm_aes(gcm_vector state, gcm_vector round_key)
{
	return _mm512_aesenc_epi128(state, round_key);
}

GCM_INLINE gcm_vector gcm_aes_last(gcm_vector state, gcm_vector round_key)
{
	return _mm512_aesenclast_epi128(state, round_key);
}
#else
typedef __m256i gcm_vector;

GCM_INLINE gcm_vector gcm_xor(gcm_vector x, gcm_vector y)
{
	return _mm256_xor_si256(x, y);
}

GCM_INLINE gcm_vector gcm_broadcast(__m128i block)
{
	return _mm256_broadcastsi128_si256(block);
}

GCM_INLINE gcm_vector gcm_load(const void *vector)
{
	return _mm256_loadu_si256((const __m256i_u *)vector);
}

GCM_INLINE void gcm_store(void *vector, gcm_vector value)
{
	_mm256_storeu_si256((__m256i_u *)vector, value);
}

GCM_INLINE gcm_vector gcm_swap_bytes(gcm_vector blocks)
{
	return _mm256_shuffle_epi8(blocks,
		gcm_broadcast(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

GCM_INLINE gcm_vector gcm_aes(gcm_vector state, gcm_vector round_key)
{
	return _mm256_aesenc_epi128(state, round_key);
}

GCM_INLINE gcm_vector gcm_aes_last(gcm_vector state, gcm_vector round_key)
{
	return _mm256_aesenclast_epi128(state, round_key);
}
#endif

struct gcm_chunk { /* a: first */
	gcm_vector a, b, c, d;
};

/* --- AES ----------------------------------------------------------------------------------------
 */

GCM_INLINE gcm_vector gcm_round_key(const struct gcm_key *key, unsigned round)
{
	return gcm_broadcast(gcm_load_block(key->round_keys[round]));
}

/* Of the last n vectors of a chunk here and below; n is a constant of the caller. */
GCM_INLINE void gcm_first_key(struct gcm_chunk *state, unsigned n, const struct gcm_key *key)
{
	const gcm_vector round_key = gcm_round_key(key, 0);

	if (n > 3)
		state->a = gcm_xor(state->a, round_key);
	if (n > 2)
		state->b = gcm_xor(state->b, round_key);
	if (n > 1)
		state->c = gcm_xor(state->c, round_key);
	if (n > 0)
		state->d = gcm_xor(state->d, round_key);
}

GCM_INLINE void gcm_round(
	struct gcm_chunk *state, unsigned n, const struct gcm_key *key, unsigned round)
{
	const gcm_vector round_key = gcm_round_key(key, round);

	if (n > 3)
		state->a = gcm_aes(state->a, round_key);
	if (n > 2)
		state->b = gcm_aes(state->b, round_key);
	if (n > 1)
		state->c = gcm_aes(state->c, round_key);
	if (n > 0)
		state->d = gcm_aes(state->d, round_key);
}

GCM_INLINE void gcm_three_rounds(
	struct gcm_chunk *state, unsigned n, const struct gcm_key *key, unsigned first)
{
	gcm_round(state, n, key, first);
	gcm_round(state, n, key, first + 1);
	gcm_round(state, n, key, first + 2);
}

/* Those that longer keys have between the ninth and the last. */
GCM_INLINE void gcm_more_rounds(
	struct gcm_chunk *state, unsigned n, const struct gcm_cipher *cipher)
{
	if (cipher->rounds == GCM_ROUNDS_128)
		return;
	gcm_round(state, n, cipher->key, 10);
	gcm_round(state, n, cipher->key, 11);
	if (cipher->rounds != GCM_ROUNDS_256)
		return;
	gcm_round(state, n, cipher->key, 12);
	gcm_round(state, n, cipher->key, 13);
}

GCM_INLINE void gcm_last_round(struct gcm_chunk *state, unsigned n, const struct gcm_cipher *cipher)
{
	const gcm_vector round_key = gcm_round_key(cipher->key, cipher->rounds);

	if (n > 3)
		state->a = gcm_aes_last(state->a, round_key);
	if (n > 2)
		state->b = gcm_aes_last(state->b, round_key);
	if (n > 1)
		state->c = gcm_aes_last(state->c, round_key);
	if (n > 0)
		state->d = gcm_aes_last(state->d, round_key);
}

/* --- GHASH: what both widths have ----------------------------------------------------------------
 */

struct gcm_product { /* of operands of two halves; not reduced */
	gcm_vector low, middle, high;
};

/* What is written before this is computed before it: else compilers move all of GHASH behind all of
 * AES, and it takes a large out-of-order window to bring them together again. */
GCM_INLINE void gcm_in_order(struct gcm_chunk *state, struct gcm_product *product)
{
	__asm__ volatile(
		""
		: "+v"(state->d), "+v"(product->low), "+v"(product->middle), "+v"(product->high));
}

/* sum: of the whole message; mask: its tag's block of key stream. Time does not depend on where
 * tags differ. */
GCM_INLINE void gcm_finish_tag(struct crypto_op *op, __m128i sum, __m128i mask, bool encrypt)
{
	__m128i tag = _mm_xor_si128(gcm_swap_block(sum), mask);

	if (encrypt) {
		gcm_store_block(op->tag, tag);
		op->ok = true;
	} else {
		tag = _mm_xor_si128(tag, gcm_load_block(op->tag));
		op->ok = _mm_testz_si128(tag, tag) != 0;
	}
}

/* --- text that is asked for ahead ----------------------------------------------------------------
 */

struct gcm_ahead {
	const struct crypto_op *op, *end;
	const uint8_t *line;
};

GCM_INLINE const uint8_t *gcm_line_of(const uint8_t *at)
{
	return at - ((uintptr_t)at & (GCM_LINE - 1));
}

/* Two lines. */
GCM_INLINE void gcm_fetch(struct gcm_ahead *ahead)
{
	if (ahead->op == ahead->end)
		return;
	__builtin_prefetch(ahead->line);
	__builtin_prefetch(ahead->line + GCM_LINE);
	ahead->line += 2 * GCM_LINE;
	if (ahead->line < ahead->op->data + ahead->op->len)
		return;
	ahead->op++;
	if (ahead->op != ahead->end)
		ahead->line = gcm_line_of(ahead->op->data);
}

/* n is not 0. */
GCM_INLINE void gcm_fetch_start(struct gcm_ahead *ahead, const struct crypto_op *ops, unsigned n)
{
	*ahead = (struct gcm_ahead){.op = ops, .end = ops + n, .line = gcm_line_of(ops[0].data)};
	for (unsigned i = 0; i < GCM_LINES_AHEAD; i += 2)
		gcm_fetch(ahead);
}
#endif
