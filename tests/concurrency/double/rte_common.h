/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_CONCURRENCY_DOUBLE_RTE_COMMON_H
#define TESTS_CONCURRENCY_DOUBLE_RTE_COMMON_H
/* What dataplane/rcu.c, slab.c and lookup.c use of DPDK's header of this name. */
#include <stdint.h>

#define RTE_CACHE_LINE_SIZE 64
#define RTE_ALIGN_CEIL(value, align) (((value) + (align)-1) / (align) * (align))

#define RTE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define RTE_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline uint64_t rte_align64pow2(uint64_t value)
{
	return value <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(value - 1));
}

static inline uint32_t rte_align32pow2(uint32_t value)
{
	return value <= 1 ? 1 : UINT32_C(1) << (32 - __builtin_clz(value - 1));
}
#endif
