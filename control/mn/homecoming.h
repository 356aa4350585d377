/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_HOMECOMING_H
#define CONTROL_MN_HOMECOMING_H
/*
 * Is the node really at home? Any network can hand out the home address, so the address alone is a
 * claim. Only the home agent's authenticated acceptance of a deregistration that was sent on that
 * very link makes it the home link; until then the node is where it would be without it.
 *
 * No I/O, no clock of its own. Owner and thread: mobile.c, the loop's; what homecoming_init() is
 * given must outlive it. Sources: RFC 5944 sections 3.6.1.2, 3.7 and 5.
 */
#include "control/mn/movement.h"
#include "control/mn/registration.h"

struct homecoming {
	struct home_claim claim;
	uint64_t claimed_ns;
	bool trusted;
	struct registration registration; /* the deregistration */
};

void homecoming_init(struct homecoming *h, const struct registration_conf *conf,
	struct registration_memory *memory);

/* Looks whether the claim is another than before: True; then nothing is trusted any more, and a
 * deregistration is due on the claim's interface if there is one. */
bool homecoming_look(struct homecoming *h, const struct movement *movement, uint64_t now_ns);
/* A UDP payload from that interface; as registration_reply(). */
enum registration_result homecoming_reply(struct homecoming *h, const uint8_t *data, size_t len,
	uint64_t now_ns, uint64_t real_ns, uint8_t *code);

/* Home if that is trusted, else as movement_place(). */
struct place homecoming_place(const struct homecoming *h, const struct movement *movement);
/* Claimed and not answered yet. */
bool homecoming_is_pending(const struct homecoming *h);
#endif
