/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: every change is made on a copy, the copy is written, and only then takes the
 * record's place: memory never says what the disk does not. confirm and refuse are the exception,
 * they only undo a promise and are repeated by the gateway's answer after a restart.
 *
 * On disk times are real time, in memory monotonic: a step of the clock moves no running lifetime.
 * A record names its gateways by name, since their order in the configuration may change. The
 * record of a node that is no longer configured stays: its highest Identification must outlive a
 * node's removal and return (RFC 5944 section 5.7).
 */
#include "control/ha/binding.h"

#include "lib/clock.h"
#include "lib/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION 1
#define RECORD_MAX 512 /* bytes; two care places, a reply, and fixed fields need less than 300 */
#define RECORD_KNOWN 0x01
#define RECORD_PENDING 0x02
#define CARE_REVERSE 0x01

struct ha_bindings {
	struct store *store;
	const struct ha_conf *conf;
	struct ha_binding *records; /* n_nodes of the configuration */
};

static const struct ha_care AT_HOME = {.gateway = HA_DIRECT};

/* --- record on disk --- */

static void put_addr(struct wire_out *w, const struct ip_addr *addr)
{
	wire_put_u8(w, addr->family);
	wire_put_bytes(w, addr->bytes, sizeof addr->bytes);
}

static struct ip_addr get_addr(struct wire *w)
{
	struct ip_addr addr = {.family = wire_u8(w)};
	const uint8_t *bytes = wire_take(w, sizeof addr.bytes);

	if (bytes != NULL)
		memcpy(addr.bytes, bytes, sizeof addr.bytes);
	return addr;
}

static void put_care(struct wire_out *w, const struct ha_conf *conf, const struct ha_care *care,
	int64_t real_ahead)
{
	const char *name = care->gateway == HA_DIRECT ? "" : conf->gateways[care->gateway].name;
	size_t len = strlen(name);

	put_addr(w, &care->coa);
	wire_put_u8(w, care->reverse_tunnel ? CARE_REVERSE : 0);
	wire_put_u16(w, care->lifetime_s);
	wire_put_u64(w, care->ends_mono_ns + (uint64_t)real_ahead);
	wire_put_u8(w, (uint8_t)len);
	wire_put_bytes(w, name, len);
}

/* False: its gateway is no longer configured; the care is then AT_HOME. */
static bool get_care(
	struct wire *w, const struct ha_conf *conf, struct ha_care *care, int64_t real_ahead)
{
	uint64_t longest;
	size_t len;
	const uint8_t *name;

	care->coa = get_addr(w);
	care->reverse_tunnel = (wire_u8(w) & CARE_REVERSE) != 0;
	care->lifetime_s = wire_u16(w);
	care->ends_mono_ns = wire_u64(w) - (uint64_t)real_ahead;
	/* A clock that was set back must not make a lifetime longer than it was granted. */
	longest = clock_mono_ns() + care->lifetime_s * NS_PER_S;
	if ((int64_t)(care->ends_mono_ns - longest) > 0)
		care->ends_mono_ns = longest;
	/* Over before this machine was booted: monotonic time has no number for it. */
	if ((int64_t)care->ends_mono_ns < 0)
		care->ends_mono_ns = 0;
	len = wire_u8(w);
	name = wire_take(w, len);
	care->gateway = HA_DIRECT;
	if (len == 0 || name == NULL)
		return true;
	for (size_t i = 0; i < conf->n_gateways; i++) {
		if (strlen(conf->gateways[i].name) == len &&
			memcmp(conf->gateways[i].name, name, len) == 0) {
			care->gateway = (int)i;
			return true;
		}
	}
	*care = AT_HOME;
	return false;
}

static int64_t real_ahead_of_mono(void)
{
	return (int64_t)(clock_real_ns() - clock_mono_ns());
}

