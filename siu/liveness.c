/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: an echo of a nonce that we made lately is the only proof that counts, both for
 * the peer's being alive and for the run it is in. What has no proof is remembered as the caller
 * and answered with its nonce, so that it can prove itself; it changes nothing else. When another
 * run is proven all own nonces are made void: what the earlier run echoed can prove nothing any
 * more.
 */
#include "siu/liveness.h"

#include "lib/clock.h"
#include "lib/hmac.h"

#include <string.h>

#define HELLO_INTERVAL_NS NS_PER_S
#define URGENT_AFTER_NS (3 * HELLO_INTERVAL_NS / 2) /* one missed, and half of one */
#define URGENT_INTERVAL_NS (250 * NS_PER_MS)
#define HELLO_MIN_GAP_NS (10 * NS_PER_MS)         /* bounds what replayed HELLOs can draw */
#define DOWN_AFTER_NS (7 * HELLO_INTERVAL_NS / 2) /* three missed, and half of one for jitter */

static const uint64_t start_intervals_ns[] = {
	50 * NS_PER_MS, 50 * NS_PER_MS, 100 * NS_PER_MS, 200 * NS_PER_MS, 400 * NS_PER_MS};
#define START_STEPS (sizeof start_intervals_ns / sizeof *start_intervals_ns)

void siu_liveness_init(struct siu_liveness *live, uint8_t role)
{
	*live = (struct siu_liveness){.role = role};
}

static bool echo_is_fresh(const struct siu_liveness *live, uint64_t echo)
{
	bool fresh = false;

	for (size_t i = 0; i < SIU_NONCES; i++)
		fresh = fresh || (echo != 0 && echo == live->nonces[i]);
	return fresh;
}

enum siu_liveness_news siu_liveness_hear(struct siu_liveness *live, const struct siu_header *header,
	const struct siu_hello *hello, uint64_t now_ns)
{
	bool same_run = live->has_peer && header->epoch == live->peer_epoch;
	bool proven = echo_is_fresh(live, hello->echo);
	bool was_up = live->up;
	bool restarted;

	if (same_run) {
		/* One recorded before our own restart may be new to the window: order keeps its
		 * nonce from taking the place of the present one. */
		if (header->sequence <= live->hello_sequence ||
			siu_replay_check(&live->replay, header->sequence) != SIU_REPLAY_NEW)
			return SIU_LIVENESS_REPLAYED;
		siu_replay_commit(&live->replay, header->sequence);
		live->hello_sequence = header->sequence;
		live->peer_nonce = hello->nonce;
	}
	live->has_caller = true;
	live->caller_epoch = header->epoch;
	live->caller_nonce = hello->nonce;
	if (!same_run || !live->up || (hello->flags & SIU_HELLO_UP) == 0) {
		live->answer_due = true;
		live->answer_ns = proven ? now_ns : live->sent_ns + HELLO_MIN_GAP_NS;
	}
	if (!proven)
		return SIU_LIVENESS_SAME;

	restarted = live->has_peer && !same_run;
	if (!same_run) {
		live->has_peer = true;
		live->peer_epoch = header->epoch;
		live->peer_nonce = hello->nonce;
		live->hello_sequence = header->sequence;
		live->replay = (struct siu_replay){0};
		siu_replay_commit(&live->replay, header->sequence);
		memset(live->nonces, 0, sizeof live->nonces);
	}
	live->heard_ns = now_ns;
	live->up = true;
	if (restarted)
		return SIU_LIVENESS_RESTARTED;
	return was_up ? SIU_LIVENESS_SAME : SIU_LIVENESS_UP;
}

enum siu_liveness_news siu_liveness_judge(struct siu_liveness *live, uint64_t now_ns)
{
	if (!live->up || now_ns < live->heard_ns + DOWN_AFTER_NS)
		return SIU_LIVENESS_SAME;
	live->up = false;
	return SIU_LIVENESS_DOWN;
}

static void nonce_renew(struct siu_liveness *live)
{
	memmove(live->nonces + 1, live->nonces, sizeof live->nonces - sizeof *live->nonces);
	do
		random_fill(&live->nonces[0], sizeof live->nonces[0]);
	while (live->nonces[0] == 0);
}

/* The peer is overdue: HELLOs were lost, or it is gone. */
static bool is_urgent(const struct siu_liveness *live, uint64_t now_ns)
{
	return live->up && now_ns >= live->heard_ns + URGENT_AFTER_NS;
}

static uint64_t interval_ns(const struct siu_liveness *live, uint64_t now_ns)
{
	if (live->step < START_STEPS && !live->up)
		return start_intervals_ns[live->step];
	return is_urgent(live, now_ns) ? URGENT_INTERVAL_NS : HELLO_INTERVAL_NS;
}

/* answer: to the caller, if that is another than the peer; else to the peer if it is up. */
static bool goes_to_peer(const struct siu_liveness *live, bool answer)
{
	return live->up && (!answer || live->caller_epoch == live->peer_epoch);
}

static void hello_send(
	struct siu_liveness *live, struct siu_outbox *out, bool answer, uint64_t now_ns)
{
	bool to_peer = goes_to_peer(live, answer);
	uint32_t proven_epoch = out->peer_epoch;
	const struct siu_hello hello = {
		.version_min = SIU_VERSION,
		.version_max = SIU_VERSION,
		.role = live->role,
		.flags = to_peer && !is_urgent(live, now_ns) ? SIU_HELLO_UP : 0,
		.nonce = live->nonces[0],
		.echo = to_peer ? live->peer_nonce : live->caller_nonce,
	};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	out->peer_epoch = to_peer ? live->peer_epoch : live->caller_epoch;
	if (siu_hello_encode(&body, &hello))
		siu_outbox_post(out, &body, SIU_HELLO);
	out->peer_epoch = proven_epoch;
	live->sent_ns = now_ns;
	if (goes_to_peer(live, true) == to_peer)
		live->answer_due = false;
}

uint64_t siu_liveness_tick(struct siu_liveness *live, struct siu_outbox *out, uint64_t now_ns)
{
	uint64_t next;

	if (now_ns >= live->due_ns) {
		nonce_renew(live);
		hello_send(live, out, false, now_ns);
		live->due_ns = now_ns + interval_ns(live, now_ns);
		live->step++;
	}
	if (live->answer_due && now_ns >= live->answer_ns) {
		if (live->nonces[0] == 0)
			nonce_renew(live);
		hello_send(live, out, true, now_ns);
	}
	next = live->due_ns;
	if (live->answer_due && live->answer_ns < next)
		next = live->answer_ns;
	if (live->up && live->heard_ns + DOWN_AFTER_NS < next)
		next = live->heard_ns + DOWN_AFTER_NS;
	return next;
}
