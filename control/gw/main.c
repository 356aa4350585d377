/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * roamgate: the VPN gateway. Start and stop order only.
 *
 * How this works: configuration, then what must be durable before anything is sent (epoch,
 * counters), then ports, Linux's mirrors, nodes with their keys, SIU, the control socket, and last
 * the workers. The stop goes the other way round. Exit codes: 0, 1 configuration, 2 environment.
 */
#include "control/gw/dummies.h"
#include "control/gw/gw.h"
#include "control/gw/gw_admin.h"
#include "control/gw/gw_conf.h"
#include "control/gw/handovers.h"
#include "control/gw/icmp_errors.h"
#include "control/gw/kept.h"
#include "control/gw/key_verbs.h"
#include "control/gw/mirror.h"
#include "control/gw/pmtu.h"
#include "control/gw/provision.h"
#include "control/gw/pump.h"
#include "control/gw/reload.h"
#include "control/gw/siu_handler.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"
#include "lib/admin.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/privilege.h"
#include "lib/ready.h"

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "roamgate"
#define RX_DESCRIPTORS 1024
#define TX_DESCRIPTORS 1024

struct program {
	struct gw gw;
	struct gw_conf *conf;
	struct pump pump;
	struct icmp_errors errors;
	char why[512]; /* what went wrong at the start, and the mend */
};

static int usage(FILE *to, int code)
{
	fprintf(to, "usage: " PROGRAM " -c FILE [--check]\n       " PROGRAM " --version\n");
	return code;
}

static void on_stop_signal(void *arg, int signo)
{
	struct program *program = arg;

	log_info("main", "signal %d, stopping", signo);
	loop_stop(program->gw.loop);
}

static void on_reload_signal(void *arg, int signo)
{
	struct program *program = arg;
	struct reload_counts counts;
	char why[512];

	(void)signo;
	if (program->gw.siu == NULL || program->gw.admin == NULL)
		return; /* still starting, with the file as it is */
	if (gw_reload(&program->gw, &counts, why, sizeof why) != 0)
		log_error("reload", "%s", why);
	else
		log_info("reload", "added=%u changed=%u removed=%u kept=%u siu_keys=%u rules=%u",
			counts.nodes.added, counts.nodes.changed, counts.nodes.removed,
			counts.nodes.kept, counts.siu_keys, counts.rules);
}

static void on_key_event(void *arg, const struct key_event *event)
{
	struct program *program = arg;

	/* An SA that was rekeyed in time is no news for the home agent. */
	if (event->kind == KEY_EVENT_HARD && event->last && program->gw.siu != NULL)
		siu_handler_sa_expired(program->gw.siu, event->node);
}

static int start_dataplane(struct program *program)
{
	const struct gw_conf *conf = program->conf;
	struct dp_config config = {
		.file_prefix = conf->file_prefix,
		.worker_cpus = conf->worker_cpus,
		.control_cpu = conf->control_cpu,
		.no_huge = conf->no_huge,
		.memory_mb = conf->memory_mb,
		.max_nodes = conf->max_nodes,
		.max_routes = conf->max_routes,
		.max_neighbours = conf->max_neighbours,
		.mbufs = conf->mbufs,
		.rx_descriptors = RX_DESCRIPTORS,
		.tx_descriptors = TX_DESCRIPTORS,
		.crypto_engine = conf->crypto_engine,
		.n_home_agents = conf->n_home_agents,
		.registration_rate = conf->registration_rate,
		.rules = conf->rules,
		.counters = state_counters(program->gw.state),
		.confine = privilege_worker,
	};

	for (int i = 0; i < DP_PORTS; i++) {
		config.ports[i].devargs = conf->ports[i].device;
		config.ports[i].n_addrs = conf->ports[i].n_addrs;
		config.ports[i].mtu = conf->ports[i].mtu;
		config.ports[i].vlan = conf->ports[i].vlan;
		memcpy(config.ports[i].addrs, conf->ports[i].addrs, sizeof conf->ports[i].addrs);
	}
	for (uint32_t i = 0; i < conf->n_home_agents; i++) {
		config.home_agents[i] = (struct ip_prefix){
			.addr = conf->home_agents[i].tunnel_source, .len = 32};
		config.home_agents_v6[i] = conf->home_agents[i].tunnel_source_v6;
	}
	return dataplane_new(&config, &program->gw.dp, program->why, sizeof program->why);
}

static int start_policy(struct program *program)
{
	struct gw *gw = &program->gw;
	struct policy *policy = policy_new(
		gw->conf->policy, gw->conf->n_policy, dataplane_workers(gw->dp));

	if (policy != NULL)
		return dataplane_policy_use(gw->dp, policy);
	snprintf(program->why, sizeof program->why,
		"no memory for %u rules: give DPDK more (dpdk.memory_mb)", gw->conf->n_policy);
	return -ENOMEM;
}

