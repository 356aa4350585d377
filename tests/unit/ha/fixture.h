/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_HA_FIXTURE_H
#define TESTS_UNIT_HA_FIXTURE_H
/*
 * What the home agent's unit tests share: a configuration with two gateways and two nodes, and the
 * time at which the vectors of a registration were computed.
 */
#include "control/ha/ha_conf.h"
#include "lib/clock.h"
#include "lib/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NTP_UNIX_OFFSET_S UINT64_C(2208988800) /* RFC 5905 figure 4 */
#define VECTOR_SECONDS UINT64_C(0xe8d4a510)    /* high half of the vectors' Identification */
#define VECTOR_LOW UINT64_C(0x12345678)
#define VECTOR_ID (VECTOR_SECONDS << 32 | VECTOR_LOW)
#define START_MONO_NS (UINT64_C(1000000) * NS_PER_S)

#define HOME "10.1.0.10"
#define AGENT "10.1.0.1"
#define COA_A "198.51.100.7"
#define COA_B "203.0.113.7"

static inline struct ip_addr addr_of(const char *text)
{
	struct ip_addr addr = {0};

	if (!ip_addr_parse(text, &addr))
		abort();
	return addr;
}

/* Seconds since the vectors' time. */
static inline void set_clock(uint64_t after_s)
{
	clock_set_test(START_MONO_NS + after_s * NS_PER_S,
		(VECTOR_SECONDS - NTP_UNIX_OFFSET_S + after_s) * NS_PER_S);
}

static inline void add_key(struct ha_conf_node *node, uint32_t spi, enum hmac_alg alg, size_t len)
{
	struct mip4_key *key = &node->keys[node->n_keys++];

	*key = (struct mip4_key){.spi = spi, .alg = alg, .key_len = len};
	for (size_t i = 0; i < len; i++)
		key->key[i] = (uint8_t)i;
}

/* Linked with --wrap=store_put: the disk is full when a test says so. */
static bool disk_full;
int __real_store_put(struct store *store, const char *db, const void *key, size_t key_len,
	const void *data, size_t len);
int __wrap_store_put(struct store *store, const char *db, const void *key, size_t key_len,
	const void *data, size_t len);
int __wrap_store_put(struct store *store, const char *db, const void *key, size_t key_len,
	const void *data, size_t len)
{
	return disk_full ? -ENOSPC : __real_store_put(store, db, key, key_len, data, len);
}

static struct ha_conf_gateway fixture_gateways[2];
static struct ha_conf_node fixture_nodes[2];

/* Node 0 has the keys of the vectors; both use gateway 0 unless told otherwise. */
static inline struct ha_conf fixture_conf(void)
{
	struct ha_conf conf = {.address = addr_of(AGENT),
		.max_lifetime_s = 300,
		.tolerance_s = 7,
		.tunnel_mtu = 1418,
		.rrq_seen_wait_ms = 20,
		.grace_ms = 2000,
		.siu_listen = {.addr = addr_of("127.0.0.1"), .port = 0},
		.gateways = fixture_gateways,
		.n_gateways = 2,
		.nodes = fixture_nodes,
		.n_nodes = 2};

	memset(fixture_gateways, 0, sizeof fixture_gateways);
	memset(fixture_nodes, 0, sizeof fixture_nodes);
	fixture_gateways[0].name = "gw1";
	fixture_gateways[0].address.addr = addr_of("10.2.0.254");
	fixture_gateways[0].keys[0].secret.len = 16;
	fixture_gateways[1].name = "gw2";
	fixture_gateways[1].address.addr = addr_of("10.2.0.253");
	fixture_gateways[1].keys[0].secret.len = 16;
	fixture_nodes[0].gateways = fixture_nodes[1].gateways = UINT64_MAX;
	fixture_nodes[0].name = "node1";
	fixture_nodes[0].home_address = addr_of(HOME);
	add_key(&fixture_nodes[0], 0x100, HMAC_MD5, 16);
	add_key(&fixture_nodes[0], 0x101, HMAC_SHA256, 32);
	fixture_nodes[1].name = "node2";
	fixture_nodes[1].home_address = addr_of("10.1.0.11");
	add_key(&fixture_nodes[1], 0x200, HMAC_SHA256, 16);
	return conf;
}
#endif
