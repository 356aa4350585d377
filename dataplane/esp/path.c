/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: path_init() prebuilds the outer header. With IPv4 it also has the checksum of
 * what stays the same in it, so that a packet costs one 20-byte copy and four 16-bit fields; with
 * IPv6 a 40-byte copy and two fields. For a node behind a NAT a UDP header stands behind it, whose
 * checksum stays 0 with IPv4 (RFC 3948 section 2.1); IPv6 wants one (RFC 8200 section 8.1).
 */
#include "dataplane/esp/path.h"

#include "dataplane/esp/ip_fields.h"
#include "lib/wire.h"

#include <string.h>
#include <sys/socket.h>

#define OUTER_IPV4_BYTES 20
#define OUTER_UDP_BYTES 8
#define OUTER_VERSION_IHL 0x45
#define OUTER_VERSION_IPV6 0x60
#define OUTER_TTL 64 /* or hop limit */
#define IPV4_PROTOCOL_AT 9
#define IPV6_NEXT_HEADER_AT 6

/* RFC 791. TOS, total length, identification, flags and checksum stay 0: they are the packet's. */
static void outer_init_ipv4(
	struct path_outer *outer, const struct ip_addr *local, const struct ip_addr *remote)
{
	outer->bytes[0] = OUTER_VERSION_IHL;
	outer->bytes[8] = OUTER_TTL;
	outer->bytes[IPV4_PROTOCOL_AT] = IPPROTO_ESP;
	memcpy(outer->bytes + 12, local->bytes, 4);
	memcpy(outer->bytes + 16, remote->bytes, 4);
	outer->len = OUTER_IPV4_BYTES;
	outer->encap = PATH_ENCAP_ESP;
	outer->family = AF_INET;
}

/* RFC 8200 section 3. Traffic class, flow label and payload length are the packet's. */
static void outer_init_ipv6(
	struct path_outer *outer, const struct ip_addr *local, const struct ip_addr *remote)
{
	outer->bytes[0] = OUTER_VERSION_IPV6;
	outer->bytes[IPV6_NEXT_HEADER_AT] = IPPROTO_ESP;
	outer->bytes[7] = OUTER_TTL;
	memcpy(outer->bytes + IPV6_SRC_AT, local->bytes, IPV6_ADDR_BYTES);
	memcpy(outer->bytes + IPV6_DST_AT, remote->bytes, IPV6_ADDR_BYTES);
	outer->len = IPV6_HDR_BYTES;
	outer->encap = PATH_ENCAP_ESP;
	outer->family = AF_INET6;
	outer->needs = PATH_NEED_IPV6;
}

/* RFC 3948 section 2.1. The length is the packet's. */
static void outer_add_udp(struct path_outer *outer, uint16_t local_port, uint16_t remote_port)
{
	const bool v6 = outer->family == AF_INET6;

	wire_store_u16(outer->bytes + outer->len, local_port);
	wire_store_u16(outer->bytes + outer->len + 2, remote_port);
	if (v6)
		outer->needs |= PATH_NEED_UDP_SUM;
	outer->bytes[v6 ? IPV6_NEXT_HEADER_AT : IPV4_PROTOCOL_AT] = IPPROTO_UDP;
	outer->len += OUTER_UDP_BYTES;
	outer->encap = PATH_ENCAP_UDP;
}

static bool ends_usable(const struct ip_endpoint *local, const struct ip_endpoint *remote)
{
	return local->addr.family == remote->addr.family &&
	       (local->port == 0) == (remote->port == 0) && ip_addr_is_unicast(&local->addr) &&
	       ip_addr_is_unicast(&remote->addr);
}

bool path_outer_init(
	struct path_outer *outer, const struct ip_endpoint *local, const struct ip_endpoint *remote)
{
	*outer = (struct path_outer){.len = 0};
	if (!ends_usable(local, remote))
		return false;
	if (remote->addr.family == AF_INET6)
		outer_init_ipv6(outer, &local->addr, &remote->addr);
	else
		outer_init_ipv4(outer, &local->addr, &remote->addr);
	if (remote->port != 0)
		outer_add_udp(outer, local->port, remote->port);
	/* Of IPv4 alone; nobody asks for it with IPv6. */
	outer->sum = inet_sum(outer->bytes, OUTER_IPV4_BYTES, 0);
	return true;
}

bool path_init(struct path *path, const struct path_params *params)
{
	bool closed = (params->flags & PATH_CLOSED) != 0;

	*path = (struct path){
		.coa = params->coa,
		.former_coa = params->former_coa,
		.flags = params->flags,
		.mtu = params->mtu,
		.grace_until_ns = params->grace_until_ns,
		.generation = params->generation,
		.first_tx_ns = params->first_tx_ns,
		.rrp_tx_ns = params->rrp_tx_ns,
		.local = params->local,
		.remote = params->remote,
		.credit = params->credit,
	};
	/* A closed path sends nothing and so needs no ends: the node may never have registered. */
	return closed || path_outer_init(&path->outer, &params->local, &params->remote);
}
