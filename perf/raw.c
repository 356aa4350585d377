/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a burst of 32 packets in one warm buffer each, RAW_BURSTS times over; in place,
 * as the packet path works. What is decrypted is not a ciphertext any more after the first time:
 * the time does not depend on the bytes, and neither does that of the tag compare. AES-GCM alone
 * has a direct call for all of it; everything else is measured by bursts of jobs.
 */
#include "perf/raw.h"

#include "lib/hmac.h"
#include "perf/bench.h"

#include <intel-ipsec-mb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAW_BURST 32
#define RAW_BURSTS 64
#define RAW_AAD_BYTES 12 /* with ESN */
#define RAW_BUFFER 2048
#define RAW_FRONT_MAX (8 + CRYPTO_IV_MAX) /* ESP header and IV: covered by HMAC and GMAC */
#define RAW_SEQ_HIGH 4                    /* bytes of ESN that HMAC covers behind the text */

struct raw_packet {
	uint8_t front[RAW_FRONT_MAX];
	uint8_t data[RAW_BUFFER];
	uint8_t tag[CRYPTO_TAG_MAX];
	uint8_t computed[CRYPTO_TAG_MAX];
	uint8_t nonce[CRYPTO_NONCE_BYTES];
	uint8_t aad[RAW_AAD_BYTES];
};

struct raw {
	_Alignas(64) struct gcm_key_data key;
	_Alignas(16) uint8_t encrypt_keys[16 * 15];
	_Alignas(16) uint8_t decrypt_keys[16 * 15];
	_Alignas(16) uint8_t ipad[64];
	_Alignas(16) uint8_t opad[64];
	struct raw_packet packets[RAW_BURST];
	IMB_MGR *mgr;
	enum crypto_alg alg;
	uint32_t len;
	volatile bool sink;
};

