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
#include "dataplane/pkt.h"

#include <rte_ethdev.h>
#include <rte_spinlock.h>

#define PORT_WORKERS_MAX 64
#define PORT_ADDRS_MAX 8

struct port {
	/* const after port_open() */
	uint16_t id; /* ethdev */
	uint16_t n_rx, n_tx;
	uint16_t mtu;       /* bytes of IP packet */
	uint32_t frame_max; /* bytes of frame that may be sent */
	uint8_t mac[6];
	bool shared_tx;
	bool open;
	uint32_t n_addrs;
	be32_t addrs[PORT_ADDRS_MAX]; /* our own */
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

static inline bool port_is_own(const struct port *port, be32_t addr)
{
	for (uint32_t i = 0; i < port->n_addrs; i++)
		if (port->addrs[i] == addr)
			return true;
	return false;
}
#endif
