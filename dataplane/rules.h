/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_RULES_H
#define DATAPLANE_RULES_H
/*
 * What an operator may want otherwise in the headers of packets to and from nodes: DF and DSCP of
 * the outer header, the segment size that TCP announces. Nothing is done unless asked for.
 *
 * Owner:   struct dataplane; const after its start. Threads: worker.
 * Sources: RFC 4301 section 5.1.2 (construction of the outer header), RFC 2983 (DSCP and tunnels),
 *          RFC 6040 (ECN is not the operator's to choose), RFC 9293 section 3.7.1 (MSS).
 */
#include "dataplane/worker.h"

/* Outer headers of a burst that esp_encap_burst() made; they are not authenticated. */
void rules_outer(const struct dp_rules *rules, struct burst *b);
/* TCP segments of connections that begin through the node of each packet shall fit its tunnel. For
 * IP packets before encapsulation, or after decapsulation and all checks. */
void rules_tcp(struct burst *b);

static inline bool rules_change_outer(const struct dp_rules *rules)
{
	return rules->df != RULES_DF_COPY || rules->map_dscp;
}
#endif
