/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_TUNNEL_H
#define CONTROL_HA_TUNNEL_H
/*
 * Packets for and from nodes that are away: TUN on the one side, IP-in-IP on the other.
 *
 * The binding cache says where to; there is no state of a node here. What is for a node behind a
 * gateway goes to that gateway, whatever routes there are to its care-of address.
 *
 * Owner: main.c. Threads: control thread only. Closing it removes the TUN, rules and routes.
 * Sources: RFC 2003, RFC 3024 section 5, RFC 6040 (ECN).
 */
#include "control/ha/binding.h"
#include "control/ha/counters.h"
#include "lib/ipv4.h"
#include "lib/loop.h"
#include "lib/netlink.h"

#include <stddef.h>
#include <stdint.h>

struct ha_tunnel;

/* Makes the TUN and sets the host up to forward. why: a sentence for the operator. Returns 0 or
 * -errno. */
int ha_tunnel_open(struct loop *loop, struct netlink *nl, const struct ha_conf *conf,
	struct ha_bindings *bindings, struct ha_counters *counters, struct ha_tunnel **out,
	char *why, size_t why_size) __attribute__((warn_unused_result));
void ha_tunnel_close(struct ha_tunnel *tunnel); /* NULL is allowed */

int ha_tunnel_ifindex(const struct ha_tunnel *tunnel);
/* An interface came back, perhaps as another one: the kernel forgot the routes over it. */
void ha_tunnel_restore(struct ha_tunnel *tunnel);

/* The outer header for inner (RFC 2003 section 3.1). The inner TTL was counted down by the kernel
 * when it forwarded the packet into the TUN, and is not touched again. */
void ha_tunnel_outer(uint8_t outer[IPV4_HDR_BYTES], const struct ipv4_view *inner,
	const struct ip_addr *src, const struct ip_addr *dst, uint16_t id);
/* Takes a reverse-tunnelled datagram out of its outer header; offset of the inner one into data, or
 * 0 with the reason. May set the inner ECN field. */
size_t ha_tunnel_inner(uint8_t *data, size_t len, const struct ip_addr *own,
	struct ha_bindings *bindings, uint64_t now_ns, enum ha_counter *reason);
#endif
