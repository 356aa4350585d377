/* SPDX-License-Identifier: BSD-3-Clause */
/* Making SAs and paths: what is refused, what is left behind on error, fingerprints, verdict texts.
 */
#include "tests/unit/esp/rig.h"

#include <errno.h>

/* Memory that fails at one allocation and counts what is out; on free, all must be wiped. */
struct failing {
	unsigned calls, fail_at, out;
	bool dirty;
};

static void *failing_alloc(void *arg, size_t bytes, size_t align)
{
	struct failing *state = arg;

	CU_ASSERT_EQUAL(align, 64);
	if (++state->calls == state->fail_at)
		return NULL;
	state->out++;
	return sa_memory_heap.alloc(NULL, bytes, align);
}

static void failing_free(void *arg, void *memory, size_t bytes)
{
	struct failing *state = arg;

	for (size_t i = 0; i < bytes && bytes != sizeof(struct sa_limits); i++)
		state->dirty |= ((const uint8_t *)memory)[i] != 0;
	state->out--;
	sa_memory_heap.free(NULL, memory, bytes);
}

static int make(const struct sa_memory *memory, struct counters *counters,
	const struct sa_params *params, bool inbound)
{
	const struct crypto_engine *engine = crypto_engine_find("auto");
	struct sa_out *out = NULL;
	struct sa_in *in = NULL;
	int ret;

	if (inbound) {
		ret = sa_in_new(memory, engine, counters, params, NULL, true, &in);
		CU_ASSERT_EQUAL(ret == 0, in != NULL);
		sa_in_free(memory, engine, in);
	} else {
		ret = sa_out_new(memory, engine, counters, params, NULL, true, 5, &out);
		CU_ASSERT_EQUAL(ret == 0, out != NULL);
		sa_out_free(memory, engine, out);
	}
	return ret;
}

static void test_params(void)
{
	static const struct {
		const char *name;
		uint32_t spi;
		int alg;
		uint32_t window;
		const char *source;
		bool inbound;
		int want;
	} rows[] = {
		{"in", 256, 0, 64, NULL, true, 0},
		{"in, given sources", 256, 1, 4096, "192.0.2.2,198.51.100.0/24,2001:db8::/32", true,
			0},
		{"in, given source", 256, 1, 4096, "192.0.2.2", true, 0},
		{"reserved SPI", 255, 0, 64, NULL, true, -EINVAL},
		{"algorithm", 256, CRYPTO_ALG_COUNT, 64, NULL, true, -EINVAL},
		{"algorithm below", 256, -1, 64, NULL, true, -EINVAL},
		{"window below", 256, 0, 63, NULL, true, -EINVAL},
		{"window above", 256, 0, 4097, NULL, true, -EINVAL},
		{"no window", 256, 0, 0, NULL, true, -EINVAL},
		{"out", 256, 0, 0, NULL, false, 0},
		{"out with a window", 256, 0, 64, NULL, false, -EINVAL},
		{"out, reserved SPI", 0, 0, 0, NULL, false, -EINVAL},
	};
	struct counters *counters = rig_counters(rig_file(), 16);

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sa_params params = {.spi = rows[i].spi,
			.alg = (enum crypto_alg)rows[i].alg,
			.replay_window = rows[i].window};

		if (rows[i].source != NULL)
			CU_ASSERT_PTR_NULL(sa_source_parse(rows[i].source, &params.source));
		CHECK_ROW(rows[i].name,
			make(&sa_memory_heap, counters, &params, rows[i].inbound) == rows[i].want);
	}
	counters_close(counters);
}

