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
#include "dataplane/shed.h"
#include "dataplane/state.h"

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu
#define LINK_HEADER_MAX (RTE_ETHER_HDR_LEN + VLAN_TAG_BYTES)
#define MACS_BYTES 12 /* what stands before a tag */

struct link_header { /* of the last neighbour that was asked for */
	const struct neigh *neigh;
	uint8_t bytes[LINK_HEADER_MAX];
};

/* False: the MAC is not known. */
static bool link_header_to(
	const struct port *port, struct neigh *neigh, uint16_t ethertype, struct link_header *out)
{
	uint8_t mac[6];

	if (!neigh_mac(neigh, mac))
		return false;
	neigh_touch(neigh);
	out->neigh = neigh;
	memcpy(out->bytes, mac, sizeof mac);
	memcpy(out->bytes + 6, port->mac, 6);
	if (port->vlan != 0) {
		wire_store_u16(out->bytes + MACS_BYTES, VLAN_ETHERTYPE);
		wire_store_u16(out->bytes + MACS_BYTES + 2, port->vlan);
	}
	wire_store_u16(out->bytes + port->l2_bytes - 2, ethertype);
	return true;
}

static inline void put_header(
	struct burst *b, unsigned i, const struct link_header *header, uint16_t bytes)
{
	struct esp_pkt *pkt = &b->pkts[i];

	if (pkt->headroom < bytes) {
		burst_drop(b, i, VERDICT_NO_ROOM);
		return;
	}
	pkt->data -= bytes;
	pkt->len += bytes;
	pkt->headroom = (uint16_t)(pkt->headroom - bytes);
	if (__builtin_expect(bytes == RTE_ETHER_HDR_LEN, 1))
		memcpy(pkt->data, header->bytes, RTE_ETHER_HDR_LEN);
	else
		memcpy(pkt->data, header->bytes, LINK_HEADER_MAX);
}

bool forward_frame(
	struct worker *worker, struct burst *b, unsigned i, struct neigh *neigh, enum dp_port port)
{
	const struct port *out = &worker->dp->ports[port];
	struct link_header header;
	const uint16_t ethertype = ip_is_v6(b->pkts[i].data) ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;

	if (neigh == NULL || !link_header_to(out, neigh, ethertype, &header))
		return false;
	put_header(b, i, &header, out->l2_bytes);
	return true;
}

void forward_tag(struct worker *worker, struct burst *b, unsigned i, enum dp_port port)
{
	const uint16_t vlan = worker->dp->ports[port].vlan;
	struct esp_pkt *pkt = &b->pkts[i];

	if (vlan == 0)
		return;
	if (pkt->len < RTE_ETHER_HDR_LEN || pkt->headroom < VLAN_TAG_BYTES) {
		burst_drop(b, i, VERDICT_NO_ROOM);
		return;
	}
	pkt->data -= VLAN_TAG_BYTES;
	pkt->len += VLAN_TAG_BYTES;
	pkt->headroom = (uint16_t)(pkt->headroom - VLAN_TAG_BYTES);
	memmove(pkt->data, pkt->data + VLAN_TAG_BYTES, MACS_BYTES);
	wire_store_u16(pkt->data + MACS_BYTES, VLAN_ETHERTYPE);
	wire_store_u16(pkt->data + MACS_BYTES + 2, vlan);
}

/* For Linux, which has no part in the tag. */
static void untag(const struct port *port, struct rte_mbuf *mbuf)
{
	uint8_t *frame = rte_pktmbuf_mtod(mbuf, uint8_t *);

	if (port->vlan == 0)
		return;
	memmove(frame + VLAN_TAG_BYTES, frame, MACS_BYTES);
	rte_pktmbuf_adj(mbuf, VLAN_TAG_BYTES);
}

struct way { /* what the last lookups of a family gave; hop and neighbour may be NULL */
	const uint8_t *dst_v6; /* NULL: none yet */
	be32_t dst;
	const struct hop *hop;
	struct neigh *neigh;
	struct link_header header;
};

static inline void find_way(
	const struct dataplane *dp, const uint8_t *ip, enum dp_port port, struct way *way)
{
	const be32_t dst = ip4_dst(ip);

	if (dst == way->dst)
		return;
	way->dst = dst;
	way->hop = route_lookup(&dp->routes, dst);
	way->neigh = way->hop == NULL        ? NULL
		     : way->hop->via != NULL ? way->hop->via
					     : neigh_lookup(&dp->neighs, port, dst);
}

static void find_way_v6(
	const struct dataplane *dp, const uint8_t *ip, enum dp_port port, struct way *way)
{
	const uint8_t *dst = ip6_dst(ip);

	if (way->dst_v6 != NULL && ip6_equal(dst, way->dst_v6))
		return;
	way->dst_v6 = dst;
	way->hop = route_lookup_v6(&dp->routes, dst);
	way->neigh = way->hop == NULL        ? NULL
		     : way->hop->via != NULL ? way->hop->via
					     : neigh_lookup_v6(&dp->neighs, port, dst);
}

static inline void go(struct worker *worker, struct burst *b, unsigned i, enum dp_port port,
	struct way *way, uint16_t ethertype)
{
	const struct port *out = &worker->dp->ports[port];

	if (way->hop == NULL || way->hop->port != port)
		burst_drop(b, i, VERDICT_NO_ROUTE);
	else if (way->neigh != NULL &&
		 (way->header.neigh == way->neigh ||
			 link_header_to(out, way->neigh, ethertype, &way->header)))
		put_header(b, i, &way->header, out->l2_bytes);
	else
		burst_punt(b, i, PUNT_UNRESOLVED);
}

