/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_CODEC_H
#define SIU_CODEC_H
/*
 * Wire format of SIU: header, TLVs and message bodies to and from structs. No I/O, no state.
 *
 * Values, any thread; decoded pointers point into the datagram. Decoders are called behind the tag
 * check only (siu/auth.h), or to see whether a tag is worth computing. They return SIU_RESULT_OK,
 * SIU_RESULT_MALFORMED, SIU_RESULT_UNKNOWN_TLV or (header) SIU_RESULT_BAD_VERSION. Encoders write
 * nothing at all when there is no room. Sources:  siu/README.md sections 2 and 4.
 */
#include "lib/wire.h"
#include "siu/siu.h"

#define SIU_HEADER_BYTES 32
#define SIU_TLV_BYTES 4 /* type and length */
#define SIU_DATAGRAM_MIN (SIU_HEADER_BYTES + SIU_TAG_BYTES)
#define SIU_ENTRIES_MAX 32      /* in a datagram */
#define SIU_MUST_MASK16 0xff00u /* flags that must be understood */

enum siu_tlv {
	SIU_TLV_MUST = 0x8000,  /* bit: understand or refuse */
	SIU_TLV_ENTRY = 0x8000, /* + enum siu_type: what the header's count counts */
	SIU_TLV_INNER = 0x8100, /* the ones below */
	SIU_TLV_HOME_ADDRESS = 0x8101,
	SIU_TLV_FORMER_COA = 0x8102,
	SIU_TLV_NEW_COA = 0x8103,
	SIU_TLV_COA = 0x8104,
	SIU_TLV_OBSERVED = 0x8105,
	SIU_TLV_RRP = 0x8106,
};

struct siu_header {
	uint8_t version, type;
	uint16_t flags, length, key_id;
	uint32_t sender_id, epoch;
	uint64_t sequence;
	uint32_t peer_epoch; /* the receiver's run */
	uint16_t count;
};

enum siu_hello_role { SIU_HELLO_HOME_AGENT = 1, SIU_HELLO_GATEWAY = 2 };
#define SIU_HELLO_UP 0x01u
struct siu_hello {
	uint8_t version_min, version_max, role, flags;
	uint64_t nonce, echo;
};

enum siu_sync_step {
	SIU_SYNC_BEGIN = 1,
	SIU_SYNC_END = 2,
	SIU_SYNC_BEGIN_ACK = 3,
	SIU_SYNC_END_ACK = 4,
};
struct siu_sync_message {
	uint32_t id;
	uint8_t step;
	enum siu_result result;
};

/* Any version's length field must be len; the fields behind byte 7 are this version's. */
enum siu_result siu_header_decode(const uint8_t *datagram, size_t len, struct siu_header *out);
void siu_header_encode(uint8_t at[SIU_HEADER_BYTES], const struct siu_header *header);

/* The TLVs between header and tag: framing, and that there are count entries of this type. */
enum siu_result siu_body_check(const uint8_t *body, size_t len, uint8_t type, uint16_t count);
/* Next entry of the type, in a checked body, which *body walks through. False: no more. */
bool siu_body_next(struct wire *body, uint8_t type, struct wire *entry);

/* *reference and *out hold what could be read, also on failure (to answer with). */
enum siu_result siu_update_decode(struct wire entry, struct siu_update *out, uint64_t *reference);
enum siu_result siu_ack_decode(struct wire entry, struct siu_ack_entry *out, uint64_t *reference);
enum siu_result siu_hello_decode(struct wire entry, struct siu_hello *out);
enum siu_result siu_rrq_seen_decode(struct wire entry, struct siu_rrq_seen *out);
enum siu_result siu_event_decode(struct wire entry, struct siu_event *out);
enum siu_result siu_sync_decode(struct wire entry, struct siu_sync_message *out);

/* One whole entry TLV. False: no room, *w is as before. */
bool siu_update_encode(struct wire_out *w, const struct siu_update *update, uint64_t reference);
bool siu_ack_encode(struct wire_out *w, const struct siu_ack_entry *ack, uint64_t reference);
bool siu_hello_encode(struct wire_out *w, const struct siu_hello *hello);
bool siu_rrq_seen_encode(struct wire_out *w, const struct siu_rrq_seen *seen);
bool siu_event_encode(struct wire_out *w, const struct siu_event *event);
bool siu_sync_encode(struct wire_out *w, const struct siu_sync_message *sync);

/* Do flags, lifetime, addresses and RRP go together (README section 4, UPDATE)? */
bool siu_update_is_sound(const struct siu_update *update);
#endif
