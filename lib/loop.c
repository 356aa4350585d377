/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one round of loop_run() is poll hook, due timers, wait, descriptors.
 *
 * Descriptors lie in an array by number. epoll carries number and generation; an event whose
 * generation is gone belongs to a source that a callback of the same round deleted, and is skipped.
 * Timers are a binary heap by time; each knows its place in it, so disarming takes log n steps.
 * epoll_pwait2() waits with nanoseconds, and the timer slack of the thread is set to the minimum.
 */
#include "lib/loop.h"

#include "lib/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EVENTS_PER_ROUND 64
#define NOT_ARMED SIZE_MAX

struct source {
	loop_fd_fn *fn; /* NULL: free */
	void *arg;
	uint32_t generation;
};

struct loop_timer {
	struct loop *loop;
	loop_timer_fn *fn;
	void *arg;
	uint64_t at_ns;
	size_t place; /* in the heap, or NOT_ARMED */
};

struct signal_source {
	loop_signal_fn *fn;
	void *arg;
};

struct loop {
	int epoll_fd, stop_fd, signal_fd; /* signal_fd -1: no signal was added */
	atomic_bool stopping;
	struct source *sources; /* by descriptor */
	size_t n_sources;
	uint32_t generation;
	struct loop_timer **heap;
	size_t n_armed, n_timers, heap_room; /* the heap has room for every timer that exists */
	loop_poll_fn *poll;
	void *poll_arg;
	sigset_t signals;
	struct signal_source signal_sources[NSIG];
};

static void on_stop(void *arg, int fd, uint32_t events)
{
	uint64_t count;

	(void)arg;
	(void)events;
	/* Only empties the counter: the flag is what stops the loop. */
	if (read(fd, &count, sizeof count) < 0)
		return;
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof *loop);
	int ret;

	if (loop == NULL)
		return NULL;
	loop->signal_fd = -1;
	sigemptyset(&loop->signals);
	loop->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->stop_fd < 0 || loop->epoll_fd < 0)
		ret = -errno;
	else
		ret = loop_fd_add(loop, loop->stop_fd, EPOLLIN, on_stop, NULL);
	if (ret == 0)
		return loop;
	loop_free(loop);
	errno = -ret;
	return NULL;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	if (loop->stop_fd >= 0)
		close(loop->stop_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop->sources);
	free(loop->heap);
	free(loop);
}

/* --- descriptors --- */

static int sources_grow(struct loop *loop, size_t wanted)
{
	size_t room = loop->n_sources == 0 ? 64 : loop->n_sources;
	struct source *sources;

	if (wanted <= loop->n_sources)
		return 0;
	while (room < wanted)
		room *= 2;
	sources = realloc(loop->sources, room * sizeof *sources);
	if (sources == NULL)
		return -ENOMEM;
	memset(sources + loop->n_sources, 0, (room - loop->n_sources) * sizeof *sources);
	loop->sources = sources;
	loop->n_sources = room;
	return 0;
}

static int epoll_set(struct loop *loop, int op, int fd, uint32_t events, uint32_t generation)
{
	struct epoll_event event = {
		.events = events, .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd};

	return epoll_ctl(loop->epoll_fd, op, fd, &event) == 0 ? 0 : -errno;
}

int loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *arg)
{
	uint32_t generation = loop->generation + 1;
	int ret;

	if (fd < 0)
		return -EBADF;
	ret = sources_grow(loop, (size_t)fd + 1);
	if (ret == 0)
		ret = epoll_set(loop, EPOLL_CTL_ADD, fd, epoll_events, generation);
	if (ret != 0)
		return ret;
	loop->generation = generation;
	loop->sources[fd] = (struct source){.fn = fn, .arg = arg, .generation = generation};
	return 0;
}

static struct source *source_of(struct loop *loop, int fd)
{
	if (fd < 0 || (size_t)fd >= loop->n_sources || loop->sources[fd].fn == NULL)
		return NULL;
	return &loop->sources[fd];
}

int loop_fd_mod(struct loop *loop, int fd, uint32_t epoll_events)
{
	struct source *source = source_of(loop, fd);

	if (source == NULL)
		return -ENOENT;
	return epoll_set(loop, EPOLL_CTL_MOD, fd, epoll_events, source->generation);
}

void loop_fd_del(struct loop *loop, int fd)
{
	struct source *source = source_of(loop, fd);

	if (source == NULL)
		return;
	epoll_set(loop, EPOLL_CTL_DEL, fd, 0, 0);
	source->fn = NULL;
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
	int fd = (int)(uint32_t)event->data.u64;
	struct source *source = source_of(loop, fd);

	if (source != NULL && source->generation == event->data.u64 >> 32)
		source->fn(source->arg, fd, event->events);
}

/* --- timers --- */

static void heap_put(struct loop *loop, size_t place, struct loop_timer *timer)
{
	loop->heap[place] = timer;
	timer->place = place;
}

static void sift_up(struct loop *loop, size_t place, struct loop_timer *timer)
{
	while (place > 0) {
		size_t parent = (place - 1) / 2;

		if (loop->heap[parent]->at_ns <= timer->at_ns)
			break;
		heap_put(loop, place, loop->heap[parent]);
		place = parent;
	}
	heap_put(loop, place, timer);
}

