/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_SA_WATCH_H
#define CONTROL_MN_SA_WATCH_H
/*
 * The lifetimes of the node's two SAs: notices what they reach, tells of it, and ends an SA whose
 * time is over. Packets and bytes, and the end of sequence numbers, are kept to by the packet path
 * itself (dataplane/esp/life.h), exactly; the news of them comes with the next look.
 *
 * Time is counted from when the key was first used, over restarts (counter_slot.born_s). What was
 * reached in an earlier run is told once in each.
 *
 * Owner: mobile.c. Thread: the loop's. Source: RFC 4301 section 4.4.2.1.
 */
#include "dataplane/esp/sa.h"
#include "lib/loop.h"

#include <stdbool.h>
#include <stdint.h>

enum sa_watch_state { SA_WATCH_LIVE, SA_WATCH_REKEY, SA_WATCH_ENDED };

struct sa_watched {
	uint32_t spi;
	uint64_t soft_ns,
		hard_ns; /* of clock_boot_ns(): a sleeping node's keys age; UINT64_MAX: none */
	enum sa_watch_state state;
	const char *cause; /* of the state: "time", "packets", "bytes", "sequence"; NULL: live */
};

struct sa_watch_event {
	const char *kind, *direction; /* "soft" or "hard"; "in" or "out" */
	const char *cause;
	uint32_t spi;
};
typedef void sa_watch_fn(void *arg, const struct sa_watch_event *event);

struct sa_watch {
	struct sa_in *in; /* lent */
	struct sa_out *out;
	struct sa_watched sas[2]; /* in, out */
	struct notices notices;
	struct sa_limits shared;
	struct loop_timer *timer;
	sa_watch_fn *fn;
	void *arg;
};

/* Before the first packet. Looks once. False: out of memory. */
bool sa_watch_init(struct sa_watch *watch, struct loop *loop, sa_watch_fn *fn, void *arg)
	__attribute__((warn_unused_result));
void sa_watch_begin(struct sa_watch *watch, struct sa_in *in, const struct sa_lifetimes *in_life,
	struct sa_out *out, const struct sa_lifetimes *out_life);
/* Also of zeros; after the SAs are gone. */
void sa_watch_fini(struct sa_watch *watch);
/* To be called now and then. */
void sa_watch_look(struct sa_watch *watch);
/* Seconds until it ends by time; -1: it has no such end, or that is over. */
int64_t sa_watch_left_s(const struct sa_watched *sa);
const char *sa_watch_state_name(enum sa_watch_state state);
#endif
