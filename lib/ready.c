/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the service manager is told by one datagram to the socket it named in the
 * environment (sd_notify(3)); a name that begins with '@' is in the abstract name space.
 */
#include "lib/ready.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void notify_manager(const char *path)
{
	static const char state[] = "READY=1";
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd;

	if (len == 0 || len >= sizeof addr.sun_path)
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, sizeof state - 1, MSG_NOSIGNAL, (struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		fprintf(stderr, "cannot tell the service manager at %s: %s\n", path,
			strerror(errno));
	if (fd >= 0)
		close(fd);
}

void ready_announce(const char *program, const char *detail)
{
	const char *manager = getenv("NOTIFY_SOCKET");
	const char *blank = detail != NULL && detail[0] != '\0' ? " " : "";

	fprintf(stderr, "%s: ready%s%s\n", program, blank, detail != NULL ? detail : "");
	if (manager != NULL)
		notify_manager(manager);
}
