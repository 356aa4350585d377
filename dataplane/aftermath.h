/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_AFTERMATH_H
#define DATAPLANE_AFTERMATH_H
/*
 * What is still done for a packet that cannot go on as it is: one that is too big is cut into
 * fragments, before ESP, or, if it is IPv6 of no more than 1280 bytes, behind it; if it must not be
 * cut, as all other IPv6, or its TTL was used up, control is asked to tell the sender. The packet's
 * verdict stays what it is counted by.
 *
 * Owner:   struct worker (its burst of pieces). Threads: worker. Bounds: a ring of PUNT_RING_ERROR,
 *          and control answers at a limited rate; fragments come from the pool of the port that the
 *          packet came in by.
 * Sources: RFC 4301 section 8 (fragments are made before ESP, senders are told), RFC 791 section
 *          2.3, RFC 1812 sections 4.3.2 and 5.3.1, RFC 2003 section 5.1, RFC 8200 section 5, RFC
 *          2473 section 7.1.
 */
#include "dataplane/worker.h"

/* A frame that is ready for port does not fit it. l2_bytes: of its link header. */
void aftermath_frame_too_big(struct burst *b, unsigned i, enum dp_port port, uint16_t l2_bytes);
/* True: the mbuf was taken over. May change the verdict to VERDICT_FRAGMENTED. */
bool aftermath(struct worker *worker, struct burst *b, unsigned i, enum dp_port came_in,
	enum dp_port port);
/* Sends what was cut on its way to port; call when the burst it came from is finished. */
void aftermath_send(struct worker *worker, enum dp_port port);
#endif
