/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the tunnel's routes are in a table of their own, and two policy rules are looked
 * at before the main table:
 *
 *     RULE_OUTER  packets with our mark (ESP)  -> main table: the visited network's routes
 *     RULE_INNER  all other packets            -> TABLE: tunnel_routes into the TUN, else go on
 *
 * So no route that a visited network hands out, however specific, draws inner traffic past the
 * tunnel, and ESP never loops into it, even with the full tunnel. While away a missing path drops
 * packets in the TUN; they do not leave in clear.
 */
#include "control/mn/routes.h"

#include "control/mn/tunnel.h"
#include "lib/log.h"
#include "lib/tun.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#define MODULE "routes"
#define TABLE 21063     /* 0x5247 */
#define RULE_OUTER 5247 /* before 32766, the main table */
#define RULE_INNER 5248
#define HOST_BITS 32
#define ARP_RETRY_MS "50" /* Linux has 1000; the far end of a new link may not be ready at once */
#define MTU_MIN 576       /* bytes; what tunnel_mtu may be at least */

static void must(int err, const char *what)
{
	if (err != 0)
		log_error(MODULE, "cannot %s error=%s", what, strerror(-err));
}

static void set_sysctl(const char *group, const char *interface, const char *key, const char *value)
{
	char path[128];

	snprintf(path, sizeof path, "net/%s/%s/%s", group, interface, key);
	(void)sysctl_write(path, value); /* a kernel without IPv6 has no such file */
}

void routes_init(struct routes *r, struct netlink *nl, const struct mn_conf *conf, int tun_ifindex)
{
	*r = (struct routes){.nl = nl, .conf = conf, .tun_ifindex = tun_ifindex};
	/* Who may send to the home address is decided by the gateway, not by our routes. */
	set_sysctl("ipv4/conf", conf->tunnel_interface, "rp_filter", "0");
	set_sysctl("ipv6/conf", conf->tunnel_interface, "disable_ipv6", "1");
	/* up also at home: without address and routes nothing goes there */
	must(nl_link_set(nl, tun_ifindex, true, conf->tunnel_mtu), "bring up the tunnel");
}

void routes_away(struct routes *r)
{
	const struct mn_conf *conf = r->conf;
	struct nl_route route = {
		.src = conf->home_address, .ifindex = r->tun_ifindex, .table = TABLE};

	if (r->away)
		return;
	r->away = true;
	must(nl_addr_add(r->nl, r->tun_ifindex, &conf->home_address, HOST_BITS, false),
		"set the home address");
	for (size_t i = 0; i < conf->n_tunnel_routes; i++) {
		route.dst = conf->tunnel_routes[i];
		must(nl_route_replace(r->nl, &route), "set a tunnel route");
	}
	must(nl_rule_add(r->nl, conf->mark, RT_TABLE_MAIN, RULE_OUTER), "set the rule for ESP");
	must(nl_rule_add(r->nl, 0, TABLE, RULE_INNER), "set the rule for the tunnel");
}

void routes_home(struct routes *r)
{
	const struct mn_conf *conf = r->conf;

	r->away = false;
	must(nl_rule_del(r->nl, 0, TABLE, RULE_INNER), "remove the rule for the tunnel");
	must(nl_rule_del(r->nl, conf->mark, RT_TABLE_MAIN, RULE_OUTER), "remove the rule for ESP");
	must(nl_addr_del(r->nl, r->tun_ifindex, &conf->home_address, HOST_BITS),
		"remove the home address");
}

static bool covers_gateway(const struct mn_conf *conf)
{
	for (size_t i = 0; i < conf->n_tunnel_routes; i++)
		if (ip_prefix_contains(&conf->tunnel_routes[i], &conf->gateway))
			return true;
	return false;
}

static void take_from(const char *interface)
{
	set_sysctl("ipv4/conf", interface, "rp_filter", "2");
}

void routes_use_interface(struct routes *r, const char *interface, unsigned mtu, unsigned overhead)
{
	unsigned room = mtu > overhead + MTU_MIN ? mtu - overhead : MTU_MIN;

	if (room > r->conf->tunnel_mtu)
		room = r->conf->tunnel_mtu;
	must(nl_link_set(r->nl, r->tun_ifindex, true, room), "set the MTU of the tunnel");
	/* The way back to the gateway, for a packet without our mark, is then the tunnel: a strict
	 * filter would take its ESP for forged. Loose: reachable by any interface. */
	if (covers_gateway(r->conf))
		take_from(interface);
}

void routes_claimed(const char *interface)
{
	take_from(interface);
	set_sysctl("ipv4/neigh", interface, "retrans_time_ms", ARP_RETRY_MS);
}
