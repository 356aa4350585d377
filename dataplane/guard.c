/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: who is admitted takes no token.
 */
#include "dataplane/guard.h"

#include "dataplane/ip4.h"
#include "dataplane/now.h"
#include "dataplane/state.h"
#include "lib/ration.h"

#define TOKEN_NS (NS_PER_S / GUARD_RATE)

static bool is_for_endpoint(const struct dp_guard *guard, const uint8_t *ip, uint32_t len)
{
	const uint32_t hdr = ip4_hdr_bytes(ip);

	return guard->admits != NULL && ip4_protocol(ip) == IP4_PROTO_UDP && !ip4_is_fragment(ip) &&
	       ip4_dst(ip) == ip4_of(&guard->local.addr) && len >= hdr + UDP_HDR_BYTES &&
	       wire_load_u16(ip + hdr + 2) == guard->local.port;
}

static uint32_t peer_of(const struct dp_guard *guard, be32_t source)
{
	uint32_t i = 0;

	while (i < guard->n_peers && ip4_of(&guard->peers[i]) != source)
		i++;
	return i;
}

bool guard_take(struct worker *worker, struct burst *b, unsigned i)
{
	const struct dp_guard *guard = &worker->dp->guard;
	const uint8_t *ip = b->pkts[i].data;
	const uint32_t len = b->pkts[i].len;
	uint32_t front, peer;

	if (!is_for_endpoint(guard, ip, len))
		return false;
	front = ip4_hdr_bytes(ip) + (uint32_t)UDP_HDR_BYTES;
	peer = peer_of(guard, ip4_src(ip));
	if ((peer < guard->n_peers && guard->admits(guard->arg, peer, ip + front, len - front)) ||
		ration_take(&worker->guard_spent_ns[peer], TOKEN_NS, GUARD_BURST, b->now_ns))
		burst_punt(b, i, PUNT_GUARDED);
	else
		burst_drop(b, i, VERDICT_SHED);
	return true;
}