static size_t encode(
	const struct ha_bindings *bindings, const struct ha_binding *binding, uint8_t *out)
{
	struct wire_out w = wire_into(out, RECORD_MAX);
	int64_t ahead = real_ahead_of_mono();

	wire_put_u8(&w, RECORD_VERSION);
	wire_put_u8(&w, (uint8_t)((binding->known.any ? RECORD_KNOWN : 0) |
				  (binding->pending ? RECORD_PENDING : 0)));
	wire_put_u64(&w, binding->generation);
	wire_put_u64(&w, binding->known.identification);
	put_addr(&w, &binding->known.coa);
	put_care(&w, bindings->conf, &binding->registered, ahead);
	put_care(&w, bindings->conf, &binding->in_force, ahead);
	wire_put_u16(&w, binding->reply.port);
	wire_put_u16(&w, binding->reply.len);
	wire_put_bytes(&w, binding->reply.bytes, binding->reply.len);
	return w.ok ? wire_written(&w) : 0;
}

static int decode(
	const struct ha_bindings *bindings, struct ha_binding *binding, struct store_value value)
{
	struct wire w = wire_over(value.data, value.len);
	int64_t ahead = real_ahead_of_mono();
	const uint8_t *reply;
	bool has_gateways;
	uint8_t flags;

	if (wire_u8(&w) != RECORD_VERSION)
		return -EIO;
	flags = wire_u8(&w);
	binding->known.any = (flags & RECORD_KNOWN) != 0;
	binding->pending = (flags & RECORD_PENDING) != 0;
	binding->generation = wire_u64(&w);
	binding->known.identification = wire_u64(&w);
	binding->known.coa = get_addr(&w);
	has_gateways = get_care(&w, bindings->conf, &binding->registered, ahead);
	has_gateways = get_care(&w, bindings->conf, &binding->in_force, ahead) && has_gateways;
	binding->reply.port = wire_u16(&w);
	binding->reply.len = wire_u16(&w);
	if (binding->reply.len > HA_REPLY_MAX)
		return -EIO;
	reply = wire_take(&w, binding->reply.len);
	if (reply != NULL)
		memcpy(binding->reply.bytes, reply, binding->reply.len);
	if (!has_gateways) {
		/* Nobody is left who could confirm it, and what is in force is all there is. */
		binding->registered = binding->in_force;
		binding->pending = false;
	}
	return wire_done(&w) ? 0 : -EIO;
}

static int save(struct ha_bindings *bindings, const struct ha_binding *binding)
{
	const struct ip_addr *home = &binding->node->home_address;
	uint8_t record[RECORD_MAX];
	size_t len = encode(bindings, binding, record);

	if (len == 0)
		return -EIO;
	return store_put(
		bindings->store, HA_BINDING_DB, home->bytes, sizeof home->bytes, record, len);
}

/* The write that decides: *binding becomes *changed only if it is on disk. */
static int replace(
	struct ha_bindings *bindings, struct ha_binding *binding, const struct ha_binding *changed)
{
	int err = save(bindings, changed);

	if (err == 0)
		*binding = *changed;
	return err;
}

/* --- table --- */

int ha_bindings_open(struct store *store, const struct ha_conf *conf, struct ha_bindings **out)
{
	struct ha_bindings *bindings = calloc(1, sizeof *bindings);
	int err = -ENOMEM;

	if (bindings == NULL)
		return err;
	*bindings = (struct ha_bindings){.store = store, .conf = conf};
	bindings->records = calloc(conf->n_nodes, sizeof *bindings->records);
	if (bindings->records == NULL)
		goto fail;
	for (size_t i = 0; i < conf->n_nodes; i++) {
		const struct ip_addr *home = &conf->nodes[i].home_address;
		struct ha_binding *binding = &bindings->records[i];
		struct store_value value;

		*binding = (struct ha_binding){
			.node = &conf->nodes[i], .registered = AT_HOME, .in_force = AT_HOME};
		err = store_get(store, HA_BINDING_DB, home->bytes, sizeof home->bytes, &value);
		if (err == 0)
			err = decode(bindings, binding, value);
		if (err != 0 && err != -ENOENT)
			goto fail;
	}
	*out = bindings;
	return 0;
fail:
	ha_bindings_close(bindings);
	return err;
}

void ha_bindings_close(struct ha_bindings *bindings)
{
	if (bindings == NULL)
		return;
	free(bindings->records);
	free(bindings);
}

