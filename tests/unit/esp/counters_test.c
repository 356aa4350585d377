/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counter file: slots come back after a restart, after kill -9 at random moments and after a
 * loss of power under both policies; window sizes change; full, foreign and damaged files.
 */
#include "dataplane/esp/counters.h"

#include "tests/unit/esp/rig.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const uint8_t *id_of(uint32_t n)
{
	static uint8_t id[COUNTERS_ID_BYTES];

	memset(id, 0xa5, sizeof id);
	/* Few home positions, so that the table has long chains. */
	wire_store_u32(id, n % 5);
	wire_store_u32(id + 4, n + 1);
	return id;
}

static int open_as(
	const char *path, uint32_t capacity, enum after_power_loss policy, struct counters **out)
{
	char why[256] = "";
	int ret = counters_open(path, capacity, policy, out, why, sizeof why);

	CU_ASSERT_EQUAL(ret == 0, why[0] == 0);
	return ret;
}

/* Like kill -9: the mapping goes away, nothing is marked or synced. */
static void die_without_close(void (*fn)(const char *path), const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		fn(path);
		kill(getpid(), SIGKILL);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_restart(void)
{
	enum { SLOTS = 300 };
	static const uint32_t windows[] = {0, 64, 128, 256, 512, 1024, 2048, 4096};
	const char *path = rig_file();
	struct counters *counters;
	struct stat st;

	counters = rig_counters(path, SLOTS);
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t window = windows[i % 8];
		struct counter_slot *slot = counters_take(counters, id_of(i), window);

		CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
		CU_ASSERT_EQUAL((uintptr_t)slot % 64, 0);
		CU_ASSERT_EQUAL(slot->seq, 0);
		CU_ASSERT_EQUAL(slot->window, window);
		CU_ASSERT_TRUE(
			window == 0 ? slot->n_words == 0 : slot->n_words * 64 >= window + 64);
		slot->seq = i + 1000;
		slot->packets = i;
		if (slot->n_words != 0)
			slot->bits[slot->n_words - 1] = ~(uint64_t)i;
		CU_ASSERT_PTR_EQUAL(counters_take(counters, id_of(i), window), slot);
	}
	counters_close(counters);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	/* Sparse: the capacity costs address space, not disk. */
	CU_ASSERT_TRUE(st.st_blocks * 512 < 400000);

	counters = rig_counters(path, SLOTS);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct counter_slot *slot = counters_take(counters, id_of(i), windows[i % 8]);

		CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
		CU_ASSERT_EQUAL(slot->seq, i + 1000);
		CU_ASSERT_EQUAL(slot->packets, i);
		if (slot->n_words != 0)
			CU_ASSERT_EQUAL(slot->bits[slot->n_words - 1], ~(uint64_t)i);
	}
	counters_close(counters);
}

/* Keys are replaced and the program restarted, again and again: the slots of keys that are gone
 * never make the file full. */
static void test_keys_replaced(void)
{
	enum { SLOTS = 200, ROUNDS = 10 };
	const char *path = rig_file();

	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct counters *counters = rig_counters(path, SLOTS);
		unsigned refused = 0;

		for (uint32_t i = 0; i < SLOTS; i++)
			refused += counters_take(counters, id_of(round * SLOTS + i),
					   i % 2 == 0 ? 0 : 1024) == NULL;
		CU_ASSERT_EQUAL(refused, 0);
		counters_close(counters);
	}
}

