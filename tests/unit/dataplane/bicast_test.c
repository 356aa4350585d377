/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a node moves with and without a second end; what leaves for both is opened with
 * OpenSSL and compared byte by byte behind the outer headers. Time is the test's.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/bicast.h"
#include "dataplane/ip4.h"
#include "dataplane/now.h"

#define A "198.51.100.7"
#define B "203.0.113.7"
#define HA "10.1.0.1"
#define HOA "10.1.0.10"
#define CORR "10.2.0.5"
#define GRACE_NS (2 * NS_PER_S)
#define OUTER_BYTES 20
#define UDP_BYTES 8

static struct rig rig;
static uint64_t now;

static void at(uint64_t ns)
{
	now = ns;
	clock_set_test(now, now);
}

static be32_t addr_be(const char *text)
{
	const struct ip_addr addr = rig_addr(text);

	return ip_addr_to_v4(&addr);
}

static int move(struct node *node, const char *second, uint16_t port)
{
	struct path_params params = rig_path(B, A, now + GRACE_NS);

	params.second = (struct ip_endpoint){.port = port};
	if (second != NULL)
		params.second.addr = rig_addr(second);
	return dataplane_node_set_path(rig.dp, node, &params);
}

static void push(size_t payload_len)
{
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX];
	size_t len = rig_udp(inner, CORR, 1, HOA, 2, payload_len);

	wire_store_u16(inner + 6, 0); /* may be cut */
	rig_checksum(inner);
	len = rig_ipip(ip, HA, B, inner, len);
	rig_push(&rig, DP_INSIDE, ip, len);
}

/* An outer packet that leaves; 0: none. */
static size_t pop(uint8_t *out, struct rig_opened *opened)
{
	uint8_t frame[RIG_FRAME_MAX];
	size_t len = rig_pop(&rig, DP_OUTSIDE, frame);

	if (len == 0)
		return 0;
	memcpy(out, frame + 14, len - 14);
	CU_ASSERT(rig_unseal(1, out, len - 14, opened));
	return len - 14;
}

static uint64_t local(enum verdict verdict)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums.local[verdict];
}

/* One packet: to B alone, or the same to A, too. */
static void check_one(bool copied)
{
	uint8_t first[RIG_FRAME_MAX], second[RIG_FRAME_MAX];
	const uint64_t before = local(VERDICT_OK);
	struct rig_opened to_a, to_b;
	size_t len;

	push(64);
	worker_run_once(rig.dp->workers[0]);
	if (copied) {
		len = pop(first, &to_a);
		CU_ASSERT_FATAL(len != 0);
		CU_ASSERT(ip4_dst(first) == addr_be(A));
		CU_ASSERT(ip4_check(first, (uint32_t)len) == VERDICT_OK);
		CU_ASSERT(pop(second, &to_b) == len);
		CU_ASSERT(
			memcmp(first + OUTER_BYTES, second + OUTER_BYTES, len - OUTER_BYTES) == 0);
		CU_ASSERT(to_a.seq == to_b.seq && to_a.iv == to_b.iv);
	} else {
		CU_ASSERT(pop(second, &to_b) != 0);
	}
	CU_ASSERT(ip4_dst(second) == addr_be(B));
	CU_ASSERT(pop(second, &to_b) == 0);
	CU_ASSERT(local(VERDICT_OK) == before + copied);
}

static void test_in_the_grace_time(void)
{
	struct node *node = rig_node_add(&rig, 1, A);

	CU_ASSERT(move(node, A, 0) == 0);
	check_one(true);
	at(now + GRACE_NS - 1);
	check_one(true);
	at(now + 1);
	check_one(false);
	rig_node_del(&rig, node);
}

static void test_without_a_second_end(void)
{
	struct node *node = rig_node_add(&rig, 1, A), *other = rig_node_add(&rig, 2, A);

	/* Another node's grace time does not make copies of this one's packets. */
	CU_ASSERT(move(other, A, 0) == 0);
	CU_ASSERT(move(node, NULL, 0) == 0);
	check_one(false);
	/* What cannot be an end does not stop the move. */
	CU_ASSERT(move(node, "224.0.0.1", 0) == 0);
	check_one(false);
	CU_ASSERT(move(node, "2001:db8::1", 0) == 0);
	check_one(false);
	rig_node_del(&rig, node);
	rig_node_del(&rig, other);
}

