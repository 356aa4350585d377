/* SPDX-License-Identifier: BSD-3-Clause */
/* The wait before the first repetition: siu/README.md section 6, RFC 6298. */
#include "siu/rtt.h"
#include "tests/unit/lib/unit.h"

#define MS(n) ((n)*NS_PER_MS)

static void test_table(void)
{
	/* Answers one after the other: > 0 a sample, < 0 ambiguous; ms. */
	static const struct {
		const char *name;
		int answers[4];
		uint64_t first_ns;
	} rows[] = {
		{"none", {0}, MS(10)},
		{"one sample: R + 4 R/2", {20}, MS(60)},
		{"a short way", {1}, MS(10)},
		{"the second: 0.75 and 0.25, 7/8 and 1/8", {80, 80}, MS(200)},
		{"the way became longer", {80, 160}, MS(90 + 4 * 50)},
		{"at most a second", {2000}, MS(1000)},
		{"ambiguous: twice as long as it took", {-30}, MS(60)},
		{"ambiguous after samples: twice the wait", {1, 1, -30}, MS(20)},
		{"and again", {1, -30, -30}, MS(40)},
		{"and no longer than it took", {1, -30, -12}, MS(24)},
		{"ambiguous, shorter than the estimate", {200, -30}, MS(600)},
		{"ambiguous: at most a second", {-800}, MS(1000)},
		{"a sample ends it", {1, -30, 1}, MS(10)},
		{"the newest counts", {-100, -20}, MS(40)},
		{"at most a second after samples", {400, -900, -900, -900}, MS(1000)},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct siu_rtt rtt = {0};

		for (size_t k = 0; k < 4 && rows[i].answers[k] != 0; k++)
			if (rows[i].answers[k] > 0)
				siu_rtt_sample(&rtt, MS((uint64_t)rows[i].answers[k]));
			else
				siu_rtt_ambiguous(&rtt, MS((uint64_t)-rows[i].answers[k]));
		CHECK_ROW(rows[i].name, siu_rtt_first_ns(&rtt) == rows[i].first_ns);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"table", test_table},
		{NULL, NULL},
	};

	return unit_run("siu/rtt", cases);
}
