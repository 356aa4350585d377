/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef SIU_GATE_H
#define SIU_GATE_H
/*
 * Would the peer send this datagram now? What can be told without its tag, and so before anything
 * is done for it: by who rations a flood in the peer's name.
 *
 * True is no proof. False comes of a flood by who does not hear this end, but also of the first
 * HELLO of a peer's new run, so some of these must pass; its answer to our HELLO then has an echo.
 *
 * Owner:    the association. Threads: control sets it, any thread asks. No lock: each field is
 * right by itself, and two of different moments make a refusal that is repeated at most. Sources:
 * siu/README.md sections 2 (order of work) and 3.
 */
#include "siu/liveness.h"

#include <stdatomic.h>

#define SIU_GATE_NEAR 65536 /* so many datagrams of the peer may be lost one after the other */

struct siu_gate {               /* atomic, one writer, relaxed */
	_Atomic(uint64_t) runs; /* the peer's epoch and ours; 0: the association is not up */
	_Atomic(uint64_t) top;  /* highest sequence of the peer's run */
	_Atomic(uint64_t) nonces[SIU_NONCES]; /* our own; 0: none */
};

void siu_gate_set(struct siu_gate *gate, const struct siu_liveness *live, uint32_t own_epoch);
bool siu_gate_admits(const struct siu_gate *gate, const uint8_t *datagram, size_t len);
#endif
