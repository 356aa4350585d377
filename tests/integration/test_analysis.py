# SPDX-License-Identifier: BSD-3-Clause
"""The demo's proof must be able to fail: made-up captures with one fault each."""
import struct

import analysis
import demo
import pcap
import pytest
from analysis import MS, Move, Siu
from world import HOME_AGENT, OUTSIDE, Node

OLD, NEW, HOME = "198.51.100.7", "203.0.113.7", "10.1.0.10"
T = 1_700_000_000 * 10**9
MOVE = Move("B", NEW, OLD, T - 5 * MS, T)


def registration(node, care_of, kind, code=0):
    if kind == analysis.RRQ:
        body = struct.pack(">BBH", kind, 0, 600)
        addresses = (HOME, HOME_AGENT, care_of)
        src, dst, sport, dport = care_of, HOME_AGENT, 434, 434
    else:
        body = struct.pack(">BBH", kind, code, 600)
        addresses = (HOME, HOME_AGENT)
        src, dst, sport, dport = HOME_AGENT, care_of, 434, 434
    body += b"".join(pcap.socket.inet_aton(a) for a in addresses) + bytes(8)
    return pcap.ip(src, dst, pcap.UDP, pcap.udp(src, dst, sport, dport, body))


class Wire:
    """Collects records of the gateway's public wire."""

    def __init__(self):
        self.node = Node()
        self.records = []
        self.sequence = 0

    def esp(self, ms, src, dst, key, inner, iv=None):
        self.sequence += 1
        payload = key.seal(inner, self.sequence, iv or struct.pack(">Q", self.sequence))
        datagram = pcap.ip(src, dst, pcap.ESP, payload)
        self.records.append((T + int(ms * MS), pcap.ethernet(b"a" * 6, b"b" * 6, datagram)))

    def request(self, ms, source=NEW, care_of=NEW, key=None):
        inner = registration(self.node, care_of, analysis.RRQ)
        self.esp(ms, source, OUTSIDE, key or self.node.up, inner)

    def reply(self, ms, dst=NEW, code=0):
        inner = registration(self.node, NEW, analysis.RRP, code)
        self.esp(ms, OUTSIDE, dst, self.node.down, inner)

    def data(self, ms, dst):
        self.esp(ms, OUTSIDE, dst, self.node.down, pcap.ip("10.2.0.5", HOME, pcap.ICMP, bytes(64)))

    def outside(self, tmp_path):
        self.records.sort(key=lambda r: r[0])
        path = tmp_path / "outside.pcap"
        pcap.write(path, self.records)
        return analysis.Outside(path, OUTSIDE, self.node.up, self.node.down)


def good():
    wire = Wire()
    wire.data(-10, OLD)
    wire.request(20)
    wire.data(20.5, OLD)
    wire.reply(21.2)
    wire.data(21.3, NEW)
    wire.data(30, NEW)
    siu = [
        Siu(T + 21 * MS, "update", True, NEW, 7),
        Siu(T + 22 * MS, "ack", False, "", 7),
    ]
    return wire, siu


def check(wire, siu, tmp_path, move=MOVE):
    return analysis.check_away(move, T + 1000 * MS, wire.outside(tmp_path), siu)


def test_good_sequence(tmp_path):
    wire, siu = good()
    steps = check(wire, siu, tmp_path)
    assert steps.faults == []
    assert steps.rrq == T + 20 * MS
    assert steps.siu == T + 21 * MS
    assert steps.rrp == steps.swap == T + int(21.2 * MS)
    assert steps.last_old == T + int(20.5 * MS)


def test_no_request_from_new_address(tmp_path):
    wire, siu = good()
    wire.records = [r for r in wire.records if r[0] != T + 20 * MS]
    wire.request(20, source=OLD)
    assert "no registration request" in check(wire, siu, tmp_path).faults[0]


def test_request_with_another_key(tmp_path):
    wire, siu = good()
    wire.records = [r for r in wire.records if r[0] != T + 20 * MS]
    wire.request(20, key=pcap.EspKey(wire.node.spi_up, bytes(20)))
    assert "no registration request" in check(wire, siu, tmp_path).faults[0]


def test_request_that_names_another_address(tmp_path):
    wire, siu = good()
    wire.records = [r for r in wire.records if r[0] != T + 20 * MS]
    wire.request(20, care_of=OLD)
    assert f"names {OLD}" in check(wire, siu, tmp_path).faults[0]


@pytest.mark.parametrize("ms", [-1, 19, 20.9])
def test_packet_to_new_address_before_siu(tmp_path, ms):
    wire, siu = good()
    wire.data(ms, NEW)
    assert "before the SIU" in check(wire, siu, tmp_path).faults[0]


def test_reply_before_siu(tmp_path):
    wire, siu = good()
    wire.reply(20.5)
    faults = check(wire, siu, tmp_path).faults
    assert any("reply came before the SIU" in f for f in faults)


def test_reply_to_old_address(tmp_path):
    wire, siu = good()
    wire.reply(21.1, dst=OLD)
    assert any(f"reply went to {OLD}" in f for f in check(wire, siu, tmp_path).faults)


