/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_ENGINES_H
#define DATAPLANE_ESP_CRYPTO_ENGINES_H
/*
 * The engines that crypto.c chooses from. Private to this folder and its tests.
 *
 * Threads:  any; the objects are constant.
 * Sources:  intel-ipsec-mb 1.3, intel-ipsec-mb.h.
 */
#include "dataplane/esp/crypto.h"

#include <intel-ipsec-mb.h>

extern const struct crypto_engine crypto_engine_vaes512, crypto_engine_vaes, crypto_engine_ipsec_mb;

/* crypto_engine_open() on a list of engines, the preferred first. */
const struct crypto_engine *crypto_engine_choose(const struct crypto_engine *const list[], size_t n,
	const char *name, const char **failed) __attribute__((warn_unused_result));

/* Bytes of struct gcm_key_data that the code behind this manager reads or writes. Smaller than the
 * structure for all but AVX512 with VAES; the guard page test proves the figures. */
size_t crypto_ipsec_mb_key_bytes(const IMB_MGR *manager);

/* Tests and benchmarks only, before the engine is first used: intel-ipsec-mb keeps to its AVX2
 * code, as on a CPU without AVX-512. */
void crypto_ipsec_mb_hold_avx2_test(void);
#endif
