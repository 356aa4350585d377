/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: routes of nodes that are away lead into the TUN. What comes out of it is put
 * behind an outer header in the same buffer and sent by a raw socket, in bursts.
 *
 * The kernel has done the router's part before: TTL, fragments, and "fragmentation needed", since
 * the TUN's MTU is tunnel_mtu. So fragments are made before the encapsulation, as RFC 2003 section
 * 3.1 wants it for a tunnel of known MTU.
 *
 * One sending socket a gateway, with a mark of its own. A rule sends that mark to a table of its
 * own, whose default route leads to the gateway; behind it lies a second default route into the
 * TUN, so that without the first one packets come back here and are dropped, and never follow the
 * main table to a care-of address in clear.
 */
#include "control/ha/tunnel.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/rawsock.h"
#include "lib/tun.h"
#include "lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MODULE "tunnel"
#define BURSTS_A_WAKE_UP 2
#define SLOT_BYTES 9280                /* tunnel_mtu at most 9000, and two IP headers at most */
#define MARK_BASE UINT32_C(0x52470100) /* mark and table of a gateway: this and its index */
#define RULE_PRIORITY 5247             /* before the main table (32766) */
#define FALLBACK_METRIC 4096

struct ha_tunnel {
	struct loop *loop;
	struct netlink *nl;
	const struct ha_conf *conf;
	struct ha_bindings *bindings;
	struct ha_counters *counters;
	int tun_fd, tun_ifindex;
	int in_fd;     /* protocol 4, both to receive and to keep the kernel from answering */
	int direct_fd; /* to nodes inside the private network */
	int gateway_fds[HA_GATEWAYS_MAX];
	int gateway_ifindex[HA_GATEWAYS_MAX];
	uint16_t id; /* of the next outer header */
	uint8_t slots[RAWSOCK_BURST_MAX][SLOT_BYTES];
};

/* --- one packet --- */

void ha_tunnel_outer(uint8_t outer[IPV4_HDR_BYTES], const struct ipv4_view *inner,
	const struct ip_addr *src, const struct ip_addr *dst, uint16_t id)
{
	ipv4_build(outer, src, dst, IPPROTO_IPIP, IPV4_TTL_DEFAULT, inner->tos, id,
		inner->dont_fragment ? IPV4_FLAG_DF : 0,
		(uint16_t)(IPV4_HDR_BYTES + inner->total_len));
}

size_t ha_tunnel_inner(uint8_t *data, size_t len, const struct ip_addr *own,
	struct ha_bindings *bindings, uint64_t now_ns, enum ha_counter *reason)
{
	const struct ha_binding *binding;
	struct ipv4_view outer, inner;

	*reason = HA_TUNNEL_MALFORMED;
	if (!ipv4_parse(data, len, &outer) || outer.protocol != IPPROTO_IPIP)
		return 0;
	if (!ipv4_parse(data + outer.hdr_bytes, outer.total_len - outer.hdr_bytes, &inner))
		return 0;
	*reason = HA_TUNNEL_BAD_INNER;
	binding = ha_binding_find(bindings, &inner.src);
	if (binding == NULL)
		return 0;
	*reason = HA_TUNNEL_BAD_OUTER;
	if (!ip_addr_equal(&outer.dst, own) ||
		!ha_binding_accepts_outer(binding, &outer.src, now_ns))
		return 0;
	*reason = HA_TUNNEL_CONGESTED;
	if (!ipv4_carry_ecn(outer.tos, data + outer.hdr_bytes))
		return 0;
	*reason = HA_TUNNEL_IN;
	return outer.hdr_bytes;
}

/* --- out of the TUN, into IP-in-IP --- */

struct outgoing {
	unsigned n;
	const void *data[RAWSOCK_BURST_MAX];
	size_t len[RAWSOCK_BURST_MAX];
	int fd[RAWSOCK_BURST_MAX];
};

/* slot: room for the outer header, then len bytes of packet. Returns what to count. */
static enum ha_counter encapsulate(
	struct ha_tunnel *tunnel, uint8_t *slot, size_t len, struct outgoing *out)
{
	const struct ha_binding *binding;
	const struct ha_care *care;
	struct ipv4_view inner;

