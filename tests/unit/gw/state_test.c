/* SPDX-License-Identifier: BSD-3-Clause */
/* Positions and epochs over a restart; the thread that commits. */
#include "control/gw/state.h"

#include "gw_fixture.h"
#include "lib/clock.h"
#include "lib/store.h"
#include "tests/unit/lib/unit.h"

#include <errno.h>
#include <stdatomic.h>

#define KICKS 50
#define SLOW_MS 2000 /* that a commit takes at most when it is held */

/* The disk: LMDB calls this in the middle of a commit. */
static _Atomic(bool) hold, held;

int fdatasync(int fd)
{
	if (atomic_load(&hold)) {
		atomic_store(&held, true);
		for (unsigned i = 0; i < SLOW_MS && atomic_load(&hold); i++)
			usleep(1000);
		atomic_store(&held, false);
	}
	return fsync(fd);
}

static char dir[256];

static struct state *open_state(void)
{
	struct state *state = NULL;
	char why[256] = "";

	CU_ASSERT_EQUAL(state_open(dir, 16, AFTER_POWER_LOSS_STRICT, &state, why, sizeof why), 0);
	CU_ASSERT_STRING_EQUAL(why, "");
	return state;
}

static struct position some_position(uint64_t generation)
{
	return (struct position){
		.generation = generation,
		.coa = addr_of("198.51.100.7"),
		.former_coa = addr_of("203.0.113.7"),
		.remote = {.addr = addr_of("198.51.100.7"), .port = 4500},
		.ends_real_ns = 1234567890123,
		.closed = generation % 2 == 0,
	};
}

static void wait_durable(const struct state *state, uint64_t number)
{
	for (unsigned i = 0; i < 5000 && state_durable(state) < number; i++)
		usleep(1000);
}

static void test_restart(void)
{
	const struct ip_addr home = addr_of("10.1.0.10"), other = addr_of("10.1.0.11");
	struct position position = some_position(5), back = {0};
	struct state *state = open_state();
	uint32_t epoch = state_boot_epoch(state);
	uint64_t number;

	CU_ASSERT(state_load(state, &home, &back) < 0);
	CU_ASSERT_EQUAL(state_start(state), 0);
	CU_ASSERT(state_write(state, &other, &position) != 0);
	position.generation = 6;
	number = state_write(state, &home, &position);
	CU_ASSERT(number != 0);
	wait_durable(state, number);
	CU_ASSERT(state_durable(state) >= number);
	state_close(state);

	state = open_state();
	CU_ASSERT(state_boot_epoch(state) > epoch);
	CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
	CU_ASSERT_EQUAL(back.generation, 6);
	CU_ASSERT_EQUAL(back.closed, position.closed);
	CU_ASSERT_EQUAL(back.ends_real_ns, position.ends_real_ns);
	CU_ASSERT(ip_addr_equal(&back.coa, &position.coa));
	CU_ASSERT(ip_addr_equal(&back.former_coa, &position.former_coa));
	CU_ASSERT(ip_endpoint_equal(&back.remote, &position.remote));
	state_close(state);
}

/* The record of home becomes one of that version with these flags. */
static void make_record(const struct ip_addr *home, uint8_t version, uint8_t flags)
{
	static const char *const names[] = {"nodes", NULL};
	struct store *store = NULL;
	struct store_value value;
	uint8_t record[128];
	char why[256] = "";

	CU_ASSERT_FATAL(store_open(dir, names, (size_t)1 << 30, &store, why, sizeof why) == 0);
	CU_ASSERT_FATAL(store_get(store, "nodes", home, sizeof *home, &value) == 0);
	CU_ASSERT_FATAL(value.len <= sizeof record);
	memcpy(record, value.data, value.len);
	record[0] = version;
	record[1] = flags;
	CU_ASSERT(store_put(store, "nodes", home, sizeof *home, record, value.len) == 0);
	store_close(store);
}

