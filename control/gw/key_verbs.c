/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: checks here, tables in tunnel.c, expansion and counters in the packet path.
 * Deleted keys are remembered as fingerprints in a ring; whatever falls out of it, or was removed
 * with its counter slot kept, makes the next outbound SA take a fresh IV epoch, so (key, IV) cannot
 * repeat.
 */
#include "control/gw/key_verbs.h"

#include "control/gw/keymap.h"
#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRE_A_TURN 32 /* nodes */
#define NODES_A_TICK 128 /* looked at for sequence numbers */
#define TICK_NS (10 * NS_PER_MS)
#define TELL_NS NS_PER_S /* between log lines of one kind of event */
#define SOFT_PERCENT 90  /* of the sequence numbers: time to rekey */

struct spent_key {
	uint8_t id[COUNTERS_ID_BYTES];
	bool used;
};

struct untold { /* events of one kind that no log line has told of yet */
	uint32_t n;
	struct key_event newest;
	uint64_t told_at_ns;
};

struct reserved_spi {
	uint32_t spi; /* 0: free */
	uint64_t until_ns;
};

struct key_verbs {
	struct tunnels *tunnels;
	struct state *state;
	struct kept *kept; /* NULL: nothing is kept */
	key_event_fn *fn;
	void *arg;
	uint32_t iv_epoch;
	bool need_epoch; /* some key of this epoch may come again */
	struct keymap *spent_map;
	uint32_t spent_next, n_spent;
	struct spent_key spent[KEY_SPENT_KEPT];
	struct reserved_spi reserved[KEY_SPI_RESERVED_MAX];
	uint64_t tick_at_ns;
	uint32_t cursor; /* handle whose sequence numbers were looked at last */
	uint64_t last_event;
	struct untold untold[KEY_EVENT_HARD + 1]; /* by enum key_event_kind */
	struct key_event events[KEY_EVENTS_KEPT];
};

struct key_verbs *key_verbs_new(struct tunnels *tunnels, struct state *state, struct kept *kept,
	key_event_fn *fn, void *arg)
{
	struct key_verbs *keys = calloc(1, sizeof *keys);

	if (keys == NULL)
		return NULL;
	keys->tunnels = tunnels;
	keys->state = state;
	keys->kept = kept;
	keys->fn = fn;
	keys->arg = arg;
	keys->iv_epoch = state_boot_epoch(state);
	keys->spent_map = keymap_new(KEY_SPENT_KEPT);
	if (keys->spent_map == NULL) {
		free(keys);
		return NULL;
	}
	return keys;
}

void key_verbs_free(struct key_verbs *keys)
{
	if (keys == NULL)
		return;
	keymap_free(keys->spent_map);
	free(keys);
}

uint32_t key_iv_epoch(const struct key_verbs *keys)
{
	return keys->iv_epoch;
}

/* --- alloc-spi ----------------------------------------------------------------------------------
 */

static struct reserved_spi *find_reserved(struct key_verbs *keys, uint32_t spi, uint64_t now_ns)
{
	for (unsigned i = 0; i < KEY_SPI_RESERVED_MAX; i++) {
		struct reserved_spi *at = &keys->reserved[i];

		if (at->spi != 0 && at->until_ns <= now_ns)
			at->spi = 0;
		if (at->spi == spi)
			return at;
	}
	return NULL;
}

uint32_t key_alloc_spi(struct key_verbs *keys)
{
	const uint64_t now_ns = clock_mono_ns();
	struct reserved_spi *place = find_reserved(keys, 0, now_ns);
	uint32_t spi;

	if (place == NULL)
		return 0;
	do
		random_fill(&spi, sizeof spi);
	while (spi < SA_SPI_MIN || tunnel_by_spi_in(keys->tunnels, spi) != NULL ||
		find_reserved(keys, spi, now_ns) != NULL);
	place->spi = spi;
	place->until_ns = now_ns + KEY_SPI_RESERVED_S * NS_PER_S;
	return spi;
}

/* --- add ----------------------------------------------------------------------------------------
 */

bool key_is_spent(const struct key_verbs *keys, const uint8_t key_id[COUNTERS_ID_BYTES])
{
	uint32_t ignored;

	return keymap_get(keys->spent_map, key_id, COUNTERS_ID_BYTES, &ignored);
}

