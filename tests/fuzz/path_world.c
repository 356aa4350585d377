/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each packet put in is a record under the number that it is stamped with. A packet
 * that comes out is opened, if it is sealed, and leads by its number to its record, with which it
 * must agree but for TTL, checksum and congestion mark. Records are used up, and so are sequence
 * numbers.
 */
#include "tests/fuzz/path_world.h"

#include "dataplane/now.h"
#include "dataplane/reassembly.h"
#include "lib/ipv4.h"
#include "tests/fuzz/esp_peer.h"
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
#define DEMAND(condition)                                     \
	do {                                                  \
		if (!(condition))                             \
			fail(__FILE__, __LINE__, #condition); \
	} while (0)

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
};

struct numbers {
	uint64_t seq, iv;
};

struct world_node {
	struct node *node;
	uint32_t flags;
	struct ip_addr home, home_agent, coa, former; /* as they were set; coa unset: closed */
	struct ip_endpoint remote;                    /* where its ESP goes */
	uint64_t grace_until_ns;
	bool is_label; /* coa is */
	struct sa_params in, out;
	unsigned n_in;   /* packets that came in by its SA */
	uint64_t seq_in; /* last that the peer used */
	/* What the gateway used: the highest, the last that was sent and the last that was punted
	 * as unresolved, and all of them. */
	struct numbers high, last[2], used[USED_MAX];
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
}

void world_start(void)
{
	rig_open(&rig, 1, RING_PLACES);
	unlink(rig.counters_path); /* it stays open; a crash leaves no file */
	DEMAND(atexit(stop) == 0);
}

#define NAT_ADDRESS "203.0.113.7"
#define LABEL "192.168.1.5" /* that both nodes behind the NAT have */
#define LIFE_PACKETS 24     /* of the SAs of node 6 */
#define LIFE_BYTES 6000     /* of those of node 4 */

static const struct { /* by handle */
	const char *coa, *former;
	uint16_t port; /* at the NAT */
	uint32_t flags;
	bool esn;
	enum crypto_alg alg;
} plan[WORLD_NODES + 1] = {
	[1] = {"198.51.100.7", NULL, 0, NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128GCM16},
	[2] = {"198.51.100.8", NULL, 0, 0, true, CRYPTO_AES256GCM16},
	[3] = {NULL, NULL, 0, NODE_STRICT_INNER_SOURCE, false, CRYPTO_CHACHA20POLY1305},
	[4] = {"198.51.100.9", NULL, 0, NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128_SHA256},
	[5] = {"198.51.100.9", NULL, 0, 0, true, CRYPTO_AES256GMAC}, /* ambiguous */
	[6] = {"198.51.100.10", "198.51.100.11", 0, NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_AES192GCM16},
	[7] = {LABEL, NULL, 5555, NODE_ALLOW_NAT, true, CRYPTO_AES256CTR_SHA512},
	[8] = {LABEL, NULL, 6666, NODE_ALLOW_NAT | NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_NULL_SHA1},
};

/* The path as the node has it in the judge's eyes. */
static struct path_params path_of(const struct world_node *n)
{
	struct path_params params = {.local.addr = rig_addr("192.0.2.1"), .mtu = WORLD_MTU};

