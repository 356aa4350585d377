/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the home agent's socket is ours (--wrap=sendto, recvmsg), the gateway's datagrams
 * are calls of the packet path's double; both end in one bag of datagrams, from which the script
 * draws. The model knows what the home agent's table said of each gateway at each generation, and
 * that is all that may ever be in force there; it looks into no message but the acknowledgements,
 * which must tell of what the gateway had, and the replies to nodes, which must be of the request
 * that made the path that they take, or go to where their request came from.
 */
#include "tests/unit/handover/world.h"

#include "control/gw/siu_handler.h"
#include "control/ha/notify.h"
#include "lib/challenge.h"
#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "lib/wire.h"
#include "siu/codec.h"
#include "tests/unit/gw/dataplane_double.h"
#include "tests/unit/gw/gw_fixture.h"
#include "tests/unit/handover/doubles.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define NODES 2
#define GATEWAYS 2
#define COAS 4
#define BAG_MAX 64
#define GENERATIONS 1024
#define REQUESTS 1024
#define ACTS 1024
#define DENY 248 /* steps from here on */
#define REPEAT_ALL 252
#define START_NS (1000 * NS_PER_S)
#define REAL_NS (1800000000 * NS_PER_S)
#define HEAL_MS 2000
#define HEAL_STEP_MS 5
#define WAIT_MS 30000 /* if they do not agree by then: something is said ever more slowly */
#define WAITS 3       /* less than a lifetime, which would cover up what was never said */
#define WAIT_STEP_MS 500
#define MAX_LIFETIME_S 300
#define DEMAND(condition)                                                                        \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "%s:%d: it does not hold that %s\n", __FILE__, __LINE__, \
				#condition);                                                     \
			abort();                                                                 \
		}                                                                                \
	} while (0)

struct datagram {
	bool to_gw;
	unsigned gw; /* to or from which */
	size_t len;
	uint8_t bytes[SIU_DATAGRAM_MAX];
};

struct model { /* of a node */
	struct at_gateway {
		/* Addresses that the home agent's table had there with a generation: bit COAS:
		 * none. */
		uint8_t meant[GENERATIONS];
		uint8_t was[GENERATIONS]; /* the same, as the gateway had it at some time */
		uint64_t acked;           /* the highest that the gateway said to have */
		uint64_t in_force;        /* in this run of it */
		uint64_t unleft;          /* that a worker may have the path before; 0: none */
		/* of the workers' path, as it was set last */
		uint64_t path_generation;
		unsigned path_coa; /* COAS: closed */
		/* where requests that passed came from: bits of coas[], by identification */
		uint8_t seen[REQUESTS];
	} at[GATEWAYS];
	uint64_t asked[GENERATIONS]; /* identification of the request that made it */
	uint64_t newest;             /* generation of the home agent's table */
	bool pending;                /* there, at the last look */
};

struct gate { /* a gateway */
	struct dataplane_double *dp;
	struct fixture fx;
	struct siu_handler *handler;
	unsigned sent_to; /* datagrams, lost ones among them */
	bool is_cut;      /* nothing goes there or comes from there */
	/* the newest to the first node, which must show where it is, on the path in force */
	uint8_t challenge[CHALLENGE_BYTES];
	bool is_asked, is_open; /* nobody has verified where that path leads */
};

/* The last one is forbidden at the gateways: they refuse it. */
static const char *const coas[COAS] = {"198.51.100.7", "203.0.113.7", "203.0.113.8", "198.18.0.9"};
static const char *const homes[NODES] = {"10.1.0.10", "10.1.0.11"};
static const char *const names[NODES] = {"node1", "node2"};

static struct gate gates[GATEWAYS], *here; /* here: whose code may run */
static struct ha_conf conf;
static struct ha_conf_gateway conf_gateways[GATEWAYS];
static struct ha_conf_node conf_nodes[NODES];
static struct ha_counters counters;
static struct store *store;
static struct ha_bindings *bindings;
static struct ha_notify *notify;
static struct siu *other_agent; /* at the first gateway, and no right to these nodes */
static struct model models[NODES];
static struct datagram bag[BAG_MAX], spoken[BAG_MAX], arriving;
static unsigned n_bag, n_spoken;
static uint64_t acts[ACTS]; /* datagrams that did something */
static unsigned n_acts;
static bool is_arriving;
static uint64_t now_ns, identification, other_generation;
static uint32_t ha_epoch, other_epoch;

static void go_to(unsigned gw)
{
	here = &gates[gw];
	dp_double_now = here->dp;
}

/* --- the network ---------------------------------------------------------------------------------
 */

ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);

