/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: rules are shown in the words of the configuration, with their hits. */
#include "control/gw/gw_admin.h"
#include "control/gw/gw_conf.h"

#include <stdio.h>

static json_t *list_or_any(json_t *list)
{
	json_t *only = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : NULL;

	if (json_array_size(list) > 1)
		return list;
	json_decref(list);
	return only != NULL ? only : json_string("any");
}

static json_t *prefixes_of(const struct policy_end *end)
{
	json_t *list = json_array();
	char text[IP_TEXT_MAX];

	for (unsigned i = 0; i < end->n_prefixes; i++)
		json_array_append_new(list, json_string(ip_prefix_format(&end->prefixes[i], text)));
	return list_or_any(list);
}

static json_t *ports_of(const struct policy_end *end)
{
	json_t *list = json_array();
	char text[sizeof "65535-65535"];

	if (end->opaque)
		json_array_append_new(list, json_string("opaque"));
	for (unsigned i = 0; i < end->n_ports; i++) {
		const struct policy_ports *ports = &end->ports[i];

		snprintf(text, sizeof text, ports->first == ports->last ? "%u" : "%u-%u",
			ports->first, ports->last);
		json_array_append_new(list, json_string(text));
	}
	return list_or_any(list);
}

/* number: of the rule, from 1 on; 0: of none. */
static json_t *row_of(uint32_t number, const char *action, bool inbound, uint64_t hits)
{
	json_t *row = json_object();

	json_object_set_new(row, "rule", number != 0 ? json_integer(number) : json_null());
	json_object_set_new(row, "action", json_string(action));
	json_object_set_new(row, "direction", json_string(inbound ? "in" : "out"));
	json_object_set_new(row, "hits", json_integer((json_int_t)hits));
	return row;
}

static json_t *rule_row(const struct policy *policy, const struct policy_rule *rule, uint32_t i)
{
	json_t *row = row_of(i + 1, gw_policy_action_name((enum policy_action)rule->action),
		rule->inbound, policy_hits(policy, i));
	char text[IP_TEXT_MAX];

	json_object_set_new(row, "source", prefixes_of(&rule->source));
	json_object_set_new(row, "destination", prefixes_of(&rule->destination));
	json_object_set_new(
		row, "protocol", json_string(gw_policy_protocol_name(rule->protocol, text)));
	json_object_set_new(row, "source_ports", ports_of(&rule->source));
	json_object_set_new(row, "destination_ports", ports_of(&rule->destination));
	return row;
}

/* A page begins behind rule "from". What no rule matched comes last. */
json_t *gw_admin_show_policy(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	const struct policy *policy = dataplane_policy(gw->dp);
	const struct policy_rule *rules;
	json_t *rows, *reply;
	uint32_t n = 0;
	uint64_t i;

	if (!admin_page(request, &i, error))
		return NULL;
	rows = json_array();
	reply = json_object();
	json_object_set_new(reply, "rows", rows);
	if (policy == NULL)
		return reply;
	rules = policy_rules(policy, &n);
	for (; i < n; i++) {
		if (json_array_size(rows) + 2 >= ADMIN_PAGE_ROWS) {
			json_object_set_new(reply, "next", json_integer((json_int_t)i));
			return reply;
		}
		json_array_append_new(rows, rule_row(policy, &rules[i], (uint32_t)i));
	}
	for (int inbound = 0; inbound < 2; inbound++)
		json_array_append_new(
			rows, row_of(0, "no rule", inbound, policy_rest(policy, inbound)));
	return reply;
}
