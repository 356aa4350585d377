# SPDX-License-Identifier: BSD-3-Clause
"""Provisional switch: the downlink follows a registration before any SIU, within its credit.

First without a home agent, so that no update ever comes: the way goes back in time, whatever is
sent. Then with one that is far away.
"""
import contextlib
import time

import lab as laboratory
import mip
import pcap
import pytest
from pcap import ESP
from test_bicast import Stream
from test_mtu import frag_needed
from world import CORRESPONDENT, HOME_AGENT, MIP_SPI, OUTSIDE, SIU_PORT, VISITED, Border, World

A, B = VISITED["A"][2], VISITED["B"][2]
CREDIT = 20000


def send_down(border, count=1, payload=900):
    """Packets to the node, as its home agent tunnels them: to the address that it knows."""
    home = border.nodes[0].home_address
    datagram = pcap.udp(CORRESPONDENT, home, 7, 7, bytes(payload))
    inner = pcap.ip(CORRESPONDENT, home, pcap.UDP, datagram)
    for _ in range(count):
        border.send_inside(pcap.ip(HOME_AGENT, A, 4, inner))


def register(border, care_of, source, number):
    node = border.nodes[0]
    message = mip.request(
        node.home_address, HOME_AGENT, care_of, mip.identification(), MIP_SPI, node.key_mip
    )
    datagram = pcap.udp(care_of, HOME_AGENT, mip.PORT, mip.PORT, message)
    inner = pcap.ip(care_of, HOME_AGENT, pcap.UDP, datagram)
    sealed = node.up.seal(inner, number, bytes([number] * 8))
    border.send_outside(pcap.ip(source, OUTSIDE, ESP, sealed))


def sent_to(packets):
    return [p.dst for p in packets]


@contextlib.contextmanager
def open_border(build, provisional):
    with Border(build) as border:
        settings = border.nodes[0].gateway_settings(border.lab, care_of=A, provisional=provisional)
        border.start_gateway({"provisional_credit": CREDIT}, [settings])
        yield border


@pytest.fixture(params=[True, False], ids=["in_profile", "not_in_profile"])
def border(build, request):
    with open_border(build, request.param) as border:
        border.provisional = request.param
        yield border


def test_switch_before_the_update_and_back_without_it(border):
    send_down(border)
    assert sent_to(border.seen_outside(1, 1)) == [A]
    register(border, B, "203.0.113.99", 1)  # not from where it says it is
    time.sleep(0.05)
    send_down(border)
    assert sent_to(border.seen_outside(1, 1)) == [A]

    began = time.monotonic()
    register(border, B, B, 2)
    time.sleep(0.05)
    send_down(border)
    moved = sent_to(border.seen_outside(1, 1))
    if not border.provisional:
        assert moved == [A]
        return
    assert moved == [B]
    send_down(border, 60)
    to_b = [p for p in border.seen_outside(0.15) if p.dst == B]
    assert 0.9 * CREDIT < sum(p.length for p in to_b) + to_b[0].length <= CREDIT
    assert border.drops()["no_credit"] == 61 - len(to_b) - 1

    time.sleep(max(began + 0.5 - time.monotonic(), 0))
    border.quiet()
    send_down(border, 3)
    assert sent_to(border.seen_outside(1, 3)) == [A] * 3


def test_mtu_is_learned_while_trying(build):
    """A router's word about the new way ends neither the try nor its credit, and is heeded."""
    with open_border(build, True) as border:
        began = time.monotonic()
        register(border, B, B, 1)
        time.sleep(0.05)
        send_down(border, 8, 1000)
        first = border.seen_outside(0.3, 8)
        assert sent_to(first) == [B] * 8
        border.send_outside(frag_needed(first[0].raw, border.nodes[0].spi_down, 900))
        time.sleep(0.05)
        assert border.roamctl("roamgate", "show", "nodes")["rows"][0]["mtu"] == 900
        send_down(border, 60, 700)
        later = border.seen_outside(0.1)
        assert time.monotonic() < began + 0.4
        # Small ones go out whole, to the new address, as far as the credit still goes.
        assert set(sent_to(later)) == {B} and max(p.length for p in later) <= 900
        assert 0.9 * CREDIT < sum(p.length for p in first + later) <= CREDIT
        time.sleep(max(began + 0.5 - time.monotonic(), 0))
        border.quiet()
        send_down(border)
        assert sent_to(border.seen_outside(1, 1)) == [A]


# --- with a home agent that is far away ---------------------------------------------------------

FAR_MS = 60  # one way to the home agent: a round trip is 120 ms
RATE = 250  # packets/s down, as Stream has it
BACK_MS = 500


class Move:
    """A move from A to B under a stream, seen outside of the gateway for so long. Times in ms from
    the node's first packet from B, which is its registration."""

    def __init__(self, world, stays_s, between=lambda: None):
        capture = world.lab.capture("net", "gwo1", "outside", "ip proto 50")
        stream = Stream(world)
        time.sleep(0.2)
        between()
        world.enter("B")  # A stays up
        time.sleep(stays_s)
        stream.stop()
        packets = list(pcap.packets(capture.stop()))
        began = min(p.at for p in packets if p.src == B)
        packets = [p for p in packets if p.at < began + stays_s * 1e9]
        self.to_b = [p for p in packets if p.dst == B]
        self.times = {
            care_of: [(p.at - began) / 1e6 for p in packets if p.dst == care_of]
            for care_of in (A, B)
        }


@contextlib.contextmanager
def far_world(build, provisional, credit=CREDIT):
    with World(build, delay_ms=2, inside_relay=["--delay", str(FAR_MS)]) as world:
        profile = world.node.gateway_settings(world.lab, provisional=provisional)
        world.start_gateway({"provisional_credit": credit}, [profile])
        world.start_home_agent()
        world.start_mobile()
        world.move("A")
        world.wait_reachable()
        yield world


def test_downlink_moves_a_round_trip_earlier(build):
    first = {}
    for provisional in (True, False):
        with far_world(build, provisional) as world:
            move = Move(world, 0.8)
            first[provisional] = move.times[B][0]
            assert max(move.times[A]) <= first[provisional], "a way back to A"
    print(f"ms from the registration to the first packet at its new place: {first}")
    assert first[True] < 20 + 1000 / RATE
    assert abs(first[False] - first[True] - 2 * FAR_MS) < 20 + 1000 / RATE


@pytest.mark.parametrize("credit", [CREDIT, 4000])
def test_back_in_time_when_the_home_agent_is_not_heard(build, credit):
    rule = f"pref 1 ipproto udp dport {SIU_PORT} blackhole"
    with far_world(build, True, credit) as world:
        # Until before the node's next registration.
        move = Move(world, 0.9, lambda: world.lab.ip("ha", f"rule add {rule}"))
        back = [at for at in move.times[A] if at > move.times[B][0]]
        print(f"ms: to B from {move.times[B][0]:.0f} to {move.times[B][-1]:.0f}, back {back[0]:.0f}")
        assert max(move.times[B]) < BACK_MS and back[0] < BACK_MS
        assert sum(p.length for p in move.to_b) <= credit
        assert (world.drops()["no_credit"] > 0) == (credit < CREDIT)
        world.lab.ip("ha", f"rule del {rule}")  # and then it comes through

        def confirmed():
            row = world.roamctl("roamgate", "show", "nodes")["rows"][0]
            return row["coa"] == B and world.reaches() == 1

        laboratory.wait_until(confirmed, 10, "the node at B")
