/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works
 *
 * A request is made once, with its Identification, and sent copies_wanted times: three times on a
 * new link, once when it is a retransmission. When no answer came within retry_after_ns of the last
 * copy, or the answer was a denial, the attempt has failed and a new request with a new
 * Identification follows, ever more slowly. After max_attempts failures the fallback is asked for
 * once, and requests go on at REGISTRATION_SLOW_NS: the network may come back.
 *
 * Only a reply that names our home agent, carries the low half of the pending Identification and
 * has a good authenticator changes anything. With code 133 the home agent's clock is taken over and
 * the request repeated at once; a second 133 in a row is an ordinary denial, so that two clocks
 * that never agree cannot make a storm.
 */
#include "control/mn/registration.h"

#include "lib/clock.h"

#include <string.h>

/* When the copies of a request leave, counted from the first. */
static const uint64_t COPY_AT_NS[REGISTRATION_COPIES] = {0, 10 * NS_PER_MS, 30 * NS_PER_MS};

#define RETRY_FIRST_NS NS_PER_S      /* RFC 5944 3.6.3: not sooner */
#define RETRY_MAX_NS (16 * NS_PER_S) /* keeps the search for a network that came back short */
#define REGISTRATION_SLOW_NS (60 * NS_PER_S) /* after giving up */
#define NTP_HALF_SECOND (UINT64_C(1) << 31)

const char *registration_state_name(enum registration_state state)
{
	static const char *const names[] = {
		"none", "requesting", "registered", "refreshing", "at_home"};

	return names[state];
}

const char *registration_result_name(enum registration_result result)
{
	static const char *const names[REPLY_RESULT_COUNT] = {"accepted", "denied", "clock_adopted",
		"duplicate", "malformed", "wrong_agent", "wrong_identification",
		"bad_authenticator"};

	return names[result];
}

void registration_init(struct registration *reg, const struct registration_conf *conf,
	struct registration_memory *memory)
{
	*reg = (struct registration){.conf = conf,
		.memory = memory,
		.next_ns = REGISTRATION_NEVER,
		.expires_ns = REGISTRATION_NEVER};
}

/* ---- requests ---- */

static uint64_t home_agent_ntp(const struct registration *reg, uint64_t real_ns)
{
	return ntp_from_real_ns(real_ns) + ((uint64_t)reg->memory->clock_offset_s << 32);
}

/* Strictly later than all before, even if the clock stood still or was set back. */
static uint64_t new_identification(struct registration *reg, uint64_t real_ns)
{
	uint64_t id = home_agent_ntp(reg, real_ns);

	if (reg->memory->any && !ntp_after(id, reg->memory->identification))
		id = reg->memory->identification + 1;
	reg->memory->any = true;
	reg->memory->identification = id;
	return id;
}

/* A request of so many copies is due at at_ns; it is made when the first copy leaves. */
static void schedule(struct registration *reg, unsigned copies, uint64_t at_ns)
{
	reg->pending = false;
	reg->rrq_len = 0;
	reg->copies_wanted = copies;
	reg->copies_sent = 0;
	reg->has_left = false;
	reg->next_ns = at_ns;
}

static void enter(struct registration *reg, const struct ip_addr *coa, bool home, uint64_t now_ns)
{
	reg->state = REGISTRATION_REQUESTING;
	reg->at_home = home;
	reg->coa = *coa;
	reg->clock_adopted = false;
	reg->gave_up = false;
	reg->fallback_due = false;
	reg->attempts = 0;
	reg->retry_after_ns = RETRY_FIRST_NS;
	reg->granted_s = 0;
	reg->expires_ns = REGISTRATION_NEVER;
	schedule(reg, REGISTRATION_COPIES, now_ns);
}

void registration_move(struct registration *reg, const struct ip_addr *coa, uint64_t now_ns)
{
	enter(reg, coa, false, now_ns);
}

void registration_go_home(struct registration *reg, uint64_t now_ns)
{
	enter(reg, &reg->conf->home_address, true, now_ns);
}

void registration_stop(struct registration *reg)
{
	schedule(reg, 0, REGISTRATION_NEVER);
	reg->state = REGISTRATION_NONE;
	reg->fallback_due = false;
	reg->expires_ns = REGISTRATION_NEVER;
}

