/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each show verb makes at most ADMIN_PAGE_ROWS rows and, if there is more, "next":
 * the handle or number after which the next page begins. Numbers are plain; *_ns are
 * CLOCK_MONOTONIC unless they are called real_ns.
 */
#include "control/gw/gw_admin.h"

#include "control/gw/audit.h"
#include "control/gw/gw_conf.h"
#include "control/gw/key_verbs.h"
#include "control/gw/mirror.h"
#include "control/gw/reach.h"
#include "control/gw/siu_handler.h"
#include "control/gw/state.h"
#include "lib/clock.h"

#include <stdio.h>
#include <string.h>

static void put_count(json_t *row, const char *key, uint64_t value)
{
	json_object_set_new(row, key, json_integer((json_int_t)value));
}

static void put_addr(json_t *row, const char *key, const struct ip_addr *addr)
{
	char text[IP_TEXT_MAX];

	json_object_set_new(row, key,
		ip_addr_is_set(addr) ? json_string(ip_addr_format(addr, text)) : json_null());
}

static json_t *table(json_t *rows, uint64_t next)
{
	json_t *reply = json_object();

	json_object_set_new(reply, "rows", rows);
	if (next != 0)
		put_count(reply, "next", next);
	return reply;
}

/* --- SAs and nodes ------------------------------------------------------------------------------
 */

static uint64_t load(const _Atomic(uint64_t) *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

/* A limit, as far as there is one, and what is left until then. */
static void put_limit(
	json_t *row, const char *key, const char *left_key, uint64_t limit, uint64_t used)
{
	if (limit == 0)
		return;
	put_count(row, key, limit);
	put_count(row, left_key, limit > used ? limit - used : 0);
}

static void put_life(json_t *row, const struct tunnel_sa *sa, const struct counter_slot *slot)
{
	const struct sa_lifetimes *limits = &sa->life->limits;
	const uint64_t age_s = (clock_mono_ns() - sa->life->since_ns) / NS_PER_S;
	/* As dataplane/esp/life.h counts them. */
	const uint64_t packets = slot == NULL ? 0 : load(sa->inbound ? &slot->packets : &slot->seq);
	const uint64_t bytes = slot == NULL ? 0 : load(&slot->bytes);

	put_limit(row, "rekey_time", "rekey_s", limits->seconds.soft, age_s);
	put_limit(row, "life_time", "expires_s", limits->seconds.hard, age_s);
	put_limit(row, "rekey_packets", "rekey_packets_left", limits->packets.soft, packets);
	put_limit(row, "life_packets", "packets_left", limits->packets.hard, packets);
	put_limit(row, "rekey_bytes", "rekey_bytes_left", limits->bytes.soft, bytes);
	put_limit(row, "life_bytes", "bytes_left", limits->bytes.hard, bytes);
}

json_t *gw_admin_sa_row(const struct tunnel *tunnel, const struct tunnel_sa *sa)
{
	const struct counter_slot *slot = tunnel_sa_slot(tunnel, sa);
	json_t *row = json_object();
	char spi[16], source[SA_SOURCE_TEXT_MAX];

	snprintf(spi, sizeof spi, "0x%x", sa->spi);
	json_object_set_new(row, "node", json_string(tunnel->name));
	json_object_set_new(row, "direction", json_string(sa->inbound ? "in" : "out"));
	json_object_set_new(row, "spi", json_string(spi));
	json_object_set_new(row, "algorithm", json_string(crypto_alg_infos[sa->alg].name));
	json_object_set_new(row, "esn", json_boolean(sa->esn));
	json_object_set_new(row, "state",
		json_string(sa->ended                  ? "expired"
			    : tunnel_sa_is_current(sa) ? "current"
						       : "next"));
	if (sa->inbound) {
		put_count(row, "replay_window", sa->replay_window);
		json_object_set_new(
			row, "source", json_string(sa_source_format(tunnel_sa_source(sa), source)));
	}
	if (slot != NULL) {
		put_count(row, "packets", load(&slot->packets));
		put_count(row, "bytes", load(&slot->bytes));
		put_count(row, "sequence", load(&slot->seq));
	}
	if (sa->life != NULL)
		put_life(row, sa, slot);
	return row;
}

/* Tables with a node or more a row: "from" is the handle of the last one that was shown. */
static bool first_of_page(
	const struct gw *gw, json_t *request, const struct tunnel **out, const char **error)
{
	uint64_t from;

	if (!admin_page(request, &from, error))
		return false;
	*out = from > UINT32_MAX ? NULL : tunnel_next(gw->tunnels, (uint32_t)from);
	return true;
}

static json_t *show_sa(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	const struct tunnel *tunnel;
	uint32_t last = 0;
	json_t *rows;

	if (!first_of_page(gw, request, &tunnel, error))
		return NULL;
	rows = json_array();
	for (; tunnel != NULL; tunnel = tunnel_next(gw->tunnels, last)) {
		if (json_array_size(rows) + TUNNEL_SAS_MAX > ADMIN_PAGE_ROWS)
			return table(rows, last);
		for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next)
			json_array_append_new(rows, gw_admin_sa_row(tunnel, sa));
		last = tunnel->handle;
	}
	return table(rows, 0);
}

