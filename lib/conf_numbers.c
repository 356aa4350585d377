/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: libconfig 1.5 takes a number without the suffix L modulo 2^32, and a number with
 * it at most as 2^63 - 1, both without a word. The file is cut into strings, comments and words
 * here, in the same way as libconfig's scanner cuts it, and every word that is a number is looked
 * at again.
 */
#include "lib/conf_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scanner {
	FILE *file;
	unsigned line;
	int at; /* the character under the cursor */
};

static void scan_next(struct scanner *scan)
{
	if (scan->at == '\n')
		scan->line++;
	scan->at = getc_unlocked(scan->file);
}

static void skip_string(struct scanner *scan)
{
	scan_next(scan);
	while (scan->at != '"' && scan->at != EOF) {
		if (scan->at == '\\')
			scan_next(scan);
		scan_next(scan);
	}
	scan_next(scan);
}

static void skip_line(struct scanner *scan)
{
	while (scan->at != '\n' && scan->at != EOF)
		scan_next(scan);
}

static void skip_slash_comment(struct scanner *scan)
{
	int last = 0;

	scan_next(scan);
	if (scan->at == '/') {
		skip_line(scan);
	} else if (scan->at == '*') {
		scan_next(scan);
		while (scan->at != EOF && !(last == '*' && scan->at == '/')) {
			last = scan->at;
			scan_next(scan);
		}
		scan_next(scan);
	}
}

/* What libconfig reads as a name ("a-1*") must not be taken for a number, so both are words. */
static bool is_word(int c)
{
	return c != EOF && (isalnum(c) || strchr("_-+.*", c) != NULL);
}

static bool number_is_wrapped(const char *word)
{
	char *end;
	long long value;
	bool is_hex = strncasecmp(word, "0x", 2) == 0;

	errno = 0;
	value = strtoll(word, &end, is_hex ? 16 : 10);
	if (end == word || strspn(end, "L") != strlen(end))
		return false; /* a name, or a number with a fraction */
	if (errno == ERANGE)
		return true;
	if (*end == 'L')
		return false;
	return is_hex ? value > UINT32_MAX : value > INT32_MAX || value < INT32_MIN;
}

static void check_word(struct conf *conf, const char *file, struct scanner *scan)
{
	char word[64];
	char text[192];
	size_t len = 0;

	while (is_word(scan->at)) {
		if (len < sizeof word - 1)
			word[len++] = (char)scan->at;
		scan_next(scan);
	}
	word[len] = '\0';
	if (!number_is_wrapped(word))
		return;
	snprintf(text, sizeof text,
		"%s: a number above 32 bits needs an L behind it, and 64 bits are the limit", word);
	conf_add_error(conf, file, scan->line, text);
}

void conf_check_numbers(struct conf *conf, const char *file)
{
	struct scanner scan = {.file = fopen(conf_source_path(conf, file), "re"), .line = 1};

	if (scan.file == NULL) {
		conf_add_error(conf, file, 0, strerror(errno));
		return;
	}
	scan_next(&scan);
	while (scan.at != EOF) {
		if (scan.at == '"')
			skip_string(&scan);
		else if (scan.at == '#')
			skip_line(&scan);
		else if (scan.at == '/')
			skip_slash_comment(&scan);
		else if (is_word(scan.at))
			check_word(conf, file, &scan);
		else
			scan_next(&scan);
	}
	fclose(scan.file);
}
