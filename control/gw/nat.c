/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: registrations that passed are kept with the endpoint that they came from
 * (move_note_rrq()), and an update names the one that led to it by its identification. A port that
 * moves is a swap of the path as any other, but neither a handover nor a new generation.
 */
#include "control/gw/nat.h"

struct ip_endpoint nat_tunnel_end(const struct tunnel *tunnel, const struct siu_update *update)
{
	const struct ip_endpoint plain = {.addr = update->new_coa};
	const struct position *was = &tunnel->position;
	const struct tunnel_rrq *rrq;

	if ((tunnel->flags & NODE_ALLOW_NAT) == 0)
		return plain;
	rrq = move_find_rrq(tunnel, update->identification);
	if (rrq == NULL) /* it passed before a restart: what was known then */
		return ip_addr_equal(&was->coa, &update->new_coa) ? was->remote : plain;
	return rrq->observed.port != 0 && ip_addr_equal(&rrq->coa, &update->new_coa) ? rrq->observed
										     : plain;
}

enum siu_result nat_check_end(
	const struct gw_conf *conf, const struct ip_endpoint *remote, const struct ip_addr *coa)
{
	/* What the node calls itself in there may be the address of one of our hosts: it only
	 * selects what the home agent tunnels to it (PATH_LABEL). But what is ours is for Linux. */
	if (remote->port != 0 && (!ip_addr_is_unicast(coa) || gw_conf_is_own(conf, coa)))
		return SIU_RESULT_BAD_COA;
	return gw_conf_coa_check(conf, &remote->addr);
}

bool nat_came_from_end(
	const struct tunnel *tunnel, const struct ip_addr *coa, const struct ip_endpoint *observed)
{
	return ((tunnel->flags & NODE_ALLOW_NAT) != 0 && observed->port != 0) ||
	       ip_addr_equal(coa, &observed->addr);
}

void nat_fit_position(struct position *position, uint32_t flags)
{
	if ((flags & NODE_ALLOW_NAT) == 0 && position->remote.port != 0) {
		position->remote = (struct ip_endpoint){.addr = position->coa};
		position->verified = false; /* it was shown to be at the other one */
	}
}

bool nat_follow_port(struct mover *mover, const struct dp_port_change *change)
{
	struct tunnel *tunnel = tunnel_by_handle(mover->tunnels, change->node);
	const struct ip_endpoint *remote;

	if (tunnel == NULL || (tunnel->flags & NODE_ALLOW_NAT) == 0 || tunnel->position.closed)
		return false;
	remote = &tunnel->position.remote;
	if (remote->port == 0 || remote->port == change->from.port ||
		!ip_addr_equal(&remote->addr, &change->from.addr) ||
		tunnel_move_port(mover->tunnels, tunnel, change->from.port) != 0)
		return false;
	/* The newest port is good to have after a restart, but nobody waits for it. */
	if (state_room(mover->state) != 0)
		tunnel->written = state_write(
			mover->state, &tunnel->home_address, &tunnel->position);
	return true;
}
