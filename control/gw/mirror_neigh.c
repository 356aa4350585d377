/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: known neighbours lie in an array, found by a keymap; what is waited for lies in a
 * few holds, each with a short queue in order of arrival. A packet whose neighbour became known
 * while it was on its way here is sent back at once.
 *
 * The workers' traffic is invisible to Linux, which would let a busy neighbour go stale: the list
 * of used ones is fetched every 15 s and told to Linux a few at a time, since each telling is a
 * system call.
 */
#include "control/gw/mirror_neigh.h"

#include "control/gw/keymap.h"
#include "lib/log.h"

#include <linux/neighbour.h>
#include <stdlib.h>
#include <string.h>

#define NUD_FIXED (NUD_PERMANENT | NUD_NOARP)
#define NUD_USABLE (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)
#define TELL_A_TICK 8

struct neigh_key { /* bytes only: no padding */
	uint8_t port;
	struct ip_addr addr;
};

struct known {
	struct neigh_key key;
	bool used;
	bool fixed; /* the operator's: Linux must not be told that it is in use */
	uint32_t dump;
	uint32_t next_free;
};

struct hold {
	struct neigh_key key;
	uint32_t n; /* 0: free */
	uint64_t since_ns, ask_at_ns;
	struct punt punts[MIRROR_HOLD_PACKETS];
};

struct mirror_neighs {
	struct dataplane *dp;
	mirror_ask_fn *ask;
	void *arg;
	struct hold holds[MIRROR_HOLDS];
	uint64_t used_at_ns; /* when to fetch the used ones next */
	uint32_t n_used, told;
	struct neigh_key *used; /* [max] */
	uint32_t dump, max, free_list;
	struct keymap *by_key;
	struct mirror_neigh_stats stats;
	struct known known[];
};

struct mirror_neighs *mirror_neighs_new(
	struct dataplane *dp, uint32_t max, mirror_ask_fn *ask, void *arg)
{
	struct mirror_neighs *neighs = calloc(
		1, sizeof *neighs + (size_t)max * sizeof neighs->known[0]);

	if (neighs == NULL)
		return NULL;
	neighs->dp = dp;
	neighs->ask = ask;
	neighs->arg = arg;
	neighs->max = max;
	neighs->by_key = keymap_new(0);
	neighs->used = calloc(max, sizeof neighs->used[0]);
	for (uint32_t i = 0; i < max; i++)
		neighs->known[i].next_free = i + 1;
	if (neighs->by_key == NULL || neighs->used == NULL) {
		mirror_neighs_free(neighs);
		return NULL;
	}
	return neighs;
}

static void drop_hold(struct mirror_neighs *neighs, struct hold *hold)
{
	for (uint32_t i = 0; i < hold->n; i++)
		dataplane_punt_done(neighs->dp, &hold->punts[i]);
	neighs->stats.dropped += hold->n;
	hold->n = 0;
}

void mirror_neighs_free(struct mirror_neighs *neighs)
{
	if (neighs == NULL)
		return;
	for (unsigned i = 0; i < MIRROR_HOLDS; i++)
		drop_hold(neighs, &neighs->holds[i]);
	keymap_free(neighs->by_key);
	free(neighs->used);
	free(neighs);
}

/* --- what Linux says ----------------------------------------------------------------------------
 */

static struct neigh_key key_of(enum dp_port port, const struct ip_addr *addr)
{
	return (struct neigh_key){.port = (uint8_t)port, .addr = *addr};
}

static struct hold *find_hold(struct mirror_neighs *neighs, const struct neigh_key *key)
{
	for (unsigned i = 0; i < MIRROR_HOLDS; i++) {
		struct hold *hold = &neighs->holds[i];

		if (hold->n != 0 && memcmp(&hold->key, key, sizeof *key) == 0)
			return hold;
	}
	return NULL;
}

static void send_hold(struct mirror_neighs *neighs, const struct neigh_key *key)
{
	struct hold *hold = find_hold(neighs, key);

	if (hold == NULL)
		return;
	for (uint32_t i = 0; i < hold->n; i++) {
		if (dataplane_send_kept(neighs->dp, &hold->punts[i]) == 0)
			neighs->stats.sent++;
		else
			neighs->stats.dropped++;
	}
	hold->n = 0;
}

static void forget(struct mirror_neighs *neighs, const struct neigh_key *key)
{
	struct known *known;
	uint32_t i;

	if (!keymap_get(neighs->by_key, key, sizeof *key, &i))
		return;
	known = &neighs->known[i];
	(void)dataplane_neigh_del(neighs->dp, (enum dp_port)key->port, &known->key.addr);
	keymap_del(neighs->by_key, &known->key, sizeof known->key);
	*known = (struct known){.next_free = neighs->free_list};
	neighs->free_list = i;
	neighs->stats.known--;
}

