/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: gates in a fixed order, each with its result code; then everything that can fail;
 * then one pointer store; then the reply, queued behind the store by the same thread, so that a
 * worker that takes it out has the new path; then book-keeping. An update is acknowledged later, by
 * the caller, once no worker can still be using the old path and the record is on disk.
 */
#include "control/gw/move.h"

#include "control/gw/nat.h"
#include "control/gw/reach.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mip4.h"
#include "lib/ration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- registrations that passed ------------------------------------------------------------------
 */

const struct tunnel_rrq *move_find_rrq(const struct tunnel *tunnel, uint64_t identification)
{
	for (unsigned i = 0; tunnel->rrqs != NULL && i < TUNNEL_RRQS_KEPT; i++) {
		const struct tunnel_rrq *rrq = &tunnel->rrqs->list[i];

		if (rrq->first_rx_ns != 0 && rrq->identification == identification)
			return rrq;
	}
	return NULL;
}

void move_note_rrq(struct tunnel *tunnel, const struct tunnel_rrq *rrq)
{
	struct tunnel_rrqs *kept = tunnel->rrqs;

	if (kept == NULL)
		kept = tunnel->rrqs = calloc(1, sizeof *kept);
	if (kept == NULL)
		return; /* as if it had not passed here: only a REPLY_ONLY would miss it */
	for (unsigned i = 0; i < TUNNEL_RRQS_KEPT; i++) {
		struct tunnel_rrq *known = &kept->list[i];

		if (known->first_rx_ns == 0 || known->identification != rrq->identification)
			continue;
		/* A copy of the same request: the newest endpoint, but the first time. */
		known->coa = rrq->coa;
		known->observed = rrq->observed;
		return;
	}
	kept->list[kept->next] = *rrq;
	kept->next = (kept->next + 1) % TUNNEL_RRQS_KEPT;
}

/* --- gates --------------------------------------------------------------------------------------
 */

/* A handle from before a restart or a deletion may mean another node by now: the address decides.
 */
static struct tunnel *tunnel_if_same(
	const struct mover *mover, uint32_t handle, const struct ip_addr *home_address)
{
	struct tunnel *tunnel = handle == 0 ? NULL : tunnel_by_handle(mover->tunnels, handle);

	return tunnel != NULL && ip_addr_equal(&tunnel->home_address, home_address) ? tunnel : NULL;
}

static struct tunnel *find_tunnel(const struct mover *mover, const struct siu_update *update)
{
	struct tunnel *tunnel = tunnel_if_same(mover, update->node, &update->home_address);

	return tunnel != NULL ? tunnel
			      : tunnel_by_home_address(mover->tunnels, &update->home_address);
}

struct tunnel *move_tunnel(const struct mover *mover, const struct move *move)
{
	return tunnel_if_same(mover, move->node, &move->home_address);
}

static bool is_authorised(const struct mover *mover, uint32_t ha, const struct tunnel *tunnel)
{
	return tunnel->home_agent == ha &&
	       gw_prefixes_contain(&mover->conf->home_agents[ha].prefixes, &tunnel->home_address);
}

static bool move_rate_allows(const struct mover *mover, struct tunnel *tunnel, uint64_t now_ns)
{
	return ration_take(&tunnel->move_tokens_at_ns, NS_PER_S / mover->conf->move_rate,
		mover->conf->move_burst, now_ns);
}

static const struct ip_addr *rrp_source(const struct mover *mover, uint32_t ha)
{
	return &mover->conf->home_agents[ha].tunnel_source;
}

/* Everything but order: may this update move this node there? */
static enum siu_result check_target(const struct mover *mover, uint32_t ha,
	const struct tunnel *tunnel, const struct siu_update *update)
{
	enum siu_result result = SIU_RESULT_OK;
	struct ip_endpoint remote;

	if (update->generation == 0)
		return SIU_RESULT_MALFORMED; /* says "none" */
	if ((update->flags & SIU_DEREGISTER) == 0) {
		if (update->lifetime_s == 0)
			return SIU_RESULT_MALFORMED;
		remote = nat_tunnel_end(tunnel, update);
		result = nat_check_end(mover->conf, &remote, &update->new_coa);
	}
	if (result == SIU_RESULT_OK && update->rrp != NULL &&
		!siu_rrp_acceptable(update, rrp_source(mover, ha)))
		result = SIU_RESULT_BAD_RRP;
	return result;
}

/* --- acts ---------------------------------------------------------------------------------------
 */

static void send_reply(
	struct mover *mover, const struct tunnel *tunnel, const struct siu_update *update)
{
	if (update->rrp != NULL && dataplane_send_to_node(mover->dp, tunnel->handle, update->rrp,
					   update->rrp_len, true) != 0)
		mover->replies_lost++;
}

