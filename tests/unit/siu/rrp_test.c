/* SPDX-License-Identifier: BSD-3-Clause */
/* What may pass as an RRP inside an UPDATE: one good datagram, then every field wrong in turn. */
#include "lib/ipv4.h"
#include "lib/mip4.h"
#include "siu/siu.h"
#include "tests/unit/lib/unit.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_TRUE(ip_addr_parse(text, &out));
	return out;
}

struct recipe {
	const char *source, *destination, *home_address;
	uint16_t source_port, destination_port;
	uint8_t type;
	size_t payload_len; /* 0: as the encoder gives it */
	size_t at;          /* byte of the datagram to spoil, its header checksum put right */
	uint8_t xor ;
	bool keep_checksum;
};

static const struct recipe good = {.source = "10.1.0.1",
	.destination = "203.0.113.7",
	.home_address = "10.1.0.10",
	.source_port = 434,
	.destination_port = 434,
	.type = MIP4_TYPE_RRP};

static size_t cook(uint8_t out[1500], const struct recipe *recipe)
{
	static const struct mip4_key key = {
		.spi = 256, .alg = HMAC_SHA256, .key = "0123456789abcdef", .key_len = 16};
	struct mip4_rrp rrp = {.lifetime_s = 600,
		.hoa = addr(recipe->home_address),
		.ha = addr("10.1.0.1"),
		.identification = 77};
	struct ip_endpoint from = {addr(recipe->source), recipe->source_port};
	struct ip_endpoint to = {addr(recipe->destination), recipe->destination_port};
	uint8_t payload[1000] = {0};
	size_t len = mip4_rrp_encode(payload, sizeof payload, &rrp, &key);

	payload[0] = recipe->type;
	if (recipe->payload_len != 0)
		len = recipe->payload_len;
	len = ipv4_udp_build(out, 1500, &from, &to, payload, len);
	CU_ASSERT_TRUE_FATAL(len > 0);
	out[recipe->at] ^= recipe->xor ;
	if (recipe->xor != 0 && recipe->at < IPV4_HDR_BYTES && !recipe->keep_checksum) {
		uint16_t sum;

		memset(out + 10, 0, 2);
		sum = inet_fold(inet_sum(out, IPV4_HDR_BYTES, 0));
		out[10] = (uint8_t)(sum >> 8);
		out[11] = (uint8_t)sum;
	}
	return len;
}

static bool judge(const struct recipe *recipe, struct siu_update update)
{
	uint8_t datagram[1500];
	struct ip_addr home_agent = addr("10.1.0.1");
	size_t len = cook(datagram, recipe);
	uint8_t *exact = malloc(len);
	bool ok;

	memcpy(exact, datagram, len);
	update.home_address = addr("10.1.0.10");
	update.rrp = exact;
	update.rrp_len += len;
	ok = siu_rrp_acceptable(&update, &home_agent);
	free(exact);
	return ok;
}

