/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: EAL's command line is made from the configuration, with each thread pinned where
 * it was asked to run. Virtual devices are probed one by one afterwards, since then a failure can
 * be laid at one device's door. Common causes are looked for before DPDK fails over them with a
 * page of text; what it logs while it starts is held back, and its own reason, the first line or
 * that of a panic, goes with ours.
 */
#include "dataplane/state.h"
#include "lib/ready.h"

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_lcore.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define EAL_ARGS_MAX 32
#define EAL_ARG_BYTES 512
#define HUGEPAGES_DIR "/sys/kernel/mm/hugepages"

static const char *const port_keys[DP_PORTS] = {[DP_OUTSIDE] = "outside", [DP_INSIDE] = "inside"};

struct eal_args {
	char text[EAL_ARGS_MAX][EAL_ARG_BYTES];
	char *argv[EAL_ARGS_MAX + 1];
	int n;
};

static void add_arg(struct eal_args *args, const char *option, const char *value)
{
	snprintf(args->text[args->n], EAL_ARG_BYTES, "%s%s", option, value);
	args->argv[args->n] = args->text[args->n];
	args->n++;
}

/* "0000:03:00.0" or "03:00.0": a hex digit, and the bus' colon before any comma. */
static bool is_pci(const char *devargs)
{
	size_t name = strcspn(devargs, ",");

	return isxdigit((unsigned char)devargs[0]) && memchr(devargs, ':', name) != NULL;
}

static long free_hugepages(void)
{
	DIR *dir = opendir(HUGEPAGES_DIR);
	struct dirent *size;
	long total = 0;

	while (dir != NULL && (size = readdir(dir)) != NULL) {
		char path[PATH_MAX];
		long pages = 0;
		FILE *file;

		snprintf(path, sizeof path, HUGEPAGES_DIR "/%s/free_hugepages", size->d_name);
		file = fopen(path, "r");
		if (file == NULL)
			continue;
		if (fscanf(file, "%ld", &pages) == 1)
			total += pages;
		fclose(file);
	}
	if (dir != NULL)
		closedir(dir);
	return total;
}

/* A number of a CPU that this machine has, up to a comma or the end. */
static int cpu_parse(const char *text, const char **end, unsigned long *cpu)
{
	char *stop;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	*cpu = strtoul(text, &stop, 10);
	*end = stop;
	return (*stop == '\0' || *stop == ',') &&
			       *cpu < (unsigned long)sysconf(_SC_NPROCESSORS_CONF)
		       ? 0
		       : -EINVAL;
}

/* "--lcores=0@CONTROL,1@FIRST,2@SECOND": lcore 0 is the control thread, the others are workers. */
static int lcore_map(const struct dp_config *config, char map[EAL_ARG_BYTES], const char **wrong)
{
	const char *at = config->control_cpu;
	unsigned long cpu;
	int len;

	*wrong = "control_cpu";
	if (cpu_parse(at, &at, &cpu) != 0 || *at != '\0')
		return -EINVAL;
	len = snprintf(map, EAL_ARG_BYTES, "--lcores=0@%lu", cpu);
	*wrong = "worker_cpus";
	at = config->worker_cpus;
	for (unsigned lcore = 1;; lcore++, at++) {
		if (lcore > PORT_WORKERS_MAX || cpu_parse(at, &at, &cpu) != 0)
			return -EINVAL;
		len += snprintf(map + len, (size_t)(EAL_ARG_BYTES - len), ",%u@%lu", lcore, cpu);
		if (len >= EAL_ARG_BYTES)
			return -EINVAL;
		if (*at == '\0')
			return 0;
	}
}

static int build_args(
	struct eal_args *args, const struct dp_config *config, char *why, size_t why_size)
{
	char map[EAL_ARG_BYTES], memory[16];
	const char *wrong;
	bool pci = false;

	if (lcore_map(config, map, &wrong) != 0) {
		snprintf(why, why_size,
			"dpdk.%s: want numbers of CPUs that are there, as in \"1,2\"", wrong);
		return -EINVAL;
	}
	add_arg(args, "roamgate", "");
	add_arg(args, map, "");
	add_arg(args, "--main-lcore=0", "");
	add_arg(args, "--file-prefix=", config->file_prefix);
	add_arg(args, "--log-level=warning", "");
	add_arg(args, "--log-level=lib.telemetry:error", ""); /* it misses a legacy nobody uses */
	snprintf(memory, sizeof memory, "%u", config->memory_mb);
	if (config->no_huge) {
		add_arg(args, "--no-huge", "");
		add_arg(args, "-m", "");
		add_arg(args, memory, "");
	} else if (config->memory_mb != 0) {
		add_arg(args, "--socket-limit=", memory);
	}
	for (unsigned i = 0; i < DP_PORTS; i++) {
		if (!is_pci(config->ports[i].devargs))
			continue;
		pci = true;
		add_arg(args, "-a", "");
		add_arg(args, config->ports[i].devargs, "");
	}
	if (!pci)
		add_arg(args, "--no-pci", "");
	return 0;
}

