/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_DATAPLANE_H
#define DATAPLANE_DATAPLANE_H
/*
 * The packet machine of the gateway: two DPDK ports, poll-mode workers, the SAD, routes,
 * neighbours, and the rings between workers and the control thread. All that control/gw needs to
 * know.
 *
 * Owner:    control/gw/main.c. Threads: every function is for the control thread unless it says
 *           otherwise; workers are started and stopped here. There is one dataplane a process
 * (EAL). RCU:      one QSBR variable. What is unlinked is freed after a grace period inside
 *           dataplane_poll(), never by waiting.
 * Sources:  design of this project, README.md; DPDK 22.11 programmer's guide (rcu, hash, lpm).
 */
#include "dataplane/esp/counters.h"
#include "dataplane/esp/crypto.h"
#include "dataplane/esp/path.h"
#include "dataplane/esp/sa.h"
#include "dataplane/esp/verdict.h"
#include "dataplane/node.h"
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dp_port { DP_OUTSIDE = 0, DP_INSIDE = 1, DP_PORTS = 2 };

struct dp_port_config {
	const char *devargs;     /* "net_af_packet0,iface=out0" or "0000:03:00.0" */
	struct ip_addr addrs[8]; /* our own addresses there */
	uint32_t n_addrs;
	uint16_t mtu;  /* bytes of IP packet */
	uint16_t vlan; /* 802.1Q VID, 1..4094; 0: frames have no tag */
};

/* What an operator may want otherwise: rules.h. Zeros: nothing. */
enum rules_df { RULES_DF_COPY, RULES_DF_SET, RULES_DF_CLEAR };
struct dp_rules {
	uint8_t df;       /* enum rules_df */
	bool map_dscp;    /* else copied */
	uint8_t dscp[64]; /* outer by inner */
	bool clamp_tcp_mss;
};

struct dp_config {
	struct dp_port_config ports[DP_PORTS];
	const char *file_prefix; /* EAL: own per instance */
	const char *worker_cpus; /* "1" or "2,3": a worker each */
	const char *control_cpu; /* "0" */
	bool no_huge;
	uint32_t memory_mb; /* with no_huge: EAL -m; else limit */
	uint32_t max_nodes;
	uint32_t max_routes, max_neighbours;
	uint32_t mbufs; /* per port pool */
	uint16_t rx_descriptors, tx_descriptors;
	const char *crypto_engine;         /* "auto", "vaes512", "vaes", "ipsec-mb" */
	struct ip_prefix home_agents[64];  /* who may send IP-in-IP: host prefixes, IPv4 ... */
	struct ip_addr home_agents_v6[64]; /* ... and the IPv6 address of each; unset: none */
	uint32_t n_home_agents;
	uint32_t registration_rate; /* RRQs a second and node that pass */
	struct dp_rules rules;
	struct counters *counters; /* lent */
	int (*confine)(void); /* each worker before its first turn: 0 or -errno; NULL: nothing */
};

/* A UDP endpoint of ours on the inside whose datagrams are rationed before control has any work
 * with them (guard.h). */
#define DP_GUARD_PEERS_MAX 64
struct dp_guard {
	struct ip_endpoint local;                 /* IPv4 */
	struct ip_addr peers[DP_GUARD_PEERS_MAX]; /* who speaks to it */
	uint32_t n_peers;
	/* Would peer send this now? Any worker, at once; not of datagrams alone that are sound.
	 * NULL: nothing is guarded. */
	bool (*admits)(void *arg, uint32_t peer, const uint8_t *datagram, size_t len);
	void *arg;
};

struct dataplane;

/* EAL, self-test of the engine, ports, pools, tables; no worker runs yet. why: a line for the
 * operator with the mend. Returns 0 or -errno. */
int dataplane_new(const struct dp_config *config, struct dataplane **out, char *why,
	size_t why_size) __attribute__((warn_unused_result));
/* Copied. Before dataplane_start(); arg must live until dataplane_stop(). */
void dataplane_guard(struct dataplane *dp, const struct dp_guard *guard);
int dataplane_start(struct dataplane *dp, char *why, size_t why_size)
	__attribute__((warn_unused_result));
void dataplane_stop(struct dataplane *dp); /* joins the workers */
void dataplane_free(struct dataplane *dp);
const struct crypto_engine *dataplane_engine(const struct dataplane *dp);
/* Name of an engine that "auto" did not take since it failed its self-test, or NULL. */
const char *dataplane_engine_failed(const struct dataplane *dp);
uint32_t dataplane_workers(const struct dataplane *dp);

/* --- nodes and SAs ------------------------------------------------------------------------------
 */

