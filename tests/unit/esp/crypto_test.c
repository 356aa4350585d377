/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each AES-GCM engine: vectors of NIST and Wycheproof, OpenSSL for all lengths, tags that differ in
 * one bit; how one is chosen; how much of a key blob each code path of intel-ipsec-mb touches.
 * crypto_engines_test.c compares engines with each other.
 *
 * GCM_NIST_FOLDER: NIST CAVP gcmtestvectors as python3-cryptography-vectors installs them.
 * GCM_WYCHEPROOF: tests/vectors/aes_gcm_wycheproof.json, its source is named in the file.
 */
#include "dataplane/esp/crypto_engines.h"

#include "tests/unit/esp/oracle.h"
#include "tests/unit/esp/rig.h"

#include <ctype.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>

#define VECTOR_MAX 1024 /* bytes of key, text or additional data */

struct vector {
	uint8_t key[VECTOR_MAX], nonce[VECTOR_MAX], aad[VECTOR_MAX];
	uint8_t text[VECTOR_MAX], sealed[VECTOR_MAX], tag[VECTOR_MAX];
	size_t key_len, nonce_len, aad_len, text_len, sealed_len, tag_len;
	bool valid;
};

static const struct crypto_engine *engine;
static struct crypto_thread *thread;

static void *key_of(enum crypto_alg alg, const uint8_t *key)
{
	void *blob = sa_memory_heap.alloc(NULL, engine->key_blob_bytes(alg), CRYPTO_KEY_ALIGN);

	engine->key_init(alg, key, blob);
	return blob;
}

/* What ESP can have: 96-bit nonce, whole tag, at most 12 bytes of additional data. */
static bool applies(const struct vector *v)
{
	return (v->key_len == 16 || v->key_len == 24 || v->key_len == 32) &&
	       v->nonce_len == CRYPTO_NONCE_BYTES && v->tag_len == CRYPTO_TAG_BYTES &&
	       v->aad_len <= CRYPTO_AAD_MAX;
}

static void check_vector(const char *row, struct vector *v)
{
	enum crypto_alg alg = v->key_len == 16   ? CRYPTO_AES128GCM16
			      : v->key_len == 24 ? CRYPTO_AES192GCM16
						 : CRYPTO_AES256GCM16;
	uint8_t data[VECTOR_MAX], tag[CRYPTO_TAG_BYTES];
	void *blob = key_of(alg, v->key);
	struct crypto_op op = {.key = blob,
		.data = data,
		.tag = v->tag,
		.len = (uint32_t)v->sealed_len,
		.alg = (uint8_t)alg,
		.aad_len = (uint8_t)v->aad_len};

	memcpy(op.nonce, v->nonce, sizeof op.nonce);
	memcpy(op.aad, v->aad, v->aad_len);
	memcpy(data, v->sealed, sizeof data);
	engine->decrypt(thread, &op, 1);
	CHECK_ROW(row, op.ok == v->valid);
	if (v->valid) {
		CHECK_ROW(row, memcmp(data, v->text, v->text_len) == 0);
		op.tag = tag;
		engine->encrypt(thread, &op, 1);
		CHECK_ROW(row, memcmp(data, v->sealed, v->sealed_len) == 0);
		CHECK_ROW(row, memcmp(tag, v->tag, sizeof tag) == 0);
	}
	free(blob);
}

/* "Name = hex" or "FAIL"; a vector ends at an empty line. */
static unsigned check_nist_file(const char *name, bool decrypt)
{
	char path[512], line[8192];
	struct vector v = {.valid = true};
	unsigned n = 0;
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", GCM_NIST_FOLDER, name);
	file = fopen(path, "r");
	CHECK_ROW(path, file != NULL);
	if (file == NULL)
		return 0;
	while (fgets(line, sizeof line, file) != NULL) {
		char *value = strstr(line, " =");

		if (strncmp(line, "FAIL", 4) == 0)
			v.valid = false;
		else if (line[0] == '[' || line[0] == '#')
			continue;
		else if (value != NULL) {
			const char *hex = value + 2;

			*value = 0;
			if (strcmp(line, "Key") == 0)
				v.key_len = unit_hex(hex, v.key, VECTOR_MAX);
			else if (strcmp(line, "IV") == 0)
				v.nonce_len = unit_hex(hex, v.nonce, VECTOR_MAX);
			else if (strcmp(line, "PT") == 0)
				v.text_len = unit_hex(hex, v.text, VECTOR_MAX);
			else if (strcmp(line, "AAD") == 0)
				v.aad_len = unit_hex(hex, v.aad, VECTOR_MAX);
			else if (strcmp(line, "CT") == 0)
				v.sealed_len = unit_hex(hex, v.sealed, VECTOR_MAX);
			else if (strcmp(line, "Tag") == 0)
				v.tag_len = unit_hex(hex, v.tag, VECTOR_MAX);
		} else if (isspace((unsigned char)line[0]) && v.key_len != 0) {
			if (applies(&v)) {
				CHECK_ROW(name, decrypt || v.valid);
				check_vector(name, &v);
				n++;
			}
			v = (struct vector){.valid = true};
		}
	}
	fclose(file);
	return n;
}

