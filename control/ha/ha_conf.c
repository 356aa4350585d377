/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each group of the file has one reader, which asks lib/conf.h for all its keys and
 * ends with conf_group_end(), so that a key nobody reads is an error. Checks between keys follow
 * the reading of the group they are in. Errors are collected, so that one run shows all of them.
 * Nodes are sorted by home address at the end: the packet path finds one by binary search.
 */
#include "control/ha/ha_conf.h"

#include <assert.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

static_assert(HA_GATEWAYS_MAX <= 64, "bits of ha_conf_node.gateways");

#define SECRET_MIN 16 /* bytes, RFC 5944 section 5.2: at least 128 bits */
#define SPI_MIN 256   /* 0 to 255 are reserved, RFC 5944 section 3.5.1 */

static const char *const LOG_LEVELS[] = {"error", "warn", "info", "debug", NULL};
static const char *const AUTH_ALGORITHMS[] = {"hmac-md5", "hmac-sha256", NULL};
static const enum hmac_alg AUTH_ALGORITHM_OF[] = {HMAC_MD5, HMAC_SHA256};

static const char *get_interface(struct conf_group *group, const char *key, const char *def)
{
	const char *name = conf_get_string(group, key, def);

	if (strlen(name) >= IF_NAMESIZE || strchr(name, '/') != NULL)
		conf_error(group, key, "\"%.64s\" is not an interface name; at most %d characters",
			name, IF_NAMESIZE - 1);
	return name;
}

static const char *get_path(struct conf_group *group, const char *key, const char *def)
{
	const char *path = conf_get_string(group, key, def);

	if (path[0] != '\0' && path[0] != '/')
		conf_error(group, key, "must be an absolute path");
	return path;
}

/* Names stand in the durable state, in logs and on the control socket. */
static const char *get_name(struct conf_group *group)
{
	const char *name = conf_get_string(group, "name", NULL);

	if (strlen(name) > HA_NAME_MAX)
		conf_error(group, "name", "is longer than %d characters", HA_NAME_MAX);
	return name;
}

static bool is_host_v4(const struct ip_addr *addr)
{
	return addr->family == AF_INET && ip_addr_is_unicast(addr);
}

static struct ip_addr get_host(struct conf_group *group, const char *key)
{
	struct ip_addr addr = conf_get_addr(group, key, true);

	if (ip_addr_is_set(&addr) && !is_host_v4(&addr))
		conf_error(group, key, "must be an IPv4 unicast address");
	return addr;
}

static struct ip_endpoint get_siu_endpoint(struct conf_group *group, const char *key)
{
	struct ip_endpoint endpoint = conf_get_endpoint(group, key, SIU_PORT_DEFAULT, true);

	if (ip_addr_is_set(&endpoint.addr) && !is_host_v4(&endpoint.addr))
		conf_error(group, key, "must have an IPv4 unicast address");
	return endpoint;
}

static void read_settings(struct ha_conf *conf, struct conf_group *root)
{
	conf->state_dir = get_path(root, "state_dir", NULL);
	conf->control_socket = get_path(root, "control_socket", "/run/roamgate-ha.sock");
	conf->log_level = (enum log_level)conf_get_choice(root, "log_level", LOG_LEVELS, LOG_INFO);
	conf->address = get_host(root, "address");
	conf->home_interface = get_interface(root, "home_interface", NULL);
	conf->tunnel_interface = get_interface(root, "tunnel_interface", "rg-ha");
	if (strcmp(conf->home_interface, conf->tunnel_interface) == 0)
		conf_error(root, "tunnel_interface", "must not be the home_interface");
	conf->tunnel_mtu = (uint16_t)conf_get_int(
		root, "tunnel_mtu", "bytes", 576, 9000, 1418, false);
	conf->max_lifetime_s = (uint16_t)conf_get_int(
		root, "max_lifetime", "s", 10, 65534, 600, false);
	conf->tolerance_s = (uint16_t)conf_get_int(
		root, "timestamp_tolerance", "s", 1, 300, 7, false);
	conf->rrq_seen_wait_ms = (uint32_t)conf_get_int(
		root, "rrq_seen_wait_ms", "ms", 0, 1000, 20, false);
	conf->grace_ms = (uint32_t)conf_get_int(root, "grace_ms", "ms", 0, 10000, 2000, false);
	conf->n_inside = conf_get_prefixes(
		root, "inside_prefixes", conf->inside, HA_PREFIXES_MAX, true);
}

