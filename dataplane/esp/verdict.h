/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_VERDICT_H
#define DATAPLANE_ESP_VERDICT_H
/*
 * What became of a packet: every packet ends in exactly one of these, and each is a counter.
 *
 * Values and texts only; any thread. The text is what roamctl and the JSON show; names are stable.
 * Sources: RFC 4303 section 3.4 and RFC 4301 sections 4.4.1 and 5 (auditable events).
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

enum verdict {
	VERDICT_OK = 0, /* goes on; once out of the last step: forwarded */
	VERDICT_PUNTED, /* handed to the control thread (to us, ARP, registration, unresolved) */
	/* classification, both directions */
	VERDICT_RUNT,           /* shorter than its own headers say */
	VERDICT_NOT_IP,         /* ethertype that we do not speak */
	VERDICT_VLAN,           /* tag of another VLAN than the port's, or none, or one too many */
	VERDICT_BAD_HEADER,     /* version, lengths, checksum; those of UDP port 4500 too */
	VERDICT_BAD_ADDRESS,    /* source or destination that must not be forwarded */
	VERDICT_SOURCE_ROUTE,   /* option of IPv4 that says which way to go (RFC 7126 4.3, 4.4) */
	VERDICT_FRAGMENT,       /* fragment where a whole packet is needed */
	VERDICT_HELD,           /* fragment that waits for the others of its packet */
	VERDICT_FRAGMENT_LIMIT, /* more fragments from one source than the limit */
	VERDICT_MULTI_SEGMENT,  /* frame in several mbuf segments, too long for one */
	VERDICT_NOT_FOR_US,     /* public side, neither ESP nor to our address */
	VERDICT_KEEPALIVE,      /* a NAT keepalive: does its work on the way here (RFC 3948 2.3) */
	VERDICT_TTL,            /* TTL used up */
	VERDICT_EXPIRED,        /* the SA's lifetime is over, both directions */
	VERDICT_POLICY,         /* a rule of the operator's discards it */
	/* inbound SA */
	VERDICT_NO_SA_IN, /* no SA for SPI and source */
	VERDICT_REPLAY,   /* seen before, or left of the window */
	VERDICT_BAD_ESP,  /* length, alignment, IV */
	VERDICT_BAD_ICV,
	VERDICT_SHED,        /* before its tag was checked: too many wrong ones (shed.h, guard.h) */
	VERDICT_BAD_PADDING, /* padding bytes, pad length, next header */
	VERDICT_DUMMY,       /* next header 59: valid, nothing inside (RFC 4303 2.6) */
	VERDICT_ECN,         /* congestion mark on a packet that cannot carry it (RFC 6040 4.2) */
	VERDICT_INNER_SOURCE, /* not an address of this node */
	VERDICT_REGISTRATION, /* UDP 434 that is not this node's own, well-formed request */
	VERDICT_RATE_LIMITED,
	/* outbound SA */
	VERDICT_NO_SA_OUT, /* private traffic that no SA protects: never in clear */
	VERDICT_SELECTOR,  /* the destination is neither the node's CoA nor its former one in grace
			    */
	VERDICT_AMBIGUOUS_COA, /* several nodes own this CoA label */
	VERDICT_NO_PATH,       /* node known, no CoA registered */
	VERDICT_TOO_BIG,       /* does not fit the path's MTU after encapsulation */
	VERDICT_FRAGMENTED,    /* cut into pieces, which count as the gateway's own packets */
	VERDICT_NO_CREDIT,     /* the path is not confirmed yet, and its credit is spent */
	VERDICT_SEQ_EXHAUSTED,
	VERDICT_IV_EXHAUSTED,
	VERDICT_NO_ROOM, /* no headroom or tailroom in the buffer */
	/* forwarding */
	VERDICT_NO_ROUTE,
	VERDICT_NO_NEIGHBOUR, /* queue for the unresolved neighbour is full, or it failed */
	VERDICT_PUNT_FULL,    /* ring to the control thread is full */
	VERDICT_TX_FULL,      /* the port took no more */
	VERDICT_COUNT
};

/* Is it one of the events that RFC 4301 and 4303 want in an audit log? */
static inline bool verdict_is_audited(enum verdict verdict)
{
	const uint64_t audited = UINT64_C(1) << VERDICT_NO_SA_IN | UINT64_C(1) << VERDICT_REPLAY |
				 UINT64_C(1) << VERDICT_BAD_ESP | UINT64_C(1) << VERDICT_BAD_ICV |
				 UINT64_C(1) << VERDICT_SHED | UINT64_C(1) << VERDICT_BAD_PADDING |
				 UINT64_C(1) << VERDICT_ECN | UINT64_C(1) << VERDICT_INNER_SOURCE |
				 UINT64_C(1) << VERDICT_EXPIRED | UINT64_C(1) << VERDICT_NO_SA_OUT |
				 UINT64_C(1) << VERDICT_SELECTOR |
				 UINT64_C(1) << VERDICT_SEQ_EXHAUSTED |
				 UINT64_C(1) << VERDICT_IV_EXHAUSTED |
				 UINT64_C(1) << VERDICT_POLICY;

	static_assert(VERDICT_COUNT <= 64, "a bit for each");
	return (audited >> verdict & 1) != 0;
}

const char *verdict_name(enum verdict verdict); /* "bad_icv"; never NULL */
const char *verdict_text(enum verdict verdict); /* one sentence for the operator */
#endif
