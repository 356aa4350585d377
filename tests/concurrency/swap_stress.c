/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: worker threads push packets for a node through the real loop and log what comes
 * out, while the control thread moves the node as fast as it can, sends it a reply after some
 * moves, and deletes and adds a second node.
 *
 * Move k goes to address k mod ADDRS and keeps address k - 1 as former selector. Each packet
 * carries the low byte of its label's number in its TOS, which encapsulation copies outside. So of
 * an output to address d the label is d or d - 1, whatever the moment; anything else is a mix of
 * two paths. Further: a reply of move k never goes to an earlier address; no output that enters a
 * transmit ring after the grace token of move k was done goes to an earlier address (control notes
 * where each ring stood); headers are right; samples are decrypted with OpenSSL; no (SPI, sequence
 * number) and no (SPI, IV) is used twice; no packet buffer is missing at the end.
 */
#include "tests/unit/dataplane/rig.h"

#include "dataplane/now.h"
#include "lib/ipv4.h"
#include "lib/wire.h"

#include <rte_launch.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 2
#define ADDRS 40000u           /* far more than moves in flight: 198.18.0.0/15 (RFC 2544) */
#define ADDRS_BASE 0xc6120001u /* 198.18.0.1 */
#define RUN_NS (3 * NS_PER_S)
#define GRACE_NS (100 * NS_PER_MS) /* longer than any address stays former */
#define OUTPUTS_MAX (1u << 20)     /* logged, a worker */
#define MARKS_MAX (1u << 20)
#define BURST 16
#define SAMPLE 16      /* one output in so many is decrypted */
#define REPLY_EVERY 16 /* moves */
#define REPLY_PORT 434
#define SECOND 2 /* handle of the node that comes and goes */
#define HA "10.1.0.1"
#define CORR "10.2.0.5"
#define SECOND_COA "203.0.113.200"
/* Or the test has shown nothing. */
#define MOVES_MIN 10000
#define OUTPUTS_MIN 10000

struct output {
	uint64_t iv;
	uint32_t spi, seq, address; /* ADDRS: the second node's */
};
struct mark {             /* of an acknowledgement */
	uint32_t ring_at; /* outputs that the worker's ring had taken by then */
	uint32_t move;
};
struct template
{ /* a packet of which the label is filled in */
	uint8_t ip[256];
	size_t len;
};
struct thread {
	uint32_t id, random;
	struct output *outputs;
	struct mark *marks; /* control's */
	uint32_t n_outputs, n_marks, n_second, n_replies, n_opened;
	unsigned failures;
	struct template plain, tunnel, second;
};

static struct rig rig;
static struct thread threads[WORKERS];
static _Atomic(uint32_t) moves; /* the newest that was published */
static _Atomic(bool) stop;

static void fail(struct thread *thread, const char *what, uint32_t a, uint32_t b)
{
	if (thread->failures++ < 5)
		fprintf(stderr, "worker %u: %s (%u, %u)\n", thread->id, what, a, b);
}

static struct ip_addr address(uint32_t move)
{
	struct ip_addr addr = {.family = AF_INET};

	wire_store_u32(addr.bytes, ADDRS_BASE + move % ADDRS);
	return addr;
}

/* Which of our addresses it is; ADDRS: none. */
static uint32_t index_of(const uint8_t addr[4])
{
	uint32_t index = wire_load_u32(addr) - ADDRS_BASE;

	return index < ADDRS ? index : ADDRS;
}

/* d is not older than move: modulo ADDRS, moves in flight being far fewer. */
static bool not_before(uint32_t d, uint32_t move)
{
	return (d + ADDRS - move % ADDRS) % ADDRS < ADDRS / 2;
}

/* --- workers -------------------------------------------------------------------------------------
 */

static uint32_t draw(struct thread *thread)
{
	thread->random = thread->random * 1664525u + 1013904223u; /* Numerical Recipes */
	return thread->random >> 8;
}

