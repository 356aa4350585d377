/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: dataplane_new() starts EAL and probes the two devices, dataplane_open() builds
 * everything on top of them: so tests and benchmarks can bring their own ports. What was built is
 * taken down in reverse order by dataplane_close(), which also clears up after a start that failed
 * half way.
 */
#include "dataplane/dataplane.h"

#include "dataplane/ip4.h"
#include "dataplane/policy.h"
#include "dataplane/state.h"
#include "dataplane/now.h"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define INJECT_MBUFS 2047    /* twice the ring to the worker, less one: what a mempool holds best */
#define REGISTRATION_BURST 3 /* copies of the first request on a new link, at least */

/* SAs come in a few sizes: a slab each, made when a size is first asked for. */
static struct slab *sa_slab(struct dataplane *dp, size_t bytes)
{
	for (unsigned i = 0; i < RTE_DIM(dp->sa_slabs); i++) {
		if (dp->sa_slabs[i].bytes == 0)
			slab_init(&dp->sa_slabs[i], bytes);
		if (dp->sa_slabs[i].bytes == slab_bytes(bytes))
			return &dp->sa_slabs[i];
	}
	return NULL;
}

static void *sa_alloc(void *arg, size_t bytes, size_t align)
{
	struct slab *slab = sa_slab(arg, bytes);

	assert(align <= RTE_CACHE_LINE_SIZE);
	(void)align;
	return slab == NULL ? NULL : slab_alloc(slab);
}

static void sa_free(void *arg, void *memory, size_t bytes)
{
	slab_free(sa_slab(arg, bytes), memory);
}

static void take_config(struct dataplane *dp, const struct dp_config *config)
{
	uint32_t burst = config->registration_rate > REGISTRATION_BURST ? config->registration_rate
									: REGISTRATION_BURST;

	dp->counters = config->counters;
	dp->rules = config->rules;
	dp->max_nodes = config->max_nodes;
	dp->sa_memory = (struct sa_memory){.alloc = sa_alloc, .free = sa_free, .arg = dp};
	dp->registration_interval_ns = NS_PER_S / config->registration_rate;
	dp->registration_burst_ns = burst * dp->registration_interval_ns;
	for (uint32_t i = 0; i < config->n_home_agents; i++) {
		dp->home_agents[i] = ip4_of(&config->home_agents[i].addr);
		if (config->home_agents_v6[i].family == AF_INET6)
			memcpy(dp->home_agents_v6[i], config->home_agents_v6[i].bytes,
				IPV6_ADDR_BYTES);
	}
	dp->n_home_agents = config->n_home_agents;
	sa_limits_init_shared(&dp->sa_no_limits, &dp->sa_notices);
	slab_init(&dp->paths, sizeof(struct path));
	slab_init(&dp->nodes, sizeof(struct node_entry));
}

static int open_engine(
	struct dataplane *dp, const struct dp_config *config, char *why, size_t why_size)
{
	dp->engine = crypto_engine_open(config->crypto_engine, &dp->engine_failed);
	if (dp->engine != NULL)
		return 0;
	if (dp->engine_failed != NULL) {
		snprintf(why, why_size, "crypto engine %s fails its self-test: do not use it here",
			dp->engine_failed);
		return -EIO;
	}
	snprintf(why, why_size, "dpdk.crypto_engine = \"%s\": unknown, or not for this CPU",
		config->crypto_engine);
	return -ENOTSUP;
}

static int open_tables(
	struct dataplane *dp, const struct dp_config *config, char *why, size_t why_size)
{
	int ret = rcu_new(&dp->rcu, dp->n_workers, RETIRE_MAX);

	if (ret == 0)
		ret = sad_new(&dp->sad, dp->max_nodes);
	if (ret == 0)
		ret = coa_index_new(&dp->coas, dp->max_nodes, &dp->rcu);
	if (ret == 0)
		ret = neigh_table_new(&dp->neighs, config->max_neighbours, &dp->rcu);
	if (ret == 0)
		ret = route_table_new(&dp->routes, config->max_routes, &dp->neighs, &dp->rcu);
	dp->by_handle = rte_zmalloc("handles", (dp->max_nodes + 1) * sizeof *dp->by_handle, 0);
	if (ret == 0 && (dp->by_handle == NULL || !notices_init(&dp->sa_notices, dp->max_nodes)))
		ret = -ENOMEM;
	if (ret != 0)
		snprintf(why, why_size,
			"not enough memory for tables of %u nodes, %u routes, %u neighbours: lower "
			"max_* or give DPDK more (dpdk.memory_mb, hugepages)",
			config->max_nodes, config->max_routes, config->max_neighbours);
	return ret;
}

