/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Judging registration requests by tables: RFC 5944 sections 3.8.2 and 5.7.1, RFC 3024.
 *
 * Vectors: computed with Python's hmac over the messages that their names say; home address
 * 10.1.0.10, home agent 10.1.0.1, CoA 198.51.100.7, flags D and T, lifetime 600.
 */
#include "control/ha/registration.h"

#include "tests/unit/ha/fixture.h"
#include "tests/unit/lib/unit.h"

#define RRQ_MD5                                                        \
	"012202580a01000a0a010001c6336407e8d4a51012345678201400000100" \
	"226cd18b8b9fa31497c5871781290e1c"
#define RRQ_SHA256                                                     \
	"012202580a01000a0a010001c6336407e8d4a51012345678202400000101" \
	"bf8807386734d42de3362e79e0dc47914ee40f80082fb292d307aa6ccba42af1"
#define RRP_ACCEPTED                                           \
	"0300012c0a01000a0a010001e8d4a51012345678201400000100" \
	"d5565a796c0adbd98ac26850612c4306"
#define RRP_133                                                \
	"038500000a01000a0a010001e8d4a9c012345678201400000100" \
	"f21e1442b1fdedf868145ee0868fc13e"
#define HA_CLOCK_133 (UINT64_C(0xe8d4a9c0) - VECTOR_SECONDS)

static const struct ha_known NOTHING_KNOWN;

static uint64_t now_ntp(void)
{
	return ntp_from_real_ns(clock_real_ns());
}

static void judge_hex(struct ha_registration *reg, const struct ha_conf *conf, const char *hex,
	uint8_t payload[HA_RRQ_MAX], const struct ha_known *known)
{
	struct ip_addr source = addr_of(COA_A);
	size_t len = unit_hex(hex, payload, HA_RRQ_MAX);

	CU_ASSERT_TRUE_FATAL(ha_registration_read(reg, payload, len));
	ha_registration_judge(reg, conf, &conf->nodes[0], known, &source, now_ntp());
}

static void check_reply(const struct ha_registration *reg, const char *expected)
{
	uint8_t wanted[HA_RRQ_MAX], got[HA_RRQ_MAX];
	size_t wanted_len = unit_hex(expected, wanted, sizeof wanted);

	CU_ASSERT_EQUAL_FATAL(ha_registration_reply(reg, reg->code, got, sizeof got), wanted_len);
	CU_ASSERT_EQUAL(memcmp(got, wanted, wanted_len), 0);
}

static void vectors(void)
{
	struct ha_conf conf = fixture_conf();
	uint8_t payload[HA_RRQ_MAX];
	struct ha_registration reg;

	set_clock(0);
	judge_hex(&reg, &conf, RRQ_MD5, payload, &NOTHING_KNOWN);
	CU_ASSERT_EQUAL(reg.verdict, HA_ACCEPT);
	CU_ASSERT_EQUAL(reg.lifetime_s, 300); /* asked for 600, capped by the configuration */
	check_reply(&reg, RRP_ACCEPTED);

	judge_hex(&reg, &conf, RRQ_SHA256, payload, &NOTHING_KNOWN);
	CU_ASSERT_EQUAL(reg.verdict, HA_ACCEPT);
	CU_ASSERT_EQUAL(reg.key->spi, 0x101);

	set_clock(HA_CLOCK_133);
	judge_hex(&reg, &conf, RRQ_MD5, payload, &NOTHING_KNOWN);
	CU_ASSERT_EQUAL(reg.verdict, HA_DENY);
	check_reply(&reg, RRP_133);
}

