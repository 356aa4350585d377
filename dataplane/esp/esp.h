/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_ESP_H
#define DATAPLANE_ESP_ESP_H
/*
 * ESP tunnel mode on flat packet views, in bursts: encapsulate and encrypt, verify and decapsulate.
 * No packet library, no I/O, no clock: for the gateway's workers, the node, tests and fuzzers.
 *
 * Threads: any; each with its own crypto_thread. Views and arrays belong to the caller.
 * Sources: RFC 4303 (format, 3.3 outbound, 3.4 inbound, appendix A2 ESN), RFC 4106 (AES-GCM),
 *          RFC 6040 (ECN), RFC 6479 (window); crypto.h for the other algorithms.
 */
#include "dataplane/esp/crypto.h"
#include "dataplane/esp/path.h"
#include "dataplane/esp/sa.h"
#include "dataplane/esp/verdict.h"

#define ESP_BURST_MAX CRYPTO_BURST_MAX
#define ESP_HDR_BYTES 8
#define ESP_TRAILER_BYTES 2
#define ESP_MIN_BYTES (ESP_HDR_BYTES + 4 + 12) /* null-sha1: no IV, one word, shortest ICV */
/* Most that encapsulation adds in front and behind, with any algorithm. */
#define ESP_HEADROOM_MAX (PATH_OUTER_MAX + ESP_HDR_BYTES + CRYPTO_IV_MAX)
#define ESP_TAILROOM_MAX (CRYPTO_BLOCK_MAX - 1 + ESP_TRAILER_BYTES + CRYPTO_TAG_MAX)

/* Most that an algorithm adds to a packet behind outer_len bytes of outer headers (IP, and UDP if
 * there is one). */
uint32_t esp_overhead(enum crypto_alg alg, uint32_t outer_len);
/* Longest inner packet that fits mtu; 0: none. */
uint32_t esp_inner_max(enum crypto_alg alg, uint32_t outer_len, uint32_t mtu);

struct esp_pkt {       /* a packet in one piece; data and len are moved by encap and decap */
	uint8_t *data; /* first byte of the (inner or outer) IP header */
	uint32_t len;
	uint16_t headroom;    /* writable bytes before data */
	uint16_t tailroom;    /* writable bytes behind data + len */
	uint16_t outer_bytes; /* decap: from data to the ESP header; the caller sets it */
	/* for whoever took the link-layer header off; ESP itself does not look at these */
	uint8_t l2_bytes; /* of that header, VLAN tags included */
	/* encap: the path's MTU does not count. Who sets it cuts what comes of it: outer_cut.h */
	bool beyond_mtu;
};

/* What a dummy packet begins with, against traffic analysis (RFC 4303 section 2.6): no version of
 * IP. It leaves with next header 59; TOS and DF of the outer header are read from it as from IPv4,
 * all else in it is free. */
#define ESP_DUMMY_BYTE 0x20

/*
 * Encapsulates pkts[i] with sas[i] to paths[i]; on VERDICT_OK pkts[i] is the whole outer packet.
 * verdicts[i] must be VERDICT_OK on entry to be handled; others are left alone. The caller has done
 * selector checks and TTL. Numbers are reserved before encryption: a gap is legal, a repeat is not.
 * pkts[i] is IPv4, IPv6 or a dummy, with or without a path of its own family. Outer: TOS copied
 * (RFC 6040 normal mode), TTL 64; IPv4: DF from the inner packet, set for IPv6, which nobody on the
 * way fragments; IPv6: a flow label for each SA (see encap.c).
 */
void esp_encap_burst(struct crypto_thread *thread, const struct crypto_engine *engine,
	struct sa_out *const sas[], const struct path *const paths[], struct esp_pkt pkts[],
	enum verdict verdicts[], unsigned n);

/* The ESP packet of pkt, which has the outer header from, once more behind another one: same
 * number, IV and bytes. to: room for outer->len + pkt->len - from->len bytes. */
void esp_copy_to(uint8_t *to, const struct esp_pkt *pkt, const struct path_outer *from,
	const struct path_outer *outer);

/*
 * pkts[i] starts at the outer IP header, already checked by the caller (not a fragment, len ends
 * where the ESP packet does), has outer_bytes, and belongs to sas[i]. On VERDICT_OK it is the inner
 * IPv4 or IPv6 packet with its own total length; inner header, addresses and TTL are the caller's
 * to check. The replay window is tested before decryption and committed after the tag was good;
 * commit is exact with several workers. Returns how many of them had ECN fields that go together
 * but that nobody sends (RFC 6040 section 4.2), which the operator should be able to see.
 */
unsigned esp_decap_burst(struct crypto_thread *thread, const struct crypto_engine *engine,
	struct sa_in *const sas[], struct esp_pkt pkts[], enum verdict verdicts[], unsigned n);

/* Ask for what a packet of len bytes needs of an SA, as soon as its address is known; the bursts
 * above ask for what only a look into the SA can tell. */
static inline void esp_prefetch_in(
	const struct crypto_engine *engine, const struct sa_in *sa, uint32_t len)
{
	__builtin_prefetch(sa);
	engine->key_prefetch(sa_in_key(sa), len);
}
static inline void esp_prefetch_out(
	const struct crypto_engine *engine, const struct sa_out *sa, uint32_t len)
{
	__builtin_prefetch(sa, 1);
	engine->key_prefetch(sa_out_key(sa), len);
}

/* SPI of an ESP packet whose ESP header starts at esp (at least ESP_HDR_BYTES). Host order. */
uint32_t esp_spi(const uint8_t *esp);
#endif
