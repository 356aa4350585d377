/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_ESP_RIG_H
#define TESTS_UNIT_ESP_RIG_H
/*
 * What the ESP tests share: a pair of SAs on a counter file of their own, buffers that end at a
 * page without access, and AES-GCM by OpenSSL as the independent other end.
 */
#include "dataplane/esp/esp.h"
#include "dataplane/esp/replay.h"
#include "lib/wire.h"

#include "tests/unit/lib/unit.h"

#include <openssl/evp.h>
#include <sys/mman.h>

#define RIG_OUTER_BYTES 20
#define RIG_SPI 0x1234abcdu
#define RIG_PAGE 4096u

struct rig {
	const struct crypto_engine *engine;
	struct crypto_thread *thread;
	struct counters *counters;
	struct sa_params params;
	struct sa_in *in;
	struct sa_out *out;
	struct path path;
	unsigned ecn_unusual; /* that the last decapsulation told */
};

/* RFC 6040 section 4.2, figure 4, [inner][outer]. 0: Not-ECT, 1: ECT(1), 2: ECT(0), 3: CE; -1:
 * drop. Then those with "(!)" or "(!!!)" that go on. */
static const int rig_ecn_want[4][4] = {{0, 0, 0, -1}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
static const unsigned rig_ecn_unusual[4][4] = {
	{0, 1, 1, 0}, {0, 0, 1, 0}, {0, 0, 0, 0}, {0, 1, 0, 0}};

static inline struct ip_addr rig_addr(const char *text)
{
	struct ip_addr addr = {0};

	if (!ip_addr_parse(text, &addr))
		abort();
	return addr;
}

static inline struct path_params rig_path_params(void)
{
	return (struct path_params){
		.local.addr = rig_addr("192.0.2.1"),
		.remote.addr = rig_addr("198.51.100.7"),
		.coa = rig_addr("198.51.100.7"),
		.mtu = 1500,
	};
}

static inline struct sa_params rig_params(enum crypto_alg alg, bool esn, uint32_t window)
{
	struct sa_params params = {.spi = RIG_SPI, .alg = alg, .esn = esn, .replay_window = window};

	for (size_t i = 0; i < sizeof params.key; i++)
		params.key[i] = (uint8_t)(17 * i + 3);
	return params;
}

/* A file that did not exist before. */
static inline const char *rig_file(void)
{
	static char path[256];
	static int count;

	snprintf(path, sizeof path, "%s/counters-%d", unit_folder(), count++);
	return path;
}

static inline struct counters *rig_counters(const char *path, uint32_t capacity)
{
	struct counters *counters = NULL;
	char why[256] = "";

	if (counters_open(path, capacity, AFTER_POWER_LOSS_STRICT, &counters, why, sizeof why) !=
		0) {
		fprintf(stderr, "%s\n", why);
		abort();
	}
	return counters;
}

static inline void rig_open(struct rig *rig, enum crypto_alg alg, bool esn, uint32_t window)
{
	struct path_params path = rig_path_params();
	struct sa_params out;

	*rig = (struct rig){.engine = crypto_engine_find("auto")};
	rig->params = rig_params(alg, esn, window);
	out = rig->params;
	out.replay_window = 0;
	rig->thread = rig->engine->thread_new();
	rig->counters = rig_counters(rig_file(), 16);
	if (!path_init(&rig->path, &path) ||
		sa_in_new(&sa_memory_heap, rig->engine, rig->counters, &rig->params, NULL, false,
			&rig->in) != 0 ||
		sa_out_new(&sa_memory_heap, rig->engine, rig->counters, &out, NULL, false, 7,
			&rig->out) != 0)
		abort();
}

static inline void rig_close(struct rig *rig)
{
	sa_in_free(&sa_memory_heap, rig->engine, rig->in);
	sa_out_free(&sa_memory_heap, rig->engine, rig->out);
	counters_close(rig->counters);
	rig->engine->thread_free(rig->thread);
}

/* room bytes that end exactly where access ends. */
struct guarded {
	uint8_t *map;
	size_t map_bytes;
	uint8_t *end;
};

static inline struct guarded guarded_new(size_t room)
{
	size_t pages = (room + RIG_PAGE - 1) / RIG_PAGE + 1;
	struct guarded g = {.map_bytes = pages * RIG_PAGE};

	g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g.map == MAP_FAILED)
		abort();
	g.end = g.map + g.map_bytes - RIG_PAGE;
	if (mprotect(g.end, RIG_PAGE, PROT_NONE) != 0)
		abort();
	return g;
}

static inline void guarded_free(struct guarded *g)
{
	munmap(g->map, g->map_bytes);
}

static inline const EVP_CIPHER *rig_cipher(size_t key_bytes)
{
	return key_bytes == 16   ? EVP_aes_128_gcm()
	       : key_bytes == 24 ? EVP_aes_192_gcm()
				 : EVP_aes_256_gcm();
}

