/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a device is asked what it can do and gets what it has: receive queues up to the
 * number of workers, RSS over addresses and SPI if it hashes, no offloads, since headers are
 * checked and summed in software in the pass that touches them anyway.
 */
#include "dataplane/port.h"

#include "dataplane/ip4.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define POOL_CACHE 256          /* mbufs a thread keeps to itself */
#define FRAME_OVERHEAD 18       /* Ethernet header and one VLAN tag, bytes */
#define AF_PACKET_MAC_FLIP 0x80 /* in the second byte */
#define RSS_WANTED (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_ESP)

static struct rte_mempool *pool_new(const struct dp_config *config, enum dp_port which)
{
	static unsigned instance; /* control thread only; pools are found by name */
	uint32_t frame = config->ports[which].mtu + FRAME_OVERHEAD + ESP_TAILROOM_MAX;
	uint32_t room = RTE_PKTMBUF_HEADROOM + RTE_ALIGN_CEIL(frame, RTE_CACHE_LINE_SIZE);
	char name[RTE_MEMPOOL_NAMESIZE];

	static_assert(RTE_PKTMBUF_HEADROOM >= ESP_HEADROOM_MAX + RTE_ETHER_HDR_LEN + VLAN_TAG_BYTES,
		"a mbuf has room for all that encapsulation adds in front");
	snprintf(name, sizeof name, "port%u", instance++);
	return rte_pktmbuf_pool_create(name, config->mbufs, POOL_CACHE, PKT_META_BYTES,
		(uint16_t)RTE_MAX(room, (uint32_t)RTE_MBUF_DEFAULT_BUF_SIZE), SOCKET_ID_ANY);
}

static void take_addresses(struct port *port, const struct dp_port_config *config)
{
	for (uint32_t i = 0; i < config->n_addrs && i < PORT_ADDRS_MAX; i++) {
		const struct ip_addr *addr = &config->addrs[i];

		if (addr->family == AF_INET)
			port->addrs[port->n_addrs++] = ip4_of(addr);
		else if (addr->family == AF_INET6)
			memcpy(port->addrs_v6[port->n_addrs_v6++], addr->bytes, IPV6_ADDR_BYTES);
	}
}

static int configure(struct port *port, const struct rte_eth_dev_info *info)
{
	struct rte_eth_conf conf = {0};
	uint64_t hash = info->flow_type_rss_offloads & RSS_WANTED;

	if (port->n_rx > 1 && hash != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = hash;
	}
	return rte_eth_dev_configure(port->id, port->n_rx, port->n_tx, &conf);
}

static int set_up_queues(struct port *port, const struct dp_config *config)
{
	uint16_t rx = config->rx_descriptors, tx = config->tx_descriptors;
	int ret = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx, &tx);

	for (uint16_t i = 0; i < port->n_rx && ret == 0; i++)
		ret = rte_eth_rx_queue_setup(
			port->id, i, rx, (unsigned)SOCKET_ID_ANY, NULL, port->pool);
	for (uint16_t i = 0; i < port->n_tx && ret == 0; i++)
		ret = rte_eth_tx_queue_setup(port->id, i, tx, (unsigned)SOCKET_ID_ANY, NULL);
	return ret;
}

/* The port's own MAC, which the TAP shares. A kernel interface under net_af_packet shows each frame
 * to Linux too: with a MAC that is not the interface's, Linux takes it for another host's and does
 * not answer what it gets again by the TAP. */
static int choose_mac(struct port *port, const char *driver)
{
	struct rte_ether_addr mac;
	uint8_t first[8] = {0};
	int ret = rte_eth_macaddr_get(port->id, &mac);

	if (ret != 0)
		return ret;
	if (strcmp(driver, "net_af_packet") == 0) {
		mac.addr_bytes[0] |= RTE_ETHER_LOCAL_ADMIN_ADDR;
		mac.addr_bytes[1] ^= AF_PACKET_MAC_FLIP;
		ret = rte_eth_promiscuous_enable(port->id);
	} else if (port->n_addrs_v6 != 0) {
		/* Neighbours ask for us by multicast (RFC 4861). Devices without such a filter
		 * answer -ENOTSUP. */
		ret = rte_eth_allmulticast_enable(port->id);
		if (ret == -ENOTSUP)
			ret = 0;
	}
	memcpy(port->mac, mac.addr_bytes, sizeof port->mac);
	memcpy(first, mac.addr_bytes, sizeof mac.addr_bytes);
	port->plain_mac = port->vlan == 0 ? port_frame_mac(first) : 1;
	return ret;
}

