/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_PKT_H
#define DATAPLANE_PKT_H
/*
 * Packets in the hands of a worker: a burst is a set of parallel arrays, one place a packet, and a
 * step of a path handles every place whose verdict is still VERDICT_OK.
 *
 * Owner:    the worker whose scratch it is. Threads: that worker only; pkt_meta travels with its
 *           mbuf through a ring and belongs to whoever holds the mbuf.
 */
#include "dataplane/dataplane.h"
#include "dataplane/esp/esp.h"

#include <rte_ether.h>
#include <rte_mbuf.h>

#include <assert.h>

#define PKT_BURST_MAX 32
static_assert(PKT_BURST_MAX <= ESP_BURST_MAX, "a burst goes through the crypto engine as one");

/* What one of our threads tells another about a packet; in the private area of the mbuf. */
enum inject_kind {
	INJECT_FRAME,   /* whole Ethernet frame for port */
	INJECT_INSIDE,  /* IP datagram, routed towards the inside */
	INJECT_TO_NODE, /* IP datagram for node, by its SA and path */
	INJECT_ONCE,    /* the same, to remote instead of the path's endpoint */
	INJECT_KEPT,    /* IP packet for next_hop on port, which was unresolved */
};
struct pkt_meta {
	uint8_t kind; /* enum punt_reason from a worker, enum inject_kind to one */
	uint8_t port; /* enum dp_port */
	bool stamp;   /* INJECT_TO_NODE: note the time in path->rrp_tx_ns */
	uint32_t node;
	uint64_t rx_ns;
	struct ip_endpoint remote; /* PUNT_REGISTRATION: observed; INJECT_ONCE: where to */
	struct ip_addr next_hop;
	uint16_t mtu;  /* PUNT_ERROR */
	uint8_t error; /* PUNT_ERROR: enum punt_error */
};
#define PKT_META_BYTES \
	((sizeof(struct pkt_meta) + RTE_MBUF_PRIV_ALIGN - 1) & ~(size_t)(RTE_MBUF_PRIV_ALIGN - 1))

struct received { /* a burst as the device gave it */
	unsigned n;
	struct rte_mbuf *mbufs[PKT_BURST_MAX];
};

struct neigh;

struct burst {
	unsigned n;
	uint64_t now_ns; /* monotonic, when the burst was received */
	struct rte_mbuf *mbufs[PKT_BURST_MAX];
	enum verdict verdicts[PKT_BURST_MAX];
	/* The IP packet that the step at work looks at: outer, then inner, or the other way round.
	 * From the frame step on: the Ethernet frame. */
	struct esp_pkt pkts[PKT_BURST_MAX];
	struct node *nodes[PKT_BURST_MAX];
	union {
		struct sa_in *in[PKT_BURST_MAX];
		struct sa_out *out[PKT_BURST_MAX];
	} sas;
	const struct path *paths[PKT_BURST_MAX];
	uint16_t outer_ports[PKT_BURST_MAX]; /* in: source port, where in_udp has the bit */
	uint32_t in_udp;                     /* in: bit i: that ESP packet came in UDP */
	uint32_t others;    /* in: bit i: an IP packet of VERDICT_NOT_FOR_US, if there are rules */
	uint32_t tunnelled; /* out: bit i: a home agent's tunnel */
	uint8_t punts[PKT_BURST_MAX]; /* VERDICT_PUNTED: enum punt_reason */
	const struct received *ahead; /* what comes next */
	uint32_t ahead_at; /* from a mbuf to the first line of its frame that this path touches */
};

/* A received packet is in no near cache, and asking for a whole burst at once would stop the
 * processor: each step that passes place i asks for one line of the packet that will be there next.
 * Where the frame lies is a guess: a device may have put it elsewhere, at no harm. */
static inline void ahead_mbuf(const struct burst *b, unsigned i)
{
	if (i < b->ahead->n)
		__builtin_prefetch(b->ahead->mbufs[i], 1);
}

static inline void ahead_frame(const struct burst *b, unsigned i, unsigned line)
{
	if (i < b->ahead->n)
		__builtin_prefetch((const uint8_t *)b->ahead->mbufs[i] + b->ahead_at +
					   line * RTE_CACHE_LINE_SIZE,
			1);
}

#define PKT_FRAME_AT (sizeof(struct rte_mbuf) + PKT_META_BYTES + RTE_PKTMBUF_HEADROOM)

static inline void burst_begin(struct burst *b, const struct received *now,
	const struct received *ahead, uint32_t ahead_at)
{
	b->n = now->n;
	memcpy(b->mbufs, now->mbufs, now->n * sizeof *now->mbufs);
	b->ahead = ahead;
	b->ahead_at = ahead_at;
}

static inline struct pkt_meta *pkt_meta(struct rte_mbuf *mbuf)
{
	return rte_mbuf_to_priv(mbuf);
}

/* The view of a mbuf whose first skip bytes are behind us. Field by field: a struct that is built
 * and copied costs a stall, since the copy loads wider than the fields were stored. */
static inline void pkt_view(struct esp_pkt *pkt, const struct rte_mbuf *mbuf, uint16_t skip)
{
	pkt->data = rte_pktmbuf_mtod_offset(mbuf, uint8_t *, skip);
	pkt->len = mbuf->data_len - (uint32_t)skip;
	pkt->headroom = (uint16_t)(mbuf->data_off + skip);
	pkt->tailroom = rte_pktmbuf_tailroom(mbuf);
	pkt->l2_bytes = (uint8_t)skip;
	pkt->beyond_mtu = false;
}

/* Outer header of a packet that came in by the outside: it stands where it came in, whatever became
 * of the view. */
static inline const uint8_t *pkt_outer(const struct burst *b, unsigned i)
{
	return rte_pktmbuf_mtod_offset(b->mbufs[i], const uint8_t *, b->pkts[i].l2_bytes);
}

/* Makes the mbuf begin and end where the view does. */
static inline void pkt_commit(struct rte_mbuf *mbuf, const struct esp_pkt *pkt)
{
	mbuf->data_off = (uint16_t)(pkt->data - (uint8_t *)mbuf->buf_addr);
	mbuf->data_len = (uint16_t)pkt->len;
	mbuf->pkt_len = pkt->len;
}

static inline void burst_drop(struct burst *b, unsigned i, enum verdict verdict)
{
	b->verdicts[i] = verdict;
}

static inline void burst_punt(struct burst *b, unsigned i, enum punt_reason reason)
{
	b->verdicts[i] = VERDICT_PUNTED;
	b->punts[i] = (uint8_t)reason;
}
#endif
