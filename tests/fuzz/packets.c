/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a header with the script's choices, a payload by protocol, then damage and, most
 * of the time, a checksum that fits, since else nothing gets past the first test.
 */
#include "tests/fuzz/packets.h"

#include "lib/ipv4.h"
#include "lib/mip4.h"

#define PATCHES_MAX 7
#define OPTION_BYTES_MAX 40
#define TEXT_MAX 400 /* bytes of the script's own in one payload */

struct packet_self packet_self;

#define V6_BYTES 40
#define EXTENSIONS_MAX 10 /* more than anybody takes */

enum { HOW_FIELDS = 1, HOW_OPTIONS = 2, HOW_FRAGMENT = 4, HOW_RAW = 8, HOW_V6 = 16 };
enum payload { UDP, REGISTRATION, TUNNEL, ESP, BYTES, PAYLOADS };

be32_t packet_addr(struct wire *script)
{
	static const uint8_t table[][4] = {
		{10, 1, 0, 10},
		{10, 1, 0, 11},
		{10, 1, 0, 12},
		{10, 1, 0, 13}, /* home addresses */
		{10, 1, 0, 14},
		{10, 1, 0, 15},
		{10, 1, 0, 16},
		{10, 1, 0, 17},
		{10, 1, 0, 99},
		{198, 51, 100, 7},
		{198, 51, 100, 8},
		{198, 51, 100, 9}, /* care-of addresses */
		{198, 51, 100, 10},
		{198, 51, 100, 11},
		{203, 0, 113, 7},
		{192, 168, 1, 5},
		{192, 0, 2, 1},
		{10, 2, 0, 254},
		{192, 0, 2, 77},
		{192, 0, 2, 254}, /* gateway */
		{10, 1, 0, 1},
		{10, 1, 0, 2},
		{10, 2, 0, 5},
		{10, 2, 0, 77}, /* inside */
		{8, 8, 8, 8},
		{0, 0, 0, 0},
		{127, 0, 0, 1},
		{169, 254, 1, 1},
		{224, 0, 0, 5},
		{255, 255, 255, 255},
	};
	unsigned which = wire_u8(script);
	const struct ip_addr *const self[] = {
		&packet_self.home, &packet_self.home_agent, &packet_self.coa, &packet_self.former};
	const uint8_t *own;
	be32_t addr = 0;

	if (which >= 0xe0 && which < 0xf8)
		return ip_addr_to_v4(self[which % 4]);
	if (which < 0xe0) {
		memcpy(&addr, table[which % (sizeof table / sizeof table[0])], 4);
		return addr;
	}
	own = wire_take(script, 4);
	if (own != NULL)
		memcpy(&addr, own, 4);
	return addr;
}

