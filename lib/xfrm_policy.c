/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one policy for each direction, with a template of any ESP in transport mode. A
 * socket's own policy goes before those of the system.
 */
#include "lib/xfrm_policy.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/xfrm.h>

struct policy {
	struct xfrm_userpolicy_info info;
	struct xfrm_user_tmpl template;
};

static int require(int fd, uint8_t direction)
{
	struct policy policy;

	memset(&policy, 0, sizeof policy);
	policy.info.sel.family = AF_INET;
	policy.info.dir = direction;
	policy.info.action = XFRM_POLICY_ALLOW;
	policy.info.lft.soft_byte_limit = policy.info.lft.hard_byte_limit = XFRM_INF;
	policy.info.lft.soft_packet_limit = policy.info.lft.hard_packet_limit = XFRM_INF;
	policy.template.family = AF_INET;
	policy.template.id.proto = IPPROTO_ESP;
	policy.template.mode = XFRM_MODE_TRANSPORT;
	policy.template.aalgos = policy.template.ealgos = policy.template.calgos = UINT32_MAX;
	return setsockopt(fd, IPPROTO_IP, IP_XFRM_POLICY, &policy, sizeof policy) == 0 ? 0 : -errno;
}

/* Policies are compiled by what Linux may have as a module, and loads when its netlink is asked
 * for.
 */
static void load_module(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);

	if (fd >= 0)
		close(fd);
}

int xfrm_policy_require_esp(int fd)
{
	int err;

	load_module();
	err = require(fd, XFRM_POLICY_IN);
	return err != 0 ? err : require(fd, XFRM_POLICY_OUT);
}
