/* SPDX-License-Identifier: BSD-3-Clause */
/* DF and DSCP of outer headers, and TCP's announced segment size, both ways, by table. */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/ip6.h"
#include "dataplane/rules.h"

#define COA "198.51.100.7"
#define HOA "10.1.0.10"
#define HA "10.1.0.1"
#define CORR "10.2.0.5"
#define TCP_BYTES 40 /* with options */
/* Path MTU 1500, aes128gcm16: 1446 inside ESP, and the tunnel's header in any case. */
#define MSS_MAX (1446 - 20 - 40)

static struct rig rig;

static void test_outer_header(void)
{
	static const struct {
		const char *name;
		struct dp_rules rules;
		uint8_t tos;
		bool df;
		uint8_t want_tos;
		bool want_df;
	} rows[] = {
		{"copied", {.df = RULES_DF_COPY}, 0xb9, true, 0xb9, true},
		{"copied, no DF", {.df = RULES_DF_COPY}, 0x02, false, 0x02, false},
		{"DF set", {.df = RULES_DF_SET}, 0x28, false, 0x28, true},
		{"DF set already", {.df = RULES_DF_SET}, 0x28, true, 0x28, true},
		{"DF cleared", {.df = RULES_DF_CLEAR}, 0x01, true, 0x01, false},
		{"DSCP 46 to 10, ECN as it is",
			{.df = RULES_DF_COPY, .map_dscp = true, .dscp = {[46] = 10}}, 0xb9, true,
			0x29, true},
		{"DSCP hidden", {.df = RULES_DF_CLEAR, .map_dscp = true}, 0xfe, true, 0x02, false},
	};
	struct node *node = rig_node_add(&rig, 1, COA);

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct rig_opened opened;
		size_t len = rig_udp(ip, CORR, 1, COA, 2, 100);

		ip[1] = rows[i].tos;
		wire_store_u16(ip + 6, rows[i].df ? IPV4_FLAG_DF : 0);
		rig_checksum(ip);
		rig.dp->rules = rows[i].rules;
		rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
		len = rig_pop(&rig, DP_OUTSIDE, frame);
		CU_ASSERT_FATAL(len > 14);
		CHECK_ROW(rows[i].name, ip4_check(frame + 14, (uint32_t)len - 14) == VERDICT_OK);
		CHECK_ROW(rows[i].name, frame[15] == rows[i].want_tos);
		CHECK_ROW(rows[i].name, ((frame[20] & 0x40) != 0) == rows[i].want_df);
		CHECK_ROW(rows[i].name, rig_unseal(1, frame + 14, len - 14, &opened));
		CHECK_ROW(
			rows[i].name, opened.inner[1] == rows[i].tos); /* inside nothing changes */
	}
	rig.dp->rules = (struct dp_rules){0};
	rig_node_del(&rig, node);
}

static uint16_t tcp_checksum(const uint8_t *ip)
{
	uint32_t hdr = ip4_hdr_bytes(ip), len = ip4_total_len(ip) - hdr;
	uint8_t pseudo[12];

	memcpy(pseudo, ip + 12, 8);
	pseudo[8] = 0;
	pseudo[9] = IPPROTO_TCP;
	wire_store_u16(pseudo + 10, (uint16_t)len);
	return inet_fold(inet_sum(ip + hdr, len, inet_sum(pseudo, sizeof pseudo, 0)));
}

static size_t tcp(
	uint8_t *ip, const char *src, const char *dst, uint8_t flags, const uint8_t options[20])
{
	struct ip_addr from = rig_addr(src), to = rig_addr(dst);
	uint8_t *at = ip + 20;

	memset(ip, 0, RIG_FRAME_MAX);
	ipv4_build(ip, &from, &to, IPPROTO_TCP, 64, 0, 1, IPV4_FLAG_DF, 20 + TCP_BYTES);
	wire_store_u16(at, 1000);
	wire_store_u16(at + 2, 80);
	at[12] = TCP_BYTES / 4 << 4;
	at[13] = flags;
	memcpy(at + 20, options, 20);
	wire_store_u16(at + 16, tcp_checksum(ip));
	return 20 + TCP_BYTES;
}

