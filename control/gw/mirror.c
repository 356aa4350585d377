/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the interfaces are made and given addresses and routes first; then a netlink
 * watch is opened, whose first dump brings all that, and what else Linux has, to the packet path
 * before a worker runs. Frames go both ways in bounded batches.
 */
#include "control/gw/mirror.h"

#include "control/gw/mirror_routes.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/netlink.h"
#include "lib/tun.h"
#include "lib/wire.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define FRAME_MAX (9000 + ETH_HLEN)
#define FRAMES_A_TURN 32
#define IPV4_SOURCE_AT (ETH_HLEN + 12) /* RFC 791 */
#define IPV6_SOURCE_AT (ETH_HLEN + 8)  /* RFC 8200 */

struct tap {
	struct mirror *mirror;
	enum dp_port port;
	int fd, ifindex;
};

struct mirror {
	struct loop *loop;
	const struct gw_conf *conf;
	struct dataplane *dp;
	struct netlink *nl;
	struct tap taps[DP_PORTS];
	struct mirror_routes *routes;
	struct mirror_neighs *neighs;
	struct mirror_stats stats;
};

/* --- frames -------------------------------------------------------------------------------------
 */

static bool is_our_address(const struct gw_conf *conf, const struct ip_addr *addr)
{
	for (int port = 0; port < DP_PORTS; port++) {
		for (uint32_t i = 0; i < conf->ports[port].n_addrs; i++) {
			if (ip_addr_equal(addr, &conf->ports[port].addrs[i]))
				return true;
		}
	}
	return false;
}

/* An address of the link alone, or none at all (RFC 4862: is there somebody else with this
 * address?): nothing that is forwarded has such a source. */
static bool is_of_link(const struct ip_addr *addr)
{
	static const struct ip_addr none = {.family = AF_INET6};

	return (addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80) ||
	       ip_addr_equal(addr, &none);
}

/* Did Linux itself originate this frame? Forwarding is off; this holds even if somebody switches
 * it on. */
static bool is_linux_own(const struct gw_conf *conf, const uint8_t *frame, size_t len)
{
	struct ip_addr source;
	be32_t source_be;

	if (len < ETH_HLEN)
		return false;
	if (wire_load_u16(frame + 12) == ETH_P_ARP)
		return true;
	if (wire_load_u16(frame + 12) == ETH_P_IPV6 &&
		len >= IPV6_SOURCE_AT + sizeof source.bytes) {
		source.family = AF_INET6;
		memcpy(source.bytes, frame + IPV6_SOURCE_AT, sizeof source.bytes);
		return is_of_link(&source) || is_our_address(conf, &source);
	}
	if (wire_load_u16(frame + 12) != ETH_P_IP || len < IPV4_SOURCE_AT + sizeof source_be)
		return false;
	memcpy(&source_be, frame + IPV4_SOURCE_AT, sizeof source_be);
	source = ip_addr_from_v4(source_be);
	return is_our_address(conf, &source);
}

static void on_tap(void *arg, int fd, uint32_t events)
{
	static uint8_t frame[FRAME_MAX];
	struct tap *tap = arg;
	struct mirror *mirror = tap->mirror;

	(void)events;
	for (unsigned n = 0; n < FRAMES_A_TURN; n++) {
		ssize_t len = read(fd, frame, sizeof frame);

		if (len <= 0)
			return;
		if (!is_linux_own(mirror->conf, frame, (size_t)len))
			mirror->stats.refused[tap->port]++;
		else if (dataplane_send_frame(mirror->dp, tap->port, frame, (size_t)len) == 0)
			mirror->stats.from_linux[tap->port]++;
		else
			mirror->stats.from_linux_lost[tap->port]++;
	}
}

void mirror_frame(struct mirror *mirror, const struct punt *punt)
{
	/* A TAP takes a frame at once or, while the interface is down, not at all. */
	if (write(mirror->taps[punt->port].fd, punt->data, punt->len) == (ssize_t)punt->len)
		mirror->stats.to_linux[punt->port]++;
	else
		mirror->stats.to_linux_lost[punt->port]++;
}

/* --- what Linux says ----------------------------------------------------------------------------
 */

static bool port_of(const struct mirror *mirror, int ifindex, enum dp_port *port)
{
	for (int i = 0; i < DP_PORTS; i++) {
		if (mirror->taps[i].ifindex == ifindex) {
			*port = (enum dp_port)i;
			return true;
		}
	}
	return false;
}

static void on_route(void *arg, const struct nl_route_event *event)
{
	struct mirror *mirror = arg;
	enum dp_port port = DP_OUTSIDE;
	bool on_mirror = port_of(mirror, event->ifindex, &port);

	mirror_routes_event(mirror->routes, event, on_mirror, port);
}

