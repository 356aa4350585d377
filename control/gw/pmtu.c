/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: what was learned lies in the node's path, and here in a queue, since all of it
 * lives equally long. A node that has moved meanwhile has another path; its entry then finds
 * nothing to undo.
 */
#include "control/gw/pmtu.h"

#include "lib/ipv4.h"
#include "lib/wire.h"

#include <linux/icmp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ICMP_HDR_BYTES 8
#define ICMP_MTU_AT 6
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
	uint16_t mtu; /* 0: an old router that does not say */
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

/* The quoted packet: its header may be cut behind the first bytes of its payload, so the checks of
 * ipv4_parse() are not for it. */
static bool read_quote(const uint8_t *ip, size_t len, struct quote *out)
{
	size_t hdr = len < IPV4_HDR_BYTES ? 0 : (ip[0] & 15u) * 4u, esp = hdr;
	be32_t src, dst;

	if (hdr < IPV4_HDR_BYTES || ip[0] >> 4 != 4 ||
		(wire_load_u16(ip + 6) & IPV4_FRAG_MASK) != 0)
		return false;
	memcpy(&src, ip + 12, sizeof src);
	memcpy(&dst, ip + 16, sizeof dst);
	out->local = ip_addr_from_v4(src);
	out->remote = (struct ip_endpoint){.addr = ip_addr_from_v4(dst)};
	out->quoted_len = wire_load_u16(ip + 2);
	if (ip[9] == IPPROTO_UDP) {
		if (len < hdr + UDP_HDR_BYTES || wire_load_u16(ip + hdr) != PATH_NAT_PORT)
			return false;
		out->remote.port = wire_load_u16(ip + hdr + 2);
		esp += UDP_HDR_BYTES;
	} else if (ip[9] != IPPROTO_ESP) {
		return false;
	}
	if (len < esp + ESP_QUOTED_BYTES)
		return false;
	out->spi = wire_load_u32(ip + esp);
	out->seq_low = wire_load_u32(ip + esp + 4);
	return true;
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
	return true;
}

/* Is it the SA's own, sent a moment ago on the path that is in force? */
static bool is_ours(const struct tunnel_sa *sa, const struct quote *quote)
{
	const struct tunnel *tunnel = sa->tunnel;
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
			return sa->tunnel;
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
	struct tunnel *tunnel;
	struct quote quote;
	uint16_t mtu;

	if (!parse(datagram, len, &quote))
		return;
	tunnel = find(pmtu, &quote);
	mtu = quote.mtu != 0 ? quote.mtu : plateau_below(quote.quoted_len);
	if (mtu < PMTU_MIN)
		mtu = PMTU_MIN;
	if (tunnel == NULL || mtu >= mtu_of(tunnel)) {
		pmtu->stats.refused++;
	} else if (pmtu->n == PMTU_LEARNED_MAX) {
		pmtu->stats.full++;
	} else if (tunnel_set_mtu(pmtu->tunnels, tunnel, mtu) == 0) {
		remember(pmtu, tunnel->handle, mtu, now_ns);
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