static int open_workers(struct dataplane *dp, char *why, size_t why_size)
{
	uint32_t mtu = RTE_MAX(dp->ports[DP_OUTSIDE].mtu, dp->ports[DP_INSIDE].mtu);

	dp->inject_pool = rte_pktmbuf_pool_create("inject", INJECT_MBUFS, 0, PKT_META_BYTES,
		(uint16_t)(RTE_PKTMBUF_HEADROOM + mtu + RTE_ETHER_HDR_LEN + VLAN_TAG_BYTES +
			   ESP_TAILROOM_MAX),
		SOCKET_ID_ANY);
	for (uint32_t i = 0; i < dp->n_workers && dp->inject_pool != NULL; i++) {
		dp->workers[i] = worker_new(dp, i);
		if (dp->workers[i] == NULL)
			break;
	}
	if (dp->inject_pool != NULL && dp->workers[dp->n_workers - 1] != NULL)
		return 0;
	snprintf(why, why_size,
		"not enough memory for %u workers: give DPDK more "
		"(dpdk.memory_mb, hugepages)",
		dp->n_workers);
	return -ENOMEM;
}

int dataplane_open(const struct dp_config *config, const char *const names[DP_PORTS],
	uint32_t workers, struct dataplane **out, char *why, size_t why_size)
{
	struct dataplane *dp = rte_zmalloc("dataplane", sizeof *dp, RTE_CACHE_LINE_SIZE);
	int ret;

	if (dp == NULL) {
		snprintf(why, why_size, "DPDK has no memory at all: raise dpdk.memory_mb");
		return -ENOMEM;
	}
	dp->n_workers = workers;
	dp->confine = config->confine;
	plain_addrs_init(&dp->plain_addrs);
	take_config(dp, config);
	ret = open_engine(dp, config, why, why_size);
	for (unsigned i = 0; i < DP_PORTS && ret == 0; i++)
		ret = port_open(
			&dp->ports[i], names[i], config, (enum dp_port)i, workers, why, why_size);
	for (unsigned i = 0; i < DP_PORTS; i++)
		for (uint32_t j = 0; j < dp->ports[i].n_addrs; j++)
			plain_addrs_own(&dp->plain_addrs, dp->ports[i].addrs[j]);
	if (ret == 0)
		ret = open_tables(dp, config, why, why_size);
	if (ret == 0)
		ret = open_workers(dp, why, why_size);
	if (ret != 0) {
		dataplane_close(dp);
		return ret;
	}
	*out = dp;
	return 0;
}

void dataplane_close(struct dataplane *dp)
{
	for (uint32_t i = 0; i < dp->n_workers; i++)
		worker_free(dp->workers[i]);
	rcu_drain(&dp->rcu);
	node_table_free(dp);
	policy_free(atomic_load_explicit(&dp->policy, memory_order_relaxed));
	notices_fini(&dp->sa_notices);
	route_table_free(&dp->routes);
	neigh_table_free(&dp->neighs);
	coa_index_free(&dp->coas);
	sad_free(&dp->sad);
	rcu_free(&dp->rcu);
	slab_fini(&dp->paths);
	slab_fini(&dp->nodes);
	for (unsigned i = 0; i < RTE_DIM(dp->sa_slabs); i++)
		slab_fini(&dp->sa_slabs[i]);
	rte_free((void *)(uintptr_t)dp->by_handle);
	for (unsigned i = 0; i < DP_PORTS; i++)
		port_stop(&dp->ports[i]);
	for (unsigned i = 0; i < DP_PORTS; i++)
		port_close(&dp->ports[i]);
	rte_mempool_free(dp->inject_pool);
	rte_free(dp);
}

int dataplane_new(
	const struct dp_config *config, struct dataplane **out, char *why, size_t why_size)
{
	char names[DP_PORTS][64];
	const char *pointers[DP_PORTS] = {names[DP_OUTSIDE], names[DP_INSIDE]};
	bool started;
	int ret;

	why[0] = '\0';
	eal_hold_log();
	ret = eal_start(config, why, why_size);
	started = ret == 0;
	if (ret == 0)
		ret = eal_probe_ports(config, names, why, why_size);
	if (ret == 0)
		ret = dataplane_open(config, pointers, eal_workers(), out, why, why_size);
	if (ret == 0)
		telemetry_serve(*out);
	eal_release_log(ret != 0, why, why_size);
	if (ret != 0 && started)
		eal_stop();
	return ret;
}