static void test_nist(void)
{
	static const struct {
		const char *name;
		bool decrypt;
	} files[] = {
		{"gcmDecrypt128.rsp", true},
		{"gcmDecrypt192.rsp", true},
		{"gcmDecrypt256.rsp", true},
		{"gcmEncryptExtIV128.rsp", false},
		{"gcmEncryptExtIV192.rsp", false},
		{"gcmEncryptExtIV256.rsp", false},
	};

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		unsigned n = check_nist_file(files[i].name, files[i].decrypt);

		printf("%s: %u vectors\n", files[i].name, n);
		CHECK_ROW(files[i].name, n > 0);
	}
}

static size_t json_hex(const json_t *test, const char *name, uint8_t *out)
{
	const char *hex = json_string_value(json_object_get(test, name));

	CHECK_ROW(name, hex != NULL);
	return hex == NULL ? 0 : unit_hex(hex, out, VECTOR_MAX);
}

static void test_wycheproof(void)
{
	json_t *root = json_load_file(GCM_WYCHEPROOF, 0, NULL), *group, *test;
	unsigned valid = 0, invalid = 0, too_much_aad = 0;
	size_t i, k;

	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	json_array_foreach(json_object_get(root, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), k, test)
		{
			struct vector v = {0};
			char row[64];

			snprintf(row, sizeof row, "tcId %lld",
				(long long)json_integer_value(json_object_get(test, "tcId")));
			v.key_len = json_hex(test, "key", v.key);
			v.nonce_len = json_hex(test, "iv", v.nonce);
			v.aad_len = json_hex(test, "aad", v.aad);
			v.text_len = json_hex(test, "msg", v.text);
			v.sealed_len = json_hex(test, "ct", v.sealed);
			v.tag_len = json_hex(test, "tag", v.tag);
			v.valid = strcmp(json_string_value(json_object_get(test, "result")),
					  "valid") == 0;
			if (!applies(&v)) {
				too_much_aad++;
				continue;
			}
			check_vector(row, &v);
			valid += v.valid;
			invalid += !v.valid;
		}
	}
	printf("wycheproof: %u valid, %u invalid, %u with more additional data than ESP has\n",
		valid, invalid, too_much_aad);
	CU_ASSERT_TRUE(valid > 0);
	CU_ASSERT_TRUE(invalid > 0);
	json_decref(root);
}

/* Every length up to 600 bytes and some more, all algorithms, both sizes of additional data. */
static void test_against_openssl(void)
{
	static uint8_t area[9300], want[9300], before[9300];
	uint8_t material[CRYPTO_MATERIAL_MAX];

	for (size_t i = 0; i < sizeof material; i++)
		material[i] = (uint8_t)(i * 5 + 1);
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++) {
		const struct crypto_alg_info *info = &crypto_alg_infos[alg];
		const bool any = crypto_alg_is_aead((unsigned)alg);
		void *blob = key_of((enum crypto_alg)alg, material);

		for (uint32_t len = any ? 0 : info->block_bytes; len <= 9000;
			len += any && len < 600 ? 1 : info->block_bytes * (len < 600 ? 1u : 19u)) {
			struct crypto_op op = {.key = blob,
				.data = want + 24,
				.tag = want + 24 + len,
				.len = len,
				.alg = (uint8_t)alg,
				.aad_len = len / info->block_bytes % 2 != 0 ? 8 : 12};

			memset(op.nonce, (int)len, sizeof op.nonce);
			memset(op.aad, 0x61, sizeof op.aad);
			for (size_t i = 0; i < sizeof before; i++)
				before[i] = (uint8_t)(i * 31 + i / 251);
			memcpy(area, before, sizeof area);
			memcpy(want, before, sizeof want);
			oracle_seal(&op, material);
			op.data = area + 24;
			op.tag = area + 24 + len;
			engine->encrypt(thread, &op, 1);
			CHECK_ROW(info->name, memcmp(area, want, sizeof area) == 0);
			engine->decrypt(thread, &op, 1);
			CHECK_ROW(info->name, op.ok);
			CHECK_ROW(info->name, memcmp(area + 24, before + 24, len) == 0);
			CHECK_ROW(info->name,
				memcmp(op.tag, want + 24 + len, sizeof area - 24 - len) == 0);
		}
		free(blob);
	}
}

