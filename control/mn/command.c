/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: posix_spawn(3) and SIGCHLD. All our descriptors are close-on-exec. */
#include "control/mn/command.h"

#include "lib/log.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODULE "command"

int command_run(struct command *command, const char *const args[])
{
	char *argv[1 + COMMAND_ARGS_MAX + 1] = {(char *)(uintptr_t)command->path};
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	if (command->path[0] == '\0')
		return 0;
	if (command->pid != 0)
		return -EALREADY;
	for (unsigned i = 0; i < COMMAND_ARGS_MAX && args[i] != NULL; i++)
		argv[1 + i] = (char *)(uintptr_t)args[i]; /* exec does not write */
	err = posix_spawnattr_init(&attr);
	if (err != 0)
		return -err;
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&command->pid, command->path, NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (err != 0)
		command->pid = 0;
	return -err;
}

bool command_reap(struct command *command)
{
	int status;

	if (command->pid == 0 || waitpid(command->pid, &status, WNOHANG) != command->pid)
		return false;
	log_info(MODULE, "ended path=%s pid=%d status=%d", command->path, (int)command->pid,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	command->pid = 0;
	return true;
}
