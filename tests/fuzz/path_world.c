/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each packet put in is a record under the number that it is stamped with. A packet
 * that comes out is opened, if it is sealed, and leads by its number to its record, with which it
 * must agree but for TTL, checksum and congestion mark. Records are used up, and so are sequence
 * numbers.
 */
#include "tests/fuzz/path_world.h"

#include "dataplane/now.h"
#include "dataplane/policy.h"
#include "dataplane/reassembly.h"
#include "lib/ipv4.h"
#include "tests/fuzz/esp_peer.h"
#include "tests/fuzz/look.h"
#include "tests/fuzz/packets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING_PLACES 64
#define PUSHED_MAX 60 /* between turns: what fits into a ring */
#define TURNS_MAX 100
#define START_NS (1000 * NS_PER_S)
#define GRACE_MS 2000
#define OUTER_TTL 64
#define USED_MAX 8192 /* packets to a node in one input */
#define VLAN 100
#define DEMAND(condition)                                     \
	do {                                                  \
		if (!(condition))                             \
			fail(__FILE__, __LINE__, #condition); \
	} while (0)

/* What came out right since the start: shown at the end if ROAMGATE_FUZZ_FIGURES is set, so that
 * one sees what a corpus reaches. */
enum figure {
	FIG_IN_V4,
	FIG_IN_V6,
	FIG_IN_OUTER_V6,
	FIG_OUT_V4,
	FIG_OUT_V6,
	FIG_OUT_OUTER_V6,
	FIG_OUT_UDP_V6,
	FIG_TAGGED,
	FIG_COPIES,
	FIG_TRIED,
	FIG_CLEAR,
	FIG_PIECES,
	FIG_LINUX_V6,
	FIG_CUT_OUTER,
	FIGURES
};
static const char *const figure_names[FIGURES] = {"in, IPv4", "in, IPv6", "in, by IPv6",
	"out, IPv4", "out, IPv6", "out, by IPv6", "out, by UDP in IPv6", "with a tag", "copies",
	"provisional", "in clear", "pieces", "IPv6 for Linux", "out, in fragments"};

enum origin { NOTHING, CAME_OUTSIDE, CAME_INSIDE, INJECTED, KEPT };

struct record {
	enum origin origin;
	enum world_way way; /* INJECTED */
	enum dp_port port;  /* KEPT: where it will go */
	unsigned node;      /* whose text it is, or for whom; 0: nobody's */
	uint64_t seq;
	struct ip_endpoint remote; /* WORLD_ONCE: to; CAME_OUTSIDE: outer source */
	uint8_t *bytes;            /* text, IP packet, or frame (WORLD_FRAME_*); owned */
	size_t len;
	unsigned left; /* how often it may still come out */
	bool is_free;  /* takes no credit */
};

struct numbers {
	uint64_t seq, iv;
	uint32_t hash; /* of the ESP packet */
	uint8_t ways;  /* that it went: enum way */
};

enum way { BY_PATH = 1, BY_COPY = 2 };

struct world_node {
	struct node *node;
	uint32_t flags;
	struct ip_addr home, home_agent, coa, former; /* as they were set; coa unset: closed */
	struct ip_addr home_agent_v6;
	struct ip_endpoint remote; /* where its ESP goes */
	struct ip_endpoint second; /* bicast: and in the grace time there, too; port 0 and unset */
	uint64_t grace_until_ns;
	bool is_label; /* coa is */
	bool is_tried; /* remote is provisional: but for so many bytes */
	uint32_t credit;
	struct sa_params in, out;
	unsigned n_in;   /* packets that came in by its SA */
	uint64_t seq_in; /* last that the peer used */
	/* What the gateway used: the highest, the last that was sent and the last that was punted
	 * as unresolved, both also of copies, and all of them. */
	struct numbers high, last[4], used[USED_MAX];
	unsigned n_used;
};

static struct rig rig;
static struct world_node nodes[WORLD_NODES + 1];
static struct record records[WORLD_RECORDS + 1]; /* [0] is none */
static unsigned n_records;
static unsigned pushed[DP_PORTS]; /* since the worker's last turn */
static uint64_t put_in[3];        /* outside, inside, injected: packets since the start */
static uint64_t counted[3];       /* verdicts when the input began */
static uint32_t next_epoch;
static uint64_t now_ns, cut_before, held_before;
static bool any_copies; /* may have been made */
static uint64_t figures[FIGURES];
static uint64_t plain_macs[DP_PORTS]; /* of ports without a tag, as they were opened */
static bool rules_in_force;

__attribute__((noreturn)) static void fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: it does not hold that %s\n", file, line, what);
	abort();
}

/* --- set up --------------------------------------------------------------------------------------
 */

static void stop(void)
{
	rig_close(&rig);
	for (unsigned i = 0; i < FIGURES && getenv("ROAMGATE_FUZZ_FIGURES") != NULL; i++)
		fprintf(stderr, "%10llu %s\n", (unsigned long long)figures[i], figure_names[i]);
}

static void set_forwarding_v6(void)
{
	static const struct {
		const char *prefix, *via;
		enum dp_port port;
	} routes[] = {
		{"::/0", "2001:db8:0:a::fe", DP_OUTSIDE},
		{"2001:db8:0:a::/64", NULL, DP_OUTSIDE},
		{"2001:db8:0:1::/64", "fd02::1", DP_INSIDE},
		{"fd01::/64", "fd02::1", DP_INSIDE},
		{"fd02::/64", NULL, DP_INSIDE},
	};
	const struct ip_addr corr = rig_addr("fd02::5");

	for (unsigned i = 0; i < sizeof routes / sizeof routes[0]; i++) {
		const struct ip_prefix prefix = rig_prefix(routes[i].prefix);
		const bool far = routes[i].via != NULL;
		const struct ip_addr via = far ? rig_addr(routes[i].via) : (struct ip_addr){0};

		DEMAND(dataplane_route_set(rig.dp, &prefix, routes[i].port, far ? &via : NULL) ==
			0);
		if (far)
			DEMAND(dataplane_neigh_set(
				       rig.dp, routes[i].port, &via, rig_mac_inside_router) == 0);
	}
	DEMAND(dataplane_neigh_set(rig.dp, DP_INSIDE, &corr, rig_mac_corr) == 0);
}

void world_start(void)
{
	rig_open(&rig, 1, RING_PLACES);
	set_forwarding_v6();
	for (unsigned i = 0; i < DP_PORTS; i++)
		plain_macs[i] = rig.dp->ports[i].plain_mac;
	unlink(rig.counters_path); /* it stays open; a crash leaves no file */
	DEMAND(atexit(stop) == 0);
}

#define NAT_ADDRESS "203.0.113.7"
#define NAT_ADDRESS_V6 "2001:db8:0:d::7"
#define LABEL "192.168.1.5" /* that all nodes behind a NAT have */
#define LIFE_PACKETS 24     /* of the SAs of node 6 */
#define LIFE_BYTES 6000     /* of those of node 4 */

