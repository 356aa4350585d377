/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: control's half of the rings. All that control injects goes to worker 0 by one
 * ring, so it keeps its order, also towards the path that was published before.
 */
#include "dataplane/state.h"

#include <errno.h>

/* Of a burst, at least: a flood of frames for Linux must not silence the gateway's ICMP errors. */
#define ERRORS_SHARE 8

/* Worker by worker, from another one each time, so that no flood at one keeps out another's. */
static unsigned punts_of(
	struct dataplane *dp, enum punt_ring ring, uint32_t first, struct punt *out, unsigned max)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < dp->n_workers && n < max; i++)
		n += punt_pop(
			&dp->workers[(first + i) % dp->n_workers]->rings, ring, out + n, max - n);
	return n;
}

unsigned dataplane_punt_burst(struct dataplane *dp, struct punt *out, unsigned max)
{
	const uint32_t first = dp->punts_from++;
	unsigned n = punts_of(dp, PUNT_RING_ERROR, first, out, max / ERRORS_SHARE);

	for (unsigned ring = 0; ring < PUNT_RINGS; ring++)
		n += punts_of(dp, (enum punt_ring)ring, first, out + n, max - n);
	return n;
}

unsigned dataplane_port_changes(struct dataplane *dp, struct dp_port_change *out, unsigned max)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < dp->n_workers && n < max; i++)
		n += punt_port_changes(&dp->workers[i]->rings, out + n, max - n);
	return n;
}

void dataplane_punt_done(struct dataplane *dp, struct punt *punt)
{
	(void)dp;
	rte_pktmbuf_free(punt->cookie);
	punt->cookie = NULL;
}

static int inject(
	struct dataplane *dp, const struct pkt_meta *meta, const void *data, size_t len, size_t max)
{
	struct rte_mbuf *mbuf;

	if (len == 0 || len > max)
		return -EMSGSIZE;
	mbuf = rte_pktmbuf_alloc(dp->inject_pool);
	if (mbuf == NULL)
		return -ENOBUFS;
	memcpy(rte_pktmbuf_append(mbuf, (uint16_t)len), data, len);
	*pkt_meta(mbuf) = *meta;
	if (!inject_push(&dp->workers[0]->rings, mbuf)) {
		rte_pktmbuf_free(mbuf);
		return -ENOBUFS;
	}
	return 0;
}

int dataplane_send_frame(struct dataplane *dp, enum dp_port port, const void *frame, size_t len)
{
	struct pkt_meta meta = {.kind = INJECT_FRAME, .port = (uint8_t)port};

	return inject(dp, &meta, frame, len, dp->ports[port].frame_max);
}

int dataplane_send_inside(struct dataplane *dp, const void *datagram, size_t len)
{
	struct pkt_meta meta = {.kind = INJECT_INSIDE, .port = DP_INSIDE};

	return inject(dp, &meta, datagram, len, dp->ports[DP_INSIDE].mtu);
}

int dataplane_send_to_node(
	struct dataplane *dp, uint32_t handle, const void *datagram, size_t len, bool stamp)
{
	struct pkt_meta meta = {
		.kind = INJECT_TO_NODE, .port = DP_OUTSIDE, .node = handle, .stamp = stamp};

	return inject(dp, &meta, datagram, len, dp->ports[DP_OUTSIDE].mtu);
}

int dataplane_send_once(struct dataplane *dp, uint32_t handle, const struct ip_endpoint *remote,
	const void *datagram, size_t len)
{
	struct pkt_meta meta = {
		.kind = INJECT_ONCE, .port = DP_OUTSIDE, .node = handle, .remote = *remote};

	return inject(dp, &meta, datagram, len, dp->ports[DP_OUTSIDE].mtu);
}

int dataplane_send_kept(struct dataplane *dp, struct punt *punt)
{
	struct rte_mbuf *mbuf = punt->cookie;

	punt->cookie = NULL;
	*pkt_meta(mbuf) = (struct pkt_meta){
		.kind = INJECT_KEPT, .port = (uint8_t)punt->port, .next_hop = punt->next_hop};
	if (!inject_push(&dp->workers[0]->rings, mbuf)) {
		rte_pktmbuf_free(mbuf);
		return -ENOBUFS;
	}
	return 0;
}
