/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a HELLO must echo a nonce of ours; all else names both ends' runs and a sequence
 * that may come next. An outsider knows neither: nonces are random, and a run's sequences begin at
 * a random number.
 */
#include "siu/gate.h"

#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

static uint64_t runs_of(uint32_t peer, uint32_t own)
{
	return (uint64_t)peer << 32 | own;
}

void siu_gate_set(struct siu_gate *gate, const struct siu_liveness *live, uint32_t own_epoch)
{
	STORE(gate->runs, live->up ? runs_of(live->peer_epoch, own_epoch) : 0);
	STORE(gate->top, live->replay.top);
	for (size_t i = 0; i < SIU_NONCES; i++)
		STORE(gate->nonces[i], live->nonces[i]);
}

static bool is_answer(const struct siu_gate *gate, const uint8_t *datagram, size_t len)
{
	struct wire body = wire_over(datagram + SIU_HEADER_BYTES, len - SIU_DATAGRAM_MIN);
	struct siu_hello hello;
	struct wire entry;
	bool found = false;

	if (!siu_body_next(&body, SIU_HELLO, &entry) ||
		siu_hello_decode(entry, &hello) != SIU_RESULT_OK || hello.echo == 0)
		return false;
	for (size_t i = 0; i < SIU_NONCES; i++)
		found = found || hello.echo == LOAD(gate->nonces[i]);
	return found;
}

bool siu_gate_admits(const struct siu_gate *gate, const uint8_t *datagram, size_t len)
{
	const uint64_t runs = LOAD(gate->runs), top = LOAD(gate->top);
	struct siu_header header;

	if (len < SIU_DATAGRAM_MIN || len > SIU_DATAGRAM_MAX ||
		siu_header_decode(datagram, len, &header) != SIU_RESULT_OK)
		return false;
	if (header.type == SIU_HELLO)
		return is_answer(gate, datagram, len);
	return runs != 0 && runs_of(header.epoch, header.peer_epoch) == runs &&
	       header.sequence + SIU_REPLAY_WINDOW > top && header.sequence <= top + SIU_GATE_NEAR;
}
