/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: addresses are kept as bytes in network order, so that comparing is memcmp() and a
 * prefix test looks at whole bytes first and then at the remaining bits, for both families alike.
 */
#include "lib/inet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t addr_bytes(uint8_t family)
{
	return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

struct ip_addr ip_addr_from_v4(be32_t addr_be)
{
	struct ip_addr addr = {.family = AF_INET};

	memcpy(addr.bytes, &addr_be, sizeof addr_be);
	return addr;
}

be32_t ip_addr_to_v4(const struct ip_addr *addr)
{
	be32_t addr_be = 0;

	if (addr->family == AF_INET)
		memcpy(&addr_be, addr->bytes, sizeof addr_be);
	return addr_be;
}

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, addr_bytes(a->family)) == 0;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, size_t bits)
{
	size_t whole = bits / 8;
	unsigned rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *addr)
{
	return prefix->addr.family != 0 && prefix->addr.family == addr->family &&
	       same_bits(prefix->addr.bytes, addr->bytes, prefix->len);
}

bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len <= b->len ? ip_prefix_contains(a, &b->addr) : ip_prefix_contains(b, &a->addr);
}

bool ip_endpoint_equal(const struct ip_endpoint *a, const struct ip_endpoint *b)
{
	return a->port == b->port && ip_addr_equal(&a->addr, &b->addr);
}

static bool v4_is_unicast(const uint8_t b[4])
{
	if (b[0] == 0 || b[0] == 127 ||
		b[0] >= 224) /* 224/4 multicast, 240/4 reserved, broadcast */
		return false;
	return !(b[0] == 169 && b[1] == 254);
}

static bool v6_is_unicast(const uint8_t b[16])
{
	static const uint8_t zeros[15];

	if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80))
		return false;
	if (memcmp(b, zeros, 15) == 0 && b[15] <= 1) /* :: and ::1 */
		return false;
	/* An IPv4-mapped address never stands in a packet (RFC 4291 section 2.5.5.2). */
	return !(memcmp(b, zeros, 10) == 0 && b[10] == 0xff && b[11] == 0xff);
}

bool ip_addr_is_unicast(const struct ip_addr *addr)
{
	switch (addr->family) {
	case AF_INET:
		return v4_is_unicast(addr->bytes);
	case AF_INET6:
		return v6_is_unicast(addr->bytes);
	default:
		return false;
	}
}

bool ip_addr_parse(const char *text, struct ip_addr *out)
{
	struct ip_addr addr = {0};

	if (inet_pton(AF_INET, text, addr.bytes) == 1)
		addr.family = AF_INET;
	else if (inet_pton(AF_INET6, text, addr.bytes) == 1)
		addr.family = AF_INET6;
	else
		return false;
	*out = addr;
	return true;
}

/* Decimal digits only, no sign, no leading blank: strtoul() takes more than that. */
static bool parse_number(const char *text, unsigned max, unsigned *out)
{
	unsigned value = 0;

	if (*text == '\0' || strlen(text) > 5)
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned)(*text - '0');
	}
	if (value > max)
		return false;
	*out = value;
	return true;
}

/* Copies text[0..len) and parses it as an address. */
static bool parse_addr_part(const char *text, size_t len, struct ip_addr *out)
{
	char part[INET6_ADDRSTRLEN];

	if (len >= sizeof part)
		return false;
	memcpy(part, text, len);
	part[len] = '\0';
	return ip_addr_parse(part, out);
}

bool ip_prefix_parse(const char *text, struct ip_prefix *out)
{
	const char *slash = strchr(text, '/');
	struct ip_prefix prefix;
	unsigned len;

	if (!parse_addr_part(text, slash ? (size_t)(slash - text) : strlen(text), &prefix.addr))
		return false;
	len = (unsigned)addr_bytes(prefix.addr.family) * 8;
	if (slash && !parse_number(slash + 1, len, &len))
		return false;
	prefix.len = (uint8_t)len;
	for (size_t bit = len; bit < addr_bytes(prefix.addr.family) * 8; bit++)
		if (prefix.addr.bytes[bit / 8] >> (7 - bit % 8) & 1)
			return false;
	*out = prefix;
	return true;
}

bool ip_endpoint_parse(const char *text, struct ip_endpoint *out)
{
	struct ip_endpoint endpoint;
	const char *colon = strrchr(text, ':');
	const char *start = text;
	size_t len;
	unsigned port;

	if (colon == NULL)
		return false;
	len = (size_t)(colon - text);
	if (text[0] == '[') {
		if (len < 2 || text[len - 1] != ']')
			return false;
		start++;
		len -= 2;
	}
	if (!parse_addr_part(start, len, &endpoint.addr))
		return false;
	/* Brackets and IPv6 go together, else "::1" could be read as address and port. */
	if ((text[0] == '[') != (endpoint.addr.family == AF_INET6))
		return false;
	if (!parse_number(colon + 1, UINT16_MAX, &port) || port == 0)
		return false;
	endpoint.port = (uint16_t)port;
	*out = endpoint;
	return true;
}

const char *ip_addr_format(const struct ip_addr *addr, char text[IP_TEXT_MAX])
{
	if (addr->family == 0 || !inet_ntop(addr->family, addr->bytes, text, IP_TEXT_MAX))
		snprintf(text, IP_TEXT_MAX, "none");
	return text;
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_TEXT_MAX])
{
	char addr[IP_TEXT_MAX];

	ip_addr_format(&prefix->addr, addr);
	snprintf(text, IP_TEXT_MAX, "%.45s/%u", addr, prefix->len);
	return text;
}

const char *ip_endpoint_format(const struct ip_endpoint *endpoint, char text[IP_TEXT_MAX])
{
	bool is_v6 = endpoint->addr.family == AF_INET6;
	char addr[IP_TEXT_MAX];

	ip_addr_format(&endpoint->addr, addr);
	snprintf(text, IP_TEXT_MAX, is_v6 ? "[%.45s]:%u" : "%.45s:%u", addr, endpoint->port);
	return text;
}

/* RFC 1071 section 2: the sum may be taken in any byte order and over wider words; its bytes are
 * swapped at the end. */
uint32_t inet_sum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *at = data;
	uint64_t wide = 0; /* 64 bits: no carry is lost for any length that fits into memory */
	uint16_t native = 0;

	for (; len >= 4; at += 4, len -= 4) {
		uint32_t word;

		memcpy(&word, at, sizeof word);
		wide += word;
	}
	if (len >= 2) {
		memcpy(&native, at, 2);
		wide += native;
		at += 2;
	}
	native = 0;
	if (len % 2 != 0)
		memcpy(&native, at, 1);
	wide += native;
	while (wide >> 16 != 0)
		wide = (wide & 0xffff) + (wide >> 16);
	wide = (uint64_t)ntohs((uint16_t)wide) + sum;
	return (uint32_t)((wide & UINT32_MAX) + (wide >> 32));
}

uint16_t inet_fold(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

uint32_t inet_pseudo_sum(
	const struct ip_addr *src, const struct ip_addr *dst, uint8_t protocol, uint32_t len)
{
	uint32_t sum = 0;

	sum = inet_sum(src->bytes, addr_bytes(src->family), sum);
	sum = inet_sum(dst->bytes, addr_bytes(dst->family), sum);
	return sum + protocol + (len >> 16) + (len & 0xffff);
}