static void throw_in(bool to_gw, unsigned gw, const void *bytes, size_t len)
{
	struct datagram *datagram = &bag[n_bag];

	DEMAND(len <= sizeof datagram->bytes);
	if (n_bag == BAG_MAX || gates[gw].is_cut)
		return; /* lost */
	datagram->to_gw = to_gw;
	datagram->gw = gw;
	datagram->len = len;
	memcpy(datagram->bytes, bytes, len);
	spoken[n_spoken++ % BAG_MAX] = *datagram;
	n_bag++;
}

ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len)
{
	const struct sockaddr_in *name = (const struct sockaddr_in *)(const void *)to;
	struct ip_addr addr = ip_addr_from_v4(name->sin_addr.s_addr);
	unsigned gw = 0;

	(void)fd;
	(void)flags;
	(void)to_len;
	while (gw < GATEWAYS && !ip_addr_equal(&addr, &conf_gateways[gw].address.addr))
		gw++;
	DEMAND(gw < GATEWAYS);
	gates[gw].sent_to++;
	throw_in(true, gw, data, len);
	return (ssize_t)len;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct sockaddr_in *from = message->msg_name;
	size_t len = arriving.len;

	(void)fd;
	(void)flags;
	if (!is_arriving) {
		errno = EAGAIN;
		return -1;
	}
	is_arriving = false;
	from->sin_family = AF_INET;
	from->sin_addr.s_addr = ip_addr_to_v4(&conf_gateways[arriving.gw].address.addr);
	from->sin_port = htons(conf_gateways[arriving.gw].address.port);
	message->msg_controllen = 0;
	if (len > message->msg_iov[0].iov_len)
		len = message->msg_iov[0].iov_len;
	memcpy(message->msg_iov[0].iov_base, arriving.bytes, len);
	return (ssize_t)len;
}

/* --- the model -----------------------------------------------------------------------------------
 */

static unsigned number_of(const struct ip_addr *coa)
{
	for (unsigned i = 0; i < COAS; i++) {
		struct ip_addr known = addr_of(coas[i]);

		if (ip_addr_equal(&known, coa))
			return i;
	}
	DEMAND(!ip_addr_is_set(coa));
	return COAS;
}

static void mean(struct model *model, int gw, uint64_t generation, const struct ip_addr *coa)
{
	DEMAND(generation < GENERATIONS);
	if (gw != HA_DIRECT)
		model->at[gw].meant[generation] |= (uint8_t)(1u << number_of(coa));
}

static bool is_away(const struct ha_care *care, unsigned gw)
{
	return ip_addr_is_set(&care->coa) && care->gateway == (int)gw;
}

/* What the home agent's table says now is what it may tell. While another gateway has not
 * acknowledged, the one that carries the traffic is not told to let go. */
static void look_at_meaning(struct model *model, const struct ha_binding *binding)
{
	const struct ip_addr none = {0};

	for (unsigned gw = 0; gw < GATEWAYS; gw++)
		if (is_away(&binding->registered, gw))
			mean(model, (int)gw, binding->generation, &binding->registered.coa);
		else if (!binding->pending || binding->registered.gateway == (int)gw ||
			 !is_away(&binding->in_force, gw))
			mean(model, (int)gw, binding->generation, &none);
	if (binding->pending) /* what a SYNC tells of the gateway that has the traffic */
		mean(model, binding->in_force.gateway, binding->generation - 1,
			&binding->in_force.coa);
}

static void look_at_agent(void)
{
	for (unsigned i = 0; i < NODES; i++) {
		const struct ha_binding *binding = ha_binding_at(bindings, i);
		struct model *model = &models[i];
		const int gw = binding->registered.gateway;
		const bool same = binding->generation == model->newest;

		DEMAND(binding->generation >= model->newest);
		/* Refused ones end as a later generation. */
		if (gw != HA_DIRECT && same && model->pending && !binding->pending) {
			DEMAND(model->at[gw].unleft != binding->generation);
			if (is_away(&binding->registered, (unsigned)gw))
				model->at[gw].acked = binding->generation;
		}
		model->newest = binding->generation;
		model->pending = binding->pending;
		if (binding->generation == 0)
			continue;
		model->asked[binding->generation] = binding->known.identification;
		look_at_meaning(model, binding);
	}
}

/* Is this gateway the one that the home agent tunnels to, by what it was told? */
static bool carries(const struct ha_binding *binding, unsigned gw)
{
	const struct ha_care *care = binding->pending ? &binding->in_force : &binding->registered;

	return is_away(care, gw) && care->ends_mono_ns > now_ns;
}

static void note_position(struct at_gateway *at, const struct position *position)
{
	const struct ip_addr none = {0};

	DEMAND(position->generation < GENERATIONS);
	at->was[position->generation] |=
		(uint8_t)(1u << number_of(position->closed ? &none : &position->coa));
	if (position->generation > at->in_force)
		at->unleft = dp_double.grace_open ? position->generation : 0;
}

static void look_at_node(unsigned gw, unsigned i)
{
	const struct tunnel *tunnel = fixture_node(&here->fx, names[i]);
	const struct position *position = &tunnel->position;
	const struct path *path = atomic_load(&tunnel->node->path);
	struct at_gateway *at = &models[i].at[gw];
	const uint8_t meant = at->meant[position->generation];

	DEMAND(position->generation >= at->in_force);
	DEMAND(position->generation >= at->acked);
	DEMAND(position->generation <= models[i].newest);
	note_position(at, position);
	at->in_force = position->generation;
	DEMAND(((path->flags & PATH_CLOSED) != 0) == position->closed);
	if (position->closed) {
		/* By the home agent's will, or the traffic has another way. */
		DEMAND((meant >> COAS & 1) != 0 || !carries(ha_binding_at(bindings, i), gw));
		return;
	}
	DEMAND(ip_addr_equal(&path->coa, &position->coa));
	DEMAND(ip_addr_equal(&path->remote.addr, &position->coa));
	DEMAND(((path->flags & PATH_UNVERIFIED) != 0) == tunnel_is_open(tunnel->flags, position));
	DEMAND(i == 0 || (path->flags & PATH_UNVERIFIED) == 0);
	DEMAND((meant >> number_of(&position->coa) & 1) != 0);
}

