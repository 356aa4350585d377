/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a request is read by small getters that know the arguments of its verb; the first
 * thing wrong ends the reading, and nothing has changed by then. Key material is wiped from here as
 * soon as it was handed on; lib/admin.c wipes the request.
 */
#include "control/gw/gw_admin.h"
#include "control/gw/key_verbs.h"
#include "control/gw/provision.h"
#include "control/gw/reload.h"
#include "dataplane/esp/life_conf.h"
#include "lib/hmac.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader { /* of one request; the first error stays */
	json_t *request;
	const char *error;
};

static const char *read_string(struct reader *reader, const char *key, const char *def)
{
	json_t *value = json_object_get(reader->request, key);

	if (json_is_string(value))
		return json_string_value(value);
	if (reader->error == NULL && (value != NULL || def == NULL))
		reader->error = admin_error("%s: a string is needed", key);
	return def == NULL ? "" : def;
}

static uint64_t read_count(struct reader *reader, const char *key, uint64_t min, uint64_t max,
	uint64_t def, bool required)
{
	json_t *value = json_object_get(reader->request, key);
	json_int_t number = json_integer_value(value);
	char *end = NULL;

	if (value == NULL && !required)
		return def;
	/* SPIs are usually written in hex, which JSON has no numbers for. */
	if (json_is_string(value)) {
		number = strtoll(json_string_value(value), &end, 0);
		if (end == json_string_value(value) || *end != '\0')
			number = -1;
	} else if (!json_is_integer(value)) {
		number = -1;
	}
	if (number >= 0 && (uint64_t)number >= min && (uint64_t)number <= max)
		return (uint64_t)number;
	if (reader->error == NULL)
		reader->error = admin_error("%s: a number from %llu to %llu is needed", key,
			(unsigned long long)min, (unsigned long long)max);
	return def;
}

static bool read_bool(struct reader *reader, const char *key, bool def)
{
	json_t *value = json_object_get(reader->request, key);

	if (value == NULL)
		return def;
	if (!json_is_boolean(value) && reader->error == NULL)
		reader->error = admin_error("%s: true or false is needed", key);
	return json_is_true(value);
}

static struct tunnel *read_node(struct reader *reader, const struct gw *gw)
{
	const char *name = read_string(reader, "node", NULL);
	struct tunnel *tunnel = reader->error == NULL ? tunnel_by_name(gw->tunnels, name) : NULL;

	if (tunnel == NULL && reader->error == NULL)
		reader->error = admin_error("node: there is no \"%s\"", name);
	return tunnel;
}

static bool read_inbound(struct reader *reader)
{
	const char *direction = read_string(reader, "direction", NULL);

	if (reader->error == NULL && strcmp(direction, "in") != 0 && strcmp(direction, "out") != 0)
		reader->error = admin_error("direction: \"in\" or \"out\" is needed");
	return strcmp(direction, "in") == 0;
}

static uint32_t read_spi(struct reader *reader)
{
	return (uint32_t)read_count(reader, "spi", SA_SPI_MIN, UINT32_MAX, 0, true);
}

struct named_sa { /* which one a request is about */
	struct tunnel *tunnel;
	bool inbound;
	uint32_t spi;
};

static struct named_sa read_named_sa(struct reader *reader, const struct gw *gw)
{
	struct named_sa sa = {.tunnel = read_node(reader, gw)};

	sa.inbound = read_inbound(reader);
	sa.spi = read_spi(reader);
	return sa;
}

static void refuse_unknown(struct reader *reader, const char *const known[])
{
	if (reader->error == NULL)
		(void)admin_takes(reader->request, known, &reader->error);
}

