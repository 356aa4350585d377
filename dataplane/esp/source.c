/* SPDX-License-Identifier: BSD-3-Clause */
#include "dataplane/esp/source.h"

#include <stdio.h>
#include <string.h>

int sa_source_match(const struct sa_source *source, const struct ip_addr *addr)
{
	int longest = source->n == 0 ? 0 : -1;

	for (unsigned i = 0; i < source->n; i++)
		if (source->list[i].len > longest && ip_prefix_contains(&source->list[i], addr))
			longest = source->list[i].len;
	return longest;
}

static bool prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return a->len == b->len && ip_addr_equal(&a->addr, &b->addr);
}

static bool has(const struct sa_source *source, const struct ip_prefix *prefix)
{
	for (unsigned i = 0; i < source->n; i++)
		if (prefix_equal(&source->list[i], prefix))
			return true;
	return false;
}

bool sa_source_clash(const struct sa_source *a, const struct sa_source *b)
{
	for (unsigned i = 0; i < a->n; i++)
		if (has(b, &a->list[i]))
			return true;
	return a->n == 0 && b->n == 0;
}

bool sa_source_equal(const struct sa_source *a, const struct sa_source *b)
{
	for (unsigned i = 0; i < a->n; i++)
		if (!has(b, &a->list[i]))
			return false;
	return a->n == b->n; /* no list has a prefix twice */
}

const char *sa_source_add(struct sa_source *source, const char *text)
{
	struct ip_prefix prefix;

	if (!ip_prefix_parse(text, &prefix))
		return "is neither an address nor a prefix such as \"192.0.2.0/24\" (bits behind "
		       "the length must be 0)";
	if (prefix.len == 0)
		return "is everything: write \"any\"";
	if (has(source, &prefix))
		return "is there twice";
	if (source->n == SA_SOURCE_MAX)
		return "is one too many: at most 4 are possible";
	source->list[source->n++] = prefix;
	return NULL;
}

const char *sa_source_parse(const char *text, struct sa_source *out)
{
	struct sa_source fresh = {.n = 0};
	const char *why = NULL;
	bool more = strcmp(text, "any") != 0;

	while (more && why == NULL) {
		const size_t len = strcspn(text, ",");
		char one[IP_TEXT_MAX] = "";

		if (len < sizeof one)
			memcpy(one, text, len);
		why = sa_source_add(&fresh, one);
		more = text[len] == ',';
		text += len + more;
	}
	if (why == NULL)
		*out = fresh;
	return why;
}

const char *sa_source_format(const struct sa_source *source, char text[SA_SOURCE_TEXT_MAX])
{
	size_t at = 0;

	snprintf(text, SA_SOURCE_TEXT_MAX, "any");
	for (unsigned i = 0; i < source->n; i++) {
		const struct ip_prefix *prefix = &source->list[i];
		const bool host = prefix->len == (prefix->addr.family == AF_INET ? 32 : 128);
		char one[IP_TEXT_MAX];

		at += (size_t)snprintf(text + at, SA_SOURCE_TEXT_MAX - at, "%s%s",
			i == 0 ? "" : ",",
			host ? ip_addr_format(&prefix->addr, one) : ip_prefix_format(prefix, one));
	}
	return text;
}
