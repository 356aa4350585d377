/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each UPDATE datagram takes a place in the cache, in which its entries are
 * answered one by one. A place is free for another datagram when all are answered and the ACK has
 * left; the lowest sequence goes first, as that is the one a sender is least likely to repeat.
 */
#include "siu/receiver.h"

#include <errno.h>
#include <stdlib.h>

int siu_receiver_init(struct siu_receiver *receiver)
{
	TAILQ_INIT(&receiver->due);
	receiver->answers = calloc(SIU_CACHE * SIU_ENTRIES_MAX, sizeof *receiver->answers);
	if (receiver->answers == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < SIU_CACHE; i++)
		receiver->cache[i].answers = receiver->answers + i * SIU_ENTRIES_MAX;
	return 0;
}

void siu_receiver_fini(struct siu_receiver *receiver)
{
	free(receiver->answers);
	receiver->answers = NULL;
}

/* Tickets of the former run stay open at their owner: their serials find nothing any more. */
void siu_receiver_reset(struct siu_receiver *receiver)
{
	for (size_t i = 0; i < SIU_CACHE; i++) {
		receiver->cache[i].sequence = 0;
		receiver->cache[i].serial = 0;
		receiver->cache[i].due = false;
	}
	TAILQ_INIT(&receiver->due);
	receiver->sync_id = 0;
	receiver->sync_open = false;
	receiver->sync_answer_due = false;
}

static struct siu_cached *cache_find(struct siu_receiver *receiver, uint64_t sequence)
{
	for (size_t i = 0; i < SIU_CACHE; i++)
		if (receiver->cache[i].sequence == sequence)
			return &receiver->cache[i];
	return NULL;
}

static struct siu_cached *cache_take(struct siu_receiver *receiver, uint64_t sequence)
{
	struct siu_cached *best = NULL;

	for (size_t i = 0; i < SIU_CACHE; i++) {
		struct siu_cached *cached = &receiver->cache[i];

		if (cached->sequence != 0 && (cached->open > 0 || cached->due))
			continue;
		if (best == NULL || cached->sequence < best->sequence)
			best = cached;
	}
	if (best == NULL)
		return NULL;
	best->sequence = sequence;
	best->serial = ++receiver->n_cached * SIU_CACHE + (uint64_t)(best - receiver->cache);
	return best;
}

static void make_due(struct siu_receiver *receiver, struct siu_cached *cached, uint16_t entry)
{
	cached->answers[entry].due = true;
	if (cached->due)
		return;
	cached->due = true;
	TAILQ_INSERT_TAIL(&receiver->due, cached, due_link);
}

static void answer(struct siu_receiver *receiver, struct siu_cached *cached, uint16_t entry,
	const struct siu_ack_entry *ack)
{
	cached->answers[entry].ack = *ack;
	cached->answers[entry].answered = true;
	cached->open--;
	make_due(receiver, cached, entry);
}

int siu_receiver_update(struct siu_receiver *receiver, const struct siu_header *header,
	struct wire body, enum siu_result refusal)
{
	struct siu_cached *cached = cache_take(receiver, header->sequence);
	struct wire entry;

	if (cached == NULL)
		return -ENOBUFS;
	cached->count = header->count;
	cached->open = header->count;
	for (uint16_t i = 0; i < cached->count; i++)
		cached->answers[i] = (struct siu_answer){0};
	for (uint16_t i = 0; siu_body_next(&body, SIU_UPDATE, &entry); i++) {
		struct siu_ticket ticket = {.datagram_seq = cached->serial, .entry = i};
		struct siu_update update;
		enum siu_result result = siu_update_decode(
			entry, &update, &cached->answers[i].reference);

		if (refusal != SIU_RESULT_OK)
			result = refusal;
		if (result == SIU_RESULT_OK) {
			receiver->stats->updates++;
			receiver->callbacks->update(receiver->arg, &update, ticket);
		} else {
			receiver->stats->unknown_tlv += result == SIU_RESULT_UNKNOWN_TLV;
			receiver->stats->malformed += result == SIU_RESULT_MALFORMED;
			answer(receiver, cached, i,
				&(struct siu_ack_entry){.result = result,
					.node = update.node,
					.generation = update.generation,
					.home_address = update.home_address,
					.update_flags = update.flags});
		}
	}
	return 0;
}

