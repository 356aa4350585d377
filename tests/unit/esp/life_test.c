/* SPDX-License-Identifier: BSD-3-Clause */
/* Which packet is the last one, and what is noted on the way there. */
#include "rig.h"

#define ROOM 1600
#define HANDLE 5

struct row {
	const char *name;
	bool esn;
	struct sa_lifetimes life;
	uint64_t packets, bytes; /* used before */
	uint32_t len;            /* of each inner packet */
	unsigned burst, bursts;
	unsigned want;    /* packets that go */
	unsigned marks;   /* reached in the end */
	enum verdict why; /* of the others */
};

#define PACKETS(soft, hard)               \
	{                                 \
		.packets = { soft, hard } \
	}
#define BYTES(soft, hard)               \
	{                               \
		.bytes = { soft, hard } \
	}
enum {
	SP = SA_MARK_SOFT_PACKETS,
	SB = SA_MARK_SOFT_BYTES,
	HP = SA_MARK_HARD_PACKETS,
	HB = SA_MARK_HARD_BYTES,
	S75 = SA_MARK_SEQ_FIRST,
	S90 = SA_MARK_SEQ_SECOND,
	END = SA_MARK_SEQ_LAST,
};

static const struct row both_ways[] = {
	{"no limits", true, {.seconds = {1, 2}}, 0, 0, 64, 32, 4, 128, 0, VERDICT_OK},
	{"packets: below soft", true, PACKETS(11, 20), 0, 0, 64, 10, 1, 10, 0, VERDICT_OK},
	{"packets: soft", true, PACKETS(10, 20), 0, 0, 64, 10, 1, 10, SP, VERDICT_OK},
	{"packets: soft in a burst", true, PACKETS(5, 20), 0, 0, 64, 10, 1, 10, SP, VERDICT_OK},
	{"packets: all but one", true, PACKETS(0, 20), 0, 0, 64, 19, 1, 19, 0, VERDICT_OK},
	{"packets: all", true, PACKETS(0, 20), 0, 0, 64, 20, 1, 20, HP, VERDICT_OK},
	{"packets: one too many", true, PACKETS(10, 20), 0, 0, 64, 21, 1, 20, SP | HP,
		VERDICT_EXPIRED},
	{"packets: one at a time", false, PACKETS(10, 20), 0, 0, 64, 1, 30, 20, SP | HP,
		VERDICT_EXPIRED},
	{"packets: bursts", true, PACKETS(10, 100), 0, 0, 64, 32, 5, 100, SP | HP, VERDICT_EXPIRED},
	{"packets: used before", true, PACKETS(0, 100), 90, 0, 64, 32, 2, 10, HP, VERDICT_EXPIRED},
	{"packets: used up before", true, PACKETS(0, 100), 100, 0, 64, 32, 1, 0, HP,
		VERDICT_EXPIRED},
	{"bytes: below soft", true, BYTES(641, 2000), 0, 0, 64, 10, 1, 10, 0, VERDICT_OK},
	{"bytes: soft", true, BYTES(640, 2000), 0, 0, 64, 10, 1, 10, SB, VERDICT_OK},
	{"bytes: all", true, BYTES(0, 640), 0, 0, 64, 10, 1, 10, HB, VERDICT_OK},
	{"bytes: one missing", true, BYTES(0, 639), 0, 0, 64, 10, 1, 9, HB, VERDICT_EXPIRED},
	{"bytes: one left", true, BYTES(0, 641), 0, 0, 64, 10, 1, 10, 0, VERDICT_OK},
	{"bytes: one left, one more", true, BYTES(0, 641), 0, 0, 64, 11, 1, 10, HB,
		VERDICT_EXPIRED},
	{"bytes: one at a time", true, BYTES(100, 640), 0, 0, 64, 1, 30, 10, SB | HB,
		VERDICT_EXPIRED},
	{"bytes: used before", true, BYTES(0, 10000000), 0, 9999900, 64, 32, 2, 1, HB,
		VERDICT_EXPIRED},
	{"bytes: used up before", true, BYTES(0, 1000), 0, 1000, 64, 2, 1, 0, HB, VERDICT_EXPIRED},
	{"bytes: far, large", true, BYTES(0, 5000000), 0, 0, 1400, 32, 120, 3571, HB,
		VERDICT_EXPIRED},
	{"bytes and packets", true, {.packets = {3, 10}, .bytes = {5 * 64, 8 * 64}}, 0, 0, 64, 32,
		1, 8, SP | SB | HB, VERDICT_EXPIRED},
	{"packets and bytes", true, {.packets = {3, 8}, .bytes = {5 * 64, 10 * 64}}, 0, 0, 64, 32,
		1, 8, SP | SB | HP, VERDICT_EXPIRED},
};

