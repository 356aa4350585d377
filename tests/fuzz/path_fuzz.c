/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole way of a frame through the gateway, both directions, at the hands of somebody who
 * chooses every byte, and who is also the legitimate peer of some SAs: the input is a script of
 * packets, made by fields or byte by byte, in the clear or sealed with the right key, with any
 * sequence number, in buffers of any shape, of moves of the nodes, and of what the control thread
 * injects. The very functions of a worker run; path_world.c says what must hold after each turn.
 */
#include "lib/ipv4.h"
#include "tests/fuzz/esp_peer.h"
#include "tests/fuzz/packets.h"
#include "tests/fuzz/path_world.h"

#include <stdlib.h>

#define SCRIPT_MAX 4096
#define FRAME_MAX (PACKET_MAX - 512) /* a mbuf's buffer is at most 65535 bytes */
#define ROOM_MAX 250
#define TUNNELS_MAX 2
#define V6_BYTES 40
#define EXTENSIONS_MAX 3
#define OUTER_MAX (V6_BYTES + EXTENSIONS_MAX * 32 + 8) /* and UDP */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum seal_how {        /* first byte of a sealed packet */
	SEAL_TEXT = 4, /* the text's end is the script's, not a right trailer */
	SEAL_WRONG_KEY = 8,
	SEAL_NEXT_HEADER = 16,
	SEAL_FLOW = 32, /* bytes behind the inner packet: RFC 4303 section 2.7 */
	SEAL_OUTER = 64,
};

static uint8_t packet[PACKET_MAX], sealed_packet[PACKET_MAX], frame[PACKET_MAX];
static struct { /* what lies in frame */
	enum dp_port port;
	size_t len;
	struct world_shape shape;
	uint16_t number; /* 0: nothing that was put in */
} last;

static struct world_shape make_shape(struct wire *script)
{
	unsigned how = wire_u8(script);
	struct world_shape shape = {.headroom = RTE_PKTMBUF_HEADROOM, .tailroom = 64};

	shape.direct = (how & 3) == 0;
	if ((how & 3) == 1)
		shape.tailroom = 0;
	if ((how & 3) == 3) {
		shape.headroom = wire_u8(script) % ROOM_MAX;
		shape.tailroom = wire_u8(script) % ROOM_MAX;
	}
	if ((how & 12) == 12)
		shape.segments = (uint8_t)(1 + (how >> 4) % 4);
	return shape;
}

/* Ethernet in front, and perhaps more behind it than IP says. */
static size_t make_frame(struct wire *script, enum dp_port port, const uint8_t *ip, size_t len)
{
	unsigned how = wire_u8(script);
	size_t behind = (how & 1) != 0 ? packet_len(script) : 0, l2 = RTE_ETHER_HDR_LEN;
	uint16_t tag = world_vlan(), type = len != 0 && ip[0] >> 4 == 6 ? 0x86dd : 0x0800;

	last.number = 0;
	if (len > FRAME_MAX)
		len = FRAME_MAX;
	if (len + behind > FRAME_MAX)
		behind = FRAME_MAX - len;
	memcpy(frame, world_mac(port), 6);
	memset(frame + 6, 2, 6);
	if ((how & 0x30) == 0x20 && (how & 0xc0) != 0) /* another's, with priority, or two */
		tag = wire_u16(script);
	if (tag != 0) {
		wire_store_u16(frame + 12, 0x8100);
		wire_store_u16(frame + 14, tag);
		l2 += 4;
	}
	wire_store_u16(frame + l2 - 2, type);
	if ((how & 14) == 14)
		for (unsigned i = 0; i < 6; i++)
			frame[i] = wire_u8(script);
	if ((how & 0x30) == 0x30) {
		static const uint16_t types[] = {0x0806, 0x86dd, 0x8100, 0x88a8};

		wire_store_u16(frame + l2 - 2, types[how >> 6]);
	}
	if (len != 0)
		memcpy(frame + l2, ip, len);
	memset(frame + l2 + len, 0, behind);
	return l2 + len + behind;
}

