/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_GW_DATAPLANE_DOUBLE_H
#define TESTS_UNIT_GW_DATAPLANE_DOUBLE_H
/*
 * Stands in for the packet path: records each call in order, keeps nodes with real path objects,
 * and does what the test tells it: refuse, hold the grace period open, stamp a reply.
 */
#include "dataplane/dataplane.h"
#include "dataplane/policy.h"

#define DOUBLE_CALLS_MAX 2048
#define DOUBLE_NODES_MAX 131072
#define DOUBLE_DATA_MAX 1500

enum double_kind {
	DOUBLE_NODE_ADD = 1,
	DOUBLE_NODE_DEL,
	DOUBLE_SA_ADD,
	DOUBLE_SA_DEL,
	DOUBLE_SET_PATH,
	DOUBLE_SEND_TO_NODE,
	DOUBLE_SEND_ONCE,
	DOUBLE_SEND_INSIDE,
	DOUBLE_SEND_KEPT,
	DOUBLE_PUNT_DONE,
	DOUBLE_NEIGH_SET,
	DOUBLE_NEIGH_DEL,
	DOUBLE_ROUTE_SET,
	DOUBLE_ROUTE_DEL,
};

struct double_call {
	enum double_kind kind;
	uint32_t node;
	struct path_params path;   /* SET_PATH */
	struct ip_endpoint remote; /* SEND_ONCE */
	uint32_t iv_epoch, spi;    /* SA_ADD, SA_DEL */
	bool drop_slot;            /* NODE_DEL, SA_DEL */
	enum dp_port port;
	struct ip_prefix prefix; /* ROUTE_* */
	struct ip_addr addr;     /* NEIGH_*, next hop of ROUTE_SET */
	uint8_t data[DOUBLE_DATA_MAX];
	size_t len;
};

struct dataplane_double {
	struct double_call calls[DOUBLE_CALLS_MAX];
	unsigned n;
	/* what the test says */
	int set_path_fails; /* -errno of the next ones; 0: works */
	int send_fails;     /* of dataplane_send_*() */
	int sa_add_fails;
	unsigned node_dels_refused; /* of the next ones: -EAGAIN */
	bool grace_open;            /* workers have not left the old path */
	bool stamp_replies;         /* a reply leaves at once */
	uint64_t stamp_ns;          /* with this time */
	unsigned tokens;            /* that were taken */
	struct counters *counters;  /* slots come from it and outlive the node; NULL: the heap */
	struct dp_audit audit;      /* what workers tell of ... */
	unsigned n_audits;          /* ... so many times more */
	struct dp_guard guard;      /* as it was set */
	struct notices notices;     /* of SAs' marks; made when first needed */
	struct policy *policy;      /* in force; rule i was hit 100 + i times, none 7 and 8 */
	int policy_use_fails;       /* -errno; 0: works */
	/* nodes by handle */
	struct node *nodes[DOUBLE_NODES_MAX];
};
/* Of the gateway whose code runs: a test with more than one says which, with zeroed memory. */
extern struct dataplane_double *dp_double_now;
#define dp_double (*dp_double_now)

#define DOUBLE_DP ((struct dataplane *)&dp_double) /* opaque to the code under test */

void double_reset_calls(void);
void double_free_nodes(void);
/* How many calls of that kind since the last reset. */
unsigned double_count(enum double_kind kind);
/* The n-th call of that kind (from 0), or NULL. */
const struct double_call *double_call(enum double_kind kind, unsigned n);
/* Position in the order of all calls; -1: there is none. */
int double_order(enum double_kind kind, unsigned n);
#endif