/* The answer leaves once what was changed is on disk. */
static void answer_when_kept(const struct gw *gw)
{
	admin_hold(gw->admin, kept_newest(gw->kept));
	state_kick(gw->state);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

static int home_agent_of(struct reader *reader, const struct gw *gw, const struct ip_addr *home)
{
	const char *name = read_string(reader, "home_agent", NULL);

	for (uint32_t i = 0; reader->error == NULL && i < gw->conf->n_home_agents; i++) {
		const struct gw_home_agent_conf *ha = &gw->conf->home_agents[i];

		if (strcmp(ha->name, name) != 0)
			continue;
		if (gw_prefixes_contain(&ha->prefixes, home))
			return (int)i;
		reader->error = admin_error(
			"home_address: lies outside of the prefixes of \"%s\"", name);
	}
	if (reader->error == NULL)
		reader->error = admin_error("home_agent: there is no \"%s\"", name);
	return -1;
}

json_t *gw_admin_node_add(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", "home_address", "home_agent", "care_of",
		"strict_inner_source", "strict_outer_source", "allow_nat", "bicast", "provisional",
		"return_routability", "tfc_pad", "tfc_dummies", NULL};
	struct reader reader = {.request = request};
	struct gw_node_conf node = {0};
	struct gw *gw = arg;
	const char *name, *home;
	char why[256];
	int ha;

	refuse_unknown(&reader, known);
	name = read_string(&reader, "node", NULL);
	home = read_string(&reader, "home_address", NULL);
	if (reader.error == NULL && !gw_name_ok(name))
		reader.error = admin_error("node: 1 to 31 letters, digits, '.', '_' or '-'");
	if (reader.error == NULL && !ip_addr_parse(home, &node.home_address))
		reader.error = admin_error("home_address: an address is needed");
	if (reader.error == NULL &&
		(!ip_addr_is_unicast(&node.home_address) ||
			!gw_prefixes_contain(&gw->conf->inside, &node.home_address)))
		reader.error = admin_error("home_address: lies outside of inside_prefixes");
	ha = home_agent_of(&reader, gw, &node.home_address);
	if (json_object_get(request, "care_of") != NULL && reader.error == NULL &&
		(!ip_addr_parse(read_string(&reader, "care_of", NULL), &node.care_of) ||
			gw_conf_coa_check(gw->conf, &node.care_of) != SIU_RESULT_OK))
		reader.error = admin_error("care_of: is no address that a tunnel may end at");
	if (read_bool(&reader, "strict_inner_source", true))
		node.flags |= NODE_STRICT_INNER_SOURCE;
	if (read_bool(&reader, "strict_outer_source", true))
		node.flags |= NODE_STRICT_OUTER_SOURCE;
	if (read_bool(&reader, "allow_nat", false))
		node.flags |= NODE_ALLOW_NAT;
	if (read_bool(&reader, "bicast", false))
		node.flags |= NODE_BICAST;
	if (read_bool(&reader, "provisional", false))
		node.flags |= NODE_PROVISIONAL;
	if (read_bool(&reader, "return_routability", false))
		node.flags |= NODE_RETURN_ROUTABILITY;
	node.tfc.pad = (uint16_t)read_count(&reader, "tfc_pad", 0, NODE_TFC_PAD_MAX, 0, false);
	node.tfc.dummies = (uint16_t)read_count(
		&reader, "tfc_dummies", 0, NODE_TFC_DUMMIES_MAX, 0, false);
	if (reader.error == NULL && (node.flags & NODE_RETURN_ROUTABILITY) != 0 &&
		node.home_address.family == AF_INET6)
		reader.error = admin_error("return_routability: needs an IPv4 home address");
	if (reader.error != NULL) {
		*error = reader.error;
		return NULL;
	}
	snprintf(node.name, sizeof node.name, "%s", name);
	node.home_agent = (uint32_t)ha;
	if (provision_add(gw, &node, why, sizeof why) != 0) {
		*error = admin_error("%s", why);
		return NULL;
	}
	answer_when_kept(gw);
	return json_pack("{s:i}", "handle", (int)tunnel_by_name(gw->tunnels, name)->handle);
}

json_t *gw_admin_node_del(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", NULL};
	struct reader reader = {.request = request};
	struct gw *gw = arg;
	struct ip_addr home_address;
	struct tunnel *tunnel;

	refuse_unknown(&reader, known);
	tunnel = read_node(&reader, gw);
	if (reader.error == NULL && (state_room(gw->state) == 0 || !kept_has_room(gw->kept)))
		reader.error = admin_error("the disk under state_dir does not keep up: try again");
	if (reader.error == NULL) {
		home_address = tunnel->home_address;
		if (key_del_node(gw->keys, tunnel, true) != 0)
			reader.error = admin_error("the packet path refused to delete the node");
		else
			/* Its generation too: else no new start would help a node whose home agent
			 * lost its mind. There is room: see above. */
			admin_hold(gw->admin, state_erase(gw->state, &home_address));
	}
	*error = reader.error;
	return reader.error == NULL ? json_object() : NULL;
}

/* --- SAs ----------------------------------------------------------------------------------------
 */

