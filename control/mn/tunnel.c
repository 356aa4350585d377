/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works
 *
 * Out: read the TUN until it is empty or a burst is full; check each; with reverse tunnelling put
 *      IP-in-IP in front; encapsulate and encrypt the burst; send it in one system call.
 * In:  take a burst from the raw socket, or from the UDP socket for what comes through a NAT;
 * gateway to care-of address, SPI; decrypt the burst; look at what is inside: traffic for the home
 *      address goes to the TUN, a registration reply up.
 *
 * The socket is not bound to an address, so a move costs it nothing: the path, an immutable object
 * with the prebuilt outer header, is replaced, and the next packet leaves from the new address.
 * Both bursts end after ESP_BURST_MAX packets, so that an address event never waits for traffic.
 *
 * While there is no address, or the kernel has no route yet, the TUN is not read: its queue holds
 * the packets of a short gap for us.
 */
#include "control/mn/tunnel.h"

#include "control/mn/inner.h"
#include "control/mn/natsock.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/rawsock.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SLOT_FRONT 128 /* bytes: ESP_HEADROOM_MAX and IP-in-IP, rounded up */
#define SLOT_DATA (MN_TUNNEL_MTU_MAX + 128)
#define SLOT_BACK 64
static_assert(SLOT_FRONT >= ESP_HEADROOM_MAX + IPV4_HDR_BYTES, "room in front");
static_assert(SLOT_BACK >= ESP_TAILROOM_MAX, "room behind");

struct slot {
	uint8_t bytes[SLOT_FRONT + SLOT_DATA + SLOT_BACK];
};

struct tunnel {
	struct loop *loop;
	const struct mn_conf *conf;
	struct inner_conf inner;
	tunnel_reply_fn *reply;
	void *arg;
	int tun_fd;
	int esp_fd;
	int udp_fd;              /* port 4500; -1: nat_traversal = "never" */
	struct loop_timer *hold; /* armed: the TUN is not read */
	struct loop_timer *keepalive;
	uint64_t sent_ns; /* when something left last */
	const struct crypto_engine *engine;
	struct crypto_thread *crypto;
	struct sa_in *sa_in;
	struct sa_out *sa_out;
	const struct path *path; /* one of paths[]; never NULL */
	struct path paths[2];
	struct care_of care_of;
	uint16_t ipip_id;
	struct tunnel_stats stats;
	struct slot slots[ESP_BURST_MAX]; /* of the burst under way, either direction */
	struct slot own; /* a registration, also one sent while a burst is delivered */
};

bool tunnel_is_in_udp(const struct tunnel *t)
{
	return t->path->outer.encap == PATH_ENCAP_UDP;
}

unsigned tunnel_overhead(const struct tunnel *t)
{
	return esp_overhead(t->conf->outbound.alg,
		       IPV4_HDR_BYTES + (tunnel_is_in_udp(t) ? UDP_HDR_BYTES : 0)) +
	       (t->conf->reverse_tunnel ? IPV4_HDR_BYTES : 0);
}

/* ---- where to ---- */

static bool set_path(struct tunnel *t, const struct ip_addr *coa, uint16_t mtu)
{
	struct path *fresh = &t->paths[t->path == &t->paths[0]];
	struct path_params params = {
		.local.addr = *coa,
		.remote.addr = t->conf->gateway,
		.coa = *coa,
		.mtu = mtu,
		.flags = ip_addr_is_set(coa) ? 0 : PATH_CLOSED,
	};

	if (nat_is_wanted(t->conf->nat_traversal, coa))
		params.local.port = params.remote.port = PATH_NAT_PORT;
	if (!path_init(fresh, &params))
		return false;
	t->path = fresh;
	return true;
}

static void close_path(struct tunnel *t)
{
	const struct ip_addr none = {0};

	(void)set_path(t, &none, 0); /* a closed path needs no ends and cannot fail */
}

static void hold(struct tunnel *t)
{
	if (loop_timer_is_armed(t->hold))
		return;
	(void)loop_fd_mod(t->loop, t->tun_fd, 0);
	loop_timer_arm_in(t->hold, TUNNEL_HOLD_MS * NS_PER_MS);
}

static void release(void *arg)
{
	struct tunnel *t = arg;

	loop_timer_disarm(t->hold);
	(void)loop_fd_mod(t->loop, t->tun_fd, EPOLLIN);
}

