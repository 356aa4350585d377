/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: datagrams come in by a kernel socket (they reach it through the mirror; before
 * that the workers ration what no home agent would send now: dataplane/guard.h) and go out as whole
 * IP datagrams straight into the workers' queue. That is what keeps RRQ_SEEN ahead of the
 * registration that it announces: both take the same queue, route and neighbour. With
 * siu.require_esp Linux sends them, and the home agent waits for an RRQ_SEEN that comes behind.
 *
 * An entry that swapped a path waits in pending[] for its grace token and for the disk; one token
 * serves a batch. A deregistration with a reply waits there first for the reply to leave.
 */
#include "control/gw/siu_handler.h"

#include "control/gw/nat.h"
#include "control/gw/reach.h"
#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/log.h"
#include "lib/ration.h"
#include "lib/mip4.h"
#include "lib/xfrm_policy.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RX_BURST 32
#define SWEEP_A_TURN 256              /* nodes */
#define EXPIRE_A_TURN 32              /* nodes */
#define ASK_A_TURN 32                 /* nodes */
#define WAIT_DISK_NS (50 * NS_PER_US) /* between looks at state_durable() */
#define TRIALS_MAX 256                /* nodes; a further one waits for its update */
#define TRIAL_NS (450 * NS_PER_MS)    /* back within 500 ms, a turn of this thread included */
#define TRIAL_EVERY_NS NS_PER_S
#define SOCKET_BUFFER (4 << 20) /* bytes: a storm of updates */

struct peer {
	struct siu_handler *handler;
	uint32_t home_agent; /* index */
	struct siu *siu;
	uint64_t tick_at_ns;
	uint64_t sync; /* number of the SYNC that runs or ran last; nodes are marked with it */
	bool sweeping;
	uint32_t sweep_cursor; /* handle looked at last */
	uint32_t pending;      /* entries of its own in handler->pending */
	uint64_t events_at_ns; /* limit of events: time up to which tokens are spent */
};

struct pending {
	uint32_t home_agent;
	struct siu_ticket ticket;
	struct siu_ack_entry entry;
	struct move move;
	bool has_token, grace_over;
	uint64_t token;
};

struct siu_handler {
	struct mover mover;
	struct loop *loop;
	struct ip_endpoint local;
	uint16_t mtu;
	int fd;            /* -1: none */
	uint64_t batch_ns; /* when the batch in hand came in */
	bool passed;       /* a grace period was over since the disk was last kicked */
	uint32_t n_peers;
	struct peer peers[GW_HOME_AGENTS_MAX];
	struct trial {
		uint32_t node; /* handle */
		uint64_t until_ns;
	} trials[TRIALS_MAX]; /* provisional switches, any order */
	uint32_t n_trials;
	struct siu_handler_stats stats;
	struct pending pending[SIU_HANDLER_PENDING_MAX]; /* [0..stats.pending), any order */
};

/* --- acknowledging ------------------------------------------------------------------------------
 */

static void acknowledge(struct siu_handler *handler, uint32_t ha, struct siu_ticket ticket,
	const struct siu_ack_entry *entry)
{
	handler->stats.results[(unsigned)entry->result % SIU_HANDLER_RESULTS]++;
	siu_ack(handler->peers[ha].siu, ticket, entry);
	handler->peers[ha].tick_at_ns = 0; /* it leaves with the next tick */
}

/* What is in force now, unless the home agent has no business with the node. */
static void fill_in_force(
	const struct siu_handler *handler, const struct move *move, struct siu_ack_entry *entry)
{
	const struct tunnel *tunnel = move_tunnel(&handler->mover, move);

	if (tunnel == NULL)
		return;
	entry->node = tunnel->handle;
	entry->in_force = tunnel->position.generation;
	entry->coa = tunnel->position.closed ? (struct ip_addr){0} : tunnel->position.coa;
}

/* One home agent cannot take all places while the disk is slow. */
static bool is_busy(const struct siu_handler *handler, const struct peer *peer)
{
	const uint32_t share = handler->n_peers > 1 ? SIU_HANDLER_PENDING_MAX / 2
						    : SIU_HANDLER_PENDING_MAX;

	return peer->pending >= share || handler->stats.pending == SIU_HANDLER_PENDING_MAX;
}

