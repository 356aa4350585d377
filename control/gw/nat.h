/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_NAT_H
#define CONTROL_GW_NAT_H
/*
 * Where the tunnel of a node ends that may be behind a NAT. Its care-of address is then only what
 * it calls itself in there; the address and the port that it has outside are seen on its packets.
 *
 * The rule: the tunnel ends at the care-of address, unless the node's profile allows NAT and its
 * registration came in UDP: then at the endpoint seen on the very packet that carried it. The port
 * of that endpoint follows the newest authenticated packet from the same address, since NATs forget
 * and map anew; the address never changes without an SIU.
 *
 * Owner:    move.c and siu_handler.c. Threads: control.
 * Sources:  RFC 3948; design.md section 2.
 */
#include "control/gw/gw_conf.h"
#include "control/gw/move.h"

#include <stdbool.h>

/* Where update, which is no deregistration, leads. */
struct ip_endpoint nat_tunnel_end(const struct tunnel *tunnel, const struct siu_update *update);
/* May a tunnel end at remote, for a node that calls itself coa? Result as gw_conf_coa_check(). */
enum siu_result nat_check_end(
	const struct gw_conf *conf, const struct ip_endpoint *remote, const struct ip_addr *coa);
/* Did a registration for coa that was observed there come from where the tunnel would then end? */
bool nat_came_from_end(
	const struct tunnel *tunnel, const struct ip_addr *coa, const struct ip_endpoint *observed);
/* As a position from before a restart has to be for a node with these flags (enum node_flag). */
void nat_fit_position(struct position *position, uint32_t flags);
/* A worker saw change. True: the node's path leads to that port now. False: it does already, or the
 * node moved meanwhile, or there is no room at this moment: the next packet tells it again. */
bool nat_follow_port(struct mover *mover, const struct dp_port_change *change);
#endif
