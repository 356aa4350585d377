/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One SA in the hands of several threads: a number is accepted once, sequence numbers and IVs are
 * given out once, also while the control thread takes new IV epochs. Meant for TSan too.
 */
#include "tests/unit/esp/rig.h"

#include <pthread.h>

#define THREADS 4
#define BURST 8
/* All numbers fit the window, so that each must be accepted exactly once, whatever the order. */
#define NUMBERS 4000u
#define LONG_NUMBERS 400000u

struct shared {
	struct rig rig;
	pthread_barrier_t start;
	_Atomic(uint32_t) next;
	_Atomic(uint32_t) running;
	_Atomic(uint8_t) *accepted; /* how often, by number */
	uint8_t (*packets)[128];    /* sealed, by number */
	uint32_t packet_len;
};

struct worker {
	pthread_t thread;
	struct shared *shared;
	struct {
		uint64_t seq, iv;
	} * sent; /* by this worker */
	uint32_t n_sent, n_refused;
};

static void run_workers(struct shared *shared, struct worker workers[THREADS], void *(*fn)(void *),
	void (*meanwhile)(struct shared *shared))
{
	pthread_barrier_init(&shared->start, NULL, THREADS);
	shared->running = THREADS;
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].shared = shared;
		if (pthread_create(&workers[i].thread, NULL, fn, &workers[i]) != 0)
			abort();
	}
	if (meanwhile != NULL)
		meanwhile(shared);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&shared->start);
}

static void open_shared(struct shared *shared, uint32_t window, uint32_t numbers)
{
	memset(shared, 0, sizeof *shared);
	rig_open(&shared->rig, CRYPTO_AES128GCM16, true, window);
	shared->rig.in->shared = shared->rig.out->shared = true;
	shared->accepted = calloc(numbers + 1, sizeof *shared->accepted);
}

static void close_shared(struct shared *shared)
{
	rig_close(&shared->rig);
	free(shared->accepted);
	free(shared->packets);
}

static uint32_t count_not(const struct shared *shared, uint32_t numbers, uint8_t want, bool at_most)
{
	uint32_t wrong = 0;

	for (uint32_t seq = 1; seq <= numbers; seq++)
		wrong += at_most ? shared->accepted[seq] > want : shared->accepted[seq] != want;
	return wrong;
}

/* Every worker offers every number. */
static void *commit_all(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct sa_in *sa = shared->rig.in;

	pthread_barrier_wait(&shared->start);
	for (uint32_t seq = 1; seq <= NUMBERS; seq++)
		if (replay_test(sa, seq) && replay_commit(sa, seq))
			shared->accepted[seq]++;
	return NULL;
}

static void test_commit_exactly_once(void)
{
	struct worker workers[THREADS] = {0};
	struct shared shared;

	open_shared(&shared, 4096, NUMBERS);
	run_workers(&shared, workers, commit_all, NULL);
	CU_ASSERT_EQUAL(count_not(&shared, NUMBERS, 1, false), 0);
	CU_ASSERT_EQUAL(shared.rig.in->slot->seq, NUMBERS);
	close_shared(&shared);
}

/* Overlapping runs of numbers, so that most are offered twice, by different workers. */
static void *commit_overlapping(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct sa_in *sa = shared->rig.in;
	uint32_t base;

	pthread_barrier_wait(&shared->start);
	while ((base = atomic_fetch_add(&shared->next, BURST)) + 2 * BURST < LONG_NUMBERS)
		for (uint32_t seq = base + 1; seq <= base + 2 * BURST; seq++)
			if (replay_test(sa, seq) && replay_commit(sa, seq))
				shared->accepted[seq]++;
	return NULL;
}

static void test_commit_at_most_once(void)
{
	static const uint32_t windows[] = {64, 1024};

	for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
		struct worker workers[THREADS] = {0};
		struct shared shared;

		open_shared(&shared, windows[i], LONG_NUMBERS);
		run_workers(&shared, workers, commit_overlapping, NULL);
		CU_ASSERT_EQUAL(count_not(&shared, LONG_NUMBERS, 1, true), 0);
		CU_ASSERT_TRUE(shared.rig.in->slot->seq > LONG_NUMBERS - 4 * BURST);
		close_shared(&shared);
	}
}

/* Every worker decapsulates a copy of every packet. */
static void *decap_all(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct rig *rig = &shared->rig;
	struct crypto_thread *thread = rig->engine->thread_new();
	struct sa_in *sas[BURST];

	for (unsigned i = 0; i < BURST; i++)
		sas[i] = rig->in;
	pthread_barrier_wait(&shared->start);
	for (uint32_t seq = 1; seq + BURST <= NUMBERS + 1; seq += BURST) {
		uint8_t copies[BURST][128];
		struct esp_pkt pkts[BURST];
		enum verdict verdicts[BURST] = {0};

		for (unsigned i = 0; i < BURST; i++) {
			memcpy(copies[i], shared->packets[seq + i], 128);
			pkts[i] = (struct esp_pkt){.data = copies[i],
				.len = shared->packet_len,
				.outer_bytes = RIG_OUTER_BYTES};
		}
		esp_decap_burst(thread, rig->engine, sas, pkts, verdicts, BURST);
		for (unsigned i = 0; i < BURST; i++) {
			if (verdicts[i] == VERDICT_OK)
				shared->accepted[seq + i]++;
			else if (verdicts[i] != VERDICT_REPLAY)
				worker->n_refused++;
		}
	}
	rig->engine->thread_free(thread);
	return NULL;
}

