/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_CONF_H
#define LIB_CONF_H
/*
 * Thin typed layer over libconfig. Every error names file:line, the key, what is wrong and the
 * mend.
 *
 * A caller reads all keys it knows from a group and ends with conf_group_end(), which refuses the
 * keys that nobody read. Errors are collected (the first CONF_ERRORS_MAX are kept and printed by
 * conf_report()); getters go on after an error and return the default, so that one run shows all.
 * Main thread, start-up and reload only. Strings live until conf_close().
 */
#include "lib/hmac.h"
#include "lib/inet.h"

#include <libconfig.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_ERRORS_MAX 20
#define CONF_SECRET_MAX 128 /* bytes */

struct conf;

struct conf_group { /* a libconfig group whose keys are being read */
	struct conf *conf;
	config_setting_t
		*setting; /* NULL: an optional group that is absent; getters give defaults */
	const char *name; /* for messages: "siu", "mobile_nodes[3].inbound" */
	uint64_t seen;    /* bit i: the i-th key of the group was asked for */
};

struct conf_secret {
	uint8_t bytes[CONF_SECRET_MAX];
	size_t len;
};

/* Reads and parses; @include works relative to the file's folder. NULL only if out of memory: a
 * missing file or a syntax error is a collected error. Refuses (error) a file that holds a key and
 * that others than the owner can read, checked by conf_get_secret(). */
struct conf *conf_open(const char *path);
void conf_close(struct conf *conf);

struct conf_group conf_root(struct conf *conf);
/* name must be a group; absent: error if required. */
struct conf_group conf_get_group(struct conf_group *parent, const char *name, bool required);
/* name must be a list ( ... ) of groups; returns its length (0: absent). */
size_t conf_get_list(struct conf_group *parent, const char *name, bool required);
struct conf_group conf_list_at(struct conf_group *parent, const char *name, size_t index);
/* Every key in the group must have been asked for; otherwise an error for each. */
void conf_group_end(struct conf_group *group);

bool conf_has(struct conf_group *group, const char *key);
bool conf_is_array(struct conf_group *group, const char *key); /* [ ... ]; false if absent */
/* Required strings: def == NULL. */
const char *conf_get_string(struct conf_group *group, const char *key, const char *def);
/* Range is inclusive; unit ("ms", "bytes", "") goes into messages. required: def is not used. */
int64_t conf_get_int(struct conf_group *group, const char *key, const char *unit, int64_t min,
	int64_t max, int64_t def, bool required);
bool conf_get_bool(struct conf_group *group, const char *key, bool def);
/* Index into choices (NULL-terminated); def < 0: required. */
int conf_get_choice(
	struct conf_group *group, const char *key, const char *const choices[], int def);
/* Unset (family 0) if absent and not required. */
struct ip_addr conf_get_addr(struct conf_group *group, const char *key, bool required);
struct ip_endpoint conf_get_endpoint(
	struct conf_group *group, const char *key, uint16_t default_port, bool required);
/* Array of strings [ "10.0.0.0/8", ... ]; returns how many, at most max (more is an error). */
size_t conf_get_prefixes(struct conf_group *group, const char *key, struct ip_prefix *out,
	size_t max, bool required);
size_t conf_get_strings(
	struct conf_group *group, const char *key, const char **out, size_t max, bool required);
/* Hex digits in KEY, or in the file named by KEY_file (mode 0600 or stricter, owner root or us);
 * both or neither is an error. min and max in bytes. Wipe it after use. */
struct conf_secret conf_get_secret(
	struct conf_group *group, const char *key, size_t min_bytes, size_t max_bytes);
/* The same from a file by its path, without a configuration. Returns NULL, or what is wrong with
 * it; the text may be that of strerror(). */
const char *conf_secret_read(const char *path, struct conf_secret *out);

/* An error of the caller's own check, with the line of key (or of the group: key == NULL). */
void conf_error(struct conf_group *group, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* True if there was no error; otherwise prints each as "file:line: what is wrong" on stderr. */
bool conf_report(const struct conf *conf);
#endif
