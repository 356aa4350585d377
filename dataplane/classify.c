/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: frame, header and addresses are checked in this order and the first fault is the
 * verdict. Linux gets, through the port's TAP, ARP, the ICMPv6 of the link and what is addressed to
 * the gateway on that very port, and nothing else. The common packet is known by a few words of its
 * frame (plain.h); each of the others goes the long way, from its first byte on.
 */
#include "dataplane/classify.h"

#include "dataplane/guard.h"
#include "dataplane/ip4.h"
#include "dataplane/nat.h"
#include "dataplane/reassembly.h"
#include "dataplane/state.h"
#include "lib/mip4.h"

#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_IPV6 0x86ddu

enum frame_kind { FRAME_IPV4, FRAME_IPV6, FRAME_LINUX };

/* Bytes of the link header, and the type of what is behind it; false: another VLAN's, or none. */
static inline bool check_tag(const struct port *port, const struct rte_mbuf *mbuf,
	const uint8_t *frame, uint16_t *ethertype)
{
	*ethertype = wire_load_u16(frame + 12);
	if (__builtin_expect(port->vlan == 0, 1))
		return *ethertype != VLAN_ETHERTYPE;
	if (*ethertype != VLAN_ETHERTYPE || mbuf->data_len < port->l2_bytes ||
		(wire_load_u16(frame + 14) & VLAN_ID_MASK) != port->vlan)
		return false;
	*ethertype = wire_load_u16(frame + 16);
	return true;
}

/* Cuts off what Ethernet padded. */
static inline void cut(struct esp_pkt *pkt, uint32_t total_len)
{
	uint32_t surplus = pkt->len - total_len;

	pkt->len = total_len;
	pkt->tailroom = (uint16_t)(pkt->tailroom + surplus);
}

/* Neighbour discovery, router and listener messages, pings: of a link, so never to be forwarded,
 * and for Linux if they are ICMP (RFC 4861, RFC 3810). */
static bool is_link_icmp(const uint8_t *ip, uint32_t len)
{
	struct ipv6_upper upper;

	return (ip6_is_link_multicast(ip6_dst(ip)) || ip6_is_link_local(ip6_dst(ip)) ||
		       ip6_is_link_local(ip6_src(ip))) &&
	       ip6_find_upper(ip, len, false, &upper) == VERDICT_OK &&
	       upper.protocol == IP6_PROTO_ICMP;
}

static IP_V6_ONLY enum verdict check_ipv6(struct esp_pkt *pkt, bool group, enum frame_kind *kind)
{
	enum verdict verdict = ip6_check(pkt->data, pkt->len);

	if (verdict != VERDICT_OK)
		return verdict;
	*kind = FRAME_IPV6;
	if (is_link_icmp(pkt->data, ip_total_len(pkt->data)))
		*kind = FRAME_LINUX;
	else if (group)
		return VERDICT_NOT_FOR_US;
	else
		cut(pkt, ip_total_len(pkt->data));
	return VERDICT_OK;
}

/* Sets the view to the IP packet, cut to its own length, unless the frame is Linux's. */
static enum verdict check_frame(
	const struct port *port, struct rte_mbuf *mbuf, struct esp_pkt *pkt, enum frame_kind *kind)
{
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	enum verdict verdict;
	uint16_t ethertype;
	bool group;

	/* A buffer holds the longest frame that the port's MTU allows, so nothing is allocated. */
	if (__builtin_expect(mbuf->nb_segs != 1, 0) && rte_pktmbuf_linearize(mbuf) != 0)
		return VERDICT_MULTI_SEGMENT;
	if (mbuf->data_len < RTE_ETHER_HDR_LEN)
		return VERDICT_RUNT;
	group = (frame[0] & 1) != 0;
	/* A port in promiscuous mode sees the frames of others too. */
	if (!group && memcmp(frame, port->mac, sizeof port->mac) != 0)
		return VERDICT_NOT_FOR_US;
	if (!check_tag(port, mbuf, frame, &ethertype))
		return VERDICT_VLAN;
	*kind = FRAME_LINUX;
	if (ethertype == ETHERTYPE_ARP)
		return VERDICT_OK;
	pkt_view(pkt, mbuf, port->l2_bytes);
	if (ethertype == ETHERTYPE_IPV6)
		return check_ipv6(pkt, group, kind);
	if (ethertype != ETHERTYPE_IPV4)
		return VERDICT_NOT_IP;
	/* RFC 1812 5.3.4: what came by link-layer broadcast is not forwarded. */
	if (group)
		return VERDICT_NOT_FOR_US;
	*kind = FRAME_IPV4;
	verdict = ip4_check(pkt->data, pkt->len);
	if (verdict == VERDICT_OK)
		cut(pkt, ip4_total_len(pkt->data));
	return verdict;
}

#define PLAIN_TYPE UINT32_C(0x450008) /* ETHERTYPE_IPV4, IP4_PLAIN: bytes 12 to 14 of a frame */

