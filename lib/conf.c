/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: libconfig parses the file and keeps file and line of every setting; the getters
 * look a key up in its group, mark it as seen, check it, and collect an error with that place. A
 * group that is absent, or a file that did not parse, has setting NULL: its getters give defaults
 * and add no error, since the one that matters was collected already.
 *
 * libconfig 1.5 reads a number that does not fit into 32 bits as another number, without a word.
 * So every source file is read a second time by conf_check_numbers(), which refuses such numbers.
 * Strings are wiped before they are freed: any of them may hold a key.
 */
#include "lib/conf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS_PER_GROUP_MAX 64 /* bits of conf_group.seen */

char *conf_owned_format(struct conf *conf, const char *format, ...)
{
	struct owned *owned;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		abort();
	owned = malloc(sizeof *owned + (size_t)len + 1);
	if (owned == NULL)
		abort(); /* start-up: nothing runs yet that could be kept going */
	va_start(args, format);
	vsnprintf(owned->text, (size_t)len + 1, format, args);
	va_end(args);
	owned->next = conf->owned;
	conf->owned = owned;
	return owned->text;
}

/* --- errors --- */

const char *conf_source_path(struct conf *conf, const char *name)
{
	if (name == NULL || strcmp(name, conf->path) == 0)
		return conf->path;
	return conf_owned_format(conf, "%s/%s", conf->folder, name);
}

void conf_add_error(struct conf *conf, const char *file, unsigned line, const char *text)
{
	if (conf->n_errors++ >= CONF_ERRORS_MAX)
		return;
	file = conf_source_path(conf, file);
	conf->errors[conf->n_errors - 1] = line != 0
						   ? conf_owned_format(
							     conf, "%s:%u: %s", file, line, text)
						   : conf_owned_format(conf, "%s: %s", file, text);
}

static config_setting_t *find(const struct conf_group *group, const char *key)
{
	return group->setting != NULL ? config_setting_get_member(group->setting, key) : NULL;
}

void conf_error(struct conf_group *group, const char *key, const char *format, ...)
{
	const config_setting_t *place = key != NULL ? find(group, key) : NULL;
	char what[512];
	char text[768];
	unsigned line = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	if (key != NULL)
		snprintf(text, sizeof text, "%s%s%s: %s", group->name,
			group->name[0] != '\0' ? "." : "", key, what);
	else
		snprintf(text, sizeof text, "%s: %s", group->name[0] != '\0' ? group->name : "file",
			what);
	if (place == NULL)
		place = group->setting;
	/* What is missing in the file as a whole has no line: the first one stands for it. */
	if (place != NULL)
		line = config_setting_is_root(place) ? 1 : config_setting_source_line(place);
	conf_add_error(
		group->conf, place != NULL ? config_setting_source_file(place) : NULL, line, text);
}

bool conf_report(const struct conf *conf)
{
	size_t kept = conf->n_errors < CONF_ERRORS_MAX ? conf->n_errors : CONF_ERRORS_MAX;

	for (size_t i = 0; i < kept; i++)
		fprintf(stderr, "%s\n", conf->errors[i]);
	if (conf->n_errors > kept)
		fprintf(stderr, "%s: %zu more errors\n", conf->path, conf->n_errors - kept);
	return conf->n_errors == 0;
}

/* --- open and close --- */

/* Calls fn for setting and all that lie in it. Depth is bounded by libconfig's parser stack. */
static void walk(config_setting_t *setting, void (*fn)(void *, config_setting_t *), void *arg)
{
	int n = config_setting_is_aggregate(setting) ? config_setting_length(setting) : 0;

	fn(arg, setting);
	for (int i = 0; i < n; i++)
		walk(config_setting_get_elem(setting, (unsigned)i), fn, arg);
}

static void wipe_string(void *arg, config_setting_t *setting)
{
	(void)arg;
	if (setting->type == CONFIG_TYPE_STRING && setting->value.sval != NULL)
		secret_wipe(setting->value.sval, strlen(setting->value.sval));
}