static void on_update(void *arg, const struct siu_update *update, struct siu_ticket ticket)
{
	struct peer *peer = arg;
	struct siu_handler *handler = peer->handler;
	struct siu_ack_entry entry = {
		.generation = update->generation,
		.home_address = update->home_address,
		.update_flags = update->flags,
	};
	struct tunnel *tunnel;
	struct move move;

	if (is_busy(handler, peer)) {
		entry.result = SIU_RESULT_NO_RESOURCES;
		acknowledge(handler, peer->home_agent, ticket, &entry);
		return;
	}
	move_apply(&handler->mover, peer->home_agent, update, handler->batch_ns, &move);
	tunnel = move_tunnel(&handler->mover, &move);
	if (tunnel != NULL && (update->flags & SIU_REPLY_ONLY) == 0)
		tunnel->sync_mark = peer->sync;
	entry.result = move.result;
	if (!siu_result_is_good(move.result))
		log_remote("siu", "update refused peer=%s reason=%s",
			handler->mover.conf->home_agents[peer->home_agent].name,
			siu_result_name(move.result));
	if (!move.after_grace && !move.closing) {
		fill_in_force(handler, &move, &entry);
		acknowledge(handler, peer->home_agent, ticket, &entry);
		return;
	}
	peer->pending++;
	handler->pending[handler->stats.pending++] = (struct pending){
		.home_agent = peer->home_agent,
		.ticket = ticket,
		.entry = entry,
		.move = move,
	};
}

/* waiting: the lowest token that some worker has not passed. One look a turn is enough for all that
 * wait: each takes the line from the worker that is about to write it. */
static bool passed(struct siu_handler *handler, uint64_t token, uint64_t *waiting)
{
	if (token >= *waiting)
		return false;
	if (dataplane_grace_done(handler->mover.dp, token))
		return true;
	*waiting = token;
	return false;
}

/* One step of an entry. True: it is acknowledged. */
static bool advance(
	struct siu_handler *handler, struct pending *pending, uint64_t *waiting, uint64_t now_ns)
{
	struct handover *handover;

	if (pending->move.closing) {
		if (!move_close(&handler->mover, &pending->move, now_ns))
			return false;
		pending->token = dataplane_grace_token(handler->mover.dp);
		pending->has_token = true;
	}
	if (!pending->grace_over) {
		if (!pending->has_token || !passed(handler, pending->token, waiting))
			return false;
		pending->grace_over = true;
		handler->passed = true;
		handover = handovers_at(handler->mover.handovers, pending->move.handover);
		if (handover != NULL)
			handover->grace_ns = now_ns;
	}
	if (state_durable(handler->mover.state) < pending->move.durable)
		return false;
	handover = handovers_at(handler->mover.handovers, pending->move.handover);
	if (handover != NULL)
		handover->acked_ns = now_ns;
	fill_in_force(handler, &pending->move, &pending->entry);
	acknowledge(handler, pending->home_agent, pending->ticket, &pending->entry);
	return true;
}

/* Returns in how many ns to look again. */
static uint64_t advance_all(struct siu_handler *handler, uint64_t now_ns)
{
	uint64_t again = UINT64_MAX, waiting = UINT64_MAX;

	for (uint32_t i = 0; i < handler->stats.pending;) {
		struct pending *pending = &handler->pending[i];

		if (advance(handler, pending, &waiting, now_ns)) {
			handler->peers[pending->home_agent].pending--;
			*pending = handler->pending[--handler->stats.pending];
			continue;
		}
		/* Workers leave the old path within microseconds; the disk takes longer, and its
		 * thread may need this CPU. */
		if (!pending->grace_over && !pending->move.closing)
			again = 0;
		else if (again > WAIT_DISK_NS)
			again = WAIT_DISK_NS;
		i++;
	}
	return again;
}

/* --- SYNC and expiry ----------------------------------------------------------------------------
 */

static void on_sync_begin(void *arg)
{
	struct peer *peer = arg;

	peer->sync++; /* every mark from before is now old */
	peer->sweeping = false;
}

static void on_sync_end(void *arg)
{
	struct peer *peer = arg;

	peer->sweeping = true;
	peer->sweep_cursor = 0;
}