json_t *gw_admin_alloc_spi(void *arg, json_t *request, const char **error)
{
	struct gw *gw = arg;
	uint32_t spi;

	if (!admin_takes(request, NULL, error))
		return NULL;
	spi = key_alloc_spi(gw->keys);
	if (spi == 0) {
		*error = admin_error("%d SPIs are reserved and not used: add or wait %d s",
			KEY_SPI_RESERVED_MAX, KEY_SPI_RESERVED_S);
		return NULL;
	}
	return json_pack("{s:I}", "spi", (json_int_t)spi);
}

static void read_key(struct reader *reader, struct sa_params *params)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[params->alg];
	const size_t want = crypto_material_bytes(params->alg);
	const char *text = read_string(reader, "key", NULL);

	if (reader->error != NULL)
		return;
	for (size_t i = 0; i < want * 2; i++) {
		const char digit = text[i];
		int value = isdigit((unsigned char)digit) ? digit - '0'
			    : strchr("abcdef", digit | 0x20) != NULL && digit != '\0'
				    ? (digit | 0x20) - 'a' + 10
				    : -1;

		if (value < 0)
			break;
		params->key[i / 2] = (uint8_t)(params->key[i / 2] << 4 | value);
		if (i + 1 == want * 2 && text[i + 1] == '\0')
			return;
	}
	reader->error = admin_error(
		"key: %zu bytes as hex are needed (%u key, %u salt, %u HMAC key)", want,
		info->key_bytes, info->salt_bytes, info->hmac_key_bytes);
}

static void read_params(struct reader *reader, bool inbound, struct sa_params *params)
{
	const char *algorithm, *source, *why;

	params->spi = read_spi(reader);
	algorithm = read_string(reader, "algorithm", NULL);
	source = read_string(reader, "source", "any");
	params->alg = crypto_alg_find(algorithm, &why);
	if (params->alg == CRYPTO_ALG_COUNT) {
		if (reader->error == NULL)
			reader->error = admin_error("algorithm: \"%.32s\" %s", algorithm, why);
		return;
	}
	read_key(reader, params);
	params->esn = read_bool(reader, "esn", true);
	if (!inbound)
		return;
	params->replay_window = (uint32_t)read_count(
		reader, "replay_window", REPLAY_WINDOW_MIN, REPLAY_WINDOW_MAX, 1024, false);
	why = sa_source_parse(source, &params->source);
	if (reader->error == NULL && why != NULL)
		reader->error = admin_error("source: \"%.64s\" %s", source, why);
}

#define LIFETIME_KEYS \
	"rekey_time", "life_time", "rekey_packets", "life_packets", "rekey_bytes", "life_bytes"

static struct sa_lifetimes read_lifetimes(struct reader *reader)
{
	return (struct sa_lifetimes){
		.seconds = {.soft = read_count(
				    reader, "rekey_time", 0, SA_LIFETIME_MAX_S, 0, false),
			.hard = read_count(reader, "life_time", 0, SA_LIFETIME_MAX_S, 0, false)},
		.packets = {.soft = read_count(reader, "rekey_packets", 0, SA_LIMIT_MAX, 0, false),
			.hard = read_count(reader, "life_packets", 0, SA_LIMIT_MAX, 0, false)},
		.bytes = {.soft = read_count(reader, "rekey_bytes", 0, SA_LIMIT_MAX, 0, false),
			.hard = read_count(reader, "life_bytes", 0, SA_LIMIT_MAX, 0, false)},
	};
}

static json_t *answer(const struct gw *gw, const struct reader *reader, const char **error)
{
	if (reader->error == NULL)
		answer_when_kept(gw);
	*error = reader->error;
	return reader->error == NULL ? json_object() : NULL;
}

json_t *gw_admin_sa_add(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", "direction", "spi", "algorithm", "key", "esn",
		"replay_window", "source", LIFETIME_KEYS, NULL};
	struct reader reader = {.request = request};
	struct sa_params params = {0};
	struct gw *gw = arg;
	const char *why = "";
	struct tunnel *tunnel;
	bool inbound;

	refuse_unknown(&reader, known);
	tunnel = read_node(&reader, gw);
	inbound = read_inbound(&reader);
	params.life = read_lifetimes(&reader);
	read_params(&reader, inbound, &params);
	if (reader.error == NULL && key_add(gw->keys, tunnel, inbound, &params, &why) != 0)
		reader.error = admin_error("%s", why);
	secret_wipe(&params, sizeof params);
	return answer(gw, &reader, error);
}