/* That a node was shown to be there has to be written; the first version never said it. */
static void test_versions(void)
{
	static const struct {
		const char *name;
		uint8_t version, flags;
		bool good, closed, verified;
	} rows[] = {
		{"open", 2, 0, true, false, false},
		{"closed", 2, 1, true, true, false},
		{"verified", 2, 4, true, false, true},
		{"first version", 1, 0, true, false, false},
		{"first version, closed", 1, 1, true, true, false},
		{"first version, not verified", 1, 2, true, false, false},
		{"first version, no such flag", 1, 4, true, false, false},
		{"no version", 0, 4, false, false, false},
		{"later version", 3, 4, false, false, false},
	};
	const struct ip_addr home = addr_of("10.1.0.18");

	for (unsigned verified = 0; verified < 2; verified++) {
		struct position position = some_position(3), back = {0};
		struct state *state = open_state();

		position.verified = verified != 0;
		CU_ASSERT_EQUAL(state_start(state), 0);
		CU_ASSERT(state_write(state, &home, &position) != 0);
		state_close(state);
		state = open_state();
		CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
		CU_ASSERT(back.verified == position.verified && !back.closed);
		state_close(state);
	}
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct position back = {0};
		struct state *state;

		make_record(&home, rows[i].version, rows[i].flags);
		state = open_state();
		CHECK_ROW(rows[i].name, (state_load(state, &home, &back) == 0) == rows[i].good);
		CHECK_ROW(rows[i].name, back.closed == rows[i].closed);
		CHECK_ROW(rows[i].name, back.verified == rows[i].verified);
		CHECK_ROW(rows[i].name, back.generation == (rows[i].good ? 3 : 0));
		state_close(state);
	}
}

/* What was queued when the end came is written before the end. */
static void test_close_writes(void)
{
	const struct ip_addr home = addr_of("10.1.0.12");
	struct position position = some_position(9), back = {0};
	struct state *state = open_state();

	CU_ASSERT_EQUAL(state_start(state), 0);
	CU_ASSERT(state_write(state, &home, &position) != 0);
	state_close(state);
	state = open_state();
	CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
	CU_ASSERT_EQUAL(back.generation, 9);
	state_close(state);
}

/* What was written last counts, wherever it is: queue, batch in hand or disk. */
static void test_load_sees_the_queue(void)
{
	const struct ip_addr home = addr_of("10.1.0.14"), other = addr_of("10.1.0.15");
	struct position position = some_position(1), back = {0};
	struct state *state = open_state(); /* nothing is committed yet */
	uint64_t number;

	CU_ASSERT(state_write(state, &home, &position) != 0);
	position.generation = 3;
	CU_ASSERT(state_write(state, &home, &position) != 0);
	position.generation = 5;
	CU_ASSERT(state_write(state, &other, &position) != 0);
	CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
	CU_ASSERT_EQUAL(back.generation, 3);
	CU_ASSERT(state_erase(state, &home) != 0);
	CU_ASSERT_EQUAL(state_load(state, &home, &back), -ENOENT);
	position.generation = 1;
	CU_ASSERT(state_write(state, &home, &position) != 0);
	CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
	CU_ASSERT_EQUAL(back.generation, 1);
	number = state_erase(state, &other);
	CU_ASSERT(number != 0);
	CU_ASSERT_EQUAL(state_start(state), 0);
	wait_durable(state, number);
	CU_ASSERT_EQUAL(state_load(state, &other, &back), -ENOENT);
	/* Erasing what is not there holds nothing up. */
	number = state_erase(state, &other);
	wait_durable(state, number);
	CU_ASSERT_EQUAL(state_durable(state), number);
	state_close(state);
	state = open_state();
	CU_ASSERT_EQUAL(state_load(state, &other, &back), -ENOENT);
	CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
	CU_ASSERT_EQUAL(back.generation, 1);
	state_close(state);
}

