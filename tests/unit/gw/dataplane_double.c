/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: calls[] is the log; sa_in and sa_out are bare objects, with a slot of the
 * counters file if the test lends one, else with a heap slot each.
 */
#include "dataplane_double.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct dataplane_double only;
struct dataplane_double *dp_double_now = &only;

static struct double_call *note(enum double_kind kind)
{
	struct double_call *call;

	if (dp_double.n == DOUBLE_CALLS_MAX)
		abort(); /* the test calls double_reset_calls() too rarely */
	call = &dp_double.calls[dp_double.n++];
	memset(call, 0, sizeof *call);
	call->kind = kind;
	return call;
}

static void note_data(struct double_call *call, const void *data, size_t len)
{
	if (len > sizeof call->data)
		abort();
	memcpy(call->data, data, len);
	call->len = len;
}

void double_reset_calls(void)
{
	dp_double.n = 0;
}

unsigned double_count(enum double_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < dp_double.n; i++)
		n += dp_double.calls[i].kind == kind;
	return n;
}

int double_order(enum double_kind kind, unsigned n)
{
	for (unsigned i = 0; i < dp_double.n; i++) {
		if (dp_double.calls[i].kind == kind && n-- == 0)
			return (int)i;
	}
	return -1;
}

const struct double_call *double_call(enum double_kind kind, unsigned n)
{
	int at = double_order(kind, n);

	return at < 0 ? NULL : &dp_double.calls[at];
}

static struct path *make_path(const struct path_params *params)
{
	struct path *path = aligned_alloc(64, sizeof *path);

	if (path == NULL)
		abort();
	memset(path, 0, sizeof *path);
	path->coa = params->coa;
	path->former_coa = params->former_coa;
	path->flags = params->flags;
	path->local = params->local;
	path->remote = params->remote;
	path->mtu = params->mtu;
	path->generation = params->generation;
	path->grace_until_ns = params->grace_until_ns;
	path->first_tx_ns = params->first_tx_ns;
	path->rrp_tx_ns = params->rrp_tx_ns;
	path->credit = params->credit;
	return path;
}

int dataplane_node_add(struct dataplane *dp, const struct dp_node_params *params, struct node **out)
{
	struct node *node = aligned_alloc(64, sizeof *node);
	struct double_call *call = note(DOUBLE_NODE_ADD);

	(void)dp;
	if (node == NULL || params->handle >= DOUBLE_NODES_MAX ||
		dp_double.nodes[params->handle] != NULL)
		abort();
	memset(node, 0, sizeof *node);
	node->home_address = params->home_address;
	node->handle = params->handle;
	atomic_store(&node->path, make_path(&params->path));
	dp_double.nodes[params->handle] = node;
	call->node = params->handle;
	call->path = params->path;
	*out = node;
	return 0;
}

static struct notices *sa_notices(void)
{
	if (dp_double.notices.words == NULL && !notices_init(&dp_double.notices, DOUBLE_NODES_MAX))
		abort();
	return &dp_double.notices;
}

/* Of all SAs that have none of their own. */
static struct sa_limits *no_limits(void)
{
	static struct sa_limits limits;

	sa_limits_init_shared(&limits, sa_notices());
	return &limits;
}

static struct counter_slot *slot_new(const struct sa_params *params, bool inbound)
{
	uint8_t id[COUNTERS_ID_BYTES];

	if (dp_double.counters == NULL)
		return calloc(1, sizeof(struct counter_slot));
	sa_slot_id(params, inbound, id);
	return counters_take(dp_double.counters, id, inbound ? params->replay_window : 0);
}

static void slot_free(struct counter_slot *slot, bool drop)
{
	if (dp_double.counters == NULL)
		free(slot);
	else if (drop)
		counters_drop(dp_double.counters, slot);
}

static void free_sa_in(struct sa_in *sa, bool drop)
{
	if (sa != NULL) {
		slot_free(sa->slot, drop);
		sa_limits_free(&sa_memory_heap, atomic_load(&sa->limits));
	}
	free(sa);
}

static void free_sa_out(struct sa_out *sa, bool drop)
{
	if (sa != NULL) {
		slot_free(sa->slot, drop);
		sa_limits_free(&sa_memory_heap, atomic_load(&sa->limits));
	}
	free(sa);
}

