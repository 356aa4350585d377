/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_HOME_LINK_H
#define CONTROL_HA_HOME_LINK_H
/*
 * The home link: takes in the traffic for a node that is away, and gives it back on its return.
 *
 * Owner: main.c. Threads: control thread only. Closing it takes proxy entries back; routes go with
 * the TUN.
 * Sources: RFC 5944 section 4.6 (proxy and gratuitous ARP), RFC 826, RFC 5227 (announcements).
 */
#include "control/ha/ha_conf.h"
#include "lib/netlink.h"

#include <stdbool.h>
#include <stddef.h>

struct ha_home_link;

/* Clears what an earlier run left on the link. tun_ifindex: where the traffic shall go. Returns 0
 * or -errno with a sentence for the operator in why. */
int ha_home_link_open(struct netlink *nl, const struct ha_conf *conf, int tun_ifindex,
	struct ha_home_link **out, char *why, size_t why_size) __attribute__((warn_unused_result));
void ha_home_link_close(struct ha_home_link *link); /* NULL is allowed */

/* node: index in the configuration. Doing what is done already costs nothing. */
void ha_home_link_intercept(struct ha_home_link *link, size_t node);
/* Announces the node's own MAC, if the neighbour table knows it. */
void ha_home_link_release(struct ha_home_link *link, size_t node);

/* Once a second: repeats announcements (RFC 5944 section 4.6). */
void ha_home_link_tick(struct ha_home_link *link);
bool ha_home_link_is_on(const struct ha_home_link *link, int ifindex);
/* The interface came back, perhaps as another one: the kernel forgot what lay on it. */
void ha_home_link_restore(struct ha_home_link *link);
#endif
