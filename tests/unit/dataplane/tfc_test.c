/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Padding against traffic analysis, by table, and dummies: what leaves is opened with OpenSSL. Path
 * MTU 1500 and aes128gcm16: 1446 bytes inside.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/now.h"
#include "dataplane/tfc.h"

#define A "198.51.100.7"
#define B "203.0.113.7"
#define CORR "10.2.0.5"
#define HDRS 28 /* IPv4 and UDP */
#define ROOM 1446u
#define UDP_BYTES 8u

static struct rig rig;

static struct node *add_node(uint32_t handle, uint16_t pad)
{
	struct dp_node_params params = rig_node_params(handle, A);

	params.tfc.pad = pad;
	return rig_node_add_params(&rig, &params);
}

static size_t pop(uint32_t handle, struct rig_opened *opened)
{
	uint8_t frame[RIG_FRAME_MAX];
	size_t len = rig_pop(&rig, DP_OUTSIDE, frame);

	if (len != 0)
		CU_ASSERT(rig_unseal(handle, frame + 14, len - 14, opened));
	return len;
}

static bool is_zero(const uint8_t *at, size_t n)
{
	while (n != 0 && at[n - 1] == 0)
		n--;
	return n == 0;
}

static void test_sizes(void)
{
	static const struct {
		const char *name;
		uint16_t pad, len, want;
	} rows[] = {
		{"off", 0, 100, 100},
		{"multiple of 1", 1, 101, 101},
		{"one byte more", 101, 100, 101},
		{"a multiple already", 256, 512, 512},
		{"one above", 256, 513, 768},
		{"one below", 256, 511, 512},
		{"as far as the path goes", 256, 1290, ROOM},
		{"all that fits", 9000, 28, ROOM},
		{"one below what fits", 1500, ROOM - 1, ROOM},
		{"just fits", 1500, ROOM, ROOM},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct node *node = add_node(1, rows[i].pad);
		uint8_t ip[RIG_FRAME_MAX];
		struct rig_opened opened = {0};
		size_t len = rig_udp(ip, CORR, 1, A, 2, rows[i].len - HDRS);

		/* A buffer that held something else before. */
		for (unsigned k = 0; k < 4; k++) {
			rig_push(&rig, DP_INSIDE, ip, len);
			rig_turn(&rig);
			CHECK_ROW(rows[i].name, pop(1, &opened) != 0);
		}
		CHECK_ROW(rows[i].name, opened.len == rows[i].want && opened.next_header == 4);
		CHECK_ROW(rows[i].name, ip4_total_len(opened.inner) == rows[i].len);
		CHECK_ROW(rows[i].name, memcmp(opened.inner + 20, ip + 20, len - 20) == 0);
		CHECK_ROW(rows[i].name, is_zero(opened.inner + len, rows[i].want - len));
		rig_node_del(&rig, node);
	}
	CU_ASSERT_EQUAL(atomic_load(&rig.dp->tfc_nodes), 0);
}

/* In one burst, one node has it, the other not. */
static void test_per_node(void)
{
	struct node *padded = add_node(1, 400), *plain = add_node(2, 0);
	struct rig_opened opened;
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX];

	for (unsigned i = 0; i < 6; i++) {
		size_t len = rig_udp(inner, CORR, 1, i % 2 == 0 ? "10.1.0.10" : "10.1.0.11", 2, 60);

		len = rig_ipip(ip, "10.1.0.1", A, inner, len);
		rig_push(&rig, DP_INSIDE, ip, len);
	}
	rig_turn(&rig);
	for (unsigned i = 0; i < 6; i++) {
		CU_ASSERT_FATAL(pop(1 + i % 2, &opened) != 0);
		CU_ASSERT_EQUAL(opened.len, i % 2 == 0 ? 400 : 108);
	}
	rig_node_del(&rig, padded);
	rig_node_del(&rig, plain);
}

/* What is too big is cut as ever, and its pieces are filled up. */
static void test_pieces(void)
{
	struct node *node = add_node(1, 9000);
	uint8_t ip[RIG_FRAME_MAX];
	struct rig_opened opened;
	size_t len = rig_udp(ip, CORR, 1, A, 2, 1440);

	wire_store_u16(ip + 6, 0);
	rig_checksum(ip);
	rig_push(&rig, DP_INSIDE, ip, len);
	rig_turn(&rig);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_FATAL(pop(1, &opened) != 0);
		CU_ASSERT_EQUAL(opened.len, ROOM);
	}
	CU_ASSERT(pop(1, &opened) == 0);
	rig_node_del(&rig, node);
}

