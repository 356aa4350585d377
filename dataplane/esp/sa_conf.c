/* SPDX-License-Identifier: BSD-3-Clause */
#include "dataplane/esp/sa_conf.h"
#include "dataplane/esp/life_conf.h"

#include <string.h>

#define WINDOW_DEFAULT 1024 /* packets */

static enum crypto_alg read_algorithm(struct conf_group *group)
{
	const char *name = conf_get_string(group, "algorithm", NULL), *why;
	enum crypto_alg alg = crypto_alg_find(name, &why);

	if (alg != CRYPTO_ALG_COUNT)
		return alg;
	if (name[0] != '\0')
		conf_error(group, "algorithm", "\"%.32s\" %s", name, why);
	return CRYPTO_AES128GCM16; /* the error is recorded; go on with any */
}

const char *sa_conf_key_name(struct conf_group *group)
{
	return conf_has(group, "key_file") ? "key_file" : "key";
}

static bool read_key(struct conf_group *group, struct sa_params *params)
{
	const size_t want = crypto_material_bytes(params->alg);
	struct conf_secret key = conf_get_secret(group, "key", want, want);
	bool usable = key.len == want;

	if (usable)
		memcpy(params->key, key.bytes, want);
	secret_wipe(&key, sizeof key);
	if (usable && sa_keys_are_same(params)) {
		conf_error(group, sa_conf_key_name(group),
			"is the same for cipher and HMAC: each needs its own");
		usable = false;
	}
	return usable;
}

bool sa_conf_read(struct conf_group *group, bool inbound, struct sa_params *params)
{
	bool usable;

	params->spi = (uint32_t)conf_get_int(group, "spi", "", SA_SPI_MIN, UINT32_MAX, 0, true);
	params->alg = read_algorithm(group);
	usable = read_key(group, params);
	params->esn = conf_get_bool(group, "esn", true);
	if (inbound)
		params->replay_window = (uint32_t)conf_get_int(group, "replay_window", "packets",
			REPLAY_WINDOW_MIN, REPLAY_WINDOW_MAX, WINDOW_DEFAULT, false);
	params->life = life_conf_read(group);
	return usable;
}
