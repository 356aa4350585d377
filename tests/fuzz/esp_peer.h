/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_ESP_PEER_H
#define TESTS_FUZZ_ESP_PEER_H
/*
 * The far end of an SA, of any algorithm, by OpenSSL: seals any text with any number, and opens
 * what the gateway sealed. Text is all that is encrypted: inner packet, padding, pad length, next
 * header.
 *
 * Pure functions; aborts where OpenSSL fails. Sources: RFC 4303 and the algorithms' (oracle.h).
 */
#include "dataplane/esp/sa.h"

/* Most that sealing adds to a text. */
#define PEER_OVERHEAD 64

/* esp[len + PEER_OVERHEAD] gets the packet from its SPI on. Returns its length. */
size_t peer_seal(
	const struct sa_params *sa, uint64_t seq, const uint8_t *text, size_t len, uint8_t *esp);

struct peer_opened {
	uint64_t seq;
	uint64_t iv; /* its number; 0: the algorithm has none */
	size_t len;  /* of text */
};
/* text[len]. seq_hint: a number nearby, for the high half with ESN. False: not authentic. */
bool peer_open(const struct sa_params *sa, uint64_t seq_hint, const uint8_t *esp, size_t len,
	uint8_t *text, struct peer_opened *out);
#endif
