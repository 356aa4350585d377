/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each rule is a group of the list "policy"; each end of it takes "any", one value,
 * or an array of them. What a rule says must be able to happen: a rule that can match nothing is an
 * error, since its writer meant something else.
 *
 * A rule that bypasses must not be able to reach a node, whatever node there is or will be: its
 * outside end lies in forbidden_coas, where no care-of address can be, and its inside end where no
 * home address can. So no SA that is missing for a moment makes a packet of a node one in clear.
 */
#include "control/gw/gw_conf.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_MAX 65535
#define PROTOCOL_MAX 255
#define ANY "any"
#define OPAQUE "opaque" /* RFC 4301 section 4.4.1.1: it is not there to be seen */

static const char *const actions[] = {[POLICY_PROTECT] = "protect",
	[POLICY_DISCARD] = "discard",
	[POLICY_BYPASS] = "bypass",
	NULL};
static const char *const directions[] = {"out", "in", NULL};

static const struct protocol_name {
	const char *name;
	uint16_t number; /* IANA */
} protocols[] = {
	{ANY, POLICY_ANY_PROTOCOL},
	{"icmp", 1},
	{"tcp", 6},
	{"udp", 17},
	{"dccp", 33},
	{"gre", 47},
	{"esp", 50},
	{"ah", 51},
	{"icmpv6", 58},
	{"sctp", 132},
	{"udplite", 136},
};
#define PROTOCOLS (sizeof protocols / sizeof protocols[0])

const char *gw_policy_action_name(enum policy_action action)
{
	return actions[action];
}

const char *gw_policy_protocol_name(uint16_t number, char text[IP_TEXT_MAX])
{
	for (size_t i = 0; i < PROTOCOLS; i++)
		if (protocols[i].number == number)
			return protocols[i].name;
	snprintf(text, IP_TEXT_MAX, "%u", number);
	return text;
}

/* A number up to max and nothing else; true: *end is behind it. */
static bool parse_number(const char *text, unsigned long max, char **end, unsigned long *out)
{
	if (!isdigit((unsigned char)*text))
		return false;
	*out = strtoul(text, end, 10);
	return *out <= max;
}

static void read_protocol(struct conf_group *group, struct policy_rule *rule)
{
	const char *text = conf_get_string(group, "protocol", ANY);
	unsigned long number;
	char *end;

	for (size_t i = 0; i < PROTOCOLS; i++)
		if (strcmp(text, protocols[i].name) == 0) {
			rule->protocol = protocols[i].number;
			return;
		}
	if (parse_number(text, PROTOCOL_MAX, &end, &number) && *end == '\0')
		rule->protocol = (uint16_t)number;
	else
		conf_error(group, "protocol",
			"\"%.32s\" is neither a protocol's number of 0 to %d nor one of \"any\", "
			"\"icmp\", \"tcp\", \"udp\", \"dccp\", \"gre\", \"esp\", \"ah\", "
			"\"icmpv6\", \"sctp\", \"udplite\"",
			text, PROTOCOL_MAX);
}

/* The values of key, a string or an array of them; 0: any, or an error was recorded. */
static size_t read_texts(struct conf_group *group, const char *key, const char *texts[])
{
	if (conf_is_array(group, key))
		return conf_get_strings(group, key, texts, POLICY_LIST_MAX, true);
	texts[0] = conf_get_string(group, key, ANY);
	return strcmp(texts[0], ANY) == 0 ? 0 : 1;
}

static void read_prefixes(struct conf_group *group, const char *key, struct policy_end *end)
{
	const char *texts[POLICY_LIST_MAX];
	const size_t n = read_texts(group, key, texts);

	for (size_t i = 0; i < n; i++) {
		if (ip_prefix_parse(texts[i], &end->prefixes[end->n_prefixes]))
			end->n_prefixes++;
		else
			conf_error(group, key,
				"\"%.64s\" is not \"any\" or a prefix such as \"10.1.0.0/16\" "
				"(bits behind the length must be 0)",
				texts[i]);
	}
}

static bool parse_ports(const char *text, struct policy_ports *out)
{
	unsigned long first, last;
	char *end;

	if (!parse_number(text, PORT_MAX, &end, &first))
		return false;
	last = first;
	if (*end == '-' && !parse_number(end + 1, PORT_MAX, &end, &last))
		return false;
	*out = (struct policy_ports){(uint16_t)first, (uint16_t)last};
	return *end == '\0' && first <= last;
}

static void read_ports(struct conf_group *group, const char *key, const struct policy_rule *rule,
	struct policy_end *end)
{
	const char *texts[POLICY_LIST_MAX];
	const size_t n = read_texts(group, key, texts);

