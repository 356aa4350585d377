/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_SOURCE_H
#define DATAPLANE_ESP_SOURCE_H
/*
 * From where an inbound SA takes packets: from anywhere, or from a short list of prefixes. Among
 * SAs that share an SPI the one with the longest matching prefix gets the packet.
 *
 * Values, no owner; any thread.
 * Sources: RFC 4301 section 4.1 (longest match; SPI alone comes last).
 */
#include "lib/inet.h"

#include <stdbool.h>
#include <stdint.h>

#define SA_SOURCE_MAX 4
#define SA_SOURCE_TEXT_MAX (SA_SOURCE_MAX * IP_TEXT_MAX)

struct sa_source {
	struct ip_prefix list[SA_SOURCE_MAX];
	uint8_t n; /* 0: any */
};

/* Bits of the longest prefix that holds addr, 0: any, -1: none does. */
int sa_source_match(const struct sa_source *source, const struct ip_addr *addr);
/* Could they not be told apart by longest match: both any, or one prefix in both? */
bool sa_source_clash(const struct sa_source *a, const struct sa_source *b);
bool sa_source_equal(const struct sa_source *a, const struct sa_source *b);

/* One more address or prefix; NULL, or what is wrong with it, and nothing changed. */
const char *sa_source_add(struct sa_source *source, const char *text);
/* "any", or addresses and prefixes with commas between; errors as above. */
const char *sa_source_parse(const char *text, struct sa_source *out);
/* In the form that sa_source_parse() reads. Returns text. */
const char *sa_source_format(const struct sa_source *source, char text[SA_SOURCE_TEXT_MAX]);
#endif
