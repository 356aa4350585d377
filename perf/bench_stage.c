/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage/lookup_in/SAS, stage/lookup_out/SAS, stage/replay/SAS, stage/encap/SAS, stage/decap/SAS,
 * stage/path_swap/SAS: what the steps of the whole path cost, each alone.
 *
 * How this works: each stage is the very function that a worker (for path_swap: the control thread)
 * calls, in bursts of 32, for ROUND packets of nodes drawn anew in each round. A round prepares its
 * inputs, runs the bursts against the clock and checks every result; with many SAs what preparing
 * and checking touch is not what the stage reads, or is long out of the caches. Packets are of 64
 * bytes, aes128gcm16. Stages do not add up to the whole path: classification, routing, ports and
 * mbufs are missing, and a stage alone finds cold what the one before would have fetched.
 */
#include "dataplane/esp/replay.h"
#include "lib/clock.h"
#include "lib/ipv4.h"
#include "perf/bench.h"
#include "perf/rig.h"

#include <rte_malloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND 8192 /* packets */
#define INNER_BYTES 64
#define BUFFER_BYTES 320
#define COA_OTHER 0x00400000u /* from a node's first care-of address to its second */

static_assert(BUFFER_BYTES >= ESP_HEADROOM_MAX + INNER_BYTES + ESP_HEADROOM_MAX + ESP_TAILROOM_MAX,
	"a sealed packet fits");

struct bench {
	struct rig rig;
	struct crypto_thread *crypto; /* the peers' */
	uint64_t random;
	struct node **nodes;   /* by number */
	uint32_t *seq;         /* by number: what replay has committed */
	bool *moved;           /* by number: which of two care-of addresses */
	uint32_t order[ROUND]; /* node of each packet */
	uint8_t (*buffers)[BUFFER_BYTES];
	/* inputs and results of a round */
	struct sad_query queries[ROUND];
	struct lookup_addr homes[ROUND];
	struct sa_in *found_in[ROUND];
	struct node *found[ROUND];
	struct sa_in *in[ROUND];
	struct sa_out *out[ROUND];
	uint32_t seq_low[ROUND];
	bool good[ROUND];
	const struct path *paths[ROUND];
	struct path_params params[ROUND];
	struct esp_pkt pkts[ROUND];
	enum verdict verdicts[ROUND];
};

struct stage {
	const char *name, *unit;
	void (*prepare)(struct bench *bench, unsigned i); /* packet i of the round */
	void (*run)(struct bench *bench, unsigned first); /* a burst; what is timed */
	bool (*is_good)(struct bench *bench, unsigned i);
};

/* --- the two lookups ----------------------------------------------------------------------------
 */

static void lookup_in_prepare(struct bench *bench, unsigned i)
{
	struct ip_addr coa = rig_coa(bench->order[i]);

	bench->queries[i] = (struct sad_query){
		.spi = RIG_SPI_IN + bench->order[i],
		.src = {.number = ip_addr_to_v4(&coa)},
	};
}

static void lookup_in_run(struct bench *bench, unsigned first)
{
	sad_lookup_in_burst(&bench->rig.dp->sad, &bench->queries[first], &bench->found_in[first],
		PKT_BURST_MAX);
}

static bool lookup_in_is_good(struct bench *bench, unsigned i)
{
	return bench->found_in[i] == bench->nodes[bench->order[i]]->sa_in[0];
}

static void lookup_out_prepare(struct bench *bench, unsigned i)
{
	struct ip_addr home = rig_home(bench->order[i]);

	bench->homes[i] = (struct lookup_addr){.number = ip_addr_to_v4(&home)};
}

static void lookup_out_run(struct bench *bench, unsigned first)
{
	sad_lookup_home_burst(
		&bench->rig.dp->sad, &bench->homes[first], &bench->found[first], PKT_BURST_MAX);
}

static bool lookup_out_is_good(struct bench *bench, unsigned i)
{
	return bench->found[i] == bench->nodes[bench->order[i]];
}

/* --- replay -------------------------------------------------------------------------------------
 */

static void replay_prepare(struct bench *bench, unsigned i)
{
	bench->in[i] = bench->nodes[bench->order[i]]->sa_in[0];
	bench->seq_low[i] = ++bench->seq[bench->order[i]];
}

