/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_TUNNEL_H
#define CONTROL_GW_TUNNEL_H
/*
 * The authoritative table of nodes and their SAs: what the packet path has, it has from here.
 *
 * Owner:    main.c. Threads: control. The only module that calls dataplane_node_*() and
 *           dataplane_sa_*(); keys reach it through key_verbs.h alone.
 * Lifetime: a struct tunnel is valid from tunnel_add() until tunnel_del(); its handle is the node's
 *           handle on the packet path and in the SIU protocol, and is reused only after all others.
 * Errors:   0 or -errno; on error nothing changed.
 */
#include "control/gw/budget.h"
#include "control/gw/chains.h"
#include "control/gw/handovers.h"
#include "control/gw/position.h"
#include "dataplane/dataplane.h"
#include "lib/challenge.h"
#include "lib/inet.h"

#include <stdbool.h>
#include <stdint.h>

#define TUNNEL_SAS_MAX (NODE_INBOUND_MAX + 2) /* outbound: current and next */
#define TUNNEL_RRQS_KEPT 4                    /* newest registrations of a node */

struct tunnel_life { /* of an SA with limits */
	struct sa_lifetimes limits;
	uint64_t since_ns;         /* monotonic, modulo 2^64: from here its seconds count */
	uint64_t soft_ns, hard_ns; /* monotonic; TUNNEL_NEVER */
};
#define TUNNEL_NEVER UINT64_MAX

struct tunnel_key { /* by its fingerprint */
	struct chain_link link;
	struct tunnel *tunnel;
	uint8_t id[COUNTERS_ID_BYTES];
};

struct tunnel_sa { /* two for each of a million nodes: 72 bytes with one key, 80 of the heap */
	struct chain_link by_spi;
	struct tunnel_sa *next;   /* of the same tunnel */
	struct tunnel_life *life; /* owned; NULL: no limits */
	struct sa_source *source; /* inbound; owned; NULL: any */
	uint32_t spi;
	uint16_t replay_window; /* packets; 0 outbound */
	uint8_t alg;            /* enum crypto_alg */
	bool inbound : 1, esn : 1;
	bool soft_told : 1; /* its soft end in seconds */
	bool ended : 1; /* nothing passes; deleted as soon as that can be, if it is no from_file */
	bool found_by_spi : 1;
	bool from_file : 1;       /* comes back at the next start: its counters must outlive it */
	struct tunnel_key keys[]; /* sa_n_keys(alg) */
};
static_assert(sizeof(struct tunnel_sa) + sizeof(struct tunnel_key) == 72, "see above");

static inline struct tunnel *tunnel_sa_owner(const struct tunnel_sa *sa)
{
	return sa->keys[0].tunnel;
}

struct tunnel_rrq { /* a registration that passed here: where REPLY_ONLY goes */
	uint64_t identification;
	uint64_t first_rx_ns; /* 0: unused */
	struct ip_addr coa;
	struct ip_endpoint observed;
};

struct tunnel_rrqs { /* made with the first registration */
	struct tunnel_rrq list[TUNNEL_RRQS_KEPT];
	uint32_t next;         /* to be overwritten */
	uint64_t try_again_ns; /* no provisional switch before */
};

enum reach_state {
	REACH_VOID,  /* nothing was asked on the path in force */
	REACH_ASKED, /* the rest: of end */
	REACH_UNANSWERED,
	REACH_ANSWERED,
};
struct tunnel_reach { /* made with the first path on credit of a node that must show where it is */
	/* the table's */
	struct budget budget;
	struct budget before; /* without what was spent where it is said to be now */
	/* reach.c's; but each path that is published makes the state void */
	uint8_t state; /* enum reach_state */
	uint8_t sent;  /* challenges */
	struct ip_endpoint end;
	uint8_t nonce[CHALLENGE_NONCE_BYTES];
};

/* There may be millions: what few nodes have, or have for a moment, lies outside. */
struct tunnel {
	/* the table's */
	struct chain_link by_home_address, by_name;
	/* const after tunnel_add() */
	struct ip_addr home_address;
	bool configured;     /* from the file; a reload looks at these alone */
	uint16_t home_agent; /* index */
	uint32_t handle;
	uint32_t flags; /* enum node_flag */
	struct node_tfc tfc;
	struct node *node; /* the packet path's */
	/* replaced by tunnel_move(), tunnel_move_port() and tunnel_verify() alone */
	struct position position;
	/* the mover's */
	uint64_t handover;     /* number of the one that led to position; 0: none */
	uint64_t written;      /* number of the newest record of the position: state_durable() */
	struct tunnel_sa *sas; /* owned; newest first */
	struct tunnel_reach *reach; /* owned; NULL: none yet */
	/* the SIU handler's */
	struct tunnel_rrqs *rrqs;   /* owned; NULL: none yet */
	uint64_t move_tokens_at_ns; /* limit of moves: time up to which tokens are spent */
	uint64_t sync_mark;         /* SYNC that confirmed this node last */
	char name[];                /* const; shorter than NODE_NAME_MAX */
};

