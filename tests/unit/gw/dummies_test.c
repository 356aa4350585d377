/* SPDX-License-Identifier: BSD-3-Clause */
/* When dummy packets are sent, to whom, how long, and to whom not. */
#include "control/gw/dummies.h"
#include "control/gw/provision.h"

#include "dataplane_double.h"
#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include "dataplane/esp/esp.h"
#include "lib/clock.h"

#define TURN_NS (100 * UINT64_C(1000))
#define FITS 1466u /* MTU 1500, aes128gcm16; paths of the double have no outer header */

static struct fixture fx;
static struct dummies *dummies;
static uint64_t now;

static void at(uint64_t ns)
{
	now = ns;
	clock_set_test(now, now);
}

static struct tunnel *add(const char *name, const char *home, const char *care_of, uint16_t rate)
{
	struct gw gw = fixture_gw(&fx);
	struct gw_node_conf node = {
		.home_address = addr_of(home), .has_sas = true, .tfc = {.dummies = rate}};
	static uint32_t spi = 5000;
	char why[256];

	if (care_of != NULL)
		node.care_of = addr_of(care_of);
	snprintf(node.name, sizeof node.name, "%s", name);
	node.in = (struct sa_params){.spi = spi++, .replay_window = 64};
	node.out = (struct sa_params){.spi = spi++};
	memcpy(node.in.key, &node.in.spi, sizeof node.in.spi);
	memcpy(node.out.key, &node.out.spi, sizeof node.out.spi);
	CU_ASSERT_FATAL(provision_add(&gw, &node, why, sizeof why) == 0);
	return fixture_node(&fx, name);
}

static void begin(void)
{
	at(10 * NS_PER_S);
	memset(&dp_double, 0, sizeof dp_double);
	fixture_open(&fx, false);
	dummies = dummies_new(DOUBLE_DP, fx.tunnels);
	CU_ASSERT_PTR_NOT_NULL_FATAL(dummies);
}

static void end(void)
{
	dummies_free(dummies);
	fixture_close(&fx);
	clock_set_test(0, 0);
}

/* Dummies sent to node in so long; the calls are checked and forgotten. */
static unsigned sent_to(const struct tunnel *tunnel, uint64_t for_ns, uint32_t *min, uint32_t *max)
{
	const uint64_t until_ns = now + for_ns;
	unsigned n = 0;

	*min = UINT32_MAX;
	*max = 0;
	for (; now < until_ns; at(now + TURN_NS)) {
		dp_double.n = 0;
		(void)dummies_turn(dummies, now);
		for (unsigned i = 0; i < dp_double.n; i++) {
			const struct double_call *call = &dp_double.calls[i];

			if (call->kind != DOUBLE_SEND_TO_NODE || call->node != tunnel->handle)
				continue;
			n++;
			CU_ASSERT(call->data[0] == ESP_DUMMY_BYTE && call->data[6] == 0x40);
			*min = call->len < *min ? (uint32_t)call->len : *min;
			*max = call->len > *max ? (uint32_t)call->len : *max;
		}
	}
	return n;
}

/* The sum of so many draws is off by less than a quarter but once in 10^9 runs. */
static void test_rate_and_length(void)
{
	struct tunnel *a, *b, *none;
	uint32_t min, max;
	unsigned n;

	begin();
	a = add("a", "10.1.0.30", "198.51.100.30", 100);
	b = add("b", "10.1.0.31", "198.51.100.31", 1000);
	none = add("none", "10.1.0.32", "198.51.100.32", 0);
	n = sent_to(a, 10 * NS_PER_S, &min, &max);
	CU_ASSERT(n > 750 && n < 1250);
	CU_ASSERT(min >= 40 && min < 100 && max > FITS - 60 && max <= FITS);
	n = sent_to(b, NS_PER_S, &min, &max);
	CU_ASSERT(n > 750 && n < 1250);
	CU_ASSERT_EQUAL(sent_to(none, NS_PER_S, &min, &max), 0);
	/* After a pause of the control thread there is no burst of what was missed. */
	at(now + 100 * NS_PER_S);
	n = sent_to(b, NS_PER_S, &min, &max);
	CU_ASSERT(n > 750 && n < 1250);
	end();
}

static void test_not_to(void)
{
	static const struct ip_endpoint elsewhere = {.addr = {.bytes = {203, 0, 113, 9}, AF_INET}};
	struct tunnel *lost, *tried, *over;
	uint32_t min, max;
	const char *why;

	begin();
	lost = add("lost", "10.1.0.30", NULL, 100);
	CU_ASSERT_EQUAL(sent_to(lost, NS_PER_S, &min, &max), 0); /* no path */

	tried = add("tried", "10.1.0.31", "198.51.100.31", 100);
	CU_ASSERT(sent_to(tried, NS_PER_S, &min, &max) > 0);
	CU_ASSERT(tunnel_try(fx.tunnels, tried, &elsewhere, 65536) == 0);
	CU_ASSERT_EQUAL(sent_to(tried, NS_PER_S, &min, &max), 0);
	CU_ASSERT(tunnel_try_end(fx.tunnels, tried) == 0);
	CU_ASSERT(sent_to(tried, NS_PER_S, &min, &max) > 0);

	over = add("over", "10.1.0.32", "198.51.100.32", 100);
	CU_ASSERT(sent_to(over, NS_PER_S, &min, &max) > 0);
	for (struct tunnel_sa *sa = over->sas, *next; sa != NULL; sa = next) {
		next = sa->next;
		if (!sa->inbound)
			CU_ASSERT(key_del(fx.keys, over, false, sa->spi, &why) == 0);
	}
	CU_ASSERT_EQUAL(sent_to(over, NS_PER_S, &min, &max), 0); /* no SA */

	CU_ASSERT(key_del_node(fx.keys, tried, true) == 0);
	dp_double.n = 0;
	at(now + NS_PER_S);
	CU_ASSERT_EQUAL(dummies_turn(dummies, now), 0);
	end();
}

/* However many are due, a turn is short; a full ring costs only the dummy. */
static void test_bounds(void)
{
	char name[16], home[16], care_of[16];

	begin();
	for (unsigned i = 0; i < 2 * DUMMIES_A_TURN; i++) {
		snprintf(name, sizeof name, "n%u", i);
		snprintf(home, sizeof home, "10.1.0.%u", 30 + i);
		snprintf(care_of, sizeof care_of, "198.51.100.%u", 30 + i);
		(void)add(name, home, care_of, 1);
	}
	CU_ASSERT_EQUAL(dummies_turn(dummies, now), DUMMIES_A_TURN);
	dp_double.send_fails = -ENOBUFS;
	CU_ASSERT_EQUAL(dummies_turn(dummies, now), 0);
	dp_double.send_fails = 0;
	CU_ASSERT(dummies_turn(dummies, now) <= 1); /* all have their next time */
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"rate and length", test_rate_and_length},
		{"to whom there is none", test_not_to},
		{"bounds", test_bounds},
		{NULL, NULL},
	};

	return unit_run("gw: dummies", cases);
}
