/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path/DIR/ALG/SIZE/SAS, raw/DIR/ALG/SIZE and ratio/DIR/ALG/SIZE/SAS: the whole way of a packet
 * through the gateway, against intel-ipsec-mb alone.
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

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND 8192 /* packets, each in its own mbuf */
#define SAMPLES 16 /* packets a round that are opened with OpenSSL */
#define SAMPLE_STEP (ROUND / SAMPLES)

struct bench {
	struct rig rig;
	struct crypto_thread *crypto;
	uint32_t size;
	struct rte_mbuf *mbufs[ROUND];
	struct rte_mbuf *done[ROUND];
	uint64_t random;
	uint32_t order[ROUND];                /* node of each packet of a round */
	uint8_t kept[SAMPLES][RIG_FRAME_MAX]; /* decap: ESP packets that went in */
};

static void fill(struct bench *bench, bool encap)
{
	for (unsigned i = 0; i < ROUND; i++) {
		struct ip_addr coa = rig_coa(bench->order[i]);
		uint32_t len;

		if (encap) {
			rig_packet(true, bench->order[i], &coa, bench->size,
				rig_frame(&bench->rig, DP_INSIDE, bench->mbufs[i]));
			rig_frame_len(bench->mbufs[i], bench->size);
			continue;
		}
		len = rig_seal(
			&bench->rig, bench->crypto, bench->order[i], bench->size, bench->mbufs[i]);
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
	const uint8_t *esp = packet + IPV4_HDR_BYTES, *iv = esp + ESP_HDR_BYTES;
	const int len = (int)(total - IPV4_HDR_BYTES - ESP_HDR_BYTES - info->iv_bytes -
			      info->icv_bytes);
	uint8_t nonce[CRYPTO_NONCE_BYTES], aad[CRYPTO_AAD_MAX] = {0}, tag[CRYPTO_TAG_BYTES];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	memcpy(nonce, key + info->key_bytes, info->salt_bytes);
	memcpy(nonce + info->salt_bytes, iv, info->iv_bytes);
	memcpy(aad, esp, 4); /* SPI; the high half of the sequence number is 0 here; the low half */
	memcpy(aad + 8, esp + 4, 4);
	memcpy(tag, packet + total - CRYPTO_TAG_BYTES, sizeof tag);
	if (EVP_DecryptInit_ex(ctx, info->key_bytes == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(),
		    NULL, key, nonce) != 1 ||
		EVP_DecryptUpdate(ctx, NULL, &n, aad, sizeof aad) != 1 ||
		EVP_DecryptUpdate(ctx, inner, &n, iv + info->iv_bytes, len) != 1 ||
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG_BYTES, tag) != 1 ||
		EVP_DecryptFinal_ex(ctx, inner + n, &n) != 1)
		rig_fail("OpenSSL does not open a packet");
	EVP_CIPHER_CTX_free(ctx);
	return (uint32_t)len - ESP_TRAILER_BYTES - inner[len - ESP_TRAILER_BYTES];
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
		const struct rig_peer *peer = &bench->rig.peers[node];
		const uint8_t *got = rte_pktmbuf_mtod_offset(
			bench->done[s * SAMPLE_STEP], uint8_t *, RTE_ETHER_HDR_LEN);
		const struct ip_addr coa = rig_coa(node);

		rig_packet(encap, node, &coa, bench->size, want);
		if (openssl_open(bench, encap ? peer->key_out : peer->key_in,
			    encap ? got : bench->kept[s], inner) != bench->size)
			rig_fail("wrong length inside");
		if (!same_packet(want, inner, bench->size) ||
			(!encap && !same_packet(want, got, bench->size)))
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
	if (rte_ring_enqueue_bulk(rig->rx[in], (void **)bench->mbufs, ROUND, NULL) != ROUND)
		rig_fail("receive ring is full");
	from = bench_cycles();
	for (unsigned n = 0; n < ROUND / PKT_BURST_MAX; n++)
		(void)worker_run_once(rig->dp->workers[0]);
	cycles = bench_cycles() - from;
	if (rte_ring_dequeue_burst(rig->tx[out], (void **)bench->done, ROUND, NULL) != ROUND)
		rig_fail("not every packet came out");
	if (memcmp(bench->done, bench->mbufs, sizeof bench->done) != 0)
		rig_fail("packets were reordered");
	check_samples(bench, encap);
	return (double)cycles / ROUND;
}

static void report(const struct bench *bench, const char *what, bool encap, bool with_sas,
	const char *unit, struct bench_samples *samples)
{
	char name[96];
	int n = snprintf(name, sizeof name, "%s/%s/%s/%u", what, encap ? "encap" : "decap",
		crypto_alg_infos[bench->rig.alg].name, bench->size);

	if (with_sas)
		snprintf(name + n, sizeof name - (size_t)n, "/%u", bench->rig.nodes);
	bench_report(name, unit, samples);
	bench_samples_free(samples);
}

static void measure(struct bench *bench, bool encap, unsigned rounds)
{
	struct raw *yardstick = raw_new(bench->rig.alg, bench->size);
	struct bench_samples path, raw, ratio;

	if (yardstick == NULL)
		rig_fail("out of memory, or a packet that is too large");
	bench_samples_init(&path);
	bench_samples_init(&raw);
	bench_samples_init(&ratio);
	(void)run_round(bench, encap);
	for (unsigned i = 0; i < rounds; i++) {
		double before = raw_cycles(yardstick, encap);
		double cycles = run_round(bench, encap);
		double base = (before + raw_cycles(yardstick, encap)) / 2;

		bench_add(&path, cycles);
		bench_add(&raw, base);
		bench_add(&ratio, cycles / base);
	}
	raw_free(yardstick);
	report(bench, "raw", encap, false, "cycles/packet", &raw);
	report(bench, "path", encap, true, "cycles/packet", &path);
	report(bench, "ratio", encap, true, "x", &ratio);
}

static int alg_by_name(const char *name)
{
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++)
		if (strcmp(name, crypto_alg_infos[alg].name) == 0)
			return alg;
	rig_fail("unknown algorithm");
}

int main(int argc, char **argv)
{
	static struct bench bench;
	int used = rig_eal_init(argc, argv);
	uint32_t nodes;

	argc -= used;
	argv += used;
	if (used < 0 || argc < 6) {
		fprintf(stderr,
			"usage: bench_path EAL-OPTIONS -- NODES ALGORITHM ROUNDS FOLDER SIZE...\n");
		return 2;
	}
	nodes = (uint32_t)strtoul(argv[1], NULL, 10);
	rig_open(&bench.rig, (enum crypto_alg)alg_by_name(argv[2]), nodes, 2 * ROUND,
		rig_counters(argv[4], 2 * nodes + 16), argv[4]);
	bench.crypto = bench.rig.dp->engine->thread_new();
	rcu_online(&bench.rig.dp->rcu, 0);
	for (uint32_t i = 0; i < nodes; i++)
		(void)rig_add_node(&bench.rig, i);
	if (rte_pktmbuf_alloc_bulk(bench.rig.dp->ports[DP_INSIDE].pool, bench.mbufs, ROUND) != 0)
		rig_fail("too few mbufs");
	for (int i = 5; i < argc; i++) {
		bench.size = (uint32_t)strtoul(argv[i], NULL, 10);
		measure(&bench, true, (unsigned)strtoul(argv[3], NULL, 10));
		measure(&bench, false, (unsigned)strtoul(argv[3], NULL, 10));
	}
	return 0;
}