static const struct {     /* by handle */
	const char *home; /* NULL: rig_node_params()'s */
	const char *coa, *former;
	uint16_t port; /* at the NAT */
	uint32_t flags;
	bool esn;
	enum crypto_alg alg;
} plan[WORLD_NODES + 1] = {
	[1] = {NULL, "198.51.100.7", NULL, 0, NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128GCM16},
	[2] = {NULL, "198.51.100.8", NULL, 0, 0, true, CRYPTO_AES256GCM16},
	[3] = {NULL, NULL, NULL, 0, NODE_STRICT_INNER_SOURCE, false, CRYPTO_CHACHA20POLY1305},
	[4] = {NULL, "198.51.100.9", NULL, 0, NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_AES128_SHA256},
	[5] = {NULL, "198.51.100.9", NULL, 0, 0, true, CRYPTO_AES256GMAC}, /* ambiguous */
	[6] = {NULL, "198.51.100.10", "198.51.100.11", 0, NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_AES192GCM16},
	[7] = {NULL, LABEL, NULL, 5555, NODE_ALLOW_NAT, true, CRYPTO_AES256CTR_SHA512},
	[8] = {NULL, LABEL, NULL, 6666, NODE_ALLOW_NAT | NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_NULL_SHA1},
	[9] = {NULL, "2001:db8:0:7::9", "2001:db8:0:8::9", 0, NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_AES128GCM16},
	[10] = {"2001:db8:0:1::10", "198.51.100.12", NULL, 0, NODE_ALLOW_NAT, false,
		CRYPTO_AES256_SHA384},
	[11] = {"2001:db8:0:1::11", "2001:db8:0:7::b", "198.51.100.13", 0, 0, true,
		CRYPTO_CHACHA20POLY1305},
	[12] = {NULL, LABEL, NULL, 5555, NODE_ALLOW_NAT | NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_AES128GCM16},
};

static struct ip_addr our_addr(enum dp_port port, uint8_t family)
{
	return rig_addr(port == DP_OUTSIDE ? (family == AF_INET6 ? "2001:db8:0:a::1" : "192.0.2.1")
					   : (family == AF_INET6 ? "fd02::fe" : "10.2.0.254"));
}

struct ip_addr world_outside(uint8_t family)
{
	return our_addr(DP_OUTSIDE, family);
}

/* Less than every link takes, so that small packets are cut. */
static uint16_t mtu_of(const struct world_node *n)
{
	return n == &nodes[10] ? 200 : n == &nodes[11] ? 300 : WORLD_MTU;
}

/* The path as the node has it in the judge's eyes. */
static struct path_params path_of(const struct world_node *n)
{
	struct path_params params = {.mtu = mtu_of(n)};

	params.local.addr = our_addr(DP_OUTSIDE, n->remote.addr.family);
	if (!ip_addr_is_set(&n->coa)) {
		params.flags = PATH_CLOSED;
		return params;
	}
	params.coa = n->coa;
	params.former_coa = n->former;
	params.grace_until_ns = n->grace_until_ns;
	params.remote = n->remote;
	params.second = n->second;
	params.local.port = n->remote.port != 0 ? PATH_NAT_PORT : 0;
	params.flags = n->is_label ? PATH_LABEL : 0;
	if (n->is_tried)
		params.flags |= PATH_PROVISIONAL;
	params.credit = n->credit;
	return params;
}

static struct sa_params sa_of(unsigned handle, bool inbound, unsigned turn)
{
	struct sa_params sa = rig_sa(handle, inbound);

	sa.alg = (enum crypto_alg)((plan[handle].alg + turn) % CRYPTO_ALG_COUNT);
	sa.esn = plan[handle].esn;
	for (unsigned i = 0; i < sizeof sa.key; i++)
		sa.key[i] = (uint8_t)(i * (inbound ? 3 : 5) + handle * 16);
	if (handle == 6)
		sa.life.packets = (struct sa_limit){LIFE_PACKETS / 2, LIFE_PACKETS};
	if (handle == 4)
		sa.life.bytes = (struct sa_limit){LIFE_BYTES / 2, LIFE_BYTES};
	return sa;
}

static void add_node(unsigned handle, unsigned turn)
{
	struct world_node *n = &nodes[handle];
	struct dp_node_params params = rig_node_params(handle, NULL);

	n->n_used = n->n_in = 0;
	n->high = (struct numbers){0};
	memset(n->last, 0, sizeof n->last);
	n->seq_in = 0;
	n->flags = plan[handle].flags;
	if (plan[handle].home != NULL)
		params.home_address = rig_addr(plan[handle].home);
	n->home = params.home_address;
	n->home_agent = rig_addr(handle == 2 ? "10.1.0.2" : "10.1.0.1");
	n->home_agent_v6 = rig_addr(handle == 2 ? "fd01::2" : "fd01::1");
	n->coa = n->former = (struct ip_addr){0};
	if (plan[handle].coa != NULL)
		n->coa = rig_addr(plan[handle].coa);
	if (plan[handle].former != NULL)
		n->former = rig_addr(plan[handle].former);
	n->grace_until_ns = START_NS + GRACE_MS * NS_PER_MS;
	n->is_label = plan[handle].port != 0;
	n->is_tried = false;
	n->credit = 0;
	n->remote = n->second = (struct ip_endpoint){0};
	n->remote.addr = n->is_label ? rig_addr(handle == 12 ? NAT_ADDRESS_V6 : NAT_ADDRESS)
				     : n->coa;
	n->remote.port = plan[handle].port;
	n->in = sa_of(handle, true, turn);
	n->out = sa_of(handle, false, turn);
	params.home_agent = n->home_agent;
	params.flags = n->flags;
	params.path = path_of(n);
	DEMAND(dataplane_node_add(rig.dp, &params, &n->node) == 0);
	DEMAND(dataplane_sa_in_add(rig.dp, n->node, &n->in) == 0);
	DEMAND(dataplane_sa_out_add(rig.dp, n->node, &n->out, 1) == 0);
}

static void count(uint64_t sums[3])
{
	struct dp_verdicts verdicts;

	dataplane_verdicts(rig.dp, &verdicts);
	memset(sums, 0, 3 * sizeof *sums);
	for (unsigned i = 0; i < VERDICT_COUNT; i++) {
		sums[0] += verdicts.in[i];
		sums[1] += verdicts.out[i];
		sums[2] += verdicts.local[i];
	}
}

void world_wait(unsigned ms)
{
	world_turn(WORLD_DROPPED);
	now_ns += ms * NS_PER_MS;
	clock_set_test(now_ns, now_ns);
}

static uint64_t times_cut(void)
{
	struct dp_verdicts verdicts;
	uint64_t sum = 0;

	dataplane_verdicts(rig.dp, &verdicts);
	for (unsigned i = 0; i < VERDICT_COUNT; i++)
		if (i == VERDICT_FRAGMENTED || i == VERDICT_NO_ROOM)
			sum += verdicts.in[i] + verdicts.out[i] + verdicts.local[i];
	return sum;
}

/* As port_open() has it. */
static void set_tag(uint16_t vlan)
{
	for (unsigned i = 0; i < DP_PORTS; i++) {
		struct port *port = &rig.dp->ports[i];

		port->plain_mac = vlan == 0 ? plain_macs[i] : 1;
		port->vlan = vlan;
		port->l2_bytes = RTE_ETHER_HDR_LEN + (vlan != 0 ? VLAN_TAG_BYTES : 0);
		port->frame_max = (uint32_t)port->mtu + port->l2_bytes;
	}
}

uint16_t world_vlan(void)
{
	return rig.dp->ports[DP_OUTSIDE].vlan;
}

/* Of the frames of this input. */
static size_t l2_bytes(void)
{
	return rig.dp->ports[DP_OUTSIDE].l2_bytes;
}

