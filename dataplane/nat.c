/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a keepalive and what is malformed end here, before any SA is looked for. A
 * checksum is looked at last and only if there is one: senders leave it 0 (RFC 3948 section 2.1),
 * so most packets cost no pass over their bytes.
 *
 * Which packet is the newest? The one whose number is the right edge of the SA's window, since only
 * an authenticated packet moves that. A replayed one moves nothing and an older one that came late
 * is not at the edge, so neither can drag a path along, whatever port it comes from. How often a
 * node is told of is limited by a time in the node: that also keeps the packets that come until
 * control has swapped the path from being told once each.
 */
#include "dataplane/nat.h"

#include "dataplane/ip4.h"
#include "dataplane/now.h"
#include "dataplane/state.h"

#define MARKER_BYTES 4      /* RFC 3948 section 2.2: zero where ESP has its SPI */
#define KEEPALIVE_BYTE 0xff /* RFC 3948 section 2.3: alone */

/* None at all is what senders of ESP should say with IPv4 (RFC 768, RFC 3948 section 2.1), and may
 * with IPv6, since ESP has a better one (RFC 6935, RFC 6936). */
static bool checksum_ok(const uint8_t *ip, const uint8_t *udp, uint32_t len)
{
	uint32_t sum;

	if (wire_load_u16(udp + 6) == 0)
		return true;
	sum = ip_is_v6(ip) ? inet_sum(ip + IPV6_SRC_AT, 2 * IPV6_ADDR_BYTES, IP4_PROTO_UDP + len)
			   : inet_sum(ip + 12, 8, IP4_PROTO_UDP + len); /* both addresses */
	return inet_fold(inet_sum(udp, len, sum)) == 0;
}

/* What a whole datagram of len bytes to our port holds. */
static enum verdict check_whole(const uint8_t *ip, const uint8_t *udp, uint32_t len, bool *esp)
{
	const uint32_t payload = len - UDP_HDR_BYTES;

	if (payload == 1 && udp[UDP_HDR_BYTES] == KEEPALIVE_BYTE)
		return VERDICT_KEEPALIVE;
	if (payload < MARKER_BYTES)
		return VERDICT_RUNT;
	*esp = wire_load_u32(udp + UDP_HDR_BYTES) != 0;
	if (!*esp)
		return VERDICT_OK;
	if (payload < ESP_MIN_BYTES)
		return VERDICT_BAD_ESP;
	return checksum_ok(ip, udp, len) ? VERDICT_OK : VERDICT_BAD_HEADER;
}

enum verdict nat_check(struct esp_pkt *pkt, uint32_t hdr, uint16_t *port)
{
	const uint8_t *ip = pkt->data;
	const uint32_t room = pkt->len - hdr;
	const uint8_t *udp = ip + hdr;
	enum verdict verdict;
	uint32_t len;
	bool esp = false;

	*port = 0;
	if (room < UDP_HDR_BYTES || wire_load_u16(udp + 2) != PATH_NAT_PORT)
		return VERDICT_OK;
	len = wire_load_u16(udp + 4);
	if (len > room)
		return VERDICT_RUNT;
	/* Port 0 is nobody's: it could not be answered. */
	if (len < UDP_HDR_BYTES || wire_load_u16(udp) == 0)
		return VERDICT_BAD_HEADER;
	verdict = check_whole(ip, udp, len, &esp);
	if (verdict != VERDICT_OK || !esp)
		return verdict;
	*port = wire_load_u16(udp);
	pkt->outer_bytes = (uint16_t)(hdr + UDP_HDR_BYTES);
	pkt->tailroom = (uint16_t)(pkt->tailroom + (room - len));
	pkt->len -= room - len;
	return VERDICT_OK;
}

/* True: by this worker, now. */
static bool may_tell(struct node *node, uint64_t now_ns)
{
	const uint32_t now_ms = (uint32_t)(now_ns / NS_PER_MS);
	uint32_t told_ms = atomic_load_explicit(&node->port_told_ms, memory_order_relaxed);

	return now_ms - told_ms >= DP_PORT_CHANGE_EVERY_MS &&
	       atomic_compare_exchange_strong_explicit(&node->port_told_ms, &told_ms, now_ms,
		       memory_order_relaxed, memory_order_relaxed);
}

static bool is_newest(const struct burst *b, unsigned i)
{
	const uint8_t *esp = pkt_outer(b, i) + b->pkts[i].outer_bytes;
	const struct sa_in *sa = b->sas.in[i];

	return wire_load_u32(esp + 4) ==
	       (uint32_t)atomic_load_explicit(&sa->slot->seq, memory_order_relaxed);
}

static void watch_one(struct worker *worker, const struct burst *b, unsigned i)
{
	struct node *node = b->sas.in[i]->node;
	struct dp_port_change change;
	const struct path *path;

	if ((node->flags & NODE_ALLOW_NAT) == 0)
		return;
	/* Acquire pairs with the release in dataplane_node_set_path(). */
	path = atomic_load_explicit(&node->path, memory_order_acquire);
	if (path->remote.port == 0 || path->remote.port == b->outer_ports[i] ||
		!ip_src_is(pkt_outer(b, i), &path->remote.addr) || !is_newest(b, i) ||
		!may_tell(node, b->now_ns))
		return;
	change = (struct dp_port_change){.node = node->handle,
		.from = {.addr = path->remote.addr, .port = b->outer_ports[i]}};
	/* No room: told again by a packet to come. */
	if (!punt_port_change(&worker->rings, &change))
		atomic_fetch_sub_explicit(
			&node->port_told_ms, DP_PORT_CHANGE_EVERY_MS, memory_order_relaxed);
}

void nat_watch(struct worker *worker, const struct burst *b)
{
	for (uint32_t left = b->in_udp; left != 0; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctz(left);

		/* Both are authenticated, and so in the window. */
		if (b->verdicts[i] == VERDICT_OK || b->verdicts[i] == VERDICT_DUMMY)
			watch_one(worker, b, i);
	}
}
