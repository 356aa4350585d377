/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_STORE_H
#define LIB_STORE_H
/*
 * Durable key-value state over LMDB: one environment per program under state_dir, one named
 * database per kind of record, a write transaction is atomic and on disk when commit returns.
 *
 * Owner and thread: whoever opened it; one thread at a time. A second thread reads by a view of its
 * own, which waits for no writer. Values returned by store_get() and store_each() point into the
 * map and are valid until the next write or the end of the callback.
 * Errors: 0 or -errno (-ENOENT: no such key, -ENOSPC: map full, -EIO: damaged, -EROFS, -EACCES).
 */
#include <stdbool.h>
#include <stddef.h>

struct store;
struct store_value {
	const void *data;
	size_t len;
};

/* Makes dir (mode 0700) if it is missing; takes an exclusive lock, -EBUSY if another process has
 * it. names: the databases, NULL-terminated. why: a sentence for the operator on error. */
int store_open(const char *dir, const char *const names[], size_t map_bytes, struct store **out,
	char *why, size_t why_size) __attribute__((warn_unused_result));
void store_close(struct store *store); /* NULL is allowed; drops an open transaction */

/* A write transaction; put and del outside of one are a transaction of their own (durable). */
int store_begin(struct store *store) __attribute__((warn_unused_result));
int store_commit(struct store *store) __attribute__((warn_unused_result));
void store_abort(struct store *store);

int store_put(struct store *store, const char *db, const void *key, size_t key_len,
	const void *data, size_t len) __attribute__((warn_unused_result));
int store_del(struct store *store, const char *db, const void *key, size_t key_len);
/* All whose key begins so; none is no error. */
int store_del_all(struct store *store, const char *db, const void *prefix, size_t prefix_len)
	__attribute__((warn_unused_result));
int store_get(struct store *store, const char *db, const void *key, size_t key_len,
	struct store_value *out) __attribute__((warn_unused_result));
/* In key order; stops when fn returns false. fn may read; outside of a transaction it may also
 * write: the walk goes on over what was there at its beginning, reads of fn's see that too, key and
 * value stay as they are until fn returns. Pages are not used again before the walk ends. */
typedef bool store_each_fn(void *arg, struct store_value key, struct store_value value);
int store_each(struct store *store, const char *db, store_each_fn *fn, void *arg);
/* Sees what was committed when store_view_get() is called. Made and freed by the store's thread. */
struct store_view;
int store_view_new(struct store *store, struct store_view **out)
	__attribute__((warn_unused_result));
void store_view_free(struct store_view *view); /* before store_close(); NULL is allowed */
/* Copies the value; -EMSGSIZE: it is longer than room. */
int store_view_get(struct store_view *view, const char *db, const void *key, size_t key_len,
	void *data, size_t room, size_t *len) __attribute__((warn_unused_result));
int store_count(struct store *store, const char *db, size_t *out);
/* Deletes all of a database; durable outside of a transaction. */
int store_clear(struct store *store, const char *db);
#endif