	if (!ipv4_parse(slot + IPV4_HDR_BYTES, len, &inner) || inner.total_len != len)
		return HA_TUNNEL_MALFORMED;
	if (len > tunnel->conf->tunnel_mtu)
		return HA_TUNNEL_TOO_BIG; /* the TUN's MTU was raised by hand */
	binding = ha_binding_find(tunnel->bindings, &inner.dst);
	care = binding != NULL ? ha_binding_target(binding) : NULL;
	if (care == NULL)
		return HA_TUNNEL_NO_BINDING;
	/* What came out of the tunnel must not go into it again, RFC 2003 section 4.4. */
	if (ip_addr_equal(&inner.src, &care->coa))
		return HA_TUNNEL_LOOP;
	ha_tunnel_outer(slot, &inner, &tunnel->conf->address, &care->coa, tunnel->id++);
	out->data[out->n] = slot;
	out->len[out->n] = IPV4_HDR_BYTES + len;
	out->fd[out->n] = care->gateway == HA_DIRECT ? tunnel->direct_fd
						     : tunnel->gateway_fds[care->gateway];
	out->n++;
	return HA_TUNNEL_OUT;
}

static void send_all(struct ha_tunnel *tunnel, const struct outgoing *out)
{
	unsigned i = 0;

	while (i < out->n) {
		unsigned run = 1, sent;
		int err;

		while (i + run < out->n && out->fd[i + run] == out->fd[i])
			run++;
		sent = rawsock_send_burst(out->fd[i], &out->data[i], &out->len[i], run, &err);
		if (sent == 0) { /* the first one is refused: without it */
			tunnel->counters->n[HA_TUNNEL_SEND_FAILED]++;
			sent = 1;
		}
		i += sent;
	}
}

static void on_tun(void *arg, int fd, uint32_t epoll_events)
{
	struct ha_tunnel *tunnel = arg;

	(void)epoll_events;
	for (int burst = 0; burst < BURSTS_A_WAKE_UP; burst++) {
		struct outgoing out = {.n = 0};
		unsigned taken = 0;

		for (; taken < RAWSOCK_BURST_MAX; taken++) {
			uint8_t *slot = tunnel->slots[taken];
			ssize_t len = read(fd, slot + IPV4_HDR_BYTES, SLOT_BYTES - IPV4_HDR_BYTES);

			if (len < 0)
				break;
			tunnel->counters->n[encapsulate(tunnel, slot, (size_t)len, &out)]++;
		}
		send_all(tunnel, &out);
		if (taken < RAWSOCK_BURST_MAX)
			return;
	}
}

/* --- out of IP-in-IP, into the TUN --- */

static void on_reverse(void *arg, int fd, uint32_t epoll_events)
{
	struct ha_tunnel *tunnel = arg;
	uint64_t now = clock_mono_ns();
	struct rawsock_meta meta[RAWSOCK_BURST_MAX];
	size_t len[RAWSOCK_BURST_MAX];
	void *data[RAWSOCK_BURST_MAX];

	(void)epoll_events;
	for (unsigned i = 0; i < RAWSOCK_BURST_MAX; i++)
		data[i] = tunnel->slots[i];
	for (int burst = 0; burst < BURSTS_A_WAKE_UP; burst++) {
		unsigned n = rawsock_recv_burst(fd, data, SLOT_BYTES, meta, len, RAWSOCK_BURST_MAX);

		for (unsigned i = 0; i < n; i++) {
			enum ha_counter reason = HA_TUNNEL_TOO_BIG;
			uint8_t *at = data[i];
			size_t offset = 0;

			if (len[i] != 0)
				offset = ha_tunnel_inner(at, len[i], &tunnel->conf->address,
					tunnel->bindings, now, &reason);
			if (offset != 0 && write(tunnel->tun_fd, at + offset,
						   wire_load_u16(at + offset + 2)) < 0)
				reason = HA_TUNNEL_SEND_FAILED;
			tunnel->counters->n[reason]++;
		}
		if (n < RAWSOCK_BURST_MAX)
			return;
	}
}

/* --- the host --- */

