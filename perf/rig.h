/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PERF_RIG_H
#define PERF_RIG_H
/*
 * A gateway's packet machine between rings in memory: what bench_path and bench_siu measure on.
 *
 * Worker w receives on port p what is put into rx[p][w] and leaves what it sends in tx[p][w]. Nodes
 * are numbered from 0: node i has home address 10.64.0.0 + i and care-of address 198.18.0.0 + i
 * (RFC 2544). Packets are bytes of a fixed pattern behind good headers. Errors end the program with
 * exit 1. Single thread, but for worker_run_once() on whichever thread the caller chooses.
 */
#include "dataplane/esp/esp.h"
#include "dataplane/state.h"

#define RIG_RING 16384
#define RIG_WORKERS_MAX 2
#define RIG_FRAME_MAX 2048
#define RIG_REPLAY_WINDOW 1024
#define RIG_SPI_IN 0x01000000u /* of node 0's inbound SA; the others follow */
#define RIG_MTU 1600           /* of the paths: 1400 bytes and IP-in-IP must fit */

struct rig_peer {          /* what the far end of a node has */
	struct sa_out *sa; /* encrypts what the gateway decrypts */
	struct path path;
	uint8_t key_out[CRYPTO_MATERIAL_MAX]; /* the gateway's outbound key material */
	uint8_t key_in[CRYPTO_MATERIAL_MAX];
};

struct rig {
	struct dataplane *dp;
	struct counters *peer_counters;
	struct rte_ring *rx[DP_PORTS][RIG_WORKERS_MAX], *tx[DP_PORTS][RIG_WORKERS_MAX];
	enum crypto_alg alg;
	uint32_t nodes;
	struct rig_peer *peers;
};

void rig_fail(const char *what) __attribute__((noreturn));
/* rte_eal_init(), but only with --no-pci: a probe could take a network card from this machine. */
int rig_eal_init(int argc, char **argv);
struct ip_addr rig_addr(const char *text);
extern const char *const rig_outside, *const rig_inside; /* the gateway's own addresses */
extern const char *const rig_home_agent, *const rig_corr;
struct ip_addr rig_home(uint32_t node);
struct ip_addr rig_coa(uint32_t node);

/* BENCH_ENGINE=name in the environment: that crypto engine instead of "auto".
 * BENCH_RULES=n: that many rules of the policy for each direction, which no packet matches.
 * counters: the gateway's. folder: for the peers' counters file. mbufs: in each port's pool.
 * workers: each with a queue of its own on both ports. */
void rig_open(struct rig *rig, enum crypto_alg alg, uint32_t nodes, uint32_t mbufs,
	struct counters *counters, const char *folder, unsigned workers);
/* The same without peers, for who sends no packets: rig_make_sas() and rig_seal() need them. */
void rig_open_gateway(struct rig *rig, enum crypto_alg alg, uint32_t nodes, uint32_t mbufs,
	struct counters *counters, unsigned workers);
/* A counters file in folder that has no name any more. */
struct counters *rig_counters(const char *folder, uint32_t sas);

/* SAs of node i with fresh keys, and the peer that has their other ends. */
void rig_make_sas(struct rig *rig, uint32_t node, struct sa_params *in, struct sa_params *out);
struct path_params rig_path(uint32_t node);
/* Adds node i with an SA each way to the gateway. */
struct node *rig_add_node(struct rig *rig, uint32_t node);

/* Nodes in random order, the same in every run. state: any number at first. */
void rig_order(const struct rig *rig, uint64_t *state, uint32_t *order, unsigned n);

/* The IP packet of size bytes that goes into ESP; encap: IP-in-IP from the home agent to coa. */
void rig_packet(bool encap, uint32_t node, const struct ip_addr *coa, uint32_t size, uint8_t *at);
/* Ethernet header for a frame that port is to receive; returns where the IP packet begins. */
uint8_t *rig_frame(struct rig *rig, enum dp_port port, struct rte_mbuf *mbuf);
void rig_frame_len(struct rte_mbuf *mbuf, uint32_t ip_bytes);
/* Encrypts a packet of node i as its peer does; returns the ESP packet's length. To bytes, or into
 * a frame. */
uint32_t rig_seal_bytes(
	struct rig *rig, struct crypto_thread *crypto, uint32_t node, uint32_t size, uint8_t *at);
uint32_t rig_seal(struct rig *rig, struct crypto_thread *crypto, uint32_t node, uint32_t size,
	struct rte_mbuf *mbuf);
/* PKT_BURST_MAX of them, which costs less. */
void rig_seal_burst(struct rig *rig, struct crypto_thread *crypto, const uint32_t *nodes,
	uint32_t size, struct rte_mbuf **mbufs);
#endif
