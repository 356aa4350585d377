/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments and ICMPv6 errors, by rows, on buffers that end at their last byte. The chain of
 * extension headers has its rows in tests/unit/dataplane/ip6_test.c. */
#include "lib/ipv6.h"

#include "unit.h"

#include "lib/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_MAX 3000
#define TOO_BIG 2 /* types of ICMPv6 */
#define FITS (IPV6_MTU_MIN - IPV6_HDR_BYTES - 8)

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CHECK_ROW(text, ip_addr_parse(text, &out));
	return out;
}

static const struct row {
	const char *name, *src, *dst;
	size_t len;
	uint8_t next;        /* of the IPv6 header */
	const char *headers; /* what follows it, in hex */
	size_t quoted;       /* 0: must not be sent */
} rows[] = {
#define ENDS "2001:db8:a:2::5", "2001:db8:a:1::10"
	{"UDP", ENDS, 100, 17, "", 100},
	{"header alone", ENDS, 40, 59, "", 40},
	{"long", ENDS, 1500, 17, "", FITS},
	{"just fits", ENDS, FITS, 17, "", FITS},
	{"one byte more", ENDS, FITS + 1, 17, "", FITS},
	{"echo request", ENDS, 100, 58, "80", 100},
	{"echo reply", ENDS, 100, 58, "81", 100},
	{"unreachable", ENDS, 100, 58, "01", 0},
	{"too big", ENDS, 100, 58, "02", 0},
	{"error of a type to come", ENDS, 100, 58, "7f", 0},
	{"redirect", ENDS, 100, 58, "89", 0},
	{"ICMPv6 without a type", ENDS, 40, 58, "", 0},
	{"error behind options", ENDS, 100, 60,
		"3a00010400000000"
		"03",
		0},
	{"echo behind options", ENDS, 100, 60,
		"3a00010400000000"
		"80",
		100},
	{"first fragment of an error", ENDS, 100, 44,
		"3a00000100000001"
		"01",
		0},
	{"first fragment of an echo", ENDS, 100, 44,
		"3a00000100000001"
		"80",
		100},
	{"later fragment of ICMPv6", ENDS, 100, 44,
		"3a00000900000001"
		"80",
		0},
	{"later fragment of UDP", ENDS, 100, 44, "1100000900000001", 100},
	{"chain beyond the packet", ENDS, 100, 60, "11ff010400000000", 0},
	{"from nowhere", "::", "2001:db8::1", 100, 17, "", 0},
	{"from multicast", "ff0e::1", "2001:db8::1", 100, 17, "", 0},
	{"from the link", "fe80::1", "2001:db8::1", 100, 17, "", 0},
	{"from loopback", "::1", "2001:db8::1", 100, 17, "", 0},
	{"to multicast", "2001:db8::1", "ff0e::1", 100, 17, "", 0},
	{"no whole header", ENDS, 39, 17, "", 0},
};

static uint8_t *make(const struct row *row)
{
	const struct ip_addr src = addr(row->src), dst = addr(row->dst);
	uint8_t packet[PACKET_MAX], *copy = malloc(row->len);

	for (size_t i = 0; i < sizeof packet; i++)
		packet[i] = (uint8_t)(i * 7);
	memset(packet, 0, 8);
	packet[0] = 6 << 4;
	wire_store_u16(packet + 4, (uint16_t)(row->len - IPV6_HDR_BYTES));
	packet[6] = row->next;
	memcpy(packet + IPV6_SRC_AT, src.bytes, IPV6_ADDR_BYTES);
	memcpy(packet + IPV6_DST_AT, dst.bytes, IPV6_ADDR_BYTES);
	unit_hex(row->headers, packet + IPV6_HDR_BYTES, strlen(row->headers) / 2);
	if (copy == NULL)
		abort();
	memcpy(copy, packet, row->len);
	return copy;
}

static void test_errors(void)
{
	const struct ip_addr from = addr("2001:db8:a:2::fe");

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct ip_addr to = addr(rows[i].src);
		uint8_t *packet = make(&rows[i]), out[IPV6_MTU_MIN];
		size_t len = icmp6_error_build(
			out, sizeof out, TOO_BIG, 0, 0x12345, &from, packet, rows[i].len);

		CHECK_ROW(rows[i].name, len == (rows[i].quoted != 0 ? 48 + rows[i].quoted : 0));
		if (len != 0) {
			CHECK_ROW(rows[i].name, out[0] == 0x60 && out[6] == 58 && out[7] == 64);
			CHECK_ROW(rows[i].name, wire_load_u16(out + 4) == len - IPV6_HDR_BYTES);
			CHECK_ROW(rows[i].name, memcmp(out + IPV6_SRC_AT, from.bytes, 16) == 0);
			CHECK_ROW(rows[i].name, memcmp(out + IPV6_DST_AT, to.bytes, 16) == 0);
			CHECK_ROW(rows[i].name,
				inet_fold(inet_sum(out + 40, len - 40,
					inet_pseudo_sum(&from, &to, 58, (uint32_t)len - 40))) == 0);
			CHECK_ROW(rows[i].name, out[40] == TOO_BIG && out[41] == 0 &&
							wire_load_u32(out + 44) == 0x12345);
			CHECK_ROW(rows[i].name, memcmp(out + 48, packet, rows[i].quoted) == 0);
			CHECK_ROW(rows[i].name, icmp6_error_build(out, len - 1, TOO_BIG, 0, 0,
							&from, packet, rows[i].len) == 0);
		}
		free(packet);
	}
}

