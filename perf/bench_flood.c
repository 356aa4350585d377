/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flood/KIND/arrived, flood/KIND/victim, flood/KIND/no_drop: how much of the legitimate traffic
 * gets through beside a flood.
 *
 * How this works: packets of a slice lie ready in buffers. They arrive by a clock that runs with
 * the cycles that the worker's turns take, and nothing else: before each turn what is due by then
 * is put into its receive ring, of which no more is used than a network card's descriptors: what
 * finds them taken is lost, as on a card. The worker's own time is that clock, too. So this is a
 * network and a worker at work side by side, on one CPU, and neither the benchmark's own work nor
 * the host, which takes the CPU away now and then, changes what is lost. The no-drop rate is the
 * highest at which a slice of legitimate packets alone loses nothing; it is searched before each
 * flood, since machines drift. Then legitimate packets come at 30 % of it, evenly among those of
 * the flood, which come at 100 % of it. The first slice of a flood does not count: budgets
 * (dataplane/shed.h) are spent in it.
 *
 * Packets have 64 bytes inside: the most that a wire carries. The flood is for one node, the
 * victim, whose own packets are counted apart, too. Exit 1 if one of these does not hold: the
 * median of a kind that must be borne is 90 % or more; what came out is what the ring took; memory
 * does not grow and no buffer is lost; no more was noted for the audit log than its bound.
 */
#include "lib/ipv4.h"
#include "lib/wire.h"
#include "perf/bench.h"
#include "perf/rig.h"
#include "siu/association.h"
#include "siu/gate.h"

#include "dataplane/now.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALG CRYPTO_AES128GCM16
#define NODES 64
#define VICTIM 0
#define INNER_BYTES 64
#define DESCRIPTORS 1024 /* control/gw/main.c: RX_DESCRIPTORS */
#define SLICE 15600      /* packets: some ms */
#define LEGIT_OF 13      /* with a flood, so many of 13 packets are legitimate: 30 to 100 */
#define LEGIT 3
#define LEGIT_PACKETS (SLICE / LEGIT_OF * LEGIT)
#define VERDICT_ROUNDS 5 /* with fewer no median is judged */
#define SLICES 4         /* of each flood and round; the first does not count */
#define NO_DROP_STEP 0.98
#define INTERRUPTED 8    /* times as long as a turn takes on average */
#define MUST_ARRIVE 90.0 /* percent */
#define GROWTH_MAX_BYTES (1 << 20)
#define AUDITED_KINDS 4 /* no_sa_in, bad_icv, shed, replay */
#define IP_AT RTE_ETHER_HDR_LEN
#define SOURCES 16
#define SIU_BYTES 96
#define SIU_EPOCH 2 /* of both ends: small numbers are easy to guess */
#define MBUFS 32767 /* a port's; a slice is a half of it */
static_assert(SLICE % LEGIT_OF == 0 && SLICE <= RIG_RING, "whole groups, and they fit");

struct bench {
	struct rig rig;
	struct crypto_thread *crypto;
	uint64_t random;
	bool encap; /* direction of the legitimate packets */
	enum dp_port in, out;
	unsigned n_legit; /* of the slice */
	struct rte_mbuf *slice[SLICE];
	struct rte_mbuf *out_of[RIG_RING];
	uint64_t lost, lost_legit; /* found no descriptor, in the slice */
	unsigned victims_sent;
	double clock;       /* cycles of all turns so far */
	double turn_cycles; /* on average */
	uint64_t started_ns;
	uint64_t noted; /* for the audit log */
	bool failed;
};
static struct bench bench;

static uint64_t next_random(void)
{
	bench.random = bench.random * 6364136223846793005u + 1442695040888963407u;
	return bench.random >> 16;
}

/* --- packets ------------------------------------------------------------------------------------
 */

