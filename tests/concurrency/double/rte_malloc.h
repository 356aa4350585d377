/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_CONCURRENCY_DOUBLE_RTE_MALLOC_H
#define TESTS_CONCURRENCY_DOUBLE_RTE_MALLOC_H
/* DPDK's heap on the C library's, so that sanitizers see it. */
#include "tests/concurrency/double/rte_common.h"

#include <stdlib.h>
#include <string.h>

static inline void *rte_malloc(const char *type, size_t bytes, unsigned int align)
{
	(void)type;
	(void)align; /* nothing here asks for more than a cache line */
	return aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(bytes, RTE_CACHE_LINE_SIZE));
}

static inline void *rte_zmalloc(const char *type, size_t bytes, unsigned int align)
{
	void *memory = rte_malloc(type, bytes, align);

	return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static inline void rte_free(void *memory)
{
	free(memory);
}
#endif
