/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: every header is checked once by ipv4_parse(), and the rest of the file works on
 * the view that it filled. Checksums are sums of 16-bit big-endian words in host order (lib/inet).
 */
#include "lib/ipv4.h"

#include "lib/wire.h"

#include <errno.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#define MTU_BYTES_MIN 68           /* RFC 791 section 3.2 */
#define HDR_BYTES_MAX 60           /* IHL has 4 bits of 4 bytes */
#define ICMP_HDR_BYTES 8           /* RFC 792 */
#define ICMP_ERROR_BYTES_MAX 576   /* whole datagram, RFC 1812 section 4.3.2.3 */
#define TOS_INTERNETWORK_CTRL 0xc0 /* RFC 1812 section 4.3.2.5 */
#define ECN_ECT_1 1u               /* RFC 3168 */
#define ECN_ECT_0 2u
#define ECN_CE 3u /* also the mask of the field */
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_COPIED 0x80u

bool ipv4_parse(const void *data, size_t len, struct ipv4_view *out)
{
	const uint8_t *hdr = data;
	uint16_t frag;

	if (len < IPV4_HDR_BYTES || hdr[0] >> 4 != 4)
		return false;
	out->hdr_bytes = (uint8_t)((hdr[0] & 0xf) * 4);
	out->total_len = wire_load_u16(hdr + 2);
	if (out->hdr_bytes < IPV4_HDR_BYTES || out->total_len < out->hdr_bytes ||
		out->total_len > len)
		return false;
	if (inet_fold(inet_sum(hdr, out->hdr_bytes, 0)) != 0)
		return false;
	out->tos = hdr[1];
	out->id = wire_load_u16(hdr + 4);
	frag = wire_load_u16(hdr + 6);
	out->dont_fragment = (frag & IPV4_FLAG_DF) != 0;
	out->is_fragment = (frag & (IPV4_FLAG_MF | IPV4_FRAG_MASK)) != 0;
	out->ttl = hdr[8];
	out->protocol = hdr[9];
	out->src = (struct ip_addr){.family = AF_INET};
	out->dst = (struct ip_addr){.family = AF_INET};
	memcpy(out->src.bytes, hdr + 12, 4);
	memcpy(out->dst.bytes, hdr + 16, 4);
	return true;
}

static void put_hdr_checksum(uint8_t *hdr, size_t hdr_bytes)
{
	wire_store_u16(hdr + 10, 0);
	wire_store_u16(hdr + 10, inet_fold(inet_sum(hdr, hdr_bytes, 0)));
}

void ipv4_build(uint8_t hdr[IPV4_HDR_BYTES], const struct ip_addr *src, const struct ip_addr *dst,
	uint8_t protocol, uint8_t ttl, uint8_t tos, uint16_t id, uint16_t flags_frag,
	uint16_t total_len)
{
	hdr[0] = 4 << 4 | IPV4_HDR_BYTES / 4;
	hdr[1] = tos;
	wire_store_u16(hdr + 2, total_len);
	wire_store_u16(hdr + 4, id);
	wire_store_u16(hdr + 6, flags_frag);
	hdr[8] = ttl;
	hdr[9] = protocol;
	memcpy(hdr + 12, src->bytes, 4);
	memcpy(hdr + 16, dst->bytes, 4);
	put_hdr_checksum(hdr, IPV4_HDR_BYTES);
}

void ipv4_set_ttl(uint8_t *hdr, uint8_t ttl)
{
	hdr[8] = ttl;
	put_hdr_checksum(hdr, (size_t)(hdr[0] & 0x0f) * 4);
}

bool ipv4_udp_parse(const void *data, size_t len, struct ipv4_view *ip, struct udp_view *udp)
{
	const uint8_t *hdr;
	size_t udp_len;

	if (!ipv4_parse(data, len, ip) || ip->protocol != IPPROTO_UDP || ip->is_fragment)
		return false;
	hdr = (const uint8_t *)data + ip->hdr_bytes;
	udp_len = (size_t)(ip->total_len - ip->hdr_bytes);
	if (udp_len < UDP_HDR_BYTES || wire_load_u16(hdr + 4) != udp_len)
		return false;
	if (wire_load_u16(hdr + 6) != 0) { /* 0: the sender made none (RFC 768) */
		uint32_t sum = inet_pseudo_sum(&ip->src, &ip->dst, IPPROTO_UDP, (uint32_t)udp_len);

		if (inet_fold(inet_sum(hdr, udp_len, sum)) != 0)
			return false;
	}
	udp->src_port = wire_load_u16(hdr);
	udp->dst_port = wire_load_u16(hdr + 2);
	udp->payload = hdr + UDP_HDR_BYTES;
	udp->payload_len = udp_len - UDP_HDR_BYTES;
	return true;
}

