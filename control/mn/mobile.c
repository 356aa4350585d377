/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works
 *
 * Every event of the kernel goes into the movement tables, then decide() compares the place they
 * give with the one the node is at. A new one is entered in this order: both SAs first, since the
 * next packet may be waiting; then the registration request through them; what is slower and can
 * wait (routes, MTU, log) last. Nothing on that way waits for a disk, a timer or another program.
 *
 * The registration machines say what to send and when to come back; pump() does it. There are two:
 * one registers care-of addresses through the tunnel, that of the homecoming deregisters on the
 * link that claims to be home. Both can be at work at once, since the claim may be false.
 */
#include "control/mn/mobile.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/log.h"
#include "lib/tun.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODULE "mobile"
#define UPKEEP_NS NS_PER_S /* saves, counters' ceilings, IV epoch, announcements */
#define ANNOUNCEMENTS 2    /* one each UPKEEP_NS at most: RFC 5227 section 2.3 */
#define COUNTER_SLOTS_A_TURN 16
#define DATAGRAM_MAX 256 /* bytes: headers and a registration request */
#define MTU_DEFAULT 1500

/* ---- registration ---- */

static int send_request(
	struct mobile *m, const struct registration *reg, const struct registration_action *action)
{
	const struct ip_endpoint from = {.addr = reg->coa, .port = MIP4_PORT};
	const struct ip_endpoint to = {.addr = m->conf->home_agent, .port = MIP4_PORT};
	uint8_t datagram[DATAGRAM_MAX];
	size_t len;

	if (reg->at_home)
		return home_send(&m->home, action->rrq, action->rrq_len);
	len = ipv4_udp_build(datagram, sizeof datagram, &from, &to, action->rrq, action->rrq_len);
	return tunnel_send(m->tunnel, datagram, len);
}

static void request(
	struct mobile *m, struct registration *reg, const struct registration_action *action)
{
	int err = send_request(m, reg, action);

	registration_sent(reg, err == 0);
	if (err == 0 && !reg->at_home && m->times.rrq_ns == 0)
		m->times.rrq_ns = clock_mono_ns();
	if (err == 0)
		m->requests++;
	else
		log_debug(MODULE, "registration request not sent error=%s", strerror(-err));
}

static void fall_back(struct mobile *m)
{
	char coa[IP_TEXT_MAX];
	const char *args[] = {coa, NULL};
	int err;

	log_error(MODULE,
		"registration failed %u times in a row care_of=%s last_code=%u (%s): a new tunnel "
		"is "
		"needed%s%s",
		m->conf->max_attempts, ip_addr_format(&m->place.coa, coa), m->last_code,
		mip4_code_text(m->last_code),
		m->conf->fallback_command[0] != '\0' ? ", running " : "",
		m->conf->fallback_command);
	err = command_run(&m->fallback, args);
	if (err != 0)
		log_error(MODULE, "cannot run the fallback_command error=%s", strerror(-err));
}

static const char *interface_name(const struct mobile *m, int ifindex)
{
	const struct movement_link *link = movement_link(&m->movement, ifindex);

	return link != NULL ? link->name : "?";
}

static void doubt_home(const struct mobile *m)
{
	log_warn(MODULE,
		"the home address is on interface=%s, but no home agent accepts the node there: "
		"not taken for home",
		interface_name(m, m->homecoming.claim.ifindex));
}

static void run_machine(struct mobile *m, struct registration *reg)
{
	struct registration_action action;

	while (registration_run(reg, clock_mono_ns(), clock_real_ns(), &action)) {
		if (action.kind == REGISTRATION_SEND)
			request(m, reg, &action);
		else if (action.kind == REGISTRATION_EXPIRED)
			log_warn(MODULE, "registration expired");
		else if (reg->at_home)
			doubt_home(m);
		else
			fall_back(m);
	}
}

/* Carries out what the registration machines want now, and sets the timer for the next. */
static void pump(void *arg)
{
	struct mobile *m = arg;
	uint64_t next_ns, home_ns;

	run_machine(m, &m->homecoming.registration);
	run_machine(m, &m->registration);
	next_ns = registration_next_ns(&m->registration);
	home_ns = registration_next_ns(&m->homecoming.registration);
	if (home_ns < next_ns)
		next_ns = home_ns;
	if (next_ns == REGISTRATION_NEVER)
		loop_timer_disarm(m->registration_timer);
	else
		loop_timer_arm(m->registration_timer, next_ns);
}

