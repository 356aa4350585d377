/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Durable store: what was committed is there after closing and after kill -9, what was aborted is
 * not; a full map and a second opener give their errors and leave everything as it was.
 */
#include "lib/store.h"

#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define MAP_BYTES (2u << 20)

static const char *const names[] = {"nodes", "other", NULL};
static char why[256];

static const char *folder_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/%s", unit_folder(), name);
	return path;
}

static struct store *open_store(const char *name)
{
	struct store *store = NULL;

	if (store_open(folder_of(name), names, MAP_BYTES, &store, why, sizeof why) != 0)
		abort();
	return store;
}

static int put(struct store *store, const char *db, const char *key, const char *value)
{
	return store_put(store, db, key, strlen(key), value, strlen(value));
}

/* "-" for absent. */
static const char *get(struct store *store, const char *db, const char *key)
{
	static char text[64];
	struct store_value value;
	int ret = store_get(store, db, key, strlen(key), &value);

	if (ret != 0)
		return ret == -ENOENT ? "-" : "error";
	snprintf(text, sizeof text, "%.*s", (int)value.len, (const char *)value.data);
	return text;
}

static void test_put_get_del(void)
{
	struct store *store = open_store("basic");
	struct stat st;

	CU_ASSERT_STRING_EQUAL(why, "");
	CU_ASSERT(stat(folder_of("basic"), &st) == 0 && (st.st_mode & 0777) == 0700);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "-");
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "1"), 0);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "1");
	CU_ASSERT_STRING_EQUAL(get(store, "other", "a"), "-");
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "22"), 0);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "22");
	CU_ASSERT_EQUAL(put(store, "nodes", "empty", ""), 0);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "empty"), "");
	CU_ASSERT_EQUAL(store_del(store, "nodes", "a", 1), 0);
	CU_ASSERT_EQUAL(store_del(store, "nodes", "a", 1), -ENOENT);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "-");
	store_close(store);
	store_close(NULL);
}

static void test_wrong_use(void)
{
	struct store *store = open_store("wrong");
	struct store_value value;

	CU_ASSERT_EQUAL(put(store, "absent", "a", "1"), -EINVAL);
	CU_ASSERT_EQUAL(store_get(store, "absent", "a", 1, &value), -EINVAL);
	CU_ASSERT_EQUAL(store_each(store, "absent", NULL, NULL), -EINVAL);
	CU_ASSERT_EQUAL(put(store, "nodes", "", "1"), -EINVAL);
	CU_ASSERT_EQUAL(store_commit(store), -EINVAL);
	store_abort(store); /* none is open */
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(store_begin(store), -EBUSY);
	store_abort(store);
	store_close(store);
}

static void test_reopen(void)
{
	struct store *store = open_store("reopen");

	CU_ASSERT_EQUAL(put(store, "nodes", "kept", "1"), 0);
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "committed", "2"), 0);
	CU_ASSERT_EQUAL(put(store, "other", "committed", "3"), 0);
	CU_ASSERT_EQUAL(store_commit(store), 0);
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "open", "4"), 0);
	store_close(store); /* drops the open transaction */
	store = open_store("reopen");
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "kept"), "1");
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "committed"), "2");
	CU_ASSERT_STRING_EQUAL(get(store, "other", "committed"), "3");
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "open"), "-");
	store_close(store);
}

static void test_abort(void)
{
	struct store *store = open_store("abort");

	CU_ASSERT_EQUAL(put(store, "nodes", "a", "old"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b", "old"), 0);
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "new"), 0);
	CU_ASSERT_EQUAL(store_del(store, "nodes", "b", 1), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "c", "new"), 0);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "new"); /* sees what it wrote */
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "b"), "-");
	CU_ASSERT_EQUAL(store_del(store, "nodes", "absent", 6), -ENOENT);
	store_abort(store);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "old");
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "b"), "old");
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "c"), "-");
	/* Deleting what is not there does not doom a transaction. */
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(store_del(store, "nodes", "absent", 6), -ENOENT);
	CU_ASSERT_EQUAL(put(store, "nodes", "d", "new"), 0);
	CU_ASSERT_EQUAL(store_commit(store), 0);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "d"), "new");
	store_close(store);
}