static void push(struct thread *thread, const struct template *template, uint32_t label)
{
	struct rte_mbuf *mbuf = rte_pktmbuf_alloc(rig.dp->ports[DP_INSIDE].pool);
	uint8_t *frame, *ip;

	if (mbuf == NULL)
		abort();
	frame = (uint8_t *)rte_pktmbuf_append(mbuf, (uint16_t)(template->len + RTE_ETHER_HDR_LEN));
	ip = frame + RTE_ETHER_HDR_LEN;
	memcpy(frame, rig.dp->ports[DP_INSIDE].mac, 6);
	memcpy(frame + 6, rig_mac_inside_router, 6);
	wire_store_u16(frame + 12, 0x0800);
	memcpy(ip, template->ip, template->len);
	if (template != &thread->second) {
		ip[1] = (uint8_t)label;
		wire_store_u32(ip + 16, ADDRS_BASE + label);
		rig_checksum(ip);
	}
	if (rte_ring_enqueue(rig.rx_all[DP_INSIDE][thread->id], mbuf) != 0)
		abort();
}

/* To one of the addresses around the newest, or of those that may be the newest by the time the
 * packet is looked at; now and then to the second node. */
static void push_one(struct thread *thread)
{
	uint32_t move = atomic_load_explicit(&moves, memory_order_relaxed);
	uint32_t dice = draw(thread), ahead = draw(thread) & ((1u << dice % 10) - 1);
	uint32_t label = (move + ADDRS + ahead - 1) % ADDRS;

	dice >>= 10;
	if (dice % 16 == 0)
		push(thread, &thread->second, 0);
	else
		push(thread, dice & 16 ? &thread->plain : &thread->tunnel, label);
}

static void check_opened(struct thread *thread, const uint8_t *outer, size_t len, uint32_t handle)
{
	struct rig_opened opened;
	uint32_t d, x;

	thread->n_opened++;
	if (!rig_unseal(handle, outer, len, &opened)) {
		fail(thread, "output is not one packet of the SA that it names", handle, 0);
		return;
	}
	d = index_of(outer + 16);
	x = index_of(opened.inner + 16);
	if (handle == SECOND)
		return;
	if (wire_load_u16(opened.inner + 22) == REPLY_PORT && opened.inner[9] == IPPROTO_UDP) {
		thread->n_replies++;
		if (!not_before(d, wire_load_u32(opened.inner + 28)))
			fail(thread, "reply to an address before its move",
				wire_load_u32(opened.inner + 28), d);
	} else if (x != d && x != (d + ADDRS - 1) % ADDRS) {
		fail(thread, "selector and outer header of two paths", x, d);
	}
}

static void check_output(struct thread *thread, const uint8_t *outer, size_t len)
{
	uint32_t spi = wire_load_u32(outer + IPV4_HDR_BYTES), handle = spi >> 16;
	uint32_t d = index_of(outer + 16);
	bool reply = wire_load_u16(outer + 2) < 100; /* the shortest packets */
	struct ipv4_view view;

	if (!ipv4_parse(outer, len, &view) || view.total_len != len)
		fail(thread, "outer header is wrong", handle, 0);
	if (handle == SECOND)
		thread->n_second++;
	else if (d == ADDRS)
		fail(thread, "sent to an address that no path had", d, 0);
	else if (!reply && view.tos != (uint8_t)d && view.tos != (uint8_t)((d + ADDRS - 1) % ADDRS))
		fail(thread, "selector and outer header of two paths", view.tos, d);
	if (reply || draw(thread) % SAMPLE == 0)
		check_opened(thread, outer, len, handle);
	if (thread->n_outputs < OUTPUTS_MAX)
		thread->outputs[thread->n_outputs++] = (struct output){
			.iv = wire_load_u64(outer + IPV4_HDR_BYTES + ESP_HDR_BYTES),
			.spi = spi,
			.seq = wire_load_u32(outer + IPV4_HDR_BYTES + 4),
			.address = handle == SECOND ? ADDRS : d};
}

static void take_outputs(struct thread *thread)
{
	struct rte_ring *ring = rig.tx_all[DP_OUTSIDE][thread->id];
	void *pointer = NULL;

	while (rte_ring_dequeue(ring, &pointer) == 0) {
		struct rte_mbuf *mbuf = pointer;

		check_output(thread, rte_pktmbuf_mtod_offset(mbuf, uint8_t *, RTE_ETHER_HDR_LEN),
			mbuf->data_len - (size_t)RTE_ETHER_HDR_LEN);
		rte_pktmbuf_free(mbuf);
	}
}

static int worker(void *arg)
{
	struct thread *thread = arg;

	rcu_online(&rig.dp->rcu, thread->id);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		for (unsigned i = 0; i < BURST; i++)
			push_one(thread);
		worker_run_once(rig.dp->workers[thread->id]);
		take_outputs(thread);
	}
	while (worker_run_once(rig.dp->workers[thread->id]) != 0) /* replies that still wait */
		take_outputs(thread);
	take_outputs(thread);
	rcu_offline(&rig.dp->rcu, thread->id);
	return 0;
}

