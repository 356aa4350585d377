/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: what a packet is about stands in the private area of its mbuf (struct pkt_meta);
 * the ring carries the pointer. The ring's release and acquire also order what control published
 * before it injected (a swapped path) with what the worker loads afterwards.
 */
#include "dataplane/punt.h"

#include <errno.h>
#include <stdio.h>

/* Packets, one place less each. Registrations are rate limited by node before they come here. */
static const unsigned ring_places[PUNT_RINGS] = {
	[PUNT_RING_REGISTRATION] = 512,
	[PUNT_RING_GUARDED] = 512,
	[PUNT_RING_INSIDE] = 512,
	[PUNT_RING_UNRESOLVED] = 256,
	[PUNT_RING_OUTSIDE] = 256,
	[PUNT_RING_ERROR] = 64,
};
#define TO_WORKER_PLACES 1024
#define PORT_CHANGES 256
static_assert(sizeof(struct dp_port_change) % 4 == 0, "rte_ring wants words");

static struct rte_ring *ring_new(unsigned places, unsigned element_bytes)
{
	static unsigned instance; /* control thread only; rte_ring finds rings by name */
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof name, "punt%u", instance++);
	return rte_ring_create_elem(
		name, element_bytes, places, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

int punt_rings_new(struct punt_rings *rings)
{
	bool ok = true;

	*rings = (struct punt_rings){.to_worker = ring_new(TO_WORKER_PLACES, sizeof(void *)),
		.port_changes = ring_new(PORT_CHANGES, sizeof(struct dp_port_change))};
	for (unsigned i = 0; i < PUNT_RINGS; i++) {
		rings->to_control[i] = ring_new(ring_places[i], sizeof(void *));
		ok = ok && rings->to_control[i] != NULL;
	}
	if (ok && rings->to_worker != NULL && rings->port_changes != NULL)
		return 0;
	punt_rings_free(rings);
	return -ENOMEM;
}

static void drain(struct rte_ring *ring)
{
	void *mbuf;

	while (ring != NULL && rte_ring_sc_dequeue(ring, &mbuf) == 0)
		rte_pktmbuf_free(mbuf);
	rte_ring_free(ring);
}

void punt_rings_free(struct punt_rings *rings)
{
	for (unsigned i = 0; i < PUNT_RINGS; i++)
		drain(rings->to_control[i]);
	drain(rings->to_worker);
	rte_ring_free(rings->port_changes);
	*rings = (struct punt_rings){0};
}

static enum punt_ring ring_for(const struct pkt_meta *meta)
{
	switch ((enum punt_reason)meta->kind) {
	case PUNT_REGISTRATION:
		return PUNT_RING_REGISTRATION;
	case PUNT_GUARDED:
		return PUNT_RING_GUARDED;
	case PUNT_UNRESOLVED:
		return PUNT_RING_UNRESOLVED;
	case PUNT_ERROR:
		return PUNT_RING_ERROR;
	case PUNT_FRAME:
		break;
	}
	return meta->port == DP_INSIDE ? PUNT_RING_INSIDE : PUNT_RING_OUTSIDE;
}

bool punt_push(struct punt_rings *rings, struct rte_mbuf *mbuf)
{
	return rte_ring_sp_enqueue(rings->to_control[ring_for(pkt_meta(mbuf))], mbuf) == 0;
}

unsigned punt_pop(struct punt_rings *rings, enum punt_ring ring, struct punt *out, unsigned max)
{
	void *mbufs[PKT_BURST_MAX];
	unsigned n = rte_ring_sc_dequeue_burst(
		rings->to_control[ring], mbufs, RTE_MIN(max, (unsigned)PKT_BURST_MAX), NULL);

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *mbuf = mbufs[i];
		const struct pkt_meta *meta = pkt_meta(mbuf);

		out[i] = (struct punt){
			.reason = (enum punt_reason)meta->kind,
			.port = (enum dp_port)meta->port,
			.data = rte_pktmbuf_mtod(mbuf, const uint8_t *),
			.len = mbuf->data_len,
			.node = meta->node,
			.observed = meta->remote,
			.next_hop = meta->next_hop,
			.error = (enum punt_error)meta->error,
			.mtu = meta->mtu,
			.rx_ns = meta->rx_ns,
			.cookie = mbuf,
		};
	}
	return n;
}

bool punt_port_change(struct punt_rings *rings, const struct dp_port_change *change)
{
	struct dp_port_change copy = *change; /* rte_ring only reads it, but does not say so */

	return rte_ring_sp_enqueue_elem(rings->port_changes, &copy, sizeof copy) == 0;
}

unsigned punt_port_changes(struct punt_rings *rings, struct dp_port_change *out, unsigned max)
{
	return rte_ring_sc_dequeue_burst_elem(rings->port_changes, out, sizeof *out, max, NULL);
}

bool inject_push(struct punt_rings *rings, struct rte_mbuf *mbuf)
{
	return rte_ring_sp_enqueue(rings->to_worker, mbuf) == 0;
}

unsigned inject_pop(struct punt_rings *rings, struct rte_mbuf **mbufs, unsigned max)
{
	return rte_ring_sc_dequeue_burst(rings->to_worker, (void **)mbufs, max, NULL);
}
