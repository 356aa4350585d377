/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_SPD_H
#define DATAPLANE_SPD_H
/*
 * What the operator's rules (policy.h) say to the packets of a burst.
 *
 * Threads: worker. Only called while there are rules: worker->policy is the table of this burst.
 * Clear:   nothing goes through in clear but by a rule that says so, and then only what nothing
 *          else could be meant by: no tunnel, no registration, no address of a node (of home,
 *          care-of, or former) or of the gateway; towards the outside, what no SA was found for,
 *          and from there, what is addressed to somebody else. An SA that is not there for a moment
 *          makes nobody's address one that may be bypassed: no node can have one of those
 *          (gw_conf_policy.c).
 * Sources: RFC 4301 sections 5.1 (outbound), 5.2 (inbound, step 4 with the selectors of what was
 *          decrypted).
 */
#include "dataplane/worker.h"

/* Packets of nodes and for nodes that an SA is found for and everything else allows: what a rule
 * discards, or wants in clear, gets VERDICT_POLICY. Of a home agent's tunnel it is the datagram
 * inside that is judged. Registrations are no packets of the node's: no rule can keep it from
 * moving. */
void spd_protected(struct worker *worker, struct burst *b, bool inbound);
/* Packets without an SA, last before they are routed: those of VERDICT_NO_SA_OUT, or of
 * burst.others, that a rule bypasses get VERDICT_OK. */
void spd_clear(struct worker *worker, struct burst *b, bool inbound);
#endif