struct pieces {
	uint8_t bytes[4000];
	size_t len, mtu;
	unsigned n;
};

static void take(void *arg, const uint8_t *packet, size_t len)
{
	struct pieces *pieces = arg;
	const uint16_t field = wire_load_u16(packet + 42);

	CU_ASSERT(len <= pieces->mtu && wire_load_u16(packet + 4) == len - 40);
	CU_ASSERT(packet[6] == 44 && packet[40] == 50 && packet[41] == 0);
	CU_ASSERT(wire_load_u32(packet + 44) == 0x01020304);
	CU_ASSERT((field & 6) == 0 && (field & 0xfff8) == pieces->len);
	CU_ASSERT_FATAL(pieces->len + len - 48 <= sizeof pieces->bytes);
	memcpy(pieces->bytes + pieces->len, packet + 48, len - 48);
	pieces->len += len - 48;
	pieces->n++;
	CU_ASSERT((field & 1) == 0 || (len - 48) % 8 == 0);
}

static void test_fragment(void)
{
	static const struct {
		const char *name;
		uint8_t next;
		size_t len, mtu;
		int n;
	} table[] = {
		{"whole in one", 50, 1272, 1280, 1},
		{"one byte more", 50, 1273, 1280, 2},
		{"two", 50, 40 + 2 * 1232, 1280, 2},
		{"three", 50, 40 + 2 * 1232 + 1, 1280, 3},
		{"MTU of no whole units", 50, 40 + 2 * 1232, 1287, 2},
		{"last takes what is left", 50, 40 + 1232 + 1239, 1287, 2},
		{"least MTU", 50, 80, 56, 5},
		{"smaller MTU", 50, 80, 55, -EMSGSIZE},
		{"nothing in it", 50, 40, 1280, -EINVAL},
		{"a piece", 44, 2000, 1280, -EINVAL},
		{"with options", 60, 2000, 1280, -EINVAL},
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		const struct row row = {table[i].name, ENDS, table[i].len, table[i].next, "", 0};
		struct pieces pieces = {.mtu = table[i].mtu};
		uint8_t *packet = make(&row);
		int n = ipv6_fragment(
			packet, table[i].len, table[i].mtu, 0x01020304, take, &pieces);

		CHECK_ROW(table[i].name, n == table[i].n && (int)pieces.n == (n > 0 ? n : 0));
		CHECK_ROW(table[i].name,
			n < 0 || (pieces.len == table[i].len - 40 &&
					 memcmp(pieces.bytes, packet + 40, pieces.len) == 0));
		free(packet);
	}
}

/* A whole packet that says so behind a header of a piece is a piece. */
static void test_piece(void)
{
	static const struct {
		const char *name, *headers;
		uint8_t next;
		bool fragment, first;
	} table[] = {
		{"whole", "", 17, false, true},
		{"atomic", "1100000000000001", 44, false, true},
		{"first piece", "1100000100000001", 44, true, true},
		{"later piece", "1100000800000001", 44, true, false},
		{"atomic in a first piece",
			"2c00000100000001"
			"1100000000000002",
			44, true, true},
		{"first piece in an atomic one",
			"2c00000000000001"
			"1100000100000002",
			44, true, true},
	};

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		const struct row row = {
			table[i].name, ENDS, 100, table[i].next, table[i].headers, 0};
		struct ipv6_upper upper;
		uint8_t *packet = make(&row);

		CHECK_ROW(table[i].name,
			ipv6_find_upper(packet, 100, false, &upper) == IPV6_CHAIN_OK);
		CHECK_ROW(table[i].name, upper.fragment == table[i].fragment);
		CHECK_ROW(table[i].name, upper.first == table[i].first && upper.protocol == 17);
		free(packet);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"pieces", test_piece},
		{"fragments", test_fragment},
		{"ICMPv6 errors", test_errors},
		{NULL, NULL},
	};

	return unit_run("ipv6", cases);
}