#define SYN 0x02
#define MSS(value) 2, 4, (value) >> 8, (value)&0xff

static const struct {
	const char *name;
	uint8_t flags;
	uint8_t options[20];
	int mss_at; /* in the options; -1: nothing changes */
} tcp_rows[] = {
	{"too large", SYN, {MSS(1460)}, 2},
	{"SYN and ACK", SYN | 0x10, {MSS(1460)}, 2},
	{"one too large", SYN, {MSS(MSS_MAX + 1)}, 2},
	{"just fits", SYN, {MSS(MSS_MAX)}, -1},
	{"small", SYN, {MSS(536)}, -1},
	{"not the first segment", 0x10, {MSS(1460)}, -1},
	{"behind others", SYN, {1, 1, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, MSS(1460)}, 16},
	{"at an odd place", SYN, {1, MSS(1460)}, 3},
	{"at an odd place, the low byte alone", SYN, {1, MSS(MSS_MAX + 2)}, 3},
	{"behind the end of options", SYN, {0, MSS(1460)}, -1},
	{"option of length 0", SYN, {3, 0, MSS(1460)}, -1},
	{"option of length 1", SYN, {3, 1, MSS(1460)}, -1},
	{"option beyond the end", SYN, {3, 30, MSS(1460)}, -1},
	{"MSS of length 3", SYN, {2, 3, 5, 0xb4}, -1},
	{"MSS cut by the end", SYN, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5},
		-1},
};