struct ip_addr packet_addr_v6(struct wire *script)
{
	static const uint8_t table[][16] = {
		{0x20, 1, 0xd, 0xb8, [7] = 1, [15] = 0x10},
		{0x20, 1, 0xd, 0xb8, [7] = 1, [15] = 0x11}, /* home addresses */
		{0x20, 1, 0xd, 0xb8, [7] = 7, [15] = 9},
		{0x20, 1, 0xd, 0xb8, [7] = 7, [15] = 0xb},
		{0x20, 1, 0xd, 0xb8, [7] = 8, [15] = 9},   /* care-of addresses */
		{0x20, 1, 0xd, 0xb8, [7] = 0xd, [15] = 7}, /* a NAT */
		{0x20, 1, 0xd, 0xb8, [7] = 0xa, [15] = 1}, /* gateway */
		{0xfd, 2, [15] = 0xfe},
		{0x20, 1, 0xd, 0xb8, [7] = 0xa, [15] = 77}, /* beside it */
		{0xfd, 1, [15] = 1},
		{0xfd, 1, [15] = 2}, /* home agents */
		{0xfd, 2, [15] = 5},
		{0xfd, 2, [15] = 77}, /* inside */
		{0x26, 6, 0x47, [15] = 1},
		{0},
		{[15] = 1},
		{[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 1, [15] = 10},
		{0xfe, 0x80, [15] = 1},
		{0xff, 2, [15] = 1},
		{0xff, 2, [11] = 1, [12] = 0xff, [15] = 1},
		{0xff, 5, [15] = 1},
	};
	unsigned which = wire_u8(script);
	const struct ip_addr self[] = {
		packet_self.home, packet_self.home_agent_v6, packet_self.coa, packet_self.former};
	struct ip_addr addr = {.family = AF_INET6};
	const uint8_t *own;

	if (which >= 0xe0 && which < 0xf8 && self[which % 4].family == AF_INET6)
		return self[which % 4];
	if (which < 0xf8) {
		memcpy(addr.bytes, table[which % (sizeof table / sizeof table[0])], 16);
		return addr;
	}
	own = wire_take(script, 16);
	if (own != NULL)
		memcpy(addr.bytes, own, 16);
	return addr;
}

size_t packet_extension(struct wire *script, uint8_t *at, uint8_t **next)
{
	static const uint8_t kinds[] = {60, 43, 0, 44, 60, 43, 135, 51};
	unsigned how = wire_u8(script);
	uint8_t kind = kinds[how & 7];
	size_t bytes = kind == 44 ? 8 : 8 * (1 + (how >> 3 & 3));

	memset(at, 0, bytes);
	if (kind != 44)
		at[1] = (uint8_t)(bytes / 8 - 1);
	if (kind == 0 || kind == 60) { /* one PadN */
		at[2] = 1;
		at[3] = (uint8_t)(bytes - 4);
	}
	if ((how & 0x80) != 0)
		for (unsigned i = 2; i < 4; i++)
			at[i] = wire_u8(script);
	**next = kind;
	*next = at;
	return bytes;
}

size_t packet_len(struct wire *script)
{
	unsigned len = wire_u8(script);

	return len < 0xc0 ? len : len < 0xf0 ? (len - 0xbf) * 32u : (len - 0xef) * 4080u;
}

size_t packet_patch(struct wire *script, uint8_t *at, size_t len)
{
	unsigned how = wire_u8(script);

	for (unsigned i = 0; i < (how & PATCHES_MAX) && len != 0; i++) {
		size_t place = (how & 8) != 0 ? wire_u16(script) : wire_u8(script);

		at[place % len] ^= wire_u8(script);
	}
	if ((how & 0x10) != 0 && len != 0)
		len -= ((how & 0x20) != 0 ? wire_u16(script) : wire_u8(script) % 64u) % len;
	return len;
}

/* The script's next bytes, at most room. */
static size_t own_bytes(struct wire *script, uint8_t *at, size_t room)
{
	size_t len = packet_len(script);
	const uint8_t *bytes;

	if (len > TEXT_MAX)
		len = TEXT_MAX;
	if (len > room)
		len = room;
	if (len > wire_left(script))
		len = wire_left(script);
	bytes = wire_take(script, len);
	if (bytes != NULL && len != 0)
		memcpy(at, bytes, len);
	return len;
}

static size_t fill(struct wire *script, uint8_t *at, size_t room)
{
	size_t len = packet_len(script);

	if (len > room)
		len = room;
	memset(at, 0x5a, len);
	return len;
}

static size_t make_udp(struct wire *script, uint8_t *at, size_t room)
{
	static const uint16_t ports[] = {434, 4500, 500, 4340, 53, 1701, 0, 40000};
	uint16_t src = ports[wire_u8(script) % 8], dst = ports[wire_u8(script) % 8];
	size_t len = UDP_HDR_BYTES + fill(script, at + UDP_HDR_BYTES, room - UDP_HDR_BYTES);

	wire_store_u16(at, src);
	wire_store_u16(at + 2, dst);
	wire_store_u16(at + 4, (uint16_t)len);
	wire_store_u16(at + 6, 0);
	/* Behind the ports, where NAT traversal has its marker and a keepalive its 0xff. */
	for (unsigned i = 0, n = wire_u8(script) % 16; i < n && UDP_HDR_BYTES + i < len; i++)
		at[UDP_HDR_BYTES + i] = wire_u8(script);
	return len;
}

static struct ip_addr some_addr(struct wire *script)
{
	return ip_addr_from_v4(packet_addr(script));
}

static size_t make_registration(struct wire *script, uint8_t *at, size_t room)
{
	struct mip4_rrq rrq = {.flags = wire_u8(script), .lifetime_s = 600, .identification = 1};
	struct mip4_key key = {.spi = 256, .alg = HMAC_SHA256, .key = {1}, .key_len = 16};
	size_t len;

	rrq.hoa = some_addr(script);
	rrq.ha = some_addr(script);
	rrq.coa = some_addr(script);
	len = mip4_rrq_encode(at + UDP_HDR_BYTES, room - UDP_HDR_BYTES, &rrq, &key);
	if (len == 0) /* addresses that it does not encode */
		return 0;
	wire_store_u16(at, MIP4_PORT);
	wire_store_u16(at + 2, MIP4_PORT);
	wire_store_u16(at + 4, (uint16_t)(len + UDP_HDR_BYTES));
	wire_store_u16(at + 6, 0);
	return len + UDP_HDR_BYTES;
}

static size_t make_payload(
	struct wire *script, enum payload what, uint8_t *at, size_t room, unsigned depth)
{
	uint8_t inner[PACKET_MAX];
	size_t len;