static uint64_t keepalive_ns(const struct tunnel *t)
{
	return t->conf->nat_keepalive_s * NS_PER_S;
}

/* RFC 3948 section 4: only after a silence of ours. Keeping the NAT's memory fresh needs no answer,
 * and one that gets lost is made up for by the next. */
static void keep_alive(void *arg)
{
	const uint64_t now_ns = clock_mono_ns();
	uint8_t packet[IPV4_HDR_BYTES + UDP_HDR_BYTES + 1];
	struct tunnel *t = arg;

	if (!tunnel_is_in_udp(t))
		return;
	if (now_ns >= t->sent_ns + keepalive_ns(t)) {
		size_t len = ipv4_udp_build(packet, sizeof packet, &t->path->local,
			&t->path->remote, (const uint8_t[]){NAT_KEEPALIVE}, 1);

		if (rawsock_send(t->esp_fd, packet, len) == 0)
			t->stats.keepalives++;
		t->sent_ns = now_ns;
	}
	loop_timer_arm(t->keepalive, t->sent_ns + keepalive_ns(t));
}

bool tunnel_aim(struct tunnel *t, const struct ip_addr *coa, uint16_t mtu, uint64_t now_ns)
{
	if (!set_path(t, coa, mtu))
		return false;
	care_of_move(&t->care_of, coa, now_ns, t->conf->grace_ms * NS_PER_MS);
	t->sent_ns = now_ns;
	loop_timer_arm(t->keepalive, now_ns + keepalive_ns(t)); /* ends there if not in UDP */
	release(t);
	return true;
}

void tunnel_lose(struct tunnel *t, uint64_t now_ns)
{
	const struct ip_addr none = {0};

	close_path(t);
	care_of_move(&t->care_of, &none, now_ns, t->conf->grace_ms * NS_PER_MS);
	hold(t);
}

void tunnel_rest(struct tunnel *t)
{
	close_path(t);
	care_of_forget(&t->care_of);
	release(t);
}

void tunnel_use_interface(struct tunnel *t, int ifindex)
{
	be32_t ifindex_be = htonl((uint32_t)ifindex);

	/* Cannot fail for an interface that is there; for one just gone the next event corrects it.
	 */
	(void)setsockopt(t->esp_fd, IPPROTO_IP, IP_UNICAST_IF, &ifindex_be, sizeof ifindex_be);
	if (ip_addr_is_set(&t->care_of.current))
		release(t);
}

void tunnel_confirm(struct tunnel *t, uint64_t now_ns)
{
	care_of_confirm(&t->care_of, now_ns, t->conf->grace_ms * NS_PER_MS);
}

/* ---- out ---- */

static enum verdict verdict_of_send(int err)
{
	switch (err) {
	case -EAGAIN:
	case -ENOBUFS:
		return VERDICT_TX_FULL;
	case -EMSGSIZE:
		return VERDICT_TOO_BIG;
	default:
		return VERDICT_NO_ROUTE;
	}
}

/* Sends what is good. Returns 0 or the errno of the last that was refused. */
static int send_burst(struct tunnel *t, struct esp_pkt pkts[], enum verdict verdicts[], unsigned n)
{
	const void *data[ESP_BURST_MAX];
	size_t len[ESP_BURST_MAX];
	unsigned at[ESP_BURST_MAX], n_good = 0, done = 0;
	int err, last = 0;

	for (unsigned i = 0; i < n; i++) {
		if (verdicts[i] != VERDICT_OK)
			continue;
		data[n_good] = pkts[i].data;
		len[n_good] = pkts[i].len;
		at[n_good++] = i;
	}
	if (n_good != 0)
		t->sent_ns = clock_mono_ns();
	while (done < n_good) {
		done += rawsock_send_burst(t->esp_fd, data + done, len + done, n_good - done, &err);
		if (done < n_good && err != 0) {
			verdicts[at[done++]] = verdict_of_send(err);
			last = err;
		}
	}
	return last;
}

static void count_tx(
	struct tunnel *t, const uint32_t inner_len[], const enum verdict verdicts[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (verdicts[i] != VERDICT_OK) {
			t->stats.tx_drops[verdicts[i]]++;
			continue;
		}
		t->stats.tx_packets++;
		t->stats.tx_bytes += inner_len[i];
	}
}

