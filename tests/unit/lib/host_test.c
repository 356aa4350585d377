/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * netlink, tun and rawsock against the kernel, in a network namespace that ends with this process.
 * Skipped (77) without the right to make one.
 */
#include "lib/clock.h"
#include "lib/ipv4.h"
#include "lib/loop.h"
#include "lib/netlink.h"
#include "lib/rawsock.h"
#include "lib/tun.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SKIPPED 77
#define WAIT_NS (2 * NS_PER_S) /* for an event that must come; a failure, not a delay */

static struct loop *loop;
static struct netlink *nl;
static int tun = -1, tun_index;

static struct {
	struct nl_addr_event addr;
	struct nl_link_event link;
	struct nl_route_event route;
	struct nl_neigh_event neigh;
	unsigned addrs, links, routes, neighs, resyncs, resynced;
	uint64_t addr_at_ns;
	bool request_in_callback;
} seen;

static void on_addr(void *arg, const struct nl_addr_event *event)
{
	struct ip_addr extra;

	(void)arg;
	if (event->addr.family == AF_INET6) /* the link's own; comes when the kernel likes */
		return;
	seen.addr = *event;
	seen.addr_at_ns = clock_mono_ns();
	seen.addrs++;
	if (seen.request_in_callback && ip_addr_parse("10.9.9.9", &extra)) {
		seen.request_in_callback = false;
		CU_ASSERT_EQUAL(nl_addr_add(nl, tun_index, &extra, 32, false), 0);
	}
}

static void on_link(void *arg, const struct nl_link_event *event)
{
	(void)arg;
	if (event->ifindex != tun_index)
		return;
	seen.link = *event;
	seen.links++;
}

static void on_route(void *arg, const struct nl_route_event *event)
{
	(void)arg;
	if (event->table == 255) /* local: what the kernel makes of addresses */
		return;
	seen.route = *event;
	seen.routes++;
}

static void on_neigh(void *arg, const struct nl_neigh_event *event)
{
	(void)arg;
	seen.neigh = *event;
	seen.neighs++;
}

static void on_resync(void *arg)
{
	(void)arg;
	seen.resyncs++;
}

static void on_resynced(void *arg)
{
	(void)arg;
	seen.resynced++;
}

static const struct nl_events events = {
	.addr = on_addr,
	.link = on_link,
	.route = on_route,
	.neigh = on_neigh,
	.resync = on_resync,
	.resynced = on_resynced,
};

static const unsigned *awaited;
static unsigned awaited_at_least;
static uint64_t give_up_at_ns;

static uint64_t poll_awaited(void *arg)
{
	(void)arg;
	if (*awaited >= awaited_at_least || clock_mono_ns() >= give_up_at_ns)
		loop_stop(loop);
	return NS_PER_MS;
}

/* Runs the loop until *counter reached n. */
static bool reach(const unsigned *counter, unsigned n)
{
	awaited = counter;
	awaited_at_least = n;
	give_up_at_ns = clock_mono_ns() + WAIT_NS;
	loop_poll_set(loop, poll_awaited, NULL);
	return loop_run(loop) == 0 && *counter >= n;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr out = {0};

	CU_ASSERT_TRUE_FATAL(ip_addr_parse(text, &out));
	return out;
}

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix out = {0};

	CU_ASSERT_TRUE_FATAL(ip_prefix_parse(text, &out));
	return out;
}

static void test_tun(void)
{
	int index, second;

	tun = tun_open("t-one", false, &tun_index);
	CU_ASSERT_TRUE_FATAL(tun >= 0);
	CU_ASSERT_EQUAL(tun_index, (int)if_nametoindex("t-one"));
	CU_ASSERT_EQUAL(tun_open("t-one", false, &index), -EBUSY);
	CU_ASSERT_EQUAL(tun_open("name-of-16-bytes", false, &index), -ENAMETOOLONG);
	second = tun_open("t-two", true, &index);
	CU_ASSERT_TRUE_FATAL(second >= 0);
	CU_ASSERT_EQUAL(tun_set_mac("t-two", (const uint8_t[6]){2, 0, 0, 0, 0, 7}), 0);
	CU_ASSERT_TRUE(tun_set_mac("t-one", (const uint8_t[6]){2, 0, 0, 0, 0, 7}) < 0);
	close(second);
	CU_ASSERT_EQUAL(if_nametoindex("t-two"), 0);
	CU_ASSERT_EQUAL(sysctl_write("net/ipv4/conf/t-one/rp_filter", "0"), 0);
	CU_ASSERT_EQUAL(sysctl_write("net/ipv4/conf/none/rp_filter", "0"), -ENOENT);
}

