/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Encapsulation and decapsulation against OpenSSL as the other end: every small length, every
 * tampered byte, padding, next header, ECN, extended sequence numbers, used-up counters. Packets to
 * be decapsulated end at a page without access.
 */
#include "tests/unit/esp/rig.h"

#define ROOM 2048

static const struct {
	const char *name;
	enum crypto_alg alg;
	bool esn;
} modes[] = {
	{"128", CRYPTO_AES128GCM16, false},
	{"128 ESN", CRYPTO_AES128GCM16, true},
	{"256", CRYPTO_AES256GCM16, false},
	{"256 ESN", CRYPTO_AES256GCM16, true},
};
#define N_MODES (sizeof modes / sizeof modes[0])

/* Places a packet of len bytes at the end of the guarded buffer. */
static struct esp_pkt place(const struct guarded *g, const uint8_t *packet, uint32_t len)
{
	struct esp_pkt pkt = {.data = g->end - len,
		.len = len,
		.outer_bytes = (uint8_t)(len == 0 ? RIG_OUTER_BYTES : (packet[0] & 15) * 4)};

	if (len != 0)
		memcpy(pkt.data, packet, len);
	return pkt;
}

static enum verdict encap_one(struct rig *rig, struct esp_pkt *pkt)
{
	struct sa_out *sas[1] = {rig->out};
	const struct path *paths[1] = {&rig->path};
	enum verdict verdict = VERDICT_OK;

	esp_encap_burst(rig->thread, rig->engine, sas, paths, pkt, &verdict, 1);
	return verdict;
}

/* Opens what encap made with OpenSSL and compares with the inner packet. */
static void check_outer(const char *row, const struct rig *rig, const struct esp_pkt *pkt,
	uint64_t seq, const uint8_t *inner, uint32_t inner_len)
{
	uint8_t nonce[12], aad[12], text[ROOM];
	const uint8_t *esp = pkt->data + RIG_OUTER_BYTES;
	uint32_t pad = -(inner_len + 2) & 3, text_len = inner_len + pad + 2;
	int aad_len;

	CHECK_ROW(row, pkt->len == RIG_OUTER_BYTES + 16 + text_len + CRYPTO_TAG_BYTES);
	CHECK_ROW(row, inet_fold(inet_sum(pkt->data, RIG_OUTER_BYTES, 0)) == 0);
	CHECK_ROW(row, wire_load_u16(pkt->data + 2) == pkt->len);
	CHECK_ROW(row, pkt->data[0] == 0x45 && pkt->data[1] == inner[1]);
	CHECK_ROW(row, (pkt->data[6] & 0xbf) == 0 && pkt->data[7] == 0);
	CHECK_ROW(row, (pkt->data[6] & 0x40) == (inner[6] & 0x40));
	CHECK_ROW(row, pkt->data[8] == 64 && pkt->data[9] == 50);
	CHECK_ROW(row, wire_load_u32(pkt->data + 12) == 0xc0000201);
	CHECK_ROW(row, wire_load_u32(pkt->data + 16) == 0xc6336407);
	CHECK_ROW(row, esp_spi(esp) == RIG_SPI);
	CHECK_ROW(row, wire_load_u32(esp + 4) == (uint32_t)seq);
	memcpy(text, esp + 16, text_len);
	aad_len = rig_aead_inputs(&rig->params, seq, esp + 8, nonce, aad);
	CHECK_ROW(row,
		rig_unseal(rig->params.key, crypto_alg_infos[rig->params.alg].key_bytes, nonce, aad,
			aad_len, text, (int)text_len, pkt->data + pkt->len - CRYPTO_TAG_BYTES));
	CHECK_ROW(row, memcmp(text, inner, inner_len) == 0);
	for (uint32_t i = 0; i < pad; i++)
		CHECK_ROW(row, text[inner_len + i] == i + 1);
	CHECK_ROW(row, text[text_len - 2] == pad && text[text_len - 1] == 4);
}