static void encapsulate(
	struct tunnel *t, struct esp_pkt pkts[], enum verdict verdicts[], unsigned n)
{
	struct sa_out *sas[ESP_BURST_MAX];
	const struct path *paths[ESP_BURST_MAX];

	for (unsigned i = 0; i < n; i++) {
		sas[i] = t->sa_out;
		paths[i] = t->path;
	}
	esp_encap_burst(t->crypto, t->engine, sas, paths, pkts, verdicts, n);
}

/* RFC 3024: from the care-of address that the home agent knows, which is the former one until it
 * has accepted the new one. */
static void reverse_tunnel(struct tunnel *t, struct esp_pkt *pkt)
{
	const struct ip_addr *known = ip_addr_is_set(&t->care_of.confirmed) ? &t->care_of.confirmed
									    : &t->care_of.current;
	uint8_t *datagram = pkt->data;

	pkt->data -= IPV4_HDR_BYTES;
	pkt->headroom = (uint16_t)(pkt->headroom - IPV4_HDR_BYTES);
	inner_prepend_ipip(
		pkt->data, known, &t->conf->home_agent, ++t->ipip_id, datagram, pkt->len);
	pkt->len += IPV4_HDR_BYTES;
}

static void on_tun(void *arg, int fd, uint32_t epoll_events)
{
	struct tunnel *t = arg;
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	uint32_t inner_len[ESP_BURST_MAX];
	unsigned n = 0;
	int err;

	(void)epoll_events;
	while (n < ESP_BURST_MAX) {
		uint8_t *data = t->slots[n].bytes + SLOT_FRONT;
		ssize_t len = read(fd, data, SLOT_DATA);

		if (len <= 0)
			break;
		pkts[n] = (struct esp_pkt){.data = data,
			.len = (uint32_t)len,
			.headroom = SLOT_FRONT,
			.tailroom = (uint16_t)(SLOT_DATA - len + SLOT_BACK)};
		inner_len[n] = (uint32_t)len;
		verdicts[n] = inner_check_outgoing(&t->inner, data, (size_t)len);
		if (verdicts[n] == VERDICT_OK && t->conf->reverse_tunnel)
			reverse_tunnel(t, &pkts[n]);
		n++;
	}
	encapsulate(t, pkts, verdicts, n);
	err = send_burst(t, pkts, verdicts, n);
	count_tx(t, inner_len, verdicts, n);
	if (err != 0 && verdict_of_send(err) == VERDICT_NO_ROUTE)
		hold(t);
}

int tunnel_send(struct tunnel *t, const uint8_t *datagram, size_t len)
{
	uint8_t *data = t->own.bytes + SLOT_FRONT;
	struct esp_pkt pkt = {.data = data,
		.len = (uint32_t)len,
		.headroom = SLOT_FRONT,
		.tailroom = (uint16_t)(SLOT_DATA - len + SLOT_BACK)};
	enum verdict verdict = VERDICT_OK;
	uint32_t inner_len = (uint32_t)len;
	int err;

	if (len > SLOT_DATA)
		return -EMSGSIZE;
	memcpy(data, datagram, len);
	encapsulate(t, &pkt, &verdict, 1);
	if (verdict != VERDICT_OK)
		err = verdict == VERDICT_NO_PATH ? -ENETUNREACH : -EIO;
	else
		err = send_burst(t, &pkt, &verdict, 1);
	count_tx(t, &inner_len, &verdict, 1);
	return err;
}

/* ---- in ---- */

/* RFC 4301 section 4.1, the SA is found by SPI, destination and source. */
static enum verdict check_outer(const struct tunnel *t, struct esp_pkt *pkt, uint64_t now_ns)
{
	const uint8_t *esp;
	struct ipv4_view view;

