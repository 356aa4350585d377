/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_SIU_SIM_H
#define TESTS_UNIT_SIU_SIM_H
/*
 * A home agent and a gateway, each an association with a small model behind it, and a network in
 * memory between them that delays, loses and reorders by a fixed seed. Virtual time.
 *
 * The gateway's model keeps the rules that siu/README.md section 5 gives a gateway, and counts what
 * must not happen: a ticket handed up twice, an update older than what is in force acted upon.
 */
#include "lib/clock.h"
#include "siu/association.h"
#include "siu/codec.h"

#define SIM_NODES 2000
#define SIM_START_NS (1000 * NS_PER_S)

struct sim_node { /* the same struct for a binding and for the gateway's view of it */
	bool present, marked;
	uint64_t generation;
	uint64_t acted_generation; /* gateway: highest that set its path */
	struct ip_addr coa;
	unsigned acted;   /* gateway: how often its path was set; home agent: good ACKs */
	unsigned replies; /* gateway: RRPs sent, REPLY_ONLY among them */
	enum siu_result last_result; /* home agent */
};

struct sim_open { /* a ticket the gateway has not answered yet */
	uint64_t due_ns;
	struct siu_ticket ticket;
	struct siu_ack_entry ack;
};

struct sim_packet {
	uint64_t at_ns;
	bool to_gw;
	size_t len;
	uint8_t bytes[SIU_DATAGRAM_MAX];
};

struct sim {
	struct siu *ha, *gw;
	uint64_t now_ns, ha_next_ns, gw_next_ns;
	/* network */
	uint64_t random;
	unsigned loss_percent;
	uint64_t delay_min_ns, delay_max_ns;
	bool cut;          /* nothing arrives */
	unsigned drop_nth; /* of all, counted from 1; 0: none */
	bool (*filter)(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len);
	void *filter_arg;
	unsigned n_sent, n_to_gw[8], n_to_ha[8]; /* by type */
	struct sim_packet *packets;
	size_t n_packets;
	struct sim_packet last_to_gw[8], last_to_ha[8]; /* as sent, by type */
	/* models */
	struct sim_node bindings[SIM_NODES], nodes[SIM_NODES];
	size_t n_bindings;
	uint64_t ack_delay_ns;
	struct sim_open open[4096];
	size_t n_open;
	enum siu_result refuse_with; /* gateway: answer instead of acting, refuse_times times */
	unsigned refuse_times;
	struct siu_ticket *tickets; /* all handed up in this run of the gateway */
	size_t n_tickets;
	unsigned faults; /* what must not happen */
	unsigned ha_ups, gw_ups, ha_downs, gw_downs, ha_restarted, gw_restarted;
	unsigned sync_begins, sync_ends, swept, seen, events, n_acks;
	struct siu_ack_entry last_ack;
	bool in_sync;
};

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim);
void sim_start_ha(struct sim *sim, uint32_t epoch); /* in place of a running one */
void sim_start_gw(struct sim *sim, uint32_t epoch);
void sim_run(struct sim *sim, uint64_t for_ns);
/* Runs until both are up and no SYNC is open, at most 5 s; true: they are. */
bool sim_settle(struct sim *sim);

struct ip_addr sim_home_address(size_t node);
struct ip_addr sim_coa(uint64_t number);
/* A new generation of the binding with another CoA, told to the gateway. */
int sim_move(struct sim *sim, size_t node, const char *rrp);
int sim_reply_only(struct sim *sim, size_t node, const char *rrp);
/* Every binding is at the gateway as it is at the home agent, and nothing else is. */
bool sim_agrees(const struct sim *sim);
void sim_inject(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len);
struct siu_stats sim_stats(const struct siu *siu);
void sim_keys(struct siu_key *ha_to_gw, struct siu_key *gw_to_ha);
/* Run-time keys of one end: key ids, 0: none; each stands for a secret of its own. */
void sim_set_keys(struct sim *sim, bool ha, uint16_t id, uint16_t next_id);
#endif
