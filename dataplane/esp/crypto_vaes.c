/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engines "vaes" and "vaes512": AES-GCM by our own code in vectors of 256 and of 512 bits, all
 * else by crypto_jobs.c.
 *
 * How this works: both have the same keys (crypto_vaes_key.c) and differ in what they ask of the
 * CPU and in who runs a burst of AES-GCM. Whatever the width, that wipes vector registers itself;
 * the stack is wiped here.
 */
#include "dataplane/esp/crypto_vaes.h"

#include "dataplane/esp/crypto_engines.h"
#include "dataplane/esp/crypto_jobs.h"
#include "lib/hmac.h"

#include <cpuid.h>
#include <stdlib.h>

#define CACHE_LINE 64
#define BURN_BYTES 1024 /* of stack: more than a burst's frame; the residue test proves it */
/* The kernel saves these registers. */
#define XCR0_SSE_AVX 0x6u
#define XCR0_AVX512 0xe6u /* and masks, upper halves of zmm0 to 15, zmm16 to 31 */

static bool registers_saved(unsigned which)
{
	unsigned eax, edx;

	__asm__("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return (eax & which) == which;
}

static bool supported(void)
{
	const unsigned leaf1 = bit_AES | bit_PCLMUL | bit_OSXSAVE | bit_AVX;
	const unsigned leaf7 = bit_VAES | bit_VPCLMULQDQ;
	unsigned eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf1) != leaf1)
		return false;
	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (ecx & leaf7) != leaf7 ||
		(ebx & bit_AVX2) == 0)
		return false;
	return registers_saved(XCR0_SSE_AVX) && crypto_jobs_manager() != NULL;
}

static bool supported512(void)
{
	const unsigned leaf7 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL | bit_BMI2;
	unsigned eax, ebx, ecx, edx;

	return supported() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
	       (ebx & leaf7) == leaf7 && registers_saved(XCR0_AVX512);
}

__attribute__((noinline)) void crypto_vaes_burn_stack(void)
{
	uint8_t area[BURN_BYTES];

	secret_wipe(area, sizeof area);
}

struct crypto_thread { /* of AES-GCM nothing is kept between bursts */
	struct crypto_jobs *jobs;
};

static size_t key_blob_bytes(enum crypto_alg alg)
{
	return alg >= CRYPTO_GCM_COUNT ? crypto_jobs_key_bytes(alg)
				       : crypto_vaes_key_blob_bytes(alg);
}

static void key_init(enum crypto_alg alg, const uint8_t *material, void *blob)
{
	if (alg >= CRYPTO_GCM_COUNT)
		crypto_jobs_key_init(alg, material, blob);
	else
		crypto_vaes_key_init(alg, material, blob);
}

static void key_prefetch(const void *blob, uint32_t len)
{
	const uint8_t *key = blob;

	(void)len; /* short messages need all powers too */
	for (unsigned line = 0; line < 5; line++)
		__builtin_prefetch(key + line * CACHE_LINE);
}

static void thread_free(struct crypto_thread *thread)
{
	if (thread == NULL)
		return;
	crypto_jobs_free(thread->jobs);
	free(thread);
}

static struct crypto_thread *thread_new(void)
{
	struct crypto_thread *thread = supported() ? calloc(1, sizeof *thread) : NULL;

	if (thread == NULL)
		return NULL;
	thread->jobs = crypto_jobs_new();
	if (thread->jobs != NULL)
		return thread;
	free(thread);
	return NULL;
}

/* A burst is AES-GCM as a rule: then this is one call. Else each run of AES-GCM in it is one, and
 * the jobs between them go together. */
static inline void run(struct crypto_thread *thread, struct crypto_op *ops, unsigned n,
	void (*gcm)(struct crypto_op *ops, unsigned n), bool encrypt)
{
	bool jobs = false;

	for (unsigned i = 0, same; i < n; i += same) {
		same = crypto_same_kind(&ops[i], n - i);
		if (crypto_is_job(&ops[i]))
			jobs = true;
		else
			gcm(&ops[i], same);
	}
	crypto_vaes_burn_stack();
	if (jobs)
		crypto_jobs_run(thread->jobs, ops, n, encrypt);
}

static void encrypt(struct crypto_thread *thread, struct crypto_op *ops, unsigned n)
{
	run(thread, ops, n, crypto_vaes256_encrypt, true);
}

static void decrypt(struct crypto_thread *thread, struct crypto_op *ops, unsigned n)
{
	run(thread, ops, n, crypto_vaes256_decrypt, false);
}

static void encrypt512(struct crypto_thread *thread, struct crypto_op *ops, unsigned n)
{
	run(thread, ops, n, crypto_vaes512_encrypt, true);
}

static void decrypt512(struct crypto_thread *thread, struct crypto_op *ops, unsigned n)
{
	run(thread, ops, n, crypto_vaes512_decrypt, false);
}

const struct crypto_engine crypto_engine_vaes = {
	.name = "vaes",
	.supported = supported,
	.key_blob_bytes = key_blob_bytes,
	.key_init = key_init,
	.key_prefetch = key_prefetch,
	.thread_new = thread_new,
	.thread_free = thread_free,
	.encrypt = encrypt,
	.decrypt = decrypt,
};

const struct crypto_engine crypto_engine_vaes512 = {
	.name = "vaes512",
	.supported = supported512,
	.key_blob_bytes = key_blob_bytes,
	.key_init = key_init,
	.key_prefetch = key_prefetch,
	.thread_new = thread_new,
	.thread_free = thread_free,
	.encrypt = encrypt512,
	.decrypt = decrypt512,
};
