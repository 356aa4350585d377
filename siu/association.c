/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: take_datagram() is a row of gates in a fixed order: tag, header, run and window,
 * body; what passes goes to liveness, sender or receiver. They only take notes: everything leaves
 * in siu_tick() (RRQ_SEEN and EVENT, which are sent once, leave at once).
 *
 * Wrong tags have a budget. Once it is spent a tag is computed only for what the peer would send
 * now: of both ends' present runs with a number that may come next, or a HELLO with the echo of a
 * nonce of ours. Who forges the peer's address without hearing us so costs no HMAC, and the peer
 * itself, even after a restart, is not kept out.
 */
#include "siu/association.h"

#include "lib/clock.h"
#include "lib/hmac.h"
#include "siu/auth.h"
#include "siu/codec.h"
#include "siu/gate.h"
#include "siu/liveness.h"
#include "siu/outbox.h"
#include "siu/receiver.h"
#include "siu/sender.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define BAD_TAGS_PER_S 1000
#define BAD_TAGS_BURST 256
#define SEQUENCE_START_MAX (UINT64_C(1) << 62) /* no run counts to the end of 64 bits */

struct siu {
	/* const after siu_new() */
	enum siu_role role;
	struct siu_callbacks callbacks;
	void *arg;
	/* changing */
	struct siu_key keys_in[2]; /* by siu_set_keys() alone */
	struct siu_outbox outbox;
	struct siu_liveness live;
	struct siu_sender sender;     /* role SIU_HOME_AGENT */
	struct siu_receiver receiver; /* role SIU_GATEWAY */
	struct siu_stats stats;
	struct siu_gate gate; /* of what live says */
	uint64_t bad_tags_ns; /* budget of wrong tags: time up to which it is spent */
	bool was_synced;      /* a SYNC was begun in this run */
};

uint64_t siu_draw_start(void)
{
	uint64_t start;

	random_fill(&start, sizeof start);
	return start % SEQUENCE_START_MAX;
}

struct siu *siu_new(
	const struct siu_config *config, const struct siu_callbacks *callbacks, void *arg)
{
	struct siu *siu = calloc(1, sizeof *siu);
	int ret;

	if (siu == NULL)
		return NULL;
	siu->role = config->role;
	memcpy(siu->keys_in, config->keys_in, sizeof siu->keys_in);
	siu->callbacks = *callbacks;
	siu->arg = arg;
	siu->outbox = (struct siu_outbox){
		.key = config->keys_out[0],
		.sender_id = config->local_id,
		.epoch = config->boot_epoch,
		.sequence = config->sequence_start,
		.send = callbacks->send,
		.arg = arg,
		.stats = &siu->stats,
	};
	if (siu->role == SIU_HOME_AGENT) {
		siu->sender = (struct siu_sender){.outbox = &siu->outbox,
			.callbacks = &siu->callbacks,
			.arg = arg,
			.stats = &siu->stats};
		siu_liveness_init(&siu->live, SIU_HELLO_HOME_AGENT);
		ret = siu_sender_init(&siu->sender, config->max_pending);
	} else {
		siu->receiver = (struct siu_receiver){.outbox = &siu->outbox,
			.callbacks = &siu->callbacks,
			.arg = arg,
			.stats = &siu->stats};
		siu_liveness_init(&siu->live, SIU_HELLO_GATEWAY);
		ret = siu_receiver_init(&siu->receiver);
	}
	if (ret != 0) {
		siu_free(siu);
		return NULL;
	}
	return siu;
}

void siu_free(struct siu *siu)
{
	if (siu == NULL)
		return;
	if (siu->role == SIU_HOME_AGENT)
		siu_sender_fini(&siu->sender);
	else
		siu_receiver_fini(&siu->receiver);
	secret_wipe(siu, sizeof *siu);
	free(siu);
}

