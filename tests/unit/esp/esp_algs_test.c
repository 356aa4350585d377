/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every algorithm through encapsulation and decapsulation, with OpenSSL as the other end: packets
 * byte by byte, padding to the block, least sizes, tampering, extended sequence numbers, bursts of
 * all algorithms at once, and what MTU computation is told of each.
 */
#include "tests/unit/esp/oracle.h"
#include "tests/unit/esp/rig.h"

#define ROOM 2048
#define OUTER RIG_OUTER_BYTES
#define MTU 1500
#define IV_EPOCH UINT64_C(7) /* of rig_open() */

/* Calls fn for every algorithm with and without extended sequence numbers. */
static void each_mode(void (*fn)(struct rig *rig, const char *row))
{
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++) {
		for (int esn = 0; esn < 2; esn++) {
			struct rig rig;
			char row[48];

			snprintf(row, sizeof row, "%s%s", crypto_alg_infos[alg].name,
				esn ? ", ESN" : "");
			rig_open(&rig, (enum crypto_alg)alg, esn, 64);
			fn(&rig, row);
			rig_close(&rig);
		}
	}
}

static const struct crypto_alg_info *info_of(const struct rig *rig)
{
	return &crypto_alg_infos[rig->params.alg];
}

/* ESP header, IV, text and ICV by OpenSSL, from what iv says: the IV, or with CBC the block that
 * becomes it. Returns the length. */
static uint32_t openssl_esp(const struct rig *rig, uint64_t seq, uint64_t iv, const uint8_t *text,
	uint32_t len, uint8_t *esp)
{
	const struct crypto_alg_info *info = info_of(rig);
	struct crypto_op op = {.data = esp + 8 + info->iv_bytes,
		.tag = esp + 8 + info->iv_bytes + len,
		.len = len,
		.alg = (uint8_t)rig->params.alg,
		.aad_len = rig->params.esn ? 12 : 8};

	wire_store_u32(esp, rig->params.spi);
	wire_store_u32(esp + 4, (uint32_t)seq);
	memset(esp + 8, 0, info->iv_bytes);
	if (info->iv_bytes != 0)
		wire_store_u64(op.data - 8, iv);
	memcpy(op.data, text, len);
	memcpy(op.nonce, rig->params.key + info->key_bytes, 4);
	wire_store_u64(op.nonce + 4, iv);
	wire_store_u32(op.aad, rig->params.spi);
	if (rig->params.esn)
		wire_store_u64(op.aad + 4, seq);
	else
		wire_store_u32(op.aad + 4, (uint32_t)seq);
	oracle_seal(&op, rig->params.key);
	return 8u + info->iv_bytes + len + info->icv_bytes;
}

/* The same with an outer header. */
static uint32_t openssl_packet(
	const struct rig *rig, uint64_t seq, const uint8_t *text, uint32_t len, uint8_t *at)
{
	const uint32_t total = OUTER + openssl_esp(rig, seq, ~seq, text, len, at + OUTER);

	memset(at, 0, OUTER);
	at[0] = 0x45;
	wire_store_u16(at + 2, (uint16_t)total);
	at[9] = 50;
	return total;
}

/* inner_len bytes at text, then `pad` bytes of padding; returns the length with the trailer. */
static uint32_t trailer(uint8_t *text, uint32_t inner_len, uint32_t pad)
{
	for (uint32_t i = 0; i < pad; i++)
		text[inner_len + i] = (uint8_t)(i + 1);
	text[inner_len + pad] = (uint8_t)pad;
	text[inner_len + pad + 1] = 4;
	return inner_len + pad + 2;
}

static uint32_t least_pad(const struct rig *rig, uint32_t inner_len)
{
	return -(inner_len + 2) & (info_of(rig)->block_bytes - 1u);
}

static enum verdict encap_one(struct rig *rig, struct esp_pkt *pkt)
{
	struct sa_out *sas[1] = {rig->out};
	const struct path *paths[1] = {&rig->path};
	enum verdict verdict = VERDICT_OK;

	esp_encap_burst(rig->thread, rig->engine, sas, paths, pkt, &verdict, 1);
	return verdict;
}

/* A packet at the end of the guarded buffer. */
static enum verdict decap(struct rig *rig, const struct guarded *g, const uint8_t *packet,
	uint32_t len, struct esp_pkt *pkt)
{
	*pkt = (struct esp_pkt){.data = g->end - len, .len = len, .outer_bytes = OUTER};
	memcpy(pkt->data, packet, len);
	return rig_decap(rig, pkt);
}

/* --- encapsulation ------------------------------------------------------------------------------
 */

