/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one table, a row for each verdict. The array is sized by VERDICT_COUNT and every
 * row is checked by a test, so a new verdict without a text does not pass.
 */
#include "dataplane/esp/verdict.h"

#include <stddef.h>

struct verdict_info {
	const char *name;
	const char *text;
};

static const struct verdict_info infos[VERDICT_COUNT] = {
	[VERDICT_OK] = {"ok", "Forwarded."},
	[VERDICT_PUNTED] = {"punted", "Handed to the control thread."},
	[VERDICT_RUNT] = {"runt", "Shorter than its own headers say."},
	[VERDICT_NOT_IP] = {"not_ip", "Ethertype that is not handled."},
	[VERDICT_VLAN] = {"vlan", "Not the VLAN tag that the port is configured for."},
	[VERDICT_BAD_HEADER] = {"bad_header",
		"Version, a length, a port or a checksum is wrong in a header of IP or UDP."},
	[VERDICT_BAD_ADDRESS] = {"bad_address", "Source or destination must not be forwarded."},
	[VERDICT_SOURCE_ROUTE] = {"source_route", "Has a source route among its options."},
	[VERDICT_FRAGMENT] = {"fragment", "A fragment where a whole packet is needed."},
	[VERDICT_HELD] = {"held",
		"A fragment that waits for the others of its packet, or waited in vain."},
	[VERDICT_FRAGMENT_LIMIT] = {"fragment_limit",
		"More fragments from one source than are put together."},
	[VERDICT_MULTI_SEGMENT] = {"multi_segment",
		"The frame lies in several buffer segments and is too long for one."},
	[VERDICT_NOT_FOR_US] = {"not_for_us",
		"On the public side, neither ESP nor to one of our addresses."},
	[VERDICT_KEEPALIVE] = {"keepalive", "A NAT keepalive: one byte to UDP port 4500."},
	[VERDICT_TTL] = {"ttl", "The TTL is used up; its sender is told."},
	[VERDICT_EXPIRED] = {"expired", "The SA's lifetime in packets, bytes or seconds is over."},
	[VERDICT_POLICY] = {"policy", "A rule of the configuration's policy discards it."},
	[VERDICT_NO_SA_IN] = {"no_sa_in", "No inbound SA for this SPI and source."},
	[VERDICT_REPLAY] = {"replay", "Sequence number seen before, or left of the window."},
	[VERDICT_BAD_ESP] = {"bad_esp", "Length or alignment of the ESP packet is wrong."},
	[VERDICT_BAD_ICV] = {"bad_icv", "The authentication tag is wrong."},
	[VERDICT_SHED] = {"shed",
		"Its tag was not checked: too many from its source or for its SA were wrong, or of "
		"SIU that its peer would not send now."},
	[VERDICT_BAD_PADDING] = {"bad_padding",
		"Padding bytes, pad length or next header are wrong."},
	[VERDICT_DUMMY] = {"dummy", "Valid dummy packet (next header 59), nothing inside."},
	[VERDICT_ECN] = {"ecn", "Congestion mark outside on a packet that cannot carry it inside."},
	[VERDICT_INNER_SOURCE] = {"inner_source",
		"The inner source is not an address of this node."},
	[VERDICT_REGISTRATION] = {"registration",
		"To UDP 434, but not this node's own well-formed registration request."},
	[VERDICT_RATE_LIMITED] = {"rate_limited",
		"More registrations, or copies for a second link, than the limit allows."},
	[VERDICT_NO_SA_OUT] = {"no_sa_out",
		"Private traffic that no outbound SA protects; never sent in clear."},
	[VERDICT_SELECTOR] = {"selector",
		"Tunnelled to neither the node's care-of address nor a former one in grace."},
	[VERDICT_AMBIGUOUS_COA] = {"ambiguous_coa",
		"Several nodes own the care-of address that it is for."},
	[VERDICT_NO_PATH] = {"no_path", "The node is known, but no care-of address is."},
	[VERDICT_TOO_BIG] = {"too_big", "Does not fit the next link, ESP included, and must not be "
					"cut; its sender is told."},
	[VERDICT_FRAGMENTED] = {"fragmented",
		"Cut into fragments before ESP; these count as local packets."},
	[VERDICT_NO_CREDIT] = {"no_credit",
		"The path is not confirmed by the home agent yet, and its credit is spent."},
	[VERDICT_SEQ_EXHAUSTED] = {"seq_exhausted",
		"The SA's sequence numbers are used up; it needs a new key."},
	[VERDICT_IV_EXHAUSTED] = {"iv_exhausted",
		"The SA's IVs are used up until the control thread takes a new epoch."},
	[VERDICT_NO_ROOM] = {"no_room", "No headroom or tailroom in the buffer."},
	[VERDICT_NO_ROUTE] = {"no_route", "No route to the destination."},
	[VERDICT_NO_NEIGHBOUR] = {"no_neighbour",
		"The next hop did not resolve, or too many packets wait for it."},
	[VERDICT_PUNT_FULL] = {"punt_full", "The ring to the control thread is full."},
	[VERDICT_TX_FULL] = {"tx_full", "The port took no more packets."},
};

static const struct verdict_info unknown = {"unknown", "Not a verdict."};

static const struct verdict_info *info_of(enum verdict verdict)
{
	return (size_t)verdict < VERDICT_COUNT ? &infos[verdict] : &unknown;
}

const char *verdict_name(enum verdict verdict)
{
	return info_of(verdict)->name;
}

const char *verdict_text(enum verdict verdict)
{
	return info_of(verdict)->text;
}
