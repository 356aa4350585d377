/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_KEPT_H
#define CONTROL_GW_KEPT_H
/*
 * Nodes and SAs that came by the control socket, as they survive a restart: so that a gateway that
 * was killed carries on without an IKE daemon that keys every node anew.
 *
 * Owner:    main.c. Threads: control. A struct kept may be NULL everywhere: nothing is kept
 *           (keep_keys = false).
 * Order:    changes are queued and committed in order by the state thread; an answer waits until
 *           state_durable() has reached kept_newest(). Whoever changes a node asks
 *           kept_has_room() first; then the calls below cannot fail.
 * On disk:  a record for each SA with its key, and one for each node that lists its SAs, their
 *           lifetimes and which is current. An SA that no node lists does not count, so it makes no
 *           difference where a crash cuts a change in two. Keys lie in clear, in a file of mode
 *           0600 in a folder of mode 0700, as key files do; pages of deleted records stay in the
 *           file until they are used again.
 */
#include "control/gw/gw_conf.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"

#include <stdbool.h>
#include <stdint.h>

struct kept;

struct kept_sa { /* as its node lists it */
	uint32_t spi;
	bool inbound;
	bool current;             /* outbound: of two, the one in use */
	struct sa_lifetimes life; /* its limits */
	uint64_t since_real_ns;   /* from here its seconds count; 0: it has no limits */
};

struct kept_node {
	char name[NODE_NAME_MAX];
	char home_agent[NODE_NAME_MAX];
	struct ip_addr home_address;
	struct ip_addr
		care_of; /* where it is without an update of its home agent; unset: nowhere */
	uint32_t flags;
	struct node_tfc tfc;
	bool configured; /* the node itself is from the file, only its SAs are not */
	unsigned n_sas;
	struct kept_sa sas[TUNNEL_SAS_MAX];
};

/* Lent: all. NULL: out of memory. */
struct kept *kept_new(struct state *state, const struct gw_conf *conf);
void kept_free(struct kept *kept);

bool kept_has_room(const struct kept *kept); /* for any one change of a node */
uint64_t kept_newest(const struct kept *kept);

/* The node and the list of its SAs as they are now. */
void kept_put_node(struct kept *kept, const struct tunnel *tunnel);
/* Before kept_put_node() lists it. */
void kept_put_sa(struct kept *kept, const struct tunnel *tunnel, bool inbound,
	const struct sa_params *params);
void kept_drop_sa(
	struct kept *kept, const struct ip_addr *home_address, bool inbound, uint32_t spi);
/* With all its SAs, also those that a start has left out or a crash has cut off the list. */
void kept_drop_node(struct kept *kept, const struct ip_addr *home_address);

/* At start, before state_start(). fn hears of each node in the order of home addresses; false from
 * it ends the walk. 0 or -errno. Damaged records are left out, and said so. */
typedef bool kept_node_fn(void *arg, const struct kept_node *node);
int kept_each_node(struct kept *kept, kept_node_fn *fn, void *arg);
/* params: wiped by the caller. -ENOENT, -EIO: damaged. */
int kept_get_sa(struct kept *kept, const struct ip_addr *home_address, const struct kept_sa *sa,
	struct sa_params *params) __attribute__((warn_unused_result));
/* As kept_has_room(), but writes what is queued if there is none. False: the disk fails. */
bool kept_make_room(struct kept *kept);
/* Drops SAs that no node lists. */
void kept_sweep(struct kept *kept);
/* Forgets everything there is. Returns how many records that were; -errno. */
int kept_forget(struct state *state);
#endif