static void learn(struct mirror_neighs *neighs, const struct neigh_key *key,
	const struct nl_neigh_event *event)
{
	uint32_t i;

	if (!keymap_get(neighs->by_key, key, sizeof *key, &i)) {
		i = neighs->free_list;
		if (i == neighs->max || keymap_add(neighs->by_key, key, sizeof *key, i) != 0)
			return; /* more than configured: its packets are dropped and counted */
		neighs->free_list = neighs->known[i].next_free;
		neighs->known[i] = (struct known){.key = *key, .used = true};
		neighs->stats.known++;
	}
	neighs->known[i].dump = neighs->dump;
	neighs->known[i].fixed = (event->state & NUD_FIXED) != 0;
	if (dataplane_neigh_set(neighs->dp, (enum dp_port)key->port, &key->addr, event->mac) == 0)
		send_hold(neighs, key);
	else
		forget(neighs, key);
}

void mirror_neighs_event(
	struct mirror_neighs *neighs, enum dp_port port, const struct nl_neigh_event *event)
{
	const struct neigh_key key = key_of(port, &event->addr);
	struct hold *hold;

	/* Linux resolves a subnet's broadcast address to the group address; what a node sends
	 * there is not forwarded (RFC 2644). */
	if (event->added && (event->state & NUD_USABLE) != 0 && (event->mac[0] & 1) == 0) {
		learn(neighs, &key, event);
		return;
	}
	forget(neighs, &key);
	hold = find_hold(neighs, &key);
	if (hold != NULL && (event->state & NUD_FAILED) != 0)
		drop_hold(neighs, hold);
}

void mirror_neighs_resync(struct mirror_neighs *neighs)
{
	neighs->dump++;
}

void mirror_neighs_resynced(struct mirror_neighs *neighs)
{
	for (uint32_t i = 0; i < neighs->max; i++) {
		const struct known was = neighs->known[i];

		if (was.used && was.dump != neighs->dump)
			forget(neighs, &was.key);
	}
}

/* --- packets that wait --------------------------------------------------------------------------
 */

void mirror_neighs_hold(struct mirror_neighs *neighs, struct punt *punt, uint64_t now_ns)
{
	const struct neigh_key key = key_of(punt->port, &punt->next_hop);
	struct hold *hold = find_hold(neighs, &key);
	uint32_t i;

	neighs->stats.held++;
	if (keymap_get(neighs->by_key, &key, sizeof key, &i)) {
		if (dataplane_send_kept(neighs->dp, punt) == 0)
			neighs->stats.sent++;
		else
			neighs->stats.dropped++;
		return;
	}
	for (i = 0; hold == NULL && i < MIRROR_HOLDS; i++) {
		if (neighs->holds[i].n == 0) {
			hold = &neighs->holds[i];
			hold->key = key;
			hold->since_ns = now_ns;
			hold->ask_at_ns = now_ns + MIRROR_ASK_EVERY_NS;
			neighs->ask(neighs->arg, punt->port, &punt->next_hop);
		}
	}
	if (hold == NULL || hold->n == MIRROR_HOLD_PACKETS) {
		dataplane_punt_done(neighs->dp, punt);
		neighs->stats.dropped++;
		return;
	}
	hold->punts[hold->n++] = *punt;
}

static void note_used(void *arg, enum dp_port port, const struct ip_addr *addr)
{
	struct mirror_neighs *neighs = arg;

	if (neighs->n_used < neighs->max)
		neighs->used[neighs->n_used++] = key_of(port, addr);
}

static void tell_used(struct mirror_neighs *neighs, uint64_t now_ns)
{
	if (now_ns >= neighs->used_at_ns && neighs->told == neighs->n_used) {
		neighs->used_at_ns = now_ns + MIRROR_USED_EVERY_NS;
		neighs->told = neighs->n_used = 0;
		dataplane_neigh_each_used(neighs->dp, note_used, neighs);
	}
	for (unsigned n = 0; n < TELL_A_TICK && neighs->told < neighs->n_used; n++) {
		const struct neigh_key *key = &neighs->used[neighs->told++];
		uint32_t i;

		/* NTF_USE takes NUD_PERMANENT from an entry (since Linux 5.16), and its MAC. */
		if (keymap_get(neighs->by_key, key, sizeof *key, &i) && neighs->known[i].fixed)
			continue;
		neighs->ask(neighs->arg, (enum dp_port)key->port, &key->addr);
	}
}

void mirror_neighs_tick(struct mirror_neighs *neighs, uint64_t now_ns)
{
	for (unsigned i = 0; i < MIRROR_HOLDS; i++) {
		struct hold *hold = &neighs->holds[i];

		if (hold->n == 0)
			continue;
		if (now_ns - hold->since_ns >= MIRROR_HOLD_NS) {
			drop_hold(neighs, hold);
		} else if (now_ns >= hold->ask_at_ns) {
			hold->ask_at_ns = now_ns + MIRROR_ASK_EVERY_NS;
			neighs->ask(neighs->arg, (enum dp_port)hold->key.port, &hold->key.addr);
		}
	}
	tell_used(neighs, now_ns);
}

void mirror_neighs_get_stats(const struct mirror_neighs *neighs, struct mirror_neigh_stats *out)
{
	*out = neighs->stats;
	out->waited_for = 0;
	for (unsigned i = 0; i < MIRROR_HOLDS; i++)
		out->waited_for += neighs->holds[i].n != 0;
}
