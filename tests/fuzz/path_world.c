/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: each packet put in is a record under the number that it is stamped with. A packet
 * that comes out is opened, if it is sealed, and leads by its number to its record, with which it
 * must agree but for TTL, checksum and congestion mark. Records are used up, and so are sequence
 * numbers.
 */
#include "tests/fuzz/path_world.h"

#include "dataplane/now.h"
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
#define FAR_AWAY_NS (UINT64_MAX / 2)
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
	struct ip_addr remote; /* WORLD_ONCE */
	uint8_t *bytes;        /* text, IP packet, or frame (WORLD_FRAME_*); owned */
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
	bool in_grace;
	struct sa_params in, out;
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

static const struct { /* by handle */
	const char *coa, *former;
	uint32_t flags;
	bool esn;
	enum crypto_alg alg;
} plan[WORLD_NODES + 1] = {
	[1] = {"198.51.100.7", NULL, NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128GCM16},
	[2] = {"198.51.100.8", NULL, 0, true, CRYPTO_AES256GCM16},
	[3] = {NULL, NULL, NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128GCM16},
	[4] = {"198.51.100.9", NULL, NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128GCM16},
	[5] = {"198.51.100.9", NULL, 0, false, CRYPTO_AES128GCM16}, /* ambiguous */
	[6] = {"198.51.100.10", "198.51.100.11", NODE_STRICT_INNER_SOURCE, false,
		CRYPTO_AES256GCM16},
	[7] = {"203.0.113.7", NULL, 0, true, CRYPTO_AES128GCM16},
	[8] = {"203.0.113.7", "198.51.100.7", NODE_STRICT_INNER_SOURCE, false, CRYPTO_AES128GCM16},
};

