/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_IPV6_H
#define LIB_IPV6_H
/*
 * IPv6 headers in flat buffers: the chain of extension headers, ICMPv6 errors. No I/O, any thread.
 * Sources: RFC 8200, RFC 4443, RFC 5095 (routing header of type 0), RFC 6946 (atomic fragments),
 *          RFC 8504 section 5.3 (limit of the chain).
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IPV6_HDR_BYTES 40
#define IPV6_SRC_AT 8
#define IPV6_DST_AT 24
#define IPV6_ADDR_BYTES 16
#define IPV6_MTU_MIN 1280         /* bytes that every link takes: RFC 8200 section 5 */
#define IPV6_CHAIN_MAX 8          /* extension headers before the upper layer */
#define IPV6_NEXT_FRAGMENT 44     /* IANA protocol number */
#define IPV6_FRAGMENT_HDR_BYTES 8 /* RFC 8200 section 4.5 */
#define IPV6_FRAGMENT_OFFSET 0xfff8u
#define IPV6_FRAGMENT_MORE 1u

static inline struct ip_addr ipv6_addr(const uint8_t bytes[IPV6_ADDR_BYTES])
{
	struct ip_addr addr = {.family = AF_INET6};

	memcpy(addr.bytes, bytes, IPV6_ADDR_BYTES);
	return addr;
}

enum ipv6_chain {
	IPV6_CHAIN_OK,
	IPV6_CHAIN_CUT, /* a header ends behind the packet */
	IPV6_CHAIN_BAD, /* too many, out of place, or one that is refused */
};

struct ipv6_upper {       /* where the chain of extension headers ends */
	uint32_t at;      /* bytes from the IPv6 header on */
	uint8_t protocol; /* of what is there */
	bool fragment;    /* a piece of a packet: there may be nothing of it at all */
	bool first;       /* the first piece, or whole */
};

/* ip: a whole fixed header, len bytes of packet. for_us: we are its destination, and so unknown
 * options that want it discarded and routes not walked to the end count (RFC 8200 sections 4.2 and
 * 4.4). */
enum ipv6_chain ipv6_find_upper(
	const uint8_t *ip, uint32_t len, bool for_us, struct ipv6_upper *out);

/* Cuts a packet that has no extension headers into pieces of at most mtu bytes, each with a
 * fragment header; each is handed to fn in order. Returns the number of pieces, or without a call
 * -EINVAL (lengths, or it is a piece itself) or -EMSGSIZE (mtu below 56). */
typedef void ipv6_piece_fn(void *arg, const uint8_t *packet, size_t len);
int ipv6_fragment(
	const uint8_t *packet, size_t len, size_t mtu, uint32_t id, ipv6_piece_fn *fn, void *arg);

/* ICMPv6 error about packet into out; the fourth word of it is parameter. As much of the packet is
 * quoted as fits the least MTU (RFC 4443 section 3). 0: must not be sent (section 2.4 e: it is
 * itself an ICMPv6 error or a redirect, a later fragment of what may be one, or not from and to
 * one host). */
size_t icmp6_error_build(uint8_t *out, size_t room, uint8_t type, uint8_t code, uint32_t parameter,
	const struct ip_addr *from, const uint8_t *packet, size_t len);
#endif
