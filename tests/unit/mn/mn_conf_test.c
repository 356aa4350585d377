/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The node's configuration: the delivered file is good, defaults are as it says, and every key that
 * is wrong gives an error with file and line. Each row changes one line of a good file.
 */
#include "control/mn/mn_conf.h"

#include "tests/unit/lib/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define KEY_IN "000102030405060708090a0b0c0d0e0f10111213"
#define KEY_OUT "100102030405060708090a0b0c0d0e0f10111213"
#define KEY_MIP "200102030405060708090a0b0c0d0e0f"

static const char *const GOOD[] = {
	"state_dir = \"/var/lib/mn\";",
	"control_socket = \"/run/mn.sock\";",
	"log_level = \"debug\";",
	"home_address = \"10.1.0.10\";",
	"home_prefix = \"10.1.0.0/24\";",
	"home_agent = \"10.1.0.1\";",
	"gateway = \"192.0.2.1\";",
	"tunnel_interface = \"tun7\";",
	"tunnel_mtu = 1300;",
	"tunnel_routes = [ \"10.1.0.0/16\", \"0.0.0.0/0\" ];",
	"interfaces = [ \"eth0\", \"wlan0\" ];",
	"mark = 77;",
	"reverse_tunnel = true;",
	"nat_traversal = \"always\";",
	"nat_keepalive = 3600;",
	"lifetime = 60;",
	"max_attempts = 3;",
	"fallback_command = \"/bin/true\";",
	"rekey_command = \"/bin/false\";",
	"grace_ms = 100;",
	"authentication = { spi = 0x101; algorithm = \"hmac-md5\"; key = \"" KEY_MIP "\"; };",
	"inbound = { spi = 0x2001; algorithm = \"aes128gcm16\"; key = \"" KEY_IN
	"\"; esn = false; replay_window = 64; };",
	"outbound = { spi = 0xffffffff; algorithm = \"aes128gcm16\"; key = \"" KEY_OUT
	"\"; esn = false; rekey_time = 10; life_time = 20; rekey_packets = 30; life_packets = 40; "
	"rekey_bytes = 50; life_bytes = 60000000000L; };",
};
#define LINES (sizeof GOOD / sizeof GOOD[0])

#define AUTH(spi, algorithm, key) \
	"authentication = { spi = " spi "; algorithm = \"" algorithm "\"; key = \"" key "\"; };"
#define INBOUND(spi, algorithm, key, more) \
	"inbound = { spi = " spi "; algorithm = \"" algorithm "\"; key = \"" key "\"; " more " };"
#define OUTBOUND(spi, algorithm, key, more)                                                        \
	"outbound = { spi = " spi "; algorithm = \"" algorithm "\"; key = \"" key "\"; " more " }" \
	";"

