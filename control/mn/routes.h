/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_ROUTES_H
#define CONTROL_MN_ROUTES_H
/*
 * What the host's routing does for the tunnel: home address on the TUN and tunnel_routes into it
 * while the node is away; nothing while it is at home.
 *
 * Owner: mobile.c. Thread: the loop's. What cannot be set is logged; the tunnel itself works on.
 */
#include "control/mn/mn_conf.h"
#include "lib/netlink.h"

struct routes {
	struct netlink *nl;
	const struct mn_conf *conf;
	int tun_ifindex;
	bool away;
};

void routes_init(struct routes *r, struct netlink *nl, const struct mn_conf *conf, int tun_ifindex);
void routes_away(struct routes *r);
void routes_home(struct routes *r); /* also removes what a killed process has left */
/* The care-of address is on this interface, whose MTU bounds that of the tunnel, which adds
 * overhead bytes to a packet. */
void routes_use_interface(struct routes *r, const char *interface, unsigned mtu, unsigned overhead);
/* The home agent is asked on this interface: its answer is taken, although the way back to it is
 * still the tunnel, and a lost ARP does not cost a second. */
void routes_claimed(const char *interface);
#endif