/* A burst of different keys and algorithms; one wrong bit in each byte of each tag in turn. */
static void test_burst_and_tags(void)
{
	uint8_t areas[CRYPTO_BURST_MAX][24 + 560 + CRYPTO_TAG_MAX];
	struct crypto_op ops[CRYPTO_BURST_MAX];
	void *blobs[CRYPTO_BURST_MAX];

	memset(ops, 0, sizeof ops);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		uint8_t material[CRYPTO_MATERIAL_MAX];

		memset(material, (int)i / 3 + 1, sizeof material);
		memset(areas[i], (int)i, sizeof areas[i]);
		ops[i].alg = (uint8_t)(i % CRYPTO_ALG_COUNT);
		blobs[i] = key_of((enum crypto_alg)ops[i].alg, material);
		ops[i].key = blobs[i];
		ops[i].data = areas[i] + 24;
		ops[i].len = 64 + 16 * i;
		ops[i].tag = ops[i].data + ops[i].len;
		ops[i].aad_len = i % 2 == 0 ? 8 : 12;
	}
	engine->encrypt(thread, ops, CRYPTO_BURST_MAX);
	for (unsigned at = 0; at < CRYPTO_BURST_MAX * CRYPTO_TAG_MAX; at++) {
		const unsigned wrong = at % CRYPTO_BURST_MAX, byte = at / CRYPTO_BURST_MAX;
		const bool damages = byte < crypto_alg_infos[ops[wrong].alg].icv_bytes;

		if (damages)
			ops[wrong].tag[byte] ^= (uint8_t)(1u << at % 8);
		engine->decrypt(thread, ops, CRYPTO_BURST_MAX);
		for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
			CU_ASSERT_EQUAL(ops[i].ok, i != wrong || !damages);
			CU_ASSERT_EQUAL(ops[i].data[63], i);
			memset(ops[i].data - 16, (int)i, 16); /* of CBC, another IV again */
		}
		/* The right tag comes from encrypting again what came out. */
		engine->encrypt(thread, ops, CRYPTO_BURST_MAX);
	}
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++)
		free(blobs[i]);
}

/* Engines that are right with one short message. */

static void flip_long(struct crypto_op *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (ops[i].len > 128)
			ops[i].data[128] ^= 1;
}

static void encrypt_long_wrong(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->encrypt(t, ops, n);
	flip_long(ops, n);
}

static void decrypt_long_wrong(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->decrypt(t, ops, n);
	flip_long(ops, n);
}

/* Another text under a tag that fits it: both directions agree with each other. */
static void encrypt_other_text(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	flip_long(ops, n);
	engine->encrypt(t, ops, n);
}

static void encrypt_next_wrong(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->encrypt(t, ops, n);
	for (unsigned i = 1; i < n; i++)
		ops[i].tag[0] ^= ops[i - 1].len > ops[i].len;
}

static void decrypt_next_wrong(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->decrypt(t, ops, n);
	for (unsigned i = 1; i < n; i++)
		ops[i].ok |= ops[i - 1].ok;
}

static void test_self_test_of_bursts(void)
{
	static const struct {
		const char *name;
		void (*encrypt)(struct crypto_thread *t, struct crypto_op *ops, unsigned n);
		void (*decrypt)(struct crypto_thread *t, struct crypto_op *ops, unsigned n);
	} rows[] = {
		{"a later chunk is stored wrong", encrypt_long_wrong, NULL},
		{"a later chunk is decrypted wrong", NULL, decrypt_long_wrong},
		{"another key stream in later chunks", encrypt_other_text, decrypt_long_wrong},
		{"tag of the message behind a longer one", encrypt_next_wrong, NULL},
		{"result of the message before", NULL, decrypt_next_wrong},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct crypto_engine broken = *engine;

		if (rows[i].encrypt != NULL)
			broken.encrypt = rows[i].encrypt;
		if (rows[i].decrypt != NULL)
			broken.decrypt = rows[i].decrypt;
		CHECK_ROW(rows[i].name, crypto_self_test(&broken) != 0);
	}
}

/* Engines that are wrong with one algorithm. */

static unsigned broken_alg;

static void encrypt_one_wrong(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->encrypt(t, ops, n);
	for (unsigned i = 0; i < n; i++)
		if (ops[i].alg == broken_alg)
			ops[i].tag[crypto_alg_infos[broken_alg].icv_bytes - 1] ^= 1;
}