static struct notices notices;
static struct sa_limits shared;

/* A burst of n packets from out, encrypted; they lie in buffers. */
static void encap(struct rig *rig, struct sa_out *out, uint32_t len, unsigned n,
	uint8_t buffers[][ROOM], struct esp_pkt pkts[], enum verdict verdicts[])
{
	struct sa_out *sas[ESP_BURST_MAX];
	const struct path *paths[ESP_BURST_MAX];

	for (unsigned k = 0; k < n; k++) {
		pkts[k] = (struct esp_pkt){
			.data = buffers[k] + 64, .len = len, .headroom = 64, .tailroom = 64};
		rig_inner(pkts[k].data, len, 0);
		sas[k] = out;
		paths[k] = &rig->path;
		verdicts[k] = VERDICT_OK;
	}
	esp_encap_burst(rig->thread, rig->engine, sas, paths, pkts, verdicts, n);
}

static void decap(struct rig *rig, unsigned n, struct esp_pkt pkts[], enum verdict verdicts[])
{
	struct sa_in *sas[ESP_BURST_MAX];

	for (unsigned k = 0; k < n; k++) {
		pkts[k].outer_bytes = RIG_OUTER_BYTES;
		sas[k] = rig->in;
	}
	esp_decap_burst(rig->thread, rig->engine, sas, pkts, verdicts, n);
}

static void run_row(const struct row *row, bool inbound, bool many)
{
	static uint8_t buffers[ESP_BURST_MAX][ROOM];
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct counter_slot *slot;
	unsigned went = 0, marks = 0;
	struct rig rig;
	uint32_t number;

	rig_open(&rig, CRYPTO_AES128GCM16, row->esn, 64);
	rig.in->shared = rig.out->shared = many;
	slot = inbound ? rig.in->slot : rig.out->slot;
	slot->packets = row->packets;
	slot->bytes = row->bytes;
	if (!inbound)
		slot->seq = row->packets;
	if (inbound) {
		CU_ASSERT_EQUAL(sa_in_set_life(&sa_memory_heap, rig.in, &row->life), 0);
		sa_in_set_hearer(rig.in, &shared, HANDLE);
	} else {
		CU_ASSERT_EQUAL(sa_out_set_life(&sa_memory_heap, rig.out, &row->life), 0);
		sa_out_set_hearer(rig.out, &shared, HANDLE);
	}
	for (unsigned burst = 0; burst < row->bursts; burst++) {
		encap(&rig, rig.out, row->len, row->burst, buffers, pkts, verdicts);
		if (inbound)
			decap(&rig, row->burst, pkts, verdicts);
		for (unsigned k = 0; k < row->burst; k++) {
			went += verdicts[k] == VERDICT_OK;
			if (verdicts[k] != VERDICT_OK)
				CHECK_ROW(row->name, verdicts[k] == row->why);
			else /* in order, nothing behind a refused one */
				CHECK_ROW(row->name, went == burst * row->burst + k + 1);
		}
		if (burst % 2 == 0) /* the control thread is slower */
			marks |= inbound ? sa_in_take_marks(rig.in) : sa_out_take_marks(rig.out);
	}
	marks |= inbound ? sa_in_take_marks(rig.in) : sa_out_take_marks(rig.out);
	CHECK_ROW(row->name, went == row->want);
	CHECK_ROW(row->name, marks == row->marks);
	CHECK_ROW(row->name, slot->packets == row->packets + went);
	CHECK_ROW(row->name, slot->bytes == row->bytes + (uint64_t)went * row->len);
	CHECK_ROW(row->name, notices_take(&notices, &number) == (marks != 0));
	CHECK_ROW(row->name, marks == 0 || number == HANDLE);
	while (notices_take(&notices, &number))
		;
	rig_close(&rig);
}

