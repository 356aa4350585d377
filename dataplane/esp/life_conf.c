/* SPDX-License-Identifier: BSD-3-Clause */
#include "dataplane/esp/life_conf.h"

static struct sa_limit read_limit(struct conf_group *group, const char *soft_key,
	const char *hard_key, const char *unit, int64_t max)
{
	const struct sa_limit limit = {
		.soft = (uint64_t)conf_get_int(group, soft_key, unit, 1, max, 0, false),
		.hard = (uint64_t)conf_get_int(group, hard_key, unit, 1, max, 0, false),
	};

	if (limit.hard != 0 && limit.soft >= limit.hard)
		conf_error(group, soft_key, "must be less than %s", hard_key);
	return limit;
}

struct sa_lifetimes life_conf_read(struct conf_group *group)
{
	return (struct sa_lifetimes){
		.seconds = read_limit(group, "rekey_time", "life_time", "s", SA_LIFETIME_MAX_S),
		.packets = read_limit(
			group, "rekey_packets", "life_packets", "packets", SA_LIMIT_MAX),
		.bytes = read_limit(group, "rekey_bytes", "life_bytes", "bytes", SA_LIMIT_MAX),
	};
}
