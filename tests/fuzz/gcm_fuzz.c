/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same burst through all AES-GCM engines that this CPU has: same ciphertext, same tags, same
 * verdict on damaged messages; no byte outside of a text, a tag or a key blob is touched (ASan
 * watches both ends).
 *
 * Input: operations one behind the other, at most a burst of them. Each: a byte (bits 0 and 1: key,
 * even ones are AES-128; bit 2: 12 bytes of additional data, else 8; bit 3: damage the text, bit 4:
 * the tag, bit 5: the additional data; bits 6 and 7: alignment), two bytes of length (modulo
 * LEN_MAX), nonce, additional data. What follows the input's end is zero; a text is made of its
 * position and the length.
 */
#include "dataplane/esp/crypto_engines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 4
#define LEN_MAX 9217 /* jumbo frames */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static const struct crypto_engine *const engines[] = {
	&crypto_engine_ipsec_mb, &crypto_engine_vaes, &crypto_engine_vaes512};
#define ENGINES_MAX (sizeof engines / sizeof engines[0])
static unsigned n_engines;

struct side {
	struct crypto_thread *thread;
	void *keys[KEYS];
	struct crypto_op ops[CRYPTO_BURST_MAX];
	uint8_t *areas[CRYPTO_BURST_MAX]; /* the text is at their end */
};
static struct side sides[ENGINES_MAX];

static void start(void)
{
	uint8_t raw[32];

	if (!crypto_engine_vaes.supported()) {
		fprintf(stderr, "no VAES and VPCLMULQDQ on this CPU: nothing to compare\n");
		exit(0);
	}
	n_engines = crypto_engine_vaes512.supported() ? 3 : 2;
	for (unsigned e = 0; e < n_engines; e++) {
		sides[e].thread = engines[e]->thread_new();
		for (unsigned k = 0; k < KEYS; k++) {
			enum crypto_alg alg = (enum crypto_alg)(k % CRYPTO_GCM_COUNT);
			size_t bytes = engines[e]->key_blob_bytes(alg);

			memset(raw, (int)(k * 29 + 1), sizeof raw);
			demand(posix_memalign(&sides[e].keys[k], CRYPTO_KEY_ALIGN, bytes) == 0);
			engines[e]->key_init(alg, raw, sides[e].keys[k]);
		}
	}
}

static uint8_t next(const uint8_t **at, size_t *left)
{
	if (*left == 0)
		return 0;
	(*left)--;
	return *(*at)++;
}

static unsigned parse(const uint8_t *data, size_t size, uint8_t flags[])
{
	unsigned n = 0;

	for (; size != 0 && n < CRYPTO_BURST_MAX; n++) {
		struct crypto_op op = {0};
		unsigned align, key;

		flags[n] = next(&data, &size);
		key = flags[n] % KEYS;
		align = (flags[n] >> 6) * 5u;
		op.alg = (uint8_t)(key % CRYPTO_GCM_COUNT);
		op.aad_len = (flags[n] & 4) != 0 ? 12 : 8;
		op.len = next(&data, &size);
		op.len = (op.len | (uint32_t)next(&data, &size) << 8) % LEN_MAX;
		for (unsigned i = 0; i < sizeof op.nonce; i++)
			op.nonce[i] = next(&data, &size);
		for (unsigned i = 0; i < op.aad_len; i++)
			op.aad[i] = next(&data, &size);
		for (unsigned e = 0; e < n_engines; e++) {
			uint8_t *area = malloc(align + op.len + CRYPTO_TAG_BYTES);

			demand(area != NULL);
			op.key = sides[e].keys[key];
			op.data = area + align;
			op.tag = op.data + op.len;
			for (uint32_t i = 0; i < op.len; i++)
				op.data[i] = (uint8_t)(i * 31 + (i >> 8) + op.len);
			sides[e].areas[n] = area;
			sides[e].ops[n] = op;
		}
	}
	return n;
}

static void compare(unsigned n)
{
	for (unsigned e = 1; e < n_engines; e++) {
		for (unsigned i = 0; i < n; i++) {
			const struct crypto_op *a = &sides[0].ops[i], *b = &sides[e].ops[i];

			demand(a->ok == b->ok);
			demand(memcmp(a->data, b->data, a->len + CRYPTO_TAG_BYTES) == 0);
		}
	}
}

static void damage(struct crypto_op *op, uint8_t flags)
{
	if ((flags & 8) != 0 && op->len != 0)
		op->data[op->nonce[0] % op->len] ^= 1;
	if ((flags & 16) != 0)
		op->tag[op->nonce[1] % CRYPTO_TAG_BYTES] ^= 0x80;
	if ((flags & 32) != 0)
		op->aad[op->nonce[2] % op->aad_len] ^= 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t flags[CRYPTO_BURST_MAX];
	unsigned n;

	if (sides[0].thread == NULL)
		start();
	n = parse(data, size, flags);
	for (unsigned e = 0; e < n_engines; e++)
		engines[e]->encrypt(sides[e].thread, sides[e].ops, n);
	compare(n);
	for (unsigned e = 0; e < n_engines; e++) {
		for (unsigned i = 0; i < n; i++)
			damage(&sides[e].ops[i], flags[i]);
		engines[e]->decrypt(sides[e].thread, sides[e].ops, n);
	}
	compare(n);
	for (unsigned i = 0; i < n; i++) {
		bool harmed = (flags[i] & 48) != 0 ||
			      ((flags[i] & 8) != 0 && sides[0].ops[i].len != 0);

		demand(sides[1].ops[i].ok == !harmed);
		for (unsigned e = 0; e < n_engines; e++)
			free(sides[e].areas[i]);
	}
	return 0;
}
