/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: nodes and SAs are built whole, then linked; unlinked, then freed after a grace
 * period. A move first does all that can fail (room to retire, the new path, index entries), then
 * stores one pointer, then brings the CoA index along. The path goes before the index: in between a
 * packet for the former address still finds its node, and the node's path still selects it.
 */
#include "dataplane/esp/sa.h"
#include "dataplane/state.h"

#include <errno.h>
#include <stdlib.h>

#define IV_LOOK_EVERY_NS UINT64_C(10000000) /* 10 ms */

enum { CLAIM_CURRENT, CLAIM_FORMER, CLAIMS };

static struct node_entry *entry_of(struct node *node)
{
	return (struct node_entry *)node; /* the node is its first member */
}

/* --- what is freed after its grace period ------------------------------------------------------
 */

static void path_free(struct dataplane *dp, struct path *path)
{
	if ((path->flags & PATH_ON_CREDIT) != 0)
		atomic_fetch_sub_explicit(&dp->paths_on_credit, 1, memory_order_relaxed);
	free(path->second);
	slab_free(&dp->paths, path);
}

static void free_path(void *owner, void *object, bool flag)
{
	(void)flag;
	path_free(owner, object);
}

static void free_sa_in(void *owner, void *object, bool drop_slot)
{
	struct dataplane *dp = owner;
	struct sa_in *sa = object;

	if (drop_slot)
		counters_drop(dp->counters, sa->slot);
	sa_in_free(&dp->sa_memory, dp->engine, sa);
}

static void free_sa_out(void *owner, void *object, bool drop_slot)
{
	struct dataplane *dp = owner;
	struct sa_out *sa = object;

	if (drop_slot)
		counters_drop(dp->counters, sa->slot);
	sa_out_free(&dp->sa_memory, dp->engine, sa);
}

static void free_node(void *owner, void *object, bool drop_slots)
{
	struct dataplane *dp = owner;
	struct node *node = object;
	struct sa_out *current = atomic_load_explicit(&node->sa_out, memory_order_relaxed);

	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++)
		if (node->sa_in[i] != NULL)
			free_sa_in(dp, node->sa_in[i], drop_slots);
	if (current != NULL)
		free_sa_out(dp, current, drop_slots);
	if (node->sa_out_next != NULL)
		free_sa_out(dp, node->sa_out_next, drop_slots);
	path_free(dp, atomic_load_explicit(&node->path, memory_order_relaxed));
	if (node->tfc.pad != 0)
		atomic_fetch_sub_explicit(&dp->tfc_nodes, 1, memory_order_relaxed);
	slab_free(&dp->nodes, node);
}

/* --- grace time of former addresses, ordered by deadline ----------------------------------------
 */

static void grace_unlink(struct dataplane *dp, struct node_entry *entry)
{
	if (entry->node.grace_until_ns == 0)
		return;
	if (entry->grace_prev != NULL)
		entry->grace_prev->grace_next = entry->grace_next;
	else
		dp->grace_first = entry->grace_next;
	if (entry->grace_next != NULL)
		entry->grace_next->grace_prev = entry->grace_prev;
	else
		dp->grace_last = entry->grace_prev;
	entry->grace_prev = entry->grace_next = NULL;
	entry->node.grace_until_ns = 0;
}

/* The grace time is the same for most moves, so the place is at the end or near it. */
static void grace_link(struct dataplane *dp, struct node_entry *entry, uint64_t until_ns)
{
	struct node_entry *before = dp->grace_last;

	while (before != NULL && before->node.grace_until_ns > until_ns)
		before = before->grace_prev;
	entry->node.grace_until_ns = until_ns;
	entry->grace_prev = before;
	entry->grace_next = before != NULL ? before->grace_next : dp->grace_first;
	if (entry->grace_next != NULL)
		entry->grace_next->grace_prev = entry;
	else
		dp->grace_last = entry;
	if (before != NULL)
		before->grace_next = entry;
	else
		dp->grace_first = entry;
}

static void grace_expire(struct dataplane *dp, uint64_t now_ns)
{
	while (dp->grace_first != NULL && dp->grace_first->node.grace_until_ns <= now_ns) {
		struct node_entry *entry = dp->grace_first;

		if (rcu_room(&dp->rcu, 1) == 0)
			return; /* the path refuses the address by its own deadline; try later */
		coa_claim_release(&dp->coas, &entry->claims[CLAIM_FORMER]);
		grace_unlink(dp, entry);
	}
}

/* --- the CoA index follows the path --------------------------------------------------------------
 */

static int reserve_coas(
	struct dataplane *dp, const struct path *path, struct coa_entry *coas[CLAIMS])
{
	int ret;

