/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: home agents first, since nodes name them. What must be unique over the whole list
 * of nodes (name, home address, inbound SPI, key) goes through one keymap each, so that a file with
 * a million nodes is still checked in linear time.
 */
#include "control/gw/gw_conf.h"
#include "control/gw/key_verbs.h"
#include "control/gw/keymap.h"
#include "dataplane/esp/sa_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_name(struct conf_group *group, char out[NODE_NAME_MAX])
{
	const char *name = conf_get_string(group, "name", NULL);

	if (name[0] == '\0')
		return;
	if (gw_name_ok(name))
		snprintf(out, NODE_NAME_MAX, "%s", name);
	else
		conf_error(group, "name",
			"\"%.64s\" must have 1 to %d letters, digits, '.', '_' or '-'", name,
			NODE_NAME_MAX - 1);
}

static void read_secrets(struct conf_group *group, struct gw_home_agent_conf *ha)
{
	ha->secrets[0].id = (uint16_t)conf_get_int(group, "key_id", "", 0, 65535, 0, true);
	ha->secrets[0].secret = conf_get_secret(group, "secret", SIU_KEY_MIN, SIU_KEY_MAX);
	if (!conf_has(group, "next_key_id") && !conf_has(group, "next_secret") &&
		!conf_has(group, "next_secret_file"))
		return;
	ha->secrets[1].id = (uint16_t)conf_get_int(group, "next_key_id", "", 0, 65535, 0, true);
	ha->secrets[1].secret = conf_get_secret(group, "next_secret", SIU_KEY_MIN, SIU_KEY_MAX);
	if (conf_has(group, "next_key_id") && ha->secrets[1].id == ha->secrets[0].id)
		conf_error(group, "next_key_id", "is the same as key_id");
}

static void check_tunnel_source(const struct gw_conf *conf, struct conf_group *group,
	const char *key, uint8_t family, const struct ip_addr *source)
{
	if (!ip_addr_is_set(source))
		return;
	if (source->family != family || !ip_addr_is_unicast(source))
		conf_error(group, key, "must be an %s unicast address",
			family == AF_INET ? "IPv4" : "IPv6");
	else if (!gw_prefixes_contain(&conf->inside, source))
		conf_error(group, key, "lies outside of inside_prefixes");
	for (uint32_t i = 0; i < conf->n_home_agents; i++) {
		const struct gw_home_agent_conf *other = &conf->home_agents[i];

		if (ip_addr_equal(source, &other->tunnel_source) ||
			ip_addr_equal(source, &other->tunnel_source_v6))
			conf_error(group, key, "home agent \"%s\" has it too", other->name);
	}
}

static void read_home_agent(
	struct gw_conf *conf, struct conf_group *group, struct gw_home_agent_conf *ha)
{
	read_name(group, ha->name);
	ha->address = conf_get_endpoint(group, "address", SIU_PORT_DEFAULT, true);
	ha->tunnel_source = conf_get_addr(group, "tunnel_source", true);
	ha->tunnel_source_v6 = conf_get_addr(group, "tunnel_source_v6", false);
	ha->prefixes.n = conf_get_prefixes(
		group, "prefixes", ha->prefixes.list, GW_PREFIXES_MAX, true);
	ha->directly_attached = conf_get_bool(group, "directly_attached", false);
	read_secrets(group, ha);
	for (uint32_t i = 0; i < conf->n_home_agents; i++) {
		const struct gw_home_agent_conf *other = &conf->home_agents[i];

		if (ha->name[0] != '\0' && strcmp(ha->name, other->name) == 0)
			conf_error(group, "name", "home agent \"%s\" is there twice", ha->name);
		if (ip_addr_is_set(&ha->address.addr) &&
			ip_addr_equal(&ha->address.addr, &other->address.addr))
			conf_error(group, "address", "home agent \"%s\" has it too", other->name);
	}
	if (ip_addr_is_set(&ha->address.addr) &&
		(ha->address.addr.family != AF_INET || !ip_addr_is_unicast(&ha->address.addr) ||
			ha->address.port == 0))
		conf_error(group, "address", "must be an IPv4 unicast address and a port");
	check_tunnel_source(conf, group, "tunnel_source", AF_INET, &ha->tunnel_source);
	check_tunnel_source(conf, group, "tunnel_source_v6", AF_INET6, &ha->tunnel_source_v6);
}

