/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_COUNTERS_H
#define CONTROL_HA_COUNTERS_H
/*
 * What the home agent counts: why a registration or a packet went no further, and what went well.
 *
 * Owner and thread: one set, made by main.c, written by the control thread alone.
 */
#include <stdint.h>

enum ha_counter {
	/* registrations discarded silently, RFC 5944 sections 3.8.2.1 and 1.8 */
	HA_RRQ_MALFORMED,
	HA_RRQ_NO_ASSOCIATION,
	HA_RRQ_NO_AUTHENTICATOR,
	HA_RRQ_LIMITED, /* an answer was due, but this node had its share */
	/* registrations denied, by code */
	HA_RRQ_BAD_AUTHENTICATOR,
	HA_RRQ_ID_MISMATCH,
	HA_RRQ_CLOCK_BEHIND, /* its highest one is ahead of our clock: that was set back */
	HA_RRQ_POORLY_FORMED,
	HA_RRQ_UNKNOWN_HA,
	HA_RRQ_NOT_COLOCATED,
	HA_RRQ_BAD_COA,
	HA_RRQ_SOURCE_NOT_COA,
	HA_RRQ_ENCAPSULATION,
	HA_RRQ_TOO_MANY, /* good ones, faster than a node moves */
	HA_RRQ_NO_RESOURCES,
	HA_RRQ_GATEWAY_REFUSED,
	/* registrations that were good */
	HA_RRQ_ACCEPTED,
	HA_RRQ_DUPLICATE,
	HA_BINDING_EXPIRED,
	/* packets for and from nodes */
	HA_TUNNEL_OUT,
	HA_TUNNEL_IN,
	HA_TUNNEL_NO_BINDING,
	HA_TUNNEL_LOOP,
	HA_TUNNEL_MALFORMED,
	HA_TUNNEL_TOO_BIG,
	HA_TUNNEL_SEND_FAILED,
	HA_TUNNEL_BAD_OUTER,
	HA_TUNNEL_BAD_INNER,
	HA_TUNNEL_CONGESTED,
	/* SIU, beside the counters of each association */
	HA_SIU_UNKNOWN_PEER,
	HA_SIU_NOT_ATTACHED, /* TTL below 255 from one that is directly attached */
	HA_SIU_UNKNOWN_NODE,
	HA_SIU_NOT_ITS_NODE, /* RRQ_SEEN of a gateway that the node has not */
	HA_SIU_SUPERSEDED,
	HA_SIU_REFUSED,
	HA_SIU_SEND_FAILED,
	HA_STORE_FAILED,
	HA_CLOCK_SET, /* our clock, by a second or more */
	HA_COUNTERS
};

struct ha_counters {
	uint64_t n[HA_COUNTERS];
};

const char *ha_counter_name(enum ha_counter counter); /* "rrq_malformed" */
#endif
