/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_H
#define DATAPLANE_ESP_CRYPTO_H
/*
 * Algorithms of ESP and the engines that run them behind one interface: a burst of operations in
 * place, each with its own key and its own algorithm.
 *
 * Owner:   main picks an engine once and runs its self-test. Threads: key_init on the control
 *          thread; run() on any thread with that thread's own crypto_thread.
 * Keys:    a blob's size and alignment are the engine's; blobs hold expanded keys, are wiped by
 *          their owner, never copied. Plaintext that failed the tag compare must not be used: the
 *          engine leaves it in the buffer, the caller drops the packet.
 * Later:   run() may become submit + poll for an asynchronous engine; callers already treat a
 *          burst as one unit and read results only after run().
 * Sources: NIST SP 800-38D, RFC 4106 (nonce = 4-byte salt | 8-byte IV), RFC 7634, RFC 4543;
 *          RFC 3602 (CBC), RFC 3686 (CTR), RFC 2404 and 4868 (HMAC).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPTO_BURST_MAX 32
#define CRYPTO_KEY_ALIGN 64
#define CRYPTO_TAG_BYTES 16 /* of an AEAD */
#define CRYPTO_TAG_MAX 32
#define CRYPTO_NONCE_BYTES 12
#define CRYPTO_AAD_MAX 12
#define CRYPTO_IV_MAX 16
#define CRYPTO_BLOCK_MAX 16
#define CRYPTO_MATERIAL_MAX 100 /* aes256ctr-sha512 */

/* Names are strongSwan's: see crypto_algs.c. The numbers are on disk (kept keys, counters): never
 * renumber, only append. What is tested by range: AES-GCM first, then the other AEADs. */
enum crypto_alg {
	CRYPTO_AES128GCM16,
	CRYPTO_AES256GCM16,
	CRYPTO_AES192GCM16,
	CRYPTO_GCM_COUNT,
	CRYPTO_CHACHA20POLY1305 = CRYPTO_GCM_COUNT,
	CRYPTO_AES128GMAC, /* no encryption */
	CRYPTO_AES192GMAC,
	CRYPTO_AES256GMAC,
	CRYPTO_AEAD_COUNT,
	CRYPTO_AES128_SHA1 = CRYPTO_AEAD_COUNT, /* AES-CBC with HMAC */
	CRYPTO_AES128_SHA256,
	CRYPTO_AES128_SHA384,
	CRYPTO_AES128_SHA512,
	CRYPTO_AES256_SHA1,
	CRYPTO_AES256_SHA256,
	CRYPTO_AES256_SHA384,
	CRYPTO_AES256_SHA512,
	CRYPTO_AES128CTR_SHA1,
	CRYPTO_AES128CTR_SHA256,
	CRYPTO_AES128CTR_SHA384,
	CRYPTO_AES128CTR_SHA512,
	CRYPTO_AES256CTR_SHA1,
	CRYPTO_AES256CTR_SHA256,
	CRYPTO_AES256CTR_SHA384,
	CRYPTO_AES256CTR_SHA512,
	CRYPTO_NULL_SHA1, /* no encryption */
	CRYPTO_NULL_SHA256,
	CRYPTO_NULL_SHA384,
	CRYPTO_NULL_SHA512,
	CRYPTO_ALG_COUNT
};
enum crypto_cipher {
	CRYPTO_CIPHER_GCM,
	CRYPTO_CIPHER_CHACHA20,
	CRYPTO_CIPHER_GMAC,
	CRYPTO_CIPHER_CBC,
	CRYPTO_CIPHER_CTR,
	CRYPTO_CIPHER_NULL
};
enum crypto_hmac {
	CRYPTO_HMAC_NONE, /* AEAD */
	CRYPTO_HMAC_SHA1,
	CRYPTO_HMAC_SHA256,
	CRYPTO_HMAC_SHA384,
	CRYPTO_HMAC_SHA512
};
/* Key material of an SA: cipher key, salt, HMAC key, as IKE hands them out (RFC 7296 2.17). */
struct crypto_alg_info {
	const char *name;
	uint8_t cipher;    /* enum crypto_cipher */
	uint8_t hmac;      /* enum crypto_hmac */
	uint8_t key_bytes; /* of the cipher, or of GMAC; without salt */
	uint8_t salt_bytes;
	uint8_t hmac_key_bytes;
	uint8_t iv_bytes; /* in the packet */
	uint8_t icv_bytes;
	uint8_t block_bytes; /* padding to this, at least 4 (RFC 4303 2.4) */
};
extern const struct crypto_alg_info crypto_alg_infos[CRYPTO_ALG_COUNT];

