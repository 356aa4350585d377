/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an array indexed by handle holds the tunnels; chains find them by home address
 * and name, and their SAs by inbound SPI and key fingerprint. Each change first checks, then asks
 * the packet path, and then takes its places, which cannot fail. Whatever is done to one node takes
 * the same number of steps however many there are; only among the deadlines, one for a node's
 * position, one for the first of its SAs to end and one for its next dummy packet, it takes two
 * more for ten times as many.
 */
#include "control/gw/tunnel.h"

#include "control/gw/deadlines.h"
#include "lib/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64
/* Outbound SPIs are looked up for ICMP alone: longer chains for less memory. */
#define SPIS_OUT_A_CHAIN 8
#define SPIS_OUT_CHAIN_MAX 64
#define TRY_BYTES_MIN 1500
static_assert(POSITION_NEVER_ENDS == DEADLINE_NEVER, "one is passed as the other");

struct tunnels {
	struct tunnel_config config;
	/* [1..max_nodes]. A place without a tunnel that was in use holds the number of the place
	 * to be used after it; used[] tells the two apart. */
	union place {
		struct tunnel *tunnel;
		uintptr_t after;
	} * places;
	uint64_t *used; /* bit: that place has a tunnel */
	uint32_t count;
	uint32_t fresh;          /* no place from here on was ever in use */
	uint32_t oldest, newest; /* of the places given back; 0: none */
	struct chains home_addresses, names, spis_in, spis_out, keys;
	/* by handle: of open positions; of SAs, the first one's; to ask where the node is; of dummy
	 * packets */
	struct deadlines ends, sa_ends, asks, dummies;
};

static bool make_tables(struct tunnels *tunnels, uint32_t max_nodes)
{
	tunnels->places = calloc((size_t)max_nodes + 1, sizeof *tunnels->places);
	tunnels->used = calloc(max_nodes / WORD_BITS + 1, sizeof *tunnels->used);
	tunnels->fresh = 1;
	return tunnels->places != NULL && tunnels->used != NULL &&
	       chains_init(&tunnels->home_addresses, max_nodes) &&
	       chains_init(&tunnels->names, max_nodes) &&
	       chains_init(&tunnels->spis_in, max_nodes) &&
	       chains_init(&tunnels->spis_out, max_nodes / SPIS_OUT_A_CHAIN) &&
	       chains_init(&tunnels->keys, max_nodes) &&
	       deadlines_init(&tunnels->ends, max_nodes) &&
	       deadlines_init(&tunnels->sa_ends, max_nodes) &&
	       deadlines_init(&tunnels->asks, max_nodes) &&
	       deadlines_init(&tunnels->dummies, max_nodes);
}

struct tunnels *tunnels_new(const struct tunnel_config *config)
{
	struct tunnels *tunnels = calloc(1, sizeof *tunnels);

	if (tunnels == NULL)
		return NULL;
	tunnels->config = *config;
	if (!make_tables(tunnels, config->max_nodes)) {
		tunnels_free(tunnels);
		return NULL;
	}
	return tunnels;
}

void tunnels_free(struct tunnels *tunnels)
{
	struct tunnel *tunnel;

	if (tunnels == NULL)
		return;
	while (tunnels->count != 0 && (tunnel = tunnel_next(tunnels, 0)) != NULL)
		(void)tunnel_del(tunnels, tunnel, false);
	chains_fini(&tunnels->home_addresses);
	chains_fini(&tunnels->names);
	chains_fini(&tunnels->spis_in);
	chains_fini(&tunnels->spis_out);
	chains_fini(&tunnels->keys);
	deadlines_fini(&tunnels->ends);
	deadlines_fini(&tunnels->sa_ends);
	deadlines_fini(&tunnels->asks);
	deadlines_fini(&tunnels->dummies);
	free(tunnels->places);
	free(tunnels->used);
	free(tunnels);
}

/* --- handles ------------------------------------------------------------------------------------
 */

static bool is_used(const struct tunnels *tunnels, uint32_t handle)
{
	return (tunnels->used[handle / WORD_BITS] >> handle % WORD_BITS & 1) != 0;
}

/* The next one in turn, 0: none. Places that never were in use come first, then the one that was
 * given back longest ago: an old handle that a home agent still holds soon names nobody. */
static uint32_t free_handle(const struct tunnels *tunnels)
{
	return tunnels->fresh <= tunnels->config.max_nodes ? tunnels->fresh : tunnels->oldest;
}

