/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each verb fills one page of rows; "from" and "next" are the index of the node to
 * go on with. Times of a handover are microseconds from the arrival of the request.
 */
#include "control/ha/verbs.h"

#include "lib/clock.h"
#include "lib/privilege.h"

static json_t *addr_or_null(const struct ip_addr *addr)
{
	char text[IP_TEXT_MAX];

	return ip_addr_is_set(addr) ? json_string(ip_addr_format(addr, text)) : json_null();
}

static json_t *us_or_null(uint64_t from_ns, uint64_t to_ns)
{
	if (to_ns < from_ns || from_ns == 0)
		return json_null();
	return json_integer((json_int_t)((to_ns - from_ns) / NS_PER_US));
}

static json_t *care_row(const struct ha_conf *conf, const struct ha_care *care, uint64_t now)
{
	uint64_t left = care->ends_mono_ns > now ? care->ends_mono_ns - now : 0;

	if (!ip_addr_is_set(&care->coa))
		return json_null();
	return json_pack("{s:o, s:s?, s:I, s:b}", "coa", addr_or_null(&care->coa), "gateway",
		care->gateway == HA_DIRECT ? NULL : conf->gateways[care->gateway].name,
		"remaining_s", (json_int_t)(left / NS_PER_S), "reverse_tunnel",
		(int)care->reverse_tunnel);
}

static json_t *binding_row(
	const struct ha_conf *conf, const struct ha_binding *binding, uint64_t now)
{
	char id[19];

	snprintf(id, sizeof id, "%016llx", (unsigned long long)binding->known.identification);
	return json_pack("{s:s, s:o, s:o, s:o, s:b, s:I, s:s?, s:o, s:o, s:o}", "name",
		binding->node->name, "home_address", addr_or_null(&binding->node->home_address),
		"registered", care_row(conf, &binding->registered, now), "in_force",
		care_row(conf, &binding->in_force, now), "pending", (int)binding->pending,
		"generation", (json_int_t)binding->generation, "identification",
		binding->known.any ? id : NULL, "durable_us",
		us_or_null(binding->request_ns, binding->durable_ns), "update_us",
		us_or_null(binding->request_ns, binding->update_ns), "ack_us",
		us_or_null(binding->request_ns, binding->ack_ns));
}

static json_t *show_bindings(void *arg, json_t *request, const char **error)
{
	const struct ha_parts *parts = arg;
	size_t n = parts->conf->n_nodes, i, end;
	json_t *rows, *reply;
	uint64_t from;

	if (!admin_page(request, &from, error))
		return NULL;
	i = from > n ? n : (size_t)from;
	end = n - i > ADMIN_PAGE_ROWS ? i + ADMIN_PAGE_ROWS : n;
	rows = json_array();
	for (; i < end; i++)
		json_array_append_new(
			rows, binding_row(parts->conf, ha_binding_at(parts->bindings, i),
				      clock_mono_ns()));
	reply = json_pack("{s:o}", "rows", rows);
	if (end < n)
		json_object_set_new(reply, "next", json_integer((json_int_t)end));
	return reply;
}

static json_t *siu_row(const char *name, const struct siu_stats *stats)
{
	return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
			 "s:I, s:I, s:I, s:I, s:I, s:I}",
		"gateway", name, "up", (int)stats->up, "peer_epoch", (json_int_t)stats->peer_epoch,
		"pending", (json_int_t)stats->pending, "rtt_us", (json_int_t)stats->rtt_us, "rx",
		(json_int_t)stats->rx, "tx", (json_int_t)stats->tx, "retransmitted",
		(json_int_t)stats->retransmitted, "updates", (json_int_t)stats->updates, "acks",
		(json_int_t)stats->acks, "rrq_seen", (json_int_t)stats->rrq_seen, "events",
		(json_int_t)stats->events, "syncs", (json_int_t)stats->syncs, "bad_tag",
		(json_int_t)stats->bad_tag, "shed", (json_int_t)stats->shed, "unknown_key",
		(json_int_t)stats->unknown_key, "replayed", (json_int_t)stats->replayed,
		"malformed", (json_int_t)stats->malformed, "bad_version",
		(json_int_t)stats->bad_version, "not_up", (json_int_t)stats->not_up);
}

static json_t *show_siu(void *arg, json_t *request, const char **error)
{
	const struct ha_parts *parts = arg;
	json_t *rows;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	for (size_t i = 0; i < parts->conf->n_gateways; i++) {
		struct siu_stats stats;

		ha_notify_stats(parts->notify, (int)i, &stats);
		json_array_append_new(rows, siu_row(parts->conf->gateways[i].name, &stats));
	}
	return json_pack("{s:o}", "rows", rows);
}

static json_t *show_drops(void *arg, json_t *request, const char **error)
{
	const struct ha_parts *parts = arg;
	json_t *rows;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	for (int i = 0; i < HA_COUNTERS; i++)
		json_array_append_new(
			rows, json_pack("{s:s, s:I}", "reason", ha_counter_name((enum ha_counter)i),
				      "count", (json_int_t)parts->counters->n[i]));
	return json_pack("{s:o}", "rows", rows);
}

static json_t *reload(void *arg, json_t *request, const char **error)
{
	const struct ha_parts *parts = arg;
	size_t changed;

	if (!admin_takes(request, NULL, error))
		return NULL;
	if (!ha_reload(parts, &changed)) {
		*error = admin_error("%s has errors, nothing changed: roamgate-ha --check -c %s",
			parts->conf->path, parts->conf->path);
		return NULL;
	}
	return json_pack("{s:I, s:s}", "siu_keys", (json_int_t)changed, "note",
		"SIU secrets only; other keys take effect at the next start");
}

bool ha_reload(const struct ha_parts *parts, size_t *changed)
{
	struct ha_conf fresh;

	if (!ha_conf_load(parts->conf->path, &fresh))
		return false;
	*changed = ha_notify_set_keys(parts->notify, &fresh);
	ha_conf_free(&fresh);
	privilege_hide_memory(); /* what was allocated since the last time */
	return true;
}

const struct admin_verb HA_VERBS[] = {
	{"show-bindings", show_bindings},
	{"show-siu", show_siu},
	{"show-drops", show_drops},
	{"reload", reload},
	{NULL, NULL},
};
