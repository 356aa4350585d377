/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_PRIVILEGE_H
#define LIB_PRIVILEGE_H
/*
 * What a program gives up: secrets' way into dumps and swap, capabilities, system calls. A program
 * starts as root, opens what it needs, and then keeps what its work needs.
 *
 * Threads: privilege_worker() concerns its caller alone, all else the whole process, threads that
 * exist or come. Nothing is ever given back.
 * Sources: capabilities(7), seccomp(2), mlock(2), madvise(2), nptl(7) on why each thread is asked.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No core dump, no reading by others of the same user, no swap, files for the owner alone. First
 * thing in main(), before there is any secret. Memory that is allocated until
 * privilege_hide_memory() is locked, too. */
void privilege_begin(void);

/* Locks all memory that can be written to and leaves it out of dumps: keys, and the packets that
 * they protect. After the start, and again when more may have been allocated (a reload). */
void privilege_hide_memory(void);

struct privilege_needs {
	uint64_t capabilities; /* bit CAP_* of linux/capability.h each; IPC_LOCK comes by itself */
	bool may_exec;         /* starts other programs */
};

/* Capabilities, their bounding set, new privileges by exec, and system calls that none of our
 * programs has a use for. 0 or -errno with a line for the operator in why; what was given up until
 * then stays so. */
int privilege_confine(const struct privilege_needs *needs, char *why, size_t why_size)
	__attribute__((warn_unused_result));

/* The calling thread moves packets and nothing else: no capability, and only system calls that move
 * data through what is open. 0 or -errno. */
int privilege_worker(void) __attribute__((warn_unused_result));
#endif