/* Closes what the SYNC did not confirm. */
static void sweep(struct siu_handler *handler, struct peer *peer)
{
	for (unsigned n = 0; peer->sweeping && n < SWEEP_A_TURN; n++) {
		struct tunnel *tunnel = tunnel_next(handler->mover.tunnels, peer->sweep_cursor);

		if (tunnel == NULL) {
			peer->sweeping = false;
			return;
		}
		if (tunnel->home_agent == peer->home_agent && tunnel->sync_mark != peer->sync &&
			!tunnel->position.closed) {
			if (move_shut(&handler->mover, tunnel, "not confirmed by SYNC") != 0)
				return; /* no room at this moment: go on here at the next turn */
			handler->stats.swept++;
		}
		peer->sweep_cursor = tunnel->handle;
	}
}

static void expire(struct siu_handler *handler, uint64_t now_ns)
{
	for (unsigned n = 0; n < EXPIRE_A_TURN; n++) {
		struct tunnel *tunnel = tunnel_over(handler->mover.tunnels, now_ns);

		if (tunnel == NULL || move_shut(&handler->mover, tunnel, "lifetime is over") != 0)
			return; /* no room at this moment: the next turn tries again */
	}
}

/* --- provisional switches -----------------------------------------------------------------------
 */

/* The first copy of a request from where it says that the node is: the way there is taken before
 * its home agent has said so, for a short time and few bytes. */
static void try_at_once(struct siu_handler *handler, struct tunnel *tunnel,
	const struct mip4_rrq *rrq, const struct ip_endpoint *observed, uint64_t now_ns)
{
	const struct siu_update expected = {
		.identification = rrq->identification, .new_coa = rrq->coa};
	const struct gw_conf *conf = handler->mover.conf;
	const struct ip_endpoint end = nat_tunnel_end(tunnel, &expected);

	if ((tunnel->flags & NODE_PROVISIONAL) == 0 || tunnel->position.closed ||
		rrq->lifetime_s == 0 || tunnel->rrqs == NULL || tunnel_is_tried(tunnel) ||
		now_ns < tunnel->rrqs->try_again_ns || handler->n_trials == TRIALS_MAX)
		return;
	if (!ip_addr_equal(&end.addr, &observed->addr) ||
		ip_endpoint_equal(&end, &tunnel->position.remote) ||
		nat_check_end(conf, &end, &rrq->coa) != SIU_RESULT_OK)
		return;
	if (tunnel_try(handler->mover.tunnels, tunnel, &end, conf->provisional_credit) != 0)
		return;
	tunnel->rrqs->try_again_ns = now_ns + TRIAL_EVERY_NS;
	handler->trials[handler->n_trials++] = (struct trial){
		.node = tunnel->handle, .until_ns = now_ns + TRIAL_NS};
	handler->stats.tried++;
}

/* Takes back what no update confirmed. Returns in how many ns to look again. */
static uint64_t end_trials(struct siu_handler *handler, uint64_t now_ns)
{
	uint64_t again = UINT64_MAX;

	for (uint32_t i = 0; i < handler->n_trials;) {
		const struct trial *trial = &handler->trials[i];
		struct tunnel *tunnel = tunnel_by_handle(handler->mover.tunnels, trial->node);
		bool over = tunnel == NULL || !tunnel_is_tried(tunnel);

		if (!over && now_ns >= trial->until_ns) {
			over = tunnel_try_end(handler->mover.tunnels, tunnel) == 0;
			handler->stats.taken_back += over;
			again = over ? again : 0; /* no room at this moment */
		} else if (!over && trial->until_ns - now_ns < again) {
			again = trial->until_ns - now_ns;
		}
		if (over)
			handler->trials[i] = handler->trials[--handler->n_trials];
		else
			i++;
	}
	return again;
}

/* --- return routability -------------------------------------------------------------------------
 */

static void tell_event(struct siu_handler *handler, const struct tunnel *tunnel,
	enum siu_event_kind kind, const struct ip_endpoint *observed, uint64_t now_ns)
{
	struct peer *peer = &handler->peers[tunnel->home_agent];