struct tunnel_config {
	struct dataplane *dp;           /* lent */
	struct handovers *handovers;    /* lent; takes the stamps of a path that is replaced */
	struct ip_addr local, local_v6; /* our end of every tunnel; unset: none of that family */
	uint16_t mtu;                   /* bytes of outer packet */
	uint32_t unverified_credit;     /* bytes: size of budgets (budget.h) */
	uint32_t max_nodes;
};

struct tunnels;

struct tunnels *tunnels_new(const struct tunnel_config *config); /* NULL: out of memory */
/* Takes every node from the packet path; counter slots stay for the next start. */
void tunnels_free(struct tunnels *tunnels);

struct tunnel_params {
	const char *name;
	struct ip_addr home_address;
	struct ip_addr home_agent_source; /* who tunnels to this node */
	uint32_t home_agent;
	uint32_t flags;
	struct node_tfc tfc;
	bool configured;
	struct position position;
};
/* -EEXIST: name or home address is taken, -ENOSPC: max_nodes, or what dataplane_node_add() says. */
int tunnel_add(struct tunnels *tunnels, const struct tunnel_params *params, struct tunnel **out)
	__attribute__((warn_unused_result));
/* drop_slots: its SAs are gone for good, sequence numbers and windows too. */
int tunnel_del(struct tunnels *tunnels, struct tunnel *tunnel, bool drop_slots);

struct tunnel *tunnel_by_handle(const struct tunnels *tunnels, uint32_t handle);
struct tunnel *tunnel_by_home_address(const struct tunnels *tunnels, const struct ip_addr *addr);
struct tunnel *tunnel_by_name(const struct tunnels *tunnels, const char *name);
/* Of an inbound SA with that SPI, whose sources clash with source (NULL: whatever they are). */
struct tunnel *tunnel_by_spi_in(
	const struct tunnels *tunnels, uint32_t spi, const struct sa_source *source);
/* The sources of an inbound SA. */
const struct sa_source *tunnel_sa_source(const struct tunnel_sa *sa);
/* The next outbound SA with that SPI behind after (NULL: the first), or NULL: the nodes choose
 * these SPIs, so several may have one. */
struct tunnel_sa *tunnel_sa_by_spi_out(
	const struct tunnels *tunnels, uint32_t spi, const struct tunnel_sa *after);
struct tunnel *tunnel_by_key(
	const struct tunnels *tunnels, const uint8_t key_id[COUNTERS_ID_BYTES]);
/* The first tunnel with a handle above after (0: the first), or NULL. */
struct tunnel *tunnel_next(const struct tunnels *tunnels, uint32_t after);
/* The one whose next dummy packet is due first; NULL: none. The same one again until
 * tunnel_set_dummy(). */
struct tunnel *tunnel_dummy_due(const struct tunnels *tunnels, uint64_t now_ns);
uint64_t tunnel_dummy_at(const struct tunnels *tunnels, const struct tunnel *tunnel);
void tunnel_set_dummy(struct tunnels *tunnels, const struct tunnel *tunnel, uint64_t at_ns);
uint32_t tunnels_count(const struct tunnels *tunnels);

/* The swap: the new position is in force on return; what can fail comes before the one store.
 * tunnel->handover becomes 0. */
int tunnel_move(struct tunnels *tunnels, struct tunnel *tunnel, const struct position *position)
	__attribute__((warn_unused_result));
/* The same for the port of the far end alone: neither a handover nor a new lifetime. */
int tunnel_move_port(struct tunnels *tunnels, struct tunnel *tunnel, uint16_t port)
	__attribute__((warn_unused_result));
/* The same path, a try with what is left of its credit, with another MTU; 0: the configured one.
 * The next tunnel_move(), tunnel_try() or tunnel_try_end() undoes it. */
