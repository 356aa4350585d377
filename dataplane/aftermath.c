/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: few packets come here, so all is done by copying. Of a tunnel, of whatever
 * families, it is the packet inside that is cut or whose sender is told, and each piece gets the
 * tunnel's header again: the node's end of the tunnel need not put anything together. Pieces make a
 * burst of their own, with SA and path of the packet they were cut from, which leaves behind the
 * burst at work. IPv6 is cut by its sender alone, and what he need not cut is cut as ESP
 * (outer_cut.c).
 */
#include "dataplane/aftermath.h"

#include "dataplane/bicast.h"
#include "dataplane/forward.h"
#include "dataplane/ip4.h"
#include "dataplane/outer_cut.h"
#include "dataplane/protect.h"
#include "dataplane/state.h"

struct cut { /* of one packet, for take_piece() */
	struct worker *worker;
	struct burst *from;
	unsigned i;
	enum dp_port port;
	struct rte_mempool *pool;
	const uint8_t *tunnel; /* header of either family to put before each piece */
	uint32_t tunnel_bytes;
	bool out_of_buffers;
};

void aftermath_frame_too_big(struct burst *b, unsigned i, enum dp_port port, uint16_t l2_bytes)
{
	struct esp_pkt *pkt = &b->pkts[i];

	burst_drop(b, i, VERDICT_TOO_BIG);
	/* Back to the IP packet. Towards the outside it is ESP, and no longer anybody's to see. */
	if (port == DP_INSIDE) {
		pkt->data += l2_bytes;
		pkt->len -= l2_bytes;
	} else {
		b->nodes[i] = NULL;
	}
}

void aftermath_send(struct worker *worker, enum dp_port port)
{
	struct burst *pieces = &worker->pieces;

	if (pieces->n == 0)
		return;
	if (port == DP_OUTSIDE) {
		protect_burst(worker, pieces);
		bicast(worker, pieces);
		outer_cut_send(worker, pieces);
		return;
	}
	forward_route(worker, pieces, port);
	forward_finish(worker, pieces, DP_OUTSIDE, port, &worker->local);
	pieces->n = 0;
}

/* The tunnel's header again, for so many bytes behind it. */
static void put_tunnel(uint8_t *at, const struct cut *cut, uint32_t piece_bytes)
{
	const uint32_t total = cut->tunnel_bytes + piece_bytes;

	memcpy(at, cut->tunnel, cut->tunnel_bytes);
	if (ip_is_v6(at)) {
		wire_store_u16(at + 4, (uint16_t)(total - IPV6_HDR_BYTES));
		return;
	}
	wire_store_u16(at + 2, (uint16_t)total);
	wire_store_u16(at + 10, 0);
	wire_store_u16(at + 10, inet_fold(inet_sum(at, cut->tunnel_bytes, 0)));
}

static void take_piece(void *arg, const uint8_t *datagram, size_t len)
{
	struct cut *cut = arg;
	struct burst *pieces = &cut->worker->pieces;
	uint32_t total = cut->tunnel_bytes + (uint32_t)len;
	struct rte_mbuf *mbuf;
	uint8_t *at;
	unsigned k;

	if (pieces->n == PKT_BURST_MAX)
		aftermath_send(cut->worker, cut->port);
	mbuf = cut->out_of_buffers ? NULL : rte_pktmbuf_alloc(cut->pool);
	if (mbuf == NULL) {
		cut->out_of_buffers = true;
		return;
	}
	at = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)total);
	if (at == NULL) { /* what control made may be longer than what that port takes */
		rte_pktmbuf_free(mbuf);
		cut->out_of_buffers = true;
		return;
	}
	if (cut->tunnel_bytes != 0)
		put_tunnel(at, cut, (uint32_t)len);
	memcpy(at + cut->tunnel_bytes, datagram, len);
	k = pieces->n++;
	pieces->now_ns = cut->from->now_ns;
	pieces->mbufs[k] = mbuf;
	pieces->verdicts[k] = VERDICT_OK;
	pkt_view(&pieces->pkts[k], mbuf, 0);
	pieces->nodes[k] = cut->from->nodes[cut->i];
	pieces->paths[k] = cut->from->paths[cut->i];
	pieces->sas.out[k] = cut->from->sas.out[cut->i];
}

/* Bytes of the largest IP packet that fits; 0: none. */
static uint32_t room_for(
	const struct worker *worker, const struct burst *b, unsigned i, enum dp_port port)
{
	const struct path *path = b->paths[i];
	const struct sa_out *sa = b->sas.out[i];

	if (port == DP_INSIDE)
		return worker->dp->ports[DP_INSIDE].mtu;
	return sa == NULL ? 0 : esp_inner_max((enum crypto_alg)sa->alg, path->outer.len, path->mtu);
}

/* Bytes before the packet that a home agent's tunnel carries; 0: there is no tunnel, or a piece of
 * one. */
