/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_GW_CONF_H
#define CONTROL_GW_GW_CONF_H
/*
 * The gateway's configuration: typed, checked against itself, every error with file:line.
 *
 * Owner:    main.c; a reload makes a second one. Threads: main and control.
 * Lifetime: gw_conf_load() to gw_conf_free(), which wipes keys; gw_conf_wipe() wipes them earlier.
 * config/roamgate.conf shows every key with unit, range and default; the two are kept in step.
 */
#include "dataplane/dataplane.h"
#include "dataplane/policy.h"
#include "lib/conf.h"
#include "lib/inet.h"
#include "lib/log.h"
#include "siu/siu.h"

#define GW_PATH_MAX 192 /* bytes of a file name; a UNIX socket takes less: GW_SOCKET_PATH_MAX */
#define GW_SOCKET_PATH_MAX 108 /* sun_path of unix(7), with the final 0 */
#define GW_DEVICE_MAX 256
#define GW_CPUS_MAX 64 /* bytes of "1,2,3" */
#define GW_PORT_ADDRS_MAX 8
#define GW_PREFIXES_MAX 64
#define GW_HOME_AGENTS_MAX 64
#define GW_ROUTES_MAX 256
#define GW_SIU_SECRETS 2

struct gw_port_conf {
	char device[GW_DEVICE_MAX]; /* EAL devargs */
	char mirror[16];            /* name of the TAP */
	struct ip_addr addrs[GW_PORT_ADDRS_MAX];
	uint8_t prefix_lens[GW_PORT_ADDRS_MAX];
	uint32_t n_addrs;
	uint16_t mtu;  /* bytes of IP packet */
	uint16_t vlan; /* VID; 0: no tag */
};

struct gw_prefixes {
	struct ip_prefix list[GW_PREFIXES_MAX];
	size_t n;
};

struct gw_route_conf {
	struct ip_prefix to;
	struct ip_addr via;
	enum dp_port port; /* the one whose subnet holds via */
};

struct gw_siu_secret {
	uint16_t id;
	struct conf_secret secret; /* len 0: unused */
};

struct gw_home_agent_conf {
	char name[NODE_NAME_MAX];
	struct ip_endpoint address;                   /* SIU */
	struct ip_addr tunnel_source;                 /* IPv4 source of its IP-in-IP, its RRPs */
	struct ip_addr tunnel_source_v6;              /* of what it tunnels in IPv6; unset: none */
	struct gw_prefixes prefixes;                  /* home addresses that it may move */
	bool directly_attached;                       /* its SIU comes with TTL 255 */
	struct gw_siu_secret secrets[GW_SIU_SECRETS]; /* [0] is the one to send with */
};

struct gw_node_conf {
	char name[NODE_NAME_MAX];
	struct ip_addr home_address;
	uint32_t home_agent;    /* index */
	struct ip_addr care_of; /* unset: silent until the first registration */
	uint32_t flags;         /* enum node_flag */
	struct node_tfc tfc;
	bool has_sas; /* false: keys come by the control socket */
	struct sa_params in, out;
};

struct gw_conf {
	char path[GW_PATH_MAX]; /* of the file itself, for a reload */
	char state_dir[GW_PATH_MAX];
	char control_socket[GW_SOCKET_PATH_MAX];
	enum log_level log_level;
	enum after_power_loss after_power_loss;
	bool keep_keys;
	uint32_t grace_ms;
	uint32_t provisional_credit;    /* bytes */
	uint32_t unverified_credit;     /* bytes */
	uint32_t move_rate, move_burst; /* a node, a second; at once */
	uint32_t registration_rate;     /* a node, a second */
	struct gw_prefixes forbidden_coas, inside;
	struct dp_rules rules;

	char control_cpu[GW_CPUS_MAX], worker_cpus[GW_CPUS_MAX];
	bool control_cpu_shared; /* a worker has it, too */
	bool no_huge;
	uint32_t memory_mb, mbufs;
	char file_prefix[NODE_NAME_MAX];
	char crypto_engine[NODE_NAME_MAX];
	uint32_t max_nodes, max_routes, max_neighbours;

	struct gw_port_conf ports[DP_PORTS];
	struct gw_route_conf routes[GW_ROUTES_MAX];
	size_t n_routes;
	struct ip_endpoint siu_listen;
	bool siu_require_esp; /* by Linux, in both directions; nothing in clear */
	struct gw_home_agent_conf home_agents[GW_HOME_AGENTS_MAX];
	uint32_t n_home_agents;
	struct gw_node_conf *nodes;
	uint32_t n_nodes;
	struct policy_rule *policy; /* in order */
	uint32_t n_policy;
};

/* NULL: every error is on stderr as "file:line: what is wrong"; nothing else was touched. */
struct gw_conf *gw_conf_load(const char *path);
void gw_conf_free(struct gw_conf *conf); /* wipes; NULL is allowed */
/* Wipes key material (the SAs' and the SIU secrets); has_sas stays. */
void gw_conf_wipe(struct gw_conf *conf);

/* Would this care-of address be a fit tunnel's end? RESULT_OK, BAD_COA or FAMILY_UNSUPPORTED. */
enum siu_result gw_conf_coa_check(const struct gw_conf *conf, const struct ip_addr *coa);
/* The first address of a port in that family; unset: none. */
struct ip_addr gw_conf_port_addr(const struct gw_conf *conf, enum dp_port port, uint8_t family);
/* One of our own addresses, on either port? */
bool gw_conf_is_own(const struct gw_conf *conf, const struct ip_addr *addr);
bool gw_prefixes_contain(const struct gw_prefixes *prefixes, const struct ip_addr *addr);
/* 1..31 letters, digits, '.', '_', '-': names of nodes and home agents. */
bool gw_name_ok(const char *name);

/* gw_conf_policy.c: the list policy, and its words. text: where a number goes that has no name. */
void gw_conf_read_policy(struct gw_conf *conf, struct conf_group *root);
/* Why a rule may not bypass as conf is, NULL if it may; *inner: it is because of its inside end. */
const char *gw_policy_fault(
	const struct gw_conf *conf, const struct policy_rule *rule, bool *inner);
const char *gw_policy_action_name(enum policy_action action);
const char *gw_policy_protocol_name(uint16_t number, char text[IP_TEXT_MAX]);
/* gw_conf_nodes.c: the lists home_agents and mobile_nodes. */
void gw_conf_read_home_agents(struct gw_conf *conf, struct conf_group *root);
void gw_conf_read_nodes(struct gw_conf *conf, struct conf_group *root);
#endif