/* The interface on whose network addr lies, with its name; 0: none. */
static int interface_towards(const struct ip_addr *addr, char name[IF_NAMESIZE])
{
	uint32_t wanted = ntohl(ip_addr_to_v4(addr));
	struct ifaddrs *all;
	int found = 0;

	if (getifaddrs(&all) != 0)
		return 0;
	for (const struct ifaddrs *one = all; one != NULL && found == 0; one = one->ifa_next) {
		struct sockaddr_in own, mask;

		if (one->ifa_addr == NULL || one->ifa_netmask == NULL ||
			one->ifa_addr->sa_family != AF_INET)
			continue;
		memcpy(&own, one->ifa_addr, sizeof own);
		memcpy(&mask, one->ifa_netmask, sizeof mask);
		if (((ntohl(own.sin_addr.s_addr) ^ wanted) & ntohl(mask.sin_addr.s_addr)) == 0) {
			found = (int)if_nametoindex(one->ifa_name);
			snprintf(name, IF_NAMESIZE, "%s", one->ifa_name);
		}
	}
	freeifaddrs(all);
	return found;
}

static void set_host(const char *format, const char *interface, const char *value, bool needed)
{
	char path[128];

	snprintf(path, sizeof path, format, interface);
	if (sysctl_write(path, value) != 0 && needed)
		log_warn(MODULE, "cannot set %s=%s", path, value);
}

/* Written only if it is off: writing it resets other settings of all interfaces. */
static void forward_packets(void)
{
	char now = '0';
	int fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, &now, 1) != 1)
			now = '0';
		close(fd);
	}
	if (now == '0')
		set_host("net/ipv4/%s", "ip_forward", "1", true);
}

static int route_gateway(struct ha_tunnel *tunnel, size_t i)
{
	uint32_t mark = MARK_BASE + (uint32_t)i;
	struct nl_route route = {.dst = {.addr = {.family = AF_INET}},
		.via = tunnel->conf->gateways[i].address.addr,
		.ifindex = tunnel->gateway_ifindex[i],
		.table = mark};
	struct nl_route fallback = {.dst = {.addr = {.family = AF_INET}},
		.ifindex = tunnel->tun_ifindex,
		.table = mark,
		.metric = FALLBACK_METRIC};
	int err = nl_route_replace(tunnel->nl, &fallback);

	if (err == 0)
		err = nl_rule_add(tunnel->nl, mark, mark, RULE_PRIORITY);
	return err == 0 ? nl_route_replace(tunnel->nl, &route) : err;
}

/* The gateway's network as it is now: interface, its setting, rule and routes. */
static int reach_gateway(struct ha_tunnel *tunnel, size_t i, char *why, size_t why_size)
{
	const struct ha_conf_gateway *gateway = &tunnel->conf->gateways[i];
	char name[IF_NAMESIZE], text[IP_TEXT_MAX];
	int err;

	tunnel->gateway_ifindex[i] = interface_towards(&gateway->address.addr, name);
	if (tunnel->gateway_ifindex[i] == 0) {
		snprintf(why, why_size,
			"gateway %s: %s is on no network of this host's interfaces, so it cannot "
			"be "
			"the next hop",
			gateway->name, ip_addr_format(&gateway->address.addr, text));
		return -ENETUNREACH;
	}
	/* Registrations and reverse tunnels come from there with care-of addresses as source, to
	 * which no route need exist. The kernel takes the larger of "all" and the interface. */
	set_host("net/ipv4/conf/%s/rp_filter", name, "0", true);
	err = route_gateway(tunnel, i);
	if (err < 0)
		snprintf(why, why_size, "path to gateway %s: %s", gateway->name, strerror(-err));
	return err;
}

static int open_gateway(struct ha_tunnel *tunnel, size_t i, char *why, size_t why_size)
{
	int fd = rawsock_open(IPPROTO_RAW, MARK_BASE + (uint32_t)i);

	if (fd < 0) {
		snprintf(why, why_size, "raw socket: %s; run it as root", strerror(-fd));
		return fd;
	}
	tunnel->gateway_fds[i] = fd;
	return reach_gateway(tunnel, i, why, why_size);
}