struct ways { /* 0.0.0.0 is no destination that comes so far */
	struct way v4, v6;
};

static IP_V6_ONLY void route_one_v6(
	struct worker *worker, struct burst *b, unsigned i, enum dp_port port, struct way *way)
{
	find_way_v6(worker->dp, b->pkts[i].data, port, way);
	go(worker, b, i, port, way, ETHERTYPE_IPV6);
}

static inline void route_one(
	struct worker *worker, struct burst *b, unsigned i, enum dp_port port, struct ways *ways)
{
	const uint8_t *ip = b->pkts[i].data;

	if (ip_is_v6(ip)) {
		route_one_v6(worker, b, i, port, &ways->v6);
	} else {
		find_way(worker->dp, ip, port, &ways->v4);
		go(worker, b, i, port, &ways->v4, ETHERTYPE_IPV4);
	}
}

void forward_route_one(struct worker *worker, struct burst *b, unsigned i, enum dp_port port)
{
	struct ways ways = {0};

	route_one(worker, b, i, port, &ways);
}

void forward_route(struct worker *worker, struct burst *b, enum dp_port port)
{
	struct ways ways = {0};

	for (unsigned i = 0; i < b->n; i++) {
		ahead_frame(b, i, 1);
		if (b->verdicts[i] == VERDICT_OK)
			route_one(worker, b, i, port, &ways);
	}
}

/* Whose MAC the packet waits for. */
static struct ip_addr next_hop_of(const struct dataplane *dp, const uint8_t *ip)
{
	const bool v6 = ip_is_v6(ip);
	const struct hop *hop = v6 ? route_lookup_v6(&dp->routes, ip6_dst(ip))
				   : route_lookup(&dp->routes, ip4_dst(ip));

	if (hop != NULL && hop->via != NULL)
		return hop->via->addr;
	return v6 ? ipv6_addr(ip6_dst(ip)) : ip_addr_from_v4(ip4_dst(ip));
}

static struct ip_addr source_of(const uint8_t *ip)
{
	return ip_is_v6(ip) ? ipv6_addr(ip6_src(ip)) : ip_addr_from_v4(ip4_src(ip));
}

static void count(struct verdict_cells *cells, enum verdict verdict, uint64_t n)
{
	worker_count(&cells->n[verdict], n);
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
	case PUNT_GUARDED:
		untag(&worker->dp->ports[came_in], mbuf);
		break;
	case PUNT_REGISTRATION:
		meta->node = b->nodes[i]->handle;
		meta->remote.addr = source_of(pkt_outer(b, i));
		if (b->in_udp >> i & 1)
			meta->remote.port = b->outer_ports[i];
		pkt_commit(mbuf, &b->pkts[i]);
		break;
	case PUNT_UNRESOLVED:
		meta->port = (uint8_t)port;
		meta->next_hop = next_hop_of(worker->dp, b->pkts[i].data);
		pkt_commit(mbuf, &b->pkts[i]);
		break;
	case PUNT_ERROR:
		break; /* aftermath.c: not by a verdict */
	}
	return punt_push(&worker->rings, mbuf);
}

/* All but what is good: punted or dropped, and counted. What that gives rise to, such as fragments,
 * comes behind what is good. */
static __attribute__((noinline)) void finish_others(struct worker *worker, struct burst *b,
	enum dp_port came_in, enum dp_port port, struct verdict_cells *cells, uint32_t others)
{
	for (; others != 0; others &= others - 1) {
		unsigned i = (unsigned)__builtin_ctz(others);

		if (b->verdicts[i] == VERDICT_PUNTED && !punt(worker, b, i, came_in, port))
			burst_drop(b, i, VERDICT_PUNT_FULL);
		if (b->verdicts[i] == VERDICT_BAD_ICV)
			shed_charge(worker, b, i);
		if (verdict_is_audited(b->verdicts[i]))
			audit_note(&worker->audit, b, i, came_in);
		if (b->verdicts[i] != VERDICT_PUNTED && !aftermath(worker, b, i, came_in, port))
			rte_pktmbuf_free(b->mbufs[i]);
		count(cells, b->verdicts[i], 1);
	}
}

void forward_finish(struct worker *worker, struct burst *b, enum dp_port came_in, enum dp_port port,
	struct verdict_cells *cells)
{
	struct port *out = &worker->dp->ports[port];
	struct rte_mbuf *good[PKT_BURST_MAX];
	uint8_t good_at[PKT_BURST_MAX];
	unsigned n_good = 0, sent;
	uint32_t others = 0;

	for (unsigned i = 0; i < b->n; i++) {
		ahead_frame(b, i, 2);
		if (b->verdicts[i] == VERDICT_OK && b->pkts[i].len > out->frame_max)
			aftermath_frame_too_big(b, i, port, out->l2_bytes);
		if (b->verdicts[i] == VERDICT_OK) {
			pkt_commit(b->mbufs[i], &b->pkts[i]);
			good[n_good] = b->mbufs[i];
			good_at[n_good++] = (uint8_t)i;
			continue;
		}
		others |= UINT32_C(1) << i;
	}
	sent = n_good == 0 ? 0 : port_tx(out, worker->id, good, n_good);
	if (sent != 0)
		count(cells, VERDICT_OK, sent);
	for (unsigned j = sent; j < n_good; j++) {
		burst_drop(b, good_at[j], VERDICT_TX_FULL);
		rte_pktmbuf_free(good[j]);
		count(cells, VERDICT_TX_FULL, 1);
	}
	if (__builtin_expect(others != 0, 0))
		finish_others(worker, b, came_in, port, cells, others);
}
