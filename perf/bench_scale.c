/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a node costs when there are many: time to add, move and delete one, memory, time to load.
 *
 * How this works: nodes with an inbound and an outbound SA each are added by the calls that the
 * control socket makes, as many as are asked for; then ROUNDS times one more is added, a random one
 * is moved, and the additional one is deleted, each step timed alone. Memory is what the process
 * has (without pages of the state's files) and what the state takes on disk. The folder is left as
 * a killed gateway leaves it, so that a second run can load from it. No worker runs: a grace period
 * is over at once.
 */
#include "control/gw/gw.h"
#include "control/gw/gw_conf.h"
#include "control/gw/handovers.h"
#include "control/gw/key_verbs.h"
#include "control/gw/provision.h"
#include "control/gw/state.h"
#include "control/gw/tunnel.h"
#include "lib/clock.h"
#include "lib/hmac.h"
#include "lib/log.h"
#include "perf/bench.h"
#include "perf/rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS 2000
#define MBUFS 4095
#define SPI_IN 0x01000000u
#define SPI_OUT 0x02000000u
#define KEY_BYTES 20 /* aes128gcm16, with salt */
#define REPLAY_WINDOW 1024
#define NAME_BYTES 64
#define ROOM_FOR_A_ROUND 64 /* records */

static struct gw gw;
static struct rig rig;

/* --- setting up ---------------------------------------------------------------------------------
 */

static struct gw_conf *make_conf(uint32_t max_nodes)
{
	struct gw_conf *conf = calloc(1, sizeof *conf);
	struct gw_home_agent_conf *ha;

	if (conf == NULL)
		rig_fail("out of memory");
	ha = &conf->home_agents[0];
	conf->n_home_agents = 1;
	conf->max_nodes = max_nodes;
	conf->ports[DP_OUTSIDE].addrs[0] = rig_addr(rig_outside);
	conf->ports[DP_INSIDE].mtu = conf->ports[DP_OUTSIDE].mtu = RIG_MTU;
	snprintf(ha->name, sizeof ha->name, "ha1");
	ha->tunnel_source = rig_addr(rig_home_agent);
	ha->prefixes.n = conf->inside.n = 1;
	if (!ip_prefix_parse("10.64.0.0/10", &ha->prefixes.list[0]) ||
		!ip_prefix_parse("10.0.0.0/8", &conf->inside.list[0]))
		rig_fail("addresses");
	return conf;
}

static void open_tables(const struct gw_conf *conf, const char *folder)
{
	char why[256];

	if (state_open(folder, conf->max_nodes * 2 + 16, AFTER_POWER_LOSS_STRICT, &gw.state, why,
		    sizeof why) != 0)
		rig_fail(why);
	rig_open_gateway(
		&rig, CRYPTO_AES128GCM16, conf->max_nodes, MBUFS, state_counters(gw.state), 1);
	gw.conf = conf;
	gw.dp = rig.dp;
	gw.handovers = handovers_new();
	gw.tunnels = tunnels_new(&(struct tunnel_config){.dp = rig.dp,
		.handovers = gw.handovers,
		.local = rig_addr(rig_outside),
		.mtu = RIG_MTU,
		.max_nodes = conf->max_nodes});
	gw.kept = kept_new(gw.state, conf);
	gw.keys = key_verbs_new(gw.tunnels, gw.state, gw.kept, NULL, NULL);
	if (gw.handovers == NULL || gw.tunnels == NULL || gw.kept == NULL || gw.keys == NULL)
		rig_fail("out of memory");
}

/* --- one node -----------------------------------------------------------------------------------
 */

static void name_of(uint32_t i, char name[NODE_NAME_MAX])
{
	snprintf(name, NODE_NAME_MAX, "node%u", i);
}

/* Keys that differ and cost nothing to make. */
static struct sa_params params_of(uint32_t i, bool inbound)
{
	struct sa_params params = {.spi = (inbound ? SPI_IN : SPI_OUT) + i,
		.alg = CRYPTO_AES128GCM16,
		.esn = true,
		.replay_window = inbound ? REPLAY_WINDOW : 0};

	memcpy(params.key, &params.spi, sizeof params.spi);
	return params;
}

static struct tunnel *tunnel_of(uint32_t i)
{
	char name[NODE_NAME_MAX];

	name_of(i, name);
	return tunnel_by_name(gw.tunnels, name);
}

static void add_node(uint32_t i)
{
	const struct sa_params in = params_of(i, true), out = params_of(i, false);
	struct gw_node_conf node = {.home_address = rig_home(i),
		.care_of = rig_coa(i),
		.flags = NODE_STRICT_INNER_SOURCE};
	struct tunnel *tunnel;
	char why[256];
	const char *reason = "";

	name_of(i, node.name);
	if (provision_add(&gw, &node, why, sizeof why) != 0)
		rig_fail(why);
	tunnel = tunnel_of(i);
	if (key_add(gw.keys, tunnel, true, &in, &reason) != 0 ||
		key_add(gw.keys, tunnel, false, &out, &reason) != 0)
		rig_fail(reason);
}

static void move_node(struct tunnel *tunnel, uint32_t to)
{
	struct position position = tunnel->position;

	position.former_coa = position.coa;
	position.coa = position.remote.addr = rig_coa(to);
	position.grace_until_ns = clock_mono_ns() + 2 * NS_PER_S;
	position.generation++;
	if (tunnel_move(gw.tunnels, tunnel, &position) != 0)
		rig_fail("cannot move a node");
}

/* What else the control thread and the state thread do; not timed. */
static void house_keeping(void)
{
	dataplane_poll(gw.dp, clock_mono_ns(), NULL, NULL);
	if (state_room(gw.state) < ROOM_FOR_A_ROUND && state_flush(gw.state) != 0)
		rig_fail("cannot write to the state folder");
}

/* --- measuring ----------------------------------------------------------------------------------
 */

static void report_times(const char *what, uint32_t nodes, struct bench_samples *us)
{
	char name[NAME_BYTES];

	snprintf(name, sizeof name, "scale/%s/%u", what, nodes);
	bench_report(name, "us", us);
	snprintf(name, sizeof name, "scale/%s/p99/%u", what, nodes);
	bench_report_one(name, "us", bench_percentile(us, 99), us->n);
	bench_samples_free(us);
}

static void report_one(const char *what, const char *unit, uint32_t nodes, double value)
{
	char name[NAME_BYTES];

	snprintf(name, sizeof name, "scale/%s/%u", what, nodes);
	bench_report_one(name, unit, value, 1);
}

static double us_since(uint64_t from)
{
	return (double)(bench_cycles() - from) / bench_cycles_per_us();
}

static void measure_steps(uint32_t nodes)
{
	struct bench_samples add, move, del;

	bench_samples_init(&add);
	bench_samples_init(&move);
	bench_samples_init(&del);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct tunnel *tunnel;
		uint32_t victim;
		uint64_t from = bench_cycles();

		add_node(nodes + i);
		bench_add(&add, us_since(from));
		random_fill(&victim, sizeof victim);
		tunnel = tunnel_of(victim % nodes);
		from = bench_cycles();
		move_node(tunnel, nodes + ROUNDS + i);
		bench_add(&move, us_since(from));
		house_keeping();
		tunnel = tunnel_of(nodes + i);
		from = bench_cycles();
		if (key_del_node(gw.keys, tunnel, true) != 0)
			rig_fail("cannot delete a node");
		bench_add(&del, us_since(from));
		house_keeping();
	}
	report_times("add", nodes, &add);
	report_times("move", nodes, &move);
	report_times("delete", nodes, &del);
}

