/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: SAs and nodes are entered into the tables by hand, queries are rows. The tables
 * need EAL for their memory, which the rig starts; no packet is sent.
 */
#include "tests/unit/dataplane/rig.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/ip4.h"
#include "dataplane/table.h"

#include <errno.h>

static struct rig rig;

static struct ip_addr asked[64]; /* what lookup_addr.v6 points to */
static unsigned n_asked;

static struct lookup_addr ask(const struct lookup *table, const char *text)
{
	struct ip_addr *addr = &asked[n_asked++ % RTE_DIM(asked)];

	*addr = rig_addr(text);
	return (struct lookup_addr){.number = lookup_number(table, addr),
		.v6 = addr->family == AF_INET6 ? addr->bytes : NULL};
}

static struct sa_source source_of(const char *text)
{
	struct sa_source source;

	CU_ASSERT(sa_source_parse(text, &source) == NULL);
	return source;
}

static struct sa_in sa(uint32_t spi, const struct sa_source *source)
{
	return (struct sa_in){
		.spi = spi,
		.wildcard_source = source == NULL,
		.source = source,
	};
}

enum { ANY, FROM_A, FROM_NET, FROM_B, FROM_SIX, FROM_SIX_NET, OTHER_SPI, ONLY_GIVEN, SAS };

static void test_lookup(void)
{
	static const struct {
		const char *name;
		uint32_t spi;
		const char *src;
		int want; /* -1: none */
	} rows[] = {
		{"wildcard takes any source", 0x1001, "198.51.101.99", ANY},
		{"of either family", 0x1001, "2001:db8:9::99", ANY},
		{"given source wins over the wildcard", 0x1001, "198.51.100.7", FROM_A},
		{"each given source has its own", 0x1001, "203.0.113.7", FROM_B},
		{"the second prefix of a list", 0x1001, "203.0.114.200", FROM_B},
		{"a prefix", 0x1001, "198.51.100.8", FROM_NET},
		{"a longer prefix", 0x1001, "198.51.100.130", FROM_B},
		{"beside all prefixes", 0x1001, "198.51.101.8", ANY},
		{"IPv6 too", 0x1001, "2001:db8::7", FROM_SIX},
		{"an IPv6 prefix", 0x1001, "2001:db8::8", FROM_SIX_NET},
		{"an IPv4 address in IPv6 is another one", 0x1001, "::ffff:198.51.100.7", ANY},
		{"its bytes in front are another one", 0x1001, "c633:6407::", ANY},
		{"another SPI", 0x1002, "198.51.100.7", OTHER_SPI},
		{"given source matches", 0x1003, "198.51.100.7", ONLY_GIVEN},
		{"given source without wildcard refuses others", 0x1003, "198.51.100.8", -1},
		{"and the other family", 0x1003, "2001:db8::7", -1},
		{"unknown SPI", 0x1004, "198.51.100.7", -1},
		{"SPI in the wrong byte order", 0x01100000, "198.51.100.7", -1},
	};
	/* Whatever order they come in. */
	const struct sa_source a = source_of("198.51.100.7"), net = source_of("198.51.100.0/24"),
			       b = source_of("203.0.113.7,203.0.114.0/24,198.51.100.128/25"),
			       six = source_of("2001:db8::7"), six_net = source_of("2001:db8::/64");
	struct sa_in sas[SAS] = {
		[ANY] = sa(0x1001, NULL),
		[FROM_A] = sa(0x1001, &a),
		[FROM_NET] = sa(0x1001, &net),
		[FROM_B] = sa(0x1001, &b),
		[FROM_SIX] = sa(0x1001, &six),
		[FROM_SIX_NET] = sa(0x1001, &six_net),
		[OTHER_SPI] = sa(0x1002, NULL),
		[ONLY_GIVEN] = sa(0x1003, &a),
	};
	struct sad_query queries[RTE_DIM(rows)];
	struct sa_in *found[RTE_DIM(rows)];

	for (unsigned i = 0; i < SAS; i++)
		CU_ASSERT(sad_in_add(&rig.dp->sad, &sas[i]) == 0);
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		queries[i] = (struct sad_query){rows[i].spi, ask(&rig.dp->sad.in, rows[i].src)};
	sad_lookup_in_burst(&rig.dp->sad, queries, found, RTE_DIM(rows));
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		CHECK_ROW(rows[i].name, found[i] == (rows[i].want < 0 ? NULL : &sas[rows[i].want]));

	for (unsigned i = 0; i < SAS; i++) {
		struct sa_params same = {.spi = sas[i].spi};

		if (sas[i].source != NULL)
			same.source = *sas[i].source;
		CU_ASSERT(sad_in_taken(&rig.dp->sad, &same));
		CU_ASSERT(sad_in_add(&rig.dp->sad, &sas[i]) == -EEXIST);
	}
	/* Without one the next longest serves its sources. */
	sad_in_del(&rig.dp->sad, &sas[FROM_A]);
	sad_lookup_in_burst(&rig.dp->sad, queries, found, RTE_DIM(rows));
	CU_ASSERT(found[2] == &sas[FROM_NET]);
	CU_ASSERT(found[3] == &sas[FROM_B]);
	for (unsigned i = 0; i < SAS; i++)
		if (i != FROM_A)
			sad_in_del(&rig.dp->sad, &sas[i]);
	sad_lookup_in_burst(&rig.dp->sad, queries, found, RTE_DIM(rows));
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		CHECK_ROW(rows[i].name, found[i] == NULL);
}

