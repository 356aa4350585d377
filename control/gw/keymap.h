/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_KEYMAP_H
#define CONTROL_GW_KEYMAP_H
/*
 * Map from a short byte string to a number: home address, name, SPI or key fingerprint to a handle.
 *
 * Owner:    whoever made it. Threads: one at a time. Grows by doubling beyond what it was
 *           made for; a lookup never allocates.
 * Keys that differ in length differ. The hash is seeded at random, so that nobody outside can aim
 * at one chain.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYMAP_KEY_MAX 32 /* bytes */

struct keymap;

/* expected: entries that fit without growing. NULL: out of memory. */
struct keymap *keymap_new(size_t expected);
void keymap_free(struct keymap *map);
/* 0, -EEXIST (nothing changed), -ENOMEM, -EINVAL (key too long). */
int keymap_add(struct keymap *map, const void *key, size_t len, uint32_t value)
	__attribute__((warn_unused_result));
bool keymap_get(const struct keymap *map, const void *key, size_t len, uint32_t *value);
bool keymap_del(struct keymap *map, const void *key, size_t len);
#endif
