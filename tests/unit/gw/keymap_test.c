/* SPDX-License-Identifier: BSD-3-Clause */
/* The keymap against a plain array: many adds and deletes in an order that makes runs and wraps. */
#include "control/gw/keymap.h"

#include "tests/unit/lib/unit.h"

#include <errno.h>

#define KEYS 3000

static void test_against_array(void)
{
	struct keymap *map = keymap_new(0);
	bool there[KEYS] = {false};
	uint32_t x = 1, value;

	CU_ASSERT_PTR_NOT_NULL_FATAL(map);
	for (unsigned step = 0; step < 60000; step++) {
		uint32_t key;

		x = x * 1664525 + 1013904223; /* any full-period sequence will do */
		key = (x >> 8) % KEYS;
		if (there[key])
			there[key] = !keymap_del(map, &key, sizeof key);
		else
			there[key] = keymap_add(map, &key, sizeof key, key * 3) == 0;
		if (step % 5000 != 0)
			continue;
		for (key = 0; key < KEYS; key++) {
			bool found = keymap_get(map, &key, sizeof key, &value);

			if (found != there[key] || (found && value != key * 3))
				CU_FAIL("map and array differ");
		}
	}
	keymap_free(map);
}

static void test_edges(void)
{
	struct keymap *map = keymap_new(0);
	uint8_t key[KEYMAP_KEY_MAX + 1] = {0};
	uint32_t value = 7;

	CU_ASSERT_PTR_NOT_NULL_FATAL(map);
	CU_ASSERT_EQUAL(keymap_add(map, key, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(keymap_add(map, key, sizeof key, 1), -EINVAL);
	CU_ASSERT_EQUAL(keymap_add(map, key, KEYMAP_KEY_MAX, 1), 0);
	CU_ASSERT_EQUAL(keymap_add(map, key, KEYMAP_KEY_MAX, 2), -EEXIST);
	CU_ASSERT(!keymap_get(map, key, KEYMAP_KEY_MAX - 1, &value)); /* the length counts */
	CU_ASSERT_EQUAL(value, 7);
	CU_ASSERT(keymap_get(map, key, KEYMAP_KEY_MAX, &value));
	CU_ASSERT_EQUAL(value, 1);
	CU_ASSERT(!keymap_del(map, key, 1));
	CU_ASSERT(keymap_del(map, key, KEYMAP_KEY_MAX));
	CU_ASSERT(!keymap_get(map, key, KEYMAP_KEY_MAX, &value));
	keymap_free(map);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"against an array", test_against_array},
		{"edges", test_edges},
		{NULL, NULL},
	};

	return unit_run("gw/keymap", cases);
}
