/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Control socket: a server runs in a thread of its own, clients speak to it as raw bytes and by
 * admin_call(). Paging, sizes, many and slow clients, and the file's mode.
 */
#include "lib/admin.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define N_ROWS 1000 /* of the paged table */
#define WAIT_MS 5000

static struct loop *loop;
static struct admin *admin;
static pthread_t thread;
static char socket_path[sizeof((struct sockaddr_un *)0)->sun_path];

static json_t *on_echo(void *arg, json_t *request, const char **error)
{
	(void)error;
	CU_ASSERT_PTR_EQUAL(arg, &loop);
	return json_pack("{s:O}", "said", request);
}

static json_t *on_refuse(void *arg, json_t *request, const char **error)
{
	(void)arg;
	*error = admin_error("node \"%s\" is unknown; add it first",
		json_string_value(json_object_get(request, "node")));
	return NULL;
}

static json_t *on_silent(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	(void)error;
	return NULL; /* as a handler that ran out of memory */
}

static json_t *on_rows(void *arg, json_t *request, const char **error)
{
	json_t *rows, *reply;
	json_int_t i, first;
	uint64_t from;

	(void)arg;
	if (!admin_page(request, &from, error))
		return NULL;
	rows = json_array();
	reply = json_pack("{s:o, s:i}", "rows", rows, "total", N_ROWS);
	first = (json_int_t)from;
	for (i = first; i < N_ROWS && i < first + ADMIN_PAGE_ROWS; i++)
		json_array_append_new(rows, json_pack("{s:I}", "number", i));
	if (i < N_ROWS)
		json_object_set_new(reply, "next", json_integer(i));
	return reply;
}

static json_t *on_large(void *arg, json_t *request, const char **error)
{
	static char text[3 << 20];

	(void)arg;
	(void)request;
	(void)error;
	memset(text, 'x', sizeof text - 1);
	return json_pack("{s:s}", "text", text);
}

static uint64_t held;             /* number of the newest held reply */
static _Atomic(uint64_t) durable; /* what admin_release() is told */
static _Atomic(unsigned) waiting; /* what it says */

static json_t *on_hold(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	(void)error;
	admin_hold(admin, ++held);
	return json_pack("{s:I}", "number", (json_int_t)held);
}

static uint64_t release_held(void *arg)
{
	(void)arg;
	atomic_store(&waiting, admin_release(admin, atomic_load(&durable)));
	return 1000000; /* ns */
}

static const struct admin_verb verbs[] = {
	{"hold", on_hold},
	{"echo", on_echo},
	{"refuse", on_refuse},
	{"silent", on_silent},
	{"rows", on_rows},
	{"large", on_large},
	{NULL, NULL},
};

static void *run(void *arg)
{
	CU_ASSERT_EQUAL(loop_run(arg), 0);
	return NULL;
}

static void start(void)
{
	snprintf(socket_path, sizeof socket_path, "%.80s/socket", unit_folder());
	loop = loop_new();
	if (loop == NULL || admin_open(loop, socket_path, verbs, &loop, &admin) != 0)
		abort();
	held = 0;
	atomic_store(&durable, 0);
	loop_poll_set(loop, release_held, NULL);
	pthread_create(&thread, NULL, run, loop);
}

static void stop(void)
{
	loop_stop(loop);
	pthread_join(thread, NULL);
	admin_close(admin);
	loop_free(loop);
}

