/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a limit is a point in time up to which a sender's tokens are spent; each message
 * moves it on by one token's time, and it may lie at most a burst ahead of now.
 */
#include "control/gw/icmp_errors.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/ipv6.h"
#include "lib/ration.h"
#include "lib/wire.h"

#include <linux/icmp.h>
#include <netinet/icmp6.h>

#define TOKEN_NS (NS_PER_S / ICMP_ERRORS_RATE)
#define ERROR_BYTES_MAX IPV6_MTU_MIN /* more than IPv4's 576: RFC 1812 section 4.3.2.3 */

void icmp_errors_init(struct icmp_errors *errors, struct dataplane *dp, const struct ip_addr *from,
	const struct ip_addr *from_v6)
{
	*errors = (struct icmp_errors){.dp = dp, .from = *from, .from_v6 = *from_v6};
}

/* Of the source of a packet that has a whole header. */
static uint64_t *limit_of(struct icmp_errors *errors, const uint8_t *packet)
{
	const bool v6 = packet[0] >> 4 == 6;
	const uint8_t *source = packet + (v6 ? IPV6_SRC_AT : 12);
	uint32_t hash = 0;

	for (unsigned at = 0; at < (v6 ? IPV6_ADDR_BYTES : 4u); at += 4)
		hash = (hash ^ wire_load_u32(source + at)) * UINT32_C(2654435761);
	return &errors->spent_until_ns[hash >> 24];
}

/* Length of the message, 0: there must be none, or we have no address to send it from. */
static size_t build(struct icmp_errors *errors, const struct punt *punt, uint8_t *out, size_t room)
{
	const bool too_big = punt->error == PUNT_TOO_BIG, v6 = punt->data[0] >> 4 == 6;
	const struct ip_addr *from = v6 ? &errors->from_v6 : &errors->from;

	if (!ip_addr_is_set(from))
		return 0;
	if (v6)
		return icmp6_error_build(out, room,
			too_big ? ICMP6_PACKET_TOO_BIG : ICMP6_TIME_EXCEEDED,
			too_big ? 0 : ICMP6_TIME_EXCEED_TRANSIT, punt->mtu, from, punt->data,
			punt->len);
	return icmp_error_build(out, room, too_big ? ICMP_DEST_UNREACH : ICMP_TIME_EXCEEDED,
		too_big ? ICMP_FRAG_NEEDED : ICMP_EXC_TTL, punt->mtu, from, punt->data, punt->len);
}

void icmp_errors_tell(struct icmp_errors *errors, const struct punt *punt, uint64_t now_ns)
{
	uint8_t error[ERROR_BYTES_MAX];
	size_t len = build(errors, punt, error, sizeof error);
	int rc;

	if (len == 0)
		return;
	if (!ration_take(limit_of(errors, punt->data), TOKEN_NS, ICMP_ERRORS_BURST, now_ns)) {
		errors->kept_back++;
		return;
	}
	rc = punt->node == 0 ? dataplane_send_inside(errors->dp, error, len)
			     : dataplane_send_to_node(errors->dp, punt->node, error, len, false);
	if (rc == 0)
		errors->told++;
}
