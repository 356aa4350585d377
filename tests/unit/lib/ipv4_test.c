/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv4 and UDP headers, fragments and ICMP errors on flat buffers that end at their last byte. */
#include "lib/ipv4.h"

#include "unit.h"

#include "lib/wire.h"

#include <errno.h>

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CHECK_ROW(text, ip_addr_parse(text, &out));
	return out;
}

static uint8_t *exact(const void *data, size_t len)
{
	uint8_t *copy = malloc(len != 0 ? len : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, data, len);
	return copy;
}

static void fix_checksum(uint8_t *hdr)
{
	wire_store_u16(hdr + 10, 0);
	wire_store_u16(hdr + 10, inet_fold(inet_sum(hdr, (size_t)(hdr[0] & 0xf) * 4, 0)));
}

/* A datagram of total bytes with rising payload bytes. */
static void make(uint8_t *out, size_t total, uint8_t protocol, uint16_t flags_frag)
{
	struct ip_addr src = addr("10.2.0.5"), dst = addr("10.1.0.10");

	for (size_t i = IPV4_HDR_BYTES; i < total; i++)
		out[i] = (uint8_t)(i * 7);
	ipv4_build(out, &src, &dst, protocol, 61, 0x2e, 0xbeef, flags_frag, (uint16_t)total);
}

static void test_build_and_parse(void)
{
	/* The header of RFC 1071-like textbook examples: checksum b861. */
	static const char known[] = "450000730000400040110000c0a80001c0a800c7";
	uint8_t hdr[IPV4_HDR_BYTES], want[IPV4_HDR_BYTES], datagram[115];
	struct ip_addr src = addr("192.168.0.1"), dst = addr("192.168.0.199");
	struct ipv4_view ip;

	ipv4_build(hdr, &src, &dst, 17, 64, 0, 0, IPV4_FLAG_DF, 0x73);
	unit_hex(known, want, sizeof want);
	want[10] = 0xb8;
	want[11] = 0x61;
	CU_ASSERT_EQUAL(memcmp(hdr, want, sizeof hdr), 0);
	memset(datagram, 0, sizeof datagram);
	memcpy(datagram, hdr, sizeof hdr);
	CU_ASSERT_TRUE(ipv4_parse(datagram, sizeof datagram, &ip));
	CU_ASSERT_TRUE(ip_addr_equal(&ip.src, &src));
	CU_ASSERT_TRUE(ip_addr_equal(&ip.dst, &dst));
	CU_ASSERT(ip.protocol == 17 && ip.ttl == 64 && ip.tos == 0 && ip.id == 0);
	CU_ASSERT(ip.total_len == 0x73 && ip.hdr_bytes == 20);
	CU_ASSERT_TRUE(ip.dont_fragment);
	CU_ASSERT_FALSE(ip.is_fragment);
	make(datagram, 40, 47, IPV4_FLAG_MF);
	CU_ASSERT_TRUE(ipv4_parse(datagram, 40, &ip));
	CU_ASSERT(ip.protocol == 47 && ip.ttl == 61 && ip.tos == 0x2e && ip.id == 0xbeef);
	CU_ASSERT(ip.is_fragment && !ip.dont_fragment);
	make(datagram, 40, 47, 1);
	CU_ASSERT_TRUE(ipv4_parse(datagram, 40, &ip));
	CU_ASSERT_TRUE(ip.is_fragment);
}

