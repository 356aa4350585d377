/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_OUTBOX_H
#define SIU_OUTBOX_H
/*
 * How a datagram leaves: header, next sequence number, tag, callback.
 *
 * Owner:    the association; the other modules borrow it. Control thread.
 * Sources:  siu/README.md section 2.
 */
#include "lib/wire.h"
#include "siu/association.h"

struct siu_outbox {
	/* const after siu_new() */
	uint32_t sender_id, epoch;
	void (*send)(void *arg, const uint8_t *datagram, size_t len);
	void *arg;
	struct siu_stats *stats;
	/* changing */
	struct siu_key key;  /* by siu_set_keys() alone */
	uint32_t peer_epoch; /* the proven run of the peer */
	uint64_t sequence;   /* last one used */
};

/* A writer for the TLVs, with room for header and tag left aside. */
struct wire_out siu_outbox_open(uint8_t datagram[SIU_DATAGRAM_MAX]);
/* Header and tag around what was written. Returns the length, 0: libcrypto failed. */
size_t siu_outbox_seal(
	struct siu_outbox *out, const struct wire_out *body, enum siu_type type, uint16_t count);
void siu_outbox_send(struct siu_outbox *out, const uint8_t *datagram, size_t len);
/* Seals and sends a datagram with one entry. */
void siu_outbox_post(struct siu_outbox *out, const struct wire_out *body, enum siu_type type);
#endif