static int check_params(const struct key_verbs *keys, const struct sa_params *params, bool inbound,
	const char **why)
{
	uint8_t id[COUNTERS_ID_BYTES];

	if (params->spi < SA_SPI_MIN) {
		*why = "spi: 0 to 255 are reserved";
		return -EINVAL;
	}
	if (inbound && (params->replay_window < REPLAY_WINDOW_MIN ||
			       params->replay_window > REPLAY_WINDOW_MAX)) {
		*why = "replay_window: 64 to 4096 packets";
		return -EINVAL;
	}
	if (keys->n_spent == 0)
		return 0; /* no key was deleted yet: a start does not pay for the fingerprint */
	sa_key_id(params, id);
	if (key_is_spent(keys, id)) {
		*why = "key: was in use and deleted; a key does not come back";
		return -EKEYREJECTED;
	}
	return 0;
}

/* An epoch in which no outbound SA with a key that may come again has sent. */
static int refresh_epoch(struct key_verbs *keys, const char **why)
{
	int rc;

	if (!keys->need_epoch)
		return 0;
	rc = state_take_epoch(keys->state, 1, &keys->iv_epoch);
	if (rc != 0) {
		*why = "cannot take a fresh IV epoch: check the disk under state_dir";
		return rc;
	}
	keys->need_epoch = false;
	return 0;
}

static int add(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, uint64_t expires_ns, const char **why)
{
	struct reserved_spi *reserved;
	int rc = check_params(keys, params, inbound, why);

	if (rc != 0)
		return rc;
	if (!inbound) {
		rc = refresh_epoch(keys, why);
		if (rc != 0)
			return rc;
	}
	rc = tunnel_sa_add(keys->tunnels, tunnel, inbound, params, keys->iv_epoch, expires_ns);
	if (rc != 0) {
		*why = rc == -ENOSPC ? "no room: too many SAs on this node or counters file full"
		       : rc == -EKEYREJECTED      ? "key: stands in another SA or direction already"
		       : rc == -EEXIST && inbound ? "spi: is in use by an inbound SA"
		       : rc == -EEXIST            ? "spi: this node has it already"
		       : rc == -ENOMEM ? "no memory: raise dpdk.memory_mb or reserve more hugepages"
				       : "the packet path refused the SA";
		return rc;
	}
	reserved = inbound ? find_reserved(keys, params->spi, clock_mono_ns()) : NULL;
	if (reserved != NULL)
		reserved->spi = 0;
	return 0;
}

static int check_disk(const struct key_verbs *keys, const char **why)
{
	if (kept_has_room(keys->kept))
		return 0;
	*why = "the disk under state_dir does not keep up: try again";
	return -EAGAIN;
}

int key_add(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, uint64_t lifetime_s, const char **why)
{
	int rc = check_disk(keys, why);

	if (lifetime_s > KEY_LIFETIME_MAX_S) {
		*why = "lifetime: is too long";
		return -EINVAL;
	}
	if (rc == 0)
		rc = add(keys, tunnel, inbound, params,
			lifetime_s == 0 ? 0 : clock_mono_ns() + lifetime_s * NS_PER_S, why);
	if (rc != 0)
		return rc;
	kept_put_sa(keys->kept, tunnel, inbound, params);
	kept_put_node(keys->kept, tunnel);
	return 0;
}

int key_add_static(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, const char **why)
{
	int rc = add(keys, tunnel, inbound, params, 0, why);

	if (rc == 0)
		tunnel_sa_find(tunnel, inbound, params->spi)->from_file = true;
	return rc;
}

int key_restore(struct key_verbs *keys, struct tunnel *tunnel, const struct kept_sa *sa,
	const struct sa_params *params, const char **why)
{
	const uint64_t now_ns = clock_real_ns();
	uint8_t id[COUNTERS_ID_BYTES];
	int rc;

	if (sa->ends_real_ns != 0 && sa->ends_real_ns <= now_ns) {
		*why = "its lifetime is over";
		return -EKEYEXPIRED;
	}
	/* Before a slot is taken: if this start were killed, the next one would find that slot. */
	sa_slot_id(params, sa->inbound, id);
	if (!counters_has(state_counters(keys->state), id)) {
		*why = "its counters are not in state_dir any more; give it a new key";
		return -ENODATA;
	}
	rc = add(keys, tunnel, sa->inbound, params,
		sa->ends_real_ns == 0 ? 0 : clock_mono_ns() + (sa->ends_real_ns - now_ns), why);
	if (rc != 0)
		return rc;
	if (sa->current && atomic_load_explicit(&tunnel->node->sa_out, memory_order_relaxed)->spi !=
				   params->spi)
		rc = tunnel_sa_make_current(keys->tunnels, tunnel);
	return rc;
}

/* --- update, query, del -------------------------------------------------------------------------
 */

