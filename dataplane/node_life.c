/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: SAs are found in their node by SPI; what is done to them is esp/life.c's. */
#include "dataplane/state.h"

#include <errno.h>

int dataplane_sa_set_life(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi,
	const struct sa_lifetimes *life)
{
	struct sa_in *in = inbound ? node_sa_in(node, spi) : NULL;
	struct sa_out *out = inbound ? NULL : node_sa_out(node, spi);

	if (in != NULL)
		return sa_in_set_life(&dp->sa_memory, in, life);
	return out != NULL ? sa_out_set_life(&dp->sa_memory, out, life) : -ENOENT;
}

void dataplane_sa_end(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi)
{
	struct sa_in *in = inbound ? node_sa_in(node, spi) : NULL;
	struct sa_out *out = inbound ? NULL : node_sa_out(node, spi);

	(void)dp;
	if (in != NULL)
		sa_in_end(in);
	if (out != NULL)
		sa_out_end(out);
}

uint8_t dataplane_sa_take_marks(struct dataplane *dp, struct node *node, bool inbound, uint32_t spi)
{
	struct sa_in *in = inbound ? node_sa_in(node, spi) : NULL;
	struct sa_out *out = inbound ? NULL : node_sa_out(node, spi);

	(void)dp;
	return in != NULL ? sa_in_take_marks(in) : out != NULL ? sa_out_take_marks(out) : 0;
}

uint32_t dataplane_sa_noticed(struct dataplane *dp)
{
	uint32_t handle;

	return notices_take(&dp->sa_notices, &handle) ? handle : 0;
}
