/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Broken configurations: each row changes one thing of a good file and names what must be said and
 * the line it must be said of. What one key says alone (type, range, unknown) is tested for every
 * key of the shipped file in tests/integration/test_config.py; here it is what keys say about each
 * other, and a sample of the rest.
 */
#include "control/gw/gw_conf.h"

#include "gw_fixture.h"
#include "tests/unit/lib/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define TEXT_MAX 8192

static const char *dir;

/* Loads text from a file; what is said on stderr goes to said. */
static struct gw_conf *load(const char *text, char *said, size_t room)
{
	char path[256], errors[256];
	struct gw_conf *conf;
	int saved = dup(STDERR_FILENO), file;
	ssize_t len;

	snprintf(path, sizeof path, "%s/test.conf", dir);
	snprintf(errors, sizeof errors, "%s/errors", dir);
	fixture_write(dir, "test.conf", text, 0600);
	file = open(errors, O_RDWR | O_CREAT | O_TRUNC, 0600);
	dup2(file, STDERR_FILENO);
	conf = gw_conf_load(path);
	dup2(saved, STDERR_FILENO);
	close(saved);
	len = pread(file, said, room - 1, 0);
	said[len < 0 ? 0 : len] = '\0';
	close(file);
	return conf;
}

static unsigned line_of(const char *text, const char *place)
{
	unsigned line = 1;

	for (const char *at = text; at < place; at++)
		line += *at == '\n';
	return line;
}

/* good with the first occurrence of old replaced; DIR in fresh stands for the folder. */
static const char *edit(
	const char *good, const char *old, const char *fresh, char *out, const char **place)
{
	const char *at = strstr(good, old);
	const char *mark = strstr(fresh, "DIR");
	int n;

	if (at == NULL)
		return NULL;
	if (mark == NULL)
		n = snprintf(
			out, TEXT_MAX, "%.*s%s%s", (int)(at - good), good, fresh, at + strlen(old));
	else
		n = snprintf(out, TEXT_MAX, "%.*s%.*s%s%s%s", (int)(at - good), good,
			(int)(mark - fresh), fresh, dir, mark + 3, at + strlen(old));
	*place = out + (at - good);
	return n > 0 && n < TEXT_MAX ? out : NULL;
}

static void test_good(void)
{
	char text[TEXT_MAX], said[4096];
	struct gw_conf *conf;

	fixture_conf_text(dir, text, sizeof text);
	conf = load(text, said, sizeof said);
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	CU_ASSERT_EQUAL(conf->n_nodes, 2);
	CU_ASSERT_EQUAL(conf->n_home_agents, 2);
	CU_ASSERT_EQUAL(conf->grace_ms, 2000);
	CU_ASSERT_EQUAL(conf->max_nodes, 1000);
	CU_ASSERT_EQUAL(conf->ports[DP_OUTSIDE].mtu, 1500);
	CU_ASSERT_EQUAL(conf->ports[DP_INSIDE].prefix_lens[0], 24);
	CU_ASSERT_EQUAL(conf->routes[0].port, DP_OUTSIDE);
	CU_ASSERT_EQUAL(conf->home_agents[0].secrets[0].secret.len, 16);
	CU_ASSERT_EQUAL(conf->home_agents[0].secrets[1].secret.len, 0);
	CU_ASSERT(conf->nodes[0].has_sas);
	CU_ASSERT(!conf->nodes[1].has_sas);
	CU_ASSERT_EQUAL(conf->nodes[0].in.spi, 0x1001);
	CU_ASSERT_EQUAL(conf->nodes[0].in.key[0], 0x10);
	CU_ASSERT_EQUAL(conf->nodes[0].in.key[19], 0x23);
	CU_ASSERT_EQUAL(conf->nodes[0].in.replay_window, 1024);
	CU_ASSERT(conf->nodes[0].in.source.n == 0);
	CU_ASSERT(conf->nodes[0].out.esn);
	gw_conf_wipe(conf);
	for (size_t i = 0; i < sizeof conf->nodes[0].in.key; i++)
		CU_ASSERT(conf->nodes[0].in.key[i] == 0 && conf->nodes[0].out.key[i] == 0);
	CU_ASSERT_EQUAL(conf->home_agents[0].secrets[0].secret.bytes[15], 0);
	gw_conf_free(conf);
}