void dataplane_free(struct dataplane *dp)
{
	if (dp == NULL)
		return;
	telemetry_serve(NULL);
	dataplane_stop(dp);
	dataplane_close(dp);
	eal_stop();
}

/* Workers are ready within microseconds, and say so in any case. */
static int wait_started(const struct dataplane *dp)
{
	const struct timespec a_while = {.tv_nsec = 20000};
	int ret = 0;

	for (uint32_t i = 0; i < dp->n_workers; i++) {
		int started;

		while ((started = atomic_load_explicit(
				&dp->workers[i]->started, memory_order_acquire)) == 0)
			nanosleep(&a_while, NULL);
		if (started < 0)
			ret = started;
	}
	return ret;
}

void dataplane_guard(struct dataplane *dp, const struct dp_guard *guard)
{
	assert(!dp->running);
	dp->guard = *guard;
}

int dataplane_start(struct dataplane *dp, char *why, size_t why_size)
{
	unsigned lcore;
	uint32_t i = 0;
	int ret;

	atomic_store_explicit(&dp->stop, false, memory_order_relaxed);
	for (uint32_t k = 0; k < dp->n_workers; k++)
		atomic_store_explicit(&dp->workers[k]->started, 0, memory_order_relaxed);
	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		ret = i < dp->n_workers
			      ? rte_eal_remote_launch(worker_main, dp->workers[i++], lcore)
			      : 0;
		if (ret != 0) {
			snprintf(why, why_size, "worker on lcore %u does not start: %s", lcore,
				strerror(-ret));
			dataplane_stop(dp);
			return ret;
		}
	}
	dp->running = true;
	ret = wait_started(dp);
	if (ret != 0) {
		snprintf(why, why_size, "a worker cannot give up its privileges: %s",
			strerror(-ret));
		dataplane_stop(dp);
	}
	return ret;
}

void dataplane_stop(struct dataplane *dp)
{
	atomic_store_explicit(&dp->stop, true, memory_order_relaxed);
	rte_eal_mp_wait_lcore();
	dp->running = false;
}

const struct crypto_engine *dataplane_engine(const struct dataplane *dp)
{
	return dp->engine;
}

const char *dataplane_engine_failed(const struct dataplane *dp)
{
	return dp->engine_failed;
}

uint32_t dataplane_workers(const struct dataplane *dp)
{
	return dp->n_workers;
}

uint64_t dataplane_grace_token(struct dataplane *dp)
{
	return rcu_token(&dp->rcu);
}

bool dataplane_grace_done(struct dataplane *dp, uint64_t token)
{
	return rcu_passed(&dp->rcu, token);
}

void dataplane_poll(struct dataplane *dp, uint64_t now_ns, dp_take_epoch_fn *fn, void *arg)
{
	node_table_poll(dp, now_ns, fn, arg);
	rcu_reap(&dp->rcu);
}

int dataplane_route_set(struct dataplane *dp, const struct ip_prefix *dst, enum dp_port port,
	const struct ip_addr *via)
{
	return route_set(&dp->routes, dst, port, via);
}

int dataplane_route_del(struct dataplane *dp, const struct ip_prefix *dst)
{
	return route_del(&dp->routes, dst);
}

int dataplane_neigh_set(
	struct dataplane *dp, enum dp_port port, const struct ip_addr *addr, const uint8_t mac[6])
{
	return neigh_set(&dp->neighs, port, addr, mac);
}

int dataplane_neigh_del(struct dataplane *dp, enum dp_port port, const struct ip_addr *addr)
{
	return neigh_del(&dp->neighs, port, addr);
}

void dataplane_neigh_each_used(struct dataplane *dp, dp_neigh_used_fn *fn, void *arg)
{
	neigh_each_used(&dp->neighs, fn, arg);
}

void dataplane_port_mac(const struct dataplane *dp, enum dp_port port, uint8_t mac[6])
{
	memcpy(mac, dp->ports[port].mac, 6);
}

void dataplane_port_stats(const struct dataplane *dp, enum dp_port port, struct dp_port_stats *out)
{
	port_stats(&dp->ports[port], out);
}

void dataplane_verdicts(const struct dataplane *dp, struct dp_verdicts *out)
{
	*out = (struct dp_verdicts){0};
	for (uint32_t i = 0; i < dp->n_workers; i++)
		worker_add_verdicts(dp->workers[i], out);
}

void dataplane_worker_stats(
	const struct dataplane *dp, uint32_t worker, struct dp_worker_stats *out)
{
	worker_stats(dp->workers[worker], out);
}