static void test_both_ways(void)
{
	CU_ASSERT(notices_init(&notices, HANDLE));
	sa_limits_init_shared(&shared, &notices);
	for (size_t i = 0; i < sizeof both_ways / sizeof both_ways[0]; i++) {
		for (int way = 0; way < 4; way++)
			run_row(&both_ways[i], way % 2 != 0, way / 2 != 0);
	}
	notices_fini(&notices);
}

static void test_numbers(void)
{
	static const uint64_t q75 = UINT32_MAX / 100 * 75, q90 = UINT32_MAX / 100 * 90;
	const struct row rows[] = {
		{"below 75 %", false, PACKETS(0, 0), q75 - 11, 0, 64, 10, 1, 10, 0, VERDICT_OK},
		{"75 %", false, PACKETS(0, 0), q75 - 10, 0, 64, 10, 1, 10, S75, VERDICT_OK},
		{"75 % in a burst", false, PACKETS(0, 0), q75 - 5, 0, 64, 10, 3, 30, S75,
			VERDICT_OK},
		{"below 90 %", false, PACKETS(0, 0), q90 - 11, 0, 64, 10, 1, 10, S75, VERDICT_OK},
		{"90 %", false, PACKETS(0, 0), q90 - 10, 0, 64, 10, 1, 10, S75 | S90, VERDICT_OK},
		{"all but one", false, PACKETS(0, 0), UINT32_MAX - 11, 0, 64, 10, 1, 10, S75 | S90,
			VERDICT_OK},
		{"the last", false, PACKETS(0, 0), UINT32_MAX - 10, 0, 64, 10, 1, 10,
			S75 | S90 | END, VERDICT_OK},
		{"beyond", false, PACKETS(0, 0), UINT32_MAX - 10, 0, 64, 10, 2, 10, S75 | S90 | END,
			VERDICT_SEQ_EXHAUSTED},
		{"ESN: far", true, PACKETS(0, 0), UINT32_MAX - 5, 0, 64, 10, 1, 10, 0, VERDICT_OK},
		{"ESN: 75 %", true, PACKETS(0, 0), SEQ_LAST_ESN / 100 * 75 - 10, 0, 64, 10, 1, 10,
			S75, VERDICT_OK},
		{"ESN: 90 %", true, PACKETS(0, 0), SEQ_LAST_ESN / 100 * 90 - 1, 0, 64, 1, 1, 1,
			S75 | S90, VERDICT_OK},
		{"ESN: the end", true, PACKETS(0, 0), SEQ_LAST_ESN - 1, 0, 64, 4, 1, 1,
			S75 | S90 | END, VERDICT_SEQ_EXHAUSTED},
		{"fewer packets than numbers", false, PACKETS(0, UINT32_MAX - 20), UINT32_MAX - 25,
			0, 64, 10, 1, 5, S75 | S90 | HP, VERDICT_EXPIRED},
	};

	CU_ASSERT(notices_init(&notices, HANDLE));
	sa_limits_init_shared(&shared, &notices);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		run_row(&rows[i], false, false);
		run_row(&rows[i], false, true);
	}
	notices_fini(&notices);
}