static void test_links_and_addresses(void)
{
	struct ip_addr coa = addr("198.51.100.7");
	uint64_t before_ns;

	CU_ASSERT_EQUAL(seen.resynced, 1);
	CU_ASSERT_EQUAL(seen.resyncs, 0);
	CU_ASSERT_EQUAL(nl_link_set(nl, tun_index, true, 1418), 0);
	CU_ASSERT_TRUE(reach(&seen.links, 1));
	while (!(seen.link.up && seen.link.mtu == 1418) && reach(&seen.links, seen.links + 1))
		;
	CU_ASSERT_TRUE(seen.link.present && seen.link.up);
	CU_ASSERT_EQUAL(seen.link.mtu, 1418);
	CU_ASSERT_STRING_EQUAL(seen.link.name, "t-one");

	seen.addrs = 0;
	before_ns = clock_mono_ns();
	CU_ASSERT_EQUAL(nl_addr_add(nl, tun_index, &coa, 24, false), 0);
	CU_ASSERT_TRUE(reach(&seen.addrs, 1));
	printf("address event after %u us\n",
		(unsigned)((seen.addr_at_ns - before_ns) / NS_PER_US));
	CU_ASSERT_TRUE(ip_addr_equal(&seen.addr.addr, &coa));
	CU_ASSERT_EQUAL(seen.addr.prefix_len, 24);
	CU_ASSERT_EQUAL(seen.addr.ifindex, tun_index);
	CU_ASSERT_TRUE(seen.addr.added && !seen.addr.tentative);
	CU_ASSERT_EQUAL(nl_addr_add(nl, tun_index, &coa, 24, false), 0);

	seen.addrs = 0;
	CU_ASSERT_EQUAL(nl_addr_del(nl, tun_index, &coa, 24), 0);
	CU_ASSERT_EQUAL(nl_addr_del(nl, tun_index, &coa, 24), 0);
	CU_ASSERT_TRUE(reach(&seen.addrs, 1));
	CU_ASSERT_FALSE(seen.addr.added);
	/* the routes that went with it are not announced, so all is read again */
	CU_ASSERT_TRUE(reach(&seen.resynced, 2));
	CU_ASSERT_EQUAL(seen.resyncs, 1);
}

static void test_routes(void)
{
	struct ip_addr coa = addr("198.51.100.7");
	struct nl_route on_link = {
		.dst = prefix("10.2.0.0/16"), .ifindex = tun_index, .metric = 50};
	struct nl_route by_gateway = {.dst = prefix("0.0.0.0/0"),
		.via = addr("198.51.100.1"),
		.src = coa,
		.ifindex = tun_index,
		.table = 4711};

	CU_ASSERT_EQUAL(nl_addr_add(nl, tun_index, &coa, 24, true), 0);
	CU_ASSERT_EQUAL(nl_route_replace(nl, &by_gateway), -ENETUNREACH);
	by_gateway.onlink = true;
	seen.routes = 0;
	CU_ASSERT_EQUAL(nl_route_replace(nl, &on_link), 0);
	CU_ASSERT_TRUE(reach(&seen.routes, 1));
	CU_ASSERT_TRUE(seen.route.added && !seen.route.blackhole);
	CU_ASSERT_TRUE(ip_addr_equal(&seen.route.dst.addr, &on_link.dst.addr));
	CU_ASSERT_EQUAL(seen.route.dst.len, 16);
	CU_ASSERT_EQUAL(seen.route.metric, 50);
	CU_ASSERT_EQUAL(seen.route.table, 254);
	CU_ASSERT_FALSE(ip_addr_is_set(&seen.route.via));

	CU_ASSERT_EQUAL(nl_route_replace(nl, &by_gateway), 0);
	CU_ASSERT_EQUAL(nl_route_replace(nl, &by_gateway), 0);
	CU_ASSERT_TRUE(reach(&seen.routes, 2));
	CU_ASSERT_EQUAL(seen.route.table, 4711);
	CU_ASSERT_EQUAL(seen.route.dst.len, 0);
	CU_ASSERT_EQUAL(seen.route.dst.addr.family, AF_INET);
	CU_ASSERT_TRUE(ip_addr_equal(&seen.route.via, &by_gateway.via));
	CU_ASSERT_EQUAL(seen.route.ifindex, tun_index);

	CU_ASSERT_EQUAL(nl_route_del(nl, &by_gateway), 0);
	CU_ASSERT_EQUAL(nl_route_del(nl, &by_gateway), 0);
	while (seen.route.added && reach(&seen.routes, seen.routes + 1))
		;
	CU_ASSERT_FALSE(seen.route.added);
	CU_ASSERT_EQUAL(nl_route_del(nl, &on_link), 0);

	CU_ASSERT_EQUAL(nl_rule_add(nl, 0x5247, 4711, 5000), 0);
	CU_ASSERT_EQUAL(nl_rule_add(nl, 0x5247, 4711, 5000), 0);
	CU_ASSERT_EQUAL(nl_rule_del(nl, 0x5247, 4711, 5000), 0);
	CU_ASSERT_EQUAL(nl_rule_del(nl, 0x5247, 4711, 5000), 0);
}

