/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_AUTH_H
#define SIU_AUTH_H
/*
 * Tag of a datagram and replay window of a peer's run.
 *
 * Owner:    the association; control thread. Values, nothing allocated here.
 * Sources:  siu/README.md sections 2 (tag) and 3 (window); RFC 6479 (window without shifting).
 */
#include "siu/association.h"

enum siu_auth_verdict { SIU_AUTH_OK, SIU_AUTH_BAD_LENGTH, SIU_AUTH_UNKNOWN_KEY, SIU_AUTH_BAD_TAG };

/* Length field, key id, tag: nothing else of the datagram is looked at. */
enum siu_auth_verdict siu_auth_check(
	const struct siu_key keys[2], const uint8_t *datagram, size_t len);
/* Puts the tag into the last SIU_TAG_BYTES of the datagram of len bytes, which has key->id in its
 * header. -EIO: libcrypto failed. */
int siu_auth_seal(const struct siu_key *key, uint8_t *datagram, size_t len)
	__attribute__((warn_unused_result));

#define SIU_REPLAY_WINDOW 1024 /* sequence numbers */
#define SIU_REPLAY_WORDS (2 * SIU_REPLAY_WINDOW / 64)

struct siu_replay {
	uint64_t top; /* highest accepted; 0: none */
	uint64_t words[SIU_REPLAY_WORDS];
};

enum siu_replay_verdict { SIU_REPLAY_NEW, SIU_REPLAY_SEEN, SIU_REPLAY_OLD };
enum siu_replay_verdict siu_replay_check(const struct siu_replay *replay, uint64_t sequence);
void siu_replay_commit(struct siu_replay *replay, uint64_t sequence); /* after NEW only */
#endif
