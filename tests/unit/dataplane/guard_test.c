/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: port 4340 of the gateway is guarded, for two peers; a datagram is what its peer
 * would send now if it begins with GOOD. Time is the test's.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/guard.h"
#include "dataplane/now.h"

#define INSIDE "10.2.0.254"
#define PEER "10.2.0.1"
#define SECOND_PEER "10.2.0.2"
#define NOBODY "10.2.0.99"
#define PORT 4340
#define GOOD 0x60
#define PAYLOAD_AT 28
#define RING_PLACES 512
#define FRAGMENT_AT 6

static struct rig rig;
static uint64_t now;
static unsigned asked; /* how often for PEER */

static void at(uint64_t ns)
{
	now = ns;
	clock_set_test(now, now);
}

static bool admits(void *arg, uint32_t peer, const uint8_t *datagram, size_t len)
{
	CU_ASSERT(arg == &rig && peer < 2 && len == 64);
	asked += peer == 0;
	return datagram[0] == GOOD;
}

static uint64_t shed(void)
{
	struct dp_verdicts sums;

	dataplane_verdicts(rig.dp, &sums);
	return sums.out[VERDICT_SHED];
}

/* Empties the rings; returns how many were punted for this reason. */
static unsigned punted(enum punt_reason reason)
{
	struct punt punts[PKT_BURST_MAX];
	unsigned n, found = 0;

	while ((n = dataplane_punt_burst(rig.dp, punts, PKT_BURST_MAX)) != 0)
		for (unsigned i = 0; i < n; i++) {
			found += punts[i].reason == reason;
			CU_ASSERT(punts[i].port == DP_INSIDE);
			dataplane_punt_done(rig.dp, &punts[i]);
		}
	return found;
}

static void send_from(const char *source, uint8_t first, uint16_t port, uint16_t fragment)
{
	uint8_t ip[RIG_FRAME_MAX];
	const size_t len = rig_udp(ip, source, PORT, INSIDE, port, 64);

	ip[PAYLOAD_AT] = first;
	wire_store_u16(ip + FRAGMENT_AT, fragment);
	rig_checksum(ip);
	rig_push(&rig, DP_INSIDE, ip, len);
	rig_turn(&rig);
}

static unsigned pass(const char *source, uint8_t first, unsigned n)
{
	const uint64_t before = shed();
	unsigned passed = 0;

	for (unsigned i = 0; i < n; i++) {
		send_from(source, first, PORT, 0);
		passed += punted(PUNT_GUARDED);
	}
	CU_ASSERT(passed + (shed() - before) == n);
	return passed;
}

static void test_ration(void)
{
	at(now + NS_PER_S);
	CU_ASSERT(pass(PEER, 0, 1000) == GUARD_BURST);
	CU_ASSERT(pass(PEER, GOOD, 1000) == 1000);
	/* Each has its own. */
	CU_ASSERT(pass(SECOND_PEER, 0, 1000) == GUARD_BURST);
	CU_ASSERT(pass(NOBODY, 0, 1000) == GUARD_BURST);
	CU_ASSERT(pass("10.2.0.98", 0, 1) == 0);
	CU_ASSERT(pass(NOBODY, GOOD, 1) == 0);
	at(now + 10 * NS_PER_MS);
	CU_ASSERT(pass(PEER, 0, 1000) == GUARD_RATE / 100);
	at(now + NS_PER_S);
	CU_ASSERT(pass(PEER, 0, 1000) == GUARD_BURST);
}

/* Who is admitted spends nothing. */
static void test_admitted(void)
{
	at(now + NS_PER_S);
	CU_ASSERT(pass(PEER, GOOD, 1000) == 1000);
	CU_ASSERT(pass(PEER, 0, 1000) == GUARD_BURST);
}

/* A flood of something else fills another ring. */
static void test_other_ring(void)
{
	const unsigned before = asked;

	at(now + NS_PER_S);
	for (unsigned i = 0; i < 2 * RING_PLACES; i++)
		send_from(NOBODY, 0, PORT + 1, 0);
	send_from(PEER, GOOD, PORT, 0);
	CU_ASSERT(asked == before + 1);
	CU_ASSERT(punted(PUNT_GUARDED) == 1);
	for (unsigned i = 0; i < 4; i++)
		send_from(PEER, GOOD, PORT, i < 2 ? 0x2000 : 8); /* the first one, others */
	CU_ASSERT(asked == before + 1);
	CU_ASSERT(punted(PUNT_FRAME) == 4);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"a ration for what is not expected", test_ration},
		{"what is expected is free", test_admitted},
		{"a ring of its own", test_other_ring},
		{NULL, NULL},
	};
	struct dp_guard guard = {.local = {rig_addr(INSIDE), PORT},
		.peers = {rig_addr(PEER), rig_addr(SECOND_PEER)},
		.n_peers = 2,
		.admits = admits,
		.arg = &rig};
	int ret;

	rig_open(&rig, 1, 512);
	at(clock_mono_ns());
	dataplane_guard(rig.dp, &guard);
	ret = unit_run("dataplane: guard", cases);
	rig_close(&rig);
	return ret;
}
