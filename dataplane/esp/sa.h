/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_SA_H
#define DATAPLANE_ESP_SA_H
/*
 * ESP security associations in three parts by rate of change: keys (never), counters (every packet,
 * in counters.h), path (path.h, replaced whole and reached through the node, not held here).
 *
 * Owner:    gateway: control/gw/tunnel.c; node: control/mn. They create, publish and free them.
 * Threads:  workers read; `iv` and the slot are written by any worker if `shared`, else by one.
 * Lifetime: a pointer found by a lookup is valid until the worker's next quiescent state.
 * Sources:  RFC 4301 section 4.4.2, RFC 4303, RFC 4106.
 */
#include "dataplane/esp/counters.h"
#include "dataplane/esp/crypto.h"
#include "dataplane/esp/life.h"
#include "dataplane/esp/link.h"
#include "dataplane/esp/source.h"
#include "lib/inet.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SA_CACHE_LINE 64
#define SA_SPI_MIN 256 /* 0..255 are reserved: RFC 4303 2.1 */
#define SA_IV_COUNTER_BITS 44
#define SA_IV_EPOCH_MAX ((UINT32_C(1) << (64 - SA_IV_COUNTER_BITS)) - 1)

struct node; /* dataplane/node.h, or the node program's own; opaque here */

struct sa_params {    /* values only; wiped by the caller after sa_*_new() */
	uint32_t spi; /* host order */
	enum crypto_alg alg;
	uint8_t key[CRYPTO_MATERIAL_MAX]; /* crypto_material_bytes() of it: see crypto_alg_info */
	bool esn;
	uint32_t replay_window;  /* inbound: packets, REPLAY_WINDOW_MIN..MAX; outbound: 0 */
	struct sa_source source; /* inbound */
	struct sa_lifetimes life;
};

/*
 * The first line of an SA is all that a packet needs of it, and the engine's blob lies right behind
 * it: with many SAs nearly every line that a packet touches comes from memory, and all these can be
 * asked for at once as soon as the SA's address is known.
 */
struct sa_in {
	/* const after sa_in_new() */
	_Alignas(SA_CACHE_LINE) uint32_t spi; /* host order */
	uint32_t salt_be;
	struct counter_slot *slot;
	struct node *node;  /* whose SA it is */
	uint16_t window;    /* packets; of the slot */
	uint16_t word_mask; /* of the slot: n_words - 1 */
	uint8_t alg;        /* enum crypto_alg */
	bool esn;
	bool shared; /* more than one worker may use it: commits take the lock, counts are atomic */
	bool wildcard_source;
	/* atomic: control writes; there are limits, or it is over: sa_in_is_watched() */
	_Atomic(bool) watched;
	/* The node's home address, which most packets have inside: these need not look into the
	 * node. Its owner sets it before the SA is published; unset: none. */
	struct ip_addr inner_source;
	struct rcu_link link; /* sad.c */
	/* const; control only */
	_Alignas(SA_CACHE_LINE) const struct sa_source *source; /* owned; NULL if wildcard_source */
	/* atomic: guards slot->seq and slot->bits while a run is committed; not in the first line,
	 * which other workers read meanwhile */
	atomic_flag lock;
	_Atomic(uint8_t) marks; /* atomic: enum sa_mark; workers set, control clears */
	uint8_t told;           /* control only: marks that sa_in_take_marks() has given */
	uint32_t number;        /* const once the SA can be found: of the notice of a mark */
	/* atomic: control writes; owned unless shared */
	_Atomic(struct sa_limits *) limits;
};

struct sa_out {
	/* const after sa_out_new() */
	_Alignas(SA_CACHE_LINE) uint32_t spi; /* host order */
	uint32_t salt_be;
	struct counter_slot *slot; /* slot->seq: never copied, never reset */
	struct node *node;
	uint8_t alg;
	bool esn;
	bool shared;            /* more than one worker may use it: reservations are atomic */
	_Atomic(uint8_t) marks; /* as in sa_in */
	/* atomic. Never copied, never reset: reuse breaks AES-GCM (RFC 4106 section 3.1), AES-CTR,
	 * ChaCha20 and GMAC; the IV of AES-CBC is made of it.
	 * iv: epoch << 44 | counter, next to use. A worker reserves some and sends only if the
	 * epoch part of all it got equals iv_epoch; after an overflow nothing leaves until the
	 * control thread has set a new epoch, at least 2 above the old one. */
	_Atomic(uint32_t) iv_epoch;
	_Atomic(uint64_t) iv;
	/* atomic, control writes: a run whose first number is not above this one needs no look at
	 * the limits, unless bytes_watched says that they are of bytes, or that it is over */
	_Atomic(uint64_t) seq_mark;
	_Atomic(struct sa_limits *) limits; /* as in sa_in; number, told too */
	uint32_t number;
	uint8_t told;
	_Atomic(bool) bytes_watched;
};
static_assert(sizeof(struct sa_out) == SA_CACHE_LINE, "one line for packets");
static_assert(offsetof(struct sa_in, source) == SA_CACHE_LINE, "one line for packets");
static_assert(sizeof(struct sa_in) == 2 * SA_CACHE_LINE, "a million of them");
static_assert(SA_CACHE_LINE % CRYPTO_KEY_ALIGN == 0, "the blob behind an SA is aligned");