static void handle_take(struct tunnels *tunnels, uint32_t handle, struct tunnel *tunnel)
{
	if (handle == tunnels->fresh) {
		tunnels->fresh++;
	} else {
		tunnels->oldest = (uint32_t)tunnels->places[handle].after;
		if (tunnels->oldest == 0)
			tunnels->newest = 0;
	}
	tunnels->places[handle].tunnel = tunnel;
	tunnels->used[handle / WORD_BITS] |= UINT64_C(1) << handle % WORD_BITS;
	tunnels->count++;
}

static void handle_give_back(struct tunnels *tunnels, uint32_t handle)
{
	tunnels->places[handle].after = 0;
	tunnels->used[handle / WORD_BITS] &= ~(UINT64_C(1) << handle % WORD_BITS);
	if (tunnels->newest != 0)
		tunnels->places[tunnels->newest].after = handle;
	else
		tunnels->oldest = handle;
	tunnels->newest = handle;
	tunnels->count--;
}

/* --- nodes --------------------------------------------------------------------------------------
 */

bool tunnel_is_open(uint32_t flags, const struct position *position)
{
	return (flags & NODE_RETURN_ROUTABILITY) != 0 && !position->verified;
}

static struct path_params path_of(
	const struct tunnels *tunnels, uint32_t flags, const struct position *position)
{
	struct path_params params = {
		.local = {.addr = position->remote.addr.family == AF_INET6
					  ? tunnels->config.local_v6
					  : tunnels->config.local},
		.remote = position->remote,
		.second = position->former_remote,
		.coa = position->coa,
		.former_coa = position->former_coa,
		.grace_until_ns = position->grace_until_ns,
		.generation = position->generation,
		.mtu = tunnels->config.mtu,
	};

	if (position->remote.port != 0)
		params.local.port = PATH_NAT_PORT;
	if (!ip_addr_equal(&position->remote.addr, &position->coa))
		params.flags |= PATH_LABEL;
	if (tunnel_is_open(flags, position))
		params.flags |= PATH_UNVERIFIED;
	if (position->closed || !ip_addr_is_set(&position->coa)) {
		/* No address that could be sent to may be left in a closed path. */
		params.flags = PATH_CLOSED;
		params.remote = params.second = (struct ip_endpoint){0};
		params.coa = params.former_coa = (struct ip_addr){0};
	}
	return params;
}

/* A step of the wall clock after this does not end or prolong a registration. */
static uint64_t ends_mono_ns(const struct position *position)
{
	const uint64_t real_ns = clock_real_ns();

	if (position->closed || position->ends_real_ns == POSITION_NEVER_ENDS)
		return POSITION_NEVER_ENDS;
	return clock_mono_ns() +
	       (position->ends_real_ns > real_ns ? position->ends_real_ns - real_ns : 0);
}

static struct tunnel *tunnel_make(const struct tunnel_params *params, uint32_t handle)
{
	const size_t name_bytes = strlen(params->name) + 1;
	struct tunnel *tunnel = calloc(1, sizeof *tunnel + name_bytes);

	if (tunnel == NULL)
		return NULL;
	memcpy(tunnel->name, params->name, name_bytes);
	tunnel->home_address = params->home_address;
	tunnel->handle = handle;
	tunnel->home_agent = (uint16_t)params->home_agent;
	tunnel->flags = params->flags;
	tunnel->tfc = params->tfc;
	tunnel->configured = params->configured;
	tunnel->position = params->position;
	return tunnel;
}

/* Before a path on credit is published. False: out of memory. */
static bool can_be_asked(struct tunnel *tunnel)
{
	if ((tunnel->flags & NODE_RETURN_ROUTABILITY) != 0 && tunnel->reach == NULL)
		tunnel->reach = calloc(1, sizeof *tunnel->reach);
	return (tunnel->flags & NODE_RETURN_ROUTABILITY) == 0 || tunnel->reach != NULL;
}

/* From max, which params has. */
static void draw_credit(
	const struct tunnels *tunnels, struct tunnel *tunnel, struct path_params *params)
{
	if (tunnel->reach != NULL && (params->flags & PATH_ON_CREDIT) != 0)
		params->credit = budget_take(&tunnel->reach->budget,
			tunnels->config.unverified_credit, params->credit, clock_mono_ns());
}

/* After that path was published. */
static void note_ask(
	struct tunnels *tunnels, struct tunnel *tunnel, const struct path_params *params)
{
	if (tunnel->reach == NULL)
		return;
	tunnel->reach->state = REACH_VOID;
	deadline_set(&tunnels->asks, tunnel->handle,
		(params->flags & PATH_ON_CREDIT) != 0 ? 0 : DEADLINE_NEVER);
}

