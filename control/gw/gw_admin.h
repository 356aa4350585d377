/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_GW_GW_ADMIN_H
#define CONTROL_GW_GW_ADMIN_H
/*
 * The gateway's verbs on the control socket (lib/admin.h).
 *
 * show-sa, show-nodes, show-drops, show-audit, show-policy, show-handovers, show-ports, show-siu,
 * show-events; node-add, node-del; alloc-spi, sa-add, sa-update, sa-switch, sa-query, sa-del,
 * sa-events; reload. Threads: control. A key goes in and never comes out.
 */
#include "control/gw/gw.h"
#include "lib/admin.h"

extern const struct admin_verb gw_admin_verbs[]; /* their argument is a struct gw */

/* gw_admin_policy.c */
json_t *gw_admin_show_policy(void *gw, json_t *request, const char **error);
/* gw_admin_keys.c */
json_t *gw_admin_node_add(void *gw, json_t *request, const char **error);
json_t *gw_admin_node_del(void *gw, json_t *request, const char **error);
json_t *gw_admin_alloc_spi(void *gw, json_t *request, const char **error);
json_t *gw_admin_sa_add(void *gw, json_t *request, const char **error);
json_t *gw_admin_sa_update(void *gw, json_t *request, const char **error);
json_t *gw_admin_sa_switch(void *gw, json_t *request, const char **error);
json_t *gw_admin_sa_query(void *gw, json_t *request, const char **error);
json_t *gw_admin_sa_del(void *gw, json_t *request, const char **error);
json_t *gw_admin_sa_events(void *gw, json_t *request, const char **error);
json_t *gw_admin_reload(void *gw, json_t *request, const char **error);

struct tunnel;
struct tunnel_sa;
/* gw_admin.c: one row of show-sa. */
json_t *gw_admin_sa_row(const struct tunnel *tunnel, const struct tunnel_sa *sa);
#endif
