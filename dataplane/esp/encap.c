/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works, in three passes over a burst:
 *   admit:   which packets have a path, fit its MTU and their buffer;
 *   number:  for each run of packets of one SA, one reservation of sequence numbers and IVs, then
 *            trailer, ESP header and outer header of each are written and its operation is set up;
 *   encrypt: one call of the engine.
 *
 * Layout (RFC 4303 section 2, RFC 4106 section 3):
 *   outer header | SPI, sequence number | IV | inner, padding, pad length, next header | ICV
 * What is behind the inner packet's own length in the view goes along, as padding against traffic
 * analysis (RFC 4303 section 2.7): the receiver goes by the inner length.
 * To a node behind a NAT a UDP header is the end of the outer one (RFC 3948 section 2.1); if IPv6
 * is before it, its checksum is made last of all, over what was encrypted.
 *
 * Flow label of an outer IPv6 header (RFC 6437 section 3, RFC 6438): one for each SA, made of the
 * SPI, which is visible anyway. A label for each inner flow would show what tunnel mode hides, and
 * spread the packets of one window over ways of different length.
 */
#include "dataplane/esp/esp.h"
#include "dataplane/esp/esp_format.h"
#include "dataplane/esp/ip_fields.h"
#include "dataplane/esp/life_run.h"
#include "lib/wire.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#define IPV4_DF_BYTE_MASK 0x40 /* of byte 6 of the header */
#define OUTER_IPV4_BYTES 20
#define OUTER_UDP_BYTES 8
#define INNER_IPV6_BIT 0x20 /* of the first byte: version 6 has it, 4 has not */
static_assert((ESP_DUMMY_BYTE & INNER_IPV6_BIT) != 0, "dummies take the way of IPv6");

ESP_INLINE unsigned pad_bytes(uint32_t inner_len, struct esp_format format)
{
	return -(inner_len + ESP_TRAILER_BYTES) & (format.block_bytes - 1u);
}

ESP_INLINE enum verdict admit_as(
	const struct path *path, const struct esp_pkt *pkt, struct esp_format format)
{
	uint32_t front = path->outer.len + (uint32_t)ESP_HDR_BYTES + format.iv_bytes;
	uint32_t behind = pad_bytes(pkt->len, format) + ESP_TRAILER_BYTES + format.icv_bytes;

	if (path->outer.len == 0)
		return VERDICT_NO_PATH;
	if (front + pkt->len + behind > path->mtu && !pkt->beyond_mtu)
		return VERDICT_TOO_BIG;
	if (pkt->headroom < front || pkt->tailroom < behind)
		return VERDICT_NO_ROOM;
	return VERDICT_OK;
}

static inline enum verdict admit_one(
	const struct sa_out *sa, const struct path *path, const struct esp_pkt *pkt)
{
	return crypto_alg_is_aead(sa->alg) ? admit_as(path, pkt, ESP_FORMAT_AEAD)
					   : admit_as(path, pkt, esp_format_of(sa->alg));
}

/* *needs: 0, or IPv6 comes in somewhere: enum path_need, INNER_IPV6_BIT. */
static unsigned admit(struct sa_out *const sas[], const struct path *const paths[],
	const struct esp_pkt pkts[], enum verdict verdicts[], unsigned n,
	uint8_t index[ESP_BURST_MAX], unsigned *needs)
{
	unsigned n_good = 0, all = 0;

	for (unsigned i = 0; i < n; i++) {
		if (verdicts[i] != VERDICT_OK)
			continue;
		verdicts[i] = admit_one(sas[i], paths[i], &pkts[i]);
		if (verdicts[i] != VERDICT_OK)
			continue;
		if (n_good == 0 || sas[i] != sas[index[n_good - 1]])
			__builtin_prefetch(sas[i]->slot, 1);
		all |= paths[i]->outer.needs | (pkts[i].data[0] & INNER_IPV6_BIT);
		index[n_good++] = (uint8_t)i;
	}
	*needs = all;
	return n_good;
}