static enum siu_result reply_only(struct mover *mover, uint32_t ha, const struct tunnel *tunnel,
	const struct siu_update *update)
{
	const struct tunnel_rrq *rrq = move_find_rrq(tunnel, update->identification);

	if (update->rrp == NULL || !siu_rrp_acceptable(update, rrp_source(mover, ha)))
		return SIU_RESULT_BAD_RRP;
	if (rrq == NULL ||
		(ip_addr_is_set(&update->new_coa) && !ip_addr_equal(&update->new_coa, &rrq->coa)))
		return SIU_RESULT_COA_NOT_OBSERVED;
	/* A node can put any source on its packet: the reply must not go where no tunnel may. */
	if (gw_conf_coa_check(mover->conf, &rrq->observed.addr) != SIU_RESULT_OK)
		return SIU_RESULT_BAD_COA;
	if (dataplane_send_once(
		    mover->dp, tunnel->handle, &rrq->observed, update->rrp, update->rrp_len) != 0)
		return SIU_RESULT_NO_RESOURCES;
	return SIU_RESULT_OK;
}

static enum siu_result result_of(int rc)
{
	return rc == 0         ? SIU_RESULT_OK
	       : rc == -EINVAL ? SIU_RESULT_BAD_COA
			       : SIU_RESULT_NO_RESOURCES;
}

static uint64_t end_of_lifetime(uint16_t lifetime_s)
{
	return lifetime_s == MIP4_LIFETIME_INFINITE ? POSITION_NEVER_ENDS
						    : clock_real_ns() + lifetime_s * NS_PER_S;
}

static struct position position_after(const struct mover *mover, const struct tunnel *tunnel,
	const struct siu_update *update, uint64_t now_ns)
{
	const struct position *was = &tunnel->position;
	struct position fresh = {
		.generation = update->generation,
		.coa = update->new_coa,
		.remote = nat_tunnel_end(tunnel, update),
		.ends_real_ns = end_of_lifetime(update->lifetime_s),
	};

	fresh.verified = reach_was_shown(tunnel, &fresh.remote);
	if (!was->closed && ip_addr_equal(&was->coa, &fresh.coa)) {
		fresh.former_coa = was->former_coa; /* a refresh does not prolong the grace time */
		fresh.former_remote = was->former_remote;
		fresh.grace_until_ns = was->grace_until_ns;
		return fresh;
	}
	/* Copies stand under no credit. */
	if ((tunnel->flags & NODE_BICAST) != 0 && !was->closed &&
		!tunnel_is_open(tunnel->flags, was) &&
		!ip_endpoint_equal(&was->remote, &fresh.remote))
		fresh.former_remote = was->remote;
	/* What is in flight was tunnelled to what was in force here; without that, to what the home
	 * agent thinks. */
	fresh.former_coa = was->closed ? update->former_coa : was->coa;
	fresh.grace_until_ns = now_ns + mover->conf->grace_ms * NS_PER_MS;
	if (ip_addr_equal(&fresh.former_coa, &fresh.coa))
		fresh.former_coa = (struct ip_addr){0};
	return fresh;
}

static uint64_t note_handover(struct mover *mover, const struct tunnel *tunnel,
	const struct position *was, const struct siu_update *update, uint64_t siu_in_ns,
	uint64_t stored_ns)
{
	const struct tunnel_rrq *rrq = move_find_rrq(tunnel, update->identification);
	struct handover handover = {
		.real_ns = clock_real_ns(),
		.node = tunnel->handle,
		.home_address = tunnel->home_address,
		.to = update->new_coa,
		.generation = update->generation,
		.rrq_in_ns = rrq == NULL ? 0 : rrq->first_rx_ns,
		.siu_in_ns = siu_in_ns,
		.stored_ns = stored_ns,
	};

	if (!was->closed)
		handover.from = was->coa;
	return handovers_add(mover->handovers, &handover);
}

static void open_or_move(struct mover *mover, struct tunnel *tunnel,
	const struct siu_update *update, uint64_t siu_in_ns, struct move *out)
{
	const struct position was = tunnel->position;
	const struct ip_addr ours = was.closed ? (struct ip_addr){0} : was.coa;
	const bool stays = ip_addr_equal(&ours, &update->new_coa);
	const struct position fresh = position_after(mover, tunnel, update, siu_in_ns);
	uint64_t stored_ns;

	out->result = result_of(tunnel_move(mover->tunnels, tunnel, &fresh));
	if (out->result != SIU_RESULT_OK)
		return; /* generation stays, so a retry is accepted */
	stored_ns = clock_mono_ns();
	send_reply(mover, tunnel, update);
	out->after_grace = true;
	out->durable = tunnel->written = state_write(
		mover->state, &tunnel->home_address, &tunnel->position);
	if (stays)
		return;
	out->handover = tunnel->handover = note_handover(
		mover, tunnel, &was, update, siu_in_ns, stored_ns);
	if (!ip_addr_equal(&ours, &update->former_coa))
		out->result = SIU_RESULT_OK_STATE_DIFFERED;
}