/* What is not named has no limit any more. */
json_t *gw_admin_sa_update(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", "direction", "spi", LIFETIME_KEYS, NULL};
	struct reader reader = {.request = request};
	struct sa_lifetimes life;
	struct gw *gw = arg;
	const char *why = "";
	struct named_sa sa;

	refuse_unknown(&reader, known);
	sa = read_named_sa(&reader, gw);
	life = read_lifetimes(&reader);
	if (reader.error == NULL &&
		key_update(gw->keys, sa.tunnel, sa.inbound, sa.spi, &life, &why) != 0)
		reader.error = admin_error("%s", why);
	return answer(gw, &reader, error);
}

json_t *gw_admin_sa_switch(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", "direction", "spi", NULL};
	struct reader reader = {.request = request};
	struct gw *gw = arg;
	const char *why = "";
	struct named_sa sa;

	refuse_unknown(&reader, known);
	sa = read_named_sa(&reader, gw);
	if (reader.error == NULL && sa.inbound)
		reader.error = admin_error("direction: all inbound SAs of a node are in use; only "
					   "\"out\" can be switched");
	if (reader.error == NULL && key_switch(gw->keys, sa.tunnel, sa.spi, &why) != 0)
		reader.error = admin_error("%s", why);
	return answer(gw, &reader, error);
}

json_t *gw_admin_sa_query(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", "direction", "spi", NULL};
	struct reader reader = {.request = request};
	const struct tunnel_sa *found = NULL;
	struct gw *gw = arg;
	struct named_sa sa;

	refuse_unknown(&reader, known);
	sa = read_named_sa(&reader, gw);
	if (reader.error == NULL) {
		found = key_query(sa.tunnel, sa.inbound, sa.spi);
		if (found == NULL)
			reader.error = admin_error("spi: this node has no such SA");
	}
	*error = reader.error;
	return found == NULL ? NULL : gw_admin_sa_row(sa.tunnel, found);
}

json_t *gw_admin_sa_del(void *arg, json_t *request, const char **error)
{
	static const char *const known[] = {"node", "direction", "spi", NULL};
	struct reader reader = {.request = request};
	struct gw *gw = arg;
	const char *why = "";
	struct named_sa sa;

	refuse_unknown(&reader, known);
	sa = read_named_sa(&reader, gw);
	if (reader.error == NULL && key_del(gw->keys, sa.tunnel, sa.inbound, sa.spi, &why) != 0)
		reader.error = admin_error("%s", why);
	return answer(gw, &reader, error);
}

static json_t *event_row(const struct key_event *event)
{
	json_t *row = json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I}", "number",
		(json_int_t)event->number, "event",
		event->kind == KEY_EVENT_HARD ? "expired" : "rekey", "cause",
		key_cause_name(event->cause), "node", event->name, "direction",
		event->inbound ? "in" : "out", "spi", (json_int_t)event->spi, "real_ns",
		(json_int_t)event->real_ns);

	if (event->percent != 0)
		json_object_set_new(row, "percent", json_integer(event->percent));
	return row;
}

/* Events after number "from": an IKE daemon asks again and again. */
json_t *gw_admin_sa_events(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	const struct key_event *event;
	uint64_t number;
	json_t *rows;

	static_assert(KEY_EVENTS_KEPT <= ADMIN_PAGE_ROWS, "all on one page");
	if (!admin_page(request, &number, error))
		return NULL;
	rows = json_array();
	for (number++; (event = key_event_at(gw->keys, number)) != NULL; number = event->number + 1)
		json_array_append_new(rows, event_row(event));
	return json_pack("{s:o}", "rows", rows);
}

json_t *gw_admin_reload(void *arg, json_t *request, const char **error)
{
	struct gw *gw = arg;
	struct reload_counts counts;
	char why[512];

	if (!admin_takes(request, NULL, error))
		return NULL;
	if (gw_reload(gw, &counts, why, sizeof why) != 0) {
		*error = admin_error("%s", why);
		return NULL;
	}
	answer_when_kept(gw);
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "added", (int)counts.nodes.added,
		"changed", (int)counts.nodes.changed, "removed", (int)counts.nodes.removed, "kept",
		(int)counts.nodes.kept, "siu_keys", (int)counts.siu_keys, "rules",
		(int)counts.rules, "note",
		"nodes, policy and SIU secrets only; other keys take effect at the next start");
}