static const struct row {
	const char *key;  /* the line that begins with it ... */
	const char *line; /* ... becomes this one */
	const char *want; /* part of what is said */
} ROWS[] = {
	/* absent */
	{"state_dir", "", "state_dir: is missing"},
	{"home_address", "", "home_address: is missing"},
	{"home_prefix", "", "home_prefix: is missing"},
	{"home_agent", "", "home_agent: is missing"},
	{"gateway", "", "gateway: is missing"},
	{"tunnel_routes", "", "tunnel_routes: is missing"},
	{"authentication", "", "authentication: is missing"},
	{"inbound", "", "inbound: is missing"},
	{"outbound", "", "outbound: is missing"},
	{"authentication", "authentication = { };", "authentication.spi: is missing"},
	{"inbound", "inbound = { spi = 300; };", "inbound.algorithm: is missing"},
	{"outbound", "outbound = { spi = 300; algorithm = \"aes128gcm16\"; };", "outbound.key"},
	/* unknown */
	{"mark", "mark = 1; mork = 1;", "mork: unknown key"},
	{"inbound", INBOUND("300", "aes128gcm16", KEY_IN, "source = \"any\";"),
		"inbound.source: unknown key"},
	{"outbound", OUTBOUND("300", "aes128gcm16", KEY_OUT, "replay_window = 64;"),
		"outbound.replay_window: unknown key"},
	/* of another type */
	{"state_dir", "state_dir = 1;", "state_dir: must be a string"},
	{"control_socket", "control_socket = 1;", "control_socket: must be a string"},
	{"log_level", "log_level = 3;", "log_level"},
	{"home_address", "home_address = 1;", "home_address"},
	{"home_prefix", "home_prefix = 1;", "home_prefix: must be a string"},
	{"home_agent", "home_agent = 1;", "home_agent"},
	{"gateway", "gateway = [ ];", "gateway"},
	{"tunnel_interface", "tunnel_interface = 1;", "tunnel_interface: must be a string"},
	{"tunnel_mtu", "tunnel_mtu = \"x\";", "tunnel_mtu: must be a whole number"},
	{"tunnel_routes", "tunnel_routes = \"10.0.0.0/8\";", "tunnel_routes: must be an array"},
	{"interfaces", "interfaces = \"eth0\";", "interfaces: must be an array"},
	{"mark", "mark = 1.5;", "mark: must be a whole number"},
	{"reverse_tunnel", "reverse_tunnel = 1;", "reverse_tunnel"},
	{"nat_traversal", "nat_traversal = true;", "nat_traversal"},
	{"nat_keepalive", "nat_keepalive = \"x\";", "nat_keepalive: must be a whole number"},
	{"lifetime", "lifetime = true;", "lifetime: must be a whole number"},
	{"max_attempts", "max_attempts = \"5\";", "max_attempts: must be a whole number"},
	{"fallback_command", "fallback_command = [ ];", "fallback_command: must be a string"},
	{"grace_ms", "grace_ms = \"x\";", "grace_ms: must be a whole number"},
	{"authentication", "authentication = 1;", "authentication: must be a group"},
	{"inbound", "inbound = ( );", "inbound: must be a group"},
	{"outbound", "outbound = \"x\";", "outbound: must be a group"},
	/* out of range */
	{"tunnel_mtu", "tunnel_mtu = 575;", "give 576 to 9000 bytes"},
	{"tunnel_mtu", "tunnel_mtu = 9001;", "give 576 to 9000 bytes"},
	{"mark", "mark = 0;", "mark"},
	{"mark", "mark = 0x80000000L;", "mark"},
	{"nat_keepalive", "nat_keepalive = 0;", "give 1 to 3600 s"},
	{"nat_keepalive", "nat_keepalive = 3601;", "give 1 to 3600 s"},
	{"lifetime", "lifetime = 9;", "give 10 to 65534 s"},
	{"lifetime", "lifetime = 65535;", "give 10 to 65534 s"},
	{"max_attempts", "max_attempts = 0;", "give 1 to 20"},
	{"max_attempts", "max_attempts = 21;", "give 1 to 20"},
	{"grace_ms", "grace_ms = -1;", "give 0 to 2000 ms"},
	{"grace_ms", "grace_ms = 2001;", "give 0 to 2000 ms"},
	{"authentication", AUTH("255", "hmac-md5", KEY_MIP), "authentication.spi"},
	{"inbound", INBOUND("255", "aes128gcm16", KEY_IN, ""), "inbound.spi"},
	{"inbound", INBOUND("300", "aes128gcm16", KEY_IN, "replay_window = 63;"),
		"give 64 to 4096 packets"},
	{"inbound", INBOUND("300", "aes128gcm16", KEY_IN, "replay_window = 4097;"),
		"give 64 to 4096 packets"},
	{"outbound", OUTBOUND("0", "aes128gcm16", KEY_OUT, ""), "outbound.spi"},
	{"outbound", OUTBOUND("0x100000000L", "aes128gcm16", KEY_OUT, ""), "outbound.spi"},
	/* values */
	{"state_dir", "state_dir = \"mn\";", "state_dir: must be an absolute path"},
	{"control_socket", "control_socket = \"mn.sock\";", "must be an absolute path"},
	{"control_socket",
		"control_socket = \"/run/"
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		"xxxxxxxxxxxxxxxxxxxxxxxxxx\";",
		"is longer than 107 characters"},
	{"log_level", "log_level = \"loud\";", "log_level: \"loud\" is not known"},
	{"nat_traversal", "nat_traversal = \"yes\";", "nat_traversal: \"yes\" is not known"},
	{"home_address", "home_address = \"10.1.0\";", "home_address: \"10.1.0\" is not"},
	{"home_address", "home_address = \"2001:db8::1\";", "must be an IPv4 unicast"},
	{"home_address", "home_address = \"224.0.0.1\";", "must be an IPv4 unicast"},
	{"home_prefix", "home_prefix = \"10.9.0.0/24\";", "does not contain home_address"},
	{"home_prefix", "home_prefix = \"10.1.0.1/24\";", "is not an IPv4 prefix"},
	{"home_prefix", "home_prefix = \"10.1.0.0/33\";", "is not an IPv4 prefix"},
	{"home_prefix", "home_prefix = \"2001:db8::/32\";", "is not an IPv4 prefix"},
	{"home_agent", "home_agent = \"10.1.0.10\";", "must not be the home_address"},
	{"home_agent", "home_agent = \"127.0.0.1\";", "must be an IPv4 unicast"},
	{"gateway", "gateway = \"10.1.0.10\";", "must differ"},
	{"gateway", "gateway = \"10.1.0.1\";", "must differ"},
	{"gateway", "gateway = \"gw.example.org\";", "gateway"},
	{"tunnel_interface", "tunnel_interface = \"\";", "must not be empty"},
	{"tunnel_interface", "tunnel_interface = \"a/b\";", "is not an interface name"},
	{"tunnel_interface", "tunnel_interface = \"name-of-16-bytes\";", "is longer than 15"},
	{"tunnel_routes", "tunnel_routes = [ \"10.1.0.1/16\" ];", "tunnel_routes"},
	{"tunnel_routes", "tunnel_routes = [ \"2001:db8::/32\" ];", "must be IPv4 prefixes"},
	{"interfaces", "interfaces = [ \"eth 0\" ];", "is not an interface name"},
	{"interfaces", "interfaces = [ \"tun7\" ];", "is the tunnel_interface"},
	{"fallback_command", "fallback_command = \"true\";", "must be an absolute path"},
	{"rekey_command", "rekey_command = \"true\";", "must be an absolute path"},
	{"inbound", INBOUND("0x2001", "aes128gcm16", KEY_IN, "life_time = 0;"), "life_time"},
	{"inbound", INBOUND("0x2001", "aes128gcm16", KEY_IN, "life_time = 31622401;"), "life_time"},
	{"inbound", INBOUND("0x2001", "aes128gcm16", KEY_IN, "rekey_time = 9; life_time = 9;"),
		"rekey_time: must be less than life_time"},
	{"outbound",
		OUTBOUND("0x1001", "aes128gcm16", KEY_OUT, "rekey_packets = 7; life_packets = 6;"),
		"rekey_packets: must be less than life_packets"},
	{"outbound", OUTBOUND("0x1001", "aes128gcm16", KEY_OUT, "rekey_bytes = -1;"),
		"rekey_bytes"},
	{"outbound", OUTBOUND("0x1001", "aes128gcm16", KEY_OUT, "life_bytes = \"many\";"),
		"life_bytes"},
	{"authentication", AUTH("300", "md5", KEY_MIP), "\"md5\" is not known"},
	{"authentication", AUTH("300", "hmac-md5", "00"), "authentication.key"},
	{"authentication", AUTH("300", "hmac-md5", "0g"), "authentication.key"},
	{"inbound", INBOUND("300", "aes128gcm", KEY_IN, ""), "take one with an ICV of 16 bytes"},
	{"inbound", INBOUND("300", "aes128", KEY_IN, ""), "has no integrity protection"},
	{"inbound", INBOUND("300", "3des-sha1", KEY_IN, ""), "RFC 8221 says SHOULD NOT"},
	{"inbound", INBOUND("300", "aes128-md5", KEY_IN, ""), "RFC 8221 says MUST NOT"},
	{"inbound", INBOUND("300", "rot13", KEY_IN, ""), "\"rot13\" is not known"},
	{"inbound", INBOUND("300", "aes128-sha1", KEY_IN, ""), "has 20 bytes; give 36"},
	{"inbound", INBOUND("300", "aes256gcm16", KEY_IN, ""), "inbound.key"},
	{"outbound", OUTBOUND("300", "aes128gcm16", KEY_OUT "00", ""), "outbound.key"},
	{"outbound", OUTBOUND("300", "aes128gcm16", KEY_IN, ""), "has a key of inbound"},
	{"outbound",
		"outbound = { spi = 300; algorithm = \"aes128gcm16\"; key_file = \"/none\"; };",
		"outbound.key_file"},
	/* syntax */
	{"lifetime", "lifetime = 60 60;", "syntax error"},
};