/* Test and commit in two passes, as esp_decap_burst() does before and behind the cipher. */
static void replay_run(struct bench *bench, unsigned first)
{
	uint64_t seqs[PKT_BURST_MAX];

	for (unsigned i = 0; i < PKT_BURST_MAX; i++) {
		seqs[i] = replay_infer(bench->in[first + i], bench->seq_low[first + i]);
		bench->good[first + i] = replay_test(bench->in[first + i], seqs[i]);
	}
	for (unsigned i = 0; i < PKT_BURST_MAX; i++)
		bench->good[first + i] = bench->good[first + i] &&
					 replay_commit(bench->in[first + i], seqs[i]);
}

static bool replay_is_good(struct bench *bench, unsigned i)
{
	return bench->good[i];
}

/* --- ESP ----------------------------------------------------------------------------------------
 */

static uint8_t *begin_packet(struct bench *bench, unsigned i)
{
	bench->verdicts[i] = VERDICT_OK;
	bench->pkts[i] = (struct esp_pkt){.data = bench->buffers[i] + ESP_HEADROOM_MAX,
		.len = INNER_BYTES,
		.headroom = ESP_HEADROOM_MAX,
		.tailroom = ESP_TAILROOM_MAX,
		.outer_bytes = IPV4_HDR_BYTES};
	return bench->pkts[i].data;
}

static void encap_prepare(struct bench *bench, unsigned i)
{
	const struct node *node = bench->nodes[bench->order[i]];
	struct ip_addr coa = rig_coa(bench->order[i]);

	rig_packet(true, bench->order[i], &coa, INNER_BYTES, begin_packet(bench, i));
	bench->out[i] = atomic_load_explicit(&node->sa_out, memory_order_relaxed);
	bench->paths[i] = atomic_load_explicit(&node->path, memory_order_relaxed);
}

static void encap_run(struct bench *bench, unsigned first)
{
	struct rig *rig = &bench->rig;

	esp_encap_burst(rig->dp->workers[0]->crypto, rig->dp->engine, &bench->out[first],
		&bench->paths[first], &bench->pkts[first], &bench->verdicts[first], PKT_BURST_MAX);
}

static bool encap_is_good(struct bench *bench, unsigned i)
{
	return bench->verdicts[i] == VERDICT_OK && bench->pkts[i].len > INNER_BYTES;
}

static void decap_prepare(struct bench *bench, unsigned i)
{
	uint8_t *at = begin_packet(bench, i);

	bench->in[i] = bench->nodes[bench->order[i]]->sa_in[0];
	bench->seq[bench->order[i]]++; /* the peer counts on too */
	bench->pkts[i].len = rig_seal_bytes(
		&bench->rig, bench->crypto, bench->order[i], INNER_BYTES, at);
}

static void decap_run(struct bench *bench, unsigned first)
{
	struct rig *rig = &bench->rig;

	esp_decap_burst(rig->dp->workers[0]->crypto, rig->dp->engine, &bench->in[first],
		&bench->pkts[first], &bench->verdicts[first], PKT_BURST_MAX);
}

static bool decap_is_good(struct bench *bench, unsigned i)
{
	uint8_t want[RIG_FRAME_MAX];

	rig_packet(false, bench->order[i], NULL, INNER_BYTES, want);
	return bench->verdicts[i] == VERDICT_OK && bench->pkts[i].len == INNER_BYTES &&
	       memcmp(bench->pkts[i].data, want, INNER_BYTES) == 0;
}

/* --- the swap -----------------------------------------------------------------------------------
 */

static struct ip_addr coa_of(const struct bench *bench, uint32_t node)
{
	return rig_coa(node + (bench->moved[node] ? COA_OTHER : 0));
}

static void path_swap_prepare(struct bench *bench, unsigned i)
{
	uint32_t node = bench->order[i];
	struct path_params *params = &bench->params[i];

	*params = rig_path(node);
	params->former_coa = coa_of(bench, node);
	bench->moved[node] = !bench->moved[node];
	params->coa = params->remote.addr = coa_of(bench, node);
	params->grace_until_ns = clock_mono_ns(); /* over at the next poll: a whole life is timed */
}

