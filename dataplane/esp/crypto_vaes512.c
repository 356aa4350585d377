/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AES-GCM with 512-bit VAES and VPCLMULQDQ, for CPUs that have these with AVX-512.
 *
 * How this works. What GHASH sums of a message of m blocks are the m + 2 blocks A C1..Cm L:
 * additional data, ciphertext, lengths. They are laid right-aligned into vectors of four blocks,
 * and vectors right-aligned into chunks of four; zeros in front change no sum. So each place of a
 * chunk always meets the same power of H, and only the first and the last vector of a message are
 * special:
 *
 *     m = 5    - A C1 C2 | C3 C4 C5 L
 *     m = 15   - - - A  ||  C1 C2 C3 C4 | C5 C6 C7 C8 | C9 C10 C11 C12 | C13 C14 C15 L
 *
 * Masks say which bytes of these two are text: nothing else of the message's neighbourhood is read
 * or written, and a message may have any length, 0 as well. Key stream is made in the same places;
 * that of A is counter 1, which encrypts the tag.
 *
 * Each step but a message's first makes the key stream of one chunk and hashes the chunk before it
 * (gcm_chunk), so that AES and GHASH fill each other's gaps; between messages it is left to the
 * processor, whose window is large where it has these instructions. One reduction for 16 blocks
 * asks for H^16..H^9, which are not in a key: they are made of the others for each run of long
 * messages with one key, in ten instructions or so, which costs less than two more lines of each
 * key would.
 *
 * What a burst leaves in vector registers is wiped before it returns.
 *
 * Sources: NIST SP 800-38D section 7; RFC 4106.
 */
#define GCM_VECTOR 64
#include "dataplane/esp/crypto_vaes.h"
#include "dataplane/esp/crypto_vaes_gcm.h"

#define VECTOR_BLOCKS (GCM_VECTOR / GCM_BLOCK)
#define COUNTER_WORDS ((__mmask16)0x8888) /* the last 32 bits of each block */

/* What a step is, constants of its callers. */
#define STEP_ENCRYPT 1u
#define STEP_FIRST 2u /* chunk of a message */
#define STEP_LAST 4u

struct hash {                    /* a message that is being hashed, one chunk behind */
	struct gcm_chunk powers; /* H^16..H^13, ... H^4..H^1 */
	struct gcm_chunk blocks; /* the chunk */
	__m128i sum;             /* of all before */
};

struct edges {                 /* of a message */
	__mmask64 first, last; /* which bytes of its first and of its last vector are text */
	__mmask8 aad_place;    /* in the first, halves of blocks */
	__m128i aad, lengths;  /* byte-swapped */
};

struct message {
	struct crypto_op *op;
	struct gcm_cipher cipher;
	struct edges edges;
	uint8_t *at;   /* text of the next vector */
	int32_t count; /* of the next vector's first block */
	__m512i counters;
	__m512i nonce; /* counter 0 */
	__m128i tag_mask;
};

struct burst {
	struct message message;
	struct hash hash;
	const struct gcm_key *far_powers; /* whose H^16..H^9 are in the hash */
	struct crypto_op *before; /* a long message, its last chunk still in the hash; or NULL */
	__m128i before_mask;
	struct gcm_ahead ahead;
};

/* --- GHASH --------------------------------------------------------------------------------------
 */

GCM_INLINE __m512i xor3(__m512i x, __m512i y, __m512i z)
{
	return _mm512_ternarylogic_epi64(x, y, z, 0x96);
}

GCM_INLINE struct gcm_product multiply(__m512i x, __m512i power)
{
	return (struct gcm_product){.low = _mm512_clmulepi64_epi128(x, power, 0x00),
		.middle = gcm_xor(_mm512_clmulepi64_epi128(x, power, 0x01),
			_mm512_clmulepi64_epi128(x, power, 0x10)),
		.high = _mm512_clmulepi64_epi128(x, power, 0x11)};
}