	coas[CLAIM_CURRENT] = coas[CLAIM_FORMER] = NULL;
	/* A label's owner is whoever the home agent tunnels to, by home address alone. */
	if (path->flags & (PATH_CLOSED | PATH_LABEL))
		return 0;
	if (ip_addr_is_set(&path->coa)) {
		ret = coa_index_reserve(&dp->coas, &path->coa, &coas[CLAIM_CURRENT]);
		if (ret != 0)
			return ret;
	}
	if (!ip_addr_is_set(&path->former_coa) || path->grace_until_ns == 0 ||
		ip_addr_equal(&path->former_coa, &path->coa))
		return 0;
	ret = coa_index_reserve(&dp->coas, &path->former_coa, &coas[CLAIM_FORMER]);
	if (ret != 0 && coas[CLAIM_CURRENT] != NULL)
		coa_index_unreserve(&dp->coas, coas[CLAIM_CURRENT]);
	return ret;
}

/* The new claims stand before the old ones go, so an address that stays is never without owner. */
static void replace_claims(struct dataplane *dp, struct node_entry *entry, const struct path *path,
	struct coa_entry *coas[CLAIMS])
{
	struct coa_claim fresh[CLAIMS] = {0};

	for (unsigned i = 0; i < CLAIMS; i++)
		if (coas[i] != NULL)
			coa_claim_set(&fresh[i], &entry->node, coas[i], i == CLAIM_FORMER);
	for (unsigned i = 0; i < CLAIMS; i++)
		coa_claim_release(&dp->coas, &entry->claims[i]);
	for (unsigned i = 0; i < CLAIMS; i++)
		coa_claim_move(&entry->claims[i], &fresh[i]);
	grace_unlink(dp, entry);
	if (coas[CLAIM_FORMER] != NULL)
		grace_link(dp, entry, path->grace_until_ns);
}

/* Best effort: a move must not fail for want of this. */
static void add_second(struct dataplane *dp, struct path *path, const struct path_params *params)
{
	struct ip_endpoint local = {.addr = params->local.addr};

	if (!ip_addr_is_set(&params->second.addr) || (path->flags & PATH_CLOSED) != 0)
		return;
	if (local.addr.family != params->second.addr.family) /* it moved from one to the other */
		local.addr = port_first_addr(&dp->ports[DP_OUTSIDE], params->second.addr.family);
	if (params->second.port != 0)
		local.port = PATH_NAT_PORT;
	path->second = malloc(sizeof *path->second);
	if (path->second == NULL)
		return;
	if (!path_outer_init(path->second, &local, &params->second)) {
		free(path->second);
		path->second = NULL;
		return;
	}
	path->flags |= PATH_BICAST;
	/* Before the path is published: who finds it finds this, too. */
	if (path->grace_until_ns > atomic_load_explicit(&dp->bicast_until_ns, memory_order_relaxed))
		atomic_store_explicit(
			&dp->bicast_until_ns, path->grace_until_ns, memory_order_relaxed);
}

static int path_make(struct dataplane *dp, const struct path_params *params, struct path **out)
{
	struct path *path = slab_alloc(&dp->paths);

	if (path == NULL)
		return -ENOMEM;
	if (!path_init(path, params)) {
		slab_free(&dp->paths, path);
		return -EINVAL;
	}
	add_second(dp, path, params);
	/* Before the path is published: who finds it finds this, too. */
	if ((path->flags & PATH_ON_CREDIT) != 0)
		atomic_fetch_add_explicit(&dp->paths_on_credit, 1, memory_order_relaxed);
	*out = path;
	return 0;
}

int dataplane_node_set_path(
	struct dataplane *dp, struct node *node, const struct path_params *params)
{
	struct coa_entry *coas[CLAIMS];
	struct path *fresh, *old;
	int ret;

	if (rcu_room(&dp->rcu, SWAP_RETIRES) < SWAP_RETIRES)
		return -EAGAIN;
	ret = path_make(dp, params, &fresh);
	if (ret != 0)
		return ret;
	ret = reserve_coas(dp, fresh, coas);
	if (ret != 0) {
		path_free(dp, fresh);
		return ret;
	}

	/* Release pairs with the acquire of every worker that loads node->path. The SAs and their
	 * counters stay where they are. */
	old = atomic_exchange_explicit(&node->path, fresh, memory_order_acq_rel);
	rcu_retire(&dp->rcu, free_path, dp, old, false);
	replace_claims(dp, entry_of(node), fresh, coas);
	return 0;
}

/* --- nodes
 * ---------------------------------------------------------------------------------------- */

static int check_params(const struct dataplane *dp, const struct dp_node_params *params)
{
	if (params->handle == 0 || params->handle > dp->max_nodes)
		return -EINVAL;
	if (!ip_addr_is_set(&params->home_address) ||
		home_agent_index(dp, ip_addr_to_v4(&params->home_agent)) == dp->n_home_agents)
		return -EINVAL;
	return node_by_handle(dp, params->handle) == NULL ? 0 : -EEXIST;
}