/* Where CPUs are few, a worker may have the control thread's. */
static void test_shared_cpu(void)
{
	char good[TEXT_MAX], text[TEXT_MAX], said[4096];
	const char *place;
	struct gw_conf *conf;

	fixture_conf_text(dir, good, sizeof good);
	conf = load(good, said, sizeof said);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	CU_ASSERT(!conf->control_cpu_shared);
	gw_conf_free(conf);
	conf = load(edit(good, "worker_cpus = \"1\"", "worker_cpus = \"1,0\"", text, &place), said,
		sizeof said);
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	CU_ASSERT(conf->control_cpu_shared);
	gw_conf_free(conf);
}

#define RULE(before, action, direction, rest)                                                  \
	"policy = ( " before "{ action = \"" action "\"; direction = \"" direction "\"; " rest \
	" } );"

static const struct fault {
	const char *name, *old, *fresh, *message;
	unsigned below; /* the line is that many below the change */
} faults[] = {
	{"no state_dir", "state_dir =", "# state_dir =", "state_dir: is missing", 0},
	{"relative state_dir", "state_dir = \"", "state_dir = \"x", "not an absolute path", 0},
	{"unknown key", "grace_ms = 2000;", "grace_ns = 2000;", "grace_ns: unknown key", 0},
	{"type", "grace_ms = 2000;", "grace_ms = \"2000\";", "grace_ms", 0},
	{"range", "grace_ms = 2000;", "grace_ms = 10001;", "grace_ms", 0},
	{"log level", "grace_ms = 2000;", "log_level = \"loud\";", "log_level", 0},
	{"no inside prefix", "inside_prefixes = [ \"10.1.0.0/16\", \"10.2.0.0/16\" ];",
		"inside_prefixes = [ ];", "inside_prefixes: must have at least one entry", 0},
	{"CPU twice", "worker_cpus = \"1\"", "worker_cpus = \"1,1\"", "CPU 1 is used twice", 0},
	{"two for control", "control_cpu = \"0\"", "control_cpu = \"0,2\"", "takes 1 CPU", 0},
	{"DSCP beyond", "grace_ms = 2000;", "outer_header = { dscp_map = [ \"64:0\" ]; };",
		"dscp_map: \"64:0\" is not", 0},
	{"DSCP backwards", "grace_ms = 2000;", "outer_header = { dscp_map = [ \"9-8:0\" ]; };",
		"dscp_map: \"9-8:0\" is not", 0},
	{"DSCP with more behind", "grace_ms = 2000;",
		"outer_header = { dscp_map = [ \"1:0x\" ]; };", "dscp_map: \"1:0x\" is not", 0},
	{"DSCP alone", "grace_ms = 2000;", "outer_header = { dscp_map = [ \"46\" ]; };",
		"dscp_map: \"46\" is not", 0},
	{"DF", "grace_ms = 2000;", "outer_header = { df = \"no\"; };", "df", 0},
	{"no CPU list", "worker_cpus = \"1\"", "worker_cpus = \"1-3\"", "not a list of CPU numbers",
		0},
	{"no outside", "outside = {", "outsides = {", "outside", 0},
	{"same device", "device = \"net_tap1\"", "device = \"net_tap0\"",
		"inside.device: is the same as outside.device", 0},
	{"same mirror", "mirror = \"rg-in\"", "mirror = \"rg-out\"",
		"inside.mirror: is the same as outside.mirror", 0},
	{"long mirror", "mirror = \"rg-in\"", "mirror = \"a-name-too-long1\"", "longer than 15", 0},
	{"slash in mirror", "mirror = \"rg-in\"", "mirror = \"rg/in\"", "interface's name", 0},
	{"no prefix length", "\"192.0.2.1/24\"", "\"192.0.2.1\"", "with prefix length", 0},
	{"length 33", "\"192.0.2.1/24\"", "\"192.0.2.1/33\"", "with prefix length", 0},
	{"no address", "\"192.0.2.1/24\"", "\"2001:db8::/129\"", "with prefix length", 0},
	{"link-local address", "\"192.0.2.1/24\"", "\"fe80::1/64\"", "not a unicast address", 0},
	{"length of the other family", "\"192.0.2.1/24\"", "\"192.0.2.1/64\"", "with prefix length",
		0},
	{"VLAN 4095", "mirror = \"rg-out\";", "mirror = \"rg-out\"; vlan = 4095;", "outside.vlan",
		0},
	{"small MTU for IPv6", "[ \"192.0.2.1/24\" ];",
		"[ \"192.0.2.1/24\", \"2001:db8::1/64\" ]; mtu = 1279;",
		"outside.mtu: IPv6 addresses need at least 1280", 0},
	{"families of a route", "to = \"0.0.0.0/0\"", "to = \"::/0\"",
		"routes[0].via: is not of the family of \"to\"", 0},
	{"IPv6 source of the wrong family", "key_id = 1;",
		"tunnel_source_v6 = \"10.1.0.9\"; key_id = 1;",
		"tunnel_source_v6: must be an IPv6 unicast address", 0},
	{"IPv6 source outside", "key_id = 1;", "tunnel_source_v6 = \"2001:db8::9\"; key_id = 1;",
		"tunnel_source_v6: lies outside of inside_prefixes", 0},
	{"IPv4 source of the wrong family", "\"10.1.1.1\"", "\"2001:db8::9\"",
		"tunnel_source: must be an IPv4 unicast address", 0},
	{"CoA of a family without an end", "name = \"node2\";",
		"name = \"node2\"; care_of = \"2001:db8:7::7\";",
		"outside.addresses has none of its family", 0},
	{"routability of an IPv6 node", "home_address = \"10.1.0.11\";",
		"home_address = \"2001:db8::b\"; return_routability = true;",
		"return_routability: needs an IPv4 home address", 0},
	{"address twice", "[ \"192.0.2.1/24\" ]", "[ \"192.0.2.1/24\", \"192.0.2.1/24\" ]",
		"there twice", 0},
	{"subnets overlap", "\"10.2.0.254/24\"", "\"192.0.2.254/24\"", "overlaps with outside's",
		0},
	{"route to nowhere", "via = \"192.0.2.254\"", "via = \"203.0.113.1\"",
		"routes[0].via: lies in no subnet", 0},
	{"route to a host bit", "to = \"0.0.0.0/0\"", "to = \"10.0.0.1/8\"", "routes[0].to", 0},
	{"listen elsewhere", "listen = \"10.2.0.254:4340\"", "listen = \"192.0.2.1:4340\"",
		"siu.listen: must be an IPv4 address of inside.addresses", 0},
	{"port 0", "listen = \"10.2.0.254:4340\"", "listen = \"10.2.0.254:0\"", "siu.listen", 0},
	{"require_esp", "listen = \"10.2.0.254:4340\"",
		"listen = \"10.2.0.254:4340\"; require_esp = 1",
		"siu.require_esp: must be true or false", 0},
	{"home agent twice", "name = \"ha2\"", "name = \"ha1\"",
		"home agent \"ha1\" is there twice", 0},
	{"SIU address twice", "\"10.2.0.2:4340\"", "\"10.2.0.1:4340\"",
		"home agent \"ha1\" has it too", 0},
	{"SIU address multicast", "\"10.2.0.2:4340\"", "\"224.0.0.2:4340\"", "unicast", 0},
	{"source twice", "\"10.1.1.1\"", "\"10.1.0.1\"", "home agent \"ha1\" has it too", 0},
	{"source outside", "\"10.1.1.1\"", "\"203.0.113.9\"", "lies outside of inside_prefixes", 0},
	{"key id", "key_id = 1;", "key_id = 65536;", "key_id", 0},
	{"no secret", "secret_file =", "secrets_file =", "secret: is missing", 0},
	{"secret twice", "key_id = 1; secret_file", "key_id = 1; secret = \"00\"; secret_file",
		"stands beside", 0},
	{"short secret", "siu.key", "short.key", "has 8 bytes", 0},
	{"open secret", "siu.key", "open.key", "open.key", 0},
	{"secret is none", "siu.key", "text.key", "hex", 0},
	{"next key id", "key_id = 1;",
		"key_id = 1; next_key_id = 1; next_secret_file = \"DIR/1.key\";",
		"next_key_id: is the same as key_id", 0},
	{"next key without secret", "key_id = 1;", "key_id = 1; next_key_id = 2;",
		"next_secret: is missing", 0},
	{"node name", "name = \"node1\"", "name = \"node 1\"", "mobile_nodes[0].name", 0},
	{"name twice", "name = \"node2\"", "name = \"node1\"",
		"mobile_nodes[1].name: node \"node1\" has the same", 0},
	{"home address twice", "\"10.1.0.11\"", "\"10.1.0.10\"",
		"mobile_nodes[1].home_address: node \"node1\" has the same", 0},
	{"home agent unknown", "home_agent = \"ha1\"", "home_agent = \"ha3\"",
		"home_agent: \"ha3\" is not in home_agents", 0},
	{"another's home address", "\"10.1.0.11\"", "\"10.1.1.11\"",
		"lies outside of the prefixes of home agent \"ha1\"", 0},
	{"home address outside", "\"10.1.0.11\"", "\"203.0.113.11\"", "outside of inside_prefixes",
		0},
	{"CoA inside", "name = \"node2\";", "name = \"node2\"; care_of = \"10.2.0.7\";",
		"mobile_nodes[1].care_of", 0},
	{"CoA forbidden", "name = \"node2\";", "name = \"node2\"; care_of = \"198.18.0.7\";",
		"mobile_nodes[1].care_of", 0},
	{"CoA ours", "name = \"node2\";", "name = \"node2\"; care_of = \"192.0.2.1\";",
		"mobile_nodes[1].care_of", 0},
	{"reserved SPI", "spi = 0x1001;", "spi = 255;", "inbound.spi", 0},
	{"no algorithm", "algorithm = \"aes128gcm16\";", "", "inbound.algorithm: is missing", 0},
	{"algorithm unknown", "\"aes128gcm16\"", "\"rot13\"",
		"inbound.algorithm: \"rot13\" is not known: take one of", 0},
	{"3DES", "\"aes128gcm16\"", "\"3des-sha256\"", "RFC 8221 says SHOULD NOT", 0},
	{"MD5", "\"aes128gcm16\"", "\"aes128-md5\"", "RFC 8221 says MUST NOT", 0},
	{"no integrity", "\"aes128gcm16\"", "\"null\"", "has no integrity protection", 0},
	{"key of the wrong size", "\"aes128gcm16\"", "\"aes256gcm16\"", "has 20 bytes; give 36", 0},
	{"no HMAC key", "\"aes128gcm16\"", "\"aes256ctr-sha512\"", "has 20 bytes; give 100", 0},
	{"window", "spi = 0x1001;", "spi = 0x1001; replay_window = 63;", "inbound.replay_window",
		0},
	{"soft not before hard, s", "spi = 0x1001;",
		"spi = 0x1001; rekey_time = 60; life_time = 60;",
		"inbound.rekey_time: must be less than life_time", 0},
	{"soft not before hard, packets", "spi = 0x2001;",
		"spi = 0x2001; rekey_packets = 2; life_packets = 1;",
		"outbound.rekey_packets: must be less than life_packets", 0},
	{"soft not before hard, bytes", "spi = 0x2001;",
		"spi = 0x2001; rekey_bytes = 2; life_bytes = 2;",
		"outbound.rekey_bytes: must be less than life_bytes", 0},
	{"life_time", "spi = 0x1001;", "spi = 0x1001; life_time = 31622401;", "inbound.life_time",
		0},
	{"life_bytes", "spi = 0x1001;", "spi = 0x1001; life_bytes = 0;", "inbound.life_bytes", 0},
	{"window outbound", "spi = 0x2001;", "spi = 0x2001; replay_window = 64;",
		"outbound.replay_window: unknown key", 0},
	{"source", "spi = 0x1001;", "spi = 0x1001; source = \"all\";",
		"inbound.source: \"all\" is neither", 0},
	{"source's host bits", "spi = 0x1001;", "spi = 0x1001; source = \"198.51.100.7/24\";",
		"inbound.source", 0},
	{"source empty", "spi = 0x1001;", "spi = 0x1001; source = [ ];",
		"inbound.source: must have at least one entry", 0},
	{"source of all", "spi = 0x1001;", "spi = 0x1001; source = [ \"0.0.0.0/0\" ];",
		"is everything: write \"any\"", 0},
	{"source any in a list", "spi = 0x1001;",
		"spi = 0x1001; source = [ \"198.51.100.7\", \"any\" ];",
		"inbound.source: \"any\" is neither", 0},
	{"source twice", "spi = 0x1001;",
		"spi = 0x1001; source = [ \"198.51.100.7\", \"198.51.100.7/32\" ];",
		"is there twice", 0},
	{"source of another type", "spi = 0x1001;", "spi = 0x1001; source = 7;", "inbound.source",
		0},
	{"sources, five", "spi = 0x1001;",
		"spi = 0x1001; source = [ \"1.1.1.1\", \"1.1.1.2\", \"1.1.1.3\", \"1.1.1.4\", "
		"\"1.1.1.5\" ];",
		"inbound.source: has 5 entries", 0},
	{"same key both ways", "2.key", "1.key", "outbound.key_file: node \"node1\" has the same",
		0},
	{"no outbound", "outbound = {", "outbounds = {", "mobile_nodes[0].outbound: is missing", 0},
	{"SPI twice", "home_agent = \"ha1\"; }",
		"home_agent = \"ha1\";\n inbound = { spi = 0x1001; algorithm = \"aes128gcm16\"; "
		"key_file = \"DIR/3.key\"; };\n outbound = { spi = 3000; algorithm = "
		"\"aes128gcm16\"; key_file = \"DIR/4.key\"; }; }",
		"mobile_nodes[1].inbound.spi: node \"node1\" has the same", 1},
	{"key twice", "home_agent = \"ha1\"; }",
		"home_agent = \"ha1\";\n inbound = { spi = 0x1002; algorithm = \"aes128gcm16\"; "
		"key_file = \"DIR/2.key\"; };\n outbound = { spi = 3000; algorithm = "
		"\"aes128gcm16\"; key_file = \"DIR/4.key\"; }; }",
		"mobile_nodes[1].inbound.key_file: node \"node1\" has the same", 1},
	{"policy: no list", "grace_ms = 2000;", "policy = { };", "policy", 0},
	{"policy: no action", "grace_ms = 2000;", "policy = ( { direction = \"in\"; } );",
		"policy[0].action: is missing", 0},
	{"policy: no direction", "grace_ms = 2000;", "policy = ( { action = \"protect\"; } );",
		"policy[0].direction: is missing", 0},
	{"policy: action", "grace_ms = 2000;", RULE("", "deny", "in", ""), "action: \"deny\"", 0},
	{"policy: direction", "grace_ms = 2000;", RULE("", "discard", "both", ""),
		"direction: \"both\"", 0},
	{"policy: second rule", "grace_ms = 2000;",
		RULE("{ action = \"protect\"; direction = \"out\"; }, ", "discard", "in",
			"sources = \"any\";"),
		"policy[1].sources: unknown key", 0},
	{"policy: host bits", "grace_ms = 2000;",
		RULE("", "discard", "in", "source = \"10.1.0.1/16\";"),
		"policy[0].source: \"10.1.0.1/16\" is not", 0},
	{"policy: any among others", "grace_ms = 2000;",
		RULE("", "discard", "in", "destination = [ \"10.1.0.1\", \"any\" ];"),
		"policy[0].destination: \"any\" is not", 0},
	{"policy: empty list", "grace_ms = 2000;", RULE("", "discard", "in", "source = [ ];"),
		"policy[0].source: must have at least one entry", 0},
	{"policy: 17 prefixes", "grace_ms = 2000;",
		RULE("", "discard", "in",
			"source = [ \"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\", "
			"\"10.0.0.5\", \"10.0.0.6\", \"10.0.0.7\", \"10.0.0.8\", \"10.0.0.9\", "
			"\"10.0.0.10\", \"10.0.0.11\", \"10.0.0.12\", \"10.0.0.13\", "
			"\"10.0.0.14\", \"10.0.0.15\", \"10.0.0.16\", \"10.0.0.17\" ];"),
		"policy[0].source", 0},
	{"policy: families", "grace_ms = 2000;",
		RULE("", "discard", "in",
			"source = \"10.1.0.1\"; destination = \"2001:db8::/32\";"),
		"policy[0].destination: has no prefix of the family of source", 0},
	{"policy: protocol", "grace_ms = 2000;", RULE("", "discard", "in", "protocol = \"tpc\";"),
		"policy[0].protocol: \"tpc\" is neither", 0},
	{"policy: protocol 256", "grace_ms = 2000;",
		RULE("", "discard", "in", "protocol = \"256\";"), "protocol: \"256\"", 0},
	{"policy: port 65536", "grace_ms = 2000;",
		RULE("", "discard", "in", "protocol = \"tcp\"; source_ports = \"65536\";"),
		"source_ports: \"65536\" is not", 0},
	{"policy: ports backwards", "grace_ms = 2000;",
		RULE("", "discard", "in", "protocol = \"6\"; source_ports = \"9-8\";"),
		"source_ports: \"9-8\" is not", 0},
	{"policy: more behind a port", "grace_ms = 2000;",
		RULE("", "discard", "in",
			"protocol = \"udp\"; destination_ports = [ \"1\", \"1-2x\" ];"),
		"destination_ports: \"1-2x\" is not", 0},
	{"policy: opaque among others", "grace_ms = 2000;",
		RULE("", "discard", "in",
			"protocol = \"udp\"; source_ports = [ \"1\", \"opaque\" ];"),
		"source_ports: \"opaque\" is not", 0},
	{"policy: opaque ports of none", "grace_ms = 2000;",
		RULE("", "discard", "in", "protocol = \"icmp\"; source_ports = \"opaque\";"),
		"policy[0].source_ports: needs protocol", 0},
	{"policy: ports of any protocol", "grace_ms = 2000;",
		RULE("", "discard", "in", "destination_ports = \"53\";"),
		"policy[0].destination_ports: needs protocol", 0},
	{"policy: ports of ICMP", "grace_ms = 2000;",
		RULE("", "discard", "in", "protocol = \"icmp\"; source_ports = \"8\";"),
		"policy[0].source_ports: needs protocol", 0},
	{"bypass: no inside", "grace_ms = 2000;",
		RULE("", "bypass", "out", "destination = \"198.18.0.0/25\";"),
		"policy[0].source: must not be \"any\"", 0},
	{"bypass: no outside", "grace_ms = 2000;",
		RULE("", "bypass", "in", "destination = \"10.2.0.5\";"),
		"policy[0].source: must not be \"any\"", 0},
	{"bypass: where CoAs can be", "grace_ms = 2000;",
		RULE("", "bypass", "out", "source = \"10.2.0.5\"; destination = \"203.0.113.9\";"),
		"policy[0].destination: must lie in forbidden_coas", 0},
	{"bypass: where some CoAs can be", "grace_ms = 2000;",
		RULE("", "bypass", "in", "source = \"198.16.0.0/14\"; destination = \"10.2.0.5\";"),
		"policy[0].source: must lie in forbidden_coas", 0},
	{"bypass: everywhere", "grace_ms = 2000;",
		RULE("", "bypass", "out", "source = \"10.2.0.5\"; destination = \"0.0.0.0/0\";"),
		"policy[0].destination: must lie in forbidden_coas", 0},
	{"bypass: home addresses", "grace_ms = 2000;",
		RULE("", "bypass", "out",
			"source = \"10.1.0.0/28\"; destination = \"198.18.1.9\";"),
		"policy[0].source: must lie in inside_prefixes", 0},
	{"bypass: not inside", "grace_ms = 2000;",
		RULE("", "bypass", "in", "source = \"198.18.1.9\"; destination = \"172.16.0.1\";"),
		"policy[0].destination: must lie in inside_prefixes", 0},
	{"bypass: a tunnel", "grace_ms = 2000;",
		RULE("", "bypass", "out",
			"source = \"10.2.0.5\"; destination = \"198.18.1.9\"; protocol = \"4\";"),
		"policy[0].protocol: is a tunnel's", 0},
	{"too many nodes", "grace_ms = 2000;", "max_nodes = 1;", "but max_nodes is 1", 0},
	{"syntax", "grace_ms = 2000;", "grace_ms 2000;", "syntax error", 0},
};