/* What a change of the association means for what is under way. */
static void peer_changed(struct siu *siu, enum siu_liveness_news news)
{
	bool up = news != SIU_LIVENESS_DOWN;
	bool restarted = news == SIU_LIVENESS_RESTARTED;

	siu->outbox.peer_epoch = siu->live.peer_epoch;
	if (siu->role == SIU_GATEWAY && restarted)
		siu_receiver_reset(&siu->receiver);
	if (siu->role == SIU_HOME_AGENT) {
		bool interrupted = siu->sender.sync.state != SIU_SYNC_IDLE;

		siu_sender_reset(&siu->sender);
		if (restarted || interrupted || (up && !siu->was_synced))
			siu_sync_want(&siu->sender);
		siu->was_synced = siu->was_synced || up;
	}
	if (siu->callbacks.peer != NULL)
		siu->callbacks.peer(siu->arg, up, restarted);
}

static void on_hello(
	struct siu *siu, const struct siu_header *header, struct wire entry, uint64_t now_ns)
{
	struct siu_hello hello;
	enum siu_result result = siu_hello_decode(entry, &hello);
	enum siu_liveness_news news;

	if (result != SIU_RESULT_OK || hello.role == siu->live.role) {
		siu->stats.malformed++;
		return;
	}
	if (hello.version_min > SIU_VERSION || hello.version_max < SIU_VERSION) {
		siu->stats.bad_version++;
		return;
	}
	news = siu_liveness_hear(&siu->live, header, &hello, now_ns);
	if (news == SIU_LIVENESS_REPLAYED)
		siu->stats.replayed++;
	else if (news != SIU_LIVENESS_SAME)
		peer_changed(siu, news);
}

/* Entries of an ACK are independent: one that cannot be read does not spoil the others. */
static void on_ack(struct siu *siu, struct wire body, uint64_t now_ns)
{
	struct siu_ack_entry ack;
	struct wire entry;
	uint64_t reference;

	while (siu_body_next(&body, SIU_ACK, &entry))
		if (siu_ack_decode(entry, &ack, &reference) == SIU_RESULT_OK)
			siu_sender_acked(&siu->sender, reference, &ack, now_ns);
		else
			siu->stats.malformed++;
}

static void on_rrq_seen(struct siu *siu, struct wire entry)
{
	struct siu_rrq_seen seen;

	if (siu_rrq_seen_decode(entry, &seen) != SIU_RESULT_OK) {
		siu->stats.malformed++;
		return;
	}
	siu->stats.rrq_seen++;
	if (siu->callbacks.rrq_seen != NULL)
		siu->callbacks.rrq_seen(siu->arg, &seen);
}

static void on_event(struct siu *siu, struct wire entry)
{
	struct siu_event event;

	if (siu_event_decode(entry, &event) != SIU_RESULT_OK) {
		siu->stats.malformed++;
		return;
	}
	if (event.kind < SIU_EVENT_SA_EXPIRED || event.kind > SIU_EVENT_UNANSWERED)
		return; /* of a later version */
	siu->stats.events++;
	if (siu->callbacks.event != NULL)
		siu->callbacks.event(siu->arg, &event);
}

static void on_sync(struct siu *siu, struct wire entry)
{
	struct siu_sync_message message;

	if (siu_sync_decode(entry, &message) != SIU_RESULT_OK)
		siu->stats.malformed++;
	else if (siu->role == SIU_GATEWAY)
		siu_receiver_sync(&siu->receiver, &message);
	else
		siu_sync_answered(&siu->sender, &message);
}

static bool type_is_for(enum siu_role role, uint8_t type)
{
	switch (type) {
	case SIU_HELLO:
	case SIU_SYNC:
		return true;
	case SIU_UPDATE:
		return role == SIU_GATEWAY;
	case SIU_ACK:
	case SIU_RRQ_SEEN:
	case SIU_EVENT:
		return role == SIU_HOME_AGENT;
	}
	return false;
}

/* Everything but HELLO: of a proven run, for our run, and for the first time. */
static bool passes_order(struct siu *siu, const struct siu_header *header)
{
	if (!siu->live.up || header->epoch != siu->live.peer_epoch ||
		header->peer_epoch != siu->outbox.epoch) {
		siu->stats.not_up++;
		return false;
	}
	if (siu_replay_check(&siu->live.replay, header->sequence) != SIU_REPLAY_NEW) {
		siu->stats.replayed++;
		if (header->type == SIU_UPDATE)
			siu_receiver_repeated(&siu->receiver, header->sequence);
		return false;
	}
	return true;
}

