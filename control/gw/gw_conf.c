/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each group of the file has one reader that takes all keys it knows and then asks
 * lib/conf.h to refuse the rest. What two keys say about each other is checked where the second of
 * them is read. Errors are collected, so one run of --check shows all. The lists of home agents and
 * nodes are read in gw_conf_nodes.c, that of rules in gw_conf_policy.c.
 */
#include "control/gw/gw_conf.h"

#include "control/gw/keymap.h"
#include "lib/ipv6.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IFNAME_TEXT_MAX 15 /* bytes of an interface's name: IFNAMSIZ - 1 */
#define CPU_MAX 1023
#define VLAN_MAX 4094 /* 4095 is reserved: IEEE 802.1Q section 9.6 */
#define DSCPS 64      /* RFC 2474: six bits */

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const power_loss_policies[] = {"strict", "open", NULL};
static const char *const engines[] = {"auto", "vaes512", "vaes", "ipsec-mb", NULL};

/* Copies a string key; too long is an error. False: nothing useful was read. */
static bool read_text(
	struct conf_group *group, const char *key, const char *def, char *out, size_t room)
{
	const char *text = conf_get_string(group, key, def);

	if (strlen(text) >= room) {
		conf_error(group, key, "is longer than %zu characters", room - 1);
		text = "";
	}
	snprintf(out, room, "%s", text);
	return out[0] != '\0';
}

static void read_path(
	struct conf_group *group, const char *key, const char *def, char *out, size_t room)
{
	if (read_text(group, key, def, out, room) && out[0] != '/')
		conf_error(group, key, "\"%s\" is not an absolute path", out);
}

static void read_prefixes(
	struct conf_group *group, const char *key, struct gw_prefixes *out, bool required)
{
	out->n = conf_get_prefixes(group, key, out->list, GW_PREFIXES_MAX, required);
}

/* "1,2,3": numbers up to CPU_MAX, each once. Sets seen[]; false: an error was recorded. */
static bool check_cpus(struct conf_group *group, const char *key, const char *text, size_t max,
	bool seen[CPU_MAX + 1])
{
	size_t n = 0;

	for (const char *at = text;; at++) {
		char *end = NULL;
		unsigned long cpu = isdigit((unsigned char)*at) ? strtoul(at, &end, 10)
								: CPU_MAX + 1;

		if (cpu > CPU_MAX || (*end != ',' && *end != '\0')) {
			conf_error(group, key, "\"%s\" is not a list of CPU numbers like \"1,2\"",
				text);
			return false;
		}
		if (seen[cpu]) {
			conf_error(group, key, "CPU %lu is used twice", cpu);
			return false;
		}
		seen[cpu] = true;
		n++;
		at = end;
		if (*at == '\0')
			break;
	}
	if (n > max) {
		conf_error(group, key, "takes %zu CPU, \"%s\" has %zu", max, text, n);
		return false;
	}
	return true;
}

static void read_dpdk(struct gw_conf *conf, struct conf_group *root)
{
	struct conf_group group = conf_get_group(root, "dpdk", false);
	bool control[CPU_MAX + 1] = {false}, workers[CPU_MAX + 1] = {false};

	read_text(&group, "control_cpu", "0", conf->control_cpu, sizeof conf->control_cpu);
	read_text(&group, "worker_cpus", "1", conf->worker_cpus, sizeof conf->worker_cpus);
	if (conf->control_cpu[0] != '\0' &&
		check_cpus(&group, "control_cpu", conf->control_cpu, 1, control) &&
		conf->worker_cpus[0] != '\0' &&
		check_cpus(&group, "worker_cpus", conf->worker_cpus, CPU_MAX, workers))
		for (size_t cpu = 0; cpu <= CPU_MAX; cpu++)
			conf->control_cpu_shared |= control[cpu] && workers[cpu];
	conf->no_huge = conf_get_bool(&group, "no_huge", false);
	conf->memory_mb = (uint32_t)conf_get_int(&group, "memory_mb", "MB", 64, 65536, 256, false);
	conf->mbufs = (uint32_t)conf_get_int(
		&group, "mbufs", "buffers", 1024, 1048576, 16384, false);
	if (read_text(&group, "file_prefix", "roamgate", conf->file_prefix,
		    sizeof conf->file_prefix) &&
		!gw_name_ok(conf->file_prefix))
		conf_error(&group, "file_prefix", "letters, digits, '.', '_' and '-' only");
	snprintf(conf->crypto_engine, sizeof conf->crypto_engine, "%s",
		engines[conf_get_choice(&group, "crypto_engine", engines, 0)]);
	conf_group_end(&group);
}