static void decrypt_one_trusting(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->decrypt(t, ops, n);
	for (unsigned i = 0; i < n; i++)
		ops[i].ok |= ops[i].alg == broken_alg;
}

static void decrypt_one_wrong(struct crypto_thread *t, struct crypto_op *ops, unsigned n)
{
	engine->decrypt(t, ops, n);
	for (unsigned i = 0; i < n; i++)
		if (ops[i].alg == broken_alg)
			ops[i].data[ops[i].len - 1] ^= 1;
}

static void test_self_test_of_each(void)
{
	for (broken_alg = 0; broken_alg < CRYPTO_ALG_COUNT; broken_alg++) {
		struct crypto_engine broken = *engine;

		broken.encrypt = encrypt_one_wrong;
		CHECK_ROW(crypto_alg_infos[broken_alg].name, crypto_self_test(&broken) != 0);
		broken = *engine;
		broken.decrypt = decrypt_one_trusting;
		CHECK_ROW(crypto_alg_infos[broken_alg].name, crypto_self_test(&broken) != 0);
		broken.decrypt = decrypt_one_wrong;
		CHECK_ROW(crypto_alg_infos[broken_alg].name, crypto_self_test(&broken) != 0);
	}
}

static void test_self_test(void)
{
	struct crypto_engine broken = *engine;

	CU_ASSERT_EQUAL(crypto_self_test(engine), 0);
	/* Engines that leave the text in clear, or know no wrong tag, must not pass. */
	broken.encrypt = engine->decrypt;
	CU_ASSERT_NOT_EQUAL(crypto_self_test(&broken), 0);
	broken = *engine;
	broken.decrypt = engine->encrypt;
	CU_ASSERT_NOT_EQUAL(crypto_self_test(&broken), 0);
}

static void test_find(void)
{
	const struct crypto_engine *first = crypto_engine_vaes512.supported()
						    ? &crypto_engine_vaes512
					    : crypto_engine_vaes.supported()
						    ? &crypto_engine_vaes
						    : &crypto_engine_ipsec_mb;
	const char *failed;

	CU_ASSERT_PTR_EQUAL(crypto_engine_find("auto"), first);
	CU_ASSERT_PTR_EQUAL(crypto_engine_open("auto", &failed), first);
	CU_ASSERT_PTR_NULL(failed);
	CU_ASSERT_PTR_EQUAL(crypto_engine_find("ipsec-mb"), &crypto_engine_ipsec_mb);
	CU_ASSERT_PTR_EQUAL(crypto_engine_find("vaes"),
		crypto_engine_vaes.supported() ? &crypto_engine_vaes : NULL);
	CU_ASSERT_PTR_EQUAL(crypto_engine_find("vaes512"),
		crypto_engine_vaes512.supported() ? &crypto_engine_vaes512 : NULL);
	CU_ASSERT_PTR_NULL(crypto_engine_open("none", &failed));
	CU_ASSERT_PTR_NULL(failed);
	CU_ASSERT_PTR_NULL(crypto_engine_find("none"));
	CU_ASSERT_PTR_NULL(crypto_engine_find(""));
}

static bool never(void)
{
	return false;
}

/* What the preferred engine lacks or fails at is left to the next one, and told. */
static void test_choose(void)
{
	struct crypto_engine absent = crypto_engine_ipsec_mb, broken = crypto_engine_ipsec_mb;
	const struct crypto_engine *const good = &crypto_engine_ipsec_mb;
	const struct crypto_engine *const list[] = {&absent, &broken, good};
	const char *failed;

	absent.name = "absent";
	absent.supported = never;
	broken.name = "broken";
	broken.decrypt = broken.encrypt;
	CU_ASSERT_PTR_EQUAL(crypto_engine_choose(list, 3, "auto", &failed), good);
	CU_ASSERT_PTR_EQUAL(failed, broken.name);
	CU_ASSERT_PTR_NULL(crypto_engine_choose(list, 2, "auto", &failed));
	CU_ASSERT_PTR_EQUAL(failed, broken.name);
	CU_ASSERT_PTR_NULL(crypto_engine_choose(list, 3, "broken", &failed));
	CU_ASSERT_PTR_EQUAL(failed, broken.name);
	CU_ASSERT_PTR_NULL(crypto_engine_choose(list, 3, "absent", &failed));
	CU_ASSERT_PTR_NULL(failed);
	CU_ASSERT_PTR_EQUAL(crypto_engine_choose(list, 3, good->name, &failed), good);
	CU_ASSERT_PTR_NULL(failed);
}

static sigjmp_buf at_fault;

