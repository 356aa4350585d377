/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_GW_GW_FIXTURE_H
#define TESTS_UNIT_GW_GW_FIXTURE_H
/*
 * A gateway's control side over the double of the packet path: a folder with key files, a
 * configuration with two home agents and three nodes, durable state, tables.
 */
#include "control/gw/gw.h"
#include "control/gw/gw_conf.h"
#include "control/gw/handovers.h"
#include "control/gw/key_verbs.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"

struct fixture {
	char dir[128]; /* made by fixture_folder() */
	struct gw_conf *conf;
	struct state *state;
	struct handovers *handovers;
	struct tunnels *tunnels;
	struct kept *kept;
	struct key_verbs *keys;
	unsigned key_events;
};

/* Text of the good configuration; dir holds the key files. Returns its length. */
size_t fixture_conf_text(const char *dir, char *out, size_t room);
/* Makes a folder of our own with key files in it; removed by fixture_remove_folder(). */
const char *fixture_folder(void);
void fixture_remove_folder(void);
void fixture_secret(const char *line); /* of the home agents, in the next folder: 32 hex digits */
void fixture_write(const char *dir, const char *name, const char *text, unsigned mode);

/* disk: the state thread runs, so records become durable. */
void fixture_open(struct fixture *fixture, bool disk);
void fixture_close(struct fixture *fixture);
/* As after kill -9 and a new start, but for the nodes of the configuration: tables are empty, what
 * was queued for the disk is there. Counter slots come from the state's file from now on. */
void fixture_restart(struct fixture *fixture);
/* The same, but what was queued for the disk is lost. */
void fixture_crash(struct fixture *fixture);
/* The parts of a gateway, for what wants a struct gw. */
struct gw fixture_gw(const struct fixture *fixture);
/* Nodes node1, node2 (home agent 0) and other1 (home agent 1), without a path. */
void fixture_add_nodes(struct fixture *fixture);
struct tunnel *fixture_node(const struct fixture *fixture, const char *name);

struct ip_addr addr_of(const char *text); /* aborts if it is none */
#endif