static unsigned addr_bits(const struct ip_addr *addr)
{
	return addr->family == AF_INET ? 32 : 128;
}

/* "192.0.2.1/24": an address that is ours, with the length of the subnet it lies in. */
static bool parse_interface_addr(const char *text, struct ip_addr *addr, uint8_t *prefix_len)
{
	char copy[IP_TEXT_MAX];
	char *slash, *end;
	unsigned long len;

	if (strlen(text) >= sizeof copy)
		return false;
	snprintf(copy, sizeof copy, "%s", text);
	slash = strchr(copy, '/');
	if (slash == NULL || !isdigit((unsigned char)slash[1]))
		return false;
	*slash = '\0';
	len = strtoul(slash + 1, &end, 10);
	if (*end != '\0' || !ip_addr_parse(copy, addr) || len < 1 || len > addr_bits(addr))
		return false;
	*prefix_len = (uint8_t)len;
	return ip_addr_is_unicast(addr);
}

static void read_addresses(struct conf_group *group, struct gw_port_conf *port)
{
	const char *texts[GW_PORT_ADDRS_MAX];
	size_t n = conf_get_strings(group, "addresses", texts, GW_PORT_ADDRS_MAX, true);

	for (size_t i = 0; i < n; i++) {
		if (!parse_interface_addr(texts[i], &port->addrs[port->n_addrs],
			    &port->prefix_lens[port->n_addrs])) {
			conf_error(group, "addresses",
				"\"%s\" is not a unicast address with prefix length, like "
				"\"192.0.2.1/24\" or \"2001:db8::1/64\"",
				texts[i]);
			continue;
		}
		for (uint32_t k = 0; k < port->n_addrs; k++) {
			if (ip_addr_equal(&port->addrs[k], &port->addrs[port->n_addrs]))
				conf_error(group, "addresses", "\"%s\" is there twice", texts[i]);
		}
		port->n_addrs++;
	}
}

static struct ip_addr first_addr(const struct gw_port_conf *port, uint8_t family)
{
	for (uint32_t i = 0; i < port->n_addrs; i++)
		if (port->addrs[i].family == family)
			return port->addrs[i];
	return (struct ip_addr){0};
}

static bool has_family(const struct gw_port_conf *port, uint8_t family)
{
	const struct ip_addr addr = first_addr(port, family);

	return ip_addr_is_set(&addr);
}

static void read_port(
	struct gw_conf *conf, struct conf_group *root, enum dp_port which, const char *name)
{
	struct gw_port_conf *port = &conf->ports[which];
	struct conf_group group = conf_get_group(root, name, true);

	if (group.setting == NULL)
		return; /* the missing group is one error, its missing keys are not more */
	read_text(&group, "device", NULL, port->device, sizeof port->device);
	if (read_text(&group, "mirror", NULL, port->mirror, IFNAME_TEXT_MAX + 1) &&
		!gw_name_ok(port->mirror))
		conf_error(&group, "mirror", "\"%s\" cannot be an interface's name", port->mirror);
	read_addresses(&group, port);
	port->mtu = (uint16_t)conf_get_int(&group, "mtu", "bytes", 576, 9000, 1500, false);
	if (port->mtu < IPV6_MTU_MIN && has_family(port, AF_INET6))
		conf_error(&group, "mtu", "IPv6 addresses need at least %d", IPV6_MTU_MIN);
	port->vlan = (uint16_t)conf_get_int(&group, "vlan", "", 0, VLAN_MAX, 0, false);
	if (which == DP_INSIDE) {
		const struct gw_port_conf *other = &conf->ports[DP_OUTSIDE];

		if (port->device[0] != '\0' && strcmp(port->device, other->device) == 0)
			conf_error(&group, "device", "is the same as outside.device");
		if (port->mirror[0] != '\0' && strcmp(port->mirror, other->mirror) == 0)
			conf_error(&group, "mirror", "is the same as outside.mirror");
	}
	conf_group_end(&group);
}

