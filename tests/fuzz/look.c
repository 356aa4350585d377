/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: nothing here is shared with the code under test but checksum and byte order.
 */
#include "tests/fuzz/look.h"

#include "lib/ipv4.h"
#include "lib/wire.h"

#include <string.h>

#define V6_BYTES 40
#define HOP_BY_HOP 0
#define ROUTING 43
#define FRAGMENT 44
#define OPTIONS 60

static struct ip_addr addr_at(const uint8_t *at, uint8_t family)
{
	struct ip_addr addr = {.family = family};

	memcpy(addr.bytes, at, family == AF_INET ? 4 : 16);
	return addr;
}

/* RFC 7126: nobody says by which way a packet goes on. */
static bool has_source_route(const struct look *look)
{
	size_t at = IPV4_HDR_BYTES;

	while (at + 1 < look->hdr && look->ip[at] != 0) {
		if (look->ip[at] == 131 || look->ip[at] == 137)
			return true;
		at += look->ip[at] == 1 ? 1u : look->ip[at + 1] < 2 ? 2u : look->ip[at + 1];
	}
	return false;
}

static bool look_v4(const uint8_t *ip, size_t room, struct look *out)
{
	const uint16_t field = wire_load_u16(ip + 6);

	*out = (struct look){.ip = ip,
		.len = wire_load_u16(ip + 2),
		.hdr = (ip[0] & 15u) * 4u,
		.src = addr_at(ip + 12, AF_INET),
		.dst = addr_at(ip + 16, AF_INET),
		.protocol = ip[9],
		.tos = ip[1],
		.ttl = ip[8],
		.fragment = (field & (IPV4_FLAG_MF | IPV4_FRAG_MASK)) != 0,
		.headless = (field & IPV4_FRAG_MASK) != 0,
		.df = (field & IPV4_FLAG_DF) != 0};
	return out->hdr >= IPV4_HDR_BYTES && out->hdr <= out->len && out->len <= room &&
	       inet_fold(inet_sum(ip, out->hdr, 0)) == 0 && !has_source_route(out);
}

static bool is_extension(uint8_t kind)
{
	return kind == HOP_BY_HOP || kind == ROUTING || kind == FRAGMENT || kind == OPTIONS;
}

/* The chain of headers, to its end or to where a fragment begins. */
static bool walk(struct look *out)
{
	uint8_t kind = out->ip[6];

	for (bool first = true; is_extension(kind) && !out->headless; first = false) {
		const uint8_t *at = out->ip + out->hdr;
		size_t left = out->len - out->hdr;

		if (left < 8 || (kind == HOP_BY_HOP && !first))
			return false;
		if (kind == ROUTING && at[2] == 0 && at[3] != 0) /* RFC 5095 */
			return false;
		if (kind == FRAGMENT) {
			out->headless = wire_load_u16(at + 2) >> 3 != 0;
			out->fragment = out->headless || (at[3] & 1) != 0;
		}
		out->hdr += kind == FRAGMENT ? 8u : (at[1] + 1u) * 8u;
		if (out->hdr > out->len)
			return false;
		kind = at[0];
	}
	out->protocol = kind;
	return true;
}

static bool look_v6(const uint8_t *ip, size_t room, struct look *out)
{
	*out = (struct look){.ip = ip,
		.len = V6_BYTES + (size_t)wire_load_u16(ip + 4),
		.hdr = V6_BYTES,
		.src = addr_at(ip + 8, AF_INET6),
		.dst = addr_at(ip + 24, AF_INET6),
		.tos = (uint8_t)(wire_load_u16(ip) >> 4),
		.ttl = ip[7],
		.df = true};
	return out->len <= room && walk(out);
}

bool look_at(const uint8_t *ip, size_t room, struct look *out)
{
	if (room >= IPV4_HDR_BYTES && ip[0] >> 4 == 4)
		return look_v4(ip, room, out);
	return room >= V6_BYTES && ip[0] >> 4 == 6 && look_v6(ip, room, out);
}

bool look_whole(const uint8_t *ip, size_t len, struct look *out)
{
	return look_at(ip, len, out) && out->len == len;
}

bool look_tunnels(const struct look *look)
{
	return look->protocol == 4 || look->protocol == 41;
}

/* Addresses alone are sure: what is inside need not be right, nor end where the tunnel does. */
bool look_inside(const struct look *tunnel, struct look *out)
{
	const uint8_t *ip = tunnel->ip + tunnel->hdr;
	const bool v6 = tunnel->protocol == 41;
	const size_t hdr = v6 ? V6_BYTES : IPV4_HDR_BYTES;

	if (!look_tunnels(tunnel) || tunnel->len - tunnel->hdr < hdr || ip[0] >> 4 != (v6 ? 6 : 4))
		return false;
	*out = (struct look){.ip = ip,
		.src = v6 ? addr_at(ip + 8, AF_INET6) : addr_at(ip + 12, AF_INET),
		.dst = v6 ? addr_at(ip + 24, AF_INET6) : addr_at(ip + 16, AF_INET)};
	return true;
}

