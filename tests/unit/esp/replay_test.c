/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The replay window by tables and against a model that remembers every number: edges, sizes, the
 * wrap of 32 bits with and without extended numbers, far jumps, interrupted commits.
 */
#include "tests/unit/esp/rig.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static const uint32_t windows[] = {64, 65, 100, 128, 192, 256, 512, 1000, 1024, 2048, 4095, 4096};
#define N_WINDOWS (sizeof windows / sizeof windows[0])

struct window { /* an SA of which only what replay.c looks at is set */
	struct sa_in sa;
	struct counters *counters;
};

static void window_open(struct window *w, uint32_t size, bool esn, uint64_t edge)
{
	static const uint8_t id[COUNTERS_ID_BYTES] = {1};

	*w = (struct window){.sa.esn = esn, .counters = rig_counters(rig_file(), 1)};
	w->sa.slot = counters_take(w->counters, id, size);
	if (w->sa.slot == NULL)
		abort();
	sa_in_set_slot(&w->sa, w->sa.slot);
	w->sa.slot->seq = edge;
}

/* As new, without another file: opening one waits for the disk. */
static void window_reset(struct window *w)
{
	w->sa.slot->seq = 0;
	for (uint32_t i = 0; i < w->sa.slot->n_words; i++)
		w->sa.slot->bits[i] = 0;
}

static void window_close(struct window *w)
{
	counters_close(w->counters);
}

static bool commit(struct window *w, uint64_t seq)
{
	bool tested = replay_test(&w->sa, seq);
	bool committed = replay_commit(&w->sa, seq);

	CU_ASSERT_EQUAL(tested, committed);
	return committed;
}

static void test_edges(void)
{
	for (size_t i = 0; i < N_WINDOWS; i++) {
		uint32_t size = windows[i];
		const struct {
			uint64_t seq;
			bool want;
		} steps[] = {
			{0, false},
			{1, true},
			{1, false},
			{size, true}, /* 1 is the last number inside */
			{1, false},
			{2, true},
			{size + 1, true}, /* 1 is outside, 2 inside and seen */
			{1, false},
			{2, false},
			{3, true},
			{10u * size, true},    /* everything before is left of it */
			{9u * size, false},    /* left by one */
			{9u * size + 1, true}, /* leftmost */
			{9u * size + 1, false},
			{10u * size - 1, true},
			{10u * size, false},
			{10u * size + 1, true},
			{9u * size + 1, false}, /* pushed out */
			{9u * size + 2, true},
			{UINT64_C(1) << 62, true},
			{10u * size + 2, false},
			{(UINT64_C(1) << 62) - size, false},
			{(UINT64_C(1) << 62) - size + 1, true},
			{0, false},
		};
		struct window w;
		char row[48];

		window_open(&w, size, true, 0);
		for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
			snprintf(row, sizeof row, "window %u step %zu", size, k);
			CHECK_ROW(row, commit(&w, steps[k].seq) == steps[k].want);
		}
		window_close(&w);
	}
}

/* Jumps of all sizes around words and rings: what is new is taken, what is behind stays refused. */
static void test_jumps(void)
{
	for (size_t i = 0; i < N_WINDOWS; i++) {
		struct window w;

		window_open(&w, windows[i], true, 0);
		for (uint64_t jump = 1; jump < 3 * 8192; jump += 1 + jump / 7) {
			uint64_t edge = 100000;
			bool good = true;

			window_reset(&w);
			for (uint64_t seq = edge - windows[i] - 70; seq <= edge; seq++)
				good &= commit(&w, seq);
			good &= commit(&w, edge + jump);
			for (uint64_t seq = edge - windows[i]; seq <= edge; seq++)
				good &= !commit(&w, seq);
			for (uint64_t seq = edge + 1; seq < edge + jump; seq++) {
				bool inside = edge + jump - seq < windows[i];

				good &= commit(&w, seq) == inside;
				good &= !commit(&w, seq);
			}
			good &= commit(&w, edge + jump + 1) && !commit(&w, edge + jump);
			CU_ASSERT_TRUE(good);
		}
		window_close(&w);
	}
}

