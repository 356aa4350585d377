/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a record is formatted into one buffer and leaves in one write(), so that lines of
 * several programs on one terminal stay whole. What does not fit is cut off. Control characters
 * become '?': text that came from a peer cannot forge a line.
 */
#include "lib/log.h"

#include "lib/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 1024

static const char *program_name = "roamgate"; /* const after init */
static enum log_level max_level = LOG_INFO;   /* const after init */

void log_init(const char *program, enum log_level level)
{
	program_name = program;
	max_level = level;
}

static size_t bounded(int printed, size_t room)
{
	if (printed < 0)
		return 0;
	return (size_t)printed < room ? (size_t)printed : room - 1;
}

void log_at(enum log_level level, const char *module, const char *format, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	int saved_errno = errno;
	char line[LINE_BYTES_MAX];
	size_t room = sizeof line - 1; /* the line feed */
	size_t len;
	va_list args;

	if (level > max_level)
		return;
	len = bounded(
		snprintf(line, room, "%s: %s %s: ", program_name, names[level], module), room);
	va_start(args, format);
	len += bounded(vsnprintf(line + len, room - len, format, args), room - len);
	va_end(args);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0) {
		/* Nobody reads our diagnostics: there is no better place to say so. */
	}
	errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, uint32_t *suppressed)
{
	uint64_t now = clock_mono_ns();
	uint64_t earned;

	if (!limit->started) {
		limit->started = true;
		limit->tokens = LOG_REMOTE_BURST;
		limit->tokens_at_ns = now;
	}
	earned = (now - limit->tokens_at_ns) * LOG_REMOTE_PER_S / NS_PER_S;
	limit->tokens_at_ns += earned * NS_PER_S / LOG_REMOTE_PER_S;
	limit->tokens = earned >= LOG_REMOTE_BURST - limit->tokens
				? LOG_REMOTE_BURST
				: limit->tokens + (uint32_t)earned;
	if (limit->tokens == 0) {
		limit->suppressed++;
		return false;
	}
	limit->tokens--;
	*suppressed = limit->suppressed;
	limit->suppressed = 0;
	return true;
}