static void test_faults(void)
{
	char good[TEXT_MAX], bad[TEXT_MAX], said[8192], place[64];

	fixture_conf_text(dir, good, sizeof good);
	fixture_write(dir, "short.key", "0011223344556677\n", 0600);
	fixture_write(dir, "open.key", "000102030405060708090a0b0c0d0e0f\n", 0644);
	fixture_write(dir, "text.key", "not a key at all, but long enough to be\n", 0600);
	fixture_write(dir, "3.key", "505152535455565758595a5b5c5d5e5f60616263\n", 0600);
	fixture_write(dir, "4.key", "707172737475767778797a7b7c7d7e7f80818283\n", 0600);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		const struct fault *fault = &faults[i];
		const char *at = NULL;
		const char *text = edit(good, fault->old, fault->fresh, bad, &at);
		struct gw_conf *conf;
		unsigned line;

		CHECK_ROW(fault->name, text != NULL);
		if (text == NULL)
			continue;
		line = line_of(bad, at) + fault->below;
		conf = load(bad, said, sizeof said);
		CHECK_ROW(fault->name, conf == NULL);
		gw_conf_free(conf);
		CHECK_ROW(fault->name, strstr(said, fault->message) != NULL);
		/* A missing key has the line of its group, which is further up, or none. */
		snprintf(place, sizeof place, "/test.conf:%u: ", line);
		if (strstr(fault->message, "missing") == NULL &&
			strcmp(fault->name, "no outside") != 0 &&
			strcmp(fault->name, "too many nodes") != 0 &&
			strcmp(fault->name, "subnets overlap") != 0)
			CHECK_ROW(fault->name, strstr(said, place) != NULL);
		if (strstr(said, fault->message) == NULL || strstr(said, "/test.conf") == NULL)
			printf("[%s] said: %s", fault->name, said);
		/* A key must never be shown. */
		CHECK_ROW(fault->name, strstr(said, "10111213") == NULL);
	}
}

