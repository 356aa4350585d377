/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a state that moves on by answers only. Entries of the SYNC are ordinary pending
 * entries with a mark; END waits until none is marked. BEGIN and END may be repeated as new
 * datagrams, since the gateway knows them by the SYNC's id.
 */
#include "siu/sync.h"

#include "siu/sender.h"

/* What the SYNC alone asked for is asked for again; what siu_update() asked for stays. */
static void unmark_all(struct siu_sender *sender)
{
	struct siu_pending_table *table = &sender->table;

	for (size_t i = 0; table->n_in_sync > 0 && i < table->capacity; i++) {
		struct siu_pending *entry = &table->entries[i];

		if (!entry->in_sync)
			continue;
		siu_pending_set_in_sync(table, entry, false);
		if (entry->local)
			continue;
		if (entry->flight != NULL)
			entry->flight->outdated = true;
		siu_pending_del(table, entry);
	}
}

void siu_sync_want(struct siu_sender *sender)
{
	if (sender->callbacks->next_binding == NULL)
		return; /* a SYNC without bindings would sweep them all */
	unmark_all(sender);
	sender->sync.state = SIU_SYNC_WANTED;
}

static void send_step(struct siu_sender *sender, enum siu_sync_step step, uint64_t now_ns)
{
	struct siu_sync *sync = &sender->sync;
	const struct siu_sync_message message = {.id = sync->id, .step = (uint8_t)step};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	if (siu_sync_encode(&body, &message))
		siu_outbox_post(sender->outbox, &body, SIU_SYNC);
	sync->due_ns = now_ns + siu_backoff_ns(siu_rtt_first_ns(&sender->rtt), sync->tries);
	sync->tries++;
}

static void enter(struct siu_sync *sync, enum siu_sync_state state, uint64_t now_ns)
{
	sync->state = state;
	sync->tries = 0;
	sync->due_ns = now_ns;
}

/* An ordinary update under way for the node stands for its binding: without its RRP the same
 * generation, sent first, would make it a duplicate. It is sent again: what the gateway got before
 * the BEGIN left no mark, so an answer to that must not count. */
static void feed(struct siu_sender *sender)
{
	struct siu_sync *sync = &sender->sync;
	struct siu_pending_table *table = &sender->table;

	while (!sync->fed && table->n_in_sync < SIU_SYNC_WINDOW) {
		struct siu_update update = {0};
		uint64_t cursor = sender->callbacks->next_binding(
			sender->arg, sync->cursor, &update);
		struct siu_pending *entry;

		if (cursor == 0) {
			sync->fed = true;
			return;
		}
		update.rrp = NULL;
		update.rrp_len = 0;
		entry = siu_pending_find(table, &update.home_address, false);
		if (entry == NULL) {
			/* Cannot fail: beside max_local entries there is room for the window. */
			if (siu_pending_add(table, &update, &entry) != 0)
				return;
			siu_pending_move(entry, &sender->ready);
		} else {
			siu_pending_renew(table, entry);
			siu_sender_again(sender, entry);
		}
		siu_pending_set_in_sync(table, entry, true);
		sync->cursor = cursor;
	}
}

void siu_sync_answered(struct siu_sender *sender, const struct siu_sync_message *answer)
{
	struct siu_sync *sync = &sender->sync;
	bool begun = sync->state == SIU_SYNC_BEGINNING && answer->step == SIU_SYNC_BEGIN_ACK;
	bool ended = sync->state == SIU_SYNC_ENDING && answer->step == SIU_SYNC_END_ACK;

	if (answer->id != sync->id || (!begun && !ended))
		return;
	if (answer->result != SIU_RESULT_OK) {
		siu_sync_want(sender);
	} else if (begun) {
		sync->state = SIU_SYNC_RUNNING;
		sync->cursor = 0;
		sync->fed = false;
	} else {
		sync->state = SIU_SYNC_IDLE;
		sender->stats->syncs++;
	}
}

uint64_t siu_sync_tick(struct siu_sender *sender, uint64_t now_ns)
{
	struct siu_sync *sync = &sender->sync;

	if (sync->state == SIU_SYNC_WANTED) {
		sync->id++;
		enter(sync, SIU_SYNC_BEGINNING, now_ns);
	}
	if (sync->state == SIU_SYNC_RUNNING) {
		feed(sender);
		if (sync->fed && sender->table.n_in_sync == 0)
			enter(sync, SIU_SYNC_ENDING, now_ns);
	}
	if (sync->state != SIU_SYNC_BEGINNING && sync->state != SIU_SYNC_ENDING)
		return UINT64_MAX;
	if (now_ns >= sync->due_ns)
		send_step(sender, sync->state == SIU_SYNC_BEGINNING ? SIU_SYNC_BEGIN : SIU_SYNC_END,
			now_ns);
	return sync->due_ns;
}
