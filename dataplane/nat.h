/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_NAT_H
#define DATAPLANE_NAT_H
/*
 * Nodes behind a NAT: what a datagram to our UDP port 4500 is, and a node whose port there moves.
 *
 * Threads: worker; what it tells control goes by a ring of its own (punt.h).
 * Sources: RFC 3948 sections 2 and 3, RFC 1122 section 4.1.3.4 (a checksum that is there is
 *          verified), RFC 768.
 */
#include "dataplane/worker.h"

/* pkt: a packet to us that says UDP hdr bytes from its start, cut to its own length. OK and *port
 * not 0: ESP from that port; outer_bytes is set, and the view ends where the ESP packet does. OK
 * and *port 0: none of ours, for Linux: IKE behind its non-ESP marker, another port. */
enum verdict nat_check(struct esp_pkt *pkt, uint32_t hdr, uint16_t *port);

/* After decapsulation: tells control of each node whose newest authenticated packet came from the
 * address that its path leads to, but from another port there. */
void nat_watch(struct worker *worker, const struct burst *b);
#endif
