/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Known answers that an engine must give before any packet is trusted to it: AES-GCM against
 * published test cases and in bursts of production's sizes, then every algorithm in a mixed burst.
 */
#include "dataplane/esp/crypto.h"
#include "lib/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Key, IV and text of test cases 4, 10 and 16 of "The Galois/Counter Mode of Operation" (McGrew,
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
static const uint8_t kat_sealed[CRYPTO_GCM_COUNT][KAT_BYTES + CRYPTO_TAG_BYTES] = {
	[CRYPTO_AES128GCM16] = {0x42, 0x83, 0x1e, 0xc2, 0x21, 0x77, 0x74, 0x24, 0x4b, 0x72, 0x21,
		0xb7, 0x84, 0xd0, 0xd4, 0x9c, 0xe3, 0xaa, 0x21, 0x2f, 0x2c, 0x02, 0xa4, 0xe0, 0x35,
		0xc1, 0x7e, 0x23, 0x29, 0xac, 0xa1, 0x2e, 0x21, 0xd5, 0x14, 0xb2, 0x54, 0x66, 0x93,
		0x1c, 0x7d, 0x8f, 0x6a, 0x5a, 0xac, 0x84, 0xaa, 0x05, 0x1b, 0xa3, 0x0b, 0x39, 0x6a,
		0x0a, 0xac, 0x97, 0x3d, 0x58, 0xe0, 0x91, 0xe9, 0xe4, 0xab, 0x76, 0xb7, 0xff, 0xea,
		0xdc, 0x69, 0x79, 0x38, 0xa2, 0x0d, 0xca, 0xf5, 0x92},
	[CRYPTO_AES192GCM16] = {0x39, 0x80, 0xca, 0x0b, 0x3c, 0x00, 0xe8, 0x41, 0xeb, 0x06, 0xfa,
		0xc4, 0x87, 0x2a, 0x27, 0x57, 0x85, 0x9e, 0x1c, 0xea, 0xa6, 0xef, 0xd9, 0x84, 0x62,
		0x85, 0x93, 0xb4, 0x0c, 0xa1, 0xe1, 0x9c, 0x7d, 0x77, 0x3d, 0x00, 0xc1, 0x44, 0xc5,
		0x25, 0xac, 0x61, 0x9d, 0x18, 0xc8, 0x4a, 0x3f, 0x47, 0x18, 0xe2, 0x44, 0x8b, 0x2f,
		0xe3, 0x24, 0xd9, 0xcc, 0xda, 0x27, 0x10, 0xc2, 0xd8, 0x4c, 0x6b, 0xa8, 0x3b, 0xa5,
		0x6b, 0x18, 0x9f, 0xe6, 0xef, 0x66, 0x24, 0xdd, 0xda},
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

/* What production runs of AES-GCM: a full burst that changes size and algorithm with every message.
 * The lengths end before, at and behind the chunks of the vaes engines (8 and 16 blocks), fill
 * their first chunk to each degree alone and with another behind it, also twice in a row, take
 * many chunks, and carry beyond the last byte of the block counter.
 * Message i has length i % BURST_LENS, algorithm burst_alg(i), i as the last byte of its nonce and
 * 8 or 12 bytes of additional data; the texts follow each other in the stream of fill_text(). Its
 * tags were computed with OpenSSL 3.0 (as of python3-cryptography). They cover the ciphertext as it
 * was in registers; decryption covers what was stored. */
#define BURST_ALGS 2 /* aes128gcm16, aes256gcm16 */
#define BURST_LENS (CRYPTO_BURST_MAX / BURST_ALGS)
#define BURST_BYTES 15424 /* all texts */

static const uint16_t burst_lens[BURST_LENS] = {
	1404, 464, 64, 112, 4100, 12, 128, 96, 300, 228, 224, 36, 176, 16, 144, 208};
static const uint64_t burst_tags[CRYPTO_BURST_MAX][2] = {
	{0x2a19020edde7eae0, 0x1daff99e1a8a65ad},
	{0x49aad12b7b9fb481, 0xe5ba6bfc05c30aed},
	{0xbd35e506fd8c233d, 0xdd174ad0976bfabe},
	{0x03b0f09541941f58, 0x42ea43b100cac161},
	{0xc521aad852449384, 0xb3ae71b69297d0ce},
	{0xdd4e9ca14cb3f109, 0xe9d9975ac4a9864a},
	{0xb1e34bacfce83ebc, 0xd869ffc30ea23b85},
	{0x7fcc2f7330b5a3a9, 0xa86d67239257fdfa},
	{0x5672ad75c2c777b1, 0x01a4398e4fae7937},
	{0x647e147d05705709, 0xcd91859513580ef1},
	{0x03ffe52d8d26a134, 0xf0c0ca702e062076},
	{0xcf29305a5d950e5b, 0xffc0527a7fec16fd},
	{0xeb71ad8fc3477864, 0xef83b978ad49f80c},
	{0x170cbe277a2e6681, 0x21f7be2ef815f545},
	{0x4ac109db2c341d09, 0xd6ce2baa68a889a3},
	{0xd174db8d8579d665, 0xdc13e58579fe4135},
	{0xaa4c9fa6ff93a0c0, 0xb7f4318c3278be03},
	{0xb6ca1d9ccadfa669, 0x1bf78f7ee2bc3c9e},
	{0x842f09ca0cbf5f47, 0x704d8ee7aee59432},
	{0x704d88cba37cee36, 0x7c0031f6d4f65f9c},
	{0x1f09bfa13f4f4790, 0x4e36906017427392},
	{0x63a207791a332993, 0x150ea114b8c1ffd6},
	{0xd0d8851b2df06291, 0xac2e32b40d595e21},
	{0x8b4d04226bcd9bfa, 0xaba8d0d5ae85df9c},
	{0x033f89ac041d6fbb, 0xe79ec4d288000d12},
	{0x1cdd94e97fba0f19, 0x8600034a81fc60e8},
	{0x215f7792cd1c0876, 0x7ab0a8ada62d7198},
	{0x5ea477353ee10923, 0x482d7985b647f19b},
	{0x485ad8ec7bb422c8, 0x7777a1b8f287b9f8},
	{0x0ee8466f15da87b9, 0xc549c50e55f035bc},
	{0x6cbf7b387c9722c5, 0x546ba9e6f657c137},
	{0x533e4cad4558e03a, 0x0dd9a89668fc9562},
};

/* Odd and even change places from one round of the lengths to the next. */
static enum crypto_alg burst_alg(unsigned i)
{
	return (enum crypto_alg)((i + i / BURST_LENS) % BURST_ALGS);
}

/* The linear congruential generator of "Numerical Recipes", its upper bytes. */
static uint32_t fill_text(uint8_t *text, unsigned bytes, uint32_t x)
{
	for (unsigned i = 0; i < bytes; i++) {
		x = x * 1664525 + 1013904223;
		text[i] = (uint8_t)(x >> 24);
	}
	return x;
}

static void fill_burst(struct crypto_op ops[CRYPTO_BURST_MAX], uint8_t *data,
	uint8_t tags[CRYPTO_BURST_MAX][CRYPTO_TAG_BYTES], void *const keys[])
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

static bool burst_good(
	const struct crypto_engine *engine, struct crypto_thread *thread, void *const keys[])
{
	uint8_t text[BURST_BYTES], data[BURST_BYTES];
	uint8_t tags[CRYPTO_BURST_MAX][CRYPTO_TAG_BYTES];
	struct crypto_op ops[CRYPTO_BURST_MAX];
	bool good = true;

	(void)fill_text(text, sizeof text, 1);
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

/* All algorithms in one burst, and each message of it again alone: with the lanes of a vector full
 * or not, jobs and AES-GCM in turn. Message i has algorithm i % CRYPTO_ALG_COUNT, length
 * mixed_len(), extended sequence numbers in two of four, and i as the last byte of its nonce; keys
 * are mixed_material(). Its tags were computed by tests/vectors/self_test.py (OpenSSL 3.0, by
 * python3-cryptography). A tag of HMAC covers the ciphertext as it was stored; decryption covers
 * the rest. */
#define MIXED_FRONT (8 + CRYPTO_IV_MAX) /* ESP header and IV */
#define MIXED_TEXT_MAX 1420
#define MIXED_ROOM (MIXED_FRONT + MIXED_TEXT_MAX + CRYPTO_TAG_MAX)

static const char *const mixed_tags[CRYPTO_BURST_MAX] = {
	"52c0cecf963bc08ad20fe83a4610b313",
	"dfaf8aff379b6b30edf018dc1364c04f",
	"a691c153c73c5ead5f562d867603041f",
	"51b4ba7b24bf54a9c53a828a51a13236",
	"632156030835fca1703239d8eec87dad",
	"1c0ca53a8e24fe8275f7a29f0bdd493d",
	"46b1c099b481be76f6ff87d86965784f",
	"8e690e14bd7773ef37f89a8a",
	"95b0354940aa1b765265ed181b53d2f5",
	"ac8d5e14aaf9ea76a62b427c6f3ab6ffab0f7339853c2cd2",
	"e18d3d0b99cbc651a5df26c3fab37ce11788a3eefc42ad0ef6ed457801c3c023",
	"642f08ce78a25dffc7687e1f",
	"69e7913a5a2fa877559c29a5a6570296",
	"1fa9d86ce79702488724c4a0aa48f5b450875e6fab527aed",
	"e58db677e18f03a5e01e26d9b1207a386b2fd96a42143cf0c6fbb76be6d0e66b",
	"0d4e41f1b33e7e0e75600cb3",
	"9e8a03951a4c622c8ce2b9e633dd5066",
	"a513c30f7307c66554ab128bb2437c1f676d139685dcb0dc",
	"544b212dd9e456b48083cafb8975080895832aa39696163b6d57d57883cc8614",
	"41328f9797de55b4a280cf6b",
	"80eb728bcaadf8a885c7e49f9555f396",
	"9e5a243eddf557d1bad600fc85318be5a6f28cff2e39cb1d",
	"ea7179c5f80f083a83eef8e59b229e68666d0df34eb7e1cd03f40d9e9e981d0f",
	"d008d6b761f90093efd194c5",
	"66c5fa7fea012a41aefad958dbccfd1a",
	"453ddbe0f85b6207972a0275deef12691c07d626fa579176",
	"50bcbb1ba5e918eb0d964e65900449332529922adf3f8081dd4479830f3391b1",
	"6e349ac53753c57b4536b6d3bc359aab",
	"21693ca9b2005a97fca978d8e29d0d3d",
	"470b1fe583a7da0d6d1bb2cd308eb081",
	"251b5ba5260e6fc8df1d06db4ad2037c",
	"e46f51c249e0b0e3cebf292317338d7e",
};

struct mixed {
	struct crypto_op ops[CRYPTO_BURST_MAX];
	uint8_t areas[CRYPTO_BURST_MAX][MIXED_ROOM];
	uint8_t texts[CRYPTO_BURST_MAX][MIXED_TEXT_MAX];
};

static uint32_t mixed_len(unsigned i)
{
	static const uint16_t lens[] = {64, 16, 496, 112, 48, 1408, 128, 240};
	const unsigned alg = i % CRYPTO_ALG_COUNT;
	const uint32_t len = lens[i % (sizeof lens / sizeof lens[0])];

	return crypto_alg_infos[alg].block_bytes == 4 ? len + 4 * (i % 4) : len;
}

static void mixed_material(uint8_t material[CRYPTO_MATERIAL_MAX])
{
	for (unsigned i = 0; i < CRYPTO_MATERIAL_MAX; i++)
		material[i] = (uint8_t)(17 * i + 3);
}

/* ESP header, the IV that is sent, text. */
static void mixed_fill(struct mixed *mixed, void *const keys[])
{
	uint32_t x = 1;

	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		const struct crypto_alg_info *info = &crypto_alg_infos[i % CRYPTO_ALG_COUNT];
		struct crypto_op *op = &mixed->ops[i];
		uint8_t *esp = mixed->areas[i], *iv = esp + 8, *text = iv + info->iv_bytes;

		*op = (struct crypto_op){.key = keys[i % CRYPTO_ALG_COUNT],
			.data = text,
			.tag = text + mixed_len(i),
			.len = mixed_len(i),
			.alg = (uint8_t)(i % CRYPTO_ALG_COUNT),
			.aad_len = i % 4 < 2 ? 8 : 12};
		memcpy(op->nonce, kat_nonce, sizeof op->nonce);
		op->nonce[CRYPTO_NONCE_BYTES - 1] = (uint8_t)i;
		memcpy(op->aad, kat_aad, 4);
		memcpy(op->aad + 4, kat_aad + 12 - (op->aad_len - 4), op->aad_len - 4u);
		memcpy(esp, kat_aad, 4);
		memcpy(esp + 4, kat_aad + 8, 4);
		memset(iv, 0, info->iv_bytes);
		if (info->iv_bytes == 16)
			memcpy(iv + 4, op->nonce, CRYPTO_NONCE_BYTES);
		else if (info->iv_bytes == 8)
			memcpy(iv, op->nonce + 4, 8);
		x = fill_text(text, op->len, x);
		memcpy(mixed->texts[i], text, op->len);
	}
}

static bool mixed_sealed(const struct mixed *mixed)
{
	static const char digits[] = "0123456789abcdef";
	bool good = true;

	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		const struct crypto_op *op = &mixed->ops[i];

		good &= op->ok;
		for (unsigned k = 0; k < crypto_alg_infos[op->alg].icv_bytes; k++)
			good &= mixed_tags[i][2 * k] == digits[op->tag[k] >> 4] &&
				mixed_tags[i][2 * k + 1] == digits[op->tag[k] & 15];
	}
	return good;
}