/* First of n IVs in a row, or false: not all of them lie in the SA's epoch. */
static inline bool reserve_iv(struct sa_out *sa, unsigned n, uint64_t *first)
{
	uint64_t epoch = atomic_load_explicit(&sa->iv_epoch, memory_order_relaxed);

	if (sa->shared) {
		*first = atomic_fetch_add_explicit(&sa->iv, n, memory_order_relaxed);
	} else {
		*first = atomic_load_explicit(&sa->iv, memory_order_relaxed);
		/* Used up: the next store is sa_out_renew_iv()'s, which must not be undone. */
		if (*first >> SA_IV_COUNTER_BITS != epoch)
			return false;
		atomic_store_explicit(&sa->iv, *first + n, memory_order_relaxed);
	}
	return *first >> SA_IV_COUNTER_BITS == epoch &&
	       (*first + n - 1) >> SA_IV_COUNTER_BITS == epoch;
}

/* First of n sequence numbers in a row; returns how many of them may be used. A used-up counter is
 * not moved on, or it would wrap in the end. */
static inline unsigned reserve_seq(struct sa_out *sa, unsigned n, uint64_t *first)
{
	const uint64_t mark = atomic_load_explicit(&sa->seq_mark, memory_order_relaxed);
	struct counter_slot *slot = sa->slot;

	*first = atomic_load_explicit(&slot->seq, memory_order_relaxed) + 1;
	if (__builtin_expect(*first > mark, 0))
		n = life_out_numbers(sa, *first, n);
	if (n == 0)
		return 0;
	if (!sa->shared) {
		atomic_store_explicit(&slot->seq, *first + n - 1, memory_order_relaxed);
		return n;
	}
	*first = atomic_fetch_add_explicit(&slot->seq, n, memory_order_relaxed) + 1;
	return __builtin_expect(*first > mark, 0) ? life_out_numbers(sa, *first, n) : n;
}

/* How many of a run's packets the SA may still take, by their bytes. */
static inline unsigned fit_bytes(
	struct sa_out *sa, const struct esp_pkt pkts[], const uint8_t index[], unsigned n)
{
	return __builtin_expect(atomic_load_explicit(&sa->bytes_watched, memory_order_relaxed), 0)
		       ? life_out_bytes(sa, pkts, index, n)
		       : n;
}

static void udp_write(uint8_t *at, const uint8_t *prebuilt, uint32_t len)
{
	memcpy(at, prebuilt, OUTER_UDP_BYTES);
	wire_store_u16(at + 4, (uint16_t)len);
}

/* Total length, TOS, identification and DF are the packet's; the rest is prebuilt. RFC 6040 normal
 * mode copies the whole TOS byte (RFC 2474: DSCP and ECN). */
ESP_INLINE void outer_write_ipv4(uint8_t *at, const struct path_outer *outer, uint32_t tos,
	uint32_t df, uint32_t total_len, uint16_t id)
{
	uint32_t sum = outer->sum + tos + total_len + id + df;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	memcpy(at, outer->bytes, OUTER_IPV4_BYTES);
	wire_store_u32(at, (uint32_t)outer->bytes[0] << 24 | tos << 16 | total_len);
	wire_store_u32(at + 4, (uint32_t)id << 16 | df);
	wire_store_u16(at + 10, (uint16_t)~sum);
	if (__builtin_expect(outer->encap == PATH_ENCAP_UDP, 0))
		udp_write(at + OUTER_IPV4_BYTES, outer->bytes + OUTER_IPV4_BYTES,
			total_len - OUTER_IPV4_BYTES);
}

/* 20 bits, not 0. */
static inline uint32_t flow_label(uint32_t spi)
{
	uint32_t label = spi * UINT32_C(0x9e3779b1) >> 12; /* golden ratio: every bit counts */

	return label != 0 ? label : 1;
}

