/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_VAES_GCM_H
#define DATAPLANE_ESP_CRYPTO_VAES_GCM_H
/*
 * AES-GCM in vectors of two blocks: the arithmetic of crypto_vaes.c, one chunk at a time.
 *
 * A chunk is four vectors. gcm_chunk() turns up to four vectors of counters into key stream and, in
 * the gaps that one leaves, hashes four vectors of another chunk: the two may belong to different
 * messages with different keys. Nothing here branches on, or looks up by, a key, text or tag.
 *
 * GHASH blocks are byte-swapped, so that bit 127 is the coefficient of x^0; powers of H are stored
 * times x, which makes up for the bit that a carry-less product of swapped operands is short of.
 *
 * Threads: any; no state. Needs AVX2, VAES, VPCLMULQDQ.
 * Sources: NIST SP 800-38D sections 6.3 and 6.4; FIPS 197; Gueron, Kounavis, "Intel Carry-Less
 *          Multiplication Instruction and its Usage for Computing the GCM Mode", 2014 (one
 *          reduction for several products, Karatsuba, folding by 64 bits).
 */
#include <immintrin.h>
#include <stdint.h>

#define GCM_INLINE static inline __attribute__((always_inline))
#define GCM_BLOCK 16
#define GCM_VECTOR 32       /* bytes: two blocks */
#define GCM_CHUNK_VECTORS 4 /* H^8..H^1: one reduction for eight blocks */
#define GCM_ROUNDS_128 10   /* FIPS 197 section 5 */
#define GCM_ROUNDS_192 12
#define GCM_ROUNDS_256 14
#define GCM_SWAP_HALVES 0x4e                            /* of each block, for shuffle_epi32 */
#define GCM_POLYNOMIAL ((long long)0xc200000000000000u) /* x^127 + x^126 + x^121, bits swapped */

/* As it lies in memory: with AES-128 it ends after eleven round keys. 304 to 368 bytes, so that the
 * keys of many SAs need few cache lines; Karatsuba's halves are made anew for each key. */
struct gcm_key {
	uint8_t powers[GCM_CHUNK_VECTORS][GCM_VECTOR]; /* H^8 H^7, ... H^2 H^1, each times x */
	uint8_t round_keys[GCM_ROUNDS_256 + 1][GCM_BLOCK];
};

struct gcm_chunk { /* a: first */
	__m256i a, b, c, d;
};

struct gcm_cipher {
	const struct gcm_key *key;
	unsigned rounds;
};

struct gcm_hash { /* a message that is being hashed, one chunk behind */
	const struct gcm_key *key;
	__m256i halves_ab, halves_cd; /* of key->powers, added */
	struct gcm_chunk blocks;      /* the chunk, as it is on the wire */
	__m128i sum;                  /* of all before */
};

struct gcm_product { /* Karatsuba's three, not reduced */
	__m256i low, middle, high;
};

GCM_INLINE __m256i gcm_load(const uint8_t *vector)
{
	return _mm256_loadu_si256((const __m256i_u *)(const void *)vector);
}

GCM_INLINE __m256i gcm_swap_bytes(__m256i blocks)
{
	const __m256i order = _mm256_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

	return _mm256_shuffle_epi8(blocks, order);
}

/* The two halves of each block added: those of x in the low half of each lane, of y in the high. */
GCM_INLINE __m256i gcm_halves(__m256i x, __m256i y)
{
	return _mm256_xor_si256(_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y));
}

/* x times power_x and y times power_y, added; halves: of both powers. */
GCM_INLINE struct gcm_product gcm_multiply(
	__m256i x, __m256i y, __m256i power_x, __m256i power_y, __m256i halves)
{
	const __m256i sums = gcm_halves(x, y);

	return (struct gcm_product){
		.low = _mm256_xor_si256(_mm256_clmulepi64_epi128(x, power_x, 0x00),
			_mm256_clmulepi64_epi128(y, power_y, 0x00)),
		.middle = _mm256_xor_si256(_mm256_clmulepi64_epi128(sums, halves, 0x00),
			_mm256_clmulepi64_epi128(sums, halves, 0x11)),
		.high = _mm256_xor_si256(_mm256_clmulepi64_epi128(x, power_x, 0x11),
			_mm256_clmulepi64_epi128(y, power_y, 0x11))};
}

GCM_INLINE void gcm_add(struct gcm_product *product, struct gcm_product more)
{
	product->low = _mm256_xor_si256(product->low, more.low);
	product->middle = _mm256_xor_si256(product->middle, more.middle);
	product->high = _mm256_xor_si256(product->high, more.high);
}