static void look(void)
{
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		for (unsigned i = 0; i < NODES; i++)
			note_position(
				&models[i].at[gw], &fixture_node(&here->fx, names[i])->position);
	}
	look_at_agent();
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		for (unsigned i = 0; i < NODES; i++)
			look_at_node(gw, i);
	}
}

static int node_of(const struct ip_addr *home)
{
	for (int i = 0; i < NODES; i++) {
		struct ip_addr known = addr_of(homes[i]);

		if (ip_addr_equal(&known, home))
			return i;
	}
	return -1;
}

/* What an entry says to be in force was so at some time. A stranger learns nothing. */
static void look_at_entry(unsigned gw, const struct siu_ack_entry *entry, bool stranger)
{
	int i = node_of(&entry->home_address);

	if (stranger)
		DEMAND(entry->node == 0 && entry->in_force == 0 && !ip_addr_is_set(&entry->coa));
	if (i < 0 || entry->node == 0)
		return;
	DEMAND(entry->in_force < GENERATIONS);
	DEMAND((models[i].at[gw].was[entry->in_force] >> number_of(&entry->coa) & 1) != 0);
}

static void look_at_answer(unsigned gw, const uint8_t *datagram, size_t len, bool stranger)
{
	struct siu_header header;
	struct siu_ack_entry entry;
	struct wire body, tlv;
	uint64_t reference;

	DEMAND(siu_header_decode(datagram, len, &header) == SIU_RESULT_OK);
	body = wire_over(datagram + SIU_HEADER_BYTES, len - SIU_HEADER_BYTES - SIU_TAG_BYTES);
	if (header.type != SIU_ACK)
		return;
	while (siu_body_next(&body, SIU_ACK, &tlv))
		if (siu_ack_decode(tlv, &entry, &reference) == SIU_RESULT_OK)
			look_at_entry(gw, &entry, stranger);
}

static void note_path(struct at_gateway *at, const struct path_params *path)
{
	at->path_generation = path->generation;
	at->path_coa = (path->flags & PATH_CLOSED) != 0 ? COAS : number_of(&path->coa);
}

/* What goes to a node is a reply: by its path of that very moment, the one that was asked for; or,
 * without a path, to where the request came from. A reply that says that it has gone goes by the
 * path that ends with it. */
static void look_at_reply(
	const struct model *model, const struct at_gateway *at, const struct double_call *call)
{
	struct ipv4_view ip;
	struct udp_view udp;
	struct mip4_rrp reply;
	struct mip4_auth auth;

	DEMAND(ipv4_udp_parse(call->data, call->len, &ip, &udp));
	DEMAND(mip4_rrp_decode(udp.payload, udp.payload_len, &reply, &auth) == MIP4_OK);
	DEMAND(reply.identification < REQUESTS);
	if (call->kind == DOUBLE_SEND_ONCE) {
		unsigned to = number_of(&call->remote.addr);

		DEMAND((at->seen[reply.identification] >> to & 1) != 0);
		DEMAND(to != COAS - 1); /* which is forbidden */
		return;
	}
	DEMAND(reply.code == MIP4_CODE_ACCEPTED && at->path_coa != COAS);
	if (reply.lifetime_s == 0) {
		DEMAND(reply.identification > model->asked[at->path_generation]);
		return;
	}
	DEMAND(number_of(&ip.dst) == at->path_coa);
	DEMAND(reply.identification == model->asked[at->path_generation]);
}

/* A new path of the first node. */
static void note_open(const struct double_call *call)
{
	here->is_asked = false;
	here->is_open = (call->path.flags & PATH_UNVERIFIED) != 0;
}

/* It goes to where the way leads, which nobody has verified, and nowhere else. */
static void look_at_challenge(
	unsigned node, const struct at_gateway *at, const struct double_call *call)
{
	DEMAND(node == 0 && call->len == CHALLENGE_BYTES && here->is_open);
	DEMAND(number_of(&call->remote.addr) == at->path_coa);
	if (dp_double.send_fails != 0)
		return;
	memcpy(here->challenge, call->data, CHALLENGE_BYTES);
	here->is_asked = true;
}

static void look_at_call(unsigned gw, const struct double_call *call)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct at_gateway *at = &models[i].at[gw];

		if (fixture_node(&here->fx, names[i])->handle != call->node)
			continue;
		if (call->kind == DOUBLE_SET_PATH && dp_double.set_path_fails == 0) {
			note_path(at, &call->path);
			if (i == 0)
				note_open(call);
		}
		if (call->kind == DOUBLE_SEND_ONCE && call->data[9] == IPPROTO_ICMP)
			look_at_challenge(i, at, call);
		else if (call->kind == DOUBLE_SEND_TO_NODE || call->kind == DOUBLE_SEND_ONCE)
			look_at_reply(&models[i], at, call);
	}
}

