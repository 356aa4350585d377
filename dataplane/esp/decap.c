/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works, in three passes over a burst, in the order of RFC 4303 section 3.4:
 *   prepare: lengths, full sequence number, test against the window, operation;
 *   decrypt: one call of the engine, which compares the tags;
 *   finish:  tag, window (commit), padding and next header, inner length, ECN.
 * Nothing but lengths and numbers is looked at before the tag was good.
 */
#include "dataplane/esp/esp.h"
#include "dataplane/esp/esp_format.h"
#include "dataplane/esp/ip_fields.h"
#include "dataplane/esp/life_run.h"
#include "dataplane/esp/replay.h"
#include "lib/wire.h"

#include <assert.h>
#include <string.h>

#define PADDING_3 0x030201u /* 1, 2, 3, the first lowest */
#define IPV4_HEADER_MIN 20  /* bytes */
#define ECN_MASK 0x03       /* of the TOS byte: RFC 3168 section 5 */
#define IPV6_ECN_AT 1       /* byte; in its bits 4 and 5 */
#define ECN_DROP 0xff
#define ECN_UNUSUAL 0x80 /* beside what the field becomes: it is counted */

struct work { /* packets between prepare and finish, parallel arrays */
	struct crypto_op ops[ESP_BURST_MAX];
	uint64_t seqs[ESP_BURST_MAX];
	bool fresh[ESP_BURST_MAX]; /* tag good, and new to the window */
	uint8_t at[ESP_BURST_MAX]; /* place in the burst */
	unsigned n;
	unsigned ecn_unusual; /* packets */
};

uint32_t esp_spi(const uint8_t *esp)
{
	return wire_load_u32(esp);
}

/* A hint, before the packet is checked: 0 if it is too short. */
static inline uint32_t seq_low_hint(const struct esp_pkt *pkt)
{
	const uint32_t outer_len = pkt->outer_bytes;

	return pkt->len < outer_len + ESP_HDR_BYTES ? 0 : wire_load_u32(pkt->data + outer_len + 4);
}

ESP_INLINE enum verdict prepare_as(const struct sa_in *sa, const struct esp_pkt *pkt,
	struct crypto_op *op, uint64_t *seq, struct esp_format format)
{
	const uint32_t around = (uint32_t)ESP_HDR_BYTES + format.iv_bytes + format.icv_bytes;
	const uint32_t outer_len = pkt->outer_bytes;
	uint32_t text_len, seq_low;
	const uint8_t *esp;

	if (pkt->len < outer_len + around + format.block_bytes)
		return VERDICT_BAD_ESP;
	text_len = pkt->len - outer_len - around;
	if ((text_len & (format.block_bytes - 1u)) != 0)
		return VERDICT_BAD_ESP;

	esp = pkt->data + outer_len;
	seq_low = wire_load_u32(esp + 4);
	*seq = replay_infer(sa, seq_low);
	if (!replay_test(sa, *seq))
		return VERDICT_REPLAY;

	op->key = sa_in_key(sa);
	op->data = pkt->data + outer_len + ESP_HDR_BYTES + format.iv_bytes;
	op->tag = op->data + text_len;
	op->len = text_len;
	op->alg = sa->alg;
	memcpy(op->nonce, &sa->salt_be, 4);
	memcpy(op->nonce + 4, esp + ESP_HDR_BYTES, 8); /* not used where there is no such IV */
	memcpy(op->aad, esp, 4);
	if (sa->esn) { /* RFC 4106 section 5 */
		wire_store_u64(op->aad + 4, *seq);
		op->aad_len = 12;
	} else {
		wire_store_u32(op->aad + 4, seq_low);
		op->aad_len = 8;
	}
	return VERDICT_OK;
}

static inline enum verdict prepare_one(
	const struct sa_in *sa, const struct esp_pkt *pkt, struct crypto_op *op, uint64_t *seq)
{
	return crypto_alg_is_aead(sa->alg) ? prepare_as(sa, pkt, op, seq, ESP_FORMAT_AEAD)
					   : prepare_as(sa, pkt, op, seq, esp_format_of(sa->alg));
}