/* No more room than is needed, in front and behind. */
static void encap_each_length(struct rig *rig, const char *row)
{
	const struct crypto_alg_info *info = info_of(rig);
	const uint16_t front = (uint16_t)(OUTER + 8 + info->iv_bytes);
	struct guarded g = guarded_new(ROOM);
	uint64_t seq = 0;

	for (uint32_t len = 20; len < 1380; len += len < 54 ? 1 : 331) {
		const uint32_t pad = least_pad(rig, len), behind = pad + 2 + info->icv_bytes;
		uint8_t inner[ROOM], want[ROOM];
		struct esp_pkt pkt = {.data = g.end - behind - len,
			.len = len,
			.headroom = front,
			.tailroom = (uint16_t)behind};
		uint32_t total;

		rig_inner(inner, len, 0);
		memcpy(pkt.data, inner, len);
		CHECK_ROW(row, encap_one(rig, &pkt) == VERDICT_OK);
		seq++;
		total = openssl_esp(rig, seq, (IV_EPOCH << SA_IV_COUNTER_BITS) + seq - 1, inner,
			trailer(inner, len, pad), want);
		CHECK_ROW(row, pkt.headroom == 0 && pkt.tailroom == 0 && pkt.len == OUTER + total);
		CHECK_ROW(row, wire_load_u16(pkt.data + 2) == pkt.len);
		CHECK_ROW(row, memcmp(pkt.data + OUTER, want, total) == 0);
	}
	CHECK_ROW(row, rig->out->slot->packets == seq);
	guarded_free(&g);
}

static void test_encap(void)
{
	each_mode(encap_each_length);
}

/* What MTU computation is told holds: an inner packet of that length goes, one byte more does not.
 */
static void check_mtu(struct rig *rig, const char *row)
{
	static uint8_t buffer[256 + MTU + 256];
	const enum crypto_alg alg = rig->params.alg;

	for (uint32_t mtu = 60; mtu <= MTU; mtu += mtu < 200 ? 1 : 7) {
		const uint32_t most = esp_inner_max(alg, OUTER, mtu);
		struct path_params params = rig_path_params();

		params.mtu = (uint16_t)mtu;
		CHECK_ROW(row, path_init(&rig->path, &params));
		for (uint32_t len = most < 20 ? 20 : most; len <= most + 1; len++) {
			struct esp_pkt pkt = {.data = buffer + 256,
				.len = len,
				.headroom = ESP_HEADROOM_MAX,
				.tailroom = ESP_TAILROOM_MAX};

			rig_inner(pkt.data, len, 0);
			CHECK_ROW(row, encap_one(rig, &pkt) ==
					       (len <= most ? VERDICT_OK : VERDICT_TOO_BIG));
			CHECK_ROW(row, len > most || pkt.len <= mtu);
			CHECK_ROW(row, pkt.len <= len + esp_overhead(alg, OUTER));
		}
	}
	CHECK_ROW(row, esp_inner_max(alg, OUTER, OUTER + 8) == 0);
	CHECK_ROW(row, esp_inner_max(alg, OUTER, MTU) + esp_overhead(alg, OUTER) >= MTU);
}

static void test_mtu(void)
{
	each_mode(check_mtu);
	CU_ASSERT_EQUAL(esp_overhead(CRYPTO_AES128GCM16, 20), 57);
	CU_ASSERT_EQUAL(esp_inner_max(CRYPTO_AES128GCM16, 20, 1500), 1446);
	CU_ASSERT_EQUAL(esp_inner_max(CRYPTO_AES256_SHA512, 48, 1500), 1390);
}

/* An IV is what nobody foresees, and none comes twice (SP 800-38A appendix C). */
static void test_cbc_ivs(void)
{
	static uint8_t ivs[256][16];
	struct rig rig;

	rig_open(&rig, CRYPTO_AES256_SHA256, true, 64);
	for (unsigned i = 0; i < 256; i++) {
		uint8_t buffer[256], block[16];
		struct esp_pkt pkt = {
			.data = buffer + 64, .len = 20, .headroom = 64, .tailroom = 64};

		rig_inner(pkt.data, 20, 0);
		CU_ASSERT_EQUAL(encap_one(&rig, &pkt), VERDICT_OK);
		memcpy(ivs[i], pkt.data + OUTER + 8, 16);
		memcpy(block, ivs[i], 16);
		oracle_cipher_run(EVP_aes_256_ecb(), rig.params.key, NULL, false, block, 16);
		CU_ASSERT_EQUAL(wire_load_u64(block), 0);
		CU_ASSERT_EQUAL(wire_load_u64(block + 8), (IV_EPOCH << SA_IV_COUNTER_BITS) + i);
		for (unsigned k = 0; k < i; k++)
			CU_ASSERT_NOT_EQUAL(memcmp(ivs[i], ivs[k], 16), 0);
	}
	rig_close(&rig);
}

