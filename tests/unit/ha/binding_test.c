/* SPDX-License-Identifier: BSD-3-Clause */
/* The binding cache: what survives a restart, and what each change leaves in memory and on disk. */
#include "control/ha/binding.h"

#include "tests/unit/ha/fixture.h"
#include "tests/unit/lib/unit.h"

#include <errno.h>
#include <sys/stat.h>

#define MAP_BYTES (1u << 20)

static struct ha_conf conf;
static struct store *store;
static struct ha_bindings *bindings;
static struct ha_binding *binding; /* of node 0 */

static void reopen(void)
{
	static const char *const names[] = {HA_BINDING_DB, NULL};
	char why[256], path[160];

	ha_bindings_close(bindings);
	store_close(store);
	snprintf(path, sizeof path, "%s/state", unit_folder());
	CU_ASSERT_EQUAL_FATAL(store_open(path, names, MAP_BYTES, &store, why, sizeof why), 0);
	CU_ASSERT_EQUAL_FATAL(ha_bindings_open(store, &conf, &bindings), 0);
	binding = ha_binding_at(bindings, 0);
}

static void begin(void)
{
	unit_remove_folder();
	if (mkdir(unit_folder(), 0700) != 0)
		abort();
	conf = fixture_conf();
	set_clock(0);
	reopen();
}

static void end(void)
{
	ha_bindings_close(bindings);
	store_close(store);
	bindings = NULL;
	store = NULL;
}

static struct ha_registration request(const char *coa, uint16_t lifetime_s, uint64_t identification)
{
	struct ha_registration reg = {.kind = lifetime_s != 0 ? HA_REGISTER : HA_DEREGISTER_COA,
		.lifetime_s = lifetime_s,
		.rrq = {.flags = MIP4_FLAG_D | MIP4_FLAG_T,
			.lifetime_s = lifetime_s,
			.hoa = addr_of(HOME),
			.ha = addr_of(AGENT),
			.coa = addr_of(coa),
			.identification = identification}};

	return reg;
}

static struct ha_reply reply_of(uint8_t content)
{
	struct ha_reply reply = {.len = 58, .port = 40000};

	memset(reply.bytes, content, reply.len);
	return reply;
}

static void move_to(const char *coa, uint64_t identification, int gateway)
{
	struct ha_registration reg = request(coa, 100, identification);
	struct ha_reply reply = reply_of((uint8_t)identification);

	CU_ASSERT_EQUAL_FATAL(ha_binding_accept(bindings, binding, &reg, &reply, gateway), 0);
}

static bool is_at(const struct ha_care *care, const char *coa)
{
	struct ip_addr addr = addr_of(coa);

	return ip_addr_equal(&care->coa, &addr);
}

static void nothing_stored(void)
{
	begin();
	CU_ASSERT_FALSE(binding->known.any);
	CU_ASSERT_EQUAL(binding->generation, 0);
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	end();
}

static void pending_survives(void)
{
	begin();
	move_to(COA_A, 7, 1);
	CU_ASSERT_TRUE(binding->pending);
	set_clock(40);
	reopen();
	CU_ASSERT_TRUE(binding->pending);
	CU_ASSERT_EQUAL(binding->generation, 1);
	CU_ASSERT_TRUE(binding->known.any);
	CU_ASSERT_EQUAL(binding->known.identification, 7);
	CU_ASSERT_TRUE(is_at(&binding->registered, COA_A));
	CU_ASSERT_EQUAL(binding->registered.gateway, 1);
	CU_ASSERT_TRUE(binding->registered.reverse_tunnel);
	CU_ASSERT_EQUAL(binding->registered.ends_mono_ns, START_MONO_NS + 100 * NS_PER_S);
	CU_ASSERT_FALSE(ip_addr_is_set(&binding->in_force.coa));
	CU_ASSERT_EQUAL(binding->reply.len, 58);
	CU_ASSERT_EQUAL(binding->reply.port, 40000);
	CU_ASSERT_EQUAL(binding->reply.bytes[57], 7);
	end();
}