static void free_node(struct node *node, bool drop)
{
	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++)
		free_sa_in(node->sa_in[i], drop);
	free_sa_out(atomic_load(&node->sa_out), drop);
	free_sa_out(node->sa_out_next, drop);
	free(atomic_load(&node->path));
	free(node);
}

int dataplane_node_del(struct dataplane *dp, struct node *node, bool drop_slots)
{
	struct double_call *call;

	(void)dp;
	if (dp_double.node_dels_refused != 0) {
		dp_double.node_dels_refused--;
		return -EAGAIN;
	}
	call = note(DOUBLE_NODE_DEL);
	call->node = node->handle;
	call->drop_slot = drop_slots;
	dp_double.nodes[node->handle] = NULL;
	free_node(node, drop_slots);
	return 0;
}

void double_free_nodes(void)
{
	for (unsigned i = 0; i < DOUBLE_NODES_MAX; i++) {
		if (dp_double.nodes[i] != NULL)
			free_node(dp_double.nodes[i], false);
		dp_double.nodes[i] = NULL;
	}
	notices_fini(&dp_double.notices);
}

int dataplane_sa_in_add(struct dataplane *dp, struct node *node, const struct sa_params *params)
{
	struct double_call *call = note(DOUBLE_SA_ADD);

	(void)dp;
	call->node = node->handle;
	call->spi = params->spi;
	for (unsigned i = 0; dp_double.sa_add_fails == 0 && i < NODE_INBOUND_MAX; i++) {
		if (node->sa_in[i] != NULL)
			continue;
		node->sa_in[i] = aligned_alloc(SA_CACHE_LINE, sizeof *node->sa_in[i]);
		memset(node->sa_in[i], 0, sizeof *node->sa_in[i]);
		node->sa_in[i]->spi = params->spi;
		node->sa_in[i]->esn = params->esn;
		node->sa_in[i]->slot = slot_new(params, true);
		atomic_init(&node->sa_in[i]->limits, no_limits());
		sa_in_set_hearer(node->sa_in[i], no_limits(), node->handle);
		return sa_in_set_life(&sa_memory_heap, node->sa_in[i], &params->life);
	}
	return dp_double.sa_add_fails != 0 ? dp_double.sa_add_fails : -ENOSPC;
}

int dataplane_sa_in_del(struct dataplane *dp, struct node *node, uint32_t spi, bool drop_slot)
{
	struct double_call *call = note(DOUBLE_SA_DEL);

	(void)dp;
	call->spi = spi;
	call->drop_slot = drop_slot;
	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++) {
		if (node->sa_in[i] == NULL || node->sa_in[i]->spi != spi)
			continue;
		free_sa_in(node->sa_in[i], drop_slot);
		node->sa_in[i] = NULL;
		return 0;
	}
	return -ENOENT;
}

int dataplane_sa_out_add(
	struct dataplane *dp, struct node *node, const struct sa_params *params, uint32_t iv_epoch)
{
	struct double_call *call = note(DOUBLE_SA_ADD);
	struct sa_out *sa;

	(void)dp;
	call->node = node->handle;
	call->spi = params->spi;
	call->iv_epoch = iv_epoch;
	if (dp_double.sa_add_fails != 0)
		return dp_double.sa_add_fails;
	sa = aligned_alloc(SA_CACHE_LINE, sizeof *sa);
	memset(sa, 0, sizeof *sa);
	sa->spi = params->spi;
	sa->esn = params->esn;
	sa->slot = slot_new(params, false);
	atomic_init(&sa->limits, no_limits());
	sa_out_set_hearer(sa, no_limits(), node->handle);
	if (sa_out_set_life(&sa_memory_heap, sa, &params->life) != 0)
		abort();
	if (atomic_load(&node->sa_out) == NULL)
		atomic_store(&node->sa_out, sa);
	else
		node->sa_out_next = sa;
	return 0;
}

int dataplane_sa_out_switch(struct dataplane *dp, struct node *node)
{
	(void)dp;
	node->sa_out_next = atomic_exchange(&node->sa_out, node->sa_out_next);
	return 0;
}

