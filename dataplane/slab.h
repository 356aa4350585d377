/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_SLAB_H
#define DATAPLANE_SLAB_H
/*
 * Objects of one size from DPDK memory, taken and given back in a few instructions: a swap must not
 * search a heap.
 *
 * Owner:    the module that made it. Threads: control only. Memory grows by chunks and goes back to
 *           DPDK only in slab_fini(). Under AddressSanitizer a freed object is poisoned, so that a
 *           free before its grace period shows.
 */
#include <rte_common.h>

#include <stddef.h>
#include <stdint.h>

struct slab {
	size_t bytes; /* of an object, a multiple of the cache line */
	struct slab_free *free;
	struct slab_chunk *chunks;
};

/* What an object of that size takes. */
static inline size_t slab_bytes(size_t bytes)
{
	return RTE_ALIGN_CEIL(bytes, (size_t)RTE_CACHE_LINE_SIZE);
}

void slab_init(struct slab *slab, size_t bytes);
void slab_fini(struct slab *slab);
/* Zeroed, cache line aligned. NULL: out of memory. */
void *slab_alloc(struct slab *slab);
void slab_free(struct slab *slab, void *object);
#endif
