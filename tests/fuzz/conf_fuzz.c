/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration files with any content: every getter on every key, without a crash, and a report
 * that can be printed. Other files are not named in it: the fuzzer would read what lies around on
 * the machine.
 */
#include "lib/conf.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets strings after a syntax error. Read by the leak checker. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

static void read_group(struct conf_group *group, int depth);

static void read_key(struct conf_group *group, const char *key, int depth)
{
	static const char *const choices[] = {"info", "debug", NULL};
	struct ip_prefix prefixes[4];
	const char *strings[4];
	struct conf_group inner;
	struct conf_secret secret;
	size_t n;

	conf_get_string(group, key, "default");
	conf_get_int(group, key, "ms", -5, 5000000000, 0, true);
	conf_get_bool(group, key, true);
	conf_get_choice(group, key, choices, 0);
	conf_get_addr(group, key, false);
	conf_get_endpoint(group, key, 4340, false);
	conf_get_prefixes(group, key, prefixes, 4, false);
	conf_get_strings(group, key, strings, 4, false);
	secret = conf_get_secret(group, key, 4, 64);
	if (secret.len > CONF_SECRET_MAX)
		abort();
	inner = conf_get_group(group, key, false);
	read_group(&inner, depth + 1);
	n = conf_get_list(group, key, false);
	for (size_t i = 0; i < n && i < 4; i++) {
		inner = conf_list_at(group, key, i);
		read_group(&inner, depth + 1);
	}
}

static void read_group(struct conf_group *group, int depth)
{
	int n = group->setting != NULL ? config_setting_length(group->setting) : 0;

	/* Every second key is left alone, so that unknown keys are met too. */
	for (int i = 0; i < n && i < 16 && depth < DEPTH_MAX; i += 2) {
		config_setting_t *member = config_setting_get_elem(group->setting, (unsigned)i);
		const char *name = config_setting_name(member);

		if (name != NULL)
			read_key(group, name, depth);
	}
	conf_group_end(group);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1, sink = -1;
	struct conf_group root;
	struct conf *conf;
	char path[64];
	int saved;

	if (fd < 0) {
		fd = memfd_create("conf", MFD_CLOEXEC);
		sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
	}
	if (fd < 0 || sink < 0 || memmem(data, size, "@include", 8) != NULL ||
		memmem(data, size, "_file", 5) != NULL || ftruncate(fd, 0) != 0 ||
		pwrite(fd, data, size, 0) != (ssize_t)size || fchmod(fd, 0600) != 0)
		return 0;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	conf = conf_open(path);
	if (conf == NULL)
		abort();
	root = conf_root(conf);
	read_group(&root, 0);
	saved = dup(STDERR_FILENO);
	dup2(sink, STDERR_FILENO);
	(void)conf_report(conf);
	dup2(saved, STDERR_FILENO);
	close(saved);
	conf_close(conf);
	return 0;
}
