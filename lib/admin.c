/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each client has one input buffer and at most one text on its way out: a reply, or
 * several if the first of them was held. While it is not fully sent, nothing more is read from that
 * client, so a client that does not read holds up itself alone. One request is served per call of
 * the loop; if a further line waits in the buffer, the client asks for EPOLLOUT, which is true at
 * once, and is called in the next round.
 *
 * A client that is silent, or does not take its reply, for CLIENT_IDLE_NS is dropped: there are few
 * places. Requests may hold keys: the input is wiped when it was served, and jansson is given a
 * free() that wipes.
 */
#include "lib/admin.h"

#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENT_IDLE_NS (60 * NS_PER_S)
#define LISTEN_BACKLOG 16
#define MODULE "admin"

struct client {
	struct admin *admin;
	int fd;       /* -1: this place is free */
	bool closing; /* after the reply */
	struct loop_timer *idle;
	char *in; /* ADMIN_REQUEST_MAX bytes and the line feed, while connected */
	size_t in_len;
	char *out; /* from json_dumps(); NULL: no reply is on its way */
	size_t out_len, out_sent;
	uint64_t held_for; /* out waits for admin_release() of that number; 0: it may leave */
	unsigned n_held;   /* replies in it */
};

struct admin {
	struct loop *loop;
	const struct admin_verb *verbs;
	void *arg;
	int fd;
	struct sockaddr_un addr;
	struct stat socket_file; /* to remove our own file only */
	uint64_t hold;           /* of the request that is being served */
	struct client clients[ADMIN_CLIENTS_MAX];
};

const char *admin_error(const char *format, ...)
{
	static char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return text;
}

bool admin_takes(json_t *request, const char *const known[], const char **error)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		bool found = strcmp(key, "verb") == 0;

		for (size_t i = 0; !found && known != NULL && known[i] != NULL; i++)
			found = strcmp(key, known[i]) == 0;
		if (!found) {
			*error = admin_error("%.64s: this verb has no such argument", key);
			return false;
		}
	}
	return true;
}

bool admin_page(json_t *request, uint64_t *from, const char **error)
{
	const json_t *value = json_object_get(request, "from");

	if (!admin_takes(request, (const char *const[]){"from", NULL}, error))
		return false;
	if (value != NULL && (!json_is_integer(value) || json_integer_value(value) < 0)) {
		*error = "from: a number is needed, 0 or \"next\" of the page before";
		return false;
	}
	*from = (uint64_t)json_integer_value(value);
	return true;
}

static int set_address(struct sockaddr_un *addr, const char *path)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof addr->sun_path)
		return -ENAMETOOLONG;
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, path, len);
	return 0;
}

/* --- requests --- */

static json_t *refusal(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why != NULL ? why : "out of memory");
}

static json_t *serve(struct admin *admin, json_t *request)
{
	const char *verb = json_string_value(json_object_get(request, "verb"));
	const char *error = NULL;
	json_t *reply;

	if (verb == NULL)
		return refusal("the request must be an object with a string \"verb\"");
	for (const struct admin_verb *at = admin->verbs; at->name != NULL; at++) {
		if (strcmp(at->name, verb) != 0)
			continue;
		reply = at->fn(admin->arg, request, &error);
		if (reply == NULL)
			return refusal(error);
		json_object_set_new(reply, "ok", json_true());
		return reply;
	}
	return refusal(admin_error("this program does not know \"%.64s\"", verb));
}

static json_t *serve_line(struct admin *admin, const char *line, size_t len)
{
	json_error_t wrong;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &wrong);
	json_t *reply;

	if (request == NULL)
		return refusal(admin_error("the request is not JSON: %s", wrong.text));
	reply = serve(admin, request);
	json_decref(request);
	return reply;
}

/* --- clients --- */

static void client_drop(struct client *client)
{
	if (client->fd < 0)
		return;
	loop_fd_del(client->admin->loop, client->fd);
	loop_timer_free(client->idle);
	close(client->fd);
	if (client->in != NULL)
		secret_wipe(client->in, client->in_len);
	free(client->in);
	free(client->out);
	*client = (struct client){.admin = client->admin, .fd = -1};
}