static int connect_raw(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(addr.sun_path, socket_path, sizeof addr.sun_path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
		abort();
	return fd;
}

/* Reads one line, without its end; "" at the end of the stream or after WAIT_MS. */
static const char *read_line(int fd)
{
	static char line[4096];
	size_t len = 0;
	struct pollfd at = {.fd = fd, .events = POLLIN};

	while (len < sizeof line - 1 && poll(&at, 1, WAIT_MS) == 1 &&
		read(fd, line + len, 1) == 1 && line[len] != '\n')
		len++;
	line[len] = '\0';
	return line;
}

static void say(int fd, const char *text)
{
	CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static json_t *call(const char *json, char *why, size_t why_size)
{
	json_t *request = json_loads(json, 0, NULL);
	json_t *reply = admin_call(socket_path, request, WAIT_MS, why, why_size);

	json_decref(request);
	return reply;
}

static void test_requests(void)
{
	static const struct {
		const char *request, *reply;
	} rows[] = {
		{"{\"verb\":\"echo\",\"a\":1}",
			"{\"said\":{\"verb\":\"echo\",\"a\":1},\"ok\":true}"},
		{"  {\"verb\" : \"echo\"}  \r", "{\"said\":{\"verb\":\"echo\"},\"ok\":true}"},
		{"{\"verb\":\"refuse\",\"node\":\"n\\\"1\"}",
			"{\"ok\":false,\"error\":\"node \\\"n\\\"1\\\" is unknown; add it "
			"first\"}"},
		{"{\"verb\":\"silent\"}", "{\"ok\":false,\"error\":\"out of memory\"}"},
		{"{\"verb\":\"rows\",\"from\":-1}", "{\"ok\":false,\"error\":\"from: a number is "
						    "needed, 0 or \\\"next\\\" of the "
						    "page before\"}"},
		{"{\"verb\":\"rows\",\"from\":\"7\"}", "{\"ok\":false,\"error\":\"from: a number "
						       "is needed, 0 or \\\"next\\\" of the "
						       "page before\"}"},
		{"{\"verb\":\"rows\",\"form\":7}",
			"{\"ok\":false,\"error\":\"form: this verb has no such argument\"}"},
		{"{\"verb\":\"absent\"}",
			"{\"ok\":false,\"error\":\"this program does not know \\\"absent\\\"\"}"},
		{"{\"verb\":5}",
			"{\"ok\":false,\"error\":\"the request must be an object with a string "
			"\\\"verb\\\"\"}"},
		{"{}", "{\"ok\":false,\"error\":\"the request must be an object with a string "
		       "\\\"verb\\\"\"}"},
		{"[\"echo\"]",
			"{\"ok\":false,\"error\":\"the request must be an object with a string "
			"\\\"verb\\\"\"}"},
	};
	static const char *const not_json[] = {"", "{", "echo", "{\"verb\":\"echo\"} x",
		"{\"verb\":\"echo\",\"verb\":\"rows\"}", "{\"verb\":\"\xff\"}"};
	int fd;

	start();
	fd = connect_raw();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		say(fd, rows[i].request);
		say(fd, "\n");
		CHECK_ROW(rows[i].request, strcmp(read_line(fd), rows[i].reply) == 0);
	}
	for (size_t i = 0; i < sizeof not_json / sizeof not_json[0]; i++) {
		say(fd, not_json[i]);
		say(fd, "\n");
		CHECK_ROW(not_json[i],
			strncmp(read_line(fd),
				"{\"ok\":false,\"error\":\"the request is not JSON: ", 46) == 0);
	}
	close(fd);
	stop();
}

static void test_pieces_and_pipeline(void)
{
	static const char request[] = "{\"verb\":\"echo\"}\n";
	static const char reply[] = "{\"said\":{\"verb\":\"echo\"},\"ok\":true}";
	char many[100 * sizeof request] = "";
	int fd;

	start();
	fd = connect_raw();
	/* Byte by byte. */
	for (size_t i = 0; i < sizeof request - 1; i++) {
		CU_ASSERT_EQUAL(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
		usleep(200);
	}
	CU_ASSERT_STRING_EQUAL(read_line(fd), reply);
	/* A hundred at once, and half of another one, that is finished later. */
	for (int i = 0; i < 100; i++)
		strcat(many, request);
	say(fd, many);
	say(fd, "{\"verb\":");
	for (int i = 0; i < 100; i++)
		CU_ASSERT_STRING_EQUAL(read_line(fd), reply);
	say(fd, "\"echo\"}\n");
	CU_ASSERT_STRING_EQUAL(read_line(fd), reply);
	close(fd);
	stop();
}

static bool is_silent(int fd)
{
	struct pollfd at = {.fd = fd, .events = POLLIN};

	return poll(&at, 1, 50) == 0;
}

/* Replies that wait for the disk: in order, together, and nobody else waits with them. */
static void test_held(void)
{
	static const char hold[] = "{\"verb\":\"hold\"}\n", echo[] = "{\"verb\":\"echo\"}\n";
	int one, other, gone;

	start();
	one = connect_raw();
	other = connect_raw();
	gone = connect_raw();
	say(one, hold);
	CU_ASSERT(is_silent(one));
	say(one, hold); /* is served meanwhile */
	say(one, echo);
	say(one, hold);
	CU_ASSERT(is_silent(one));
	say(other, echo);
	CU_ASSERT(strstr(read_line(other), "echo") != NULL);
	atomic_store(&durable, 2);
	CU_ASSERT(is_silent(one)); /* they leave with the last */
	atomic_store(&durable, 3);
	CU_ASSERT_STRING_EQUAL(read_line(one), "{\"number\":1,\"ok\":true}");
	CU_ASSERT_STRING_EQUAL(read_line(one), "{\"number\":2,\"ok\":true}");
	CU_ASSERT(strstr(read_line(one), "echo") != NULL);
	CU_ASSERT_STRING_EQUAL(read_line(one), "{\"number\":3,\"ok\":true}");
	/* One who has said all still hears the answer; one who is gone holds nothing up. */
	say(other, hold);
	CU_ASSERT(is_silent(other));
	CU_ASSERT_EQUAL(shutdown(other, SHUT_WR), 0);
	say(gone, hold);
	CU_ASSERT(is_silent(gone));
	CU_ASSERT_EQUAL(atomic_load(&waiting), 2);
	close(gone);
	for (int i = 0; i < 500 && atomic_load(&waiting) != 1; i++)
		usleep(10000);
	CU_ASSERT_EQUAL(atomic_load(&waiting), 1);
	atomic_store(&durable, 4);
	CU_ASSERT_STRING_EQUAL(read_line(other), "{\"number\":4,\"ok\":true}");
	CU_ASSERT_STRING_EQUAL(read_line(other), "");
	close(one);
	close(other);
	stop();
}

/* More than may wait: the rest is served once these have left. */
static void test_many_held(void)
{
	static const char hold[] = "{\"verb\":\"hold\"}\n";
	char expected[64];
	int fd;

	start();
	fd = connect_raw();
	for (int i = 0; i < ADMIN_HELD_MAX + 10; i++)
		say(fd, hold);
	CU_ASSERT(is_silent(fd));
	atomic_store(&durable, ADMIN_HELD_MAX);
	for (int i = 1; i <= ADMIN_HELD_MAX; i++) {
		snprintf(expected, sizeof expected, "{\"number\":%d,\"ok\":true}", i);
		CU_ASSERT_STRING_EQUAL(read_line(fd), expected);
	}
	CU_ASSERT(is_silent(fd));
	atomic_store(&durable, UINT64_MAX);
	for (int i = 1; i <= 10; i++)
		CU_ASSERT(strstr(read_line(fd), "number") != NULL);
	close(fd);
	stop();
}

/* text of an echo request of exactly len bytes, without the line feed. */
static char *sized_request(size_t len)
{
	static const char head[] = "{\"verb\":\"echo\",\"pad\":\"", tail[] = "\"}";
	char *text = malloc(len + 2);

	if (text == NULL)
		abort();
	memset(text, 'p', len);
	memcpy(text, head, sizeof head - 1);
	memcpy(text + len - (sizeof tail - 1), tail, sizeof tail - 1);
	text[len] = '\n';
	text[len + 1] = '\0';
	return text;
}

static void test_request_size(void)
{
	static const struct {
		size_t len;
		bool taken;
	} rows[] = {{ADMIN_REQUEST_MAX - 1, true}, {ADMIN_REQUEST_MAX, true},
		{ADMIN_REQUEST_MAX + 1, false}, {3 * ADMIN_REQUEST_MAX, false}};

	start();
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char *text = sized_request(rows[i].len);
		int fd = connect_raw();
		size_t at = 0;
		char name[24];
		const char *line;

		snprintf(name, sizeof name, "%zu bytes", rows[i].len);
		while (at < rows[i].len + 1) {
			ssize_t n = send(fd, text + at, rows[i].len + 1 - at, MSG_NOSIGNAL);

			if (n <= 0)
				break; /* refused before all was sent */
			at += (size_t)n;
		}
		line = read_line(fd);
		if (rows[i].taken)
			CHECK_ROW(name, strncmp(line, "{\"said\":", 8) == 0);
		else
			CHECK_ROW(name, strstr(line, "larger than 65536 bytes") != NULL);
		if (!rows[i].taken)
			CHECK_ROW(name, read_line(fd)[0] == '\0'); /* and the server hung up */
		close(fd);
		free(text);
	}
	stop();
}

static void test_paging(void)
{
	json_t *request = json_pack("{s:s}", "verb", "rows");
	json_int_t expected = 0;
	int pages = 0;
	char why[256];

	start();
	for (;;) {
		json_t *reply = admin_call(socket_path, request, WAIT_MS, why, sizeof why);
		json_t *row, *next;
		size_t i;

		CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
		pages++;
		json_array_foreach(json_object_get(reply, "rows"), i, row)
		{
			json_int_t number = json_integer_value(json_object_get(row, "number"));

			CU_ASSERT_EQUAL(number, expected);
			expected++;
		}
		next = json_object_get(reply, "next");
		if (next != NULL)
			json_object_set(request, "from", next);
		json_decref(reply);
		if (next == NULL)
			break;
	}
	CU_ASSERT_EQUAL(expected, N_ROWS);
	CU_ASSERT_EQUAL(pages, 4);
	json_decref(request);
	stop();
}

/* A reply larger than any socket buffer, taken slowly, while another client is served. */
static void test_slow_client(void)
{
	static char chunk[65536];
	size_t total = 0;
	int slow, quick;
	ssize_t n;

	start();
	slow = connect_raw();
	say(slow, "{\"verb\":\"large\"}\n");
	quick = connect_raw();
	for (int i = 0; i < 20; i++) {
		say(quick, "{\"verb\":\"echo\"}\n");
		CU_ASSERT_STRING_EQUAL(
			read_line(quick), "{\"said\":{\"verb\":\"echo\"},\"ok\":true}");
	}
	do {
		n = read(slow, chunk, sizeof chunk);
		total += n > 0 ? (size_t)n : 0;
	} while (n > 0 && chunk[n - 1] != '\n');
	CU_ASSERT_EQUAL(total, (3u << 20) - 1 + strlen("{\"text\":\"\",\"ok\":true}\n"));
	say(slow, "{\"verb\":\"echo\"}\n");
	CU_ASSERT_STRING_EQUAL(read_line(slow), "{\"said\":{\"verb\":\"echo\"},\"ok\":true}");
	close(slow);
	close(quick);
	/* A client that goes away without taking its reply harms nobody. */
	slow = connect_raw();
	say(slow, "{\"verb\":\"large\"}\n");
	usleep(1000);
	close(slow);
	quick = connect_raw();
	say(quick, "{\"verb\":\"echo\"}\n");
	CU_ASSERT_STRING_EQUAL(read_line(quick), "{\"said\":{\"verb\":\"echo\"},\"ok\":true}");
	close(quick);
	stop();
}

static void test_many_clients(void)
{
	int fds[ADMIN_CLIENTS_MAX], extra;

	start();
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		fds[i] = connect_raw();
		say(fds[i], "{\"verb\":\"echo\"}\n");
		CU_ASSERT_STRING_EQUAL(
			read_line(fds[i]), "{\"said\":{\"verb\":\"echo\"},\"ok\":true}");
	}
	extra = connect_raw();
	CU_ASSERT_STRING_EQUAL(
		read_line(extra), "{\"ok\":false,\"error\":\"too many clients; try again\"}");
	CU_ASSERT_STRING_EQUAL(read_line(extra), "");
	close(extra);
	/* The places of those that leave are free again, many times over. */
	for (int round = 0; round < 50; round++) {
		int i = round % ADMIN_CLIENTS_MAX;
		const char *line = "";

		close(fds[i]);
		for (int try = 0; try < 100 && strncmp(line, "{\"said\"", 7) != 0; try++) {
			if (try > 0) {
				close(fds[i]);
				usleep(1000); /* the server has not seen the end yet */
			}
			fds[i] = connect_raw();
			send(fds[i], "{\"verb\":\"echo\"}\n", 16, MSG_NOSIGNAL);
			line = read_line(fds[i]);
		}
		CU_ASSERT_STRING_EQUAL(line, "{\"said\":{\"verb\":\"echo\"},\"ok\":true}");
	}
	for (int i = 0; i < ADMIN_CLIENTS_MAX; i++)
		close(fds[i]);
	stop();
}

