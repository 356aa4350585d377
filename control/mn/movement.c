/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: three small tables mirror what the kernel said. The place is a pure function of
 * them, so the order of events cannot matter beyond the last word on each object. "Newest address"
 * is by a count that rises when an address becomes usable: it was added, or its link came up.
 *
 * The home address on an interface of the node's own, where an administrator or DHCP put it, is
 * never a care-of address; nor is that of a foreign agent: its advertisement only says that the
 * attachment may have changed.
 */
#include "control/mn/movement.h"

#include <linux/rtnetlink.h>
#include <string.h>

#define SEQUENCE_AFTER_WRAP 256 /* RFC 5944 2.3.2: below it only after the agent's start */

const char *place_kind_name(enum place_kind kind)
{
	static const char *const names[] = {"nowhere", "away", "home"};

	return names[kind];
}

bool place_equal(const struct place *a, const struct place *b)
{
	return a->kind == b->kind && a->ifindex == b->ifindex && ip_addr_equal(&a->coa, &b->coa);
}

void movement_init(struct movement *m, const struct movement_conf *conf)
{
	*m = (struct movement){.conf = conf};
}

const struct movement_link *movement_link(const struct movement *m, int ifindex)
{
	for (size_t i = 0; i < MOVEMENT_LINKS_MAX; i++)
		if (ifindex != 0 && m->links[i].ifindex == ifindex)
			return &m->links[i];
	return NULL;
}

/* The link's place in the table, or a free one. */
static struct movement_link *link_slot(struct movement *m, int ifindex)
{
	struct movement_link *free_slot = NULL;

	for (size_t i = 0; i < MOVEMENT_LINKS_MAX; i++) {
		if (m->links[i].ifindex == ifindex)
			return &m->links[i];
		if (m->links[i].ifindex == 0 && free_slot == NULL)
			free_slot = &m->links[i];
	}
	return free_slot;
}

/* Gives or takes the stamps of a link's addresses after it went up or down. */
static void stamp_addresses(struct movement *m, int ifindex)
{
	const struct movement_link *link = movement_link(m, ifindex);
	bool up = link != NULL && link->up;

	for (size_t i = 0; i < MOVEMENT_ADDRS_MAX; i++) {
		struct movement_addr *addr = &m->addrs[i];

		if (addr->ifindex != ifindex)
			continue;
		if (!up || addr->tentative)
			addr->usable_since = 0;
		else if (addr->usable_since == 0)
			addr->usable_since = ++m->count;
	}
}

void movement_on_link(struct movement *m, const struct nl_link_event *event)
{
	struct movement_link *link = link_slot(m, event->ifindex);

	if (link == NULL)
		return;
	if (!event->present) {
		*link = (struct movement_link){0};
	} else {
		link->ifindex = event->ifindex;
		memcpy(link->name, event->name, sizeof link->name);
		memcpy(link->mac, event->mac, sizeof link->mac);
		link->mtu = event->mtu;
		link->stale = false;
		link->up = event->up;
		if (!event->up) { /* another network may be behind it when it comes back */
			link->agent = (struct ip_addr){0};
			link->agent_demands = false;
		}
	}
	stamp_addresses(m, event->ifindex);
}

void movement_on_addr(struct movement *m, const struct nl_addr_event *event)
{
	struct movement_addr *slot = NULL;

	for (size_t i = 0; i < MOVEMENT_ADDRS_MAX; i++) {
		struct movement_addr *addr = &m->addrs[i];

		if (addr->ifindex == event->ifindex && ip_addr_equal(&addr->addr, &event->addr)) {
			slot = addr;
			break;
		}
		if (addr->ifindex == 0 && slot == NULL)
			slot = addr;
	}
	if (slot == NULL)
		return;
	if (!event->added) {
		*slot = (struct movement_addr){0};
		return;
	}
	if (slot->ifindex == 0)
		*slot = (struct movement_addr){.ifindex = event->ifindex, .addr = event->addr};
	slot->tentative = event->tentative;
	slot->stale = false;
	stamp_addresses(m, event->ifindex);
}

/* Two routes of one length to the gateway are one and the same prefix; with one metric the kernel
 * holds one of them, so an addition takes the place of what was there. */
void movement_on_route(struct movement *m, const struct nl_route_event *event)
{
	struct movement_route *slot = NULL;

	if (event->table != RT_TABLE_MAIN || !ip_prefix_contains(&event->dst, &m->conf->gateway))
		return;
	for (size_t i = 0; i < MOVEMENT_ROUTES_MAX; i++) {
		struct movement_route *route = &m->routes[i];

		if (route->ifindex != 0 && route->len == event->dst.len &&
			route->metric == event->metric) {
			slot = route;
			break;
		}
		if (route->ifindex == 0 && slot == NULL)
			slot = route;
	}
	if (slot == NULL)
		return;
	if (event->added && !event->blackhole)
		*slot = (struct movement_route){
			.ifindex = event->ifindex, .len = event->dst.len, .metric = event->metric};
	else if (event->added || slot->ifindex == event->ifindex)
		*slot = (struct movement_route){0};
}