/* Every second input has them. */
static void set_rules(bool on)
{
	struct policy_rule rules[] = {
		{.action = POLICY_PROTECT, .inbound = true, .protocol = 17},
		{.action = POLICY_DISCARD, .inbound = true, .protocol = 17},
		{.action = POLICY_DISCARD, .inbound = false, .protocol = 17},
		/* Wider than control allows: the worker's own tests are all that is left. */
		{.action = POLICY_BYPASS, .inbound = false, .protocol = POLICY_ANY_PROTOCOL},
	};
	struct policy *policy = NULL;

	rules[0].destination.ports[0] = (struct policy_ports){50, 60};
	rules[0].destination.n_ports = 1;
	rules[1].source.ports[0] = (struct policy_ports){1000, 65535};
	rules[1].source.n_ports = 1;
	rules[2].destination.ports[0] = (struct policy_ports){1000, 65535};
	rules[2].destination.n_ports = 1;
	rules[3].destination.prefixes[0] = rig_prefix("192.0.2.0/24");
	rules[3].destination.prefixes[1] = rig_prefix("203.0.113.0/24");
	rules[3].destination.n_prefixes = 2;
	if (on)
		policy = policy_new(rules, RTE_DIM(rules), 1);
	DEMAND(policy != NULL || !on);
	DEMAND(dataplane_policy_use(rig.dp, policy) == 0);
	rules_in_force = on;
}

void world_reset(unsigned turn)
{
	set_tag((turn & 0x80) != 0 ? VLAN : 0);
	turn &= 0x7f;
	any_copies = false;
	rig.dp->bicast_until_ns = 0;
	rig.dp->workers[0]->copies_at_ns = 0;
	now_ns = START_NS;
	clock_set_test(now_ns, now_ns);
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		add_node(i, turn);
	set_rules(turn % 2 != 0);
	n_records = 0;
	next_epoch = 3;
	memset(put_in, 0, sizeof put_in);
	count(counted);
	cut_before = times_cut();
}

/* Those that wait do so by the processor's clock, which nobody can set. */
static void forget_fragments(void)
{
	struct worker *worker = rig.dp->workers[0];
	struct dp_verdicts verdicts;

	dataplane_verdicts(rig.dp, &verdicts);
	if (verdicts.in[VERDICT_HELD] == held_before)
		return;
	held_before = verdicts.in[VERDICT_HELD];
	reassembly_free(worker->reassembly);
	worker->reassembly = reassembly_new();
	DEMAND(worker->reassembly != NULL);
}

void world_end(void)
{
	set_rules(false);
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		DEMAND(dataplane_node_del(rig.dp, nodes[i].node, true) == 0);
	for (unsigned i = 0; i < 3; i++) /* token, quiescent, free */
		rig_turn(&rig);
	DEMAND(rcu_waiting(&rig.dp->rcu) == 0);
	forget_fragments();
	for (unsigned i = 0; i < DP_PORTS; i++)
		DEMAND(rte_mempool_in_use_count(rig.dp->ports[i].pool) == 0);
	DEMAND(rte_mempool_in_use_count(rig.dp->inject_pool) == 0);
	for (unsigned i = 1; i <= n_records; i++)
		free(records[i].bytes);
}

const struct sa_params *world_sa_in(unsigned node)
{
	return &nodes[node].in;
}

uint64_t world_seq_in(unsigned node)
{
	return nodes[node].seq_in;
}

void world_set_seq_in(unsigned node, uint64_t seq)
{
	nodes[node].seq_in = seq;
}

const uint8_t *world_mac(enum dp_port port)
{
	return rig.dp->ports[port].mac;
}

/* --- records -------------------------------------------------------------------------------------
 */

uint16_t world_number(void)
{
	return (uint16_t)(n_records + 1);
}

static struct record *record_add(enum origin origin, const uint8_t *bytes, size_t len)
{
	struct record *record = &records[++n_records];

	*record = (struct record){
		.origin = origin, .len = len, .left = 1, .bytes = malloc(len + 1)};
	DEMAND(record->bytes != NULL);
	if (len != 0)
		memcpy(record->bytes, bytes, len);
	return record;
}

/* The record that ip comes from. */
static struct record *record_of(const uint8_t *ip, size_t len)
{
	unsigned number = packet_stamped(ip, len);

	DEMAND(number != 0 && number <= n_records);
	return &records[number];
}

static bool is_ours(const struct ip_addr *addr)
{
	for (unsigned i = 0; i < DP_PORTS; i++) {
		const struct ip_addr ours = our_addr((enum dp_port)i, addr->family);

		if (ip_addr_equal(&ours, addr))
			return true;
	}
	return false;
}

/* Where the control thread lets a tunnel go to. */
static bool may_be_remote(const struct ip_addr *addr)
{
	return look_may_travel(addr) && !is_ours(addr);
}

/* --- in ------------------------------------------------------------------------------------------
 */

struct outer_buffer { /* what a mbuf's data lies in */
	struct rte_mbuf_ext_shared_info shared;
	void *memory;
};

static void buffer_free(void *addr, void *opaque)
{
	struct outer_buffer *buffer = opaque;

	(void)addr;
	free(buffer->memory);
	free(buffer);
}

static struct rte_mbuf *segment(
	enum dp_port port, const uint8_t *bytes, size_t len, uint16_t headroom, uint16_t tailroom)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(rig.dp->ports[port].pool);
	struct outer_buffer *buffer = malloc(sizeof *buffer);
	size_t total = headroom + len + tailroom;

	DEMAND(mbuf != NULL && buffer != NULL && total <= UINT16_MAX);
	buffer->memory = malloc(total + (total == 0));
	DEMAND(buffer->memory != NULL);
	buffer->shared.free_cb = buffer_free;
	buffer->shared.fcb_opaque = buffer;
	rte_mbuf_ext_refcnt_set(&buffer->shared, 1);
	rte_pktmbuf_attach_extbuf(
		mbuf, buffer->memory, RTE_BAD_IOVA, (uint16_t)total, &buffer->shared);
	mbuf->data_off = headroom;
	mbuf->data_len = (uint16_t)len;
	mbuf->pkt_len = (uint32_t)len;
	if (len != 0)
		memcpy(rte_pktmbuf_mtod(mbuf, uint8_t *), bytes, len);
	return mbuf;
}

static struct rte_mbuf *direct(enum dp_port port, const uint8_t *bytes, size_t len)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(rig.dp->ports[port].pool);

	DEMAND(mbuf != NULL);
	if (len > rte_pktmbuf_tailroom(mbuf)) {
		rte_pktmbuf_free(mbuf);
		return NULL;
	}
	memcpy(rte_pktmbuf_append(mbuf, (uint16_t)len), bytes, len);
	return mbuf;
}

static struct rte_mbuf *mbuf_of(
	enum dp_port port, const uint8_t *frame, size_t len, const struct world_shape *shape)
{
	size_t pieces = shape->segments == 0 ? 1 : shape->segments, piece = len / pieces;
	struct rte_mbuf *first = shape->direct ? direct(port, frame, len) : NULL;

	if (first != NULL)
		return first;
	for (size_t i = 0, at = 0; i < pieces; i++, at += piece) {
		struct rte_mbuf *mbuf = segment(port, frame + at,
			i == pieces - 1 ? len - at : piece, i == 0 ? shape->headroom : 0,
			i == pieces - 1 ? shape->tailroom : 0);

		if (first == NULL)
			first = mbuf;
		else
			DEMAND(rte_pktmbuf_chain(first, mbuf) == 0);
	}
	return first;
}