static void test_full_and_drop(void)
{
	enum { SLOTS = 40 };
	struct counter_slot *slots[SLOTS];
	const char *path = rig_file();
	struct counters *counters = rig_counters(path, SLOTS);

	for (uint32_t i = 0; i < SLOTS; i++)
		slots[i] = counters_take(counters, id_of(i), 1024);
	CU_ASSERT_PTR_NOT_NULL(slots[SLOTS - 1]);
	CU_ASSERT_PTR_NULL(counters_take(counters, id_of(SLOTS), 1024));
	/* Every other one goes; the rest is still found, in this run and the next. */
	for (uint32_t i = 0; i < SLOTS; i += 2) {
		slots[i]->seq = 77;
		counters_drop(counters, slots[i]);
	}
	for (uint32_t i = 1; i < SLOTS; i += 2)
		CU_ASSERT_PTR_EQUAL(counters_take(counters, id_of(i), 1024), slots[i]);
	for (uint32_t i = 0; i < SLOTS; i += 2) {
		struct counter_slot *slot = counters_take(counters, id_of(SLOTS + i), 1024);

		CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
		CU_ASSERT_EQUAL(slot->seq, 0);
	}
	CU_ASSERT_PTR_NULL(counters_take(counters, id_of(1000), 0));
	counters_close(counters);
	/* More capacity at the next start: the file grows, the old slots stay. */
	counters = rig_counters(path, 4 * SLOTS);
	CU_ASSERT_PTR_NOT_NULL(counters_take(counters, id_of(1000), 0));
	for (uint32_t i = 1; i < SLOTS; i += 2)
		CU_ASSERT_PTR_NOT_NULL(counters_take(counters, id_of(i), 1024));
	counters_close(counters);
	/* Less capacity: what is there is still served, and does not keep a new one out. */
	counters = rig_counters(path, 1);
	CU_ASSERT_PTR_NOT_NULL(counters_take(counters, id_of(1), 1024));
	CU_ASSERT_PTR_NOT_NULL(counters_take(counters, id_of(2000), 1024));
	CU_ASSERT_PTR_NULL(counters_take(counters, id_of(2001), 1024));
	counters_close(counters);
}

static void test_zero_id(void)
{
	static const uint8_t zero[COUNTERS_ID_BYTES];
	struct counters *counters = rig_counters(rig_file(), 1);

	CU_ASSERT_PTR_NULL(counters_take(counters, zero, 64));
	CU_ASSERT_PTR_NULL(counters_take(counters, id_of(1), REPLAY_WINDOW_MAX + 1));
	CU_ASSERT_PTR_NOT_NULL(counters_take(counters, id_of(1), 64));
	counters_close(counters);
}

static void test_window_changed(void)
{
	static const struct {
		uint32_t before, after;
	} rows[] = {{64, 128}, {64, 4096}, {4096, 64}, {1024, 1000}, {1000, 1024}, {100, 64}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *path = rig_file();
		struct counters *counters = rig_counters(path, 4);
		struct sa_in sa = {.esn = true};
		bool all_old = true, all_new = true;
		char row[48];

		snprintf(row, sizeof row, "%u to %u", rows[i].before, rows[i].after);
		sa_in_set_slot(&sa, counters_take(counters, id_of(1), rows[i].before));
		for (uint64_t seq = 2; seq <= 10000; seq += 2)
			CHECK_ROW(row, replay_commit(&sa, seq));
		sa.slot->packets = 5;
		counters_close(counters);
		counters = rig_counters(path, 4);
		sa_in_set_slot(&sa, counters_take(counters, id_of(1), rows[i].after));
		CHECK_ROW(row, sa.slot != NULL && sa.slot->window == rows[i].after);
		CHECK_ROW(row, sa.slot->seq == 10000 && sa.slot->packets == 5);
		for (uint64_t seq = 1; seq <= 10000; seq++)
			all_old &= !replay_commit(&sa, seq);
		for (uint64_t seq = 10001; seq <= 30000; seq++)
			all_new &= replay_commit(&sa, seq);
		CHECK_ROW(row, all_old);
		CHECK_ROW(row, all_new);
		counters_close(counters);
	}
}

#define KILL_WINDOW 256

/* Commits 1, 2, 3, ... with jumps and late ones, and says each accepted number in a pipe before it
 * would be used. */