static void test_parse_rows(void)
{
	static const struct {
		const char *name;
		size_t len; /* of the buffer; the datagram says 40 */
		size_t at;  /* this byte becomes value, checksum fixed after it unless at is 10 */
		uint8_t value;
		bool ok;
	} rows[] = {
		{"good", 40, 8, 61, true},
		{"padding behind", 46, 8, 61, true},
		{"one byte missing", 39, 8, 61, false},
		{"header only, one missing", 19, 8, 61, false},
		{"nothing", 0, 8, 61, false},
		{"version 6", 40, 0, 0x65, false},
		{"IHL 4", 40, 0, 0x44, false},
		{"IHL 10: header fills it", 40, 0, 0x4a, true},
		{"IHL 11: header longer than all", 46, 0, 0x4b, false},
		{"total length 20", 40, 3, 20, true},
		{"total length 19", 40, 3, 19, false},
		{"total length 41", 40, 3, 41, false},
		{"wrong checksum", 40, 10, 0x55, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t datagram[64] = {0}, *copy;
		struct ipv4_view ip;

		make(datagram, 40, 17, 0);
		datagram[rows[i].at] = rows[i].value;
		if (rows[i].at != 10)
			fix_checksum(datagram);
		copy = exact(datagram, rows[i].len);
		CHECK_ROW(rows[i].name, ipv4_parse(copy, rows[i].len, &ip) == rows[i].ok);
		free(copy);
	}
}

static void test_udp(void)
{
	struct ip_endpoint src = {.addr = addr("10.1.0.1"), .port = 434};
	struct ip_endpoint dst = {.addr = addr("198.51.100.7"), .port = 50000};
	uint8_t payload[101], out[160];
	struct ipv4_view ip;
	struct udp_view udp;

	for (uint8_t i = 0; i < sizeof payload; i++)
		payload[i] = i;
	for (size_t n = 0; n <= sizeof payload; n++) { /* odd and even lengths */
		size_t len = ipv4_udp_build(out, sizeof out, &src, &dst, payload, n);
		uint8_t *copy = exact(out, len);

		CU_ASSERT_EQUAL(len, 28 + n);
		CU_ASSERT_TRUE(ipv4_udp_parse(copy, len, &ip, &udp));
		CU_ASSERT(udp.src_port == 434 && udp.dst_port == 50000);
		CU_ASSERT_EQUAL(udp.payload_len, n);
		CU_ASSERT_EQUAL(memcmp(udp.payload, payload, n), 0);
		CU_ASSERT_FALSE(ipv4_udp_parse(copy, len - 1, &ip, &udp));
		free(copy);
		copy = exact(out, len);
		CU_ASSERT_EQUAL(ipv4_udp_build(copy, len - 1, &src, &dst, payload, n), 0);
		CU_ASSERT_EQUAL(ipv4_udp_build(copy, len, &src, &dst, payload, n), len);
		ipv4_set_ttl(copy, 255);
		CU_ASSERT_TRUE(ipv4_parse(copy, len, &ip) && ip.ttl == 255);
		free(copy);
	}
	CU_ASSERT_EQUAL(ipv4_udp_build(out, SIZE_MAX, &src, &dst, payload, 65508), 0);
	CU_ASSERT_EQUAL(ipv4_udp_build(out, SIZE_MAX, &src, &dst, payload, SIZE_MAX), 0);
}

static void test_udp_checksum_0(void)
{
	/* 192.0.2.1:0 to 192.0.2.2:0: the two bytes of payload are set so that the sum is ffff, so
	 * the checksum would be 0, which means "none" and is sent as ffff. */
	struct ip_endpoint src = {.addr = addr("192.0.2.1")}, dst = {.addr = addr("192.0.2.2")};
	uint8_t payload[2], out[64];
	struct ipv4_view ip;
	struct udp_view udp;
	uint32_t sum = inet_pseudo_sum(&src.addr, &dst.addr, 17, 10) + 10;

	wire_store_u16(payload, inet_fold(sum));
	CU_ASSERT_EQUAL(ipv4_udp_build(out, sizeof out, &src, &dst, payload, 2), 30);
	CU_ASSERT_EQUAL(wire_load_u16(out + 26), 0xffff);
	CU_ASSERT_TRUE(ipv4_udp_parse(out, 30, &ip, &udp));
	/* A sender that made none. */
	wire_store_u16(out + 26, 0);
	out[28] ^= 1;
	CU_ASSERT_TRUE(ipv4_udp_parse(out, 30, &ip, &udp));
}

static void test_udp_refused(void)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
	} rows[] = {
		{"protocol 6", 9, 6},
		{"more fragments", 6, 0x20},
		{"later fragment", 7, 1},
		{"UDP length one less", 25, 8 + 3},
		{"UDP length one more", 25, 8 + 5},
		{"UDP checksum", 27, 0xa5},
		{"payload changed", 28, 0xff},
		{"source port changed", 21, 0xff},
		{"source address changed", 15, 0xff},
		{"total length 27", 3, 27},
	};
	struct ip_endpoint src = {.addr = addr("10.1.0.1"), .port = 434};
	struct ip_endpoint dst = {.addr = addr("198.51.100.7"), .port = 434};
	struct ipv4_view ip;
	struct udp_view udp;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t out[64];
		size_t len = ipv4_udp_build(out, sizeof out, &src, &dst, "abcd", 4);

		CHECK_ROW(rows[i].name, ipv4_udp_parse(out, len, &ip, &udp));
		out[rows[i].at] = rows[i].value;
		fix_checksum(out);
		CHECK_ROW(rows[i].name, !ipv4_udp_parse(out, len, &ip, &udp));
	}
}