/* Every bit of a request is covered by the authenticator, so every flip is 131 or a discard. */
static void flipped_bits(void)
{
	struct ha_conf conf = fixture_conf();
	struct ip_addr source = addr_of(COA_A);
	uint8_t payload[HA_RRQ_MAX];
	size_t len = unit_hex(RRQ_SHA256, payload, sizeof payload);
	unsigned denied = 0;

	set_clock(0);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		struct ha_registration reg;
		int node;

		payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (ha_registration_read(&reg, payload, len)) {
			node = ha_conf_find_node(&conf, &reg.rrq.hoa);
			ha_registration_judge(&reg, &conf, node < 0 ? NULL : &conf.nodes[node],
				&NOTHING_KNOWN, &source, now_ntp());
			CU_ASSERT_TRUE(
				reg.verdict == HA_DISCARD ||
				(reg.verdict == HA_DENY && reg.code == MIP4_CODE_DENIED_AUTH));
			denied += reg.verdict == HA_DENY;
		}
		payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_TRUE(denied > 400); /* tag and most of the fixed part */
}

static void truncated(void)
{
	struct ha_conf conf = fixture_conf();
	struct ip_addr source = addr_of(COA_A);
	uint8_t payload[HA_RRQ_MAX + 1] = {0};
	size_t len = unit_hex(RRQ_SHA256, payload, sizeof payload);
	struct ha_registration reg;

	set_clock(0);
	for (size_t n = 0; n < len; n++) {
		if (!ha_registration_read(&reg, payload, n))
			continue;
		ha_registration_judge(
			&reg, &conf, &conf.nodes[0], &NOTHING_KNOWN, &source, now_ntp());
		CU_ASSERT_EQUAL(reg.verdict, HA_DISCARD); /* cut right before the extension */
		CU_ASSERT_EQUAL(reg.reason, HA_RRQ_NO_AUTHENTICATOR);
	}
	CU_ASSERT_FALSE(ha_registration_read(&reg, payload, HA_RRQ_MAX + 1));
	CU_ASSERT_EQUAL(reg.reason, HA_RRQ_MALFORMED);
}

/* --- the gates --- */

#define ONE_S (INT64_C(1) << 32) /* in NTP units */

enum row_key { KEY_RIGHT, KEY_WRONG, KEY_OTHER_SPI };

struct row {
	const char *name;
	const char *hoa, *ha, *coa, *source; /* NULL: as in the vectors; source: the CoA */
	uint8_t flags;                       /* beside D */
	bool foreign_agent;                  /* D is not set */
	bool dereg;                          /* lifetime 0 */
	uint16_t lifetime_s;                 /* 0: 100 */
	int64_t skew;                        /* of the Identification from our clock */
	int64_t known_skew;                  /* of the highest accepted one; 0: none known */
	const char *known_coa;
	enum row_key key;
	enum ha_verdict verdict;
	uint8_t code;
	enum ha_counter reason;
	uint16_t granted_s;
};

#define ACCEPTED(s) .verdict = HA_ACCEPT, .reason = HA_RRQ_ACCEPTED, .granted_s = (s)
#define DENIED(c, r) .verdict = HA_DENY, .code = (c), .reason = (r)
#define DISCARDED(r) .verdict = HA_DISCARD, .reason = (r)
#define STALE_ID DENIED(MIP4_CODE_ID_MISMATCH, HA_RRQ_ID_MISMATCH)
#define LOCKED_OUT DENIED(MIP4_CODE_ID_MISMATCH, HA_RRQ_CLOCK_BEHIND)
#define PROHIBITED(r) DENIED(MIP4_CODE_PROHIBITED, r)

