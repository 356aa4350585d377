/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: what control injects comes out of a port, in order, by the path that was in force
 * when it injected; packets to an unresolved neighbour wait with control and are sent later.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/now.h"
#include "lib/ipv4.h"
#include "lib/wire.h"

#include <errno.h>

#define A "198.51.100.7"
#define B "203.0.113.7"
#define HOA "10.1.0.10"
#define HA "10.1.0.1"
#define CORR "10.2.0.5"

static struct rig rig;

static struct path *path_of(struct node *node)
{
	return atomic_load(&node->path);
}

static uint64_t local(enum verdict verdict)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums.local[verdict];
}

/* Next packet to node 1 on the outside; false: none, or not for it. */
static bool next_to(const char *to, struct rig_opened *opened)
{
	uint8_t frame[RIG_FRAME_MAX];
	size_t len = rig_pop(&rig, DP_OUTSIDE, frame);
	struct ip_addr addr = rig_addr(to);

	return len > 14 && memcmp(frame, rig_mac_outside_router, 6) == 0 &&
	       memcmp(frame + 6, rig.dp->ports[DP_OUTSIDE].mac, 6) == 0 &&
	       rig_unseal(1, frame + 14, len - 14, opened) && ip_addr_equal(&opened->dst, &addr);
}

/* RRP after the swap: never to the old address, and before the traffic that was waiting. */
static void test_reply_follows_the_swap(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct path_params moved = rig_path(B, A, clock_mono_ns() + 2 * NS_PER_S);
	uint8_t rrp[RIG_FRAME_MAX], ip[RIG_FRAME_MAX], inner[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t rrp_len = rig_udp(rrp, HA, 434, B, 434, 40);
	struct rig_opened opened;

	rig_push(&rig, DP_INSIDE, ip,
		rig_ipip(ip, HA, A, inner, rig_udp(inner, CORR, 1, HOA, 2, 100)));
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &moved) == 0);
	CU_ASSERT(dataplane_send_to_node(rig.dp, 1, rrp, rrp_len, true) == 0);
	CU_ASSERT(path_of(node)->first_tx_ns == 0);
	rig_turn(&rig);

	CU_ASSERT(next_to(B, &opened));
	CU_ASSERT(opened.len == rrp_len && memcmp(opened.inner, rrp, rrp_len) == 0);
	CU_ASSERT(next_to(B, &opened)); /* the former selector, to the new address */
	CU_ASSERT(opened.seq == 2);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);
	CU_ASSERT(path_of(node)->first_tx_ns != 0);
	CU_ASSERT(path_of(node)->rrp_tx_ns >= path_of(node)->first_tx_ns);
	rig_node_del(&rig, node);
}

static void test_order_of_swaps_and_replies(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct rig_opened opened;
	uint8_t rrp[RIG_FRAME_MAX];

	for (unsigned i = 0, waiting = 0; i < 100; i++) {
		const char *to = i % 2 != 0 ? A : B;
		struct path_params moved = rig_path(to, NULL, 0);

		CU_ASSERT(dataplane_node_set_path(rig.dp, node, &moved) == 0);
		CU_ASSERT(dataplane_send_to_node(
				  rig.dp, 1, rrp, rig_udp(rrp, HA, 434, to, 434, i), true) == 0);
		waiting++;
		if (i % 3 != 0)
			continue;
		/* What waited leaves in order, all of it by the newest path. */
		rig_turn(&rig);
		for (; waiting != 0; waiting--) {
			CU_ASSERT(next_to(to, &opened));
			CU_ASSERT(opened.len == 28 + i - (waiting - 1));
		}
	}
	rig_node_del(&rig, node);
}

static void test_once(void)
{
	struct node *node = rig_node_add(&rig, 1, A), *closed = rig_node_add(&rig, 2, NULL);
	struct ip_endpoint there = {.addr = rig_addr("203.0.113.200")};
	struct path *before = path_of(node);
	uint8_t rrp[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len = rig_udp(rrp, HA, 434, "203.0.113.200", 434, 40);
	struct rig_opened opened;

	CU_ASSERT(dataplane_send_once(rig.dp, 1, &there, rrp, len) == 0);
	rig_turn(&rig);
	CU_ASSERT(next_to("203.0.113.200", &opened));
	CU_ASSERT(opened.len == len);
	CU_ASSERT(path_of(node) == before);
	CU_ASSERT(path_of(node)->first_tx_ns == 0 && path_of(node)->rrp_tx_ns == 0);
	CU_ASSERT(dataplane_send_to_node(rig.dp, 1, rrp, len, true) == 0);
	rig_turn(&rig);
	CU_ASSERT(next_to(A, &opened));

	/* On a closed path only the one given endpoint is served. */
	CU_ASSERT(dataplane_send_to_node(rig.dp, 2, rrp, len, true) == 0);
	CU_ASSERT(dataplane_send_once(rig.dp, 2, &there, rrp, len) == 0);
	rig_turn(&rig);
	CU_ASSERT(local(VERDICT_NO_PATH) == 1);
	len = rig_pop(&rig, DP_OUTSIDE, frame);
	CU_ASSERT(len > 14 && rig_unseal(2, frame + 14, len - 14, &opened));
	CU_ASSERT(ip_addr_equal(&opened.dst, &there.addr));
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);

	there.addr = rig_addr("127.0.0.1");
	CU_ASSERT(dataplane_send_once(rig.dp, 1, &there, rrp, len - 60) == 0);
	rig_turn(&rig);
	CU_ASSERT(local(VERDICT_NO_PATH) == 2);
	rig_node_del(&rig, node);
	rig_node_del(&rig, closed);
}