static void former_until_confirmed(void)
{
	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, 0), 0);
	move_to(COA_B, 8, 0);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_A));
	reopen();
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_A));
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, 0), 0);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_B));
	reopen();
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), COA_B));
	CU_ASSERT_EQUAL(binding->generation, 2);
	end();
}

static void refused_keeps_the_former(void)
{
	struct ha_reply denial = reply_of(99);

	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, 0), 0);
	move_to(COA_B, 8, 0);
	CU_ASSERT_EQUAL(ha_binding_refuse(bindings, binding, &denial), 0);
	reopen();
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(is_at(&binding->registered, COA_A));
	CU_ASSERT_TRUE(is_at(&binding->in_force, COA_A));
	CU_ASSERT_EQUAL(binding->known.identification, 8); /* it was accepted once */
	CU_ASSERT_EQUAL(binding->generation, 3);           /* what stays is said again, and later */
	CU_ASSERT_EQUAL(binding->reply.bytes[0], 99);
	end();
}

static void direct_is_in_force_at_once(void)
{
	begin();
	move_to("10.2.0.77", 7, HA_DIRECT);
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), "10.2.0.77"));
	reopen();
	CU_ASSERT_EQUAL(binding->in_force.gateway, HA_DIRECT);
	CU_ASSERT_TRUE(is_at(ha_binding_target(binding), "10.2.0.77"));
	end();
}

static void expiry(void)
{
	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, 0), 0);
	CU_ASSERT_EQUAL(ha_binding_expire(bindings, binding), 0);
	reopen();
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_EQUAL(binding->generation, 2);
	CU_ASSERT_EQUAL(binding->known.identification, 7); /* never forgotten */
	CU_ASSERT_EQUAL(binding->reply.len, 0);
	end();
}

static void clock_steps(void)
{
	begin();
	move_to(COA_A, 7, 0);
	/* 1 hour back between two runs: not longer than it was granted. */
	clock_set_test(START_MONO_NS, clock_real_ns() - 3600 * NS_PER_S);
	reopen();
	CU_ASSERT_EQUAL(binding->registered.ends_mono_ns, START_MONO_NS + 100 * NS_PER_S);
	/* 1 hour on, on a machine that was booted just now: over. */
	clock_set_test(5 * NS_PER_S, (VECTOR_SECONDS - NTP_UNIX_OFFSET_S + 3600) * NS_PER_S);
	reopen();
	CU_ASSERT_TRUE(binding->registered.ends_mono_ns <= clock_mono_ns());
	end();
}

static void gateway_gone_from_configuration(void)
{
	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, 0), 0);
	move_to(COA_B, 8, 1);
	conf.n_gateways = 1;
	reopen();
	CU_ASSERT_FALSE(binding->pending);
	CU_ASSERT_TRUE(is_at(&binding->registered, COA_A));
	conf.gateways[0].name = "renamed";
	reopen();
	CU_ASSERT_PTR_NULL(ha_binding_target(binding));
	CU_ASSERT_EQUAL(binding->known.identification, 8);
	end();
}

static void gateways_in_another_order(void)
{
	begin();
	move_to(COA_A, 7, 0);
	conf.gateways[0].name = "gw2";
	conf.gateways[1].name = "gw1";
	reopen();
	CU_ASSERT_EQUAL(binding->registered.gateway, 1);
	end();
}

