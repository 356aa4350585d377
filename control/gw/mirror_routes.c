/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: routes lie in an array with a free list; those to one prefix form a chain by
 * rising metric, whose head is what the packet path has. A keymap finds the chain.
 */
#include "control/gw/mirror_routes.h"

#include "control/gw/keymap.h"
#include "lib/log.h"

#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

struct learnt {
	struct ip_prefix dst;
	struct ip_addr via;
	enum dp_port port;
	uint32_t metric;
	uint32_t next; /* in the chain, or in the free list */
	uint32_t dump; /* number of the dump that showed it last */
	bool used;
};

struct mirror_routes {
	struct dataplane *dp;
	struct keymap *chains; /* prefix -> head */
	uint32_t free_list, max;
	uint32_t dump;
	uint64_t left_out;
	struct learnt routes[];
};

struct mirror_routes *mirror_routes_new(struct dataplane *dp, uint32_t max)
{
	struct mirror_routes *routes = calloc(
		1, sizeof *routes + (size_t)max * sizeof routes->routes[0]);

	if (routes == NULL)
		return NULL;
	routes->dp = dp;
	routes->max = max;
	routes->chains = keymap_new(0);
	if (routes->chains == NULL) {
		free(routes);
		return NULL;
	}
	for (uint32_t i = 0; i < max; i++)
		routes->routes[i].next = i + 1 < max ? i + 1 : NONE;
	return routes;
}

void mirror_routes_free(struct mirror_routes *routes)
{
	if (routes == NULL)
		return;
	keymap_free(routes->chains);
	free(routes);
}

static uint32_t head_of(const struct mirror_routes *routes, const struct ip_prefix *dst)
{
	uint32_t head;

	return keymap_get(routes->chains, dst, sizeof *dst, &head) ? head : NONE;
}

static bool set_head(struct mirror_routes *routes, const struct ip_prefix *dst, uint32_t head)
{
	keymap_del(routes->chains, dst, sizeof *dst);
	return head == NONE || keymap_add(routes->chains, dst, sizeof *dst, head) == 0;
}

/* Tells the packet path what is best for dst now. */
static void publish(struct mirror_routes *routes, const struct ip_prefix *dst)
{
	const uint32_t head = head_of(routes, dst);
	const struct learnt *best = head == NONE ? NULL : &routes->routes[head];
	char text[IP_TEXT_MAX];
	int rc;

	if (best == NULL) {
		(void)dataplane_route_del(routes->dp, dst); /* -ENOENT: it never had it */
		return;
	}
	rc = dataplane_route_set(
		routes->dp, dst, best->port, ip_addr_is_set(&best->via) ? &best->via : NULL);
	if (rc != 0) {
		routes->left_out++;
		log_warn("mirror", "route to %s left out: %s", ip_prefix_format(dst, text),
			strerror(-rc));
	}
}

/* The link that points to the first route with at least this metric. */
static uint32_t *place_of(struct mirror_routes *routes, uint32_t *head, uint32_t metric)
{
	uint32_t *link = head;

	while (*link != NONE && routes->routes[*link].metric < metric)
		link = &routes->routes[*link].next;
	return link;
}

static void unlink_route(struct mirror_routes *routes, const struct ip_prefix *dst, uint32_t metric)
{
	const uint32_t old_head = head_of(routes, dst);
	uint32_t head = old_head;
	uint32_t *link = place_of(routes, &head, metric);
	const uint32_t i = *link;

	if (i == NONE || routes->routes[i].metric != metric)
		return;
	*link = routes->routes[i].next;
	routes->routes[i] = (struct learnt){.next = routes->free_list};
	routes->free_list = i;
	if (head != old_head) {
		(void)set_head(routes, dst, head); /* replaces an entry: cannot run out of room */
		publish(routes, dst);
	}
}

static void learn(
	struct mirror_routes *routes, const struct nl_route_event *event, enum dp_port port)
{
	uint32_t head = head_of(routes, &event->dst);
	const uint32_t old_head = head;
	uint32_t *link = place_of(routes, &head, event->metric);
	uint32_t i = *link;

	if (i == NONE || routes->routes[i].metric != event->metric) {
		i = routes->free_list;
		if (i == NONE) {
			routes->left_out++;
			return;
		}
		routes->free_list = routes->routes[i].next;
		routes->routes[i] = (struct learnt){.next = *link};
		*link = i;
	}
	routes->routes[i] = (struct learnt){
		.dst = event->dst,
		.via = event->via,
		.port = port,
		.metric = event->metric,
		.next = routes->routes[i].next,
		.dump = routes->dump,
		.used = true,
	};
	if (head != old_head && !set_head(routes, &event->dst, head)) {
		routes->left_out++; /* out of memory: the chain is lost, not the program */
		return;
	}
	if (head == i)
		publish(routes, &event->dst);
}

/* fe80::/10 and ff00::/8: every link has them, and nothing is forwarded there. */
static bool is_of_link(const struct ip_prefix *dst)
{
	const uint8_t *bytes = dst->addr.bytes;

	return dst->addr.family == AF_INET6 &&
	       (bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80));
}

void mirror_routes_event(struct mirror_routes *routes, const struct nl_route_event *event,
	bool on_mirror, enum dp_port port)
{
	if (is_of_link(&event->dst) ||
		(event->table != RT_TABLE_MAIN && event->table != RT_TABLE_UNSPEC))
		return;
	if (event->added && on_mirror && !event->blackhole) {
		learn(routes, event, port);
		return;
	}
	/* Deleted, or replaced in Linux by one that is none of ours. */
	if (event->added || on_mirror)
		unlink_route(routes, &event->dst, event->metric);
}

void mirror_routes_resync(struct mirror_routes *routes)
{
	routes->dump++;
}

void mirror_routes_resynced(struct mirror_routes *routes)
{
	for (uint32_t i = 0; i < routes->max; i++) {
		const struct learnt was = routes->routes[i];

		if (was.used && was.dump != routes->dump)
			unlink_route(routes, &was.dst, was.metric);
	}
}

uint64_t mirror_routes_left_out(const struct mirror_routes *routes)
{
	return routes->left_out;
}