/* OpenSSL: text becomes sealed text, tag is written. */
static inline void rig_seal(const uint8_t *key, size_t key_bytes, const uint8_t nonce[12],
	const uint8_t *aad, int aad_len, uint8_t *text, int len, uint8_t tag[CRYPTO_TAG_BYTES])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	if (EVP_EncryptInit_ex(ctx, rig_cipher(key_bytes), NULL, key, nonce) != 1 ||
		EVP_EncryptUpdate(ctx, NULL, &n, aad, aad_len) != 1 ||
		EVP_EncryptUpdate(ctx, text, &n, text, len) != 1 ||
		EVP_EncryptFinal_ex(ctx, text + n, &n) != 1 ||
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_BYTES, tag) != 1)
		abort();
	EVP_CIPHER_CTX_free(ctx);
}

/* OpenSSL: false if the tag is wrong. */
static inline bool rig_unseal(const uint8_t *key, size_t key_bytes, const uint8_t nonce[12],
	const uint8_t *aad, int aad_len, uint8_t *text, int len, uint8_t tag[CRYPTO_TAG_BYTES])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool good;
	int n;

	if (EVP_DecryptInit_ex(ctx, rig_cipher(key_bytes), NULL, key, nonce) != 1 ||
		EVP_DecryptUpdate(ctx, NULL, &n, aad, aad_len) != 1 ||
		EVP_DecryptUpdate(ctx, text, &n, text, len) != 1 ||
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG_BYTES, tag) != 1)
		abort();
	good = EVP_DecryptFinal_ex(ctx, text + n, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return good;
}

/* Nonce and additional data as RFC 4106 sections 4 and 5 have them; returns the latter's length. */
static inline int rig_aead_inputs(const struct sa_params *params, uint64_t seq, const uint8_t iv[8],
	uint8_t nonce[12], uint8_t aad[12])
{
	memcpy(nonce, params->key + crypto_alg_infos[params->alg].key_bytes, 4);
	memcpy(nonce + 4, iv, 8);
	wire_store_u32(aad, params->spi);
	if (params->esn) {
		wire_store_u64(aad + 4, seq);
		return 12;
	}
	wire_store_u32(aad + 4, (uint32_t)seq);
	return 8;
}

/* An outer packet around text[len] (inner, padding, trailer), sealed by OpenSSL. Returns its
 * length. */
static inline uint32_t rig_packet(const struct sa_params *params, uint64_t seq, uint8_t outer_tos,
	const uint8_t *text, uint32_t len, uint8_t *at)
{
	uint8_t nonce[12], aad[12], *esp = at + RIG_OUTER_BYTES;
	uint32_t total = RIG_OUTER_BYTES + 16 + len + CRYPTO_TAG_BYTES;
	int aad_len;

	memset(at, 0, RIG_OUTER_BYTES);
	at[0] = 0x45;
	at[1] = outer_tos;
	wire_store_u16(at + 2, (uint16_t)total);
	at[8] = 64;
	at[9] = 50;
	wire_store_u32(esp, params->spi);
	wire_store_u32(esp + 4, (uint32_t)seq);
	wire_store_u64(esp + 8, seq ^ 0x5555555555555555u); /* any IV that is not used twice */
	if (len != 0)
		memcpy(esp + 16, text, len);
	aad_len = rig_aead_inputs(params, seq, esp + 8, nonce, aad);
	rig_seal(params->key, crypto_alg_infos[params->alg].key_bytes, nonce, aad, aad_len,
		esp + 16, (int)len, esp + 16 + len);
	return total;
}

/* An inner IPv4 packet of total_len bytes with a good header checksum. */
static inline void rig_inner(uint8_t *at, uint32_t total_len, uint8_t tos)
{
	for (uint32_t i = 0; i < total_len; i++)
		at[i] = (uint8_t)(i * 7);
	if (total_len < 20)
		return;
	memset(at, 0, 20);
	at[0] = 0x45;
	at[1] = tos;
	wire_store_u16(at + 2, (uint16_t)total_len);
	at[8] = 63;
	at[9] = 17;
	wire_store_u32(at + 12, 0x0a010005);
	wire_store_u32(at + 16, 0x0a020006);
	wire_store_u16(at + 10, inet_fold(inet_sum(at, 20, 0)));
}

/* inner_len bytes at text, then the default padding; returns the length with the trailer. */
static inline uint32_t rig_trailer(uint8_t *text, uint32_t inner_len, uint8_t next_header)
{
	uint32_t pad = -(inner_len + 2) & 3;

	for (uint32_t i = 0; i < pad; i++)
		text[inner_len + i] = (uint8_t)(i + 1);
	text[inner_len + pad] = (uint8_t)pad;
	text[inner_len + pad + 1] = next_header;
	return inner_len + pad + 2;
}

/* Decapsulates one packet that lies at the end of accessible memory. */
static inline enum verdict rig_decap(struct rig *rig, struct esp_pkt *pkt)
{
	enum verdict verdict = VERDICT_OK;
	struct sa_in *sas[1] = {rig->in};

	rig->ecn_unusual = esp_decap_burst(rig->thread, rig->engine, sas, pkt, &verdict, 1);
	return verdict;
}
#endif
