/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: a timer for the next point in time, which a machine's sleep only puts off to the
 * owner's next look; marks of packets and bytes are looked for
 * when the owner says so, with the cheap question whether there are any. */
#include "control/mn/sa_watch.h"

#include "lib/clock.h"

#include <assert.h>

enum { IN, OUT };

static void tell(struct sa_watch *watch, unsigned which, bool hard, const char *cause)
{
	struct sa_watched *sa = &watch->sas[which];
	const struct sa_watch_event event = {
		.kind = hard ? "hard" : "soft",
		.direction = which == IN ? "in" : "out",
		.cause = cause,
		.spi = sa->spi,
	};

	sa->state = hard ? SA_WATCH_ENDED : SA_WATCH_REKEY;
	sa->cause = cause;
	watch->fn(watch->arg, &event);
}

static void end_sa(struct sa_watch *watch, unsigned which, const char *cause)
{
	if (which == IN)
		sa_in_end(watch->in);
	else
		sa_out_end(watch->out);
	watch->sas[which].soft_ns = watch->sas[which].hard_ns = UINT64_MAX;
	tell(watch, which, true, cause);
}

static void look_at_marks(struct sa_watch *watch, unsigned which)
{
	static const struct {
		uint8_t soft, hard;
		const char *cause;
	} kinds[] = {
		{SA_MARK_SOFT_PACKETS, SA_MARK_HARD_PACKETS, "packets"},
		{SA_MARK_SOFT_BYTES, SA_MARK_HARD_BYTES, "bytes"},
		{SA_MARK_SEQ_FIRST | SA_MARK_SEQ_SECOND, SA_MARK_SEQ_LAST, "sequence"},
	};
	const uint8_t marks = which == IN ? sa_in_take_marks(watch->in)
					  : sa_out_take_marks(watch->out);

	for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		if (watch->sas[which].state == SA_WATCH_ENDED)
			return;
		if ((marks & kinds[i].soft) != 0)
			tell(watch, which, false, kinds[i].cause);
		if ((marks & kinds[i].hard) != 0)
			end_sa(watch, which, kinds[i].cause);
	}
}

static void look_at_time(struct sa_watch *watch, unsigned which, uint64_t now_ns)
{
	struct sa_watched *sa = &watch->sas[which];

	if (sa->soft_ns <= now_ns) {
		sa->soft_ns = UINT64_MAX;
		tell(watch, which, false, "time");
	}
	if (sa->hard_ns <= now_ns)
		end_sa(watch, which, "time");
}

void sa_watch_look(struct sa_watch *watch)
{
	uint64_t now_ns = clock_boot_ns(), next_ns = UINT64_MAX;
	uint32_t which;

	while (notices_take(&watch->notices, &which))
		look_at_marks(watch, which);
	for (which = IN; which <= OUT; which++) {
		const struct sa_watched *sa = &watch->sas[which];

		look_at_time(watch, which, now_ns);
		next_ns = sa->soft_ns < next_ns ? sa->soft_ns : next_ns;
		next_ns = sa->hard_ns < next_ns ? sa->hard_ns : next_ns;
	}
	if (next_ns != UINT64_MAX)
		loop_timer_arm(
			watch->timer, clock_mono_ns() + (next_ns > now_ns ? next_ns - now_ns : 0));
}

static void on_time(void *arg)
{
	sa_watch_look(arg);
}

bool sa_watch_init(struct sa_watch *watch, struct loop *loop, sa_watch_fn *fn, void *arg)
{
	*watch = (struct sa_watch){.fn = fn, .arg = arg};
	watch->timer = loop_timer_new(loop, on_time, watch);
	if (watch->timer == NULL || !notices_init(&watch->notices, OUT))
		return false;
	sa_limits_init_shared(&watch->shared, &watch->notices);
	return true;
}

/* Of what began age_ns ago; 0: none. At most a year and a day: no overflow. */
static uint64_t ends_ns(uint64_t seconds, uint64_t age_ns, uint64_t now_ns)
{
	const uint64_t life_ns = seconds * NS_PER_S;

	if (seconds == 0)
		return UINT64_MAX;
	return age_ns >= life_ns ? now_ns : now_ns + (life_ns - age_ns);
}

static void begin(struct sa_watched *sa, uint32_t spi, const struct counter_slot *slot,
	const struct sa_lifetimes *life)
{
	const uint64_t real_ns = clock_real_ns(), born_ns = slot->born_s * NS_PER_S;
	const uint64_t age_ns = real_ns > born_ns ? real_ns - born_ns : 0;
	const uint64_t now_ns = clock_boot_ns();

	*sa = (struct sa_watched){
		.spi = spi,
		.soft_ns = ends_ns(life->seconds.soft, age_ns, now_ns),
		.hard_ns = ends_ns(life->seconds.hard, age_ns, now_ns),
	};
}

void sa_watch_begin(struct sa_watch *watch, struct sa_in *in, const struct sa_lifetimes *in_life,
	struct sa_out *out, const struct sa_lifetimes *out_life)
{
	watch->in = in;
	watch->out = out;
	begin(&watch->sas[IN], in->spi, in->slot, in_life);
	begin(&watch->sas[OUT], out->spi, out->slot, out_life);
	sa_in_set_hearer(in, &watch->shared, IN);
	sa_out_set_hearer(out, &watch->shared, OUT);
	sa_watch_look(watch);
}

void sa_watch_fini(struct sa_watch *watch)
{
	loop_timer_free(watch->timer);
	notices_fini(&watch->notices);
}

int64_t sa_watch_left_s(const struct sa_watched *sa)
{
	const uint64_t now_ns = clock_boot_ns();

	return sa->hard_ns == UINT64_MAX || sa->hard_ns < now_ns
		       ? -1
		       : (int64_t)((sa->hard_ns - now_ns) / NS_PER_S);
}

const char *sa_watch_state_name(enum sa_watch_state state)
{
	static const char *const names[] = {
		[SA_WATCH_LIVE] = "live", [SA_WATCH_REKEY] = "rekey", [SA_WATCH_ENDED] = "expired"};

	return names[state];
}
