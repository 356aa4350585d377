/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_ICMP_ERRORS_H
#define CONTROL_GW_ICMP_ERRORS_H
/*
 * Tells senders why their packets do not go on: too big, TTL or hop limit used up. Towards the
 * inside in plain, to a node through its own SA.
 *
 * Owner: main.c. Threads: control. Bounds: what the workers' ring holds, and a rate for each sender
 * (senders share ICMP_ERRORS_SENDERS limits by a hash of their address).
 * Sources: RFC 1812 sections 4.3.2 and 5.2.7, RFC 1191 section 4, RFC 4301 section 8.2; RFC 4443
 *          sections 2.4, 3.2 and 3.3.
 */
#include "dataplane/dataplane.h"

#define ICMP_ERRORS_SENDERS 256
#define ICMP_ERRORS_RATE 10  /* a second and sender */
#define ICMP_ERRORS_BURST 10 /* at once */

struct icmp_errors {
	struct dataplane *dp;         /* lent */
	struct ip_addr from, from_v6; /* our inside addresses; unset: none of that family */
	uint64_t told, kept_back;
	uint64_t spent_until_ns[ICMP_ERRORS_SENDERS]; /* time up to which tokens are spent */
};

void icmp_errors_init(struct icmp_errors *errors, struct dataplane *dp, const struct ip_addr *from,
	const struct ip_addr *from_v6);
/* punt->reason is PUNT_ERROR; it stays the caller's. */
void icmp_errors_tell(struct icmp_errors *errors, const struct punt *punt, uint64_t now_ns);
#endif