enum mixed_wrong { WRONG_NONE, WRONG_THIRD, WRONG_ALL };

/* A bit of the tag, at another place each time; of some with extended sequence numbers a bit of the
 * high half too. */
static bool mixed_damage(struct mixed *mixed, unsigned i, enum mixed_wrong wrong)
{
	struct crypto_op *op = &mixed->ops[i];
	const bool tag = wrong == WRONG_ALL || (wrong == WRONG_THIRD && i % 3 == 0);
	const bool high = wrong == WRONG_THIRD && op->aad_len == 12 && i % 5 == 0;

	if (tag)
		op->tag[i % crypto_alg_infos[op->alg].icv_bytes] ^= 0x80;
	if (high)
		op->aad[7] ^= 1;
	return tag || high;
}

static bool mixed_good(const struct crypto_engine *engine, struct crypto_thread *thread,
	struct mixed *mixed, void *const keys[], unsigned at_once, enum mixed_wrong wrong)
{
	bool damaged[CRYPTO_BURST_MAX], good;

	mixed_fill(mixed, keys);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i += at_once)
		engine->encrypt(thread, &mixed->ops[i], at_once);
	good = mixed_sealed(mixed);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++)
		damaged[i] = mixed_damage(mixed, i, wrong);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i += at_once)
		engine->decrypt(thread, &mixed->ops[i], at_once);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		const struct crypto_op *op = &mixed->ops[i];

		good &= op->ok == !damaged[i];
		good &= memcmp(op->data, mixed->texts[i], op->len) == 0;
	}
	return good;
}