static void push(enum dp_port port, size_t len, const struct world_shape *shape,
	const struct world_sealed *sealed)
{
	last.port = port;
	last.len = len;
	last.shape = *shape;
	last.number = world_number();
	if (!world_push(port, frame, len, shape, sealed, last.number))
		last.number = 0;
}

static void say_again(struct wire *script)
{
	unsigned times = 1 + wire_u8(script) % 80;

	if (last.number != 0)
		world_push_again(last.port, frame, last.len, &last.shape, times, last.number);
}

static void say_raw(struct wire *script)
{
	unsigned how = wire_u8(script);
	struct world_shape shape = make_shape(script);
	size_t len = packet_len(script), l2 = RTE_ETHER_HDR_LEN;
	const uint8_t *bytes;

	if (len > wire_left(script))
		len = wire_left(script);
	bytes = wire_take(script, len);
	if (bytes != NULL)
		memcpy(frame, bytes, len);
	l2 += world_vlan() != 0 ? 4 : 0;
	if (len > l2)
		packet_stamp(frame + l2, len - l2, world_number());
	push((enum dp_port)(how & 1), len, &shape, NULL);
}

static void say_plain(struct wire *script, enum dp_port port)
{
	struct world_shape shape = make_shape(script);
	size_t len;

	world_self(1 + wire_u8(script) % WORLD_NODES, &packet_self);
	len = packet_make(script, packet, TUNNELS_MAX);
	packet_stamp(packet, len, world_number());
	len = make_frame(script, port, packet, len);
	push(port, len, &shape, NULL);
}

static uint64_t make_seq(struct wire *script, unsigned how, unsigned node)
{
	uint64_t before = world_seq_in(node), seq;

	switch (how & 3) {
	case 1:
		return before - wire_u8(script);
	case 2:
		seq = wire_u64(script);
		break;
	case 3:
		seq = before + 1 + wire_u16(script);
		break;
	default:
		seq = before + 1;
		break;
	}
	if (!world_sa_in(node)->esn)
		seq &= 0xffffffff;
	world_set_seq_in(node, seq);
	return seq;
}

/* Padding and next header; returns the length of the whole text. */
static size_t finish_text(
	struct wire *script, unsigned how, uint8_t *text, size_t len, unsigned block)
{
	uint8_t pad;

	if ((how & SEAL_TEXT) != 0)
		return len;
	if ((how & SEAL_FLOW) != 0) {
		size_t more = wire_u8(script);

		memset(text + len, 0xee, more);
		len += more;
	}
	pad = (uint8_t)(-(len + 2) & (block - 1));
	for (uint8_t i = 0; i < pad; i++)
		text[len++] = (uint8_t)(i + 1);
	text[len++] = pad;
	pad = (how & SEAL_NEXT_HEADER) == 0 ? (text[0] >> 4 == 6 ? 41 : 4) : wire_u8(script);
	text[len++] = (how & SEAL_NEXT_HEADER) != 0 && pad < 128 ? 59 : pad;
	return len;
}

/* UDP in front of ESP; returns its bytes. */
static size_t make_outer_udp(struct wire *script, uint8_t *udp, size_t esp_len, uint16_t *port)
{
	*port = wire_u8(script);
	*port = *port < 128 ? 5555 : *port < 192 ? 6666 : (uint16_t)(*port + 1000);
	wire_store_u16(udp, *port);
	wire_store_u16(udp + 2, 4500);
	wire_store_u16(udp + 4, (uint16_t)(esp_len + UDP_HDR_BYTES));
	wire_store_u16(udp + 6, 0);
	return UDP_HDR_BYTES;
}

static void sum_udp(uint8_t *udp, size_t len, const struct ip_addr *src, const struct ip_addr *dst)
{
	wire_store_u16(udp + 6,
		inet_fold(inet_sum(udp, len, inet_pseudo_sum(src, dst, 17, (uint32_t)len))));
}

