/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator's command: words to requests, answers to tables, and the program itself (named by
 * the first argument) against a server in this process: pages, exit codes, JSON.
 */
#include "control/ctl/request.h"
#include "control/ctl/table.h"
#include "lib/admin.h"

#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *program; /* path of roamctl */

static void write_file(const char *path, mode_t mode, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
		fchmod(fd, mode) != 0)
		abort();
	close(fd);
}

/* Splits text at blanks. */
static json_t *request_of(const char *text, char *why, size_t why_size)
{
	static char copy[512];
	char *words[16];
	size_t n = 0;

	snprintf(copy, sizeof copy, "%s", text);
	for (char *word = strtok(copy, " "); word != NULL && n < 16; word = strtok(NULL, " "))
		words[n++] = word;
	return request_from_words(words, n, why, why_size);
}

static void test_requests(void)
{
	static const struct {
		const char *words, *want; /* JSON, or the start of the complaint */
	} rows[] = {
		{"show sa", "{\"verb\":\"show-sa\"}"},
		{"show handovers nod=7", "{\"verb\":\"show-handovers\",\"nod\":\"7\"}"},
		{"show bindings", "{\"verb\":\"show-bindings\"}"},
		{"show status", "{\"verb\":\"show-status\"}"},
		{"reload", "{\"verb\":\"reload\"}"},
		{"sa add n1 in spi=0x1001 algorithm=aes128gcm16 key_file=good.key esn=true "
		 "replay_window=1024 source=any",
			"{\"verb\":\"sa-add\",\"node\":\"n1\",\"direction\":\"in\",\"spi\":4097,"
			"\"algorithm\":\"aes128gcm16\",\"key\":\"00ff10\",\"esn\":true,"
			"\"replay_window\":1024,\"source\":\"any\"}"},
		{"sa del n1 out spi=4294967295",
			"{\"verb\":\"sa-del\",\"node\":\"n1\",\"direction\":\"out\","
			"\"spi\":4294967295}"},
		{"sa update n1 out spi=1 life_time=60 rekey_time=50 life_bytes=0x100 rekey_bytes=2 "
		 "life_packets=3 rekey_packets=1",
			"{\"verb\":\"sa-update\",\"node\":\"n1\",\"direction\":\"out\",\"spi\":1,"
			"\"life_time\":60,\"rekey_time\":50,\"life_bytes\":256,\"rekey_bytes\":2,"
			"\"life_packets\":3,\"rekey_packets\":1}"},
		{"sa switch n1 out spi=7",
			"{\"verb\":\"sa-switch\",\"node\":\"n1\",\"direction\":\"out\",\"spi\":7}"},
		{"show events", "{\"verb\":\"show-events\"}"},
		{"show audit from=12", "{\"verb\":\"show-audit\",\"from\":12}"},
		{"show audit from=x", "from=x: give a whole number"},
		{"node add n1 home_address=10.1.0.10 home_agent=ha1 strict_inner_source=true "
		 "allow_nat=true",
			"{\"verb\":\"node-add\",\"node\":\"n1\",\"home_address\":\"10.1.0.10\","
			"\"home_agent\":\"ha1\",\"strict_inner_source\":true,"
			"\"allow_nat\":true}"},
		{"node del n1", "{\"verb\":\"node-del\",\"node\":\"n1\"}"},
		{"", "no command is given; see roamctl --help"},
		{"sho sa", "\"sho\" is no command; see roamctl --help"},
		{"show", "give: show sa|"},
		{"show keys", "give: show sa|"},
		{"sa", "give: sa add|"},
		{"sa add", "give: sa add|"},
		{"sa add n1", "give: sa add|"},
		{"sa add n1 up spi=1", "give: sa add|"},
		{"sa add spi=1 in", "give: sa add|"},
		{"node add", "give: node add|"},
		{"node add home_agent=x", "give: node add|"},
		{"reload now", "\"now\" is not understood here: give key=value"},
		{"sa del n1 in =5", "\"=5\" is not understood here"},
		{"sa del n1 in spi=", "spi=: give a whole number"},
		{"sa del n1 in spi=x", "spi=x: give a whole number"},
		{"sa del n1 in spi=1x", "spi=1x: give a whole number"},
		{"sa del n1 in spi=99999999999999999999", "spi=99999999999999999999: give"},
		{"sa del n1 in spi=1 spi=2", "spi is given twice"},
		{"sa del n1 in verb=x", "verb is given twice"},
		{"sa add n1 in esn=yes", "esn=yes: give true or false"},
		{"sa add n1 in key=00ff", "key= could be seen by others"},
		{"sa add n1 in key_file=absent.key", "key_file=absent.key: No such file"},
		{"sa add n1 in key_file=open.key", "key_file=open.key: holds a key and is open"},
		{"sa add n1 in key_file=bad.key", "key_file=bad.key: must hold pairs of hex"},
		{"sa add n1 in source=\xff", "source is not UTF-8 text"},
	};

	CU_ASSERT_EQUAL(chdir(unit_folder()), 0);
	write_file("good.key", 0600, "00FF10\n");
	write_file("open.key", 0644, "00ff10\n");
	write_file("bad.key", 0600, "00ff1x\n");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char why[256] = "";
		json_t *request = request_of(rows[i].words, why, sizeof why);
		char *text;

		CHECK_ROW(rows[i].words, (request != NULL) == (rows[i].want[0] == '{'));
		if (request == NULL) {
			CHECK_ROW(rows[i].words,
				strncmp(why, rows[i].want, strlen(rows[i].want)) == 0);
			continue;
		}
		text = json_dumps(request, JSON_COMPACT);
		CHECK_ROW(rows[i].words, strcmp(text, rows[i].want) == 0);
		free(text);
		json_decref(request);
	}
}

