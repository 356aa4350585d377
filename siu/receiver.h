/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_RECEIVER_H
#define SIU_RECEIVER_H
/*
 * The gateway's side of UPDATE and SYNC: tickets, answers kept for repeated datagrams, ACK batches.
 *
 * Owner:    the association (role SIU_GATEWAY); control thread. Memory: fixed, from init to fini.
 * Sources:  siu/README.md sections 3 (repeated UPDATE), 4 (ACK) and 6 (SYNC).
 */
#include "siu/auth.h"
#include "siu/codec.h"
#include "siu/outbox.h"

#include <sys/queue.h>

#define SIU_CACHE 256 /* UPDATE datagrams whose answers are kept */

struct siu_answer {
	uint64_t reference;
	bool answered, due; /* due: goes into the next ACK */
	struct siu_ack_entry ack;
};

struct siu_cached {        /* an UPDATE datagram */
	uint64_t sequence; /* 0: free */
	uint64_t serial; /* of our run; its low bits are the place in the cache; tickets name it */
	uint16_t count, open;
	bool due; /* is on the list of what the next ACK holds */
	TAILQ_ENTRY(siu_cached) due_link;
	struct siu_answer *answers; /* [SIU_ENTRIES_MAX]; apart, to keep the search short */
};
TAILQ_HEAD(siu_cached_list, siu_cached);

struct siu_receiver {
	struct siu_outbox *outbox; /* borrowed, as the three below */
	const struct siu_callbacks *callbacks;
	void *arg;
	struct siu_stats *stats;
	struct siu_cached cache[SIU_CACHE];
	struct siu_answer *answers; /* of all of them */
	uint64_t n_cached;          /* in our run */
	struct siu_cached_list due;
	/* SYNC, in the peer's present run */
	uint32_t sync_id; /* of the last one begun; 0: none */
	bool sync_open;
	bool sync_answer_due;
	struct siu_sync_message sync_answer;
};

int siu_receiver_init(struct siu_receiver *receiver) __attribute__((warn_unused_result));
void siu_receiver_fini(struct siu_receiver *receiver);
void siu_receiver_reset(struct siu_receiver *receiver); /* the peer is in another run */

/* A new UPDATE with a checked body of `count` entries, all to be refused if `refusal` is not OK.
 * Hands them up. -ENOBUFS: every cached datagram has open entries; nothing was done. */
int siu_receiver_update(struct siu_receiver *receiver, const struct siu_header *header,
	struct wire body, enum siu_result refusal) __attribute__((warn_unused_result));
void siu_receiver_repeated(struct siu_receiver *receiver, uint64_t sequence);
void siu_receiver_sync(struct siu_receiver *receiver, const struct siu_sync_message *message);

void siu_receiver_ack(
	struct siu_receiver *receiver, struct siu_ticket ticket, const struct siu_ack_entry *ack);
void siu_receiver_tick(struct siu_receiver *receiver); /* the peer is up */
#endif
