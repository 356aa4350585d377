/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: nodes move by dataplane_node_set_path() and packets from the private side, as
 * IP-in-IP and plain, tell where each of them is found. Time is the test's.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/now.h"
#include "lib/ipv4.h"

#include <rte_malloc.h>

#include <errno.h>

#define A "198.51.100.7"
#define B "203.0.113.7"
#define C "203.0.113.8"
#define HA "10.1.0.1"
#define CORR "10.2.0.5"
#define GRACE_NS (2 * NS_PER_S)

static struct rig rig;
static uint64_t now;

static void at(uint64_t ns)
{
	now = ns;
	clock_set_test(now, now);
}

static int move(struct node *node, const char *coa, const char *former)
{
	struct path_params params = rig_path(coa, former, now + GRACE_NS);

	return dataplane_node_set_path(rig.dp, node, &params);
}

/* What becomes of a packet for `home` through the tunnel to `coa`, or (home NULL) of a plain packet
 * to coa: the verdict, and on VERDICT_OK who got it and where it went. */
struct outcome {
	enum verdict verdict;
	uint32_t handle;
	struct ip_addr to;
};

static struct outcome send_out(const char *home, const char *coa)
{
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct dp_verdicts before, after;
	struct outcome outcome = {.verdict = VERDICT_COUNT};
	struct rig_opened opened;
	size_t len;

	if (home == NULL)
		len = rig_udp(ip, CORR, 1, coa, 2, 64);
	else
		len = rig_ipip(ip, HA, coa, inner, rig_udp(inner, CORR, 1, home, 2, 64));
	dataplane_verdicts(rig.dp, &before);
	rig_push(&rig, DP_INSIDE, ip, len);
	worker_run_once(rig.dp->workers[0]);
	dataplane_verdicts(rig.dp, &after);
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		if (after.out[i] != before.out[i])
			outcome.verdict = (enum verdict)i;
	len = rig_pop(&rig, DP_OUTSIDE, frame);
	for (uint32_t handle = 1; len != 0 && handle < 8; handle++) {
		if (!rig_unseal(handle, frame + 14, len - 14, &opened))
			continue;
		outcome.handle = handle;
		outcome.to = opened.dst;
	}
	return outcome;
}

static bool reached(struct outcome outcome, uint32_t handle, const char *to)
{
	struct ip_addr addr = rig_addr(to);

	return outcome.verdict == VERDICT_OK && outcome.handle == handle &&
	       ip_addr_equal(&outcome.to, &addr);
}

static bool refused(struct outcome outcome, enum verdict verdict)
{
	return outcome.verdict == verdict && outcome.handle == 0;
}

static void expire(uint64_t ns)
{
	at(now + ns);
	dataplane_poll(rig.dp, now, NULL, NULL);
}

static void test_handover(void)
{
	struct node *node = rig_node_add(&rig, 1, A);

	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, A));
	CU_ASSERT(refused(send_out("10.1.0.10", B), VERDICT_SELECTOR));
	CU_ASSERT(refused(send_out(NULL, B), VERDICT_NO_SA_OUT));

	CU_ASSERT(move(node, B, A) == 0);
	/* In the grace time the former selector is taken, and goes to the new address. */
	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, B));
	CU_ASSERT(reached(send_out("10.1.0.10", B), 1, B));
	CU_ASSERT(reached(send_out(NULL, A), 1, B));
	CU_ASSERT(reached(send_out(NULL, B), 1, B));

	/* The deadline is the path's own: no poll is needed. */
	at(now + GRACE_NS - 1);
	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, B));
	at(now + 1);
	CU_ASSERT(refused(send_out("10.1.0.10", A), VERDICT_SELECTOR));
	CU_ASSERT(refused(send_out(NULL, A), VERDICT_SELECTOR));
	expire(1);
	CU_ASSERT(refused(send_out(NULL, A), VERDICT_NO_SA_OUT));
	CU_ASSERT(reached(send_out(NULL, B), 1, B));

	CU_ASSERT(move(node, NULL, NULL) == 0); /* deregistered */
	CU_ASSERT(refused(send_out("10.1.0.10", B), VERDICT_NO_PATH));
	CU_ASSERT(refused(send_out(NULL, B), VERDICT_NO_SA_OUT));
	rig_node_del(&rig, node);
}

