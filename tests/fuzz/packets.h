/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_PACKETS_H
#define TESTS_FUZZ_PACKETS_H
/*
 * IP packets from a fuzzer's script: fields are choices among values that mean something to a
 * gateway, or the script's own bytes; then any byte may be changed and any length be wrong. A
 * script that ends early gives zeros.
 */
#include "lib/inet.h"
#include "lib/wire.h"

#include <stdint.h>

#define PACKET_MAX 65535

/* The node that the script is about: its addresses are easy to choose. */
struct packet_self {
	struct ip_addr home, home_agent, home_agent_v6, coa, former;
};
extern struct packet_self packet_self;

/* Into at[PACKET_MAX]; returns the length, 0 among them. depth: of tunnels that may follow. */
size_t packet_make(struct wire *script, uint8_t *at, unsigned depth);
/* An address of the little world: of the gateway, the nodes, the home agents, others, or any. */
be32_t packet_addr(struct wire *script);
struct ip_addr packet_addr_v6(struct wire *script);
/* An IPv6 extension header into at[32]; its kind goes to *next, which then is its own field.
 * Returns its bytes. */
size_t packet_extension(struct wire *script, uint8_t *at, uint8_t **next);
/* A length: small ones mostly, up to 65535 sometimes. */
size_t packet_len(struct wire *script);
/* Changes bytes of at[len] as the script says; returns the new length, at most len. */
size_t packet_patch(struct wire *script, uint8_t *at, size_t len);

/* A number into a field that nobody looks at (identification, or flow label), checksum kept right
 * or wrong as it was; what cannot carry one is left alone. Read back: 0 if there is none. */
void packet_stamp(uint8_t *ip, size_t len, uint16_t number);
uint16_t packet_stamped(const uint8_t *ip, size_t len);
#endif