static void test_socket_file(void)
{
	struct admin *second = NULL;
	struct stat st;
	int fd, status;
	mode_t old;
	pid_t pid;

	old = umask(0);
	start();
	umask(old);
	CU_ASSERT_EQUAL(stat(socket_path, &st), 0);
	CU_ASSERT_TRUE(S_ISSOCK(st.st_mode));
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	/* A running program has it: it is left alone. */
	CU_ASSERT_EQUAL(admin_open(loop, socket_path, verbs, NULL, &second), -EADDRINUSE);
	CU_ASSERT_PTR_NULL(second);
	stop();
	CU_ASSERT_NOT_EQUAL(stat(socket_path, &st), 0);
	/* Left behind by a program that was killed. */
	pid = fork();
	if (pid == 0) {
		loop = loop_new();
		_exit(admin_open(loop, socket_path, verbs, NULL, &admin) == 0 ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CU_ASSERT_EQUAL(stat(socket_path, &st), 0);
	start();
	stop();
	/* A file that is no socket is never removed. */
	fd = open(socket_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	loop = loop_new();
	CU_ASSERT_EQUAL(admin_open(loop, socket_path, verbs, NULL, &admin), -EEXIST);
	CU_ASSERT_EQUAL(stat(socket_path, &st), 0);
	loop_free(loop);
	remove(socket_path);
}

static void test_bad_paths(void)
{
	struct admin *none = NULL;
	char path[200];

	loop = loop_new();
	memset(path, 'x', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	CU_ASSERT_EQUAL(admin_open(loop, path, verbs, NULL, &none), -ENAMETOOLONG);
	CU_ASSERT_EQUAL(admin_open(loop, "", verbs, NULL, &none), -ENAMETOOLONG);
	CU_ASSERT_EQUAL(admin_open(loop, "/no/such/folder/x", verbs, NULL, &none), -ENOENT);
	CU_ASSERT_PTR_NULL(none);
	loop_free(loop);
}

static void test_call(void)
{
	char why[256] = "";
	json_t *reply;

	start();
	reply = call("{\"verb\":\"large\"}", why, sizeof why);
	CU_ASSERT_EQUAL(json_string_length(json_object_get(reply, "text")), (3u << 20) - 1);
	json_decref(reply);
	reply = call("{\"verb\":\"refuse\",\"node\":\"x\"}", why, sizeof why);
	CU_ASSERT_TRUE(json_is_false(json_object_get(reply, "ok")));
	json_decref(reply);
	stop();
	CU_ASSERT_PTR_NULL(call("{\"verb\":\"echo\"}", why, sizeof why));
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "no program listens there"));
}

/* A program that does not answer, and ones that answer with an end or with nonsense. */
static void test_call_bad_server(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	json_t *request = json_pack("{s:s}", "verb", "echo");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char why[256] = "";

	snprintf(socket_path, sizeof socket_path, "%.80s/bad", unit_folder());
	memcpy(addr.sun_path, socket_path, sizeof addr.sun_path);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	CU_ASSERT_EQUAL(listen(fd, 5), 0);
	CU_ASSERT_PTR_NULL(admin_call(socket_path, request, 50, why, sizeof why));
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "no answer in time"));
	close(accept(fd, NULL, NULL));
	close(fd);
	CU_ASSERT_PTR_NULL(admin_call(socket_path, request, 50, why, sizeof why));
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "no program listens there"));
	remove(socket_path);
	json_decref(request);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"requests", test_requests},
		{"pieces and pipeline", test_pieces_and_pipeline},
		{"held replies", test_held},
		{"many held replies", test_many_held},
		{"size of a request", test_request_size},
		{"paging", test_paging},
		{"slow client", test_slow_client},
		{"many clients", test_many_clients},
		{"socket file", test_socket_file},
		{"bad paths", test_bad_paths},
		{"client", test_call},
		{"client and a bad server", test_call_bad_server},
		{NULL, NULL},
	};
	int ret;

	admin_wipe_json();
	ret = unit_run("admin", cases);
	unit_remove_folder();
	return ret;
}
