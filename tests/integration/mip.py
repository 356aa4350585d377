# SPDX-License-Identifier: BSD-3-Clause
"""Mobile IPv4 registration messages, written from RFC 5944 sections 3.3 to 3.5."""
import hashlib
import hmac
import socket
import struct
import time

PORT = 434
RRQ, RRP = 1, 3
MN_HA_AUTHENTICATION = 32
NTP_EPOCH = 2208988800  # s from 1900 to 1970
FLAG_D, FLAG_T = 0x20, 0x02


def identification(now=None):
    """A timestamp of RFC 5905: seconds since 1900 and their fraction."""
    now = time.time() if now is None else now
    return (int(now + NTP_EPOCH) & 0xFFFFFFFF) << 32 | int(now % 1 * 2**32)


def authenticated(message, spi, key):
    """message with the MN-HA extension behind it, HMAC-SHA-256."""
    covered = message + struct.pack(">BBI", MN_HA_AUTHENTICATION, 4 + 32, spi)
    return covered + hmac.new(key, covered, hashlib.sha256).digest()


def request(home, agent, care_of, number, spi, key, lifetime=600, flags=FLAG_D):
    body = struct.pack(">BBH", RRQ, flags, lifetime)
    body += b"".join(socket.inet_aton(a) for a in (home, agent, care_of))
    return authenticated(body + struct.pack(">Q", number), spi, key)


def reply(home, agent, number, spi, key, lifetime=600, code=0):
    body = struct.pack(">BBH", RRP, code, lifetime)
    body += b"".join(socket.inet_aton(a) for a in (home, agent))
    return authenticated(body + struct.pack(">Q", number), spi, key)


def code_of(message):
    return message[1]
