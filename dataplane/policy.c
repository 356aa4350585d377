/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: prefixes become masks over 128 bits, IPv4 in the lowest 32, and the rules are
 * walked in their order. Hits lie behind the rules, a row of lines for each worker, so that no
 * worker writes where another one does.
 */
#include "dataplane/policy.h"

#include "dataplane/ip4.h"
#include "dataplane/ip6.h"
#include "dataplane/state.h"

#include <rte_malloc.h>

#include <errno.h>
#include <string.h>

#define PORTS_BYTES 4 /* both */

struct net {
	struct policy_addr addr, mask;
	bool v6;
};

struct end {
	uint32_t n_nets, n_ports;
	bool opaque;
	struct net nets[POLICY_LIST_MAX];
	struct policy_ports ports[POLICY_LIST_MAX];
};

struct rule {
	uint8_t action; /* enum policy_action */
	bool inbound;
	uint16_t protocol;
	struct end source, destination;
};

struct policy {
	/* const after policy_new() */
	uint32_t n, workers;
	bool bypasses[2];                 /* by direction: some rule does */
	uint32_t row;                     /* counters of a worker: each rule, rest out, rest in */
	const struct policy_rule *origin; /* as control gave them */
	_Atomic(uint64_t) *hits; /* atomic: one writer for each row, relaxed; any thread reads */
	struct rule rules[];
};

/* --- control ------------------------------------------------------------------------------------
 */

static uint64_t high_bits(unsigned n)
{
	return n == 0 ? 0 : UINT64_MAX << (64 - n);
}

static struct net net_of(const struct ip_prefix *prefix)
{
	struct net net = {.v6 = prefix->addr.family == AF_INET6};

	if (net.v6) {
		net.addr = (struct policy_addr){
			wire_load_u64(prefix->addr.bytes), wire_load_u64(prefix->addr.bytes + 8)};
		net.mask = (struct policy_addr){high_bits(prefix->len < 64 ? prefix->len : 64),
			high_bits(prefix->len > 64 ? prefix->len - 64u : 0)};
	} else {
		net.addr.lo = wire_load_u32(prefix->addr.bytes);
		net.mask.lo = prefix->len == 0 ? 0 : high_bits(prefix->len) >> 32;
	}
	return net;
}

static void take_end(struct end *end, const struct policy_end *from)
{
	end->n_nets = from->n_prefixes;
	end->n_ports = from->n_ports;
	end->opaque = from->opaque;
	for (uint32_t i = 0; i < end->n_nets; i++)
		end->nets[i] = net_of(&from->prefixes[i]);
	memcpy(end->ports, from->ports, sizeof end->ports);
}

struct policy *policy_new(const struct policy_rule *rules, uint32_t n, uint32_t workers)
{
	const uint32_t row = RTE_ALIGN_CEIL(
		n + 2, (uint32_t)(RTE_CACHE_LINE_SIZE / sizeof(_Atomic(uint64_t))));
	struct policy *policy = rte_zmalloc(
		"policy", sizeof *policy + n * sizeof *policy->rules, RTE_CACHE_LINE_SIZE);
	struct policy_rule *origin = rte_zmalloc(
		"policy rules", (n + 1) * sizeof *origin, 0); /* never of 0 bytes */

	if (policy == NULL || origin == NULL) {
		rte_free(policy);
		rte_free(origin);
		return NULL;
	}
	policy->n = n;
	policy->workers = workers;
	policy->row = row;
	policy->origin = origin;
	policy->hits = rte_zmalloc(
		"policy hits", (size_t)row * workers * sizeof *policy->hits, RTE_CACHE_LINE_SIZE);
	if (policy->hits == NULL) {
		policy_free(policy);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++) {
		origin[i] = rules[i];
		policy->rules[i].action = rules[i].action;
		policy->rules[i].inbound = rules[i].inbound;
		policy->rules[i].protocol = rules[i].protocol;
		policy->bypasses[rules[i].inbound] |= rules[i].action == POLICY_BYPASS;
		take_end(&policy->rules[i].source, &rules[i].source);
		take_end(&policy->rules[i].destination, &rules[i].destination);
	}
	return policy;
}

void policy_free(struct policy *policy)
{
	if (policy == NULL)
		return;
	rte_free((void *)(uintptr_t)policy->origin);
	rte_free((void *)(uintptr_t)policy->hits);
	rte_free(policy);
}

static void free_retired(void *owner, void *object, bool flag)
{
	(void)owner;
	(void)flag;
	policy_free(object);
}

static bool is_same(const struct policy *a, const struct policy *b)
{
	return a != NULL && b != NULL && a->n == b->n &&
	       memcmp(a->origin, b->origin, a->n * sizeof *a->origin) == 0;
}

int dataplane_policy_use(struct dataplane *dp, struct policy *fresh)
{
	struct policy *old = atomic_load_explicit(&dp->policy, memory_order_relaxed);

	if (is_same(old, fresh)) {
		policy_free(fresh);
		return 0;
	}
	if (old != NULL && rcu_room(&dp->rcu, 1) < 1)
		return -EAGAIN;
	if (fresh != NULL && fresh->n == 0) {
		policy_free(fresh);
		fresh = NULL;
	}
	/* Release pairs with the acquire in walk(). */
	atomic_store_explicit(&dp->policy, fresh, memory_order_release);
	if (old != NULL)
		rcu_retire(&dp->rcu, free_retired, dp, old, false);
	return 0;
}

