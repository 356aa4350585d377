/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an entry is on exactly one list: `ready`, the entries of a datagram in the air (a
 * flight), or a lane, where it waits before it becomes ready again. A flight repeats its bytes when
 * it is due, a few times; then its entries are made ready. Entries that were sent in vain that
 * often go in datagrams that are not kept: straight to a lane, so that they do not fill the window.
 * ACKs find an entry by its reference, wherever it is.
 */
#include "siu/sender.h"

#include "lib/clock.h"
#include "siu/codec.h"

#include <errno.h>
#include <stdlib.h>

#define LANE_NS (10 * NS_PER_MS)
#define BACKOFF_MAX_NS (5 * NS_PER_S)
#define RATE_LIMITED_LANE 3 /* 80 ms */

int siu_sender_init(struct siu_sender *sender, size_t max_local)
{
	int ret = siu_pending_init(&sender->table, max_local + SIU_SYNC_WINDOW);

	if (ret != 0)
		return ret;
	sender->max_local = max_local;
	sender->datagrams = calloc(SIU_FLIGHTS, SIU_DATAGRAM_MAX);
	if (sender->datagrams == NULL) {
		siu_pending_fini(&sender->table);
		return -ENOMEM;
	}
	for (size_t i = 0; i < SIU_FLIGHTS; i++) {
		TAILQ_INIT(&sender->flights[i].entries);
		sender->flights[i].datagram = sender->datagrams + i * SIU_DATAGRAM_MAX;
	}
	for (size_t i = 0; i < SIU_LANES; i++)
		TAILQ_INIT(&sender->lanes[i]);
	TAILQ_INIT(&sender->ready);
	return 0;
}

void siu_sender_fini(struct siu_sender *sender)
{
	siu_pending_fini(&sender->table);
	free(sender->datagrams);
	sender->datagrams = NULL;
}

uint64_t siu_backoff_ns(uint64_t first_ns, unsigned tries)
{
	uint64_t delay = first_ns;

	while (tries-- > 0 && delay < BACKOFF_MAX_NS)
		delay *= 2;
	return delay < BACKOFF_MAX_NS ? delay : BACKOFF_MAX_NS;
}

/* Out of its datagram, which must not be repeated if the entry is not answered. */
static void leave_flight(struct siu_pending *entry, bool answered)
{
	if (entry->flight != NULL && !answered)
		entry->flight->outdated = true;
	entry->flight = NULL;
}

static void make_ready(struct siu_sender *sender, struct siu_pending *entry)
{
	entry->flight = NULL;
	if (entry->on != &sender->ready)
		siu_pending_move(entry, &sender->ready);
}

static void put_on_lane(
	struct siu_sender *sender, struct siu_pending *entry, unsigned lane, uint64_t now_ns)
{
	if (lane >= SIU_LANES)
		lane = SIU_LANES - 1;
	entry->flight = NULL;
	entry->due_ns = now_ns + siu_backoff_ns(LANE_NS, lane);
	siu_pending_move(entry, &sender->lanes[lane]);
}

void siu_sender_again(struct siu_sender *sender, struct siu_pending *entry)
{
	leave_flight(entry, false);
	make_ready(sender, entry);
}

int siu_sender_update(struct siu_sender *sender, const struct siu_update *update)
{
	bool reply_only = (update->flags & SIU_REPLY_ONLY) != 0;
	struct siu_pending *entry = siu_pending_find(
		&sender->table, &update->home_address, reply_only);
	int ret;

	if (!siu_update_is_sound(update))
		return -EINVAL;
	if ((entry == NULL || !entry->local) && sender->table.n_local >= sender->max_local)
		return -ENOBUFS;
	if (entry != NULL)
		ret = siu_pending_replace(&sender->table, entry, update);
	else
		ret = siu_pending_add(&sender->table, update, &entry);
	if (ret != 0)
		return ret;
	siu_sender_again(sender, entry);
	siu_pending_set_local(&sender->table, entry);
	sender->stats->updates++;
	return 0;
}

