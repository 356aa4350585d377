/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works
 *
 * - The event socket joins the groups of what is watched, before the first dump: what changes
 *   during the dump is seen again as an event, and the last event of an object is its state.
 * - A dump has a socket of its own, so that its callbacks may make requests. Events and dumps feed
 *   the same parsers: a callback cannot tell them apart and need not.
 * - The request socket carries changes, one at a time, and waits for the answer.
 * - Linux does not announce IPv4 routes that vanish with their address or link. If routes are
 *   watched, such a loss is answered with a new dump NL_STALE_ROUTES_NS later.
 *
 * Sources: rtnetlink(7), netlink(7), RFC 3549.
 */
#include "lib/netlink.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/netlink_request.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

#define NL_MODULE "netlink"
#define NL_RECEIVE_BYTES (4 << 20) /* socket buffer: some ten thousand events */
#define NL_MESSAGE_BYTES 32768     /* the most that the kernel puts into one datagram of a dump */
#define NL_EVENTS_A_WAKE 64        /* datagrams; the loop has other work too */
#define NL_REQUEST_TIMEOUT_S 2     /* the kernel answers at once or is broken */
#define NL_ANSWER_BYTES 4096       /* an acknowledgement with the request echoed and a text */
#define NL_OPEN_TRIES 5            /* a dump is interrupted if what it shows changes meanwhile */
#define NL_ERRNO_MAX 4095          /* the most that the kernel says */
#define NL_STALE_ROUTES_NS (10 * NS_PER_MS) /* lets a burst of deletions end before the dump */

struct netlink {
	struct loop *loop;
	struct mnl_socket *event_socket;   /* non-blocking */
	struct mnl_socket *request_socket; /* blocking */
	struct loop_timer *stale_routes;
	struct nl_events events;
	void *arg;
	uint32_t seq;
	bool dumping;
	/* of the event socket; and of dumps, which may run inside its callback */
	_Alignas(struct nlmsghdr) uint8_t buffer[NL_MESSAGE_BYTES];
	_Alignas(struct nlmsghdr) uint8_t dump_buffer[NL_MESSAGE_BYTES];
};

/* ---- parsing ---- */

static uint8_t bits_of(unsigned family)
{
	return family == AF_INET ? 32 : 128;
}

/* Unset: no such family, or too short. */
static struct ip_addr addr_from(const void *bytes, size_t len, unsigned family)
{
	struct ip_addr addr = {0};
	size_t want = bits_of(family) / 8;

	if ((family != AF_INET && family != AF_INET6) || len < want)
		return addr;
	addr.family = (uint8_t)family;
	memcpy(addr.bytes, bytes, want);
	return addr;
}

static struct ip_addr addr_of(const struct nlattr *attr, uint8_t family)
{
	if (attr == NULL)
		return (struct ip_addr){0};
	return addr_from(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr), family);
}

struct attrs {
	const struct nlattr *at[64]; /* by type; larger types are of no interest here */
};

static int collect(const struct nlattr *attr, void *arg)
{
	struct attrs *attrs = arg;
	uint16_t type = mnl_attr_get_type(attr);

	if (type < MNL_ARRAY_SIZE(attrs->at))
		attrs->at[type] = attr;
	return MNL_CB_OK;
}

static struct attrs attrs_of(const struct nlmsghdr *msg, size_t fixed_bytes)
{
	struct attrs attrs = {0};

	(void)mnl_attr_parse(msg, (unsigned)fixed_bytes, collect, &attrs);
	return attrs;
}

static uint32_t u32_of(const struct nlattr *attr, uint32_t absent)
{
	return attr != NULL && mnl_attr_get_payload_len(attr) >= 4 ? mnl_attr_get_u32(attr)
								   : absent;
}

static void routes_may_be_stale(struct netlink *nl)
{
	if (nl->events.route != NULL && !nl->dumping && !loop_timer_is_armed(nl->stale_routes))
		loop_timer_arm_in(nl->stale_routes, NL_STALE_ROUTES_NS);
}

static void parse_addr(struct netlink *nl, const struct nlmsghdr *msg)
{
	const struct ifaddrmsg *fixed = mnl_nlmsg_get_payload(msg);
	struct attrs attrs = attrs_of(msg, sizeof *fixed);
	/* IFA_ADDRESS is the far end on a point-to-point link; IPv6 has no IFA_LOCAL there */
	const struct nlattr *local = attrs.at[IFA_LOCAL];
	struct nl_addr_event event = {
		.ifindex = (int)fixed->ifa_index,
		.addr = addr_of(local != NULL ? local : attrs.at[IFA_ADDRESS], fixed->ifa_family),
		.prefix_len = fixed->ifa_prefixlen,
		.added = msg->nlmsg_type == RTM_NEWADDR,
		.tentative = (u32_of(attrs.at[IFA_FLAGS], fixed->ifa_flags) & IFA_F_TENTATIVE) != 0,
	};

	if (nl->events.addr != NULL && ip_addr_is_set(&event.addr) &&
		event.prefix_len <= bits_of(fixed->ifa_family))
		nl->events.addr(nl->arg, &event);
	if (!event.added)
		routes_may_be_stale(nl);
}

