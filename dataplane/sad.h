/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_SAD_H
#define DATAPLANE_SAD_H
/*
 * Which SA, which node? Lock-free lookups: inbound by SPI, with a wildcard or given sources;
 * outbound by home address. What an ESP packet is addressed to does not count: it is one of our
 * addresses, of either family, and a node that moves from IPv4 to IPv6 keeps its SAs.
 *
 * Owner:    struct dataplane.
 *
 * Threads:  add and del are control's; lookups are any worker's, and what they give is valid until
 *           that worker's next quiescent state.
 *
 * Lifetime: del unlinks; the caller frees after the grace period.
 *
 * Sources:  RFC 4301 section 4.1: for unicast the SPI alone may name the SA; one with a longer
 * match of its source comes first.
 */
#include "dataplane/lookup.h"
#include "dataplane/node.h"

#include <stdbool.h>
#include <stdint.h>

struct sad {
	struct lookup in;    /* by SPI: struct sa_in */
	struct lookup homes; /* by home address: struct node */
};

struct sad_query {              /* of an ESP packet */
	uint32_t spi;           /* host order */
	struct lookup_addr src; /* its number does not count with IPv6 */
};

int sad_new(struct sad *sad, uint32_t max_nodes) __attribute__((warn_unused_result));
void sad_free(struct sad *sad);

/* Is there an SA for this SPI, and any or one of the same prefixes as source? */
bool sad_in_taken(const struct sad *sad, const struct sa_params *params);
/* -EEXIST: sad_in_taken(). */
int sad_in_add(struct sad *sad, struct sa_in *sa) __attribute__((warn_unused_result));
void sad_in_del(struct sad *sad, struct sa_in *sa);
/* By home address. -EEXIST. */
int sad_home_add(struct sad *sad, struct node *node) __attribute__((warn_unused_result));
void sad_home_del(struct sad *sad, struct node *node);

/* Is the answer the same, too? */
static inline bool sad_query_same(const struct sad_query *a, const struct sad_query *b)
{
	return a->spi == b->spi && lookup_addr_same(&a->src, &b->src);
}

/* out[i]: the SA of queries[i] or NULL; n <= PKT_BURST_MAX. */
void sad_lookup_in_burst(
	const struct sad *sad, const struct sad_query *queries, struct sa_in **out, unsigned n);
void sad_lookup_home_burst(
	const struct sad *sad, const struct lookup_addr *homes, struct node **out, unsigned n);
#endif