static void test_nothing_left_behind(void)
{
	for (int inbound = 0; inbound < 2; inbound++) {
		for (unsigned fail_at = 0; fail_at <= 3; fail_at++) {
			struct failing state = {.fail_at = fail_at};
			struct sa_memory memory = {failing_alloc, failing_free, &state};
			struct counters *counters = rig_counters(rig_file(), 1);
			struct sa_params params = rig_params(CRYPTO_AES256GCM16, true, 64);
			static const uint8_t other[COUNTERS_ID_BYTES] = {1};
			int want = fail_at == 0 ? 0 : -ENOMEM; /* 2: for its limits */

			params.replay_window = inbound ? 64 : 0;
			params.life.packets.hard = 5;
			if (fail_at == 3) { /* no slot left */
				CU_ASSERT_PTR_NOT_NULL(counters_take(counters, other, 0));
				want = -ENOSPC;
			}
			CU_ASSERT_EQUAL(make(&memory, counters, &params, inbound), want);
			CU_ASSERT_EQUAL(state.out, 0);
			CU_ASSERT_FALSE(state.dirty);
			/* A refused SA has taken no slot: there is still room for another. */
			if (want == -ENOMEM)
				CU_ASSERT_PTR_NOT_NULL(counters_take(counters, other, 0));
			counters_close(counters);
		}
	}
}

static bool ids_equal(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, COUNTERS_ID_BYTES) == 0;
}

static void test_fingerprints(void)
{
	struct sa_params params = rig_params(CRYPTO_AES128GCM16, true, 64), other;
	uint8_t slot[COUNTERS_ID_BYTES], id[COUNTERS_ID_BYTES];
	uint8_t keys[SA_KEYS_MAX][COUNTERS_ID_BYTES], others[SA_KEYS_MAX][COUNTERS_ID_BYTES];

	sa_slot_id(&params, true, slot);
	CU_ASSERT_EQUAL(sa_key_ids(&params, keys), 1);
	sa_slot_id(&params, true, id);
	CU_ASSERT_TRUE(ids_equal(slot, id));
	sa_slot_id(&params, false, id);
	CU_ASSERT_FALSE(ids_equal(slot, id));
	CU_ASSERT_FALSE(ids_equal(slot, keys[0]));

	other = params; /* window and ESN do not make another SA */
	other.replay_window = 4096;
	sa_slot_id(&other, true, id);
	CU_ASSERT_TRUE(ids_equal(slot, id));
	other = params;
	other.spi++;
	sa_slot_id(&other, true, id);
	CU_ASSERT_FALSE(ids_equal(slot, id));
	CU_ASSERT_EQUAL(sa_key_ids(&other, others), 1);
	CU_ASSERT_TRUE(ids_equal(keys[0], others[0]));
	other = params;
	other.key[15] ^= 1;
	sa_slot_id(&other, true, id);
	CU_ASSERT_FALSE(ids_equal(slot, id));
	CU_ASSERT_EQUAL(sa_key_ids(&other, others), 1);
	CU_ASSERT_FALSE(ids_equal(keys[0], others[0]));
	other = params;
	other.key[19] ^= 1; /* last byte of the salt */
	sa_slot_id(&other, true, id);
	CU_ASSERT_FALSE(ids_equal(slot, id));
	CU_ASSERT_EQUAL(sa_key_ids(&other, others), 1);
	CU_ASSERT_TRUE(
		ids_equal(keys[0], others[0])); /* the same key under another salt is found */
	other = params;
	other.key[20] ^= 1; /* behind key and salt of this algorithm */
	sa_slot_id(&other, true, id);
	CU_ASSERT_TRUE(ids_equal(slot, id));
}

