/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an SA's own selectors have been checked by now, so a rule that says PROTECT has
 * what it wants, and only DISCARD makes a difference.
 */
#include "dataplane/spd.h"

#include "dataplane/ip4.h"
#include "dataplane/policy.h"
#include "dataplane/state.h"

/* Is the packet, which has that header, a tunnel between its node and the home agent? */
static bool is_tunnel(const struct burst *b, unsigned i, bool inbound)
{
	const struct node *node = b->nodes[i];
	const uint8_t *ip = b->pkts[i].data;

	if (!inbound)
		return (b->tunnelled >> i & 1) != 0;
	return ip_is_v6(ip) ? ip6_equal(ip6_dst(ip), node->home_agent_v6)
			    : ip4_dst(ip) == node->home_agent;
}

static enum verdict judge(struct worker *worker, const struct burst *b, unsigned i, bool inbound)
{
	const struct policy *policy = worker->policy;
	const struct esp_pkt *pkt = &b->pkts[i];
	struct policy_packet packet;
	enum verdict verdict = policy_read(pkt->data, pkt->len, &packet);
	uint32_t rule;

	if (verdict == VERDICT_OK && ip_is_tunnel(packet.protocol) && is_tunnel(b, i, inbound))
		verdict = policy_read(
			pkt->data + packet.upper_at, pkt->len - packet.upper_at, &packet);
	if (verdict != VERDICT_OK)
		return verdict;
	rule = policy_match(policy, inbound, &packet);
	policy_hit(policy, worker->id, inbound, rule);
	return policy_action(policy, rule) == POLICY_DISCARD ? VERDICT_POLICY : VERDICT_OK;
}

void spd_protected(struct worker *worker, struct burst *b, bool inbound)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->verdicts[i] == VERDICT_OK)
			b->verdicts[i] = judge(worker, b, i, inbound);
}
