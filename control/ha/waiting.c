/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: two rings. All requests are held equally long, so the one that came first is due
 * first; one that is released out of turn leaves a gap, which is passed over when it becomes the
 * first. A request is known by home address and Identification.
 */
#include "control/ha/waiting.h"

#include "lib/clock.h"

#include <string.h>

void ha_waiting_remember(
	struct ha_waiting *waiting, int gateway, const struct siu_rrq_seen *seen, uint64_t now_ns)
{
	waiting->seen[waiting->seen_end++ % HA_SEEN_MAX] = (struct ha_seen){
		.home_address = seen->home_address,
		.identification = seen->identification,
		.gateway = gateway,
		.at_ns = now_ns};
}

int ha_waiting_gateway(
	const struct ha_waiting *waiting, const struct mip4_rrq *rrq, uint64_t now_ns)
{
	for (uint32_t i = 1; i <= HA_SEEN_MAX; i++) { /* the newest first */
		const struct ha_seen *seen = &waiting->seen[(waiting->seen_end - i) % HA_SEEN_MAX];

		if (seen->identification == rrq->identification &&
			ip_addr_equal(&seen->home_address, &rrq->hoa) &&
			now_ns - seen->at_ns <= HA_SEEN_VALID_MS * NS_PER_MS)
			return seen->gateway;
	}
	return HA_NOT_SEEN;
}

bool ha_waiting_hold(struct ha_waiting *waiting, const struct ha_registration *reg, size_t len,
	const struct ip_endpoint *from, uint64_t now_ns)
{
	struct ha_held *held = &waiting->held[waiting->end % HA_HELD_MAX];

	if (waiting->end - waiting->first == HA_HELD_MAX)
		return false;
	memcpy(held->payload, reg->payload, len);
	held->len = len;
	held->from = *from;
	held->at_ns = now_ns;
	held->home_address = reg->rrq.hoa;
	held->identification = reg->rrq.identification;
	held->waiting = true;
	waiting->end++;
	return true;
}

const struct ha_held *ha_waiting_first(struct ha_waiting *waiting)
{
	return waiting->first != waiting->end ? &waiting->held[waiting->first % HA_HELD_MAX] : NULL;
}

const struct ha_held *ha_waiting_match(struct ha_waiting *waiting, const struct siu_rrq_seen *seen)
{
	for (uint32_t i = waiting->first; i != waiting->end; i++) {
		const struct ha_held *held = &waiting->held[i % HA_HELD_MAX];

		if (held->waiting && held->identification == seen->identification &&
			ip_addr_equal(&held->home_address, &seen->home_address))
			return held;
	}
	return NULL;
}

void ha_waiting_release(struct ha_waiting *waiting, const struct ha_held *held)
{
	waiting->held[held - waiting->held].waiting = false;
	while (waiting->first != waiting->end &&
		!waiting->held[waiting->first % HA_HELD_MAX].waiting)
		waiting->first++;
}