static double status_kb(const char *field)
{
	FILE *file = fopen("/proc/self/status", "re");
	const size_t len = strlen(field);
	char line[256];
	double kb = 0;

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, field, len) == 0 && line[len] == ':')
			kb = strtod(line + len + 1, NULL);
	if (file != NULL)
		fclose(file);
	return kb;
}

static double folder_bytes(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	double bytes = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		struct stat st;

		if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			bytes += (double)st.st_blocks * 512;
	}
	if (dir != NULL)
		closedir(dir);
	return bytes;
}

/* Pages of the state's files are counted with the files. */
static void report_memory(uint32_t nodes, const char *folder)
{
	const double heap = 1024 * (status_kb("RssAnon") + status_kb("RssShmem"));
	const double huge = 1024 * status_kb("HugetlbPages");
	const double state = folder_bytes(folder);

	report_one("memory", "bytes/node", nodes, (heap + huge + state) / nodes);
	report_one("memory/rss", "bytes/node", nodes, heap / nodes);
	report_one("memory/huge", "bytes/node", nodes, huge / nodes);
	report_one("memory/state", "bytes/node", nodes, state / nodes);
}

static void measure_add(uint32_t nodes, const char *folder)
{
	const uint64_t from_ns = clock_mono_ns();

	open_tables(make_conf(nodes + 2 * ROUNDS), folder);
	for (uint32_t i = 0; i < nodes; i++) {
		add_node(i);
		house_keeping();
	}
	report_one("fill", "s", nodes, (double)(clock_mono_ns() - from_ns) / (double)NS_PER_S);
	measure_steps(nodes);
	if (state_flush(gw.state) != 0)
		rig_fail("cannot write to the state folder");
	report_memory(nodes, folder);
}

