/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: what was learned lies in the node's path, and here in a queue, since all of it
 * lives equally long. A node that has moved meanwhile has another path; its entry then finds
 * nothing to undo.
 */
#include "control/gw/pmtu.h"

#include "lib/ipv4.h"
#include "lib/ipv6.h"
#include "lib/wire.h"

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ICMP_HDR_BYTES 8
#define ICMP_MTU_AT 6      /* 16 bits */
#define ICMP6_MTU_AT 4     /* 32 bits */
#define ESP_QUOTED_BYTES 8 /* SPI and sequence number: RFC 792 promises so much of the payload */

struct learned {
	uint64_t until_ns;
	uint32_t handle;
	uint16_t mtu;
};

struct pmtu {
	struct tunnels *tunnels; /* lent */
	struct pmtu_stats stats;
	uint32_t first, n; /* of queue */
	struct learned queue[PMTU_LEARNED_MAX];
};

struct pmtu *pmtu_new(struct tunnels *tunnels)
{
	struct pmtu *pmtu = calloc(1, sizeof *pmtu);

	if (pmtu != NULL)
		pmtu->tunnels = tunnels;
	return pmtu;
}

void pmtu_free(struct pmtu *pmtu)
{
	free(pmtu);
}

const struct pmtu_stats *pmtu_stats(const struct pmtu *pmtu)
{
	return &pmtu->stats;
}

struct quote { /* what a router says about a packet of ours */
	struct ip_addr local;
	struct ip_endpoint remote; /* port 0: ESP in IP */
	uint32_t spi, seq_low;
	uint32_t mtu;
	uint16_t quoted_len;
};

/* RFC 1191 section 7: for routers that do not say. */
static uint16_t plateau_below(uint16_t len)
{
	static const uint16_t plateaus[] = {8166, 4352, 2002, 1492, 1280, 1006};

	for (size_t i = 0; i < sizeof plateaus / sizeof plateaus[0]; i++)
		if (plateaus[i] < len)
			return plateaus[i];
	return PMTU_MIN;
}

/* What a quoted header of either family carries: ESP, perhaps in UDP. */
static bool read_esp(const uint8_t *at, size_t len, uint8_t protocol, struct quote *out)
{
	if (protocol == IPPROTO_UDP) {
		if (len < UDP_HDR_BYTES || wire_load_u16(at) != PATH_NAT_PORT)
			return false;
		out->remote.port = wire_load_u16(at + 2);
		at += UDP_HDR_BYTES;
		len -= UDP_HDR_BYTES;
	} else if (protocol != IPPROTO_ESP) {
		return false;
	}
	if (len < ESP_QUOTED_BYTES)
		return false;
	out->spi = wire_load_u32(at);
	out->seq_low = wire_load_u32(at + 4);
	return true;
}

/* The quoted packet: its header may be cut behind the first bytes of its payload, so the checks of
 * ipv4_parse() are not for it. */
static bool read_quote(const uint8_t *ip, size_t len, struct quote *out)
{
	size_t hdr = len < IPV4_HDR_BYTES ? 0 : (ip[0] & 15u) * 4u;
	be32_t src, dst;

	if (hdr < IPV4_HDR_BYTES || len < hdr || ip[0] >> 4 != 4 ||
		(wire_load_u16(ip + 6) & IPV4_FRAG_MASK) != 0)
		return false;
	memcpy(&src, ip + 12, sizeof src);
	memcpy(&dst, ip + 16, sizeof dst);
	out->local = ip_addr_from_v4(src);
	out->remote = (struct ip_endpoint){.addr = ip_addr_from_v4(dst)};
	out->quoted_len = wire_load_u16(ip + 2);
	return read_esp(ip + hdr, len - hdr, ip[9], out);
}

/* We put nothing between the IPv6 header and ESP but where that is cut; its first piece begins with
 * the ESP header. */
static bool read_quote_v6(const uint8_t *ip, size_t len, struct quote *out)
{
	const uint8_t *at = ip + IPV6_HDR_BYTES;
	uint8_t protocol;

	if (len < IPV6_HDR_BYTES || ip[0] >> 4 != 6)
		return false;
	out->local = ipv6_addr(ip + IPV6_SRC_AT);
	out->remote = (struct ip_endpoint){.addr = ipv6_addr(ip + IPV6_DST_AT)};
	protocol = ip[6];
	len -= IPV6_HDR_BYTES;
	if (protocol == IPV6_NEXT_FRAGMENT) {
		if (len < IPV6_FRAGMENT_HDR_BYTES ||
			(wire_load_u16(at + 2) & IPV6_FRAGMENT_OFFSET) != 0)
			return false;
		protocol = at[0];
		at += IPV6_FRAGMENT_HDR_BYTES;
		len -= IPV6_FRAGMENT_HDR_BYTES;
	}
	return read_esp(at, len, protocol, out);
}

/* False: not an ICMP message of that kind about ESP. */
static bool parse(const uint8_t *datagram, size_t len, struct quote *out)
{
	struct ipv4_view ip;
	const uint8_t *icmp;
	size_t room;

	if (!ipv4_parse(datagram, len, &ip) || ip.protocol != IPPROTO_ICMP || ip.is_fragment)
		return false;
	icmp = datagram + ip.hdr_bytes;
	room = (size_t)ip.total_len - ip.hdr_bytes;
	if (room < ICMP_HDR_BYTES || icmp[0] != ICMP_DEST_UNREACH || icmp[1] != ICMP_FRAG_NEEDED ||
		inet_fold(inet_sum(icmp, room, 0)) != 0 ||
		!read_quote(icmp + ICMP_HDR_BYTES, room - ICMP_HDR_BYTES, out))
		return false;
	out->mtu = wire_load_u16(icmp + ICMP_MTU_AT);
	if (out->mtu == 0)
		out->mtu = plateau_below(out->quoted_len);
	if (out->mtu < PMTU_MIN)
		out->mtu = PMTU_MIN;
	return true;
}

