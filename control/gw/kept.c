/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: see the header. Keys of records begin with the home address, so a node's SAs
 * follow each other in the order of nodes, and loading walks both in one direction. Each record
 * ends with a checksum: LMDB commits whole transactions, but does not notice what a disk does to
 * them.
 */
#include "control/gw/kept.h"

#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"
#include "lib/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define NODE_VERSION 3
#define SA_VERSION 2
#define SA_BYTES_MAX (5 + 1 + SA_SOURCE_MAX * 18 + CRYPTO_MATERIAL_MAX + 4)
static_assert(SA_BYTES_MAX <= STATE_DATA_MAX, "the longest record of an SA fits");
#define CHANGE_RECORDS_MAX 16 /* more than any one change of a node writes */
#define SUM_BYTES 4

enum sa_bit { SA_INBOUND = 1, SA_CURRENT = 2, SA_ESN = 4, SA_LIMITED = 8 };

struct kept {
	struct state *state;
	const struct gw_conf *conf;
	uint64_t newest;
};

struct key {
	uint8_t bytes[STATE_KEY_MAX];
	size_t len;
};

struct kept *kept_new(struct state *state, const struct gw_conf *conf)
{
	struct kept *kept = calloc(1, sizeof *kept);

	if (kept != NULL)
		*kept = (struct kept){.state = state, .conf = conf};
	return kept;
}

void kept_free(struct kept *kept)
{
	free(kept);
}

bool kept_has_room(const struct kept *kept)
{
	return kept == NULL || state_room(kept->state) >= CHANGE_RECORDS_MAX;
}

uint64_t kept_newest(const struct kept *kept)
{
	return kept == NULL ? 0 : kept->newest;
}

bool kept_make_room(struct kept *kept)
{
	return kept_has_room(kept) || state_flush(kept->state) == 0;
}

/* --- bytes --------------------------------------------------------------------------------------
 */

static size_t addr_bytes(uint8_t family)
{
	return family == 0 ? 0 : family == AF_INET ? 4 : 16;
}

static void put_addr(struct wire_out *w, const struct ip_addr *addr)
{
	wire_put_u8(w, addr->family);
	wire_put_bytes(w, addr->bytes, addr_bytes(addr->family));
}

static struct ip_addr get_addr(struct wire *w)
{
	struct ip_addr addr = {.family = wire_u8(w)};
	const size_t len = addr_bytes(addr.family);
	const uint8_t *bytes = wire_take(w, len);

	if (bytes != NULL)
		memcpy(addr.bytes, bytes, len);
	return addr;
}

static void put_name(struct wire_out *w, const char *name)
{
	const size_t len = strnlen(name, NODE_NAME_MAX - 1);

	wire_put_u8(w, (uint8_t)len);
	wire_put_bytes(w, name, len);
}

static void get_name(struct wire *w, char name[NODE_NAME_MAX])
{
	const size_t len = wire_u8(w);
	const uint8_t *bytes = wire_take(w, len);

	if (bytes == NULL || len >= NODE_NAME_MAX) {
		w->ok = false;
		return;
	}
	memcpy(name, bytes, len);
	name[len] = '\0';
}

/* CRC-32C (RFC 3720 appendix B.4). */
static uint32_t sum_of(const uint8_t *bytes, size_t len)
{
	uint32_t sum = UINT32_MAX;

	for (size_t i = 0; i < len; i++)
		sum = _mm_crc32_u8(sum, bytes[i]);
	return ~sum;
}

static size_t seal(struct wire_out *w)
{
	wire_put_u32(w, sum_of(w->start, wire_written(w)));
	return wire_written(w);
}

/* A cursor over what the checksum covers; it has failed if the sum is wrong. */
static struct wire unseal(struct store_value value)
{
	const uint8_t *bytes = value.data;
	struct wire w = wire_over(bytes, value.len);

	if (value.len < SUM_BYTES || sum_of(bytes, value.len - SUM_BYTES) !=
					     wire_load_u32(bytes + value.len - SUM_BYTES))
		w.ok = false;
	else
		w.end -= SUM_BYTES;
	return w;
}

static struct key node_key(const struct ip_addr *home_address)
{
	struct key key;
	struct wire_out w = wire_into(key.bytes, sizeof key.bytes);

	put_addr(&w, home_address);
	key.len = wire_written(&w);
	return key;
}

static struct key sa_key(const struct ip_addr *home_address, bool inbound, uint32_t spi)
{
	struct key key = node_key(home_address);
	struct wire_out w = wire_into(key.bytes + key.len, sizeof key.bytes - key.len);

	wire_put_u8(&w, inbound);
	wire_put_u32(&w, spi);
	key.len += wire_written(&w);
	return key;
}

/* --- writing ------------------------------------------------------------------------------------
 */

/* There is room: the caller has asked. */
static void queued(struct kept *kept, uint64_t number)
{
	if (number != 0)
		kept->newest = number;
}

static void put(struct kept *kept, enum state_table table, const struct key *key, const void *data,
	size_t len)
{
	queued(kept, state_put(kept->state, table, key->bytes, key->len, data, len));
}