static void test_encap_against_openssl(void)
{
	static const uint32_t more[] = {64, 128, 576, 1279, 1280, 1399, 1400, 1446};

	for (size_t mode = 0; mode < N_MODES; mode++) {
		struct rig rig;
		uint64_t seq = 0;

		rig_open(&rig, modes[mode].alg, modes[mode].esn, 1024);
		for (uint32_t k = 0; k < 45 + sizeof more / sizeof more[0]; k++) {
			uint32_t len = k < 45 ? 20 + k : more[k - 45];
			uint32_t behind = (-(len + 2) & 3) + 2 + CRYPTO_TAG_BYTES;
			struct guarded g = guarded_new(ROOM);
			uint8_t inner[ROOM];
			struct esp_pkt pkt;

			/* No more room than is needed, in front and behind. */
			rig_inner(inner, len, (uint8_t)(k * 4 + k % 4));
			inner[6] = k % 2 != 0 ? 0x40 : 0;
			pkt = (struct esp_pkt){.data = g.end - behind - len,
				.len = len,
				.headroom = 36,
				.tailroom = (uint16_t)behind};
			memcpy(pkt.data, inner, len);
			CHECK_ROW(modes[mode].name, encap_one(&rig, &pkt) == VERDICT_OK);
			CHECK_ROW(modes[mode].name, pkt.headroom == 0 && pkt.tailroom == 0);
			check_outer(modes[mode].name, &rig, &pkt, ++seq, inner, len);
			guarded_free(&g);
		}
		CHECK_ROW(modes[mode].name, rig.out->slot->packets == seq);
		rig_close(&rig);
	}
}

/* RFC 3948 section 2.1: a UDP header between, its length that of the datagram, checksum 0. The rest
 * is as without it: OpenSSL opens it. */
static void test_encap_in_udp(void)
{
	struct path_params params = rig_path_params();
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, true, 1024);
	params.local.port = PATH_NAT_PORT;
	params.remote.port = 61001;
	params.mtu = 28 + 16 + 64 + 2 + 2 + CRYPTO_TAG_BYTES;
	CU_ASSERT_TRUE_FATAL(path_init(&rig.path, &params));
	for (uint32_t len = 20; len <= 68; len++) {
		uint32_t behind = (-(len + 2) & 3) + 2 + CRYPTO_TAG_BYTES;
		bool fits = 28 + 16 + len + behind <= params.mtu;
		struct guarded g = guarded_new(ROOM);
		uint8_t inner[ROOM], *ip;
		struct esp_pkt pkt;

		rig_inner(inner, len, 0xb9);
		pkt = (struct esp_pkt){.data = g.end - behind - len,
			.len = len,
			.headroom = 28 + 16 - 1,
			.tailroom = (uint16_t)behind};
		memcpy(pkt.data, inner, len);
		CHECK_ROW("room",
			encap_one(&rig, &pkt) == (fits ? VERDICT_NO_ROOM : VERDICT_TOO_BIG));
		pkt.headroom++;
		CHECK_ROW("mtu", encap_one(&rig, &pkt) == (fits ? VERDICT_OK : VERDICT_TOO_BIG));
		ip = pkt.data;
		if (fits) {
			CHECK_ROW("udp", wire_load_u16(ip + 20) == PATH_NAT_PORT &&
						 wire_load_u16(ip + 22) == 61001 &&
						 wire_load_u16(ip + 24) == pkt.len - 20 &&
						 wire_load_u16(ip + 26) == 0);
			CHECK_ROW("ip", ip[9] == 17 && wire_load_u16(ip + 2) == pkt.len &&
						inet_fold(inet_sum(ip, 20, 0)) == 0);
			/* Without the UDP header it is what check_outer() knows. */
			memmove(ip + 8, ip, 20);
			pkt.data += 8;
			pkt.len -= 8;
			pkt.data[9] = 50;
			wire_store_u16(pkt.data + 2, (uint16_t)pkt.len);
			wire_store_u16(pkt.data + 10, 0);
			wire_store_u16(pkt.data + 10, inet_fold(inet_sum(pkt.data, 20, 0)));
			check_outer("esp", &rig, &pkt, len - 19, inner, len);
		}
		guarded_free(&g);
	}
	rig_close(&rig);
}