/* A disk that takes its time holds up the thread that commits, and nobody who asks. */
static void test_load_does_not_wait(void)
{
	const struct ip_addr home = addr_of("10.1.0.17"), other = addr_of("10.1.0.18");
	struct position position = some_position(7), back = {0};
	struct state *state = open_state();
	uint64_t number, from_ns;

	CU_ASSERT(state_write(state, &home, &position) != 0);
	CU_ASSERT_EQUAL(state_flush(state), 0);
	CU_ASSERT_EQUAL(state_start(state), 0);
	atomic_store(&hold, true);
	number = state_write(state, &other, &position);
	state_kick(state);
	for (unsigned i = 0; i < SLOW_MS && !atomic_load(&held); i++)
		usleep(1000);
	CU_ASSERT_FATAL(atomic_load(&held));
	from_ns = clock_mono_ns();
	CU_ASSERT_EQUAL(state_load(state, &home, &back), 0);
	CU_ASSERT_EQUAL(back.generation, 7);
	CU_ASSERT_EQUAL(state_load(state, &other, &back), 0); /* on its way */
	printf("two loads in %u us of a commit; ", (unsigned)((clock_mono_ns() - from_ns) / 1000));
	CU_ASSERT_TRUE(atomic_load(&held)); /* all that was within the commit */
	CU_ASSERT(state_durable(state) < number);
	atomic_store(&hold, false);
	wait_durable(state, number);
	CU_ASSERT_EQUAL(state_load(state, &other, &back), 0); /* the view moves on */
	CU_ASSERT_EQUAL(back.generation, 7);
	state_close(state);
}

/* A kick is what brings a record to the disk soon; without it the thread would take 200 ms each. */
static void test_kick(void)
{
	const struct ip_addr home = addr_of("10.1.0.16");
	struct position position = some_position(1);
	struct state *state = open_state();
	uint64_t from_ns, number;

	CU_ASSERT_EQUAL(state_start(state), 0);
	state_kick(state); /* nothing is queued */
	from_ns = clock_mono_ns();
	for (unsigned i = 0; i < KICKS; i++) {
		number = state_write(state, &home, &position);
		state_kick(state);
		wait_durable(state, number);
		CU_ASSERT_EQUAL(state_durable(state), number);
	}
	CU_ASSERT(clock_mono_ns() - from_ns < KICKS * 100 * NS_PER_MS);
	state_close(state);
}

static void test_queue_is_bounded(void)
{
	const struct ip_addr home = addr_of("10.1.0.13");
	struct position position = some_position(1);
	struct state *state = open_state();
	uint64_t last = 0;

	CU_ASSERT_EQUAL(state_room(state), STATE_QUEUE_MAX);
	for (unsigned i = 0; i < STATE_QUEUE_MAX; i++) {
		uint64_t number = state_write(state, &home, &position);

		if (number <= last)
			CU_FAIL("numbers must rise");
		last = number;
	}
	CU_ASSERT_EQUAL(state_room(state), 0);
	CU_ASSERT_EQUAL(state_write(state, &home, &position), 0);
	CU_ASSERT(state_durable(state) < last);
	CU_ASSERT_EQUAL(state_start(state), 0);
	wait_durable(state, last);
	CU_ASSERT_EQUAL(state_durable(state), last);
	CU_ASSERT_EQUAL(state_room(state), STATE_QUEUE_MAX);
	state_close(state);
}

static void test_epochs_rise(void)
{
	struct state *state = open_state();
	uint32_t boot = state_boot_epoch(state), one = 0, two = 0;

	CU_ASSERT_EQUAL(state_take_epoch(state, &one), 0);
	CU_ASSERT_EQUAL(state_take_epoch(state, &two), 0);
	CU_ASSERT(one >= boot + 2);
	CU_ASSERT(two >= one + 2);
	state_close(state);
	/* What was taken and not given out is left out, as after a crash. */
	state = open_state();
	CU_ASSERT(state_boot_epoch(state) > two);
	CU_ASSERT_EQUAL(state_start(state), 0);
	state_prepare_epoch(state);
	usleep(20000);
	boot = state_boot_epoch(state);
	state_close(state);
	state = open_state();
	CU_ASSERT(state_boot_epoch(state) > boot); /* by 3 if the disk was quick */
	state_close(state);
}

