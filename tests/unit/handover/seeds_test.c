/* SPDX-License-Identifier: BSD-3-Clause */
/* Scripts of random bytes from fixed seeds: the same run each time. tests/fuzz has the endless one.
 */
#include "tests/unit/handover/world.h"
#include "tests/unit/lib/unit.h"

#include "lib/log.h"

#define SCRIPTS 60
#define SCRIPT_BYTES 400

static void test_seeds(void)
{
	uint64_t state = 1; /* xorshift64 */
	uint8_t script[SCRIPT_BYTES];

	for (unsigned i = 0; i < SCRIPTS; i++) {
		for (unsigned k = 0; k < SCRIPT_BYTES; k++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			script[k] = (uint8_t)(state >> 32);
		}
		world_play(script, sizeof script);
	}
	CU_PASS("no script broke the model");
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"random scripts", test_seeds},
		{NULL, NULL},
	};

	return unit_run("home agent and gateway", cases);
}