static void on_idle(void *arg)
{
	client_drop(arg);
}

/* An end is clearer than silence. */
static void end_without_memory(struct client *client)
{
	free(client->out);
	client->out = NULL;
	client->out_len = 0;
	client->held_for = 0;
	client->closing = true;
}

/* Appends to what is held, if there is something. */
static void set_reply(struct client *client, json_t *reply)
{
	char *text = reply != NULL ? json_dumps(reply, JSON_COMPACT) : NULL;
	const size_t len = text == NULL ? 0 : strlen(text) + 1;
	char *joined = NULL;

	json_decref(reply);
	if (text != NULL)
		joined = realloc(client->out, client->out_len + len);
	if (joined == NULL) {
		free(text);
		end_without_memory(client);
		return;
	}
	memcpy(joined + client->out_len, text, len);
	free(text);
	client->out = joined;
	client->out_len += len;
	client->out[client->out_len - 1] = '\n'; /* in place of the final 0 */
	if (client->admin->hold != 0)
		client->held_for = client->admin->hold; /* numbers rise */
	client->n_held++;
}

/* False: the client is gone. */
static bool flush(struct client *client)
{
	while (client->out_sent < client->out_len) {
		ssize_t n = send(client->fd, client->out + client->out_sent,
			client->out_len - client->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0)
			return false;
		client->out_sent += (size_t)n;
		loop_timer_arm_in(client->idle, CLIENT_IDLE_NS);
	}
	free(client->out); /* a reply holds no key */
	client->out = NULL;
	client->out_len = client->out_sent = 0;
	client->n_held = 0;
	return !client->closing;
}

/* False: the client is gone. */
static bool fill(struct client *client)
{
	ssize_t n = recv(client->fd, client->in + client->in_len,
		ADMIN_REQUEST_MAX + 1 - client->in_len, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	client->in_len += (size_t)n;
	loop_timer_arm_in(client->idle, CLIENT_IDLE_NS);
	return true;
}

/* Serves the first whole line of the buffer, if there is one. */
static void serve_first(struct client *client)
{
	char *end = memchr(client->in, '\n', client->in_len);
	size_t used, rest;

	if (end == NULL) {
		if (client->in_len > ADMIN_REQUEST_MAX) {
			client->closing = true;
			set_reply(client, refusal("the request is larger than 65536 bytes"));
		}
		return;
	}
	client->admin->hold = 0;
	set_reply(client, serve_line(client->admin, client->in, (size_t)(end - client->in)));
	client->admin->hold = 0;
	used = (size_t)(end - client->in) + 1;
	rest = client->in_len - used;
	memmove(client->in, client->in + used, rest);
	secret_wipe(client->in + rest, used);
	client->in_len = rest;
}

/* May it be given a further request? */
static bool takes_requests(const struct client *client)
{
	return client->out == NULL ||
	       (client->held_for != 0 && client->n_held < ADMIN_HELD_MAX && !client->closing);
}

/* What to be called for: the next request, room for the reply, or nothing until it is released. */
static uint32_t wanted_events(const struct client *client)
{
	const bool line = memchr(client->in, '\n', client->in_len) != NULL;

	if (takes_requests(client))
		return line ? EPOLLOUT : EPOLLIN;
	return client->held_for == 0 ? EPOLLOUT : 0;
}

static void proceed(struct client *client)
{
	if (client->held_for == 0 && (client->out != NULL || client->closing) && !flush(client))
		client_drop(client);
	else if (loop_fd_mod(client->admin->loop, client->fd, wanted_events(client)) != 0)
		client_drop(client);
}

static void on_client(void *arg, int fd, uint32_t events)
{
	struct client *client = arg;

	(void)fd;
	if (takes_requests(client) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 &&
		!fill(client)) {
		if (client->held_for == 0) {
			client_drop(client);
			return;
		}
		client->closing = true; /* it has said all; the answer is still to come */
	}
	if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !takes_requests(client)) {
		client_drop(client); /* nobody is there to be answered */
		return;
	}
	if (takes_requests(client))
		serve_first(client);
	proceed(client);
}

