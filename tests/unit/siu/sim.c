/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: sim_run() hands the next thing that is due (a packet, a tick, an answer of the
 * gateway) to whom it concerns, and calls siu_tick() after it as programs do.
 */
#include "tests/unit/siu/sim.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t secret[32] = "a secret of thirty-two bytes ...";

void sim_keys(struct siu_key *ha_to_gw, struct siu_key *gw_to_ha)
{
	siu_derive_keys(secret, sizeof secret, 1, ha_to_gw, gw_to_ha);
}

void sim_set_keys(struct sim *sim, bool ha, uint16_t id, uint16_t next_id)
{
	struct siu_key to_gw[2] = {0}, to_ha[2] = {0};
	const uint16_t ids[] = {id, next_id};

	for (size_t i = 0; i < 2; i++) {
		uint8_t own[sizeof secret];

		memcpy(own, secret, sizeof own);
		own[0] = (uint8_t)(own[0] + ids[i] - 1); /* id 1: that of sim_keys() */
		if (ids[i] != 0)
			siu_derive_keys(own, sizeof own, ids[i], &to_gw[i], &to_ha[i]);
	}
	siu_set_keys(ha ? sim->ha : sim->gw, ha ? to_gw : to_ha, ha ? to_ha : to_gw);
}

struct ip_addr sim_home_address(size_t node)
{
	return ip_addr_from_v4(htonl(0x0a010000u + (uint32_t)node + 1));
}

struct ip_addr sim_coa(uint64_t number)
{
	return ip_addr_from_v4(htonl(0xcb000000u + (uint32_t)(number % 0xffffff)));
}

static size_t node_of(const struct ip_addr *home_address)
{
	size_t node = ntohl(ip_addr_to_v4(home_address)) - 0x0a010000u - 1;

	return node < SIM_NODES ? node : 0;
}

static uint64_t sim_random(struct sim *sim)
{
	/* xorshift64 (Marsaglia 2003) */
	sim->random ^= sim->random << 13;
	sim->random ^= sim->random >> 7;
	sim->random ^= sim->random << 17;
	return sim->random;
}

static void transmit(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	struct sim_packet *packet;
	uint8_t type = datagram[1] & 7;
	struct sim_packet *last = to_gw ? &sim->last_to_gw[type] : &sim->last_to_ha[type];

	last->len = len;
	memcpy(last->bytes, datagram, len);
	++*(to_gw ? &sim->n_to_gw[type] : &sim->n_to_ha[type]);
	sim->n_sent++;
	if (sim->cut || sim->n_sent == sim->drop_nth || sim_random(sim) % 100 < sim->loss_percent ||
		(sim->filter != NULL && !sim->filter(sim, to_gw, datagram, len)))
		return;
	sim->packets = realloc(sim->packets, (sim->n_packets + 1) * sizeof *sim->packets);
	packet = &sim->packets[sim->n_packets++];
	packet->at_ns = sim->now_ns + sim->delay_min_ns;
	if (sim->delay_max_ns > sim->delay_min_ns)
		packet->at_ns += sim_random(sim) % (sim->delay_max_ns - sim->delay_min_ns);
	packet->to_gw = to_gw;
	packet->len = len;
	memcpy(packet->bytes, datagram, len);
}

static void ha_send(void *arg, const uint8_t *datagram, size_t len)
{
	transmit(arg, true, datagram, len);
}

static void gw_send(void *arg, const uint8_t *datagram, size_t len)
{
	transmit(arg, false, datagram, len);
}

/* ---- home agent ---- */

static void ha_ack(void *arg, const struct siu_ack_entry *ack)
{
	struct sim *sim = arg;
	struct sim_node *binding = &sim->bindings[node_of(&ack->home_address)];

	sim->last_ack = *ack;
	sim->n_acks++;
	binding->last_result = ack->result;
	if (siu_result_is_good(ack->result))
		binding->acted++;
}

static uint64_t ha_next_binding(void *arg, uint64_t cursor, struct siu_update *update)
{
	struct sim *sim = arg;

	for (size_t node = cursor; node < sim->n_bindings; node++) {
		const struct sim_node *binding = &sim->bindings[node];

		if (!binding->present)
			continue;
		*update = (struct siu_update){.generation = binding->generation,
			.lifetime_s = 600,
			.home_address = sim_home_address(node),
			.new_coa = binding->coa};
		return node + 1;
	}
	return 0;
}

static void ha_peer(void *arg, bool up, bool restarted)
{
	struct sim *sim = arg;

	++*(up ? &sim->ha_ups : &sim->ha_downs);
	sim->ha_restarted += restarted;
}

static void ha_seen(void *arg, const struct siu_rrq_seen *seen)
{
	struct sim *sim = arg;

	sim->seen += seen->identification == 77 && seen->observed.port == 4500;
}

