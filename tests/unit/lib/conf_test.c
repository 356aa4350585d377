/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration: every getter reads a good value, and every kind of wrong value gives one error
 * with file, line and key. Files are written into a folder of the test's own.
 */
#include "lib/conf.h"

#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#define NAME_BYTES_MAX 256

/* libconfig 1.5 forgets strings after a syntax error. Read by the leak checker. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

static const char *path_of(const char *name)
{
	static char path[NAME_BYTES_MAX];

	snprintf(path, sizeof path, "%s/%s", unit_folder(), name);
	return path;
}

static void write_file(const char *name, mode_t mode, const char *text)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	size_t len = strlen(text);

	if (fd < 0 || write(fd, text, len) != (ssize_t)len || fchmod(fd, mode) != 0)
		abort();
	close(fd);
}

/* What conf_report() prints. */
static const char *report_of(const struct conf *conf, bool *ok)
{
	static char text[16384];
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	size_t n;

	if (file == NULL || saved < 0)
		abort();
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	*ok = conf_report(conf);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	n = fread(text, 1, sizeof text - 1, file);
	text[n] = '\0';
	fclose(file);
	return text;
}

/* Opens text as a file of mode 0600. */
static struct conf *conf_of(const char *text)
{
	struct conf *conf;

	write_file("test.conf", 0600, text);
	conf = conf_open(path_of("test.conf"));
	if (conf == NULL)
		abort();
	return conf;
}

/* The report must be exactly one line: PATH:line: want... (line 0: "PATH: want"); want NULL: no
 * error at all. Closes conf. */
static void expect(const char *row, struct conf *conf, int line, const char *want)
{
	char prefix[NAME_BYTES_MAX + 16];
	const char *got, *end;
	bool ok;

	if (line > 0)
		snprintf(prefix, sizeof prefix, "%s:%d: ", path_of("test.conf"), line);
	else
		snprintf(prefix, sizeof prefix, "%s: ", path_of("test.conf"));
	got = report_of(conf, &ok);
	end = strchr(got, '\n');
	CHECK_ROW(row, ok == (want == NULL));
	if (want == NULL) {
		CHECK_ROW(row, got[0] == '\0');
	} else {
		CHECK_ROW(row, strncmp(got, prefix, strlen(prefix)) == 0);
		CHECK_ROW(row, strlen(got) > strlen(prefix) &&
				       strncmp(got + strlen(prefix), want, strlen(want)) == 0);
		CHECK_ROW(row, end != NULL && end[1] == '\0');
	}
	conf_close(conf);
}

static const char *const colours[] = {"red", "green", NULL};

enum getter { STRING, INT, BOOL, CHOICE, ADDR, ENDPOINT, PREFIXES, STRINGS, GROUP, LIST, SECRET };

/* Reads key "k" of group g as required. */
static void read_key(struct conf_group *g, enum getter getter)
{
	struct ip_prefix prefixes[2];
	const char *strings[2];
	struct conf_secret secret;

	switch (getter) {
	case STRING:
		conf_get_string(g, "k", NULL);
		break;
	case INT:
		conf_get_int(g, "k", "ms", 10, 4294967295, 7, true);
		break;
	case BOOL:
		conf_get_bool(g, "k", false);
		break;
	case CHOICE:
		conf_get_choice(g, "k", colours, -1);
		break;
	case ADDR:
		conf_get_addr(g, "k", true);
		break;
	case ENDPOINT:
		conf_get_endpoint(g, "k", 0, true);
		break;
	case PREFIXES:
		conf_get_prefixes(g, "k", prefixes, 2, true);
		break;
	case STRINGS:
		conf_get_strings(g, "k", strings, 2, true);
		break;
	case GROUP:
		conf_get_group(g, "k", true);
		break;
	case LIST:
		conf_get_list(g, "k", true);
		break;
	case SECRET:
		secret = conf_get_secret(g, "k", 4, 8);
		secret_wipe(&secret, sizeof secret);
		break;
	}
}

