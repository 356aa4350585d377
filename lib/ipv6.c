/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the chain is walked from header to header, at most IPV6_CHAIN_MAX of them, each
 * within the packet. Most packets have none and leave at once.
 */
#include "lib/ipv6.h"

#include "lib/wire.h"

#include <errno.h>
#include <string.h>

#define HOP_BY_HOP 0 /* IANA protocol numbers */
#define ROUTING 43
#define DESTINATION_OPTIONS 60
#define HEADER_UNIT 8      /* bytes that a length counts in */
#define OPTION_PAD1 0      /* the one option without a length */
#define OPTION_ACTION 0xc0 /* 0: skip it if it is unknown */
#define ROUTING_SOURCE 0   /* type 0: RFC 5095 */
#define HOP_LIMIT_DEFAULT 64
#define ICMP6_HDR_BYTES 8
#define ICMP6_INFORMATION 128 /* types from here on are no errors: RFC 4443 section 2.1 */
#define ICMP6_REDIRECT 137    /* RFC 4861 section 4.5 */

static bool is_extension(uint8_t next_header)
{
	return next_header == HOP_BY_HOP || next_header == ROUTING ||
	       next_header == IPV6_NEXT_FRAGMENT || next_header == DESTINATION_OPTIONS;
}

/* None of the options is one that we know: RFC 8200 section 4.2 then goes by the type. */
static bool options_pass(const uint8_t *header, uint32_t bytes)
{
	for (uint32_t at = 2; at < bytes;) {
		if (header[at] == OPTION_PAD1) {
			at++;
			continue;
		}
		if (at + 2 > bytes || at + 2 + header[at + 1] > bytes ||
			(header[at] & OPTION_ACTION) != 0)
			return false;
		at += 2u + header[at + 1];
	}
	return true;
}

static bool routing_passes(const uint8_t *header, bool for_us)
{
	const bool more = header[3] != 0; /* segments left */

	return !more || (!for_us && header[2] != ROUTING_SOURCE);
}

/* Fills in what a fragment header says. True: what follows is not the first piece. */
static bool read_fragment(const uint8_t *header, struct ipv6_upper *out)
{
	const uint16_t field = wire_load_u16(header + 2);

	out->first = (field & IPV6_FRAGMENT_OFFSET) == 0;
	/* One that is first and last is a whole packet: RFC 6946. A second header makes a piece no
	 * whole packet. */
	if (!out->first || (field & IPV6_FRAGMENT_MORE) != 0)
		out->fragment = true;
	return !out->first;
}

static bool header_passes(uint8_t kind, const uint8_t *header, uint32_t bytes, bool for_us)
{
	if (kind == ROUTING)
		return routing_passes(header, for_us);
	return kind == IPV6_NEXT_FRAGMENT || !for_us || options_pass(header, bytes);
}

enum ipv6_chain ipv6_find_upper(
	const uint8_t *ip, uint32_t len, bool for_us, struct ipv6_upper *out)
{
	uint32_t at = IPV6_HDR_BYTES, bytes;
	uint8_t kind = ip[6];

	*out = (struct ipv6_upper){.first = true};
	for (unsigned n = 0; is_extension(kind); n++, at += bytes) {
		const uint8_t *header = ip + at;

		if (n == IPV6_CHAIN_MAX || (kind == HOP_BY_HOP && n != 0))
			return IPV6_CHAIN_BAD;
		if (at + HEADER_UNIT > len)
			return IPV6_CHAIN_CUT;
		bytes = kind == IPV6_NEXT_FRAGMENT ? HEADER_UNIT : (header[1] + 1u) * HEADER_UNIT;
		if (at + bytes > len)
			return IPV6_CHAIN_CUT;
		if (!header_passes(kind, header, bytes, for_us))
			return IPV6_CHAIN_BAD;
		if (kind == IPV6_NEXT_FRAGMENT && read_fragment(header, out)) {
			out->protocol = header[0];
			out->at = at + bytes;
			return IPV6_CHAIN_OK;
		}
		kind = header[0];
	}
	out->protocol = kind;
	out->at = at;
	return IPV6_CHAIN_OK;
}

