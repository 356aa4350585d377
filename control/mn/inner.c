/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: a list of gates; the first that is closed gives the verdict. */
#include "control/mn/inner.h"

#include "lib/challenge.h"
#include "lib/mip4.h"
#include "lib/wire.h"

#include <linux/icmp.h>
#include <netinet/in.h>
#include <string.h>

#define PROTOCOL_IPIP 4
#define ICMP_HDR_BYTES 8

static enum verdict check_ipip(const struct inner_conf *conf, const struct ipv4_view *outer,
	uint8_t *data, struct inner *out)
{
	uint8_t *inner = data + outer->hdr_bytes;
	size_t room = (size_t)outer->total_len - outer->hdr_bytes;
	struct ipv4_view view;

	if (outer->is_fragment)
		return VERDICT_FRAGMENT;
	if (!ipv4_parse(inner, room, &view))
		return VERDICT_BAD_HEADER;
	if (!ip_addr_equal(&view.dst, &conf->home_address))
		return VERDICT_BAD_ADDRESS;
	*out = (struct inner){.kind = INNER_TRAFFIC, .data = inner, .len = view.total_len};
	return ipv4_carry_ecn(outer->tos, inner) ? VERDICT_OK : VERDICT_ECN;
}

/* What a gateway says about a packet of ours that it could not forward. */
static bool is_error_for_us(
	const struct inner_conf *conf, const struct ipv4_view *view, const uint8_t *data)
{
	const uint8_t *icmp = data + view->hdr_bytes;
	size_t len = (size_t)view->total_len - view->hdr_bytes;
	be32_t about;

	if (view->protocol != IPPROTO_ICMP || view->is_fragment ||
		!ip_addr_equal(&view->dst, &conf->home_address) ||
		len < ICMP_HDR_BYTES + IPV4_HDR_BYTES ||
		(icmp[0] != ICMP_DEST_UNREACH && icmp[0] != ICMP_TIME_EXCEEDED))
		return false;
	memcpy(&about, icmp + ICMP_HDR_BYTES + 12, sizeof about); /* source of the quoted header */
	return about == ip_addr_to_v4(&conf->home_address);
}

enum verdict inner_check(const struct inner_conf *conf, const struct care_of *care_of,
	uint64_t now_ns, uint8_t *data, size_t len, struct inner *out)
{
	struct ipv4_view view;
	struct udp_view udp;

	if (!ipv4_parse(data, len, &view))
		return VERDICT_BAD_HEADER;
	if (is_error_for_us(conf, &view, data)) {
		*out = (struct inner){.kind = INNER_TRAFFIC, .data = data, .len = view.total_len};
		return VERDICT_OK;
	}
	if (view.protocol == IPPROTO_ICMP && challenge_answer(data, len, &conf->home_address)) {
		*out = (struct inner){.kind = INNER_ANSWER, .data = data, .len = CHALLENGE_BYTES};
		return VERDICT_OK;
	}
	if (!ip_addr_equal(&view.src, &conf->home_agent) ||
		!care_of_labels(care_of, &view.dst, now_ns))
		return VERDICT_BAD_ADDRESS;
	if (view.protocol == PROTOCOL_IPIP)
		return check_ipip(conf, &view, data, out);
	if (!ipv4_udp_parse(data, len, &view, &udp) || udp.src_port != MIP4_PORT ||
		udp.dst_port != MIP4_PORT)
		return VERDICT_REGISTRATION;
	*out = (struct inner){
		.kind = INNER_REPLY, .data = data + (udp.payload - data), .len = udp.payload_len};
	return VERDICT_OK;
}

enum verdict inner_check_outgoing(const struct inner_conf *conf, const uint8_t *data, size_t len)
{
	struct ipv4_view view;

	if (len < IPV4_HDR_BYTES)
		return VERDICT_RUNT;
	if (data[0] >> 4 != 4)
		return VERDICT_NOT_IP;
	if (!ipv4_parse(data, len, &view) || view.total_len != len)
		return VERDICT_BAD_HEADER;
	if (!ip_addr_equal(&view.src, &conf->home_address))
		return VERDICT_INNER_SOURCE;
	if (!ip_addr_is_unicast(&view.dst)) /* of no use to anybody behind the gateway */
		return VERDICT_BAD_ADDRESS;
	return VERDICT_OK;
}

void inner_prepend_ipip(uint8_t hdr[IPV4_HDR_BYTES], const struct ip_addr *src,
	const struct ip_addr *dst, uint16_t id, const uint8_t *datagram, size_t len)
{
	uint16_t dont_fragment = wire_load_u16(datagram + 6) & IPV4_FLAG_DF;

	ipv4_build(hdr, src, dst, PROTOCOL_IPIP, IPV4_TTL_DEFAULT, datagram[1], id, dont_fragment,
		(uint16_t)(IPV4_HDR_BYTES + len));
}