static void test_encap_refusals(void)
{
	static const struct {
		const char *name;
		uint16_t headroom, tailroom, mtu;
		bool closed;
		enum verdict want;
	} rows[] = {
		{"fits", 36, 20, 120, false, VERDICT_OK},
		{"no headroom", 35, 20, 120, false, VERDICT_NO_ROOM},
		{"no tailroom", 36, 19, 120, false, VERDICT_NO_ROOM},
		{"one byte over the MTU", 36, 20, 119, false, VERDICT_TOO_BIG},
		{"closed", 36, 20, 120, true, VERDICT_NO_PATH},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct path_params params = rig_path_params();
		uint8_t buffer[256];
		struct esp_pkt pkt = {.data = buffer + 64,
			.len = 64, /* 20 + 16 + 64 + 2 + 2 + 16 = 120 bytes outside */
			.headroom = rows[i].headroom,
			.tailroom = rows[i].tailroom};
		struct rig rig;

		rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
		params.mtu = rows[i].mtu;
		params.flags = rows[i].closed ? PATH_CLOSED : 0;
		CHECK_ROW(rows[i].name, path_init(&rig.path, &params));
		rig_inner(pkt.data, pkt.len, 0);
		CHECK_ROW(rows[i].name, encap_one(&rig, &pkt) == rows[i].want);
		if (rows[i].want != VERDICT_OK) {
			CHECK_ROW(rows[i].name, pkt.data == buffer + 64 && pkt.len == 64);
			CHECK_ROW(rows[i].name, rig.out->slot->seq == 0);
		}
		rig_close(&rig);
	}
}

/* A burst with refused packets in between and two SAs in runs. */
static void test_encap_burst(void)
{
	uint8_t buffers[ESP_BURST_MAX][256];
	struct esp_pkt pkts[ESP_BURST_MAX];
	struct sa_out *sas[ESP_BURST_MAX];
	const struct path *paths[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct rig one, two;
	uint64_t seq_one = 0, seq_two = 0;

	rig_open(&one, CRYPTO_AES128GCM16, true, 64);
	rig_open(&two, CRYPTO_AES256GCM16, false, 64);
	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		bool second = i % 8 >= 5;

		pkts[i] = (struct esp_pkt){
			.data = buffers[i] + 64, .len = 40 + i, .headroom = 64, .tailroom = 64};
		rig_inner(pkts[i].data, pkts[i].len, (uint8_t)i);
		sas[i] = second ? two.out : one.out;
		paths[i] = second ? &two.path : &one.path;
		verdicts[i] = i % 7 == 3 ? VERDICT_SELECTOR : VERDICT_OK;
	}
	esp_encap_burst(one.thread, one.engine, sas, paths, pkts, verdicts, ESP_BURST_MAX);
	for (unsigned i = 0; i < ESP_BURST_MAX; i++) {
		bool second = i % 8 >= 5;
		uint8_t inner[256];

		if (i % 7 == 3) {
			CU_ASSERT_EQUAL(verdicts[i], VERDICT_SELECTOR);
			CU_ASSERT_EQUAL(pkts[i].len, 40 + i);
			continue;
		}
		CU_ASSERT_EQUAL(verdicts[i], VERDICT_OK);
		rig_inner(inner, 40 + i, (uint8_t)i);
		check_outer("burst", second ? &two : &one, &pkts[i], second ? ++seq_two : ++seq_one,
			inner, 40 + i);
	}
	CU_ASSERT_EQUAL(one.out->slot->packets, seq_one);
	CU_ASSERT_EQUAL(two.out->slot->packets, seq_two);
	rig_close(&one);
	rig_close(&two);
}