static void outer_write_ipv6(
	uint8_t *at, const struct path_outer *outer, uint32_t tos, uint32_t total_len, uint32_t spi)
{
	memcpy(at, outer->bytes, IPV6_HDR_BYTES);
	wire_store_u32(at, (uint32_t)outer->bytes[0] << 24 | tos << 20 | flow_label(spi));
	wire_store_u16(at + 4, (uint16_t)(total_len - IPV6_HDR_BYTES));
	if (outer->encap == PATH_ENCAP_UDP)
		udp_write(at + IPV6_HDR_BYTES, outer->bytes + IPV6_HDR_BYTES,
			total_len - IPV6_HDR_BYTES);
}

/* Where IPv6 may be inside or outside. SPI and sequence number are read from the ESP header, so
 * that the run's own can stay in registers. */
static void outer_write_any(
	uint8_t *at, const struct path_outer *outer, const uint8_t *inner, uint32_t total_len)
{
	const uint32_t df = ip_is_v6(inner) ? IPV4_DF_BYTE_MASK : inner[6] & IPV4_DF_BYTE_MASK;
	const uint32_t tos = ip_traffic_class(inner);
	const uint8_t *esp = at + outer->len;

	if (outer->family == AF_INET6)
		outer_write_ipv6(at, outer, tos, total_len, esp_spi(esp));
	else
		outer_write_ipv4(at, outer, tos, df << 8, total_len, wire_load_u16(esp + 6));
}

/* A sum of 0 is written as its other form, since 0 says that there is none: RFC 8200 8.1. */
static void udp_sum_write(const struct esp_pkt *pkt)
{
	const uint8_t *ip = pkt->data;
	const uint32_t len = pkt->len - IPV6_HDR_BYTES;
	uint8_t *udp = pkt->data + IPV6_HDR_BYTES;
	uint32_t sum = inet_sum(ip + IPV6_SRC_AT, 2 * IPV6_ADDR_BYTES, IPPROTO_UDP + len);
	uint16_t folded = inet_fold(inet_sum(udp, len, sum));

	wire_store_u16(udp + 6, folded == 0 ? 0xffff : folded);
}

static __attribute__((noinline)) void udp_sums_write(const struct path *const paths[],
	const struct esp_pkt pkts[], const enum verdict verdicts[], const uint8_t index[],
	unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (verdicts[index[k]] == VERDICT_OK &&
			paths[index[k]]->outer.needs & PATH_NEED_UDP_SUM)
			udp_sum_write(&pkts[index[k]]);
}

static inline uint8_t next_header_of(const uint8_t *inner)
{
	if (ip_is_v6(inner))
		return IP_NEXT_IPV6;
	return inner[0] == ESP_DUMMY_BYTE ? IP_NEXT_NONE : IP_NEXT_IPV4;
}

/* 1, 2, 3, ... and the two trailer bytes: RFC 4303 section 2.4. */
ESP_INLINE uint32_t trailer_write(
	uint8_t *at, uint32_t inner_len, uint8_t next_header, struct esp_format format)
{
	static const uint8_t pattern[CRYPTO_BLOCK_MAX] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	unsigned pad = pad_bytes(inner_len, format);

	if (format.block_bytes == 4)
		memcpy(at, pattern, 4); /* room: the ICV follows */
	else
		memcpy(at, pattern, pad);
	at[pad] = (uint8_t)pad;
	at[pad + 1] = next_header;
	return pad + ESP_TRAILER_BYTES;
}

/* What a run has of its SA, beside packet bytes whose stores would have it loaded again each time.
 */
struct run {
	const void *key;
	uint64_t seq; /* of the next packet */
	uint64_t iv;
	uint32_t spi;
	uint32_t salt_be;
	uint8_t alg;
	bool esn;
};

/* What the counter says in the IV's place; with CBC the engine makes the IV of it, by encryption.
 */
