/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_VAES_H
#define DATAPLANE_ESP_CRYPTO_VAES_H
/*
 * What the two halves of the VAES engine share: crypto_vaes_key.c makes keys, crypto_vaes.c uses
 * them. Private to these.
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

/* Wipes what a function that the caller called before has left below the caller's frame. */
void crypto_vaes_burn_stack(void);
#endif
