/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The C codec against tests/vectors/siu.txt, which tests/integration/test_siu_wire.py made from the
 * specification: every datagram encoded, decoded and its tag checked.
 */
#include "siu/auth.h"
#include "siu/codec.h"
#include "siu/outbox.h"
#include "tests/unit/lib/unit.h"

static uint8_t want[SIU_DATAGRAM_MAX];
static size_t want_len;

static bool load(const char *name)
{
	FILE *file = fopen(SOURCE_ROOT "/tests/vectors/siu.txt", "r");
	static char line[2 * SIU_DATAGRAM_MAX + 100];
	size_t name_len = strlen(name);

	want_len = 0;
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, name, name_len) == 0 && line[name_len] == ' ')
			want_len = unit_hex(line + name_len + 1, want, sizeof want);
	if (file != NULL)
		fclose(file);
	return want_len > SIU_DATAGRAM_MIN;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_TRUE(ip_addr_parse(text, &out));
	return out;
}

static void keys_of(struct siu_key *ha_to_gw, struct siu_key *gw_to_ha)
{
	uint8_t secret[32];

	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)i;
	siu_derive_keys(secret, sizeof secret, 0x0102, ha_to_gw, gw_to_ha);
}

/* Seals what was written and compares it with the vector. */
static void check_sealed(
	const char *name, struct wire_out *body, enum siu_type type, uint16_t count, bool from_ha)
{
	struct siu_stats stats = {0};
	struct siu_key ha_to_gw, gw_to_ha;
	struct siu_outbox outbox = {.sender_id = 0x0a020001,
		.epoch = 0x00abcdef,
		.peer_epoch = 0x00012345,
		.sequence = 0x1122334455667788 - 1,
		.stats = &stats};
	struct siu_key keys[2] = {{0}};
	struct siu_header header;
	size_t len;

	keys_of(&ha_to_gw, &gw_to_ha);
	outbox.key = from_ha ? ha_to_gw : gw_to_ha;
	keys[1] = outbox.key;
	len = siu_outbox_seal(&outbox, body, type, count);
	CHECK_ROW(name, load(name));
	CHECK_ROW(name, len == want_len && memcmp(body->start, want, len) == 0);
	CHECK_ROW(name, siu_auth_check(keys, want, want_len) == SIU_AUTH_OK);
	CHECK_ROW(name, siu_header_decode(want, want_len, &header) == SIU_RESULT_OK);
	CHECK_ROW(name, header.type == type && header.count == count &&
				header.sequence == 0x1122334455667788 && header.key_id == 0x0102 &&
				header.sender_id == 0x0a020001 && header.epoch == 0x00abcdef &&
				header.peer_epoch == 0x00012345);
	CHECK_ROW(name, siu_body_check(want + SIU_HEADER_BYTES, want_len - SIU_DATAGRAM_MIN,
				(uint8_t)type, count) == SIU_RESULT_OK);
}

static struct wire body_of_vector(void)
{
	return wire_over(want + SIU_HEADER_BYTES, want_len - SIU_DATAGRAM_MIN);
}

static void test_hello(void)
{
	const struct siu_hello hello = {
		1, 1, SIU_HELLO_HOME_AGENT, SIU_HELLO_UP, 0x0123456789abcdef, 0xfedcba9876543210};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	CU_ASSERT_TRUE(siu_hello_encode(&body, &hello));
	check_sealed("hello", &body, SIU_HELLO, 1, true);
}