void siu_sender_forget(struct siu_sender *sender, const struct ip_addr *home_address)
{
	struct siu_pending *entry = siu_pending_find(&sender->table, home_address, false);

	if (entry == NULL)
		return;
	leave_flight(entry, false);
	siu_pending_del(&sender->table, entry);
}

/* Which copy is answered? Known only where there was but one: Karn's rule, RFC 6298 section 3. */
static void rtt_measure(struct siu_sender *sender, const struct siu_pending *entry, uint64_t now_ns)
{
	const struct siu_flight *flight = entry->flight;

	if (flight != NULL && !flight->repeated)
		siu_rtt_sample(&sender->rtt, now_ns - flight->sent_ns);
	else if ((flight != NULL || entry->tries > 0) && entry->sent_ns >= sender->backed_off_ns) {
		/* What was sent before with the shorter wait says nothing of the longer one. */
		siu_rtt_ambiguous(&sender->rtt, now_ns - entry->sent_ns);
		sender->backed_off_ns = now_ns;
	}
}

void siu_sender_acked(struct siu_sender *sender, uint64_t reference,
	const struct siu_ack_entry *ack, uint64_t now_ns)
{
	struct siu_pending *entry = siu_pending_by_reference(&sender->table, reference);
	struct siu_ack_entry answer = *ack;

	if (entry == NULL)
		return; /* answered before, superseded or withdrawn */
	sender->stats->acks++;
	rtt_measure(sender, entry, now_ns);
	leave_flight(entry, true);
	/* What was asked is known here better than from the answer. */
	answer.home_address = entry->update.home_address;
	answer.generation = entry->update.generation;
	answer.update_flags = entry->update.flags;
	if (siu_result_is_final(ack->result)) {
		siu_pending_del(&sender->table, entry);
	} else {
		unsigned first = ack->result == SIU_RESULT_RATE_LIMITED ? RATE_LIMITED_LANE : 0;

		put_on_lane(sender, entry, first + entry->refusals, now_ns);
		entry->refusals++;
		entry->tries = 0; /* the way there and back is open */
	}
	if (ack->result == SIU_RESULT_RESYNC_NEEDED)
		siu_sync_want(sender);
	if (sender->callbacks->ack != NULL)
		sender->callbacks->ack(sender->arg, &answer);
}

static void flight_give_up(struct siu_sender *sender, struct siu_flight *flight)
{
	struct siu_pending *entry;

	while ((entry = TAILQ_FIRST(&flight->entries)) != NULL) {
		entry->tries = flight->tries;
		make_ready(sender, entry);
	}
}

void siu_sender_reset(struct siu_sender *sender)
{
	struct siu_pending *entry;

	for (size_t i = 0; i < SIU_FLIGHTS; i++)
		flight_give_up(sender, &sender->flights[i]);
	for (size_t i = 0; i < SIU_LANES; i++)
		while ((entry = TAILQ_FIRST(&sender->lanes[i])) != NULL)
			make_ready(sender, entry);
	TAILQ_FOREACH(entry, &sender->ready, link)
	entry->tries = 0;
}

void siu_sender_rekeyed(struct siu_sender *sender)
{
	for (size_t i = 0; i < SIU_FLIGHTS; i++)
		sender->flights[i].outdated = true;
}

static void earlier(uint64_t *next, uint64_t time_ns)
{
	if (time_ns < *next)
		*next = time_ns;
}

static void flights_repeat(struct siu_sender *sender, uint64_t now_ns)
{
	for (size_t i = 0; i < SIU_FLIGHTS; i++) {
		struct siu_flight *flight = &sender->flights[i];

		if (TAILQ_EMPTY(&flight->entries) || now_ns < flight->due_ns)
			continue;
		flight->tries++;
		if (flight->outdated || flight->tries > SIU_SAME_BYTES_MAX ||
			sender->outbox->sequence - flight->sequence >= SIU_SAME_BYTES_LAG) {
			flight_give_up(sender, flight);
			continue;
		}
		flight->repeated = true;
		flight->due_ns = now_ns +
				 siu_backoff_ns(siu_rtt_first_ns(&sender->rtt), flight->tries);
		sender->stats->retransmitted++;
		siu_outbox_send(sender->outbox, flight->datagram, flight->len);
	}
}