static json_t *node_row(const struct gw *gw, const struct tunnel *tunnel)
{
	const struct position *at = &tunnel->position;
	const uint64_t now_ns = clock_mono_ns(), end_ns = tunnel_end(gw->tunnels, tunnel);
	/* The control thread is the only writer of the pointer. */
	const struct path *path = atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
	const char *routability = reach_state_name(tunnel);
	char text[IP_TEXT_MAX];
	json_t *row = json_object();

	json_object_set_new(row, "node", json_string(tunnel->name));
	put_count(row, "handle", tunnel->handle);
	put_addr(row, "home_address", &tunnel->home_address);
	json_object_set_new(
		row, "home_agent", json_string(gw->conf->home_agents[tunnel->home_agent].name));
	json_object_set_new(row, "state", json_string(at->closed ? "closed" : "open"));
	put_addr(row, "coa", &at->coa);
	json_object_set_new(row, "remote",
		at->closed ? json_null() : json_string(ip_endpoint_format(&at->remote, text)));
	put_count(row, "mtu", path->mtu);
	json_object_set_new(
		row, "routability", routability == NULL ? json_null() : json_string(routability));
	if ((path->flags & PATH_ON_CREDIT) != 0)
		put_count(row, "credit", atomic_load_explicit(&path->credit, memory_order_relaxed));
	if (ip_addr_is_set(&at->former_coa) && at->grace_until_ns > now_ns) {
		put_addr(row, "former_coa", &at->former_coa);
		put_count(row, "grace_ms", (at->grace_until_ns - now_ns) / NS_PER_MS);
	} else {
		json_object_set_new(row, "former_coa", json_null());
	}
	put_count(row, "generation", at->generation);
	if (end_ns != POSITION_NEVER_ENDS)
		put_count(row, "expires_s", end_ns > now_ns ? (end_ns - now_ns) / NS_PER_S : 0);
	if (tunnel->tfc.pad != 0)
		put_count(row, "tfc_pad", tunnel->tfc.pad);
	if (tunnel->tfc.dummies != 0)
		put_count(row, "tfc_dummies", tunnel->tfc.dummies);
	json_object_set_new(row, "origin",
		json_string(tunnel->configured ? "configuration" : "control socket"));
	return row;
}

static json_t *show_nodes(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	const struct tunnel *tunnel;
	uint32_t last = 0;
	json_t *rows;

	if (!first_of_page(gw, request, &tunnel, error))
		return NULL;
	rows = json_array();
	for (; tunnel != NULL; tunnel = tunnel_next(gw->tunnels, last)) {
		if (json_array_size(rows) == ADMIN_PAGE_ROWS)
			return table(rows, last);
		json_array_append_new(rows, node_row(gw, tunnel));
		last = tunnel->handle;
	}
	return table(rows, 0);
}

/* --- drops, ports -------------------------------------------------------------------------------
 */

static void add_drops(json_t *rows, const char *direction, const uint64_t counts[VERDICT_COUNT])
{
	for (int i = 0; i < VERDICT_COUNT; i++) {
		json_t *row;

		if (counts[i] == 0)
			continue;
		row = json_object();
		json_object_set_new(row, "direction", json_string(direction));
		json_object_set_new(row, "reason", json_string(verdict_name((enum verdict)i)));
		put_count(row, "count", counts[i]);
		json_object_set_new(row, "text", json_string(verdict_text((enum verdict)i)));
		json_array_append_new(rows, row);
	}
}

