/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told to whom, and how often. */
#include "control/gw/icmp_errors.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/ipv6.h"
#include "lib/wire.h"

#define PACKET_MAX 1500

static struct icmp_errors errors;

/* A packet of len bytes that control was handed for such an error. */
static struct punt punt_of(
	uint8_t *data, const char *src, size_t len, uint32_t node, enum punt_error error)
{
	struct ip_addr from = addr_of(src);
	struct ip_addr to = addr_of(from.family == AF_INET6 ? "2001:db8:a:1::10" : "10.1.0.10");

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7);
	if (from.family == AF_INET6) {
		memset(data, 0, IPV6_HDR_BYTES);
		data[0] = 6 << 4;
		wire_store_u16(data + 4, (uint16_t)(len - IPV6_HDR_BYTES));
		data[6] = IPPROTO_UDP;
		memcpy(data + IPV6_SRC_AT, from.bytes, IPV6_ADDR_BYTES);
		memcpy(data + IPV6_DST_AT, to.bytes, IPV6_ADDR_BYTES);
	} else {
		ipv4_build(data, &from, &to, IPPROTO_UDP, 64, 0, 0, IPV4_FLAG_DF, (uint16_t)len);
	}
	return (struct punt){
		.reason = PUNT_ERROR,
		.error = error,
		.mtu = error == PUNT_TOO_BIG ? 1380 : 0,
		.node = node,
		.data = data,
		.len = (uint32_t)len,
	};
}

static void begin(void)
{
	struct ip_addr from = addr_of("10.2.0.254"), from_v6 = addr_of("2001:db8:a:2::fe");

	memset(&dp_double, 0, sizeof dp_double);
	icmp_errors_init(&errors, DOUBLE_DP, &from, &from_v6);
}

static void check_v4(const char *name, const struct double_call *call, const uint8_t *data,
	uint8_t type, uint8_t code, uint16_t mtu)
{
	const struct ip_addr source = addr_of("10.2.0.5"), us = addr_of("10.2.0.254");
	struct ipv4_view ip;

	CHECK_ROW(name, ipv4_parse(call->data, call->len, &ip));
	CHECK_ROW(name, ip.protocol == IPPROTO_ICMP && ip.total_len <= 576);
	CHECK_ROW(name, ip_addr_equal(&ip.dst, &source) && ip_addr_equal(&ip.src, &us));
	CHECK_ROW(name, call->data[20] == type && call->data[21] == code &&
				wire_load_u16(call->data + 26) == mtu);
	CHECK_ROW(name, memcmp(call->data + 28, data, ip.total_len - 28u) == 0);
}

static void check_v6(const char *name, const struct double_call *call, const uint8_t *data,
	uint8_t type, uint8_t code, uint16_t mtu)
{
	const struct ip_addr source = addr_of("2001:db8:a:2::5"), us = addr_of("2001:db8:a:2::fe");
	const uint8_t *ip = call->data;
	const uint32_t len = wire_load_u16(ip + 4);

	CHECK_ROW(name, call->len == IPV6_MTU_MIN && len == IPV6_MTU_MIN - IPV6_HDR_BYTES);
	CHECK_ROW(name, ip[0] == 6 << 4 && ip[6] == IPPROTO_ICMPV6 && ip[7] == 64);
	CHECK_ROW(name, memcmp(ip + IPV6_DST_AT, source.bytes, IPV6_ADDR_BYTES) == 0);
	CHECK_ROW(name, memcmp(ip + IPV6_SRC_AT, us.bytes, IPV6_ADDR_BYTES) == 0);
	CHECK_ROW(name, ip[40] == type && ip[41] == code && wire_load_u32(ip + 44) == mtu);
	CHECK_ROW(name, inet_fold(inet_sum(ip + 40, len,
				inet_pseudo_sum(&us, &source, IPPROTO_ICMPV6, len))) == 0);
	CHECK_ROW(name, memcmp(ip + 48, data, IPV6_MTU_MIN - 48) == 0);
}

static void test_what_is_told(void)
{
	static const struct {
		const char *name;
		uint32_t node;
		enum punt_error error;
		enum double_kind kind;
		struct {
			uint8_t type, code;
		} v4, v6;
		uint16_t mtu;
	} rows[] = {
		{"too big, from inside", 0, PUNT_TOO_BIG, DOUBLE_SEND_INSIDE, {3, 4}, {2, 0}, 1380},
		{"TTL, from inside", 0, PUNT_TIME_EXCEEDED, DOUBLE_SEND_INSIDE, {11, 0}, {3, 0}, 0},
		{"too big, from a node", 7, PUNT_TOO_BIG, DOUBLE_SEND_TO_NODE, {3, 4}, {2, 0},
			1380},
		{"TTL, from a node", 7, PUNT_TIME_EXCEEDED, DOUBLE_SEND_TO_NODE, {11, 0}, {3, 0},
			0},
	};

	for (size_t i = 0; i < 2 * (sizeof rows / sizeof rows[0]); i++) {
		const bool v6 = i % 2 != 0;
		const char *name = rows[i / 2].name;
		const struct double_call *call = &dp_double.calls[0];
		uint8_t data[PACKET_MAX];
		struct punt punt = punt_of(data, v6 ? "2001:db8:a:2::5" : "10.2.0.5", PACKET_MAX,
			rows[i / 2].node, rows[i / 2].error);

		begin();
		icmp_errors_tell(&errors, &punt, NS_PER_S);
		CU_ASSERT_EQUAL_FATAL(dp_double.n, 1);
		CHECK_ROW(name, call->kind == rows[i / 2].kind);
		CHECK_ROW(name, call->kind != DOUBLE_SEND_TO_NODE || call->node == 7);
		if (v6)
			check_v6(name, call, data, rows[i / 2].v6.type, rows[i / 2].v6.code,
				rows[i / 2].mtu);
		else
			check_v4(name, call, data, rows[i / 2].v4.type, rows[i / 2].v4.code,
				rows[i / 2].mtu);
	}
}