struct file_check {
	struct conf *conf;
	const char *checked[CONF_ERRORS_MAX]; /* included files that were read a second time */
	size_t n_checked;
};

static void check_file_of(void *arg, config_setting_t *setting)
{
	struct file_check *check = arg;
	const char *path = config_setting_source_file(setting);

	if (path == NULL)
		return;
	/* Settings of one file follow each other, so the newest is the likeliest. */
	for (size_t i = check->n_checked; i > 0; i--)
		if (strcmp(check->checked[i - 1], path) == 0)
			return;
	if (check->n_checked == CONF_ERRORS_MAX) {
		conf_add_error(
			check->conf, path, 0, "more files are included than are allowed (20)");
		return;
	}
	check->checked[check->n_checked++] = path;
	conf_check_numbers(check->conf, path);
}

static void parse(struct conf *conf)
{
	struct file_check check = {.conf = conf, .checked = {conf->path}, .n_checked = 1};
	char text[256];
	struct stat st;

	if (stat(conf->path, &st) != 0 || access(conf->path, R_OK) != 0) {
		snprintf(text, sizeof text, "cannot be read: %s", strerror(errno));
		conf_add_error(conf, NULL, 0, text);
		return;
	}
	if (!S_ISREG(st.st_mode)) {
		conf_add_error(conf, NULL, 0, "is not a regular file");
		return;
	}
	config_set_include_dir(&conf->config, conf->folder);
	if (config_read_file(&conf->config, conf->path) != CONFIG_TRUE) {
		const char *what = config_error_text(&conf->config);
		int line = config_error_line(&conf->config);

		conf_add_error(conf, config_error_file(&conf->config),
			line > 0 ? (unsigned)line : 0, what != NULL ? what : "cannot be read");
		return;
	}
	conf->parsed = true;
	conf_check_numbers(conf, conf->path);
	walk(config_root_setting(&conf->config), check_file_of, &check);
}

struct conf *conf_open(const char *path)
{
	struct conf *conf = calloc(1, sizeof *conf);
	char *copy = strdup(path);

	if (conf != NULL && copy != NULL) {
		conf->path = strdup(path);
		conf->folder = strdup(dirname(copy));
	}
	free(copy);
	if (conf == NULL || conf->path == NULL || conf->folder == NULL) {
		if (conf != NULL) {
			free(conf->path);
			free(conf->folder);
		}
		free(conf);
		return NULL;
	}
	config_init(&conf->config);
	parse(conf);
	return conf;
}

void conf_close(struct conf *conf)
{
	if (conf == NULL)
		return;
	walk(config_root_setting(&conf->config), wipe_string, NULL);
	config_destroy(&conf->config);
	while (conf->owned != NULL) {
		struct owned *owned = conf->owned;

		conf->owned = owned->next;
		free(owned);
	}
	free(conf->path);
	free(conf->folder);
	free(conf);
}

/* --- groups --- */

struct conf_group conf_root(struct conf *conf)
{
	return (struct conf_group){.conf = conf,
		.setting = conf->parsed ? config_root_setting(&conf->config) : NULL,
		.name = ""};
}

static void mark_seen(struct conf_group *group, const config_setting_t *member)
{
	int index = config_setting_index(member);

	if (index >= 0 && index < KEYS_PER_GROUP_MAX)
		group->seen |= UINT64_C(1) << index;
}

config_setting_t *conf_member(struct conf_group *group, const char *key, bool required)
{
	config_setting_t *member = find(group, key);

	if (member != NULL)
		mark_seen(group, member);
	else if (required && group->setting != NULL)
		conf_error(group, key, "is missing; it has no default");
	return member;
}

static const char *child_name(const struct conf_group *parent, const char *name)
{
	return conf_owned_format(
		parent->conf, "%s%s%s", parent->name, parent->name[0] != '\0' ? "." : "", name);
}

struct conf_group conf_get_group(struct conf_group *parent, const char *name, bool required)
{
	config_setting_t *member = conf_member(parent, name, required);

