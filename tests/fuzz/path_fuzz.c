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
#define OUTER_MAX 28 /* IPv4 and UDP */

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
	size_t behind = (how & 1) != 0 ? packet_len(script) : 0;

	last.number = 0;
	if (len > FRAME_MAX)
		len = FRAME_MAX;
	if (len + behind > FRAME_MAX)
		behind = FRAME_MAX - len;
	memcpy(frame, world_mac(port), 6);
	memset(frame + 6, 2, 6);
	wire_store_u16(frame + 12, 0x0800);
	if ((how & 14) == 14)
		for (unsigned i = 0; i < 6; i++)
			frame[i] = wire_u8(script);
	if ((how & 0x30) == 0x30) {
		static const uint16_t types[] = {0x0806, 0x86dd, 0x8100, 0x88a8};

		wire_store_u16(frame + 12, types[how >> 6]);
	}
	memcpy(frame + RTE_ETHER_HDR_LEN, ip, len);
	memset(frame + RTE_ETHER_HDR_LEN + len, 0, behind);
	return RTE_ETHER_HDR_LEN + len + behind;
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
	size_t len = packet_len(script);
	const uint8_t *bytes;

	if (len > wire_left(script))
		len = wire_left(script);
	bytes = wire_take(script, len);
	if (bytes != NULL)
		memcpy(frame, bytes, len);
	if (len > RTE_ETHER_HDR_LEN)
		packet_stamp(frame + RTE_ETHER_HDR_LEN, len - RTE_ETHER_HDR_LEN, world_number());
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
	text[len++] = (how & SEAL_NEXT_HEADER) == 0 ? 4 : (pad = wire_u8(script)) < 128 ? 59 : pad;
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

static void sum_udp(uint8_t *ip, size_t len)
{
	struct ip_addr src = {.family = AF_INET}, dst = {.family = AF_INET};
	size_t udp_len = len - IPV4_HDR_BYTES;

	memcpy(src.bytes, ip + 12, 4);
	memcpy(dst.bytes, ip + 16, 4);
	wire_store_u16(ip + IPV4_HDR_BYTES + 6,
		inet_fold(inet_sum(ip + IPV4_HDR_BYTES, udp_len,
			inet_pseudo_sum(&src, &dst, 17, (uint32_t)udp_len))));
}

/* The outer packet of what lies behind OUTER_MAX; returns where it begins. */
static uint8_t *make_outer(
	struct wire *script, size_t esp_len, struct ip_endpoint *from, size_t *len)
{
	unsigned how = wire_u8(script);
	struct ip_addr dst = ip_addr_from_v4(htonl(0xc0000201));
	uint8_t *ip = sealed_packet + OUTER_MAX - IPV4_HDR_BYTES;

	*len = IPV4_HDR_BYTES + esp_len;
	from->addr = ip_addr_from_v4(packet_addr(script));
	if ((how & 1) != 0) {
		ip -= UDP_HDR_BYTES;
		*len += make_outer_udp(script, ip + IPV4_HDR_BYTES, esp_len, &from->port);
	}
	ipv4_build(ip, &from->addr, &dst, (how & 1) != 0 ? 17 : 50, 64, 0, 7, 0, (uint16_t)*len);
	if ((how & 3) == 3)
		sum_udp(ip, *len);
	return ip;
}

/* Damage to the outer packet, whose last bytes are ESP. False: these are not as the peer sealed
 * them; what is in front is nobody's, and may say that it comes from elsewhere. */
static bool damage_outer(
	struct wire *script, uint8_t *ip, size_t *len, size_t esp_len, struct ip_endpoint *from)
{
	static uint8_t before[PACKET_MAX];
	size_t whole = *len;
	uint8_t tos;

	memcpy(before, ip, whole);
	tos = wire_u8(script);
	ip[1] = tos;
	*len = packet_patch(script, ip, whole);
	if (*len >= IPV4_HDR_BYTES) {
		if (*len != whole && (tos & 4) != 0)
			wire_store_u16(ip + 2, (uint16_t)*len);
		wire_store_u16(ip + 10, 0);
		wire_store_u16(ip + 10, inet_fold(inet_sum(ip, IPV4_HDR_BYTES, 0)));
	}
	if (*len != whole || memcmp(before + whole - esp_len, ip + whole - esp_len, esp_len) != 0)
		return false;
	memcpy(from->addr.bytes, ip + 12, 4);
	from->port = ip[9] == 17 ? wire_load_u16(ip + IPV4_HDR_BYTES) : 0;
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

/* As a whole, or in fragments. */
static void say_outer(struct wire *script, const uint8_t *ip, size_t len,
	const struct world_shape *shape, const struct world_sealed *sealed)
{
	unsigned mtu = wire_u8(script);
	struct pieces pieces = {script, shape, sealed};

	if (mtu < 128 || ipv4_fragment(ip, len, 68 + (mtu - 128) * 8, say_piece, &pieces) <= 0)
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

static void inject(struct wire *script)
{
	unsigned how = wire_u8(script);
	enum world_way way = (enum world_way)(how % (WORLD_ONCE + 1));
	unsigned node = wire_u8(script) % (WORLD_NODES + 2);
	struct ip_endpoint remote = {ip_addr_from_v4(packet_addr(script)), 0};
	struct ipv4_view view;
	size_t len;

	if ((how & 0x80) != 0)
		remote.port = wire_u16(script);
	world_self(1 + node % WORLD_NODES, &packet_self);
	len = packet_make(script, packet, TUNNELS_MAX);
	packet_stamp(packet, len, world_number());
	/* The control thread makes none but these. */
	if (!ipv4_parse(packet, len, &view) || view.total_len != len)
		return;
	if (way == WORLD_FRAME_OUT || way == WORLD_FRAME_IN) {
		len = make_frame(
			script, way == WORLD_FRAME_OUT ? DP_OUTSIDE : DP_INSIDE, packet, len);
		world_inject(way, node, &remote, frame, len, world_number());
	} else {
		world_inject(way, node, &remote, packet, len, world_number());
	}
}

static void move(struct wire *script, unsigned node)
{
	unsigned how = wire_u8(script);
	struct ip_addr coa = ip_addr_from_v4(packet_addr(script));
	struct ip_endpoint nat = {0};

	if ((how & 1) != 0)
		nat = (struct ip_endpoint){ip_addr_from_v4(packet_addr(script)), wire_u16(script)};
	else if ((how & 2) != 0)
		coa = (struct ip_addr){0};
	world_move(node, &coa, &nat, wire_u8(script) * 10u);
}

static void change(struct wire *script)
{
	unsigned how = wire_u8(script), node = 1 + wire_u8(script) % WORLD_NODES;

	switch (how % 5) {
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