void registration_renew(struct registration *reg, uint64_t now_ns)
{
	if (reg->state == REGISTRATION_NONE || reg->at_home ||
		now_ns < reg->last_sent_ns + RETRY_FIRST_NS)
		return;
	if (reg->state == REGISTRATION_REGISTERED)
		reg->state = REGISTRATION_REFRESHING;
	schedule(reg, REGISTRATION_COPIES, now_ns);
}

static void make_request(struct registration *reg, uint64_t now_ns, uint64_t real_ns)
{
	const struct registration_conf *conf = reg->conf;
	struct mip4_rrq rrq = {
		.lifetime_s = reg->at_home ? 0 : conf->lifetime_s,
		.hoa = conf->home_address,
		.ha = conf->home_agent,
		.coa = reg->coa,
		.identification = new_identification(reg, real_ns),
	};

	if (!reg->at_home)
		rrq.flags = (uint8_t)(MIP4_FLAG_D | (conf->reverse_tunnel ? MIP4_FLAG_T : 0));
	reg->rrq_len = mip4_rrq_encode(reg->rrq, sizeof reg->rrq, &rrq, &conf->key);
	reg->pending = true;
	reg->identification = rrq.identification;
	reg->asked_s = rrq.lifetime_s;
	reg->first_sent_ns = now_ns;
}

static void send_copy(struct registration *reg, uint64_t now_ns, uint64_t real_ns)
{
	if (reg->copies_sent == 0 && !reg->pending)
		make_request(reg, now_ns, real_ns);
	reg->copies_sent++;
	reg->last_sent_ns = now_ns;
	reg->next_ns = reg->copies_sent < reg->copies_wanted
			       ? reg->first_sent_ns + COPY_AT_NS[reg->copies_sent]
			       : now_ns + reg->retry_after_ns;
}

static void attempt_failed(struct registration *reg, uint64_t next_ns)
{
	reg->attempts++;
	reg->retry_after_ns *= 2;
	if (reg->retry_after_ns > RETRY_MAX_NS)
		reg->retry_after_ns = RETRY_MAX_NS;
	if (reg->attempts >= reg->conf->max_attempts) {
		/* At home nothing works before the answer, and asking costs little. */
		uint64_t slow_ns = reg->at_home ? RETRY_MAX_NS : REGISTRATION_SLOW_NS;

		reg->fallback_due = !reg->gave_up;
		reg->gave_up = true;
		reg->retry_after_ns = slow_ns;
		if (next_ns < reg->last_sent_ns + slow_ns)
			next_ns = reg->last_sent_ns + slow_ns;
	}
	schedule(reg, 1, next_ns);
}

bool registration_run(struct registration *reg, uint64_t now_ns, uint64_t real_ns,
	struct registration_action *action)
{
	*action = (struct registration_action){0};
	if (reg->fallback_due) {
		reg->fallback_due = false;
		action->kind = REGISTRATION_FALLBACK;
		return true;
	}
	if (now_ns >= reg->expires_ns) {
		reg->expires_ns = REGISTRATION_NEVER;
		reg->state = REGISTRATION_REQUESTING;
		action->kind = REGISTRATION_EXPIRED;
		return true;
	}
	if (now_ns < reg->next_ns)
		return false;
	if (reg->state == REGISTRATION_REGISTERED) {
		reg->state = REGISTRATION_REFRESHING;
		schedule(reg, 1, now_ns);
	} else if (reg->copies_sent == reg->copies_wanted) {
		attempt_failed(reg, now_ns);
		if (reg->gave_up)
			return registration_run(reg, now_ns, real_ns, action);
	}
	send_copy(reg, now_ns, real_ns);
	*action = (struct registration_action){
		.kind = REGISTRATION_SEND, .rrq = reg->rrq, .rrq_len = reg->rrq_len};
	return true;
}

uint64_t registration_next_ns(const struct registration *reg)
{
	if (reg->fallback_due)
		return 0;
	return reg->next_ns < reg->expires_ns ? reg->next_ns : reg->expires_ns;
}

