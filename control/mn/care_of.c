/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: a ring of former addresses, each with two deadlines. */
#include "control/mn/care_of.h"

void care_of_move(struct care_of *c, const struct ip_addr *addr, uint64_t now_ns, uint64_t grace_ns)
{
	if (ip_addr_is_set(&c->current) && !ip_addr_equal(&c->current, addr)) {
		unsigned i = c->next_former++ % CARE_OF_FORMER_MAX;

		c->former[i].addr = c->current;
		c->former[i].receives_until_ns = now_ns + grace_ns;
		c->former[i].labels_until_ns = UINT64_MAX; /* until the next confirmation */
	}
	c->current = *addr;
}

void care_of_confirm(struct care_of *c, uint64_t now_ns, uint64_t grace_ns)
{
	c->confirmed = c->current;
	for (unsigned i = 0; i < CARE_OF_FORMER_MAX; i++)
		if (c->former[i].labels_until_ns == UINT64_MAX)
			c->former[i].labels_until_ns = now_ns + grace_ns;
}

void care_of_forget(struct care_of *c)
{
	*c = (struct care_of){0};
}

bool care_of_receives(const struct care_of *c, const struct ip_addr *addr, uint64_t now_ns)
{
	if (ip_addr_is_set(&c->current) && ip_addr_equal(addr, &c->current))
		return true;
	for (unsigned i = 0; i < CARE_OF_FORMER_MAX; i++)
		if (ip_addr_is_set(&c->former[i].addr) && now_ns < c->former[i].receives_until_ns &&
			ip_addr_equal(addr, &c->former[i].addr))
			return true;
	return false;
}

bool care_of_labels(const struct care_of *c, const struct ip_addr *addr, uint64_t now_ns)
{
	if (ip_addr_is_set(&c->current) && ip_addr_equal(addr, &c->current))
		return true;
	for (unsigned i = 0; i < CARE_OF_FORMER_MAX; i++)
		if (ip_addr_is_set(&c->former[i].addr) && now_ns < c->former[i].labels_until_ns &&
			ip_addr_equal(addr, &c->former[i].addr))
			return true;
	return false;
}
