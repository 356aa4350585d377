/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * roamctl: the operator's command.
 *
 * How this works: request.c makes one object of the words; it is sent to the control socket, again
 * with "from" as long as the answer has "next", and the rows of all pages are put together.
 * Exit codes: 0 ok; 1 wrong usage or refused by the program; 2 the program cannot be reached.
 */
#include "control/ctl/request.h"
#include "control/ctl/table.h"
#include "lib/admin.h"
#include "lib/privilege.h"
#include "lib/ready.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKET_DEFAULT "/run/roamgate.sock"
#define CALL_TIMEOUT_MS 10000

enum ctl_exit { CTL_OK = 0, CTL_REFUSED = 1, CTL_UNREACHABLE = 2 };

struct options {
	const char *socket;
	bool as_json;
	char **words;
	size_t n_words;
};

static void print_help(void)
{
	fputs("usage: roamctl [-s SOCKET] [--json] COMMAND\n"
	      "\n"
	      "  show sa|nodes|drops|handovers|ports|siu|events|audit|policy\n"
	      "  show bindings                    of the home agent\n"
	      "  show status                      of the mobile node\n"
	      "  show events|audit|handovers from=NUMBER     those behind that one\n"
	      "  sa add NODE in|out spi=N algorithm=NAME key_file=PATH\n"
	      "         [esn=true|false] [replay_window=N] [source=PREFIX,..] [LIFETIMES]\n"
	      "  sa update NODE in|out spi=N [LIFETIMES]     all of them anew\n"
	      "  sa switch NODE out spi=N         the next outbound SA takes over\n"
	      "  sa del NODE in|out spi=N\n"
	      "  node add NAME home_address=ADDRESS home_agent=NAME [care_of=ADDRESS]\n"
	      "         [strict_inner_source=false] [strict_outer_source=false] [allow_nat=true]\n"
	      "         [bicast=true] [provisional=true] [return_routability=true]\n"
	      "         [tfc_pad=BYTES] [tfc_dummies=A_SECOND]\n"
	      "  node del NAME\n"
	      "  reload                           read the configuration again: nodes and "
	      "policy of\n"
	      "                                   the gateway, SIU secrets of gateway and home "
	      "agent\n"
	      "\n"
	      "  LIFETIMES   life_time=S life_packets=N life_bytes=N: the SA is over then;\n"
	      "              rekey_time=S rekey_packets=N rekey_bytes=N: an event before that\n"
	      "\n"
	      "  -s SOCKET   the program's control socket, default " SOCKET_DEFAULT "\n"
	      "              (/run/roamgate-ha.sock, /run/roamgate-mn.sock)\n"
	      "  --json      one JSON document instead of a table\n"
	      "\n"
	      "exit code: 0 ok, 1 wrong usage or refused, 2 the program cannot be reached\n",
		stdout);
}

static int complain(enum ctl_exit code, const char *what)
{
	fprintf(stderr, "roamctl: %s\n", what);
	return (int)code;
}

/* Returns false with *code set if there is nothing more to do. Options may stand anywhere. */
static bool parse_options(int argc, char **argv, struct options *options, int *code)
{
	static const struct option known[] = {
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	*options = (struct options){.socket = SOCKET_DEFAULT};
	opterr = 0;
	while ((c = getopt_long(argc, argv, "s:jh", known, NULL)) != -1) {
		switch (c) {
		case 's':
			options->socket = optarg;
			break;
		case 'j':
			options->as_json = true;
			break;
		case 'h':
			print_help();
			*code = CTL_OK;
			return false;
		default:
			*code = complain(CTL_REFUSED, "unknown option; see roamctl --help");
			return false;
		}
	}
	options->words = argv + optind;
	options->n_words = (size_t)(argc - optind);
	return true;
}

/* Takes a page's rows over into rows. */
static bool add_rows(json_t *rows, json_t *page)
{
	return page == NULL || (json_is_array(page) && json_array_extend(rows, page) == 0);
}

/* All pages. Returns an exit code; *fields is the first page without what belongs to paging. */
static int call(const char *socket, json_t *request, json_t **fields, json_t *rows)
{
	json_t *reply, *next;
	char why[512];
	const char *error;

	for (;;) {
		reply = admin_call(socket, request, CALL_TIMEOUT_MS, why, sizeof why);
		if (reply == NULL)
			return complain(CTL_UNREACHABLE, why);
		if (!json_is_true(json_object_get(reply, "ok"))) {
			error = json_string_value(json_object_get(reply, "error"));
			complain(CTL_REFUSED, error != NULL ? error : "refused without a reason");
			json_decref(reply);
			return CTL_REFUSED;
		}
		next = json_incref(json_object_get(reply, "next"));
		if (!add_rows(rows, json_object_get(reply, "rows"))) {
			json_decref(next);
			json_decref(reply);
			return complain(CTL_UNREACHABLE, "the answer has no array of rows");
		}
		json_object_del(reply, "ok");
		json_object_del(reply, "next");
		json_object_del(reply, "rows");
		if (*fields == NULL)
			*fields = json_incref(reply);
		json_decref(reply);
		if (next == NULL || json_is_null(next))
			break;
		/* A place that does not move on would be asked for without end. */
		if (json_equal(next, json_object_get(request, "from"))) {
			json_decref(next);
			return complain(CTL_UNREACHABLE, "the answer's pages do not go on");
		}
		json_object_set_new(request, "from", next);
	}
	json_decref(next);
	return CTL_OK;
}

static bool print_json(json_t *fields, json_t *rows)
{
	json_t *document = json_object();
	bool ok = document != NULL && json_object_set(document, "rows", rows) == 0 &&
		  json_object_update(document, fields) == 0 &&
		  json_dumpf(document, stdout, JSON_INDENT(1)) == 0 && fputc('\n', stdout) != EOF;

	json_decref(document);
	return ok;
}

static int run(const struct options *options)
{
	json_t *request, *fields = NULL, *rows;
	char why[512];
	bool printed;
	int ret;

	request = request_from_words(options->words, options->n_words, why, sizeof why);
	if (request == NULL)
		return complain(CTL_REFUSED, why);
	rows = json_array();
	ret = call(options->socket, request, &fields, rows);
	if (ret == CTL_OK) {
		printed = options->as_json ? print_json(fields, rows)
					   : table_print(stdout, fields, rows);
		if (!printed || fflush(stdout) != 0)
			ret = complain(CTL_UNREACHABLE, "the answer could not be written");
	}
	json_decref(fields);
	json_decref(rows);
	json_decref(request);
	return ret;
}

int main(int argc, char **argv)
{
	struct options options;
	int code;

	privilege_begin();
	admin_wipe_json();
	if (!parse_options(argc, argv, &options, &code))
		return code;
	return run(&options);
}
