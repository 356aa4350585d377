/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: DPDK's telemetry thread asks for sums over workers, never for a node: what is
 * told there is no secret and no one's location. The dataplane of this process is reached through
 * one pointer under a mutex, which no worker takes.
 *
 * Commands: /roamgate/verdicts and /roamgate/workers, by dpdk-telemetry.py.
 */
#include "dataplane/state.h"

#include <rte_telemetry.h>

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const struct dataplane *served; /* under lock; NULL: none */

static void add_side(
	struct rte_tel_data *data, const char *side, const uint64_t cells[VERDICT_COUNT])
{
	char name[RTE_TEL_MAX_STRING_LEN];

	static_assert(3 * VERDICT_COUNT + 1 <= RTE_TEL_MAX_DICT_ENTRIES, "all cells in one answer");
	for (unsigned i = 0; i < VERDICT_COUNT; i++) {
		snprintf(name, sizeof name, "%s_%s", side, verdict_name((enum verdict)i));
		rte_tel_data_add_dict_u64(data, name, cells[i]);
	}
}

static int tell_verdicts(const char *command, const char *params, struct rte_tel_data *data)
{
	struct dp_verdicts sums = {0};

	(void)command;
	(void)params;
	pthread_mutex_lock(&lock);
	if (served != NULL)
		dataplane_verdicts(served, &sums);
	pthread_mutex_unlock(&lock);
	rte_tel_data_start_dict(data);
	add_side(data, "in", sums.in);
	add_side(data, "out", sums.out);
	add_side(data, "local", sums.local);
	rte_tel_data_add_dict_u64(data, "in_ecn_unusual", sums.ecn_unusual);
	return 0;
}

static int tell_workers(const char *command, const char *params, struct rte_tel_data *data)
{
	struct dp_worker_stats stats, sums = {0};
	uint32_t n = 0;

	(void)command;
	(void)params;
	pthread_mutex_lock(&lock);
	for (; served != NULL && n < dataplane_workers(served); n++) {
		dataplane_worker_stats(served, n, &stats);
		sums.loops += stats.loops;
		sums.busy_loops += stats.busy_loops;
		sums.loop_p99_ns = RTE_MAX(sums.loop_p99_ns, stats.loop_p99_ns);
	}
	pthread_mutex_unlock(&lock);
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_u64(data, "workers", n);
	rte_tel_data_add_dict_u64(data, "loops", sums.loops);
	rte_tel_data_add_dict_u64(data, "busy_loops", sums.busy_loops);
	rte_tel_data_add_dict_u64(data, "worst_loop_p99_ns", sums.loop_p99_ns);
	return 0;
}

void telemetry_serve(const struct dataplane *dp)
{
	static bool registered;

	pthread_mutex_lock(&lock);
	served = dp;
	pthread_mutex_unlock(&lock);
	if (registered)
		return;
	registered = true;
	/* A figure that cannot be asked for is no reason not to start. */
	(void)rte_telemetry_register_cmd(
		"/roamgate/verdicts", tell_verdicts, "What became of packets: sums over workers.");
	(void)rte_telemetry_register_cmd(
		"/roamgate/workers", tell_workers, "Turns of the workers' loops: sums, worst p99.");
}
