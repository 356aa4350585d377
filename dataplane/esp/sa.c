/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an SA is made in the order check, memory (also of its limits), slot, so that the
 * slot, the one thing that outlives the process, is taken last. The engine's key blob is the end of
 * the SA; the whole is wiped before the memory goes back.
 *
 * The fingerprints are HMAC-SHA-256 keyed with the key material: they tell SAs apart and say
 * nothing about the key.
 */
#include "dataplane/esp/sa.h"

#include "lib/hmac.h"
#include "lib/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* No limits, and nobody to hear of anything: until sa_*_set_hearer(). Never written. */
static struct sa_limits unheard = {.soft_packets = UINT64_MAX,
	.hard_packets = UINT64_MAX,
	.soft_bytes = UINT64_MAX,
	.hard_bytes = UINT64_MAX,
	.shared = true};

static void *heap_alloc(void *arg, size_t bytes, size_t align)
{
	size_t room = (bytes + align - 1) & ~(align - 1);
	void *memory = aligned_alloc(align, room);

	(void)arg;
	if (memory != NULL)
		memset(memory, 0, room);
	return memory;
}

static void heap_free(void *arg, void *memory, size_t bytes)
{
	(void)arg;
	(void)bytes;
	free(memory);
}

const struct sa_memory sa_memory_heap = {.alloc = heap_alloc, .free = heap_free};

static void fingerprint(const char *label, const uint8_t *key, size_t key_bytes,
	const uint8_t *detail, size_t detail_bytes, uint8_t id[COUNTERS_ID_BYTES])
{
	const struct hmac_part parts[] = {{label, strlen(label)}, {detail, detail_bytes}};
	uint8_t tag[HMAC_BYTES_MAX];

	/* A failing libcrypto leaves zeros, which counters_take() refuses. */
	if (hmac_compute(HMAC_SHA256, key, key_bytes, parts, 2, tag) != 0)
		memset(tag, 0, sizeof tag);
	memcpy(id, tag, COUNTERS_ID_BYTES);
}

void sa_slot_id(const struct sa_params *params, bool inbound, uint8_t id[COUNTERS_ID_BYTES])
{
	uint8_t detail[6];

	detail[0] = inbound;
	detail[1] = (uint8_t)params->alg;
	wire_store_u32(detail + 2, params->spi);
	fingerprint("roamgate slot", params->key, crypto_material_bytes(params->alg), detail,
		sizeof detail, id);
}

unsigned sa_n_keys(enum crypto_alg alg)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[alg];

	return (info->key_bytes != 0) + (unsigned)(info->hmac_key_bytes != 0);
}

static const uint8_t *hmac_key(const struct sa_params *params)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[params->alg];

	return params->key + info->key_bytes + info->salt_bytes;
}

/* Without the salt: one AES key under two salts is as unwanted as one under two SPIs. */
unsigned sa_key_ids(const struct sa_params *params, uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES])
{
	const struct crypto_alg_info *info = &crypto_alg_infos[params->alg];
	unsigned n = 0;

	if (info->key_bytes != 0)
		fingerprint("roamgate key", params->key, info->key_bytes, NULL, 0, ids[n++]);
	if (info->hmac_key_bytes != 0)
		fingerprint(
			"roamgate key", hmac_key(params), info->hmac_key_bytes, NULL, 0, ids[n++]);
	return n;
}

bool sa_keys_are_same(const struct sa_params *params)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[params->alg];

	return info->key_bytes != 0 && info->key_bytes == info->hmac_key_bytes &&
	       memcmp(params->key, hmac_key(params), info->key_bytes) == 0;
}

static bool params_valid(const struct sa_params *params, bool inbound)
{
	uint32_t window = params->replay_window;

	if (params->spi < SA_SPI_MIN || (unsigned)params->alg >= CRYPTO_ALG_COUNT)
		return false;
	if (inbound ? window < REPLAY_WINDOW_MIN || window > REPLAY_WINDOW_MAX : window != 0)
		return false;
	return params->source.n <= SA_SOURCE_MAX;
}

static size_t sa_bytes(const struct crypto_engine *engine, enum crypto_alg alg, bool inbound)
{
	return (inbound ? sizeof(struct sa_in) : sizeof(struct sa_out)) +
	       engine->key_blob_bytes(alg);
}

static uint32_t salt_of(const struct sa_params *params)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[params->alg];
	uint32_t salt_be = 0;

	if (info->salt_bytes != 0)
		memcpy(&salt_be, params->key + info->key_bytes, sizeof salt_be);
	return salt_be;
}

/* Zeroed memory for an SA with its blob, and its slot. */
static int parts_new(const struct sa_memory *memory, const struct crypto_engine *engine,
	struct counters *counters, const struct sa_params *params, bool inbound, void **sa,
	struct sa_limits **limits, struct counter_slot **slot)
{
	uint8_t id[COUNTERS_ID_BYTES];
	size_t bytes;