/* What the gateway handed to its workers. */
static void collect(unsigned gw)
{
	struct ip_addr agent = addr_of("10.2.0.1");

	for (unsigned i = 0; i < NODES; i++)
		note_position(&models[i].at[gw], &fixture_node(&here->fx, names[i])->position);
	for (unsigned i = 0; i < dp_double.n; i++) { /* n may grow meanwhile */
		const struct double_call *call = &dp_double.calls[i];
		struct ipv4_view ip;
		struct udp_view udp;
		bool stranger;

		look_at_call(gw, call);
		if (call->kind != DOUBLE_SEND_INSIDE ||
			!ipv4_udp_parse(call->data, call->len, &ip, &udp) ||
			udp.dst_port != SIU_PORT_DEFAULT)
			continue;
		stranger = !ip_addr_equal(&ip.dst, &agent);
		look_at_answer(gw, udp.payload, udp.payload_len, stranger);
		if (!stranger)
			throw_in(false, gw, udp.payload, udp.payload_len);
		else if (other_agent != NULL)
			siu_input(other_agent, udp.payload, udp.payload_len, now_ns);
	}
	double_reset_calls();
}

static void set_grace(bool open)
{
	dp_double.grace_open = open;
	for (unsigned i = 0; !open && i < NODES; i++)
		models[i].at[here - gates].unleft = 0;
}

/* --- start and crash -----------------------------------------------------------------------------
 */

static void ignore_moved(void *arg, struct ha_binding *binding)
{
	(void)arg;
	(void)binding;
}

static void ignore_seen(void *arg, int which, const struct siu_rrq_seen *seen)
{
	(void)arg;
	(void)which;
	(void)seen;
}

static void agent_start(void)
{
	static const char *const databases[] = {HA_BINDING_DB, NULL};
	static const struct ha_notify_events events = {
		.moved = ignore_moved, .rrq_seen = ignore_seen};
	char why[256];

	DEMAND(store_open("agent", databases, 1, &store, why, sizeof why) == 0);
	DEMAND(ha_bindings_open(store, &conf, &bindings) == 0);
	DEMAND(ha_notify_open(loop_new(), &conf, bindings, &counters, ++ha_epoch, &notify, why,
		       sizeof why) == 0);
	ha_notify_start(notify, &events, NULL);
}

static void agent_stop(void)
{
	ha_notify_close(notify);
	ha_bindings_close(bindings);
	store_close(store);
}

/* As provision.c has a node's first position. */
static struct position first_position(unsigned node)
{
	const struct position closed = {.closed = true};
	struct ip_addr home = addr_of(homes[node]);
	struct position position;

	if (state_load(here->fx.state, &home, &position) != 0)
		return closed;
	position.former_coa = (struct ip_addr){0};
	position.grace_until_ns = 0;
	if (position.ends_real_ns <= clock_real_ns())
		position.closed = true;
	return position;
}

static void gateway_start(void)
{
	struct fixture *fx = &here->fx;
	struct siu_handler_config config = {.conf = fx->conf,
		.dp = DOUBLE_DP,
		.tunnels = fx->tunnels,
		.handovers = fx->handovers,
		.state = fx->state,
		.device = "none"};
	char why[256];

	for (unsigned i = 0; i < NODES; i++) {
		struct tunnel_params params = {.name = names[i],
			.home_address = addr_of(homes[i]),
			.home_agent_source = fx->conf->home_agents[0].tunnel_source,
			.configured = true,
			.flags = i == 0 ? NODE_RETURN_ROUTABILITY : 0,
			.position = first_position(i)};
		struct tunnel *tunnel;

		DEMAND(tunnel_add(fx->tunnels, &params, &tunnel) == 0);
		models[i].at[here - gates].in_force = 0; /* what was not acknowledged may be lost */
		memset(models[i].at[here - gates].seen, 0, REQUESTS);
	}
	for (unsigned k = 0; k < dp_double.n; k++)
		for (unsigned i = 0; i < NODES; i++) {
			const struct double_call *call = &dp_double.calls[k];

			if (call->kind != DOUBLE_NODE_ADD ||
				fixture_node(fx, names[i])->handle != call->node)
				continue;
			note_path(&models[i].at[here - gates], &call->path);
			if (i == 0)
				note_open(call);
		}
	double_reset_calls();
	set_grace(false);
	dp_double.set_path_fails = dp_double.send_fails = 0;
	dp_double.stamp_replies = true;
	DEMAND(siu_handler_open(&config, &here->handler, why, sizeof why) == 0);
}

static void gateway_crash(unsigned gw)
{
	go_to(gw);
	siu_handler_close(here->handler);
	fixture_crash(&here->fx);
	gateway_start();
}