/* --- control -------------------------------------------------------------------------------------
 */

/* Where the rings stand now that every worker has left what was before that move. */
static void acknowledge(uint32_t *token_move, uint64_t *token)
{
	if (*token_move != 0 && dataplane_grace_done(rig.dp, *token)) {
		for (unsigned i = 0; i < WORKERS; i++) {
			struct thread *thread = &threads[i];
			uint32_t at = __atomic_load_n(
				&rig.tx_all[DP_OUTSIDE][i]->prod.tail, __ATOMIC_ACQUIRE);

			if (thread->n_marks < MARKS_MAX)
				thread->marks[thread->n_marks++] = (struct mark){
					.ring_at = at, .move = *token_move};
		}
		*token_move = 0;
	}
	if (*token_move == 0) {
		*token_move = atomic_load_explicit(&moves, memory_order_relaxed);
		*token = dataplane_grace_token(rig.dp);
	}
}

static void move_on(struct node *node, uint64_t now_ns)
{
	uint32_t next = atomic_load_explicit(&moves, memory_order_relaxed) + 1;
	struct path_params params = {.mtu = RIG_MTU,
		.local.addr = rig_addr("192.0.2.1"),
		.remote.addr = address(next),
		.coa = address(next),
		.former_coa = address(next - 1),
		.grace_until_ns = now_ns + GRACE_NS};
	uint8_t reply[RIG_FRAME_MAX];
	size_t len;

	if (dataplane_node_set_path(rig.dp, node, &params) != 0)
		return; /* the retire list is full: the workers' turn */
	atomic_store_explicit(&moves, next, memory_order_relaxed);
	if (next % REPLY_EVERY != 0)
		return;
	len = rig_udp(reply, HA, REPLY_PORT, CORR, REPLY_PORT, 4);
	wire_store_u32(reply + 28, next);
	(void)!dataplane_send_to_node(rig.dp, 1, reply, len, true); /* a full ring is no failure */
}

/* Comes with a new IV epoch each time, as after a restart: its numbers go on, its keys stay. */
static struct node *second_node(uint32_t epoch)
{
	struct dp_node_params params = rig_node_params(SECOND, SECOND_COA);
	struct sa_params in = rig_sa(SECOND, true), out = rig_sa(SECOND, false);
	struct node *node;

	if (dataplane_node_add(rig.dp, &params, &node) != 0)
		return NULL;
	if (dataplane_sa_in_add(rig.dp, node, &in) != 0 ||
		dataplane_sa_out_add(rig.dp, node, &out, epoch) != 0)
		abort();
	return node;
}

static unsigned control(struct node *node)
{
	uint64_t now_ns = clock_mono_ns(), end = now_ns + RUN_NS, token = 0;
	uint32_t token_move = 0, epoch = 1;
	struct node *second = NULL;
	unsigned lives = 0;

	for (uint32_t turn = 0; now_ns < end; turn++) {
		move_on(node, now_ns);
		acknowledge(&token_move, &token);
		if (turn % 64 != 0)
			continue;
		now_ns = clock_mono_ns();
		dataplane_poll(rig.dp, now_ns, NULL, NULL);
		if (turn % 4096 != 0)
			continue;
		if (second == NULL)
			second = second_node(epoch++);
		else if (dataplane_node_del(rig.dp, second, false) == 0)
			second = NULL, lives++;
	}
	return lives;
}

/* --- what the logs say ---------------------------------------------------------------------------
 */

static void check_marks(struct thread *thread)
{
	uint32_t mark = 0;
	bool any = false;

	for (uint32_t i = 0; i < thread->n_outputs; i++) {
		while (mark < thread->n_marks && thread->marks[mark].ring_at <= i)
			any = true, mark++;
		if (any && thread->outputs[i].address != ADDRS &&
			!not_before(thread->outputs[i].address, thread->marks[mark - 1].move))
			fail(thread, "sent to an address that every worker had left",
				thread->marks[mark - 1].move, thread->outputs[i].address);
	}
}