static void parse_link(struct netlink *nl, const struct nlmsghdr *msg)
{
	const struct ifinfomsg *fixed = mnl_nlmsg_get_payload(msg);
	struct attrs attrs = attrs_of(msg, sizeof *fixed);
	struct nl_link_event event = {
		.ifindex = fixed->ifi_index,
		.mtu = u32_of(attrs.at[IFLA_MTU], 0),
		.present = msg->nlmsg_type == RTM_NEWLINK,
	};
	const struct nlattr *mac = attrs.at[IFLA_ADDRESS], *name = attrs.at[IFLA_IFNAME];
	size_t name_len = name == NULL ? 0 : mnl_attr_get_payload_len(name);
	size_t room = sizeof event.name - 1;

	event.up = event.present && (fixed->ifi_flags & IFF_UP) != 0 &&
		   (fixed->ifi_flags & IFF_RUNNING) != 0;
	if (name != NULL) /* ends with 0, within it */
		memcpy(event.name, mnl_attr_get_payload(name),
			strnlen(mnl_attr_get_payload(name), name_len < room ? name_len : room));
	if (mac != NULL && mnl_attr_get_payload_len(mac) == sizeof event.mac)
		memcpy(event.mac, mnl_attr_get_payload(mac), sizeof event.mac);
	if (nl->events.link != NULL)
		nl->events.link(nl->arg, &event);
	if (!event.up)
		routes_may_be_stale(nl);
}

/* Gateway and interface: of the route itself, or of the first hop of several. */
static void parse_next_hop(const struct attrs *attrs, uint8_t family, struct nl_route_event *event)
{
	const struct nlattr *multipath = attrs->at[RTA_MULTIPATH];
	const struct nlattr *via = attrs->at[RTA_VIA];

	event->via = addr_of(attrs->at[RTA_GATEWAY], family);
	event->ifindex = (int)u32_of(attrs->at[RTA_OIF], 0);
	if (via != NULL && mnl_attr_get_payload_len(via) > sizeof(struct rtvia)) {
		const struct rtvia *other = mnl_attr_get_payload(via);
		size_t len = mnl_attr_get_payload_len(via) - sizeof *other;

		event->via = addr_from(other->rtvia_addr, len, other->rtvia_family);
	}
	if (multipath != NULL && mnl_attr_get_payload_len(multipath) >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = mnl_attr_get_payload(multipath);
		struct attrs inner = {0};

		event->ifindex = hop->rtnh_ifindex;
		if (hop->rtnh_len > sizeof *hop &&
			hop->rtnh_len <= mnl_attr_get_payload_len(multipath))
			(void)mnl_attr_parse_payload(
				hop + 1, hop->rtnh_len - sizeof *hop, collect, &inner);
		event->via = addr_of(inner.at[RTA_GATEWAY], family);
	}
}

static void parse_route(struct netlink *nl, const struct nlmsghdr *msg)
{
	const struct rtmsg *fixed = mnl_nlmsg_get_payload(msg);
	struct attrs attrs = attrs_of(msg, sizeof *fixed);
	struct nl_route_event event = {
		.dst.len = fixed->rtm_dst_len,
		.table = u32_of(attrs.at[RTA_TABLE], fixed->rtm_table),
		.metric = u32_of(attrs.at[RTA_PRIORITY], 0),
		.added = msg->nlmsg_type == RTM_NEWROUTE,
		.blackhole = fixed->rtm_type == RTN_BLACKHOLE ||
			     fixed->rtm_type == RTN_UNREACHABLE || fixed->rtm_type == RTN_PROHIBIT,
	};

	if (nl->events.route == NULL || (fixed->rtm_flags & RTM_F_CLONED) != 0 ||
		(fixed->rtm_type != RTN_UNICAST && !event.blackhole) ||
		(fixed->rtm_family != AF_INET && fixed->rtm_family != AF_INET6) ||
		fixed->rtm_dst_len > bits_of(fixed->rtm_family))
		return;
	event.dst.addr = addr_of(attrs.at[RTA_DST], fixed->rtm_family);
	event.dst.addr.family = fixed->rtm_family; /* a default route has no RTA_DST */
	parse_next_hop(&attrs, fixed->rtm_family, &event);
	nl->events.route(nl->arg, &event);
}