int dataplane_sa_out_del(struct dataplane *dp, struct node *node, uint32_t spi, bool drop_slot)
{
	struct double_call *call = note(DOUBLE_SA_DEL);
	struct sa_out *sa = atomic_load(&node->sa_out);

	(void)dp;
	call->spi = spi;
	call->drop_slot = drop_slot;
	if (node->sa_out_next != NULL && node->sa_out_next->spi == spi)
		sa = node->sa_out_next;
	else if (sa != NULL && sa->spi == spi)
		atomic_store(&node->sa_out, node->sa_out_next);
	else
		return -ENOENT;
	node->sa_out_next = NULL;
	free_sa_out(sa, drop_slot);
	return 0;
}

int dataplane_sa_set_life(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi,
	const struct sa_lifetimes *life)
{
	(void)dp;
	return inbound ? sa_in_set_life(&sa_memory_heap, node_sa_in(node, spi), life)
		       : sa_out_set_life(&sa_memory_heap, node_sa_out(node, spi), life);
}

void dataplane_sa_end(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi)
{
	(void)dp;
	if (inbound)
		sa_in_end(node_sa_in(node, spi));
	else
		sa_out_end(node_sa_out(node, spi));
}

uint8_t dataplane_sa_take_marks(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi)
{
	(void)dp;
	return inbound ? sa_in_take_marks(node_sa_in(node, spi))
		       : sa_out_take_marks(node_sa_out(node, spi));
}

uint32_t dataplane_sa_noticed(struct dataplane *dp)
{
	uint32_t handle;

	(void)dp;
	return notices_take(sa_notices(), &handle) ? handle : 0;
}

int dataplane_node_set_path(
	struct dataplane *dp, struct node *node, const struct path_params *params)
{
	struct double_call *call = note(DOUBLE_SET_PATH);

	(void)dp;
	call->node = node->handle;
	call->path = *params;
	if (dp_double.set_path_fails != 0)
		return dp_double.set_path_fails;
	free(atomic_exchange(&node->path, make_path(params)));
	return 0;
}

uint64_t dataplane_grace_token(struct dataplane *dp)
{
	(void)dp;
	return ++dp_double.tokens;
}

bool dataplane_grace_done(struct dataplane *dp, uint64_t token)
{
	(void)dp;
	(void)token;
	return !dp_double.grace_open;
}

void dataplane_guard(struct dataplane *dp, const struct dp_guard *guard)
{
	(void)dp;
	dp_double.guard = *guard;
}

int dataplane_send_to_node(
	struct dataplane *dp, uint32_t handle, const void *datagram, size_t len, bool stamp)
{
	struct double_call *call = note(DOUBLE_SEND_TO_NODE);

	(void)dp;
	call->node = handle;
	note_data(call, datagram, len);
	if (stamp && dp_double.stamp_replies)
		atomic_store(&atomic_load(&dp_double.nodes[handle]->path)->rrp_tx_ns,
			++dp_double.stamp_ns);
	return dp_double.send_fails;
}

int dataplane_send_once(struct dataplane *dp, uint32_t handle, const struct ip_endpoint *remote,
	const void *datagram, size_t len)
{
	struct double_call *call = note(DOUBLE_SEND_ONCE);

	(void)dp;
	call->node = handle;
	call->remote = *remote;
	note_data(call, datagram, len);
	return dp_double.send_fails;
}

int dataplane_send_inside(struct dataplane *dp, const void *datagram, size_t len)
{
	(void)dp;
	note_data(note(DOUBLE_SEND_INSIDE), datagram, len);
	return dp_double.send_fails;
}

unsigned dataplane_port_changes(struct dataplane *dp, struct dp_port_change *out, unsigned max)
{
	(void)dp;
	(void)out;
	(void)max;
	return 0;
}

unsigned dataplane_audit_burst(struct dataplane *dp, struct dp_audit *out, unsigned max)
{
	unsigned n = 0;

	(void)dp;
	for (; n < max && dp_double.n_audits > 0; n++, dp_double.n_audits--)
		out[n] = dp_double.audit;
	return n;
}

int dataplane_send_kept(struct dataplane *dp, struct punt *punt)
{
	(void)dp;
	(void)punt;
	note(DOUBLE_SEND_KEPT);
	return dp_double.send_fails;
}