/* RFC 4303 section 2.4: 1, 2, 3, ... then pad length and next header. Gives the bytes before. */
static inline enum verdict padding_check(const uint8_t *text, uint32_t len, uint32_t *inner_room)
{
	uint32_t pad = text[len - 2], last;
	uint8_t next_header = text[len - 1];

	if (pad + ESP_TRAILER_BYTES > len)
		return VERDICT_BAD_PADDING;
	*inner_room = len - ESP_TRAILER_BYTES - pad;
	if (pad < sizeof last && len >= ESP_TRAILER_BYTES + sizeof last) {
		/* As most senders pad: up to 3 bytes, the high ones of a word that ends there. */
		memcpy(&last, text + len - ESP_TRAILER_BYTES - sizeof last, sizeof last);
		if ((uint64_t)last >> (32 - 8 * pad) != (PADDING_3 & ((1u << 8 * pad) - 1)))
			return VERDICT_BAD_PADDING;
	} else {
		for (uint32_t i = 0; i < pad; i++)
			if (text[*inner_room + i] != (uint8_t)(i + 1))
				return VERDICT_BAD_PADDING;
	}
	if (next_header == IP_NEXT_IPV4 || next_header == IP_NEXT_IPV6)
		return VERDICT_OK;
	return next_header == IP_NEXT_NONE ? VERDICT_DUMMY : VERDICT_BAD_PADDING;
}

/* RFC 6040 section 4.2, figure 4: [inner][outer]. 0: Not-ECT, 1: ECT(1), 2: ECT(0), 3: CE. Unusual
 * are those with "(!)" and "(!!!)": nobody sends them so far, but whoever did might mean well. */
static const uint8_t ecn_merged[4][4] = {
	{0, ECN_UNUSUAL | 0, ECN_UNUSUAL | 0, ECN_DROP},
	{1, 1, ECN_UNUSUAL | 1, 3},
	{2, 1, 2, 3},
	{3, ECN_UNUSUAL | 3, 3, 3},
};

/* RFC 1624 equation 3: the checksum follows the first 16-bit word of the header. */
static void tos_set(uint8_t *header, uint8_t tos)
{
	uint32_t sum = (uint16_t)~wire_load_u16(header + 10);

	sum += (uint16_t)~wire_load_u16(header);
	header[1] = tos;
	sum += wire_load_u16(header);
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	wire_store_u16(header + 10, (uint16_t)~sum);
}

static IP_V6_ONLY void ecn_set(uint8_t *ip, uint8_t ecn)
{
	if (ip_is_v6(ip))
		ip[IPV6_ECN_AT] = (uint8_t)((ip[IPV6_ECN_AT] & ~(ECN_MASK << 4)) | ecn << 4);
	else
		tos_set(ip, (uint8_t)((ip[1] & ~ECN_MASK) | ecn));
}

/* What the inner header then says, perhaps with ECN_UNUSUAL; ECN_DROP: it must go. */
static inline uint8_t ecn_merge(uint8_t inner_class, uint8_t outer_class)
{
	return ecn_merged[inner_class & ECN_MASK][outer_class & ECN_MASK];
}

static IP_V6_ONLY enum verdict ecn_decap_any(
	uint8_t *inner, const uint8_t *outer, unsigned *unusual)
{
	const uint8_t before = ip_traffic_class(inner);
	const uint8_t after = ecn_merge(before, ip_traffic_class(outer));

	if (after == ECN_DROP)
		return VERDICT_ECN;
	*unusual += (after & ECN_UNUSUAL) != 0;
	if ((after & ECN_MASK) != (before & ECN_MASK))
		ecn_set(inner, after & ECN_MASK);
	return VERDICT_OK;
}

static inline enum verdict ecn_decap(uint8_t *inner, const uint8_t *outer, unsigned *unusual)
{
	/* Version 6 has this bit, 4 has not. */
	if (__builtin_expect(((inner[0] | outer[0]) & 0x20) != 0, 0))
		return ecn_decap_any(inner, outer, unusual);
	if (__builtin_expect(ecn_merge(inner[1], outer[1]) == (inner[1] & ECN_MASK), 1))
		return VERDICT_OK;
	return ecn_decap_any(inner, outer, unusual);
}

static IP_V6_ONLY enum verdict inner_check_v6(
	const uint8_t *inner, uint32_t room, uint32_t *total_len)
{
	if (room < IPV6_HDR_BYTES)
		return VERDICT_RUNT;
	if (inner[0] >> 4 != 6)
		return VERDICT_BAD_HEADER;
	*total_len = ip_total_len(inner);
	return *total_len <= room ? VERDICT_OK : VERDICT_RUNT;
}

/* What is behind the inner packet's own length is padding for traffic flow confidentiality: RFC
 * 4303 section 2.7. The next header must say what the packet is. */
