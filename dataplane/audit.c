/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: whatever became of the view, the frame of a packet from outside still begins with
 * the headers that it came with, since decryption in place touches only what is behind them. SPI
 * and number are read there, never from an SA, which such a packet need not have.
 */
#include "dataplane/audit.h"

#include "dataplane/esp/ip_fields.h"
#include "dataplane/state.h"
#include "lib/ipv4.h"

#include <errno.h>
#include <stdio.h>

#define RING_PLACES 256
static_assert(sizeof(struct dp_audit) % 4 == 0, "rte_ring wants words");

int audit_new(struct audit *audit)
{
	static unsigned instance; /* control thread only; rte_ring finds rings by name */
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof name, "audit%u", instance++);
	*audit = (struct audit){.ring = rte_ring_create_elem(name, sizeof(struct dp_audit),
					RING_PLACES, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ)};
	return audit->ring != NULL ? 0 : -ENOMEM;
}

void audit_free(struct audit *audit)
{
	rte_ring_free(audit->ring);
	audit->ring = NULL;
}

static bool passes(struct audit *audit, enum verdict verdict, uint64_t now_ns)
{
	if (now_ns >= audit->second_ends_ns) {
		audit->second_ends_ns = now_ns + NS_PER_S;
		memset(audit->left, AUDIT_A_SECOND, sizeof audit->left);
	}
	if (audit->left[verdict] == 0)
		return false;
	audit->left[verdict]--;
	return true;
}

static void put_addr(struct ip_addr *out, const uint8_t *at, bool v6)
{
	memcpy(out->bytes, at, v6 ? IPV6_ADDR_BYTES : IPV4_ADDR_BYTES);
	out->family = v6 ? AF_INET6 : AF_INET;
}

/* The fixed part of a header, of which left bytes are there. */
static void put_addrs(
	struct ip_addr *source, struct ip_addr *destination, const uint8_t *ip, uint32_t left)
{
	const bool v6 = left > 0 && ip_is_v6(ip);

	if (left < (v6 ? (uint32_t)IPV6_HDR_BYTES : IPV4_HDR_BYTES))
		return;
	put_addr(source, ip + (v6 ? IPV6_SRC_AT : IPV4_SRC_AT), v6);
	put_addr(destination, ip + (v6 ? IPV6_DST_AT : IPV4_DST_AT), v6);
}

static void from_outside(struct dp_audit *record, const struct burst *b, unsigned i)
{
	const struct esp_pkt *pkt = &b->pkts[i];
	const struct rte_mbuf *mbuf = b->mbufs[i];
	const uint8_t *ip = rte_pktmbuf_mtod_offset(mbuf, const uint8_t *, pkt->l2_bytes);
	const uint32_t left = mbuf->data_len > pkt->l2_bytes
				      ? mbuf->data_len - (uint32_t)pkt->l2_bytes
				      : 0;

	put_addrs(&record->source, &record->destination, ip, left);
	if (left >= pkt->outer_bytes + (uint32_t)ESP_HDR_BYTES) {
		record->spi = esp_spi(ip + pkt->outer_bytes);
		record->sequence = wire_load_u32(ip + pkt->outer_bytes + 4);
	}
	if (record->verdict == VERDICT_INNER_SOURCE || record->verdict == VERDICT_POLICY)
		put_addrs(&record->inner_source, &record->inner_destination, pkt->data, pkt->len);
}

static bool has_sa_out(enum verdict verdict)
{
	return verdict == VERDICT_SEQ_EXHAUSTED || verdict == VERDICT_IV_EXHAUSTED ||
	       verdict == VERDICT_EXPIRED;
}

static void from_inside(struct dp_audit *record, const struct burst *b, unsigned i)
{
	put_addrs(&record->source, &record->destination, b->pkts[i].data, b->pkts[i].len);
	if (has_sa_out((enum verdict)record->verdict)) {
		const struct sa_out *sa = b->sas.out[i];

		record->spi = sa->spi;
		record->sequence = (uint32_t)atomic_load_explicit(
			&sa->slot->seq, memory_order_relaxed);
	}
}

void audit_note(struct audit *audit, const struct burst *b, unsigned i, enum dp_port came_in)
{
	struct dp_audit record = {.rx_ns = b->now_ns,
		.verdict = (uint8_t)b->verdicts[i],
		.inbound = came_in == DP_OUTSIDE};

	if (!passes(audit, b->verdicts[i], b->now_ns))
		return;
	if (record.inbound)
		from_outside(&record, b, i);
	else
		from_inside(&record, b, i);
	(void)rte_ring_sp_enqueue_elem(audit->ring, &record, sizeof record);
}

unsigned audit_take(struct audit *audit, struct dp_audit *out, unsigned max)
{
	return rte_ring_sc_dequeue_burst_elem(audit->ring, out, sizeof *out, max, NULL);
}

unsigned dataplane_audit_burst(struct dataplane *dp, struct dp_audit *out, unsigned max)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < dp->n_workers && n < max; i++)
		n += audit_take(&dp->workers[i]->audit, out + n, max - n);
	return n;
}
