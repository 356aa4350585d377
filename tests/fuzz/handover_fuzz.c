/* SPDX-License-Identifier: BSD-3-Clause */
/* Home agent and gateway under a script of anything: tests/unit/handover/world.h. */
#include "tests/unit/handover/world.h"

#include "lib/log.h"

#include <fcntl.h>
#include <stdio.h>

#define SCRIPT_MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > SCRIPT_MAX)
		return -1;
	world_play(data, size);
	return 0;
}