size_t ipv4_udp_build(uint8_t *out, size_t room, const struct ip_endpoint *src,
	const struct ip_endpoint *dst, const void *payload, size_t payload_len)
{
	size_t udp_len = UDP_HDR_BYTES + payload_len;
	size_t total = IPV4_HDR_BYTES + udp_len;
	uint8_t *hdr = out + IPV4_HDR_BYTES;
	uint16_t checksum;

	if (payload_len > UINT16_MAX || total > UINT16_MAX || total > room)
		return 0;
	/* Not fragmented by us and small: DF clear and identification 0 would collide in
	 * reassembly, so DF is set (RFC 6864 section 4.1). */
	ipv4_build(out, &src->addr, &dst->addr, IPPROTO_UDP, IPV4_TTL_DEFAULT, 0, 0, IPV4_FLAG_DF,
		(uint16_t)total);
	wire_store_u16(hdr, src->port);
	wire_store_u16(hdr + 2, dst->port);
	wire_store_u16(hdr + 4, (uint16_t)udp_len);
	wire_store_u16(hdr + 6, 0);
	if (payload_len != 0)
		memcpy(hdr + UDP_HDR_BYTES, payload, payload_len);
	checksum = inet_fold(inet_sum(hdr, udp_len,
		inet_pseudo_sum(&src->addr, &dst->addr, IPPROTO_UDP, (uint32_t)udp_len)));
	wire_store_u16(hdr + 6, checksum == 0 ? UINT16_MAX : checksum); /* RFC 768 */
	return total;
}

bool ipv4_carry_ecn(uint8_t outer_tos, uint8_t *inner)
{
	uint16_t before = wire_load_u16(inner);
	uint16_t sum = wire_load_u16(inner + 10);
	unsigned outer = outer_tos & ECN_CE, own = before & ECN_CE;
	uint16_t after = (uint16_t)(before | ECN_CE);

	if (outer == ECN_ECT_1 && own == ECN_ECT_0)
		after = (uint16_t)((before & ~ECN_CE) | ECN_ECT_1);
	else if (outer != ECN_CE)
		return true;
	else if (own == 0)
		return false;
	wire_store_u16(inner, after);
	/* RFC 1624: HC' = ~(~HC + ~m + m') */
	wire_store_u16(inner + 10, inet_fold((uint32_t)(uint16_t)~sum + (uint16_t)~before + after));
	return true;
}

/* Header of the second and later pieces: the options that ask to be copied (RFC 791 section 3.1),
 * padded to 4 bytes. Returns its length. */
static size_t later_hdr(uint8_t out[HDR_BYTES_MAX], const uint8_t *hdr, size_t hdr_bytes)
{
	size_t len = IPV4_HDR_BYTES;

	memcpy(out, hdr, IPV4_HDR_BYTES);
	for (size_t at = IPV4_HDR_BYTES; at < hdr_bytes && hdr[at] != OPTION_END;) {
		size_t n = 1;

		if (hdr[at] != OPTION_NOP) {
			n = at + 1 < hdr_bytes ? hdr[at + 1] : 0;
			if (n < 2 || n > hdr_bytes - at)
				break; /* malformed: what is left cannot be told apart */
		}
		if (hdr[at] & OPTION_COPIED) {
			memcpy(out + len, hdr + at, n);
			len += n;
		}
		at += n;
	}
	while (len % 4 != 0)
		out[len++] = OPTION_END;
	out[0] = (uint8_t)(4 << 4 | len / 4);
	return len;
}