static const struct row ROWS[] = {
	{.name = "plain", ACCEPTED(100)},
	{.name = "lifetime at the cap", .lifetime_s = 300, ACCEPTED(300)},
	{.name = "lifetime above the cap", .lifetime_s = 301, ACCEPTED(300)},
	{.name = "infinite lifetime", .lifetime_s = 0xffff, ACCEPTED(300)},
	{.name = "shortest lifetime", .lifetime_s = 1, ACCEPTED(1)},
	{.name = "reverse tunnel", .flags = MIP4_FLAG_T, ACCEPTED(100)},
	{.name = "reserved bits are masked", .flags = MIP4_FLAG_r | MIP4_FLAG_x, ACCEPTED(100)},
	{.name = "broadcasts asked for", .flags = MIP4_FLAG_B, ACCEPTED(100)},
	{.name = "simultaneous asked for", .flags = MIP4_FLAG_S, ACCEPTED(100), .code = 1},
	{.name = "minimal encapsulation",
		.flags = MIP4_FLAG_M,
		DENIED(MIP4_CODE_NO_ENCAPSULATION, HA_RRQ_ENCAPSULATION)},
	{.name = "GRE",
		.flags = MIP4_FLAG_G,
		DENIED(MIP4_CODE_NO_ENCAPSULATION, HA_RRQ_ENCAPSULATION)},
	{.name = "foreign agent's CoA", .foreign_agent = true, PROHIBITED(HA_RRQ_NOT_COLOCATED)},
	{.name = "home address as CoA",
		.coa = HOME,
		DENIED(MIP4_CODE_POORLY_FORMED, HA_RRQ_POORLY_FORMED)},
	{.name = "multicast CoA", .coa = "224.0.0.5", PROHIBITED(HA_RRQ_BAD_COA)},
	{.name = "loopback CoA", .coa = "127.0.0.1", PROHIBITED(HA_RRQ_BAD_COA)},
	{.name = "broadcast CoA", .coa = "255.255.255.255", PROHIBITED(HA_RRQ_BAD_COA)},
	{.name = "no CoA", .coa = "0.0.0.0", PROHIBITED(HA_RRQ_BAD_COA)},
	{.name = "our address as CoA", .coa = AGENT, PROHIBITED(HA_RRQ_BAD_COA)},
	{.name = "another node's address as CoA", .coa = "10.1.0.11", PROHIBITED(HA_RRQ_BAD_COA)},
	{.name = "source is not the CoA", .source = COA_B, PROHIBITED(HA_RRQ_SOURCE_NOT_COA)},
	{.name = "unknown home agent",
		.ha = "10.1.0.2",
		DENIED(MIP4_CODE_UNKNOWN_HA, HA_RRQ_UNKNOWN_HA)},
	{.name = "broadcast as home agent",
		.ha = "10.1.0.255",
		DENIED(MIP4_CODE_UNKNOWN_HA, HA_RRQ_UNKNOWN_HA)},
	{.name = "unknown node", .hoa = "10.1.0.99", DISCARDED(HA_RRQ_NO_ASSOCIATION)},
	{.name = "unknown SPI", .key = KEY_OTHER_SPI, DISCARDED(HA_RRQ_NO_ASSOCIATION)},
	{.name = "wrong key",
		.key = KEY_WRONG,
		DENIED(MIP4_CODE_DENIED_AUTH, HA_RRQ_BAD_AUTHENTICATOR)},
	{.name = "wrong key comes before an old Identification",
		.key = KEY_WRONG,
		.skew = -60 * ONE_S,
		DENIED(MIP4_CODE_DENIED_AUTH, HA_RRQ_BAD_AUTHENTICATOR)},
	/* deregistration */
	{.name = "returned home", .dereg = true, .coa = HOME, ACCEPTED(0)},
	{.name = "one CoA", .dereg = true, ACCEPTED(0)},
	{.name = "one CoA, told from home", .dereg = true, .source = HOME, ACCEPTED(0)},
	{.name = "returned home without D",
		.dereg = true,
		.coa = HOME,
		.foreign_agent = true,
		ACCEPTED(0)},
	/* Identification: 7 s of tolerance to either side */
	{.name = "7 s early", .skew = -7 * ONE_S, ACCEPTED(100)},
	{.name = "a bit more than 7 s early", .skew = -7 * ONE_S - 1, STALE_ID},
	{.name = "7 s late", .skew = 7 * ONE_S, ACCEPTED(100)},
	{.name = "a bit more than 7 s late", .skew = 7 * ONE_S + 1, STALE_ID},
	{.name = "half an era off", .skew = INT64_MIN, STALE_ID},
	{.name = "one above the highest", .skew = -ONE_S + 1, .known_skew = -ONE_S, ACCEPTED(100)},
	{.name = "the highest, another CoA",
		.skew = -ONE_S,
		.known_skew = -ONE_S,
		.known_coa = COA_B,
		STALE_ID},
	{.name = "the highest is ahead of our clock, not far", .known_skew = 7 * ONE_S, STALE_ID},
	{.name = "the highest is beyond all that we take", .known_skew = 7 * ONE_S + 1, LOCKED_OUT},
	{.name = "one below the highest", .skew = -ONE_S - 1, .known_skew = -ONE_S, STALE_ID},
	{.name = "highest lies ahead of our clock",
		.skew = ONE_S,
		.known_skew = 3 * ONE_S,
		STALE_ID},
	{.name = "duplicate",
		.skew = -ONE_S,
		.known_skew = -ONE_S,
		.known_coa = COA_A,
		.verdict = HA_DUPLICATE,
		.reason = HA_RRQ_DUPLICATE},
	{.name = "duplicate outside of the tolerance",
		.skew = -60 * ONE_S,
		.known_skew = -60 * ONE_S,
		.known_coa = COA_A,
		.verdict = HA_DUPLICATE,
		.reason = HA_RRQ_DUPLICATE},
	{.name = "duplicate with a wrong key",
		.key = KEY_WRONG,
		.skew = -ONE_S,
		.known_skew = -ONE_S,
		.known_coa = COA_A,
		DENIED(MIP4_CODE_DENIED_AUTH, HA_RRQ_BAD_AUTHENTICATOR)},
	{.name = "stale Identification comes before all but the key",
		.skew = 60 * ONE_S,
		.flags = MIP4_FLAG_M,
		.ha = "10.1.0.2",
		STALE_ID},
};