GCM_INLINE void add(struct gcm_product *sum, struct gcm_product x)
{
	sum->low = gcm_xor(sum->low, x.low);
	sum->middle = gcm_xor(sum->middle, x.middle);
	sum->high = gcm_xor(sum->high, x.high);
}

GCM_INLINE void add_two(struct gcm_product *sum, struct gcm_product x, struct gcm_product y)
{
	sum->low = xor3(sum->low, x.low, y.low);
	sum->middle = xor3(sum->middle, x.middle, y.middle);
	sum->high = xor3(sum->high, x.high, y.high);
}

/* Modulo x^128 + x^7 + x^2 + x + 1, each lane: twice 64 bits from below. */
GCM_INLINE __m512i reduce_lanes(struct gcm_product product)
{
	const __m512i poly = _mm512_set1_epi64(GCM_POLYNOMIAL);
	__m512i middle = xor3(product.middle,
		_mm512_shuffle_epi32(product.low, (_MM_PERM_ENUM)GCM_SWAP_HALVES),
		_mm512_clmulepi64_epi128(product.low, poly, 0x00));

	return xor3(product.high, _mm512_shuffle_epi32(middle, (_MM_PERM_ENUM)GCM_SWAP_HALVES),
		_mm512_clmulepi64_epi128(middle, poly, 0x00));
}

/* Then the lanes become one. */
GCM_INLINE __m128i reduce(struct gcm_product product)
{
	__m512i lanes = reduce_lanes(product);
	__m256i two = _mm256_xor_si256(
		_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));

	return _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

/* The last p vectors of a chunk here and below, 1 to 4; p is a constant of the caller. Only in
 * front of a whole chunk there is anything: a message's first has p vectors. */
GCM_INLINE struct gcm_product hash_cd(const struct hash *hash, unsigned p)
{
	struct gcm_product product = multiply(hash->blocks.d, hash->powers.d);

	if (p > 1)
		add(&product, multiply(hash->blocks.c, hash->powers.c));
	return product;
}

GCM_INLINE void hash_ab(const struct hash *hash, unsigned p, struct gcm_product *product)
{
	const __m512i a = gcm_xor(hash->blocks.a, _mm512_zextsi128_si512(hash->sum));

	if (p == 3)
		add(product, multiply(hash->blocks.b, hash->powers.b));
	else if (p == 4)
		add_two(product, multiply(hash->blocks.b, hash->powers.b),
			multiply(a, hash->powers.a));
}

GCM_INLINE void hash_chunk(struct hash *hash, unsigned p)
{
	struct gcm_product product = hash_cd(hash, p);

	hash_ab(hash, p, &product);
	hash->sum = reduce(product);
}

/* Encrypts the last n vectors of state; meanwhile hashes p vectors, or with 0 none. */
GCM_INLINE void gcm_chunk(struct gcm_chunk *state, unsigned n, const struct gcm_cipher *cipher,
	struct hash *hash, unsigned p)
{
	struct gcm_product product;

	gcm_first_key(state, n, cipher->key);
	gcm_three_rounds(state, n, cipher->key, 1);
	if (p > 0) {
		product = hash_cd(hash, p);
		gcm_in_order(state, &product);
	}
	gcm_three_rounds(state, n, cipher->key, 4);
	if (p > 2) {
		hash_ab(hash, p, &product);
		gcm_in_order(state, &product);
	}
	gcm_three_rounds(state, n, cipher->key, 7);
	gcm_more_rounds(state, n, cipher);
	if (p > 0)
		hash->sum = reduce(product);
	gcm_last_round(state, n, cipher);
}

