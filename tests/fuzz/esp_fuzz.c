/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ESP from anybody, and from a peer that holds the key and sends nonsense: decapsulation reads and
 * writes nothing outside of the packet, and what it lets through lies inside of it, is as long as
 * its own header says and was not seen before.
 *
 * First byte of the input: bit 0 clear: the rest is an outer packet; set: bytes 1 and 2 are the
 * outer TOS and the low byte of the sequence number, the rest (but with an AEAD whole blocks of it)
 * is sealed with the right key. Bit 1: extended sequence numbers. The bits above: the algorithm.
 */
#include "dataplane/esp/esp.h"
#include "dataplane/esp/replay.h"
#include "lib/wire.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define OUTER_BYTES 20
#define WORDS 4
#define WINDOW 128

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static const struct crypto_engine *engine;
static struct crypto_thread *thread;
static struct sa_in *sas[CRYPTO_ALG_COUNT];
static alignas(64) uint8_t slot_memory[sizeof(struct counter_slot) + WORDS * 8];

static void start(void)
{
	static const uint8_t material[CRYPTO_MATERIAL_MAX] = {1, 2, 3};

	engine = crypto_engine_find("auto");
	thread = engine->thread_new();
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++) {
		sas[alg] = sa_memory_heap.alloc(NULL,
			sizeof *sas[alg] + engine->key_blob_bytes((enum crypto_alg)alg),
			SA_CACHE_LINE);
		*sas[alg] = (struct sa_in){.spi = 0x1000, .alg = (uint8_t)alg};
		engine->key_init((enum crypto_alg)alg, material, sas[alg] + 1);
	}
}

/* The packet that a holder of the key makes of text, which lies where it belongs. The salt is 0. */
static size_t seal(
	const struct sa_in *sa, uint8_t *packet, uint8_t tos, uint8_t seq, size_t text_len)
{
	const struct crypto_alg_info *info = &crypto_alg_infos[sa->alg];
	uint8_t *esp = packet + OUTER_BYTES, *text = esp + ESP_HDR_BYTES + info->iv_bytes;
	struct crypto_op op = {.key = sa_in_key(sa),
		.data = text,
		.tag = text + text_len,
		.len = (uint32_t)text_len,
		.alg = sa->alg,
		.aad_len = sa->esn ? 12 : 8};

	memset(packet, 0, (size_t)(text - packet));
	packet[0] = 0x45;
	packet[1] = tos;
	wire_store_u32(esp, sa->spi);
	wire_store_u32(esp + 4, seq);
	wire_store_u32(op.aad, sa->spi);
	if (sa->esn)
		wire_store_u64(op.aad + 4, replay_infer(sa, seq));
	else
		wire_store_u32(op.aad + 4, seq);
	engine->encrypt(thread, &op, 1);
	return (size_t)(text - packet) + text_len + info->icv_bytes;
}

static void check(const struct esp_pkt *before, const struct esp_pkt *after, enum verdict verdict)
{
	demand(verdict < VERDICT_COUNT);
	if (verdict != VERDICT_OK) {
		demand(after->data == before->data && after->len == before->len);
		return;
	}
	demand(after->data > before->data);
	demand(after->data + after->len < before->data + before->len);
	demand(after->len >= 20 && (after->data[0] >> 4 == 4 || after->data[0] >> 4 == 6));
	if (after->data[0] >> 4 == 4)
		demand(wire_load_u16(after->data + 2) == after->len);
	else
		demand(wire_load_u16(after->data + 4) + UINT32_C(40) == after->len);
	demand(after->data - after->headroom == before->data - before->headroom);
	demand(after->data + after->len + after->tailroom ==
		before->data + before->len + before->tailroom);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct counter_slot *slot = (struct counter_slot *)slot_memory;
	/* a text of less than a block becomes one */
	const size_t overhead = OUTER_BYTES + ESP_HDR_BYTES + CRYPTO_IV_MAX + CRYPTO_BLOCK_MAX +
				CRYPTO_TAG_MAX;
	const struct crypto_alg_info *info;
	size_t len;
	struct esp_pkt pkt, before;
	enum verdict verdict = VERDICT_OK;
	struct sa_in *sa;
	uint8_t *packet;

	if (engine == NULL)
		start();
	if (size < 3 || size > 4096)
		return 0;
	memset(slot_memory, 0, sizeof slot_memory);
	slot->n_words = WORDS;
	slot->window = WINDOW;
	sa = sas[(data[0] >> 2) % CRYPTO_ALG_COUNT];
	info = &crypto_alg_infos[sa->alg];
	sa->esn = (data[0] & 2) != 0;
	sa_in_set_slot(sa, slot);
	packet = malloc(size + overhead); /* its end is watched by ASan */
	demand(packet != NULL);
	if ((data[0] & 1) != 0) {
		len = size - 3;
		if (!crypto_alg_is_aead(sa->alg))
			len = len < info->block_bytes ? info->block_bytes
						      : len - len % info->block_bytes;
		memset(packet, 0, size + overhead);
		memcpy(packet + OUTER_BYTES + ESP_HDR_BYTES + info->iv_bytes, data + 3,
			len < size - 3 ? len : size - 3);
		len = seal(sa, packet, data[1], data[2], len);
	} else {
		len = size - 1;
		memcpy(packet, data + 1, len);
	}
	/* Flush with the end of the allocation. */
	memmove(packet + size + overhead - len, packet, len);
	before = (struct esp_pkt){.data = packet + size + overhead - len, .len = (uint32_t)len};
	before.headroom = (uint16_t)(before.data - packet);
	before.outer_bytes = (uint8_t)(len == 0 ? 0 : (before.data[0] & 15) * 4);
	pkt = before;
	esp_decap_burst(thread, engine, &sa, &pkt, &verdict, 1);
	check(&before, &pkt, verdict);
	demand((data[0] & 1) != 0 || verdict != VERDICT_OK); /* nobody guesses a tag */
	free(packet);
	return 0;
}
