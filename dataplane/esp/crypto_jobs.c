/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one job for each operation goes into the manager of the thread by one burst call,
 * then all are flushed. In the manager AES-CBC and HMAC wait until enough of their kind have come
 * to fill the lanes of a vector; the rest of them is worked off by the flush. GMAC is no job: with
 * extended sequence numbers what it covers is not in one piece, which only the direct calls take.
 *
 * A blob is, in this order and each part if the algorithm has it: round keys to encrypt, round keys
 * to decrypt (CBC), inner and outer state of HMAC; or the plain key (ChaCha20), or struct
 * gcm_key_data cut to what is used of it (GMAC).
 *
 * What HMAC covers goes from ESP header to the end of the text and, with extended sequence numbers,
 * on to the high half of the sequence number, which is not sent (RFC 4303 section 3.3.2.1 and
 * appendix A): this is put behind the text for the time of the job, where the ICV will be or was.
 *
 * The IV of CBC must not be foreseeable: SP 800-38A appendix C makes it by encrypting, with the
 * same key, a block that is never used twice. In CBC this is the same as to encrypt that block in
 * front of the text, with zeros as its IV: so it costs one block and no pass of its own.
 */
#include "dataplane/esp/crypto_jobs.h"

#include "dataplane/esp/crypto_engines.h"
#include "lib/hmac.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64
#define ESP_HDR_BYTES 8
#define SEQ_HIGH_BYTES 4
#define AAD_BYTES_ESN 12
#define BLOCK 16
#define HMAC_BLOCK_MAX 128 /* bytes, of SHA-384 and SHA-512 */

struct crypto_jobs {
	IMB_MGR *manager; /* own: its lanes hold what is being worked on */
	struct gcm_context_data gmac;
	uint8_t tags[CRYPTO_BURST_MAX][CRYPTO_TAG_MAX];     /* computed */
	uint8_t received[CRYPTO_BURST_MAX][SEQ_HIGH_BYTES]; /* of the ICV, where the high half is */
};

/* --- managers -----------------------------------------------------------------------------------
 */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static IMB_MGR *shared_manager;
static bool hold_avx2;

void crypto_ipsec_mb_hold_avx2_test(void)
{
	hold_avx2 = true;
}

/* Its memory is one piece, so that it can be wiped. */
static IMB_MGR *manager_new(void)
{
	const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
	const size_t bytes = (imb_get_mb_mgr_size() + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	void *memory = aligned_alloc(CACHE_LINE, bytes);
	IMB_MGR *manager = memory == NULL ? NULL : imb_set_pointers_mb_mgr(memory, 0, 1);

	if (manager == NULL || (manager->features & needed) != needed) {
		free(memory);
		return NULL;
	}
	if (hold_avx2)
		init_mb_mgr_avx2(manager);
	else
		init_mb_mgr_auto(manager, NULL);
	return manager;
}

static void manager_free(IMB_MGR *manager)
{
	if (manager == NULL)
		return;
	secret_wipe(manager, imb_get_mb_mgr_size());
	free(manager);
}

static void shared_init(void)
{
	shared_manager = manager_new();
}

const IMB_MGR *crypto_jobs_manager(void)
{
	pthread_once(&once, shared_init);
	return shared_manager;
}

struct crypto_jobs *crypto_jobs_new(void)
{
	struct crypto_jobs *jobs = aligned_alloc(
		CACHE_LINE, (sizeof *jobs + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1));

	if (jobs == NULL)
		return NULL;
	memset(jobs, 0, sizeof *jobs);
	jobs->manager = manager_new();
	if (jobs->manager != NULL)
		return jobs;
	free(jobs);
	return NULL;
}

void crypto_jobs_free(struct crypto_jobs *jobs)
{
	if (jobs == NULL)
		return;
	manager_free(jobs->manager);
	secret_wipe(jobs, sizeof *jobs);
	free(jobs);
}

/* --- keys ---------------------------------------------------------------------------------------
 */

struct hash {
	IMB_HASH_ALG alg;
	uint8_t state_bytes; /* of ipad, of opad */
	uint8_t state_step;  /* the same, aligned to 16 bytes */
};

static const struct hash hashes[] = {
	[CRYPTO_HMAC_NONE] = {.alg = IMB_AUTH_NULL},
	[CRYPTO_HMAC_SHA1] = {IMB_AUTH_HMAC_SHA_1, 20, 32},
	[CRYPTO_HMAC_SHA256] = {IMB_AUTH_HMAC_SHA_256, 32, 32},
	[CRYPTO_HMAC_SHA384] = {IMB_AUTH_HMAC_SHA_384, 64, 64},
	[CRYPTO_HMAC_SHA512] = {IMB_AUTH_HMAC_SHA_512, 64, 64},
};

/* Of one direction. */
static inline size_t round_keys_bytes(const struct crypto_alg_info *info)
{
	return info->key_bytes == 0 ? 0 : BLOCK * ((size_t)info->key_bytes / 4 + 7);
}

/* Where the states of HMAC begin. */
static inline size_t hmac_offset(const struct crypto_alg_info *info)
{
	const size_t one = round_keys_bytes(info);

	return info->cipher == CRYPTO_CIPHER_CBC ? 2 * one : one;
}

size_t crypto_jobs_key_bytes(enum crypto_alg alg)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[alg];
	const struct hash *hash = &hashes[info->hmac];

	if (info->cipher == CRYPTO_CIPHER_GMAC)
		return crypto_ipsec_mb_key_bytes(shared_manager);
	if (info->cipher == CRYPTO_CIPHER_CHACHA20)
		return info->key_bytes;
	return hmac_offset(info) + 2 * (size_t)hash->state_step;
}

