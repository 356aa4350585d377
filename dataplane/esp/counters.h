/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_COUNTERS_H
#define DATAPLANE_ESP_COUNTERS_H
/*
 * What changes with every packet of an SA, in one index-addressed file mapped shared: sequence
 * number or replay window, packets, bytes. kill -9 loses nothing, since the pages are the kernel's.
 *
 * Owner:    the table of tunnels takes and gives back slots (control thread); workers write through
 *           the pointers in struct sa_in and sa_out. A slot never moves while the file is open.
 * Identity: a slot belongs to a fingerprint of (direction, SPI, algorithm, key). The same SA after
 * a restart finds its slot; a new key under an old SPI gets a fresh one. No key is stored. Power
 * loss: the file carries the kernel's boot id. If that changed and the file was not closed in
 *           order, live values are not trusted: sequence numbers and windows restart at the durable
 *           ceiling, which counters_sync() keeps ahead of the live value by COUNTERS_HEADROOM.
 *           A jump stays far below 2^31, or ESN inference breaks. STRICT takes an inbound window
 *           as seen up to the ceiling; OPEN takes what was in the file.
 * Sources:  RFC 4303 section 3.3.3 and 3.4.3, RFC 6479.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNTERS_HEADROOM (UINT64_C(1) << 22) /* packets */
#define COUNTERS_ID_BYTES 16
#define REPLAY_WORD_BITS 64
#define REPLAY_WINDOW_MIN 64
#define REPLAY_WINDOW_MAX 4096 /* packets */

/* atomic, any worker; replay bits are written under sa_in.lock. */
struct counter_slot {
	uint8_t id[COUNTERS_ID_BYTES];
	_Atomic(uint64_t) ceiling; /* control writes; durable */
	_Atomic(uint64_t) packets;
	_Atomic(uint64_t) bytes; /* of inner packets */
	_Atomic(uint64_t)
		seq;      /* outbound: last number given out; inbound: right edge of the window */
	uint16_t n_words; /* of bits[], a power of two, 0 for outbound */
	uint16_t window;  /* packets, 0 for outbound */
	uint32_t born_s;  /* when it was taken first, s since 1970 */
	_Atomic(uint64_t) bits[]; /* ring of RFC 6479 */
};
static_assert(sizeof(struct counter_slot) == 56, "on-disk layout");

/* shared: several workers add, else only the caller does and no locked instruction is needed. */
static inline void counter_add(_Atomic(uint64_t) *cell, uint64_t n, bool shared)
{
	if (shared)
		atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
	else
		atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n,
			memory_order_relaxed);
}

enum after_power_loss { AFTER_POWER_LOSS_STRICT, AFTER_POWER_LOSS_OPEN };

struct counters;

/* path: made if missing (0600). capacity: SAs that it can take beside those it holds at the start,
 * some of which may be gone for good. why: sentence for the operator.
 * Returns 0 or -errno; -EBUSY: another process has it, -EINVAL: not such a file. */
int counters_open(const char *path, uint32_t capacity, enum after_power_loss policy,
	struct counters **out, char *why, size_t why_size) __attribute__((warn_unused_result));
void counters_close(struct counters *counters); /* in order: marks it clean and syncs */

/* Finds the slot of id or makes one. window 0: outbound. A window of another size than before keeps
 * the right edge and counts everything left of it as seen. NULL: full (grow capacity) or I/O error.
 */
struct counter_slot *counters_take(
	struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES], uint32_t window);
/* The SA is gone for good (deleted by the operator), not for this run. Caller has waited for the
 * grace period. */
void counters_drop(struct counters *counters, struct counter_slot *slot);

/* Raises ceilings that are less than half the headroom ahead and makes them durable. May block for
 * the disk: own thread or timer of the control thread. Looks at no more than max_slots a call,
 * going on where the last one ended, beside those that are new; after an error it stores all again.
 * Call it with UINT32_MAX between the first counters_take() and the first packet: only then are new
 * slots durable. 0 or -errno. */
int counters_sync(struct counters *counters, uint32_t max_slots);

/* Makes durable what was taken since the last call that succeeded, so that a record on disk may
 * speak of it. 0 or -errno; after an error counters_sync() stores all again. */
int counters_sync_new(struct counters *counters);
/* Is there a slot of id? */
bool counters_has(struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES]);

/* Tests only: this text instead of the kernel's boot id; NULL: the kernel's again. */
void counters_set_boot_id_test(const char *boot_id);
#endif
