/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_PMTU_H
#define CONTROL_GW_PMTU_H
/*
 * Learns the MTU of the ways to nodes from routers' messages: ICMP "fragmentation needed" and
 * ICMPv6 "packet too big".
 *
 * Anybody can send such a message, so it is believed only if it quotes a packet that this gateway
 * has just sent: SPI and tunnel ends of a current outbound SA, and one of its newest sequence
 * numbers. It can make an MTU smaller, never larger, and not below PMTU_MIN (IPV6_MTU_MIN over
 * IPv6); after PMTU_AGE_NS, or with the node's next move, the port's own MTU holds again.
 *
 * Owner:   main.c. Threads: control. Bounds: PMTU_LEARNED_MAX nodes at a time.
 * Sources: RFC 4301 section 8.2, RFC 1191 sections 4 and 6.3, RFC 8201 section 4, RFC 4443
 *          section 3.2, RFC 5927 (attacks by ICMP).
 */
#include "control/gw/tunnel.h"

#define PMTU_MIN 576                                 /* RFC 791; less is an attack or a toy */
#define PMTU_AGE_NS (10 * 60 * UINT64_C(1000000000)) /* RFC 1191 section 6.3 */
#define PMTU_RECENT 65536u                           /* sequence numbers */
#define PMTU_LEARNED_MAX 4096

struct pmtu_stats {
	uint64_t learned, aged;
	uint64_t refused; /* quotes nothing that we sent, malformed, or no smaller */
	uint64_t full;    /* PMTU_LEARNED_MAX are remembered already */
};

struct pmtu;
struct pmtu *pmtu_new(struct tunnels *tunnels); /* NULL: out of memory */
void pmtu_free(struct pmtu *pmtu);
/* datagram: IP of either family, came in on the outside. Looks at nothing but what this module is
 * for. */
void pmtu_datagram(struct pmtu *pmtu, const uint8_t *datagram, size_t len, uint64_t now_ns);
/* Forgets what is old. */
void pmtu_poll(struct pmtu *pmtu, uint64_t now_ns);
const struct pmtu_stats *pmtu_stats(const struct pmtu *pmtu);
#endif