static void read_siu(struct ha_conf *conf, struct conf_group *root)
{
	struct conf_group group = conf_get_group(root, "siu", true);

	conf->siu_listen = get_siu_endpoint(&group, "listen");
	conf->siu_require_esp = conf_get_bool(&group, "require_esp", false);
	conf_group_end(&group);
}

/* --- gateways --- */

static bool same_secret(const struct conf_secret *a, const struct conf_secret *b)
{
	return a->len != 0 && a->len == b->len && hmac_equal(a->bytes, b->bytes, a->len);
}

static bool shares_secret(const struct ha_conf_gateway *a, const struct ha_conf_gateway *b)
{
	bool shares = false;

	for (size_t i = 0; i < HA_SIU_KEYS; i++)
		for (size_t k = 0; k < HA_SIU_KEYS; k++)
			shares |= same_secret(&a->keys[i].secret, &b->keys[k].secret);
	return shares;
}

static void read_siu_keys(struct ha_conf_gateway *gateway, struct conf_group *group)
{
	struct ha_conf_siu_key *first = &gateway->keys[0], *next = &gateway->keys[1];

	first->id = (uint16_t)conf_get_int(group, "key_id", "", 0, 65535, 0, true);
	first->secret = conf_get_secret(group, "secret", SECRET_MIN, SIU_KEY_MAX);
	if (!conf_has(group, "next_key_id") && !conf_has(group, "next_secret") &&
		!conf_has(group, "next_secret_file"))
		return;
	next->id = (uint16_t)conf_get_int(group, "next_key_id", "", 0, 65535, 0, true);
	next->secret = conf_get_secret(group, "next_secret", SECRET_MIN, SIU_KEY_MAX);
	if (conf_has(group, "next_key_id") && next->id == first->id)
		conf_error(group, "next_key_id", "is the same as key_id");
}

static void check_gateway(
	const struct ha_conf *conf, const struct ha_conf_gateway *gateway, struct conf_group *group)
{
	if (ip_addr_equal(&gateway->address.addr, &conf->address) ||
		ip_addr_equal(&gateway->address.addr, &conf->siu_listen.addr))
		conf_error(group, "address", "is the home agent's own");
	for (const struct ha_conf_gateway *other = conf->gateways; other < gateway; other++) {
		if (strcmp(other->name, gateway->name) == 0)
			conf_error(group, "name", "\"%s\" is used by an earlier gateway",
				gateway->name);
		if (ip_addr_equal(&other->address.addr, &gateway->address.addr))
			conf_error(group, "address", "is used by the gateway \"%s\"", other->name);
		/* With one secret each could speak for the other. */
		if (shares_secret(gateway, other))
			conf_error(group, "secret", "is the one of the gateway \"%s\"; use another",
				other->name);
	}
}

static void read_gateways(struct ha_conf *conf, struct conf_group *root)
{
	size_t n = conf_get_list(root, "gateways", true);

	if (n > HA_GATEWAYS_MAX) {
		conf_error(root, "gateways", "has %zu entries; at most %d are allowed", n,
			HA_GATEWAYS_MAX);
		return;
	}
	conf->gateways = calloc(n != 0 ? n : 1, sizeof *conf->gateways);
	if (conf->gateways == NULL)
		abort(); /* start-up: nothing runs yet that could be kept going */
	for (size_t i = 0; i < n; i++) {
		struct conf_group group = conf_list_at(root, "gateways", i);
		struct ha_conf_gateway *gateway = &conf->gateways[i];

		gateway->name = get_name(&group);
		gateway->address = get_siu_endpoint(&group, "address");
		gateway->directly_attached = conf_get_bool(&group, "directly_attached", false);
		read_siu_keys(gateway, &group);
		check_gateway(conf, gateway, &group);
		conf_group_end(&group);
	}
	conf->n_gateways = n;
}

