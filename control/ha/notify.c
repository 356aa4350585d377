/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one UDP socket, and one association (siu/association.h) a gateway, told apart by
 * the source of a datagram. An association does retransmission and SYNC by itself; it asks for the
 * bindings here, and its answers come to take_ack():
 *
 *   good                 the binding is in force; a former gateway closes its path
 *   stale                the gateway remembers a later generation than we do: go beyond it
 *   duplicate, but of another care-of address: likewise
 *   refused for good     the former binding stays in force and is said again, the node gets a
 *                        denial by REPLY_ONLY
 *   refused for now      nothing; the association sends it again
 *   resync needed        nothing; the SYNC that follows has it
 *
 * What cannot be written to the disk changes nothing: the gateway is asked again a while later, and
 * answers the same.
 *
 * An answer to another generation than the current one is of no interest any more.
 */
#include "control/ha/notify.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/log.h"
#include "lib/xfrm_policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MODULE "siu"
#define RECEIVE_BURST 64      /* datagrams a wake-up */
#define ASK_AGAIN_NS NS_PER_S /* when the disk took nothing */

struct link { /* to one gateway */
	struct ha_notify *notify;
	int index;
	struct siu *siu;
	struct loop_timer *timer;
};

struct ha_notify {
	struct loop *loop;
	const struct ha_conf *conf;
	struct ha_bindings *bindings;
	struct ha_counters *counters;
	struct ha_notify_events events;
	void *events_arg;
	int fd;
	struct link *links; /* n_gateways */
	int *ask_again;     /* n_nodes: the gateway, HA_DIRECT: none */
	struct loop_timer *ask_timer;
};

static const char *gateway_name(const struct link *link)
{
	return link->notify->conf->gateways[link->index].name;
}

static void run_timers(struct link *link)
{
	loop_timer_arm(link->timer, siu_tick(link->siu, clock_mono_ns()));
}

static void on_timer(void *arg)
{
	run_timers(arg);
}

/* --- what goes out --- */

static void send_datagram(void *arg, const uint8_t *datagram, size_t len)
{
	struct link *link = arg;
	const struct ip_endpoint *to = &link->notify->conf->gateways[link->index].address;
	struct sockaddr_in name = {.sin_family = AF_INET,
		.sin_port = htons(to->port),
		.sin_addr.s_addr = ip_addr_to_v4(&to->addr)};

	if (sendto(link->notify->fd, datagram, len, 0, (struct sockaddr *)&name, sizeof name) < 0)
		link->notify->counters->n[HA_SIU_SEND_FAILED]++;
}

/* The reply as the IP datagram that the gateway passes on; 0: there is none. */
static size_t build_datagram(const struct ha_notify *notify, const struct ip_addr *coa,
	const struct ha_reply *reply, uint8_t out[SIU_RRP_MAX])
{
	struct ip_endpoint src = {.addr = notify->conf->address, .port = MIP4_PORT};
	struct ip_endpoint dst = {.addr = *coa, .port = reply->port};

	if (reply->len == 0)
		return 0;
	return ipv4_udp_build(out, SIU_RRP_MAX, &src, &dst, reply->bytes, reply->len);
}

static uint16_t remaining_s(const struct ha_care *care)
{
	int64_t left = (int64_t)(care->ends_mono_ns - clock_mono_ns());

	if (left <= 0)
		return 1; /* the expiry follows within its timer; 0 would mean deregistration */
	left = (left + (int64_t)NS_PER_S - 1) / (int64_t)NS_PER_S;
	return left < care->lifetime_s ? (uint16_t)left : care->lifetime_s;
}

/* The state of the binding as that gateway must have it, without a reply. */
static struct siu_update describe(const struct ha_binding *binding, int gateway)
{
	const struct ha_care *registered = &binding->registered, *former = &binding->in_force;
	struct siu_update update = {.generation = binding->generation,
		.identification = binding->known.identification,
		.home_address = binding->node->home_address};

	if (former->gateway == gateway)
		update.former_coa = former->coa; /* or unset, as that is */
	if (registered->gateway == gateway && ip_addr_is_set(&registered->coa)) {
		update.new_coa = registered->coa;
		update.lifetime_s = remaining_s(registered);
	} else {
		update.flags = SIU_DEREGISTER;
	}
	return update;
}

