/* SPDX-License-Identifier: BSD-3-Clause */
/* What is kept, and that a flood makes neither lines nor memory without limit. */
#include "control/gw/audit.h"

#include "dataplane_double.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"

static struct audit_log *begin(void)
{
	struct audit_log *log;

	memset(&dp_double, 0, sizeof dp_double);
	dp_double.audit = (struct dp_audit){.verdict = VERDICT_BAD_ICV,
		.spi = 0x1234,
		.sequence = 7,
		.inbound = true,
		.rx_ns = 40};
	clock_set_test(100, 1000);
	log = audit_log_new(DOUBLE_DP);
	CU_ASSERT_PTR_NOT_NULL_FATAL(log);
	return log;
}

static void end(struct audit_log *log)
{
	audit_log_free(log);
	clock_set_test(0, 0);
}

static void test_kept(void)
{
	struct audit_log *log = begin();
	const struct audit_event *event;

	CU_ASSERT_PTR_NULL(audit_log_at(log, 1));
	dp_double.n_audits = 1;
	CU_ASSERT_EQUAL(audit_log_turn(log, 100), 1);
	event = audit_log_at(log, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(event);
	CU_ASSERT_EQUAL(event->number, 1);
	CU_ASSERT_EQUAL(event->real_ns, 940);
	CU_ASSERT_EQUAL(event->record.spi, 0x1234);
	CU_ASSERT_EQUAL(event->record.sequence, 7);
	CU_ASSERT_PTR_NULL(audit_log_at(log, 2));
	end(log);
}

static void test_flood(void)
{
	struct audit_log *log = begin();
	unsigned taken = 0;

	dp_double.n_audits = 3 * AUDIT_EVENTS + 5;
	for (unsigned turn = 0; turn < 1000; turn++)
		taken += audit_log_turn(log, 100);
	CU_ASSERT_EQUAL(taken, 3 * AUDIT_EVENTS + 5);
	CU_ASSERT_EQUAL(log->lines[VERDICT_BAD_ICV], AUDIT_LINES);
	CU_ASSERT_EQUAL(audit_log_at(log, 1)->number, 2 * AUDIT_EVENTS + 6);
	CU_ASSERT_EQUAL(audit_log_at(log, 3 * AUDIT_EVENTS + 5)->number, 3 * AUDIT_EVENTS + 5);
	CU_ASSERT_PTR_NULL(audit_log_at(log, 3 * AUDIT_EVENTS + 6));
	/* The next period has lines again. */
	CU_ASSERT_EQUAL(audit_log_turn(log, 100 + AUDIT_PERIOD_NS), 0);
	CU_ASSERT_EQUAL(log->lines[VERDICT_BAD_ICV], 0);
	dp_double.n_audits = 1;
	(void)audit_log_turn(log, 101 + AUDIT_PERIOD_NS);
	CU_ASSERT_EQUAL(log->lines[VERDICT_BAD_ICV], 1);
	end(log);
}

/* The double has counted 3, none of which a record tells of; said once. */
static void test_rest(void)
{
	struct audit_log *log = begin();

	(void)audit_log_turn(log, 100);
	CU_ASSERT_EQUAL(log->told[VERDICT_BAD_ICV], 3);
	CU_ASSERT_EQUAL(log->told[VERDICT_OK], 0);
	dp_double.n_audits = 1;
	(void)audit_log_turn(log, 101);
	CU_ASSERT_EQUAL(log->told[VERDICT_BAD_ICV], 4);
	(void)audit_log_turn(log, 100 + AUDIT_PERIOD_NS);
	CU_ASSERT_EQUAL(log->told[VERDICT_BAD_ICV], 4);
	end(log);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"what is kept", test_kept},
		{"flood", test_flood},
		{"what no line told of", test_rest},
		{NULL, NULL},
	};

	return unit_run("gw: audit log", cases);
}