static void hash_one_block(enum crypto_hmac hmac, const uint8_t *block, uint8_t *state)
{
	if (hmac == CRYPTO_HMAC_SHA1)
		IMB_SHA1_ONE_BLOCK(shared_manager, block, state);
	else if (hmac == CRYPTO_HMAC_SHA256)
		IMB_SHA256_ONE_BLOCK(shared_manager, block, state);
	else if (hmac == CRYPTO_HMAC_SHA384)
		IMB_SHA384_ONE_BLOCK(shared_manager, block, state);
	else
		IMB_SHA512_ONE_BLOCK(shared_manager, block, state);
}

/* RFC 2104: the state behind the first block, key xor pad. Keys are shorter than a block. */
static void hmac_init(const struct crypto_alg_info *info, const uint8_t *key, uint8_t *states)
{
	static const uint8_t pads[] = {0x36, 0x5c};
	const struct hash *hash = &hashes[info->hmac];

	for (unsigned i = 0; i < sizeof pads; i++) {
		_Alignas(BLOCK) uint8_t block[HMAC_BLOCK_MAX], state[64];

		memset(block, pads[i], sizeof block);
		for (unsigned k = 0; k < info->hmac_key_bytes; k++)
			block[k] ^= key[k];
		hash_one_block((enum crypto_hmac)info->hmac, block, state);
		memcpy(states + i * (size_t)hash->state_step, state, hash->state_bytes);
		secret_wipe(block, sizeof block);
		secret_wipe(state, sizeof state);
	}
}

static void aes_expand(const struct crypto_alg_info *info, const uint8_t *key, uint8_t *blob)
{
	_Alignas(BLOCK) uint8_t decrypt[BLOCK * 15];

	if (info->key_bytes == 16)
		IMB_AES_KEYEXP_128(shared_manager, key, blob, decrypt);
	else
		IMB_AES_KEYEXP_256(shared_manager, key, blob, decrypt);
	if (info->cipher == CRYPTO_CIPHER_CBC)
		memcpy(blob + round_keys_bytes(info), decrypt, round_keys_bytes(info));
	secret_wipe(decrypt, sizeof decrypt);
}

static void gmac_expand(const struct crypto_alg_info *info, const uint8_t *key, void *blob)
{
	if (info->key_bytes == 16)
		IMB_AES128_GCM_PRE(shared_manager, key, blob);
	else if (info->key_bytes == 24)
		IMB_AES192_GCM_PRE(shared_manager, key, blob);
	else
		IMB_AES256_GCM_PRE(shared_manager, key, blob);
}

void crypto_jobs_key_init(enum crypto_alg alg, const uint8_t *material, void *blob)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[alg];

	if (info->cipher == CRYPTO_CIPHER_GMAC)
		gmac_expand(info, material, blob);
	else if (info->cipher == CRYPTO_CIPHER_CHACHA20)
		memcpy(blob, material, info->key_bytes);
	else if (info->key_bytes != 0)
		aes_expand(info, material, blob);
	if (info->hmac != CRYPTO_HMAC_NONE)
		hmac_init(info, material + info->key_bytes + info->salt_bytes,
			(uint8_t *)blob + hmac_offset(info));
}