/* --- all of it ----------------------------------------------------------------------------------
 */

static void *key_new(
	const struct crypto_engine *engine, enum crypto_alg alg, const uint8_t *material)
{
	const size_t bytes = engine->key_blob_bytes(alg);
	void *key = aligned_alloc(
		CRYPTO_KEY_ALIGN, (bytes + CRYPTO_KEY_ALIGN - 1) & ~(size_t)(CRYPTO_KEY_ALIGN - 1));

	if (key != NULL)
		engine->key_init(alg, material, key);
	return key;
}

/* Keys for the first n algorithms; known to the world: not wiped. */
static bool keys_new(
	const struct crypto_engine *engine, int n, const uint8_t *material, void *keys[])
{
	bool good = true;

	for (int alg = 0; alg < n; alg++) {
		keys[alg] = key_new(engine, (enum crypto_alg)alg, material);
		good = good && keys[alg] != NULL;
	}
	return good;
}

static void keys_free(int n, void *keys[])
{
	for (int alg = 0; alg < n; alg++)
		free(keys[alg]);
}

static bool gcm_good(const struct crypto_engine *engine, struct crypto_thread *thread)
{
	void *keys[CRYPTO_GCM_COUNT];
	bool good = keys_new(engine, CRYPTO_GCM_COUNT, kat_key, keys);

	for (int alg = 0; good && alg < CRYPTO_GCM_COUNT; alg++)
		good = known_answer_good(engine, thread, (enum crypto_alg)alg, keys[alg]);
	good = good && burst_good(engine, thread, keys);
	keys_free(CRYPTO_GCM_COUNT, keys);
	return good;
}

static bool all_good(const struct crypto_engine *engine, struct crypto_thread *thread)
{
	struct mixed *mixed = aligned_alloc(_Alignof(struct mixed), sizeof *mixed);
	uint8_t material[CRYPTO_MATERIAL_MAX];
	void *keys[CRYPTO_ALG_COUNT];
	bool good;

	mixed_material(material);
	good = keys_new(engine, CRYPTO_ALG_COUNT, material, keys) && mixed != NULL &&
	       mixed_good(engine, thread, mixed, keys, CRYPTO_BURST_MAX, WRONG_NONE) &&
	       mixed_good(engine, thread, mixed, keys, CRYPTO_BURST_MAX, WRONG_THIRD) &&
	       mixed_good(engine, thread, mixed, keys, 1, WRONG_ALL);
	keys_free(CRYPTO_ALG_COUNT, keys);
	free(mixed);
	return good;
}

int crypto_self_test(const struct crypto_engine *engine)
{
	struct crypto_thread *thread = engine->thread_new();
	bool good = thread != NULL && gcm_good(engine, thread) && all_good(engine, thread);

	engine->thread_free(thread);
	return good ? 0 : -EIO;
}