static void tunnel_release(struct tunnel *tunnel)
{
	free(tunnel->rrqs);
	free(tunnel->reach);
	free(tunnel);
}

static struct chain_link **place_of_home_address(
	const struct tunnels *tunnels, const struct ip_addr *addr)
{
	return chains_at(&tunnels->home_addresses, addr, sizeof *addr);
}

static struct chain_link **place_of_name(const struct tunnels *tunnels, const char *name)
{
	return chains_at(&tunnels->names, name, strlen(name));
}

static struct chain_link **place_of_spi(const struct tunnels *tunnels, uint32_t spi, bool inbound)
{
	return chains_at(inbound ? &tunnels->spis_in : &tunnels->spis_out, &spi, sizeof spi);
}

static struct chain_link **place_of_key(
	const struct tunnels *tunnels, const uint8_t key_id[COUNTERS_ID_BYTES])
{
	return chains_at(&tunnels->keys, key_id, COUNTERS_ID_BYTES);
}

int tunnel_add(struct tunnels *tunnels, const struct tunnel_params *params, struct tunnel **out)
{
	const uint32_t handle = free_handle(tunnels);
	struct dp_node_params node = {
		.home_address = params->home_address,
		.home_agent = params->home_agent_source,
		.handle = handle,
		.flags = params->flags,
		.tfc = params->tfc,
		.path = path_of(tunnels, params->flags, &params->position),
	};
	struct tunnel *tunnel;
	int rc;

	if (handle == 0)
		return -ENOSPC;
	if (tunnel_by_name(tunnels, params->name) != NULL ||
		tunnel_by_home_address(tunnels, &params->home_address) != NULL)
		return -EEXIST;
	tunnel = tunnel_make(params, handle);
	if (tunnel == NULL)
		return -ENOMEM;
	rc = -ENOMEM;
	if ((node.path.flags & PATH_ON_CREDIT) == 0 || can_be_asked(tunnel)) {
		node.path.credit = UINT32_MAX;
		draw_credit(tunnels, tunnel, &node.path);
		rc = dataplane_node_add(tunnels->config.dp, &node, &tunnel->node);
	}
	if (rc != 0) {
		tunnel_release(tunnel);
		return rc;
	}
	chain_add(place_of_name(tunnels, tunnel->name), &tunnel->by_name);
	chain_add(place_of_home_address(tunnels, &tunnel->home_address), &tunnel->by_home_address);
	handle_take(tunnels, handle, tunnel);
	deadline_set(&tunnels->ends, handle, ends_mono_ns(&params->position));
	note_ask(tunnels, tunnel, &node.path);
	if (tunnel->tfc.dummies != 0)
		deadline_set(&tunnels->dummies, handle, 0);
	*out = tunnel;
	return 0;
}

static void sa_free(struct tunnel_sa *sa)
{
	if (sa != NULL) {
		free(sa->life);
		free(sa->source);
	}
	free(sa);
}

/* When something is to be done about it. */
static uint64_t sa_due_ns(const struct tunnel_sa *sa)
{
	if (sa->ended)
		return sa->from_file ? DEADLINE_NEVER : 0;
	if (sa->life == NULL)
		return DEADLINE_NEVER;
	return !sa->soft_told && sa->life->soft_ns < sa->life->hard_ns ? sa->life->soft_ns
								       : sa->life->hard_ns;
}

/* After each change of an SA's end. */
static void note_sa_ends(struct tunnels *tunnels, const struct tunnel *tunnel)
{
	uint64_t first_ns = DEADLINE_NEVER;

	for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next) {
		const uint64_t due_ns = sa_due_ns(sa);

		if (due_ns < first_ns)
			first_ns = due_ns;
	}
	deadline_set(&tunnels->sa_ends, tunnel->handle, first_ns);
}

static void forget_sa(struct tunnels *tunnels, struct tunnel_sa *sa)
{
	struct tunnel *tunnel = tunnel_sa_owner(sa);
	struct tunnel_sa **link = &tunnel->sas;

	while (*link != sa)
		link = &(*link)->next;
	*link = sa->next;
	for (unsigned i = 0; i < sa_n_keys((enum crypto_alg)sa->alg); i++)
		chain_del(place_of_key(tunnels, sa->keys[i].id), &sa->keys[i].link);
	if (sa->found_by_spi)
		chain_del(place_of_spi(tunnels, sa->spi, sa->inbound), &sa->by_spi);
	sa_free(sa);
	note_sa_ends(tunnels, tunnel);
}