/* A key under another algorithm is the same key, in whatever place; the salt makes no other. */
static void test_key_ids(void)
{
	static const struct {
		const char *name;
		enum crypto_alg a, b;
		int change;    /* this byte of b's key material; -1: none */
		unsigned same; /* keys of a that b has */
	} rows[] = {
		{"GCM and CTR", CRYPTO_AES128GCM16, CRYPTO_AES128CTR_SHA1, -1, 1},
		{"GCM and GMAC", CRYPTO_AES256GCM16, CRYPTO_AES256GMAC, -1, 1},
		{"GCM and CBC", CRYPTO_AES256GCM16, CRYPTO_AES256_SHA512, -1, 1},
		{"AES and ChaCha20", CRYPTO_AES256GCM16, CRYPTO_CHACHA20POLY1305, -1, 1},
		{"another size", CRYPTO_AES128GCM16, CRYPTO_AES256GCM16, -1, 0},
		{"another salt", CRYPTO_AES128CTR_SHA1, CRYPTO_AES128CTR_SHA1, 16, 2},
		{"another HMAC key", CRYPTO_AES128_SHA1, CRYPTO_AES128_SHA1, 16, 1},
		{"another key", CRYPTO_AES128_SHA1, CRYPTO_AES128_SHA1, 15, 1},
		{"HMAC alone", CRYPTO_NULL_SHA1, CRYPTO_NULL_SHA1, -1, 1},
		{"HMAC alone, another key", CRYPTO_NULL_SHA1, CRYPTO_NULL_SHA1, 19, 0},
		{"HMAC alone, behind the key", CRYPTO_NULL_SHA1, CRYPTO_NULL_SHA1, 20, 1},
		{"both keys", CRYPTO_AES128_SHA1, CRYPTO_AES128_SHA1, -1, 2},
		{"CBC and CTR, HMAC at another place", CRYPTO_AES128_SHA1, CRYPTO_AES128CTR_SHA1,
			-1, 1},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sa_params a = rig_params(rows[i].a, true, 64);
		struct sa_params b = rig_params(rows[i].b, true, 64);
		uint8_t ids_a[SA_KEYS_MAX][COUNTERS_ID_BYTES],
			ids_b[SA_KEYS_MAX][COUNTERS_ID_BYTES];
		uint8_t slot_a[COUNTERS_ID_BYTES], slot_b[COUNTERS_ID_BYTES];
		unsigned n_a, n_b, same = 0;

		if (rows[i].change >= 0)
			b.key[rows[i].change] ^= 1;
		n_a = sa_key_ids(&a, ids_a);
		n_b = sa_key_ids(&b, ids_b);
		for (unsigned k = 0; k < n_a * n_b; k++)
			same += ids_equal(ids_a[k / n_b], ids_b[k % n_b]);
		CHECK_ROW(rows[i].name, n_a == sa_n_keys(a.alg) && same == rows[i].same);
		sa_slot_id(&a, true, slot_a);
		sa_slot_id(&b, true, slot_b);
		/* All of the material counts for the slot, and the algorithm. */
		CHECK_ROW(rows[i].name,
			ids_equal(slot_a, slot_b) ==
				(rows[i].a == rows[i].b &&
					(rows[i].change < 0 ||
						(size_t)rows[i].change >=
							crypto_material_bytes(rows[i].a))));
	}
}

static void test_one_key_for_both(void)
{
	struct sa_params params = rig_params(CRYPTO_AES256_SHA256, true, 64);

	CU_ASSERT_FALSE(sa_keys_are_same(&params));
	memcpy(params.key + 32, params.key, 32);
	CU_ASSERT_TRUE(sa_keys_are_same(&params));
	params.alg = CRYPTO_AES256_SHA512; /* the HMAC's is longer */
	CU_ASSERT_FALSE(sa_keys_are_same(&params));
	params.alg = CRYPTO_NULL_SHA256;
	CU_ASSERT_FALSE(sa_keys_are_same(&params));
}