static bool may_travel_v4(const uint8_t *at)
{
	return at[0] != 0 && at[0] != 127 && at[0] < 224 && !(at[0] == 169 && at[1] == 254);
}

static bool may_travel_v6(const uint8_t *at)
{
	static const uint8_t zeros[12], mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (at[0] == 0xff || (at[0] == 0xfe && at[1] >> 6 == 2))
		return false;
	return memcmp(at, zeros, 12) != 0 && memcmp(at, mapped, 12) != 0;
}

bool look_may_travel(const struct ip_addr *addr)
{
	return addr->family == AF_INET    ? may_travel_v4(addr->bytes)
	       : addr->family == AF_INET6 ? may_travel_v6(addr->bytes)
					  : false;
}

static bool is_routed_v6(const uint8_t *ip, size_t len, const uint8_t *original)
{
	return ip[0] == original[0] && ((ip[1] ^ original[1]) & ~0x30) == 0 && /* ECN */
	       memcmp(ip + 2, original + 2, 5) == 0 && ip[7] == original[7] - 1 && ip[7] != 0 &&
	       memcmp(ip + 8, original + 8, len - 8) == 0;
}

bool look_is_routed(const uint8_t *ip, size_t len, const uint8_t *original, size_t room)
{
	if (len < IPV4_HDR_BYTES || len > room || ip[0] != original[0])
		return false;
	if (ip[0] >> 4 == 6)
		return is_routed_v6(ip, len, original);
	return (ip[1] & 0xfc) == (original[1] & 0xfc) && memcmp(ip + 2, original + 2, 6) == 0 &&
	       ip[8] == original[8] - 1 && ip[8] != 0 && ip[9] == original[9] &&
	       memcmp(ip + 12, original + 12, len - 12) == 0;
}

/* One datagram is a piece of the other, cut by a router (RFC 791 section 3.2). */
static bool is_piece_of(const uint8_t *ip, size_t len, const uint8_t *whole, size_t room)
{
	struct look piece, all;
	size_t offset, begin;

	if (!look_whole(ip, len, &piece) || !look_at(whole, room, &all) || all.df || piece.df)
		return false;
	offset = (wire_load_u16(ip + 6) & IPV4_FRAG_MASK) * 8u;
	begin = (wire_load_u16(whole + 6) & IPV4_FRAG_MASK) * 8u;
	return memcmp(ip + 12, whole + 12, 8) == 0 && ip[9] == whole[9] &&
	       memcmp(ip + 4, whole + 4, 2) == 0 && offset >= begin &&
	       all.hdr + offset - begin + len - piece.hdr <= room &&
	       memcmp(ip + piece.hdr, whole + all.hdr + offset - begin, len - piece.hdr) == 0;
}

/* IPv6 that is not cut, but without what followed it in its tunnel. */
static bool is_trimmed(const uint8_t *ip, size_t len, const uint8_t *whole, size_t room)
{
	return len >= 40 && len <= room && ip[0] >> 4 == 6 && len == 40u + wire_load_u16(ip + 4) &&
	       memcmp(ip, whole, len) == 0;
}

/* Headers that differ in length, checksum and TTL alone. */
static bool is_same_tunnel(const struct look *a, const struct look *b)
{
	if (a->hdr != b->hdr || a->ip[0] != b->ip[0] || a->ip[1] != b->ip[1])
		return false;
	if (a->src.family == AF_INET6)
		return memcmp(a->ip + 2, b->ip + 2, 2) == 0 && a->ip[6] == b->ip[6] &&
		       memcmp(a->ip + 8, b->ip + 8, a->hdr - 8) == 0;
	return memcmp(a->ip + 4, b->ip + 4, 4) == 0 && a->ip[9] == b->ip[9] &&
	       memcmp(a->ip + 12, b->ip + 12, a->hdr - 12) == 0;
}

bool look_is_piece(const uint8_t *ip, size_t len, const uint8_t *whole, size_t room, unsigned hops)
{
	struct look piece, all;

	if (!look_whole(ip, len, &piece) || !look_at(whole, room, &all) ||
		piece.src.family != all.src.family || piece.ttl + hops != all.ttl)
		return false;
	if (!look_tunnels(&all))
		return is_piece_of(ip, len, whole, room);
	if (len > room)
		return false;
	if (is_same_tunnel(&piece, &all) &&
		(is_piece_of(ip + piece.hdr, len - piece.hdr, whole + all.hdr, room - all.hdr) ||
			is_trimmed(
				ip + piece.hdr, len - piece.hdr, whole + all.hdr, room - all.hdr)))
		return true;
	return is_piece_of(ip, len, whole, room);
}