void admin_hold(struct admin *admin, uint64_t number)
{
	if (admin != NULL)
		admin->hold = number;
}

unsigned admin_release(struct admin *admin, uint64_t number)
{
	unsigned waiting = 0;

	for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++) {
		struct client *client = &admin->clients[i];

		if (client->fd < 0 || client->held_for == 0)
			continue;
		if (client->held_for > number) {
			waiting++;
			continue;
		}
		client->held_for = 0;
		proceed(client);
	}
	return waiting;
}

static struct client *free_place(struct admin *admin)
{
	for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
		if (admin->clients[i].fd < 0)
			return &admin->clients[i];
	return NULL;
}

static void on_connection(void *arg, int listen_fd, uint32_t events)
{
	static const char full[] = "{\"ok\":false,\"error\":\"too many clients; try again\"}\n";
	struct admin *admin = arg;
	struct client *client = free_place(admin);
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (client == NULL) {
		if (send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			log_debug(MODULE, "a client too many is gone already");
		close(fd);
		return;
	}
	client->fd = fd;
	client->in = malloc(ADMIN_REQUEST_MAX + 1);
	client->idle = loop_timer_new(admin->loop, on_idle, client);
	if (client->in == NULL || client->idle == NULL ||
		loop_fd_add(admin->loop, fd, EPOLLIN, on_client, client) != 0) {
		client_drop(client);
		return;
	}
	loop_timer_arm_in(client->idle, CLIENT_IDLE_NS);
}

/* --- server --- */

/* Removes a socket file that a program left behind. */
static int clear_place(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, ret;

	if (lstat(addr->sun_path, &st) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST; /* connect() would say "refused" here too */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	ret = connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 ? 0 : errno;
	close(fd);
	if (ret != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(addr->sun_path) == 0 ? 0 : -errno;
}

static int listen_at(struct admin *admin, const char *path)
{
	int ret = set_address(&admin->addr, path);

	if (ret == 0)
		ret = clear_place(&admin->addr);
	if (ret != 0)
		return ret;
	admin->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* Linux gives the mode of the socket to the file that bind() makes: never open to others.
	 */
	if (admin->fd < 0 || fchmod(admin->fd, 0600) != 0 ||
		bind(admin->fd, (struct sockaddr *)&admin->addr, sizeof admin->addr) != 0 ||
		stat(path, &admin->socket_file) != 0 || listen(admin->fd, LISTEN_BACKLOG) != 0)
		return -errno;
	return 0;
}

int admin_open(struct loop *loop, const char *path, const struct admin_verb *verbs, void *arg,
	struct admin **out)
{
	struct admin *admin = calloc(1, sizeof *admin);
	int ret;

	if (admin == NULL)
		return -ENOMEM;
	admin_wipe_json();
	admin->loop = loop;
	admin->verbs = verbs;
	admin->arg = arg;
	admin->fd = -1;
	for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
		admin->clients[i] = (struct client){.admin = admin, .fd = -1};
	ret = listen_at(admin, path);
	if (ret == 0)
		ret = loop_fd_add(loop, admin->fd, EPOLLIN, on_connection, admin);
	if (ret != 0) {
		admin_close(admin);
		return ret;
	}
	*out = admin;
	return 0;
}

void admin_close(struct admin *admin)
{
	struct stat st;

	if (admin == NULL)
		return;
	for (size_t i = 0; i < ADMIN_CLIENTS_MAX; i++)
		client_drop(&admin->clients[i]);
	if (admin->fd >= 0) {
		loop_fd_del(admin->loop, admin->fd);
		close(admin->fd);
	}
	if (admin->socket_file.st_ino != 0 && lstat(admin->addr.sun_path, &st) == 0 &&
		st.st_ino == admin->socket_file.st_ino && st.st_dev == admin->socket_file.st_dev)
		unlink(admin->addr.sun_path);
	free(admin);
}
