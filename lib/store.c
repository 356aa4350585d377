/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: LMDB writes copies of changed pages and then one of two root pages, so that a
 * crash at any moment leaves the state of the last commit. The lock file next to it keeps a second
 * process out. So whoever opens LMDB's own lock table (lock.mdb) is alone and starts it anew,
 * whatever a killed process left in it; without the table (MDB_NOLOCK) pages that a reader still
 * stands on would be written over by the third commit from there.
 *
 * Reads outside of a transaction use one read transaction that is renewed for each of them and
 * reset at once: the pages it saw stay in the map until the next write.
 *
 * A put or del that failed inside a transaction dooms it: commit then gives that error and changes
 * nothing, so that a caller may test commit alone.
 */
#include "lib/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATABASES_MAX 16

struct store {
	MDB_env *env;
	MDB_txn *read;    /* reset between reads; NULL before the first */
	unsigned readers; /* of read: store_get() from within store_each() */
	MDB_txn *write;   /* NULL: none is open */
	int failed;       /* first error inside write, or 0 */
	int lock_fd;
	size_t n_dbs;
	struct {
		const char *name;
		MDB_dbi dbi;
	} dbs[DATABASES_MAX];
};

static int to_errno(int ret)
{
	switch (ret) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case MDB_PAGE_FULL:
		return -ENOSPC;
	case MDB_BAD_VALSIZE:
		return -EINVAL;
	default:
		return ret > 0 ? -ret : -EIO;
	}
}

__attribute__((format(printf, 3, 4))) static void explain(
	char *why, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, size, format, args);
	va_end(args);
}

/* --- open and close --- */

