/* SPDX-License-Identifier: BSD-3-Clause */
/* What is told of the lifetimes of the node's SAs, and when; which SA is over then. */
#include "control/mn/sa_watch.h"

#include "lib/clock.h"
#include "tests/unit/esp/rig.h"

#define REAL_NS (1800000000 * NS_PER_S)

static struct rig rig;
static struct loop *loop;
static struct sa_watch watch;
static char told[256]; /* "soft out time;..." */
static uint64_t now_ns;

static void on_event(void *arg, const struct sa_watch_event *event)
{
	size_t len = strlen(told);

	CU_ASSERT(arg == &watch);
	CU_ASSERT(event->spi == RIG_SPI);
	snprintf(told + len, sizeof told - len, "%s %s %s;", event->kind, event->direction,
		event->cause);
}

/* What was told since the last time. */
static bool heard(const char *want)
{
	bool same = strcmp(told, want) == 0;

	if (!same)
		printf("heard \"%s\" instead of \"%s\"\n", told, want);
	told[0] = '\0';
	return same;
}

static void pass_ms(uint64_t ms)
{
	now_ns += ms * NS_PER_MS;
	clock_set_test(now_ns, REAL_NS + now_ns);
}

/* Both keys are age_s old. */
static void begin(const struct sa_lifetimes *in, const struct sa_lifetimes *out, uint32_t age_s)
{
	now_ns = 1000 * NS_PER_S;
	pass_ms(0);
	told[0] = '\0';
	loop = loop_new();
	rig_open(&rig, CRYPTO_AES128GCM16, true, 64);
	rig.in->slot->born_s = rig.out->slot->born_s = (uint32_t)(clock_real_ns() / NS_PER_S) -
						       age_s;
	CU_ASSERT(sa_in_set_life(&sa_memory_heap, rig.in, in) == 0);
	CU_ASSERT(sa_out_set_life(&sa_memory_heap, rig.out, out) == 0);
	CU_ASSERT_FATAL(sa_watch_init(&watch, loop, on_event, &watch));
	sa_watch_begin(&watch, rig.in, in, rig.out, out);
}

static void end(void)
{
	rig_close(&rig);
	sa_watch_fini(&watch);
	loop_free(loop);
	clock_set_test(0, 0);
}

/* How many of n packets the outbound SA takes. */
static unsigned emit(unsigned n)
{
	unsigned good = 0;

	for (unsigned i = 0; i < n; i++) {
		uint8_t buffer[256] = {0};
		struct esp_pkt pkt = {
			.data = buffer + 96, .len = 40, .headroom = 96, .tailroom = 64};
		const struct path *path = &rig.path;
		struct sa_out *sa = rig.out;
		enum verdict verdict = VERDICT_OK;

		wire_store_u16(pkt.data, 0x4500);
		wire_store_u16(pkt.data + 2, 40);
		esp_encap_burst(rig.thread, rig.engine, &sa, &path, &pkt, &verdict, 1);
		good += verdict == VERDICT_OK;
		CU_ASSERT(verdict == VERDICT_OK || verdict == VERDICT_EXPIRED);
	}
	return good;
}

static const struct sa_lifetimes none = {.seconds = {0}};

static void test_none(void)
{
	begin(&none, &none, 0);
	CU_ASSERT(emit(100) == 100);
	pass_ms(UINT64_C(400) * 86400 * 1000);
	sa_watch_look(&watch);
	CU_ASSERT(heard("") && watch.sas[1].state == SA_WATCH_LIVE && watch.sas[1].cause == NULL);
	end();
}

static void test_time(void)
{
	const struct sa_lifetimes in = {.seconds = {10, 20}}, out = {.seconds = {15, 0}};

	begin(&in, &out, 3);
	CU_ASSERT(heard(""));
	CU_ASSERT(loop_timer_is_armed(watch.timer));
	pass_ms(6999);
	sa_watch_look(&watch);
	CU_ASSERT(heard(""));
	pass_ms(1);
	sa_watch_look(&watch);
	CU_ASSERT(heard("soft in time;") && watch.sas[0].state == SA_WATCH_REKEY);
	sa_watch_look(&watch);
	CU_ASSERT(heard(""));
	pass_ms(5000);
	sa_watch_look(&watch);
	CU_ASSERT(heard("soft out time;"));
	pass_ms(5000);
	sa_watch_look(&watch);
	CU_ASSERT(heard("hard in time;") && watch.sas[0].state == SA_WATCH_ENDED);
	CU_ASSERT(sa_in_is_watched(rig.in));
	CU_ASSERT(watch.sas[1].state == SA_WATCH_REKEY && emit(3) == 3);
	end();
}

/* The lid was closed: the monotonic clock stood still, keys went on ageing. */
static void test_time_asleep(void)
{
	const struct sa_lifetimes out = {.seconds = {3000, 3600}};

	begin(&none, &out, 600);
	CU_ASSERT(sa_watch_left_s(&watch.sas[1]) == 3000 && sa_watch_left_s(&watch.sas[0]) == -1);
	clock_set_test_asleep(1000 * NS_PER_S);
	CU_ASSERT(sa_watch_left_s(&watch.sas[1]) == 2000);
	clock_set_test_asleep(UINT64_C(8) * 3600 * NS_PER_S);
	sa_watch_look(&watch);
	CU_ASSERT(heard("soft out time;hard out time;"));
	CU_ASSERT(emit(1) == 0 && sa_watch_left_s(&watch.sas[1]) == -1);
	clock_set_test_asleep(0);
	end();
}

/* Over before the first packet of this run. */
static void test_time_of_an_earlier_run(void)
{
	const struct sa_lifetimes out = {.seconds = {15, 20}};

	begin(&none, &out, 20);
	CU_ASSERT(heard("soft out time;hard out time;"));
	CU_ASSERT(emit(1) == 0);
	end();
}

static void test_packets_and_bytes(void)
{
	const struct sa_lifetimes out = {.packets = {5, 20}, .bytes = {400, 600}};

	begin(&none, &out, 0);
	CU_ASSERT(emit(4) == 4);
	sa_watch_look(&watch);
	CU_ASSERT(heard(""));
	CU_ASSERT(emit(1) == 1);
	sa_watch_look(&watch);
	CU_ASSERT(heard("soft out packets;"));
	CU_ASSERT(emit(5) == 5);
	sa_watch_look(&watch);
	CU_ASSERT(heard("soft out bytes;"));
	CU_ASSERT(emit(100) == 5); /* 600 bytes, whoever looks or not */
	sa_watch_look(&watch);
	CU_ASSERT(heard("hard out bytes;") && watch.sas[1].state == SA_WATCH_ENDED);
	CU_ASSERT(emit(1) == 0);
	sa_watch_look(&watch);
	CU_ASSERT(heard(""));
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"none", test_none},
		{"time", test_time},
		{"time asleep", test_time_asleep},
		{"time of an earlier run", test_time_of_an_earlier_run},
		{"packets and bytes", test_packets_and_bytes},
		{NULL, NULL},
	};
	int ret = unit_run("mn/sa_watch", cases);

	unit_remove_folder();
	return ret;
}
