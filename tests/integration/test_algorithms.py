# SPDX-License-Identifier: BSD-3-Clause
"""Every algorithm, with and without extended sequence numbers, all through one running gateway.

The other end is scapy, and python3-cryptography for what scapy cannot (GMAC; HMAC with extended
sequence numbers) and for what it cannot get wrong on purpose. Packets of all SAs are sent together,
so that the worker's bursts mix algorithms.
"""
import pcap
import pytest
from esp_algorithms import ALGORITHMS, EspPeer, material_bytes
from lab import LabError
from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation
from test_scapy_peer import Counted, refused, tunnelled
from world import CORRESPONDENT, OUTSIDE, Border, Node

SIZES = [0, 1, 14, 15, 600, 1300]
AT_ONCE = 32  # packets, less than what a socket holds


class Peer:
    """One SA pair's other end."""

    def __init__(self, node, care_of):
        self.node, self.care_of = node, care_of
        self.up = EspPeer(node.spi_up, node.algorithm, node.key_up, node.esn)
        self.down = EspPeer(node.spi_down, node.algorithm, node.key_down, node.esn)
        self.sequence = 0

    def __repr__(self):
        return f"{self.node.algorithm}, esn={self.node.esn}"

    def next(self):
        self.sequence += 1
        return self.sequence

    def data(self, text=b"hello", ttl=64):
        return bytes(
            IP(src=self.node.home_address, dst=CORRESPONDENT, ttl=ttl)
            / UDP(sport=1111, dport=2222)
            / text
        )

    def seal(self, inner, **how):
        """A datagram to the gateway by python3-cryptography."""
        payload = self.up.seal(inner, self.next(), **how)
        return pcap.ip(self.care_of, OUTSIDE, pcap.ESP, payload)

    def association(self, key, outer):
        algorithm = key.scapy()
        if algorithm is None:
            return None
        esn = {"esn_en": True, "esn": 0} if key.esn else {}
        return SecurityAssociation(ESP, spi=key.spi, tunnel_header=outer, **algorithm, **esn)

    def scapy_seal(self, inner):
        """The same by scapy; None if it cannot."""
        sa = self.association(self.up, IP(src=self.care_of, dst=OUTSIDE))
        return sa and bytes(sa.encrypt(IP(inner), seq_num=self.next()))

    def scapy_open(self, packet):
        sa = self.association(self.down, IP(src=OUTSIDE, dst=self.care_of))
        return sa and bytes(sa.decrypt(IP(packet.raw)))


@pytest.fixture(scope="module")
def border(build):
    modes = [(a, esn) for a in ALGORITHMS for esn in (True, False)]
    nodes = [Node(i + 1, a, esn) for i, (a, esn) in enumerate(modes)]
    with Border(build, nodes) as border:
        peers = [Peer(n, f"198.51.100.{10 + i}") for i, n in enumerate(nodes)]
        border.start_gateway(nodes=[p.node.gateway_settings(border.lab, p.care_of) for p in peers])
        border.peers = peers
        yield border


def uplink(border, datagrams):
    """What comes out inside of datagrams from the outside; all of them are expected to."""
    packets = []
    for at in range(0, len(datagrams), AT_ONCE):
        part = datagrams[at : at + AT_ONCE]
        for datagram in part:
            border.send_outside(datagram)
        packets += border.seen_inside(2, len(part))
    return packets


def test_names():
    """The sizes that the configuration asks for are known here by another way."""
    assert len(ALGORITHMS) == 27
    assert material_bytes("aes256ctr-sha512") == 100


def test_uplink(border):
    border.quiet()
    datagrams, want = [], []
    for peer in border.peers:
        for size in SIZES:
            text = (peer.node.name.encode() + bytes(range(256)) * 6)[:size]
            sealed = [peer.seal(peer.data(text)), peer.scapy_seal(peer.data(text))]
            sealed = [s for s in sealed if s]
            datagrams += sealed
            want += [peer.data(text, ttl=63)] * len(sealed)
    assert sum(peer.up.scapy() is not None for peer in border.peers) == 8 + 20
    with Counted(border):
        packets = uplink(border, datagrams)
    assert sorted(p.raw for p in packets) == sorted(want)


