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
#include "control/gw/nat.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"
#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LEFT_OUT_TOLD 10       /* lines at a start; the rest is counted */
#define GRACE_WAIT_NS NS_PER_S /* a grace period takes microseconds, if no worker is preempted */
#define DISK_WAIT_NS NS_PER_S  /* a commit takes milliseconds */

static const struct position nowhere = {.closed = true};

static struct position start_position(const struct gw *gw, const struct gw_node_conf *node)
{
	struct position position;

	if (state_load(gw->state, &node->home_address, &position) == 0) {
		position.former_coa = (struct ip_addr){0};
		position.former_remote = (struct ip_endpoint){0};
		position.grace_until_ns = 0;
		nat_fit_position(&position, node->flags);
		if (position.ends_real_ns <= clock_real_ns() ||
			nat_check_end(gw->conf, &position.remote, &position.coa) != SIU_RESULT_OK)
			position.closed = true;
		return position;
	}
	if (!ip_addr_is_set(&node->care_of) ||
		gw_conf_coa_check(gw->conf, &node->care_of) != SIU_RESULT_OK)
		return nowhere;
	return (struct position){
		.coa = node->care_of,
		.remote = {.addr = node->care_of},
		.verified = true, /* who configured it says so */
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
	int rc = key_add_static(gw->keys, tunnel, true, &node->in, &reason);

	if (rc != 0) {
		snprintf(why, why_size, "node \"%s\": inbound SA: %s", node->name, reason);
		return rc;
	}
	rc = key_add_static(gw->keys, tunnel, false, &node->out, &reason);
	if (rc != 0) {
		snprintf(why, why_size, "node \"%s\": outbound SA: %s", node->name, reason);
		return rc;
	}
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
		.tfc = node->tfc,
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
			: rc == -ENOMEM
				? "no memory: raise dpdk.memory_mb or reserve more hugepages"
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
	int rc;

	if (!kept_has_room(gw->kept)) {
		snprintf(why, why_size, "the disk under state_dir does not keep up: try again");
		return -EAGAIN;
	}
	rc = add_node(gw, node, node->home_agent, &position, false, why, why_size);
	if (rc == 0)
		kept_put_node(gw->kept, tunnel_by_name(gw->tunnels, node->name));
	return rc;
}

/* --- what came by the control socket in an earlier run ------------------------------------------
 */

struct restore {
	struct gw *gw;
	struct provision_kept *counts;
	unsigned told; /* nodes and SAs left out, with a line of their own */
	int rc;        /* that no later node can mend */
	char *why;
	size_t why_size;
};

__attribute__((format(printf, 3, 4))) static void leave_out(
	struct restore *restore, const struct kept_node *node, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	restore->counts->left_out++;
	if (restore->told++ < LEFT_OUT_TOLD)
		log_warn("kept", "node \"%s\": %s", node->name, text);
}

/* The running gateway's number for a home agent, -1: there is none of that name. */
static int home_agent_named(const struct gw *gw, const char *name)
{
	for (uint32_t i = 0; i < gw->conf->n_home_agents; i++) {
		if (strcmp(gw->conf->home_agents[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

/* The configuration's node that node added SAs to, or NULL. */
static struct tunnel *configured_tunnel(struct restore *restore, const struct kept_node *node)
{
	struct tunnel *tunnel = tunnel_by_home_address(restore->gw->tunnels, &node->home_address);

	if (tunnel != NULL && strcmp(tunnel->name, node->name) == 0)
		return tunnel;
	leave_out(restore, node, "is not in the configuration any more, its SAs are left out");
	return NULL;
}

static struct tunnel *restored_tunnel(struct restore *restore, const struct kept_node *node)
{
	struct gw *gw = restore->gw;
	const int ha = home_agent_named(gw, node->home_agent);
	struct gw_node_conf as_conf = {
		.home_address = node->home_address,
		.care_of = node->care_of,
		.flags = node->flags,
		.tfc = node->tfc,
	};
	struct position position;
	char why[256];

	if (node->configured)
		return configured_tunnel(restore, node);
	if (ha < 0 ||
		!gw_prefixes_contain(&gw->conf->home_agents[ha].prefixes, &node->home_address)) {
		leave_out(restore, node, "left out: home agent \"%s\" does not serve it any more",
			node->home_agent);
		return NULL;
	}
	snprintf(as_conf.name, sizeof as_conf.name, "%s", node->name);
	position = start_position(gw, &as_conf);
	restore->rc = add_node(gw, &as_conf, (uint32_t)ha, &position, false, why, sizeof why);
	if (restore->rc == -EEXIST) {
		leave_out(restore, node,
			"left out: the configuration has a node with its name or home address");
		restore->rc = 0;
		return NULL;
	}
	if (restore->rc != 0) {
		snprintf(restore->why, restore->why_size, "%s", why);
		return NULL;
	}
	restore->counts->nodes++;
	return tunnel_by_home_address(gw->tunnels, &node->home_address);
}

/* 0, or why it is not there; see is_over(). */
static int restore_sa(struct restore *restore, struct tunnel *tunnel, const struct kept_node *node,
	const struct kept_sa *sa)
{
	struct gw *gw = restore->gw;
	struct sa_params params;
	const char *why = "its record is damaged or missing";
	int rc = kept_get_sa(gw->kept, &node->home_address, sa, &params);

	params.life = sa->life;
	if (rc == 0)
		rc = key_restore(gw->keys, tunnel, sa, &params, &why);
	secret_wipe(&params, sizeof params);
	if (rc == 0) {
		restore->counts->sas++;
		return 0;
	}
	if (rc == -EKEYEXPIRED) {
		restore->counts->expired++;
		return rc;
	}
	leave_out(restore, node, "%s SA 0x%x left out: %s", sa->inbound ? "inbound" : "outbound",
		sa->spi, why);
	if (rc == -ENOMEM) {
		restore->rc = rc;
		snprintf(restore->why, restore->why_size, "node \"%s\": %s", node->name, why);
	}
	return rc;
}

/* Nothing brings such an SA back: expired, without counters, or a crash came between its record
 * and the list. */
static bool is_over(int rc)
{
	return rc == -EKEYEXPIRED || rc == -ENODATA || rc == -ENOENT;
}

static bool restore_node(void *arg, const struct kept_node *node)
{
	struct restore *restore = arg;
	struct gw *gw = restore->gw;
	struct tunnel *tunnel = restored_tunnel(restore, node);
	const struct kept_sa *gone[TUNNEL_SAS_MAX];
	unsigned n_gone = 0;
	bool all = true; /* of those listed are in force or gone */

	/* The outbound SA in use first, so that it is the current one. */
	for (unsigned pass = 0; tunnel != NULL && pass < 2; pass++) {
		for (unsigned i = 0; i < node->n_sas && restore->rc == 0; i++) {
			const struct kept_sa *sa = &node->sas[i];
			int rc;

			if (sa->current != (pass == 0))
				continue;
			rc = restore_sa(restore, tunnel, node, sa);
			if (is_over(rc))
				gone[n_gone++] = sa;
			else
				all &= rc == 0;
		}
	}
	/* A list that is written anew has what is in force alone. */
	if (n_gone != 0 && all && kept_make_room(gw->kept)) {
		for (unsigned i = 0; i < n_gone; i++)
			kept_drop_sa(gw->kept, &node->home_address, gone[i]->inbound, gone[i]->spi);
		kept_put_node(gw->kept, tunnel);
	}
	return restore->rc == 0;
}

int provision_kept(struct gw *gw, struct provision_kept *counts, char *why, size_t why_size)
{
	struct restore restore = {.gw = gw, .counts = counts, .why = why, .why_size = why_size};
	const uint64_t from_ns = clock_mono_ns();
	int rc;

	*counts = (struct provision_kept){0};
	if (gw->kept == NULL)
		return 0;
	rc = kept_each_node(gw->kept, restore_node, &restore);
	if (restore.rc != 0)
		return restore.rc;
	if (rc != 0) {
		snprintf(why, why_size, "%s/data.mdb: cannot be read: %s", gw->conf->state_dir,
			strerror(-rc));
		return rc;
	}
	kept_sweep(gw->kept);
	if (counts->nodes + counts->sas + counts->expired + counts->left_out != 0)
		log_info("kept", "nodes=%u sas=%u expired=%u left_out=%u ms=%u", counts->nodes,
			counts->sas, counts->expired, counts->left_out,
			(unsigned)((clock_mono_ns() - from_ns) / NS_PER_MS));
	return 0;
}

/* --- reload -------------------------------------------------------------------------------------
 */

/* The running gateway's number for the home agent that node of fresh names; -1: it has none. */
static int running_home_agent(
	const struct gw *gw, const struct gw_conf *fresh, const struct gw_node_conf *node)
{
	return home_agent_named(gw, fresh->home_agents[node->home_agent].name);
}

static bool same_life(const struct tunnel_sa *sa, const struct sa_lifetimes *limits)
{
	static const struct sa_lifetimes none = {.seconds = {0}};

	return memcmp(sa->life == NULL ? &none : &sa->life->limits, limits, sizeof none) == 0;
}

static bool same_sa(struct tunnel *tunnel, bool inbound, const struct sa_params *params)
{
	const struct tunnel_sa *sa = tunnel_sa_find(tunnel, inbound, params->spi);
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	unsigned n;

	if (sa == NULL || sa->alg != params->alg || sa->esn != params->esn ||
		!same_life(sa, &params->life) ||
		(inbound && (sa->replay_window != params->replay_window ||
				    !sa_source_equal(tunnel_sa_source(sa), &params->source))))
		return false;
	n = sa_key_ids(params, ids);
	for (unsigned i = 0; i < n; i++)
		if (memcmp(ids[i], sa->keys[i].id, sizeof ids[i]) != 0)
			return false;
	return true;
}

static bool has_sas_of_file(const struct tunnel *tunnel)
{
	const struct tunnel_sa *sa = tunnel->sas;

	while (sa != NULL && !sa->from_file)
		sa = sa->next;
	return sa != NULL;
}

/* SAs that came by the control socket make no difference. */
static bool same_node(const struct gw *gw, const struct gw_conf *fresh, struct tunnel *tunnel,
	const struct gw_node_conf *node)
{
	if (!ip_addr_equal(&tunnel->home_address, &node->home_address) ||
		tunnel->flags != node->flags || tunnel->tfc.pad != node->tfc.pad ||
		tunnel->tfc.dummies != node->tfc.dummies ||
		running_home_agent(gw, fresh, node) != (int)tunnel->home_agent)
		return false;
	if (!node->has_sas)
		return !has_sas_of_file(tunnel);
	return same_sa(tunnel, true, &node->in) && same_sa(tunnel, false, &node->out);
}

/* Does something that stays for good stand in the way of params? */
static bool sa_is_blocked(const struct gw *gw, const struct sa_params *params, bool inbound)
{
	const struct tunnel *owner;
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	const unsigned n = sa_key_ids(params, ids);

	for (unsigned i = 0; i < n; i++) {
		owner = tunnel_by_key(gw->tunnels, ids[i]);
		if (key_is_spent(gw->keys, ids[i]) || (owner != NULL && !owner->configured))
			return true;
	}
	owner = inbound ? tunnel_by_spi_in(gw->tunnels, params->spi, &params->source) : NULL;
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
	struct keymap *names = keymap_new(fresh->n_nodes);

	for (uint32_t i = 0; names != NULL && i < fresh->n_nodes; i++) {
		const char *name = fresh->nodes[i].name;

		if (keymap_add(names, name, strlen(name), i) != 0) {
			keymap_free(names);
			return NULL;
		}
	}
	return names;
}

static int wait_for_disk(struct gw *gw)
{
	const uint64_t until_ns = clock_mono_ns() + DISK_WAIT_NS;

	state_kick(gw->state);
	while (!kept_has_room(gw->kept)) {
		if (clock_mono_ns() > until_ns)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

static int remove_tunnel(struct gw *gw, struct tunnel *tunnel)
{
	int rc = key_del_node(gw->keys, tunnel, false);

	if (rc != -EAGAIN)
		return rc;
	/* So many were removed that the list of what waits for its grace period is full, or the
	 * queue for the disk. */
	rc = wait_for_disk(gw);
	if (rc == 0)
		rc = wait_for_grace(gw);
	return rc != 0 ? rc : key_del_node(gw->keys, tunnel, false);
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
		if (rc != 0)
			first = first == 0 ? rc : first;
		if (rc == -ETIMEDOUT)
			break; /* each of the others would wait as long */
		if (rc != 0)
			continue;
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