struct ha_binding *ha_binding_at(struct ha_bindings *bindings, size_t index)
{
	return &bindings->records[index];
}

struct ha_binding *ha_binding_find(struct ha_bindings *bindings, const struct ip_addr *home_address)
{
	int index = ha_conf_find_node(bindings->conf, home_address);

	return index >= 0 ? &bindings->records[index] : NULL;
}

const struct ha_care *ha_binding_target(const struct ha_binding *binding)
{
	if (ip_addr_is_set(&binding->in_force.coa))
		return &binding->in_force;
	return ip_addr_is_set(&binding->registered.coa) ? &binding->registered : NULL;
}

static bool reverses_from(const struct ha_care *care, const struct ip_addr *outer_source)
{
	return care->reverse_tunnel && ip_addr_equal(&care->coa, outer_source);
}

bool ha_binding_accepts_outer(
	const struct ha_binding *binding, const struct ip_addr *outer_source, uint64_t now_ns)
{
	if (reverses_from(&binding->in_force, outer_source) ||
		reverses_from(&binding->registered, outer_source))
		return true;
	return binding->in_force.reverse_tunnel && now_ns < binding->former_until_mono_ns &&
	       ip_addr_equal(&binding->former_coa, outer_source);
}

/* --- changes --- */

static void know(
	struct ha_binding *binding, const struct ha_registration *reg, const struct ha_reply *reply)
{
	binding->known = (struct ha_known){
		.any = true, .identification = reg->rrq.identification, .coa = reg->rrq.coa};
	binding->reply = *reply;
}

int ha_binding_accept(struct ha_bindings *bindings, struct ha_binding *binding,
	const struct ha_registration *reg, const struct ha_reply *reply, int gateway)
{
	struct ha_binding changed = *binding;

	know(&changed, reg, reply);
	changed.generation++;
	changed.registered = (struct ha_care){.gateway = gateway};
	if (reg->kind == HA_REGISTER)
		changed.registered = (struct ha_care){.coa = reg->rrq.coa,
			.gateway = gateway,
			.lifetime_s = reg->lifetime_s,
			.reverse_tunnel = (reg->rrq.flags & MIP4_FLAG_T) != 0,
			.ends_mono_ns = clock_mono_ns() + reg->lifetime_s * NS_PER_S};
	changed.pending = gateway != HA_DIRECT;
	if (!changed.pending)
		changed.in_force = changed.registered;
	return replace(bindings, binding, &changed);
}

int ha_binding_remember(struct ha_bindings *bindings, struct ha_binding *binding,
	const struct ha_registration *reg, const struct ha_reply *reply)
{
	struct ha_binding changed = *binding;

	know(&changed, reg, reply);
	return replace(bindings, binding, &changed);
}

int ha_binding_confirm(
	struct ha_bindings *bindings, struct ha_binding *binding, uint64_t former_until_mono_ns)
{
	binding->former_coa = binding->in_force.coa;
	binding->former_until_mono_ns = former_until_mono_ns;
	binding->in_force = binding->registered;
	binding->pending = false;
	return save(bindings, binding);
}

int ha_binding_refuse(
	struct ha_bindings *bindings, struct ha_binding *binding, const struct ha_reply *denial)
{
	struct ha_binding changed = *binding;

	changed.registered = changed.in_force;
	changed.pending = false;
	changed.reply = *denial;
	changed.generation++;
	return replace(bindings, binding, &changed);
}

int ha_binding_outrun(struct ha_bindings *bindings, struct ha_binding *binding, uint64_t in_force)
{
	struct ha_binding changed = *binding;

	if (in_force == UINT64_MAX)
		return -EOVERFLOW;
	if (in_force >= changed.generation)
		changed.generation = in_force + 1;
	return replace(bindings, binding, &changed);
}

int ha_binding_expire(struct ha_bindings *bindings, struct ha_binding *binding)
{
	struct ha_binding changed = *binding;

	changed.generation++;
	changed.registered = AT_HOME;
	changed.in_force = AT_HOME;
	changed.pending = false;
	changed.reply.len = 0;
	return replace(bindings, binding, &changed);
}
