/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the difference of the two clocks is constant but for slewing, so a change of it
 * from look to look is a step. Nodes that a clock behind theirs locks out are counted then and at
 * the first look.
 */
#include "control/ha/clock_watch.h"

#include "lib/clock.h"
#include "lib/log.h"

#define MODULE "clock"

/* Their highest Identification is so far ahead that no request which we would take can be higher.
 */
static uint32_t count_locked_out(const struct ha_conf *conf, struct ha_bindings *bindings,
	uint64_t now_ntp, int64_t *furthest_s)
{
	uint32_t n = 0;

	*furthest_s = 0;
	for (size_t i = 0; i < conf->n_nodes; i++) {
		const struct ha_known *known = &ha_binding_at(bindings, i)->known;
		const int64_t ahead_s = ntp_diff_s(known->identification, now_ntp);

		if (!known->any || ahead_s <= conf->tolerance_s)
			continue;
		n++;
		*furthest_s = ahead_s > *furthest_s ? ahead_s : *furthest_s;
	}
	return n;
}

static void tell_locked_out(
	const struct ha_conf *conf, struct ha_bindings *bindings, uint64_t real_ns)
{
	static struct log_limit limit;
	uint32_t n, left_out;
	int64_t furthest_s;

	n = count_locked_out(conf, bindings, ntp_from_real_ns(real_ns), &furthest_s);
	if (n != 0 && log_limit_pass(&limit, &left_out))
		log_error(MODULE,
			"is behind: %u nodes registered with times up to %lld s ahead of it, and "
			"are "
			"denied until it is there; set it right",
			n, (long long)furthest_s);
}

static void tell_step(int64_t step_ns)
{
	static struct log_limit limit;
	uint32_t left_out;

	if (log_limit_pass(&limit, &left_out))
		log_error(MODULE,
			"was set %s by %.1f s: nodes are denied until they have taken it over; if "
			"nobody did that, look at this host's source of time",
			step_ns > 0 ? "forward" : "back",
			(double)(step_ns > 0 ? step_ns : -step_ns) / (double)NS_PER_S);
}

bool ha_clock_watch_look(struct ha_clock_watch *watch, const struct ha_conf *conf,
	struct ha_bindings *bindings, uint64_t mono_ns, uint64_t real_ns)
{
	const uint64_t offset_ns = real_ns - mono_ns;
	const int64_t step_ns = watch->running ? (int64_t)(offset_ns - watch->offset_ns) : 0;
	const bool stepped = step_ns >= (int64_t)HA_CLOCK_STEP_NS ||
			     step_ns <= -(int64_t)HA_CLOCK_STEP_NS;

	if (stepped)
		tell_step(step_ns);
	if (stepped || !watch->running)
		tell_locked_out(conf, bindings, real_ns);
	watch->running = true;
	watch->offset_ns = offset_ns;
	return stepped;
}
