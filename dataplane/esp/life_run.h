/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_LIFE_RUN_H
#define DATAPLANE_ESP_LIFE_RUN_H
/*
 * What encap and decap ask once a run of packets of one SA passes a mark; see life.h.
 *
 * Threads: any worker; nothing here waits.
 */
#include "dataplane/esp/esp.h"

#include <stdint.h>

/* Outbound. How many of pkts[index[0..n)] may go before the bytes are used up. */
unsigned life_out_bytes(
	struct sa_out *sa, const struct esp_pkt pkts[], const uint8_t index[], unsigned n);
/* How many of the numbers first, first + 1, ... first + n - 1 may be used. */
unsigned life_out_numbers(struct sa_out *sa, uint64_t first, unsigned n);
/* Why a packet was refused by one of the two. */
enum verdict life_out_verdict(const struct sa_out *sa);

/* Inbound. pkts[at[0..n)] with VERDICT_OK are good; those beyond the limit become VERDICT_EXPIRED.
 * packets, bytes: of those that stay. */
void life_in_run(struct sa_in *sa, const struct esp_pkt pkts[], const uint8_t at[],
	enum verdict verdicts[], unsigned n, uint64_t *packets, uint64_t *bytes);
#endif
