/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_ASSOCIATION_H
#define SIU_ASSOCIATION_H
/*
 * One association between a home agent and a gateway: authentication, replay window, HELLO and
 * liveness, reliable UPDATEs with retransmission, SYNC by mark and sweep. No I/O and no clock of
 * its own: datagrams and time come in by calls, datagrams go out by a callback.
 *
 * Owner:    control/ha/notify.c (role SIU_HOME_AGENT) or control/gw/siu_handler.c (SIU_GATEWAY).
 * Threads:  control thread only but for siu_admits(). Lifetime: from siu_new() to siu_free();
 * callbacks must not free it. Order of work on input: authenticate, then parse, then order, then
 * act. Bounds:   what a peer sends costs no allocation; counters instead of logs (siu_stats).
 */
#include "siu/siu.h"

#include <stdint.h>

struct siu;

enum siu_role { SIU_HOME_AGENT, SIU_GATEWAY };

struct siu_key {
	uint16_t id; /* on the wire; two may be valid at once, for rotation */
	uint8_t bytes[SIU_KEY_MAX];
	size_t len; /* 0: slot unused */
};

struct siu_config {
	enum siu_role role;
	uint32_t local_id;   /* on the wire, for logs; not trusted */
	uint32_t boot_epoch; /* of this program's start (lib/boot_epoch.h); never repeats */
	/* siu_draw_start(): sequences begin behind it. 0 in tests alone. */
	uint64_t sequence_start;
	/* Directional: send with keys_out[0], accept any of keys_in. From one configured secret use
	 * siu_derive_keys(). */
	struct siu_key keys_out[2];
	struct siu_key keys_in[2];
	uint32_t max_pending; /* home agent: updates not yet acknowledged (a node counts once) */
};

/* Context handed to update(): give it back with siu_ack(), at once or later. One of an earlier run
 * of the peer is ignored. */
struct siu_ticket {
	uint64_t datagram_seq; /* our count of the datagrams, not the sequence on the wire */
	uint16_t entry;
};

struct siu_callbacks { /* a NULL callback: not wanted by this role */
	void (*send)(void *arg, const uint8_t *datagram, size_t len);
	/* Gateway. in_sync: between SYNC begin and end, mark the node as confirmed. */
	void (*update)(void *arg, const struct siu_update *update, struct siu_ticket ticket);
	void (*sync_begin)(void *arg);
	void (*sync_end)(
		void *arg); /* every update of the SYNC was acknowledged: sweep the unmarked */
	/* Home agent. ack: for each entry; after a final result the entry is forgotten here. */
	void (*ack)(void *arg, const struct siu_ack_entry *entry);
	void (*rrq_seen)(void *arg, const struct siu_rrq_seen *seen);
	void (*event)(void *arg, const struct siu_event *event);
	/* Home agent, during SYNC: fill *update with the next binding behind cursor (0: the first)
	 * and return the new cursor, or 0 when there is none left. rrp is not sent in a SYNC. */
	uint64_t (*next_binding)(void *arg, uint64_t cursor, struct siu_update *update);
	/* Both: the peer answers HELLO with our nonce (up), or has been silent (down). restarted:
	 * its boot epoch is another than before. */
	void (*peer)(void *arg, bool up, bool restarted);
};

struct siu_stats {
	uint64_t rx, tx;
	uint64_t retransmitted; /* UPDATE: datagrams as the same bytes, entries in a new one */
	uint64_t bad_tag, unknown_key, malformed, bad_version, not_up, unknown_tlv;
	uint64_t shed;     /* tag not computed: too many were wrong */
	uint64_t replayed; /* sequence seen before or too old; a repeated UPDATE is one, too */
	uint64_t busy;     /* gateway: UPDATE refused for now, all of the cache has open entries */
	/* Home agent: asked for, entries answered, received, received, completed.
	 * Gateway: entries handed up, answers sent, sent, sent, completed. */
	uint64_t updates, acks, rrq_seen, events, syncs;
	uint64_t rtt_us;   /* smoothed, UPDATE to ACK; 0: none yet */
	uint64_t first_us; /* home agent: wait before the first repetition */
	uint32_t pending;
	bool up;
	uint32_t peer_epoch;
};

/* Two directional keys from one secret: HMAC-SHA-256(secret, label | direction | key id). */
void siu_derive_keys(const uint8_t *secret, size_t len, uint16_t id, struct siu_key *ha_to_gw,
	struct siu_key *gw_to_ha);

/* Random: who does not hear this end cannot tell which sequences it uses (siu/gate.h). */
uint64_t siu_draw_start(void);
/* NULL: out of memory. The config is copied. */
struct siu *siu_new(
	const struct siu_config *config, const struct siu_callbacks *callbacks, void *arg);
void siu_free(struct siu *siu); /* wipes keys */

/* Other keys for a running association, as in siu_config: run, window, and what is pending stay.
 * What is in the air under a former key is sent again under the new one if no answer comes.
 * Returns whether they differ from those before. */
bool siu_set_keys(
	struct siu *siu, const struct siu_key keys_out[2], const struct siu_key keys_in[2]);

void siu_input(struct siu *siu, const uint8_t *datagram, size_t len, uint64_t now_ns);
/* Any thread: would the peer send this now? Not by its tag (siu/gate.h). */
bool siu_admits(const struct siu *siu, const uint8_t *datagram, size_t len);
/* Does what is due; returns when to call again (CLOCK_MONOTONIC ns). Call also after siu_input,
 * siu_update and siu_ack: they queue, siu_tick() sends (batches: many entries in one datagram). */
uint64_t siu_tick(struct siu *siu, uint64_t now_ns);

/* Home agent. Queues or replaces (same home address, REPLY_ONLY entries apart) an update; copied,
 * the RRP too. First retransmission after 10 ms or more (siu/rtt.h), then ever more slowly up to 5
 * s, until acknowledged or superseded. While the peer is down it stays pending. -ENOBUFS:
 * max_pending.
 */
int siu_update(struct siu *siu, const struct siu_update *update, uint64_t now_ns)
	__attribute__((warn_unused_result));
void siu_forget(struct siu *siu, const struct ip_addr *home_address); /* binding is gone */

/* Gateway. The ACK leaves with the next siu_tick(). A retransmitted UPDATE whose tickets were all
 * answered is answered again from the cache; one whose tickets are open is not handed up twice. */
void siu_ack(struct siu *siu, struct siu_ticket ticket, const struct siu_ack_entry *entry);
/* Gateway, sent once at once: RRQ_SEEN and EVENT. -ENOTCONN: the peer is not up. */
int siu_send_rrq_seen(struct siu *siu, const struct siu_rrq_seen *seen, uint64_t now_ns);
int siu_send_event(struct siu *siu, const struct siu_event *event, uint64_t now_ns);

void siu_get_stats(const struct siu *siu, struct siu_stats *out);
#endif
