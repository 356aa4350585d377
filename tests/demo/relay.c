/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A link with a delay: carries Ethernet frames between two interfaces, each way some time later.
 *
 * How this works: one packet socket an interface. A received frame gets its due time from the
 * kernel's receive stamp plus the delay, so that a late turn of this loop does not add to it, and
 * waits in a heap ordered by due time and arrival. The loop sleeps until the first frame is due or
 * the next one comes. The queue is bounded: what does not fit is dropped and counted, as a router
 * would. Loss, duplication and reordering are drawn from a seeded generator, so that a run can be
 * repeated.
 *
 * Only IP is delayed: ARP belongs to the access link, while the delay stands for the way behind
 * it.
 *
 * One thread. Sources: packet(7), RFC 826 (ARP), RFC 791 (IP).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 2048          /* bytes: an Ethernet frame with room for VLAN tags */
#define BURST 64                /* frames a system call */
#define SOCKET_BUFFER (8 << 20) /* bytes: some 100 ms at 500 Mbit/s */
#define NS_PER_MS 1000000
#define NS_PER_S 1000000000ll
#define SIDES 2
#define PERCENT_FULL 100.0
#define PRIORITY (-10) /* nice value: the delay should not depend on what else runs */

struct frame {
	int64_t due_ns;  /* CLOCK_REALTIME, as the kernel's stamps */
	uint64_t serial; /* order among frames due at the same time */
	uint16_t len;
	uint8_t side; /* where it goes out */
	uint8_t bytes[FRAME_MAX];
};

struct options {
	const char *interfaces[SIDES];
	int64_t delay_ns;
	int64_t reorder_ns;              /* how much later a reordered frame leaves */
	double loss, duplicate, reorder; /* percent */
	size_t queue_max;
	unsigned short seed[3];
};

struct counts {
	uint64_t received, sent, lost, duplicated, reordered, overflowed, oversize, refused;
};

