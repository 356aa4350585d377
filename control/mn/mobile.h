/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_MOBILE_H
#define CONTROL_MN_MOBILE_H
/*
 * The mobile node: joins movement, tunnel, registration and the host's routing.
 *
 * Owner: main.c. Thread: the loop's. Sources: the source document, claims 1, 5 and 6; RFC 5944
 * section 3.6.
 */
#include "control/mn/advert.h"
#include "control/mn/command.h"
#include "control/mn/home.h"
#include "control/mn/homecoming.h"
#include "control/mn/mn_conf.h"
#include "control/mn/movement.h"
#include "control/mn/registration.h"
#include "control/mn/routes.h"
#include "control/mn/sa_watch.h"
#include "control/mn/state.h"
#include "control/mn/tunnel.h"
#include "dataplane/esp/counters.h"
#include "lib/loop.h"
#include "lib/netlink.h"

#include <jansson.h>
#include <stdint.h>

struct move_times {          /* of the last move; 0: has not happened. Monotonic but the last */
	uint64_t address_ns; /* the kernel's event was taken */
	uint64_t sas_ns;     /* both SAs are at the new address */
	uint64_t rrq_ns;     /* the first registration request has left */
	uint64_t rrp_ns;     /* it was accepted */
	uint64_t address_real_ns;
};

struct mobile {
	struct loop *loop;
	struct mn_conf *conf;
	struct state *state;
	struct counters *counters;
	int tun_fd, tun_ifindex;
	struct netlink *nl;
	struct tunnel *tunnel;
	struct routes routes;
	struct home home;
	struct advert advert;
	struct command fallback, rekey;
	struct sa_watch watch;
	/* for rekey: the newest of each kind and direction that it was not run for yet; kind NULL:
	 * none */
	struct sa_watch_event untold[4];
	struct movement_conf movement_conf;
	struct movement movement;
	struct registration_conf registration_conf;
	struct registration_memory memory; /* of both machines */
	struct registration registration;  /* through the tunnel */
	struct homecoming homecoming;
	struct loop_timer *registration_timer;
	struct loop_timer *upkeep_timer;
	bool synced; /* no dump of the kernel's state is under way */
	bool placed; /* the first decision was taken */
	bool unsaved;
	unsigned announcements_left; /* of being at home */
	struct place place;
	uint64_t event_ns; /* when the kernel event under way was taken */
	uint64_t moves;
	struct move_times times;
	uint64_t replies[REPLY_RESULT_COUNT];
	uint64_t requests;
	uint8_t last_code;
};

/* "away", "home", "nowhere"; or "home-pending": nowhere else, and the home agent was not heard yet
 * where the home address is. */
const char *mobile_place_name(const struct mobile *mobile);

/* conf, state and counters must outlive it; the SA keys in conf are wiped. The node then knows its
 * place, and traffic can flow if there is any. 0 or -errno with a sentence for the operator. */
int mobile_open(struct mobile *mobile, struct loop *loop, struct mn_conf *conf, struct state *state,
	struct counters *counters, uint32_t iv_epoch, char *why, size_t why_size)
	__attribute__((warn_unused_result));
/* Also after an error of mobile_open(). */
void mobile_close(struct mobile *mobile);
#endif
