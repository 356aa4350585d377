/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the file as a whole is good or nothing happens. Secrets come last: they cannot
 * fail, and are in force before anybody hears that the reload is done.
 */
#include "control/gw/reload.h"

#include "control/gw/siu_handler.h"
#include "lib/privilege.h"

#include <errno.h>
#include <stdio.h>

int gw_reload(struct gw *gw, struct reload_counts *counts, char *why, size_t why_size)
{
	struct gw_conf *fresh = gw_conf_load(gw->conf->path);
	int rc;

	*counts = (struct reload_counts){0};
	if (fresh == NULL) {
		snprintf(why, why_size, "%s has errors, nothing changed: roamgate --check -c %s",
			gw->conf->path, gw->conf->path);
		return -EINVAL;
	}
	rc = provision_reload(gw, fresh, &counts->nodes, why, why_size);
	if (rc == 0)
		counts->siu_keys = siu_handler_set_keys(gw->siu, fresh);
	gw_conf_free(fresh);
	privilege_hide_memory(); /* what was allocated since the last time */
	return rc;
}