	if (!ip_addr_is_set(&n->coa)) {
		params.flags = PATH_CLOSED;
		return params;
	}
	params.coa = n->coa;
	params.former_coa = n->former;
	params.grace_until_ns = n->grace_until_ns;
	params.remote = n->remote;
	params.local.port = n->remote.port != 0 ? PATH_NAT_PORT : 0;
	params.flags = n->is_label ? PATH_LABEL : 0;
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
	n->high = n->last[0] = n->last[1] = (struct numbers){0};
	n->seq_in = 0;
	n->flags = plan[handle].flags;
	n->home = params.home_address;
	n->home_agent = rig_addr(handle == 2 ? "10.1.0.2" : "10.1.0.1");
	n->coa = n->former = (struct ip_addr){0};
	if (plan[handle].coa != NULL)
		n->coa = rig_addr(plan[handle].coa);
	if (plan[handle].former != NULL)
		n->former = rig_addr(plan[handle].former);
	n->grace_until_ns = START_NS + GRACE_MS * NS_PER_MS;
	n->is_label = plan[handle].port != 0;
	n->remote = (struct ip_endpoint){
		n->is_label ? rig_addr(NAT_ADDRESS) : n->coa, plan[handle].port};
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

void world_reset(unsigned turn)
{
	now_ns = START_NS;
	clock_set_test(now_ns, now_ns);
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		add_node(i, turn);
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

static bool is_v4(const struct ip_addr *addr, const uint8_t at[4])
{
	return addr->family == AF_INET && memcmp(addr->bytes, at, 4) == 0;
}

static bool is_ours(const uint8_t at[4])
{
	static const uint8_t ours[2][4] = {{192, 0, 2, 1}, {10, 2, 0, 254}};

	return memcmp(at, ours[0], 4) == 0 || memcmp(at, ours[1], 4) == 0;
}

/* RFC 1812 section 5.3.7. */
static bool may_travel(const uint8_t at[4])
{
	return at[0] != 0 && at[0] != 127 && at[0] < 224 && !(at[0] == 169 && at[1] == 254);
}

/* Where the control thread lets a tunnel go to. */
static bool may_be_remote(const struct ip_addr *addr)
{
	return addr->family == AF_INET && may_travel(addr->bytes) && !is_ours(addr->bytes);
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

bool world_push(enum dp_port port, const uint8_t *frame, size_t len,
	const struct world_shape *shape, const struct world_sealed *sealed, uint16_t number)
{
	struct record *record;

	if (n_records == WORLD_RECORDS)
		return false;
	DEMAND(number == n_records + 1);
	if (sealed != NULL) {
		record = record_add(CAME_OUTSIDE, sealed->text, sealed->len);
		record->node = sealed->node;
		record->seq = sealed->seq;
		record->remote = sealed->from;
	} else if (port == DP_INSIDE && len >= RTE_ETHER_HDR_LEN) {
		record_add(CAME_INSIDE, frame + RTE_ETHER_HDR_LEN, len - RTE_ETHER_HDR_LEN);
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
		ret = dataplane_send_to_node(rig.dp, node, bytes, len, len % 2 == 0);
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
	record->node = node;
	record->remote = *remote;
	put_in[2]++;
}

/* --- the judge -----------------------------------------------------------------------------------
 */

static bool is_at(const struct world_node *n, const uint8_t addr[4])
{
	return is_v4(&n->coa, addr) || (now_ns < n->grace_until_ns && is_v4(&n->former, addr));
}

/* A whole packet with a right header. */
static bool is_sound(const uint8_t *ip, size_t len)
{
	size_t hdr = (ip[0] & 15u) * 4u;

	return len >= IPV4_HDR_BYTES && ip[0] >> 4 == 4 && hdr >= IPV4_HDR_BYTES && hdr <= len &&
	       wire_load_u16(ip + 2) == len && inet_fold(inet_sum(ip, hdr, 0)) == 0;
}

/* ip is original after a router: TTL one less, perhaps a congestion mark, else the same. */
static bool is_routed(const uint8_t *ip, size_t len, const uint8_t *original, size_t room)
{
	return len >= IPV4_HDR_BYTES && len <= room && ip[0] == original[0] &&
	       (ip[1] & 0xfc) == (original[1] & 0xfc) && memcmp(ip + 2, original + 2, 6) == 0 &&
	       ip[8] == original[8] - 1 && ip[8] != 0 && ip[9] == original[9] &&
	       memcmp(ip + 12, original + 12, len - 12) == 0;
}

/* One datagram is a piece of the other, cut by a router (RFC 791 section 3.2). */
static bool is_piece_of(const uint8_t *ip, size_t len, const uint8_t *whole, size_t room)
{
	size_t hdr = (ip[0] & 15u) * 4u, from = (whole[0] & 15u) * 4u;
	size_t offset = (wire_load_u16(ip + 6) & IPV4_FRAG_MASK) * 8u;
	size_t begin = (wire_load_u16(whole + 6) & IPV4_FRAG_MASK) * 8u;

	return is_sound(ip, len) && (wire_load_u16(whole + 6) & IPV4_FLAG_DF) == 0 &&
	       memcmp(ip + 12, whole + 12, 8) == 0 && ip[9] == whole[9] &&
	       memcmp(ip + 4, whole + 4, 2) == 0 && offset >= begin &&
	       from + offset - begin + len - hdr <= room &&
	       memcmp(ip + hdr, whole + from + offset - begin, len - hdr) == 0;
}

/* ip was cut from what the record is: of IP-in-IP the datagram inside, each with the tunnel's
 * header in front. */
static bool is_piece(const struct record *record, const uint8_t *ip, size_t len)
{
	const uint8_t *whole = record->bytes;
	size_t hdr = (whole[0] & 15u) * 4u;

	if (len < IPV4_HDR_BYTES || record->left == 0)
		return false;
	if (record->origin == CAME_OUTSIDE || whole[9] != 4)
		return ip[8] + (record->origin != INJECTED) == whole[8] &&
		       is_piece_of(ip, len, whole, record->len);
	return is_sound(ip, len) && hdr + IPV4_HDR_BYTES <= len && len <= record->len &&
	       memcmp(ip, whole, 2) == 0 && memcmp(ip + 4, whole + 4, 4) == 0 &&
	       ip[8] + (record->origin != INJECTED) == whole[8] &&
	       memcmp(ip + 12, whole + 12, hdr - 12) == 0 &&
	       is_piece_of(ip + hdr, len - hdr, whole + hdr, record->len - hdr);
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

static bool is_registration(const uint8_t *ip, size_t len)
{
	size_t hdr = (ip[0] & 15u) * 4u;

	return ip[9] == 17 && (wire_load_u16(ip + 6) & IPV4_FRAG_MASK) == 0 &&
	       len >= hdr + UDP_HDR_BYTES && wire_load_u16(ip + hdr + 2) == 434;
}

/* May node n send this to the private network? */
static bool may_come_in(const struct world_node *n, const uint8_t *ip, size_t len)
{
	const uint8_t *src = ip + 12, *dst = ip + 16, *inner = ip + (ip[0] & 15u) * 4u;
	bool tunnels = ip[9] == 4;
	bool to_agent = is_v4(&nodes[1].home_agent, dst) || is_v4(&nodes[2].home_agent, dst);

	if (!may_travel(src) || !may_travel(dst) || is_ours(src) || is_ours(dst) ||
		is_registration(ip, len))
		return false;
	if (is_v4(&n->home, src))
		return !(tunnels && to_agent);
	if (!is_at(n, src) || (n->is_label && !tunnels))
		return (n->flags & NODE_STRICT_INNER_SOURCE) == 0 && !(tunnels && to_agent);
	if (!tunnels)
		return true;
	return is_v4(&n->home_agent, dst) && (size_t)(inner - ip) + IPV4_HDR_BYTES <= len &&
	       is_v4(&n->home, inner + 12) && !is_ours(inner + 16);
}

/* May what came from inside go to node n? */
static bool may_go_out(const struct world_node *n, const uint8_t *ip, size_t len)
{
	const uint8_t *dst = ip + 16, *inner = ip + (ip[0] & 15u) * 4u;
	unsigned current = 0, former = 0;

	if (!may_travel(ip + 12) || !may_travel(dst) || is_ours(ip + 12) || !is_at(n, dst))
		return false;
	if (ip[9] == 4)
		return is_v4(&n->home_agent, ip + 12) &&
		       (size_t)(inner - ip) + IPV4_HDR_BYTES <= len && is_v4(&n->home, inner + 16);
	for (unsigned i = 1; i <= WORLD_NODES; i++) {
		if (nodes[i].is_label)
			continue;
		current += is_v4(&nodes[i].coa, dst);
		former += now_ns < nodes[i].grace_until_ns && is_v4(&nodes[i].former, dst);
	}
	if (n->is_label)
		return false;
	return is_v4(&n->coa, dst) ? current == 1 : current == 0 && former == 1;
}

static void judge_life_in(const struct record *record)
{
	DEMAND(++nodes[record->node].n_in <= LIFE_PACKETS || record->node != 6);
}

/* An IP packet that may go to the private network. */
static void judge_inward(const uint8_t *ip, size_t len)
{
	struct record *record = record_of(ip, len);

	if (record->origin == CAME_OUTSIDE && record->node != 0 && is_piece(record, ip, len) &&
		!is_routed(ip, len, record->bytes, record->len)) {
		DEMAND(may_come_in(
			&nodes[record->node], record->bytes, wire_load_u16(record->bytes + 2)));
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
	DEMAND(is_sound(ip, len));
	DEMAND(is_routed(ip, len, record->bytes, record->len));
	DEMAND(may_come_in(&nodes[record->node], ip, len));
}

static unsigned node_of_spi(uint32_t spi)
{
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		if (nodes[i].out.spi == spi)
			return i;
	return 0;
}

/* No number twice; and rising, as far as one way out goes. */
static void judge_numbers(struct world_node *n, const struct peer_opened *opened, bool punted)
{
	struct numbers now = {opened->seq, opened->iv}, *last = &n->last[punted];

	if (now.iv == 0) /* the algorithm has none */
		now.iv = now.seq;
	/* More pieces than a burst holds leave before the burst they were cut from. */
	DEMAND((now.seq > last->seq && (now.iv > last->iv || last->iv == 0)) ||
		times_cut() > cut_before);
	*last = now;
	if (now.seq <= n->high.seq || now.iv <= n->high.iv)
		for (unsigned i = 0; i < n->n_used; i++)
			DEMAND(n->used[i].seq != now.seq && n->used[i].iv != now.iv);
	DEMAND(n != &nodes[6] || n->n_used < LIFE_PACKETS);
	DEMAND(n->n_used < USED_MAX);
	n->used[n->n_used++] = now;
	n->high.seq = now.seq > n->high.seq ? now.seq : n->high.seq;
	n->high.iv = now.iv > n->high.iv ? now.iv : n->high.iv;
}

static void judge_sealed_text(unsigned handle, const struct ip_endpoint *remote,
	const uint8_t *text, const struct peer_opened *opened)
{
	struct world_node *n = &nodes[handle];
	size_t len = opened->len - 2 - text[opened->len - 2];
	struct record *record;

	DEMAND(text[opened->len - 1] == 4 && len < opened->len);
	for (size_t i = len; i < opened->len - 2; i++)
		DEMAND(text[i] == i - len + 1);
	record = record_of(text, len);
	if (is_piece(record, text, len) && !is_routed(text, len, record->bytes, record->len) &&
		record->len != len) {
		DEMAND(record->origin == CAME_INSIDE
				? may_go_out(n, text, len)
				: record->origin == INJECTED && record->node == handle);
		return;
	}
	use_up(record);
	if (record->origin == INJECTED) {
		DEMAND(record->way == WORLD_TO_NODE || record->way == WORLD_ONCE);
		DEMAND(record->node == handle);
		DEMAND(record->len == len && memcmp(record->bytes, text, len) == 0);
		DEMAND(ip_endpoint_equal(
			remote, record->way == WORLD_ONCE ? &record->remote : &n->remote));
		return;
	}
	DEMAND(record->origin == CAME_INSIDE);
	DEMAND(is_sound(text, len));
	DEMAND(is_routed(text, len, record->bytes, record->len));
	DEMAND(text[1] == record->bytes[1]);
	DEMAND(may_go_out(n, text, len));
	DEMAND(ip_endpoint_equal(remote, &n->remote));
}

/* Behind a NAT: RFC 3948 section 2.1. Returns the bytes of UDP, 0: there is none. */
static size_t judge_udp(const uint8_t *udp, size_t len, struct ip_endpoint *remote)
{
	DEMAND(len >= UDP_HDR_BYTES && wire_load_u16(udp) == 4500);
	DEMAND(wire_load_u16(udp + 4) == len && wire_load_u16(udp + 6) == 0);
	remote->port = wire_load_u16(udp + 2);
	DEMAND(remote->port != 0);
	return UDP_HDR_BYTES;
}

/* An IP packet that may go to the public network: sealed. */
static void judge_outward(const uint8_t *ip, size_t len, bool punted)
{
	static uint8_t text[PACKET_MAX];
	struct peer_opened opened;
	struct ip_endpoint remote = {0};
	size_t at = IPV4_HDR_BYTES;
	struct ipv4_view view;
	struct world_node *n;
	unsigned handle;

	DEMAND(ipv4_parse(ip, len, &view) && view.total_len == len && view.hdr_bytes == at);
	DEMAND(!view.is_fragment && view.ttl == OUTER_TTL);
	DEMAND(is_ours(ip + 12) && may_travel(ip + 16) && !is_ours(ip + 16));
	DEMAND(view.protocol == 50 || view.protocol == 17);
	remote.addr = view.dst;
	if (view.protocol == 17)
		at += judge_udp(ip + at, len - at, &remote);
	DEMAND(len >= at + 8 && len <= WORLD_MTU);
	handle = node_of_spi(wire_load_u32(ip + at));
	DEMAND(handle != 0);
	n = &nodes[handle];
	DEMAND(peer_open(&n->out, n->high.seq, ip + at, len - at, text, &opened));
	judge_numbers(n, &opened, punted);
	judge_sealed_text(handle, &remote, text, &opened);
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

/* A frame of Linux's, as it was injected. */
static bool is_injected_frame(enum dp_port port, const uint8_t *frame, size_t len)
{
	enum world_way way = port == DP_OUTSIDE ? WORLD_FRAME_OUT : WORLD_FRAME_IN;

	for (unsigned i = 1; i <= n_records; i++) {
		struct record *record = &records[i];

		if (record->origin == INJECTED && record->way == way && record->left != 0 &&
			record->len == len && memcmp(record->bytes, frame, len) == 0) {
			record->left--;
			return true;
		}
	}
	return false;
}

static void judge_frame(enum dp_port port, const struct rte_mbuf *mbuf)
{
	const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
	const uint8_t *ip = frame + RTE_ETHER_HDR_LEN;
	size_t len = mbuf->data_len;

	DEMAND(mbuf->nb_segs == 1 && mbuf->pkt_len == len);
	DEMAND(mbuf->data_off + len <= mbuf->buf_len);
	if (is_injected_frame(port, frame, len))
		return;
	DEMAND(len >= RTE_ETHER_HDR_LEN + IPV4_HDR_BYTES && len <= WORLD_MTU + RTE_ETHER_HDR_LEN);
	DEMAND((frame[0] & 1) == 0 && memcmp(frame + 6, world_mac(port), 6) == 0);
	DEMAND(wire_load_u16(frame + 12) == 0x0800);
	len -= RTE_ETHER_HDR_LEN;
	if (was_kept(port, ip, len))
		return;
	if (port == DP_OUTSIDE)
		judge_outward(ip, len, false);
	else
		judge_inward(ip, len);
}

/* What Linux may see: ARP, and whole frames to our own address on that port, but no ESP. */
static void judge_for_linux(enum dp_port port, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + RTE_ETHER_HDR_LEN;

	DEMAND(len >= RTE_ETHER_HDR_LEN);
	if (wire_load_u16(frame + 12) == 0x0806)
		return;
	DEMAND(wire_load_u16(frame + 12) == 0x0800 && (frame[0] & 1) == 0);
	DEMAND(len >= RTE_ETHER_HDR_LEN + IPV4_HDR_BYTES && is_ours(ip + 16));
	DEMAND((ip[16] == 192) == (port == DP_OUTSIDE));
	DEMAND(port == DP_INSIDE || ip[9] != 50);
}

static void judge_registration(const struct punt *punt)
{
	struct record *record = record_of(punt->data, punt->len);
	const struct world_node *n = &nodes[record->node];
	const uint8_t *ip = punt->data;

	use_up(record);
	DEMAND(record->origin == CAME_OUTSIDE && record->node != 0 && record->seq != 0);
	DEMAND(punt->node == record->node);
	DEMAND(ip_endpoint_equal(&punt->observed, &record->remote));
	judge_life_in(record);
	DEMAND(is_sound(ip, punt->len) && is_registration(ip, punt->len));
	DEMAND(is_routed(ip, punt->len, record->bytes, record->len));
	DEMAND(is_v4(&n->home_agent, ip + 16));
	DEMAND(may_travel(ip + 12) && !is_ours(ip + 12));
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
			judge_for_linux(punt->port, punt->data, punt->len);
			break;
		case PUNT_REGISTRATION:
			judge_registration(punt);
			break;
		case PUNT_ERROR: /* its sender is told; nobody else sees it */
			DEMAND(punt->len >= IPV4_HDR_BYTES && punt->data[0] >> 4 == 4);
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
	/* What was cut counts again, as pieces. */
	DEMAND(sums[2] - counted[2] == put_in[2] ||
		(sums[2] - counted[2] > put_in[2] && times_cut() > cut_before));
}

void world_move(
	unsigned node, const struct ip_addr *coa, const struct ip_endpoint *nat, unsigned grace_ms)
{
	struct world_node *n = &nodes[node], before;
	struct path_params params;

	if ((nat->port != 0 && ((n->flags & NODE_ALLOW_NAT) == 0 || !may_be_remote(&nat->addr))) ||
		(nat->port == 0 && ip_addr_is_set(coa) && !may_be_remote(coa)))
		return;
	world_turn(WORLD_DROPPED);
	before = *n;
	/* A closed path has none, and a label is no address to have had. */
	n->former = n->is_label || !ip_addr_is_set(coa) ? (struct ip_addr){0} : n->coa;
	n->grace_until_ns = now_ns + grace_ms * NS_PER_MS;
	n->coa = *coa;
	n->is_label = nat->port != 0;
	n->remote = n->is_label ? *nat : (struct ip_endpoint){.addr = *coa};
	params = path_of(n);
	if (dataplane_node_set_path(rig.dp, n->node, &params) != 0)
		*n = before;
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
		.home = ip_addr_to_v4(&n->home),
		.home_agent = ip_addr_to_v4(&n->home_agent),
		.coa = ip_addr_to_v4(&n->coa),
		.former = ip_addr_to_v4(&n->former),
	};
}
