/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an array indexed by handle holds the tunnels, four keymaps find them by home
 * address, name, inbound SPI and key fingerprint. Each change first takes its places in the maps,
 * then asks the packet path, and gives the places back if that refuses.
 */
#include "control/gw/tunnel.h"

#include "control/gw/keymap.h"
#include "lib/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tunnels {
	struct tunnel_config config;
	struct tunnel **by_handle; /* [0..max_nodes], [0] unused */
	uint32_t count, max_handle, last_given;
	struct keymap *home_addresses, *names, *spis_in, *keys;
};

struct tunnels *tunnels_new(const struct tunnel_config *config)
{
	struct tunnels *tunnels = calloc(1, sizeof *tunnels);

	if (tunnels == NULL)
		return NULL;
	tunnels->config = *config;
	tunnels->by_handle = calloc((size_t)config->max_nodes + 1, sizeof(struct tunnel *));
	tunnels->home_addresses = keymap_new();
	tunnels->names = keymap_new();
	tunnels->spis_in = keymap_new();
	tunnels->keys = keymap_new();
	if (tunnels->by_handle == NULL || tunnels->home_addresses == NULL ||
		tunnels->names == NULL || tunnels->spis_in == NULL || tunnels->keys == NULL) {
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
	while (tunnels->by_handle != NULL && (tunnel = tunnel_next(tunnels, 0)) != NULL)
		(void)tunnel_del(tunnels, tunnel, false);
	keymap_free(tunnels->home_addresses);
	keymap_free(tunnels->names);
	keymap_free(tunnels->spis_in);
	keymap_free(tunnels->keys);
	free(tunnels->by_handle);
	free(tunnels);
}

/* A free handle, round robin: an old handle that a home agent still holds soon names nobody. */
static uint32_t free_handle(const struct tunnels *tunnels)
{
	const uint32_t max = tunnels->config.max_nodes;

	if (tunnels->count >= max)
		return 0;
	for (uint32_t handle = tunnels->last_given % max + 1;; handle = handle % max + 1) {
		if (tunnels->by_handle[handle] == NULL)
			return handle;
	}
}

static struct path_params path_of(const struct tunnels *tunnels, const struct position *position)
{
	struct path_params params = {
		.local = {.addr = tunnels->config.local},
		.remote = position->remote,
		.coa = position->coa,
		.former_coa = position->former_coa,
		.grace_until_ns = position->grace_until_ns,
		.generation = position->generation,
		.mtu = tunnels->config.mtu,
	};

