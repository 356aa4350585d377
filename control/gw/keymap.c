/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: open addressing with linear probing in a power-of-two array that is at most two
 * thirds full. A deletion moves later entries of the same run back, so no tombstones pile up.
 */
#include "control/gw/keymap.h"

#include "lib/hmac.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEYMAP_ROOM_MIN 64 /* entries */
#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

struct keymap_entry {
	uint8_t key[KEYMAP_KEY_MAX];
	uint8_t len; /* 0: free */
	uint32_t value;
};

struct keymap {
	struct keymap_entry *entries;
	size_t room, used;
	uint64_t seed;
};

struct keymap *keymap_new(size_t expected)
{
	struct keymap *map = calloc(1, sizeof *map);

	if (map == NULL)
		return NULL;
	map->room = KEYMAP_ROOM_MIN;
	while (expected * 3 > map->room * 2)
		map->room *= 2;
	map->entries = calloc(map->room, sizeof *map->entries);
	if (map->entries == NULL) {
		free(map);
		return NULL;
	}
	random_fill(&map->seed, sizeof map->seed);
	return map;
}

void keymap_free(struct keymap *map)
{
	if (map == NULL)
		return;
	free(map->entries);
	free(map);
}

static size_t home_of(const struct keymap *map, const uint8_t *key, size_t len)
{
	uint64_t hash = FNV_OFFSET ^ map->seed;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ key[i]) * FNV_PRIME;
	hash ^= hash >> 32; /* FNV's low bits alone are weak */
	return (size_t)hash & (map->room - 1);
}

/* The entry of key, or the free one where it would go. */
static struct keymap_entry *find(const struct keymap *map, const void *key, size_t len)
{
	size_t at = home_of(map, key, len);

	while (map->entries[at].len != 0) {
		if (map->entries[at].len == len && memcmp(map->entries[at].key, key, len) == 0)
			break;
		at = (at + 1) & (map->room - 1);
	}
	return &map->entries[at];
}

static int grow(struct keymap *map)
{
	struct keymap_entry *old = map->entries;
	const size_t old_room = map->room;
	struct keymap_entry *fresh = calloc(old_room * 2, sizeof *fresh);

	if (fresh == NULL)
		return -ENOMEM;
	map->entries = fresh;
	map->room = old_room * 2;
	for (size_t i = 0; i < old_room; i++) {
		if (old[i].len != 0)
			*find(map, old[i].key, old[i].len) = old[i];
	}
	free(old);
	return 0;
}

int keymap_add(struct keymap *map, const void *key, size_t len, uint32_t value)
{
	struct keymap_entry *entry;

	if (len == 0 || len > KEYMAP_KEY_MAX)
		return -EINVAL;
	if (find(map, key, len)->len != 0)
		return -EEXIST;
	if ((map->used + 1) * 3 > map->room * 2 && grow(map) != 0)
		return -ENOMEM;
	entry = find(map, key, len);
	memcpy(entry->key, key, len);
	entry->len = (uint8_t)len;
	entry->value = value;
	map->used++;
	return 0;
}

bool keymap_get(const struct keymap *map, const void *key, size_t len, uint32_t *value)
{
	const struct keymap_entry *entry;

	if (len == 0 || len > KEYMAP_KEY_MAX)
		return false;
	entry = find(map, key, len);
	if (entry->len == 0)
		return false;
	*value = entry->value;
	return true;
}

bool keymap_del(struct keymap *map, const void *key, size_t len)
{
	struct keymap_entry *entry;
	size_t hole, at;

	if (len == 0 || len > KEYMAP_KEY_MAX)
		return false;
	entry = find(map, key, len);
	if (entry->len == 0)
		return false;
	hole = at = (size_t)(entry - map->entries);
	for (;;) {
		size_t home;

		at = (at + 1) & (map->room - 1);
		if (map->entries[at].len == 0)
			break;
		home = home_of(map, map->entries[at].key, map->entries[at].len);
		/* An entry may move into the hole unless its home lies behind the hole. */
		if (((at - home) & (map->room - 1)) >= ((at - hole) & (map->room - 1))) {
			map->entries[hole] = map->entries[at];
			hole = at;
		}
	}
	memset(&map->entries[hole], 0, sizeof map->entries[hole]);
	map->used--;
	return true;
}
