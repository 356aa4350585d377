# SPDX-License-Identifier: BSD-3-Clause
"""Lifetimes of SAs and rekeying, with scapy as the other end: which packet is the last one, what is
said about it, and that nothing is lost when one SA takes over from another."""
import json
import random
import socket
import struct
import threading
import time

import lab as laboratory
import pcap
import pytest
from test_scapy_peer import Peer, tunnelled
from world import Border, Node

CARE_OF = "198.51.100.7"
LATE_S = 0.3  # between the end of an SA and the news of it
LAST = (1 << 32) - 1


@pytest.fixture(scope="module")
def border(build):
    with Border(build, [Node(1)]) as border:
        static = border.nodes[0].gateway_settings(border.lab, CARE_OF)
        static["inbound"] |= {"rekey_packets": 3, "life_packets": 5}
        border.start_gateway(nodes=[static])
        yield border


def roamctl(border, *argv):
    return border.roamctl_text("roamgate", *argv)


def add_sa(border, node, direction, **life):
    spi, key = {"in": (node.spi_up, node.key_up), "out": (node.spi_down, node.key_down)}[direction]
    path = border.lab.write(f"{spi:x}.key", key.hex() + "\n")
    roamctl(
        border, "sa", "add", node.name, direction, f"spi={spi}", f"key_file={path}",
        f"algorithm={node.algorithm}", f"esn={str(node.esn).lower()}",
        *[f"{key}={value}" for key, value in life.items()],
    )  # fmt: skip


def add(border, number, esn=True, **life):
    """A node with two SAs; what belongs to one direction is called in_life_packets and so on."""
    node = Node(number, esn=esn)
    roamctl(
        border, "node", "add", node.name, f"home_address={node.home_address}", "home_agent=ha1",
        f"care_of={CARE_OF[:-1]}{number}",
    )  # fmt: skip
    for way in ("in", "out"):
        ours = {k: v for k, v in life.items() if k.startswith(way + "_")}
        add_sa(border, node, way, **{k.removeprefix(way + "_"): v for k, v in ours.items()})
    border.quiet()
    return Peer(border, node, f"{CARE_OF[:-1]}{number}")


def again(node):
    """The same node with other keys."""
    fresh = Node(node.number, esn=node.esn)
    fresh.spi_up, fresh.spi_down = node.spi_up + 0x100, node.spi_down + 0x100
    fresh.up = pcap.EspKey(fresh.spi_up, fresh.key_up, node.esn)
    fresh.down = pcap.EspKey(fresh.spi_down, fresh.key_down, node.esn)
    return fresh


def events(border, spi):
    """(event, cause) or (event, cause, percent) of each event of that SA, the oldest first."""
    rows = border.roamctl("roamgate", "show", "events")["rows"]
    keys = ("event", "cause", "percent")
    return [tuple(r[k] for k in keys if k in r) for r in rows if r["spi"] == spi]


def expect_events(border, spi, *wanted):
    laboratory.wait_until(
        lambda: events(border, spi) == list(wanted), LATE_S, f"{wanted} of {spi:#x}"
    )


def sa_row(border, spi):
    rows = border.roamctl("roamgate", "show", "sa")["rows"]
    return next((row for row in rows if row["spi"] == f"0x{spi:x}"), None)


def passed(border, peer, way, count, first=None):
    """How many of so many packets get through, in order."""
    if way == "in":
        sequences = [None if first is None else first + i for i in range(count)]
        for sequence in sequences:
            border.send_outside(peer.seal(peer.data(), sequence=sequence))
        return len(border.seen_inside(0.3, count))
    for _ in range(count):
        border.send_inside(tunnelled(peer.node, peer.care_of)[0])
    packets = border.seen_outside(0.3, count)
    for packet in packets:
        assert pcap.esp_spi_sequence(packet)[0] == peer.node.spi_down
        assert peer.node.down.open(packet)
    return len(packets)


def spi_of(peer, way):
    return peer.node.spi_up if way == "in" else peer.node.spi_down


INNER_BYTES = {"in": 33, "out": 53}  # of what passed() sends


@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.parametrize("kind", ["packets", "bytes"])
def test_soft_and_hard(border, kind, way):
    unit = 1 if kind == "packets" else INNER_BYTES[way]
    number = 20 + 2 * (kind == "bytes") + (way == "in")
    limits = {f"{way}_rekey_{kind}": 5 * unit, f"{way}_life_{kind}": 9 * unit}
    peer = add(border, number, **limits)
    spi, before = spi_of(peer, way), border.drops()
    assert passed(border, peer, way, 4) == 4
    assert events(border, spi) == []
    row = sa_row(border, spi)
    assert row[f"{kind}_left"] == 5 * unit and row[f"life_{kind}"] == 9 * unit
    assert passed(border, peer, way, 1) == 1
    expect_events(border, spi, ("rekey", kind))
    assert passed(border, peer, way, 9) == 4
    expect_events(border, spi, ("rekey", kind), ("expired", kind))
    assert passed(border, peer, way, 3) == 0
    assert sa_row(border, spi) is None
    after = border.drops()
    names = ("expired", "no_sa_in", "no_sa_out", "no_path")
    assert sum(after[n] - before[n] for n in names) == 5 + 3
    assert border.clear_outside(0.05) == []


