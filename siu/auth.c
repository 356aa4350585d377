/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: HMAC-SHA-256 over everything before the tag. The window is a ring of bits twice
 * as long as the window, so that the words ahead of the highest sequence can be cleared as it moves
 * on without touching one that is still inside (RFC 6479).
 */
#include "siu/auth.h"

#include "lib/hmac.h"
#include "lib/wire.h"
#include "siu/codec.h"

#include <errno.h>
#include <string.h>

#define LENGTH_AT 4 /* the same in every version: README section 2 */
#define KEY_ID_AT 6

static const char derive_label[] = "roamgate siu 1";

static void derive(
	const uint8_t *secret, size_t len, uint16_t id, uint8_t direction, struct siu_key *out)
{
	uint8_t tail[3] = {direction, (uint8_t)(id >> 8), (uint8_t)id};
	const struct hmac_part parts[] = {
		{derive_label, sizeof derive_label - 1},
		{tail, sizeof tail},
	};
	uint8_t tag[HMAC_BYTES_MAX];

	*out = (struct siu_key){.id = id};
	if (hmac_compute(HMAC_SHA256, secret, len, parts, 2, tag) == 0) {
		memcpy(out->bytes, tag, HMAC_SHA256_BYTES);
		out->len = HMAC_SHA256_BYTES;
	}
	secret_wipe(tag, sizeof tag);
}

void siu_derive_keys(const uint8_t *secret, size_t len, uint16_t id, struct siu_key *ha_to_gw,
	struct siu_key *gw_to_ha)
{
	derive(secret, len, id, 1, ha_to_gw);
	derive(secret, len, id, 2, gw_to_ha);
}

static int tag_compute(
	const struct siu_key *key, const uint8_t *datagram, size_t len, uint8_t tag[HMAC_BYTES_MAX])
{
	const struct hmac_part part = {datagram, len - SIU_TAG_BYTES};

	return hmac_compute(HMAC_SHA256, key->bytes, key->len, &part, 1, tag);
}

enum siu_auth_verdict siu_auth_check(
	const struct siu_key keys[2], const uint8_t *datagram, size_t len)
{
	enum siu_auth_verdict verdict = SIU_AUTH_UNKNOWN_KEY;
	uint8_t tag[HMAC_BYTES_MAX];

	if (len < SIU_DATAGRAM_MIN || len > SIU_DATAGRAM_MAX ||
		wire_load_u16(datagram + LENGTH_AT) != len)
		return SIU_AUTH_BAD_LENGTH;
	for (size_t i = 0; i < 2 && verdict != SIU_AUTH_OK; i++) {
		if (keys[i].len == 0 || keys[i].id != wire_load_u16(datagram + KEY_ID_AT))
			continue;
		if (tag_compute(&keys[i], datagram, len, tag) == 0 &&
			hmac_equal(tag, datagram + len - SIU_TAG_BYTES, SIU_TAG_BYTES))
			verdict = SIU_AUTH_OK;
		else
			verdict = SIU_AUTH_BAD_TAG;
	}
	return verdict;
}

int siu_auth_seal(const struct siu_key *key, uint8_t *datagram, size_t len)
{
	uint8_t tag[HMAC_BYTES_MAX];
	int ret = tag_compute(key, datagram, len, tag);

	if (ret == 0)
		memcpy(datagram + len - SIU_TAG_BYTES, tag, SIU_TAG_BYTES);
	return ret;
}

static size_t word_of(uint64_t sequence)
{
	return (size_t)(sequence / 64 % SIU_REPLAY_WORDS);
}

enum siu_replay_verdict siu_replay_check(const struct siu_replay *replay, uint64_t sequence)
{
	if (sequence == 0)
		return SIU_REPLAY_OLD;
	if (sequence > replay->top)
		return SIU_REPLAY_NEW;
	if (replay->top - sequence >= SIU_REPLAY_WINDOW)
		return SIU_REPLAY_OLD;
	if ((replay->words[word_of(sequence)] >> (sequence % 64) & 1) != 0)
		return SIU_REPLAY_SEEN;
	return SIU_REPLAY_NEW;
}

void siu_replay_commit(struct siu_replay *replay, uint64_t sequence)
{
	if (sequence > replay->top) {
		uint64_t steps = sequence / 64 - replay->top / 64;

		for (uint64_t i = 0; i < steps && i < SIU_REPLAY_WORDS; i++)
			replay->words[word_of(sequence - i * 64)] = 0;
		replay->top = sequence;
	}
	replay->words[word_of(sequence)] |= UINT64_C(1) << (sequence % 64);
}
