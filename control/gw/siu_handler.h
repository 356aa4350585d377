/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_SIU_HANDLER_H
#define CONTROL_GW_SIU_HANDLER_H
/*
 * The gateway's side of SIU: one socket on the inside mirror, one association per home agent,
 * acknowledgements when a move is complete, SYNC by mark and sweep, registrations announced.
 *
 * Owner:    main.c. Threads: control. Lifetime: open after the mirror has its addresses, close
 *           before the packet path is freed.
 * Bounds:   SIU_HANDLER_PENDING_MAX entries wait at a time, of one home agent among several half
 *           of that; more are refused with NO_RESOURCES, which the home agent repeats. A sweep
 * looks at a bounded number of nodes a turn. Sources:  siu/README.md; the source document, steps 22
 * to 27.
 */
#include "control/gw/move.h"
#include "lib/loop.h"
#include "siu/association.h"

#include <stdint.h>

#define SIU_HANDLER_PENDING_MAX 4096
#define SIU_HANDLER_EVENTS_PER_S 100 /* of where nodes are, to a home agent; as many at once */
#define SIU_HANDLER_RESULTS 256      /* codes are one byte on the wire */

struct siu_handler;

struct siu_handler_config {
	const struct gw_conf *conf; /* lent; its secrets may be wiped after the call */
	struct dataplane *dp;
	struct tunnels *tunnels;
	struct handovers *handovers;
	struct state *state;
	struct loop *loop;  /* NULL: no socket (tests) */
	const char *device; /* name of the inside mirror */
};

/* 0 or -errno, with a line for the operator in why. */
int siu_handler_open(const struct siu_handler_config *config, struct siu_handler **out, char *why,
	size_t why_size) __attribute__((warn_unused_result));
void siu_handler_close(struct siu_handler *handler);

/* Secrets of a configuration that was read again, by the home agents' names; one that it lacks
 * keeps its keys. Returns how many have others than before. */
uint32_t siu_handler_set_keys(struct siu_handler *handler, const struct gw_conf *fresh);

/* A datagram from that source: what the socket calls, one batch, then siu_handler_flush(). */
void siu_handler_input(struct siu_handler *handler, const struct ip_addr *source, uint8_t ttl,
	const uint8_t *datagram, size_t len, uint64_t now_ns);
/* End of a batch: one grace token for all its swaps, and what is due goes out. */
void siu_handler_flush(struct siu_handler *handler, uint64_t now_ns);
/* At every turn of the loop: acknowledgements that are due, timers, sweeps, expiry. Returns ns
 * until it wants to be called again. */
uint64_t siu_handler_poll(struct siu_handler *handler, uint64_t now_ns);

/* A registration that a worker let through: announced, then forwarded, in this order. Or a node's
 * answer to a challenge: read. */
void siu_handler_registration(struct siu_handler *handler, const struct punt *punt);
/* A worker saw a node's packets come from another port: its path follows, and its home agent hears
 * of it, unless there were more than SIU_HANDLER_EVENTS_PER_S such moves. */
void siu_handler_port_changed(struct siu_handler *handler, const struct dp_port_change *change);
/* An SA of that node expired: its home agent hears of it. */
void siu_handler_sa_expired(struct siu_handler *handler, uint32_t node);

struct siu_handler_stats {
	uint64_t results[SIU_HANDLER_RESULTS]; /* entries answered, by code */
	uint64_t unknown_source;               /* datagrams from no configured home agent */
	uint64_t not_attached; /* TTL below 255 from one that is directly attached */
	uint64_t registrations, registrations_lost;
	uint64_t registrations_refused; /* not from where the tunnel would end */
	uint64_t replies_lost;
	uint64_t swept;
	uint64_t port_moves;        /* of nodes behind a NAT */
	uint64_t tried, taken_back; /* provisional switches */
	struct reach_stats reach;
	uint32_t pending;
};
void siu_handler_get_stats(const struct siu_handler *handler, struct siu_handler_stats *out);
void siu_handler_get_peer_stats(
	const struct siu_handler *handler, uint32_t home_agent, struct siu_stats *out);
#endif
