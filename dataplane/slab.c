/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a chunk is one allocation with a cache line for the link and SLAB_CHUNK_OBJECTS
 * objects behind it; free objects are chained through their first bytes, last freed first, since
 * that one is warm.
 */
#include "dataplane/slab.h"

#include <rte_malloc.h>

#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_POISON 1
#endif
#endif
#ifdef SLAB_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, bytes) ((void)(memory), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(memory, bytes) ((void)(memory), (void)(bytes))
#endif

#define SLAB_CHUNK_OBJECTS 64 /* one allocation of DPDK's heap for this many objects */

struct slab_free {
	struct slab_free *next;
};
struct slab_chunk {
	struct slab_chunk *next;
};

void slab_init(struct slab *slab, size_t bytes)
{
	*slab = (struct slab){.bytes = slab_bytes(bytes)};
}

void slab_fini(struct slab *slab)
{
	while (slab->chunks != NULL) {
		struct slab_chunk *chunk = slab->chunks;

		slab->chunks = chunk->next;
		ASAN_UNPOISON_MEMORY_REGION(
			chunk, RTE_CACHE_LINE_SIZE + SLAB_CHUNK_OBJECTS * slab->bytes);
		rte_free(chunk);
	}
	slab->free = NULL;
}

static void push_free(struct slab *slab, void *object)
{
	struct slab_free *entry = object;

	entry->next = slab->free;
	slab->free = entry;
	ASAN_POISON_MEMORY_REGION(object, slab->bytes);
}

static void grow(struct slab *slab)
{
	struct slab_chunk *chunk = rte_malloc("slab",
		RTE_CACHE_LINE_SIZE + SLAB_CHUNK_OBJECTS * slab->bytes, RTE_CACHE_LINE_SIZE);
	uint8_t *objects = (uint8_t *)chunk + RTE_CACHE_LINE_SIZE;

	if (chunk == NULL)
		return;
	chunk->next = slab->chunks;
	slab->chunks = chunk;
	for (size_t i = SLAB_CHUNK_OBJECTS; i-- > 0;)
		push_free(slab, objects + i * slab->bytes);
}

void *slab_alloc(struct slab *slab)
{
	struct slab_free *entry;

	if (slab->free == NULL)
		grow(slab);
	entry = slab->free;
	if (entry == NULL)
		return NULL;
	ASAN_UNPOISON_MEMORY_REGION(entry, slab->bytes);
	slab->free = entry->next;
	memset(entry, 0, slab->bytes);
	return entry;
}

void slab_free(struct slab *slab, void *object)
{
	push_free(slab, object);
}