static int lock_folder(struct store *store, const char *dir, char *why, size_t why_size)
{
	char path[4096];
	int ret = 0;

	if (snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		ret = -errno;
	if (ret == 0) {
		store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (store->lock_fd < 0)
			ret = -errno;
	}
	if (ret != 0) {
		explain(why, why_size, "%s: %s; make the folder above it, writable by this user",
			dir, strerror(-ret));
		return ret;
	}
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
	explain(why, why_size, "%s is in use by another process; stop it or take another state_dir",
		dir);
	return ret;
}

static int open_databases(struct store *store, const char *const names[])
{
	MDB_txn *txn;
	int ret = mdb_txn_begin(store->env, NULL, 0, &txn);

	if (ret != 0)
		return to_errno(ret);
	for (size_t i = 0; ret == 0 && names[i] != NULL; i++) {
		store->dbs[i].name = names[i];
		ret = mdb_dbi_open(txn, names[i], MDB_CREATE, &store->dbs[i].dbi);
		store->n_dbs = i + 1;
	}
	if (ret != 0) {
		mdb_txn_abort(txn);
		return to_errno(ret);
	}
	return to_errno(mdb_txn_commit(txn));
}

static int open_environment(
	struct store *store, const char *dir, const char *const names[], size_t map_bytes)
{
	int ret = mdb_env_create(&store->env);

	if (ret == 0)
		ret = mdb_env_set_maxdbs(store->env, DATABASES_MAX);
	if (ret == 0)
		ret = mdb_env_set_mapsize(store->env, map_bytes);
	if (ret == 0)
		ret = mdb_env_open(store->env, dir, MDB_NOTLS, 0600);
	return ret == 0 ? open_databases(store, names) : to_errno(ret);
}

/* The file's content is synced by LMDB, its name in the folder is not. */
static int sync_folder(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return ret;
}

int store_open(const char *dir, const char *const names[], size_t map_bytes, struct store **out,
	char *why, size_t why_size)
{
	struct store *store = calloc(1, sizeof *store);
	size_t n = 0;
	int ret;

	if (store == NULL)
		return -ENOMEM;
	store->lock_fd = -1;
	explain(why, why_size, "%s: cannot be opened", dir);
	while (names[n] != NULL)
		n++;
	ret = n > DATABASES_MAX ? -EINVAL : lock_folder(store, dir, why, why_size);
	if (ret == 0) {
		ret = open_environment(store, dir, names, map_bytes);
		if (ret == 0)
			ret = sync_folder(dir);
		if (ret == -EIO)
			explain(why, why_size,
				"%s/data.mdb is damaged; move it away, and replace the keys", dir);
		else if (ret != 0)
			explain(why, why_size, "%s/data.mdb: %s", dir, strerror(-ret));
	}
	if (ret != 0) {
		store_close(store);
		return ret;
	}
	explain(why, why_size, "%s", "");
	*out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	store_abort(store);
	if (store->read != NULL)
		mdb_txn_abort(store->read);
	if (store->env != NULL)
		mdb_env_close(store->env);
	if (store->lock_fd >= 0)
		close(store->lock_fd); /* last: it is what keeps others out */
	free(store);
}

/* --- transactions --- */

int store_begin(struct store *store)
{
	if (store->write != NULL)
		return -EBUSY;
	store->failed = 0;
	return to_errno(mdb_txn_begin(store->env, NULL, 0, &store->write));
}

int store_commit(struct store *store)
{
	MDB_txn *txn = store->write;

	if (txn == NULL)
		return -EINVAL;
	store->write = NULL;
	if (store->failed != 0) {
		mdb_txn_abort(txn);
		return store->failed;
	}
	return to_errno(mdb_txn_commit(txn));
}

void store_abort(struct store *store)
{
	if (store->write != NULL)
		mdb_txn_abort(store->write);
	store->write = NULL;
}

static int find_db(const struct store *store, const char *db, MDB_dbi *dbi)
{
	for (size_t i = 0; i < store->n_dbs; i++) {
		if (strcmp(store->dbs[i].name, db) == 0) {
			*dbi = store->dbs[i].dbi;
			return 0;
		}
	}
	return -EINVAL;
}

/* LMDB takes keys and values as pointers to memory it does not write. */
static MDB_val value_of(const void *data, size_t len)
{
	union {
		const void *in;
		void *out;
	} cast = {.in = data};

	return (MDB_val){.mv_size = len, .mv_data = cast.out};
}

/* A change outside of a transaction is one of its own; change_end() gives the change's result. */
static int change_begin(struct store *store, const char *db, MDB_dbi *dbi, bool *own)
{
	int ret = find_db(store, db, dbi);

	*own = store->write == NULL;
	return ret == 0 && *own ? store_begin(store) : ret;
}

/* Deleting what is not there dooms nothing. */
static int change_end(struct store *store, bool own, int ret)
{
	int end;

	if (ret != 0 && ret != -ENOENT && store->failed == 0)
		store->failed = ret;
	if (!own)
		return ret;
	end = store_commit(store);
	return ret != 0 ? ret : end;
}

/* data NULL: delete. */
static int change(struct store *store, const char *db, MDB_val key, MDB_val *data)
{
	MDB_dbi dbi;
	bool own;
	int ret = change_begin(store, db, &dbi, &own);

	if (ret != 0)
		return ret;
	ret = to_errno(data != NULL ? mdb_put(store->write, dbi, &key, data, 0)
				    : mdb_del(store->write, dbi, &key, NULL));
	return change_end(store, own, ret);
}

int store_put(struct store *store, const char *db, const void *key, size_t key_len,
	const void *data, size_t len)
{
	MDB_val value = value_of(data, len);

	return change(store, db, value_of(key, key_len), &value);
}

int store_del(struct store *store, const char *db, const void *key, size_t key_len)
{
	return change(store, db, value_of(key, key_len), NULL);
}

int store_del_all(struct store *store, const char *db, const void *prefix, size_t prefix_len)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_dbi dbi;
	bool own;
	int ret = change_begin(store, db, &dbi, &own);

	if (ret != 0)
		return ret;
	ret = to_errno(mdb_cursor_open(store->write, dbi, &cursor));
	if (ret != 0)
		return change_end(store, own, ret);
	while (ret == 0) {
		key = value_of(prefix, prefix_len);
		ret = to_errno(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
		if (ret == 0 &&
			(key.mv_size < prefix_len || memcmp(key.mv_data, prefix, prefix_len) != 0))
			break;
		if (ret == 0)
			ret = to_errno(mdb_cursor_del(cursor, 0));
	}
	mdb_cursor_close(cursor);
	return change_end(store, own, ret == -ENOENT ? 0 : ret);
}

int store_clear(struct store *store, const char *db)
{
	MDB_dbi dbi;
	bool own;
	int ret = change_begin(store, db, &dbi, &own);

	return ret != 0 ? ret : change_end(store, own, to_errno(mdb_drop(store->write, dbi, 0)));
}

/* --- reading --- */

/* The open write transaction, so that it sees what it wrote; else the read transaction, renewed by
 * the outermost reader. */
static int read_begin(struct store *store, MDB_txn **txn)
{
	int ret = 0;

	if (store->write == NULL && store->readers == 0) {
		if (store->read == NULL)
			ret = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->read);
		else
			ret = mdb_txn_renew(store->read);
	}
	*txn = store->write != NULL ? store->write : store->read;
	store->readers += ret == 0;
	return to_errno(ret);
}

