/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer that has the key and says anything: the fuzzer's bytes are a script of datagrams, ticks
 * and local calls, played to a gateway or a home agent (by the first byte) that is up with the
 * fuzzer's puppet.
 *
 * Each datagram gets a right length, key id and tag, so that the code behind the tag is reached;
 * epochs and sequence are put right unless the script says otherwise. The decoders are also given
 * the bytes as they are. What must hold: no fault of a sanitizer, at most max_pending entries and
 * the window of a SYNC, answers no longer than a datagram, and a ticket is handed up once.
 */
#include "lib/clock.h"
#include "siu/auth.h"
#include "siu/codec.h"

#include <stdlib.h>
#include <string.h>

#define OUR_EPOCH 7
#define PEER_EPOCH 9
#define MAX_PENDING 40

struct world {
	struct siu *siu;
	enum siu_role role;
	struct siu_key key_in; /* what the puppet tags with */
	uint64_t now_ns, sequence, nonce;
	struct siu_ticket tickets[256];
	size_t n_tickets, n_answered;
	struct siu_ticket last_ticket;
};

static void on_send(void *arg, const uint8_t *datagram, size_t len)
{
	struct world *world = arg;

	if (len < SIU_DATAGRAM_MIN || len > SIU_DATAGRAM_MAX)
		abort();
	/* The nonce of a HELLO, to echo. */
	if (datagram[1] == SIU_HELLO)
		world->nonce = wire_load_u64(datagram + SIU_HEADER_BYTES + SIU_TLV_BYTES + 8);
}

static void on_update(void *arg, const struct siu_update *update, struct siu_ticket ticket)
{
	static const uint8_t ha[4] = {10, 1, 0, 1};
	struct world *world = arg;
	struct ip_addr home_agent = {.family = 2};

	memcpy(home_agent.bytes, ha, sizeof ha);
	/* Our count of datagrams lies above the low bits (the place in the cache). */
	if (!siu_update_is_sound(update) ||
		ticket.datagram_seq / 256 < world->last_ticket.datagram_seq / 256 ||
		(ticket.datagram_seq == world->last_ticket.datagram_seq &&
			ticket.entry <= world->last_ticket.entry))
		abort();
	world->last_ticket = ticket;
	if (update->rrp != NULL && siu_rrp_acceptable(update, &home_agent) &&
		update->rrp_len > SIU_RRP_MAX)
		abort();
	if (world->n_tickets < sizeof world->tickets / sizeof *world->tickets)
		world->tickets[world->n_tickets++] = ticket;
}

static uint64_t on_next_binding(void *arg, uint64_t cursor, struct siu_update *update)
{
	(void)arg;
	if (cursor >= 300)
		return 0;
	*update = (struct siu_update){.generation = 1, .lifetime_s = 600};
	update->home_address = ip_addr_from_v4(htonl(0x0a010000u + (uint32_t)cursor));
	update->new_coa = ip_addr_from_v4(htonl(0xcb007101u));
	return cursor + 1;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

/* Length, key id, tag; then input. bytes has room for the tag. */
static void say(struct world *world, const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len);

	memcpy(exact, bytes, len);
	wire_store_u16(exact + 4, (uint16_t)len);
	wire_store_u16(exact + 6, world->key_in.id);
	if (siu_auth_seal(&world->key_in, exact, len) != 0)
		abort();
	siu_input(world->siu, exact, len, world->now_ns);
	free(exact);
}

static void say_hello(struct world *world)
{
	const struct siu_hello hello = {1, 1,
		world->role == SIU_GATEWAY ? SIU_HELLO_HOME_AGENT : SIU_HELLO_GATEWAY, SIU_HELLO_UP,
		77, world->nonce};
	struct siu_header header = {.version = 1,
		.type = SIU_HELLO,
		.epoch = PEER_EPOCH,
		.sequence = ++world->sequence,
		.peer_epoch = OUR_EPOCH,
		.count = 1};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out w = wire_into(datagram, sizeof datagram);

	wire_put_room(&w, SIU_HEADER_BYTES);
	siu_hello_encode(&w, &hello);
	wire_put_room(&w, SIU_TAG_BYTES);
	siu_header_encode(datagram, &header);
	say(world, datagram, wire_written(&w));
}

static void world_init(struct world *world, enum siu_role role)
{
	static const struct siu_callbacks callbacks = {.send = on_send,
		.update = on_update,
		.sync_begin = on_nothing,
		.sync_end = on_nothing,
		.next_binding = on_next_binding};
	struct siu_config config = {
		.role = role, .boot_epoch = OUR_EPOCH, .max_pending = MAX_PENDING};
	struct siu_key there, back;

	siu_derive_keys((const uint8_t *)"0123456789abcdef", 16, 1, &there, &back);
	config.keys_in[0] = role == SIU_GATEWAY ? there : back;
	config.keys_out[0] = role == SIU_GATEWAY ? back : there;
	*world = (struct world){.role = role, .key_in = config.keys_in[0], .now_ns = NS_PER_S};
	world->siu = siu_new(&config, &callbacks, world);
	if (world->siu == NULL)
		abort();
	siu_tick(world->siu, world->now_ns);
	say_hello(world);
	siu_tick(world->siu, world->now_ns);
}

