/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_CHALLENGE_H
#define LIB_CHALLENGE_H
/*
 * The question by which a gateway finds out whether a node is where it says: an ICMP echo request
 * to its home address, through its tunnel to the care-of address in question, with a nonce in it.
 * Only who has the node's keys and receives at that address can send the nonce back through the
 * tunnel. It is an ordinary ping, so that any node's system can answer it; roamgate-mn does so on
 * its own, past routes and filters.
 *
 *     IPv4 header (20) | ICMP echo: type, code 0, checksum, identifier, number (8) |
 *     "roamgate" (8) | nonce (16)
 *
 * Pure; any thread. Sources: RFC 792, RFC 1122 section 3.2.2.6; RFC 9000 section 8.2 for the idea.
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHALLENGE_NONCE_BYTES 16
#define CHALLENGE_ICMP_BYTES (8 + 8 + CHALLENGE_NONCE_BYTES)
#define CHALLENGE_BYTES (20 + CHALLENGE_ICMP_BYTES)

/* number: tells repetitions apart; of no meaning. */
void challenge_build(uint8_t out[CHALLENGE_BYTES], const struct ip_addr *from,
	const struct ip_addr *to, const uint8_t nonce[CHALLENGE_NONCE_BYTES], uint16_t number);

/* Node: is this whole datagram a challenge for to? If so it becomes its answer. */
bool challenge_answer(uint8_t *datagram, size_t len, const struct ip_addr *to);

/* Gateway: the nonce in this answer, CHALLENGE_NONCE_BYTES in the datagram. NULL: it is none. */
const uint8_t *challenge_nonce(const uint8_t *datagram, size_t len);
#endif