/* Is the packet at this place of a slice a legitimate one? Evenly among the others. */
static bool is_legit(unsigned i, bool flood)
{
	return !flood || i * LEGIT % LEGIT_OF < LEGIT;
}

static void esp_header(uint8_t *ip, const struct ip_addr *source, uint32_t spi, uint32_t number)
{
	const struct ip_addr gateway = rig_addr(rig_outside);
	const uint16_t len = IPV4_HDR_BYTES + ESP_HDR_BYTES + 8 + INNER_BYTES + 4 + 16;

	ipv4_build(ip, source, &gateway, IP4_PROTO_ESP, IPV4_TTL_DEFAULT, 0, 1, 0, len);
	wire_store_u32(ip + IPV4_HDR_BYTES, spi);
	wire_store_u32(ip + IPV4_HDR_BYTES + 4, number);
}

static struct ip_addr stranger(uint32_t number)
{
	return ip_addr_from_v4(htonl(0xcb007100u + number)); /* 203.0.113.0 and on */
}

static void make_unknown_spi(uint8_t *ip)
{
	const struct ip_addr source = stranger((uint32_t)next_random() % SOURCES);

	esp_header(ip, &source, 0x80000000u | (uint32_t)next_random(), 1);
}

static void make_bad_icv(uint8_t *ip)
{
	const struct ip_addr source = stranger((uint32_t)next_random() % SOURCES);

	esp_header(ip, &source, RIG_SPI_IN + VICTIM, (uint32_t)next_random());
}

static void make_bad_icv_spread(uint8_t *ip)
{
	const struct ip_addr source = stranger((uint32_t)next_random() & 0xffffff);

	esp_header(ip, &source, RIG_SPI_IN + VICTIM, (uint32_t)next_random());
}

static void make_bad_icv_forged(uint8_t *ip)
{
	const struct ip_addr source = rig_coa(VICTIM);

	esp_header(ip, &source, RIG_SPI_IN + VICTIM, (uint32_t)next_random());
}

/* By one who reads the victim's packets. */
static void make_bad_icv_on_path(uint8_t *ip)
{
	const struct ip_addr source = rig_coa(VICTIM);
	const struct sa_out *sa = bench.rig.peers[VICTIM].sa;

	esp_header(ip, &source, RIG_SPI_IN + VICTIM,
		(uint32_t)atomic_load_explicit(&sa->slot->seq, memory_order_relaxed) + 500);
}

/* In the home agent's name, by one who has read siu/README.md but does not hear the gateway. */
static void make_siu(uint8_t *ip)
{
	const struct ip_endpoint from = {rig_addr(rig_home_agent), SIU_PORT_DEFAULT};
	const struct ip_endpoint to = {rig_addr(rig_inside), SIU_PORT_DEFAULT};
	uint8_t datagram[SIU_BYTES];
	const struct siu_header header = {.version = SIU_VERSION,
		.type = SIU_UPDATE,
		.length = SIU_BYTES,
		.key_id = 1,
		.epoch = SIU_EPOCH,
		.peer_epoch = SIU_EPOCH,
		.sequence = next_random(),
		.count = 1};

	for (unsigned i = 0; i < SIU_BYTES; i += 8)
		wire_store_u64(datagram + i, next_random());
	siu_header_encode(datagram, &header);
	(void)ipv4_udp_build(
		ip, RIG_FRAME_MAX - RTE_ETHER_HDR_LEN, &from, &to, datagram, SIU_BYTES);
}

struct flood {
	const char *name;
	bool inside; /* it comes in there, beside packets that are to be encrypted */
	bool must;   /* be borne */
	void (*make)(uint8_t *ip);
};

static const struct flood floods[] = {
	{"unknown_spi", false, true, make_unknown_spi},
	{"bad_icv", false, true, make_bad_icv},
	{"bad_icv_spread", false, true, make_bad_icv_spread},
	{"bad_icv_forged", false, true, make_bad_icv_forged},
	{"bad_icv_on_path", false, false, make_bad_icv_on_path},
	{"siu", true, true, make_siu},
};

