/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of algorithms, and why others are refused.
 *
 * Sources: RFC 4106, 7634, 4543, 3602, 3686, 2410 and 2404, 4868 for sizes; RFC 4303 section 2.4
 *          for the alignment; RFC 8221 sections 4 to 6 for what may not be used.
 */
#include "dataplane/esp/crypto.h"

#include <assert.h>
#include <string.h>

static_assert(CRYPTO_AES128GCM16 == 0 && CRYPTO_AES256GCM16 == 1 && CRYPTO_AES192GCM16 == 2 &&
		      CRYPTO_CHACHA20POLY1305 == 3 && CRYPTO_AES256GMAC == 6 &&
		      CRYPTO_AES256_SHA1 == 11 && CRYPTO_NULL_SHA512 == 26,
	"numbers are on disk");

#define AEAD(cipher_, key_, salt_)                                                      \
	.cipher = (cipher_), .key_bytes = (key_), .salt_bytes = (salt_), .iv_bytes = 8, \
	.icv_bytes = CRYPTO_TAG_BYTES, .block_bytes = 4
#define CBC(key_) \
	.cipher = CRYPTO_CIPHER_CBC, .key_bytes = (key_), .iv_bytes = 16, .block_bytes = 16
#define CTR(key_)                                                                         \
	.cipher = CRYPTO_CIPHER_CTR, .key_bytes = (key_), .salt_bytes = 4, .iv_bytes = 8, \
	.block_bytes = 4
#define PLAIN .cipher = CRYPTO_CIPHER_NULL, .block_bytes = 4
#define SHA1 .hmac = CRYPTO_HMAC_SHA1, .hmac_key_bytes = 20, .icv_bytes = 12
#define SHA256 .hmac = CRYPTO_HMAC_SHA256, .hmac_key_bytes = 32, .icv_bytes = 16
#define SHA384 .hmac = CRYPTO_HMAC_SHA384, .hmac_key_bytes = 48, .icv_bytes = 24
#define SHA512 .hmac = CRYPTO_HMAC_SHA512, .hmac_key_bytes = 64, .icv_bytes = 32

const struct crypto_alg_info crypto_alg_infos[CRYPTO_ALG_COUNT] = {
	[CRYPTO_AES128GCM16] = {.name = "aes128gcm16", AEAD(CRYPTO_CIPHER_GCM, 16, 4)},
	[CRYPTO_AES192GCM16] = {.name = "aes192gcm16", AEAD(CRYPTO_CIPHER_GCM, 24, 4)},
	[CRYPTO_AES256GCM16] = {.name = "aes256gcm16", AEAD(CRYPTO_CIPHER_GCM, 32, 4)},
	[CRYPTO_CHACHA20POLY1305] = {.name = "chacha20poly1305",
		AEAD(CRYPTO_CIPHER_CHACHA20, 32, 4)},
	[CRYPTO_AES128GMAC] = {.name = "aes128gmac", AEAD(CRYPTO_CIPHER_GMAC, 16, 4)},
	[CRYPTO_AES192GMAC] = {.name = "aes192gmac", AEAD(CRYPTO_CIPHER_GMAC, 24, 4)},
	[CRYPTO_AES256GMAC] = {.name = "aes256gmac", AEAD(CRYPTO_CIPHER_GMAC, 32, 4)},
	[CRYPTO_AES128_SHA1] = {.name = "aes128-sha1", CBC(16), SHA1},
	[CRYPTO_AES128_SHA256] = {.name = "aes128-sha256", CBC(16), SHA256},
	[CRYPTO_AES128_SHA384] = {.name = "aes128-sha384", CBC(16), SHA384},
	[CRYPTO_AES128_SHA512] = {.name = "aes128-sha512", CBC(16), SHA512},
	[CRYPTO_AES256_SHA1] = {.name = "aes256-sha1", CBC(32), SHA1},
	[CRYPTO_AES256_SHA256] = {.name = "aes256-sha256", CBC(32), SHA256},
	[CRYPTO_AES256_SHA384] = {.name = "aes256-sha384", CBC(32), SHA384},
	[CRYPTO_AES256_SHA512] = {.name = "aes256-sha512", CBC(32), SHA512},
	[CRYPTO_AES128CTR_SHA1] = {.name = "aes128ctr-sha1", CTR(16), SHA1},
	[CRYPTO_AES128CTR_SHA256] = {.name = "aes128ctr-sha256", CTR(16), SHA256},
	[CRYPTO_AES128CTR_SHA384] = {.name = "aes128ctr-sha384", CTR(16), SHA384},
	[CRYPTO_AES128CTR_SHA512] = {.name = "aes128ctr-sha512", CTR(16), SHA512},
	[CRYPTO_AES256CTR_SHA1] = {.name = "aes256ctr-sha1", CTR(32), SHA1},
	[CRYPTO_AES256CTR_SHA256] = {.name = "aes256ctr-sha256", CTR(32), SHA256},
	[CRYPTO_AES256CTR_SHA384] = {.name = "aes256ctr-sha384", CTR(32), SHA384},
	[CRYPTO_AES256CTR_SHA512] = {.name = "aes256ctr-sha512", CTR(32), SHA512},
	[CRYPTO_NULL_SHA1] = {.name = "null-sha1", PLAIN, SHA1},
	[CRYPTO_NULL_SHA256] = {.name = "null-sha256", PLAIN, SHA256},
	[CRYPTO_NULL_SHA384] = {.name = "null-sha384", PLAIN, SHA384},
	[CRYPTO_NULL_SHA512] = {.name = "null-sha512", PLAIN, SHA512},
};