static uint32_t tunnel_bytes_of(const struct esp_pkt *pkt, enum dp_port port)
{
	const uint8_t *ip = pkt->data;
	struct ipv6_upper upper;

	if (port != DP_OUTSIDE)
		return 0;
	if (!ip_is_v6(ip))
		return ip_is_tunnel(ip4_protocol(ip)) && !ip4_is_fragment(ip) ? ip4_hdr_bytes(ip)
									      : 0;
	return ip6_find_upper(ip, pkt->len, false, &upper) == VERDICT_OK &&
			       ip_is_tunnel(upper.protocol) && !upper.fragment
		       ? upper.at
		       : 0;
}

static bool tell(struct worker *worker, struct burst *b, unsigned i, enum dp_port came_in,
	enum punt_error error, uint32_t mtu)
{
	struct rte_mbuf *mbuf = b->mbufs[i];

	*pkt_meta(mbuf) = (struct pkt_meta){
		.kind = PUNT_ERROR,
		.port = (uint8_t)came_in,
		.rx_ns = b->now_ns,
		.node = came_in == DP_OUTSIDE ? b->nodes[i]->handle : 0,
		.error = (uint8_t)error,
		.mtu = (uint16_t)mtu,
	};
	pkt_commit(mbuf, &b->pkts[i]);
	return punt_push(&worker->rings, mbuf);
}

static void set_cut(struct burst *b, unsigned i, const struct cut *cut)
{
	b->verdicts[i] = cut->out_of_buffers ? VERDICT_NO_ROOM : VERDICT_FRAGMENTED;
}

/* As it is, behind its tunnel's header: what becomes of it is cut. Not on a path that is tried:
 * nothing of its small credit is for headers of pieces. */
static void send_beyond_mtu(struct burst *b, unsigned i, struct cut *cut)
{
	const struct esp_pkt *pkt = &b->pkts[i];
	struct burst *pieces = &cut->worker->pieces;

	if (cut->port != DP_OUTSIDE || (b->paths[i]->flags & PATH_PROVISIONAL) != 0)
		return;
	take_piece(cut, pkt->data, pkt->len);
	set_cut(b, i, cut);
	if (!cut->out_of_buffers)
		pieces->pkts[pieces->n - 1].beyond_mtu = true;
}

/* Nobody makes packets smaller than the least MTU, whatever he is told (RFC 8201 section 4), and
 * so these get through (RFC 2473 section 7.1). */
static bool too_big_v6(
	struct burst *b, unsigned i, enum dp_port came_in, uint32_t room, struct cut *cut)
{
	struct esp_pkt *pkt = &b->pkts[i];

	if (ip6_check(pkt->data, pkt->len) != VERDICT_OK)
		return false;
	pkt->len = ip_total_len(pkt->data);
	if (pkt->len <= IPV6_MTU_MIN) {
		send_beyond_mtu(b, i, cut);
		return false;
	}
	return tell(
		cut->worker, b, i, came_in, PUNT_TOO_BIG, RTE_MAX(room, (uint32_t)IPV6_MTU_MIN));
}

static bool too_big(
	struct worker *worker, struct burst *b, unsigned i, enum dp_port came_in, enum dp_port port)
{
	struct esp_pkt *pkt = &b->pkts[i];
	struct cut cut = {.worker = worker,
		.from = b,
		.i = i,
		.port = port,
		.pool = worker->dp->ports[came_in].pool,
		.tunnel = pkt->data,
		.tunnel_bytes = tunnel_bytes_of(pkt, port)};
	uint32_t room = room_for(worker, b, i, port);

	if (room <= cut.tunnel_bytes)
		return false;
	room -= cut.tunnel_bytes;
	pkt->data += cut.tunnel_bytes;
	pkt->len -= cut.tunnel_bytes;
	if (ip_is_v6(pkt->data))
		return too_big_v6(b, i, came_in, room, &cut);
	if (ip4_check(pkt->data, pkt->len) != VERDICT_OK)
		return false;
	if ((wire_load_u16(pkt->data + 6) & IPV4_FLAG_DF) != 0)
		return tell(worker, b, i, came_in, PUNT_TOO_BIG, room);
	if (ipv4_fragment(pkt->data, pkt->len, room, take_piece, &cut) > 0)
		set_cut(b, i, &cut);
	return false;
}

bool aftermath(
	struct worker *worker, struct burst *b, unsigned i, enum dp_port came_in, enum dp_port port)
{
	const enum verdict verdict = b->verdicts[i];

	/* With any other verdict the packet may be gone. */
	if ((verdict != VERDICT_TTL && verdict != VERDICT_TOO_BIG) || b == &worker->pieces ||
		b == &worker->fragments || b->nodes[i] == NULL)
		return false;
	if (verdict == VERDICT_TTL)
		return tell(worker, b, i, came_in, PUNT_TIME_EXCEEDED, 0);
	return too_big(worker, b, i, came_in, port);
}