void dataplane_punt_done(struct dataplane *dp, struct punt *punt)
{
	(void)dp;
	(void)punt;
	note(DOUBLE_PUNT_DONE);
}

int dataplane_neigh_set(
	struct dataplane *dp, enum dp_port port, const struct ip_addr *addr, const uint8_t mac[6])
{
	struct double_call *call = note(DOUBLE_NEIGH_SET);

	(void)dp;
	call->port = port;
	call->addr = *addr;
	note_data(call, mac, 6);
	return 0;
}

int dataplane_neigh_del(struct dataplane *dp, enum dp_port port, const struct ip_addr *addr)
{
	struct double_call *call = note(DOUBLE_NEIGH_DEL);

	(void)dp;
	call->port = port;
	call->addr = *addr;
	return 0;
}

void dataplane_neigh_each_used(struct dataplane *dp, dp_neigh_used_fn *fn, void *arg)
{
	struct ip_addr used;

	(void)dp;
	if (ip_addr_parse("192.0.2.254", &used))
		fn(arg, DP_OUTSIDE, &used);
}

int dataplane_route_set(struct dataplane *dp, const struct ip_prefix *dst, enum dp_port port,
	const struct ip_addr *via)
{
	struct double_call *call = note(DOUBLE_ROUTE_SET);

	(void)dp;
	call->prefix = *dst;
	call->port = port;
	if (via != NULL)
		call->addr = *via;
	return 0;
}

int dataplane_route_del(struct dataplane *dp, const struct ip_prefix *dst)
{
	struct double_call *call = note(DOUBLE_ROUTE_DEL);

	(void)dp;
	call->prefix = *dst;
	return 0;
}

int dataplane_send_frame(struct dataplane *dp, enum dp_port port, const void *frame, size_t len)
{
	(void)dp;
	(void)port;
	(void)frame;
	(void)len;
	return 0;
}

void dataplane_port_mac(const struct dataplane *dp, enum dp_port port, uint8_t mac[6])
{
	(void)dp;
	memset(mac, 2 + (int)port, 6);
}

void dataplane_port_stats(const struct dataplane *dp, enum dp_port port, struct dp_port_stats *out)
{
	(void)dp;
	*out = (struct dp_port_stats){.rx_packets = 10 + port};
}

uint32_t dataplane_workers(const struct dataplane *dp)
{
	(void)dp;
	return 1;
}

void dataplane_worker_stats(
	const struct dataplane *dp, uint32_t worker, struct dp_worker_stats *out)
{
	(void)dp;
	*out = (struct dp_worker_stats){.loops = 1000 + worker};
}

void dataplane_verdicts(const struct dataplane *dp, struct dp_verdicts *out)
{
	(void)dp;
	memset(out, 0, sizeof *out);
	out->in[VERDICT_BAD_ICV] = 3;
	out->out[VERDICT_OK] = 4;
	out->ecn_unusual = 5;
}

/* --- policy -------------------------------------------------------------------------------------
 */

struct policy {
	uint32_t n;
	struct policy_rule rules[];
};

struct policy *policy_new(const struct policy_rule *rules, uint32_t n, uint32_t workers)
{
	struct policy *policy = calloc(1, sizeof *policy + n * sizeof *rules);

	(void)workers;
	if (policy == NULL)
		abort();
	policy->n = n;
	if (n != 0)
		memcpy(policy->rules, rules, n * sizeof *rules);
	return policy;
}

void policy_free(struct policy *policy)
{
	free(policy);
}

int dataplane_policy_use(struct dataplane *dp, struct policy *fresh)
{
	(void)dp;
	if (dp_double.policy_use_fails != 0)
		return dp_double.policy_use_fails;
	free(dp_double.policy);
	dp_double.policy = fresh;
	return 0;
}

const struct policy *dataplane_policy(const struct dataplane *dp)
{
	(void)dp;
	return dp_double.policy;
}

const struct policy_rule *policy_rules(const struct policy *policy, uint32_t *n)
{
	*n = policy->n;
	return policy->rules;
}

uint64_t policy_hits(const struct policy *policy, uint32_t i)
{
	(void)policy;
	return 100 + i;
}

uint64_t policy_rest(const struct policy *policy, bool inbound)
{
	(void)policy;
	return 7 + inbound;
}
