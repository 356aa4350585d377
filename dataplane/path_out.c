/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: path_out() is the whole way of packets from the private side: plain in, ESP out.
 * IP-in-IP from a home agent belongs to the node that its inner destination names; anything else to
 * the node that owns the destination as care-of address. What no SA protects is dropped and
 * counted, never forwarded in clear.
 *
 * Sources: RFC 4301 section 5.1, RFC 4303 section 3.3, RFC 2003.
 */
#include "dataplane/aftermath.h"
#include "dataplane/bicast.h"
#include "dataplane/classify.h"
#include "dataplane/forward.h"
#include "dataplane/ip4.h"
#include "dataplane/protect.h"
#include "dataplane/rules.h"
#include "dataplane/state.h"

struct wanted { /* places of a burst that wait for one of the two lookups */
	be32_t addrs[PKT_BURST_MAX];
	uint8_t at[PKT_BURST_MAX];
	unsigned n;
};

static void want(struct wanted *wanted, unsigned at, be32_t addr)
{
	wanted->addrs[wanted->n] = addr;
	wanted->at[wanted->n++] = (uint8_t)at;
}

/* Verdict for IP-in-IP, before its node is known. */
static enum verdict check_tunnel(const struct dataplane *dp, const struct esp_pkt *pkt)
{
	const uint8_t *ip = pkt->data;
	uint32_t hdr = ip4_hdr_bytes(ip);

	if (!is_home_agent(dp, ip4_src(ip)))
		return VERDICT_NO_SA_OUT;
	if (ip4_is_fragment(ip))
		return VERDICT_FRAGMENT;
	if (pkt->len < hdr + IPV4_HDR_BYTES)
		return VERDICT_RUNT;
	return ip[hdr] >> 4 == 4 ? VERDICT_OK : VERDICT_BAD_HEADER;
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
	struct wanted homes = {.n = 0}, coas = {.n = 0};
	struct node *found[PKT_BURST_MAX];

	for (unsigned i = 0; i < b->n; i++) {
		const uint8_t *ip = b->pkts[i].data;

		b->nodes[i] = NULL;
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		if (ip4_protocol(ip) != IP4_PROTO_IPIP) {
			want(&coas, i, ip4_dst(ip));
			continue;
		}
		b->verdicts[i] = check_tunnel(dp, &b->pkts[i]);
		if (b->verdicts[i] == VERDICT_OK)
			want(&homes, i, ip4_dst(ip + ip4_hdr_bytes(ip)));
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

/* The selector of node, by the one path that also gives the outer header. */
static enum verdict select_path(
	const struct node *node, const struct path *path, const uint8_t *ip, uint64_t now_ns)
{
	if (ip4_protocol(ip) == IP4_PROTO_IPIP && ip4_src(ip) != ip4_of(&node->home_agent))
		return VERDICT_SELECTOR;
	if (path->flags & PATH_CLOSED)
		return VERDICT_NO_PATH;
	return ip4_path_selects(path, ip4_dst(ip), now_ns) ? VERDICT_OK : VERDICT_SELECTOR;
}

static void check_selectors(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		uint8_t *ip = b->pkts[i].data;

		ahead_frame(b, i, 0);
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		b->verdicts[i] = select_path(b->nodes[i], b->paths[i], ip, b->now_ns);
		if (b->verdicts[i] == VERDICT_OK && !ip4_ttl_decrement(ip))
			burst_drop(b, i, VERDICT_TTL);
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
	if (__builtin_expect(dp->rules.clamp_tcp_mss, 0))
		rules_tcp(b);
	protect_burst(worker, b);
	bicast(worker, b);
	forward_route(worker, b, DP_OUTSIDE);
	forward_finish(worker, b, DP_INSIDE, DP_OUTSIDE, &worker->out);
	aftermath_send(worker, DP_OUTSIDE);
}