def test_reply_that_denies(tmp_path):
    wire, siu = good()
    wire.records = [r for r in wire.records if r[0] != T + int(21.2 * MS)]
    wire.reply(21.2, code=133)
    assert any("no accepting" in f for f in check(wire, siu, tmp_path).faults)


@pytest.mark.parametrize("ms, late", [(22.9, False), (23.1, True), (500, True)])
def test_old_address_after_ack(tmp_path, ms, late):
    wire, siu = good()
    wire.data(ms, OLD)
    assert any("former address" in f for f in check(wire, siu, tmp_path).faults) == late


@pytest.mark.parametrize("drop", ["update", "ack"])
def test_message_missing(tmp_path, drop):
    wire, siu = good()
    siu = [s for s in siu if s.kind != drop]
    assert check(wire, siu, tmp_path).faults


def test_ack_of_another_generation(tmp_path):
    wire, siu = good()
    siu[1].generation = 6
    assert "no ACK" in check(wire, siu, tmp_path).faults[0]


def test_refusing_ack(tmp_path):
    wire, siu = good()
    siu[1].good = False
    assert "no ACK" in check(wire, siu, tmp_path).faults[0]


def test_return_home(tmp_path):
    wire = Wire()
    wire.data(-10, NEW)
    wire.data(2, NEW)
    siu = [
        Siu(T + 1 * MS, "update", True, "", 8, deregister=True),
        Siu(T + 2 * MS, "ack", False, "", 8),
    ]
    home = Move("home", "", NEW, T - 5 * MS, T)
    outside = wire.outside(tmp_path)
    assert analysis.check_home(home, T + 1000 * MS, outside, siu).faults == []
    wire.data(4, NEW)
    assert analysis.check_home(home, T + 1000 * MS, wire.outside(tmp_path), siu).faults
    assert analysis.check_home(home, T + 1000 * MS, outside, [siu[1]]).faults


def test_repeated_iv_and_clear_packets_are_seen(tmp_path):
    wire, _ = good()
    assert wire.outside(tmp_path).repeated == []
    wire.esp(40, OUTSIDE, NEW, wire.node.down, bytes(64), iv=struct.pack(">Q", 3))
    datagram = pcap.ip("10.2.0.5", HOME, pcap.TCP, bytes(20))
    wire.records.append((T + 41 * MS, pcap.ethernet(b"a" * 6, b"b" * 6, datagram)))
    outside = wire.outside(tmp_path)
    assert len(outside.repeated) == 1 and len(outside.clear) == 1


def test_flows_and_figures():
    down, up = analysis.Flow(), analysis.Flow()
    for n in range(-1000, 1000):  # a ping each 2 ms, 20 ms of delay; the link is away for 25 ms
        at = T + n * 2 * MS
        down.sent[n] = up.sent[n] = at
        if not MOVE.lost - 20 * MS < at < T + 21 * MS:
            down.received[n] = at + 20 * MS
        if not MOVE.lost < at < T:
            up.received[n] = at + 20 * MS
    steps = analysis.Steps(rrq=T + 20 * MS, rrp=T + 21 * MS)
    progress = [(T + n * 10 * MS, 10000) for n in range(-200, 200) if not -2 <= n < 20]
    goodput = analysis.Goodput(progress)
    result = analysis.figures(MOVE, T + 1900 * MS, steps, down, up, goodput, 20 * MS, 20 * MS)
    assert result.unavoidable == 5
    assert result.gap == 42 and result.round_trip == 40
    assert result.lost_unavoidable == 12 and result.lost_handover == 11
    assert result.lost_after == 0 and result.lost_up == 0
    assert 200 <= result.tcp_back <= 240  # window of 50 ms that ends there
    del down.received[500]
    result = analysis.figures(MOVE, T + 1900 * MS, steps, down, up, goodput, 20 * MS, 20 * MS)
    assert result.lost_after == 1


@pytest.mark.parametrize(
    "change, missed",
    [
        ({}, None),
        ({"gap": 45.1}, "median"),
        ({"lost_after": 1}, "lost"),
        ({"tcp_back": 501.0}, "TCP"),
        ({"tcp_back": None}, "TCP"),  # no goodput before the move
    ],
)
def test_bars(change, missed):
    good = {"unavoidable": 5.0, "gap": 45.0, "round_trip": 40.0, "tcp_back": 500.0}
    bars = demo.bars([MOVE], [analysis.Figures(**(good | change))])
    assert len(bars) == 4
    assert [what for what, *_, met in bars if not met and missed not in what] == []
    assert all(met for *_, met in bars) == (missed is None)


def test_reordered_and_repeated():
    flow = analysis.Flow()
    for n, came in enumerate([10, 30, 20, 40]):
        flow.sent[n] = n
        flow.received[n] = came
    assert flow.reordered() == 1


def test_echo_sequence_wraps():
    echoes = analysis.Echoes()
    keys = [
        echoes.key(struct.pack(">BBHHH", 8, 0, 0, 5, n & 0xFFFF))
        for n in (0xFFFE, 0xFFFF, 0x10000, 0xFFFD, 0x10001)
    ]
    assert len(set(keys)) == 5