	if (pkt->len == 0) /* larger than the slot */
		return VERDICT_TOO_BIG;
	if (!ipv4_parse(pkt->data, pkt->len, &view))
		return VERDICT_BAD_HEADER;
	if (view.is_fragment)
		return VERDICT_FRAGMENT;
	pkt->outer_bytes = view.hdr_bytes;
	if (view.protocol == IPPROTO_UDP)
		pkt->outer_bytes += UDP_HDR_BYTES;
	esp = pkt->data + pkt->outer_bytes;
	if (view.total_len == pkt->outer_bytes + 1 && *esp == NAT_KEEPALIVE)
		return VERDICT_KEEPALIVE;
	if (view.total_len < pkt->outer_bytes + (unsigned)ESP_MIN_BYTES)
		return VERDICT_RUNT;
	if (!ip_addr_equal(&view.src, &t->conf->gateway) ||
		!care_of_receives(&t->care_of, &view.dst, now_ns) ||
		esp_spi(esp) != t->sa_in->spi) /* 0, the marker before IKE, is none's */
		return VERDICT_NO_SA_IN;
	return VERDICT_OK;
}

static void deliver(struct tunnel *t, struct esp_pkt *pkt, uint64_t now_ns)
{
	struct inner inner;
	enum verdict verdict = inner_check(
		&t->inner, &t->care_of, now_ns, pkt->data, pkt->len, &inner);

	if (verdict == VERDICT_OK && inner.kind == INNER_REPLY) {
		t->reply(t->arg, inner.data, inner.len);
		return;
	}
	if (verdict == VERDICT_OK && inner.kind == INNER_ANSWER) {
		t->stats.challenges++;
		(void)tunnel_send(t, inner.data, inner.len); /* lost: we are asked again */
		return;
	}
	if (verdict == VERDICT_OK && write(t->tun_fd, inner.data, inner.len) < 0)
		verdict = VERDICT_TX_FULL; /* or the interface is down */
	if (verdict != VERDICT_OK) {
		t->stats.rx_drops[verdict]++;
		return;
	}
	t->stats.rx_packets++;
	t->stats.rx_bytes += inner.len;
}

/* n packets with their outer headers, in the first slots. */
static void take(struct tunnel *t, void *const data[], const size_t len[], unsigned n)
{
	struct esp_pkt pkts[ESP_BURST_MAX];
	enum verdict verdicts[ESP_BURST_MAX];
	struct sa_in *sas[ESP_BURST_MAX];
	uint64_t now_ns = clock_mono_ns();

	for (unsigned i = 0; i < n; i++) {
		sas[i] = t->sa_in;
		pkts[i] = (struct esp_pkt){.data = data[i], .len = (uint32_t)len[i]};
		verdicts[i] = check_outer(t, &pkts[i], now_ns);
	}
	t->stats.ecn_unusual += esp_decap_burst(t->crypto, t->engine, sas, pkts, verdicts, n);
	for (unsigned i = 0; i < n; i++) {
		if (verdicts[i] == VERDICT_OK)
			deliver(t, &pkts[i], now_ns);
		else
			t->stats.rx_drops[verdicts[i]]++;
	}
}

static void point_to_slots(struct tunnel *t, void *data[ESP_BURST_MAX])
{
	for (unsigned i = 0; i < ESP_BURST_MAX; i++)
		data[i] = t->slots[i].bytes + SLOT_FRONT;
}

static void on_esp(void *arg, int fd, uint32_t epoll_events)
{
	struct tunnel *t = arg;
	struct rawsock_meta meta[ESP_BURST_MAX];
	size_t len[ESP_BURST_MAX];
	void *data[ESP_BURST_MAX];

	(void)epoll_events;
	point_to_slots(t, data);
	take(t, data, len, rawsock_recv_burst(fd, data, SLOT_DATA, meta, len, ESP_BURST_MAX));
}

static void on_udp(void *arg, int fd, uint32_t epoll_events)
{
	struct tunnel *t = arg;
	size_t len[ESP_BURST_MAX];
	void *data[ESP_BURST_MAX];

	(void)epoll_events;
	point_to_slots(t, data);
	take(t, data, len, natsock_recv_burst(fd, data, SLOT_DATA, len, ESP_BURST_MAX));
}

/* ---- open and close ---- */

const struct tunnel_stats *tunnel_stats(const struct tunnel *t)
{
	return &t->stats;
}

const struct care_of *tunnel_care_of(const struct tunnel *t)
{
	return &t->care_of;
}

struct sa_out *tunnel_sa_out(struct tunnel *t)
{
	return t->sa_out;
}

struct sa_in *tunnel_sa_in(struct tunnel *t)
{
	return t->sa_in;
}

