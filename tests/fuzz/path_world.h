/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_FUZZ_PATH_WORLD_H
#define TESTS_FUZZ_PATH_WORLD_H
/*
 * A gateway's packet machine with a few nodes, and a judge: what was put into it is remembered, and
 * whatever comes out of a port or goes to the control thread must be owed to something that was put
 * in and that the judge, by rules of its own, finds fit for that way. Wrong: abort.
 *
 * Frames lie in malloc()ed memory of exactly the size asked for, so that the address sanitizer sees
 * each byte that is touched before or behind. One world a process; single thread.
 */
#include "dataplane/state.h"
#include "tests/fuzz/packets.h"
#include "tests/unit/dataplane/rig.h"

#define WORLD_NODES 12    /* handles 1.. */
#define WORLD_RECORDS 200 /* packets an input may put in */
#define WORLD_MTU RIG_MTU

void world_start(void); /* once a process */
/* For each input: fresh nodes at their first places. turn: which algorithms they speak; odd: with
 * rules of a policy; its highest bit: both ports have a VLAN tag. */
void world_reset(unsigned turn);
/* After each: all was counted and nothing is left over. */
void world_end(void);

struct world_shape { /* of the buffers that a frame comes in */
	uint16_t headroom, tailroom;
	uint8_t segments;
	bool direct; /* in the pool's own buffer, as a device would give it; if it fits */
};

/* What a node's peer sealed, if it is authentic as it was put in. */
struct world_sealed {
	unsigned node; /* handle; 0: nobody's */
	uint64_t seq;
	struct ip_endpoint from; /* outer source; port 0: not in UDP */
	const uint8_t *text;     /* copied */
	size_t len;
};

/* Into the port's receive ring. False: the input has put in all that it may. sealed: NULL for what
 * no peer sealed. number: stamp of the packet whose fate this is (packets.h). */
bool world_push(enum dp_port port, const uint8_t *frame, size_t len,
	const struct world_shape *shape, const struct world_sealed *sealed, uint16_t number);
/* The very frame of that number, some more times. */
void world_push_again(enum dp_port port, const uint8_t *frame, size_t len,
	const struct world_shape *shape, unsigned times, uint16_t number);
/* The number for the next packet. */
uint16_t world_number(void);

/* What the control thread injects: sound datagrams. */
enum world_way { WORLD_FRAME_OUT, WORLD_FRAME_IN, WORLD_INSIDE, WORLD_TO_NODE, WORLD_ONCE };
void world_inject(enum world_way way, unsigned node, const struct ip_endpoint *remote,
	const uint8_t *bytes, size_t len, uint16_t number);

/* Everything that waits is worked on and judged. What becomes of unresolved packets: */
enum world_kept { WORLD_DROPPED, WORLD_RESOLVED, WORLD_STILL_UNKNOWN };
void world_turn(enum world_kept how);
/* Time passes; it does not by itself. */
void world_wait(unsigned ms);
/* The node goes to coa (unset: closed), its care-of address becomes the former one for so long.
 * nat: port 0, or where it is behind a NAT, coa then being a label; for nodes that may. bicast: for
 * so long there go copies to where it was. */
void world_move(unsigned node, const struct ip_addr *coa, const struct ip_endpoint *nat,
	unsigned grace_ms, bool bicast);
/* A registration came from there: its ESP goes there, but not more than so many bytes. */
void world_try(unsigned node, const struct ip_endpoint *remote, uint32_t credit);
/* The outbound SA has but so many sequence numbers, or IVs, left. */
void world_age(unsigned node, bool numbers, uint64_t left);
/* For packet_make(). */
void world_self(unsigned node, struct packet_self *out);

const struct sa_params *world_sa_in(unsigned node);
uint64_t world_seq_in(unsigned node);
void world_set_seq_in(unsigned node, uint64_t seq);
const uint8_t *world_mac(enum dp_port port);
uint16_t world_vlan(void);                    /* that frames must have; 0: none */
struct ip_addr world_outside(uint8_t family); /* our address there */
#endif
