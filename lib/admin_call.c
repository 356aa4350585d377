/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the client's side of the control socket: one connection, one line out, one line
 * in, all before one deadline. The request may hold a key, so its text is wiped.
 */
#include "lib/admin.h"

#include "lib/clock.h"
#include "lib/hmac.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REPLY_BYTES_MAX (16u << 20) /* a page is far below that */
#define REPLY_BYTES_START 65536

static void wiping_free(void *data)
{
	if (data != NULL)
		secret_wipe(data, malloc_usable_size(data));
	free(data);
}

void admin_wipe_json(void)
{
	json_set_alloc_funcs(malloc, wiping_free);
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd at = {.fd = fd, .events = events};

	for (;;) {
		uint64_t now = clock_mono_ns();
		uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
		int n = poll(&at, 1, (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS));

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* Returns a connected descriptor or -errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd, ret;

	if (len == 0 || len >= sizeof addr.sun_path)
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static int send_line(int fd, const char *text, size_t len, uint64_t deadline_ns)
{
	while (len != 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		int ret = 0;

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return 0; /* refused at the door: the reply may say why */
		} else if (errno == EAGAIN) {
			ret = wait_for(fd, POLLOUT, deadline_ns);
		} else if (errno != EINTR) {
			ret = -errno;
		}
		if (ret != 0)
			return ret;
	}
	return 0;
}

/* Reads up to the first line feed into *line (to be freed by the caller on success). */
static int recv_line(int fd, uint64_t deadline_ns, char **line, size_t *line_len)
{
	size_t room = REPLY_BYTES_START;
	size_t len = 0;
	char *text = malloc(room);
	int ret = text == NULL ? -ENOMEM : 0;

	while (ret == 0) {
		ssize_t n = recv(fd, text + len, room - len, 0);

		if (n == 0) {
			ret = -ECONNRESET;
		} else if (n < 0) {
			if (errno == EAGAIN)
				ret = wait_for(fd, POLLIN, deadline_ns);
			else if (errno != EINTR)
				ret = -errno;
		} else if (memchr(text + len, '\n', (size_t)n) != NULL) {
			*line = text;
			*line_len = len + (size_t)n;
			return 0;
		} else {
			len += (size_t)n;
		}
		if (ret == 0 && len == room) {
			char *more = room < REPLY_BYTES_MAX ? realloc(text, room *= 2) : NULL;

			if (more == NULL)
				ret = -EMSGSIZE;
			else
				text = more;
		}
	}
	free(text);
	return ret;
}

__attribute__((nonnull)) static void explain(const char *path, int ret, char *why, size_t size)
{
	const char *what = strerror(-ret);

	switch (ret) {
	case -ENOENT:
	case -ECONNREFUSED:
		what = "no program listens there; start it, or name its socket with -s";
		break;
	case -EACCES:
		what = "only root may use it; run this as root";
		break;
	case -EAGAIN:
	case -ETIMEDOUT:
		what = "no answer in time; the program is overloaded or stopped, try again";
		break;
	case -ECONNRESET:
		what = "closed without an answer; see the program's log";
		break;
	}
	snprintf(why, size, "%s: %s", path, what);
}

json_t *admin_call(const char *path, json_t *request, int timeout_ms, char *why, size_t why_size)
{
	uint64_t deadline = clock_mono_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	char *text = json_dumps(request, JSON_COMPACT);
	size_t text_len = text != NULL ? strlen(text) : 0;
	size_t line_len = 0;
	json_t *reply = NULL;
	char *line = NULL;
	json_error_t wrong;
	int fd = connect_to(path);
	int ret = text == NULL ? -ENOMEM : fd < 0 ? fd : 0;

	if (ret == 0) {
		text[text_len] = '\n'; /* instead of the final 0 */
		ret = send_line(fd, text, text_len + 1, deadline);
	}
	if (ret == 0)
		ret = recv_line(fd, deadline, &line, &line_len);
	if (ret != 0) {
		explain(path, ret, why, why_size);
	} else {
		reply = json_loadb(line, line_len, 0, &wrong);
		if (reply == NULL)
			snprintf(why, why_size, "%s: the answer is not JSON: %s", path, wrong.text);
	}
	free(line);
	if (text != NULL)
		secret_wipe(text, text_len);
	free(text);
	if (fd >= 0)
		close(fd);
	return reply;
}