enum outer_how { OUTER_UDP = 1, OUTER_SUM = 2, OUTER_V6 = 4, OUTER_EXTENSIONS = 8 };

/* IPv6 up to the upper layer; returns its bytes. */
static size_t make_outer_v6(struct wire *script, unsigned how, uint8_t *ip, uint8_t protocol,
	const struct ip_addr *src, const struct ip_addr *dst)
{
	uint8_t *next = ip + 6;
	size_t hdr = V6_BYTES;

	memset(ip, 0, V6_BYTES);
	ip[0] = 0x60;
	ip[7] = 64;
	memcpy(ip + 8, src->bytes, 16);
	memcpy(ip + 24, dst->bytes, 16);
	if ((how & OUTER_EXTENSIONS) != 0)
		for (unsigned i = wire_u8(script) % (EXTENSIONS_MAX + 1); i != 0; i--)
			hdr += packet_extension(script, ip + hdr, &next);
	*next = protocol;
	return hdr;
}

/* The outer packet of what lies behind OUTER_MAX; returns where it begins. */
static uint8_t *make_outer(
	struct wire *script, size_t esp_len, struct ip_endpoint *from, size_t *len)
{
	static uint8_t header[OUTER_MAX];
	unsigned how = wire_u8(script);
	const bool v6 = (how & OUTER_V6) != 0;
	const uint8_t protocol = (how & OUTER_UDP) != 0 ? 17 : 50;
	struct ip_addr dst = world_outside(v6 ? AF_INET6 : AF_INET);
	uint8_t *udp = sealed_packet + OUTER_MAX, *ip;
	size_t hdr = IPV4_HDR_BYTES;

	from->addr = v6 ? packet_addr_v6(script) : ip_addr_from_v4(packet_addr(script));
	if ((how & OUTER_UDP) != 0) {
		udp -= UDP_HDR_BYTES;
		esp_len += make_outer_udp(script, udp, esp_len, &from->port);
	}
	if (v6)
		hdr = make_outer_v6(script, how, header, protocol, &from->addr, &dst);
	*len = hdr + esp_len;
	if (v6)
		wire_store_u16(header + 4, (uint16_t)(*len - V6_BYTES));
	else
		ipv4_build(header, &from->addr, &dst, protocol, 64, 0, 7, 0, (uint16_t)*len);
	if ((how & (OUTER_UDP | OUTER_SUM)) == (OUTER_UDP | OUTER_SUM))
		sum_udp(udp, esp_len, &from->addr, &dst);
	ip = udp - hdr;
	memcpy(ip, header, hdr);
	return ip;
}

static void mend_outer(uint8_t *ip, size_t len, bool length)
{
	if (ip[0] >> 4 == 6 && len >= V6_BYTES) {
		if (length)
			wire_store_u16(ip + 4, (uint16_t)(len - V6_BYTES));
	} else if (len >= IPV4_HDR_BYTES) {
		if (length)
			wire_store_u16(ip + 2, (uint16_t)len);
		wire_store_u16(ip + 10, 0);
		wire_store_u16(ip + 10, inet_fold(inet_sum(ip, IPV4_HDR_BYTES, 0)));
	}
}

/* Damage to the outer packet, whose last bytes are ESP. False: these are not as the peer sealed
 * them; what is in front is nobody's, and may say that it comes from elsewhere. */
static bool damage_outer(
	struct wire *script, uint8_t *ip, size_t *len, size_t esp_len, struct ip_endpoint *from)
{
	static uint8_t before[PACKET_MAX];
	size_t whole = *len, at = whole - esp_len;
	uint8_t tos;

