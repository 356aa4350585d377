/* SPDX-License-Identifier: BSD-3-Clause */
/* Which ICMP messages are believed, what they change, and when that ends. */
#include "control/gw/pmtu.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/ipv6.h"
#include "lib/wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define US "192.0.2.1"
#define COA "198.51.100.7"
#define SPI 0x2001u
#define SEQ 100000u
#define NODES 4200 /* more than are remembered */

static struct tunnels *tunnels;
static struct pmtu *pmtu;

struct message {
	const char *name;
	const char *quoted_src, *quoted_dst;
	uint32_t spi, seq;
	uint16_t mtu;
	uint8_t type, code, protocol;
	uint16_t src_port, dst_port;
	size_t cut; /* bytes missing of the quote */
	bool bad_checksum;
	uint16_t want; /* MTU afterwards */
};
#define GOOD 3, 4, IPPROTO_ESP, 0, 0

static size_t make(uint8_t *out, const struct message *m)
{
	struct ip_addr router = addr_of("198.51.100.254"), us = addr_of(US);
	struct ip_addr src = addr_of(m->quoted_src), dst = addr_of(m->quoted_dst);
	uint8_t *icmp = out + 20, *quote = icmp + 8;
	size_t udp = m->protocol == IPPROTO_UDP ? 8 : 0, len = 20 + 8 + 20 + udp + 8 - m->cut;

	memset(out, 0, 128);
	ipv4_build(quote, &src, &dst, m->protocol, 60, 0, 7, IPV4_FLAG_DF, 1500);
	wire_store_u16(quote + 20, m->src_port);
	wire_store_u16(quote + 22, m->dst_port);
	wire_store_u32(quote + 20 + udp, m->spi);
	wire_store_u32(quote + 24 + udp, m->seq);
	icmp[0] = m->type;
	icmp[1] = m->code;
	wire_store_u16(icmp + 6, m->mtu);
	wire_store_u16(
		icmp + 2, inet_fold(inet_sum(icmp, len - 20, 0)) ^ (m->bad_checksum ? 1 : 0));
	ipv4_build(out, &router, &us, IPPROTO_ICMP, 60, 0, 1, 0, (uint16_t)len);
	return len;
}

#define US_V6 "2001:db8:1::1"
#define COA_V6 "2001:db8:7::7"
#define PIECE 44 /* next header of a fragment */

struct message_v6 {
	const char *name;
	const char *quoted_src, *quoted_dst;
	uint32_t spi, seq, mtu;
	uint8_t type, next; /* next header of the quoted packet */
	uint16_t src_port, dst_port;
	size_t options; /* bytes of destination options before the message */
	size_t cut;     /* bytes missing of the quote */
	bool bad_checksum;
	uint16_t want; /* MTU afterwards */
};

static void put_v6(uint8_t *at, const char *src, const char *dst, uint8_t next, size_t len)
{
	struct ip_addr from = addr_of(src), to = addr_of(dst);

	memset(at, 0, IPV6_HDR_BYTES);
	at[0] = 6 << 4;
	wire_store_u16(at + 4, (uint16_t)len);
	at[6] = next;
	at[7] = 60;
	memcpy(at + IPV6_SRC_AT, from.bytes, IPV6_ADDR_BYTES);
	memcpy(at + IPV6_DST_AT, to.bytes, IPV6_ADDR_BYTES);
}

