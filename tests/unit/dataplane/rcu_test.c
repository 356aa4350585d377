/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: this thread stands in for the worker, which is "in the middle of a burst" for as
 * long as it does not turn. Freed objects are counted, or seen by the room they give back.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/now.h"

#include <errno.h>

#define A "198.51.100.7"
#define B "203.0.113.7"

static struct rig rig;
static unsigned freed;

static void count_free(void *owner, void *object, bool flag)
{
	CU_ASSERT(owner == &rig && object == &freed && flag);
	freed++;
}

/* Three turns end every grace period: a token, a quiescent state, the freeing. */
static void settle(void)
{
	for (unsigned i = 0; i < 3; i++)
		rig_turn(&rig);
	CU_ASSERT(rcu_waiting(&rig.dp->rcu) == 0);
}

static void test_token(void)
{
	uint64_t first, second;

	first = dataplane_grace_token(rig.dp);
	CU_ASSERT(!dataplane_grace_done(rig.dp, first));
	worker_run_once(rig.dp->workers[0]);
	second = dataplane_grace_token(rig.dp);
	CU_ASSERT(second > first);
	CU_ASSERT(dataplane_grace_done(rig.dp, first));
	CU_ASSERT(!dataplane_grace_done(rig.dp, second));
	worker_run_once(rig.dp->workers[0]);
	CU_ASSERT(dataplane_grace_done(rig.dp, second));

	/* A worker that went offline holds nothing. */
	second = dataplane_grace_token(rig.dp);
	rcu_offline(&rig.dp->rcu, 0);
	CU_ASSERT(dataplane_grace_done(rig.dp, second));
	rcu_online(&rig.dp->rcu, 0);
}

static void test_retire(void)
{
	struct rcu *rcu = &rig.dp->rcu;

	freed = 0;
	rcu_retire(rcu, count_free, &rig, &freed, true);
	worker_run_once(rig.dp->workers[0]); /* before the token: does not count */
	rcu_reap(rcu);
	CU_ASSERT(freed == 0);
	rcu_retire(rcu, count_free, &rig, &freed, true);
	rcu_reap(rcu);
	CU_ASSERT(freed == 0);
	worker_run_once(rig.dp->workers[0]);
	rcu_reap(rcu);
	CU_ASSERT(freed == 2);
}

/* What a free function retires waits for a grace period of its own. */
static void free_and_retire(void *owner, void *object, bool flag)
{
	(void)owner;
	(void)flag;
	rcu_retire(&rig.dp->rcu, count_free, &rig, object, true);
}

static void test_retire_while_freeing(void)
{
	struct rcu *rcu = &rig.dp->rcu;

	freed = 0;
	rcu_retire(rcu, free_and_retire, NULL, &freed, false);
	rcu_reap(rcu);
	worker_run_once(rig.dp->workers[0]);
	rcu_reap(rcu); /* frees the first, retires the second */
	CU_ASSERT(freed == 0);
	rcu_reap(rcu); /* its token */
	CU_ASSERT(freed == 0);
	worker_run_once(rig.dp->workers[0]);
	rcu_reap(rcu);
	CU_ASSERT(freed == 1);
}

static void test_list_full(void)
{
	struct node *node = rig_node_add(&rig, 1, A), *other;
	struct dp_node_params params = rig_node_params(2, "198.51.100.9");
	struct path_params moved = rig_path(B, A, clock_mono_ns() + NS_PER_S);
	struct path *in_force;
	unsigned swaps = 0;
	int ret;

	while ((ret = dataplane_node_set_path(rig.dp, node, &moved)) == 0 && swaps < 100000)
		swaps++;
	CU_ASSERT(ret == -EAGAIN);
	CU_ASSERT(swaps > RETIRE_MAX - 2 * SWAP_RETIRES && swaps <= RETIRE_MAX);
	in_force = atomic_load(&node->path);
	moved = rig_path(A, NULL, 0);
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &moved) == -EAGAIN);
	CU_ASSERT(dataplane_node_add(rig.dp, &params, &other) == -EAGAIN);
	CU_ASSERT(dataplane_node_del(rig.dp, node, true) == -EAGAIN);
	CU_ASSERT(atomic_load(&node->path) == in_force);

	/* One turn of the worker, and all of it may go; no poll is needed before the next swap. */
	worker_run_once(rig.dp->workers[0]);
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &moved) == 0);
	settle();
	rig_node_del(&rig, node);
}

/* A worker in the middle of a burst goes on with what it found, however much control unlinks. */
static void test_delete_under_the_worker(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct lookup_addr home;
	struct sad_query query;
	struct path *path;
	struct sa_in *in;
	struct sa_out *out;
	struct node *found;
	struct ip_addr addr = rig_addr("10.1.0.10");
	struct path_params moved = rig_path(B, A, clock_mono_ns() + NS_PER_S);

	settle();
	home = (struct lookup_addr){.number = ip_addr_to_v4(&addr)};
	query = (struct sad_query){.spi = RIG_SPI_IN + (1 << 16)};
	sad_lookup_home_burst(&rig.dp->sad, &home, &found, 1);
	sad_lookup_in_burst(&rig.dp->sad, &query, &in, 1);
	CU_ASSERT_FATAL(found == node && in != NULL);
	path = atomic_load(&found->path);
	out = atomic_load(&found->sa_out);

	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &moved) == 0);
	CU_ASSERT(dataplane_node_del(rig.dp, node, true) == 0);
	for (unsigned i = 0; i < 10; i++)
		dataplane_poll(rig.dp, clock_mono_ns(), NULL, NULL);
	/* Under AddressSanitizer these reads find freed memory poisoned. */
	CU_ASSERT(found->handle == 1 && in->node == found && out->node == found);
	CU_ASSERT(ip_addr_equal(&path->coa, &moved.former_coa));
	CU_ASSERT(rcu_waiting(&rig.dp->rcu) != 0);
	sad_lookup_home_burst(&rig.dp->sad, &home, &found, 1);
	CU_ASSERT(found == NULL);
	sad_lookup_in_burst(&rig.dp->sad, &query, &in, 1);
	CU_ASSERT(in == NULL);
	settle();

	/* The same node again: nothing of the old one is left in the way. */
	rig_node_del(&rig, rig_node_add(&rig, 1, A));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"grace tokens", test_token},
		{"retired objects", test_retire},
		{"retired while freeing", test_retire_while_freeing},
		{"retire list full", test_list_full},
		{"deleted under the worker", test_delete_under_the_worker},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	rcu_online(&rig.dp->rcu, 0);
	ret = unit_run("dataplane: rcu", cases);
	rig_close(&rig);
	return ret;
}
