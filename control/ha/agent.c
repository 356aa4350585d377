/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: figure 4 of the source document, from top to bottom:
 *
 *   take_request()   is it valid? (registration.c)              steps 29, 30
 *   find_path()      did it come through a gateway?             step 32
 *   answer()         no:  make it durable, reply directly       step 33
 *                    yes: make it durable, UPDATE with reply    steps 34 to 36 (notify.c)
 *                    invalid: the denial, by the same way
 *
 * The gateway says by RRQ_SEEN that a request comes through it, usually just before. If it did not
 * yet, and if it could make a difference, the request is held for rrq_seen_wait_ms.
 *
 * Bounds: requests that are held and RRQ_SEENs that are remembered lie in rings (waiting.c);
 * denials and repeated replies are rationed for each node, since both can be drawn by replaying old
 * requests; so are acceptances, since each costs a write to the disk and an UPDATE, and a node that
 * went mad must not take those from all others; requests that name no configured node cost no more
 * than their decoding.
 */
#include "control/ha/agent.h"

#include "control/ha/clock_watch.h"
#include "control/ha/waiting.h"
#include "lib/clock.h"
#include "lib/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MODULE "registration"
#define RECEIVE_BURST 64                     /* datagrams a wake-up */
#define RATION_INTERVAL_NS (200 * NS_PER_MS) /* 5 a second and node */
#define RATION_BURST 10
#define TICK_NS NS_PER_S

struct request {
	struct ha_registration reg;
	struct ha_binding *binding;
	struct ip_endpoint from;
	uint64_t at_ns; /* when it arrived */
};

struct rations { /* when each of them is whole again, monotonic */
	uint64_t answers_ns, acceptances_ns;
};

struct ha_agent {
	struct ha_parts parts;
	int fd;
	struct loop_timer *tick, *release;
	struct ha_waiting waiting;
	struct rations *rations; /* one a node */
	struct ha_clock_watch clock;
	bool links_changed, home_link_changed;
};

static void count(struct ha_agent *agent, enum ha_counter counter)
{
	agent->parts.counters->n[counter]++;
}

static size_t index_of(const struct ha_agent *agent, const struct ha_binding *binding)
{
	return (size_t)(binding->node - agent->parts.conf->nodes);
}

/* --- the home link follows the binding --- */

static void follow(void *arg, struct ha_binding *binding)
{
	struct ha_agent *agent = arg;

	if (ha_binding_target(binding) != NULL)
		ha_home_link_intercept(agent->parts.home_link, index_of(agent, binding));
	else
		ha_home_link_release(agent->parts.home_link, index_of(agent, binding));
}

/* --- the way back --- */

static void send_direct(
	struct ha_agent *agent, const struct ip_endpoint *to, const struct ha_reply *reply)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
		.sin_port = htons(to->port),
		.sin_addr.s_addr = ip_addr_to_v4(&to->addr)};

	/* The socket is bound to our address and port 434: the request's destination. A reply that
	 * is lost here is one that was lost on the way: the node asks again. */
	(void)sendto(agent->fd, reply->bytes, reply->len, 0, (struct sockaddr *)&name, sizeof name);
}

static void send_reply(struct ha_agent *agent, const struct request *request, int gateway,
	const struct ha_reply *reply)
{
	struct ha_known asked = {.any = true,
		.identification = request->reg.rrq.identification,
		.coa = request->reg.rrq.coa};

	if (reply->len == 0)
		return;
	if (gateway == HA_DIRECT)
		send_direct(agent, &request->from, reply);
	else
		ha_notify_reply(agent->parts.notify, gateway, request->binding, &asked, reply);
}

static struct ha_reply make_reply(const struct request *request, uint8_t code)
{
	struct ha_reply reply = {.port = request->from.port};

	reply.len = (uint16_t)ha_registration_reply(
		&request->reg, code, reply.bytes, sizeof reply.bytes);
	return reply;
}

/* One every RATION_INTERVAL_NS, RATION_BURST of them at once. True: used up. */
static bool is_used_up(uint64_t *whole_ns)
{
	uint64_t now = clock_mono_ns();

	if (*whole_ns < now)
		*whole_ns = now;
	if (*whole_ns - now > (RATION_BURST - 1) * RATION_INTERVAL_NS)
		return true;
	*whole_ns += RATION_INTERVAL_NS;
	return false;
}

static struct rations *rations_of(struct ha_agent *agent, const struct ha_binding *binding)
{
	return &agent->rations[index_of(agent, binding)];
}

