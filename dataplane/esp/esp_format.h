/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_ESP_FORMAT_H
#define DATAPLANE_ESP_ESP_FORMAT_H
/*
 * Sizes of the fields of an ESP packet, for encap.c and decap.c. Functions that take a format are
 * inlined twice: for the AEADs with its constants, which keeps their path as short as if there were
 * nothing else, and for all other algorithms with the sizes of the table.
 *
 * Threads: any; no state.
 * Sources: RFC 4303 section 2.
 */
#include "dataplane/esp/crypto.h"

#define ESP_INLINE static inline __attribute__((always_inline))

struct esp_format {
	uint8_t iv_bytes;
	uint8_t block_bytes; /* of inner packet and trailer, a power of two */
	uint8_t icv_bytes;
};

#define ESP_FORMAT_AEAD \
	((struct esp_format){.iv_bytes = 8, .block_bytes = 4, .icv_bytes = CRYPTO_TAG_BYTES})

static inline struct esp_format esp_format_of(unsigned alg)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[alg];

	return (struct esp_format){.iv_bytes = info->iv_bytes,
		.block_bytes = info->block_bytes,
		.icv_bytes = info->icv_bytes};
}
#endif