/* Modulo x^128 + x^7 + x^2 + x + 1: twice 64 bits from below; then both lanes become one. */
GCM_INLINE __m128i gcm_reduce(struct gcm_product product)
{
	const __m256i poly = _mm256_set1_epi64x(GCM_POLYNOMIAL), low = product.low;
	__m256i middle = _mm256_xor_si256(product.middle, _mm256_xor_si256(low, product.high));
	__m256i high = product.high;

	middle = _mm256_xor_si256(middle, _mm256_shuffle_epi32(low, GCM_SWAP_HALVES));
	middle = _mm256_xor_si256(middle, _mm256_clmulepi64_epi128(low, poly, 0x00));
	high = _mm256_xor_si256(high, _mm256_shuffle_epi32(middle, GCM_SWAP_HALVES));
	high = _mm256_xor_si256(high, _mm256_clmulepi64_epi128(middle, poly, 0x00));
	return _mm_xor_si128(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

/* The halves are made once for a run of messages with the same key. */
GCM_INLINE void gcm_hash_start(struct gcm_hash *hash, const struct gcm_key *key)
{
	hash->sum = _mm_setzero_si128();
	if (hash->key == key)
		return;
	hash->key = key;
	hash->halves_ab = gcm_halves(gcm_load(key->powers[0]), gcm_load(key->powers[1]));
	hash->halves_cd = gcm_halves(gcm_load(key->powers[2]), gcm_load(key->powers[3]));
}

GCM_INLINE struct gcm_product gcm_hash_ab(const struct gcm_hash *hash)
{
	const __m256i a = _mm256_xor_si256(
		gcm_swap_bytes(hash->blocks.a), _mm256_zextsi128_si256(hash->sum));

	return gcm_multiply(a, gcm_swap_bytes(hash->blocks.b), gcm_load(hash->key->powers[0]),
		gcm_load(hash->key->powers[1]), hash->halves_ab);
}

GCM_INLINE struct gcm_product gcm_hash_cd(const struct gcm_hash *hash)
{
	return gcm_multiply(gcm_swap_bytes(hash->blocks.c), gcm_swap_bytes(hash->blocks.d),
		gcm_load(hash->key->powers[2]), gcm_load(hash->key->powers[3]), hash->halves_cd);
}

/* The sum of the chunk and of all before. */
GCM_INLINE __m128i gcm_hash_chunk(const struct gcm_hash *hash)
{
	struct gcm_product product = gcm_hash_cd(hash);

	gcm_add(&product, gcm_hash_ab(hash));
	return gcm_reduce(product);
}

GCM_INLINE __m256i gcm_round_key(const struct gcm_key *key, unsigned round)
{
	return _mm256_broadcastsi128_si256(
		_mm_loadu_si128((const __m128i_u *)(const void *)key->round_keys[round]));
}

/* Of the last n vectors of a chunk here and below; n is a constant of the caller. */
GCM_INLINE void gcm_first_key(struct gcm_chunk *state, unsigned n, const struct gcm_key *key)
{
	const __m256i round_key = gcm_round_key(key, 0);

	if (n > 3)
		state->a = _mm256_xor_si256(state->a, round_key);
	if (n > 2)
		state->b = _mm256_xor_si256(state->b, round_key);
	if (n > 1)
		state->c = _mm256_xor_si256(state->c, round_key);
	if (n > 0)
		state->d = _mm256_xor_si256(state->d, round_key);
}

GCM_INLINE void gcm_round(
	struct gcm_chunk *state, unsigned n, const struct gcm_key *key, unsigned round)
{
	const __m256i round_key = gcm_round_key(key, round);

	if (n > 3)
		state->a = _mm256_aesenc_epi128(state->a, round_key);
	if (n > 2)
		state->b = _mm256_aesenc_epi128(state->b, round_key);
	if (n > 1)
		state->c = _mm256_aesenc_epi128(state->c, round_key);
	if (n > 0)
		state->d = _mm256_aesenc_epi128(state->d, round_key);
}

GCM_INLINE void gcm_last_round(
	struct gcm_chunk *state, unsigned n, const struct gcm_key *key, unsigned round)
{
	const __m256i round_key = gcm_round_key(key, round);

	if (n > 3)
		state->a = _mm256_aesenclast_epi128(state->a, round_key);
	if (n > 2)
		state->b = _mm256_aesenclast_epi128(state->b, round_key);
	if (n > 1)
		state->c = _mm256_aesenclast_epi128(state->c, round_key);
	if (n > 0)
		state->d = _mm256_aesenclast_epi128(state->d, round_key);
}

/* What is written before this is computed before it: else compilers move all of GHASH behind all of
 * AES, and it takes a large out-of-order window to bring them together again. */
GCM_INLINE void gcm_in_order(struct gcm_chunk *state, struct gcm_product *product)
{
	__asm__ volatile(
		""
		: "+x"(state->d), "+x"(product->low), "+x"(product->middle), "+x"(product->high));
}

/* Encrypts the last n vectors of state; meanwhile does gcm_hash_chunk(). */
GCM_INLINE __m128i gcm_chunk(struct gcm_chunk *state, unsigned n, const struct gcm_cipher *cipher,
	const struct gcm_hash *hash)
{
	const struct gcm_key *key = cipher->key;
	struct gcm_product product;
	__m128i sum;

	gcm_first_key(state, n, key);
	gcm_round(state, n, key, 1);
	gcm_round(state, n, key, 2);
	gcm_round(state, n, key, 3);
	product = gcm_hash_cd(hash);
	gcm_in_order(state, &product);
	gcm_round(state, n, key, 4);
	gcm_round(state, n, key, 5);
	gcm_round(state, n, key, 6);
	gcm_add(&product, gcm_hash_ab(hash));
	gcm_in_order(state, &product);
	gcm_round(state, n, key, 7);
	gcm_round(state, n, key, 8);
	gcm_round(state, n, key, 9);
	if (cipher->rounds != GCM_ROUNDS_128) {
		gcm_round(state, n, key, 10);
		gcm_round(state, n, key, 11);
		if (cipher->rounds == GCM_ROUNDS_256) {
			gcm_round(state, n, key, 12);
			gcm_round(state, n, key, 13);
		}
	}
	sum = gcm_reduce(product);
	gcm_last_round(state, n, key, cipher->rounds);
	return sum;
}
#endif