	switch (what) {
	case UDP:
		return make_udp(script, at, room);
	case REGISTRATION:
		return make_registration(script, at, room);
	case TUNNEL:
		len = depth == 0 ? 0 : packet_make(script, inner, depth - 1);
		len = len > room ? room : len;
		memcpy(at, inner, len);
		return len;
	case ESP: /* nobody's; of SAs that may be there */
		wire_store_u32(at, 0x1001u + ((uint32_t)(wire_u8(script) % 10) << 16));
		wire_store_u32(at + 4, wire_u8(script));
		return 8 + fill(script, at + 8, room - 8);
	case BYTES:
	case PAYLOADS:
		break;
	}
	return own_bytes(script, at, room);
}

static uint8_t protocol_of(enum payload what, struct wire *script)
{
	switch (what) {
	case UDP:
	case REGISTRATION:
		return 17;
	case TUNNEL: /* see name_inner() */
		return 4;
	case ESP:
		return 50;
	case BYTES:
	case PAYLOADS:
		break;
	}
	return wire_u8(script);
}

static void mend_checksum(uint8_t *ip, size_t len)
{
	size_t hdr = (ip[0] & 15u) * 4u;

	if (len < IPV4_HDR_BYTES || hdr < IPV4_HDR_BYTES || hdr > len)
		return;
	wire_store_u16(ip + 10, 0);
	wire_store_u16(ip + 10, inet_fold(inet_sum(ip, hdr, 0)));
}

/* What a tunnel carries says which protocol it is. */
static void name_inner(enum payload what, uint8_t *protocol, const uint8_t *inner, size_t len)
{
	if (what == TUNNEL && len != 0)
		*protocol = inner[0] >> 4 == 6 ? 41 : 4;
}

/* Returns the header's bytes, and where it says what comes next. */
static size_t make_header_v6(struct wire *script, unsigned how, uint8_t *at, uint8_t **next)
{
	size_t hdr = V6_BYTES;
	struct ip_addr src = packet_addr_v6(script), dst = packet_addr_v6(script);

	memset(at, 0, V6_BYTES);
	at[0] = 0x60;
	at[7] = 64;
	memcpy(at + 8, src.bytes, 16);
	memcpy(at + 24, dst.bytes, 16);
	if ((how & HOW_FIELDS) != 0) {
		wire_store_u16(at, (uint16_t)(0x6000 | wire_u8(script) << 4));
		at[7] = wire_u8(script);
	}
	*next = at + 6;
	if ((how & HOW_OPTIONS) != 0)
		for (unsigned i = wire_u8(script) % EXTENSIONS_MAX; i != 0; i--)
			hdr += packet_extension(script, at + hdr, next);
	if ((how & HOW_FRAGMENT) != 0) {
		memset(at + hdr, 0, 8);
		wire_store_u16(at + hdr + 2, wire_u16(script));
		**next = 44;
		*next = at + hdr;
		hdr += 8;
	}
	return hdr;
}

static size_t make_v6(
	struct wire *script, unsigned how, enum payload what, uint8_t *at, unsigned depth)
{
	uint8_t *next;
	size_t hdr = make_header_v6(script, how, at, &next), len;
	unsigned end;