/* A value stays readable until the next write. */
static void test_value_lifetime(void)
{
	struct store *store = open_store("lifetime");
	struct store_value a, b;

	CU_ASSERT_EQUAL(put(store, "nodes", "a", "first"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b", "second"), 0);
	CU_ASSERT_EQUAL(store_get(store, "nodes", "a", 1, &a), 0);
	CU_ASSERT_EQUAL(store_get(store, "nodes", "b", 1, &b), 0);
	CU_ASSERT_EQUAL(store_get(store, "nodes", "c", 1, &b), -ENOENT);
	CU_ASSERT(a.len == 5 && memcmp(a.data, "first", 5) == 0);
	CU_ASSERT(b.len == 6 && memcmp(b.data, "second", 6) == 0);
	store_close(store);
}

struct walk {
	char seen[64];
	size_t stop_after;
};

static bool on_each(void *arg, struct store_value key, struct store_value value)
{
	struct walk *walk = arg;
	size_t len = strlen(walk->seen);

	snprintf(walk->seen + len, sizeof walk->seen - len, "%.*s=%.*s ", (int)key.len,
		(const char *)key.data, (int)value.len, (const char *)value.data);
	return --walk->stop_after != 0;
}

static void test_each(void)
{
	struct store *store = open_store("each");
	struct walk walk = {.stop_after = 100};

	CU_ASSERT_EQUAL(store_each(store, "nodes", on_each, &walk), 0);
	CU_ASSERT_STRING_EQUAL(walk.seen, "");
	CU_ASSERT_EQUAL(put(store, "nodes", "b", "2"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "c", "3"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "1"), 0);
	CU_ASSERT_EQUAL(put(store, "other", "z", "9"), 0);
	CU_ASSERT_EQUAL(store_each(store, "nodes", on_each, &walk), 0);
	CU_ASSERT_STRING_EQUAL(walk.seen, "a=1 b=2 c=3 ");
	walk = (struct walk){.stop_after = 2};
	CU_ASSERT_EQUAL(store_each(store, "nodes", on_each, &walk), 0);
	CU_ASSERT_STRING_EQUAL(walk.seen, "a=1 b=2 ");
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(store_del(store, "nodes", "b", 1), 0);
	walk = (struct walk){.stop_after = 100};
	CU_ASSERT_EQUAL(store_each(store, "nodes", on_each, &walk), 0);
	CU_ASSERT_STRING_EQUAL(walk.seen, "a=1 c=3 ");
	store_abort(store);
	store_close(store);
}

static struct store *walked;

static bool read_again(void *arg, struct store_value key, struct store_value value)
{
	struct store_value found = {0};
	unsigned *same = arg;

	CU_ASSERT_EQUAL(store_get(walked, "nodes", key.data, key.len, &found), 0);
	*same += found.len == value.len && memcmp(found.data, value.data, value.len) == 0;
	return true;
}

/* Reading while walking, counting, and an end to all. */
static void test_count_and_clear(void)
{
	unsigned same = 0;
	size_t n = 99;

	walked = open_store("clear");
	CU_ASSERT_EQUAL(store_count(walked, "nodes", &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	for (unsigned i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(store_put(walked, "nodes", &i, sizeof i, &i, sizeof i), 0);
	CU_ASSERT_EQUAL(store_each(walked, "nodes", read_again, &same), 0);
	CU_ASSERT_EQUAL(same, 100);
	CU_ASSERT_EQUAL(store_count(walked, "nodes", &n), 0);
	CU_ASSERT_EQUAL(n, 100);
	CU_ASSERT_EQUAL(store_count(walked, "absent", &n), -EINVAL);
	CU_ASSERT_EQUAL(store_clear(walked, "absent"), -EINVAL);
	CU_ASSERT_EQUAL(store_clear(walked, "nodes"), 0);
	store_close(walked);
	walked = open_store("clear");
	CU_ASSERT_EQUAL(store_count(walked, "nodes", &n), 0);
	CU_ASSERT_EQUAL(n, 0);
	store_close(walked);
}

/* A view sees what is committed, at any time, and nothing else. */
static void test_view(void)
{
	struct store *store = open_store("view");
	struct store_view *view = NULL;
	char data[4];
	size_t len = 0;

	CU_ASSERT_EQUAL_FATAL(store_view_new(store, &view), 0);
	CU_ASSERT_EQUAL(store_view_get(view, "nodes", "a", 1, data, sizeof data, &len), -ENOENT);
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "1"), 0);
	CU_ASSERT_EQUAL(store_view_get(view, "nodes", "a", 1, data, sizeof data, &len), 0);
	CU_ASSERT(len == 1 && data[0] == '1');
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "2222"), 0);
	CU_ASSERT_EQUAL(store_view_get(view, "nodes", "a", 1, data, sizeof data, &len), 0);
	CU_ASSERT(len == 1 && data[0] == '1');
	CU_ASSERT_EQUAL(store_commit(store), 0);
	CU_ASSERT_EQUAL(store_view_get(view, "nodes", "a", 1, data, sizeof data, &len), 0);
	CU_ASSERT(len == 4 && memcmp(data, "2222", 4) == 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "33333"), 0);
	CU_ASSERT_EQUAL(store_view_get(view, "nodes", "a", 1, data, sizeof data, &len), -EMSGSIZE);
	CU_ASSERT_EQUAL(store_view_get(view, "absent", "a", 1, data, sizeof data, &len), -EINVAL);
	store_view_free(view);
	store_view_free(NULL);
	store_close(store);
}