def test_downlink(border):
    border.quiet()
    by_spi = {peer.node.spi_down: peer for peer in border.peers}
    sent, ivs = {}, set()
    with Counted(border):
        for size in SIZES:
            for peer in border.peers:
                payload = (bytes(range(256)) * 6)[:size]
                datagram, inner = tunnelled(peer.node, peer.care_of, payload)
                sent.setdefault(peer, []).append(inner)
                border.send_inside(datagram)
            for packet in border.seen_outside(2, len(border.peers)):
                spi, _ = pcap.esp_spi_sequence(packet)
                peer = by_spi[spi]
                key = peer.down
                plain = key.open(packet)
                assert plain is not None, (peer, size)
                assert (packet.src, packet.dst) == (OUTSIDE, peer.care_of)
                assert plain[20:] == sent[peer].pop(0), (peer, size)
                assert peer.scapy_open(packet) in (None, plain), (peer, size)
                if key.iv_bytes:
                    ivs.add((spi, packet.payload[8 : 8 + key.iv_bytes]))
    assert not any(sent.values())
    with_iv = [p for p in border.peers if p.down.iv_bytes]
    assert len(ivs) == len(with_iv) * len(SIZES)  # none came twice


def test_wrong(border):
    """One wrong bit anywhere, a cut packet, the wrong high half, a replay: nothing gets in."""
    border.quiet()
    bad_icv, bad_esp, replayed = [], [], []
    for peer in border.peers:
        key, start = peer.up, 28  # behind outer and ESP header
        whole = len(peer.seal(peer.data()))
        icv = whole - key.icv_bytes
        for at in (26, start, start + key.iv_bytes, icv - 1, icv, whole - 1):
            datagram = bytearray(peer.seal(peer.data()))
            datagram[at] ^= 0x20
            bad_icv.append(bytes(datagram))
        esp = peer.up.seal(peer.data(), peer.next())
        bad_esp.append(pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, esp[:-1]))
        cut = esp[: -key.block]
        bad_icv.append(pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, cut))
        if key.esn:
            bad_icv.append(peer.seal(peer.data(), high=1))
        replayed.append(peer.seal(peer.data()))
    with Counted(border, bad_icv=len(bad_icv)):
        refused(border, *bad_icv)
    with Counted(border, bad_esp=len(bad_esp)):
        refused(border, *bad_esp)
    with Counted(border, replay=len(replayed)):
        assert len(uplink(border, replayed)) == len(replayed)
        refused(border, *replayed)


def test_padding(border):
    border.quiet()
    good, wrong = [], []
    for peer in border.peers:
        inner = peer.data(b"1234")  # 32 bytes
        most = bytes(range(1, 1 + 222))  # 256 in all: whole blocks
        good.append(peer.seal(inner, padding=most))
        wrong.append(peer.seal(inner, padding=most[:-1] + b"\0"))
        wrong.append(peer.seal(inner, padding=bytes(14)))
    with Counted(border):
        assert len(uplink(border, good)) == len(good)
    with Counted(border, bad_padding=len(wrong)):
        refused(border, *wrong)


def test_at_run_time(border):
    """The control socket takes every algorithm, and refuses weak ones with the reason."""
    peer = border.peers[0]
    fresh = Node(100, "aes256ctr-sha384")
    border.lab.write("fresh.key", fresh.key_up.hex())

    def add(algorithm):
        return border.roamctl_text(
            "roamgate", "sa", "add", peer.node.name, "in", f"spi={fresh.spi_up}",
            f"algorithm={algorithm}", f"key_file={border.lab.path('fresh.key')}",
        )  # fmt: skip

    for weak, why in (("des-sha256", "RFC 8221"), ("aes256ctr", "no integrity")):
        with pytest.raises(LabError, match=why):
            add(weak)
    add(fresh.algorithm)
    border.quiet()
    key = EspPeer(fresh.spi_up, fresh.algorithm, fresh.key_up)
    with Counted(border):
        payload = key.seal(peer.data(), 1)
        assert len(uplink(border, [pcap.ip(peer.care_of, OUTSIDE, pcap.ESP, payload)])) == 1
