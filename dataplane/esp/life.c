/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: see life.h. A worker only adds to life.marks and never moves a mark on: the
 * control thread does, when it takes the news; until then each run goes this way, which is slower
 * and as exact. All is read again in each run, so limits may change at any time.
 */
#include "dataplane/esp/life.h"

#include "dataplane/esp/life_run.h"

#include <string.h>

#define RUN_BYTES_MAX (ESP_BURST_MAX * UINT64_C(65535)) /* an IP packet has no more */

static uint64_t load(const _Atomic(uint64_t) *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

static uint8_t marks_of(const struct sa_life *life)
{
	return atomic_load_explicit(&life->marks, memory_order_relaxed);
}

static void raise_marks(struct sa_life *life, unsigned marks)
{
	if ((marks & ~(unsigned)marks_of(life)) == 0)
		return;
	atomic_fetch_or_explicit(&life->marks, (uint8_t)marks, memory_order_relaxed);
	if (life->notices != NULL)
		notices_raise(life->notices, life->number);
}

/* --- workers ------------------------------------------------------------------------------------
 */

static unsigned marks_of_seq(bool esn, uint64_t seq)
{
	return (seq >= seq_percent(esn, SEQ_PERCENT_FIRST) ? SA_MARK_SEQ_FIRST : 0u) |
	       (seq >= seq_percent(esn, SEQ_PERCENT_SECOND) ? SA_MARK_SEQ_SECOND : 0u);
}

static unsigned marks_of_packets(const struct sa_life *life, uint64_t packets)
{
	return (packets >= load(&life->soft_packets) ? SA_MARK_SOFT_PACKETS : 0u) |
	       (packets >= load(&life->hard_packets) ? SA_MARK_HARD_PACKETS : 0u);
}

static unsigned marks_of_bytes(const struct sa_life *life, uint64_t bytes)
{
	return (bytes >= load(&life->soft_bytes) ? SA_MARK_SOFT_BYTES : 0u) |
	       (bytes >= load(&life->hard_bytes) ? SA_MARK_HARD_BYTES : 0u);
}

/* Outbound, a packet is a sequence number. */
static unsigned marks_of_numbers(const struct sa_out *sa, uint64_t seq)
{
	return marks_of_seq(sa->esn, seq) | marks_of_packets(&sa->life, seq) |
	       (seq >= seq_last(sa->esn) ? SA_MARK_SEQ_LAST : 0u);
}

static uint64_t last_number(const struct sa_out *sa)
{
	const uint64_t hard = load(&sa->life.hard_packets), last = seq_last(sa->esn);

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
	if ((marks_of(&sa->life) & SA_MARK_ENDED) != 0)
		return 0;
	n = fit_numbers(sa, first, n);
	raise_marks(&sa->life, marks_of_numbers(sa, first + n - 1));
	return n;
}

unsigned life_out_bytes(
	struct sa_out *sa, const struct esp_pkt pkts[], const uint8_t index[], unsigned n)
{
	const uint64_t hard = load(&sa->life.hard_bytes);
	uint64_t used = load(&sa->slot->bytes);
	unsigned k = 0;

	/* The first packet that does not fit is the end, also for a smaller one behind it. */
	if ((marks_of(&sa->life) & (SA_MARK_ENDED | SA_MARK_HARD_BYTES)) != 0)
		return 0;
	n = fit_numbers(sa, load(&sa->slot->seq) + 1, n);
	while (k < n && used <= hard && pkts[index[k]].len <= hard - used)
		used += pkts[index[k++]].len;
	raise_marks(&sa->life,
		marks_of_bytes(&sa->life, used) | (k < n ? (unsigned)SA_MARK_HARD_BYTES : 0u));
	return k;
}

enum verdict life_out_verdict(const struct sa_out *sa)
{
	return load(&sa->slot->seq) >= seq_last(sa->esn) ? VERDICT_SEQ_EXHAUSTED : VERDICT_EXPIRED;
}

/* Of the next packet, in a run that has used so much. */
static unsigned refused_for(
	const struct sa_life *life, uint64_t packets, uint64_t bytes, uint32_t len)
{
	const uint64_t hard = load(&life->hard_bytes);

	if (packets >= load(&life->hard_packets))
		return SA_MARK_HARD_PACKETS;
	return bytes > hard || len > hard - bytes ? SA_MARK_HARD_BYTES : 0;
}

void life_in_run(struct sa_in *sa, const struct esp_pkt pkts[], const uint8_t at[],
	enum verdict verdicts[], unsigned n, uint64_t *packets, uint64_t *bytes)
{
	const uint64_t packets_before = load(&sa->slot->packets);
	const uint64_t bytes_before = load(&sa->slot->bytes);
	unsigned over = marks_of(&sa->life) & (SA_MARK_ENDED | SA_MARKS_HARD);

	*packets = *bytes = 0;
	for (unsigned k = 0; k < n; k++) {
		const uint32_t len = pkts[at[k]].len;

		if (verdicts[at[k]] != VERDICT_OK)
			continue;
		if (over == 0)
			over = refused_for(
				&sa->life, packets_before + *packets, bytes_before + *bytes, len);
		if (over != 0) {
			verdicts[at[k]] = VERDICT_EXPIRED;
			continue;
		}
		++*packets;
		*bytes += len;
	}
	raise_marks(&sa->life, over | marks_of_seq(sa->esn, load(&sa->slot->seq)) |
				       marks_of_packets(&sa->life, packets_before + *packets) |
				       marks_of_bytes(&sa->life, bytes_before + *bytes));
}

/* --- control ------------------------------------------------------------------------------------
 */

static void store(_Atomic(uint64_t) *cell, uint64_t limit)
{
	atomic_store_explicit(cell, limit == 0 ? UINT64_MAX : limit, memory_order_relaxed);
}

static void set_limits(struct sa_life *life, const struct sa_lifetimes *lifetimes)
{
	store(&life->soft_packets, lifetimes->packets.soft);
	store(&life->hard_packets, lifetimes->packets.hard);
	store(&life->soft_bytes, lifetimes->bytes.soft);
	store(&life->hard_bytes, lifetimes->bytes.hard);
	life->told = 0;
	atomic_fetch_and_explicit(&life->marks, SA_MARK_ENDED, memory_order_relaxed);
}

/* mark, or what comes earlier: the number before limit, if that was not reached yet. */
static uint64_t before(uint64_t mark, uint64_t limit, bool reached)
{
	return !reached && limit - 1 < mark ? limit - 1 : mark;
}

/* What workers compare with: the next thing that was not told of. */
static void set_marks(struct sa_out *sa)
{
	const struct sa_life *life = &sa->life;
	const unsigned told = life->told;
	uint64_t seq = before(last_number(sa), last_number(sa), (told & SA_MARKS_HARD) != 0);
	uint64_t bytes = before(UINT64_MAX, load(&life->hard_bytes), false);

	seq = before(seq, load(&life->soft_packets), (told & SA_MARK_SOFT_PACKETS) != 0);
	seq = before(seq, seq_percent(sa->esn, SEQ_PERCENT_FIRST), (told & SA_MARK_SEQ_FIRST) != 0);
	seq = before(
		seq, seq_percent(sa->esn, SEQ_PERCENT_SECOND), (told & SA_MARK_SEQ_SECOND) != 0);
	bytes = before(bytes, load(&life->soft_bytes), (told & SA_MARK_SOFT_BYTES) != 0);
	/* A run that begins below these does not get there. */
	seq = seq < ESP_BURST_MAX ? 0 : seq - (ESP_BURST_MAX - 1);
	bytes = bytes < RUN_BYTES_MAX ? 0 : bytes - RUN_BYTES_MAX;
	if ((marks_of(life) & SA_MARK_ENDED) != 0)
		seq = bytes = 0;
	atomic_store_explicit(&sa->seq_mark, seq, memory_order_relaxed);
	atomic_store_explicit(&sa->bytes_mark, bytes, memory_order_relaxed);
}

void sa_out_set_life(struct sa_out *sa, const struct sa_lifetimes *life)
{
	set_limits(&sa->life, life);
	set_marks(sa);
	raise_marks(&sa->life, marks_of_numbers(sa, load(&sa->slot->seq)) |
				       marks_of_bytes(&sa->life, load(&sa->slot->bytes)));
}

void sa_in_set_life(struct sa_in *sa, const struct sa_lifetimes *life)
{
	static const struct sa_limit none = {0};
	const bool limited = memcmp(&life->packets, &none, sizeof none) != 0 ||
			     memcmp(&life->bytes, &none, sizeof none) != 0;

	set_limits(&sa->life, life);
	atomic_store_explicit(&sa->watched, limited || (marks_of(&sa->life) & SA_MARK_ENDED) != 0,
		memory_order_relaxed);
	raise_marks(&sa->life, marks_of_seq(sa->esn, load(&sa->slot->seq)) |
				       marks_of_packets(&sa->life, load(&sa->slot->packets)) |
				       marks_of_bytes(&sa->life, load(&sa->slot->bytes)));
}

static void set_notices(struct sa_life *life, struct notices *notices, uint32_t number)
{
	life->number = number;
	life->notices = notices;
	if (marks_of(life) != 0) /* reached in an earlier run */
		notices_raise(notices, number);
}

void sa_in_set_notices(struct sa_in *sa, struct notices *notices, uint32_t number)
{
	set_notices(&sa->life, notices, number);
}

void sa_out_set_notices(struct sa_out *sa, struct notices *notices, uint32_t number)
{
	set_notices(&sa->life, notices, number);
}

void sa_in_end(struct sa_in *sa)
{
	atomic_fetch_or_explicit(&sa->life.marks, SA_MARK_ENDED, memory_order_relaxed);
	atomic_store_explicit(&sa->watched, true, memory_order_relaxed);
}

void sa_out_end(struct sa_out *sa)
{
	atomic_fetch_or_explicit(&sa->life.marks, SA_MARK_ENDED, memory_order_relaxed);
	set_marks(sa);
}

/* What is set meanwhile raises its notice afterwards. */
static uint8_t take_marks(struct sa_life *life)
{
	const uint8_t fresh = marks_of(life) & (uint8_t) ~(life->told | SA_MARK_ENDED);

	life->told |= fresh;
	return fresh;
}

uint8_t sa_in_take_marks(struct sa_in *sa)
{
	return take_marks(&sa->life);
}

uint8_t sa_out_take_marks(struct sa_out *sa)
{
	const uint8_t fresh = take_marks(&sa->life);

	if (fresh != 0)
		set_marks(sa);
	return fresh;
}
