/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an entry is a fixed part, read field by field, and TLVs, which one loop reads
 * into struct inner whatever the message is; a mask says which of them this message may hold. Every
 * read is bounded by the cursors of lib/wire.h, so lengths are checked once, where a TLV is taken.
 */
#include "siu/codec.h"

#include <sys/socket.h>

#define WIRE_FAMILY_V4 4
#define WIRE_FAMILY_V6 6

const char *siu_result_name(enum siu_result result)
{
	switch (result) {
	case SIU_RESULT_OK:
		return "ok";
	case SIU_RESULT_OK_PROVISIONAL:
		return "ok_provisional";
	case SIU_RESULT_OK_STATE_DIFFERED:
		return "ok_state_differed";
	case SIU_RESULT_DUPLICATE:
		return "duplicate";
	case SIU_RESULT_STALE:
		return "stale";
	case SIU_RESULT_BAD_VERSION:
		return "bad_version";
	case SIU_RESULT_MALFORMED:
		return "malformed";
	case SIU_RESULT_UNKNOWN_TLV:
		return "unknown_tlv";
	case SIU_RESULT_NO_SA:
		return "no_sa";
	case SIU_RESULT_NOT_AUTHORISED:
		return "not_authorised";
	case SIU_RESULT_NO_RESOURCES:
		return "no_resources";
	case SIU_RESULT_BAD_COA:
		return "bad_coa";
	case SIU_RESULT_COA_NOT_OBSERVED:
		return "coa_not_observed";
	case SIU_RESULT_SA_EXPIRED:
		return "sa_expired";
	case SIU_RESULT_RATE_LIMITED:
		return "rate_limited";
	case SIU_RESULT_NO_ROUTE:
		return "no_route";
	case SIU_RESULT_FAMILY_UNSUPPORTED:
		return "family_unsupported";
	case SIU_RESULT_RESYNC_NEEDED:
		return "resync_needed";
	case SIU_RESULT_BAD_RRP:
		return "bad_rrp";
	}
	return "unknown";
}

enum siu_result siu_header_decode(const uint8_t *datagram, size_t len, struct siu_header *out)
{
	struct wire w = wire_over(datagram, len);

	out->version = wire_u8(&w);
	out->type = wire_u8(&w);
	out->flags = wire_u16(&w);
	out->length = wire_u16(&w);
	out->key_id = wire_u16(&w);
	out->sender_id = wire_u32(&w);
	out->epoch = wire_u32(&w);
	out->sequence = wire_u64(&w);
	out->peer_epoch = wire_u32(&w);
	out->count = wire_u16(&w);
	wire_u16(&w); /* must be 0, ignored */
	if (!w.ok || len < SIU_DATAGRAM_MIN || len > SIU_DATAGRAM_MAX || out->length != len)
		return SIU_RESULT_MALFORMED;
	if (out->version != SIU_VERSION)
		return SIU_RESULT_BAD_VERSION;
	if ((out->flags & SIU_MUST_MASK16) != 0)
		return SIU_RESULT_UNKNOWN_TLV;
	return SIU_RESULT_OK;
}

void siu_header_encode(uint8_t at[SIU_HEADER_BYTES], const struct siu_header *header)
{
	struct wire_out w = wire_into(at, SIU_HEADER_BYTES);

	wire_put_u8(&w, header->version);
	wire_put_u8(&w, header->type);
	wire_put_u16(&w, header->flags);
	wire_put_u16(&w, header->length);
	wire_put_u16(&w, header->key_id);
	wire_put_u32(&w, header->sender_id);
	wire_put_u32(&w, header->epoch);
	wire_put_u64(&w, header->sequence);
	wire_put_u32(&w, header->peer_epoch);
	wire_put_u16(&w, header->count);
	wire_put_u16(&w, 0);
}

enum siu_result siu_body_check(const uint8_t *body, size_t len, uint8_t type, uint16_t count)
{
	struct wire w = wire_over(body, len);
	bool unknown = false;
	unsigned found = 0;

	while (w.ok && !wire_done(&w)) {
		uint16_t tlv = wire_u16(&w);

		wire_take(&w, wire_u16(&w));
		if (tlv == (SIU_TLV_ENTRY | type))
			found++;
		else if ((tlv & SIU_TLV_MUST) != 0)
			unknown = true;
	}
	if (!w.ok || found != count || count == 0 || count > SIU_ENTRIES_MAX)
		return SIU_RESULT_MALFORMED;
	return unknown ? SIU_RESULT_UNKNOWN_TLV : SIU_RESULT_OK;
}