/* Does the kernel ask for target on this TAP? */
static bool arp_request_comes(int tap, const struct ip_addr *target)
{
	struct pollfd ready = {.fd = tap, .events = POLLIN};
	uint8_t frame[2048];

	while (poll(&ready, 1, (int)(WAIT_NS / NS_PER_MS)) == 1) {
		ssize_t len = read(tap, frame, sizeof frame);

		if (len >= 42 && frame[12] == 0x08 && frame[13] == 0x06 && frame[21] == 1 &&
			memcmp(frame + 38, target->bytes, 4) == 0)
			return true;
	}
	return false;
}

static void test_neighbours(void)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
	struct ip_addr other = addr("10.7.0.2");
	struct ip_addr ours = addr("10.7.0.1");
	int index;
	int tap = tun_open("t-tap", true, &index);

	CU_ASSERT_TRUE_FATAL(tap >= 0);
	CU_ASSERT_EQUAL(nl_link_set(nl, index, true, 0), 0);
	CU_ASSERT_EQUAL(nl_addr_add(nl, index, &ours, 24, false), 0);
	seen.neighs = 0;
	CU_ASSERT_EQUAL(nl_neigh_set(nl, index, &other, mac), 0);
	while (!ip_addr_equal(&seen.neigh.addr, &other) && reach(&seen.neighs, seen.neighs + 1))
		;
	CU_ASSERT_TRUE(ip_addr_equal(&seen.neigh.addr, &other));
	CU_ASSERT_EQUAL(memcmp(seen.neigh.mac, mac, 6), 0);
	CU_ASSERT_EQUAL(seen.neigh.state, NUD_PERMANENT);
	CU_ASSERT_EQUAL(nl_neigh_del(nl, index, &other), 0);
	while (seen.neigh.state == NUD_PERMANENT && reach(&seen.neighs, seen.neighs + 1))
		;
	CU_ASSERT_NOT_EQUAL(seen.neigh.state, NUD_PERMANENT);

	CU_ASSERT_EQUAL(nl_neigh_use(nl, index, &other), 0);
	CU_ASSERT_TRUE(arp_request_comes(tap, &other));
	CU_ASSERT_EQUAL(nl_neigh_proxy_add(nl, index, &other), 0);
	CU_ASSERT_EQUAL(nl_neigh_proxy_add(nl, index, &other), 0);
	CU_ASSERT_EQUAL(nl_neigh_proxy_del(nl, index, &other), 0);
	CU_ASSERT_EQUAL(nl_neigh_proxy_del(nl, index, &other), 0);
	close(tap);
}

/* A callback that makes requests, also while everything is being read anew. */
static void test_request_in_callback(void)
{
	struct nl_events again = events;
	struct netlink *second;
	unsigned before = seen.addrs;

	seen.request_in_callback = true;
	CU_ASSERT_EQUAL_FATAL(netlink_open(loop, &again, NULL, &second), 0);
	CU_ASSERT_FALSE(seen.request_in_callback);
	CU_ASSERT_TRUE(seen.addrs > before);
	netlink_close(second);
}

/* More events than the socket holds: they are lost, and noticed. */
static void test_overrun(void)
{
	struct ip_addr extra = addr("10.8.0.1");
	unsigned resyncs;

	CU_ASSERT_TRUE(reach(&seen.resynced, seen.resynced + 1)); /* of deletions before */
	resyncs = seen.resyncs;
	for (int i = 0; i < 12000; i++) { /* without running the loop; 4 MiB hold fewer */
		CU_ASSERT_EQUAL_FATAL(nl_addr_add(nl, tun_index, &extra, 32, false), 0);
		CU_ASSERT_EQUAL_FATAL(nl_addr_del(nl, tun_index, &extra, 32), 0);
	}
	CU_ASSERT_EQUAL(nl_addr_add(nl, tun_index, &extra, 32, false), 0);
	seen.addr.added = false;
	CU_ASSERT_TRUE(reach(&seen.resyncs, resyncs + 1));
	CU_ASSERT_TRUE(seen.addr.added);
	/* nothing older comes after the dump */
	CU_ASSERT_EQUAL(nl_addr_del(nl, tun_index, &extra, 32), 0);
	seen.addrs = 0;
	CU_ASSERT_TRUE(reach(&seen.addrs, 1));
	CU_ASSERT_FALSE(seen.addr.added);
}

