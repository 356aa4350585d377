/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_STATE_H
#define CONTROL_GW_STATE_H
/*
 * What of the gateway survives kill -9 and power loss: the boot epoch, the position of each node
 * and what came by the control socket (kept.h) in LMDB, sequence numbers and replay windows in the
 * mapped file state_dir/counters.
 *
 * Owner:    main.c. Threads: the control thread calls; one thread of this module commits and syncs,
 *           so that a slow disk delays an ACK but never a reply, a swap or a packet.
 * Lifetime: state_open() before anything is sent; state_start() once the control thread is pinned;
 *           state_close() stops the thread after the last commit.
 * Order:    state_write() returns a number; the record is on disk once state_durable() has reached
 *           it. Numbers are committed in order. It only queues: state_kick() behind it, as soon as
 *           nothing more urgent is under way; without one it takes up to 200 ms.
 */
#include "control/gw/position.h"
#include "dataplane/esp/counters.h"
#include "lib/store.h"

#include <stddef.h>
#include <stdint.h>

#define STATE_QUEUE_MAX 4096 /* records that wait for the disk */
#define STATE_KEY_MAX 24     /* bytes */
#define STATE_DATA_MAX 512   /* bytes */

enum state_table { STATE_POSITIONS, STATE_NODES, STATE_SAS, STATE_TABLES };

struct state;

/* Opens, takes the epoch of this run (durably) and the counters. counters_capacity: SAs.
 * 0 or -errno with a line for the operator in why; nothing is left open on error. */
int state_open(const char *dir, uint32_t counters_capacity, enum after_power_loss policy,
	struct state **out, char *why, size_t why_size) __attribute__((warn_unused_result));
int state_start(struct state *state) __attribute__((warn_unused_result));
void state_close(struct state *state); /* NULL is allowed */

uint32_t state_boot_epoch(const struct state *state);
struct counters *state_counters(struct state *state);
/* A further epoch, durable before it is given out, at least 2 above all that were: a running SA may
 * have run over into the number after its own (lib/boot_epoch.h). The thread takes one beforehand
 * when it is asked to; a number that was taken and never given out, as by a crash, is left out.
 *
 * state_ask_epoch() never waits: -EAGAIN: there is none yet, the thread was asked for it.
 * state_take_epoch() waits for the disk if there is none; for a start and a reload, which wait for
 * the disk anyhow. state_prepare_epoch(): one will be needed. */
void state_prepare_epoch(struct state *state);
int state_ask_epoch(struct state *state, uint32_t *epoch) __attribute__((warn_unused_result));
int state_take_epoch(struct state *state, uint32_t *epoch) __attribute__((warn_unused_result));

/* What was written last, on disk or not yet; does not wait for a commit. 0, or -ENOENT: nothing is
 * known about that node, *out is untouched. */
int state_load(struct state *state, const struct ip_addr *home_address, struct position *out)
	__attribute__((warn_unused_result));
/* Number to compare with state_durable(), or 0: the queue is full and nothing was queued. */
uint64_t state_write(struct state *state, const struct ip_addr *home_address,
	const struct position *position) __attribute__((warn_unused_result));
/* The same for a node that is gone: nothing is known about it any more. */
uint64_t state_erase(struct state *state, const struct ip_addr *home_address)
	__attribute__((warn_unused_result));
/* Wakes the thread if anything is queued. */
void state_kick(struct state *state);
uint64_t state_durable(const struct state *state);
size_t state_room(struct state *state); /* records that would be taken now */

/* A record of any table, or its end (data NULL): as state_write(). Copied, and wiped when it is on
 * disk. */
uint64_t state_put(struct state *state, enum state_table table, const void *key, size_t key_len,
	const void *data, size_t len) __attribute__((warn_unused_result));
/* The end of all records whose key begins so; one place in the queue. */
uint64_t state_end_all(struct state *state, enum state_table table, const void *prefix,
	size_t prefix_len) __attribute__((warn_unused_result));
/* What is on disk; before state_start() alone. As the functions of lib/store.h. */
int state_get(struct state *state, enum state_table table, const void *key, size_t key_len,
	struct store_value *out) __attribute__((warn_unused_result));
int state_each(struct state *state, enum state_table table, store_each_fn *fn, void *arg);
int state_count(struct state *state, enum state_table table, size_t *out);
int state_clear(struct state *state, enum state_table table);
/* Commits what is queued. */
int state_flush(struct state *state);

struct state_stats {
	uint64_t commits, records, failures;
	uint64_t commit_last_us, commit_max_us;
};
void state_get_stats(struct state *state, struct state_stats *out);
#endif