static bool may_answer(struct ha_agent *agent, const struct ha_binding *binding)
{
	bool may = !is_used_up(&rations_of(agent, binding)->answers_ns);

	if (!may)
		count(agent, HA_RRQ_LIMITED);
	return may;
}

/* --- figure 4, steps 33 to 36 --- */

static void deny(struct ha_agent *agent, const struct request *request, int gateway, uint8_t code,
	enum ha_counter reason)
{
	struct ha_reply reply;
	char coa[IP_TEXT_MAX];

	count(agent, reason);
	if (!may_answer(agent, request->binding))
		return;
	log_remote(MODULE, "denied node=%s coa=%s code=%u reason=%s (%s)",
		request->binding->node->name, ip_addr_format(&request->reg.rrq.coa, coa), code,
		ha_counter_name(reason), mip4_code_text(code));
	reply = make_reply(request, code);
	send_reply(agent, request, gateway, &reply);
}

static void repeat(struct ha_agent *agent, const struct request *request, int gateway)
{
	struct ha_reply reply = request->binding->reply;

	count(agent, HA_RRQ_DUPLICATE);
	/* While pending the reply is in the UPDATE that the association repeats by itself. */
	if (request->binding->pending || !may_answer(agent, request->binding))
		return;
	reply.port = request->from.port;
	send_reply(agent, request, gateway, &reply);
}

static bool deregisters_nothing(const struct request *request)
{
	return request->reg.kind == HA_DEREGISTER_COA &&
	       !ip_addr_equal(&request->reg.rrq.coa, &request->binding->registered.coa);
}

static void log_accepted(const struct request *request, int gateway, const struct ha_conf *conf)
{
	static struct log_limit limit;
	const struct mip4_rrq *rrq = &request->reg.rrq;
	char coa[IP_TEXT_MAX];
	uint32_t left_out;

	if (!log_limit_pass(&limit, &left_out))
		return;
	log_info(MODULE, "accepted node=%s coa=%s lifetime=%u via=%s generation=%llu left_out=%u",
		request->binding->node->name, ip_addr_format(&rrq->coa, coa),
		request->reg.lifetime_s,
		gateway == HA_DIRECT ? "home network" : conf->gateways[gateway].name,
		(unsigned long long)request->binding->generation, left_out);
}

static void accept_request(struct ha_agent *agent, const struct request *request, int gateway)
{
	struct ha_binding *binding = request->binding;
	struct ha_reply reply = make_reply(request, request->reg.code);
	bool nothing = deregisters_nothing(request);
	int err;

	if (is_used_up(&rations_of(agent, binding)->acceptances_ns)) {
		deny(agent, request, gateway, MIP4_CODE_NO_RESOURCES, HA_RRQ_TOO_MANY);
		return;
	}
	if (nothing)
		err = ha_binding_remember(agent->parts.bindings, binding, &request->reg, &reply);
	else
		err = ha_notify_register(
			agent->parts.notify, binding, &request->reg, &reply, gateway);
	if (err != 0) {
		count(agent, HA_STORE_FAILED);
		deny(agent, request, gateway, MIP4_CODE_NO_RESOURCES, HA_RRQ_NO_RESOURCES);
		return;
	}
	count(agent, HA_RRQ_ACCEPTED);
	binding->request_ns = request->at_ns;
	/* Before a direct reply: it must not be led into the tunnel of a node that is home. And
	 * with no former care-of address the packets follow the UPDATE, not its ACK. */
	follow(agent, binding);
	if (nothing || gateway == HA_DIRECT)
		send_reply(agent, request, gateway, &reply);
	log_accepted(request, gateway, agent->parts.conf);
}

static void answer(struct ha_agent *agent, const struct request *request, int gateway)
{
	switch (request->reg.verdict) {
	case HA_DISCARD:
		count(agent, request->reg.reason);
		break;
	case HA_DENY:
		deny(agent, request, gateway, request->reg.code, request->reg.reason);
		break;
	case HA_DUPLICATE:
		repeat(agent, request, gateway);
		break;
	case HA_ACCEPT:
		accept_request(agent, request, gateway);
		break;
	}
}

/* --- step 32: through a gateway or not? --- */

static int path_by_configuration(const struct request *request)
{
	int gateway = request->binding->node->gateway;

	return gateway == HA_NO_GATEWAY ? HA_DIRECT : gateway;
}

static bool is_only_gateway(
	const struct ha_conf *conf, const struct ha_conf_node *node, int gateway)
{
	if (gateway == HA_DIRECT)
		return false;
	for (size_t i = 0; i < conf->n_gateways; i++)
		if ((int)i != gateway && ha_conf_may_carry(node, (int)i))
			return false;
	return true;
}