static void sift_down(struct loop *loop, size_t place, struct loop_timer *timer)
{
	for (;;) {
		size_t child = 2 * place + 1;

		if (child >= loop->n_armed)
			break;
		if (child + 1 < loop->n_armed &&
			loop->heap[child + 1]->at_ns < loop->heap[child]->at_ns)
			child++;
		if (timer->at_ns <= loop->heap[child]->at_ns)
			break;
		heap_put(loop, place, loop->heap[child]);
		place = child;
	}
	heap_put(loop, place, timer);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg)
{
	struct loop_timer *timer;

	if (loop->n_timers == loop->heap_room) {
		size_t room = loop->heap_room == 0 ? 16 : 2 * loop->heap_room;
		struct loop_timer **heap = realloc(loop->heap, room * sizeof *heap);

		if (heap == NULL)
			return NULL;
		loop->heap = heap;
		loop->heap_room = room;
	}
	timer = calloc(1, sizeof *timer);
	if (timer == NULL)
		return NULL;
	*timer = (struct loop_timer){.loop = loop, .fn = fn, .arg = arg, .place = NOT_ARMED};
	loop->n_timers++;
	return timer;
}

void loop_timer_arm(struct loop_timer *timer, uint64_t at_mono_ns)
{
	struct loop *loop = timer->loop;

	loop_timer_disarm(timer);
	timer->at_ns = at_mono_ns;
	sift_up(loop, loop->n_armed++, timer);
}

void loop_timer_arm_in(struct loop_timer *timer, uint64_t delay_ns)
{
	uint64_t now = clock_mono_ns();

	loop_timer_arm(timer, delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns);
}

void loop_timer_disarm(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	size_t place = timer->place;
	struct loop_timer *last;

	if (place == NOT_ARMED)
		return;
	timer->place = NOT_ARMED;
	last = loop->heap[--loop->n_armed];
	if (last == timer)
		return;
	/* The last one fills the gap; it may belong above or below it. */
	if (place > 0 && last->at_ns < loop->heap[(place - 1) / 2]->at_ns)
		sift_up(loop, place, last);
	else
		sift_down(loop, place, last);
}

bool loop_timer_is_armed(const struct loop_timer *timer)
{
	return timer->place != NOT_ARMED;
}

void loop_timer_free(struct loop_timer *timer)
{
	if (timer == NULL)
		return;
	loop_timer_disarm(timer);
	timer->loop->n_timers--;
	free(timer);
}

/* Runs what is due. A timer that re-arms itself for now cannot hold up the descriptors: no more
 * calls are made than timers were armed at the start. Returns ns until the next one. */
static uint64_t run_timers(struct loop *loop)
{
	uint64_t now = clock_mono_ns();

	for (size_t n = loop->n_armed; n > 0 && loop->n_armed > 0; n--) {
		struct loop_timer *timer = loop->heap[0];

		if (timer->at_ns > now)
			break;
		loop_timer_disarm(timer);
		timer->fn(timer->arg);
	}
	if (loop->n_armed == 0)
		return UINT64_MAX;
	now = clock_mono_ns();
	return loop->heap[0]->at_ns > now ? loop->heap[0]->at_ns - now : 0;
}

/* --- signals --- */

static void on_signal(void *arg, int fd, uint32_t events)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;

	(void)events;
	while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
		const struct signal_source *source = &loop->signal_sources[info.ssi_signo];

		source->fn(source->arg, (int)info.ssi_signo);
	}
}

int loop_signal_add(struct loop *loop, int signo, loop_signal_fn *fn, void *arg)
{
	sigset_t signals = loop->signals;
	int fd, ret;

	if (signo <= 0 || signo >= NSIG || sigaddset(&signals, signo) != 0)
		return -EINVAL;
	fd = signalfd(loop->signal_fd, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (loop->signal_fd < 0) {
		ret = loop_fd_add(loop, fd, EPOLLIN, on_signal, loop);
		if (ret != 0) {
			close(fd);
			return ret;
		}
		loop->signal_fd = fd;
	}
	/* Threads that are made later inherit the mask; so this comes before they are made. */
	ret = -pthread_sigmask(SIG_BLOCK, &signals, NULL);
	if (ret != 0)
		return ret;
	loop->signals = signals;
	loop->signal_sources[signo] = (struct signal_source){.fn = fn, .arg = arg};
	return 0;
}

/* --- running --- */

void loop_poll_set(struct loop *loop, loop_poll_fn *fn, void *arg)
{
	loop->poll = fn;
	loop->poll_arg = arg;
}

static int wait_and_dispatch(struct loop *loop, uint64_t sleep_ns)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	struct timespec timeout = {
		.tv_sec = (time_t)(sleep_ns / NS_PER_S), .tv_nsec = (long)(sleep_ns % NS_PER_S)};
	int n;

	n = epoll_pwait2(loop->epoll_fd, events, EVENTS_PER_ROUND,
		sleep_ns == UINT64_MAX ? NULL : &timeout, NULL);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		dispatch(loop, &events[i]);
	return 0;
}

int loop_run(struct loop *loop)
{
	int ret = 0;

	/* The default slack of 50 us would be added to every sleep of this thread. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	while (!atomic_load_explicit(&loop->stopping, memory_order_acquire) && ret == 0) {
		uint64_t hook_ns = loop->poll != NULL ? loop->poll(loop->poll_arg) : UINT64_MAX;
		uint64_t timer_ns = run_timers(loop);

		ret = wait_and_dispatch(loop, hook_ns < timer_ns ? hook_ns : timer_ns);
	}
	atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
	return ret;
}

void loop_stop(struct loop *loop)
{
	const uint64_t one = 1;
	int saved_errno = errno;

	/* Pairs with the acquire in loop_run(). Flag before wake-up: the woken loop must see it. */
	atomic_store_explicit(&loop->stopping, true, memory_order_release);
	if (write(loop->stop_fd, &one, sizeof one) < 0) {
		/* The counter is full, so the loop is about to wake up anyway. */
	}
	errno = saved_errno;
}
