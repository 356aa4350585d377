/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_GW_H
#define CONTROL_GW_GW_H
/*
 * The parts of a running gateway, put together by main.c and lent to those who show or change more
 * than one of them. Threads: control.
 */
struct gw {
	const struct gw_conf *conf; /* of the start; its keys are wiped */
	struct loop *loop;
	struct state *state;
	struct dataplane *dp;
	struct handovers *handovers;
	struct tunnels *tunnels;
	struct kept *kept; /* NULL: keep_keys = false */
	struct key_verbs *keys;
	struct pmtu *pmtu;
	struct audit_log *audit;
	struct dummies *dummies;
	struct mirror *mirror;
	struct siu_handler *siu;
	struct admin *admin;
};
#endif
