/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Engines against each other and against OpenSSL on random bursts of all algorithms; nothing
 * outside of text, tag, operation and key blob is touched; nothing secret is left on the stack or
 * in vector registers.
 */
#include "dataplane/esp/crypto_engines.h"
#include "lib/hmac.h"

#include "tests/unit/esp/oracle.h"
#include "tests/unit/esp/rig.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

#define KEYS (2 * CRYPTO_ALG_COUNT)
#define TEXT_MAX 9216
#define FRONT (8 + CRYPTO_IV_MAX) /* ESP header and IV */
#define SPARE 64                  /* around a text, must not change */
#define AREA (FRONT + SPARE + TEXT_MAX + SPARE)
#define BURSTS 400

/* Those that this CPU has; the first is what the others are compared with. */
#define ENGINES_MAX 3
static const struct crypto_engine *engines[ENGINES_MAX];
static unsigned n_engines;

static void find_engines(void)
{
	static const struct crypto_engine *const all[ENGINES_MAX] = {
		&crypto_engine_ipsec_mb, &crypto_engine_vaes, &crypto_engine_vaes512};

	for (unsigned e = 0; e < ENGINES_MAX; e++) {
		if (all[e]->supported())
			engines[n_engines++] = all[e];
		else
			printf("%s: not on this CPU, not proven\n", all[e]->name);
	}
}

/* xorshift64*: the same bursts in every run. */
static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (uint32_t)((random_state * 0x2545f4914f6cdd1du) >> 33) % n;
}

static void random_bytes(uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)random_below(256);
}

static void *key_of(
	const struct crypto_engine *engine, enum crypto_alg alg, const uint8_t *material)
{
	void *blob = sa_memory_heap.alloc(NULL, engine->key_blob_bytes(alg), CRYPTO_KEY_ALIGN);

	engine->key_init(alg, material, blob);
	return blob;
}

/* As ESP has it: whole blocks, but for the AEADs; these may be empty. */
static uint32_t fitting_len(unsigned alg, uint32_t len)
{
	const uint32_t block = crypto_alg_infos[alg].block_bytes;

	if (crypto_alg_is_aead(alg))
		return len;
	return len < block ? block : len & ~(block - 1);
}

/* --- random bursts ------------------------------------------------------------------------------
 */

struct side { /* what one engine works on; all but the key blobs is the same for both */
	struct crypto_thread *thread;
	void *blobs[KEYS];
	uint8_t (*areas)[AREA];
	struct crypto_op ops[CRYPTO_BURST_MAX];
};

struct contest {
	uint8_t keys[KEYS][CRYPTO_MATERIAL_MAX];
	struct side sides[ENGINES_MAX];
	unsigned n;
	unsigned key_of_op[CRYPTO_BURST_MAX];
};

static void contest_open(struct contest *c)
{
	random_state = 0x9e3779b97f4a7c15u;
	for (unsigned k = 0; k < KEYS; k++)
		random_bytes(c->keys[k], sizeof c->keys[k]);
	for (unsigned e = 0; e < n_engines; e++) {
		struct side *side = &c->sides[e];

		side->thread = engines[e]->thread_new();
		side->areas = malloc(CRYPTO_BURST_MAX * sizeof *side->areas);
		CU_ASSERT_PTR_NOT_NULL_FATAL(side->areas);
		for (unsigned k = 0; k < KEYS; k++)
			side->blobs[k] = key_of(
				engines[e], (enum crypto_alg)(k % CRYPTO_ALG_COUNT), c->keys[k]);
	}
}

static void contest_close(struct contest *c)
{
	for (unsigned e = 0; e < n_engines; e++) {
		for (unsigned k = 0; k < KEYS; k++)
			free(c->sides[e].blobs[k]);
		free(c->sides[e].areas);
		engines[e]->thread_free(c->sides[e].thread);
	}
}

/* Most bursts are of one kind: all short, all alike, or anything. */
static uint32_t random_len(unsigned kind)
{
	if (kind == 0)
		return random_below(160);
	if (kind == 1)
		return 1404;
	return random_below(20) == 0 ? random_below(9001) : random_below(2001);
}