static void put_limit(struct wire_out *w, const struct sa_limit *limit)
{
	wire_put_u64(w, limit->soft);
	wire_put_u64(w, limit->hard);
}

static struct sa_limit get_limit(struct wire *w)
{
	struct sa_limit limit = {.soft = wire_u64(w)};

	limit.hard = wire_u64(w);
	return limit;
}

static void put_life(struct wire_out *w, const struct tunnel_life *life)
{
	/* A step of the wall clock moves the end only if it comes while the gateway is down. */
	wire_put_u64(w, clock_real_ns() - (clock_mono_ns() - life->since_ns));
	put_limit(w, &life->limits.seconds);
	put_limit(w, &life->limits.packets);
	put_limit(w, &life->limits.bytes);
}

static void list_sa(struct wire_out *w, const struct tunnel_sa *sa)
{
	uint8_t bits = sa->inbound ? SA_INBOUND : 0;

	if (!sa->inbound && tunnel_sa_is_current(sa))
		bits |= SA_CURRENT;
	if (sa->life != NULL)
		bits |= SA_LIMITED;
	wire_put_u8(w, bits);
	wire_put_u32(w, sa->spi);
	if (sa->life != NULL)
		put_life(w, sa->life);
}

void kept_put_node(struct kept *kept, const struct tunnel *tunnel)
{
	uint8_t data[STATE_DATA_MAX], n = 0;
	struct wire_out w = wire_into(data, sizeof data);
	const struct position *at = &tunnel->position;
	const struct ip_addr nowhere = {0};
	struct key key;

	if (kept == NULL)
		return;
	key = node_key(&tunnel->home_address);
	for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next)
		n = (uint8_t)(n + !sa->from_file);
	if (tunnel->configured && n == 0) {
		put(kept, STATE_NODES, &key, NULL, 0);
		return;
	}
	wire_put_u8(&w, NODE_VERSION);
	wire_put_u8(&w, tunnel->configured);
	wire_put_u32(&w, tunnel->flags);
	wire_put_u16(&w, tunnel->tfc.pad);
	wire_put_u16(&w, tunnel->tfc.dummies);
	put_name(&w, kept->conf->home_agents[tunnel->home_agent].name);
	put_name(&w, tunnel->name);
	put_addr(&w, at->generation == 0 && !at->closed ? &at->coa : &nowhere);
	wire_put_u8(&w, n);
	for (const struct tunnel_sa *sa = tunnel->sas; sa != NULL; sa = sa->next) {
		if (!sa->from_file)
			list_sa(&w, sa);
	}
	put(kept, STATE_NODES, &key, data, seal(&w));
}

void kept_put_sa(struct kept *kept, const struct tunnel *tunnel, bool inbound,
	const struct sa_params *params)
{
	uint8_t data[STATE_DATA_MAX];
	struct wire_out w = wire_into(data, sizeof data);
	struct key key;

	if (kept == NULL)
		return;
	key = sa_key(&tunnel->home_address, inbound, params->spi);
	wire_put_u8(&w, SA_VERSION);
	wire_put_u8(&w, (uint8_t)params->alg);
	wire_put_u8(&w, params->esn ? SA_ESN : 0);
	wire_put_u16(&w, (uint16_t)params->replay_window);
	wire_put_u8(&w, params->source.n);
	for (unsigned i = 0; i < params->source.n; i++) {
		put_addr(&w, &params->source.list[i].addr);
		wire_put_u8(&w, params->source.list[i].len);
	}
	wire_put_bytes(&w, params->key, crypto_material_bytes(params->alg));
	put(kept, STATE_SAS, &key, data, seal(&w));
	secret_wipe(data, sizeof data);
}

void kept_drop_sa(struct kept *kept, const struct ip_addr *home_address, bool inbound, uint32_t spi)
{
	struct key key;

	if (kept == NULL)
		return;
	key = sa_key(home_address, inbound, spi);
	put(kept, STATE_SAS, &key, NULL, 0);
}

void kept_drop_node(struct kept *kept, const struct ip_addr *home_address)
{
	struct key key;

	if (kept == NULL)
		return;
	key = node_key(home_address);
	put(kept, STATE_NODES, &key, NULL, 0);
	queued(kept, state_end_all(kept->state, STATE_SAS, key.bytes, key.len));
}

/* --- reading ------------------------------------------------------------------------------------
 */