static int open_crypto(
	struct tunnel *t, const struct tunnel_params *params, char *why, size_t why_size)
{
	const char *failed;
	int err;

	t->engine = crypto_engine_open("auto", &failed);
	if (t->engine == NULL) {
		snprintf(why, why_size, "no crypto engine works on this CPU");
		return -ENOSYS;
	}
	if (failed != NULL)
		log_warn("tunnel", "crypto engine fails its self-test, using %s name=%s",
			t->engine->name, failed);
	t->crypto = t->engine->thread_new();
	if (t->crypto == NULL) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	err = sa_in_new(&sa_memory_heap, t->engine, params->counters, &t->conf->inbound, NULL,
		false, &t->sa_in);
	if (err == 0)
		err = sa_out_new(&sa_memory_heap, t->engine, params->counters, &t->conf->outbound,
			NULL, false, params->iv_epoch, &t->sa_out);
	if (err != 0)
		snprintf(why, why_size, "cannot make the SAs: %s", strerror(-err));
	return err;
}

static int open_sockets(struct tunnel *t, char *why, size_t why_size)
{
	int err = -ENOMEM;

	t->esp_fd = rawsock_open(IPPROTO_ESP, t->conf->mark);
	if (t->esp_fd < 0) {
		snprintf(why, why_size, "cannot open a raw socket for ESP: %s; run as root",
			strerror(-t->esp_fd));
		return t->esp_fd;
	}
	if (t->conf->nat_traversal != NAT_NEVER) {
		t->udp_fd = natsock_open(t->conf->mark);
		if (t->udp_fd < 0) {
			snprintf(why, why_size,
				"cannot use UDP port %d: %s; end who has it, or set nat_traversal "
				"= \"never\"",
				PATH_NAT_PORT, strerror(-t->udp_fd));
			return t->udp_fd;
		}
	}
	t->hold = loop_timer_new(t->loop, release, t);
	t->keepalive = loop_timer_new(t->loop, keep_alive, t);
	if (t->hold != NULL && t->keepalive != NULL)
		err = loop_fd_add(t->loop, t->esp_fd, EPOLLIN, on_esp, t);
	if (err == 0 && t->udp_fd >= 0)
		err = loop_fd_add(t->loop, t->udp_fd, EPOLLIN, on_udp, t);
	if (err == 0)
		err = loop_fd_add(t->loop, t->tun_fd, 0, on_tun, t);
	if (err != 0)
		snprintf(why, why_size, "cannot watch the tunnel: %s", strerror(-err));
	return err;
}

int tunnel_open(struct loop *loop, const struct tunnel_params *params, struct tunnel **out,
	char *why, size_t why_size)
{
	struct tunnel *t = aligned_alloc(alignof(struct tunnel), sizeof *t);
	int err;

	if (t == NULL) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	memset(t, 0, sizeof *t);
	t->loop = loop;
	t->conf = params->conf;
	t->inner = (struct inner_conf){
		.home_address = t->conf->home_address, .home_agent = t->conf->home_agent};
	t->reply = params->reply;
	t->arg = params->arg;
	t->tun_fd = params->tun_fd;
	t->esp_fd = t->udp_fd = -1;
	close_path(t);
	err = open_crypto(t, params, why, why_size);
	if (err == 0)
		err = open_sockets(t, why, why_size);
	if (err != 0) {
		tunnel_close(t);
		return err;
	}
	*out = t;
	return 0;
}

void tunnel_close(struct tunnel *t)
{
	if (t == NULL)
		return;
	loop_fd_del(t->loop, t->tun_fd);
	if (t->esp_fd >= 0) {
		loop_fd_del(t->loop, t->esp_fd);
		close(t->esp_fd);
	}
	if (t->udp_fd >= 0) {
		loop_fd_del(t->loop, t->udp_fd);
		close(t->udp_fd);
	}
	loop_timer_free(t->hold);
	loop_timer_free(t->keepalive);
	if (t->sa_in != NULL)
		sa_in_free(&sa_memory_heap, t->engine, t->sa_in);
	if (t->sa_out != NULL)
		sa_out_free(&sa_memory_heap, t->engine, t->sa_out);
	if (t->crypto != NULL)
		t->engine->thread_free(t->crypto);
	free(t);
}
