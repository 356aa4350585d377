/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: each verb packs values of struct mobile into one JSON object. Times of the last
 * move are microseconds since the kernel's event was taken; null has not happened. */
#include "control/mn/show.h"

#include "control/mn/mobile.h"
#include "lib/clock.h"

#include <stdatomic.h>

static json_t *address(const struct ip_addr *addr)
{
	char text[IP_TEXT_MAX];

	return ip_addr_is_set(addr) ? json_string(ip_addr_format(addr, text)) : json_null();
}

static json_t *since(uint64_t at_ns, uint64_t start_ns)
{
	return at_ns == 0 ? json_null()
			  : json_integer((json_int_t)((at_ns - start_ns) / NS_PER_US));
}

static json_t *last_move(const struct move_times *times)
{
	return json_pack("{s:I, s:o, s:o, s:o}", "address_event_real_ns",
		(json_int_t)times->address_real_ns, "sas_updated_us",
		since(times->sas_ns, times->address_ns), "rrq_sent_us",
		since(times->rrq_ns, times->address_ns), "rrp_received_us",
		since(times->rrp_ns, times->address_ns));
}

static json_t *remaining_s(const struct registration *reg)
{
	uint64_t now_ns = clock_mono_ns();

	if (reg->expires_ns == REGISTRATION_NEVER || reg->expires_ns < now_ns)
		return json_null();
	return json_integer((json_int_t)((reg->expires_ns - now_ns) / NS_PER_S));
}

static json_t *replies(const struct mobile *m)
{
	json_t *counts = json_object();

	for (int i = 0; i < REPLY_RESULT_COUNT; i++)
		json_object_set_new(counts, registration_result_name((enum registration_result)i),
			json_integer((json_int_t)m->replies[i]));
	return counts;
}

/* The one that decides about the place. */
static const struct registration *shown_registration(const struct mobile *m)
{
	return m->place.kind == PLACE_AWAY || m->homecoming.claim.ifindex == 0
		       ? &m->registration
		       : &m->homecoming.registration;
}

static json_t *show_status(void *arg, json_t *request, const char **error)
{
	const struct mobile *m = arg;
	const struct registration *reg = shown_registration(m);
	const struct tunnel_stats *stats = tunnel_stats(m->tunnel);
	const struct movement_link *link = movement_link(&m->movement, m->place.ifindex);

	if (!admin_takes(request, NULL, error))
		return NULL;
	return json_pack(
		"{s:s, s:b, s:s, s:s?, s:o, s:b, s:o, s:o, s:b, s:I, s:I, s:o, s:o, s:i, s:o, "
		"s:I, s:i, "
		"s:I, s:o, s:I, "
		"s:o, s:{s:I, "
		"s:I, s:I, s:I}}",
		"place", mobile_place_name(m), "home_pending",
		(int)homecoming_is_pending(&m->homecoming), "registration",
		registration_state_name(reg->state), "interface", link != NULL ? link->name : NULL,
		"agent", link != NULL ? address(&link->agent) : json_null(), "agent_demands",
		(int)(link != NULL && link->agent_demands), "home_address",
		address(&m->conf->home_address), "care_of", address(&m->place.coa), "udp",
		(int)tunnel_is_in_udp(m->tunnel), "keepalives", (json_int_t)stats->keepalives,
		"challenges", (json_int_t)stats->challenges, "home_agent",
		address(&m->conf->home_agent), "gateway", address(&m->conf->gateway), "lifetime_s",
		(int)reg->granted_s, "remaining_s", remaining_s(reg), "clock_offset_s",
		(json_int_t)m->memory.clock_offset_s, "failed_attempts", (int)reg->attempts,
		"requests_sent", (json_int_t)m->requests, "replies", replies(m), "moves",
		(json_int_t)m->moves, "last_move", last_move(&m->times), "traffic", "tx_packets",
		(json_int_t)stats->tx_packets, "tx_bytes", (json_int_t)stats->tx_bytes,
		"rx_packets", (json_int_t)stats->rx_packets, "rx_bytes",
		(json_int_t)stats->rx_bytes);
}

static json_t *sa_row(
	const char *direction, uint32_t spi, uint8_t alg, bool esn, const struct counter_slot *slot)
{
	return json_pack("{s:s, s:I, s:s, s:b, s:I, s:I, s:I}", "direction", direction, "spi",
		(json_int_t)spi, "algorithm", crypto_alg_infos[alg].name, "esn", (int)esn,
		"sequence", (json_int_t)atomic_load_explicit(&slot->seq, memory_order_relaxed),
		"packets", (json_int_t)atomic_load_explicit(&slot->packets, memory_order_relaxed),
		"bytes", (json_int_t)atomic_load_explicit(&slot->bytes, memory_order_relaxed));
}

static void put_life(json_t *row, const struct sa_watched *sa)
{
	const int64_t left_s = sa_watch_left_s(sa);

	json_object_set_new(row, "state", json_string(sa_watch_state_name(sa->state)));
	json_object_set_new(row, "cause", sa->cause == NULL ? json_null() : json_string(sa->cause));
	json_object_set_new(
		row, "expires_s", left_s < 0 ? json_null() : json_integer((json_int_t)left_s));
}

static json_t *show_sa(void *arg, json_t *request, const char **error)
{
	struct mobile *m = arg;
	const struct sa_in *in = tunnel_sa_in(m->tunnel);
	const struct sa_watched *watched = m->watch.sas;
	const struct sa_out *out = tunnel_sa_out(m->tunnel);
	const struct care_of *care_of = tunnel_care_of(m->tunnel);
	json_t *rows, *row;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	row = sa_row("inbound", in->spi, in->alg, in->esn, in->slot);
	json_object_set_new(row, "source", address(&m->conf->gateway));
	json_object_set_new(row, "destination", address(&care_of->current));
	put_life(row, &watched[0]);
	json_array_append_new(rows, row);
	row = sa_row("outbound", out->spi, out->alg, out->esn, out->slot);
	json_object_set_new(row, "source", address(&care_of->current));
	json_object_set_new(row, "destination", address(&m->conf->gateway));
	put_life(row, &watched[1]);
	json_array_append_new(rows, row);
	return json_pack("{s:o}", "rows", rows);
}

static json_t *show_drops(void *arg, json_t *request, const char **error)
{
	const struct mobile *m = arg;
	const struct tunnel_stats *stats = tunnel_stats(m->tunnel);
	json_t *rows;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	for (int i = VERDICT_PUNTED + 1; i < VERDICT_COUNT; i++)
		json_array_append_new(rows,
			json_pack("{s:s, s:s, s:I, s:I}", "verdict", verdict_name((enum verdict)i),
				"text", verdict_text((enum verdict)i), "in",
				(json_int_t)stats->rx_drops[i], "out",
				(json_int_t)stats->tx_drops[i]));
	return json_pack("{s:o, s:I}", "rows", rows, "ecn_unusual", (json_int_t)stats->ecn_unusual);
}

const struct admin_verb show_verbs[] = {
	{"show-status", show_status},
	{"show-sa", show_sa},
	{"show-drops", show_drops},
	{NULL, NULL},
};
