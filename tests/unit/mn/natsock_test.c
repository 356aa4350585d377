/* SPDX-License-Identifier: BSD-3-Clause */
/* From which care-of addresses ESP goes in UDP; receiving is tested on real interfaces. */
#include "control/mn/natsock.h"

#include "tests/unit/lib/unit.h"

static void test_wanted(void)
{
	static const struct {
		const char *coa;
		bool is_private;
	} rows[] = {
		{"9.255.255.255", false},
		{"10.0.0.0", true},
		{"10.255.255.255", true},
		{"11.0.0.0", false},
		{"100.63.255.255", false},
		{"100.64.0.0", true},
		{"100.127.255.255", true},
		{"100.128.0.0", false},
		{"172.15.255.255", false},
		{"172.16.0.0", true},
		{"172.31.255.255", true},
		{"172.32.0.0", false},
		{"192.167.255.255", false},
		{"192.168.0.0", true},
		{"192.168.255.255", true},
		{"192.169.0.0", false},
		{"198.51.100.7", false},
		{"2001:db8::7", false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ip_addr coa;

		CU_ASSERT_FATAL(ip_addr_parse(rows[i].coa, &coa));
		CHECK_ROW(rows[i].coa, nat_is_wanted(NAT_AUTO, &coa) == rows[i].is_private);
		CHECK_ROW(rows[i].coa, nat_is_wanted(NAT_ALWAYS, &coa));
		CHECK_ROW(rows[i].coa, !nat_is_wanted(NAT_NEVER, &coa));
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"in UDP or not", test_wanted},
		{NULL, NULL},
	};

	return unit_run("mn/natsock", cases);
}
