/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path/DIR/ALG/SIZE/SAS, raw/DIR/ALG/SIZE and ratio/DIR/ALG/SIZE/SAS: the whole way of a packet
 * through the gateway, against intel-ipsec-mb alone. With one SA and several sizes also
 * fit/DIR/ALG/packet and fit/DIR/ALG/byte: the straight line through them.
 *
 * How this works: a frame lies in a receive ring before the clock starts and in a transmit ring
 * after it stops; between them run the very functions of a worker, with every check on. A round
 * sends ROUND packets, each in an mbuf of its own and of a node drawn anew, so that many SAs are
 * not a few that a cache keeps; filling them (for decap: encrypting them ahead, with rising
 * sequence numbers) is not timed. The yardstick is measured before and behind each round, so that a
 * ratio compares neighbours in time. Every packet must come out, in order, and some of each round
 * are opened with OpenSSL; otherwise exit 1.
 */
#include "lib/ipv4.h"
#include "lib/wire.h"
#include "perf/bench.h"
#include "perf/raw.h"
#include "perf/rig.h"
#include "tests/unit/esp/oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND 8192 /* packets, each in its own mbuf */
#define SAMPLES 16 /* packets a round that are opened with OpenSSL */
#define SAMPLE_STEP (ROUND / SAMPLES)
#define SIZES_MAX 16
#define ROUNDS_MAX 256
#define PARTS_MAX 3
#define SPREAD 5 /* prime to any sum of weights below: neighbours in a round differ in size */

struct mix { /* sizes of the packets of a round: bytes[p] for weight[p] of sum */
	char name[16];
	unsigned parts, sum;
	uint32_t bytes[PARTS_MAX], weight[PARTS_MAX];
};

/* The usual "simple IMIX" by the lengths of its frames, a full one less what ESP needs to fit into
 * 1500 bytes; 353.5 bytes on average. */
static const struct mix imix = {
	.name = "imix", .parts = 3, .sum = 12, .bytes = {64, 594, 1418}, .weight = {7, 4, 1}};

struct fit { /* of one direction: cycles a packet of each size, in each round */
	unsigned n;
	uint32_t bytes[SIZES_MAX];
	double cycles[SIZES_MAX][ROUNDS_MAX];
};

struct bench {
	struct rig rig;
	struct crypto_thread *crypto;
	unsigned rounds;
	struct mix mix;
	struct fit fits[2];
	struct rte_mbuf *mbufs[ROUND];
	struct rte_mbuf *done[ROUND];
	uint64_t random;
	uint32_t order[ROUND];                /* node of each packet of a round */
	uint8_t kept[SAMPLES][RIG_FRAME_MAX]; /* decap: ESP packets that went in */
};

/* Size of packet i of a round. */
static uint32_t size_of(const struct bench *bench, unsigned i)
{
	uint32_t place = i * SPREAD % bench->mix.sum, part = 0;

	while (place >= bench->mix.weight[part])
		place -= bench->mix.weight[part++];
	return bench->mix.bytes[part];
}

static void fill(struct bench *bench, bool encap)
{
	for (unsigned i = 0; i < ROUND; i++) {
		struct ip_addr coa = rig_coa(bench->order[i]);
		uint32_t size = size_of(bench, i), len;

		if (encap) {
			rig_packet(true, bench->order[i], &coa, size,
				rig_frame(&bench->rig, DP_INSIDE, bench->mbufs[i]));
			rig_frame_len(bench->mbufs[i], size);
			continue;
		}
		len = rig_seal(&bench->rig, bench->crypto, bench->order[i], size, bench->mbufs[i]);
		if (i % SAMPLE_STEP == 0)
			memcpy(bench->kept[i / SAMPLE_STEP],
				rte_pktmbuf_mtod_offset(
					bench->mbufs[i], uint8_t *, RTE_ETHER_HDR_LEN),
				len);
	}
}

/* --- checking -----------------------------------------------------------------------------------
 */

/* Opens an ESP packet (outer IPv4 header first) with OpenSSL; returns the inner length. */
static uint32_t openssl_open(
	const struct bench *bench, const uint8_t *key, const uint8_t *packet, uint8_t *inner)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[bench->rig.alg];
	const uint32_t total = wire_load_u16(packet + 2);
	const uint32_t front = (uint32_t)ESP_HDR_BYTES + info->iv_bytes;
	uint8_t esp[RIG_FRAME_MAX];
	struct crypto_op op = {.data = esp + front,
		.tag = esp + total - IPV4_HDR_BYTES - info->icv_bytes,
		.len = total - IPV4_HDR_BYTES - front - info->icv_bytes,
		.alg = (uint8_t)bench->rig.alg,
		.aad_len = CRYPTO_AAD_MAX};

	memcpy(esp, packet + IPV4_HDR_BYTES, total - IPV4_HDR_BYTES);
	memcpy(op.nonce, key + info->key_bytes, 4);
	memcpy(op.nonce + 4, esp + ESP_HDR_BYTES, 8);
	memcpy(op.aad, esp, 4); /* SPI; the high half of the sequence number is 0 here; the low */
	memcpy(op.aad + 8, esp + 4, 4);
	if (!oracle_open(&op, key))
		rig_fail("OpenSSL does not open a packet");
	memcpy(inner, op.data, op.len);
	return op.len - ESP_TRAILER_BYTES - inner[op.len - ESP_TRAILER_BYTES];
}