#define WALKED 1000 /* records of some pages */
#define WRITE_EVERY 20

struct tally {
	uint32_t seen, wrong;
};

/* Now and then deletes what the walk stands on and puts something else, on disk at once. */
static bool replace(void *arg, struct store_value key, struct store_value value)
{
	struct tally *tally = arg;
	uint32_t number = 0, other;
	uint8_t text[32];

	CU_ASSERT_EQUAL(key.len, sizeof number);
	memcpy(&number, key.data, sizeof number);
	other = number + 1;
	memset(text, (int)number, sizeof text);
	if (tally->seen++ % WRITE_EVERY == 0) {
		CU_ASSERT_EQUAL(store_begin(walked), 0);
		CU_ASSERT_EQUAL(store_del(walked, "nodes", &number, sizeof number), 0);
		CU_ASSERT_EQUAL(store_put(walked, "other", &other, sizeof other, "x", 1), 0);
		CU_ASSERT_EQUAL(store_commit(walked), 0);
	}
	/* Key and value stay what they were. */
	tally->wrong += memcmp(key.data, &number, sizeof number) != 0 || value.len != sizeof text ||
			memcmp(value.data, text, sizeof text) != 0;
	return true;
}

/* However many commits come while a walk goes on, it is over what was there. */
static void test_write_while_walking(void)
{
	struct tally tally = {0};
	size_t n = 99;

	walked = open_store("walked");
	CU_ASSERT_EQUAL(store_begin(walked), 0);
	for (uint32_t i = 0; i < WALKED; i++) {
		uint8_t text[32];

		memset(text, (int)i, sizeof text);
		CU_ASSERT_EQUAL(store_put(walked, "nodes", &i, sizeof i, text, sizeof text), 0);
	}
	CU_ASSERT_EQUAL(store_commit(walked), 0);
	CU_ASSERT_EQUAL(store_each(walked, "nodes", replace, &tally), 0);
	CU_ASSERT_EQUAL(tally.seen, WALKED);
	CU_ASSERT_EQUAL(tally.wrong, 0);
	CU_ASSERT_EQUAL(store_count(walked, "nodes", &n), 0);
	CU_ASSERT_EQUAL(n, WALKED - WALKED / WRITE_EVERY);
	CU_ASSERT_EQUAL(store_count(walked, "other", &n), 0);
	CU_ASSERT_EQUAL(n, WALKED / WRITE_EVERY);
	store_close(walked);
}

static void test_del_all(void)
{
	struct store *store = open_store("del_all");
	struct walk walk = {.stop_after = 100};

	CU_ASSERT_EQUAL(store_del_all(store, "nodes", "b", 1), 0); /* none at all */
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "1"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b", "2"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b1", "3"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b2x", "4"), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "c", "5"), 0);
	CU_ASSERT_EQUAL(put(store, "other", "b", "6"), 0);
	CU_ASSERT_EQUAL(store_del_all(store, "absent", "b", 1), -EINVAL);
	CU_ASSERT_EQUAL(store_del_all(store, "nodes", "b1y", 3), 0); /* longer than any */
	CU_ASSERT_EQUAL(store_begin(store), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b3", "7"), 0);
	CU_ASSERT_EQUAL(store_del_all(store, "nodes", "b", 1), 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "b4", "8"), 0);
	CU_ASSERT_EQUAL(store_commit(store), 0);
	CU_ASSERT_EQUAL(store_each(store, "nodes", on_each, &walk), 0);
	CU_ASSERT_STRING_EQUAL(walk.seen, "a=1 b4=8 c=5 ");
	CU_ASSERT_STRING_EQUAL(get(store, "other", "b"), "6");
	CU_ASSERT_EQUAL(store_del_all(store, "nodes", "c", 1), 0); /* the last, on its own */
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "c"), "-");
	store_close(store);
}

