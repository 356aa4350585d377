/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one OpenSSL cipher call each way; the sequence number of the sender is also its
 * IV.
 */
#include "tests/fuzz/esp_peer.h"

#include "lib/wire.h"

#include <openssl/evp.h>

#include <stdlib.h>

#define ESP_HDR 8
#define IV 8
#define TAG 16

static const EVP_CIPHER *cipher_of(const struct sa_params *sa)
{
	return crypto_alg_infos[sa->alg].key_bytes == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();
}

/* tag: written, or compared. */
static bool gcm(const struct sa_params *sa, bool encrypt, uint64_t seq, const uint8_t *esp,
	const uint8_t *in, size_t len, uint8_t *out, uint8_t *tag)
{
	static EVP_CIPHER_CTX *context;
	uint8_t nonce[12], aad[12];
	const uint8_t *salt = sa->key + crypto_alg_infos[sa->alg].key_bytes;
	int n;

	if (context == NULL)
		context = EVP_CIPHER_CTX_new();
	memcpy(nonce, salt, 4);
	memcpy(nonce + 4, esp + ESP_HDR, IV);
	memcpy(aad, esp, 4);
	if (sa->esn)
		wire_store_u64(aad + 4, seq);
	else
		wire_store_u32(aad + 4, (uint32_t)seq);
	return EVP_CipherInit_ex(context, cipher_of(sa), NULL, sa->key, nonce, encrypt) == 1 &&
	       EVP_CipherUpdate(context, NULL, &n, aad, sa->esn ? 12 : 8) == 1 &&
	       (len == 0 || EVP_CipherUpdate(context, out, &n, in, (int)len) == 1) &&
	       (encrypt || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1) &&
	       EVP_CipherFinal_ex(context, out + len, &n) == 1 &&
	       (!encrypt || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1);
}

size_t peer_seal(
	const struct sa_params *sa, uint64_t seq, const uint8_t *text, size_t len, uint8_t *esp)
{
	uint8_t *at = esp + ESP_HDR + IV;

	wire_store_u32(esp, sa->spi);
	wire_store_u32(esp + 4, (uint32_t)seq);
	wire_store_u64(esp + ESP_HDR, seq);
	if (!gcm(sa, true, seq, esp, text, len, at, at + len))
		abort();
	return ESP_HDR + IV + len + TAG;
}

bool peer_open(const struct sa_params *sa, uint64_t seq_hint, const uint8_t *esp, size_t len,
	uint8_t *text, struct peer_opened *out)
{
	uint8_t tag[TAG];

	if (len < ESP_HDR + IV + TAG + 2 || wire_load_u32(esp) != sa->spi)
		return false;
	out->len = len - ESP_HDR - IV - TAG;
	out->seq = wire_load_u32(esp + 4);
	out->iv = wire_load_u64(esp + ESP_HDR);
	if (sa->esn) {
		out->seq |= seq_hint & ~UINT64_C(0xffffffff);
		if (out->seq + (UINT64_C(1) << 31) < seq_hint)
			out->seq += UINT64_C(1) << 32;
	}
	memcpy(tag, esp + len - TAG, TAG);
	return gcm(sa, false, out->seq, esp, esp + ESP_HDR + IV, out->len, text, tag);
}