static void make_flood(const struct flood *flood, struct rte_mbuf *mbuf)
{
	uint8_t *ip = rig_frame(&bench.rig, bench.in, mbuf);

	for (unsigned i = 0; i < 16; i++)
		wire_store_u64(ip + IPV4_HDR_BYTES + i * 8, next_random());
	flood->make(ip);
	rig_frame_len(mbuf, wire_load_u16(ip + 2));
}

static void make_legit(uint32_t node, struct rte_mbuf *mbuf)
{
	const struct ip_addr coa = rig_coa(node);

	if (bench.encap) {
		rig_packet(true, node, &coa, INNER_BYTES, rig_frame(&bench.rig, bench.in, mbuf));
		rig_frame_len(mbuf, INNER_BYTES);
	} else {
		(void)rig_seal(&bench.rig, bench.crypto, node, INNER_BYTES, mbuf);
	}
}

/* flood: NULL: legitimate packets alone. */
static void fill(const struct flood *flood)
{
	bench.n_legit = bench.victims_sent = 0;
	for (unsigned i = 0; i < SLICE; i++) {
		uint32_t node;

		bench.slice[i] = rte_pktmbuf_alloc(bench.rig.dp->ports[bench.in].pool);
		if (bench.slice[i] == NULL)
			rig_fail("too few mbufs");
		if (!is_legit(i, flood != NULL)) {
			make_flood(flood, bench.slice[i]);
			continue;
		}
		node = bench.n_legit++ % 8 == 0 ? VICTIM
						: 1 + (uint32_t)next_random() % (NODES - 1);
		bench.victims_sent += node == VICTIM;
		make_legit(node, bench.slice[i]);
	}
}

/* --- the network --------------------------------------------------------------------------------
 */

static unsigned room(const struct rte_ring *ring)
{
	const unsigned n = rte_ring_count(ring);

	return n < DESCRIPTORS ? DESCRIPTORS - n : 0;
}

/* Packets [from, to) arrive at once. */
static void arrive(struct rte_ring *ring, unsigned from, unsigned to, bool flood)
{
	unsigned n = RTE_MIN(room(ring), to - from);

	if (n != 0)
		n = rte_ring_sp_enqueue_burst(ring, (void **)&bench.slice[from], n, NULL);
	for (unsigned i = from + n; i < to; i++) {
		bench.lost++;
		bench.lost_legit += is_legit(i, flood);
		rte_pktmbuf_free(bench.slice[i]);
	}
}

static void take_what_is_for_control(void)
{
	struct punt punts[PKT_BURST_MAX];
	struct dp_audit notes[PKT_BURST_MAX];
	const unsigned n = dataplane_punt_burst(bench.rig.dp, punts, PKT_BURST_MAX);

	bench.noted += dataplane_audit_burst(bench.rig.dp, notes, PKT_BURST_MAX);
	for (unsigned i = 0; i < n; i++)
		dataplane_punt_done(bench.rig.dp, &punts[i]);
}

/* Cycles of a turn of the worker; one that took far longer than those before was interrupted. */
static double turn(unsigned *handled)
{
	const uint64_t from = bench_cycles();
	double cycles;

	*handled = worker_run_once(bench.rig.dp->workers[0]);
	cycles = (double)(bench_cycles() - from);
	if (*handled == 0)
		return cycles;
	if (bench.turn_cycles != 0 && cycles > INTERRUPTED * bench.turn_cycles)
		return bench.turn_cycles;
	bench.turn_cycles += (cycles - bench.turn_cycles) / 64;
	return cycles;
}

static void set_clock(void)
{
	const uint64_t ns = bench.started_ns +
			    (uint64_t)(bench.clock * 1000 / bench_cycles_per_us());

	clock_set_test(ns, ns);
}

/* cycles: between two packets; 0: all are there at once, and none is lost. Returns cycles a packet
 * from the first to the end of the last. */