int tunnel_del(struct tunnels *tunnels, struct tunnel *tunnel, bool drop_slots)
{
	int rc;

	tunnel_harvest(tunnels, tunnel);
	rc = dataplane_node_del(tunnels->config.dp, tunnel->node, drop_slots);
	if (rc != 0)
		return rc;
	while (tunnel->sas != NULL)
		forget_sa(tunnels, tunnel->sas);
	chain_del(place_of_home_address(tunnels, &tunnel->home_address), &tunnel->by_home_address);
	chain_del(place_of_name(tunnels, tunnel->name), &tunnel->by_name);
	deadline_set(&tunnels->ends, tunnel->handle, DEADLINE_NEVER);
	deadline_set(&tunnels->asks, tunnel->handle, DEADLINE_NEVER);
	deadline_set(&tunnels->dummies, tunnel->handle, DEADLINE_NEVER);
	handle_give_back(tunnels, tunnel->handle);
	tunnel_release(tunnel);
	return 0;
}

/* --- finding ------------------------------------------------------------------------------------
 */

struct tunnel *tunnel_by_handle(const struct tunnels *tunnels, uint32_t handle)
{
	return handle <= tunnels->config.max_nodes && is_used(tunnels, handle)
		       ? tunnels->places[handle].tunnel
		       : NULL;
}

struct tunnel *tunnel_by_home_address(const struct tunnels *tunnels, const struct ip_addr *addr)
{
	struct chain_link *link = *place_of_home_address(tunnels, addr);

	for (; link != NULL; link = link->next) {
		struct tunnel *tunnel = CHAIN_OBJECT(link, struct tunnel, by_home_address);

		if (ip_addr_equal(&tunnel->home_address, addr))
			return tunnel;
	}
	return NULL;
}

struct tunnel *tunnel_by_name(const struct tunnels *tunnels, const char *name)
{
	struct chain_link *link = *place_of_name(tunnels, name);

	for (; link != NULL; link = link->next) {
		struct tunnel *tunnel = CHAIN_OBJECT(link, struct tunnel, by_name);

		if (strcmp(tunnel->name, name) == 0)
			return tunnel;
	}
	return NULL;
}

const struct sa_source *tunnel_sa_source(const struct tunnel_sa *sa)
{
	static const struct sa_source any = {.n = 0};

	return sa->source == NULL ? &any : sa->source;
}

struct tunnel *tunnel_by_spi_in(
	const struct tunnels *tunnels, uint32_t spi, const struct sa_source *source)
{
	struct chain_link *link = *place_of_spi(tunnels, spi, true);

	for (; link != NULL; link = link->next) {
		const struct tunnel_sa *sa = CHAIN_OBJECT(link, struct tunnel_sa, by_spi);

		if (sa->spi == spi &&
			(source == NULL || sa_source_clash(tunnel_sa_source(sa), source)))
			return tunnel_sa_owner(sa);
	}
	return NULL;
}

struct tunnel *tunnel_by_key(const struct tunnels *tunnels, const uint8_t key_id[COUNTERS_ID_BYTES])
{
	struct chain_link *link = *place_of_key(tunnels, key_id);

	for (; link != NULL; link = link->next) {
		const struct tunnel_key *key = CHAIN_OBJECT(link, struct tunnel_key, link);

		if (memcmp(key->id, key_id, COUNTERS_ID_BYTES) == 0)
			return key->tunnel;
	}
	return NULL;
}

struct tunnel *tunnel_next(const struct tunnels *tunnels, uint32_t after)
{
	const uint64_t words = tunnels->config.max_nodes / WORD_BITS + 1;
	uint64_t at = (uint64_t)after + 1, word = at / WORD_BITS, bits;

	if (word >= words)
		return NULL;
	bits = tunnels->used[word] >> at % WORD_BITS << at % WORD_BITS;
	while (bits == 0) {
		if (++word == words)
			return NULL;
		bits = tunnels->used[word];
	}
	return tunnels->places[word * WORD_BITS + (unsigned)__builtin_ctzll(bits)].tunnel;
}

uint32_t tunnels_count(const struct tunnels *tunnels)
{
	return tunnels->count;
}

/* --- moving -------------------------------------------------------------------------------------
 */

void tunnel_harvest(const struct tunnels *tunnels, const struct tunnel *tunnel)
{
	const struct path *path;

	if (tunnel->handover == 0)
		return;
	/* The control thread is the only writer of the pointer; the stamps come from workers. */
	path = atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
	handovers_stamp(tunnels->config.handovers, tunnel->handover,
		atomic_load_explicit(&path->first_tx_ns, memory_order_relaxed),
		atomic_load_explicit(&path->rrp_tx_ns, memory_order_relaxed));
}