	if (position->closed || !ip_addr_is_set(&position->coa)) {
		/* No address that could be sent to may be left in a closed path. */
		params.flags = PATH_CLOSED;
		params.remote = (struct ip_endpoint){0};
		params.coa = params.former_coa = (struct ip_addr){0};
	}
	return params;
}

/* A step of the wall clock after this does not end or prolong a registration. */
static uint64_t ends_mono_ns(const struct position *position)
{
	const uint64_t real_ns = clock_real_ns();

	if (position->ends_real_ns == POSITION_NEVER_ENDS)
		return POSITION_NEVER_ENDS;
	return clock_mono_ns() +
	       (position->ends_real_ns > real_ns ? position->ends_real_ns - real_ns : 0);
}

int tunnel_add(struct tunnels *tunnels, const struct tunnel_params *params, struct tunnel **out)
{
	const uint32_t handle = free_handle(tunnels);
	struct dp_node_params node = {
		.home_address = params->home_address,
		.home_agent = params->home_agent_source,
		.handle = handle,
		.flags = params->flags,
		.path = path_of(tunnels, &params->position),
	};
	struct tunnel *tunnel;
	int rc;

	if (handle == 0)
		return -ENOSPC;
	tunnel = calloc(1, sizeof *tunnel);
	if (tunnel == NULL)
		return -ENOMEM;
	strncpy(tunnel->name, params->name, sizeof tunnel->name - 1);
	tunnel->home_address = params->home_address;
	tunnel->handle = handle;
	tunnel->home_agent = params->home_agent;
	tunnel->flags = params->flags;
	tunnel->configured = params->configured;
	tunnel->position = params->position;
	tunnel->ends_ns = ends_mono_ns(&params->position);

	rc = keymap_add(tunnels->names, tunnel->name, strlen(tunnel->name), handle);
	if (rc != 0)
		goto no_name;
	rc = keymap_add(tunnels->home_addresses, &tunnel->home_address, sizeof tunnel->home_address,
		handle);
	if (rc != 0)
		goto no_home_address;
	rc = dataplane_node_add(tunnels->config.dp, &node, &tunnel->node);
	if (rc != 0)
		goto no_node;
	tunnels->by_handle[handle] = tunnel;
	tunnels->last_given = handle;
	tunnels->count++;
	if (handle > tunnels->max_handle)
		tunnels->max_handle = handle;
	*out = tunnel;
	return 0;

no_node:
	keymap_del(tunnels->home_addresses, &tunnel->home_address, sizeof tunnel->home_address);
no_home_address:
	keymap_del(tunnels->names, tunnel->name, strlen(tunnel->name));
no_name:
	free(tunnel);
	return rc;
}

static void forget_sa(struct tunnels *tunnels, struct tunnel_sa *sa)
{
	keymap_del(tunnels->keys, sa->key_id, sizeof sa->key_id);
	if (sa->inbound)
		keymap_del(tunnels->spis_in, &sa->spi, sizeof sa->spi);
	memset(sa, 0, sizeof *sa);
}

int tunnel_del(struct tunnels *tunnels, struct tunnel *tunnel, bool drop_slots)
{
	int rc;

	tunnel_harvest(tunnels, tunnel);
	rc = dataplane_node_del(tunnels->config.dp, tunnel->node, drop_slots);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < TUNNEL_SAS_MAX; i++) {
		if (tunnel->sas[i].used)
			forget_sa(tunnels, &tunnel->sas[i]);
	}
	keymap_del(tunnels->home_addresses, &tunnel->home_address, sizeof tunnel->home_address);
	keymap_del(tunnels->names, tunnel->name, strlen(tunnel->name));
	tunnels->by_handle[tunnel->handle] = NULL;
	tunnels->count--;
	while (tunnels->max_handle > 0 && tunnels->by_handle[tunnels->max_handle] == NULL)
		tunnels->max_handle--;
	free(tunnel);
	return 0;
}

/* --- finding ------------------------------------------------------------------------------------
 */

struct tunnel *tunnel_by_handle(const struct tunnels *tunnels, uint32_t handle)
{
	return handle <= tunnels->max_handle ? tunnels->by_handle[handle] : NULL;
}

static struct tunnel *find_by(
	const struct tunnels *tunnels, const struct keymap *map, const void *key, size_t len)
{
	uint32_t handle;

	return keymap_get(map, key, len, &handle) ? tunnels->by_handle[handle] : NULL;
}

struct tunnel *tunnel_by_home_address(const struct tunnels *tunnels, const struct ip_addr *addr)
{
	return find_by(tunnels, tunnels->home_addresses, addr, sizeof *addr);
}

struct tunnel *tunnel_by_name(const struct tunnels *tunnels, const char *name)
{
	return find_by(tunnels, tunnels->names, name, strlen(name));
}

struct tunnel *tunnel_by_spi_in(const struct tunnels *tunnels, uint32_t spi)
{
	return find_by(tunnels, tunnels->spis_in, &spi, sizeof spi);
}

struct tunnel *tunnel_by_key(const struct tunnels *tunnels, const uint8_t key_id[COUNTERS_ID_BYTES])
{
	return find_by(tunnels, tunnels->keys, key_id, COUNTERS_ID_BYTES);
}

struct tunnel *tunnel_next(const struct tunnels *tunnels, uint32_t after)
{
	for (uint32_t handle = after + 1; handle <= tunnels->max_handle; handle++) {
		if (tunnels->by_handle[handle] != NULL)
			return tunnels->by_handle[handle];
	}
	return NULL;
}

uint32_t tunnels_count(const struct tunnels *tunnels)
{
	return tunnels->count;
}

