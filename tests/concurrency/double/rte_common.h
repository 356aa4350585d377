/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_CONCURRENCY_DOUBLE_RTE_COMMON_H
#define TESTS_CONCURRENCY_DOUBLE_RTE_COMMON_H
/* What dataplane/rcu.c and slab.c use of DPDK's header of this name. */
#include <stdint.h>

#define RTE_CACHE_LINE_SIZE 64
#define RTE_ALIGN_CEIL(value, align) (((value) + (align)-1) / (align) * (align))

static inline uint32_t rte_align32pow2(uint32_t value)
{
	return value <= 1 ? 1 : UINT32_C(1) << (32 - __builtin_clz(value - 1));
}
#endif
