/* SPDX-License-Identifier: BSD-3-Clause */
/* What the gate lets by, field by field. */
#include "siu/gate.h"

#include "siu/codec.h"
#include "tests/unit/lib/unit.h"

#define PEER 7 /* epochs */
#define OWN 9
#define TOP 100000
#define NONCE 0x1122334455667788u

static struct siu_gate gate;

static void set(bool up)
{
	const struct siu_liveness live = {
		.up = up, .peer_epoch = PEER, .replay.top = TOP, .nonces = {1, NONCE}};

	siu_gate_set(&gate, &live, OWN);
}

static bool admits(uint8_t type, uint32_t epoch, uint32_t peer_epoch, uint64_t sequence,
	uint64_t echo, size_t len)
{
	uint8_t datagram[SIU_DATAGRAM_MAX + 1] = {0};
	struct wire_out body = wire_into(
		datagram + SIU_HEADER_BYTES, sizeof datagram - SIU_HEADER_BYTES);
	const struct siu_hello hello = {.version_min = SIU_VERSION,
		.version_max = SIU_VERSION,
		.role = SIU_HELLO_HOME_AGENT,
		.nonce = 5,
		.echo = echo};
	struct siu_header header = {.version = SIU_VERSION,
		.type = type,
		.key_id = 1,
		.epoch = epoch,
		.peer_epoch = peer_epoch,
		.sequence = sequence,
		.count = 1};

	CU_ASSERT_FATAL(siu_hello_encode(&body, &hello));
	if (len == 0)
		len = SIU_DATAGRAM_MIN + (size_t)(body.at - body.start);
	header.length = (uint16_t)len;
	siu_header_encode(datagram, &header);
	return siu_gate_admits(&gate, datagram, len);
}

static void test_rows(void)
{
	static const struct {
		const char *name;
		uint8_t type;
		uint32_t epoch, peer_epoch;
		uint64_t sequence, echo;
		size_t len;    /* 0: the right one */
		bool up, down; /* admitted while the association is up, is down */
	} rows[] = {
		{"next", SIU_UPDATE, PEER, OWN, TOP + 1, 0, 0, true, false},
		{"furthest ahead", SIU_UPDATE, PEER, OWN, TOP + SIU_GATE_NEAR, 0, 0, true, false},
		{"beyond", SIU_UPDATE, PEER, OWN, TOP + SIU_GATE_NEAR + 1, 0, 0, false, false},
		{"in the window", SIU_UPDATE, PEER, OWN, TOP - SIU_REPLAY_WINDOW + 1, 0, 0, true,
			false},
		{"left of it", SIU_UPDATE, PEER, OWN, TOP - SIU_REPLAY_WINDOW, 0, 0, false, false},
		{"another run of the peer", SIU_UPDATE, PEER + 1, OWN, TOP + 1, 0, 0, false, false},
		{"another run of ours", SIU_UPDATE, PEER, OWN + 1, TOP + 1, 0, 0, false, false},
		{"runs changed over", SIU_UPDATE, OWN, PEER, TOP + 1, 0, 0, false, false},
		{"HELLO, our nonce", SIU_HELLO, PEER + 1, OWN, 1, NONCE, 0, true, true},
		{"HELLO, another", SIU_HELLO, PEER, OWN, TOP + 1, NONCE + 1, 0, false, false},
		{"HELLO, none", SIU_HELLO, PEER, OWN, TOP + 1, 0, 0, false, false},
		{"too short", SIU_UPDATE, PEER, OWN, TOP + 1, 0, SIU_DATAGRAM_MIN - 1, false,
			false},
		{"too long", SIU_UPDATE, PEER, OWN, TOP + 1, 0, SIU_DATAGRAM_MAX + 1, false, false},
		{"HELLO that is cut", SIU_HELLO, PEER, OWN, TOP + 1, NONCE, SIU_DATAGRAM_MIN + 4,
			false, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		set(true);
		CHECK_ROW(rows[i].name,
			admits(rows[i].type, rows[i].epoch, rows[i].peer_epoch, rows[i].sequence,
				rows[i].echo, rows[i].len) == rows[i].up);
		set(false);
		CHECK_ROW(rows[i].name,
			admits(rows[i].type, rows[i].epoch, rows[i].peer_epoch, rows[i].sequence,
				rows[i].echo, rows[i].len) == rows[i].down);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"fields", test_rows},
		{NULL, NULL},
	};

	return unit_run("siu/gate", cases);
}