/* The former end was behind a NAT. */
static void test_second_end_in_udp(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	uint8_t plain[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	struct rig_opened opened;
	const uint8_t *udp = frame + 14 + OUTER_BYTES;
	size_t len, plain_len;

	CU_ASSERT(move(node, A, 5000) == 0);
	push(64);
	worker_run_once(rig.dp->workers[0]);
	len = rig_pop(&rig, DP_OUTSIDE, frame) - 14;
	plain_len = pop(plain, &opened);
	CU_ASSERT(len == plain_len + UDP_BYTES);
	CU_ASSERT(ip4_check(frame + 14, (uint32_t)len) == VERDICT_OK);
	CU_ASSERT(ip4_protocol(frame + 14) == IP4_PROTO_UDP && ip4_dst(frame + 14) == addr_be(A));
	CU_ASSERT(wire_load_u16(udp) == PATH_NAT_PORT && wire_load_u16(udp + 2) == 5000);
	CU_ASSERT(wire_load_u16(udp + 4) == len - OUTER_BYTES && wire_load_u16(udp + 6) == 0);
	CU_ASSERT(memcmp(udp + UDP_BYTES, plain + OUTER_BYTES, plain_len - OUTER_BYTES) == 0);
	rig_node_del(&rig, node);
}

/* The pieces of what is too big have their copies, too. */
static void test_fragments(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	uint8_t outer[RIG_FRAME_MAX];
	unsigned to_a = 0, to_b = 0;
	struct rig_opened opened;

	CU_ASSERT(move(node, A, 0) == 0);
	push(1440);
	worker_run_once(rig.dp->workers[0]);
	while (pop(outer, &opened) != 0) {
		to_a += ip4_dst(outer) == addr_be(A);
		to_b += ip4_dst(outer) == addr_be(B);
	}
	CU_ASSERT(to_a == 2 && to_b == 2);
	rig_node_del(&rig, node);
}

static unsigned drain(void)
{
	uint8_t frame[RIG_FRAME_MAX];
	unsigned n = 0;

	while (rig_pop(&rig, DP_OUTSIDE, frame) != 0)
		n++;
	return n;
}

static void test_limits(void)
{
	struct node *node = rig_node_add(&rig, 1, A);
	struct rte_mempool *pool = rig.dp->ports[DP_INSIDE].pool;
	const uint64_t refused = local(VERDICT_RATE_LIMITED), no_room = local(VERDICT_NO_ROOM);
	static struct rte_mbuf *taken[1 << 17];
	unsigned n = 0, left = 0;

	at(now + NS_PER_S);
	CU_ASSERT(move(node, A, 0) == 0);
	/* Not one copy more than the rate allows, and not one packet less. */
	for (unsigned i = 0; i < BICAST_AT_ONCE + 10; i++) {
		push(64);
		worker_run_once(rig.dp->workers[0]);
		left += drain();
	}
	CU_ASSERT(left == 2 * BICAST_AT_ONCE + 10);
	CU_ASSERT(local(VERDICT_RATE_LIMITED) == refused + 10);
	at(now + NS_PER_S);

	/* No buffer: the packet itself goes its way. */
	push(64);
	while (n < 1 << 17 && (taken[n] = rte_pktmbuf_alloc(pool)) != NULL)
		n++;
	worker_run_once(rig.dp->workers[0]);
	CU_ASSERT(drain() == 1);
	CU_ASSERT(local(VERDICT_NO_ROOM) == no_room + 1);
	while (n != 0)
		rte_pktmbuf_free(taken[--n]);
	check_one(true);
	rig_node_del(&rig, node);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"the same ciphertext twice in the grace time", test_in_the_grace_time},
		{"one packet without a second end", test_without_a_second_end},
		{"a second end in UDP", test_second_end_in_udp},
		{"fragments", test_fragments},
		{"rate and buffers", test_limits},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	at(clock_mono_ns());
	ret = unit_run("dataplane: bicast", cases);
	rig_close(&rig);
	return ret;
}