static void test_move_to_the_same_address(void)
{
	struct node *node = rig_node_add(&rig, 1, A);

	CU_ASSERT(move(node, A, A) == 0); /* a new generation, say */
	CU_ASSERT(reached(send_out(NULL, A), 1, A));
	CU_ASSERT(move(node, A, NULL) == 0);
	expire(2 * GRACE_NS);
	CU_ASSERT(reached(send_out(NULL, A), 1, A));
	rig_node_del(&rig, node);
}

static void test_same_label(void)
{
	struct node *one = rig_node_add(&rig, 1, A), *two = rig_node_add(&rig, 2, A);

	/* By home address each is found; by the label alone neither. */
	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, A));
	CU_ASSERT(reached(send_out("10.1.0.11", A), 2, A));
	CU_ASSERT(refused(send_out(NULL, A), VERDICT_AMBIGUOUS_COA));

	CU_ASSERT(move(two, B, A) == 0);
	CU_ASSERT(reached(send_out(NULL, A), 1, A)); /* the current owner beats the former */
	CU_ASSERT(reached(send_out("10.1.0.11", A), 2, B));
	CU_ASSERT(move(one, C, A) == 0);
	CU_ASSERT(refused(send_out(NULL, A), VERDICT_AMBIGUOUS_COA)); /* two former ones */
	expire(GRACE_NS + 1);
	CU_ASSERT(refused(send_out(NULL, A), VERDICT_NO_SA_OUT));
	rig_node_del(&rig, one);
	rig_node_del(&rig, two);
}

static void test_take_over_in_grace(void)
{
	struct node *one = rig_node_add(&rig, 1, A), *two = rig_node_add(&rig, 2, C);

	CU_ASSERT(move(one, B, A) == 0);
	CU_ASSERT(reached(send_out(NULL, A), 1, B));
	CU_ASSERT(move(two, A, C) == 0);
	CU_ASSERT(reached(send_out(NULL, A), 2, A));        /* at once */
	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, B)); /* still grace by home address */
	CU_ASSERT(reached(send_out("10.1.0.11", A), 2, A));
	expire(GRACE_NS + 1);
	CU_ASSERT(reached(send_out(NULL, A), 2, A));
	CU_ASSERT(refused(send_out("10.1.0.10", A), VERDICT_SELECTOR));
	rig_node_del(&rig, one);
	CU_ASSERT(reached(send_out(NULL, A), 2, A));
	rig_node_del(&rig, two);
	CU_ASSERT(refused(send_out(NULL, A), VERDICT_NO_SA_OUT));
}

static void test_swap_of_addresses(void)
{
	struct node *one = rig_node_add(&rig, 1, A), *two = rig_node_add(&rig, 2, B);

	CU_ASSERT(move(one, B, A) == 0);
	CU_ASSERT(refused(send_out(NULL, B), VERDICT_AMBIGUOUS_COA)); /* for the moment between */
	CU_ASSERT(reached(send_out(NULL, A), 1, B));
	CU_ASSERT(move(two, A, B) == 0);
	CU_ASSERT(reached(send_out(NULL, A), 2, A));
	CU_ASSERT(reached(send_out(NULL, B), 1, B));
	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, B));
	CU_ASSERT(reached(send_out("10.1.0.11", B), 2, A));
	expire(GRACE_NS + 1);
	CU_ASSERT(reached(send_out(NULL, A), 2, A));
	CU_ASSERT(reached(send_out(NULL, B), 1, B));
	rig_node_del(&rig, one);
	rig_node_del(&rig, two);
}

