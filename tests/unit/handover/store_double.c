/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: a disk is an array of records; a transaction works on a copy of it. */
#include "lib/store.h"
#include "tests/unit/handover/doubles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DISKS 4
#define RECORDS 64
#define NAME_MAX_BYTES 24
#define DATA_MAX_BYTES 512

struct record {
	char db[NAME_MAX_BYTES];
	uint8_t key[32], data[DATA_MAX_BYTES];
	size_t key_len, len; /* key_len 0: free */
};

struct disk {
	char path[128];
	struct record records[RECORDS];
};

struct store {
	struct disk *disk;
	struct disk *writing; /* an open transaction's; NULL: none */
};

struct store_view {
	struct disk *disk;
};

static struct disk disks[DISKS];
bool store_double_is_full;

void store_double_wipe(void)
{
	memset(disks, 0, sizeof disks);
	store_double_is_full = false;
}

int store_open(const char *dir, const char *const names[], size_t map_bytes, struct store **out,
	char *why, size_t why_size)
{
	(void)names;
	(void)map_bytes;
	(void)why;
	(void)why_size;
	for (unsigned i = 0; i < DISKS; i++) {
		if (disks[i].path[0] != '\0' && strcmp(disks[i].path, dir) != 0)
			continue;
		strncpy(disks[i].path, dir, sizeof disks[i].path - 1);
		if (dir[0] == '/')
			(void)mkdir(dir, 0700); /* for what lies beside the store */
		*out = calloc(1, sizeof **out);
		(*out)->disk = &disks[i];
		return 0;
	}
	abort();
}

void store_close(struct store *store)
{
	if (store != NULL)
		free(store->writing);
	free(store);
}

int store_begin(struct store *store)
{
	if (store->writing != NULL || (store->writing = malloc(sizeof *store->writing)) == NULL)
		abort();
	*store->writing = *store->disk;
	return 0;
}

int store_commit(struct store *store)
{
	*store->disk = *store->writing;
	store_abort(store);
	return 0;
}

void store_abort(struct store *store)
{
	free(store->writing);
	store->writing = NULL;
}

static bool is(const struct record *record, const char *db, const void *key, size_t key_len)
{
	return record->key_len == key_len && strcmp(record->db, db) == 0 &&
	       memcmp(record->key, key, key_len) == 0;
}

static struct record *find(struct disk *disk, const char *db, const void *key, size_t key_len)
{
	for (unsigned i = 0; i < RECORDS; i++)
		if (is(&disk->records[i], db, key, key_len))
			return &disk->records[i];
	return NULL;
}

static struct disk *disk_of(struct store *store)
{
	return store->writing != NULL ? store->writing : store->disk;
}

int store_put(struct store *store, const char *db, const void *key, size_t key_len,
	const void *data, size_t len)
{
	struct disk *disk = disk_of(store);
	struct record *record = find(disk, db, key, key_len);

	if (store_double_is_full && store->writing == NULL)
		return -ENOSPC;
	for (unsigned i = 0; record == NULL && i < RECORDS; i++)
		if (disk->records[i].key_len == 0)
			record = &disk->records[i];
	if (record == NULL)
		return -ENOSPC;
	if (key_len > sizeof record->key || len > sizeof record->data)
		abort();
	memset(record, 0, sizeof *record);
	strncpy(record->db, db, sizeof record->db - 1);
	memcpy(record->key, key, key_len);
	memcpy(record->data, data, len);
	record->key_len = key_len;
	record->len = len;
	return 0;
}

int store_del(struct store *store, const char *db, const void *key, size_t key_len)
{
	struct record *record = find(disk_of(store), db, key, key_len);

	if (record == NULL)
		return -ENOENT;
	record->key_len = 0;
	return 0;
}

int store_del_all(struct store *store, const char *db, const void *prefix, size_t prefix_len)
{
	struct disk *disk = disk_of(store);

	for (unsigned i = 0; i < RECORDS; i++) {
		struct record *record = &disk->records[i];

		if (record->key_len >= prefix_len && strcmp(record->db, db) == 0 &&
			memcmp(record->key, prefix, prefix_len) == 0)
			record->key_len = 0;
	}
	return 0;
}

int store_get(struct store *store, const char *db, const void *key, size_t key_len,
	struct store_value *out)
{
	struct record *record = find(disk_of(store), db, key, key_len);

	if (record == NULL)
		return -ENOENT;
	*out = (struct store_value){record->data, record->len};
	return 0;
}

int store_each(struct store *store, const char *db, store_each_fn *fn, void *arg)
{
	struct disk *disk = disk_of(store);

	for (unsigned i = 0; i < RECORDS; i++) {
		struct record *record = &disk->records[i];

		if (record->key_len != 0 && strcmp(record->db, db) == 0 &&
			!fn(arg, (struct store_value){record->key, record->key_len},
				(struct store_value){record->data, record->len}))
			break;
	}
	return 0;
}

int store_view_new(struct store *store, struct store_view **out)
{
	*out = calloc(1, sizeof **out);
	(*out)->disk = store->disk;
	return 0;
}

void store_view_free(struct store_view *view)
{
	free(view);
}

int store_view_get(struct store_view *view, const char *db, const void *key, size_t key_len,
	void *data, size_t room, size_t *len)
{
	struct record *record = find(view->disk, db, key, key_len);

	if (record == NULL)
		return -ENOENT;
	if (record->len > room)
		return -EMSGSIZE;
	memcpy(data, record->data, record->len);
	*len = record->len;
	return 0;
}

int store_count(struct store *store, const char *db, size_t *out)
{
	struct disk *disk = disk_of(store);

	*out = 0;
	for (unsigned i = 0; i < RECORDS; i++)
		*out += disk->records[i].key_len != 0 && strcmp(disk->records[i].db, db) == 0;
	return 0;
}

int store_clear(struct store *store, const char *db)
{
	return store_del_all(store, db, "", 0);
}
