/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_IPV4_H
#define LIB_IPV4_H
/*
 * IPv4 and UDP headers in flat buffers: check, build, fragment. No I/O, any thread.
 * Sources: RFC 791, RFC 768, RFC 1812 section 5.2.2 (header checks), RFC 2003 (IP-in-IP).
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPV4_HDR_BYTES 20
#define UDP_HDR_BYTES 8
#define IPV4_TTL_DEFAULT 64
#define IPV4_FLAG_DF 0x4000u
#define IPV4_FLAG_MF 0x2000u
#define IPV4_FRAG_MASK 0x1fffu

struct ipv4_view { /* what a checked header says; offsets into the buffer it was read from */
	struct ip_addr src, dst;
	uint8_t protocol, ttl, tos;
	uint16_t id;
	uint16_t total_len; /* bytes, header included; <= the buffer's */
	uint8_t hdr_bytes;  /* 20..60 */
	bool dont_fragment;
	bool is_fragment; /* MF set or offset not 0 */
};

/* Version, IHL, length against len, checksum (RFC 1812 5.2.2). False: out is not usable. */
bool ipv4_parse(const void *data, size_t len, struct ipv4_view *out);

/* 20-byte header with checksum. flags_frag: IPV4_FLAG_DF or 0. */
void ipv4_build(uint8_t hdr[IPV4_HDR_BYTES], const struct ip_addr *src, const struct ip_addr *dst,
	uint8_t protocol, uint8_t ttl, uint8_t tos, uint16_t id, uint16_t flags_frag,
	uint16_t total_len);

/* hdr: a whole good header; the checksum follows. */
void ipv4_set_ttl(uint8_t *hdr, uint8_t ttl);

struct udp_view {
	uint16_t src_port, dst_port;
	const uint8_t *payload;
	size_t payload_len;
};
/* data: a whole IPv4 datagram. Wants protocol 17, no fragment, lengths that agree, and a good
 * checksum unless it is 0. */
bool ipv4_udp_parse(const void *data, size_t len, struct ipv4_view *ip, struct udp_view *udp);
/* Builds a whole IPv4 UDP datagram with both checksums into out[room]. Returns its length, 0: no
 * room. */
size_t ipv4_udp_build(uint8_t *out, size_t room, const struct ip_endpoint *src,
	const struct ip_endpoint *dst, const void *payload, size_t payload_len);

/* Takes the outer header's ECN field into the inner one, with its checksum (RFC 6040 section
 * 4.2). False: congestion was met by a sender that does not know of ECN; drop it. */
bool ipv4_carry_ecn(uint8_t outer_tos, uint8_t *inner);

/* Cuts datagram (a whole IPv4 datagram, DF clear) into pieces of at most mtu bytes; each is handed
 * to fn in order. Returns the number of pieces, or without a call -EMSGSIZE: DF is set, mtu < 68,
 * or it is itself a piece of more than 64 KiB. */
typedef void ipv4_piece_fn(void *arg, const uint8_t *datagram, size_t len);
int ipv4_fragment(const uint8_t *datagram, size_t len, size_t mtu, ipv4_piece_fn *fn, void *arg);
/* ICMP error about datagram (RFC 1812 4.3.2.3: header + 8 bytes or more) into out; 0: must not be
 * sent (it is itself an ICMP error, a later fragment, or not from a unicast source). */
size_t icmp_error_build(uint8_t *out, size_t room, uint8_t type, uint8_t code, uint16_t mtu,
	const struct ip_addr *from, const uint8_t *datagram, size_t len);
#endif