static inline enum verdict inner_check(
	const uint8_t *inner, uint8_t next_header, uint32_t room, uint32_t *total_len)
{
	if (__builtin_expect(next_header != IP_NEXT_IPV4, 0))
		return inner_check_v6(inner, room, total_len);
	if (room < IPV4_HEADER_MIN)
		return VERDICT_RUNT;
	if (inner[0] >> 4 != 4)
		return VERDICT_BAD_HEADER;
	*total_len = wire_load_u16(inner + 2);
	if (*total_len < IPV4_HEADER_MIN)
		return VERDICT_BAD_HEADER;
	return *total_len <= room ? VERDICT_OK : VERDICT_RUNT;
}

/* Makes the view the inner packet's. */
static inline enum verdict unpack(
	const struct crypto_op *op, struct esp_pkt *pkt, unsigned *unusual)
{
	uint8_t *inner = op->data;
	uint32_t room, total_len, end;
	enum verdict verdict = padding_check(inner, op->len, &room);

	if (verdict == VERDICT_OK)
		verdict = inner_check(inner, inner[op->len - 1], room, &total_len);
	if (verdict == VERDICT_OK)
		verdict = ecn_decap(inner, pkt->data, unusual);
	if (verdict != VERDICT_OK)
		return verdict;

	end = (uint32_t)(inner - pkt->data) + total_len;
	pkt->headroom = (uint16_t)(pkt->headroom + (inner - pkt->data));
	pkt->tailroom = (uint16_t)(pkt->tailroom + (pkt->len - end));
	pkt->data = inner;
	pkt->len = total_len;
	return VERDICT_OK;
}

/* The windows of SAs that no cache holds: asked for all at once. */
static void prefetch_windows(struct sa_in *const sas[], const struct esp_pkt pkts[],
	const enum verdict verdicts[], unsigned n)
{
	const struct sa_in *last = NULL;

	for (unsigned i = 0; i < n; i++) {
		const struct sa_in *sa = sas[i];

		if (verdicts[i] != VERDICT_OK || sa == last)
			continue;
		last = sa;
		replay_prefetch(sa, seq_low_hint(&pkts[i]));
	}
}

static void prepare(struct sa_in *const sas[], const struct esp_pkt pkts[], enum verdict verdicts[],
	unsigned n, struct work *work)
{
	work->n = 0;
	work->ecn_unusual = 0;
	for (unsigned i = 0; i < n; i++) {
		if (verdicts[i] != VERDICT_OK)
			continue;
		verdicts[i] = prepare_one(
			sas[i], &pkts[i], &work->ops[work->n], &work->seqs[work->n]);
		if (verdicts[i] == VERDICT_OK)
			work->at[work->n++] = (uint8_t)i;
	}
}

/* A run: n packets of one SA from place k of work on. Committed and counted once, not per packet.
 */
static void finish_run(struct sa_in *sa, struct work *work, unsigned k, unsigned n,
	struct esp_pkt pkts[], enum verdict verdicts[])
{
	const unsigned end = k + n;
	uint64_t packets = 0, bytes = 0;

	for (unsigned j = k; j < end; j++)
		work->fresh[j] = work->ops[j].ok;
	replay_commit_run(sa, &work->seqs[k], &work->fresh[k], n);
	for (; k < end; k++) {
		struct esp_pkt *pkt = &pkts[work->at[k]];
		enum verdict *verdict = &verdicts[work->at[k]];

		if (!work->fresh[k]) {
			*verdict = work->ops[k].ok ? VERDICT_REPLAY : VERDICT_BAD_ICV;
			continue;
		}
		*verdict = unpack(&work->ops[k], pkt, &work->ecn_unusual);
		if (*verdict == VERDICT_OK) {
			packets++;
			bytes += pkt->len;
		}
	}
	if (__builtin_expect(packets != 0 && sa_in_is_watched(sa), 0))
		life_in_run(sa, pkts, &work->at[end - n], verdicts, n, &packets, &bytes);
	if (packets != 0) {
		counter_add(&sa->slot->packets, packets, sa->shared);
		counter_add(&sa->slot->bytes, bytes, sa->shared);
	}
}

unsigned esp_decap_burst(struct crypto_thread *thread, const struct crypto_engine *engine,
	struct sa_in *const sas[], struct esp_pkt pkts[], enum verdict verdicts[], unsigned n)
{
	struct work work;
	unsigned run;

	assert(n <= ESP_BURST_MAX);
	prefetch_windows(sas, pkts, verdicts, n);
	prepare(sas, pkts, verdicts, n, &work);
	engine->decrypt(thread, work.ops, work.n);
	for (unsigned k = 0; k < work.n; k += run) {
		struct sa_in *sa = sas[work.at[k]];

		for (run = 1; k + run < work.n && sas[work.at[k + run]] == sa;)
			run++;
		finish_run(sa, &work, k, run, pkts, verdicts);
	}
	return work.ecn_unusual;
}
