/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_DATAPLANE_RIG_H
#define TESTS_UNIT_DATAPLANE_RIG_H
/*
 * The gateway's packet machine between in-memory rings: frames are put into a port's receive ring,
 * worker_run_once() is a turn of the very loop, frames are taken from a port's transmit ring. What
 * a node would send is sealed and opened with OpenSSL, not with our own ESP.
 *
 * One rig a process, since there is one EAL. Fails hard (abort) where a test could not go on.
 *
 *     node 198.51.100.7 ... 192.0.2.254 --- 192.0.2.1 gateway 10.2.0.254 --- 10.2.0.1 home agent
 *     home address 10.1.0.10               outside            inside         10.2.0.5 correspondent
 *
 * In IPv6 everybody has the like-named address of RIG_V6_*, with routes after rig_speak_v6(); what
 * makes packets does so by the family of the addresses it is given.
 */
#include "dataplane/state.h"

#include <rte_ring.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_FRAME_MAX 2048
#define RIG_MTU 1500
#define RIG_SPI_IN 0x1001u  /* + handle << 16 */
#define RIG_SPI_OUT 0x2001u /* + handle << 16 */
#define RIG_REGISTRATION_RATE 10
#define RIG_V6_US "2001:db8:0:a::1"
#define RIG_V6_ROUTER "2001:db8:0:a::fe"
#define RIG_V6_INSIDE "fd02::fe"
#define RIG_V6_HA "fd01::1"
#define RIG_V6_HA_INSIDE "fd02::1"
#define RIG_V6_CORR "fd02::5"
#define RIG_V6_HOA "2001:db8:0:1::10"
#define RIG_V6_COA "2001:db8:0:7::7"

struct rig {
	struct dataplane *dp;
	struct counters *counters;
	struct rte_ring *rx[DP_PORTS], *tx[DP_PORTS]; /* of worker 0 */
	struct rte_ring *rx_all[DP_PORTS][PORT_WORKERS_MAX], *tx_all[DP_PORTS][PORT_WORKERS_MAX];
	uint64_t seq_in[64]; /* by handle: last number that our node has used */
	char counters_path[128];
};

/* workers > 1: EAL has lcores for them; they share the CPUs. ring_places: of each ring. */
void rig_open(struct rig *rig, uint32_t workers, unsigned ring_places);
void rig_close(struct rig *rig);
void rig_speak_v6(struct rig *rig); /* for good */

struct ip_addr rig_addr(const char *text);
struct ip_prefix rig_prefix(const char *text);
extern const uint8_t rig_mac_outside_router[6], rig_mac_inside_router[6], rig_mac_corr[6];

/* Node `handle` with home address 10.1.0.(9 + handle), both SAs, strict inner source, at coa
 * (NULL: closed). */
struct path_params rig_path(const char *coa, const char *former, uint64_t grace_until_ns);
struct dp_node_params rig_node_params(uint32_t handle, const char *coa);
struct node *rig_node_add(struct rig *rig, uint32_t handle, const char *coa);
/* The same, of any kind. */
struct node *rig_node_add_params(struct rig *rig, const struct dp_node_params *params);
struct sa_params rig_sa(uint32_t handle, bool inbound);
/* Deletes, turns the worker, polls: nothing is left. */
void rig_node_del(struct rig *rig, struct node *node);
/* A turn of worker 0 and one of control. */
void rig_turn(struct rig *rig);

/* Node 1 with home address RIG_V6_HOA; else as rig_node_add(). */
struct node *rig_node_add_v6(struct rig *rig, const char *coa);
/* IP datagrams into out[RIG_FRAME_MAX]; all return the length. */
size_t rig_udp(uint8_t *out, const char *src, uint16_t src_port, const char *dst, uint16_t dst_port,
	size_t payload_len);
size_t rig_ipip(uint8_t *out, const char *src, const char *dst, const uint8_t *inner, size_t len);
size_t rig_rrq(uint8_t *out, const char *src, const char *ha, const char *hoa, const char *coa);
/* Sealed by node `handle` with sequence number seq, outer header of src's family included.
 * next_header 4: IPv4. */
size_t rig_seal_seq(uint8_t *out, uint32_t handle, const char *src, uint64_t seq,
	const uint8_t *inner, size_t len, uint8_t next_header);
size_t rig_seal(struct rig *rig, uint8_t *out, uint32_t handle, const char *src,
	const uint8_t *inner, size_t len);
struct rig_opened {
	uint32_t spi, seq;
	uint64_t iv;
	struct ip_addr src, dst; /* outer */
	uint8_t inner[RIG_FRAME_MAX];
	size_t len;          /* padding of RFC 4303 section 2.7 included */
	uint8_t next_header; /* 4, 41, or 59: a dummy */
};
/* Any length of outer packet as the gateway sent it to node `handle`; checks the outer header.
 * False: not authentic, or malformed. */
bool rig_unseal(uint32_t handle, const uint8_t *outer, size_t len, struct rig_opened *out);

/* Into a port, with the right Ethernet header. */
void rig_push(struct rig *rig, enum dp_port port, const uint8_t *ip, size_t len);
void rig_push_frame(struct rig *rig, enum dp_port port, const uint8_t *frame, size_t len);
/* Whole frame into out[RIG_FRAME_MAX]; 0: there is none. */
size_t rig_pop(struct rig *rig, enum dp_port port, uint8_t *out);

/* Recomputes the header checksum of an IP datagram after a test changed it. */
void rig_checksum(uint8_t *ip);
#endif