	end->opaque = n == 1 && strcmp(texts[0], OPAQUE) == 0;
	for (size_t i = 0; i < n && !end->opaque; i++) {
		if (parse_ports(texts[i], &end->ports[end->n_ports]))
			end->n_ports++;
		else
			conf_error(group, key,
				"\"%.32s\" is not \"any\", \"opaque\", a port or a range such "
				"as \"1024-65535\"",
				texts[i]);
	}
	if (n != 0 && !policy_has_ports(rule->protocol))
		conf_error(group, key,
			"needs protocol \"tcp\", \"udp\", \"dccp\", \"sctp\" or \"udplite\": "
			"others "
			"have no ports");
}

static bool has_family(const struct policy_end *end, uint8_t family)
{
	for (unsigned i = 0; i < end->n_prefixes; i++)
		if (end->prefixes[i].addr.family == family)
			return true;
	return end->n_prefixes == 0;
}

static bool lies_in(const struct ip_prefix *inner, const struct gw_prefixes *prefixes)
{
	for (size_t i = 0; i < prefixes->n; i++)
		if (prefixes->list[i].len <= inner->len &&
			ip_prefix_contains(&prefixes->list[i], &inner->addr))
			return true;
	return false;
}

static bool touches(const struct ip_prefix *prefix, const struct gw_prefixes *prefixes)
{
	for (size_t i = 0; i < prefixes->n; i++)
		if (ip_prefix_overlaps(prefix, &prefixes->list[i]))
			return true;
	return false;
}

static bool touches_homes(const struct gw_conf *conf, const struct ip_prefix *prefix)
{
	for (uint32_t i = 0; i < conf->n_home_agents; i++)
		if (touches(prefix, &conf->home_agents[i].prefixes))
			return true;
	return false;
}

const char *gw_policy_fault(const struct gw_conf *conf, const struct policy_rule *rule, bool *inner)
{
	const struct policy_end *inside = rule->inbound ? &rule->destination : &rule->source;
	const struct policy_end *outside = rule->inbound ? &rule->source : &rule->destination;

	if (rule->action != POLICY_BYPASS)
		return NULL;
	*inner = true;
	if (inside->n_prefixes == 0)
		return "must not be \"any\" where action is \"bypass\": in clear goes only what is "
		       "named";
	for (unsigned i = 0; i < inside->n_prefixes; i++)
		if (!lies_in(&inside->prefixes[i], &conf->inside) ||
			touches_homes(conf, &inside->prefixes[i]))
			return "must lie in inside_prefixes and outside of all home agents' "
			       "prefixes where action is \"bypass\"";
	*inner = false;
	if (outside->n_prefixes == 0)
		return "must not be \"any\" where action is \"bypass\": in clear goes only what is "
		       "named";
	for (unsigned i = 0; i < outside->n_prefixes; i++)
		if (!lies_in(&outside->prefixes[i], &conf->forbidden_coas) ||
			touches(&outside->prefixes[i], &conf->inside) ||
			touches_homes(conf, &outside->prefixes[i]))
			return "must lie in forbidden_coas, so that no node can be there, and "
			       "outside "
			       "of inside_prefixes where action is \"bypass\"";
	return NULL;
}

static void check_bypass(
	struct conf_group *group, const struct gw_conf *conf, const struct policy_rule *rule)
{
	bool inner = false;
	const char *fault = gw_policy_fault(conf, rule, &inner);

	if (fault != NULL)
		conf_error(group, inner == rule->inbound ? "destination" : "source", "%s", fault);
	if (rule->action == POLICY_BYPASS && (rule->protocol == 4 || rule->protocol == 41))
		conf_error(group, "protocol", "is a tunnel's, and no tunnel is ever bypassed");
}

static void read_rule(
	struct conf_group *group, const struct gw_conf *conf, struct policy_rule *rule)
{
	struct policy_end *source = &rule->source, *destination = &rule->destination;

	rule->action = (uint8_t)conf_get_choice(group, "action", actions, -1);
	rule->inbound = conf_get_choice(group, "direction", directions, -1) == 1;
	read_protocol(group, rule);
	read_prefixes(group, "source", source);
	read_prefixes(group, "destination", destination);
	read_ports(group, "source_ports", rule, source);
	read_ports(group, "destination_ports", rule, destination);
	if (!(has_family(source, AF_INET) && has_family(destination, AF_INET)) &&
		!(has_family(source, AF_INET6) && has_family(destination, AF_INET6)))
		conf_error(group, "destination", "has no prefix of the family of source");
	check_bypass(group, conf, rule);
}

void gw_conf_read_policy(struct gw_conf *conf, struct conf_group *root)
{
	size_t n = conf_get_list(root, "policy", false);

	if (n > POLICY_RULES_MAX) {
		conf_error(root, "policy", "has %zu entries, at most %d are possible", n,
			POLICY_RULES_MAX);
		n = POLICY_RULES_MAX;
	}
	conf->policy = calloc(n + 1, sizeof *conf->policy);
	if (conf->policy == NULL) {
		conf_error(root, "policy", "out of memory");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct conf_group group = conf_list_at(root, "policy", i);

		if (group.setting == NULL)
			continue;
		read_rule(&group, conf, &conf->policy[conf->n_policy++]);
		conf_group_end(&group);
	}
}
