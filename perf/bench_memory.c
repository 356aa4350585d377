/* SPDX-License-Identifier: BSD-3-Clause */
/* memory/latency: what a dependent random load from memory costs on this machine, in this run. */
#include "perf/bench.h"

int main(void)
{
	return bench_memory_latency() > 0 ? 0 : 1;
}