/* The worker alone: what it sends and punts piles up. */
static void work(void)
{
	while (worker_run_once(rig.dp->workers[0]) != 0)
		;
	pushed[DP_OUTSIDE] = pushed[DP_INSIDE] = 0;
}

static void receive(
	enum dp_port port, const uint8_t *frame, size_t len, const struct world_shape *shape)
{
	if (pushed[port] == PUSHED_MAX)
		work();
	DEMAND(rte_ring_enqueue(rig.rx[port], mbuf_of(port, frame, len, shape)) == 0);
	pushed[port]++;
	put_in[port == DP_OUTSIDE ? 0 : 1]++;
}

/* A port takes what is sent to its MAC under its tag, or under none if it has none. */
static bool is_for_port(enum dp_port port, const uint8_t *frame, size_t len)
{
	const uint16_t vlan = world_vlan();

	if (len < l2_bytes() || memcmp(frame, world_mac(port), 6) != 0)
		return false;
	if (vlan == 0)
		return wire_load_u16(frame + 12) != 0x8100;
	return wire_load_u16(frame + 12) == 0x8100 && (wire_load_u16(frame + 14) & 0xfff) == vlan;
}

bool world_push(enum dp_port port, const uint8_t *frame, size_t len,
	const struct world_shape *shape, const struct world_sealed *sealed, uint16_t number)
{
	struct record *record;

	if (n_records == WORLD_RECORDS)
		return false;
	DEMAND(number == n_records + 1);
	if (!is_for_port(port, frame, len)) {
		record_add(NOTHING, frame, len);
	} else if (sealed != NULL) {
		record = record_add(CAME_OUTSIDE, sealed->text, sealed->len);
		record->node = sealed->node;
		record->seq = sealed->seq;
		record->remote = sealed->from;
	} else if (port == DP_INSIDE) {
		record_add(CAME_INSIDE, frame + l2_bytes(), len - l2_bytes());
	} else {
		record_add(NOTHING, frame, len);
	}
	receive(port, frame, len, shape);
	return true;
}

void world_push_again(enum dp_port port, const uint8_t *frame, size_t len,
	const struct world_shape *shape, unsigned times, uint16_t number)
{
	for (unsigned i = 0; i < times; i++)
		receive(port, frame, len, shape);
	if (records[number].origin == CAME_INSIDE)
		records[number].left += times;
}

void world_inject(enum world_way way, unsigned node, const struct ip_endpoint *remote,
	const uint8_t *bytes, size_t len, uint16_t number)
{
	struct record *record;
	bool is_reply = way == WORLD_ONCE || (way == WORLD_TO_NODE && len % 2 == 0);
	int ret = -1;

	if (n_records == WORLD_RECORDS || (way == WORLD_ONCE && !may_be_remote(&remote->addr)))
		return;
	switch (way) {
	case WORLD_FRAME_OUT:
		ret = dataplane_send_frame(rig.dp, DP_OUTSIDE, bytes, len);
		break;
	case WORLD_FRAME_IN:
		ret = dataplane_send_frame(rig.dp, DP_INSIDE, bytes, len);
		break;
	case WORLD_INSIDE:
		ret = dataplane_send_inside(rig.dp, bytes, len);
		break;
	case WORLD_TO_NODE:
		ret = dataplane_send_to_node(rig.dp, node, bytes, len, is_reply);
		break;
	case WORLD_ONCE:
		ret = dataplane_send_once(rig.dp, node, remote, bytes, len);
		break;
	}
	if (ret != 0)
		return;
	DEMAND(number == n_records + 1);
	record = record_add(INJECTED, bytes, len);
	record->way = way;
	record->is_free = is_reply;
	record->node = node;
	record->remote = *remote;
	put_in[2]++;
}

/* --- the judge -----------------------------------------------------------------------------------
 */

static bool is_at(const struct world_node *n, const struct ip_addr *addr)
{
	return ip_addr_equal(&n->coa, addr) ||
	       (now_ns < n->grace_until_ns && ip_addr_equal(&n->former, addr));
}

static const struct ip_addr *agent_of(const struct world_node *n, const struct look *look)
{
	return look->src.family == AF_INET6 ? &n->home_agent_v6 : &n->home_agent;
}

/* Is addr any home agent's? The second node has one of its own. */
static bool is_agent(const struct look *look, const struct ip_addr *addr)
{
	return ip_addr_equal(agent_of(&nodes[1], look), addr) ||
	       ip_addr_equal(agent_of(&nodes[2], look), addr);
}

/* ip was cut from what the record is. */
static bool is_piece(const struct record *record, const uint8_t *ip, size_t len)
{
	return record->left != 0 &&
	       look_is_piece(ip, len, record->bytes, record->len, record->origin != INJECTED);
}

static void use_up(struct record *record)
{
	DEMAND(record->left > 0);
	record->left--;
	for (unsigned i = 1; record->origin == CAME_OUTSIDE && i <= n_records; i++)
		if (records[i].origin == CAME_OUTSIDE && records[i].node == record->node &&
			records[i].seq == record->seq)
			records[i].left = 0; /* nothing else with this number, ever */
}

static bool is_registration(const struct look *look)
{
	return look->src.family == AF_INET && look->protocol == LOOK_UDP && !look->headless &&
	       look->len >= look->hdr + UDP_HDR_BYTES &&
	       wire_load_u16(look->ip + look->hdr + 2) == 434;
}

/* Of what node n and its home agent tunnel to each other it is the packet inside that counts. */
static bool is_discarded(const struct world_node *n, const struct look *look, bool inward)
{
	const uint8_t *ports;
	uint16_t from, to;
	struct look inner;

	if (!rules_in_force)
		return false;
	if (look_tunnels(look) && (!inward || ip_addr_equal(agent_of(n, look), &look->dst)) &&
		look_inside(look, &inner))
		look = &inner;
	if (look->protocol != LOOK_UDP || look->headless || look->len < look->hdr + 4)
		return false;
	ports = look->ip + look->hdr;
	from = wire_load_u16(ports);
	to = wire_load_u16(ports + 2);
	return inward ? from >= 1000 && (to < 50 || to > 60) : to >= 1000;
}

/* May node n send this to the private network? */
static bool may_come_in(const struct world_node *n, const struct look *look)
{
	bool to_agent = look_tunnels(look) && is_agent(look, &look->dst);
	struct look inner;

	if (!look_may_travel(&look->src) || !look_may_travel(&look->dst) || is_ours(&look->src) ||
		is_ours(&look->dst) || is_registration(look) || is_discarded(n, look, true))
		return false;
	if (ip_addr_equal(&n->home, &look->src))
		return !to_agent;
	if (!is_at(n, &look->src) || (n->is_label && !look_tunnels(look)))
		return (n->flags & NODE_STRICT_INNER_SOURCE) == 0 && !to_agent;
	if (!look_tunnels(look))
		return true;
	return ip_addr_equal(agent_of(n, look), &look->dst) && !look->fragment &&
	       look_inside(look, &inner) && ip_addr_equal(&n->home, &inner.src) &&
	       !is_ours(&inner.dst);
}

