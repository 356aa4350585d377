/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the view is made longer, and what it gains is zeros. RFC 4303 asks nothing of
 * their value, and once encrypted they tell nobody anything; nothing that was in the buffer before
 * leaves with them.
 */
#include "dataplane/tfc.h"

#include "dataplane/protect.h"

/* Bytes of the largest packet that fits the path, and both its ends if there are two. */
static uint32_t room_of(const struct sa_out *sa, const struct path *path)
{
	uint32_t outer_len = path->outer.len;

	if ((path->flags & PATH_BICAST) != 0 && path->second->len > outer_len)
		outer_len = path->second->len;
	return esp_inner_max((enum crypto_alg)sa->alg, outer_len, path->mtu);
}

static void pad_one(struct esp_pkt *pkt, uint32_t multiple, uint32_t room)
{
	const uint32_t rest = pkt->len % multiple, wanted = rest == 0 ? 0 : multiple - rest;
	uint32_t more = room > pkt->len ? RTE_MIN(wanted, room - pkt->len) : 0;

	if (pkt->tailroom < more + ESP_TAILROOM_MAX) /* a buffer of control's, or a short one */
		more = pkt->tailroom > ESP_TAILROOM_MAX ? pkt->tailroom - ESP_TAILROOM_MAX : 0;
	memset(pkt->data + pkt->len, 0, more);
	pkt->len += more;
	pkt->tailroom = (uint16_t)(pkt->tailroom - more);
}

void tfc_pad_burst(const struct worker *worker, struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		const struct node *node = b->nodes[i];

		if (b->verdicts[i] == VERDICT_OK && node->tfc.pad != 0 &&
			!protect_is_free(worker, b, i))
			pad_one(&b->pkts[i], node->tfc.pad, room_of(b->sas.out[i], b->paths[i]));
	}
}
