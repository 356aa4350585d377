/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_NETLINK_REQUEST_H
#define LIB_NETLINK_REQUEST_H
/*
 * Between netlink.c and netlink_change.c: one request and its acknowledgement.
 * Thread: the loop's. May be called from any callback of struct nl_events.
 */
#include "lib/netlink.h"

struct nlmsghdr;

/* msg has NLM_F_REQUEST and NLM_F_ACK; its sequence number is filled in. 0 or -errno. */
int netlink_request(struct netlink *nl, struct nlmsghdr *msg);
#endif