int move_shut(struct mover *mover, struct tunnel *tunnel, const char *reason)
{
	struct position closed = tunnel->position;
	int rc;

	if (state_room(mover->state) == 0)
		return -EAGAIN;
	closed.closed = true;
	closed.former_coa = (struct ip_addr){0};
	closed.former_remote = (struct ip_endpoint){0};
	rc = tunnel_move(mover->tunnels, tunnel, &closed);
	if (rc != 0)
		return rc;
	tunnel->written = state_write(mover->state, &tunnel->home_address, &tunnel->position);
	log_remote("move", "path closed node=%s reason=%s", tunnel->name, reason);
	return 0;
}

static int close_at(struct mover *mover, struct tunnel *tunnel, uint64_t generation)
{
	const uint64_t before = tunnel->position.generation;
	int rc;

	tunnel->position.generation = generation;
	rc = move_shut(mover, tunnel, "deregistered");
	if (rc != 0)
		tunnel->position.generation = before;
	return rc;
}

static const struct path *path_of(const struct tunnel *tunnel)
{
	/* Only this thread replaces it. */
	return atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
}

static void deregister(struct mover *mover, struct tunnel *tunnel, const struct siu_update *update,
	uint64_t now_ns, struct move *out)
{
	if (update->rrp != NULL && !tunnel->position.closed) {
		/* The reply goes to the path that is about to end: close behind it, not before. */
		out->closing = true;
		out->close_generation = update->generation;
		out->close_at_ns = now_ns + MOVE_CLOSE_WAIT_NS;
		out->reply_before_ns = atomic_load_explicit(
			&path_of(tunnel)->rrp_tx_ns, memory_order_relaxed);
		send_reply(mover, tunnel, update);
		return;
	}
	out->result = result_of(close_at(mover, tunnel, update->generation));
	out->after_grace = out->result == SIU_RESULT_OK;
	out->durable = tunnel->written;
	if (out->result == SIU_RESULT_OK && update->rrp != NULL)
		(void)reply_only(mover, tunnel->home_agent, tunnel, update);
}

bool move_close(struct mover *mover, struct move *move, uint64_t now_ns)
{
	struct tunnel *tunnel = move_tunnel(mover, move);
	uint64_t stamp;

	if (tunnel == NULL || tunnel->position.generation >= move->close_generation) {
		move->closing = false; /* gone, or moved on by a newer update */
		return true;
	}
	stamp = atomic_load_explicit(&path_of(tunnel)->rrp_tx_ns, memory_order_relaxed);
	if (stamp == move->reply_before_ns && now_ns < move->close_at_ns)
		return false;
	if (close_at(mover, tunnel, move->close_generation) != 0)
		return false; /* no room at this moment; the next turn tries again */
	move->closing = false;
	move->after_grace = true;
	move->durable = tunnel->written;
	return true;
}

/* Is everything that update says in force already? A path that was closed here (its lifetime was
 * over by our clock, or a SYNC missed it) is not what the home agent means by a generation whose
 * end it did not say. */
static bool is_in_force(const struct tunnel *tunnel, const struct siu_update *update)
{
	return update->generation == tunnel->position.generation &&
	       (!tunnel->position.closed || (update->flags & SIU_DEREGISTER) != 0);
}

/* Our acknowledgement was lost, or the home agent sent it again on its own: change nothing. */
static void repeat(struct mover *mover, struct tunnel *tunnel, const struct siu_update *update,
	struct move *out)
{
	out->result = SIU_RESULT_DUPLICATE;
	out->after_grace = true;
	out->durable = tunnel->written;
	if (update->rrp != NULL && !tunnel->position.closed &&
		ip_addr_equal(&tunnel->position.coa, &update->new_coa))
		send_reply(mover, tunnel, update);
}

void move_apply(struct mover *mover, uint32_t ha, const struct siu_update *update,
	uint64_t siu_in_ns, struct move *out)
{
	struct tunnel *tunnel = find_tunnel(mover, update);

	*out = (struct move){.result = SIU_RESULT_OK};
	if (tunnel == NULL) {
		out->result = SIU_RESULT_NO_SA;
		return;
	}
	if (!is_authorised(mover, ha, tunnel)) {
		out->result = SIU_RESULT_NOT_AUTHORISED; /* and learns nothing of the node */
		return;
	}
	out->node = tunnel->handle;
	out->home_address = tunnel->home_address;
	if (update->flags & SIU_REPLY_ONLY) {
		out->result = reply_only(mover, ha, tunnel, update);
		return;
	}
	if (update->generation < tunnel->position.generation) {
		out->result = SIU_RESULT_STALE; /* an old move must not pull traffic back */
		return;
	}
	out->result = check_target(mover, ha, tunnel, update);
	if (out->result != SIU_RESULT_OK)
		return;
	if (is_in_force(tunnel, update)) {
		repeat(mover, tunnel, update, out);
		return;
	}
	if (state_room(mover->state) == 0) {
		out->result = SIU_RESULT_NO_RESOURCES; /* it could not be made durable */
		return;
	}
	if (!move_rate_allows(mover, tunnel, siu_in_ns))
		out->result = SIU_RESULT_RATE_LIMITED;
	else if (update->flags & SIU_DEREGISTER)
		deregister(mover, tunnel, update, siu_in_ns, out);
	else
		open_or_move(mover, tunnel, update, siu_in_ns, out);
}
