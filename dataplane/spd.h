/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_SPD_H
#define DATAPLANE_SPD_H
/*
 * What the operator's rules (policy.h) say to the packets of a burst.
 *
 * Threads: worker. Only called while there are rules: worker->policy is the table of this burst.
 * Sources: RFC 4301 sections 5.1 (outbound), 5.2 (inbound, step 4 with the selectors of what was
 *          decrypted).
 */
#include "dataplane/worker.h"

/* Packets of nodes and for nodes that an SA is found for and everything else allows: what a rule
 * discards gets VERDICT_POLICY. Of a home agent's tunnel it is the datagram inside that is judged.
 * Registrations are no packets of the node's: no rule can keep it from moving. */
void spd_protected(struct worker *worker, struct burst *b, bool inbound);
#endif