static int link_node(
	struct dataplane *dp, struct node_entry *entry, const struct path_params *params)
{
	struct coa_entry *coas[CLAIMS];
	struct path *path;
	int ret = path_make(dp, params, &path);

	if (ret != 0)
		return ret;
	atomic_store_explicit(&entry->node.path, path, memory_order_relaxed);
	ret = reserve_coas(dp, path, coas);
	if (ret != 0)
		goto no_coas;
	ret = sad_home_add(&dp->sad, &entry->node);
	if (ret != 0)
		goto no_home;
	replace_claims(dp, entry, path, coas);
	/* Release pairs with the acquire in node_by_handle(). */
	atomic_store_explicit(
		&dp->by_handle[entry->node.handle], &entry->node, memory_order_release);
	return 0;

no_home:
	for (unsigned i = 0; i < CLAIMS; i++)
		if (coas[i] != NULL)
			coa_index_unreserve(&dp->coas, coas[i]);
no_coas:
	path_free(dp, path);
	return ret;
}

int dataplane_node_add(struct dataplane *dp, const struct dp_node_params *params, struct node **out)
{
	struct node_entry *entry;
	int ret = check_params(dp, params);

	if (ret != 0)
		return ret;
	if (rcu_room(&dp->rcu, SWAP_RETIRES) < SWAP_RETIRES)
		return -EAGAIN;
	entry = slab_alloc(&dp->nodes);
	if (entry == NULL)
		return -ENOMEM;
	entry->node.home_address = params->home_address;
	entry->node.home_agent = ip_addr_to_v4(&params->home_agent);
	entry->node.home_agent_v6 =
		dp->home_agents_v6[home_agent_index(dp, entry->node.home_agent)];
	entry->node.handle = params->handle;
	entry->node.flags = params->flags;
	entry->node.tfc = params->tfc;
	/* Before the node is published: who finds it finds this, too. */
	if (params->tfc.pad != 0)
		atomic_fetch_add_explicit(&dp->tfc_nodes, 1, memory_order_relaxed);
	ret = link_node(dp, entry, &params->path);
	if (ret != 0) {
		if (params->tfc.pad != 0)
			atomic_fetch_sub_explicit(&dp->tfc_nodes, 1, memory_order_relaxed);
		slab_free(&dp->nodes, entry);
		return ret;
	}
	*out = &entry->node;
	return 0;
}

int dataplane_node_del(struct dataplane *dp, struct node *node, bool drop_slots)
{
	struct node_entry *entry = entry_of(node);

	if (rcu_room(&dp->rcu, SWAP_RETIRES) < SWAP_RETIRES)
		return -EAGAIN;
	/* 1. unlink from everything that workers search; 2. grace period; 3. free_node() */
	atomic_store_explicit(&dp->by_handle[node->handle], NULL, memory_order_relaxed);
	sad_home_del(&dp->sad, node);
	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++)
		if (node->sa_in[i] != NULL)
			sad_in_del(&dp->sad, node->sa_in[i]);
	for (unsigned i = 0; i < CLAIMS; i++)
		coa_claim_release(&dp->coas, &entry->claims[i]);
	grace_unlink(dp, entry);
	rcu_retire(&dp->rcu, free_node, dp, node, drop_slots);
	return 0;
}

/* --- SAs
 * ------------------------------------------------------------------------------------------ */

int dataplane_sa_in_add(struct dataplane *dp, struct node *node, const struct sa_params *params)
{
	struct sa_in **place = NULL;
	struct sa_in *sa;
	int ret;

	for (unsigned i = 0; i < NODE_INBOUND_MAX && place == NULL; i++)
		if (node->sa_in[i] == NULL)
			place = &node->sa_in[i];
	if (place == NULL)
		return -ENOSPC;
	/* Before sa_in_new(), which would take the slot of an SA that is in use. */
	if (sad_in_taken(&dp->sad, params))
		return -EEXIST;
	ret = sa_in_new(
		&dp->sa_memory, dp->engine, dp->counters, params, node, dp->n_workers > 1, &sa);
	if (ret != 0)
		return ret;
	sa->inner_source = node->home_address;
	sa_in_set_hearer(sa, &dp->sa_no_limits, node->handle);
	ret = sad_in_add(&dp->sad, sa);
	if (ret != 0) {
		sa_in_free(&dp->sa_memory, dp->engine, sa);
		return ret;
	}
	*place = sa;
	return 0;
}