static void parse_neigh(struct netlink *nl, const struct nlmsghdr *msg)
{
	const struct ndmsg *fixed = mnl_nlmsg_get_payload(msg);
	struct attrs attrs = attrs_of(msg, sizeof *fixed);
	struct nl_neigh_event event = {
		.ifindex = fixed->ndm_ifindex,
		.addr = addr_of(attrs.at[NDA_DST], fixed->ndm_family),
		.state = fixed->ndm_state,
		.added = msg->nlmsg_type == RTM_NEWNEIGH,
	};
	const struct nlattr *mac = attrs.at[NDA_LLADDR];

	if (nl->events.neigh == NULL || (fixed->ndm_flags & NTF_PROXY) != 0 ||
		!ip_addr_is_set(&event.addr))
		return;
	if (mac != NULL && mnl_attr_get_payload_len(mac) == sizeof event.mac)
		memcpy(event.mac, mnl_attr_get_payload(mac), sizeof event.mac);
	nl->events.neigh(nl->arg, &event);
}

static int on_message(const struct nlmsghdr *msg, void *arg)
{
	static const struct {
		uint16_t added, deleted;
		size_t fixed_bytes;
		void (*parse)(struct netlink *nl, const struct nlmsghdr *msg);
	} kinds[] = {
		{RTM_NEWADDR, RTM_DELADDR, sizeof(struct ifaddrmsg), parse_addr},
		{RTM_NEWLINK, RTM_DELLINK, sizeof(struct ifinfomsg), parse_link},
		{RTM_NEWROUTE, RTM_DELROUTE, sizeof(struct rtmsg), parse_route},
		{RTM_NEWNEIGH, RTM_DELNEIGH, sizeof(struct ndmsg), parse_neigh},
	};

	for (size_t i = 0; i < MNL_ARRAY_SIZE(kinds); i++)
		if ((msg->nlmsg_type == kinds[i].added || msg->nlmsg_type == kinds[i].deleted) &&
			mnl_nlmsg_get_payload_len(msg) >= kinds[i].fixed_bytes)
			kinds[i].parse(arg, msg);
	return MNL_CB_OK;
}

/* ---- requests ---- */

static struct mnl_socket *socket_new(unsigned groups, int flags)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags);
	int bytes = NL_RECEIVE_BYTES;
	struct timeval timeout = {.tv_sec = NL_REQUEST_TIMEOUT_S};
	int err;

	if (s == NULL)
		return NULL;
	(void)setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	(void)setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
	if (mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) == 0)
		return s;
	err = errno;
	mnl_socket_close(s);
	errno = err;
	return NULL;
}

/* errno as libmnl left it, which is what a message says. */
static int told_error(void)
{
	const int error = errno;

	return error > 0 && error <= NL_ERRNO_MAX ? -error : -EPROTO;
}

/* Sends msg and reads answers until the end of the dump or the acknowledgement. 0 or -errno. */
static int talk(struct mnl_socket *s, uint32_t seq, struct nlmsghdr *msg, uint8_t *buffer,
	size_t size, mnl_cb_t fn, void *arg)
{
	int more = MNL_CB_OK;

	msg->nlmsg_seq = seq;
	if (mnl_socket_sendto(s, msg, msg->nlmsg_len) < 0)
		return -errno;
	while (more > MNL_CB_STOP) {
		ssize_t got = mnl_socket_recvfrom(s, buffer, size);

		if (got < 0)
			return -errno;
		more = mnl_cb_run(buffer, (size_t)got, seq, mnl_socket_get_portid(s), fn, arg);
		/* an answer to an earlier request that timed out: wait on for ours */
		if (more < 0 && errno == EPROTO)
			more = MNL_CB_OK;
	}
	return more < 0 ? told_error() : 0;
}

int netlink_request(struct netlink *nl, struct nlmsghdr *msg)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[NL_ANSWER_BYTES];

	return talk(nl->request_socket, ++nl->seq, msg, buffer, sizeof buffer, NULL, NULL);
}

static int dump(struct netlink *nl, struct mnl_socket *s, uint16_t type, uint8_t family)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[256];
	struct nlmsghdr *msg = mnl_nlmsg_put_header(buffer);
	/* the largest of the fixed parts; its first byte is the family in each of them */
	uint8_t *fixed = mnl_nlmsg_put_extra_header(msg, sizeof(struct ifinfomsg));

	fixed[0] = family;
	msg->nlmsg_type = type;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	return talk(s, ++nl->seq, msg, nl->dump_buffer, sizeof nl->dump_buffer, on_message, nl);
}