/* A datagram of the script: its first byte says what is left as the script has it. */
static void script_datagram(struct world *world, struct wire *script)
{
	uint8_t how = wire_u8(script);
	struct wire body = wire_sub(script, wire_u16(script) % (SIU_DATAGRAM_MAX + 1));
	uint8_t datagram[SIU_DATAGRAM_MAX + SIU_HEADER_BYTES + SIU_TAG_BYTES] = {0};
	size_t len = wire_left(&body);

	if (!body.ok)
		return;
	memcpy(datagram, body.at, len);
	if (len < SIU_HEADER_BYTES)
		len = SIU_HEADER_BYTES;
	if ((how & 1) == 0) {
		datagram[0] = SIU_VERSION;
		wire_store_u32(datagram + 12, PEER_EPOCH);
		wire_store_u32(datagram + 24, OUR_EPOCH);
	}
	if ((how & 2) == 0)
		wire_store_u64(datagram + 16, ++world->sequence);
	if (len > SIU_DATAGRAM_MAX - SIU_TAG_BYTES)
		len = SIU_DATAGRAM_MAX - SIU_TAG_BYTES;
	say(world, datagram, len + SIU_TAG_BYTES);
}

static void script_local(struct world *world, struct wire *script)
{
	uint8_t node = wire_u8(script);
	uint8_t flags = wire_u8(script);
	struct siu_update update = {.generation = wire_u8(script),
		.flags = flags,
		.home_address = ip_addr_from_v4(htonl(0x0a010000u + node % 64)),
		.new_coa = ip_addr_from_v4(htonl(0xcb007100u + flags))};
	struct siu_ack_entry ack = {.result = (enum siu_result)flags};

	if (world->role == SIU_GATEWAY) {
		if (world->n_answered < world->n_tickets) {
			ack.home_address = update.home_address;
			siu_ack(world->siu, world->tickets[world->n_answered++], &ack);
		}
		return;
	}
	if ((flags & 0x40) != 0) {
		siu_forget(world->siu, &update.home_address);
	} else {
		update.rrp = (flags & 0x20) != 0 ? script->at : NULL;
		update.rrp_len = update.rrp != NULL ? wire_left(script) : 0;
		if (update.rrp_len > SIU_RRP_MAX || update.rrp_len == 0)
			update.rrp = NULL;
		if (update.rrp == NULL)
			update.rrp_len = 0;
		if (siu_update(world->siu, &update, world->now_ns) < -200)
			abort();
	}
}

static void play(enum siu_role role, const uint8_t *data, size_t size)
{
	struct wire script = wire_over(data, size);
	struct siu_stats stats;
	struct world world;

	world_init(&world, role);
	while (wire_left(&script) > 0) {
		switch (wire_u8(&script) % 4) {
		case 0:
			world.now_ns += wire_u8(&script) * 20 * NS_PER_MS;
			siu_tick(world.siu, world.now_ns);
			break;
		case 1:
			say_hello(&world);
			siu_tick(world.siu, world.now_ns);
			break;
		case 2:
			script_datagram(&world, &script);
			break;
		case 3:
			script_local(&world, &script);
			break;
		}
	}
	siu_tick(world.siu, world.now_ns);
	siu_get_stats(world.siu, &stats);
	if (stats.pending > MAX_PENDING + 256)
		abort();
	siu_free(world.siu);
}

static void decode_all(const uint8_t *data, size_t size)
{
	struct wire entry = wire_over(data, size);
	struct siu_header header;
	struct siu_update update;
	struct siu_ack_entry ack;
	struct siu_hello hello;
	struct siu_rrq_seen seen;
	struct siu_event event;
	struct siu_sync_message sync;
	uint64_t reference;
	uint8_t again[2048];
	struct wire_out w = wire_into(again, sizeof again);

	(void)siu_header_decode(data, size, &header);
	(void)siu_ack_decode(entry, &ack, &reference);
	(void)siu_hello_decode(entry, &hello);
	(void)siu_rrq_seen_decode(entry, &seen);
	(void)siu_event_decode(entry, &event);
	(void)siu_sync_decode(entry, &sync);
	/* What was decoded is encoded and decoded to the same. */
	if (siu_update_decode(entry, &update, &reference) == SIU_RESULT_OK) {
		struct siu_update copy;
		uint64_t same;

		if (!siu_update_encode(&w, &update, reference) ||
			siu_update_decode(
				wire_over(again + SIU_TLV_BYTES, wire_written(&w) - SIU_TLV_BYTES),
				&copy, &same) != SIU_RESULT_OK ||
			same != reference || copy.generation != update.generation ||
			copy.rrp_len != update.rrp_len ||
			!ip_addr_equal(&copy.new_coa, &update.new_coa))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 8192)
		return 0;
	decode_all(data, size);
	play((data[0] & 1) == 0 ? SIU_GATEWAY : SIU_HOME_AGENT, data + 1, size - 1);
	return 0;
}
