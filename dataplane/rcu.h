/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_RCU_H
#define DATAPLANE_RCU_H
/*
 * When may memory that workers could still read be freed? One QSBR variable, and one bounded list
 * of what waits for its grace period.
 *
 * Owner:    struct dataplane. Threads: rcu_online(), rcu_offline() and rcu_quiescent() belong to
 *           worker `reader`; all else is the control thread's, which is no reader itself.
 * Order:    unlink first, then rcu_retire(); the token is taken later (one for all that was retired
 *           since the last rcu_reap()), so it covers every reader that could have seen the object.
 * Sources:  DPDK 22.11 programmer's guide, "RCU Library"; rte_rcu_qsbr.h.
 */
#include <rte_rcu_qsbr.h>

#include <stdbool.h>
#include <stdint.h>

typedef void rcu_free_fn(void *owner, void *object, bool flag);

struct rcu {
	/* const after rcu_new() */
	struct rte_rcu_qsbr *qsbr;
	uint32_t capacity; /* objects, a power of two */
	uint32_t readers;
	/* control only */
	struct rcu_retired *ring;
	uint32_t head, tail; /* head: next to fill; tail: oldest; free-running */
	uint32_t untokened;  /* first in the ring that has no token yet */
};

/* capacity is rounded up to a power of two. Returns 0 or -ENOMEM. */
int rcu_new(struct rcu *rcu, uint32_t readers, uint32_t capacity)
	__attribute__((warn_unused_result));
/* Takes the readers offline, who have ended, and frees all that waits. */
void rcu_drain(struct rcu *rcu);
/* After rcu_drain(), and after the tables that use the variable are gone. */
void rcu_free(struct rcu *rcu);

static inline void rcu_online(const struct rcu *rcu, uint32_t reader)
{
	rte_rcu_qsbr_thread_online(rcu->qsbr, reader);
}

static inline void rcu_offline(const struct rcu *rcu, uint32_t reader)
{
	rte_rcu_qsbr_thread_offline(rcu->qsbr, reader);
}

/* The worker holds no pointer of an earlier lookup any more. */
static inline void rcu_quiescent(const struct rcu *rcu, uint32_t reader)
{
	rte_rcu_qsbr_quiescent(rcu->qsbr, reader);
}

/* A token is passed once every reader has been quiescent after it was taken. Never waits. */
uint64_t rcu_token(struct rcu *rcu);
bool rcu_passed(struct rcu *rcu, uint64_t token);

/* Free places in the list; tries rcu_reap() if fewer than wanted. */
uint32_t rcu_room(struct rcu *rcu, uint32_t wanted);
/* fn(owner, object, flag) runs on the control thread after the grace period. There is room: ask
 * rcu_room() before anything is published, and refuse with -EAGAIN if not. */
void rcu_retire(struct rcu *rcu, rcu_free_fn *fn, void *owner, void *object, bool flag);
/* Frees what has passed and takes one token for all that has none. */
void rcu_reap(struct rcu *rcu);
/* Objects that wait. */
uint32_t rcu_waiting(const struct rcu *rcu);
#endif
