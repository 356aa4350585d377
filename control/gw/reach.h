/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_REACH_H
#define CONTROL_GW_REACH_H
/*
 * Return routability: is a node where its registration says? Its profile may want that to be shown
 * (NODE_RETURN_ROUTABILITY). A path to an address that nobody has verified then stands under a
 * credit, and a challenge goes there (lib/challenge.h); the right answer lifts the credit. Nothing
 * waits for it: the reply to the registration and the node's traffic go out at once.
 *
 *     move or try ---> asked ---> verified: the answer came
 *                        |           ^
 *                        v           |
 *                    unanswered -----+   told once to the home agent; asked on, every 5 s
 *
 * A nonce belongs to one endpoint, one generation and one path of the node; a move, a try, the end
 * of a try and another port make it void. What the node may have sent to unverified addresses in
 * all is bounded by its budget (budget.h). An address stays verified while the node stays there,
 * over refreshed registrations and restarts; one that it comes back to is asked for again. Of a
 * tried address (PATH_PROVISIONAL) that answered, the update that confirms it has nothing to ask.
 *
 * Owner:    siu_handler.c. Threads: control.
 * Bounds:   one struct tunnel_reach a node, made when it first moves; REACH_TRIES challenges a path
 *           and then one in REACH_AGAIN_NS; answers are rationed by the worker with registrations.
 * Sources:  RFC 4555 sections 3.7 and 5.3, RFC 9000 section 8.
 */
#include "control/gw/move.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REACH_TRIES 5                            /* after 0, 100, 300, 700 and 1500 ms ... */
#define REACH_FIRST_NS (100 * UINT64_C(1000000)) /* ... so unanswered after 3.1 s */
#define REACH_AGAIN_NS (5 * UINT64_C(1000000000))

/* Is nothing more to be shown before the node may be at remote? Whether its profile asks for it or
 * not: tunnel_is_open() says that. */
bool reach_was_shown(const struct tunnel *tunnel, const struct ip_endpoint *remote);
/* A node that is to be asked now: tunnel_to_ask(). True: it has just turned out to be silent. */
bool reach_ask(struct mover *mover, struct tunnel *tunnel, uint64_t now_ns);
/* A datagram that a worker took for an answer of the node. */
void reach_answer(struct mover *mover, struct tunnel *tunnel, const uint8_t *datagram, size_t len);
/* For the operator: "off", "verified", "unverified" or "unanswered"; NULL: it is nowhere. */
const char *reach_state_name(const struct tunnel *tunnel);
#endif
