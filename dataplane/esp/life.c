/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: see life.h. A worker only adds to an SA's marks and never moves a mark on: the
 * control thread does, when it takes the news; until then each run goes this way, which is slower
 * and as exact. All is read again in each run, so limits may change at any time.
 */
#include "dataplane/esp/life.h"

#include "dataplane/esp/life_run.h"

#include <errno.h>

static uint64_t load(const _Atomic(uint64_t) *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

static uint8_t load_marks(const _Atomic(uint8_t) *marks)
{
	return atomic_load_explicit(marks, memory_order_relaxed);
}

/* Acquire pairs with the release in set_limits(). */
static const struct sa_limits *load_limits(const _Atomic(struct sa_limits *) *limits)
{
	return atomic_load_explicit(limits, memory_order_acquire);
}

static void raise_marks(
	_Atomic(uint8_t) *marks, const struct sa_limits *limits, uint32_t number, unsigned more)
{
	if ((more & ~(unsigned)load_marks(marks)) == 0)
		return;
	atomic_fetch_or_explicit(marks, (uint8_t)more, memory_order_relaxed);
	if (limits->notices != NULL)
		notices_raise(limits->notices, number);
}

static void raise_in(struct sa_in *sa, unsigned marks)
{
	raise_marks(&sa->marks, load_limits(&sa->limits), sa->number, marks);
}

static void raise_out(struct sa_out *sa, unsigned marks)
{
	raise_marks(&sa->marks, load_limits(&sa->limits), sa->number, marks);
}

/* --- workers ------------------------------------------------------------------------------------
 */

static unsigned marks_of_seq(bool esn, uint64_t seq)
{
	return (seq >= seq_percent(esn, SEQ_PERCENT_FIRST) ? SA_MARK_SEQ_FIRST : 0u) |
	       (seq >= seq_percent(esn, SEQ_PERCENT_SECOND) ? SA_MARK_SEQ_SECOND : 0u);
}

static unsigned marks_of_packets(const struct sa_limits *limits, uint64_t packets)
{
	return (packets >= load(&limits->soft_packets) ? SA_MARK_SOFT_PACKETS : 0u) |
	       (packets >= load(&limits->hard_packets) ? SA_MARK_HARD_PACKETS : 0u);
}

static unsigned marks_of_bytes(const struct sa_limits *limits, uint64_t bytes)
{
	return (bytes >= load(&limits->soft_bytes) ? SA_MARK_SOFT_BYTES : 0u) |
	       (bytes >= load(&limits->hard_bytes) ? SA_MARK_HARD_BYTES : 0u);
}

/* Outbound, a packet is a sequence number. */
static unsigned marks_of_numbers(const struct sa_out *sa, uint64_t seq)
{
	return marks_of_seq(sa->esn, seq) | marks_of_packets(load_limits(&sa->limits), seq) |
	       (seq >= seq_last(sa->esn) ? SA_MARK_SEQ_LAST : 0u);
}

static uint64_t last_number(const struct sa_out *sa)
{
	const uint64_t hard = load(&load_limits(&sa->limits)->hard_packets),
		       last = seq_last(sa->esn);

	return hard < last ? hard : last;
}

/* n, or as many as there are from first to the last number. */
static unsigned fit_numbers(const struct sa_out *sa, uint64_t first, unsigned n)
{
	const uint64_t last = last_number(sa);

	if (first > last)
		return 0;
	return last - first + 1 < n ? (unsigned)(last - first + 1) : n;
}

unsigned life_out_numbers(struct sa_out *sa, uint64_t first, unsigned n)
{
	if ((load_marks(&sa->marks) & SA_MARK_ENDED) != 0)
		return 0;
	n = fit_numbers(sa, first, n);
	raise_out(sa, marks_of_numbers(sa, first + n - 1));
	return n;
}

unsigned life_out_bytes(
	struct sa_out *sa, const struct esp_pkt pkts[], const uint8_t index[], unsigned n)
{
	const struct sa_limits *limits = load_limits(&sa->limits);
	const uint64_t hard = load(&limits->hard_bytes);
	uint64_t used = load(&sa->slot->bytes);
	unsigned k = 0;

	/* The first packet that does not fit is the end, also for a smaller one behind it. */
	if ((load_marks(&sa->marks) & (SA_MARK_ENDED | SA_MARK_HARD_BYTES)) != 0)
		return 0;
	n = fit_numbers(sa, load(&sa->slot->seq) + 1, n);
	while (k < n && used <= hard && pkts[index[k]].len <= hard - used)
		used += pkts[index[k++]].len;
	raise_out(sa, marks_of_bytes(limits, used) | (k < n ? (unsigned)SA_MARK_HARD_BYTES : 0u));
	return k;
}

enum verdict life_out_verdict(const struct sa_out *sa)
{
	return load(&sa->slot->seq) >= seq_last(sa->esn) ? VERDICT_SEQ_EXHAUSTED : VERDICT_EXPIRED;
}

/* Of the next packet, in a run that has used so much. */
static unsigned refused_for(
	const struct sa_limits *limits, uint64_t packets, uint64_t bytes, uint32_t len)
{
	const uint64_t hard = load(&limits->hard_bytes);

	if (packets >= load(&limits->hard_packets))
		return SA_MARK_HARD_PACKETS;
	return bytes > hard || len > hard - bytes ? SA_MARK_HARD_BYTES : 0;
}

void life_in_run(struct sa_in *sa, const struct esp_pkt pkts[], const uint8_t at[],
	enum verdict verdicts[], unsigned n, uint64_t *packets, uint64_t *bytes)
{
	const uint64_t packets_before = load(&sa->slot->packets);
	const uint64_t bytes_before = load(&sa->slot->bytes);
	const struct sa_limits *limits = load_limits(&sa->limits);
	unsigned over = load_marks(&sa->marks) & (SA_MARK_ENDED | SA_MARKS_HARD);

	*packets = *bytes = 0;
	for (unsigned k = 0; k < n; k++) {
		const uint32_t len = pkts[at[k]].len;

		if (verdicts[at[k]] != VERDICT_OK)
			continue;
		if (over == 0)
			over = refused_for(
				limits, packets_before + *packets, bytes_before + *bytes, len);
		if (over != 0) {
			verdicts[at[k]] = VERDICT_EXPIRED;
			continue;
		}
		++*packets;
		*bytes += len;
	}
	raise_in(sa, over | marks_of_seq(sa->esn, load(&sa->slot->seq)) |
			     marks_of_packets(limits, packets_before + *packets) |
			     marks_of_bytes(limits, bytes_before + *bytes));
}

/* --- control ------------------------------------------------------------------------------------
 */

static void store(_Atomic(uint64_t) *cell, uint64_t limit)
{
	atomic_store_explicit(cell, limit == 0 ? UINT64_MAX : limit, memory_order_relaxed);
}

void sa_limits_init_shared(struct sa_limits *limits, struct notices *notices)
{
	*limits = (struct sa_limits){.notices = notices, .shared = true};
	store(&limits->soft_packets, 0);
	store(&limits->hard_packets, 0);
	store(&limits->soft_bytes, 0);
	store(&limits->hard_bytes, 0);
}

static bool is_limited(const struct sa_limit *limit)
{
	return limit->soft != 0 || limit->hard != 0;
}

static bool wants_own(const struct sa_lifetimes *life)
{
	return is_limited(&life->packets) || is_limited(&life->bytes);
}

struct sa_limits *sa_limits_new(
	const struct sa_memory *memory, const struct sa_lifetimes *life, struct sa_limits *shared)
{
	struct sa_limits *own;

	if (!wants_own(life))
		return shared;
	own = memory->alloc(memory->arg, sizeof *own, SA_CACHE_LINE);
	if (own == NULL)
		return NULL;
	sa_limits_init_shared(own, shared->notices);
	own->shared = false;
	return own;
}

void sa_limits_free(const struct sa_memory *memory, struct sa_limits *limits)
{
	if (!limits->shared)
		memory->free(memory->arg, limits, sizeof *limits);
}

static int set_limits(const struct sa_memory *memory, _Atomic(struct sa_limits *) *cell,
	const struct sa_lifetimes *lifetimes)
{
	struct sa_limits *own = atomic_load_explicit(cell, memory_order_relaxed);

	if (own->shared)
		own = sa_limits_new(memory, lifetimes, own);
	if (own == NULL)
		return -ENOMEM;
	if (own->shared)
		return 0;
	store(&own->soft_packets, lifetimes->packets.soft);
	store(&own->hard_packets, lifetimes->packets.hard);
	store(&own->soft_bytes, lifetimes->bytes.soft);
	store(&own->hard_bytes, lifetimes->bytes.hard);
	atomic_store_explicit(cell, own, memory_order_release);
	return 0;
}

static void forget_marks(_Atomic(uint8_t) *marks, uint8_t *told)
{
	*told = 0;
	atomic_fetch_and_explicit(marks, SA_MARK_ENDED, memory_order_relaxed);
}

/* mark, or what comes earlier: the number before limit, if that was not reached yet. */
static uint64_t before(uint64_t mark, uint64_t limit, bool reached)
{
	return !reached && limit - 1 < mark ? limit - 1 : mark;
}

/* What workers compare with: the next thing that was not told of. */
static void set_seq_mark(struct sa_out *sa)
{
	const unsigned told = sa->told;
	uint64_t seq = before(last_number(sa), last_number(sa), (told & SA_MARKS_HARD) != 0);

	seq = before(seq, load(&load_limits(&sa->limits)->soft_packets),
		(told & SA_MARK_SOFT_PACKETS) != 0);
	seq = before(seq, seq_percent(sa->esn, SEQ_PERCENT_FIRST), (told & SA_MARK_SEQ_FIRST) != 0);
	seq = before(
		seq, seq_percent(sa->esn, SEQ_PERCENT_SECOND), (told & SA_MARK_SEQ_SECOND) != 0);
	/* A run that begins below this does not get there. */
	seq = seq < ESP_BURST_MAX ? 0 : seq - (ESP_BURST_MAX - 1);
	if ((load_marks(&sa->marks) & SA_MARK_ENDED) != 0)
		seq = 0;
	atomic_store_explicit(&sa->seq_mark, seq, memory_order_relaxed);
}

int sa_out_set_life(
	const struct sa_memory *memory, struct sa_out *sa, const struct sa_lifetimes *life)
{
	int ret = set_limits(memory, &sa->limits, life);

	if (ret != 0)
		return ret;
	forget_marks(&sa->marks, &sa->told);
	atomic_store_explicit(&sa->bytes_watched,
		is_limited(&life->bytes) || (load_marks(&sa->marks) & SA_MARK_ENDED) != 0,
		memory_order_relaxed);
	set_seq_mark(sa);
	raise_out(sa, marks_of_numbers(sa, load(&sa->slot->seq)) |
			      marks_of_bytes(load_limits(&sa->limits), load(&sa->slot->bytes)));
	return 0;
}

int sa_in_set_life(
	const struct sa_memory *memory, struct sa_in *sa, const struct sa_lifetimes *life)
{
	const struct sa_limits *limits;
	int ret = set_limits(memory, &sa->limits, life);

	if (ret != 0)
		return ret;
	forget_marks(&sa->marks, &sa->told);
	atomic_store_explicit(&sa->watched,
		wants_own(life) || (load_marks(&sa->marks) & SA_MARK_ENDED) != 0,
		memory_order_relaxed);
	limits = load_limits(&sa->limits);
	raise_in(sa, marks_of_seq(sa->esn, load(&sa->slot->seq)) |
			     marks_of_packets(limits, load(&sa->slot->packets)) |
			     marks_of_bytes(limits, load(&sa->slot->bytes)));
	return 0;
}

/* Nobody can find the SA yet. What was reached in an earlier run is told at once. */
static void set_hearer(
	_Atomic(struct sa_limits *) *cell, struct sa_limits *shared, uint32_t number, uint8_t marks)
{
	struct sa_limits *limits = atomic_load_explicit(cell, memory_order_relaxed);

	if (limits->shared)
		atomic_store_explicit(cell, shared, memory_order_relaxed);
	else
		limits->notices = shared->notices;
	if (marks != 0)
		notices_raise(shared->notices, number);
}

void sa_in_set_hearer(struct sa_in *sa, struct sa_limits *shared, uint32_t number)
{
	sa->number = number;
	set_hearer(&sa->limits, shared, number, load_marks(&sa->marks));
}

void sa_out_set_hearer(struct sa_out *sa, struct sa_limits *shared, uint32_t number)
{
	sa->number = number;
	set_hearer(&sa->limits, shared, number, load_marks(&sa->marks));
}

void sa_in_end(struct sa_in *sa)
{
	atomic_fetch_or_explicit(&sa->marks, SA_MARK_ENDED, memory_order_relaxed);
	atomic_store_explicit(&sa->watched, true, memory_order_relaxed);
}

void sa_out_end(struct sa_out *sa)
{
	atomic_fetch_or_explicit(&sa->marks, SA_MARK_ENDED, memory_order_relaxed);
	atomic_store_explicit(&sa->bytes_watched, true, memory_order_relaxed);
	set_seq_mark(sa);
}

/* What is set meanwhile raises its notice afterwards. */
static uint8_t take_marks(const _Atomic(uint8_t) *marks, uint8_t *told)
{
	const uint8_t fresh = load_marks(marks) & (uint8_t) ~(*told | SA_MARK_ENDED);

	*told |= fresh;
	return fresh;
}

uint8_t sa_in_take_marks(struct sa_in *sa)
{
	return take_marks(&sa->marks, &sa->told);
}

uint8_t sa_out_take_marks(struct sa_out *sa)
{
	const uint8_t fresh = take_marks(&sa->marks, &sa->told);

	if (fresh != 0)
		set_seq_mark(sa);
	return fresh;
}