static void test_all_errors_at_once(void)
{
	char good[TEXT_MAX], one[TEXT_MAX], two[TEXT_MAX], said[8192];
	const char *at;

	fixture_conf_text(dir, good, sizeof good);
	CU_ASSERT_PTR_NOT_NULL_FATAL(edit(good, "move_rate = 5;", "move_rate = 0;", one, &at));
	CU_ASSERT_PTR_NOT_NULL_FATAL(edit(one, "spi = 0x2001;", "spi = 1;", two, &at));
	CU_ASSERT_PTR_NULL(load(two, said, sizeof said));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "move_rate"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "outbound.spi"));
}

/* The shipped file is the contract: it must be good once its key files exist. */
static void test_shipped(void)
{
	static const char *const names[] = {"siu-ha1.key", "node1-in.key", "node1-out.key"};
	char text[3 * TEXT_MAX], changed[4 * TEXT_MAX], said[4096];
	FILE *file = fopen(SOURCE_ROOT "/config/roamgate.conf", "r");
	struct gw_conf *conf;
	size_t len, out = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	len = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[len] = '\0';
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char key[64];

		snprintf(key, sizeof key, "%02zx0102030405060708090a0b0c0d0e0f10111213\n", i);
		fixture_write(dir, names[i], key, 0600);
	}
	for (const char *at = text; *at != '\0' && out < sizeof changed - 256;) {
		if (strncmp(at, "/etc/roamgate", 13) == 0) {
			out += (size_t)snprintf(changed + out, 256, "%s", dir);
			at += 13;
		} else {
			changed[out++] = *at++;
		}
	}
	changed[out] = '\0';
	conf = load(changed, said, sizeof said);
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_PTR_NOT_NULL(conf);
	gw_conf_free(conf);
}