static void test_tables(void)
{
	static const struct {
		const char *name, *fields, *rows, *want;
	} cases[] = {
		{"nothing", "{}", "[]", ""},
		{"fields", "{\"state\":\"away\",\"sent\":3,\"ready\":true,\"coa\":null}", "[]",
			"state: away\nsent: 3\nready: yes\ncoa: -\n"},
		{"columns as named first", "{}",
			"[{\"name\":\"n1\",\"spi\":4097},{\"name\":\"longer\",\"esn\":false,"
			"\"spi\":5}]",
			"name    spi   esn\n"
			"n1      4097  -\n"
			"longer     5  no\n"},
		{"fields before rows", "{\"total\":1}", "[{\"a\":\"x\"}]", "total: 1\na\nx\n"},
		{"kinds", "{}", "[{\"r\":1.5,\"n\":-7,\"o\":{\"k\":[1,2]},\"z\":null,\"s\":\"\"}]",
			"r    n   o            z  s\n"
			"1.5  -7  {\"k\":[1,2]}  -  \n"},
		{"control characters", "{}", "[{\"a\":\"x\\u001b[2J\\ny\",\"b\":1}]",
			"a        b\n"
			"x?[2J?y  1\n"},
		{"UTF-8 is as wide as it looks", "{}",
			"[{\"a\":\"\xc3\xbc\",\"b\":1},{\"a\":\"uu\",\"b\":2}]",
			"a   b\n"
			"\xc3\xbc   1\n"
			"uu  2\n"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		json_t *fields = json_loads(cases[i].fields, 0, NULL);
		json_t *rows = json_loads(cases[i].rows, 0, NULL);
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		CHECK_ROW(cases[i].name, table_print(out, fields, rows));
		fclose(out);
		CHECK_ROW(cases[i].name, strcmp(text, cases[i].want) == 0);
		free(text);
		json_decref(fields);
		json_decref(rows);
	}
}

/* --- the program --- */

#define N_ROWS 600

static json_t *on_nodes(void *arg, json_t *request, const char **error)
{
	json_int_t at = json_integer_value(json_object_get(request, "from"));
	json_int_t last = at + ADMIN_PAGE_ROWS;
	json_t *rows = json_array();
	json_t *reply = json_pack("{s:i, s:o}", "total", N_ROWS, "rows", rows);

	(void)arg;
	(void)error;
	for (; at < N_ROWS && at < last; at++)
		json_array_append_new(rows, json_pack("{s:I, s:s}", "node", at, "name", "x"));
	if (at < N_ROWS)
		json_object_set_new(reply, "next", json_integer(at));
	return reply;
}

static json_t *on_stuck(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	(void)error;
	return json_pack("{s:[], s:i}", "rows", "next", 7);
}

static json_t *on_no_rows(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	(void)error;
	return json_pack("{s:i}", "rows", 7);
}

static json_t *on_status(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	(void)error;
	return json_pack("{s:s}", "state", "home");
}

static json_t *on_reload(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	*error = "roamgate.conf:3: wrong; mend it";
	return NULL;
}

static const struct admin_verb verbs[] = {
	{"show-nodes", on_nodes},
	{"show-sa", on_stuck},
	{"show-ports", on_no_rows},
	{"show-status", on_status},
	{"reload", on_reload},
	{NULL, NULL},
};

static void *run_loop(void *arg)
{
	CU_ASSERT_EQUAL(loop_run(arg), 0);
	return NULL;
}

/* Runs roamctl -s ./ctl.sock ARGS; returns its exit code and all it wrote. */
static int run_program(const char *args, char *out, size_t room)
{
	char command[512];
	size_t n;
	FILE *pipe;
	int status;

	snprintf(command, sizeof command, "%.200s -s ./ctl.sock %s 2>&1", program, args);
	pipe = popen(command, "r");
	if (pipe == NULL)
		abort();
	n = fread(out, 1, room - 1, pipe);
	out[n] = '\0';
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_program(void)
{
	static char out[1 << 17];
	json_t *document;
	struct loop *loop = loop_new();
	struct admin *admin;
	pthread_t thread;
	size_t lines = 0;

	CU_ASSERT_EQUAL_FATAL(chdir(unit_folder()), 0);
	CU_ASSERT_EQUAL_FATAL(admin_open(loop, "ctl.sock", verbs, NULL, &admin), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, run_loop, loop), 0);

	/* All pages in one document, and in one table. */
	CU_ASSERT_EQUAL(run_program("show nodes --json", out, sizeof out), 0);
	document = json_loads(out, 0, NULL);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(document, "rows")), N_ROWS);
	for (size_t i = 0; i < N_ROWS; i++) {
		json_t *row = json_array_get(json_object_get(document, "rows"), i);

		CU_ASSERT_EQUAL(json_integer_value(json_object_get(row, "node")), (int)i);
	}
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(document, "total")), N_ROWS);
	CU_ASSERT_EQUAL(json_object_size(document), 2); /* neither "ok" nor "next" */
	json_decref(document);
	CU_ASSERT_EQUAL(run_program("--json show status", out, sizeof out), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "\"rows\": []"));
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "\"state\": \"home\""));
	CU_ASSERT_EQUAL(run_program("show nodes", out, sizeof out), 0);
	for (const char *at = out; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	CU_ASSERT_EQUAL(lines, 1 + 1 + N_ROWS); /* total, head, rows */

	/* Refused, misused, and answered wrongly: one line each. */
	CU_ASSERT_EQUAL(run_program("reload", out, sizeof out), 1);
	CU_ASSERT_STRING_EQUAL(out, "roamctl: roamgate.conf:3: wrong; mend it\n");
	CU_ASSERT_EQUAL(run_program("show drops", out, sizeof out), 1);
	CU_ASSERT_STRING_EQUAL(out, "roamctl: this program does not know \"show-drops\"\n");
	CU_ASSERT_EQUAL(run_program("show", out, sizeof out), 1);
	CU_ASSERT_EQUAL(strncmp(out, "roamctl: give: show ", 20), 0);
	CU_ASSERT_EQUAL(run_program("--unknown show sa", out, sizeof out), 1);
	CU_ASSERT_EQUAL(run_program("show sa", out, sizeof out), 2);
	CU_ASSERT_STRING_EQUAL(out, "roamctl: the answer's pages do not go on\n");
	CU_ASSERT_EQUAL(run_program("show ports", out, sizeof out), 2);
	CU_ASSERT_EQUAL(run_program("show nodes >/dev/full", out, sizeof out), 2);
	CU_ASSERT_EQUAL(run_program("--help", out, sizeof out), 0);
	CU_ASSERT_EQUAL(strncmp(out, "usage: roamctl", 14), 0);

	loop_stop(loop);
	pthread_join(thread, NULL);
	admin_close(admin);
	loop_free(loop);
	CU_ASSERT_EQUAL(run_program("show nodes", out, sizeof out), 2);
	CU_ASSERT_STRING_EQUAL(out, "roamctl: ./ctl.sock: no program listens there; start it, or "
				    "name its socket with -s\n");
}

int main(int argc, char **argv)
{
	static const struct unit_case cases[] = {
		{"requests", test_requests},
		{"tables", test_tables},
		{"the program", test_program},
		{NULL, NULL},
	};
	int ret;

	if (argc != 2) {
		fprintf(stderr, "usage: ctl_test ROAMCTL\n");
		return EXIT_FAILURE;
	}
	program = realpath(argv[1], NULL);
	if (program == NULL) {
		perror(argv[1]);
		return EXIT_FAILURE;
	}
	admin_wipe_json();
	ret = unit_run("ctl", cases);
	unit_remove_folder();
	return ret;
}