/* May what came from inside go to node n? */
static bool may_go_out(const struct world_node *n, const struct look *look)
{
	unsigned current = 0, former = 0;
	struct look inner;

	if (!look_may_travel(&look->src) || !look_may_travel(&look->dst) || is_ours(&look->src) ||
		!is_at(n, &look->dst))
		return false;
	if (look_tunnels(look))
		return ip_addr_equal(agent_of(n, look), &look->src) && !look->fragment &&
		       look_inside(look, &inner) && ip_addr_equal(&n->home, &inner.dst) &&
		       !is_discarded(n, look, false);
	if (is_discarded(n, look, false))
		return false;
	for (unsigned i = 1; i <= WORLD_NODES; i++) {
		if (nodes[i].is_label)
			continue;
		current += ip_addr_equal(&nodes[i].coa, &look->dst);
		former += now_ns < nodes[i].grace_until_ns &&
			  ip_addr_equal(&nodes[i].former, &look->dst);
	}
	if (n->is_label)
		return false;
	return ip_addr_equal(&n->coa, &look->dst) ? current == 1 : current == 0 && former == 1;
}

static void judge_life_in(const struct record *record)
{
	DEMAND(++nodes[record->node].n_in <= LIFE_PACKETS || record->node != 6);
}

static bool is_a_nodes(const struct ip_addr *addr)
{
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		if (ip_addr_equal(&nodes[i].home, addr) ||
			(!nodes[i].is_label && is_at(&nodes[i], addr)))
			return true;
	return false;
}

/* What went out as it came in, but for a router's doing: by a rule, and nobody's of the nodes. */
static void judge_clear(const uint8_t *ip, size_t len)
{
	struct record *record = record_of(ip, len);
	struct look look;

	use_up(record);
	DEMAND(record->origin == CAME_INSIDE && rules_in_force);
	DEMAND(look_whole(ip, len, &look));
	DEMAND(look_is_routed(ip, len, record->bytes, record->len));
	DEMAND(!look_tunnels(&look) && !is_registration(&look));
	DEMAND(!is_discarded(&nodes[1], &look, false));
	DEMAND(look_may_travel(&look.src) && look_may_travel(&look.dst));
	DEMAND(!is_ours(&look.src) && !is_ours(&look.dst));
	DEMAND(!is_a_nodes(&look.src) && !is_a_nodes(&look.dst));
	figures[FIG_CLEAR]++;
}

/* An IP packet that may go to the private network. */
static void judge_inward(const uint8_t *ip, size_t len)
{
	struct record *record = record_of(ip, len);
	struct look look;

	if (record->origin == CAME_OUTSIDE && record->node != 0 && is_piece(record, ip, len) &&
		!look_is_routed(ip, len, record->bytes, record->len)) {
		DEMAND(look_at(record->bytes, record->len, &look));
		DEMAND(may_come_in(&nodes[record->node], &look));
		figures[FIG_PIECES]++;
		return;
	}
	use_up(record);
	if (record->origin == CAME_OUTSIDE)
		judge_life_in(record);
	if (record->origin != CAME_OUTSIDE) {
		DEMAND((record->origin == INJECTED && record->way == WORLD_INSIDE) ||
			(record->origin == KEPT && record->port == DP_INSIDE));
		DEMAND(record->len == len && memcmp(record->bytes, ip, len) == 0);
		return;
	}
	DEMAND(record->node != 0 && record->seq != 0);
	DEMAND(look_whole(ip, len, &look));
	DEMAND(look_is_routed(ip, len, record->bytes, record->len));
	DEMAND(may_come_in(&nodes[record->node], &look));
	figures[look.src.family == AF_INET6 ? FIG_IN_V6 : FIG_IN_V4]++;
	figures[FIG_IN_OUTER_V6] += record->remote.addr.family == AF_INET6;
}

static unsigned node_of_spi(uint32_t spi)
{
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		if (nodes[i].out.spi == spi)
			return i;
	return 0;
}

struct sent { /* a sealed packet on its way to the public network */
	struct look outer;
	struct ip_endpoint remote;
	const uint8_t *esp;
	size_t esp_len;
	enum way way;
	bool punted;
	bool cut; /* it came in fragments, which say nothing of DF */
};

static uint32_t hash_of(const uint8_t *at, size_t len)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	while (len-- != 0)
		hash = (hash ^ *at++) * 16777619u;
	return hash;
}

/* The one with this number that left before, or NULL. */
static struct numbers *find_number(struct world_node *n, const struct numbers *now)
{
	if (now->seq > n->high.seq && now->iv > n->high.iv)
		return NULL;
	for (unsigned i = 0; i < n->n_used; i++)
		if (n->used[i].seq == now->seq || n->used[i].iv == now->iv)
			return &n->used[i];
	return NULL;
}

/* No number twice, but for the very packet by the other way; and rising, as far as one way goes.
 * False: that was a copy, or what it is the copy of. */
static bool judge_numbers(
	struct world_node *n, const struct peer_opened *opened, const struct sent *sent)
{
	struct numbers now = {
		opened->seq, opened->iv, hash_of(sent->esp, sent->esp_len), (uint8_t)sent->way};
	struct numbers *last = &n->last[sent->punted + 2 * (sent->way == BY_COPY)], *before;

	if (now.iv == 0) /* the algorithm has none */
		now.iv = now.seq;
	DEMAND(now.seq > last->seq && (now.iv > last->iv || last->iv == 0));
	*last = now;
	before = find_number(n, &now);
	if (before != NULL) {
		DEMAND(before->seq == now.seq && before->iv == now.iv);
		DEMAND(before->hash == now.hash && (before->ways & now.ways) == 0);
		before->ways |= now.ways;
		figures[FIG_COPIES]++;
		return false;
	}
	DEMAND(n != &nodes[6] || n->n_used < LIFE_PACKETS);
	DEMAND(n->n_used < USED_MAX);
	n->used[n->n_used++] = now;
	n->high.seq = now.seq > n->high.seq ? now.seq : n->high.seq;
	n->high.iv = now.iv > n->high.iv ? now.iv : n->high.iv;
	return true;
}

/* RFC 6040 (normal mode), RFC 4301 section 8.1: what the outer header shows of the inner one. */
static void judge_shown(
	const struct world_node *n, const struct sent *sent, const uint8_t *text, size_t len)
{
	bool v6 = len != 0 && text[0] >> 4 == 6;
	uint8_t tos = v6 ? (uint8_t)(wire_load_u16(text) >> 4) : text[1];

	DEMAND(sent->outer.tos == tos);
	if (sent->outer.src.family == AF_INET6)
		DEMAND((wire_load_u32(sent->outer.ip) & 0xfffff) != 0); /* flow label */
	else if (sent->cut)
		return;
	else if (v6 || (text[6] & 0x40) != 0)
		DEMAND(sent->outer.df);
	else /* a copy is made of the other's header, and IPv6 has no such bit */
		DEMAND(!sent->outer.df || n->remote.addr.family == AF_INET6);
}

/* By the node's own path: its end, or its second one. */
static bool is_path(const struct world_node *n, const struct sent *sent)
{
	return sent->way == BY_COPY || ip_endpoint_equal(&sent->remote, &n->remote);
}

static void judge_injected(const struct world_node *n, const struct record *record,
	const struct sent *sent, const uint8_t *text, size_t len)
{
	DEMAND(record->way == WORLD_TO_NODE || record->way == WORLD_ONCE);
	DEMAND(n == &nodes[record->node]);
	DEMAND(record->len == len && memcmp(record->bytes, text, len) == 0);
	if (record->way == WORLD_ONCE)
		DEMAND(ip_endpoint_equal(&sent->remote, &record->remote));
	else
		DEMAND(is_path(n, sent));
}

