/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each function fills one rtnetlink message, has it answered by the kernel, and
 * forgives the errors that say "it is so already".
 */
#include "lib/netlink_request.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

struct change {
	_Alignas(struct nlmsghdr) uint8_t buffer[512];
	struct nlmsghdr *msg;
};

/* An add has NLM_F_CREATE beside flags, a deletion none. Returns the zeroed fixed part. */
static void *change_begin(struct change *change, uint16_t type, uint16_t flags, size_t fixed_bytes)
{
	change->msg = mnl_nlmsg_put_header(change->buffer);
	change->msg->nlmsg_type = type;
	change->msg->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	return mnl_nlmsg_put_extra_header(change->msg, fixed_bytes);
}

static void put_addr(struct change *change, uint16_t type, const struct ip_addr *addr)
{
	mnl_attr_put(change->msg, type, addr->family == AF_INET ? 4 : 16, addr->bytes);
}

static int change_add(struct netlink *nl, struct change *change)
{
	int err = netlink_request(nl, change->msg);

	return err == -EEXIST ? 0 : err;
}

/* Gone with its interface is gone, too. */
static int change_del(struct netlink *nl, struct change *change)
{
	int err = netlink_request(nl, change->msg);

	return err == -ENOENT || err == -ESRCH || err == -EADDRNOTAVAIL || err == -ENODEV ? 0 : err;
}

int nl_link_set(struct netlink *nl, int ifindex, bool up, uint32_t mtu)
{
	struct change change;
	struct ifinfomsg *link = change_begin(&change, RTM_NEWLINK, 0, sizeof *link);

	link->ifi_index = ifindex;
	link->ifi_change = IFF_UP;
	link->ifi_flags = up ? IFF_UP : 0;
	if (mtu != 0)
		mnl_attr_put_u32(change.msg, IFLA_MTU, mtu);
	return netlink_request(nl, change.msg);
}

static void addr_begin(struct change *change, uint16_t type, uint16_t flags, int ifindex,
	const struct ip_addr *addr, uint8_t prefix_len)
{
	struct ifaddrmsg *fixed = change_begin(change, type, flags, sizeof *fixed);

	fixed->ifa_family = addr->family;
	fixed->ifa_prefixlen = prefix_len;
	fixed->ifa_index = (unsigned)ifindex;
	put_addr(change, IFA_LOCAL, addr);
	put_addr(change, IFA_ADDRESS, addr);
}