static void on_neigh(void *arg, const struct nl_neigh_event *event)
{
	struct mirror *mirror = arg;
	enum dp_port port;

	if (port_of(mirror, event->ifindex, &port))
		mirror_neighs_event(mirror->neighs, port, event);
}

static void on_resync(void *arg)
{
	struct mirror *mirror = arg;

	mirror_routes_resync(mirror->routes);
	mirror_neighs_resync(mirror->neighs);
}

static void on_resynced(void *arg)
{
	struct mirror *mirror = arg;

	mirror_routes_resynced(mirror->routes);
	mirror_neighs_resynced(mirror->neighs);
}

static void ask(void *arg, enum dp_port port, const struct ip_addr *addr)
{
	struct mirror *mirror = arg;

	/* An error means that Linux has no room or no carrier: the packets then expire. */
	(void)nl_neigh_use(mirror->nl, mirror->taps[port].ifindex, addr);
}

void mirror_unresolved(struct mirror *mirror, struct punt *punt, uint64_t now_ns)
{
	mirror_neighs_hold(mirror->neighs, punt, now_ns);
}

void mirror_tick(struct mirror *mirror, uint64_t now_ns)
{
	mirror_neighs_tick(mirror->neighs, now_ns);
}

/* --- start and stop -----------------------------------------------------------------------------
 */

struct setting {
	const char *path; /* with %s for the interface */
	const char *value;
	bool needed; /* without it private traffic could take another way */
};

static int host_settings(const char *name, bool ipv6, char *why, size_t why_size)
{
	const struct setting settings[] = {
		{"net/ipv4/conf/%s/forwarding", "0", true},
		{"net/ipv6/conf/%s/forwarding", "0", true},
		/* Addresses and routes are the operator's, not any router's on the link, and nobody
		 * has our addresses beside us: they are good from the first packet on. */
		{"net/ipv6/conf/%s/accept_ra", "0", false},
		{"net/ipv6/conf/%s/accept_dad", "0", false},
		{"net/ipv6/conf/%s/disable_ipv6", ipv6 ? "0" : "1", ipv6},
		{"net/ipv4/conf/%s/rp_filter", "0", false},
		/* Each port answers for its own addresses alone. */
		{"net/ipv4/conf/%s/arp_ignore", "1", false},
		{"net/ipv4/conf/%s/arp_announce", "2", false},
	};

	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		char path[128];
		int rc;

		snprintf(path, sizeof path, settings[i].path, name);
		rc = sysctl_write(path, settings[i].value);
		if (rc == 0 || rc == -ENOENT)
			continue;
		if (settings[i].needed) {
			snprintf(why, why_size, "cannot set %s: %s", path, strerror(-rc));
			return rc;
		}
		log_warn("mirror", "cannot set %s: %s", path, strerror(-rc));
	}
	return 0;
}

static int open_tap(struct mirror *mirror, struct tap *tap, char *why, size_t why_size)
{
	const char *name = mirror->conf->ports[tap->port].mirror;
	struct ip_addr ipv6;
	uint8_t mac[6];
	int rc;

	tap->fd = tun_open(name, true, &tap->ifindex);
	if (tap->fd < 0) {
		rc = tap->fd;
		tap->fd = -1;
		snprintf(why, why_size, "mirror %s: %s%s", name, strerror(-rc),
			rc == -EBUSY ? "; another program has an interface of this name" : "");
		return rc;
	}
	dataplane_port_mac(mirror->dp, tap->port, mac);
	rc = tun_set_mac(name, mac);
	if (rc != 0) {
		snprintf(why, why_size, "mirror %s: cannot set its MAC: %s", name, strerror(-rc));
		return rc;
	}
	ipv6 = gw_conf_port_addr(mirror->conf, tap->port, AF_INET6);
	return host_settings(name, ip_addr_is_set(&ipv6), why, why_size);
}

static int set_addresses(struct mirror *mirror, struct netlink *nl, const struct tap *tap,
	char *why, size_t why_size)
{
	const struct gw_port_conf *port = &mirror->conf->ports[tap->port];
	char text[IP_TEXT_MAX];
	int rc = nl_link_set(nl, tap->ifindex, true, port->mtu);

	if (rc != 0)
		snprintf(why, why_size, "mirror %s: cannot bring it up: %s", port->mirror,
			strerror(-rc));
	for (uint32_t i = 0; rc == 0 && i < port->n_addrs; i++) {
		rc = nl_addr_add(nl, tap->ifindex, &port->addrs[i], port->prefix_lens[i], false);
		if (rc != 0)
			snprintf(why, why_size, "mirror %s: cannot add %s: %s", port->mirror,
				ip_addr_format(&port->addrs[i], text), strerror(-rc));
	}
	return rc;
}