	if (!ration_take(&peer->events_at_ns, NS_PER_S / SIU_HANDLER_EVENTS_PER_S,
		    SIU_HANDLER_EVENTS_PER_S, now_ns))
		return;
	(void)siu_send_event(peer->siu,
		&(struct siu_event){
			.kind = kind,
			.node = tunnel->handle,
			.home_address = tunnel->home_address,
			.observed = *observed,
		},
		now_ns);
}

static void ask(struct siu_handler *handler, uint64_t now_ns)
{
	for (unsigned n = 0; n < ASK_A_TURN; n++) {
		struct tunnel *tunnel = tunnel_to_ask(handler->mover.tunnels, now_ns);

		if (tunnel == NULL)
			return;
		if (!reach_ask(&handler->mover, tunnel, now_ns))
			continue;
		log_remote("reach", "no answer from where it registered node=%s", tunnel->name);
		tell_event(handler, tunnel, SIU_EVENT_UNANSWERED, &tunnel->reach->end, now_ns);
	}
}

static void on_peer(void *arg, bool up, bool restarted)
{
	struct peer *peer = arg;

	log_remote("siu", "home agent %s is %s%s",
		peer->handler->mover.conf->home_agents[peer->home_agent].name, up ? "up" : "silent",
		restarted ? ", it was restarted" : "");
}

/* --- datagrams ----------------------------------------------------------------------------------
 */

/* With a small MTU inside, for Linux to cut the datagram; with siu.require_esp, to encrypt it. */
static void send_by_linux(const struct siu_handler *handler, const struct ip_endpoint *to,
	const uint8_t *datagram, size_t len)
{
	const struct sockaddr_in remote = {
		.sin_family = AF_INET,
		.sin_port = htons(to->port),
		.sin_addr.s_addr = ip_addr_to_v4(&to->addr),
	};

	if (sendto(handler->fd, datagram, len, MSG_DONTWAIT, (const struct sockaddr *)&remote,
		    sizeof remote) < 0)
		log_remote("siu", "datagram not sent: %s", strerror(errno));
}

static void on_send(void *arg, const uint8_t *datagram, size_t len)
{
	struct peer *peer = arg;
	struct siu_handler *handler = peer->handler;
	const struct ip_endpoint *to = &handler->mover.conf->home_agents[peer->home_agent].address;
	uint8_t packet[IPV4_HDR_BYTES + UDP_HDR_BYTES + SIU_DATAGRAM_MAX];
	size_t total = ipv4_udp_build(packet, sizeof packet, &handler->local, to, datagram, len);

	ipv4_set_ttl(packet, SIU_TTL);
	/* Lost for want of room: the protocol repeats what matters. */
	if (total != 0 && total <= handler->mtu && !handler->mover.conf->siu_require_esp)
		(void)dataplane_send_inside(handler->mover.dp, packet, total);
	else if (handler->fd >= 0)
		send_by_linux(handler, to, datagram, len);
}

void siu_handler_input(struct siu_handler *handler, const struct ip_addr *source, uint8_t ttl,
	const uint8_t *datagram, size_t len, uint64_t now_ns)
{
	for (uint32_t i = 0; i < handler->n_peers; i++) {
		const struct gw_home_agent_conf *ha = &handler->mover.conf->home_agents[i];

		if (!ip_addr_equal(source, &ha->address.addr))
			continue;
		if (ha->directly_attached && ttl != SIU_TTL) {
			handler->stats.not_attached++;
			return;
		}
		handler->batch_ns = now_ns;
		siu_input(handler->peers[i].siu, datagram, len, now_ns);
		handler->peers[i].tick_at_ns = 0;
		return;
	}
	handler->stats.unknown_source++;
}

void siu_handler_flush(struct siu_handler *handler, uint64_t now_ns)
{
	uint64_t token = 0;
	bool have = false;

	for (uint32_t i = 0; i < handler->stats.pending; i++) {
		struct pending *pending = &handler->pending[i];

		if (pending->has_token || pending->move.closing)
			continue;
		if (!have)
			token = dataplane_grace_token(handler->mover.dp);
		have = true;
		pending->token = token;
		pending->has_token = true;
	}
	(void)siu_handler_poll(handler, now_ns);
}

