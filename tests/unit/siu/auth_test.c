/* SPDX-License-Identifier: BSD-3-Clause */
/* Tag: every byte, wrong and two keys; replay window: all edges. siu/README.md sections 2 and 3. */
#include "siu/auth.h"

#include "siu/codec.h"
#include "tests/unit/lib/unit.h"

static const uint8_t secret[16] = "sixteen bytes ..";

static void build(uint8_t *datagram, size_t len, const struct siu_key *key)
{
	const struct siu_header header = {.version = SIU_VERSION,
		.type = SIU_UPDATE,
		.length = (uint16_t)len,
		.key_id = key->id,
		.sequence = 1};

	memset(datagram, 0x5a, len);
	siu_header_encode(datagram, &header);
	CU_ASSERT_EQUAL(siu_auth_seal(key, datagram, len), 0);
}

static void test_every_byte(void)
{
	struct siu_key keys[2] = {{0}}, other;
	uint8_t datagram[100];

	siu_derive_keys(secret, sizeof secret, 9, &keys[0], &other);
	build(datagram, sizeof datagram, &keys[0]);
	CU_ASSERT_EQUAL(siu_auth_check(keys, datagram, sizeof datagram), SIU_AUTH_OK);
	for (size_t at = 0; at < sizeof datagram; at++) {
		enum siu_auth_verdict want = SIU_AUTH_BAD_TAG;

		if (at == 4 || at == 5)
			want = SIU_AUTH_BAD_LENGTH;
		if (at == 6 || at == 7)
			want = SIU_AUTH_UNKNOWN_KEY;
		for (unsigned bit = 0; bit < 8; bit++) {
			datagram[at] ^= (uint8_t)(1u << bit);
			CU_ASSERT_EQUAL(siu_auth_check(keys, datagram, sizeof datagram), want);
			datagram[at] ^= (uint8_t)(1u << bit);
		}
	}
}

static void test_lengths(void)
{
	static const struct {
		size_t len;
		enum siu_auth_verdict want;
	} rows[] = {
		{0, SIU_AUTH_BAD_LENGTH},
		{1, SIU_AUTH_BAD_LENGTH},
		{SIU_DATAGRAM_MIN - 1, SIU_AUTH_BAD_LENGTH},
		{SIU_DATAGRAM_MIN, SIU_AUTH_OK},
		{SIU_DATAGRAM_MAX, SIU_AUTH_OK},
		{SIU_DATAGRAM_MAX + 1, SIU_AUTH_BAD_LENGTH},
	};
	struct siu_key keys[2] = {{0}}, other;

	siu_derive_keys(secret, sizeof secret, 9, &keys[0], &other);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t *exact = malloc(rows[i].len + (rows[i].len == 0));
		uint8_t whole[SIU_DATAGRAM_MAX + 1];

		build(whole, rows[i].len < SIU_DATAGRAM_MIN ? SIU_DATAGRAM_MIN : rows[i].len,
			&keys[0]);
		memcpy(exact, whole, rows[i].len);
		CU_ASSERT_EQUAL(siu_auth_check(keys, exact, rows[i].len), rows[i].want);
		free(exact);
	}
}

static void test_keys(void)
{
	struct siu_key old_out, old_back, new_out, new_back;
	uint8_t by_old[60], by_new[60], reflected[60];

	siu_derive_keys(secret, sizeof secret, 1, &old_out, &old_back);
	siu_derive_keys(secret, sizeof secret, 2, &new_out, &new_back);
	CU_ASSERT_EQUAL(old_out.len, 32);
	CU_ASSERT_NOT_EQUAL(memcmp(old_out.bytes, old_back.bytes, 32), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(old_out.bytes, new_out.bytes, 32), 0);
	build(by_old, sizeof by_old, &old_out);
	build(by_new, sizeof by_new, &new_out);
	build(reflected, sizeof reflected, &old_back);
	{
		struct siu_key none[2] = {{0}};
		struct siu_key before[2] = {old_out, {0}};
		struct siu_key both[2] = {old_out, new_out};
		struct siu_key swapped[2] = {new_out, old_out};
		struct siu_key after[2] = {{0}, new_out};
		struct siu_key wrong[2] = {new_out, {0}};

		CU_ASSERT_EQUAL(siu_auth_check(none, by_old, 60), SIU_AUTH_UNKNOWN_KEY);
		CU_ASSERT_EQUAL(siu_auth_check(before, by_old, 60), SIU_AUTH_OK);
		CU_ASSERT_EQUAL(siu_auth_check(before, by_new, 60), SIU_AUTH_UNKNOWN_KEY);
		CU_ASSERT_EQUAL(siu_auth_check(both, by_old, 60), SIU_AUTH_OK);
		CU_ASSERT_EQUAL(siu_auth_check(both, by_new, 60), SIU_AUTH_OK);
		CU_ASSERT_EQUAL(siu_auth_check(swapped, by_old, 60), SIU_AUTH_OK);
		CU_ASSERT_EQUAL(siu_auth_check(after, by_old, 60), SIU_AUTH_UNKNOWN_KEY);
		CU_ASSERT_EQUAL(siu_auth_check(after, by_new, 60), SIU_AUTH_OK);
		CU_ASSERT_EQUAL(siu_auth_check(before, reflected, 60), SIU_AUTH_BAD_TAG);
		wrong[0].id = 1;
		CU_ASSERT_EQUAL(siu_auth_check(wrong, by_old, 60), SIU_AUTH_BAD_TAG);
	}
}