/* Random walk against a model with a flag for each number. */
static void test_model(void)
{
	enum { NUMBERS = 200000 };
	uint8_t *seen = malloc(NUMBERS);

	for (size_t i = 0; i < N_WINDOWS; i++) {
		uint64_t top = 0, state = 88172645463325252u + i;
		bool good = true;
		struct window w;

		memset(seen, 0, NUMBERS);
		window_open(&w, windows[i], true, 0);
		for (unsigned step = 0; step < 60000; step++) {
			uint64_t seq, back;
			bool want;

			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			back = state % (windows[i] + 40);
			seq = top + state / 65536 % 6 > back ? top + state / 65536 % 6 - back : 0;
			if (seq >= NUMBERS)
				break;
			want = seq != 0 && !seen[seq] && (seq > top || top - seq < windows[i]);
			good &= commit(&w, seq) == want;
			if (want)
				seen[seq] = 1;
			top = seq > top ? seq : top;
		}
		CU_ASSERT_TRUE(good);
		CU_ASSERT_EQUAL(w.sa.slot->seq, top);
		window_close(&w);
	}
	free(seen);
}

#define TOP UINT64_C(0x300000000)

static void test_infer(void)
{
	static const struct {
		const char *name;
		bool esn;
		uint32_t window;
		uint64_t edge;
		uint32_t low;
		uint64_t want;
	} rows[] = {
		{"no ESN: as it is", false, 64, 0xffffffff, 5, 5},
		{"first", true, 64, 0, 1, 1},
		{"start, beyond the window", true, 64, 0, 1000, 1000},
		{"start, would be before 0", true, 64, 0, 0xffffffff, 0},
		{"start, leftmost that would be before 0", true, 64, 10, 0xffffffcb, 0},
		{"start, just a far jump", true, 64, 10, 0xffffffca, 0xffffffca},
		{"A: right edge", true, 64, TOP + 1000, 1000, TOP + 1000},
		{"A: leftmost", true, 64, TOP + 1000, 937, TOP + 937},
		{"A: left of it, so next subspace", true, 64, TOP + 1000, 936,
			TOP + 936 + 0x100000000},
		{"A: ahead", true, 64, TOP + 1000, 0xffffffff, TOP + 0xffffffff},
		{"A: window just inside, 0 is leftmost", true, 64, TOP + 63, 0, TOP},
		{"A: window just inside, all ahead", true, 64, TOP + 63, 0xffffffff,
			TOP + 0xffffffff},
		{"B: one number of the old subspace", true, 64, TOP + 62, 0xffffffff, TOP - 1},
		{"B: second would be left of it", true, 64, TOP + 62, 0xfffffffe, TOP + 0xfffffffe},
		{"B: in the new subspace", true, 64, TOP + 62, 0, TOP},
		{"B: edge is 0", true, 64, TOP, 0xffffffc1, TOP - 63},
		{"B: edge is 0, ahead", true, 64, TOP, 0xffffffc0, TOP + 0xffffffc0},
		{"roll-over from below", true, 64, TOP - 1, 0, TOP},
		{"roll-over with a jump of 2^31", true, 64, TOP - 1, 0x7fffffff, TOP + 0x7fffffff},
		{"largest window", true, 4096, TOP, 0xfffff001, TOP - 4095},
		{"largest window, ahead", true, 4096, TOP, 0xfffff000, TOP + 0xfffff000},
		{"behind the last number of all", true, 64, UINT64_MAX, 0, 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct window w;

		window_open(&w, rows[i].window, rows[i].esn, rows[i].edge);
		CHECK_ROW(rows[i].name, replay_infer(&w.sa, rows[i].low) == rows[i].want);
		window_close(&w);
	}
}

/* A receiver sees low halves only and follows the sender over the wrap, in order and not. */
static void test_infer_follows(void)
{
	for (size_t i = 0; i < N_WINDOWS; i++) {
		uint64_t start = 2 * UINT64_C(0x100000000) - 20000;
		bool good = true;
		struct window w;

		window_open(&w, windows[i], true, start);
		for (uint64_t seq = start + 2; seq < start + 40000; seq += 2) {
			good &= replay_infer(&w.sa, (uint32_t)seq) == seq && commit(&w, seq);
			good &= replay_infer(&w.sa, (uint32_t)(seq - 1)) == seq - 1 &&
				commit(&w, seq - 1);
			/* leftmost of the window */
			if (seq - start > windows[i])
				good &= replay_infer(&w.sa, (uint32_t)(seq - windows[i] + 1)) ==
					seq - windows[i] + 1;
		}
		CU_ASSERT_TRUE(good);
		window_close(&w);
	}
}

/* Without ESN nothing follows 2^32 - 1: the receiver takes no number twice. */
static void test_32_bit_end(void)
{
	struct window w;

	window_open(&w, 64, false, 0xfffffff0);
	CU_ASSERT_TRUE(commit(&w, replay_infer(&w.sa, 0xfffffffe)));
	CU_ASSERT_TRUE(commit(&w, replay_infer(&w.sa, 0xffffffff)));
	CU_ASSERT_FALSE(commit(&w, replay_infer(&w.sa, 0)));
	CU_ASSERT_FALSE(commit(&w, replay_infer(&w.sa, 1)));
	CU_ASSERT_FALSE(commit(&w, replay_infer(&w.sa, 0xffffffff)));
	window_close(&w);
}

/* The end of all 64 bits: what would come next is refused, not taken for a small number. */
static void test_64_bit_end(void)
{
	struct window w;

	window_open(&w, 64, true, UINT64_MAX - 3);
	CU_ASSERT_TRUE(commit(&w, UINT64_MAX));
	CU_ASSERT_FALSE(commit(&w, UINT64_MAX));
	CU_ASSERT_TRUE(commit(&w, UINT64_MAX - 1));
	CU_ASSERT_FALSE(commit(&w, replay_infer(&w.sa, 0)));
	CU_ASSERT_FALSE(commit(&w, replay_infer(&w.sa, 7)));
	window_close(&w);
}

/* What a kill between "edge" and "clear" leaves behind: the edge has moved, old marks stand. It may
 * cost packets; nothing accepted before is accepted again, and the window recovers. */
static void test_half_done_jump(void)
{
	for (size_t i = 0; i < N_WINDOWS; i++) {
		bool good = true, all = true;
		struct window w;

		window_open(&w, windows[i], true, 0);
		for (uint64_t seq = 1; seq <= 20000; seq++)
			good &= commit(&w, seq);
		w.sa.slot->seq = 20000 + 1000;
		for (uint64_t seq = 1; seq <= 20000; seq++)
			good &= !commit(&w, seq);
		for (uint64_t seq = 40000; seq < 60000; seq++)
			all &= commit(&w, seq);
		CU_ASSERT_TRUE(good);
		CU_ASSERT_TRUE(all);
		window_close(&w);
	}
}

/* A child commits one number on memory shared with us, an instruction at a time; what the memory
 * holds after each is what a kill -9 there would leave in the file. Returns how many such states
 * were seen; *good: none of them accepts one of [first, last] again, all of which are seen. */
static unsigned step_through_commit(
	struct sa_in *sa, uint64_t seq, uint64_t first, uint64_t last, bool *good)
{
	size_t bytes = sizeof *sa->slot + sa->slot->n_words * sizeof sa->slot->bits[0];
	struct counter_slot *state = malloc(bytes);
	struct sa_in after_kill = {.esn = true, .slot = state};
	unsigned states = 0;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(replay_commit(sa, seq) ? 0 : 1);
	}
	memcpy(state, sa->slot, bytes);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (memcmp(state, sa->slot, bytes) != 0) {
			memcpy(state, sa->slot, bytes);
			states++;
			for (uint64_t old = first; old <= last; old++)
				*good &= !replay_test(&after_kill, old);
		}
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0)
			break;
	}
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	free(state);
	return states;
}