/* --- decapsulation ------------------------------------------------------------------------------
 */

static void decap_each_length(struct rig *rig, const char *row)
{
	const struct crypto_alg_info *info = info_of(rig);
	struct guarded g = guarded_new(ROOM);
	uint64_t seq = rig->params.esn ? (UINT64_C(5) << 32) - 10 : 1; /* over a wrap */

	rig->in->slot->seq = seq - 1;
	for (uint32_t len = 20; len < 1380; len += len < 54 ? 1 : 331, seq++) {
		uint8_t inner[ROOM], packet[ROOM];
		struct esp_pkt pkt;
		uint32_t total;

		rig_inner(inner, len, 0);
		total = openssl_packet(
			rig, seq, inner, trailer(inner, len, least_pad(rig, len)), packet);
		CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_OK);
		CHECK_ROW(row, pkt.len == len && memcmp(pkt.data, inner, len) == 0);
		CHECK_ROW(row, pkt.headroom == OUTER + 8 + info->iv_bytes);
		CHECK_ROW(row, pkt.tailroom == total - OUTER - 8 - info->iv_bytes - len);
		CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_REPLAY);
	}
	guarded_free(&g);
}

static void test_decap(void)
{
	each_mode(decap_each_length);
}

/* From nothing to one block more than the least. */
static void decap_short(struct rig *rig, const char *row)
{
	const struct crypto_alg_info *info = info_of(rig);
	const uint32_t around = OUTER + 8u + info->iv_bytes + info->icv_bytes;
	struct guarded g = guarded_new(ROOM);
	uint8_t text[64] = {0}, packet[ROOM];

	openssl_packet(rig, 1, text, sizeof text, packet);
	for (uint32_t len = 0; len <= around + 32; len++) {
		const bool fits = len > around && (len - around) % info->block_bytes == 0;
		struct esp_pkt pkt;

		CHECK_ROW(row, decap(rig, &g, packet, len, &pkt) ==
				       (fits ? VERDICT_BAD_ICV : VERDICT_BAD_ESP));
		CHECK_ROW(row, memcmp(pkt.data, packet, len < OUTER ? len : OUTER) == 0);
	}
	CHECK_ROW(row, rig->in->slot->seq == 0);
	guarded_free(&g);
}

static void test_short(void)
{
	each_mode(decap_short);
}

/* One wrong bit in each byte of ESP header, IV, text and ICV. */
static void decap_tampered(struct rig *rig, const char *row)
{
	struct guarded g = guarded_new(ROOM);
	uint8_t inner[64], packet[ROOM];
	struct esp_pkt pkt;
	uint32_t total;

	rig_inner(inner, 30, 0);
	total = openssl_packet(rig, 3, inner, trailer(inner, 30, least_pad(rig, 30)), packet);
	for (uint32_t at = OUTER; at < total; at++) {
		packet[at] ^= (uint8_t)(1u << at % 8);
		CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_BAD_ICV);
		packet[at] ^= (uint8_t)(1u << at % 8);
	}
	CHECK_ROW(row, rig->in->slot->seq == 0); /* nothing was committed */
	CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_OK);
	CHECK_ROW(row, rig->in->slot->seq == 3);
	/* The right tag for another high half of the sequence number. */
	total = openssl_packet(rig, (UINT64_C(1) << 32) + 9, inner,
		trailer(inner, 30, least_pad(rig, 30)), packet);
	CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) ==
			       (rig->params.esn ? VERDICT_BAD_ICV : VERDICT_OK));
	guarded_free(&g);
}

static void test_tampered(void)
{
	each_mode(decap_tampered);
}

/* All that RFC 4303 section 2.4 lets a sender add, and what it does not. */
static void decap_padded(struct rig *rig, const char *row)
{
	const uint32_t block = info_of(rig)->block_bytes;
	struct guarded g = guarded_new(ROOM);
	uint8_t inner[512], packet[ROOM];
	uint64_t seq = 1;
	struct esp_pkt pkt;
	uint32_t total, len;

	for (uint32_t pad = least_pad(rig, 31); pad < 256; pad += block, seq += 2) {
		rig_inner(inner, 31, 0);
		len = trailer(inner, 31, pad);
		total = openssl_packet(rig, seq, inner, len, packet);
		CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_OK);
		CHECK_ROW(row, pkt.len == 31);
		if (pad == 0)
			continue;
		inner[31 + pad / 2] ^= 0x20;
		total = openssl_packet(rig, seq + 1, inner, len, packet);
		CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_BAD_PADDING);
	}
	/* A pad length beyond the text. */
	memset(inner, 0, 32);
	inner[30] = 31;
	total = openssl_packet(rig, seq, inner, 32, packet);
	CHECK_ROW(row, decap(rig, &g, packet, total, &pkt) == VERDICT_BAD_PADDING);
	guarded_free(&g);
}