static void read_end(struct store *store)
{
	if (--store->readers == 0 && store->write == NULL)
		mdb_txn_reset(store->read);
}

int store_get(struct store *store, const char *db, const void *key, size_t key_len,
	struct store_value *out)
{
	MDB_val wanted = value_of(key, key_len);
	MDB_val found;
	MDB_txn *txn;
	MDB_dbi dbi;
	int ret = find_db(store, db, &dbi);

	if (ret == 0)
		ret = read_begin(store, &txn);
	if (ret != 0)
		return ret;
	ret = to_errno(mdb_get(txn, dbi, &wanted, &found));
	if (ret == 0)
		*out = (struct store_value){.data = found.mv_data, .len = found.mv_size};
	read_end(store);
	return ret;
}

int store_each(struct store *store, const char *db, store_each_fn *fn, void *arg)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	MDB_dbi dbi;
	bool more = true;
	int ret = find_db(store, db, &dbi);

	if (ret == 0)
		ret = read_begin(store, &txn);
	if (ret != 0)
		return ret;
	ret = to_errno(mdb_cursor_open(txn, dbi, &cursor));
	if (ret == 0) {
		while (more && ret == 0) {
			ret = to_errno(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
			if (ret == 0)
				more = fn(arg, (struct store_value){key.mv_data, key.mv_size},
					(struct store_value){value.mv_data, value.mv_size});
		}
		mdb_cursor_close(cursor);
		if (ret == -ENOENT) /* the end */
			ret = 0;
	}
	read_end(store);
	return ret;
}

int store_count(struct store *store, const char *db, size_t *out)
{
	MDB_stat stat;
	MDB_txn *txn;
	MDB_dbi dbi;
	int ret = find_db(store, db, &dbi);

	if (ret == 0)
		ret = read_begin(store, &txn);
	if (ret != 0)
		return ret;
	ret = to_errno(mdb_stat(txn, dbi, &stat));
	if (ret == 0)
		*out = stat.ms_entries;
	read_end(store);
	return ret;
}

/* --- view ---------------------------------------------------------------------------------------
 */

struct store_view {
	const struct store *store; /* only what is constant after store_open() */
	MDB_txn *txn;              /* reset between reads: it holds no pages back */
};

int store_view_new(struct store *store, struct store_view **out)
{
	struct store_view *view = calloc(1, sizeof *view);
	int ret;

	if (view == NULL)
		return -ENOMEM;
	view->store = store;
	ret = to_errno(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &view->txn));
	if (ret != 0) {
		free(view);
		return ret;
	}
	mdb_txn_reset(view->txn);
	*out = view;
	return 0;
}

void store_view_free(struct store_view *view)
{
	if (view != NULL)
		mdb_txn_abort(view->txn);
	free(view);
}

int store_view_get(struct store_view *view, const char *db, const void *key, size_t key_len,
	void *data, size_t room, size_t *len)
{
	MDB_val wanted = value_of(key, key_len);
	MDB_val found;
	MDB_dbi dbi;
	int ret = find_db(view->store, db, &dbi);

	if (ret == 0)
		ret = to_errno(mdb_txn_renew(view->txn));
	if (ret != 0)
		return ret;
	ret = to_errno(mdb_get(view->txn, dbi, &wanted, &found));
	if (ret == 0 && found.mv_size > room)
		ret = -EMSGSIZE;
	if (ret == 0) {
		memcpy(data, found.mv_data, found.mv_size);
		*len = found.mv_size;
	}
	mdb_txn_reset(view->txn);
	return ret;
}