/* 0: not told. */
static uint8_t socket_ttl(struct msghdr *message)
{
	int ttl = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
			memcpy(&ttl, CMSG_DATA(c), sizeof ttl);
	return (uint8_t)ttl;
}

static void on_socket(void *arg, int fd, uint32_t events)
{
	static uint8_t buffers[RX_BURST][SIU_DATAGRAM_MAX + 1]; /* + 1: too long is noticed */
	struct siu_handler *handler = arg;
	static char controls[RX_BURST][CMSG_SPACE(sizeof(int))];
	struct sockaddr_in sources[RX_BURST];
	struct iovec vectors[RX_BURST];
	struct mmsghdr messages[RX_BURST];
	uint64_t now_ns;
	int n;

	(void)events;
	memset(messages, 0, sizeof messages);
	for (unsigned i = 0; i < RX_BURST; i++) {
		vectors[i] = (struct iovec){buffers[i], sizeof buffers[i]};
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_name = &sources[i];
		messages[i].msg_hdr.msg_namelen = sizeof sources[i];
		messages[i].msg_hdr.msg_control = controls[i];
		messages[i].msg_hdr.msg_controllen = sizeof controls[i];
	}
	n = recvmmsg(fd, messages, RX_BURST, MSG_DONTWAIT, NULL);
	now_ns = clock_mono_ns();
	for (int i = 0; i < n; i++) {
		struct ip_addr source = ip_addr_from_v4(sources[i].sin_addr.s_addr);

		siu_handler_input(handler, &source, socket_ttl(&messages[i].msg_hdr), buffers[i],
			messages[i].msg_len, now_ns);
	}
	if (n > 0)
		siu_handler_flush(handler, now_ns);
}

uint64_t siu_handler_poll(struct siu_handler *handler, uint64_t now_ns)
{
	uint64_t again = advance_all(handler, now_ns);
	const uint64_t trials = end_trials(handler, now_ns);

	expire(handler, now_ns);
	ask(handler, now_ns);
	/* Waking the thread of the disk takes time that moves under way should not wait for. */
	if (handler->passed || again != 0)
		state_kick(handler->mover.state);
	handler->passed = false;
	again = trials < again ? trials : again;
	for (uint32_t i = 0; i < handler->n_peers; i++) {
		struct peer *peer = &handler->peers[i];

		if (peer->sweeping)
			sweep(handler, peer);
		if (now_ns >= peer->tick_at_ns)
			peer->tick_at_ns = siu_tick(peer->siu, now_ns);
		if (peer->tick_at_ns <= now_ns)
			again = 0;
		else if (peer->tick_at_ns - now_ns < again)
			again = peer->tick_at_ns - now_ns;
	}
	return again;
}

/* --- registrations and events -------------------------------------------------------------------
 */

static bool read_rrq(const struct punt *punt, struct mip4_rrq *rrq)
{
	struct mip4_auth auth;
	struct ipv4_view ip;
	struct udp_view udp;

	return ipv4_udp_parse(punt->data, punt->len, &ip, &udp) && udp.dst_port == MIP4_PORT &&
	       mip4_rrq_decode(udp.payload, udp.payload_len, rrq, &auth) == MIP4_OK;
}

void siu_handler_registration(struct siu_handler *handler, const struct punt *punt)
{
	struct tunnel *tunnel = tunnel_by_handle(handler->mover.tunnels, punt->node);
	struct mip4_rrq rrq;
	bool is_first;

	if (tunnel != NULL && punt->len > IPV4_HDR_BYTES && punt->data[9] == IPPROTO_ICMP) {
		reach_answer(&handler->mover, tunnel, punt->data, punt->len);
		return;
	}
	if (tunnel == NULL || !read_rrq(punt, &rrq) ||
		!ip_addr_equal(&rrq.hoa, &tunnel->home_address))
		return; /* the node is gone, or the worker checked less than the decoder */
	handler->stats.registrations++;
	/* Its home agent never hears of it, so no update can come of it. A deregistration leads
	 * nowhere. */
	if ((tunnel->flags & NODE_STRICT_OUTER_SOURCE) != 0 && rrq.lifetime_s != 0 &&
		!nat_came_from_end(tunnel, &rrq.coa, &punt->observed)) {
		handler->stats.registrations_refused++;
		return;
	}
	is_first = move_find_rrq(tunnel, rrq.identification) == NULL;
	move_note_rrq(tunnel, &(struct tunnel_rrq){
				      .identification = rrq.identification,
				      .first_rx_ns = punt->rx_ns,
				      .coa = rrq.coa,
				      .observed = punt->observed,
			      });
	if (is_first)
		try_at_once(handler, tunnel, &rrq, &punt->observed, clock_mono_ns());
	/* -ENOTCONN: the home agent then decides by its configuration. */
	(void)siu_send_rrq_seen(handler->peers[tunnel->home_agent].siu,
		&(struct siu_rrq_seen){
			.node = tunnel->handle,
			.identification = rrq.identification,
			.home_address = tunnel->home_address,
			.coa = rrq.coa,
			.observed = punt->observed,
		},
		clock_mono_ns());
	if (dataplane_send_inside(handler->mover.dp, punt->data, punt->len) != 0)
		handler->stats.registrations_lost++;
}