/* --- nodes --- */

static void read_key(
	struct ha_conf_node *node, struct conf_group *group, const struct mip4_key *before)
{
	struct mip4_key *key = &node->keys[node->n_keys];
	struct conf_secret secret;

	key->spi = (uint32_t)conf_get_int(group, "spi", "", SPI_MIN, UINT32_MAX, SPI_MIN, true);
	key->alg = AUTH_ALGORITHM_OF[conf_get_choice(group, "algorithm", AUTH_ALGORITHMS, -1)];
	secret = conf_get_secret(group, "key", SECRET_MIN, sizeof key->key);
	memcpy(key->key, secret.bytes, secret.len);
	key->key_len = secret.len;
	secret_wipe(&secret, sizeof secret);
	for (; before < key; before++)
		if (before->spi == key->spi)
			conf_error(group, "spi", "is used twice for this node");
	conf_group_end(group);
}

static void read_keys(struct ha_conf_node *node, struct conf_group *group)
{
	size_t n = conf_get_list(group, "authentication", true);

	if (n > HA_NODE_KEYS_MAX) {
		conf_error(group, "authentication", "has %zu entries; at most %d are allowed", n,
			HA_NODE_KEYS_MAX);
		return;
	}
	for (node->n_keys = 0; node->n_keys < n; node->n_keys++) {
		struct conf_group entry = conf_list_at(group, "authentication", node->n_keys);

		read_key(node, &entry, node->keys);
	}
}

static int find_gateway(const struct ha_conf *conf, const char *name)
{
	for (size_t i = 0; i < conf->n_gateways; i++)
		if (strcmp(conf->gateways[i].name, name) == 0)
			return (int)i;
	return HA_NO_GATEWAY;
}

static int get_gateway(
	const struct ha_conf *conf, struct conf_group *group, const char *key, const char *name)
{
	int gateway = find_gateway(conf, name);

	if (name[0] != '\0' && gateway == HA_NO_GATEWAY)
		conf_error(group, key, "\"%.64s\" is not in the list of gateways", name);
	return gateway;
}

static void read_node_gateways(
	const struct ha_conf *conf, struct ha_conf_node *node, struct conf_group *group)
{
	const char *names[HA_GATEWAYS_MAX];
	size_t n = 0;

	node->gateway = HA_NO_GATEWAY;
	node->gateways = UINT64_MAX;
	if (conf_has(group, "gateways")) {
		n = conf_get_strings(group, "gateways", names, HA_GATEWAYS_MAX, true);
		node->gateways = 0;
	}
	for (size_t i = 0; i < n; i++) {
		int gateway = get_gateway(conf, group, "gateways", names[i]);

		if (gateway == HA_NO_GATEWAY)
			continue;
		if (ha_conf_may_carry(node, gateway))
			conf_error(group, "gateways", "\"%.64s\" is there twice", names[i]);
		node->gateways |= UINT64_C(1) << gateway;
		if (node->gateway == HA_NO_GATEWAY)
			node->gateway = gateway;
	}
	if (!conf_has(group, "gateway"))
		return;
	node->gateway = get_gateway(
		conf, group, "gateway", conf_get_string(group, "gateway", NULL));
	if (node->gateway != HA_NO_GATEWAY && !ha_conf_may_carry(node, node->gateway))
		conf_error(group, "gateway", "is not in this node's gateways");
}

static void read_node(
	const struct ha_conf *conf, struct ha_conf_node *node, struct conf_group *group)
{
	node->name = get_name(group);
	node->home_address = get_host(group, "home_address");
	if (ip_addr_is_set(&node->home_address) &&
		ip_addr_equal(&node->home_address, &conf->address))
		conf_error(group, "home_address", "is the home agent's own address");
	read_node_gateways(conf, node, group);
	read_keys(node, group);
	conf_group_end(group);
}

