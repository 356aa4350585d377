/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AES-GCM with 256-bit VAES and VPCLMULQDQ, for CPUs that have these, with or without AVX-512.
 *
 * How this works. What GHASH sums of a message of m blocks are the m + 2 blocks A C1..Cm L:
 * additional data, ciphertext, lengths. They are laid right-aligned into vectors of two blocks, and
 * vectors right-aligned into chunks of four; zeros in front change no sum. So L is always the
 * second half of the last vector, each place of a chunk always meets the same power of H, and only
 * the first chunk and the last vector are special:
 *
 *     m = 5    - A  | C1 C2 | C3 C4 | C5 L
 *     m = 8    - -  |  - -  |  - -  |  A C1  ||  C2 C3 | C4 C5 | C6 C7 | C8 L
 *
 * Key stream is made in the same places, where L stands for the block that encrypts the tag.
 *
 * A burst is one row of chunks. Each step makes the key stream of one chunk and hashes the chunk
 * before it (gcm_chunk), be that of the same message or the end of the one before: AES and GHASH
 * fill each other's gaps, and while a short message waits for its tag the next one is worked on.
 * Each step also fetches lines of text from further ahead in the burst: the cipher runs faster than
 * memory.
 *
 * What a burst leaves in vector registers and below its stack frame is wiped before it returns.
 *
 * Sources: NIST SP 800-38D section 7; RFC 4106.
 */
#include "dataplane/esp/crypto_vaes.h"
#include "dataplane/esp/crypto_vaes256.h"

#include <stddef.h>

/* What a step is, constants of its callers. */
#define STEP_ENCRYPT 1u
#define STEP_FIRST 2u /* chunk of a message */
#define STEP_LAST 4u

struct message {
	struct gcm_cipher cipher;
	struct crypto_op *op;
	uint8_t *at;    /* text of the next vector */
	uint8_t *tail;  /* the 16 bytes that end with the text */
	int gap;        /* of these belong to the block before the last */
	uint32_t count; /* of the next vector's first block */
	bool odd;       /* number of blocks */
	__m256i counters;
	__m256i nonce; /* counter 0 */
	__m128i aad;
};

struct burst {
	struct message message;
	struct gcm_hash hash;
	struct crypto_op *hashed; /* of the hash */
	__m128i tag_mask;         /* of the hash, with its last chunk */
	struct gcm_ahead ahead;
};

/* Bytes move n places to the front (n < 0: to the back) and zeros follow. n: -16..16, public. */
GCM_INLINE __m128i shift_bytes(__m128i block, int n)
{
	static const uint8_t from[3 * GCM_BLOCK] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
		0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
		11, 12, 13, 14, 15, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
		0x80, 0x80, 0x80, 0x80, 0x80, 0x80};

	return _mm_shuffle_epi8(block, gcm_load_block(from + GCM_BLOCK + n));
}

GCM_INLINE __m256i counters_at(__m256i nonce, uint32_t count)
{
	return _mm256_or_si256(nonce, _mm256_set_epi32((int)__builtin_bswap32(count + 1), 0, 0, 0,
					      (int)__builtin_bswap32(count), 0, 0, 0));
}

/* Counts up the last byte of each counter block. */
GCM_INLINE __m256i counters_add(__m256i counters, unsigned n)
{
	const int last_byte = (int)(n << 24);

	return _mm256_add_epi32(counters, _mm256_set_epi32(last_byte, 0, 0, 0, last_byte, 0, 0, 0));
}

/* The counters of the last n vectors of a chunk. In a message below 4 KB the last byte does not
 * overflow. */
GCM_INLINE struct gcm_chunk counters_next(struct message *m, unsigned n)
{
	const __m256i now = m->counters;
	const uint32_t next = m->count + 2 * n;
	struct gcm_chunk out = {now, now, now, now};

	if (__builtin_expect((m->count & GCM_COUNTER_BYTE) + 2 * n > GCM_COUNTER_BYTE, 0)) {
		out.a = counters_at(m->nonce, next - 8);
		out.b = counters_at(m->nonce, next - 6);
		out.c = counters_at(m->nonce, next - 4);
		out.d = counters_at(m->nonce, next - 2);
		m->counters = counters_at(m->nonce, next);
	} else {
		if (n > 3)
			out.b = counters_add(now, 2 * n - 6);
		if (n > 2)
			out.c = counters_add(now, 2 * n - 4);
		if (n > 1)
			out.d = counters_add(now, 2 * n - 2);
		m->counters = counters_add(now, 2 * n);
	}
	m->count = next;
	return out;
}

GCM_INLINE __m256i crypt_vector(uint8_t *at, __m256i key_stream, unsigned step)
{
	__m256i in = gcm_load(at), out = _mm256_xor_si256(in, key_stream);

	gcm_store(at, out);
	return step & STEP_ENCRYPT ? out : in;
}