	memcpy(before, ip, whole);
	tos = wire_u8(script);
	if (ip[0] >> 4 == 6)
		wire_store_u16(ip, (uint16_t)(0x6000 | tos << 4));
	else
		ip[1] = tos;
	*len = packet_patch(script, ip, whole);
	mend_outer(ip, *len, *len != whole && (tos & 4) != 0);
	if (*len != whole || memcmp(before + at, ip + at, esp_len) != 0)
		return false;
	if (ip[0] >> 4 == 6)
		memcpy(from->addr.bytes, ip + 8, 16);
	else
		memcpy(from->addr.bytes, ip + 12, 4);
	if (from->port != 0)
		from->port = wire_load_u16(ip + at - UDP_HDR_BYTES);
	return true;
}

struct pieces {
	struct wire *script;
	const struct world_shape *shape;
	const struct world_sealed *sealed; /* NULL: a piece of it was said */
};

static void say_piece(void *arg, const uint8_t *ip, size_t len)
{
	struct pieces *pieces = arg;

	len = make_frame(pieces->script, DP_OUTSIDE, ip, len);
	push(DP_OUTSIDE, len, pieces->shape, pieces->sealed);
	pieces->sealed = NULL;
}

/* In pieces of so many bytes, multiples of 8, behind a fragment header (RFC 8200 section 4.5). */
static void fragment_v6(const uint8_t *ip, size_t len, size_t bytes, struct pieces *pieces)
{
	static uint8_t piece[PACKET_MAX];

	for (size_t at = V6_BYTES, n; at < len; at += n) {
		n = len - at < bytes ? len - at : bytes;
		memcpy(piece, ip, V6_BYTES);
		memset(piece + V6_BYTES, 0, 8);
		piece[6] = 44;
		piece[V6_BYTES] = ip[6];
		wire_store_u16(
			piece + V6_BYTES + 2, (uint16_t)((at - V6_BYTES) | (at + n < len ? 1 : 0)));
		piece[V6_BYTES + 7] = 7;
		memcpy(piece + V6_BYTES + 8, ip + at, n);
		wire_store_u16(piece + 4, (uint16_t)(8 + n));
		say_piece(pieces, piece, V6_BYTES + 8 + n);
	}
}

/* As a whole, or in fragments. */
static void say_outer(struct wire *script, const uint8_t *ip, size_t len,
	const struct world_shape *shape, const struct world_sealed *sealed)
{
	unsigned mtu = wire_u8(script);
	struct pieces pieces = {script, shape, sealed};

	if (mtu >= 128 && len > V6_BYTES && ip[0] >> 4 == 6)
		fragment_v6(ip, len, 8 + (mtu - 128) * 8, &pieces);
	else if (mtu < 128 || ipv4_fragment(ip, len, 68 + (mtu - 128) * 8, say_piece, &pieces) <= 0)
		say_piece(&pieces, ip, len);
}

static void say_sealed(struct wire *script)
{
	unsigned node = 1 + wire_u8(script) % WORLD_NODES, how = wire_u8(script);
	struct world_shape shape = make_shape(script);
	struct sa_params sa = *world_sa_in(node);
	struct world_sealed sealed = {.node = node, .seq = make_seq(script, how, node)};
	size_t len, esp_len;
	uint8_t *ip;
	bool whole;

	world_self(node, &packet_self);
	len = packet_make(script, packet, TUNNELS_MAX);
	if (len > FRAME_MAX - 1024)
		len = FRAME_MAX - 1024;
	packet_stamp(packet, len, world_number());
	len = finish_text(script, how, packet, len, crypto_alg_infos[sa.alg].block_bytes);
	if ((how & SEAL_WRONG_KEY) != 0)
		sa.key[wire_u8(script) % crypto_material_bytes(sa.alg)] ^= 1;
	esp_len = peer_seal(&sa, sealed.seq, packet, len, sealed_packet + OUTER_MAX);
	sealed.text = packet;
	sealed.len = len;
	ip = make_outer(script, esp_len, &sealed.from, &len);
	whole = (how & SEAL_OUTER) == 0 || damage_outer(script, ip, &len, esp_len, &sealed.from);
	if (!whole || (how & SEAL_WRONG_KEY) != 0)
		sealed.node = 0;
	say_outer(script, ip, len, &shape, &sealed);
}

