/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a sample is one number (cycles a packet, say); a figure is the median of many,
 * with the smallest and largest beside it, since one number says nothing on a shared machine.
 *
 * memory/latency walks a random cycle through 256 MB, one cache line a step, so that each load
 * waits for the one before and neither caches nor prefetchers help. Transparent huge pages are
 * asked for, as the packet path has huge pages too: what is measured is the memory, not the page
 * walk.
 */
#include "perf/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define LATENCY_BYTES ((size_t)256 << 20)
#define LATENCY_LINE 64
#define LATENCY_STEPS 200000
#define LATENCY_RUNS 9

bool bench_isa_avx2(void)
{
	const char *isa = getenv("BENCH_ISA");

	if (isa == NULL)
		return false;
	if (strcmp(isa, "avx2") == 0)
		return true;
	fprintf(stderr, "benchmark: BENCH_ISA=%s: only avx2 is known\n", isa);
	exit(2);
}

void bench_samples_init(struct bench_samples *samples)
{
	samples->value = calloc(BENCH_SAMPLES_MAX, sizeof *samples->value);
	samples->n = 0;
	if (samples->value == NULL)
		abort();
}

void bench_samples_free(struct bench_samples *samples)
{
	free(samples->value);
	samples->value = NULL;
}

void bench_add(struct bench_samples *samples, double value)
{
	if (samples->n < BENCH_SAMPLES_MAX)
		samples->value[samples->n++] = value;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_percentile(struct bench_samples *samples, double percent)
{
	if (samples->n == 0)
		return 0;
	qsort(samples->value, samples->n, sizeof *samples->value, by_value);
	return samples->value[(size_t)((double)(samples->n - 1) * percent / 100.0 + 0.5)];
}

static void print_line(const char *name, const char *unit, double median, double min, double max,
	size_t n, FILE *file)
{
	fprintf(file,
		"{\"name\": \"%s\", \"unit\": \"%s\", \"median\": %.4g, \"min\": %.4g, "
		"\"max\": %.4g, \"n\": %zu}\n",
		name, unit, median, min, max, n);
	fflush(file);
}

static void report(
	const char *name, const char *unit, double median, double min, double max, size_t n)
{
	const char *path = getenv("BENCH_OUT");
	FILE *file = path == NULL ? NULL : fopen(path, "a");

	print_line(name, unit, median, min, max, n, stdout);
	if (file != NULL) {
		print_line(name, unit, median, min, max, n, file);
		fclose(file);
	}
}

void bench_report(const char *name, const char *unit, struct bench_samples *samples)
{
	double median = bench_percentile(samples, 50);

	report(name, unit, median, bench_percentile(samples, 0), bench_percentile(samples, 100),
		samples->n);
}

void bench_report_one(const char *name, const char *unit, double value, size_t n)
{
	report(name, unit, value, value, value, n);
}

double bench_cycles_per_us(void)
{
	static double per_us;
	struct timespec start, now;
	uint64_t from;
	double us;

	if (per_us > 0)
		return per_us;
	clock_gettime(CLOCK_MONOTONIC, &start);
	from = bench_cycles();
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		us = (double)(now.tv_sec - start.tv_sec) * 1e6 +
		     (double)(now.tv_nsec - start.tv_nsec) / 1e3;
	} while (us < 20000);
	per_us = (double)(bench_cycles() - from) / us;
	return per_us;
}

/* A single cycle through all lines (Sattolo's shuffle): no short loop that a cache could hold. */
static void fill_cycle(uint32_t *next, uint32_t lines)
{
	uint64_t state = 88172645463325252u;
	uint32_t stride = LATENCY_LINE / sizeof *next;

	for (uint32_t i = 0; i < lines; i++)
		next[(size_t)i * stride] = i;
	for (uint32_t i = lines - 1; i > 0; i--) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		uint32_t j = (uint32_t)(state % i);
		uint32_t keep = next[(size_t)i * stride];
		next[(size_t)i * stride] = next[(size_t)j * stride];
		next[(size_t)j * stride] = keep;
	}
}

double bench_memory_latency(void)
{
	uint32_t lines = (uint32_t)(LATENCY_BYTES / LATENCY_LINE);
	uint32_t stride = LATENCY_LINE / sizeof(uint32_t);
	uint32_t *next = mmap(
		NULL, LATENCY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct bench_samples samples;
	volatile uint32_t sink;
	uint32_t at = 0;
	double median;

	if (next == MAP_FAILED)
		return 0;
	madvise(next, LATENCY_BYTES, MADV_HUGEPAGE);
	fill_cycle(next, lines);
	bench_samples_init(&samples);
	for (int run = 0; run < LATENCY_RUNS; run++) {
		uint64_t from = bench_cycles();
		for (int step = 0; step < LATENCY_STEPS; step++)
			at = next[(size_t)at * stride];
		bench_add(&samples, (double)(bench_cycles() - from) / LATENCY_STEPS);
	}
	sink = at;
	(void)sink;
	bench_report("memory/latency", "cycles", &samples);
	median = bench_percentile(&samples, 50);
	bench_samples_free(&samples);
	munmap(next, LATENCY_BYTES);
	return median;
}
