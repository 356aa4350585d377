/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the table of nodes says who is to be asked (tunnel_to_ask()), at once after each
 * path on credit that it publishes. The challenge is sent to the very endpoint, not by the path, so
 * that it cannot go elsewhere, nor lack the credit that it is to lift.
 */
#include "control/gw/reach.h"

#include "lib/challenge.h"
#include "lib/clock.h"
#include "lib/hmac.h"

#define NO_ROOM_NS (10 * NS_PER_MS) /* until the next try to send */

static const struct path *path_of(const struct tunnel *tunnel)
{
	/* Only this thread replaces it. */
	return atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
}

static bool is_tried(const struct path *path)
{
	return (path->flags & PATH_PROVISIONAL) != 0;
}

bool reach_was_shown(const struct tunnel *tunnel, const struct ip_endpoint *remote)
{
	const struct position *was = &tunnel->position;
	const struct tunnel_reach *reach = tunnel->reach;

	if (!was->closed && was->verified && ip_endpoint_equal(&was->remote, remote))
		return true;
	return reach != NULL && reach->state == REACH_ANSWERED &&
	       ip_endpoint_equal(&reach->end, remote);
}

static void begin(struct tunnel_reach *reach, const struct path *path)
{
	reach->end = path->remote;
	random_fill(reach->nonce, sizeof reach->nonce);
	reach->sent = 0;
	reach->state = REACH_ASKED;
}

static int send_challenge(struct mover *mover, const struct tunnel *tunnel)
{
	const struct tunnel_reach *reach = tunnel->reach;
	uint8_t datagram[CHALLENGE_BYTES];

	challenge_build(datagram, &mover->conf->siu_listen.addr, &tunnel->home_address,
		reach->nonce, reach->sent);
	return dataplane_send_once(
		mover->dp, tunnel->handle, &reach->end, datagram, sizeof datagram);
}

bool reach_ask(struct mover *mover, struct tunnel *tunnel, uint64_t now_ns)
{
	struct tunnel_reach *reach = tunnel->reach;
	bool silent = false;

	if (reach->state == REACH_VOID)
		begin(reach, path_of(tunnel));
	if (reach->state == REACH_ASKED && reach->sent == REACH_TRIES) {
		reach->state = REACH_UNANSWERED;
		mover->reach.unanswered++;
		silent = true;
	}
	if (reach->state == REACH_UNANSWERED)
		tunnel_top_up(mover->tunnels, tunnel, now_ns);
	if (send_challenge(mover, tunnel) != 0) {
		tunnel_ask_at(mover->tunnels, tunnel, now_ns + NO_ROOM_NS);
		return silent;
	}
	mover->reach.asked++;
	tunnel_ask_at(mover->tunnels, tunnel,
		now_ns + (reach->state == REACH_UNANSWERED ? REACH_AGAIN_NS
							   : REACH_FIRST_NS << reach->sent));
	if (reach->state == REACH_ASKED)
		reach->sent++;
	return silent;
}

static bool is_right(const struct tunnel_reach *reach, const uint8_t *datagram, size_t len)
{
	const uint8_t *nonce = challenge_nonce(datagram, len);

	return nonce != NULL && reach != NULL &&
	       (reach->state == REACH_ASKED || reach->state == REACH_UNANSWERED) &&
	       hmac_equal(nonce, reach->nonce, sizeof reach->nonce);
}

void reach_answer(struct mover *mover, struct tunnel *tunnel, const uint8_t *datagram, size_t len)
{
	if (!is_right(tunnel->reach, datagram, len)) {
		mover->reach.refused++;
		return;
	}
	if (!is_tried(path_of(tunnel))) {
		if (tunnel_verify(mover->tunnels, tunnel) != 0)
			return; /* no room at this moment: it is asked again */
		/* Good to have after a restart, but nobody waits for it. */
		if (state_room(mover->state) != 0)
			tunnel->written = state_write(
				mover->state, &tunnel->home_address, &tunnel->position);
	}
	tunnel->reach->state = REACH_ANSWERED;
	tunnel_ask_at(mover->tunnels, tunnel, TUNNEL_NEVER);
	mover->reach.verified++;
}

const char *reach_state_name(const struct tunnel *tunnel)
{
	if (tunnel->position.closed)
		return NULL;
	if ((tunnel->flags & NODE_RETURN_ROUTABILITY) == 0)
		return "off";
	if (tunnel->position.verified)
		return "verified";
	return tunnel->reach != NULL && tunnel->reach->state == REACH_UNANSWERED ? "unanswered"
										 : "unverified";
}