/* A batch, the worker's quiescent state behind it, and what the control thread frees for it. */
static void path_swap_run(struct bench *bench, unsigned first)
{
	struct dataplane *dp = bench->rig.dp;

	for (unsigned i = 0; i < PKT_BURST_MAX; i++)
		bench->good[first + i] = dataplane_node_set_path(dp,
						 bench->nodes[bench->order[first + i]],
						 &bench->params[first + i]) == 0;
	rcu_quiescent(&dp->rcu, 0);
	dataplane_poll(dp, clock_mono_ns(), NULL, NULL);
}

static bool path_swap_is_good(struct bench *bench, unsigned i)
{
	const struct node *node = bench->nodes[bench->order[i]];
	const struct path *path = atomic_load_explicit(&node->path, memory_order_relaxed);
	struct ip_addr coa = coa_of(bench, bench->order[i]);

	return bench->good[i] && ip_addr_equal(&path->coa, &coa);
}

/* --- all of them --------------------------------------------------------------------------------
 */

#define STAGE(stage, unit)                                                  \
	{                                                                   \
#stage, unit, stage##_prepare, stage##_run, stage##_is_good \
	}

/* decap stands before replay, whose numbers the peers do not know; path_swap after encap, which
 * sends by the first path. */
static const struct stage stages[] = {
	STAGE(lookup_in, "cycles/packet"),
	STAGE(lookup_out, "cycles/packet"),
	STAGE(encap, "cycles/packet"),
	STAGE(decap, "cycles/packet"),
	STAGE(replay, "cycles/packet"),
	STAGE(path_swap, "cycles/swap"),
};

static double run_round(struct bench *bench, const struct stage *stage)
{
	uint64_t from, cycles;

	rig_order(&bench->rig, &bench->random, bench->order, ROUND);
	for (unsigned i = 0; i < ROUND; i++)
		stage->prepare(bench, i);
	from = bench_cycles();
	for (unsigned first = 0; first < ROUND; first += PKT_BURST_MAX)
		stage->run(bench, first);
	cycles = bench_cycles() - from;
	for (unsigned i = 0; i < ROUND; i++)
		if (!stage->is_good(bench, i)) {
			fprintf(stderr, "benchmark: stage %s, packet %u\n", stage->name, i);
			rig_fail("wrong result");
		}
	return (double)cycles / ROUND;
}

static void measure(struct bench *bench, const struct stage *stage, unsigned rounds)
{
	struct bench_samples samples;
	char name[64];

	bench_samples_init(&samples);
	(void)run_round(bench, stage);
	for (unsigned i = 0; i < rounds; i++)
		bench_add(&samples, run_round(bench, stage));
	snprintf(name, sizeof name, "stage/%s/%u", stage->name, bench->rig.nodes);
	bench_report(name, stage->unit, &samples);
	bench_samples_free(&samples);
}

static void set_up(struct bench *bench, uint32_t nodes, const char *folder)
{

	rig_open(&bench->rig, CRYPTO_AES128GCM16, nodes, ROUND,
		rig_counters(folder, 2 * nodes + 16), folder, 1);
	bench->crypto = bench->rig.dp->engine->thread_new();
	bench->nodes = calloc(nodes, sizeof(struct node *));
	bench->seq = calloc(nodes, sizeof *bench->seq);
	bench->moved = calloc(nodes, sizeof *bench->moved);
	bench->buffers = rte_malloc("packets", sizeof *bench->buffers * ROUND, SA_CACHE_LINE);
	if (bench->crypto == NULL || bench->nodes == NULL || bench->seq == NULL ||
		bench->moved == NULL || bench->buffers == NULL)
		rig_fail("out of memory");
	for (uint32_t i = 0; i < nodes; i++)
		bench->nodes[i] = rig_add_node(&bench->rig, i);
	rcu_online(&bench->rig.dp->rcu, 0);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	int used = rig_eal_init(argc, argv);

	argc -= used;
	argv += used;
	if (used < 0 || argc != 4) {
		fprintf(stderr, "usage: bench_stage EAL-OPTIONS -- NODES ROUNDS FOLDER\n");
		return 2;
	}
	set_up(&bench, (uint32_t)strtoul(argv[1], NULL, 10), argv[3]);
	for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
		measure(&bench, &stages[i], (unsigned)strtoul(argv[2], NULL, 10));
	return 0;
}