static void on_accepted(struct mobile *m)
{
	const struct registration *reg = &m->registration;
	char coa[IP_TEXT_MAX];

	if (m->times.rrp_ns == 0)
		m->times.rrp_ns = clock_mono_ns();
	tunnel_confirm(m->tunnel, clock_mono_ns());
	log_info(MODULE, "registered care_of=%s lifetime_s=%u", ip_addr_format(&reg->coa, coa),
		reg->granted_s);
}

/* What both machines' replies have in common. False: nothing changed. */
static bool note_reply(struct mobile *m, enum registration_result result, uint8_t code)
{
	m->replies[result]++;
	switch (result) {
	case REPLY_ACCEPTED:
		m->last_code = code;
		break;
	case REPLY_DENIED:
		m->last_code = code;
		log_remote(MODULE, "registration denied code=%u (%s)", code, mip4_code_text(code));
		break;
	case REPLY_CLOCK_ADOPTED:
		log_remote(MODULE, "home agent's clock taken over offset_s=%lld",
			(long long)m->memory.clock_offset_s);
		break;
	case REPLY_DUPLICATE:
		return false;
	default:
		log_remote(MODULE, "registration reply not believed reason=%s",
			registration_result_name(result));
		return false;
	}
	m->unsaved = true;
	return true;
}

static void on_tunnel_reply(void *arg, const uint8_t *data, size_t len)
{
	struct mobile *m = arg;
	uint8_t code = 0;
	enum registration_result result = registration_reply(
		&m->registration, data, len, clock_mono_ns(), clock_real_ns(), &code);

	if (!note_reply(m, result, code))
		return;
	if (result == REPLY_ACCEPTED)
		on_accepted(m);
	pump(m);
}

/* ---- places ---- */

static void enter_away(struct mobile *m, uint64_t now_ns)
{
	const struct movement_link *link = movement_link(&m->movement, m->place.ifindex);
	unsigned mtu = link != NULL && link->mtu != 0 ? link->mtu : MTU_DEFAULT;
	char coa[IP_TEXT_MAX];

	tunnel_use_interface(m->tunnel,
		movement_has_route(&m->movement, m->place.ifindex) ? m->place.ifindex : 0);
	if (!tunnel_aim(m->tunnel, &m->place.coa, (uint16_t)(mtu > 0xffff ? 0xffff : mtu), now_ns))
		return; /* movement_place() gives no address that cannot be a tunnel's end */
	m->times.sas_ns = clock_mono_ns();
	registration_move(&m->registration, &m->place.coa, now_ns);
	pump(m);
	routes_away(&m->routes);
	routes_use_interface(
		&m->routes, link != NULL ? link->name : "", mtu, tunnel_overhead(m->tunnel));
	log_info(MODULE, "away care_of=%s interface=%s udp=%s sas_us=%llu",
		ip_addr_format(&m->place.coa, coa), link != NULL ? link->name : "?",
		tunnel_is_in_udp(m->tunnel) ? "yes" : "no",
		(unsigned long long)((m->times.sas_ns - m->times.address_ns) / NS_PER_US));
}

static void announce_home(struct mobile *m)
{
	int err = home_announce(&m->home);

	m->announcements_left--;
	if (err != 0)
		log_error(MODULE, "cannot announce the home address error=%s", strerror(-err));
}

/* The home agent has answered: tunnel and routes go, and nobody answers in our place any more. */
static void enter_home(struct mobile *m)
{
	tunnel_rest(m->tunnel);
	m->times = (struct move_times){
		.address_ns = m->homecoming.claimed_ns,
		.rrq_ns = m->homecoming.registration.first_sent_ns,
		.rrp_ns = m->event_ns,
		.sas_ns = clock_mono_ns(),
	};
	m->times.address_real_ns = clock_real_ns() - (m->times.sas_ns - m->times.address_ns);
	registration_stop(&m->registration);
	routes_home(&m->routes);
	m->announcements_left = ANNOUNCEMENTS;
	announce_home(m);
	log_info(MODULE, "at home, deregistered interface=%s", interface_name(m, m->place.ifindex));
}

