/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a registration message is a fixed part and a row of extensions. The row is walked
 * once; up to the MN-HA authentication extension every extension must be known or skippable, behind
 * it nothing is covered by the tag, so what is not known there is stepped over (RFC 5944 3.5.2).
 *
 * Deviation: IANA's type 139 (dynamic home agent, RFC 4433) is drawn there with a 16-bit length but
 * sent by others with the 8-bit length of skippable extensions; both forms are taken.
 */
#include "lib/mip4.h"

#include "lib/wire.h"

#include <string.h>

#define RRQ_BYTES 24 /* RFC 5944 section 3.3, without extensions */
#define RRP_BYTES 20 /* RFC 5944 section 3.4 */

#define EXT_MN_HA 32 /* RFC 5944 section 3.5.2 */
#define EXT_GENERALISED_AUTH 36
#define EXT_CRITICAL_VENDOR 38
#define EXT_PMIPV4 47
#define EXT_DYNAMIC_HA 139
#define EXT_SKIPPABLE_MIN 128 /* RFC 5944 section 1.8 */
#define SPI_BYTES 4

const char *mip4_code_text(uint8_t code)
{
	switch (code) {
	case MIP4_CODE_ACCEPTED:
		return "accepted";
	case MIP4_CODE_ACCEPTED_NO_SIMULTANEOUS:
		return "accepted, no simultaneous bindings";
	case MIP4_CODE_UNSPECIFIED:
		return "reason unspecified";
	case MIP4_CODE_PROHIBITED:
		return "administratively prohibited";
	case MIP4_CODE_NO_RESOURCES:
		return "insufficient resources";
	case MIP4_CODE_DENIED_AUTH:
		return "mobile node failed authentication";
	case MIP4_CODE_FA_AUTH:
		return "foreign agent failed authentication";
	case MIP4_CODE_ID_MISMATCH:
		return "identification mismatch";
	case MIP4_CODE_POORLY_FORMED:
		return "poorly formed request";
	case MIP4_CODE_TOO_MANY_BINDINGS:
		return "too many simultaneous bindings";
	case MIP4_CODE_UNKNOWN_HA:
		return "unknown home agent address";
	case MIP4_CODE_NO_REVERSE_TUNNEL:
		return "reverse tunnel unavailable";
	case MIP4_CODE_REVERSE_TUNNEL_MANDATORY:
		return "reverse tunnel is mandatory";
	case MIP4_CODE_NO_ENCAPSULATION:
		return "encapsulation unavailable";
	default:
		return "unknown code";
	}
}

static struct ip_addr get_v4(struct wire *w)
{
	struct ip_addr addr = {.family = AF_INET};
	const uint8_t *bytes = wire_take(w, 4);

	if (bytes != NULL)
		memcpy(addr.bytes, bytes, 4);
	return addr;
}

static void put_v4(struct wire_out *w, const struct ip_addr *addr)
{
	wire_put_bytes(w, addr->bytes, 4);
}

/* --- extensions --- */

struct extension {
	uint8_t type;
	struct wire body;
};

/* type was read; at w stands what follows it. */
static bool has_long_header(uint8_t type, const struct wire *w)
{
	switch (type) {
	case EXT_GENERALISED_AUTH:
	case EXT_CRITICAL_VENDOR:
	case EXT_PMIPV4:
		return true;
	case EXT_DYNAMIC_HA: /* subtype 1 or 2 and length 4, or length 5 and subtype */
		return wire_left(w) >= 3 && (w->at[0] == 1 || w->at[0] == 2) && w->at[1] == 0 &&
		       w->at[2] == 4;
	default:
		return false;
	}
}

static bool next_extension(struct wire *w, struct extension *out)
{
	size_t len;

	out->type = wire_u8(w);
	if (has_long_header(out->type, w)) {
		wire_u8(w); /* subtype */
		len = wire_u16(w);
	} else {
		len = wire_u8(w);
	}
	out->body = wire_sub(w, len);
	return out->body.ok;
}

static bool take_auth(const struct extension *ext, const uint8_t *start, struct mip4_auth *auth)
{
	struct wire body = ext->body;

	auth->spi = wire_u32(&body);
	auth->tag_len = wire_left(&body);
	auth->tag = wire_take(&body, auth->tag_len);
	if (auth->present || !body.ok || auth->tag_len == 0)
		return false;
	auth->present = true;
	auth->covered_len = (size_t)(auth->tag - start);
	return true;
}

static enum mip4_result walk_extensions(
	struct wire *w, const uint8_t *start, struct mip4_auth *auth)
{
	struct extension ext;

