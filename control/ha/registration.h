/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_HA_REGISTRATION_H
#define CONTROL_HA_REGISTRATION_H
/*
 * What a home agent thinks of a registration request: accept, deny with a code, or discard.
 *
 * Pure: no I/O, no clock, no state; any thread. The caller looks up the node and remembers what was
 * accepted before.
 * Sources: RFC 5944 sections 3.8.2 and 5.7.1, RFC 3024 section 4.4.
 */
#include "control/ha/counters.h"
#include "control/ha/ha_conf.h"
#include "lib/mip4.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HA_RRQ_MAX 512 /* bytes of UDP payload; a longer request is malformed */

enum ha_verdict {
	HA_DISCARD,   /* no answer, nothing changes */
	HA_DENY,      /* answer with the code, nothing changes */
	HA_ACCEPT,    /* make it durable, then answer */
	HA_DUPLICATE, /* the request that was accepted last, again: repeat the answer */
};

enum ha_request_kind {
	HA_REGISTER,
	HA_DEREGISTER_COA, /* lifetime 0, one care-of address */
	HA_DEREGISTER_ALL, /* lifetime 0, care-of address = home address: returned home */
};

struct ha_registration {
	/* of ha_registration_read() */
	const void *payload; /* the caller's */
	struct mip4_rrq rrq;
	struct mip4_auth auth;
	/* of ha_registration_judge() */
	enum ha_verdict verdict;
	enum ha_counter reason; /* what to count */
	enum ha_request_kind kind;
	uint8_t code;
	uint16_t lifetime_s;          /* granted */
	uint64_t identification;      /* for the reply */
	const struct mip4_key *key;   /* for the reply; NULL when discarded */
	const struct ip_addr *own_ha; /* for the reply */
};

struct ha_known { /* what was accepted of this node before, over restarts too */
	bool any;
	uint64_t identification; /* the highest */
	struct ip_addr coa;      /* in the request with that identification */
};

/* Fixed part and extensions. False: discard it silently; reg->reason says why. */
bool ha_registration_read(struct ha_registration *reg, const void *payload, size_t len)
	__attribute__((warn_unused_result));

/* node: the one with reg->rrq.hoa, NULL: there is none. source: IP source of the request. now_ntp:
 * our clock. Sets the lower half of *reg. */
void ha_registration_judge(struct ha_registration *reg, const struct ha_conf *conf,
	const struct ha_conf_node *node, const struct ha_known *known, const struct ip_addr *source,
	uint64_t now_ntp);

/* The reply with this code as a UDP payload, with the authentication extension. Lifetime is 0 when
 * the code is a denial. Returns its length, 0: no room. */
size_t ha_registration_reply(
	const struct ha_registration *reg, uint8_t code, uint8_t *out, size_t room);

/* The denial that takes the place of an acceptance which could not be kept: same request, same key
 * as in that reply. Returns its length, 0: that key is gone, or no room. */
size_t ha_registration_denial(const struct ha_conf_node *node, const void *acceptance, size_t len,
	uint8_t code, uint8_t *out, size_t room);
#endif
