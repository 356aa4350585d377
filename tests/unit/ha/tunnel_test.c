/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers of RFC 2003 by table, and what may come back by the reverse tunnel (RFC 3024, RFC 6040).
 */
#include "control/ha/tunnel.h"

#include "lib/wire.h"
#include "tests/unit/ha/fixture.h"
#include "tests/unit/lib/unit.h"

#include <sys/stat.h>

#define INNER_BYTES 60

static void outer_headers(void)
{
	static const struct {
		const char *name;
		uint8_t tos, ttl;
		bool dont_fragment;
	} rows[] = {
		{"plain", 0, 64, false},
		{"DF is copied", 0, 64, true},
		{"TOS and ECN are copied", 0xba, 64, false},
		{"inner TTL is not the outer's", 0, 1, false},
	};
	struct ip_addr src = addr_of(AGENT), dst = addr_of(COA_A);

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ipv4_view inner = {.tos = rows[i].tos,
			.ttl = rows[i].ttl,
			.total_len = 1400,
			.dont_fragment = rows[i].dont_fragment};
		uint8_t datagram[IPV4_HDR_BYTES + 1400] = {0};
		struct ipv4_view outer;

		ha_tunnel_outer(datagram, &inner, &src, &dst, 0x1234);
		CHECK_ROW(rows[i].name, ipv4_parse(datagram, sizeof datagram, &outer));
		CHECK_ROW(rows[i].name, outer.hdr_bytes == IPV4_HDR_BYTES);
		CHECK_ROW(rows[i].name, outer.total_len == 1420);
		CHECK_ROW(rows[i].name, outer.protocol == 4);
		CHECK_ROW(rows[i].name, outer.tos == rows[i].tos);
		CHECK_ROW(rows[i].name, outer.ttl == IPV4_TTL_DEFAULT);
		CHECK_ROW(rows[i].name, outer.id == 0x1234);
		CHECK_ROW(rows[i].name, outer.dont_fragment == rows[i].dont_fragment);
		CHECK_ROW(rows[i].name, ip_addr_equal(&outer.src, &src));
		CHECK_ROW(rows[i].name, ip_addr_equal(&outer.dst, &dst));
	}
}

struct reverse_row {
	const char *name;
	const char *outer_src, *outer_dst, *inner_src; /* NULL: as they should be */
	uint8_t outer_tos, inner_tos, protocol;        /* protocol 0: 4 */
	size_t cut;                                    /* bytes missing at the end */
	bool bad_inner_checksum;
	enum ha_counter reason;
	uint8_t tos_after;
};

static const struct reverse_row REVERSE[] = {
	{.name = "good", .reason = HA_TUNNEL_IN},
	{.name = "outer source is not the CoA", .outer_src = COA_B, .reason = HA_TUNNEL_BAD_OUTER},
	{.name = "not to us", .outer_dst = "10.1.0.2", .reason = HA_TUNNEL_BAD_OUTER},
	{.name = "inner source is unknown",
		.inner_src = "10.1.0.77",
		.reason = HA_TUNNEL_BAD_INNER},
	{.name = "inner source is another node's",
		.inner_src = "10.1.0.11",
		.reason = HA_TUNNEL_BAD_OUTER},
	{.name = "inner source is the CoA", .inner_src = COA_A, .reason = HA_TUNNEL_BAD_INNER},
	{.name = "not IP-in-IP", .protocol = 17, .reason = HA_TUNNEL_MALFORMED},
	{.name = "cut by a byte", .cut = 1, .reason = HA_TUNNEL_MALFORMED},
	{.name = "cut in the inner header", .cut = INNER_BYTES - 10, .reason = HA_TUNNEL_MALFORMED},
	{.name = "cut before the inner header", .cut = INNER_BYTES, .reason = HA_TUNNEL_MALFORMED},
	{.name = "inner checksum", .bad_inner_checksum = true, .reason = HA_TUNNEL_MALFORMED},
	{.name = "ECT in both",
		.outer_tos = 2,
		.inner_tos = 2,
		.reason = HA_TUNNEL_IN,
		.tos_after = 2},
	{.name = "CE outside",
		.outer_tos = 3,
		.inner_tos = 0xba,
		.reason = HA_TUNNEL_IN,
		.tos_after = 0xbb},
	{.name = "CE in both",
		.outer_tos = 3,
		.inner_tos = 3,
		.reason = HA_TUNNEL_IN,
		.tos_after = 3},
	{.name = "CE outside, ECN unknown inside", .outer_tos = 3, .reason = HA_TUNNEL_CONGESTED},
};