@pytest.mark.parametrize("way", ["in", "out"])
def test_seconds(border, way):
    began = time.time()
    peer = add(border, 30 + (way == "in"), **{f"{way}_rekey_time": 1, f"{way}_life_time": 2})
    added = time.time()
    spi, last_ok = spi_of(peer, way), 0
    while time.time() < added + 2 + LATE_S:
        at = time.time()
        if passed(border, peer, way, 1):
            last_ok = at
    assert began + 1.5 < last_ok < added + 2 + 0.05
    rows = [r for r in border.roamctl("roamgate", "show", "events")["rows"] if r["spi"] == spi]
    assert [(r["event"], r["cause"]) for r in rows] == [("rekey", "time"), ("expired", "time")]
    for row, after in zip(rows, (1, 2)):
        assert began + after <= row["real_ns"] / 1e9 <= added + after + 0.1
    assert border.gateway.wait_line(rf"keys: SA expired node={peer.node.name} .*cause=time")


def set_outbound_numbers(border, number):
    """In the counters file, while nobody has it open: an old SA without the waiting."""
    path = border.lab.path("state-gw/counters")
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        for page in range(4096, len(content), 4096):
            if content[page : page + 7] != b"RGSLOTS" or content[page + 8 : page + 12] != bytes(4):
                continue  # windows of inbound SAs, or not in use
            for slot in range(page + 64, page + 4096, 64):
                if any(content[slot : slot + 16]):
                    struct.pack_into("=Q", content, slot + 40, number)
        file.seek(0)
        file.write(content)


def restart(border):
    border.gateway.kill()
    border.start_gateway_again()
    border.quiet()


def test_sequence_numbers(border):
    peer = add(border, 40, esn=False)
    spi = peer.node.spi_down
    share = LAST // 100
    steps = [("rekey", "sequence", 75), ("rekey", "sequence", 90), ("expired", "sequence")]
    for at, (number, passing) in enumerate(
        ((75 * share - 3, 5), (90 * share - 3, 5), (LAST - 3, 3))
    ):
        border.gateway.kill()
        set_outbound_numbers(border, number)
        border.start_gateway_again()
        border.quiet()
        assert events(border, spi) == steps[:at]  # a new run tells again
        assert passed(border, peer, "out", 5) == passing
        expect_events(border, spi, *steps[: at + 1])
    assert passed(border, peer, "out", 3) == 0
    assert border.clear_outside(0.05) == []
    # From the node: told as well, and what is left of the numbers still counts.
    for at, percent in enumerate((75, 90)):
        assert passed(border, peer, "in", 3, first=percent * share - 1) == 3
        expect_events(border, peer.node.spi_up, *steps[: at + 1])


def test_restart_keeps_what_was_used(border):
    life = {"life_packets": 10, "life_time": 600}
    peer = add(border, 41, **{f"{w}_{k}": v for w in ("in", "out") for k, v in life.items()})
    assert passed(border, peer, "in", 6) == passed(border, peer, "out", 6) == 6
    time.sleep(1)
    restart(border)
    for way in ("in", "out"):
        row = sa_row(border, spi_of(peer, way))
        assert row["packets_left"] == 4 and 500 < row["expires_s"] < 600
        assert passed(border, peer, way, 6) == 4
        assert events(border, spi_of(peer, way))[-1] == ("expired", "packets")
    restart(border)
    assert passed(border, peer, "in", 3) == passed(border, peer, "out", 3) == 0


def test_static_sa_stays_expired(border):
    peer = Peer(border, border.nodes[0], CARE_OF)
    spi = peer.node.spi_up
    border.quiet()
    assert passed(border, peer, "in", 8) == 5
    expect_events(border, spi, ("rekey", "packets"), ("expired", "packets"))
    assert sa_row(border, spi)["state"] == "expired"
    assert '"' not in roamctl(border, "reload")  # it is as the file has it
    assert sa_row(border, spi)["state"] == "expired"
    restart(border)
    assert passed(border, peer, "in", 3) == 0
    assert sa_row(border, spi)["state"] == "expired"


# --- rekeying ------------------------------------------------------------------------------------