size_t crypto_material_bytes(enum crypto_alg alg)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[alg];

	return (size_t)info->key_bytes + info->salt_bytes + info->hmac_key_bytes;
}

#define MUST_NOT "is too weak: RFC 8221 says MUST NOT; take aes128gcm16 or aes256gcm16"
#define NO_INTEGRITY                                                                     \
	"has no integrity protection (RFC 8221 section 4 forbids that): add one, as in " \
	"aes256-sha256"

/* Beginnings of a name, or of what follows a '-' in it; the first that fits counts. */
static const struct refusal {
	const char *token, *why;
} refusals[] = {
	{"3des", "is too weak, blocks of 64 bits: RFC 8221 says SHOULD NOT; take aes128gcm16"},
	{"des", MUST_NOT},
	{"md5", MUST_NOT},
	{"blowfish", MUST_NOT},
	{"cast", MUST_NOT},
	{"idea", MUST_NOT},
	{"3idea", MUST_NOT},
	{"rc4", "is too weak, and was never one of ESP: take aes128gcm16 or aes256gcm16"},
	{"rc5", MUST_NOT},
	{"aesxcbc", "authenticates with 96 bits for small devices: take sha256 for it"},
	{"aescmac", "authenticates with 96 bits for small devices: take sha256 for it"},
	{"sha256_96", "cuts SHA-256 to 96 bits, as RFC 4868 does not: take sha256"},
	{"sha2_256_96", "cuts SHA-256 to 96 bits, as RFC 4868 does not: take sha256"},
};

/* AES-GCM and AES-CCM with an ICV that is cut. */
static bool is_short_icv(const char *name)
{
	const char *mode = strstr(name, "gcm");

	return strstr(name, "ccm") != NULL || (mode != NULL && strncmp(mode, "gcm16", 5) != 0);
}

static bool is_cipher_alone(const char *name)
{
	static const char *const ciphers[] = {
		"null", "aes128", "aes192", "aes256", "aes128ctr", "aes192ctr", "aes256ctr"};

	for (size_t i = 0; i < sizeof ciphers / sizeof ciphers[0]; i++)
		if (strcmp(name, ciphers[i]) == 0)
			return true;
	return false;
}

static const char *refusal_of(const char *name)
{
	for (const char *part = name; part != NULL; part = strchr(part, '-')) {
		part += *part == '-';
		for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
			if (strncmp(part, refusals[i].token, strlen(refusals[i].token)) == 0)
				return refusals[i].why;
	}
	if (is_cipher_alone(name))
		return NO_INTEGRITY;
	if (is_short_icv(name))
		return "is not there: take one with an ICV of 16 bytes, as aes128gcm16";
	return "is not known: take one of those that config/roamgate.conf lists, as aes128gcm16, "
	       "chacha20poly1305 or aes256-sha256";
}

enum crypto_alg crypto_alg_find(const char *name, const char **why)
{
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++)
		if (strcmp(name, crypto_alg_infos[alg].name) == 0)
			return (enum crypto_alg)alg;
	*why = refusal_of(name);
	return CRYPTO_ALG_COUNT;
}
