/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_TUNNEL_H
#define CONTROL_MN_TUNNEL_H
/*
 * The node's end of the IPsec tunnel in user space: packets of the TUN interface leave as ESP from
 * the care-of address to the gateway, ESP from the gateway comes back to the TUN.
 *
 * Owner:   mobile.c. Thread: the loop's; it owns SAs, path and buffers, so nothing is atomic here.
 * Sources: the source document, steps 22 to 27 (claims 5 and 6); RFC 4303; RFC 3024 (reverse
 *          tunnel); RFC 3948 (through NATs).
 */
#include "control/mn/care_of.h"
#include "control/mn/mn_conf.h"
#include "dataplane/esp/esp.h"
#include "lib/loop.h"

#include <stdbool.h>
#include <stdint.h>

/* How long packets wait in the TUN's queue for a new address or route before they are dropped. */
#define TUNNEL_HOLD_MS 2000

struct tunnel;

/* The UDP payload of a packet from the home agent's registration port. */
typedef void tunnel_reply_fn(void *arg, const uint8_t *reply, size_t len);

struct tunnel_stats {
	uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes; /* inner, forwarded */
	uint64_t keepalives;                                 /* sent */
	uint64_t challenges;                                 /* of the gateway, answered */
	uint64_t tx_drops[VERDICT_COUNT], rx_drops[VERDICT_COUNT];
	uint64_t ecn_unusual; /* as esp_decap_burst() counts them */
};

struct tunnel_params {
	const struct mn_conf *conf;
	struct counters *counters;
	uint32_t iv_epoch;
	int tun_fd; /* stays the caller's */
	tunnel_reply_fn *reply;
	void *arg;
};

/* Takes no packets before the first tunnel_aim(). 0 or -errno, why: a sentence for the operator. */
int tunnel_open(struct loop *loop, const struct tunnel_params *params, struct tunnel **out,
	char *why, size_t why_size) __attribute__((warn_unused_result));
void tunnel_close(struct tunnel *tunnel); /* NULL is allowed; wipes the keys */

/* The move: destination of the inbound SA and source of the outbound SA become coa, by one store of
 * the path. mtu: of the interface. False: coa cannot be a tunnel's end; nothing changed. */
bool tunnel_aim(struct tunnel *tunnel, const struct ip_addr *coa, uint16_t mtu, uint64_t now_ns);
/* Nowhere: nothing is sent; what the TUN queues waits TUNNEL_HOLD_MS for the next address. */
void tunnel_lose(struct tunnel *tunnel, uint64_t now_ns);
/* At home: nothing is sent or taken, former addresses are forgotten. */
void tunnel_rest(struct tunnel *tunnel);
/* By which interface ESP leaves: that of the care-of address if it has a route, else 0: the
 * kernel's choice. A packet that waits for a route is tried again. */
void tunnel_use_interface(struct tunnel *tunnel, int ifindex);
/* The home agent has accepted the current address. */
void tunnel_confirm(struct tunnel *tunnel, uint64_t now_ns);

/* A whole datagram of our own (a registration request) through the outbound SA. 0 or -errno:
 * -ENETUNREACH no route or no path, -EIO not encapsulated. */
int tunnel_send(struct tunnel *tunnel, const uint8_t *datagram, size_t len);

const struct tunnel_stats *tunnel_stats(const struct tunnel *tunnel);
const struct care_of *tunnel_care_of(const struct tunnel *tunnel);
struct sa_out *tunnel_sa_out(struct tunnel *tunnel);
struct sa_in *tunnel_sa_in(struct tunnel *tunnel);
/* Most bytes that the tunnel adds to a packet of the TUN, as it is aimed now. */
unsigned tunnel_overhead(const struct tunnel *tunnel);
/* Does what is sent now go in UDP? */
bool tunnel_is_in_udp(const struct tunnel *tunnel);
#endif