/* RRQ_SEEN is Linux's frame, the RRQ a datagram: they leave in the order of injection. */
static void test_seen_before_request(void)
{
	uint8_t frame[RIG_FRAME_MAX] = {2, 0, 0, 0, 0, 0x22, 2, 0, 0, 0, 0, 1, 8, 0};
	uint8_t rrq[RIG_FRAME_MAX], got[RIG_FRAME_MAX];
	size_t frame_len = 14 + rig_udp(frame + 14, "10.2.0.254", 4340, "10.2.0.1", 4340, 50);
	size_t rrq_len = rig_rrq(rrq, B, HA, HOA, B), len;

	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(dataplane_send_frame(rig.dp, DP_INSIDE, frame, frame_len) == 0);
		CU_ASSERT(dataplane_send_inside(rig.dp, rrq, rrq_len) == 0);
	}
	rig_turn(&rig);
	for (unsigned i = 0; i < 3; i++) {
		len = rig_pop(&rig, DP_INSIDE, got);
		CU_ASSERT(len == frame_len && memcmp(got, frame, len) == 0);
		len = rig_pop(&rig, DP_INSIDE, got);
		CU_ASSERT(len == rrq_len + 14 && memcmp(got + 14, rrq, rrq_len) == 0);
		CU_ASSERT(memcmp(got, rig_mac_inside_router, 6) == 0);
	}
	CU_ASSERT(rig_pop(&rig, DP_INSIDE, got) == 0);

	CU_ASSERT(dataplane_send_frame(rig.dp, DP_OUTSIDE, frame, frame_len) == 0);
	/* Never by the outside: there is a default route there, but none to 8.8.8.8 inside. */
	CU_ASSERT(dataplane_send_inside(rig.dp, rrq, rig_udp(rrq, HA, 1, "8.8.8.8", 2, 9)) == 0);
	rig_turn(&rig);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, got) == frame_len);
	CU_ASSERT(rig_pop(&rig, DP_INSIDE, got) == 0);
	CU_ASSERT(local(VERDICT_NO_ROUTE) == 1);
}

static void test_limits(void)
{
	static uint8_t big[9000] = {0x45};
	unsigned sent = 0;
	int ret;

	CU_ASSERT(dataplane_send_frame(rig.dp, DP_INSIDE, big, RIG_MTU + 15) == -EMSGSIZE);
	CU_ASSERT(dataplane_send_inside(rig.dp, big, RIG_MTU + 1) == -EMSGSIZE);
	CU_ASSERT(dataplane_send_frame(rig.dp, DP_INSIDE, big, 0) == -EMSGSIZE);
	while ((ret = dataplane_send_to_node(rig.dp, 9, big, 100, false)) == 0 && sent < 10000)
		sent++;
	CU_ASSERT(ret == -ENOBUFS);
	CU_ASSERT(sent == 1023);
	while (worker_run_once(rig.dp->workers[0]) != 0)
		;
	CU_ASSERT(local(VERDICT_NO_SA_OUT) == sent); /* no node has that handle */
	CU_ASSERT(dataplane_send_to_node(rig.dp, UINT32_MAX, big, 100, false) == 0);
	rig_turn(&rig);
	CU_ASSERT(local(VERDICT_NO_SA_OUT) == sent + 1);
}

static void test_unresolved_kept_sent(void)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0x99};
	struct node *node = rig_node_add(&rig, 1, A);
	struct ip_addr host = rig_addr("10.2.0.99");
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct punt punts[4];
	uint64_t ok = local(VERDICT_OK);

	for (unsigned i = 0; i < 3; i++)
		rig_push(&rig, DP_OUTSIDE, ip,
			rig_seal(&rig, ip, 1, A, inner,
				rig_udp(inner, HOA, 1, "10.2.0.99", (uint16_t)(100 + i), 64)));
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, punts, 4) == 3);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(punts[i].reason == PUNT_UNRESOLVED && punts[i].port == DP_INSIDE);
		CU_ASSERT(ip_addr_equal(&punts[i].next_hop, &host));
		CU_ASSERT(punts[i].len == 92);
	}
	CU_ASSERT(dataplane_neigh_set(rig.dp, DP_INSIDE, &host, mac) == 0);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT(dataplane_send_kept(rig.dp, &punts[i]) == 0);
	rig_turn(&rig);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT(rig_pop(&rig, DP_INSIDE, frame) == 92 + 14);
		CU_ASSERT(memcmp(frame, mac, 6) == 0);
		CU_ASSERT(wire_load_u16(frame + 14 + 22) == 100 + i);
	}
	CU_ASSERT(local(VERDICT_OK) == ok + 3);
	CU_ASSERT(dataplane_neigh_del(rig.dp, DP_INSIDE, &host) == 0);
	CU_ASSERT(dataplane_neigh_del(rig.dp, DP_INSIDE, &host) == -ENOENT);
	rig_node_del(&rig, node);
}