static void contest_fill(struct contest *c)
{
	/* One key, all of AES-GCM, or all. */
	static const unsigned choices[] = {1, CRYPTO_GCM_COUNT, KEYS};
	unsigned kind = random_below(4), keys = choices[random_below(3)];
	unsigned first = keys == 1 ? random_below(KEYS) : 0;

	c->n = 1 + random_below(CRYPTO_BURST_MAX);
	for (unsigned i = 0; i < c->n; i++) {
		uint32_t shift = random_below(SPARE), room;
		struct crypto_op op = {.aad_len = random_below(2) == 0 ? 8 : 12};

		c->key_of_op[i] = first + random_below(keys);
		op.alg = (uint8_t)(c->key_of_op[i] % CRYPTO_ALG_COUNT);
		op.len = fitting_len(op.alg, random_len(kind));
		room = FRONT + SPARE + op.len + SPARE;
		random_bytes(op.nonce, sizeof op.nonce);
		random_bytes(op.aad, sizeof op.aad);
		random_bytes(c->sides[0].areas[i], room);
		for (unsigned e = 1; e < n_engines; e++)
			memcpy(c->sides[e].areas[i], c->sides[0].areas[i], room);
		for (unsigned e = 0; e < n_engines; e++) {
			struct side *side = &c->sides[e];

			op.key = side->blobs[c->key_of_op[i]];
			op.data = side->areas[i] + FRONT + shift;
			op.tag = op.data + op.len;
			side->ops[i] = op;
		}
	}
}

/* All engines use the same code for what is no AES-GCM: OpenSSL is the judge of that. */
static void contest_compare(const struct contest *c, unsigned e, const char *what)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct crypto_op *a = &c->sides[0].ops[i], *b = &c->sides[e].ops[i];
		char row[96];

		snprintf(row, sizeof row, "%s %s, %s, length %u, operation %u of %u",
			engines[e]->name, what, crypto_alg_infos[a->alg].name, a->len, i, c->n);
		CHECK_ROW(row, a->ok == b->ok);
		CHECK_ROW(row, memcmp(c->sides[0].areas[i], c->sides[e].areas[i],
				       FRONT + SPARE + a->len + SPARE) == 0);
	}
}

/* The whole area: text, tag and IV as OpenSSL has them, and nothing else has changed. */
static void contest_against_openssl(const struct contest *c, uint8_t (*before)[AREA])
{
	for (unsigned i = 0; i < c->n; i++) {
		struct crypto_op op = c->sides[1].ops[i];
		const uint8_t *area = c->sides[1].areas[i];

		op.data = before[i] + (op.data - area);
		op.tag = before[i] + (op.tag - area);
		oracle_seal(&op, c->keys[c->key_of_op[i]]);
		CHECK_ROW(crypto_alg_infos[op.alg].name,
			memcmp(before[i], area, FRONT + SPARE + op.len + SPARE) == 0);
	}
}

/* A byte of what the tag covers, or of it: text, tag, sequence number (its high half, with ESN) or,
 * where it is read there, ESP header or IV. */
static uint8_t *place_to_damage(struct crypto_op *op, unsigned what, uint32_t random)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[op->alg];
	const uint32_t front = 8u + info->iv_bytes;

	if (what == 0 && op->len != 0)
		return op->data + random % op->len;
	if (what == 2 && info->hmac == CRYPTO_HMAC_NONE)
		return op->aad + random % op->aad_len;
	if (what == 2 && op->aad_len == 12 && random % 2 == 0)
		return op->aad + 4 + random / 2 % 4;
	if (what == 2)
		return op->data - front + random % front;
	return op->tag + random % info->icv_bytes;
}

/* One bit of text, tag or additional data of every third operation. */
static void contest_damage(struct contest *c, bool damaged[])
{
	for (unsigned i = 0; i < c->n; i++) {
		unsigned what = random_below(3), bit = random_below(8);
		uint32_t random = random_below(1u << 30);

		damaged[i] = random_below(3) == 0;
		if (!damaged[i])
			continue;
		for (unsigned e = 0; e < n_engines; e++)
			*place_to_damage(&c->sides[e].ops[i], what, random) ^= (uint8_t)(1u << bit);
	}
}

