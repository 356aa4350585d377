/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Layouts of siu/README.md sections 2 and 4: every length and field at its boundary, unknown TLVs,
 * and every entry type there and back. Buffers are exactly as long as they say, for the sanitizer.
 */
#include "siu/codec.h"
#include "tests/unit/lib/unit.h"

#include <sys/socket.h>

static struct ip_addr v4(const char *text)
{
	struct ip_addr addr = {0};

	CU_ASSERT_TRUE(ip_addr_parse(text, &addr));
	return addr;
}

/* Decodes hex text as the entry's value, in a block of its own. */
static enum siu_result update_from(const char *hex, struct siu_update *update)
{
	uint8_t bytes[700];
	size_t len = unit_hex(hex, bytes, sizeof bytes);
	uint8_t *exact = malloc(len + (len == 0));
	uint64_t reference;
	enum siu_result result;

	memcpy(exact, bytes, len);
	result = siu_update_decode(wire_over(exact, len), update, &reference);
	free(exact);
	return result;
}

#define FIXED "0000000000000001 0000000000000002 0000000000000003 00000004 0258 0000 "
#define FIXED_FLAGS(flags) "0000000000000001 0000000000000002 0000000000000003 00000004 0000 " flags
#define HOME "8101 0005 04 0a01000a "
#define COA "8103 0005 04 cb007107 "
#define RRP "8106 0003 414243 "

static void test_update_rows(void)
{
	static const struct {
		const char *name, *hex;
		enum siu_result want;
	} rows[] = {
		{"move", FIXED HOME COA, SIU_RESULT_OK},
		{"any order", FIXED COA HOME, SIU_RESULT_OK},
		{"with former", FIXED HOME COA "8102 0005 04 c6336407", SIU_RESULT_OK},
		{"with rrp", FIXED HOME COA RRP, SIU_RESULT_OK},
		{"IPv6", FIXED HOME "8103 0011 06 20010db8000000000000000000000001", SIU_RESULT_OK},
		{"nothing", "", SIU_RESULT_MALFORMED},
		{"fixed part - 1", "00000000000000010000000000000002000000000000000300000004025800",
			SIU_RESULT_MALFORMED},
		{"fixed part alone", FIXED, SIU_RESULT_MALFORMED},
		{"no home address", FIXED COA, SIU_RESULT_MALFORMED},
		{"no new CoA", FIXED HOME, SIU_RESULT_MALFORMED},
		{"TLV type cut", FIXED HOME COA "81", SIU_RESULT_MALFORMED},
		{"TLV length cut", FIXED HOME COA "8102 00", SIU_RESULT_MALFORMED},
		{"TLV value - 1", FIXED HOME "8103 0005 04 cb0071", SIU_RESULT_MALFORMED},
		{"address length - 1", FIXED HOME "8103 0004 04 cb0071", SIU_RESULT_MALFORMED},
		{"address length + 1", FIXED HOME "8103 0006 04 cb007107 00", SIU_RESULT_MALFORMED},
		{"address without family", FIXED HOME "8103 0000", SIU_RESULT_MALFORMED},
		{"IPv6 length - 1", FIXED HOME "8103 0010 06 20010db80000000000000000000000",
			SIU_RESULT_MALFORMED},
		{"IPv6 length + 1", FIXED HOME "8103 0012 06 20010db800000000000000000000000100",
			SIU_RESULT_MALFORMED},
		{"family 5", FIXED HOME "8103 0005 05 cb007107", SIU_RESULT_MALFORMED},
		{"family 5, IPv6's length",
			FIXED HOME "8103 0011 05 20010db8000000000000000000000001",
			SIU_RESULT_MALFORMED},
		{"twice", FIXED HOME COA COA, SIU_RESULT_MALFORMED},
		{"rrp empty", FIXED HOME COA "8106 0000", SIU_RESULT_MALFORMED},
		{"unknown to be skipped", FIXED HOME "0107 0002 abcd" COA, SIU_RESULT_OK},
		{"unknown to be skipped, empty", FIXED HOME COA "7fff 0000", SIU_RESULT_OK},
		{"unknown to be skipped, too long", FIXED HOME COA "7fff 0001",
			SIU_RESULT_MALFORMED},
		{"unknown to be understood", FIXED HOME COA "8107 0002 abcd",
			SIU_RESULT_UNKNOWN_TLV},
		{"unknown in place of the CoA", FIXED HOME "8107 0002 abcd",
			SIU_RESULT_UNKNOWN_TLV},
		{"unknown in place of the home address", FIXED COA "8107 0002 abcd",
			SIU_RESULT_MALFORMED},
		{"known, but not here", FIXED HOME COA "8104 0005 04 01020304",
			SIU_RESULT_UNKNOWN_TLV},
		{"entry type inside", FIXED HOME COA "8002 0000", SIU_RESULT_UNKNOWN_TLV},
		{"deregister", FIXED_FLAGS("0002") HOME, SIU_RESULT_OK},
		{"deregister with CoA and rrp", FIXED_FLAGS("0002") HOME COA RRP, SIU_RESULT_OK},
		{"deregister with lifetime",
			"0000000000000001 0000000000000002 0000000000000003 00000004 0001 "
			"0002" HOME,
			SIU_RESULT_MALFORMED},
		{"reply only", FIXED_FLAGS("0001") HOME COA RRP, SIU_RESULT_OK},
		{"reply only without rrp", FIXED_FLAGS("0001") HOME COA, SIU_RESULT_MALFORMED},
		{"reply only without CoA", FIXED_FLAGS("0001") HOME RRP, SIU_RESULT_MALFORMED},
		{"reply only and deregister", FIXED_FLAGS("0003") HOME COA RRP,
			SIU_RESULT_MALFORMED},
		{"reserved flags", FIXED_FLAGS("000c") HOME COA, SIU_RESULT_OK},
		{"unknown flag to be ignored", FIXED_FLAGS("0080") HOME COA, SIU_RESULT_OK},
		{"unknown flag to be understood", FIXED_FLAGS("0100") HOME COA,
			SIU_RESULT_UNKNOWN_TLV},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct siu_update update;

		CHECK_ROW(rows[i].name, update_from(rows[i].hex, &update) == rows[i].want);
	}
}