static struct ip_addr some_addr(struct wire *script, bool v6)
{
	return v6 ? packet_addr_v6(script) : ip_addr_from_v4(packet_addr(script));
}

static void inject(struct wire *script)
{
	unsigned how = wire_u8(script);
	enum world_way way = (enum world_way)(how % (WORLD_ONCE + 1));
	unsigned node = wire_u8(script) % (WORLD_NODES + 2);
	struct ip_endpoint remote = {0};
	struct ipv4_view view;
	size_t len;

	remote.addr = some_addr(script, (how & 0x40) != 0);
	if ((how & 0x80) != 0)
		remote.port = wire_u16(script);
	world_self(1 + node % WORLD_NODES, &packet_self);
	len = packet_make(script, packet, TUNNELS_MAX);
	packet_stamp(packet, len, world_number());
	/* The control thread makes none but these. */
	if (!ipv4_parse(packet, len, &view) || view.total_len != len ||
		len > sizeof frame - RTE_ETHER_HDR_LEN)
		return;
	if (way == WORLD_FRAME_OUT || way == WORLD_FRAME_IN) {
		memmove(frame + RTE_ETHER_HDR_LEN, packet, len);
		memset(frame, 2, 12);
		wire_store_u16(frame + 12, 0x0800);
		len += RTE_ETHER_HDR_LEN; /* of Linux: without a tag */
		world_inject(way, node, &remote, frame, len, world_number());
	} else {
		world_inject(way, node, &remote, packet, len, world_number());
	}
}

static void move(struct wire *script, unsigned node)
{
	unsigned how = wire_u8(script);
	struct ip_addr coa = some_addr(script, (how & 4) != 0);
	struct ip_endpoint nat = {0};

	if ((how & 1) != 0) {
		nat.addr = some_addr(script, (how & 8) != 0);
		nat.port = wire_u16(script);
	} else if ((how & 2) != 0) {
		coa = (struct ip_addr){0};
	}
	world_move(node, &coa, &nat, wire_u8(script) * 10u, (how & 16) != 0);
}

static void try_place(struct wire *script, unsigned node)
{
	unsigned how = wire_u8(script);
	struct ip_endpoint remote = {some_addr(script, (how & 4) != 0), 0};

	if ((how & 1) != 0)
		remote.port = wire_u16(script);
	world_try(node, &remote, wire_u16(script));
}

static void change(struct wire *script)
{
	unsigned how = wire_u8(script), node = 1 + wire_u8(script) % WORLD_NODES;

	switch (how % 6) {
	case 5:
		try_place(script, node);
		break;
	case 4:
		world_wait(wire_u8(script) * 10u);
		break;
	case 0:
		move(script, node);
		break;
	case 1:
		world_turn((enum world_kept)(node % 3));
		break;
	case 2:
		world_age(node, (how & 8) != 0, wire_u8(script));
		break;
	case 3:
		say_again(script);
		break;
	}
}

static void play(struct wire *script)
{
	last.number = 0;
	while (wire_left(script) > 0) {
		switch (wire_u8(script) % 8) {
		case 0:
			say_raw(script);
			break;
		case 1:
			say_plain(script, DP_OUTSIDE);
			break;
		case 2:
		case 3:
			say_plain(script, DP_INSIDE);
			break;
		case 4:
			inject(script);
			break;
		case 5:
			change(script);
			break;
		default:
			say_sealed(script);
			break;
		}
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	world_start();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire script = wire_over(data, size);

	if (size > SCRIPT_MAX)
		return -1;
	world_reset(wire_u8(&script));
	play(&script);
	world_turn(WORLD_RESOLVED);
	world_end();
	return 0;
}