static void commit_until_killed(const char *path, int report)
{
	struct counters *counters = rig_counters(path, 4);
	struct sa_in sa = {.esn = true};
	uint64_t state = (uint64_t)getpid() * 2654435761u + 1;

	sa_in_set_slot(&sa, counters_take(counters, id_of(1), KILL_WINDOW));
	for (;;) {
		uint64_t top = sa.slot->seq, seq;

		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		seq = top + state % 16;
		if (state % 64 == 5)
			seq = top + state / 64 % 2000;
		else if (state % 2 == 0)
			seq = top > 200 ? top - state / 64 % 200 : top;
		if (replay_commit(&sa, seq) && write(report, &seq, sizeof seq) != sizeof seq)
			_exit(1);
	}
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* 60 lives of one file: no number is accepted in two of them. */
static void test_kill_at_random(void)
{
	enum { LIVES = 60, NUMBERS = 4 << 20 };
	const char *path = rig_file();
	uint64_t *accepted = malloc(NUMBERS * sizeof *accepted);
	size_t n = 0, twice = 0;

	for (int life = 0; life < LIVES; life++) {
		int ends[2];
		ssize_t len;
		pid_t pid;

		CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
		pid = fork();
		if (pid == 0) {
			close(ends[0]);
			commit_until_killed(path, ends[1]);
		}
		close(ends[1]);
		/* Some numbers first, then a moment that differs from life to life. */
		for (size_t want = n + 100 + (size_t)(life * 37 % 211); n < want; n++) {
			len = read(ends[0], &accepted[n], sizeof accepted[n]);
			CU_ASSERT_EQUAL_FATAL(len, (ssize_t)sizeof accepted[n]);
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		while (n < NUMBERS && (len = read(ends[0], &accepted[n], sizeof accepted[n])) > 0) {
			CU_ASSERT_EQUAL(len, (ssize_t)sizeof accepted[n]);
			n++;
		}
		close(ends[0]);
	}
	qsort(accepted, n, sizeof *accepted, by_number);
	for (size_t i = 1; i < n; i++)
		twice += accepted[i] == accepted[i - 1];
	CU_ASSERT_EQUAL(twice, 0);
	CU_ASSERT_TRUE(n > LIVES * 100);
	free(accepted);
}

static void take_and_drop_until_killed(const char *path)
{
	struct counters *counters = rig_counters(path, 64);

	for (uint32_t i = 0;; i++) {
		struct counter_slot *slot = counters_take(
			counters, id_of(i % 64), (i / 64 % 3 == 0) ? 64u : 1024u);

		if (slot == NULL)
			_exit(1);
		slot->seq = i;
		if (i % 7 == 0)
			counters_drop(counters, slot);
	}
}

/* Killed while slots are made, resized and dropped: the file opens and serves its capacity. */
static void test_kill_in_take(void)
{
	const char *path = rig_file();

	for (int life = 0; life < 40; life++) {
		struct counters *counters;
		unsigned lost = 0;
		pid_t pid = fork();

		if (pid == 0)
			take_and_drop_until_killed(path);
		usleep(3000 + (useconds_t)(life * 331 % 4000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (open_as(path, 64, AFTER_POWER_LOSS_STRICT, &counters) != 0) {
			CU_FAIL("file does not open after a kill");
			return;
		}
		for (uint32_t i = 0; i < 64; i++)
			lost += counters_take(counters, id_of(i), 1024) == NULL;
		/* A kill between the halves of an id costs that slot at most. */
		CU_ASSERT_TRUE(lost <= 1u + (unsigned)life);
		counters_close(counters);
	}
}

enum { LIVE_SEQ = 5000 };

static void fill_and_sync(const char *path)
{
	struct counters *counters = rig_counters(path, 8);
	struct sa_in sa = {.esn = true};
	struct counter_slot *out = counters_take(counters, id_of(2), 0);

	sa_in_set_slot(&sa, counters_take(counters, id_of(1), 1024));
	if (counters_sync(counters, UINT32_MAX) != 0)
		_exit(1);
	for (uint64_t seq = 2; seq <= LIVE_SEQ; seq += 2)
		if (!replay_commit(&sa, seq))
			_exit(1);
	out->seq = LIVE_SEQ;
}

static void test_power_loss(void)
{
	static const struct {
		const char *name;
		enum after_power_loss policy;
		bool other_boot, clean;
		bool to_ceiling_in, to_ceiling_out;
	} rows[] = {
		{"kill, same boot, strict", AFTER_POWER_LOSS_STRICT, false, false, false, false},
		{"kill, same boot, open", AFTER_POWER_LOSS_OPEN, false, false, false, false},
		{"other boot, closed in order", AFTER_POWER_LOSS_STRICT, true, true, false, false},
		{"power loss, strict", AFTER_POWER_LOSS_STRICT, true, false, true, true},
		{"power loss, open", AFTER_POWER_LOSS_OPEN, true, false, false, true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *path = rig_file();
		struct sa_in sa = {.esn = true};
		struct counter_slot *out;
		struct counters *counters;
		uint64_t edge = rows[i].to_ceiling_in ? COUNTERS_HEADROOM : LIVE_SEQ;
		bool seen = true, fresh = true;

		counters_set_boot_id_test("boot-one");
		die_without_close(fill_and_sync, path);
		if (rows[i].clean)
			counters_close(rig_counters(path, 8));
		if (rows[i].other_boot)
			counters_set_boot_id_test("boot-two");
		CHECK_ROW(rows[i].name, open_as(path, 8, rows[i].policy, &counters) == 0);
		sa_in_set_slot(&sa, counters_take(counters, id_of(1), 1024));
		out = counters_take(counters, id_of(2), 0);
		CHECK_ROW(rows[i].name, sa.slot->seq == edge);
		CHECK_ROW(rows[i].name,
			out->seq == (rows[i].to_ceiling_out ? COUNTERS_HEADROOM : LIVE_SEQ));
		/* A packet not received before, left of the edge: strict has to refuse it. */
		CHECK_ROW(rows[i].name, replay_commit(&sa, LIVE_SEQ - 1) == !rows[i].to_ceiling_in);
		for (uint64_t seq = edge; seq > edge - 1100; seq -= 2)
			seen &= !replay_commit(&sa, seq);
		for (uint64_t seq = edge + 1; seq < edge + 3000; seq++)
			fresh &= replay_commit(&sa, seq);
		CHECK_ROW(rows[i].name, seen);
		CHECK_ROW(rows[i].name, fresh);
		counters_close(counters);
		/* The second start in the new boot takes the live values. */
		CHECK_ROW(rows[i].name, open_as(path, 8, rows[i].policy, &counters) == 0);
		CHECK_ROW(
			rows[i].name, counters_take(counters, id_of(1), 1024)->seq == edge + 2999);
		counters_close(counters);
		counters_set_boot_id_test(NULL);
	}
}

static void fill_two_pages(const char *path)
{
	struct counters *counters = rig_counters(path, 64);

	counters_take(counters, id_of(1), 64)->seq = 11; /* first page */
	counters_take(counters, id_of(2), 0)->seq = 12;  /* second page */
	if (counters_sync(counters, UINT32_MAX) != 0)
		_exit(1);
}

/* A page whose header never reached the disk is used again, its neighbours stay; but only if the
 * power was lost: else it is damage, and a window that starts anew would take replays. */
static void test_blank_page(void)
{
	static const uint8_t zero[4096];
	const char *path = rig_file();
	struct counters *counters = NULL;
	FILE *file;

	counters_set_boot_id_test("boot-one");
	die_without_close(fill_two_pages, path);
	file = fopen(path, "r+");
	fseek(file, 4096, SEEK_SET);
	CU_ASSERT_EQUAL(fwrite(zero, sizeof zero, 1, file), 1);
	fclose(file);
	CU_ASSERT_EQUAL(open_as(path, 64, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
	counters_set_boot_id_test("boot-two");
	counters = rig_counters(path, 64);
	CU_ASSERT_EQUAL(counters_take(counters, id_of(2), 0)->seq, COUNTERS_HEADROOM + 12);
	for (uint32_t i = 10; i < 70; i++) {
		struct counter_slot *slot = counters_take(counters, id_of(i), 4096);

		CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
		CU_ASSERT_EQUAL(slot->seq, 0);
	}
	counters_close(counters);
	counters_set_boot_id_test(NULL);
}

static void test_ceilings(void)
{
	struct counters *counters = rig_counters(rig_file(), 16);
	struct counter_slot *slots[10];

	for (uint32_t i = 0; i < 10; i++)
		slots[i] = counters_take(counters, id_of(i), 0);
	/* Four a call: all are reached in three. */
	for (int call = 0; call < 3; call++)
		CU_ASSERT_EQUAL(counters_sync(counters, 4), 0);
	for (uint32_t i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(slots[i]->ceiling, COUNTERS_HEADROOM);
	slots[3]->seq = COUNTERS_HEADROOM / 2; /* just enough ahead */
	slots[4]->seq = COUNTERS_HEADROOM / 2 + 1;
	slots[5]->seq = 3 * COUNTERS_HEADROOM; /* overran its ceiling */
	slots[6]->seq = UINT64_MAX - 1;        /* has no headroom any more */
	CU_ASSERT_EQUAL(counters_sync(counters, UINT32_MAX), 0);
	CU_ASSERT_EQUAL(slots[3]->ceiling, COUNTERS_HEADROOM);
	CU_ASSERT_EQUAL(slots[4]->ceiling, COUNTERS_HEADROOM / 2 + 1 + COUNTERS_HEADROOM);
	CU_ASSERT_EQUAL(slots[5]->ceiling, 4 * COUNTERS_HEADROOM);
	CU_ASSERT_EQUAL(slots[6]->ceiling, COUNTERS_HEADROOM);
	counters_close(counters);
}

static bool disk_fails;
static unsigned flushes;

int __wrap_msync(void *address, size_t len, int flags); /* the linker puts it in msync()'s place */
int __real_msync(void *address, size_t len, int flags);
int __wrap_msync(void *address, size_t len, int flags)
{
	flushes++;
	if (!disk_fails)
		return __real_msync(address, len, flags);
	errno = EIO;
	return -1;
}

/* A ceiling that did not reach the disk is stored and flushed again, even though it looks high
 * enough by then. */
static void test_disk_fails(void)
{
	struct counters *counters = rig_counters(rig_file(), 16);
	struct counter_slot *slots[3];

	for (uint32_t i = 0; i < 3; i++)
		slots[i] = counters_take(counters, id_of(i), 0);
	disk_fails = true;
	CU_ASSERT_EQUAL(counters_sync(counters, UINT32_MAX), -EIO);
	CU_ASSERT_EQUAL(counters_sync(counters, UINT32_MAX), -EIO); /* not taken for done */
	disk_fails = false;
	for (uint32_t i = 0; i < 3; i++)
		slots[i]->seq = 7;
	CU_ASSERT_EQUAL(counters_sync_new(counters), 0);
	flushes = 0;
	for (int call = 0; call < 2; call++) /* two a call */
		CU_ASSERT_EQUAL(counters_sync(counters, 2), 0);
	CU_ASSERT_EQUAL(flushes, 2);
	for (uint32_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(slots[i]->ceiling, COUNTERS_HEADROOM + 7);
	CU_ASSERT_EQUAL(counters_sync(counters, UINT32_MAX), 0);
	CU_ASSERT_EQUAL(flushes, 2); /* nothing is left to do */
	counters_close(counters);
}

/* New slots are durable before the walk over all slots comes to them, and once. */
static void test_new_slots(void)
{
	struct counters *counters = rig_counters(rig_file(), 300);
	struct counter_slot *slot;

	CU_ASSERT(!counters_has(counters, id_of(1)));
	flushes = 0;
	CU_ASSERT_EQUAL(counters_sync_new(counters), 0);
	CU_ASSERT_EQUAL(flushes, 0);
	slot = counters_take(counters, id_of(1), 1024);
	CU_ASSERT_EQUAL(counters_sync_new(counters), 0);
	CU_ASSERT_EQUAL(slot->ceiling, COUNTERS_HEADROOM);
	CU_ASSERT_EQUAL(flushes, 2); /* its page, and the one that counts pages */
	CU_ASSERT_EQUAL(counters_sync_new(counters), 0);
	CU_ASSERT_EQUAL(flushes, 2);
	CU_ASSERT_PTR_EQUAL(counters_take(counters, id_of(1), 1024), slot); /* is not new */
	CU_ASSERT_EQUAL(counters_sync_new(counters), 0);
	CU_ASSERT_EQUAL(flushes, 2);
	for (uint32_t i = 2; i < 300; i++)
		(void)counters_take(counters, id_of(i), 0);
	CU_ASSERT(counters_has(counters, id_of(299)) && !counters_has(counters, id_of(300)));
	disk_fails = true;
	CU_ASSERT_EQUAL(counters_sync_new(counters), -EIO);
	disk_fails = false;
	flushes = 0;
	CU_ASSERT_EQUAL(counters_sync_new(counters), 0); /* what failed is not taken for done */
	CU_ASSERT_EQUAL(flushes, 2);
	flushes = 0;
	CU_ASSERT_EQUAL(counters_sync(counters, UINT32_MAX), 0); /* nor forgotten */
	CU_ASSERT_EQUAL(flushes, 1);
	counters_close(counters);
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "w");

	CU_ASSERT_EQUAL(fwrite(data, 1, len, file), len);
	fclose(file);
}

static void test_foreign_files(void)
{
	static const uint8_t zero[8192];
	const char *path = rig_file();
	struct counters *counters = NULL, *second = NULL;
	uint8_t bytes[8192];
	FILE *file;

	write_file(path, "", 0); /* somebody emptied it */
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
	write_file(path, "hello", 5);
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
	write_file(path, zero, sizeof zero);
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
	CU_ASSERT_EQUAL(open_as("/nowhere/at/all", 8, AFTER_POWER_LOSS_STRICT, &counters), -ENOENT);
	CU_ASSERT_EQUAL(open_as("/dev/null", 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);

	path = rig_file();
	counters = rig_counters(path, 8);
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &second), -EBUSY);
	counters_take(counters, id_of(1), 64);
	counters_close(counters);
	file = fopen(path, "r");
	CU_ASSERT_EQUAL(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
	fclose(file);

	/* Cut short, another version, and a slot that is not of its page. */
	write_file(path, bytes, 4096);
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
	bytes[8] ^= 1;
	write_file(path, bytes, sizeof bytes);
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
	bytes[8] ^= 1;
	bytes[4096 + 64 + offsetof(struct counter_slot, window) + 1] = 0x40;
	write_file(path, bytes, sizeof bytes);
	CU_ASSERT_EQUAL(open_as(path, 8, AFTER_POWER_LOSS_STRICT, &counters), -EINVAL);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"restart", test_restart},
		{"keys replaced", test_keys_replaced},
		{"full file and dropped slots", test_full_and_drop},
		{"no id, no window", test_zero_id},
		{"window of another size", test_window_changed},
		{"kill at random while committing", test_kill_at_random},
		{"kill at random while taking slots", test_kill_in_take},
		{"power loss", test_power_loss},
		{"blank page", test_blank_page},
		{"ceilings", test_ceilings},
		{"the disk fails", test_disk_fails},
		{"new slots", test_new_slots},
		{"foreign and damaged files", test_foreign_files},
		{NULL, NULL},
	};
	int ret = unit_run("counters", cases);

	unit_remove_folder();
	return ret;
}
