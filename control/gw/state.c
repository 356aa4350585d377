/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the control thread appends records to a queue under a mutex; the state thread
 * takes the whole queue, writes it in one transaction and publishes the highest number. A batch
 * that cannot be committed stays and is tried again, so a full disk stops acknowledgements, not
 * traffic. LMDB is written by one thread at a time: the store mutex; the control thread reads
 * positions by a view, which waits for nobody. The same thread syncs the counters file, and takes
 * an IV epoch beforehand when one will be needed.
 *
 * The two threads share a CPU, and a thread that is woken may take it at once. So appending wakes
 * nobody (state_kick() does, when the control thread can wait), and the state thread is of
 * SCHED_BATCH, which never preempts on waking up. A commit costs that CPU several interrupts of the
 * disk, so commits keep a distance: one record goes at once, a storm of them in batches.
 */
#include "control/gw/state.h"

#include "lib/boot_epoch.h"
#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"
#include "lib/wire.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DB_EPOCH "epoch"
#define MAP_BYTES ((size_t)4 << 30) /* address space, not memory: 4 million nodes fit */
#define SYNC_EVERY_MS 200           /* counters: half their headroom at 10 million packets/s */
#define SYNC_SLOTS 65536            /* a call */
#define RETRY_MS 1000               /* after a commit that failed */
#define EPOCH_STEP 2                /* lib/boot_epoch.h */
#define GATHER_NS 1000000           /* after a commit: what comes now shares the next one */
#define POSITION_VERSION 2
#define POSITION_VERSION_FIRST 1 /* nothing in it says that a node was shown to be there */
#define POSITION_CLOSED 1u
#define POSITION_VERIFIED 4u /* 2: the first version's opposite of it */

static const char *const databases[] = {[STATE_POSITIONS] = "nodes",
	[STATE_NODES] = "kept_nodes",
	[STATE_SAS] = "kept_sas",
	[STATE_TABLES] = DB_EPOCH,
	NULL};

enum change { PUT, END, END_ALL }; /* END_ALL: of what begins with the key */

struct record {
	uint8_t table;  /* enum state_table */
	uint8_t change; /* enum change */
	uint8_t key_len;
	uint16_t len;
	uint8_t key[STATE_KEY_MAX];
	uint8_t data[STATE_DATA_MAX];
};

struct batch {
	struct record records[STATE_QUEUE_MAX];
	size_t n;
	uint64_t last; /* number of the last record */
};

struct state {
	struct store *store;
	struct store_view *view; /* control thread: reads while the other commits */
	struct counters *counters;
	uint32_t boot_epoch;
	pthread_t thread;
	bool started;
	pthread_mutex_t store_lock; /* the store is for one thread at a time */

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;
	struct batch *filling; /* control thread appends */
	uint64_t next;         /* number of the next record */
	bool kicked;           /* what filling holds is to be written now, a spare to be taken */
	uint32_t newest_epoch; /* of those that were given out */
	uint32_t spare_epoch;  /* durable, higher, not given out yet; 0: none */
	bool wants_spare;
	bool stop;
	struct state_stats stats;

	struct batch *writing;     /* state thread; its n and the pointer change under lock */
	_Atomic(uint64_t) durable; /* atomic: state thread writes, control reads */
};

/* --- records ------------------------------------------------------------------------------------
 */

static void put_addr(struct wire_out *w, const struct ip_addr *addr)
{
	wire_put_u8(w, addr->family);
	wire_put_bytes(w, addr->bytes, sizeof addr->bytes);
}

static struct ip_addr get_addr(struct wire *w)
{
	struct ip_addr addr = {0};
	const uint8_t *bytes;

	addr.family = wire_u8(w);
	bytes = wire_take(w, sizeof addr.bytes);
	if (bytes != NULL)
		memcpy(addr.bytes, bytes, sizeof addr.bytes);
	return addr;
}

