/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is not AES-GCM against published vectors: NIST CAVP (AES-CBC, GMAC), RFC 3686 (AES-CTR), RFC
 * 7539 and BoringSSL's (ChaCha20-Poly1305), RFC 2202 and 4231 (HMAC). AES-GCM: crypto_test.c.
 *
 * VECTORS: where python3-cryptography-vectors installs them.
 */
#include "dataplane/esp/crypto_engines.h"

#include "tests/unit/esp/oracle.h"
#include "tests/unit/esp/rig.h"

#include <ctype.h>

#define PART_MAX 1024 /* bytes */
#define FRONT 24      /* ESP header and IV */

enum part { KEY, NONCE, TEXT, SEALED, AAD, TAG, PARTS };

struct vector {
	uint8_t bytes[PARTS][PART_MAX];
	size_t len[PARTS];
};

static struct crypto_thread *thread;
static const struct crypto_engine *engine;

/* Places for a message with 24 bytes in front of it and room for a tag behind. */
static uint8_t area[FRONT + PART_MAX + CRYPTO_TAG_MAX];

static struct crypto_op op_of(
	enum crypto_alg alg, const uint8_t material[CRYPTO_MATERIAL_MAX], uint32_t len)
{
	void *blob = sa_memory_heap.alloc(NULL, engine->key_blob_bytes(alg), CRYPTO_KEY_ALIGN);

	engine->key_init(alg, material, blob);
	return (struct crypto_op){.key = blob,
		.data = area + FRONT,
		.tag = area + FRONT + len,
		.len = len,
		.alg = (uint8_t)alg,
		.aad_len = 8};
}

/* Encrypts, compares with what the vector has, decrypts. tag: NULL or what must come out. */
static void check(struct crypto_op *op, const char *row, const uint8_t *text, const uint8_t *sealed,
	const uint8_t *tag)
{
	memcpy(op->data, text, op->len);
	engine->encrypt(thread, op, 1);
	CHECK_ROW(row, op->ok && memcmp(op->data, sealed, op->len) == 0);
	CHECK_ROW(
		row, tag == NULL || memcmp(op->tag, tag, crypto_alg_infos[op->alg].icv_bytes) == 0);
	engine->decrypt(thread, op, 1);
	CHECK_ROW(row, op->ok && memcmp(op->data, text, op->len) == 0);
	sa_memory_heap.free(NULL, (void *)(uintptr_t)op->key, 0);
}

/* Each returns false for what ESP cannot have. */

static bool check_cbc(const struct vector *v, const char *row)
{
	uint8_t material[CRYPTO_MATERIAL_MAX] = {0};
	struct crypto_op op;

	if (v->len[KEY] != 16 && v->len[KEY] != 32)
		return false;
	memcpy(material, v->bytes[KEY], v->len[KEY]);
	op = op_of(v->len[KEY] == 16 ? CRYPTO_AES128_SHA1 : CRYPTO_AES256_SHA1, material,
		(uint32_t)v->len[TEXT]);
	/* The block that the engine encrypts to the vector's IV. */
	memcpy(op.data - 16, v->bytes[NONCE], 16);
	oracle_cipher_run(v->len[KEY] == 16 ? EVP_aes_128_ecb() : EVP_aes_256_ecb(), material, NULL,
		false, op.data - 16, 16);
	check(&op, row, v->bytes[TEXT], v->bytes[SEALED], NULL);
	CHECK_ROW(row, memcmp(area + FRONT - 16, v->bytes[NONCE], 16) == 0);
	return true;
}

static bool check_ctr(const struct vector *v, const char *row)
{
	uint8_t material[CRYPTO_MATERIAL_MAX] = {0};
	struct crypto_op op;

	if (v->len[NONCE] != 16 || wire_load_u32(v->bytes[NONCE] + 12) != 1)
		return false;
	memcpy(material, v->bytes[KEY], v->len[KEY]);
	op = op_of(v->len[KEY] == 16 ? CRYPTO_AES128CTR_SHA256 : CRYPTO_AES256CTR_SHA256, material,
		(uint32_t)v->len[TEXT]);
	memcpy(op.nonce, v->bytes[NONCE], sizeof op.nonce);
	check(&op, row, v->bytes[TEXT], v->bytes[SEALED], NULL);
	return true;
}

static bool check_chacha(const struct vector *v, const char *row)
{
	struct crypto_op op;

	if (v->len[KEY] != 32 || v->len[NONCE] != CRYPTO_NONCE_BYTES ||
		v->len[AAD] > CRYPTO_AAD_MAX || v->len[TAG] != 16 || v->len[TEXT] != v->len[SEALED])
		return false;
	op = op_of(CRYPTO_CHACHA20POLY1305, v->bytes[KEY], (uint32_t)v->len[TEXT]);
	op.aad_len = (uint8_t)v->len[AAD];
	memcpy(op.nonce, v->bytes[NONCE], sizeof op.nonce);
	memcpy(op.aad, v->bytes[AAD], v->len[AAD]);
	check(&op, row, v->bytes[TEXT], v->bytes[SEALED], v->bytes[TAG]);
	return true;
}