static int open_tun(struct ha_tunnel *tunnel, char *why, size_t why_size)
{
	const char *name = tunnel->conf->tunnel_interface;
	int err;

	tunnel->tun_fd = tun_open(name, false, &tunnel->tun_ifindex);
	err = tunnel->tun_fd < 0 ? tunnel->tun_fd : 0;
	if (err == 0) {
		set_host("net/ipv6/conf/%s/disable_ipv6", name, "1", false);
		set_host("net/ipv4/conf/%s/rp_filter", name, "0", true);
		set_host("net/ipv4/conf/%s/rp_filter", "all", "0", true);
		err = nl_link_set(tunnel->nl, tunnel->tun_ifindex, true, tunnel->conf->tunnel_mtu);
	}
	if (err != 0)
		snprintf(why, why_size, "tunnel_interface %s: %s; /dev/net/tun and root are needed",
			name, strerror(-err));
	return err;
}

static int open_sockets(struct ha_tunnel *tunnel, char *why, size_t why_size)
{
	int err;

	tunnel->in_fd = rawsock_open(IPPROTO_IPIP, 0);
	tunnel->direct_fd = rawsock_open(IPPROTO_RAW, 0);
	if (tunnel->in_fd < 0 || tunnel->direct_fd < 0) {
		err = tunnel->in_fd < 0 ? tunnel->in_fd : tunnel->direct_fd;
		snprintf(why, why_size, "raw socket: %s; run it as root", strerror(-err));
		return err;
	}
	err = loop_fd_add(tunnel->loop, tunnel->in_fd, EPOLLIN, on_reverse, tunnel);
	if (err == 0)
		err = loop_fd_add(tunnel->loop, tunnel->tun_fd, EPOLLIN, on_tun, tunnel);
	if (err != 0)
		snprintf(why, why_size, "event loop: %s", strerror(-err));
	return err;
}

int ha_tunnel_open(struct loop *loop, struct netlink *nl, const struct ha_conf *conf,
	struct ha_bindings *bindings, struct ha_counters *counters, struct ha_tunnel **out,
	char *why, size_t why_size)
{
	struct ha_tunnel *tunnel = calloc(1, sizeof *tunnel);
	int err;

	snprintf(why, why_size, "out of memory");
	if (tunnel == NULL)
		return -ENOMEM;
	tunnel->loop = loop;
	tunnel->nl = nl;
	tunnel->conf = conf;
	tunnel->bindings = bindings;
	tunnel->counters = counters;
	tunnel->tun_fd = tunnel->in_fd = tunnel->direct_fd = -1;
	for (size_t i = 0; i < HA_GATEWAYS_MAX; i++)
		tunnel->gateway_fds[i] = -1;
	forward_packets();
	err = open_tun(tunnel, why, why_size);
	for (size_t i = 0; err == 0 && i < conf->n_gateways; i++)
		err = open_gateway(tunnel, i, why, why_size);
	if (err == 0)
		err = open_sockets(tunnel, why, why_size);
	if (err != 0) {
		ha_tunnel_close(tunnel);
		return err;
	}
	*out = tunnel;
	return 0;
}

static void close_fd(struct ha_tunnel *tunnel, int fd, bool in_loop)
{
	if (fd < 0)
		return;
	if (in_loop)
		loop_fd_del(tunnel->loop, fd);
	close(fd);
}

void ha_tunnel_close(struct ha_tunnel *tunnel)
{
	if (tunnel == NULL)
		return;
	for (size_t i = 0; i < tunnel->conf->n_gateways; i++) {
		uint32_t mark = MARK_BASE + (uint32_t)i;
		struct nl_route route = {.dst = {.addr = {.family = AF_INET}},
			.ifindex = tunnel->gateway_ifindex[i],
			.table = mark};

		if (tunnel->gateway_fds[i] < 0)
			continue;
		close_fd(tunnel, tunnel->gateway_fds[i], false);
		(void)nl_rule_del(tunnel->nl, mark, mark, RULE_PRIORITY);
		(void)nl_route_del(tunnel->nl, &route);
	}
	close_fd(tunnel, tunnel->direct_fd, false);
	close_fd(tunnel, tunnel->in_fd, true);
	close_fd(tunnel, tunnel->tun_fd, true);
	free(tunnel);
}

int ha_tunnel_ifindex(const struct ha_tunnel *tunnel)
{
	return tunnel->tun_ifindex;
}

void ha_tunnel_restore(struct ha_tunnel *tunnel)
{
	char why[160];

	for (size_t i = 0; i < tunnel->conf->n_gateways; i++)
		if (reach_gateway(tunnel, i, why, sizeof why) != 0)
			log_warn(MODULE, "%s", why);
}
