/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_CONF_PRIVATE_H
#define LIB_CONF_PRIVATE_H
/*
 * What the files of conf share: conf.c (open, groups, getters), conf_numbers.c (numbers that
 * libconfig would read wrongly), conf_secret.c (keys). Nobody else includes this.
 *
 * Owner, thread and lifetime as in conf.h.
 */
#include "lib/conf.h"

struct owned { /* text that lives until conf_close() */
	struct owned *next;
	char text[];
};

struct conf {
	config_t config;
	bool parsed;
	char *path, *folder;
	struct owned *owned;
	char *errors[CONF_ERRORS_MAX];
	size_t n_errors; /* all; the first CONF_ERRORS_MAX are kept */
};

/* Text that lives until conf_close(). */
char *conf_owned_format(struct conf *conf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The path of a source file by the name that libconfig gives it: an included one is named as it was
 * written, relative to the folder; NULL is the configuration file itself. */
const char *conf_source_path(struct conf *conf, const char *name);

/* file: as for conf_source_path(); line 0: the file as a whole. */
void conf_add_error(struct conf *conf, const char *file, unsigned line, const char *text);

/* The member, marked as seen; NULL if it is absent, which is an error if it is required. */
config_setting_t *conf_member(struct conf_group *group, const char *key, bool required);

/* The text of a string member; NULL if it is absent or after an error. */
const char *conf_text(struct conf_group *group, const char *key, bool required);

/* Adds an error for every number in the file that does not fit into the type it would get. */
void conf_check_numbers(struct conf *conf, const char *file);
#endif
