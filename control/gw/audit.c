/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a period begins with the first look; at its end each reason's counter is compared
 * with what was told of it, and the difference is one line.
 */
#include "control/gw/audit.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <inttypes.h>
#include <stdlib.h>

#define BURST 32

struct audit_log *audit_log_new(struct dataplane *dp)
{
	struct audit_log *log = calloc(1, sizeof *log);

	if (log != NULL)
		log->dp = dp;
	return log;
}

void audit_log_free(struct audit_log *log)
{
	free(log);
}

static const char *text_of(const struct ip_addr *addr, char text[IP_TEXT_MAX])
{
	return ip_addr_is_set(addr) ? ip_addr_format(addr, text) : "-";
}

static void write_line(const struct audit_event *event)
{
	const struct dp_audit *record = &event->record;
	char source[IP_TEXT_MAX], destination[IP_TEXT_MAX];
	char inner_source[IP_TEXT_MAX], inner_destination[IP_TEXT_MAX];

	log_warn("audit",
		"%s direction=%s spi=0x%x source=%s destination=%s sequence=%u inner_source=%s "
		"inner_destination=%s real_ns=%" PRIu64,
		verdict_name((enum verdict)record->verdict), record->inbound ? "in" : "out",
		record->spi, text_of(&record->source, source),
		text_of(&record->destination, destination), record->sequence,
		text_of(&record->inner_source, inner_source),
		text_of(&record->inner_destination, inner_destination), event->real_ns);
}

static void take(struct audit_log *log, const struct dp_audit *record, uint64_t now_ns)
{
	const uint64_t number = ++log->last_number;
	struct audit_event *event = &log->events[number % AUDIT_EVENTS];
	const uint64_t age_ns = now_ns > record->rx_ns ? now_ns - record->rx_ns : 0;

	*event = (struct audit_event){
		.number = number, .real_ns = clock_real_ns() - age_ns, .record = *record};
	if (log->lines[record->verdict] == AUDIT_LINES)
		return;
	log->lines[record->verdict]++;
	log->told[record->verdict]++;
	write_line(event);
}

/* What no line has told of. A record that is still under way is told twice. */
static void tell_rest(struct audit_log *log, const struct dp_verdicts *counted)
{
	for (unsigned i = 0; i < VERDICT_COUNT; i++) {
		const uint64_t total = counted->in[i] + counted->out[i] + counted->local[i];

		log->lines[i] = 0;
		if (!verdict_is_audited((enum verdict)i) || total <= log->told[i])
			continue;
		log_warn("audit", "%s: %" PRIu64 " more packets", verdict_name((enum verdict)i),
			total - log->told[i]);
		log->told[i] = total;
	}
}

unsigned audit_log_turn(struct audit_log *log, uint64_t now_ns)
{
	struct dp_audit records[BURST];
	const unsigned n = dataplane_audit_burst(log->dp, records, BURST);
	struct dp_verdicts counted;

	for (unsigned i = 0; i < n; i++)
		take(log, &records[i], now_ns);
	if (now_ns < log->period_ends_ns)
		return n;
	log->period_ends_ns = now_ns + AUDIT_PERIOD_NS;
	dataplane_verdicts(log->dp, &counted);
	tell_rest(log, &counted);
	return n;
}

const struct audit_event *audit_log_at(const struct audit_log *log, uint64_t number)
{
	const uint64_t oldest = log->last_number > AUDIT_EVENTS
					? log->last_number - AUDIT_EVENTS + 1
					: 1;

	if (number < oldest)
		number = oldest;
	return number > log->last_number ? NULL : &log->events[number % AUDIT_EVENTS];
}
