/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_HMAC_H
#define LIB_HMAC_H
/*
 * Keyed tags over libcrypto, constant-time compare, wiping, random bytes.
 *
 * Any thread; no shared state. Never on the packet path.
 * Sources: RFC 2104, RFC 2202 (HMAC-MD5), RFC 4231 (HMAC-SHA-256).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hmac_alg { HMAC_MD5 = 1, HMAC_SHA256 };

#define HMAC_MD5_BYTES 16
#define HMAC_SHA256_BYTES 32
#define HMAC_BYTES_MAX 32

struct hmac_part { /* a piece of the message; pieces are tagged as if joined */
	const void *data;
	size_t len;
};

size_t hmac_bytes(enum hmac_alg alg);

/* Writes hmac_bytes(alg) bytes to tag. Returns 0, or -EIO if libcrypto fails (tag is then all 0).
 */
int hmac_compute(enum hmac_alg alg, const void *key, size_t key_len, const struct hmac_part *parts,
	size_t n_parts, uint8_t tag[HMAC_BYTES_MAX]) __attribute__((warn_unused_result));

bool hmac_equal(const void *a, const void *b, size_t len); /* time depends on len alone */
void secret_wipe(void *data, size_t len);                  /* not removed by the compiler */

/* len random bytes from the kernel. Aborts if there are none: nothing safe can go on. */
void random_fill(void *data, size_t len);
#endif
