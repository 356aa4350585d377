/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The home agent's configuration: the delivered file is good, defaults are as it says, and every
 * key that is wrong gives one error with file and line. Each row changes one line of a good file.
 */
#include "control/ha/ha_conf.h"

#include "tests/unit/lib/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define SECRET "000102030405060708090a0b0c0d0e0f"
#define SECRET_2 "100102030405060708090a0b0c0d0e0f"
#define SECRET_3 "200102030405060708090a0b0c0d0e0f"

static const char GOOD[] =
	"state_dir = \"/var/lib/roamgate-ha\";\n"
	"control_socket = \"/run/ha.sock\";\n"
	"log_level = \"debug\";\n"
	"address = \"10.1.0.1\";\n"
	"home_interface = \"home0\";\n"
	"tunnel_interface = \"rg-ha\";\n"
	"tunnel_mtu = 1400;\n"
	"max_lifetime = 60;\n"
	"timestamp_tolerance = 5;\n"
	"rrq_seen_wait_ms = 0;\n"
	"grace_ms = 10000;\n"
	"inside_prefixes = [ \"10.1.0.0/16\", \"10.2.0.0/16\" ];\n"
	"siu = {\n"
	"  listen = \"10.2.0.1:4340\";\n"
	"};\n"
	"gateways = (\n"
	"  {\n"
	"    name = \"gw1\";\n"
	"    address = \"10.2.0.254\";\n"
	"    key_id = 1;\n"
	"    secret = \"" SECRET "\";\n"
	"  },\n"
	"  { name = \"gw2\"; address = \"10.2.0.253:99\"; key_id = 2; secret = \"" SECRET_2
	"\"; }\n"
	");\n"
	"mobile_nodes = (\n"
	"  {\n"
	"    name = \"node1\";\n"
	"    home_address = \"10.1.0.10\";\n"
	"    gateway = \"gw2\";\n"
	"    authentication = (\n"
	"      { spi = 0x101; algorithm = \"hmac-sha256\"; key = \"" SECRET "\"; },\n"
	"      { spi = 0x100; algorithm = \"hmac-md5\"; key = \"" SECRET "\"; }\n"
	"    );\n"
	"  },\n"
	"  { name = \"node2\"; home_address = \"10.1.0.2\"; authentication = (\n"
	"    { spi = 256; algorithm = \"hmac-md5\"; key = \"" SECRET "\"; } ); }\n"
	");\n";