static int dump_all(struct netlink *nl)
{
	struct mnl_socket *s = socket_new(0, 0);
	int err = s == NULL ? -errno : 0;

	nl->dumping = true;
	if (err == 0 && nl->events.link != NULL)
		err = dump(nl, s, RTM_GETLINK, AF_UNSPEC);
	if (err == 0 && nl->events.addr != NULL)
		err = dump(nl, s, RTM_GETADDR, AF_UNSPEC);
	if (err == 0 && nl->events.route != NULL)
		err = dump(nl, s, RTM_GETROUTE, AF_UNSPEC);
	if (err == 0 && nl->events.neigh != NULL)
		err = dump(nl, s, RTM_GETNEIGH, AF_UNSPEC);
	nl->dumping = false;
	if (s != NULL)
		mnl_socket_close(s);
	if (err == 0 && nl->events.resynced != NULL)
		nl->events.resynced(nl->arg);
	return err;
}

static void resync(void *arg)
{
	struct netlink *nl = arg;
	int err;

	if (nl->events.resync != NULL)
		nl->events.resync(nl->arg);
	err = dump_all(nl);
	/* The dump was disturbed (-EINTR, -ENOBUFS): without it the state may be wrong for ever. */
	if (err != 0) {
		log_warn(NL_MODULE, "dump failed, once more error=%s", strerror(-err));
		loop_timer_arm_in(nl->stale_routes, NL_STALE_ROUTES_NS);
	}
}

/* What is still queued is older than the loss: applied after the new dump it would undo it. */
static void start_over(struct netlink *nl)
{
	ssize_t got;

	log_warn(NL_MODULE, "events lost, reading all again");
	do
		got = mnl_socket_recvfrom(nl->event_socket, nl->buffer, sizeof nl->buffer);
	while (got > 0 || errno != EAGAIN);
	resync(nl);
}

static void on_events(void *arg, int fd, uint32_t epoll_events)
{
	struct netlink *nl = arg;

	(void)fd;
	(void)epoll_events;
	for (int i = 0; i < NL_EVENTS_A_WAKE; i++) {
		ssize_t got = mnl_socket_recvfrom(nl->event_socket, nl->buffer, sizeof nl->buffer);

		if (got > 0) {
			(void)mnl_cb_run(nl->buffer, (size_t)got, 0, 0, on_message, nl);
			continue;
		}
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno != EAGAIN) /* ENOBUFS: events were lost */
			start_over(nl);
		return;
	}
}

/* ---- open and close ---- */

static unsigned groups_of(const struct nl_events *events)
{
	return (events->addr != NULL ? RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR : 0u) |
	       /* routes vanish with their links and addresses */
	       (events->link != NULL || events->route != NULL ? RTMGRP_LINK : 0u) |
	       (events->route != NULL ? RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_IFADDR
				      : 0u) |
	       (events->neigh != NULL ? RTMGRP_NEIGH : 0u);
}

int netlink_open(struct loop *loop, const struct nl_events *events, void *arg, struct netlink **out)
{
	struct netlink *nl = calloc(1, sizeof *nl);
	int err = -ENOMEM;

	if (nl == NULL)
		return err;
	*nl = (struct netlink){.loop = loop, .events = *events, .arg = arg};
	nl->stale_routes = loop_timer_new(loop, resync, nl);
	if (nl->stale_routes == NULL)
		goto fail;
	nl->request_socket = socket_new(0, 0);
	if (nl->request_socket != NULL)
		nl->event_socket = socket_new(groups_of(events), SOCK_NONBLOCK);
	if (nl->event_socket == NULL) {
		err = -errno;
		goto fail;
	}
	err = -EINTR;
	for (int i = 0; i < NL_OPEN_TRIES && err == -EINTR; i++)
		err = dump_all(nl);
	if (err == 0)
		err = loop_fd_add(
			loop, mnl_socket_get_fd(nl->event_socket), EPOLLIN, on_events, nl);
	if (err != 0)
		goto fail;
	*out = nl;
	return 0;
fail:
	netlink_close(nl);
	return err;
}

void netlink_close(struct netlink *nl)
{
	if (nl == NULL)
		return;
	loop_timer_free(nl->stale_routes);
	if (nl->event_socket != NULL) {
		loop_fd_del(nl->loop, mnl_socket_get_fd(nl->event_socket));
		mnl_socket_close(nl->event_socket);
	}
	if (nl->request_socket != NULL)
		mnl_socket_close(nl->request_socket);
	free(nl);
}