static void ha_event(void *arg, const struct siu_event *event)
{
	struct sim *sim = arg;

	sim->events += event->kind == SIU_EVENT_SA_EXPIRED;
}

/* ---- gateway ---- */

static void act(struct sim *sim, const struct siu_update *update, struct siu_ack_entry *ack)
{
	struct sim_node *node = &sim->nodes[node_of(&update->home_address)];

	node->marked = true;
	if ((update->flags & SIU_REPLY_ONLY) != 0) {
		node->replies++;
	} else if (node->present && update->generation < node->generation) {
		ack->result = SIU_RESULT_STALE;
	} else if (node->present && update->generation == node->generation) {
		ack->result = SIU_RESULT_DUPLICATE;
	} else {
		sim->faults += update->generation <= node->acted_generation;
		node->acted_generation = update->generation;
		node->present = (update->flags & SIU_DEREGISTER) == 0;
		node->generation = update->generation;
		node->coa = update->new_coa;
		node->acted++;
		node->replies += update->rrp != NULL;
	}
	ack->in_force = node->generation;
	ack->coa = node->coa;
}

static void gw_update(void *arg, const struct siu_update *update, struct siu_ticket ticket)
{
	struct sim *sim = arg;
	struct siu_ack_entry ack = {.generation = update->generation,
		.home_address = update->home_address,
		.update_flags = update->flags};

	for (size_t i = 0; i < sim->n_tickets; i++)
		sim->faults += sim->tickets[i].datagram_seq == ticket.datagram_seq &&
			       sim->tickets[i].entry == ticket.entry;
	sim->tickets = realloc(sim->tickets, (sim->n_tickets + 1) * sizeof *sim->tickets);
	sim->tickets[sim->n_tickets++] = ticket;
	if (sim->refuse_times > 0) {
		sim->refuse_times--;
		ack.result = sim->refuse_with;
	} else {
		act(sim, update, &ack);
	}
	if (sim->ack_delay_ns == 0) {
		siu_ack(sim->gw, ticket, &ack);
		return;
	}
	if (sim->n_open == sizeof sim->open / sizeof *sim->open)
		abort();
	sim->open[sim->n_open++] = (struct sim_open){sim->now_ns + sim->ack_delay_ns, ticket, ack};
}

static void gw_sync_begin(void *arg)
{
	struct sim *sim = arg;

	sim->sync_begins++;
	sim->in_sync = true;
	for (size_t i = 0; i < SIM_NODES; i++)
		sim->nodes[i].marked = false;
}

static void gw_sync_end(void *arg)
{
	struct sim *sim = arg;

	sim->sync_ends++;
	sim->faults += !sim->in_sync;
	sim->in_sync = false;
	for (size_t i = 0; i < SIM_NODES; i++)
		if (sim->nodes[i].present && !sim->nodes[i].marked) {
			sim->nodes[i].present = false;
			sim->swept++;
		}
}

static void gw_peer(void *arg, bool up, bool restarted)
{
	struct sim *sim = arg;

	++*(up ? &sim->gw_ups : &sim->gw_downs);
	sim->gw_restarted += restarted;
}

/* ---- the two and time ---- */

struct sim *sim_new(uint64_t seed)
{
	struct sim *sim = calloc(1, sizeof *sim);

	if (sim == NULL)
		abort();
	sim->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	sim->now_ns = SIM_START_NS;
	sim->ha_next_ns = sim->gw_next_ns = UINT64_MAX;
	sim->delay_min_ns = sim->delay_max_ns = 200 * NS_PER_US;
	return sim;
}

void sim_free(struct sim *sim)
{
	siu_free(sim->ha);
	siu_free(sim->gw);
	free(sim->packets);
	free(sim->tickets);
	free(sim);
}

static struct siu_config config_of(enum siu_role role, uint32_t epoch)
{
	struct siu_config config = {
		.role = role, .local_id = 1, .boot_epoch = epoch, .max_pending = SIM_NODES};

	if (role == SIU_HOME_AGENT)
		sim_keys(&config.keys_out[0], &config.keys_in[0]);
	else
		sim_keys(&config.keys_in[0], &config.keys_out[0]);
	return config;
}

void sim_start_ha(struct sim *sim, uint32_t epoch)
{
	static const struct siu_callbacks callbacks = {.send = ha_send,
		.ack = ha_ack,
		.rrq_seen = ha_seen,
		.event = ha_event,
		.next_binding = ha_next_binding,
		.peer = ha_peer};
	struct siu_config config = config_of(SIU_HOME_AGENT, epoch);

	siu_free(sim->ha);
	sim->ha = siu_new(&config, &callbacks, sim);
	sim->ha_next_ns = sim->now_ns;
}