static void other_send(void *arg, const uint8_t *datagram, size_t len)
{
	struct ip_addr source = addr_of("10.2.0.2");

	(void)arg;
	go_to(0);
	siu_handler_input(here->handler, &source, SIU_TTL, datagram, len, now_ns);
}

static uint64_t other_binding(void *arg, uint64_t cursor, struct siu_update *update)
{
	(void)arg;
	(void)cursor;
	(void)update;
	return 0;
}

static void other_start(void)
{
	static const struct siu_callbacks callbacks = {
		.send = other_send, .next_binding = other_binding};
	struct siu_config config = {.role = SIU_HOME_AGENT,
		.local_id = 2,
		.boot_epoch = ++other_epoch,
		.max_pending = 4};
	const struct conf_secret *secret = &conf_gateways[0].keys[0].secret;

	siu_derive_keys(secret->bytes, secret->len, 1, &config.keys_out[0], &config.keys_in[0]);
	other_agent = siu_new(&config, &callbacks, NULL);
	DEMAND(other_agent != NULL);
}

static void make_conf(void)
{
	static const char *const addresses[GATEWAYS] = {"10.2.0.254", "10.2.0.253"};

	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		struct conf_secret *secret = &conf_gateways[gw].keys[0].secret;

		conf_gateways[gw].name = gw == 0 ? "gw" : "gw2";
		conf_gateways[gw].address = (struct ip_endpoint){
			addr_of(addresses[gw]), SIU_PORT_DEFAULT};
		conf_gateways[gw].keys[0].id = 1;
		secret->len = 16;
		for (unsigned i = 0; i < 16; i++)
			secret->bytes[i] = (uint8_t)(i + 16 * gw); /* the fixtures' */
	}
	for (unsigned i = 0; i < NODES; i++) {
		conf_nodes[i] = (struct ha_conf_node){.name = names[i],
			.home_address = addr_of(homes[i]),
			.gateways = UINT64_MAX,
			.n_keys = 1,
			.keys = {{.spi = 256, .alg = HMAC_SHA256, .key = {1}, .key_len = 16}}};
	}
	conf = (struct ha_conf){.address = addr_of("10.1.0.1"),
		.max_lifetime_s = MAX_LIFETIME_S,
		.tolerance_s = 7,
		.tunnel_mtu = 1418,
		.rrq_seen_wait_ms = 20,
		.grace_ms = 2000,
		.siu_listen = {.addr = addr_of("127.0.0.1")},
		.gateways = conf_gateways,
		.n_gateways = GATEWAYS,
		.nodes = conf_nodes,
		.n_nodes = NODES};
}

static void close_fixtures(void)
{
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		fixture_close(&here->fx);
		free(here->dp);
	}
}

static void open_fixtures(void)
{
	static bool open;

	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		if (!open)
			gates[gw].dp = calloc(1, sizeof *gates[gw].dp);
		DEMAND(gates[gw].dp != NULL);
		go_to(gw);
		fixture_secret(gw == 0 ? "000102030405060708090a0b0c0d0e0f\n"
				       : "101112131415161718191a1b1c1d1e1f\n");
		if (open)
			fixture_crash(&here->fx);
		else
			fixture_open(&here->fx, false);
	}
	if (!open)
		DEMAND(atexit(close_fixtures) == 0);
	open = true;
}

static void begin(void)
{
	now_ns = START_NS;
	clock_set_test(now_ns, REAL_NS + now_ns);
	store_double_wipe();
	memset(models, 0, sizeof models);
	n_bag = n_spoken = n_acts = 0;
	identification = 1;
	other_generation = 1;
	ha_epoch = other_epoch = 0;
	for (unsigned gw = 0; gw < GATEWAYS; gw++)
		gates[gw].is_cut = false;
	make_conf();
	open_fixtures();
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		gateway_start();
	}
	agent_start();
	other_start();
}

static void end(void)
{
	siu_free(other_agent);
	other_agent = NULL;
	agent_stop();
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		siu_handler_close(here->handler);
	}
}

/* --- steps ---------------------------------------------------------------------------------------
 */

static uint64_t print_of(const struct datagram *datagram)
{
	uint64_t print = datagram->gw + 1; /* FNV-1a */

	for (size_t i = 0; i < datagram->len; i++)
		print = (print ^ datagram->bytes[i]) * UINT64_C(0x100000001b3);
	return print;
}

/* The same bytes are good for one act, over restarts too. */
static void note_act(const struct datagram *datagram)
{
	const uint64_t print = print_of(datagram);

	for (unsigned i = 0; i < n_acts && i < ACTS; i++)
		DEMAND(acts[i] != print);
	acts[n_acts++ % ACTS] = print;
}

static void deliver_to_gateway(const struct datagram *datagram)
{
	struct ip_addr source = addr_of("10.2.0.1");

	go_to(datagram->gw);
	siu_handler_input(here->handler, &source, SIU_TTL, datagram->bytes, datagram->len, now_ns);
	if (double_count(DOUBLE_SET_PATH) + double_count(DOUBLE_SEND_TO_NODE) +
			double_count(DOUBLE_SEND_ONCE) !=
		0)
		note_act(datagram);
	siu_handler_flush(here->handler, now_ns);
	collect(datagram->gw);
}

