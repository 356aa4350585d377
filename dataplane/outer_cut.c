/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: few packets come here, so all is done by copying. A burst with something to be
 * cut goes over into another one, place by place, so that numbers leave in their order. IPv4 has
 * its identification already; that of IPv6 is the end of the ICV, which nobody can guess before it
 * is on its way, and so nobody can have sent a piece that fits.
 */
#include "dataplane/outer_cut.h"

#include "dataplane/forward.h"
#include "dataplane/ip4.h"
#include "dataplane/state.h"

struct cut {
	struct worker *worker;
	bool out_of_buffers;
};

static void finish(struct worker *worker, struct burst *b)
{
	forward_route(worker, b, DP_OUTSIDE);
	forward_finish(worker, b, DP_INSIDE, DP_OUTSIDE, &worker->local);
	b->n = 0;
}

/* A free place. */
static unsigned place(struct worker *worker)
{
	if (worker->fragments.n == PKT_BURST_MAX)
		finish(worker, &worker->fragments);
	return worker->fragments.n++;
}

static void take_fragment(void *arg, const uint8_t *ip, size_t len)
{
	struct cut *cut = arg;
	struct burst *fragments = &cut->worker->fragments;
	struct rte_mbuf *mbuf;
	uint8_t *at;
	unsigned k;

	mbuf = cut->out_of_buffers ? NULL
				   : rte_pktmbuf_alloc(cut->worker->dp->ports[DP_INSIDE].pool);
	at = mbuf == NULL ? NULL : (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)len);
	if (at == NULL) {
		rte_pktmbuf_free(mbuf);
		cut->out_of_buffers = true;
		return;
	}
	memcpy(at, ip, len);
	k = place(cut->worker);
	fragments->mbufs[k] = mbuf;
	fragments->verdicts[k] = VERDICT_OK;
	fragments->nodes[k] = NULL;
	pkt_view(&fragments->pkts[k], mbuf, 0);
}

/* DF is not for them: RFC 4213 section 3.2.2. */
static int cut_v4(const struct esp_pkt *pkt, uint32_t mtu, struct cut *cut)
{
	uint8_t *ip = pkt->data;

	wire_store_u16(ip + 6, (uint16_t)(wire_load_u16(ip + 6) & ~IPV4_FLAG_DF));
	wire_store_u16(ip + 10, 0);
	wire_store_u16(ip + 10, inet_fold(inet_sum(ip, IPV4_HDR_BYTES, 0)));
	return ipv4_fragment(ip, pkt->len, mtu, take_fragment, cut);
}

/* False: not all of it is on its way. */
static bool cut_one(struct worker *worker, const struct esp_pkt *pkt, uint32_t mtu)
{
	const uint32_t id = wire_load_u32(pkt->data + pkt->len - sizeof id);
	struct cut cut = {.worker = worker};
	int n = ip_is_v6(pkt->data)
			? ipv6_fragment(pkt->data, pkt->len, mtu, id, take_fragment, &cut)
			: cut_v4(pkt, mtu, &cut);

	return n > 0 && !cut.out_of_buffers;
}

/* Each piece has a header; all but the last carry a multiple of 8 bytes. */
uint32_t outer_cut_bytes(const struct esp_pkt *pkt, uint32_t mtu)
{
	const bool v6 = ip_is_v6(pkt->data);
	const uint32_t body = pkt->len - (v6 ? IPV6_HDR_BYTES : IPV4_HDR_BYTES);
	const uint32_t hdr = v6 ? IPV6_HDR_BYTES + IPV6_FRAGMENT_HDR_BYTES : IPV4_HDR_BYTES;
	uint32_t last, n = 1;

	if (pkt->len <= mtu || mtu < hdr + 8) /* is not cut, or cannot be */
		return pkt->len;
	last = mtu - hdr;
	if (body > last)
		n += (body - last + (last & ~7u) - 1) / (last & ~7u);
	return body + n * hdr;
}

static void go_over(struct worker *worker, const struct burst *b, unsigned i)
{
	struct burst *to = &worker->fragments;
	unsigned k = place(worker);

	to->mbufs[k] = b->mbufs[i];
	to->verdicts[k] = b->verdicts[i];
	to->pkts[k] = b->pkts[i];
	to->nodes[k] = b->nodes[i];
	to->paths[k] = b->paths[i];
	to->sas.out[k] = b->sas.out[i];
}

/* Not if it fits after all: without what followed it in its tunnel, or by a shorter outer header.
 */
static bool is_cut(const struct burst *b, unsigned i)
{
	return b->verdicts[i] == VERDICT_OK && b->pkts[i].beyond_mtu &&
	       b->pkts[i].len > b->paths[i]->mtu;
}

void outer_cut_send(struct worker *worker, struct burst *b)
{
	unsigned first = 0;

	while (first < b->n && !is_cut(b, first))
		first++;
	if (first == b->n) {
		finish(worker, b);
		return;
	}
	worker->fragments.now_ns = b->now_ns;
	for (unsigned i = 0; i < b->n; i++) {
		if (is_cut(b, i) && cut_one(worker, &b->pkts[i], b->paths[i]->mtu)) {
			rte_pktmbuf_free(b->mbufs[i]);
			continue;
		}
		if (is_cut(b, i))
			burst_drop(b, i, VERDICT_NO_ROOM);
		go_over(worker, b, i);
	}
	b->n = 0;
	finish(worker, &worker->fragments);
}
