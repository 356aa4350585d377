/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_NATSOCK_H
#define CONTROL_MN_NATSOCK_H
/*
 * UDP port 4500 of the node, for ESP through NATs (RFC 3948), and when to go that way.
 *
 * The socket only receives: what is sent is a whole datagram with its headers, by the raw socket
 * for ESP. It is not bound to an address, as that one, so a move costs it nothing; that it is there
 * keeps the kernel from answering "port unreachable".
 *
 * Owner: tunnel.c. Thread: the loop's. Sources: RFC 3948; RFC 1918 and 6598 (private addresses).
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAT_KEEPALIVE 0xff /* RFC 3948 section 2.3: that byte alone */

enum nat_traversal { NAT_AUTO, NAT_ALWAYS, NAT_NEVER }; /* as the configuration names them */

/* Is ESP from coa to go in UDP? NAT_AUTO: if coa is an address that only a NAT leads out from. */
bool nat_is_wanted(enum nat_traversal mode, const struct ip_addr *coa);

/* Descriptor or -errno. mark: SO_MARK. */
int natsock_open(uint32_t mark);
/* Up to n datagrams, each as a whole IPv4 packet in data[i][size]: headers are put together from
 * what the kernel tells of it (addresses, ports, TOS), checksums are right or none. Returns how
 * many; len[i] 0: that one was larger than size and is dropped. */
unsigned natsock_recv_burst(int fd, void *const data[], size_t size, size_t len[], unsigned n);
#endif