	*next = protocol_of(what, script);
	len = make_payload(script, what, at + hdr, PACKET_MAX - hdr, depth);
	name_inner(what, next, at + hdr, len);
	len += hdr;
	wire_store_u16(at + 4, (uint16_t)(len - V6_BYTES));
	end = wire_u8(script);
	if ((end & 1) != 0)
		len = packet_patch(script, at, len);
	if ((end & 2) != 0 && len >= V6_BYTES)
		wire_store_u16(at + 4, (uint16_t)(len - V6_BYTES));
	return len;
}

size_t packet_make(struct wire *script, uint8_t *at, unsigned depth)
{
	unsigned how = wire_u8(script), end;
	enum payload what = (enum payload)(wire_u8(script) % PAYLOADS);
	size_t hdr = IPV4_HDR_BYTES, len;
	be32_t src, dst;

	if ((how & HOW_RAW) != 0 && (how & 0xf0) == 0xf0)
		return own_bytes(script, at, PACKET_MAX);
	if ((how & HOW_V6) != 0)
		return make_v6(script, how, what, at, depth);
	memset(at, 0, IPV4_HDR_BYTES + OPTION_BYTES_MAX);
	src = packet_addr(script);
	dst = packet_addr(script);
	if ((how & HOW_OPTIONS) != 0) {
		hdr += 4u * (wire_u8(script) % 11);
		for (size_t i = IPV4_HDR_BYTES; i < hdr; i++)
			at[i] = wire_u8(script);
	}
	at[0] = (uint8_t)(0x40 | hdr / 4);
	at[8] = 64;
	at[9] = protocol_of(what, script);
	if ((how & HOW_FIELDS) != 0) {
		at[1] = wire_u8(script);
		at[8] = wire_u8(script);
	}
	if ((how & HOW_FRAGMENT) != 0)
		wire_store_u16(at + 6, wire_u16(script));
	memcpy(at + 12, &src, 4);
	memcpy(at + 16, &dst, 4);
	len = make_payload(script, what, at + hdr, PACKET_MAX - hdr, depth);
	name_inner(what, &at[9], at + hdr, len);
	len += hdr;
	wire_store_u16(at + 2, (uint16_t)len);
	end = wire_u8(script); /* 0: no damage */
	if ((end & 1) != 0)
		len = packet_patch(script, at, len);
	if ((end & 2) != 0 && len >= IPV4_HDR_BYTES)
		wire_store_u16(at + 2, (uint16_t)len);
	if ((end & 12) != 12)
		mend_checksum(at, len);
	return len;
}

/* RFC 1624, equation 3. */
static uint16_t adjusted(uint16_t checksum, uint16_t before, uint16_t after)
{
	uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~before + after;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return (uint16_t)~sum;
}

void packet_stamp(uint8_t *ip, size_t len, uint16_t number)
{
	if (len >= V6_BYTES && ip[0] >> 4 == 6)
		wire_store_u16(ip + 2, number);
	if (len < IPV4_HDR_BYTES || ip[0] >> 4 != 4)
		return;
	wire_store_u16(ip + 10, adjusted(wire_load_u16(ip + 10), wire_load_u16(ip + 4), number));
	wire_store_u16(ip + 4, number);
}

uint16_t packet_stamped(const uint8_t *ip, size_t len)
{
	if (len >= V6_BYTES && ip[0] >> 4 == 6)
		return wire_load_u16(ip + 2);
	return len < IPV4_HDR_BYTES || ip[0] >> 4 != 4 ? 0 : wire_load_u16(ip + 4);
}
