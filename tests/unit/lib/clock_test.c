/* SPDX-License-Identifier: BSD-3-Clause */
/* Clocks, NTP time stamps over the wrap of 2036, and the log's rate limit that rests on them. */
#include "lib/clock.h"

#include "unit.h"

#include "lib/log.h"

#define WRAP_UNIX_S UINT64_C(2085978496) /* 2036-02-07T06:28:16Z: NTP seconds are 0 again */

static void test_ntp_from_real(void)
{
	static const struct {
		const char *name;
		uint64_t real_ns, ntp;
	} rows[] = {
		{"1970", 0, UINT64_C(2208988800) << 32},
		{"half a second", NS_PER_S / 2, UINT64_C(2208988800) << 32 | 0x80000000},
		{"last ns of a second", NS_PER_S - 1, UINT64_C(2208988800) << 32 | 0xfffffffb},
		{"2026", UINT64_C(1767225600) * NS_PER_S,
			(UINT64_C(1767225600) + 2208988800) << 32},
		{"last second before the wrap", (WRAP_UNIX_S - 1) * NS_PER_S,
			UINT64_C(0xffffffff) << 32},
		{"the wrap", WRAP_UNIX_S * NS_PER_S, 0},
		{"after the wrap", (WRAP_UNIX_S + 5) * NS_PER_S, UINT64_C(5) << 32},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		CHECK_ROW(rows[i].name, ntp_from_real_ns(rows[i].real_ns) == rows[i].ntp);
}

static void test_ntp_order(void)
{
	static const struct {
		const char *name;
		uint64_t a, b;
		int64_t diff_s;
		bool after;
	} rows[] = {
		{"equal", 5, 5, 0, false},
		{"one fraction later", 6, 5, 0, true},
		{"one fraction earlier", 5, 6, 0, false},
		{"7 s later", UINT64_C(107) << 32, UINT64_C(100) << 32, 7, true},
		{"7 s earlier", UINT64_C(100) << 32, UINT64_C(107) << 32, -7, false},
		{"almost 8 s later", (UINT64_C(108) << 32) - 1, UINT64_C(100) << 32, 7, true},
		{"almost 8 s earlier", UINT64_C(100) << 32, (UINT64_C(108) << 32) - 1, -7, false},
		{"over the wrap", UINT64_C(3) << 32, UINT64_C(0xfffffffe) << 32, 5, true},
		{"back over the wrap", UINT64_C(0xfffffffe) << 32, UINT64_C(3) << 32, -5, false},
		{"one fraction over the wrap", 0, UINT64_MAX, 0, true},
		{"68 years later", UINT64_C(0x7fffffff) << 32, 0, 0x7fffffff, true},
		{"68 years over the wrap", UINT64_C(0x7ffffffe) << 32, UINT64_C(0xffffffff) << 32,
			0x7fffffff, true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		CHECK_ROW(rows[i].name, ntp_diff_s(rows[i].a, rows[i].b) == rows[i].diff_s);
		CHECK_ROW(rows[i].name, ntp_after(rows[i].a, rows[i].b) == rows[i].after);
	}
}

static void test_clocks(void)
{
	uint64_t before = clock_mono_ns();

	clock_set_test(5, 7);
	CU_ASSERT_EQUAL(clock_mono_ns(), 5);
	CU_ASSERT_EQUAL(clock_real_ns(), 7);
	clock_set_test_asleep(3);
	CU_ASSERT(clock_mono_ns() == 5 && clock_boot_ns() == 8);
	clock_set_test_asleep(0);
	clock_set_test(0, 0);
	CU_ASSERT_TRUE(clock_mono_ns() >= before);
	CU_ASSERT_TRUE(clock_boot_ns() >= before);
	CU_ASSERT_TRUE(clock_real_ns() > UINT64_C(1600000000) * NS_PER_S);
}

static void test_log_limit(void)
{
	struct log_limit limit = {0};
	uint64_t now = 100 * NS_PER_S;
	uint32_t left_out = 0;

	clock_set_test(now, 0);
	for (int i = 0; i < LOG_REMOTE_BURST; i++) {
		CU_ASSERT_TRUE(log_limit_pass(&limit, &left_out));
		CU_ASSERT_EQUAL(left_out, 0);
	}
	for (int i = 0; i < 3; i++)
		CU_ASSERT_FALSE(log_limit_pass(&limit, &left_out));
	clock_set_test(now + NS_PER_S - 1, 0);
	CU_ASSERT_FALSE(log_limit_pass(&limit, &left_out));
	clock_set_test(now + NS_PER_S, 0);
	CU_ASSERT_TRUE(log_limit_pass(&limit, &left_out));
	CU_ASSERT_EQUAL(left_out, 4);
	CU_ASSERT_FALSE(log_limit_pass(&limit, &left_out));
	/* A long silence fills the bucket, not more. */
	clock_set_test(now + 1000 * NS_PER_S, 0);
	for (int i = 0; i < LOG_REMOTE_BURST; i++)
		CU_ASSERT_TRUE(log_limit_pass(&limit, &left_out));
	CU_ASSERT_FALSE(log_limit_pass(&limit, &left_out));
	clock_set_test(0, 0);
}

/* What log_at() writes, caught in a pipe. */
static size_t caught(char *out, size_t room, enum log_level at, const char *text)
{
	int ends[2], saved;
	ssize_t n;

	if (pipe(ends) != 0)
		abort();
	saved = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	log_at(at, "unit", "%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	n = read(ends[0], out, room - 1);
	close(ends[0]);
	out[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static void test_log_line(void)
{
	static char longer[4000];
	char line[4096];

	log_init("test", LOG_INFO);
	caught(line, sizeof line, LOG_WARN, "move refused seq=41");
	CU_ASSERT_STRING_EQUAL(line, "test: warn unit: move refused seq=41\n");
	CU_ASSERT_EQUAL(caught(line, sizeof line, LOG_DEBUG, "hidden"), 0);
	caught(line, sizeof line, LOG_ERROR, "a\nerror unit: forged\x7f\x1b[2J");
	CU_ASSERT_STRING_EQUAL(line, "test: error unit: a?error unit: forged??[2J\n");
	memset(longer, 'x', sizeof longer - 1);
	CU_ASSERT_EQUAL(caught(line, sizeof line, LOG_INFO, longer), 1023);
	CU_ASSERT_EQUAL(line[1022], '\n');
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"NTP from real time", test_ntp_from_real},
		{"NTP order over the wrap of 2036", test_ntp_order},
		{"clocks and their replacement", test_clocks},
		{"log rate limit", test_log_limit},
		{"log line", test_log_line},
		{NULL, NULL},
	};

	return unit_run("clock", cases);
}