void siu_receiver_repeated(struct siu_receiver *receiver, uint64_t sequence)
{
	struct siu_cached *cached = cache_find(receiver, sequence);

	for (uint16_t i = 0; cached != NULL && i < cached->count; i++)
		if (cached->answers[i].answered)
			make_due(receiver, cached, i);
}

void siu_receiver_ack(
	struct siu_receiver *receiver, struct siu_ticket ticket, const struct siu_ack_entry *ack)
{
	struct siu_cached *cached = &receiver->cache[ticket.datagram_seq % SIU_CACHE];

	if (cached->serial == ticket.datagram_seq && ticket.entry < cached->count &&
		!cached->answers[ticket.entry].answered)
		answer(receiver, cached, ticket.entry, ack);
}

static void sync_answer(
	struct siu_receiver *receiver, enum siu_sync_step step, uint32_t id, enum siu_result result)
{
	receiver->sync_answer = (struct siu_sync_message){
		.id = id, .step = (uint8_t)step, .result = result};
	receiver->sync_answer_due = true;
}

void siu_receiver_sync(struct siu_receiver *receiver, const struct siu_sync_message *message)
{
	const struct siu_callbacks *callbacks = receiver->callbacks;

	if (message->step == SIU_SYNC_BEGIN) {
		if (message->id > receiver->sync_id) {
			receiver->sync_id = message->id;
			receiver->sync_open = true;
			if (callbacks->sync_begin != NULL)
				callbacks->sync_begin(receiver->arg);
		}
		if (message->id == receiver->sync_id)
			sync_answer(receiver, SIU_SYNC_BEGIN_ACK, message->id, SIU_RESULT_OK);
	} else if (message->step == SIU_SYNC_END) {
		if (message->id != receiver->sync_id || message->id == 0) {
			sync_answer(
				receiver, SIU_SYNC_END_ACK, message->id, SIU_RESULT_RESYNC_NEEDED);
			return;
		}
		if (receiver->sync_open) {
			receiver->sync_open = false;
			receiver->stats->syncs++;
			if (callbacks->sync_end != NULL)
				callbacks->sync_end(receiver->arg);
		}
		sync_answer(receiver, SIU_SYNC_END_ACK, message->id, SIU_RESULT_OK);
	}
}

/* Writes the due answers of a datagram; false: no room for all, the rest is still due. */
static bool put_answers(struct siu_cached *cached, struct wire_out *body, uint16_t *count)
{
	for (uint16_t i = 0; i < cached->count; i++) {
		struct siu_answer *due = &cached->answers[i];

		if (!due->due)
			continue;
		if (*count == SIU_ENTRIES_MAX || !siu_ack_encode(body, &due->ack, due->reference))
			return false;
		due->due = false;
		++*count;
	}
	return true;
}

static void send_acks(struct siu_receiver *receiver)
{
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);
	struct siu_cached *cached;
	uint16_t count = 0;
	size_t len;

	while ((cached = TAILQ_FIRST(&receiver->due)) != NULL) {
		if (!put_answers(cached, &body, &count))
			break;
		TAILQ_REMOVE(&receiver->due, cached, due_link);
		cached->due = false;
	}
	receiver->stats->acks += count;
	len = siu_outbox_seal(receiver->outbox, &body, SIU_ACK, count);
	if (len != 0)
		siu_outbox_send(receiver->outbox, datagram, len);
}

void siu_receiver_tick(struct siu_receiver *receiver)
{
	while (!TAILQ_EMPTY(&receiver->due))
		send_acks(receiver);
	if (receiver->sync_answer_due) {
		uint8_t datagram[SIU_DATAGRAM_MAX];
		struct wire_out body = siu_outbox_open(datagram);

		receiver->sync_answer_due = false;
		if (siu_sync_encode(&body, &receiver->sync_answer))
			siu_outbox_post(receiver->outbox, &body, SIU_SYNC);
	}
}