static const struct row {
	const char *from; /* the line that begins with it (after blanks) ... */
	const char *to;   /* ... becomes this one */
	const char *want; /* part of the error */
} ROWS[] = {
	/* absent */
	{"state_dir", "", "state_dir: is missing"},
	{"address = \"10.1.0.1\"", "", "address: is missing"},
	{"home_interface", "", "home_interface: is missing"},
	{"inside_prefixes", "", "inside_prefixes: is missing"},
	{"listen", "", "siu.listen: is missing"},
	{"name = \"gw1\"", "", "gateways[0].name: is missing"},
	{"address = \"10.2.0.254\"", "", "gateways[0].address: is missing"},
	{"key_id", "", "gateways[0].key_id: is missing"},
	{"secret", "", "gateways[0].secret"},
	{"name = \"node1\"", "", "mobile_nodes[0].name: is missing"},
	{"home_address", "", "mobile_nodes[0].home_address: is missing"},
	{"{ spi = 0x101", "{ algorithm = \"hmac-md5\"; key = \"" SECRET "\"; },",
		"authentication[0].spi: is missing"},
	{"{ spi = 0x101", "{ spi = 0x101; key = \"" SECRET "\"; },", "algorithm: is missing"},
	{"{ spi = 0x101", "{ spi = 0x101; algorithm = \"hmac-md5\"; },", "authentication[0].key"},
	/* unknown */
	{"state_dir", "state_dir = \"/x\"; stat_dir = \"/x\";", "stat_dir: unknown key"},
	{"listen", "listen = \"10.2.0.1:4340\"; port = 1;", "siu.port: unknown key"},
	{"key_id", "key_id = 1; keyid = 1;", "gateways[0].keyid: unknown key"},
	{"gateway = \"gw2\"", "gateway = \"gw2\"; gatway = \"gw2\";", "gatway: unknown key"},
	{"{ spi = 256",
		"{ spi = 256; algorithm = \"hmac-md5\"; key = \"" SECRET "\"; x = 1; } ); }",
		"mobile_nodes[1].authentication[0].x: unknown key"},
	/* of another type */
	{"state_dir", "state_dir = 1;", "must be a string"},
	{"tunnel_mtu", "tunnel_mtu = \"1400\";", "tunnel_mtu: must be a whole number"},
	{"max_lifetime", "max_lifetime = 1.5;", "max_lifetime: must be a whole number"},
	{"inside_prefixes", "inside_prefixes = \"10.1.0.0/16\";",
		"inside_prefixes: must be an array"},
	{"inside_prefixes", "inside_prefixes = [ ];", "at least one"},
	{"key_id", "key_id = \"1\";", "key_id: must be a whole number"},
	/* out of range */
	{"tunnel_mtu", "tunnel_mtu = 575;", "give 576 to 9000 bytes"},
	{"tunnel_mtu", "tunnel_mtu = 9001;", "give 576 to 9000 bytes"},
	{"max_lifetime", "max_lifetime = 9;", "give 10 to 65534 s"},
	{"max_lifetime", "max_lifetime = 65535;", "give 10 to 65534 s"},
	{"timestamp_tolerance", "timestamp_tolerance = 0;", "give 1 to 300 s"},
	{"timestamp_tolerance", "timestamp_tolerance = 301;", "give 1 to 300 s"},
	{"rrq_seen_wait_ms", "rrq_seen_wait_ms = -1;", "give 0 to 1000 ms"},
	{"rrq_seen_wait_ms", "rrq_seen_wait_ms = 1001;", "give 0 to 1000 ms"},
	{"grace_ms", "grace_ms = -1;", "give 0 to 10000 ms"},
	{"grace_ms", "grace_ms = 10001;", "give 0 to 10000 ms"},
	{"key_id", "key_id = 65536;", "give 0 to 65535"},
	{"{ spi = 256", "{ spi = 255; algorithm = \"hmac-md5\"; key = \"" SECRET "\"; } ); }",
		"give 256 to 4294967295"},
	/* values */
	{"state_dir", "state_dir = \"state\";", "state_dir: must be an absolute path"},
	{"control_socket", "control_socket = \"ha.sock\";", "must be an absolute path"},
	{"log_level", "log_level = \"loud\";", "log_level: \"loud\" is not known"},
	{"address = \"10.1.0.1\"", "address = \"10.1.0\";", "address: \"10.1.0\" is not"},
	{"address = \"10.1.0.1\"", "address = \"2001:db8::1\";", "must be an IPv4 unicast"},
	{"address = \"10.1.0.1\"", "address = \"224.0.0.1\";", "must be an IPv4 unicast"},
	{"home_interface", "home_interface = \"averyveryverylongname\";",
		"is not an interface name"},
	{"tunnel_interface", "tunnel_interface = \"a/b\";", "is not an interface name"},
	{"tunnel_interface", "tunnel_interface = \"home0\";", "must not be the home_interface"},
	{"inside_prefixes", "inside_prefixes = [ \"10.1.0.1/16\" ];", "is not a prefix"},
	{"listen", "listen = \"10.2.0.1:0\";", "siu.listen: \"10.2.0.1:0\" is not an address"},
	{"listen", "listen = \"10.2.0.1\"; require_esp = \"yes\";",
		"siu.require_esp: must be true or false"},
	{"listen", "listen = \"127.0.0.1\";", "siu.listen: must have an IPv4 unicast"},
	{"address = \"10.2.0.254\"", "address = \"10.1.0.1\";", "is the home agent's own"},
	{"address = \"10.2.0.254\"", "address = \"10.2.0.1\";", "is the home agent's own"},
	{"{ name = \"gw2\"",
		"{ name = \"gw1\"; address = \"10.2.0.253\"; key_id = 2; secret = \"" SECRET_2
		"\"; }, { name = \"gw2\"; address = \"10.2.0.252\"; key_id = 2; secret = "
		"\"ffff02030405060708090a0b0c0d0e0f\"; }",
		"name: \"gw1\" is used by an earlier gateway"},
	{"{ name = \"gw2\"",
		"{ name = \"gw2\"; address = \"10.2.0.254:7\"; key_id = 2; secret = \"" SECRET_2
		"\"; }",
		"address: is used by the gateway \"gw1\""},
	{"{ name = \"gw2\"",
		"{ name = \"gw2\"; address = \"10.2.0.253\"; key_id = 2; secret = \"" SECRET
		"\"; }",
		"is the one of the gateway \"gw1\""},
	{"key_id", "key_id = 1; next_key_id = 1; next_secret = \"" SECRET_3 "\";",
		"gateways[0].next_key_id: is the same as key_id"},
	{"{ name = \"gw2\"",
		"{ name = \"gw2\"; address = \"10.2.0.253\"; key_id = 2; secret = \"" SECRET_2
		"\"; next_key_id = 3; }",
		"gateways[1].next_secret"},
	{"{ name = \"gw2\"",
		"{ name = \"gw2\"; address = \"10.2.0.253\"; key_id = 2; secret = \"" SECRET_2
		"\"; next_secret = \"" SECRET_3 "\"; }",
		"gateways[1].next_key_id: is missing"},
	{"key_id", "key_id = 1; next_key_id = 65536; next_secret = \"" SECRET_3 "\";",
		"give 0 to 65535"},
	{"{ name = \"gw2\"",
		"{ name = \"gw2\"; address = \"10.2.0.253\"; key_id = 2; secret = \"" SECRET_2
		"\"; next_key_id = 3; next_secret = \"" SECRET "\"; }",
		"is the one of the gateway \"gw1\""},
	{"key_id", "key_id = 1; directly_attached = 1;",
		"directly_attached: must be true or false"},
	{"secret", "secret = \"00010203\";", "gateways[0].secret"},
	{"secret", "secret = \"" SECRET "0\";", "gateways[0].secret"},
	{"secret", "secret_file = \"/nowhere/key\";", "/nowhere/key"},
	{"{ name = \"node2\"",
		"{ name = \"node1\"; home_address = \"10.1.0.2\"; authentication = (",
		"name: is used by an earlier node"},
	{"{ name = \"node2\"",
		"{ name = \"node2\"; home_address = \"10.1.0.10\"; authentication = (",
		"home_address: is used by an earlier node"},
	{"home_address", "home_address = \"10.1.0.1\";", "is the home agent's own address"},
	{"home_address", "home_address = \"2001:db8::1\";", "must be an IPv4 unicast"},
	{"gateway = \"gw2\"", "gateway = \"gw3\";", "gateway: \"gw3\" is not in the list"},
	{"gateway = \"gw2\"", "gateways = [ \"gw1\", \"gw3\" ];",
		"gateways: \"gw3\" is not in the list"},
	{"gateway = \"gw2\"", "gateways = [ \"gw1\", \"gw1\" ];", "\"gw1\" is there twice"},
	{"gateway = \"gw2\"", "gateways = [ ];", "gateways: must have at least one"},
	{"gateway = \"gw2\"", "gateways = \"gw1\";", "gateways: must be an array"},
	{"gateway = \"gw2\"", "gateways = [ \"gw1\" ]; gateway = \"gw2\";",
		"gateway: is not in this node's gateways"},
	{"{ spi = 0x100", "{ spi = 0x101; algorithm = \"hmac-md5\"; key = \"" SECRET "\"; }",
		"spi: is used twice"},
	{"{ spi = 0x100", "{ spi = 0x100; algorithm = \"md5\"; key = \"" SECRET "\"; }",
		"algorithm: \"md5\" is not known"},
	{"{ spi = 0x100", "{ spi = 0x100; algorithm = \"hmac-md5\"; key = \"0011\"; }", "key"},
	/* syntax */
	{"max_lifetime", "max_lifetime = 60 60;", "syntax error"},
};