/* The slot, and what of it is kept beside it so that the window's line can be asked for. */
static inline void sa_in_set_slot(struct sa_in *sa, struct counter_slot *slot)
{
	sa->slot = slot;
	sa->window = (uint16_t)slot->window;
	sa->word_mask = (uint16_t)(slot->n_words - 1);
}

/* The engine's blob of an SA that sa_in_new(), sa_out_new() made; wiped on free. */
static inline const void *sa_in_key(const struct sa_in *sa)
{
	return sa + 1;
}

static inline const void *sa_out_key(const struct sa_out *sa)
{
	return sa + 1;
}

/* Memory for SAs with their key blobs: hugepage slabs in the gateway, the heap elsewhere and in
 * tests. */
struct sa_memory {
	void *(*alloc)(void *arg, size_t bytes, size_t align); /* zeroed; NULL: none left */
	void (*free)(void *arg, void *memory, size_t bytes);
	void *arg;
};
extern const struct sa_memory sa_memory_heap;

/* Fingerprints that tie a slot to its SA and find a key that is used twice. Neither direction nor
 * algorithm is part of a key's, since a key may stand in one SA and one direction only: AES-GCM,
 * AES-CTR and GMAC with one key and one IV would give each other away. An HMAC's key counts by
 * itself: with the same one both ways under one SPI, what we sent would be taken when it comes back
 * (reflection), be there a cipher or not. */
#define SA_KEYS_MAX 2 /* cipher, HMAC */
void sa_slot_id(const struct sa_params *params, bool inbound, uint8_t id[COUNTERS_ID_BYTES]);
unsigned sa_n_keys(enum crypto_alg alg);
/* Gives sa_n_keys(params->alg) of them. */
unsigned sa_key_ids(const struct sa_params *params, uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES]);
/* Are the cipher's key and that of HMAC the same bytes? */
bool sa_keys_are_same(const struct sa_params *params);

/* Check, expand keys, take the slot. Nothing is left behind on error.
 * Returns 0, -EINVAL (params), -ENOMEM, -ENOSPC (no slot). Thread: control. */
int sa_in_new(const struct sa_memory *memory, const struct crypto_engine *engine,
	struct counters *counters, const struct sa_params *params, struct node *node, bool shared,
	struct sa_in **out) __attribute__((warn_unused_result));
int sa_out_new(const struct sa_memory *memory, const struct crypto_engine *engine,
	struct counters *counters, const struct sa_params *params, struct node *node, bool shared,
	uint32_t iv_epoch, struct sa_out **out) __attribute__((warn_unused_result));
/* After unlink and grace period. The slot stays in the file unless the owner drops it. */
void sa_in_free(
	const struct sa_memory *memory, const struct crypto_engine *engine, struct sa_in *sa);
void sa_out_free(
	const struct sa_memory *memory, const struct crypto_engine *engine, struct sa_out *sa);

/* --- lifetimes: life.h, life.c ------------------------------------------------------------------
 */

/* Limits anew; what was reached before is forgotten, what is reached already is noted at once.
 * Thread: control, also while workers use the SA. Returns 0, -ENOMEM (nothing has changed). */
int sa_in_set_life(const struct sa_memory *memory, struct sa_in *sa,
	const struct sa_lifetimes *life) __attribute__((warn_unused_result));
int sa_out_set_life(const struct sa_memory *memory, struct sa_out *sa,
	const struct sa_lifetimes *life) __attribute__((warn_unused_result));
/* What an SA with such a life begins with: shared, or one of its own; NULL: out of memory. */
struct sa_limits *sa_limits_new(const struct sa_memory *memory, const struct sa_lifetimes *life,
	struct sa_limits *shared) __attribute__((warn_unused_result));
void sa_limits_free(const struct sa_memory *memory, struct sa_limits *limits); /* unless shared */
/* Before the SA can be found: who hears of its marks is named by shared, the limits of an SA that
 * has none (sa_limits_init_shared(); outlives the SA). */
void sa_in_set_hearer(struct sa_in *sa, struct sa_limits *shared, uint32_t number);
void sa_out_set_hearer(struct sa_out *sa, struct sa_limits *shared, uint32_t number);
/* From now on no packet passes; never fails. Thread: control. */
void sa_in_end(struct sa_in *sa);
void sa_out_end(struct sa_out *sa);
/* enum sa_mark: those that were not given before. Thread: control. */
uint8_t sa_in_take_marks(struct sa_in *sa);
uint8_t sa_out_take_marks(struct sa_out *sa);

/* Worker: must life_in_run() look at what was accepted? */
static inline bool sa_in_is_watched(const struct sa_in *sa)
{
	return atomic_load_explicit(&sa->watched, memory_order_relaxed) ||
	       atomic_load_explicit(&sa->slot->seq, memory_order_relaxed) >=
		       seq_percent(sa->esn, SEQ_PERCENT_FIRST);
}

/* True once reservations have run over the epoch; the control thread then calls sa_out_renew_iv().
 */
bool sa_out_iv_used_up(const struct sa_out *sa);
void sa_out_renew_iv(struct sa_out *sa, uint32_t epoch); /* epoch >= old + 2; control */
#endif