static int set_routes(struct mirror *mirror, struct netlink *nl, char *why, size_t why_size)
{
	for (size_t i = 0; i < mirror->conf->n_routes; i++) {
		const struct gw_route_conf *conf = &mirror->conf->routes[i];
		struct nl_route route = {
			.dst = conf->to,
			.via = conf->via,
			.ifindex = mirror->taps[conf->port].ifindex,
		};
		char text[IP_TEXT_MAX];
		int rc = nl_route_replace(nl, &route);

		if (rc != 0) {
			snprintf(why, why_size, "route to %s: %s",
				ip_prefix_format(&conf->to, text), strerror(-rc));
			return rc;
		}
	}
	return 0;
}

static int set_up_linux(struct mirror *mirror, char *why, size_t why_size)
{
	static const struct nl_events nothing;
	struct netlink *nl = NULL;
	int rc = netlink_open(mirror->loop, &nothing, NULL, &nl);

	if (rc != 0) {
		snprintf(why, why_size, "netlink: %s", strerror(-rc));
		return rc;
	}
	for (int i = 0; rc == 0 && i < DP_PORTS; i++)
		rc = set_addresses(mirror, nl, &mirror->taps[i], why, why_size);
	if (rc == 0)
		rc = set_routes(mirror, nl, why, why_size);
	netlink_close(nl);
	return rc;
}

static int watch_linux(struct mirror *mirror, char *why, size_t why_size)
{
	static const struct nl_events events = {
		.route = on_route,
		.neigh = on_neigh,
		.resync = on_resync,
		.resynced = on_resynced,
	};
	int rc = netlink_open(mirror->loop, &events, mirror, &mirror->nl);

	if (rc != 0)
		snprintf(why, why_size, "netlink: %s", strerror(-rc));
	for (int i = 0; rc == 0 && i < DP_PORTS; i++) {
		rc = loop_fd_add(
			mirror->loop, mirror->taps[i].fd, EPOLLIN, on_tap, &mirror->taps[i]);
		if (rc != 0)
			snprintf(why, why_size, "mirror: %s", strerror(-rc));
	}
	/* Resolve the next hops before the first packet needs them. */
	for (size_t i = 0; rc == 0 && i < mirror->conf->n_routes; i++)
		ask(mirror, mirror->conf->routes[i].port, &mirror->conf->routes[i].via);
	return rc;
}

int mirror_open(struct loop *loop, const struct gw_conf *conf, struct dataplane *dp,
	struct mirror **out, char *why, size_t why_size)
{
	struct mirror *mirror = calloc(1, sizeof *mirror);
	int rc = 0;

	if (mirror == NULL) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	mirror->loop = loop;
	mirror->conf = conf;
	mirror->dp = dp;
	for (int i = 0; i < DP_PORTS; i++)
		mirror->taps[i] = (struct tap){.mirror = mirror, .port = (enum dp_port)i, .fd = -1};
	mirror->routes = mirror_routes_new(dp, conf->max_routes);
	mirror->neighs = mirror_neighs_new(dp, conf->max_neighbours, ask, mirror);
	if (mirror->routes == NULL || mirror->neighs == NULL) {
		snprintf(why, why_size, "out of memory");
		rc = -ENOMEM;
	}
	for (int i = 0; rc == 0 && i < DP_PORTS; i++)
		rc = open_tap(mirror, &mirror->taps[i], why, why_size);
	if (rc == 0)
		rc = set_up_linux(mirror, why, why_size);
	if (rc == 0)
		rc = watch_linux(mirror, why, why_size);
	if (rc != 0) {
		mirror_close(mirror);
		return rc;
	}
	*out = mirror;
	return 0;
}

void mirror_close(struct mirror *mirror)
{
	if (mirror == NULL)
		return;
	if (mirror->nl != NULL)
		netlink_close(mirror->nl);
	for (int i = 0; i < DP_PORTS; i++) {
		if (mirror->taps[i].fd < 0)
			continue;
		loop_fd_del(mirror->loop, mirror->taps[i].fd);
		close(mirror->taps[i].fd);
	}
	mirror_neighs_free(mirror->neighs);
	mirror_routes_free(mirror->routes);
	free(mirror);
}

void mirror_get_stats(const struct mirror *mirror, struct mirror_stats *out)
{
	*out = mirror->stats;
	out->routes_left_out = mirror_routes_left_out(mirror->routes);
	mirror_neighs_get_stats(mirror->neighs, &out->neighs);
}