/* Sizes as their RFCs have them, and names as strongSwan has them. */
static void test_algorithms(void)
{
	static const struct {
		const char *name, *refused; /* NULL: taken */
		size_t material;
	} rows[] = {
		{"aes128gcm16", NULL, 20},
		{"aes192gcm16", NULL, 28},
		{"aes256gcm16", NULL, 36},
		{"chacha20poly1305", NULL, 36},
		{"aes128gmac", NULL, 20},
		{"aes256gmac", NULL, 36},
		{"aes128-sha1", NULL, 36},
		{"aes256-sha256", NULL, 64},
		{"aes128ctr-sha384", NULL, 68},
		{"aes256ctr-sha512", NULL, CRYPTO_MATERIAL_MAX},
		{"null-sha256", NULL, 32},
		{"des", "MUST NOT", 0},
		{"des-sha256", "MUST NOT", 0},
		{"3des-sha1", "SHOULD NOT", 0},
		{"aes128-md5", "MUST NOT", 0},
		{"null-md5_128", "MUST NOT", 0},
		{"blowfish256-sha256", "MUST NOT", 0},
		{"cast128-sha1", "MUST NOT", 0},
		{"null", "no integrity", 0},
		{"aes128", "no integrity", 0},
		{"aes256ctr", "no integrity", 0},
		{"aes128-aesxcbc", "96 bits", 0},
		{"aes128-sha256_96", "RFC 4868", 0},
		{"aes128gcm8", "ICV of 16 bytes", 0},
		{"aes128ccm16", "ICV of 16 bytes", 0},
		{"aes128gcm16-sha256", "not known", 0},
		{"AES128GCM16", "not known", 0},
		{"aes192-sha256", "not known", 0},
		{"", "not known", 0},
		{"-", "not known", 0},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const char *why = NULL;
		enum crypto_alg alg = crypto_alg_find(rows[i].name, &why);

		if (rows[i].refused == NULL)
			CHECK_ROW(rows[i].name,
				alg < CRYPTO_ALG_COUNT &&
					crypto_material_bytes(alg) == rows[i].material);
		else
			CHECK_ROW(rows[i].name, alg == CRYPTO_ALG_COUNT && why != NULL &&
							strstr(why, rows[i].refused) != NULL);
	}
	for (int alg = 0; alg < CRYPTO_ALG_COUNT; alg++) {
		const struct crypto_alg_info *info = &crypto_alg_infos[alg];
		const char *why;

		CHECK_ROW(info->name, crypto_alg_find(info->name, &why) == (enum crypto_alg)alg);
		CHECK_ROW(info->name, info->icv_bytes >= 12 && info->icv_bytes <= CRYPTO_TAG_MAX);
		CHECK_ROW(info->name,
			crypto_alg_is_aead((unsigned)alg) == (info->hmac == CRYPTO_HMAC_NONE));
	}
}

static void test_path(void)
{
	static const struct {
		const char *name, *local, *remote;
		uint16_t local_port, port;
		uint8_t flags;
		bool want;
	} rows[] = {
		{"IPv4", "192.0.2.1", "198.51.100.7", 0, 0, 0, true},
		{"no remote", "192.0.2.1", NULL, 0, 0, 0, false},
		{"no remote, closed", "192.0.2.1", NULL, 0, 0, PATH_CLOSED, true},
		{"families", "192.0.2.1", "2001:db8::1", 0, 0, 0, false},
		{"families, the other way", "2001:db8::2", "192.0.2.1", 0, 0, 0, false},
		{"IPv6", "2001:db8::2", "2001:db8::1", 0, 0, 0, true},
		{"IPv6, UDP", "2001:db8::2", "2001:db8::1", 4500, 61001, 0, true},
		{"IPv6, link-local", "2001:db8::2", "fe80::1", 0, 0, 0, false},
		{"IPv6, multicast", "2001:db8::2", "ff0e::1", 0, 0, 0, false},
		{"IPv6, mapped", "2001:db8::2", "::ffff:198.51.100.7", 0, 0, 0, false},
		{"multicast", "192.0.2.1", "224.0.0.5", 0, 0, 0, false},
		{"loopback", "192.0.2.1", "127.0.0.1", 0, 0, 0, false},
		{"own end unspecified", "0.0.0.0", "198.51.100.7", 0, 0, 0, false},
		{"UDP", "192.0.2.1", "198.51.100.7", 4500, 61001, 0, true},
		{"UDP, closed", "192.0.2.1", "198.51.100.7", 4500, 61001, PATH_CLOSED, true},
		{"one port alone", "192.0.2.1", "198.51.100.7", 0, 61001, 0, false},
		{"the other alone", "192.0.2.1", "198.51.100.7", 4500, 0, 0, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct path_params params = {.flags = rows[i].flags, .mtu = 1400, .generation = 9};
		struct path path;

		params.local.addr = rig_addr(rows[i].local);
		if (rows[i].remote != NULL)
			params.remote.addr = rig_addr(rows[i].remote);
		params.local.port = rows[i].local_port;
		params.remote.port = rows[i].port;
		CHECK_ROW(rows[i].name, path_init(&path, &params) == rows[i].want);
		if (rows[i].want) {
			CHECK_ROW(rows[i].name, path.mtu == 1400 && path.generation == 9);
			CHECK_ROW(rows[i].name, path.first_tx_ns == 0 && path.rrp_tx_ns == 0);
			CHECK_ROW(rows[i].name,
				path.outer.len ==
					(rows[i].flags & PATH_CLOSED
							? 0
							: (params.local.addr.family == AF_INET6
									  ? 40
									  : 20) +
								  (rows[i].port == 0 ? 0 : 8)));
		}
	}
}

/* RFC 3948 section 2.1, byte for byte. */
static void test_path_udp(void)
{
	static const uint8_t want[28] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198,
		51, 100, 7, 0x11, 0x94, 0xee, 0x49, 0, 0, 0, 0};
	struct path_params params = rig_path_params();
	struct path path;

	params.local.port = PATH_NAT_PORT;
	params.remote.port = 61001;
	CU_ASSERT_TRUE(path_init(&path, &params));
	CU_ASSERT_EQUAL(path.outer.encap, PATH_ENCAP_UDP);
	CU_ASSERT_EQUAL(path.outer.len, sizeof want);
	CU_ASSERT_EQUAL(memcmp(path.outer.bytes, want, sizeof want), 0);
}

