/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the RRP is what a home agent may make a gateway send to a node. Each gate below
 * closes a way to send something else.
 */
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "siu/siu.h"

bool siu_rrp_acceptable(const struct siu_update *update, const struct ip_addr *home_agent)
{
	const struct ip_addr *to = &update->new_coa;
	struct ipv4_view ip;
	struct udp_view udp;
	struct mip4_rrp rrp;
	struct mip4_auth auth;

	/* A closed path has no new CoA: its last reply goes where the path led. */
	if ((update->flags & SIU_DEREGISTER) != 0 && !ip_addr_is_set(to))
		to = &update->former_coa;
	if (update->rrp == NULL || update->rrp_len > SIU_RRP_MAX || !ip_addr_is_set(to))
		return false;
	/* Whole datagram, good header and UDP checksum, no fragment. */
	if (!ipv4_udp_parse(update->rrp, update->rrp_len, &ip, &udp) ||
		ip.total_len != update->rrp_len)
		return false;
	if (!ip_addr_equal(&ip.src, home_agent) || !ip_addr_equal(&ip.dst, to))
		return false;
	if (udp.src_port != MIP4_PORT || udp.dst_port == 0)
		return false;
	return mip4_rrp_decode(udp.payload, udp.payload_len, &rrp, &auth) == MIP4_OK &&
	       ip_addr_equal(&rrp.hoa, &update->home_address);
}