bool siu_body_next(struct wire *body, uint8_t type, struct wire *entry)
{
	while (body->ok && !wire_done(body)) {
		uint16_t tlv = wire_u16(body);

		*entry = wire_sub(body, wire_u16(body));
		if (entry->ok && tlv == (SIU_TLV_ENTRY | type))
			return true;
	}
	return false;
}

static void address_decode(struct wire *w, uint8_t family, struct ip_addr *out)
{
	size_t n = family == WIRE_FAMILY_V4 ? 4 : 16;
	const uint8_t *bytes = wire_take(w, n);

	w->ok = w->ok && (family == WIRE_FAMILY_V4 || family == WIRE_FAMILY_V6);
	if (!w->ok)
		return;
	*out = (struct ip_addr){.family = family == WIRE_FAMILY_V4 ? AF_INET : AF_INET6};
	memcpy(out->bytes, bytes, n);
}

/* The TLVs inside an entry. A bit for each of them: the mask of what a message may hold. */
#define INNER(tlv) (1u << ((tlv)&0xffu))
struct inner {
	struct ip_addr home_address, former_coa, new_coa, coa;
	struct ip_endpoint observed;
	const uint8_t *rrp;
	size_t rrp_len;
	unsigned seen;
};

/* False: the value is not what its type says. */
static bool inner_value_decode(uint16_t type, struct wire value, struct inner *out)
{
	uint8_t family;

	if (type == SIU_TLV_RRP) {
		out->rrp_len = wire_left(&value);
		out->rrp = value.at;
		return out->rrp_len > 0 && out->rrp_len <= SIU_RRP_MAX;
	}
	family = wire_u8(&value);
	switch (type) {
	case SIU_TLV_HOME_ADDRESS:
		address_decode(&value, family, &out->home_address);
		break;
	case SIU_TLV_FORMER_COA:
		address_decode(&value, family, &out->former_coa);
		break;
	case SIU_TLV_NEW_COA:
		address_decode(&value, family, &out->new_coa);
		break;
	case SIU_TLV_COA:
		address_decode(&value, family, &out->coa);
		break;
	case SIU_TLV_OBSERVED:
		out->observed.port = wire_u16(&value);
		address_decode(&value, family, &out->observed.addr);
		break;
	}
	return wire_done(&value);
}

static enum siu_result inner_decode(
	struct wire *w, unsigned allowed, unsigned wanted, struct inner *out)
{
	bool unknown = false;

	*out = (struct inner){0};
	while (w->ok && !wire_done(w)) {
		uint16_t type = wire_u16(w);
		struct wire value = wire_sub(w, wire_u16(w));
		bool known = type > SIU_TLV_INNER && type <= SIU_TLV_RRP &&
			     (INNER(type) & allowed) != 0;

		if (!known) {
			unknown = unknown || (type & SIU_TLV_MUST) != 0;
			continue;
		}
		if (!value.ok || (out->seen & INNER(type)) != 0 ||
			!inner_value_decode(type, value, out))
			return SIU_RESULT_MALFORMED;
		out->seen |= INNER(type);
	}
	if (!w->ok || (out->seen & wanted) != wanted)
		return SIU_RESULT_MALFORMED;
	return unknown ? SIU_RESULT_UNKNOWN_TLV : SIU_RESULT_OK;
}

bool siu_update_is_sound(const struct siu_update *update)
{
	bool reply_only = (update->flags & SIU_REPLY_ONLY) != 0;
	bool deregister = (update->flags & SIU_DEREGISTER) != 0;

	if (!ip_addr_is_set(&update->home_address) || (update->rrp == NULL) != !update->rrp_len ||
		update->rrp_len > SIU_RRP_MAX || (reply_only && deregister))
		return false;
	if (reply_only)
		return update->rrp != NULL && ip_addr_is_set(&update->new_coa);
	return deregister ? update->lifetime_s == 0 : ip_addr_is_set(&update->new_coa);
}

enum siu_result siu_update_decode(struct wire entry, struct siu_update *out, uint64_t *reference)
{
	const unsigned allowed = INNER(SIU_TLV_HOME_ADDRESS) | INNER(SIU_TLV_FORMER_COA) |
				 INNER(SIU_TLV_NEW_COA) | INNER(SIU_TLV_RRP);
	enum siu_result result;
	struct inner inner;