static void deliver_to_agent(const struct datagram *datagram)
{
	bool pending[NODES], acted = false;
	uint64_t generations[NODES];

	for (unsigned i = 0; i < NODES; i++) {
		pending[i] = ha_binding_at(bindings, i)->pending;
		generations[i] = ha_binding_at(bindings, i)->generation;
	}
	arriving = *datagram;
	is_arriving = true;
	loop_double_readable();
	is_arriving = false;
	for (unsigned i = 0; i < NODES; i++)
		acted = acted || pending[i] != ha_binding_at(bindings, i)->pending ||
			generations[i] != ha_binding_at(bindings, i)->generation;
	if (acted)
		note_act(datagram);
}

static void deliver(const struct datagram *datagram)
{
	if (datagram->to_gw)
		deliver_to_gateway(datagram);
	else
		deliver_to_agent(datagram);
	look();
}

static void forget(unsigned which)
{
	memmove(&bag[which], &bag[which + 1], (n_bag - which - 1) * sizeof *bag);
	n_bag--;
}

static void deliver_from_bag(unsigned which, bool keep)
{
	struct datagram datagram;

	if (n_bag == 0)
		return;
	which %= n_bag;
	datagram = bag[which];
	if (!keep)
		forget(which);
	deliver(&datagram);
}

/* It must be as if it had not been. */
static void deliver_in_vain(const struct datagram *datagram)
{
	struct position before[GATEWAYS][NODES];
	uint64_t generations[NODES];

	for (unsigned i = 0; i < NODES; i++) {
		generations[i] = ha_binding_at(bindings, i)->generation;
		for (unsigned gw = 0; gw < GATEWAYS; gw++)
			before[gw][i] = fixture_node(&gates[gw].fx, names[i])->position;
	}
	deliver(datagram);
	for (unsigned i = 0; i < NODES; i++) {
		DEMAND(ha_binding_at(bindings, i)->generation == generations[i]);
		for (unsigned gw = 0; gw < GATEWAYS; gw++) {
			const struct position *was = &before[gw][i];
			const struct position *after =
				&fixture_node(&gates[gw].fx, names[i])->position;

			DEMAND(after->generation == was->generation &&
				ip_addr_equal(&after->coa, &was->coa));
		}
	}
}

static unsigned spoken_kept(void)
{
	return n_spoken < BAG_MAX ? n_spoken : BAG_MAX;
}

/* One that was said or is under way, changed on the way, or led to the other gateway or taken for
 * its own. */
static void forge(struct wire *script)
{
	struct datagram forged;
	unsigned how = wire_u8(script), changes = 1 + how % 4;
	size_t cut;

	if (n_spoken == 0)
		return;
	forged = spoken[wire_u8(script) % spoken_kept()];
	if ((how & 0x20) != 0 && n_bag > 0)
		forged = bag[how % n_bag];
	cut = wire_u8(script);
	if ((how & 0xc0) == 0xc0) {
		forged.gw = 1 - forged.gw;
		deliver_in_vain(&forged);
		return;
	}
	for (unsigned i = 0; i < changes; i++)
		forged.bytes[wire_u16(script) % forged.len] ^= (uint8_t)(1u << i);
	if (cut > 128)
		forged.len = forged.len > cut - 128 ? forged.len - (cut - 128) : 1;
	deliver_in_vain(&forged);
}

static bool is_over(const struct ha_binding *binding)
{
	const struct ha_care *registered = &binding->registered, *in_force = &binding->in_force;

	if (ip_addr_is_set(&registered->coa))
		return registered->ends_mono_ns <= now_ns;
	return ip_addr_is_set(&in_force->coa) && in_force->ends_mono_ns <= now_ns;
}

static void pass_time(unsigned ms)
{
	now_ns += ms * NS_PER_MS;
	clock_set_test(now_ns, REAL_NS + now_ns);
	loop_double_timers(now_ns);
	for (unsigned i = 0; i < NODES; i++)
		if (is_over(ha_binding_at(bindings, i)))
			ha_notify_expire(notify, ha_binding_at(bindings, i));
	(void)siu_tick(other_agent, now_ns);
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		(void)siu_handler_poll(here->handler, now_ns);
		siu_handler_flush(here->handler, now_ns);
		collect(gw);
	}
	look();
}

static struct ha_registration request(unsigned node, unsigned coa, uint16_t lifetime_s)
{
	DEMAND(++identification < REQUESTS);
	return (struct ha_registration){.kind = HA_REGISTER,
		.lifetime_s = lifetime_s,
		.identification = identification,
		.key = &conf_nodes[node].keys[0],
		.own_ha = &conf.address,
		.rrq = {.lifetime_s = lifetime_s,
			.hoa = addr_of(homes[node]),
			.ha = conf.address,
			.coa = coa < COAS ? addr_of(coas[coa]) : addr_of(homes[node]),
			.identification = identification}};
}

