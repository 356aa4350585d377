/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a node of the file is compared with the tunnel of its name. Equal: left alone.
 * Different: removed and added again at the same position, with a grace period in between, since
 * old and new SA share a counter slot. All that the checks can foresee is checked before the first
 * change.
 */
#include "control/gw/provision.h"

#include "control/gw/key_verbs.h"
#include "control/gw/keymap.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"
#include "lib/clock.h"
#include "lib/log.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define GRACE_WAIT_NS NS_PER_S /* a grace period takes microseconds, if no worker is preempted */

static const struct position nowhere = {.closed = true};

static struct position start_position(const struct gw *gw, const struct gw_node_conf *node)
{
	struct position position;

	if (state_load(gw->state, &node->home_address, &position) == 0) {
		position.former_coa = (struct ip_addr){0};
		position.grace_until_ns = 0;
		if (position.ends_real_ns <= clock_real_ns() ||
			gw_conf_coa_check(gw->conf, &position.coa) != SIU_RESULT_OK)
			position.closed = true;
		return position;
	}
	if (!ip_addr_is_set(&node->care_of))
		return nowhere;
	return (struct position){
		.coa = node->care_of,
		.remote = {.addr = node->care_of},
		.ends_real_ns = POSITION_NEVER_ENDS,
	};
}