static int send_update(struct link *link, const struct siu_update *update)
{
	int err = siu_update(link->siu, update, clock_mono_ns());

	if (err != 0)
		link->notify->counters->n[HA_SIU_SEND_FAILED]++;
	/* Sent by the timer, since this may be a callback of the association itself. */
	loop_timer_arm(link->timer, 0);
	return err;
}

static void send_reply_only(struct link *link, const struct ha_binding *binding,
	const struct ha_known *request, const struct ha_reply *reply)
{
	uint8_t datagram[SIU_RRP_MAX];
	struct siu_update update = {.generation = binding->generation,
		.flags = SIU_REPLY_ONLY,
		.identification = request->identification,
		.home_address = binding->node->home_address,
		.new_coa = request->coa,
		.rrp = datagram};

	update.rrp_len = build_datagram(link->notify, &request->coa, reply, datagram);
	if (update.rrp_len != 0)
		(void)send_update(link, &update); /* counted; the node asks again */
}

/* The state of the binding once more; nothing waits for the answer. */
static void say_again(struct link *link, const struct ha_binding *binding)
{
	struct siu_update update = describe(binding, link->index);

	(void)send_update(link, &update); /* counted; the next SYNC says it again */
}

static bool is_at_gateway(const struct ha_care *care)
{
	return ip_addr_is_set(&care->coa) && care->gateway != HA_DIRECT;
}

/* An update before the refused one, never acknowledged, may have moved the path, or be under way
 * still, here or where the former binding is: what stays is a later generation than both. */
static void say_what_stays(struct link *link, const struct ha_binding *binding)
{
	const struct ha_care *stays = &binding->registered;

	say_again(link, binding);
	if (is_at_gateway(stays) && stays->gateway != link->index)
		say_again(&link->notify->links[stays->gateway], binding);
}

static int *ask_again_of(struct ha_notify *notify, const struct ha_binding *binding)
{
	return &notify->ask_again[binding - ha_binding_at(notify->bindings, 0)];
}

/* The answer could not be written down. */
static void ask_later(struct link *link, const struct ha_binding *binding)
{
	struct ha_notify *notify = link->notify;

	notify->counters->n[HA_STORE_FAILED]++;
	*ask_again_of(notify, binding) = link->index;
	if (!loop_timer_is_armed(notify->ask_timer))
		loop_timer_arm_in(notify->ask_timer, ASK_AGAIN_NS);
}

/* The binding refused by its gateway, or not even sent: the former one stays. */
static void refuse(struct link *link, struct ha_binding *binding, uint8_t code)
{
	struct ha_notify *notify = link->notify;
	struct ha_reply denial = {.port = binding->reply.port};
	bool was_deregistration = !ip_addr_is_set(&binding->registered.coa);

	notify->counters->n[HA_RRQ_GATEWAY_REFUSED]++;
	if (was_deregistration) {
		/* There is no path to keep, whatever the gateway thinks of it. */
		if (ha_binding_confirm(notify->bindings, binding, clock_mono_ns()) != 0)
			notify->counters->n[HA_STORE_FAILED]++;
	} else {
		denial.len = (uint16_t)ha_registration_denial(binding->node, binding->reply.bytes,
			binding->reply.len, code, denial.bytes, sizeof denial.bytes);
		if (ha_binding_refuse(notify->bindings, binding, &denial) != 0) {
			ask_later(link, binding);
			return;
		}
		send_reply_only(link, binding, &binding->known, &denial);
		say_what_stays(link, binding);
	}
	notify->events.moved(notify->events_arg, binding);
}

/* A pending binding, with the reply in it. */
static void send_pending(struct link *link, struct ha_binding *binding)
{
	uint8_t datagram[SIU_RRP_MAX];
	struct siu_update update = describe(binding, link->index);

	/* The reply to a deregistration goes to the address that asked. */
	if ((update.flags & SIU_DEREGISTER) != 0 &&
		!ip_addr_equal(&update.former_coa, &binding->known.coa))
		update.new_coa = binding->known.coa;
	update.rrp = datagram;
	update.rrp_len = build_datagram(
		link->notify, &binding->known.coa, &binding->reply, datagram);
	if (update.rrp_len == 0)
		update.rrp = NULL;
	if (send_update(link, &update) != 0)
		refuse(link, binding, MIP4_CODE_NO_RESOURCES);
}