static size_t encode_row(const struct row *row, const struct ha_conf *conf, uint64_t now,
	uint8_t payload[HA_RRQ_MAX])
{
	struct mip4_rrq rrq = {.lifetime_s = row->lifetime_s != 0 ? row->lifetime_s : 100,
		.hoa = addr_of(row->hoa != NULL ? row->hoa : HOME),
		.ha = addr_of(row->ha != NULL ? row->ha : AGENT),
		.coa = addr_of(row->coa != NULL ? row->coa : COA_A),
		.identification = now + (uint64_t)row->skew};
	struct mip4_key key = conf->nodes[0].keys[1];
	size_t len;

	rrq.flags = (uint8_t)(row->flags | (row->foreign_agent ? 0 : MIP4_FLAG_D));
	if (row->dereg)
		rrq.lifetime_s = 0;
	if (row->key == KEY_WRONG)
		key.key[0] ^= 1;
	if (row->key == KEY_OTHER_SPI)
		key.spi = 0x102;
	len = mip4_rrq_encode(payload, HA_RRQ_MAX, &rrq, &key);
	/* The codec never sends r and x. */
	if ((row->flags & (MIP4_FLAG_r | MIP4_FLAG_x)) != 0) {
		struct hmac_part covered = {.data = payload, .len = len - HMAC_SHA256_BYTES};

		payload[1] = rrq.flags;
		CU_ASSERT_EQUAL_FATAL(hmac_compute(key.alg, key.key, key.key_len, &covered, 1,
					      payload + covered.len),
			0);
	}
	return len;
}

static void check_rows_at(uint64_t now)
{
	struct ha_conf conf = fixture_conf();

	for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
		const struct row *row = &ROWS[i];
		uint8_t payload[HA_RRQ_MAX], reply[HA_RRQ_MAX];
		size_t len = encode_row(row, &conf, now, payload);
		struct ha_known known = {.any = row->known_skew != 0,
			.identification = now + (uint64_t)row->known_skew,
			.coa = addr_of(row->known_coa != NULL ? row->known_coa : COA_B)};
		struct ha_registration reg;
		struct ip_addr source;
		int node;

		CU_ASSERT_TRUE_FATAL(ha_registration_read(&reg, payload, len));
		source = row->source != NULL ? addr_of(row->source) : reg.rrq.coa;
		node = ha_conf_find_node(&conf, &reg.rrq.hoa);
		ha_registration_judge(
			&reg, &conf, node < 0 ? NULL : &conf.nodes[node], &known, &source, now);
		CHECK_ROW(row->name, reg.verdict == row->verdict);
		CHECK_ROW(row->name, reg.reason == row->reason);
		CHECK_ROW(row->name, reg.code == row->code);
		CHECK_ROW(row->name, reg.lifetime_s == row->granted_s);
		if (row->verdict == HA_DENY && row->code == MIP4_CODE_ID_MISMATCH) {
			CHECK_ROW(row->name, reg.identification >> 32 == now >> 32);
			CHECK_ROW(row->name,
				(uint32_t)reg.identification == (uint32_t)reg.rrq.identification);
		} else {
			CHECK_ROW(row->name, reg.identification == reg.rrq.identification);
		}
		if (row->verdict != HA_DISCARD)
			CHECK_ROW(row->name,
				ha_registration_reply(&reg, reg.code, reply, sizeof reply) == 58);
	}
}

