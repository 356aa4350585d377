/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the file is a header page and then slot pages, each cut into slots of one size
 * (its class); what a page holds is said in the page itself, so that no slot has to be trusted to
 * find the next. A slot whose id is all zero is free. The whole capacity is mapped once, sparse:
 * pages come into being when a class runs out of free slots, nothing ever moves.
 *
 * In memory beside it: a hash table from id to slot and a stack of free slots for each class, both
 * rebuilt when the file is opened.
 *
 * After kill -9 the file is as the last store left it (signal fences keep the compiler from
 * reordering; the kernel sees stores in order), so the order of stores is the order of
 * safety: a slot is filled before it gets its id, a page is headed before it is counted.
 * After power loss (another boot id, not marked clean) pages may be old, new or blank, each on its
 * own; a slot's first 64 bytes lie in one disk sector and are never torn.
 */
#include "dataplane/esp/counters.h"

#include "lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define GRANULE_BYTES 64u /* slots are whole cache lines */
#define FILE_VERSION 1
#define PAGES_AHEAD 16u /* allocated on disk at a time */
#define BOOT_ID_BYTES 40
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

static const char file_magic[8] = "RGCOUNT";
static const char page_magic[8] = "RGSLOTS";

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

/* n_words of outbound SAs, then of windows up to 128 (and 64), 384, 896, 1920, 3968, 4096. */
static const uint32_t class_words[] = {0, 4, 8, 16, 32, 64, 128};
#define N_CLASSES (sizeof class_words / sizeof class_words[0])

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
	uint32_t sync_at; /* where the next counters_sync() goes on in the table */
	struct stack free_slots[N_CLASSES];
	struct stack blank_pages; /* counted, but their header was lost with the power */
};

static char boot_id_for_test[BOOT_ID_BYTES];

void counters_set_boot_id_test(const char *boot_id)
{
	snprintf(boot_id_for_test, sizeof boot_id_for_test, "%s", boot_id == NULL ? "" : boot_id);
}

static int boot_id_read(char boot_id[BOOT_ID_BYTES])
{
	ssize_t len;
	int fd;

	memset(boot_id, 0, BOOT_ID_BYTES);
	if (boot_id_for_test[0] != 0) {
		memcpy(boot_id, boot_id_for_test, BOOT_ID_BYTES);
		return 0;
	}
	fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, boot_id, BOOT_ID_BYTES - 1);
	close(fd);
	return len > 0 ? 0 : -EIO;
}

/* --- sizes and places ---------------------------------------------------------------------------
 */

/* Every number of the window lies in one of this many words, and one word is spare, so that the
 * common move of the right edge clears only what is outside (replay.c). */
static uint32_t words_needed(uint32_t window)
{
	return (window + REPLAY_WORD_BITS - 2) / REPLAY_WORD_BITS + 2;
}

static size_t class_of_window(uint32_t window)
{
	size_t class = window == 0 ? 0 : 1;

	while (window != 0 && class_words[class] < words_needed(window))
		class ++;
	return class;
}

static size_t class_of_words(uint32_t n_words)
{
	size_t class = 0;

	while (class < N_CLASSES && class_words[class] != n_words)
		class ++;
	return class;
}

static uint32_t slot_granules(size_t class)
{
	size_t bytes = sizeof(struct counter_slot) + class_words[class] * sizeof(uint64_t);

	return (uint32_t)((bytes + GRANULE_BYTES - 1) / GRANULE_BYTES);
}

static uint32_t slots_per_page(size_t class)
{
	return (PAGE_BYTES / GRANULE_BYTES - 1) / slot_granules(class);
}

/* A class gets a page only when it has no free slot, so this many pages are always enough. */
static uint32_t pages_for(uint32_t capacity)
{
	uint32_t pages = 0;

	for (size_t class = 0; class < N_CLASSES; class ++)
		pages += capacity / slots_per_page(class) + 1;
	return pages;
}

static void *at_granule(const struct counters *counters, uint32_t granule)
{
	return counters->map + (size_t)granule * GRANULE_BYTES;
}

static uint32_t granule_of(const struct counters *counters, const struct counter_slot *slot)
{
	return (uint32_t)((size_t)((const uint8_t *)slot - counters->map) / GRANULE_BYTES);
}

static uint32_t page_granule(uint32_t page) /* page 0 is the first behind the file header */
{
	return (page + 1) * (PAGE_BYTES / GRANULE_BYTES);
}