static const char *path_of(const char *name)
{
	static char path[192];

	snprintf(path, sizeof path, "%s/%s", unit_folder(), name);
	return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	size_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len || fchmod(fd, mode) != 0)
		abort();
	close(fd);
}

static void write_conf(const char *text, mode_t mode)
{
	write_file("ha.conf", text, mode);
}

/* ha_conf_load() with what it prints. */
static bool load(struct ha_conf *conf, char *said, size_t size)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	bool good;
	size_t n;

	if (file == NULL || saved < 0)
		abort();
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	good = ha_conf_load(path_of("ha.conf"), conf);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	n = fread(said, 1, size - 1, file);
	said[n] = '\0';
	fclose(file);
	return good;
}

/* GOOD with one line changed; returns that line's number. */
static int change(const struct row *row, char *out, size_t size)
{
	const char *at = GOOD;
	size_t len = 0;
	int line = 0, changed = 0;

	while (*at != '\0') {
		const char *end = strchr(at, '\n') + 1;
		const char *word = at + strspn(at, " ");

		line++;
		if (changed == 0 && strncmp(word, row->from, strlen(row->from)) == 0) {
			len += (size_t)snprintf(out + len, size - len, "%s\n", row->to);
			changed = line;
		} else {
			len += (size_t)snprintf(out + len, size - len, "%.*s", (int)(end - at), at);
		}
		at = end;
	}
	return changed;
}