static size_t make_v6(uint8_t *out, const struct message_v6 *m)
{
	const char *router = "2001:db8:9::9";
	struct ip_addr from = addr_of(router), us = addr_of(US_V6);
	/* UDP, or a fragment header, whose words are the ports. */
	size_t udp = m->next == IPPROTO_UDP || m->next == PIECE ? 8 : 0;
	size_t len = 8 + 40 + udp + 8 - m->cut;
	uint8_t *icmp = out + IPV6_HDR_BYTES + m->options, *quote = icmp + 8, *at = quote + 40;

	memset(out, 0, 256);
	put_v6(out, router, US_V6, m->options != 0 ? 60 : IPPROTO_ICMPV6, m->options + len);
	if (m->options != 0) {
		out[40] = IPPROTO_ICMPV6;
		out[42] = 1; /* PadN */
		out[43] = 4;
	}
	put_v6(quote, m->quoted_src, m->quoted_dst, m->next, 1460);
	wire_store_u16(at, m->src_port);
	wire_store_u16(at + 2, m->dst_port);
	wire_store_u32(at + udp, m->spi);
	wire_store_u32(at + udp + 4, m->seq);
	icmp[0] = m->type;
	wire_store_u32(icmp + 4, m->mtu);
	wire_store_u16(
		icmp + 2, inet_fold(inet_sum(icmp, len,
				  inet_pseudo_sum(&from, &us, IPPROTO_ICMPV6, (uint32_t)len))) ^
				  (m->bad_checksum ? 1 : 0));
	return IPV6_HDR_BYTES + m->options + len;
}

static struct tunnel *add(uint32_t i, const char *coa, uint16_t port, uint32_t spi)
{
	char name[16];
	struct ip_addr remote = addr_of(coa);
	const struct tunnel_params params = {
		.name = name,
		.home_address = ip_addr_from_v4(htonl(0x0a010000 + i)),
		.position = {.remote = {.addr = remote, .port = port}, .coa = remote},
	};
	struct sa_params sa = {.spi = spi, .alg = CRYPTO_AES128GCM16, .esn = true};
	struct tunnel *tunnel;

	snprintf(name, sizeof name, "node%u", i);
	memcpy(sa.key, &i, sizeof i);
	sa.key[19] = 1;
	CU_ASSERT_EQUAL_FATAL(tunnel_add(tunnels, &params, &tunnel), 0);
	CU_ASSERT_EQUAL_FATAL(tunnel_sa_add(tunnels, tunnel, false, &sa, 1), 0);
	atomic_store(&atomic_load(&tunnel->node->sa_out)->slot->seq, SEQ);
	return tunnel;
}

static void begin(void)
{
	memset(&dp_double, 0, sizeof dp_double);
	tunnels = tunnels_new(&(struct tunnel_config){.dp = DOUBLE_DP,
		.max_nodes = NODES,
		.mtu = 1500,
		.local = addr_of(US),
		.local_v6 = addr_of(US_V6)});
	CU_ASSERT_PTR_NOT_NULL_FATAL(tunnels);
	pmtu = pmtu_new(tunnels);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pmtu);
}

static void end(void)
{
	pmtu_free(pmtu);
	for (struct tunnel *t; (t = tunnel_next(tunnels, 0)) != NULL; double_reset_calls())
		CU_ASSERT_EQUAL(tunnel_del(tunnels, t, false), 0);
	tunnels_free(tunnels);
	double_free_nodes();
}

static uint16_t mtu_of(const struct tunnel *tunnel)
{
	return atomic_load(&tunnel->node->path)->mtu;
}