void gw_conf_read_home_agents(struct gw_conf *conf, struct conf_group *root)
{
	size_t n = conf_get_list(root, "home_agents", true);

	if (n > GW_HOME_AGENTS_MAX) {
		conf_error(root, "home_agents", "has %zu entries, at most %d are possible", n,
			GW_HOME_AGENTS_MAX);
		n = GW_HOME_AGENTS_MAX;
	}
	for (size_t i = 0; i < n; i++) {
		struct conf_group group = conf_list_at(root, "home_agents", i);

		if (group.setting == NULL)
			continue;
		read_home_agent(conf, &group, &conf->home_agents[conf->n_home_agents]);
		conf_group_end(&group);
		conf->n_home_agents++;
	}
}

struct uniques { /* over all nodes */
	struct keymap *names, *home_addresses, *spis, *keys;
};

/* Records that node i has key; an error if another node has it. Wiped secrets never come here:
 * keys go in as fingerprints. */
static void claim(struct keymap *map, const void *bytes, size_t len, uint32_t i,
	struct conf_group *group, const char *key, const struct gw_conf *conf)
{
	uint32_t other;

	if (keymap_get(map, bytes, len, &other))
		conf_error(group, key, "node \"%s\" has the same", conf->nodes[other].name);
	else if (keymap_add(map, bytes, len, i) != 0)
		conf_error(group, key, "out of memory");
}

static void read_source(struct conf_group *group, struct sa_source *source)
{
	const char *texts[SA_SOURCE_MAX], *why = NULL;
	const bool list = conf_is_array(group, "source");
	const size_t n = list ? conf_get_strings(group, "source", texts, SA_SOURCE_MAX, true) : 1;

	if (!list)
		texts[0] = conf_get_string(group, "source", "any");
	for (size_t i = 0; i < n && why == NULL; i++) {
		why = list ? sa_source_add(source, texts[i]) : sa_source_parse(texts[i], source);
		if (why != NULL)
			conf_error(group, "source", "\"%.64s\" %s", texts[i], why);
	}
}

/* SAs may share an SPI if their sources tell them apart. */
static void claim_spi(struct keymap *map, const struct sa_params *sa, uint32_t i,
	struct conf_group *group, const struct gw_conf *conf)
{
	struct {
		uint32_t spi;
		struct ip_prefix source;
	} key;

	static_assert(sizeof key <= KEYMAP_KEY_MAX, "fits");
	memset(&key, 0, sizeof key); /* its padding too */
	key.spi = sa->spi;
	if (sa->source.n == 0)
		claim(map, &key, sizeof key, i, group, "spi", conf);
	for (unsigned k = 0; k < sa->source.n; k++) {
		key.source = sa->source.list[k];
		claim(map, &key, sizeof key, i, group, "spi", conf);
	}
}

static void claim_keys(struct keymap *map, const struct sa_params *sa, uint32_t i,
	struct conf_group *group, const struct gw_conf *conf)
{
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	const unsigned n = sa_key_ids(sa, ids);
	uint32_t other;

	for (unsigned k = 0; k < n; k++) {
		if (!keymap_get(map, ids[k], COUNTERS_ID_BYTES, &other))
			claim(map, ids[k], COUNTERS_ID_BYTES, i, group, sa_conf_key_name(group),
				conf);
		else
			conf_error(group, sa_conf_key_name(group), "node \"%s\" has the same %s",
				conf->nodes[other].name,
				n == 1   ? "one"
				: k == 0 ? "for its cipher"
					 : "for HMAC");
	}
}

static void read_sa(struct conf_group *group, struct sa_params *sa, bool inbound, uint32_t i,
	const struct uniques *uniques, const struct gw_conf *conf)
{
	if (sa_conf_read(group, inbound, sa))
		claim_keys(uniques->keys, sa, i, group, conf);
	if (!inbound)
		return;
	read_source(group, &sa->source);
	if (sa->spi >= SA_SPI_MIN)
		claim_spi(uniques->spis, sa, i, group, conf);
}

/* Index of the named home agent, or -1 and an error. */
static int find_home_agent(const struct gw_conf *conf, struct conf_group *group)
{
	const char *name = conf_get_string(group, "home_agent", NULL);

	if (name[0] == '\0')
		return -1;
	for (uint32_t i = 0; i < conf->n_home_agents; i++) {
		if (strcmp(conf->home_agents[i].name, name) == 0)
			return (int)i;
	}
	conf_error(group, "home_agent", "\"%s\" is not in home_agents", name);
	return -1;
}

