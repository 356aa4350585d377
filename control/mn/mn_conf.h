/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_MN_CONF_H
#define CONTROL_MN_MN_CONF_H
/*
 * The node's configuration file as values. The keys are described in config/roamgate-mn.conf.
 *
 * Owner: main.c. Values only, nothing points into the file; the key material is wiped by
 * mn_conf_wipe() as soon as the SAs are made. Main thread.
 */
#include "control/mn/natsock.h"
#include "dataplane/esp/sa.h"
#include "lib/inet.h"
#include "lib/log.h"
#include "lib/mip4.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#define MN_TUNNEL_ROUTES_MAX 64
#define MN_INTERFACES_MAX 16
#define MN_PATH_MAX 256 /* bytes of a file name with the final 0 */
#define MN_TUNNEL_MTU_MAX 9000

struct mn_conf {
	char state_dir[MN_PATH_MAX];
	char control_socket[MN_PATH_MAX];
	char fallback_command[MN_PATH_MAX]; /* "": none */
	char rekey_command[MN_PATH_MAX];    /* "": none */
	enum log_level log_level;
	struct ip_addr home_address, home_agent, gateway;
	struct ip_prefix home_prefix;
	char tunnel_interface[IF_NAMESIZE];
	uint16_t tunnel_mtu; /* bytes */
	struct ip_prefix tunnel_routes[MN_TUNNEL_ROUTES_MAX];
	size_t n_tunnel_routes;
	char interfaces[MN_INTERFACES_MAX][IF_NAMESIZE]; /* best first; none: any */
	size_t n_interfaces;
	uint32_t mark;
	bool reverse_tunnel;
	enum nat_traversal nat_traversal;
	uint32_t nat_keepalive_s;
	uint16_t lifetime_s;
	unsigned max_attempts;
	uint32_t grace_ms;
	struct mip4_key authentication;
	struct sa_params inbound, outbound;
};

/* Reads and checks path. False: the errors were printed as file:line on stderr. */
bool mn_conf_load(const char *path, struct mn_conf *conf);
/* Is there a program that the node may start? */
bool mn_conf_has_commands(const struct mn_conf *conf);
/* Wipes the keys of both SAs; the one of the registrations is needed as long as the node runs. */
void mn_conf_wipe_sa_keys(struct mn_conf *conf);
void mn_conf_wipe(struct mn_conf *conf);
#endif
