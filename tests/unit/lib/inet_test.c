/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses, prefixes and endpoints as text and as sets; the Internet checksum. */
#include "lib/inet.h"

#include "unit.h"

#include "lib/wire.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CHECK_ROW(text, ip_addr_parse(text, &out));
	return out;
}

static void test_addr_text(void)
{
	static const struct {
		const char *text;
		uint8_t family;   /* 0: must be refused */
		const char *back; /* NULL: as text */
	} rows[] = {
		{"10.1.0.10", AF_INET, NULL},
		{"255.255.255.255", AF_INET, NULL},
		{"2001:db8::1", AF_INET6, NULL},
		{"2001:DB8:0:0::1", AF_INET6, "2001:db8::1"},
		{"::", AF_INET6, NULL},
		{"", 0, NULL},
		{" 10.1.0.10", 0, NULL},
		{"10.1.0.10 ", 0, NULL},
		{"10.1.0", 0, NULL},
		{"10.1.0.256", 0, NULL},
		{"10.1.0.10/32", 0, NULL},
		{"10.1.0.010", 0, NULL},
		{"2001:db8::1%eth0", 0, NULL},
		{"[::1]", 0, NULL},
		{"host", 0, NULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr out = {.family = 77};
		bool ok = ip_addr_parse(rows[i].text, &out);
		char text[IP_TEXT_MAX];

		CHECK_ROW(rows[i].text, ok == (rows[i].family != 0));
		CHECK_ROW(rows[i].text, out.family == (ok ? rows[i].family : 77));
		if (ok) {
			const char *want = rows[i].back != NULL ? rows[i].back : rows[i].text;

			CHECK_ROW(rows[i].text, strcmp(ip_addr_format(&out, text), want) == 0);
		}
	}
}

static void test_prefix_text(void)
{
	static const struct {
		const char *text;
		int len; /* -1: must be refused */
		const char *back;
	} rows[] = {
		{"10.1.0.0/16", 16, "10.1.0.0/16"},
		{"10.1.0.10", 32, "10.1.0.10/32"},
		{"10.1.0.10/32", 32, "10.1.0.10/32"},
		{"0.0.0.0/0", 0, "0.0.0.0/0"},
		{"128.0.0.0/1", 1, "128.0.0.0/1"},
		{"2001:db8::/33", 33, "2001:db8::/33"},
		{"2001:db8::1/128", 128, "2001:db8::1/128"},
		{"10.1.0.1/31", -1, NULL},
		{"10.1.0.0/33", -1, NULL},
		{"10.1.0.0/", -1, NULL},
		{"10.1.0.0/-1", -1, NULL},
		{"10.1.0.0/16 ", -1, NULL},
		{"10.1.0.0/+16", -1, NULL},
		{"10.1.0.0/4294967312", -1, NULL},
		{"2001:db8::/129", -1, NULL},
		{"2001:db8:8000::/32", -1, NULL},
		{"/16", -1, NULL},
		{"", -1, NULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_prefix out = {.len = 99};
		bool ok = ip_prefix_parse(rows[i].text, &out);
		char text[IP_TEXT_MAX];

		CHECK_ROW(rows[i].text, ok == (rows[i].len >= 0));
		CHECK_ROW(rows[i].text, out.len == (ok ? rows[i].len : 99));
		if (ok)
			CHECK_ROW(rows[i].text,
				strcmp(ip_prefix_format(&out, text), rows[i].back) == 0);
	}
}

static void test_endpoint_text(void)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{"10.0.0.1:500", true},
		{"10.0.0.1:65535", true},
		{"[2001:db8::1]:4500", true},
		{"10.0.0.1", false},
		{"10.0.0.1:", false},
		{"10.0.0.1:0", false},
		{"10.0.0.1:65536", false},
		{"10.0.0.1:5x", false},
		{"10.0.0.1:500 ", false},
		{"[10.0.0.1]:500", false},
		{"::1:500", false},
		{"[::1:500", false},
		{"[::1]", false},
		{"[]:500", false},
		{"]:500", false},
		{":500", false},
		{"", false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_endpoint out = {.port = 7};
		bool ok = ip_endpoint_parse(rows[i].text, &out);
		char text[IP_TEXT_MAX];

		CHECK_ROW(rows[i].text, ok == rows[i].ok);
		if (ok)
			CHECK_ROW(rows[i].text,
				strcmp(ip_endpoint_format(&out, text), rows[i].text) == 0);
		else
			CHECK_ROW(rows[i].text, out.port == 7);
	}
}

static void test_unset_text(void)
{
	struct ip_endpoint none = {0};
	char text[IP_TEXT_MAX];

	CU_ASSERT_STRING_EQUAL(ip_addr_format(&none.addr, text), "none");
	CU_ASSERT_FALSE(ip_addr_is_set(&none.addr));
	CU_ASSERT_TRUE(ip_addr_equal(&none.addr, &none.addr));
	CU_ASSERT_EQUAL(ip_addr_to_v4(&none.addr), 0);
}

static void test_prefix_sets(void)
{
	static const struct {
		const char *prefix, *addr;
		bool contains;
	} rows[] = {
		{"10.1.0.0/16", "10.1.0.0", true},
		{"10.1.0.0/16", "10.1.255.255", true},
		{"10.1.0.0/16", "10.2.0.0", false},
		{"10.1.0.0/15", "10.1.0.0", false}, /* unparsable: bit set behind the length */
		{"10.0.0.0/15", "10.1.0.0", true},
		{"10.0.0.0/15", "10.2.0.0", false},
		{"0.0.0.0/0", "255.1.2.3", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "10.1.0.1", false},
		{"10.1.0.10/32", "10.1.0.10", true},
		{"10.1.0.10/32", "10.1.0.11", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::", false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr at = addr(rows[i].addr);
		struct ip_prefix prefix = {0}, host;

		if (!ip_prefix_parse(rows[i].prefix, &prefix))
			CHECK_ROW(rows[i].prefix, !rows[i].contains);
		CHECK_ROW(rows[i].prefix, ip_prefix_contains(&prefix, &at) == rows[i].contains);
		CHECK_ROW(rows[i].addr, ip_prefix_parse(rows[i].addr, &host));
		CHECK_ROW(rows[i].addr, ip_prefix_overlaps(&prefix, &host) == rows[i].contains);
		CHECK_ROW(rows[i].addr, ip_prefix_overlaps(&host, &prefix) == rows[i].contains);
	}
}

static void test_unicast(void)
{
	static const struct {
		const char *text;
		bool unicast;
	} rows[] = {
		{"10.1.0.10", true},
		{"198.51.100.7", true},
		{"223.255.255.255", true},
		{"1.0.0.0", true},
		{"169.253.1.1", true},
		{"2001:db8::1", true},
		{"fe00::1", true},
		{"0.0.0.0", false},
		{"0.255.255.255", false},
		{"127.0.0.1", false},
		{"169.254.1.1", false},
		{"224.0.0.1", false},
		{"239.255.255.255", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},
		{"::", false},
		{"::1", false},
		{"fe80::1", false},
		{"febf::1", false},
		{"ff02::1", false},
		{"::ffff:10.0.0.1", false},
	};
	struct ip_addr unset = {0};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr at = addr(rows[i].text);

		CHECK_ROW(rows[i].text, ip_addr_is_unicast(&at) == rows[i].unicast);
	}
	CU_ASSERT_FALSE(ip_addr_is_unicast(&unset));
}

static void test_equal(void)
{
	struct ip_endpoint a = {.addr = addr("10.0.0.1"), .port = 1};
	struct ip_endpoint b = a;
	struct ip_addr v6 = addr("a00:1::");

	CU_ASSERT_TRUE(ip_endpoint_equal(&a, &b));
	b.port = 2;
	CU_ASSERT_FALSE(ip_endpoint_equal(&a, &b));
	b = a;
	b.addr = addr("10.0.0.2");
	CU_ASSERT_FALSE(ip_endpoint_equal(&a, &b));
	CU_ASSERT_FALSE(ip_addr_equal(&a.addr, &v6)); /* same first bytes, other family */
	b.addr = ip_addr_from_v4(ip_addr_to_v4(&a.addr));
	CU_ASSERT_TRUE(ip_endpoint_equal(&a, &b));
}

static void test_checksum(void)
{
	/* RFC 1071 section 3: the sum of these bytes is ddf2 after the carries. */
	static const uint8_t words[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static uint8_t ones[200001];
	/* UDP over IPv4, 192.0.2.1 to 192.0.2.2, computed by hand. */
	struct ip_addr src = addr("192.0.2.1"), dst = addr("192.0.2.2");

	CU_ASSERT_EQUAL(inet_fold(inet_sum(words, sizeof words, 0)), (uint16_t)~0xddf2);
	CU_ASSERT_EQUAL(inet_fold(inet_sum(words + 4, 4, inet_sum(words, 4, 0))), 0x220d);
	CU_ASSERT_EQUAL(inet_fold(inet_sum(words, 7, 0)), (uint16_t)~0xdcfb);
	CU_ASSERT_EQUAL(inet_fold(inet_sum(words, 0, 0)), 0xffff);
	CU_ASSERT_EQUAL(inet_sum(words, 1, 0), 0);
	CU_ASSERT_EQUAL(inet_sum(words + 2, 1, 0), 0xf200);
	/* More than 2^16 words of ff: no carry may be lost. */
	memset(ones, 0xff, sizeof ones);
	CU_ASSERT_EQUAL(inet_fold(inet_sum(ones, sizeof ones - 1, 0)), 0);
	CU_ASSERT_EQUAL(inet_fold(inet_sum(ones, sizeof ones - 1, UINT32_MAX)), 0);
	CU_ASSERT_EQUAL(inet_fold(inet_pseudo_sum(&src, &dst, 17, 8)),
		(uint16_t) ~(0xc000 + 0x0201 + 0xc000 + 0x0202 + 17 + 8 - 0xffff));
	CU_ASSERT_EQUAL(inet_fold(inet_pseudo_sum(&src, &dst, 0, 0x30002)),
		inet_fold(inet_pseudo_sum(&src, &dst, 0, 5)));
}

static void test_wire(void)
{
	uint8_t bytes[16] = {0};
	struct wire_out out = wire_into(bytes, 15);
	struct wire in = wire_over(bytes, 15);
	struct wire sub;

	wire_put_u8(&out, 0x01);
	wire_put_u16(&out, 0x0203);
	wire_put_u32(&out, 0x04050607);
	wire_put_u64(&out, UINT64_C(0x08090a0b0c0d0e0f));
	CU_ASSERT_TRUE(out.ok);
	CU_ASSERT_EQUAL(wire_written(&out), 15);
	wire_put_u8(&out, 0xff);
	CU_ASSERT_FALSE(out.ok);
	CU_ASSERT_EQUAL(bytes[15], 0);
	for (uint8_t i = 0; i < 15; i++)
		CU_ASSERT_EQUAL(bytes[i], i + 1);

	CU_ASSERT_EQUAL(wire_u8(&in), 0x01);
	CU_ASSERT_EQUAL(wire_u16(&in), 0x0203);
	CU_ASSERT_FALSE(wire_done(&in));
	sub = wire_sub(&in, 4);
	CU_ASSERT_EQUAL(wire_u32(&sub), 0x04050607);
	CU_ASSERT_TRUE(wire_done(&sub));
	CU_ASSERT_EQUAL(wire_u64(&in), UINT64_C(0x08090a0b0c0d0e0f));
	CU_ASSERT_TRUE(wire_done(&in));
	CU_ASSERT_EQUAL(wire_u8(&in), 0);
	CU_ASSERT_FALSE(wire_done(&in));
	CU_ASSERT_EQUAL(wire_left(&in), 0);
	sub = wire_sub(&in, 0);
	CU_ASSERT_FALSE(wire_done(&sub)); /* a failed reader stays failed */
}

/* Every length, alignment and carry: the sum byte by byte, as RFC 1071 defines it. */
static void test_checksum_by_bytes(void)
{
	uint8_t bytes[72];

	for (unsigned seed = 0; seed < 64; seed++) {
		for (unsigned i = 0; i < sizeof bytes; i++)
			bytes[i] = seed % 4 == 0 ? 0xff : (uint8_t)(seed * 151 + i * i * 7);
		for (unsigned from = 0; from < 8; from++) {
			for (unsigned len = 0; from + len <= sizeof bytes; len++) {
				uint32_t want = seed * 1000003;

				for (unsigned i = 0; i < len; i++)
					want += (uint32_t)bytes[from + i] << (i % 2 == 0 ? 8 : 0);
				CU_ASSERT(inet_fold(want) ==
					  inet_fold(inet_sum(bytes + from, len, seed * 1000003)));
			}
		}
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"address text", test_addr_text},
		{"prefix text", test_prefix_text},
		{"endpoint text", test_endpoint_text},
		{"unset address", test_unset_text},
		{"prefix contains and overlaps", test_prefix_sets},
		{"unicast", test_unicast},
		{"equality", test_equal},
		{"checksum", test_checksum},
		{"checksum by bytes", test_checksum_by_bytes},
		{"wire cursors", test_wire},
		{NULL, NULL},
	};

	return unit_run("inet", cases);
}
