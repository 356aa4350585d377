/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: see the header. A loop has one descriptor; time is the test's. */
#include "lib/clock.h"
#include "lib/loop.h"
#include "tests/unit/handover/doubles.h"

#include <stdlib.h>

#define TIMERS 16

struct loop_timer {
	bool used;
	uint64_t at_ns; /* UINT64_MAX: not armed */
	loop_timer_fn *fn;
	void *arg;
};

static struct loop_timer timers[TIMERS];
static loop_fd_fn *on_readable;
static void *readable_arg;
static int readable_fd;

struct loop *loop_new(void)
{
	return (struct loop *)timers; /* there is but one */
}

void loop_free(struct loop *loop)
{
	(void)loop;
}

int loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *arg)
{
	(void)loop;
	(void)epoll_events;
	readable_fd = fd;
	on_readable = fn;
	readable_arg = arg;
	return 0;
}

int loop_fd_mod(struct loop *loop, int fd, uint32_t epoll_events)
{
	(void)loop;
	(void)fd;
	(void)epoll_events;
	return 0;
}

void loop_fd_del(struct loop *loop, int fd)
{
	(void)loop;
	(void)fd;
	on_readable = NULL;
}

void loop_double_readable(void)
{
	if (on_readable != NULL)
		on_readable(readable_arg, readable_fd, 1);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg)
{
	(void)loop;
	for (unsigned i = 0; i < TIMERS; i++)
		if (!timers[i].used) {
			timers[i] = (struct loop_timer){true, UINT64_MAX, fn, arg};
			return &timers[i];
		}
	abort();
}

void loop_timer_arm(struct loop_timer *timer, uint64_t at_mono_ns)
{
	timer->at_ns = at_mono_ns;
}

void loop_timer_arm_in(struct loop_timer *timer, uint64_t delay_ns)
{
	timer->at_ns = clock_mono_ns() + delay_ns;
}

void loop_timer_disarm(struct loop_timer *timer)
{
	timer->at_ns = UINT64_MAX;
}

bool loop_timer_is_armed(const struct loop_timer *timer)
{
	return timer->at_ns != UINT64_MAX;
}

void loop_timer_free(struct loop_timer *timer)
{
	if (timer != NULL)
		timer->used = false;
}

void loop_double_timers(uint64_t now_ns)
{
	for (unsigned i = 0; i < TIMERS; i++)
		if (timers[i].used && timers[i].at_ns <= now_ns) {
			timers[i].at_ns = UINT64_MAX;
			timers[i].fn(timers[i].arg);
		}
}

int loop_signal_add(struct loop *loop, int signo, loop_signal_fn *fn, void *arg)
{
	(void)loop;
	(void)signo;
	(void)fn;
	(void)arg;
	return 0;
}

void loop_poll_set(struct loop *loop, loop_poll_fn *fn, void *arg)
{
	(void)loop;
	(void)fn;
	(void)arg;
}

int loop_run(struct loop *loop)
{
	(void)loop;
	return 0;
}

void loop_stop(struct loop *loop)
{
	(void)loop;
}
