/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: frame, header and addresses are checked in this order and the first fault is the
 * verdict. Linux gets, through the port's TAP, ARP and what is addressed to the gateway on that
 * very port, and nothing else.
 */
#include "dataplane/classify.h"

#include "dataplane/ip4.h"
#include "dataplane/nat.h"
#include "dataplane/reassembly.h"
#include "dataplane/state.h"
#include "lib/mip4.h"

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_ARP 0x0806u

/* Sets the view to the IP packet. */
static enum verdict check_frame(
	const struct port *port, struct rte_mbuf *mbuf, struct esp_pkt *pkt, bool *is_arp)
{
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	uint16_t ethertype;
	bool group;

	*is_arp = false;
	/* A buffer holds the longest frame that the port's MTU allows, so nothing is allocated. */
	if (__builtin_expect(mbuf->nb_segs != 1, 0) && rte_pktmbuf_linearize(mbuf) != 0)
		return VERDICT_MULTI_SEGMENT;
	if (mbuf->data_len < RTE_ETHER_HDR_LEN)
		return VERDICT_RUNT;
	group = (frame[0] & 1) != 0;
	/* A port in promiscuous mode sees the frames of others too. */
	if (!group && memcmp(frame, port->mac, sizeof port->mac) != 0)
		return VERDICT_NOT_FOR_US;
	ethertype = wire_load_u16(frame + 12);
	if (ethertype == ETHERTYPE_ARP) {
		*is_arp = true;
		return VERDICT_OK;
	}
	if (ethertype != ETHERTYPE_IPV4)
		return VERDICT_NOT_IP;
	/* RFC 1812 5.3.4: what came by link-layer broadcast is not forwarded. */
	if (group)
		return VERDICT_NOT_FOR_US;
	pkt_view(pkt, mbuf, RTE_ETHER_HDR_LEN);
	return ip4_check(pkt->data, pkt->len);
}

/* Cuts off what Ethernet padded. */
static void cut(struct esp_pkt *pkt)
{
	uint32_t surplus = pkt->len - ip4_total_len(pkt->data);

	pkt->len -= surplus;
	pkt->tailroom = (uint16_t)(pkt->tailroom + surplus);
}

/* UDP in clear, from the public side: a registration is none of the network's business, and Linux
 * must not see it either. */
static bool is_clear_registration(const uint8_t *ip, uint32_t len)
{
	uint32_t hdr = ip4_hdr_bytes(ip);

	return ip4_fragment_offset(ip) == 0 && len >= hdr + UDP_HDR_BYTES &&
	       wire_load_u16(ip + hdr + 2) == MIP4_PORT;
}

static enum verdict check_esp(struct esp_pkt *pkt)
{
	if (ip4_is_fragment(pkt->data))
		return VERDICT_FRAGMENT;
	pkt->outer_bytes = (uint8_t)ip4_hdr_bytes(pkt->data);
	return pkt->len < pkt->outer_bytes + (uint32_t)ESP_MIN_BYTES ? VERDICT_BAD_ESP : VERDICT_OK;
}

static enum verdict check_udp(struct burst *b, unsigned i, bool *esp)
{
	struct esp_pkt *pkt = &b->pkts[i];
	enum verdict verdict;

	if (is_clear_registration(pkt->data, pkt->len))
		return VERDICT_REGISTRATION;
	if (ip4_is_fragment(pkt->data))
		return VERDICT_FRAGMENT;
	verdict = nat_check(pkt, &b->outer_ports[i]);
	*esp = b->outer_ports[i] != 0;
	if (*esp)
		b->in_udp |= UINT32_C(1) << i;
	return verdict;
}

static enum verdict check_outside(
	const struct dataplane *dp, struct burst *b, unsigned i, bool *esp)
{
	const uint8_t *ip = b->pkts[i].data;

	*esp = false;
	if (!port_is_own(&dp->ports[DP_OUTSIDE], ip4_dst(ip)))
		return VERDICT_NOT_FOR_US;
	if (!ip4_is_forwardable(ip4_src(ip)) || is_own_address(dp, ip4_src(ip)))
		return VERDICT_BAD_ADDRESS;
	if (__builtin_expect(ip4_protocol(ip) == IP4_PROTO_ESP, 1)) {
		*esp = true;
		return check_esp(&b->pkts[i]);
	}
	return ip4_protocol(ip) == IP4_PROTO_UDP ? check_udp(b, i, esp) : VERDICT_OK;
}

/* A fragment of what only a whole packet can be judged by. */
static enum verdict put_together(struct worker *worker, struct burst *b, unsigned i, bool *esp)
{
	enum verdict verdict = reassembly_take(worker->reassembly, b, i);

	return verdict == VERDICT_OK ? check_outside(worker->dp, b, i, esp) : verdict;
}

void classify_outside(struct worker *worker, struct burst *b)
{
	const struct port *port = &worker->dp->ports[DP_OUTSIDE];
	bool arp, esp;

	b->in_udp = 0;
	for (unsigned i = 0; i < b->n; i++) {
		struct esp_pkt *pkt = &b->pkts[i];

		ahead_mbuf(b, i);
		b->verdicts[i] = check_frame(port, b->mbufs[i], pkt, &arp);
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		if (arp) {
			burst_punt(b, i, PUNT_FRAME);
			continue;
		}
		cut(pkt);
		b->verdicts[i] = check_outside(worker->dp, b, i, &esp);
		if (__builtin_expect(b->verdicts[i] == VERDICT_FRAGMENT, 0))
			b->verdicts[i] = put_together(worker, b, i, &esp);
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		if (!esp)
			burst_punt(b, i, PUNT_FRAME);
		else
			b->outer_src[i] = ip4_src(pkt->data);
	}
}

void classify_inside(const struct worker *worker, struct burst *b)
{
	const struct port *port = &worker->dp->ports[DP_INSIDE];
	bool arp;

	for (unsigned i = 0; i < b->n; i++) {
		struct esp_pkt *pkt = &b->pkts[i];

		ahead_mbuf(b, i);
		b->verdicts[i] = check_frame(port, b->mbufs[i], pkt, &arp);
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		if (arp || (is_own_address(worker->dp, ip4_dst(pkt->data)) &&
				   port_is_own(port, ip4_dst(pkt->data)))) {
			burst_punt(b, i, PUNT_FRAME);
			continue;
		}
		cut(pkt);
		if (!ip4_is_forwardable(ip4_src(pkt->data)) ||
			!ip4_is_forwardable(ip4_dst(pkt->data)) ||
			is_own_address(worker->dp, ip4_src(pkt->data)))
			b->verdicts[i] = VERDICT_BAD_ADDRESS;
	}
}
