/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H
/*
 * Event loop of a control thread: file descriptors by epoll, timers, signals, and an optional
 * poll hook for what has no descriptor (rings of the gateway's workers).
 *
 * Owner:    main.c makes and frees it. Threads: only the thread that runs it, except loop_stop().
 * Lifetime: a source is valid from its add to its del; a callback may delete itself and others.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;

typedef void loop_fd_fn(void *arg, int fd, uint32_t epoll_events);
typedef void loop_timer_fn(void *arg);
typedef void loop_signal_fn(void *arg, int signo);
/* Does its work and returns in how many ns it wants to be called again at the latest (0: at once,
 * the loop then polls descriptors without sleeping; UINT64_MAX: only after other events). */
typedef uint64_t loop_poll_fn(void *arg);

struct loop *loop_new(void); /* NULL: out of descriptors or memory, errno is set */
void loop_free(struct loop *loop);

/* Returns 0 or -errno; nothing is registered on error. */
int loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *arg);
int loop_fd_mod(struct loop *loop, int fd, uint32_t epoll_events);
void loop_fd_del(struct loop *loop, int fd); /* does not close it */

/* A timer that is not armed yet; NULL if out of memory. Monotonic time, resolution 1 us or better.
 */
struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn *fn, void *arg);
void loop_timer_arm(struct loop_timer *timer, uint64_t at_mono_ns); /* one shot; re-arms */
void loop_timer_arm_in(struct loop_timer *timer, uint64_t delay_ns);
void loop_timer_disarm(struct loop_timer *timer);
bool loop_timer_is_armed(const struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer); /* NULL is allowed */

/* Blocks signo for the process and delivers it here. SIGINT and SIGTERM usually call loop_stop().
 */
int loop_signal_add(struct loop *loop, int signo, loop_signal_fn *fn, void *arg);

void loop_poll_set(struct loop *loop, loop_poll_fn *fn, void *arg);

/* Runs until loop_stop(). Returns 0 or -errno of epoll. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* any thread, signal-safe */
#endif
