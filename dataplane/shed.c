/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: a budget is a point in time up to which its tokens are spent, and over while that
 * lies further ahead than its burst. Nothing is looked at while no budget is over, so who has only
 * good packets pays one comparison a burst; and only then is the path of a node read, to see
 * whether a packet comes from where the node is.
 */
#include "dataplane/shed.h"

#include "dataplane/esp/replay.h"
#include "dataplane/ip4.h"
#include "dataplane/ip6.h"
#include "dataplane/now.h"
#include "lib/hmac.h"

#include <rte_malloc.h>

#define PLACE_BITS 10

struct limit {
	uint64_t token_ns, burst_ns;
};

#define LIMIT(rate, burst)                                     \
	{                                                      \
		NS_PER_S / (rate), NS_PER_S / (rate) * (burst) \
	}
static const struct limit of_source = LIMIT(SHED_SOURCE_RATE, SHED_SOURCE_BURST);
static const struct limit of_sa = LIMIT(SHED_SA_RATE, SHED_SA_BURST);
static const struct limit of_near = LIMIT(SHED_NEAR_RATE, SHED_NEAR_BURST);

struct shed {
	uint64_t secret, multiplier; /* of the hash; const, the latter odd */
	uint64_t sources[SHED_SOURCES];
	struct {
		uint64_t any, near, here;
	} sas[SHED_SAS];
};
static_assert(SHED_SOURCES == 1 << PLACE_BITS && SHED_SAS == 1 << PLACE_BITS, "bits of the hash");

struct budgets { /* of a packet, and what of it they go by */
	uint64_t *source, *sa, *sa_near, *sa_here;
	uint64_t ahead; /* of the newest number */
};

struct shed *shed_new(void)
{
	struct shed *shed = rte_zmalloc("shed", sizeof *shed, RTE_CACHE_LINE_SIZE);

	if (shed == NULL)
		return NULL;
	random_fill(&shed->secret, sizeof shed->secret);
	random_fill(&shed->multiplier, sizeof shed->multiplier);
	shed->multiplier |= 1;
	return shed;
}

void shed_free(struct shed *shed)
{
	rte_free(shed);
}

/* Dietzfelbinger's multiply-shift: two numbers share a place by chance alone. */
static size_t place_of(const struct shed *shed, uint64_t number)
{
	return (size_t)((number ^ shed->secret) * shed->multiplier >> (64 - PLACE_BITS));
}

static bool is_over(uint64_t spent_ns, const struct limit *limit, uint64_t now_ns)
{
	return spent_ns > now_ns + limit->burst_ns;
}

/* A burst of packets passes before the first is charged, so more than the budget may be spent; at
 * most twice, or a flood would be remembered for long after its end. */
static void spend(
	struct worker *worker, uint64_t *spent, const struct limit *limit, uint64_t now_ns)
{
	const uint64_t most = now_ns + 2 * limit->burst_ns;
	const uint64_t after = (*spent > now_ns ? *spent : now_ns) + limit->token_ns;

	*spent = after < most ? after : most;
	if (is_over(*spent, limit, now_ns) && *spent - limit->burst_ns > worker->shed_until_ns)
		worker->shed_until_ns = *spent - limit->burst_ns;
}

static struct budgets budgets_of(
	struct shed *shed, const struct sa_in *sa, const uint8_t *ip, uint32_t outer_bytes)
{
	const uint64_t source = ip_is_v6(ip) ? wire_load_u64(ip6_src(ip)) : ip4_src(ip);
	const uint64_t newest = atomic_load_explicit(&sa->slot->seq, memory_order_relaxed);
	const uint64_t number = replay_infer(sa, wire_load_u32(ip + outer_bytes + 4));
	const size_t place = place_of(shed, sa->spi);

	return (struct budgets){
		.source = &shed->sources[place_of(shed, source)],
		.sa = &shed->sas[place].any,
		.sa_near = &shed->sas[place].near,
		.sa_here = &shed->sas[place].here,
		.ahead = number > newest ? number - newest : 0,
	};
}

static bool is_first_over(const struct budgets *budgets, uint64_t now_ns)
{
	return is_over(*budgets->source, &of_source, now_ns) ||
	       is_over(*budgets->sa, &of_sa, now_ns);
}

static bool is_stranger(const struct sa_in *sa, const uint8_t *ip)
{
	/* Acquire pairs with the release in dataplane_node_set_path(). */
	const struct path *path = atomic_load_explicit(&sa->node->path, memory_order_acquire);

	return !ip_src_is(ip, &path->remote.addr);
}

static bool is_to_be_shed(const struct burst *b, unsigned i, const struct budgets *budgets)
{
	const bool first_over = is_first_over(budgets, b->now_ns);
	const bool here_over = is_over(*budgets->sa_here, &of_sa, b->now_ns);

	if (!first_over && !here_over)
		return false;
	if (!is_stranger(b->sas.in[i], b->pkts[i].data))
		return here_over && budgets->ahead > SHED_NEAR_HERE;
	return first_over &&
	       (budgets->ahead > SHED_NEAR || is_over(*budgets->sa_near, &of_near, b->now_ns));
}

void shed_burst(struct worker *worker, struct burst *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct budgets budgets;

		if (b->verdicts[i] != VERDICT_OK)
			continue;
		budgets = budgets_of(
			worker->shed, b->sas.in[i], b->pkts[i].data, b->pkts[i].outer_bytes);
		if (is_to_be_shed(b, i, &budgets))
			burst_drop(b, i, VERDICT_SHED);
	}
}

void shed_charge(struct worker *worker, const struct burst *b, unsigned i)
{
	const struct sa_in *sa = b->sas.in[i];
	const uint8_t *ip = pkt_outer(b, i);
	const struct budgets budgets = budgets_of(worker->shed, sa, ip, b->pkts[i].outer_bytes);

	if (!is_stranger(sa, ip)) {
		if (budgets.ahead > SHED_NEAR_HERE)
			spend(worker, budgets.sa_here, &of_sa, b->now_ns);
		return;
	}
	if (budgets.ahead <= SHED_NEAR && is_first_over(&budgets, b->now_ns))
		spend(worker, budgets.sa_near, &of_near, b->now_ns);
	else
		spend(worker, budgets.sa, &of_sa, b->now_ns);
	spend(worker, budgets.source, &of_source, b->now_ns);
}