/* RFC 4443 section 3.2: the code says nothing. Less than every link takes is a lie: RFC 8201
 * section 4, and refused as such. */
static bool parse_v6(const uint8_t *packet, size_t len, struct quote *out)
{
	struct ip_addr src, dst;
	struct ipv6_upper upper;
	const uint8_t *icmp;
	uint32_t room;

	if (len < IPV6_HDR_BYTES)
		return false;
	room = IPV6_HDR_BYTES + (uint32_t)wire_load_u16(packet + 4);
	if (room > len)
		return false;
	if (ipv6_find_upper(packet, room, true, &upper) != IPV6_CHAIN_OK || upper.fragment ||
		upper.protocol != IPPROTO_ICMPV6 || room - upper.at < ICMP_HDR_BYTES)
		return false;
	icmp = packet + upper.at;
	room -= upper.at;
	src = ipv6_addr(packet + IPV6_SRC_AT);
	dst = ipv6_addr(packet + IPV6_DST_AT);
	if (icmp[0] != ICMP6_PACKET_TOO_BIG ||
		inet_fold(inet_sum(
			icmp, room, inet_pseudo_sum(&src, &dst, IPPROTO_ICMPV6, room))) != 0 ||
		!read_quote_v6(icmp + ICMP_HDR_BYTES, room - ICMP_HDR_BYTES, out))
		return false;
	out->mtu = wire_load_u32(icmp + ICMP6_MTU_AT);
	return true;
}

/* Is it the SA's own, sent a moment ago on the path that is in force? */
static bool is_ours(const struct tunnel_sa *sa, const struct quote *quote)
{
	const struct tunnel *tunnel = tunnel_sa_owner(sa);
	/* The control thread is the only writer of the pointer. */
	const struct path *path = atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
	const struct counter_slot *slot = tunnel_sa_slot(tunnel, sa);
	uint64_t last;

	if (slot == NULL || (path->flags & PATH_CLOSED) != 0 ||
		!ip_addr_equal(&path->local.addr, &quote->local) ||
		!ip_addr_equal(&path->remote.addr, &quote->remote.addr) ||
		path->remote.port != quote->remote.port)
		return false;
	last = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	return quote->seq_low != 0 && (uint32_t)last - quote->seq_low < PMTU_RECENT &&
	       (last >= PMTU_RECENT || quote->seq_low <= last);
}

static struct tunnel *find(const struct pmtu *pmtu, const struct quote *quote)
{
	struct tunnel_sa *sa = NULL;

	while ((sa = tunnel_sa_by_spi_out(pmtu->tunnels, quote->spi, sa)) != NULL)
		if (is_ours(sa, quote))
			return tunnel_sa_owner(sa);
	return NULL;
}

static uint16_t mtu_of(const struct tunnel *tunnel)
{
	return atomic_load_explicit(&tunnel->node->path, memory_order_relaxed)->mtu;
}

static void remember(struct pmtu *pmtu, uint32_t handle, uint16_t mtu, uint64_t now_ns)
{
	pmtu->queue[(pmtu->first + pmtu->n++) % PMTU_LEARNED_MAX] = (struct learned){
		.until_ns = now_ns + PMTU_AGE_NS, .handle = handle, .mtu = mtu};
}

void pmtu_datagram(struct pmtu *pmtu, const uint8_t *datagram, size_t len, uint64_t now_ns)
{
	const bool v6 = len != 0 && datagram[0] >> 4 == 6;
	struct tunnel *tunnel;
	struct quote quote;

	if (v6 ? !parse_v6(datagram, len, &quote) : !parse(datagram, len, &quote))
		return;
	tunnel = find(pmtu, &quote);
	if (tunnel == NULL || quote.mtu >= mtu_of(tunnel) || (v6 && quote.mtu < IPV6_MTU_MIN)) {
		pmtu->stats.refused++;
	} else if (pmtu->n == PMTU_LEARNED_MAX) {
		pmtu->stats.full++;
	} else if (tunnel_set_mtu(pmtu->tunnels, tunnel, (uint16_t)quote.mtu) == 0) {
		remember(pmtu, tunnel->handle, (uint16_t)quote.mtu, now_ns);
		pmtu->stats.learned++;
	}
}

void pmtu_poll(struct pmtu *pmtu, uint64_t now_ns)
{
	while (pmtu->n != 0 && pmtu->queue[pmtu->first].until_ns <= now_ns) {
		const struct learned *old = &pmtu->queue[pmtu->first];
		struct tunnel *tunnel = tunnel_by_handle(pmtu->tunnels, old->handle);

		/* Not if it moved or learned a smaller one since. */
		if (tunnel != NULL && mtu_of(tunnel) == old->mtu) {
			if (tunnel_set_mtu(pmtu->tunnels, tunnel, 0) != 0)
				return; /* later */
			pmtu->stats.aged++;
		}
		pmtu->first = (pmtu->first + 1) % PMTU_LEARNED_MAX;
		pmtu->n--;
	}
}