/* The first 8 bytes of additional data stand for SPI and sequence number, the next 8 for the IV. */
static bool check_gmac(const struct vector *v, const char *row)
{
	const enum crypto_alg alg = v->len[KEY] == 16   ? CRYPTO_AES128GMAC
				    : v->len[KEY] == 24 ? CRYPTO_AES192GMAC
							: CRYPTO_AES256GMAC;
	struct crypto_op op;

	if (v->len[TEXT] != 0 || v->len[AAD] < 16 || v->len[NONCE] != CRYPTO_NONCE_BYTES ||
		v->len[TAG] != 16)
		return false;
	op = op_of(alg, v->bytes[KEY], (uint32_t)v->len[AAD] - 16);
	memcpy(op.nonce, v->bytes[NONCE], sizeof op.nonce);
	memcpy(op.aad, v->bytes[AAD], 8);
	memcpy(op.data - 8, v->bytes[AAD] + 8, 8);
	check(&op, row, v->bytes[AAD] + 16, v->bytes[AAD] + 16, v->bytes[TAG]);
	return true;
}

static enum crypto_alg null_alg;

/* The first 8 bytes of the message stand for the ESP header; zeros behind a key change nothing. */
static bool check_hmac(const struct vector *v, const char *row)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[null_alg];
	struct crypto_op op;

	if (v->len[KEY] > info->hmac_key_bytes || v->len[TEXT] < 12 ||
		v->len[SEALED] < info->icv_bytes)
		return false;
	op = op_of(null_alg, v->bytes[KEY], (uint32_t)v->len[TEXT] - 8);
	memcpy(op.data - 8, v->bytes[TEXT], 8);
	check(&op, row, v->bytes[TEXT] + 8, v->bytes[TEXT] + 8, v->bytes[SEALED]);
	return true;
}

static enum part part_of(const char *name)
{
	static const struct {
		const char *name;
		enum part part;
	} names[] = {{"key", KEY}, {"iv", NONCE}, {"nonce", NONCE}, {"plaintext", TEXT},
		{"in", TEXT}, {"msg", TEXT}, {"pt", TEXT}, {"ciphertext", SEALED}, {"ct", SEALED},
		{"md", SEALED}, {"ad", AAD}, {"aad", AAD}, {"tag", TAG}};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcasecmp(name, names[i].name) == 0)
			return names[i].part;
	return PARTS;
}

/* A part as hex digits or as text in quotes. */
static void read_part(struct vector *v, enum part part, const char *value)
{
	const char *end = strrchr(value, '"');

	if (*value == '"' && end > value) {
		v->len[part] = (size_t)(end - value - 1);
		memcpy(v->bytes[part], value + 1, v->len[part]);
	} else {
		v->len[part] = unit_hex(value, v->bytes[part], PART_MAX);
	}
}

/* "Name = value" or "NAME= value"; a vector ends at an empty line or at the end of the file. */
static void check_file(const char *name, bool (*fn)(const struct vector *v, const char *row))
{
	static struct vector v, none;
	char path[512], line[8192];
	unsigned n = 0;
	bool more;
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", VECTORS, name);
	file = fopen(path, "r");
	CHECK_ROW(path, file != NULL);
	if (file == NULL)
		return;
	v = none;
	do {
		char *equals;

		more = fgets(line, sizeof line, file) != NULL;
		if (!more || isspace((unsigned char)line[0])) {
			n += v.len[KEY] != 0 && fn(&v, name);
			v = none;
			continue;
		}
		equals = strchr(line, '=');
		if (equals == NULL || line[0] == '#' || line[0] == '[')
			continue;
		line[strcspn(line, " =")] = 0;
		equals += 1 + strspn(equals + 1, " ");
		if (part_of(line) != PARTS)
			read_part(&v, part_of(line), equals);
	} while (more);
	fclose(file);
	printf("%s: %u vectors\n", name, n);
	CHECK_ROW(name, n > 0);
}

static void test_cbc(void)
{
	check_file("ciphers/AES/CBC/CBCMMT128.rsp", check_cbc);
	check_file("ciphers/AES/CBC/CBCMMT256.rsp", check_cbc);
	check_file("ciphers/AES/CBC/CBCKeySbox256.rsp", check_cbc);
	check_file("ciphers/AES/CBC/CBCVarTxt128.rsp", check_cbc);
}

static void test_ctr(void)
{
	check_file("ciphers/AES/CTR/aes-128-ctr.txt", check_ctr);
	check_file("ciphers/AES/CTR/aes-256-ctr.txt", check_ctr);
}

static void test_chacha(void)
{
	check_file("ciphers/ChaCha20Poly1305/boringssl.txt", check_chacha);
}

static void test_gmac(void)
{
	check_file("ciphers/AES/GCM/gcmEncryptExtIV128.rsp", check_gmac);
	check_file("ciphers/AES/GCM/gcmEncryptExtIV192.rsp", check_gmac);
	check_file("ciphers/AES/GCM/gcmEncryptExtIV256.rsp", check_gmac);
}

static void test_hmac(void)
{
	static const char *const names[] = {"HMAC/rfc-2202-sha1.txt", "HMAC/rfc-4231-sha256.txt",
		"HMAC/rfc-4231-sha384.txt", "HMAC/rfc-4231-sha512.txt"};

	for (unsigned i = 0; i < 4; i++) {
		null_alg = (enum crypto_alg)(CRYPTO_NULL_SHA1 + i);
		check_file(names[i], check_hmac);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"AES-CBC", test_cbc},
		{"AES-CTR", test_ctr},
		{"ChaCha20-Poly1305", test_chacha},
		{"GMAC", test_gmac},
		{"HMAC", test_hmac},
		{NULL, NULL},
	};
	int ret;

	engine = crypto_engine_find("ipsec-mb");
	if (engine == NULL) {
		fprintf(stderr, "no AES instructions on this CPU: nothing was compared\n");
		return 77;
	}
	thread = engine->thread_new();
	ret = unit_run("crypto vectors", cases);
	engine->thread_free(thread);
	return ret;
}