void movement_resync(struct movement *m)
{
	for (size_t i = 0; i < MOVEMENT_LINKS_MAX; i++)
		m->links[i].stale = true;
	for (size_t i = 0; i < MOVEMENT_ADDRS_MAX; i++)
		m->addrs[i].stale = true;
	for (size_t i = 0; i < MOVEMENT_ROUTES_MAX; i++)
		m->routes[i].stale = true;
}

void movement_resynced(struct movement *m)
{
	for (size_t i = 0; i < MOVEMENT_LINKS_MAX; i++)
		if (m->links[i].stale)
			m->links[i] = (struct movement_link){0};
	for (size_t i = 0; i < MOVEMENT_ADDRS_MAX; i++)
		if (m->addrs[i].stale)
			m->addrs[i] = (struct movement_addr){0};
	for (size_t i = 0; i < MOVEMENT_ROUTES_MAX; i++)
		if (m->routes[i].stale)
			m->routes[i] = (struct movement_route){0};
}

bool movement_on_advert(struct movement *m, int ifindex, const struct ip_addr *source,
	const struct mip4_advert *advert)
{
	struct movement_link *link = link_slot(m, ifindex);
	bool other, restarted;

	if (link == NULL || link->ifindex == 0)
		return false;
	other = ip_addr_is_set(&link->agent) && !ip_addr_equal(&link->agent, source);
	restarted = ip_addr_equal(&link->agent, source) && advert->sequence < SEQUENCE_AFTER_WRAP &&
		    advert->sequence < link->agent_sequence;
	link->agent = *source;
	link->agent_sequence = advert->sequence;
	link->agent_demands = advert->foreign_agent && advert->registration_required;
	return other || restarted;
}

bool movement_has_route(const struct movement *m, int ifindex)
{
	for (size_t i = 0; i < MOVEMENT_ROUTES_MAX; i++)
		if (ifindex != 0 && m->routes[i].ifindex == ifindex)
			return true;
	return false;
}

/* Position in the operator's list, 0 is best; n_interfaces: not in the list. */
static size_t rank_of(const struct movement_conf *conf, const char *name)
{
	size_t rank = 0;

	while (rank < conf->n_interfaces && strcmp(conf->interfaces[rank], name) != 0)
		rank++;
	return rank;
}

static bool may_be_care_of(const struct movement_conf *conf, const struct ip_addr *addr)
{
	return addr->family == AF_INET && ip_addr_is_unicast(addr) &&
	       !ip_prefix_contains(&conf->home_prefix, addr) &&
	       !ip_addr_equal(addr, &conf->gateway) && !ip_addr_equal(addr, &conf->home_agent);
}

struct place movement_place(const struct movement *m)
{
	const struct movement_conf *conf = m->conf;
	struct place best = {.kind = PLACE_NOWHERE};
	size_t best_rank = SIZE_MAX;
	uint64_t best_since = 0;

	for (size_t i = 0; i < MOVEMENT_ADDRS_MAX; i++) {
		const struct movement_addr *addr = &m->addrs[i];
		const struct movement_link *link = movement_link(m, addr->ifindex);
		size_t rank;

		if (link == NULL || strcmp(link->name, conf->tunnel_interface) == 0)
			continue;
		rank = rank_of(conf, link->name);
		if (addr->usable_since == 0 || !may_be_care_of(conf, &addr->addr) ||
			(conf->n_interfaces != 0 && rank == conf->n_interfaces))
			continue;
		if (rank < best_rank || (rank == best_rank && addr->usable_since > best_since)) {
			best = (struct place){
				.kind = PLACE_AWAY, .ifindex = addr->ifindex, .coa = addr->addr};
			best_rank = rank;
			best_since = addr->usable_since;
		}
	}
	return best;
}

struct home_claim movement_home(const struct movement *m, const struct home_claim *preferred)
{
	struct home_claim newest = {0};

	for (size_t i = 0; i < MOVEMENT_ADDRS_MAX; i++) {
		const struct movement_addr *addr = &m->addrs[i];
		const struct movement_link *link = movement_link(m, addr->ifindex);

		if (link == NULL || strcmp(link->name, m->conf->tunnel_interface) == 0 ||
			!ip_addr_equal(&addr->addr, &m->conf->home_address))
			continue;
		if (addr->usable_since == preferred->since && addr->ifindex == preferred->ifindex)
			return *preferred;
		if (addr->usable_since > newest.since)
			newest = (struct home_claim){
				.ifindex = addr->ifindex, .since = addr->usable_since};
	}
	return newest;
}
