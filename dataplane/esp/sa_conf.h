/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DATAPLANE_ESP_SA_CONF_H
#define DATAPLANE_ESP_SA_CONF_H
/*
 * A static SA as it stands in a configuration file, of the gateway or of the node.
 *
 * Threads: as lib/conf.h. What is wrong becomes an error of the group; the caller may ask for more
 * keys of it and ends it.
 */
#include "dataplane/esp/sa.h"
#include "lib/conf.h"

/* "key" or "key_file": which of them the group has, for messages. */
const char *sa_conf_key_name(struct conf_group *group);
/* spi, algorithm, key or key_file, esn, lifetimes, and of an inbound one replay_window. False: no
 * usable key. Wipe params->key after use. */
bool sa_conf_read(struct conf_group *group, bool inbound, struct sa_params *params);
#endif