ESP_INLINE void iv_write(uint8_t *at, uint64_t iv, struct esp_format format)
{
	if (format.iv_bytes == 16) {
		wire_store_u64(at, 0);
		wire_store_u64(at + 8, iv);
	} else if (format.iv_bytes == 8) {
		wire_store_u64(at, iv);
	}
}

ESP_INLINE void build(struct crypto_op *op, const struct run *run, const struct path_outer *outer,
	struct esp_pkt *pkt, struct esp_format format, bool v4_only)
{
	const uint32_t inner_len = pkt->len, outer_len = outer->len;
	uint8_t *inner = pkt->data;
	uint8_t *esp = inner - ESP_HDR_BYTES - format.iv_bytes;
	const uint8_t next_header = v4_only ? IP_NEXT_IPV4 : next_header_of(inner);
	const uint32_t text_len = inner_len +
				  trailer_write(inner + inner_len, inner_len, next_header, format);
	const uint32_t front = outer_len + (uint32_t)ESP_HDR_BYTES + format.iv_bytes;
	const uint32_t total_len = front + text_len + format.icv_bytes;

	wire_store_u64(esp, (uint64_t)run->spi << 32 | (uint32_t)run->seq);
	iv_write(esp + ESP_HDR_BYTES, run->iv, format);
	if (!v4_only)
		outer_write_any(esp - outer_len, outer, inner, total_len);
	else
		outer_write_ipv4(esp - outer_len, outer, inner[1],
			(uint32_t)(inner[6] & IPV4_DF_BYTE_MASK) << 8, total_len,
			(uint16_t)run->seq);

	op->key = run->key;
	op->data = inner;
	op->tag = inner + text_len;
	op->len = text_len;
	op->alg = run->alg;
	memcpy(op->nonce, &run->salt_be, 4);
	wire_store_u64(op->nonce + 4, run->iv);
	wire_store_u32(op->aad, run->spi);
	if (run->esn) { /* RFC 4106 section 5 */
		wire_store_u64(op->aad + 4, run->seq);
		op->aad_len = 12;
	} else {
		wire_store_u32(op->aad + 4, (uint32_t)run->seq);
		op->aad_len = 8;
	}

	pkt->data = inner - front;
	pkt->headroom = (uint16_t)(pkt->headroom - front);
	pkt->tailroom = (uint16_t)(pkt->tailroom - (text_len - inner_len) - format.icv_bytes);
	pkt->len = total_len;
}

/* Returns the bytes of the inner packets. */
ESP_INLINE uint64_t build_run(struct crypto_op ops[], struct run *run,
	const struct path *const paths[], struct esp_pkt pkts[], const uint8_t index[], unsigned n,
	struct esp_format format, bool v4_only)
{
	uint64_t bytes = 0;

	for (unsigned k = 0; k < n; k++) {
		struct esp_pkt *pkt = &pkts[index[k]];

		bytes += pkt->len;
		build(&ops[k], run, &paths[index[k]]->outer, pkt, format, v4_only);
		run->seq++;
		run->iv++;
	}
	return bytes;
}

static __attribute__((noinline)) uint64_t build_run_any(struct crypto_op ops[], struct run *run,
	const struct path *const paths[], struct esp_pkt pkts[], const uint8_t index[], unsigned n)
{
	return build_run(ops, run, paths, pkts, index, n, esp_format_of(run->alg), false);
}

static void refuse(enum verdict verdicts[], const uint8_t index[], unsigned from, unsigned to,
	enum verdict why)
{
	for (unsigned k = from; k < to; k++)
		verdicts[index[k]] = why;
}

/* A run: index[0..n) are packets of one SA. v4_only: no packet and no path of the burst is IPv6,
 * which is worth code of its own. Returns how many operations were set up. */