void sim_start_gw(struct sim *sim, uint32_t epoch)
{
	static const struct siu_callbacks callbacks = {.send = gw_send,
		.update = gw_update,
		.sync_begin = gw_sync_begin,
		.sync_end = gw_sync_end,
		.peer = gw_peer};
	struct siu_config config = config_of(SIU_GATEWAY, epoch);

	siu_free(sim->gw);
	sim->gw = siu_new(&config, &callbacks, sim);
	sim->gw_next_ns = sim->now_ns;
	sim->n_open = 0;
	sim->n_tickets = 0;
	sim->in_sync = false;
}

void sim_inject(struct sim *sim, bool to_gw, const uint8_t *datagram, size_t len)
{
	siu_input(to_gw ? sim->gw : sim->ha, datagram, len, sim->now_ns);
	*(to_gw ? &sim->gw_next_ns : &sim->ha_next_ns) = sim->now_ns;
}

static void deliver(struct sim *sim, size_t i)
{
	struct sim_packet packet = sim->packets[i];

	sim->packets[i] = sim->packets[--sim->n_packets];
	if ((packet.to_gw ? sim->gw : sim->ha) != NULL)
		sim_inject(sim, packet.to_gw, packet.bytes, packet.len);
}

static void answer(struct sim *sim, size_t i)
{
	struct sim_open open = sim->open[i];

	sim->open[i] = sim->open[--sim->n_open];
	siu_ack(sim->gw, open.ticket, &open.ack);
	sim->gw_next_ns = sim->now_ns;
}

/* The next thing that is due until then; false: nothing. */
static bool step(struct sim *sim, uint64_t until_ns)
{
	enum { NOTHING, PACKET, ANSWER, HA, GW } what = NOTHING;
	uint64_t at_ns = until_ns;
	size_t which = 0;

	for (size_t i = 0; i < sim->n_packets; i++)
		if (sim->packets[i].at_ns < at_ns) {
			what = PACKET;
			which = i;
			at_ns = sim->packets[i].at_ns;
		}
	for (size_t i = 0; i < sim->n_open; i++)
		if (sim->open[i].due_ns < at_ns) {
			what = ANSWER;
			which = i;
			at_ns = sim->open[i].due_ns;
		}
	if (sim->ha_next_ns < at_ns) {
		what = HA;
		at_ns = sim->ha_next_ns;
	}
	if (sim->gw_next_ns < at_ns) {
		what = GW;
		at_ns = sim->gw_next_ns;
	}
	if (at_ns > sim->now_ns)
		sim->now_ns = at_ns;
	if (what == PACKET)
		deliver(sim, which);
	else if (what == ANSWER)
		answer(sim, which);
	else if (what == HA)
		sim->ha_next_ns = siu_tick(sim->ha, sim->now_ns);
	else if (what == GW)
		sim->gw_next_ns = siu_tick(sim->gw, sim->now_ns);
	return what != NOTHING;
}

void sim_run(struct sim *sim, uint64_t for_ns)
{
	uint64_t until_ns = sim->now_ns + for_ns;

	while (step(sim, until_ns))
		;
}

bool sim_settle(struct sim *sim)
{
	uint64_t until_ns = sim->now_ns + 5 * NS_PER_S;

	while (sim_stats(sim->ha).syncs == 0 || sim->in_sync || !sim_stats(sim->gw).up)
		if (!step(sim, until_ns))
			return false;
	return true;
}

static int tell(struct sim *sim, size_t node, uint16_t flags, const char *rrp)
{
	const struct sim_node *binding = &sim->bindings[node];
	struct siu_update update = {.generation = binding->generation,
		.lifetime_s = 600,
		.flags = flags,
		.identification = binding->generation,
		.home_address = sim_home_address(node),
		.new_coa = binding->coa,
		.rrp = (const uint8_t *)rrp,
		.rrp_len = rrp == NULL ? 0 : strlen(rrp)};

	sim->ha_next_ns = sim->now_ns;
	return siu_update(sim->ha, &update, sim->now_ns);
}

int sim_move(struct sim *sim, size_t node, const char *rrp)
{
	struct sim_node *binding = &sim->bindings[node];

	if (node >= sim->n_bindings)
		sim->n_bindings = node + 1;
	binding->present = true;
	binding->generation++;
	binding->coa = sim_coa(sim_random(sim));
	return tell(sim, node, 0, rrp);
}

int sim_reply_only(struct sim *sim, size_t node, const char *rrp)
{
	return tell(sim, node, SIU_REPLY_ONLY, rrp);
}

bool sim_agrees(const struct sim *sim)
{
	for (size_t i = 0; i < SIM_NODES; i++) {
		const struct sim_node *binding = &sim->bindings[i];
		const struct sim_node *node = &sim->nodes[i];

		if (binding->present != node->present)
			return false;
		if (binding->present && (binding->generation != node->generation ||
						!ip_addr_equal(&binding->coa, &node->coa)))
			return false;
	}
	return true;
}

struct siu_stats sim_stats(const struct siu *siu)
{
	struct siu_stats stats;

	siu_get_stats(siu, &stats);
	return stats;
}
