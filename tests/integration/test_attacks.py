# SPDX-License-Identifier: BSD-3-Clause
"""Attacks of siu/SECURITY.md that no other file of tests has: on the running gateway, from the wire."""
import json
import os
import random
import re
import socket
import struct

import pcap
import pytest
from test_scapy_peer import CARE_OF, ELSEWHERE, Counted, Peer, tunnelled, uplink
from world import CORRESPONDENT, OUTSIDE, Border, Node

GUESSES = 3000
AUDIT_LINES = 10
SPI_RESERVED_MAX, SPI_MIN = 1024, 256


@pytest.fixture(scope="module")
def border(build):
    with Border(build) as border:
        border.start_gateway(nodes=[border.nodes[0].gateway_settings(border.lab, CARE_OF)])
        border.peer = Peer(border, border.nodes[0], CARE_OF)
        yield border


@pytest.fixture
def peer(border):
    border.quiet()
    return border.peer


def goes_to(border, peer):
    """Where the gateway sends a packet for the node."""
    datagram, inner = tunnelled(peer.node, CARE_OF)
    border.send_inside(datagram)
    (packet,) = border.seen_outside(1, 1)
    assert peer.node.down.open(packet).endswith(inner[20:])
    return packet.dst


def test_copied_packet_comes_first_from_elsewhere(border, peer):
    """Who copies a genuine packet and is faster than it is believed the packet, not the place."""
    genuine = peer.seal(peer.data(b"mine"))
    copied = pcap.ip(ELSEWHERE, OUTSIDE, pcap.ESP, genuine[20:])
    with Counted(border, replay=1):
        packets = uplink(border, copied, genuine)
    assert [p.src for p in packets] == [peer.node.home_address], "once, whoever brought it"
    assert goes_to(border, peer) == CARE_OF
    assert border.roamctl("roamgate", "show", "nodes")["rows"][0]["coa"] == CARE_OF


def memory_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"^VmRSS:\s+(\d+) kB$", file.read(), re.M)[1])


def guess(esp, source):
    return pcap.ip(source, OUTSIDE, pcap.ESP, esp)


class Guessed(Counted):
    """Every guess is counted; how many tags are checked rests with the budgets and the pace."""

    def __init__(self, border):
        super().__init__(border, no_sa_in=GUESSES, wrong=GUESSES)

    def changed(self):
        changed = super().changed()
        changed["wrong"] = changed.pop("bad_icv", 0) + changed.pop("shed", 0)
        return changed


def test_guesses_cost_a_counter_each(border, peer):
    """SPIs that nobody has and tags that are wrong, from anywhere: nothing is forwarded or answered,
    memory and log stay bounded, the replay window stays, and the node's own packets pass."""
    rng = random.Random(1)
    before, lines = memory_kb(border.gateway.pid), len(border.gateway.lines)
    spi = struct.pack(">I", peer.node.spi_up)
    with Guessed(border):
        for i in range(GUESSES):
            source = f"203.0.113.{1 + rng.randrange(250)}"
            unknown = struct.pack(">II", 0x80000000 | rng.getrandbits(31), i)
            known = spi + struct.pack(">I", 1 << 20 | i)  # far ahead of the window
            border.send_outside(guess(unknown + rng.randbytes(60), source))
            border.send_outside(guess(known + rng.randbytes(60), source))
            if i % 50 == 49:  # the pace is not what is tested here
                border.quiet()
                assert len(uplink(border, peer.seal(peer.data()), count=1)) == 1
    assert border.clear_outside(0.05) == [] and border.seen_outside(0.05) == []
    assert memory_kb(border.gateway.pid) - before < 1024
    # control/gw/audit.h: ten of each reason in ten seconds
    assert len(border.gateway.lines) - lines < 2 * 2 * AUDIT_LINES
    assert goes_to(border, peer) == CARE_OF


FLOOD = 6000  # as fast as this can send: budgets of 1024 wrong tags and less are spent at once


@pytest.mark.parametrize("sources", ["one", "many", "its own"])
def test_flood_of_wrong_tags_is_shed(border, peer, sources):
    """Wrong tags for a known SPI, from one address, from one each, and from the node's own: most are
    dropped before the cryptography, and the node is heard where it is and where nobody floods from."""
    rng = random.Random(2)
    spi = struct.pack(">I", peer.node.spi_up)
    source = {"one": lambda i: "203.0.113.77", "its own": lambda i: CARE_OF,
              "many": lambda i: f"203.0.{i >> 8 & 255}.{i & 255}"}[sources]
    flood = [guess(spi + rng.randbytes(64), source(i)) for i in range(FLOOD)]
    before = border.drops()
    for i, packet in enumerate(flood):
        border.send_outside(packet)
        if i % 500 == 499:  # in the middle of it
            border.quiet()
            assert len(uplink(border, peer.seal(peer.data()), count=1)) == 1
    elsewhere = pcap.ip(ELSEWHERE, OUTSIDE, pcap.ESP, peer.seal(peer.data())[20:])
    assert len(uplink(border, elsewhere, count=1)) == 1, "on the move"
    after = border.drops()
    shed = after["shed"] - before["shed"]
    assert shed + after["bad_icv"] - before["bad_icv"] == FLOOD
    assert shed > FLOOD / 3
    assert goes_to(border, peer) == CARE_OF


def test_replayed_packets_cost_no_decryption(border, peer):
    """What is left of the window is dropped by its number: its tag, right or wrong, is not looked at."""
    old = peer.seal(peer.data(), sequence=peer.sequence + 1)
    assert len(uplink(border, old, count=1)) == 1
    border.quiet()
    broken = old[:-1] + bytes([old[-1] ^ 1])
    with Counted(border, replay=2):
        assert uplink(border, old, broken, seconds=0.1) == []


def test_spis_cannot_be_foretold(border):
    """alloc-spi: 32 random bits, none of the reserved, none twice."""
    spis = []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(border.socket("roamgate"))
        stream = client.makefile("rw")
        for _ in range(SPI_RESERVED_MAX + 1):
            stream.write('{"verb": "alloc-spi"}\n')
            stream.flush()
            answer = json.loads(stream.readline())
            if answer["ok"]:
                spis.append(answer["spi"])
    assert len(spis) == SPI_RESERVED_MAX, "as many as may be reserved at once"
    assert len(set(spis)) == len(spis) and min(spis) >= SPI_MIN
    assert all(spi != border.nodes[0].spi_up for spi in spis)
    for bit in range(32):  # each is set in half of them; nine standard deviations either way
        assert 368 < sum(spi >> bit & 1 for spi in spis) < 656
    assert len({(b - a) & 0xFFFFFFFF for a, b in zip(spis, spis[1:])}) > len(spis) - 3, "no pattern"


def test_socket_of_the_operator_is_roots_alone(border):
    status = os.stat(border.socket("roamgate"))
    assert status.st_mode & 0o777 == 0o600 and status.st_uid == 0
    assert CORRESPONDENT not in str(border.gateway.lines), "no traffic in the log"
