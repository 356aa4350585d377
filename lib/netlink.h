/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_NETLINK_H
#define LIB_NETLINK_H
/*
 * The part of rtnetlink that the three daemons use (over libmnl): watch addresses, links, routes
 * and neighbours; change addresses, routes, rules and neighbours.
 *
 * Two sockets: one for events (non-blocking, fed by the loop), one for requests, which blocks for
 * the kernel's answer (well under 1 ms) and is therefore never used by workers. After a lost event
 * (ENOBUFS) the whole state is dumped again; a dump ends with nl_events.resynced. The same happens
 * 10 ms after an address or a link was lost, if routes are watched: the kernel does not announce
 * the IPv4 routes that go with them, so a watcher of routes must mark and sweep. Thread: the
 * loop's. Sources: rtnetlink(7), RFC 3549.
 */
#include "lib/inet.h"
#include "lib/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct netlink;

struct nl_addr_event {
	int ifindex;
	struct ip_addr addr; /* the local address */
	uint8_t prefix_len;
	bool added; /* false: deleted */
	bool tentative;
};
struct nl_link_event {
	int ifindex;
	char name[16];
	uint8_t mac[6];
	uint32_t mtu;
	bool present; /* false: deleted */
	bool up;      /* administratively up and carrier */
};
struct nl_route_event {
	struct ip_prefix dst;
	struct ip_addr via; /* unset: on link */
	int ifindex;
	uint32_t table;
	uint32_t metric;
	bool added;
	bool blackhole; /* blackhole, unreachable or prohibit */
};
struct nl_neigh_event {
	int ifindex;
	struct ip_addr addr;
	uint8_t mac[6];
	uint16_t state; /* NUD_* */
	bool added;     /* false: deleted */
};

struct nl_events { /* a NULL callback: not watched */
	void (*addr)(void *arg, const struct nl_addr_event *event);
	void (*link)(void *arg, const struct nl_link_event *event);
	void (*route)(void *arg, const struct nl_route_event *event);
	void (*neigh)(void *arg, const struct nl_neigh_event *event);
	/* Events were lost and a new dump begins: forget what was learnt, or mark it for a sweep.
	 */
	void (*resync)(void *arg);
	void (*resynced)(void *arg); /* a dump is complete (also the first) */
};

/* Subscribes, then dumps all that is watched through the same callbacks before it returns. */
int netlink_open(struct loop *loop, const struct nl_events *events, void *arg, struct netlink **out)
	__attribute__((warn_unused_result));
void netlink_close(struct netlink *nl);

/* Requests: 0 or -errno from the kernel. Adding what is there, or deleting what is not, is 0. */
int nl_link_set(struct netlink *nl, int ifindex, bool up, uint32_t mtu /* 0: keep */);
int nl_addr_add(struct netlink *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len,
	bool noprefixroute);
int nl_addr_del(struct netlink *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len);
struct nl_route {
	struct ip_prefix dst;
	struct ip_addr via; /* unset: on link */
	struct ip_addr src; /* preferred source; unset: none */
	int ifindex;
	uint32_t table;  /* 0: main */
	uint32_t metric; /* 0: default */
	bool onlink;     /* RTNH_F_ONLINK */
};
int nl_route_replace(struct netlink *nl, const struct nl_route *route);
int nl_route_del(struct netlink *nl, const struct nl_route *route);
/* IPv4 policy rule "packets with fwmark (0: any) use table". */
int nl_rule_add(struct netlink *nl, uint32_t fwmark, uint32_t table, uint32_t priority);
int nl_rule_del(struct netlink *nl, uint32_t fwmark, uint32_t table, uint32_t priority);
/* Ask the kernel to resolve (NTF_USE), or answer ARP for addr on ifindex (NTF_PROXY). */
int nl_neigh_use(struct netlink *nl, int ifindex, const struct ip_addr *addr);
int nl_neigh_proxy_add(struct netlink *nl, int ifindex, const struct ip_addr *addr);
int nl_neigh_proxy_del(struct netlink *nl, int ifindex, const struct ip_addr *addr);
/* Sets a permanent or reachable entry; del removes it. */
int nl_neigh_set(struct netlink *nl, int ifindex, const struct ip_addr *addr, const uint8_t mac[6]);
int nl_neigh_del(struct netlink *nl, int ifindex, const struct ip_addr *addr);
#endif