static void test_update(void)
{
	uint8_t rrp[0x30];
	struct siu_update move = {.generation = 42,
		.identification = 0xe5a1b2c3d4e5f607,
		.node = 9,
		.lifetime_s = 600,
		.home_address = addr("10.1.0.10"),
		.former_coa = addr("198.51.100.7"),
		.new_coa = addr("203.0.113.7"),
		.rrp = rrp,
		.rrp_len = sizeof rrp};
	struct siu_update gone = {.generation = 43,
		.node = 10,
		.flags = SIU_DEREGISTER,
		.home_address = addr("2001:db8::10"),
		.former_coa = addr("2001:db8:1::1")};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);
	struct wire walk, entry;
	struct siu_update out;
	uint64_t reference;

	for (size_t i = 0; i < sizeof rrp; i++)
		rrp[i] = (uint8_t)(0x40 + i);
	CU_ASSERT_TRUE(siu_update_encode(&body, &move, 0x0000000500000007));
	CU_ASSERT_TRUE(siu_update_encode(&body, &gone, 8));
	check_sealed("update", &body, SIU_UPDATE, 2, true);
	walk = body_of_vector();
	CU_ASSERT_TRUE(siu_body_next(&walk, SIU_UPDATE, &entry));
	CU_ASSERT_EQUAL(siu_update_decode(entry, &out, &reference), SIU_RESULT_OK);
	CU_ASSERT_TRUE(reference == 0x0000000500000007 && out.generation == 42 && out.node == 9 &&
		       out.identification == move.identification && out.lifetime_s == 600 &&
		       out.flags == 0 && out.rrp_len == sizeof rrp &&
		       memcmp(out.rrp, rrp, sizeof rrp) == 0);
	CU_ASSERT_TRUE(ip_addr_equal(&out.home_address, &move.home_address) &&
		       ip_addr_equal(&out.former_coa, &move.former_coa) &&
		       ip_addr_equal(&out.new_coa, &move.new_coa));
	CU_ASSERT_TRUE(siu_body_next(&walk, SIU_UPDATE, &entry));
	CU_ASSERT_EQUAL(siu_update_decode(entry, &out, &reference), SIU_RESULT_OK);
	CU_ASSERT_TRUE(reference == 8 && out.flags == SIU_DEREGISTER && out.rrp == NULL &&
		       !ip_addr_is_set(&out.new_coa));
}

static void test_ack(void)
{
	const struct siu_ack_entry good = {.node = 9,
		.result = SIU_RESULT_OK_STATE_DIFFERED,
		.generation = 42,
		.in_force = 42,
		.home_address = addr("10.1.0.10"),
		.coa = addr("203.0.113.7")};
	const struct siu_ack_entry stale = {.result = SIU_RESULT_STALE,
		.generation = 43,
		.in_force = 44,
		.home_address = addr("2001:db8::10"),
		.update_flags = SIU_DEREGISTER};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	CU_ASSERT_TRUE(siu_ack_encode(&body, &good, 0x0000000500000007));
	CU_ASSERT_TRUE(siu_ack_encode(&body, &stale, 8));
	check_sealed("ack", &body, SIU_ACK, 2, false);
}

static void test_rrq_seen_and_event(void)
{
	const struct siu_rrq_seen seen = {.node = 9,
		.identification = 0xe5a1b2c3d4e5f607,
		.home_address = addr("10.1.0.10"),
		.coa = addr("192.168.0.2"),
		.observed = {addr("203.0.113.9"), 4500}};
	const struct siu_event event = {.kind = SIU_EVENT_ENDPOINT_CHANGED,
		.node = 9,
		.home_address = addr("10.1.0.10"),
		.observed = {addr("2001:db8::9"), 61000}};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	CU_ASSERT_TRUE(siu_rrq_seen_encode(&body, &seen));
	check_sealed("rrq_seen", &body, SIU_RRQ_SEEN, 1, false);
	body = siu_outbox_open(datagram);
	CU_ASSERT_TRUE(siu_event_encode(&body, &event));
	check_sealed("event", &body, SIU_EVENT, 1, false);
}

static void test_sync(void)
{
	const struct siu_sync_message end = {3, SIU_SYNC_END, SIU_RESULT_OK};
	const struct siu_sync_message answer = {3, SIU_SYNC_END_ACK, SIU_RESULT_RESYNC_NEEDED};
	uint8_t datagram[SIU_DATAGRAM_MAX];
	struct wire_out body = siu_outbox_open(datagram);

	CU_ASSERT_TRUE(siu_sync_encode(&body, &end));
	check_sealed("sync", &body, SIU_SYNC, 1, true);
	body = siu_outbox_open(datagram);
	CU_ASSERT_TRUE(siu_sync_encode(&body, &answer));
	check_sealed("sync_answer", &body, SIU_SYNC, 1, false);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"HELLO", test_hello},
		{"UPDATE", test_update},
		{"ACK", test_ack},
		{"RRQ_SEEN and EVENT", test_rrq_seen_and_event},
		{"SYNC", test_sync},
		{NULL, NULL},
	};

	return unit_run("siu/golden", cases);
}