/* Forwarded and punted packets are shown too: the rows of a direction add up to all it had.
 * ecn_unusual stands beside them, since those packets are in a row already. */
static json_t *show_drops(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	struct dp_verdicts verdicts;
	json_t *rows, *reply;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	dataplane_verdicts(gw->dp, &verdicts);
	add_drops(rows, "in", verdicts.in);
	add_drops(rows, "out", verdicts.out);
	add_drops(rows, "local", verdicts.local);
	reply = table(rows, 0);
	put_count(reply, "ecn_unusual", verdicts.ecn_unusual);
	return reply;
}

static json_t *audit_row(const struct audit_event *event)
{
	const struct dp_audit *record = &event->record;
	json_t *row = json_object();
	char spi[16];

	snprintf(spi, sizeof spi, "0x%x", record->spi);
	put_count(row, "number", event->number);
	json_object_set_new(row, "event", json_string(verdict_name((enum verdict)record->verdict)));
	json_object_set_new(row, "direction", json_string(record->inbound ? "in" : "out"));
	json_object_set_new(row, "spi", json_string(spi));
	put_addr(row, "source", &record->source);
	put_addr(row, "destination", &record->destination);
	put_count(row, "sequence", record->sequence);
	put_addr(row, "inner_source", &record->inner_source);
	put_addr(row, "inner_destination", &record->inner_destination);
	put_count(row, "real_ns", event->real_ns);
	return row;
}

/* Events after number "from". */
static json_t *show_audit(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	const struct audit_event *event;
	uint64_t number;
	json_t *rows;

	static_assert(AUDIT_EVENTS <= ADMIN_PAGE_ROWS, "all on one page");
	if (!admin_page(request, &number, error))
		return NULL;
	rows = json_array();
	for (number++; (event = audit_log_at(gw->audit, number)) != NULL;
		number = event->number + 1)
		json_array_append_new(rows, audit_row(event));
	return table(rows, 0);
}