static void test_wrong_values(void)
{
	static const struct {
		enum getter getter;
		const char *text; /* of key k, which stands in line 2 of the file, in group g */
		const char *want; /* NULL: good */
	} rows[] = {
		{STRING, "k = \"x\";", NULL},
		{STRING, "", "g.k: is missing"},
		{STRING, "k = \"\";", "g.k: must not be empty"},
		{STRING, "k = 1;", "g.k: must be a string"},
		{STRING, "k = true;", "g.k: must be a string"},
		{STRING, "k = 1.5;", "g.k: must be a string"},
		{STRING, "k = [ \"x\" ];", "g.k: must be a string"},
		{STRING, "k = { };", "g.k: must be a string"},
		{STRING, "k = ( );", "g.k: must be a string"},
		{STRING, "k = \"x\"; l = 1;", "g.l: unknown key"},
		{STRING, "k = \"x\"; k = \"y\";", "duplicate setting name"},
		{STRING, "k = \"x", "syntax error"},
		{STRING, "k \"x\";", "syntax error"},
		{INT, "k = 10;", NULL},
		{INT, "k = 4294967295L;", NULL},
		{INT, "k = 0xffffffff;", NULL},
		{INT, "k = 0x80000000;", NULL},
		{INT, "", "g.k: is missing"},
		{INT, "k = 9;", "g.k: 9 is out of range; give 10 to 4294967295 ms"},
		{INT, "k = -1;", "g.k: -1 is out of range"},
		{INT, "k = 0x9;", "g.k: 9 is out of range"},
		{INT, "k = 4294967296L;", "g.k: 4294967296 is out of range"},
		{INT, "k = \"10\";", "g.k: must be a whole number, 10 to 4294967295 ms"},
		{INT, "k = 10.5;", "g.k: must be a whole number"},
		{INT, "k = true;", "g.k: must be a whole number"},
		{INT, "k = [ 10 ];", "g.k: must be a whole number"},
		{BOOL, "k = true;", NULL},
		{BOOL, "k = false;", NULL},
		{BOOL, "k = 1;", "g.k: must be true or false"},
		{BOOL, "k = \"true\";", "g.k: must be true or false"},
		{CHOICE, "k = \"green\";", NULL},
		{CHOICE, "", "g.k: is missing"},
		{CHOICE, "k = \"blue\";",
			"g.k: \"blue\" is not known; give one of \"red\", \"green\""},
		{CHOICE, "k = \"Green\";", "g.k: \"Green\" is not known"},
		{CHOICE, "k = 1;", "g.k: must be a string"},
		{ADDR, "k = \"10.0.0.1\";", NULL},
		{ADDR, "k = \"2001:db8::1\";", NULL},
		{ADDR, "", "g.k: is missing"},
		{ADDR, "k = \"10.0.0\";", "g.k: \"10.0.0\" is not an IP address"},
		{ADDR, "k = \"10.0.0.1/24\";", "g.k: \"10.0.0.1/24\" is not an IP address"},
		{ADDR, "k = 10;", "g.k: must be a string"},
		{ENDPOINT, "k = \"10.0.0.1:4340\";", NULL},
		{ENDPOINT, "", "g.k: is missing"},
		{ENDPOINT, "k = \"10.0.0.1\";", "g.k: \"10.0.0.1\" is not an address and port"},
		{ENDPOINT, "k = \"10.0.0.1:0\";", "g.k: \"10.0.0.1:0\" is not an address and port"},
		{ENDPOINT, "k = 4340;", "g.k: must be a string"},
		{PREFIXES, "k = [ \"10.1.0.0/16\", \"10.2.0.0/16\" ];", NULL},
		{PREFIXES, "", "g.k: is missing"},
		{PREFIXES, "k = [ ];", "g.k: must have at least one entry"},
		{PREFIXES, "k = \"10.1.0.0/16\";", "g.k: must be an array"},
		{PREFIXES, "k = ( \"10.1.0.0/16\" );", "g.k: must be an array"},
		{PREFIXES, "k = [ 10 ];", "g.k: entry 0 must be a string"},
		{PREFIXES, "k = [ \"10.1.0.0/16\", \"\" ];", "g.k: entry 1 must be a string"},
		{PREFIXES, "k = [ \"10.1.0.1/16\" ];", "g.k: \"10.1.0.1/16\" is not a prefix"},
		{PREFIXES, "k = [ \"10.1.0.0/33\" ];", "g.k: \"10.1.0.0/33\" is not a prefix"},
		{PREFIXES, "k = [ \"10.0.0.0/8\", \"11.0.0.0/8\", \"12.0.0.0/8\" ];",
			"g.k: has 3 entries; at most 2 are allowed"},
		{STRINGS, "k = [ \"a\", \"b\" ];", NULL},
		{STRINGS, "k = [ ];", "g.k: must have at least one entry"},
		{STRINGS, "k = \"a\";", "g.k: must be an array"},
		{STRINGS, "k = [ 1, 2 ];", "g.k: entry 0 must be a string"},
		{GROUP, "k = { };", NULL},
		{GROUP, "", "g.k: is missing"},
		{GROUP, "k = ( );", "g.k: must be a group"},
		{GROUP, "k = 1;", "g.k: must be a group"},
		{LIST, "k = ( { } );", NULL},
		{LIST, "", "g.k: is missing"},
		{LIST, "k = ( );", "g.k: must have at least one entry"},
		{LIST, "k = { };", "g.k: must be a list"},
		{LIST, "k = [ 1 ];", "g.k: must be a list"},
		{LIST, "k = ( { }, 1 );", "g.k: entry 1 must be a group"},
		{SECRET, "k = \"00112233\";", NULL},
		{SECRET, "k = \"AABBCCDDeeff0011\";", NULL},
		{SECRET, "", "g.k: is missing; give it or k_file"},
		{SECRET, "k = \"001122\";",
			"g.k: has 3 bytes; give 4 to 8 bytes as pairs of hex digits"},
		{SECRET, "k = \"001122334\";", "g.k: must be pairs of hex digits"},
		{SECRET, "k = \"001122334455667788\";", "g.k: has 9 bytes; give 4 to 8"},
		{SECRET, "k = \"0011223g\";", "g.k: must be pairs of hex digits"},
		{SECRET, "k = \"0x112233\";", "g.k: must be pairs of hex digits"},
		{SECRET, "k = \"00 11 22\";", "g.k: must be pairs of hex digits"},
		{SECRET, "k = \"\";", "g.k: must not be empty"},
		{SECRET, "k = 11223344;", "g.k: must be a string"},
		{SECRET, "k_file = \"good.key\";", NULL},
		{SECRET, "k_file = \"long.key\";", "g.k_file: has 9 bytes; give 4 to 8"},
		{SECRET, "k_file = \"endless.key\";", "g.k_file: "},
		{SECRET, "k_file = \"empty.key\";", "g.k_file: has 0 bytes; give 4 to 8"},
		{SECRET, "k_file = \"two.key\";", "g.k_file: "},
		{SECRET, "k_file = 5;", "g.k_file: must be a string"},
		{SECRET, "k_file = \"good.key\"; k = \"00112233\";",
			"g.k: stands beside k_file; give one of them"},
	};

	write_file("good.key", 0600, "0011223344\n");
	write_file("long.key", 0600, "001122334455667788");
	write_file("empty.key", 0600, "\n");
	write_file("two.key", 0600, "00112233\n00112233\n");
	{
		char endless[2 * CONF_SECRET_MAX + 64];

		memset(endless, 'a', sizeof endless - 1);
		endless[sizeof endless - 1] = '\0';
		write_file("endless.key", 0600, endless);
	}
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[512], row[96];
		struct conf_group root, g;
		struct conf *conf;
		bool syntax = rows[i].want != NULL && rows[i].want[1] != '.';
		int line = 2;

		snprintf(row, sizeof row, "%d: %.80s", rows[i].getter, rows[i].text);
		snprintf(text, sizeof text, "g = {\n%s\n};\n", rows[i].text);
		conf = conf_of(text);
		root = conf_root(conf);
		g = conf_get_group(&root, "g", true);
		read_key(&g, rows[i].getter);
		conf_group_end(&g);
		conf_group_end(&root);
		/* What is not there is missing in its group, which libconfig places in line 1; a
		 * string that does not end is noticed at the end of the file. */
		if (rows[i].want != NULL && strstr(rows[i].want, "is missing") != NULL)
			line = 1;
		if (syntax && strcmp(rows[i].text, "k = \"x") == 0)
			line = 4;
		expect(row, conf, line, rows[i].want);
	}
}

