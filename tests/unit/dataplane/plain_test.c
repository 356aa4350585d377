/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The arithmetic of plain packets against plain arithmetic: checksums, the TTL, addresses. What the
 * whole test lets through is the business of verdicts_test.c and inner_test.c.
 */
#include "dataplane/plain.h"
#include "tests/unit/lib/unit.h"

#include <stdlib.h>

#define HEADERS 20000
#define HDR_MAX 60

/* Any header of hdr_bytes with a good checksum. */
static void make_header(uint8_t *ip, uint32_t hdr_bytes)
{
	for (uint32_t at = 0; at < hdr_bytes; at++)
		ip[at] = (uint8_t)random();
	ip[0] = (uint8_t)(0x40 | hdr_bytes / 4);
	wire_store_u16(ip + 10, 0);
	wire_store_u16(ip + 10, inet_fold(inet_sum(ip, hdr_bytes, 0)));
}

static void test_checksum(void)
{
	uint8_t ip[HDR_MAX];

	for (unsigned i = 0; i < HEADERS; i++) {
		const uint32_t hdr_bytes = IPV4_HDR_BYTES + i % 11 * 4;
		const unsigned bit = (unsigned)random() % (hdr_bytes * 8);

		make_header(ip, hdr_bytes);
		CU_ASSERT(ip4_checksum_ok(ip, hdr_bytes));
		ip[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CU_ASSERT(!ip4_checksum_ok(ip, hdr_bytes));
	}
}

/* Words that carry as often as can be: RFC 1071 knows two forms of 0. */
static void test_checksum_carries(void)
{
	uint8_t ip[IPV4_HDR_BYTES];

	for (uint32_t sum = 0; sum <= UINT16_MAX; sum++) {
		memset(ip, 0xff, sizeof ip);
		ip[0] = IP4_PLAIN;
		wire_store_u16(ip + 10, (uint16_t)sum);
		CU_ASSERT(ip4_checksum_ok(ip, sizeof ip) ==
			  (inet_fold(inet_sum(ip, sizeof ip, 0)) == 0));
	}
}

static void test_ttl(void)
{
	uint8_t ip[IPV4_HDR_BYTES] = {IP4_PLAIN};

	for (uint32_t id = 0; id <= UINT16_MAX; id++) { /* all checksums */
		wire_store_u16(ip + 4, (uint16_t)id);
		ip[8] = (uint8_t)(id % 254 + 2);
		wire_store_u16(ip + 10, 0);
		wire_store_u16(ip + 10, inet_fold(inet_sum(ip, sizeof ip, 0)));
		CU_ASSERT(ip4_ttl_decrement(ip));
		CU_ASSERT(ip[8] == id % 254 + 1);
		CU_ASSERT(inet_fold(inet_sum(ip, sizeof ip, 0)) == 0);
	}
	ip[8] = 1;
	CU_ASSERT(!ip4_ttl_decrement(ip));
	ip[8] = 0;
	CU_ASSERT(!ip4_ttl_decrement(ip));
}

static void test_addresses(void)
{
	struct plain_addrs addrs;
	unsigned plain = 0;

	plain_addrs_init(&addrs);
	for (be32_t pair = 0; pair <= UINT16_MAX; pair++) {
		plain += plain_oddity(&addrs, pair) == 0;
		CU_ASSERT(plain_oddity(&addrs, pair) != 0 || ip4_is_forwardable(pair));
	}
	CU_ASSERT(plain == (224 - 3) * 256); /* not 0, 127, 169, and nothing from 224 on */
	for (unsigned i = 0; i < HEADERS; i++) {
		const be32_t own = (be32_t)random();

		plain_addrs_init(&addrs);
		plain_addrs_own(&addrs, own);
		CU_ASSERT(plain_oddity(&addrs, own) != 0);
	}
}

static void test_protocol(void)
{
	static const struct {
		const char *name;
		uint16_t flags;
		uint8_t protocol;
		bool plain;
	} rows[] = {
		{"ESP", 0, IP4_PROTO_ESP, true},
		{"DF", IPV4_FLAG_DF, IP4_PROTO_ESP, true},
		{"MF", IPV4_FLAG_MF, IP4_PROTO_ESP, false},
		{"DF, MF", IPV4_FLAG_DF | IPV4_FLAG_MF, IP4_PROTO_ESP, false},
		{"last fragment", 1, IP4_PROTO_ESP, false},
		{"far fragment", 0x1000, IP4_PROTO_ESP, false},
		{"reserved bit", 0x8000, IP4_PROTO_ESP, false},
		{"UDP", 0, IP4_PROTO_UDP, false},
	};
	uint8_t ip[IPV4_HDR_BYTES] = {IP4_PLAIN};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ip[8] = (uint8_t)(i * 37);
		wire_store_u16(ip + 6, rows[i].flags);
		ip[9] = rows[i].protocol;
		CHECK_ROW(rows[i].name,
			(plain_protocol(ip) == PLAIN_PROTOCOL(IP4_PROTO_ESP)) == rows[i].plain);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"checksum", test_checksum},
		{"checksum, carries", test_checksum_carries},
		{"TTL", test_ttl},
		{"addresses", test_addresses},
		{"protocol", test_protocol},
		{NULL, NULL},
	};

	return unit_run("dataplane: plain", cases);
}