static int find_path(const struct ha_agent *agent, const struct request *request, uint64_t now)
{
	const struct ha_conf *conf = agent->parts.conf;
	const struct ip_addr *source = &request->from.addr;
	int gateway = ha_waiting_gateway(&agent->waiting, &request->reg.rrq, now);

	if (gateway != HA_NOT_SEEN)
		return gateway;
	if (ip_addr_equal(source, &request->reg.rrq.hoa) || ha_conf_is_inside(conf, source))
		return HA_DIRECT;
	gateway = path_by_configuration(request);
	/* Nothing to wait for if there is no other gateway that could speak up. */
	if (conf->rrq_seen_wait_ms == 0 || is_only_gateway(conf, request->binding->node, gateway))
		return gateway;
	return HA_NOT_SEEN;
}

static uint64_t wait_ns(const struct ha_agent *agent)
{
	return agent->parts.conf->rrq_seen_wait_ms * NS_PER_MS;
}

static void arm_release(struct ha_agent *agent)
{
	const struct ha_held *held = ha_waiting_first(&agent->waiting);

	if (held != NULL)
		loop_timer_arm(agent->release, held->at_ns + wait_ns(agent));
}

/* Steps 29 and 30. Judged again after a wait, since others may have been accepted meanwhile. */
static bool judge(struct ha_agent *agent, struct request *request, const void *payload, size_t len)
{
	static const struct ha_known NOTHING;

	if (!ha_registration_read(&request->reg, payload, len)) {
		count(agent, request->reg.reason);
		return false;
	}
	request->binding = ha_binding_find(agent->parts.bindings, &request->reg.rrq.hoa);
	ha_registration_judge(&request->reg, agent->parts.conf,
		request->binding != NULL ? request->binding->node : NULL,
		request->binding != NULL ? &request->binding->known : &NOTHING, &request->from.addr,
		ntp_from_real_ns(clock_real_ns()));
	if (request->reg.verdict != HA_DISCARD)
		return true;
	count(agent, request->reg.reason);
	return false;
}

static void take_request(
	struct ha_agent *agent, const uint8_t *payload, size_t len, const struct ip_endpoint *from)
{
	struct request request = {.from = *from, .at_ns = clock_mono_ns()};
	int gateway;

	if (!judge(agent, &request, payload, len))
		return;
	gateway = find_path(agent, &request, request.at_ns);
	if (gateway == HA_NOT_SEEN &&
		ha_waiting_hold(&agent->waiting, &request.reg, len, from, request.at_ns)) {
		arm_release(agent);
		return;
	}
	if (gateway == HA_NOT_SEEN)
		gateway = path_by_configuration(&request);
	answer(agent, &request, gateway);
}

/* The wait is over; gateway: which one spoke up, or HA_NOT_SEEN. */
static void release(struct ha_agent *agent, const struct ha_held *held, int gateway)
{
	struct request request = {.from = held->from, .at_ns = held->at_ns};

	ha_waiting_release(&agent->waiting, held);
	if (!judge(agent, &request, held->payload, held->len))
		return;
	if (gateway == HA_NOT_SEEN)
		gateway = path_by_configuration(&request);
	answer(agent, &request, gateway);
}

static void on_release(void *arg)
{
	struct ha_agent *agent = arg;
	uint64_t now = clock_mono_ns();
	const struct ha_held *held;

	while ((held = ha_waiting_first(&agent->waiting)) != NULL &&
		held->at_ns + wait_ns(agent) <= now)
		release(agent, held, HA_NOT_SEEN);
	arm_release(agent);
}

static void on_rrq_seen(void *arg, int gateway, const struct siu_rrq_seen *seen)
{
	struct ha_agent *agent = arg;
	const struct ha_binding *binding = ha_binding_find(
		agent->parts.bindings, &seen->home_address);
	const struct ha_held *held;

	if (binding == NULL || !ha_conf_may_carry(binding->node, gateway)) {
		count(agent, HA_SIU_NOT_ITS_NODE); /* as if it had not spoken */
		return;
	}
	ha_waiting_remember(&agent->waiting, gateway, seen, clock_mono_ns());
	while ((held = ha_waiting_match(&agent->waiting, seen)) != NULL)
		release(agent, held, gateway);
}

/* --- lifetimes --- */

static bool is_over(const struct ha_binding *binding, uint64_t now)
{
	const struct ha_care *registered = &binding->registered, *in_force = &binding->in_force;

	if (ip_addr_is_set(&registered->coa))
		return registered->ends_mono_ns <= now;
	return ip_addr_is_set(&in_force->coa) && in_force->ends_mono_ns <= now;
}

