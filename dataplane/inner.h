/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_INNER_H
#define DATAPLANE_INNER_H
/*
 * What a node may send through its inbound SA into the private network.
 *
 * Threads: worker; the node's rate limit is atomic among workers.
 * Sources:  RFC 4301 section 5.2 step 4, RFC 5944 sections 3.3 and 3.6.1.1 (the request's IP source
 *           is its care-of address), RFC 3024 section 3.3 (reverse tunnel).
 */
#include "dataplane/node.h"
#include "dataplane/pkt.h"

#include <stdbool.h>
#include <stdint.h>

struct dataplane;

/* A burst of what came through b->sas.in: OK, or the first rule that it breaks. Takes one off the
 * TTL, sets b->nodes, punts what is for control. */
void inner_check_burst(const struct dataplane *dp, struct burst *b);
/* The same for one packet, pkt. *for_control: it is this node's own, well-formed request, or its
 * answer to a challenge, within the rate. */
enum verdict inner_check(const struct dataplane *dp, const struct sa_in *sa, struct esp_pkt *pkt,
	uint64_t now_ns, bool *for_control);
#endif
