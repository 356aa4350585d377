/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_PATH_H
#define DATAPLANE_ESP_PATH_H
/*
 * The path of a node: where its ESP goes, and under which care-of address its traffic is selected.
 * Immutable once published; a move replaces the whole object by one pointer store, so that selector
 * and outer header change together, for the current and the next outbound SA alike.
 *
 * Owner:    gateway: the node's owner (control thread) builds and publishes; freed after the grace
 *           period of RCU. Node: control/mn, single thread.
 * Threads:  workers load node->path once per packet or burst (acquire) and use only that copy.
 * Sources:  RFC 4301 section 4.4.2.1, RFC 4303 section 3.1.2, RFC 3948; the source document's step
 *           26.
 */
#include "lib/inet.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PATH_OUTER_MAX 48 /* IPv6 + UDP */

#define PATH_NAT_PORT 4500 /* ours: RFC 3948 section 2.1, RFC 3947 */

enum path_encap { PATH_ENCAP_ESP, PATH_ENCAP_UDP /* RFC 3948 */ };
enum path_need { PATH_NEED_IPV6 = 1u << 0, PATH_NEED_UDP_SUM = 1u << 1 /* UDP over IPv6 */ };
enum path_flag {
	PATH_CLOSED = 1u << 0,      /* deregistered or expired: nothing may be sent */
	PATH_PROVISIONAL = 1u << 1, /* switched before the SIU */
	PATH_BICAST = 1u << 2, /* the same ciphertext to the second end, too, in the grace time */
	/* The far end is another address than the care-of address, which is what the node has
	 * behind its NAT. It selects what is tunnelled to it, and says nothing about who it is:
	 * many nodes have the same, and so may a host of ours. */
	PATH_LABEL = 1u << 3,
	PATH_UNVERIFIED = 1u << 4, /* nobody has shown yet that the node is there */
	PATH_ONCE = 1u << 5,       /* for one packet, to an endpoint of its own: path_local.c */
	/* Any of these: no more than the credit may go out. */
	PATH_ON_CREDIT = PATH_PROVISIONAL | PATH_UNVERIFIED,
};

struct path_outer { /* prebuilt; lengths, id, checksums, TOS, flow label are filled in per packet */
	uint8_t bytes[PATH_OUTER_MAX];
	uint8_t len;
	uint8_t encap;  /* enum path_encap */
	uint8_t family; /* of the header, whatever is inside */
	uint8_t needs;  /* enum path_need; 0: IPv4 */
	uint32_t sum;   /* partial checksum of the constant part of an IPv4 header */
};

/* What a packet needs is the first two lines; which fields share one is the measured part. */
struct path {
	/* const after path_init() */
	_Alignas(64) struct path_outer outer; /* to the remote end */
	uint16_t mtu;                         /* bytes of outer packet */
	uint8_t flags;                        /* enum path_flag */
	uint32_t table;                       /* reserved: VRF of the outside */
	_Alignas(64) struct ip_addr coa;      /* selector; unset: none registered */
	struct ip_addr former_coa;            /* selector in the grace time; unset: none */
	uint64_t grace_until_ns;              /* CLOCK_MONOTONIC; former_coa selects until then */
	/* atomic: set once, by the worker that sends first on this path (0: not yet), ns monotonic
	 */
	_Atomic(uint64_t) first_tx_ns;
	_Atomic(uint64_t) rrp_tx_ns;
	/* const again */
	_Alignas(64) uint64_t generation; /* the home agent's; for show and time stamps */
	struct path_outer *second;        /* PATH_BICAST: to the former end; else NULL */
	struct ip_endpoint local, remote; /* tunnel ends of outer */
	/* atomic; workers take from it, control adds. PATH_ON_CREDIT: bytes of outer packets that
	 * may go out */
	_Atomic(uint32_t) credit;
};
static_assert(sizeof(struct path) == 192, "three lines, two of them for packets");

/* Fills a header in place. False: families differ, an address that cannot be a tunnel's end, or one
 * port without the other. */
bool path_outer_init(struct path_outer *outer, const struct ip_endpoint *local,
	const struct ip_endpoint *remote);

struct path_params {
	struct ip_endpoint local, remote; /* ports 0: plain ESP; both set: in UDP */
	struct ip_addr coa;
	struct ip_addr former_coa;
	uint64_t grace_until_ns;
	uint64_t generation;
	uint64_t first_tx_ns, rrp_tx_ns; /* of the path that this one goes on with; 0: a new one */
	struct ip_endpoint second; /* a further remote end in the grace time; unset: none. Who owns
				    * the path makes the header for it: path_init() does not. */
	uint32_t credit;
	uint16_t mtu;
	uint8_t flags;
};

/* Fills a path in place (memory: see alignof(struct path)). False: families differ, an address that
 * cannot be a tunnel's end, or one port without the other; *path is then undefined. */
bool path_init(struct path *path, const struct path_params *params);

/* Is dst a selector of this path at now_ns? */
static inline bool path_selects(const struct path *path, const struct ip_addr *dst, uint64_t now_ns)
{
	return ip_addr_equal(&path->coa, dst) ||
	       (ip_addr_equal(&path->former_coa, dst) && now_ns < path->grace_until_ns);
}
#endif
