/* SPDX-License-Identifier: BSD-3-Clause */
/* HMAC vectors of RFC 2202 section 2 and RFC 4231 section 4; compare, wipe, random bytes. */
#include "lib/hmac.h"

#include "unit.h"

#include <pthread.h>

static uint8_t bytes_of(const char *hex, uint8_t *out, size_t room, size_t *len)
{
	*len = unit_hex(hex, out, room);
	return out[0];
}

static void test_vectors(void)
{
	static const struct {
		const char *name;
		enum hmac_alg alg;
		const char *key; /* hex; one byte: repeated key_len times */
		size_t key_len;
		const char *text; /* as it is; NULL: 50 times fill */
		uint8_t fill;
		const char *tag;
	} rows[] = {
		{"RFC 2202 md5 1", HMAC_MD5, "0b", 16, "Hi There", 0,
			"9294727a3638bb1c13f48ef8158bfc9d"},
		{"RFC 2202 md5 2", HMAC_MD5, "4a656665", 4, "what do ya want for nothing?", 0,
			"750c783e6ab0b503eaa86e310a5db738"},
		{"RFC 2202 md5 3", HMAC_MD5, "aa", 16, NULL, 0xdd,
			"56be34521d144c88dbb8c733f0e8b3f6"},
		{"RFC 2202 md5 6", HMAC_MD5, "aa", 80,
			"Test Using Larger Than Block-Size Key - Hash Key First", 0,
			"6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"},
		{"RFC 4231 sha256 1", HMAC_SHA256, "0b", 20, "Hi There", 0,
			"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"RFC 4231 sha256 2", HMAC_SHA256, "4a656665", 4, "what do ya want for nothing?", 0,
			"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"RFC 4231 sha256 3", HMAC_SHA256, "aa", 20, NULL, 0xdd,
			"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{"RFC 4231 sha256 6", HMAC_SHA256, "aa", 131,
			"Test Using Larger Than Block-Size Key - Hash Key First", 0,
			"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t key[160], text[64], want[HMAC_BYTES_MAX], tag[HMAC_BYTES_MAX];
		size_t key_len, text_len = 50, want_len;
		struct hmac_part parts[3];

		if (bytes_of(rows[i].key, key, sizeof key, &key_len) != 0 && key_len == 1)
			memset(key, key[0], rows[i].key_len);
		memset(text, rows[i].fill, sizeof text);
		if (rows[i].text != NULL) {
			text_len = strlen(rows[i].text);
			memcpy(text, rows[i].text, text_len);
		}
		want_len = unit_hex(rows[i].tag, want, sizeof want);
		CHECK_ROW(rows[i].name, want_len == hmac_bytes(rows[i].alg));
		/* Cut at every place, with an empty piece between: the tag is that of the whole. */
		for (size_t cut = 0; cut <= text_len; cut++) {
			parts[0] = (struct hmac_part){text, cut};
			parts[1] = (struct hmac_part){NULL, 0};
			parts[2] = (struct hmac_part){text + cut, text_len - cut};
			CHECK_ROW(rows[i].name, hmac_compute(rows[i].alg, key, rows[i].key_len,
							parts, 3, tag) == 0);
			CHECK_ROW(rows[i].name, memcmp(tag, want, want_len) == 0);
		}
	}
}

static void test_empty(void)
{
	/* HMAC-SHA-256 with an empty key over nothing (RFC 2104: the key is padded with zeros). */
	static const char want_hex[] =
		"b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
	uint8_t want[HMAC_BYTES_MAX], tag[HMAC_BYTES_MAX];

	unit_hex(want_hex, want, sizeof want);
	CU_ASSERT_EQUAL(hmac_compute(HMAC_SHA256, NULL, 0, NULL, 0, tag), 0);
	CU_ASSERT_EQUAL(memcmp(tag, want, sizeof want), 0);
}

static void test_equal_and_wipe(void)
{
	uint8_t a[16], b[16];

	memset(a, 0x5a, sizeof a);
	memset(b, 0x5a, sizeof b);
	CU_ASSERT_TRUE(hmac_equal(a, b, sizeof a));
	CU_ASSERT_TRUE(hmac_equal(a, b, 0));
	for (size_t i = 0; i < sizeof a; i++) {
		b[i] ^= 0x80;
		CU_ASSERT_FALSE(hmac_equal(a, b, sizeof a));
		CU_ASSERT_TRUE(hmac_equal(a, b, i));
		b[i] ^= 0x80;
	}
	secret_wipe(a, sizeof a - 1);
	for (size_t i = 0; i < sizeof a - 1; i++)
		CU_ASSERT_EQUAL(a[i], 0);
	CU_ASSERT_EQUAL(a[15], 0x5a);
	secret_wipe(NULL, 0);
}

static void test_random(void)
{
	uint8_t a[65] = {0}, b[65] = {0};

	random_fill(a, 64);
	random_fill(b, 64);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 64), 0);
	CU_ASSERT_EQUAL(a[64], 0);
	random_fill(NULL, 0);
}

static void *tag_often(void *arg)
{
	static const struct hmac_part part = {"Hi There", 8};
	uint8_t key[16], want[HMAC_BYTES_MAX], tag[HMAC_BYTES_MAX];
	size_t *wrong = arg;

	memset(key, 0x0b, sizeof key);
	unit_hex("9294727a3638bb1c13f48ef8158bfc9d", want, sizeof want);
	for (int i = 0; i < 2000; i++)
		if (hmac_compute(HMAC_MD5, key, sizeof key, &part, 1, tag) != 0 ||
			memcmp(tag, want, HMAC_MD5_BYTES) != 0)
			(*wrong)++;
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[4];
	size_t wrong[4] = {0};

	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, tag_often, &wrong[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		CU_ASSERT_EQUAL(wrong[i], 0);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"vectors in pieces", test_vectors},
		{"empty key and message", test_empty},
		{"compare and wipe", test_equal_and_wipe},
		{"random bytes", test_random},
		{"threads", test_threads},
		{NULL, NULL},
	};

	return unit_run("hmac", cases);
}
