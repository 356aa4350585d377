/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_CRYPTO_JOBS_H
#define DATAPLANE_ESP_CRYPTO_JOBS_H
/*
 * What is not AES-GCM: ChaCha20-Poly1305, GMAC, AES-CBC, AES-CTR and NULL with HMAC, by
 * intel-ipsec-mb. Part of every engine, private to the engines.
 *
 * Owner:   each crypto_thread has a struct crypto_jobs of its own. Threads: as crypto.h says.
 * Sources: intel-ipsec-mb 1.3, intel-ipsec-mb.h.
 */
#include "dataplane/esp/crypto.h"

#include <intel-ipsec-mb.h>

struct crypto_jobs;

/* Is one an operation of these? All others are AES-GCM. */
static inline bool crypto_is_job(const struct crypto_op *op)
{
	return op->alg >= CRYPTO_GCM_COUNT;
}

/* This process's manager, to prepare keys with; const after the first call. NULL: no memory, or a
 * CPU without AES instructions. */
const IMB_MGR *crypto_jobs_manager(void);

size_t crypto_jobs_key_bytes(enum crypto_alg alg);
void crypto_jobs_key_init(enum crypto_alg alg, const uint8_t *material, void *blob);

struct crypto_jobs *crypto_jobs_new(void);       /* NULL: out of memory */
void crypto_jobs_free(struct crypto_jobs *jobs); /* wipes */

/*
 * Runs those operations of a burst that are jobs, whichever places they have in it: lanes are
 * filled by all of them. The others are not touched.
 */
void crypto_jobs_run(struct crypto_jobs *jobs, struct crypto_op *ops, unsigned n, bool encrypt);

/* How many operations from ops on, n at most, are of the kind of the first. */
static inline unsigned crypto_same_kind(const struct crypto_op *ops, unsigned n)
{
	const bool job = crypto_is_job(&ops[0]);
	unsigned same = 1;

	while (same < n && crypto_is_job(&ops[same]) == job)
		same++;
	return same;
}
#endif
