# SPDX-License-Identifier: BSD-3-Clause
"""An address is a node's only if it can be shown that it is: where a registration may come from.

The home agent and the nodes are the test's own, written from siu/README.md and the RFCs.
"""
import itertools

import mip
import pcap
import pytest
from fake_agent import FakeHomeAgent
from pcap import ESP
from world import HOME_AGENT, MIP_SPI, OUTSIDE, VISITED, Border, Node

A, B = VISITED["A"][2], VISITED["B"][2]
ELSEWHERE = "203.0.113.99"


class Peer:
    """A node's end of its tunnel."""

    def __init__(self, border, node):
        self.border, self.node = border, node
        self.numbers = itertools.count(1)

    def seal(self, inner):
        number = next(self.numbers)
        return self.node.up.seal(inner, number, number.to_bytes(8, "big"))

    def send(self, inner, source):
        self.border.send_outside(pcap.ip(source, OUTSIDE, ESP, self.seal(inner)))

    def request(self, care_of, source, lifetime=600, in_udp=False):
        """A registration request through the tunnel; returns its identification."""
        number = mip.identification()
        message = mip.request(
            self.node.home_address, HOME_AGENT, care_of, number, MIP_SPI, self.node.key_mip,
            lifetime,
        )  # fmt: skip
        datagram = pcap.udp(care_of, HOME_AGENT, mip.PORT, mip.PORT, message)
        inner = pcap.ip(care_of, HOME_AGENT, pcap.UDP, datagram)
        if in_udp:
            data = pcap.udp(source, OUTSIDE, 4500, 4500, self.seal(inner))
            self.border.send_outside(pcap.ip(source, OUTSIDE, pcap.UDP, data))
        else:
            self.send(inner, source)
        return number


@pytest.fixture(scope="module")
def border(build):
    nodes = [Node(1), Node(2), Node(3)]
    with Border(build, nodes) as border:
        profiles = [{}, {"strict_outer_source": False}, {"allow_nat": True}]
        border.start_gateway(
            {"move_rate": 1000, "move_burst": 1000, "registration_rate": 1000},
            [n.gateway_settings(border.lab, A, **p) for n, p in zip(nodes, profiles)],
        )
        border.peers = [Peer(border, node) for node in nodes]
        border.agent = FakeHomeAgent(border).connect()
        yield border
        border.agent.close()


@pytest.mark.parametrize(
    "number, source, lifetime, in_udp, passes",
    [
        (0, B, 600, False, True),
        (0, ELSEWHERE, 600, False, False),
        (0, A, 600, False, False),  # where it is, and from where it would have B bombed
        (0, ELSEWHERE, 600, True, False),
        (0, ELSEWHERE, 0, False, True),  # a deregistration leads nowhere
        (1, ELSEWHERE, 600, False, True),  # not in its profile
        (2, ELSEWHERE, 600, True, True),  # its tunnel would end there, not at B
        (2, ELSEWHERE, 600, False, False),
    ],
)
def test_registration_from_elsewhere(border, number, source, lifetime, in_udp, passes):
    """What names another care-of address than it came from reaches no home agent."""
    refused = border.roamctl("roamgate", "show", "siu")["registrations_refused"]
    border.quiet()
    sent = border.peers[number].request(B, source, lifetime, in_udp)
    seen = border.agent.wait_seen(1 if passes else 0.2)
    passed_on = border.seen_inside(0.2, 1)
    if passes:
        assert seen.identification == sent and seen.observed[0] == source
        assert passed_on[0].dst == HOME_AGENT
    else:
        assert seen is None and passed_on == []
    now = border.roamctl("roamgate", "show", "siu")["registrations_refused"]
    assert now - refused == (0 if passes else 1)