static void on_message(struct siu *siu, const struct siu_header *header, struct wire body,
	enum siu_result refusal, uint64_t now_ns)
{
	struct wire entry;

	if (header->type == SIU_UPDATE) {
		if (siu_receiver_update(&siu->receiver, header, body, refusal) != 0) {
			siu->stats.busy++;
			return; /* not marked as seen: its repetition may find room */
		}
		siu_replay_commit(&siu->live.replay, header->sequence);
		return;
	}
	siu_replay_commit(&siu->live.replay, header->sequence);
	if (refusal != SIU_RESULT_OK) {
		siu->stats.unknown_tlv++;
		return;
	}
	if (header->type == SIU_ACK) {
		on_ack(siu, body, now_ns);
		return;
	}
	if (!siu_body_next(&body, header->type, &entry))
		return;
	if (header->type == SIU_RRQ_SEEN)
		on_rrq_seen(siu, entry);
	else if (header->type == SIU_EVENT)
		on_event(siu, entry);
	else
		on_sync(siu, entry);
}

static void charge(struct siu *siu, uint64_t now_ns)
{
	if (siu->bad_tags_ns < now_ns)
		siu->bad_tags_ns = now_ns;
	siu->bad_tags_ns += NS_PER_S / BAD_TAGS_PER_S;
}

static bool is_over_budget(const struct siu *siu, uint64_t now_ns)
{
	return siu->bad_tags_ns > now_ns + BAD_TAGS_BURST * (NS_PER_S / BAD_TAGS_PER_S);
}

static bool passes_tag(struct siu *siu, const uint8_t *datagram, size_t len, uint64_t now_ns)
{
	const bool over = is_over_budget(siu, now_ns);

	if (over && !siu_gate_admits(&siu->gate, datagram, len)) {
		siu->stats.shed++;
		return false;
	}
	switch (siu_auth_check(siu->keys_in, datagram, len)) {
	case SIU_AUTH_OK:
		return true;
	case SIU_AUTH_BAD_LENGTH:
		siu->stats.malformed++;
		break;
	case SIU_AUTH_UNKNOWN_KEY:
		siu->stats.unknown_key++;
		break;
	case SIU_AUTH_BAD_TAG:
		siu->stats.bad_tag++;
		if (!over) /* it never takes longer than the burst to fill up again */
			charge(siu, now_ns);
		break;
	}
	return false;
}

static bool passes_header(
	struct siu *siu, const uint8_t *datagram, size_t len, struct siu_header *header)
{
	enum siu_result result = siu_header_decode(datagram, len, header);

	if (result == SIU_RESULT_BAD_VERSION)
		siu->stats.bad_version++;
	else if (result == SIU_RESULT_UNKNOWN_TLV)
		siu->stats.unknown_tlv++;
	else if (result != SIU_RESULT_OK || !type_is_for(siu->role, header->type))
		siu->stats.malformed++;
	else
		return true;
	return false;
}

static void take_datagram(struct siu *siu, const uint8_t *datagram, size_t len, uint64_t now_ns)
{
	const uint8_t *body;
	size_t body_len;
	struct siu_header header;
	enum siu_result result;
	struct wire walk, entry;

	siu->stats.rx++;
	if (!passes_tag(siu, datagram, len, now_ns) || !passes_header(siu, datagram, len, &header))
		return;
	if (header.type != SIU_HELLO && !passes_order(siu, &header))
		return;
	body = datagram + SIU_HEADER_BYTES;
	body_len = len - SIU_DATAGRAM_MIN;
	result = siu_body_check(body, body_len, header.type, header.count);
	if (result == SIU_RESULT_MALFORMED ||
		(header.count != 1 && header.type != SIU_UPDATE && header.type != SIU_ACK)) {
		siu->stats.malformed++;
		return;
	}
	walk = wire_over(body, body_len);
	if (header.type != SIU_HELLO)
		on_message(siu, &header, walk, result, now_ns);
	else if (result != SIU_RESULT_OK)
		siu->stats.unknown_tlv++;
	else if (siu_body_next(&walk, SIU_HELLO, &entry))
		on_hello(siu, &header, entry, now_ns);
}