/* Equal but for TTL and header checksum, which forwarding changes. */
static bool same_packet(const uint8_t *a, const uint8_t *b, uint32_t size)
{
	return memcmp(a, b, 8) == 0 && a[9] == b[9] && memcmp(a + 12, b + 12, size - 12) == 0;
}

static void check_samples(const struct bench *bench, bool encap)
{
	uint8_t want[RIG_FRAME_MAX], inner[RIG_FRAME_MAX];

	for (unsigned s = 0; s < SAMPLES; s++) {
		const uint32_t node = bench->order[s * SAMPLE_STEP];
		const uint32_t size = size_of(bench, s * SAMPLE_STEP);
		const struct rig_peer *peer = &bench->rig.peers[node];
		const uint8_t *got = rte_pktmbuf_mtod_offset(
			bench->done[s * SAMPLE_STEP], uint8_t *, RTE_ETHER_HDR_LEN);
		const struct ip_addr coa = rig_coa(node);

		rig_packet(encap, node, &coa, size, want);
		if (openssl_open(bench, encap ? peer->key_out : peer->key_in,
			    encap ? got : bench->kept[s], inner) != size)
			rig_fail("wrong length inside");
		if (!same_packet(want, inner, size) || (!encap && !same_packet(want, got, size)))
			rig_fail("wrong packet inside");
	}
}

/* --- measuring ----------------------------------------------------------------------------------
 */

static double run_round(struct bench *bench, bool encap)
{
	const enum dp_port in = encap ? DP_INSIDE : DP_OUTSIDE;
	const enum dp_port out = encap ? DP_OUTSIDE : DP_INSIDE;
	struct rig *rig = &bench->rig;
	uint64_t from, cycles;

	rig_order(rig, &bench->random, bench->order, ROUND);
	fill(bench, encap);
	if (rte_ring_enqueue_bulk(rig->rx[in][0], (void **)bench->mbufs, ROUND, NULL) != ROUND)
		rig_fail("receive ring is full");
	from = bench_cycles();
	for (unsigned n = 0; n < ROUND / PKT_BURST_MAX; n++)
		(void)worker_run_once(rig->dp->workers[0]);
	cycles = bench_cycles() - from;
	if (rte_ring_dequeue_burst(rig->tx[out][0], (void **)bench->done, ROUND, NULL) != ROUND)
		rig_fail("not every packet came out");
	if (memcmp(bench->done, bench->mbufs, sizeof bench->done) != 0)
		rig_fail("packets were reordered");
	check_samples(bench, encap);
	return (double)cycles / ROUND;
}

static const char *direction(bool encap)
{
	return encap ? "encap" : "decap";
}

static void report(const struct bench *bench, const char *what, bool encap, bool with_sas,
	const char *unit, struct bench_samples *samples)
{
	char name[96];
	int n = snprintf(name, sizeof name, "%s/%s/%s/%s", what, direction(encap),
		crypto_alg_infos[bench->rig.alg].name, bench->mix.name);

	if (with_sas)
		snprintf(name + n, sizeof name - (size_t)n, "/%u", bench->rig.nodes);
	bench_report(name, unit, samples);
	bench_samples_free(samples);
}

/* The yardstick of a mix is the weighted mean of its parts, each measured alone. */
static double base_cycles(const struct bench *bench, struct raw *const *yardsticks, bool encap)
{
	double sum = 0;

	for (unsigned p = 0; p < bench->mix.parts; p++)
		sum += bench->mix.weight[p] * raw_cycles(yardsticks[p], encap);
	return sum / bench->mix.sum;
}

static void keep_for_fit(struct bench *bench, bool encap, const struct bench_samples *path)
{
	struct fit *fit = &bench->fits[encap];

	if (bench->mix.parts != 1)
		return;
	fit->bytes[fit->n] = bench->mix.bytes[0];
	memcpy(fit->cycles[fit->n++], path->value, path->n * sizeof *path->value);
}

