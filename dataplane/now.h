/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_NOW_H
#define DATAPLANE_NOW_H
/*
 * Time for the files of this folder: lib's clocks beside DPDK's, which both define NS_PER_S.
 * Include this one instead of either. CLOCK_MONOTONIC comes from the vDSO, so a worker makes no
 * system call where the clock source is the TSC.
 */
#include <rte_cycles.h>
#undef NS_PER_S
#include "lib/clock.h"
#endif
