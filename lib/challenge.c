/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: an answer is the request with its addresses changed over and another type; both
 * are read by the same function, which takes nothing that is a byte longer or shorter. */
#include "lib/challenge.h"

#include "lib/ipv4.h"
#include "lib/wire.h"

#include <assert.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <string.h>

#define IDENTIFIER 0x5247 /* "RG" */
#define MAGIC_AT 8
#define NONCE_AT 16

static const uint8_t magic[8] = {'r', 'o', 'a', 'm', 'g', 'a', 't', 'e'};
static_assert(NONCE_AT + CHALLENGE_NONCE_BYTES == CHALLENGE_ICMP_BYTES, "nothing behind the nonce");
static_assert(CHALLENGE_BYTES == IPV4_HDR_BYTES + CHALLENGE_ICMP_BYTES, "no options");

static void put_checksum(uint8_t *icmp)
{
	wire_store_u16(icmp + 2, 0);
	wire_store_u16(icmp + 2, inet_fold(inet_sum(icmp, CHALLENGE_ICMP_BYTES, 0)));
}

void challenge_build(uint8_t out[CHALLENGE_BYTES], const struct ip_addr *from,
	const struct ip_addr *to, const uint8_t nonce[CHALLENGE_NONCE_BYTES], uint16_t number)
{
	uint8_t *icmp = out + IPV4_HDR_BYTES;

	ipv4_build(
		out, from, to, IPPROTO_ICMP, IPV4_TTL_DEFAULT, 0, 0, IPV4_FLAG_DF, CHALLENGE_BYTES);
	icmp[0] = ICMP_ECHO;
	icmp[1] = 0;
	wire_store_u16(icmp + 4, IDENTIFIER);
	wire_store_u16(icmp + 6, number);
	memcpy(icmp + MAGIC_AT, magic, sizeof magic);
	memcpy(icmp + NONCE_AT, nonce, CHALLENGE_NONCE_BYTES);
	put_checksum(icmp);
}

/* False: not an echo message of that type with a challenge in it. */
static bool parse(const uint8_t *datagram, size_t len, uint8_t type, struct ipv4_view *ip,
	const uint8_t **icmp)
{
	if (!ipv4_parse(datagram, len, ip) || ip->protocol != IPPROTO_ICMP || ip->is_fragment ||
		ip->total_len != ip->hdr_bytes + CHALLENGE_ICMP_BYTES)
		return false;
	*icmp = datagram + ip->hdr_bytes;
	return (*icmp)[0] == type && (*icmp)[1] == 0 &&
	       memcmp(*icmp + MAGIC_AT, magic, sizeof magic) == 0 &&
	       inet_fold(inet_sum(*icmp, CHALLENGE_ICMP_BYTES, 0)) == 0;
}

bool challenge_answer(uint8_t *datagram, size_t len, const struct ip_addr *to)
{
	const uint8_t *asked;
	struct ipv4_view ip;
	uint8_t *icmp;

	if (!parse(datagram, len, ICMP_ECHO, &ip, &asked) || !ip_addr_equal(&ip.dst, to) ||
		ip.hdr_bytes != IPV4_HDR_BYTES || !ip_addr_is_unicast(&ip.src))
		return false;
	icmp = datagram + ip.hdr_bytes;
	ipv4_build(datagram, &ip.dst, &ip.src, IPPROTO_ICMP, IPV4_TTL_DEFAULT, ip.tos, ip.id,
		IPV4_FLAG_DF, CHALLENGE_BYTES);
	icmp[0] = ICMP_ECHOREPLY;
	put_checksum(icmp);
	return true;
}

const uint8_t *challenge_nonce(const uint8_t *datagram, size_t len)
{
	const uint8_t *icmp;
	struct ipv4_view ip;

	return parse(datagram, len, ICMP_ECHOREPLY, &ip, &icmp) &&
			       wire_load_u16(icmp + 4) == IDENTIFIER
		       ? icmp + NONCE_AT
		       : NULL;
}
