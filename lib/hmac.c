/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: looking an algorithm up in libcrypto costs more than tagging a datagram, so one
 * context per algorithm is made once, with a key that is never used; each call works on a copy of
 * it, which it gives its own key.
 */
#include "lib/hmac.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static struct {
	pthread_once_t once;
	EVP_MAC_CTX *md5, *sha256; /* const after init; NULL: libcrypto does not have it */
} templates = {.once = PTHREAD_ONCE_INIT};

static EVP_MAC_CTX *template_new(EVP_MAC *mac, const char *digest)
{
	static const uint8_t unused_key[HMAC_BYTES_MAX];
	char name[16];
	OSSL_PARAM params[2];
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);

	strcpy(name, digest);
	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0);
	params[1] = OSSL_PARAM_construct_end();
	if (ctx != NULL && EVP_MAC_init(ctx, unused_key, sizeof unused_key, params) != 1) {
		EVP_MAC_CTX_free(ctx);
		ctx = NULL;
	}
	return ctx;
}

static void templates_init(void)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	if (mac == NULL)
		return;
	templates.md5 = template_new(mac, "MD5");
	templates.sha256 = template_new(mac, "SHA256");
	EVP_MAC_free(mac); /* the contexts hold their own reference */
}

size_t hmac_bytes(enum hmac_alg alg)
{
	return alg == HMAC_MD5 ? HMAC_MD5_BYTES : HMAC_SHA256_BYTES;
}

int hmac_compute(enum hmac_alg alg, const void *key, size_t key_len, const struct hmac_part *parts,
	size_t n_parts, uint8_t tag[HMAC_BYTES_MAX])
{
	/* A NULL key would mean "the key of before" to libcrypto. */
	const uint8_t *some_key = key_len == 0 ? (const uint8_t *)"" : key;
	const EVP_MAC_CTX *base;
	EVP_MAC_CTX *ctx = NULL;
	size_t len = 0;
	bool ok;

	pthread_once(&templates.once, templates_init);
	base = alg == HMAC_MD5 ? templates.md5 : templates.sha256;
	if (base != NULL)
		ctx = EVP_MAC_CTX_dup(base);
	ok = ctx != NULL && EVP_MAC_init(ctx, some_key, key_len, NULL) == 1;
	for (size_t i = 0; ok && i < n_parts; i++)
		ok = parts[i].len == 0 || EVP_MAC_update(ctx, parts[i].data, parts[i].len) == 1;
	ok = ok && EVP_MAC_final(ctx, tag, &len, HMAC_BYTES_MAX) == 1 && len == hmac_bytes(alg);
	EVP_MAC_CTX_free(ctx);
	if (!ok)
		memset(tag, 0, HMAC_BYTES_MAX);
	return ok ? 0 : -EIO;
}

bool hmac_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

void secret_wipe(void *data, size_t len)
{
	if (len != 0)
		explicit_bzero(data, len);
}

void random_fill(void *data, size_t len)
{
	uint8_t *at = data;

	while (len != 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort();
		at += n;
		len -= (size_t)n;
	}
}