	*auth = (struct mip4_auth){0};
	while (wire_left(w) != 0) {
		if (!next_extension(w, &ext))
			return MIP4_BAD_EXTENSION;
		if (ext.type == EXT_MN_HA) {
			if (!take_auth(&ext, start, auth))
				return MIP4_BAD_EXTENSION;
		} else if (!auth->present && ext.type < EXT_SKIPPABLE_MIN) {
			return MIP4_UNKNOWN_EXTENSION;
		}
	}
	return MIP4_OK;
}

/* --- registration --- */

enum mip4_result mip4_rrq_decode(
	const void *data, size_t len, struct mip4_rrq *out, struct mip4_auth *auth)
{
	struct wire w = wire_over(data, len);
	uint8_t type = wire_u8(&w);

	if (w.ok && type != MIP4_TYPE_RRQ)
		return MIP4_WRONG_TYPE;
	out->flags = wire_u8(&w);
	out->lifetime_s = wire_u16(&w);
	out->hoa = get_v4(&w);
	out->ha = get_v4(&w);
	out->coa = get_v4(&w);
	out->identification = wire_u64(&w);
	return w.ok ? walk_extensions(&w, data, auth) : MIP4_TRUNCATED;
}

enum mip4_result mip4_rrp_decode(
	const void *data, size_t len, struct mip4_rrp *out, struct mip4_auth *auth)
{
	struct wire w = wire_over(data, len);
	uint8_t type = wire_u8(&w);

	if (w.ok && type != MIP4_TYPE_RRP)
		return MIP4_WRONG_TYPE;
	out->code = wire_u8(&w);
	out->lifetime_s = wire_u16(&w);
	out->hoa = get_v4(&w);
	out->ha = get_v4(&w);
	out->identification = wire_u64(&w);
	return w.ok ? walk_extensions(&w, data, auth) : MIP4_TRUNCATED;
}

bool mip4_auth_verify(const struct mip4_key *key, const void *data, const struct mip4_auth *auth)
{
	struct hmac_part covered = {.data = data, .len = auth->covered_len};
	uint8_t tag[HMAC_BYTES_MAX];

	if (!auth->present || auth->spi != key->spi || auth->tag_len != hmac_bytes(key->alg))
		return false;
	if (hmac_compute(key->alg, key->key, key->key_len, &covered, 1, tag) != 0)
		return false;
	return hmac_equal(tag, auth->tag, auth->tag_len);
}

/* Appends the MN-HA extension and closes the message. Returns its length, 0: no room. */
static size_t put_auth(struct wire_out *w, const struct mip4_key *key)
{
	size_t tag_len = hmac_bytes(key->alg);
	struct hmac_part covered = {.data = w->start};
	uint8_t tag[HMAC_BYTES_MAX];

	wire_put_u8(w, EXT_MN_HA);
	wire_put_u8(w, (uint8_t)(SPI_BYTES + tag_len));
	wire_put_u32(w, key->spi);
	covered.len = wire_written(w); /* type, length and SPI of this one too (RFC 5944 3.5.1) */
	if (!w->ok || hmac_compute(key->alg, key->key, key->key_len, &covered, 1, tag) != 0)
		return 0;
	wire_put_bytes(w, tag, tag_len);
	return w->ok ? wire_written(w) : 0;
}

size_t mip4_rrq_encode(
	uint8_t *out, size_t room, const struct mip4_rrq *rrq, const struct mip4_key *key)
{
	struct wire_out w = wire_into(out, room);

	wire_put_u8(&w, MIP4_TYPE_RRQ);
	wire_put_u8(&w, rrq->flags & (uint8_t) ~(MIP4_FLAG_r | MIP4_FLAG_x));
	wire_put_u16(&w, rrq->lifetime_s);
	put_v4(&w, &rrq->hoa);
	put_v4(&w, &rrq->ha);
	put_v4(&w, &rrq->coa);
	wire_put_u64(&w, rrq->identification);
	return put_auth(&w, key);
}

size_t mip4_rrp_encode(
	uint8_t *out, size_t room, const struct mip4_rrp *rrp, const struct mip4_key *key)
{
	struct wire_out w = wire_into(out, room);

	wire_put_u8(&w, MIP4_TYPE_RRP);
	wire_put_u8(&w, rrp->code);
	wire_put_u16(&w, rrp->lifetime_s);
	put_v4(&w, &rrp->hoa);
	put_v4(&w, &rrp->ha);
	wire_put_u64(&w, rrp->identification);
	return put_auth(&w, key);
}