	*out = (struct siu_update){0};
	*reference = wire_u64(&entry);
	out->generation = wire_u64(&entry);
	out->identification = wire_u64(&entry);
	out->node = wire_u32(&entry);
	out->lifetime_s = wire_u16(&entry);
	out->flags = wire_u16(&entry);
	result = inner_decode(&entry, allowed, INNER(SIU_TLV_HOME_ADDRESS), &inner);
	out->home_address = inner.home_address;
	out->former_coa = inner.former_coa;
	out->new_coa = inner.new_coa;
	out->rrp = inner.rrp;
	out->rrp_len = inner.rrp_len;
	if (result == SIU_RESULT_OK && (out->flags & SIU_MUST_MASK16) != 0)
		result = SIU_RESULT_UNKNOWN_TLV;
	if (result == SIU_RESULT_OK && !siu_update_is_sound(out))
		result = SIU_RESULT_MALFORMED;
	return result;
}

enum siu_result siu_ack_decode(struct wire entry, struct siu_ack_entry *out, uint64_t *reference)
{
	enum siu_result result;
	struct inner inner;

	*out = (struct siu_ack_entry){0};
	*reference = wire_u64(&entry);
	out->generation = wire_u64(&entry);
	out->in_force = wire_u64(&entry);
	out->node = wire_u32(&entry);
	out->result = (enum siu_result)wire_u16(&entry);
	out->update_flags = wire_u16(&entry);
	result = inner_decode(&entry, INNER(SIU_TLV_HOME_ADDRESS) | INNER(SIU_TLV_COA), 0, &inner);
	out->home_address = inner.home_address;
	out->coa = inner.coa;
	return result;
}

enum siu_result siu_hello_decode(struct wire entry, struct siu_hello *out)
{
	struct inner inner;

	out->version_min = wire_u8(&entry);
	out->version_max = wire_u8(&entry);
	out->role = wire_u8(&entry);
	out->flags = wire_u8(&entry);
	wire_u32(&entry); /* capabilities: none are defined */
	out->nonce = wire_u64(&entry);
	out->echo = wire_u64(&entry);
	if (entry.ok && out->nonce == 0)
		return SIU_RESULT_MALFORMED;
	return inner_decode(&entry, 0, 0, &inner);
}

enum siu_result siu_rrq_seen_decode(struct wire entry, struct siu_rrq_seen *out)
{
	const unsigned all = INNER(SIU_TLV_HOME_ADDRESS) | INNER(SIU_TLV_COA) |
			     INNER(SIU_TLV_OBSERVED);
	enum siu_result result;
	struct inner inner;

	out->identification = wire_u64(&entry);
	out->node = wire_u32(&entry);
	result = inner_decode(&entry, all, all, &inner);
	out->home_address = inner.home_address;
	out->coa = inner.coa;
	out->observed = inner.observed;
	return result;
}

enum siu_result siu_event_decode(struct wire entry, struct siu_event *out)
{
	enum siu_result result;
	struct inner inner;

	out->kind = (enum siu_event_kind)wire_u16(&entry);
	wire_u16(&entry); /* must be 0, ignored */
	out->node = wire_u32(&entry);
	result = inner_decode(&entry, INNER(SIU_TLV_HOME_ADDRESS) | INNER(SIU_TLV_OBSERVED),
		INNER(SIU_TLV_HOME_ADDRESS), &inner);
	out->home_address = inner.home_address;
	out->observed = inner.observed;
	return result;
}

enum siu_result siu_sync_decode(struct wire entry, struct siu_sync_message *out)
{
	struct inner inner;

	out->id = wire_u32(&entry);
	out->step = wire_u8(&entry);
	wire_u8(&entry); /* must be 0, ignored */
	out->result = (enum siu_result)wire_u16(&entry);
	return inner_decode(&entry, 0, 0, &inner);
}

/* A TLV is opened with length 0, which is put right when it is closed. */
static struct wire_out tlv_open(const struct wire_out *w, unsigned type)
{
	struct wire_out tlv = wire_into(w->at, w->ok ? (size_t)(w->end - w->at) : 0);

	wire_put_u16(&tlv, (uint16_t)type);
	wire_put_u16(&tlv, 0);
	return tlv;
}

static bool tlv_close(struct wire_out *w, const struct wire_out *tlv)
{
	if (!tlv->ok)
		return false;
	wire_store_u16(w->at + 2, (uint16_t)(wire_written(tlv) - SIU_TLV_BYTES));
	w->at = tlv->at;
	return true;
}

static uint8_t wire_family(const struct ip_addr *addr)
{
	return addr->family == AF_INET6 ? WIRE_FAMILY_V6 : WIRE_FAMILY_V4;
}

static void put_address_bytes(struct wire_out *w, const struct ip_addr *addr)
{
	wire_put_bytes(w, addr->bytes, addr->family == AF_INET6 ? 16 : 4);
}

static void put_address(struct wire_out *w, unsigned type, const struct ip_addr *addr)
{
	struct wire_out tlv;

	if (!ip_addr_is_set(addr))
		return;
	tlv = tlv_open(w, type);
	wire_put_u8(&tlv, wire_family(addr));
	put_address_bytes(&tlv, addr);
	w->ok = tlv_close(w, &tlv);
}

