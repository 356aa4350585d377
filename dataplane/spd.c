/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an SA's own selectors have been checked by now, so a rule that says PROTECT has
 * what it wants, and all others discard: DISCARD, and BYPASS, since what should come in clear does
 * not come by an SA (RFC 4301 section 5.2). What has no SA is looked at on its own, behind all that
 * has one, and where no rule says BYPASS its verdict stays.
 */
#include "dataplane/spd.h"

#include "dataplane/ip4.h"
#include "dataplane/policy.h"
#include "dataplane/state.h"
#include "lib/mip4.h"

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
	return policy_action(policy, rule) == POLICY_PROTECT ? VERDICT_OK : VERDICT_POLICY;
}

void spd_protected(struct worker *worker, struct burst *b, bool inbound)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->verdicts[i] == VERDICT_OK)
			b->verdicts[i] = judge(worker, b, i, inbound);
}

/* --- in clear -----------------------------------------------------------------------------------
 */

static bool is_a_nodes(const struct dataplane *dp, const uint8_t *addr, bool v6)
{
	struct lookup_addr home = {0}, coa;
	struct node *node;
	be32_t v4;

	if (v6) {
		home = (struct lookup_addr){
			.number = lookup_number_v6(&dp->sad.homes, addr), .v6 = addr};
		coa = (struct lookup_addr){
			.number = lookup_number_v6(&dp->coas.table, addr), .v6 = addr};
	} else {
		memcpy(&v4, addr, sizeof v4);
		home.number = v4;
		coa = home;
	}
	sad_lookup_home_burst(&dp->sad, &home, &node, 1);
	if (node != NULL)
		return true;
	coa_lookup_burst(&dp->coas, &coa, &node, 1);
	return node != NULL;
}

static bool may_bypass_addr(const struct dataplane *dp, const uint8_t *addr, bool v6)
{
	be32_t v4;

	if (v6)
		return ip6_is_forwardable(addr) && !is_own_address_v6(dp, addr) &&
		       !is_a_nodes(dp, addr, v6);
	memcpy(&v4, addr, sizeof v4);
	return ip4_is_forwardable(v4) && !is_own_address(dp, v4) && !is_a_nodes(dp, addr, v6);
}

/* Whatever rules say: may it be in clear? */
static bool may_bypass(
	const struct dataplane *dp, const uint8_t *ip, const struct policy_packet *packet)
{
	const bool v6 = packet->v6;

	if (ip_is_tunnel(packet->protocol))
		return false;
	if (packet->protocol == IPPROTO_UDP && packet->has_ports &&
		(packet->source_port == MIP4_PORT || packet->destination_port == MIP4_PORT))
		return false;
	return may_bypass_addr(dp, v6 ? ip6_src(ip) : ip + IPV4_SRC_AT, v6) &&
	       may_bypass_addr(dp, v6 ? ip6_dst(ip) : ip + IPV4_DST_AT, v6);
}

static enum verdict judge_clear(
	struct worker *worker, const struct burst *b, unsigned i, bool inbound)
{
	const struct policy *policy = worker->policy;
	const struct esp_pkt *pkt = &b->pkts[i];
	struct policy_packet packet;
	uint32_t rule;

	if (policy_read(pkt->data, pkt->len, &packet) != VERDICT_OK)
		return b->verdicts[i];
	rule = policy_match(policy, inbound, &packet);
	if (policy_action(policy, rule) != POLICY_BYPASS ||
		!may_bypass(worker->dp, pkt->data, &packet))
		return b->verdicts[i];
	policy_hit(policy, worker->id, inbound, rule);
	return (packet.v6 ? ip6_hop_limit_decrement(pkt->data) : ip4_ttl_decrement(pkt->data))
		       ? VERDICT_OK
		       : VERDICT_TTL;
}

/* Nothing was found for it, so that no step from here on may think that there is. */
static void forget_sa(struct burst *b, unsigned i)
{
	b->nodes[i] = NULL;
	b->paths[i] = NULL;
	b->sas.out[i] = NULL;
}

void spd_clear(struct worker *worker, struct burst *b, bool inbound)
{
	if (!policy_has_bypass(worker->policy, inbound))
		return;
	for (unsigned i = 0; i < b->n; i++) {
		const bool candidate = inbound ? (b->others >> i & 1) != 0
					       : b->verdicts[i] == VERDICT_NO_SA_OUT &&
							 b->nodes[i] == NULL &&
							 (b->tunnelled >> i & 1) == 0;

		if (!candidate)
			continue;
		forget_sa(b, i);
		b->verdicts[i] = judge_clear(worker, b, i, inbound);
	}
}
