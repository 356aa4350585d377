/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_UNIT_LIB_UNIT_H
#define TESTS_UNIT_LIB_UNIT_H
/*
 * What the unit tests of lib share: running one suite of named cases, checks that name the row of a
 * table, hex text, and a folder of the test's own that is removed at the end.
 */
#include <CUnit/Basic.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct unit_case { /* ends with name NULL */
	const char *name;
	void (*fn)(void);
};

/* Exit code of the test program. */
static inline int unit_run(const char *suite_name, const struct unit_case *cases)
{
	unsigned failed = 1;
	CU_pSuite suite;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return EXIT_FAILURE;
	suite = CU_add_suite(suite_name, NULL, NULL);
	for (; suite != NULL && cases->name != NULL; cases++)
		if (CU_add_test(suite, cases->name, cases->fn) == NULL)
			suite = NULL;
	if (suite != NULL && CU_basic_run_tests() == CUE_SUCCESS)
		failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A check inside a table: the message names the row. */
#define CHECK_ROW(row, condition)                                                          \
	do {                                                                               \
		char text_[1024];                                                          \
		snprintf(text_, sizeof text_, "[%s] %s", row, #condition);                 \
		CU_assertImplementation((condition) ? CU_TRUE : CU_FALSE, __LINE__, text_, \
			__FILE__, "", CU_FALSE);                                           \
	} while (0)

/* Hex digits (blanks are skipped) into out; returns the number of bytes. */
static inline size_t unit_hex(const char *text, uint8_t *out, size_t room)
{
	size_t n = 0;
	unsigned byte;
	int used;

	while (n < room && sscanf(text, " %2x%n", &byte, &used) == 1) {
		out[n++] = (uint8_t)byte;
		text += used;
	}
	return n;
}

/* A folder of our own under $TMPDIR, mode 0700. */
static inline const char *unit_folder(void)
{
	static char path[128];
	const char *tmp = getenv("TMPDIR");

	if (path[0] == '\0') {
		snprintf(path, sizeof path, "%s/roamgate-unit-XXXXXX", tmp != NULL ? tmp : "/tmp");
		if (mkdtemp(path) == NULL)
			abort();
	}
	return path;
}

static inline void unit_remove_folder(void)
{
	char command[192];

	snprintf(command, sizeof command, "rm -rf -- '%s'", unit_folder());
	if (system(command) != 0)
		fprintf(stderr, "%s is left behind\n", unit_folder());
}
#endif
