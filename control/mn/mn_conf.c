/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one function per group of the file, in the file's order. Each reads all keys it
 * knows, then checks what a single key cannot show; errors are collected by lib/conf.h, so one run
 * shows all of them.
 */
#include "control/mn/mn_conf.h"

#include "dataplane/esp/sa_conf.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define NAT_KEEPALIVE_S 20 /* RFC 3948 section 4 */
#define SPI_MIN 256        /* 0..255 are reserved: RFC 5944 section 3.5.1 */
#define MIP_KEY_MIN 16     /* bytes: RFC 5944 section 3.5.1 asks for 128 bits */
#define MIP_KEY_MAX 64

static void get_text(
	struct conf_group *group, const char *key, const char *def, char *out, size_t room)
{
	const char *text = conf_get_string(group, key, def);

	if ((size_t)snprintf(out, room, "%s", text) >= room)
		conf_error(group, key, "is longer than %zu characters", room - 1);
}

static void check_path(struct conf_group *group, const char *key, const char *path)
{
	if (conf_has(group, key) && path[0] != '/')
		conf_error(group, key, "must be an absolute path");
}

/* What Linux takes as an interface name (dev_valid_name). */
static bool is_interface_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IF_NAMESIZE && strcspn(name, "/: \t\n") == len &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void get_interfaces(struct mn_conf *conf, struct conf_group *root)
{
	const char *names[MN_INTERFACES_MAX];

	conf->n_interfaces = conf_get_strings(root, "interfaces", names, MN_INTERFACES_MAX, false);
	for (size_t i = 0; i < conf->n_interfaces; i++) {
		if (!is_interface_name(names[i]))
			conf_error(
				root, "interfaces", "\"%.64s\" is not an interface name", names[i]);
		else if (strcmp(names[i], conf->tunnel_interface) == 0)
			conf_error(root, "interfaces", "\"%s\" is the tunnel_interface", names[i]);
		snprintf(conf->interfaces[i], IF_NAMESIZE, "%s", names[i]);
	}
}

static struct ip_addr get_host(struct conf_group *group, const char *key)
{
	struct ip_addr addr = conf_get_addr(group, key, true);

	if (ip_addr_is_set(&addr) && (addr.family != AF_INET || !ip_addr_is_unicast(&addr)))
		conf_error(group, key, "must be an IPv4 unicast address");
	return addr;
}

static struct ip_prefix get_prefix(struct conf_group *group, const char *key)
{
	const char *text = conf_get_string(group, key, NULL);
	struct ip_prefix prefix = {0};

	if (text[0] != '\0' && (!ip_prefix_parse(text, &prefix) || prefix.addr.family != AF_INET))
		conf_error(group, key, "\"%.64s\" is not an IPv4 prefix such as \"10.1.0.0/24\"",
			text);
	return prefix;
}

static void get_addresses(struct mn_conf *conf, struct conf_group *root)
{

	conf->home_address = get_host(root, "home_address");
	conf->home_agent = get_host(root, "home_agent");
	conf->gateway = get_host(root, "gateway");
	conf->home_prefix = get_prefix(root, "home_prefix");
	if (!ip_addr_is_set(&conf->home_address))
		return;
	if (ip_addr_is_set(&conf->home_prefix.addr) &&
		!ip_prefix_contains(&conf->home_prefix, &conf->home_address))
		conf_error(root, "home_prefix", "does not contain home_address");
	if (ip_addr_equal(&conf->home_address, &conf->home_agent))
		conf_error(root, "home_agent", "must not be the home_address");
	if (ip_addr_equal(&conf->gateway, &conf->home_address) ||
		ip_addr_equal(&conf->gateway, &conf->home_agent))
		conf_error(root, "gateway", "must differ from home_address and home_agent");
}

static void get_tunnel(struct mn_conf *conf, struct conf_group *root)
{
	static const char *const nat_modes[] = {"auto", "always", "never", NULL};

	get_text(root, "tunnel_interface", "rg-mn", conf->tunnel_interface,
		sizeof conf->tunnel_interface);
	if (!is_interface_name(conf->tunnel_interface))
		conf_error(root, "tunnel_interface", "is not an interface name");
	conf->tunnel_mtu = (uint16_t)conf_get_int(
		root, "tunnel_mtu", "bytes", 576, MN_TUNNEL_MTU_MAX, 1418, false);
	conf->n_tunnel_routes = conf_get_prefixes(
		root, "tunnel_routes", conf->tunnel_routes, MN_TUNNEL_ROUTES_MAX, true);
	for (size_t i = 0; i < conf->n_tunnel_routes; i++)
		if (conf->tunnel_routes[i].addr.family != AF_INET)
			conf_error(root, "tunnel_routes", "must be IPv4 prefixes");
	get_interfaces(conf, root);
	conf->mark = (uint32_t)conf_get_int(root, "mark", "", 1, 0x7fffffff, 0x5247, false);
	conf->reverse_tunnel = conf_get_bool(root, "reverse_tunnel", false);
	conf->nat_traversal = (enum nat_traversal)conf_get_choice(
		root, "nat_traversal", nat_modes, NAT_AUTO);
	conf->nat_keepalive_s = (uint32_t)conf_get_int(
		root, "nat_keepalive", "s", 1, 3600, NAT_KEEPALIVE_S, false);
}