class Traffic(threading.Thread):
    """Numbered packets both ways until stop(); upwards by the peer that is peers[-1] then."""

    def __init__(self, border, peer):
        super().__init__()
        self.border, self.peers = border, [peer]
        self.count, self.going = 0, True
        lab = border.lab
        self.captures = [
            lab.capture("out", "gwo1", f"out{time.time()}", "ip proto 50"),
            lab.capture("in", "gwi1", f"in{time.time()}", f"src host {peer.node.home_address}"),
        ]
        self.start()

    def run(self):
        while self.going:
            peer, text = self.peers[-1], b"number %06d" % self.count
            self.border.send_outside(peer.seal(peer.data(text)))
            self.border.send_inside(tunnelled(peer.node, peer.care_of, text)[0])
            self.count += 1
            time.sleep(0.001)

    def stop(self):
        """(ESP from the gateway, what it forwarded inside)"""
        self.going = False
        self.join()
        time.sleep(0.2)
        for capture in self.captures:
            capture.stop()
            assert not capture.dropped
        esp, inside = (list(pcap.packets(c.path)) for c in self.captures)
        return [p for p in esp if p.dst == self.peers[0].care_of], inside


def test_rekey_under_traffic(border):
    old = add(border, 50)
    traffic = Traffic(border, old)
    before, keys = border.drops(), [old.node]
    for _ in range(3):
        time.sleep(0.3)
        keys.append(again(keys[-1]))
        add_sa(border, keys[-1], "in")
        add_sa(border, keys[-1], "out")
        traffic.peers.append(Peer(border, keys[-1], old.care_of))
        roamctl(border, "sa", "switch", old.node.name, "out", f"spi={keys[-1].spi_down}")
        time.sleep(0.2)
        roamctl(border, "sa", "del", old.node.name, "out", f"spi={keys[-2].spi_down}")
        roamctl(border, "sa", "del", old.node.name, "in", f"spi={keys[-2].spi_up}")
    time.sleep(0.2)
    esp, inside = traffic.stop()
    wanted = [b"number %06d" % i for i in range(traffic.count)]
    assert traffic.count > 200
    assert [p.payload[8:] for p in inside] == wanted
    by_spi = {node.spi_down: node.down for node in keys}
    opened = [by_spi[pcap.esp_spi_sequence(p)[0]].open(p) for p in esp]
    assert [plain[-len(wanted[0]) :] for plain in opened] == wanted
    assert {pcap.esp_spi_sequence(p)[0] for p in esp} == set(by_spi)
    assert len({pcap.esp_spi_sequence(p) for p in esp}) == len(esp)
    assert len({(pcap.esp_spi_sequence(p)[0], p.payload[8:16]) for p in esp}) == len(esp)
    after = border.drops()
    changed = {k for k in after if after[k] != before[k]} - {"ok", "punted"}
    assert not changed


def rekey_requests(old, new):
    """In the order of an IKE daemon."""
    node = {"node": old.name}
    ways = (("in", new.spi_up, new.key_up), ("out", new.spi_down, new.key_down))
    for direction, spi, key in ways:
        yield node | {
            "verb": "sa-add", "direction": direction, "spi": spi, "key": key.hex(),
            "algorithm": new.algorithm, "life_time": 3600,
        }  # fmt: skip
    yield node | {"verb": "sa-switch", "direction": "out", "spi": new.spi_down}
    yield node | {"verb": "sa-del", "direction": "out", "spi": old.spi_down}
    yield node | {"verb": "sa-del", "direction": "in", "spi": old.spi_up}


def rekey_until_killed(border, old, new, at_request, delay_s):
    """How many requests were answered when kill -9 came, so long after that one was sent."""
    answered = 0
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(border.socket("roamgate"))
        replies = client.makefile("r")
        for number, request in enumerate(rekey_requests(old, new)):
            client.sendall((json.dumps(request) + "\n").encode())
            if number == at_request:
                time.sleep(delay_s)
                border.gateway.kill()
            line = replies.readline() if number < at_request else ""
            if not line:
                break
            assert json.loads(line)["ok"], line
            answered += 1
    return answered


def test_kill_during_rekey(border, is_long):
    """Both ends still have a pair of SAs: the peer takes both while the daemon is not done."""
    peer, seen = add(border, 51), set()
    node = peer.node
    for attempt in range(40 if is_long else 5):
        fresh = again(node)
        answered = rekey_until_killed(border, node, fresh, attempt % 5, random.uniform(0, 0.01))
        border.start_gateway_again()
        border.quiet()
        # Upwards the peer uses the new one as soon as it knows that the gateway has it.
        up = Peer(border, fresh if answered >= 1 else node, peer.care_of)
        up.sequence = 0 if answered >= 1 else peer.sequence
        assert passed(border, up, "in", 3) == 3, (attempt, answered)
        for _ in range(3):
            border.send_inside(tunnelled(node, peer.care_of)[0])
        packets = border.seen_outside(0.5, 3)
        assert len(packets) == 3, (attempt, answered)
        for packet in packets:
            assert node.down.open(packet) or fresh.down.open(packet)
            number = (*pcap.esp_spi_sequence(packet), packet.payload[8:16])
            assert number not in seen
            seen.add(number)
        # The daemon begins anew, with what it finds.
        roamctl(border, "node", "del", node.name)
        peer = add(border, 51)
        node = peer.node
