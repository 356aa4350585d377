/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a list of gates in the order of RFC 5944 section 3.8.2.1: authenticator, then
 * Identification, then all else. Only what passed the first two may say anything about the node, so
 * each later gate is only reached by a fresh request of the node itself.
 *
 * An exact duplicate of the request that was accepted last (same home address, care-of address and
 * Identification) is recognised before the Identification is judged, since it would fail there: a
 * node sends the first request on a new link several times.
 */
#include "control/ha/registration.h"

#include "lib/clock.h"

#define NTP_LOW_32 UINT64_C(0xffffffff)

bool ha_registration_read(struct ha_registration *reg, const void *payload, size_t len)
{
	*reg = (struct ha_registration){.payload = payload, .reason = HA_RRQ_MALFORMED};
	if (len > HA_RRQ_MAX)
		return false;
	return mip4_rrq_decode(payload, len, &reg->rrq, &reg->auth) == MIP4_OK;
}

static void discard(struct ha_registration *reg, enum ha_counter reason)
{
	reg->verdict = HA_DISCARD;
	reg->reason = reason;
}

static void deny(struct ha_registration *reg, enum mip4_code code, enum ha_counter reason)
{
	reg->verdict = HA_DENY;
	reg->code = (uint8_t)code;
	reg->reason = reason;
}

static const struct mip4_key *find_key(const struct ha_conf_node *node, uint32_t spi)
{
	for (size_t i = 0; i < node->n_keys; i++)
		if (node->keys[i].spi == spi)
			return &node->keys[i];
	return NULL;
}

static bool is_duplicate(const struct mip4_rrq *rrq, const struct ha_known *known)
{
	return known->any && rrq->identification == known->identification &&
	       ip_addr_equal(&rrq->coa, &known->coa);
}

/* RFC 5944 section 5.7.1: within the tolerance of our clock, and later than all before. */
static bool is_fresh(
	uint64_t identification, const struct ha_known *known, uint64_t now, uint16_t tolerance_s)
{
	uint64_t tolerance = (uint64_t)tolerance_s << 32;

	if (ntp_after(identification, now + tolerance) ||
		ntp_after(now - tolerance, identification))
		return false;
	return !known->any || ntp_after(identification, known->identification);
}

/* What was accepted is beyond all that we would accept now: our clock was set back. */
static bool is_locked_out(const struct ha_known *known, uint64_t now, uint16_t tolerance_s)
{
	return known->any && ntp_after(known->identification, now + ((uint64_t)tolerance_s << 32));
}

static enum ha_request_kind kind_of(const struct mip4_rrq *rrq)
{
	if (rrq->lifetime_s != 0)
		return HA_REGISTER;
	return ip_addr_equal(&rrq->coa, &rrq->hoa) ? HA_DEREGISTER_ALL : HA_DEREGISTER_COA;
}

/* What only a request for a new binding must have. False: denied. */
static bool judge_binding(
	struct ha_registration *reg, const struct ha_conf *conf, const struct ip_addr *source)
{
	const struct mip4_rrq *rrq = &reg->rrq;
	bool good = false;

	if ((rrq->flags & (MIP4_FLAG_M | MIP4_FLAG_G)) != 0)
		deny(reg, MIP4_CODE_NO_ENCAPSULATION, HA_RRQ_ENCAPSULATION); /* RFC 2003 alone */
	else if (ip_addr_equal(&rrq->coa, &rrq->hoa))
		deny(reg, MIP4_CODE_POORLY_FORMED, HA_RRQ_POORLY_FORMED);
	else if ((rrq->flags & MIP4_FLAG_D) == 0)
		deny(reg, MIP4_CODE_PROHIBITED, HA_RRQ_NOT_COLOCATED);
	else if (!ip_addr_is_unicast(&rrq->coa) || ip_addr_equal(&rrq->coa, &conf->address) ||
		 ha_conf_find_node(conf, &rrq->coa) >= 0)
		deny(reg, MIP4_CODE_PROHIBITED, HA_RRQ_BAD_COA);
	else if (!ip_addr_equal(source, &rrq->coa)) /* RFC 5944 section 3.6.1.1 */
		deny(reg, MIP4_CODE_PROHIBITED, HA_RRQ_SOURCE_NOT_COA);
	else
		good = true;
	return good;
}

