/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_INNER_H
#define CONTROL_MN_INNER_H
/*
 * What may be inside an ESP packet from the gateway: the home agent's IP-in-IP to a care-of address
 * of ours with a packet for the home address in it, the home agent's registration reply, an ICMP
 * error about a packet of ours, or the gateway's question whether we are here. Nothing else. And
 * the other way: IP-in-IP of the reverse tunnel.
 *
 * Pure; any thread. Sources: RFC 2003, RFC 3024, RFC 6040, RFC 5944 section 3.6.2.
 */
#include "control/mn/care_of.h"
#include "dataplane/esp/verdict.h"
#include "lib/inet.h"
#include "lib/ipv4.h"

#include <stddef.h>
#include <stdint.h>

struct inner_conf {
	struct ip_addr home_address, home_agent;
};

enum inner_kind { INNER_TRAFFIC, INNER_REPLY, INNER_ANSWER /* to lib/challenge.h */ };
struct inner {
	enum inner_kind kind;
	/* traffic: the datagram for the home address; reply: the UDP payload; answer: the datagram
	 * to be sent back */
	uint8_t *data;
	size_t len;
};

/* data: the decrypted datagram. Its ECN mark is carried into the packet inside; a challenge becomes
 * its answer. */
enum verdict inner_check(const struct inner_conf *conf, const struct care_of *care_of,
	uint64_t now_ns, uint8_t *data, size_t len, struct inner *out);

/* May this packet from the TUN leave by the tunnel? */
enum verdict inner_check_outgoing(const struct inner_conf *conf, const uint8_t *data, size_t len);
/* Writes the IP-in-IP header in front of datagram, whose outgoing check was good. */
void inner_prepend_ipip(uint8_t hdr[IPV4_HDR_BYTES], const struct ip_addr *src,
	const struct ip_addr *dst, uint16_t id, const uint8_t *datagram, size_t len);
#endif
