/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_HOME_H
#define CONTROL_MN_HOME_H
/*
 * What the node does on its home link itself: a UDP socket for the deregistration, and gratuitous
 * ARP, so that neighbours stop sending to the home agent what is for the node.
 *
 * Owner: mobile.c. Thread: the loop's. Sources: RFC 5944 sections 3.6.1.2 and 4.6, RFC 826.
 */
#include "lib/inet.h"
#include "lib/loop.h"

#include <stddef.h>
#include <stdint.h>

typedef void home_reply_fn(void *arg, const uint8_t *reply, size_t len);

struct home {
	struct loop *loop;
	struct ip_addr home_address, home_agent;
	home_reply_fn *reply;
	void *arg;
	int fd;     /* -1: not at home */
	int arp_fd; /* -1: not open; kept, since closing a packet socket takes ms */
	int ifindex;
	uint8_t mac[6];
};

void home_init(struct home *home, struct loop *loop, const struct ip_addr *home_address,
	const struct ip_addr *home_agent, home_reply_fn *reply, void *arg);
void home_fini(struct home *home);
/* 0 or -errno; ifindex and mac: of the interface on the home link. */
int home_enter(struct home *home, int ifindex, const uint8_t mac[6]);
void home_leave(struct home *home);
int home_send(struct home *home, const uint8_t *rrq, size_t len); /* 0 or -errno */
int home_announce(struct home *home);                             /* gratuitous ARP; 0 or -errno */
#endif