static void on_ask_again(void *arg)
{
	struct ha_notify *notify = arg;

	for (size_t i = 0; i < notify->conf->n_nodes; i++) {
		struct ha_binding *binding = ha_binding_at(notify->bindings, i);
		int gateway = notify->ask_again[i];

		notify->ask_again[i] = HA_DIRECT;
		if (gateway == HA_DIRECT)
			continue;
		if (!binding->pending)
			say_again(&notify->links[gateway], binding);
		else if (binding->registered.gateway == gateway)
			send_pending(&notify->links[gateway], binding);
	}
}

/* The path at a gateway that this node has left. Lost with a restart of ours, and then made up for
 * by the sweep at the end of SYNC. */
static void leave(struct ha_notify *notify, int gateway, const struct ha_binding *binding)
{
	struct siu_update update = describe(binding, gateway);

	(void)send_update(&notify->links[gateway], &update); /* counted; swept by the next SYNC */
}

/* Tells the gateways of `before` that are not those of the binding now. */
static void leave_former(
	struct ha_notify *notify, const struct ha_binding *before, const struct ha_binding *binding)
{
	int used = is_at_gateway(&before->in_force) ? before->in_force.gateway : HA_DIRECT;
	int asked = before->pending ? before->registered.gateway : HA_DIRECT;
	int now = binding->registered.gateway;

	/* While pending elsewhere the former gateway still carries the traffic. */
	if (used != HA_DIRECT && used != now && !binding->pending)
		leave(notify, used, binding);
	if (asked != HA_DIRECT && asked != now && asked != used)
		leave(notify, asked, binding);
}

int ha_notify_register(struct ha_notify *notify, struct ha_binding *binding,
	const struct ha_registration *reg, const struct ha_reply *reply, int gateway)
{
	struct ha_binding before = *binding;
	int err = ha_binding_accept(notify->bindings, binding, reg, reply, gateway);

	if (err != 0)
		return err;
	*ask_again_of(notify, binding) = HA_DIRECT;
	binding->durable_ns = clock_mono_ns();
	binding->update_ns = 0;
	binding->ack_ns = 0;
	if (gateway != HA_DIRECT) {
		send_pending(&notify->links[gateway], binding);
		run_timers(&notify->links[gateway]);
		binding->update_ns = clock_mono_ns();
	}
	leave_former(notify, &before, binding);
	return 0;
}

void ha_notify_reply(struct ha_notify *notify, int gateway, const struct ha_binding *binding,
	const struct ha_known *request, const struct ha_reply *reply)
{
	send_reply_only(&notify->links[gateway], binding, request, reply);
	run_timers(&notify->links[gateway]);
}

void ha_notify_expire(struct ha_notify *notify, struct ha_binding *binding)
{
	struct ha_binding before = *binding;

	if (ha_binding_expire(notify->bindings, binding) != 0) {
		notify->counters->n[HA_STORE_FAILED]++; /* the next round tries again */
		return;
	}
	notify->counters->n[HA_BINDING_EXPIRED]++;
	leave_former(notify, &before, binding);
	notify->events.moved(notify->events_arg, binding);
}

/* --- what comes in --- */

static uint8_t denial_code(enum siu_result result)
{
	switch (result) {
	case SIU_RESULT_NOT_AUTHORISED:
	case SIU_RESULT_BAD_COA:
	case SIU_RESULT_COA_NOT_OBSERVED:
	case SIU_RESULT_FAMILY_UNSUPPORTED:
		return MIP4_CODE_PROHIBITED;
	case SIU_RESULT_NO_SA:
	case SIU_RESULT_SA_EXPIRED:
	case SIU_RESULT_NO_ROUTE:
	case SIU_RESULT_NO_RESOURCES:
		return MIP4_CODE_NO_RESOURCES;
	default:
		return MIP4_CODE_UNSPECIFIED;
	}
}

static void confirm(struct link *link, struct ha_binding *binding)
{
	struct ha_notify *notify = link->notify;
	struct ha_binding before = *binding;
	uint64_t now = clock_mono_ns();

	binding->ack_ns = now;
	if (ha_binding_confirm(
		    notify->bindings, binding, now + notify->conf->grace_ms * NS_PER_MS) != 0)
		notify->counters->n[HA_STORE_FAILED]++;
	leave_former(notify, &before, binding);
	notify->events.moved(notify->events_arg, binding);
}