/* --- a burst ------------------------------------------------------------------------------------
 */

/* Time does not depend on where the tags differ. */
static inline bool tag_equal(const uint8_t *a, const uint8_t *b, unsigned bytes)
{
	uint32_t a_word, b_word, differ = 0;

	for (unsigned at = 0; at < bytes; at += sizeof a_word) { /* sizes are whole words */
		memcpy(&a_word, a + at, sizeof a_word);
		memcpy(&b_word, b + at, sizeof b_word);
		differ |= a_word ^ b_word;
	}
	return differ == 0;
}

static void gmac_run(struct crypto_jobs *jobs, struct crypto_op *op, bool encrypt)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];
	struct gcm_context_data *context = &jobs->gmac;
	IMB_MGR *manager = jobs->manager;
	uint8_t tag[CRYPTO_TAG_BYTES], *out = encrypt ? op->tag : tag;
	const uint8_t *iv = op->data - info->iv_bytes;
	const uint64_t len = op->len + info->iv_bytes;

	/* RFC 4543 section 3.3: SPI and sequence number, IV, text. */
	if (info->key_bytes == 16) {
		IMB_AES128_GMAC_INIT(manager, op->key, context, op->nonce, CRYPTO_NONCE_BYTES);
		IMB_AES128_GMAC_UPDATE(manager, op->key, context, op->aad, op->aad_len);
		IMB_AES128_GMAC_UPDATE(manager, op->key, context, iv, len);
		IMB_AES128_GMAC_FINALIZE(manager, op->key, context, out, CRYPTO_TAG_BYTES);
	} else if (info->key_bytes == 24) {
		IMB_AES192_GMAC_INIT(manager, op->key, context, op->nonce, CRYPTO_NONCE_BYTES);
		IMB_AES192_GMAC_UPDATE(manager, op->key, context, op->aad, op->aad_len);
		IMB_AES192_GMAC_UPDATE(manager, op->key, context, iv, len);
		IMB_AES192_GMAC_FINALIZE(manager, op->key, context, out, CRYPTO_TAG_BYTES);
	} else {
		IMB_AES256_GMAC_INIT(manager, op->key, context, op->nonce, CRYPTO_NONCE_BYTES);
		IMB_AES256_GMAC_UPDATE(manager, op->key, context, op->aad, op->aad_len);
		IMB_AES256_GMAC_UPDATE(manager, op->key, context, iv, len);
		IMB_AES256_GMAC_FINALIZE(manager, op->key, context, out, CRYPTO_TAG_BYTES);
	}
	op->ok = encrypt || tag_equal(tag, op->tag, CRYPTO_TAG_BYTES);
}

static void fill_chacha(IMB_JOB *job, const struct crypto_op *op)
{
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->key_len_in_bytes = 32;
	job->src = op->data;
	job->dst = op->data;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = op->len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = op->len;
	job->iv = op->nonce;
	job->iv_len_in_bytes = CRYPTO_NONCE_BYTES;
	job->u.CHACHA20_POLY1305.aad = op->aad;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = op->aad_len;
}

static void fill_cipher(
	IMB_JOB *job, const struct crypto_op *op, const struct crypto_alg_info *info, bool encrypt)
{
	static const uint8_t zeros[BLOCK];
	const uint32_t front = ESP_HDR_BYTES + info->iv_bytes;
	uint8_t *esp = op->data - front;

	job->cipher_mode = info->cipher == CRYPTO_CIPHER_CBC   ? IMB_CIPHER_CBC
			   : info->cipher == CRYPTO_CIPHER_CTR ? IMB_CIPHER_CNTR
							       : IMB_CIPHER_NULL;
	job->key_len_in_bytes = info->key_bytes;
	job->src = esp;
	job->dst = op->data;
	job->cipher_start_src_offset_in_bytes = front;
	job->msg_len_to_cipher_in_bytes = op->len;
	if (info->cipher == CRYPTO_CIPHER_CTR) {
		job->iv = op->nonce; /* the block counter begins with 1: RFC 3686 section 4 */
		job->iv_len_in_bytes = CRYPTO_NONCE_BYTES;
	} else if (info->cipher == CRYPTO_CIPHER_CBC) {
		job->iv = encrypt ? zeros : op->data - BLOCK;
		job->iv_len_in_bytes = BLOCK;
		job->dec_keys = (const uint8_t *)op->key + round_keys_bytes(info);
		if (encrypt) { /* the IV too */
			job->dst = op->data - BLOCK;
			job->cipher_start_src_offset_in_bytes = ESP_HDR_BYTES;
			job->msg_len_to_cipher_in_bytes = op->len + (uint32_t)BLOCK;
		}
	}
}

