/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: packets of two sizes go to a node whose path is on credit; the bytes that leave
 * are summed up and compared with it.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#define A "198.51.100.7"
#define B "203.0.113.7"
#define HA "10.1.0.1"
#define HOA "10.1.0.10"
#define CORR "10.2.0.5"
#define CREDIT 5000
#define ETHERNET_BYTES 14

static struct rig rig;

/* A packet for the node: bytes of outer packet that leave, 0: none. */
static size_t send_out(size_t payload_len)
{
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len = rig_udp(inner, CORR, 1, HOA, 2, payload_len);

	len = rig_ipip(ip, HA, A, inner, len);
	rig_push(&rig, DP_INSIDE, ip, len);
	worker_run_once(rig.dp->workers[0]);
	len = rig_pop(&rig, DP_OUTSIDE, frame);
	return len == 0 ? 0 : len - ETHERNET_BYTES;
}

static uint64_t refused(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums.out[VERDICT_NO_CREDIT];
}

static int set_path(struct node *node, uint8_t flags, uint32_t credit)
{
	struct path_params params = rig_path(A, NULL, 0);

	params.remote.addr = rig_addr(B);
	params.flags = flags;
	params.credit = credit;
	return dataplane_node_set_path(rig.dp, node, &params);
}

static void never_more_than_the_credit(uint8_t flags)
{
	struct node *node = rig_node_add(&rig, 1, A);
	const uint64_t before = refused();
	size_t sent = 0, len, one = send_out(900);

	CU_ASSERT(set_path(node, flags, CREDIT) == 0);
	CU_ASSERT(atomic_load(&rig.dp->paths_on_credit) == 1);
	while ((len = send_out(900)) != 0)
		sent += len;
	CU_ASSERT(sent == CREDIT / one * one && sent != 0);
	CU_ASSERT(refused() == before + 1);
	/* What is left is good for smaller ones. */
	while ((len = send_out(8)) != 0)
		sent += len;
	CU_ASSERT(sent <= CREDIT && CREDIT - sent < 100);

	/* Confirmed. */
	CU_ASSERT(set_path(node, 0, 0) == 0);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT(send_out(900) == one);
	rig_turn(&rig);
	rig_turn(&rig);
	CU_ASSERT(atomic_load(&rig.dp->paths_on_credit) == 0);
	rig_node_del(&rig, node);
}

static void test_never_more_than_the_credit(void)
{
	never_more_than_the_credit(PATH_PROVISIONAL);
	never_more_than_the_credit(PATH_UNVERIFIED);
	never_more_than_the_credit(PATH_PROVISIONAL | PATH_UNVERIFIED);
}

/* The reply to a registration, and what goes to one endpoint once, neither wait for a credit nor
 * take from it. All else that control says does. */
static void test_reply(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	uint8_t datagram[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len = rig_udp(datagram, HA, 434, B, 434, 100);
	const struct ip_endpoint elsewhere = {.addr = rig_addr(B)};

	CU_ASSERT(set_path(node, PATH_UNVERIFIED, 0) == 0);
	CU_ASSERT(dataplane_send_to_node(rig.dp, 1, datagram, len, true) == 0);
	CU_ASSERT(dataplane_send_once(rig.dp, 1, &elsewhere, datagram, len) == 0);
	worker_run_once(rig.dp->workers[0]);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) != 0);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) != 0);
	CU_ASSERT(dataplane_send_to_node(rig.dp, 1, datagram, len, false) == 0);
	worker_run_once(rig.dp->workers[0]);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) == 0);
	CU_ASSERT(set_path(node, PATH_UNVERIFIED, CREDIT) == 0);
	CU_ASSERT(dataplane_send_to_node(rig.dp, 1, datagram, len, true) == 0);
	CU_ASSERT(dataplane_send_once(rig.dp, 1, &elsewhere, datagram, len) == 0);
	worker_run_once(rig.dp->workers[0]);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) != 0);
	CU_ASSERT(rig_pop(&rig, DP_OUTSIDE, frame) != 0);
	CU_ASSERT(atomic_load(&atomic_load(&node->path)->credit) == CREDIT);
	rig_node_del(&rig, node);
}

/* The credit of one node is its own. */
static void test_another_node(void)
{
	struct node *node = rig_node_add(&rig, 1, A), *other = rig_node_add(&rig, 2, B);

	CU_ASSERT(set_path(other, PATH_PROVISIONAL, 0) == 0);
	CU_ASSERT(send_out(900) != 0);
	CU_ASSERT(set_path(node, PATH_PROVISIONAL, 0) == 0);
	CU_ASSERT(send_out(900) == 0);
	rig_node_del(&rig, node);
	rig_node_del(&rig, other);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"never more than the credit", test_never_more_than_the_credit},
		{"reply", test_reply},
		{"another node", test_another_node},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	ret = unit_run("dataplane: credit", cases);
	rig_close(&rig);
	return ret;
}