static void test_crypto_engine(void)
{
	static const char *const names[] = {"auto", "vaes512", "vaes", "ipsec-mb"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char good[TEXT_MAX], text[TEXT_MAX], said[4096], fresh[64];
		const char *place;
		struct gw_conf *conf;

		snprintf(fresh, sizeof fresh, "dpdk = { crypto_engine = \"%s\";", names[i]);
		fixture_conf_text(dir, good, sizeof good);
		CU_ASSERT_PTR_NOT_NULL_FATAL(edit(good, "dpdk = {", fresh, text, &place));
		conf = load(text, said, sizeof said);
		CHECK_ROW(names[i], said[0] == '\0');
		CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
		CHECK_ROW(names[i], strcmp(conf->crypto_engine, names[i]) == 0);
		gw_conf_free(conf);
	}
}

static void test_policy(void)
{
	static const char text[] =
		"policy = ( { action = \"protect\"; direction = \"out\"; source = \"10.2.0.5\"; "
		"destination = [ \"10.1.0.0/24\", \"2001:db8::/32\" ]; protocol = \"tcp\"; "
		"source_ports = [ \"80\", \"1024-2047\" ]; destination_ports = \"0-65535\"; }, "
		"{ action = \"discard\"; direction = \"in\"; protocol = \"47\"; source = "
		"\"any\"; }, { action = \"bypass\"; direction = \"in\"; source = "
		"\"198.18.1.8/31\"; destination = \"10.2.0.5\"; } );";
	char good[TEXT_MAX], changed[TEXT_MAX], said[4096];
	const struct policy_rule *rule;
	const char *place;
	struct gw_conf *conf;

	fixture_conf_text(dir, good, sizeof good);
	conf = load(good, said, sizeof said);
	CU_ASSERT(conf != NULL && conf->n_policy == 0);
	gw_conf_free(conf);
	CU_ASSERT_PTR_NOT_NULL_FATAL(edit(good, "grace_ms = 2000;", text, changed, &place));
	conf = load(changed, said, sizeof said);
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_FATAL(conf != NULL && conf->n_policy == 3);
	rule = &conf->policy[0];
	CU_ASSERT(rule->action == POLICY_PROTECT && !rule->inbound && rule->protocol == 6);
	CU_ASSERT(rule->source.n_prefixes == 1 && rule->source.prefixes[0].len == 32);
	CU_ASSERT(rule->destination.n_prefixes == 2 && rule->destination.prefixes[1].len == 32);
	CU_ASSERT(rule->source.n_ports == 2 && rule->destination.n_ports == 1);
	CU_ASSERT(rule->source.ports[1].first == 1024 && rule->source.ports[1].last == 2047);
	rule = &conf->policy[1];
	CU_ASSERT(rule->action == POLICY_DISCARD && rule->inbound && rule->protocol == 47);
	CU_ASSERT(rule->source.n_prefixes == 0 && rule->source.n_ports == 0);
	CU_ASSERT(conf->policy[2].action == POLICY_BYPASS);
	gw_conf_free(conf);
}

static void test_missing_file(void)
{
	CU_ASSERT_PTR_NULL(gw_conf_load("/nonexistent/roamgate.conf"));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"good", test_good},
		{"shared CPU", test_shared_cpu},
		{"faults", test_faults},
		{"all errors at once", test_all_errors_at_once},
		{"the shipped file", test_shipped},
		{"crypto engines", test_crypto_engine},
		{"policy", test_policy},
		{"no file", test_missing_file},
		{NULL, NULL},
	};
	int code;

	dir = fixture_folder();
	code = unit_run("gw/gw_conf", cases);
	fixture_remove_folder();
	return code;
}