static void test_random_bursts(void)
{
	static struct contest c;
	static uint8_t before[CRYPTO_BURST_MAX][AREA];
	unsigned refused = 0;

	contest_open(&c);
	for (unsigned round = 0; round < BURSTS; round++) {
		bool damaged[CRYPTO_BURST_MAX];

		contest_fill(&c);
		for (unsigned i = 0; i < c.n; i++)
			memcpy(before[i], c.sides[0].areas[i], AREA);
		for (unsigned e = 0; e < n_engines; e++)
			engines[e]->encrypt(c.sides[e].thread, c.sides[e].ops, c.n);
		for (unsigned e = 1; e < n_engines; e++)
			contest_compare(&c, e, "encrypted");
		contest_against_openssl(&c, before);
		contest_damage(&c, damaged);
		for (unsigned e = 0; e < n_engines; e++)
			engines[e]->decrypt(c.sides[e].thread, c.sides[e].ops, c.n);
		for (unsigned e = 1; e < n_engines; e++)
			contest_compare(&c, e, "decrypted");
		for (unsigned i = 0; i < c.n; i++) {
			CU_ASSERT_EQUAL(c.sides[1].ops[i].ok, !damaged[i]);
			refused += damaged[i];
		}
	}
	CU_ASSERT_TRUE(refused > 0);
	contest_close(&c);
}

/* --- guard pages --------------------------------------------------------------------------------
 */

static sigjmp_buf at_fault;

static void on_fault(int number)
{
	(void)number;
	siglongjmp(at_fault, 1);
}

/* A page with no access before it and behind it. */
struct island {
	uint8_t *start, *end;
};

static struct island island_new(void)
{
	const size_t room = 3 * RIG_PAGE; /* for the longest text here */
	uint8_t *map = mmap(
		NULL, room + 2 * RIG_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_FATAL(map != MAP_FAILED);
	CU_ASSERT_FATAL(mprotect(map + RIG_PAGE, room, PROT_READ | PROT_WRITE) == 0);
	return (struct island){.start = map + RIG_PAGE, .end = map + RIG_PAGE + room};
}

static void island_free(struct island *island)
{
	munmap(island->start - RIG_PAGE, (size_t)(island->end - island->start) + 2 * RIG_PAGE);
}

struct islands {
	struct island text, tag, op, key;
};

static uint8_t raw_key[CRYPTO_MATERIAL_MAX];

/* Both directions on a message whose parts all end, or all start, at a page without access. Jobs
 * have ESP header, IV, text and tag in one piece. */
static bool run_one(const struct crypto_engine *engine, struct crypto_thread *thread,
	const struct islands *is, const struct crypto_op *form, bool at_end)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[form->alg];
	struct crypto_op *op = (struct crypto_op *)(void *)(at_end ? is->op.end - sizeof *op
								   : is->op.start);

	*op = *form;
	if (form->alg < CRYPTO_GCM_COUNT) {
		op->data = at_end ? is->text.end - op->len : is->text.start;
		op->tag = at_end ? is->tag.end - CRYPTO_TAG_BYTES : is->tag.start;
	} else {
		op->data = at_end ? is->text.end - info->icv_bytes - op->len
				  : is->text.start + 8 + info->iv_bytes;
		op->tag = op->data + op->len;
	}
	engine->encrypt(thread, op, 1);
	op->ok = false;
	engine->decrypt(thread, op, 1);
	return op->ok;
}

/* Does all stay within `bytes` of the key blob, and are all results good? */
static bool stays_within(const struct crypto_engine *engine, enum crypto_alg alg,
	const struct islands *is, size_t bytes, bool at_end)
{
	struct crypto_thread *thread = engine->thread_new();
	uint8_t *key = at_end ? is->key.end - bytes : is->key.start;
	struct sigaction action = {.sa_handler = on_fault}, before;
	volatile bool within = false;

	sigaction(SIGSEGV, &action, &before);
	if (sigsetjmp(at_fault, 1) == 0) {
		bool good = true;

		engine->key_init(alg, raw_key, key);
		for (uint32_t len = 0; len <= 9000; len += len < 600 ? 1 : 61) {
			struct crypto_op op = {.key = key,
				.len = fitting_len(alg, len),
				.alg = (uint8_t)alg,
				.aad_len = len % 2 == 0 ? 8 : 12};

			good = run_one(engine, thread, is, &op, at_end) && good;
		}
		within = good;
	}
	sigaction(SIGSEGV, &before, NULL);
	engine->thread_free(thread);
	return within;
}