static void test_grace_in_any_order(void)
{
	struct node *nodes[3];
	static const char *const homes[] = {"198.51.100.21", "198.51.100.22", "198.51.100.23"};
	static const char *const moved[] = {"198.51.100.31", "198.51.100.32", "198.51.100.33"};
	static const unsigned grace_s[] = {3, 1, 2};

	for (uint32_t i = 0; i < 3; i++) {
		struct path_params params = rig_path(
			moved[i], homes[i], now + grace_s[i] * NS_PER_S);

		nodes[i] = rig_node_add(&rig, i + 1, homes[i]);
		CU_ASSERT(dataplane_node_set_path(rig.dp, nodes[i], &params) == 0);
	}
	for (unsigned passed = 1; passed <= 3; passed++) {
		expire(NS_PER_S);
		for (unsigned i = 0; i < 3; i++)
			CU_ASSERT(send_out(NULL, homes[i]).verdict ==
				  (grace_s[i] <= passed ? VERDICT_NO_SA_OUT : VERDICT_OK));
	}
	for (unsigned i = 0; i < 3; i++)
		rig_node_del(&rig, nodes[i]);
}

static void test_refusals_change_nothing(void)
{
	struct node *node = rig_node_add(&rig, 1, A), *other;
	struct dp_node_params params = rig_node_params(1, B);
	struct path_params bad = rig_path("198.51.100.9", NULL, 0);

	CU_ASSERT(dataplane_node_add(rig.dp, &params, &other) == -EEXIST); /* handle */
	params.handle = 2;
	CU_ASSERT(dataplane_node_add(rig.dp, &params, &other) == -EEXIST); /* home address */
	params = rig_node_params(2, B);
	params.home_agent = rig_addr("10.1.0.77");
	CU_ASSERT(dataplane_node_add(rig.dp, &params, &other) == -EINVAL);
	params = rig_node_params(0, B);
	CU_ASSERT(dataplane_node_add(rig.dp, &params, &other) == -EINVAL);
	CU_ASSERT(refused(send_out(NULL, B), VERDICT_NO_SA_OUT));

	bad.remote.addr = rig_addr("224.0.0.1");
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &bad) == -EINVAL);
	CU_ASSERT(reached(send_out(NULL, A), 1, A));
	CU_ASSERT(refused(send_out(NULL, "198.51.100.9"), VERDICT_NO_SA_OUT));
	rig_node_del(&rig, node);
}

/* --- SAs of a node -------------------------------------------------------------------------------
 */

static void test_rekey(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct sa_params fresh = rig_sa(2, false); /* node 2's key, so the test can tell */
	struct sa_params same = rig_sa(1, false);

	CU_ASSERT(dataplane_sa_out_add(rig.dp, node, &same, 1) == -EEXIST);
	CU_ASSERT(dataplane_sa_out_switch(rig.dp, node) == -ENOENT);
	CU_ASSERT(dataplane_sa_out_add(rig.dp, node, &fresh, 1) == 0);
	CU_ASSERT(reached(send_out("10.1.0.10", A), 1, A));
	CU_ASSERT(dataplane_sa_out_switch(rig.dp, node) == 0);
	CU_ASSERT(reached(send_out("10.1.0.10", A), 2, A));
	fresh = rig_sa(3, false);
	CU_ASSERT(dataplane_sa_out_add(rig.dp, node, &fresh, 1) == -ENOSPC);
	CU_ASSERT(dataplane_sa_out_del(rig.dp, node, RIG_SPI_OUT + (1 << 16), true) == 0);
	CU_ASSERT(dataplane_sa_out_del(rig.dp, node, RIG_SPI_OUT + (1 << 16), true) == -ENOENT);
	CU_ASSERT(reached(send_out("10.1.0.10", A), 2, A));
	/* The current one can go while another waits: that one takes over. */
	CU_ASSERT(dataplane_sa_out_add(rig.dp, node, &fresh, 1) == 0);
	CU_ASSERT(dataplane_sa_out_del(rig.dp, node, RIG_SPI_OUT + (2 << 16), true) == 0);
	CU_ASSERT(reached(send_out("10.1.0.10", A), 3, A));
	CU_ASSERT(dataplane_sa_out_del(rig.dp, node, RIG_SPI_OUT + (3 << 16), true) == 0);
	CU_ASSERT(refused(send_out("10.1.0.10", A), VERDICT_NO_SA_OUT));
	rig_node_del(&rig, node);
}

