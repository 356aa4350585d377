/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: one database with the boot epoch, one with the record of the registration
 * (version, Identification, clock offset). Losing the record costs one denial with code 133.
 */
#include "control/mn/state.h"

#include "lib/boot_epoch.h"
#include "lib/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DB_EPOCH "epoch"
#define DB_REGISTRATION "registration"
#define KEY "memory"
#define RECORD_VERSION 1
#define RECORD_BYTES 17
#define MAP_BYTES (1 << 20)

int state_open(struct state *state, const char *dir, uint32_t *epoch, char *why, size_t why_size)
{
	static const char *const names[] = {DB_EPOCH, DB_REGISTRATION, NULL};
	int err;

	*state = (struct state){0};
	err = store_open(dir, names, MAP_BYTES, &state->store, why, why_size);
	if (err != 0)
		return err;
	err = boot_epoch_take(state->store, DB_EPOCH, 1, epoch);
	if (err != 0) {
		snprintf(why, why_size, "cannot take a boot epoch in %s: %s", dir, strerror(-err));
		state_close(state);
	}
	return err;
}

void state_close(struct state *state)
{
	store_close(state->store);
	state->store = NULL;
}

bool state_load_registration(struct state *state, struct registration_memory *memory)
{
	struct store_value value;
	struct wire w;

	if (store_get(state->store, DB_REGISTRATION, KEY, sizeof KEY - 1, &value) != 0)
		return false;
	w = wire_over(value.data, value.len);
	if (wire_u8(&w) != RECORD_VERSION)
		return false;
	*memory = (struct registration_memory){.any = true, .identification = wire_u64(&w)};
	memory->clock_offset_s = (int64_t)wire_u64(&w);
	if (!wire_done(&w))
		return false;
	state->saved = *memory;
	return true;
}

int state_save_registration(struct state *state, const struct registration_memory *memory)
{
	uint8_t record[RECORD_BYTES];
	struct wire_out w = wire_into(record, sizeof record);
	int err;

	if (!memory->any || (memory->identification == state->saved.identification &&
				    memory->clock_offset_s == state->saved.clock_offset_s))
		return 0;
	wire_put_u8(&w, RECORD_VERSION);
	wire_put_u64(&w, memory->identification);
	wire_put_u64(&w, (uint64_t)memory->clock_offset_s);
	err = store_put(state->store, DB_REGISTRATION, KEY, sizeof KEY - 1, record, sizeof record);
	if (err == 0)
		state->saved = *memory;
	return err;
}

int state_next_epoch(struct state *state, uint32_t *epoch)
{
	/* 2: the counter may have run over into the number after the old epoch */
	return boot_epoch_take(state->store, DB_EPOCH, 2, epoch);
}
