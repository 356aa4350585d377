/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: path_out() is the whole way of packets from the private side: plain in, ESP out.
 * IP-in-IP from a home agent, of whatever families, belongs to the node that its inner destination
 * names; anything else to the node that owns the destination as care-of address. What no SA
 * protects is dropped and counted, never forwarded in clear but by a rule that says so (spd.h).
 *
 * Sources: RFC 4301 section 5.1, RFC 4303 section 3.3, RFC 2003, RFC 2473.
 */
#include "dataplane/aftermath.h"
#include "dataplane/bicast.h"
#include "dataplane/classify.h"
#include "dataplane/forward.h"
#include "dataplane/ip4.h"
#include "dataplane/protect.h"
#include "dataplane/rules.h"
#include "dataplane/spd.h"
#include "dataplane/state.h"

struct wanted { /* places of a burst that wait for one of the two lookups */
	const struct lookup *table;
	struct lookup_addr addrs[PKT_BURST_MAX];
	uint8_t at[PKT_BURST_MAX];
	unsigned n;
};

static inline void want(struct wanted *wanted, unsigned at, be32_t addr)
{
	wanted->addrs[wanted->n] = (struct lookup_addr){.number = addr};
	wanted->at[wanted->n++] = (uint8_t)at;
}

static void want_v6(struct wanted *wanted, unsigned at, const uint8_t *addr)
{
	wanted->addrs[wanted->n] = (struct lookup_addr){
		.number = lookup_number_v6(wanted->table, addr), .v6 = addr};
	wanted->at[wanted->n++] = (uint8_t)at;
}

/* The destination of what the tunnel's header carries, or a verdict. */
static enum verdict want_inner(
	struct wanted *homes, const struct esp_pkt *pkt, unsigned i, uint32_t hdr, uint8_t protocol)
{
	const uint8_t *inner = pkt->data + hdr;
	const bool v6 = protocol == IP_NEXT_IPV6;

	if (pkt->len < hdr + (v6 ? IPV6_HDR_BYTES : IPV4_HDR_BYTES))
		return VERDICT_RUNT;
	if (inner[0] >> 4 != (v6 ? 6 : 4))
		return VERDICT_BAD_HEADER;
	if (v6)
		want_v6(homes, i, ip6_dst(inner));
	else
		want(homes, i, ip4_dst(inner));
	return VERDICT_OK;
}

/* A tunnel counts only from a home agent, before its node is known. */
static enum verdict want_tunnelled(
	const struct dataplane *dp, struct wanted *homes, const struct esp_pkt *pkt, unsigned i)
{
	const uint8_t *ip = pkt->data;

	if (!is_home_agent(dp, ip4_src(ip)))
		return VERDICT_NO_SA_OUT;
	if (ip4_is_fragment(ip))
		return VERDICT_FRAGMENT;
	return want_inner(homes, pkt, i, ip4_hdr_bytes(ip), ip4_protocol(ip));
}

static IP_V6_ONLY enum verdict want_node_v6(const struct dataplane *dp, struct burst *b, unsigned i,
	struct wanted *homes, struct wanted *coas)
{
	const struct esp_pkt *pkt = &b->pkts[i];
	struct ipv6_upper upper;
	enum verdict verdict = ip6_find_upper(pkt->data, pkt->len, false, &upper);

	if (verdict != VERDICT_OK)
		return verdict;
	if (!ip_is_tunnel(upper.protocol)) {
		want_v6(coas, i, ip6_dst(pkt->data));
		return VERDICT_OK;
	}
	b->tunnelled |= UINT32_C(1) << i;
	if (!is_home_agent_v6(dp, ip6_src(pkt->data)))
		return VERDICT_NO_SA_OUT;
	if (upper.fragment)
		return VERDICT_FRAGMENT;
	return want_inner(homes, pkt, i, upper.at, upper.protocol);
}

static void put_node(struct burst *b, unsigned i, struct node *node)
{
	b->nodes[i] = node;
	if (node == NULL)
		burst_drop(b, i, VERDICT_NO_SA_OUT);
	else if (node == COA_AMBIGUOUS)
		burst_drop(b, i, VERDICT_AMBIGUOUS_COA);
	else
		__builtin_prefetch(node);
}

