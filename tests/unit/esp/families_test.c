/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IPv4, IPv6 and dummies inside and outside, all mixes, with OpenSSL as the other end: next header,
 * lengths, traffic class, hop limit, DF, flow label, and the checksum of UDP over IPv6.
 */
#include "tests/unit/esp/rig.h"

#include "dataplane/esp/ip_fields.h"

#define ROOM 512
#define INNER_BYTES 60u

static const struct mix {
	const char *name;
	bool in6, out6, udp, dummy;
} mixes[] = {
	{"4 in 4", false, false, false, false},
	{"6 in 4", true, false, false, false},
	{"4 in 6", false, true, false, false},
	{"6 in 6", true, true, false, false},
	{"4 in 4, UDP", false, false, true, false},
	{"6 in 4, UDP", true, false, true, false},
	{"4 in 6, UDP", false, true, true, false},
	{"6 in 6, UDP", true, true, true, false},
	{"dummy in 4", false, false, false, true},
	{"dummy in 6", false, true, false, true},
	{"dummy in 4, UDP", false, false, true, true},
	{"dummy in 6, UDP", false, true, true, true},
};
#define N_MIXES (sizeof mixes / sizeof mixes[0])

static void ipv6_header(uint8_t *at, uint32_t total_len, uint8_t traffic_class, uint8_t next)
{
	static const uint8_t ends[32] = {
		0x20, 0x01, 0x0d, 0xb8, [15] = 1, 0x20, 0x01, 0x0d, 0xb8, [31] = 2};

	wire_store_u32(at, 6u << 28 | (uint32_t)traffic_class << 20 | 0xabcde);
	wire_store_u16(at + 4, (uint16_t)(total_len - IPV6_HDR_BYTES));
	at[6] = next;
	at[7] = 63;
	memcpy(at + 8, ends, sizeof ends);
}

static void make_inner(const struct mix *mix, uint8_t *at, uint8_t traffic_class)
{
	rig_inner(at, INNER_BYTES, traffic_class);
	if (mix->in6)
		ipv6_header(at, INNER_BYTES, traffic_class, 17);
	if (mix->dummy) {
		memset(at, 0, INNER_BYTES);
		at[0] = ESP_DUMMY_BYTE;
		at[1] = traffic_class;
		at[6] = 0x40; /* DF */
	}
}

static void take_path(const struct mix *mix, struct path *path)
{
	struct path_params params = rig_path_params();

	if (mix->out6) {
		params.local.addr = rig_addr("2001:db8::1");
		params.remote.addr = rig_addr("2001:db8:7::7");
	}
	if (mix->udp) {
		params.local.port = PATH_NAT_PORT;
		params.remote.port = 61001;
	}
	CU_ASSERT_TRUE_FATAL(path_init(path, &params));
}

static uint32_t outer_bytes(const struct mix *mix)
{
	return (mix->out6 ? IPV6_HDR_BYTES : 20u) + (mix->udp ? 8u : 0u);
}

/* RFC 8200 section 8.1, and byte for byte what path_init() was given. */
static void check_outer_ipv6(const struct mix *mix, const struct esp_pkt *pkt, uint8_t tc)
{
	const struct ip_addr src = rig_addr("2001:db8::1"), dst = rig_addr("2001:db8:7::7");
	const uint8_t *ip = pkt->data;
	const uint32_t first = wire_load_u32(ip), len = pkt->len - IPV6_HDR_BYTES;
	uint32_t sum = inet_pseudo_sum(&src, &dst, 17, len);

	CHECK_ROW(mix->name, first >> 28 == 6 && (first >> 20 & 0xff) == tc);
	/* Made of the SPI alone: RIG_SPI * 0x9e3779b1, its top 20 bits. */
	CHECK_ROW(mix->name, (first & 0xfffff) == 0xeaa9a);
	CHECK_ROW(mix->name, wire_load_u16(ip + 4) == len);
	CHECK_ROW(mix->name, ip[6] == (mix->udp ? 17 : 50) && ip[7] == 64);
	CHECK_ROW(mix->name, memcmp(ip + 8, src.bytes, 16) == 0);
	CHECK_ROW(mix->name, memcmp(ip + 24, dst.bytes, 16) == 0);
	if (!mix->udp)
		return;
	CHECK_ROW(mix->name, wire_load_u16(ip + 40) == 4500 && wire_load_u16(ip + 42) == 61001);
	CHECK_ROW(mix->name, wire_load_u16(ip + 44) == len && wire_load_u16(ip + 46) != 0);
	CHECK_ROW(mix->name, inet_fold(inet_sum(ip + 40, len, sum)) == 0);
}