static void judge_sealed_text(struct world_node *n, const struct sent *sent, const uint8_t *text,
	const struct peer_opened *opened)
{
	size_t len = opened->len - 2 - text[opened->len - 2];
	struct record *record;
	struct look look;

	DEMAND(len < opened->len);
	DEMAND(text[opened->len - 1] == (text[0] >> 4 == 6 ? 41 : 4));
	for (size_t i = len; i < opened->len - 2; i++)
		DEMAND(text[i] == i - len + 1);
	judge_shown(n, sent, text, len);
	record = record_of(text, len);
	if (is_piece(record, text, len) && !look_is_routed(text, len, record->bytes, record->len) &&
		record->len != len) {
		DEMAND(look_at(text, len, &look));
		DEMAND(record->origin == CAME_INSIDE
				? may_go_out(n, &look)
				: record->origin == INJECTED && n == &nodes[record->node]);
		figures[FIG_PIECES]++;
		return;
	}
	use_up(record);
	if (record->origin == INJECTED) {
		judge_injected(n, record, sent, text, len);
		return;
	}
	DEMAND(record->origin == CAME_INSIDE);
	DEMAND(look_whole(text, len, &look));
	DEMAND(look_is_routed(text, len, record->bytes, record->len));
	DEMAND(text[1] == record->bytes[1]);
	DEMAND(may_go_out(n, &look));
	DEMAND(is_path(n, sent));
	figures[look.src.family == AF_INET6 ? FIG_OUT_V6 : FIG_OUT_V4]++;
}

/* Behind a NAT: RFC 3948 section 2.1; with IPv6 a checksum must be, and be right (RFC 8200 8.1). */
static void judge_udp(struct sent *sent)
{
	const struct look *outer = &sent->outer;
	const uint8_t *udp = outer->ip + outer->hdr;
	size_t len = outer->len - outer->hdr;

	DEMAND(len >= UDP_HDR_BYTES && wire_load_u16(udp) == 4500);
	DEMAND(wire_load_u16(udp + 4) == len);
	if (outer->src.family == AF_INET6) {
		DEMAND(wire_load_u16(udp + 6) != 0);
		DEMAND(inet_fold(inet_sum(udp, len,
			       inet_pseudo_sum(
				       &outer->src, &outer->dst, LOOK_UDP, (uint32_t)len))) == 0);
		figures[FIG_OUT_UDP_V6]++;
	} else {
		DEMAND(wire_load_u16(udp + 6) == 0);
	}
	sent->remote.port = wire_load_u16(udp + 2);
	DEMAND(sent->remote.port != 0);
	sent->esp += UDP_HDR_BYTES;
	sent->esp_len -= UDP_HDR_BYTES;
}

static void judge_outer(const uint8_t *ip, size_t len, struct sent *sent)
{
	struct look *outer = &sent->outer;
	struct ip_addr local;

	DEMAND(look_whole(ip, len, outer));
	DEMAND(outer->hdr == (outer->src.family == AF_INET6 ? 40 : 20)); /* no options */
	DEMAND(!outer->fragment && outer->ttl == OUTER_TTL);
	local = our_addr(DP_OUTSIDE, outer->src.family);
	DEMAND(ip_addr_equal(&outer->src, &local));
	DEMAND(look_may_travel(&outer->dst) && !is_ours(&outer->dst));
	DEMAND(outer->protocol == LOOK_ESP || outer->protocol == LOOK_UDP);
	sent->remote.addr = outer->dst;
	sent->esp = ip + outer->hdr;
	sent->esp_len = len - outer->hdr;
	if (outer->protocol == LOOK_UDP)
		judge_udp(sent);
	DEMAND(sent->esp_len >= 8);
	figures[FIG_OUT_OUTER_V6] += outer->src.family == AF_INET6;
}

struct assembly { /* of what leaves in fragments: they follow each other, or some are lost */
	uint8_t bytes[PACKET_MAX];
	size_t len, piece_max; /* 0: nothing of it */
	unsigned pieces;
	uint32_t id;
};

static bool is_fragment(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 ? ip[6] == 44 : (wire_load_u16(ip + 6) & 0x3fff) != 0;
}

/* RFC 791 section 3.2, RFC 8200 section 4.5. True: that was the last piece. */
static bool assemble(struct assembly *whole, const uint8_t *ip, size_t len)
{
	const bool v6 = ip[0] >> 4 == 6;
	const size_t hdr = v6 ? 48 : 20, first = v6 ? 40 : 20;
	uint16_t field;
	size_t offset;
	uint32_t id;
	bool more;

	DEMAND(len > hdr && len <= WORLD_MTU);
	field = wire_load_u16(v6 ? ip + 42 : ip + 6);
	id = v6 ? wire_load_u32(ip + 44) : wire_load_u16(ip + 4);
	offset = v6 ? (field & 0xfff8u) : (field & 0x1fffu) * 8;
	more = (field & (v6 ? 1 : 0x2000)) != 0;
	DEMAND(v6 ? (field & 6) == 0 && wire_load_u16(ip + 4) == len - 40
		  : ip[0] == 0x45 && (field & 0xc000) == 0 && wire_load_u16(ip + 2) == len &&
				inet_fold(inet_sum(ip, 20, 0)) == 0);
	if (offset == 0) {
		*whole = (struct assembly){.len = first, .id = id};
		memcpy(whole->bytes, ip, first);
	} else if (whole->len != first + offset || whole->id != id) {
		whole->len = 0; /* one was lost */
		return false;
	}
	DEMAND(!more || (len - hdr) % 8 == 0);
	memcpy(whole->bytes + whole->len, ip + hdr, len - hdr);
	whole->len += len - hdr;
	whole->pieces++;
	whole->piece_max = len > whole->piece_max ? len : whole->piece_max;
	if (more)
		return false;
	if (v6) {
		whole->bytes[6] = ip[40];
		wire_store_u16(whole->bytes + 4, (uint16_t)(whole->len - 40));
	} else {
		wire_store_u16(whole->bytes + 2, (uint16_t)whole->len);
		wire_store_u16(whole->bytes + 6, 0);
		wire_store_u16(whole->bytes + 10, 0);
		wire_store_u16(whole->bytes + 10, inet_fold(inet_sum(whole->bytes, 20, 0)));
	}
	return true;
}

/* Only what nobody may cut inside and everybody must let through goes in fragments: RFC 2473 7.1.
 */
static void judge_cut(const struct world_node *n, const struct assembly *whole, const uint8_t *text)
{
	struct look look;
	const uint8_t *ip = text;

	DEMAND(whole->piece_max <= mtu_of(n) && whole->len > mtu_of(n) && !n->is_tried);
	if (look_at(text, PACKET_MAX, &look) && look_tunnels(&look) && !look.fragment)
		ip = text + look.hdr;
	DEMAND(ip[0] >> 4 == 6 && 40u + wire_load_u16(ip + 4) <= 1280);
	figures[FIG_CUT_OUTER]++;
}

/* No byte goes to where a node only tries to be beyond the credit, but for replies to it. */
static void judge_credit(
	struct world_node *n, size_t len, const uint8_t *text, const struct peer_opened *opened)
{
	figures[FIG_TRIED]++;
	if (record_of(text, opened->len - 2u - text[opened->len - 2])->is_free)
		return;
	DEMAND(len <= n->credit);
	n->credit -= (uint32_t)len;
}