struct dp_node_params {
	struct ip_addr home_address, home_agent;
	uint32_t handle, flags;
	struct node_tfc tfc;
	struct path_params path; /* flags PATH_CLOSED if no CoA is known yet */
};
/* Adds to the tables all at once or not at all. -EEXIST (home address), -ENOMEM, -ENOSPC, -EINVAL.
 */
int dataplane_node_add(struct dataplane *dp, const struct dp_node_params *params, struct node **out)
	__attribute__((warn_unused_result));
/* Unlinks node, its SAs and index entries; frees them after the grace period. drop_slots: the SAs
 * are gone for good (their counter slots go too). */
int dataplane_node_del(struct dataplane *dp, struct node *node, bool drop_slots);

/* -EEXIST: SPI taken for that source, -ENOSPC: NODE_INBOUND_MAX. */
int dataplane_sa_in_add(struct dataplane *dp, struct node *node, const struct sa_params *params)
	__attribute__((warn_unused_result));
int dataplane_sa_in_del(struct dataplane *dp, struct node *node, uint32_t spi, bool drop_slot);
/* Becomes current at once if there is none, else next; dataplane_sa_out_switch() makes next
 * current. */
int dataplane_sa_out_add(struct dataplane *dp, struct node *node, const struct sa_params *params,
	uint32_t iv_epoch) __attribute__((warn_unused_result));
int dataplane_sa_out_switch(struct dataplane *dp, struct node *node);
int dataplane_sa_out_del(struct dataplane *dp, struct node *node, uint32_t spi, bool drop_slot);

/* Lifetimes in packets and bytes (esp/life.h), time is the caller's. New limits: -ENOENT, -ENOMEM.
 */
int dataplane_sa_set_life(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi,
	const struct sa_lifetimes *life);
/* No packet passes any more; the SA stays until it is deleted. Never fails. */
void dataplane_sa_end(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi);
/* The handle of a node of which some SA may have passed a mark, 0: of none. Cheap. */
uint32_t dataplane_sa_noticed(struct dataplane *dp);
/* enum sa_mark: what was not given before. */
uint8_t dataplane_sa_take_marks(
	struct dataplane *dp, struct node *node, bool inbound, uint32_t spi);

/*
 * The swap: builds the new path, brings the CoA index along, publishes by one store, retires the
 * old. Returns 0, or -EAGAIN (retire list full), -ENOMEM, -EINVAL; on error the old path stays in
 * force.
 */
int dataplane_node_set_path(struct dataplane *dp, struct node *node,
	const struct path_params *params) __attribute__((warn_unused_result));
/* Grace: a token taken after some swaps (one for the batch) is done once every worker has passed a
 * quiescent state, i.e. no worker still builds packets for an old path. Never waits. */
uint64_t dataplane_grace_token(struct dataplane *dp);
bool dataplane_grace_done(struct dataplane *dp, uint64_t token);

/* --- between workers and control ----------------------------------------------------------------
 */

enum punt_reason {
	PUNT_FRAME,        /* whole Ethernet frame for Linux's TAP of that port */
	PUNT_GUARDED,      /* the same, for the guarded endpoint (struct dp_guard) */
	PUNT_REGISTRATION, /* data: IP datagram with a checked RRQ, or an ICMP echo reply to us from
			    * a node with NODE_RETURN_ROUTABILITY; node and observed are set */
	PUNT_UNRESOLVED,   /* data: IP packet ready for next_hop, whose MAC is unknown; take it over
			    */
	PUNT_ERROR,        /* data: a dropped IP packet whose sender should be told why; error,
			    * port and node (0: it came from the inside) are set */
};
enum punt_error { PUNT_TIME_EXCEEDED, PUNT_TOO_BIG };
struct punt {
	enum punt_reason reason;
	enum dp_port port; /* where it came in; UNRESOLVED: where it must go out */
	const uint8_t *data;
	uint32_t len;
	uint32_t node;               /* handle; 0: none */
	struct ip_endpoint observed; /* REGISTRATION: outer source */
	struct ip_addr next_hop;     /* UNRESOLVED */
	enum punt_error error;       /* ERROR */
	uint16_t mtu;                /* ERROR, too big: bytes of the largest packet that fits */
	uint64_t rx_ns;              /* monotonic, when the worker saw it */
	void *cookie; /* the packet; dataplane_punt_done() or dataplane_send_kept() */
};
/* Up to max punted packets; each must be given back with dataplane_punt_done(), at once or later.
 */
unsigned dataplane_punt_burst(struct dataplane *dp, struct punt *out, unsigned max);
void dataplane_punt_done(struct dataplane *dp, struct punt *punt);

/* The newest authenticated packet of a node whose path leads to from.addr in UDP came from another
 * port there. Told at most once in DP_PORT_CHANGE_EVERY_MS for each node. */