static void test_good_values(void)
{
	static const char text[] =
		"s = \"text\"; i = 12; h = 0xfffffff0; l = 5000000000L; n = -3; b = true;\n"
		"c = \"green\"; a = \"10.0.0.1\"; e = \"10.0.0.1:4340\"; d = \"10.0.0.2\";\n"
		"p = [ \"10.1.0.0/16\", \"::/0\" ]; t = [ \"x\", \"y\" ];\n"
		"g = { inner = { k = \"00fF10\"; }; };\n"
		"list = ( { v = 1; }, { v = 2; sub = { w = 3; }; } );\n";
	struct conf *conf = conf_of(text);
	struct conf_group root = conf_root(conf), g, inner;
	struct ip_prefix prefixes[4];
	const char *strings[4];
	struct ip_endpoint endpoint;
	struct ip_addr addr;
	struct conf_secret secret;
	char out[IP_TEXT_MAX];

	CU_ASSERT_STRING_EQUAL(conf_get_string(&root, "s", NULL), "text");
	CU_ASSERT_STRING_EQUAL(conf_get_string(&root, "absent", "default"), "default");
	CU_ASSERT_EQUAL(conf_get_int(&root, "i", "", 0, 12, 7, false), 12);
	CU_ASSERT_EQUAL(conf_get_int(&root, "absent", "", 0, 12, 7, false), 7);
	CU_ASSERT_EQUAL(conf_get_int(&root, "h", "", 256, UINT32_MAX, 0, true), 0xfffffff0);
	CU_ASSERT_EQUAL(conf_get_int(&root, "l", "", 0, INT64_MAX, 0, true), 5000000000);
	CU_ASSERT_EQUAL(conf_get_int(&root, "n", "", -3, 0, 0, true), -3);
	CU_ASSERT_TRUE(conf_get_bool(&root, "b", false));
	CU_ASSERT_TRUE(conf_get_bool(&root, "absent", true));
	CU_ASSERT_EQUAL(conf_get_choice(&root, "c", colours, -1), 1);
	CU_ASSERT_EQUAL(conf_get_choice(&root, "absent", colours, 0), 0);
	addr = conf_get_addr(&root, "a", true);
	CU_ASSERT_STRING_EQUAL(ip_addr_format(&addr, out), "10.0.0.1");
	addr = conf_get_addr(&root, "absent", false);
	CU_ASSERT_FALSE(ip_addr_is_set(&addr));
	endpoint = conf_get_endpoint(&root, "e", 0, true);
	CU_ASSERT_STRING_EQUAL(ip_endpoint_format(&endpoint, out), "10.0.0.1:4340");
	endpoint = conf_get_endpoint(&root, "d", 99, true);
	CU_ASSERT_STRING_EQUAL(ip_endpoint_format(&endpoint, out), "10.0.0.2:99");
	CU_ASSERT_EQUAL(conf_get_prefixes(&root, "p", prefixes, 2, true), 2);
	CU_ASSERT_STRING_EQUAL(ip_prefix_format(&prefixes[0], out), "10.1.0.0/16");
	CU_ASSERT_STRING_EQUAL(ip_prefix_format(&prefixes[1], out), "::/0");
	CU_ASSERT_EQUAL(conf_get_prefixes(&root, "absent", prefixes, 4, false), 0);
	CU_ASSERT_EQUAL(conf_get_strings(&root, "t", strings, 4, true), 2);
	CU_ASSERT_STRING_EQUAL(strings[1], "y");
	g = conf_get_group(&root, "g", true);
	inner = conf_get_group(&g, "inner", true);
	CU_ASSERT_STRING_EQUAL(inner.name, "g.inner");
	secret = conf_get_secret(&inner, "k", 3, 3);
	CU_ASSERT_EQUAL(secret.len, 3);
	CU_ASSERT_EQUAL(memcmp(secret.bytes, "\x00\xff\x10", 3), 0);
	conf_group_end(&inner);
	conf_group_end(&g);
	CU_ASSERT_EQUAL(conf_get_list(&root, "list", true), 2);
	for (size_t i = 0; i < 2; i++) {
		g = conf_list_at(&root, "list", i);
		CU_ASSERT_EQUAL(conf_get_int(&g, "v", "", 1, 2, 0, true), (int64_t)i + 1);
		CU_ASSERT_EQUAL(conf_has(&g, "sub"), i == 1);
		inner = conf_get_group(&g, "sub", false);
		CU_ASSERT_EQUAL(conf_get_int(&inner, "w", "", 0, 9, 5, true), i == 1 ? 3 : 5);
		conf_group_end(&inner);
		conf_group_end(&g);
	}
	CU_ASSERT_STRING_EQUAL(g.name, "list[1]");
	CU_ASSERT_STRING_EQUAL(inner.name, "list[1].sub");
	conf_group_end(&root);
	expect("good values", conf, 0, NULL);
}

