/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sends ICMP echo requests at a steady rate: pinger SOURCE DESTINATION INTERVAL_MS.
 *
 * How this works: ping(8) waits up to 10 ms while replies are outstanding, so it cannot measure a
 * gap of a few ms. This one sleeps to absolute times and never looks at replies: captures do. A
 * send that fails (no address, no route: the node moves) is a ping that was not sent. Times that
 * were missed are left out, not made up for. Ends by a signal.
 *
 * One thread. Sources: RFC 792, RFC 1071, raw(7).
 */
#include <arpa/inet.h>
#include <linux/icmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD 56 /* bytes, as ping(8) */
#define NS_PER_MS 1000000
#define NS_PER_S 1000000000ll
#define PRIORITY (-10) /* nice value: the measure should not wait for what it measures */

struct request {
	struct icmphdr header;
	uint8_t data[PAYLOAD];
};

static uint16_t checksum(const struct request *request)
{
	const uint16_t *words = (const uint16_t *)(const void *)request;
	uint32_t sum = 0;

	for (size_t i = 0; i < sizeof(*request) / 2; i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t) ~(sum + (sum >> 16));
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int open_socket(const char *source)
{
	const struct icmp_filter nothing = {.data = ~0u};
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (inet_pton(AF_INET, source, &address.sin_addr) != 1) {
		fprintf(stderr, "pinger: %s: not an IPv4 address\n", source);
		exit(1);
	}
	if (fd < 0 || setsockopt(fd, SOL_RAW, ICMP_FILTER, &nothing, sizeof(nothing)) != 0 ||
		bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
		perror("pinger");
		exit(2);
	}
	return fd;
}

static void run(int fd, const struct sockaddr_in *to, int64_t interval_ns)
{
	struct request request = {.header = {.type = ICMP_ECHO}};
	int64_t due = now_ns();
	uint16_t sequence = 0;

	request.header.un.echo.id = (uint16_t)getpid();
	for (;;) {
		struct timespec at;
		int64_t late = now_ns() - due;

		due += interval_ns * (late > 0 ? late / interval_ns + 1 : 1);
		at = (struct timespec){due / NS_PER_S, due % NS_PER_S};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		request.header.un.echo.sequence = htons(sequence);
		request.header.checksum = 0;
		request.header.checksum = checksum(&request);
		if (sendto(fd, &request, sizeof(request), MSG_DONTWAIT, (const struct sockaddr *)to,
			    sizeof(*to)) > 0)
			sequence++;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	double interval_ms;
	char *end;

	if (argc != 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1 ||
		(interval_ms = strtod(argv[3], &end), *end != '\0') || !(interval_ms >= 0.1)) {
		fputs("usage: pinger SOURCE DESTINATION INTERVAL_MS\n", stderr);
		return 1;
	}
	prctl(PR_SET_TIMERSLACK, 1ul);
	if (setpriority(PRIO_PROCESS, 0, PRIORITY) != 0)
		fputs("pinger: runs without priority: the rate may waver\n", stderr);
	run(open_socket(argv[1]), &to, (int64_t)(interval_ms * NS_PER_MS));
}