static void test_full(void)
{
	struct store *store = open_store("full");
	char value[4000], key[16];
	int ret = 0, n = 0;

	memset(value, 'v', sizeof value);
	CU_ASSERT_EQUAL(put(store, "other", "kept", "1"), 0);
	/* A transaction that does not fit leaves nothing, whatever its commit is told. */
	CU_ASSERT_EQUAL(store_begin(store), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof key, "k%d", i);
		ret = store_put(store, "nodes", key, strlen(key), value, sizeof value);
		if (ret != 0)
			break;
	}
	CU_ASSERT_EQUAL(ret, -ENOSPC);
	CU_ASSERT_EQUAL(store_commit(store), -ENOSPC);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "k0"), "-");
	CU_ASSERT_STRING_EQUAL(get(store, "other", "kept"), "1");
	/* One by one: the last one fails alone, and there is room again after a delete. */
	for (ret = 0; ret == 0; n++) {
		snprintf(key, sizeof key, "k%d", n);
		ret = store_put(store, "nodes", key, strlen(key), value, sizeof value);
	}
	CU_ASSERT_EQUAL(ret, -ENOSPC);
	CU_ASSERT_TRUE(n > 50);
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", key), "-");
	CU_ASSERT_STRING_EQUAL(get(store, "other", "kept"), "1");
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "k%d", i);
		CU_ASSERT_EQUAL(store_del(store, "nodes", key, strlen(key)), 0);
	}
	CU_ASSERT_EQUAL(put(store, "other", "again", "2"), 0);
	CU_ASSERT_STRING_EQUAL(get(store, "other", "again"), "2");
	store_close(store);
}

static void test_second_opener(void)
{
	struct store *store = open_store("busy");
	struct store *second = NULL;
	pid_t pid;
	int status;

	pid = fork();
	if (pid == 0)
		_exit(store_open(folder_of("busy"), names, MAP_BYTES, &second, why, sizeof why) ==
						-EBUSY &&
					strstr(why, "in use by another process") != NULL
				? 0
				: 1);
	waitpid(pid, &status, 0);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CU_ASSERT_EQUAL(put(store, "nodes", "a", "1"), 0);
	store_close(store);
	store = open_store("busy");
	CU_ASSERT_STRING_EQUAL(get(store, "nodes", "a"), "1");
	store_close(store);
}

/* A writer is killed in the middle of its work, again and again: every transaction is whole, and
 * none that it was told to be durable is missing. */
static void test_kill(void)
{
	for (int round = 0; round < 10; round++) {
		int ends[2], told = -1, found, status, n;
		struct store *store;
		pid_t pid;

		CU_ASSERT_EQUAL(pipe(ends), 0);
		pid = fork();
		if (pid == 0) {
			store = open_store("kill");
			for (int i = 0;; i++) {
				char text[16];

				snprintf(text, sizeof text, "%d", i);
				if (store_begin(store) != 0 ||
					put(store, "nodes", "n", text) != 0 ||
					put(store, "other", "n", text) != 0 ||
					store_commit(store) != 0 ||
					write(ends[1], &i, sizeof i) != sizeof i)
					_exit(1);
			}
		}
		close(ends[1]);
		while (told < 3 && read(ends[0], &n, sizeof n) == sizeof n)
			told = n;
		usleep((useconds_t)(round * 300));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		while (read(ends[0], &n, sizeof n) == sizeof n)
			told = n;
		close(ends[0]);
		store = open_store("kill");
		found = atoi(get(store, "nodes", "n"));
		CU_ASSERT_TRUE(found >= told);
		CU_ASSERT_EQUAL(atoi(get(store, "other", "n")), found);
		store_close(store);
	}
}

static void test_cannot_open(void)
{
	static const char *const too_many[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
		"k", "l", "m", "n", "o", "p", "q", NULL};
	struct store *store = NULL;
	char path[512];
	FILE *file;

	CU_ASSERT_EQUAL(store_open(folder_of("no/such"), names, MAP_BYTES, &store, why, sizeof why),
		-ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "make the folder above it"));
	CU_ASSERT_EQUAL(store_open(folder_of("many"), too_many, MAP_BYTES, &store, why, sizeof why),
		-EINVAL);
	/* A damaged file. */
	CU_ASSERT_EQUAL(mkdir(folder_of("damaged"), 0700), 0);
	snprintf(path, sizeof path, "%s/data.mdb", folder_of("damaged"));
	file = fopen(path, "w");
	for (int i = 0; file != NULL && i < 20000; i++)
		fputc(i * 31 & 0xff, file);
	if (file != NULL)
		fclose(file);
	CU_ASSERT_EQUAL(
		store_open(folder_of("damaged"), names, MAP_BYTES, &store, why, sizeof why), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "is damaged"));
	CU_ASSERT_PTR_NULL(store);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"put, get, delete", test_put_get_del},
		{"wrong use", test_wrong_use},
		{"reopen", test_reopen},
		{"abort", test_abort},
		{"lifetime of values", test_value_lifetime},
		{"each in order", test_each},
		{"count and clear", test_count_and_clear},
		{"delete all that begin so", test_del_all},
		{"write while walking", test_write_while_walking},
		{"view", test_view},
		{"full map", test_full},
		{"second opener", test_second_opener},
		{"kill -9", test_kill},
		{"cannot open", test_cannot_open},
		{NULL, NULL},
	};
	int ret;

	ret = unit_run("store", cases);
	unit_remove_folder();
	return ret;
}
