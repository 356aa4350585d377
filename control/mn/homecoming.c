/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: trust belongs to one stay of the address on a link that was up all the time; any
 * interruption is another claim (movement.c numbers them), since another network may be behind it.
 *
 * While the claim is open the node may go on registering through its tunnel. If such a request is
 * later than the accepted deregistration, the home agent may believe the node away again: then it
 * is told once more.
 */
#include "control/mn/homecoming.h"

#include "lib/clock.h"

void homecoming_init(struct homecoming *h, const struct registration_conf *conf,
	struct registration_memory *memory)
{
	*h = (struct homecoming){0};
	registration_init(&h->registration, conf, memory);
}

bool homecoming_look(struct homecoming *h, const struct movement *movement, uint64_t now_ns)
{
	static const struct home_claim none;
	struct home_claim claim = movement_home(movement, h->trusted ? &h->claim : &none);

	if (claim.ifindex == h->claim.ifindex && claim.since == h->claim.since)
		return false;
	h->claim = claim;
	h->claimed_ns = now_ns;
	h->trusted = false;
	if (claim.ifindex != 0)
		registration_go_home(&h->registration, now_ns);
	else
		registration_stop(&h->registration);
	return true;
}

enum registration_result homecoming_reply(struct homecoming *h, const uint8_t *data, size_t len,
	uint64_t now_ns, uint64_t real_ns, uint8_t *code)
{
	struct registration *reg = &h->registration;
	enum registration_result result = registration_reply(reg, data, len, now_ns, real_ns, code);

	if (result != REPLY_ACCEPTED)
		return result;
	h->trusted = true;
	if (ntp_after(reg->memory->identification, reg->identification))
		registration_go_home(reg, now_ns);
	return result;
}

struct place homecoming_place(const struct homecoming *h, const struct movement *movement)
{
	if (h->trusted)
		return (struct place){.kind = PLACE_HOME, .ifindex = h->claim.ifindex};
	return movement_place(movement);
}

bool homecoming_is_pending(const struct homecoming *h)
{
	return h->claim.ifindex != 0 && !h->trusted;
}
