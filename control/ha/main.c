/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * roamgate-ha: Mobile IPv4 home agent that re-aims the VPN gateway's tunnels.
 *
 * How this works: options, then start in the order of needs, run, stop in reverse. One thread.
 */
#include "control/ha/agent.h"
#include "control/ha/verbs.h"
#include "lib/boot_epoch.h"
#include "lib/log.h"
#include "lib/privilege.h"
#include "lib/ready.h"
#include "lib/store.h"

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "roamgate-ha"
#define EPOCH_DB "epoch"
#define WHY_BYTES 256
#define STORE_BYTES_MIN (16u << 20)
#define STORE_BYTES_A_NODE 4096u /* a record in a page of its own, at worst */

struct program {
	struct ha_conf conf;
	struct ha_counters counters;
	struct ha_parts parts;
	struct store *store;
	struct netlink *nl;
	struct ha_agent *agent;
	struct admin *admin;
	char why[WHY_BYTES];
};

static void on_signal(void *arg, int signo)
{
	struct program *program = arg;

	(void)signo;
	loop_stop(program->parts.loop);
}

static void on_reload_signal(void *arg, int signo)
{
	const struct program *program = arg;
	size_t changed;

	(void)signo;
	if (program->admin == NULL)
		return; /* still starting, with the file as it is */
	if (ha_reload(&program->parts, &changed))
		log_info("reload", "siu_keys=%zu", changed);
	else
		log_error("reload", "%s has errors, nothing changed", program->conf.path);
}

static void on_link(void *arg, const struct nl_link_event *event)
{
	struct program *program = arg;

	if (event->present && event->up)
		ha_agent_link_changed(program->agent, event->ifindex);
}

static void on_addr(void *arg, const struct nl_addr_event *event)
{
	struct program *program = arg;

	if (event->added)
		ha_agent_link_changed(program->agent, event->ifindex);
}

static int start_state(struct program *program)
{
	static const char *const databases[] = {HA_BINDING_DB, EPOCH_DB, NULL};
	const struct ha_conf *conf = &program->conf;
	struct ha_parts *parts = &program->parts;
	uint32_t epoch = 0;
	int err = store_open(conf->state_dir, databases,
		STORE_BYTES_MIN + conf->n_nodes * STORE_BYTES_A_NODE, &program->store, program->why,
		sizeof program->why);

	if (err != 0)
		return err;
	snprintf(program->why, sizeof program->why, "state_dir %s: cannot be read or written",
		conf->state_dir);
	err = boot_epoch_take(program->store, EPOCH_DB, 1, &epoch);
	if (err == 0)
		err = ha_bindings_open(program->store, conf, &parts->bindings);
	if (err == 0)
		err = ha_notify_open(parts->loop, conf, parts->bindings, &program->counters, epoch,
			&parts->notify, program->why, sizeof program->why);
	return err;
}

static int start_network(struct program *program)
{
	static const struct nl_events events = {.addr = on_addr, .link = on_link};
	const struct ha_conf *conf = &program->conf;
	struct ha_parts *parts = &program->parts;
	int err;

	snprintf(program->why, sizeof program->why, "netlink: cannot be used; run it as root");
	err = netlink_open(parts->loop, &events, program, &program->nl);
	if (err == 0)
		err = ha_tunnel_open(parts->loop, program->nl, conf, parts->bindings,
			&program->counters, &parts->tunnel, program->why, sizeof program->why);
	if (err == 0)
		err = ha_home_link_open(program->nl, conf, ha_tunnel_ifindex(parts->tunnel),
			&parts->home_link, program->why, sizeof program->why);
	if (err == 0)
		err = ha_agent_open(parts, &program->agent, program->why, sizeof program->why);
	return err;
}

static int start(struct program *program)
{
	/* Routes, proxy ARP and settings of interfaces; packet sockets on a home link that came
	 * back. */
	static const struct privilege_needs needs = {
		.capabilities = 1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW};
	struct ha_parts *parts = &program->parts;
	int err;

	parts->conf = &program->conf;
	parts->counters = &program->counters;
	parts->loop = loop_new();
	snprintf(program->why, sizeof program->why, "event loop: %s", strerror(errno));
	if (parts->loop == NULL)
		return -ENOMEM;
	err = loop_signal_add(parts->loop, SIGTERM, on_signal, program);
	if (err == 0)
		err = loop_signal_add(parts->loop, SIGINT, on_signal, program);
	if (err == 0)
		err = loop_signal_add(parts->loop, SIGHUP, on_reload_signal, program);
	if (err == 0)
		err = start_state(program);
	if (err == 0)
		err = start_network(program);
	if (err != 0)
		return err;
	snprintf(program->why, sizeof program->why, "control_socket %s cannot be made",
		program->conf.control_socket);
	err = admin_open(
		parts->loop, program->conf.control_socket, HA_VERBS, parts, &program->admin);
	if (err == 0)
		err = privilege_confine(&needs, program->why, sizeof program->why);
	privilege_hide_memory();
	return err;
}

static void stop(struct program *program)
{
	struct ha_parts *parts = &program->parts;

	if (program->admin != NULL)
		admin_close(program->admin);
	ha_agent_close(program->agent);
	program->agent = NULL;
	ha_home_link_close(parts->home_link);
	ha_tunnel_close(parts->tunnel);
	ha_notify_close(parts->notify);
	if (program->nl != NULL)
		netlink_close(program->nl);
	ha_bindings_close(parts->bindings);
	store_close(program->store);
	if (parts->loop != NULL)
		loop_free(parts->loop);
}

static int run(struct program *program)
{
	int err = start(program);

	if (err != 0) {
		fprintf(stderr, PROGRAM ": %s (%s)\n", program->why, strerror(-err));
	} else {
		ready_announce(PROGRAM, "");
		err = loop_run(program->parts.loop);
	}
	stop(program);
	return err == 0 ? EXIT_OK : EXIT_ENVIRONMENT;
}

static int usage(FILE *out)
{
	fprintf(out, "usage: " PROGRAM " -c FILE [--check] | --version\n"
		     "  -c FILE    configuration, see " PROGRAM ".conf\n"
		     "  --check    check the configuration and exit: 0 good, 1 not\n"
		     "  --version  print the version and exit\n");
	return EXIT_CONFIGURATION;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	static struct program program;
	const char *path = NULL;
	bool check = false;
	int option, code;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'k':
			check = true;
			break;
		case 'V':
			puts(PROGRAM " " ROAMGATE_VERSION);
			return EXIT_OK;
		case 'h':
			usage(stdout);
			return EXIT_OK;
		default:
			return usage(stderr);
		}
	}
	if (path == NULL || optind != argc)
		return usage(stderr);
	privilege_begin();
	if (!ha_conf_load(path, &program.conf))
		return EXIT_CONFIGURATION;
	log_init(PROGRAM, program.conf.log_level);
	code = check ? EXIT_OK : run(&program);
	ha_conf_free(&program.conf);
	return code;
}