int ipv6_fragment(
	const uint8_t *packet, size_t len, size_t mtu, uint32_t id, ipv6_piece_fn *fn, void *arg)
{
	uint8_t piece[UINT16_MAX];
	const size_t hdr_bytes = IPV6_HDR_BYTES + IPV6_FRAGMENT_HDR_BYTES;
	uint8_t *header = piece + IPV6_HDR_BYTES;
	int n = 0;

	if (len <= IPV6_HDR_BYTES || len > sizeof piece || packet[0] >> 4 != 6 ||
		is_extension(packet[6]))
		return -EINVAL;
	if (mtu < hdr_bytes + HEADER_UNIT)
		return -EMSGSIZE;
	memcpy(piece, packet, IPV6_HDR_BYTES);
	memset(header, 0, IPV6_FRAGMENT_HDR_BYTES);
	header[0] = packet[6];
	piece[6] = IPV6_NEXT_FRAGMENT;
	wire_store_u32(header + 4, id);
	for (size_t at = IPV6_HDR_BYTES, bytes; at < len; at += bytes, n++) {
		const size_t left = len - at, room = mtu - hdr_bytes;

		bytes = left <= room ? left : room & ~(size_t)(HEADER_UNIT - 1);
		memcpy(piece + hdr_bytes, packet + at, bytes);
		wire_store_u16(piece + 4, (uint16_t)(IPV6_FRAGMENT_HDR_BYTES + bytes));
		wire_store_u16(header + 2, (uint16_t)((at - IPV6_HDR_BYTES) |
						      (bytes < left ? IPV6_FRAGMENT_MORE : 0)));
		fn(arg, piece, hdr_bytes + bytes);
	}
	return n;
}

/* Of what cannot be judged the answer is yes: silence is safe. */
static bool may_be_error(const uint8_t *packet, uint32_t len)
{
	struct ipv6_upper upper;
	uint8_t type;

	if (ipv6_find_upper(packet, len, false, &upper) != IPV6_CHAIN_OK)
		return true;
	if (upper.protocol != IPPROTO_ICMPV6)
		return false;
	if (!upper.first || upper.at >= len)
		return true;
	type = packet[upper.at];
	return type < ICMP6_INFORMATION || type == ICMP6_REDIRECT;
}

size_t icmp6_error_build(uint8_t *out, size_t room, uint8_t type, uint8_t code, uint32_t parameter,
	const struct ip_addr *from, const uint8_t *packet, size_t len)
{
	uint8_t *icmp = out + IPV6_HDR_BYTES;
	struct ip_addr src, dst;
	size_t quoted = len, bytes;

	if (len < IPV6_HDR_BYTES || len > UINT16_MAX || packet[0] >> 4 != 6)
		return 0;
	src = ipv6_addr(packet + IPV6_SRC_AT);
	dst = ipv6_addr(packet + IPV6_DST_AT);
	if (!ip_addr_is_unicast(&src) || !ip_addr_is_unicast(&dst) ||
		may_be_error(packet, (uint32_t)len))
		return 0;
	if (quoted > IPV6_MTU_MIN - IPV6_HDR_BYTES - ICMP6_HDR_BYTES)
		quoted = IPV6_MTU_MIN - IPV6_HDR_BYTES - ICMP6_HDR_BYTES;
	bytes = ICMP6_HDR_BYTES + quoted;
	if (IPV6_HDR_BYTES + bytes > room)
		return 0;
	memset(out, 0, IPV6_HDR_BYTES);
	out[0] = 6 << 4;
	wire_store_u16(out + 4, (uint16_t)bytes);
	out[6] = IPPROTO_ICMPV6;
	out[7] = HOP_LIMIT_DEFAULT;
	memcpy(out + IPV6_SRC_AT, from->bytes, IPV6_ADDR_BYTES);
	memcpy(out + IPV6_DST_AT, src.bytes, IPV6_ADDR_BYTES);
	icmp[0] = type;
	icmp[1] = code;
	wire_store_u16(icmp + 2, 0);
	wire_store_u32(icmp + 4, parameter);
	memcpy(icmp + ICMP6_HDR_BYTES, packet, quoted);
	wire_store_u16(
		icmp + 2, inet_fold(inet_sum(icmp, bytes,
				  inet_pseudo_sum(from, &src, IPPROTO_ICMPV6, (uint32_t)bytes))));
	return IPV6_HDR_BYTES + bytes;
}