static int wait_for_grace(struct gw *gw)
{
	const uint64_t until_ns = clock_mono_ns() + GRACE_WAIT_NS;
	const uint64_t token = dataplane_grace_token(gw->dp);

	while (!dataplane_grace_done(gw->dp, token)) {
		if (clock_mono_ns() > until_ns)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

static int add_sas(struct gw *gw, struct tunnel *tunnel, const struct gw_node_conf *node, char *why,
	size_t why_size)
{
	const char *reason = "";
	int rc = key_add(gw->keys, tunnel, true, &node->in, 0, &reason);

	if (rc != 0) {
		snprintf(why, why_size, "node \"%s\": inbound SA: %s", node->name, reason);
		return rc;
	}
	rc = key_add(gw->keys, tunnel, false, &node->out, 0, &reason);
	if (rc != 0) {
		snprintf(why, why_size, "node \"%s\": outbound SA: %s", node->name, reason);
		return rc;
	}
	tunnel_sa_find(tunnel, true, node->in.spi)->from_file = true;
	tunnel_sa_find(tunnel, false, node->out.spi)->from_file = true;
	return 0;
}

static int add_node(struct gw *gw, const struct gw_node_conf *node, uint32_t home_agent,
	const struct position *position, bool configured, char *why, size_t why_size)
{
	const struct tunnel_params params = {
		.name = node->name,
		.home_address = node->home_address,
		.home_agent_source = gw->conf->home_agents[home_agent].tunnel_source,
		.home_agent = home_agent,
		.flags = node->flags,
		.configured = configured,
		.position = *position,
	};
	struct tunnel *tunnel;
	int rc = tunnel_add(gw->tunnels, &params, &tunnel);

	if (rc == -EAGAIN && wait_for_grace(gw) == 0)
		rc = tunnel_add(gw->tunnels, &params, &tunnel);
	if (rc != 0) {
		snprintf(why, why_size, "node \"%s\": %s", node->name,
			rc == -EEXIST   ? "its name or home address is in use"
			: rc == -ENOSPC ? "max_nodes are in use"
					: strerror(-rc));
		return rc;
	}
	if (!node->has_sas)
		return 0;
	rc = add_sas(gw, tunnel, node, why, why_size);
	if (rc != 0 && key_del_node(gw->keys, tunnel, false) != 0)
		log_error("keys", "node %s stays without its SAs", node->name);
	return rc;
}

int provision_start(struct gw *gw, const struct gw_conf *conf, char *why, size_t why_size)
{
	bool keys = false;

	for (uint32_t i = 0; i < conf->n_nodes; i++) {
		const struct gw_node_conf *node = &conf->nodes[i];
		const struct position position = start_position(gw, node);
		int rc = add_node(gw, node, node->home_agent, &position, true, why, why_size);

		if (rc != 0)
			return rc;
		keys |= node->has_sas;
	}
	if (keys)
		log_warn("keys", "static keys: lab only");
	return 0;
}

int provision_add(struct gw *gw, const struct gw_node_conf *node, char *why, size_t why_size)
{
	const struct position position = start_position(gw, node);

	return add_node(gw, node, node->home_agent, &position, false, why, why_size);
}

/* --- reload -------------------------------------------------------------------------------------
 */

/* The running gateway's number for the home agent that node of fresh names; -1: it has none. */
static int running_home_agent(
	const struct gw *gw, const struct gw_conf *fresh, const struct gw_node_conf *node)
{
	const char *name = fresh->home_agents[node->home_agent].name;

	for (uint32_t i = 0; i < gw->conf->n_home_agents; i++) {
		if (strcmp(gw->conf->home_agents[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static bool same_sa(struct tunnel *tunnel, bool inbound, const struct sa_params *params)
{
	const struct tunnel_sa *sa = tunnel_sa_find(tunnel, inbound, params->spi);
	uint8_t id[COUNTERS_ID_BYTES];

	if (sa == NULL || sa->alg != params->alg || sa->esn != params->esn ||
		(inbound && (sa->replay_window != params->replay_window ||
				    !ip_addr_equal(&sa->source, &params->source))))
		return false;
	sa_key_id(params, id);
	return memcmp(id, sa->key_id, sizeof id) == 0;
}

static bool same_node(const struct gw *gw, const struct gw_conf *fresh, struct tunnel *tunnel,
	const struct gw_node_conf *node)
{
	if (!ip_addr_equal(&tunnel->home_address, &node->home_address) ||
		tunnel->flags != node->flags ||
		running_home_agent(gw, fresh, node) != (int)tunnel->home_agent)
		return false;
	if (!node->has_sas)
		return tunnel->sas == NULL;
	return same_sa(tunnel, true, &node->in) && same_sa(tunnel, false, &node->out);
}

/* Does something that stays for good stand in the way of params? */
static bool sa_is_blocked(const struct gw *gw, const struct sa_params *params, bool inbound)
{
	const struct tunnel *owner;
	uint8_t id[COUNTERS_ID_BYTES];

	sa_key_id(params, id);
	owner = tunnel_by_key(gw->tunnels, id);
	if (key_is_spent(gw->keys, id) || (owner != NULL && !owner->configured))
		return true;
	owner = inbound ? tunnel_by_spi_in(gw->tunnels, params->spi) : NULL;
	return owner != NULL && !owner->configured;
}

static int check_node(const struct gw *gw, const struct gw_conf *fresh,
	const struct gw_node_conf *node, char *why, size_t why_size)
{
	const int ha = running_home_agent(gw, fresh, node);
	const struct tunnel *by_name = tunnel_by_name(gw->tunnels, node->name);
	const struct tunnel *by_address = tunnel_by_home_address(gw->tunnels, &node->home_address);
	const char *what = NULL;

	if (ha < 0)
		what = "its home agent is new: that needs a restart";
	else if (!gw_prefixes_contain(&gw->conf->home_agents[ha].prefixes, &node->home_address))
		what = "the running home agent's prefixes lack it: that needs a restart";
	else if (by_name != NULL && !by_name->configured)
		what = "a node of this name came by the control socket";
	else if (by_address != NULL && !by_address->configured)
		what = "a node with this home address came by the control socket";
	else if (node->has_sas &&
		 (sa_is_blocked(gw, &node->in, true) || sa_is_blocked(gw, &node->out, false)))
		what = "its key was deleted by the control socket, or key or SPI came in by it";
	if (what == NULL)
		return 0;
	snprintf(why, why_size, "node \"%s\": %s", node->name, what);
	return -EEXIST;
}

static int check_all(const struct gw *gw, const struct gw_conf *fresh, char *why, size_t why_size)
{
	uint32_t others = 0;

	for (const struct tunnel *t = tunnel_next(gw->tunnels, 0); t != NULL;
		t = tunnel_next(gw->tunnels, t->handle))
		others += !t->configured;
	if (others + fresh->n_nodes > gw->conf->max_nodes) {
		snprintf(why, why_size, "%u nodes, but max_nodes is %u: that needs a restart",
			others + fresh->n_nodes, gw->conf->max_nodes);
		return -ENOSPC;
	}
	for (uint32_t i = 0; i < fresh->n_nodes; i++) {
		int rc = check_node(gw, fresh, &fresh->nodes[i], why, why_size);

		if (rc != 0)
			return rc;
	}
	return 0;
}

static struct keymap *map_names(const struct gw_conf *fresh)
{
	struct keymap *names = keymap_new();

	for (uint32_t i = 0; names != NULL && i < fresh->n_nodes; i++) {
		const char *name = fresh->nodes[i].name;

		if (keymap_add(names, name, strlen(name), i) != 0) {
			keymap_free(names);
			return NULL;
		}
	}
	return names;
}

static int remove_tunnel(struct gw *gw, struct tunnel *tunnel)
{
	int rc = key_del_node(gw->keys, tunnel, false);

	/* So many were removed that the list of what waits for its grace period is full. */
	if (rc == -EAGAIN && wait_for_grace(gw) == 0)
		rc = key_del_node(gw->keys, tunnel, false);
	return rc;
}

/* Tunnels of nodes that are not in fresh, or differ there. What cannot go stays; the first error.
 */
static int remove_old(struct gw *gw, const struct gw_conf *fresh, const struct keymap *names,
	struct provision_counts *counts)
{
	struct tunnel *tunnel, *next;
	int first = 0;

	for (tunnel = tunnel_next(gw->tunnels, 0); tunnel != NULL; tunnel = next) {
		const struct gw_node_conf *node = NULL;
		uint32_t i;
		int rc;

		next = tunnel_next(gw->tunnels, tunnel->handle);
		if (!tunnel->configured)
			continue;
		if (keymap_get(names, tunnel->name, strlen(tunnel->name), &i))
			node = &fresh->nodes[i];
		if (node != NULL && same_node(gw, fresh, tunnel, node)) {
			counts->kept++;
			continue;
		}
		rc = remove_tunnel(gw, tunnel);
		if (rc != 0) {
			first = first == 0 ? rc : first;
			continue;
		}
		counts->changed += node != NULL;
		counts->removed += node == NULL;
	}
	return first;
}

/* Nodes of fresh that have no tunnel. One that cannot be added does not keep the others out; the
 * first error, with its reason. */
static int add_missing(struct gw *gw, const struct gw_conf *fresh, struct provision_counts *counts,
	char *why, size_t why_size)
{
	int first = 0;

	for (uint32_t i = 0; i < fresh->n_nodes; i++) {
		const struct gw_node_conf *node = &fresh->nodes[i];
		struct position position;
		char ignored[256];
		int rc;

		if (tunnel_by_name(gw->tunnels, node->name) != NULL)
			continue;
		position = start_position(gw, node);
		rc = add_node(gw, node, (uint32_t)running_home_agent(gw, fresh, node), &position,
			true, first == 0 ? why : ignored, first == 0 ? why_size : sizeof ignored);
		first = first == 0 ? rc : first;
		counts->added += rc == 0;
	}
	return first;
}

int provision_reload(struct gw *gw, const struct gw_conf *fresh, struct provision_counts *counts,
	char *why, size_t why_size)
{
	struct keymap *names;
	int added, rc = check_all(gw, fresh, why, why_size);

	*counts = (struct provision_counts){0};
	if (rc != 0)
		return rc;
	names = map_names(fresh);
	if (names == NULL) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	rc = remove_old(gw, fresh, names, counts);
	keymap_free(names);
	if (wait_for_grace(gw) != 0) {
		/* A worker may still use the counter slots that the new SAs would get. */
		snprintf(why, why_size, "a worker does not answer: reload again");
		return -ETIMEDOUT;
	}
	added = add_missing(gw, fresh, counts, why, why_size);
	if (added != 0)
		return added;
	if (rc != 0)
		snprintf(why, why_size, "cannot remove a node: %s", strerror(-rc));
	counts->added -= counts->changed;
	return rc;
}
