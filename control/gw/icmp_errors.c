/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a limit is a point in time up to which a sender's tokens are spent; each message
 * moves it on by one token's time, and it may lie at most a burst ahead of now.
 */
#include "control/gw/icmp_errors.h"

#include "lib/clock.h"
#include "lib/ipv4.h"

#include <linux/icmp.h>
#include <string.h>

#define TOKEN_NS (NS_PER_S / ICMP_ERRORS_RATE)
#define ERROR_BYTES_MAX 576 /* RFC 1812 section 4.3.2.3 */

void icmp_errors_init(struct icmp_errors *errors, struct dataplane *dp, const struct ip_addr *from)
{
	*errors = (struct icmp_errors){.dp = dp, .from = *from};
}

/* Of the source of an IPv4 datagram that has a whole header. */
static uint64_t *limit_of(struct icmp_errors *errors, const uint8_t *datagram)
{
	uint32_t source;

	memcpy(&source, datagram + 12, sizeof source);
	return &errors->spent_until_ns[(source * UINT32_C(2654435761)) >> 24];
}

static bool may_tell(uint64_t *spent_until_ns, uint64_t now_ns)
{
	uint64_t from_ns = *spent_until_ns > now_ns ? *spent_until_ns : now_ns;

	if (from_ns + TOKEN_NS > now_ns + ICMP_ERRORS_BURST * TOKEN_NS)
		return false;
	*spent_until_ns = from_ns + TOKEN_NS;
	return true;
}

void icmp_errors_tell(struct icmp_errors *errors, const struct punt *punt, uint64_t now_ns)
{
	bool too_big = punt->error == PUNT_TOO_BIG;
	uint8_t error[ERROR_BYTES_MAX];
	size_t len = icmp_error_build(error, sizeof error,
		too_big ? ICMP_DEST_UNREACH : ICMP_TIME_EXCEEDED,
		too_big ? ICMP_FRAG_NEEDED : ICMP_EXC_TTL, punt->mtu, &errors->from, punt->data,
		punt->len);
	int rc;

	if (len == 0 || !ip_addr_is_set(&errors->from)) /* nothing of that family inside */
		return;
	if (!may_tell(limit_of(errors, punt->data), now_ns)) {
		errors->kept_back++;
		return;
	}
	rc = punt->node == 0 ? dataplane_send_inside(errors->dp, error, len)
			     : dataplane_send_to_node(errors->dp, punt->node, error, len, false);
	if (rc == 0)
		errors->told++;
}