/* The gateway's memory is longer than ours: say the same again as a later generation. */
static void outrun(struct link *link, struct ha_binding *binding, uint64_t in_force)
{
	int err = ha_binding_outrun(link->notify->bindings, binding, in_force);

	if (err == -EOVERFLOW) {
		link->notify->counters->n[HA_SIU_REFUSED]++;
		log_remote(MODULE,
			"the gateway has the last generation there is: delete and add the node "
			"there "
			"node=%s",
			binding->node->name);
		return;
	}
	if (err != 0) {
		ask_later(link, binding);
		return;
	}
	if (binding->pending && binding->registered.gateway == link->index) {
		send_pending(link, binding);
		return;
	}
	say_again(link, binding);
}

/* The gateway has that generation already, for another care-of address: we counted it twice, since
 * our store was lost. */
static bool is_of_another(const struct link *link, const struct ha_binding *binding,
	const struct siu_ack_entry *entry)
{
	struct siu_update ours = describe(binding, link->index);

	return entry->result == SIU_RESULT_DUPLICATE && !ip_addr_equal(&entry->coa, &ours.new_coa);
}

static void take_ack(void *arg, const struct siu_ack_entry *entry)
{
	struct link *link = arg;
	struct ha_notify *notify = link->notify;
	struct ha_binding *binding = ha_binding_find(notify->bindings, &entry->home_address);

	if (binding == NULL) {
		notify->counters->n[HA_SIU_UNKNOWN_NODE]++;
		return;
	}
	if ((entry->update_flags & SIU_REPLY_ONLY) != 0 || !siu_result_is_final(entry->result)) {
		if (!siu_result_is_good(entry->result))
			notify->counters->n[HA_SIU_REFUSED]++;
		return;
	}
	if (entry->generation != binding->generation) {
		notify->counters->n[HA_SIU_SUPERSEDED]++;
		return;
	}
	if (entry->result == SIU_RESULT_STALE || is_of_another(link, binding, entry)) {
		outrun(link, binding, entry->in_force);
		return;
	}
	if (!siu_result_is_good(entry->result)) {
		char text[IP_TEXT_MAX];

		notify->counters->n[HA_SIU_REFUSED]++;
		log_remote(MODULE, "gateway refused gateway=%s node=%s coa=%s reason=%s",
			gateway_name(link), binding->node->name,
			ip_addr_format(&binding->registered.coa, text),
			siu_result_name(entry->result));
	}
	if (!binding->pending || binding->registered.gateway != link->index)
		return; /* the answer to a SYNC or to leaving: nothing waits for it */
	if (entry->result == SIU_RESULT_RESYNC_NEEDED)
		return; /* the SYNC that follows asks for this binding again */
	if (siu_result_is_good(entry->result))
		confirm(link, binding);
	else
		refuse(link, binding, denial_code(entry->result));
}

static void take_rrq_seen(void *arg, const struct siu_rrq_seen *seen)
{
	struct link *link = arg;

	link->notify->events.rrq_seen(link->notify->events_arg, link->index, seen);
}

static void take_event(void *arg, const struct siu_event *event)
{
	static const char *const KINDS[] = {
		[SIU_EVENT_SA_EXPIRED] = "sa_expired",
		[SIU_EVENT_ENDPOINT_CHANGED] = "endpoint_changed",
		[SIU_EVENT_UNANSWERED] = "unanswered",
	};
	struct link *link = arg;
	char home[IP_TEXT_MAX], observed[IP_TEXT_MAX];

	if (event->kind < SIU_EVENT_SA_EXPIRED || event->kind > SIU_EVENT_UNANSWERED)
		return;
	log_remote(MODULE, "event=%s gateway=%s home_address=%s observed=%s", KINDS[event->kind],
		gateway_name(link), ip_addr_format(&event->home_address, home),
		ip_endpoint_format(&event->observed, observed));
}

/* Cursor: index of the node to look at next, plus one. */
static uint64_t next_binding(void *arg, uint64_t cursor, struct siu_update *update)
{
	struct link *link = arg;
	struct ha_notify *notify = link->notify;

	for (size_t i = cursor != 0 ? (size_t)cursor - 1 : 0; i < notify->conf->n_nodes; i++) {
		const struct ha_binding *binding = ha_binding_at(notify->bindings, i);

		if (is_at_gateway(&binding->registered) &&
			binding->registered.gateway == link->index) {
			*update = describe(binding, link->index);
			return i + 2;
		}
		/* Pending elsewhere: until then the traffic is with this gateway. Its generation
		 * is the one before, which this gateway has already. */
		if (is_at_gateway(&binding->in_force) && binding->in_force.gateway == link->index) {
			*update = (struct siu_update){.generation = binding->generation - 1,
				.home_address = binding->node->home_address,
				.new_coa = binding->in_force.coa,
				.lifetime_s = remaining_s(&binding->in_force)};
			return i + 2;
		}
	}
	return 0;
}

