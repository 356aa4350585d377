/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_COUNTERS_LAYOUT_H
#define DATAPLANE_ESP_COUNTERS_LAYOUT_H
/*
 * The counter file as bytes and the object in memory, shared by counters.c (slots) and
 * counters_file.c (open, close). Private to these two.
 *
 * Owner and threads: see counters.h. Host byte order: the file does not leave the machine.
 */
#include "dataplane/esp/counters.h"

#include <pthread.h>
#include <string.h>

#define PAGE_BYTES 4096u
#define GRANULE_BYTES 64u /* slots are whole cache lines */
#define BOOT_ID_BYTES 40

#define PAGE_MAGIC "RGSLOTS"

struct file_header { /* host order: the file does not leave the machine */
	char magic[8];
	uint32_t version;
	uint32_t clean; /* 1: closed in order, live values are on disk */
	char boot_id[BOOT_ID_BYTES];
	_Atomic(uint32_t) n_pages; /* slot pages that were headed */
};

struct page_header {
	char magic[8];
	uint32_t n_words; /* of each slot in the page */
	uint8_t reserved[GRANULE_BYTES - 12];
};
static_assert(sizeof(struct page_header) == GRANULE_BYTES, "first granule of a page");

#define N_KINDS 7
extern const uint32_t counters_kind_words[N_KINDS]; /* n_words of the slots of a kind */

struct stack { /* of granule numbers */
	uint32_t *items;
	uint32_t n, room;
};

struct counters {
	pthread_mutex_t lock; /* guards all but the slots' own atomics */
	int fd;
	uint8_t *map;
	size_t map_bytes;
	struct file_header *header;
	uint32_t pages_max;
	uint32_t pages_allocated; /* on disk, so that a store cannot fail for want of space */
	uint32_t capacity;        /* slots */
	uint32_t n_slots;         /* with an id */
	uint32_t *table;          /* granule numbers by id, 0: empty; open addressing */
	uint32_t table_mask;
	uint32_t sync_at;     /* where the next counters_sync() goes on in the table */
	uint32_t store_again; /* slots whose ceiling may not be on disk: a flush failed */
	struct stack free_slots[N_KINDS];
	struct stack fresh;       /* slots taken whose ceiling is not on disk yet */
	struct stack blank_pages; /* counted, but their header was lost with the power */
};

static inline void *at_granule(const struct counters *counters, uint32_t granule)
{
	return counters->map + (size_t)granule * GRANULE_BYTES;
}

static inline uint32_t granule_of(const struct counters *counters, const struct counter_slot *slot)
{
	return (uint32_t)((size_t)((const uint8_t *)slot - counters->map) / GRANULE_BYTES);
}

static inline uint32_t page_granule(uint32_t page) /* page 0 is the first behind the file header */
{
	return (page + 1) * (PAGE_BYTES / GRANULE_BYTES);
}

static inline bool id_is_zero(const uint8_t id[COUNTERS_ID_BYTES])
{
	static const uint8_t zero[COUNTERS_ID_BYTES];

	return memcmp(id, zero, COUNTERS_ID_BYTES) == 0;
}

/* Sizes: window to kind, kind to slots. */
size_t counters_kind_of_window(uint32_t window);
size_t counters_kind_of_words(uint32_t n_words); /* N_KINDS: none */
uint32_t counters_slot_granules(size_t kind);
uint32_t counters_slots_per_page(size_t kind);

bool counters_push(struct stack *stack, uint32_t item); /* false: out of memory */
/* Position of id, or of the empty place where it belongs. The table is never full. */
uint32_t counters_table_find(const struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES]);
/* Everything up to the right edge counts as seen; what is right of it stays open. */
void counters_window_shut(struct counter_slot *slot);
/* Everything to the disk; waits for it. 0 or -errno. */
int counters_flush(const struct counters *counters);
#endif