/* DPDK's own answer to a missing interface is several lines that do not name the key. */
static int check_interface(const char *devargs, const char *key, char *why, size_t why_size)
{
	const char *iface = strstr(devargs, "iface=");
	char name[IF_NAMESIZE];

	if (strncmp(devargs, "net_af_packet", strlen("net_af_packet")) != 0 || iface == NULL)
		return 0;
	snprintf(name, sizeof name, "%.*s", (int)strcspn(iface + 6, ","), iface + 6);
	if (if_nametoindex(name) != 0)
		return 0;
	snprintf(why, why_size, "%s.device: there is no interface \"%s\" on this machine", key,
		name);
	return -ENODEV;
}

static char *held_text; /* complete after each message: DPDK flushes the stream */
static size_t held_bytes;
static FILE *held;
static atomic_bool giving_up; /* why is being told already */

/* Behind the line by which rte_panic() begins; NULL: DPDK did not panic. */
static char *panic_reason(void)
{
	char *text = held_text == NULL ? NULL : strstr(held_text, "PANIC in");

	text = text == NULL ? NULL : strchr(text, '\n');
	return text == NULL ? NULL : text + 1;
}

/* What DPDK cannot do without, it does not return from: rte_panic() logs where it is, the reason
 * and a stack, and aborts, perhaps in a thread of its own. */
static void on_abort(int number)
{
	static char start[] = "roamgate: DPDK gave up: ", end[] = "\n";
	char *text = panic_reason();
	struct iovec line[3] = {{start, sizeof start - 1}, {NULL, 0}, {end, 1}};

	(void)number;
	if (gettid() != getpid())
		while (atomic_load(&giving_up))
			pause(); /* the main thread ends the program */
	if (text == NULL)
		return; /* something else: abort() goes on */
	line[1] = (struct iovec){text, strcspn(text, "\n")};
	if (writev(STDERR_FILENO, line, 3) > 0)
		_exit(EXIT_ENVIRONMENT);
}

void eal_hold_log(void)
{
	held = open_memstream(&held_text, &held_bytes);
	if (held == NULL)
		return;
	rte_openlog_stream(held);
	signal(SIGABRT, on_abort);
}

/* After a failure the log stays held, since a thread of DPDK may be about to abort over the same;
 * the program ends. */
void eal_release_log(bool failed, char *why, size_t why_size)
{
	const char *reason = panic_reason();
	size_t len = strlen(why);

	atomic_store(&giving_up, failed);
	if (held == NULL)
		return;
	if (failed) {
		if (reason == NULL)
			reason = held_text;
		if (held_bytes != 0 && len < why_size)
			snprintf(why + len, why_size - len, " (%.*s)", (int)strcspn(reason, "\n"),
				reason);
		return;
	}
	signal(SIGABRT, SIG_DFL);
	rte_openlog_stream(NULL); /* stderr again */
	fclose(held);
	held = NULL;
	fputs(held_text, stderr);
	free(held_text);
	held_text = NULL;
}

int eal_start(const struct dp_config *config, char *why, size_t why_size)
{
	struct eal_args args = {.n = 0};
	int ret = 0;

	for (unsigned i = 0; i < DP_PORTS && ret == 0; i++)
		ret = check_interface(config->ports[i].devargs, port_keys[i], why, why_size);
	if (ret == 0)
		ret = build_args(&args, config, why, why_size);
	if (ret != 0)
		return ret;
	if (!config->no_huge && free_hugepages() == 0) {
		snprintf(why, why_size,
			"no free hugepages: reserve some (echo 256 > " HUGEPAGES_DIR
			"/hugepages-2048kB/nr_hugepages) or set dpdk.no_huge = true");
		return -ENOMEM;
	}
	if (rte_eal_init(args.n, args.argv) < 0) {
		ret = rte_errno != 0 ? -rte_errno : -EIO;
		snprintf(why, why_size,
			"DPDK does not start: %s (are dpdk.control_cpu and dpdk.worker_cpus there, "
			"and is "
			"no other process using file_prefix \"%s\"?)",
			strerror(-ret), config->file_prefix);
	}
	return ret;
}

int eal_probe_ports(
	const struct dp_config *config, char names[DP_PORTS][64], char *why, size_t why_size)
{
	for (unsigned i = 0; i < DP_PORTS; i++) {
		const char *devargs = config->ports[i].devargs;
		uint16_t port;
		int ret = 0;

		snprintf(names[i], sizeof names[i], "%.*s", (int)strcspn(devargs, ","), devargs);
		if (rte_eth_dev_get_port_by_name(names[i], &port) == 0)
			continue;
		if (is_pci(devargs))
			ret = -ENODEV;
		else
			ret = rte_dev_probe(devargs);
		if (ret == 0)
			ret = rte_eth_dev_get_port_by_name(names[i], &port);
		if (ret != 0) {
			snprintf(why, why_size, "%s.device = \"%s\": DPDK cannot use it: %s",
				port_keys[i], devargs, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

uint32_t eal_workers(void)
{
	return rte_lcore_count() - 1;
}

void eal_stop(void)
{
	rte_eal_cleanup();
}
