/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: entries are found by (address, port). Forgetting a MAC takes effect at once by a
 * store; the entry itself goes when no route needs it and the retire list has room, else it stays
 * and is looked at again when the table is full.
 */
#include "dataplane/neigh.h"

#include "dataplane/table.h"

#include <assert.h>
#include <errno.h>

struct neigh_key {
	uint8_t addr[TABLE_ADDR_BYTES];
	uint32_t port;
	uint8_t pad[12];
};
static_assert(sizeof(struct neigh_key) == 32, "no holes in keys");

int neigh_table_new(struct neigh_table *table, uint32_t capacity, struct rcu *rcu)
{
	*table = (struct neigh_table){.rcu = rcu, .capacity = capacity};
	slab_init(&table->entries, sizeof(struct neigh));
	table->table = table_new("neigh", capacity, sizeof(struct neigh_key), rcu);
	return table->table == NULL ? -ENOMEM : 0;
}

void neigh_table_free(struct neigh_table *table)
{
	rte_hash_free(table->table);
	slab_fini(&table->entries);
	*table = (struct neigh_table){0};
}

static struct neigh_key key_of(enum dp_port port, const struct ip_addr *addr)
{
	struct neigh_key key = {.port = port};

	table_key_addr(key.addr, addr);
	return key;
}

static void free_neigh(void *owner, void *object, bool flag)
{
	(void)flag;
	slab_free(owner, object);
}

void neigh_put(struct neigh_table *table, struct neigh *neigh)
{
	struct neigh_key key = key_of(neigh->port, &neigh->addr);

	if (neigh->routes != 0 || atomic_load_explicit(&neigh->mac, memory_order_relaxed) != 0)
		return;
	if (rcu_room(table->rcu, 1) == 0)
		return;
	table_del(table->table, &key);
	if (neigh->prev != NULL)
		neigh->prev->next = neigh->next;
	else
		table->all = neigh->next;
	if (neigh->next != NULL)
		neigh->next->prev = neigh->prev;
	table->n--;
	rcu_retire(table->rcu, free_neigh, &table->entries, neigh, false);
}

static void sweep(struct neigh_table *table)
{
	struct neigh *next;

	for (struct neigh *neigh = table->all; neigh != NULL; neigh = next) {
		next = neigh->next;
		neigh_put(table, neigh);
	}
}

int neigh_get(struct neigh_table *table, enum dp_port port, const struct ip_addr *addr,
	struct neigh **out)
{
	struct neigh_key key = key_of(port, addr);
	struct neigh *neigh = table_get(table->table, &key);
	int ret;

	*out = neigh;
	if (neigh != NULL)
		return 0;
	if (table->n == table->capacity)
		sweep(table);
	if (table->n == table->capacity)
		return -ENOSPC;
	neigh = slab_alloc(&table->entries);
	if (neigh == NULL)
		return -ENOMEM;
	neigh->port = (uint8_t)port;
	neigh->addr = *addr;
	ret = table_add(table->table, &key, neigh);
	if (ret != 0) {
		slab_free(&table->entries, neigh);
		return ret;
	}
	neigh->next = table->all;
	if (neigh->next != NULL)
		neigh->next->prev = neigh;
	table->all = neigh;
	table->n++;
	*out = neigh;
	return 0;
}

int neigh_set(struct neigh_table *table, enum dp_port port, const struct ip_addr *addr,
	const uint8_t mac[6])
{
	uint64_t value = 0;
	struct neigh *neigh;
	int ret = neigh_get(table, port, addr, &neigh);

	if (ret != 0)
		return ret;
	memcpy(&value, mac, 6);
	atomic_store_explicit(&neigh->mac, value | NEIGH_KNOWN, memory_order_relaxed);
	return 0;
}

int neigh_del(struct neigh_table *table, enum dp_port port, const struct ip_addr *addr)
{
	struct neigh_key key = key_of(port, addr);
	struct neigh *neigh = table_get(table->table, &key);

	if (neigh == NULL)
		return -ENOENT;
	atomic_store_explicit(&neigh->mac, 0, memory_order_relaxed);
	neigh_put(table, neigh);
	return 0;
}

void neigh_each_used(struct neigh_table *table, dp_neigh_used_fn *fn, void *arg)
{
	for (struct neigh *neigh = table->all; neigh != NULL; neigh = neigh->next)
		if (atomic_exchange_explicit(&neigh->used, false, memory_order_relaxed))
			fn(arg, neigh->port, &neigh->addr);
}

static struct neigh *find(const struct neigh_table *table, const struct neigh_key *key)
{
	void *value;

	return rte_hash_lookup_data(table->table, key, &value) >= 0 ? value : NULL;
}

struct neigh *neigh_lookup(const struct neigh_table *table, enum dp_port port, be32_t addr)
{
	struct neigh_key key = {.port = port};

	table_key_v4(key.addr, addr);
	return find(table, &key);
}

struct neigh *neigh_lookup_v6(
	const struct neigh_table *table, enum dp_port port, const uint8_t *addr)
{
	struct neigh_key key = {.port = port};

	memcpy(key.addr, addr, sizeof key.addr);
	return find(table, &key);
}

struct neigh *neigh_lookup_addr(
	const struct neigh_table *table, enum dp_port port, const struct ip_addr *addr)
{
	const struct neigh_key key = key_of(port, addr);

	return find(table, &key);
}
