/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: checks here, tables in tunnel.c, expansion and counters in the packet path.
 * Deleted keys are remembered as fingerprints in a ring; whatever falls out of it in the epoch in
 * which it was deleted, or was removed with its counter slot kept, makes the next outbound SA take
 * a fresh IV epoch, so (key, IV) cannot repeat. Epochs are few (20 bits): one serves for all that
 * was forgotten before it, so there is one for KEY_SPENT_KEPT deletions at most.
 */
#include "control/gw/key_verbs.h"

#include "control/gw/keymap.h"
#include "dataplane/esp/life_conf.h"
#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_A_TURN 32  /* that have come to an end, and as many that passed a mark */
#define TELL_NS NS_PER_S /* between log lines of one kind of event */

struct spent_key {
	uint8_t id[COUNTERS_ID_BYTES];
	bool used;
	uint32_t iv_epoch; /* when it was deleted: it has sent in this one or before */
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
	while (spi < SA_SPI_MIN || tunnel_by_spi_in(keys->tunnels, spi, NULL) != NULL ||
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

const char *key_lifetimes_wrong(const struct sa_lifetimes *life)
{
	static const char too_late[] = "rekey_time, rekey_packets, rekey_bytes: each must be less "
				       "than the life_ of its kind";
	const struct sa_limit *limits[] = {&life->seconds, &life->packets, &life->bytes};

	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
		if (limits[i]->hard != 0 && limits[i]->soft >= limits[i]->hard)
			return too_late;
	}
	if (life->seconds.soft > SA_LIFETIME_MAX_S || life->seconds.hard > SA_LIFETIME_MAX_S)
		return "rekey_time, life_time: at most a year";
	return NULL;
}

static int check_params(const struct key_verbs *keys, const struct sa_params *params, bool inbound,
	const char **why)
{
	const char *wrong = key_lifetimes_wrong(&params->life);
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	unsigned n;

	if (wrong != NULL) {
		*why = wrong;
		return -EINVAL;
	}
	if (params->spi < SA_SPI_MIN) {
		*why = "spi: 0 to 255 are reserved";
		return -EINVAL;
	}
	if (inbound && (params->replay_window < REPLAY_WINDOW_MIN ||
			       params->replay_window > REPLAY_WINDOW_MAX)) {
		*why = "replay_window: 64 to 4096 packets";
		return -EINVAL;
	}
	if (sa_keys_are_same(params)) {
		*why = "key: is the same for cipher and HMAC: each needs its own";
		return -EINVAL;
	}
	if (keys->n_spent == 0)
		return 0; /* no key was deleted yet: a start does not pay for the fingerprint */
	n = sa_key_ids(params, ids);
	for (unsigned i = 0; i < n; i++) {
		if (key_is_spent(keys, ids[i])) {
			*why = "key: was in use and deleted; a key does not come back";
			return -EKEYREJECTED;
		}
	}
	return 0;
}

/* An epoch in which no outbound SA with a key that may come again has sent. */
static int refresh_epoch(struct key_verbs *keys, bool may_wait, const char **why)
{
	int rc;

	if (!keys->need_epoch)
		return 0;
	rc = may_wait ? state_take_epoch(keys->state, &keys->iv_epoch)
		      : state_ask_epoch(keys->state, &keys->iv_epoch);
	if (rc != 0) {
		*why = rc == -EAGAIN
			       ? "a fresh IV epoch is on its way to the disk: try again"
			       : "cannot take a fresh IV epoch: check the disk under state_dir";
		return rc;
	}
	keys->need_epoch = false;
	return 0;
}

/* may_wait: for the disk. */
static int add(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, bool may_wait, const char **why)
{
	struct reserved_spi *reserved;
	int rc = check_params(keys, params, inbound, why);

	if (rc != 0)
		return rc;
	if (!inbound) {
		rc = refresh_epoch(keys, may_wait, why);
		if (rc != 0)
			return rc;
	}
	rc = tunnel_sa_add(keys->tunnels, tunnel, inbound, params, keys->iv_epoch);
	if (rc != 0) {
		*why = rc == -ENOSPC ? "no room: too many SAs on this node or counters file full"
		       : rc == -EKEYREJECTED ? "key: stands in another SA or direction "
					       "already, for a cipher or for HMAC"
		       : rc == -EEXIST && inbound
			       ? "spi: is in use by an inbound SA with the same source"
		       : rc == -EEXIST ? "spi: this node has it already"
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
	const struct sa_params *params, const char **why)
{
	int rc = check_disk(keys, why);

	if (rc == 0)
		rc = add(keys, tunnel, inbound, params, false, why);
	if (rc != 0)
		return rc;
	kept_put_sa(keys->kept, tunnel, inbound, params);
	kept_put_node(keys->kept, tunnel);
	return 0;
}

int key_restore(struct key_verbs *keys, struct tunnel *tunnel, const struct kept_sa *sa,
	const struct sa_params *params, const char **why)
{
	const uint64_t now_ns = clock_real_ns();
	const uint64_t age_ns = now_ns > sa->since_real_ns ? now_ns - sa->since_real_ns : 0;
	uint8_t id[COUNTERS_ID_BYTES];
	int rc;

	if (sa->life.seconds.hard != 0 && sa->life.seconds.hard * NS_PER_S <= age_ns) {
		*why = "its lifetime is over";
		return -EKEYEXPIRED;
	}
	/* Before a slot is taken: if this start were killed, the next one would find that slot. */
	sa_slot_id(params, sa->inbound, id);
	if (!counters_has(state_counters(keys->state), id)) {
		*why = "its counters are not in state_dir any more; give it a new key";
		return -ENODATA;
	}
	rc = add(keys, tunnel, sa->inbound, params, true, why);
	if (rc != 0)
		return rc;
	tunnel_sa_set_age(keys->tunnels, tunnel_sa_find(tunnel, sa->inbound, params->spi), age_ns);
	if (sa->current && atomic_load_explicit(&tunnel->node->sa_out, memory_order_relaxed)->spi !=
				   params->spi)
		rc = tunnel_sa_switch(keys->tunnels, tunnel);
	return rc;
}

/* --- update, query, del -------------------------------------------------------------------------
 */

const struct tunnel_sa *key_query(struct tunnel *tunnel, bool inbound, uint32_t spi)
{
	return tunnel_sa_find(tunnel, inbound, spi);
}

int key_update(struct key_verbs *keys, struct tunnel *tunnel, bool inbound, uint32_t spi,
	const struct sa_lifetimes *life, const char **why)
{
	struct tunnel_sa *sa = tunnel_sa_find(tunnel, inbound, spi);
	int rc;

	if (sa == NULL) {
		*why = "spi: this node has no such SA";
		return -ENOENT;
	}
	if (sa->ended) {
		*why = "spi: this SA is over; it needs a new key";
		return -EKEYEXPIRED;
	}
	if (key_lifetimes_wrong(life) != NULL) {
		*why = key_lifetimes_wrong(life);
		return -EINVAL;
	}
	rc = check_disk(keys, why);
	if (rc != 0)
		return rc;
	rc = tunnel_sa_set_life(keys->tunnels, sa, life);
	if (rc != 0) {
		*why = "out of memory";
		return rc;
	}
	kept_put_node(keys->kept, tunnel);
	return 0;
}

int key_switch(struct key_verbs *keys, struct tunnel *tunnel, uint32_t spi, const char **why)
{
	const struct tunnel_sa *sa = tunnel_sa_find(tunnel, false, spi);
	int rc = check_disk(keys, why);

	if (rc != 0)
		return rc;
	if (sa == NULL || sa->ended) {
		*why = sa == NULL ? "spi: this node has no such outbound SA"
				  : "spi: this SA is over; it needs a new key";
		return sa == NULL ? -ENOENT : -EKEYEXPIRED;
	}
	if (tunnel_sa_is_current(sa))
		return 0;
	rc = tunnel_sa_switch(keys->tunnels, tunnel);
	if (rc != 0) {
		*why = "the packet path refused the switch";
		return rc;
	}
	kept_put_node(keys->kept, tunnel);
	return 0;
}

/* Before the next outbound SA. It is likely to be there by then. */
static void want_epoch(struct key_verbs *keys)
{
	keys->need_epoch = true;
	state_prepare_epoch(keys->state);
}

static void remember_spent(struct key_verbs *keys, const uint8_t id[COUNTERS_ID_BYTES])
{
	struct spent_key *place = &keys->spent[keys->spent_next];

	if (place->used) {
		keymap_del(keys->spent_map, place->id, sizeof place->id);
		if (place->iv_epoch == keys->iv_epoch)
			want_epoch(keys); /* the forgotten one might come back */
		place->used = false;
		keys->n_spent--;
	}
	if (keymap_add(keys->spent_map, id, COUNTERS_ID_BYTES, 1) != 0) {
		want_epoch(keys); /* out of memory: it cannot be remembered */
		return;
	}
	memcpy(place->id, id, sizeof place->id);
	place->used = true;
	place->iv_epoch = keys->iv_epoch;
	keys->n_spent++;
	keys->spent_next = (keys->spent_next + 1) % KEY_SPENT_KEPT;
}

static int delete_sa(struct key_verbs *keys, struct tunnel *tunnel, struct tunnel_sa *sa)
{
	const bool from_file = sa->from_file, inbound = sa->inbound;
	const uint32_t spi = sa->spi;
	const unsigned n = sa_n_keys((enum crypto_alg)sa->alg);
	uint8_t ids[SA_KEYS_MAX][COUNTERS_ID_BYTES];
	int rc;

	if (!kept_has_room(keys->kept))
		return -EAGAIN;
	for (unsigned i = 0; i < n; i++)
		memcpy(ids[i], sa->keys[i].id, COUNTERS_ID_BYTES);
	rc = tunnel_sa_del(keys->tunnels, tunnel, sa, !from_file);
	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < n; i++)
		remember_spent(keys, ids[i]);
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
	uint8_t ids[TUNNEL_SAS_MAX * SA_KEYS_MAX][COUNTERS_ID_BYTES];
	bool from_file = false, by_socket = !configured;
	unsigned n = 0;
	int rc;

	if (!kept_has_room(keys->kept))
		return -EAGAIN;
	for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next) {
		for (unsigned i = 0; i < sa_n_keys((enum crypto_alg)sa->alg); i++)
			memcpy(ids[n++], sa->keys[i].id, COUNTERS_ID_BYTES);
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
		want_epoch(keys);
	for (unsigned i = 0; forever && i < n; i++)
		remember_spent(keys, ids[i]);
	return 0;
}

/* --- expiry -------------------------------------------------------------------------------------
 */

const char *key_cause_name(enum key_event_cause cause)
{
	static const char *const names[KEY_CAUSES] = {"time", "packets", "bytes", "sequence"};

	return (unsigned)cause < KEY_CAUSES ? names[cause] : "unknown";
}

static bool is_last(const struct tunnel_sa *of)
{
	for (const struct tunnel_sa *sa = tunnel_sa_owner(of)->sas; sa != NULL; sa = sa->next) {
		if (sa->inbound == of->inbound && !sa->ended)
			return false;
	}
	return true;
}

static void raise_event(struct key_verbs *keys, enum key_event_kind kind,
	enum key_event_cause cause, unsigned percent, const struct tunnel_sa *sa)
{
	struct key_event *event;