static void test_rrp_length(void)
{
	static const size_t lengths[] = {1, 511, 512, 513};
	uint8_t rrp[513] = {0};

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		uint8_t bytes[700];
		struct wire_out w = wire_into(bytes, sizeof bytes);
		struct siu_update update = {.home_address = v4("10.1.0.10"),
			.new_coa = v4("203.0.113.7"),
			.rrp = rrp,
			.rrp_len = lengths[i]};
		struct siu_update out;
		uint64_t reference;
		bool fits = lengths[i] <= SIU_RRP_MAX;

		CU_ASSERT_EQUAL(siu_update_is_sound(&update), fits);
		CU_ASSERT_TRUE(siu_update_encode(&w, &update, 1));
		CU_ASSERT_EQUAL(siu_update_decode(wire_over(bytes + SIU_TLV_BYTES,
							  wire_written(&w) - SIU_TLV_BYTES),
					&out, &reference),
			fits ? SIU_RESULT_OK : SIU_RESULT_MALFORMED);
	}
}

/* Every prefix of a good entry is malformed or (cut between TLVs that may be left out) good. */
static void test_update_prefixes(void)
{
	uint8_t bytes[200];
	size_t len = unit_hex(FIXED HOME COA RRP, bytes, sizeof bytes);
	size_t good_at = unit_hex(FIXED HOME COA, bytes, sizeof bytes);

	unit_hex(FIXED HOME COA RRP, bytes, sizeof bytes);
	for (size_t cut = 0; cut <= len; cut++) {
		uint8_t *exact = malloc(cut + 1);
		struct siu_update update;
		uint64_t reference;
		enum siu_result result;

		memcpy(exact, bytes, cut);
		exact = realloc(exact, cut + (cut == 0));
		result = siu_update_decode(wire_over(exact, cut), &update, &reference);
		CU_ASSERT_EQUAL(result == SIU_RESULT_OK, cut == good_at || cut == len);
		free(exact);
	}
}

