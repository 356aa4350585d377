/* SPDX-License-Identifier: BSD-3-Clause */
/* How this works: see the header; everything is checked by abort(), since it is not under test. */
#include "gw_fixture.h"

#include "dataplane_double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char conf_format[] =
	"state_dir = \"%s/state\";\n"
	"control_socket = \"%s/sock\";\n"
	"inside_prefixes = [ \"10.1.0.0/16\", \"10.2.0.0/16\" ];\n"
	"forbidden_coas = [ \"198.18.0.0/15\" ];\n"
	"move_rate = 5;\n"
	"move_burst = 3;\n"
	"grace_ms = 2000;\n"
	"dpdk = { control_cpu = \"0\"; worker_cpus = \"1\"; };\n"
	"outside = { device = \"net_tap0\"; mirror = \"rg-out\"; addresses = [ \"192.0.2.1/24\" ]; "
	"};\n"
	"inside = { device = \"net_tap1\"; mirror = \"rg-in\"; addresses = [ \"10.2.0.254/24\" ]; "
	"};\n"
	"routes = ( { to = \"0.0.0.0/0\"; via = \"192.0.2.254\"; } );\n"
	"siu = { listen = \"10.2.0.254:4340\"; };\n"
	"home_agents = (\n"
	"  { name = \"ha1\"; address = \"10.2.0.1:4340\"; tunnel_source = \"10.1.0.1\";\n"
	"    prefixes = [ \"10.1.0.0/24\" ]; key_id = 1; secret_file = \"%s/siu.key\"; },\n"
	"  { name = \"ha2\"; address = \"10.2.0.2:4340\"; tunnel_source = \"10.1.1.1\";\n"
	"    prefixes = [ \"10.1.1.0/24\", \"10.1.0.0/24\" ]; key_id = 1; secret_file = "
	"\"%s/siu.key\"; }\n"
	");\n"
	"mobile_nodes = (\n"
	"  { name = \"node1\"; home_address = \"10.1.0.10\"; home_agent = \"ha1\";\n"
	"    inbound = { spi = 0x1001; algorithm = \"aes128gcm16\"; key_file = \"%s/1.key\"; };\n"
	"    outbound = { spi = 0x2001; algorithm = \"aes128gcm16\"; key_file = \"%s/2.key\"; }; "
	"},\n"
	"  { name = \"node2\"; home_address = \"10.1.0.11\"; home_agent = \"ha1\"; }\n"
	");\n";

void fixture_write(const char *dir, const char *name, const char *text, unsigned mode)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	file = fopen(path, "w");
	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0 || chmod(path, mode) != 0)
		abort();
}

static char folder[128];
static const char *secret = "000102030405060708090a0b0c0d0e0f\n";

void fixture_secret(const char *line)
{
	secret = line;
}

const char *fixture_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(folder, sizeof folder, "%s/roamgate-unit-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(folder) == NULL)
		abort();
	fixture_write(folder, "siu.key", secret, 0600);
	fixture_write(folder, "1.key", "101112131415161718191a1b1c1d1e1f20212223\n", 0600);
	fixture_write(folder, "2.key", "303132333435363738393a3b3c3d3e3f40414243\n", 0600);
	return folder;
}

static void remove_folder(const char *dir)
{
	char command[160];

	snprintf(command, sizeof command, "rm -rf -- '%s'", dir);
	if (system(command) != 0)
		fprintf(stderr, "%s is left behind\n", dir);
}

void fixture_remove_folder(void)
{
	remove_folder(folder);
}

size_t fixture_conf_text(const char *dir, char *out, size_t room)
{
	int len = snprintf(out, room, conf_format, dir, dir, dir, dir, dir, dir);

	if (len < 0 || (size_t)len >= room)
		abort();
	return (size_t)len;
}

static void count_event(void *arg, const struct key_event *event)
{
	struct fixture *fixture = arg;

	(void)event;
	fixture->key_events++;
}