static bool read_node(struct store_value key, struct store_value value, struct kept_node *node)
{
	struct wire at_key = wire_over(key.data, key.len), w = unseal(value);

	*node = (struct kept_node){.home_address = get_addr(&at_key)};
	if (!wire_done(&at_key) || wire_u8(&w) != NODE_VERSION)
		return false;
	node->configured = wire_u8(&w) != 0;
	node->flags = wire_u32(&w);
	node->tfc.pad = wire_u16(&w);
	node->tfc.dummies = wire_u16(&w);
	get_name(&w, node->home_agent);
	get_name(&w, node->name);
	node->care_of = get_addr(&w);
	node->n_sas = wire_u8(&w);
	if (node->n_sas > TUNNEL_SAS_MAX)
		return false;
	for (unsigned i = 0; i < node->n_sas; i++) {
		const uint8_t bits = wire_u8(&w);

		node->sas[i] = (struct kept_sa){
			.inbound = (bits & SA_INBOUND) != 0,
			.current = (bits & SA_CURRENT) != 0,
			.spi = wire_u32(&w),
		};
		if ((bits & SA_LIMITED) == 0)
			continue;
		node->sas[i].since_real_ns = wire_u64(&w);
		node->sas[i].life.seconds = get_limit(&w);
		node->sas[i].life.packets = get_limit(&w);
		node->sas[i].life.bytes = get_limit(&w);
	}
	return wire_done(&w);
}

struct walk {
	struct kept *kept;
	kept_node_fn *fn;
	void *arg;
};

static bool on_node(void *arg, struct store_value key, struct store_value value)
{
	const struct walk *walk = arg;
	struct kept_node node;
	char text[IP_TEXT_MAX];

	if (read_node(key, value, &node))
		return walk->fn(walk->arg, &node);
	log_warn("kept", "the record of the node at %s is damaged or of another version: left out",
		ip_addr_format(&node.home_address, text));
	return true;
}

int kept_each_node(struct kept *kept, kept_node_fn *fn, void *arg)
{
	struct walk walk = {.kept = kept, .fn = fn, .arg = arg};

	return state_each(kept->state, STATE_NODES, on_node, &walk);
}

static bool read_sa(struct store_value value, struct sa_params *params)
{
	struct wire w = unseal(value);
	const uint8_t *key;
	size_t key_bytes;
	uint8_t alg;

	if (wire_u8(&w) != SA_VERSION)
		return false;
	alg = wire_u8(&w);
	if (alg >= CRYPTO_ALG_COUNT)
		return false;
	key_bytes = crypto_material_bytes((enum crypto_alg)alg);
	params->alg = (enum crypto_alg)alg;
	params->esn = (wire_u8(&w) & SA_ESN) != 0;
	params->replay_window = wire_u16(&w);
	params->source.n = wire_u8(&w);
	if (params->source.n > SA_SOURCE_MAX)
		return false;
	for (unsigned i = 0; i < params->source.n; i++) {
		params->source.list[i].addr = get_addr(&w);
		params->source.list[i].len = wire_u8(&w);
	}
	key = wire_take(&w, key_bytes);
	if (key == NULL || !wire_done(&w))
		return false;
	memcpy(params->key, key, key_bytes);
	return true;
}

int kept_get_sa(struct kept *kept, const struct ip_addr *home_address, const struct kept_sa *sa,
	struct sa_params *params)
{
	const struct key key = sa_key(home_address, sa->inbound, sa->spi);
	struct store_value value;
	int rc = state_get(kept->state, STATE_SAS, key.bytes, key.len, &value);

	*params = (struct sa_params){.spi = sa->spi};
	if (rc == 0 && !read_sa(value, params))
		rc = -EIO;
	return rc;
}

/* --- tidying up ---------------------------------------------------------------------------------
 */

static bool is_listed(struct kept *kept, struct store_value key)
{
	struct wire w = wire_over(key.data, key.len);
	const struct ip_addr home_address = get_addr(&w);
	const bool inbound = wire_u8(&w) != 0;
	const uint32_t spi = wire_u32(&w);
	const struct key of_node = node_key(&home_address);
	struct store_value value;
	struct kept_node node;

	if (!wire_done(&w) ||
		state_get(kept->state, STATE_NODES, of_node.bytes, of_node.len, &value) != 0)
		return false;
	if (!read_node((struct store_value){of_node.bytes, of_node.len}, value, &node))
		return true; /* who knows */
	for (unsigned i = 0; i < node.n_sas; i++) {
		if (node.sas[i].inbound == inbound && node.sas[i].spi == spi)
			return true;
	}
	return false;
}

static bool drop_unlisted(void *arg, struct store_value key, struct store_value value)
{
	struct kept *kept = arg;

	(void)value;
	if (!is_listed(kept, key))
		(void)!state_put(kept->state, STATE_SAS, key.data, key.len, NULL, 0);
	return kept_make_room(kept); /* if the disk fails, the next start goes on */
}

void kept_sweep(struct kept *kept)
{
	/* Later changes of the records that the walk has passed are seen by is_listed() no more,
	 * but they only take SAs away. */
	(void)state_each(kept->state, STATE_SAS, drop_unlisted, kept);
}

int kept_forget(struct state *state)
{
	size_t nodes = 0, sas = 0;
	int rc = state_count(state, STATE_NODES, &nodes);

	if (rc == 0)
		rc = state_count(state, STATE_SAS, &sas);
	if (rc == 0 && nodes + sas != 0)
		rc = state_clear(state, STATE_NODES);
	if (rc == 0 && nodes + sas != 0)
		rc = state_clear(state, STATE_SAS);
	return rc != 0 ? rc : (int)(nodes + sas);
}