static void good_file(void)
{
	struct ha_conf conf;
	char said[4096];

	write_conf(GOOD, 0600);
	CU_ASSERT_TRUE_FATAL(load(&conf, said, sizeof said));
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_EQUAL(conf.tunnel_mtu, 1400);
	CU_ASSERT_EQUAL(conf.tolerance_s, 5);
	CU_ASSERT_EQUAL(conf.rrq_seen_wait_ms, 0);
	CU_ASSERT_EQUAL(conf.n_inside, 2);
	CU_ASSERT_EQUAL(conf.n_gateways, 2);
	CU_ASSERT_EQUAL(conf.gateways[0].address.port, SIU_PORT_DEFAULT);
	CU_ASSERT_EQUAL(conf.gateways[1].address.port, 99);
	CU_ASSERT_EQUAL(conf.n_nodes, 2);
	/* sorted by home address */
	CU_ASSERT_STRING_EQUAL(conf.nodes[0].name, "node2");
	CU_ASSERT_EQUAL(conf.nodes[0].gateway, HA_NO_GATEWAY);
	CU_ASSERT_EQUAL(conf.nodes[1].gateway, 1);
	CU_ASSERT_EQUAL(conf.nodes[1].n_keys, 2);
	CU_ASSERT_EQUAL(conf.nodes[1].keys[0].spi, 0x101);
	CU_ASSERT_EQUAL(conf.nodes[1].keys[0].alg, HMAC_SHA256);
	CU_ASSERT_EQUAL(conf.nodes[1].keys[1].alg, HMAC_MD5);
	CU_ASSERT_EQUAL(conf.nodes[1].keys[1].key_len, 16);
	CU_ASSERT_EQUAL(ha_conf_find_node(&conf, &conf.nodes[1].home_address), 1);
	ha_conf_free(&conf);
}

static void node_gateways(void)
{
	static const struct {
		const char *keys;
		int gateway;
		uint64_t gateways; /* of the two */
	} rows[] = {
		{"", HA_NO_GATEWAY, 3},
		{"gateway = \"gw2\";", 1, 3},
		{"gateways = [ \"gw2\" ];", 1, 2},
		{"gateways = [ \"gw2\", \"gw1\" ];", 1, 3},
		{"gateways = [ \"gw2\", \"gw1\" ]; gateway = \"gw1\";", 0, 3},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row row = {"gateway = \"gw2\"", rows[i].keys, ""};
		char text[sizeof GOOD + 512], said[4096];
		struct ha_conf conf;

		CHECK_ROW(rows[i].keys, change(&row, text, sizeof text) != 0);
		write_conf(text, 0600);
		CU_ASSERT_TRUE_FATAL(load(&conf, said, sizeof said));
		CHECK_ROW(rows[i].keys, conf.nodes[1].gateway == rows[i].gateway);
		CHECK_ROW(rows[i].keys, (conf.nodes[1].gateways & 3) == rows[i].gateways);
		ha_conf_free(&conf);
	}
}