	if (member != NULL && !config_setting_is_group(member)) {
		conf_error(parent, name, "must be a group: { key = value; ... }");
		member = NULL;
	}
	return (struct conf_group){
		.conf = parent->conf, .setting = member, .name = child_name(parent, name)};
}

size_t conf_get_list(struct conf_group *parent, const char *name, bool required)
{
	config_setting_t *member = conf_member(parent, name, required);
	int n;

	if (member == NULL)
		return 0;
	if (!config_setting_is_list(member)) {
		conf_error(parent, name, "must be a list of groups: ( { ... }, { ... } )");
		return 0;
	}
	n = config_setting_length(member);
	if (n == 0 && required)
		conf_error(parent, name, "must have at least one entry");
	for (int i = 0; i < n; i++) {
		if (!config_setting_is_group(config_setting_get_elem(member, (unsigned)i))) {
			conf_error(
				parent, name, "entry %d must be a group: { key = value; ... }", i);
			return 0;
		}
	}
	return (size_t)n;
}

struct conf_group conf_list_at(struct conf_group *parent, const char *name, size_t index)
{
	config_setting_t *list = find(parent, name);

	return (struct conf_group){.conf = parent->conf,
		.setting = list != NULL ? config_setting_get_elem(list, (unsigned)index) : NULL,
		.name = conf_owned_format(parent->conf, "%s%s%s[%zu]", parent->name,
			parent->name[0] != '\0' ? "." : "", name, index)};
}

void conf_group_end(struct conf_group *group)
{
	int n = group->setting != NULL ? config_setting_length(group->setting) : 0;

	for (int i = 0; i < n; i++) {
		const config_setting_t *member = config_setting_get_elem(
			group->setting, (unsigned)i);

		if (i >= KEYS_PER_GROUP_MAX || !(group->seen >> i & 1))
			conf_error(group, config_setting_name(member),
				"unknown key; correct its name or remove it");
	}
}

bool conf_has(struct conf_group *group, const char *key)
{
	return find(group, key) != NULL;
}

bool conf_is_array(struct conf_group *group, const char *key)
{
	const config_setting_t *member = find(group, key);

	return member != NULL && config_setting_is_array(member);
}

/* --- scalars --- */

const char *conf_text(struct conf_group *group, const char *key, bool required)
{
	config_setting_t *member = conf_member(group, key, required);
	const char *text;

	if (member == NULL)
		return NULL;
	text = config_setting_get_string(member);
	if (text == NULL)
		conf_error(group, key, "must be a string in double quotes");
	else if (text[0] == '\0')
		conf_error(group, key, "must not be empty; to use the default, remove the line");
	else
		return text;
	return NULL;
}

const char *conf_get_string(struct conf_group *group, const char *key, const char *def)
{
	const char *text = conf_text(group, key, def == NULL);

	if (text != NULL)
		return text;
	return def != NULL ? def : "";
}

int64_t conf_get_int(struct conf_group *group, const char *key, const char *unit, int64_t min,
	int64_t max, int64_t def, bool required)
{
	config_setting_t *member = conf_member(group, key, required);
	const char *blank = unit[0] != '\0' ? " " : "";
	int64_t value;

	if (member == NULL)
		return def;
	if (config_setting_type(member) == CONFIG_TYPE_INT &&
		config_setting_get_format(member) == CONFIG_FORMAT_HEX) {
		/* 0x80000000 and above come back as negative numbers. */
		value = (uint32_t)config_setting_get_int(member);
	} else if (config_setting_type(member) == CONFIG_TYPE_INT ||
		   config_setting_type(member) == CONFIG_TYPE_INT64) {
		value = config_setting_get_int64(member);
	} else {
		conf_error(group, key,
			"must be a whole number, %" PRId64 " to %" PRId64 "%s%s, without quotes",
			min, max, blank, unit);
		return def;
	}
	if (value < min || value > max) {
		conf_error(group, key,
			"%" PRId64 " is out of range; give %" PRId64 " to %" PRId64 "%s%s", value,
			min, max, blank, unit);
		return def;
	}
	return value;
}