static void enter_nowhere(struct mobile *m, uint64_t now_ns)
{
	tunnel_lose(m->tunnel, now_ns);
	registration_stop(&m->registration);
	pump(m);
	/* Traffic of the home address must not leave in clear by whatever route there is. */
	routes_away(&m->routes);
	log_info(MODULE, "no address to be reached at");
}

static void enter(struct mobile *m, const struct place *place, uint64_t now_ns)
{
	m->place = *place;
	m->placed = true;
	m->moves++;
	m->times = (struct move_times){
		.address_ns = m->event_ns,
		.address_real_ns = clock_real_ns() - (now_ns - m->event_ns),
	};
	switch (place->kind) {
	case PLACE_AWAY:
		enter_away(m, now_ns);
		break;
	case PLACE_HOME:
		enter_home(m);
		break;
	case PLACE_NOWHERE:
		enter_nowhere(m, now_ns);
		break;
	}
}

/* The home address came to an interface, or went from it: asks the home agent there. */
static void take_claim(struct mobile *m)
{
	const struct home_claim *claim = &m->homecoming.claim;
	const struct movement_link *link = movement_link(&m->movement, claim->ifindex);
	int err;

	home_leave(&m->home);
	if (link == NULL)
		return;
	routes_claimed(link->name);
	err = home_enter(&m->home, claim->ifindex, link->mac);
	if (err != 0)
		log_error(MODULE, "cannot use the home link error=%s", strerror(-err));
	log_info(MODULE, "home address on interface=%s, asking the home agent there", link->name);
}

static void decide(struct mobile *m)
{
	uint64_t now_ns = clock_mono_ns();
	struct place place;
	bool claimed;

	if (!m->synced)
		return;
	claimed = homecoming_look(&m->homecoming, &m->movement, now_ns);
	if (claimed)
		take_claim(m);
	place = homecoming_place(&m->homecoming, &m->movement);
	if (!m->placed || !place_equal(&place, &m->place))
		enter(m, &place, now_ns);
	if (claimed)
		pump(m);
}

/* From the socket on the link that claims to be home, and from the home agent's address. */
static void on_home_reply(void *arg, const uint8_t *data, size_t len)
{
	struct mobile *m = arg;
	uint8_t code = 0;
	enum registration_result result;

	m->event_ns = clock_mono_ns();
	result = homecoming_reply(&m->homecoming, data, len, m->event_ns, clock_real_ns(), &code);
	if (!note_reply(m, result, code))
		return;
	decide(m);
	pump(m);
}

const char *mobile_place_name(const struct mobile *m)
{
	if (m->place.kind == PLACE_NOWHERE && homecoming_is_pending(&m->homecoming))
		return "home-pending";
	return place_kind_name(m->place.kind);
}

/* ---- events ---- */

static void on_addr(void *arg, const struct nl_addr_event *event)
{
	struct mobile *m = arg;

	m->event_ns = clock_mono_ns();
	movement_on_addr(&m->movement, event);
	decide(m);
}

static void on_link(void *arg, const struct nl_link_event *event)
{
	struct mobile *m = arg;

	m->event_ns = clock_mono_ns();
	movement_on_link(&m->movement, event);
	decide(m);
}

/* The routes of a new network come some ms after the address. */
static void on_route(void *arg, const struct nl_route_event *event)
{
	struct mobile *m = arg;

	movement_on_route(&m->movement, event);
	if (!m->synced || m->place.kind != PLACE_AWAY || event->table != RT_TABLE_MAIN)
		return;
	tunnel_use_interface(m->tunnel,
		movement_has_route(&m->movement, m->place.ifindex) ? m->place.ifindex : 0);
	if (event->added) {
		registration_route_ready(&m->registration, clock_mono_ns());
		pump(m);
	}
}

static void on_resync(void *arg)
{
	struct mobile *m = arg;

	m->synced = false;
	m->event_ns = clock_mono_ns();
	movement_resync(&m->movement);
}

static void on_resynced(void *arg)
{
	struct mobile *m = arg;

	movement_resynced(&m->movement);
	m->synced = true;
	if (m->nl != NULL) /* in netlink_open() nothing can be sent to the kernel yet */
		decide(m);
}

static bool agent_demands(const struct mobile *m, int ifindex)
{
	const struct movement_link *link = movement_link(&m->movement, ifindex);

	return link != NULL && link->agent_demands;
}