static struct path *path_in_force(const struct tunnel *tunnel)
{
	/* The control thread is the only writer of the pointer. */
	return atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
}

/*
 * What the path in force has cost the node's budget, now that params replace it. What it has not
 * spent comes back; a worker that still has it in hand spends nothing on top of that. If it turned
 * out that the node is there, nothing was spent at all. Returns what is left of its credit.
 */
static uint32_t settle(struct tunnel_reach *reach, uint32_t size, struct path *path,
	const struct path_params *params)
{
	const bool stays = ip_endpoint_equal(&path->remote, &params->remote);
	const bool on_credit = (params->flags & PATH_ON_CREDIT) != 0;
	uint32_t left = 0;

	if ((path->flags & PATH_ON_CREDIT) == 0) {
		reach->before = reach->budget;
	} else if (stays && !on_credit) {
		reach->budget = reach->before;
	} else {
		left = atomic_exchange_explicit(&path->credit, 0, memory_order_relaxed);
		budget_give_back(&reach->budget, size, left);
		if (!stays)
			reach->before = reach->budget;
	}
	return left;
}

/* Another path, on a credit of at most max bytes if it is one on credit. */
static int publish(
	struct tunnels *tunnels, struct tunnel *tunnel, struct path_params *params, uint32_t max)
{
	struct path *path = path_in_force(tunnel);
	struct tunnel_reach was;
	uint32_t left;
	int rc;

	params->credit = max;
	if ((params->flags & PATH_ON_CREDIT) != 0 && !can_be_asked(tunnel))
		return -ENOMEM;
	if (tunnel->reach == NULL)
		return dataplane_node_set_path(tunnels->config.dp, tunnel->node, params);
	was = *tunnel->reach;
	left = settle(tunnel->reach, tunnels->config.unverified_credit, path, params);
	draw_credit(tunnels, tunnel, params);
	rc = dataplane_node_set_path(tunnels->config.dp, tunnel->node, params);
	if (rc == 0) {
		note_ask(tunnels, tunnel, params);
	} else {
		*tunnel->reach = was;
		atomic_fetch_add_explicit(&path->credit, left, memory_order_relaxed);
	}
	return rc;
}

int tunnel_move(struct tunnels *tunnels, struct tunnel *tunnel, const struct position *position)
{
	struct path_params params = path_of(tunnels, tunnel->flags, position);
	int rc;

	tunnel_harvest(tunnels, tunnel); /* the old path may be freed soon after the store */
	rc = publish(tunnels, tunnel, &params, UINT32_MAX);
	if (rc != 0)
		return rc;
	tunnel->position = *position;
	deadline_set(&tunnels->ends, tunnel->handle, ends_mono_ns(position));
	tunnel->handover = 0;
	return 0;
}

/* The path of a position in which the node is already: it goes on with the stamps of the one in
 * force. */
static struct path_params path_again(
	const struct tunnels *tunnels, const struct tunnel *tunnel, const struct position *position)
{
	const struct path *path = path_in_force(tunnel);
	struct path_params params = path_of(tunnels, tunnel->flags, position);

	params.first_tx_ns = atomic_load_explicit(&path->first_tx_ns, memory_order_relaxed);
	params.rrp_tx_ns = atomic_load_explicit(&path->rrp_tx_ns, memory_order_relaxed);
	return params;
}

/* Provisionally. */
static void aim(struct path_params *params, const struct ip_endpoint *remote)
{
	params->remote = *remote;
	params->local.port = remote->port != 0 ? PATH_NAT_PORT : 0;
	params->second = (struct ip_endpoint){0};
	params->flags |= PATH_PROVISIONAL;
}

int tunnel_set_mtu(struct tunnels *tunnels, struct tunnel *tunnel, uint16_t mtu)
{
	struct path_params params = path_again(tunnels, tunnel, &tunnel->position);
	struct path *path = path_in_force(tunnel);
	int rc;

	params.mtu = mtu != 0 ? mtu : tunnels->config.mtu;
	if (tunnel_is_tried(tunnel))
		aim(&params, &path->remote); /* the try goes on */
	/* What it may still send leaves the path that ends, so a worker that has not seen the next
	 * one sends nothing on top of it. */
	if ((params.flags & PATH_ON_CREDIT) != 0)
		params.credit = atomic_exchange_explicit(&path->credit, 0, memory_order_relaxed);
	rc = dataplane_node_set_path(tunnels->config.dp, tunnel->node, &params);
	if (rc != 0 && params.credit != 0)
		atomic_store_explicit(&path->credit, params.credit, memory_order_relaxed);
	return rc;
}

