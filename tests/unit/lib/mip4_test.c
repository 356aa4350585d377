/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mobile IPv4 codec. The messages with tags were computed by another implementation (Python's hmac
 * module); every length around every boundary is tried in a buffer that ends at the last byte.
 */
#include "lib/mip4.h"

#include "unit.h"

static const char rrq_md5[] = "012202580a01000a0a010001c6336407e8d4a51012345678201400000100"
			      "226cd18b8b9fa31497c5871781290e1c";
static const char rrq_sha256[] = "012202580a01000a0a010001c6336407e8d4a51012345678202400000101"
				 "bf8807386734d42de3362e79e0dc47914ee40f80082fb292d307aa6ccba42af1";
static const char rrp_accepted[] = "0300012c0a01000a0a010001e8d4a51012345678201400000100"
				   "d5565a796c0adbd98ac26850612c4306";
static const char rrp_id_mismatch[] = "038500000a01000a0a010001e8d4a9c012345678201400000100"
				      "f21e1442b1fdedf868145ee0868fc13e";
#define IDENTIFICATION UINT64_C(0xe8d4a51012345678)

static struct mip4_key key_of(enum hmac_alg alg)
{
	struct mip4_key key = {.spi = alg == HMAC_MD5 ? 0x100 : 0x101,
		.alg = alg,
		.key_len = alg == HMAC_MD5 ? 16 : 32};

	for (uint8_t i = 0; i < key.key_len; i++)
		key.key[i] = i;
	return key;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CHECK_ROW(text, ip_addr_parse(text, &out));
	return out;
}

/* A copy of exactly len bytes on the heap: a read behind the end is seen by ASan. */
static uint8_t *exact(const void *data, size_t len)
{
	uint8_t *copy = malloc(len != 0 ? len : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, data, len);
	return copy;
}

static struct mip4_rrq the_rrq(void)
{
	return (struct mip4_rrq){.flags = MIP4_FLAG_D | MIP4_FLAG_T,
		.lifetime_s = 600,
		.hoa = addr("10.1.0.10"),
		.ha = addr("10.1.0.1"),
		.coa = addr("198.51.100.7"),
		.identification = IDENTIFICATION};
}