/* The copy for the former end has a UDP header more, and must fit, too. */
static void test_bicast(void)
{
	struct node *node = add_node(1, 9000);
	struct path_params params = rig_path(B, A, clock_mono_ns() + 2 * NS_PER_S);
	uint8_t ip[RIG_FRAME_MAX], frame[RIG_FRAME_MAX];
	size_t len = rig_udp(ip, CORR, 1, B, 2, 100);
	struct rig_opened opened;

	params.second = (struct ip_endpoint){.addr = rig_addr(A), .port = 5000};
	CU_ASSERT(dataplane_node_set_path(rig.dp, node, &params) == 0);
	rig_push(&rig, DP_INSIDE, ip, len);
	rig_turn(&rig);
	CU_ASSERT_EQUAL(rig_pop(&rig, DP_OUTSIDE, frame), 14 + RIG_MTU);
	CU_ASSERT(pop(1, &opened) != 0);
	CU_ASSERT_EQUAL(opened.len, ROOM - UDP_BYTES);
	rig_node_del(&rig, node);
}

/* As control sends them: through the SA, with its next number. */
static void test_dummies(void)
{
	static const struct {
		const char *name;
		uint16_t pad, len, want;
	} rows[] = {
		{"as long as it is", 0, 40, 40},
		{"longest", 0, ROOM, ROOM},
		{"filled up", 256, 40, 256},
		{"to what fits", 9000, 777, ROOM},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct node *node = add_node(1, rows[i].pad);
		const uint8_t dummy[ROOM] = {ESP_DUMMY_BYTE, [6] = 0x40};
		uint8_t ip[RIG_FRAME_MAX];
		struct rig_opened before = {0}, opened = {0}, after = {0};
		size_t len = rig_udp(ip, CORR, 1, A, 2, 100);

		rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
		CU_ASSERT(dataplane_send_to_node(rig.dp, 1, dummy, rows[i].len, false) == 0);
		rig_turn(&rig);
		rig_push(&rig, DP_INSIDE, ip, len);
		rig_turn(&rig);
		CHECK_ROW(rows[i].name, pop(1, &before) != 0 && pop(1, &opened) != 0);
		CHECK_ROW(rows[i].name, pop(1, &after) != 0);
		CHECK_ROW(rows[i].name, opened.next_header == 59 && opened.len == rows[i].want);
		CHECK_ROW(rows[i].name, opened.seq == before.seq + 1 && opened.iv == before.iv + 1);
		CHECK_ROW(rows[i].name, after.seq == opened.seq + 1 && after.next_header == 4);
		rig_node_del(&rig, node);
	}
}

/* What leaves beside the credit is as long as it is, or a victim would get more. */
static void test_beside_the_credit(void)
{
	static const struct {
		const char *name;
		uint8_t flags;
		bool once, reply;
		size_t want;
	} rows[] = {
		{"reply", 0, false, true, ROOM},
		{"reply to an unverified address", PATH_UNVERIFIED, false, true, 100},
		{"reply to a tried one", PATH_PROVISIONAL, false, true, 100},
		{"of the credit", PATH_UNVERIFIED, false, false, ROOM},
		{"once", 0, true, false, 100},
		{"once, while on credit", PATH_UNVERIFIED, true, false, 100},
	};

	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		struct node *node = add_node(1, 9000);
		struct path_params path = rig_path(A, NULL, 0);
		const struct ip_endpoint end = {.addr = rig_addr(B)};
		uint8_t ip[RIG_FRAME_MAX];
		struct rig_opened opened = {0};
		size_t len = rig_udp(ip, CORR, 1, A, 2, 100 - HDRS);

		path.flags = rows[i].flags;
		path.credit = 10000;
		CU_ASSERT_FATAL(dataplane_node_set_path(rig.dp, node, &path) == 0);
		CU_ASSERT((rows[i].once ? dataplane_send_once(rig.dp, 1, &end, ip, len)
					: dataplane_send_to_node(
						  rig.dp, 1, ip, len, rows[i].reply)) == 0);
		rig_turn(&rig);
		CHECK_ROW(rows[i].name, pop(1, &opened) != 0 && opened.len == rows[i].want);
		rig_node_del(&rig, node);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"sizes", test_sizes},
		{"node by node", test_per_node},
		{"pieces of what is too big", test_pieces},
		{"a second end in UDP", test_bicast},
		{"dummies", test_dummies},
		{"beside the credit", test_beside_the_credit},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	ret = unit_run("dataplane: tfc", cases);
	rig_close(&rig);
	return ret;
}
