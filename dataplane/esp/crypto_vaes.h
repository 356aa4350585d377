/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_VAES_H
#define DATAPLANE_ESP_CRYPTO_VAES_H
/*
 * What the parts of the VAES engines share: crypto_vaes.c is the engines, crypto_vaes_key.c makes
 * keys, and crypto_vaes256.c and crypto_vaes512.c use them, in vectors of 256 and of 512 bits. A
 * key is the same for both. Private to these.
 *
 * Threads: any; no state.
 */
#include "dataplane/esp/crypto.h"

/* FIPS 197 section 5. */
static inline unsigned crypto_vaes_rounds(enum crypto_alg alg)
{
	return alg == CRYPTO_AES128GCM16 ? 10 : alg == CRYPTO_AES256GCM16 ? 14 : 12;
}

/* AES-GCM alone. */
size_t crypto_vaes_key_blob_bytes(enum crypto_alg alg);
void crypto_vaes_key_init(enum crypto_alg alg, const uint8_t *key, void *blob);

/* A burst of AES-GCM alone, any n. Vector registers are wiped; the stack is for the caller to burn.
 */
void crypto_vaes256_encrypt(struct crypto_op *ops, unsigned n);
void crypto_vaes256_decrypt(struct crypto_op *ops, unsigned n);
void crypto_vaes512_encrypt(struct crypto_op *ops, unsigned n);
void crypto_vaes512_decrypt(struct crypto_op *ops, unsigned n);

/* Wipes what a function that the caller called before has left below the caller's frame. */
void crypto_vaes_burn_stack(void);
#endif
