/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_PENDING_H
#define SIU_PENDING_H
/*
 * The home agent's updates that are not yet acknowledged: found by home address, or by the
 * reference that an ACK brings back.
 *
 * Owner:    the sender; control thread. Entries live in one array from init to fini, RRPs are
 *           copied into memory of their own.
 */
#include "siu/siu.h"

#include <sys/queue.h>

struct siu_flight;
struct siu_pending;
TAILQ_HEAD(siu_pending_list, siu_pending);

struct siu_pending {
	struct siu_update update; /* rrp: own copy */
	uint64_t reference;       /* 0: free */
	TAILQ_ENTRY(siu_pending) link;
	struct siu_pending_list *on; /* the one list it is on */
	struct siu_pending *next_in_bucket;
	struct siu_flight *flight; /* the datagram it is in the air with, or NULL */
	uint64_t due_ns;           /* on a lane: when it is sent again */
	uint64_t sent_ns;          /* the first time, of those counted in tries */
	unsigned tries;            /* how often it was sent in vain */
	unsigned refusals;         /* how often the answer was not final */
	bool local;                /* asked for by siu_update(); else by a SYNC only */
	bool in_sync;              /* the END of the SYNC waits for it */
};

struct siu_pending_table {
	struct siu_pending *entries;
	struct siu_pending **buckets;
	struct siu_pending_list free;
	size_t capacity, n_buckets; /* buckets: a power of two */
	size_t n_used, n_local, n_in_sync;
	uint32_t serial;
};

int siu_pending_init(struct siu_pending_table *table, size_t capacity)
	__attribute__((warn_unused_result));
void siu_pending_fini(struct siu_pending_table *table);

struct siu_pending *siu_pending_find(struct siu_pending_table *table,
	const struct ip_addr *home_address, bool reply_only); /* NULL: none */
struct siu_pending *siu_pending_by_reference(struct siu_pending_table *table, uint64_t reference);

/* A new entry, on no list yet. -ENOBUFS: full, -ENOMEM: no memory for the RRP. */
int siu_pending_add(struct siu_pending_table *table, const struct siu_update *update,
	struct siu_pending **out) __attribute__((warn_unused_result));
/* Other content, same home address and kind, and a new reference. -ENOMEM: nothing changed. */
int siu_pending_replace(struct siu_pending_table *table, struct siu_pending *entry,
	const struct siu_update *update) __attribute__((warn_unused_result));
/* A new reference alone: what was sent before is no longer answered. */
void siu_pending_renew(struct siu_pending_table *table, struct siu_pending *entry);
void siu_pending_del(struct siu_pending_table *table, struct siu_pending *entry);

/* From the list it is on, if any, to the end of another (NULL: to none). */
void siu_pending_move(struct siu_pending *entry, struct siu_pending_list *to);
/* Keeps the counts right. */
void siu_pending_set_local(struct siu_pending_table *table, struct siu_pending *entry);
void siu_pending_set_in_sync(
	struct siu_pending_table *table, struct siu_pending *entry, bool in_sync);
#endif