/* It is taken, and then the gateway is told at once: before any time passes. Or nothing changes. */
static void submit_to(struct ha_binding *binding, const struct ha_registration *reg,
	const struct ha_reply *reply, int by)
{
	const uint64_t before = binding->generation;
	const unsigned sent = by == HA_DIRECT ? 0 : gates[by].sent_to;
	struct siu_stats stats = {0};

	if (ha_notify_register(notify, binding, reg, reply, by) != 0) {
		DEMAND(binding->generation == before);
		return;
	}
	if (by != HA_DIRECT)
		ha_notify_stats(notify, by, &stats);
	DEMAND(!stats.up || gates[by].sent_to > sent);
}

/* A request that the home agent found good (registration.c has tests of its own). */
static void submit(unsigned node, unsigned coa, uint16_t lifetime_s, int by)
{
	struct ha_binding *binding = ha_binding_at(bindings, node);
	struct ha_registration reg = request(node, coa, lifetime_s);
	struct ha_reply reply = {.port = MIP4_PORT};

	if (coa >= COAS || lifetime_s == 0)
		reg.lifetime_s = reg.rrq.lifetime_s = 0;
	if (reg.lifetime_s == 0)
		reg.kind = coa >= COAS ? HA_DEREGISTER_ALL : HA_DEREGISTER_COA;
	if (reg.kind == HA_DEREGISTER_COA && !ip_addr_equal(&reg.rrq.coa, &binding->registered.coa))
		return; /* the agent would only remember it */
	reply.len = (uint16_t)ha_registration_reply(
		&reg, MIP4_CODE_ACCEPTED, reply.bytes, sizeof reply.bytes);
	submit_to(binding, &reg, &reply, by);
	look();
}

static void register_node(struct wire *script)
{
	unsigned how = wire_u8(script);

	submit(how & 1, (how >> 1) % (COAS + 1), (how & 0x40) != 0 ? 0 : MAX_LIFETIME_S,
		(how & 0x80) != 0 ? HA_DIRECT : (int)(how >> 5 & 1));
}

/* A request passes at a gateway, from the address that it names or from another one; the home agent
 * denies it. */
static void deny(struct wire *script)
{
	unsigned how = wire_u8(script), node = how & 1, coa = how >> 1 & 3, from = how >> 3 & 3;
	const struct ha_registration reg = request(node, coa, MAX_LIFETIME_S);
	const struct ip_endpoint src = {reg.rrq.coa, MIP4_PORT}, dst = {conf.address, MIP4_PORT};
	const struct ha_known known = {true, reg.identification, reg.rrq.coa};
	struct ha_reply denial = {.port = MIP4_PORT};
	uint8_t bytes[SIU_RRP_MAX], datagram[SIU_RRP_MAX];
	size_t len = mip4_rrq_encode(bytes, sizeof bytes, &reg.rrq, reg.key);
	const unsigned gw = how >> 5 & 1;

	go_to(gw);
	len = ipv4_udp_build(datagram, sizeof datagram, &src, &dst, bytes, len);
	if ((how & 0x80) == 0) { /* else the home agent names a gateway that it did not pass */
		models[node].at[gw].seen[reg.identification] |= (uint8_t)(1u << from);
		siu_handler_registration(
			here->handler, &(struct punt){.reason = PUNT_REGISTRATION,
					       .data = datagram,
					       .len = (uint32_t)len,
					       .node = fixture_node(&here->fx, names[node])->handle,
					       .observed = {.addr = addr_of(coas[from]), .port = 0},
					       .rx_ns = now_ns});
		collect(gw);
	}
	denial.len = (uint16_t)ha_registration_reply(
		&reg, MIP4_CODE_ID_MISMATCH, denial.bytes, sizeof denial.bytes);
	ha_notify_reply(notify, (int)gw, ha_binding_at(bindings, node), &known, &denial);
	look();
}

/* The other home agent wants a node that is not its own. */
static void intrude(struct wire *script)
{
	unsigned how = wire_u8(script);
	struct siu_update update = {.lifetime_s = 600,
		.generation = other_generation += 1 + how,
		.node = how % 4,
		.home_address = addr_of(homes[how & 1]),
		.new_coa = addr_of(coas[how % COAS])};

	if ((how & 0x80) != 0)
		update.flags = SIU_DEREGISTER;
	if (siu_update(other_agent, &update, now_ns) != 0)
		return; /* too many that wait */
	(void)siu_tick(other_agent, now_ns);
	go_to(0);
	siu_handler_flush(here->handler, now_ns);
	collect(0);
	look();
}

static void crash(struct wire *script)
{
	unsigned who = wire_u8(script) % 4;

	if (who < GATEWAYS) {
		gateway_crash(who);
	} else if (who == GATEWAYS) {
		agent_stop();
		agent_start();
		for (unsigned i = 0; i < NODES; i++) /* as the disk has it */
			models[i].pending = ha_binding_at(bindings, i)->pending;
	} else {
		siu_free(other_agent);
		other_start();
	}
	look();
}

