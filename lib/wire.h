/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_WIRE_H
#define LIB_WIRE_H
/*
 * Bounded big-endian cursor over a byte buffer, one for reading and one for writing.
 *
 * A cursor that ran out stays failed: reads give 0, writes are dropped, and one test of .ok at the
 * end covers a whole message. Values only, any thread; the buffer belongs to the caller.
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wire { /* reader */
	const uint8_t *at;
	const uint8_t *end;
	bool ok;
};

static inline struct wire wire_over(const void *data, size_t len)
{
	const uint8_t *at = data;
	return (struct wire){.at = at, .end = at + len, .ok = true};
}

static inline size_t wire_left(const struct wire *w)
{
	return w->ok ? (size_t)(w->end - w->at) : 0;
}

/* n bytes in place, or NULL and failed. */
static inline const uint8_t *wire_take(struct wire *w, size_t n)
{
	const uint8_t *at = w->at;

	if (!w->ok || (size_t)(w->end - w->at) < n) {
		w->ok = false;
		return NULL;
	}
	w->at += n;
	return at;
}

static inline uint64_t wire_uint(struct wire *w, size_t n)
{
	const uint8_t *at = wire_take(w, n);
	uint64_t value = 0;

	for (size_t i = 0; at != NULL && i < n; i++)
		value = value << 8 | at[i];
	return value;
}

static inline uint8_t wire_u8(struct wire *w)
{
	return (uint8_t)wire_uint(w, 1);
}
static inline uint16_t wire_u16(struct wire *w)
{
	return (uint16_t)wire_uint(w, 2);
}
static inline uint32_t wire_u32(struct wire *w)
{
	return (uint32_t)wire_uint(w, 4);
}
static inline uint64_t wire_u64(struct wire *w)
{
	return wire_uint(w, 8);
}

/* A sub-reader over the next n bytes, which this reader skips. */
static inline struct wire wire_sub(struct wire *w, size_t n)
{
	const uint8_t *at = wire_take(w, n);
	return (struct wire){.at = at, .end = at == NULL ? NULL : at + n, .ok = at != NULL};
}

/* All was there and nothing is left over. */
static inline bool wire_done(const struct wire *w)
{
	return w->ok && w->at == w->end;
}

struct wire_out { /* writer */
	uint8_t *start;
	uint8_t *at;
	uint8_t *end;
	bool ok;
};

static inline struct wire_out wire_into(void *data, size_t room)
{
	uint8_t *at = data;
	return (struct wire_out){.start = at, .at = at, .end = at + room, .ok = true};
}

static inline size_t wire_written(const struct wire_out *w)
{
	return (size_t)(w->at - w->start);
}

/* Room for n bytes to be filled in by the caller, or NULL and failed. */
static inline uint8_t *wire_put_room(struct wire_out *w, size_t n)
{
	uint8_t *at = w->at;

	if (!w->ok || (size_t)(w->end - w->at) < n) {
		w->ok = false;
		return NULL;
	}
	w->at += n;
	return at;
}

static inline void wire_put_uint(struct wire_out *w, uint64_t value, size_t n)
{
	uint8_t *at = wire_put_room(w, n);

	for (size_t i = 0; at != NULL && i < n; i++)
		at[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
}

static inline void wire_put_u8(struct wire_out *w, uint8_t value)
{
	wire_put_uint(w, value, 1);
}
static inline void wire_put_u16(struct wire_out *w, uint16_t value)
{
	wire_put_uint(w, value, 2);
}
static inline void wire_put_u32(struct wire_out *w, uint32_t value)
{
	wire_put_uint(w, value, 4);
}
static inline void wire_put_u64(struct wire_out *w, uint64_t value)
{
	wire_put_uint(w, value, 8);
}

static inline void wire_put_bytes(struct wire_out *w, const void *data, size_t n)
{
	uint8_t *at = wire_put_room(w, n);

	if (at != NULL && n != 0)
		memcpy(at, data, n);
}

/* Big-endian stores and loads at a fixed place (headers in packets). */
static inline void wire_store_u16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}
static inline uint16_t wire_load_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}
static inline void wire_store_u32(uint8_t *at, uint32_t value)
{
	value = __builtin_bswap32(value);
	memcpy(at, &value, sizeof value);
}
static inline uint32_t wire_load_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof value);
	return __builtin_bswap32(value);
}
static inline void wire_store_u64(uint8_t *at, uint64_t value)
{
	value = __builtin_bswap64(value);
	memcpy(at, &value, sizeof value);
}
static inline uint64_t wire_load_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof value);
	return __builtin_bswap64(value);
}
#endif
