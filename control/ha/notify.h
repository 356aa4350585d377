/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_NOTIFY_H
#define CONTROL_HA_NOTIFY_H
/*
 * What the gateways are told of binding changes, and what follows from their answers.
 *
 * The order that everything rests on is kept here: first the binding is durable, then the UPDATE
 * leaves; first the gateway acknowledges, then the home agent's tunnel moves.
 *
 * Owner: main.c. Threads: control thread only. Sources: siu/README.md.
 */
#include "control/ha/binding.h"
#include "lib/loop.h"
#include "siu/association.h"

#include <stddef.h>
#include <stdint.h>

struct ha_notify;

struct ha_notify_events {
	/* The tunnel's target may be another now: interception must follow it. */
	void (*moved)(void *arg, struct ha_binding *binding);
	void (*rrq_seen)(void *arg, int gateway, const struct siu_rrq_seen *seen);
};

/* Binds siu.listen. why: a sentence for the operator on error. Returns 0 or -errno. */
int ha_notify_open(struct loop *loop, const struct ha_conf *conf, struct ha_bindings *bindings,
	struct ha_counters *counters, uint32_t boot_epoch, struct ha_notify **out, char *why,
	size_t why_size) __attribute__((warn_unused_result));
/* Events go to arg from now on; starts the associations, with every binding that is pending. */
void ha_notify_start(struct ha_notify *notify, const struct ha_notify_events *events, void *arg);
void ha_notify_close(struct ha_notify *notify); /* NULL is allowed */

/* An accepted request: durable, then told to the gateway(s) that must know. gateway: the one it
 * came through, which is then sent the reply to pass on; HA_DIRECT: the caller sends the reply.
 * Returns 0, or -errno of the store: nothing changed and nobody was told. */
int ha_notify_register(struct ha_notify *notify, struct ha_binding *binding,
	const struct ha_registration *reg, const struct ha_reply *reply, int gateway)
	__attribute__((warn_unused_result));

/* REPLY_ONLY: this one reply to where the request with that Identification came from. */
void ha_notify_reply(struct ha_notify *notify, int gateway, const struct ha_binding *binding,
	const struct ha_known *request, const struct ha_reply *reply);

/* The lifetime is over: durable, then the paths at the gateways are closed. */
void ha_notify_expire(struct ha_notify *notify, struct ha_binding *binding);

/* Secrets of a configuration that was read again, by the gateways' names; one that it lacks keeps
 * its keys. Returns how many have others than before. */
size_t ha_notify_set_keys(struct ha_notify *notify, const struct ha_conf *fresh);

void ha_notify_stats(struct ha_notify *notify, int gateway, struct siu_stats *out);
#endif