int nl_addr_add(struct netlink *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len,
	bool noprefixroute)
{
	struct change change;

	addr_begin(&change, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, addr, prefix_len);
	if (noprefixroute)
		mnl_attr_put_u32(change.msg, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
	return change_add(nl, &change);
}

int nl_addr_del(struct netlink *nl, int ifindex, const struct ip_addr *addr, uint8_t prefix_len)
{
	struct change change;

	addr_begin(&change, RTM_DELADDR, 0, ifindex, addr, prefix_len);
	return change_del(nl, &change);
}

static void route_begin(
	struct change *change, uint16_t type, uint16_t flags, const struct nl_route *route)
{
	struct rtmsg *fixed = change_begin(change, type, flags, sizeof *fixed);

	fixed->rtm_family = route->dst.addr.family;
	fixed->rtm_dst_len = route->dst.len;
	fixed->rtm_table = RT_TABLE_UNSPEC; /* RTA_TABLE has it */
	fixed->rtm_protocol = RTPROT_STATIC;
	fixed->rtm_type = RTN_UNICAST;
	fixed->rtm_scope = ip_addr_is_set(&route->via) || route->dst.addr.family == AF_INET6
				   ? RT_SCOPE_UNIVERSE
				   : RT_SCOPE_LINK;
	fixed->rtm_flags = route->onlink ? RTNH_F_ONLINK : 0;
	if (route->dst.len != 0)
		put_addr(change, RTA_DST, &route->dst.addr);
	mnl_attr_put_u32(change->msg, RTA_TABLE, route->table != 0 ? route->table : RT_TABLE_MAIN);
	mnl_attr_put_u32(change->msg, RTA_OIF, (uint32_t)route->ifindex);
	if (ip_addr_is_set(&route->via))
		put_addr(change, RTA_GATEWAY, &route->via);
	if (ip_addr_is_set(&route->src))
		put_addr(change, RTA_PREFSRC, &route->src);
	if (route->metric != 0)
		mnl_attr_put_u32(change->msg, RTA_PRIORITY, route->metric);
}

int nl_route_replace(struct netlink *nl, const struct nl_route *route)
{
	struct change change;

	route_begin(&change, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
	return change_add(nl, &change);
}

int nl_route_del(struct netlink *nl, const struct nl_route *route)
{
	struct change change;

	route_begin(&change, RTM_DELROUTE, 0, route);
	return change_del(nl, &change);
}

static void rule_begin(struct change *change, uint16_t type, uint16_t flags, uint32_t fwmark,
	uint32_t table, uint32_t priority)
{
	struct fib_rule_hdr *rule = change_begin(change, type, flags, sizeof *rule);

	rule->family = AF_INET;
	rule->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(change->msg, FRA_PRIORITY, priority);
	mnl_attr_put_u32(change->msg, FRA_TABLE, table);
	if (fwmark != 0)
		mnl_attr_put_u32(change->msg, FRA_FWMARK, fwmark);
}

int nl_rule_add(struct netlink *nl, uint32_t fwmark, uint32_t table, uint32_t priority)
{
	struct change change;

	rule_begin(&change, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, fwmark, table, priority);
	return change_add(nl, &change);
}

int nl_rule_del(struct netlink *nl, uint32_t fwmark, uint32_t table, uint32_t priority)
{
	struct change change;

	rule_begin(&change, RTM_DELRULE, 0, fwmark, table, priority);
	return change_del(nl, &change);
}

static void neigh_begin(struct change *change, uint16_t type, uint16_t flags, int ifindex,
	const struct ip_addr *addr, uint8_t ntf, uint16_t state)
{
	struct ndmsg *fixed = change_begin(change, type, flags, sizeof *fixed);

	fixed->ndm_family = addr->family;
	fixed->ndm_ifindex = ifindex;
	fixed->ndm_flags = ntf;
	fixed->ndm_state = state;
	put_addr(change, NDA_DST, addr);
}

int nl_neigh_use(struct netlink *nl, int ifindex, const struct ip_addr *addr)
{
	struct change change;

	neigh_begin(&change, RTM_NEWNEIGH, NLM_F_CREATE, ifindex, addr, NTF_USE, NUD_NONE);
	return change_add(nl, &change);
}

int nl_neigh_proxy_add(struct netlink *nl, int ifindex, const struct ip_addr *addr)
{
	struct change change;

	neigh_begin(&change, RTM_NEWNEIGH, NLM_F_CREATE, ifindex, addr, NTF_PROXY, NUD_PERMANENT);
	return change_add(nl, &change);
}

int nl_neigh_proxy_del(struct netlink *nl, int ifindex, const struct ip_addr *addr)
{
	struct change change;

	neigh_begin(&change, RTM_DELNEIGH, 0, ifindex, addr, NTF_PROXY, NUD_NONE);
	return change_del(nl, &change);
}

int nl_neigh_set(struct netlink *nl, int ifindex, const struct ip_addr *addr, const uint8_t mac[6])
{
	struct change change;

	neigh_begin(&change, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, addr, 0,
		NUD_PERMANENT);
	mnl_attr_put(change.msg, NDA_LLADDR, 6, mac);
	return change_add(nl, &change);
}

int nl_neigh_del(struct netlink *nl, int ifindex, const struct ip_addr *addr)
{
	struct change change;

	neigh_begin(&change, RTM_DELNEIGH, 0, ifindex, addr, 0, NUD_NONE);
	return change_del(nl, &change);
}
