/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_NODE_H
#define DATAPLANE_NODE_H
/*
 * A mobile node as the packet path sees it: its SAs and the one pointer that says where it is.
 *
 * Owner:    control/gw/tunnel.c, through dataplane.h.
 * Threads:  workers read; the control thread writes.
 * Lifetime: unlink from the SAD, wait for the grace period, free.
 * Sources:  the source document, steps 22 to 27; RFC 4301 section 4.4.2.
 */
#include "dataplane/esp/path.h"
#include "dataplane/esp/sa.h"

#define NODE_INBOUND_MAX 4 /* make-before-break rekeying needs 2 */
#define NODE_NAME_MAX 32

enum node_flag {
	NODE_STRICT_INNER_SOURCE = 1u << 0, /* default on */
	NODE_ALLOW_NAT = 1u << 1,
	NODE_BICAST = 1u << 2,
	NODE_PROVISIONAL = 1u << 3,
	NODE_STRICT_OUTER_SOURCE = 1u << 4, /* default on; control's */
	NODE_RETURN_ROUTABILITY = 1u << 5,  /* it may answer challenges */
};

#define NODE_TFC_PAD_MAX 9000
#define NODE_TFC_DUMMIES_MAX 1000

/* Against traffic analysis; zeros: nothing is done. */
struct node_tfc {
	uint16_t pad;     /* packets to it are filled up to a multiple of so many bytes: tfc.h */
	uint16_t dummies; /* dummy packets to it a second; control sends them */
};

struct node { /* its first line is what packets need */
	/* RCU: replaced whole, never NULL (a closed path has PATH_CLOSED). Store: release, by
	 * control. Load: acquire, once per packet or burst. */
	_Alignas(SA_CACHE_LINE) _Atomic(struct path *) path;
	/* RCU: which outbound SA is used */
	_Atomic(struct sa_out *) sa_out;
	/* const after init */
	struct ip_addr home_address;
	be32_t home_agent;            /* who tunnels to this node in IPv4 ... */
	const uint8_t *home_agent_v6; /* ... and in IPv6; zeros: nobody */
	uint32_t handle;              /* index into the gateway's table, 1.. */
	uint32_t flags;               /* enum node_flag */
	/* atomic: when control last heard of another port, ms; any worker, seldom: nat.c */
	_Atomic(uint32_t) port_told_ms;
	struct node_tfc tfc; /* const after init */
	/* atomic: registrations let through, tokens for the limit; any worker */
	_Alignas(SA_CACHE_LINE) _Atomic(uint64_t) registration_at_ns;
	struct rcu_link link; /* sad.c */
	/* control only */
	struct sa_out *sa_out_next;
	struct sa_in *sa_in[NODE_INBOUND_MAX];
	uint64_t grace_until_ns; /* of the claim on the former address; 0: none */
};

/* Thread: control. NULL: it has no such SA. */
static inline struct sa_in *node_sa_in(const struct node *node, uint32_t spi)
{
	for (unsigned i = 0; i < NODE_INBOUND_MAX; i++)
		if (node->sa_in[i] != NULL && node->sa_in[i]->spi == spi)
			return node->sa_in[i];
	return NULL;
}

static inline struct sa_out *node_sa_out(const struct node *node, uint32_t spi)
{
	struct sa_out *current = atomic_load_explicit(&node->sa_out, memory_order_relaxed);

	if (current != NULL && current->spi == spi)
		return current;
	return node->sa_out_next != NULL && node->sa_out_next->spi == spi ? node->sa_out_next
									  : NULL;
}
#endif