/* --- fragments --- */

struct pieces {
	size_t n, mtu;
	size_t at; /* payload bytes so far */
	uint8_t payload[65536];
	size_t lens[2048];
	uint8_t hdr_bytes[2048];
	bool ends_with_mf;
	size_t base; /* offset of the first piece */
};

static void take_piece(void *arg, const uint8_t *datagram, size_t len)
{
	struct pieces *all = arg;
	struct ipv4_view ip = {0};
	uint16_t frag = wire_load_u16(datagram + 6);
	size_t payload;

	CU_ASSERT_TRUE(ipv4_parse(datagram, len, &ip));
	CU_ASSERT(ip.total_len == len && len <= all->mtu);
	CU_ASSERT(ip.id == 0xbeef && ip.ttl == 61 && ip.tos == 0x2e && ip.protocol == 17);
	payload = len - ip.hdr_bytes;
	if (all->n == 0)
		all->base = (size_t)(frag & IPV4_FRAG_MASK) * 8;
	CU_ASSERT_EQUAL((size_t)(frag & IPV4_FRAG_MASK) * 8, all->base + all->at);
	memcpy(all->payload + all->at, datagram + ip.hdr_bytes, payload);
	all->at += payload;
	all->ends_with_mf = (frag & IPV4_FLAG_MF) != 0;
	if (all->ends_with_mf)
		CU_ASSERT_EQUAL(payload % 8, 0);
	all->hdr_bytes[all->n] = ip.hdr_bytes;
	all->lens[all->n++] = len;
}

static void test_fragments(void)
{
	static const struct {
		const char *name;
		size_t total, mtu;
		uint16_t flags_frag;
		int want;
	} rows[] = {
		{"fits exactly", 1418, 1418, 0, 1},
		{"fits with DF", 1418, 1418, IPV4_FLAG_DF, 1},
		{"one byte too long", 1419, 1418, 0, 2},
		{"one byte too long with DF", 1419, 1418, IPV4_FLAG_DF, -EMSGSIZE},
		{"mtu that is no multiple of 8", 1500, 577, 0, 3},
		{"last piece larger than a multiple of 8", 20 + 552 + 557, 577, 0, 2},
		{"smallest mtu", 1500, 68, 0, 31},
		{"mtu below the smallest", 1500, 67, 0, -EMSGSIZE},
		{"header only", 20, 68, 0, 1},
		{"largest datagram", 65535, 68, 0, 1365},
		{"a first fragment", 1500, 600, IPV4_FLAG_MF, 3},
		{"a later fragment", 1500, 600, IPV4_FLAG_MF | 100, 3},
		{"the last fragment", 1500, 600, 100, 3},
		{"the last fragment of 64 KiB", 1500, 600, 8004, 3},
		{"a fragment that ends behind 64 KiB", 1500, 600, 8005, -EMSGSIZE},
	};
	static struct pieces all;
	static uint8_t datagram[65535];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		memset(&all, 0, sizeof all);
		all.mtu = rows[i].mtu;
		make(datagram, rows[i].total, 17, rows[i].flags_frag);
		CHECK_ROW(rows[i].name, ipv4_fragment(datagram, rows[i].total, rows[i].mtu,
						take_piece, &all) == rows[i].want);
		CHECK_ROW(rows[i].name, all.n == (rows[i].want > 0 ? (size_t)rows[i].want : 0));
		if (rows[i].want <= 0)
			continue;
		CHECK_ROW(rows[i].name, all.at == rows[i].total - IPV4_HDR_BYTES);
		CHECK_ROW(
			rows[i].name, memcmp(all.payload, datagram + IPV4_HDR_BYTES, all.at) == 0);
		CHECK_ROW(rows[i].name,
			all.ends_with_mf == ((rows[i].flags_frag & IPV4_FLAG_MF) != 0));
		CHECK_ROW(rows[i].name,
			all.base == (size_t)(rows[i].flags_frag & IPV4_FRAG_MASK) * 8);
	}
	datagram[0] = 0;
	CU_ASSERT_EQUAL(ipv4_fragment(datagram, 1500, 600, take_piece, &all), -EINVAL);
}

