/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: copies make a burst of their own, by one buffer and one copy each, which leaves
 * ahead of the burst at work. A place without a buffer only carries its verdict to the counter.
 */
#include "dataplane/bicast.h"

#include "dataplane/now.h"
#include "dataplane/outer_cut.h"
#include "lib/ration.h"

#define COPY_NS (NS_PER_S / BICAST_COPIES_PER_S)

static enum verdict copy(struct worker *worker, const struct burst *b, unsigned i, unsigned k)
{
	const struct path *path = b->paths[i];
	const struct esp_pkt *pkt = &b->pkts[i];
	const uint32_t len = pkt->len - path->outer.len + path->second->len;
	struct burst *copies = &worker->copies;
	struct rte_mbuf *mbuf;
	uint8_t *at;

	if (len > path->mtu && !pkt->beyond_mtu) /* a UDP header more than the first one has */
		return VERDICT_TOO_BIG;
	if (!ration_take(&worker->copies_at_ns, COPY_NS, BICAST_AT_ONCE, b->now_ns))
		return VERDICT_RATE_LIMITED;
	mbuf = rte_pktmbuf_alloc(worker->dp->ports[DP_INSIDE].pool);
	if (mbuf == NULL)
		return VERDICT_NO_ROOM;
	copies->mbufs[k] = mbuf;
	at = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)len);
	if (at == NULL)
		return VERDICT_NO_ROOM;
	esp_copy_to(at, pkt, &path->outer, path->second);
	pkt_view(&copies->pkts[k], mbuf, 0);
	copies->pkts[k].beyond_mtu = pkt->beyond_mtu;
	return VERDICT_OK;
}

void bicast_burst(struct worker *worker, const struct burst *b)
{
	struct burst *copies = &worker->copies;

	copies->n = 0;
	copies->now_ns = b->now_ns;
	for (unsigned i = 0; i < b->n; i++) {
		const struct path *path = b->paths[i];
		unsigned k = copies->n;

		if (b->verdicts[i] != VERDICT_OK || (path->flags & PATH_BICAST) == 0 ||
			b->now_ns >= path->grace_until_ns)
			continue;
		copies->nodes[k] = NULL;
		copies->paths[k] = path;
		copies->mbufs[k] = NULL;
		copies->verdicts[k] = copy(worker, b, i, k);
		copies->n++;
	}
	if (copies->n == 0)
		return;
	outer_cut_send(worker, copies);
}
