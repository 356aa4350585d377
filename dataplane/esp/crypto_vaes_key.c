/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key blobs of the VAES engine: round keys (FIPS 197 section 5.2), H = E(0) and its powers.
 */
#include "dataplane/esp/crypto_vaes.h"
#include "dataplane/esp/crypto_vaes256.h"

#include <stddef.h>

size_t crypto_vaes_key_blob_bytes(enum crypto_alg alg)
{
	return offsetof(struct gcm_key, round_keys) +
	       (crypto_vaes_rounds(alg) + (size_t)1) * GCM_BLOCK;
}

/* Each word plus all words before it: the expansion but for what its first word is given. */
static inline __m128i running_sum(__m128i words)
{
	words = _mm_xor_si128(words, _mm_slli_si128(words, 4));
	return _mm_xor_si128(words, _mm_slli_si128(words, 8));
}

/* The key after `before`; rcon is a constant of the instruction. assist: AESKEYGENASSIST gives
 * SubWord of a word in its word 2, and RotWord of that plus rcon in word 3. */
#define NEXT_ROTATED(before, of, rcon) \
	_mm_xor_si128(                 \
		running_sum(before), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(of, rcon), 0xff))
#define NEXT_PLAIN(before, of) \
	_mm_xor_si128(         \
		running_sum(before), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(of, 0), 0xaa))

static inline void expand_128(const uint8_t *key, uint8_t out[][GCM_BLOCK])
{
	__m128i k = gcm_load_block(key);

	gcm_store_block(out[0], k);
	gcm_store_block(out[1], k = NEXT_ROTATED(k, k, 0x01));
	gcm_store_block(out[2], k = NEXT_ROTATED(k, k, 0x02));
	gcm_store_block(out[3], k = NEXT_ROTATED(k, k, 0x04));
	gcm_store_block(out[4], k = NEXT_ROTATED(k, k, 0x08));
	gcm_store_block(out[5], k = NEXT_ROTATED(k, k, 0x10));
	gcm_store_block(out[6], k = NEXT_ROTATED(k, k, 0x20));
	gcm_store_block(out[7], k = NEXT_ROTATED(k, k, 0x40));
	gcm_store_block(out[8], k = NEXT_ROTATED(k, k, 0x80));
	gcm_store_block(out[9], k = NEXT_ROTATED(k, k, 0x1b));
	gcm_store_block(out[10], NEXT_ROTATED(k, k, 0x36));
}

/* Six words at a time, of which a round key has four: one and a half of these a step. The words 4
 * and 5 of a step are the running sum that begins with its word 3. */
static inline void expand_192(const uint8_t *key, uint8_t out[][GCM_BLOCK])
{
	__m128i low = gcm_load_block(key),
		high = _mm_loadl_epi64((const __m128i_u *)(const void *)(key + 16));
	uint8_t *at = out[0];

	gcm_store_block(at, low);
	_mm_storel_epi64((__m128i_u *)(void *)(at + 16), high);
#define STEP(rcon)                                                                       \
	do {                                                                             \
		low = _mm_xor_si128(running_sum(low),                                    \
			_mm_shuffle_epi32(_mm_aeskeygenassist_si128(high, rcon), 0x55)); \
		high = _mm_xor_si128(_mm_xor_si128(high, _mm_slli_si128(high, 4)),       \
			_mm_shuffle_epi32(low, 0xff));                                   \
		at += 24;                                                                \
		gcm_store_block(at, low);                                                \
		_mm_storel_epi64((__m128i_u *)(void *)(at + 16), high);                  \
	} while (0)
	STEP(0x01);
	STEP(0x02);
	STEP(0x04);
	STEP(0x08);
	STEP(0x10);
	STEP(0x20);
	STEP(0x40);
#undef STEP
	/* 52 words in all: of the last six only four. */
	low = _mm_xor_si128(
		running_sum(low), _mm_shuffle_epi32(_mm_aeskeygenassist_si128(high, 0x80), 0x55));
	gcm_store_block(at + 24, low);
}

static inline void expand_256(const uint8_t *key, uint8_t out[][GCM_BLOCK])
{
	__m128i even = gcm_load_block(key), odd = gcm_load_block(key + GCM_BLOCK);

	gcm_store_block(out[0], even);
	gcm_store_block(out[1], odd);
	gcm_store_block(out[2], even = NEXT_ROTATED(even, odd, 0x01));
	gcm_store_block(out[3], odd = NEXT_PLAIN(odd, even));
	gcm_store_block(out[4], even = NEXT_ROTATED(even, odd, 0x02));
	gcm_store_block(out[5], odd = NEXT_PLAIN(odd, even));
	gcm_store_block(out[6], even = NEXT_ROTATED(even, odd, 0x04));
	gcm_store_block(out[7], odd = NEXT_PLAIN(odd, even));
	gcm_store_block(out[8], even = NEXT_ROTATED(even, odd, 0x08));
	gcm_store_block(out[9], odd = NEXT_PLAIN(odd, even));
	gcm_store_block(out[10], even = NEXT_ROTATED(even, odd, 0x10));
	gcm_store_block(out[11], odd = NEXT_PLAIN(odd, even));
	gcm_store_block(out[12], even = NEXT_ROTATED(even, odd, 0x20));
	gcm_store_block(out[13], odd = NEXT_PLAIN(odd, even));
	gcm_store_block(out[14], NEXT_ROTATED(even, odd, 0x40));
}

/* A shift by one bit; the bit that falls out comes back as the polynomial. */
static inline __m128i times_x(__m128i block)
{
	const __m128i poly = _mm_set_epi64x(GCM_POLYNOMIAL, 1);
	__m128i out = _mm_srai_epi32(_mm_shuffle_epi32(block, 0xff), 31);
	__m128i carry = _mm_slli_si128(_mm_srli_epi64(block, 63), 8);

	return _mm_xor_si128(
		_mm_or_si128(_mm_slli_epi64(block, 1), carry), _mm_and_si128(out, poly));
}

static __attribute__((noinline)) void key_expand(
	enum crypto_alg alg, const uint8_t *key, struct gcm_key *out)
{
	const struct gcm_cipher cipher = {.key = out, .rounds = crypto_vaes_rounds(alg)};
	struct gcm_chunk state = {.d = _mm256_setzero_si256()};
	const __m256i zero = _mm256_setzero_si256();
	__m256i h, power;

	if (alg == CRYPTO_AES128GCM16)
		expand_128(key, out->round_keys);
	else if (alg == CRYPTO_AES192GCM16)
		expand_192(key, out->round_keys);
	else
		expand_256(key, out->round_keys);
	gcm_first_key(&state, 1, out);
	for (unsigned round = 1; round < cipher.rounds; round++)
		gcm_round(&state, 1, out, round);
	gcm_last_round(&state, 1, &cipher);
	power = gcm_swap_bytes(state.d);
	h = _mm256_zextsi128_si256(times_x(_mm256_castsi256_si128(power)));
	power = h;
	for (unsigned i = GCM_POWERS; i-- > 0;) {
		gcm_store_block(out->powers[i], _mm256_castsi256_si128(power));
		power = _mm256_zextsi128_si256(
			gcm_reduce(gcm_multiply(power, zero, h, zero, gcm_halves(h, zero))));
	}
	_mm256_zeroall();
}

void crypto_vaes_key_init(enum crypto_alg alg, const uint8_t *key, void *blob)
{
	key_expand(alg, key, blob);
	crypto_vaes_burn_stack();
}