#define DP_PORT_CHANGE_EVERY_MS 20
struct dp_port_change {
	uint32_t node; /* handle */
	struct ip_endpoint from;
};
unsigned dataplane_port_changes(struct dataplane *dp, struct dp_port_change *out, unsigned max);

/* A packet that was dropped for a reason that has to be told: verdict_is_audited(). */
struct dp_audit {
	uint64_t rx_ns;                     /* monotonic, when the worker saw it */
	uint32_t spi, sequence;             /* 0: it has none; the low half of the number */
	struct ip_addr source, destination; /* of the packet as it came in */
	struct ip_addr inner_source, inner_destination; /* INNER_SOURCE, POLICY; else unset */
	uint8_t verdict;                                /* enum verdict */
	bool inbound;                                   /* it came from the outside */
};
/* Up to max of them; each worker gives at most AUDIT_A_SECOND (audit.h) of a kind. */
unsigned dataplane_audit_burst(struct dataplane *dp, struct dp_audit *out, unsigned max);

/* To a worker, copied. -ENOBUFS: ring or pool is empty. */
int dataplane_send_frame(struct dataplane *dp, enum dp_port port, const void *frame, size_t len);
/* An IP datagram routed towards the inside (the RRQ, after RRQ_SEEN). */
int dataplane_send_inside(struct dataplane *dp, const void *datagram, size_t len);
/* An IP datagram through the node's current SA and path, whatever its destination (the RRP). stamp:
 * record the time in path->rrp_tx_ns. */
int dataplane_send_to_node(
	struct dataplane *dp, uint32_t handle, const void *datagram, size_t len, bool stamp);
/* The same, once, to remote instead of the path's endpoint; works on a closed path (REPLY_ONLY). */
int dataplane_send_once(struct dataplane *dp, uint32_t handle, const struct ip_endpoint *remote,
	const void *datagram, size_t len);
/* An unresolved packet whose next hop is known by now; takes the punt over. */
int dataplane_send_kept(struct dataplane *dp, struct punt *punt);

/* --- forwarding state (from Linux by netlink) ---------------------------------------------------
 */

/* via unset: on link. 0, -ENOSPC, -ENOMEM. Replaces an existing route to the same prefix. */
int dataplane_route_set(struct dataplane *dp, const struct ip_prefix *dst, enum dp_port port,
	const struct ip_addr *via);
int dataplane_route_del(struct dataplane *dp, const struct ip_prefix *dst);
int dataplane_neigh_set(
	struct dataplane *dp, enum dp_port port, const struct ip_addr *addr, const uint8_t mac[6]);
int dataplane_neigh_del(struct dataplane *dp, enum dp_port port, const struct ip_addr *addr);
/* The MAC that the port's TAP takes over. */
void dataplane_port_mac(const struct dataplane *dp, enum dp_port port, uint8_t mac[6]);
/* Neighbours whose entry was used since the last call: Linux must hear of it (NTF_USE). */
typedef void dp_neigh_used_fn(void *arg, enum dp_port port, const struct ip_addr *addr);
void dataplane_neigh_each_used(struct dataplane *dp, dp_neigh_used_fn *fn, void *arg);

/* --- house-keeping and figures ------------------------------------------------------------------
 */

/* Frees what has passed its grace period, renews used-up IV epochs (asks take_epoch, -errno: not
 * now), expires former CoAs. Call at every turn of the control loop; cheap when idle. */
typedef int dp_take_epoch_fn(void *arg, uint32_t *epoch);
void dataplane_poll(struct dataplane *dp, uint64_t now_ns, dp_take_epoch_fn *fn, void *arg);

struct dp_port_stats {
	uint64_t rx_packets, rx_bytes, rx_missed, rx_errors;
	uint64_t tx_packets, tx_bytes, tx_errors;
};
void dataplane_port_stats(const struct dataplane *dp, enum dp_port port, struct dp_port_stats *out);
/* in: packets that came in on the outside, out: on the inside, local: injected
 * by control, and fragments and copies made here. VERDICT_OK: forwarded. Every packet is in exactly
 * one cell; beside them: packets in with ECN fields outside and inside that nobody sends together,
 * which went on (RFC 6040 section 4.2).
 */
struct dp_verdicts {
	uint64_t in[VERDICT_COUNT], out[VERDICT_COUNT], local[VERDICT_COUNT];
	uint64_t ecn_unusual;
};
void dataplane_verdicts(const struct dataplane *dp, struct dp_verdicts *out); /* over workers */
struct dp_worker_stats {
	struct dp_verdicts verdicts;
	uint64_t loops, busy_loops;
	uint64_t loop_p99_ns; /* of busy loops since start */
};
void dataplane_worker_stats(
	const struct dataplane *dp, uint32_t worker, struct dp_worker_stats *out);
#endif
