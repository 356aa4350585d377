/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Netlink messages of any form, as answers to dumps and as events: nothing outside of a message is
 * read, and what the callbacks get can be used as it is.
 *
 * The input is a list of receptions, two bytes of length before each; one of length 0 is a loss of
 * events. The socket is ours (--wrap=mnl_socket_*), loop and timers are doubles.
 */
#include "lib/clock.h"
#include "lib/netlink.h"
#include "lib/wire.h"
#include "tests/unit/handover/doubles.h"

#include <libmnl/libmnl.h>
#include <sanitizer/asan_interface.h>

#include <errno.h>
#include <stdlib.h>

#define START_NS (1000 * NS_PER_S)
#define FILE_DESCRIPTOR (-1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
struct mnl_socket *__wrap_mnl_socket_open2(int bus, int flags);
int __wrap_mnl_socket_bind(struct mnl_socket *socket, unsigned groups, pid_t pid);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t len);
/* A message is as long as its reception at the most, as the kernel's are: libmnl takes a length of
 * 2^31 and more for a negative number. */
static void shorten(uint8_t *at, size_t len)
{
	struct nlmsghdr *msg = (struct nlmsghdr *)at;

	while (len >= sizeof *msg && msg->nlmsg_len >= sizeof *msg) {
		size_t step;

		if (msg->nlmsg_len > len)
			msg->nlmsg_len = (uint32_t)len;
		step = NLMSG_ALIGN(msg->nlmsg_len);
		if (step > len)
			break;
		len -= step;
		msg = (struct nlmsghdr *)((uint8_t *)msg + step);
	}
}

ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *socket, void *data, size_t room);
int __wrap_mnl_socket_close(struct mnl_socket *socket);
int __wrap_mnl_socket_get_fd(const struct mnl_socket *socket);
unsigned __wrap_mnl_socket_get_portid(const struct mnl_socket *socket);

static struct wire receptions;
static const uint8_t *behind; /* what a reception left of the buffer: not to be read */
static size_t behind_len;
static unsigned n_sockets;

struct mnl_socket *__wrap_mnl_socket_open2(int bus, int flags)
{
	(void)bus;
	(void)flags;
	n_sockets++;
	return (struct mnl_socket *)&receptions; /* opaque */
}

int __wrap_mnl_socket_bind(struct mnl_socket *socket, unsigned groups, pid_t pid)
{
	(void)socket;
	(void)groups;
	(void)pid;
	return 0;
}

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t len)
{
	(void)socket;
	(void)data;
	return (ssize_t)len;
}

static void open_up(void)
{
	if (behind != NULL)
		ASAN_UNPOISON_MEMORY_REGION(behind, behind_len);
	behind = NULL;
}

ssize_t __wrap_mnl_socket_recvfrom(const struct mnl_socket *socket, void *data, size_t room)
{
	size_t len = wire_u16(&receptions);
	const uint8_t *bytes;

	(void)socket;
	open_up();
	if (len > room)
		len = room;
	if (len > wire_left(&receptions))
		len = wire_left(&receptions);
	bytes = wire_take(&receptions, len);
	if (!receptions.ok || len == 0) {
		errno = receptions.ok ? ENOBUFS : EAGAIN;
		return -1;
	}
	memcpy(data, bytes, len);
	shorten(data, len);
	/* libmnl counts the padding behind the last message to it. */
	behind_len = room - NLMSG_ALIGN(len) < room ? room - NLMSG_ALIGN(len) : 0;
	behind = (const uint8_t *)data + room - behind_len;
	ASAN_POISON_MEMORY_REGION(behind, behind_len);
	return (ssize_t)len;
}

int __wrap_mnl_socket_close(struct mnl_socket *socket)
{
	(void)socket;
	n_sockets--;
	return 0;
}

int __wrap_mnl_socket_get_fd(const struct mnl_socket *socket)
{
	(void)socket;
	return FILE_DESCRIPTOR;
}

unsigned __wrap_mnl_socket_get_portid(const struct mnl_socket *socket)
{
	(void)socket;
	return 0;
}

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static void check_addr(const struct ip_addr *addr, bool may_be_unset)
{
	demand(addr->family == AF_INET || addr->family == AF_INET6 ||
		(may_be_unset && addr->family == 0));
}

static unsigned bits_of(const struct ip_addr *addr)
{
	return addr->family == AF_INET6 ? 128 : 32;
}

static void on_addr(void *arg, const struct nl_addr_event *event)
{
	(void)arg;
	check_addr(&event->addr, false);
	demand(event->prefix_len <= bits_of(&event->addr));
}

static void on_link(void *arg, const struct nl_link_event *event)
{
	(void)arg;
	demand(memchr(event->name, '\0', sizeof event->name) != NULL);
}

static void on_route(void *arg, const struct nl_route_event *event)
{
	struct ip_addr inside = event->dst.addr;

	(void)arg;
	check_addr(&event->dst.addr, false);
	check_addr(&event->via, true);
	demand(event->dst.len <= bits_of(&event->dst.addr));
	demand(ip_prefix_contains(&event->dst, &inside));
}

static void on_neigh(void *arg, const struct nl_neigh_event *event)
{
	(void)arg;
	check_addr(&event->addr, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct nl_events events = {
		.addr = on_addr, .link = on_link, .route = on_route, .neigh = on_neigh};
	struct netlink *nl;

	receptions = wire_over(data, size);
	clock_set_test(START_NS, START_NS);
	if (netlink_open(loop_new(), &events, NULL, &nl) == 0) {
		while (receptions.ok && wire_left(&receptions) > 0) {
			loop_double_readable();
			loop_double_timers(START_NS + NS_PER_S);
		}
		netlink_close(nl);
	}
	open_up();
	demand(n_sockets == 0);
	return 0;
}
