/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: the file as a whole is good or nothing happens. Rules and secrets come last, when
 * nothing can fail any more but for want of a grace period, and are in force before anybody hears
 * that the reload is done.
 */
#include "control/gw/reload.h"

#include "control/gw/siu_handler.h"
#include "lib/privilege.h"

#include <errno.h>
#include <stdio.h>

/* fresh's rules and secrets; policy is taken over. */
static int commit(struct gw *gw, const struct gw_conf *fresh, struct policy *policy,
	struct reload_counts *counts, char *why, size_t why_size)
{
	if (dataplane_policy_use(gw->dp, policy) != 0) {
		policy_free(policy);
		snprintf(why, why_size, "a worker does not answer: reload again");
		return -EAGAIN;
	}
	counts->rules = fresh->n_policy;
	counts->siu_keys = siu_handler_set_keys(gw->siu, fresh);
	return 0;
}

/* Where nodes can be is as it was at the start, whatever the file says by now. */
static bool policy_fits(
	const struct gw_conf *running, const struct gw_conf *fresh, char *why, size_t why_size)
{
	for (uint32_t i = 0; i < fresh->n_policy; i++) {
		bool inner;

		if (gw_policy_fault(running, &fresh->policy[i], &inner) == NULL)
			continue;
		snprintf(why, why_size,
			"policy[%u] bypasses where nodes could still be: forbidden_coas, "
			"inside_prefixes and prefixes of home agents take effect at the next start",
			i);
		return false;
	}
	return true;
}

int gw_reload(struct gw *gw, struct reload_counts *counts, char *why, size_t why_size)
{
	struct gw_conf *fresh = gw_conf_load(gw->conf->path);
	struct policy *policy;
	int rc;

	*counts = (struct reload_counts){0};
	if (fresh == NULL) {
		snprintf(why, why_size, "%s has errors, nothing changed: roamgate --check -c %s",
			gw->conf->path, gw->conf->path);
		return -EINVAL;
	}
	if (!policy_fits(gw->conf, fresh, why, why_size)) {
		gw_conf_free(fresh);
		return -EINVAL;
	}
	policy = policy_new(fresh->policy, fresh->n_policy, dataplane_workers(gw->dp));
	if (policy == NULL) {
		snprintf(why, why_size, "no memory for %u rules: give DPDK more (dpdk.memory_mb)",
			fresh->n_policy);
		gw_conf_free(fresh);
		return -ENOMEM;
	}
	rc = provision_reload(gw, fresh, &counts->nodes, why, why_size);
	if (rc == 0)
		rc = commit(gw, fresh, policy, counts, why, why_size);
	else
		policy_free(policy);
	gw_conf_free(fresh);
	privilege_hide_memory(); /* what was allocated since the last time */
	return rc;
}
