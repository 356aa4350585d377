/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests and RRQ_SEENs in any order, and what happens when there are too many of them. */
#include "control/ha/waiting.h"

#include "tests/unit/ha/fixture.h"
#include "tests/unit/lib/unit.h"

static struct ha_waiting waiting;
static const uint8_t PAYLOAD[3] = {1, 2, 3};
static const struct ip_endpoint FROM = {.port = 434};

static struct siu_rrq_seen seen_of(uint64_t identification)
{
	return (struct siu_rrq_seen){
		.identification = identification, .home_address = addr_of(HOME)};
}

static struct mip4_rrq rrq_of(uint64_t identification)
{
	return (struct mip4_rrq){.identification = identification, .hoa = addr_of(HOME)};
}

static bool hold(uint64_t identification, uint64_t now_ns)
{
	struct ha_registration reg = {.payload = PAYLOAD, .rrq = rrq_of(identification)};

	return ha_waiting_hold(&waiting, &reg, sizeof PAYLOAD, &FROM, now_ns);
}

static void remember(uint64_t identification, int gateway, uint64_t now_ns)
{
	struct siu_rrq_seen seen = seen_of(identification);

	ha_waiting_remember(&waiting, gateway, &seen, now_ns);
}

static int gateway_of(uint64_t identification, uint64_t now_ns)
{
	struct mip4_rrq rrq = rrq_of(identification);

	return ha_waiting_gateway(&waiting, &rrq, now_ns);
}

static void seen_before(void)
{
	uint64_t valid_ns = HA_SEEN_VALID_MS * NS_PER_MS;
	struct mip4_rrq other = rrq_of(7);

	memset(&waiting, 0, sizeof waiting);
	CU_ASSERT_EQUAL(gateway_of(0, 5), HA_NOT_SEEN); /* an empty place announces nothing */
	remember(7, 1, 5);
	CU_ASSERT_EQUAL(gateway_of(7, 5), 1);
	CU_ASSERT_EQUAL(gateway_of(8, 5), HA_NOT_SEEN);
	other.hoa = addr_of("10.1.0.11");
	CU_ASSERT_EQUAL(ha_waiting_gateway(&waiting, &other, 5), HA_NOT_SEEN);
	CU_ASSERT_EQUAL(gateway_of(7, 5 + valid_ns), 1);
	CU_ASSERT_EQUAL(gateway_of(7, 5 + valid_ns + 1), HA_NOT_SEEN);
	remember(7, 0, 6); /* came through another one later */
	CU_ASSERT_EQUAL(gateway_of(7, 6), 0);
}

static void too_many_seen(void)
{
	memset(&waiting, 0, sizeof waiting);
	for (uint64_t id = 1; id <= HA_SEEN_MAX + 1; id++)
		remember(id, 3, 5);
	CU_ASSERT_EQUAL(gateway_of(1, 5), HA_NOT_SEEN);
	CU_ASSERT_EQUAL(gateway_of(2, 5), 3);
	CU_ASSERT_EQUAL(gateway_of(HA_SEEN_MAX + 1, 5), 3);
}

static void held_in_order(void)
{
	const struct ha_held *held;
	struct siu_rrq_seen seen = seen_of(2);

	memset(&waiting, 0, sizeof waiting);
	CU_ASSERT_PTR_NULL(ha_waiting_first(&waiting));
	for (uint64_t id = 1; id <= 3; id++)
		CU_ASSERT_TRUE(hold(id, id));
	held = ha_waiting_match(&waiting, &seen);
	CU_ASSERT_PTR_NOT_NULL_FATAL(held);
	CU_ASSERT_EQUAL(held->at_ns, 2);
	CU_ASSERT_EQUAL(held->len, sizeof PAYLOAD);
	CU_ASSERT_EQUAL(memcmp(held->payload, PAYLOAD, sizeof PAYLOAD), 0);
	CU_ASSERT_EQUAL(held->from.port, 434);
	ha_waiting_release(&waiting, held); /* out of turn */
	CU_ASSERT_PTR_NULL(ha_waiting_match(&waiting, &seen));
	CU_ASSERT_EQUAL(ha_waiting_first(&waiting)->identification, 1);
	ha_waiting_release(&waiting, ha_waiting_first(&waiting));
	CU_ASSERT_EQUAL(ha_waiting_first(&waiting)->identification, 3);
	ha_waiting_release(&waiting, ha_waiting_first(&waiting));
	CU_ASSERT_PTR_NULL(ha_waiting_first(&waiting));
}

static void too_many_held(void)
{
	struct siu_rrq_seen last = seen_of(HA_HELD_MAX - 1);

	memset(&waiting, 0, sizeof waiting);
	waiting.first = waiting.end = UINT32_MAX - 5; /* positions wrap on the way */
	for (uint64_t id = 0; id < HA_HELD_MAX; id++)
		CU_ASSERT_TRUE(hold(id, id));
	CU_ASSERT_FALSE(hold(HA_HELD_MAX, 1));
	ha_waiting_release(&waiting, ha_waiting_match(&waiting, &last));
	CU_ASSERT_FALSE(hold(HA_HELD_MAX, 1)); /* a gap is no room yet */
	for (uint64_t id = 0; id < HA_HELD_MAX - 1; id++) {
		CU_ASSERT_EQUAL(ha_waiting_first(&waiting)->identification, id);
		ha_waiting_release(&waiting, ha_waiting_first(&waiting));
	}
	CU_ASSERT_PTR_NULL(ha_waiting_first(&waiting));
	CU_ASSERT_TRUE(hold(HA_HELD_MAX, 1));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"seen before", seen_before},
		{"too many seen", too_many_seen},
		{"held in order", held_in_order},
		{"too many held", too_many_held},
		{NULL, NULL},
	};

	return unit_run("waiting", cases);
}