/* Options: a record route (not copied) and a router alert (copied). RFC 791 section 3.1. */
static void test_fragment_options(void)
{
	static struct pieces all;
	uint8_t datagram[200];

	memset(&all, 0, sizeof all);
	all.mtu = 100;
	make(datagram, sizeof datagram, 17, 0);
	memcpy(datagram + 20, "\x07\x03\x04\x01\x94\x04\x00\x00", 8);
	datagram[0] = 0x47;
	fix_checksum(datagram);
	CU_ASSERT_EQUAL(ipv4_fragment(datagram, sizeof datagram, 100, take_piece, &all), 3);
	CU_ASSERT(all.hdr_bytes[0] == 28 && all.hdr_bytes[1] == 24 && all.hdr_bytes[2] == 24);
	CU_ASSERT_EQUAL(all.at, sizeof datagram - 28);
	CU_ASSERT_EQUAL(memcmp(all.payload, datagram + 28, all.at), 0);
	/* An option of length 0 must end the walk. */
	memset(&all, 0, sizeof all);
	all.mtu = 100;
	memcpy(datagram + 20, "\x94\x00\x00\x00\x94\xff\x00\x00", 8);
	fix_checksum(datagram);
	CU_ASSERT_EQUAL(ipv4_fragment(datagram, sizeof datagram, 100, take_piece, &all), 3);
	CU_ASSERT_EQUAL(all.hdr_bytes[1], 20);
}

/* --- ICMP errors --- */