void siu_handler_port_changed(struct siu_handler *handler, const struct dp_port_change *change)
{
	if (!nat_follow_port(&handler->mover, change))
		return;
	handler->stats.port_moves++;
	tell_event(handler, tunnel_by_handle(handler->mover.tunnels, change->node),
		SIU_EVENT_ENDPOINT_CHANGED, &change->from, clock_mono_ns());
}

void siu_handler_sa_expired(struct siu_handler *handler, uint32_t node)
{
	const struct tunnel *tunnel = tunnel_by_handle(handler->mover.tunnels, node);

	if (tunnel == NULL)
		return;
	(void)siu_send_event(handler->peers[tunnel->home_agent].siu,
		&(struct siu_event){
			.kind = SIU_EVENT_SA_EXPIRED,
			.node = node,
			.home_address = tunnel->home_address,
			.observed = tunnel->position.remote,
		},
		clock_mono_ns());
}

/* --- start and stop -----------------------------------------------------------------------------
 */

static void derive_keys(const struct gw_home_agent_conf *ha,
	struct siu_key keys_out[GW_SIU_SECRETS], struct siu_key keys_in[GW_SIU_SECRETS])
{
	for (size_t k = 0; k < GW_SIU_SECRETS; k++) {
		const struct gw_siu_secret *secret = &ha->secrets[k];

		if (secret->secret.len != 0)
			siu_derive_keys(secret->secret.bytes, secret->secret.len, secret->id,
				&keys_in[k], &keys_out[k]);
	}
}

uint32_t siu_handler_set_keys(struct siu_handler *handler, const struct gw_conf *fresh)
{
	uint32_t changed = 0;

	for (uint32_t i = 0; i < handler->n_peers; i++) {
		const char *name = handler->mover.conf->home_agents[i].name;

		for (uint32_t k = 0; k < fresh->n_home_agents; k++) {
			const struct gw_home_agent_conf *ha = &fresh->home_agents[k];
			struct siu_key keys_out[GW_SIU_SECRETS] = {0},
				       keys_in[GW_SIU_SECRETS] = {0};

			if (strcmp(ha->name, name) != 0)
				continue;
			derive_keys(ha, keys_out, keys_in);
			changed += siu_set_keys(handler->peers[i].siu, keys_out, keys_in);
			secret_wipe(keys_out, sizeof keys_out);
			secret_wipe(keys_in, sizeof keys_in);
		}
	}
	return changed;
}

static int open_peer(struct siu_handler *handler, uint32_t i)
{
	const struct gw_home_agent_conf *ha = &handler->mover.conf->home_agents[i];
	struct peer *peer = &handler->peers[i];
	struct siu_callbacks callbacks = {
		.send = on_send,
		.update = on_update,
		.sync_begin = on_sync_begin,
		.sync_end = on_sync_end,
		.peer = on_peer,
	};
	struct siu_config config = {
		.role = SIU_GATEWAY,
		.local_id = ntohl(ip_addr_to_v4(&handler->local.addr)),
		.boot_epoch = state_boot_epoch(handler->mover.state),
		.sequence_start = siu_draw_start(),
	};

	derive_keys(ha, config.keys_out, config.keys_in);
	peer->handler = handler;
	peer->home_agent = i;
	peer->siu = siu_new(&config, &callbacks, peer);
	secret_wipe(&config, sizeof config);
	return peer->siu == NULL ? -ENOMEM : 0;
}

