/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_OUTER_CUT_H
#define DATAPLANE_OUTER_CUT_H
/*
 * Fragments of ESP, for the one kind of packet that can neither be cut before ESP nor be made
 * smaller by its sender: IPv6 of up to 1280 bytes, which every link must take, on a path that has
 * no room for so much. The node's end of the tunnel puts them together.
 *
 * Owner:   struct worker (its burst of fragments). Threads: worker. Bounds: those of what is cut;
 *          fragments come from the pool of the inside port.
 * Sources: RFC 2473 section 7.1 (b) and RFC 4213 section 3.2.2 (the tunnel's entry cuts what it has
 *          made), RFC 8200 section 4.5, RFC 7739 (identification).
 */
#include "dataplane/worker.h"

/* Bytes of outer packets that pkt, esp_pkt.beyond_mtu, is on a path with this MTU. */
uint32_t outer_cut_bytes(const struct esp_pkt *pkt, uint32_t mtu);
/* The last steps of a burst of the worker's own ESP, in order; those that are esp_pkt.beyond_mtu
 * leave as fragments, which count in their place. The burst is then empty. */
void outer_cut_send(struct worker *worker, struct burst *b);
#endif
