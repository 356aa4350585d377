/* SPDX-License-Identifier: BSD-3-Clause */
/* A challenge becomes its answer, as any system's ping would have it; everything else is neither.
 */
#include "lib/challenge.h"

#include "lib/ipv4.h"
#include "lib/wire.h"
#include "tests/unit/lib/unit.h"

#include <netinet/in.h>

#define GATEWAY "10.2.0.254"
#define HOA "10.1.0.10"
#define ICMP_AT 20

static uint8_t nonce[CHALLENGE_NONCE_BYTES];

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_FATAL(ip_addr_parse(text, &out));
	return out;
}

static void build(uint8_t out[CHALLENGE_BYTES])
{
	const struct ip_addr from = addr(GATEWAY), to = addr(HOA);

	for (unsigned i = 0; i < sizeof nonce; i++)
		nonce[i] = (uint8_t)(0xa0 + i);
	challenge_build(out, &from, &to, nonce, 3);
}

/* Byte by byte what RFC 792 says. */
static void test_layout(void)
{
	static const uint8_t icmp[] = {8, 0, 0, 0, 'R', 'G', 0, 3, 'r', 'o', 'a', 'm', 'g', 'a',
		't', 'e', 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab,
		0xac, 0xad, 0xae, 0xaf};
	uint8_t datagram[CHALLENGE_BYTES], bare[sizeof icmp];
	const struct ip_addr from = addr(GATEWAY), to = addr(HOA);
	struct ipv4_view ip;

	build(datagram);
	CU_ASSERT_FATAL(ipv4_parse(datagram, sizeof datagram, &ip));
	CU_ASSERT(ip.total_len == 52 && ip.hdr_bytes == 20 && ip.protocol == IPPROTO_ICMP);
	CU_ASSERT(ip_addr_equal(&ip.src, &from) && ip_addr_equal(&ip.dst, &to));
	CU_ASSERT(inet_fold(inet_sum(datagram + ICMP_AT, sizeof icmp, 0)) == 0);
	memcpy(bare, datagram + ICMP_AT, sizeof bare);
	wire_store_u16(bare + 2, 0);
	CU_ASSERT(memcmp(bare, icmp, sizeof icmp) == 0);
}

static void test_answer(void)
{
	uint8_t datagram[CHALLENGE_BYTES];
	const struct ip_addr gateway = addr(GATEWAY), home = addr(HOA);
	const uint8_t *got;
	struct ipv4_view ip;

	build(datagram);
	CU_ASSERT(challenge_nonce(datagram, sizeof datagram) == NULL); /* a question is no answer */
	CU_ASSERT_FATAL(challenge_answer(datagram, sizeof datagram, &home));
	CU_ASSERT_FATAL(ipv4_parse(datagram, sizeof datagram, &ip));
	CU_ASSERT(ip_addr_equal(&ip.src, &home) && ip_addr_equal(&ip.dst, &gateway));
	CU_ASSERT(datagram[ICMP_AT] == 0 && datagram[ICMP_AT + 7] == 3);
	got = challenge_nonce(datagram, sizeof datagram);
	CU_ASSERT_FATAL(got != NULL);
	CU_ASSERT(memcmp(got, nonce, sizeof nonce) == 0);
	CU_ASSERT(!challenge_answer(datagram, sizeof datagram, &gateway)); /* nor the other way */
}

static void fix_sums(uint8_t *datagram)
{
	wire_store_u16(datagram + 10, 0);
	wire_store_u16(datagram + 10, inet_fold(inet_sum(datagram, 20, 0)));
	wire_store_u16(datagram + ICMP_AT + 2, 0);
	wire_store_u16(datagram + ICMP_AT + 2,
		inet_fold(inet_sum(datagram + ICMP_AT, CHALLENGE_ICMP_BYTES, 0)));
}

/* Each byte wrong, with sums that are good all the same, or with the sums as they were. */
static void test_one_byte_wrong(void)
{
	const struct ip_addr home = addr(HOA);

	for (unsigned at = 0; at < CHALLENGE_BYTES; at++) {
		const bool sum = (at >= 10 && at < 12) || (at >= 22 && at < 24);
		/* TOS, id, DF, TTL; the gateway's address; identifier, number and nonce */
		const bool question_good = at == 1 || at == 4 || at == 5 || at == 8 ||
					   (at >= 12 && at < 16) || (at >= 24 && at < 28) ||
					   at >= 36;
		const bool answer_good = at == 1 || at == 4 || at == 5 || at == 8 ||
					 (at >= 12 && at < 20) || (at >= 26 && at < 28) || at >= 36;
		uint8_t question[CHALLENGE_BYTES], answer[CHALLENGE_BYTES], copy[CHALLENGE_BYTES];
		char name[16];

		snprintf(name, sizeof name, "byte %u", at);
		build(question);
		memcpy(answer, question, sizeof answer);
		CU_ASSERT_FATAL(challenge_answer(answer, sizeof answer, &home));
		question[at] ^= 1;
		answer[at] ^= 1;
		memcpy(copy, question, sizeof copy);
		CHECK_ROW(name, !challenge_answer(copy, sizeof copy, &home));
		CHECK_ROW(name, challenge_nonce(answer, sizeof answer) == NULL);
		if (sum)
			continue;
		fix_sums(question);
		fix_sums(answer);
		if (at != 6) /* the reserved flag */
			CHECK_ROW(name, challenge_answer(question, sizeof question, &home) ==
						question_good);
		if (at != 6)
			CHECK_ROW(name,
				(challenge_nonce(answer, sizeof answer) != NULL) == answer_good);
	}
}

static void test_lengths(void)
{
	const struct ip_addr home = addr(HOA);
	uint8_t datagram[CHALLENGE_BYTES + 8];

	for (size_t len = 0; len < CHALLENGE_BYTES; len++) {
		build(datagram);
		CU_ASSERT(!challenge_answer(datagram, len, &home));
	}
	/* Padding behind it is nothing of it; a longer ping is none. */
	build(datagram);
	CU_ASSERT(challenge_answer(datagram, sizeof datagram, &home));
	memset(datagram, 0, sizeof datagram);
	build(datagram);
	wire_store_u16(datagram + 2, CHALLENGE_BYTES + 8);
	fix_sums(datagram);
	CU_ASSERT(!challenge_answer(datagram, sizeof datagram, &home));
	/* A fragment of one. */
	build(datagram);
	wire_store_u16(datagram + 6, IPV4_FLAG_MF);
	fix_sums(datagram);
	CU_ASSERT(!challenge_answer(datagram, CHALLENGE_BYTES, &home));
}

/* Nobody has a third party bombed with answers. */
static void test_source(void)
{
	static const char *const bad[] = {"0.0.0.0", "255.255.255.255", "224.0.0.1"};
	const struct ip_addr home = addr(HOA);

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		const struct ip_addr from = addr(bad[i]);
		uint8_t datagram[CHALLENGE_BYTES];

		challenge_build(datagram, &from, &home, nonce, 0);
		CHECK_ROW(bad[i], !challenge_answer(datagram, sizeof datagram, &home));
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"layout", test_layout},
		{"answer", test_answer},
		{"one byte wrong", test_one_byte_wrong},
		{"lengths", test_lengths},
		{"source", test_source},
		{NULL, NULL},
	};

	return unit_run("lib/challenge", cases);
}