static unsigned number_run(struct crypto_op ops[], struct sa_out *sa,
	const struct path *const paths[], struct esp_pkt pkts[], enum verdict verdicts[],
	const uint8_t index[], unsigned n, bool v4_only)
{
	struct run run = {.key = sa_out_key(sa),
		.spi = sa->spi,
		.salt_be = sa->salt_be,
		.alg = sa->alg,
		.esn = sa->esn};
	uint64_t bytes;
	unsigned usable = fit_bytes(sa, pkts, index, n);

	if (usable != 0)
		usable = reserve_seq(sa, usable, &run.seq);
	if (__builtin_expect(usable != n, 0))
		refuse(verdicts, index, usable, n, life_out_verdict(sa));
	if (usable == 0)
		return 0;
	if (!reserve_iv(sa, usable, &run.iv)) {
		refuse(verdicts, index, 0, usable, VERDICT_IV_EXHAUSTED);
		return 0;
	}
	if (__builtin_expect(!v4_only, 0)) {
		struct run copy = run; /* so that the run itself stays in registers */

		bytes = build_run_any(ops, &copy, paths, pkts, index, usable);
	} else if (crypto_alg_is_aead(sa->alg)) {
		bytes = build_run(ops, &run, paths, pkts, index, usable, ESP_FORMAT_AEAD, true);
	} else {
		bytes = build_run(
			ops, &run, paths, pkts, index, usable, esp_format_of(sa->alg), true);
	}
	counter_add(&sa->slot->packets, usable, sa->shared);
	counter_add(&sa->slot->bytes, bytes, sa->shared);
	return usable;
}

void esp_encap_burst(struct crypto_thread *thread, const struct crypto_engine *engine,
	struct sa_out *const sas[], const struct path *const paths[], struct esp_pkt pkts[],
	enum verdict verdicts[], unsigned n)
{
	struct crypto_op ops[ESP_BURST_MAX];
	uint8_t index[ESP_BURST_MAX];
	unsigned n_good, n_ops = 0, run;
	unsigned needs;

	assert(n <= ESP_BURST_MAX);
	n_good = admit(sas, paths, pkts, verdicts, n, index, &needs);
	for (unsigned start = 0; start < n_good; start += run) {
		struct sa_out *sa = sas[index[start]];

		for (run = 1; start + run < n_good && sas[index[start + run]] == sa;)
			run++;
		n_ops += number_run(
			&ops[n_ops], sa, paths, pkts, verdicts, &index[start], run, needs == 0);
	}
	engine->encrypt(thread, ops, n_ops);
	if (__builtin_expect(needs & PATH_NEED_UDP_SUM, 0))
		udp_sums_write(paths, pkts, verdicts, index, n_good);
}

/* TOS and DF are taken from the outer header that is there, to which they were copied. */
void esp_copy_to(uint8_t *to, const struct esp_pkt *pkt, const struct path_outer *from,
	const struct path_outer *outer)
{
	const uint32_t esp_len = pkt->len - from->len;
	const struct esp_pkt copy = {.data = to, .len = outer->len + esp_len};

	memcpy(to + outer->len, pkt->data + from->len, esp_len);
	outer_write_any(to, outer, pkt->data, copy.len);
	if (outer->needs & PATH_NEED_UDP_SUM)
		udp_sum_write(&copy);
}

uint32_t esp_overhead(enum crypto_alg alg, uint32_t outer_len)
{
	const struct esp_format format = esp_format_of(alg);

	return outer_len + ESP_HDR_BYTES + format.iv_bytes + format.block_bytes - 1u +
	       ESP_TRAILER_BYTES + format.icv_bytes;
}

uint32_t esp_inner_max(enum crypto_alg alg, uint32_t outer_len, uint32_t mtu)
{
	const struct esp_format format = esp_format_of(alg);
	const uint32_t around = outer_len + ESP_HDR_BYTES + format.iv_bytes + format.icv_bytes;
	uint32_t text_len;

	if (mtu < around + format.block_bytes)
		return 0;
	text_len = (mtu - around) & ~(format.block_bytes - 1u);
	return text_len - ESP_TRAILER_BYTES;
}
