/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_LOG_H
#define LIB_LOG_H
/*
 * One line a record on stderr: "program: level module: text key=value ...". Never from a worker
 * thread.
 *
 * log_remote() is the only form allowed for what a remote peer can cause: at most
 * LOG_REMOTE_BURST lines per call site and LOG_REMOTE_PER_S a second after that; what was left out
 * is counted and shown with the next line. Keys, tags and plaintext never go in.
 */
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define LOG_REMOTE_BURST 5
#define LOG_REMOTE_PER_S 1

struct log_limit { /* one static per call site */
	uint64_t tokens_at_ns;
	uint32_t tokens;
	uint32_t suppressed;
	bool started;
};

void log_init(const char *program, enum log_level level);
void log_at(enum log_level level, const char *module, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
bool log_limit_pass(struct log_limit *limit, uint32_t *suppressed);

#define log_error(module, ...) log_at(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...) log_at(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...) log_at(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_at(LOG_DEBUG, module, __VA_ARGS__)
#define log_remote(module, ...)                                                             \
	do {                                                                                \
		static struct log_limit limit_;                                             \
		uint32_t suppressed_;                                                       \
		if (log_limit_pass(&limit_, &suppressed_)) {                                \
			log_at(LOG_WARN, module, __VA_ARGS__);                              \
			if (suppressed_ != 0)                                               \
				log_at(LOG_WARN, module, "left out %u lines like the last", \
					suppressed_);                                       \
		}                                                                           \
	} while (0)
#endif