/* An IP packet that may go to the public network: sealed. */
static void judge_outward(const uint8_t *ip, size_t len, bool punted)
{
	static struct assembly wholes[2];
	struct assembly *whole = NULL;
	static uint8_t text[PACKET_MAX];
	struct sent sent = {.way = BY_PATH, .punted = punted};
	struct peer_opened opened;
	struct world_node *n;
	unsigned handle;

	DEMAND(look_at(ip, len, &sent.outer));
	if (!is_ours(&sent.outer.src)) {
		judge_clear(ip, len);
		return;
	}
	if (is_fragment(ip)) {
		whole = &wholes[punted];
		if (!assemble(whole, ip, len))
			return;
		ip = whole->bytes;
		len = whole->len;
		sent.cut = true;
	}
	judge_outer(ip, len, &sent);
	handle = node_of_spi(wire_load_u32(sent.esp));
	DEMAND(handle != 0);
	n = &nodes[handle];
	DEMAND(whole != NULL || len <= mtu_of(n));
	if (ip_addr_is_set(&n->second.addr) && now_ns < n->grace_until_ns &&
		ip_endpoint_equal(&sent.remote, &n->second))
		sent.way = BY_COPY;
	DEMAND(peer_open(&n->out, n->high.seq, sent.esp, sent.esp_len, text, &opened));
	if (n->is_tried && ip_endpoint_equal(&sent.remote, &n->remote))
		judge_credit(n, len, text, &opened);
	if (whole != NULL)
		judge_cut(n, whole, text);
	if (judge_numbers(n, &opened, &sent))
		judge_sealed_text(n, &sent, text, &opened);
}

/* Sent before as an unresolved packet, whole. */
static bool was_kept(enum dp_port port, const uint8_t *ip, size_t len)
{
	for (unsigned i = 1; i <= n_records; i++) {
		struct record *record = &records[i];

		if (record->origin == KEPT && record->port == port && record->left != 0 &&
			record->len == len && memcmp(record->bytes, ip, len) == 0) {
			record->left--;
			return true;
		}
	}
	return false;
}

/* A frame of Linux's, as it was injected, but for the tag. */
static bool is_injected_frame(enum dp_port port, const uint8_t *frame, size_t len)
{
	enum world_way way = port == DP_OUTSIDE ? WORLD_FRAME_OUT : WORLD_FRAME_IN;
	size_t tag = l2_bytes() - RTE_ETHER_HDR_LEN;

	for (unsigned i = 1; i <= n_records; i++) {
		struct record *record = &records[i];

		if (record->origin == INJECTED && record->way == way && record->left != 0 &&
			record->len + tag == len && memcmp(record->bytes, frame, 12) == 0 &&
			memcmp(record->bytes + 12, frame + 12 + tag, len - 12 - tag) == 0) {
			record->left--;
			return true;
		}
	}
	return false;
}

static void judge_frame(enum dp_port port, const struct rte_mbuf *mbuf)
{
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	size_t len = mbuf->data_len, l2 = l2_bytes();
	const uint8_t *ip = frame + l2;

	DEMAND(mbuf->nb_segs == 1 && mbuf->pkt_len == len);
	DEMAND(mbuf->data_off + len <= mbuf->buf_len);
	DEMAND(len >= l2 && len <= WORLD_MTU + l2);
	if (l2 != RTE_ETHER_HDR_LEN) {
		DEMAND(wire_load_u16(frame + 12) == 0x8100 && wire_load_u16(frame + 14) == VLAN);
		figures[FIG_TAGGED]++;
	}
	if (is_injected_frame(port, frame, len))
		return;
	DEMAND(len >= l2 + IPV4_HDR_BYTES);
	DEMAND((frame[0] & 1) == 0 && memcmp(frame + 6, world_mac(port), 6) == 0);
	DEMAND(wire_load_u16(ip - 2) == (ip[0] >> 4 == 6 ? 0x86dd : 0x0800));
	len -= l2;
	if (was_kept(port, ip, len))
		return;
	if (port == DP_OUTSIDE)
		judge_outward(ip, len, false);
	else
		judge_inward(ip, len);
}

static bool is_link_local(const struct ip_addr *addr)
{
	return addr->bytes[0] == 0xfe && addr->bytes[1] >> 6 == 2;
}

/* Neighbour discovery and its like. */
static bool is_of_the_link(const struct look *look)
{
	const uint8_t *dst = look->dst.bytes;

	return look->protocol == LOOK_ICMPV6 &&
	       ((dst[0] == 0xff && (dst[1] & 15) == 2) || is_link_local(&look->dst) ||
		       is_link_local(&look->src));
}

/* What Linux may see: ARP, ICMPv6 of the link, and whole frames to our own address on that port,
 * but no ESP. */
static void judge_for_linux(enum dp_port port, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + RTE_ETHER_HDR_LEN;
	struct look look = {0};
	struct ip_addr ours;
	uint16_t type;

	DEMAND(len >= RTE_ETHER_HDR_LEN);
	type = wire_load_u16(frame + 12);
	if (type == 0x0806)
		return;
	/* From inside Linux gets any chain of headers behind a right first one. */
	DEMAND(look_at(ip, len - RTE_ETHER_HDR_LEN, &look) ||
		(port == DP_INSIDE && look.src.family == AF_INET6 &&
			look.len <= len - RTE_ETHER_HDR_LEN));
	DEMAND(type == (look.src.family == AF_INET6 ? 0x86dd : 0x0800));
	figures[FIG_LINUX_V6] += look.src.family == AF_INET6;
	if (look.src.family == AF_INET6 && is_of_the_link(&look))
		return;
	ours = our_addr(port, look.src.family);
	DEMAND((frame[0] & 1) == 0 && ip_addr_equal(&look.dst, &ours));
	DEMAND(port == DP_INSIDE || look.protocol != LOOK_ESP);
}

static void judge_registration(const struct punt *punt)
{
	struct record *record = record_of(punt->data, punt->len);
	const struct world_node *n = &nodes[record->node];
	struct look look;

	use_up(record);
	DEMAND(record->origin == CAME_OUTSIDE && record->node != 0 && record->seq != 0);
	DEMAND(punt->node == record->node);
	DEMAND(ip_endpoint_equal(&punt->observed, &record->remote));
	judge_life_in(record);
	DEMAND(look_whole(punt->data, punt->len, &look) && is_registration(&look));
	DEMAND(look_is_routed(punt->data, punt->len, record->bytes, record->len));
	DEMAND(ip_addr_equal(&n->home_agent, &look.dst));
	DEMAND(look_may_travel(&look.src) && !is_ours(&look.src));
}

static void keep(struct punt *punt, enum world_kept how)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0x44};
	struct record *record;

	if (n_records == WORLD_RECORDS) {
		dataplane_punt_done(rig.dp, punt);
		return;
	}
	if (how == WORLD_RESOLVED)
		DEMAND(dataplane_neigh_set(rig.dp, punt->port, &punt->next_hop, mac) == 0);
	record = record_add(KEPT, punt->data, punt->len);
	record->port = punt->port;
	if (dataplane_send_kept(rig.dp, punt) == 0)
		put_in[2]++;
}