static const char *path(void)
{
	static char text[192];

	snprintf(text, sizeof text, "%s/mn.conf", unit_folder());
	return text;
}

/* GOOD, with the line of key replaced. Returns that line's number, 0: none. */
static int write_conf(const char *key, const char *line, mode_t mode)
{
	FILE *file;
	int changed = 0;

	(void)unlink(path());
	file = fopen(path(), "w");
	if (file == NULL)
		abort();
	for (size_t i = 0; i < LINES; i++) {
		bool hit = key != NULL && strncmp(GOOD[i], key, strlen(key)) == 0 &&
			   GOOD[i][strlen(key)] == ' ';

		if (hit)
			changed = (int)i + 1;
		fprintf(file, "%s\n", hit ? line : GOOD[i]);
	}
	if (fchmod(fileno(file), mode) != 0 || fclose(file) != 0)
		abort();
	return changed;
}

static bool load(const char *name, struct mn_conf *conf, char *said, size_t size)
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	bool good;

	if (file == NULL || saved < 0)
		abort();
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	good = mn_conf_load(name, conf);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	said[fread(said, 1, size - 1, file)] = '\0';
	fclose(file);
	return good;
}

static void good_file(void)
{
	struct mn_conf conf;
	char said[4096];

	write_conf(NULL, NULL, 0600);
	CU_ASSERT_TRUE_FATAL(load(path(), &conf, said, sizeof said));
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_STRING_EQUAL(conf.state_dir, "/var/lib/mn");
	CU_ASSERT_STRING_EQUAL(conf.tunnel_interface, "tun7");
	CU_ASSERT_EQUAL(conf.log_level, LOG_DEBUG);
	CU_ASSERT_EQUAL(conf.tunnel_mtu, 1300);
	CU_ASSERT_EQUAL(conf.n_tunnel_routes, 2);
	CU_ASSERT_EQUAL(conf.tunnel_routes[0].len, 16);
	CU_ASSERT_EQUAL(conf.n_interfaces, 2);
	CU_ASSERT_STRING_EQUAL(conf.interfaces[1], "wlan0");
	CU_ASSERT_EQUAL(conf.mark, 77);
	CU_ASSERT_TRUE(conf.reverse_tunnel);
	CU_ASSERT_EQUAL(conf.nat_traversal, NAT_ALWAYS);
	CU_ASSERT_EQUAL(conf.nat_keepalive_s, 3600);
	CU_ASSERT_EQUAL(conf.lifetime_s, 60);
	CU_ASSERT_EQUAL(conf.max_attempts, 3);
	CU_ASSERT_STRING_EQUAL(conf.fallback_command, "/bin/true");
	CU_ASSERT_STRING_EQUAL(conf.rekey_command, "/bin/false");
	CU_ASSERT(mn_conf_has_commands(&conf));
	CU_ASSERT_EQUAL(conf.grace_ms, 100);
	CU_ASSERT_EQUAL(conf.authentication.spi, 0x101);
	CU_ASSERT_EQUAL(conf.authentication.alg, HMAC_MD5);
	CU_ASSERT_EQUAL(conf.authentication.key_len, 16);
	CU_ASSERT_EQUAL(conf.authentication.key[0], 0x20);
	CU_ASSERT_EQUAL(conf.inbound.spi, 0x2001);
	CU_ASSERT_EQUAL(conf.inbound.replay_window, 64);
	CU_ASSERT_FALSE(conf.inbound.esn);
	CU_ASSERT_TRUE(sa_source_match(&conf.inbound.source, &conf.gateway) == 32);
	CU_ASSERT_EQUAL(conf.outbound.spi, 0xffffffff);
	CU_ASSERT_EQUAL(conf.outbound.replay_window, 0);
	CU_ASSERT_EQUAL(conf.inbound.life.seconds.hard, 0);
	CU_ASSERT_EQUAL(conf.outbound.life.seconds.soft, 10);
	CU_ASSERT_EQUAL(conf.outbound.life.seconds.hard, 20);
	CU_ASSERT_EQUAL(conf.outbound.life.packets.soft, 30);
	CU_ASSERT_EQUAL(conf.outbound.life.packets.hard, 40);
	CU_ASSERT_EQUAL(conf.outbound.life.bytes.soft, 50);
	CU_ASSERT_EQUAL(conf.outbound.life.bytes.hard, UINT64_C(60000000000));
	CU_ASSERT_EQUAL(conf.outbound.key[0], 0x10);
	mn_conf_wipe_sa_keys(&conf);
	CU_ASSERT_EQUAL(conf.outbound.key[0], 0);
	CU_ASSERT_EQUAL(conf.inbound.key[1], 0);
}