/* What was asked last, rightly or with another nonce. */
static void answer(unsigned gw, bool rightly)
{
	struct tunnel *tunnel = fixture_node(&here->fx, names[0]);
	const struct ip_addr home = addr_of(homes[0]);
	const bool was = tunnel_is_open(tunnel->flags, &tunnel->position);
	uint8_t datagram[CHALLENGE_BYTES];

	collect(gw);
	if (!here->is_asked)
		return;
	memcpy(datagram, here->challenge, sizeof datagram);
	if (!rightly) {
		const struct ip_addr from = here->fx.conf->siu_listen.addr;
		uint8_t nonce[CHALLENGE_NONCE_BYTES];

		memcpy(nonce, datagram + CHALLENGE_BYTES - sizeof nonce, sizeof nonce);
		nonce[0] ^= 1;
		challenge_build(datagram, &from, &home, nonce, 0);
	}
	DEMAND(challenge_answer(datagram, sizeof datagram, &home));
	siu_handler_registration(here->handler, &(struct punt){.reason = PUNT_REGISTRATION,
							.data = datagram,
							.len = sizeof datagram,
							.node = tunnel->handle});
	DEMAND(tunnel_is_open(tunnel->flags, &tunnel->position) ==
		(was && (!rightly || dp_double.set_path_fails != 0)));
	collect(gw);
}

static void weather(struct wire *script)
{
	unsigned how = wire_u8(script);

	go_to(how >> 6 & 1);
	switch (how % 8) {
	case 7:
		answer(how >> 6 & 1, (how & 0x80) == 0);
		break;
	case 6:
		here->is_cut = (how & 0x80) != 0;
		break;
	case 0:
		set_grace((how & 0x80) != 0);
		break;
	case 1:
		dp_double.set_path_fails = (how & 0x80) != 0 ? -EAGAIN : 0;
		break;
	case 2:
		dp_double.send_fails = (how & 0x80) != 0 ? -ENOBUFS : 0;
		break;
	case 3:
		store_double_is_full = (how & 0x80) != 0;
		break;
	case 4:
		dp_double.stamp_replies = (how & 0x80) != 0;
		break;
	case 5:
		(void)state_flush(here->fx.state);
		break;
	}
}

/* All that is said arrives, and all works, for a while; but who is cut off stays so. */
static void heal(unsigned ms, unsigned step_ms)
{
	store_double_is_full = false;
	for (unsigned gw = 0; gw < GATEWAYS; gw++) {
		go_to(gw);
		set_grace(false);
		dp_double.set_path_fails = dp_double.send_fails = 0;
		dp_double.stamp_replies = true;
	}
	for (unsigned i = 0; i < ms; i += step_ms) {
		while (n_bag > 0)
			deliver_from_bag(0, false);
		for (unsigned gw = 0; gw < GATEWAYS; gw++)
			(void)state_flush(gates[gw].fx.state);
		pass_time(step_ms);
	}
}

static bool agree(void)
{
	for (unsigned i = 0; i < NODES; i++) {
		const struct ha_binding *binding = ha_binding_at(bindings, i);

		if (binding->pending)
			return false;
		for (unsigned gw = 0; gw < GATEWAYS; gw++) {
			const struct position *position =
				&fixture_node(&gates[gw].fx, names[i])->position;

			if (position->closed == is_away(&binding->registered, gw))
				return false;
			if (!position->closed &&
				(position->generation != binding->generation ||
					!ip_addr_equal(&position->coa, &binding->registered.coa)))
				return false;
		}
	}
	return true;
}

static void step(struct wire *script)
{
	unsigned what = wire_u8(script);

	switch (what < DENY ? what % 12 : what < REPEAT_ALL ? DENY : REPEAT_ALL) {
	case DENY:
		deny(script);
		break;
	case REPEAT_ALL:
		for (unsigned i = 0; i < spoken_kept(); i++)
			deliver(&spoken[i]);
		break;
	case 0:
	case 1:
		register_node(script);
		break;
	case 2:
	case 3:
	case 4:
		deliver_from_bag(wire_u8(script) % 4 == 0 ? wire_u8(script) : 0, false);
		break;
	case 5:
		deliver_from_bag(wire_u8(script), true);
		break;
	case 6: /* an old one */
		if (n_spoken > 0)
			deliver(&spoken[wire_u8(script) % spoken_kept()]);
		break;
	case 7:
		if (n_bag > 0)
			forget(wire_u8(script) % n_bag);
		break;
	case 8:
		forge(script);
		break;
	case 9:
		pass_time(1u << wire_u8(script) % 18);
		break;
	case 10:
		if (wire_u8(script) % 4 == 0)
			crash(script);
		else
			weather(script);
		break;
	case 11:
		if (wire_u8(script) % 4 == 0)
			intrude(script);
		else
			heal(50, HEAL_STEP_MS); /* so that much happens at all */
		break;
	}
}

void world_play(const uint8_t *bytes, size_t len)
{
	struct wire script = wire_over(bytes, len);

	begin();
	while (wire_left(&script) > 0)
		step(&script);
	for (unsigned gw = 0; gw < GATEWAYS; gw++)
		gates[gw].is_cut = false;
	heal(HEAL_MS, HEAL_STEP_MS);
	for (unsigned ms = 0; ms < WAITS * WAIT_MS && !agree(); ms += WAIT_MS)
		heal(WAIT_MS, WAIT_STEP_MS);
	DEMAND(agree());
	end();
}
