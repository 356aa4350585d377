/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_H
#define DATAPLANE_ESP_CRYPTO_H
/*
 * AEAD engines behind one interface: a burst of operations in place, each with its own key.
 *
 * Owner:   main picks an engine once and runs its self-test. Threads: key_init on the control
 *          thread; run() on any thread with that thread's own crypto_thread.
 * Keys:    a blob's size and alignment are the engine's; blobs hold expanded keys, are wiped by
 *          their owner, never copied. Plaintext that failed the tag compare must not be used: the
 *          engine leaves it in the buffer, the caller drops the packet.
 * Later:   run() may become submit + poll for an asynchronous engine; callers already treat a
 *          burst as one unit and read results only after run().
 * Sources: NIST SP 800-38D, RFC 4106 (nonce = 4-byte salt | 8-byte IV).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPTO_BURST_MAX 32
#define CRYPTO_KEY_ALIGN 64
#define CRYPTO_TAG_BYTES 16
#define CRYPTO_NONCE_BYTES 12
#define CRYPTO_AAD_MAX 12

enum crypto_alg {
	CRYPTO_AES128GCM16, /* "aes128gcm16": 16-byte key + 4-byte salt as key material */
	CRYPTO_AES256GCM16, /* "aes256gcm16": 32 + 4 */
	CRYPTO_ALG_COUNT
};
struct crypto_alg_info {
	const char *name;  /* as strongSwan spells it */
	uint8_t key_bytes; /* without salt */
	uint8_t salt_bytes;
	uint8_t iv_bytes; /* in the packet */
	uint8_t icv_bytes;
	uint8_t block_bytes; /* padding to this, at least 4 (RFC 4303 2.4) */
};
extern const struct crypto_alg_info crypto_alg_infos[CRYPTO_ALG_COUNT];
const char *const *crypto_alg_names(void); /* NULL-terminated, index = enum crypto_alg */

struct crypto_op { /* aligned so that a burst of them does not split lines needlessly */
	_Alignas(64) const void *key; /* engine's blob */
	uint8_t *data;                /* en- or decrypted in place */
	uint8_t *tag;                 /* encrypt: written; decrypt: compared, CRYPTO_TAG_BYTES */
	uint32_t len;                 /* bytes of data */
	uint8_t alg;                  /* enum crypto_alg */
	uint8_t aad_len;              /* 8, or 12 with ESN */
	bool ok;                      /* result */
	uint8_t nonce[CRYPTO_NONCE_BYTES];
	uint8_t aad[CRYPTO_AAD_MAX];
};

struct crypto_thread; /* per-thread state of an engine (ipsec-mb manager, scratch context) */

struct crypto_engine {
	const char *name;                              /* "vaes", "ipsec-mb" */
	bool (*supported)(void);                       /* by this CPU */
	size_t (*key_blob_bytes)(enum crypto_alg alg); /* what the engine really touches */
	/* key: crypto_alg_infos[alg].key_bytes bytes. */
	void (*key_init)(enum crypto_alg alg, const uint8_t *key, void *blob);
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
 * rejected tags; takes well below a millisecond. 0 or -EIO. */
int crypto_self_test(const struct crypto_engine *engine) __attribute__((warn_unused_result));
#endif