static void test_kill_at_each_instruction(void)
{
	static const uint64_t jumps[] = {1, 64, 65, 130, 960, 961, 1024, 2048, 8192};
	const uint64_t edge = 20011;

	for (size_t i = 0; i < N_WINDOWS; i += 8) { /* 64 and 1024 */
		struct window w;

		window_open(&w, windows[i], true, 0);
		for (size_t k = 0; k < sizeof jumps / sizeof jumps[0]; k++) {
			bool good = true;
			unsigned states;
			char row[48];

			snprintf(row, sizeof row, "window %u jump %lu", windows[i], jumps[k]);
			window_reset(&w);
			w.sa.slot->seq = edge - 5000;
			for (uint64_t seq = edge - 4900; seq <= edge; seq++)
				CHECK_ROW(row, replay_commit(&w.sa, seq));
			states = step_through_commit(
				&w.sa, edge + jumps[k], edge - 4900, edge, &good);
			CHECK_ROW(row, good);
			/* Edge and mark at least: the steps were really seen. */
			CHECK_ROW(row, states >= 2);
		}
		window_close(&w);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"edges of the window", test_edges},
		{"jumps", test_jumps},
		{"random walk against a model", test_model},
		{"inferred high half", test_infer},
		{"inference over the wrap", test_infer_follows},
		{"end of 32 bits", test_32_bit_end},
		{"end of 64 bits", test_64_bit_end},
		{"half-done jump", test_half_done_jump},
		{"kill at each instruction", test_kill_at_each_instruction},
		{NULL, NULL},
	};
	int ret = unit_run("replay", cases);

	unit_remove_folder();
	return ret;
}