static bool subnet_has(const struct gw_port_conf *port, const struct ip_addr *addr)
{
	for (uint32_t i = 0; i < port->n_addrs; i++) {
		const struct ip_prefix subnet = {
			.addr = port->addrs[i], .len = port->prefix_lens[i]};

		if (ip_prefix_contains(&subnet, addr))
			return true;
	}
	return false;
}

static void check_ports(struct gw_conf *conf, struct conf_group *root)
{
	const struct gw_port_conf *out = &conf->ports[DP_OUTSIDE], *in = &conf->ports[DP_INSIDE];

	for (uint32_t i = 0; i < in->n_addrs; i++) {
		char text[IP_TEXT_MAX];

		for (uint32_t k = 0; k < out->n_addrs; k++) {
			if (!subnet_has(out, &in->addrs[i]) && !subnet_has(in, &out->addrs[k]))
				continue;
			conf_error(root, "inside", "the subnet of %s overlaps with outside's",
				ip_addr_format(&in->addrs[i], text));
			return;
		}
	}
}

static void read_routes(struct gw_conf *conf, struct conf_group *root)
{
	size_t n = conf_get_list(root, "routes", false);

	if (n > GW_ROUTES_MAX) {
		conf_error(root, "routes", "has %zu entries, at most %d are possible", n,
			GW_ROUTES_MAX);
		n = GW_ROUTES_MAX;
	}
	for (size_t i = 0; i < n; i++) {
		struct conf_group group = conf_list_at(root, "routes", i);
		struct gw_route_conf *route = &conf->routes[conf->n_routes];
		const char *to = conf_get_string(&group, "to", NULL);

		if (to[0] != '\0' && !ip_prefix_parse(to, &route->to))
			conf_error(&group, "to", "\"%s\" is not a prefix like \"10.1.0.0/16\"", to);
		route->via = conf_get_addr(&group, "via", true);
		if (ip_addr_is_set(&route->to.addr) && ip_addr_is_set(&route->via) &&
			route->to.addr.family != route->via.family)
			conf_error(&group, "via", "is not of the family of \"to\"");
		if (subnet_has(&conf->ports[DP_OUTSIDE], &route->via))
			route->port = DP_OUTSIDE;
		else if (subnet_has(&conf->ports[DP_INSIDE], &route->via))
			route->port = DP_INSIDE;
		else if (ip_addr_is_set(&route->via))
			conf_error(&group, "via", "lies in no subnet of outside or inside");
		conf_group_end(&group);
		conf->n_routes++;
	}
}

static void read_siu(struct gw_conf *conf, struct conf_group *root)
{
	struct conf_group group = conf_get_group(root, "siu", true);
	bool ours = false;

	if (group.setting == NULL)
		return;
	conf->siu_listen = conf_get_endpoint(&group, "listen", SIU_PORT_DEFAULT, true);
	conf->siu_require_esp = conf_get_bool(&group, "require_esp", false);
	for (uint32_t i = 0; i < conf->ports[DP_INSIDE].n_addrs; i++)
		ours |= ip_addr_equal(&conf->siu_listen.addr, &conf->ports[DP_INSIDE].addrs[i]);
	if (ip_addr_is_set(&conf->siu_listen.addr) &&
		(!ours || conf->siu_listen.addr.family != AF_INET))
		conf_error(&group, "listen", "must be an IPv4 address of inside.addresses");
	if (ip_addr_is_set(&conf->siu_listen.addr) && conf->siu_listen.port == 0)
		conf_error(&group, "listen", "port 0 cannot be listened on");
	conf_group_end(&group);
}

/* "46:8" or "0-7:0": DSCPs inside, and what stands outside for them. */
static bool parse_dscp(const char *text, unsigned *first, unsigned *last, unsigned *to)
{
	int end = -1;

	if (sscanf(text, "%2u-%2u:%2u%n", first, last, to, &end) != 3) {
		end = -1;
		if (sscanf(text, "%2u:%2u%n", first, to, &end) != 2)
			return false;
		*last = *first;
	}
	return end >= 0 && text[end] == '\0' && isdigit((unsigned char)text[0]) &&
	       *first <= *last && *last < DSCPS && *to < DSCPS;
}