const struct policy *dataplane_policy(const struct dataplane *dp)
{
	return atomic_load_explicit(&dp->policy, memory_order_relaxed);
}

const struct policy_rule *policy_rules(const struct policy *policy, uint32_t *n)
{
	*n = policy->n;
	return policy->origin;
}

uint64_t policy_hits(const struct policy *policy, uint32_t i)
{
	uint64_t sum = 0;

	for (uint32_t worker = 0; worker < policy->workers; worker++)
		sum += atomic_load_explicit(
			&policy->hits[(size_t)worker * policy->row + i], memory_order_relaxed);
	return sum;
}

uint64_t policy_rest(const struct policy *policy, bool inbound)
{
	return policy_hits(policy, policy->n + inbound);
}

/* --- workers ------------------------------------------------------------------------------------
 */

static void read_ports(const uint8_t *ip, uint32_t len, struct policy_packet *out)
{
	out->has_ports = policy_has_ports(out->protocol) && len >= out->upper_at + PORTS_BYTES;
	if (!out->has_ports)
		return;
	out->source_port = wire_load_u16(ip + out->upper_at);
	out->destination_port = wire_load_u16(ip + out->upper_at + 2);
}

static enum verdict read_v6(const uint8_t *ip, uint32_t len, struct policy_packet *out)
{
	struct ipv6_upper upper;
	enum verdict verdict = ip6_check(ip, len);

	if (verdict == VERDICT_OK)
		verdict = ip6_find_upper(ip, ip_total_len(ip), false, &upper);
	if (verdict != VERDICT_OK)
		return verdict;
	out->v6 = true;
	out->source = (struct policy_addr){
		wire_load_u64(ip6_src(ip)), wire_load_u64(ip6_src(ip) + 8)};
	out->destination = (struct policy_addr){
		wire_load_u64(ip6_dst(ip)), wire_load_u64(ip6_dst(ip) + 8)};
	out->protocol = upper.protocol;
	out->upper_at = upper.at;
	if (upper.first)
		read_ports(ip, ip_total_len(ip), out);
	return VERDICT_OK;
}

enum verdict policy_read(const uint8_t *ip, uint32_t len, struct policy_packet *out)
{
	enum verdict verdict;

	*out = (struct policy_packet){0};
	if (len != 0 && ip_is_v6(ip))
		return read_v6(ip, len, out);
	verdict = ip4_check(ip, len);
	if (verdict != VERDICT_OK)
		return verdict;
	out->source.lo = wire_load_u32(ip + 12);
	out->destination.lo = wire_load_u32(ip + 16);
	out->protocol = ip4_protocol(ip);
	out->upper_at = ip4_hdr_bytes(ip);
	if (ip4_fragment_offset(ip) == 0)
		read_ports(ip, ip4_total_len(ip), out);
	return VERDICT_OK;
}

static bool net_has(const struct net *net, const struct policy_addr *addr, bool v6)
{
	return net->v6 == v6 && ((net->addr.hi ^ addr->hi) & net->mask.hi) == 0 &&
	       ((net->addr.lo ^ addr->lo) & net->mask.lo) == 0;
}

static bool nets_have(const struct end *end, const struct policy_addr *addr, bool v6)
{
	for (uint32_t i = 0; i < end->n_nets; i++)
		if (net_has(&end->nets[i], addr, v6))
			return true;
	return end->n_nets == 0;
}

static bool ports_have(const struct end *end, bool has_port, uint16_t port)
{
	for (uint32_t i = 0; i < end->n_ports && has_port; i++)
		if (port >= end->ports[i].first && port <= end->ports[i].last)
			return true;
	return end->n_ports == 0 && !(end->opaque && has_port);
}

static bool matches(const struct rule *rule, bool inbound, const struct policy_packet *packet)
{
	return rule->inbound == inbound &&
	       (rule->protocol == packet->protocol || rule->protocol == POLICY_ANY_PROTOCOL) &&
	       nets_have(&rule->destination, &packet->destination, packet->v6) &&
	       nets_have(&rule->source, &packet->source, packet->v6) &&
	       ports_have(&rule->destination, packet->has_ports, packet->destination_port) &&
	       ports_have(&rule->source, packet->has_ports, packet->source_port);
}

uint32_t policy_match(const struct policy *policy, bool inbound, const struct policy_packet *packet)
{
	uint32_t i = 0;

	while (i < policy->n && !matches(&policy->rules[i], inbound, packet))
		i++;
	return i;
}

enum policy_action policy_action(const struct policy *policy, uint32_t rule)
{
	return rule < policy->n ? (enum policy_action)policy->rules[rule].action : POLICY_PROTECT;
}

bool policy_has_bypass(const struct policy *policy, bool inbound)
{
	return policy->bypasses[inbound];
}

void policy_hit(const struct policy *policy, uint32_t worker, bool inbound, uint32_t rule)
{
	const uint32_t column = rule < policy->n ? rule : policy->n + inbound;
	_Atomic(uint64_t) *hits = &policy->hits[(size_t)worker * policy->row + column];

	/* One writer: no locked instruction is needed. */
	atomic_store_explicit(
		hits, atomic_load_explicit(hits, memory_order_relaxed) + 1, memory_order_relaxed);
}
