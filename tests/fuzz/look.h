/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_LOOK_H
#define TESTS_FUZZ_LOOK_H
/*
 * How a judge reads IP packets of both families, by rules of its own: what a router may pass on,
 * and what may have become of it on the way.
 *
 * Pure functions. Sources: RFC 791, RFC 1812 sections 5.2.2 and 5.3, RFC 8200, RFC 6890.
 */
#include "lib/inet.h"

#define LOOK_ESP 50
#define LOOK_UDP 17
#define LOOK_ICMPV6 58

struct look {
	const uint8_t *ip;
	size_t len; /* as it says itself */
	size_t hdr; /* up to what protocol names, extension headers included */
	struct ip_addr src, dst;
	uint8_t protocol, tos, ttl;
	bool fragment; /* a piece of a packet */
	bool headless; /* and not the first */
	bool df;       /* IPv6: always */
};

/* False: no header that anybody may pass on. room: bytes that are there. */
bool look_at(const uint8_t *ip, size_t room, struct look *out);
/* The same for a packet that ends where the bytes do. */
bool look_whole(const uint8_t *ip, size_t len, struct look *out);
/* 4 or 41, with what the number says behind it. */
bool look_inside(const struct look *tunnel, struct look *out);
bool look_tunnels(const struct look *look);
bool look_may_travel(const struct ip_addr *addr);

/* ip is original after a router: TTL one less, perhaps a congestion mark, else the same. */
bool look_is_routed(const uint8_t *ip, size_t len, const uint8_t *original, size_t room);
/* ip, not as long as whole was, was cut from it: of a tunnel the datagram inside, each piece with
 * the tunnel's header in front. hops: by which its TTL is less. */
bool look_is_piece(const uint8_t *ip, size_t len, const uint8_t *whole, size_t room, unsigned hops);
#endif