static void test_decap_exactly_once(void)
{
	struct worker workers[THREADS] = {0};
	uint8_t text[64];
	struct shared shared;
	uint32_t text_len;

	open_shared(&shared, 4096, NUMBERS);
	shared.packets = calloc(NUMBERS + 1, sizeof *shared.packets);
	rig_inner(text, 40, 0);
	text_len = rig_trailer(text, 40, 4);
	for (uint32_t seq = 1; seq <= NUMBERS; seq++)
		shared.packet_len = rig_packet(
			&shared.rig.params, seq, 0, text, text_len, shared.packets[seq]);
	run_workers(&shared, workers, decap_all, NULL);
	CU_ASSERT_EQUAL(count_not(&shared, NUMBERS, 1, false), 0);
	for (unsigned i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL(workers[i].n_refused, 0);
	CU_ASSERT_EQUAL(shared.rig.in->slot->packets, NUMBERS);
	CU_ASSERT_EQUAL(shared.rig.in->slot->bytes, NUMBERS * 40);
	close_shared(&shared);
}

#define SENDS 20000u
#define EPOCH_LEFT 3000u /* IVs that an epoch has left in this test */

static void *encap_many(void *arg)
{
	struct worker *worker = arg;
	struct shared *shared = worker->shared;
	struct rig *rig = &shared->rig;
	struct crypto_thread *thread = rig->engine->thread_new();
	const struct path *paths[BURST];
	struct sa_out *sas[BURST];

	for (unsigned i = 0; i < BURST; i++) {
		sas[i] = rig->out;
		paths[i] = &rig->path;
	}
	pthread_barrier_wait(&shared->start);
	while (worker->n_sent + BURST <= SENDS) {
		uint8_t buffers[BURST][160];
		struct esp_pkt pkts[BURST];
		enum verdict verdicts[BURST] = {0};

		for (unsigned i = 0; i < BURST; i++) {
			pkts[i] = (struct esp_pkt){
				.data = buffers[i] + 64, .len = 40, .headroom = 64, .tailroom = 56};
			rig_inner(pkts[i].data, 40, 0);
		}
		esp_encap_burst(thread, rig->engine, sas, paths, pkts, verdicts, BURST);
		for (unsigned i = 0; i < BURST; i++) {
			const uint8_t *esp = pkts[i].data + RIG_OUTER_BYTES;

			if (verdicts[i] != VERDICT_OK) {
				worker->n_refused++;
				continue;
			}
			worker->sent[worker->n_sent].seq = wire_load_u32(esp + 4);
			worker->sent[worker->n_sent++].iv = wire_load_u64(esp + 8);
		}
	}
	rig->engine->thread_free(thread);
	atomic_fetch_sub(&shared->running, 1);
	return NULL;
}

/* The control thread: whenever the IVs are used up, a new epoch, of which most is skipped. */
static void renew_epochs(struct shared *shared)
{
	struct sa_out *sa = shared->rig.out;

	while (atomic_load(&shared->running) != 0) {
		if (!sa_out_iv_used_up(sa))
			continue;
		sa_out_renew_iv(sa, sa->iv_epoch + 2);
		atomic_fetch_add(&sa->iv, (UINT64_C(1) << SA_IV_COUNTER_BITS) - EPOCH_LEFT);
	}
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint32_t count_twice(uint64_t *values, uint32_t n)
{
	uint32_t twice = 0;

	qsort(values, n, sizeof *values, by_number);
	for (uint32_t i = 1; i < n; i++)
		twice += values[i] == values[i - 1];
	return twice;
}

static void check_sent(struct worker workers[THREADS], uint32_t *refused)
{
	uint64_t *seqs = malloc(THREADS * SENDS * sizeof *seqs);
	uint64_t *ivs = malloc(THREADS * SENDS * sizeof *ivs);
	uint32_t n = 0;

	*refused = 0;
	for (unsigned i = 0; i < THREADS; i++) {
		for (uint32_t k = 0; k < workers[i].n_sent; k++, n++) {
			seqs[n] = workers[i].sent[k].seq;
			ivs[n] = workers[i].sent[k].iv;
		}
		*refused += workers[i].n_refused;
	}
	CU_ASSERT_TRUE(n > THREADS * (SENDS - BURST));
	CU_ASSERT_EQUAL(count_twice(seqs, n), 0);
	CU_ASSERT_EQUAL(count_twice(ivs, n), 0);
	/* Nothing was lost but what was refused. */
	CU_ASSERT_EQUAL(seqs[n - 1], n + *refused);
	free(seqs);
	free(ivs);
}

static void test_numbers_given_out_once(void)
{
	for (int with_epochs = 0; with_epochs < 2; with_epochs++) {
		struct worker workers[THREADS] = {0};
		struct shared shared;
		uint32_t refused;

		open_shared(&shared, 64, 1);
		for (unsigned i = 0; i < THREADS; i++)
			workers[i].sent = calloc(SENDS, sizeof *workers[i].sent);
		if (with_epochs)
			shared.rig.out->iv += (UINT64_C(1) << SA_IV_COUNTER_BITS) - EPOCH_LEFT;
		run_workers(&shared, workers, encap_many, with_epochs ? renew_epochs : NULL);
		check_sent(workers, &refused);
		if (!with_epochs) /* a quick renewal may come before anybody is refused */
			CU_ASSERT_EQUAL(refused, 0);
		CU_ASSERT_EQUAL(shared.rig.out->iv_epoch > 7 + 10, with_epochs != 0);
		for (unsigned i = 0; i < THREADS; i++)
			free(workers[i].sent);
		close_shared(&shared);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"commit exactly once", test_commit_exactly_once},
		{"commit at most once", test_commit_at_most_once},
		{"decap exactly once", test_decap_exactly_once},
		{"numbers given out once", test_numbers_given_out_once},
		{NULL, NULL},
	};
	int ret = unit_run("esp stress", cases);

	unit_remove_folder();
	return ret;
}
