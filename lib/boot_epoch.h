/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_BOOT_EPOCH_H
#define LIB_BOOT_EPOCH_H
/*
 * The 20-bit epoch that no two runs of a program share, so that (key, IV) never repeats: not after
 * kill -9, not after a restored backup, not after the clock was set back.
 *
 * epoch = max(stored + step, minutes of real time / 10 since 2026-01-01), made durable before it is
 * returned. No durable write, no epoch, no start. 20 bits of 10 minutes last 19 years; a program
 * that used them up refuses to start until its keys are replaced and the state folder is removed.
 * Thread: the store's. Errors: -errno of the store, -EOVERFLOW when the 20 bits are used up.
 */
#include "lib/store.h"

#include <stdint.h>

#define BOOT_EPOCH_BITS 20
#define BOOT_EPOCH_MAX ((UINT32_C(1) << BOOT_EPOCH_BITS) - 1)

/* db: a database of the store for the one record. Call once per start with step 1. A running SA
 * whose 44-bit counter is used up takes a new epoch with step 2: the counter may already have run
 * over into the number after its old epoch. */
int boot_epoch_take(struct store *store, const char *db, uint32_t step, uint32_t *epoch)
	__attribute__((warn_unused_result));
#endif