static void gates(void)
{
	check_rows_at(VECTOR_ID);
}

/* The 32 bits of seconds wrap in February 2036: before, at and after it nothing is different. */
static void gates_at_the_wrap(void)
{
	check_rows_at(UINT64_MAX - 3 * (UINT64_C(1) << 32));
	check_rows_at(UINT64_MAX);
	check_rows_at(0);
	check_rows_at(UINT64_C(3) << 32);
}

static void kinds(void)
{
	static const struct {
		const char *name, *coa;
		uint16_t lifetime_s;
		enum ha_request_kind kind;
	} rows[] = {
		{"register", COA_A, 100, HA_REGISTER},
		{"one CoA", COA_A, 0, HA_DEREGISTER_COA},
		{"returned home", HOME, 0, HA_DEREGISTER_ALL},
	};
	struct ha_conf conf = fixture_conf();

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct row row = {.coa = rows[i].coa,
			.lifetime_s = rows[i].lifetime_s,
			.dereg = rows[i].lifetime_s == 0};
		struct ip_addr source = addr_of(rows[i].coa);
		uint8_t payload[HA_RRQ_MAX];
		struct ha_registration reg;

		CU_ASSERT_TRUE_FATAL(ha_registration_read(
			&reg, payload, encode_row(&row, &conf, VECTOR_ID, payload)));
		ha_registration_judge(
			&reg, &conf, &conf.nodes[0], &NOTHING_KNOWN, &source, VECTOR_ID);
		CHECK_ROW(rows[i].name, reg.verdict == HA_ACCEPT);
		CHECK_ROW(rows[i].name, reg.kind == rows[i].kind);
	}
}

static void denial_instead_of_acceptance(void)
{
	struct ha_conf conf = fixture_conf();
	uint8_t acceptance[HA_RRQ_MAX], denial[HA_RRQ_MAX];
	size_t len = unit_hex(RRP_ACCEPTED, acceptance, sizeof acceptance);
	struct mip4_auth auth;
	struct mip4_rrp rrp;

	len = ha_registration_denial(
		&conf.nodes[0], acceptance, len, MIP4_CODE_PROHIBITED, denial, sizeof denial);
	CU_ASSERT_EQUAL_FATAL(mip4_rrp_decode(denial, len, &rrp, &auth), MIP4_OK);
	CU_ASSERT_EQUAL(rrp.code, MIP4_CODE_PROHIBITED);
	CU_ASSERT_EQUAL(rrp.lifetime_s, 0);
	CU_ASSERT_EQUAL(rrp.identification, VECTOR_ID);
	CU_ASSERT_TRUE(mip4_auth_verify(&conf.nodes[0].keys[0], denial, &auth));

	len = unit_hex(RRP_ACCEPTED, acceptance, sizeof acceptance);
	CU_ASSERT_EQUAL(ha_registration_denial(&conf.nodes[1], acceptance, len,
				MIP4_CODE_PROHIBITED, denial, sizeof denial),
		0);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"vectors", vectors},
		{"flipped bits", flipped_bits},
		{"truncated", truncated},
		{"gates", gates},
		{"gates at the wrap of 2036", gates_at_the_wrap},
		{"kinds", kinds},
		{"denial instead of acceptance", denial_instead_of_acceptance},
		{NULL, NULL},
	};

	return unit_run("registration", cases);
}