static void read_outer_header(struct gw_conf *conf, struct conf_group *root)
{
	static const char *const df_choices[] = {
		[RULES_DF_COPY] = "copy", [RULES_DF_SET] = "set", [RULES_DF_CLEAR] = "clear", NULL};
	struct conf_group group = conf_get_group(root, "outer_header", false);
	const char *texts[DSCPS];
	size_t n = conf_get_strings(&group, "dscp_map", texts, DSCPS, false);

	conf->rules.df = (uint8_t)conf_get_choice(&group, "df", df_choices, RULES_DF_COPY);
	conf->rules.map_dscp = n != 0;
	for (unsigned dscp = 0; dscp < DSCPS; dscp++)
		conf->rules.dscp[dscp] = (uint8_t)dscp;
	for (size_t i = 0; i < n; i++) {
		unsigned first, last, to;

		if (!parse_dscp(texts[i], &first, &last, &to)) {
			conf_error(&group, "dscp_map",
				"\"%s\" is not \"INSIDE:OUTSIDE\" or \"FIRST-LAST:OUTSIDE\" with "
				"DSCPs of 0 to 63",
				texts[i]);
			continue;
		}
		for (unsigned dscp = first; dscp <= last; dscp++)
			conf->rules.dscp[dscp] = (uint8_t)to;
	}
	conf_group_end(&group);
}

static void read_limits(struct gw_conf *conf, struct conf_group *root)
{
	conf->provisional_credit = (uint32_t)conf_get_int(
		root, "provisional_credit", "bytes", 1500, 16777216, 65536, false);
	conf->unverified_credit = (uint32_t)conf_get_int(
		root, "unverified_credit", "bytes", 1500, 16777216, 262144, false);
	conf->grace_ms = (uint32_t)conf_get_int(root, "grace_ms", "ms", 0, 10000, 2000, false);
	conf->move_rate = (uint32_t)conf_get_int(root, "move_rate", "moves/s", 1, 1000, 5, false);
	conf->move_burst = (uint32_t)conf_get_int(root, "move_burst", "moves", 1, 1000, 10, false);
	conf->registration_rate = (uint32_t)conf_get_int(
		root, "registration_rate", "1/s", 1, 1000, 10, false);
	conf->max_nodes = (uint32_t)conf_get_int(
		root, "max_nodes", "nodes", 1, 4000000, 1000, false);
	conf->max_routes = (uint32_t)conf_get_int(
		root, "max_routes", "routes", 1, 1000000, 4096, false);
	conf->max_neighbours = (uint32_t)conf_get_int(
		root, "max_neighbours", "neighbours", 1, 1000000, 4096, false);
	read_prefixes(root, "forbidden_coas", &conf->forbidden_coas, false);
	read_prefixes(root, "inside_prefixes", &conf->inside, true);
}

static void read_all(struct gw_conf *conf, struct conf_group *root)
{
	read_path(root, "state_dir", NULL, conf->state_dir, sizeof conf->state_dir);
	read_path(root, "control_socket", "/run/roamgate.sock", conf->control_socket,
		sizeof conf->control_socket);
	conf->log_level = (enum log_level)conf_get_choice(root, "log_level", log_levels, LOG_INFO);
	conf->after_power_loss = (enum after_power_loss)conf_get_choice(
		root, "after_power_loss", power_loss_policies, AFTER_POWER_LOSS_STRICT);
	conf->keep_keys = conf_get_bool(root, "keep_keys", true);
	conf->rules.clamp_tcp_mss = conf_get_bool(root, "tcp_mss_clamp", false);
	read_outer_header(conf, root);
	read_limits(conf, root);
	read_dpdk(conf, root);
	read_port(conf, root, DP_OUTSIDE, "outside");
	read_port(conf, root, DP_INSIDE, "inside");
	check_ports(conf, root);
	read_routes(conf, root);
	read_siu(conf, root);
	gw_conf_read_home_agents(conf, root);
	gw_conf_read_nodes(conf, root);
	gw_conf_read_policy(conf, root);
	conf_group_end(root);
}

struct gw_conf *gw_conf_load(const char *path)
{
	struct gw_conf *conf = calloc(1, sizeof *conf);
	struct conf *file = conf == NULL ? NULL : conf_open(path);
	struct conf_group root;
	bool good;