static void wrong_lines(void)
{
	for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
		char text[sizeof GOOD + 512], said[4096], place[256];
		struct ha_conf conf;
		int line = change(&ROWS[i], text, sizeof text);

		CHECK_ROW(ROWS[i].to, line != 0);
		write_conf(text, 0600);
		CHECK_ROW(ROWS[i].want, !load(&conf, said, sizeof said));
		CHECK_ROW(ROWS[i].want, strstr(said, ROWS[i].want) != NULL);
		/* What is absent has the line of its group, the rest its own. */
		snprintf(place, sizeof place, "%s:%d: ", path_of("ha.conf"), line);
		if (ROWS[i].to[0] != '\0')
			CHECK_ROW(ROWS[i].want, strstr(said, place) != NULL);
		if (strstr(said, ROWS[i].want) == NULL)
			fprintf(stderr, "%s", said);
		CHECK_ROW(ROWS[i].want, strstr(said, SECRET) == NULL);
	}
}

static void open_to_others(void)
{
	struct ha_conf conf;
	char said[4096];

	write_conf(GOOD, 0644);
	CU_ASSERT_FALSE(load(&conf, said, sizeof said));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "chmod 600"));
}

static void absent_file(void)
{
	struct ha_conf conf;
	char said[4096];

	unlink(path_of("ha.conf"));
	CU_ASSERT_FALSE(load(&conf, said, sizeof said));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "ha.conf"));
}

static void many_nodes(void)
{
	struct ha_conf conf;
	char said[4096];
	FILE *file;

	write_conf(GOOD, 0600);
	file = fopen(path_of("ha.conf"), "r+");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fseek(file, strstr(GOOD, "mobile_nodes") - GOOD, SEEK_SET);
	fprintf(file, "mobile_nodes = (\n");
	for (int i = 999; i >= 0; i--) /* falling, so that sorting has work */
		fprintf(file,
			"{ name = \"n%d\"; home_address = \"10.1.%d.%d\"; authentication = ( { spi "
			"= "
			"256; algorithm = \"hmac-md5\"; key = \"" SECRET "\"; } ); }%s\n",
			i, 1 + i / 250, 1 + i % 250, i == 0 ? "" : ",");
	fprintf(file, ");\n");
	fclose(file);
	CU_ASSERT_TRUE_FATAL(load(&conf, said, sizeof said));
	CU_ASSERT_EQUAL(conf.n_nodes, 1000);
	for (size_t i = 0; i < conf.n_nodes; i++) {
		struct ip_addr addr = conf.nodes[i].home_address;

		CU_ASSERT_EQUAL(ha_conf_find_node(&conf, &addr), (int)i);
		addr.bytes[1]++;
		CU_ASSERT_EQUAL(ha_conf_find_node(&conf, &addr), -1);
	}
	ha_conf_free(&conf);
}

/* The delivered file with its key files put where the test may make them. */
static void delivered_file(void)
{
	static const char key_path[] = "/etc/roamgate/";
	FILE *in = fopen(SOURCE_ROOT "/config/roamgate-ha.conf", "r");
	char text[8192], moved[8192], said[4096];
	size_t n, len = 0;
	struct ha_conf conf;

	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	n = fread(text, 1, sizeof text - 1, in);
	text[n] = '\0';
	fclose(in);
	for (const char *at = text; *at != '\0' && len < sizeof moved - 256;) {
		if (strncmp(at, key_path, strlen(key_path)) == 0) {
			len += (size_t)snprintf(
				moved + len, sizeof moved - len, "%s/", unit_folder());
			at += strlen(key_path);
		} else {
			moved[len++] = *at++;
		}
	}
	moved[len] = '\0';
	write_file("siu-ha1.key", SECRET "\n", 0600);
	write_file("node1-mip.key", SECRET "\n", 0600);
	write_conf(moved, 0600);
	CU_ASSERT_TRUE_FATAL(load(&conf, said, sizeof said));
	CU_ASSERT_STRING_EQUAL(conf.nodes[0].name, "node1");
	CU_ASSERT_EQUAL(conf.nodes[0].gateway, 0);
	CU_ASSERT_EQUAL(conf.grace_ms, 2000);
	ha_conf_free(&conf);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"good file", good_file},
		{"gateways of a node", node_gateways},
		{"wrong lines", wrong_lines},
		{"open to others", open_to_others},
		{"absent file", absent_file},
		{"many nodes", many_nodes},
		{"delivered file", delivered_file},
		{NULL, NULL},
	};
	int code = unit_run("ha_conf", cases);

	unit_remove_folder();
	return code;
}
