/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_MOVEMENT_H
#define CONTROL_MN_MOVEMENT_H
/*
 * Where is the node? Learns links, addresses and routes, and decides: away with a care-of address,
 * or nowhere; and which link claims to be the home link (homecoming.h checks that). No I/O.
 *
 * Owner and thread: whoever holds the struct; one thread. `conf` must outlive it.
 * Sources: RFC 5944 sections 2.4.2 (move detection), 2.3.2 (sequence numbers), 3.7 (home).
 */
#include "lib/inet.h"
#include "lib/mip4.h"
#include "lib/netlink.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* What goes beyond these is not looked at: a host with more is no mobile node. */
#define MOVEMENT_LINKS_MAX 64
#define MOVEMENT_ADDRS_MAX 128
#define MOVEMENT_ROUTES_MAX 64

enum place_kind { PLACE_NOWHERE, PLACE_AWAY, PLACE_HOME };
struct place {
	enum place_kind kind;
	int ifindex;        /* 0: nowhere */
	struct ip_addr coa; /* away only */
};
const char *place_kind_name(enum place_kind kind);
bool place_equal(const struct place *a, const struct place *b);

struct movement_conf {
	struct ip_addr home_address, home_agent, gateway;
	struct ip_prefix home_prefix;
	const char *tunnel_interface;
	const char (*interfaces)[IF_NAMESIZE]; /* best first; n 0: any */
	size_t n_interfaces;
};

struct movement_link {
	int ifindex; /* 0: free */
	char name[IF_NAMESIZE];
	uint8_t mac[6];
	uint32_t mtu;
	bool up;
	bool stale;           /* not seen yet in the dump under way */
	struct ip_addr agent; /* whose advertisement was heard last; unset: none */
	uint16_t agent_sequence;
	/* That agent wants registrations to go through it (R). They do not: care-of addresses are
	 * co-located only. */
	bool agent_demands;
};
struct movement_addr {
	int ifindex; /* 0: free */
	struct ip_addr addr;
	bool tentative;
	bool stale;
	uint64_t usable_since; /* a count, rising with time; 0: not usable */
};
struct movement_route { /* of the main table, to the gateway */
	int ifindex;    /* 0: free */
	uint8_t len;
	uint32_t metric;
	bool stale;
};

struct movement {
	const struct movement_conf *conf;
	struct movement_link links[MOVEMENT_LINKS_MAX];
	struct movement_addr addrs[MOVEMENT_ADDRS_MAX];
	struct movement_route routes[MOVEMENT_ROUTES_MAX];
	uint64_t count;
};

void movement_init(struct movement *m, const struct movement_conf *conf);
void movement_on_link(struct movement *m, const struct nl_link_event *event);
void movement_on_addr(struct movement *m, const struct nl_addr_event *event);
void movement_on_route(struct movement *m, const struct nl_route_event *event);
/* Between these two the place must not be asked for. */
void movement_resync(struct movement *m);
void movement_resynced(struct movement *m);
/* True: another agent, or the same one after a restart; the attachment may have changed though the
 * address did not. */
bool movement_on_advert(struct movement *m, int ifindex, const struct ip_addr *source,
	const struct mip4_advert *advert);

/* Away or nowhere: the best interface, and on it the newest address. */
struct place movement_place(const struct movement *m);

/* A stay of the home address on an interface of the node's own. */
struct home_claim {
	int ifindex;    /* 0: it is on none */
	uint64_t since; /* tells one stay from the next; never 0 while there is one */
};
/* `preferred` as long as that lasts, else the newest. */
struct home_claim movement_home(const struct movement *m, const struct home_claim *preferred);
/* Does the main table lead to the gateway by this interface? */
bool movement_has_route(const struct movement *m, int ifindex);
const struct movement_link *movement_link(const struct movement *m, int ifindex);
#endif
