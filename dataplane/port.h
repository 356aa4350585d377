/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_PORT_H
#define DATAPLANE_PORT_H
/*
 * The two ethernet ports: any DPDK device, a receive queue for each worker as far as it has them.
 *
 * Owner:    struct dataplane. Threads: port_open() to port_close() are control's, port_rx() and
 *           port_tx() any worker's.
 * Queues:   worker w receives on queue w if there is one. Workers that share a transmit queue, for
 *           lack of queues, take a lock for each burst.
 */
#include "dataplane/esp/ip_fields.h"
#include "dataplane/ip4.h"
#include "dataplane/pkt.h"

#include <rte_ethdev.h>
#include <rte_spinlock.h>

#define PORT_WORKERS_MAX 64
#define PORT_ADDRS_MAX 8
#define VLAN_TAG_BYTES 4
#define VLAN_ETHERTYPE 0x8100u /* IEEE 802.1Q section 9 */
#define VLAN_ID_MASK 0x0fffu

struct port {
	/* const after port_open() */
	uint16_t id; /* ethdev */
	uint16_t n_rx, n_tx;
	uint16_t mtu;       /* bytes of IP packet */
	uint16_t vlan;      /* 802.1Q VID of all frames; 0: they have no tag */
	uint16_t l2_bytes;  /* of the link header, tag included */
	uint32_t frame_max; /* bytes of frame that may be sent */
	uint8_t mac[6];
	uint64_t plain_mac; /* port_frame_mac() of untagged frames to us; with a VLAN, of none */
	bool shared_tx;
	bool open;
	uint32_t n_addrs;
	be32_t addrs[PORT_ADDRS_MAX]; /* our own */
	uint32_t n_addrs_v6;
	uint8_t addrs_v6[PORT_ADDRS_MAX][IPV6_ADDR_BYTES];
	struct rte_mempool *pool;
	rte_spinlock_t tx_locks[PORT_WORKERS_MAX]; /* only if shared_tx */
};

/* name: of the ethdev. Makes the pool, sets up the queues, starts the device. Returns 0, or -errno
 * and a line in why. */
int port_open(struct port *port, const char *name, const struct dp_config *config,
	enum dp_port which, uint32_t workers, char *why, size_t why_size)
	__attribute__((warn_unused_result));
/* The device gives back the mbufs it holds, also those of the other port's pool: all devices stop
 * before the first port_close(), which frees a pool. */
void port_stop(struct port *port);
void port_close(struct port *port);
void port_stats(const struct port *port, struct dp_port_stats *out);

static inline unsigned port_rx(const struct port *port, uint32_t worker, struct rte_mbuf **mbufs)
{
	if (worker >= port->n_rx)
		return 0;
	return rte_eth_rx_burst(port->id, (uint16_t)worker, mbufs, PKT_BURST_MAX);
}

/* Returns how many went; the others stay the caller's. Frames are not longer than frame_max: test
 * devices free longer ones uncounted. */
static inline unsigned port_tx(
	struct port *port, uint32_t worker, struct rte_mbuf **mbufs, unsigned n)
{
	uint16_t queue = (uint16_t)(worker % port->n_tx);
	unsigned sent;

	if (!port->shared_tx)
		return rte_eth_tx_burst(port->id, queue, mbufs, (uint16_t)n);
	rte_spinlock_lock(&port->tx_locks[queue]);
	sent = rte_eth_tx_burst(port->id, queue, mbufs, (uint16_t)n);
	rte_spinlock_unlock(&port->tx_locks[queue]);
	return sent;
}

/* The destination of a frame as a number that ends in 16 bits of 0. At least 8 bytes are there. */
static inline uint64_t port_frame_mac(const uint8_t *frame)
{
	return ip4_two_words(frame) << 16;
}

static inline bool port_is_own(const struct port *port, be32_t addr)
{
	for (uint32_t i = 0; i < port->n_addrs; i++)
		if (port->addrs[i] == addr)
			return true;
	return false;
}

static inline bool port_is_own_v6(const struct port *port, const uint8_t *addr)
{
	for (uint32_t i = 0; i < port->n_addrs_v6; i++)
		if (memcmp(port->addrs_v6[i], addr, IPV6_ADDR_BYTES) == 0)
			return true;
	return false;
}

/* Unset: the port has none of that family. */
static inline struct ip_addr port_first_addr(const struct port *port, uint8_t family)
{
	struct ip_addr addr = {0};

	if (family == AF_INET && port->n_addrs != 0)
		return ip_addr_from_v4(port->addrs[0]);
	if (family == AF_INET6 && port->n_addrs_v6 != 0) {
		addr.family = AF_INET6;
		memcpy(addr.bytes, port->addrs_v6[0], sizeof addr.bytes);
	}
	return addr;
}
#endif
