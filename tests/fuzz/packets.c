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

enum { HOW_FIELDS = 1, HOW_OPTIONS = 2, HOW_FRAGMENT = 4, HOW_RAW = 8 };
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
	const be32_t self[] = {
		packet_self.home, packet_self.home_agent, packet_self.coa, packet_self.former};
	const uint8_t *own;
	be32_t addr = 0;

	if (which >= 0xe0 && which < 0xf8)
		return self[which % 4];
	if (which < 0xe0) {
		memcpy(&addr, table[which % (sizeof table / sizeof table[0])], 4);
		return addr;
	}
	own = wire_take(script, 4);
	if (own != NULL)
		memcpy(&addr, own, 4);
	return addr;
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
	case TUNNEL:
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

size_t packet_make(struct wire *script, uint8_t *at, unsigned depth)
{
	unsigned how = wire_u8(script), end;
	enum payload what = (enum payload)(wire_u8(script) % PAYLOADS);
	size_t hdr = IPV4_HDR_BYTES, len;
	be32_t src, dst;

	if ((how & HOW_RAW) != 0 && (how & 0xf0) == 0xf0)
		return own_bytes(script, at, PACKET_MAX);
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
	len = hdr + make_payload(script, what, at + hdr, PACKET_MAX - hdr, depth);
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
	if (len < IPV4_HDR_BYTES || ip[0] >> 4 != 4)
		return;
	wire_store_u16(ip + 10, adjusted(wire_load_u16(ip + 10), wire_load_u16(ip + 4), number));
	wire_store_u16(ip + 4, number);
}

uint16_t packet_stamped(const uint8_t *ip, size_t len)
{
	return len < IPV4_HDR_BYTES || ip[0] >> 4 != 4 ? 0 : wire_load_u16(ip + 4);
}