/* All AEADs look alike in a packet: 8 bytes of IV, 16 of ICV, padding to 4. */
static inline bool crypto_alg_is_aead(unsigned alg)
{
	return alg < CRYPTO_AEAD_COUNT;
}

size_t crypto_material_bytes(enum crypto_alg alg);
/* By name; CRYPTO_ALG_COUNT if there is none, and *why says for a person to read what is wrong:
 * weak algorithms (RFC 8221) are refused by name. */
enum crypto_alg crypto_alg_find(const char *name, const char **why);

struct crypto_op { /* aligned so that a burst of them does not split lines needlessly */
	_Alignas(64) const void *key; /* engine's blob */
	/* En- or decrypted in place. Without an AEAD and with GMAC what lies in front of it is read
	 * too: ESP header and IV, as they are sent. AES-CBC, encrypt: these 16 bytes of IV hold a
	 * block that is never used twice with this key, and become the IV. */
	uint8_t *data;
	uint8_t *tag;    /* encrypt: written; decrypt: compared; icv_bytes of the algorithm. With
			  * HMAC it lies behind data and its first 4 bytes are written to */
	uint32_t len;    /* bytes of data; with CBC, CTR, HMAC whole blocks and not 0 */
	uint8_t alg;     /* enum crypto_alg */
	uint8_t aad_len; /* 8: SPI and sequence number, or 12 with ESN: SPI, high and low half */
	bool ok;         /* result */
	uint8_t nonce[CRYPTO_NONCE_BYTES]; /* salt and IV; not with CBC and NULL */
	uint8_t aad[CRYPTO_AAD_MAX];
};

struct crypto_thread; /* per-thread state of an engine (ipsec-mb manager, scratch context) */

struct crypto_engine {
	const char *name;                              /* "vaes512", "vaes", "ipsec-mb" */
	bool (*supported)(void);                       /* by this CPU */
	size_t (*key_blob_bytes)(enum crypto_alg alg); /* what the engine really touches */
	/* material: crypto_material_bytes(alg). */
	void (*key_init)(enum crypto_alg alg, const uint8_t *material, void *blob);
	/* Asks for the lines of blob that a message of len bytes needs with the shortest key, to be
	 * called some hundred cycles ahead: with many SAs they are seldom in a cache. Looks into
	 * nothing, so that it can be called before the SA itself is there. */
	void (*key_prefetch)(const void *blob, uint32_t len);
	struct crypto_thread *(*thread_new)(void);         /* NULL: out of memory */
	void (*thread_free)(struct crypto_thread *thread); /* wipes */
	void (*encrypt)(struct crypto_thread *thread, struct crypto_op *ops, unsigned n);
	void (*decrypt)(struct crypto_thread *thread, struct crypto_op *ops, unsigned n);
};

/* name "auto" (best supported) or an engine's; NULL if unknown or unsupported. */
const struct crypto_engine *crypto_engine_find(const char *name);
/* The same, but an engine must also pass its self-test: "auto" goes on to the next one. *failed:
 * the last that did not pass, for the caller to tell, or NULL. */
const struct crypto_engine *crypto_engine_open(const char *name, const char **failed)
	__attribute__((warn_unused_result));
/* Known answers for every algorithm, alone and in a burst of mixed sizes, both directions, and
 * rejected tags; takes about two milliseconds. 0 or -EIO. */
int crypto_self_test(const struct crypto_engine *engine) __attribute__((warn_unused_result));
#endif
