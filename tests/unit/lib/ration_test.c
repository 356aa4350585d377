/* SPDX-License-Identifier: BSD-3-Clause */
#include "lib/ration.h"

#include "tests/unit/lib/unit.h"

#define INTERVAL 10
#define BURST 3

static void test_rows(void)
{
	static const struct {
		const char *name;
		uint64_t now, spent, after;
		bool taken;
	} rows[] = {
		{"full", 1000, 0, 1010, true},
		{"one is spent", 1000, 1010, 1020, true},
		{"the last", 1000, 1020, 1030, true},
		{"none is left", 1000, 1021, 1021, false},
		{"all are spent", 1000, 1030, 1030, false},
		{"one came back", 1010, 1030, 1040, true},
		{"not quite", 1009, 1030, 1030, false},
		{"spent long ago", 5000, 1030, 5010, true},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint64_t spent = rows[i].spent;

		CHECK_ROW(rows[i].name,
			ration_has(spent, INTERVAL, BURST, rows[i].now) == rows[i].taken);
		CHECK_ROW(rows[i].name,
			ration_take(&spent, INTERVAL, BURST, rows[i].now) == rows[i].taken);
		CHECK_ROW(rows[i].name, spent == rows[i].after);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"tokens", test_rows},
		{NULL, NULL},
	};

	return unit_run("lib/ration", cases);
}