static void measure_load(uint32_t nodes, const char *folder)
{
	const uint64_t from_ns = clock_mono_ns();
	struct provision_kept counts;
	char why[256];

	open_tables(make_conf(nodes + 2 * ROUNDS), folder);
	if (provision_kept(&gw, &counts, why, sizeof why) != 0)
		rig_fail(why);
	if (counters_sync(state_counters(gw.state), UINT32_MAX) != 0)
		rig_fail("cannot sync the counters file");
	report_one(
		"load_state", "s", nodes, (double)(clock_mono_ns() - from_ns) / (double)NS_PER_S);
	if (counts.nodes != nodes || counts.sas != 2 * nodes)
		rig_fail("not all nodes are back");
}

/* --- from a configuration file ------------------------------------------------------------------
 */

static void print_hex(FILE *file, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(file, "%02x", bytes[i]);
}

static void print_sa(FILE *file, const char *name, uint32_t i, bool inbound)
{
	const struct sa_params params = params_of(i, inbound);

	fprintf(file, "    %s = { spi = %u; algorithm = \"aes128gcm16\"; key = \"", name,
		params.spi);
	print_hex(file, params.key, KEY_BYTES);
	fprintf(file, "\"; };\n");
}

static void write_conf(const char *path, uint32_t nodes)
{
	FILE *file = fopen(path, "we");
	char text[IP_TEXT_MAX];

	if (file == NULL || chmod(path, 0600) != 0)
		rig_fail("cannot write a configuration file");
	fprintf(file,
		"state_dir = \"/var/lib/roamgate\";\ninside_prefixes = [ \"10.0.0.0/8\" ];\n"
		"max_nodes = %u;\n"
		"outside = { device = \"net_ring0\"; mirror = \"rg-out\"; addresses = [ "
		"\"%s/24\" ]; };\n"
		"inside = { device = \"net_ring1\"; mirror = \"rg-in\"; addresses = [ \"%s/24\" ]; "
		"};\n"
		"siu = { listen = \"%s:4340\"; };\n"
		"home_agents = ( { name = \"ha1\"; address = \"10.2.0.1:4340\"; tunnel_source = "
		"\"%s\"; prefixes = [ \"10.64.0.0/10\" ]; key_id = 1;\n"
		"  secret = \"000102030405060708090a0b0c0d0e0f\"; } );\nmobile_nodes = (\n",
		nodes, rig_outside, rig_inside, rig_inside, rig_home_agent);
	for (uint32_t i = 0; i < nodes; i++) {
		const struct ip_addr home = rig_home(i);

		fprintf(file,
			"%s  { name = \"node%u\"; home_address = \"%s\"; home_agent = \"ha1\";\n",
			i == 0 ? "" : ",\n", i, ip_addr_format(&home, text));
		print_sa(file, "inbound", i, true);
		print_sa(file, "outbound", i, false);
		fprintf(file, "  }");
	}
	fprintf(file, "\n);\n");
	if (fclose(file) != 0)
		rig_fail("cannot write a configuration file");
}

static void measure_config(uint32_t nodes, const char *folder)
{
	const struct gw_conf *conf;
	char path[256], why[256];
	uint64_t from_ns, read_ns;

	snprintf(path, sizeof path, "%s/scale.conf", folder);
	write_conf(path, nodes);
	from_ns = clock_mono_ns();
	conf = gw_conf_load(path);
	read_ns = clock_mono_ns();
	unlink(path);
	if (conf == NULL)
		rig_fail("the configuration has errors");
	open_tables(conf, folder);
	if (provision_start(&gw, conf, why, sizeof why) != 0)
		rig_fail(why);
	report_one("read_config", "s", nodes, (double)(read_ns - from_ns) / (double)NS_PER_S);
	report_one(
		"load_config", "s", nodes, (double)(clock_mono_ns() - from_ns) / (double)NS_PER_S);
}

int main(int argc, char **argv)
{
	int used = rig_eal_init(argc, argv);
	const char *what, *folder;
	uint32_t nodes;

	if (used < 0 || argc - used != 4) {
		fprintf(stderr, "usage: bench_scale EAL-OPTIONS -- add|load|config NODES FOLDER\n");
		return 2;
	}
	what = argv[used + 1];
	nodes = (uint32_t)strtoul(argv[used + 2], NULL, 10);
	folder = argv[used + 3];
	log_init("bench_scale", LOG_ERROR);
	if (strcmp(what, "add") == 0)
		measure_add(nodes, folder);
	else if (strcmp(what, "load") == 0)
		measure_load(nodes, folder);
	else if (strcmp(what, "config") == 0)
		measure_config(nodes, folder);
	else
		return 2;
	return 0; /* without an orderly end, as after kill -9 */
}