static void peer_changed(void *arg, bool up, bool restarted)
{
	struct link *link = arg;

	log_remote(MODULE, "gateway=%s is %s%s", gateway_name(link), up ? "up" : "silent",
		restarted ? " after a restart" : "");
}

static struct link *link_from(struct ha_notify *notify, const struct sockaddr_in *from)
{
	struct ip_endpoint source = {
		.addr = ip_addr_from_v4(from->sin_addr.s_addr), .port = ntohs(from->sin_port)};

	for (size_t i = 0; i < notify->conf->n_gateways; i++)
		if (ip_endpoint_equal(&notify->conf->gateways[i].address, &source))
			return &notify->links[i];
	return NULL;
}

/* ttl: of the IP header; 0: not told. */
static ssize_t receive(int fd, uint8_t *out, size_t room, struct sockaddr_in *from, uint8_t *ttl)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec vector = {out, room};
	struct msghdr message = {.msg_name = from,
		.msg_namelen = sizeof *from,
		.msg_iov = &vector,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control};
	ssize_t len = recvmsg(fd, &message, 0);
	int value = 0;

	for (struct cmsghdr *c = len < 0 ? NULL : CMSG_FIRSTHDR(&message); c != NULL;
		c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
			memcpy(&value, CMSG_DATA(c), sizeof value);
	*ttl = (uint8_t)value;
	return len;
}

static void on_readable(void *arg, int fd, uint32_t epoll_events)
{
	struct ha_notify *notify = arg;
	uint8_t datagram[SIU_DATAGRAM_MAX + 1]; /* one more, so that a longer one fails its tag */

	(void)epoll_events;
	for (int i = 0; i < RECEIVE_BURST; i++) {
		struct sockaddr_in from = {0};
		uint8_t ttl = 0;
		ssize_t len = receive(fd, datagram, sizeof datagram, &from, &ttl);
		struct link *link;

		if (len < 0)
			return;
		link = link_from(notify, &from);
		if (link == NULL) {
			notify->counters->n[HA_SIU_UNKNOWN_PEER]++;
			continue;
		}
		if (notify->conf->gateways[link->index].directly_attached && ttl != SIU_TTL) {
			notify->counters->n[HA_SIU_NOT_ATTACHED]++;
			continue;
		}
		siu_input(link->siu, datagram, (size_t)len, clock_mono_ns());
		run_timers(link);
	}
}

/* --- open and close --- */

static int open_socket(const struct ha_conf *conf, char *why, size_t why_size)
{
	const struct ip_endpoint *listen = &conf->siu_listen;
	struct sockaddr_in name = {.sin_family = AF_INET,
		.sin_port = htons(listen->port),
		.sin_addr.s_addr = ip_addr_to_v4(&listen->addr)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ttl = SIU_TTL, on = 1, err;
	char text[IP_TEXT_MAX];

	err = fd >= 0 && conf->siu_require_esp ? xfrm_policy_require_esp(fd) : 0;
	if (err != 0) {
		close(fd);
		snprintf(why, why_size, "siu.require_esp: %s; does this kernel have XFRM?",
			strerror(-err));
		return err;
	}
	if (fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) == 0 &&
		setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on) == 0 &&
		bind(fd, (struct sockaddr *)&name, sizeof name) == 0)
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	snprintf(why, why_size, "siu.listen %s: %s; is the address on an interface of this host?",
		ip_endpoint_format(listen, text), strerror(-err));
	return err;
}

static void derive_keys(const struct ha_conf_gateway *gateway, struct siu_key keys_out[HA_SIU_KEYS],
	struct siu_key keys_in[HA_SIU_KEYS])
{
	for (size_t i = 0; i < HA_SIU_KEYS; i++) {
		const struct ha_conf_siu_key *key = &gateway->keys[i];

		if (key->secret.len != 0)
			siu_derive_keys(key->secret.bytes, key->secret.len, key->id, &keys_out[i],
				&keys_in[i]);
	}
}