static void on_advert(
	void *arg, int ifindex, const struct ip_addr *source, const struct mip4_advert *advert)
{
	struct mobile *m = arg;
	uint64_t now_ns = clock_mono_ns();
	bool demanded = agent_demands(m, ifindex);
	bool changed = movement_on_advert(&m->movement, ifindex, source, advert);

	if (agent_demands(m, ifindex) && (changed || !demanded)) {
		char text[IP_TEXT_MAX];

		log_remote(MODULE,
			"refused: agent %s wants registrations to go through it (R); this node "
			"registers "
			"with a co-located care-of address",
			ip_addr_format(source, text));
	}
	m->event_ns = now_ns;
	if (changed && m->place.kind == PLACE_AWAY && ifindex == m->place.ifindex) {
		log_remote(MODULE, "another agent on the link, registering anew");
		registration_renew(&m->registration, now_ns);
		pump(m);
	}
	decide(m);
}

/* ---- lifetimes of the SAs ---- */

static void on_life(void *arg, const struct sa_watch_event *event)
{
	const bool hard = strcmp(event->kind, "hard") == 0,
		   in = strcmp(event->direction, "in") == 0;
	struct mobile *m = arg;

	log_warn(MODULE, "%s direction=%s spi=0x%x cause=%s",
		hard ? "SA expired" : "SA is due for rekeying", event->direction, event->spi,
		event->cause);
	m->untold[2 * hard + in] = *event;
	/* Not at once: it may be before this program has given up its privileges. */
	loop_timer_arm_in(m->upkeep_timer, 0);
}

/* One after the other, soft ends first. */
static void run_rekey(struct mobile *m)
{
	for (unsigned i = 0; i < sizeof m->untold / sizeof m->untold[0]; i++) {
		struct sa_watch_event *event = &m->untold[i];
		char spi[16];
		const char *args[] = {event->kind, event->direction, spi, event->cause, NULL};
		int err;

		if (event->kind == NULL)
			continue;
		snprintf(spi, sizeof spi, "0x%x", event->spi);
		err = command_run(&m->rekey, args);
		if (err == -EALREADY)
			return; /* when it ends */
		if (err != 0)
			log_error(MODULE, "cannot run the rekey_command error=%s", strerror(-err));
		event->kind = NULL;
	}
}

static void on_child(void *arg, int signo)
{
	struct mobile *m = arg;

	(void)signo;
	(void)command_reap(&m->fallback);
	if (command_reap(&m->rekey))
		run_rekey(m);
}

/* ---- upkeep ---- */

static void renew_iv(struct mobile *m)
{
	struct sa_out *sa = tunnel_sa_out(m->tunnel);
	uint32_t epoch;

	if (!sa_out_iv_used_up(sa))
		return;
	if (state_next_epoch(m->state, &epoch) == 0)
		sa_out_renew_iv(sa, epoch);
	else
		log_error(MODULE, "no new IV epoch: nothing can be sent; replace the keys");
}

static void upkeep(void *arg)
{
	struct mobile *m = arg;
	int err = counters_sync(m->counters, COUNTER_SLOTS_A_TURN);

	if (err != 0)
		log_error(MODULE, "cannot save the counters error=%s", strerror(-err));
	if (m->unsaved) {
		err = state_save_registration(m->state, &m->memory);
		if (err != 0)
			log_error(MODULE, "cannot save the registration error=%s", strerror(-err));
		m->unsaved = err != 0;
	}
	renew_iv(m);
	sa_watch_look(&m->watch);
	run_rekey(m);
	if (m->place.kind == PLACE_HOME && m->announcements_left > 0)
		announce_home(m);
	loop_timer_arm_in(m->upkeep_timer, UPKEEP_NS);
}

/* ---- open and close ---- */

static void init_parts(struct mobile *m)
{
	const struct mn_conf *conf = m->conf;
	m->movement_conf = (struct movement_conf){
		.home_address = conf->home_address,
		.home_agent = conf->home_agent,
		.gateway = conf->gateway,
		.home_prefix = conf->home_prefix,
		.tunnel_interface = conf->tunnel_interface,
		.interfaces = conf->interfaces,
		.n_interfaces = conf->n_interfaces,
	};
	movement_init(&m->movement, &m->movement_conf);
	m->registration_conf = (struct registration_conf){
		.home_address = conf->home_address,
		.home_agent = conf->home_agent,
		.lifetime_s = conf->lifetime_s,
		.max_attempts = conf->max_attempts,
		.reverse_tunnel = conf->reverse_tunnel,
		.key = conf->authentication,
	};
	if (!state_load_registration(m->state, &m->memory))
		m->memory = (struct registration_memory){0};
	registration_init(&m->registration, &m->registration_conf, &m->memory);
	homecoming_init(&m->homecoming, &m->registration_conf, &m->memory);
	home_init(&m->home, m->loop, &conf->home_address, &conf->home_agent, on_home_reply, m);
}

