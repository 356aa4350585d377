/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: rte_ip_frag keeps the pieces and forgets those that are too old when it needs
 * their place; what it gives up is freed at once. The datagram it gives back is a chain of buffers
 * and becomes one again by copying. Limits of sources are points in time up to which their tokens
 * are spent.
 */
#include "dataplane/reassembly.h"

#include "dataplane/ip4.h"
#include "dataplane/now.h"

#include <rte_cycles.h>
#include <rte_ip.h>
#include <rte_ip_frag.h>
#include <rte_malloc.h>

#define BUCKETS 128
#define BUCKET_ENTRIES 4
#define TOKEN_NS (NS_PER_S / REASSEMBLY_RATE)

struct reassembly {
	struct rte_ip_frag_tbl *table;
	struct rte_ip_frag_death_row dead;
	uint64_t spent_until_ns[REASSEMBLY_SOURCES];
};

struct reassembly *reassembly_new(void)
{
	struct reassembly *reassembly = rte_zmalloc(
		"reassembly", sizeof *reassembly, RTE_CACHE_LINE_SIZE);

	if (reassembly == NULL)
		return NULL;
	reassembly->table = rte_ip_frag_table_create(BUCKETS, BUCKET_ENTRIES, REASSEMBLY_DATAGRAMS,
		rte_get_tsc_hz() * REASSEMBLY_MS / 1000, SOCKET_ID_ANY);
	if (reassembly->table == NULL) {
		rte_free(reassembly);
		return NULL;
	}
	return reassembly;
}

void reassembly_free(struct reassembly *reassembly)
{
	if (reassembly == NULL)
		return;
	rte_ip_frag_table_destroy(reassembly->table);
	rte_free(reassembly);
}

static bool passes(struct reassembly *reassembly, be32_t source, uint64_t now_ns)
{
	uint64_t *spent = &reassembly->spent_until_ns[(source * UINT32_C(2654435761)) >> 22];
	uint64_t from_ns = *spent > now_ns ? *spent : now_ns;

	static_assert(REASSEMBLY_SOURCES == 1 << (32 - 22), "all of the hash's bits");
	if (from_ns + TOKEN_NS > now_ns + REASSEMBLY_BURST * TOKEN_NS)
		return false;
	*spent = from_ns + TOKEN_NS;
	return true;
}

/* The library leaves the checksum to a device. Where the bytes lie is not its flag to clear: a
 * driver may have lent buffers of its own. */
static enum verdict make_whole(struct burst *b, unsigned i, struct rte_mbuf *whole)
{
	struct rte_ipv4_hdr *header;

	b->mbufs[i] = whole;
	whole->ol_flags &= ~RTE_MBUF_F_TX_IP_CKSUM;
	if (rte_pktmbuf_linearize(whole) != 0)
		return VERDICT_FRAGMENT;
	header = rte_pktmbuf_mtod_offset(whole, struct rte_ipv4_hdr *, b->pkts[i].l2_bytes);
	header->hdr_checksum = 0;
	header->hdr_checksum = rte_ipv4_cksum(header);
	pkt_view(&b->pkts[i], whole, b->pkts[i].l2_bytes);
	return VERDICT_OK;
}

enum verdict reassembly_take(struct reassembly *reassembly, struct burst *b, unsigned i)
{
	struct rte_mbuf *mbuf = b->mbufs[i], *whole;
	struct esp_pkt *pkt = &b->pkts[i];
	uint8_t *ip = pkt->data;

	if (!passes(reassembly, ip4_src(ip), b->now_ns))
		return VERDICT_FRAGMENT_LIMIT;
	mbuf->tx_offload = rte_mbuf_tx_offload(pkt->l2_bytes, ip4_hdr_bytes(ip), 0, 0, 0, 0, 0);
	b->mbufs[i] = NULL;
	whole = rte_ipv4_frag_reassemble_packet(reassembly->table, &reassembly->dead, mbuf,
		rte_rdtsc(), (struct rte_ipv4_hdr *)(void *)ip);
	rte_ip_frag_free_death_row(&reassembly->dead, 0);
	return whole == NULL ? VERDICT_HELD : make_whole(b, i, whole);
}
