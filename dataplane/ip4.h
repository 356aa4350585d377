/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_IP4_H
#define DATAPLANE_IP4_H
/*
 * IPv4 headers in place, for workers: the checks of RFC 1812 section 5.2.2, addresses that must not
 * be forwarded (section 5.3.7, RFC 6890), and the TTL (RFC 1624).
 *
 * Pure functions on bytes, any thread. Addresses are be32_t as they stand in the packet.
 */
#include "dataplane/esp/path.h"
#include "dataplane/esp/verdict.h"
#include "lib/inet.h"
#include "lib/ipv4.h"
#include "lib/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define IP4_PLAIN 0x45 /* first byte of a header without options */
#define IP4_PROTO_ICMP 1
#define IP4_PROTO_IPIP 4
#define IP4_PROTO_UDP 17
#define IP4_PROTO_ESP 50
#define IP4_OPTION_END 0
#define IP4_OPTION_NOP 1
#define IP4_OPTION_LSRR 131
#define IP4_OPTION_SSRR 137

static inline be32_t ip4_src(const uint8_t *ip)
{
	be32_t addr;

	memcpy(&addr, ip + 12, sizeof addr);
	return addr;
}

static inline be32_t ip4_dst(const uint8_t *ip)
{
	be32_t addr;

	memcpy(&addr, ip + 16, sizeof addr);
	return addr;
}

/* The IPv4 address of addr, 0 if it is none. */
static inline be32_t ip4_of(const struct ip_addr *addr)
{
	be32_t value;

	memcpy(&value, addr->bytes, sizeof value);
	return addr->family == AF_INET ? value : 0;
}

/* Is it, as it stands in a packet, this one? 0.0.0.0 is not what an IPv6 address lacks. */
static inline bool ip4_is(be32_t value, const struct ip_addr *addr)
{
	return addr->family == AF_INET && value == ip4_of(addr);
}

/* path_selects() for an address as it stands in a packet, which is not 0.0.0.0. */
static inline bool ip4_path_selects(const struct path *path, be32_t addr, uint64_t now_ns)
{
	return ip4_of(&path->coa) == addr ||
	       (ip4_of(&path->former_coa) == addr && now_ns < path->grace_until_ns);
}

static inline uint32_t ip4_hdr_bytes(const uint8_t *ip)
{
	return (ip[0] & 15u) * 4u;
}

static inline uint32_t ip4_total_len(const uint8_t *ip)
{
	return wire_load_u16(ip + 2);
}

static inline uint8_t ip4_protocol(const uint8_t *ip)
{
	return ip[9];
}

static inline uint32_t ip4_fragment_offset(const uint8_t *ip)
{
	return (wire_load_u16(ip + 6) & IPV4_FRAG_MASK) * 8u;
}

static inline bool ip4_is_fragment(const uint8_t *ip)
{
	return (wire_load_u16(ip + 6) & (IPV4_FLAG_MF | IPV4_FRAG_MASK)) != 0;
}

static inline uint32_t ip4_word(const uint8_t *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof word);
	return word;
}

static inline uint64_t ip4_two_words(const uint8_t *at)
{
	uint64_t words;

	memcpy(&words, at, sizeof words);
	return words;
}

/* One's complement addition: what is carried out comes in again. */
static inline uint64_t ip4_sum(uint64_t sum, uint64_t words)
{
	sum += words;
	return sum + (sum < words);
}

/* One's complement sum of the header in native order is a multiple of 0xffff, and not 0, if the
 * checksum is right (RFC 1071: the sum does not depend on byte order). A word is folded by adding
 * its halves, exchanged: the upper half then has both and the carry. */
static inline bool ip4_checksum_ok(const uint8_t *ip, uint32_t hdr_bytes)
{
	uint64_t sum = ip4_sum(ip4_two_words(ip), ip4_two_words(ip + 8));
	uint32_t half;

	for (uint32_t at = IPV4_HDR_BYTES - 4; at < hdr_bytes; at += 4)
		sum = ip4_sum(sum, ip4_word(ip + at));
	half = (uint32_t)((sum + (sum << 32 | sum >> 32)) >> 32);
	return half + (half << 16 | half >> 16) >= UINT32_C(0xffff0000);
}

/* RFC 1812 5.2.2, its five tests. len: bytes that are there. */
static inline enum verdict ip4_check_header(const uint8_t *ip, uint32_t len, uint32_t hdr_bytes)
{
	uint32_t total_len = ip4_total_len(ip);

	if (hdr_bytes < IPV4_HDR_BYTES || hdr_bytes > len || total_len < hdr_bytes)
		return VERDICT_BAD_HEADER;
	if (total_len > len)
		return VERDICT_RUNT;
	return ip4_checksum_ok(ip, hdr_bytes) ? VERDICT_OK : VERDICT_BAD_HEADER;
}

/* RFC 791 section 3.1, and RFC 7126 sections 4.3 and 4.4: a source route would carry a packet
 * around the rules of those who let it pass. All other options go through as they are. */
static inline enum verdict ip4_check_options(const uint8_t *ip, uint32_t hdr_bytes)
{
	uint32_t bytes;

	for (uint32_t at = IPV4_HDR_BYTES; at < hdr_bytes; at += bytes) {
		bytes = 1;
		if (ip[at] == IP4_OPTION_END)
			break;
		if (ip[at] == IP4_OPTION_NOP)
			continue;
		if (ip[at] == IP4_OPTION_LSRR || ip[at] == IP4_OPTION_SSRR)
			return VERDICT_SOURCE_ROUTE;
		bytes = at + 1 < hdr_bytes ? ip[at + 1] : 0;
		if (bytes < 2 || bytes > hdr_bytes - at)
			return VERDICT_BAD_HEADER;
	}
	return VERDICT_OK;
}

static inline enum verdict ip4_check_long(const uint8_t *ip, uint32_t len)
{
	const uint32_t hdr_bytes = ip4_hdr_bytes(ip);
	enum verdict verdict = ip4_check_header(ip, len, hdr_bytes);

	return verdict == VERDICT_OK ? ip4_check_options(ip, hdr_bytes) : verdict;
}

static inline enum verdict ip4_check(const uint8_t *ip, uint32_t len)
{
	if (len < IPV4_HDR_BYTES)
		return VERDICT_RUNT;
	if (__builtin_expect(ip[0] == IP4_PLAIN, 1)) /* of known length: most tests vanish */
		return ip4_check_header(ip, len, IPV4_HDR_BYTES);
	return ip[0] >> 4 == 4 ? ip4_check_long(ip, len) : VERDICT_BAD_HEADER;
}

/* 0/8, 127/8, 169.254/16, multicast, class E and broadcast: never source or destination of a
 * packet that a router forwards. */
static inline bool ip4_is_forwardable(be32_t addr_be)
{
	uint32_t net = addr_be & 0xffu, pair = addr_be & 0xffffu; /* first byte lowest */

	return net - 1 < 223 && net != 127 && pair != 0xfea9u;
}

/* Takes one off the TTL; false if that would leave 0 (RFC 1812 5.3.1). The checksum follows by RFC
 * 1624: TTL is the high byte of its 16-bit word, and so the low one in native order, in which it
 * may be summed as well (RFC 1071). */
static inline bool ip4_ttl_decrement(uint8_t *ip)
{
	uint16_t sum;

	if (ip[8] <= 1)
		return false;
	ip[8]--;
	memcpy(&sum, ip + 10, sizeof sum);
	sum = (uint16_t)(sum + 1 + (sum >= 0xfffeu));
	memcpy(ip + 10, &sum, sizeof sum);
	return true;
}
#endif