static json_t *port_row(const struct gw *gw, enum dp_port port, const struct mirror_stats *mirror)
{
	const struct gw_port_conf *conf = &gw->conf->ports[port];
	struct dp_port_stats stats;
	char mac_text[18];
	uint8_t mac[6];
	json_t *row = json_object();

	dataplane_port_stats(gw->dp, port, &stats);
	dataplane_port_mac(gw->dp, port, mac);
	snprintf(mac_text, sizeof mac_text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	json_object_set_new(row, "port", json_string(port == DP_OUTSIDE ? "outside" : "inside"));
	json_object_set_new(row, "device", json_string(conf->device));
	json_object_set_new(row, "mirror", json_string(conf->mirror));
	json_object_set_new(row, "mac", json_string(mac_text));
	put_count(row, "rx_packets", stats.rx_packets);
	put_count(row, "rx_bytes", stats.rx_bytes);
	put_count(row, "rx_missed", stats.rx_missed);
	put_count(row, "rx_errors", stats.rx_errors);
	put_count(row, "tx_packets", stats.tx_packets);
	put_count(row, "tx_bytes", stats.tx_bytes);
	put_count(row, "tx_errors", stats.tx_errors);
	put_count(row, "to_linux", mirror->to_linux[port]);
	put_count(row, "to_linux_lost", mirror->to_linux_lost[port]);
	put_count(row, "from_linux", mirror->from_linux[port]);
	put_count(row, "from_linux_lost", mirror->from_linux_lost[port]);
	put_count(row, "from_linux_refused", mirror->refused[port]);
	return row;
}

/* Neither forwarded nor handed to the control thread. */
static uint64_t dropped(const uint64_t counts[VERDICT_COUNT])
{
	uint64_t sum = 0;

	for (int i = 0; i < VERDICT_COUNT; i++)
		if (i != VERDICT_OK && i != VERDICT_PUNTED)
			sum += counts[i];
	return sum;
}

/* Workers' columns add up to the rows of "show drops". */
static json_t *worker_row(const struct gw *gw, uint32_t worker)
{
	struct dp_worker_stats stats;
	const struct dp_verdicts *verdicts = &stats.verdicts;
	json_t *row = json_object();

	dataplane_worker_stats(gw->dp, worker, &stats);
	put_count(row, "worker", worker);
	put_count(row, "in", verdicts->in[VERDICT_OK]);
	put_count(row, "in_dropped", dropped(verdicts->in));
	put_count(row, "out", verdicts->out[VERDICT_OK]);
	put_count(row, "out_dropped", dropped(verdicts->out));
	put_count(row, "loops", stats.loops);
	put_count(row, "busy_loops", stats.busy_loops);
	put_count(row, "loop_p99_ns", stats.loop_p99_ns);
	return row;
}

static json_t *show_ports(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	struct mirror_stats mirror;
	json_t *rows, *workers, *neighs, *reply;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	workers = json_array();
	neighs = json_object();
	mirror_get_stats(gw->mirror, &mirror);
	for (int port = 0; port < DP_PORTS; port++)
		json_array_append_new(rows, port_row(gw, (enum dp_port)port, &mirror));
	for (uint32_t i = 0; i < dataplane_workers(gw->dp); i++)
		json_array_append_new(workers, worker_row(gw, i));
	put_count(neighs, "known", mirror.neighs.known);
	put_count(neighs, "waited_for", mirror.neighs.waited_for);
	put_count(neighs, "held", mirror.neighs.held);
	put_count(neighs, "sent", mirror.neighs.sent);
	put_count(neighs, "dropped", mirror.neighs.dropped);
	reply = table(rows, 0);
	json_object_set_new(reply, "workers", workers);
	json_object_set_new(reply, "neighbours", neighs);
	put_count(reply, "routes_left_out", mirror.routes_left_out);
	return reply;
}

/* --- handovers, SIU -----------------------------------------------------------------------------
 */

static json_t *handover_row(const struct gw *gw, const struct handover *handover, uint64_t number)
{
	const struct tunnel *tunnel = tunnel_by_handle(gw->tunnels, handover->node);
	json_t *row = json_object();

	if (tunnel != NULL && !ip_addr_equal(&tunnel->home_address, &handover->home_address))
		tunnel = NULL; /* the handle means another node by now */
	put_count(row, "number", number);
	json_object_set_new(row, "node", tunnel == NULL ? json_null() : json_string(tunnel->name));
	put_addr(row, "home_address", &handover->home_address);
	put_addr(row, "from", &handover->from);
	put_addr(row, "to", &handover->to);
	put_count(row, "generation", handover->generation);
	put_count(row, "real_ns", handover->real_ns);
	put_count(row, "rrq_in_ns", handover->rrq_in_ns);
	put_count(row, "siu_in_ns", handover->siu_in_ns);
	put_count(row, "stored_ns", handover->stored_ns);
	put_count(row, "grace_ns", handover->grace_ns);
	put_count(row, "first_out_ns", handover->first_out_ns);
	put_count(row, "rrp_out_ns", handover->rrp_out_ns);
	put_count(row, "acked_ns", handover->acked_ns);
	return row;
}

static json_t *show_handovers(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	uint64_t from, oldest, newest, at;
	json_t *rows;

	if (!admin_page(request, &from, error))
		return NULL;
	rows = json_array();
	if (!handovers_range(gw->handovers, &oldest, &newest))
		return table(rows, 0);
	for (at = from + 1 > oldest ? from + 1 : oldest; at <= newest; at++) {
		struct handover *handover = handovers_at(gw->handovers, at);
		const struct tunnel *tunnel = tunnel_by_handle(gw->tunnels, handover->node);

		if (json_array_size(rows) == ADMIN_PAGE_ROWS)
			return table(rows, at - 1);
		if (tunnel != NULL && tunnel->handover == at)
			tunnel_harvest(gw->tunnels, tunnel);
		json_array_append_new(rows, handover_row(gw, handover, at));
	}
	return table(rows, 0);
}

static json_t *peer_row(const struct gw *gw, uint32_t i)
{
	const struct gw_home_agent_conf *ha = &gw->conf->home_agents[i];
	struct siu_stats stats;
	char text[IP_TEXT_MAX];
	json_t *row = json_object();

	siu_handler_get_peer_stats(gw->siu, i, &stats);
	json_object_set_new(row, "home_agent", json_string(ha->name));
	json_object_set_new(row, "address", json_string(ip_endpoint_format(&ha->address, text)));
	json_object_set_new(row, "up", json_boolean(stats.up));
	put_count(row, "peer_epoch", stats.peer_epoch);
	put_count(row, "rx", stats.rx);
	put_count(row, "tx", stats.tx);
	put_count(row, "updates", stats.updates);
	put_count(row, "acks", stats.acks);
	put_count(row, "rrq_seen", stats.rrq_seen);
	put_count(row, "events", stats.events);
	put_count(row, "syncs", stats.syncs);
	put_count(row, "bad_tag", stats.bad_tag);
	put_count(row, "shed", stats.shed);
	put_count(row, "unknown_key", stats.unknown_key);
	put_count(row, "replayed", stats.replayed);
	put_count(row, "malformed", stats.malformed);
	put_count(row, "bad_version", stats.bad_version);
	put_count(row, "not_up", stats.not_up);
	put_count(row, "unknown_tlv", stats.unknown_tlv);
	return row;
}

static json_t *results_of(const struct siu_handler_stats *stats)
{
	json_t *results = json_object();

	for (unsigned code = 0; code < SIU_HANDLER_RESULTS; code++) {
		if (stats->results[code] != 0)
			put_count(results, siu_result_name((enum siu_result)code),
				stats->results[code]);
	}
	return results;
}

static json_t *show_siu(void *arg, json_t *request, const char **error)
{
	const struct gw *gw = arg;
	struct siu_handler_stats stats;
	struct state_stats state;
	json_t *rows, *store, *reply;

	if (!admin_takes(request, NULL, error))
		return NULL;
	rows = json_array();
	store = json_object();
	for (uint32_t i = 0; i < gw->conf->n_home_agents; i++)
		json_array_append_new(rows, peer_row(gw, i));
	siu_handler_get_stats(gw->siu, &stats);
	state_get_stats(gw->state, &state);
	put_count(store, "commits", state.commits);
	put_count(store, "records", state.records);
	put_count(store, "failures", state.failures);
	put_count(store, "commit_last_us", state.commit_last_us);
	put_count(store, "commit_max_us", state.commit_max_us);
	reply = table(rows, 0);
	json_object_set_new(reply, "results", results_of(&stats));
	json_object_set_new(reply, "store", store);
	put_count(reply, "pending", stats.pending);
	put_count(reply, "unknown_source", stats.unknown_source);
	put_count(reply, "not_attached", stats.not_attached);
	put_count(reply, "registrations", stats.registrations);
	put_count(reply, "registrations_lost", stats.registrations_lost);
	put_count(reply, "registrations_refused", stats.registrations_refused);
	put_count(reply, "replies_lost", stats.replies_lost);
	put_count(reply, "swept", stats.swept);
	put_count(reply, "port_moves", stats.port_moves);
	put_count(reply, "asked", stats.reach.asked);
	put_count(reply, "verified", stats.reach.verified);
	put_count(reply, "unanswered", stats.reach.unanswered);
	put_count(reply, "answers_refused", stats.reach.refused);
	return reply;
}

const struct admin_verb gw_admin_verbs[] = {
	{"show-sa", show_sa},
	{"show-nodes", show_nodes},
	{"show-audit", show_audit},
	{"show-drops", show_drops},
	{"show-policy", gw_admin_show_policy},
	{"show-handovers", show_handovers},
	{"show-ports", show_ports},
	{"show-siu", show_siu},
	{"node-add", gw_admin_node_add},
	{"node-del", gw_admin_node_del},
	{"alloc-spi", gw_admin_alloc_spi},
	{"sa-add", gw_admin_sa_add},
	{"sa-update", gw_admin_sa_update},
	{"sa-switch", gw_admin_sa_switch},
	{"sa-query", gw_admin_sa_query},
	{"sa-del", gw_admin_sa_del},
	{"sa-events", gw_admin_sa_events},
	{"show-events", gw_admin_sa_events},
	{"reload", gw_admin_reload},
	{NULL, NULL},
};
