/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the chain is walked from header to header, at most IP6_CHAIN_MAX of them, each
 * within the packet. Most packets have none and leave at once.
 */
#include "dataplane/ip6.h"

#define HOP_BY_HOP 0 /* IANA protocol numbers */
#define ROUTING 43
#define FRAGMENT 44
#define DESTINATION_OPTIONS 60
#define HEADER_UNIT 8      /* bytes that a length counts in */
#define FRAGMENT_MORE 0x01 /* of the second byte of the 16-bit field */
#define OPTION_PAD1 0      /* the one option without a length */
#define OPTION_ACTION 0xc0 /* 0: skip it if it is unknown */
#define ROUTING_SOURCE 0   /* type 0: RFC 5095 */

static bool is_extension(uint8_t next_header)
{
	return next_header == HOP_BY_HOP || next_header == ROUTING || next_header == FRAGMENT ||
	       next_header == DESTINATION_OPTIONS;
}

/* None of the options is one that we know: RFC 8200 section 4.2 then goes by the type. */
static bool options_pass(const uint8_t *header, uint32_t bytes)
{
	for (uint32_t at = 2; at < bytes;) {
		if (header[at] == OPTION_PAD1) {
			at++;
			continue;
		}
		if (at + 2 > bytes || at + 2 + header[at + 1] > bytes ||
			(header[at] & OPTION_ACTION) != 0)
			return false;
		at += 2u + header[at + 1];
	}
	return true;
}

static bool routing_passes(const uint8_t *header, bool for_us)
{
	const bool more = header[3] != 0; /* segments left */

	return !more || (!for_us && header[2] != ROUTING_SOURCE);
}

/* Fills in what a fragment header says. True: what follows is not the first piece. */
static bool read_fragment(const uint8_t *header, struct ip6_upper *out)
{
	const uint16_t field = wire_load_u16(header + 2);

	out->first = (field & ~7u) == 0;
	/* One that is first and last is a whole packet: RFC 6946. */
	out->fragment = !out->first || (field & FRAGMENT_MORE) != 0;
	return !out->first;
}

static bool header_passes(uint8_t kind, const uint8_t *header, uint32_t bytes, bool for_us)
{
	if (kind == ROUTING)
		return routing_passes(header, for_us);
	return kind == FRAGMENT || !for_us || options_pass(header, bytes);
}

enum verdict ip6_find_upper(const uint8_t *ip, uint32_t len, bool for_us, struct ip6_upper *out)
{
	uint32_t at = IPV6_HDR_BYTES, bytes;
	uint8_t kind = ip[6];

	*out = (struct ip6_upper){.first = true};
	for (unsigned n = 0; is_extension(kind); n++, at += bytes) {
		const uint8_t *header = ip + at;

		if (n == IP6_CHAIN_MAX || (kind == HOP_BY_HOP && n != 0))
			return VERDICT_BAD_HEADER;
		if (at + HEADER_UNIT > len)
			return VERDICT_RUNT;
		bytes = kind == FRAGMENT ? HEADER_UNIT : (header[1] + 1u) * HEADER_UNIT;
		if (at + bytes > len)
			return VERDICT_RUNT;
		if (!header_passes(kind, header, bytes, for_us))
			return VERDICT_BAD_HEADER;
		if (kind == FRAGMENT && read_fragment(header, out)) {
			out->protocol = header[0];
			out->at = at + bytes;
			return VERDICT_OK;
		}
		kind = header[0];
	}
	out->protocol = kind;
	out->at = at;
	return VERDICT_OK;
}
