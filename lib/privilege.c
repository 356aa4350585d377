/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How this works: Linux keeps capabilities and no_new_privs for each thread, and DPDK has started
 * some by the time they can be given up. So each thread is sent a signal whose handler gives them
 * up; it calls nothing but the kernel. A system call filter the kernel itself lays over all threads
 * (SECCOMP_FILTER_FLAG_TSYNC); a worker then adds its own, narrower one.
 */
#include "lib/privilege.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 512
#define WAIT_MS 1000 /* for a thread to take the signal; some are asleep in the kernel */

/* --- memory -------------------------------------------------------------------------------------
 */

void privilege_begin(void)
{
	const struct rlimit none = {0, 0};

	/* The limit alone does not stop a core dump into a pipe; the flag does (core(5)). */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	umask(077);
	/* On fault: what is reserved and never touched costs nothing. Without the privilege, as in
	 * --check by an ordinary user, swap can see a secret. */
	(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

/* Files that others can read anyway are not hidden; memory that has a name (memfd) is. */
static bool is_own_memory(const char *permissions, const char *name)
{
	return permissions[0] == 'r' && permissions[1] == 'w' &&
	       (name[0] != '/' || permissions[3] == 'p' || strncmp(name, "/memfd:", 7) == 0);
}

void privilege_hide_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[LINE_MAX_BYTES];

	/* From here on only what is there: memory to come would count against a limit in threads
	 * that may not exceed it, and fail. */
	(void)mlockall(MCL_CURRENT | MCL_ONFAULT);
	if (maps == NULL)
		return; /* no /proc: privilege_begin() has forbidden dumps at all */
	while (fgets(line, sizeof line, maps) != NULL) {
		char permissions[5], name[LINE_MAX_BYTES] = "";
		void *first, *end;

		if (sscanf(line, "%p-%p %4s %*s %*s %*s %511s", &first, &end, permissions, name) >=
				3 &&
			is_own_memory(permissions, name))
			(void)madvise(first, (size_t)((char *)end - (char *)first), MADV_DONTDUMP);
	}
	fclose(maps);
}

/* --- capabilities -------------------------------------------------------------------------------
 */

static uint64_t kept;           /* const while threads are asked */
static _Atomic(unsigned) asked; /* threads that have answered */
static _Atomic(int) failed;     /* errno of one that could not */

/* Async-signal-safe. The calling thread keeps what it has of keep. */
static int give_up(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	/* Fails without CAP_SETPCAP: then somebody has drawn the bounds for us, as systemd does. */
	for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++)
		if ((keep >> cap & 1) == 0)
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data) != 0)
		return errno;
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return errno;
	return 0;
}

static void on_asked(int signo)
{
	const int before = errno;
	const int error = give_up(kept);

	(void)signo;
	if (error != 0)
		atomic_store_explicit(&failed, error, memory_order_relaxed);
	/* Release pairs with the acquire in ask(). */
	atomic_fetch_add_explicit(&asked, 1, memory_order_release);
	errno = before;
}

/* Asks one thread and waits for it. One that has ended meanwhile has nothing to give up. */
static int ask(pid_t thread)
{
	const struct timespec a_while = {.tv_nsec = 100000};
	const unsigned before = atomic_load_explicit(&asked, memory_order_relaxed);

	if (syscall(SYS_tgkill, getpid(), thread, SIGRTMIN) != 0)
		return errno == ESRCH ? 0 : -errno;
	for (unsigned i = 0; i < WAIT_MS * 10; i++) {
		if (atomic_load_explicit(&asked, memory_order_acquire) != before)
			return -atomic_load_explicit(&failed, memory_order_relaxed);
		nanosleep(&a_while, NULL);
	}
	return -ETIMEDOUT;
}

static int ask_all(void)
{
	struct sigaction action = {.sa_handler = on_asked, .sa_flags = SA_RESTART};
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int ret = 0;

	if (tasks == NULL)
		return -errno;
	sigaction(SIGRTMIN, &action, NULL);
	while (ret == 0 && (entry = readdir(tasks)) != NULL) {
		const pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);

		if (thread != 0 && thread != (pid_t)syscall(SYS_gettid))
			ret = ask(thread);
	}
	closedir(tasks);
	if (ret == 0)
		ret = -give_up(kept);
	action.sa_handler = SIG_IGN;
	sigaction(SIGRTMIN, &action, NULL);
	return ret;
}

/* --- system calls -------------------------------------------------------------------------------
 */

static const int never[] = {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp), SCMP_SYS(pidfd_getfd), SCMP_SYS(init_module),
	SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd), SCMP_SYS(add_key), SCMP_SYS(keyctl), SCMP_SYS(request_key),
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
	SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(open_tree), SCMP_SYS(unshare),
	SCMP_SYS(setns), SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(acct),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(io_uring_setup), SCMP_SYS(iopl), SCMP_SYS(ioperm),
	SCMP_SYS(personality), SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime), SCMP_SYS(adjtimex), SCMP_SYS(clock_adjtime), SCMP_SYS(setuid),
	SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
	SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(vhangup), SCMP_SYS(syslog)};

static const int exec[] = {SCMP_SYS(execve), SCMP_SYS(execveat)};

/* What DPDK's ports do to move packets, and a thread to wait, grow and end. */
static const int move_data[] = {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev),
	SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
	SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(futex), SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
	SCMP_SYS(sched_yield), SCMP_SYS(getcpu), SCMP_SYS(gettid), SCMP_SYS(getpid),
	SCMP_SYS(madvise), SCMP_SYS(munmap), SCMP_SYS(brk), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
	SCMP_SYS(membarrier), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(tgkill),
	SCMP_SYS(exit), SCMP_SYS(exit_group)};

static int add_rules(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t n)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < n; i++)
		ret = seccomp_rule_add(filter, action, calls[i], 0);
	return ret;
}

static int load_process_filter(bool may_exec)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int ret = -ENOMEM;

	if (filter == NULL)
		return ret;
	ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (ret == 0)
		ret = add_rules(filter, SCMP_ACT_ERRNO(EPERM), never, sizeof never / sizeof *never);
	if (ret == 0 && !may_exec)
		ret = add_rules(filter, SCMP_ACT_ERRNO(EPERM), exec, sizeof exec / sizeof *exec);
	if (ret == 0)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}

int privilege_confine(const struct privilege_needs *needs, char *why, size_t why_size)
{
	int ret;

	kept = needs->capabilities | UINT64_C(1) << CAP_IPC_LOCK; /* for privilege_hide_memory() */
	ret = ask_all();
	if (ret == 0)
		ret = load_process_filter(needs->may_exec);
	if (ret != 0)
		snprintf(why, why_size, "cannot give up privileges: %s", strerror(-ret));
	return ret;
}

int privilege_worker(void)
{
	scmp_filter_ctx filter;
	int ret = -give_up(0);

	if (ret != 0)
		return ret;
	/* An error instead of an end: a call that nobody has thought of must not stop the traffic.
	 */
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (filter == NULL)
		return -ENOMEM;
	ret = add_rules(filter, SCMP_ACT_ALLOW, move_data, sizeof move_data / sizeof *move_data);
	if (ret == 0) /* memory, but none that can be run */
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (ret == 0)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}
