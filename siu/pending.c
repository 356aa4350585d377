/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a reference is the entry's place in the array and a serial number, so an ACK
 * finds its entry at once and one for a superseded content finds nothing.
 */
#include "siu/pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int siu_pending_init(struct siu_pending_table *table, size_t capacity)
{
	size_t n_buckets = 16;

	while (n_buckets < 2 * capacity)
		n_buckets *= 2;
	*table = (struct siu_pending_table){.capacity = capacity, .n_buckets = n_buckets};
	TAILQ_INIT(&table->free);
	table->entries = calloc(capacity, sizeof *table->entries);
	table->buckets = calloc(n_buckets, sizeof *table->buckets);
	if (table->entries == NULL || table->buckets == NULL) {
		siu_pending_fini(table);
		return -ENOMEM;
	}
	for (size_t i = 0; i < capacity; i++)
		siu_pending_move(&table->entries[i], &table->free);
	return 0;
}

void siu_pending_fini(struct siu_pending_table *table)
{
	for (size_t i = 0; table->entries != NULL && i < table->capacity; i++)
		free((void *)(uintptr_t)table->entries[i].update.rrp);
	free(table->entries);
	free(table->buckets);
	*table = (struct siu_pending_table){0};
}

/* FNV-1a: home addresses come from the local configuration, not from who could choose collisions.
 */
static size_t bucket_of(const struct siu_pending_table *table, const struct ip_addr *addr)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < sizeof addr->bytes; i++)
		hash = (hash ^ addr->bytes[i]) * UINT64_C(0x100000001b3);
	return (size_t)(hash ^ hash >> 32) & (table->n_buckets - 1);
}

static bool is_reply_only(const struct siu_update *update)
{
	return (update->flags & SIU_REPLY_ONLY) != 0;
}

struct siu_pending *siu_pending_find(
	struct siu_pending_table *table, const struct ip_addr *home_address, bool reply_only)
{
	struct siu_pending *entry = table->buckets[bucket_of(table, home_address)];

	while (entry != NULL && (is_reply_only(&entry->update) != reply_only ||
					!ip_addr_equal(&entry->update.home_address, home_address)))
		entry = entry->next_in_bucket;
	return entry;
}

struct siu_pending *siu_pending_by_reference(struct siu_pending_table *table, uint64_t reference)
{
	size_t place = (size_t)(reference >> 32);

	if (reference == 0 || place >= table->capacity ||
		table->entries[place].reference != reference)
		return NULL;
	return &table->entries[place];
}

/* The serial is never 0, so neither is a reference. */
static uint64_t reference_new(struct siu_pending_table *table, const struct siu_pending *entry)
{
	if (++table->serial == 0)
		table->serial = 1;
	return (uint64_t)(entry - table->entries) << 32 | table->serial;
}

static int update_copy(struct siu_update *out, const struct siu_update *update)
{
	uint8_t *rrp = NULL;

	if (update->rrp != NULL) {
		rrp = malloc(update->rrp_len);
		if (rrp == NULL)
			return -ENOMEM;
		memcpy(rrp, update->rrp, update->rrp_len);
	}
	*out = *update;
	out->rrp = rrp;
	return 0;
}

int siu_pending_add(
	struct siu_pending_table *table, const struct siu_update *update, struct siu_pending **out)
{
	struct siu_pending *entry = TAILQ_FIRST(&table->free);
	struct siu_pending **bucket;

	if (entry == NULL)
		return -ENOBUFS;
	if (update_copy(&entry->update, update) != 0)
		return -ENOMEM;
	siu_pending_move(entry, NULL);
	entry->reference = reference_new(table, entry);
	bucket = &table->buckets[bucket_of(table, &update->home_address)];
	entry->next_in_bucket = *bucket;
	*bucket = entry;
	table->n_used++;
	*out = entry;
	return 0;
}

void siu_pending_renew(struct siu_pending_table *table, struct siu_pending *entry)
{
	entry->reference = reference_new(table, entry);
	entry->tries = 0;
	entry->refusals = 0;
}

int siu_pending_replace(
	struct siu_pending_table *table, struct siu_pending *entry, const struct siu_update *update)
{
	struct siu_update fresh;

	if (update_copy(&fresh, update) != 0)
		return -ENOMEM;
	free((void *)(uintptr_t)entry->update.rrp);
	entry->update = fresh;
	siu_pending_renew(table, entry);
	return 0;
}

void siu_pending_del(struct siu_pending_table *table, struct siu_pending *entry)
{
	struct siu_pending **at = &table->buckets[bucket_of(table, &entry->update.home_address)];

	while (*at != entry)
		at = &(*at)->next_in_bucket;
	*at = entry->next_in_bucket;
	siu_pending_set_in_sync(table, entry, false);
	if (entry->local)
		table->n_local--;
	table->n_used--;
	siu_pending_move(entry, NULL);
	free((void *)(uintptr_t)entry->update.rrp);
	*entry = (struct siu_pending){0};
	siu_pending_move(entry, &table->free);
}

void siu_pending_move(struct siu_pending *entry, struct siu_pending_list *to)
{
	if (entry->on != NULL)
		TAILQ_REMOVE(entry->on, entry, link);
	entry->on = to;
	if (to != NULL)
		TAILQ_INSERT_TAIL(to, entry, link);
}

void siu_pending_set_local(struct siu_pending_table *table, struct siu_pending *entry)
{
	if (!entry->local)
		table->n_local++;
	entry->local = true;
}

void siu_pending_set_in_sync(
	struct siu_pending_table *table, struct siu_pending *entry, bool in_sync)
{
	if (entry->in_sync && !in_sync)
		table->n_in_sync--;
	if (!entry->in_sync && in_sync)
		table->n_in_sync++;
	entry->in_sync = in_sync;
}
