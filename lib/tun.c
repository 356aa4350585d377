/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: /dev/net/tun with TUNSETIFF makes the interface, exclusively, so that it cannot
 * be an old persistent one with settings of its own. The descriptor is the interface: closing it,
 * or the end of the process by any means, removes the interface with its addresses and routes.
 */
#include "lib/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int tun_open(const char *name, bool tap, int *ifindex)
{
	struct ifreq request = {.ifr_flags = (short)((tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI)};
	int fd, err;

	if (strlen(name) >= sizeof request.ifr_name)
		return -ENAMETOOLONG;
	strcpy(request.ifr_name, name);
	request.ifr_flags |= (short)IFF_TUN_EXCL;
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, TUNSETIFF, &request) != 0)
		goto fail;
	*ifindex = (int)if_nametoindex(name);
	if (*ifindex != 0)
		return fd;
fail:
	err = errno;
	close(fd);
	return -err;
}

int tun_set_mac(const char *name, const uint8_t mac[6])
{
	struct ifreq request = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};
	int fd, err = 0;

	if (strlen(name) >= sizeof request.ifr_name)
		return -ENAMETOOLONG;
	strcpy(request.ifr_name, name);
	memcpy(request.ifr_hwaddr.sa_data, mac, 6);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCSIFHWADDR, &request) != 0)
		err = -errno;
	close(fd);
	return err;
}

int sysctl_write(const char *path, const char *value)
{
	char full[256];
	int fd, err = 0;

	if ((size_t)snprintf(full, sizeof full, "/proc/sys/%s", path) >= sizeof full)
		return -ENAMETOOLONG;
	fd = open(full, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		err = -errno;
	close(fd);
	return err;
}
