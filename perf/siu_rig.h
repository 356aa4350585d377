/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PERF_SIU_RIG_H
#define PERF_SIU_RIG_H
/*
 * The gateway's control side (SIU handler, tunnel table, state on disk) on a rig, a home agent's
 * end of the association opposite to it, and a saturated worker (feeder.h).
 *
 * What the home agent says reaches the gateway by a call, or by a UDP socket of the kernel if wire
 * is set; what the gateway says leaves as frames on the inside port and comes back by a ring.
 * Errors end the program. Threads: main alone, on the CPU of the gateway's control thread.
 */
#include "control/gw/siu_handler.h"
#include "perf/feeder.h"

struct siu_rig {
	struct rig rig;
	struct feeder *feeder;
	struct gw_conf *conf;
	struct loop *loop;
	struct state *state;
	struct handovers *handovers;
	struct tunnels *tunnels;
	struct siu_handler *handler;
	/* the home agent's end */
	struct siu *ha;
	int fd;    /* its socket */
	bool wire; /* send by it */
	bool up;
	bool fed;      /* the gateway was given datagrams since its last turn */
	uint64_t left; /* TSC when the last datagram left it */
	uint64_t acked, refused;
	/* by node */
	_Atomic(uint32_t) *acknowledged; /* generation; the feeder reads */
	bool *busy;
	uint64_t *acked_in; /* slice */
};

/* With everything up and the worker at work on lcore. */
void siu_rig_open(struct siu_rig *rig, uint32_t nodes, const char *folder, unsigned lcore);
void siu_rig_close(struct siu_rig *rig, unsigned lcore);
/* One turn of the control thread, with both ends. */
void siu_rig_turn(struct siu_rig *rig);
/* May node be moved now? Not while an update is under way, nor twice while a packet waits. */
bool siu_rig_may_move(const struct siu_rig *rig, uint32_t node);
/* Queues an update that moves node; it leaves with the home agent's next tick. */
void siu_rig_move(struct siu_rig *rig, uint32_t node, bool with_rrp);
uint32_t siu_rig_pending(const struct siu_rig *rig); /* updates that are not acknowledged */
void siu_rig_wait_for_all(struct siu_rig *rig);
#endif