static int open_tunnel(struct mobile *m, uint32_t iv_epoch, char *why, size_t why_size)
{
	struct tunnel_params params = {
		.conf = m->conf,
		.counters = m->counters,
		.iv_epoch = iv_epoch,
		.reply = on_tunnel_reply,
		.arg = m,
	};
	int err;

	m->tun_fd = tun_open(m->conf->tunnel_interface, false, &m->tun_ifindex);
	if (m->tun_fd < 0) {
		snprintf(why, why_size,
			"cannot make the TUN interface %s: %s; run as root, with /dev/net/tun",
			m->conf->tunnel_interface, strerror(-m->tun_fd));
		return m->tun_fd;
	}
	params.tun_fd = m->tun_fd;
	err = tunnel_open(m->loop, &params, &m->tunnel, why, why_size);
	mn_conf_wipe_sa_keys(m->conf);
	if (err == 0)
		sa_watch_begin(&m->watch, tunnel_sa_in(m->tunnel), &m->conf->inbound.life,
			tunnel_sa_out(m->tunnel), &m->conf->outbound.life);
	return err;
}

static int open_events(struct mobile *m, char *why, size_t why_size)
{
	static const struct nl_events events = {.addr = on_addr,
		.link = on_link,
		.route = on_route,
		.resync = on_resync,
		.resynced = on_resynced};
	int err = advert_open(&m->advert, m->loop, on_advert, m);
	if (err == 0)
		err = netlink_open(m->loop, &events, m, &m->nl);
	if (err != 0)
		snprintf(why, why_size, "cannot watch the network: %s", strerror(-err));
	return err;
}

int mobile_open(struct mobile *m, struct loop *loop, struct mn_conf *conf, struct state *state,
	struct counters *counters, uint32_t iv_epoch, char *why, size_t why_size)
{
	int err;

	*m = (struct mobile){.loop = loop,
		.conf = conf,
		.state = state,
		.counters = counters,
		.tun_fd = -1,
		.advert.fd = -1,
		.home = {.fd = -1, .arp_fd = -1},
		.fallback.path = conf->fallback_command,
		.rekey.path = conf->rekey_command,
		.event_ns = clock_mono_ns()};
	init_parts(m);
	m->registration_timer = loop_timer_new(loop, pump, m);
	m->upkeep_timer = loop_timer_new(loop, upkeep, m);
	if (m->registration_timer == NULL || m->upkeep_timer == NULL ||
		!sa_watch_init(&m->watch, loop, on_life, m) ||
		(mn_conf_has_commands(conf) && loop_signal_add(loop, SIGCHLD, on_child, m) != 0)) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	err = open_tunnel(m, iv_epoch, why, why_size);
	/* A loss of power after the first packet must find the ceilings on disk. */
	if (err == 0 && (err = counters_sync(counters, UINT32_MAX)) != 0)
		snprintf(
			why, why_size, "cannot make the counters file durable: %s", strerror(-err));
	if (err == 0)
		err = open_events(m, why, why_size);
	if (err != 0)
		return err;
	routes_init(&m->routes, m->nl, conf, m->tun_ifindex);
	decide(m);
	loop_timer_arm_in(m->upkeep_timer, 0);
	return 0;
}

void mobile_close(struct mobile *m)
{
	if (m->nl != NULL)
		routes_home(&m->routes);
	netlink_close(m->nl);
	advert_close(&m->advert);
	home_fini(&m->home);
	tunnel_close(m->tunnel);
	if (m->tun_fd >= 0)
		close(m->tun_fd);
	loop_timer_free(m->registration_timer);
	loop_timer_free(m->upkeep_timer);
	sa_watch_fini(&m->watch);
	if (m->state != NULL)
		(void)state_save_registration(m->state, &m->memory);
	secret_wipe(&m->registration_conf, sizeof m->registration_conf);
}