static void defaults(void)
{
	static const char *const optional[] = {"control_socket", "log_level", "tunnel_interface",
		"tunnel_mtu", "interfaces", "mark", "reverse_tunnel", "lifetime", "max_attempts",
		"fallback_command", "grace_ms", "nat_traversal", "nat_keepalive", "rekey_command"};

	for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++) {
		struct mn_conf conf;
		char said[4096];
		bool good;

		CU_ASSERT_NOT_EQUAL(write_conf(optional[i], "", 0600), 0);
		good = load(path(), &conf, said, sizeof said);
		CHECK_ROW(optional[i], good);
		switch (i) {
		case 0:
			CU_ASSERT_STRING_EQUAL(conf.control_socket, "/run/roamgate-mn.sock");
			break;
		case 1:
			CU_ASSERT_EQUAL(conf.log_level, LOG_INFO);
			break;
		case 2:
			CU_ASSERT_STRING_EQUAL(conf.tunnel_interface, "rg-mn");
			break;
		case 3:
			CU_ASSERT_EQUAL(conf.tunnel_mtu, 1418);
			break;
		case 4:
			CU_ASSERT_EQUAL(conf.n_interfaces, 0);
			break;
		case 5:
			CU_ASSERT_EQUAL(conf.mark, 0x5247);
			break;
		case 6:
			CU_ASSERT_FALSE(conf.reverse_tunnel);
			break;
		case 7:
			CU_ASSERT_EQUAL(conf.lifetime_s, 600);
			break;
		case 8:
			CU_ASSERT_EQUAL(conf.max_attempts, 5);
			break;
		case 11:
			CU_ASSERT_EQUAL(conf.nat_traversal, NAT_AUTO);
			break;
		case 12:
			CU_ASSERT_EQUAL(conf.nat_keepalive_s, 20);
			break;
		case 13:
			CU_ASSERT_STRING_EQUAL(conf.rekey_command, "");
			break;
		case 9:
			CU_ASSERT_STRING_EQUAL(conf.fallback_command, "");
			break;
		default:
			CU_ASSERT_EQUAL(conf.grace_ms, 2000);
			break;
		}
	}
}

