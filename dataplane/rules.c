/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: words of headers are replaced in place, and checksums follow by RFC 1624. Only
 * the first segment of a connection (SYN) is looked into for its MSS.
 */
#include "dataplane/rules.h"

#include "dataplane/esp/ip_fields.h"
#include "dataplane/ip4.h"
#include "dataplane/ip6.h"

#define TCP_HDR_BYTES 20
#define TCP_SYN 0x02
#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_MSS_BYTES 4 /* of the option */

/* Replaces a 16-bit word that a checksum covers: RFC 1624, equation 3. */
static void replace(uint8_t *word, uint16_t fresh, uint8_t *checksum)
{
	uint32_t sum = (uint16_t)~wire_load_u16(checksum);

	sum += (uint16_t)~wire_load_u16(word);
	sum += fresh;
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	wire_store_u16(word, fresh);
	wire_store_u16(checksum, (uint16_t)~sum);
}

static void outer_one(const struct dp_rules *rules, uint8_t *ip)
{
	uint16_t first = wire_load_u16(ip), flags = wire_load_u16(ip + 6);

	if (ip_is_v6(ip)) { /* no DF, no checksum */
		if (rules->map_dscp)
			wire_store_u16(ip,
				(uint16_t)((first & 0xf03f) | rules->dscp[(first >> 6) & 63] << 6));
		return;
	}

	if (rules->map_dscp)
		replace(ip, (uint16_t)((first & 0xff03) | rules->dscp[(first >> 2) & 63] << 2),
			ip + 10);
	if (rules->df == RULES_DF_SET)
		replace(ip + 6, flags | IPV4_FLAG_DF, ip + 10);
	else if (rules->df == RULES_DF_CLEAR)
		replace(ip + 6, (uint16_t)(flags & ~IPV4_FLAG_DF), ip + 10);
}

void rules_outer(const struct dp_rules *rules, struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->verdicts[i] == VERDICT_OK)
			outer_one(rules, b->pkts[i].data);
}

/* The MSS option's value of a segment that has one, or NULL. */
static uint8_t *mss_of(uint8_t *tcp, uint32_t len)
{
	uint32_t end = (tcp[12] >> 4) * 4u, at = TCP_HDR_BYTES;

	if (end > len)
		return NULL;
	while (at < end && tcp[at] != TCP_OPTION_END) {
		if (tcp[at] == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		if (at + 2 > end || tcp[at + 1] < 2 || at + tcp[at + 1] > end)
			return NULL;
		if (tcp[at] == TCP_OPTION_MSS)
			return tcp[at + 1] == TCP_MSS_BYTES ? tcp + at + 2 : NULL;
		at += tcp[at + 1];
	}
	return NULL;
}

/* What is behind an IP header and its extensions. False: nothing that is looked into. */
static bool find_upper(const uint8_t *ip, uint32_t len, struct ipv6_upper *out)
{
	if (ip_is_v6(ip))
		return ip6_find_upper(ip, len, false, out) == VERDICT_OK;
	*out = (struct ipv6_upper){.at = ip4_hdr_bytes(ip),
		.protocol = ip4_protocol(ip),
		.first = ip4_fragment_offset(ip) == 0};
	return true;
}

/* ip: checked. room: bytes of the largest IP packet that fits. The MSS knows of no options and no
 * extension headers: RFC 6691. */
static void clamp(uint8_t *ip, uint32_t len, uint32_t room)
{
	const uint32_t headers = TCP_HDR_BYTES +
				 (uint32_t)(ip_is_v6(ip) ? IPV6_HDR_BYTES : IPV4_HDR_BYTES);
	struct ipv6_upper upper;
	uint8_t *tcp, *mss;

	if (!find_upper(ip, len, &upper) || upper.protocol != IPPROTO_TCP || !upper.first ||
		len < upper.at + TCP_HDR_BYTES || room <= headers)
		return;
	tcp = ip + upper.at;
	mss = (tcp[13] & TCP_SYN) == 0 ? NULL : mss_of(tcp, len - upper.at);
	room -= headers;
	if (mss == NULL || wire_load_u16(mss) <= room)
		return;
	if (((mss - tcp) & 1) == 0) {
		replace(mss, (uint16_t)room, tcp + 16);
	} else { /* an odd place: the two words that it lies in, one by one */
		replace(mss - 1, (uint16_t)(mss[-1] << 8 | room >> 8), tcp + 16);
		replace(mss + 1, (uint16_t)(room << 8 | mss[2]), tcp + 16);
	}
}

static enum verdict check(const uint8_t *ip, uint32_t len)
{
	return len != 0 && ip_is_v6(ip) ? ip6_check(ip, len) : ip4_check(ip, len);
}

static void tcp_one(struct esp_pkt *pkt, const struct node *node)
{
	/* Acquire as in protect_load(). */
	const struct path *path = atomic_load_explicit(&node->path, memory_order_acquire);
	const struct sa_out *sa = atomic_load_explicit(&node->sa_out, memory_order_acquire);
	/* What comes back to the node has the home agent's tunnel around it in any case. */
	const uint32_t around = path->coa.family == AF_INET6 ? IPV6_HDR_BYTES : IPV4_HDR_BYTES;
	uint8_t *ip = pkt->data;
	uint32_t room;
	struct ipv6_upper upper;

	if (sa == NULL || (path->flags & PATH_CLOSED) != 0 || !find_upper(ip, pkt->len, &upper))
		return;
	if (!ip_is_tunnel(upper.protocol))
		upper.at = 0;
	else if (!upper.first || check(ip + upper.at, pkt->len - upper.at) != VERDICT_OK)
		return;
	room = esp_inner_max((enum crypto_alg)sa->alg, path->outer.len, path->mtu);
	if (room > around)
		clamp(ip + upper.at, pkt->len - upper.at, room - around);
}

void rules_tcp(struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->verdicts[i] == VERDICT_OK)
			tcp_one(&b->pkts[i], b->nodes[i]);
}