static double send_slice(double cycles, bool flood)
{
	struct rte_ring *ring = bench.rig.rx[bench.in][0];
	const double from = bench.clock;
	unsigned sent = 0, handled = 1;

	bench.lost = bench.lost_legit = 0;
	if (cycles == 0) {
		if (rte_ring_sp_enqueue_bulk(ring, (void **)bench.slice, SLICE, NULL) == 0)
			rig_fail("receive ring is full");
		sent = SLICE;
	}
	while (sent < SLICE || handled != 0) {
		const double due = (bench.clock - from) / cycles;
		const unsigned until = due < SLICE ? (unsigned)due + 1 : SLICE;

		if (sent < SLICE && until > sent) {
			arrive(ring, sent, until, flood);
			sent = until;
		}
		set_clock();
		bench.clock += turn(&handled);
		if (flood)
			take_what_is_for_control();
	}
	return (bench.clock - from) / SLICE;
}

struct outcome {
	double arrived, victim; /* percent */
};

static bool is_victims(const struct rte_mbuf *mbuf)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(mbuf, const uint8_t *, IP_AT);
	const struct ip_addr home = rig_home(VICTIM), coa = rig_coa(VICTIM);

	return bench.encap ? wire_load_u32(ip + 16) == ntohl(ip_addr_to_v4(&coa))
			   : wire_load_u32(ip + 12) == ntohl(ip_addr_to_v4(&home));
}

/* What came out of the other port: legitimate packets alone. */
static struct outcome collect(void)
{
	const unsigned n = rte_ring_sc_dequeue_burst(
		bench.rig.tx[bench.out][0], (void **)bench.out_of, RIG_RING, NULL);
	unsigned victims = 0;

	for (unsigned i = 0; i < n; i++) {
		victims += is_victims(bench.out_of[i]);
		rte_pktmbuf_free(bench.out_of[i]);
	}
	if (n + bench.lost_legit != bench.n_legit)
		rig_fail("what came out is not what the ring took");
	return (struct outcome){100.0 * n / bench.n_legit, 100.0 * victims / bench.victims_sent};
}

/* --- SIU ----------------------------------------------------------------------------------------
 */

static struct siu_gate gate;

static bool admits(void *arg, uint32_t peer, const uint8_t *datagram, size_t len)
{
	(void)arg;
	(void)peer;
	return siu_gate_admits(&gate, datagram, len);
}

static void open_siu(void)
{
	const struct siu_liveness live = {
		.up = true, .peer_epoch = SIU_EPOCH, .replay.top = siu_draw_start()};
	const struct dp_guard guard = {.local = {rig_addr(rig_inside), SIU_PORT_DEFAULT},
		.peers = {rig_addr(rig_home_agent)},
		.n_peers = 1,
		.admits = admits};

	siu_gate_set(&gate, &live, SIU_EPOCH);
	dataplane_guard(bench.rig.dp, &guard);
}

/* --- measuring ----------------------------------------------------------------------------------
 */

/* Cycles from packet to packet at the no-drop rate. */
static double no_drop(void)
{
	double cycles;

	fill(NULL);
	cycles = send_slice(0, false);
	(void)collect();
	do {
		fill(NULL);
		(void)send_slice(cycles, false);
		(void)collect();
		cycles /= bench.lost == 0 ? 1 : NO_DROP_STEP;
	} while (bench.lost != 0);
	return cycles;
}

static void take(const struct flood *flood)
{
	bench.encap = flood->inside;
	bench.in = flood->inside ? DP_INSIDE : DP_OUTSIDE;
	bench.out = flood->inside ? DP_OUTSIDE : DP_INSIDE;
}

static void warm_up(void)
{
	for (size_t i = 0; i < RTE_DIM(floods); i++) {
		take(&floods[i]);
		fill(&floods[i]);
		(void)send_slice(0, true);
		(void)collect();
	}
}

