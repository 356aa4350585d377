/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: opening checks the header, maps the whole capacity, walks the pages to rebuild
 * the table and the stacks of free slots, and then takes the file over for this boot.
 *
 * After power loss (another boot id, not marked clean) pages may be old, new or blank, each on its
 * own; a slot's first 64 bytes lie in one disk sector and are never torn. Live values are then
 * replaced by the durable ceilings, and that is on disk before the new boot id is.
 */
#include "dataplane/esp/counters_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_VERSION 2
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

static const char file_magic[8] = "RGCOUNT";

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

/* A kind gets a page only when it has no free slot, so this many pages are always enough. */
static uint32_t pages_for(uint32_t capacity)
{
	uint32_t pages = 0;

	for (size_t kind = 0; kind < N_KINDS; kind++)
		pages += capacity / counters_slots_per_page(kind) + 1;
	return pages;
}

static void after_power_loss(struct counter_slot *slot, enum after_power_loss policy)
{
	uint64_t ceiling = atomic_load_explicit(&slot->ceiling, memory_order_relaxed);
	bool inbound = slot->n_words != 0;

	if (inbound && policy == AFTER_POWER_LOSS_OPEN)
		return;
	if (ceiling > atomic_load_explicit(&slot->seq, memory_order_relaxed))
		atomic_store_explicit(&slot->seq, ceiling, memory_order_relaxed);
	if (inbound)
		counters_window_shut(slot);
}

static bool slot_valid(const struct counter_slot *slot, size_t kind)
{
	return slot->n_words == counters_kind_words[kind] && slot->window <= REPLAY_WINDOW_MAX &&
	       counters_kind_of_window(slot->window) == kind;
}

/* Two slots of one id: a resize was cut short. No packet came between, so either is right unless
 * one is behind. */
static bool slot_register(struct counters *counters, struct counter_slot *slot)
{
	uint32_t at = counters_table_find(counters, slot->id);
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
	return counters_push(&counters->free_slots[counters_kind_of_words(slot->n_words)],
		granule_of(counters, slot));
}

/* Without a loss of power every counted page was headed before (page_add()). */
static int page_load(struct counters *counters, uint32_t page, bool power_lost)
{
	const struct page_header *header = at_granule(counters, page_granule(page));
	size_t kind = counters_kind_of_words(header->n_words);

	if (memcmp(header->magic, PAGE_MAGIC, sizeof header->magic) != 0 || kind == N_KINDS) {
		if (!power_lost)
			return -EINVAL;
		return counters_push(&counters->blank_pages, page) ? 0 : -ENOMEM;
	}
	for (uint32_t i = 0; i < counters_slots_per_page(kind); i++) {
		uint32_t granule = page_granule(page) + 1 + i * counters_slot_granules(kind);
		struct counter_slot *slot = at_granule(counters, granule);
		bool kept;

		if (id_is_zero(slot->id))
			kept = counters_push(&counters->free_slots[kind], granule);
		else if (!slot_valid(slot, kind))
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
	/* Beside what the file holds already. */
	uint64_t most = (uint64_t)capacity +
			(uint64_t)counters->header->n_pages * counters_slots_per_page(0);
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

/* A new file gets its name when its header is on disk: an empty one under that name was emptied by
 * somebody, and its windows would take replays. Returns fd or -errno. */
static int file_make(const char *path)
{
	/* clean: nothing can be lost yet */
	struct file_header header = {.version = FILE_VERSION, .clean = 1};
	char fresh[PATH_MAX];
	int fd, ret = 0;

	if (snprintf(fresh, sizeof fresh, "%s.new", path) >= (int)sizeof fresh)
		return -ENAMETOOLONG;
	fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	memcpy(header.magic, file_magic, sizeof file_magic);
	errno = EIO; /* of a short write */
	if (pwrite(fd, &header, sizeof header, 0) != (ssize_t)sizeof header || fsync(fd) != 0 ||
		rename(fresh, path) != 0)
		ret = -errno;
	if (ret != 0) {
		close(fd);
		return ret;
	}
	sync_folder(path);
	return fd;
}

static int file_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return errno == ENOENT ? file_make(path) : -errno;
	return fd;
}

static int header_load(int fd, struct file_header *header)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
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

	counters->pages_max = n_pages + pages_for(capacity);
	counters->pages_allocated = n_pages;
	counters->map_bytes = ((size_t)counters->pages_max + 1) * PAGE_BYTES;
	if (fstat(counters->fd, &st) != 0)
		return -errno;
	if (st.st_size < (off_t)counters->map_bytes &&
		ftruncate(counters->fd, (off_t)counters->map_bytes) != 0)
		return -errno;
	/* A copy of the file may have holes where pages were zero. */
	if (posix_fallocate(counters->fd, 0, ((off_t)n_pages + 1) * PAGE_BYTES) != 0)
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
static int take_over(struct counters *counters, const char boot_id[BOOT_ID_BYTES], bool power_lost,
	enum after_power_loss policy)
{
	struct file_header *header = counters->header;
	int ret;

	if (power_lost) {
		for (uint32_t at = 0; at <= counters->table_mask; at++) {
			if (counters->table[at] != 0)
				after_power_loss(at_granule(counters, counters->table[at]), policy);
		}
		/* Durable before the boot id says that live values can be trusted again. */
		ret = counters_flush(counters);
		if (ret != 0)
			return ret;
	}
	memcpy(header->boot_id, boot_id, BOOT_ID_BYTES);
	header->clean = 0;
	return counters_flush(counters);
}

static int load(struct counters *counters, uint32_t capacity, enum after_power_loss policy)
{
	struct file_header header;
	char boot_id[BOOT_ID_BYTES];
	bool power_lost = false;
	int ret = header_load(counters->fd, &header);

	if (ret == 0)
		ret = boot_id_read(boot_id);
	if (ret == 0)
		power_lost = !header.clean && memcmp(header.boot_id, boot_id, BOOT_ID_BYTES) != 0;
	if (ret == 0)
		ret = map_whole(counters, capacity, header.n_pages);
	if (ret == 0)
		ret = table_new(counters, capacity);
	for (uint32_t page = 0; ret == 0 && page < counters->header->n_pages; page++)
		ret = page_load(counters, page, power_lost);
	/* SAs that are gone leave their slots behind, in case they come back: those must not keep
	 * new ones out. */
	counters->capacity += counters->n_slots;
	return ret == 0 ? take_over(counters, boot_id, power_lost, policy) : ret;
}

static void release(struct counters *counters)
{
	if (counters->map != NULL)
		munmap(counters->map, counters->map_bytes);
	if (counters->fd >= 0)
		close(counters->fd);
	for (size_t kind = 0; kind < N_KINDS; kind++)
		free(counters->free_slots[kind].items);
	free(counters->fresh.items);
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
		return "not a counter file of this version, or damaged; remove it only together "
		       "with its keys";
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
	counters->fd = file_open(path);
	if (counters->fd < 0)
		ret = counters->fd;
	else if (flock(counters->fd, LOCK_EX | LOCK_NB) != 0)
		ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
	else
		ret = load(counters, capacity, policy);
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
	if (counters_flush(counters) == 0) {
		counters->header->clean = 1;
		(void)counters_flush(counters); /* if it fails, the next boot takes the ceilings */
	}
	release(counters);
}
