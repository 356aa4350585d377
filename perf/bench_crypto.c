/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crypto/ENGINE/DIR/ALG/SIZE[/KEYS]: each engine alone, in bursts of 32, on the bytes that ESP
 * would give it.
 *
 * How this works: with one key all is warm: 32 texts in turn. With more, each message has a random
 * one of them and the texts are 8192 in turn, as mbufs are: then memory counts as well. Engines
 * take turns in each round, so that they are compared in the same moment. Decryption works on what
 * is no ciphertext: the time depends on neither bytes nor verdict.
 */
#include "dataplane/esp/crypto_engines.h"
#include "lib/hmac.h"
#include "perf/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TEXTS_WARM CRYPTO_BURST_MAX
#define TEXTS_COLD 8192
#define TEXT_ROOM 2048
#define TEXT_OFFSET 58 /* Ethernet, IPv4 and ESP header with IV in front of it */
#define BURSTS 256     /* a round */
#define AAD_BYTES 12   /* with ESN */
#define TRAILER_BYTES 2
#define HUGE_PAGE ((size_t)2 << 20)

static const char *const engine_names[] = {"vaes512", "vaes", "ipsec-mb"};
#define N_ENGINES (sizeof engine_names / sizeof engine_names[0])

struct bench {
	const struct crypto_engine *engine;
	struct crypto_thread *thread;
	enum crypto_alg alg;
	uint32_t keys, texts;
	uint8_t *blobs;
	size_t blob_step;
	uint64_t random;
	uint32_t text; /* next */
};

static uint8_t *texts;

/* On huge pages if there are some, as the gateway's memory is. */
static void *memory_new(size_t bytes)
{
	void *memory = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);

	if (memory == NULL) {
		fprintf(stderr, "bench_crypto: out of memory\n");
		exit(1);
	}
	(void)madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

static void bench_open(struct bench *bench, const char *engine, enum crypto_alg alg, uint32_t keys)
{
	*bench = (struct bench){.engine = crypto_engine_find(engine),
		.alg = alg,
		.keys = keys,
		.texts = keys == 1 ? TEXTS_WARM : TEXTS_COLD,
		.random = 0x9e3779b97f4a7c15u};
	if (bench->engine == NULL)
		return;
	bench->thread = bench->engine->thread_new();
	bench->blob_step = (bench->engine->key_blob_bytes(alg) + CRYPTO_KEY_ALIGN - 1) /
			   CRYPTO_KEY_ALIGN * CRYPTO_KEY_ALIGN;
	bench->blobs = memory_new(bench->blob_step * keys);
	for (uint32_t i = 0; i < keys; i++) {
		uint8_t key[CRYPTO_MATERIAL_MAX];

		random_fill(key, sizeof key);
		bench->engine->key_init(alg, key, bench->blobs + i * bench->blob_step);
	}
}

static void bench_close(struct bench *bench)
{
	if (bench->engine == NULL)
		return;
	bench->engine->thread_free(bench->thread);
	free(bench->blobs);
}

static void fill(struct bench *bench, struct crypto_op *ops, uint32_t len)
{
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++) {
		bench->random = bench->random * 6364136223846793005u + 1442695040888963407u;
		ops[i].key = bench->blobs + (bench->random >> 33) % bench->keys * bench->blob_step;
		ops[i].data = texts + (size_t)bench->text * TEXT_ROOM + TEXT_OFFSET;
		ops[i].tag = ops[i].data + len;
		ops[i].len = len;
		ops[i].alg = (uint8_t)bench->alg;
		ops[i].aad_len = AAD_BYTES;
		bench->text = (bench->text + 1) % bench->texts;
	}
}

static double run(struct bench *bench, bool encrypt, uint32_t len)
{
	static struct crypto_op ops[CRYPTO_BURST_MAX];
	uint64_t cycles = 0;

	for (unsigned i = 0; i < BURSTS; i++) {
		uint64_t from;

		fill(bench, ops, len);
		from = bench_cycles();
		(encrypt ? bench->engine->encrypt : bench->engine->decrypt)(
			bench->thread, ops, CRYPTO_BURST_MAX);
		cycles += bench_cycles() - from;
	}
	return (double)cycles / (BURSTS * CRYPTO_BURST_MAX);
}

static void report(
	const struct bench *bench, bool encrypt, uint32_t size, struct bench_samples *samples)
{
	char name[96];
	int n = snprintf(name, sizeof name, "crypto/%s/%s/%s/%u", bench->engine->name,
		encrypt ? "encap" : "decap", crypto_alg_infos[bench->alg].name, size);

	if (bench->keys != 1)
		snprintf(name + n, sizeof name - (size_t)n, "/%u", bench->keys);
	bench_report(name, "cycles/packet", samples);
	bench_samples_free(samples);
}

static void measure(struct bench benches[], bool encrypt, uint32_t size, unsigned rounds)
{
	const uint32_t block = crypto_alg_infos[benches[0].alg].block_bytes;
	const uint32_t len = (size + TRAILER_BYTES + block - 1) / block * block;
	struct bench_samples samples[N_ENGINES];

	for (unsigned e = 0; e < N_ENGINES; e++)
		bench_samples_init(&samples[e]);
	for (unsigned i = 0; i < rounds + 1; i++) {
		for (unsigned e = 0; e < N_ENGINES; e++) {
			double cycles = benches[e].engine == NULL ? 0
								  : run(&benches[e], encrypt, len);

			if (i > 0) /* the first round warms up */
				bench_add(&samples[e], cycles);
		}
	}
	for (unsigned e = 0; e < N_ENGINES; e++) {
		if (benches[e].engine != NULL)
			report(&benches[e], encrypt, size, &samples[e]);
		else
			bench_samples_free(&samples[e]);
	}
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: bench_crypto KEYS ROUNDS SIZE...\n");
		return 2;
	}
	if (bench_isa_avx2())
		crypto_ipsec_mb_hold_avx2_test();
	texts = memory_new((size_t)TEXTS_COLD * TEXT_ROOM);
	random_fill(texts, (size_t)TEXTS_COLD * TEXT_ROOM);
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++) {
		struct bench benches[N_ENGINES];

		for (unsigned e = 0; e < N_ENGINES; e++)
			bench_open(&benches[e], engine_names[e], (enum crypto_alg)alg,
				(uint32_t)strtoul(argv[1], NULL, 10));
		for (int i = 3; i < argc; i++) {
			uint32_t size = (uint32_t)strtoul(argv[i], NULL, 10);

			measure(benches, true, size, (unsigned)strtoul(argv[2], NULL, 10));
			measure(benches, false, size, (unsigned)strtoul(argv[2], NULL, 10));
		}
		for (unsigned e = 0; e < N_ENGINES; e++)
			bench_close(&benches[e]);
	}
	free(texts);
	return 0;
}
