/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each node has a time for its next dummy, drawn evenly from 0 to twice the mean,
 * so that they make no pattern. Times and lengths come from the kernel's generator, many at once:
 * a weaker one would give itself away, and with it which packets are real.
 */
#include "control/gw/dummies.h"

#include "dataplane/esp/esp.h"
#include "lib/clock.h"
#include "lib/hmac.h"

#include <stdlib.h>

#define RANDOM_KEPT 64
#define DUMMY_BYTES_MIN 40 /* an acknowledgement of TCP */
#define DUMMY_BYTES_MAX 9000
#define DUMMY_DF 0x40 /* most packets have it */
#define LATE_NS NS_PER_S

struct dummies {
	struct dataplane *dp;    /* lent */
	struct tunnels *tunnels; /* lent */
	uint32_t random[RANDOM_KEPT];
	unsigned n_random; /* not used yet */
};

struct dummies *dummies_new(struct dataplane *dp, struct tunnels *tunnels)
{
	struct dummies *dummies = calloc(1, sizeof *dummies);

	if (dummies != NULL)
		*dummies = (struct dummies){.dp = dp, .tunnels = tunnels};
	return dummies;
}

void dummies_free(struct dummies *dummies)
{
	free(dummies);
}

/* 0..limit - 1; limit is far below 2^32. */
static uint32_t random_below(struct dummies *dummies, uint32_t limit)
{
	if (dummies->n_random == 0) {
		random_fill(dummies->random, sizeof dummies->random);
		dummies->n_random = RANDOM_KEPT;
	}
	return (uint32_t)((uint64_t)dummies->random[--dummies->n_random] * limit >> 32);
}

static bool has_live_sa(const struct tunnel *tunnel)
{
	const struct tunnel_sa *sa = tunnel->sas;

	while (sa != NULL && (sa->inbound || !tunnel_sa_is_current(sa)))
		sa = sa->next;
	return sa != NULL && !sa->ended;
}

/* Bytes of the longest that its path takes; 0: none may be sent now. A path that is not confirmed
 * has no credit to waste. */
static uint32_t room_of(const struct tunnel *tunnel)
{
	/* The control thread is the only writer of both pointers. */
	const struct path *path = atomic_load_explicit(&tunnel->node->path, memory_order_relaxed);
	const struct sa_out *sa = atomic_load_explicit(&tunnel->node->sa_out, memory_order_relaxed);
	uint32_t room;

	if ((path->flags & (PATH_CLOSED | PATH_ON_CREDIT)) != 0 || sa == NULL ||
		!has_live_sa(tunnel))
		return 0;
	room = esp_inner_max((enum crypto_alg)sa->alg, path->outer.len, path->mtu);
	return room < DUMMY_BYTES_MAX ? room : DUMMY_BYTES_MAX;
}

static bool send_one(struct dummies *dummies, const struct tunnel *tunnel)
{
	static const uint8_t dummy[DUMMY_BYTES_MAX] = {ESP_DUMMY_BYTE, [6] = DUMMY_DF};
	const uint32_t room = room_of(tunnel);

	if (room < DUMMY_BYTES_MIN)
		return false;
	return dataplane_send_to_node(dummies->dp, tunnel->handle, dummy,
		       DUMMY_BYTES_MIN + random_below(dummies, room - DUMMY_BYTES_MIN + 1),
		       false) == 0;
}

/* From when it was due, so that a late turn costs no rate; one far behind begins anew. */
static void set_next(struct dummies *dummies, const struct tunnel *tunnel, uint64_t now_ns)
{
	const uint64_t due_ns = tunnel_dummy_at(dummies->tunnels, tunnel);
	const uint32_t twice_mean_ns = (uint32_t)(2 * NS_PER_S / tunnel->tfc.dummies);

	tunnel_set_dummy(dummies->tunnels, tunnel,
		(due_ns + LATE_NS < now_ns ? now_ns : due_ns) +
			random_below(dummies, twice_mean_ns));
}

unsigned dummies_turn(struct dummies *dummies, uint64_t now_ns)
{
	const struct tunnel *tunnel;
	unsigned sent = 0;

	for (unsigned i = 0;
		i < DUMMIES_A_TURN && (tunnel = tunnel_dummy_due(dummies->tunnels, now_ns)) != NULL;
		i++) {
		sent += send_one(dummies, tunnel);
		set_next(dummies, tunnel, now_ns);
	}
	return sent;
}