static void test_tcp(void)
{
	struct node *node = rig_node_add(&rig, 1, COA);

	rig.dp->rules.clamp_tcp_mss = true;
	for (size_t i = 0; i < RTE_DIM(tcp_rows); i++) {
		for (int way = 0; way < 3; way++) { /* in the tunnel, plain, from the node */
			uint8_t ip[RIG_FRAME_MAX], sent[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
			enum dp_port in = way == 2 ? DP_OUTSIDE : DP_INSIDE;
			size_t len = way == 2 ? tcp(ip, HOA, CORR, tcp_rows[i].flags,
							tcp_rows[i].options)
					      : tcp(ip, CORR, way == 0 ? HOA : COA,
							tcp_rows[i].flags, tcp_rows[i].options);
			struct rig_opened opened;
			const uint8_t *got = opened.inner;
			uint8_t want[20];

			rig_push(&rig, in, way == 1 ? ip : sent,
				way == 0   ? rig_ipip(sent, HA, COA, ip, len)
				: way == 1 ? len
					   : rig_seal(&rig, sent, 1, COA, ip, len));
			rig_turn(&rig);
			len = rig_pop(&rig, in == DP_INSIDE ? DP_OUTSIDE : DP_INSIDE, frame);
			CU_ASSERT_FATAL(len > 14);
			if (way == 2)
				got = frame + 14;
			else
				CU_ASSERT_FATAL(rig_unseal(1, frame + 14, len - 14, &opened));
			if (way == 0)
				got += 20;
			memcpy(want, tcp_rows[i].options, sizeof want);
			if (tcp_rows[i].mss_at >= 0)
				wire_store_u16(want + tcp_rows[i].mss_at, MSS_MAX);
			CHECK_ROW(tcp_rows[i].name, memcmp(got + 40, want, sizeof want) == 0);
			CHECK_ROW(tcp_rows[i].name, tcp_checksum(got) == 0);
		}
	}
	rig.dp->rules = (struct dp_rules){0};
	rig_node_del(&rig, node);
}

/* Checksum of a TCP segment at hdr of an IPv6 packet. */
static uint16_t tcp_checksum_v6(const uint8_t *ip, size_t len, size_t hdr)
{
	const struct ip_addr src = ipv6_addr(ip6_src(ip)), dst = ipv6_addr(ip6_dst(ip));

	return inet_fold(inet_sum(ip + hdr, len - hdr,
		inet_pseudo_sum(&src, &dst, IPPROTO_TCP, (uint32_t)(len - hdr))));
}

/* SYN with an MSS of 1460 at an odd place, behind destination options if wanted. */
static size_t tcp_v6(uint8_t *ip, const char *src, const char *dst, bool options, bool later)
{
	const struct ip_addr from = rig_addr(src), to = rig_addr(dst);
	const size_t hdr = options || later ? 48 : 40, len = hdr + 28;
	uint8_t *tcp = ip + hdr;

	memset(ip, 0, len);
	ip[0] = 0x60;
	wire_store_u16(ip + 4, (uint16_t)(len - 40));
	ip[6] = later ? 44 : options ? 60 : IPPROTO_TCP;
	ip[7] = 64;
	memcpy(ip + 8, from.bytes, 16);
	memcpy(ip + 24, to.bytes, 16);
	if (options || later) {
		memcpy(ip + 40, (const uint8_t[]){IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0}, 8);
		if (later)
			wire_store_u16(ip + 42, 8);
	}
	tcp[12] = 7 << 4;
	tcp[13] = SYN;
	memcpy(tcp + 20, (const uint8_t[]){1, MSS(1460)}, 5);
	wire_store_u16(tcp + 16, tcp_checksum_v6(ip, len, hdr));
	return len;
}

static void test_tcp_v6(void)
{
	static const struct {
		const char *name, *coa;
		bool tunnel, up, options, later;
		uint32_t around, outer; /* headers that take room */
	} rows[] = {
		{"6 in 6, tunnelled", RIG_V6_COA, true, false, false, false, 40, 40},
		{"6 in 6, plain", RIG_V6_COA, false, false, false, false, 40, 40},
		{"6 in 6, from the node", RIG_V6_COA, false, true, false, false, 40, 40},
		{"6 in 6, behind options", RIG_V6_COA, true, false, true, false, 40, 40},
		{"6 in 6, a later fragment", RIG_V6_COA, true, false, false, true, 40, 40},
		{"6 in 4, tunnelled", COA, true, false, false, false, 20, 20},
		{"6 in 4, from the node", COA, false, true, false, false, 20, 20},
	};

	rig_speak_v6(&rig);
	rig.dp->rules.clamp_tcp_mss = true;
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct node *node = rig_node_add_v6(&rig, rows[i].coa);
		const uint32_t room = esp_inner_max(CRYPTO_AES128GCM16, rows[i].outer, RIG_MTU);
		const size_t hdr = rows[i].options || rows[i].later ? 48 : 40;
		uint8_t ip[RIG_FRAME_MAX], sent[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
		struct rig_opened opened;
		const uint8_t *got = opened.inner;
		size_t len = tcp_v6(ip, rows[i].up ? RIG_V6_HOA : RIG_V6_CORR,
			rows[i].up       ? RIG_V6_CORR
			: rows[i].tunnel ? RIG_V6_HOA
					 : rows[i].coa,
			rows[i].options, rows[i].later);

		rig_push(&rig, rows[i].up ? DP_OUTSIDE : DP_INSIDE,
			rows[i].up || rows[i].tunnel ? sent : ip,
			rows[i].up       ? rig_seal(&rig, sent, 1, rows[i].coa, ip, len)
			: rows[i].tunnel ? rig_ipip(sent, rows[i].around == 40 ? RIG_V6_HA : HA,
						   rows[i].coa, ip, len)
					 : len);
		rig_turn(&rig);
		len = rig_pop(&rig, rows[i].up ? DP_INSIDE : DP_OUTSIDE, frame);
		CU_ASSERT_FATAL(len > 14);
		if (rows[i].up)
			got = frame + 14;
		else
			CU_ASSERT_FATAL(rig_unseal(1, frame + 14, len - 14, &opened));
		if (rows[i].tunnel)
			got += rows[i].around;
		CHECK_ROW(
			rows[i].name, wire_load_u16(got + hdr + 23) ==
					      (rows[i].later ? 1460 : room - rows[i].around - 60));
		CHECK_ROW(rows[i].name, tcp_checksum_v6(got, ip_total_len(got), hdr) == 0);
		rig_node_del(&rig, node);
	}
	rig.dp->rules = (struct dp_rules){0};
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"outer header", test_outer_header},
		{"TCP over IPv6", test_tcp_v6},
		{"TCP segments", test_tcp},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 256);
	ret = unit_run("dataplane: rules", cases);
	rig_close(&rig);
	return ret;
}
