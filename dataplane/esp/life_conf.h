/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_LIFE_CONF_H
#define DATAPLANE_ESP_LIFE_CONF_H
/*
 * Lifetimes of an SA as gateway and node have them in their configuration: rekey_time, life_time
 * and so on, swanctl's names. Main thread. Source: RFC 4301 section 4.4.2.1.
 */
#include "dataplane/esp/life.h"
#include "lib/conf.h"

#define SA_LIFETIME_MAX_S (366 * 86400)           /* s */
#define SA_LIMIT_MAX INT64_C(1000000000000000000) /* packets, bytes of a lifetime */

/* Errors are the group's (lib/conf.h). */
struct sa_lifetimes life_conf_read(struct conf_group *group);
#endif