static size_t datagram(uint8_t *out, uint8_t protocol, size_t payload)
{
	struct ip_addr src = addr("127.0.0.1"), dst = addr("127.0.0.2");

	memset(out + IPV4_HDR_BYTES, 0x5a, payload);
	ipv4_build(out, &src, &dst, protocol, 64, 0, 1, 0, (uint16_t)(IPV4_HDR_BYTES + payload));
	return IPV4_HDR_BYTES + payload;
}

static void test_rawsock(void)
{
	uint8_t out[256], in[256];
	struct rawsock_meta meta;
	size_t len = datagram(out, 50, 100);
	int fd = rawsock_open(50, 0x5247);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(nl_link_set(nl, 1, true, 0), 0);
	CU_ASSERT_EQUAL(rawsock_recv(fd, in, sizeof in, &meta), -EAGAIN);
	CU_ASSERT_EQUAL(rawsock_send(fd, out, len), 0);
	CU_ASSERT_EQUAL(rawsock_recv(fd, in, sizeof in, &meta), (ssize_t)len);
	CU_ASSERT_EQUAL(memcmp(in + IPV4_HDR_BYTES, out + IPV4_HDR_BYTES, 100), 0);
	CU_ASSERT_TRUE(ip_addr_equal(&meta.dst, &(struct ip_addr){{127, 0, 0, 2}, AF_INET}));
	CU_ASSERT_TRUE(ip_addr_equal(&meta.src, &(struct ip_addr){{127, 0, 0, 1}, AF_INET}));
	CU_ASSERT_EQUAL(meta.ifindex, 1);
	CU_ASSERT_EQUAL(rawsock_send(fd, out, len), 0);
	CU_ASSERT_EQUAL(rawsock_recv(fd, in, 50, &meta), -EMSGSIZE);
	CU_ASSERT_EQUAL(rawsock_send(fd, out, 10), -EINVAL);
	out[16] = 99; /* no route to 99.0.0.2 */
	CU_ASSERT_EQUAL(rawsock_send(fd, out, len), -ENETUNREACH);
	close(fd);
}

static void test_rawsock_burst(void)
{
	static uint8_t out[40][256], in[40][256];
	const void *from[40];
	void *to[40];
	size_t sent_len[40], len[40];
	struct rawsock_meta meta[40];
	int fd = rawsock_open(50, 0), err;

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	for (unsigned i = 0; i < 40; i++) {
		from[i] = out[i];
		to[i] = in[i];
		sent_len[i] = datagram(out[i], 50, 40 + i);
	}
	CU_ASSERT_EQUAL(rawsock_recv_burst(fd, to, 256, meta, len, 32), 0);
	CU_ASSERT_EQUAL(rawsock_send_burst(fd, from, sent_len, 40, &err), RAWSOCK_BURST_MAX);
	CU_ASSERT_EQUAL(err, 0);
	CU_ASSERT_EQUAL(rawsock_recv_burst(fd, to, 70, meta, len, 40), RAWSOCK_BURST_MAX);
	for (unsigned i = 0; i < RAWSOCK_BURST_MAX; i++) {
		CU_ASSERT_EQUAL(len[i], sent_len[i] <= 70 ? sent_len[i] : 0);
		if (len[i] != 0)
			CU_ASSERT_EQUAL(meta[i].ifindex, 1);
	}
	out[2][16] = 99; /* no route: the burst stops there, and says why when asked again */
	CU_ASSERT_EQUAL(rawsock_send_burst(fd, from, sent_len, 5, &err), 2);
	CU_ASSERT_EQUAL(rawsock_send_burst(fd, from + 2, sent_len + 2, 3, &err), 0);
	CU_ASSERT_EQUAL(err, -ENETUNREACH);
	close(fd);
}

int main(void)
{
	unsigned failed;
	CU_pSuite suite;

	if (unshare(CLONE_NEWNET) != 0) {
		fprintf(stderr, "skipped: no right to make a network namespace\n");
		return SKIPPED;
	}
	loop = loop_new();
	if (loop == NULL || netlink_open(loop, &events, NULL, &nl) != 0 ||
		CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	suite = CU_add_suite("host", NULL, NULL);
	CU_add_test(suite, "tun", test_tun);
	CU_add_test(suite, "links and addresses", test_links_and_addresses);
	CU_add_test(suite, "routes and rules", test_routes);
	CU_add_test(suite, "neighbours", test_neighbours);
	CU_add_test(suite, "request in a callback", test_request_in_callback);
	CU_add_test(suite, "lost events", test_overrun);
	CU_add_test(suite, "rawsock", test_rawsock);
	CU_add_test(suite, "rawsock burst", test_rawsock_burst);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	netlink_close(nl);
	loop_free(loop);
	close(tun);
	return failed == 0 ? 0 : 1;
}