static int compare_addr(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static int by_home_address(const void *a, const void *b)
{
	const struct ha_conf_node *x = a, *y = b;

	return compare_addr(&x->home_address, &y->home_address);
}

static int by_name(const void *a, const void *b)
{
	const struct ha_conf_node *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* The later one in the file is the one to correct. */
static void refuse_twin(struct conf_group *root, const struct ha_conf_node *a,
	const struct ha_conf_node *b, const char *key)
{
	const struct ha_conf_node *later = a->position > b->position ? a : b;
	struct conf_group group = conf_list_at(root, "mobile_nodes", later->position);

	conf_error(&group, key, "is used by an earlier node");
}

static void refuse_twins(const struct ha_conf *conf, struct conf_group *root)
{
	const struct ha_conf_node **names = calloc(conf->n_nodes, sizeof *names);

	if (names == NULL)
		abort(); /* start-up, see read_gateways() */
	for (size_t i = 0; i < conf->n_nodes; i++) {
		names[i] = &conf->nodes[i];
		if (i != 0 && ip_addr_is_set(&conf->nodes[i].home_address) &&
			by_home_address(&conf->nodes[i - 1], &conf->nodes[i]) == 0)
			refuse_twin(root, &conf->nodes[i - 1], &conf->nodes[i], "home_address");
	}
	qsort(names, conf->n_nodes, sizeof *names, by_name);
	for (size_t i = 1; i < conf->n_nodes; i++)
		if (names[i]->name[0] != '\0' && strcmp(names[i - 1]->name, names[i]->name) == 0)
			refuse_twin(root, names[i - 1], names[i], "name");
	free(names);
}

static void read_nodes(struct ha_conf *conf, struct conf_group *root)
{
	size_t n = conf_get_list(root, "mobile_nodes", true);

	conf->nodes = calloc(n != 0 ? n : 1, sizeof *conf->nodes);
	if (conf->nodes == NULL)
		abort(); /* start-up, see read_gateways() */
	for (conf->n_nodes = 0; conf->n_nodes < n; conf->n_nodes++) {
		struct conf_group group = conf_list_at(root, "mobile_nodes", conf->n_nodes);

		conf->nodes[conf->n_nodes].position = conf->n_nodes;
		read_node(conf, &conf->nodes[conf->n_nodes], &group);
	}
	if (n == 0)
		return;
	qsort(conf->nodes, n, sizeof *conf->nodes, by_home_address);
	refuse_twins(conf, root);
}

bool ha_conf_load(const char *path, struct ha_conf *out)
{
	struct conf_group root;

	*out = (struct ha_conf){.file = conf_open(path), .path = path};
	if (out->file == NULL)
		abort(); /* start-up, see read_gateways() */
	root = conf_root(out->file);
	read_settings(out, &root);
	read_siu(out, &root);
	read_gateways(out, &root);
	read_nodes(out, &root);
	conf_group_end(&root);
	if (conf_report(out->file))
		return true;
	ha_conf_free(out);
	return false;
}

void ha_conf_free(struct ha_conf *conf)
{
	if (conf->gateways != NULL)
		secret_wipe(conf->gateways, conf->n_gateways * sizeof *conf->gateways);
	if (conf->nodes != NULL)
		secret_wipe(conf->nodes, conf->n_nodes * sizeof *conf->nodes);
	free(conf->gateways);
	free(conf->nodes);
	conf_close(conf->file);
	*conf = (struct ha_conf){0};
}

int ha_conf_find_node(const struct ha_conf *conf, const struct ip_addr *home_address)
{
	size_t low = 0, high = conf->n_nodes;

	if (home_address->family != AF_INET)
		return -1;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_addr(home_address, &conf->nodes[middle].home_address);

		if (order == 0)
			return (int)middle;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

bool ha_conf_may_carry(const struct ha_conf_node *node, int gateway)
{
	return (node->gateways >> gateway & 1) != 0;
}

bool ha_conf_is_inside(const struct ha_conf *conf, const struct ip_addr *addr)
{
	for (size_t i = 0; i < conf->n_inside; i++)
		if (ip_prefix_contains(&conf->inside[i], addr))
			return true;
	return false;
}