static void test_guard_pages(void)
{
	struct islands is = {island_new(), island_new(), island_new(), island_new()};

	for (unsigned e = 0; e < n_engines; e++) {
		for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++) {
			size_t bytes = engines[e]->key_blob_bytes((enum crypto_alg)alg);
			char row[64];

			snprintf(row, sizeof row, "%s, %s", engines[e]->name,
				crypto_alg_infos[alg].name);
			printf("%s: key blob of %zu bytes\n", row, bytes);
			CHECK_ROW(row,
				stays_within(engines[e], (enum crypto_alg)alg, &is, bytes, false));
			CHECK_ROW(row,
				stays_within(engines[e], (enum crypto_alg)alg, &is, bytes, true));
			/* And all of it is needed: this pair of pages does catch. */
			CHECK_ROW(row, !stays_within(engines[e], (enum crypto_alg)alg, &is,
					       bytes - 16, true));
		}
	}
	island_free(&is.text);
	island_free(&is.tag);
	island_free(&is.op);
	island_free(&is.key);
}

/* --- what is left behind ------------------------------------------------------------------------
 */

#if defined(__SANITIZE_ADDRESS__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED 0
#endif

#define STACK_BYTES (256 * 1024)
#define STACK_PATTERN 0xa5
#define BLOB_MAX 1024
#define REGISTERS 32 /* with AVX-512 */
#define REGISTER_BYTES 64
#define SECRETS_MAX 256

static struct {
	enum { CALL_KEY_INIT, CALL_ENCRYPT, CALL_DECRYPT, CALLS } call;
	const struct crypto_engine *engine;
	bool wide;  /* this CPU has AVX-512 */
	bool plant; /* a secret, to see that it would be found */
	enum crypto_alg alg;
	struct crypto_op ops[CRYPTO_BURST_MAX];
	uint8_t text[CRYPTO_BURST_MAX][TEXT_MAX], tags[CRYPTO_BURST_MAX][CRYPTO_TAG_BYTES];
	_Alignas(CRYPTO_KEY_ALIGN) uint8_t blob[BLOB_MAX];
	uint8_t registers[REGISTERS][REGISTER_BYTES]; /* after the call */
	uint8_t secrets[SECRETS_MAX][8];
	unsigned n_secrets;
} left;

/* libc leaves there what is no secret, and a 256-bit engine does not wipe them. */
static void clear_wide_registers(void)
{
	if (left.wide)
		__asm__ volatile(
			".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
			"vpxord %zmm\\n, %zmm\\n, %zmm\\n\n"
			".endr");
}

/* All that the CPU has; inline, since a call would use them. */
static inline __attribute__((always_inline)) void read_registers(uint8_t (*to)[REGISTER_BYTES])
{
	if (left.wide)
		__asm__ volatile(".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, "
				 "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
				 "vmovdqu64 %%zmm\\n, \\n*64(%0)\n"
				 ".endr"
				 :
				 : "r"(to)
				 : "memory");
	else
		__asm__ volatile(".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
				 "vmovdqu %%ymm\\n, \\n*64(%0)\n"
				 ".endr"
				 :
				 : "r"(to)
				 : "memory");
}

/* Deep in the stack, where what ends the thread does not write. */
static __attribute__((noinline)) void run_deep(void)
{
	const struct crypto_engine *engine = left.engine;
	uint8_t room[STACK_BYTES / 2]; /* kept in one piece by handing it out */

	clear_wide_registers();
	if (left.call == CALL_KEY_INIT)
		engine->key_init(left.alg, raw_key, left.blob);
	else if (left.call == CALL_ENCRYPT)
		engine->encrypt(NULL, left.ops, CRYPTO_BURST_MAX);
	else
		engine->decrypt(NULL, left.ops, CRYPTO_BURST_MAX);
	read_registers(left.registers);
	for (unsigned i = 0; i < 8; i++)
		room[i] = left.plant ? left.secrets[left.n_secrets - 1][i] : STACK_PATTERN;
	__asm__ volatile("" : : "r"(room) : "memory");
}

static void *on_own_stack(void *arg)
{
	run_deep();
	return arg;
}

static void add_secrets(const uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i + 8 <= bytes && left.n_secrets < SECRETS_MAX; i += 8)
		memcpy(left.secrets[left.n_secrets++], at + i, 8);
}