static bool id_is_zero(const uint8_t id[COUNTERS_ID_BYTES])
{
	static const uint8_t zero[COUNTERS_ID_BYTES];

	return memcmp(id, zero, COUNTERS_ID_BYTES) == 0;
}

static bool push(struct stack *stack, uint32_t item)
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

/* --- table from id to slot ----------------------------------------------------------------------
 */

static uint32_t home_of(const struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES])
{
	return wire_load_u32(id) & counters->table_mask; /* an id is a MAC: evenly spread */
}

/* Position of id, or of the empty place where it belongs. The table is never full. */
static uint32_t table_find(const struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES])
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

/* --- slots --------------------------------------------------------------------------------------
 */

/* Everything up to the right edge counts as seen; what is right of it stays open. */
static void window_shut(struct counter_slot *slot)
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
	slot->n_words = n_words;
	slot->window = window;
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
		window_shut(slot);
}

static void slot_release(struct counters *counters, struct counter_slot *slot)
{
	memset(slot->id, 0, sizeof slot->id);
	/* Without memory for the stack the slot is found again when the file is opened next. */
	(void)push(
		&counters->free_slots[class_of_words(slot->n_words)], granule_of(counters, slot));
}

static bool push_page_slots(struct counters *counters, uint32_t page, size_t class)
{
	for (uint32_t i = slots_per_page(class); i-- > 0;) {
		if (!push(&counters->free_slots[class],
			    page_granule(page) + 1 + i * slot_granules(class)))
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

/* Gives the class a page more. */
static bool page_add(struct counters *counters, size_t class)
{
	uint32_t n_pages = atomic_load_explicit(&counters->header->n_pages, memory_order_relaxed);
	bool reuse = counters->blank_pages.n != 0;
	uint32_t page = reuse ? counters->blank_pages.items[counters->blank_pages.n - 1] : n_pages;
	struct page_header *header = at_granule(counters, page_granule(page));

	if (page >= counters->pages_max || !page_allocate(counters, page))
		return false;
	memset(header, 0, PAGE_BYTES);
	header->n_words = class_words[class];
	memcpy(header->magic, page_magic, sizeof page_magic);
	if (reuse)
		counters->blank_pages.n--;
	else
		atomic_store_explicit(
			&counters->header->n_pages, n_pages + 1, memory_order_release);
	return push_page_slots(counters, page, class);
}

static struct counter_slot *slot_new(struct counters *counters, const uint8_t id[COUNTERS_ID_BYTES],
	uint32_t window, const struct counter_slot *from)
{
	size_t class = class_of_window(window);
	struct stack *free_slots = &counters->free_slots[class];
	struct counter_slot *slot;

	if (free_slots->n == 0 && !page_add(counters, class))
		return NULL;
	slot = at_granule(counters, free_slots->items[--free_slots->n]);
	slot_fill(slot, class_words[class], window, from);
	/* Filled before it gets its id: whoever finds the id finds a whole slot. */
	atomic_signal_fence(memory_order_release);
	memcpy(slot->id, id, COUNTERS_ID_BYTES);
	return slot;
}

/* The same SA with a window of another size, in place if the ring is large enough and not larger.
 */
static struct counter_slot *slot_resize(
	struct counters *counters, struct counter_slot *slot, uint32_t at, uint32_t window)
{
	struct counter_slot *fresh;

	if (slot->n_words == class_words[class_of_window(window)]) {
		window_shut(slot);
		atomic_signal_fence(memory_order_release); /* shut before it counts as wider */
		slot->window = window;
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
	at = table_find(counters, id);
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
	table_remove(counters, table_find(counters, slot->id));
	slot_release(counters, slot);
	counters->n_slots--;
	pthread_mutex_unlock(&counters->lock);
}

/* --- durability ---------------------------------------------------------------------------------
 */

static int flush(const struct counters *counters)
{
	size_t pages = atomic_load_explicit(&counters->header->n_pages, memory_order_relaxed);

	return msync(counters->map, (pages + 1) * PAGE_BYTES, MS_SYNC) == 0 ? 0 : -errno;
}

static bool ceiling_raise(struct counter_slot *slot)
{
	uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	uint64_t ceiling = atomic_load_explicit(&slot->ceiling, memory_order_relaxed);

	if (seq > UINT64_MAX - COUNTERS_HEADROOM ||
		(ceiling > seq && ceiling - seq >= COUNTERS_HEADROOM / 2))
		return false;
	atomic_store_explicit(&slot->ceiling, seq + COUNTERS_HEADROOM, memory_order_relaxed);
	return true;
}

int counters_sync(struct counters *counters, uint32_t max_slots)
{
	uint32_t steps = counters->table_mask + 1, looked = 0;
	bool raised = false;

	pthread_mutex_lock(&counters->lock);
	for (; steps != 0 && looked < max_slots && looked < counters->n_slots; steps--) {
		uint32_t granule = counters->table[counters->sync_at];

		counters->sync_at = (counters->sync_at + 1) & counters->table_mask;
		if (granule == 0)
			continue;
		looked++;
		raised |= ceiling_raise(at_granule(counters, granule));
	}
	pthread_mutex_unlock(&counters->lock);
	return raised ? flush(counters) : 0;
}

/* --- open and close -----------------------------------------------------------------------------
 */

static void after_power_loss(struct counter_slot *slot, enum after_power_loss policy)
{
	uint64_t ceiling = atomic_load_explicit(&slot->ceiling, memory_order_relaxed);
	bool inbound = slot->n_words != 0;

	if (inbound && policy == AFTER_POWER_LOSS_OPEN)
		return;
	if (ceiling > atomic_load_explicit(&slot->seq, memory_order_relaxed))
		atomic_store_explicit(&slot->seq, ceiling, memory_order_relaxed);
	if (inbound)
		window_shut(slot);
}

static bool slot_valid(const struct counter_slot *slot, size_t class)
{
	return slot->n_words == class_words[class] && slot->window <= REPLAY_WINDOW_MAX &&
	       class_of_window(slot->window) == class;
}

/* Two slots of one id: a resize was cut short. No packet came between, so either is right unless
 * one is behind. */
static bool slot_register(struct counters *counters, struct counter_slot *slot)
{
	uint32_t at = table_find(counters, slot->id);
	struct counter_slot *other;

	if (counters->table[at] == 0) {
		counters->table[at] = granule_of(counters, slot);
		counters->n_slots++;
		return true;
	}
	other = at_granule(counters, counters->table[at]);
	if (atomic_load_explicit(&slot->seq, memory_order_relaxed) >
		atomic_load_explicit(&other->seq, memory_order_relaxed)) {
		counters->table[at] = granule_of(counters, slot);
		slot = other;
	}
	memset(slot->id, 0, sizeof slot->id);
	return push(
		&counters->free_slots[class_of_words(slot->n_words)], granule_of(counters, slot));
}

static int page_load(struct counters *counters, uint32_t page)
{
	const struct page_header *header = at_granule(counters, page_granule(page));
	size_t class = class_of_words(header->n_words);

	if (memcmp(header->magic, page_magic, sizeof page_magic) != 0 || class == N_CLASSES)
		return push(&counters->blank_pages, page) ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < slots_per_page(class); i++) {
		uint32_t granule = page_granule(page) + 1 + i * slot_granules(class);
		struct counter_slot *slot = at_granule(counters, granule);
		bool kept;

		if (id_is_zero(slot->id))
			kept = push(&counters->free_slots[class], granule);
		else if (!slot_valid(slot, class))
			return -EINVAL;
		else
			kept = slot_register(counters, slot);
		if (!kept)
			return -ENOMEM;
	}
	return 0;
}

static int table_new(struct counters *counters, uint32_t capacity)
{
	/* What the file holds already counts, even if the capacity is smaller now. */
	uint64_t most = (uint64_t)capacity +
			(uint64_t)counters->header->n_pages * slots_per_page(0);
	uint64_t places = 64;

	while (places < 2 * most)
		places *= 2;
	if (places > UINT32_MAX)
		return -EINVAL;
	counters->capacity = capacity;
	counters->table_mask = (uint32_t)(places - 1);
	counters->table = calloc(places, sizeof *counters->table);
	return counters->table == NULL ? -ENOMEM : 0;
}

static void sync_folder(const char *path)
{
	char copy[PATH_MAX];
	int fd;

	snprintf(copy, sizeof copy, "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return; /* the file itself is durable; only its name may need a second run */
	fsync(fd);
	close(fd);
}

/* Reads the header of an existing file, or writes that of a new one. */
static int header_load(int fd, const char *path, struct file_header *header)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	memset(header, 0, sizeof *header);
	if (st.st_size == 0) {
		memcpy(header->magic, file_magic, sizeof file_magic);
		header->version = FILE_VERSION;
		header->clean = 1; /* empty: nothing can be lost */
		if (pwrite(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header ||
			fsync(fd) != 0)
			return errno == 0 ? -EIO : -errno;
		sync_folder(path);
		return 0;
	}
	if (pread(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header ||
		memcmp(header->magic, file_magic, sizeof file_magic) != 0 ||
		header->version != FILE_VERSION || header->clean > 1)
		return -EINVAL;
	if (header->n_pages != 0 && st.st_size < ((off_t)header->n_pages + 1) * (off_t)PAGE_BYTES)
		return -EINVAL;
	return 0;
}

static int map_whole(struct counters *counters, uint32_t capacity, uint32_t n_pages)
{
	struct stat st;

	counters->pages_max = pages_for(capacity) > n_pages ? pages_for(capacity) : n_pages;
	counters->pages_allocated = n_pages;
	counters->map_bytes = ((size_t)counters->pages_max + 1) * PAGE_BYTES;
	if (fstat(counters->fd, &st) != 0)
		return -errno;
	if (st.st_size < (off_t)counters->map_bytes &&
		ftruncate(counters->fd, (off_t)counters->map_bytes) != 0)
		return -errno;
	if (posix_fallocate(counters->fd, 0, PAGE_BYTES) != 0)
		return -ENOSPC;
	counters->map = mmap(
		NULL, counters->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, counters->fd, 0);
	if (counters->map == MAP_FAILED) {
		counters->map = NULL;
		return -errno;
	}
	counters->header = (struct file_header *)counters->map;
	return 0;
}

/* From here on the file is in use by this boot and not clean. */
static int take_over(struct counters *counters, enum after_power_loss policy)
{
	struct file_header *header = counters->header;
	char boot_id[BOOT_ID_BYTES];
	int ret = boot_id_read(boot_id);

	if (ret != 0)
		return ret;
	if (!header->clean && memcmp(header->boot_id, boot_id, sizeof boot_id) != 0) {
		for (uint32_t at = 0; at <= counters->table_mask; at++) {
			if (counters->table[at] != 0)
				after_power_loss(at_granule(counters, counters->table[at]), policy);
		}
		/* Durable before the boot id says that live values can be trusted again. */
		ret = flush(counters);
		if (ret != 0)
			return ret;
	}
	memcpy(header->boot_id, boot_id, sizeof boot_id);
	header->clean = 0;
	return flush(counters);
}

static int load(struct counters *counters, const char *path, uint32_t capacity,
	enum after_power_loss policy)
{
	struct file_header header;
	int ret = header_load(counters->fd, path, &header);

	if (ret == 0)
		ret = map_whole(counters, capacity, header.n_pages);
	if (ret == 0)
		ret = table_new(counters, capacity);
	for (uint32_t page = 0; ret == 0 && page < counters->header->n_pages; page++)
		ret = page_load(counters, page);
	return ret == 0 ? take_over(counters, policy) : ret;
}

static void release(struct counters *counters)
{
	if (counters->map != NULL)
		munmap(counters->map, counters->map_bytes);
	if (counters->fd >= 0)
		close(counters->fd);
	for (size_t class = 0; class < N_CLASSES; class ++)
		free(counters->free_slots[class].items);
	free(counters->blank_pages.items);
	free(counters->table);
	pthread_mutex_destroy(&counters->lock);
	free(counters);
}

static const char *mend_for(int error)
{
	switch (error) {
	case -EBUSY:
		return "another process has it; stop that one first";
	case -EINVAL:
		return "not a counter file, or damaged; remove it only together with its keys";
	case -ENOSPC:
		return "no space left on its file system";
	default:
		return strerror(-error);
	}
}

int counters_open(const char *path, uint32_t capacity, enum after_power_loss policy,
	struct counters **out, char *why, size_t why_size)
{
	struct counters *counters = calloc(1, sizeof *counters);
	int ret = -ENOMEM;

	if (counters == NULL)
		goto fail;
	pthread_mutex_init(&counters->lock, NULL);
	counters->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (counters->fd < 0)
		ret = -errno;
	else if (flock(counters->fd, LOCK_EX | LOCK_NB) != 0)
		ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
	else
		ret = load(counters, path, capacity, policy);
	if (ret == 0) {
		*out = counters;
		return 0;
	}
	release(counters);
fail:
	snprintf(why, why_size, "%s: %s", path, mend_for(ret));
	return ret;
}

void counters_close(struct counters *counters)
{
	if (counters == NULL)
		return;
	/* Live values first: "clean" must not reach the disk before what it speaks of. */
	if (flush(counters) == 0) {
		counters->header->clean = 1;
		(void)flush(counters); /* if it fails, the next boot takes the ceilings */
	}
	release(counters);
}