/* Of a family that we have no address of inside, nobody is told anything. */
static void test_no_address(void)
{
	const struct ip_addr v4 = addr_of("10.2.0.254"), v6 = addr_of("2001:db8:a:2::fe");
	const struct ip_addr none = {0};
	uint8_t data[PACKET_MAX];
	struct punt punt;

	for (unsigned has_v6 = 0; has_v6 < 2; has_v6++) {
		memset(&dp_double, 0, sizeof dp_double);
		icmp_errors_init(&errors, DOUBLE_DP, has_v6 ? &none : &v4, has_v6 ? &v6 : &none);
		punt = punt_of(data, "10.2.0.5", 600, 0, PUNT_TIME_EXCEEDED);
		icmp_errors_tell(&errors, &punt, NS_PER_S);
		CU_ASSERT_EQUAL(dp_double.n, has_v6 ? 0 : 1);
		punt = punt_of(data, "2001:db8:a:2::5", 600, 0, PUNT_TIME_EXCEEDED);
		icmp_errors_tell(&errors, &punt, NS_PER_S);
		CU_ASSERT_EQUAL(dp_double.n, 1);
	}
}

static void test_not_about_errors(void)
{
	uint8_t data[PACKET_MAX];
	struct punt punt = punt_of(data, "10.2.0.5", 600, 0, PUNT_TOO_BIG);
	struct ip_addr src = addr_of("10.2.0.5"), dst = addr_of("10.1.0.10");

	begin();
	ipv4_build(data, &src, &dst, IPPROTO_ICMP, 64, 0, 0, IPV4_FLAG_DF, (uint16_t)punt.len);
	data[20] = 3; /* is itself an error */
	icmp_errors_tell(&errors, &punt, NS_PER_S);
	punt = punt_of(data, "2001:db8:a:2::5", 1400, 0, PUNT_TOO_BIG);
	data[6] = IPPROTO_ICMPV6;
	data[40] = 1;
	icmp_errors_tell(&errors, &punt, NS_PER_S);
	CU_ASSERT_EQUAL(dp_double.n, 0);
	CU_ASSERT_EQUAL(errors.kept_back, 0);
}

static void test_rate(const char *first, const char *other)
{
	uint8_t data[PACKET_MAX];
	struct punt punt = punt_of(data, first, 600, 0, PUNT_TOO_BIG);
	uint64_t now_ns = 100 * NS_PER_S;

	begin();
	for (unsigned i = 0; i < 100; i++)
		icmp_errors_tell(&errors, &punt, now_ns);
	CU_ASSERT_EQUAL(dp_double.n, ICMP_ERRORS_BURST);
	CU_ASSERT_EQUAL(errors.told, ICMP_ERRORS_BURST);
	CU_ASSERT_EQUAL(errors.kept_back, 100 - ICMP_ERRORS_BURST);
	/* another sender is not held back by it */
	punt = punt_of(data, other, 600, 0, PUNT_TOO_BIG);
	icmp_errors_tell(&errors, &punt, now_ns);
	CU_ASSERT_EQUAL(dp_double.n, ICMP_ERRORS_BURST + 1);
	/* the first one a second later */
	punt = punt_of(data, first, 600, 0, PUNT_TOO_BIG);
	for (unsigned i = 0; i < 100; i++)
		icmp_errors_tell(&errors, &punt, now_ns + NS_PER_S);
	CU_ASSERT_EQUAL(errors.told, ICMP_ERRORS_BURST + 1 + ICMP_ERRORS_RATE);
}

static void test_rates(void)
{
	test_rate("10.2.0.5", "10.2.0.6");
	test_rate("2001:db8:a:2::5", "2001:db8:a:2::6");
	test_rate("2001:db8:a:2::5", "2001:db8:a:3::5");
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"what is told to whom", test_what_is_told},
		{"errors are not answered", test_not_about_errors},
		{"no address of that family", test_no_address},
		{"rates", test_rates},
		{NULL, NULL},
	};

	return unit_run("gw: ICMP errors", cases);
}