static uint16_t grant_lifetime(const struct mip4_rrq *rrq, const struct ha_conf *conf)
{
	/* MIP4_LIFETIME_INFINITE is the largest number, so it needs no case of its own. */
	return rrq->lifetime_s < conf->max_lifetime_s ? rrq->lifetime_s : conf->max_lifetime_s;
}

void ha_registration_judge(struct ha_registration *reg, const struct ha_conf *conf,
	const struct ha_conf_node *node, const struct ha_known *known, const struct ip_addr *source,
	uint64_t now_ntp)
{
	const struct mip4_rrq *rrq = &reg->rrq;

	reg->own_ha = &conf->address;
	reg->identification = rrq->identification;
	reg->kind = kind_of(rrq);
	if (!reg->auth.present) {
		discard(reg, HA_RRQ_NO_AUTHENTICATOR);
		return;
	}
	reg->key = node != NULL ? find_key(node, reg->auth.spi) : NULL;
	if (reg->key == NULL) {
		discard(reg, HA_RRQ_NO_ASSOCIATION);
		return;
	}
	if (!mip4_auth_verify(reg->key, reg->payload, &reg->auth)) {
		deny(reg, MIP4_CODE_DENIED_AUTH, HA_RRQ_BAD_AUTHENTICATOR);
		return;
	}
	if (is_duplicate(rrq, known)) {
		reg->verdict = HA_DUPLICATE;
		reg->reason = HA_RRQ_DUPLICATE;
		return;
	}
	if (!is_fresh(rrq->identification, known, now_ntp, conf->tolerance_s)) {
		/* Our clock in the seconds, the node's low half so that it knows its own. */
		reg->identification = (now_ntp & ~NTP_LOW_32) | (rrq->identification & NTP_LOW_32);
		deny(reg, MIP4_CODE_ID_MISMATCH,
			is_locked_out(known, now_ntp, conf->tolerance_s) ? HA_RRQ_CLOCK_BEHIND
									 : HA_RRQ_ID_MISMATCH);
		return;
	}
	if (!ip_addr_equal(&rrq->ha, &conf->address)) {
		deny(reg, MIP4_CODE_UNKNOWN_HA, HA_RRQ_UNKNOWN_HA);
		return;
	}
	if (reg->kind == HA_REGISTER && !judge_binding(reg, conf, source))
		return;
	reg->verdict = HA_ACCEPT;
	reg->reason = HA_RRQ_ACCEPTED;
	reg->lifetime_s = grant_lifetime(rrq, conf);
	/* One binding a node: the new one takes the place of all others, and that is said. B asks
	 * for broadcasts of the home link, which RFC 5944 leaves to the home agent: none. */
	reg->code = (rrq->flags & MIP4_FLAG_S) != 0 ? MIP4_CODE_ACCEPTED_NO_SIMULTANEOUS
						    : MIP4_CODE_ACCEPTED;
}

size_t ha_registration_reply(
	const struct ha_registration *reg, uint8_t code, uint8_t *out, size_t room)
{
	struct mip4_rrp rrp = {.code = code,
		.lifetime_s = code <= MIP4_CODE_ACCEPTED_NO_SIMULTANEOUS ? reg->lifetime_s : 0,
		.hoa = reg->rrq.hoa,
		.ha = *reg->own_ha,
		.identification = reg->identification};

	return mip4_rrp_encode(out, room, &rrp, reg->key);
}

size_t ha_registration_denial(const struct ha_conf_node *node, const void *acceptance, size_t len,
	uint8_t code, uint8_t *out, size_t room)
{
	const struct mip4_key *key;
	struct mip4_auth auth;
	struct mip4_rrp rrp;

	if (mip4_rrp_decode(acceptance, len, &rrp, &auth) != MIP4_OK)
		return 0;
	key = find_key(node, auth.spi);
	if (key == NULL)
		return 0;
	rrp.code = code;
	rrp.lifetime_s = 0;
	return mip4_rrp_encode(out, room, &rrp, key);
}
