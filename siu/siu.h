/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_SIU_H
#define SIU_SIU_H
/*
 * Security Information Update: what a home agent and a gateway say to each other. Types, codes and
 * limits; the wire format is specified in siu/README.md and coded in codec.c.
 *
 * Values only; any thread. Addresses are family-neutral; numbers in these structs are host order.
 * Pointers in decoded messages point into the datagram.
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIU_PORT_DEFAULT 4340 /* UDP; configurable */
#define SIU_VERSION 1
#define SIU_TTL 255           /* of all that is sent: tells neighbours from others, RFC 5082 */
#define SIU_DATAGRAM_MAX 1400 /* bytes of UDP payload */
#define SIU_TAG_BYTES 16      /* HMAC-SHA-256 truncated to 128 bits */
#define SIU_RRP_MAX 512       /* bytes of IP datagram */
#define SIU_KEY_MIN 16
#define SIU_KEY_MAX 64

enum siu_type {
	SIU_HELLO = 1,
	SIU_UPDATE = 2,
	SIU_ACK = 3,
	SIU_RRQ_SEEN = 4,
	SIU_EVENT = 5,
	SIU_SYNC = 6,
};

enum siu_update_flag {
	SIU_REPLY_ONLY = 1u << 0,  /* send the RRP to where that RRQ came from; touch nothing */
	SIU_DEREGISTER = 1u << 1,  /* lifetime 0: close the path */
	SIU_PROVISIONAL = 1u << 2, /* reserved */
	SIU_BICAST = 1u << 3,      /* reserved */
};

enum siu_result { /* per entry, in an ACK */
	SIU_RESULT_OK = 0,
	SIU_RESULT_OK_PROVISIONAL = 1,
	SIU_RESULT_OK_STATE_DIFFERED =
		2,                /* applied; the former CoA was not what the home agent thought */
	SIU_RESULT_DUPLICATE = 3, /* same generation: nothing changed, answered again */
	SIU_RESULT_STALE = 4,     /* older generation: refused, what is in force is attached */
	SIU_RESULT_BAD_VERSION = 64,
	SIU_RESULT_MALFORMED = 65,
	SIU_RESULT_UNKNOWN_TLV = 66,
	SIU_RESULT_NO_SA = 128,
	SIU_RESULT_NOT_AUTHORISED = 129,
	SIU_RESULT_NO_RESOURCES = 130, /* nothing changed; retransmit */
	SIU_RESULT_BAD_COA = 131,
	SIU_RESULT_COA_NOT_OBSERVED = 132,
	SIU_RESULT_SA_EXPIRED = 133,
	SIU_RESULT_RATE_LIMITED = 134, /* nothing changed; retransmit later */
	SIU_RESULT_NO_ROUTE = 135,
	SIU_RESULT_BAD_RRP = 139, /* the RRP inside is none: nothing changed */
	SIU_RESULT_FAMILY_UNSUPPORTED = 137,
	SIU_RESULT_RESYNC_NEEDED = 138,
};
const char *siu_result_name(enum siu_result result); /* "not_authorised"; never NULL */
static inline bool siu_result_is_final(enum siu_result result)
{
	return result != SIU_RESULT_NO_RESOURCES && result != SIU_RESULT_RATE_LIMITED;
}
static inline bool siu_result_is_good(enum siu_result result)
{
	return result <= SIU_RESULT_DUPLICATE;
}

struct siu_update {              /* one entry of an UPDATE */
	uint32_t node;           /* gateway's handle for the node; 0: unknown, use home_address */
	uint16_t lifetime_s;     /* 0 with SIU_DEREGISTER */
	uint16_t flags;          /* enum siu_update_flag */
	uint64_t generation;     /* the home agent's durable counter for this binding */
	uint64_t identification; /* of the RRQ: REPLY_ONLY finds the endpoint by it; time stamps */
	struct ip_addr home_address;
	struct ip_addr former_coa; /* unset: none */
	struct ip_addr new_coa; /* SIU_REPLY_ONLY: as the RRQ says; may be unset: SIU_DEREGISTER */
	const uint8_t *rrp;     /* whole IP datagram, or NULL */
	size_t rrp_len;
};

struct siu_ack_entry {
	uint32_t node; /* gateway's handle; 0: none */
	enum siu_result result;
	uint64_t generation; /* of the entry that is answered */
	uint64_t in_force;   /* generation in force after it; 0: none */
	struct ip_addr home_address;
	struct ip_addr coa;    /* in force; unset: none */
	uint16_t update_flags; /* of the answered entry: tells a REPLY_ONLY answer apart */
};

struct siu_rrq_seen {
	uint32_t node;
	uint64_t identification;
	struct ip_addr home_address;
	struct ip_addr coa;          /* as the RRQ says */
	struct ip_endpoint observed; /* outer source of the ESP packet (port 0: not UDP) */
};

enum siu_event_kind {
	SIU_EVENT_SA_EXPIRED = 1,
	SIU_EVENT_ENDPOINT_CHANGED = 2,
	SIU_EVENT_UNANSWERED = 3, /* the node has not shown that it is where it registered */
};
struct siu_event {
	enum siu_event_kind kind;
	uint32_t node;
	struct ip_addr home_address;
	struct ip_endpoint observed;
};

/* An RRP inside an UPDATE must be a whole IPv4 datagram: from that home agent, UDP source port 434
 * to the entry's new CoA (REPLY_ONLY: that is the CoA label of the RRQ; DEREGISTER without a new
 * CoA: to the former CoA), registration reply for this home address, not a fragment, good
 * checksums, at most SIU_RRP_MAX bytes. Anything else would be an injection channel. */
bool siu_rrp_acceptable(const struct siu_update *update, const struct ip_addr *home_agent);
#endif