static void test_inbound_sas(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct sa_params params = rig_sa(1, true);

	CU_ASSERT(dataplane_sa_in_add(rig.dp, node, &params) == -EEXIST);
	CU_ASSERT(sa_source_parse(B, &params.source) ==
		  NULL); /* the same SPI for a given source is another SA */
	params.key[0] ^= 1;
	CU_ASSERT(dataplane_sa_in_add(rig.dp, node, &params) == 0);
	for (unsigned i = 2; i < NODE_INBOUND_MAX; i++) {
		params = rig_sa(1 + i, true);
		CU_ASSERT(dataplane_sa_in_add(rig.dp, node, &params) == 0);
	}
	params = rig_sa(7, true);
	CU_ASSERT(dataplane_sa_in_add(rig.dp, node, &params) == -ENOSPC);
	CU_ASSERT(dataplane_sa_in_del(rig.dp, node, params.spi, true) == -ENOENT);
	CU_ASSERT(dataplane_sa_in_del(rig.dp, node, RIG_SPI_IN + (3 << 16), true) == 0);
	CU_ASSERT(dataplane_sa_in_add(rig.dp, node, &params) == 0);
	rig_node_del(&rig, node);
}

/* As measured: what DPDK's heap gave for nodes with two SAs, its own headers included, and the
 * slots of a window of 1024 packets beside it. */
#define MEASURED_NODES 60
#define NODE_BYTES_MAX 4096
#define SLOTS_BYTES (64 + 320) /* dataplane/esp/counters.c: multiples of 64 */

static void test_memory_of_a_node(void)
{
	struct rte_malloc_socket_stats before, after;
	struct node *nodes[MEASURED_NODES];
	size_t bytes;

	rte_malloc_get_socket_stats(0, &before);
	for (uint32_t i = 0; i < MEASURED_NODES; i++) {
		char coa[32];

		snprintf(coa, sizeof coa, "198.51.100.%u", 100 + i);
		nodes[i] = rig_node_add(&rig, i + 1, coa);
	}
	rte_malloc_get_socket_stats(0, &after);
	bytes = (after.heap_allocsz_bytes - before.heap_allocsz_bytes) / MEASURED_NODES +
		SLOTS_BYTES;
	printf("%zu bytes ", bytes);
	CU_ASSERT(bytes > sizeof(struct sa_in) + sizeof(struct sa_out) + SLOTS_BYTES);
	CU_ASSERT(bytes <= NODE_BYTES_MAX);
	for (uint32_t i = 0; i < MEASURED_NODES; i++)
		rig_node_del(&rig, nodes[i]);
	/* Deleted nodes make room for new ones. */
	before = after;
	for (uint32_t i = 0; i < MEASURED_NODES; i++)
		nodes[i] = rig_node_add(&rig, i + 1, NULL);
	rte_malloc_get_socket_stats(0, &after);
	CU_ASSERT(after.heap_allocsz_bytes == before.heap_allocsz_bytes);
	for (uint32_t i = 0; i < MEASURED_NODES; i++)
		rig_node_del(&rig, nodes[i]);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"a node with two SAs fits 4 KB", test_memory_of_a_node}, /* before slabs grow */
		{"a handover", test_handover},
		{"to the same address", test_move_to_the_same_address},
		{"two nodes with one label", test_same_label},
		{"an address taken over in grace", test_take_over_in_grace},
		{"two nodes that swap addresses", test_swap_of_addresses},
		{"grace times end in any order", test_grace_in_any_order},
		{"refusals change nothing", test_refusals_change_nothing},
		{"outbound rekeying", test_rekey},
		{"inbound SAs", test_inbound_sas},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	at(clock_mono_ns());
	ret = unit_run("dataplane: move", cases);
	rig_close(&rig);
	return ret;
}
