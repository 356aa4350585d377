/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_BINDING_H
#define CONTROL_HA_BINDING_H
/*
 * The binding cache: where each node is, what it was promised, and what the gateway confirmed.
 *
 * A record has two places of care: `registered` is what the accepted request says and the reply
 * promises; `in_force` is what the home agent's tunnel uses. They differ while `pending`: from the
 * UPDATE to its ACK packets go on to the former care-of address (lossless handover).
 *
 * Owner:    main.c. Threads: control thread only. Lifetime: records live as long as the table, at
 *           the index of their node in the configuration.
 * Durable:  every change that a peer can learn of is on disk before the call returns; on an error
 *           nothing changed, neither in memory nor on disk.
 * Sources:  RFC 5944 section 3.8.1; the generation: siu/README.md.
 */
#include "control/ha/ha_conf.h"
#include "control/ha/registration.h"
#include "lib/store.h"

#include <stdbool.h>
#include <stdint.h>

#define HA_DIRECT (-1)  /* in place of a gateway's index: inside the private network */
#define HA_REPLY_MAX 96 /* bytes of UDP payload: RFC 5944 3.4 with the largest tag is 58 */
#define HA_BINDING_DB "bindings"

struct ha_care {
	struct ip_addr coa; /* unset: the node is at home, or lost */
	int gateway; /* index into the configuration, or HA_DIRECT; who confirms, if pending */
	uint16_t lifetime_s;
	bool reverse_tunnel; /* T bit, RFC 3024 */
	uint64_t ends_mono_ns;
};

struct ha_reply { /* the answer to the request that was accepted last */
	uint8_t bytes[HA_REPLY_MAX];
	uint16_t len;  /* 0: none */
	uint16_t port; /* UDP destination */
};

struct ha_binding {
	const struct ha_conf_node *node;
	struct ha_known known;
	uint64_t generation; /* of the last change; 0: never changed */
	struct ha_care registered, in_force;
	bool pending;
	struct ha_reply reply;
	/* not durable */
	struct ip_addr former_coa; /* reverse tunnel is taken from it until then */
	uint64_t former_until_mono_ns;
	uint64_t request_ns, durable_ns, update_ns, ack_ns; /* monotonic, of the last handover */
};

struct ha_bindings;

/* Reads what is stored for the configured nodes; lifetimes go on by the real clock. A pending
 * record of a gateway that is no longer configured is dropped. Returns 0 or -errno of the store. */
int ha_bindings_open(struct store *store, const struct ha_conf *conf, struct ha_bindings **out)
	__attribute__((warn_unused_result));
void ha_bindings_close(struct ha_bindings *bindings); /* NULL is allowed */

struct ha_binding *ha_binding_at(struct ha_bindings *bindings, size_t index);
struct ha_binding *ha_binding_find(
	struct ha_bindings *bindings, const struct ip_addr *home_address); /* NULL: no such node */

/* Where to tunnel to: in force; if there is none (first move from home) registered, although it is
 * not acknowledged: the gateway drops what comes before its swap, and nothing is lost after the
 * reply. NULL: the node is not away. */
const struct ha_care *ha_binding_target(const struct ha_binding *binding);
/* May this node's reverse tunnel come from there (RFC 3024 section 5.3)? */
bool ha_binding_accepts_outer(
	const struct ha_binding *binding, const struct ip_addr *outer_source, uint64_t now_ns);

/* The request was accepted: next generation, registered as it says; pending if by a gateway, else
 * in force at once. */
int ha_binding_accept(struct ha_bindings *bindings, struct ha_binding *binding,
	const struct ha_registration *reg, const struct ha_reply *reply, int gateway)
	__attribute__((warn_unused_result));
/* A deregistration of a care-of address that is not registered: only the Identification counts. */
int ha_binding_remember(struct ha_bindings *bindings, struct ha_binding *binding,
	const struct ha_registration *reg, const struct ha_reply *reply)
	__attribute__((warn_unused_result));
/* The gateway acknowledged: in force is what was registered. In memory even if the store fails: a
 * restart then asks the gateway again. */
int ha_binding_confirm(
	struct ha_bindings *bindings, struct ha_binding *binding, uint64_t former_until_mono_ns);
/* The gateway refused: registered is what is in force, under a new generation. reply: the denial,
 * for duplicates. */
int ha_binding_refuse(struct ha_bindings *bindings, struct ha_binding *binding,
	const struct ha_reply *denial) __attribute__((warn_unused_result));
/* The gateway has in_force, which is newer than we remember: go beyond it. -EOVERFLOW: nothing is.
 */
int ha_binding_outrun(struct ha_bindings *bindings, struct ha_binding *binding, uint64_t in_force)
	__attribute__((warn_unused_result));
/* Lifetime is over: next generation, nothing registered, nothing in force. */
int ha_binding_expire(struct ha_bindings *bindings, struct ha_binding *binding)
	__attribute__((warn_unused_result));
#endif