static void open_parts(struct fixture *fixture, bool disk)
{
	struct tunnel_config config;
	char why[256];

	if (state_open(fixture->conf->state_dir, 64, AFTER_POWER_LOSS_STRICT, &fixture->state, why,
		    sizeof why) != 0 ||
		(disk && state_start(fixture->state) != 0)) {
		fprintf(stderr, "%s\n", why);
		abort();
	}
	fixture->handovers = handovers_new();
	config = (struct tunnel_config){
		.unverified_credit = 100000,
		.dp = DOUBLE_DP,
		.handovers = fixture->handovers,
		.local = addr_of("192.0.2.1"),
		.mtu = 1500,
		.max_nodes = fixture->conf->max_nodes,
	};
	fixture->tunnels = tunnels_new(&config);
	fixture->kept = kept_new(fixture->state, fixture->conf);
	fixture->keys = key_verbs_new(
		fixture->tunnels, fixture->state, fixture->kept, count_event, fixture);
}

static void close_parts(struct fixture *fixture)
{
	double_reset_calls();
	key_verbs_free(fixture->keys);
	kept_free(fixture->kept);
	tunnels_free(fixture->tunnels);
	handovers_free(fixture->handovers);
	double_free_nodes();
	state_close(fixture->state);
}

void fixture_open(struct fixture *fixture, bool disk)
{
	char text[4096], path[256];

	memset(fixture, 0, sizeof *fixture);
	memset(&dp_double, 0, sizeof dp_double);
	snprintf(fixture->dir, sizeof fixture->dir, "%s", fixture_folder());
	fixture_conf_text(fixture->dir, text, sizeof text);
	fixture_write(fixture->dir, "gw.conf", text, 0600);
	snprintf(path, sizeof path, "%s/gw.conf", fixture->dir);
	fixture->conf = gw_conf_load(path);
	if (fixture->conf == NULL)
		abort();
	open_parts(fixture, disk);
}

void fixture_restart(struct fixture *fixture)
{
	(void)state_flush(fixture->state);
	fixture_crash(fixture);
}

void fixture_crash(struct fixture *fixture)
{
	close_parts(fixture);
	open_parts(fixture, false);
	dp_double.counters = state_counters(fixture->state);
}

struct gw fixture_gw(const struct fixture *fixture)
{
	return (struct gw){
		.conf = fixture->conf,
		.state = fixture->state,
		.dp = DOUBLE_DP,
		.handovers = fixture->handovers,
		.tunnels = fixture->tunnels,
		.kept = fixture->kept,
		.keys = fixture->keys,
	};
}

void fixture_close(struct fixture *fixture)
{
	close_parts(fixture);
	gw_conf_free(fixture->conf);
	remove_folder(fixture->dir);
}

void fixture_add_nodes(struct fixture *fixture)
{
	static const struct {
		const char *name, *home_address;
		uint32_t home_agent;
	} nodes[] = {
		{"node1", "10.1.0.10", 0}, {"node2", "10.1.0.11", 0}, {"other1", "10.1.1.10", 1}};

	for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
		const struct tunnel_params params = {
			.name = nodes[i].name,
			.home_address = addr_of(nodes[i].home_address),
			.home_agent = nodes[i].home_agent,
			.home_agent_source =
				fixture->conf->home_agents[nodes[i].home_agent].tunnel_source,
			.configured = true,
			.position = {.closed = true},
		};
		struct tunnel *tunnel;

		if (tunnel_add(fixture->tunnels, &params, &tunnel) != 0)
			abort();
	}
	double_reset_calls();
}

struct tunnel *fixture_node(const struct fixture *fixture, const char *name)
{
	return tunnel_by_name(fixture->tunnels, name);
}

struct ip_addr addr_of(const char *text)
{
	struct ip_addr addr;

	if (!ip_addr_parse(text, &addr))
		abort();
	return addr;
}
