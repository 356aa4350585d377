/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef LIB_MIP4_H
#define LIB_MIP4_H
/*
 * Mobile IPv4 messages: registration request and reply with extensions, the MN-HA authentication
 * extension, agent advertisements. Codec only: no I/O, no state, any thread.
 *
 * Sources: RFC 5944 sections 2.1, 3.3 to 3.6; RFC 3024 (T bit); numbers: IANA mobileip-numbers.
 */
#include "lib/hmac.h"
#include "lib/inet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIP4_PORT 434
#define MIP4_TYPE_RRQ 1
#define MIP4_TYPE_RRP 3

/* RRQ flags (RFC 5944 3.3; T: RFC 3024). r and x are sent as 0 and ignored. */
#define MIP4_FLAG_S 0x80u
#define MIP4_FLAG_B 0x40u
#define MIP4_FLAG_D 0x20u
#define MIP4_FLAG_M 0x10u
#define MIP4_FLAG_G 0x08u
#define MIP4_FLAG_r 0x04u
#define MIP4_FLAG_T 0x02u
#define MIP4_FLAG_x 0x01u

#define MIP4_LIFETIME_INFINITE 0xffffu

enum mip4_code { /* RFC 5944 3.4, RFC 3024 section 3.4 */
	MIP4_CODE_ACCEPTED = 0,
	MIP4_CODE_ACCEPTED_NO_SIMULTANEOUS = 1,
	MIP4_CODE_UNSPECIFIED = 128,
	MIP4_CODE_PROHIBITED = 129,
	MIP4_CODE_NO_RESOURCES = 130,
	MIP4_CODE_DENIED_AUTH = 131,
	MIP4_CODE_FA_AUTH = 132,
	MIP4_CODE_ID_MISMATCH = 133,
	MIP4_CODE_POORLY_FORMED = 134,
	MIP4_CODE_TOO_MANY_BINDINGS = 135,
	MIP4_CODE_UNKNOWN_HA = 136,
	MIP4_CODE_NO_REVERSE_TUNNEL = 137,
	MIP4_CODE_REVERSE_TUNNEL_MANDATORY = 138,
	MIP4_CODE_NO_ENCAPSULATION = 139,
};
const char *mip4_code_text(uint8_t code); /* "identification mismatch"; never NULL */

struct mip4_rrq {
	uint8_t flags;
	uint16_t lifetime_s;
	struct ip_addr hoa, ha, coa;
	uint64_t identification;
};
struct mip4_rrp {
	uint8_t code;
	uint16_t lifetime_s;
	struct ip_addr hoa, ha;
	uint64_t identification;
};

struct mip4_auth { /* the MN-HA authentication extension found while decoding */
	bool present;
	uint32_t spi;
	const uint8_t *tag; /* into the datagram */
	size_t tag_len;
	size_t covered_len; /* bytes from the start of the UDP payload that the tag covers */
};

enum mip4_result {
	MIP4_OK,
	MIP4_TRUNCATED,
	MIP4_WRONG_TYPE,
	MIP4_BAD_EXTENSION,
	MIP4_UNKNOWN_EXTENSION
};

/* Fixed part and extensions. Before the MN-HA extension an unknown one in 0..127 is
 * MIP4_UNKNOWN_EXTENSION (RFC 5944 1.8: discard silently); behind it unknown ones are ignored.
 * Long-format extensions (36, 38, 47, and both forms of 139) are stepped over correctly. */
enum mip4_result mip4_rrq_decode(
	const void *data, size_t len, struct mip4_rrq *out, struct mip4_auth *auth);
enum mip4_result mip4_rrp_decode(
	const void *data, size_t len, struct mip4_rrp *out, struct mip4_auth *auth);

struct mip4_key {
	uint32_t spi; /* >= 256 */
	enum hmac_alg alg;
	uint8_t key[64];
	size_t key_len;
};
bool mip4_auth_verify(const struct mip4_key *key, const void *data, const struct mip4_auth *auth);

/* With the MN-HA extension behind the fixed part. Returns the length, 0: no room. */
size_t mip4_rrq_encode(
	uint8_t *out, size_t room, const struct mip4_rrq *rrq, const struct mip4_key *key);
size_t mip4_rrp_encode(
	uint8_t *out, size_t room, const struct mip4_rrp *rrp, const struct mip4_key *key);

/* Agent advertisement: ICMP router advertisement (type 9, code 0 or 16) with extension 16. */
#define MIP4_ADV_MAX_COAS 8
struct mip4_advert {
	struct ip_addr router; /* first router address; unset if none */
	uint16_t router_lifetime_s;
	uint16_t sequence;
	uint16_t registration_lifetime_s;
	bool registration_required; /* R */
	bool busy, home_agent, foreign_agent, reverse_tunnel;
	size_t n_coas;
	struct ip_addr coas[MIP4_ADV_MAX_COAS];
};
/* data: the ICMP message. False: not an agent advertisement, or checksum or lengths are wrong. */
bool mip4_advert_decode(const void *data, size_t len, struct mip4_advert *out);
size_t mip4_advert_encode(uint8_t *out, size_t room, const struct mip4_advert *advert);
#endif
