/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_TABLE_H
#define DATAPLANE_TABLE_H
/*
 * rte_hash as the table of neighbours uses it: readers without locks, deleted key slots given back
 * only after a grace period, and addresses as keys of 16 bytes whatever their family. SAs, nodes
 * and care-of addresses, of which there are many, are found by lookup.h.
 *
 * Threads: one writer (control), any number of readers.
 */
#include "dataplane/rcu.h"
#include "lib/inet.h"

#include <rte_hash.h>

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define TABLE_ADDR_BYTES 16

/* An address as key; IPv4 is mapped (RFC 4291 section 2.5.5.2). */
static inline void table_key_v4(uint8_t key[TABLE_ADDR_BYTES], be32_t addr)
{
	/* As two words: the hash function loads words, and would wait for narrower stores. */
	const uint64_t words[2] = {0, UINT64_C(0xffff0000) | (uint64_t)addr << 32};

	static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "order of bytes in words[1]");
	memcpy(key, words, sizeof words);
}
void table_key_addr(uint8_t key[TABLE_ADDR_BYTES], const struct ip_addr *addr);

/* entries that surely fit. NULL: out of memory. name: unique in this process is made of it. */
struct rte_hash *table_new(
	const char *name, uint32_t entries, uint32_t key_bytes, const struct rcu *rcu);
/* -EEXIST, -ENOSPC. */
int table_add(struct rte_hash *table, const void *key, void *value)
	__attribute__((warn_unused_result));
void table_del(struct rte_hash *table, const void *key);
/* Control thread. NULL: none. */
void *table_get(const struct rte_hash *table, const void *key);
#endif
