/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a raw ICMP socket that the kernel's filter narrows to type 9. Every host is a
 * member of 224.0.0.1 on every link, so nothing has to be joined. Unicast is not taken: the node
 * sends no solicitations, and a far sender could otherwise feign an agent.
 */
#include "control/mn/advert.h"

#include "lib/ipv4.h"
#include "lib/rawsock.h"

#include <errno.h>
#include <linux/icmp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ICMP_ROUTER_ADVERTISEMENT 9
#define ADVERT_MAX 1500
#define ALL_SYSTEMS UINT32_C(0xe0000001) /* 224.0.0.1 */

static void on_readable(void *arg, int fd, uint32_t epoll_events)
{
	struct advert *a = arg;
	uint8_t data[ADVERT_MAX];
	struct rawsock_meta meta;
	struct mip4_advert advert;
	struct ipv4_view ip;
	ssize_t len = rawsock_recv(fd, data, sizeof data, &meta);
	be32_t to;

	(void)epoll_events;
	if (len <= 0 || !ipv4_parse(data, (size_t)len, &ip) || ip.is_fragment)
		return;
	to = ip_addr_to_v4(&ip.dst);
	if (to != htonl(ALL_SYSTEMS) && to != htonl(INADDR_BROADCAST))
		return;
	if (mip4_advert_decode(data + ip.hdr_bytes, (size_t)ip.total_len - ip.hdr_bytes, &advert))
		a->fn(a->arg, meta.ifindex, &ip.src, &advert);
}

int advert_open(struct advert *a, struct loop *loop, advert_fn *fn, void *arg)
{
	struct icmp_filter filter = {.data = ~(1u << ICMP_ROUTER_ADVERTISEMENT)};
	int err = 0;

	*a = (struct advert){.loop = loop, .fn = fn, .arg = arg, .fd = -1};
	a->fd = rawsock_open(IPPROTO_ICMP, 0);
	if (a->fd < 0)
		return a->fd;
	if (setsockopt(a->fd, SOL_RAW, ICMP_FILTER, &filter, sizeof filter) != 0)
		err = -errno;
	if (err == 0)
		err = loop_fd_add(loop, a->fd, EPOLLIN, on_readable, a);
	if (err != 0)
		advert_close(a);
	return err;
}

void advert_close(struct advert *a)
{
	if (a->fd < 0)
		return;
	loop_fd_del(a->loop, a->fd);
	close(a->fd);
	a->fd = -1;
}