static int start(struct port *port, const struct dp_config *config, const char **step)
{
	struct rte_eth_dev_info info;
	int ret;

	*step = "cannot be queried";
	ret = rte_eth_dev_info_get(port->id, &info);
	if (ret != 0)
		return ret;
	port->n_rx = (uint16_t)RTE_MIN(port->n_rx, info.max_rx_queues);
	port->n_tx = (uint16_t)RTE_MIN(port->n_tx, info.max_tx_queues);
	*step = "cannot be configured";
	ret = configure(port, &info);
	if (ret != 0)
		return ret;
	*step = "refuses its queues";
	ret = set_up_queues(port, config);
	if (ret != 0)
		return ret;
	/* Devices that have no say in the MTU answer -ENOTSUP; frame_max holds for all. */
	*step = "refuses the MTU";
	ret = rte_eth_dev_set_mtu(port->id, port->mtu);
	if (ret != 0 && ret != -ENOTSUP)
		return ret;
	*step = "does not start";
	ret = rte_eth_dev_start(port->id);
	if (ret != 0)
		return ret;
	port->open = true;
	*step = "does not tell its MAC, or cannot be promiscuous";
	return choose_mac(port, info.driver_name);
}

int port_open(struct port *port, const char *name, const struct dp_config *config,
	enum dp_port which, uint32_t workers, char *why, size_t why_size)
{
	const char *step = "is missing after it was probed";
	int ret;

	*port = (struct port){.n_rx = (uint16_t)workers,
		.n_tx = (uint16_t)workers,
		.mtu = config->ports[which].mtu};
	port->vlan = config->ports[which].vlan;
	port->l2_bytes = RTE_ETHER_HDR_LEN + (port->vlan != 0 ? VLAN_TAG_BYTES : 0);
	port->frame_max = (uint32_t)port->mtu + port->l2_bytes;
	take_addresses(port, &config->ports[which]);
	port->pool = pool_new(config, which);
	if (port->pool == NULL) {
		snprintf(why, why_size,
			"not enough memory for %u packet buffers: lower dpdk.mbufs "
			"or give DPDK more memory (dpdk.memory_mb, hugepages)",
			config->mbufs);
		return -ENOMEM;
	}
	ret = rte_eth_dev_get_port_by_name(name, &port->id);
	if (ret == 0)
		ret = start(port, config, &step);
	if (ret != 0) {
		snprintf(why, why_size, "device %s %s: %s", name, step, strerror(-ret));
		port_close(port);
		return ret;
	}
	port->shared_tx = port->n_tx < workers;
	return 0;
}

void port_stop(struct port *port)
{
	if (!port->open)
		return;
	rte_eth_dev_stop(port->id);
	rte_eth_dev_close(port->id);
	port->open = false;
}

void port_close(struct port *port)
{
	port_stop(port);
	rte_mempool_free(port->pool);
	*port = (struct port){0};
}

void port_stats(const struct port *port, struct dp_port_stats *out)
{
	struct rte_eth_stats stats;

	*out = (struct dp_port_stats){0};
	if (rte_eth_stats_get(port->id, &stats) != 0)
		return;
	*out = (struct dp_port_stats){
		.rx_packets = stats.ipackets,
		.rx_bytes = stats.ibytes,
		.rx_missed = stats.imissed + stats.rx_nombuf,
		.rx_errors = stats.ierrors,
		.tx_packets = stats.opackets,
		.tx_bytes = stats.obytes,
		.tx_errors = stats.oerrors,
	};
}
