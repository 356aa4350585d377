/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: header, addresses, then who may be the source. Home address, care-of address and
 * the former one in its grace time pass; a registration is judged by what it says, whoever sends
 * it; IP-in-IP from a care-of address is the reverse tunnel and must carry the home address inside.
 * A plain packet (plain.h) from the home address that is neither of both needs no more than that.
 */
#include "dataplane/inner.h"

#include "dataplane/ip4.h"
#include "dataplane/state.h"
#include "lib/challenge.h"
#include "lib/mip4.h"

/* RRQ, fixed part (RFC 5944 3.3): type at 0, home address at 4, care-of address at 12. */
#define RRQ_BYTES 24
#define RRQ_HOA_AT 4
#define RRQ_COA_AT 12
#define ICMP_ECHO_REPLY 0

/* May hold the UDP ports: a first fragment does, since fragments are cut at 8 bytes. */
static bool is_registration_port(const uint8_t *ip, uint32_t len)
{
	uint32_t hdr = ip4_hdr_bytes(ip);

	return ip4_protocol(ip) == IP4_PROTO_UDP && ip4_fragment_offset(ip) == 0 &&
	       len >= hdr + UDP_HDR_BYTES && wire_load_u16(ip + hdr + 2) == MIP4_PORT;
}

static be32_t addr_at(const uint8_t *at)
{
	be32_t addr;

	memcpy(&addr, at, sizeof addr);
	return addr;
}

static bool is_own_registration(const struct node *node, const uint8_t *ip, uint32_t len)
{
	uint32_t hdr = ip4_hdr_bytes(ip);
	const uint8_t *rrq = ip + hdr + UDP_HDR_BYTES;
	uint32_t udp_len = wire_load_u16(ip + hdr + 4);

	return !ip4_is_fragment(ip) && ip4_dst(ip) == node->home_agent &&
	       udp_len >= UDP_HDR_BYTES + RRQ_BYTES && udp_len <= len - hdr &&
	       rrq[0] == MIP4_TYPE_RRQ && ip4_is(addr_at(rrq + RRQ_HOA_AT), &node->home_address) &&
	       addr_at(rrq + RRQ_COA_AT) == ip4_src(ip);
}

/* The only thing that a node says to the gateway itself: the answer to a challenge, an ICMP echo
 * reply (lib/challenge.h). Control reads it. */
static bool is_answer(const struct sa_in *sa, const uint8_t *ip, uint32_t len)
{
	return (sa->node->flags & NODE_RETURN_ROUTABILITY) != 0 &&
	       ip4_src(ip) == ip4_of(&sa->inner_source) && ip4_protocol(ip) == IP4_PROTO_ICMP &&
	       !ip4_is_fragment(ip) && len == ip4_hdr_bytes(ip) + CHALLENGE_ICMP_BYTES &&
	       ip[ip4_hdr_bytes(ip)] == ICMP_ECHO_REPLY;
}

/* Token bucket in one word, the time at which the bucket is full again: a registration moves it by
 * one interval, and it may be at most a burst ahead of now. Answers take from it, too. */
static bool rate_passes(const struct dataplane *dp, struct node *node, uint64_t now_ns)
{
	uint64_t full = atomic_load_explicit(&node->registration_at_ns, memory_order_relaxed);
	uint64_t next;

	do {
		next = (full > now_ns ? full : now_ns) + dp->registration_interval_ns;
		if (next > now_ns + dp->registration_burst_ns)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&node->registration_at_ns, &full, next,
		memory_order_relaxed, memory_order_relaxed));
	return true;
}

struct tunnel_view { /* a tunnel's outer header, of either family */
	const uint8_t *ip;
	uint32_t len, hdr;
	uint8_t protocol; /* of what it carries */
	bool fragment;
};

/* What a reverse tunnel carries hdr bytes from its start: the home address as source, of the family
 * that its protocol says. */
static enum verdict check_tunnelled(
	const struct dataplane *dp, const struct node *node, const struct tunnel_view *tunnel)
{
	const bool v6 = tunnel->protocol == IP_NEXT_IPV6;
	const uint8_t *ip = tunnel->ip + tunnel->hdr;

	if (tunnel->fragment)
		return VERDICT_FRAGMENT;
	if (tunnel->len < tunnel->hdr + (v6 ? IPV6_HDR_BYTES : IPV4_HDR_BYTES) ||
		ip[0] >> 4 != (v6 ? 6 : 4))
		return VERDICT_BAD_HEADER;
	/* Not by way of the home agent either does a node talk to the gateway. */
	if (v6 ? is_own_address_v6(dp, ip6_dst(ip)) : is_own_address(dp, ip4_dst(ip)))
		return VERDICT_BAD_ADDRESS;
	return (v6 ? ip6_is(ip6_src(ip), &node->home_address)
		   : ip4_is(ip4_src(ip), &node->home_address))
		       ? VERDICT_OK
		       : VERDICT_INNER_SOURCE;
}

