/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an agent advertisement is an ICMP router advertisement (RFC 1256) with a mobility
 * extension behind the router addresses (RFC 5944 section 2.1). Only what tells a node that it has
 * moved is read; other extensions are stepped over.
 */
#include "lib/mip4.h"

#include "lib/wire.h"

#include <string.h>

#define ICMP_ROUTER_ADVERT 9
#define CODE_COMMON_TRAFFIC 0
#define CODE_NO_COMMON_TRAFFIC 16 /* RFC 5944 section 2.1 */
#define ADDR_ENTRY_WORDS 2        /* router address and preference, RFC 1256 section 3 */

#define EXT_PAD 0 /* one byte without a length, RFC 5944 section 2.1.3 */
#define EXT_AGENT 16
#define EXT_AGENT_FIXED_BYTES 6

#define AGENT_REGISTRATION_REQUIRED 0x8000u
#define AGENT_BUSY 0x4000u
#define AGENT_HOME 0x2000u
#define AGENT_FOREIGN 0x1000u
#define AGENT_REVERSE_TUNNEL 0x0100u

static struct ip_addr get_v4(struct wire *w)
{
	struct ip_addr addr = {.family = AF_INET};
	const uint8_t *bytes = wire_take(w, 4);

	if (bytes != NULL)
		memcpy(addr.bytes, bytes, 4);
	return addr;
}

static bool decode_agent(struct wire *body, struct mip4_advert *out)
{
	size_t n;
	uint16_t flags;

	out->sequence = wire_u16(body);
	out->registration_lifetime_s = wire_u16(body);
	flags = wire_u16(body);
	out->registration_required = (flags & AGENT_REGISTRATION_REQUIRED) != 0;
	out->busy = (flags & AGENT_BUSY) != 0;
	out->home_agent = (flags & AGENT_HOME) != 0;
	out->foreign_agent = (flags & AGENT_FOREIGN) != 0;
	out->reverse_tunnel = (flags & AGENT_REVERSE_TUNNEL) != 0;
	n = wire_left(body) / 4;
	out->n_coas = n < MIP4_ADV_MAX_COAS ? n : MIP4_ADV_MAX_COAS;
	for (size_t i = 0; i < out->n_coas; i++)
		out->coas[i] = get_v4(body);
	return body->ok && wire_left(body) % 4 == 0;
}

/* The fixed part and the router addresses. False: not a router advertisement. */
static bool decode_router(struct wire *w, struct mip4_advert *out)
{
	uint8_t type = wire_u8(w);
	uint8_t code = wire_u8(w);
	size_t n_addrs, entry_bytes;

	wire_u16(w); /* checksum */
	n_addrs = wire_u8(w);
	entry_bytes = (size_t)wire_u8(w) * 4;
	out->router_lifetime_s = wire_u16(w);
	if (!w->ok || type != ICMP_ROUTER_ADVERT ||
		(code != CODE_COMMON_TRAFFIC && code != CODE_NO_COMMON_TRAFFIC))
		return false;
	if (n_addrs != 0 && entry_bytes < ADDR_ENTRY_WORDS * 4)
		return false;
	for (size_t i = 0; i < n_addrs; i++) {
		struct wire entry = wire_sub(w, entry_bytes);

		if (i == 0 && entry.ok)
			out->router = get_v4(&entry);
	}
	return w->ok;
}

bool mip4_advert_decode(const void *data, size_t len, struct mip4_advert *out)
{
	struct wire w = wire_over(data, len);
	bool found = false;

	*out = (struct mip4_advert){0};
	if (inet_fold(inet_sum(data, len, 0)) != 0 || !decode_router(&w, out))
		return false;
	while (wire_left(&w) != 0) {
		uint8_t type = wire_u8(&w);
		struct wire body;

		if (type == EXT_PAD)
			continue;
		body = wire_sub(&w, wire_u8(&w));
		if (!body.ok)
			return false;
		if (type == EXT_AGENT) {
			if (found || !decode_agent(&body, out))
				return false;
			found = true;
		}
	}
	return found;
}

static uint16_t agent_flags(const struct mip4_advert *advert)
{
	uint32_t flags = 0;

	flags |= advert->registration_required ? AGENT_REGISTRATION_REQUIRED : 0;
	flags |= advert->busy ? AGENT_BUSY : 0;
	flags |= advert->home_agent ? AGENT_HOME : 0;
	flags |= advert->foreign_agent ? AGENT_FOREIGN : 0;
	flags |= advert->reverse_tunnel ? AGENT_REVERSE_TUNNEL : 0;
	return (uint16_t)flags;
}

size_t mip4_advert_encode(uint8_t *out, size_t room, const struct mip4_advert *advert)
{
	struct wire_out w = wire_into(out, room);
	bool has_router = ip_addr_is_set(&advert->router);

	if (advert->n_coas > MIP4_ADV_MAX_COAS)
		return 0;
	wire_put_u8(&w, ICMP_ROUTER_ADVERT);
	wire_put_u8(&w, CODE_NO_COMMON_TRAFFIC); /* an agent that is no router for others */
	wire_put_u16(&w, 0);
	wire_put_u8(&w, has_router ? 1 : 0);
	wire_put_u8(&w, ADDR_ENTRY_WORDS);
	wire_put_u16(&w, advert->router_lifetime_s);
	if (has_router) {
		wire_put_bytes(&w, advert->router.bytes, 4);
		wire_put_u32(&w, 0); /* preference */
	}
	wire_put_u8(&w, EXT_AGENT);
	wire_put_u8(&w, (uint8_t)(EXT_AGENT_FIXED_BYTES + 4 * advert->n_coas));
	wire_put_u16(&w, advert->sequence);
	wire_put_u16(&w, advert->registration_lifetime_s);
	wire_put_u16(&w, agent_flags(advert));
	for (size_t i = 0; i < advert->n_coas; i++)
		wire_put_bytes(&w, advert->coas[i].bytes, 4);
	if (!w.ok)
		return 0;
	wire_store_u16(out + 2, inet_fold(inet_sum(out, wire_written(&w), 0)));
	return wire_written(&w);
}
