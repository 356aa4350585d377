/* SPDX-License-Identifier: BSD-3-Clause */
/* Source policies: text both ways, longest match, what clashes. */
#include "tests/unit/lib/unit.h"

#include "dataplane/esp/source.h"

#include <string.h>

static const struct {
	const char *text;
	const char *said; /* NULL: good */
} texts[] = {
	{"any", NULL},
	{"192.0.2.7", NULL},
	{"192.0.2.0/24", NULL},
	{"192.0.2.0/24,198.51.100.7,10.0.0.0/8,0.0.0.0/1", NULL},
	{"2001:db8::/32,2001:db9::1,192.0.2.7", NULL},
	{"192.0.2.0/24,192.0.2.0/25", NULL},
	{"", "neither"},
	{"Any", "neither"},
	{"any,192.0.2.7", "neither"},
	{"192.0.2.7,", "neither"},
	{",192.0.2.7", "neither"},
	{"192.0.2.7, 192.0.2.8", "neither"},
	{"192.0.2.1/24", "neither"},
	{"192.0.2.0/33", "neither"},
	{"0.0.0.0/0", "is everything"},
	{"::/0", "is everything"},
	{"192.0.2.7,192.0.2.7", "twice"},
	{"1.0.0.1,1.0.0.2,1.0.0.3,1.0.0.4,1.0.0.5", "one too many"},
	{"1111111111111111111111111111111111111111111111111111111111111111111", "neither"},
};

static void test_text(void)
{
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct sa_source source = {.n = SA_SOURCE_MAX};
		const char *why = sa_source_parse(texts[i].text, &source);
		char text[SA_SOURCE_TEXT_MAX];

		if (texts[i].said != NULL)
			CHECK_ROW(texts[i].text, why != NULL && source.n == SA_SOURCE_MAX &&
							 strstr(why, texts[i].said) != NULL);
		else
			CHECK_ROW(texts[i].text,
				why == NULL && strcmp(sa_source_format(&source, text),
						       texts[i].text) == 0);
	}
}

static void test_match(void)
{
	static const struct {
		const char *source, *addr;
		int bits;
	} rows[] = {
		{"any", "192.0.2.7", 0},
		{"192.0.2.7", "192.0.2.7", 32},
		{"192.0.2.7", "192.0.2.6", -1},
		{"192.0.2.0/24", "192.0.2.0", 24},
		{"192.0.2.0/24", "192.0.2.255", 24},
		{"192.0.2.0/24", "192.0.3.0", -1},
		{"192.0.2.0/24,192.0.2.128/25", "192.0.2.127", 24},
		{"192.0.2.0/24,192.0.2.128/25", "192.0.2.128", 25},
		{"192.0.2.128/25,192.0.2.0/24", "192.0.2.128", 25},
		{"0.0.0.0/1", "2001:db8::1", -1},
		{"2001:db8::/32,0.0.0.0/1", "2001:db8::1", 32},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sa_source source;
		struct ip_addr addr;

		CU_ASSERT(sa_source_parse(rows[i].source, &source) == NULL);
		CU_ASSERT(ip_addr_parse(rows[i].addr, &addr));
		CHECK_ROW(rows[i].source, sa_source_match(&source, &addr) == rows[i].bits);
	}
}

static void test_clash(void)
{
	static const struct {
		const char *a, *b;
		bool clash, equal;
	} rows[] = {
		{"any", "any", true, true},
		{"any", "192.0.2.7", false, false},
		{"192.0.2.7", "192.0.2.7", true, true},
		{"192.0.2.7", "192.0.2.8", false, false},
		{"192.0.2.0/24", "192.0.2.0/25", false, false},
		{"192.0.2.7,192.0.2.8", "192.0.2.8,192.0.2.7", true, true},
		{"192.0.2.7,192.0.2.8", "192.0.2.8,192.0.2.9", true, false},
		{"192.0.2.7,192.0.2.8", "192.0.2.8", true, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct sa_source a, b;

		CU_ASSERT(sa_source_parse(rows[i].a, &a) == NULL);
		CU_ASSERT(sa_source_parse(rows[i].b, &b) == NULL);
		CHECK_ROW(rows[i].a, sa_source_clash(&a, &b) == rows[i].clash);
		CHECK_ROW(rows[i].a, sa_source_clash(&b, &a) == rows[i].clash);
		CHECK_ROW(rows[i].a, sa_source_equal(&a, &b) == rows[i].equal);
		CHECK_ROW(rows[i].a, sa_source_equal(&b, &a) == rows[i].equal);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"text", test_text},
		{"longest match", test_match},
		{"clash", test_clash},
		{NULL, NULL},
	};

	return unit_run("esp: source", cases);
}