static void measure(struct bench *bench, bool encap)
{
	struct raw *yardsticks[PARTS_MAX];
	struct bench_samples path, raw, ratio;

	for (unsigned p = 0; p < bench->mix.parts; p++) {
		yardsticks[p] = raw_new(bench->rig.alg, bench->mix.bytes[p]);
		if (yardsticks[p] == NULL)
			rig_fail("out of memory, or a packet that is too large");
	}
	bench_samples_init(&path);
	bench_samples_init(&raw);
	bench_samples_init(&ratio);
	(void)run_round(bench, encap);
	for (unsigned i = 0; i < bench->rounds; i++) {
		double before = base_cycles(bench, yardsticks, encap);
		double cycles = run_round(bench, encap);
		double base = (before + base_cycles(bench, yardsticks, encap)) / 2;

		bench_add(&path, cycles);
		bench_add(&raw, base);
		bench_add(&ratio, cycles / base);
	}
	for (unsigned p = 0; p < bench->mix.parts; p++)
		raw_free(yardsticks[p]);
	keep_for_fit(bench, encap, &path);
	if (bench->rig.nodes ==
		1) /* it has nothing to do with SAs: one figure of each name is enough */
		report(bench, "raw", encap, false, "cycles/packet", &raw);
	else
		bench_samples_free(&raw);
	report(bench, "path", encap, true, "cycles/packet", &path);
	report(bench, "ratio", encap, true, "x", &ratio);
}

/* Least squares, a line for each round, so that the line has a median and a spread too. */
static void report_fit(const struct bench *bench, bool encap)
{
	const struct fit *fit = &bench->fits[encap];
	const char *alg = crypto_alg_infos[bench->rig.alg].name;
	struct bench_samples packet, byte;
	char name[96];

	bench_samples_init(&packet);
	bench_samples_init(&byte);
	for (unsigned round = 0; round < bench->rounds; round++) {
		double x = 0, y = 0, xx = 0, xy = 0, slope;

		for (unsigned i = 0; i < fit->n; i++) {
			x += fit->bytes[i];
			y += fit->cycles[i][round];
			xx += (double)fit->bytes[i] * fit->bytes[i];
			xy += fit->bytes[i] * fit->cycles[i][round];
		}
		slope = (fit->n * xy - x * y) / (fit->n * xx - x * x);
		bench_add(&byte, slope);
		bench_add(&packet, (y - slope * x) / fit->n);
	}
	snprintf(name, sizeof name, "fit/%s/%s/packet", direction(encap), alg);
	bench_report(name, "cycles/packet", &packet);
	snprintf(name, sizeof name, "fit/%s/%s/byte", direction(encap), alg);
	bench_report(name, "cycles/byte", &byte);
	bench_samples_free(&packet);
	bench_samples_free(&byte);
}

static struct mix mix_of(const char *text)
{
	struct mix mix = {.parts = 1, .sum = 1, .weight = {1}};

	if (strcmp(text, imix.name) == 0)
		return imix;
	mix.bytes[0] = (uint32_t)strtoul(text, NULL, 10);
	snprintf(mix.name, sizeof mix.name, "%u", mix.bytes[0]);
	return mix;
}

static void measure_sizes(struct bench *bench, char **sizes, int n)
{
	for (int i = 0; i < n; i++) {
		bench->mix = mix_of(sizes[i]);
		measure(bench, true);
		measure(bench, false);
	}
	if (bench->rig.nodes != 1 || bench->fits[0].n < 2)
		return;
	report_fit(bench, true);
	report_fit(bench, false);
}

static int alg_by_name(const char *name)
{
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++)
		if (strcmp(name, crypto_alg_infos[alg].name) == 0)
			return alg;
	rig_fail("unknown algorithm");
}

/* One name a line: perf/run measures what there is. */
static int list_algorithms(void)
{
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++)
		puts(crypto_alg_infos[alg].name);
	return 0;
}

int main(int argc, char **argv)
{
	static struct bench bench;
	uint32_t nodes;
	int used;

	if (argc == 2 && strcmp(argv[1], "--algorithms") == 0)
		return list_algorithms();
	used = rig_eal_init(argc, argv);
	argc -= used;
	argv += used;
	if (used < 0 || argc < 6 || argc > 5 + SIZES_MAX) {
		fprintf(stderr, "usage: bench_path --algorithms\n"
				"       bench_path EAL-OPTIONS -- NODES ALGORITHM ROUNDS FOLDER "
				"SIZE|imix...\n");
		return 2;
	}
	nodes = (uint32_t)strtoul(argv[1], NULL, 10);
	bench.rounds = (unsigned)strtoul(argv[3], NULL, 10);
	if (nodes == 0 || bench.rounds == 0 || bench.rounds > ROUNDS_MAX)
		rig_fail("want at least one node, and 1 to 256 rounds");
	rig_open(&bench.rig, (enum crypto_alg)alg_by_name(argv[2]), nodes, 2 * ROUND,
		rig_counters(argv[4], 2 * nodes + 16), argv[4], 1);
	bench.crypto = bench.rig.dp->engine->thread_new();
	rcu_online(&bench.rig.dp->rcu, 0);
	for (uint32_t i = 0; i < nodes; i++)
		(void)rig_add_node(&bench.rig, i);
	if (rte_pktmbuf_alloc_bulk(bench.rig.dp->ports[DP_INSIDE].pool, bench.mbufs, ROUND) != 0)
		rig_fail("too few mbufs");
	measure_sizes(&bench, argv + 5, argc - 5);
	return 0;
}