/* Is it, for all that the frame and the header's lengths and checksum say, a plain packet of at
 * least least bytes? Then sets the view. */
static inline bool view_plain(
	const struct port *port, const struct rte_mbuf *mbuf, struct esp_pkt *pkt, uint32_t least)
{
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	uint8_t *ip = rte_pktmbuf_mtod_offset(mbuf, uint8_t *, RTE_ETHER_HDR_LEN);
	uint32_t total_len;

	if (mbuf->nb_segs != 1 || mbuf->data_len < RTE_ETHER_HDR_LEN + least ||
		port_frame_mac(frame) != port->plain_mac ||
		(ip4_word(frame + 12) & UINT32_C(0xffffff)) != PLAIN_TYPE)
		return false;
	total_len = ip4_total_len(ip);
	if (total_len < least || total_len + RTE_ETHER_HDR_LEN > mbuf->data_len ||
		!ip4_checksum_ok(ip, IPV4_HDR_BYTES))
		return false;
	pkt->data = ip;
	pkt->len = total_len;
	pkt->headroom = (uint16_t)(mbuf->data_off + RTE_ETHER_HDR_LEN);
	pkt->tailroom = (uint16_t)(mbuf->buf_len - pkt->headroom - total_len);
	pkt->outer_bytes = IPV4_HDR_BYTES;
	pkt->l2_bytes = RTE_ETHER_HDR_LEN;
	pkt->beyond_mtu = false;
	return true;
}

/* --- outside ------------------------------------------------------------------------------------
 */

/* Not in UDP. */
static inline bool is_plain_esp(
	const struct dataplane *dp, const struct rte_mbuf *mbuf, struct esp_pkt *pkt)
{
	const struct port *port = &dp->ports[DP_OUTSIDE];

	return view_plain(port, mbuf, pkt, IPV4_HDR_BYTES + ESP_MIN_BYTES) &&
	       plain_protocol(pkt->data) == PLAIN_PROTOCOL(IP4_PROTO_ESP) &&
	       plain_oddity(&dp->plain_addrs, ip4_src(pkt->data)) == 0 &&
	       port_is_own(port, ip4_dst(pkt->data));
}

/* UDP in clear, from the public side: a registration is none of the network's business, and Linux
 * must not see it either. */
static bool is_clear_registration(const uint8_t *ip, uint32_t len)
{
	uint32_t hdr = ip4_hdr_bytes(ip);

	return ip4_fragment_offset(ip) == 0 && len >= hdr + UDP_HDR_BYTES &&
	       wire_load_u16(ip + hdr + 2) == MIP4_PORT;
}

static enum verdict check_esp(struct esp_pkt *pkt, uint32_t hdr, bool is_fragment)
{
	if (is_fragment)
		return VERDICT_FRAGMENT;
	pkt->outer_bytes = (uint16_t)hdr;
	return pkt->len < hdr + (uint32_t)ESP_MIN_BYTES ? VERDICT_BAD_ESP : VERDICT_OK;
}

static enum verdict check_udp(struct burst *b, unsigned i, uint32_t hdr, bool *esp)
{
	enum verdict verdict = nat_check(&b->pkts[i], hdr, &b->outer_ports[i]);

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
		return check_esp(&b->pkts[i], ip4_hdr_bytes(ip), ip4_is_fragment(ip));
	}
	if (ip4_protocol(ip) != IP4_PROTO_UDP)
		return VERDICT_OK;
	if (is_clear_registration(ip, b->pkts[i].len))
		return VERDICT_REGISTRATION;
	if (ip4_is_fragment(ip))
		return VERDICT_FRAGMENT;
	return check_udp(b, i, ip4_hdr_bytes(ip), esp);
}

static IP_V6_ONLY enum verdict check_outside_v6(
	const struct dataplane *dp, struct burst *b, unsigned i, bool *esp)
{
	struct esp_pkt *pkt = &b->pkts[i];
	const uint8_t *ip = pkt->data;
	struct ipv6_upper upper;
	enum verdict verdict;

	*esp = false;
	if (!port_is_own_v6(&dp->ports[DP_OUTSIDE], ip6_dst(ip)))
		return VERDICT_NOT_FOR_US;
	if (!ip6_is_forwardable(ip6_src(ip)) || is_own_address_v6(dp, ip6_src(ip)))
		return VERDICT_BAD_ADDRESS;
	verdict = ip6_find_upper(ip, pkt->len, true, &upper);
	if (verdict != VERDICT_OK)
		return verdict;
	if (upper.protocol == IP4_PROTO_ESP) {
		*esp = true;
		return check_esp(pkt, upper.at, upper.fragment);
	}
	if (upper.protocol != IP4_PROTO_UDP) /* Linux puts other fragments together */
		return VERDICT_OK;
	return upper.fragment ? VERDICT_FRAGMENT : check_udp(b, i, upper.at, esp);
}