static void test_seq_exhausted(void)
{
	static const struct {
		const char *name;
		bool esn;
		uint64_t start; /* last number given out */
		unsigned want;  /* packets of a burst of 4 that still go */
	} rows[] = {
		{"32 bits, far", false, 0xfffffff0, 4},
		{"32 bits, just fits", false, 0xfffffffb, 4},
		{"32 bits, two left", false, 0xfffffffd, 2},
		{"32 bits, none left", false, 0xffffffff, 0},
		{"ESN goes on", true, 0xfffffffd, 4},
		{"ESN at its end", true, UINT64_MAX - (UINT64_C(1) << 32) - 1, 1},
		{"ESN beyond", true, UINT64_MAX - 1, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t buffers[4][256];
		struct esp_pkt pkts[4];
		enum verdict verdicts[4] = {0};
		struct rig rig;
		uint64_t after;

		rig_open(&rig, CRYPTO_AES128GCM16, rows[i].esn, 64);
		rig.out->slot->seq = rows[i].start;
		for (unsigned k = 0; k < 4; k++) {
			pkts[k] = (struct esp_pkt){
				.data = buffers[k] + 64, .len = 64, .headroom = 64, .tailroom = 64};
			rig_inner(pkts[k].data, 64, 0);
		}
		esp_encap_burst(rig.thread, rig.engine,
			(struct sa_out *[]){rig.out, rig.out, rig.out, rig.out},
			(const struct path *[]){&rig.path, &rig.path, &rig.path, &rig.path}, pkts,
			verdicts, 4);
		for (unsigned k = 0; k < 4; k++) {
			CHECK_ROW(rows[i].name,
				verdicts[k] ==
					(k < rows[i].want ? VERDICT_OK : VERDICT_SEQ_EXHAUSTED));
			if (k < rows[i].want) {
				uint8_t inner[64];

				rig_inner(inner, 64, 0);
				check_outer(rows[i].name, &rig, &pkts[k], rows[i].start + k + 1,
					inner, 64);
			}
		}
		/* Once used up, it stays used up and does not creep on. */
		after = rig.out->slot->seq;
		if (rows[i].want < 4) {
			struct esp_pkt pkt = {
				.data = buffers[0] + 64, .len = 64, .headroom = 64, .tailroom = 64};

			CHECK_ROW(rows[i].name, encap_one(&rig, &pkt) == VERDICT_SEQ_EXHAUSTED);
			CHECK_ROW(rows[i].name, rig.out->slot->seq == after);
		}
		rig_close(&rig);
	}
}

static uint64_t iv_of(const struct esp_pkt *pkt)
{
	return wire_load_u64(pkt->data + RIG_OUTER_BYTES + 8);
}

static void test_iv_exhausted(void)
{
	const uint64_t last_of_7 = (UINT64_C(8) << SA_IV_COUNTER_BITS) - 1;
	uint8_t buffer[256];
	struct rig rig;
	struct esp_pkt pkt,
		fresh = {.data = buffer + 64, .len = 64, .headroom = 64, .tailroom = 64};

	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	CU_ASSERT_EQUAL(rig.out->iv, UINT64_C(7) << SA_IV_COUNTER_BITS);
	rig.out->iv = last_of_7;
	CU_ASSERT_FALSE(sa_out_iv_used_up(rig.out));
	pkt = fresh;
	rig_inner(pkt.data, 64, 0);
	CU_ASSERT_EQUAL(encap_one(&rig, &pkt), VERDICT_OK);
	CU_ASSERT_EQUAL(iv_of(&pkt), last_of_7);
	CU_ASSERT_TRUE(sa_out_iv_used_up(rig.out));
	for (int i = 0; i < 3; i++) {
		pkt = fresh;
		CU_ASSERT_EQUAL(encap_one(&rig, &pkt), VERDICT_IV_EXHAUSTED);
		CU_ASSERT_PTR_EQUAL(pkt.data, fresh.data);
	}
	CU_ASSERT_TRUE(sa_out_iv_used_up(rig.out));
	sa_out_renew_iv(rig.out, 9);
	CU_ASSERT_FALSE(sa_out_iv_used_up(rig.out));
	pkt = fresh;
	rig_inner(pkt.data, 64, 0);
	CU_ASSERT_EQUAL(encap_one(&rig, &pkt), VERDICT_OK);
	CU_ASSERT_EQUAL(iv_of(&pkt), UINT64_C(9) << SA_IV_COUNTER_BITS);
	rig_close(&rig);
}

/* The last epoch of all runs over into epoch 0: nothing may leave with it. */
static void test_iv_last_epoch(void)
{
	uint8_t buffers[2][256];
	struct esp_pkt pkts[2];
	enum verdict verdicts[2] = {0};
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	sa_out_renew_iv(rig.out, SA_IV_EPOCH_MAX);
	rig.out->iv = UINT64_MAX;
	for (unsigned k = 0; k < 2; k++) {
		pkts[k] = (struct esp_pkt){
			.data = buffers[k] + 64, .len = 64, .headroom = 64, .tailroom = 64};
		rig_inner(pkts[k].data, 64, 0);
	}
	esp_encap_burst(rig.thread, rig.engine, (struct sa_out *[]){rig.out, rig.out},
		(const struct path *[]){&rig.path, &rig.path}, pkts, verdicts, 2);
	CU_ASSERT_EQUAL(verdicts[0], VERDICT_IV_EXHAUSTED);
	CU_ASSERT_EQUAL(verdicts[1], VERDICT_IV_EXHAUSTED);
	rig_close(&rig);
}

static void test_decap_against_openssl(void)
{
	for (size_t mode = 0; mode < N_MODES; mode++) {
		struct guarded g = guarded_new(ROOM);
		uint64_t seq = 0;
		struct rig rig;

		rig_open(&rig, modes[mode].alg, modes[mode].esn, 1024);
		for (uint32_t len = 20; len < 1460; len += len < 64 ? 1 : 117) {
			uint8_t inner[ROOM], text[ROOM], packet[ROOM];
			uint32_t text_len, total;
			struct esp_pkt pkt;

			rig_inner(inner, len, 0);
			memcpy(text, inner, len);
			text_len = rig_trailer(text, len, 4);
			total = rig_packet(&rig.params, ++seq, 0, text, text_len, packet);
			pkt = place(&g, packet, total);
			CHECK_ROW(modes[mode].name, rig_decap(&rig, &pkt) == VERDICT_OK);
			CHECK_ROW(modes[mode].name, pkt.len == len);
			CHECK_ROW(modes[mode].name, memcmp(pkt.data, inner, len) == 0);
			CHECK_ROW(modes[mode].name, pkt.headroom == 36);
			CHECK_ROW(modes[mode].name, pkt.tailroom == total - 36 - len);
			pkt = place(&g, packet, total);
			CHECK_ROW(modes[mode].name, rig_decap(&rig, &pkt) == VERDICT_REPLAY);
		}
		CHECK_ROW(modes[mode].name, rig.in->slot->packets == seq);
		rig_close(&rig);
		guarded_free(&g);
	}
}

static void test_outer_options(void)
{
	struct guarded g = guarded_new(ROOM);
	uint8_t inner[64], text[80], packet[ROOM], longer[ROOM];
	uint32_t total;
	struct esp_pkt pkt;
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, false, 64);
	rig_inner(inner, 50, 0);
	memcpy(text, inner, 50);
	total = rig_packet(&rig.params, 1, 0, text, rig_trailer(text, 50, 4), packet);
	/* 40 bytes of options: IHL 15. */
	memcpy(longer, packet, 20);
	longer[0] = 0x4f;
	memset(longer + 20, 1, 40);
	memcpy(longer + 60, packet + 20, total - 20);
	pkt = place(&g, longer, total + 40);
	CU_ASSERT_EQUAL(rig_decap(&rig, &pkt), VERDICT_OK);
	CU_ASSERT_EQUAL(pkt.len, 50);
	CU_ASSERT_EQUAL(memcmp(pkt.data, inner, 50), 0);
	rig_close(&rig);
	guarded_free(&g);
}

