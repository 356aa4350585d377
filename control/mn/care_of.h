/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_CARE_OF_H
#define CONTROL_MN_CARE_OF_H
/*
 * The node's care-of addresses: the current one, the last that the home agent confirmed, and the
 * former ones that packets on their way may still carry.
 *
 * Two roles of an address are told apart. As outer destination of ESP a former one is good for the
 * grace time after the move (and the kernel delivers only what is still configured). As label, the
 * destination of the home agent's IP-in-IP inside the tunnel, it is good until the new registration
 * is confirmed and the grace time is over, since the home agent tunnels to the former one until
 * the gateway has acknowledged the new one.
 * Values only; one thread. Sources: the source document, steps 22 to 27.
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stdint.h>

#define CARE_OF_FORMER_MAX 4 /* a fifth move within the grace time forgets the first */

struct care_of {
	struct ip_addr current;   /* unset: none */
	struct ip_addr confirmed; /* unset: none */
	struct {
		struct ip_addr addr;
		uint64_t receives_until_ns;
		uint64_t labels_until_ns;
	} former[CARE_OF_FORMER_MAX];
	unsigned next_former;
};

/* addr unset: the current one is gone and there is no other. */
void care_of_move(
	struct care_of *c, const struct ip_addr *addr, uint64_t now_ns, uint64_t grace_ns);
/* The home agent has accepted the current one. */
void care_of_confirm(struct care_of *c, uint64_t now_ns, uint64_t grace_ns);
/* At home: nothing confirmed is left. */
void care_of_forget(struct care_of *c);
bool care_of_receives(const struct care_of *c, const struct ip_addr *addr, uint64_t now_ns);
bool care_of_labels(const struct care_of *c, const struct ip_addr *addr, uint64_t now_ns);
#endif