	keys->last_event++;
	event = &keys->events[keys->last_event % KEY_EVENTS_KEPT];
	*event = (struct key_event){
		.number = keys->last_event,
		.kind = kind,
		.cause = cause,
		.percent = (uint8_t)percent,
		.last = is_last(sa),
		.real_ns = clock_real_ns(),
		.node = tunnel_sa_owner(sa)->handle,
		.inbound = sa->inbound,
		.spi = sa->spi,
	};
	snprintf(event->name, sizeof event->name, "%s", tunnel_sa_owner(sa)->name);
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
	log_warn("keys", "%s node=%s direction=%s spi=0x%x cause=%s others=%u",
		kind == KEY_EVENT_HARD ? "SA expired" : "SA is due for rekeying", event->name,
		event->inbound ? "in" : "out", event->spi, key_cause_name(event->cause),
		untold->n - 1);
	untold->n = 0;
	untold->told_at_ns = now_ns;
}

/* What has ended goes. False: no room at this moment; it is due until it is gone. */
static bool put_away(struct key_verbs *keys, struct tunnel_sa *sa)
{
	struct tunnel *tunnel = tunnel_sa_owner(sa);
	const struct sa_out *next = tunnel->node->sa_out_next;
	const struct tunnel_sa *heir;

	if (!sa->from_file)
		return delete_sa(keys, tunnel, sa) == 0; /* next becomes current by that */
	if (sa->inbound || next == NULL || !tunnel_sa_is_current(sa))
		return true;
	heir = tunnel_sa_find(tunnel, false, next->spi);
	/* Without room on disk the next start does it again. */
	if (heir != NULL && !heir->ended && tunnel_sa_switch(keys->tunnels, tunnel) == 0 &&
		kept_has_room(keys->kept))
		kept_put_node(keys->kept, tunnel);
	return true;
}

/* sa may be gone afterwards. */
static bool end_sa(struct key_verbs *keys, struct tunnel_sa *sa, enum key_event_cause cause)
{
	tunnel_sa_end(keys->tunnels, sa); /* at once, whatever the disk does */
	raise_event(keys, KEY_EVENT_HARD, cause, 0, sa);
	return put_away(keys, sa);
}

static bool look_at_time(struct key_verbs *keys, struct tunnel_sa *sa, uint64_t now_ns)
{
	const struct tunnel_life *life = sa->life;

	if (sa->ended)
		return put_away(keys, sa);
	if (life != NULL && life->soft_ns <= now_ns && !sa->soft_told) {
		tunnel_sa_set_soft_told(keys->tunnels, sa);
		raise_event(keys, KEY_EVENT_SOFT, KEY_CAUSE_TIME, 0, sa);
	}
	return life == NULL || now_ns < life->hard_ns || end_sa(keys, sa, KEY_CAUSE_TIME);
}

static bool look_at_marks(struct key_verbs *keys, struct tunnel_sa *sa)
{
	static const struct {
		enum sa_mark mark;
		enum key_event_cause cause;
		unsigned percent;
	} soft[] = {
		{SA_MARK_SOFT_PACKETS, KEY_CAUSE_PACKETS, 0},
		{SA_MARK_SOFT_BYTES, KEY_CAUSE_BYTES, 0},
		{SA_MARK_SEQ_FIRST, KEY_CAUSE_SEQUENCE, SEQ_PERCENT_FIRST},
		{SA_MARK_SEQ_SECOND, KEY_CAUSE_SEQUENCE, SEQ_PERCENT_SECOND},
	};
	const unsigned marks = tunnel_sa_take_marks(keys->tunnels, sa);

	for (size_t i = 0; i < sizeof soft / sizeof soft[0]; i++) {
		if ((marks & soft[i].mark) != 0)
			raise_event(keys, KEY_EVENT_SOFT, soft[i].cause, soft[i].percent, sa);
	}
	if ((marks & SA_MARKS_HARD) == 0 || sa->ended)
		return true;
	return end_sa(keys, sa,
		(marks & SA_MARK_HARD_PACKETS) != 0 ? KEY_CAUSE_PACKETS
		: (marks & SA_MARK_HARD_BYTES) != 0 ? KEY_CAUSE_BYTES
						    : KEY_CAUSE_SEQUENCE);
}

/* False: no room at this moment. */
static bool poll_time(struct key_verbs *keys, uint64_t now_ns)
{
	struct tunnel *tunnel = tunnel_sa_over(keys->tunnels, now_ns);
	struct tunnel_sa *next;

	if (tunnel == NULL)
		return false;
	for (struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = next) {
		next = sa->next;
		if (!look_at_time(keys, sa, now_ns))
			return false;
	}
	return true;
}

/* False: nobody has passed a mark. */
static bool poll_marks(struct key_verbs *keys)
{
	struct tunnel *tunnel = tunnel_sa_noticed(keys->tunnels);
	struct tunnel_sa *next;

	for (struct tunnel_sa *sa = tunnel == NULL ? NULL : tunnel->sas; sa != NULL; sa = next) {
		next = sa->next;
		(void)look_at_marks(keys, sa); /* what could not go is due: poll_time() */
	}
	return tunnel != NULL;
}

void key_verbs_poll(struct key_verbs *keys, uint64_t now_ns)
{
	for (unsigned n = 0; n < NODES_A_TURN && poll_marks(keys); n++)
		;
	for (unsigned n = 0; n < NODES_A_TURN && poll_time(keys, now_ns); n++)
		;
	tell(keys, KEY_EVENT_SOFT, now_ns);
	tell(keys, KEY_EVENT_HARD, now_ns);
}

/* Not at the end of a lifetime that began in an earlier run: only packets and bytes are looked at
 * by workers. */
int key_add_static(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, const char **why)
{
	const uint64_t now_ns = clock_real_ns();
	const struct counter_slot *slot;
	struct tunnel_sa *sa;
	uint64_t born_ns;
	int rc = add(keys, tunnel, inbound, params, true, why);

	if (rc != 0)
		return rc;
	sa = tunnel_sa_find(tunnel, inbound, params->spi);
	sa->from_file = true;
	slot = tunnel_sa_slot(tunnel, sa);
	if (sa->life == NULL || slot == NULL)
		return 0;
	born_ns = slot->born_s * NS_PER_S;
	tunnel_sa_set_age(keys->tunnels, sa, now_ns > born_ns ? now_ns - born_ns : 0);
	if (sa->life->hard_ns <= clock_mono_ns()) /* before any packet */
		(void)end_sa(keys, sa, KEY_CAUSE_TIME);
	return 0;
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