void registration_sent(struct registration *reg, bool sent)
{
	reg->has_left |= sent;
}

void registration_route_ready(struct registration *reg, uint64_t now_ns)
{
	if (!reg->pending || reg->has_left)
		return;
	/* The same request: it has not been on the wire, so it is still the first. */
	reg->copies_sent = 0;
	reg->first_sent_ns = now_ns;
	reg->next_ns = now_ns;
}

/* ---- replies ---- */

static void accepted(struct registration *reg, const struct mip4_rrp *rrp)
{
	/* RFC 5944 3.6.2.2: never longer than asked for, counted from when it was asked for. */
	uint16_t granted = rrp->lifetime_s < reg->asked_s ? rrp->lifetime_s : reg->asked_s;
	uint64_t lifetime_ns = granted * NS_PER_S;

	reg->attempts = 0;
	reg->gave_up = false;
	reg->clock_adopted = false;
	reg->retry_after_ns = RETRY_FIRST_NS;
	reg->pending = false;
	reg->granted_s = granted;
	if (reg->at_home) {
		reg->state = REGISTRATION_AT_HOME;
		reg->next_ns = REGISTRATION_NEVER;
		return;
	}
	reg->state = REGISTRATION_REGISTERED;
	reg->expires_ns = reg->first_sent_ns + lifetime_ns;
	/* a quarter of the lifetime is left for retransmissions */
	reg->next_ns = reg->first_sent_ns + lifetime_ns / 4 * 3;
	if (reg->next_ns < reg->last_sent_ns + RETRY_FIRST_NS)
		reg->next_ns = reg->last_sent_ns + RETRY_FIRST_NS;
}

static void denied(struct registration *reg, uint64_t now_ns)
{
	uint64_t next_ns = reg->last_sent_ns + reg->retry_after_ns;

	attempt_failed(reg, next_ns > now_ns ? next_ns : now_ns);
}

static void adopt_clock(
	struct registration *reg, uint64_t identification, uint64_t now_ns, uint64_t real_ns)
{
	uint64_t theirs = (identification & ~UINT64_C(0xffffffff)) | NTP_HALF_SECOND;

	reg->memory->clock_offset_s = ntp_diff_s(theirs, ntp_from_real_ns(real_ns));
	/* What was refused binds nobody: the next request may carry an earlier time. */
	reg->memory->any = false;
	reg->clock_adopted = true;
	schedule(reg, reg->copies_wanted, now_ns);
}

enum registration_result registration_reply(struct registration *reg, const uint8_t *data,
	size_t len, uint64_t now_ns, uint64_t real_ns, uint8_t *code)
{
	const struct registration_conf *conf = reg->conf;
	struct mip4_auth auth;
	struct mip4_rrp rrp;

	if (mip4_rrp_decode(data, len, &rrp, &auth) != MIP4_OK)
		return REPLY_MALFORMED;
	if (!ip_addr_equal(&rrp.ha, &conf->home_agent) ||
		!ip_addr_equal(&rrp.hoa, &conf->home_address))
		return REPLY_WRONG_AGENT;
	if ((uint32_t)rrp.identification != (uint32_t)reg->identification)
		return REPLY_IDENTIFICATION;
	if (!auth.present || !mip4_auth_verify(&conf->key, data, &auth))
		return REPLY_AUTHENTICATOR;
	if (!reg->pending)
		return REPLY_DUPLICATE;
	*code = rrp.code;
	if (rrp.code == MIP4_CODE_ACCEPTED || rrp.code == MIP4_CODE_ACCEPTED_NO_SIMULTANEOUS) {
		if (rrp.lifetime_s != 0 || reg->at_home) {
			accepted(reg, &rrp);
			return REPLY_ACCEPTED;
		}
		*code = MIP4_CODE_UNSPECIFIED; /* "accepted" for no time at all */
	}
	if (rrp.code == MIP4_CODE_ID_MISMATCH && !reg->clock_adopted) {
		adopt_clock(reg, rrp.identification, now_ns, real_ns);
		return REPLY_CLOCK_ADOPTED;
	}
	denied(reg, now_ns);
	return REPLY_DENIED;
}
