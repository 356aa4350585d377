/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_POSITION_H
#define CONTROL_GW_POSITION_H
/*
 * Where a node is, as the control thread knows it and as it survives a restart: what the last
 * accepted update of its home agent said. The packet path has its own form of it (struct path).
 * Values only.
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stdint.h>

#define POSITION_NEVER_ENDS UINT64_MAX

struct position {
	uint64_t generation;       /* the home agent's; 0: no update was ever accepted */
	struct ip_addr coa;        /* selector; unset: none */
	struct ip_addr former_coa; /* selector until grace_until_ns; unset: none */
	struct ip_endpoint remote; /* tunnel's far end; port 0: plain ESP */
	/* The one before, which gets copies until grace_until_ns; unset: none. Not kept over a
	 * restart. */
	struct ip_endpoint former_remote;
	bool closed;             /* deregistered, expired or never registered */
	bool verified;           /* it was shown, or configured, to be at remote: reach.h */
	uint64_t grace_until_ns; /* CLOCK_MONOTONIC; not kept over a restart */
	uint64_t ends_real_ns;   /* end of the registration's lifetime, real time */
};
#endif
