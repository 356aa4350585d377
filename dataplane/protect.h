/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_PROTECT_H
#define DATAPLANE_PROTECT_H
/*
 * The middle of every way to a node: its outbound SA, the size, ESP, and where the result goes.
 *
 * Threads: worker.
 */
#include "dataplane/worker.h"

/* b->nodes[i] and b->paths[i] are set where the verdict is OK; sets b->next_hops[i]. */
void protect_burst(struct worker *worker, struct burst *b);
#endif