static int compare_seq(const void *a, const void *b)
{
	const struct output *x = a, *y = b;

	if (x->spi != y->spi)
		return x->spi < y->spi ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int compare_iv(const void *a, const void *b)
{
	const struct output *x = a, *y = b;

	if (x->spi != y->spi)
		return x->spi < y->spi ? -1 : 1;
	return x->iv < y->iv ? -1 : x->iv > y->iv;
}

static unsigned doubles(struct output *outputs, uint32_t n,
	int (*compare)(const void *, const void *), const char *what)
{
	unsigned found = 0;

	qsort(outputs, n, sizeof *outputs, compare);
	for (uint32_t i = 1; i < n; i++)
		found += compare(&outputs[i - 1], &outputs[i]) == 0;
	if (found != 0)
		fprintf(stderr, "%u outputs with a %s used before\n", found, what);
	return found;
}

static unsigned check_numbers(void)
{
	struct output *all;
	unsigned found;
	uint32_t n = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		n += threads[i].n_outputs;
	all = calloc(n, sizeof *all);
	if (all == NULL)
		abort();
	n = 0;
	for (unsigned i = 0; i < WORKERS; n += threads[i++].n_outputs)
		memcpy(all + n, threads[i].outputs, threads[i].n_outputs * sizeof *all);
	found = doubles(all, n, compare_seq, "sequence number");
	found += doubles(all, n, compare_iv, "IV");
	free(all);
	return found;
}

static uint32_t free_mbufs(void)
{
	return rte_mempool_avail_count(rig.dp->ports[DP_INSIDE].pool) +
	       rte_mempool_avail_count(rig.dp->inject_pool);
}

static void thread_init(struct thread *thread, uint32_t id)
{
	uint8_t inner[RIG_FRAME_MAX], ip[RIG_FRAME_MAX];

	*thread = (struct thread){.id = id,
		.random = id + 1,
		.outputs = calloc(OUTPUTS_MAX, sizeof *thread->outputs),
		.marks = calloc(MARKS_MAX, sizeof *thread->marks)};
	if (thread->outputs == NULL || thread->marks == NULL)
		abort();
	thread->plain.len = rig_udp(ip, CORR, 1, SECOND_COA, 2, 100);
	memcpy(thread->plain.ip, ip, thread->plain.len);
	thread->tunnel.len = rig_ipip(
		ip, HA, CORR, inner, rig_udp(inner, CORR, 1, "10.1.0.10", 2, 100));
	memcpy(thread->tunnel.ip, ip, thread->tunnel.len);
	thread->second.len = rig_ipip(
		ip, HA, SECOND_COA, inner, rig_udp(inner, CORR, 1, "10.1.0.11", 2, 100));
	memcpy(thread->second.ip, ip, thread->second.len);
}

static unsigned report(unsigned lives, unsigned failures)
{
	uint32_t n = 0, second = 0, replies = 0, opened = 0, marks = 0;

	for (unsigned i = 0; i < WORKERS; i++) {
		struct thread *thread = &threads[i];

		failures += thread->failures;
		n += thread->n_outputs;
		second += thread->n_second;
		replies += thread->n_replies;
		opened += thread->n_opened;
		marks += thread->n_marks;
	}
	printf("%u moves, %u acknowledgements, %u packets out, %u of them opened, %u replies; "
	       "second "
	       "node: %u lives, %u packets; %u failures\n",
		moves, marks / WORKERS, n, opened, replies, lives, second, failures);
	if (moves >= MOVES_MIN && n >= OUTPUTS_MIN && replies != 0 && second != 0 && lives != 0)
		return failures;
	fprintf(stderr, "too little happened to show anything\n");
	return failures + 1;
}

int main(void)
{
	struct node *node;
	unsigned lcore, failures, lives;
	uint32_t i = 0, mbufs;

	rig_open(&rig, WORKERS, 1024);
	node = rig_node_add(&rig, 1, "198.18.0.1");
	mbufs = free_mbufs();
	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		thread_init(&threads[i], i);
		if (rte_eal_remote_launch(worker, &threads[i], lcore) != 0)
			abort();
		i++;
	}
	lives = control(node);
	atomic_store(&stop, true);
	rte_eal_mp_wait_lcore();

	for (i = 0; i < WORKERS; i++)
		check_marks(&threads[i]);
	failures = check_numbers();
	if (free_mbufs() != mbufs) {
		fprintf(stderr, "%u packet buffers are missing\n", mbufs - free_mbufs());
		failures++;
	}
	failures = report(lives, failures);
	for (i = 0; i < WORKERS; i++) {
		free(threads[i].outputs);
		free(threads[i].marks);
	}
	rig_close(&rig);
	return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