static void test_header(void)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
		size_t len;
		enum siu_result want;
	} rows[] = {
		{"as it should be", 0, 1, 48, SIU_RESULT_OK},
		{"shortest - 1", 5, 47, 47, SIU_RESULT_MALFORMED},
		{"length too small", 5, 47, 48, SIU_RESULT_MALFORMED},
		{"length too great", 5, 49, 48, SIU_RESULT_MALFORMED},
		{"version 0", 0, 0, 48, SIU_RESULT_BAD_VERSION},
		{"version 2", 0, 2, 48, SIU_RESULT_BAD_VERSION},
		{"flag to be ignored", 3, 0x80, 48, SIU_RESULT_OK},
		{"flag to be understood", 2, 0x01, 48, SIU_RESULT_UNKNOWN_TLV},
		{"must be 0 is ignored", 31, 0xff, 48, SIU_RESULT_OK},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct siu_header header = {.version = 1, .type = SIU_HELLO, .length = 48};
		uint8_t *datagram = calloc(1, rows[i].len);
		uint8_t whole[48] = {0};

		siu_header_encode(whole, &header);
		whole[rows[i].at] = rows[i].value;
		memcpy(datagram, whole, rows[i].len);
		CHECK_ROW(rows[i].name,
			siu_header_decode(datagram, rows[i].len, &header) == rows[i].want);
		free(datagram);
	}
}

static void test_header_longest(void)
{
	static const size_t lengths[] = {SIU_DATAGRAM_MAX, SIU_DATAGRAM_MAX + 1};

	for (size_t i = 0; i < 2; i++) {
		struct siu_header header = {.version = 1, .length = (uint16_t)lengths[i]};
		uint8_t *datagram = calloc(1, lengths[i]);

		siu_header_encode(datagram, &header);
		CU_ASSERT_EQUAL(siu_header_decode(datagram, lengths[i], &header),
			i == 0 ? SIU_RESULT_OK : SIU_RESULT_MALFORMED);
		free(datagram);
	}
}

static void test_body_rows(void)
{
	static const struct {
		const char *name, *hex;
		uint16_t count;
		enum siu_result want;
	} rows[] = {
		{"one", "8002 0001 aa", 1, SIU_RESULT_OK},
		{"two", "8002 0000 8002 0001 aa", 2, SIU_RESULT_OK},
		{"none", "", 0, SIU_RESULT_MALFORMED},
		{"count + 1", "8002 0001 aa", 2, SIU_RESULT_MALFORMED},
		{"count - 1", "8002 0001 aa 8002 0000", 1, SIU_RESULT_MALFORMED},
		{"count 0", "8002 0001 aa", 0, SIU_RESULT_MALFORMED},
		{"value cut", "8002 0002 aa", 1, SIU_RESULT_MALFORMED},
		{"left over", "8002 0001 aa 00", 1, SIU_RESULT_MALFORMED},
		{"half a TLV header left over", "8002 0001 aa 8002", 1, SIU_RESULT_MALFORMED},
		{"unknown to be skipped", "0002 0001 bb 8002 0001 aa 7f00 0000", 1, SIU_RESULT_OK},
		{"unknown to be understood", "8002 0001 aa 8009 0000", 1, SIU_RESULT_UNKNOWN_TLV},
		{"other entry type", "8002 0001 aa 8003 0001 aa", 1, SIU_RESULT_UNKNOWN_TLV},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t bytes[64];
		size_t len = unit_hex(rows[i].hex, bytes, sizeof bytes);
		uint8_t *exact = malloc(len + (len == 0));

		memcpy(exact, bytes, len);
		CHECK_ROW(rows[i].name,
			siu_body_check(exact, len, SIU_UPDATE, rows[i].count) == rows[i].want);
		free(exact);
	}
}

static void test_body_count_limit(void)
{
	uint8_t bytes[(SIU_ENTRIES_MAX + 1) * SIU_TLV_BYTES];
	struct wire_out w = wire_into(bytes, sizeof bytes);

	for (unsigned i = 0; i <= SIU_ENTRIES_MAX; i++)
		wire_put_u32(&w, 0x80020000);
	CU_ASSERT_EQUAL(
		siu_body_check(bytes, sizeof bytes - SIU_TLV_BYTES, SIU_UPDATE, SIU_ENTRIES_MAX),
		SIU_RESULT_OK);
	CU_ASSERT_EQUAL(siu_body_check(bytes, sizeof bytes, SIU_UPDATE, SIU_ENTRIES_MAX + 1),
		SIU_RESULT_MALFORMED);
}