size_t ha_notify_set_keys(struct ha_notify *notify, const struct ha_conf *fresh)
{
	size_t changed = 0;

	for (size_t i = 0; i < notify->conf->n_gateways; i++) {
		for (size_t k = 0; k < fresh->n_gateways; k++) {
			struct siu_key keys_out[HA_SIU_KEYS] = {0}, keys_in[HA_SIU_KEYS] = {0};

			if (strcmp(notify->conf->gateways[i].name, fresh->gateways[k].name) != 0)
				continue;
			derive_keys(&fresh->gateways[k], keys_out, keys_in);
			changed += siu_set_keys(notify->links[i].siu, keys_out, keys_in);
			secret_wipe(keys_out, sizeof keys_out);
			secret_wipe(keys_in, sizeof keys_in);
		}
	}
	return changed;
}

static int open_link(struct ha_notify *notify, int index, uint32_t boot_epoch)
{
	static const struct siu_callbacks callbacks = {.send = send_datagram,
		.ack = take_ack,
		.rrq_seen = take_rrq_seen,
		.event = take_event,
		.next_binding = next_binding,
		.peer = peer_changed};
	const struct ha_conf_gateway *gateway = &notify->conf->gateways[index];
	struct link *link = &notify->links[index];
	struct siu_config config = {.role = SIU_HOME_AGENT,
		.local_id = ntohl(ip_addr_to_v4(&notify->conf->address)),
		.boot_epoch = boot_epoch,
		.sequence_start = siu_draw_start(),
		/* an update and a REPLY_ONLY for each node */
		.max_pending = 2 * (uint32_t)notify->conf->n_nodes};

	derive_keys(gateway, config.keys_out, config.keys_in);
	*link = (struct link){.notify = notify,
		.index = index,
		.siu = siu_new(&config, &callbacks, link),
		.timer = loop_timer_new(notify->loop, on_timer, link)};
	secret_wipe(&config, sizeof config);
	return link->siu != NULL && link->timer != NULL ? 0 : -ENOMEM;
}

int ha_notify_open(struct loop *loop, const struct ha_conf *conf, struct ha_bindings *bindings,
	struct ha_counters *counters, uint32_t boot_epoch, struct ha_notify **out, char *why,
	size_t why_size)
{
	struct ha_notify *notify = calloc(1, sizeof *notify);
	int err = -ENOMEM;

	snprintf(why, why_size, "out of memory");
	if (notify == NULL)
		return err;
	*notify = (struct ha_notify){
		.loop = loop, .conf = conf, .bindings = bindings, .counters = counters, .fd = -1};
	notify->links = calloc(conf->n_gateways, sizeof *notify->links);
	notify->ask_again = calloc(conf->n_nodes, sizeof *notify->ask_again);
	notify->ask_timer = loop_timer_new(loop, on_ask_again, notify);
	if (notify->links == NULL || notify->ask_again == NULL || notify->ask_timer == NULL)
		goto fail;
	for (size_t i = 0; i < conf->n_nodes; i++)
		notify->ask_again[i] = HA_DIRECT;
	for (size_t i = 0; i < conf->n_gateways; i++) {
		err = open_link(notify, (int)i, boot_epoch);
		if (err != 0)
			goto fail;
	}
	err = open_socket(conf, why, why_size);
	if (err < 0)
		goto fail;
	notify->fd = err;
	err = loop_fd_add(loop, notify->fd, EPOLLIN, on_readable, notify);
	if (err != 0)
		goto fail;
	*out = notify;
	return 0;
fail:
	ha_notify_close(notify);
	return err;
}

void ha_notify_start(struct ha_notify *notify, const struct ha_notify_events *events, void *arg)
{
	notify->events = *events;
	notify->events_arg = arg;
	for (size_t i = 0; i < notify->conf->n_nodes; i++) {
		struct ha_binding *binding = ha_binding_at(notify->bindings, i);

		if (binding->pending)
			send_pending(&notify->links[binding->registered.gateway], binding);
	}
	for (size_t i = 0; i < notify->conf->n_gateways; i++)
		run_timers(&notify->links[i]);
}

void ha_notify_close(struct ha_notify *notify)
{
	if (notify == NULL)
		return;
	if (notify->fd >= 0) {
		loop_fd_del(notify->loop, notify->fd);
		close(notify->fd);
	}
	for (size_t i = 0; notify->links != NULL && i < notify->conf->n_gateways; i++) {
		loop_timer_free(notify->links[i].timer);
		siu_free(notify->links[i].siu);
	}
	loop_timer_free(notify->ask_timer);
	free(notify->ask_again);
	free(notify->links);
	free(notify);
}

void ha_notify_stats(struct ha_notify *notify, int gateway, struct siu_stats *out)
{
	siu_get_stats(notify->links[gateway].siu, out);
}
