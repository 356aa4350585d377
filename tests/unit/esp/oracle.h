/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_ESP_ORACLE_H
#define TESTS_UNIT_ESP_ORACLE_H
/*
 * Every algorithm of ESP by OpenSSL, the independent other end of the engines. No code of ours is
 * in the way but the table of sizes.
 *
 * Threads: any; no state. Aborts if OpenSSL fails.
 */
#include "dataplane/esp/crypto.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

static inline void oracle_must(bool good)
{
	if (!good)
		abort();
}

static inline const EVP_CIPHER *oracle_cipher(const struct crypto_alg_info *info)
{
	const bool is_16 = info->key_bytes == 16, is_24 = info->key_bytes == 24;

	switch (info->cipher) {
	case CRYPTO_CIPHER_CHACHA20:
		return EVP_chacha20_poly1305();
	case CRYPTO_CIPHER_CBC:
		return is_16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc();
	case CRYPTO_CIPHER_CTR:
		return is_16 ? EVP_aes_128_ctr() : EVP_aes_256_ctr();
	default:
		return is_16 ? EVP_aes_128_gcm() : is_24 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
	}
}

/* One pass without a tag; in place. */
static inline void oracle_cipher_run(const EVP_CIPHER *cipher, const uint8_t *key,
	const uint8_t *iv, bool encrypt, uint8_t *text, int len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	oracle_must(EVP_CipherInit_ex(ctx, cipher, NULL, key, iv, encrypt) == 1 &&
		    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
		    EVP_CipherUpdate(ctx, text, &n, text, len) == 1);
	EVP_CIPHER_CTX_free(ctx);
}

static inline void oracle_aead_seal(const EVP_CIPHER *cipher, const uint8_t *key,
	const uint8_t nonce[12], const uint8_t *const aad[], const int aad_len[], unsigned n_aad,
	uint8_t *text, int len, uint8_t tag[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	oracle_must(EVP_EncryptInit_ex(ctx, cipher, NULL, key, nonce) == 1);
	for (unsigned i = 0; i < n_aad; i++)
		oracle_must(EVP_EncryptUpdate(ctx, NULL, &n, aad[i], aad_len[i]) == 1);
	oracle_must((len == 0 || EVP_EncryptUpdate(ctx, text, &n, text, len) == 1) &&
		    EVP_EncryptFinal_ex(ctx, tag, &n) == 1 && n == 0 &&
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag) == 1);
	EVP_CIPHER_CTX_free(ctx);
}

/* text and what comes behind it, cut to tag_bytes. */
static inline void oracle_hmac(const char *digest, const uint8_t *key, size_t key_bytes,
	const uint8_t *text, size_t len, const uint8_t *behind, size_t behind_len, uint8_t *tag,
	size_t tag_bytes)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	char name[16];
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, strcpy(name, digest), 0),
		OSSL_PARAM_construct_end()};
	uint8_t whole[64];
	size_t n;

	oracle_must(EVP_MAC_init(ctx, key, key_bytes, params) == 1 &&
		    EVP_MAC_update(ctx, text, len) == 1 &&
		    EVP_MAC_update(ctx, behind, behind_len) == 1 &&
		    EVP_MAC_final(ctx, whole, &n, sizeof whole) == 1 && n >= tag_bytes);
	memcpy(tag, whole, tag_bytes);
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
}

static inline const char *oracle_digest(const struct crypto_alg_info *info)
{
	static const char *const names[] = {[CRYPTO_HMAC_SHA1] = "SHA1",
		[CRYPTO_HMAC_SHA256] = "SHA256",
		[CRYPTO_HMAC_SHA384] = "SHA384",
		[CRYPTO_HMAC_SHA512] = "SHA512"};

	return names[info->hmac];
}

