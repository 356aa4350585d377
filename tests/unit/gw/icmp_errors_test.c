/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told to whom, and how often. */
#include "control/gw/icmp_errors.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/wire.h"

static struct icmp_errors errors;

/* A UDP datagram that control was handed for such an error. */
static struct punt punt_of(uint8_t *data, const char *src, uint32_t node, enum punt_error error)
{
	struct ip_endpoint from = {.addr = addr_of(src), .port = 1};
	struct ip_endpoint to = {.addr = addr_of("10.1.0.10"), .port = 2};
	static const uint8_t payload[600];

	return (struct punt){
		.reason = PUNT_ERROR,
		.error = error,
		.mtu = error == PUNT_TOO_BIG ? 1380 : 0,
		.node = node,
		.data = data,
		.len = (uint32_t)ipv4_udp_build(data, 700, &from, &to, payload, sizeof payload),
	};
}

static void begin(void)
{
	struct ip_addr from = addr_of("10.2.0.254");

	memset(&dp_double, 0, sizeof dp_double);
	icmp_errors_init(&errors, DOUBLE_DP, &from);
}

static void test_what_is_told(void)
{
	static const struct {
		const char *name;
		uint32_t node;
		enum punt_error error;
		enum double_kind kind;
		uint8_t type, code;
		uint16_t mtu;
	} rows[] = {
		{"too big, from inside", 0, PUNT_TOO_BIG, DOUBLE_SEND_INSIDE, 3, 4, 1380},
		{"TTL, from inside", 0, PUNT_TIME_EXCEEDED, DOUBLE_SEND_INSIDE, 11, 0, 0},
		{"too big, from a node", 7, PUNT_TOO_BIG, DOUBLE_SEND_TO_NODE, 3, 4, 1380},
		{"TTL, from a node", 7, PUNT_TIME_EXCEEDED, DOUBLE_SEND_TO_NODE, 11, 0, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const struct double_call *call = &dp_double.calls[0];
		const struct ip_addr source = addr_of("10.2.0.5"), us = addr_of("10.2.0.254");
		uint8_t data[700];
		struct punt punt = punt_of(data, "10.2.0.5", rows[i].node, rows[i].error);
		struct ipv4_view ip;

		begin();
		icmp_errors_tell(&errors, &punt, NS_PER_S);
		CU_ASSERT_EQUAL_FATAL(dp_double.n, 1);
		CHECK_ROW(rows[i].name, call->kind == rows[i].kind);
		CHECK_ROW(rows[i].name, call->kind != DOUBLE_SEND_TO_NODE || call->node == 7);
		CHECK_ROW(rows[i].name, ipv4_parse(call->data, call->len, &ip));
		CHECK_ROW(rows[i].name, ip.protocol == IPPROTO_ICMP && ip.total_len <= 576);
		CHECK_ROW(rows[i].name,
			ip_addr_equal(&ip.dst, &source) && ip_addr_equal(&ip.src, &us));
		CHECK_ROW(rows[i].name, call->data[20] == rows[i].type &&
						call->data[21] == rows[i].code &&
						wire_load_u16(call->data + 26) == rows[i].mtu);
		CHECK_ROW(rows[i].name, memcmp(call->data + 28, data, ip.total_len - 28u) == 0);
	}
}

static void test_not_about_errors(void)
{
	uint8_t data[700];
	struct punt punt = punt_of(data, "10.2.0.5", 0, PUNT_TOO_BIG);
	struct ip_addr src = addr_of("10.2.0.5"), dst = addr_of("10.1.0.10");

	begin();
	ipv4_build(data, &src, &dst, IPPROTO_ICMP, 64, 0, 0, IPV4_FLAG_DF, (uint16_t)punt.len);
	data[20] = 3; /* is itself an error */
	icmp_errors_tell(&errors, &punt, NS_PER_S);
	CU_ASSERT_EQUAL(dp_double.n, 0);
	CU_ASSERT_EQUAL(errors.kept_back, 0);
}

static void test_rate(void)
{
	uint8_t data[700];
	struct punt punt = punt_of(data, "10.2.0.5", 0, PUNT_TOO_BIG);
	uint64_t now_ns = 100 * NS_PER_S;

	begin();
	for (unsigned i = 0; i < 100; i++)
		icmp_errors_tell(&errors, &punt, now_ns);
	CU_ASSERT_EQUAL(dp_double.n, ICMP_ERRORS_BURST);
	CU_ASSERT_EQUAL(errors.told, ICMP_ERRORS_BURST);
	CU_ASSERT_EQUAL(errors.kept_back, 100 - ICMP_ERRORS_BURST);
	/* another sender is not held back by it */
	punt = punt_of(data, "10.2.0.6", 0, PUNT_TOO_BIG);
	icmp_errors_tell(&errors, &punt, now_ns);
	CU_ASSERT_EQUAL(dp_double.n, ICMP_ERRORS_BURST + 1);
	/* the first one a second later */
	punt = punt_of(data, "10.2.0.5", 0, PUNT_TOO_BIG);
	for (unsigned i = 0; i < 100; i++)
		icmp_errors_tell(&errors, &punt, now_ns + NS_PER_S);
	CU_ASSERT_EQUAL(errors.told, ICMP_ERRORS_BURST + 1 + ICMP_ERRORS_RATE);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"what is told to whom", test_what_is_told},
		{"errors are not answered", test_not_about_errors},
		{"rate", test_rate},
		{NULL, NULL},
	};

	return unit_run("gw: ICMP errors", cases);
}