static void get_registration(struct mn_conf *conf, struct conf_group *root)
{
	conf->lifetime_s = (uint16_t)conf_get_int(root, "lifetime", "s", 10, 65534, 600, false);
	conf->max_attempts = (unsigned)conf_get_int(root, "max_attempts", "", 1, 20, 5, false);
	get_text(root, "fallback_command", "", conf->fallback_command,
		sizeof conf->fallback_command);
	check_path(root, "fallback_command", conf->fallback_command);
	get_text(root, "rekey_command", "", conf->rekey_command, sizeof conf->rekey_command);
	check_path(root, "rekey_command", conf->rekey_command);
	conf->grace_ms = (uint32_t)conf_get_int(root, "grace_ms", "ms", 0, 2000, 2000, false);
}

static void get_authentication(struct mn_conf *conf, struct conf_group *root)
{
	static const char *const names[] = {"hmac-md5", "hmac-sha256", NULL};
	static const enum hmac_alg algs[] = {HMAC_MD5, HMAC_SHA256};
	struct conf_group group = conf_get_group(root, "authentication", true);
	struct conf_secret key;
	int alg;

	if (group.setting == NULL)
		return;
	conf->authentication.spi = (uint32_t)conf_get_int(
		&group, "spi", "", SPI_MIN, UINT32_MAX, 0, true);
	alg = conf_get_choice(&group, "algorithm", names, -1);
	conf->authentication.alg = algs[alg < 0 ? 0 : alg];
	key = conf_get_secret(&group, "key", MIP_KEY_MIN, MIP_KEY_MAX);
	memcpy(conf->authentication.key, key.bytes, key.len);
	conf->authentication.key_len = key.len;
	secret_wipe(&key, sizeof key);
	conf_group_end(&group);
}

/* False: it has no usable key. */
static bool get_sa(
	struct conf_group *root, const char *name, bool inbound, struct sa_params *params)
{
	struct conf_group group = conf_get_group(root, name, true);
	bool usable;

	if (group.setting == NULL)
		return false;
	usable = sa_conf_read(&group, inbound, params);
	conf_group_end(&group);
	return usable;
}

/* A key may stand in one SA and one direction only: sa.h. */
static void check_keys(struct mn_conf *conf, struct conf_group *root)
{
	uint8_t in[SA_KEYS_MAX][COUNTERS_ID_BYTES], out[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	const unsigned n_in = sa_key_ids(&conf->inbound, in);
	const unsigned n_out = sa_key_ids(&conf->outbound, out);
	bool same = false;

	for (unsigned i = 0; i < n_in * n_out; i++)
		same |= memcmp(in[i / n_out], out[i % n_out], COUNTERS_ID_BYTES) == 0;
	if (same)
		conf_error(root, "outbound",
			"has a key of inbound, for its cipher or for HMAC: each direction needs "
			"its own");
}

static void load_root(struct mn_conf *conf, struct conf_group *root)
{
	static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
	bool both;

	get_text(root, "state_dir", NULL, conf->state_dir, sizeof conf->state_dir);
	check_path(root, "state_dir", conf->state_dir);
	get_text(root, "control_socket", "/run/roamgate-mn.sock", conf->control_socket,
		sizeof((struct sockaddr_un){0}.sun_path));
	check_path(root, "control_socket", conf->control_socket);
	conf->log_level = (enum log_level)conf_get_choice(root, "log_level", levels, LOG_INFO);
	get_addresses(conf, root);
	get_tunnel(conf, root);
	get_registration(conf, root);
	get_authentication(conf, root);
	both = get_sa(root, "inbound", true, &conf->inbound);
	both = get_sa(root, "outbound", false, &conf->outbound) && both;
	if (both)
		check_keys(conf, root);
	conf->inbound.source.list[0] = (struct ip_prefix){
		conf->gateway, conf->gateway.family == AF_INET ? 32 : 128};
	conf->inbound.source.n = 1;
	conf_group_end(root);
}

bool mn_conf_load(const char *path, struct mn_conf *conf)
{
	struct conf *file = conf_open(path);
	struct conf_group root;
	bool good;

	*conf = (struct mn_conf){0};
	if (file == NULL) {
		fprintf(stderr, "%s: out of memory\n", path);
		return false;
	}
	root = conf_root(file);
	if (root.setting != NULL)
		load_root(conf, &root);
	good = conf_report(file);
	conf_close(file);
	if (!good)
		mn_conf_wipe(conf);
	return good;
}

bool mn_conf_has_commands(const struct mn_conf *conf)
{
	return conf->fallback_command[0] != '\0' || conf->rekey_command[0] != '\0';
}

void mn_conf_wipe_sa_keys(struct mn_conf *conf)
{
	secret_wipe(conf->inbound.key, sizeof conf->inbound.key);
	secret_wipe(conf->outbound.key, sizeof conf->outbound.key);
}

void mn_conf_wipe(struct mn_conf *conf)
{
	secret_wipe(conf, sizeof *conf);
}