static void test_fields(void)
{
	struct {
		const char *name;
		struct recipe recipe;
		bool want;
	} rows[] = {
		{"good", good, true},
		{"other source", good, false},
		{"other destination", good, false},
		{"source port 435", good, false},
		{"destination port of the node's choice", good, true},
		{"destination port 0", good, false},
		{"type of an RRQ", good, false},
		{"type 0", good, false},
		{"other home address", good, false},
		{"payload one short of an RRP", good, false},
		{"one byte too long", good, false},
		{"version 6", good, false},
		{"IHL 6", good, false},
		{"total length + 1", good, false},
		{"total length - 1", good, false},
		{"more fragments", good, false},
		{"fragment offset", good, false},
		{"protocol 6", good, false},
		{"header checksum", good, false},
		{"UDP length", good, false},
		{"UDP checksum", good, false},
		{"bit of the payload", good, false},
	};
	size_t i = 1;

	rows[i++].recipe.source = "10.1.0.2";
	rows[i++].recipe.destination = "203.0.113.8";
	rows[i++].recipe.source_port = 435;
	rows[i++].recipe.destination_port = 40000;
	rows[i++].recipe.destination_port = 0;
	rows[i++].recipe.type = MIP4_TYPE_RRQ;
	rows[i++].recipe.type = 0;
	rows[i++].recipe.home_address = "10.1.0.11";
	rows[i++].recipe.payload_len = 19;
	rows[i++].recipe.payload_len = SIU_RRP_MAX + 1 - IPV4_HDR_BYTES - UDP_HDR_BYTES;
	rows[i].recipe.at = 0;
	rows[i++].recipe.xor = 0x40 ^ 0x60;
	rows[i].recipe.at = 0;
	rows[i++].recipe.xor = 5 ^ 6;
	rows[i].recipe.at = 3;
	rows[i++].recipe.xor = 1; /* the length is even: + 1 */
	rows[i].recipe.at = 3;
	rows[i++].recipe.xor = 3; /* it ends in binary 10: - 1 */
	rows[i].recipe.at = 6;
	rows[i++].recipe.xor = 0x20;
	rows[i].recipe.at = 7;
	rows[i++].recipe.xor = 1;
	rows[i].recipe.at = 9;
	rows[i++].recipe.xor = 17 ^ 6;
	rows[i].recipe.at = 10;
	rows[i].recipe.keep_checksum = true;
	rows[i++].recipe.xor = 1;
	rows[i].recipe.at = 25;
	rows[i++].recipe.xor = 1;
	rows[i].recipe.at = 27;
	rows[i++].recipe.xor = 1;
	rows[i].recipe.at = 40;
	rows[i++].recipe.xor = 1;
	CU_ASSERT_EQUAL_FATAL(i, sizeof rows / sizeof *rows);
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct siu_update update = {.new_coa = addr("203.0.113.7")};

		CHECK_ROW(rows[i].name, judge(&rows[i].recipe, update) == rows[i].want);
	}
}

static void test_longest(void)
{
	struct siu_update update = {.new_coa = addr("203.0.113.7")};
	struct recipe recipe = good;

	recipe.payload_len = 19;
	CU_ASSERT_FALSE(judge(&recipe, update));
	recipe.payload_len = 20; /* an RRP without extension */
	CU_ASSERT_TRUE(judge(&recipe, update));
	/* Zeros behind the reply are padding extensions (RFC 5944 section 1.9). */
	recipe.payload_len = SIU_RRP_MAX - IPV4_HDR_BYTES - UDP_HDR_BYTES;
	CU_ASSERT_TRUE(judge(&recipe, update));
	/* Trailing bytes belong to no datagram. */
	{
		uint8_t datagram[1500];
		struct ip_addr home_agent = addr("10.1.0.1");
		size_t len = cook(datagram, &good);

		update.home_address = addr("10.1.0.10");
		update.rrp = datagram;
		update.rrp_len = len + 1;
		CU_ASSERT_FALSE(siu_rrp_acceptable(&update, &home_agent));
		update.rrp_len = len - 1;
		CU_ASSERT_FALSE(siu_rrp_acceptable(&update, &home_agent));
		update.rrp = NULL;
		update.rrp_len = 0;
		CU_ASSERT_FALSE(siu_rrp_acceptable(&update, &home_agent));
	}
}

static void test_destination_by_flags(void)
{
	struct ip_addr here = addr("203.0.113.7"), other = addr("198.51.100.7");
	struct ip_addr unset = {0};
	struct {
		const char *name;
		uint16_t flags;
		struct ip_addr former_coa, new_coa;
		bool want;
	} rows[] = {
		{"move", 0, other, here, true},
		{"move, to the former CoA", 0, here, other, false},
		{"move without CoA", 0, here, unset, false},
		{"reply only", SIU_REPLY_ONLY, unset, here, true},
		{"reply only to the former CoA", SIU_REPLY_ONLY, here, unset, false},
		{"deregister", SIU_DEREGISTER, here, unset, true},
		{"deregister, CoA given", SIU_DEREGISTER, other, here, true},
		{"deregister, other CoA given", SIU_DEREGISTER, here, other, false},
		{"deregister without any", SIU_DEREGISTER, unset, unset, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct siu_update update = {.flags = rows[i].flags,
			.former_coa = rows[i].former_coa,
			.new_coa = rows[i].new_coa};

		CHECK_ROW(rows[i].name, judge(&good, update) == rows[i].want);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"every field wrong in turn", test_fields},
		{"lengths", test_longest},
		{"destination by flags", test_destination_by_flags},
		{NULL, NULL},
	};

	return unit_run("siu/rrp", cases);
}