bool conf_get_bool(struct conf_group *group, const char *key, bool def)
{
	config_setting_t *member = conf_member(group, key, false);

	if (member == NULL)
		return def;
	if (config_setting_type(member) != CONFIG_TYPE_BOOL) {
		conf_error(group, key, "must be true or false, without quotes");
		return def;
	}
	return config_setting_get_bool(member) != 0;
}

int conf_get_choice(struct conf_group *group, const char *key, const char *const choices[], int def)
{
	const char *text = conf_text(group, key, def < 0);
	char allowed[256] = "";
	size_t len = 0;

	if (text == NULL)
		return def < 0 ? 0 : def;
	for (int i = 0; choices[i] != NULL; i++) {
		if (strcmp(text, choices[i]) == 0)
			return i;
		if (len < sizeof allowed)
			len += (size_t)snprintf(allowed + len, sizeof allowed - len, "%s\"%s\"",
				i == 0 ? "" : ", ", choices[i]);
	}
	conf_error(group, key, "\"%.64s\" is not known; give one of %s", text, allowed);
	return def < 0 ? 0 : def;
}

struct ip_addr conf_get_addr(struct conf_group *group, const char *key, bool required)
{
	const char *text = conf_text(group, key, required);
	struct ip_addr addr = {0};

	if (text != NULL && !ip_addr_parse(text, &addr))
		conf_error(
			group, key, "\"%.64s\" is not an IP address such as \"192.0.2.1\"", text);
	return addr;
}

struct ip_endpoint conf_get_endpoint(
	struct conf_group *group, const char *key, uint16_t default_port, bool required)
{
	const char *text = conf_text(group, key, required);
	struct ip_endpoint endpoint = {0};

	if (text == NULL || ip_endpoint_parse(text, &endpoint))
		return endpoint;
	if (default_port != 0 && ip_addr_parse(text, &endpoint.addr))
		endpoint.port = default_port;
	else
		conf_error(group, key,
			"\"%.64s\" is not an address and port such as \"192.0.2.1:4340\"", text);
	return endpoint;
}

/* --- arrays --- */

/* Checks that key is an array of at most max strings; returns how many, 0 after an error. */
static size_t get_array(struct conf_group *group, const char *key, size_t max, bool required,
	config_setting_t **out)
{
	config_setting_t *member = conf_member(group, key, required);
	size_t n;

	if (member == NULL)
		return 0;
	if (!config_setting_is_array(member)) {
		conf_error(group, key, "must be an array of strings: [ \"...\", \"...\" ]");
		return 0;
	}
	n = (size_t)config_setting_length(member);
	if (n == 0 && required)
		conf_error(group, key, "must have at least one entry");
	if (n > max) {
		conf_error(group, key, "has %zu entries; at most %zu are allowed", n, max);
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		const char *text = config_setting_get_string_elem(member, (int)i);

		if (text == NULL || text[0] == '\0') {
			conf_error(group, key, "entry %zu must be a string that is not empty", i);
			return 0;
		}
	}
	*out = member;
	return n;
}

size_t conf_get_strings(
	struct conf_group *group, const char *key, const char **out, size_t max, bool required)
{
	config_setting_t *array = NULL;
	size_t n = get_array(group, key, max, required, &array);

	for (size_t i = 0; i < n; i++)
		out[i] = config_setting_get_string_elem(array, (int)i);
	return n;
}

size_t conf_get_prefixes(
	struct conf_group *group, const char *key, struct ip_prefix *out, size_t max, bool required)
{
	config_setting_t *array = NULL;
	size_t n = get_array(group, key, max, required, &array);

	for (size_t i = 0; i < n; i++) {
		const char *text = config_setting_get_string_elem(array, (int)i);

		if (!ip_prefix_parse(text, &out[i])) {
			conf_error(group, key,
				"\"%.64s\" is not a prefix such as \"10.1.0.0/16\" (bits behind the"
				" length must be 0)",
				text);
			return 0;
		}
	}
	return n;
}
