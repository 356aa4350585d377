/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the list of engines in order of preference. Engines themselves are in files of
 * their own (crypto_vaes.c, crypto_ipsec_mb.c), and so is the self-test that one must pass before
 * any packet is trusted to it.
 */
#include "dataplane/esp/crypto.h"

#include "dataplane/esp/crypto_engines.h"

#include <string.h>

/* The first that runs is preferred. Our own code is, even where intel-ipsec-mb has AVX-512: its
 * keys of 1008 bytes (here 304) are 1.4 GB more for a million nodes and three times the cache
 * misses for many. */
static const struct crypto_engine *const engines[] = {
	&crypto_engine_vaes512, &crypto_engine_vaes, &crypto_engine_ipsec_mb};
#define N_ENGINES (sizeof engines / sizeof engines[0])

const struct crypto_engine *crypto_engine_find(const char *name)
{
	bool any = strcmp(name, "auto") == 0;

	for (size_t i = 0; i < N_ENGINES; i++) {
		if ((any || strcmp(name, engines[i]->name) == 0) && engines[i]->supported())
			return engines[i];
	}
	return NULL;
}

const struct crypto_engine *crypto_engine_choose(
	const struct crypto_engine *const list[], size_t n, const char *name, const char **failed)
{
	const bool any = strcmp(name, "auto") == 0;

	*failed = NULL;
	for (size_t i = 0; i < n; i++) {
		if ((!any && strcmp(name, list[i]->name) != 0) || !list[i]->supported())
			continue;
		if (crypto_self_test(list[i]) == 0)
			return list[i];
		*failed = list[i]->name;
	}
	return NULL;
}

const struct crypto_engine *crypto_engine_open(const char *name, const char **failed)
{
	return crypto_engine_choose(engines, N_ENGINES, name, failed);
}