/* Halves of round keys and of powers of H, their sums, and key stream. */
static void collect_secrets(void)
{
	size_t bytes = left.engine->key_blob_bytes(left.alg);
	uint8_t zeros[64] = {0}, tag[CRYPTO_TAG_BYTES], sum[8];
	const struct crypto_op *op = &left.ops[0];

	left.n_secrets = 0;
	left.engine->key_init(left.alg, raw_key, left.blob);
	add_secrets(left.blob, bytes);
	for (size_t block = 0; block < bytes; block += 16) {
		for (unsigned i = 0; i < 8; i++)
			sum[i] = left.blob[block + i] ^ left.blob[block + 8 + i];
		add_secrets(sum, sizeof sum);
	}
	rig_seal(raw_key, crypto_alg_infos[left.alg].key_bytes, op->nonce, op->aad, op->aad_len,
		zeros, sizeof zeros, tag);
	add_secrets(zeros, sizeof zeros);
}

static unsigned count_secrets(const uint8_t *at, size_t bytes)
{
	unsigned found = 0;

	for (size_t i = 0; i + 8 <= bytes; i++)
		for (unsigned s = 0; s < left.n_secrets; s++)
			found += memcmp(at + i, left.secrets[s], 8) == 0;
	return found;
}

/* Registers: not all that could be secret in them is in the list, such as H^16..H^9. */
static unsigned count_nonzero(const uint8_t *at, size_t bytes)
{
	unsigned found = 0;

	for (size_t i = 0; i < bytes; i++)
		found += at[i] != 0;
	return found;
}

static unsigned leftovers(uint32_t len)
{
	uint8_t *stack = mmap(
		NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;
	unsigned found;

	CU_ASSERT_FATAL(stack != MAP_FAILED);
	memset(stack, STACK_PATTERN, STACK_BYTES);
	for (unsigned i = 0; i < CRYPTO_BURST_MAX; i++)
		left.ops[i] = (struct crypto_op){.key = left.blob,
			.data = left.text[i],
			.tag = left.tags[i],
			.len = len + (i % 3 == 0 ? 16 * (i % 11) : 0),
			.alg = (uint8_t)left.alg,
			.aad_len = 12};
	collect_secrets();
	pthread_attr_init(&attr);
	CU_ASSERT_FATAL(pthread_attr_setstack(&attr, stack, STACK_BYTES) == 0);
	CU_ASSERT_FATAL(pthread_create(&thread, &attr, on_own_stack, NULL) == 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	found = count_secrets(stack, STACK_BYTES);
	found += count_nonzero(&left.registers[0][0], sizeof left.registers);
	munmap(stack, STACK_BYTES);
	return found;
}

static void check_nothing_left(const char *row, uint32_t len)
{
	for (int call = 0; call < CALLS; call++) {
		left.call = call;
		left.plant = false;
		CHECK_ROW(row, leftovers(len) == 0);
		left.plant = true;
		CHECK_ROW(row, leftovers(len) != 0);
	}
}

static void test_nothing_left(void)
{
	static const uint32_t lens[] = {0, 5, 16, 68, 100, 132, 260, 516, 1404, 5000};

	if (INSTRUMENTED) {
		printf("not in this build: a sanitizer moves locals off the stack\n");
		return;
	}
	memset(left.text, 0x3c, sizeof left.text);
	left.wide = crypto_engine_vaes512.supported();
	for (unsigned e = 1; e < n_engines; e++) {
		left.engine = engines[e];
		for (int alg = 0; alg < CRYPTO_GCM_COUNT; alg++) {
			left.alg = (enum crypto_alg)alg;
			for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
				char row[64];

				snprintf(row, sizeof row, "%s, %s, %u", engines[e]->name,
					crypto_alg_infos[alg].name, lens[i]);
				check_nothing_left(row, lens[i]);
			}
		}
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"random bursts", test_random_bursts},
		{"guard pages", test_guard_pages},
		{"nothing left behind", test_nothing_left},
		{NULL, NULL},
	};

	if (!crypto_engine_vaes.supported()) {
		fprintf(stderr, "no VAES and VPCLMULQDQ on this CPU: nothing was compared\n");
		return 77;
	}
	find_engines();
	random_state = 1;
	random_bytes(raw_key, sizeof raw_key);
	return unit_run("crypto engines", cases);
}
