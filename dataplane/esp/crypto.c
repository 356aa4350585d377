/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the table of algorithms, the list of engines in order of preference, and known
 * answers that an engine must give before any packet is trusted to it. Engines themselves are in
 * crypto_*.c files of their own.
 */
#include "dataplane/esp/crypto.h"

#include "dataplane/esp/crypto_engines.h"
#include "lib/wire.h"

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

/* What production runs: a full burst that changes size and algorithm with every message. The
 * lengths end before, at and behind the chunks of the vaes engine (8 blocks), fill its first chunk
 * to each degree, take many chunks, and carry beyond the last byte of the block counter. Message i
 * has length i % BURST_LENS, algorithm burst_alg(i), i as the last byte of its nonce and 8 or 12
 * bytes of additional data; the texts follow each other in the stream of fill_text(). Its tags were
 * computed with OpenSSL 3.0 (as of python3-cryptography). They cover the ciphertext as it was in
 * registers; decryption covers what was stored. */
#define BURST_LENS (CRYPTO_BURST_MAX / CRYPTO_ALG_COUNT)
#define BURST_BYTES 14824 /* all texts */

static const uint16_t burst_lens[BURST_LENS] = {
	1404, 12, 64, 112, 4100, 16, 128, 96, 364, 36, 224, 100, 176, 228, 144, 208};
static const uint64_t burst_tags[CRYPTO_BURST_MAX][2] = {
	{0x2a19020edde7eae0, 0x1daff99e1a8a65ad},
	{0x1c1041a565a02287, 0xa5ffed1c37c8eee4},
	{0x17672f5a8840be98, 0x2d4b0dcb00985390},
	{0xff940ca5382523ba, 0x89eb35bc5f85ac23},
	{0xe7a23b5ff839fbab, 0xa48a1009d154c64c},
	{0x8cfe923fe4e24f7c, 0xd5bd74798ff846ca},
	{0x54eac29af7417c31, 0xfa3b405eb39fd6a1},
	{0xdd5e1ca5343b4c63, 0x433a040bcb04a4f7},
	{0x1de8cd54152720a1, 0x0dbdcb66bd6540a6},
	{0x4e893093b2fc4032, 0x92fa3d69c3137d86},
	{0x18aca658f1e56484, 0x96d724caebc0bc72},
	{0x7891f184dfa1d4fb, 0xe4f728cad0b841b6},
	{0xef44f301a54d4798, 0xf8beec46b0df5a96},
	{0x3807e759dc1ee9f5, 0x29f4f2b3fe280178},
	{0x5f19f5bdc62343dd, 0x70b0a970f4143053},
	{0xd29e00eb18049ead, 0xf1c7bfe16e5cee55},
	{0x5c2d61675a0698f2, 0x7fb51047642c9427},
	{0x03929e90818a3d2d, 0x9d6df265c3e8feec},
	{0xbbfbc3e89c08fd43, 0x9da379a0e21031b1},
	{0x31b28cbf0ae83c3a, 0x6b6d62cef8f33613},
	{0x15015aafa418d4c0, 0x4317389725d4b484},
	{0xd4c76dbd57bf0d9c, 0x8fedcf4074e04714},
	{0x011f693a3971657d, 0x98dabf5cc06e267f},
	{0xb274e2cdc1b3aaec, 0xb71d61f9cc4e0a94},
	{0x6eb91252b936014c, 0xb5bbd972a58cb11e},
	{0x199467ba9eeef133, 0x1bdda3cee67f6667},
	{0x0531b65ddebd18b9, 0xede84ff631e48cea},
	{0x1921c4a91c90f615, 0x9f7ce3647a5d52c9},
	{0x4ba42323d6a06b3f, 0xd7ab1e26fd016404},
	{0xe269e928746af155, 0x7db06ca717bceb34},
	{0x707cef9cb22926df, 0xf50daf5527953a81},
	{0x1143ec2c188e0f4b, 0xe06e9c52b6e0ead8},
};

/* Odd and even change places from one round of the lengths to the next. */
static enum crypto_alg burst_alg(unsigned i)
{
	return (enum crypto_alg)((i + i / BURST_LENS) % CRYPTO_ALG_COUNT);
}

/* The linear congruential generator of "Numerical Recipes", its upper bytes. */
static void fill_text(uint8_t text[BURST_BYTES])
{
	uint32_t x = 1;

	for (unsigned i = 0; i < BURST_BYTES; i++) {
		x = x * 1664525 + 1013904223;
		text[i] = (uint8_t)(x >> 24);
	}
}

static void fill_burst(struct crypto_op ops[CRYPTO_BURST_MAX], uint8_t *data,
	uint8_t tags[CRYPTO_BURST_MAX][CRYPTO_TAG_BYTES], void *const keys[CRYPTO_ALG_COUNT])
{
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		ops[i] = (struct crypto_op){.key = keys[burst_alg(i)],
			.data = data,
			.tag = tags[i],
			.len = burst_lens[i % BURST_LENS],
			.alg = (uint8_t)burst_alg(i),
			.aad_len = i % 4 < 2 ? 8 : 12};
		memcpy(ops[i].nonce, kat_nonce, sizeof ops[i].nonce);
		memcpy(ops[i].aad, kat_aad, sizeof ops[i].aad);
		ops[i].nonce[CRYPTO_NONCE_BYTES - 1] = (uint8_t)i;
		data += ops[i].len;
	}
}

static bool burst_good(const struct crypto_engine *engine, struct crypto_thread *thread,
	void *const keys[CRYPTO_ALG_COUNT])
{
	uint8_t text[BURST_BYTES], data[BURST_BYTES];
	uint8_t tags[CRYPTO_BURST_MAX][CRYPTO_TAG_BYTES];
	struct crypto_op ops[CRYPTO_BURST_MAX];
	bool good = true;

	fill_text(text);
	memcpy(data, text, sizeof data);
	fill_burst(ops, data, tags, keys);
	engine->encrypt(thread, ops, CRYPTO_BURST_MAX);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		good &= wire_load_u64(tags[i]) == burst_tags[i][0] &&
			wire_load_u64(tags[i] + 8) == burst_tags[i][1];
		tags[i][i % CRYPTO_TAG_BYTES] ^= i % 3 == 0; /* and only that one is wrong */
	}
	engine->decrypt(thread, ops, CRYPTO_BURST_MAX);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++)
		good &= ops[i].ok == (i % 3 != 0);
	return good && memcmp(data, text, sizeof data) == 0;
}

static void *key_new(const struct crypto_engine *engine, enum crypto_alg alg)
{
	const size_t bytes = engine->key_blob_bytes(alg);
	void *key = aligned_alloc(
		CRYPTO_KEY_ALIGN, (bytes + CRYPTO_KEY_ALIGN - 1) & ~(size_t)(CRYPTO_KEY_ALIGN - 1));

	if (key != NULL)
		engine->key_init(alg, kat_key, key);
	return key;
}

int crypto_self_test(const struct crypto_engine *engine)
{
	struct crypto_thread *thread = engine->thread_new();
	void *keys[CRYPTO_ALG_COUNT] = {NULL};
	bool good = thread != NULL;

	for (int alg = 0; good && alg < CRYPTO_ALG_COUNT; alg++) {
		keys[alg] = key_new(engine, (enum crypto_alg)alg);
		good = keys[alg] != NULL &&
		       known_answer_good(engine, thread, (enum crypto_alg)alg, keys[alg]);
	}
	good = good && burst_good(engine, thread, keys);
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++)
		free(keys[alg]); /* known to the world: not wiped */
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
