/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IPv6 headers in place: addresses, lengths, and the chain of extension headers, by rows. Packets
 * end at a page without access, so that a look beyond the end is seen.
 */
#include "dataplane/ip6.h"

#include "tests/unit/esp/rig.h"

static void test_addresses(void)
{
	static const struct {
		const char *text;
		bool forwardable, link_local, link_multicast;
	} rows[] = {
		{"2001:db8::1", true, false, false},
		{"fc00::1", true, false, false},
		{"fdff::1", true, false, false},
		{"::", false, false, false},
		{"::1", false, false, false},
		{"::192.0.2.1", false, false, false},
		{"::ffff:192.0.2.1", false, false, false},
		{"::fffe:192.0.2.1", true, false, false},
		{"0:0:0:1::1", true, false, false},
		{"64:ff9b::192.0.2.1", true, false, false},
		{"fe7f::1", true, false, false},
		{"fe80::1", false, true, false},
		{"febf::1", false, true, false},
		{"fec0::1", true, false, false},
		{"ff02::1", false, false, true},
		{"ff12::1", false, false, true},
		{"ff05::1", false, false, false},
		{"ff0e::1", false, false, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr addr = rig_addr(rows[i].text);

		CHECK_ROW(rows[i].text, ip6_is_forwardable(addr.bytes) == rows[i].forwardable);
		CHECK_ROW(rows[i].text, ip6_is_link_local(addr.bytes) == rows[i].link_local);
		CHECK_ROW(
			rows[i].text, ip6_is_link_multicast(addr.bytes) == rows[i].link_multicast);
	}
}

static void test_lengths(void)
{
	static const struct {
		const char *name;
		uint32_t len;
		uint16_t payload;
		uint8_t version;
		enum verdict want;
	} rows[] = {
		{"nothing", 0, 0, 6, VERDICT_RUNT},
		{"one byte short", 39, 0, 6, VERDICT_RUNT},
		{"header alone", 40, 0, 6, VERDICT_OK},
		{"one byte missing", 40, 1, 6, VERDICT_RUNT},
		{"fits", 60, 20, 6, VERDICT_OK},
		{"more behind", 61, 20, 6, VERDICT_OK},
		{"all ones", 60, 65535, 6, VERDICT_RUNT},
		{"version 4", 60, 20, 4, VERDICT_BAD_HEADER},
		{"version 7", 60, 20, 7, VERDICT_BAD_HEADER},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct guarded g = guarded_new(128);
		uint8_t *ip = g.end - rows[i].len;

		if (rows[i].len >= 6) {
			ip[0] = (uint8_t)(rows[i].version << 4);
			wire_store_u16(ip + 4, rows[i].payload);
		}
		CHECK_ROW(rows[i].name, ip6_check(ip, rows[i].len) == rows[i].want);
		guarded_free(&g);
	}
}

static void test_hop_limit(void)
{
	uint8_t ip[IPV6_HDR_BYTES] = {0x60, [7] = 2};

	CU_ASSERT(ip6_hop_limit_decrement(ip) && ip[7] == 1);
	CU_ASSERT(!ip6_hop_limit_decrement(ip) && ip[7] == 1);
	ip[7] = 0;
	CU_ASSERT(!ip6_hop_limit_decrement(ip) && ip[7] == 0);
}

/* Headers in hex behind the fixed one, whose next header is `first`; both: to us, and passing by.
 */
static void test_chain(void)
{
	static const struct {
		const char *name;
		uint8_t first;
		const char *headers;
		enum verdict for_us, passing;
		uint8_t protocol;
		bool fragment, is_first;
	} rows[] = {
		{"none", 50, "", VERDICT_OK, VERDICT_OK, 50, false, true},
		{"hop by hop", 0, "3200010400000000", VERDICT_OK, VERDICT_OK, 50, false, true},
		{"cut", 0, "32000104000000", VERDICT_RUNT, VERDICT_RUNT, 0, false, true},
		{"longer than the packet", 60, "3201010400000000", VERDICT_RUNT, VERDICT_RUNT, 0,
			false, true},
		{"16 bytes", 60, "3201010c000000000000000000000000", VERDICT_OK, VERDICT_OK, 50,
			false, true},
		{"hop by hop, not first", 60, "0000010400000000 3200010400000000",
			VERDICT_BAD_HEADER, VERDICT_BAD_HEADER, 0, false, true},
		{"Pad1 alone", 60, "3200000000000000", VERDICT_OK, VERDICT_OK, 50, false, true},
		{"option to skip", 60, "32001e0400000000", VERDICT_OK, VERDICT_OK, 50, false, true},
		{"option to discard", 60, "32005e0400000000", VERDICT_BAD_HEADER, VERDICT_OK, 50,
			false, true},
		{"option to discard and tell", 60, "3200c20400000000", VERDICT_BAD_HEADER,
			VERDICT_OK, 50, false, true},
		{"option beyond its header", 60, "3200010500000000", VERDICT_BAD_HEADER, VERDICT_OK,
			50, false, true},
		{"option without a length", 60, "3200010300000001", VERDICT_BAD_HEADER, VERDICT_OK,
			50, false, true},
		{"route at its end", 43, "3200000000000000", VERDICT_OK, VERDICT_OK, 50, false,
			true},
		{"route of type 0", 43, "3200000100000000", VERDICT_BAD_HEADER, VERDICT_BAD_HEADER,
			0, false, true},
		{"route of type 4", 43, "3200040100000000", VERDICT_BAD_HEADER, VERDICT_OK, 50,
			false, true},
		{"whole in a fragment", 44, "3200000000000001", VERDICT_OK, VERDICT_OK, 50, false,
			true},
		{"first fragment", 44, "3200000100000001", VERDICT_OK, VERDICT_OK, 50, true, true},
		{"last fragment", 44, "3200000800000001", VERDICT_OK, VERDICT_OK, 50, true, false},
		{"later fragment of options", 44, "3c00000900000001 ffffffffffffffff", VERDICT_OK,
			VERDICT_OK, 60, true, false},
		{"options in a first fragment", 44, "3c00000100000001 3200010400000000", VERDICT_OK,
			VERDICT_OK, 50, true, true},
		{"no next header", 59, "", VERDICT_OK, VERDICT_OK, 59, false, true},
		{"authentication header", 51, "3200000000000000", VERDICT_OK, VERDICT_OK, 51, false,
			true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		for (int for_us = 0; for_us < 2; for_us++) {
			const enum verdict want = for_us ? rows[i].for_us : rows[i].passing;
			uint8_t headers[64];
			const size_t n = unit_hex(rows[i].headers, headers, sizeof headers);
			struct guarded g = guarded_new(128);
			uint8_t *ip = g.end - IPV6_HDR_BYTES - n;
			struct ipv6_upper upper;

			ip[0] = 0x60;
			ip[6] = rows[i].first;
			wire_store_u16(ip + 4, (uint16_t)n);
			if (n != 0)
				memcpy(ip + IPV6_HDR_BYTES, headers, n);
			CHECK_ROW(rows[i].name, ip6_find_upper(ip, (uint32_t)(IPV6_HDR_BYTES + n),
							for_us != 0, &upper) == want);
			if (want == VERDICT_OK)
				CHECK_ROW(
					rows[i].name, upper.protocol == rows[i].protocol &&
							      upper.fragment == rows[i].fragment &&
							      upper.first == rows[i].is_first);
			guarded_free(&g);
		}
	}
}

static void test_chain_is_bounded(void)
{
	for (unsigned n = 0; n <= IPV6_CHAIN_MAX + 2; n++) {
		uint8_t ip[IPV6_HDR_BYTES + 8 * (IPV6_CHAIN_MAX + 2)] = {0x60, [6] = 60};
		const uint32_t len = IPV6_HDR_BYTES + 8 * n;
		struct ipv6_upper upper;
		enum verdict verdict;

		for (unsigned k = 0; k < n; k++)
			ip[IPV6_HDR_BYTES + 8 * k] = k + 1 < n ? 60 : 50;
		if (n == 0)
			ip[6] = 50;
		verdict = ip6_find_upper(ip, len, true, &upper);
		CU_ASSERT(verdict == (n <= IPV6_CHAIN_MAX ? VERDICT_OK : VERDICT_BAD_HEADER));
		if (verdict == VERDICT_OK)
			CU_ASSERT(upper.at == len && upper.protocol == 50);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"addresses", test_addresses},
		{"lengths", test_lengths},
		{"hop limit", test_hop_limit},
		{"chain", test_chain},
		{"bounded chain", test_chain_is_bounded},
		{NULL, NULL},
	};

	return unit_run("dataplane: ip6", cases);
}
