/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a key is text of hex digits, in the configuration or in a file of its own. The
 * file that holds it must be private in either case. Copies on the stack are wiped; libconfig's
 * strings are wiped by conf_close().
 */
#include "lib/conf_private.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_BYTES_MAX (2 * CONF_SECRET_MAX + 16) /* digits, and blanks at the end */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* text[0..len) must be pairs of hex digits and nothing else. */
static bool parse_hex(const char *text, size_t len, struct conf_secret *out)
{
	if (len % 2 != 0 || len / 2 > CONF_SECRET_MAX)
		return false;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(text[i]);
		int low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		out->bytes[i / 2] = (uint8_t)(high << 4 | low);
	}
	out->len = len / 2;
	return true;
}

/* NULL if only the owner can read the file; otherwise what is wrong with it. */
static const char *why_not_private(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is not a regular file";
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "belongs to another user; make root its owner";
	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "holds a key and is open to others than its owner; chmod 600";
	return NULL;
}

const char *conf_secret_read(const char *path, struct conf_secret *out)
{
	char text[KEY_FILE_BYTES_MAX];
	const char *wrong = NULL;
	ssize_t len = 0;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) != 0)
		wrong = strerror(errno);
	else
		wrong = why_not_private(&st);
	if (wrong == NULL) {
		len = read(fd, text, sizeof text);
		if (len < 0)
			wrong = strerror(errno);
	}
	if (fd >= 0)
		close(fd);
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	if (wrong == NULL && !parse_hex(text, (size_t)len, out))
		wrong = "must hold pairs of hex digits and nothing else";
	secret_wipe(text, sizeof text);
	return wrong;
}

/* The file named by key. */
static bool read_named(struct conf_group *group, const char *key, struct conf_secret *out)
{
	const char *name = conf_text(group, key, true);
	const char *wrong;

	if (name == NULL)
		return false;
	if (name[0] != '/')
		name = conf_owned_format(group->conf, "%s/%s", group->conf->folder, name);
	wrong = conf_secret_read(name, out);
	if (wrong != NULL)
		conf_error(group, key, "%.256s: %s", name, wrong);
	return wrong == NULL;
}

static void check_holder(struct conf_group *group, const char *key)
{
	const config_setting_t *member = conf_member(group, key, true);
	const char *path = conf_source_path(group->conf, config_setting_source_file(member));
	const char *wrong;
	struct stat st;

	wrong = stat(path, &st) != 0 ? strerror(errno) : why_not_private(&st);
	if (wrong != NULL)
		conf_error(group, key, "this file %s", wrong);
}

/* The value of key itself; the file it stands in must be private. */
static bool read_inline(struct conf_group *group, const char *key, struct conf_secret *out)
{
	const char *hex = conf_text(group, key, true);

	if (hex == NULL)
		return false;
	check_holder(group, key);
	if (parse_hex(hex, strlen(hex), out))
		return true;
	conf_error(group, key, "must be pairs of hex digits and nothing else");
	return false;
}

struct conf_secret conf_get_secret(
	struct conf_group *group, const char *key, size_t min_bytes, size_t max_bytes)
{
	const char *file_key = conf_owned_format(group->conf, "%s_file", key);
	bool is_inline = conf_member(group, key, false) != NULL;
	bool in_file = conf_member(group, file_key, false) != NULL;
	struct conf_secret secret = {0};
	bool ok;

	if (group->setting == NULL)
		return secret;
	if (is_inline == in_file) {
		conf_error(group, key,
			in_file ? "stands beside %s; give one of them"
				: "is missing; give it or %s",
			file_key);
		return secret;
	}
	ok = in_file ? read_named(group, file_key, &secret) : read_inline(group, key, &secret);
	if (ok && (secret.len < min_bytes || secret.len > max_bytes)) {
		conf_error(group, in_file ? file_key : key,
			"has %zu bytes; give %zu to %zu bytes as pairs of hex digits", secret.len,
			min_bytes, max_bytes);
		ok = false;
	}
	if (!ok)
		secret_wipe(&secret, sizeof secret);
	return secret;
}
