/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: posix_spawn(3) and SIGCHLD. All our descriptors are close-on-exec. */
#include "control/mn/fallback.h"

#include "lib/log.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODULE "fallback"

static void on_child(void *arg, int signo)
{
	struct fallback *f = arg;
	int status;

	(void)signo;
	if (f->pid == 0 || waitpid(f->pid, &status, WNOHANG) != f->pid)
		return;
	log_info(MODULE, "command ended pid=%d status=%d", (int)f->pid,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	f->pid = 0;
}

int fallback_init(struct fallback *f, struct loop *loop, const char *command)
{
	*f = (struct fallback){.command = command};
	return command[0] == '\0' ? 0 : loop_signal_add(loop, SIGCHLD, on_child, f);
}

int fallback_run(struct fallback *f, const struct ip_addr *coa)
{
	char address[IP_TEXT_MAX];
	char *argv[] = {(char *)(uintptr_t)f->command, address, NULL}; /* exec does not write */
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	if (f->command[0] == '\0')
		return 0;
	if (f->pid != 0)
		return -EALREADY;
	ip_addr_format(coa, address);
	err = posix_spawnattr_init(&attr);
	if (err != 0)
		return -err;
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&f->pid, f->command, NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (err != 0)
		f->pid = 0;
	return -err;
}
