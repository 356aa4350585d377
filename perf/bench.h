/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef PERF_BENCH_H
#define PERF_BENCH_H
/*
 * What all benchmarks share: cycle counts, samples with median and spread, one JSON line a figure.
 *
 * Single thread. Figures go to stdout, and to the file in $BENCH_OUT if it is set (appended).
 * Names and units are fixed by README.md here: scripts and baselines rely on them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <x86intrin.h>

#define BENCH_SAMPLES_MAX (1 << 21)

struct bench_samples {
	double *value; /* owned; BENCH_SAMPLES_MAX places */
	size_t n;      /* how many were taken; what does not fit is left out */
};

void bench_samples_init(struct bench_samples *samples);
void bench_samples_free(struct bench_samples *samples);
void bench_add(struct bench_samples *samples, double value);
double bench_percentile(struct bench_samples *samples, double percent); /* sorts */

/* {"name", "unit", "median", "min", "max", "n"} */
void bench_report(const char *name, const char *unit, struct bench_samples *samples);
/* A figure that is already one number, e.g. a percentile of n observations. */
void bench_report_one(const char *name, const char *unit, double value, size_t n);

static inline uint64_t bench_cycles(void)
{
	unsigned int cpu;

	return __rdtscp(&cpu);
}

/* BENCH_ISA=avx2: intel-ipsec-mb, as yardstick and as engine, keeps to its AVX2 code, as on a CPU
 * without AVX-512. Any other value ends the program. */
bool bench_isa_avx2(void);

double bench_cycles_per_us(void); /* of the TSC, measured once */

/* Median cost of a dependent random load from memory, cycles ("memory/latency"). */
double bench_memory_latency(void);
#endif
