/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: see pump_turn(); bursts are bounded, so that descriptors get their turn too. */
#include "control/gw/pump.h"

#include "lib/clock.h"

#include <linux/if_ether.h>

#define PUNT_BURST 32
#define BURSTS_A_TURN 4
#define MIRROR_TICK_NS (10 * NS_PER_MS)

static int take_epoch(void *arg, uint32_t *epoch)
{
	return state_ask_epoch(arg, epoch); /* not yet: it asks again */
}

static void dispatch(struct pump *pump, struct punt *punt, uint64_t now_ns)
{
	switch (punt->reason) {
	case PUNT_FRAME:
		if (punt->port == DP_OUTSIDE && punt->len > ETH_HLEN)
			pmtu_datagram(
				pump->pmtu, punt->data + ETH_HLEN, punt->len - ETH_HLEN, now_ns);
		mirror_frame(pump->mirror, punt);
		break;
	case PUNT_GUARDED:
		mirror_frame(pump->mirror, punt);
		break;
	case PUNT_REGISTRATION:
		siu_handler_registration(pump->siu, punt);
		break;
	case PUNT_ERROR:
		icmp_errors_tell(pump->errors, punt, now_ns);
		break;
	case PUNT_UNRESOLVED:
		mirror_unresolved(pump->mirror, punt, now_ns);
		return;
	}
	dataplane_punt_done(pump->dp, punt);
}

static unsigned follow_ports(struct pump *pump)
{
	struct dp_port_change changes[PUNT_BURST];
	unsigned n = dataplane_port_changes(pump->dp, changes, PUNT_BURST);

	for (unsigned i = 0; i < n; i++)
		siu_handler_port_changed(pump->siu, &changes[i]);
	return n;
}

static unsigned empty_rings(struct pump *pump, uint64_t now_ns)
{
	struct punt punts[PUNT_BURST];
	unsigned total = follow_ports(pump);

	for (unsigned burst = 0; burst < BURSTS_A_TURN; burst++) {
		unsigned n = dataplane_punt_burst(pump->dp, punts, PUNT_BURST);

		for (unsigned i = 0; i < n; i++)
			dispatch(pump, &punts[i], now_ns);
		total += n;
		if (n < PUNT_BURST)
			break;
	}
	return total;
}

uint64_t pump_turn(void *arg)
{
	struct pump *pump = arg;
	const uint64_t now_ns = clock_mono_ns();
	uint64_t again, nap_ns;

	if (empty_rings(pump, now_ns) != 0)
		pump->spin_until_ns = now_ns + PUMP_SPIN_NS;
	(void)audit_log_turn(pump->audit, now_ns);
	(void)dummies_turn(pump->dummies, now_ns);
	dataplane_poll(pump->dp, now_ns, take_epoch, pump->state);
	again = siu_handler_poll(pump->siu, now_ns);
	key_verbs_poll(pump->keys, now_ns);
	if (now_ns >= pump->tick_at_ns) {
		mirror_tick(pump->mirror, now_ns);
		pmtu_poll(pump->pmtu, now_ns);
		pump->tick_at_ns = now_ns + MIRROR_TICK_NS;
	}
	if (admin_release(pump->admin, state_durable(pump->state)) != 0 && again > PUMP_NAP_NS)
		again = PUMP_NAP_NS; /* for the disk */
	if (pump->shares_cpu)
		return PUMP_SHARED_NS;
	if (again == 0 || now_ns < pump->spin_until_ns)
		return 0;
	nap_ns = now_ns < pump->spin_until_ns + PUMP_CALM_NS ? PUMP_NAP_NS : PUMP_IDLE_NS;
	return again < nap_ns ? again : nap_ns;
}