/* 0: not within some seconds. */
static uint32_t wait_epoch(struct state *state)
{
	uint32_t epoch;

	for (unsigned i = 0; i < 5000; i++) {
		if (state_ask_epoch(state, &epoch) == 0)
			return epoch;
		usleep(1000);
	}
	return 0;
}

/* Whoever asks for an epoch does not wait for the disk. */
static void test_epoch_does_not_wait(void)
{
	const struct ip_addr home = addr_of("10.1.0.17");
	struct position position = some_position(7);
	struct state *state = open_state();
	uint32_t boot = state_boot_epoch(state), epoch = 0;

	CU_ASSERT_EQUAL(state_ask_epoch(state, &epoch), -EAGAIN); /* the thread does not run */
	CU_ASSERT_EQUAL(state_start(state), 0);
	epoch = wait_epoch(state);
	CU_ASSERT(epoch >= boot + 2);
	atomic_store(&hold, true);
	CU_ASSERT(state_write(state, &home, &position) != 0);
	state_kick(state);
	for (unsigned i = 0; i < SLOW_MS && !atomic_load(&held); i++)
		usleep(1000);
	CU_ASSERT_FATAL(atomic_load(&held));
	for (unsigned i = 0; i < 1000; i++)
		CU_ASSERT(state_ask_epoch(state, &epoch) == -EAGAIN);
	state_prepare_epoch(state);
	CU_ASSERT_TRUE(atomic_load(&held)); /* all that was within the commit */
	atomic_store(&hold, false);
	CU_ASSERT(wait_epoch(state) >= epoch + 2);
	state_close(state);
}

/* In whatever order both threads take them: each is above all before, and on disk. */
static void test_epochs_of_two_threads(void)
{
	struct state *state = open_state();
	uint32_t last = state_boot_epoch(state), given = 0, epoch;

	CU_ASSERT_EQUAL(state_start(state), 0);
	for (unsigned i = 0; i < 300; i++) {
		const bool wait = i % 3 == 0;

		state_prepare_epoch(state);
		if (i % 7 == 0)
			usleep(300);
		if ((wait ? state_take_epoch(state, &epoch) : state_ask_epoch(state, &epoch)) !=
			0) {
			CU_ASSERT(!wait);
			continue;
		}
		CU_ASSERT(epoch >= last + 2);
		last = epoch;
		given++;
	}
	CU_ASSERT(given >= 100);
	state_close(state);
	state = open_state();
	CU_ASSERT(state_boot_epoch(state) > last);
	state_close(state);
}

static void test_cannot_open(void)
{
	struct state *state = open_state(), *second = NULL;
	char why[256] = "";

	CU_ASSERT(state_open(dir, 16, AFTER_POWER_LOSS_STRICT, &second, why, sizeof why) < 0);
	CU_ASSERT(why[0] != '\0'); /* a line for the operator */
	state_close(state);
	CU_ASSERT(state_open("/proc/nowhere", 16, AFTER_POWER_LOSS_STRICT, &second, why,
			  sizeof why) < 0);
	CU_ASSERT_PTR_NULL(second);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"restart", test_restart},
		{"versions of a record", test_versions},
		{"close writes", test_close_writes},
		{"load sees the queue", test_load_sees_the_queue},
		{"load does not wait for a commit", test_load_does_not_wait},
		{"a kick brings records to the disk", test_kick},
		{"the queue is bounded", test_queue_is_bounded},
		{"epochs rise", test_epochs_rise},
		{"an epoch does not wait for a commit", test_epoch_does_not_wait},
		{"epochs of two threads", test_epochs_of_two_threads},
		{"cannot open", test_cannot_open},
		{NULL, NULL},
	};
	int code;

	snprintf(dir, sizeof dir, "%s/state", fixture_folder());
	code = unit_run("gw/state", cases);
	fixture_remove_folder();
	return code;
}