/* The sender is told too; but what is still inside the window of a receiver may come. */
static void test_numbers_inbound(void)
{
	static uint8_t buffers[ESP_BURST_MAX][ROOM];
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, false, 64);
	rig.out->slot->seq = UINT32_MAX / 100 * 75 - 1;
	encap(&rig, rig.out, 64, 1, buffers, pkts, verdicts);
	decap(&rig, 1, pkts, verdicts);
	CU_ASSERT_EQUAL(verdicts[0], VERDICT_OK);
	CU_ASSERT_EQUAL(sa_in_take_marks(rig.in), S75);
	rig.out->slot->seq = UINT32_MAX - 10;
	encap(&rig, rig.out, 64, 10, buffers, pkts, verdicts);
	decap(&rig, 10, pkts, verdicts);
	CU_ASSERT_EQUAL(verdicts[9], VERDICT_OK);
	CU_ASSERT_EQUAL(sa_in_take_marks(rig.in), S90);
	CU_ASSERT_EQUAL(sa_in_take_marks(rig.in), 0);
	rig_close(&rig);
}

/* Ended by the control thread: at once, both ways, and it stays so whatever limits it gets. */
static void test_end(void)
{
	static uint8_t buffers[ESP_BURST_MAX][ROOM];
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	encap(&rig, rig.out, 64, 4, buffers, pkts, verdicts);
	sa_in_end(rig.in);
	CU_ASSERT_EQUAL(
		sa_in_set_life(&sa_memory_heap, rig.in, &(struct sa_lifetimes)PACKETS(0, 0)), 0);
	decap(&rig, 4, pkts, verdicts);
	for (unsigned k = 0; k < 4; k++)
		CU_ASSERT_EQUAL(verdicts[k], VERDICT_EXPIRED);
	CU_ASSERT_EQUAL(rig.in->slot->packets, 0);
	sa_out_end(rig.out);
	CU_ASSERT_EQUAL(
		sa_out_set_life(&sa_memory_heap, rig.out, &(struct sa_lifetimes)PACKETS(0, 0)), 0);
	encap(&rig, rig.out, 64, 4, buffers, pkts, verdicts);
	for (unsigned k = 0; k < 4; k++)
		CU_ASSERT_EQUAL(verdicts[k], VERDICT_EXPIRED);
	CU_ASSERT_EQUAL(rig.out->slot->seq, 4);
	CU_ASSERT_EQUAL(sa_in_take_marks(rig.in), 0);
	CU_ASSERT_EQUAL(sa_out_take_marks(rig.out), 0);
	rig_close(&rig);
}

/* New limits take the place of the old ones, and are told of anew. */
static void test_new_limits(void)
{
	static uint8_t buffers[ESP_BURST_MAX][ROOM];
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct rig rig;

	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	CU_ASSERT_EQUAL(
		sa_out_set_life(&sa_memory_heap, rig.out, &(struct sa_lifetimes)PACKETS(2, 4)), 0);
	encap(&rig, rig.out, 64, 6, buffers, pkts, verdicts);
	CU_ASSERT_EQUAL(verdicts[3], VERDICT_OK);
	CU_ASSERT_EQUAL(verdicts[4], VERDICT_EXPIRED);
	CU_ASSERT_EQUAL(sa_out_take_marks(rig.out), SP | HP);
	CU_ASSERT_EQUAL(
		sa_out_set_life(&sa_memory_heap, rig.out, &(struct sa_lifetimes)PACKETS(6, 8)), 0);
	encap(&rig, rig.out, 64, 6, buffers, pkts, verdicts);
	CU_ASSERT_EQUAL(verdicts[3], VERDICT_OK);
	CU_ASSERT_EQUAL(verdicts[4], VERDICT_EXPIRED);
	CU_ASSERT_EQUAL(sa_out_take_marks(rig.out), SP | HP);
	/* Below what is used already. */
	CU_ASSERT_EQUAL(
		sa_out_set_life(&sa_memory_heap, rig.out, &(struct sa_lifetimes)BYTES(64, 128)), 0);
	CU_ASSERT_EQUAL(sa_out_take_marks(rig.out), SB | HB);
	rig_close(&rig);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"both ways", test_both_ways},
		{"sequence numbers", test_numbers},
		{"sequence numbers, inbound", test_numbers_inbound},
		{"ended", test_end},
		{"new limits", test_new_limits},
		{NULL, NULL},
	};

	return unit_run("esp/life", cases);
}
