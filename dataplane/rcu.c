/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the list is a ring in order of retirement, so tokens rise along it and looking at
 * the oldest is enough. Objects between `untokened` and `head` were unlinked since the last reap;
 * they get one common token then. A token taken late is only ever too careful.
 */
#include "dataplane/rcu.h"

#include <rte_common.h>
#include <rte_malloc.h>

#include <assert.h>
#include <errno.h>

struct rcu_retired {
	rcu_free_fn *fn;
	void *owner;
	void *object;
	uint64_t token;
	bool flag;
};

int rcu_new(struct rcu *rcu, uint32_t readers, uint32_t capacity)
{
	size_t bytes = rte_rcu_qsbr_get_memsize(readers);
	int ret;

	*rcu = (struct rcu){.capacity = rte_align32pow2(capacity), .readers = readers};
	rcu->qsbr = rte_zmalloc("rcu", bytes, RTE_CACHE_LINE_SIZE);
	rcu->ring = rte_zmalloc("retired", rcu->capacity * sizeof *rcu->ring, 0);
	if (rcu->qsbr == NULL || rcu->ring == NULL) {
		rcu_free(rcu);
		return -ENOMEM;
	}
	/* Both fail only for a number of readers that the variable was not sized for. */
	ret = rte_rcu_qsbr_init(rcu->qsbr, readers);
	for (uint32_t i = 0; i < readers && ret == 0; i++)
		ret = rte_rcu_qsbr_thread_register(rcu->qsbr, i);
	assert(ret == 0);
	(void)ret;
	return 0;
}

static struct rcu_retired *slot_at(const struct rcu *rcu, uint32_t index)
{
	return &rcu->ring[index & (rcu->capacity - 1)];
}

static void free_oldest(struct rcu *rcu)
{
	struct rcu_retired *oldest = slot_at(rcu, rcu->tail++);

	oldest->fn(oldest->owner, oldest->object, oldest->flag);
}

void rcu_drain(struct rcu *rcu)
{
	if (rcu->qsbr == NULL)
		return;
	for (uint32_t i = 0; i < rcu->readers; i++)
		rcu_offline(rcu, i);
	while (rcu->tail != rcu->head)
		free_oldest(rcu);
	rcu->untokened = rcu->head;
}

void rcu_free(struct rcu *rcu)
{
	rte_free(rcu->ring);
	rte_free(rcu->qsbr);
	*rcu = (struct rcu){0};
}

uint64_t rcu_token(struct rcu *rcu)
{
	return rte_rcu_qsbr_start(rcu->qsbr);
}

bool rcu_passed(struct rcu *rcu, uint64_t token)
{
	return rte_rcu_qsbr_check(rcu->qsbr, token, false) == 1;
}

uint32_t rcu_waiting(const struct rcu *rcu)
{
	return rcu->head - rcu->tail;
}

uint32_t rcu_room(struct rcu *rcu, uint32_t wanted)
{
	if (rcu->capacity - rcu_waiting(rcu) < wanted)
		rcu_reap(rcu);
	return rcu->capacity - rcu_waiting(rcu);
}

void rcu_retire(struct rcu *rcu, rcu_free_fn *fn, void *owner, void *object, bool flag)
{
	assert(rcu_waiting(rcu) < rcu->capacity);
	*slot_at(rcu, rcu->head++) = (struct rcu_retired){
		.fn = fn, .owner = owner, .object = object, .flag = flag};
}

void rcu_reap(struct rcu *rcu)
{
	if (rcu->tail == rcu->head)
		return;
	if (rcu->untokened != rcu->head) {
		uint64_t token = rcu_token(rcu);

		while (rcu->untokened != rcu->head)
			slot_at(rcu, rcu->untokened++)->token = token;
	}
	/* What a free function retires in turn has no token yet and waits for the next reap. */
	while (rcu->tail != rcu->untokened && rcu_passed(rcu, slot_at(rcu, rcu->tail)->token))
		free_oldest(rcu);
}
