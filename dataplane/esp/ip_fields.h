/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_IP_FIELDS_H
#define DATAPLANE_ESP_IP_FIELDS_H
/*
 * What ESP and the packet path ask of an IP header of either family, in place.
 *
 * Threads: any; pure functions. The header's fixed part (20 or 40 bytes) is there.
 * Sources: RFC 791, RFC 8200 section 3, RFC 3168 section 5.
 */
#include "lib/inet.h"
#include "lib/ipv6.h"
#include "lib/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define IP_NEXT_IPV4 4 /* IANA protocol numbers */
#define IP_NEXT_IPV6 41
#define IP_NEXT_NONE 59
#define IPV4_SRC_AT 12
#define IPV4_DST_AT 16
#define IPV4_ADDR_BYTES 4

/* For what IPv6 alone needs: kept out of the way of the others, whose code stays short. */
#define IP_V6_ONLY __attribute__((noinline))

/* IP in IP: RFC 2003, RFC 2473, RFC 4213. */
static inline bool ip_is_tunnel(uint8_t protocol)
{
	return protocol == IP_NEXT_IPV4 || protocol == IP_NEXT_IPV6;
}

/* Most packets are of one family, and mostly of this one: the other pays for the branch. */
static inline bool ip_is_v6(const uint8_t *ip)
{
	return __builtin_expect(ip[0] >> 4 == 6, 0);
}

/* The byte that IPv4 calls TOS: DSCP and ECN. */
static inline uint8_t ip_traffic_class(const uint8_t *ip)
{
	return ip_is_v6(ip) ? (uint8_t)(wire_load_u16(ip) >> 4) : ip[1];
}

/* Bytes, header included, as the header says. */
static inline uint32_t ip_total_len(const uint8_t *ip)
{
	return ip_is_v6(ip) ? IPV6_HDR_BYTES + (uint32_t)wire_load_u16(ip + 4)
			    : wire_load_u16(ip + 2);
}

static inline bool ip_src_is(const uint8_t *ip, const struct ip_addr *addr)
{
	if (ip_is_v6(ip))
		return addr->family == AF_INET6 &&
		       memcmp(ip + IPV6_SRC_AT, addr->bytes, IPV6_ADDR_BYTES) == 0;
	return addr->family == AF_INET &&
	       memcmp(ip + IPV4_SRC_AT, addr->bytes, IPV4_ADDR_BYTES) == 0;
}
#endif
