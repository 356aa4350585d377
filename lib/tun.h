/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_TUN_H
#define LIB_TUN_H
/*
 * A TUN (IP packets) or TAP (frames) interface of our own, by file descriptor; small host settings.
 * Main thread. Sources: Linux Documentation/networking/tuntap.rst.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Non-blocking descriptor without packet information header; the interface goes away with it.
 * name: at most 15 characters. Returns the descriptor or -errno (-EBUSY: the name is taken). */
int tun_open(const char *name, bool tap, int *ifindex);
int tun_set_mac(const char *name, const uint8_t mac[6]); /* TAP only; 0 or -errno */

/* Writes value to /proc/sys/PATH, "net/ipv4/conf/%s/rp_filter"-like paths are the caller's. 0 or
 * -errno; the file need not exist (-ENOENT). */
int sysctl_write(const char *path, const char *value);
#endif
