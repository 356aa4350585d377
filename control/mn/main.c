/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * roamgate-mn, the mobile node: options, start order, stop order.
 *
 * Order: configuration (exit 1); loop, durable state with this run's epoch, counters, the node with
 * its sockets, the control socket (exit 2 each); ready; loop; all of it backwards.
 */
#include "control/mn/mobile.h"
#include "control/mn/show.h"
#include "lib/privilege.h"
#include "lib/ready.h"

#include <errno.h>
#include <getopt.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define PROGRAM "roamgate-mn"
#define COUNTER_CAPACITY 16 /* two SAs, and those of keys used before */
#define WHY_BYTES 256

static int usage(FILE *out)
{
	fprintf(out, "usage: " PROGRAM " -c FILE [--check] | --version\n"
		     "  -c, --config FILE  configuration\n"
		     "      --check        check the configuration and exit\n"
		     "      --version      print the version and exit\n");
	return out == stdout ? EXIT_OK : EXIT_CONFIGURATION;
}

static void on_stop(void *arg, int signo)
{
	(void)signo;
	loop_stop(arg);
}

static int run(struct mn_conf *conf)
{
	/* Routes; the sockets that each home link gets anew, one of them of port 434; commands.
	 */
	const struct privilege_needs needs = {.capabilities = 1ull << CAP_NET_ADMIN |
							      1ull << CAP_NET_RAW |
							      1ull << CAP_NET_BIND_SERVICE,
		.may_exec = mn_conf_has_commands(conf)};
	static struct mobile mobile; /* tables of some kB */
	char why[WHY_BYTES] = "out of memory";
	char path[MN_PATH_MAX + 16];
	struct counters *counters = NULL;
	struct admin *admin = NULL;
	struct state state = {0};
	struct loop *loop = loop_new();
	uint32_t epoch;
	int err = loop == NULL ? -ENOMEM : 0;
	bool opened = false;

	if (err == 0)
		err = state_open(&state, conf->state_dir, &epoch, why, sizeof why);
	snprintf(path, sizeof path, "%s/counters", conf->state_dir);
	if (err == 0)
		err = counters_open(path, COUNTER_CAPACITY, AFTER_POWER_LOSS_STRICT, &counters, why,
			sizeof why);
	if (err == 0) {
		opened = true;
		err = mobile_open(&mobile, loop, conf, &state, counters, epoch, why, sizeof why);
	}
	if (err == 0) {
		err = admin_open(loop, conf->control_socket, show_verbs, &mobile, &admin);
		snprintf(why, sizeof why, "control_socket %.128s: %s", conf->control_socket,
			strerror(-err));
	}
	if (err == 0)
		err = privilege_confine(&needs, why, sizeof why);
	privilege_hide_memory();
	if (err == 0 && loop_signal_add(loop, SIGINT, on_stop, loop) == 0 &&
		loop_signal_add(loop, SIGTERM, on_stop, loop) == 0) {
		ready_announce(PROGRAM, mobile_place_name(&mobile));
		err = loop_run(loop);
		snprintf(why, sizeof why, "event loop: %s", strerror(-err));
	}
	if (err != 0)
		fprintf(stderr, PROGRAM ": %s\n", why);
	admin_close(admin);
	if (opened)
		mobile_close(&mobile);
	counters_close(counters);
	state_close(&state);
	loop_free(loop);
	return err == 0 ? EXIT_OK : EXIT_ENVIRONMENT;
}

int main(int argc, char **argv)
{
	enum { OPTION_CHECK = 256, OPTION_VERSION, OPTION_HELP };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, OPTION_CHECK},
		{"version", no_argument, NULL, OPTION_VERSION},
		{"help", no_argument, NULL, OPTION_HELP},
		{0},
	};
	static struct mn_conf conf;
	const char *path = NULL;
	bool check = false;
	int option, status;

	while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == OPTION_CHECK)
			check = true;
		else if (option == OPTION_VERSION)
			return printf(PROGRAM " %s\n", ROAMGATE_VERSION) < 0;
		else
			return usage(option == OPTION_HELP ? stdout : stderr);
	}
	if (path == NULL || optind != argc)
		return usage(stderr);
	privilege_begin();
	if (!mn_conf_load(path, &conf))
		return EXIT_CONFIGURATION;
	log_init(PROGRAM, conf.log_level);
	status = check ? EXIT_OK : run(&conf);
	mn_conf_wipe(&conf);
	return status;
}
