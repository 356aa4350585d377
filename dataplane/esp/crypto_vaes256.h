/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_VAES256_H
#define DATAPLANE_ESP_CRYPTO_VAES256_H
/*
 * AES-GCM in vectors of two blocks: the arithmetic of crypto_vaes256.c, one chunk at a time, and of
 * crypto_vaes_key.c.
 *
 * A chunk is four vectors. gcm_chunk() turns up to four vectors of counters into key stream and, in
 * the gaps that one leaves, hashes four vectors of another chunk: the two may belong to different
 * messages with different keys. There is one reduction for the eight blocks of a chunk.
 *
 * Threads, sources: see crypto_vaes_gcm.h.
 */
#include "dataplane/esp/crypto_vaes_gcm.h"

struct gcm_hash { /* a message that is being hashed, one chunk behind */
	const struct gcm_key *key;
	__m256i halves_ab, halves_cd; /* of key->powers, added */
	struct gcm_chunk blocks;      /* the chunk, as it is on the wire */
	__m128i sum;                  /* of all before */
};

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
	hash->halves_ab = gcm_halves(gcm_load(key->powers[0]), gcm_load(key->powers[2]));
	hash->halves_cd = gcm_halves(gcm_load(key->powers[4]), gcm_load(key->powers[6]));
}

GCM_INLINE struct gcm_product gcm_hash_ab(const struct gcm_hash *hash)
{
	const __m256i a = _mm256_xor_si256(
		gcm_swap_bytes(hash->blocks.a), _mm256_zextsi128_si256(hash->sum));

	return gcm_multiply(a, gcm_swap_bytes(hash->blocks.b), gcm_load(hash->key->powers[0]),
		gcm_load(hash->key->powers[2]), hash->halves_ab);
}

GCM_INLINE struct gcm_product gcm_hash_cd(const struct gcm_hash *hash)
{
	return gcm_multiply(gcm_swap_bytes(hash->blocks.c), gcm_swap_bytes(hash->blocks.d),
		gcm_load(hash->key->powers[4]), gcm_load(hash->key->powers[6]), hash->halves_cd);
}

/* The sum of the chunk and of all before. */
GCM_INLINE __m128i gcm_hash_chunk(const struct gcm_hash *hash)
{
	struct gcm_product product = gcm_hash_cd(hash);

	gcm_add(&product, gcm_hash_ab(hash));
	return gcm_reduce(product);
}

/* Encrypts the last n vectors of state; meanwhile does gcm_hash_chunk(). */
GCM_INLINE __m128i gcm_chunk(struct gcm_chunk *state, unsigned n, const struct gcm_cipher *cipher,
	const struct gcm_hash *hash)
{
	struct gcm_product product;
	__m128i sum;

	gcm_first_key(state, n, cipher->key);
	gcm_three_rounds(state, n, cipher->key, 1);
	product = gcm_hash_cd(hash);
	gcm_in_order(state, &product);
	gcm_three_rounds(state, n, cipher->key, 4);
	gcm_add(&product, gcm_hash_ab(hash));
	gcm_in_order(state, &product);
	gcm_three_rounds(state, n, cipher->key, 7);
	gcm_more_rounds(state, n, cipher);
	sum = gcm_reduce(product);
	gcm_last_round(state, n, cipher);
	return sum;
}
#endif