static void fill_hmac(IMB_JOB *job, const struct crypto_op *op, const struct crypto_alg_info *info)
{
	const struct hash *hash = &hashes[info->hmac];
	const uint8_t *states = (const uint8_t *)op->key + hmac_offset(info);

	job->hash_alg = hash->alg;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = ESP_HDR_BYTES + (uint64_t)info->iv_bytes + op->len;
	job->u.HMAC._hashed_auth_key_xor_ipad = states;
	job->u.HMAC._hashed_auth_key_xor_opad = states + hash->state_step;
}

/* Without a tag that was received the computed one goes to its place. */
static void fill(
	struct crypto_jobs *jobs, IMB_JOB *job, struct crypto_op *op, unsigned place, bool encrypt)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];

	job->user_data = op;
	job->cipher_direction = encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = encrypt ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = op->key;
	job->dec_keys = op->key;
	job->auth_tag_output = encrypt ? op->tag : jobs->tags[place];
	job->auth_tag_output_len_in_bytes = info->icv_bytes;
	if (info->hmac == CRYPTO_HMAC_NONE) {
		fill_chacha(job, op);
		return;
	}
	fill_cipher(job, op, info, encrypt);
	fill_hmac(job, op, info);
	if (op->aad_len != AAD_BYTES_ESN)
		return;
	memcpy(jobs->received[place], op->tag, SEQ_HIGH_BYTES);
	memcpy(op->tag, op->aad + 4, SEQ_HIGH_BYTES);
	job->msg_len_to_hash_in_bytes += SEQ_HIGH_BYTES;
}

static void finish_decrypt(struct crypto_jobs *jobs, struct crypto_op *op, unsigned place)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];

	if (info->hmac != CRYPTO_HMAC_NONE && op->aad_len == AAD_BYTES_ESN)
		memcpy(op->tag, jobs->received[place], SEQ_HIGH_BYTES);
	op->ok = op->ok && tag_equal(jobs->tags[place], op->tag, info->icv_bytes);
}

/* What is done. */
static uint32_t collect(IMB_JOB *const list[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct crypto_op *op = list[i]->user_data;

		/* Only jobs that are set up wrong end otherwise, and their text would be clear. */
		if (list[i]->status != IMB_STATUS_COMPLETED)
			abort();
		op->ok = true;
	}
	return n;
}

void crypto_jobs_run(struct crypto_jobs *jobs, struct crypto_op *ops, unsigned n, bool encrypt)
{
	struct crypto_op *pending[CRYPTO_BURST_MAX];
	IMB_JOB *list[CRYPTO_BURST_MAX];
	uint32_t n_jobs = 0, done, more;

	for (unsigned i = 0; i < n; i++) {
		if (!crypto_is_job(&ops[i]))
			continue;
		ops[i].ok = false;
		if (crypto_alg_infos[ops[i].alg].cipher == CRYPTO_CIPHER_GMAC)
			gmac_run(jobs, &ops[i], encrypt);
		else
			pending[n_jobs++] = &ops[i];
	}
	if (n_jobs == 0)
		return;
	/* The queue has 256 places and is empty between bursts: all are granted. */
	if (IMB_GET_NEXT_BURST(jobs->manager, n_jobs, list) != n_jobs)
		abort();
	for (uint32_t i = 0; i < n_jobs; i++)
		fill(jobs, list[i], pending[i], i, encrypt);
	done = collect(list, IMB_SUBMIT_BURST_NOCHECK(jobs->manager, n_jobs, list));
	while (done < n_jobs) {
		more = collect(list, IMB_FLUSH_BURST(jobs->manager, n_jobs - done, list));
		if (more == 0)
			abort(); /* never leave with jobs in the lanes: they point into packets */
		done += more;
	}
	if (encrypt)
		return;
	for (uint32_t i = 0; i < n_jobs; i++)
		finish_decrypt(jobs, pending[i], i);
}