uint32_t tunnels_max_handle(const struct tunnels *tunnels)
{
	return tunnels->max_handle;
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

int tunnel_move(struct tunnels *tunnels, struct tunnel *tunnel, const struct position *position)
{
	const struct path_params params = path_of(tunnels, position);
	int rc;

	tunnel_harvest(tunnels, tunnel); /* the old path may be freed soon after the store */
	rc = dataplane_node_set_path(tunnels->config.dp, tunnel->node, &params);
	if (rc != 0)
		return rc;
	tunnel->position = *position;
	tunnel->ends_ns = ends_mono_ns(position);
	tunnel->handover = 0;
	return 0;
}

/* --- security associations ----------------------------------------------------------------------
 */

struct tunnel_sa *tunnel_sa_find(struct tunnel *tunnel, bool inbound, uint32_t spi)
{
	for (unsigned i = 0; i < TUNNEL_SAS_MAX; i++) {
		struct tunnel_sa *sa = &tunnel->sas[i];

		if (sa->used && sa->inbound == inbound && sa->spi == spi)
			return sa;
	}
	return NULL;
}

static struct tunnel_sa *free_sa(struct tunnel *tunnel, bool inbound)
{
	struct tunnel_sa *found = NULL;
	unsigned same = 0;

	for (unsigned i = 0; i < TUNNEL_SAS_MAX; i++) {
		if (!tunnel->sas[i].used)
			found = &tunnel->sas[i];
		else if (tunnel->sas[i].inbound == inbound)
			same++;
	}
	return same < (inbound ? NODE_INBOUND_MAX : TUNNEL_SAS_MAX - NODE_INBOUND_MAX) ? found
										       : NULL;
}

int tunnel_sa_add(struct tunnels *tunnels, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, uint32_t iv_epoch, uint64_t expires_ns)
{
	struct tunnel_sa *slot = free_sa(tunnel, inbound);
	struct tunnel_sa sa = {
		.used = true,
		.inbound = inbound,
		.esn = params->esn,
		.alg = (uint8_t)params->alg,
		.spi = params->spi,
		.replay_window = inbound ? params->replay_window : 0,
		.source = params->source,
		.expires_ns = expires_ns,
	};
	int rc;

	if (slot == NULL)
		return -ENOSPC;
	if (tunnel_sa_find(tunnel, inbound, params->spi) != NULL)
		return -EEXIST;
	sa_key_id(params, sa.key_id);
	rc = keymap_add(tunnels->keys, sa.key_id, sizeof sa.key_id, tunnel->handle);
	if (rc != 0)
		return rc;
	if (inbound)
		rc = keymap_add(tunnels->spis_in, &sa.spi, sizeof sa.spi, tunnel->handle);
	if (rc != 0)
		goto no_spi;
	rc = inbound ? dataplane_sa_in_add(tunnels->config.dp, tunnel->node, params)
		     : dataplane_sa_out_add(tunnels->config.dp, tunnel->node, params, iv_epoch);
	if (rc != 0)
		goto no_sa;
	*slot = sa;
	return 0;

no_sa:
	if (inbound)
		keymap_del(tunnels->spis_in, &sa.spi, sizeof sa.spi);
no_spi:
	keymap_del(tunnels->keys, sa.key_id, sizeof sa.key_id);
	return rc;
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

int tunnel_sa_make_current(struct tunnels *tunnels, struct tunnel *tunnel)
{
	return dataplane_sa_out_switch(tunnels->config.dp, tunnel->node);
}

const struct counter_slot *tunnel_sa_slot(const struct tunnel *tunnel, const struct tunnel_sa *sa)
{
	const struct sa_out *out;

	if (sa->inbound) {
		for (unsigned i = 0; i < NODE_INBOUND_MAX; i++) {
			const struct sa_in *in = tunnel->node->sa_in[i];

			if (in != NULL && in->spi == sa->spi)
				return in->slot;
		}
		return NULL;
	}
	out = atomic_load_explicit(&tunnel->node->sa_out, memory_order_relaxed);
	if (out != NULL && out->spi == sa->spi)
		return out->slot;
	out = tunnel->node->sa_out_next;
	return out != NULL && out->spi == sa->spi ? out->slot : NULL;
}