/* Those that a message of so many vectors needs. */
GCM_INLINE void load_powers(struct burst *b, uint32_t vectors)
{
	const struct gcm_key *key = b->message.cipher.key;
	struct gcm_chunk *powers = &b->hash.powers;
	__m512i eighth;

	powers->c = gcm_load(key->powers[0]);
	powers->d = gcm_load(key->powers[4]);
	if (vectors <= 2 || b->far_powers == key)
		return;
	b->far_powers = key;
	eighth = gcm_broadcast(gcm_load_block(key->powers[0]));
	powers->a = reduce_lanes(multiply(powers->c, eighth));
	powers->b = reduce_lanes(multiply(powers->d, eighth));
}

/* --- a message ----------------------------------------------------------------------------------
 */

GCM_INLINE __m512i counters_at(__m512i nonce, int32_t count)
{
	const __m512i order = gcm_broadcast(
		_mm_set_epi8(0, 1, 2, 3, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
	const __m512i lanes = _mm512_set_epi32(0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0);
	__m512i counts = _mm512_add_epi32(_mm512_set1_epi32(count), lanes);

	return _mm512_or_si512(nonce, _mm512_shuffle_epi8(counts, order));
}

/* Counts up the last byte of each counter block. */
GCM_INLINE __m512i counters_add(__m512i counters, uint32_t n)
{
	return _mm512_add_epi32(counters, _mm512_maskz_set1_epi32(COUNTER_WORDS, (int)(n << 24)));
}

/* The counters of the last n vectors of a chunk. In a message below 4 KB the last byte does not
 * overflow, and in the first chunk of any. */
GCM_INLINE struct gcm_chunk counters_next(struct message *m, unsigned n, unsigned step)
{
	const __m512i now = m->counters;
	const int32_t next = m->count + VECTOR_BLOCKS * (int32_t)n;
	const uint32_t last_byte = (uint32_t)m->count & GCM_COUNTER_BYTE;
	struct gcm_chunk out = {now, now, now, now};

	if ((step & STEP_FIRST) == 0 &&
		__builtin_expect(last_byte + VECTOR_BLOCKS * n > GCM_COUNTER_BYTE, 0)) {
		out.a = counters_at(m->nonce, next - 4 * VECTOR_BLOCKS);
		out.b = counters_at(m->nonce, next - 3 * VECTOR_BLOCKS);
		out.c = counters_at(m->nonce, next - 2 * VECTOR_BLOCKS);
		out.d = counters_at(m->nonce, next - VECTOR_BLOCKS);
		m->counters = counters_at(m->nonce, next);
	} else {
		if (n > 3)
			out.b = counters_add(now, (n - 3) * VECTOR_BLOCKS);
		if (n > 2)
			out.c = counters_add(now, (n - 2) * VECTOR_BLOCKS);
		if (n > 1)
			out.d = counters_add(now, (n - 1) * VECTOR_BLOCKS);
		m->counters = counters_add(now, n * VECTOR_BLOCKS);
	}
	m->count = next;
	return out;
}

GCM_INLINE __m512i crypt_inner(uint8_t *at, __m512i key_stream, unsigned step)
{
	__m512i in = gcm_load(at), out = gcm_xor(in, key_stream);

	gcm_store(at, out);
	return gcm_swap_bytes(step & STEP_ENCRYPT ? out : in);
}

/* The first vector, the last, or one that is both. */
GCM_INLINE __m512i crypt_edge(struct message *m, uint8_t *at, __m512i key_stream, unsigned step)
{
	const struct edges *edges = &m->edges;
	const __mmask64 text = (step & STEP_FIRST ? edges->first : ~(__mmask64)0) &
			       (step & STEP_LAST ? edges->last : ~(__mmask64)0);
	__m512i in = _mm512_maskz_loadu_epi8(text, at), out = gcm_xor(in, key_stream);
	__m512i blocks = gcm_swap_bytes(
		step & STEP_ENCRYPT ? _mm512_maskz_mov_epi8(text, out) : in);

	_mm512_mask_storeu_epi8(at, text, out);
	if (step & STEP_FIRST) {
		blocks = _mm512_mask_broadcast_i64x2(blocks, edges->aad_place, edges->aad);
		m->tag_mask = _mm512_castsi512_si128(
			_mm512_maskz_compress_epi64(edges->aad_place, key_stream));
	}
	if (step & STEP_LAST)
		blocks = _mm512_inserti64x2(blocks, edges->lengths, VECTOR_BLOCKS - 1);
	return blocks;
}

/* The text of the vector in a place of n in a row; 0 is the last. Returns what is to be hashed. */
GCM_INLINE __m512i crypt_text(
	struct message *m, unsigned n, unsigned place, __m512i key_stream, unsigned step)
{
	uint8_t *at = m->at + (size_t)GCM_VECTOR * (n - 1 - place);
	const unsigned first = place == n - 1 ? step & STEP_FIRST : 0;
	const unsigned last = place == 0 ? step & STEP_LAST : 0;

	if (first != 0 || last != 0)
		return crypt_edge(m, at, key_stream, (step & STEP_ENCRYPT) | first | last);
	return crypt_inner(at, key_stream, step);
}

/* n vectors of key stream, 1 to 4, while p vectors are hashed. */
GCM_INLINE void run_step(struct burst *b, unsigned n, unsigned p, unsigned step)
{
	struct message *m = &b->message;
	struct gcm_chunk key_stream = counters_next(m, n, step), *blocks = &b->hash.blocks;

	gcm_fetch(&b->ahead);
	if (n > 2)
		gcm_fetch(&b->ahead);
	gcm_chunk(&key_stream, n, &m->cipher, &b->hash, p);
	if (n > 3)
		blocks->a = crypt_text(m, n, 3, key_stream.a, step);
	if (n > 2)
		blocks->b = crypt_text(m, n, 2, key_stream.b, step);
	if (n > 1)
		blocks->c = crypt_text(m, n, 1, key_stream.c, step);
	blocks->d = crypt_text(m, n, 0, key_stream.d, step);
	m->at += GCM_VECTOR * n;
}

/* The tag of the message before, which is hashed to its end. */
GCM_INLINE void finish_before(struct burst *b, unsigned step)
{
	if (b->before == NULL)
		return;
	gcm_finish_tag(b->before, b->hash.sum, b->before_mask, step & STEP_ENCRYPT);
	b->before = NULL;
}

GCM_INLINE void hash_before(struct burst *b, unsigned step)
{
	if (b->before == NULL)
		return;
	hash_chunk(&b->hash, 4);
	finish_before(b, step);
}

/* A message of n vectors; of one chunk, that is. */
GCM_INLINE void run_short(struct burst *b, unsigned n, unsigned step)
{
	b->hash.sum = _mm_setzero_si128();
	run_step(b, n, 0, step | STEP_FIRST | STEP_LAST);
	load_powers(b, n);
	hash_chunk(&b->hash, n);
	gcm_finish_tag(b->message.op, b->hash.sum, b->message.tag_mask, step & STEP_ENCRYPT);
}

GCM_INLINE void run_short_message(struct burst *b, uint32_t vectors, unsigned step)
{
	hash_before(b, step);
	switch (vectors) {
	case 1:
		run_short(b, 1, step);
		break;
	case 2:
		run_short(b, 2, step);
		break;
	case 3:
		run_short(b, 3, step);
		break;
	default:
		run_short(b, 4, step);
	}
}

/* The first two chunks of a long message, of n and of four vectors. If there is none before it,
 * what is hashed then means nothing, and nobody asks. */
GCM_INLINE void run_first(struct burst *b, unsigned n, uint32_t more, unsigned step)
{
	run_step(b, n, 4, step | STEP_FIRST);
	finish_before(b, step);
	b->hash.sum = _mm_setzero_si128();
	load_powers(b, n + GCM_CHUNK_VECTORS);
	if (more == 1)
		run_step(b, 4, n, step | STEP_LAST);
	else
		run_step(b, 4, n, step);
}

/* more: chunks behind the first. */
GCM_INLINE void run_long_message(struct burst *b, uint32_t vectors, uint32_t more, unsigned step)
{
	switch (vectors - more * GCM_CHUNK_VECTORS) {
	case 1:
		run_first(b, 1, more, step);
		break;
	case 2:
		run_first(b, 2, more, step);
		break;
	case 3:
		run_first(b, 3, more, step);
		break;
	default:
		run_first(b, 4, more, step);
	}
	for (; more > 2; more--)
		run_step(b, 4, 4, step);
	if (more == 2)
		run_step(b, 4, 4, step | STEP_LAST);
	b->before = b->message.op;
	b->before_mask = b->message.tag_mask;
}

/* front: bytes of zeros in the first of so many vectors. */
GCM_INLINE struct edges edges_of(const struct crypto_op *op, uint32_t front, uint32_t vectors)
{
	const __mmask16 aad_bytes = (__mmask16)_bzhi_u32(0xffff, op->aad_len);
	const uint32_t end = front + GCM_BLOCK + op->len - GCM_VECTOR * (vectors - 1);

	return (struct edges){.first = ~(__mmask64)0 << front << GCM_BLOCK,
		.last = _bzhi_u64(~(__mmask64)0, end),
		.aad_place = (__mmask8)(3u << front / 8),
		.aad = gcm_swap_block(_mm_maskz_loadu_epi8(aad_bytes, op->aad)),
		.lengths = _mm_set_epi64x(op->aad_len * 8, (long long)op->len * 8)};
}

GCM_INLINE void run_message(struct burst *b, struct crypto_op *op, unsigned step)
{
	struct message *m = &b->message;
	const uint32_t places = (op->len + GCM_BLOCK - 1) / GCM_BLOCK + 2;
	const uint32_t vectors = (places + VECTOR_BLOCKS - 1) / VECTOR_BLOCKS;
	const uint32_t empty = VECTOR_BLOCKS * vectors - places; /* 0 to 3 */
	const uint32_t more = (vectors - 1) / GCM_CHUNK_VECTORS;
	const __mmask16 nonce_bytes = (1u << CRYPTO_NONCE_BYTES) - 1;

	m->op = op;
	m->cipher.key = op->key;
	m->cipher.rounds = crypto_vaes_rounds((enum crypto_alg)op->alg);
	m->edges = edges_of(op, empty * GCM_BLOCK, vectors);
	m->nonce = gcm_broadcast(_mm_maskz_loadu_epi8(nonce_bytes, op->nonce));
	m->counters = counters_add(counters_at(m->nonce, 1), 0u - empty);
	m->count = 1 - (int32_t)empty;
	m->at = op->data - (empty + 1) * GCM_BLOCK;
	if (more == 0)
		run_short_message(b, vectors, step);
	else
		run_long_message(b, vectors, more, step);
}

/* All of zmm0 to zmm31; the first instruction knows only half of these. */
GCM_INLINE void wipe_registers(void)
{
	_mm256_zeroall();
	__asm__ volatile(".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
			 "vpxord %%zmm\\n, %%zmm\\n, %%zmm\\n\n"
			 ".endr"
			 :
			 :
			 : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
			 "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}

GCM_INLINE void run_burst(struct crypto_op *ops, unsigned n, unsigned step)
{
	struct burst b = {.hash.sum = _mm_setzero_si128()};

	if (n == 0)
		return;
	gcm_fetch_start(&b.ahead, ops, n);
	for (unsigned i = 0; i < n; i++)
		run_message(&b, &ops[i], step);
	hash_before(&b, step);
	wipe_registers();
}

void crypto_vaes512_encrypt(struct crypto_op *ops, unsigned n)
{
	run_burst(ops, n, STEP_ENCRYPT);
}

void crypto_vaes512_decrypt(struct crypto_op *ops, unsigned n)
{
	run_burst(ops, n, 0);
}
