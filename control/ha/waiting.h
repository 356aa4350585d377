/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_WAITING_H
#define CONTROL_HA_WAITING_H
/*
 * Brings requests and the gateways' RRQ_SEENs together, whichever comes first: RRQ_SEENs are
 * remembered for a while, requests can be held for a while.
 *
 * Values of fixed size, no I/O and no clock. Owner and thread: the agent's, control thread.
 */
#include "control/ha/registration.h"
#include "siu/siu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HA_HELD_MAX 64  /* requests; a power of two, since positions wrap at 2^32 */
#define HA_SEEN_MAX 256 /* RRQ_SEENs, the oldest makes room; a power of two */
#define HA_SEEN_VALID_MS 2000
#define HA_NOT_SEEN (-2) /* in place of a gateway's index */

struct ha_held {
	uint8_t payload[HA_RRQ_MAX];
	size_t len;
	struct ip_endpoint from;
	uint64_t at_ns; /* of its arrival, monotonic */
	struct ip_addr home_address;
	uint64_t identification;
	bool waiting; /* false: taken, its place is free once it is the first */
};

struct ha_seen {
	struct ip_addr home_address;
	uint64_t identification;
	int gateway;
	uint64_t at_ns;
};

struct ha_waiting {                       /* all 0: empty */
	struct ha_held held[HA_HELD_MAX]; /* ring in the order of arrival */
	uint32_t first, end;
	struct ha_seen seen[HA_SEEN_MAX]; /* ring */
	uint32_t seen_end;
};

void ha_waiting_remember(
	struct ha_waiting *waiting, int gateway, const struct siu_rrq_seen *seen, uint64_t now_ns);
/* Gateway that announced this request, or HA_NOT_SEEN. */
int ha_waiting_gateway(
	const struct ha_waiting *waiting, const struct mip4_rrq *rrq, uint64_t now_ns);

/* False: no room; then it must be answered now. */
bool ha_waiting_hold(struct ha_waiting *waiting, const struct ha_registration *reg, size_t len,
	const struct ip_endpoint *from, uint64_t now_ns) __attribute__((warn_unused_result));
/* The oldest one held, NULL: none. */
const struct ha_held *ha_waiting_first(struct ha_waiting *waiting);
/* One that this RRQ_SEEN announces, NULL: none (any more). */
const struct ha_held *ha_waiting_match(struct ha_waiting *waiting, const struct siu_rrq_seen *seen);
/* Not held any more; its content stays until the next ha_waiting_hold(). */
void ha_waiting_release(struct ha_waiting *waiting, const struct ha_held *held);
#endif
