/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_AUDIT_H
#define DATAPLANE_AUDIT_H
/*
 * Auditable events: of a packet that was dropped for one of these reasons, control hears what RFC
 * 4303 asks for. At most AUDIT_A_SECOND records of each reason go out, and what a full ring does
 * not take is left out: the verdict's counter has all of them, so control knows how many it missed.
 *
 * Owner:   struct worker. Threads: audit_note() is the worker's, audit_take() control's.
 * Sources: RFC 4303 sections 3.3.3, 3.4.2, 3.4.3, 3.4.4; RFC 4301 sections 4.4.1 and 5.2.
 */
#include "dataplane/pkt.h"

#include <rte_ring.h>

#define AUDIT_A_SECOND 16

struct audit {
	struct rte_ring *ring; /* owned; to control: struct dp_audit */
	/* worker-private */
	uint64_t second_ends_ns;
	uint8_t left[VERDICT_COUNT]; /* of this second */
};

int audit_new(struct audit *audit) __attribute__((warn_unused_result)); /* 0, -ENOMEM */
void audit_free(struct audit *audit);
/* Place i of b, whose verdict is audited and whose mbuf is still there, came in by that port. */
void audit_note(struct audit *audit, const struct burst *b, unsigned i, enum dp_port came_in);
unsigned audit_take(struct audit *audit, struct dp_audit *out, unsigned max);
#endif
