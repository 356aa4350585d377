/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_IP6_H
#define DATAPLANE_IP6_H
/*
 * IPv6 headers in place, for workers: what RFC 8200 asks of a header that is received, addresses
 * that must not be forwarded (RFC 6890, RFC 4291), the chain of extension headers, the hop limit.
 *
 * Pure functions on bytes, any thread. An address is a pointer to its 16 bytes in the packet.
 */
#include "dataplane/esp/ip_fields.h"
#include "dataplane/esp/path.h"
#include "dataplane/esp/verdict.h"
#include "lib/ipv6.h"
#include "lib/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define IP6_PROTO_ICMP 58

static inline const uint8_t *ip6_src(const uint8_t *ip)
{
	return ip + IPV6_SRC_AT;
}

static inline const uint8_t *ip6_dst(const uint8_t *ip)
{
	return ip + IPV6_DST_AT;
}

static inline bool ip6_equal(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, IPV6_ADDR_BYTES) == 0;
}

/* Is the 16 bytes' address the one of addr? */
static inline bool ip6_is(const uint8_t *bytes, const struct ip_addr *addr)
{
	return addr->family == AF_INET6 && ip6_equal(bytes, addr->bytes);
}

/* path_selects() for an address as it stands in a packet. */
static inline bool ip6_path_selects(const struct path *path, const uint8_t *bytes, uint64_t now_ns)
{
	return ip6_is(bytes, &path->coa) ||
	       (ip6_is(bytes, &path->former_coa) && now_ns < path->grace_until_ns);
}

/* len: bytes that are there. A jumbogram's length of 0 is that of the fixed header alone, and its
 * hop-by-hop header then lies behind the end: RFC 2675 asks nothing of us. */
static inline enum verdict ip6_check(const uint8_t *ip, uint32_t len)
{
	if (len < IPV6_HDR_BYTES)
		return VERDICT_RUNT;
	if (ip[0] >> 4 != 6)
		return VERDICT_BAD_HEADER;
	return ip_total_len(ip) <= len ? VERDICT_OK : VERDICT_RUNT;
}

static inline bool ip6_is_multicast(const uint8_t *addr)
{
	return addr[0] == 0xff;
}

/* fe80::/10 */
static inline bool ip6_is_link_local(const uint8_t *addr)
{
	return addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80;
}

/* ff02::/16 */
static inline bool ip6_is_link_multicast(const uint8_t *addr)
{
	return ip6_is_multicast(addr) && (addr[1] & 15) == 2;
}

/* ::/96 with :: and ::1, ::ffff:0:0/96, fe80::/10, ff00::/8: never source or destination of a
 * packet that a router forwards. */
static inline bool ip6_is_forwardable(const uint8_t *addr)
{
	const uint32_t third = wire_load_u32(addr + 8);

	if (wire_load_u64(addr) == 0 && (third == 0 || third == 0xffff))
		return false;
	return !ip6_is_multicast(addr) && !ip6_is_link_local(addr);
}

/* Takes one off the hop limit; false if that would leave 0. */
static inline bool ip6_hop_limit_decrement(uint8_t *ip)
{
	if (ip[7] <= 1)
		return false;
	ip[7]--;
	return true;
}

/* ip: checked, len its total length; for_us as in lib/ipv6.h. OK, RUNT (a header ends behind the
 * packet) or BAD_HEADER (too many, out of place, refused). */
static inline enum verdict ip6_find_upper(
	const uint8_t *ip, uint32_t len, bool for_us, struct ipv6_upper *out)
{
	const enum ipv6_chain chain = ipv6_find_upper(ip, len, for_us, out);

	if (chain == IPV6_CHAIN_CUT)
		return VERDICT_RUNT;
	return chain == IPV6_CHAIN_OK ? VERDICT_OK : VERDICT_BAD_HEADER;
}
#endif
