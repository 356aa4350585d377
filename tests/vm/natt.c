/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * natt OWN GATEWAY HOME_AGENT RRQ: what Linux needs of user space to be a mobile node behind a NAT.
 *
 * Opens UDP 4500 for ESP, sends a keepalive to GATEWAY from there (RFC 3948 section 2.3), then the
 * registration request RRQ (hex) from OWN to HOME_AGENT. Says "code N" when the reply comes, and
 * stays: without its socket the kernel would not take ESP in UDP.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_NATT 4500
#define PORT_MIP 434
#define RRQ_MAX 512
#define RRP_BYTES_MIN 20

static struct sockaddr_in endpoint(const char *address, uint16_t port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &at.sin_addr) != 1)
		errx(1, "%s: not an address", address);
	return at;
}

static int bound(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)at, sizeof *at) != 0)
		err(1, "port %u", ntohs(at->sin_port));
	return fd;
}

static void send_to(int fd, const void *data, size_t bytes, const struct sockaddr_in *to)
{
	if (sendto(fd, data, bytes, 0, (const struct sockaddr *)to, sizeof *to) < 0)
		err(1, "sendto");
}

static size_t unhex(const char *text, uint8_t *bytes)
{
	size_t n = 0;

	for (; n < RRQ_MAX && sscanf(text + 2 * n, "%2hhx", &bytes[n]) == 1; n++)
		if (text[2 * n + 2] == '\0')
			return n + 1;
	errx(1, "the request is not hex, or too long");
}

int main(int argc, char **argv)
{
	const int encap = UDP_ENCAP_ESPINUDP;
	struct sockaddr_in own, gateway, agent;
	uint8_t message[RRQ_MAX];
	size_t bytes;
	int natt, mip;

	if (argc != 5)
		errx(2, "natt OWN GATEWAY HOME_AGENT RRQ");
	own = endpoint(argv[1], PORT_NATT);
	gateway = endpoint(argv[2], PORT_NATT);
	agent = endpoint(argv[3], PORT_MIP);
	bytes = unhex(argv[4], message);

	natt = bound(&own);
	if (setsockopt(natt, IPPROTO_UDP, UDP_ENCAP, &encap, sizeof encap) != 0)
		err(1, "UDP_ENCAP");
	send_to(natt, "\xff", 1, &gateway);

	own.sin_port = htons(PORT_MIP);
	mip = bound(&own);
	send_to(mip, message, bytes, &agent);
	if (recv(mip, message, sizeof message, 0) < RRP_BYTES_MIN)
		err(1, "registration reply");
	printf("code %u\n", message[1]);
	fflush(stdout);
	for (;;)
		pause();
}
