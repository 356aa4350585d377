/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mobile IPv4 messages from anybody: decoding reads nothing outside of the message, what is found
 * lies inside of it, and what can be decoded means the same after encoding and decoding again.
 */
#include "lib/ipv4.h"
#include "lib/mip4.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
	if (!holds)
		abort();
}

static const struct mip4_key key = {.spi = 0x100, .alg = HMAC_MD5, .key_len = 16};

static void check_auth(const struct mip4_auth *auth, const uint8_t *data, size_t size)
{
	if (!auth->present)
		return;
	demand(auth->tag > data && auth->tag_len != 0);
	demand((size_t)(auth->tag - data) + auth->tag_len <= size);
	demand(auth->covered_len == (size_t)(auth->tag - data));
	(void)mip4_auth_verify(&key, data, auth);
}

static void try_rrq(const uint8_t *data, size_t size)
{
	struct mip4_rrq first, second;
	struct mip4_auth auth;
	uint8_t out[64];
	size_t len;

	if (mip4_rrq_decode(data, size, &first, &auth) != MIP4_OK)
		return;
	check_auth(&auth, data, size);
	first.flags &= (uint8_t) ~(MIP4_FLAG_r | MIP4_FLAG_x);
	len = mip4_rrq_encode(out, sizeof out, &first, &key);
	demand(len == 46);
	demand(mip4_rrq_decode(out, len, &second, &auth) == MIP4_OK);
	demand(mip4_auth_verify(&key, out, &auth));
	demand(first.flags == second.flags && first.lifetime_s == second.lifetime_s);
	demand(ip_addr_equal(&first.hoa, &second.hoa) && ip_addr_equal(&first.ha, &second.ha));
	demand(ip_addr_equal(&first.coa, &second.coa));
	demand(first.identification == second.identification);
}

static void try_rrp(const uint8_t *data, size_t size)
{
	struct mip4_rrp first, second;
	struct mip4_auth auth;
	uint8_t out[64];
	size_t len;

	if (mip4_rrp_decode(data, size, &first, &auth) != MIP4_OK)
		return;
	check_auth(&auth, data, size);
	len = mip4_rrp_encode(out, sizeof out, &first, &key);
	demand(len == 42);
	demand(mip4_rrp_decode(out, len, &second, &auth) == MIP4_OK);
	demand(first.code == second.code && first.lifetime_s == second.lifetime_s);
	demand(ip_addr_equal(&first.hoa, &second.hoa) && ip_addr_equal(&first.ha, &second.ha));
	demand(first.identification == second.identification);
}

/* The checksum is put right first: a fuzzer does not find it. */
static void try_advert(const uint8_t *data, size_t size)
{
	uint8_t *message = malloc(size);
	uint8_t out[64];
	struct mip4_advert first, second;
	uint16_t sum;
	size_t len;

	if (message == NULL)
		abort();
	memcpy(message, data, size);
	if (size >= 4) {
		memset(message + 2, 0, 2);
		sum = inet_fold(inet_sum(message, size, 0));
		message[2] = (uint8_t)(sum >> 8);
		message[3] = (uint8_t)sum;
	}
	if (mip4_advert_decode(message, size, &first)) {
		len = mip4_advert_encode(out, sizeof out, &first);
		demand(len != 0);
		demand(mip4_advert_decode(out, len, &second));
		demand(first.n_coas == second.n_coas && first.sequence == second.sequence);
		demand(first.busy == second.busy && first.foreign_agent == second.foreign_agent);
		demand(ip_addr_equal(&first.router, &second.router));
	}
	free(message);
}

static void count_piece(void *arg, const uint8_t *datagram, size_t len)
{
	struct ipv4_view ip;

	demand(ipv4_parse(datagram, len, &ip) && ip.total_len == len);
	*(size_t *)arg += len - ip.hdr_bytes;
}

/* The header checksum is put right first. */
static void try_datagram(const uint8_t *data, size_t size)
{
	static const struct ip_addr from = {.family = AF_INET, .bytes = {192, 0, 2, 1}};
	uint8_t *datagram = malloc(size);
	uint8_t error[600];
	struct ipv4_view ip;
	struct udp_view udp;
	size_t payload = 0, hdr_bytes = (size_t)(data[0] & 0xf) * 4;
	uint16_t sum;

	if (datagram == NULL)
		abort();
	memcpy(datagram, data, size);
	if (size >= 20 && hdr_bytes >= 20 && hdr_bytes <= size) {
		memset(datagram + 10, 0, 2);
		sum = inet_fold(inet_sum(datagram, hdr_bytes, 0));
		datagram[10] = (uint8_t)(sum >> 8);
		datagram[11] = (uint8_t)sum;
	}
	if (ipv4_udp_parse(datagram, size, &ip, &udp))
		demand(udp.payload + udp.payload_len <= datagram + size);
	if (ipv4_parse(datagram, size, &ip)) {
		int n = ipv4_fragment(datagram, size, 68, count_piece, &payload);

		demand(n < 0 || payload == (size_t)(ip.total_len - ip.hdr_bytes));
		demand(icmp_error_build(error, sizeof error, 3, 4, 1400, &from, datagram, size) <=
			576);
	}
	free(datagram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	try_rrq(data, size);
	try_rrp(data, size);
	try_advert(data, size);
	try_datagram(data, size);
	return 0;
}
