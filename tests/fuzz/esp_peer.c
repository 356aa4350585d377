/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the oracle seals what lies behind room for its headers. To open is to decrypt,
 * and then to seal the text again and find the same packet.
 */
#include "tests/fuzz/esp_peer.h"

#include "lib/wire.h"
#include "tests/unit/esp/oracle.h"

#define ESP_HDR 8
#define ROOM 65536

/* The operation on the packet at esp, whose headers are written. */
static struct crypto_op op_of(const struct sa_params *sa, uint64_t seq, uint8_t *esp, size_t len)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[sa->alg];
	struct crypto_op op = {.alg = (uint8_t)sa->alg, .len = (uint32_t)len};

	op.data = esp + ESP_HDR + info->iv_bytes;
	op.tag = op.data + len;
	memcpy(op.nonce, sa->key + info->key_bytes, 4);
	memcpy(op.nonce + 4, esp + ESP_HDR, 8);
	memcpy(op.aad, esp, 4);
	op.aad_len = sa->esn ? 12 : 8;
	if (sa->esn)
		wire_store_u64(op.aad + 4, seq);
	else
		wire_store_u32(op.aad + 4, (uint32_t)seq);
	return op;
}

size_t peer_seal(
	const struct sa_params *sa, uint64_t seq, const uint8_t *text, size_t len, uint8_t *esp)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[sa->alg];
	struct crypto_op op;

	wire_store_u32(esp, sa->spi);
	wire_store_u32(esp + 4, (uint32_t)seq);
	memset(esp + ESP_HDR, 0, info->iv_bytes);
	if (info->iv_bytes >= 8)
		wire_store_u64(esp + ESP_HDR + info->iv_bytes - 8, seq);
	memcpy(esp + ESP_HDR + info->iv_bytes, text, len);
	op = op_of(sa, seq, esp, len);
	oracle_seal(&op, sa->key);
	return ESP_HDR + info->iv_bytes + len + info->icv_bytes;
}

/* What an attacker with the key makes of it: no tag is looked at. */
static void decrypt(const struct crypto_op *op, const uint8_t *material)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];
	const uint8_t *iv = op->data - info->iv_bytes;
	uint8_t counter[16] = {0}, tag[16];

	switch ((enum crypto_cipher)info->cipher) {
	case CRYPTO_CIPHER_GCM: /* streams: to encrypt again is to decrypt */
	case CRYPTO_CIPHER_CHACHA20:
		oracle_aead_seal(oracle_cipher(info), material, op->nonce, NULL, NULL, 0, op->data,
			(int)op->len, tag);
		break;
	case CRYPTO_CIPHER_CBC:
		oracle_cipher_run(oracle_cipher(info), material, iv, false, op->data, (int)op->len);
		break;
	case CRYPTO_CIPHER_CTR:
		memcpy(counter, op->nonce, CRYPTO_NONCE_BYTES);
		counter[15] = 1;
		oracle_cipher_run(
			oracle_cipher(info), material, counter, true, op->data, (int)op->len);
		break;
	case CRYPTO_CIPHER_GMAC:
	case CRYPTO_CIPHER_NULL:
		break;
	}
}

/* The block that the sender makes the IV of CBC of (crypto.h), into at[16]. */
static void cbc_block(const struct sa_params *sa, uint8_t *at)
{
	oracle_cipher_run(
		crypto_alg_infos[sa->alg].key_bytes == 16 ? EVP_aes_128_ecb() : EVP_aes_256_ecb(),
		sa->key, NULL, false, at, 16);
}

/* Is esp what seals text? *iv: the number in it. */
static bool is_sealed_of(const struct sa_params *sa, uint64_t seq, const uint8_t *esp, size_t len,
	const uint8_t *text, size_t text_len, uint64_t *iv)
{
	static uint8_t again[ROOM];
	const struct crypto_alg_info *info = &crypto_alg_infos[sa->alg];
	size_t front = ESP_HDR + info->iv_bytes;
	struct crypto_op op;

	memcpy(again, esp, front);
	memcpy(again + front, text, text_len);
	if (info->cipher == CRYPTO_CIPHER_CBC)
		cbc_block(sa, again + ESP_HDR);
	*iv = info->iv_bytes == 0 ? 0 : wire_load_u64(again + front - 8);
	op = op_of(sa, seq, again, text_len);
	oracle_seal(&op, sa->key);
	return memcmp(again, esp, len) == 0;
}

bool peer_open(const struct sa_params *sa, uint64_t seq_hint, const uint8_t *esp, size_t len,
	uint8_t *text, struct peer_opened *out)
{
	static uint8_t copy[ROOM];
	const struct crypto_alg_info *info = &crypto_alg_infos[sa->alg];
	size_t front = ESP_HDR + info->iv_bytes;
	struct crypto_op op;

	if (len > ROOM || len < front + info->icv_bytes + 2u || wire_load_u32(esp) != sa->spi)
		return false;
	*out = (struct peer_opened){
		.len = len - front - info->icv_bytes, .seq = wire_load_u32(esp + 4)};
	if (out->len % info->block_bytes != 0)
		return false;
	if (sa->esn) {
		out->seq |= seq_hint & ~UINT64_C(0xffffffff);
		if (out->seq + (UINT64_C(1) << 31) < seq_hint)
			out->seq += UINT64_C(1) << 32;
	}
	memcpy(copy, esp, len);
	op = op_of(sa, out->seq, copy, out->len);
	decrypt(&op, sa->key);
	memcpy(text, op.data, out->len);
	return is_sealed_of(sa, out->seq, esp, len, text, out->len, &out->iv);
}
