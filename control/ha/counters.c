/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: a name for each counter, as `roamctl show drops` prints it. */
#include "control/ha/counters.h"

static const char *const NAMES[HA_COUNTERS] = {
	[HA_RRQ_MALFORMED] = "rrq_malformed",
	[HA_RRQ_NO_ASSOCIATION] = "rrq_no_association",
	[HA_RRQ_NO_AUTHENTICATOR] = "rrq_no_authenticator",
	[HA_RRQ_LIMITED] = "rrq_limited",
	[HA_RRQ_BAD_AUTHENTICATOR] = "rrq_bad_authenticator",
	[HA_RRQ_ID_MISMATCH] = "rrq_id_mismatch",
	[HA_RRQ_CLOCK_BEHIND] = "rrq_clock_behind",
	[HA_RRQ_POORLY_FORMED] = "rrq_poorly_formed",
	[HA_RRQ_UNKNOWN_HA] = "rrq_unknown_ha",
	[HA_RRQ_NOT_COLOCATED] = "rrq_not_colocated",
	[HA_RRQ_BAD_COA] = "rrq_bad_coa",
	[HA_RRQ_SOURCE_NOT_COA] = "rrq_source_not_coa",
	[HA_RRQ_ENCAPSULATION] = "rrq_encapsulation",
	[HA_RRQ_TOO_MANY] = "rrq_too_many",
	[HA_RRQ_NO_RESOURCES] = "rrq_no_resources",
	[HA_RRQ_GATEWAY_REFUSED] = "rrq_gateway_refused",
	[HA_RRQ_ACCEPTED] = "rrq_accepted",
	[HA_RRQ_DUPLICATE] = "rrq_duplicate",
	[HA_BINDING_EXPIRED] = "binding_expired",
	[HA_TUNNEL_OUT] = "tunnel_out",
	[HA_TUNNEL_IN] = "tunnel_in",
	[HA_TUNNEL_NO_BINDING] = "tunnel_no_binding",
	[HA_TUNNEL_LOOP] = "tunnel_loop",
	[HA_TUNNEL_MALFORMED] = "tunnel_malformed",
	[HA_TUNNEL_TOO_BIG] = "tunnel_too_big",
	[HA_TUNNEL_SEND_FAILED] = "tunnel_send_failed",
	[HA_TUNNEL_BAD_OUTER] = "tunnel_bad_outer",
	[HA_TUNNEL_BAD_INNER] = "tunnel_bad_inner",
	[HA_TUNNEL_CONGESTED] = "tunnel_congested",
	[HA_SIU_UNKNOWN_PEER] = "siu_unknown_peer",
	[HA_SIU_NOT_ATTACHED] = "siu_not_attached",
	[HA_SIU_UNKNOWN_NODE] = "siu_unknown_node",
	[HA_SIU_NOT_ITS_NODE] = "siu_not_its_node",
	[HA_SIU_SUPERSEDED] = "siu_superseded",
	[HA_SIU_REFUSED] = "siu_refused",
	[HA_SIU_SEND_FAILED] = "siu_send_failed",
	[HA_STORE_FAILED] = "store_failed",
	[HA_CLOCK_SET] = "clock_set",
};

const char *ha_counter_name(enum ha_counter counter)
{
	return NAMES[counter];
}
