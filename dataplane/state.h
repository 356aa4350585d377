/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_STATE_H
#define DATAPLANE_STATE_H
/*
 * struct dataplane, for the files of this folder.
 *
 * Threads:  workers read what is const, RCU or atomic; the rest is control's.
 */
#include "dataplane/coa_index.h"
#include "dataplane/ip6.h"
#include "dataplane/neigh.h"
#include "dataplane/plain.h"
#include "dataplane/port.h"
#include "dataplane/rcu.h"
#include "dataplane/route.h"
#include "dataplane/sad.h"
#include "dataplane/slab.h"
#include "dataplane/worker.h"

#include <stdatomic.h>

/* Objects that may wait for their grace period: paths, index entries, SAs, nodes. A swap takes at
 * most SWAP_RETIRES of them. */
#define RETIRE_MAX 4096
#define SWAP_RETIRES 3
#define SA_SIZES \
	(2 * CRYPTO_ALG_COUNT + 1) /* sa_in and sa_out with the key blob behind; sa_limits */

struct node_entry {                 /* a node and what only control needs beside it */
	struct node node;           /* first */
	struct coa_claim claims[2]; /* [0]: current, [1]: former */
	struct node_entry *grace_prev, *grace_next;
};
static_assert(sizeof(struct node_entry) == 192, "three lines, one of them for packets");

struct dataplane {
	/* const after dataplane_new() */
	const struct crypto_engine *engine;
	const char *engine_failed; /* NULL, or one that auto passed over */
	struct counters *counters; /* lent */
	struct sa_memory sa_memory;
	uint32_t max_nodes;
	uint32_t n_workers;
	uint32_t n_home_agents;
	be32_t home_agents[64];
	uint8_t home_agents_v6[64][IPV6_ADDR_BYTES]; /* of the same; zeros: none */
	uint64_t registration_interval_ns;           /* one per node and interval on average ... */
	uint64_t registration_burst_ns;              /* ... and this much ahead at once */
	struct dp_rules rules;
	struct dp_guard guard; /* const after dataplane_guard() */
	struct rte_mempool *inject_pool;
	struct plain_addrs plain_addrs;
	/* const pointers to what has rules of its own */
	struct port ports[DP_PORTS];
	struct worker *workers[PORT_WORKERS_MAX];
	struct rcu rcu;
	struct sad sad;
	struct coa_index coas;
	struct neigh_table neighs;
	struct route_table routes;
	/* RCU: by handle, 1..max_nodes; NULL: none */
	_Atomic(struct node *) *by_handle;
	/* RCU: replaced whole; NULL: no rules. Store: release, by control. Load: acquire. */
	_Atomic(struct policy *) policy;
	/* atomic: main stores, workers load */
	_Atomic(bool) stop;
	/* atomic: control raises it before it publishes a path with PATH_BICAST, workers load;
	 * after this there is none whose grace time goes on */
	_Atomic(uint64_t) bicast_until_ns;
	/* atomic: control counts, workers load: paths with PATH_ON_CREDIT that may be in use */
	_Atomic(uint32_t) paths_on_credit;
	/* atomic: control counts, workers load: nodes with tfc.pad that may be in use */
	_Atomic(uint32_t) tfc_nodes;
	/* control only */
	bool running;
	uint32_t punts_from; /* the worker whose punts come first next time, modulo n_workers */
	struct notices sa_notices; /* handles of nodes whose SAs passed a mark; has its own rules */
	struct sa_limits sa_no_limits; /* of all SAs that have none; never written */
	struct slab paths, nodes;
	struct slab sa_slabs[SA_SIZES];
	struct node_entry *grace_first, *grace_last; /* by deadline */
	uint64_t iv_exhausted_seen; /* sum of that verdict when epochs were last renewed */
	uint64_t iv_look_at_ns;     /* when to look at it again */
	int (*confine)(void);       /* const, cold: as dp_config's */
};

/* Everything behind EAL: for tests and benchmarks that bring EAL and ports themselves. names: of
 * the ethdevs. */
int dataplane_open(const struct dp_config *config, const char *const names[DP_PORTS],
	uint32_t workers, struct dataplane **out, char *why, size_t why_size)
	__attribute__((warn_unused_result));
void dataplane_close(struct dataplane *dp);

/* node.c */
void node_table_poll(struct dataplane *dp, uint64_t now_ns, dp_take_epoch_fn *fn, void *arg);
void node_table_free(struct dataplane *dp);

/* telemetry.c: NULL before what was served is freed. */
void telemetry_serve(const struct dataplane *dp);

/* eal.c */
/* DPDK's log from hold to release: shown if all went well, else its reason is added to why and the
 * program must end. If DPDK panics, it ends with a line that says why, and EXIT_ENVIRONMENT. */
void eal_hold_log(void);
void eal_release_log(bool failed, char *why, size_t why_size);
int eal_start(const struct dp_config *config, char *why, size_t why_size)
	__attribute__((warn_unused_result));
int eal_probe_ports(const struct dp_config *config, char names[DP_PORTS][64], char *why,
	size_t why_size) __attribute__((warn_unused_result));
uint32_t eal_workers(void);
void eal_stop(void);

static inline bool is_own_address(const struct dataplane *dp, be32_t addr)
{
	if (dp->plain_addrs.owned[plain_hash(addr)] == 0)
		return false;
	return port_is_own(&dp->ports[DP_OUTSIDE], addr) ||
	       port_is_own(&dp->ports[DP_INSIDE], addr);
}

static inline bool is_own_address_v6(const struct dataplane *dp, const uint8_t *addr)
{
	return port_is_own_v6(&dp->ports[DP_OUTSIDE], addr) ||
	       port_is_own_v6(&dp->ports[DP_INSIDE], addr);
}

/* n_home_agents: none of them. */
static inline uint32_t home_agent_index(const struct dataplane *dp, be32_t addr)
{
	uint32_t i = 0;

	while (i < dp->n_home_agents && dp->home_agents[i] != addr)
		i++;
	return i;
}

static inline bool is_home_agent(const struct dataplane *dp, be32_t addr)
{
	return home_agent_index(dp, addr) != dp->n_home_agents;
}

/* addr: one that a packet may have. */
static inline bool is_home_agent_v6(const struct dataplane *dp, const uint8_t *addr)
{
	for (uint32_t i = 0; i < dp->n_home_agents; i++)
		if (ip6_equal(dp->home_agents_v6[i], addr))
			return true;
	return false;
}

/* Worker. NULL: no such node (any more). */
static inline struct node *node_by_handle(const struct dataplane *dp, uint32_t handle)
{
	/* Acquire pairs with the release in dataplane_node_add(). */
	return handle == 0 || handle > dp->max_nodes
		       ? NULL
		       : atomic_load_explicit(&dp->by_handle[handle], memory_order_acquire);
}
#endif