/* Every length from nothing to one more than the least, each at a guard page. */
static void test_every_short_length(void)
{
	struct guarded g = guarded_new(ROOM);
	const uint32_t least = RIG_OUTER_BYTES + 8 + 8 + 4 + CRYPTO_TAG_BYTES;
	uint8_t text[64], packet[ROOM];
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	memset(text, 0, sizeof text);
	rig_packet(&rig.params, 1, 0, text, 48, packet);
	for (uint32_t len = 0; len <= least + 1; len++) {
		bool whole = len == least;
		struct esp_pkt pkt = place(&g, packet, len);
		char row[16];

		snprintf(row, sizeof row, "%u", len);
		CHECK_ROW(
			row, rig_decap(&rig, &pkt) == (whole ? VERDICT_BAD_ICV : VERDICT_BAD_ESP));
	}
	/* A header length that points behind the packet. */
	packet[0] = 0x4f;
	for (uint32_t len = 56; len <= 97; len++) {
		struct esp_pkt pkt = place(&g, packet, len);
		enum verdict want = len == 96 ? VERDICT_REPLAY : VERDICT_BAD_ESP;
		enum verdict got = rig_decap(&rig, &pkt);

		/* 96: long enough; what is read as a sequence number is noise. */
		CU_ASSERT_TRUE(got == want || (len == 96 && got == VERDICT_BAD_ICV));
	}
	CU_ASSERT_EQUAL(rig.in->slot->seq, 0);
	rig_close(&rig);
	guarded_free(&g);
}