const struct tunnel_sa *key_query(struct tunnel *tunnel, bool inbound, uint32_t spi)
{
	return tunnel_sa_find(tunnel, inbound, spi);
}

int key_update(struct key_verbs *keys, struct tunnel *tunnel, bool inbound, uint32_t spi,
	const uint64_t *lifetime_s, bool make_current, const char **why)
{
	struct tunnel_sa *sa = tunnel_sa_find(tunnel, inbound, spi);
	int rc = 0;

	if (sa == NULL) {
		*why = "spi: this node has no such SA";
		return -ENOENT;
	}
	if (lifetime_s != NULL && *lifetime_s > KEY_LIFETIME_MAX_S) {
		*why = "lifetime: is too long";
		return -EINVAL;
	}
	rc = check_disk(keys, why);
	if (rc != 0)
		return rc;
	if (make_current) {
		const struct sa_out *next = tunnel->node->sa_out_next;

		if (inbound || next == NULL || next->spi != spi) {
			*why = "only the next outbound SA can be made current";
			return -EINVAL;
		}
		rc = tunnel_sa_make_current(keys->tunnels, tunnel);
		if (rc != 0) {
			*why = "the packet path refused the switch";
			return rc;
		}
	}
	if (lifetime_s != NULL)
		tunnel_sa_set_end(keys->tunnels, sa,
			*lifetime_s == 0 ? 0 : clock_mono_ns() + *lifetime_s * NS_PER_S);
	kept_put_node(keys->kept, tunnel);
	return 0;
}

static void remember_spent(struct key_verbs *keys, const uint8_t id[COUNTERS_ID_BYTES])
{
	struct spent_key *place = &keys->spent[keys->spent_next];

	if (place->used) {
		keymap_del(keys->spent_map, place->id, sizeof place->id);
		keys->need_epoch = true; /* the forgotten one might come back */
		place->used = false;
		keys->n_spent--;
	}
	if (keymap_add(keys->spent_map, id, COUNTERS_ID_BYTES, 1) != 0) {
		keys->need_epoch = true; /* out of memory: it cannot be remembered */
		return;
	}
	memcpy(place->id, id, sizeof place->id);
	place->used = true;
	keys->n_spent++;
	keys->spent_next = (keys->spent_next + 1) % KEY_SPENT_KEPT;
}

static int delete_sa(struct key_verbs *keys, struct tunnel *tunnel, struct tunnel_sa *sa)
{
	const bool from_file = sa->from_file, inbound = sa->inbound;
	const uint32_t spi = sa->spi;
	uint8_t id[COUNTERS_ID_BYTES];
	int rc;

	if (!kept_has_room(keys->kept))
		return -EAGAIN;
	memcpy(id, sa->key_id, sizeof id);
	rc = tunnel_sa_del(keys->tunnels, tunnel, sa, !from_file);
	if (rc != 0)
		return rc;
	remember_spent(keys, id);
	if (!from_file)
		kept_drop_sa(keys->kept, &tunnel->home_address, inbound, spi);
	kept_put_node(keys->kept, tunnel);
	return 0;
}

int key_del(
	struct key_verbs *keys, struct tunnel *tunnel, bool inbound, uint32_t spi, const char **why)
{
	struct tunnel_sa *sa = tunnel_sa_find(tunnel, inbound, spi);
	int rc;

	if (sa == NULL) {
		*why = "spi: this node has no such SA";
		return -ENOENT;
	}
	rc = delete_sa(keys, tunnel, sa);
	if (rc != 0)
		*why = rc == -EAGAIN ? "the disk or the workers do not keep up: try again"
				     : "the packet path refused to delete the SA";
	return rc;
}

int key_del_node(struct key_verbs *keys, struct tunnel *tunnel, bool forever)
{
	const bool configured = tunnel->configured;
	const struct ip_addr home_address = tunnel->home_address;
	uint8_t ids[TUNNEL_SAS_MAX][COUNTERS_ID_BYTES];
	bool from_file = false, by_socket = !configured;
	unsigned n = 0;
	int rc;

	if (!kept_has_room(keys->kept))
		return -EAGAIN;
	for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next) {
		memcpy(ids[n++], sa->key_id, COUNTERS_ID_BYTES);
		from_file |= sa->from_file;
		by_socket |= !sa->from_file;
	}
	rc = tunnel_del(keys->tunnels, tunnel, forever && !from_file);
	if (rc != 0)
		return rc;
	/* Of what is in the file nothing is kept, and a reload may remove very much of it. */
	if (forever || by_socket)
		kept_drop_node(keys->kept, &home_address);
	if (!forever && n != 0)
		keys->need_epoch = true;
	for (unsigned i = 0; forever && i < n; i++)
		remember_spent(keys, ids[i]);
	return 0;
}

