/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_INET_H
#define LIB_INET_H
/*
 * Family-neutral IP addresses, prefixes and endpoints; the Internet checksum.
 *
 * Values, no owner; functions are pure and may be called from any thread.
 * Sources: RFC 1071 (checksum), RFC 4291 and RFC 5952 (IPv6 text), RFC 6890 (special addresses).
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Network byte order scalars, so that a missing conversion can be seen by a reader. */
typedef uint16_t be16_t;
typedef uint32_t be32_t;

struct ip_addr {
	uint8_t bytes[16]; /* network order; IPv4 uses the first 4, the rest is 0 */
	uint8_t family;    /* AF_INET, AF_INET6, or 0: unset */
};

struct ip_prefix {
	struct ip_addr addr; /* bits behind len are 0 */
	uint8_t len;         /* bits */
};

struct ip_endpoint {
	struct ip_addr addr;
	uint16_t port; /* host order; 0: none */
};

#define IP_TEXT_MAX 64 /* enough for any of the format functions below, with the final 0 */

struct ip_addr ip_addr_from_v4(be32_t addr_be);
be32_t ip_addr_to_v4(const struct ip_addr *addr); /* network order; 0 unless AF_INET */

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);
static inline bool ip_addr_is_set(const struct ip_addr *addr)
{
	return addr->family != 0;
}
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *addr);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);
bool ip_endpoint_equal(const struct ip_endpoint *a, const struct ip_endpoint *b);

/* May this address be a tunnel's far end at all? False: unset, unspecified, loopback, multicast,
 * broadcast, 0/8, 240/4, link-local. */
bool ip_addr_is_unicast(const struct ip_addr *addr);

/* Text. Parsers accept nothing before or behind the value; false leaves *out untouched. Formatters
 * write into text[IP_TEXT_MAX] and return it. A prefix has no set bits behind its length. */
bool ip_addr_parse(const char *text, struct ip_addr *out);
bool ip_prefix_parse(const char *text, struct ip_prefix *out); /* "10.1.0.0/16"; no "/": one host */
bool ip_endpoint_parse(const char *text, struct ip_endpoint *out); /* "10.0.0.1:500", "[::1]:500" */
const char *ip_addr_format(const struct ip_addr *addr, char text[IP_TEXT_MAX]);
const char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_TEXT_MAX]);
const char *ip_endpoint_format(const struct ip_endpoint *endpoint, char text[IP_TEXT_MAX]);

/* One's complement sum over len bytes, added to sum (host-order partial sum of 16-bit big-endian
 * words). Only the last part of a message may be odd. */
uint32_t inet_sum(const void *data, size_t len, uint32_t sum);
/* Folds and inverts; store the result with wire_put_u16 or compare with 0 when verifying. */
uint16_t inet_fold(uint32_t sum);
/* Pseudo header sum of UDP, TCP: RFC 768. */
uint32_t inet_pseudo_sum(
	const struct ip_addr *src, const struct ip_addr *dst, uint8_t protocol, uint32_t len);
#endif