static void add_node(unsigned handle)
{
	struct world_node *n = &nodes[handle];
	struct dp_node_params params = rig_node_params(handle, plan[handle].coa);

	n->n_used = 0;
	n->high = n->last[0] = n->last[1] = (struct numbers){0};
	n->seq_in = 0;
	n->flags = plan[handle].flags;
	n->in_grace = true;
	if (handle == 2)
		params.home_agent = rig_addr("10.1.0.2");
	params.flags = n->flags;
	params.path = rig_path(plan[handle].coa, plan[handle].former, FAR_AWAY_NS);
	n->home = params.home_address;
	n->home_agent = params.home_agent;
	n->coa = params.path.coa;
	n->former = params.path.former_coa;
	n->in = rig_sa(handle, true);
	n->out = rig_sa(handle, false);
	n->in.alg = n->out.alg = plan[handle].alg;
	n->in.esn = n->out.esn = plan[handle].esn;
	for (unsigned i = 20; i < sizeof n->in.key; i++) {
		n->in.key[i] = (uint8_t)(i * 3 + handle);
		n->out.key[i] = (uint8_t)(i * 5 + handle);
	}
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

void world_reset(void)
{
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		add_node(i);
	n_records = 0;
	next_epoch = 3;
	memset(put_in, 0, sizeof put_in);
	count(counted);
}

void world_end(void)
{
	for (unsigned i = 1; i <= WORLD_NODES; i++)
		DEMAND(dataplane_node_del(rig.dp, nodes[i].node, true) == 0);
	for (unsigned i = 0; i < 3; i++) /* token, quiescent, free */
		rig_turn(&rig);
	DEMAND(rcu_waiting(&rig.dp->rcu) == 0);
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

void world_inject(enum world_way way, unsigned node, const struct ip_addr *remote,
	const uint8_t *bytes, size_t len, uint16_t number)
{
	struct ip_endpoint to = {.addr = *remote};
	struct record *record;
	int ret = -1;

	if (n_records == WORLD_RECORDS || (way == WORLD_ONCE && !may_be_remote(remote)))
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
		ret = dataplane_send_once(rig.dp, node, &to, bytes, len);
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
	return is_v4(&n->coa, addr) || (n->in_grace && is_v4(&n->former, addr));
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
	if (!is_at(n, src))
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
		current += is_v4(&nodes[i].coa, dst);
		former += nodes[i].in_grace && is_v4(&nodes[i].former, dst);
	}
	return is_v4(&n->coa, dst) ? current == 1 : current == 0 && former == 1;
}

/* An IP packet that may go to the private network. */
static void judge_inward(const uint8_t *ip, size_t len)
{
	struct record *record = record_of(ip, len);

	use_up(record);
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

	DEMAND(now.seq > last->seq && (now.iv > last->iv || last->iv == 0));
	*last = now;
	if (now.seq <= n->high.seq || now.iv <= n->high.iv)
		for (unsigned i = 0; i < n->n_used; i++)
			DEMAND(n->used[i].seq != now.seq && n->used[i].iv != now.iv);
	DEMAND(n->n_used < USED_MAX);
	n->used[n->n_used++] = now;
	n->high.seq = now.seq > n->high.seq ? now.seq : n->high.seq;
	n->high.iv = now.iv > n->high.iv ? now.iv : n->high.iv;
}

static void judge_sealed_text(unsigned handle, const struct ip_addr *remote, const uint8_t *text,
	const struct peer_opened *opened)
{
	struct world_node *n = &nodes[handle];
	size_t len = opened->len - 2 - text[opened->len - 2];
	struct record *record;

	DEMAND(text[opened->len - 1] == 4 && len < opened->len);
	for (size_t i = len; i < opened->len - 2; i++)
		DEMAND(text[i] == i - len + 1);
	record = record_of(text, len);
	use_up(record);
	if (record->origin == INJECTED) {
		DEMAND(record->way == WORLD_TO_NODE || record->way == WORLD_ONCE);
		DEMAND(record->node == handle);
		DEMAND(record->len == len && memcmp(record->bytes, text, len) == 0);
		DEMAND(ip_addr_equal(
			remote, record->way == WORLD_ONCE ? &record->remote : &n->coa));
		return;
	}
	DEMAND(record->origin == CAME_INSIDE);
	DEMAND(is_sound(text, len));
	DEMAND(is_routed(text, len, record->bytes, record->len));
	DEMAND(text[1] == record->bytes[1]);
	DEMAND(may_go_out(n, text, len));
	DEMAND(ip_addr_equal(remote, &n->coa));
}

/* An IP packet that may go to the public network: sealed, or kept and judged before. */
static void judge_outward(const uint8_t *ip, size_t len, bool punted)
{
	static uint8_t text[PACKET_MAX];
	struct peer_opened opened;
	struct ipv4_view view;
	unsigned handle;

	DEMAND(ipv4_parse(ip, len, &view) && view.total_len == len && view.hdr_bytes == 20);
	DEMAND(view.protocol == 50 && !view.is_fragment && view.ttl == OUTER_TTL);
	DEMAND(is_ours(ip + 12) && may_travel(ip + 16) && !is_ours(ip + 16));
	DEMAND(len >= 20 + 8 && len <= WORLD_MTU);
	handle = node_of_spi(wire_load_u32(ip + 20));
	DEMAND(handle != 0);
	DEMAND(peer_open(
		&nodes[handle].out, nodes[handle].high.seq, ip + 20, len - 20, text, &opened));
	judge_numbers(&nodes[handle], &opened, punted);
	judge_sealed_text(handle, &view.dst, text, &opened);
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
		dataplane_poll(rig.dp, clock_mono_ns(), take_epoch, NULL);
		any = judge_sent();
		any = judge_punts(how) || any;
		DEMAND(turns++ < TURNS_MAX);
	}
	count(sums);
	for (unsigned i = 0; i < 3; i++)
		DEMAND(sums[i] - counted[i] == put_in[i]);
}

void world_move(unsigned node, const struct ip_addr *coa, bool in_grace)
{
	struct world_node *n = &nodes[node];
	struct path_params params = {
		.local.addr = rig_addr("192.0.2.1"), .remote.addr = *coa, .coa = *coa};

	if (ip_addr_is_set(coa) && !may_be_remote(coa))
		return;
	params.mtu = WORLD_MTU;
	params.former_coa = n->coa;
	params.grace_until_ns = in_grace ? FAR_AWAY_NS : 1;
	if (!ip_addr_is_set(coa))
		params = (struct path_params){
			.local = params.local, .mtu = WORLD_MTU, .flags = PATH_CLOSED};
	world_turn(WORLD_DROPPED);
	if (dataplane_node_set_path(rig.dp, n->node, &params) != 0)
		return; /* the old one stays */
	n->former = params.former_coa;
	n->coa = params.coa;
	n->in_grace = in_grace;
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