static void test_tamper_each_byte(void)
{
	for (size_t mode = 0; mode < N_MODES; mode++) {
		struct guarded g = guarded_new(ROOM);
		uint8_t inner[64], text[80], packet[ROOM];
		uint32_t total;
		struct esp_pkt pkt;
		struct rig rig;

		rig_open(&rig, modes[mode].alg, modes[mode].esn, 64);
		rig_inner(inner, 33, 0);
		memcpy(text, inner, 33);
		total = rig_packet(&rig.params, 5, 0, text, rig_trailer(text, 33, 4), packet);
		for (uint32_t i = RIG_OUTER_BYTES; i < total; i++) {
			for (unsigned bit = 0; bit < 8; bit++) {
				pkt = place(&g, packet, total);
				pkt.data[i] ^= (uint8_t)(1u << bit);
				CHECK_ROW(
					modes[mode].name, rig_decap(&rig, &pkt) == VERDICT_BAD_ICV);
			}
		}
		CHECK_ROW(modes[mode].name, rig.in->slot->seq == 0); /* nothing was committed */
		pkt = place(&g, packet, total);
		CHECK_ROW(modes[mode].name, rig_decap(&rig, &pkt) == VERDICT_OK);
		rig_close(&rig);
		guarded_free(&g);
	}
}