static int start_tables(struct program *program)
{
	struct gw *gw = &program->gw;
	struct tunnel_config config;

	snprintf(program->why, sizeof program->why, "out of memory");
	gw->handovers = handovers_new();
	if (gw->handovers == NULL)
		return -ENOMEM;
	config = (struct tunnel_config){
		.dp = gw->dp,
		.handovers = gw->handovers,
		.local = gw_conf_port_addr(gw->conf, DP_OUTSIDE, AF_INET),
		.local_v6 = gw_conf_port_addr(gw->conf, DP_OUTSIDE, AF_INET6),
		.mtu = gw->conf->ports[DP_OUTSIDE].mtu,
		.unverified_credit = gw->conf->unverified_credit,
		.max_nodes = gw->conf->max_nodes,
	};
	gw->tunnels = tunnels_new(&config);
	if (gw->tunnels == NULL)
		return -ENOMEM;
	gw->pmtu = pmtu_new(gw->tunnels);
	gw->audit = audit_log_new(gw->dp);
	gw->dummies = dummies_new(gw->dp, gw->tunnels);
	if (gw->pmtu == NULL || gw->audit == NULL || gw->dummies == NULL)
		return -ENOMEM;
	if (gw->conf->keep_keys) {
		gw->kept = kept_new(gw->state, gw->conf);
		if (gw->kept == NULL)
			return -ENOMEM;
	}
	gw->keys = key_verbs_new(gw->tunnels, gw->state, gw->kept, on_key_event, program);
	return gw->keys == NULL ? -ENOMEM : 0;
}

static int start_nodes(struct program *program)
{
	struct gw *gw = &program->gw;
	struct provision_kept counts;
	int rc = provision_start(gw, gw->conf, program->why, sizeof program->why);

	if (rc != 0 || gw->conf->keep_keys)
		return rc != 0 ? rc
			       : provision_kept(gw, &counts, program->why, sizeof program->why);
	rc = kept_forget(gw->state);
	if (rc < 0)
		snprintf(program->why, sizeof program->why, "%s: cannot forget kept keys: %s",
			gw->conf->state_dir, strerror(-rc));
	else if (rc > 0)
		log_warn("kept", "keep_keys is false: %d records are forgotten", rc);
	return rc < 0 ? rc : 0;
}

static int start_siu(struct program *program)
{
	const struct siu_handler_config config = {
		.conf = program->gw.conf,
		.dp = program->gw.dp,
		.tunnels = program->gw.tunnels,
		.handovers = program->gw.handovers,
		.state = program->gw.state,
		.loop = program->gw.loop,
		.device = program->conf->ports[DP_INSIDE].mirror,
	};

	return siu_handler_open(&config, &program->gw.siu, program->why, sizeof program->why);
}

static int start_admin(struct program *program)
{
	const char *path = program->conf->control_socket;
	int rc = admin_open(
		program->gw.loop, path, gw_admin_verbs, &program->gw, &program->gw.admin);

	if (rc != 0)
		snprintf(program->why, sizeof program->why, "control_socket %s: %s%s", path,
			strerror(-rc), rc == -EADDRINUSE ? "; another gateway uses it" : "");
	return rc;
}

