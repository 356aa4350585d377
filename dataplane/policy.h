/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_POLICY_H
#define DATAPLANE_POLICY_H
/*
 * The operator's ordered rules: the first one that matches a packet says what becomes of it. What
 * no rule matches is protected by its node's SA, or dropped. Only a rule that says BYPASS, and only
 * for what no SA could protect, lets anything through in clear (spd.h).
 *
 * Owner:    a table is immutable but for its hit counters; struct dataplane owns the one in force
 *           and frees it after the grace period. Threads: policy_read(), policy_match() and
 *           policy_hit() are any worker's, all else is control's.
 * Units:    addresses in network order where they are struct ip_prefix, ports in host order.
 * Sources:  RFC 4301 sections 4.4.1 (SPD, ordered), 4.4.1.1 (selectors), 7 (fragments have no
 *           ports).
 */
#include "dataplane/esp/verdict.h"
#include "lib/inet.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_RULES_MAX 256
#define POLICY_LIST_MAX 16 /* prefixes, or ranges of ports, of one end of a rule */
#define POLICY_ANY_PROTOCOL 256

/* BYPASS: in clear. Its rules have prefixes at both ends; control sees to it that no address of a
 * node, of home or care-of, can ever lie in them (gw_conf_policy.c). */
enum policy_action { POLICY_PROTECT, POLICY_DISCARD, POLICY_BYPASS };

struct policy_ports {
	uint16_t first, last;
};

struct policy_end {
	uint8_t n_prefixes, n_ports; /* 0: any; else the packet must have ports */
	bool opaque; /* the packet must have none, although its protocol has; n_ports is 0 */
	struct ip_prefix prefixes[POLICY_LIST_MAX];
	struct policy_ports ports[POLICY_LIST_MAX];
};

struct policy_rule {       /* what is not used is 0: rules are compared as bytes */
	uint8_t action;    /* enum policy_action */
	bool inbound;      /* for what comes in by the outside; else for what goes there */
	uint16_t protocol; /* IANA number, or POLICY_ANY_PROTOCOL */
	struct policy_end source, destination;
};

struct dataplane;
struct policy;

/* Do that protocol's packets begin with both ports? Any thread. */
static inline bool policy_has_ports(uint16_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_DCCP ||
	       protocol == IPPROTO_SCTP || protocol == IPPROTO_UDPLITE;
}

/* --- control ------------------------------------------------------------------------------------
 */

/* A table for so many workers, hits 0. NULL: out of memory. */
struct policy *policy_new(const struct policy_rule *rules, uint32_t n, uint32_t workers);
void policy_free(struct policy *policy); /* NULL is allowed */

/* The table in force from now on: NULL, or one without rules, for none. Takes fresh over; if it is
 * the same as before, the one in force stays, with its counters. -EAGAIN: too much waits for its
 * grace period; fresh stays the caller's, and nothing changed. */
int dataplane_policy_use(struct dataplane *dp, struct policy *fresh)
	__attribute__((warn_unused_result));
const struct policy *dataplane_policy(const struct dataplane *dp); /* in force; NULL: none */
/* Rules for these; the array lives as long as the table. */
const struct policy_rule *policy_rules(const struct policy *policy, uint32_t *n);
/* Packets that rule i was the first to match; policy_rest(): that none did, by direction. */
uint64_t policy_hits(const struct policy *policy, uint32_t i);
uint64_t policy_rest(const struct policy *policy, bool inbound);

/* --- workers ------------------------------------------------------------------------------------
 */

struct policy_addr { /* IPv4 as the low half of lo; host order, so that prefixes are masks */
	uint64_t hi, lo;
};

struct policy_packet { /* what rules look at */
	struct policy_addr source, destination;
	uint16_t source_port, destination_port;
	uint8_t protocol; /* behind extension headers */
	bool v6;
	bool has_ports;    /* false: another protocol, not the first fragment, or cut off */
	uint32_t upper_at; /* bytes to what is behind the IP header and its extensions */
};

/* OK, or what is wrong with the header at ip, of which len bytes are there. */
enum verdict policy_read(const uint8_t *ip, uint32_t len, struct policy_packet *out);
/* The first rule that matches, or the number of rules. */
uint32_t policy_match(
	const struct policy *policy, bool inbound, const struct policy_packet *packet);
/* What a rule says; PROTECT where there is none: by an SA, or not at all. */
enum policy_action policy_action(const struct policy *policy, uint32_t rule);
bool policy_has_bypass(const struct policy *policy, bool inbound);
/* Counts for what policy_match() gave, by that worker. */
void policy_hit(const struct policy *policy, uint32_t worker, bool inbound, uint32_t rule);
#endif
