/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the file is a header page and then slot pages, each cut into slots of one size
 * (its kind); what a page holds is said in the page itself, so that no slot has to be trusted to
 * find the next. A slot whose id is all zero is free. The whole capacity is mapped once, sparse:
 * pages come into being when a kind runs out of free slots, nothing ever moves.
 *
 * In memory beside it: a hash table from id to slot and a stack of free slots for each kind, both
 * rebuilt when the file is opened (counters_file.c).
 *
 * After kill -9 the file is as the last store left it (signal fences keep the compiler from
 * reordering; the kernel sees stores in order), so the order of stores is the order of safety: a
 * slot is filled before it gets its id, a page is headed before it is counted.
 */
#include "dataplane/esp/counters_layout.h"
#include "lib/clock.h"
#include "lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGES_AHEAD 16u     /* allocated on disk at a time */
#define FLUSH_PAGES_MAX 64u /* one by one */
#define SYNC_STEPS 512u     /* places of the table that are looked at under the lock at a time */

/* Outbound SAs, then windows up to 129, 385, 897, 1921, 3969 and 4096. */
const uint32_t counters_kind_words[N_KINDS] = {0, 4, 8, 16, 32, 64, 128};

/* Sizes and places. */

/* Every number of the window lies in one of this many words, and one word is spare, so that the
 * common move of the right edge clears only what is outside (replay.c). */
static uint32_t words_needed(uint32_t window)
{
	return (window + REPLAY_WORD_BITS - 2) / REPLAY_WORD_BITS + 2;
}

size_t counters_kind_of_window(uint32_t window)
{
	size_t kind = window == 0 ? 0 : 1;

	while (window != 0 && counters_kind_words[kind] < words_needed(window))
		kind++;
	return kind;
}

size_t counters_kind_of_words(uint32_t n_words)
{
	size_t kind = 0;

	while (kind < N_KINDS && counters_kind_words[kind] != n_words)
		kind++;
	return kind;
}

uint32_t counters_slot_granules(size_t kind)
{
	size_t bytes = sizeof(struct counter_slot) + counters_kind_words[kind] * sizeof(uint64_t);

	return (uint32_t)((bytes + GRANULE_BYTES - 1) / GRANULE_BYTES);
}

uint32_t counters_slots_per_page(size_t kind)
{
	return (PAGE_BYTES / GRANULE_BYTES - 1) / counters_slot_granules(kind);
}

bool counters_push(struct stack *stack, uint32_t item)
{
	if (stack->n == stack->room) {
		uint32_t room = stack->room == 0 ? 64 : stack->room * 2;
		uint32_t *items = realloc(stack->items, room * sizeof *items);

		if (items == NULL)
			return false;
		stack->items = items;
		stack->room = room;
	}
	stack->items[stack->n++] = item;
	return true;
}

/* Table from id to slot. */

static uint32_t home_of(const struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES])
{
	return wire_load_u32(id) & counters->table_mask; /* an id is a MAC: evenly spread */
}

/* Position of id, or of the empty place where it belongs. The table is never full. */
uint32_t counters_table_find(const struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES])
{
	uint32_t at = home_of(counters, id);

	while (counters->table[at] != 0) {
		const struct counter_slot *slot = at_granule(counters, counters->table[at]);

		if (memcmp(slot->id, id, COUNTERS_ID_BYTES) == 0)
			break;
		at = (at + 1) & counters->table_mask;
	}
	return at;
}

/* Linear probing without tombstones: what follows is moved up if it may not stand behind a gap. */
static void table_remove(struct counters *counters, uint32_t at)
{
	uint32_t next = at;

	for (;;) {
		const struct counter_slot *slot;

		counters->table[at] = 0;
		do {
			next = (next + 1) & counters->table_mask;
			if (counters->table[next] == 0)
				return;
			slot = at_granule(counters, counters->table[next]);
		} while (((next - home_of(counters, slot->id)) & counters->table_mask) <
			 ((next - at) & counters->table_mask));
		counters->table[at] = counters->table[next];
		at = next;
	}
}

/* Slots. */

/* Everything up to the right edge counts as seen; what is right of it stays open. */
void counters_window_shut(struct counter_slot *slot)
{
	uint64_t edge = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	uint32_t edge_word = (uint32_t)(edge / REPLAY_WORD_BITS) & (slot->n_words - 1);
	uint64_t upto_edge = ~UINT64_C(0) >> (REPLAY_WORD_BITS - 1 - edge % REPLAY_WORD_BITS);

	for (uint32_t i = 0; i < slot->n_words; i++)
		atomic_store_explicit(&slot->bits[i], i == edge_word ? upto_edge : ~UINT64_C(0),
			memory_order_relaxed);
}

