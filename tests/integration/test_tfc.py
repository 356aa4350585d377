# SPDX-License-Identifier: BSD-3-Clause
"""Sending against traffic analysis: padding (RFC 4303 section 2.7) and dummy packets (2.6).

scapy and python3-cryptography decrypt what leaves; that all of it arrives as before is what other
tests see of nodes without these options. Linux as the receiver: tests/vm/test_xfrm.py.
"""
import time

import pcap
import pytest
from scapy.packet import Raw
from test_scapy_peer import Counted, Peer, tunnelled
from world import Border, Node, take

PAD, RATE = 256, 100
FITS = 1446  # MTU 1500, AES-GCM
CARE_OF = ["198.51.100.7", "198.51.100.8", "198.51.100.9"]
PADDED, DUMMIES, BOTH = range(3)


@pytest.fixture(scope="module")
def border(build):
    nodes = [Node(1), Node(2), Node(3, "aes256gcm16")]
    with Border(build, nodes) as border:
        tfc = [{"tfc_pad": PAD}, {"tfc_dummies": RATE}, {"tfc_pad": 1500, "tfc_dummies": RATE}]
        border.start_gateway(
            nodes=[n.gateway_settings(border.lab, c, **t) for n, c, t in zip(nodes, CARE_OF, tfc)]
        )
        border.peers = [Peer(border, node, care_of) for node, care_of in zip(nodes, CARE_OF)]
        yield border


def seen(border, peer, seconds, count=None):
    return take(border.outside, lambda p: p.dst == peer.care_of, seconds, count)


@pytest.mark.parametrize("size", [0, 1, 100, 164, 208, 209, 1300, 1398])
def test_padding(border, size):
    """Inner lengths are 48 bytes more. What is behind the inner packet is zeros, and not its own."""
    peer = border.peers[PADDED]
    datagram, inner = tunnelled(peer.node, peer.care_of, (bytes(range(1, 201)) * 7)[:size])
    border.quiet()
    with Counted(border):
        border.send_inside(datagram)
        (packet,) = seen(border, peer, 1, 1)
    filled = min(-(-len(datagram) // PAD) * PAD, FITS)
    plain = bytes(peer.open(packet))
    assert len(plain) == filled and plain == peer.node.down.open(packet)
    assert plain[20 : len(datagram)] == inner
    assert plain[len(datagram) :] == bytes(filled - len(datagram))
    assert len(packet.raw) == 20 + 8 + 8 + (filled + 2 + 3) // 4 * 4 + 16


@pytest.mark.parametrize("number, low, high", [(DUMMIES, 40, FITS), (BOTH, FITS, FITS)])
def test_dummies(border, number, low, high):
    """At random times, of random length, with sequence numbers and IVs of the SA's one row."""
    peer = border.peers[number]
    datagram, _ = tunnelled(peer.node, peer.care_of)
    border.quiet()
    begun, packets = time.monotonic(), []
    for _ in range(10):
        border.send_inside(datagram)
        packets += seen(border, peer, 0.15)
    seconds = time.monotonic() - begun

    opened = [peer.node.down.open_any(packet) for packet in packets]
    dummies = [inner for inner, next_header in opened if next_header == 59]
    real = [inner for inner, next_header in opened if next_header == 4]
    assert len(real) == 10 and len(dummies) + len(real) == len(packets)
    assert RATE * seconds / 2 < len(dummies) < RATE * seconds * 2
    assert {low} == {len(inner) for inner in dummies + real} or low != high
    assert all(low <= len(inner) <= high for inner in dummies)
    assert low == high or len({len(inner) for inner in dummies}) > len(dummies) / 2
    sequences = [pcap.esp_spi_sequence(packet)[1] for packet in packets]
    assert sequences == list(range(sequences[0], sequences[0] + len(packets)))
    assert len({packet.payload[8:16] for packet in packets}) == len(packets)

    index = [next_header for _, next_header in opened].index(59)
    dummy = peer.open(packets[index])  # by scapy: no IP in it
    assert isinstance(dummy, Raw) and bytes(dummy) == opened[index][0]
    # From outside they are what most packets are: no TOS, do not fragment.
    assert {(p.raw[1], p.raw[6] & 0x40) for p, o in zip(packets, opened) if o[1] == 59} == {(0, 64)}


def test_none_without_a_path(border):
    """Neither before the first registration nor after; and the node of the socket has its profile."""
    argv = ["node", "add", "late", "home_address=10.1.0.99", "home_agent=ha1"]
    tfc = [f"tfc_dummies={RATE}", "tfc_pad=100"]
    with Counted(border):
        border.roamctl("roamgate", *argv, *tfc)
        time.sleep(0.2)
    rows = {row["node"]: row for row in border.roamctl("roamgate", "show", "nodes")["rows"]}
    assert (rows["late"]["tfc_pad"], rows["late"]["tfc_dummies"]) == (100, RATE)
    assert "tfc_dummies" not in rows[border.nodes[PADDED].name]
    border.roamctl("roamgate", "node", "del", "late")
    for wrong in ("tfc_pad=9001", "tfc_pad=-1", "tfc_dummies=1001", "tfc_dummies=many"):
        with pytest.raises(Exception) as refused:
            border.roamctl("roamgate", *argv, wrong)
        assert wrong.split("=")[0] in str(refused.value)