static int start_loop(struct program *program)
{
	struct gw *gw = &program->gw;

	gw->loop = loop_new();
	if (gw->loop == NULL || loop_signal_add(gw->loop, SIGINT, on_stop_signal, program) != 0 ||
		loop_signal_add(gw->loop, SIGTERM, on_stop_signal, program) != 0 ||
		loop_signal_add(gw->loop, SIGHUP, on_reload_signal, program) != 0) {
		snprintf(program->why, sizeof program->why, "event loop: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

static int start(struct program *program)
{
	/* Neighbours and routes by netlink. */
	static const struct privilege_needs needs = {.capabilities = 1ull << CAP_NET_ADMIN};
	struct gw *gw = &program->gw;
	const struct gw_conf *conf = program->conf;
	char *why = program->why;
	const size_t room = sizeof program->why;
	struct ip_addr inside, inside_v6;
	int rc = start_loop(program);

	/* The epoch is on disk before anything can be sent. */
	if (rc == 0)
		rc = state_open(conf->state_dir, conf->max_nodes * TUNNEL_SAS_MAX,
			conf->after_power_loss, &gw->state, why, room);
	if (rc == 0)
		rc = start_dataplane(program);
	if (rc == 0)
		rc = start_policy(program);
	if (rc == 0)
		rc = start_tables(program);
	if (rc == 0)
		rc = mirror_open(gw->loop, conf, gw->dp, &gw->mirror, why, room);
	if (rc == 0)
		rc = start_nodes(program);
	if (rc == 0)
		rc = start_siu(program);
	gw_conf_wipe(program->conf); /* every key is expanded or derived by now */
	if (rc == 0)
		rc = start_admin(program);
	/* A loss of power after the first packet must find the ceilings on disk. */
	if (rc == 0 && (rc = counters_sync(state_counters(gw->state), UINT32_MAX)) != 0)
		snprintf(why, room, "cannot make the counters file durable: %s", strerror(-rc));
	if (rc == 0 && (rc = state_start(gw->state)) != 0)
		snprintf(why, room, "cannot start a thread: %s", strerror(-rc));
	/* Everything is open. Workers give up still more; their filter must lie over the process's.
	 */
	privilege_hide_memory();
	if (rc == 0)
		rc = privilege_confine(&needs, why, room);
	if (rc == 0)
		rc = dataplane_start(gw->dp, why, room);
	if (rc != 0)
		return rc;
	inside = gw_conf_port_addr(conf, DP_INSIDE, AF_INET);
	inside_v6 = gw_conf_port_addr(conf, DP_INSIDE, AF_INET6);
	icmp_errors_init(&program->errors, gw->dp, &inside, &inside_v6);
	program->pump = (struct pump){
		.dp = gw->dp,
		.mirror = gw->mirror,
		.errors = &program->errors,
		.pmtu = gw->pmtu,
		.audit = gw->audit,
		.dummies = gw->dummies,
		.siu = gw->siu,
		.keys = gw->keys,
		.state = gw->state,
		.admin = gw->admin,
		.shares_cpu = conf->control_cpu_shared,
	};
	loop_poll_set(gw->loop, pump_turn, &program->pump);
	return 0;
}

static void stop(struct program *program)
{
	struct gw *gw = &program->gw;

	if (program->gw.admin != NULL)
		admin_close(program->gw.admin);
	if (gw->dp != NULL)
		dataplane_stop(gw->dp);
	siu_handler_close(gw->siu);
	mirror_close(gw->mirror);
	key_verbs_free(gw->keys);
	kept_free(gw->kept);
	audit_log_free(gw->audit);
	dummies_free(gw->dummies);
	pmtu_free(gw->pmtu);
	tunnels_free(gw->tunnels);
	handovers_free(gw->handovers);
	if (gw->dp != NULL)
		dataplane_free(gw->dp);
	state_close(gw->state); /* after the last one who writes counters */
	loop_free(gw->loop);
}

static int run(struct gw_conf *conf)
{
	struct program program = {.conf = conf, .gw.conf = conf};
	int code = EXIT_OK;
	int rc = start(&program);

	if (rc != 0) {
		fprintf(stderr, PROGRAM ": %s\n", program.why);
		code = EXIT_ENVIRONMENT;
	} else {
		const char *failed = dataplane_engine_failed(program.gw.dp);
		char detail[128];

		if (failed != NULL)
			log_warn("main", "crypto engine fails its self-test, using %s name=%s",
				dataplane_engine(program.gw.dp)->name, failed);
		if (conf->control_cpu_shared)
			log_warn("main",
				"a worker has the control thread's CPU, so that moves and "
				"packets wait some milliseconds cpu=%s",
				conf->control_cpu);
		snprintf(detail, sizeof detail, "nodes=%u workers=%u crypto=%s epoch=%u",
			tunnels_count(program.gw.tunnels), dataplane_workers(program.gw.dp),
			dataplane_engine(program.gw.dp)->name, state_boot_epoch(program.gw.state));
		ready_announce(PROGRAM, detail);
		rc = loop_run(program.gw.loop);
		if (rc != 0) {
			fprintf(stderr, PROGRAM ": event loop: %s\n", strerror(-rc));
			code = EXIT_ENVIRONMENT;
		}
	}
	stop(&program);
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *path = NULL;
	struct gw_conf *conf;
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
		case 'v':
			printf(PROGRAM " " ROAMGATE_VERSION "\n");
			return EXIT_OK;
		case 'h':
			return usage(stdout, EXIT_OK);
		default:
			return usage(stderr, EXIT_CONFIGURATION);
		}
	}
	if (path == NULL || optind != argc)
		return usage(stderr, EXIT_CONFIGURATION);
	privilege_begin();
	log_init(PROGRAM, LOG_INFO);
	conf = gw_conf_load(path);
	if (conf == NULL)
		return EXIT_CONFIGURATION;
	if (check) {
		gw_conf_free(conf);
		return EXIT_OK;
	}
	log_init(PROGRAM, conf->log_level);
	code = run(conf);
	gw_conf_free(conf);
	return code;
}
