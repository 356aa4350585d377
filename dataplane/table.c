/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a table has TABLE_SLACK times the places it promises, since a cuckoo table may
 * refuse an insert well before it is full, and deleted keys keep their place for a grace period.
 */
#include "dataplane/table.h"

#include <rte_common.h>

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#define TABLE_SLACK 2
#define TABLE_ENTRIES_MIN 64

void table_key_addr(uint8_t key[TABLE_ADDR_BYTES], const struct ip_addr *addr)
{
	if (addr->family == AF_INET6)
		memcpy(key, addr->bytes, TABLE_ADDR_BYTES);
	else
		table_key_v4(key, ip_addr_to_v4(addr));
}

struct rte_hash *table_new(
	const char *name, uint32_t entries, uint32_t key_bytes, const struct rcu *rcu)
{
	static unsigned instance; /* control thread only; rte_hash finds tables by name */
	char unique[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters params = {
		.name = unique,
		.entries = RTE_MAX(entries, (uint32_t)TABLE_ENTRIES_MIN) * TABLE_SLACK,
		.key_len = key_bytes,
		.socket_id = SOCKET_ID_ANY,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF,
	};
	struct rte_hash_rcu_config rcu_config = {.v = rcu->qsbr, .mode = RTE_HASH_QSBR_MODE_DQ};
	struct rte_hash *table;

	snprintf(unique, sizeof unique, "%s%u", name, instance++);
	table = rte_hash_create(&params);
	if (table == NULL)
		return NULL;
	if (rte_hash_rcu_qsbr_add(table, &rcu_config) != 0) {
		rte_hash_free(table);
		return NULL;
	}
	return table;
}

int table_add(struct rte_hash *table, const void *key, void *value)
{
	if (rte_hash_lookup(table, key) >= 0)
		return -EEXIST;
	return rte_hash_add_key_data(table, key, value) == 0 ? 0 : -ENOSPC;
}

void table_del(struct rte_hash *table, const void *key)
{
	rte_hash_del_key(table, key);
}

void *table_get(const struct rte_hash *table, const void *key)
{
	void *value;

	return rte_hash_lookup_data(table, key, &value) >= 0 ? value : NULL;
}