static void check_outer_ipv4(
	const struct mix *mix, const struct esp_pkt *pkt, uint8_t tc, bool dont_fragment)
{
	const uint8_t *ip = pkt->data;

	CHECK_ROW(mix->name, ip[0] == 0x45 && ip[1] == tc);
	CHECK_ROW(mix->name, wire_load_u16(ip + 2) == pkt->len);
	CHECK_ROW(mix->name, (ip[6] & 0x40) == (dont_fragment ? 0x40 : 0));
	CHECK_ROW(mix->name, ip[8] == 64 && ip[9] == (mix->udp ? 17 : 50));
	CHECK_ROW(mix->name, inet_fold(inet_sum(ip, 20, 0)) == 0);
	if (mix->udp)
		CHECK_ROW(mix->name, wire_load_u16(ip + 26) == 0);
}

/* What OpenSSL finds in it. */
static void check_sealed(const struct mix *mix, const struct rig *rig, const struct esp_pkt *pkt,
	const uint8_t *inner)
{
	const uint8_t *esp = pkt->data + outer_bytes(mix);
	uint8_t nonce[12], aad[12], text[ROOM];
	uint32_t text_len = INNER_BYTES + 4;
	int aad_len;

	CHECK_ROW(mix->name, pkt->len == outer_bytes(mix) + 16 + text_len + CRYPTO_TAG_BYTES);
	memcpy(text, esp + 16, text_len);
	aad_len = rig_aead_inputs(&rig->params, wire_load_u32(esp + 4), esp + 8, nonce, aad);
	CHECK_ROW(mix->name, rig_unseal(rig->params.key, 16, nonce, aad, aad_len, text,
				     (int)text_len, pkt->data + pkt->len - CRYPTO_TAG_BYTES));
	CHECK_ROW(mix->name, memcmp(text, inner, INNER_BYTES) == 0);
	CHECK_ROW(mix->name, text[text_len - 1] == (mix->dummy ? 59 : mix->in6 ? 41 : 4));
}

static void test_encap(void)
{
	for (size_t i = 0; i < 2 * N_MIXES; i++) {
		const struct mix *mix = &mixes[i / 2];
		const uint8_t tc = i % 2 != 0 ? 0xb9 : 0x02;
		uint8_t buffer[ROOM], inner[INNER_BYTES];
		struct esp_pkt pkt = {.data = buffer + 72,
			.len = INNER_BYTES,
			.headroom = (uint16_t)(outer_bytes(mix) + 16),
			.tailroom = 20};
		struct path path;
		const struct path *paths[1] = {&path};
		enum verdict verdict = VERDICT_OK;
		struct rig rig;

		rig_open(&rig, CRYPTO_AES128GCM16, false, 64);
		take_path(mix, &path);
		make_inner(mix, inner, tc);
		memcpy(pkt.data, inner, sizeof inner);
		esp_encap_burst(rig.thread, rig.engine, &rig.out, paths, &pkt, &verdict, 1);
		CHECK_ROW(mix->name, verdict == VERDICT_OK && pkt.headroom == 0);
		if (mix->out6)
			check_outer_ipv6(mix, &pkt, tc);
		else
			check_outer_ipv4(mix, &pkt, tc, mix->in6 || mix->dummy);
		check_sealed(mix, &rig, &pkt, inner);
		rig_close(&rig);
	}
}

/* text is sealed, behind an outer header of the family that is wanted. */
static enum verdict decap(const struct mix *mix, uint8_t outer_tc, uint8_t *text, uint32_t text_len,
	struct guarded *g, struct esp_pkt *pkt)
{
	uint8_t packet[ROOM], *at = packet + IPV6_HDR_BYTES;
	enum verdict verdict;
	struct rig rig;
	uint32_t len;

	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	len = rig_packet(&rig.params, 1, outer_tc, text, text_len, at);
	if (mix->out6) {
		at -= IPV6_HDR_BYTES - RIG_OUTER_BYTES;
		len += IPV6_HDR_BYTES - RIG_OUTER_BYTES;
		ipv6_header(at, len, outer_tc, 50);
	}
	*pkt = (struct esp_pkt){.data = g->end - len,
		.len = len,
		.outer_bytes = mix->out6 ? IPV6_HDR_BYTES : RIG_OUTER_BYTES};
	memcpy(pkt->data, at, len);
	verdict = rig_decap(&rig, pkt);
	rig_close(&rig);
	return verdict;
}

