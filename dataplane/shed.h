/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_SHED_H
#define DATAPLANE_SHED_H
/*
 * Budgets of wrong tags: who sends too many of them is dropped before the cryptography, and the
 * node whose SPI they carry is not.
 *
 * A packet that comes from elsewhere than where its node's path leads, which a node that moves does
 * for a moment, too, is a stranger to its SA. It passes
 *   - while both its source and its SA have wrong tags to spare; else
 *   - if its number is near the SA's newest, while the SA has wrong tags of that kind to spare.
 * Who floods from a few sources spends these sources' budgets and not the SA's, so a node is let in
 * from any other source. Who invents a source for each packet spends the SA's; but without having
 * seen the node's traffic he does not know its numbers, and the node passes by the second rule, as
 * it does from behind the address that somebody floods from.
 *
 * From where the node is, what is near the newest number passes in any case, and what is not while
 * the SA has wrong tags of that kind to spare. So who forges the node's address without knowing its
 * numbers costs no cryptography either, and does not keep the node out: not even one that lost more
 * than is near, since it takes its share of a budget that fills up again all the time, and one of
 * its packets is enough.
 *
 * What is left: who reads the node's numbers makes the gateway check each tag if he forges the
 * node's address, and can keep the node from moving if he sends from hundreds of sources, but never
 * from working where it is.
 *
 * Owner:   struct worker, which has budgets of its own. Threads: worker; nothing is locked.
 * Bounds:  two tables of fixed size, by a hash whose key nobody outside knows; who shares a place
 *          shares a budget. Budgets fill up again with time.
 * Sources: RFC 4303 section 3.4.4.1 (audit of wrong tags), RFC 4301 section 5.2.
 */
#include "dataplane/worker.h"

#define SHED_SOURCES 1024    /* an IPv4 address or an IPv6 network of 64 bits */
#define SHED_SAS 1024        /* by SPI */
#define SHED_SOURCE_RATE 256 /* wrong tags a second ... */
#define SHED_SOURCE_BURST 64 /* ... and at once */
#define SHED_SA_RATE 8192    /* 1 in 2000 of a processor's time */
#define SHED_SA_BURST 1024
#define SHED_NEAR_RATE 1024
#define SHED_NEAR_BURST 256
/* How far ahead of the newest a number may be: what a node sends in a handover and loses. One in
 * 2^18 of invented numbers is nearer. */
#define SHED_NEAR 16384
/* The same where the node is: what it may lose there one after the other, and as far as its numbers
 * leap when it comes back from a loss of power: a flood must not keep it out then. One in 2^10. */
#define SHED_NEAR_HERE (COUNTERS_HEADROOM + 65536)

struct shed;

struct shed *shed_new(void); /* NULL: out of memory */
void shed_free(struct shed *shed);

/* Packets of b that are still good and so have an SA: VERDICT_SHED for those over a budget. Views
 * are those of the ESP packets. Does nothing from worker->shed_until_ns on. */
void shed_burst(struct worker *worker, struct burst *b);
/* Place i of b has a wrong tag; the frame still begins with the outer header. */
void shed_charge(struct worker *worker, const struct burst *b, unsigned i);
#endif