int dataplane_sa_in_del(struct dataplane *dp, struct node *node, uint32_t spi, bool drop_slot)
{
	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++) {
		struct sa_in *sa = node->sa_in[i];

		if (sa == NULL || sa->spi != spi)
			continue;
		if (rcu_room(&dp->rcu, 1) == 0)
			return -EAGAIN;
		sad_in_del(&dp->sad, sa);
		node->sa_in[i] = NULL;
		rcu_retire(&dp->rcu, free_sa_in, dp, sa, drop_slot);
		return 0;
	}
	return -ENOENT;
}

int dataplane_sa_out_add(
	struct dataplane *dp, struct node *node, const struct sa_params *params, uint32_t iv_epoch)
{
	struct sa_out *current = atomic_load_explicit(&node->sa_out, memory_order_relaxed);
	struct sa_out *sa;
	int ret;

	if (node_sa_out(node, params->spi) != NULL)
		return -EEXIST;
	if (current != NULL && node->sa_out_next != NULL)
		return -ENOSPC;
	ret = sa_out_new(&dp->sa_memory, dp->engine, dp->counters, params, node, dp->n_workers > 1,
		iv_epoch, &sa);
	if (ret != 0)
		return ret;
	sa_out_set_hearer(sa, &dp->sa_no_limits, node->handle);
	if (current == NULL)
		/* Release pairs with the acquire in protect_burst(). */
		atomic_store_explicit(&node->sa_out, sa, memory_order_release);
	else
		node->sa_out_next = sa;
	return 0;
}

int dataplane_sa_out_switch(struct dataplane *dp, struct node *node)
{
	(void)dp;
	if (node->sa_out_next == NULL)
		return -ENOENT;
	/* The former one stays beside it until dataplane_sa_out_del(). Release as in _add(). */
	node->sa_out_next = atomic_exchange_explicit(
		&node->sa_out, node->sa_out_next, memory_order_acq_rel);
	return 0;
}

int dataplane_sa_out_del(struct dataplane *dp, struct node *node, uint32_t spi, bool drop_slot)
{
	struct sa_out *current = atomic_load_explicit(&node->sa_out, memory_order_relaxed);
	struct sa_out *gone;

	if (rcu_room(&dp->rcu, 1) == 0)
		return -EAGAIN;
	if (node->sa_out_next != NULL && node->sa_out_next->spi == spi) {
		gone = node->sa_out_next;
	} else if (current != NULL && current->spi == spi) {
		gone = current;
		atomic_store_explicit(&node->sa_out, node->sa_out_next, memory_order_release);
	} else {
		return -ENOENT;
	}
	node->sa_out_next = NULL;
	rcu_retire(&dp->rcu, free_sa_out, dp, gone, drop_slot);
	return 0;
}

/* --- house-keeping
 * -------------------------------------------------------------------------------- */

static void renew_epoch(struct sa_out *sa, dp_take_epoch_fn *fn, void *arg)
{
	uint32_t epoch;

	if (sa != NULL && sa_out_iv_used_up(sa) && fn(arg, &epoch) == 0)
		sa_out_renew_iv(sa, epoch);
}

/* Workers count a packet that found its IVs used up; no count, no search. Not looked at in every
 * turn: it takes the lines of all counters from the workers, who write them with each burst. */
static void renew_epochs(struct dataplane *dp, uint64_t now_ns, dp_take_epoch_fn *fn, void *arg)
{
	struct dp_verdicts sums;
	uint64_t exhausted;

	if (now_ns < dp->iv_look_at_ns)
		return;
	dp->iv_look_at_ns = now_ns + IV_LOOK_EVERY_NS;
	dataplane_verdicts(dp, &sums);
	exhausted = sums.out[VERDICT_IV_EXHAUSTED] + sums.local[VERDICT_IV_EXHAUSTED];
	if (exhausted == dp->iv_exhausted_seen)
		return;
	dp->iv_exhausted_seen = exhausted;
	for (uint32_t handle = 1; handle <= dp->max_nodes; handle++) {
		struct node *node = node_by_handle(dp, handle);

		if (node == NULL)
			continue;
		renew_epoch(atomic_load_explicit(&node->sa_out, memory_order_relaxed), fn, arg);
		renew_epoch(node->sa_out_next, fn, arg);
	}
}

void node_table_poll(struct dataplane *dp, uint64_t now_ns, dp_take_epoch_fn *fn, void *arg)
{
	grace_expire(dp, now_ns);
	if (fn != NULL)
		renew_epochs(dp, now_ns, fn, arg);
}

void node_table_free(struct dataplane *dp)
{
	for (uint32_t handle = 1; dp->by_handle != NULL && handle <= dp->max_nodes; handle++) {
		struct node *node = node_by_handle(dp, handle);

		if (node != NULL)
			free_node(dp, node, false);
	}
}
