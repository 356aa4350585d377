/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a burst of 32 packets in one warm buffer each, RAW_BURSTS times over; in place,
 * as the packet path works. What is decrypted is not a ciphertext any more after the first time:
 * the time does not depend on the bytes, and neither does that of the tag compare.
 */
#include "perf/raw.h"

#include "lib/hmac.h"
#include "perf/bench.h"

#include <intel-ipsec-mb.h>
#include <stdlib.h>
#include <string.h>

#define RAW_BURST 32
#define RAW_BURSTS 64
#define RAW_AAD_BYTES 12 /* with ESN */
#define RAW_BUFFER 2048

struct raw_packet {
	uint8_t data[RAW_BUFFER];
	uint8_t tag[CRYPTO_TAG_BYTES];
	uint8_t computed[CRYPTO_TAG_BYTES];
	uint8_t nonce[CRYPTO_NONCE_BYTES];
	uint8_t aad[RAW_AAD_BYTES];
};

struct raw {
	_Alignas(64) struct gcm_key_data key;
	struct raw_packet packets[RAW_BURST];
	IMB_MGR *mgr;
	enum crypto_alg alg;
	uint32_t len;
	volatile bool sink;
};

struct raw *raw_new(enum crypto_alg alg, uint32_t inner_bytes)
{
	const uint8_t key[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
	const uint32_t block = crypto_alg_infos[alg].block_bytes;
	struct raw *raw = aligned_alloc(64, (sizeof *raw + 63) & ~(size_t)63);

	if (raw == NULL)
		return NULL;
	memset(raw, 0, sizeof *raw);
	raw->alg = alg;
	raw->len = (inner_bytes + 2 + block - 1) / block * block;
	raw->mgr = alloc_mb_mgr(0);
	if (raw->mgr == NULL || raw->len > RAW_BUFFER) {
		raw_free(raw);
		return NULL;
	}
	if (bench_isa_avx2())
		init_mb_mgr_avx2(raw->mgr);
	else
		init_mb_mgr_auto(raw->mgr, NULL);
	if (alg == CRYPTO_AES128GCM16)
		IMB_AES128_GCM_PRE(raw->mgr, key, &raw->key);
	else
		IMB_AES256_GCM_PRE(raw->mgr, key, &raw->key);
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

static void fill_job(struct raw *raw, IMB_JOB *job, struct raw_packet *packet, bool encrypt)
{
	job->cipher_mode = IMB_CIPHER_GCM;
	job->hash_alg = IMB_AUTH_AES_GMAC;
	job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = &raw->key;
	job->dec_keys = &raw->key;
	job->key_len_in_bytes = crypto_alg_infos[raw->alg].key_bytes;
	job->src = packet->data;
	job->dst = packet->data;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = raw->len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = raw->len;
	job->iv = packet->nonce;
	job->iv_len_in_bytes = CRYPTO_NONCE_BYTES;
	job->u.GCM.aad = packet->aad;
	job->u.GCM.aad_len_in_bytes = RAW_AAD_BYTES;
	job->auth_tag_output = packet->computed;
	job->auth_tag_output_len_in_bytes = CRYPTO_TAG_BYTES;
}

static void job_burst(struct raw *raw, bool encrypt)
{
	IMB_JOB *jobs[RAW_BURST];
	uint32_t n = IMB_GET_NEXT_BURST(raw->mgr, RAW_BURST, jobs);

	for (uint32_t i = 0; i < n; i++)
		fill_job(raw, jobs[i], &raw->packets[i], encrypt);
	for (uint32_t done = IMB_SUBMIT_BURST(raw->mgr, n, jobs); done < n;)
		done += IMB_FLUSH_BURST(raw->mgr, n - done, jobs);
	for (uint32_t i = 0; i < n && !encrypt; i++)
		raw->sink = hmac_equal(
			raw->packets[i].tag, raw->packets[i].computed, CRYPTO_TAG_BYTES);
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
	double direct = measure(raw, encrypt, direct_burst);
	double jobs = measure(raw, encrypt, job_burst);

	return direct < jobs ? direct : jobs;
}
