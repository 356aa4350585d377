/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a caller opens a buffer, writes entries, and seals: only then does the datagram
 * get its sequence number, so numbers are given in the order of sending and none is left out.
 */
#include "siu/outbox.h"

#include "siu/auth.h"
#include "siu/codec.h"

struct wire_out siu_outbox_open(uint8_t datagram[SIU_DATAGRAM_MAX])
{
	struct wire_out body = wire_into(datagram, SIU_DATAGRAM_MAX - SIU_TAG_BYTES);

	wire_put_room(&body, SIU_HEADER_BYTES);
	return body;
}

size_t siu_outbox_seal(
	struct siu_outbox *out, const struct wire_out *body, enum siu_type type, uint16_t count)
{
	size_t len = wire_written(body) + SIU_TAG_BYTES;
	const struct siu_header header = {
		.version = SIU_VERSION,
		.type = (uint8_t)type,
		.length = (uint16_t)len,
		.key_id = out->key.id,
		.sender_id = out->sender_id,
		.epoch = out->epoch,
		.sequence = out->sequence + 1,
		.peer_epoch = out->peer_epoch,
		.count = count,
	};

	siu_header_encode(body->start, &header);
	if (siu_auth_seal(&out->key, body->start, len) != 0)
		return 0;
	out->sequence++;
	return len;
}

void siu_outbox_send(struct siu_outbox *out, const uint8_t *datagram, size_t len)
{
	out->stats->tx++;
	out->send(out->arg, datagram, len);
}

void siu_outbox_post(struct siu_outbox *out, const struct wire_out *body, enum siu_type type)
{
	size_t len = siu_outbox_seal(out, body, type, 1);

	if (len != 0)
		siu_outbox_send(out, body->start, len);
}
