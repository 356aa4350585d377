/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_PLAIN_H
#define DATAPLANE_PLAIN_H
/*
 * The common packet, told from all others in few instructions: IPv4 without options, whole, of the
 * right length and checksum, between addresses of which nothing special is known. "Plain" is final
 * and means VERDICT_OK. What is not plain is looked at step by step (classify.c, inner.c): that
 * gives its verdict, which may be VERDICT_OK all the same.
 *
 * Keeping it fast. A packet of 64 bytes costs the path some 100 cycles beside the cipher, at five
 * or six instructions a cycle: caches and memory are hidden behind them, so a feature costs what it
 * adds to the instructions of a packet that does not need it. Therefore
 *   - a rare kind of packet fails one of the tests here and is handled by functions of its own,
 *     noinline, from its first byte on; it does not get a branch in the loops that follow;
 *   - a feature that is mostly off is one test a burst: a field of struct dataplane or struct
 *     worker, or bits that a loop has collected (burst.in_udp, needs in esp/encap.c), then a loop
 *     of its own over the burst in a function of its own;
 *   - what an SA, a path or a port has of its own is worked out when it is made;
 *   - drops and punts may cost what they like: their code begins behind the last common branch;
 *   - a loop over the burst costs eight instructions a packet before it does anything.
 *
 * Owner:    struct dataplane has the table; const after its start. Threads: any.
 * Sources:  RFC 1812 sections 5.2.2 and 5.3.7, by way of ip4.h.
 */
#include "dataplane/ip4.h"

#define PLAIN_TABLE 256

struct plain_addrs {                /* what makes an address worth a second look */
	uint8_t nets[PLAIN_TABLE];  /* by its first byte: some or all are not forwarded */
	uint8_t owned[PLAIN_TABLE]; /* by its hash: perhaps one of our own */
};

/* The top bits of a product depend on all bits of the address (golden ratio). */
static inline unsigned plain_hash(be32_t addr)
{
	return addr * UINT32_C(0x9e3779b1) >> 24;
}

/* 0: it may be forwarded and is none of ours. */
static inline unsigned plain_oddity(const struct plain_addrs *addrs, be32_t addr)
{
	return addrs->nets[addr & 0xff] | (unsigned)addrs->owned[plain_hash(addr)];
}

static inline void plain_addrs_init(struct plain_addrs *addrs)
{
	*addrs = (struct plain_addrs){0};
	for (be32_t pair = 0; pair <= UINT16_MAX; pair++) /* the first two bytes */
		addrs->nets[pair & 0xff] |= !ip4_is_forwardable(pair);
}

static inline void plain_addrs_own(struct plain_addrs *addrs, be32_t addr)
{
	addrs->owned[plain_hash(addr)] = 1;
}

/* Protocol proto and no fragment: one word of the header, less the TTL and the DF flag. */
#define PLAIN_PROTOCOL(proto) ((uint32_t)(proto) << 24)
static inline uint32_t plain_protocol(const uint8_t *ip)
{
	return ip4_word(ip + 6) & UINT32_C(0xff00ffbf);
}
#endif
