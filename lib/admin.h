/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_ADMIN_H
#define LIB_ADMIN_H
/*
 * The operator's UNIX socket: JSON in, JSON out, one object a line (RFC 8259), mode 0600.
 *
 * Request:  {"verb": "show-sa", ...arguments...}
 * Reply:    {"ok": true, ...} or {"ok": false, "error": "what and the mend"}.
 * Long tables are paged: the handler puts "rows" (an array) and, if there is more, "next" (an
 * opaque value); the client repeats the request with "from": next. A handler must bound its own
 * work to ADMIN_PAGE_ROWS rows a call, so that the control thread is never held up.
 * Clients: at most ADMIN_CLIENTS_MAX, a request at most ADMIN_REQUEST_MAX bytes; the rest is
 * refused. Thread: the loop's. Peers are local and root (or the socket's owner).
 */
#include "lib/loop.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADMIN_PAGE_ROWS 256
#define ADMIN_CLIENTS_MAX 16
#define ADMIN_REQUEST_MAX 65536

struct admin;

/* Returns a new reference to the reply object without "ok" (the server adds it), or NULL with
 * *error set to a static or admin_error() string. */
typedef json_t *admin_fn(void *arg, json_t *request, const char **error);

struct admin_verb {
	const char *name;
	admin_fn *fn;
};

/* verbs: ends with name NULL; must outlive the server. An old socket file is removed only when
 * nobody answers on it. Returns 0 or -errno (-EADDRINUSE: a running program has it). */
int admin_open(struct loop *loop, const char *path, const struct admin_verb *verbs, void *arg,
	struct admin **out) __attribute__((warn_unused_result));
void admin_close(struct admin *admin); /* removes the socket file */

/* From within a handler: its reply leaves once admin_release() was told of number or a higher one.
 * Until then further requests of that client are served, and answered behind it, ADMIN_HELD_MAX at
 * the most, so that many can wait for the disk together. admin NULL: no effect. */
#define ADMIN_HELD_MAX 256
void admin_hold(struct admin *admin, uint64_t number);
/* Returns how many clients still wait. */
unsigned admin_release(struct admin *admin, uint64_t number);
/* For handlers: false and *error if the request has an argument that known (NULL at its end; NULL:
 * none) does not name. One that is misspelt must not be ignored. */
bool admin_takes(json_t *request, const char *const known[], const char **error);
/* For handlers of tables with pages, which take nothing but "from": 0 if it is not there. */
bool admin_page(json_t *request, uint64_t *from, const char **error);
/* Formats into a buffer that lives until the next call. */
const char *admin_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on jansson wipes what it frees: a request may hold a key. admin_open() does it; a client
 * calls it before its first json_*() call. */
void admin_wipe_json(void);
/* Client: sends request (borrowed), waits at most timeout_ms, returns the reply (new reference) or
 * NULL with a sentence in why. */
json_t *admin_call(const char *path, json_t *request, int timeout_ms, char *why, size_t why_size);
#endif
