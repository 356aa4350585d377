/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_REPLAY_H
#define DATAPLANE_ESP_REPLAY_H
/*
 * Anti-replay window on a counter slot: infer the full sequence number and test it before
 * decryption, commit it after the tag was good.
 *
 * Owner: one struct sa_in. Threads: any worker. With sa->shared a commit takes the SA's spin lock,
 * once for the packets that a burst has of an SA: a lock for each would send its line from worker
 * to worker for each. The test before decryption takes none, since the commit tests again. Crash:
 * a commit clears words outside the old window, writes the right edge, clears the rest, sets the
 * bit. A kill between these steps may refuse packets that are new; it never takes one twice.
 * Sources: RFC 4303 section 3.4.3 and appendix A2, RFC 6479.
 */
#include "dataplane/esp/sa.h"

#include <stdbool.h>
#include <stdint.h>

/* Full 64-bit number for the 32 bits in the packet; without ESN the high half is 0. */
uint64_t replay_infer(const struct sa_in *sa, uint32_t seq_low);
/* Asks for the lines of the window that a packet with these 32 bits needs. */
void replay_prefetch(const struct sa_in *sa, uint32_t seq_low);
/* False: 0, seen, or left of the window. */
bool replay_test(const struct sa_in *sa, uint64_t seq);
/* As replay_test, then marks it. Exact among workers. */
bool replay_commit(struct sa_in *sa, uint64_t seq) __attribute__((warn_unused_result));
/* For each i with fresh[i]: fresh[i] = replay_commit(sa, seqs[i]). */
void replay_commit_run(struct sa_in *sa, const uint64_t seqs[], bool fresh[], unsigned n);
#endif