static size_t encode(const struct position *position, uint8_t out[STATE_DATA_MAX])
{
	struct wire_out w = wire_into(out, STATE_DATA_MAX);

	wire_put_u8(&w, POSITION_VERSION);
	wire_put_u8(&w, (uint8_t)((position->closed ? POSITION_CLOSED : 0) |
				  (position->verified ? POSITION_VERIFIED : 0)));
	wire_put_u64(&w, position->generation);
	wire_put_u64(&w, position->ends_real_ns);
	put_addr(&w, &position->coa);
	put_addr(&w, &position->former_coa);
	put_addr(&w, &position->remote.addr);
	wire_put_u16(&w, position->remote.port);
	return wire_written(&w);
}

static bool decode(struct store_value value, struct position *out)
{
	struct wire w = wire_over(value.data, value.len);
	struct position position = {0};
	const uint8_t version = wire_u8(&w);
	uint8_t flags;

	if (version != POSITION_VERSION && version != POSITION_VERSION_FIRST)
		return false;
	flags = wire_u8(&w);
	position.closed = (flags & POSITION_CLOSED) != 0;
	position.verified = version == POSITION_VERSION && (flags & POSITION_VERIFIED) != 0;
	position.generation = wire_u64(&w);
	position.ends_real_ns = wire_u64(&w);
	position.coa = get_addr(&w);
	position.former_coa = get_addr(&w);
	position.remote.addr = get_addr(&w);
	position.remote.port = wire_u16(&w);
	if (!wire_done(&w))
		return false;
	*out = position;
	return true;
}

/* --- the thread ---------------------------------------------------------------------------------
 */

static int commit(struct state *state, const struct batch *batch)
{
	/* A record must not bring an SA back whose window did not survive. */
	int rc = counters_sync_new(state->counters);

	if (rc == 0)
		rc = store_begin(state->store);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < batch->n && rc == 0; i++) {
		const struct record *record = &batch->records[i];
		const char *db = databases[record->table];

		if (record->change == END_ALL)
			rc = store_del_all(state->store, db, record->key, record->key_len);
		else if (record->change == END)
			rc = store_del(state->store, db, record->key, record->key_len);
		else
			rc = store_put(state->store, db, record->key, record->key_len, record->data,
				record->len);
		if (rc == -ENOENT)
			rc = 0; /* it never was on disk */
	}
	if (rc != 0) {
		store_abort(state->store);
		return rc;
	}
	return store_commit(state->store);
}

static void wipe_secrets(struct batch *batch, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (batch->records[i].table == STATE_SAS)
			secret_wipe(batch->records[i].data, sizeof batch->records[i].data);
}

static bool write_batch(struct state *state)
{
	struct batch *batch = state->writing;
	const uint64_t started_ns = clock_mono_ns();
	const uint64_t last = batch->last;
	const size_t n = batch->n;
	uint64_t us;
	int rc;

	pthread_mutex_lock(&state->store_lock);
	rc = commit(state, batch);
	pthread_mutex_unlock(&state->store_lock);
	us = (clock_mono_ns() - started_ns) / NS_PER_US;

	pthread_mutex_lock(&state->lock);
	if (rc == 0) {
		state->stats.commits++;
		state->stats.records += batch->n;
		state->stats.commit_last_us = us;
		if (us > state->stats.commit_max_us)
			state->stats.commit_max_us = us;
		batch->n = 0;
	} else {
		state->stats.failures++;
	}
	pthread_mutex_unlock(&state->lock);
	if (rc != 0) {
		log_error("state", "cannot write to disk, changes stay unacknowledged: %s",
			strerror(-rc));
		return false;
	}
	atomic_store_explicit(&state->durable, last, memory_order_release);
	wipe_secrets(batch, n); /* an empty batch is read by nobody else */
	return true;
}

static void swap_batches(struct state *state)
{
	struct batch *full = state->filling;

	state->filling = state->writing;
	state->writing = full;
}

/* Waits until there are records, it is time to sync, or the end. Takes the queue over if the last
 * batch is written. Returns false once everything is done and the thread should end. */
static bool take_work(struct state *state, bool retry)
{
	struct timespec until;
	bool go_on;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)((retry ? RETRY_MS : SYNC_EVERY_MS) * NS_PER_MS % NS_PER_S);
	until.tv_sec += (retry ? RETRY_MS : SYNC_EVERY_MS) / 1000;
	if (until.tv_nsec >= (long)NS_PER_S) {
		until.tv_nsec -= (long)NS_PER_S;
		until.tv_sec++;
	}
	pthread_mutex_lock(&state->lock);
	while (!state->stop && (retry || !state->kicked)) {
		if (pthread_cond_timedwait(&state->wake, &state->lock, &until) == ETIMEDOUT)
			break;
	}
	go_on = !state->stop || (!retry && state->filling->n != 0);
	if (state->writing->n == 0) {
		state->kicked = false;
		swap_batches(state);
	}
	pthread_mutex_unlock(&state->lock);
	return go_on;
}

