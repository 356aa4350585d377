# SPDX-License-Identifier: BSD-3-Clause
"""Reading captures: a small pcap reader, the IPv4 fields that the tests need, ESP by AES-GCM.

Sources: pcap-savefile(5), LINKTYPE_LINUX_SLL2 of tcpdump.org, RFC 791, RFC 4303, RFC 4106.
"""
import socket
import struct
from collections import namedtuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC_NS = 0xA1B23C4D
LINK_ETHERNET = 1
LINK_RAW = 101
LINK_SLL2 = 276
ETHERTYPE_IP = 0x0800
OUTGOING = 4  # packet type of a cooked header

ICMP, IPIP, TCP, UDP, ESP = 1, 4, 6, 17, 50

# at: s since 1970 in ns; interface, outgoing: only of cooked captures; raw: from the IP header on
Packet = namedtuple("Packet", "at interface outgoing src dst proto payload raw length")


def text(address):
    return socket.inet_ntoa(address)


def frames(path):
    """(time in ns, link type, captured bytes, length on the wire) of each whole record."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 24:
        return
    magic, _, _, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    if magic != MAGIC_NS:
        raise ValueError(f"{path}: not a little-endian capture with nanoseconds")
    at = 24
    while at + 16 <= len(data):
        seconds, nanoseconds, captured, length = struct.unpack_from("<IIII", data, at)
        at += 16
        if at + captured > len(data):
            return  # the writer was stopped within a record
        yield seconds * 1000000000 + nanoseconds, link, data[at : at + captured], length
        at += captured


def parse_ip(raw, at=0, interface=0, outgoing=False, length=None):
    """A Packet, or None if raw does not begin with an IPv4 header."""
    if len(raw) < 20 or raw[0] >> 4 != 4:
        return None
    header = (raw[0] & 15) * 4
    total = struct.unpack_from(">H", raw, 2)[0]
    raw = raw[:total]
    return Packet(
        at, interface, outgoing, text(raw[12:16]), text(raw[16:20]), raw[9], raw[header:], raw,
        total if length is None else length,
    )  # fmt: skip


def packets(path):
    """The IPv4 packets of a capture, in its order."""
    for at, link, data, length in frames(path):
        interface, outgoing, begin = 0, False, 0
        if link == LINK_ETHERNET:
            if len(data) < 14 or struct.unpack_from(">H", data, 12)[0] != ETHERTYPE_IP:
                continue
            begin = 14
        elif link == LINK_SLL2:
            kind, _, interface, _, packet_type = struct.unpack_from(">HHIHB", data)
            if kind != ETHERTYPE_IP:
                continue
            outgoing = packet_type == OUTGOING
            begin = 20
        packet = parse_ip(data[begin:], at, interface, outgoing)
        if packet:
            yield packet


def write(path, records, link=LINK_ETHERNET):
    """A capture of [(time in ns, bytes)], for tests of what reads captures."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", MAGIC_NS, 2, 4, 0, 0, 65535, link))
        for at, data in records:
            file.write(struct.pack("<IIII", at // 10**9, at % 10**9, len(data), len(data)) + data)


def udp_ports(packet):
    return struct.unpack_from(">HH", packet.payload)


def esp_spi_sequence(packet):
    return struct.unpack_from(">II", packet.payload)


class EspKey:
    """One direction's AES-GCM key (RFC 4106: key and 4 bytes of salt) with ESN."""

    def __init__(self, spi, key, esn=True):
        self.spi = spi
        self.esn = esn
        self.gcm = AESGCM(key[:-4])
        self.salt = key[-4:]

    def open(self, packet, high=0):
        """The inner datagram as bytes, or None if the packet is not whole, ours and genuine."""
        return self.open_any(packet, high)[0]

    def open_any(self, packet, high=0):
        """The same and the next header."""
        esp = packet.payload
        if len(esp) < 8 + 8 + 2 + 16 or struct.unpack_from(">I", esp)[0] != self.spi:
            return None, None
        aad = esp[:4] + (struct.pack(">I", high) if self.esn else b"") + esp[4:8]
        try:
            plain = self.gcm.decrypt(self.salt + esp[8:16], esp[16:], aad)
        except InvalidTag:
            return None, None
        padding, next_header = plain[-2:]
        return plain[: len(plain) - 2 - padding], next_header

    def seal(self, inner, sequence, iv, high=0, next_header=4, padding=None):
        """An ESP payload; padding: bytes in place of the right ones (RFC 4303 section 2.4)."""
        if padding is None:
            padding = bytes(range(1, 1 + (-(len(inner) + 2)) % 4))
        plain = inner + padding + bytes((len(padding) & 255, next_header))
        low = struct.pack(">I", sequence & 0xFFFFFFFF)
        spi = struct.pack(">I", self.spi)
        aad = spi + (struct.pack(">I", high) if self.esn else b"") + low
        return spi + low + iv + self.gcm.encrypt(self.salt + iv, plain, aad)


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(src, dst, proto, payload, ttl=64, identification=0, tos=0, fragment=0x4000):
    """An IPv4 datagram."""
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, tos, 20 + len(payload), identification, fragment, ttl, proto, 0,
        socket.inet_aton(src), socket.inet_aton(dst),
    )  # fmt: skip
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def udp(src, dst, sport, dport, data):
    """A UDP datagram with its checksum, without the IP header."""
    length = 8 + len(data)
    head = struct.pack(">HHHH", sport, dport, length, 0)
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack(">HH", UDP, length)
    total = checksum(pseudo + head + data) or 0xFFFF
    return struct.pack(">HHHH", sport, dport, length, total) + data


def ethernet(dst, src, datagram):
    return dst + src + struct.pack(">H", ETHERTYPE_IP) + datagram
