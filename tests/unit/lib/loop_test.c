/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Event loop: order and re-arming of timers, deleting sources from callbacks, signals, the poll
 * hook. Time is measured only for lower bounds and for "did not sleep for the far timer".
 */
#include "lib/loop.h"

#include "unit.h"

#include "lib/clock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

static struct loop *loop;

static void stop_loop(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* Runs the loop; a guard makes a test that would hang fail instead. */
static bool timed_out;
static void on_guard(void *arg)
{
	(void)arg;
	timed_out = true;
	loop_stop(loop);
}
static void run_guarded(void)
{
	struct loop_timer *guard = loop_timer_new(loop, on_guard, NULL);

	timed_out = false;
	loop_timer_arm_in(guard, 5 * NS_PER_S);
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	CU_ASSERT_FALSE(timed_out);
	loop_timer_free(guard);
}

static void begin(void)
{
	loop = loop_new();
	if (loop == NULL)
		abort();
}

static void end(void)
{
	loop_free(loop);
	loop = NULL;
}

/* --- timers --- */

#define MANY 200
static int order[MANY + 8];
static size_t n_order;
static void note(void *arg)
{
	order[n_order++] = *(int *)arg;
}

static void test_timer_order(void)
{
	static int ids[MANY];
	struct loop_timer *timers[MANY];
	struct loop_timer *last;
	uint64_t base = clock_mono_ns();
	size_t n_left = 0;

	begin();
	n_order = 0;
	for (int i = 0; i < MANY; i++) {
		ids[i] = i * 37 % MANY; /* a permutation: 37 and 200 have no common divisor */
		timers[i] = loop_timer_new(loop, note, &ids[i]);
		CU_ASSERT_FALSE(loop_timer_is_armed(timers[i]));
		loop_timer_arm(timers[i], base + 5 * NS_PER_S);
	}
	/* Arming again replaces the time. */
	for (int i = 0; i < MANY; i++)
		loop_timer_arm(timers[i], base + (uint64_t)ids[i] * 10 * NS_PER_US);
	/* Every third is taken out again, from all places of the heap. */
	for (int i = 0; i < MANY; i += 3) {
		loop_timer_disarm(timers[i]);
		loop_timer_disarm(timers[i]); /* twice is allowed */
		CU_ASSERT_FALSE(loop_timer_is_armed(timers[i]));
		ids[i] = -1;
	}
	for (int i = 0; i < MANY; i++)
		n_left += ids[i] >= 0;
	last = loop_timer_new(loop, stop_loop, NULL);
	loop_timer_arm(last, base + MANY * 10 * NS_PER_US);
	CU_ASSERT_TRUE(loop_timer_is_armed(last));
	run_guarded();
	CU_ASSERT_FALSE(loop_timer_is_armed(last));
	CU_ASSERT_EQUAL(n_order, n_left);
	for (size_t i = 1; i < n_order; i++)
		CU_ASSERT_TRUE(order[i - 1] < order[i]);
	CU_ASSERT_TRUE(clock_mono_ns() - base >= MANY * 10 * NS_PER_US);
	for (int i = 0; i < MANY; i++)
		loop_timer_free(timers[i]);
	loop_timer_free(last);
	loop_timer_free(NULL);
	end();
}

struct self_timer {
	struct loop_timer *timer, *other;
	int runs;
};

static void on_self_free(void *arg)
{
	struct self_timer *self = arg;

	self->runs++;
	loop_timer_free(self->timer);
	loop_timer_free(self->other); /* due in the same round */
	self->timer = self->other = NULL;
	loop_stop(loop);
}

static void test_timer_frees(void)
{
	struct self_timer self = {0};
	uint64_t past;

	begin();
	past = clock_mono_ns();
	self.timer = loop_timer_new(loop, on_self_free, &self);
	self.other = loop_timer_new(loop, on_guard, NULL);
	loop_timer_arm(self.timer, past);
	loop_timer_arm(self.other, past + 1);
	run_guarded();
	CU_ASSERT_EQUAL(self.runs, 1);
	end();
}

static void on_rearm_now(void *arg)
{
	struct self_timer *self = arg;

	self->runs++;
	loop_timer_arm(self->timer, 0); /* always due */
}

static void on_readable_stop(void *arg, int fd, uint32_t events)
{
	(void)arg;
	(void)fd;
	(void)events;
	loop_stop(loop);
}

/* A timer that is always due, even with a clock that stands still, starves nobody. */
static void test_timer_always_due(void)
{
	struct self_timer self = {0};
	int ends[2];

	begin();
	clock_set_test(NS_PER_S, NS_PER_S);
	CU_ASSERT_EQUAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
	CU_ASSERT_EQUAL(loop_fd_add(loop, ends[0], EPOLLIN, on_readable_stop, NULL), 0);
	self.timer = loop_timer_new(loop, on_rearm_now, &self);
	loop_timer_arm(self.timer, 0);
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	CU_ASSERT_TRUE(self.runs >= 1);
	clock_set_test(0, 0);
	loop_timer_free(self.timer);
	close(ends[0]);
	close(ends[1]);
	end();
}

static void test_timer_precision(void)
{
	uint64_t best = UINT64_MAX;

	begin();
	for (int i = 0; i < 20; i++) {
		struct loop_timer *timer = loop_timer_new(loop, stop_loop, NULL);
		uint64_t at = clock_mono_ns() + 300 * NS_PER_US;
		uint64_t now;

		loop_timer_arm(timer, at);
		CU_ASSERT_EQUAL(loop_run(loop), 0);
		now = clock_mono_ns();
		CU_ASSERT_TRUE(now >= at);
		if (now - at < best)
			best = now - at;
		loop_timer_free(timer);
	}
	/* Waiting in whole milliseconds would be late by 700 us every time. */
	CU_ASSERT_TRUE(best < 500 * NS_PER_US);
	end();
}

static void test_arm_in_far(void)
{
	struct loop_timer *timer;

	begin();
	timer = loop_timer_new(loop, on_guard, NULL);
	timed_out = false;
	loop_timer_arm_in(timer, UINT64_MAX); /* must not wrap into the past */
	loop_stop(loop);
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	CU_ASSERT_FALSE(timed_out);
	CU_ASSERT_TRUE(loop_timer_is_armed(timer));
	loop_timer_free(timer);
	end();
}

/* --- descriptors --- */

struct pair {
	int a, b; /* both readable */
	int other;
	int calls;
};

static void on_del_other(void *arg, int fd, uint32_t events)
{
	struct pair *pair = arg;
	int other = fd == pair->a ? pair->b : pair->a;

	(void)events;
	pair->calls++;
	/* Both are readable in this round; the other must not be called any more, not even if its
	 * number is taken by a new source at once. */
	loop_fd_del(loop, other);
	CU_ASSERT_EQUAL(loop_fd_add(loop, other, EPOLLOUT, on_readable_stop, NULL), 0);
	loop_fd_del(loop, other);
	CU_ASSERT_EQUAL(loop_fd_add(loop, other, EPOLLERR, on_readable_stop, NULL), 0);
	loop_fd_del(loop, fd);
}

static void test_fd_del_in_callback(void)
{
	struct loop_timer *timer;
	struct pair pair = {0};
	int first[2], second[2];

	begin();
	CU_ASSERT(pipe(first) == 0 && pipe(second) == 0);
	CU_ASSERT(write(first[1], "x", 1) == 1 && write(second[1], "x", 1) == 1);
	pair.a = first[0];
	pair.b = second[0];
	CU_ASSERT_EQUAL(loop_fd_add(loop, pair.a, EPOLLIN, on_del_other, &pair), 0);
	CU_ASSERT_EQUAL(loop_fd_add(loop, pair.b, EPOLLIN, on_del_other, &pair), 0);
	CU_ASSERT_EQUAL(loop_fd_add(loop, pair.b, EPOLLIN, on_del_other, &pair), -EEXIST);
	timer = loop_timer_new(loop, stop_loop, NULL);
	loop_timer_arm_in(timer, 20 * NS_PER_MS);
	run_guarded();
	CU_ASSERT_EQUAL(pair.calls, 1);
	loop_timer_free(timer);
	for (int i = 0; i < 2; i++) {
		close(first[i]);
		close(second[i]);
	}
	end();
}

static void test_fd_errors(void)
{
	int ends[2];

	begin();
	CU_ASSERT_EQUAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(loop_fd_add(loop, -1, EPOLLIN, on_readable_stop, NULL), -EBADF);
	CU_ASSERT_EQUAL(loop_fd_add(loop, 9999, EPOLLIN, on_readable_stop, NULL), -EBADF);
	CU_ASSERT_EQUAL(loop_fd_mod(loop, ends[0], EPOLLIN), -ENOENT);
	CU_ASSERT_EQUAL(loop_fd_mod(loop, -1, EPOLLIN), -ENOENT);
	loop_fd_del(loop, ends[0]); /* not there: nothing happens */
	/* mod: nothing to read, but ready for writing. */
	CU_ASSERT_EQUAL(loop_fd_add(loop, ends[1], 0, on_readable_stop, NULL), 0);
	CU_ASSERT_EQUAL(loop_fd_mod(loop, ends[1], EPOLLOUT), 0);
	run_guarded();
	close(ends[0]);
	close(ends[1]);
	end();
}

/* --- stop and signals --- */

static void *stop_from_thread(void *arg)
{
	usleep(20000);
	loop_stop(arg);
	return NULL;
}

static void test_stop(void)
{
	pthread_t thread;

	begin();
	loop_stop(loop); /* before the run: it returns at once, and can run again */
	run_guarded();
	CU_ASSERT_EQUAL(pthread_create(&thread, NULL, stop_from_thread, loop), 0);
	run_guarded();
	pthread_join(thread, NULL);
	end();
}

static int got_signals;
static void on_signal(void *arg, int signo)
{
	got_signals += signo == *(int *)arg;
	if (got_signals == 2)
		loop_stop(loop);
	else
		raise(SIGUSR2);
}

static void test_signals(void)
{
	int usr1 = SIGUSR1, usr2 = SIGUSR2;

	begin();
	got_signals = 0;
	CU_ASSERT_EQUAL(loop_signal_add(loop, SIGUSR1, on_signal, &usr1), 0);
	CU_ASSERT_EQUAL(loop_signal_add(loop, SIGUSR2, on_signal, &usr2), 0);
	CU_ASSERT_EQUAL(loop_signal_add(loop, 0, on_signal, NULL), -EINVAL);
	CU_ASSERT_EQUAL(loop_signal_add(loop, 1000, on_signal, NULL), -EINVAL);
	raise(SIGUSR1);
	run_guarded();
	CU_ASSERT_EQUAL(got_signals, 2);
	end();
}

/* --- poll hook --- */

struct hook {
	uint64_t wish_ns;
	int calls, stop_after;
};

static uint64_t on_poll(void *arg)
{
	struct hook *hook = arg;

	if (++hook->calls == hook->stop_after)
		loop_stop(loop);
	return hook->wish_ns;
}

/* Runs until the hook was called n times; returns how long that took. */
static uint64_t run_hook(uint64_t wish_ns, int n)
{
	struct hook hook = {.wish_ns = wish_ns, .stop_after = n};
	uint64_t start = clock_mono_ns();

	loop_poll_set(loop, on_poll, &hook);
	CU_ASSERT_EQUAL(loop_run(loop), 0);
	CU_ASSERT_EQUAL(hook.calls, n);
	loop_poll_set(loop, NULL, NULL);
	return clock_mono_ns() - start;
}

static void test_poll_hook(void)
{
	uint64_t best = UINT64_MAX;
	struct loop_timer *far;

	begin();
	far = loop_timer_new(loop, on_guard, NULL);
	timed_out = false;
	loop_timer_arm_in(far, 20 * NS_PER_S);
	/* 0: never sleeps, so thousands of rounds pass quickly. */
	CU_ASSERT_TRUE(run_hook(0, 10000) < 5 * NS_PER_S);
	/* A small value is slept at most, and about that long: not rounded up to a millisecond. */
	for (int i = 0; i < 5 && best >= 100 * NS_PER_MS; i++) { /* the machine may be busy */
		uint64_t took = run_hook(200 * NS_PER_US, 101);

		CU_ASSERT_TRUE(took >= 100 * 200 * NS_PER_US);
		best = took < best ? took : best;
	}
	CU_ASSERT_TRUE(best < 100 * NS_PER_MS);
	CU_ASSERT_FALSE(timed_out);
	loop_timer_free(far);
	end();
}

/* "Only after other events": one call at the start, one after the timer. */
static void test_poll_hook_idle(void)
{
	struct hook hook = {.wish_ns = UINT64_MAX, .stop_after = -1};
	struct loop_timer *timer;

	begin();
	loop_poll_set(loop, on_poll, &hook);
	timer = loop_timer_new(loop, stop_loop, NULL);
	loop_timer_arm_in(timer, 30 * NS_PER_MS);
	run_guarded();
	CU_ASSERT_TRUE(hook.calls >= 1 && hook.calls <= 3);
	loop_timer_free(timer);
	end();
}

/* Descriptors are served although the hook never lets the loop sleep. */
static void test_poll_hook_and_fd(void)
{
	struct hook hook = {.wish_ns = 0, .stop_after = -1};
	int ends[2];

	begin();
	CU_ASSERT_EQUAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
	CU_ASSERT_EQUAL(loop_fd_add(loop, ends[0], EPOLLIN, on_readable_stop, NULL), 0);
	loop_poll_set(loop, on_poll, &hook);
	run_guarded();
	CU_ASSERT_TRUE(hook.calls >= 1);
	close(ends[0]);
	close(ends[1]);
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"timer order", test_timer_order},
		{"timer frees itself and another", test_timer_frees},
		{"timer that is always due", test_timer_always_due},
		{"timer precision", test_timer_precision},
		{"timer in the far future", test_arm_in_far},
		{"source deleted by a callback", test_fd_del_in_callback},
		{"descriptor errors", test_fd_errors},
		{"stop", test_stop},
		{"signals", test_signals},
		{"poll hook sleeps as told", test_poll_hook},
		{"poll hook waits for events", test_poll_hook_idle},
		{"poll hook and descriptors", test_poll_hook_and_fd},
		{NULL, NULL},
	};

	return unit_run("loop", cases);
}