/* All numbers come out of one row, so none is given twice; but of two that are taken at the same
 * time by both threads the lower may come here last. It is left out. */
static void take_spare(struct state *state)
{
	uint32_t epoch;
	bool wanted;
	int rc;

	pthread_mutex_lock(&state->lock);
	wanted = state->wants_spare;
	pthread_mutex_unlock(&state->lock);
	if (!wanted)
		return;
	pthread_mutex_lock(&state->store_lock);
	rc = boot_epoch_take(state->store, DB_EPOCH, EPOCH_STEP, &epoch);
	pthread_mutex_unlock(&state->store_lock);
	if (rc != 0) {
		log_remote("state", "cannot take an IV epoch, trying again: %s", strerror(-rc));
		return;
	}
	pthread_mutex_lock(&state->lock);
	if (epoch > state->newest_epoch) {
		state->spare_epoch = epoch;
		state->wants_spare = false;
	}
	pthread_mutex_unlock(&state->lock);
}

static void *state_thread(void *arg)
{
	static const struct sched_param none = {.sched_priority = 0};
	static const struct timespec gather = {.tv_nsec = GATHER_NS};
	struct state *state = arg;
	uint64_t sync_at_ns = 0;
	bool retry = false;

	(void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &none); /* needs no privilege */
	while (take_work(state, retry)) {
		if (state->writing->n != 0) {
			retry = !write_batch(state);
			nanosleep(&gather, NULL);
		}
		take_spare(state);
		if (clock_mono_ns() >= sync_at_ns) {
			int rc = counters_sync(state->counters, SYNC_SLOTS);

			if (rc != 0)
				log_remote("state", "cannot sync the counters file: %s",
					strerror(-rc));
			sync_at_ns = clock_mono_ns() + SYNC_EVERY_MS * NS_PER_MS;
		}
	}
	return NULL;
}

/* --- start and stop -----------------------------------------------------------------------------
 */

static int open_files(struct state *state, const char *dir, uint32_t capacity,
	enum after_power_loss policy, char *why, size_t why_size)
{
	char path[512];
	int rc = store_open(dir, databases, MAP_BYTES, &state->store, why, why_size);

	if (rc != 0)
		return rc;
	rc = store_view_new(state->store, &state->view);
	if (rc != 0) {
		snprintf(why, why_size, "%s: cannot be read: %s", dir, strerror(-rc));
		return rc;
	}
	rc = boot_epoch_take(state->store, DB_EPOCH, 1, &state->boot_epoch);
	if (rc != 0) {
		snprintf(why, why_size, "%s",
			rc == -EOVERFLOW
				? "all boot epochs are used up: replace the keys, then remove "
				  "the state folder"
				: "cannot make the boot epoch durable: check the disk under "
				  "state_dir");
		return rc;
	}
	state->newest_epoch = state->boot_epoch;
	snprintf(path, sizeof path, "%s/counters", dir);
	return counters_open(path, capacity, policy, &state->counters, why, why_size);
}

static void init_locks(struct state *state)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&state->store_lock, NULL);
	pthread_mutex_init(&state->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&state->wake, &attr);
	pthread_condattr_destroy(&attr);
}

int state_open(const char *dir, uint32_t counters_capacity, enum after_power_loss policy,
	struct state **out, char *why, size_t why_size)
{
	struct state *state = calloc(1, sizeof *state);
	int rc = -ENOMEM;

	if (state == NULL) {
		snprintf(why, why_size, "out of memory");
		return rc;
	}
	init_locks(state);
	state->filling = calloc(1, sizeof *state->filling);
	state->writing = calloc(1, sizeof *state->writing);
	state->next = 1;
	if (state->filling == NULL || state->writing == NULL)
		snprintf(why, why_size, "out of memory");
	else
		rc = open_files(state, dir, counters_capacity, policy, why, why_size);
	if (rc != 0) {
		state_close(state);
		return rc;
	}
	*out = state;
	return 0;
}