static void on_tick(void *arg)
{
	struct ha_agent *agent = arg;
	uint64_t now = clock_mono_ns();

	if (ha_clock_watch_look(
		    &agent->clock, agent->parts.conf, agent->parts.bindings, now, clock_real_ns()))
		count(agent, HA_CLOCK_SET);
	for (size_t i = 0; i < agent->parts.conf->n_nodes; i++) {
		struct ha_binding *binding = ha_binding_at(agent->parts.bindings, i);

		if (is_over(binding, now))
			ha_notify_expire(agent->parts.notify, binding);
	}
	if (agent->links_changed)
		ha_tunnel_restore(agent->parts.tunnel);
	if (agent->home_link_changed)
		ha_home_link_restore(agent->parts.home_link);
	agent->links_changed = agent->home_link_changed = false;
	ha_home_link_tick(agent->parts.home_link);
	loop_timer_arm_in(agent->tick, TICK_NS);
}

void ha_agent_link_changed(struct ha_agent *agent, int ifindex)
{
	if (agent == NULL)
		return;
	agent->links_changed = true;
	if (ha_home_link_is_on(agent->parts.home_link, ifindex))
		agent->home_link_changed = true;
}

/* --- open and close --- */

static void on_readable(void *arg, int fd, uint32_t epoll_events)
{
	struct ha_agent *agent = arg;
	uint8_t payload[HA_RRQ_MAX + 1]; /* one more, so that a longer one is found malformed */

	(void)epoll_events;
	for (int i = 0; i < RECEIVE_BURST; i++) {
		struct sockaddr_in name = {0};
		socklen_t name_len = sizeof name;
		struct ip_endpoint from;
		ssize_t len = recvfrom(
			fd, payload, sizeof payload, 0, (struct sockaddr *)&name, &name_len);

		if (len < 0)
			return;
		from.addr = ip_addr_from_v4(name.sin_addr.s_addr);
		from.port = ntohs(name.sin_port);
		take_request(agent, payload, (size_t)len, &from);
	}
}

static int open_socket(const struct ha_conf *conf, char *why, size_t why_size)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
		.sin_port = htons(MIP4_PORT),
		.sin_addr.s_addr = ip_addr_to_v4(&conf->address)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char text[IP_TEXT_MAX];
	int err;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0)
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	snprintf(why, why_size, "address %s, UDP port %d: %s; is it on an interface of this host?",
		ip_addr_format(&conf->address, text), MIP4_PORT, strerror(-err));
	return err;
}

/* Bindings of an earlier run: those whose lifetime is over are closed by the first tick. */
static void resume(struct ha_agent *agent)
{
	static const struct ha_notify_events events = {.moved = follow, .rrq_seen = on_rrq_seen};

	for (size_t i = 0; i < agent->parts.conf->n_nodes; i++)
		follow(agent, ha_binding_at(agent->parts.bindings, i));
	ha_notify_start(agent->parts.notify, &events, agent);
	on_tick(agent);
}

int ha_agent_open(const struct ha_parts *parts, struct ha_agent **out, char *why, size_t why_size)
{
	struct ha_agent *agent = calloc(1, sizeof *agent);
	int err = -ENOMEM;

	snprintf(why, why_size, "out of memory");
	if (agent == NULL)
		return err;
	agent->parts = *parts;
	agent->fd = -1;
	agent->rations = calloc(parts->conf->n_nodes, sizeof *agent->rations);
	agent->tick = loop_timer_new(parts->loop, on_tick, agent);
	agent->release = loop_timer_new(parts->loop, on_release, agent);
	if (agent->rations == NULL || agent->tick == NULL || agent->release == NULL)
		goto fail;
	err = open_socket(parts->conf, why, why_size);
	if (err < 0)
		goto fail;
	agent->fd = err;
	resume(agent);
	err = loop_fd_add(parts->loop, agent->fd, EPOLLIN, on_readable, agent);
	if (err != 0) {
		snprintf(why, why_size, "event loop: %s", strerror(-err));
		goto fail;
	}
	*out = agent;
	return 0;
fail:
	ha_agent_close(agent);
	return err;
}

void ha_agent_close(struct ha_agent *agent)
{
	if (agent == NULL)
		return;
	if (agent->fd >= 0) {
		loop_fd_del(agent->parts.loop, agent->fd);
		close(agent->fd);
	}
	loop_timer_free(agent->tick);
	loop_timer_free(agent->release);
	free(agent->rations);
	free(agent);
}
