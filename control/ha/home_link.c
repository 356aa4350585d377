/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: while a node is away a host route leads its home address into the TUN, and a
 * proxy entry makes the kernel answer ARP for it on the home link (it does so because the route
 * leads elsewhere and the interface forwards). Gratuitous ARP tells the neighbours at once: our MAC
 * when the node leaves, its own when it is back. Both forms of the announcement are sent, request
 * and reply, since hosts differ in which one they heed.
 */
#include "control/ha/home_link.h"

#include "lib/log.h"
#include "lib/tun.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MODULE "home-link"
#define ANNOUNCEMENTS 3 /* a second apart; RFC 5227 section 2.3 asks for 2 or more */

struct away { /* one a node */
	bool intercepted;
	uint8_t announcements_left;
};

struct ha_home_link {
	struct netlink *nl;
	const struct ha_conf *conf;
	int fd; /* AF_PACKET, sends alone */
	int ifindex, tun_ifindex;
	uint8_t mac[6]; /* of the home interface */
	struct away *away;
};

struct arp_packet { /* RFC 826 for Ethernet and IPv4, as on the wire */
	be16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	be16_t operation;
	uint8_t sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));

static void announce(struct ha_home_link *link, const struct ip_addr *home, const uint8_t mac[6])
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_ifindex = link->ifindex,
		.sll_halen = 6,
		.sll_addr = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	struct arp_packet arp = {.hardware = htons(ARPHRD_ETHER),
		.protocol = htons(ETH_P_IP),
		.hardware_len = 6,
		.protocol_len = 4};

	memcpy(arp.sender_mac, mac, 6);
	memcpy(arp.sender_ip, home->bytes, 4);
	memcpy(arp.target_mac, mac,
		6); /* RFC 5944 4.6: not used in the request, own in the reply */
	memcpy(arp.target_ip, home->bytes, 4);
	for (uint16_t operation = ARPOP_REQUEST; operation <= ARPOP_REPLY; operation++) {
		arp.operation = htons(operation);
		if (sendto(link->fd, &arp, sizeof arp, 0, (struct sockaddr *)&to, sizeof to) < 0)
			log_debug(MODULE, "announcement not sent: %s", strerror(errno));
	}
}

static struct nl_route route_of(const struct ha_home_link *link, size_t node)
{
	return (struct nl_route){.dst = {.addr = link->conf->nodes[node].home_address, .len = 32},
		.src = link->conf->address,
		.ifindex = link->tun_ifindex};
}

static void install(struct ha_home_link *link, size_t node)
{
	const struct ha_conf_node *who = &link->conf->nodes[node];
	struct nl_route route = route_of(link, node);
	int err = nl_route_replace(link->nl, &route);

	if (err == 0)
		err = nl_neigh_proxy_add(link->nl, link->ifindex, &who->home_address);
	if (err != 0)
		log_error(MODULE, "cannot take in traffic node=%s: %s", who->name, strerror(-err));
}

void ha_home_link_intercept(struct ha_home_link *link, size_t node)
{
	struct away *away = &link->away[node];

	if (away->intercepted)
		return;
	away->intercepted = true;
	install(link, node);
	announce(link, &link->conf->nodes[node].home_address, link->mac);
	away->announcements_left = ANNOUNCEMENTS - 1;
}

/* The kernel's neighbour entry, which the node's own ARP made. */
static bool find_mac(const struct ha_home_link *link, const struct ip_addr *home, uint8_t mac[6])
{
	struct arpreq request = {0};
	struct sockaddr_in *name = (struct sockaddr_in *)&request.arp_pa;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found;

	if (fd < 0)
		return false;
	name->sin_family = AF_INET;
	name->sin_addr.s_addr = ip_addr_to_v4(home);
	snprintf(request.arp_dev, sizeof request.arp_dev, "%s", link->conf->home_interface);
	found = ioctl(fd, SIOCGARP, &request) == 0 && (request.arp_flags & ATF_COM) != 0;
	close(fd);
	if (found)
		memcpy(mac, request.arp_ha.sa_data, 6);
	return found;
}

static void uninstall(struct ha_home_link *link, size_t node)
{
	const struct ha_conf_node *who = &link->conf->nodes[node];
	struct nl_route route = route_of(link, node);
	int err = nl_neigh_proxy_del(link->nl, link->ifindex, &who->home_address);

	if (err == 0)
		err = nl_route_del(link->nl, &route);
	if (err != 0)
		log_error(
			MODULE, "cannot give traffic back node=%s: %s", who->name, strerror(-err));
}

