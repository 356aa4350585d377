/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_REASSEMBLY_H
#define DATAPLANE_REASSEMBLY_H
/*
 * Puts fragments from the public side together: ESP and UDP to us whose way had a smaller MTU than
 * anybody knew. Each worker has a table of its own; with several workers a device that spreads
 * fragments by more than their addresses would part them, so RSS must not look at ports of UDP
 * fragments (no device does: later fragments have none).
 *
 * Owner:   struct worker. Threads: worker. Nothing is allocated but at the start.
 * Bounds:  REASSEMBLY_DATAGRAMS incomplete ones with at most RTE_LIBRTE_IP_FRAG_MAX_FRAG pieces
 *          each, for REASSEMBLY_MS; and rates for each source, of which there are
 *          REASSEMBLY_SOURCES by a hash of their address (IPv6: of its first 64 bits).
 * Sources: RFC 4301 section 7 (fragments and ESP), RFC 791 section 3.2, RFC 6864; RFC 8200 section
 *          4.5, RFC 5722 (overlaps). Fragments that are whole packets do not come here (RFC 6946).
 */
#include "dataplane/worker.h"

#define REASSEMBLY_DATAGRAMS 128
#define REASSEMBLY_MS 1000
#define REASSEMBLY_SOURCES 1024
#define REASSEMBLY_RATE 2000 /* fragments a second and source */
#define REASSEMBLY_BURST 64  /* at once */
/* Pieces a second and source, and as many at once, that wait for others. With what is kept for
 * REASSEMBLY_MS no source fills more than half of the table. */
#define REASSEMBLY_WAITING 32

struct reassembly;

struct reassembly *reassembly_new(void); /* NULL: out of memory */
void reassembly_free(struct reassembly *reassembly);
/*
 * Place i of b is a fragment with a checked header. VERDICT_OK: it was the last one missing; mbuf
 * and view are the whole datagram's, in one piece. VERDICT_HELD: the mbuf is not the burst's any
 * more. VERDICT_FRAGMENT_LIMIT: too many from that source. VERDICT_FRAGMENT: the whole would not
 * fit a buffer, or there are headers of IPv6 in front. VERDICT_BAD_HEADER: lengths that cannot be.
 */
enum verdict reassembly_take(struct reassembly *reassembly, struct burst *b, unsigned i);
#endif
