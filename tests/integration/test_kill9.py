# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 of each program in the middle of traffic: it goes on, and nothing is used twice."""
import socket
import time

import lab as laboratory
import pcap
import pytest
from world import OUTSIDE, VISITED, World

BACK_S = 2.0  # from the ready line to traffic
RECORDED = 60  # packets that are sent again


@pytest.fixture
def world(build):
    with World(build, delay_ms=5) as world:
        world.start_all()
        world.move("A")
        world.wait_reachable()
        yield world


class Traffic:
    """Pings both ways, captured at the gateway's public wire and at the node."""

    def __init__(self, world, interval_ms=2):
        lab = world.lab
        self.outside = lab.capture("net", "gwo1", "outside", "ip proto 50")
        self.node = lab.capture("mn", "rg-mn", "node", "icmp")
        self.corr = lab.capture("corr", "eth0", "corr", "icmp")
        self.pings = world.start_pings(interval_ms)

    def stop(self):
        for ping in self.pings:
            ping.stop()
        for capture in (self.outside, self.node, self.corr):
            capture.stop()
            assert not capture.dropped

    def esp(self):
        return list(pcap.packets(self.outside.path))


def answered_after(traffic, world, at_ns, seconds):
    """When the first echo reply from the node reached the correspondent after at_ns."""

    def reply():
        for packet in pcap.packets(traffic.corr.path):
            if packet.at > at_ns and packet.src == world.node.home_address:
                if packet.payload[0] == 0:
                    return packet.at
        return None

    return laboratory.wait_until(reply, seconds, "an answer of the node")


def restart(world, name):
    """kill -9 and start again; the time of the ready line in ns."""
    program, start = {
        "roamgate": (world.gateway, world.start_gateway),
        "roamgate-ha": (world.home_agent, world.start_home_agent),
        "roamgate-mn": (world.mobile, world.start_mobile),
    }[name]
    program.kill()
    again = start()
    return int(again.wait_line(rf"^{name}: ready")[0] * 1e9)


def assert_never_twice(packets, least=500):
    """No IV and no sequence number of an SA is seen with two different packets, or twice."""
    sequences, ivs = set(), set()
    for packet in packets:
        number = (packet.src == OUTSIDE, *pcap.esp_spi_sequence(packet))
        iv = (number[0], number[1], packet.payload[8:16])
        assert number not in sequences, f"sequence {number} twice"
        assert iv not in ivs, f"IV {iv} twice"
        sequences.add(number)
        ivs.add(iv)
    assert len(sequences) > least


def send_again(world, packets):
    """Recorded datagrams from the network in between, as an attacker there would."""
    with world.lab.inside("net"):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for packet in packets:
            raw.sendto(packet.raw, (packet.dst, 0))
    time.sleep(0.3)


def test_kill_gateway(world, is_long):
    traffic = Traffic(world)
    for _ in range(10 if is_long else 2):
        time.sleep(0.5)
        ready = restart(world, "roamgate")
        back = answered_after(traffic, world, ready - int(0.2e9), BACK_S + 1)
        assert back - ready < BACK_S * 1e9
    traffic.stop()
    esp = traffic.esp()
    assert_never_twice(esp)

    recorded = [p for p in esp if p.dst == OUTSIDE]
    # With ESN what is far left of the window counts as of the next 2^32: the tag is wrong then.
    before = world.drops()
    inside = world.lab.capture("lan", "gwi1", "replayed", f"host {world.node.home_address}")
    send_again(world, recorded[:RECORDED] + recorded[-RECORDED:])
    inside.stop()
    after = world.drops()
    assert sum(after[k] - before[k] for k in ("replay", "bad_icv")) == 2 * RECORDED
    assert after["replay"] - before["replay"] >= RECORDED
    assert not list(pcap.packets(inside.path))


def test_kill_gateway_keeps_the_place(world):
    """The handover that was acknowledged before is in force, without a new registration."""
    outside = world.lab.capture("net", "gwo1", "outside", "ip proto 50")
    coa = world.roamctl("roamgate", "show", "nodes")["rows"][0]["coa"]
    assert coa == VISITED["A"][2]
    restart(world, "roamgate")
    world.wait_reachable(BACK_S)
    assert world.roamctl("roamgate", "show", "nodes")["rows"][0]["coa"] == coa
    down = {p.dst for p in pcap.packets(outside.stop()) if p.src == OUTSIDE}
    assert down == {coa}


def test_kill_home_agent(world, is_long):
    traffic = Traffic(world)
    for _ in range(10 if is_long else 2):
        time.sleep(0.5)
        ready = restart(world, "roamgate-ha")
        back = answered_after(traffic, world, ready - int(0.2e9), BACK_S + 1)
        assert back - ready < BACK_S * 1e9
    world.move("B")  # and it still serves handovers
    answered_after(traffic, world, time.time_ns() + int(0.1e9), 3)
    traffic.stop()
    assert_never_twice(traffic.esp())


def test_kill_node(world, is_long):
    traffic = Traffic(world)
    old, back = [], 0
    for _ in range(10 if is_long else 2):
        time.sleep(0.5)
        # What the node has had: not what it missed while it was down, or what is on its way still.
        until = time.time_ns() - int(0.1e9)
        old = [p for p in traffic.esp() if p.src == OUTSIDE and back < p.at < until]
        ready = restart(world, "roamgate-mn")
        back = answered_after(traffic, world, ready - int(0.2e9), BACK_S + 1)
        assert back - ready < BACK_S * 1e9
    traffic.stop()
    assert_never_twice(traffic.esp())

    assert len(old) >= RECORDED
    again = world.lab.capture("mn", "rg-mn", "replayed")
    send_again(world, old[-2 * RECORDED :])
    assert not list(pcap.packets(again.stop()))
