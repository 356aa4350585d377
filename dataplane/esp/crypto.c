/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the table of algorithms, the list of engines in order of preference, and known
 * answers that an engine must give before any packet is trusted to it. Engines themselves are in
 * crypto_*.c files of their own.
 */
#include "dataplane/esp/crypto.h"

#include "dataplane/esp/crypto_engines.h"
#include "lib/hmac.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* RFC 4106; RFC 4303 section 2.4 for the alignment. */
const struct crypto_alg_info crypto_alg_infos[CRYPTO_ALG_COUNT] = {
	[CRYPTO_AES128GCM16] = {.name = "aes128gcm16",
		.key_bytes = 16,
		.salt_bytes = 4,
		.iv_bytes = 8,
		.icv_bytes = CRYPTO_TAG_BYTES,
		.block_bytes = 4},
	[CRYPTO_AES256GCM16] = {.name = "aes256gcm16",
		.key_bytes = 32,
		.salt_bytes = 4,
		.iv_bytes = 8,
		.icv_bytes = CRYPTO_TAG_BYTES,
		.block_bytes = 4},
};

const char *const *crypto_alg_names(void)
{
	static const char *const names[CRYPTO_ALG_COUNT + 1] = {
		[CRYPTO_AES128GCM16] = "aes128gcm16", [CRYPTO_AES256GCM16] = "aes256gcm16"};

	return names;
}

/* The first that runs is preferred. vaes is, even where intel-ipsec-mb has AVX-512: that is ahead
 * by an eighth with large packets of one SA and behind with small ones, and its keys of 1008 bytes
 * (here 304) are 1.4 GB more for a million nodes and three times the cache misses for many. */
static const struct crypto_engine *const engines[] = {&crypto_engine_vaes, &crypto_engine_ipsec_mb};
#define N_ENGINES (sizeof engines / sizeof engines[0])

const struct crypto_engine *crypto_engine_find(const char *name)
{
	bool any = strcmp(name, "auto") == 0;

	for (size_t i = 0; i < N_ENGINES; i++) {
		if ((any || strcmp(name, engines[i]->name) == 0) && engines[i]->supported())
			return engines[i];
	}
	return NULL;
}

/* Key, IV and text of test cases 4 and 16 of "The Galois/Counter Mode of Operation" (McGrew,
 * Viega), with the first 12 bytes of their additional data, since ESP has no more than 12; the tags
 * for that were computed with OpenSSL 3.0. */
#define KAT_BYTES 60

static const uint8_t kat_key[32] = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a,
	0x8f, 0x94, 0x67, 0x30, 0x83, 0x08, 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d,
	0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
static const uint8_t kat_nonce[CRYPTO_NONCE_BYTES] = {
	0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
static const uint8_t kat_aad[CRYPTO_AAD_MAX] = {
	0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce};
static const uint8_t kat_text[KAT_BYTES] = {0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5,
	0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a, 0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda,
	0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09,
	0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d,
	0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39};
static const uint8_t kat_sealed[CRYPTO_ALG_COUNT][KAT_BYTES + CRYPTO_TAG_BYTES] = {
	[CRYPTO_AES128GCM16] = {0x42, 0x83, 0x1e, 0xc2, 0x21, 0x77, 0x74, 0x24, 0x4b, 0x72, 0x21,
		0xb7, 0x84, 0xd0, 0xd4, 0x9c, 0xe3, 0xaa, 0x21, 0x2f, 0x2c, 0x02, 0xa4, 0xe0, 0x35,
		0xc1, 0x7e, 0x23, 0x29, 0xac, 0xa1, 0x2e, 0x21, 0xd5, 0x14, 0xb2, 0x54, 0x66, 0x93,
		0x1c, 0x7d, 0x8f, 0x6a, 0x5a, 0xac, 0x84, 0xaa, 0x05, 0x1b, 0xa3, 0x0b, 0x39, 0x6a,
		0x0a, 0xac, 0x97, 0x3d, 0x58, 0xe0, 0x91, 0xe9, 0xe4, 0xab, 0x76, 0xb7, 0xff, 0xea,
		0xdc, 0x69, 0x79, 0x38, 0xa2, 0x0d, 0xca, 0xf5, 0x92},
	[CRYPTO_AES256GCM16] = {0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37,
		0xa3, 0x2a, 0x84, 0x42, 0x7d, 0x64, 0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75,
		0x98, 0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa, 0x8c, 0xb0, 0x8e, 0x48, 0x59, 0x0d, 0xbb,
		0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38, 0xc5, 0xf6, 0x1e, 0x63, 0x93,
		0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62, 0x03, 0xe8, 0x46, 0x2a, 0x5f, 0x22, 0x10,
		0xe2, 0xa8, 0xd4, 0x4f, 0x3d, 0x66, 0xcd, 0x04, 0xed},
};

static bool known_answer_good(const struct crypto_engine *engine, struct crypto_thread *thread,
	enum crypto_alg alg, const void *key)
{
	uint8_t data[KAT_BYTES], tag[CRYPTO_TAG_BYTES];
	struct crypto_op op = {.key = key,
		.data = data,
		.tag = tag,
		.len = KAT_BYTES,
		.alg = (uint8_t)alg,
		.aad_len = CRYPTO_AAD_MAX};

	memcpy(op.nonce, kat_nonce, sizeof op.nonce);
	memcpy(op.aad, kat_aad, sizeof op.aad);
	memcpy(data, kat_text, sizeof data);
	engine->encrypt(thread, &op, 1);
	if (memcmp(data, kat_sealed[alg], KAT_BYTES) != 0 ||
		memcmp(tag, kat_sealed[alg] + KAT_BYTES, CRYPTO_TAG_BYTES) != 0)
		return false;
	op.ok = false;
	engine->decrypt(thread, &op, 1);
	if (!op.ok || memcmp(data, kat_text, sizeof data) != 0)
		return false;
	memcpy(data, kat_sealed[alg], sizeof data);
	tag[CRYPTO_TAG_BYTES - 1] ^= 1;
	engine->decrypt(thread, &op, 1);
	return !op.ok;
}

int crypto_self_test(const struct crypto_engine *engine)
{
	struct crypto_thread *thread = engine->thread_new();
	bool good = thread != NULL;

	for (int alg = 0; good && alg < CRYPTO_ALG_COUNT; alg++) {
		size_t bytes = engine->key_blob_bytes((enum crypto_alg)alg);
		size_t room = (bytes + CRYPTO_KEY_ALIGN - 1) & ~(size_t)(CRYPTO_KEY_ALIGN - 1);
		void *key = aligned_alloc(CRYPTO_KEY_ALIGN, room);

		good = key != NULL;
		if (!good)
			break;
		engine->key_init((enum crypto_alg)alg, kat_key, key);
		good = known_answer_good(engine, thread, (enum crypto_alg)alg, key);
		secret_wipe(key, room);
		free(key);
	}
	engine->thread_free(thread);
	return good ? 0 : -EIO;
}

const struct crypto_engine *crypto_engine_choose(
	const struct crypto_engine *const list[], size_t n, const char *name, const char **failed)
{
	const bool any = strcmp(name, "auto") == 0;

	*failed = NULL;
	for (size_t i = 0; i < n; i++) {
		if ((!any && strcmp(name, list[i]->name) != 0) || !list[i]->supported())
			continue;
		if (crypto_self_test(list[i]) == 0)
			return list[i];
		*failed = list[i]->name;
	}
	return NULL;
}

const struct crypto_engine *crypto_engine_open(const char *name, const char **failed)
{
	return crypto_engine_choose(engines, N_ENGINES, name, failed);
}