static void test_icmp_error(void)
{
	static const struct {
		const char *name, *src, *dst;
		size_t len;
		uint8_t protocol, first; /* byte of the payload: ICMP type */
		uint16_t flags_frag;
		size_t quoted; /* 0: must not be sent */
	} rows[] = {
		{"UDP", "10.2.0.5", "10.1.0.10", 100, 17, 0, 0, 100},
		{"header only", "10.2.0.5", "10.1.0.10", 20, 17, 0, 0, 20},
		{"long", "10.2.0.5", "10.1.0.10", 1500, 17, 0, IPV4_FLAG_DF, 548},
		{"548 bytes", "10.2.0.5", "10.1.0.10", 548, 17, 0, 0, 548},
		{"549 bytes", "10.2.0.5", "10.1.0.10", 549, 17, 0, 0, 548},
		{"echo request", "10.2.0.5", "10.1.0.10", 84, 1, 8, 0, 84},
		{"echo reply", "10.2.0.5", "10.1.0.10", 84, 1, 0, 0, 84},
		{"unreachable", "10.2.0.5", "10.1.0.10", 84, 1, 3, 0, 0},
		{"source quench", "10.2.0.5", "10.1.0.10", 84, 1, 4, 0, 0},
		{"redirect", "10.2.0.5", "10.1.0.10", 84, 1, 5, 0, 0},
		{"time exceeded", "10.2.0.5", "10.1.0.10", 84, 1, 11, 0, 0},
		{"parameter problem", "10.2.0.5", "10.1.0.10", 84, 1, 12, 0, 0},
		{"ICMP without a type", "10.2.0.5", "10.1.0.10", 20, 1, 0, 0, 0},
		{"first fragment", "10.2.0.5", "10.1.0.10", 100, 17, 0, IPV4_FLAG_MF, 100},
		{"later fragment", "10.2.0.5", "10.1.0.10", 100, 17, 0, 1, 0},
		{"from nowhere", "0.0.0.0", "10.1.0.10", 100, 17, 0, 0, 0},
		{"from multicast", "224.0.0.5", "10.1.0.10", 100, 17, 0, 0, 0},
		{"from loopback", "127.0.0.1", "10.1.0.10", 100, 17, 0, 0, 0},
		{"to multicast", "10.2.0.5", "224.0.0.5", 100, 17, 0, 0, 0},
		{"to broadcast", "10.2.0.5", "255.255.255.255", 100, 17, 0, 0, 0},
	};
	struct ip_addr from = addr("10.2.0.254");

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr src = addr(rows[i].src), dst = addr(rows[i].dst);
		uint8_t datagram[1500], out[600];
		struct ipv4_view ip;
		size_t len;

		memset(datagram, 0x11, sizeof datagram);
		datagram[20] = rows[i].first;
		ipv4_build(datagram, &src, &dst, rows[i].protocol, 1, 0, 7, rows[i].flags_frag,
			(uint16_t)rows[i].len);
		len = icmp_error_build(out, sizeof out, 3, 4, 1418, &from, datagram, rows[i].len);
		CHECK_ROW(rows[i].name, len == (rows[i].quoted ? 28 + rows[i].quoted : 0));
		if (len == 0)
			continue;
		CHECK_ROW(rows[i].name, ipv4_parse(out, len, &ip));
		CHECK_ROW(rows[i].name, ip_addr_equal(&ip.src, &from));
		CHECK_ROW(rows[i].name, ip_addr_equal(&ip.dst, &src));
		CHECK_ROW(rows[i].name, ip.protocol == 1 && ip.total_len == len);
		CHECK_ROW(rows[i].name, inet_fold(inet_sum(out + 20, len - 20, 0)) == 0);
		CHECK_ROW(rows[i].name, out[20] == 3 && out[21] == 4);
		CHECK_ROW(rows[i].name, wire_load_u16(out + 26) == 1418);
		CHECK_ROW(rows[i].name, memcmp(out + 28, datagram, rows[i].quoted) == 0);
		CHECK_ROW(rows[i].name, icmp_error_build(out, len - 1, 3, 4, 1418, &from, datagram,
						rows[i].len) == 0);
	}
}

/* RFC 6040 figure 4: inner field after the tunnel by inner and outer; 4: drop. */
static void test_carry_ecn(void)
{
	static const uint8_t after[4][4] = {/* outer: Not-ECT, ECT(1), ECT(0), CE */
		{0, 0, 0, 4}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
	struct ip_addr src = addr("10.2.0.5"), dst = addr("10.1.0.10");

	for (uint8_t inner = 0; inner < 4; inner++)
		for (uint8_t outer = 0; outer < 4; outer++) {
			uint8_t hdr[IPV4_HDR_BYTES], want = after[inner][outer];
			struct ipv4_view view;
			bool good;

			ipv4_build(hdr, &src, &dst, 17, 64, (uint8_t)(0xb8 | inner), 7, 0, 20);
			good = ipv4_carry_ecn((uint8_t)(0x20 | outer), hdr);
			CU_ASSERT_EQUAL(good, want != 4);
			CU_ASSERT_TRUE_FATAL(ipv4_parse(hdr, sizeof hdr, &view)); /* checksum */
			CU_ASSERT_EQUAL(view.tos, 0xb8 | (good ? want : inner));
		}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"build and parse", test_build_and_parse},
		{"header rows", test_parse_rows},
		{"UDP there and back", test_udp},
		{"UDP checksum 0", test_udp_checksum_0},
		{"UDP refused", test_udp_refused},
		{"fragments", test_fragments},
		{"fragments of options", test_fragment_options},
		{"ICMP errors", test_icmp_error},
		{"ECN", test_carry_ecn},
		{NULL, NULL},
	};

	return unit_run("ipv4", cases);
}
