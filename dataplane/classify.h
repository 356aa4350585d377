/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_CLASSIFY_H
#define DATAPLANE_CLASSIFY_H
/*
 * First step of both paths: which frames are ours, which belong to Linux, which are wrong.
 *
 * Threads: worker. On VERDICT_OK b->pkts[i] is the IP packet, cut to its own length.
 * Sources:  RFC 1812 sections 5.2.2, 5.3.4, 5.3.7; RFC 8200 section 4; IEEE 802.1Q.
 */
#include "dataplane/worker.h"

/* Public side. OK: an ESP packet to one of our addresses, perhaps in UDP; b->in_udp and
 * b->outer_ports are set. */
void classify_outside(struct worker *worker, struct burst *b);
/* Private side. OK: an IP packet to be protected. */
void classify_inside(struct worker *worker, struct burst *b);
#endif
