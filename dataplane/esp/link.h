/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_LINK_H
#define DATAPLANE_ESP_LINK_H
/*
 * The place in an object by which a chain of the gateway's lookup tables runs (dataplane/lookup.h).
 *
 * Threads: control writes; workers read. It stays as it is when the object is unlinked, until the
 * grace period is over: a worker that stands there goes on.
 */
#include <stdatomic.h>

struct rcu_link {
	_Atomic(struct rcu_link *) next; /* RCU */
};
#endif