int tunnel_set_mtu(struct tunnels *tunnels, struct tunnel *tunnel, uint16_t mtu)
	__attribute__((warn_unused_result));
/* The packet path alone leads to remote for now, with the selectors of the position, until credit
 * bytes are sent; tunnel_move() or tunnel_try_end() ends that. -EAGAIN: also if the node's budget
 * is spent. */
int tunnel_try(struct tunnels *tunnels, struct tunnel *tunnel, const struct ip_endpoint *remote,
	uint32_t credit) __attribute__((warn_unused_result));
int tunnel_try_end(struct tunnels *tunnels, struct tunnel *tunnel)
	__attribute__((warn_unused_result));
bool tunnel_is_tried(const struct tunnel *tunnel);
/* Does a node with these flags (enum node_flag) still have to show that it is at position? */
bool tunnel_is_open(uint32_t flags, const struct position *position);
/* The node has shown that it is where its position says: no credit any more, and what
 * was spent there was not spent. */
int tunnel_verify(struct tunnels *tunnels, struct tunnel *tunnel)
	__attribute__((warn_unused_result));
/* Adds what the budget has become meanwhile to the credit of the path in force. */
void tunnel_top_up(const struct tunnels *tunnels, struct tunnel *tunnel, uint64_t now_ns);
/* One that has to show where it is and is to be asked now, or NULL. The same one again until
 * tunnel_ask_at() says otherwise; asked at once after each new path on credit. */
struct tunnel *tunnel_to_ask(const struct tunnels *tunnels, uint64_t now_ns);
void tunnel_ask_at(struct tunnels *tunnels, struct tunnel *tunnel, uint64_t at_ns);
/* Monotonic end of the position's lifetime; POSITION_NEVER_ENDS, also if it is closed. */
uint64_t tunnel_end(const struct tunnels *tunnels, const struct tunnel *tunnel);
/* The one whose position's lifetime was over first, or NULL: none is over. The same one again until
 * it is moved, closed or deleted. */
struct tunnel *tunnel_over(const struct tunnels *tunnels, uint64_t now_ns);
/* Hands the stamps of the current path to the handover that led to it. */
void tunnel_harvest(const struct tunnels *tunnels, const struct tunnel *tunnel);

/* For key_verbs.c alone. -EEXIST: the SPI is taken, -EKEYREJECTED: another SA has the key, -ENOSPC:
 * the node has all that it may have. */
int tunnel_sa_add(struct tunnels *tunnels, struct tunnel *tunnel, bool inbound,
	const struct sa_params *params, uint32_t iv_epoch) __attribute__((warn_unused_result));
int tunnel_sa_del(
	struct tunnels *tunnels, struct tunnel *tunnel, struct tunnel_sa *sa, bool drop_slot);
/* The next outbound SA becomes current, and the other way round. */
int tunnel_sa_switch(struct tunnels *tunnels, struct tunnel *tunnel);
bool tunnel_sa_is_current(const struct tunnel_sa *sa); /* inbound: always */
/* Limits anew; seconds count from now. -ENOMEM: nothing changed. */
int tunnel_sa_set_life(struct tunnels *tunnels, struct tunnel_sa *sa,
	const struct sa_lifetimes *limits) __attribute__((warn_unused_result));
/* Its seconds count from so long ago. */
void tunnel_sa_set_age(struct tunnels *tunnels, struct tunnel_sa *sa, uint64_t age_ns);
void tunnel_sa_set_soft_told(struct tunnels *tunnels, struct tunnel_sa *sa);
/* Nothing passes it any more. */
void tunnel_sa_end(struct tunnels *tunnels, struct tunnel_sa *sa);
/* The one with the SA that has come first to an end in seconds, soft or hard, or has ended and was
 * to be deleted; NULL: none. The same one again until that SA is told of, deleted or prolonged. */
struct tunnel *tunnel_sa_over(const struct tunnels *tunnels, uint64_t now_ns);
/* One whose SAs may have passed a mark (dataplane/esp/life.h), each once; NULL: none. */
struct tunnel *tunnel_sa_noticed(const struct tunnels *tunnels);
uint8_t tunnel_sa_take_marks(const struct tunnels *tunnels, const struct tunnel_sa *sa);
struct tunnel_sa *tunnel_sa_find(struct tunnel *tunnel, bool inbound, uint32_t spi);
/* Counter slot of a live SA, or NULL. */
const struct counter_slot *tunnel_sa_slot(const struct tunnel *tunnel, const struct tunnel_sa *sa);
#endif