static enum verdict check_reverse_tunnel(
	const struct dataplane *dp, const struct node *node, const uint8_t *ip, uint32_t len)
{
	const struct tunnel_view tunnel = {.ip = ip,
		.len = len,
		.hdr = ip4_hdr_bytes(ip),
		.protocol = ip4_protocol(ip),
		.fragment = ip4_is_fragment(ip)};

	return ip4_dst(ip) == node->home_agent ? check_tunnelled(dp, node, &tunnel)
					       : VERDICT_INNER_SOURCE;
}

/* Where src is not the node's home address. */
static enum verdict check_other_source(const struct dataplane *dp, const struct node *node,
	const uint8_t *ip, uint32_t len, uint64_t now_ns)
{
	const struct path *path;
	bool tunnels = ip_is_tunnel(ip4_protocol(ip));

	/* Acquire pairs with the release in dataplane_node_set_path(). */
	path = atomic_load_explicit(&node->path, memory_order_acquire);
	if (ip4_path_selects(path, ip4_src(ip), now_ns)) {
		if (tunnels)
			return check_reverse_tunnel(dp, node, ip, len);
		/* A label may be the address of a host of ours: no source to be believed. */
		if ((path->flags & PATH_LABEL) == 0)
			return VERDICT_OK;
	}
	/* The home agent takes IP-in-IP from care-of addresses only; that of another node would
	 * let this one speak for it, so no flag opens this. */
	if (tunnels && is_home_agent(dp, ip4_dst(ip)))
		return VERDICT_INNER_SOURCE;
	return node->flags & NODE_STRICT_INNER_SOURCE ? VERDICT_INNER_SOURCE : VERDICT_OK;
}

static enum verdict check_source(const struct dataplane *dp, const struct sa_in *sa,
	const uint8_t *ip, uint32_t len, uint64_t now_ns)
{
	if (ip4_src(ip) != ip4_of(&sa->inner_source))
		return check_other_source(dp, sa->node, ip, len, now_ns);
	return ip_is_tunnel(ip4_protocol(ip)) && is_home_agent(dp, ip4_dst(ip))
		       ? VERDICT_INNER_SOURCE
		       : VERDICT_OK;
}

/* The same rules for IPv6, in which nobody registers: Mobile IPv4 has a header of its own. */
static enum verdict check_other_source_v6(const struct dataplane *dp, const struct node *node,
	const struct tunnel_view *tunnel, uint64_t now_ns)
{
	const uint8_t *ip = tunnel->ip;
	const bool tunnels = ip_is_tunnel(tunnel->protocol);
	/* Acquire pairs with the release in dataplane_node_set_path(). */
	const struct path *path = atomic_load_explicit(&node->path, memory_order_acquire);

	if (ip6_path_selects(path, ip6_src(ip), now_ns)) {
		if (tunnels)
			return ip6_equal(ip6_dst(ip), node->home_agent_v6)
				       ? check_tunnelled(dp, node, tunnel)
				       : VERDICT_INNER_SOURCE;
		if ((path->flags & PATH_LABEL) == 0)
			return VERDICT_OK;
	}
	if (tunnels && is_home_agent_v6(dp, ip6_dst(ip)))
		return VERDICT_INNER_SOURCE;
	return node->flags & NODE_STRICT_INNER_SOURCE ? VERDICT_INNER_SOURCE : VERDICT_OK;
}

static enum verdict check_source_v6(const struct dataplane *dp, const struct sa_in *sa,
	const struct tunnel_view *tunnel, uint64_t now_ns)
{
	if (!ip6_is(ip6_src(tunnel->ip), &sa->inner_source))
		return check_other_source_v6(dp, sa->node, tunnel, now_ns);
	return ip_is_tunnel(tunnel->protocol) && is_home_agent_v6(dp, ip6_dst(tunnel->ip))
		       ? VERDICT_INNER_SOURCE
		       : VERDICT_OK;
}

