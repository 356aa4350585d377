/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_XFRM_POLICY_H
#define LIB_XFRM_POLICY_H
/*
 * A UDP socket that speaks through ESP or not at all: Linux encrypts what it sends and hands it
 * only what came decrypted. The SAs, in transport mode, are Linux's own, from an IKE daemon or
 * from "ip xfrm state"; without one nothing leaves and nothing arrives, in clear neither.
 *
 * Thread: the socket's owner. Lifetime: the policy is the socket's and ends with it.
 * Sources: ip(7) IP_XFRM_POLICY, RFC 4301 section 4.4.1 (an SPD entry of one socket).
 */

/* fd: an IPv4 socket. Needs CAP_NET_ADMIN. Returns 0 or -errno: -ENOPROTOOPT, -EOPNOTSUPP or
 * -EINVAL where Linux has no XFRM; the socket must then not be used. */
int xfrm_policy_require_esp(int fd) __attribute__((warn_unused_result));
#endif