static void read_home(struct gw_conf *conf, struct conf_group *group, struct gw_node_conf *node,
	uint32_t i, const struct uniques *uniques)
{
	int ha = find_home_agent(conf, group);

	node->home_agent = ha < 0 ? 0 : (uint32_t)ha;
	node->home_address = conf_get_addr(group, "home_address", true);
	if (!ip_addr_is_set(&node->home_address))
		return;
	if (!ip_addr_is_unicast(&node->home_address))
		conf_error(group, "home_address", "must be a unicast address");
	else if (!gw_prefixes_contain(&conf->inside, &node->home_address))
		conf_error(group, "home_address", "lies outside of inside_prefixes");
	else if (ha >= 0 &&
		 !gw_prefixes_contain(&conf->home_agents[ha].prefixes, &node->home_address))
		conf_error(group, "home_address",
			"lies outside of the prefixes of home agent \"%s\"",
			conf->home_agents[ha].name);
	claim(uniques->home_addresses, &node->home_address, sizeof node->home_address, i, group,
		"home_address", conf);
}

static void read_node(
	struct gw_conf *conf, struct conf_group *group, uint32_t i, const struct uniques *uniques)
{
	struct gw_node_conf *node = &conf->nodes[i];
	const bool has_in = conf_has(group, "inbound"), has_out = conf_has(group, "outbound");

	read_name(group, node->name);
	if (node->name[0] != '\0')
		claim(uniques->names, node->name, strlen(node->name), i, group, "name", conf);
	read_home(conf, group, node, i, uniques);
	node->care_of = conf_get_addr(group, "care_of", false);
	if (ip_addr_is_set(&node->care_of) &&
		gw_conf_coa_check(conf, &node->care_of) != SIU_RESULT_OK)
		conf_error(group, "care_of",
			"is a multicast, loopback, inside or forbidden address, or our own, or "
			"outside.addresses has none of its family");
	if (conf_get_bool(group, "strict_inner_source", true))
		node->flags |= NODE_STRICT_INNER_SOURCE;
	if (conf_get_bool(group, "strict_outer_source", true))
		node->flags |= NODE_STRICT_OUTER_SOURCE;
	if (conf_get_bool(group, "allow_nat", false))
		node->flags |= NODE_ALLOW_NAT;
	if (conf_get_bool(group, "bicast", false))
		node->flags |= NODE_BICAST;
	if (conf_get_bool(group, "provisional", false))
		node->flags |= NODE_PROVISIONAL;
	if (conf_get_bool(group, "return_routability", false))
		node->flags |= NODE_RETURN_ROUTABILITY;
	if ((node->flags & NODE_RETURN_ROUTABILITY) != 0 && node->home_address.family == AF_INET6)
		conf_error(group, "return_routability", "needs an IPv4 home address");
	node->tfc.pad = (uint16_t)conf_get_int(
		group, "tfc_pad", "bytes", 0, NODE_TFC_PAD_MAX, 0, false);
	node->tfc.dummies = (uint16_t)conf_get_int(
		group, "tfc_dummies", "packets/s", 0, NODE_TFC_DUMMIES_MAX, 0, false);
	node->has_sas = has_in || has_out;
	if (node->has_sas) {
		struct conf_group in = conf_get_group(group, "inbound", true);
		struct conf_group out = conf_get_group(group, "outbound", true);

		if (in.setting != NULL) {
			read_sa(&in, &node->in, true, i, uniques, conf);
			conf_group_end(&in);
		}
		if (out.setting != NULL) {
			read_sa(&out, &node->out, false, i, uniques, conf);
			conf_group_end(&out);
		}
	}
	conf_group_end(group);
}

void gw_conf_read_nodes(struct gw_conf *conf, struct conf_group *root)
{
	size_t n = conf_get_list(root, "mobile_nodes", false);
	struct uniques uniques = {keymap_new(n), keymap_new(n), keymap_new(n), keymap_new(2 * n)};

	if (n > conf->max_nodes) {
		conf_error(root, "mobile_nodes", "has %zu entries, but max_nodes is %u", n,
			conf->max_nodes);
		n = 0;
	}
	conf->nodes = calloc(n == 0 ? 1 : n, sizeof *conf->nodes);
	if (conf->nodes == NULL || uniques.names == NULL || uniques.home_addresses == NULL ||
		uniques.spis == NULL || uniques.keys == NULL) {
		conf_error(root, NULL, "out of memory");
		n = 0;
	}
	for (size_t i = 0; i < n; i++) {
		struct conf_group group = conf_list_at(root, "mobile_nodes", i);

		conf->n_nodes++;
		if (group.setting != NULL)
			read_node(conf, &group, (uint32_t)i, &uniques);
	}
	keymap_free(uniques.names);
	keymap_free(uniques.home_addresses);
	keymap_free(uniques.spis);
	keymap_free(uniques.keys);
}