	if (file == NULL) {
		fprintf(stderr, "%s: out of memory\n", path);
		free(conf);
		return NULL;
	}
	snprintf(conf->path, sizeof conf->path, "%s", path);
	root = conf_root(file);
	if (root.setting != NULL)
		read_all(conf, &root);
	good = conf_report(file);
	conf_close(file);
	if (!good) {
		gw_conf_free(conf);
		return NULL;
	}
	return conf;
}

void gw_conf_wipe(struct gw_conf *conf)
{
	for (uint32_t i = 0; i < conf->n_nodes; i++) {
		secret_wipe(conf->nodes[i].in.key, sizeof conf->nodes[i].in.key);
		secret_wipe(conf->nodes[i].out.key, sizeof conf->nodes[i].out.key);
	}
	for (uint32_t i = 0; i < conf->n_home_agents; i++) {
		for (size_t k = 0; k < GW_SIU_SECRETS; k++)
			secret_wipe(&conf->home_agents[i].secrets[k].secret,
				sizeof conf->home_agents[i].secrets[k].secret);
	}
}

void gw_conf_free(struct gw_conf *conf)
{
	if (conf == NULL)
		return;
	gw_conf_wipe(conf);
	free(conf->nodes);
	free(conf->policy);
	free(conf);
}

bool gw_prefixes_contain(const struct gw_prefixes *prefixes, const struct ip_addr *addr)
{
	for (size_t i = 0; i < prefixes->n; i++) {
		if (ip_prefix_contains(&prefixes->list[i], addr))
			return true;
	}
	return false;
}

/* Are all bits of addr behind the first len this one? */
static bool rest_is(const struct ip_addr *addr, unsigned len, unsigned bit)
{
	for (unsigned i = len; i < addr_bits(addr); i++)
		if ((addr->bytes[i / 8] >> (7 - i % 8) & 1u) != bit)
			return false;
	return true;
}

/* In one of our own subnets, and nobody's own: the broadcast address of IPv4, or all zeros, which
 * is broadcast too, or the routers' anycast address of IPv6 (RFC 4291 section 2.6.1). */
static bool is_subnet_broadcast(const struct gw_port_conf *port, const struct ip_addr *addr)
{
	for (uint32_t i = 0; i < port->n_addrs; i++) {
		const unsigned len = port->prefix_lens[i];
		const struct ip_prefix subnet = {.addr = port->addrs[i], .len = (uint8_t)len};

		if (len + 1 < addr_bits(addr) && ip_prefix_contains(&subnet, addr) &&
			(rest_is(addr, len, 0) ||
				(addr->family == AF_INET && rest_is(addr, len, 1))))
			return true;
	}
	return false;
}

struct ip_addr gw_conf_port_addr(const struct gw_conf *conf, enum dp_port port, uint8_t family)
{
	return first_addr(&conf->ports[port], family);
}

bool gw_conf_is_own(const struct gw_conf *conf, const struct ip_addr *addr)
{
	for (int which = 0; which < DP_PORTS; which++) {
		const struct gw_port_conf *port = &conf->ports[which];

		for (uint32_t i = 0; i < port->n_addrs; i++) {
			if (ip_addr_equal(addr, &port->addrs[i]))
				return true;
		}
	}
	return false;
}

enum siu_result gw_conf_coa_check(const struct gw_conf *conf, const struct ip_addr *coa)
{
	if (!ip_addr_is_set(coa))
		return SIU_RESULT_BAD_COA;
	if (!has_family(&conf->ports[DP_OUTSIDE], coa->family))
		return SIU_RESULT_FAMILY_UNSUPPORTED; /* a tunnel needs an end of ours */
	if (!ip_addr_is_unicast(coa) || gw_prefixes_contain(&conf->inside, coa) ||
		gw_prefixes_contain(&conf->forbidden_coas, coa) || gw_conf_is_own(conf, coa))
		return SIU_RESULT_BAD_COA;
	for (int which = 0; which < DP_PORTS; which++)
		if (is_subnet_broadcast(&conf->ports[which], coa))
			return SIU_RESULT_BAD_COA;
	return subnet_has(&conf->ports[DP_INSIDE], coa) ? SIU_RESULT_BAD_COA : SIU_RESULT_OK;
}

bool gw_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= NODE_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && strchr("._-", name[i]) == NULL)
			return false;
	}
	return true;
}