/* Well authenticated, badly formed. */
static void test_malformed_inside(void)
{
	static const struct {
		const char *name;
		uint32_t inner_len; /* bytes of a good inner packet, 0: all zero text */
		uint32_t text_len;
		uint8_t pad, next_header;
		int spoil; /* offset from the end of text that is flipped, -1: none */
		enum verdict want;
	} rows[] = {
		{"least padding", 20, 24, 2, 4, -1, VERDICT_OK},
		{"padding beyond need", 20, 32, 10, 4, -1, VERDICT_OK},
		{"most padding", 20, 280, 255, 4, -1, VERDICT_OK},
		{"padding of a wrong pattern", 20, 32, 10, 4, 5, VERDICT_BAD_PADDING},
		{"first padding byte is wrong", 20, 32, 10, 4, 11, VERDICT_BAD_PADDING},
		{"pad length is all of the text", 0, 4, 2, 4, -1, VERDICT_RUNT},
		{"pad length one too long", 0, 4, 3, 4, -1, VERDICT_BAD_PADDING},
		{"pad length 255 in 4 bytes", 0, 4, 255, 4, -1, VERDICT_BAD_PADDING},
		{"next header 0", 20, 24, 2, 0, -1, VERDICT_BAD_PADDING},
		{"next header IPv6, half a header", 20, 24, 2, 41, -1, VERDICT_RUNT},
		{"next header UDP", 20, 24, 2, 17, -1, VERDICT_BAD_PADDING},
		{"dummy", 20, 24, 2, 59, -1, VERDICT_DUMMY},
		{"dummy of nothing", 0, 4, 2, 59, -1, VERDICT_DUMMY},
		{"dummy with bad padding", 20, 32, 10, 59, 5, VERDICT_BAD_PADDING},
		{"TFC padding behind the inner packet", 20, 124, 2, 4, -1, VERDICT_OK},
		{"zeros inside", 0, 64, 2, 4, -1, VERDICT_BAD_HEADER},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct guarded g = guarded_new(ROOM);
		uint32_t text_len = rows[i].text_len, total;
		uint8_t text[ROOM] = {0}, packet[ROOM];
		struct esp_pkt pkt;
		struct rig rig;

		rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
		rig_inner(text, rows[i].inner_len, 0);
		if (rows[i].pad + 2u <= text_len) {
			for (uint32_t k = 0; k < rows[i].pad; k++)
				text[text_len - 2 - rows[i].pad + k] = (uint8_t)(k + 1);
		}
		text[text_len - 2] = rows[i].pad;
		text[text_len - 1] = rows[i].next_header;
		if (rows[i].spoil >= 0)
			text[text_len - 1 - (uint32_t)rows[i].spoil] ^= 0x80;
		total = rig_packet(&rig.params, 1, 0, text, text_len, packet);
		pkt = place(&g, packet, total);
		CHECK_ROW(rows[i].name, rig_decap(&rig, &pkt) == rows[i].want);
		if (rows[i].want == VERDICT_OK)
			CHECK_ROW(rows[i].name, pkt.len == rows[i].inner_len);
		/* It was authentic, so its number is used in any case. */
		CHECK_ROW(rows[i].name, rig.in->slot->seq == 1);
		rig_close(&rig);
		guarded_free(&g);
	}
}

/* The inner total length against what is there. */
static void test_inner_length(void)
{
	static const struct {
		uint32_t room;
		uint16_t says;
		uint8_t version_ihl;
		enum verdict want;
	} rows[] = {
		{18, 18, 0x45, VERDICT_RUNT},
		{19, 20, 0x45, VERDICT_RUNT},
		{20, 20, 0x45, VERDICT_OK},
		{20, 21, 0x45, VERDICT_RUNT},
		{40, 41, 0x45, VERDICT_RUNT},
		{40, 40, 0x45, VERDICT_OK},
		{40, 39, 0x45, VERDICT_OK},
		{40, 20, 0x45, VERDICT_OK},
		{40, 19, 0x45, VERDICT_BAD_HEADER},
		{40, 0, 0x45, VERDICT_BAD_HEADER},
		{40, 65535, 0x45, VERDICT_RUNT},
		{40, 40, 0x65, VERDICT_BAD_HEADER},
		{40, 40, 0x05, VERDICT_BAD_HEADER},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct guarded g = guarded_new(ROOM);
		uint8_t text[128], packet[ROOM];
		struct esp_pkt pkt;
		struct rig rig;
		char row[32];

		snprintf(row, sizeof row, "%u of %u", rows[i].says, rows[i].room);
		rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
		rig_inner(text, rows[i].room, 0);
		text[0] = rows[i].version_ihl;
		wire_store_u16(text + 2, rows[i].says);
		pkt = place(&g, packet,
			rig_packet(&rig.params, 1, 0, text, rig_trailer(text, rows[i].room, 4),
				packet));
		CHECK_ROW(row, rig_decap(&rig, &pkt) == rows[i].want);
		if (rows[i].want == VERDICT_OK)
			CHECK_ROW(row, pkt.len == rows[i].says);
		rig_close(&rig);
		guarded_free(&g);
	}
}

