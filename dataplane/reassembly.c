/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: rte_ip_frag keeps the pieces and forgets those that are too old when it needs
 * their place; what it gives up is freed at once. The datagram it gives back is a chain of buffers
 * and becomes one again by copying. It completes a datagram only if its pieces, each beginning
 * where another ends, are all that it has got: with an overlap all of them are dropped (RFC 5722).
 * A piece that waits for others takes a token of a second ration, which comes back when they have
 * come.
 */
#include "dataplane/reassembly.h"

#include "dataplane/ip4.h"
#include "dataplane/ip6.h"
#include "dataplane/now.h"
#include "lib/ration.h"

#include <rte_cycles.h>
#include <rte_ip.h>
#include <rte_ip_frag.h>
#include <rte_malloc.h>

#define BUCKETS 128
#define BUCKET_ENTRIES 4
#define TOKEN_NS (NS_PER_S / REASSEMBLY_RATE)
#define WAIT_NS (NS_PER_S / REASSEMBLY_WAITING)
static_assert(REASSEMBLY_WAITING * (1000 + REASSEMBLY_MS) <= REASSEMBLY_DATAGRAMS / 2 * 1000,
	"half is left for others");

struct reassembly {
	struct rte_ip_frag_tbl *table;
	struct rte_ip_frag_death_row dead;
	struct source {
		uint64_t spent_until_ns, waiting_until_ns;
	} sources[REASSEMBLY_SOURCES];
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

/* Who has an IPv6 address has 2^64 of them. */
static struct source *source_of(struct reassembly *reassembly, const uint8_t *ip)
{
	const uint32_t prime = UINT32_C(2654435761);
	const uint32_t key = ip_is_v6(ip) ? wire_load_u32(ip6_src(ip)) * prime +
						    wire_load_u32(ip6_src(ip) + 4)
					  : ip4_src(ip);

	static_assert(REASSEMBLY_SOURCES == 1 << (32 - 22), "all of the hash's bits");
	return &reassembly->sources[(key * prime) >> 22];
}

static bool passes(struct source *source, uint64_t now_ns)
{
	return ration_has(source->waiting_until_ns, WAIT_NS, REASSEMBLY_WAITING, now_ns) &&
	       ration_take(&source->spent_until_ns, TOKEN_NS, REASSEMBLY_BURST, now_ns) &&
	       ration_take(&source->waiting_until_ns, WAIT_NS, REASSEMBLY_WAITING, now_ns);
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
	pkt_view(&b->pkts[i], whole, b->pkts[i].l2_bytes);
	if (ip_is_v6(b->pkts[i].data))
		return ip6_check(b->pkts[i].data, b->pkts[i].len);
	header = (struct rte_ipv4_hdr *)(void *)b->pkts[i].data;
	header->hdr_checksum = 0;
	header->hdr_checksum = rte_ipv4_cksum(header);
	return VERDICT_OK;
}

static struct rte_mbuf *take_v4(
	struct reassembly *reassembly, struct rte_mbuf *mbuf, const struct esp_pkt *pkt)
{
	mbuf->tx_offload = rte_mbuf_tx_offload(
		pkt->l2_bytes, ip4_hdr_bytes(pkt->data), 0, 0, 0, 0, 0);
	return rte_ipv4_frag_reassemble_packet(reassembly->table, &reassembly->dead, mbuf,
		rte_rdtsc(), (struct rte_ipv4_hdr *)(void *)pkt->data);
}

/* RFC 8200 section 4.5: a piece that is not the last ends where an offset can begin, and none
 * beyond 64 KiB. */
static enum verdict check_v6(const struct esp_pkt *pkt)
{
	const uint32_t hdr = IPV6_HDR_BYTES + IPV6_FRAGMENT_HDR_BYTES;
	uint32_t bytes = pkt->len - hdr;
	uint16_t field;

	/* The library puts together what has no other headers in front; nobody sends that. */
	if (pkt->data[6] != IPV6_NEXT_FRAGMENT)
		return VERDICT_FRAGMENT;
	field = wire_load_u16(pkt->data + IPV6_HDR_BYTES + 2);
	if (bytes == 0 || (field & IPV6_FRAGMENT_OFFSET) + bytes > UINT16_MAX ||
		((field & IPV6_FRAGMENT_MORE) != 0 && bytes % 8 != 0))
		return VERDICT_BAD_HEADER;
	return VERDICT_OK;
}

static struct rte_mbuf *take_v6(
	struct reassembly *reassembly, struct rte_mbuf *mbuf, const struct esp_pkt *pkt)
{
	const uint32_t hdr = IPV6_HDR_BYTES + IPV6_FRAGMENT_HDR_BYTES;

	mbuf->tx_offload = rte_mbuf_tx_offload(pkt->l2_bytes, hdr, 0, 0, 0, 0, 0);
	return rte_ipv6_frag_reassemble_packet(reassembly->table, &reassembly->dead, mbuf,
		rte_rdtsc(), (struct rte_ipv6_hdr *)(void *)pkt->data,
		(struct rte_ipv6_fragment_ext *)(void *)(pkt->data + IPV6_HDR_BYTES));
}

enum verdict reassembly_take(struct reassembly *reassembly, struct burst *b, unsigned i)
{
	const struct esp_pkt *pkt = &b->pkts[i];
	struct rte_mbuf *mbuf = b->mbufs[i], *whole;
	const bool v6 = ip_is_v6(pkt->data);
	enum verdict verdict = v6 ? check_v6(pkt) : VERDICT_OK;
	struct source *source = source_of(reassembly, pkt->data);

	if (verdict != VERDICT_OK)
		return verdict;
	if (!passes(source, b->now_ns))
		return VERDICT_FRAGMENT_LIMIT;
	b->mbufs[i] = NULL;
	whole = v6 ? take_v6(reassembly, mbuf, pkt) : take_v4(reassembly, mbuf, pkt);
	rte_ip_frag_free_death_row(&reassembly->dead, 0);
	if (whole == NULL)
		return VERDICT_HELD;
	source->waiting_until_ns -= whole->nb_segs * WAIT_NS;
	return make_whole(b, i, whole);
}