/* What an engine's encrypt() must do to op, with the key material that op->key was made of. */
static inline void oracle_seal(const struct crypto_op *op, const uint8_t *material)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];
	uint8_t *iv = op->data - info->iv_bytes, counter[16] = {0};
	const uint8_t *const aad[] = {op->aad, iv};
	const int aad_len[] = {op->aad_len, (int)(info->iv_bytes + op->len)};

	if (info->cipher == CRYPTO_CIPHER_CBC) {
		oracle_cipher_run(info->key_bytes == 16 ? EVP_aes_128_ecb() : EVP_aes_256_ecb(),
			material, NULL, true, iv, 16);
		oracle_cipher_run(oracle_cipher(info), material, iv, true, op->data, (int)op->len);
	} else if (info->cipher == CRYPTO_CIPHER_CTR) {
		memcpy(counter, op->nonce, CRYPTO_NONCE_BYTES);
		counter[15] = 1; /* RFC 3686 section 4 */
		oracle_cipher_run(
			oracle_cipher(info), material, counter, true, op->data, (int)op->len);
	} else if (info->cipher == CRYPTO_CIPHER_GMAC) {
		oracle_aead_seal(oracle_cipher(info), material, op->nonce, aad, aad_len, 2, NULL, 0,
			op->tag);
	} else if (info->cipher != CRYPTO_CIPHER_NULL) {
		oracle_aead_seal(oracle_cipher(info), material, op->nonce, aad, aad_len, 1,
			op->data, (int)op->len, op->tag);
	}
	if (info->hmac != CRYPTO_HMAC_NONE)
		oracle_hmac(oracle_digest(info), material + info->key_bytes + info->salt_bytes,
			info->hmac_key_bytes, iv - 8, 8u + info->iv_bytes + op->len, op->aad + 4,
			op->aad_len == 12 ? 4 : 0, op->tag, info->icv_bytes);
}

/* False: the tag is wrong. */
static inline bool oracle_aead_open(const EVP_CIPHER *cipher, const uint8_t *key,
	const uint8_t nonce[12], const uint8_t *const aad[], const int aad_len[], unsigned n_aad,
	uint8_t *text, int len, uint8_t tag[16])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t none[16];
	bool good;
	int n;

	oracle_must(EVP_DecryptInit_ex(ctx, cipher, NULL, key, nonce) == 1 &&
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, tag) == 1);
	for (unsigned i = 0; i < n_aad; i++)
		oracle_must(EVP_DecryptUpdate(ctx, NULL, &n, aad[i], aad_len[i]) == 1);
	oracle_must(len == 0 || EVP_DecryptUpdate(ctx, text, &n, text, len) == 1);
	good = EVP_DecryptFinal_ex(ctx, none, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

/* The reverse: false if the tag is wrong. */
static inline bool oracle_open(const struct crypto_op *op, const uint8_t *material)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];
	const uint8_t *iv = op->data - info->iv_bytes;
	const uint8_t *const aad[] = {op->aad, iv};
	const int aad_len[] = {op->aad_len, (int)(info->iv_bytes + op->len)};
	uint8_t counter[16] = {0}, tag[CRYPTO_TAG_MAX];

	if (info->cipher == CRYPTO_CIPHER_GMAC)
		return oracle_aead_open(oracle_cipher(info), material, op->nonce, aad, aad_len, 2,
			NULL, 0, op->tag);
	if (info->hmac == CRYPTO_HMAC_NONE)
		return oracle_aead_open(oracle_cipher(info), material, op->nonce, aad, aad_len, 1,
			op->data, (int)op->len, op->tag);
	oracle_hmac(oracle_digest(info), material + info->key_bytes + info->salt_bytes,
		info->hmac_key_bytes, iv - 8, 8u + info->iv_bytes + op->len, op->aad + 4,
		op->aad_len == 12 ? 4 : 0, tag, info->icv_bytes);
	if (memcmp(tag, op->tag, info->icv_bytes) != 0)
		return false;
	memcpy(counter, op->nonce, CRYPTO_NONCE_BYTES);
	counter[15] = 1; /* RFC 3686 section 4 */
	if (info->cipher != CRYPTO_CIPHER_NULL)
		oracle_cipher_run(oracle_cipher(info), material,
			info->cipher == CRYPTO_CIPHER_CBC ? iv : counter, false, op->data,
			(int)op->len);
	return true;
}
#endif