static IP_V6_ONLY enum verdict inner_check_v6(
	const struct dataplane *dp, const struct sa_in *sa, struct esp_pkt *pkt, uint64_t now_ns)
{
	uint8_t *ip = pkt->data;
	struct tunnel_view tunnel = {.ip = ip, .len = pkt->len};
	struct ipv6_upper upper;
	enum verdict verdict = ip6_check(ip, pkt->len);

	if (verdict == VERDICT_OK)
		verdict = ip6_find_upper(ip, pkt->len, false, &upper);
	if (verdict != VERDICT_OK)
		return verdict;
	if (!ip6_is_forwardable(ip6_src(ip)) || !ip6_is_forwardable(ip6_dst(ip)) ||
		is_own_address_v6(dp, ip6_dst(ip)) || is_own_address_v6(dp, ip6_src(ip)))
		return VERDICT_BAD_ADDRESS;
	tunnel.hdr = upper.at;
	tunnel.protocol = upper.protocol;
	tunnel.fragment = upper.fragment;
	verdict = check_source_v6(dp, sa, &tunnel, now_ns);
	if (verdict != VERDICT_OK)
		return verdict;
	return ip6_hop_limit_decrement(ip) ? VERDICT_OK : VERDICT_TTL;
}

static __attribute__((noinline)) enum verdict long_way(const struct dataplane *dp,
	const struct sa_in *sa, struct esp_pkt *pkt, uint64_t now_ns, bool *for_control)
{
	uint8_t *ip = pkt->data;
	enum verdict verdict;

	*for_control = false;
	if (ip_is_v6(ip))
		return inner_check_v6(dp, sa, pkt, now_ns);
	verdict = ip4_check(ip, pkt->len);
	if (verdict != VERDICT_OK)
		return verdict;
	if (!ip4_is_forwardable(ip4_src(ip)) || !ip4_is_forwardable(ip4_dst(ip)))
		return VERDICT_BAD_ADDRESS;
	/* A node does not talk to the gateway itself, least of all to its SIU port. */
	if (is_own_address(dp, ip4_dst(ip)) || is_own_address(dp, ip4_src(ip))) {
		if (!is_answer(sa, ip, pkt->len))
			return VERDICT_BAD_ADDRESS;
		*for_control = true;
	} else if (is_registration_port(ip, pkt->len)) {
		if (!is_own_registration(sa->node, ip, pkt->len))
			return VERDICT_REGISTRATION;
		*for_control = true;
	} else {
		verdict = check_source(dp, sa, ip, pkt->len, now_ns);
		if (verdict != VERDICT_OK)
			return verdict;
	}
	if (!ip4_ttl_decrement(ip))
		return VERDICT_TTL;
	if (*for_control && !rate_passes(dp, sa->node, now_ns))
		return VERDICT_RATE_LIMITED;
	return VERDICT_OK;
}

/* Anything that may be a registration is not plain: its port lies in the fourth byte of what
 * follows the header, whatever that is. */
static inline bool is_plain(
	const struct dataplane *dp, const struct sa_in *sa, const struct esp_pkt *pkt)
{
	const uint8_t *ip = pkt->data;

	return pkt->len >= IPV4_HDR_BYTES + 4 && ip[0] == IP4_PLAIN &&
	       ip4_total_len(ip) == pkt->len && ip4_checksum_ok(ip, IPV4_HDR_BYTES) &&
	       ip4_src(ip) == ip4_of(&sa->inner_source) &&
	       (plain_oddity(&dp->plain_addrs, ip4_src(ip)) |
		       plain_oddity(&dp->plain_addrs, ip4_dst(ip))) == 0 &&
	       !ip_is_tunnel(ip4_protocol(ip)) &&
	       wire_load_u16(ip + IPV4_HDR_BYTES + 2) != MIP4_PORT;
}

static inline enum verdict check(const struct dataplane *dp, const struct sa_in *sa,
	struct esp_pkt *pkt, uint64_t now_ns, bool *for_control)
{
	if (__builtin_expect(!is_plain(dp, sa, pkt), 0))
		return long_way(dp, sa, pkt, now_ns, for_control);
	*for_control = false;
	return ip4_ttl_decrement(pkt->data) ? VERDICT_OK : VERDICT_TTL;
}

enum verdict inner_check(const struct dataplane *dp, const struct sa_in *sa, struct esp_pkt *pkt,
	uint64_t now_ns, bool *for_control)
{
	return check(dp, sa, pkt, now_ns, for_control);
}

void inner_check_burst(const struct dataplane *dp, struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct sa_in *sa = b->sas.in[i];
		bool for_control;

		ahead_frame(b, i, 0);
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		b->nodes[i] = sa->node;
		b->verdicts[i] = check(dp, sa, &b->pkts[i], b->now_ns, &for_control);
		if (b->verdicts[i] == VERDICT_OK && for_control)
			burst_punt(b, i, PUNT_REGISTRATION);
	}
}