static void test_messages(void)
{
	static const struct message rows[] = {
		{"good", US, COA, SPI, SEQ, 1400, GOOD, 0, false, 1400},
		{"an older number", US, COA, SPI, SEQ - 65535, 1400, GOOD, 0, false, 1400},
		{"too old", US, COA, SPI, SEQ - 65536, 1400, GOOD, 0, false, 1500},
		{"not sent yet", US, COA, SPI, SEQ + 1, 1400, GOOD, 0, false, 1500},
		{"another SPI", US, COA, SPI + 1, SEQ, 1400, GOOD, 0, false, 1500},
		{"another node's address", US, "198.51.100.8", SPI, SEQ, 1400, GOOD, 0, false,
			1500},
		{"not from us", "192.0.2.2", COA, SPI, SEQ, 1400, GOOD, 0, false, 1500},
		{"larger", US, COA, SPI, SEQ, 1501, GOOD, 0, false, 1500},
		{"absurdly small", US, COA, SPI, SEQ, 68, GOOD, 0, false, 576},
		{"does not say", US, COA, SPI, SEQ, 0, GOOD, 0, false, 1492},
		{"port unreachable", US, COA, SPI, SEQ, 1400, 3, 3, IPPROTO_ESP, 0, 0, 0, false,
			1500},
		{"time exceeded", US, COA, SPI, SEQ, 1400, 11, 4, IPPROTO_ESP, 0, 0, 0, false,
			1500},
		{"about TCP", US, COA, SPI, SEQ, 1400, 3, 4, IPPROTO_TCP, 0, 0, 0, false, 1500},
		{"in UDP, which it is not", US, COA, SPI, SEQ, 1400, 3, 4, IPPROTO_UDP, 4500, 4500,
			0, false, 1500},
		{"quote cut", US, COA, SPI, SEQ, 1400, GOOD, 1, false, 1500},
		{"quote without a payload", US, COA, SPI, SEQ, 1400, GOOD, 8, false, 1500},
		{"no quote", US, COA, SPI, SEQ, 1400, GOOD, 28, false, 1500},
		{"checksum", US, COA, SPI, SEQ, 1400, GOOD, 0, true, 1500},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t data[128];
		struct tunnel *tunnel;

		begin();
		(void)add(1, "198.51.100.9", 0, SPI); /* the same SPI to another node */
		tunnel = add(2, COA, 0, SPI);
		pmtu_datagram(pmtu, data, make(data, &rows[i]), NS_PER_S);
		CHECK_ROW(rows[i].name, mtu_of(tunnel) == rows[i].want);
		CHECK_ROW(rows[i].name, mtu_of(tunnel_by_handle(tunnels, 1)) == 1500);
		CHECK_ROW(rows[i].name, pmtu_stats(pmtu)->learned == (rows[i].want != 1500));
		end();
	}
}