/* The gateway of a route is what is unresolved, not the destination. */
static void test_unresolved_gateway(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct ip_addr router = rig_addr("192.0.2.254");
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct rig_opened opened;
	struct punt punt;

	CU_ASSERT(dataplane_neigh_del(rig.dp, DP_OUTSIDE, &router) == 0);
	rig_push(&rig, DP_INSIDE, ip,
		rig_ipip(ip, HA, A, inner, rig_udp(inner, CORR, 1, HOA, 2, 100)));
	rig_turn(&rig);
	CU_ASSERT_FATAL(dataplane_punt_burst(rig.dp, &punt, 1) == 1);
	CU_ASSERT(punt.port == DP_OUTSIDE);
	CU_ASSERT(ip_addr_equal(&punt.next_hop, &router));
	CU_ASSERT(dataplane_neigh_set(rig.dp, DP_OUTSIDE, &router, rig_mac_outside_router) == 0);
	CU_ASSERT(dataplane_send_kept(rig.dp, &punt) == 0);
	rig_turn(&rig);
	CU_ASSERT(next_to(A, &opened));
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);
	rig_node_del(&rig, node);
}

static unsigned used_outside, used_inside;

static void note_used(void *arg, enum dp_port port, const struct ip_addr *addr)
{
	struct ip_addr router = rig_addr("192.0.2.254");

	(void)arg;
	if (port == DP_INSIDE)
		used_inside++;
	else if (ip_addr_equal(addr, &router))
		used_outside++;
}

static void test_used_neighbours(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX];
	struct rig_opened opened;

	dataplane_neigh_each_used(rig.dp, note_used, NULL);
	used_inside = used_outside = 0;
	rig_push(&rig, DP_INSIDE, ip,
		rig_ipip(ip, HA, A, inner, rig_udp(inner, CORR, 1, HOA, 2, 100)));
	rig_turn(&rig);
	CU_ASSERT(next_to(A, &opened));
	dataplane_neigh_each_used(rig.dp, note_used, NULL);
	CU_ASSERT(used_outside == 1 && used_inside == 0);
	dataplane_neigh_each_used(rig.dp, note_used, NULL);
	CU_ASSERT(used_outside == 1);
	rig_node_del(&rig, node);
}

static void punt_some(uint32_t worker, enum punt_reason reason, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *mbuf = rte_pktmbuf_alloc(rig.dp->inject_pool);

		CU_ASSERT_FATAL(mbuf != NULL);
		*pkt_meta(mbuf) = (struct pkt_meta){
			.kind = (uint8_t)reason, .port = DP_OUTSIDE, .node = worker};
		CU_ASSERT(punt_push(&rig.dp->workers[worker]->rings, mbuf));
	}
}

/* Frames that came to one worker, more than control takes at once, hold up neither the other
 * worker's nor the ICMP errors. */
static void test_no_worker_is_starved(void)
{
	struct punt punts[32];
	unsigned frames[2] = {0}, errors = 0;

	punt_some(0, PUNT_FRAME, 200);
	punt_some(1, PUNT_FRAME, 40);
	punt_some(1, PUNT_ERROR, 6);
	for (unsigned burst = 0; burst < 4; burst++) {
		unsigned n = dataplane_punt_burst(rig.dp, punts, 32);

		CU_ASSERT(n == 32);
		for (unsigned i = 0; i < n; i++) {
			if (punts[i].reason == PUNT_ERROR)
				errors++;
			else
				frames[punts[i].node]++;
			dataplane_punt_done(rig.dp, &punts[i]);
		}
	}
	CU_ASSERT(errors == 6);
	CU_ASSERT(frames[1] == 40 && frames[0] == 4 * 32 - 46);
	for (unsigned n; (n = dataplane_punt_burst(rig.dp, punts, 32)) != 0;)
		while (n > 0)
			dataplane_punt_done(rig.dp, &punts[--n]);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"a reply follows the swap", test_reply_follows_the_swap},
		{"order of swaps and replies", test_order_of_swaps_and_replies},
		{"once, to a given endpoint", test_once},
		{"RRQ_SEEN before the RRQ", test_seen_before_request},
		{"limits", test_limits},
		{"unresolved, kept, sent", test_unresolved_kept_sent},
		{"unresolved gateway", test_unresolved_gateway},
		{"used neighbours", test_used_neighbours},
		{"no worker is starved", test_no_worker_is_starved},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 2, 512);
	ret = unit_run("dataplane: inject", cases);
	rig_close(&rig);
	return ret;
}
