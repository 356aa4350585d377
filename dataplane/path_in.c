/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: path_in() is the whole way of packets from the public side: ESP in, plain out.
 * Each step handles what is still good; forward_finish() sends, punts, counts and frees.
 *
 * Sources: RFC 4301 section 5.2, RFC 4303 section 3.4.
 */
#include "dataplane/aftermath.h"
#include "dataplane/classify.h"
#include "dataplane/forward.h"
#include "dataplane/inner.h"
#include "dataplane/ip4.h"
#include "dataplane/rules.h"
#include "dataplane/spd.h"
#include "dataplane/nat.h"
#include "dataplane/shed.h"
#include "dataplane/state.h"

/* Packets in a row with the same question ask once. */
static void find_sa(const struct dataplane *dp, struct burst *b)
{
	struct sad_query queries[PKT_BURST_MAX];
	struct sa_in *found[PKT_BURST_MAX];
	uint8_t query_of[PKT_BURST_MAX], first[PKT_BURST_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < b->n; i++) {
		const uint8_t *ip = b->pkts[i].data;

		if (b->verdicts[i] != VERDICT_OK)
			continue;
		queries[n].spi = esp_spi(ip + b->pkts[i].outer_bytes);
		if (ip_is_v6(ip))
			queries[n].src = (struct lookup_addr){.v6 = ip6_src(ip)};
		else
			queries[n].src = (struct lookup_addr){.number = ip4_src(ip)};
		if (n == 0 || !sad_query_same(&queries[n], &queries[n - 1]))
			first[n++] = (uint8_t)i;
		query_of[i] = (uint8_t)(n - 1);
	}
	if (n == 0)
		return;
	sad_lookup_in_burst(&dp->sad, queries, found, n);
	for (unsigned j = 0; j < n; j++)
		if (found[j] != NULL)
			esp_prefetch_in(dp->engine, found[j], b->pkts[first[j]].len);
	for (unsigned i = 0; i < b->n; i++) {
		if (b->verdicts[i] != VERDICT_OK)
			continue;
		b->sas.in[i] = found[query_of[i]];
		if (b->sas.in[i] == NULL)
			burst_drop(b, i, VERDICT_NO_SA_IN);
	}
}

void path_in(struct worker *worker, const struct received *now, const struct received *ahead)
{
	struct dataplane *dp = worker->dp;
	struct burst *b = &worker->burst;
	unsigned ecn_unusual;

	burst_begin(b, now, ahead, PKT_FRAME_AT);

	classify_outside(worker, b);
	find_sa(dp, b);
	if (__builtin_expect(worker->shed_until_ns > b->now_ns, 0))
		shed_burst(worker, b);
	ecn_unusual = esp_decap_burst(
		worker->crypto, dp->engine, b->sas.in, b->pkts, b->verdicts, b->n);
	if (__builtin_expect(ecn_unusual != 0, 0))
		worker_count(&worker->ecn_unusual, ecn_unusual);
	if (__builtin_expect(b->in_udp != 0, 0))
		nat_watch(worker, b);
	inner_check_burst(dp, b);
	if (__builtin_expect(worker->policy != NULL, 0))
		spd_protected(worker, b, true);
	if (__builtin_expect(dp->rules.clamp_tcp_mss, 0))
		rules_tcp(b);
	if (__builtin_expect(worker->policy != NULL, 0))
		spd_clear(worker, b, true);
	forward_route(worker, b, DP_INSIDE);
	forward_finish(worker, b, DP_OUTSIDE, DP_INSIDE, &worker->in);
	aftermath_send(worker, DP_INSIDE);
}
