/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_RAWSOCK_H
#define LIB_RAWSOCK_H
/*
 * Raw IP sockets as the home agent and the node use them: one unbound socket per protocol, so that
 * the kernel never answers "protocol unreachable" for it, and full control of the IP header sent.
 *
 * Thread: the loop's. Sources: raw(7), ip(7).
 */
#include "lib/inet.h"

#include <stdint.h>
#include <sys/types.h>

/* Non-blocking IPv4 raw socket for protocol with IP_PKTINFO and IP_HDRINCL; mark: SO_MARK (0:
 * none). Receive and send buffers are raised to 4 MiB where allowed. Returns the descriptor or
 * -errno. */
int rawsock_open(uint8_t protocol, uint32_t mark);

struct rawsock_meta {
	int ifindex;        /* where it came in */
	struct ip_addr src; /* from the IP header */
	struct ip_addr dst; /* destination in the IP header */
};
/* One datagram, whole with its IP header. Returns its length, or -errno (-EAGAIN: none, -EMSGSIZE:
 * larger than size, dropped). */
ssize_t rawsock_recv(int fd, void *data, size_t size, struct rawsock_meta *meta);
/* data is a whole IPv4 datagram; the kernel routes it by its destination and the socket's mark, and
 * fills in checksum and total length. -EMSGSIZE: larger than the MTU (it never fragments). 0 or
 * -errno. */
int rawsock_send(int fd, const void *data, size_t len);
int rawsock_set_mark(int fd, uint32_t mark);
/* To 4 MiB, on any socket: forced is SO_RCVBUFFORCE or SO_SNDBUFFORCE, polite its unprivileged kin.
 */
void rawsock_raise_buffer(int fd, int forced, int polite);

/* As above for up to RAWSOCK_BURST_MAX datagrams in one system call. */
#define RAWSOCK_BURST_MAX 32
/* Returns how many arrived (0: none); len[i] 0: that one was larger than size and is dropped. */
unsigned rawsock_recv_burst(int fd, void *const data[], size_t size, struct rawsock_meta meta[],
	size_t len[], unsigned n);
/* Each of at least 20 bytes. Returns how many went; if less than n, the next one was refused: with
 * *err set when it was the first (else call again for the rest to learn why). */
unsigned rawsock_send_burst(
	int fd, const void *const data[], const size_t len[], unsigned n, int *err);
#endif
