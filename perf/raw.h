/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PERF_RAW_H
#define PERF_RAW_H
/*
 * The yardstick: intel-ipsec-mb alone on the bytes that ESP would give it, keys and data warm.
 *
 * Single thread, the caller's. Each measurement tries the direct (AES-GCM) and the job burst
 * interface and keeps the faster one; decryption includes the tag compare.
 */
#include "dataplane/esp/crypto.h"

#include <stdbool.h>
#include <stdint.h>

struct raw;

/* inner_bytes: length of the inner IP packet; padding and trailer are added here. */
struct raw *raw_new(enum crypto_alg alg, uint32_t inner_bytes); /* NULL: out of memory */
void raw_free(struct raw *raw);
/* Cycles per packet, one short measurement. */
double raw_cycles(struct raw *raw, bool encrypt);
#endif