static void test_padded(void)
{
	each_mode(decap_padded);
}

/* --- all at once --------------------------------------------------------------------------------
 */

#define RIGS CRYPTO_ALG_COUNT

static struct mixed {
	struct rig rigs[RIGS];
	uint8_t buffers[ESP_BURST_MAX][ROOM];
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	unsigned rig_of[ESP_BURST_MAX];
} mixed;

/* Runs of one to three packets of an SA, then of another; sizes of all kinds. */
static uint32_t mixed_fill(unsigned round, unsigned i)
{
	const uint32_t len = 20 + (i * 97 + round * 31) % 1300;

	mixed.rig_of[i] = (round * 5 + i / (1 + round % 3)) % RIGS;
	mixed.pkts[i] = (struct esp_pkt){.data = mixed.buffers[i] + 128,
		.len = len,
		.headroom = 128,
		.tailroom = 256,
		.outer_bytes = OUTER};
	mixed.verdicts[i] = VERDICT_OK;
	rig_inner(mixed.pkts[i].data, len, 0);
	return len;
}

static void mixed_round(unsigned round)
{
	struct rig *first = &mixed.rigs[0];
	struct sa_out *outs[ESP_BURST_MAX];
	struct sa_in *ins[ESP_BURST_MAX];
	const struct path *paths[ESP_BURST_MAX];
	uint32_t lens[ESP_BURST_MAX];

	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		lens[i] = mixed_fill(round, i);
		outs[i] = mixed.rigs[mixed.rig_of[i]].out;
		ins[i] = mixed.rigs[mixed.rig_of[i]].in;
		paths[i] = &mixed.rigs[mixed.rig_of[i]].path;
	}
	esp_encap_burst(first->thread, first->engine, outs, paths, mixed.pkts, mixed.verdicts,
		ESP_BURST_MAX);
	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		const struct rig *rig = &mixed.rigs[mixed.rig_of[i]];
		const uint64_t seq = wire_load_u32(mixed.pkts[i].data + OUTER + 4);
		uint8_t inner[ROOM], want[ROOM];
		uint32_t total;

		CHECK_ROW(info_of(rig)->name, mixed.verdicts[i] == VERDICT_OK);
		rig_inner(inner, lens[i], 0);
		total = openssl_esp(rig, seq, (IV_EPOCH << SA_IV_COUNTER_BITS) + seq - 1, inner,
			trailer(inner, lens[i], least_pad(rig, lens[i])), want);
		CHECK_ROW(info_of(rig)->name, mixed.pkts[i].len == OUTER + total);
		CHECK_ROW(info_of(rig)->name, memcmp(mixed.pkts[i].data + OUTER, want, total) == 0);
		if (i % 5 == 4)
			mixed.pkts[i].data[mixed.pkts[i].len - 1 - i % 12] ^= 4;
	}
	esp_decap_burst(
		first->thread, first->engine, ins, mixed.pkts, mixed.verdicts, ESP_BURST_MAX);
	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		const struct rig *rig = &mixed.rigs[mixed.rig_of[i]];
		uint8_t inner[ROOM];

		CHECK_ROW(info_of(rig)->name,
			mixed.verdicts[i] == (i % 5 == 4 ? VERDICT_BAD_ICV : VERDICT_OK));
		rig_inner(inner, lens[i], 0);
		CHECK_ROW(info_of(rig)->name,
			i % 5 == 4 || (mixed.pkts[i].len == lens[i] &&
					      memcmp(mixed.pkts[i].data, inner, lens[i]) == 0));
	}
}

static void test_mixed_bursts(void)
{
	for (int alg = 0; alg < RIGS; alg++)
		rig_open(&mixed.rigs[alg], (enum crypto_alg)alg, alg % 2 == 0, 64);
	for (unsigned round = 0; round < 60; round++)
		mixed_round(round);
	for (int alg = 0; alg < RIGS; alg++)
		rig_close(&mixed.rigs[alg]);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"encapsulation against OpenSSL", test_encap},
		{"MTU", test_mtu},
		{"IVs of CBC", test_cbc_ivs},
		{"decapsulation against OpenSSL", test_decap},
		{"short packets", test_short},
		{"tampered packets", test_tampered},
		{"padding", test_padded},
		{"bursts of all algorithms", test_mixed_bursts},
		{NULL, NULL},
	};
	int ret = unit_run("esp algorithms", cases);

	unit_remove_folder();
	return ret;
}