static void test_homes(void)
{
	static const struct {
		const char *name, *home;
		int want; /* -1: none */
	} rows[] = {
		{"IPv4", "10.1.0.11", 1},
		{"IPv6", "2001:db8::10", 2},
		{"IPv6 again", "2001:db8::10", 2},
		{"another IPv4", "10.1.0.12", -1},
		{"another IPv6", "2001:db8::11", -1},
		{"an IPv4 one in IPv6", "::ffff:10.1.0.10", -1},
		{"IPv4 after IPv6", "10.1.0.10", 0},
	};
	struct node nodes[4] = {{.home_address = rig_addr("10.1.0.10")},
		{.home_address = rig_addr("10.1.0.11")}, {.home_address = rig_addr("2001:db8::10")},
		{.home_address = rig_addr("2001:db8::10")}};
	struct lookup_addr homes[RTE_DIM(rows)];
	struct node *found[RTE_DIM(rows)];

	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT(sad_home_add(&rig.dp->sad, &nodes[i]) == 0);
	CU_ASSERT(sad_home_add(&rig.dp->sad, &nodes[3]) == -EEXIST);
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		homes[i] = ask(&rig.dp->sad.homes, rows[i].home);
	sad_lookup_home_burst(&rig.dp->sad, homes, found, RTE_DIM(rows));
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		CHECK_ROW(
			rows[i].name, found[i] == (rows[i].want < 0 ? NULL : &nodes[rows[i].want]));
	for (unsigned i = 0; i < 3; i++)
		sad_home_del(&rig.dp->sad, &nodes[i]);
	sad_lookup_home_burst(&rig.dp->sad, homes, found, RTE_DIM(rows));
	for (unsigned i = 0; i < RTE_DIM(rows); i++)
		CHECK_ROW(rows[i].name, found[i] == NULL);
}

/* There is always a place for one more. */
static void test_places_come_back(void)
{
	struct sa_in in = sa(1, NULL);
	unsigned added = 0;

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 100; i++) {
			in.spi = 0x10000 + i;
			added += sad_in_add(&rig.dp->sad, &in) == 0;
			sad_in_del(&rig.dp->sad, &in);
		}
		rcu_quiescent(&rig.dp->rcu, 0);
	}
	CU_ASSERT(added == 10000);
}

/* Families share the tables without colliding: an IPv4 address is mapped, not embedded. */
static void test_families(void)
{
	struct ip_addr four = rig_addr("1.2.3.4"), six = rig_addr("102:304::"),
		       mapped = rig_addr("::ffff:1.2.3.4");
	uint8_t a[TABLE_ADDR_BYTES], b[TABLE_ADDR_BYTES], c[TABLE_ADDR_BYTES];

	table_key_addr(a, &four);
	table_key_addr(b, &six);
	table_key_addr(c, &mapped);
	CU_ASSERT(memcmp(a, b, sizeof a) != 0);
	CU_ASSERT(memcmp(a, c, sizeof a) == 0);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"inbound lookup", test_lookup},
		{"home addresses", test_homes},
		{"places come back", test_places_come_back},
		{"families", test_families},
		{NULL, NULL},
	};
	int ret;

	rig_open(&rig, 1, 512);
	rcu_online(&rig.dp->rcu, 0);
	ret = unit_run("dataplane: sad", cases);
	rig_close(&rig);
	return ret;
}
