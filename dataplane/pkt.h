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
};
#define PKT_META_BYTES \
	((sizeof(struct pkt_meta) + RTE_MBUF_PRIV_ALIGN - 1) & ~(size_t)(RTE_MBUF_PRIV_ALIGN - 1))

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
	be32_t next_hops[PKT_BURST_MAX];
	be32_t outer_src[PKT_BURST_MAX]; /* in: where the ESP packet came from */
	uint8_t punts[PKT_BURST_MAX];    /* VERDICT_PUNTED: enum punt_reason */
};

static inline struct pkt_meta *pkt_meta(struct rte_mbuf *mbuf)
{
	return rte_mbuf_to_priv(mbuf);
}

/* The view of a mbuf whose first skip bytes are behind us. */
static inline struct esp_pkt pkt_view(const struct rte_mbuf *mbuf, uint16_t skip)
{
	return (struct esp_pkt){
		.data = rte_pktmbuf_mtod_offset(mbuf, uint8_t *, skip),
		.len = mbuf->data_len - (uint32_t)skip,
		.headroom = (uint16_t)(mbuf->data_off + skip),
		.tailroom = rte_pktmbuf_tailroom(mbuf),
		.l2_bytes = (uint8_t)skip,
		.segments = (uint8_t)mbuf->nb_segs,
	};
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