/* A fragment of what only a whole packet can be judged by. */
static enum verdict put_together(struct worker *worker, struct burst *b, unsigned i, bool *esp)
{
	enum verdict verdict = reassembly_take(worker->reassembly, b, i);

	if (verdict != VERDICT_OK)
		return verdict;
	return ip_is_v6(b->pkts[i].data) ? check_outside_v6(worker->dp, b, i, esp)
					 : check_outside(worker->dp, b, i, esp);
}

static __attribute__((noinline)) void outside_long_way(
	struct worker *worker, struct burst *b, unsigned i)
{
	const struct port *port = &worker->dp->ports[DP_OUTSIDE];
	enum frame_kind kind;
	bool esp = false;

	b->verdicts[i] = check_frame(port, b->mbufs[i], &b->pkts[i], &kind);
	if (b->verdicts[i] != VERDICT_OK)
		return;
	if (kind == FRAME_IPV4) {
		b->verdicts[i] = check_outside(worker->dp, b, i, &esp);
	} else if (kind == FRAME_IPV6) {
		b->verdicts[i] = check_outside_v6(worker->dp, b, i, &esp);
	}
	if (b->verdicts[i] == VERDICT_FRAGMENT)
		b->verdicts[i] = put_together(worker, b, i, &esp);
	if (b->verdicts[i] == VERDICT_OK && !esp)
		burst_punt(b, i, PUNT_FRAME);
	/* For our MAC, and to another address than ours. */
	if (b->verdicts[i] == VERDICT_NOT_FOR_US && worker->policy != NULL)
		b->others |= UINT32_C(1) << i;
}

void classify_outside(struct worker *worker, struct burst *b)
{
	b->in_udp = b->others = 0;
	for (unsigned i = 0; i < b->n; i++) {
		ahead_mbuf(b, i);
		b->verdicts[i] = VERDICT_OK;
		if (__builtin_expect(!is_plain_esp(worker->dp, b->mbufs[i], &b->pkts[i]), 0))
			outside_long_way(worker, b, i);
	}
}

/* --- inside -------------------------------------------------------------------------------------
 */

static inline bool is_plain_inside(
	const struct dataplane *dp, const struct rte_mbuf *mbuf, struct esp_pkt *pkt)
{
	return view_plain(&dp->ports[DP_INSIDE], mbuf, pkt, IPV4_HDR_BYTES) &&
	       (plain_oddity(&dp->plain_addrs, ip4_src(pkt->data)) |
		       plain_oddity(&dp->plain_addrs, ip4_dst(pkt->data))) == 0;
}

static enum verdict check_inside(const struct dataplane *dp, const uint8_t *ip, bool *ours)
{
	*ours = is_own_address(dp, ip4_dst(ip)) && port_is_own(&dp->ports[DP_INSIDE], ip4_dst(ip));
	return *ours || (ip4_is_forwardable(ip4_src(ip)) && ip4_is_forwardable(ip4_dst(ip)) &&
				!is_own_address(dp, ip4_src(ip)))
		       ? VERDICT_OK
		       : VERDICT_BAD_ADDRESS;
}

static IP_V6_ONLY enum verdict check_inside_v6(
	const struct dataplane *dp, const uint8_t *ip, bool *ours)
{
	*ours = port_is_own_v6(&dp->ports[DP_INSIDE], ip6_dst(ip));
	return *ours || (ip6_is_forwardable(ip6_src(ip)) && ip6_is_forwardable(ip6_dst(ip)) &&
				!is_own_address_v6(dp, ip6_src(ip)))
		       ? VERDICT_OK
		       : VERDICT_BAD_ADDRESS;
}

static __attribute__((noinline)) void inside_long_way(
	struct worker *worker, struct burst *b, unsigned i)
{
	const struct dataplane *dp = worker->dp;
	enum frame_kind kind;
	bool ours = true;

	b->verdicts[i] = check_frame(&dp->ports[DP_INSIDE], b->mbufs[i], &b->pkts[i], &kind);
	if (b->verdicts[i] != VERDICT_OK)
		return;
	if (kind == FRAME_IPV4)
		b->verdicts[i] = check_inside(dp, b->pkts[i].data, &ours);
	else if (kind == FRAME_IPV6)
		b->verdicts[i] = check_inside_v6(dp, b->pkts[i].data, &ours);
	if (b->verdicts[i] != VERDICT_OK || !ours)
		return;
	if (kind != FRAME_IPV4 || !guard_take(worker, b, i))
		burst_punt(b, i, PUNT_FRAME);
}

void classify_inside(struct worker *worker, struct burst *b)
{
	const struct dataplane *dp = worker->dp;

	for (unsigned i = 0; i < b->n; i++) {
		ahead_mbuf(b, i);
		b->verdicts[i] = VERDICT_OK;
		if (__builtin_expect(!is_plain_inside(dp, b->mbufs[i], &b->pkts[i]), 0))
			inside_long_way(worker, b, i);
	}
}