void ha_home_link_release(struct ha_home_link *link, size_t node)
{
	const struct ip_addr *home = &link->conf->nodes[node].home_address;
	struct away *away = &link->away[node];
	uint8_t mac[6];

	if (!away->intercepted)
		return;
	*away = (struct away){0};
	uninstall(link, node);
	if (find_mac(link, home, mac))
		announce(link, home, mac);
}

void ha_home_link_tick(struct ha_home_link *link)
{
	for (size_t i = 0; i < link->conf->n_nodes; i++) {
		if (link->away[i].announcements_left == 0)
			continue;
		link->away[i].announcements_left--;
		announce(link, &link->conf->nodes[i].home_address, link->mac);
	}
}

/* --- open and close --- */

static int read_interface(struct ha_home_link *link, char *why, size_t why_size)
{
	const char *name = link->conf->home_interface;
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	link->ifindex = (int)if_nametoindex(name);
	if (link->ifindex == 0 || ioctl(link->fd, SIOCGIFHWADDR, &request) != 0) {
		snprintf(why, why_size, "home_interface %s: there is no such interface", name);
		return -ENODEV;
	}
	if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
		snprintf(why, why_size, "home_interface %s is not an Ethernet", name);
		return -ENODEV;
	}
	memcpy(link->mac, request.ifr_hwaddr.sa_data, 6);
	return 0;
}

/* Answer ARP at once, and take packets of a node that is back although its route still leads into
 * the TUN (loose reverse path). */
static void set_interface(const char *name)
{
	char path[128];

	snprintf(path, sizeof path, "net/ipv4/neigh/%s/proxy_delay", name);
	if (sysctl_write(path, "0") != 0)
		log_warn(MODULE, "cannot set %s=0; proxy ARP answers late", path);
	snprintf(path, sizeof path, "net/ipv4/conf/%s/rp_filter", name);
	if (sysctl_write(path, "2") != 0)
		log_warn(MODULE, "cannot set %s=2; packets of returning nodes may be lost", path);
}

bool ha_home_link_is_on(const struct ha_home_link *link, int ifindex)
{
	return (int)if_nametoindex(link->conf->home_interface) == ifindex;
}

void ha_home_link_restore(struct ha_home_link *link)
{
	char why[128];

	if (read_interface(link, why, sizeof why) != 0) {
		log_warn(MODULE, "%s", why);
		return;
	}
	set_interface(link->conf->home_interface);
	for (size_t i = 0; i < link->conf->n_nodes; i++)
		if (link->away[i].intercepted)
			install(link, i);
}

int ha_home_link_open(struct netlink *nl, const struct ha_conf *conf, int tun_ifindex,
	struct ha_home_link **out, char *why, size_t why_size)
{
	struct ha_home_link *link = calloc(1, sizeof *link);
	int err = -ENOMEM;

	snprintf(why, why_size, "out of memory");
	if (link == NULL)
		return err;
	*link = (struct ha_home_link){.nl = nl, .conf = conf, .fd = -1, .tun_ifindex = tun_ifindex};
	link->away = calloc(conf->n_nodes, sizeof *link->away);
	if (link->away == NULL)
		goto fail;
	link->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (link->fd < 0) {
		err = -errno;
		snprintf(why, why_size, "packet socket: %s; run it as root", strerror(errno));
		goto fail;
	}
	err = read_interface(link, why, why_size);
	if (err != 0)
		goto fail;
	set_interface(conf->home_interface);
	for (size_t i = 0; i < conf->n_nodes; i++) /* of a run that was killed */
		(void)nl_neigh_proxy_del(nl, link->ifindex, &conf->nodes[i].home_address);
	*out = link;
	return 0;
fail:
	ha_home_link_close(link);
	return err;
}

void ha_home_link_close(struct ha_home_link *link)
{
	if (link == NULL)
		return;
	for (size_t i = 0; link->ifindex != 0 && i < link->conf->n_nodes; i++)
		if (link->away[i].intercepted)
			uninstall(link, i);
	if (link->fd >= 0)
		close(link->fd);
	free(link->away);
	free(link);
}