static void test_messages_v6(void)
{
#define ESP 50, 0, 0
	static const struct message_v6 rows[] = {
		{"good", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 0, false, 1400},
		{"behind options", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 8, 0, false, 1400},
		{"the least", US_V6, COA_V6, SPI, SEQ, 1280, 2, ESP, 0, 0, false, 1280},
		{"less than the least", US_V6, COA_V6, SPI, SEQ, 1279, 2, ESP, 0, 0, false, 1500},
		{"does not say", US_V6, COA_V6, SPI, SEQ, 0, 2, ESP, 0, 0, false, 1500},
		{"more than 16 bits", US_V6, COA_V6, SPI, SEQ, 0x10000 + 1400, 2, ESP, 0, 0, false,
			1500},
		{"no smaller", US_V6, COA_V6, SPI, SEQ, 1500, 2, ESP, 0, 0, false, 1500},
		{"an older number", US_V6, COA_V6, SPI, SEQ - 65535, 1400, 2, ESP, 0, 0, false,
			1400},
		{"too old", US_V6, COA_V6, SPI, SEQ - 65536, 1400, 2, ESP, 0, 0, false, 1500},
		{"not sent yet", US_V6, COA_V6, SPI, SEQ + 1, 1400, 2, ESP, 0, 0, false, 1500},
		{"another SPI", US_V6, COA_V6, SPI + 1, SEQ, 1400, 2, ESP, 0, 0, false, 1500},
		{"another node's address", US_V6, "2001:db8:7::8", SPI, SEQ, 1400, 2, ESP, 0, 0,
			false, 1500},
		{"not from us", "2001:db8:1::2", COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 0, false, 1500},
		{"unreachable", US_V6, COA_V6, SPI, SEQ, 1400, 1, ESP, 0, 0, false, 1500},
		{"about TCP", US_V6, COA_V6, SPI, SEQ, 1400, 2, IPPROTO_TCP, 0, 0, 0, 0, false,
			1500},
		{"in UDP, which it is not", US_V6, COA_V6, SPI, SEQ, 1400, 2, IPPROTO_UDP, 4500,
			4500, 0, 0, false, 1500},
		{"quote cut", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 1, false, 1500},
		{"quote without a payload", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 8, false,
			1500},
		{"header of the quote cut", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 9, false,
			1500},
		{"no quote", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 48, false, 1500},
		{"message cut", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 49, false, 1500},
		{"checksum", US_V6, COA_V6, SPI, SEQ, 1400, 2, ESP, 0, 0, true, 1500},
		{"first piece", US_V6, COA_V6, SPI, SEQ, 1400, 2, PIECE, IPPROTO_ESP << 8, 1, 0, 0,
			false, 1400},
		{"later piece", US_V6, COA_V6, SPI, SEQ, 1400, 2, PIECE, IPPROTO_ESP << 8, 9, 0, 0,
			false, 1500},
		{"piece of TCP", US_V6, COA_V6, SPI, SEQ, 1400, 2, PIECE, IPPROTO_TCP << 8, 1, 0, 0,
			false, 1500},
		{"piece cut in its header", US_V6, COA_V6, SPI, SEQ, 1400, 2, PIECE,
			IPPROTO_ESP << 8, 1, 0, 9, false, 1500},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t data[256], *copy;
		struct tunnel *tunnel;
		size_t len = make_v6(data, &rows[i]);

		begin();
		(void)add(1, COA, 0, SPI); /* the same SPI to nodes elsewhere */
		(void)add(2, "2001:db8:7::9", 0, SPI);
		tunnel = add(3, COA_V6, 0, SPI);
		copy = malloc(len); /* ends where it ends */
		CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
		memcpy(copy, data, len);
		pmtu_datagram(pmtu, copy, len, NS_PER_S);
		CHECK_ROW(rows[i].name, mtu_of(tunnel) == rows[i].want);
		CHECK_ROW(rows[i].name, mtu_of(tunnel_by_handle(tunnels, 1)) == 1500);
		CHECK_ROW(rows[i].name, mtu_of(tunnel_by_handle(tunnels, 2)) == 1500);
		CHECK_ROW(rows[i].name, pmtu_stats(pmtu)->learned == (rows[i].want != 1500));
		pmtu_poll(pmtu, NS_PER_S + PMTU_AGE_NS);
		CHECK_ROW(rows[i].name, mtu_of(tunnel) == 1500);
		pmtu_datagram(pmtu, copy, len - 1, NS_PER_S); /* shorter than it says */
		CHECK_ROW(rows[i].name, mtu_of(tunnel) == 1500);
		free(copy);
		end();
	}
}

static void test_behind_a_nat_v6(void)
{
	struct message_v6 m = {
		"", US_V6, COA_V6, SPI, SEQ, 1300, 2, IPPROTO_UDP, 4500, 40001, 0, 0, false, 0};
	uint8_t data[256];
	struct tunnel *tunnel;

	begin();
	tunnel = add(1, COA_V6, 40000, SPI);
	pmtu_datagram(pmtu, data, make_v6(data, &m), NS_PER_S);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1500);
	m.dst_port = 40000;
	pmtu_datagram(pmtu, data, make_v6(data, &m), NS_PER_S);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1300);
	end();
}

static void test_behind_a_nat(void)
{
	static const struct message good = {
		"", US, COA, SPI, SEQ, 1300, 3, 4, IPPROTO_UDP, 4500, 40000, 0, false, 0};
	struct message other = good;
	uint8_t data[128];
	struct tunnel *tunnel;

	begin();
	tunnel = add(1, COA, 40000, SPI);
	other.dst_port++;
	pmtu_datagram(pmtu, data, make(data, &other), NS_PER_S);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1500);
	other = good;
	other.src_port = 500;
	pmtu_datagram(pmtu, data, make(data, &other), NS_PER_S);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1500);
	pmtu_datagram(pmtu, data, make(data, &good), NS_PER_S);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1300);
	/* The NAT chose another port: the way is the same. */
	CU_ASSERT_EQUAL(tunnel_move_port(tunnels, tunnel, 40001), 0);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1300);
	end();
}