static int open_socket(struct siu_handler *handler, const char *device, char *why, size_t why_size)
{
	struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_port = htons(handler->local.port),
		.sin_addr.s_addr = ip_addr_to_v4(&handler->local.addr),
	};
	const int bytes = SOCKET_BUFFER, ttl = SIU_TTL, on = 1;
	int rc;

	handler->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (handler->fd < 0)
		return -errno;
	rc = handler->mover.conf->siu_require_esp ? xfrm_policy_require_esp(handler->fd) : 0;
	if (rc != 0) {
		snprintf(why, why_size, "siu.require_esp: %s; does this kernel have XFRM?",
			strerror(-rc));
		return rc;
	}
	/* On the inside alone: the same datagram from the public side has no socket here. */
	if (setsockopt(handler->fd, SOL_SOCKET, SO_BINDTODEVICE, device,
		    (socklen_t)strlen(device)) != 0 ||
		setsockopt(handler->fd, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) != 0 ||
		setsockopt(handler->fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on) != 0 ||
		bind(handler->fd, (const struct sockaddr *)&local, sizeof local) != 0) {
		rc = -errno;
		snprintf(why, why_size, "siu.listen on %s: %s", device, strerror(errno));
		return rc;
	}
	if (setsockopt(handler->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
		(void)setsockopt(handler->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	return loop_fd_add(handler->loop, handler->fd, EPOLLIN, on_socket, handler);
}

/* By the workers, while the associations live: they stop before siu_handler_close(). */
static bool admits(void *arg, uint32_t peer, const uint8_t *datagram, size_t len)
{
	const struct siu_handler *handler = arg;

	return siu_admits(handler->peers[peer].siu, datagram, len);
}

static void set_guard(struct siu_handler *handler)
{
	struct dp_guard guard = {.local = handler->local,
		.n_peers = handler->n_peers,
		.admits = admits,
		.arg = handler};

	for (uint32_t i = 0; i < handler->n_peers; i++)
		guard.peers[i] = handler->mover.conf->home_agents[i].address.addr;
	dataplane_guard(handler->mover.dp, &guard);
}

int siu_handler_open(const struct siu_handler_config *config, struct siu_handler **out, char *why,
	size_t why_size)
{
	struct siu_handler *handler = calloc(1, sizeof *handler);
	int rc = 0;

	snprintf(why, why_size, "SIU: out of memory");
	if (handler == NULL)
		return -ENOMEM;
	handler->mover = (struct mover){
		.conf = config->conf,
		.dp = config->dp,
		.tunnels = config->tunnels,
		.handovers = config->handovers,
		.state = config->state,
	};
	handler->loop = config->loop;
	handler->local = config->conf->siu_listen;
	handler->mtu = config->conf->ports[DP_INSIDE].mtu;
	handler->fd = -1;
	handler->n_peers = config->conf->n_home_agents;
	for (uint32_t i = 0; rc == 0 && i < handler->n_peers; i++)
		rc = open_peer(handler, i);
	if (rc == 0 && handler->loop != NULL)
		rc = open_socket(handler, config->device, why, why_size);
	if (rc != 0) {
		siu_handler_close(handler);
		return rc;
	}
	set_guard(handler);
	*out = handler;
	return 0;
}

void siu_handler_close(struct siu_handler *handler)
{
	if (handler == NULL)
		return;
	if (handler->fd >= 0) {
		loop_fd_del(handler->loop, handler->fd);
		close(handler->fd);
	}
	for (uint32_t i = 0; i < handler->n_peers; i++) {
		if (handler->peers[i].siu != NULL)
			siu_free(handler->peers[i].siu);
	}
	free(handler);
}

void siu_handler_get_stats(const struct siu_handler *handler, struct siu_handler_stats *out)
{
	*out = handler->stats;
	out->replies_lost = handler->mover.replies_lost;
	out->reach = handler->mover.reach;
}

void siu_handler_get_peer_stats(
	const struct siu_handler *handler, uint32_t home_agent, struct siu_stats *out)
{
	siu_get_stats(handler->peers[home_agent].siu, out);
}