static void disk_is_full(void)
{
	struct ha_registration reg = request(COA_B, 100, 8);
	struct ha_reply reply = reply_of(8);

	begin();
	move_to(COA_A, 7, 0);
	disk_full = true;
	CU_ASSERT_EQUAL(ha_binding_accept(bindings, binding, &reg, &reply, 0), -ENOSPC);
	CU_ASSERT_EQUAL(ha_binding_remember(bindings, binding, &reg, &reply), -ENOSPC);
	CU_ASSERT_EQUAL(ha_binding_outrun(bindings, binding, 100), -ENOSPC);
	CU_ASSERT_EQUAL(ha_binding_expire(bindings, binding), -ENOSPC);
	disk_full = false;
	CU_ASSERT_EQUAL(binding->generation, 1);
	CU_ASSERT_EQUAL(binding->known.identification, 7);
	CU_ASSERT_TRUE(is_at(&binding->registered, COA_A));
	end();
}

static void outrun(void)
{
	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_EQUAL(ha_binding_outrun(bindings, binding, 41), 0);
	reopen();
	CU_ASSERT_EQUAL(binding->generation, 42);
	CU_ASSERT_EQUAL(ha_binding_outrun(bindings, binding, UINT64_MAX), -EOVERFLOW);
	CU_ASSERT_EQUAL(ha_binding_outrun(bindings, binding, 3), 0); /* never back */
	CU_ASSERT_EQUAL(binding->generation, 42);
	end();
}

static void damaged_record(void)
{
	struct ha_bindings *other = NULL;
	struct ip_addr home = addr_of(HOME);
	struct store_value value;
	uint8_t record[512];

	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_EQUAL_FATAL(
		store_get(store, HA_BINDING_DB, home.bytes, sizeof home.bytes, &value), 0);
	memcpy(record, value.data, value.len);
	for (size_t len = 0; len < value.len; len += 5) {
		CU_ASSERT_EQUAL_FATAL(
			store_put(store, HA_BINDING_DB, home.bytes, sizeof home.bytes, record, len),
			0);
		CU_ASSERT_EQUAL(ha_bindings_open(store, &conf, &other), -EIO);
	}
	end();
}

static void reverse_tunnel_sources(void)
{
	struct ip_addr a = addr_of(COA_A), b = addr_of(COA_B);
	uint64_t now = START_MONO_NS;

	begin();
	move_to(COA_A, 7, 0);
	CU_ASSERT_TRUE(ha_binding_accepts_outer(binding, &a, now));
	CU_ASSERT_FALSE(ha_binding_accepts_outer(binding, &b, now));
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, now), 0);
	move_to(COA_B, 8, 0);
	CU_ASSERT_TRUE(ha_binding_accepts_outer(binding, &a, now)); /* in force */
	CU_ASSERT_TRUE(ha_binding_accepts_outer(binding, &b, now)); /* registered */
	CU_ASSERT_EQUAL(ha_binding_confirm(bindings, binding, now + 2), 0);
	CU_ASSERT_TRUE(ha_binding_accepts_outer(binding, &a, now + 1)); /* grace */
	CU_ASSERT_FALSE(ha_binding_accepts_outer(binding, &a, now + 2));
	CU_ASSERT_TRUE(ha_binding_accepts_outer(binding, &b, now + 2));
	binding->in_force.reverse_tunnel = binding->registered.reverse_tunnel = false;
	CU_ASSERT_FALSE(ha_binding_accepts_outer(binding, &b, now));
	CU_ASSERT_FALSE(ha_binding_accepts_outer(binding, &a, now));
	end();
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"nothing stored", nothing_stored},
		{"pending survives", pending_survives},
		{"former until confirmed", former_until_confirmed},
		{"refused keeps the former", refused_keeps_the_former},
		{"direct is in force at once", direct_is_in_force_at_once},
		{"expiry", expiry},
		{"clock steps", clock_steps},
		{"gateway gone from the configuration", gateway_gone_from_configuration},
		{"gateways in another order", gateways_in_another_order},
		{"disk is full", disk_is_full},
		{"outrun", outrun},
		{"damaged record", damaged_record},
		{"reverse tunnel sources", reverse_tunnel_sources},
		{NULL, NULL},
	};
	int code = unit_run("binding", cases);

	unit_remove_folder();
	return code;
}
