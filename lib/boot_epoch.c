/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the record is the last epoch given out. The new one is above it whatever the
 * clock says, and not below the clock, so that a backup that was restored does not bring back a
 * number given out since (unless the program was restarted more than once in 10 minutes on
 * average).
 */
#include "lib/boot_epoch.h"

#include "lib/clock.h"
#include "lib/wire.h"

#include <errno.h>

#define EPOCH_KEY "boot_epoch"
#define EPOCH_START_S UINT64_C(1767225600) /* 2026-01-01T00:00:00Z */
#define EPOCH_UNIT_S 600
#define RECORD_BYTES 4 /* big-endian */

static uint64_t epoch_by_clock(void)
{
	uint64_t now_s = clock_real_ns() / NS_PER_S;

	return now_s < EPOCH_START_S ? 0 : (now_s - EPOCH_START_S) / EPOCH_UNIT_S;
}

static int load_last(struct store *store, const char *db, uint32_t *last)
{
	struct store_value value;
	int ret = store_get(store, db, EPOCH_KEY, sizeof EPOCH_KEY - 1, &value);

	*last = 0;
	if (ret == -ENOENT)
		return 0;
	if (ret == 0 && value.len != RECORD_BYTES)
		return -EIO;
	if (ret == 0)
		*last = wire_load_u32(value.data);
	return ret;
}

int boot_epoch_take(struct store *store, const char *db, uint32_t step, uint32_t *epoch)
{
	uint64_t by_clock = epoch_by_clock();
	uint8_t record[RECORD_BYTES];
	uint64_t next;
	uint32_t last;
	int ret;

	if (step == 0)
		return -EINVAL;
	/* A transaction of our own: inside of another the write would not be durable on return. */
	ret = store_begin(store);
	if (ret != 0)
		return ret;
	ret = load_last(store, db, &last);
	if (ret != 0)
		goto abort;
	next = (uint64_t)last + step;
	if (next < by_clock)
		next = by_clock;
	if (next > BOOT_EPOCH_MAX) {
		ret = -EOVERFLOW;
		goto abort;
	}
	wire_store_u32(record, (uint32_t)next);
	ret = store_put(store, db, EPOCH_KEY, sizeof EPOCH_KEY - 1, record, sizeof record);
	if (ret != 0)
		goto abort;
	ret = store_commit(store);
	if (ret == 0)
		*epoch = (uint32_t)next;
	return ret;
abort:
	store_abort(store);
	return ret;
}
