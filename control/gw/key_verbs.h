/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_KEY_VERBS_H
#define CONTROL_GW_KEY_VERBS_H
/*
 * The one way by which keys come in and go: alloc-spi, add, update, switch, query, del, and expire
 * events.
 * The configuration file and the control socket (an IKE daemon) call the same functions.
 *
 * Owner:    main.c. Threads: control.
 * Rules:    a key stands in one SA and one direction only. A key that was deleted does not come
 *           back in the same run, since its window and sequence number went with it; those of an
 *           SA from the file stay, since the next start brings it back. An outbound
 *           SA whose node was removed and added again (its counter slot is kept) starts in a fresh
 *           IV epoch. Inbound SPIs are unique; 0..255 are reserved (RFC 4303 section 2.1).
 * Lifetime: soft: an event, once; hard: an event, and nothing passes that SA any more. It is
 * deleted then, but for one from the file, which stays and is shown as expired, since the next
 *           start would bring it back; the next outbound SA takes over from the current one. By
 *           packets and bytes see dataplane/esp/life.h; by seconds as exact as the control loop.
 *           Seconds count from key_add() or key_update(), for an SA of the file from the start that
 *           brought its key first; by the wall clock while the gateway is down.
 * Restart:  what came by the control socket is written down (kept.h) and comes back by
 *           key_restore(), with its counters and in the IV epoch of the new run.
 * Errors:   0 or -errno with a sentence for the operator in *why; on error nothing changed.
 */
#include "control/gw/kept.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"

#include <stdbool.h>
#include <stdint.h>

#define KEY_SPENT_KEPT 65536      /* deleted keys that are remembered */
#define KEY_SPI_RESERVED_MAX 1024 /* by alloc-spi, not yet added */
#define KEY_SPI_RESERVED_S 60     /* s; then the number is free again */
#define KEY_EVENTS_KEPT 256       /* newest expire events */

struct key_verbs;

enum key_event_kind { KEY_EVENT_SOFT = 1, KEY_EVENT_HARD };
enum key_event_cause {
	KEY_CAUSE_TIME,
	KEY_CAUSE_PACKETS,
	KEY_CAUSE_BYTES,
	KEY_CAUSE_SEQUENCE, /* numbers run low, or are used up */
	KEY_CAUSES
};
const char *key_cause_name(enum key_event_cause cause);
struct key_event {
	uint64_t number; /* from 1 */
	enum key_event_kind kind;
	enum key_event_cause cause;
	uint8_t percent; /* SOFT, SEQUENCE: so many of the numbers are used */
	bool last;       /* HARD: the node has no other SA in that direction */
	uint64_t real_ns;
	uint32_t node; /* handle */
	char name[NODE_NAME_MAX];
	bool inbound;
	uint32_t spi;
};
typedef void key_event_fn(void *arg, const struct key_event *event);

/* fn hears every event at once; may be NULL. kept NULL: nothing is kept. NULL: out of memory. */
struct key_verbs *key_verbs_new(struct tunnels *tunnels, struct state *state, struct kept *kept,
	key_event_fn *fn, void *arg);
void key_verbs_free(struct key_verbs *keys);

/* A random inbound SPI that nobody has, reserved for KEY_SPI_RESERVED_S. 0: too many reserved. */
uint32_t key_alloc_spi(struct key_verbs *keys);
/* NULL, or what is wrong with these, for the operator. */
const char *key_lifetimes_wrong(const struct sa_lifetimes *life);
/* params: wiped by the caller. An outbound SA becomes current if there is none, else next until
 * key_switch(). -EAGAIN: the disk does not keep up. */
int key_add(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, const char **why) __attribute__((warn_unused_result));
/* The same for an SA that the configuration brings at each start. */
int key_add_static(struct key_verbs *keys, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, const char **why) __attribute__((warn_unused_result));
/* The same for one that key_add() added in an earlier run. -ENODATA: its counters did not survive,
 * so its window would take what it took before. */
int key_restore(struct key_verbs *keys, struct tunnel *tunnel, const struct kept_sa *sa,
	const struct sa_params *params, const char **why) __attribute__((warn_unused_result));
/* All lifetimes anew; seconds count from now. */
int key_update(struct key_verbs *keys, struct tunnel *tunnel, bool inbound, uint32_t spi,
	const struct sa_lifetimes *life, const char **why) __attribute__((warn_unused_result));
/* The next outbound SA takes over: for packets from now on; the former one stays, is next, and may
 * take over again until it is deleted. 0 also if spi is current already. */
int key_switch(struct key_verbs *keys, struct tunnel *tunnel, uint32_t spi, const char **why)
	__attribute__((warn_unused_result));
/* What is known of an SA, never the key; NULL: no such SA. Valid until the next change. */
const struct tunnel_sa *key_query(struct tunnel *tunnel, bool inbound, uint32_t spi);
int key_del(struct key_verbs *keys, struct tunnel *tunnel, bool inbound, uint32_t spi,
	const char **why) __attribute__((warn_unused_result));
/* Was this key deleted in this run? Then it may not come back. */
bool key_is_spent(const struct key_verbs *keys, const uint8_t key_id[COUNTERS_ID_BYTES]);
/* The node with all its SAs. forever: its keys may not come back. -EAGAIN: the disk or the workers
 * do not keep up. */
int key_del_node(struct key_verbs *keys, struct tunnel *tunnel, bool forever)
	__attribute__((warn_unused_result));

/* At every turn of the loop: ends SAs whose lifetime is over and raises events; a bounded number a
 * call. */
void key_verbs_poll(struct key_verbs *keys, uint64_t now_ns);
/* The event with that number, or the oldest kept after it; NULL: none yet. */
const struct key_event *key_event_at(const struct key_verbs *keys, uint64_t number);
uint32_t key_iv_epoch(const struct key_verbs *keys); /* that the next outbound SA would get */
#endif