/* The same way under another description of the position. */
static int change_position(
	struct tunnels *tunnels, struct tunnel *tunnel, const struct position *fresh)
{
	struct path_params params = path_again(tunnels, tunnel, fresh);
	int rc;

	params.mtu = path_in_force(tunnel)->mtu;
	rc = publish(tunnels, tunnel, &params, UINT32_MAX);
	if (rc == 0)
		tunnel->position = *fresh;
	return rc;
}

int tunnel_move_port(struct tunnels *tunnels, struct tunnel *tunnel, uint16_t port)
{
	struct position fresh = tunnel->position;

	fresh.remote.port = port;
	return change_position(tunnels, tunnel, &fresh);
}

int tunnel_verify(struct tunnels *tunnels, struct tunnel *tunnel)
{
	struct position fresh = tunnel->position;

	fresh.verified = true;
	return change_position(tunnels, tunnel, &fresh);
}

int tunnel_try(struct tunnels *tunnels, struct tunnel *tunnel, const struct ip_endpoint *remote,
	uint32_t credit)
{
	struct path_params params = path_again(tunnels, tunnel, &tunnel->position);

	if ((params.flags & PATH_CLOSED) != 0)
		return -EINVAL;
	if (tunnel->reach != NULL) {
		struct budget budget = tunnel->reach->budget;
		const uint32_t size = tunnels->config.unverified_credit;
		const struct path *path = path_in_force(tunnel);

		if ((path->flags & PATH_ON_CREDIT) != 0)
			budget_give_back(&budget, size,
				atomic_load_explicit(&path->credit, memory_order_relaxed));
		/* With next to nothing to spend there the node is better off where it is. */
		if (budget_take(&budget, size, credit, clock_mono_ns()) < TRY_BYTES_MIN)
			return -EAGAIN;
	}
	aim(&params, remote);
	return publish(tunnels, tunnel, &params, credit);
}

int tunnel_try_end(struct tunnels *tunnels, struct tunnel *tunnel)
{
	struct path_params params = path_again(tunnels, tunnel, &tunnel->position);

	return publish(tunnels, tunnel, &params, UINT32_MAX);
}

bool tunnel_is_tried(const struct tunnel *tunnel)
{
	return (path_in_force(tunnel)->flags & PATH_PROVISIONAL) != 0;
}

void tunnel_top_up(const struct tunnels *tunnels, struct tunnel *tunnel, uint64_t now_ns)
{
	const uint32_t size = tunnels->config.unverified_credit;
	struct path *path = path_in_force(tunnel);
	const uint32_t left = atomic_load_explicit(&path->credit, memory_order_relaxed);
	uint32_t whole;

	budget_give_back(&tunnel->reach->budget, size, left);
	whole = budget_take(&tunnel->reach->budget, size, UINT32_MAX, now_ns);
	if (whole > left)
		atomic_fetch_add_explicit(&path->credit, whole - left, memory_order_relaxed);
}

struct tunnel *tunnel_to_ask(const struct tunnels *tunnels, uint64_t now_ns)
{
	return tunnels->places[deadline_due(&tunnels->asks, now_ns)].tunnel;
}

void tunnel_ask_at(struct tunnels *tunnels, struct tunnel *tunnel, uint64_t at_ns)
{
	deadline_set(&tunnels->asks, tunnel->handle, at_ns);
}

struct tunnel *tunnel_dummy_due(const struct tunnels *tunnels, uint64_t now_ns)
{
	return tunnels->places[deadline_due(&tunnels->dummies, now_ns)].tunnel;
}

uint64_t tunnel_dummy_at(const struct tunnels *tunnels, const struct tunnel *tunnel)
{
	return deadline_of(&tunnels->dummies, tunnel->handle);
}

void tunnel_set_dummy(struct tunnels *tunnels, const struct tunnel *tunnel, uint64_t at_ns)
{
	deadline_set(&tunnels->dummies, tunnel->handle, at_ns);
}

uint64_t tunnel_end(const struct tunnels *tunnels, const struct tunnel *tunnel)
{
	return deadline_of(&tunnels->ends, tunnel->handle);
}

/* Deadlines end with their tunnel, so the handle of one always has a tunnel; 0 has none. */
struct tunnel *tunnel_over(const struct tunnels *tunnels, uint64_t now_ns)
{
	return tunnels->places[deadline_due(&tunnels->ends, now_ns)].tunnel;
}

/* --- security associations ----------------------------------------------------------------------
 */

struct tunnel_sa *tunnel_sa_find(struct tunnel *tunnel, bool inbound, uint32_t spi)
{
	for (struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next) {
		if (sa->inbound == inbound && sa->spi == spi)
			return sa;
	}
	return NULL;
}