static void test_body_next_steps_over(void)
{
	uint8_t bytes[64];
	size_t len = unit_hex("0002 0001 bb 8002 0001 01 0003 0000 8002 0002 0203", bytes, 64);
	struct wire body = wire_over(bytes, len), entry;

	CU_ASSERT_TRUE(siu_body_next(&body, SIU_UPDATE, &entry) && wire_left(&entry) == 1);
	CU_ASSERT_TRUE(siu_body_next(&body, SIU_UPDATE, &entry) && wire_left(&entry) == 2);
	CU_ASSERT_FALSE(siu_body_next(&body, SIU_UPDATE, &entry));
}

/* An encoder that has no room for the last byte leaves the writer as it was. */
static void test_no_room(void)
{
	struct siu_update update = {.home_address = v4("10.1.0.10"), .new_coa = v4("203.0.113.7")};
	uint8_t bytes[200] = {0};
	struct wire_out w = wire_into(bytes, sizeof bytes);
	size_t need;

	CU_ASSERT_TRUE(siu_update_encode(&w, &update, 1));
	need = wire_written(&w);
	CU_ASSERT_EQUAL(need, SIU_TLV_BYTES + 32 + 9 + 9);
	for (size_t room = 0; room < need; room++) {
		w = wire_into(bytes, room);
		CU_ASSERT_FALSE(siu_update_encode(&w, &update, 1));
		CU_ASSERT_TRUE(w.ok && wire_written(&w) == 0);
	}
}

static struct wire entry_of(const uint8_t *bytes, const struct wire_out *w)
{
	return wire_over(bytes + SIU_TLV_BYTES, wire_written(w) - SIU_TLV_BYTES);
}

static void test_ack_round_trip(void)
{
	static const enum siu_result results[] = {
		SIU_RESULT_OK, SIU_RESULT_STALE, SIU_RESULT_BAD_RRP, (enum siu_result)0xffff};

	for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
		uint8_t bytes[200];
		struct wire_out w = wire_into(bytes, sizeof bytes);
		struct siu_ack_entry ack = {.node = UINT32_MAX,
			.result = results[i],
			.generation = UINT64_MAX,
			.in_force = UINT64_MAX - 1,
			.home_address = v4("10.1.0.10"),
			.update_flags = SIU_REPLY_ONLY};
		struct siu_ack_entry out;
		uint64_t reference;

		if (i % 2 == 0)
			ack.coa = v4("2001:db8::7");
		CU_ASSERT_TRUE(siu_ack_encode(&w, &ack, UINT64_MAX));
		CU_ASSERT_EQUAL(
			siu_ack_decode(entry_of(bytes, &w), &out, &reference), SIU_RESULT_OK);
		CU_ASSERT_TRUE(reference == UINT64_MAX && out.node == ack.node &&
			       out.result == ack.result && out.generation == ack.generation &&
			       out.in_force == ack.in_force && out.update_flags == SIU_REPLY_ONLY);
		CU_ASSERT_TRUE(ip_addr_equal(&out.home_address, &ack.home_address));
		CU_ASSERT_EQUAL(out.coa.family, i % 2 == 0 ? AF_INET6 : 0);
	}
}

