/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_REGISTRATION_H
#define CONTROL_MN_REGISTRATION_H
/*
 * The node's side of a Mobile IPv4 registration as a pure state machine: events and times go in,
 * actions come out. No I/O, no clock of its own.
 *
 * Use: tell it an event, then call registration_run() until it returns false, carry out each
 * action, and come back at registration_next_ns().
 * Owner and thread: whoever holds the struct; one thread. `conf` and `memory` must outlive it.
 * Sources: RFC 5944 sections 3.6 (node), 3.6.3 (retransmission), 5.7.1 (Identification).
 */
#include "lib/inet.h"
#include "lib/mip4.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first request on a new link goes out this often, the same bytes each time: the home agent
 * answers copies from its cache, so one lost packet does not cost the second of RFC 5944. */
#define REGISTRATION_COPIES 3
#define REGISTRATION_RRQ_MAX 64 /* bytes: 24 and the MN-HA extension with HMAC-SHA-256 */
#define REGISTRATION_NEVER UINT64_MAX

struct registration_conf {
	struct ip_addr home_address, home_agent;
	uint16_t lifetime_s;
	unsigned max_attempts;
	bool reverse_tunnel;
	struct mip4_key key;
};

enum registration_state {
	REGISTRATION_NONE,       /* nowhere: nothing is sent */
	REGISTRATION_REQUESTING, /* away, or at home with a deregistration under way */
	REGISTRATION_REGISTERED,
	REGISTRATION_REFRESHING, /* still registered, a renewal is under way */
	REGISTRATION_AT_HOME,    /* deregistered */
};
const char *registration_state_name(enum registration_state state);

struct registration_memory {     /* what must outlive the program */
	bool any;                /* a request was sent before */
	uint64_t identification; /* of the last one */
	int64_t clock_offset_s;  /* the home agent's clock less ours */
};

struct registration {
	const struct registration_conf *conf;
	enum registration_state state;
	bool at_home;
	struct ip_addr coa;                 /* at home: the home address */
	struct registration_memory *memory; /* the caller's; shared with the node's other machine */
	/* the request under way */
	bool pending;
	bool clock_adopted; /* code 133 was answered by a new clock already */
	bool has_left;      /* one of its copies at least is on its way */
	bool gave_up;       /* max_attempts failed: goes on slowly */
	bool fallback_due;
	uint8_t rrq[REGISTRATION_RRQ_MAX];
	size_t rrq_len;
	uint64_t identification;
	uint16_t asked_s;
	unsigned copies_wanted, copies_sent;
	unsigned attempts; /* that failed in a row */
	uint64_t first_sent_ns, last_sent_ns;
	uint64_t retry_after_ns; /* delay from the last copy to the next request */
	uint64_t next_ns;
	/* the registration in force */
	uint16_t granted_s;
	uint64_t expires_ns; /* REGISTRATION_NEVER: no end, or none */
};

/* memory: all 0 at the first start ever. */
void registration_init(struct registration *reg, const struct registration_conf *conf,
	struct registration_memory *memory);

/* A new place. The first request is due at once. */
void registration_move(struct registration *reg, const struct ip_addr *coa, uint64_t now_ns);
void registration_go_home(struct registration *reg, uint64_t now_ns);
void registration_stop(struct registration *reg); /* nowhere */
/* Something changed on the link though the address did not (another agent's advertisement):
 * registers anew, unless the last request is younger than a second. */
void registration_renew(struct registration *reg, uint64_t now_ns);

enum registration_action_kind {
	REGISTRATION_SEND,     /* rrq as UDP from coa to the home agent, port 434 */
	REGISTRATION_FALLBACK, /* it has failed for good here: set up a new tunnel; at home: say so
				*/
	REGISTRATION_EXPIRED,  /* for the log */
};
struct registration_action {
	enum registration_action_kind kind;
	const uint8_t *rrq; /* valid until the next call */
	size_t rrq_len;
};
/* real_ns: CLOCK_REALTIME, for the Identification. */
bool registration_run(struct registration *reg, uint64_t now_ns, uint64_t real_ns,
	struct registration_action *action);
uint64_t registration_next_ns(const struct registration *reg);

/* What became of the copy that registration_run() just asked for. Not sent: no route yet. */
void registration_sent(struct registration *reg, bool sent);
/* A route may be there now: a request of which no copy has left starts again at once. */
void registration_route_ready(struct registration *reg, uint64_t now_ns);

enum registration_result {
	REPLY_ACCEPTED,
	REPLY_DENIED,         /* counts as a failed attempt */
	REPLY_CLOCK_ADOPTED,  /* 133: a request by the home agent's clock is due at once */
	REPLY_DUPLICATE,      /* answer to a further copy of what was answered already */
	REPLY_MALFORMED,      /* not a reply, or an extension that must be understood */
	REPLY_WRONG_AGENT,    /* home agent or home address is not ours */
	REPLY_IDENTIFICATION, /* low 32 bits are not those of the last request */
	REPLY_AUTHENTICATOR,  /* missing or wrong */
	REPLY_RESULT_COUNT
};
const char *registration_result_name(enum registration_result result);
/* data: the UDP payload. Nothing is believed before the authenticator was good. *code: of the
 * reply, valid with ACCEPTED, DENIED and CLOCK_ADOPTED. */
enum registration_result registration_reply(struct registration *reg, const uint8_t *data,
	size_t len, uint64_t now_ns, uint64_t real_ns, uint8_t *code);
#endif