static size_t build_reverse(const struct reverse_row *row, uint8_t *datagram)
{
	struct ip_addr outer_src = addr_of(row->outer_src != NULL ? row->outer_src : COA_A);
	struct ip_addr outer_dst = addr_of(row->outer_dst != NULL ? row->outer_dst : AGENT);
	struct ip_addr inner_src = addr_of(row->inner_src != NULL ? row->inner_src : HOME);
	struct ip_addr inner_dst = addr_of("10.2.0.5");

	memset(datagram, 0, IPV4_HDR_BYTES + INNER_BYTES);
	ipv4_build(datagram, &outer_src, &outer_dst, row->protocol != 0 ? row->protocol : 4, 64,
		row->outer_tos, 1, 0, IPV4_HDR_BYTES + INNER_BYTES);
	ipv4_build(datagram + IPV4_HDR_BYTES, &inner_src, &inner_dst, 17, 64, row->inner_tos, 2, 0,
		INNER_BYTES);
	if (row->bad_inner_checksum)
		datagram[IPV4_HDR_BYTES + 10] ^= 1;
	return IPV4_HDR_BYTES + INNER_BYTES - row->cut;
}

static void reverse(void)
{
	static const char *const names[] = {HA_BINDING_DB, NULL};
	struct ha_conf conf = fixture_conf();
	struct ha_registration reg = {.kind = HA_REGISTER,
		.lifetime_s = 100,
		.rrq = {.flags = MIP4_FLAG_D | MIP4_FLAG_T, .coa = addr_of(COA_A)}};
	struct ha_reply reply = {.len = 0};
	struct ha_bindings *bindings;
	struct store *store;
	char path[160], why[256];

	set_clock(0);
	snprintf(path, sizeof path, "%s/state", unit_folder());
	CU_ASSERT_EQUAL_FATAL(store_open(path, names, 1u << 20, &store, why, sizeof why), 0);
	CU_ASSERT_EQUAL_FATAL(ha_bindings_open(store, &conf, &bindings), 0);
	CU_ASSERT_EQUAL_FATAL(
		ha_binding_accept(bindings, ha_binding_at(bindings, 0), &reg, &reply, 0), 0);
	for (size_t i = 0; i < sizeof REVERSE / sizeof REVERSE[0]; i++) {
		const struct reverse_row *row = &REVERSE[i];
		uint8_t built[IPV4_HDR_BYTES + INNER_BYTES];
		size_t len = build_reverse(row, built), offset;
		uint8_t *datagram = malloc(len); /* its end is the sanitizer's */
		enum ha_counter reason;
		struct ipv4_view inner;

		memcpy(datagram, built, len);
		offset = ha_tunnel_inner(
			datagram, len, &conf.address, bindings, START_MONO_NS, &reason);
		CHECK_ROW(row->name, reason == row->reason);
		CHECK_ROW(row->name, offset == (row->reason == HA_TUNNEL_IN ? IPV4_HDR_BYTES : 0));
		if (offset != 0) {
			CHECK_ROW(row->name, ipv4_parse(datagram + offset, len - offset, &inner));
			CHECK_ROW(row->name, inner.tos == row->tos_after);
		}
		free(datagram);
	}
	ha_bindings_close(bindings);
	store_close(store);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"outer headers", outer_headers},
		{"reverse", reverse},
		{NULL, NULL},
	};
	int code = unit_run("tunnel", cases);

	unit_remove_folder();
	return code;
}