/* The vector that begins with the additional data, when the number of blocks is even. */
GCM_INLINE __m256i crypt_head(const struct message *m, __m256i key_stream, unsigned step)
{
	uint8_t *at = m->at + GCM_BLOCK;
	__m128i in = gcm_load_block(at);
	__m128i out = _mm_xor_si128(in, _mm256_extracti128_si256(key_stream, 1));

	gcm_store_block(at, out);
	return _mm256_set_m128i(step & STEP_ENCRYPT ? out : in, m->aad);
}

/* The last block, 1 to 16 bytes, and the lengths. Reads and writes the last 16 bytes of the text;
 * those that belong to the block before stay as they are. */
GCM_INLINE __m256i crypt_tail(const struct message *m, __m256i key_stream, unsigned step)
{
	const uint32_t len = m->op->len;
	const __m128i lengths = _mm_set_epi64x((long long)__builtin_bswap64((uint64_t)len * 8),
		(long long)__builtin_bswap64((uint64_t)m->op->aad_len * 8));
	__m128i in = gcm_load_block(m->tail);
	__m128i out = _mm_xor_si128(in, shift_bytes(_mm256_castsi256_si128(key_stream), -m->gap));

	gcm_store_block(m->tail, out);
	return _mm256_set_m128i(lengths, shift_bytes(step & STEP_ENCRYPT ? out : in, m->gap));
}

/* The text of the last n vectors of a chunk; returns the chunk to be hashed. */
GCM_INLINE struct gcm_chunk crypt_text(
	struct message *m, const struct gcm_chunk *key_stream, unsigned n, unsigned step)
{
	const __m256i zero = _mm256_setzero_si256();
	const bool head = (step & STEP_FIRST) != 0 && !m->odd;
	struct gcm_chunk blocks = {zero, zero, zero, zero};
	uint8_t *end = m->at + n * GCM_VECTOR;

	/* The tail first: what it writes of the block before is wrong until that is done. */
	if (step & STEP_LAST)
		blocks.d = crypt_tail(m, key_stream->d, step);
	else if (n == 1 && head)
		blocks.d = crypt_head(m, key_stream->d, step);
	else if (n > 0)
		blocks.d = crypt_vector(end - GCM_VECTOR, key_stream->d, step);
	if (n == 2 && head)
		blocks.c = crypt_head(m, key_stream->c, step);
	else if (n > 1)
		blocks.c = crypt_vector(end - 2 * GCM_VECTOR, key_stream->c, step);
	if (n == 3 && head)
		blocks.b = crypt_head(m, key_stream->b, step);
	else if (n > 2)
		blocks.b = crypt_vector(end - 3 * GCM_VECTOR, key_stream->b, step);
	if (n == 4 && head)
		blocks.a = crypt_head(m, key_stream->a, step);
	else if (n > 3)
		blocks.a = crypt_vector(end - 4 * GCM_VECTOR, key_stream->a, step);
	if ((step & STEP_FIRST) != 0 && m->odd) {
		const __m256i aad = _mm256_set_m128i(m->aad, _mm_setzero_si128());

		if (n == 0)
			blocks.d = aad;
		else if (n == 1)
			blocks.c = aad;
		else if (n == 2)
			blocks.b = aad;
		else
			blocks.a = aad;
	}
	m->at = end;
	return blocks;
}

/* n vectors of key stream, 0 to 4. */
GCM_INLINE void run_step(struct burst *b, unsigned n, unsigned step)
{
	struct message *m = &b->message;
	struct gcm_chunk key_stream = counters_next(m, n);

	if (step & STEP_LAST)
		key_stream.d = _mm256_blend_epi32(key_stream.d, counters_at(m->nonce, 0), 0xf0);
	gcm_fetch(&b->ahead);
	b->hash.sum = gcm_chunk(&key_stream, n, &m->cipher, &b->hash);
	if (step & STEP_FIRST) {
		if (b->hashed != NULL)
			gcm_finish_tag(b->hashed, b->hash.sum, b->tag_mask, step & STEP_ENCRYPT);
		b->hashed = m->op;
		gcm_hash_start(&b->hash, m->cipher.key);
	}
	b->hash.blocks = crypt_text(m, &key_stream, n, step);
	if (step & STEP_LAST)
		b->tag_mask = _mm256_extracti128_si256(key_stream.d, 1);
}