/* Any bytes will do for states of HMAC: the time does not depend on them. */
static void make_keys(struct raw *raw)
{
	const uint8_t key[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

	switch (crypto_alg_infos[raw->alg].key_bytes) {
	case 16:
		IMB_AES128_GCM_PRE(raw->mgr, key, &raw->key);
		IMB_AES_KEYEXP_128(raw->mgr, key, raw->encrypt_keys, raw->decrypt_keys);
		break;
	case 24:
		IMB_AES192_GCM_PRE(raw->mgr, key, &raw->key);
		break;
	default:
		IMB_AES256_GCM_PRE(raw->mgr, key, &raw->key);
		IMB_AES_KEYEXP_256(raw->mgr, key, raw->encrypt_keys, raw->decrypt_keys);
	}
}

struct raw *raw_new(enum crypto_alg alg, uint32_t inner_bytes)
{
	const uint32_t block = crypto_alg_infos[alg].block_bytes;
	struct raw *raw = aligned_alloc(64, (sizeof *raw + 63) & ~(size_t)63);

	if (raw == NULL)
		return NULL;
	memset(raw, 0, sizeof *raw);
	raw->alg = alg;
	raw->len = (inner_bytes + 2 + block - 1) / block * block;
	raw->mgr = alloc_mb_mgr(0);
	if (raw->mgr == NULL || raw->len + RAW_SEQ_HIGH > RAW_BUFFER) {
		raw_free(raw);
		return NULL;
	}
	if (bench_isa_avx2())
		init_mb_mgr_avx2(raw->mgr);
	else
		init_mb_mgr_auto(raw->mgr, NULL);
	make_keys(raw);
	for (unsigned i = 0; i < RAW_BURST; i++)
		random_fill(&raw->packets[i], sizeof raw->packets[i]);
	return raw;
}

void raw_free(struct raw *raw)
{
	if (raw == NULL)
		return;
	if (raw->mgr != NULL)
		free_mb_mgr(raw->mgr);
	free(raw);
}

static void direct_burst(struct raw *raw, bool encrypt)
{
	aes_gcm_enc_dec_t run;
	struct gcm_context_data context;

	if (raw->alg == CRYPTO_AES128GCM16)
		run = encrypt ? raw->mgr->gcm128_enc : raw->mgr->gcm128_dec;
	else if (raw->alg == CRYPTO_AES192GCM16)
		run = encrypt ? raw->mgr->gcm192_enc : raw->mgr->gcm192_dec;
	else
		run = encrypt ? raw->mgr->gcm256_enc : raw->mgr->gcm256_dec;
	for (unsigned i = 0; i < RAW_BURST; i++) {
		struct raw_packet *packet = &raw->packets[i];

		run(&raw->key, &context, packet->data, packet->data, raw->len, packet->nonce,
			packet->aad, RAW_AAD_BYTES, packet->computed, CRYPTO_TAG_BYTES);
		if (!encrypt)
			raw->sink = hmac_equal(packet->tag, packet->computed, CRYPTO_TAG_BYTES);
	}
}

static void fill_aead(struct raw *raw, IMB_JOB *job, struct raw_packet *packet)
{
	const bool gcm = raw->alg < CRYPTO_GCM_COUNT;

	job->cipher_mode = gcm ? IMB_CIPHER_GCM : IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = gcm ? IMB_AUTH_AES_GMAC : IMB_AUTH_CHACHA20_POLY1305;
	job->enc_keys = &raw->key;
	job->dec_keys = &raw->key;
	job->iv = packet->nonce;
	job->iv_len_in_bytes = CRYPTO_NONCE_BYTES;
	job->u.GCM.aad = packet->aad; /* of ChaCha20-Poly1305 too: same place in the union */
	job->u.GCM.aad_len_in_bytes = RAW_AAD_BYTES;
}

static void fill_gmac(struct raw *raw, IMB_JOB *job, struct raw_packet *packet)
{
	const unsigned key_bytes = crypto_alg_infos[raw->alg].key_bytes;

	job->cipher_mode = IMB_CIPHER_NULL;
	job->hash_alg = key_bytes == 16   ? IMB_AUTH_AES_GMAC_128
			: key_bytes == 24 ? IMB_AUTH_AES_GMAC_192
					  : IMB_AUTH_AES_GMAC_256;
	job->u.GMAC._key = &raw->key;
	job->u.GMAC._iv = packet->nonce;
	job->u.GMAC.iv_len_in_bytes = CRYPTO_NONCE_BYTES;
}

static void fill_hmac(struct raw *raw, IMB_JOB *job, struct raw_packet *packet)
{
	static const IMB_HASH_ALG hashes[] = {[CRYPTO_HMAC_SHA1] = IMB_AUTH_HMAC_SHA_1,
		[CRYPTO_HMAC_SHA256] = IMB_AUTH_HMAC_SHA_256,
		[CRYPTO_HMAC_SHA384] = IMB_AUTH_HMAC_SHA_384,
		[CRYPTO_HMAC_SHA512] = IMB_AUTH_HMAC_SHA_512};
	const struct crypto_alg_info *info = &crypto_alg_infos[raw->alg];

	job->cipher_mode = info->cipher == CRYPTO_CIPHER_CBC   ? IMB_CIPHER_CBC
			   : info->cipher == CRYPTO_CIPHER_CTR ? IMB_CIPHER_CNTR
							       : IMB_CIPHER_NULL;
	job->hash_alg = hashes[info->hmac];
	job->enc_keys = raw->encrypt_keys;
	job->dec_keys = info->cipher == CRYPTO_CIPHER_CBC ? raw->decrypt_keys : raw->encrypt_keys;
	job->iv = packet->front;
	job->iv_len_in_bytes = info->cipher == CRYPTO_CIPHER_CBC ? 16 : CRYPTO_NONCE_BYTES;
	job->u.HMAC._hashed_auth_key_xor_ipad = raw->ipad;
	job->u.HMAC._hashed_auth_key_xor_opad = raw->opad;
	job->msg_len_to_hash_in_bytes += RAW_SEQ_HIGH;
}

static void fill_job(struct raw *raw, IMB_JOB *job, struct raw_packet *packet, bool encrypt)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[raw->alg];
	const bool aead = info->hmac == CRYPTO_HMAC_NONE && info->cipher != CRYPTO_CIPHER_GMAC;
	const uint32_t front = aead ? 0 : 8u + info->iv_bytes;

	job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->key_len_in_bytes = info->key_bytes;
	job->src = packet->data - front;
	job->dst = packet->data;
	job->cipher_start_src_offset_in_bytes = front;
	job->msg_len_to_cipher_in_bytes = raw->len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = front + raw->len;
	job->auth_tag_output = packet->computed;
	job->auth_tag_output_len_in_bytes = info->icv_bytes;
	if (aead)
		fill_aead(raw, job, packet);
	else if (info->cipher == CRYPTO_CIPHER_GMAC)
		fill_gmac(raw, job, packet);
	else
		fill_hmac(raw, job, packet);
}

static void job_burst(struct raw *raw, bool encrypt)
{
	IMB_JOB *jobs[RAW_BURST];
	uint32_t n = IMB_GET_NEXT_BURST(raw->mgr, RAW_BURST, jobs);

	for (uint32_t i = 0; i < n; i++)
		fill_job(raw, jobs[i], &raw->packets[i], encrypt);
	for (uint32_t done = IMB_SUBMIT_BURST(raw->mgr, n, jobs), more; done < n; done += more) {
		more = IMB_FLUSH_BURST(raw->mgr, n - done, jobs);
		if (more == 0) { /* a job was refused */
			fprintf(stderr, "raw: intel-ipsec-mb error %d\n", imb_get_errno(raw->mgr));
			exit(1);
		}
	}
	for (uint32_t i = 0; i < n && !encrypt; i++)
		raw->sink = hmac_equal(raw->packets[i].tag, raw->packets[i].computed,
			crypto_alg_infos[raw->alg].icv_bytes);
}

static double measure(struct raw *raw, bool encrypt, void (*burst)(struct raw *, bool))
{
	uint64_t from;

	burst(raw, encrypt);
	from = bench_cycles();
	for (unsigned i = 0; i < RAW_BURSTS; i++)
		burst(raw, encrypt);
	return (double)(bench_cycles() - from) / (RAW_BURSTS * RAW_BURST);
}

double raw_cycles(struct raw *raw, bool encrypt)
{
	double jobs = measure(raw, encrypt, job_burst), direct;

	if (raw->alg >= CRYPTO_GCM_COUNT)
		return jobs;
	direct = measure(raw, encrypt, direct_burst);
	return direct < jobs ? direct : jobs;
}
