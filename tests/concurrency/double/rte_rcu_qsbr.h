/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_CONCURRENCY_DOUBLE_RTE_RCU_QSBR_H
#define TESTS_CONCURRENCY_DOUBLE_RTE_RCU_QSBR_H
/*
 * Fence-free double of DPDK's QSBR, for ThreadSanitizer, which does not understand fences: the same
 * calls with the same meaning, each ordered by the atomic that it reads or writes.
 *
 * Lets dataplane/rcu.c and slab.c be compiled without DPDK. Threads: as the real one.
 * Sources:  DPDK 22.11, rte_rcu_qsbr.h (names and meaning only).
 */
#include "tests/concurrency/double/rte_common.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOUBLE_OFFLINE 0

struct rte_rcu_qsbr {
	_Atomic(uint64_t) token;
	uint32_t max_threads;
	struct {
		_Alignas(RTE_CACHE_LINE_SIZE) _Atomic(uint64_t) seen;
	} threads[];
};

static inline size_t rte_rcu_qsbr_get_memsize(uint32_t max_threads)
{
	return sizeof(struct rte_rcu_qsbr) + max_threads * (size_t)RTE_CACHE_LINE_SIZE;
}

static inline int rte_rcu_qsbr_init(struct rte_rcu_qsbr *v, uint32_t max_threads)
{
	v->max_threads = max_threads;
	atomic_store(&v->token, DOUBLE_OFFLINE + 1);
	return 0;
}

static inline int rte_rcu_qsbr_thread_register(struct rte_rcu_qsbr *v, unsigned int thread)
{
	return thread < v->max_threads ? 0 : 1;
}

static inline void rte_rcu_qsbr_quiescent(struct rte_rcu_qsbr *v, unsigned int thread)
{
	uint64_t token = atomic_load_explicit(&v->token, memory_order_acquire);

	/* Release: what the thread read lies before it for whoever sees this in _check(). */
	atomic_store_explicit(&v->threads[thread].seen, token, memory_order_release);
}

static inline void rte_rcu_qsbr_thread_online(struct rte_rcu_qsbr *v, unsigned int thread)
{
	/* Sequentially consistent: what the thread reads next is not older than this store. */
	atomic_exchange(&v->threads[thread].seen, atomic_load(&v->token));
}

static inline void rte_rcu_qsbr_thread_offline(struct rte_rcu_qsbr *v, unsigned int thread)
{
	atomic_store_explicit(&v->threads[thread].seen, DOUBLE_OFFLINE, memory_order_release);
}

static inline uint64_t rte_rcu_qsbr_start(struct rte_rcu_qsbr *v)
{
	return atomic_fetch_add(&v->token, 1) + 1;
}

static inline int rte_rcu_qsbr_check(struct rte_rcu_qsbr *v, uint64_t token, bool wait)
{
	(void)wait; /* rcu.c never does */
	for (uint32_t i = 0; i < v->max_threads; i++) {
		uint64_t seen = atomic_load(&v->threads[i].seen);

		if (seen != DOUBLE_OFFLINE && seen < token)
			return 0;
	}
	return 1;
}
#endif