/* All 16 pairs of ECN fields in all mixes. */
static void test_decap(void)
{
	for (size_t i = 0; i < 4 * 16; i++) {
		const struct mix *mix = &mixes[i / 16];
		const unsigned in = i / 4 % 4, out = i % 4;
		const int want = rig_ecn_want[in][out];
		struct guarded g = guarded_new(ROOM);
		uint8_t text[ROOM], after[INNER_BYTES];
		struct esp_pkt pkt;
		enum verdict verdict;

		make_inner(mix, text, (uint8_t)(0xb8 | in));
		make_inner(mix, after, (uint8_t)(0xb8 | (want < 0 ? 0 : want)));
		verdict = decap(mix, (uint8_t)(0x28 | out), text,
			rig_trailer(text, INNER_BYTES, mix->in6 ? 41 : 4), &g, &pkt);
		CHECK_ROW(mix->name, verdict == (want < 0 ? VERDICT_ECN : VERDICT_OK));
		if (verdict == VERDICT_OK) {
			CHECK_ROW(mix->name, pkt.len == INNER_BYTES);
			CHECK_ROW(mix->name, memcmp(pkt.data, after, INNER_BYTES) == 0);
		}
		guarded_free(&g);
	}
}

static void test_inner_length(void)
{
	static const struct {
		const char *name;
		uint32_t room; /* bytes before the padding */
		uint16_t payload_len;
		uint8_t version, next_header;
		enum verdict want;
	} rows[] = {
		{"fits", 60, 20, 6, 41, VERDICT_OK},
		{"TFC padding behind", 100, 20, 6, 41, VERDICT_OK},
		{"header alone", 40, 0, 6, 41, VERDICT_OK},
		{"one byte short", 60, 21, 6, 41, VERDICT_RUNT},
		{"all ones", 60, 65535, 6, 41, VERDICT_RUNT},
		{"half a header", 39, 0, 6, 41, VERDICT_RUNT},
		{"an IPv4 header's room", 20, 0, 6, 41, VERDICT_RUNT},
		{"says IPv4", 60, 20, 6, 4, VERDICT_BAD_HEADER},
		{"is IPv4", 60, 20, 4, 41, VERDICT_BAD_HEADER},
		{"is version 0", 60, 20, 0, 41, VERDICT_BAD_HEADER},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct guarded g = guarded_new(ROOM);
		uint8_t text[ROOM] = {0};
		struct esp_pkt pkt;

		ipv6_header(text, IPV6_HDR_BYTES + (uint32_t)rows[i].payload_len, 0, 59);
		text[0] = (uint8_t)(rows[i].version << 4 | (text[0] & 15));
		CHECK_ROW(
			rows[i].name, decap(&mixes[0], 0, text,
					      rig_trailer(text, rows[i].room, rows[i].next_header),
					      &g, &pkt) == rows[i].want);
		if (rows[i].want == VERDICT_OK)
			CHECK_ROW(rows[i].name,
				pkt.len == IPV6_HDR_BYTES + (uint32_t)rows[i].payload_len);
		guarded_free(&g);
	}
}

/* Some of a burst need a checksum of UDP, some are refused, some have another family. */
static void test_mixed_burst(void)
{
	uint8_t buffers[ESP_BURST_MAX][ROOM];
	struct esp_pkt pkts[ESP_BURST_MAX];
	struct sa_out *sas[ESP_BURST_MAX];
	struct path kinds[N_MIXES];
	const struct path *paths[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, false, 64);
	for (unsigned i = 0; i < N_MIXES; i++)
		take_path(&mixes[i], &kinds[i]);
	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		pkts[i] = (struct esp_pkt){.data = buffers[i] + 72,
			.len = INNER_BYTES,
			.headroom = 72,
			.tailroom = i % 5 == 4 ? 19 : 20};
		make_inner(&mixes[i % N_MIXES], pkts[i].data, 0);
		sas[i] = rig.out;
		paths[i] = &kinds[i % N_MIXES];
		verdicts[i] = i % 7 == 3 ? VERDICT_SELECTOR : VERDICT_OK;
	}
	esp_encap_burst(rig.thread, rig.engine, sas, paths, pkts, verdicts, ESP_BURST_MAX);
	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		const struct mix *mix = &mixes[i % N_MIXES];
		uint8_t inner[INNER_BYTES];

		make_inner(mix, inner, 0);
		if (i % 7 == 3 || i % 5 == 4) {
			CHECK_ROW(mix->name, verdicts[i] != VERDICT_OK);
			CHECK_ROW(mix->name, memcmp(pkts[i].data, inner, INNER_BYTES) == 0);
			continue;
		}
		CHECK_ROW(mix->name, verdicts[i] == VERDICT_OK);
		if (mix->out6)
			check_outer_ipv6(mix, &pkts[i], 0);
		else
			check_outer_ipv4(mix, &pkts[i], 0, mix->in6 || mix->dummy);
		check_sealed(mix, &rig, &pkts[i], inner);
	}
	rig_close(&rig);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"encap", test_encap},
		{"decap", test_decap},
		{"inner length", test_inner_length},
		{"mixed burst", test_mixed_burst},
		{NULL, NULL},
	};
	int ret = unit_run("esp: families", cases);

	unit_remove_folder();
	return ret;
}