static void test_window(void)
{
	static const struct {
		const char *name;
		uint64_t top, sequence;
		enum siu_replay_verdict want;
	} rows[] = {
		{"0 at the start", 0, 0, SIU_REPLAY_OLD},
		{"1 at the start", 0, 1, SIU_REPLAY_NEW},
		{"0 is never good", 5, 0, SIU_REPLAY_OLD},
		{"top again", 5000, 5000, SIU_REPLAY_SEEN},
		{"top - 1", 5000, 4999, SIU_REPLAY_NEW},
		{"top + 1", 5000, 5001, SIU_REPLAY_NEW},
		{"last inside", 5000, 5000 - 1023, SIU_REPLAY_NEW},
		{"first outside", 5000, 5000 - 1024, SIU_REPLAY_OLD},
		{"far outside", 5000, 1, SIU_REPLAY_OLD},
		{"jump by a ring", 5000, 5000 + 2048, SIU_REPLAY_NEW},
		{"highest number", UINT64_MAX - 1, UINT64_MAX, SIU_REPLAY_NEW},
		{"beside the highest", UINT64_MAX, UINT64_MAX - 1, SIU_REPLAY_NEW},
		{"wrapped", UINT64_MAX, 1, SIU_REPLAY_OLD},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct siu_replay replay = {0};

		if (rows[i].top != 0)
			siu_replay_commit(&replay, rows[i].top);
		CHECK_ROW(
			rows[i].name, siu_replay_check(&replay, rows[i].sequence) == rows[i].want);
	}
}

/* Against a plain list of what was seen, with jumps around the size of a word, window and ring. */
static void test_window_model(void)
{
	static const uint64_t jumps[] = {
		1, 2, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 5000};
	static bool seen[200000];
	struct siu_replay replay = {0};
	uint64_t top = 0;
	uint64_t random = 12345;

	for (unsigned round = 0; round < 20000; round++) {
		uint64_t sequence;
		enum siu_replay_verdict want = SIU_REPLAY_NEW;

		random = random * 6364136223846793005u + 1442695040888963407u;
		sequence = random >> 60 == 0 ? top + jumps[(random >> 40) % 12]
					     : top - (random >> 33) % 1100;
		if (sequence > top + 5000 || sequence >= 200000)
			continue; /* below 0, or the list is full */
		if (sequence == 0 || (top >= sequence && top - sequence >= SIU_REPLAY_WINDOW))
			want = SIU_REPLAY_OLD;
		else if (seen[sequence])
			want = SIU_REPLAY_SEEN;
		CU_ASSERT_EQUAL(siu_replay_check(&replay, sequence), want);
		if (want != SIU_REPLAY_NEW)
			continue;
		siu_replay_commit(&replay, sequence);
		seen[sequence] = true;
		top = sequence > top ? sequence : top;
	}
	CU_ASSERT_TRUE(top > 100000);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"tag covers every bit", test_every_byte},
		{"lengths", test_lengths},
		{"directions and rotation of keys", test_keys},
		{"replay window: edges", test_window},
		{"replay window: against a list", test_window_model},
		{NULL, NULL},
	};

	return unit_run("siu/auth", cases);
}