int ipv4_fragment(const uint8_t *datagram, size_t len, size_t mtu, ipv4_piece_fn *fn, void *arg)
{
	uint8_t piece[UINT16_MAX];
	uint8_t later[HDR_BYTES_MAX];
	struct ipv4_view ip;
	const uint8_t *hdr = datagram;
	size_t hdr_bytes, later_bytes, at, left;
	uint16_t frag;
	int n = 0;

	if (!ipv4_parse(datagram, len, &ip))
		return -EINVAL;
	if (ip.total_len <= mtu) {
		fn(arg, datagram, ip.total_len);
		return 1;
	}
	if (ip.dont_fragment || mtu < MTU_BYTES_MIN)
		return -EMSGSIZE;
	frag = wire_load_u16(datagram + 6);
	/* Offsets of its pieces would begin again at 0. */
	if ((frag & IPV4_FRAG_MASK) * 8u + ip.total_len > UINT16_MAX)
		return -EMSGSIZE;
	hdr_bytes = ip.hdr_bytes;
	later_bytes = later_hdr(later, datagram, ip.hdr_bytes);
	at = ip.hdr_bytes;
	left = (size_t)(ip.total_len - ip.hdr_bytes);
	while (left != 0) {
		size_t room = (mtu - hdr_bytes) & ~(size_t)7; /* offsets count 8 bytes */
		size_t bytes = left <= mtu - hdr_bytes ? left : room;
		uint16_t more = bytes < left ? IPV4_FLAG_MF : frag & IPV4_FLAG_MF;

		memcpy(piece, hdr, hdr_bytes);
		memcpy(piece + hdr_bytes, datagram + at, bytes);
		wire_store_u16(piece + 2, (uint16_t)(hdr_bytes + bytes));
		wire_store_u16(piece + 6, (uint16_t)(more | (frag & IPV4_FRAG_MASK)));
		put_hdr_checksum(piece, hdr_bytes);
		fn(arg, piece, hdr_bytes + bytes);
		n++;
		at += bytes;
		left -= bytes;
		frag = (uint16_t)(frag + bytes / 8);
		hdr = later;
		hdr_bytes = later_bytes;
	}
	return n;
}

static bool is_icmp_error(const uint8_t *datagram, const struct ipv4_view *ip)
{
	if (ip->protocol != IPPROTO_ICMP)
		return false;
	if (ip->total_len <= ip->hdr_bytes)
		return true; /* no type to judge by: the safe answer is silence */
	switch (datagram[ip->hdr_bytes]) {
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB:
		return true;
	default:
		return false;
	}
}

size_t icmp_error_build(uint8_t *out, size_t room, uint8_t type, uint8_t code, uint16_t mtu,
	const struct ip_addr *from, const uint8_t *datagram, size_t len)
{
	uint8_t *icmp = out + IPV4_HDR_BYTES;
	struct ipv4_view ip;
	size_t quoted, total;

	if (!ipv4_parse(datagram, len, &ip) || is_icmp_error(datagram, &ip))
		return 0;
	if ((wire_load_u16(datagram + 6) & IPV4_FRAG_MASK) != 0 || !ip_addr_is_unicast(&ip.src) ||
		!ip_addr_is_unicast(&ip.dst))
		return 0; /* RFC 1812 section 4.3.2.7 */
	quoted = ICMP_ERROR_BYTES_MAX - IPV4_HDR_BYTES - ICMP_HDR_BYTES;
	if (quoted > ip.total_len)
		quoted = ip.total_len;
	total = IPV4_HDR_BYTES + ICMP_HDR_BYTES + quoted;
	if (total > room)
		return 0;
	ipv4_build(out, from, &ip.src, IPPROTO_ICMP, IPV4_TTL_DEFAULT, TOS_INTERNETWORK_CTRL, 0,
		IPV4_FLAG_DF, (uint16_t)total);
	icmp[0] = type;
	icmp[1] = code;
	memset(icmp + 2, 0, ICMP_HDR_BYTES - 2);
	wire_store_u16(icmp + 6, mtu); /* RFC 1191 section 4; 0 in other errors */
	memcpy(icmp + ICMP_HDR_BYTES, datagram, quoted);
	wire_store_u16(icmp + 2, inet_fold(inet_sum(icmp, ICMP_HDR_BYTES + quoted, 0)));
	return total;
}