static void find_nodes(const struct dataplane *dp, struct burst *b)
{
	struct wanted homes, coas;
	struct node *found[PKT_BURST_MAX];

	homes.table = &dp->sad.homes;
	coas.table = &dp->coas.table;
	homes.n = coas.n = 0;
	b->tunnelled = 0;
	for (unsigned i = 0; i < b->n; i++) {
		const uint8_t *ip = b->pkts[i].data;

		b->nodes[i] = NULL;
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		if (ip_is_v6(ip)) {
			b->verdicts[i] = want_node_v6(dp, b, i, &homes, &coas);
		} else if (!ip_is_tunnel(ip4_protocol(ip))) {
			want(&coas, i, ip4_dst(ip));
		} else {
			b->tunnelled |= UINT32_C(1) << i;
			b->verdicts[i] = want_tunnelled(dp, &homes, &b->pkts[i], i);
		}
	}
	sad_lookup_home_burst(&dp->sad, homes.addrs, found, homes.n);
	for (unsigned j = 0; j < homes.n; j++)
		put_node(b, homes.at[j], found[j]);
	coa_lookup_burst(&dp->coas, coas.addrs, found, coas.n);
	for (unsigned j = 0; j < coas.n; j++)
		put_node(b, coas.at[j], found[j]);
}

/* All nodes of the burst before any of their paths is looked into, so that the memory works on all
 * of them at once. */
static void load_nodes(const struct dataplane *dp, struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->verdicts[i] == VERDICT_OK)
			protect_load(dp->engine, b, i, b->nodes[i]);
}

/* The selector of node, by the one path that also gives the outer header; then the TTL. */
static inline enum verdict select_path(const struct burst *b, unsigned i)
{
	const struct node *node = b->nodes[i];
	const struct path *path = b->paths[i];
	uint8_t *ip = b->pkts[i].data;

	if ((b->tunnelled >> i & 1) != 0 && ip4_src(ip) != node->home_agent)
		return VERDICT_SELECTOR;
	if (path->flags & PATH_CLOSED)
		return VERDICT_NO_PATH;
	if (!ip4_path_selects(path, ip4_dst(ip), b->now_ns))
		return VERDICT_SELECTOR;
	return ip4_ttl_decrement(ip) ? VERDICT_OK : VERDICT_TTL;
}

static IP_V6_ONLY enum verdict select_path_v6(const struct burst *b, unsigned i)
{
	const struct node *node = b->nodes[i];
	const struct path *path = b->paths[i];
	uint8_t *ip = b->pkts[i].data;

	if ((b->tunnelled >> i & 1) != 0 && !ip6_equal(ip6_src(ip), node->home_agent_v6))
		return VERDICT_SELECTOR;
	if (path->flags & PATH_CLOSED)
		return VERDICT_NO_PATH;
	if (!ip6_path_selects(path, ip6_dst(ip), b->now_ns))
		return VERDICT_SELECTOR;
	return ip6_hop_limit_decrement(ip) ? VERDICT_OK : VERDICT_TTL;
}

static void check_selectors(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		ahead_frame(b, i, 0);
		if (b->verdicts[i] == VERDICT_OK)
			b->verdicts[i] = ip_is_v6(b->pkts[i].data) ? select_path_v6(b, i)
								   : select_path(b, i);
	}
}

void path_out(struct worker *worker, const struct received *now, const struct received *ahead)
{
	struct dataplane *dp = worker->dp;
	struct burst *b = &worker->burst;

	/* ESP and outer header go in front of the frame. */
	burst_begin(b, now, ahead, PKT_FRAME_AT - RTE_CACHE_LINE_SIZE);

	classify_inside(worker, b);
	find_nodes(dp, b);
	load_nodes(dp, b);
	check_selectors(b);
	if (__builtin_expect(worker->policy != NULL, 0))
		spd_protected(worker, b, false);
	if (__builtin_expect(dp->rules.clamp_tcp_mss, 0))
		rules_tcp(b);
	protect_burst(worker, b);
	bicast(worker, b);
	if (__builtin_expect(worker->policy != NULL, 0))
		spd_clear(worker, b, false);
	forward_route(worker, b, DP_OUTSIDE);
	forward_finish(worker, b, DP_INSIDE, DP_OUTSIDE, &worker->out);
	aftermath_send(worker, DP_OUTSIDE);
}