struct relay {
	struct options options;
	int sockets[SIDES];
	struct frame *frames;
	uint32_t *unused; /* stack of free frames */
	size_t n_unused;
	uint32_t *heap; /* indices of frames, earliest first */
	size_t n_heap;
	uint64_t serial;
	struct counts counts[SIDES]; /* by the side where a frame came in */
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static bool chance(struct relay *relay, double percent)
{
	return percent > 0 && erand48(relay->options.seed) * PERCENT_FULL < percent;
}

static bool is_earlier(const struct relay *relay, uint32_t a, uint32_t b)
{
	const struct frame *x = &relay->frames[a], *y = &relay->frames[b];

	return x->due_ns != y->due_ns ? x->due_ns < y->due_ns : x->serial < y->serial;
}

static void swap(uint32_t *a, uint32_t *b)
{
	uint32_t kept = *a;

	*a = *b;
	*b = kept;
}

static void heap_push(struct relay *relay, uint32_t index)
{
	size_t at = relay->n_heap++;

	relay->heap[at] = index;
	while (at > 0 && is_earlier(relay, relay->heap[at], relay->heap[(at - 1) / 2])) {
		swap(&relay->heap[at], &relay->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
}

static uint32_t heap_pop(struct relay *relay)
{
	uint32_t first = relay->heap[0];
	size_t at = 0;

	relay->heap[0] = relay->heap[--relay->n_heap];
	for (;;) {
		size_t least = at, child = 2 * at + 1;

		for (size_t i = child; i < child + 2 && i < relay->n_heap; i++)
			if (is_earlier(relay, relay->heap[i], relay->heap[least]))
				least = i;
		if (least == at)
			return first;
		swap(&relay->heap[at], &relay->heap[least]);
		at = least;
	}
}

static void enqueue(struct relay *relay, const struct frame *from, int64_t due_ns)
{
	uint32_t index;
	struct frame *frame;

	if (relay->n_unused == 0) {
		relay->counts[!from->side].overflowed++;
		return;
	}
	index = relay->unused[--relay->n_unused];
	frame = &relay->frames[index];
	frame->due_ns = due_ns;
	frame->serial = relay->serial++;
	frame->len = from->len;
	frame->side = from->side;
	memcpy(frame->bytes, from->bytes, from->len);
	heap_push(relay, index);
}

/* One received frame: what happens to it on this link. from->due_ns is when it came in. */
static void carry(struct relay *relay, const struct frame *from)
{
	struct counts *counts = &relay->counts[!from->side];
	const struct ether_header *ether = (const struct ether_header *)from->bytes;
	int64_t due_ns = from->due_ns;

	counts->received++;
	if (from->len < sizeof(*ether) || (ntohs(ether->ether_type) != ETHERTYPE_IP &&
						  ntohs(ether->ether_type) != ETHERTYPE_IPV6)) {
		enqueue(relay, from, due_ns);
		return;
	}
	due_ns += relay->options.delay_ns;
	if (chance(relay, relay->options.loss)) {
		counts->lost++;
		return;
	}
	if (chance(relay, relay->options.reorder)) {
		counts->reordered++;
		due_ns += relay->options.reorder_ns;
	}
	enqueue(relay, from, due_ns);
	if (chance(relay, relay->options.duplicate)) {
		counts->duplicated++;
		enqueue(relay, from, due_ns);
	}
}

static int64_t stamp_of(struct msghdr *header)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec stamp;

			memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
			return stamp.tv_sec * NS_PER_S + stamp.tv_nsec;
		}
	return now_ns();
}

static void receive(struct relay *relay, int side)
{
	static struct frame frames[BURST];
	static char controls[BURST][CMSG_SPACE(sizeof(struct timespec))];
	struct mmsghdr messages[BURST] = {0};
	struct iovec iovecs[BURST];
	int n;

	for (int i = 0; i < BURST; i++) {
		iovecs[i] = (struct iovec){frames[i].bytes, FRAME_MAX};
		messages[i].msg_hdr.msg_iov = &iovecs[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		messages[i].msg_hdr.msg_control = controls[i];
		messages[i].msg_hdr.msg_controllen = sizeof(controls[i]);
	}
	/* An error here is the link going down: poll() will not say so again. */
	n = recvmmsg(relay->sockets[side], messages, BURST, MSG_DONTWAIT | MSG_TRUNC, NULL);
	for (int i = 0; i < n; i++) {
		if (messages[i].msg_len > FRAME_MAX) {
			relay->counts[side].oversize++;
			continue;
		}
		frames[i].len = (uint16_t)messages[i].msg_len;
		frames[i].side = (uint8_t)!side;
		frames[i].due_ns = stamp_of(&messages[i].msg_hdr);
		carry(relay, &frames[i]);
	}
}

static void send_due(struct relay *relay)
{
	int64_t now = now_ns();

	while (relay->n_heap > 0 && relay->frames[relay->heap[0]].due_ns <= now) {
		uint32_t index = heap_pop(relay);
		const struct frame *frame = &relay->frames[index];

		if (send(relay->sockets[frame->side], frame->bytes, frame->len, MSG_DONTWAIT) < 0)
			relay->counts[!frame->side].refused++; /* link down or its queue full */
		else
			relay->counts[!frame->side].sent++;
		relay->unused[relay->n_unused++] = index;
	}
}

static void run(struct relay *relay, const sigset_t *unblocked)
{
	struct pollfd polls[SIDES];

	for (int side = 0; side < SIDES; side++)
		polls[side] = (struct pollfd){.fd = relay->sockets[side], .events = POLLIN};
	while (!stopped) {
		struct timespec wait = {0};
		int64_t left = 0;

		if (relay->n_heap > 0)
			left = relay->frames[relay->heap[0]].due_ns - now_ns();
		if (left > 0)
			wait = (struct timespec){left / NS_PER_S, left % NS_PER_S};
		if (ppoll(polls, SIDES, relay->n_heap > 0 ? &wait : NULL, unblocked) < 0 &&
			errno != EINTR) {
			perror("relay: ppoll");
			exit(1);
		}
		for (int side = 0; side < SIDES; side++)
			if (polls[side].revents != 0)
				receive(relay, side);
		send_due(relay);
	}
}

static int open_side(const char *interface)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd, on = 1, bytes = SOCKET_BUFFER;

	address.sll_ifindex = (int)if_nametoindex(interface);
	if (address.sll_ifindex == 0) {
		fprintf(stderr, "relay: %s: no such interface\n", interface);
		exit(2);
	}
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
		/* A link that came up a moment ago has no queue yet, for up to a second: go past
		   it. */
		setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0) {
		fprintf(stderr, "relay: %s: %s\n", interface, strerror(errno));
		exit(2);
	}
	return fd;
}