int state_start(struct state *state)
{
	int rc = pthread_create(&state->thread, NULL, state_thread, state);

	state->started = rc == 0;
	return -rc;
}

static void batch_free(struct batch *batch)
{
	if (batch != NULL)
		wipe_secrets(batch, batch->n);
	free(batch);
}

void state_close(struct state *state)
{
	if (state == NULL)
		return;
	if (state->started) {
		pthread_mutex_lock(&state->lock);
		state->stop = true;
		pthread_cond_signal(&state->wake);
		pthread_mutex_unlock(&state->lock);
		pthread_join(state->thread, NULL);
	}
	if (state->counters != NULL)
		counters_close(state->counters);
	store_view_free(state->view);
	store_close(state->store);
	pthread_cond_destroy(&state->wake);
	pthread_mutex_destroy(&state->lock);
	pthread_mutex_destroy(&state->store_lock);
	batch_free(state->filling);
	batch_free(state->writing);
	free(state);
}

/* --- calls of the control thread ----------------------------------------------------------------
 */

uint32_t state_boot_epoch(const struct state *state)
{
	return state->boot_epoch;
}

struct counters *state_counters(struct state *state)
{
	return state->counters;
}

/* The lock is held. False: there is none. */
static bool give_spare(struct state *state, uint32_t *epoch)
{
	if (state->spare_epoch == 0)
		return false;
	*epoch = state->newest_epoch = state->spare_epoch;
	state->spare_epoch = 0;
	return true;
}

/* The lock is held. */
static void want_spare(struct state *state)
{
	if (state->wants_spare)
		return; /* it knows */
	state->wants_spare = state->kicked = true;
	pthread_cond_signal(&state->wake);
}

void state_prepare_epoch(struct state *state)
{
	pthread_mutex_lock(&state->lock);
	if (state->spare_epoch == 0)
		want_spare(state);
	pthread_mutex_unlock(&state->lock);
}

int state_ask_epoch(struct state *state, uint32_t *epoch)
{
	bool given;

	pthread_mutex_lock(&state->lock);
	given = give_spare(state, epoch);
	if (!given)
		want_spare(state);
	pthread_mutex_unlock(&state->lock);
	return given ? 0 : -EAGAIN;
}

int state_take_epoch(struct state *state, uint32_t *epoch)
{
	bool given;
	int rc;

	pthread_mutex_lock(&state->lock);
	given = give_spare(state, epoch);
	state->wants_spare = false;
	pthread_mutex_unlock(&state->lock);
	if (given)
		return 0;
	pthread_mutex_lock(&state->store_lock);
	rc = boot_epoch_take(state->store, DB_EPOCH, EPOCH_STEP, epoch);
	pthread_mutex_unlock(&state->store_lock);
	if (rc != 0)
		return rc;
	pthread_mutex_lock(&state->lock);
	state->newest_epoch = *epoch;
	if (state->spare_epoch < *epoch)
		state->spare_epoch = 0; /* taken meanwhile, and too late */
	pthread_mutex_unlock(&state->lock);
	return 0;
}

/* The newest record in batch about that node, or NULL. */
static const struct record *find_queued(
	const struct batch *batch, const struct ip_addr *home_address)
{
	for (size_t i = batch->n; i-- > 0;) {
		const struct record *record = &batch->records[i];

		if (record->table == STATE_POSITIONS &&
			memcmp(record->key, home_address, sizeof *home_address) == 0)
			return record;
	}
	return NULL;
}

static bool decode_or_tell(struct store_value value, struct position *out)
{
	const bool good = decode(value, out);

	if (!good)
		log_warn("state", "a position record is damaged or of another version, left out");
	return good;
}

/* True: the newest record is still on its way to the disk. *rc as of state_load(). */
static bool load_queued(
	struct state *state, const struct ip_addr *home_address, struct position *out, int *rc)
{
	const struct record *record;