static void test_rrq_vectors(void)
{
	static const struct {
		const char *name, *hex;
		enum hmac_alg alg;
	} rows[] = {{"RRQ MD5", rrq_md5, HMAC_MD5}, {"RRQ SHA256", rrq_sha256, HMAC_SHA256}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct mip4_key key = key_of(rows[i].alg);
		struct mip4_rrq want = the_rrq(), got;
		struct mip4_auth auth;
		uint8_t wire[128], out[128];
		size_t len = unit_hex(rows[i].hex, wire, sizeof wire);

		CHECK_ROW(rows[i].name, len == 24 + 6 + hmac_bytes(rows[i].alg));
		CHECK_ROW(rows[i].name, mip4_rrq_encode(out, sizeof out, &want, &key) == len);
		CHECK_ROW(rows[i].name, memcmp(out, wire, len) == 0);
		CHECK_ROW(rows[i].name, mip4_rrq_decode(wire, len, &got, &auth) == MIP4_OK);
		CHECK_ROW(rows[i].name, got.flags == want.flags && got.lifetime_s == 600);
		CHECK_ROW(rows[i].name, ip_addr_equal(&got.hoa, &want.hoa));
		CHECK_ROW(rows[i].name, ip_addr_equal(&got.ha, &want.ha));
		CHECK_ROW(rows[i].name, ip_addr_equal(&got.coa, &want.coa));
		CHECK_ROW(rows[i].name, got.identification == IDENTIFICATION);
		CHECK_ROW(rows[i].name, auth.present && auth.spi == key.spi);
		CHECK_ROW(rows[i].name, auth.covered_len == 30);
		CHECK_ROW(rows[i].name, auth.tag == wire + 30);
		CHECK_ROW(rows[i].name, mip4_auth_verify(&key, wire, &auth));
		/* Any bit of the message, and any of the tag, counts. */
		for (size_t bit = 0; bit < len * 8; bit++) {
			struct mip4_auth same = auth;

			wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
			CHECK_ROW(rows[i].name, !mip4_auth_verify(&key, wire, &same));
			wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

static void test_rrp_vectors(void)
{
	static const struct {
		const char *name, *hex;
		uint8_t code;
		uint16_t lifetime_s;
		uint64_t identification;
	} rows[] = {
		{"RRP code 0", rrp_accepted, MIP4_CODE_ACCEPTED, 300, IDENTIFICATION},
		{"RRP code 133", rrp_id_mismatch, MIP4_CODE_ID_MISMATCH, 0,
			UINT64_C(0xe8d4a9c012345678)},
	};
	struct mip4_key key = key_of(HMAC_MD5);

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct mip4_rrp want = {.code = rows[i].code,
			.lifetime_s = rows[i].lifetime_s,
			.hoa = addr("10.1.0.10"),
			.ha = addr("10.1.0.1"),
			.identification = rows[i].identification};
		struct mip4_rrp got;
		struct mip4_auth auth;
		uint8_t wire[128], out[128];
		size_t len = unit_hex(rows[i].hex, wire, sizeof wire);

		CHECK_ROW(rows[i].name, mip4_rrp_encode(out, sizeof out, &want, &key) == len);
		CHECK_ROW(rows[i].name, memcmp(out, wire, len) == 0);
		CHECK_ROW(rows[i].name, mip4_rrp_decode(wire, len, &got, &auth) == MIP4_OK);
		CHECK_ROW(rows[i].name, got.code == want.code);
		CHECK_ROW(rows[i].name, got.lifetime_s == want.lifetime_s);
		CHECK_ROW(rows[i].name, got.identification == want.identification);
		CHECK_ROW(rows[i].name, ip_addr_equal(&got.hoa, &want.hoa));
		CHECK_ROW(rows[i].name, ip_addr_equal(&got.ha, &want.ha));
		CHECK_ROW(rows[i].name, auth.present && auth.covered_len == 26);
		CHECK_ROW(rows[i].name, mip4_auth_verify(&key, wire, &auth));
	}
}

/* Every shorter length of a good message, and the room of an encoder around its need. */
static void test_lengths(void)
{
	struct mip4_key key = key_of(HMAC_MD5);
	struct mip4_rrq rrq = the_rrq();
	struct mip4_rrp rrp;
	struct mip4_auth auth;
	uint8_t wire[64];
	size_t len = unit_hex(rrq_md5, wire, sizeof wire);

	for (size_t n = 0; n <= len; n++) {
		uint8_t *cut = exact(wire, n);
		enum mip4_result got = mip4_rrq_decode(cut, n, &rrq, &auth);

		if (n < 24)
			CU_ASSERT_EQUAL(got, MIP4_TRUNCATED)
		else if (n == 24)
			CU_ASSERT(got == MIP4_OK && !auth.present)
		else if (n < len)
			CU_ASSERT_EQUAL(got, MIP4_BAD_EXTENSION)
		else
			CU_ASSERT(got == MIP4_OK && auth.present);
		free(cut);
	}
	for (size_t room = 0; room <= len + 1; room++) {
		uint8_t *out = exact(wire, room);

		CU_ASSERT_EQUAL(mip4_rrq_encode(out, room, &rrq, &key), room < len ? 0 : len);
		free(out);
	}
	len = unit_hex(rrp_accepted, wire, sizeof wire);
	for (size_t n = 0; n <= len; n++) {
		uint8_t *cut = exact(wire, n);
		enum mip4_result got = mip4_rrp_decode(cut, n, &rrp, &auth);

		CU_ASSERT_EQUAL(got, n < 20                ? MIP4_TRUNCATED
				     : n == 20 || n == len ? MIP4_OK
							   : MIP4_BAD_EXTENSION);
		free(cut);
	}
	for (size_t room = 0; room <= len + 1; room++) {
		uint8_t *out = exact(wire, room);

		CU_ASSERT_EQUAL(mip4_rrp_encode(out, room, &rrp, &key), room < len ? 0 : len);
		free(out);
	}
}

#define FIXED "012202580a01000a0a010001c6336407e8d4a51012345678"
#define AUTH           \
	"201400000100" \
	"226cd18b8b9fa31497c5871781290e1c"

static void test_extensions(void)
{
	static const struct {
		const char *name, *tail; /* behind the fixed part of an RRQ */
		enum mip4_result want;
		bool has_auth;
		size_t covered;
	} rows[] = {
		{"none", "", MIP4_OK, false, 0},
		{"MN-HA", AUTH, MIP4_OK, true, 30},
		{"skippable before", "8303aabbcc" AUTH, MIP4_OK, true, 35},
		{"skippable of length 0 before", "8200" AUTH, MIP4_OK, true, 32},
		{"type 128 before", "8000" AUTH, MIP4_OK, true, 32},
		{"type 127 before", "7f00" AUTH, MIP4_UNKNOWN_EXTENSION, false, 0},
		{"type 0 before", "0000" AUTH, MIP4_UNKNOWN_EXTENSION, false, 0},
		{"MN-FA before", "2106000001010a0b" AUTH, MIP4_UNKNOWN_EXTENSION, false, 0},
		{"MN-FA behind", AUTH "2106000001010a0b", MIP4_OK, true, 30},
		{"type 127 behind", AUTH "7f01aa", MIP4_OK, true, 30},
		{"critical vendor before",
			"26010004"
			"aabbccdd" AUTH,
			MIP4_UNKNOWN_EXTENSION, false, 0},
		{"critical vendor behind",
			AUTH "26010004"
			     "aabbccdd",
			MIP4_OK, true, 30},
		{"generalised auth of 256 bytes needs them",
			AUTH "24010100"
			     "aabbccdd",
			MIP4_BAD_EXTENSION, true, 30},
		{"generalised auth behind",
			AUTH "24010005"
			     "0000010001"
			     "8200",
			MIP4_OK, true, 30},
		{"PMIPv4 behind",
			AUTH "2f010003"
			     "aabbcc"
			     "8200",
			MIP4_OK, true, 30},
		{"PMIPv4 cut in its header", AUTH "2f0100", MIP4_BAD_EXTENSION, true, 30},
		{"139 long",
			"8b010004"
			"0a010001" AUTH,
			MIP4_OK, true, 38},
		{"139 long, subtype 2",
			"8b020004"
			"0a010001" AUTH,
			MIP4_OK, true, 38},
		{"139 short", "8b05010a010001" AUTH, MIP4_OK, true, 37},
		{"139 short of length 1", "8b0100" AUTH, MIP4_OK, true, 33},
		{"139 long, cut",
			"8b010004"
			"0a0100",
			MIP4_BAD_EXTENSION, false, 0},
		{"length over the end",
			"83ff"
			"00",
			MIP4_BAD_EXTENSION, false, 0},
		{"length one over the end",
			"8302"
			"00",
			MIP4_BAD_EXTENSION, false, 0},
		{"type alone", "83", MIP4_BAD_EXTENSION, false, 0},
		{"MN-HA without a tag", "200400000100", MIP4_BAD_EXTENSION, false, 0},
		{"MN-HA shorter than an SPI", "2003000001", MIP4_BAD_EXTENSION, false, 0},
		{"MN-HA with a tag of 1 byte", "200500000100aa", MIP4_OK, true, 30},
		{"MN-HA twice", AUTH AUTH, MIP4_BAD_EXTENSION, true, 30},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct mip4_auth auth;
		struct mip4_rrq rrq;
		uint8_t wire[256], *copy;
		size_t len = unit_hex(FIXED, wire, sizeof wire);

		len += unit_hex(rows[i].tail, wire + len, sizeof wire - len);
		copy = exact(wire, len);
		CHECK_ROW(rows[i].name, mip4_rrq_decode(copy, len, &rrq, &auth) == rows[i].want);
		CHECK_ROW(rows[i].name, auth.present == rows[i].has_auth);
		CHECK_ROW(rows[i].name, auth.covered_len == rows[i].covered);
		free(copy);
	}
}

static void test_types_and_flags(void)
{
	struct mip4_key key = key_of(HMAC_MD5);
	struct mip4_rrq rrq = the_rrq();
	struct mip4_rrp rrp;
	struct mip4_auth auth;
	uint8_t wire[128];
	size_t len = unit_hex(rrq_md5, wire, sizeof wire);

	CU_ASSERT_EQUAL(mip4_rrp_decode(wire, len, &rrp, &auth), MIP4_WRONG_TYPE);
	for (unsigned type = 0; type < 256; type++) {
		wire[0] = (uint8_t)type;
		CU_ASSERT_EQUAL(mip4_rrq_decode(wire, len, &rrq, &auth),
			type == MIP4_TYPE_RRQ ? MIP4_OK : MIP4_WRONG_TYPE);
	}
	CU_ASSERT_EQUAL(mip4_rrq_decode(wire, 1, &rrq, &auth), MIP4_WRONG_TYPE);
	/* Reserved bits are sent as 0, and shown as received. */
	rrq = the_rrq();
	rrq.flags = 0xff;
	CU_ASSERT_NOT_EQUAL(mip4_rrq_encode(wire, sizeof wire, &rrq, &key), 0);
	CU_ASSERT_EQUAL(wire[1], 0xff & ~(MIP4_FLAG_r | MIP4_FLAG_x));
	wire[1] = 0xff;
	CU_ASSERT_EQUAL(mip4_rrq_decode(wire, len, &rrq, &auth), MIP4_OK);
	CU_ASSERT_EQUAL(rrq.flags, 0xff);
}

static void test_wrong_key(void)
{
	struct mip4_key md5 = key_of(HMAC_MD5), sha256 = key_of(HMAC_SHA256), other;
	struct mip4_auth auth, none = {0};
	struct mip4_rrq rrq;
	uint8_t wire[128];
	size_t len = unit_hex(rrq_md5, wire, sizeof wire);

	CU_ASSERT_EQUAL(mip4_rrq_decode(wire, len, &rrq, &auth), MIP4_OK);
	CU_ASSERT_TRUE(mip4_auth_verify(&md5, wire, &auth));
	CU_ASSERT_FALSE(mip4_auth_verify(&md5, wire, &none));
	CU_ASSERT_FALSE(mip4_auth_verify(&sha256, wire, &auth));
	other = md5;
	other.spi++;
	CU_ASSERT_FALSE(mip4_auth_verify(&other, wire, &auth));
	other = md5;
	other.key[15] ^= 1;
	CU_ASSERT_FALSE(mip4_auth_verify(&other, wire, &auth));
	other = md5;
	other.alg = HMAC_SHA256; /* a tag of another length */
	CU_ASSERT_FALSE(mip4_auth_verify(&other, wire, &auth));
	auth.tag_len--; /* a tag cut short is no tag */
	CU_ASSERT_FALSE(mip4_auth_verify(&md5, wire, &auth));
}

static void test_code_text(void)
{
	CU_ASSERT_STRING_EQUAL(mip4_code_text(MIP4_CODE_ID_MISMATCH), "identification mismatch");
	CU_ASSERT_STRING_EQUAL(mip4_code_text(MIP4_CODE_ACCEPTED), "accepted");
	for (unsigned code = 0; code < 256; code++)
		CU_ASSERT_PTR_NOT_NULL(mip4_code_text((uint8_t)code));
}

/* --- agent advertisements --- */

static struct mip4_advert the_advert(void)
{
	return (struct mip4_advert){.router = addr("203.0.113.1"),
		.router_lifetime_s = 1800,
		.sequence = 256,
		.registration_lifetime_s = 65535,
		.registration_required = true,
		.foreign_agent = true,
		.reverse_tunnel = true,
		.n_coas = 2,
		.coas = {addr("203.0.113.1"), addr("203.0.113.2")}};
}

static void test_advert_round(void)
{
	/* type 9, code 16, 1 address of 2 words; then 16, length 14, R|F|T, two CoAs. */
	static const char hex[] =
		"0910c8b8010207 08cb007101000000 00100e0100ffff9100cb007101cb007102";
	struct mip4_advert want = the_advert(), got;
	uint8_t wire[64], out[64];
	size_t len = unit_hex(hex, wire, sizeof wire);

	CU_ASSERT_EQUAL(mip4_advert_encode(out, sizeof out, &want), len);
	CU_ASSERT_EQUAL(memcmp(out + 4, wire + 4, len - 4), 0);
	CU_ASSERT_EQUAL(inet_fold(inet_sum(out, len, 0)), 0);
	CU_ASSERT_TRUE(mip4_advert_decode(out, len, &got));
	CU_ASSERT_TRUE(ip_addr_equal(&got.router, &want.router));
	CU_ASSERT_EQUAL(got.router_lifetime_s, 1800);
	CU_ASSERT_EQUAL(got.sequence, 256);
	CU_ASSERT_EQUAL(got.registration_lifetime_s, 65535);
	CU_ASSERT_TRUE(got.registration_required && got.foreign_agent && got.reverse_tunnel);
	CU_ASSERT_FALSE(got.busy || got.home_agent);
	CU_ASSERT_EQUAL(got.n_coas, 2);
	CU_ASSERT_TRUE(ip_addr_equal(&got.coas[1], &want.coas[1]));
	for (size_t room = 0; room <= len + 1; room++) {
		uint8_t *exact_out = exact(out, room < sizeof out ? room : sizeof out);

		CU_ASSERT_EQUAL(mip4_advert_encode(exact_out, room, &want), room < len ? 0 : len);
		free(exact_out);
	}
	want.n_coas = MIP4_ADV_MAX_COAS + 1;
	CU_ASSERT_EQUAL(mip4_advert_encode(out, sizeof out, &want), 0);
}

/* hex with a checksum put in. */
static bool decode_hex(const char *hex, struct mip4_advert *out)
{
	uint8_t wire[256], *copy;
	size_t len = unit_hex(hex, wire, sizeof wire);
	uint16_t sum;
	bool ok;

	wire[2] = wire[3] = 0;
	sum = inet_fold(inet_sum(wire, len, 0));
	wire[2] = (uint8_t)(sum >> 8);
	wire[3] = (uint8_t)sum;
	copy = exact(wire, len);
	ok = mip4_advert_decode(copy, len, out);
	free(copy);
	return ok;
}

static void test_advert_rows(void)
{
#define ROUTER "cb00710100000000"
#define AGENT "1006000100ff8000"
	static const struct {
		const char *name, *hex;
		bool ok;
		size_t n_coas;
		bool has_router;
	} rows[] = {
		{"agent alone", "091000000000ffff" AGENT, true, 0, false},
		{"code 0", "090000000102ffff" ROUTER AGENT, true, 0, true},
		{"code 1", "090100000102ffff" ROUTER AGENT, false, 0, false},
		{"router solicitation", "0a0000000102ffff" ROUTER AGENT, false, 0, false},
		{"no agent extension", "090000000102ffff" ROUTER, false, 0, false},
		{"padding and prefix lengths", "091000000102ffff" ROUTER "13011800" AGENT "00",
			true, 0, true},
		{"entries of 3 words", "091000000103ffff" ROUTER "00000000" AGENT, true, 0, true},
		{"entries of 1 word",
			"091000000101ffff"
			"cb007101" AGENT,
			false, 0, false},
		{"address missing", "091000000202ffff" ROUTER, false, 0, false},
		{"agent too short",
			"091000000000ffff"
			"1005000100ff80",
			false, 0, false},
		{"agent with half a CoA",
			"091000000000ffff"
			"1008000100ff8000aabb",
			false, 0, false},
		{"agent over the end",
			"091000000000ffff"
			"1007000100ff8000",
			false, 0, false},
		{"agent twice", "091000000000ffff" AGENT AGENT, false, 0, false},
		{"9 CoAs: 8 are kept",
			"091000000000ffff"
			"102a000100ff8000"
			"01010101"
			"02020202"
			"03030303"
			"04040404"
			"05050505"
			"06060606"
			"07070707"
			"08080808"
			"09090909",
			true, 8, false},
		{"extension over the end", "091000000000ffff" AGENT "8301", false, 0, false},
		{"extension without a length", "091000000000ffff" AGENT "83", false, 0, false},
		{"fixed part cut", "09100000000000", false, 0, false},
		{"nothing", "", false, 0, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct mip4_advert got;
		bool ok = decode_hex(rows[i].hex, &got);

		CHECK_ROW(rows[i].name, ok == rows[i].ok);
		CHECK_ROW(rows[i].name, !ok || got.n_coas == rows[i].n_coas);
		CHECK_ROW(rows[i].name, !ok || ip_addr_is_set(&got.router) == rows[i].has_router);
	}
}

static void test_advert_checksum(void)
{
	struct mip4_advert advert = the_advert();
	uint8_t wire[64];
	size_t len = mip4_advert_encode(wire, sizeof wire, &advert);

	for (size_t bit = 0; bit < len * 8; bit++) {
		wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CU_ASSERT_FALSE(mip4_advert_decode(wire, len, &advert));
		wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"registration request vectors", test_rrq_vectors},
		{"registration reply vectors", test_rrp_vectors},
		{"lengths and room", test_lengths},
		{"extensions", test_extensions},
		{"types and flags", test_types_and_flags},
		{"wrong key", test_wrong_key},
		{"code text", test_code_text},
		{"advertisement there and back", test_advert_round},
		{"advertisement rows", test_advert_rows},
		{"advertisement checksum", test_advert_checksum},
		{NULL, NULL},
	};

	return unit_run("mip4", cases);
}