static void on_fault(int number)
{
	(void)number;
	siglongjmp(at_fault, 1);
}

static void run_lengths(IMB_MGR *manager, struct gcm_key_data *key)
{
	static uint8_t buffer[9216];
	static const uint8_t raw_key[32] = {9}, nonce[12] = {1}, aad[12] = {2};
	struct gcm_context_data scratch;
	uint8_t tag[16];

	for (int alg = 0; alg < 2; alg++) {
		if (alg == 0)
			IMB_AES128_GCM_PRE(manager, raw_key, key);
		else
			IMB_AES256_GCM_PRE(manager, raw_key, key);
		for (uint64_t len = 0; len <= 9000; len += len < 300 ? 1 : 61) {
			for (uint64_t aad_len = 8; aad_len <= 12; aad_len += 4) {
				(alg == 0 ? manager->gcm128_enc : manager->gcm256_enc)(key,
					&scratch, buffer, buffer, len, nonce, aad, aad_len, tag,
					16);
				(alg == 0 ? manager->gcm128_dec : manager->gcm256_dec)(key,
					&scratch, buffer, buffer, len, nonce, aad, aad_len, tag,
					16);
			}
		}
	}
}

/* Does everything stay within `bytes` of the key? What follows them cannot be accessed. */
static bool stays_within(IMB_MGR *manager, size_t bytes)
{
	struct guarded g = guarded_new(RIG_PAGE);
	struct sigaction action = {.sa_handler = on_fault}, before;
	volatile bool within = false;

	sigaction(SIGSEGV, &action, &before);
	if (sigsetjmp(at_fault, 1) == 0) {
		run_lengths(manager, (struct gcm_key_data *)(void *)(g.end - bytes));
		within = true;
	}
	sigaction(SIGSEGV, &before, NULL);
	guarded_free(&g);
	return within;
}

static void test_key_bytes(void)
{
	static const struct {
		const char *name;
		void (*init)(IMB_MGR *manager);
		uint64_t feature;
	} kinds[] = {
		{"SSE", init_mb_mgr_sse, IMB_FEATURE_AESNI},
		{"AVX", init_mb_mgr_avx, IMB_FEATURE_AVX},
		{"AVX2", init_mb_mgr_avx2, IMB_FEATURE_AVX2},
		{"AVX512", init_mb_mgr_avx512, IMB_FEATURE_AVX512_SKX},
	};

	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		IMB_MGR *manager = alloc_mb_mgr(0);
		size_t bytes;

		CU_ASSERT_PTR_NOT_NULL_FATAL(manager);
		if ((manager->features & kinds[i].feature) == kinds[i].feature) {
			kinds[i].init(manager);
			bytes = crypto_ipsec_mb_key_bytes(manager);
			printf("%s: %zu of %zu bytes\n", kinds[i].name, bytes,
				sizeof(struct gcm_key_data));
			CHECK_ROW(kinds[i].name, stays_within(manager, bytes));
			/* And no room is wasted: 16 bytes less is too little. */
			CHECK_ROW(kinds[i].name, !stays_within(manager, bytes - 16));
		} else {
			printf("%s: not on this CPU, not proven\n", kinds[i].name);
		}
		free_mb_mgr(manager);
	}
	CU_ASSERT_TRUE(crypto_engine_ipsec_mb.key_blob_bytes(CRYPTO_AES256GCM16) <=
		       sizeof(struct gcm_key_data));
}

int main(void)
{
	static const struct crypto_engine *const engines[] = {
		&crypto_engine_vaes512, &crypto_engine_vaes, &crypto_engine_ipsec_mb};
	static const struct unit_case each[] = {
		{"self-test", test_self_test},
		{"self-test of bursts", test_self_test_of_bursts},
		{"self-test of each algorithm", test_self_test_of_each},
		{"NIST CAVP", test_nist},
		{"Wycheproof", test_wycheproof},
		{"against OpenSSL", test_against_openssl},
		{"burst and tags", test_burst_and_tags},
		{NULL, NULL},
	};
	static const struct unit_case all[] = {
		{"engine by name", test_find},
		{"choice of an engine", test_choose},
		{"bytes of a key blob", test_key_bytes},
		{NULL, NULL},
	};
	int ret = unit_run("crypto", all);

	for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
		engine = engines[i];
		if (!engine->supported()) {
			printf("%s: not on this CPU, not proven\n", engine->name);
			continue;
		}
		thread = engine->thread_new();
		if (unit_run(engine->name, each) != EXIT_SUCCESS)
			ret = EXIT_FAILURE;
		engine->thread_free(thread);
	}
	return ret;
}
