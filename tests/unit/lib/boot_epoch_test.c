/* SPDX-License-Identifier: BSD-3-Clause */
/* Boot epoch: never repeats, whatever the clock does, and says so when it is used up. */
#include "lib/boot_epoch.h"

#include "unit.h"

#include "lib/clock.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#define START_S UINT64_C(1767225600) /* 2026-01-01 */
#define UNIT_S 600

static const char *const names[] = {"state", NULL};
static struct store *store;

static void reopen(const char *name)
{
	char path[256], why[256];

	store_close(store);
	store = NULL;
	snprintf(path, sizeof path, "%s/%s", unit_folder(), name);
	if (store_open(path, names, 1 << 20, &store, why, sizeof why) != 0)
		abort();
}

static void set_clock(uint64_t epoch)
{
	clock_set_test(0, (START_S + epoch * UNIT_S) * NS_PER_S);
}

static void test_steps(void)
{
	static const struct {
		const char *name;
		uint64_t clock_epoch;
		uint32_t step, want;
	} rows[] = {
		{"first start, by the clock", 1000, 1, 1000},
		{"again at once", 1000, 1, 1001},
		{"two starts in one unit", 1000, 1, 1002},
		{"clock caught up", 1002, 1, 1003},
		{"clock far ahead", 5000, 1, 5000},
		{"clock set back", 10, 1, 5001},
		{"counter of a running SA used up", 10, 2, 5003},
		{"clock one ahead of a step", 5006, 2, 5006},
		{"clock back to the start", 0, 1, 5007},
	};

	reopen("steps");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint32_t epoch = 0;

		set_clock(rows[i].clock_epoch);
		CHECK_ROW(rows[i].name, boot_epoch_take(store, "state", rows[i].step, &epoch) == 0);
		CHECK_ROW(rows[i].name, epoch == rows[i].want);
		reopen("steps"); /* durable: the next row sees it from the disk */
	}
}

static void test_clock_before_2026(void)
{
	uint32_t epoch = 0;

	reopen("before");
	clock_set_test(0, 1); /* a machine without a clock: 1970 */
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), 0);
	CU_ASSERT_EQUAL(epoch, 1);
	clock_set_test(0, (START_S + UNIT_S - 1) * NS_PER_S);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), 0);
	CU_ASSERT_EQUAL(epoch, 2);
}

static void test_never_repeats(void)
{
	static uint8_t seen[BOOT_EPOCH_MAX + 1];
	uint64_t random = 88172645463325252u; /* xorshift64, fixed: the same run every time */
	uint32_t last = 0;

	reopen("repeats");
	for (int i = 0; i < 2000; i++) {
		uint32_t epoch = 0;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		set_clock(random % 200000);
		CU_ASSERT_EQUAL(
			boot_epoch_take(store, "state", 1 + (uint32_t)(random >> 40) % 2, &epoch),
			0);
		CU_ASSERT_TRUE(epoch > last && epoch <= BOOT_EPOCH_MAX && !seen[epoch]);
		seen[epoch] = 1;
		last = epoch;
	}
}

static void test_overflow(void)
{
	uint32_t epoch = 7;

	reopen("overflow");
	set_clock(BOOT_EPOCH_MAX - 1);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), 0);
	CU_ASSERT_EQUAL(epoch, BOOT_EPOCH_MAX - 1);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 2, &epoch), -EOVERFLOW);
	CU_ASSERT_EQUAL(epoch, BOOT_EPOCH_MAX - 1); /* untouched */
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), 0);
	CU_ASSERT_EQUAL(epoch, BOOT_EPOCH_MAX);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), -EOVERFLOW);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", UINT32_MAX, &epoch), -EOVERFLOW);
	/* A clock that is wrong by decades burns nothing. */
	reopen("wrong-clock");
	set_clock(BOOT_EPOCH_MAX + 1);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), -EOVERFLOW);
	set_clock(5);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), 0);
	CU_ASSERT_EQUAL(epoch, 5);
}

static void test_refused(void)
{
	uint32_t epoch = 7;

	reopen("refused");
	set_clock(5);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 0, &epoch), -EINVAL);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "absent", 1, &epoch), -EINVAL);
	/* Inside another transaction it would not be durable on return. */
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), -EBUSY);
	store_abort(store);
	/* A damaged record is not guessed. */
	CU_ASSERT_EQUAL(store_put(store, "state", "boot_epoch", 10, "abc", 3), 0);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), -EIO);
	CU_ASSERT_EQUAL(epoch, 7);
}

/* No durable write, no epoch. The limit makes every write of the process to a file fail. */
static void test_no_durable_write(void)
{
	struct rlimit old, none;
	uint32_t epoch = 7;

	reopen("no-write");
	set_clock(5);
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &old), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &none), 0);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), -EFBIG);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &old), 0);
	CU_ASSERT_EQUAL(epoch, 7);
	CU_ASSERT_EQUAL(boot_epoch_take(store, "state", 1, &epoch), 0);
	CU_ASSERT_EQUAL(epoch, 5);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"steps over restarts", test_steps},
		{"clock before 2026", test_clock_before_2026},
		{"never repeats", test_never_repeats},
		{"overflow", test_overflow},
		{"refused", test_refused},
		{"no durable write", test_no_durable_write},
		{NULL, NULL},
	};
	int ret;

	ret = unit_run("boot_epoch", cases);
	store_close(store);
	unit_remove_folder();
	return ret;
}