void siu_input(struct siu *siu, const uint8_t *datagram, size_t len, uint64_t now_ns)
{
	take_datagram(siu, datagram, len, now_ns);
	siu_gate_set(&siu->gate, &siu->live, siu->outbox.epoch);
}

bool siu_admits(const struct siu *siu, const uint8_t *datagram, size_t len)
{
	return siu_gate_admits(&siu->gate, datagram, len);
}

uint64_t siu_tick(struct siu *siu, uint64_t now_ns)
{
	enum siu_liveness_news news = siu_liveness_judge(&siu->live, now_ns);
	uint64_t next;

	if (news == SIU_LIVENESS_DOWN)
		peer_changed(siu, news);
	next = siu_liveness_tick(&siu->live, &siu->outbox, now_ns);
	siu_gate_set(&siu->gate, &siu->live, siu->outbox.epoch);
	if (!siu->live.up)
		return next;
	if (siu->role == SIU_GATEWAY) {
		siu_receiver_tick(&siu->receiver);
	} else {
		uint64_t sender_next = siu_sender_tick(&siu->sender, now_ns);

		next = sender_next < next ? sender_next : next;
	}
	return next;
}

static bool same_key(const struct siu_key *a, const struct siu_key *b)
{
	return a->id == b->id && a->len == b->len && hmac_equal(a->bytes, b->bytes, a->len);
}

bool siu_set_keys(
	struct siu *siu, const struct siu_key keys_out[2], const struct siu_key keys_in[2])
{
	if (same_key(&siu->outbox.key, &keys_out[0]) && same_key(&siu->keys_in[0], &keys_in[0]) &&
		same_key(&siu->keys_in[1], &keys_in[1]))
		return false;
	memcpy(siu->keys_in, keys_in, sizeof siu->keys_in);
	siu->outbox.key = keys_out[0];
	if (siu->role == SIU_HOME_AGENT)
		siu_sender_rekeyed(&siu->sender);
	return true;
}

int siu_update(struct siu *siu, const struct siu_update *update, uint64_t now_ns)
{
	(void)now_ns; /* it leaves with the next siu_tick(), whose time counts */
	assert(siu->role == SIU_HOME_AGENT);
	return siu_sender_update(&siu->sender, update);
}

void siu_forget(struct siu *siu, const struct ip_addr *home_address)
{
	assert(siu->role == SIU_HOME_AGENT);
	siu_sender_forget(&siu->sender, home_address);
}

void siu_ack(struct siu *siu, struct siu_ticket ticket, const struct siu_ack_entry *entry)
{
	assert(siu->role == SIU_GATEWAY);
	siu_receiver_ack(&siu->receiver, ticket, entry);
}

int siu_send_rrq_seen(struct siu *siu, const struct siu_rrq_seen *seen, uint64_t now_ns)
{
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	(void)now_ns;
	if (!siu->live.up)
		return -ENOTCONN;
	if (!ip_addr_is_set(&seen->home_address) || !ip_addr_is_set(&seen->coa) ||
		!ip_addr_is_set(&seen->observed.addr) || !siu_rrq_seen_encode(&body, seen))
		return -EINVAL;
	siu->stats.rrq_seen++;
	siu_outbox_post(&siu->outbox, &body, SIU_RRQ_SEEN);
	return 0;
}

int siu_send_event(struct siu *siu, const struct siu_event *event, uint64_t now_ns)
{
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	(void)now_ns;
	if (!siu->live.up)
		return -ENOTCONN;
	if (!ip_addr_is_set(&event->home_address) || !siu_event_encode(&body, event))
		return -EINVAL;
	siu->stats.events++;
	siu_outbox_post(&siu->outbox, &body, SIU_EVENT);
	return 0;
}

void siu_get_stats(const struct siu *siu, struct siu_stats *out)
{
	*out = siu->stats;
	out->rtt_us = siu->sender.rtt.smoothed_ns / NS_PER_US;
	out->first_us = siu_rtt_first_ns(&siu->sender.rtt) / NS_PER_US;
	out->pending = (uint32_t)siu->sender.table.n_used;
	out->up = siu->live.up;
	out->peer_epoch = siu->live.has_peer ? siu->live.peer_epoch : 0;
}