/* libconfig reads these as other numbers; they must not go in silently. */
static void test_wrapped_numbers(void)
{
	static const struct {
		const char *text;
		const char *number; /* NULL: good */
	} rows[] = {
		{"k = 2147483647;", NULL},
		{"k = 2147483648;", "2147483648"},
		{"k = 4294967295;", "4294967295"},
		{"k = 5000000000;", "5000000000"},
		{"k = 5000000000L;", NULL},
		{"k = 5000000000LL;", NULL},
		{"k = 0xFFFFFFFF;", NULL},
		{"k = 0x100000001;", "0x100000001"},
		{"k = 0x100000001L;", NULL},
		{"k = 99999999999999999999;", "99999999999999999999"},
		{"k = 99999999999999999999L;", "99999999999999999999L"},
		{"k = -2147483648;", NULL},
		{"k = -2147483649;", "-2147483649"},
		{"k = 1; /* 5000000000 * / \" \n */ # 5000000000\n // \" 5000000000\n", NULL},
		{"k = 1; s = \"5000000000 \\\" 5000000000\";", NULL},
		{"k = 1; s = [ 1, 5000000000 ];", "5000000000"},
		{"k = 1; s = 5000000000.5;", NULL},
		{"k = 1; a5000000000 = 1;", NULL},
		{"k = 1; a-5000000000 = 1;", NULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[512], want[128];
		struct conf *conf;

		snprintf(text, sizeof text, "# first line\n%s\n", rows[i].text);
		snprintf(want, sizeof want, "%s: a number above 32 bits",
			rows[i].number ? rows[i].number : "");
		conf = conf_of(text);
		expect(rows[i].text, conf, 2, rows[i].number != NULL ? want : NULL);
	}
}

static void test_include(void)
{
	char want[NAME_BYTES_MAX + 64];
	struct conf_group root;
	struct conf *conf;
	const char *got;
	bool ok;

	write_file("nodes.conf", 0600, "\n\nk = 5;\nbig = 5000000000;\n");
	conf = conf_of("@include \"nodes.conf\"\n");
	root = conf_root(conf);
	conf_get_int(&root, "k", "s", 10, 20, 10, true);
	CU_ASSERT_EQUAL(conf_get_int(&root, "big", "", INT64_MIN, INT64_MAX, 0, true), 705032704);
	got = report_of(conf, &ok);
	CU_ASSERT_FALSE(ok);
	snprintf(want, sizeof want, "%s:4: 5000000000: ", path_of("nodes.conf"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, want));
	snprintf(want, sizeof want, "%s:3: k: 5 is out of range", path_of("nodes.conf"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, want));
	conf_close(conf);

	conf = conf_of("\n@include \"absent.conf\"\n");
	root = conf_root(conf);
	conf_get_int(&root, "k", "s", 10, 20, 10, true);
	expect("absent include", conf, 2, "cannot open include file");

	/* A key in an included file: it is that file that must be private. */
	write_file("nodes.conf", 0644, "k = \"00112233\";\n");
	conf = conf_of("@include \"nodes.conf\"\n");
	root = conf_root(conf);
	conf_get_secret(&root, "k", 4, 4);
	snprintf(want, sizeof want, "%s:1: k: this file holds a key", path_of("nodes.conf"));
	CU_ASSERT_PTR_NOT_NULL(strstr(report_of(conf, &ok), want));
	conf_close(conf);
}

static void test_file_errors(void)
{
	struct conf_group root;
	struct conf *conf;

	remove(path_of("test.conf"));
	conf = conf_open(path_of("test.conf"));
	root = conf_root(conf);
	CU_ASSERT_STRING_EQUAL(conf_get_string(&root, "k", NULL), ""); /* no error of its own */
	conf_get_group(&root, "g", true);
	conf_get_list(&root, "l", true);
	conf_get_secret(&root, "s", 1, 2);
	conf_group_end(&root);
	expect("missing file", conf, 0, "cannot be read: No such file");
	CU_ASSERT_EQUAL(mkdir(path_of("test.conf"), 0700), 0);
	expect("a folder", conf_open(path_of("test.conf")), 0, "is not a regular file");
	rmdir(path_of("test.conf"));
}

static void test_private_files(void)
{
	static const struct {
		mode_t holder, key_file;
		bool ok;
	} rows[] = {
		{0600, 0600, true},
		{0400, 0400, true},
		{0640, 0600, false},
		{0604, 0600, false},
		{0660, 0600, false},
		{0601, 0600, false},
		{0600, 0640, false},
		{0600, 0604, false},
		{0600, 0620, false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char row[32];
		struct conf_group root;
		struct conf *conf;
		bool ok;

		snprintf(row, sizeof row, "%03o %03o", rows[i].holder, rows[i].key_file);
		write_file("mode.key", rows[i].key_file, "00112233");
		write_file(
			"test.conf", rows[i].holder, "a = \"00112233\";\nb_file = \"mode.key\";");
		conf = conf_open(path_of("test.conf"));
		root = conf_root(conf);
		conf_get_secret(&root, "a", 4, 4);
		conf_get_secret(&root, "b", 4, 4);
		CHECK_ROW(row, strstr(report_of(conf, &ok), "open to others") != NULL || ok);
		CHECK_ROW(row, ok == rows[i].ok);
		conf_close(conf);
	}
	/* Without a key in it the file may be open. */
	write_file("test.conf", 0644, "b_file = \"good.key\";");
	write_file("good.key", 0600, "00112233");
	{
		struct conf *conf = conf_open(path_of("test.conf"));
		struct conf_group root = conf_root(conf);

		CU_ASSERT_EQUAL(conf_get_secret(&root, "b", 4, 4).len, 4);
		expect("no key inside", conf, 0, NULL);
	}
}

static void test_key_file_kinds(void)
{
	static const struct {
		const char *name, *want;
	} rows[] = {
		{"absent.key", "b_file: "},
		{"fifo.key", "b_file: "},
		{"folder.key", "b_file: "},
	};

	CU_ASSERT_EQUAL(mkfifo(path_of("fifo.key"), 0600), 0);
	CU_ASSERT_EQUAL(mkdir(path_of("folder.key"), 0700), 0);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[128];
		struct conf_group root;
		struct conf *conf;

		snprintf(text, sizeof text, "\nb_file = \"%s\";", rows[i].name);
		conf = conf_of(text);
		root = conf_root(conf);
		conf_get_secret(&root, "b", 4, 4);
		conf_group_end(&root);
		expect(rows[i].name, conf, 2, rows[i].want);
	}
	if (geteuid() == 0) {
		struct conf *conf = conf_of("b_file = \"other.key\";");
		struct conf_group root = conf_root(conf);

		write_file("other.key", 0600, "00112233");
		CU_ASSERT_EQUAL(chown(path_of("other.key"), 12345, 12345), 0);
		conf_get_secret(&root, "b", 4, 4);
		expect("owner", conf, 1, "b_file: ");
	}
}

static void test_secret_read(void)
{
	struct conf_secret secret = {0};

	write_file("read.key", 0600, "00ff\n");
	CU_ASSERT_PTR_NULL(conf_secret_read(path_of("read.key"), &secret));
	CU_ASSERT(secret.len == 2 && secret.bytes[0] == 0 && secret.bytes[1] == 0xff);
	write_file("read.key", 0600, "00fx");
	CU_ASSERT_STRING_EQUAL(conf_secret_read(path_of("read.key"), &secret),
		"must hold pairs of hex digits and nothing else");
	write_file("read.key", 0640, "00ff");
	CU_ASSERT_PTR_NOT_NULL(strstr(conf_secret_read(path_of("read.key"), &secret), "chmod 600"));
	CU_ASSERT_PTR_NOT_NULL(conf_secret_read(path_of("none.key"), &secret));
}

static void test_optional_group(void)
{
	struct conf *conf = conf_of("x = 1;");
	struct conf_group root = conf_root(conf);
	struct conf_group none = conf_get_group(&root, "none", false);

	CU_ASSERT_PTR_NULL(none.setting);
	CU_ASSERT_STRING_EQUAL(conf_get_string(&none, "k", NULL), "");
	CU_ASSERT_EQUAL(conf_get_int(&none, "k", "", 0, 9, 4, true), 4);
	CU_ASSERT_EQUAL(conf_get_secret(&none, "k", 1, 2).len, 0);
	conf_group_end(&none);
	CU_ASSERT_EQUAL(conf_get_list(&root, "list", false), 0);
	CU_ASSERT_EQUAL(conf_get_int(&root, "x", "", 0, 9, 0, true), 1);
	conf_group_end(&root);
	expect("optional group", conf, 0, NULL);
}

static void test_own_errors(void)
{
	struct conf *conf = conf_of("\n\ng = {\n k = 1;\n};");
	struct conf_group root = conf_root(conf);
	struct conf_group g = conf_get_group(&root, "g", true);

	conf_error(&g, "k", "%d is taken", 1);
	expect("error of a caller, key", conf, 4, "g.k: 1 is taken");
	conf = conf_of("\n\ng = {\n k = 1;\n};");
	root = conf_root(conf);
	g = conf_get_group(&root, "g", true);
	conf_error(&g, NULL, "does not go with the rest");
	expect("error of a caller, group", conf, 3, "g: does not go with the rest");
}

static void test_many_errors(void)
{
	char text[4096] = "";
	struct conf_group root;
	struct conf *conf;
	const char *got;
	size_t lines = 0;
	bool ok;

	/* More than 64 keys, of which the last cannot be marked as seen. */
	for (int i = 0; i < 70; i++)
		snprintf(text + strlen(text), sizeof text - strlen(text), "k%d = 1;\n", i);
	conf = conf_of(text);
	root = conf_root(conf);
	conf_group_end(&root);
	got = report_of(conf, &ok);
	CU_ASSERT_FALSE(ok);
	for (const char *at = got; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	CU_ASSERT_EQUAL(lines, CONF_ERRORS_MAX + 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, ": 50 more errors\n"));
	conf_close(conf);
}

/* The examples that an operator starts from must at least parse. */
static void test_shipped_files(void)
{
	static const char *const names[] = {
		"roamgate.conf", "roamgate-ha.conf", "roamgate-mn.conf"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[512];
		struct conf *conf;
		bool ok;

		snprintf(path, sizeof path, "%s/config/%s", SOURCE_ROOT, names[i]);
		conf = conf_open(path);
		report_of(conf, &ok);
		CHECK_ROW(names[i], ok);
		conf_close(conf);
	}
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"good values", test_good_values},
		{"wrong values", test_wrong_values},
		{"numbers that would wrap", test_wrapped_numbers},
		{"include", test_include},
		{"file errors", test_file_errors},
		{"private files", test_private_files},
		{"kinds of key files", test_key_file_kinds},
		{"key file by its path", test_secret_read},
		{"optional group", test_optional_group},
		{"errors of the caller", test_own_errors},
		{"many errors", test_many_errors},
		{"shipped files", test_shipped_files},
		{NULL, NULL},
	};
	int ret;

	ret = unit_run("conf", cases);
	unit_remove_folder();
	return ret;
}
