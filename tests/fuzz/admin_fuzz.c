/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to the gateway's control socket, each a line of JSON, to every verb, one after the other
 * on one gateway: an object or a sentence comes back, and no key in either. Disk, loop and packet
 * path are doubles.
 */
#include "control/gw/gw_admin.h"
#include "control/gw/provision.h"
#include "control/gw/siu_handler.h"
#include "tests/unit/gw/dataplane_double.h"
#include "tests/unit/gw/gw_fixture.h"
#include "tests/unit/handover/doubles.h"

#include "lib/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_NS (1000 * NS_PER_S)
#define REAL_NS (1800000000 * NS_PER_S)
#define LINES_MAX 12

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fixture fx;
static struct gw gw;

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static void close_fixture(void)
{
	fixture_close(&fx);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	clock_set_test(START_NS, REAL_NS);
	fixture_open(&fx, false);
	demand(atexit(close_fixture) == 0);
	return 0;
}

static void begin(void)
{
	struct siu_handler_config open = {.device = "none"};
	char why[256];

	store_double_wipe();
	fixture_crash(&fx);
	gw = fixture_gw(&fx);
	open.conf = fx.conf;
	open.dp = DOUBLE_DP;
	open.tunnels = fx.tunnels;
	open.handovers = fx.handovers;
	open.state = fx.state;
	demand(siu_handler_open(&open, &gw.siu, why, sizeof why) == 0);
	demand(provision_start(&gw, fx.conf, why, sizeof why) == 0);
}

/* Those of the fixture's nodes; whoever asks with a key has it anyway. */
static void check_secrets(const char *text)
{
	demand(strstr(text, "101112131415161718191a1b1c1d1e1f") == NULL);
	demand(strstr(text, "303132333435363738393a3b3c3d3e3f") == NULL);
}

static void ask(json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "verb"));
	const struct admin_verb *verb = gw_admin_verbs;
	const char *error = NULL;
	json_t *reply;
	char *text;

	while (verb->name != NULL && (name == NULL || strcmp(verb->name, name) != 0))
		verb++;
	/* These read a file again (conffiles_fuzz.c), or look at a mirror, which is not here. */
	if (verb->name == NULL || strcmp(verb->name, "reload") == 0 ||
		strcmp(verb->name, "show-ports") == 0)
		return;
	reply = verb->fn(&gw, request, &error);
	demand(reply != NULL ? json_is_object(reply) : error != NULL && error[0] != '\0');
	if (reply == NULL)
		return;
	text = json_dumps(reply, JSON_COMPACT);
	demand(text != NULL);
	check_secrets(text);
	free(text);
	json_decref(reply);
}

static void ask_line(const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(request))
		ask(request);
	json_decref(request);
	double_reset_calls();
	(void)state_flush(fx.state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *end = at + size;
	unsigned lines = 0;

	begin();
	while (at < end && lines++ < LINES_MAX) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((newline != NULL ? newline : end) - at);

		ask_line(at, len);
		at += len + 1;
	}
	siu_handler_close(gw.siu);
	return 0;
}
