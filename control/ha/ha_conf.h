/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_HA_CONF_H
#define CONTROL_HA_HA_CONF_H
/*
 * What roamgate-ha.conf says, checked as a whole: every key alone and against the others.
 *
 * Owner:    main.c loads and frees it. Threads: main; const after ha_conf_load().
 * Lifetime: strings and nodes live until ha_conf_free(), which wipes the keys.
 * Sources:  config/roamgate-ha.conf is the reference of the keys.
 */
#include "lib/conf.h"
#include "lib/inet.h"
#include "lib/log.h"
#include "lib/mip4.h"
#include "siu/siu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HA_GATEWAYS_MAX 64
#define HA_PREFIXES_MAX 64
#define HA_NODE_KEYS_MAX 4
#define HA_NAME_MAX 32 /* characters of a gateway's or node's name */
#define HA_NO_GATEWAY (-1)
#define HA_SIU_KEYS 2 /* while secrets are being changed */

struct ha_conf_siu_key {
	uint16_t id;
	struct conf_secret secret; /* len 0: unused */
};

struct ha_conf_gateway {
	const char *name;
	struct ip_endpoint address;               /* SIU, and next hop of IP-in-IP */
	bool directly_attached;                   /* its SIU comes with TTL 255 */
	struct ha_conf_siu_key keys[HA_SIU_KEYS]; /* [0] is the one to send with */
};

struct ha_conf_node {
	const char *name;
	struct ip_addr home_address;
	size_t position;   /* in the file's list, for messages */
	int gateway;       /* index, used when no RRQ_SEEN tells; HA_NO_GATEWAY: none */
	uint64_t gateways; /* bit i: gateway i may say that it carries this node */
	size_t n_keys;
	struct mip4_key keys[HA_NODE_KEYS_MAX];
};

struct ha_conf {
	struct conf *file; /* owns the strings */
	const char *path;  /* lent; for a reload */
	const char *state_dir;
	const char *control_socket;
	enum log_level log_level;
	struct ip_addr address;
	const char *home_interface;
	const char *tunnel_interface;
	uint16_t tunnel_mtu; /* bytes */
	uint16_t max_lifetime_s;
	uint16_t tolerance_s;
	uint32_t rrq_seen_wait_ms;
	uint32_t grace_ms;
	struct ip_prefix inside[HA_PREFIXES_MAX];
	size_t n_inside;
	struct ip_endpoint siu_listen;
	bool siu_require_esp; /* by Linux, in both directions; nothing in clear */
	struct ha_conf_gateway *gateways;
	size_t n_gateways;
	struct ha_conf_node *nodes; /* sorted by home address */
	size_t n_nodes;
};

/* True: out is valid. False: each error was printed as "file:line: ..." and nothing is left over.
 */
bool ha_conf_load(const char *path, struct ha_conf *out) __attribute__((warn_unused_result));
void ha_conf_free(struct ha_conf *conf);

/* Index of the node with that home address, or -1. */
int ha_conf_find_node(const struct ha_conf *conf, const struct ip_addr *home_address);
/* May that gateway carry the node? */
bool ha_conf_may_carry(const struct ha_conf_node *node, int gateway);
bool ha_conf_is_inside(const struct ha_conf *conf, const struct ip_addr *addr);
#endif
