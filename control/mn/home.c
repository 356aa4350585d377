/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the socket is bound to the home address and its interface and connected to the
 * home agent, so that the kernel hands up nothing from others. It exists only while at home.
 */
#include "control/mn/home.h"

#include "lib/mip4.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_MAX 2048

void home_init(struct home *home, struct loop *loop, const struct ip_addr *home_address,
	const struct ip_addr *home_agent, home_reply_fn *reply, void *arg)
{
	*home = (struct home){.loop = loop,
		.home_address = *home_address,
		.home_agent = *home_agent,
		.reply = reply,
		.arg = arg,
		.fd = -1,
		.arp_fd = -1};
}

void home_fini(struct home *home)
{
	home_leave(home);
	if (home->arp_fd >= 0)
		close(home->arp_fd);
	home->arp_fd = -1;
}

static void on_readable(void *arg, int fd, uint32_t epoll_events)
{
	struct home *home = arg;
	uint8_t data[REPLY_MAX];
	ssize_t len = recv(fd, data, sizeof data, 0);

	(void)epoll_events; /* an error of the socket (ICMP) is taken by recv() */
	if (len > 0)
		home->reply(home->arg, data, (size_t)len);
}

static struct sockaddr_in sockaddr_of(const struct ip_addr *addr)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(MIP4_PORT),
		.sin_addr.s_addr = ip_addr_to_v4(addr)};
}

int home_enter(struct home *home, int ifindex, const uint8_t mac[6])
{
	struct sockaddr_in own = sockaddr_of(&home->home_address);
	struct sockaddr_in agent = sockaddr_of(&home->home_agent);
	int err;

	home_leave(home);
	home->ifindex = ifindex;
	memcpy(home->mac, mac, sizeof home->mac);
	home->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (home->fd < 0)
		return -errno;
	if (setsockopt(home->fd, SOL_SOCKET, SO_BINDTOIFINDEX, &ifindex, sizeof ifindex) == 0 &&
		bind(home->fd, (const struct sockaddr *)&own, sizeof own) == 0 &&
		connect(home->fd, (const struct sockaddr *)&agent, sizeof agent) == 0)
		err = loop_fd_add(home->loop, home->fd, EPOLLIN, on_readable, home);
	else
		err = -errno;
	if (err != 0)
		home_leave(home);
	return err;
}

void home_leave(struct home *home)
{
	if (home->fd < 0)
		return;
	loop_fd_del(home->loop, home->fd);
	close(home->fd);
	home->fd = -1;
}

int home_send(struct home *home, const uint8_t *rrq, size_t len)
{
	if (home->fd < 0)
		return -ENOTCONN;
	return send(home->fd, rrq, len, 0) < 0 ? -errno : 0;
}

int home_announce(struct home *home)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_ifindex = home->ifindex,
		.sll_halen = ETH_ALEN,
		.sll_addr = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	struct ether_arp arp = {
		.arp_hrd = htons(ARPHRD_ETHER),
		.arp_pro = htons(ETH_P_IP),
		.arp_hln = ETH_ALEN,
		.arp_pln = 4,
		.arp_op = htons(ARPOP_REQUEST), /* RFC 5944 4.6: sender and target are the same */
	};

	if (home->arp_fd < 0) /* protocol 0: it receives nothing */
		home->arp_fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (home->arp_fd < 0)
		return -errno;
	memcpy(arp.arp_sha, home->mac, sizeof arp.arp_sha);
	memcpy(arp.arp_spa, home->home_address.bytes, sizeof arp.arp_spa);
	memcpy(arp.arp_tpa, home->home_address.bytes, sizeof arp.arp_tpa);
	return sendto(home->arp_fd, &arp, sizeof arp, 0, (const struct sockaddr *)&to, sizeof to) <
			       0
		       ? -errno
		       : 0;
}