	if (!params_valid(params, inbound))
		return -EINVAL;
	bytes = sa_bytes(engine, params->alg, inbound);
	*sa = memory->alloc(memory->arg, bytes, SA_CACHE_LINE);
	if (*sa == NULL)
		return -ENOMEM;
	*limits = sa_limits_new(memory, &params->life, &unheard);
	if (*limits == NULL) {
		memory->free(memory->arg, *sa, bytes);
		return -ENOMEM;
	}
	sa_slot_id(params, inbound, id);
	*slot = counters_take(counters, id, params->replay_window);
	if (*slot != NULL)
		return 0;
	sa_limits_free(memory, *limits);
	memory->free(memory->arg, *sa, bytes);
	return -ENOSPC;
}

static void wipe_and_free(const struct sa_memory *memory, void *sa, size_t bytes)
{
	secret_wipe(sa, bytes);
	memory->free(memory->arg, sa, bytes);
}

int sa_in_new(const struct sa_memory *memory, const struct crypto_engine *engine,
	struct counters *counters, const struct sa_params *params, struct node *node, bool shared,
	struct sa_in **out)
{
	struct sa_source *source = NULL; /* few SAs have one: not a part of each */
	struct counter_slot *slot;
	struct sa_limits *limits;
	struct sa_in *sa;
	void *fresh;
	int ret;

	if (params->source.n != 0) {
		source = malloc(sizeof *source);
		if (source == NULL)
			return -ENOMEM;
		*source = params->source;
	}
	ret = parts_new(memory, engine, counters, params, true, &fresh, &limits, &slot);
	if (ret != 0) {
		free(source);
		return ret;
	}
	sa = fresh;
	sa->spi = params->spi;
	sa->salt_be = salt_of(params);
	sa_in_set_slot(sa, slot);
	sa->node = node;
	sa->alg = (uint8_t)params->alg;
	sa->esn = params->esn;
	sa->shared = shared;
	sa->wildcard_source = source == NULL;
	atomic_flag_clear(&sa->lock);
	sa->source = source;
	atomic_init(&sa->limits, limits);
	ret = sa_in_set_life(memory, sa, &params->life); /* limits are there: 0 */
	engine->key_init(params->alg, params->key, sa + 1);
	*out = sa;
	return ret;
}

int sa_out_new(const struct sa_memory *memory, const struct crypto_engine *engine,
	struct counters *counters, const struct sa_params *params, struct node *node, bool shared,
	uint32_t iv_epoch, struct sa_out **out)
{
	struct counter_slot *slot;
	struct sa_limits *limits;
	struct sa_out *sa;
	void *fresh;
	int ret;

	if (iv_epoch > SA_IV_EPOCH_MAX)
		return -EINVAL;
	ret = parts_new(memory, engine, counters, params, false, &fresh, &limits, &slot);
	if (ret != 0)
		return ret;
	sa = fresh;
	sa->spi = params->spi;
	sa->salt_be = salt_of(params);
	sa->slot = slot;
	sa->node = node;
	sa->alg = (uint8_t)params->alg;
	sa->esn = params->esn;
	sa->shared = shared;
	atomic_init(&sa->iv, (uint64_t)iv_epoch << SA_IV_COUNTER_BITS);
	atomic_init(&sa->iv_epoch, iv_epoch);
	atomic_init(&sa->limits, limits);
	ret = sa_out_set_life(memory, sa, &params->life); /* limits are there: 0 */
	engine->key_init(params->alg, params->key, sa + 1);
	*out = sa;
	return ret;
}

void sa_in_free(
	const struct sa_memory *memory, const struct crypto_engine *engine, struct sa_in *sa)
{
	if (sa == NULL)
		return;
	sa_limits_free(memory, atomic_load_explicit(&sa->limits, memory_order_relaxed));
	free((void *)(uintptr_t)sa->source);
	wipe_and_free(memory, sa, sa_bytes(engine, (enum crypto_alg)sa->alg, true));
}

void sa_out_free(
	const struct sa_memory *memory, const struct crypto_engine *engine, struct sa_out *sa)
{
	if (sa == NULL)
		return;
	sa_limits_free(memory, atomic_load_explicit(&sa->limits, memory_order_relaxed));
	wipe_and_free(memory, sa, sa_bytes(engine, (enum crypto_alg)sa->alg, false));
}

bool sa_out_iv_used_up(const struct sa_out *sa)
{
	uint64_t next = atomic_load_explicit(&sa->iv, memory_order_relaxed);

	return next >> SA_IV_COUNTER_BITS !=
	       atomic_load_explicit(&sa->iv_epoch, memory_order_relaxed);
}

void sa_out_renew_iv(struct sa_out *sa, uint32_t epoch)
{
	/* Both stores may be seen in any order: a reservation counts only if its own epoch part
	 * equals iv_epoch, and neither the old epoch nor the one it ran over into is used again. */
	atomic_store_explicit(&sa->iv, (uint64_t)epoch << SA_IV_COUNTER_BITS, memory_order_relaxed);
	atomic_store_explicit(&sa->iv_epoch, epoch, memory_order_relaxed);
}