static void test_age(void)
{
	struct message m = {"", US, COA, SPI, SEQ, 1400, GOOD, 0, false, 0};
	uint8_t data[128];
	struct tunnel *tunnel;
	struct position moved;

	begin();
	tunnel = add(1, COA, 0, SPI);
	pmtu_datagram(pmtu, data, make(data, &m), NS_PER_S);
	m.mtu = 1300;
	pmtu_datagram(pmtu, data, make(data, &m), 2 * NS_PER_S);
	m.mtu = 1400; /* never up */
	pmtu_datagram(pmtu, data, make(data, &m), 3 * NS_PER_S);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1300);
	pmtu_poll(pmtu, NS_PER_S + PMTU_AGE_NS);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1300); /* the newer one holds */
	dp_double.set_path_fails = -EAGAIN;
	pmtu_poll(pmtu, 2 * NS_PER_S + PMTU_AGE_NS);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1300);
	dp_double.set_path_fails = 0;
	pmtu_poll(pmtu, 2 * NS_PER_S + PMTU_AGE_NS);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1500);
	/* a move forgets, and what is then aged is not its business */
	pmtu_datagram(pmtu, data, make(data, &m), NS_PER_S);
	moved = tunnel->position;
	moved.generation++;
	CU_ASSERT_EQUAL(tunnel_move(tunnels, tunnel, &moved), 0);
	CU_ASSERT_EQUAL(mtu_of(tunnel), 1500);
	double_reset_calls();
	pmtu_poll(pmtu, 10 * NS_PER_S + PMTU_AGE_NS);
	CU_ASSERT_EQUAL(dp_double.n, 0);
	end();
}

/* All nodes with one SPI, and more of them than are remembered: bounded, and nothing breaks. */
static void test_many(void)
{
	uint8_t data[128];

	begin();
	for (uint32_t i = 0; i < NODES; i++) {
		char text[IP_TEXT_MAX];
		struct ip_addr coa = ip_addr_from_v4(htonl(0xc6336400 + i));
		struct message m = {"", US, ip_addr_format(&coa, text), i < 128 ? SPI : SPI + i,
			SEQ, 1400, GOOD, 0, false, 0};

		(void)add(i, text, 0, m.spi);
		pmtu_datagram(pmtu, data, make(data, &m), NS_PER_S);
		double_reset_calls();
	}
	/* 64 of the 128 with one SPI cannot be found by it, nor a few that share their chain. */
	CU_ASSERT_EQUAL(pmtu_stats(pmtu)->learned, PMTU_LEARNED_MAX);
	CU_ASSERT(pmtu_stats(pmtu)->refused >= 64 && pmtu_stats(pmtu)->refused < 96);
	CU_ASSERT_EQUAL(
		pmtu_stats(pmtu)->refused + pmtu_stats(pmtu)->full, NODES - PMTU_LEARNED_MAX);
	for (uint32_t handle = 1; handle <= NODES; handle += 2) {
		CU_ASSERT_EQUAL(tunnel_del(tunnels, tunnel_by_handle(tunnels, handle), false), 0);
		double_reset_calls();
	}
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"messages", test_messages},
		{"messages over IPv6", test_messages_v6},
		{"behind a NAT", test_behind_a_nat},
		{"behind a NAT, over IPv6", test_behind_a_nat_v6},
		{"age", test_age},
		{"many", test_many},
		{NULL, NULL},
	};

	return unit_run("gw: path MTU", cases);
}