static void print_counts(const struct relay *relay)
{
	for (int side = 0; side < SIDES; side++) {
		const struct counts *c = &relay->counts[side];

		fprintf(stderr,
			"relay: from %s: received %lu sent %lu lost %lu duplicated %lu "
			"reordered %lu overflowed %lu oversize %lu refused %lu\n",
			relay->options.interfaces[side], c->received, c->sent, c->lost,
			c->duplicated, c->reordered, c->overflowed, c->oversize, c->refused);
	}
}

static void usage(void)
{
	fputs("usage: relay [options] INTERFACE INTERFACE\n"
	      "  --delay MS        each way (20)\n"
	      "  --queue FRAMES    how many may be on their way, both directions (8192)\n"
	      "  --loss PERCENT    (0)\n"
	      "  --duplicate PERCENT (0)\n"
	      "  --reorder PERCENT of frames that leave --reorder-by MS later (0, 5)\n"
	      "  --seed N          for what is drawn by lot (1)\n",
		stderr);
	exit(1);
}

static double number(const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (*end != '\0' || end == text || !(value >= 0 && value <= max)) {
		fprintf(stderr, "relay: %s: a number from 0 to %.0f is wanted\n", text, max);
		exit(1);
	}
	return value;
}

static void parse(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {{"delay", required_argument, NULL, 'd'},
		{"queue", required_argument, NULL, 'q'}, {"loss", required_argument, NULL, 'l'},
		{"duplicate", required_argument, NULL, 'u'},
		{"reorder", required_argument, NULL, 'r'},
		{"reorder-by", required_argument, NULL, 'b'},
		{"seed", required_argument, NULL, 's'}, {0}};
	int option;

	*options = (struct options){.delay_ns = 20 * NS_PER_MS,
		.reorder_ns = 5 * NS_PER_MS,
		.queue_max = 8192,
		.seed = {1}};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (option) {
		case 'd':
			options->delay_ns = (int64_t)(number(optarg, 10000) * NS_PER_MS);
			break;
		case 'q':
			options->queue_max = (size_t)number(optarg, 1000000);
			break;
		case 'l':
			options->loss = number(optarg, PERCENT_FULL);
			break;
		case 'u':
			options->duplicate = number(optarg, PERCENT_FULL);
			break;
		case 'r':
			options->reorder = number(optarg, PERCENT_FULL);
			break;
		case 'b':
			options->reorder_ns = (int64_t)(number(optarg, 10000) * NS_PER_MS);
			break;
		case 's':
			options->seed[0] = (unsigned short)number(optarg, 65535);
			break;
		default:
			usage();
		}
	if (argc - optind != SIDES || options->queue_max == 0)
		usage();
	for (int side = 0; side < SIDES; side++)
		options->interfaces[side] = argv[optind + side];
}

int main(int argc, char **argv)
{
	static struct relay relay;
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t blocked, unblocked;

	parse(&relay.options, argc, argv);
	/* Signals come only while ppoll() sleeps, so that none is missed between test and sleep. */
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &unblocked);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	relay.frames = calloc(relay.options.queue_max, sizeof(*relay.frames));
	relay.unused = calloc(relay.options.queue_max, sizeof(*relay.unused));
	relay.heap = calloc(relay.options.queue_max, sizeof(*relay.heap));
	if (relay.frames == NULL || relay.unused == NULL || relay.heap == NULL) {
		fputs("relay: no memory for the queue\n", stderr);
		return 2;
	}
	while (relay.n_unused < relay.options.queue_max) {
		relay.unused[relay.n_unused] = (uint32_t)relay.n_unused;
		relay.n_unused++;
	}
	for (int side = 0; side < SIDES; side++)
		relay.sockets[side] = open_side(relay.options.interfaces[side]);
	prctl(PR_SET_TIMERSLACK, 1ul);
	if (setpriority(PRIO_PROCESS, 0, PRIORITY) != 0)
		fputs("relay: runs without priority: the delay may waver\n", stderr);
	fputs("relay: ready\n", stderr);
	run(&relay, &unblocked);
	print_counts(&relay);
	free(relay.heap);
	free(relay.unused);
	free(relay.frames);
	return 0;
}
