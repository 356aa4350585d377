/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_SENDER_H
#define SIU_SENDER_H
/*
 * The home agent's side of UPDATE: batches, retransmission, ACKs.
 *
 * Owner:    the association (role SIU_HOME_AGENT); control thread.
 * Sources:  siu/README.md sections 3 (repeated UPDATE), 5 and 6.
 */
#include "siu/outbox.h"
#include "siu/pending.h"
#include "siu/rtt.h"
#include "siu/sync.h"

#define SIU_FLIGHTS 64         /* UPDATE datagrams that wait for ACKs */
#define SIU_SAME_BYTES_MAX 4   /* repetitions of a datagram before its entries get a new one */
#define SIU_SAME_BYTES_LAG 128 /* later sequence numbers, likewise */
#define SIU_LANES 10           /* of 10 ms, 20 ms, ... 5.12 s */

struct siu_flight { /* a datagram in the air; free when it has no entries */
	struct siu_pending_list entries;
	uint64_t sequence, sent_ns, due_ns;
	unsigned tries;
	bool repeated; /* no round trip can be measured any more */
	bool outdated; /* holds a superseded or withdrawn entry: do not repeat */
	size_t len;
	uint8_t *datagram; /* [SIU_DATAGRAM_MAX]; apart, to keep the search short */
};

struct siu_sender {
	struct siu_outbox *outbox; /* borrowed, as the three below */
	const struct siu_callbacks *callbacks;
	void *arg;
	struct siu_stats *stats;
	size_t max_local;
	struct siu_pending_table table;
	struct siu_pending_list ready; /* to be sent now, oldest first */
	struct siu_pending_list
		lanes[SIU_LANES]; /* to be sent later; all of a lane wait equally long */
	struct siu_flight flights[SIU_FLIGHTS];
	uint8_t *datagrams;     /* of all of them */
	struct siu_rtt rtt;     /* UPDATE to ACK */
	uint64_t backed_off_ns; /* when it was made longer last */
	struct siu_sync sync;
};

int siu_sender_init(struct siu_sender *sender, size_t max_local)
	__attribute__((warn_unused_result));
void siu_sender_fini(struct siu_sender *sender);

int siu_sender_update(struct siu_sender *sender, const struct siu_update *update)
	__attribute__((warn_unused_result));
void siu_sender_forget(struct siu_sender *sender, const struct ip_addr *home_address);

/* Its content or reference is another one: out of the datagram it is in, to be sent anew. */
void siu_sender_again(struct siu_sender *sender, struct siu_pending *entry);
/* One entry of an ACK. */
void siu_sender_acked(struct siu_sender *sender, uint64_t reference,
	const struct siu_ack_entry *ack, uint64_t now_ns);
/* The peer came up or was lost: what was in the air is not any more. */
void siu_sender_reset(struct siu_sender *sender);
/* The key is another one: what is in the air is not repeated as the same bytes. */
void siu_sender_rekeyed(struct siu_sender *sender);
/* The peer is up. Returns when to call again, UINT64_MAX: when something was queued. */
uint64_t siu_sender_tick(struct siu_sender *sender, uint64_t now_ns);

/* Delay before the next repetition: first doubled `tries` times, at most 5 s. */
uint64_t siu_backoff_ns(uint64_t first_ns, unsigned tries);
#endif