static bool judge_punts(enum world_kept how)
{
	struct ip_addr hops[PKT_BURST_MAX];
	enum dp_port ports[PKT_BURST_MAX];
	struct punt punts[PKT_BURST_MAX];
	unsigned n = dataplane_punt_burst(rig.dp, punts, PKT_BURST_MAX), n_hops = 0;

	for (unsigned i = 0; i < n; i++) {
		struct punt *punt = &punts[i];

		switch (punt->reason) {
		case PUNT_FRAME:
		case PUNT_GUARDED:
			judge_for_linux(punt->port, punt->data, punt->len);
			break;
		case PUNT_REGISTRATION:
			judge_registration(punt);
			break;
		case PUNT_ERROR: /* its sender is told; nobody else sees it */
			DEMAND(punt->len >= IPV4_HDR_BYTES &&
				(punt->data[0] >> 4 == 4 ||
					(punt->data[0] >> 4 == 6 && punt->len >= 40)));
			DEMAND((punt->node != 0) == (punt->port == DP_OUTSIDE));
			break;
		case PUNT_UNRESOLVED:
			if (punt->port == DP_OUTSIDE)
				judge_outward(punt->data, punt->len, true);
			else
				judge_inward(punt->data, punt->len);
			if (how == WORLD_DROPPED)
				break;
			hops[n_hops] = punt->next_hop;
			ports[n_hops++] = punt->port;
			keep(punt, how);
			continue;
		}
		dataplane_punt_done(rig.dp, punt);
	}
	if (n_hops == 0)
		return n != 0;
	work();
	for (unsigned i = 0; i < n_hops; i++)
		(void)dataplane_neigh_del(rig.dp, ports[i], &hops[i]);
	return true;
}

static bool judge_sent(void)
{
	void *pointer;
	bool any = false;

	for (unsigned port = 0; port < DP_PORTS; port++)
		while (rte_ring_dequeue(rig.tx[port], &pointer) == 0) {
			judge_frame((enum dp_port)port, pointer);
			rte_pktmbuf_free(pointer);
			any = true;
		}
	return any;
}

/* A node's packet came from there, and its path led to another port of that address. */
static void judge_port_change(const struct dp_port_change *change)
{
	struct world_node *n = &nodes[change->node];
	struct path_params params;
	bool seen = false;

	DEMAND(change->node >= 1 && change->node <= WORLD_NODES);
	DEMAND((n->flags & NODE_ALLOW_NAT) != 0 && n->remote.port != 0);
	DEMAND(ip_addr_equal(&change->from.addr, &n->remote.addr) && change->from.port != 0);
	for (unsigned i = 1; i <= n_records; i++)
		seen = seen || (records[i].origin == CAME_OUTSIDE &&
				       records[i].node == change->node && records[i].seq != 0 &&
				       ip_endpoint_equal(&records[i].remote, &change->from));
	DEMAND(seen);
	n->remote = change->from;
	n->is_tried = false;
	params = path_of(n);
	DEMAND(dataplane_node_set_path(rig.dp, n->node, &params) == 0);
}

static void judge_port_changes(void)
{
	struct dp_port_change changes[PKT_BURST_MAX];
	unsigned n = dataplane_port_changes(rig.dp, changes, PKT_BURST_MAX);

	for (unsigned i = 0; i < n; i++)
		judge_port_change(&changes[i]);
}

static int take_epoch(void *arg, uint32_t *epoch)
{
	(void)arg;
	*epoch = next_epoch;
	next_epoch += 2;
	return 0;
}

void world_turn(enum world_kept how)
{
	uint64_t sums[3];
	unsigned turns = 0;
	bool any = true;

	while (any) {
		work();
		dataplane_poll(rig.dp, now_ns, take_epoch, NULL);
		any = judge_sent();
		any = judge_punts(how) || any;
		DEMAND(turns++ < TURNS_MAX);
	}
	judge_port_changes();
	count(sums);
	for (unsigned i = 0; i < 2; i++)
		DEMAND(sums[i] - counted[i] == put_in[i]);
	/* What was cut counts again, as pieces; so do copies. */
	DEMAND(sums[2] - counted[2] == put_in[2] ||
		(sums[2] - counted[2] > put_in[2] && (times_cut() > cut_before || any_copies)));
}

static bool set_path(struct world_node *n, const struct world_node *before)
{
	const struct path_params params = path_of(n);

	if (dataplane_node_set_path(rig.dp, n->node, &params) == 0)
		return true;
	*n = *before;
	return false;
}

void world_move(unsigned node, const struct ip_addr *coa, const struct ip_endpoint *nat,
	unsigned grace_ms, bool bicast)
{
	static struct world_node before;
	struct world_node *n = &nodes[node];

	if ((nat->port != 0 && ((n->flags & NODE_ALLOW_NAT) == 0 || !may_be_remote(&nat->addr))) ||
		(nat->port == 0 && ip_addr_is_set(coa) && !may_be_remote(coa)))
		return;
	world_turn(WORLD_DROPPED);
	before = *n;
	n->second = (struct ip_endpoint){0};
	if (bicast && ip_addr_is_set(&n->coa) && ip_addr_is_set(coa))
		n->second = n->remote;
	/* A closed path has none, and a label is no address to have had. */
	n->former = n->is_label || !ip_addr_is_set(coa) ? (struct ip_addr){0} : n->coa;
	n->grace_until_ns = now_ns + grace_ms * NS_PER_MS;
	n->coa = *coa;
	n->is_tried = false;
	n->is_label = nat->port != 0;
	n->remote = n->is_label ? *nat : (struct ip_endpoint){.addr = *coa};
	if (ip_endpoint_equal(&n->second, &n->remote))
		n->second = (struct ip_endpoint){0};
	if (set_path(n, &before) && ip_addr_is_set(&n->second.addr))
		any_copies = true;
}

void world_try(unsigned node, const struct ip_endpoint *remote, uint32_t credit)
{
	static struct world_node before;
	struct world_node *n = &nodes[node];

	if (!ip_addr_is_set(&n->coa) || !may_be_remote(&remote->addr))
		return;
	world_turn(WORLD_DROPPED);
	before = *n;
	n->remote = *remote;
	n->second = (struct ip_endpoint){0};
	n->is_tried = true;
	n->credit = credit;
	(void)set_path(n, &before);
}

void world_age(unsigned node, bool numbers, uint64_t left)
{
	struct world_node *n = &nodes[node];
	struct sa_out *sa = atomic_load(&n->node->sa_out);
	uint64_t last_iv = ((uint64_t)atomic_load(&sa->iv_epoch) + 1) << SA_IV_COUNTER_BITS;

	world_turn(WORLD_DROPPED);
	/* Only ever forward, as with use. */
	if (numbers && !n->out.esn && n->high.seq < UINT32_MAX - left) {
		n->high.seq = UINT32_MAX - left;
		atomic_store(&sa->slot->seq, n->high.seq);
	} else if (!numbers && n->high.iv < last_iv - left - 1) {
		n->high.iv = last_iv - left - 1;
		atomic_store(&sa->iv, n->high.iv + 1);
	}
}

void world_self(unsigned node, struct packet_self *out)
{
	const struct world_node *n = &nodes[node];

	*out = (struct packet_self){
		.home = n->home,
		.home_agent = n->home_agent,
		.home_agent_v6 = n->home_agent_v6,
		.coa = n->coa,
		.former = n->former,
	};
}
