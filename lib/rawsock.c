/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the socket is never bound, so it sees the protocol on all addresses of the host,
 * also on one that was configured a moment ago, and none of it is answered with "protocol
 * unreachable". The kernel has reassembled what arrives. What is sent carries our IP header; the
 * kernel fills in checksum and total length, never a fragment (raw(7)).
 */
#include "lib/rawsock.h"

#include "lib/ipv4.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAWSOCK_BUFFER_BYTES (4 << 20)

/* Bursts of some thousand packets arrive while the loop is busy elsewhere for milliseconds. */
void rawsock_raise_buffer(int fd, int forced, int polite)
{
	int bytes = RAWSOCK_BUFFER_BYTES;

	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof bytes) != 0)
		(void)setsockopt(fd, SOL_SOCKET, polite, &bytes, sizeof bytes);
}

int rawsock_open(uint8_t protocol, uint32_t mark)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	int on = 1, err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0 ||
		setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &on, sizeof on) != 0) {
		err = -errno;
		goto fail;
	}
	err = mark == 0 ? 0 : rawsock_set_mark(fd, mark);
	if (err != 0)
		goto fail;
	rawsock_raise_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	rawsock_raise_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	return fd;
fail:
	close(fd);
	return err;
}

int rawsock_set_mark(int fd, uint32_t mark)
{
	return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 ? 0 : -errno;
}

static int ifindex_of(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		struct in_pktinfo info;

		if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof info);
		return info.ipi_ifindex;
	}
	return 0;
}

static struct ip_addr addr_at(const uint8_t *at)
{
	be32_t addr_be;

	memcpy(&addr_be, at, sizeof addr_be);
	return ip_addr_from_v4(addr_be);
}

ssize_t rawsock_recv(int fd, void *data, size_t size, struct rawsock_meta *meta)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	const uint8_t *hdr = data;
	ssize_t len = recvmsg(fd, &msg, 0);

	if (len < 0)
		return -errno;
	if ((msg.msg_flags & MSG_TRUNC) != 0 || len < IPV4_HDR_BYTES)
		return -EMSGSIZE;
	meta->ifindex = ifindex_of(&msg);
	meta->src = addr_at(hdr + 12);
	meta->dst = addr_at(hdr + 16);
	return len;
}

unsigned rawsock_recv_burst(int fd, void *const data[], size_t size, struct rawsock_meta meta[],
	size_t len[], unsigned n)
{
	_Alignas(struct cmsghdr) char control[RAWSOCK_BURST_MAX]
					     [CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct iovec iov[RAWSOCK_BURST_MAX];
	struct mmsghdr msgs[RAWSOCK_BURST_MAX];
	int got;

	n = n > RAWSOCK_BURST_MAX ? RAWSOCK_BURST_MAX : n;
	for (unsigned i = 0; i < n; i++) {
		iov[i] = (struct iovec){.iov_base = data[i], .iov_len = size};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i],
			.msg_iovlen = 1,
			.msg_control = control[i],
			.msg_controllen = sizeof control[i]};
	}
	got = recvmmsg(fd, msgs, n, 0, NULL);
	for (int i = 0; i < got; i++) {
		const uint8_t *hdr = data[i];

		len[i] = msgs[i].msg_len;
		if ((msgs[i].msg_hdr.msg_flags & MSG_TRUNC) != 0 || len[i] < IPV4_HDR_BYTES) {
			len[i] = 0;
			continue;
		}
		meta[i].ifindex = ifindex_of(&msgs[i].msg_hdr);
		meta[i].src = addr_at(hdr + 12);
		meta[i].dst = addr_at(hdr + 16);
	}
	return got < 0 ? 0 : (unsigned)got;
}

static struct sockaddr_in destination_of(const void *datagram)
{
	struct sockaddr_in to = {.sin_family = AF_INET};

	memcpy(&to.sin_addr, (const uint8_t *)datagram + 16, sizeof to.sin_addr);
	return to;
}

int rawsock_send(int fd, const void *data, size_t len)
{
	struct sockaddr_in to;

	if (len < IPV4_HDR_BYTES)
		return -EINVAL;
	to = destination_of(data);
	return sendto(fd, data, len, 0, (const struct sockaddr *)&to, sizeof to) < 0 ? -errno : 0;
}

unsigned rawsock_send_burst(
	int fd, const void *const data[], const size_t len[], unsigned n, int *err)
{
	struct sockaddr_in to[RAWSOCK_BURST_MAX];
	struct iovec iov[RAWSOCK_BURST_MAX];
	struct mmsghdr msgs[RAWSOCK_BURST_MAX];
	int sent;

	n = n > RAWSOCK_BURST_MAX ? RAWSOCK_BURST_MAX : n;
	for (unsigned i = 0; i < n; i++) {
		to[i] = destination_of(data[i]);
		memcpy(&iov[i].iov_base, &data[i], sizeof data[i]); /* only read by sendmmsg */
		iov[i].iov_len = len[i];
		msgs[i].msg_hdr = (struct msghdr){.msg_name = &to[i],
			.msg_namelen = sizeof to[i],
			.msg_iov = &iov[i],
			.msg_iovlen = 1};
	}
	sent = sendmmsg(fd, msgs, n, 0);
	*err = sent < 0 ? -errno : 0;
	return sent < 0 ? 0 : (unsigned)sent;
}