static void one_round(const struct flood *flood, struct bench_samples *rate,
	struct bench_samples *arrived, struct bench_samples *victim)
{
	const double cycles = no_drop();

	bench_add(rate, 1e6 * bench_cycles_per_us() / cycles);
	for (unsigned i = 0; i < SLICES; i++) {
		struct outcome outcome;

		fill(flood);
		(void)send_slice(cycles * 100 / 130, true);
		outcome = collect();
		if (i == 0)
			continue;
		bench_add(arrived, outcome.arrived);
		bench_add(victim, outcome.victim);
	}
}

static void report(
	const char *flood, const char *what, const char *unit, struct bench_samples *samples)
{
	char name[64];

	snprintf(name, sizeof name, "flood/%s/%s", flood, what);
	bench_report(name, unit, samples);
	bench_samples_free(samples);
}

static void measure(const struct flood *flood, unsigned rounds)
{
	struct bench_samples rate, arrived, victim;
	double least;

	bench_samples_init(&rate);
	bench_samples_init(&arrived);
	bench_samples_init(&victim);
	take(flood);
	for (unsigned i = 0; i < rounds; i++)
		one_round(flood, &rate, &arrived, &victim);
	least = RTE_MIN(bench_percentile(&arrived, 50), bench_percentile(&victim, 50));
	if (flood->must && rounds >= VERDICT_ROUNDS && least < MUST_ARRIVE) {
		fprintf(stderr, "benchmark: %s: too little of the legitimate traffic arrives\n",
			flood->name);
		bench.failed = true;
	}
	report(flood->name, "no_drop", "packets/s", &rate);
	report(flood->name, "arrived", "%", &arrived);
	report(flood->name, "victim", "%", &victim);
}

/* --- what must stay bounded ---------------------------------------------------------------------
 */

static long resident_bytes(void)
{
	long total, resident = -1;
	FILE *file = fopen("/proc/self/statm", "r");

	if (file == NULL || fscanf(file, "%ld %ld", &total, &resident) != 2)
		rig_fail("no /proc/self/statm");
	fclose(file);
	return resident * sysconf(_SC_PAGESIZE);
}

static void check_bounds(long resident_before)
{
	const uint64_t seconds = (uint64_t)(bench.clock / bench_cycles_per_us() / 1e6) + 1;

	if (resident_bytes() - resident_before > GROWTH_MAX_BYTES)
		rig_fail("memory grew");
	for (int port = 0; port < DP_PORTS; port++)
		if (rte_mempool_in_use_count(bench.rig.dp->ports[port].pool) != 0)
			rig_fail("buffers are lost");
	if (bench.noted > seconds * AUDIT_A_SECOND * AUDITED_KINDS)
		rig_fail("too much was noted for the audit log");
}

int main(int argc, char **argv)
{
	const int used = rig_eal_init(argc, argv);
	unsigned rounds;
	long resident;

	if (used < 0 || argc - used != 3) {
		fprintf(stderr, "usage: bench_flood EAL-OPTIONS -- ROUNDS FOLDER\n");
		return 2;
	}
	rounds = (unsigned)strtoul(argv[used + 1], NULL, 10);
	rig_open(&bench.rig, ALG, NODES, MBUFS, rig_counters(argv[used + 2], 2 * NODES + 16),
		argv[used + 2], 1);
	bench.crypto = bench.rig.dp->engine->thread_new();
	bench.started_ns = clock_mono_ns();
	rcu_online(&bench.rig.dp->rcu, 0);
	for (uint32_t i = 0; i < NODES; i++)
		(void)rig_add_node(&bench.rig, i);
	open_siu();
	warm_up();
	resident = resident_bytes();
	for (size_t i = 0; i < RTE_DIM(floods); i++)
		measure(&floods[i], rounds);
	check_bounds(resident);
	return bench.failed ? 1 : 0;
}