static void test_selectors(void)
{
	struct path_params params = rig_path_params();
	struct ip_addr coa = rig_addr("198.51.100.7"), former = rig_addr("203.0.113.9");
	struct ip_addr other = rig_addr("203.0.113.8"), unset = {0};
	struct path path;

	params.former_coa = former;
	params.grace_until_ns = 1000;
	CU_ASSERT_TRUE(path_init(&path, &params));
	CU_ASSERT_TRUE(path_selects(&path, &coa, 5000));
	CU_ASSERT_TRUE(path_selects(&path, &former, 999));
	CU_ASSERT_FALSE(path_selects(&path, &former, 1000));
	CU_ASSERT_FALSE(path_selects(&path, &other, 0));
	CU_ASSERT_FALSE(path_selects(&path, &unset, 0));
}

static void test_verdicts(void)
{
	for (int i = 0; i < VERDICT_COUNT; i++) {
		const char *name = verdict_name((enum verdict)i);

		CU_ASSERT_PTR_NOT_NULL_FATAL(name);
		CU_ASSERT_TRUE(name[0] != 0 && strlen(verdict_text((enum verdict)i)) > 4);
		CU_ASSERT_EQUAL(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		CU_ASSERT_STRING_NOT_EQUAL(name, "unknown");
		for (int k = 0; k < i; k++)
			CU_ASSERT_STRING_NOT_EQUAL(name, verdict_name((enum verdict)k));
	}
	CU_ASSERT_STRING_EQUAL(verdict_name(VERDICT_COUNT), "unknown");
	CU_ASSERT_STRING_EQUAL(verdict_name((enum verdict) - 1), "unknown");
	CU_ASSERT_STRING_EQUAL(verdict_name(VERDICT_BAD_ICV), "bad_icv");
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"parameters", test_params},
		{"nothing left behind", test_nothing_left_behind},
		{"fingerprints", test_fingerprints},
		{"keys of two algorithms", test_key_ids},
		{"one key for both", test_one_key_for_both},
		{"algorithms", test_algorithms},
		{"path", test_path},
		{"path in UDP", test_path_udp},
		{"selectors", test_selectors},
		{"verdicts", test_verdicts},
		{NULL, NULL},
	};
	int ret = unit_run("sa", cases);

	unit_remove_folder();
	return ret;
}
