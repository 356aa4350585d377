# SPDX-License-Identifier: BSD-3-Clause
"""Provisional switch: the downlink follows a registration before any SIU, within its credit.

There is no home agent here, so no update ever comes: the way goes back in time, whatever is sent.
"""
import contextlib
import time

import mip
import pcap
import pytest
from pcap import ESP
from test_mtu import frag_needed
from world import CORRESPONDENT, HOME_AGENT, MIP_SPI, OUTSIDE, VISITED, Border

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