/* --- expiry -------------------------------------------------------------------------------------
 */

static void raise_event(struct key_verbs *keys, enum key_event_kind kind,
	const struct tunnel *tunnel, const struct tunnel_sa *sa)
{
	struct key_event *event;

	keys->last_event++;
	event = &keys->events[keys->last_event % KEY_EVENTS_KEPT];
	*event = (struct key_event){
		.number = keys->last_event,
		.kind = kind,
		.real_ns = clock_real_ns(),
		.node = tunnel->handle,
		.inbound = sa->inbound,
		.spi = sa->spi,
	};
	snprintf(event->name, sizeof event->name, "%s", tunnel->name);
	keys->untold[kind].n++;
	keys->untold[kind].newest = *event;
	if (keys->fn != NULL)
		keys->fn(keys->arg, event);
}

/* One line for all that came since the last: a hundred thousand SAs may end at once. It names the
 * newest. */
static void tell(struct key_verbs *keys, enum key_event_kind kind, uint64_t now_ns)
{
	struct untold *untold = &keys->untold[kind];
	const struct key_event *event = &untold->newest;

	if (untold->n == 0 || now_ns - untold->told_at_ns < TELL_NS)
		return;
	log_warn("keys", "%s node=%s direction=%s spi=0x%x others=%u",
		kind == KEY_EVENT_HARD ? "SA expired and is deleted" : "SA is due for rekeying",
		event->name, event->inbound ? "in" : "out", event->spi, untold->n - 1);
	untold->n = 0;
	untold->told_at_ns = now_ns;
}

static bool numbers_run_low(const struct tunnel *tunnel, const struct tunnel_sa *sa)
{
	const struct counter_slot *slot = tunnel_sa_slot(tunnel, sa);
	const uint64_t last = sa->esn ? UINT64_MAX : UINT32_MAX;

	return slot != NULL &&
	       atomic_load_explicit(&slot->seq, memory_order_relaxed) > last / 100 * SOFT_PERCENT;
}

/* False: no room at this moment. */
static bool delete_expired(struct key_verbs *keys, struct tunnel *tunnel, uint64_t now_ns)
{
	struct tunnel_sa *next;

	for (struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = next) {
		struct tunnel_sa was = *sa;

		next = sa->next;
		if (sa->expires_ns == 0 || now_ns < sa->expires_ns)
			continue;
		if (delete_sa(keys, tunnel, sa) != 0)
			return false;
		raise_event(keys, KEY_EVENT_HARD, tunnel, &was);
	}
	return true;
}

static void watch_numbers(struct key_verbs *keys, struct tunnel *tunnel)
{
	for (struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next) {
		if (sa->rekey_due || !numbers_run_low(tunnel, sa))
			continue;
		sa->rekey_due = true;
		raise_event(keys, KEY_EVENT_SOFT, tunnel, sa);
	}
}

/* Workers count without telling anybody, so this is a walk. */
static void watch_some(struct key_verbs *keys)
{
	for (unsigned n = 0; n < NODES_A_TICK; n++) {
		struct tunnel *tunnel = tunnel_next(keys->tunnels, keys->cursor);

		if (tunnel == NULL) {
			keys->cursor = 0;
			return;
		}
		keys->cursor = tunnel->handle;
		watch_numbers(keys, tunnel);
	}
}

void key_verbs_poll(struct key_verbs *keys, uint64_t now_ns)
{
	for (unsigned n = 0; n < EXPIRE_A_TURN; n++) {
		struct tunnel *tunnel = tunnel_sa_over(keys->tunnels, now_ns);

		if (tunnel == NULL || !delete_expired(keys, tunnel, now_ns))
			break; /* no room at this moment: the next turn tries again */
	}
	if (now_ns >= keys->tick_at_ns) {
		keys->tick_at_ns = now_ns + TICK_NS;
		watch_some(keys);
	}
	tell(keys, KEY_EVENT_SOFT, now_ns);
	tell(keys, KEY_EVENT_HARD, now_ns);
}

const struct key_event *key_event_at(const struct key_verbs *keys, uint64_t number)
{
	const uint64_t oldest = keys->last_event < KEY_EVENTS_KEPT
					? 1
					: keys->last_event - KEY_EVENTS_KEPT + 1;

	if (number < oldest)
		number = oldest;
	return number > keys->last_event ? NULL : &keys->events[number % KEY_EVENTS_KEPT];
}
