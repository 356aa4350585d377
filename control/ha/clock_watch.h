/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_CLOCK_WATCH_H
#define CONTROL_HA_CLOCK_WATCH_H
/*
 * Was this host's clock set? Registrations are judged by it: set forward, nodes whose clocks are
 * right are denied until they take it over; set back after that, they are denied until it has
 * caught up, since what was accepted once must stay the highest. An operator, or who forges NTP,
 * does that; it opens no replay, but must not go unseen.
 *
 * Owner: control/ha/agent.c, which looks once a second. Threads: control. Slewing (500 ppm, RFC
 * 5905 section 11.3) stays far below what counts as a step. Not seen: a step while the program is
 * down, but for the nodes that it locks out, which are counted at the start. Sources: RFC 5944
 * section 5.7.1.
 */
#include "control/ha/binding.h"

#define HA_CLOCK_STEP_NS UINT64_C(1000000000)

struct ha_clock_watch { /* zeroed at first */
	bool running;
	uint64_t offset_ns; /* real less monotonic time at the last look, modulo 2^64 */
};

/* Says what it finds in the log, with a limit. True: the clock was set since the last look. */
bool ha_clock_watch_look(struct ha_clock_watch *watch, const struct ha_conf *conf,
	struct ha_bindings *bindings, uint64_t mono_ns, uint64_t real_ns);
#endif