static void slot_fill(struct counter_slot *slot, uint32_t n_words, uint32_t window,
	const struct counter_slot *from)
{
	memset(slot, 0, sizeof *slot + n_words * sizeof slot->bits[0]);
	slot->n_words = (uint16_t)n_words;
	slot->window = (uint16_t)window;
	slot->born_s = from != NULL ? from->born_s : (uint32_t)(clock_real_ns() / NS_PER_S);
	if (from == NULL)
		return;
	atomic_store_explicit(&slot->ceiling,
		atomic_load_explicit(&from->ceiling, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&slot->packets,
		atomic_load_explicit(&from->packets, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&slot->bytes,
		atomic_load_explicit(&from->bytes, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&slot->seq, atomic_load_explicit(&from->seq, memory_order_relaxed),
		memory_order_relaxed);
	if (n_words != 0)
		counters_window_shut(slot);
}

static void slot_release(struct counters *counters, struct counter_slot *slot)
{
	memset(slot->id, 0, sizeof slot->id);
	/* Without memory for the stack the slot is found again when the file is opened next. */
	(void)counters_push(&counters->free_slots[counters_kind_of_words(slot->n_words)],
		granule_of(counters, slot));
}

static bool push_page_slots(struct counters *counters, uint32_t page, size_t kind)
{
	for (uint32_t i = counters_slots_per_page(kind); i-- > 0;) {
		if (!counters_push(&counters->free_slots[kind],
			    page_granule(page) + 1 + i * counters_slot_granules(kind)))
			return false;
	}
	return true;
}

/* Disk space first: a store into a hole of a full disk would be SIGBUS. */
static bool page_allocate(struct counters *counters, uint32_t page)
{
	uint32_t n = PAGES_AHEAD;

	if (page < counters->pages_allocated)
		return true;
	if (n > counters->pages_max - page)
		n = counters->pages_max - page;
	if (posix_fallocate(counters->fd, (off_t)(page + 1) * PAGE_BYTES, (off_t)n * PAGE_BYTES) !=
		0)
		return false;
	counters->pages_allocated = page + n;
	return true;
}

/* Gives slots of this kind a page more. */
static bool page_add(struct counters *counters, size_t kind)
{
	uint32_t n_pages = atomic_load_explicit(&counters->header->n_pages, memory_order_relaxed);
	bool reuse = counters->blank_pages.n != 0;
	uint32_t page = reuse ? counters->blank_pages.items[counters->blank_pages.n - 1] : n_pages;
	struct page_header *header = at_granule(counters, page_granule(page));

	if (page >= counters->pages_max || !page_allocate(counters, page))
		return false;
	memset(header, 0, PAGE_BYTES);
	header->n_words = counters_kind_words[kind];
	memcpy(header->magic, PAGE_MAGIC, sizeof header->magic);
	if (reuse)
		counters->blank_pages.n--;
	else
		atomic_store_explicit(
			&counters->header->n_pages, n_pages + 1, memory_order_release);
	return push_page_slots(counters, page, kind);
}

static struct counter_slot *slot_new(struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES],
	uint32_t window, const struct counter_slot *from)
{
	size_t kind = counters_kind_of_window(window);
	struct stack *free_slots = &counters->free_slots[kind];
	struct counter_slot *slot;

	if (free_slots->n == 0 && !page_add(counters, kind))
		return NULL;
	slot = at_granule(counters, free_slots->items[--free_slots->n]);
	slot_fill(slot, counters_kind_words[kind], window, from);
	/* Filled before it gets its id: whoever finds the id finds a whole slot. */
	atomic_signal_fence(memory_order_release);
	memcpy(slot->id, id, COUNTERS_ID_BYTES);
	if (!counters_push(&counters->fresh, granule_of(counters, slot)))
		counters->store_again = counters->n_slots + 1; /* it is among all */
	return slot;
}

/* The same SA with a window of another size, in place if the ring is large enough and not larger.
 */
static struct counter_slot *slot_resize(
	struct counters *counters, struct counter_slot *slot, uint32_t at, uint32_t window)
{
	struct counter_slot *fresh;

	if (slot->n_words == counters_kind_words[counters_kind_of_window(window)]) {
		counters_window_shut(slot);
		atomic_signal_fence(memory_order_release); /* shut before it counts as wider */
		slot->window = (uint16_t)window;
		return slot;
	}
	fresh = slot_new(counters, slot->id, window, slot);
	if (fresh == NULL)
		return NULL;
	/* Two slots with this id if the process dies here; opening keeps one of them. */
	counters->table[at] = granule_of(counters, fresh);
	slot_release(counters, slot);
	return fresh;
}

struct counter_slot *counters_take(
	struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES], uint32_t window)
{
	struct counter_slot *slot = NULL;
	uint32_t at;

	if (id_is_zero(id) || window > REPLAY_WINDOW_MAX)
		return NULL;
	pthread_mutex_lock(&counters->lock);
	at = counters_table_find(counters, id);
	if (counters->table[at] != 0) {
		slot = at_granule(counters, counters->table[at]);
		if (slot->window != window)
			slot = slot_resize(counters, slot, at, window);
	} else if (counters->n_slots < counters->capacity) {
		slot = slot_new(counters, id, window, NULL);
		if (slot != NULL) {
			counters->table[at] = granule_of(counters, slot);
			counters->n_slots++;
		}
	}
	pthread_mutex_unlock(&counters->lock);
	return slot;
}

void counters_drop(struct counters *counters, struct counter_slot *slot)
{
	pthread_mutex_lock(&counters->lock);
	table_remove(counters, counters_table_find(counters, slot->id));
	slot_release(counters, slot);
	counters->n_slots--;
	pthread_mutex_unlock(&counters->lock);
}

/* Durability. */

int counters_flush(const struct counters *counters)
{
	size_t pages = atomic_load_explicit(&counters->header->n_pages, memory_order_relaxed);

	return msync(counters->map, (pages + 1) * PAGE_BYTES, MS_SYNC) == 0 ? 0 : -errno;
}

static bool ceiling_raise(struct counter_slot *slot, bool again)
{
	uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	uint64_t ceiling = atomic_load_explicit(&slot->ceiling, memory_order_relaxed);

	if (seq > UINT64_MAX - COUNTERS_HEADROOM ||
		(!again && ceiling > seq && ceiling - seq >= COUNTERS_HEADROOM / 2))
		return false;
	atomic_store_explicit(&slot->ceiling, seq + COUNTERS_HEADROOM, memory_order_relaxed);
	return true;
}

/* The kernel may take pages that it failed to write for clean. */
static void store_all_again(struct counters *counters)
{
	pthread_mutex_lock(&counters->lock);
	counters->store_again = counters->n_slots;
	pthread_mutex_unlock(&counters->lock);
}

/* They still are to be stored before a record may speak of them. */
static void put_back(struct counters *counters, const struct stack *fresh)
{
	pthread_mutex_lock(&counters->lock);
	for (uint32_t i = 0; i < fresh->n; i++)
		(void)counters_push(&counters->fresh, fresh->items[i]);
	pthread_mutex_unlock(&counters->lock);
}

static void stack_empty(struct stack *stack)
{
	free(stack->items);
	*stack = (struct stack){.n = 0};
}

/* A page alone, or the whole file once that is less work. */
static int flush_slots(const struct counters *counters, const struct stack *slots)
{
	if (slots->n > FLUSH_PAGES_MAX)
		return counters_flush(counters);
	for (uint32_t i = 0; i < slots->n; i++) {
		const size_t at = (size_t)slots->items[i] * GRANULE_BYTES;

		if (msync(counters->map + at / PAGE_BYTES * PAGE_BYTES, PAGE_BYTES, MS_SYNC) != 0)
			return -errno;
	}
	return 0;
}

int counters_sync_new(struct counters *counters)
{
	struct stack fresh;
	int ret;

	pthread_mutex_lock(&counters->lock);
	fresh = counters->fresh;
	counters->fresh = (struct stack){.n = 0};
	for (uint32_t i = 0; i < fresh.n; i++)
		(void)ceiling_raise(at_granule(counters, fresh.items[i]), true);
	pthread_mutex_unlock(&counters->lock);
	/* A page that was headed is found only if the file's header counts it. */
	ret = fresh.n == 0 || msync(counters->map, PAGE_BYTES, MS_SYNC) == 0 ? 0 : -errno;
	if (ret == 0)
		ret = flush_slots(counters, &fresh);
	if (ret != 0) {
		store_all_again(counters);
		put_back(counters, &fresh);
	}
	stack_empty(&fresh);
	return ret;
}

/* Looks at some slots from where the last call ended. Returns how many places of the table that
 * took; *looked: slots. */
static uint32_t raise_some(struct counters *counters, uint32_t steps, uint32_t max_slots,
	uint32_t *looked, bool *raised)
{
	uint32_t step = 0;

	*looked = 0;
	pthread_mutex_lock(&counters->lock);
	for (; step < steps && *looked < max_slots && *looked < counters->n_slots; step++) {
		uint32_t granule = counters->table[counters->sync_at];

		counters->sync_at = (counters->sync_at + 1) & counters->table_mask;
		if (granule == 0)
			continue;
		++*looked;
		*raised |= ceiling_raise(at_granule(counters, granule), counters->store_again != 0);
		if (counters->store_again != 0)
			counters->store_again--;
	}
	pthread_mutex_unlock(&counters->lock);
	return step;
}

int counters_sync(struct counters *counters, uint32_t max_slots)
{
	uint32_t steps = counters->table_mask + 1, looked;
	bool raised = false;
	int ret = counters_sync_new(counters);

	/* In small portions: whoever adds an SA waits for the lock. */
	while (ret == 0 && steps != 0 && max_slots != 0) {
		const uint32_t step = raise_some(counters, steps < SYNC_STEPS ? steps : SYNC_STEPS,
			max_slots, &looked, &raised);

		steps -= step;
		max_slots -= looked;
		if (step == 0)
			break; /* there are no slots at all */
	}
	if (ret == 0 && raised)
		ret = counters_flush(counters);
	if (ret != 0)
		store_all_again(counters);
	return ret;
}

bool counters_has(struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES])
{
	bool has;

	pthread_mutex_lock(&counters->lock);
	has = counters->table[counters_table_find(counters, id)] != 0;
	pthread_mutex_unlock(&counters->lock);
	return has;
}
