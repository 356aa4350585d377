/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: successive packets of a burst mostly go the same way, so a route is looked up
 * when the destination differs from that of the packet before, and an Ethernet header is made when
 * the neighbour does. Good packets end up in one array for
 * the port, punted ones in a ring, all others are freed; what the port or the ring does not take
 * changes its verdict.
 */
#include "dataplane/forward.h"

#include "dataplane/aftermath.h"
#include "dataplane/ip4.h"
#include "dataplane/state.h"

#define ETHERTYPE_IPV4 0x0800u

struct link_header { /* of the last neighbour that was asked for */
	const struct neigh *neigh;
	uint8_t bytes[RTE_ETHER_HDR_LEN];
};

/* False: the MAC is not known. */
static bool link_header_to(const struct worker *worker, struct neigh *neigh, enum dp_port port,
	struct link_header *out)
{
	uint8_t mac[6];

	if (!neigh_mac(neigh, mac))
		return false;
	neigh_touch(neigh);
	out->neigh = neigh;
	memcpy(out->bytes, mac, sizeof mac);
	memcpy(out->bytes + 6, worker->dp->ports[port].mac, 6);
	wire_store_u16(out->bytes + 12, ETHERTYPE_IPV4);
	return true;
}

static inline void put_header(struct burst *b, unsigned i, const struct link_header *header)
{
	struct esp_pkt *pkt = &b->pkts[i];

	if (pkt->headroom < RTE_ETHER_HDR_LEN) {
		burst_drop(b, i, VERDICT_NO_ROOM);
		return;
	}
	pkt->data -= RTE_ETHER_HDR_LEN;
	pkt->len += RTE_ETHER_HDR_LEN;
	pkt->headroom = (uint16_t)(pkt->headroom - RTE_ETHER_HDR_LEN);
	memcpy(pkt->data, header->bytes, sizeof header->bytes);
}

bool forward_frame(
	struct worker *worker, struct burst *b, unsigned i, struct neigh *neigh, enum dp_port port)
{
	struct link_header header;

	if (neigh == NULL || !link_header_to(worker, neigh, port, &header))
		return false;
	put_header(b, i, &header);
	return true;
}

struct way { /* what the last lookups gave; hop and neighbour may be NULL */
	be32_t dst;
	const struct hop *hop;
	struct neigh *neigh;
	struct link_header header;
};

static inline void route_one(
	struct worker *worker, struct burst *b, unsigned i, enum dp_port port, struct way *way)
{
	const struct dataplane *dp = worker->dp;
	be32_t dst = b->next_hops[i];

	if (dst != way->dst) {
		way->dst = dst;
		way->hop = route_lookup(&dp->routes, dst);
		way->neigh = way->hop == NULL        ? NULL
			     : way->hop->via != NULL ? way->hop->via
						     : neigh_lookup(&dp->neighs, port, dst);
	}
	if (way->hop == NULL || way->hop->port != port) {
		burst_drop(b, i, VERDICT_NO_ROUTE);
	} else if (way->neigh != NULL &&
		   (way->header.neigh == way->neigh ||
			   link_header_to(worker, way->neigh, port, &way->header))) {
		put_header(b, i, &way->header);
	} else {
		if (way->hop->via != NULL)
			b->next_hops[i] = way->hop->via_addr;
		burst_punt(b, i, PUNT_UNRESOLVED);
	}
}

void forward_route_one(struct worker *worker, struct burst *b, unsigned i, enum dp_port port)
{
	struct way way = {0};

	route_one(worker, b, i, port, &way);
}

void forward_route(struct worker *worker, struct burst *b, enum dp_port port)
{
	struct way way = {0}; /* 0.0.0.0 is no destination that comes so far */

	for (unsigned i = 0; i < b->n; i++) {
		ahead_frame(b, i, 1);
		if (b->verdicts[i] == VERDICT_OK)
			route_one(worker, b, i, port, &way);
	}
}

static void count(struct verdict_cells *cells, enum verdict verdict, uint64_t n)
{
	_Atomic(uint64_t) *cell = &cells->n[verdict];

	/* One writer: no locked instruction is needed. */
	atomic_store_explicit(
		cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}

static bool punt(
	struct worker *worker, struct burst *b, unsigned i, enum dp_port came_in, enum dp_port port)
{
	struct rte_mbuf *mbuf = b->mbufs[i];
	struct pkt_meta *meta = pkt_meta(mbuf);

	*meta = (struct pkt_meta){
		.kind = b->punts[i], .port = (uint8_t)came_in, .rx_ns = b->now_ns};
	switch ((enum punt_reason)b->punts[i]) {
	case PUNT_FRAME:
		break; /* as it came in */
	case PUNT_REGISTRATION:
		meta->node = b->nodes[i]->handle;
		meta->remote.addr = ip_addr_from_v4(b->outer_src[i]);
		if (b->in_udp >> i & 1)
			meta->remote.port = b->outer_ports[i];
		pkt_commit(mbuf, &b->pkts[i]);
		break;
	case PUNT_UNRESOLVED:
		meta->port = (uint8_t)port;
		meta->next_hop = ip_addr_from_v4(b->next_hops[i]);
		pkt_commit(mbuf, &b->pkts[i]);
		break;
	case PUNT_ERROR:
		break; /* aftermath.c: not by a verdict */
	}
	return punt_push(&worker->rings, mbuf);
}

void forward_finish(struct worker *worker, struct burst *b, enum dp_port came_in, enum dp_port port,
	struct verdict_cells *cells)
{
	struct port *out = &worker->dp->ports[port];
	struct rte_mbuf *good[PKT_BURST_MAX];
	uint8_t good_at[PKT_BURST_MAX];
	unsigned n_good = 0, sent;

	for (unsigned i = 0; i < b->n; i++) {
		ahead_frame(b, i, 2);
		if (b->verdicts[i] == VERDICT_OK && b->pkts[i].len > out->frame_max)
			aftermath_frame_too_big(b, i, port);
		if (b->verdicts[i] == VERDICT_OK) {
			pkt_commit(b->mbufs[i], &b->pkts[i]);
			good[n_good] = b->mbufs[i];
			good_at[n_good++] = (uint8_t)i;
			continue;
		}
		if (b->verdicts[i] == VERDICT_PUNTED && !punt(worker, b, i, came_in, port))
			burst_drop(b, i, VERDICT_PUNT_FULL);
		if (verdict_is_audited(b->verdicts[i]))
			audit_note(&worker->audit, b, i, came_in);
		if (b->verdicts[i] != VERDICT_PUNTED && !aftermath(worker, b, i, came_in, port))
			rte_pktmbuf_free(b->mbufs[i]);
		count(cells, b->verdicts[i], 1);
	}
	sent = n_good == 0 ? 0 : port_tx(out, worker->id, good, n_good);
	if (sent != 0)
		count(cells, VERDICT_OK, sent);
	for (unsigned j = sent; j < n_good; j++) {
		burst_drop(b, good_at[j], VERDICT_TX_FULL);
		rte_pktmbuf_free(good[j]);
		count(cells, VERDICT_TX_FULL, 1);
	}
}
