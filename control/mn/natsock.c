/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a payload is received behind room for IP and UDP header, which are then written
 * there, so that whoever takes ESP apart need not know by which socket it came. The kernel has
 * reassembled it and verified its checksum.
 */
#include "control/mn/natsock.h"

#include "dataplane/esp/path.h"
#include "lib/ipv4.h"
#include "lib/rawsock.h"
#include "lib/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRONT (IPV4_HDR_BYTES + UDP_HDR_BYTES)

bool nat_is_wanted(enum nat_traversal mode, const struct ip_addr *coa)
{
	static const char *const texts[] = {
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"};
	struct ip_prefix prefix;

	if (mode != NAT_AUTO)
		return mode == NAT_ALWAYS;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (ip_prefix_parse(texts[i], &prefix) && ip_prefix_contains(&prefix, coa))
			return true;
	return false;
}

int natsock_open(uint32_t mark)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PATH_NAT_PORT)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0 ||
		setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on) != 0 ||
		bind(fd, (const struct sockaddr *)&any, sizeof any) != 0)
		err = -errno;
	else
		err = rawsock_set_mark(fd, mark);
	if (err != 0) {
		close(fd);
		return err;
	}
	rawsock_raise_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	return fd;
}

struct told { /* by the kernel, of a datagram */
	struct ip_addr dst;
	uint8_t tos;
};

static struct told told_of(struct msghdr *msg)
{
	struct told told = {0};

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		struct in_pktinfo info;

		if (c->cmsg_level != IPPROTO_IP)
			continue;
		if (c->cmsg_type == IP_TOS) {
			told.tos = *CMSG_DATA(c);
		} else if (c->cmsg_type == IP_PKTINFO) {
			memcpy(&info, CMSG_DATA(c), sizeof info);
			told.dst = ip_addr_from_v4(info.ipi_addr.s_addr);
		}
	}
	return told;
}

/* In front of payload_len bytes at data + FRONT. Returns the length of the whole. */
static size_t put_headers(
	uint8_t *data, size_t payload_len, const struct sockaddr_in *from, const struct told *told)
{
	const struct ip_addr src = ip_addr_from_v4(from->sin_addr.s_addr);
	uint8_t *udp = data + IPV4_HDR_BYTES;

	ipv4_build(data, &src, &told->dst, IPPROTO_UDP, IPV4_TTL_DEFAULT, told->tos, 0, 0,
		(uint16_t)(FRONT + payload_len));
	wire_store_u16(udp, ntohs(from->sin_port));
	wire_store_u16(udp + 2, PATH_NAT_PORT);
	wire_store_u16(udp + 4, (uint16_t)(UDP_HDR_BYTES + payload_len));
	wire_store_u16(udp + 6, 0);
	return FRONT + payload_len;
}

unsigned natsock_recv_burst(int fd, void *const data[], size_t size, size_t len[], unsigned n)
{
	_Alignas(struct cmsghdr) char
		control[RAWSOCK_BURST_MAX]
		       [CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int))];
	struct sockaddr_in from[RAWSOCK_BURST_MAX];
	struct iovec iov[RAWSOCK_BURST_MAX];
	struct mmsghdr msgs[RAWSOCK_BURST_MAX];
	int got;

	n = n > RAWSOCK_BURST_MAX ? RAWSOCK_BURST_MAX : n;
	for (unsigned i = 0; i < n; i++) {
		iov[i] = (struct iovec){
			.iov_base = (uint8_t *)data[i] + FRONT, .iov_len = size - FRONT};
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			.msg_namelen = sizeof from[i],
			.msg_iov = &iov[i],
			.msg_iovlen = 1,
			.msg_control = control[i],
			.msg_controllen = sizeof control[i]};
	}
	got = recvmmsg(fd, msgs, n, 0, NULL);
	for (int i = 0; i < got; i++) {
		const struct told told = told_of(&msgs[i].msg_hdr);

		len[i] = (msgs[i].msg_hdr.msg_flags & MSG_TRUNC) != 0
				 ? 0
				 : put_headers(data[i], msgs[i].msg_len, &from[i], &told);
	}
	return got < 0 ? 0 : (unsigned)got;
}
