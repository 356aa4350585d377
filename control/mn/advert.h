/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CONTROL_MN_ADVERT_H
#define CONTROL_MN_ADVERT_H
/*
 * Hears agent advertisements on all links: ICMP router advertisements with the mobility extension,
 * to 224.0.0.1 or the broadcast address.
 *
 * Owner: mobile.c. Thread: the loop's. Sources: RFC 5944 section 2.1, RFC 1256.
 */
#include "lib/loop.h"
#include "lib/mip4.h"

typedef void advert_fn(
	void *arg, int ifindex, const struct ip_addr *source, const struct mip4_advert *advert);

struct advert {
	struct loop *loop;
	advert_fn *fn;
	void *arg;
	int fd; /* -1: closed */
};

/* 0 or -errno. */
int advert_open(struct advert *a, struct loop *loop, advert_fn *fn, void *arg)
	__attribute__((warn_unused_result));
void advert_close(struct advert *a);
#endif