GCM_INLINE void run_chunks(struct burst *b, unsigned step)
{
	struct message *m = &b->message;
	const uint32_t len = m->op->len;
	const uint32_t blocks = len == 0 ? 1 : (len + GCM_BLOCK - 1) / GCM_BLOCK;
	const uint32_t vectors = blocks / 2 + 1; /* of key stream */
	uint32_t more = (vectors + blocks % 2 - 1) / GCM_CHUNK_VECTORS;

	m->odd = blocks % 2 != 0;
	m->at -= m->odd ? 0 : GCM_BLOCK;
	m->count = m->odd ? 2 : 1;
	m->counters = m->odd ? counters_at(m->nonce, 2) : counters_at(m->nonce, 1);
	if (more == 0) {
		if (vectors == 1)
			run_step(b, 1, step | STEP_FIRST | STEP_LAST);
		else if (vectors == 2)
			run_step(b, 2, step | STEP_FIRST | STEP_LAST);
		else if (vectors == 3)
			run_step(b, 3, step | STEP_FIRST | STEP_LAST);
		else
			run_step(b, 4, step | STEP_FIRST | STEP_LAST);
		return;
	}
	switch (vectors - more * GCM_CHUNK_VECTORS) {
	case 0:
		run_step(b, 0, step | STEP_FIRST);
		break;
	case 1:
		run_step(b, 1, step | STEP_FIRST);
		break;
	case 2:
		run_step(b, 2, step | STEP_FIRST);
		break;
	case 3:
		run_step(b, 3, step | STEP_FIRST);
		break;
	default:
		run_step(b, 4, step | STEP_FIRST);
	}
	while (--more > 0)
		run_step(b, 4, step);
	run_step(b, 4, step | STEP_LAST);
}

/* Less than 16 bytes. Inline: a call could leave vector registers on the stack (lazy binding). */
GCM_INLINE void copy_short(uint8_t *to, const uint8_t *from, uint32_t len)
{
	for (uint32_t size = 8; size > 0; size /= 2) {
		if ((len & size) == 0)
			continue;
		for (uint32_t i = 0; i < size; i++)
			((volatile uint8_t *)to)[i] = from[i];
		to += size;
		from += size;
	}
}

/* A message below 16 bytes, which ESP makes none of but anybody may send, is worked on in `block`,
 * at its end. */
GCM_INLINE void short_begin(struct message *m, uint8_t *block)
{
	const __m128i zero = _mm_setzero_si128();

	gcm_store_block(block, zero);
	copy_short(block + GCM_BLOCK - m->op->len, m->op->data, m->op->len);
	m->tail = block;
	m->gap = GCM_BLOCK - (int)m->op->len;
}

GCM_INLINE void short_end(struct burst *b, const uint8_t *block)
{
	const struct crypto_op *op = b->message.op;

	copy_short(op->data, block + GCM_BLOCK - op->len, op->len);
	if (op->len == 0) { /* A takes the place of C1, which is not there */
		b->hash.blocks.c = _mm256_setzero_si256();
		b->hash.blocks.d = _mm256_blend_epi32(
			b->hash.blocks.d, _mm256_castsi128_si256(b->message.aad), 0x0f);
	}
}

GCM_INLINE void run_message(struct burst *b, struct crypto_op *op, unsigned step)
{
	const bool is_short = op->len < GCM_BLOCK;
	struct message *m = &b->message;
	__m128i nonce = gcm_load_block((const uint8_t *)op + offsetof(struct crypto_op, nonce));
	__m128i aad = gcm_load_block((const uint8_t *)op + offsetof(struct crypto_op, aad));
	uint8_t block[GCM_BLOCK];

	m->op = op;
	m->cipher.key = op->key;
	m->cipher.rounds = crypto_vaes_rounds((enum crypto_alg)op->alg);
	m->nonce = _mm256_broadcastsi128_si256(_mm_blend_epi32(nonce, _mm_setzero_si128(), 0x8));
	m->aad = shift_bytes(shift_bytes(aad, op->aad_len - GCM_BLOCK), GCM_BLOCK - op->aad_len);
	m->at = op->data;
	m->tail = op->data + op->len - GCM_BLOCK;
	m->gap = (int)(-op->len & (GCM_BLOCK - 1));
	if (__builtin_expect(is_short, 0))
		short_begin(m, block);
	run_chunks(b, step);
	if (__builtin_expect(is_short, 0))
		short_end(b, block);
}

GCM_INLINE void run_burst(struct crypto_op *ops, unsigned n, unsigned step)
{
	const __m256i zero = _mm256_setzero_si256();
	struct burst b = {.hash.blocks = {zero, zero, zero, zero}, .tag_mask = _mm_setzero_si128()};

	if (n == 0)
		return;
	gcm_fetch_start(&b.ahead, ops, n);
	gcm_hash_start(&b.hash, ops[0].key); /* hashes zeros in the first step */
	for (unsigned i = 0; i < n; i++)
		run_message(&b, &ops[i], step);
	gcm_finish_tag(b.hashed, gcm_hash_chunk(&b.hash), b.tag_mask, step & STEP_ENCRYPT);
	_mm256_zeroall();
}

void crypto_vaes256_encrypt(struct crypto_op *ops, unsigned n)
{
	run_burst(ops, n, STEP_ENCRYPT);
}

void crypto_vaes256_decrypt(struct crypto_op *ops, unsigned n)
{
	run_burst(ops, n, 0);
}