/* All 16 pairs. */
static void test_ecn(void)
{
	for (uint8_t inner_ecn = 0; inner_ecn < 4; inner_ecn++) {
		for (uint8_t outer_ecn = 0; outer_ecn < 4; outer_ecn++) {
			struct guarded g = guarded_new(ROOM);
			uint8_t text[128], packet[ROOM];
			int wanted = rig_ecn_want[inner_ecn][outer_ecn];
			struct esp_pkt pkt;
			enum verdict verdict;
			struct rig rig;
			char row[32];

			snprintf(row, sizeof row, "inner %u outer %u", inner_ecn, outer_ecn);
			rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
			rig_inner(text, 60, (uint8_t)(0xb8 | inner_ecn));
			pkt = place(&g, packet,
				rig_packet(&rig.params, 1, (uint8_t)(0x10 | outer_ecn), text,
					rig_trailer(text, 60, 4), packet));
			verdict = rig_decap(&rig, &pkt);
			CHECK_ROW(row, verdict == (wanted < 0 ? VERDICT_ECN : VERDICT_OK));
			CHECK_ROW(row, rig.ecn_unusual == rig_ecn_unusual[inner_ecn][outer_ecn]);
			if (verdict == VERDICT_OK) {
				CHECK_ROW(row, pkt.data[1] == (0xb8 | wanted));
				CHECK_ROW(row, inet_fold(inet_sum(pkt.data, 20, 0)) == 0);
			}
			rig_close(&rig);
			guarded_free(&g);
		}
	}
}

/* Both ends over the wrap of the low 32 bits, our own packets through our own decapsulation and,
 * for every one, OpenSSL with the full number. */
static void test_esn_rollover(void)
{
	uint64_t start = 0x1fffffff0u;
	struct rig rig;

	rig_open(&rig, CRYPTO_AES256GCM16, true, 128);
	rig.out->slot->seq = start;
	rig.in->slot->seq = start;
	for (unsigned i = 1; i <= 40; i++) {
		uint8_t buffer[256], inner[100];
		struct esp_pkt pkt = {
			.data = buffer + 64, .len = 100, .headroom = 64, .tailroom = 64};

		rig_inner(inner, 100, 0);
		memcpy(pkt.data, inner, 100);
		CU_ASSERT_EQUAL(encap_one(&rig, &pkt), VERDICT_OK);
		check_outer("roll-over", &rig, &pkt, start + i, inner, 100);
		pkt.outer_bytes = RIG_OUTER_BYTES;
		CU_ASSERT_EQUAL(rig_decap(&rig, &pkt), VERDICT_OK);
		CU_ASSERT_EQUAL(rig.in->slot->seq, start + i);
		CU_ASSERT_EQUAL(memcmp(pkt.data, inner, 100), 0);
	}
	/* A late one from before the wrap is still placed in the old subspace. */
	{
		uint8_t text[128], packet[ROOM];
		struct guarded g = guarded_new(ROOM);
		struct esp_pkt pkt;

		rig.in->slot->bits[(0x1fffffffeu / 64) & (rig.in->slot->n_words - 1)] = 0;
		rig_inner(text, 60, 0);
		pkt = place(&g, packet,
			rig_packet(&rig.params, 0x1fffffffe, 0, text, rig_trailer(text, 60, 4),
				packet));
		CU_ASSERT_EQUAL(rig_decap(&rig, &pkt), VERDICT_OK);
		CU_ASSERT_EQUAL(rig.in->slot->seq, start + 40);
		guarded_free(&g);
	}
	rig_close(&rig);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"encap against OpenSSL", test_encap_against_openssl},
		{"encapsulate in UDP", test_encap_in_udp},
		{"encap refusals", test_encap_refusals},
		{"encap burst", test_encap_burst},
		{"sequence numbers used up", test_seq_exhausted},
		{"IVs used up", test_iv_exhausted},
		{"IVs used up in the last epoch", test_iv_last_epoch},
		{"decap against OpenSSL", test_decap_against_openssl},
		{"outer header with options", test_outer_options},
		{"every short length", test_every_short_length},
		{"each bit tampered with", test_tamper_each_byte},
		{"authentic but malformed", test_malformed_inside},
		{"inner total length", test_inner_length},
		{"ECN", test_ecn},
		{"ESN roll-over", test_esn_rollover},
		{NULL, NULL},
	};
	int ret = unit_run("esp", cases);

	unit_remove_folder();
	return ret;
}
