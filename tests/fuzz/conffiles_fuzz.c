/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration files of the three daemons, by their own loaders: accepted or refused with a
 * report, and nothing is left behind. The first byte says whose file it is. Other files are not
 * named in it: the fuzzer would read what lies around on the machine.
 */
#include "control/gw/gw_conf.h"
#include "control/ha/ha_conf.h"
#include "control/mn/mn_conf.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets strings after a syntax error. Read by the leak checker. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

static void load(unsigned which, const char *path)
{
	static struct ha_conf ha;
	static struct mn_conf mn;

	switch (which % 3) {
	case 0:
		gw_conf_free(gw_conf_load(path));
		break;
	case 1:
		if (ha_conf_load(path, &ha))
			ha_conf_free(&ha);
		break;
	case 2:
		if (mn_conf_load(path, &mn))
			mn_conf_wipe(&mn);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1, sink = -1;
	char path[64];
	int saved;

	if (fd < 0) {
		fd = memfd_create("conf", MFD_CLOEXEC);
		sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
	}
	if (size == 0 || fd < 0 || sink < 0 || memmem(data, size, "@include", 8) != NULL ||
		memmem(data, size, "_file", 5) != NULL || ftruncate(fd, 0) != 0 ||
		pwrite(fd, data + 1, size - 1, 0) != (ssize_t)size - 1 || fchmod(fd, 0600) != 0)
		return 0;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	saved = dup(STDERR_FILENO);
	dup2(sink, STDERR_FILENO);
	load(data[0], path);
	dup2(saved, STDERR_FILENO);
	close(saved);
	return 0;
}