static void put_endpoint(struct wire_out *w, unsigned type, const struct ip_endpoint *endpoint)
{
	struct wire_out tlv;

	if (!ip_addr_is_set(&endpoint->addr))
		return;
	tlv = tlv_open(w, type);
	wire_put_u8(&tlv, wire_family(&endpoint->addr));
	wire_put_u16(&tlv, endpoint->port);
	put_address_bytes(&tlv, &endpoint->addr);
	w->ok = tlv_close(w, &tlv);
}

bool siu_update_encode(struct wire_out *w, const struct siu_update *update, uint64_t reference)
{
	struct wire_out entry = tlv_open(w, SIU_TLV_ENTRY | SIU_UPDATE);

	wire_put_u64(&entry, reference);
	wire_put_u64(&entry, update->generation);
	wire_put_u64(&entry, update->identification);
	wire_put_u32(&entry, update->node);
	wire_put_u16(&entry, update->lifetime_s);
	wire_put_u16(&entry, update->flags);
	put_address(&entry, SIU_TLV_HOME_ADDRESS, &update->home_address);
	put_address(&entry, SIU_TLV_FORMER_COA, &update->former_coa);
	put_address(&entry, SIU_TLV_NEW_COA, &update->new_coa);
	if (update->rrp != NULL) {
		wire_put_u16(&entry, SIU_TLV_RRP);
		wire_put_u16(&entry, (uint16_t)update->rrp_len);
		wire_put_bytes(&entry, update->rrp, update->rrp_len);
	}
	return tlv_close(w, &entry);
}

bool siu_ack_encode(struct wire_out *w, const struct siu_ack_entry *ack, uint64_t reference)
{
	struct wire_out entry = tlv_open(w, SIU_TLV_ENTRY | SIU_ACK);

	wire_put_u64(&entry, reference);
	wire_put_u64(&entry, ack->generation);
	wire_put_u64(&entry, ack->in_force);
	wire_put_u32(&entry, ack->node);
	wire_put_u16(&entry, (uint16_t)ack->result);
	wire_put_u16(&entry, ack->update_flags);
	put_address(&entry, SIU_TLV_HOME_ADDRESS, &ack->home_address);
	put_address(&entry, SIU_TLV_COA, &ack->coa);
	return tlv_close(w, &entry);
}

bool siu_hello_encode(struct wire_out *w, const struct siu_hello *hello)
{
	struct wire_out entry = tlv_open(w, SIU_TLV_ENTRY | SIU_HELLO);

	wire_put_u8(&entry, hello->version_min);
	wire_put_u8(&entry, hello->version_max);
	wire_put_u8(&entry, hello->role);
	wire_put_u8(&entry, hello->flags);
	wire_put_u32(&entry, 0); /* capabilities */
	wire_put_u64(&entry, hello->nonce);
	wire_put_u64(&entry, hello->echo);
	return tlv_close(w, &entry);
}

bool siu_rrq_seen_encode(struct wire_out *w, const struct siu_rrq_seen *seen)
{
	struct wire_out entry = tlv_open(w, SIU_TLV_ENTRY | SIU_RRQ_SEEN);

	wire_put_u64(&entry, seen->identification);
	wire_put_u32(&entry, seen->node);
	put_address(&entry, SIU_TLV_HOME_ADDRESS, &seen->home_address);
	put_address(&entry, SIU_TLV_COA, &seen->coa);
	put_endpoint(&entry, SIU_TLV_OBSERVED, &seen->observed);
	return tlv_close(w, &entry);
}

bool siu_event_encode(struct wire_out *w, const struct siu_event *event)
{
	struct wire_out entry = tlv_open(w, SIU_TLV_ENTRY | SIU_EVENT);

	wire_put_u16(&entry, (uint16_t)event->kind);
	wire_put_u16(&entry, 0);
	wire_put_u32(&entry, event->node);
	put_address(&entry, SIU_TLV_HOME_ADDRESS, &event->home_address);
	put_endpoint(&entry, SIU_TLV_OBSERVED, &event->observed);
	return tlv_close(w, &entry);
}

bool siu_sync_encode(struct wire_out *w, const struct siu_sync_message *sync)
{
	struct wire_out entry = tlv_open(w, SIU_TLV_ENTRY | SIU_SYNC);

	wire_put_u32(&entry, sync->id);
	wire_put_u8(&entry, sync->step);
	wire_put_u8(&entry, 0);
	wire_put_u16(&entry, (uint16_t)sync->result);
	return tlv_close(w, &entry);
}