static void test_small_messages(void)
{
	uint8_t bytes[200];
	struct wire_out w = wire_into(bytes, sizeof bytes);
	struct siu_hello hello = {1, 3, SIU_HELLO_GATEWAY, SIU_HELLO_UP, 5, 6}, hello_out;
	struct siu_sync_message sync = {7, SIU_SYNC_END_ACK, SIU_RESULT_RESYNC_NEEDED}, sync_out;
	struct siu_event event = {.kind = SIU_EVENT_SA_EXPIRED, .node = 8}, event_out;

	CU_ASSERT_TRUE(siu_hello_encode(&w, &hello));
	CU_ASSERT_EQUAL(siu_hello_decode(entry_of(bytes, &w), &hello_out), SIU_RESULT_OK);
	CU_ASSERT_TRUE(hello_out.version_min == 1 && hello_out.version_max == 3 &&
		       hello_out.role == SIU_HELLO_GATEWAY && hello_out.flags == SIU_HELLO_UP &&
		       hello_out.nonce == 5 && hello_out.echo == 6);
	CU_ASSERT_EQUAL(wire_written(&w), SIU_TLV_BYTES + 24);
	for (size_t len = 0; len < 24; len++)
		CU_ASSERT_EQUAL(siu_hello_decode(wire_over(bytes + SIU_TLV_BYTES, len), &hello_out),
			SIU_RESULT_MALFORMED);
	wire_store_u64(bytes + SIU_TLV_BYTES + 8, 0);
	CU_ASSERT_EQUAL(siu_hello_decode(entry_of(bytes, &w), &hello_out), SIU_RESULT_MALFORMED);

	w = wire_into(bytes, sizeof bytes);
	CU_ASSERT_TRUE(siu_sync_encode(&w, &sync));
	CU_ASSERT_EQUAL(siu_sync_decode(entry_of(bytes, &w), &sync_out), SIU_RESULT_OK);
	CU_ASSERT_TRUE(
		sync_out.id == 7 && sync_out.step == sync.step && sync_out.result == sync.result);
	for (size_t len = 0; len < 8; len++)
		CU_ASSERT_EQUAL(siu_sync_decode(wire_over(bytes + SIU_TLV_BYTES, len), &sync_out),
			SIU_RESULT_MALFORMED);

	w = wire_into(bytes, sizeof bytes);
	CU_ASSERT_TRUE(siu_event_encode(&w, &event));
	CU_ASSERT_EQUAL(siu_event_decode(entry_of(bytes, &w), &event_out), SIU_RESULT_MALFORMED);
	event.home_address = v4("10.1.0.10");
	w = wire_into(bytes, sizeof bytes);
	CU_ASSERT_TRUE(siu_event_encode(&w, &event));
	CU_ASSERT_EQUAL(siu_event_decode(entry_of(bytes, &w), &event_out), SIU_RESULT_OK);
	CU_ASSERT_TRUE(event_out.kind == event.kind && event_out.node == 8 &&
		       !ip_addr_is_set(&event_out.observed.addr));
}

static void test_rrq_seen(void)
{
	static const struct {
		const char *name, *hex;
		enum siu_result want;
	} rows[] = {
#define SEEN "0000000000000005 00000009 " HOME "8104 0005 04 c0a80002 "
		{"IPv4", SEEN "8105 0007 04 1194 cb007109", SIU_RESULT_OK},
		{"IPv6", SEEN "8105 0013 06 0000 20010db8000000000000000000000001", SIU_RESULT_OK},
		{"endpoint - 1", SEEN "8105 0006 04 1194 cb0071", SIU_RESULT_MALFORMED},
		{"endpoint + 1", SEEN "8105 0008 04 1194 cb007109 00", SIU_RESULT_MALFORMED},
		{"no endpoint", SEEN, SIU_RESULT_MALFORMED},
		{"no CoA", "0000000000000005 00000009" HOME "8105 0007 04 1194 cb007109",
			SIU_RESULT_MALFORMED},
		{"rrp", SEEN "8105 0007 04 1194 cb007109 8106 0001 00", SIU_RESULT_UNKNOWN_TLV},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t bytes[100];
		size_t len = unit_hex(rows[i].hex, bytes, sizeof bytes);
		struct siu_rrq_seen seen;

		CHECK_ROW(rows[i].name,
			siu_rrq_seen_decode(wire_over(bytes, len), &seen) == rows[i].want);
		if (rows[i].want == SIU_RESULT_OK && i == 0)
			CU_ASSERT_TRUE(seen.identification == 5 && seen.node == 9 &&
				       seen.observed.port == 0x1194);
	}
}

static void test_result_names(void)
{
	CU_ASSERT_STRING_EQUAL(siu_result_name(SIU_RESULT_OK), "ok");
	CU_ASSERT_STRING_EQUAL(siu_result_name(SIU_RESULT_BAD_RRP), "bad_rrp");
	CU_ASSERT_STRING_EQUAL(siu_result_name((enum siu_result)999), "unknown");
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"UPDATE: boundaries, flags, unknown TLVs", test_update_rows},
		{"UPDATE: length of the RRP", test_rrp_length},
		{"UPDATE: every prefix", test_update_prefixes},
		{"header", test_header},
		{"header: longest datagram", test_header_longest},
		{"body: framing and count", test_body_rows},
		{"body: entries at most", test_body_count_limit},
		{"body: entries one by one", test_body_next_steps_over},
		{"encoder without room", test_no_room},
		{"ACK there and back", test_ack_round_trip},
		{"HELLO, SYNC, EVENT", test_small_messages},
		{"RRQ_SEEN", test_rrq_seen},
		{"names of results", test_result_names},
		{NULL, NULL},
	};

	return unit_run("siu/codec", cases);
}