static bool has_room(const struct tunnel *tunnel, bool inbound)
{
	unsigned same = 0;

	for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next)
		same += sa->inbound == inbound;
	return same < (inbound ? NODE_INBOUND_MAX : TUNNEL_SAS_MAX - NODE_INBOUND_MAX);
}

static int check_sa(
	const struct tunnels *tunnels, struct tunnel *tunnel, const struct tunnel_sa *sa)
{
	if (tunnel_sa_find(tunnel, sa->inbound, sa->spi) != NULL ||
		(sa->inbound && tunnel_by_spi_in(tunnels, sa->spi, tunnel_sa_source(sa)) != NULL))
		return -EEXIST;
	for (unsigned i = 0; i < sa_n_keys((enum crypto_alg)sa->alg); i++)
		if (tunnel_by_key(tunnels, sa->keys[i].id) != NULL)
			return -EKEYREJECTED;
	return has_room(tunnel, sa->inbound) ? 0 : -ENOSPC;
}

/* NULL with 0: no limits. */
static int life_make(const struct sa_lifetimes *limits, struct tunnel_life **out)
{
	static const struct sa_lifetimes none = {.seconds = {0}};

	*out = NULL;
	if (memcmp(limits, &none, sizeof none) == 0)
		return 0;
	*out = calloc(1, sizeof **out);
	if (*out == NULL)
		return -ENOMEM;
	(*out)->limits = *limits;
	return 0;
}

static uint64_t end_ns(uint64_t limit_s, uint64_t now_ns, uint64_t age_ns)
{
	if (limit_s == 0)
		return TUNNEL_NEVER;
	return limit_s * NS_PER_S > age_ns ? now_ns + (limit_s * NS_PER_S - age_ns) : now_ns;
}

static void life_begin(struct tunnel_life *life, uint64_t age_ns)
{
	const uint64_t now_ns = clock_mono_ns();

	life->since_ns = now_ns - age_ns;
	life->soft_ns = end_ns(life->limits.seconds.soft, now_ns, age_ns);
	life->hard_ns = end_ns(life->limits.seconds.hard, now_ns, age_ns);
}

static struct tunnel_sa *sa_make(
	struct tunnel *tunnel, bool inbound, const struct sa_params *params)
{
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	const unsigned n_keys = sa_key_ids(params, ids);
	struct tunnel_sa *sa = calloc(1, sizeof *sa + n_keys * sizeof sa->keys[0]);

	if (sa == NULL)
		return NULL;
	*sa = (struct tunnel_sa){
		.next = tunnel->sas,
		.spi = params->spi,
		.replay_window = inbound ? (uint16_t)params->replay_window : 0,
		.alg = (uint8_t)params->alg,
		.inbound = inbound,
		.esn = params->esn,
	};
	for (unsigned i = 0; i < n_keys; i++) {
		sa->keys[i].tunnel = tunnel;
		memcpy(sa->keys[i].id, ids[i], COUNTERS_ID_BYTES);
	}
	if (life_make(&params->life, &sa->life) != 0) {
		sa_free(sa);
		return NULL;
	}
	if (sa->life != NULL)
		life_begin(sa->life, 0);
	if (!inbound || params->source.n == 0)
		return sa;
	sa->source = malloc(sizeof *sa->source);
	if (sa->source == NULL) {
		sa_free(sa);
		return NULL;
	}
	*sa->source = params->source;
	return sa;
}

/* Peers choose the SPIs of outbound SAs, and may all choose one: no chain gets long by it. */
static void index_spi(struct tunnels *tunnels, struct tunnel_sa *sa)
{
	struct chain_link **place = place_of_spi(tunnels, sa->spi, sa->inbound);
	unsigned n = 0;

	if (!sa->inbound)
		for (struct chain_link *link = *place; link != NULL; link = link->next)
			if (++n == SPIS_OUT_CHAIN_MAX)
				return;
	chain_add(place, &sa->by_spi);
	sa->found_by_spi = true;
}

struct tunnel_sa *tunnel_sa_by_spi_out(
	const struct tunnels *tunnels, uint32_t spi, const struct tunnel_sa *after)
{
	struct chain_link *link = after == NULL ? *place_of_spi(tunnels, spi, false)
						: after->by_spi.next;

	for (; link != NULL; link = link->next) {
		struct tunnel_sa *sa = CHAIN_OBJECT(link, struct tunnel_sa, by_spi);

		if (sa->spi == spi)
			return sa;
	}
	return NULL;
}

