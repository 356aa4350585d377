/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: path_local() is the way of packets that the control thread injects. They are
 * sorted by where they go, each kind stays in its order: Linux's frames and datagrams towards the
 * inside share one burst (RRQ_SEEN leaves before the RRQ), what goes through a node's SA makes up
 * another. A packet to a node loads the path here, so it takes whatever control published before it
 * injected.
 */
#include "dataplane/aftermath.h"
#include "dataplane/forward.h"
#include "dataplane/ip4.h"
#include "dataplane/protect.h"
#include "dataplane/state.h"
#include "dataplane/now.h"

static unsigned append(struct burst *b, struct rte_mbuf *mbuf)
{
	unsigned i = b->n++;

	b->mbufs[i] = mbuf;
	pkt_view(&b->pkts[i], mbuf, 0);
	b->verdicts[i] = VERDICT_OK;
	b->nodes[i] = NULL;
	return i;
}

/* A path to remote for one packet: all else as the node's own path has it. */
static enum verdict once_path(struct worker *worker, struct burst *b, unsigned i,
	const struct path *path, const struct pkt_meta *meta)
{
	const struct port *outside = &worker->dp->ports[DP_OUTSIDE];
	struct path_params params = {
		.local = path->local,
		.remote = meta->remote,
		.mtu = path->mtu != 0 ? path->mtu : outside->mtu,
		.flags = PATH_ONCE,
	};

	/* Never registered, or where we have an address of the other family. */
	if (params.local.addr.family != meta->remote.addr.family)
		params.local.addr = port_first_addr(outside, meta->remote.addr.family);
	params.local.port = meta->remote.port != 0 ? PATH_NAT_PORT : 0;
	if (!path_init(&worker->once[i], &params))
		return VERDICT_NO_PATH;
	b->paths[i] = &worker->once[i];
	return VERDICT_OK;
}

static enum verdict choose_path(
	struct worker *worker, struct burst *b, unsigned i, const struct pkt_meta *meta)
{
	struct node *node = node_by_handle(worker->dp, meta->node);

	if (node == NULL)
		return VERDICT_NO_SA_OUT;
	protect_load(worker->dp->engine, b, i, node);
	if (meta->kind == INJECT_ONCE)
		return once_path(worker, b, i, b->paths[i], meta);
	return b->paths[i]->flags & PATH_CLOSED ? VERDICT_NO_PATH : VERDICT_OK;
}

static void sort(struct worker *worker, struct rte_mbuf *mbuf)
{
	const struct pkt_meta *meta = pkt_meta(mbuf);
	enum dp_port port = meta->kind == INJECT_INSIDE ? DP_INSIDE : (enum dp_port)meta->port;
	struct burst *b = port == DP_INSIDE ? &worker->inside : &worker->outside;
	struct neigh *neigh;
	unsigned i;

	switch ((enum inject_kind)meta->kind) {
	case INJECT_TO_NODE:
	case INJECT_ONCE:
		i = append(&worker->to_node, mbuf);
		worker->to_node.verdicts[i] = choose_path(worker, &worker->to_node, i, meta);
		return;
	case INJECT_FRAME:
		i = append(b, mbuf);
		forward_tag(worker, b, i, port);
		return;
	case INJECT_KEPT:
		i = append(b, mbuf);
		neigh = neigh_lookup_addr(&worker->dp->neighs, port, &meta->next_hop);
		if (!forward_frame(worker, b, i, neigh, port))
			burst_drop(b, i, VERDICT_NO_NEIGHBOUR);
		return;
	case INJECT_INSIDE:
		i = append(b, mbuf);
		forward_route_one(worker, b, i, DP_INSIDE);
		return;
	}
}

/* Those of the burst to nodes whose sending is to be noted: read before the mbufs are gone. */
static uint32_t wants_stamp(struct burst *b)
{
	uint32_t wanted = 0;

	for (unsigned i = 0; i < b->n; i++)
		if (pkt_meta(b->mbufs[i])->stamp)
			wanted |= UINT32_C(1) << i;
	return wanted;
}

static void stamp(struct burst *b, uint32_t wanted)
{
	uint64_t now_ns = wanted == 0 ? 0 : clock_mono_ns();

	for (unsigned i = 0; i < b->n; i++) {
		/* Time stamps are the one part of a path that workers write. */
		struct path *path = (struct path *)(uintptr_t)b->paths[i];

		if (wanted >> i & 1 && b->verdicts[i] == VERDICT_OK)
			atomic_store_explicit(&path->rrp_tx_ns, now_ns, memory_order_relaxed);
	}
}

void path_local(struct worker *worker, struct rte_mbuf **mbufs, unsigned n)
{
	struct burst *to_node = &worker->to_node;
	uint64_t now_ns = clock_mono_ns();
	uint32_t wanted;

	worker->inside.n = worker->outside.n = to_node->n = 0;
	worker->inside.now_ns = worker->outside.now_ns = to_node->now_ns = now_ns;
	for (unsigned i = 0; i < n; i++)
		sort(worker, mbufs[i]);

	forward_finish(worker, &worker->inside, DP_INSIDE, DP_INSIDE, &worker->local);

	wanted = wants_stamp(to_node);
	protect_burst(worker, to_node);
	forward_route(worker, to_node, DP_OUTSIDE);
	forward_finish(worker, to_node, DP_INSIDE, DP_OUTSIDE, &worker->local);
	stamp(to_node, wanted);
	aftermath_send(worker, DP_OUTSIDE);

	forward_finish(worker, &worker->outside, DP_OUTSIDE, DP_OUTSIDE, &worker->local);
}