static void lanes_release(struct siu_sender *sender, uint64_t now_ns)
{
	for (size_t i = 0; i < SIU_LANES; i++) {
		struct siu_pending *entry;

		while ((entry = TAILQ_FIRST(&sender->lanes[i])) != NULL && entry->due_ns <= now_ns)
			make_ready(sender, entry);
	}
}

static bool is_lasting(const struct siu_pending *entry)
{
	return entry->tries >= SIU_SAME_BYTES_MAX;
}

static struct siu_flight *flight_free(struct siu_sender *sender)
{
	for (size_t i = 0; i < SIU_FLIGHTS; i++)
		if (TAILQ_EMPTY(&sender->flights[i].entries))
			return &sender->flights[i];
	return NULL;
}

/* One datagram of what is ready, in `flight`. False: nothing was sent. */
static bool send_batch(struct siu_sender *sender, struct siu_flight *flight, uint64_t now_ns)
{
	struct siu_pending *entry = TAILQ_FIRST(&sender->ready);
	struct wire_out body = siu_outbox_open(flight->datagram);
	bool lasting = is_lasting(entry);
	uint16_t count = 0;

	flight->tries = entry->tries;
	for (; entry != NULL && is_lasting(entry) == lasting && count < SIU_ENTRIES_MAX; count++) {
		if (!siu_update_encode(&body, &entry->update, entry->reference))
			break;
		if (entry->tries < flight->tries)
			flight->tries = entry->tries; /* the freshest sets the pace */
		entry = TAILQ_NEXT(entry, link);
	}
	flight->len = siu_outbox_seal(sender->outbox, &body, SIU_UPDATE, count);
	if (flight->len == 0)
		return false;
	for (uint16_t i = 0; i < count; i++) {
		entry = TAILQ_FIRST(&sender->ready);
		if (entry->tries == 0)
			entry->sent_ns = now_ns;
		else
			sender->stats->retransmitted++;
		if (lasting) {
			put_on_lane(sender, entry, entry->tries, now_ns);
			entry->tries++;
		} else {
			entry->flight = flight;
			siu_pending_move(entry, &flight->entries);
		}
	}
	flight->sequence = sender->outbox->sequence;
	flight->sent_ns = now_ns;
	flight->due_ns = now_ns + siu_backoff_ns(siu_rtt_first_ns(&sender->rtt), flight->tries);
	flight->repeated = flight->tries > 0;
	flight->outdated = false;
	siu_outbox_send(sender->outbox, flight->datagram, flight->len);
	return true;
}

static uint64_t next_due(const struct siu_sender *sender)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < SIU_FLIGHTS; i++)
		if (!TAILQ_EMPTY(&sender->flights[i].entries))
			earlier(&next, sender->flights[i].due_ns);
	for (size_t i = 0; i < SIU_LANES; i++)
		if (!TAILQ_EMPTY(&sender->lanes[i]))
			earlier(&next, TAILQ_FIRST(&sender->lanes[i])->due_ns);
	return next;
}

uint64_t siu_sender_tick(struct siu_sender *sender, uint64_t now_ns)
{
	struct siu_flight *flight;
	uint64_t next;
	uint64_t sync_next;

	flights_repeat(sender, now_ns);
	lanes_release(sender, now_ns);
	sync_next = siu_sync_tick(sender, now_ns);
	while (!TAILQ_EMPTY(&sender->ready) && (flight = flight_free(sender)) != NULL)
		if (!send_batch(sender, flight, now_ns))
			break;
	next = next_due(sender);
	earlier(&next, sync_next);
	return next;
}
