/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The framing of the control socket (lib/admin.c): some clients of a real socket say anything, in
 * pieces of any size, read their replies or do not, hang up or are silent; requests are served,
 * held and released. What must hold: a client gets as many replies as it said lines, each an object
 * on a line, in order; one that goes too far is told so and dropped; nobody holds up another.
 */
#include "lib/admin.h"

#include "lib/clock.h"
#include "lib/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 3
#define LINES_MAX 4096

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct client {
	int fd; /* -1: none */
	unsigned asked, answered;
	bool in_line, too_long, finished; /* finished: it says no more */
	size_t line_len;
};

static struct loop *loop;
static struct admin *admin;
static struct client clients[CLIENTS];
static struct sockaddr_un addr = {.sun_family = AF_UNIX};
static uint64_t held;

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static json_t *echo(void *arg, json_t *request, const char **error)
{
	json_t *reply = json_object();

	(void)arg;
	(void)error;
	json_object_set(reply, "said", request);
	return reply;
}

static json_t *hold(void *arg, json_t *request, const char **error)
{
	admin_hold(admin, ++held);
	return echo(arg, request, error);
}

static json_t *refuse(void *arg, json_t *request, const char **error)
{
	(void)arg;
	(void)request;
	*error = admin_error("no");
	return NULL;
}

static const struct admin_verb verbs[] = {{"e", echo}, {"h", hold}, {"r", refuse}, {NULL, NULL}};

static void on_stop(void *arg)
{
	loop_stop(arg);
}

/* All that is ready is served. */
static void turn(void)
{
	static struct loop_timer *timer;

	if (timer == NULL)
		timer = loop_timer_new(loop, on_stop, loop);
	loop_timer_arm(timer, 0);
	demand(loop_run(loop) == 0);
}

static void stop(void)
{
	admin_close(admin);
	unlink(addr.sun_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	loop = loop_new();
	demand(loop != NULL);
	snprintf(addr.sun_path, sizeof addr.sun_path, "/tmp/roamgate-fuzz-%d.sock", (int)getpid());
	demand(admin_open(loop, addr.sun_path, verbs, NULL, &admin) == 0);
	demand(atexit(stop) == 0);
	return 0;
}

static void leave(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	*client = (struct client){.fd = -1};
}

static void arrive(struct client *client)
{
	leave(client);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	demand(client->fd >= 0);
	if (connect(client->fd, (const struct sockaddr *)&addr, sizeof addr) != 0)
		leave(client);
}

static void count_lines(struct client *client, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len && !client->too_long; i++) {
		if (bytes[i] == '\n') {
			client->asked++;
			client->line_len = 0;
		} else if (++client->line_len > ADMIN_REQUEST_MAX) {
			client->too_long = true;
			client->asked++;
		}
	}
}

static void say(struct client *client, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	if (client->fd < 0 || client->finished)
		return;
	n = send(client->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		count_lines(client, bytes, (size_t)n);
	else if (n < 0)
		demand(errno == EAGAIN || client->too_long);
}

static void say_long(struct client *client)
{
	static uint8_t blanks[8192];

	memset(blanks, ' ', sizeof blanks);
	say(client, blanks, sizeof blanks);
}

/* Returns false at the end. */
static bool listen_to(struct client *client)
{
	static char text[65536];
	ssize_t n = recv(client->fd, text, sizeof text, MSG_DONTWAIT);

	if (n <= 0)
		return n != 0 && errno == EAGAIN;
	for (ssize_t i = 0; i < n; i++) {
		if (!client->in_line)
			demand(text[i] == '{');
		client->in_line = text[i] != '\n';
		client->answered += text[i] == '\n';
	}
	demand(client->answered <= client->asked);
	return true;
}

static void step(struct wire *script)
{
	unsigned how = wire_u8(script);
	struct client *client = &clients[how % CLIENTS];
	size_t len;

	switch (how / CLIENTS % 8) {
	case 0:
		arrive(client);
		break;
	case 1:
	case 2:
		len = wire_u8(script);
		len = len > wire_left(script) ? wire_left(script) : len;
		say(client, wire_take(script, len), len);
		break;
	case 3:
		turn();
		break;
	case 4:
		if (client->fd >= 0 && !listen_to(client))
			leave(client);
		break;
	case 5:
		(void)admin_release(admin, held);
		break;
	case 6:
		if (how >= 128)
			leave(client);
		else if (client->fd >= 0 && shutdown(client->fd, SHUT_WR) == 0)
			client->finished = true;
		break;
	case 7:
		say_long(client);
		break;
	}
}

/* Everybody who is there gets all that is due. */
static void finish(void)
{
	for (unsigned i = 0; i < LINES_MAX; i++) {
		bool waiting = false;

		(void)admin_release(admin, held);
		turn();
		for (unsigned k = 0; k < CLIENTS; k++) {
			struct client *client = &clients[k];

			if (client->fd < 0 || client->answered == client->asked)
				continue;
			waiting = true;
			/* The end comes only behind the last answer, or for one who said too much.
			 */
			if (!listen_to(client))
				demand(client->too_long || client->answered == client->asked);
		}
		if (!waiting)
			return;
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire script = wire_over(data, size);

	if (size > LINES_MAX / 2)
		return -1;
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i].fd = -1;
		arrive(&clients[i]);
	}
	turn();
	while (wire_left(&script) > 0)
		step(&script);
	finish();
	for (unsigned i = 0; i < CLIENTS; i++)
		leave(&clients[i]);
	(void)admin_release(admin, held);
	for (unsigned i = 0; i < 4; i++)
		turn();
	return 0;
}