int tunnel_sa_add(struct tunnels *tunnels, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, uint32_t iv_epoch)
{
	struct tunnel_sa *sa = sa_make(tunnel, inbound, params);
	int rc = sa == NULL ? -ENOMEM : check_sa(tunnels, tunnel, sa);

	if (rc == 0)
		rc = inbound ? dataplane_sa_in_add(tunnels->config.dp, tunnel->node, params)
			     : dataplane_sa_out_add(
				       tunnels->config.dp, tunnel->node, params, iv_epoch);
	if (rc != 0) {
		sa_free(sa);
		return rc;
	}
	for (unsigned i = 0; i < sa_n_keys((enum crypto_alg)sa->alg); i++)
		chain_add(place_of_key(tunnels, sa->keys[i].id), &sa->keys[i].link);
	index_spi(tunnels, sa);
	tunnel->sas = sa;
	note_sa_ends(tunnels, tunnel);
	return 0;
}

int tunnel_sa_set_life(
	struct tunnels *tunnels, struct tunnel_sa *sa, const struct sa_lifetimes *limits)
{
	struct tunnel_life *life;
	int rc = life_make(limits, &life);

	if (rc != 0)
		return rc;
	rc = dataplane_sa_set_life(
		tunnels->config.dp, tunnel_sa_owner(sa)->node, sa->inbound, sa->spi, limits);
	if (rc != 0) {
		free(life);
		return rc;
	}
	free(sa->life);
	sa->life = life;
	sa->soft_told = false;
	tunnel_sa_set_age(tunnels, sa, 0);
	return 0;
}

void tunnel_sa_set_age(struct tunnels *tunnels, struct tunnel_sa *sa, uint64_t age_ns)
{
	if (sa->life != NULL)
		life_begin(sa->life, age_ns);
	note_sa_ends(tunnels, tunnel_sa_owner(sa));
}

void tunnel_sa_set_soft_told(struct tunnels *tunnels, struct tunnel_sa *sa)
{
	sa->soft_told = true;
	note_sa_ends(tunnels, tunnel_sa_owner(sa));
}

void tunnel_sa_end(struct tunnels *tunnels, struct tunnel_sa *sa)
{
	dataplane_sa_end(tunnels->config.dp, tunnel_sa_owner(sa)->node, sa->inbound, sa->spi);
	sa->ended = true;
	note_sa_ends(tunnels, tunnel_sa_owner(sa));
}

struct tunnel *tunnel_sa_noticed(const struct tunnels *tunnels)
{
	struct tunnel *tunnel = NULL;
	uint32_t handle;

	/* Some of the nodes may be gone by now. */
	while (tunnel == NULL && (handle = dataplane_sa_noticed(tunnels->config.dp)) != 0)
		tunnel = tunnel_by_handle(tunnels, handle);
	return tunnel;
}

uint8_t tunnel_sa_take_marks(const struct tunnels *tunnels, const struct tunnel_sa *sa)
{
	return dataplane_sa_take_marks(
		tunnels->config.dp, tunnel_sa_owner(sa)->node, sa->inbound, sa->spi);
}

struct tunnel *tunnel_sa_over(const struct tunnels *tunnels, uint64_t now_ns)
{
	return tunnels->places[deadline_due(&tunnels->sa_ends, now_ns)].tunnel;
}

int tunnel_sa_del(
	struct tunnels *tunnels, struct tunnel *tunnel, struct tunnel_sa *sa, bool drop_slot)
{
	int rc = sa->inbound
			 ? dataplane_sa_in_del(tunnels->config.dp, tunnel->node, sa->spi, drop_slot)
			 : dataplane_sa_out_del(
				   tunnels->config.dp, tunnel->node, sa->spi, drop_slot);

	if (rc == 0)
		forget_sa(tunnels, sa);
	return rc;
}

int tunnel_sa_switch(struct tunnels *tunnels, struct tunnel *tunnel)
{
	return dataplane_sa_out_switch(tunnels->config.dp, tunnel->node);
}

bool tunnel_sa_is_current(const struct tunnel_sa *sa)
{
	const struct sa_out *next = tunnel_sa_owner(sa)->node->sa_out_next;

	return sa->inbound || next == NULL || next->spi != sa->spi;
}

const struct counter_slot *tunnel_sa_slot(const struct tunnel *tunnel, const struct tunnel_sa *sa)
{
	const struct sa_in *in = sa->inbound ? node_sa_in(tunnel->node, sa->spi) : NULL;
	const struct sa_out *out = sa->inbound ? NULL : node_sa_out(tunnel->node, sa->spi);

	return in != NULL ? in->slot : out != NULL ? out->slot : NULL;
}