	pthread_mutex_lock(&state->lock);
	record = find_queued(state->filling, home_address);
	if (record == NULL)
		record = find_queued(state->writing, home_address);
	*rc = record == NULL || record->change != PUT ||
			      !decode_or_tell((struct store_value){record->data, record->len}, out)
		      ? -ENOENT
		      : 0;
	pthread_mutex_unlock(&state->lock);
	return record != NULL;
}

int state_load(struct state *state, const struct ip_addr *home_address, struct position *out)
{
	uint8_t data[STATE_DATA_MAX];
	size_t len;
	int rc;

	if (load_queued(state, home_address, out, &rc))
		return rc;
	/* What left the queue is committed: the view sees it. */
	rc = store_view_get(state->view, databases[STATE_POSITIONS], home_address,
		sizeof *home_address, data, sizeof data, &len);
	if (rc == 0 && !decode_or_tell((struct store_value){data, len}, out))
		rc = -ENOENT;
	return rc;
}

static uint64_t enqueue(struct state *state, enum state_table table, enum change change,
	const void *key, size_t key_len, const void *data, size_t len)
{
	uint64_t number = 0;

	assert(key_len <= STATE_KEY_MAX && len <= STATE_DATA_MAX);
	pthread_mutex_lock(&state->lock);
	if (state->filling->n < STATE_QUEUE_MAX) {
		struct batch *batch = state->filling;
		struct record *record = &batch->records[batch->n++];

		record->table = (uint8_t)table;
		record->change = (uint8_t)change;
		record->key_len = (uint8_t)key_len;
		record->len = (uint16_t)len;
		memcpy(record->key, key, key_len);
		if (data != NULL)
			memcpy(record->data, data, len);
		number = batch->last = state->next++;
	}
	pthread_mutex_unlock(&state->lock);
	return number;
}

uint64_t state_put(struct state *state, enum state_table table, const void *key, size_t key_len,
	const void *data, size_t len)
{
	return enqueue(state, table, data == NULL ? END : PUT, key, key_len, data, len);
}

uint64_t state_end_all(
	struct state *state, enum state_table table, const void *prefix, size_t prefix_len)
{
	return enqueue(state, table, END_ALL, prefix, prefix_len, NULL, 0);
}

uint64_t state_write(
	struct state *state, const struct ip_addr *home_address, const struct position *position)
{
	uint8_t data[STATE_DATA_MAX];

	return state_put(state, STATE_POSITIONS, home_address, sizeof *home_address, data,
		encode(position, data));
}

uint64_t state_erase(struct state *state, const struct ip_addr *home_address)
{
	return state_put(state, STATE_POSITIONS, home_address, sizeof *home_address, NULL, 0);
}

/* The state thread does not run yet, so the store is ours. */

int state_get(struct state *state, enum state_table table, const void *key, size_t key_len,
	struct store_value *out)
{
	return store_get(state->store, databases[table], key, key_len, out);
}

int state_each(struct state *state, enum state_table table, store_each_fn *fn, void *arg)
{
	return store_each(state->store, databases[table], fn, arg);
}

int state_count(struct state *state, enum state_table table, size_t *out)
{
	return store_count(state->store, databases[table], out);
}

int state_clear(struct state *state, enum state_table table)
{
	return store_clear(state->store, databases[table]);
}

void state_kick(struct state *state)
{
	pthread_mutex_lock(&state->lock);
	if (state->filling->n != 0 && !state->kicked) {
		state->kicked = true;
		pthread_cond_signal(&state->wake);
	}
	pthread_mutex_unlock(&state->lock);
}

int state_flush(struct state *state)
{
	assert(!state->started);
	if (state->filling->n == 0)
		return 0;
	swap_batches(state);
	if (write_batch(state))
		return 0;
	swap_batches(state); /* still queued */
	return -EIO;
}

uint64_t state_durable(const struct state *state)
{
	return atomic_load_explicit(&state->durable, memory_order_acquire);
}

size_t state_room(struct state *state)
{
	size_t room;

	pthread_mutex_lock(&state->lock);
	room = STATE_QUEUE_MAX - state->filling->n;
	pthread_mutex_unlock(&state->lock);
	return room;
}

void state_get_stats(struct state *state, struct state_stats *out)
{
	pthread_mutex_lock(&state->lock);
	*out = state->stats;
	pthread_mutex_unlock(&state->lock);
}