static void wrong_lines(void)
{
	for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
		const char *name = ROWS[i].line[0] != '\0' ? ROWS[i].line : ROWS[i].want;
		int line = write_conf(ROWS[i].key, ROWS[i].line, 0600);
		char said[4096], place[256];
		struct mn_conf conf;

		CHECK_ROW(name, line != 0);
		CHECK_ROW(name, !load(path(), &conf, said, sizeof said));
		if (strstr(said, ROWS[i].want) == NULL)
			printf("[%s] said: %s", name, said);
		CHECK_ROW(name, strstr(said, ROWS[i].want) != NULL);
		snprintf(place, sizeof place, "%s:%d: ", path(), line);
		if (ROWS[i].line[0] == '\0') /* a key that is not there has no line of its own */
			snprintf(place, sizeof place, "%s:", path());
		CHECK_ROW(name, strstr(said, place) != NULL);
		CHECK_ROW(name, strstr(said, KEY_IN) == NULL && strstr(said, KEY_OUT) == NULL);
	}
}

static void keys_others_can_read(void)
{
	struct mn_conf conf;
	char said[4096];

	write_conf(NULL, NULL, 0644);
	CU_ASSERT_FALSE(load(path(), &conf, said, sizeof said));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, path()));
}

/* The file that is delivered: everything but its key files is as it must be. */
static void delivered_file(void)
{
	struct mn_conf conf;
	char said[4096];
	unsigned lines = 0;

	CU_ASSERT_FALSE(load(SOURCE_ROOT "/config/roamgate-mn.conf", &conf, said, sizeof said));
	for (char *at = said; *at != '\0'; at = strchr(at, '\n') + 1) {
		char *end = strchr(at, '\n');

		CU_ASSERT_PTR_NOT_NULL_FATAL(end);
		*end = '\0';
		if (strstr(at, "/etc/roamgate/") == NULL)
			printf("%s\n", at);
		CU_ASSERT_PTR_NOT_NULL(strstr(at, "/etc/roamgate/"));
		*end = '\n';
		lines++;
	}
	CU_ASSERT_EQUAL(lines, 3);
	CU_ASSERT_FALSE(load("/nowhere/mn.conf", &conf, said, sizeof said));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "/nowhere/mn.conf"));
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"good file", good_file},
		{"defaults", defaults},
		{"wrong lines", wrong_lines},
		{"keys that others can read", keys_others_can_read},
		{"delivered file", delivered_file},
		{0},
	};
	int status = unit_run("mn conf", cases);

	unit_remove_folder();
	return status;
}
